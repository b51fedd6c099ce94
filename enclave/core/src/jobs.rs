//! Jobs: from a host's request to a signed receipt.
//!
//! ```text
//! StartJob ─ look for the assignment in a finalized block ──► refused: another worker's, or ended
//!               │
//!               ▼
//!            decrypt, check the input ──► refused: for another job, wrong secret
//!               │ accepted
//!               ▼
//!            wait for a place, fetch and compile the program, verify the files
//!               │                                      └───► failed: broken file, no program
//!               ▼
//!            run, archive, encrypt, hand over ──► receipt, sealed and sent
//! ```
//!
//! # Invariants
//! - No receipt without the job's secret: only who knows what the chain's commitment opens starts or fails a job, or takes
//!   a place from others.
//! - The worker's key opens job inputs only. A job's files open with the identity in its own input: nobody reads another
//!   job's file by naming it in his own.
//! - Whatever a host does wrong (absent, wrong or changed bytes) refuses the job and gives no receipt. Only the user's
//!   data and program decide an outcome.
//! - One receipt for each assignment, whatever inputs come: it is sealed at the host before it is sent, and sent again
//!   when asked again.

use age::x25519::Identity;
use codec::{DecodeAll, Encode};
use phala_engine::{Compiled, Engine, Execution, InvalidProgram, Job};
use phala_primitives::{
    FailureReason, Hash, JobId, Outcome, Receipt, SignedReceipt,
    input::EncryptedFile,
    job::{Assignment, JobStatus, MAX_CODE_BYTES, Visibility},
};
use phala_protocol::{EnclaveNotice, EnclaveRequest, JobState, LogLevel, Refusal, sealed_receipt_name};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use zeroize::Zeroizing;

use crate::{
    Tee,
    chain::{Block, Chain, ChainApp, ChainJob, Guarded, app_key, job_key, read},
    files::{Blobs, FileError, VerifiedFile, verify},
    host::{Host, lock, refusal},
    input::{CheckedInput, InputError, MAX_CIPHERTEXT_BYTES},
    keys::Keys,
    output::{Output, OutputHashes, deliver},
    programs::{Name, Programs},
    tasks::thread,
};

/// Jobs that may wait for each one that may run.
const WAITING_PER_PLACE: usize = 4;

/// Starts that may wait for the chain, each of another job.
const MAX_WAITING: usize = 64;

/// How long a start may wait for its job's assignment to be finalized.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Receipts of ended jobs that are sent again when the host comes back.
const KEPT_RECEIPTS: usize = 64;

/// Attempts to hand a result over.
const DELIVERIES: usize = 3;

/// The longest ciphertext of a private program: armor makes a file longer by a third.
const MAX_CODE_CIPHERTEXT_BYTES: u64 = 2 * MAX_CODE_BYTES as u64;

/// What jobs need of the enclave.
pub(crate) struct Context {
    pub tee: Arc<dyn Tee>,
    pub host: Host,
    pub keys: Arc<Keys>,
    pub chain: Arc<Guarded>,
    pub engine: Engine,
    pub programs: Programs,
}

/// All jobs of the enclave.
pub(crate) struct Jobs {
    context: Arc<Context>,
    blobs: Arc<dyn Blobs>,
    places: usize,
    queue: async_channel::Sender<Ready>,
    /// Accepted and not ended.
    active: Mutex<HashMap<JobId, Active>>,
    /// Jobs of which a start waits for the chain.
    waiting: Mutex<HashSet<JobId>>,
    receipts: Mutex<VecDeque<SignedReceipt>>,
    running: AtomicU32,
    ended: AtomicU64,
}

/// A job that was accepted.
struct Active {
    input_hash: Hash,
    /// All that it reads of the host.
    blobs: Vec<Hash>,
}

/// A job that waits for a place.
struct Ready {
    job: JobId,
    input_hash: Hash,
    input: CheckedInput,
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
    Yet(String),
    /// Another worker has it, or it has ended.
    Refused(Refusal),
}

/// A start that waits for the chain.
struct Waiting<'a> {
    jobs: &'a Jobs,
    job: JobId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.jobs.waiting).remove(&self.job);
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
        let blobs = Arc::new(HostBlobs(context.host.clone()));
        let jobs = Arc::new(Self {
            context,
            blobs,
            places,
            queue,
            active: Mutex::default(),
            waiting: Mutex::default(),
            receipts: Mutex::default(),
            running: AtomicU32::new(0),
            ended: AtomicU64::new(0),
        });
        for place in 0..places {
            let (jobs, ready) = (Arc::downgrade(&jobs), ready.clone());
            thread(&format!("job-{place}"), move || {
                while let Ok(ready) = ready.recv_blocking() {
                    let Some(jobs) = jobs.upgrade() else { return };
                    jobs.running.fetch_add(1, Ordering::Relaxed);
                    jobs.run(ready);
                    jobs.running.fetch_sub(1, Ordering::Relaxed);
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

    /// Takes a job that a finalized block gives to this worker and whose input is good; it goes on by itself. Returns the
    /// blobs that it reads.
    pub(crate) async fn start(&self, job: JobId, input_hash: Hash) -> Result<Vec<Hash>, Refusal> {
        if let Some(blobs) = self.accepted(job, &input_hash)? {
            return Ok(blobs);
        }
        let assigned = self.assigned(job).await;
        if let Some(receipt) = self.ended_before(job).await? {
            let another_attempt = matches!(&assigned, Ok(found) if found.job.attempts != receipt.receipt.attempt);
            if !another_attempt {
                self.announce(receipt).await;
                // Maybe the chain will say of another attempt what it does not say yet.
                return match assigned {
                    Err(refusal) if refusal.retry => Err(refusal),
                    _ => Ok(Vec::new()),
                };
            }
        }
        let assigned = assigned?;
        let input = self.read_input(job, input_hash).await?;
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
        self.claim(job, assigned.job.attempts, Active { input_hash, blobs: blobs.clone() })?;
        self.progress(job, JobState::Queued).await;
        // The queue is closed only when all of this is dropped.
        drop(self.queue.send(Ready { job, input_hash, input, assigned, app }).await);
        Ok(blobs)
    }

    /// The blobs of a job that was accepted with this input; `None` when it was not accepted at all.
    fn accepted(&self, job: JobId, input_hash: &Hash) -> Result<Option<Vec<Hash>>, Refusal> {
        match lock(&self.active).get(&job) {
            None => Ok(None),
            Some(active) if active.input_hash == *input_hash => Ok(Some(active.blobs.clone())),
            Some(_) => Err(refusal(true, format!("job {job} is already started with another input"))),
        }
    }

    /// Accepts an attempt at a job: at most once.
    fn claim(&self, job: JobId, attempt: u32, claim: Active) -> Result<(), Refusal> {
        let mut active = lock(&self.active);
        // A job's receipt is kept before the job leaves `active`: one or the other shows that another start was faster.
        let ended = lock(&self.receipts).iter().any(|kept| (kept.receipt.job, kept.receipt.attempt) == (job, attempt));
        if ended || active.contains_key(&job) {
            return Err(refusal(true, format!("another start of job {job} was faster; ask again")));
        }
        if active.len() >= self.places.saturating_mul(WAITING_PER_PLACE.saturating_add(1)) {
            return Err(refusal(true, "this worker has as many jobs as it can hold; try again later"));
        }
        active.insert(job, claim);
        Ok(())
    }

    fn forget(&self, job: JobId) {
        lock(&self.active).remove(&job);
    }

    /// The receipt of an earlier run, from the host's sealed blobs.
    async fn ended_before(&self, job: JobId) -> Result<Option<SignedReceipt>, Refusal> {
        if let Some(receipt) = lock(&self.receipts).iter().find(|receipt| receipt.receipt.job == job) {
            return Ok(Some(receipt.clone()));
        }
        let name = sealed_receipt_name(&self.context.chain.genesis_hash(), job);
        let Some(sealed) = self.context.host.load_sealed(&name).await? else { return Ok(None) };
        let receipt = self.context.tee.unseal(&name, &sealed).ok().and_then(|encoded| {
            let receipt = SignedReceipt::decode_all(&mut &encoded[..]).ok()?;
            let ours = receipt.receipt.worker == self.context.keys.worker() && receipt.receipt.job == job;
            ours.then_some(receipt)
        });
        if receipt.is_none() {
            // It says nothing that could be believed, and running again is harmless.
            self.context
                .host
                .log(LogLevel::Warn, format!("the sealed receipt of job {job} is not authentic; ignoring it"));
        }
        Ok(receipt)
    }

    async fn read_input(&self, job: JobId, input_hash: Hash) -> Result<CheckedInput, Refusal> {
        let (blobs, keys) = (self.blobs.clone(), self.context.keys.clone());
        let genesis_hash = self.context.chain.genesis_hash();
        blocking(move || {
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
            let verified = verify(&blobs, input_hash, MAX_CIPHERTEXT_BYTES, keys.identity(), &mut sink);
            match verified {
                _ if too_large => Err(refusal(false, InputError::TooLarge.to_string())),
                Err(FileError::Host(refusal)) => Err(refusal),
                Err(FileError::Invalid(reason)) => {
                    Err(refusal(false, format!("the job input cannot be decrypted by this worker: {reason}")))
                }
                Ok(_) => {
                    CheckedInput::new(&json, &genesis_hash, job).map_err(|error| refusal(false, error.to_string()))
                }
            }
        })
        .await
    }

    /// The job, once a finalized block gives it to this worker.
    async fn assigned(&self, job: JobId) -> Result<Assigned, Refusal> {
        let (chain, tee) = (&*self.context.chain, &self.context.tee);
        let deadline = tee.now().saturating_add(ASSIGNMENT_TIMEOUT);
        let mut seen = chain.finalized();
        let mut why = "the light client has no finalized block yet".to_owned();
        let mut waiting = None;
        loop {
            if let Some(block) = seen {
                match self.look(job, block).await {
                    Ok(assigned) => return Ok(assigned),
                    Err(NotAssigned::Refused(refusal)) => return Err(refusal),
                    Err(NotAssigned::Yet(reason)) => why = reason,
                }
            }
            if waiting.is_none() {
                waiting = Some(self.wait(job)?);
            }
            let next = chain.finalized_after(seen.map(|block| block.number));
            let timeout = tee.sleep(deadline.saturating_sub(tee.now()));
            match futures::future::select(next, timeout).await {
                futures::future::Either::Left((block, _)) => seen = Some(block),
                futures::future::Either::Right(_) => return Err(refusal(true, why)),
            }
        }
    }

    /// What a finalized block says of a job.
    async fn look(&self, job: JobId, block: Block) -> Result<Assigned, NotAssigned> {
        let found = read::<ChainJob>(&*self.context.chain, block.hash, job_key(job), "job").await;
        let number = block.number;
        let Some(found) = found.map_err(|error| NotAssigned::Yet(error.to_string()))? else {
            return Err(NotAssigned::Yet(format!("there is no job {job} in finalized block {number}")));
        };
        let refused = |retry: bool, reason: String| Err(NotAssigned::Refused(refusal(retry, reason)));
        match found.status {
            JobStatus::Assigned(assignment) if assignment.worker == self.context.keys.worker() => {
                Ok(Assigned { job: found, assignment, block })
            }
            JobStatus::Assigned(assignment) => {
                refused(true, format!("the chain has assigned job {job} to {} in block {number}", assignment.worker))
            }
            JobStatus::Queued => {
                Err(NotAssigned::Yet(format!("job {job} is not assigned in finalized block {number}")))
            }
            JobStatus::Settled(_) => refused(false, format!("job {job} is settled already")),
            JobStatus::Cancelled { .. } => refused(false, format!("job {job} was cancelled")),
            JobStatus::Expired { .. } => refused(false, format!("job {job} has expired")),
        }
    }

    fn wait(&self, job: JobId) -> Result<Waiting<'_>, Refusal> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_WAITING {
            return Err(refusal(true, "too many starts wait for the chain; try again in a moment"));
        }
        if !waiting.insert(job) {
            return Err(refusal(
                true,
                format!("a start of job {job} waits for the chain already; try again in a moment"),
            ));
        }
        Ok(Waiting { jobs: self, job })
    }

    async fn app(&self, assigned: &Assigned) -> Result<ChainApp, Refusal> {
        let (at, job) = (assigned.block.hash, &assigned.job);
        let app = read::<ChainApp>(&*self.context.chain, at, app_key(&job.app), "app").await;
        let app = app.map_err(|error| refusal(true, format!("the job's app could not be read: {error}")))?;
        let app = app.ok_or_else(|| refusal(false, "the chain does not have the job's app"))?;
        if app.visibility == Visibility::Private && app.publisher != job.owner {
            return Err(refusal(false, "the app is private and the job's owner is not its publisher"));
        }
        Ok(app)
    }

    async fn progress(&self, job: JobId, state: JobState) {
        self.context.host.notice(EnclaveNotice::JobProgress { job, state }).await;
    }

    async fn refuse(&self, job: JobId, refusal: Refusal) {
        self.forget(job);
        self.context.host.notice(EnclaveNotice::JobRefused { job, refusal }).await;
    }

    fn keep(&self, receipt: SignedReceipt) {
        let mut receipts = lock(&self.receipts);
        receipts.retain(|kept| kept.receipt.job != receipt.receipt.job);
        receipts.push_back(receipt);
        while receipts.len() > KEPT_RECEIPTS {
            receipts.pop_front();
        }
    }

    /// Runs a job, on a thread of its own.
    fn run(&self, ready: Ready) {
        let job = ready.job;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.try_run(ready)));
        let result =
            caught.unwrap_or_else(|_| Err(refusal(true, "the enclave failed while it ran the job; see its log")));
        block_on(async {
            match result {
                Err(refusal) => self.refuse(job, refusal).await,
                Ok(receipt) => {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                    let name = sealed_receipt_name(&self.context.chain.genesis_hash(), job);
                    let sealed = self.context.tee.seal(&name, &receipt.encode());
                    if let Err(error) = self.context.host.store_sealed(&name, sealed).await {
                        let message = format!("the host did not store the receipt of job {job}: {error}");
                        self.context.host.log(LogLevel::Warn, message);
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
        block_on(self.progress(ready.job, JobState::Preparing));
        let (outcome, execution, hashes) = match self.execute(&ready) {
            Err(Abort::Refused(refusal)) => return Err(refusal),
            Err(Abort::Failed(reason)) => (Outcome::Failed(reason), None, None),
            Ok(execution) => {
                // Nobody pays for a receipt that is late, so nobody gets the result.
                self.check_due(&ready.assigned.assignment)?;
                block_on(self.progress(ready.job, JobState::Finishing));
                let hashes = self.deliver(&ready, &execution)?;
                (execution.outcome, Some(execution), Some(hashes))
            }
        };
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
            fuel: execution.as_ref().map_or(0, |execution| execution.fuel),
            input_bytes: execution.as_ref().map_or(0, |execution| execution.input_bytes),
            output_bytes: execution.as_ref().map_or(0, |execution| execution.output_bytes),
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
                Err(refusal(true, format!("the assignment ran out in block {}", assignment.due)))
            }
            _ => Ok(()),
        }
    }

    fn execute(&self, ready: &Ready) -> Result<Execution, Abort> {
        let context = &*self.context;
        let program = self.program(ready)?;
        let input = &ready.input;
        let identity = &input.identity;
        let stdin = input.stdin.map(|file| self.verify(file, identity)).transpose()?;
        let files = input.files.iter().map(|named| Ok((named.name.clone(), self.verify(named.file(), identity)?)));
        let files = files.collect::<Result<Vec<_>, Abort>>()?;

        block_on(self.progress(ready.job, JobState::Running));
        let ChainJob { limits, submitted_at_ms, .. } = ready.assigned.job;
        let tee = context.tee.clone();
        let deadline = tee.now().saturating_add(Duration::from_millis(limits.wall_ms));
        let job = Job {
            arguments: input.arguments.clone(),
            stdin: match stdin {
                Some(file) => Box::new(file.open(identity)),
                None => Box::new(Vec::new()),
            },
            files: files.into_iter().map(|(name, file)| (name, Box::new(file.open(identity)) as _)).collect(),
            seed: *input.seed(),
            now_ms: submitted_at_ms,
            limits,
            interrupt: Box::new(move || tee.now() >= deadline),
        };
        context.engine.run(&program, job).map_err(|error| Abort::Refused(refusal(true, error.to_string())))
    }

    fn verify(&self, file: EncryptedFile, identity: &Identity) -> Result<VerifiedFile, Abort> {
        let verified = verify(&self.blobs, file.sha256, file.bytes, identity, &mut |_| Ok(()))?;
        if verified.length != file.bytes { Err(Abort::Failed(FailureReason::InvalidInput)) } else { Ok(verified) }
    }

    fn program(&self, ready: &Ready) -> Result<Arc<Compiled>, Abort> {
        let (programs, app) = (&self.context.programs, &ready.app);
        match (app.visibility, ready.input.code) {
            (Visibility::Public, _) => programs.prepare(Name::Public(app.code_hash), || self.public_code(app)),
            (Visibility::Private, Some(file)) => {
                // Decrypted and checked even where the program is compiled already: what a job's outcome is must not depend
                // on what a worker has in its cache.
                let code = self.private_code(file, &ready.input.identity, app)?;
                programs.prepare(Name::Private(ready.assigned.job.app), || Ok(code))
            }
            (Visibility::Private, None) => Err(Abort::Failed(FailureReason::InvalidInput)),
        }
    }

    /// The code of a public app is a blob under its own hash: other bytes are the host's fault.
    fn public_code(&self, app: &ChainApp) -> Result<Vec<u8>, Abort> {
        let mut code: Vec<u8> = Vec::new();
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
        if <Hash>::from(Sha256::digest(&code)) != app.code_hash {
            return Err(refusal(true, "the host served other bytes than the app's program").into());
        }
        Ok(code)
    }

    fn private_code(&self, file: EncryptedFile, identity: &Identity, app: &ChainApp) -> Result<Vec<u8>, Abort> {
        if file.bytes > MAX_CODE_CIPHERTEXT_BYTES {
            return Err(Abort::Failed(FailureReason::CodeMismatch));
        }
        let mut code: Vec<u8> = Vec::new();
        let mut too_long = false;
        let verified = verify(&self.blobs, file.sha256, file.bytes, identity, &mut |bytes| {
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
            Ok(_) if <Hash>::from(Sha256::digest(&code)) != app.code_hash => {
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
        let host = &self.context.host;
        let mut result = Err(refusal(true, "the host did not take the result"));
        for _ in 0..DELIVERIES {
            result = deliver(&output, &ready.input.secret, &ready.input.recipients, &mut |offset, bytes| {
                block_on(host.done(&EnclaveRequest::WriteOutput { job: ready.job, offset, bytes }))
            });
            if !matches!(&result, Err(refusal) if refusal.retry) {
                break;
            }
        }
        result
    }
}

/// The host's blobs.
struct HostBlobs(Host);

impl Blobs for HostBlobs {
    fn read(&self, blob: Hash, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        block_on(self.0.bytes(&EnclaveRequest::ReadBlob { blob, offset, length }, length))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(future)
}

/// Runs `work`, which blocks, on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let (sender, result) = futures::channel::oneshot::channel();
    thread("input", move || drop(sender.send(work())));
    result.await.unwrap_or_else(|_| Err(refusal(true, "the enclave failed while it read the job input")))
}
