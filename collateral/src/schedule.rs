//! What failed when and how often, and when it is due again.

use phala_attestation::UnixSeconds;

/// How long to wait after failures: twice as long after each, up to a limit, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: u64,
    /// At most.
    pub most: u64,
}

impl Default for Backoff {
    /// From a minute to an hour.
    fn default() -> Self {
        Self { first: 60, most: 60 * 60 }
    }
}

impl Backoff {
    /// The wait after so many failures in a row.
    fn after(self, failures: u32) -> u64 {
        let factor = 1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }
}

/// Failures in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failures {
    pub since: UnixSeconds,
    pub times: u32,
    pub error: String,
}

/// When something is due, and how it fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub due: UnixSeconds,
    pub failures: Option<Failures>,
}

impl Schedule {
    pub fn after_success(due: UnixSeconds) -> Self {
        Self { due, failures: None }
    }

    pub fn fail(&mut self, now: UnixSeconds, backoff: Backoff, error: String) {
        let (since, times) = self.failures.as_ref().map_or((now, 0), |failures| (failures.since, failures.times));
        let times = times.saturating_add(1);
        *self =
            Self { due: now.saturating_add(backoff.after(times)), failures: Some(Failures { since, times, error }) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let backoff = Backoff::default();
        let waits: Vec<_> = [1, 2, 3, 6, 7, 64, 65, u32::MAX].map(|failures| backoff.after(failures)).into();
        assert_eq!(waits, [60, 120, 240, 1920, 3600, 3600, 3600, 3600]);
    }

    #[test]
    fn failures_are_counted_from_the_first() {
        let mut schedule = Schedule::default();
        schedule.fail(1000, Backoff::default(), "one".into());
        schedule.fail(1060, Backoff::default(), "two".into());
        let failures = Failures { since: 1000, times: 2, error: "two".into() };
        assert_eq!(schedule, Schedule { due: 1180, failures: Some(failures) });
    }
}
