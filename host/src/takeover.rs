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
//! - Nothing is fetched for a job that is not this worker's in a finalized block, and nothing is started once less than the job's
//!   wall time is left until it is due.
//! - What is fetched is removed when its holder is found out, unless anything else here refers to it: another job, an owner who
//!   brings the same or has found it here, another takeover.
//!
//! # Attacks
//! Holders, and who is at their endpoints, are strangers.
//! - *Answers without end, or slow ones*: lists have their bounds, blobs the length that was announced, and all together that of
//!   an account's quota. Who sends less than [`RATE`] is given up. A holder has half of the blocks that are left to start the job,
//!   the last one all of them; who was of no use is asked last the next time.
//! - *Jobs lost on purpose, to keep all places busy*: each holder is asked by one takeover at a time, and to wait for it, or for a
//!   blob that another fetches, takes no place. The cost: of what one holder keeps, a large job holds up the small ones, for as
//!   long as the holder may take; they are looked at again as soon as a takeover ends.
//! - *Junk that fills the disk*: it is within the quota of the operator's own account, and removed once its holder is found out.
//! - *Endpoints that are somebody else's*: all that they get is `GET` of two fixed paths; no redirect is followed, and no answer is
//!   shown to anybody.
//! - *Tokens that are passed on*: they are good for some minutes, for ciphertext of one job.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    task::{self, AbortHandle, JoinError, JoinSet},
    time::timeout,
};

use crate::{
    blocking,
    chain::{At, Backoff, Heads, Node, NodeError, OperatorConfig},
    enclave::{Enclave, RequestError},
    jobs::{Crowded, Inputs, Jobs, MAX_BLOBS, Wanted},
    metrics::Metrics,
    pace::{MinimumRate, Pace, TooSlow},
    store::{self, Limits, Store},
};

/// The least that a holder has to send: half of what a line of one megabit a second uploads. A takeover has the minute that
/// the chain gives a job beyond its wall time; at less than this, it would not get 4 MiB.
pub const RATE: MinimumRate = MinimumRate { bytes: 640 << 10, over: Duration::from_secs(10) };

/// What a blob counts for beside its bytes: to ask for it takes a round trip, and most blobs are small.
const BLOB_BYTES: usize = 64 << 10;

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

    /// The time between two blocks, in milliseconds, as the chain counts.
    fn block_ms(&self) -> BoxFuture<'_, Result<u64, NodeError>>;
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
    /// The least that a holder has to send.
    pub rate: MinimumRate,
}

/// The holders that are asked at the moment, each by one takeover.
#[derive(Default)]
struct Asked(Mutex<BTreeSet<WorkerId>>);

/// A turn at a holder, until dropped.
struct Turn<'a> {
    asked: &'a Asked,
    holder: WorkerId,
}

impl Asked {
    fn holders(&self) -> MutexGuard<'_, BTreeSet<WorkerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn at a holder, unless another takeover has it.
    fn begin(&self, holder: WorkerId) -> Option<Turn<'_>> {
        self.holders().insert(holder).then(|| Turn { asked: self, holder })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.asked.holders().remove(&self.holder);
    }
}

/// An assignment of a job: the job and the attempt.
type Key = (JobId, u32);

/// An assignment that nobody has started here.
struct Task {
    job: JobId,
    attempt: u32,
    app: AppId,
    /// See [`too_late`].
    too_late: u32,
    /// Who had the job before, newest first.
    holders: Vec<WorkerId>,
}

/// What earlier goes at an assignment have shown.
#[derive(Default)]
struct History {
    /// Job inputs that are not encrypted to the app, or that the enclave refuses for good.
    useless: BTreeSet<Hash>,
    /// How often each holder was of no use.
    failures: BTreeMap<WorkerId, u32>,
    /// What came from each that may still be of use.
    fetched: BTreeMap<WorkerId, Vec<Hash>>,
    /// What the enclave may take later.
    ready: Option<Ready>,
}

/// Inputs of which a holder gave what was lacking.
struct Ready {
    holder: WorkerId,
    inputs: Inputs,
    _wanted: Option<Wanted>,
}

impl History {
    fn failed(&mut self, holder: WorkerId) {
        let failures = self.failures.entry(holder).or_default();
        *failures = failures.saturating_add(1);
    }
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
    #[error("less time is left than it may take")]
    TooLate,
    /// Of each holder, why it was of no use.
    #[error("{}", .0.iter().map(|(worker, error)| format!("worker {worker}: {error}")).collect::<Vec<_>>().join("; "))]
    Holders(Vec<(WorkerId, HolderError)>),
}

impl Failure {
    /// Whether the enclave will never start the job with the same input.
    fn is_final(&self) -> bool {
        matches!(self, Self::Enclave(RequestError::Refused(refusal)) if !refusal.retry)
    }

    /// Whether it was only in the way that other takeovers are under way.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Holders(errors) if errors.iter().all(|(_, error)| matches!(error, HolderError::Busy)))
    }
}

/// Why a holder was of no use.
#[derive(Debug, thiserror::Error)]
enum HolderError {
    #[error("it is not registered any more")]
    Gone,
    #[error("its endpoint is this host's own")]
    Own,
    #[error("another takeover asks it, or fetches the same")]
    Busy,
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
            let now = tokio::select! {
                biased;
                // Others may have waited for it.
                Some(done) = rounds.under_way.join_next_with_id() => match rounds.finished(done) {
                    true => *heads.borrow(),
                    false => None,
                },
                changed = heads.changed() => match changed {
                    Ok(()) => *heads.borrow_and_update(),
                    Err(_) => return,
                },
            };
            if let Some(now) = now {
                rounds.step(now).await;
            }
        }
    }

    /// Whether all of these blobs are here.
    async fn are_here(&self, blobs: &BTreeSet<Hash>) -> bool {
        let (store, blobs) = (self.store.clone(), blobs.clone());
        blocking::run(move || blobs.iter().all(|blob| store.use_blob(blob).is_some())).await
    }

    /// The job input of inputs that are here as a whole and may be of use: those that are known of the job, or that a holder
    /// gave. What the enclave said that goes with a job input counts, not what a holder gave with it.
    async fn complete(&self, job: JobId, history: &History) -> Option<Hash> {
        let known = self.jobs.inputs(job);
        let accepted = known.as_ref().filter(|known| known.accepted).map(|known| known.input);
        let ready = history.ready.as_ref().map(|ready| ready.inputs.clone());
        let ready = ready.filter(|ready| Some(ready.input) != accepted);
        for Inputs { input, blobs, .. } in known.into_iter().chain(ready) {
            if !history.useless.contains(&input) && self.are_here(&blobs).await {
                return Some(input);
            }
        }
        None
    }

    /// One go at a job: starts it with inputs that are here, or with those of an earlier holder.
    async fn go(&self, task: &Task, asked: &Asked, history: &mut History) -> Result<(), Failure> {
        while let Some(input) = self.complete(task.job, history).await {
            match self.start(task, input).await {
                Err(error) if error.is_final() => {
                    history.useless.insert(input);
                    let (jobs, job) = (self.jobs.clone(), task.job);
                    blocking::run(move || jobs.denied(job, &input)).await;
                    let given = history.ready.as_ref().filter(|ready| ready.inputs.input == input);
                    if let Some(holder) = given.map(|ready| ready.holder) {
                        history.failed(holder);
                        self.remove_fetched(holder, history).await;
                    }
                    if task.attempt == 1 {
                        return Err(error);
                    }
                }
                ended => return ended,
            }
        }
        let signer = self.signer.as_ref().ok_or(Failure::NoKey)?;
        let mut holders = task.holders.clone();
        holders.sort_by_key(|holder| history.failures.get(holder).copied().unwrap_or_default());
        let mut errors = Vec::new();
        for (index, holder) in holders.iter().enumerate() {
            self.ensure_open(task)?;
            let last = index + 1 == holders.len();
            let Some(turn) = asked.begin(*holder) else {
                errors.push((*holder, HolderError::Busy));
                continue;
            };
            let pace = Pace::new(self.rate);
            let asking = Asking { takeover: self, signer, task, turn, pace, fetched: Vec::new(), wanted: None };
            match self.try_holder(asking, last, history).await? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if !matches!(error, HolderError::Busy) {
                        history.failed(*holder);
                    }
                    errors.push((*holder, error));
                }
            }
        }
        Err(if errors.is_empty() { Failure::NoHolder } else { Failure::Holders(errors) })
    }

    /// Starts the job with what a holder gives. The inner error says why that is of no use.
    async fn try_holder(
        &self,
        mut asking: Asking<'_>,
        last: bool,
        history: &mut History,
    ) -> Result<Result<(), HolderError>, Failure> {
        let task = asking.task;
        let best = self.best();
        let left = task.too_late.saturating_sub(best);
        let end = if last { task.too_late } else { best.saturating_add((left / 2).max(1)) };
        let asked = self.until(end, asking.ask(history)).await;
        let Asking { turn, fetched, wanted, .. } = asking;
        let holder = turn.holder;
        // Others may ask it while the enclave looks at what came.
        drop(turn);
        let may_go_on = !history.failures.contains_key(&holder);
        history.fetched.entry(holder).or_default().extend(fetched);
        let error = match asked {
            Ok(inputs) => match self.start(task, inputs.input).await {
                Err(error) if error.is_final() => {
                    history.useless.insert(inputs.input);
                    HolderError::Refused(error)
                }
                Err(error) => {
                    history.ready = Some(Ready { holder, inputs, _wanted: wanted });
                    return Err(error);
                }
                Ok(()) => return Ok(Ok(())),
            },
            // What came so far may be gone on with, once.
            Err(error @ (HolderError::Host(_) | HolderError::Slow)) if may_go_on => return Ok(Err(error)),
            Err(HolderError::Busy) => return Ok(Err(HolderError::Busy)),
            Err(error) => error,
        };
        drop(wanted);
        self.remove_fetched(holder, history).await;
        Ok(Err(error))
    }

    /// Removes what came from a holder that is of no use, unless anything else refers to it.
    async fn remove_fetched(&self, holder: WorkerId, history: &mut History) {
        drop(history.ready.take_if(|ready| ready.holder == holder));
        let fetched = history.fetched.remove(&holder).unwrap_or_default();
        let jobs = self.jobs.clone();
        blocking::run(move || jobs.remove_unwanted(fetched)).await;
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

    /// The best block's number, as far as is known.
    fn best(&self) -> u32 {
        (*self.heads.borrow()).map_or(0, |heads| heads.best)
    }

    /// Whether nobody else starts the job, or has, and there is time for it.
    fn ensure_open(&self, task: &Task) -> Result<(), Failure> {
        if !self.jobs.is_idle(task.job) || !self.jobs.is_open(task.job, task.attempt) {
            return Err(Failure::Elsewhere);
        }
        if self.best() < task.too_late { Ok(()) } else { Err(Failure::TooLate) }
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
    turn: Turn<'a>,
    pace: Pace,
    /// What it gave that nobody else brought.
    fetched: Vec<Hash>,
    /// What it says that it keeps.
    wanted: Option<Wanted>,
}

impl Asking<'_> {
    /// Gets what is not here of the job's inputs.
    async fn ask(&mut self, history: &mut History) -> Result<Inputs, HolderError> {
        let Takeover { node, store, jobs, operator, .. } = self.takeover;
        let endpoint = node.worker(self.turn.holder).await?.ok_or(HolderError::Gone)?.endpoint;
        let endpoint = String::from_utf8_lossy(&endpoint);
        if endpoint.trim_end_matches('/').eq_ignore_ascii_case(&operator.endpoint) {
            return Err(HolderError::Own);
        }
        let host = Host::new(&endpoint)?;
        let token = self.token()?;
        let kept = timeout(LIST_TIMEOUT, host.inputs(self.task.job, &token)).await.map_err(|_| HolderError::Slow)??;
        // Before it is looked what of it is here.
        self.wanted = Some(jobs.want(kept.blobs.iter().map(|blob| blob.sha256).take(MAX_BLOBS)));
        // What the enclave has accepted tells best what there must be.
        let known = jobs.inputs(self.task.job).filter(|known| known.accepted);
        let known = known.filter(|known| !history.useless.contains(&known.input));
        let (disk, limits) = (store.clone(), store.limits());
        let useless = history.useless.clone();
        let chosen = blocking::run(move || {
            choose(&kept, known.as_ref(), &useless, &limits, |blob| disk.use_blob(blob).is_some())
        });
        let Choice { input, blobs, lacking } = chosen.await?;
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
        Ok(Inputs { input, blobs, accepted: false })
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
                // To wait for that would take a place.
                Err(HolderError::Store(store::Error::UploadUnderWay)) => return Err(HolderError::Busy),
                received => {
                    self.fetched.extend(received?.then_some(blob.sha256));
                    return Ok(());
                }
            }
        }
    }

    /// Gets a blob from an offset on, and says whether it is new.
    async fn receive(&mut self, host: &Host, blob: KeptBlob, begun: u64) -> Result<bool, HolderError> {
        let KeptBlob { sha256, bytes } = blob;
        let Takeover { store, metrics, operator, .. } = self.takeover;
        let token = self.token()?;
        let mut download = self.moving(host.blob(&sha256, begun, &token)).await?;
        self.pace.count(BLOB_BYTES);
        if download.as_ref().and_then(Download::total).is_some_and(|total| total != bytes) {
            return Err(HolderError::Offer("a blob is not as long as it says"));
        }
        let offset = download.as_ref().map_or(begun, Download::offset);
        let (store, account) = (store.clone(), operator.operator);
        let begin = move || store.begin_upload(sha256, account, offset, Some(bytes));
        let mut upload = blocking::run(begin).await?;
        if let Some(download) = &mut download {
            while let Some(piece) = self.moving(download.next()).await? {
                self.pace.count(piece.len());
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

    /// What the holder gives next, unless it is too slow.
    async fn moving<T>(&mut self, next: impl Future<Output = Result<T, HostError>>) -> Result<T, HolderError> {
        let given = self.pace.wait(next).await.map_err(|TooSlow| HolderError::Slow)?;
        Ok(given?)
    }

    /// A token for the job, good from now on for a while.
    fn token(&self) -> Result<FetchToken, NodeError> {
        let Takeover { node, heads, .. } = self.takeover;
        let known = (*heads.borrow()).zip(node.genesis_hash());
        let (heads, genesis_hash) = known.ok_or_else(|| NodeError("it does not answer".into()))?;
        Ok(FetchToken::sign(self.signer, genesis_hash, self.task.job, heads.now.saturating_add(TOKEN_LIFE)))
    }
}

/// What to get of what a holder keeps.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    /// The job input.
    input: Hash,
    /// All blobs, the job input among them.
    blobs: BTreeSet<Hash>,
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
    let blobs = wanted.iter().copied().collect();
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
    Ok(Choice { input, blobs, lacking })
}

/// The first block in which less is left of the time for a job, which ends in block `due`, than its wall time.
pub(crate) fn too_late(due: u32, wall_ms: u64, block_ms: u64) -> u32 {
    let wall_blocks = u32::try_from(wall_ms.div_ceil(block_ms.max(1))).unwrap_or(u32::MAX);
    due.saturating_sub(wall_blocks).saturating_add(1)
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
    asked: Arc<Asked>,
    block_ms: Option<u64>,
    /// The job whose go began last.
    last_begun: JobId,
    /// The finalized block at which the chain was asked about kept inputs last.
    kept_at: u32,
    /// The job that it was asked about.
    last_kept: JobId,
}

/// How a go ended.
type Done = (History, Result<(), Failure>);

/// Goes at one assignment.
struct Round {
    /// See [`too_late`].
    too_late: u32,
    /// The next is not before this best block.
    not_before: u32,
    backoff: Backoff,
    history: History,
    going: Option<AbortHandle>,
    /// The last failure that was logged.
    logged: String,
}

impl Round {
    fn new(too_late: u32) -> Self {
        let (backoff, history) = (Backoff::default(), History::default());
        Self { too_late, not_before: 0, backoff, history, going: None, logged: String::new() }
    }

    fn pause(&mut self, best: u32) {
        self.not_before = best.saturating_add(self.backoff.failed(MAX_PAUSE));
    }
}

impl Rounds {
    pub(crate) fn new(takeover: Takeover) -> Self {
        let takeover = Arc::new(takeover);
        let (rounds, under_way, asked) = (BTreeMap::new(), JoinSet::new(), Arc::default());
        Self { takeover, rounds, under_way, asked, block_ms: None, last_begun: 0, kept_at: 0, last_kept: 0 }
    }

    /// Looks at this worker's jobs, and at inputs that are kept for others.
    pub(crate) async fn step(&mut self, heads: Heads) {
        // What has ended makes place.
        while let Some(done) = self.under_way.try_join_next_with_id() {
            self.finished(done);
        }
        if let Err(error) = self.try_step(heads).await {
            tracing::debug!(%error, "cannot ask the chain about jobs that come from other workers");
        }
    }

    async fn try_step(&mut self, heads: Heads) -> Result<(), NodeError> {
        self.end_kept(heads).await?;
        let takeover = self.takeover.clone();
        let Some(session) = takeover.enclave.session() else { return Ok(()) };
        let worker = WorkerId(session.identity.signing_key);
        let mut assigned = takeover.node.assigned(worker).await?;
        self.end(|(job, _), round| !assigned.contains(job) || heads.best >= round.too_late);
        // In turn: some may only find that others are in their way.
        assigned.sort_unstable_by_key(|job| (*job <= self.last_begun, *job));
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
        let block_ms = match self.block_ms {
            Some(known) => known,
            None => *self.block_ms.insert(takeover.node.block_ms().await?),
        };
        let too_late = too_late(assignment.due, record.limits.wall_ms, block_ms);
        if assignment.worker != worker || heads.best >= too_late || !takeover.jobs.is_open(job, attempt) {
            return Ok(());
        }
        let key = (job, attempt);
        self.end(|other, _| other.0 == job && *other != key);
        let round = self.rounds.entry(key).or_insert_with(|| Round::new(too_late));
        if round.going.is_some() || heads.best < round.not_before || self.under_way.len() >= CONCURRENT {
            return Ok(());
        }
        let is_here = takeover.complete(job, &round.history).await.is_some();
        // In the first attempt they are here, or their owner brings them.
        if attempt == 1 && !is_here {
            return Ok(());
        }
        let holders = earlier(takeover.node.holders(job).await?, worker);
        let are_busy = {
            let asked = self.asked.holders();
            !holders.is_empty() && holders.iter().all(|holder| asked.contains(holder))
        };
        if are_busy && !is_here {
            return Ok(());
        }
        self.last_begun = job;
        let (asked, mut history) = (self.asked.clone(), mem::take(&mut round.history));
        round.going = Some(self.under_way.spawn(async move {
            let task = Task { job, attempt, app, too_late, holders };
            let result = takeover.go(&task, &asked, &mut history).await;
            (history, result)
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

    /// Takes note of how a go ended. Says whether others may go on now.
    fn finished(&mut self, done: Result<(task::Id, Done), JoinError>) -> bool {
        let (id, done) = match done {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => {
                if !error.is_cancelled() {
                    tracing::error!(%error, "the task of a takeover failed");
                }
                (error.id(), None)
            }
        };
        let is_going = |round: &Round| round.going.as_ref().is_some_and(|going| going.id() == id);
        // What was ended may have begun anew.
        let Some((key, round)) = self.rounds.iter_mut().find(|(_, round)| is_going(round)) else { return true };
        let (job, attempt) = *key;
        let best = self.takeover.best();
        let Takeover { jobs, metrics, .. } = &*self.takeover;
        round.going = None;
        let Some((history, result)) = done else {
            round.pause(best);
            return true;
        };
        round.history = history;
        if result.as_ref().is_err_and(Failure::is_busy) {
            tracing::debug!(job, attempt, "other takeovers ask those that had a job, or fetch the same");
            // It would find the same.
            return false;
        }
        // Also after a success: the enclave may find later that it cannot run the job now.
        round.pause(best);
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
        true
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
        while let Some(done) = self.under_way.join_next_with_id().await {
            self.finished(done);
        }
    }
}
