//! Jobs: from a host's request to a signed receipt.
//!
//! ```text
//! StartJob ─ decrypt, check the input ──► refused: to be asked again, or never
//!               │ accepted
//!               ▼
//!            wait for the assignment in a finalized block ──► refused: not this worker's, wrong secret
//!               │
//!               ▼
//!            wait for a place, fetch and compile the program, verify the files
//!               │                                      └───► failed: broken file, no program
//!               ▼
//!            run, archive, encrypt, hand over ──► receipt, sealed and sent
//! ```
//!
//! # Invariants
//! - No receipt without the job's secret: only who knows what the chain's commitment opens starts or fails a job.
//! - Whatever a host does wrong (absent, wrong or changed bytes) refuses the job and gives no receipt. Only the user's
//!   data and program decide an outcome.
//! - One receipt for each assignment: it is sealed at the host before it is sent, and sent again when asked again.

use codec::{DecodeAll, Encode};
use phala_engine::{Compiled, Engine, Execution, InvalidProgram, Job};
use phala_primitives::{
    FailureReason, Hash, JobId, Outcome, Receipt, SignedReceipt,
    input::EncryptedFile,
    job::{Assignment, JobStatus, Visibility},
};
use phala_protocol::{EnclaveNotice, EnclaveRequest, JobState, LogLevel, Refusal};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, VecDeque},
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
    programs::Programs,
    tasks::{Tasks, thread},
};

/// Jobs that may wait for each one that may run.
const WAITING_PER_PLACE: usize = 4;

/// How long a job may wait for its assignment to be finalized.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Receipts of ended jobs that are sent again when the host comes back.
const KEPT_RECEIPTS: usize = 64;

/// Attempts to hand a result over.
const DELIVERIES: usize = 3;

/// The largest program.
const MAX_CODE_BYTES: u64 = 64 * 1024 * 1024;

/// The longest ciphertext of a private program: armor makes a file longer by a third.
const MAX_CODE_CIPHERTEXT_BYTES: u64 = 2 * MAX_CODE_BYTES;

/// What jobs need of the enclave.
pub(crate) struct Context {
    pub tee: Arc<dyn Tee>,
    pub host: Host,
    pub tasks: Tasks,
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
    active: Mutex<HashMap<JobId, Hash>>,
    receipts: Mutex<VecDeque<SignedReceipt>>,
    running: AtomicU32,
    ended: AtomicU64,
}

/// A job that waits for a place.
struct Ready {
    job: JobId,
    input_hash: Hash,
    input: CheckedInput,
    chain_job: ChainJob,
    assignment: Assignment<u32>,
    block: Block,
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

    /// Takes a job, if its input is good. It goes on by itself.
    pub(crate) async fn start(self: &Arc<Self>, job: JobId, input_hash: Hash) -> Result<(), Refusal> {
        {
            let mut active = lock(&self.active);
            match active.get(&job) {
                Some(same) if *same == input_hash => return Ok(()),
                Some(_) => return Err(refusal(true, format!("job {job} is already started with another input"))),
                None => {}
            }
            if active.len() >= self.places.saturating_mul(WAITING_PER_PLACE.saturating_add(1)) {
                return Err(refusal(true, "this worker has as many jobs as it can hold; try again later"));
            }
            active.insert(job, input_hash);
        }
        let accepted = self.accept(job, input_hash).await;
        match accepted {
            Ok(accepted) => {
                let this = self.clone();
                self.context.tasks.spawn(async move { this.drive(job, input_hash, accepted).await });
                Ok(())
            }
            Err(refusal) => {
                self.forget(job);
                Err(refusal)
            }
        }
    }

    fn forget(&self, job: JobId) {
        lock(&self.active).remove(&job);
    }

    async fn accept(&self, job: JobId, input_hash: Hash) -> Result<Accepted, Refusal> {
        if let Some(receipt) = self.ended_before(job).await?
            && receipt.receipt.input_hash == input_hash
        {
            return Ok(Accepted::Ended(Box::new(receipt)));
        }
        self.read_input(job, input_hash).await.map(|input| Accepted::New(Box::new(input)))
    }

    /// The receipt of an earlier run, from the host's sealed blobs.
    async fn ended_before(&self, job: JobId) -> Result<Option<SignedReceipt>, Refusal> {
        if let Some(receipt) = lock(&self.receipts).iter().find(|receipt| receipt.receipt.job == job) {
            return Ok(Some(receipt.clone()));
        }
        let name = self.sealed_name(job);
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

    fn sealed_name(&self, job: JobId) -> String {
        let genesis = self.context.chain.genesis_hash();
        format!("job-{}-{job}", hex::encode(genesis.get(..8).unwrap_or_default()))
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
                    Err(refusal(false, format!("the job input cannot be decrypted: {reason}")))
                }
                Ok(_) => {
                    CheckedInput::new(&json, &genesis_hash, job).map_err(|error| refusal(false, error.to_string()))
                }
            }
        })
        .await
    }

    /// Waits for the job's assignment and puts it into the queue.
    async fn drive(self: Arc<Self>, job: JobId, input_hash: Hash, accepted: Accepted) {
        self.progress(job, JobState::Queued).await;
        match self.assigned(job, input_hash, accepted).await {
            Ok(Next::Run(ready)) => drop(self.queue.send(*ready).await),
            Ok(Next::Announce(receipt)) => {
                self.forget(job);
                self.keep((*receipt).clone());
                self.announce(*receipt).await;
            }
            Err(refusal) => self.refuse(job, refusal).await,
        }
    }

    async fn assigned(&self, job: JobId, input_hash: Hash, accepted: Accepted) -> Result<Next, Refusal> {
        let assignment = self.assignment(job).await;
        let input = match accepted {
            Accepted::New(input) => *input,
            Accepted::Ended(receipt) => match &assignment {
                Ok((chain_job, ..)) if chain_job.attempts != receipt.receipt.attempt => {
                    self.read_input(job, input_hash).await?
                }
                _ => return Ok(Next::Announce(receipt)),
            },
        };
        let (chain_job, assignment, block) = assignment?;
        if !input.opens(&chain_job.secret_commitment) {
            return Err(refusal(
                false,
                "the job input's secret is not the one that the job's owner committed to on chain",
            ));
        }
        if input.app != chain_job.app {
            return Err(refusal(false, "the job input is for another app than the job"));
        }
        Ok(Next::Run(Box::new(Ready { job, input_hash, input, chain_job, assignment, block })))
    }

    /// Waits until a finalized block has the job assigned to this worker, or decides otherwise.
    async fn assignment(&self, job: JobId) -> Result<(ChainJob, Assignment<u32>, Block), Refusal> {
        let (chain, tee) = (&*self.context.chain, &self.context.tee);
        let deadline = tee.now().saturating_add(ASSIGNMENT_TIMEOUT);
        let mut seen = chain.finalized();
        let mut last = "the light client has no finalized block yet".to_owned();
        loop {
            if let Some(block) = seen {
                match read::<ChainJob>(chain, block.hash, job_key(job), "job").await {
                    Err(error) => last = error.to_string(),
                    Ok(None) => last = format!("there is no job {job} in finalized block {}", block.number),
                    Ok(Some(found)) => match found.status {
                        JobStatus::Assigned(assignment) if assignment.worker == self.context.keys.worker() => {
                            return Ok((found, assignment, block));
                        }
                        JobStatus::Assigned(assignment) => {
                            last = format!("the chain has assigned job {job} to {}", assignment.worker);
                        }
                        JobStatus::Queued => last = format!("job {job} is not assigned yet in block {}", block.number),
                        JobStatus::Settled(_) => return Err(refusal(false, format!("job {job} is settled already"))),
                        JobStatus::Cancelled { .. } => return Err(refusal(false, format!("job {job} was cancelled"))),
                        JobStatus::Expired { .. } => return Err(refusal(false, format!("job {job} has expired"))),
                    },
                }
            }
            let next = chain.finalized_after(seen.map(|block| block.number));
            let timeout = tee.sleep(deadline.saturating_sub(tee.now()));
            match futures::future::select(next, timeout).await {
                futures::future::Either::Left((block, _)) => seen = Some(block),
                futures::future::Either::Right(_) => return Err(refusal(true, last)),
            }
        }
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
                    let name = self.sealed_name(job);
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
        if context.chain.finalized().is_some_and(|block| block.number > ready.assignment.due) {
            return Err(refusal(true, "the assignment ran out while the job waited for a place"));
        }
        block_on(self.progress(ready.job, JobState::Preparing));
        let app: Option<ChainApp> = block_on(self.read_app(&ready))?;
        let app = app.ok_or_else(|| refusal(false, "the chain does not have the job's app"))?;
        if app.visibility == Visibility::Private && app.publisher != ready.chain_job.owner {
            return Err(refusal(false, "the app is private and the job's owner is not its publisher"));
        }
        let (outcome, execution, hashes) = match self.execute(&ready, &app) {
            Err(Abort::Refused(refusal)) => return Err(refusal),
            Err(Abort::Failed(reason)) => (Outcome::Failed(reason), None, None),
            Ok(execution) => {
                block_on(self.progress(ready.job, JobState::Finishing));
                let hashes = self.deliver(&ready, &execution)?;
                (execution.outcome, Some(execution), Some(hashes))
            }
        };
        let receipt = Receipt {
            genesis_hash: context.chain.genesis_hash(),
            job: ready.job,
            attempt: ready.chain_job.attempts,
            app: ready.chain_job.app,
            worker: context.keys.worker(),
            measurement: context.tee.measurement().0,
            code_hash: app.code_hash,
            input_hash: ready.input_hash,
            output_hash: hashes.map_or([0; 32], |hashes| hashes.archive),
            output_file_hash: hashes.map_or([0; 32], |hashes| hashes.file),
            outcome,
            fuel: execution.as_ref().map_or(0, |execution| execution.fuel),
            input_bytes: execution.as_ref().map_or(0, |execution| execution.input_bytes),
            output_bytes: execution.as_ref().map_or(0, |execution| execution.output_bytes),
            block_number: ready.block.number,
            block_hash: ready.block.hash,
        };
        let signature = context.keys.sign(&receipt.signed_bytes());
        Ok(SignedReceipt { receipt, signature })
    }

    /// Reads the app where the assignment was seen, or, after a long wait for a place, in the newest finalized block:
    /// apps do not change.
    async fn read_app(&self, ready: &Ready) -> Result<Option<ChainApp>, Refusal> {
        let chain = &*self.context.chain;
        let key = app_key(&ready.chain_job.app);
        let blocks = [Some(ready.block), chain.finalized()];
        let mut result = Err(refusal(true, "the light client has no finalized block"));
        for block in blocks.into_iter().flatten() {
            result = read(chain, block.hash, key.clone(), "app")
                .await
                .map_err(|error| refusal(true, format!("the job's app could not be read: {error}")));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn execute(&self, ready: &Ready, app: &ChainApp) -> Result<Execution, Abort> {
        let context = &*self.context;
        let program = self.program(ready, app)?;
        let input = &ready.input;
        let identity = context.keys.identity();
        let stdin = input.stdin.as_ref().map(|file| self.verify(file)).transpose()?;
        let files = input.files.iter().map(|named| Ok((named.name.clone(), self.verify(&named.file)?)));
        let files = files.collect::<Result<Vec<_>, Abort>>()?;

        block_on(self.progress(ready.job, JobState::Running));
        let limits = ready.chain_job.limits;
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
            now_ms: ready.chain_job.submitted_at_ms,
            limits,
            interrupt: Box::new(move || tee.now() >= deadline),
        };
        context.engine.run(&program, job).map_err(|error| Abort::Refused(refusal(true, error.to_string())))
    }

    fn verify(&self, file: &EncryptedFile) -> Result<VerifiedFile, Abort> {
        let identity = self.context.keys.identity();
        let verified = verify(&self.blobs, file.sha256, file.bytes, identity, &mut |_| Ok(()))?;
        if verified.length != file.bytes { Err(Abort::Failed(FailureReason::InvalidInput)) } else { Ok(verified) }
    }

    fn program(&self, ready: &Ready, app: &ChainApp) -> Result<Arc<Compiled>, Abort> {
        let programs = &self.context.programs;
        match (app.visibility, &ready.input.code) {
            (Visibility::Public, _) => programs.prepare(app.code_hash, || self.public_code(app)),
            (Visibility::Private, Some(file)) => {
                // Decrypted and checked even where the program is compiled already: what a job's outcome is must not depend
                // on what a worker has in its cache.
                let code = self.private_code(file, app)?;
                programs.prepare(app.code_hash, || Ok(code))
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

    fn private_code(&self, file: &EncryptedFile, app: &ChainApp) -> Result<Vec<u8>, Abort> {
        if file.bytes > MAX_CODE_CIPHERTEXT_BYTES {
            return Err(Abort::Failed(FailureReason::CodeMismatch));
        }
        let mut code: Vec<u8> = Vec::new();
        let mut too_long = false;
        let verified = verify(&self.blobs, file.sha256, file.bytes, self.context.keys.identity(), &mut |bytes| {
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

/// What became of a host's request.
enum Accepted {
    New(Box<CheckedInput>),
    /// It has run already.
    Ended(Box<SignedReceipt>),
}

enum Next {
    Run(Box<Ready>),
    Announce(Box<SignedReceipt>),
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
