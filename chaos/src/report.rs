//! What came of a run: a table for people, JSON for programs.

use serde::Serialize;
use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{
    plan::Fault,
    shared::{Fate, JobEnd, Observed, Sample, Shared},
};

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing happened that must not.
    pub passed: bool,
    /// With which `--seed` it replays.
    pub seed: u64,
    /// How long it lasted, in seconds.
    pub seconds: u64,
    /// How many workers there were.
    pub workers: u8,
    /// How many users there were.
    pub users: u8,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// What this machine did not permit.
    pub remarks: Vec<String>,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, Faults>,
    /// Jobs by what became of them.
    pub jobs: BTreeMap<Fate, usize>,
    /// How long jobs took from the first attempt to submit them to the checked result, in seconds.
    pub job_seconds: Spread,
    /// How many finalized blocks were read.
    pub blocks: u32,
    /// The longest time without a newly finalized block while three authorities were undisturbed, in seconds.
    pub longest_finality_gap_s: u64,
    /// How often finality was seen to wait while two authorities were stopped.
    pub stalls: u32,
    /// How long it took after each episode until everything worked, in seconds.
    pub recovery_seconds: Spread,
    /// How often the chain's state was audited.
    pub audits: u32,
    /// How often the secret was looked for in the memory of hosts and nodes, and on their disks.
    pub searches: u32,
    /// The most resident memory of each process, in MiB.
    pub peaks_mib: BTreeMap<String, u64>,
    /// Resident memory over time.
    pub memory: Vec<Sample>,
    /// What was done, in order.
    pub schedule: Vec<Done>,
    /// Where logs are kept, if it failed.
    pub logs: Option<PathBuf>,
}

/// How often faults of a kind came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Inflicted.
    pub inflicted: usize,
    /// Passed over, because this machine does not permit them.
    pub skipped: usize,
}

/// A fault that was in the schedule.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// When its episode began, in seconds from the beginning.
    pub at_s: u64,
    /// What it was.
    #[serde(flatten)]
    pub fault: Fault,
    /// Why it was passed over.
    pub skipped: Option<&'static str>,
}

/// The least, middle and greatest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half are below.
    pub median: f64,
    /// None is above.
    pub max: f64,
}

impl Spread {
    /// Of any numbers.
    pub fn new(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let median = numbers.get(numbers.len() / 2).copied().unwrap_or_default();
        Self { count: numbers.len(), median, max: numbers.last().copied().unwrap_or_default() }
    }
}

/// What was done so far, and how long the network took to recover.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The faults that have come.
    pub schedule: Vec<Done>,
    /// In seconds.
    pub recoveries: Vec<f64>,
}

impl Report {
    /// Of a run.
    pub fn new(
        shared: &Shared,
        progress: Progress,
        seed: u64,
        (workers, users): (u8, u8),
        remarks: Vec<String>,
    ) -> Self {
        let (violations, ends) = (shared.violations(), shared.ends());
        let Observed { longest_gap, stalls, blocks, audits, searches, memory, peaks, .. } =
            shared.observe(|observed| observed.clone());
        let mut faults = BTreeMap::<&'static str, Faults>::new();
        for done in &progress.schedule {
            let count = faults.entry(done.fault.kind.name()).or_default();
            match done.skipped {
                None => count.inflicted += 1,
                Some(_) => count.skipped += 1,
            }
        }
        let mut jobs = BTreeMap::<Fate, usize>::new();
        for JobEnd { fate, .. } in &ends {
            *jobs.entry(*fate).or_default() += 1;
        }
        let right = ends.iter().filter(|end| end.fate == Fate::Right);
        Self {
            passed: violations.is_empty(),
            seed,
            seconds: shared.elapsed().as_secs(),
            workers,
            users,
            violations,
            remarks,
            faults,
            jobs,
            job_seconds: Spread::new(right.map(|end| end.seconds).collect()),
            blocks,
            longest_finality_gap_s: longest_gap.as_secs(),
            stalls,
            recovery_seconds: Spread::new(progress.recoveries),
            audits,
            searches,
            peaks_mib: peaks,
            memory,
            schedule: progress.schedule,
            logs: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<28} {value}");
        row("outcome", if self.passed { "passed".into() } else { "FAILED".into() })?;
        row("seed", self.seed.to_string())?;
        row("minutes", format!("{:.1}", self.seconds as f64 / 60.0))?;
        row("network", format!("4 authorities, {} workers, {} users", self.workers, self.users))?;
        for (kind, faults) in &self.faults {
            let skipped = if faults.skipped == 0 { String::new() } else { format!(", {} skipped", faults.skipped) };
            row(&format!("fault: {kind}"), format!("{}{skipped}", faults.inflicted))?;
        }
        for (fate, count) in &self.jobs {
            let fate = match fate {
                Fate::Right => "right",
                Fate::OutOfTime => "out of wall time",
                Fate::Expired => "expired, escrow returned",
                Fate::Replaced => "lost with its block",
                Fate::NotSubmitted => "not submitted",
            };
            row(&format!("jobs: {fate}"), count.to_string())?;
        }
        let spread = |spread: &Spread| format!("median {:.0} s, max {:.0} s", spread.median, spread.max);
        row("job, to its checked result", spread(&self.job_seconds))?;
        row("recovery after an episode", spread(&self.recovery_seconds))?;
        row("longest finality gap", format!("{} s, with three authorities", self.longest_finality_gap_s))?;
        row("finality waited", format!("{} times, with two authorities", self.stalls))?;
        row("finalized blocks read", self.blocks.to_string())?;
        row("audits of the state", self.audits.to_string())?;
        row("searches for the secret", self.searches.to_string())?;
        for (process, peak) in &self.peaks_mib {
            row(&format!("memory: {process}"), format!("{peak} MiB at most"))?;
        }
        for remark in &self.remarks {
            row("remark", remark.clone())?;
        }
        for violation in &self.violations {
            row("VIOLATION", violation.clone())?;
        }
        if let Some(logs) = &self.logs {
            row("logs", logs.display().to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Process};

    #[test]
    fn spreads_are_those_of_their_numbers() {
        assert_eq!(Spread::new(vec![]), Spread::default());
        assert_eq!(Spread::new(vec![3.0, 1.0, 2.0]), Spread { count: 3, median: 2.0, max: 3.0 });
    }

    #[test]
    fn a_report_counts_and_names_its_seed() {
        let shared = Shared::new("canary-00".into());
        let kind = Kind::Kill { process: Process::Node(1) };
        let fault = Fault { after_s: 0, for_s: 5, kind };
        let done = |skipped| Done { at_s: 10, fault: fault.clone(), skipped };
        let progress = Progress { schedule: vec![done(None), done(Some("not permitted"))], recoveries: vec![12.0] };
        shared.violated("a job ended twice".into());
        let report = Report::new(&shared, progress, 7, (3, 2), vec![]);
        assert_eq!(report.faults["kill"], Faults { inflicted: 1, skipped: 1 });
        assert!(!report.passed);
        let (text, json) = (report.to_string(), serde_json::to_string(&report).unwrap());
        assert!(text.contains("FAILED") && text.contains("a job ended twice") && !text.contains("canary"), "{text}");
        assert!(json.contains("\"seed\":7") && json.contains("\"process\":\"node-1\""), "{json}");
    }
}
