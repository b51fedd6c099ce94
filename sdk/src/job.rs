//! Jobs, from a program and its files to a checked result.
//!
//! 1. [`Jobs::submit`] publishes the program if need be, makes a secret, encrypts the inputs to the app, remembers in the
//!    [`Store`] what is needed later, and submits the job. The inputs stay here. If it is cut off, [`Jobs::recover`] finds out
//!    whether the job is on chain.
//! 2. [`Jobs::follow`] waits for the chain to assign the job, verifies the worker's evidence, and only then uploads the inputs
//!    and starts the job. If the chain gives the job to another worker, it does the same there, with the same ciphertext.
//! 3. [`Jobs::result`] downloads receipt and output, decrypts, and checks one against the other and against the chain.
//!
//! This machine brings nothing to a worker that does not verify: not the inputs, not their names, not their sizes. What opens
//! them, the gatekeepers give to workers that the chain has assigned and attested. A network without gatekeepers has no keys:
//! there inputs are encrypted by [`Jobs::follow`], to the verified worker alone, and the job input is made again for the next.

mod archive;
mod deliver;
mod store;

pub use archive::{ArchiveError, Output};
pub use store::{Delivery, EncryptedInput, EncryptedInputs, JobRecord, Reader, Store, StoreError, write_private};

use deliver::To;

use phala_attestation::Measurement;
use phala_primitives::{
    AppId, JobId, Limits, SignedReceipt, WorkerId,
    input::{MAX_FILES, MAX_RECIPIENTS, is_file_name},
    job::{JobStatus, MAX_CODE_BYTES, Settlement, Visibility, secret_commitment},
    padding::padded,
    units::{self, Balance},
};
use sha2::{Digest, Sha256};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Account, Signer,
    chain::{App, Chain, ChainError, Included, Job, State, SubmitError, call},
    encryption::{AppFileError, EncryptionError, Identity, Recipient},
    evidence::{Check, EvidenceError, WorkerReport, verify_worker},
    host::{HostError, Hosts, UploadToken},
    network_keys::NetworkKeys,
    receipt::{self, ReceiptError},
};

/// How often the chain and the host are asked.
const POLL: Duration = Duration::from_millis(400);

/// How long it is waited for what a fork has taken out of the best chain to come back.
const FORK: Duration = Duration::from_secs(30);

/// For how long after a job's deadline its uploads are still signed for: blocks may be late, and clocks differ.
const UPLOAD_SLACK: Duration = Duration::from_secs(24 * 60 * 60);

/// What an archive may need beyond the bytes in it.
const ARCHIVE_OVERHEAD: u64 = 64 * 1024 * 1024;

/// The manifest of an app that has none of its own.
const DEFAULT_MANIFEST: &[u8] = b"{}";

/// How many blocks a submission may take to get into one, and the random beacon to draw a worker.
const SUBMISSION_BLOCKS: u64 = 15;

/// How many times the median price is offered where the user names no price.
const OFFER: Balance = 2;

/// After how many finalized blocks a job that is not on chain was never submitted: more than it takes to try as often as
/// [`Chain::submit`] does.
const PENDING_BLOCKS: u32 = 1_000;

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file of the user's could not be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The program is too large.
    #[error("the program has {0} bytes; at most {MAX_CODE_BYTES} can be published")]
    ProgramTooLarge(u64),
    /// The program is no WebAssembly.
    #[error("{} is not WebAssembly; build it for wasm32-wasip2 or wasm32-wasip1", .0.display())]
    NotWasm(PathBuf),
    /// A file's name cannot be given to a program.
    #[error("`{0}` cannot name an input file: names have 1 to 255 bytes and no slash")]
    FileName(String),
    /// A file that came encrypted cannot be opened by the job's workers.
    #[error("cannot use the encrypted file `{name}`: {error}")]
    EncryptedFile {
        /// What the program would see it as.
        name: String,
        /// Why.
        error: AppFileError,
    },
    /// Two files have one name.
    #[error("two input files have the name `{0}`")]
    SameName(String),
    /// Too many files or recipients.
    #[error("too many {what}: at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most.
        max: usize,
    },
    /// A limit is zero or above what workers accept.
    #[error("a limit is out of bounds: every limit is at least 1 and at most {:?}", Limits::MAX)]
    Limits,
    /// The deadline is too near for any worker.
    #[error("the deadline is too near: with this limit of wall time it must be at least {0} blocks away")]
    DeadlineTooNear(u64),
    /// The chain knows no such app.
    #[error("the chain knows no app {0}; see `phala app list`")]
    UnknownApp(AppId),
    /// The app's publisher has taken it back.
    #[error(
        "the app {0} is being unpublished and gets no more jobs; publish it again once it is gone from `phala app list`"
    )]
    Retired(AppId),
    /// The program's bytes are needed and not here.
    #[error(
        "this machine does not have the program of app {0}, and the worker lacks it too; give the file instead of the id"
    )]
    ProgramMissing(AppId),
    /// Nobody would run it.
    #[error(
        "no active worker on this chain to take a price from: see `phala worker list`; with `--max-price` the job waits for one"
    )]
    NoWorkers,
    /// Nobody would run it for that.
    #[error(
        "{} is under the market: nobody asks that little. With this fuel limit the cheapest active worker may cost {}; offer \
         more or lower the fuel limit",
        crate::amount::format(*offered),
        crate::amount::format(*needed)
    )]
    PriceTooLow {
        /// What was offered.
        offered: Balance,
        /// What the cheapest worker may cost.
        needed: Balance,
    },
    /// The owner cannot pay.
    #[error(
        "the account has {} to spend, and the job may cost {} and its fees; transfer some PHA to it, or lower the price or the \
         fuel limit",
        crate::amount::format(*free),
        crate::amount::format(*needed)
    )]
    BalanceTooLow {
        /// What can be spent.
        free: Balance,
        /// What is needed.
        needed: Balance,
    },
    /// The chain knows no such job.
    #[error("the chain knows no job {0}")]
    UnknownJob(JobId),
    /// The job is somebody else's, or was submitted from another machine.
    #[error("this machine knows nothing of job {0}: its result can be opened only where it was submitted")]
    NotOurs(JobId),
    /// The owner cancelled it.
    #[error("the job was cancelled in block {0}; its escrow was returned")]
    Cancelled(u32),
    /// Nobody ended it in time.
    #[error("no worker ended the job by its deadline; its escrow was returned in block {0}. {1}")]
    Expired(u32, String),
    /// The job has not ended.
    #[error("the job has not ended yet")]
    NotEnded,
    /// The transaction did not bring about what it should.
    #[error("the chain took the transaction but says nothing of a job; the node may be of another version")]
    NoEvent,
    /// No randomness.
    #[error("the system gave no randomness: {0}")]
    Randomness(String),
    /// The key is not that of the job's owner.
    #[error("job {job} is not this key's; sign with the key of its owner {owner}: `--key NAME`")]
    NotOwner {
        /// Which job.
        job: JobId,
        /// Whose it is.
        owner: Account,
    },
    /// Nothing signed lets this machine upload for the job, or not any more.
    #[error(
        "the uploads for this job must be signed by its owner {0} once more, because its submission was cut off, a fork gave \
         it another number, or the time of the last signature is over; use `phala job result` with `--key NAME`"
    )]
    NoUploadToken(Account),
    /// Nobody says where the worker's host is.
    #[error(
        "worker {0}, which ran the job, is not registered any more, and it was brought nothing from here: its host is not known"
    )]
    WorkerGone(WorkerId),
    /// Nobody knows whether the job was submitted.
    #[error(
        "the job may or may not have been submitted: {0}. If it was, `phala job list` shows it, and `phala job result` goes on \
         with it"
    )]
    Unresolved(SubmitError),
    /// A transaction failed.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A host did not do what it should.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Something could not be encrypted or decrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The receipt is bad.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The result is malformed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What this machine knows of its jobs could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to run.
#[derive(Clone, Debug)]
pub enum Program {
    /// A file, which is published if it is not yet.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether only its publisher may run it, and only enclaves see it.
        private: bool,
    },
    /// A published app.
    App(AppId),
}

/// A job to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to run.
    pub program: Program,
    /// Arguments, without the program's name.
    pub arguments: Vec<String>,
    /// The file with the standard input.
    pub stdin: Option<PathBuf>,
    /// Input files: the names that the program sees, and where they are.
    pub files: Vec<(String, PathBuf)>,
    /// Input files that are encrypted to the app already, see [`encrypt_to_app`](crate::encryption::encrypt_to_app): the names
    /// under which the program sees what is in them, and where they are.
    pub encrypted_files: Vec<(String, PathBuf)>,
    /// What the job may use at most.
    pub limits: Limits,
    /// The most to pay. `None`: twice the median of what active workers ask, and not more than the dearest asks.
    pub max_price: Option<Balance>,
    /// After how many blocks the job expires. `None`: enough for three workers in turn.
    pub deadline_blocks: Option<u32>,
    /// Who else may read the result.
    pub recipients: Vec<Recipient>,
}

impl Request {
    /// A job without input, with default limits.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            arguments: vec![],
            stdin: None,
            files: vec![],
            encrypted_files: vec![],
            limits: Limits::DEFAULT,
            max_price: None,
            deadline_blocks: None,
            recipients: vec![],
        }
    }
}

/// Something happened to a job. For people.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The program is being published.
    Publishing {
        /// How large it is.
        bytes: u64,
    },
    /// The program is published.
    Published(Published),
    /// A fork has given the job another number.
    Renumbered {
        /// What it was.
        from: JobId,
        /// What it is now.
        to: JobId,
    },
    /// The worker's host has too much to do.
    Busy {
        /// When it is asked again.
        retry_after: Duration,
    },
    /// The job is on chain.
    Submitted {
        /// Its number.
        job: JobId,
        /// In which block.
        block: u32,
        /// What the transaction cost.
        fee: Balance,
        /// What is in escrow.
        escrow: Balance,
    },
    /// No worker has it yet.
    Queued {
        /// Why that may be, after a while.
        hint: Option<String>,
    },
    /// A worker has it.
    Assigned {
        /// The worker.
        worker: WorkerId,
        /// 1 for the first.
        attempt: u32,
        /// In which block.
        block: u32,
    },
    /// The worker's evidence holds.
    Verified(Box<WorkerReport>),
    /// An input is being encrypted.
    Encrypting {
        /// Which.
        name: String,
    },
    /// An input that came encrypted is being copied.
    Copying {
        /// Which.
        name: String,
    },
    /// An input is being uploaded.
    Uploading {
        /// Which.
        name: String,
        /// How much is on its way.
        sent: u64,
        /// How much there is.
        total: u64,
    },
    /// Everything is with the worker.
    Delivered {
        /// Bytes in the clear.
        plain_bytes: u64,
        /// Bytes uploaded for them.
        cipher_bytes: u64,
    },
    /// The enclave has accepted the job.
    Started,
    /// What the host says that the enclave does.
    State(String),
    /// A receipt is on chain.
    Settled {
        /// In which block.
        block: u32,
    },
    /// The result is being downloaded.
    Downloading {
        /// How much is here.
        received: u64,
        /// How much there is, if the host says so.
        total: Option<u64>,
    },
    /// Something went wrong that may still come right.
    Warning(String),
}

/// A published program.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its id.
    pub app: AppId,
    /// SHA-256 of the program.
    pub code_hash: [u8; 32],
    /// Where it was published just now; `None` if it had been before.
    pub included: Option<(u32, Balance)>,
}

/// How far to follow a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until the enclave has accepted it. A job that is reassigned later needs to be followed again.
    Started,
    /// Until a receipt settles it.
    Settled,
}

/// The result of a job, checked.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The job on chain.
    pub job: Job,
    /// How it was paid.
    pub settlement: Settlement<Account, u32>,
    /// The app on chain.
    pub app: App,
    /// What the evidence of the worker that ran it proved: before it was brought anything or, if it was taken over, now. `Err`
    /// says why that is not known.
    pub worker: Result<WorkerReport, String>,
    /// Whether it was brought nothing from here, and its host took the input over from another's.
    pub taken_over: bool,
    /// What was sent: to the worker that ran it or, if its host has the input from another's, to another.
    pub delivery: Delivery,
    /// What the enclave signed.
    pub receipt: SignedReceipt,
    /// Every link of the chain of evidence from the receipt to the output.
    pub checks: Vec<Check>,
    /// What the program wrote.
    pub output: Output,
    /// The length of the encrypted output.
    pub output_cipher_bytes: u64,
}

/// Jobs of one chain.
#[derive(Clone)]
pub struct Jobs {
    chain: Chain,
    store: Store,
    hosts: Hosts,
}

impl Jobs {
    /// Jobs of a chain, remembered in a store.
    pub fn new(chain: Chain, store: Store) -> Self {
        Self { chain, store, hosts: Hosts::default() }
    }

    /// The same, but reaches workers' hosts in another way.
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
    }

    /// How workers' hosts are reached.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Publishes a program, unless the signer has published it before.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn publish(
        &self,
        signer: &Signer,
        code: &[u8],
        visibility: Visibility,
        manifest: Option<&[u8]>,
    ) -> Result<Published, JobError> {
        let length = code.len() as u64;
        let code_bytes = u32::try_from(length).ok().filter(|length| (1..=MAX_CODE_BYTES).contains(length));
        let code_bytes = code_bytes.ok_or(JobError::ProgramTooLarge(length))?;
        let code_hash: [u8; 32] = Sha256::digest(code).into();
        let manifest_hash: [u8; 32] = Sha256::digest(manifest.unwrap_or(DEFAULT_MANIFEST)).into();
        let app = AppId::new(&signer.account().0, &code_hash, code_bytes, &manifest_hash, visibility);
        self.store.keep_program(code)?;
        let before = Published { app, code_hash, included: None };
        match self.chain.best().await?.app(app).await? {
            Some(known) if known.retired => return Err(JobError::Retired(app)),
            Some(_) => return Ok(before),
            None => {}
        }
        let publish = call::publish(code_hash, code_bytes, manifest_hash, visibility);
        match self.chain.submit(signer, publish).await {
            Ok(included) => Ok(Published { included: Some((included.block.number, included.fee)), ..before }),
            Err(error) => {
                // Somebody else, with the same key, may have been faster.
                let refused = matches!(error, SubmitError::Dispatch(_));
                let published = refused && self.chain.best().await?.app(app).await?.is_some();
                if published { Ok(before) } else { Err(error.into()) }
            }
        }
    }

    /// Takes an app back: it gets no more jobs, and is gone, with its deposit returned, once those that live have ended.
    /// Whether it is gone already.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn unpublish(&self, signer: &Signer, app: AppId) -> Result<(Included, bool), JobError> {
        let included = self.chain.submit(signer, call::unpublish(app)).await?;
        let gone = self.chain.at(included.block.hash).await?.app(app).await?.is_none();
        Ok((included, gone))
    }

    /// Submits a job; [`Self::follow`] does the rest.
    ///
    /// # Errors
    /// See [`JobError`]. Nothing is paid unless the job is on chain, but a new program stays published. Only after
    /// [`JobError::Unresolved`] the job may be on chain all the same.
    pub async fn submit(
        &self,
        signer: &Signer,
        request: Request,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<JobRecord, JobError> {
        let stdin = request.stdin.clone();
        let prepared = Box::pin(self.prepare(signer, request, progress)).await;
        let (mut record, deadline_blocks) = prepared.inspect_err(|_| self.store.forget_stdin(stdin.as_deref()))?;
        let Paid { included, upload_expiry, ready } =
            match Box::pin(self.pay(signer, &mut record, deadline_blocks, progress)).await {
                Ok(paid) => paid,
                Err(error @ JobError::Unresolved(_)) => return Err(error),
                Err(error) => {
                    self.store.forget_pending(&record)?;
                    return Err(error);
                }
            };
        record.job = included.job.ok_or(JobError::NoEvent)?;
        record.submitted_at = included.block.number;
        record.submission_fee = included.fee;
        record.upload = Some(UploadToken::sign(signer, record.genesis_hash, record.job, upload_expiry));
        if let Some((files, to)) = ready
            && let Err(error) = deliver::input(&self.store, &mut record, &files, &to)
        {
            // The job is paid for, and whoever follows it tries again.
            progress(Progress::Warning(format!("the job input is not encrypted yet: {error}")));
        }
        self.store.confirm(&record)?;
        progress(Progress::Submitted {
            job: record.job,
            block: record.submitted_at,
            fee: record.submission_fee,
            escrow: record.max_price,
        });
        Ok(record)
    }

    /// Signs that whoever has the token may upload for a job and start it, until some time after its deadline.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn upload_token(&self, owner: &Signer, job: JobId) -> Result<UploadToken, JobError> {
        let state = self.chain.best().await?;
        let known = state.job(job).await?.ok_or(JobError::UnknownJob(job))?;
        if known.owner != owner.account() {
            return Err(JobError::NotOwner { job, owner: known.owner });
        }
        let blocks = known.deadline.saturating_sub(state.block().number);
        let expires = upload_expiry(u64::from(blocks), state.block_ms()?);
        Ok(UploadToken::sign(owner, self.chain.genesis_hash(), job, expires))
    }

    /// Gives a record what lets this machine upload for its job and start it: after [`JobError::NoUploadToken`].
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn sign_uploads(&self, owner: &Signer, record: &mut JobRecord) -> Result<(), JobError> {
        record.upload = Some(self.upload_token(owner, record.job).await?);
        Ok(self.store.save(record)?)
    }

    /// Everything about a job but its inputs and its submission: its record, and for how many blocks it shall live.
    async fn prepare(
        &self,
        signer: &Signer,
        request: Request,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(JobRecord, u64), JobError> {
        let state = self.chain.best().await?;
        let term = Term { block_ms: state.block_ms()?, grace_blocks: state.receipt_grace()? };
        check_request(&request, term)?;
        let max_price = price(&state, &request).await?;
        let balance = state.balance(signer.account()).await?;
        let free = balance.free.saturating_sub(balance.frozen);
        if free <= max_price {
            return Err(JobError::BalanceTooLow { free, needed: max_price });
        }
        let published = self.resolve(signer, &request.program, progress).await?;
        let (state, app) = self.published(&published).await?;
        if app.retired {
            return Err(JobError::Retired(published.app));
        }

        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| JobError::Randomness(error.to_string()))?;
        let deadline_blocks = request.deadline_blocks.map_or_else(|| 3 * term.blocks(&request.limits) + 60, u64::from);
        let record = JobRecord {
            version: 1,
            genesis_hash: self.chain.genesis_hash(),
            job: 0,
            app: published.app,
            owner: signer.account(),
            secret: secret.into(),
            identity: Identity::generate().secret(),
            recipients: request.recipients.iter().map(ToString::to_string).collect(),
            code_hash: app.code_hash,
            private: app.visibility == Visibility::Private,
            arguments: request.arguments,
            stdin: request.stdin,
            files: request.files,
            encrypted_files: request.encrypted_files,
            limits: request.limits,
            max_price,
            submitted_at: state.block().number,
            submission_fee: 0,
            upload: None,
            encrypted: None,
            input: None,
            deliveries: vec![],
        };
        Ok((record, deadline_blocks))
    }

    /// Encrypts a job's files, if there is a key to encrypt the job input to as soon as the job has a number, and submits it.
    async fn pay(
        &self,
        signer: &Signer,
        record: &mut JobRecord,
        deadline_blocks: u64,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Paid, JobError> {
        let ready = match NetworkKeys::read(&self.chain).await? {
            Some(keys) => {
                let to = To::app(&keys, record.app).map_err(EncryptionError::from)?;
                Some((deliver::encrypted(&self.store, record, Some(&keys), progress).await?, to))
            }
            None => match record.encrypted_files.first() {
                Some((name, _)) => {
                    return Err(JobError::EncryptedFile { name: name.clone(), error: AppFileError::NoKeys });
                }
                None => None,
            },
        };
        // Only now: encryption takes its time, and the deadline is near.
        let state = self.chain.best().await?;
        let upload_expiry = upload_expiry(deadline_blocks, state.block_ms()?);
        record.submitted_at = state.block().number;
        let deadline = u32::try_from(u64::from(record.submitted_at) + deadline_blocks).unwrap_or(u32::MAX);
        let commitment = secret_commitment(&record.secret);
        let submit = call::submit_job(record.app, record.limits, record.max_price, deadline, 1, commitment);
        // From here on the job may get onto the chain, and nobody else has what opens it.
        self.store.save_pending(record)?;
        match self.chain.submit(signer, submit).await {
            Ok(included) => Ok(Paid { included, upload_expiry, ready }),
            Err(error @ SubmitError::Unresolved { .. }) => Err(JobError::Unresolved(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// An app that was resolved, with the state that has it. One that was published a moment ago may be in a block that a fork has
    /// replaced by then: it comes back with one of the next blocks.
    async fn published(&self, published: &Published) -> Result<(State, App), JobError> {
        let deadline = tokio::time::Instant::now() + FORK;
        loop {
            let state = self.chain.best().await?;
            match state.app(published.app).await? {
                Some(app) => return Ok((state, app)),
                None if published.included.is_none() || tokio::time::Instant::now() >= deadline => {
                    return Err(JobError::UnknownApp(published.app));
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// A record's job on chain, with the number that it has there.
    async fn locate(&self, state: &State, record: &JobRecord) -> Result<Option<(JobId, Job)>, ChainError> {
        match state.job(record.job).await? {
            Some(job) if record.is_of(&job) => Ok(Some((record.job, job))),
            // The number is of a block that a fork has replaced by another.
            _ => Ok(state.jobs().await?.into_iter().find(|(_, job)| record.is_of(job))),
        }
    }

    /// The app of a job that was settled in block `at`. A retired app goes with its last job, and is found in the block
    /// before as long as the node has that.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn settled_app(&self, state: &State, job: &Job, at: u32) -> Result<App, JobError> {
        if let Some(app) = state.app(job.app).await? {
            return Ok(app);
        }
        let before = self.chain.at_number(at.saturating_sub(1)).await?;
        before.app(job.app).await?.ok_or(JobError::UnknownApp(job.app))
    }

    /// Finds out about jobs whose submission was cut off: remembers those that are on chain, and returns their numbers;
    /// forgets those that will never be.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn recover(&self) -> Result<Vec<JobId>, JobError> {
        let pending = self.store.pending(&self.chain.genesis_hash())?;
        if pending.is_empty() {
            return Ok(vec![]);
        }
        // Until it is final, a job may still get another number.
        let state = self.chain.finalized().await?;
        let (finalized, jobs) = (state.block().number, state.jobs().await?);
        let mut recovered = Vec::new();
        for mut record in pending {
            if let Some((id, job)) = jobs.iter().find(|(_, job)| record.is_of(job)) {
                record.job = *id;
                record.submitted_at = job.submitted_at;
                self.store.confirm(&record)?;
                recovered.push(*id);
            } else if finalized > record.submitted_at.saturating_add(PENDING_BLOCKS) {
                self.store.forget_pending(&record)?;
            }
        }
        Ok(recovered)
    }

    /// The record of a job that was submitted from this machine.
    ///
    /// # Errors
    /// [`JobError::NotOurs`].
    pub fn record(&self, job: JobId) -> Result<JobRecord, JobError> {
        self.store.load(&self.chain.genesis_hash(), job)?.ok_or(JobError::NotOurs(job))
    }

    /// Cancels a job that no worker has yet.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn cancel(&self, signer: &Signer, job: JobId) -> Result<Included, JobError> {
        let included = self.chain.submit(signer, call::cancel_job(job)).await?;
        if let Ok(record) = self.record(job) {
            self.forget_inputs(&record);
        }
        Ok(included)
    }

    /// Deletes what was kept on this machine of the inputs of a job that has ended.
    pub fn forget_inputs(&self, record: &JobRecord) {
        self.store.forget_stdin(record.stdin.as_deref());
        self.store.forget_ciphertext(record);
    }

    /// Where a worker was that has deregistered since it settled a job at `block`: its host serves outputs beyond that. Known as long
    /// as the node keeps the state of then.
    async fn endpoint_before(&self, block: u32, worker: WorkerId) -> Result<String, JobError> {
        let registered = match self.chain.at_number(block.saturating_sub(1)).await?.worker(worker).await {
            Err(ChainError::Discarded) => None,
            registered => registered?,
        };
        let registered = registered.ok_or(JobError::WorkerGone(worker))?;
        Ok(String::from_utf8_lossy(&registered.endpoint).into_owned())
    }

    /// Fetches, decrypts and checks the result of a settled job.
    ///
    /// # Errors
    /// See [`JobError`]. Anything that does not hold is an error: there is no result without its checks.
    pub async fn result(
        &self,
        record: &JobRecord,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<JobResult, JobError> {
        let state = self.chain.best().await?;
        let (id, job) = self.locate(&state, record).await?.ok_or(JobError::UnknownJob(record.job))?;
        if !matches!(job.status, JobStatus::Queued | JobStatus::Assigned(_)) {
            self.forget_inputs(record);
        }
        let settlement = match &job.status {
            JobStatus::Settled(settlement) => settlement.clone(),
            JobStatus::Cancelled { at } => return Err(JobError::Cancelled(*at)),
            JobStatus::Expired { at } => return Err(JobError::Expired(*at, String::new())),
            JobStatus::Queued | JobStatus::Assigned(_) => return Err(JobError::NotEnded),
        };
        let app = self.settled_app(&state, &job, settlement.at).await?;
        let sent = record
            .sent(settlement.worker, &settlement.input_hash)
            .ok_or(ReceiptError::Mismatch("input", "anything that was sent from here"))?;
        let worker = match sent.worker {
            Some(report) => Ok(report.clone()),
            None => {
                let verified = Box::pin(verify_worker(&self.chain, &self.hosts, &state, settlement.worker)).await;
                verified.map(|worker| worker.report()).map_err(|error| unverified(&error))
            }
        };
        // A worker that has moved says so on chain.
        let endpoint = match (state.worker(settlement.worker).await?, &worker) {
            (Some(worker), _) => String::from_utf8_lossy(&worker.endpoint).into_owned(),
            (None, Ok(report)) => report.enclave.endpoint.clone(),
            (None, Err(_)) => self.endpoint_before(settlement.at, settlement.worker).await?,
        };
        let host = self.hosts.at(&endpoint)?;
        let receipt = patiently(progress, || host.receipt(id)).await?;

        let (mut archive, mut file_hash, mut output_cipher_bytes) = (None, [0; 32], 0);
        let output_hash = receipt.receipt.output_file_hash;
        if output_hash != [0; 32] {
            let limit = padded(record.limits.output_bytes.saturating_add(ARCHIVE_OVERHEAD));
            let cipher = tempfile::Builder::new()
                .prefix("output-")
                .tempfile_in(self.store.temporary())
                .map_err(|error| JobError::File { path: self.store.temporary(), error })?
                .into_temp_path();
            let download = || {
                host.output(id, &cipher, &output_hash, limit, |received, total| {
                    progress(Progress::Downloading { received, total });
                })
            };
            output_cipher_bytes = patiently(progress, download).await?;
            let identity: Identity = record.identity.parse()?;
            let path = cipher.to_path_buf();
            let opened = tokio::task::spawn_blocking(move || {
                let file_error = |error| JobError::File { path: path.clone(), error };
                let bytes = std::fs::read(&path).map_err(file_error)?;
                let hash: [u8; 32] = Sha256::digest(&bytes).into();
                Ok::<_, JobError>((hash, identity.decrypt(&bytes[..], limit)?))
            });
            let (hash, plain) = opened.await.expect("decryption does not panic")?;
            file_hash = hash;
            archive = Some(plain);
        }
        let measurement = match &worker {
            Ok(report) => {
                let measurement: WorkerId = report.enclave.measurement.parse().map_err(|_| JobError::NoEvent)?;
                Ok(Measurement(measurement.0))
            }
            Err(why) => Err(why.as_str()),
        };
        let facts = receipt::Facts {
            genesis_hash: self.chain.genesis_hash(),
            id,
            job: &job,
            app: &app,
            measurement,
            input_hash: Some(settlement.input_hash),
            output: archive.as_deref().map(|archive| receipt::Output { file_hash, archive, secret: &record.secret }),
        };
        let checks = receipt::verify(&receipt, &facts)?;
        let output = archive.as_deref().map(Output::read).transpose()?.unwrap_or_default();
        Ok(JobResult {
            job,
            settlement,
            app,
            worker,
            taken_over: sent.worker.is_none(),
            delivery: sent.delivery.clone(),
            receipt,
            checks,
            output,
            output_cipher_bytes,
        })
    }

    /// The app to run: published now, before, or by somebody else.
    async fn resolve(
        &self,
        signer: &Signer,
        program: &Program,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Published, JobError> {
        match program {
            Program::App(app) => {
                let known = self.chain.best().await?.app(*app).await?.ok_or(JobError::UnknownApp(*app))?;
                Ok(Published { app: *app, code_hash: known.code_hash, included: None })
            }
            Program::File { path, private } => {
                let code = read_program(path)?;
                progress(Progress::Publishing { bytes: code.len() as u64 });
                let visibility = if *private { Visibility::Private } else { Visibility::Public };
                let published = self.publish(signer, &code, visibility, None).await?;
                progress(Progress::Published(published.clone()));
                Ok(published)
            }
        }
    }
}

/// A job that is on chain.
struct Paid {
    included: Included,
    /// Until when uploads for it are signed.
    upload_expiry: u64,
    /// Its files, encrypted, and whom its input is for: where the network has keys.
    ready: Option<(EncryptedInputs, To)>,
}

/// Why nothing is known of a worker that took a job's input over.
fn unverified(error: &EvidenceError) -> String {
    format!(
        "its host took the input over from another's, and the worker cannot be verified now: {error}. Gatekeepers gave it the \
         app's key only while the chain had it assigned and attested"
    )
}

/// What to offer: what the user says if it is enough for somebody, else what [`offer`] says.
async fn price(state: &State, request: &Request) -> Result<Balance, JobError> {
    let workers = state.active_workers().await?;
    let mut costs: Vec<_> = workers.iter().map(|(_, worker)| units::fee(request.limits.fuel, worker.price)).collect();
    costs.sort_unstable();
    match (request.max_price, costs.first()) {
        (Some(offered), Some(&needed)) if offered < needed => Err(JobError::PriceTooLow { offered, needed }),
        // A worker may still come.
        (Some(offered), _) => Ok(offered),
        (None, _) => offer(&costs).ok_or(JobError::NoWorkers),
    }
}

/// What is offered where the user names no price: enough for most workers, however dear the dearest is. From what each
/// may cost, in ascending order; `None` without workers.
fn offer(costs: &[Balance]) -> Option<Balance> {
    let median = costs.get(costs.len().saturating_sub(1) / 2)?;
    Some(median.saturating_mul(OFFER).min(*costs.last()?).max(1))
}

/// Reads a program and looks at its first bytes.
///
/// # Errors
/// [`JobError::File`], [`JobError::NotWasm`], [`JobError::ProgramTooLarge`].
pub fn read_program(path: &std::path::Path) -> Result<Vec<u8>, JobError> {
    let code = std::fs::read(path).map_err(|error| JobError::File { path: path.into(), error })?;
    if code.len() as u64 > u64::from(MAX_CODE_BYTES) {
        return Err(JobError::ProgramTooLarge(code.len() as u64));
    }
    if !code.starts_with(b"\0asm") {
        return Err(JobError::NotWasm(path.into()));
    }
    Ok(code)
}

/// How long a worker has for a job, as the chain's runtime counts.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// The time between two blocks.
    block_ms: u64,
    /// What it has beyond the job's wall time.
    grace_blocks: u32,
}

impl Term {
    /// In blocks.
    fn blocks(self, limits: &Limits) -> u64 {
        limits.wall_ms.div_ceil(self.block_ms.max(1)) + u64::from(self.grace_blocks)
    }
}

/// Until when uploads are signed for, in Unix seconds, of a job whose deadline is some blocks away.
fn upload_expiry(deadline_blocks: u64, block_ms: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let left = Duration::from_millis(deadline_blocks.saturating_mul(block_ms)).saturating_add(UPLOAD_SLACK);
    now.saturating_add(left.as_secs())
}

fn check_request(request: &Request, term: Term) -> Result<(), JobError> {
    if !request.limits.is_valid() {
        return Err(JobError::Limits);
    }
    let least = term.blocks(&request.limits) + SUBMISSION_BLOCKS;
    if request.deadline_blocks.is_some_and(|blocks| u64::from(blocks) < least) {
        return Err(JobError::DeadlineTooNear(least));
    }
    let files = || request.files.iter().chain(&request.encrypted_files);
    if files().count() > MAX_FILES {
        return Err(JobError::TooMany { what: "input files", max: MAX_FILES });
    }
    // One place is for this machine's own key.
    if request.recipients.len() >= MAX_RECIPIENTS {
        return Err(JobError::TooMany { what: "recipients", max: MAX_RECIPIENTS - 1 });
    }
    let mut names = std::collections::BTreeSet::new();
    for (name, _) in files() {
        if !is_file_name(name) {
            return Err(JobError::FileName(name.clone()));
        }
        if !names.insert(name) {
            return Err(JobError::SameName(name.clone()));
        }
    }
    for path in files().map(|(_, path)| path).chain(&request.stdin) {
        // Better now than after the job is paid for.
        std::fs::File::open(path).map_err(|error| JobError::File { path: path.clone(), error })?;
    }
    Ok(())
}

/// Asks a host again for a while when it does not answer, as it may be restarting, or says that it is busy.
async fn patiently<T, F: Future<Output = Result<T, HostError>>>(
    progress: &(dyn Fn(Progress) + Sync),
    mut ask: impl FnMut() -> F,
) -> Result<T, HostError> {
    const ATTEMPTS: u32 = 30;
    for attempt in 1.. {
        match ask().await {
            Err(error) if attempt < ATTEMPTS && (error.is_transient() || not_yet(&error)) => {
                if let Some(retry_after) = error.retry_after() {
                    progress(Progress::Busy { retry_after });
                } else if attempt == 5 {
                    progress(Progress::Warning(format!("{error}; trying again")));
                }
                tokio::time::sleep(error.retry_after().unwrap_or_default().max(Duration::from_secs(1))).await;
            }
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

/// A host that is restarting may not have read its disk yet.
fn not_yet(error: &HostError) -> bool {
    matches!(error, HostError::Refused { status: 404, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{FakeHost, Step};

    fn request(files: &[&str]) -> Request {
        let files = files.iter().map(|name| ((*name).to_owned(), PathBuf::from("/dev/null"))).collect();
        Request { files, ..Request::new(Program::App(AppId([0; 32]))) }
    }

    const TERM: Term = Term { block_ms: 2_000, grace_blocks: 30 };

    fn check_request(request: &Request) -> Result<(), JobError> {
        super::check_request(request, TERM)
    }

    #[test]
    fn requests_are_checked_before_anything_is_paid() {
        assert!(check_request(&request(&["a", "b"])).is_ok());
        assert!(matches!(check_request(&request(&["a", "a"])), Err(JobError::SameName(_))));
        assert!(matches!(check_request(&request(&["../a"])), Err(JobError::FileName(_))));
        let encrypted = |names: &[&str], encrypted: &[&str]| Request {
            encrypted_files: request(encrypted).files,
            ..request(names)
        };
        assert!(check_request(&encrypted(&["a"], &["b"])).is_ok());
        assert!(matches!(check_request(&encrypted(&["a"], &["a"])), Err(JobError::SameName(_))));
        assert!(matches!(check_request(&encrypted(&[], &["a/b"])), Err(JobError::FileName(_))));
        let many: Vec<String> = (0..=MAX_FILES).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(check_request(&encrypted(&many[..1], &many[1..MAX_FILES])).is_ok());
        assert!(matches!(check_request(&encrypted(&many[..1], &many[1..])), Err(JobError::TooMany { .. })));
        let missing = vec![("a".to_owned(), "/nonexistent".into())];
        let missing = Request { encrypted_files: missing, ..request(&[]) };
        assert!(matches!(check_request(&missing), Err(JobError::File { .. })));
        let none = Limits { fuel: 0, ..Limits::DEFAULT };
        assert!(matches!(check_request(&Request { limits: none, ..request(&[]) }), Err(JobError::Limits)));
        let near = Request { deadline_blocks: Some(74), ..request(&[]) };
        assert!(matches!(check_request(&near), Err(JobError::DeadlineTooNear(75))));
        assert!(check_request(&Request { deadline_blocks: Some(75), ..near }).is_ok());
        let missing = Some("/nonexistent".into());
        assert!(matches!(check_request(&Request { stdin: missing, ..request(&[]) }), Err(JobError::File { .. })));
        let crowd = vec![Identity::generate().recipient(); MAX_RECIPIENTS];
        let crowded = Request { recipients: crowd, ..request(&[]) };
        assert!(matches!(check_request(&crowded), Err(JobError::TooMany { .. })));
    }

    #[test]
    fn the_default_offer_is_not_the_dearests() {
        assert_eq!(offer(&[]), None);
        assert_eq!(offer(&[0]), Some(1));
        assert_eq!(offer(&[7]), Some(7));
        assert_eq!(offer(&[10, 15]), Some(15));
        assert_eq!(offer(&[10, 12, 1_000_000]), Some(24));
        // The cheaper half decides.
        assert_eq!(offer(&[10, 1_000_000]), Some(20));
        assert_eq!(offer(&[Balance::MAX - 1, Balance::MAX]), Some(Balance::MAX));
    }

    #[test]
    fn a_worker_has_whole_blocks_and_uploads_have_a_day_more() {
        let limits = |wall_ms| Limits { wall_ms, ..Limits::DEFAULT };
        assert_eq!([1, 2_000, 2_001].map(|wall_ms| TERM.blocks(&limits(wall_ms))), [31, 31, 32]);
        let (soon, later) = (upload_expiry(0, 2_000), upload_expiry(1_800, 2_000));
        assert!((3_600..3_610).contains(&(later - soon)));
        assert!(upload_expiry(u64::MAX, 2_000) > later);
    }

    #[tokio::test]
    async fn a_busy_host_is_left_alone_for_as_long_as_it_says() {
        let busy = Step::answer(0, "503 Service Unavailable", "retry-after: 2\r\n", b"");
        let good = Step::answer(0, "200 OK", "", br#"{"state":"running"}"#);
        let fake = FakeHost::new(vec![busy, good]).await;
        let (told, start) = (std::sync::Mutex::new(vec![]), std::time::Instant::now());
        let progress = |progress: Progress| told.lock().unwrap().push(progress);
        assert_eq!(patiently(&progress, || fake.host.job(7)).await.unwrap().state, "running");
        assert!(start.elapsed() >= Duration::from_secs(2));
        let told = told.into_inner().unwrap();
        assert!(matches!(told[..], [Progress::Busy { retry_after }] if retry_after == Duration::from_secs(2)));
    }

    #[test]
    fn programs_must_be_wasm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        std::fs::write(&path, "#!/bin/sh").unwrap();
        assert!(matches!(read_program(&path), Err(JobError::NotWasm(_))));
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        assert!(read_program(&path).is_ok());
    }
}
