//! What the host knows of each job: which attempt and input the enclave accepted, where it stands, whether its receipt is
//! settled. Kept in memory and rebuilt from disk.
//!
//! Anybody can ask to start any job with any bytes; only the enclave can tell a real input from noise. So a start changes
//! nothing before the enclave has accepted it. What the enclave says of the job meanwhile is remembered beside the start:
//! it may come before the acceptance.
//!
//! The inputs of a job are kept until the chain says that the job has ended: until then it may go to another worker, whose
//! host gets them here, or come back. So are those that its owner brought for a start that the enclave has not accepted yet, but
//! these are remembered in memory only.
//!
//! Everything that is kept durably of a job is written under that job's lock, from what is known at that moment: an older
//! state never replaces a newer one. Receipts of different attempts are different receipts: what becomes of one is nothing
//! to the other, and a receipt never replaces one of a later attempt.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phala_primitives::{Hash, JobId, Outcome, SignedReceipt, input::MAX_FILES};
use phala_protocol::{JobState, Refusal};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};

use crate::{
    metrics::Metrics,
    store::{self, Store},
};

/// The most jobs that wait or run at once, as far as the host is concerned.
pub const MAX_PENDING: usize = 1024;

/// The most blobs that a job reads: files, the job input, standard input, and a program twice.
pub const MAX_BLOBS: usize = MAX_FILES + 4;

/// The jobs that were not accepted, of which it is remembered what their owners brought.
const MAX_BROUGHT: usize = 1024;

/// How long a refusal is remembered for who asks.
const KEEP_REFUSED: Duration = Duration::from_secs(60 * 60);

/// The longest reason of a refusal that is kept, in characters.
const MAX_REASON: usize = 500;

/// What a job is taken to last before any has ended.
const FIRST_GUESS: Duration = Duration::from_secs(10);

/// Locks of jobs, each for many.
const LOCKS: usize = 16;

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
        Self { reason: refusal.reason.chars().take(MAX_REASON).collect(), retry: refusal.retry }
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
    /// The attempt that the phase is about.
    attempt: u32,
    /// SHA-256 of the encrypted job input that the enclave accepted, hexadecimal. `None`: the host only saw the end.
    input: Option<String>,
    /// What the job reads beside that, likewise.
    blobs: BTreeSet<String>,
    phase: Phase,
    refusal: Option<RefusalReport>,
    receipt: Option<KeptReceipt>,
    /// Whether the chain says that the job has ended: nobody asks for its inputs any more.
    #[serde(default)]
    over: bool,
    /// Seconds since the Unix epoch of the last change.
    updated: u64,
    #[serde(skip)]
    running_since: Option<Instant>,
}

/// The receipt on disk, which may be of an earlier attempt than the one that the phase is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptReceipt {
    attempt: u32,
    state: ReceiptState,
}

impl Record {
    fn new(attempt: u32, phase: Phase) -> Self {
        Self {
            attempt,
            input: None,
            blobs: BTreeSet::new(),
            phase,
            refusal: None,
            receipt: None,
            over: false,
            updated: now(),
            running_since: None,
        }
    }

    /// Whether the job's inputs are kept for the worker that gets it next.
    fn keeps_inputs(&self) -> bool {
        !self.phase.is_pending() && !self.over && self.input.is_some()
    }

    fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.updated))
    }

    fn input_hash(&self) -> Option<Hash> {
        self.input.as_deref().and_then(parse_hash)
    }

    /// All blobs that the job reads.
    fn reads(&self) -> impl Iterator<Item = Hash> {
        self.blobs.iter().chain(&self.input).filter_map(|digits| parse_hash(digits))
    }

    fn is_pending(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.phase.is_pending()
    }

    fn has_receipt_of(&self, attempt: u32) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| receipt.attempt == attempt)
    }

    fn open_receipt(&self) -> Option<u32> {
        self.receipt.as_ref().filter(|receipt| receipt.state == ReceiptState::Open).map(|receipt| receipt.attempt)
    }

    fn open(&mut self, attempt: u32) {
        self.receipt = Some(KeptReceipt { attempt, state: ReceiptState::Open });
    }

    fn refuse(&mut self, refusal: RefusalReport) {
        self.phase = Phase::Refused;
        self.refusal = Some(refusal);
        self.updated = now();
    }
}

/// An accepted job that has not ended: what an enclave must be given (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The job.
    pub job: JobId,
    /// Which assignment of it.
    pub attempt: u32,
    /// SHA-256 of its encrypted job input.
    pub input: Hash,
}

/// What a job reads, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// SHA-256 of its encrypted job input.
    pub input: Hash,
    /// All blobs, the job input among them, whether they are here or not.
    pub blobs: BTreeSet<Hash>,
    /// Whether an enclave accepted the job with this input: then it said what the job reads, and there is nothing else.
    pub accepted: bool,
}

/// Blobs on which a takeover or an upload counts, until dropped: none of them goes with what another takeover fetched in vain.
pub struct Wanted {
    jobs: Arc<Jobs>,
    blobs: Vec<Hash>,
}

/// Every job that this host knows.
pub struct Jobs {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Held while something durable of a job is changed.
    locks: [Mutex<()>; LOCKS],
    receipt_added: Notify,
}

struct State {
    records: BTreeMap<JobId, Record>,
    starting: BTreeMap<(JobId, u32), Starting>,
    /// Jobs that were not accepted.
    brought: BTreeMap<JobId, Brought>,
    /// How many takeovers and uploads count on a blob.
    wanted: BTreeMap<Hash, usize>,
    /// How long jobs run, lately.
    average_run: Duration,
}

/// Starts of one attempt that wait for the enclave's answer.
#[derive(Default)]
struct Starting {
    count: usize,
    /// What the enclave said of the job meanwhile.
    said: Option<(Phase, Option<RefusalReport>)>,
}

/// What the owner of a job brought for it before it was accepted.
struct Brought {
    blobs: BTreeSet<Hash>,
    /// With which the owner wanted to start it.
    input: Option<Hash>,
    at: Instant,
}

impl Brought {
    fn add(&mut self, blob: Hash) {
        if self.blobs.len() < MAX_BLOBS {
            self.blobs.insert(blob);
        }
    }

    /// What the job reads, as far as is known.
    fn reads(&self) -> impl Iterator<Item = Hash> {
        self.blobs.iter().copied().chain(self.input)
    }
}

impl State {
    /// Whether a job's owner, a takeover or an upload counts on a blob.
    fn is_wanted(&self, blob: &Hash) -> bool {
        let is_brought = |brought: &Brought| brought.blobs.contains(blob) || brought.input.as_ref() == Some(blob);
        self.wanted.contains_key(blob) || self.brought.values().any(is_brought)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = self.jobs.state();
        for blob in &self.blobs {
            if let Entry::Occupied(mut count) = state.wanted.entry(*blob) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

/// A start that the enclave has not answered yet. Dropped without [`Start::accepted`], it leaves nothing behind.
pub struct Start<'a> {
    jobs: &'a Jobs,
    job: JobId,
    attempt: u32,
}

/// As many jobs are pending as the host remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has {MAX_PENDING} jobs pending")]
pub struct Crowded;

impl Jobs {
    /// Rebuilds what is known from disk. What is damaged there is as good as missing, but a receipt without a record is
    /// still brought to the chain.
    ///
    /// # Errors
    /// The disk's.
    pub fn load(store: Arc<Store>, metrics: Arc<Metrics>) -> Result<Self, store::Error> {
        let mut records = BTreeMap::new();
        let known: BTreeSet<JobId> = store.recorded_jobs()?.into_iter().chain(store.jobs_with_receipts()?).collect();
        for job in known {
            let record: Option<Record> = store.load_record(job, |json| serde_json::from_slice(json).ok())?;
            let receipt = store.load_receipt(job)?.map(|signed| signed.receipt.attempt);
            records.extend(restored(record, receipt).map(|record| (job, record)));
        }
        let state = State {
            records,
            starting: BTreeMap::new(),
            brought: BTreeMap::new(),
            wanted: BTreeMap::new(),
            average_run: FIRST_GUESS,
        };
        let jobs =
            Self { store, metrics, state: Mutex::new(state), locks: Default::default(), receipt_added: Notify::new() };
        {
            let state = jobs.state();
            state.records.keys().for_each(|job| jobs.pin(&state, *job));
            jobs.count(&state);
        }
        Ok(jobs)
    }

    /// Records are whole whenever the lock is released.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock comes before that of the state.
    fn lock(&self, job: JobId) -> MutexGuard<'_, ()> {
        let index = usize::try_from(job % LOCKS as u64).unwrap_or(0);
        self.locks[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for a job that may be new.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn admit(&self, job: JobId) -> Result<(), Crowded> {
        let state = self.state();
        let known = state.records.get(&job).is_some_and(|record| record.phase.is_pending());
        let pending = state.records.values().filter(|record| record.phase.is_pending()).count();
        if known || pending < MAX_PENDING { Ok(()) } else { Err(Crowded) }
    }

    /// How long it takes until the jobs that are pending have run, `capacity` of them at once, going by those before.
    pub fn backlog(&self, capacity: u32) -> Duration {
        let state = self.state();
        let pending = state.records.values().filter(|record| record.phase.is_pending()).count();
        let rounds = u32::try_from(pending).unwrap_or(u32::MAX).div_ceil(capacity.max(1));
        state.average_run.saturating_mul(rounds)
    }

    /// Notes that a start is on its way to the enclave.
    pub fn begin(&self, job: JobId, attempt: u32) -> Start<'_> {
        self.state().starting.entry((job, attempt)).or_default().count += 1;
        Start { jobs: self, job, attempt }
    }

    /// Keeps durably what is known of a job.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, job: JobId) -> Result<(), store::Error> {
        let _lock = self.lock(job);
        self.persist(job)
    }

    /// The enclave says where an attempt at a job stands.
    pub fn progress(&self, job: JobId, attempt: u32, job_state: JobState) {
        let phase = Phase::from(job_state);
        let mut state = self.state();
        if let Some(starting) = state.starting.get_mut(&(job, attempt)) {
            starting.said = Some((phase, None));
        }
        if let Some(record) = state.records.get_mut(&job).filter(|record| record.is_pending(attempt)) {
            record.phase = phase;
            record.updated = now();
            if phase == Phase::Running {
                record.running_since.get_or_insert_with(Instant::now);
            }
        }
        self.count(&state);
    }

    /// A job has ended: keeps its receipt durably before anything else. May be called again after an error, and for a
    /// receipt that is known; one of an earlier attempt than the one on disk is dropped.
    ///
    /// # Errors
    /// The disk's.
    pub fn ended(&self, job: JobId, signed: &SignedReceipt) -> Result<(), store::Error> {
        let receipt = &signed.receipt;
        let attempt = receipt.attempt;
        let _lock = self.lock(job);
        let kept = self.store.load_receipt(job)?;
        if kept.as_ref().is_some_and(|kept| kept.receipt.attempt > attempt) {
            tracing::debug!(job, attempt, "dropped the receipt of an attempt that is over");
            return Ok(());
        }
        let same = kept.as_ref() == Some(signed);
        if !same {
            if !self.store.finish_output(job, &receipt.output_file_hash)? {
                tracing::warn!(job, "the output that the receipt names is not here");
            }
            self.store.store_receipt(job, signed)?;
        }
        let mut state = self.state();
        let record = state.records.entry(job).or_insert_with(|| Record::new(attempt, Phase::Ended));
        // Otherwise what is known of a receipt is about another: the chain is asked again.
        let counted = same && record.has_receipt_of(attempt);
        if !counted {
            record.open(attempt);
        }
        let ran = record.running_since.filter(|_| record.attempt == attempt).map(|since| since.elapsed());
        if record.attempt <= attempt {
            record.attempt = attempt;
            record.phase = Phase::Ended;
            record.refusal = None;
            record.running_since = None;
        }
        record.updated = now();
        self.pin(&state, job);
        if let Some(ran) = ran {
            state.average_run = (state.average_run.saturating_mul(7).saturating_add(ran)) / 8;
        }
        self.count(&state);
        drop(state);
        if !counted {
            self.metrics.job_outcomes.with_label_values(&[&outcome_label(&receipt.outcome)]).inc();
        }
        // The receipt is what counts: it is found without its record, too.
        self.receipt_added.notify_one();
        self.persist(job)
    }

    /// Waits until a receipt comes in; at once when one came since the last wait.
    pub async fn receipt_added(&self) {
        self.receipt_added.notified().await;
    }

    /// An attempt at a job will not run here. May be called again after an error.
    ///
    /// # Errors
    /// The disk's.
    pub fn refused(&self, job: JobId, attempt: u32, refusal: Refusal) -> Result<(), store::Error> {
        let _lock = self.lock(job);
        let report = RefusalReport::from(refusal);
        let mut state = self.state();
        if let Some(starting) = state.starting.get_mut(&(job, attempt)) {
            starting.said = Some((Phase::Refused, Some(report.clone())));
        }
        if let Some(record) = state.records.get_mut(&job).filter(|record| record.is_pending(attempt)) {
            record.refuse(report);
            self.pin(&state, job);
        }
        self.count(&state);
        drop(state);
        self.persist(job)
    }

    /// Where a job stands.
    pub fn report(&self, job: JobId) -> JobReport {
        let state = self.state();
        let unknown = JobReport { job, state: Phase::Unknown, refusal: None, receipt_block: None };
        state.records.get(&job).map_or(unknown, |record| JobReport {
            job,
            state: record.phase,
            refusal: record.refusal.clone(),
            receipt_block: match &record.receipt {
                Some(KeptReceipt { state: ReceiptState::Settled { block }, .. }) => Some(*block),
                _ => None,
            },
        })
    }

    /// The jobs that an enclave must be given (again).
    pub fn pending(&self) -> Vec<Pending> {
        let state = self.state();
        let pending = state.records.iter().filter(|(_, record)| record.phase.is_pending());
        let pending = pending.filter_map(|(job, record)| {
            Some(Pending { job: *job, attempt: record.attempt, input: record.input_hash()? })
        });
        pending.collect()
    }

    /// Whether an enclave must still be given this.
    pub fn is_pending(&self, pending: &Pending) -> bool {
        self.state().records.get(&pending.job).is_some_and(|record| record.is_pending(pending.attempt))
    }

    /// The receipts that the chain has not settled: jobs and attempts.
    pub fn open_receipts(&self) -> Vec<(JobId, u32)> {
        let state = self.state();
        state.records.iter().filter_map(|(job, record)| Some((*job, record.open_receipt()?))).collect()
    }

    /// The length of a blob, if it is here: the owner of a job counts on it from now on.
    pub fn find(&self, job: JobId, blob: &Hash) -> Option<u64> {
        let mut state = self.state();
        let bytes = self.store.use_blob(blob)?;
        self.note(&mut state, job, |brought| brought.add(*blob));
        Some(bytes)
    }

    /// Notes that the owner of a job brought a blob for it.
    pub fn brought(&self, job: JobId, blob: Hash) {
        self.note(&mut self.state(), job, |brought| brought.add(blob));
    }

    /// Notes that the owner of a job wants to start it with this input: what he brought for it is kept from now on. Counts as
    /// use of that.
    pub fn asked(&self, job: JobId, input: Hash) {
        self.note(&mut self.state(), job, |brought| {
            brought.input = Some(input);
            brought.reads().for_each(|blob| _ = self.store.use_blob(&blob));
        });
    }

    /// The enclave will never start a job with the input that its owner brought.
    pub fn denied(&self, job: JobId, input: &Hash) {
        let mut state = self.state();
        if let Some(brought) = state.brought.get_mut(&job).filter(|brought| brought.input.as_ref() == Some(input)) {
            brought.input = None;
            self.pin(&state, job);
        }
    }

    fn note(&self, state: &mut State, job: JobId, change: impl FnOnce(&mut Brought)) {
        if state.brought.len() >= MAX_BROUGHT
            && !state.brought.contains_key(&job)
            && let Some(oldest) = state.brought.iter().min_by_key(|(_, brought)| brought.at).map(|(job, _)| *job)
        {
            state.brought.remove(&oldest);
            self.pin(state, oldest);
        }
        let at = Instant::now();
        let brought = state.brought.entry(job).or_insert_with(|| Brought { blobs: BTreeSet::new(), input: None, at });
        brought.at = at;
        change(brought);
        self.pin(state, job);
    }

    /// Pins what is kept for a job: what it reads, as long as it may run here. Then, until it is over, what it read, and what
    /// its owner brought to start it.
    fn pin(&self, state: &State, job: JobId) {
        let record = state.records.get(&job);
        let needed = record.is_some_and(|record| record.phase.is_pending());
        let mut blobs = BTreeSet::new();
        if let Some(record) = record.filter(|record| needed || record.keeps_inputs()) {
            blobs.extend(record.reads());
        }
        if let Some(brought) = state.brought.get(&job).filter(|brought| !needed && brought.input.is_some()) {
            blobs.extend(brought.reads());
        }
        self.store.pin_blobs(job, blobs, needed);
    }

    /// Notes that a takeover or an upload counts on blobs, here or still to come.
    pub fn want(self: &Arc<Self>, blobs: impl IntoIterator<Item = Hash>) -> Wanted {
        let blobs: Vec<Hash> = blobs.into_iter().collect();
        let mut state = self.state();
        for blob in &blobs {
            let count = state.wanted.entry(*blob).or_default();
            *count = count.saturating_add(1);
        }
        drop(state);
        Wanted { jobs: self.clone(), blobs }
    }

    /// Removes blobs, unless another job reads them, or its owner, a takeover or an upload counts on them.
    pub fn remove_unwanted(&self, blobs: impl IntoIterator<Item = Hash>) {
        let removed = {
            let state = self.state();
            self.store.remove_blobs(blobs.into_iter().filter(|blob| !state.is_wanted(blob)))
        };
        removed.unlink();
    }

    /// What a job reads: what an enclave accepted here, else what the job's owner brought and wanted to start.
    pub fn inputs(&self, job: JobId) -> Option<Inputs> {
        let state = self.state();
        let accepted = state.records.get(&job).and_then(|record| Some((record.input_hash()?, record)));
        if let Some((input, record)) = accepted {
            return Some(Inputs { input, blobs: record.reads().collect(), accepted: true });
        }
        let brought = state.brought.get(&job)?;
        let input = brought.input?;
        Some(Inputs { input, blobs: brought.blobs.iter().copied().chain([input]).collect(), accepted: false })
    }

    /// Whether nothing of a job is under way here.
    pub fn is_idle(&self, job: JobId) -> bool {
        let state = self.state();
        let starting = state.starting.range((job, 0)..=(job, u32::MAX)).next().is_some();
        !starting && !state.records.get(&job).is_some_and(|record| record.phase.is_pending())
    }

    /// Whether an attempt at a job has not ended here, in any way that another start would change nothing of.
    pub fn is_open(&self, job: JobId, attempt: u32) -> bool {
        let state = self.state();
        state.records.get(&job).is_none_or(|record| {
            let refused = record.refusal.as_ref().is_some_and(|refusal| !refusal.retry);
            let over = record.attempt > attempt || (record.attempt == attempt && refused);
            !over && !record.is_pending(attempt) && !record.has_receipt_of(attempt)
        })
    }

    /// The jobs whose inputs are kept for other workers, and for how long nothing has happened to each: at most `count`, in
    /// turn, beginning behind `last`.
    pub fn kept_inputs(&self, last: JobId, count: usize) -> Vec<(JobId, Duration)> {
        let state = self.state();
        // What becomes of a receipt tells first.
        let may_end = |record: &Record| !record.phase.is_pending() && record.open_receipt().is_none();
        let read = behind(&state.records, last).filter(|(_, record)| record.keeps_inputs() && may_end(record));
        let read = read.map(|(job, record)| (*job, record.age())).take(count);
        let brought = behind(&state.brought, last)
            .filter(|(job, brought)| brought.input.is_some() && state.records.get(job).is_none_or(may_end));
        let brought = brought.map(|(job, brought)| (*job, brought.at.elapsed())).take(count);
        let kept: BTreeMap<_, _> = brought.chain(read).map(|(job, age)| ((job <= last, job), age)).collect();
        kept.into_iter().map(|((_, job), age)| (job, age)).take(count).collect()
    }

    /// The chain says that a job has ended: nobody needs its inputs any more.
    ///
    /// # Errors
    /// The disk's: the chain is to be asked again after a restart.
    pub fn over(&self, job: JobId) -> Result<(), store::Error> {
        let _lock = self.lock(job);
        match self.state().records.get_mut(&job) {
            Some(record) if record.phase.is_pending() => return Ok(()),
            Some(record) => record.over = true,
            None => {}
        }
        self.let_go(job);
        self.persist(job)
    }

    /// Nothing of the inputs of a job that is over is kept for it any more, and nothing of its job input at all.
    fn let_go(&self, job: JobId) {
        let inputs = {
            let mut state = self.state();
            let brought = state.brought.remove(&job).and_then(|brought| brought.input);
            let read = state.records.get(&job).and_then(Record::input_hash);
            self.pin(&state, job);
            [brought, read]
        };
        self.remove_unwanted(inputs.into_iter().flatten());
    }

    /// The fate of an attempt's receipt is known: the job is over when that settled it. Nothing happens to the receipt of
    /// another attempt.
    ///
    /// # Errors
    /// The disk's: the receipt is still open then.
    pub fn close_receipt(&self, job: JobId, attempt: u32, fate: ReceiptState) -> Result<(), store::Error> {
        let _lock = self.lock(job);
        let change = |fate: ReceiptState| {
            let mut state = self.state();
            let record = state.records.get_mut(&job).filter(|record| record.has_receipt_of(attempt));
            let changed = record.is_some();
            if let Some(record) = record {
                record.over = matches!(fate, ReceiptState::Settled { .. }) && !record.phase.is_pending();
                record.receipt = Some(KeptReceipt { attempt, state: fate });
                record.updated = now();
            }
            self.count(&state);
            changed
        };
        if !change(fate) {
            return Ok(());
        }
        if let Err(error) = self.persist(job) {
            change(ReceiptState::Open);
            return Err(error);
        }
        let is_over = self.state().records.get(&job).is_some_and(|record| record.over);
        if is_over {
            self.let_go(job);
        }
        Ok(())
    }

    /// Forgets jobs that nothing has happened to for `retention`, and refused ones sooner. Those with work to do, those with
    /// open receipts and those that may go to another worker stay.
    pub fn forget_old(&self, retention: Duration) {
        let is_old = |record: &Record| match (record.phase, &record.receipt) {
            (phase, _) if phase.is_pending() => false,
            _ if record.open_receipt().is_some() || record.keeps_inputs() => false,
            (Phase::Refused, None) => record.age() > KEEP_REFUSED.min(retention),
            _ => record.age() > retention,
        };
        let old: Vec<JobId> = {
            let state = self.state();
            state.records.iter().filter(|(_, record)| is_old(record)).map(|(job, _)| *job).collect()
        };
        for job in old {
            let _lock = self.lock(job);
            // It may have come back to life.
            if !self.state().records.get(&job).is_some_and(is_old) {
                continue;
            }
            match self.store.remove_job(job) {
                Ok(()) => drop(self.state().records.remove(&job)),
                Err(error) => tracing::warn!(job, %error, "could not remove an old job"),
            }
        }
        self.count(&self.state());
    }

    /// Writes what is known of a job, whose lock the caller holds.
    fn persist(&self, job: JobId) -> Result<(), store::Error> {
        let Some(record) = self.state().records.get(&job).cloned() else { return Ok(()) };
        let json = serde_json::to_vec(&record).expect("a record is plain JSON");
        self.store.store_record(job, &json)
    }

    fn count(&self, state: &State) {
        let records = &state.records;
        for phase in Phase::ALL {
            let count = records.values().filter(|record| record.phase == phase).count();
            self.metrics.jobs.with_label_values(&[phase.label()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let open = records.values().filter(|record| record.open_receipt().is_some()).count();
        self.metrics.open_receipts.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

impl Start<'_> {
    /// The enclave accepted the job with this input, and needs these blobs until it ends: from now on it is given to every
    /// enclave that connects.
    pub fn accepted(self, input: Hash, blobs: &[Hash]) {
        let (jobs, job, attempt) = (self.jobs, self.job, self.attempt);
        let mut state = jobs.state();
        let said = state.starting.get(&(job, attempt)).and_then(|starting| starting.said.clone());
        let record = state.records.entry(job).or_insert_with(|| Record::new(attempt, Phase::Queued));
        if attempt < record.attempt || record.has_receipt_of(attempt) {
            // The answer is late, or the enclave only says again how the job ended.
            return;
        }
        if !record.is_pending(attempt) {
            *record = Record { receipt: record.receipt.take(), ..Record::new(attempt, Phase::Queued) };
        }
        // The first input that was accepted is the one that counts.
        record.input.get_or_insert_with(|| hex::encode(input));
        record.blobs.extend(blobs.iter().map(hex::encode));
        if let Some((phase, refusal)) = said {
            record.phase = phase;
            record.refusal = refusal;
            if phase == Phase::Running {
                record.running_since.get_or_insert_with(Instant::now);
            }
        }
        record.updated = now();
        state.brought.remove(&job);
        jobs.pin(&state, job);
        jobs.count(&state);
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        let mut state = self.jobs.state();
        let key = (self.job, self.attempt);
        if let Some(starting) = state.starting.get_mut(&key) {
            starting.count = starting.count.saturating_sub(1);
            if starting.count == 0 {
                state.starting.remove(&key);
            }
        }
    }
}

/// What is known of a job after a restart, from its record and the attempt of its receipt. A receipt is written before its
/// record: after a crash in between, it decides.
fn restored(record: Option<Record>, receipt: Option<u32>) -> Option<Record> {
    let Some(mut record) = record else {
        let mut found = Record::new(receipt?, Phase::Ended);
        found.open(receipt?);
        return Some(found);
    };
    match receipt {
        Some(attempt) => {
            if !record.has_receipt_of(attempt) {
                record.open(attempt);
            }
            if record.attempt <= attempt {
                record.attempt = attempt;
                record.phase = Phase::Ended;
                record.refusal = None;
            }
        }
        // The receipt is lost before it was settled: the enclave has it, and gives it again to who starts the job.
        None if record.open_receipt() == Some(record.attempt) && record.input_hash().is_some() => {
            record.receipt = None;
            record.phase = Phase::Queued;
        }
        None => {}
    }
    if record.phase.is_pending() && record.input_hash().is_none() {
        let reason = "the host has lost the job's input".into();
        record.refuse(RefusalReport { reason, retry: true });
    }
    Some(record)
}

/// What is behind `last`, and then the rest.
fn behind<V>(jobs: &BTreeMap<JobId, V>, last: JobId) -> impl Iterator<Item = (&JobId, &V)> {
    jobs.range((Bound::Excluded(last), Bound::Unbounded)).chain(jobs.range(..=last))
}

fn parse_hash(digits: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok().map(|()| hash)
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
