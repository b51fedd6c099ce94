//! How slow the other side may be.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout};

/// The least that has to move while the host waits for the other side.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// So many bytes…
    pub bytes: u64,
    /// …in this time.
    pub over: Duration,
}

/// Watches that bytes come at a [`MinimumRate`]. What the host does between them takes none of its time.
pub(crate) struct Pace {
    rate: MinimumRate,
    left: Duration,
    bytes: u64,
}

/// Too little came.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl Pace {
    pub fn new(rate: MinimumRate) -> Self {
        Self { rate, left: rate.over, bytes: 0 }
    }

    /// Counts what came.
    pub fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// What `next` gives, unless too little has come lately.
    pub async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut next = pin!(next);
        loop {
            let since = Instant::now();
            if let Ok(value) = timeout(self.left, next.as_mut()).await {
                self.left = self.left.saturating_sub(since.elapsed());
                return Ok(value);
            }
            if self.bytes < self.rate.bytes {
                return Err(TooSlow);
            }
            *self = Self::new(self.rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const RATE: MinimumRate = MinimumRate { bytes: 1000, over: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn the_other_side_may_pause_but_not_trickle() {
        let mut pace = Pace::new(RATE);
        for _ in 0..10 {
            pace.wait(sleep(Duration::from_secs(9))).await.unwrap();
            pace.count(1000);
        }
        let mut pace = Pace::new(RATE);
        let trickle = async {
            loop {
                pace.wait(sleep(Duration::from_millis(500))).await?;
                pace.count(10);
            }
        };
        let result: Result<(), TooSlow> = trickle.await;
        result.unwrap_err();
        Pace::new(RATE).wait(std::future::pending::<()>()).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_disk_is_not_the_other_sides_fault() {
        let mut pace = Pace::new(RATE);
        for _ in 0..100 {
            pace.wait(sleep(Duration::from_millis(80))).await.unwrap();
            pace.count(1);
            sleep(Duration::from_secs(60)).await;
        }
        // All that was waited for is less than the time.
        pace.wait(sleep(Duration::from_millis(900))).await.unwrap();
        pace.wait(sleep(Duration::from_secs(2))).await.unwrap_err();
    }
}
