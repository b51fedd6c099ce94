//! Jobs: from a host's request to a signed receipt.
//!
//! ```text
//! StartJob ─ look for the attempt in a finalized block ──► refused: another worker's, or over; or nothing new is begun
//!               │
//!               ▼
//!            decrypt, check the input ──► refused: for another job, wrong secret
//!               │ accepted
//!               ▼
//!            wait for a place and for memory, fetch and compile the program, verify the files
//!               │                                      └───► failed: broken file, no program
//!               ▼
//!            run, wait for a padded time, archive, encrypt, hand over ──► receipt, sealed and sent
//! ```
//!
//! # Invariants
//! - No receipt without the job's secret: only who knows what the chain's commitment opens starts or fails a job, or takes
//!   a place from others.
//! - The worker's key opens job inputs only. A job's files open with the identity in its own input: nobody reads another
//!   job's file by naming it in his own. What is encrypted to the app opens with the app's key, which the gatekeepers give
//!   ([`AppKeys`]): a job input as such, and other files for every job of the app.
//! - Whatever a host does wrong (absent, wrong or changed bytes) refuses the job and gives no receipt. Only the user's
//!   data and program decide an outcome.
//! - One receipt for each assignment, whatever inputs come, while this process remembers it or the host brings the sealed
//!   one: it is sent again when asked again. One of an attempt says nothing of another.
//! - A slow host does not end a job as over its time: the job's clock stands still while the enclave waits for blobs.
//! - Jobs that run at once have, by their limits, at most three quarters of the enclave's memory together.
//! - What leaves of a job tells little: sizes and fuel in its receipt, the length of its result and the time at which
//!   that is handed over are padded. The time costs less than 12 %, and less than 6 % from a quarter of a
//!   second on.

use codec::{DecodeAll, Encode};
use phala_app_encryption::Purpose;
use phala_engine::{Compiled, Engine, Execution, InvalidProgram, Job, RunError};
use phala_primitives::{
    FailureReason, Hash, JobId, Limits, Outcome, Receipt, SignedReceipt,
    input::EncryptedFile,
    job::{Assignment, JobStatus, MAX_CODE_BYTES, Visibility},
    padding::padded,
};
use phala_protocol::{EnclaveNotice, EnclaveRequest, JobState, LogLevel, Refusal, sealed_receipt_name};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use zeroize::Zeroizing;

use phala_enclave::{
    Tee,
    chain::{Block, Chain, ChainApp, ChainError, ChainJob, app_key, job_key, paused, read},
    host::{Host, lock, refusal},
    runtime::Tasks,
    text::{Text, text},
};

use crate::{
    app_keys::{AppKeys, JobOpener},
    files::{Blobs, FileError, Opener, VerifiedFile, verify},
    input::{CheckedInput, InputError, MAX_CIPHERTEXT_BYTES},
    memory::Memory,
    output::{Output, OutputHashes, deliver},
    programs::{Name, Programs},
    stopwatch::Stopwatch,
};

/// Jobs that may wait for each one that may run.
const WAITING_PER_PLACE: usize = 4;

/// Starts that may be under way, each of another job: most of them wait for the chain.
const MAX_STARTS: usize = 64;

/// How long a start may wait for its job's assignment to be finalized.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Receipts of ended jobs that are sent again when the host comes back.
const KEPT_RECEIPTS: usize = 64;

/// Attempts to hand a result over.
const DELIVERIES: usize = 3;

/// The longest ciphertext of a private program: armor makes a file longer by a third.
const MAX_CODE_CIPHERTEXT_BYTES: u64 = 2 * MAX_CODE_BYTES as u64;

/// What jobs need.
pub(crate) struct Context {
    pub enclave: phala_enclave::Context,
    pub engine: Engine,
    pub programs: Programs,
}

impl Deref for Context {
    type Target = phala_enclave::Context;

    fn deref(&self) -> &Self::Target {
        &self.enclave
    }
}

/// All jobs of the enclave.
pub(crate) struct Jobs {
    context: Arc<Context>,
    blobs: Arc<dyn Blobs>,
    places: usize,
    /// What running jobs may use.
    memory: Arc<Memory>,
    queue: async_channel::Sender<Ready>,
    /// Accepted and not ended.
    active: Mutex<BTreeMap<JobId, Active>>,
    /// Jobs of which a start is under way.
    starting: Mutex<BTreeSet<JobId>>,
    receipts: Mutex<VecDeque<SignedReceipt>>,
    running: AtomicU32,
    ended: AtomicU64,
}

/// A job that was accepted.
struct Active {
    attempt: u32,
    input_hash: Hash,
    /// All that it reads of the host.
    blobs: Vec<Hash>,
}

/// A job that waits for a place.
struct Ready {
    job: JobId,
    input_hash: Hash,
    input: CheckedInput,
    keys: Arc<AppKeys>,
    assigned: Assigned,
    app: ChainApp,
}

/// A job as a finalized block gives it to this worker.
struct Assigned {
    job: ChainJob,
    assignment: Assignment<u32>,
    block: Block,
}

/// What a finalized block says of a job that it does not give to this worker.
enum NotAssigned {
    /// The next block may give it.
    Yet(Text),
    /// Another worker has it, it is over, or nothing is begun.
    Refused(Refusal),
}

impl From<ChainError> for NotAssigned {
    fn from(error: ChainError) -> Self {
        Self::Yet(text!(error))
    }
}

/// A start that is under way.
struct Starting<'a> {
    jobs: &'a Jobs,
    job: JobId,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        lock(&self.jobs.starting).remove(&self.job);
    }
}

/// A job that has a place.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicU32) -> Self {
        running.fetch_add(1, Ordering::Relaxed);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a job ends without a program having run.
#[derive(Debug)]
enum Abort {
    /// No receipt.
    Refused(Refusal),
    /// A receipt without output.
    Failed(FailureReason),
}

impl From<Refusal> for Abort {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FileError> for Abort {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Host(refusal) => Self::Refused(refusal),
            FileError::Invalid(_) => Self::Failed(FailureReason::InvalidInput),
        }
    }
}

impl From<InvalidProgram> for Abort {
    fn from(_: InvalidProgram) -> Self {
        Self::Failed(FailureReason::InvalidProgram)
    }
}

/// Numbers of jobs.
pub(crate) struct Counts {
    pub running: u32,
    pub queued: u32,
    pub ended: u64,
}

impl Jobs {
    pub(crate) fn new(context: Arc<Context>, capacity: u32) -> Arc<Self> {
        let places = (capacity as usize).max(1);
        let (queue, ready) = async_channel::unbounded();
        let blobs = Arc::new(HostBlobs { host: context.host.clone(), tasks: context.tasks.clone() });
        let bytes = context.tee.memory_bytes();
        let memory = Memory::new(bytes.saturating_sub(bytes / 4));
        let tasks = context.tasks.clone();
        let jobs = Arc::new(Self {
            context,
            blobs,
            places,
            memory,
            queue,
            active: Mutex::default(),
            starting: Mutex::default(),
            receipts: Mutex::default(),
            running: AtomicU32::new(0),
            ended: AtomicU64::new(0),
        });
        for place in 0..places {
            let (jobs, ready, waiting) = (Arc::downgrade(&jobs), ready.clone(), tasks.clone());
            tasks.thread(&format!("job-{place}"), move || {
                while let Ok(ready) = waiting.block_on(ready.recv()) {
                    let Some(jobs) = jobs.upgrade() else { return };
                    // A job's panic is caught before this; the place must outlive whatever happens.
                    let _ = catch_unwind(AssertUnwindSafe(|| jobs.run(ready)));
                }
            });
        }
        jobs
    }

    pub(crate) fn counts(&self) -> Counts {
        let running = self.running.load(Ordering::Relaxed);
        let active = u32::try_from(lock(&self.active).len()).unwrap_or(u32::MAX);
        Counts { running, queued: active.saturating_sub(running), ended: self.ended.load(Ordering::Relaxed) }
    }

    /// Sends the receipts again that the host may have missed.
    pub(crate) async fn announce_ended(&self) {
        let receipts: Vec<_> = lock(&self.receipts).iter().cloned().collect();
        for receipt in receipts {
            self.announce(receipt).await;
        }
    }

    async fn announce(&self, receipt: SignedReceipt) {
        let notice = EnclaveNotice::JobEnded { job: receipt.receipt.job, receipt: Box::new(receipt) };
        self.context.host.notice(notice).await;
    }

    /// Takes an attempt at a job that a finalized block gives to this worker and whose input is good; it goes on by itself.
    /// Returns the blobs that it reads.
    pub(crate) async fn start(&self, job: JobId, attempt: u32, input_hash: Hash) -> Result<Vec<Hash>, Refusal> {
        // In this order: who looked first could begin again a job that was accepted, and has ended, meanwhile.
        let _starting = self.begin(job)?;
        if let Some(blobs) = self.accepted(job, attempt, &input_hash)? {
            return Ok(blobs);
        }
        if let Some(receipt) = self.ended_before(job, attempt).await? {
            self.announce(receipt).await;
            return Ok(Vec::new());
        }
        if let Some(pause) = self.context.chain.pause() {
            return Err(paused(pause));
        }
        let assigned = self.assigned(job, attempt).await?;
        let (memory, total) = (memory_of(&assigned.job.limits), self.memory.total());
        if memory > total {
            return Err(refusal(
                false,
                text!("the job may use ", memory, " bytes of memory, and this worker has ", total, " for jobs"),
            ));
        }
        self.has_room(lock(&self.active).len())?;
        let keys = AppKeys::new(self.context.clone(), job, attempt, assigned.job.app);
        let input = self.read_input(job, input_hash, keys.clone()).await?;
        if !input.opens(&assigned.job.secret_commitment) {
            return Err(refusal(
                false,
                "the job input's secret is not the one that the job's owner committed to on chain",
            ));
        }
        if input.app != assigned.job.app {
            return Err(refusal(false, "the job input is for another app than the job"));
        }
        let app = self.app(&assigned).await?;
        let program = (app.visibility == Visibility::Public).then_some(app.code_hash);
        let blobs: Vec<_> = [input_hash].into_iter().chain(program).chain(input.blobs()).collect();
        self.claim(job, Active { attempt, input_hash, blobs: blobs.clone() })?;
        self.progress(job, attempt, JobState::Queued).await;
        // The queue is closed only when all of this is dropped.
        drop(self.queue.send(Ready { job, input_hash, input, keys, assigned, app }).await);
        Ok(blobs)
    }

    /// The blobs of an attempt that was accepted with this input; `None` when the job was not accepted at all.
    fn accepted(&self, job: JobId, attempt: u32, input_hash: &Hash) -> Result<Option<Vec<Hash>>, Refusal> {
        match lock(&self.active).get(&job) {
            None => Ok(None),
            Some(active) if active.attempt > attempt => Err(over(job, attempt)),
            Some(active) if active.attempt < attempt => Err(refusal(
                true,
                text!("attempt ", active.attempt, " of job ", job, " still runs here; try again when it has ended"),
            )),
            Some(active) if active.input_hash == *input_hash => Ok(Some(active.blobs.clone())),
            Some(_) => Err(refusal(true, text!("job ", job, " is already started with another input"))),
        }
    }

    /// Notes that a start of a job is under way: only one at a time.
    fn begin(&self, job: JobId) -> Result<Starting<'_>, Refusal> {
        let mut starting = lock(&self.starting);
        if starting.len() >= MAX_STARTS {
            return Err(refusal(true, "too many starts are under way; try again in a moment"));
        }
        if !starting.insert(job) {
            let reason = text!("a start of job ", job, " is under way already; try again in a moment");
            return Err(refusal(true, reason));
        }
        Ok(Starting { jobs: self, job })
    }

    /// Accepts an attempt at a job: at most once.
    fn claim(&self, job: JobId, claim: Active) -> Result<(), Refusal> {
        let mut active = lock(&self.active);
        if active.contains_key(&job) {
            return Err(refusal(true, text!("another start of job ", job, " was faster; ask again")));
        }
        self.has_room(active.len())?;
        active.insert(job, claim);
        Ok(())
    }

    /// Whether another job may come to those that were accepted.
    fn has_room(&self, accepted: usize) -> Result<(), Refusal> {
        if accepted >= self.places.saturating_mul(WAITING_PER_PLACE.saturating_add(1)) {
            return Err(refusal(true, "this worker has as many jobs as it can hold; try again later"));
        }
        Ok(())
    }

    fn forget(&self, job: JobId) {
        lock(&self.active).remove(&job);
    }

    /// The receipt of an attempt that has ended, from memory or from the host's sealed blobs.
    async fn ended_before(&self, job: JobId, attempt: u32) -> Result<Option<SignedReceipt>, Refusal> {
        let asked = |kept: &&SignedReceipt| (kept.receipt.job, kept.receipt.attempt) == (job, attempt);
        if let Some(receipt) = lock(&self.receipts).iter().find(asked) {
            return Ok(Some(receipt.clone()));
        }
        let Some(sealing) = self.context.tee.sealing() else { return Ok(None) };
        let name = sealed_receipt_name(&self.context.chain.genesis_hash(), job);
        let Some(sealed) = self.context.host.load_sealed(&name).await? else { return Ok(None) };
        let receipt = sealing.unseal(&name, &sealed).ok().and_then(|encoded| {
            let receipt = SignedReceipt::decode_all(&mut &encoded[..]).ok()?;
            let ours = receipt.receipt.worker == self.context.keys.worker() && receipt.receipt.job == job;
            ours.then_some(receipt)
        });
        if receipt.is_none() {
            // It says nothing that could be believed, and running again is harmless.
            let message = text!("the sealed receipt of job ", job, " is not authentic; ignoring it");
            self.context.host.log(LogLevel::Warn, message);
        }
        Ok(receipt.filter(|receipt| asked(&receipt)))
    }

    async fn read_input(&self, job: JobId, input_hash: Hash, keys: Arc<AppKeys>) -> Result<CheckedInput, Refusal> {
        let blobs = self.blobs.clone();
        let opener = JobOpener::new(self.context.keys.identity().clone(), Purpose::JobInput, keys);
        let genesis_hash = self.context.chain.genesis_hash();
        let read = move || {
            let mut json = Zeroizing::new(Vec::with_capacity(phala_primitives::input::MAX_JOB_INPUT_BYTES));
            let mut too_large = false;
            let mut sink = |bytes: &[u8]| {
                if json.len().saturating_add(bytes.len()) > json.capacity() {
                    too_large = true;
                    return Err("it is too large");
                }
                json.extend_from_slice(bytes);
                Ok(())
            };
            let verified = verify(&blobs, input_hash, MAX_CIPHERTEXT_BYTES, &opener, &mut sink);
            match verified {
                _ if too_large => Err(refusal(false, text!(InputError::TooLarge))),
                Err(FileError::Host(refusal)) => Err(refusal),
                Err(FileError::Invalid(reason)) => {
                    Err(refusal(false, text!("the job input cannot be decrypted by this worker: ", reason)))
                }
                Ok(_) => CheckedInput::new(&json, &genesis_hash, job).map_err(|error| refusal(false, text!(error))),
            }
        };
        let failed = || Err(refusal(true, "the enclave failed while it read the job input"));
        self.context.tasks.blocking("input", read).await.unwrap_or_else(failed)
    }

    /// The job, once a finalized block gives this attempt at it to this worker.
    async fn assigned(&self, job: JobId, attempt: u32) -> Result<Assigned, Refusal> {
        let (chain, tee) = (&*self.context.chain, &self.context.tee);
        let deadline = tee.now().saturating_add(ASSIGNMENT_TIMEOUT);
        let mut seen = chain.finalized();
        let mut why = Text::from("the light client has no finalized block yet");
        loop {
            if let Some(block) = seen {
                match self.look(job, attempt, block).await {
                    Ok(assigned) => return Ok(assigned),
                    Err(NotAssigned::Refused(refusal)) => return Err(refusal),
                    Err(NotAssigned::Yet(reason)) => why = reason,
                }
            }
            let next = chain.finalized_after(seen.map(|block| block.number));
            let timeout = tee.sleep(deadline.saturating_sub(tee.now()));
            match futures::future::select(next, timeout).await {
                futures::future::Either::Left((block, _)) => seen = Some(block),
                futures::future::Either::Right(_) => return Err(refusal(true, why)),
            }
        }
    }

    /// What a finalized block says of an attempt at a job, and of this worker.
    async fn look(&self, job: JobId, attempt: u32, block: Block) -> Result<Assigned, NotAssigned> {
        let chain = &*self.context.chain;
        let found = read::<ChainJob>(chain, block.hash, job_key(job), "job");
        let (found, compared) = futures::future::join(found, chain.compare(block)).await;
        compared?;
        if let Some(pause) = chain.pause() {
            return Err(NotAssigned::Refused(paused(pause)));
        }
        let number = block.number;
        let Some(found) = found? else {
            return Err(NotAssigned::Yet(text!("there is no job ", job, " in finalized block ", number)));
        };
        let refused = |reason: Text| Err(NotAssigned::Refused(refusal(false, reason)));
        match found.status {
            JobStatus::Settled(_) => refused(text!("job ", job, " is settled already")),
            JobStatus::Cancelled { .. } => refused(text!("job ", job, " was cancelled")),
            JobStatus::Expired { .. } => refused(text!("job ", job, " has expired")),
            JobStatus::Assigned(_) | JobStatus::Queued if found.attempts > attempt => {
                Err(NotAssigned::Refused(over(job, attempt)))
            }
            JobStatus::Assigned(_) | JobStatus::Queued if found.attempts < attempt => Err(NotAssigned::Yet(text!(
                "attempt ",
                attempt,
                " of job ",
                job,
                " is not assigned in finalized block ",
                number
            ))),
            JobStatus::Assigned(assignment) if assignment.worker == self.context.keys.worker() => {
                Ok(Assigned { job: found, assignment, block })
            }
            JobStatus::Assigned(assignment) => {
                refused(text!("the chain has assigned job ", job, " to ", assignment.worker, " in block ", number))
            }
            // Attempts count assignments: this one was taken back.
            JobStatus::Queued => Err(NotAssigned::Refused(over(job, attempt))),
        }
    }

    async fn app(&self, assigned: &Assigned) -> Result<ChainApp, Refusal> {
        let (at, job) = (assigned.block.hash, &assigned.job);
        let app = read::<ChainApp>(&*self.context.chain, at, app_key(&job.app), "app").await;
        let app = app.map_err(|error| refusal(true, text!("the job's app could not be read: ", error)))?;
        let app = app.ok_or_else(|| refusal(false, "the chain does not have the job's app"))?;
        if app.visibility == Visibility::Private && app.publisher != job.owner {
            return Err(refusal(false, "the app is private and the job's owner is not its publisher"));
        }
        Ok(app)
    }

    async fn progress(&self, job: JobId, attempt: u32, state: JobState) {
        self.context.host.notice(EnclaveNotice::JobProgress { job, attempt, state }).await;
    }

    async fn refuse(&self, job: JobId, attempt: u32, refusal: Refusal) {
        self.forget(job);
        self.context.host.notice(EnclaveNotice::JobRefused { job, attempt, refusal }).await;
    }

    fn keep(&self, receipt: SignedReceipt) {
        let mut receipts = lock(&self.receipts);
        receipts.retain(|kept| kept.receipt.job != receipt.receipt.job);
        receipts.push_back(receipt);
        while receipts.len() > KEPT_RECEIPTS {
            receipts.pop_front();
        }
    }

    /// Runs a job, on the thread of its place, once there is memory for it.
    fn run(&self, ready: Ready) {
        let phala_enclave::Context { host, tasks, tee, chain, .. } = &self.context.enclave;
        let (job, attempt) = (ready.job, ready.assigned.job.attempts);
        let _memory = tasks.block_on(self.memory.take(memory_of(&ready.assigned.job.limits)));
        let _running = Running::new(&self.running);
        let caught = catch_unwind(AssertUnwindSafe(|| self.try_run(ready)));
        let result =
            caught.unwrap_or_else(|_| Err(refusal(true, "the enclave failed while it ran the job; see its log")));
        tasks.block_on(async {
            match result {
                Err(refusal) => self.refuse(job, attempt, refusal).await,
                Ok(receipt) => {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                    let name = sealed_receipt_name(&chain.genesis_hash(), job);
                    if let Some(sealing) = tee.sealing()
                        && let Err(error) = host.store_sealed(&name, sealing.seal(&name, &receipt.encode())).await
                    {
                        let message = text!("the host did not store the receipt of job ", job, ": ", &error);
                        host.log(LogLevel::Warn, message);
                    }
                    self.keep(receipt.clone());
                    self.forget(job);
                    self.announce(receipt).await;
                }
            }
        });
    }

    fn try_run(&self, ready: Ready) -> Result<SignedReceipt, Refusal> {
        let context = &*self.context;
        self.check_due(&ready.assigned.assignment)?;
        self.now(&ready, JobState::Preparing);
        let (outcome, execution, hashes) = match self.execute(&ready) {
            Err(Abort::Refused(refusal)) => return Err(refusal),
            Err(Abort::Failed(reason)) => (Outcome::Failed(reason), None, None),
            Ok((execution, ran)) => {
                context.tasks.block_on(context.tee.sleep(held_back(ran, ready.assigned.job.limits.wall_ms)));
                // Nobody pays for a receipt that is late, so nobody gets the result.
                self.check_due(&ready.assigned.assignment)?;
                self.now(&ready, JobState::Finishing);
                let hashes = self.deliver(&ready, &execution)?;
                (execution.outcome, Some(execution), Some(hashes))
            }
        };
        let size = |size: fn(&Execution) -> u64| execution.as_ref().map_or(0, |execution| padded(size(execution)));
        let Assigned { job, block, .. } = &ready.assigned;
        let receipt = Receipt {
            genesis_hash: context.chain.genesis_hash(),
            job: ready.job,
            attempt: job.attempts,
            app: job.app,
            worker: context.keys.worker(),
            measurement: context.tee.measurement().0,
            code_hash: ready.app.code_hash,
            input_hash: ready.input_hash,
            output_hash: hashes.map_or([0; 32], |hashes| hashes.archive),
            output_file_hash: hashes.map_or([0; 32], |hashes| hashes.file),
            outcome,
            fuel: size(|execution| execution.fuel).min(job.limits.fuel),
            input_bytes: size(|execution| execution.input_bytes),
            output_bytes: size(|execution| execution.output_bytes),
            block_number: block.number,
            block_hash: block.hash,
        };
        let signature = context.keys.sign(&receipt.signed_bytes());
        Ok(SignedReceipt { receipt, signature })
    }

    /// Refuses when no block that may still take the receipt can come, as far as the light client knows.
    fn check_due(&self, assignment: &Assignment<u32>) -> Result<(), Refusal> {
        match self.context.chain.finalized() {
            Some(block) if block.number >= assignment.due => {
                Err(refusal(true, text!("the assignment ran out in block ", assignment.due)))
            }
            Some(_) => Ok(()),
            None => Err(refusal(true, "no finalized block is known that could be believed")),
        }
    }

    /// Tells the host what the enclave does now for a job.
    fn now(&self, ready: &Ready, state: JobState) {
        self.context.tasks.block_on(self.progress(ready.job, ready.assigned.job.attempts, state));
    }

    /// Runs the program. Returns what came of it and for how long it ran, without what it waited for the host.
    fn execute(&self, ready: &Ready) -> Result<(Execution, Duration), Abort> {
        let context = &*self.context;
        let input = &ready.input;
        let opener: Arc<dyn Opener> =
            Arc::new(JobOpener::new(input.identity.clone(), Purpose::File, ready.keys.clone()));
        let program = self.program(ready, &*opener)?;
        let stopwatch = Arc::new(Stopwatch::default());
        let timed = Timed { blobs: self.blobs.clone(), tee: context.tee.clone(), stopwatch: stopwatch.clone() };
        let blobs: Arc<dyn Blobs> = Arc::new(timed);
        let stdin = input.stdin.map(|file| verify_file(&blobs, file, &*opener)).transpose()?;
        let files = input.files.iter().map(|named| {
            let file = verify_file(&blobs, named.file(), &*opener)?;
            Ok((named.name.clone(), file))
        });
        let files = files.collect::<Result<Vec<_>, Abort>>()?;

        self.now(ready, JobState::Running);
        let ChainJob { limits, submitted_at_ms, .. } = ready.assigned.job;
        let tee = context.tee.clone();
        let wall_time = Duration::from_millis(limits.wall_ms);
        stopwatch.start(tee.now());
        let watched = stopwatch.clone();
        let job = Job {
            arguments: input.arguments.clone(),
            stdin: match stdin {
                Some(file) => Box::new(file.open(&opener)),
                None => Box::new(Vec::new()),
            },
            files: files.into_iter().map(|(name, file)| (name, Box::new(file.open(&opener)) as _)).collect(),
            seed: *input.seed(),
            now_ms: submitted_at_ms,
            limits,
            interrupt: Box::new(move || watched.elapsed(tee.now()) >= wall_time),
        };
        let execution = context.engine.run(&program, job).map_err(|error| {
            // What the engine says may hold words of the program.
            let reason = match error {
                RunError::Busy => "the engine is at its capacity",
                RunError::Input(_) => "the host no longer serves an input as it was verified",
                RunError::Environment(_) => "this machine lacks what the job needs, such as memory",
            };
            Abort::Refused(refusal(true, reason))
        })?;
        Ok((execution, stopwatch.elapsed(context.tee.now())))
    }

    fn program(&self, ready: &Ready, opener: &dyn Opener) -> Result<Arc<Compiled>, Abort> {
        let (programs, app) = (&self.context.programs, &ready.app);
        match (app.visibility, ready.input.code) {
            (Visibility::Public, _) => programs.prepare(Name::Public(app.code_hash), || self.public_code(app)),
            (Visibility::Private, Some(file)) => {
                // Decrypted and checked even where the program is compiled already: what a job's outcome is must not depend
                // on what a worker has in its cache.
                let code = self.private_code(file, opener, app)?;
                programs.prepare(Name::Private(ready.assigned.job.app), || Ok(code))
            }
            (Visibility::Private, None) => Err(Abort::Failed(FailureReason::InvalidInput)),
        }
    }

    /// The code of a public app is a blob under its own hash: other bytes are the host's fault.
    fn public_code(&self, app: &ChainApp) -> Result<Zeroizing<Vec<u8>>, Abort> {
        let mut code = Zeroizing::new(Vec::<u8>::new());
        loop {
            let bytes = self.blobs.read(app.code_hash, code.len() as u64, phala_protocol::MAX_CHUNK_BYTES)?;
            let last = bytes.len() < phala_protocol::MAX_CHUNK_BYTES as usize;
            code.extend_from_slice(&bytes);
            if last {
                break;
            }
            if code.len() > MAX_CODE_BYTES as usize {
                return Err(refusal(false, "the program is longer than any worker accepts").into());
            }
        }
        if <Hash>::from(Sha256::digest(&code[..])) != app.code_hash {
            return Err(refusal(true, "the host served other bytes than the app's program").into());
        }
        Ok(code)
    }

    fn private_code(
        &self,
        file: EncryptedFile,
        opener: &dyn Opener,
        app: &ChainApp,
    ) -> Result<Zeroizing<Vec<u8>>, Abort> {
        if file.bytes > MAX_CODE_CIPHERTEXT_BYTES {
            return Err(Abort::Failed(FailureReason::CodeMismatch));
        }
        // As much as it can be, so that it leaves no copy behind by growing.
        let capacity = file.bytes.min(u64::from(MAX_CODE_BYTES));
        let mut code = Zeroizing::new(Vec::<u8>::with_capacity(usize::try_from(capacity).unwrap_or(0)));
        let mut too_long = false;
        let verified = verify(&self.blobs, file.sha256, file.bytes, opener, &mut |bytes| {
            if code.len().saturating_add(bytes.len()) > MAX_CODE_BYTES as usize {
                too_long = true;
                return Err("it is longer than any worker accepts");
            }
            code.extend_from_slice(bytes);
            Ok(())
        });
        match verified {
            Err(FileError::Host(refusal)) => Err(refusal.into()),
            _ if too_long => Err(Abort::Failed(FailureReason::CodeMismatch)),
            Err(error) => Err(error.into()),
            Ok(verified) if verified.length != file.bytes => Err(Abort::Failed(FailureReason::InvalidInput)),
            Ok(_) if <Hash>::from(Sha256::digest(&code[..])) != app.code_hash => {
                Err(Abort::Failed(FailureReason::CodeMismatch))
            }
            Ok(_) => Ok(code),
        }
    }

    /// Hands the result over. A host that loses track of it gets it again, encrypted anew.
    fn deliver(&self, ready: &Ready, execution: &Execution) -> Result<OutputHashes, Refusal> {
        let output = Output {
            stdout: &execution.stdout,
            stderr: &execution.stderr,
            files: execution.files.iter().map(|(path, content)| (path.as_str(), &content[..])).collect(),
        };
        let phala_enclave::Context { host, tasks, .. } = &self.context.enclave;
        let mut result = Err(refusal(true, "the host did not take the result"));
        for _ in 0..DELIVERIES {
            result = deliver(&output, &ready.input.secret, &ready.input.recipients, &mut |offset, bytes| {
                tasks.block_on(host.done(&EnclaveRequest::WriteOutput { job: ready.job, offset, bytes }))
            });
            if !matches!(&result, Err(refusal) if refusal.retry) {
                break;
            }
        }
        result
    }
}

/// The refusal of an attempt that the chain has passed.
fn over(job: JobId, attempt: u32) -> Refusal {
    refusal(false, text!("attempt ", attempt, " is over: the chain has gone on with job ", job, " without it"))
}

fn verify_file(blobs: &Arc<dyn Blobs>, file: EncryptedFile, opener: &dyn Opener) -> Result<VerifiedFile, Abort> {
    let verified = verify(blobs, file.sha256, file.bytes, opener, &mut |_| Ok(()))?;
    if verified.length != file.bytes { Err(Abort::Failed(FailureReason::InvalidInput)) } else { Ok(verified) }
}

/// What a job may use of the enclave's memory: its program's, and its output while that is collected.
fn memory_of(limits: &Limits) -> u64 {
    limits.memory_bytes.saturating_add(limits.output_bytes.saturating_mul(2))
}

/// How long the result of a run of this length is held back, so that the moment at which it comes tells less of what the
/// program did: until a padded number of milliseconds, but not beyond the job's limit.
fn held_back(ran: Duration, wall_ms: u64) -> Duration {
    let milliseconds = u64::try_from(ran.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(padded(milliseconds).min(wall_ms)).saturating_sub(ran)
}

/// The host's blobs.
struct HostBlobs {
    host: Host,
    tasks: Tasks,
}

impl Blobs for HostBlobs {
    fn read(&self, blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        self.tasks.block_on(self.host.bytes(&EnclaveRequest::ReadBlob { blob, offset, length }, length))
    }
}

/// Blobs for which a job's clock stands still. With a thread that reads ahead the program may go on meanwhile, and so
/// have more time than its limit: as much as the host lets the enclave wait.
struct Timed {
    blobs: Arc<dyn Blobs>,
    tee: Arc<dyn Tee>,
    stopwatch: Arc<Stopwatch>,
}

impl Blobs for Timed {
    fn read(&self, blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        self.stopwatch.hold(self.tee.now());
        let result = self.blobs.read(blob, offset, length);
        self.stopwatch.go_on(self.tee.now());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_at_which_a_result_comes_is_padded() {
        let ms = Duration::from_millis;
        let hour = 3_600_000;
        // How long it ran, the limit, how long it is held back.
        let cases = [
            (ms(0), hour, ms(0)),
            (ms(16_900), hour, ms(508)),
            (Duration::from_micros(16_899_400), hour, Duration::from_micros(508_600)),
            (ms(16_900), 17_000, ms(100)),
            (ms(16_900), 16_900, ms(0)),
            (ms(17_000), 16_900, ms(0)),
        ];
        for (ran, wall_ms, expected) in cases {
            assert_eq!(held_back(ran, wall_ms), expected, "{ran:?} of {wall_ms} ms");
        }
    }
}
