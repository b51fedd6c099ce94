//! How much of everything there is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::ApiError;
use crate::{metrics::Metrics, pace::MinimumRate};

/// The longest that somebody who got no place is told to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What connections and requests may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Starts that wait for the enclave at once: it lets a host have more requests open.
    pub starts: usize,
    /// Uploads at once.
    pub uploads: usize,
    /// Downloads at once.
    pub downloads: usize,
    /// Challenges that wait for the enclave at once.
    pub challenges: usize,
    /// Tokens that are checked at once: each may wait for the node.
    pub checks: usize,
    /// All other requests at once, but for health and metrics.
    pub others: usize,
    /// How slowly an upload may come, and an answer may be taken.
    pub rate: MinimumRate,
    /// How long the head of a request may take, and a connection may be idle before it; and how long its body, where it is no
    /// upload.
    pub head: Duration,
    /// How long the greetings of TLS may take.
    pub handshake: Duration,
    /// How long requests that are under way may take once the server stops.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            starts: 128,
            uploads: 128,
            downloads: 1024,
            challenges: 16,
            checks: 256,
            others: 256,
            rate: MinimumRate { bytes: 30 * 1024, over: Duration::from_secs(30) },
            head: Duration::from_secs(20),
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

/// So many places for one kind of request.
pub(super) struct Gate {
    name: &'static str,
    places: u64,
    free: Arc<Semaphore>,
    /// How long a place is held, lately, in milliseconds.
    held_ms: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

/// A place behind a [`Gate`], until dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    since: Instant,
    held_ms: Arc<AtomicU64>,
}

impl Gate {
    pub fn new(name: &'static str, places: usize, metrics: Arc<Metrics>) -> Self {
        let free = Arc::new(Semaphore::new(places));
        Self { name, places: places as u64, free, held_ms: Arc::default(), metrics }
    }

    /// How many places are taken.
    pub fn taken(&self) -> u64 {
        self.places.saturating_sub(self.free.available_permits() as u64)
    }

    /// A place, or an error that says when one is likely to be free.
    pub fn enter(&self) -> Result<Place, ApiError> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, since: Instant::now(), held_ms: self.held_ms.clone() }),
            Err(_) => {
                self.metrics.reject(self.name);
                let message = format!("the host serves as many {} as it can at the moment", self.name);
                let held = self.held_ms.load(Ordering::Relaxed);
                let wait = Duration::from_millis(held / self.places.max(1)).min(LONGEST_WAIT);
                Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(wait))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let old = self.held_ms.load(Ordering::Relaxed);
        // Another place that is freed at the same moment may go uncounted.
        self.held_ms.store(old.saturating_mul(7).saturating_add(held) / 8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_gate_says_when_a_place_is_likely_to_be_free() {
        let metrics = Arc::new(Metrics::default());
        let gate = Gate::new("starts", 2, metrics.clone());
        for _ in 0..200 {
            let _place = gate.enter().unwrap();
            sleep(Duration::from_secs(20)).await;
        }
        let places = [gate.enter().unwrap(), gate.enter().unwrap()];
        let error = gate.enter().err().unwrap();
        assert!((9..=10).contains(&error.retry_after_seconds().unwrap()), "{error:?}");
        assert_eq!(metrics.http_rejected.with_label_values(&["starts"]).get(), 1);
        drop(places);
        assert!(gate.enter().is_ok());
    }
}
