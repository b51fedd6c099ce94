//! Samples of time.

use std::time::{Duration, Instant};

/// How long each of some runs took.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Runs `work` and adds how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(start.elapsed());
        result
    }

    /// The sample that `percent` of all do not exceed; zero when there is none.
    pub fn quantile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest, which a busy neighbour spoils least.
    pub fn minimum(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }
}

/// Milliseconds, for people.
pub fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

/// One line of a comparison: ours, theirs, ours over theirs.
pub fn compare(name: &str, ours: &Samples, theirs: &Samples) {
    let (ours, theirs) = (ours.minimum(), theirs.minimum());
    println!("{name:<28} {:>14} {:>14} {:>7.3}x", ms(ours), ms(theirs), ours.as_secs_f64() / theirs.as_secs_f64());
}
