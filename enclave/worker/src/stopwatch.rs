//! A job's wall clock, which stands still while the enclave waits for the host.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Measures the time that a job has run. Times are those of [`Tee::now`](phala_enclave::Tee::now).
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    started: Option<Duration>,
    /// Who waits for the host: the program, and threads that read ahead.
    waiting: usize,
    /// Since when somebody waits.
    since: Duration,
    /// How long it has stood still.
    stood: Duration,
}

impl Stopwatch {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn start(&self, now: Duration) {
        self.change(|state| {
            *state = State { started: Some(now), since: now, waiting: state.waiting, ..State::default() }
        });
    }

    /// Somebody begins to wait for the host.
    pub(crate) fn hold(&self, now: Duration) {
        self.change(|state| {
            if state.waiting == 0 {
                state.since = now;
            }
            state.waiting = state.waiting.saturating_add(1);
        });
    }

    /// Somebody has waited.
    pub(crate) fn go_on(&self, now: Duration) {
        self.change(|state| {
            state.waiting = state.waiting.saturating_sub(1);
            if state.waiting == 0 {
                state.stood = state.stood.saturating_add(now.saturating_sub(state.since));
            }
        });
    }

    /// How long the job has run.
    pub(crate) fn elapsed(&self, now: Duration) -> Duration {
        self.change(|state| {
            let now = if state.waiting == 0 { now } else { now.min(state.since) };
            state.started.map_or(Duration::ZERO, |started| now.saturating_sub(started).saturating_sub(state.stood))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_host_takes_no_time() {
        let seconds = Duration::from_secs;
        let watch = Stopwatch::default();
        assert_eq!(watch.elapsed(seconds(1)), seconds(0));
        watch.start(seconds(10));
        assert_eq!(watch.elapsed(seconds(12)), seconds(2));
        watch.hold(seconds(13));
        assert_eq!(watch.elapsed(seconds(100)), seconds(3));
        // A second reader: the clock goes on when both have what they want.
        watch.hold(seconds(50));
        watch.go_on(seconds(100));
        assert_eq!(watch.elapsed(seconds(110)), seconds(3));
        watch.go_on(seconds(120));
        assert_eq!(watch.elapsed(seconds(121)), seconds(4));
    }
}
