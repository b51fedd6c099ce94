//! Jobs that come from other workers.
//!
//! When a worker loses a job, the chain gives it to another. Inputs that are encrypted to an app open in the enclave of any
//! worker that has a job of the app, so nobody needs to bring them again: the host of the worker that has the job now gets them
//! from the hosts that had it before, newest first, and starts the job. So it does with a job whose inputs are here already.
//!
//! ```text
//!   a finalized block: the job is this worker's
//!        │
//!        ▼          no, in a later attempt
//!   inputs here? ──────────────────────────► each earlier holder: what does it keep?
//!        │ yes                                   │
//!        │                                       ▼
//!        │                                   the job input: encrypted to the job's app? ──no──► the next holder
//!        ▼                                       │ yes
//!    StartJob ◄──────────────────────────────────┴─ the rest
//! ```
//!
//! The other side is `GET /v1/jobs/{job}/inputs` and `GET /v1/blobs/{blob}`: what this host keeps for the next worker, until the
//! chain says that the job has ended.
//!
//! # Invariants
//! - A job's owner comes first. What is fetched is written to files of its own and counts for the operator's account, so that it
//!   is in the way of no upload; and no start is made while another is under way. Whichever start the enclave accepts, counts.
//! - What is fetched has the hash under which it is kept. Whether a job input is the job's, the enclave finds out, and refuses any
//!   that does not hold the job's secret.
//! - Nothing is fetched for a job that is not this worker's in a finalized block, or is due.
//!
//! # Attacks
//! Holders, and who is at their endpoints, are strangers.
//! - *Answers without end, or slow ones*: lists have their bounds, blobs the length that was announced, and all together that of
//!   an account's quota. A holder has half of the blocks that are left until the job is due, the last one all of them; who was
//!   of no use is asked last the next time.
//! - *Junk that fills the disk*: it is within the quota of the operator's own account, and removed once its holder is found out.
//! - *Endpoints that are somebody else's*: all that they get is `GET` of two fixed paths; no redirect is followed, and no answer is
//!   shown to anybody.
//! - *Tokens that are passed on*: they are good for some minutes, for ciphertext of one job.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    mem,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use phala_app_encryption::{HeaderError, MAX_HEADER_BYTES, Purpose, targets};
use phala_primitives::{AppId, Hash, JobId, WorkerId, input::MAX_JOB_INPUT_BYTES, job::JobStatus};
use phala_sdk::{
    Signer,
    host::{Download, FetchToken, Host, HostError, KeptBlob, KeptInputs},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    blocking,
    chain::{At, Backoff, Heads, Node, NodeError, OperatorConfig},
    enclave::{Enclave, RequestError},
    jobs::{Crowded, Inputs, Jobs, MAX_BLOBS},
    metrics::Metrics,
    store::{self, Limits, Store},
};

/// Takeovers that are under way at once.
const CONCURRENT: usize = 4;

/// The longest pause between two goes at a job, in blocks.
const MAX_PAUSE: u32 = 16;

/// How long a holder may take to say what it keeps.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a token is good, by the chain's clock, in seconds.
const TOKEN_LIFE: u64 = 300;

/// The longest encrypted job input that an enclave takes, in bytes.
const MAX_INPUT_BYTES: u64 = 2 * MAX_JOB_INPUT_BYTES as u64;

/// When to look again whether another takeover has fetched a blob.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Kept inputs about which the chain is asked at each finalized block.
const KEPT_LOOKS: usize = 4;

/// How long inputs are kept of a job that the node does not know: it may lag behind the enclave's light client.
const KEEP_UNKNOWN: Duration = Duration::from_secs(60 * 60);

/// What the host of a worker needs of its node to notice others' jobs, beside what every host does.
pub trait JobsNode: Node {
    /// The jobs that a worker has, at the newest finalized block.
    fn assigned(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<JobId>, NodeError>>;

    /// Who was given a job, in turn, at the newest finalized block.
    fn holders(&self, job: JobId) -> BoxFuture<'_, Result<Vec<WorkerId>, NodeError>>;
}

/// What takeovers need.
pub struct Takeover {
    /// The node.
    pub node: Arc<dyn JobsNode>,
    /// Where the node's chain is; `None` while it does not answer.
    pub heads: watch::Receiver<Option<Heads>>,
    /// The enclave.
    pub enclave: Arc<Enclave>,
    /// The disk.
    pub store: Arc<Store>,
    /// What is known of jobs.
    pub jobs: Arc<Jobs>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the operator wants.
    pub operator: OperatorConfig,
    /// The operator's key. Without it, holders give nothing.
    pub signer: Option<Signer>,
}

/// An assignment of a job: the job and the attempt.
type Key = (JobId, u32);

/// An assignment that nobody has started here.
#[derive(Clone, Copy)]
struct Task {
    worker: WorkerId,
    job: JobId,
    attempt: u32,
    app: AppId,
    due: u32,
}

/// What earlier goes at an assignment have shown.
#[derive(Default)]
struct History {
    /// Job inputs that are not encrypted to the app, or that the enclave refuses for good.
    useless: BTreeSet<Hash>,
    /// How often each holder was of no use.
    failures: BTreeMap<WorkerId, u32>,
    /// What came from each before it failed for the first time.
    fetched: BTreeMap<WorkerId, Vec<Hash>>,
}

/// Why a go at a job came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the node: {0}")]
    Node(#[from] NodeError),
    #[error("the enclave: {0}")]
    Enclave(#[from] RequestError),
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the start's task failed: {0}")]
    Task(#[from] JoinError),
    #[error("other hosts have its inputs, and give them to the operator alone, whose key this host does not hold")]
    NoKey,
    #[error("its inputs are nowhere but with its owner")]
    NoHolder,
    #[error("it is started by somebody else, or over")]
    Elsewhere,
    /// Of each holder, why it was of no use.
    #[error("{}", .0.iter().map(|(worker, error)| format!("worker {worker}: {error}")).collect::<Vec<_>>().join("; "))]
    Holders(Vec<(WorkerId, HolderError)>),
}

impl Failure {
    /// Whether the enclave will never start the job with the same input.
    fn is_final(&self) -> bool {
        matches!(self, Self::Enclave(RequestError::Refused(refusal)) if !refusal.retry)
    }
}

/// Why a holder was of no use.
#[derive(Debug, thiserror::Error)]
enum HolderError {
    #[error("it is not registered any more")]
    Gone,
    #[error("its endpoint is this host's own")]
    Own,
    #[error("it took too long")]
    Slow,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("the node: {0}")]
    Node(#[from] NodeError),
    #[error("what it keeps is of no use: {0}")]
    Offer(&'static str),
    #[error("its job input is not encrypted to the job's app: {0}")]
    NotForApp(&'static str),
    #[error("its job input: {0}")]
    Header(#[from] HeaderError),
    #[error("what it sent was not kept: {0}")]
    Store(#[from] store::Error),
    #[error("its job input is not the job's: {0}")]
    Refused(Failure),
}

impl Takeover {
    /// Works on every new block, for ever.
    pub async fn run(self) {
        let mut heads = self.heads.clone();
        let mut rounds = Rounds::new(self);
        loop {
            tokio::select! {
                biased;
                Some(done) = rounds.under_way.join_next() => rounds.finished(done),
                changed = heads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *heads.borrow_and_update();
                    if let Some(now) = now {
                        rounds.step(now).await;
                    }
                }
            }
        }
    }

    /// Whether all of these blobs are here.
    async fn are_here(&self, blobs: &BTreeSet<Hash>) -> bool {
        let (store, blobs) = (self.store.clone(), blobs.clone());
        blocking::run(move || blobs.iter().all(|blob| store.use_blob(blob).is_some())).await
    }

    /// What is known here of a job's inputs, if all of it is here and may be of use.
    async fn complete(&self, job: JobId, history: &History) -> Option<Hash> {
        let known = self.jobs.inputs(job).filter(|known| !history.useless.contains(&known.input))?;
        self.are_here(&known.blobs).await.then_some(known.input)
    }

    /// One go at a job: starts it with inputs that are here, or with those of an earlier holder.
    async fn go(&self, task: &Task, history: &mut History) -> Result<(), Failure> {
        if let Some(input) = self.complete(task.job, history).await {
            match self.start(task, input).await {
                Err(error) if error.is_final() => {
                    history.useless.insert(input);
                    self.jobs.denied(task.job, &input);
                    if task.attempt == 1 {
                        return Err(error);
                    }
                }
                ended => return ended,
            }
        }
        let signer = self.signer.as_ref().ok_or(Failure::NoKey)?;
        let mut holders = earlier(self.node.holders(task.job).await?, task.worker);
        holders.sort_by_key(|holder| history.failures.get(holder).copied().unwrap_or_default());
        let mut errors = Vec::new();
        for (index, holder) in holders.iter().enumerate() {
            self.ensure_open(task)?;
            let last = index + 1 == holders.len();
            let asking = Asking { takeover: self, signer, task, fetched: Vec::new() };
            match self.try_holder(asking, *holder, last, history).await? {
                Ok(()) => return Ok(()),
                Err(error) => errors.push((*holder, error)),
            }
            let failures = history.failures.entry(*holder).or_default();
            *failures = failures.saturating_add(1);
        }
        Err(if errors.is_empty() { Failure::NoHolder } else { Failure::Holders(errors) })
    }

    /// Starts the job with what a holder gives. The inner error says why that is of no use.
    async fn try_holder(
        &self,
        mut asking: Asking<'_>,
        holder: WorkerId,
        last: bool,
        history: &mut History,
    ) -> Result<Result<(), HolderError>, Failure> {
        let task = asking.task;
        let best = (*self.heads.borrow()).map_or(0, |heads| heads.best);
        let left = task.due.saturating_sub(best);
        let end = if last { task.due } else { best.saturating_add((left / 2).max(1)) };
        let asked = self.until(end, asking.ask(holder, history)).await;
        let error = match asked {
            Ok(input) => match self.start(task, input).await {
                Err(error) if error.is_final() => {
                    history.useless.insert(input);
                    HolderError::Refused(error)
                }
                ended => return ended.map(Ok),
            },
            // What came so far may be gone on with, once.
            Err(error @ HolderError::Host(_)) if !history.failures.contains_key(&holder) => {
                history.fetched.insert(holder, asking.fetched);
                return Ok(Err(error));
            }
            Err(error) => error,
        };
        asking.fetched.extend(history.fetched.remove(&holder).unwrap_or_default());
        asking.remove_fetched().await;
        Ok(Err(error))
    }

    /// What `asking` gives before a block.
    async fn until<T>(
        &self,
        block: u32,
        asking: impl Future<Output = Result<T, HolderError>>,
    ) -> Result<T, HolderError> {
        let mut heads = self.heads.clone();
        tokio::select! {
            biased;
            asked = asking => asked,
            // It fails when the host stops.
            _ = heads.wait_for(|heads| heads.is_some_and(|heads| heads.best >= block)) => Err(HolderError::Slow),
        }
    }

    /// Whether nobody else starts the job, or has.
    fn ensure_open(&self, task: &Task) -> Result<(), Failure> {
        let open = self.jobs.is_idle(task.job) && self.jobs.is_open(task.job, task.attempt);
        if open { Ok(()) } else { Err(Failure::Elsewhere) }
    }

    /// Starts an attempt at a job. It goes on when the takeover is ended: what the enclave accepts has to be on record.
    async fn start(&self, task: &Task, input: Hash) -> Result<(), Failure> {
        let Task { job, attempt, .. } = *task;
        self.ensure_open(task)?;
        self.jobs.admit(job)?;
        let (enclave, jobs) = (self.enclave.clone(), self.jobs.clone());
        let starting = async move {
            enclave.start_job(job, attempt, input).await?;
            blocking::run(move || jobs.keep(job)).await?;
            Ok::<_, Failure>(())
        };
        tokio::spawn(starting).await?
    }
}

/// A holder is asked for a job's inputs.
struct Asking<'a> {
    takeover: &'a Takeover,
    signer: &'a Signer,
    task: &'a Task,
    /// What it gave that nobody else brought.
    fetched: Vec<Hash>,
}

impl Asking<'_> {
    /// Gets what is not here of the job's inputs, and gives the job input's hash.
    async fn ask(&mut self, holder: WorkerId, history: &mut History) -> Result<Hash, HolderError> {
        let Takeover { node, store, jobs, operator, .. } = self.takeover;
        let endpoint = node.worker(holder).await?.ok_or(HolderError::Gone)?.endpoint;
        let endpoint = String::from_utf8_lossy(&endpoint);
        if endpoint.trim_end_matches('/').eq_ignore_ascii_case(&operator.endpoint) {
            return Err(HolderError::Own);
        }
        let host = Host::new(&endpoint)?;
        let token = self.token()?;
        let kept = timeout(LIST_TIMEOUT, host.inputs(self.task.job, &token)).await.map_err(|_| HolderError::Slow)??;
        // What the enclave has accepted tells best what there must be.
        let known = jobs.inputs(self.task.job).filter(|known| known.accepted);
        let known = known.filter(|known| !history.useless.contains(&known.input));
        let (disk, limits) = (store.clone(), store.limits());
        let useless = history.useless.clone();
        let chosen = blocking::run(move || {
            choose(&kept, known.as_ref(), &useless, &limits, |blob| disk.use_blob(blob).is_some())
        });
        let Choice { input, lacking } = chosen.await?;
        for blob in lacking.iter().filter(|blob| blob.sha256 == input) {
            self.fetch(&host, *blob).await?;
        }
        let checked = self.check_target(input).await;
        if matches!(checked, Err(HolderError::NotForApp(_) | HolderError::Header(_))) {
            history.useless.insert(input);
        }
        checked?;
        for blob in lacking.iter().filter(|blob| blob.sha256 != input) {
            self.fetch(&host, *blob).await?;
        }
        Ok(input)
    }

    /// Whether a job input is encrypted to the job's app, as one.
    async fn check_target(&self, input: Hash) -> Result<(), HolderError> {
        let store = self.takeover.store.clone();
        let length = u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX);
        let header = blocking::run(move || store.read_blob(&input, 0, length)).await?.unwrap_or_default();
        let targets = targets(&header)?;
        if targets.is_empty() {
            return Err(HolderError::NotForApp("it is for one worker, or for somebody else"));
        }
        let fits = |app: AppId, purpose| app == self.task.app && purpose == Purpose::JobInput;
        if targets.iter().any(|target| fits(target.app, target.purpose)) {
            return Ok(());
        }
        Err(HolderError::NotForApp("it is for another app, or another purpose"))
    }

    /// Gets a blob, unless it is here. What an earlier go got of it is not fetched again.
    async fn fetch(&mut self, host: &Host, blob: KeptBlob) -> Result<(), HolderError> {
        let account = self.takeover.operator.operator;
        loop {
            let store = self.takeover.store.clone();
            let look = move || (store.use_blob(&blob.sha256).is_some(), store.interrupted_bytes(&blob.sha256, account));
            let (here, begun) = blocking::run(look).await;
            if here {
                return Ok(());
            }
            let begun = begun.filter(|begun| *begun <= blob.bytes).unwrap_or(0);
            match self.receive(host, blob, begun).await {
                // What was here of it, perhaps from another holder, is no part of it, and is gone.
                Err(HolderError::Store(store::Error::HashMismatch { .. })) if begun > 0 => {}
                Err(HolderError::Store(store::Error::UploadUnderWay)) => sleep(AGAIN_AFTER).await,
                received => {
                    self.fetched.extend(received?.then_some(blob.sha256));
                    return Ok(());
                }
            }
        }
    }

    /// Gets a blob from an offset on, and says whether it is new.
    async fn receive(&self, host: &Host, blob: KeptBlob, begun: u64) -> Result<bool, HolderError> {
        let KeptBlob { sha256, bytes } = blob;
        let Takeover { store, metrics, operator, .. } = self.takeover;
        let mut download = host.blob(&sha256, begun, &self.token()?).await?;
        if download.as_ref().and_then(Download::total).is_some_and(|total| total != bytes) {
            return Err(HolderError::Offer("a blob is not as long as it says"));
        }
        let offset = download.as_ref().map_or(begun, Download::offset);
        let (store, account) = (store.clone(), operator.operator);
        let begin = move || store.begin_upload(sha256, account, offset, Some(bytes));
        let mut upload = blocking::run(begin).await?;
        if let Some(download) = &mut download {
            while let Some(piece) = download.next().await? {
                metrics.count_bytes("takeover", "in", piece.len());
                let write = move || {
                    let written = upload.write(&piece);
                    (upload, written)
                };
                let written;
                (upload, written) = blocking::run(write).await;
                written?;
            }
        }
        Ok(blocking::run(move || upload.finish()).await?)
    }

    /// A token for the job, good from now on for a while.
    fn token(&self) -> Result<FetchToken, NodeError> {
        let Takeover { node, heads, .. } = self.takeover;
        let known = (*heads.borrow()).zip(node.genesis_hash());
        let (heads, genesis_hash) = known.ok_or_else(|| NodeError("it does not answer".into()))?;
        Ok(FetchToken::sign(self.signer, genesis_hash, self.task.job, heads.now.saturating_add(TOKEN_LIFE)))
    }

    /// Removes what came from a holder that is of no use, unless the job's owner has found it here.
    async fn remove_fetched(self) {
        let Takeover { store, jobs, .. } = self.takeover;
        let (store, jobs, job) = (store.clone(), jobs.clone(), self.task.job);
        let unwanted = self.fetched.into_iter().filter(move |blob| !jobs.has_brought(job, blob));
        blocking::run(move || unwanted.for_each(|blob| store.remove_blob(&blob))).await;
    }
}

/// What to get of what a holder keeps.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    /// The job input.
    input: Hash,
    /// What is not here.
    lacking: Vec<KeptBlob>,
}

/// What to get: all that a holder keeps, or of a job that the enclave accepted, what that reads.
fn choose(
    kept: &KeptInputs,
    known: Option<&Inputs>,
    useless: &BTreeSet<Hash>,
    limits: &Limits,
    is_here: impl Fn(&Hash) -> bool,
) -> Result<Choice, HolderError> {
    let offered: BTreeMap<Hash, u64> = kept.blobs.iter().map(|blob| (blob.sha256, blob.bytes)).collect();
    if kept.blobs.len() > MAX_BLOBS || offered.len() != kept.blobs.len() {
        return Err(HolderError::Offer("more blobs than a job reads, or one of them twice"));
    }
    let input = known.map_or(kept.input, |known| known.input);
    if useless.contains(&input) {
        return Err(HolderError::Offer("a job input that was tried before"));
    }
    let wanted: Vec<Hash> = match known {
        Some(known) => known.blobs.iter().copied().collect(),
        None => [input].into_iter().chain(offered.keys().copied().filter(|blob| *blob != input)).collect(),
    };
    let mut lacking = Vec::new();
    let mut total = 0u64;
    for sha256 in wanted.into_iter().filter(|blob| !is_here(blob)) {
        let bytes = *offered.get(&sha256).ok_or(HolderError::Offer("not all that the job reads"))?;
        total = total.saturating_add(bytes);
        if bytes > limits.blob_bytes || total > limits.account_bytes || (sha256 == input && bytes > MAX_INPUT_BYTES) {
            return Err(HolderError::Offer("more bytes than this host takes"));
        }
        lacking.push(KeptBlob { sha256, bytes });
    }
    Ok(Choice { input, lacking })
}

/// Who had a job before a worker, newest first.
fn earlier(holders: Vec<WorkerId>, worker: WorkerId) -> Vec<WorkerId> {
    let mut earlier = Vec::new();
    for holder in holders.into_iter().rev() {
        if holder != worker && !earlier.contains(&holder) {
            earlier.push(holder);
        }
    }
    earlier
}

/// Goes at all assignments that nobody has started.
pub(crate) struct Rounds {
    takeover: Arc<Takeover>,
    rounds: BTreeMap<Key, Round>,
    under_way: JoinSet<Done>,
    /// The finalized block at which the chain was asked about kept inputs last.
    kept_at: u32,
    /// The job that it was asked about.
    last_kept: JobId,
}

/// How a go ended.
type Done = (Key, History, Result<(), Failure>);

/// Goes at one assignment.
struct Round {
    due: u32,
    /// The next is not before this best block.
    not_before: u32,
    backoff: Backoff,
    history: History,
    going: Option<AbortHandle>,
    /// The last failure that was logged.
    logged: String,
}

impl Round {
    fn new(due: u32) -> Self {
        let (backoff, history) = (Backoff::default(), History::default());
        Self { due, not_before: 0, backoff, history, going: None, logged: String::new() }
    }

    fn is_going(&self) -> bool {
        self.going.as_ref().is_some_and(|going| !going.is_finished())
    }
}

impl Rounds {
    pub(crate) fn new(takeover: Takeover) -> Self {
        let takeover = Arc::new(takeover);
        Self { takeover, rounds: BTreeMap::new(), under_way: JoinSet::new(), kept_at: 0, last_kept: 0 }
    }

    /// Looks at this worker's jobs, and at inputs that are kept for others.
    pub(crate) async fn step(&mut self, heads: Heads) {
        if let Err(error) = self.try_step(heads).await {
            tracing::debug!(%error, "cannot ask the chain about jobs that come from other workers");
        }
    }

    async fn try_step(&mut self, heads: Heads) -> Result<(), NodeError> {
        self.end_kept(heads).await?;
        let takeover = self.takeover.clone();
        let Some(session) = takeover.enclave.session() else { return Ok(()) };
        let worker = WorkerId(session.identity.signing_key);
        let assigned = takeover.node.assigned(worker).await?;
        self.end(|(job, _), round| !assigned.contains(job) || heads.best >= round.due);
        for job in assigned {
            if takeover.jobs.is_idle(job) {
                self.consider(job, worker, heads).await?;
            }
        }
        Ok(())
    }

    async fn consider(&mut self, job: JobId, worker: WorkerId, heads: Heads) -> Result<(), NodeError> {
        let takeover = self.takeover.clone();
        let Some(record) = takeover.node.job(job, At::Finalized).await? else { return Ok(()) };
        let (attempt, app) = (record.attempts, record.app);
        let JobStatus::Assigned(assignment) = record.status else { return Ok(()) };
        let due = assignment.due;
        if assignment.worker != worker || heads.best >= due || !takeover.jobs.is_open(job, attempt) {
            return Ok(());
        }
        let key = (job, attempt);
        self.end(|other, _| other.0 == job && *other != key);
        let round = self.rounds.entry(key).or_insert_with(|| Round::new(due));
        if round.is_going() || heads.best < round.not_before || self.under_way.len() >= CONCURRENT {
            return Ok(());
        }
        // In the first attempt they are here, or their owner brings them.
        if attempt == 1 && takeover.complete(job, &round.history).await.is_none() {
            return Ok(());
        }
        let mut history = mem::take(&mut round.history);
        round.going = Some(self.under_way.spawn(async move {
            let result = takeover.go(&Task { worker, job, attempt, app, due }, &mut history).await;
            (key, history, result)
        }));
        Ok(())
    }

    /// Ends goes at assignments that are over.
    fn end(&mut self, is_over: impl Fn(&Key, &Round) -> bool) {
        self.rounds.retain(|key, round| {
            let over = is_over(key, round);
            if let Some(going) = round.going.as_ref().filter(|_| over) {
                going.abort();
            }
            !over
        });
    }

    fn finished(&mut self, done: Result<Done, JoinError>) {
        let ((job, attempt), history, result) = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, "the task of a takeover failed");
                return;
            }
        };
        let Some(round) = self.rounds.get_mut(&(job, attempt)) else { return };
        let Takeover { heads, jobs, metrics, .. } = &*self.takeover;
        round.going = None;
        round.history = history;
        // Also after a success: the enclave may find later that it cannot run the job now.
        let pause = round.backoff.failed(MAX_PAUSE);
        round.not_before = (*heads.borrow()).map_or(0, |heads| heads.best.saturating_add(pause));
        match result {
            Ok(()) => {
                metrics.takeovers.with_label_values(&["started"]).inc();
                tracing::info!(job, attempt, "started a job without its owner");
            }
            // Also where the enclave said so.
            Err(_) if !jobs.is_idle(job) || !jobs.is_open(job, attempt) => {
                tracing::debug!(job, attempt, "somebody else was faster to start a job");
            }
            Err(error) => {
                metrics.takeovers.with_label_values(&["failed"]).inc();
                let error = error.to_string();
                if round.logged == error {
                    tracing::debug!(job, attempt, error, "still could not start a job without its owner");
                } else {
                    tracing::warn!(job, attempt, error, "could not start a job without its owner; trying again");
                    round.logged = error;
                }
            }
        }
    }

    /// Lets go of inputs that are kept for other workers and whose jobs have ended, some at each finalized block.
    async fn end_kept(&mut self, heads: Heads) -> Result<(), NodeError> {
        if self.kept_at == heads.finalized {
            return Ok(());
        }
        self.kept_at = heads.finalized;
        let Takeover { node, jobs, .. } = &*self.takeover;
        for (job, age) in jobs.kept_inputs(self.last_kept, KEPT_LOOKS) {
            self.last_kept = job;
            let over = match node.job(job, At::Finalized).await? {
                Some(record) => !matches!(record.status, JobStatus::Queued | JobStatus::Assigned(_)),
                None => age > KEEP_UNKNOWN,
            };
            if over {
                let jobs = jobs.clone();
                if let Err(error) = blocking::run(move || jobs.over(job)).await {
                    tracing::warn!(job, %error, "could not record that a job has ended");
                }
            }
        }
        Ok(())
    }

    /// Waits for the goes that are under way.
    #[cfg(test)]
    pub(crate) async fn settle(&mut self) {
        while let Some(done) = self.under_way.join_next().await {
            self.finished(done);
        }
    }
}
