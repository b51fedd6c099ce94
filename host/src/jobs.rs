//! What the host knows of each job: which input the enclave accepted, where it stands, whether its receipt is settled.
//! Kept in memory and rebuilt from disk.
//!
//! Anybody can ask to start any job with any bytes; only the enclave can tell a real input from noise. So nothing is
//! kept of a start before the enclave has accepted it, and none takes anything from a job that was accepted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phala_primitives::{Hash, JobId, Outcome, SignedReceipt};
use phala_protocol::{JobState, Refusal};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    metrics::Metrics,
    store::{self, Store},
};

/// The most jobs that wait or run at once, as far as the host is concerned.
pub const MAX_PENDING: usize = 1024;

/// The most starts that wait for the enclave's answer at once. The enclave lets a host have more requests open.
const MAX_STARTS: usize = 128;

/// How long a refusal is remembered for who asks.
const KEEP_REFUSED: Duration = Duration::from_secs(60 * 60);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// This host never heard of it, or has forgotten it.
    Unknown,
    /// Waits in the enclave.
    Queued,
    /// Its program is loaded and compiled.
    Preparing,
    /// Runs.
    Running,
    /// Its result is encrypted and handed over.
    Finishing,
    /// Has a receipt.
    Ended,
    /// Will not run here.
    Refused,
}

impl Phase {
    const ALL: [Self; 6] = [Self::Queued, Self::Preparing, Self::Running, Self::Finishing, Self::Ended, Self::Refused];

    /// Whether the enclave still has something to do.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Queued | Self::Preparing | Self::Running | Self::Finishing)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Ended => "ended",
            Self::Refused => "refused",
        }
    }
}

impl From<JobState> for Phase {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Preparing => Self::Preparing,
            JobState::Running => Self::Running,
            JobState::Finishing => Self::Finishing,
        }
    }
}

/// Why a job does not run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// One sentence.
    pub reason: String,
    /// Whether the same start can succeed later.
    pub retry: bool,
}

impl From<Refusal> for RefusalReport {
    fn from(refusal: Refusal) -> Self {
        Self { reason: refusal.reason, retry: refusal.retry }
    }
}

/// What `GET /v1/jobs/{id}` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub state: Phase,
    /// Set when refused.
    pub refusal: Option<RefusalReport>,
    /// The block in which its receipt was settled.
    pub receipt_block: Option<u32>,
}

/// What happened to a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// The chain has not settled the job yet.
    Open,
    /// The chain settled the job with it.
    Settled {
        /// In which block.
        block: u32,
    },
    /// The chain does not want it any more.
    Abandoned {
        /// Why.
        reason: String,
    },
}

/// A job as kept in memory and in `jobs/ID.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    /// SHA-256 of the encrypted job input that the enclave accepted, hexadecimal.
    input: Option<String>,
    phase: Phase,
    refusal: Option<RefusalReport>,
    /// What became of the last receipt, which may be of an earlier attempt than the one that the phase is about.
    receipt: Option<ReceiptState>,
    /// Seconds since the Unix epoch of the last change.
    updated: u64,
    /// Starts that wait for the enclave's answer.
    #[serde(skip)]
    starts: usize,
}

impl Record {
    fn new() -> Self {
        Self { input: None, phase: Phase::Queued, refusal: None, receipt: None, updated: now(), starts: 0 }
    }

    fn input_hash(&self) -> Option<Hash> {
        let mut hash = [0; 32];
        hex::decode_to_slice(self.input.as_ref()?, &mut hash).ok().map(|()| hash)
    }
}

/// Every job that this host knows.
pub struct Jobs {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    records: Mutex<BTreeMap<JobId, Record>>,
    receipt_added: Notify,
}

/// A start that the enclave has not answered yet. Dropped without [`Start::accepted`], it leaves nothing behind.
pub struct Start<'a> {
    jobs: &'a Jobs,
    job: JobId,
    input: Hash,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Too many jobs are pending.
    #[error("the host has {MAX_PENDING} jobs pending; try again later")]
    Busy,
    /// Too many starts are under way.
    #[error("{MAX_STARTS} starts wait for the enclave; try again in a moment")]
    Crowded,
}

impl Jobs {
    /// Rebuilds what is known from disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn load(store: Arc<Store>, metrics: Arc<Metrics>) -> Result<Self, store::Error> {
        let mut records = BTreeMap::new();
        for (job, json) in store.load_records()? {
            match serde_json::from_slice::<Record>(&json) {
                Ok(mut record) => {
                    // The receipt is written first: after a crash in between, it decides.
                    if record.phase.is_pending() && store.load_receipt(job)?.is_some() && record.receipt.is_none() {
                        record.phase = Phase::Ended;
                        record.receipt = Some(ReceiptState::Open);
                    }
                    if record.phase.is_pending() {
                        store.pin_blobs(job, record.input_hash());
                    }
                    records.insert(job, record);
                }
                Err(error) => tracing::warn!(job, %error, "ignoring a damaged job record"),
            }
        }
        let jobs = Self { store, metrics, records: Mutex::new(records), receipt_added: Notify::new() };
        jobs.count(&jobs.records());
        Ok(jobs)
    }

    /// Records are whole whenever the lock is released.
    fn records(&self) -> MutexGuard<'_, BTreeMap<JobId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a start is on its way to the enclave.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn begin(&self, job: JobId, input: Hash) -> Result<Start<'_>, StartError> {
        let mut records = self.records();
        if records.values().map(|record| record.starts).sum::<usize>() >= MAX_STARTS {
            return Err(StartError::Crowded);
        }
        let pending = records.values().filter(|record| record.phase.is_pending()).count();
        let known = records.get(&job).is_some_and(|record| record.phase.is_pending());
        if !known && pending >= MAX_PENDING {
            return Err(StartError::Busy);
        }
        let record = records.entry(job).or_insert_with(Record::new);
        if record.phase == Phase::Refused {
            *record = Record { receipt: record.receipt.take(), starts: record.starts, ..Record::new() };
        }
        record.starts += 1;
        self.count(&records);
        Ok(Start { jobs: self, job, input })
    }

    /// The enclave has accepted a job, and needs these blobs until it ends.
    pub fn pin(&self, job: JobId, blobs: Vec<Hash>) {
        let records = self.records();
        if records.get(&job).is_some_and(|record| record.phase.is_pending()) {
            self.store.pin_blobs(job, blobs);
        }
    }

    /// The enclave says where a job stands. The receipt of an earlier attempt stays until there is another.
    pub fn progress(&self, job: JobId, state: JobState) {
        let mut records = self.records();
        let Some(record) = records.get_mut(&job) else { return };
        record.phase = state.into();
        record.refusal = None;
        record.updated = now();
        self.count(&records);
    }

    /// A job has ended: keeps its receipt durably before anything else.
    ///
    /// # Errors
    /// The disk's.
    pub fn ended(&self, job: JobId, receipt: &SignedReceipt) -> Result<(), store::Error> {
        let same = self.store.load_receipt(job)?.as_ref() == Some(receipt);
        self.store.finish_output(job)?;
        if !same {
            self.store.store_receipt(job, receipt)?;
        }
        let mut records = self.records();
        let record = records.entry(job).or_insert_with(Record::new);
        // Otherwise what is known of a receipt may be about another: the chain is asked again.
        let counted = same && record.phase == Phase::Ended && record.receipt.is_some();
        if !counted {
            record.receipt = Some(ReceiptState::Open);
        }
        record.phase = Phase::Ended;
        record.refusal = None;
        record.updated = now();
        self.store.unpin_blobs(job);
        let snapshot = record.clone();
        self.count(&records);
        drop(records);
        if !counted {
            self.metrics.job_outcomes.with_label_values(&[&outcome_label(&receipt.receipt.outcome)]).inc();
        }
        self.persist(job, &snapshot)?;
        self.receipt_added.notify_one();
        Ok(())
    }

    /// Waits until a receipt comes in; at once when one came since the last wait.
    pub async fn receipt_added(&self) {
        self.receipt_added.notified().await;
    }

    /// A job will not run here.
    ///
    /// # Errors
    /// The disk's.
    pub fn refused(&self, job: JobId, refusal: Refusal) -> Result<(), store::Error> {
        let mut records = self.records();
        let Some(record) = records.get_mut(&job).filter(|record| record.phase.is_pending()) else { return Ok(()) };
        record.phase = Phase::Refused;
        record.refusal = Some(refusal.into());
        record.updated = now();
        self.store.unpin_blobs(job);
        let snapshot = record.clone();
        self.count(&records);
        drop(records);
        self.persist(job, &snapshot)
    }

    /// Where a job stands.
    pub fn report(&self, job: JobId) -> JobReport {
        let records = self.records();
        let unknown = JobReport { job, state: Phase::Unknown, refusal: None, receipt_block: None };
        records.get(&job).map_or(unknown, |record| JobReport {
            job,
            state: record.phase,
            refusal: record.refusal.clone(),
            receipt_block: match record.receipt {
                Some(ReceiptState::Settled { block }) => Some(block),
                _ => None,
            },
        })
    }

    /// The jobs that an enclave must be given (again): job and input.
    pub fn pending(&self) -> Vec<(JobId, Hash)> {
        let records = self.records();
        let pending = records.iter().filter(|(_, record)| record.phase.is_pending());
        pending.filter_map(|(job, record)| Some((*job, record.input_hash()?))).collect()
    }

    /// The jobs whose receipts the chain has not settled.
    pub fn open_receipts(&self) -> Vec<JobId> {
        let records = self.records();
        let open = records.iter().filter(|(_, record)| record.receipt == Some(ReceiptState::Open));
        open.map(|(job, _)| *job).collect()
    }

    /// A receipt's fate is known. Its job input is not needed any more.
    ///
    /// # Errors
    /// The disk's.
    pub fn close_receipt(&self, job: JobId, state: ReceiptState) -> Result<(), store::Error> {
        let mut records = self.records();
        let Some(record) = records.get_mut(&job) else { return Ok(()) };
        record.receipt = Some(state);
        record.updated = now();
        let snapshot = record.clone();
        drop(records);
        self.persist(job, &snapshot)?;
        if let Some(signed) = self.store.load_receipt(job)? {
            self.store.remove_blob(&signed.receipt.input_hash);
        }
        Ok(())
    }

    /// Forgets jobs that nothing has happened to for `retention`, and refused ones sooner. Those with work to do and
    /// those with open receipts stay.
    pub fn forget_old(&self, retention: Duration) {
        let age = |record: &Record| Duration::from_secs(now().saturating_sub(record.updated));
        let old = |record: &Record| match (record.phase, &record.receipt) {
            (phase, _) if phase.is_pending() => false,
            (_, Some(ReceiptState::Open)) => false,
            (Phase::Refused, None) => age(record) > KEEP_REFUSED.min(retention),
            _ => age(record) > retention,
        };
        let mut records = self.records();
        let forgotten: Vec<_> = records.iter().filter(|(_, record)| old(record)).map(|(job, _)| *job).collect();
        for job in forgotten {
            match self.store.remove_job(job) {
                Ok(()) => drop(records.remove(&job)),
                Err(error) => tracing::warn!(job, %error, "could not remove an old job"),
            }
        }
        self.count(&records);
    }

    fn persist(&self, job: JobId, record: &Record) -> Result<(), store::Error> {
        let json = serde_json::to_vec(record).expect("a record is plain JSON");
        self.store.store_record(job, &json)
    }

    fn count(&self, records: &BTreeMap<JobId, Record>) {
        for phase in Phase::ALL {
            let count = records.values().filter(|record| record.phase == phase).count();
            self.metrics.jobs.with_label_values(&[phase.label()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let open = records.values().filter(|record| record.receipt == Some(ReceiptState::Open)).count();
        self.metrics.open_receipts.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

impl Start<'_> {
    /// The enclave accepted the job: from now on it is started again whenever an enclave connects.
    ///
    /// # Errors
    /// The disk's.
    pub fn accepted(self) -> Result<(), store::Error> {
        let mut records = self.jobs.records();
        let Some(record) = records.get_mut(&self.job) else { return Ok(()) };
        record.input = Some(hex::encode(self.input));
        let snapshot = record.clone();
        drop(records);
        self.jobs.persist(self.job, &snapshot)
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        let mut records = self.jobs.records();
        let Some(record) = records.get_mut(&self.job) else { return };
        record.starts = record.starts.saturating_sub(1);
        // No start of this job was accepted since it ended or was refused, if it ever was.
        if record.starts == 0 && record.input.is_none() && record.phase.is_pending() {
            match record.receipt {
                Some(_) => record.phase = Phase::Ended,
                None => drop(records.remove(&self.job)),
            }
        }
        self.jobs.count(&records);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn outcome_label(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { .. } => "completed".into(),
        Outcome::Failed(reason) => format!("{reason:?}"),
    }
}
