//! Exact statistics of delays in whole minutes.

/// The earliest departure or arrival, in minutes, that a [`Delays`] counts.
const MIN_DELAY: i32 = -1440;
/// The latest.
const MAX_DELAY: i32 = 7 * 1440;

/// The distribution of a delay in minutes. Holds a count per minute: exact, and of bounded size.
#[derive(Clone, Default)]
pub struct Delays {
    counts: Vec<u32>,
    count: u64,
    sum: i64,
    late: u64,
}

impl Delays {
    /// Counts one delay.
    ///
    /// # Errors
    /// When it is earlier than a day before or later than a week after the schedule.
    pub fn add(&mut self, minutes: i32) -> Result<(), String> {
        if !(MIN_DELAY..=MAX_DELAY).contains(&minutes) {
            return Err(format!("a delay of {minutes} minutes is not plausible"));
        }
        let index = (minutes - MIN_DELAY) as usize;
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.count += 1;
        self.sum += i64::from(minutes);
        self.late += u64::from(minutes >= 15);
        Ok(())
    }

    /// How many delays were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean.
    pub fn mean(&self) -> Ratio {
        Ratio { numerator: self.sum, denominator: self.count }
    }

    /// The share of those late by 15 minutes or more, in percent.
    pub fn late_share(&self) -> Ratio {
        Ratio::percent(self.late, self.count)
    }

    /// The smallest delay that at least `percent` of all do not exceed (nearest rank). `None` of no delays.
    pub fn quantile(&self, percent: u64) -> Option<i32> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().zip(MIN_DELAY..).find_map(|(&count, minutes)| {
            seen += u64::from(count);
            (seen >= rank).then_some(minutes)
        })
    }
}

/// A quotient that is rounded only when it is printed: to one decimal, half away from zero.
#[derive(Clone, Copy)]
pub struct Ratio {
    numerator: i64,
    denominator: u64,
}

impl Ratio {
    /// `part` of `whole` in percent.
    pub fn percent(part: u64, whole: u64) -> Self {
        Self { numerator: 100 * part as i64, denominator: whole }
    }

    /// Tenths, rounded. `None` of nothing.
    pub fn tenths(self) -> Option<i64> {
        let denominator = self.denominator as i64;
        if denominator == 0 {
            return None;
        }
        let magnitude = (20 * self.numerator.abs() + denominator) / (2 * denominator);
        Some(magnitude * self.numerator.signum())
    }
}

/// With one decimal; `-` when there is nothing to divide by.
impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tenths() {
            None => f.pad("-"),
            Some(tenths) => {
                let sign = if tenths < 0 { "-" } else { "" };
                f.pad(&format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(minutes: impl IntoIterator<Item = i32>) -> Delays {
        let mut delays = Delays::default();
        minutes.into_iter().for_each(|minute| delays.add(minute).unwrap());
        delays
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let hundred = delays(1..=100);
        assert_eq!([1, 50, 90, 99, 100].map(|p| hundred.quantile(p)), [1, 50, 90, 99, 100].map(Some));
        assert_eq!(delays([-5, 7, 30]).quantile(50), Some(7));
        assert_eq!(delays([3]).quantile(99), Some(3));
        assert_eq!(delays([]).quantile(50), None);
    }

    #[test]
    fn ratios_round_half_away_from_zero() {
        let show = |numerator, denominator| Ratio { numerator, denominator }.to_string();
        assert_eq!(show(5, 100), "0.1");
        assert_eq!(show(-5, 100), "-0.1");
        assert_eq!(show(-4, 100), "0.0");
        assert_eq!(show(125, 10), "12.5");
        assert_eq!(show(0, 0), "-");
    }

    #[test]
    fn implausible_delays_are_refused() {
        assert!(Delays::default().add(MAX_DELAY + 1).is_err());
        assert!(Delays::default().add(MIN_DELAY - 1).is_err());
    }
}
