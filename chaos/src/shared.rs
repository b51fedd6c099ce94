//! What the parts of a run tell each other.

use anyhow::{Result, ensure};
use phala_primitives::WorkerId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::plan::Process;

/// What a run knows of itself.
pub struct Shared {
    /// The secret that is in every input, and that nobody but enclaves and users may have.
    pub canary: String,
    begun: Instant,
    /// Cancelled by the first violation.
    failed: CancellationToken,
    /// Cancelled when users begin no more jobs.
    closing: CancellationToken,
    /// Jobs that the chain has and that have not ended, by what is final.
    pub live: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    violations: Vec<String>,
    /// When something was wrong on purpose, recoveries included: from, to.
    troubles: Vec<(Instant, Option<Instant>)>,
    ends: Vec<JobEnd>,
    observed: Observed,
}

/// How a user's job ended.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// When it was submitted.
    pub submitted: Instant,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What became of it.
    pub fate: Fate,
    /// Who ran it.
    pub worker: Option<WorkerId>,
}

/// What became of a user's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It ended as it should, and its output is right.
    Right,
    /// It had no more wall time, because its enclave was stopped.
    OutOfTime,
    /// No worker ended it by its deadline, and its escrow was returned.
    Expired,
    /// A block had its submission and was replaced by one without.
    Replaced,
    /// Its submission failed, and nothing was paid; the user tried again later.
    NotSubmitted,
}

/// What was seen of nodes and processes.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The finalized block of each node that answered last time.
    pub finalized: BTreeMap<Process, u32>,
    /// The longest time without a newly finalized block while three authorities were undisturbed.
    pub longest_gap: Duration,
    /// How often finality was seen to wait for a supermajority.
    pub stalls: u32,
    /// How many finalized blocks were read.
    pub blocks: u32,
    /// How often the state was audited.
    pub audits: u32,
    /// How often the secret was looked for.
    pub searches: u32,
    /// Resident memory of each process over time.
    pub memory: Vec<Sample>,
    /// The most resident memory of each process, in MiB.
    pub peaks: BTreeMap<String, u64>,
}

/// Resident memory of all processes.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When, in seconds from the beginning.
    pub at_s: u64,
    /// How much, in MiB.
    pub mib: BTreeMap<String, u64>,
}

impl Shared {
    /// Of a run that begins now.
    pub fn new(canary: String) -> Self {
        Self {
            canary,
            begun: Instant::now(),
            failed: CancellationToken::new(),
            closing: CancellationToken::new(),
            live: AtomicUsize::new(0),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has lasted.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Says that something happened that must not, which ends the run.
    pub fn violated(&self, what: String) {
        eprintln!("{:>6} s  VIOLATION: {what}", self.elapsed().as_secs());
        self.inner().violations.push(what);
        self.failed.cancel();
    }

    /// Waits for a violation.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// What must not have happened.
    pub fn violations(&self) -> Vec<String> {
        self.inner().violations.clone()
    }

    /// Lets users begin no more jobs.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Whether users begin no more jobs.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// From now on something is wrong on purpose.
    pub fn begin_trouble(&self) {
        self.inner().troubles.push((Instant::now(), None));
    }

    /// Everything works again.
    pub fn end_trouble(&self) {
        let now = Instant::now();
        for (_, to) in &mut self.inner().troubles {
            to.get_or_insert(now);
        }
    }

    /// Fails with `problem` if nothing was wrong on purpose at any time since `since`.
    ///
    /// # Errors
    /// With `problem`.
    pub fn forgive(&self, since: Instant, problem: impl FnOnce() -> String) -> Result<()> {
        let troubled = self.inner().troubles.iter().any(|(_, to)| to.is_none_or(|to| to > since));
        ensure!(troubled, "{}, though nothing was wrong", problem());
        Ok(())
    }

    /// A user's job ended.
    pub fn ended(&self, end: JobEnd) {
        self.inner().ends.push(end);
    }

    /// How users' jobs ended.
    pub fn ends(&self) -> Vec<JobEnd> {
        self.inner().ends.clone()
    }

    /// What was seen, and adds to it.
    pub fn observe<T>(&self, with: impl FnOnce(&mut Observed) -> T) -> T {
        with(&mut self.inner().observed)
    }

    /// How many jobs are live, by what is final.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_forgiven_only_in_trouble() {
        let shared = Shared::new(String::new());
        let problem = || "it broke".to_owned();
        let before = Instant::now();
        assert!(shared.forgive(before, problem).is_err());
        shared.begin_trouble();
        assert!(shared.forgive(before, problem).is_ok());
        assert!(shared.forgive(Instant::now(), problem).is_ok());
        shared.end_trouble();
        assert!(shared.forgive(before, problem).is_ok());
        let error = shared.forgive(Instant::now() + Duration::from_millis(1), problem).unwrap_err().to_string();
        assert!(error.contains("it broke"), "{error}");
    }

    #[tokio::test]
    async fn a_violation_is_kept_and_told() {
        let shared = Shared::new(String::new());
        shared.violated("finality went back".into());
        shared.failed().await;
        assert_eq!(shared.violations(), ["finality went back"]);
    }
}
