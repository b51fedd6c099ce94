//! A user who makes each message of a job by hand, for workers that have no honest host.

use anyhow::{Context, Result, ensure};
use phala_primitives::{
    Hash, JobId, Limits, Outcome, SignedReceipt, WorkerId,
    input::{EncryptedFile, JobInput},
    job::{JobStatus, Visibility, secret_commitment},
    units::PHA,
};
use phala_sdk::{
    Signer,
    chain::{Chain, call},
    encryption::{self, Identity, Recipient},
    job::{Jobs, Output, Store},
};
use sha2::{Digest, Sha256};
use std::fs;
use tempfile::TempDir;

use crate::guest;

/// The largest result that is decrypted.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024 * 1024;

/// A user.
pub struct User {
    chain: Chain,
    owner: Signer,
    folder: TempDir,
}

/// A job that a worker has.
pub struct Assigned {
    /// The job.
    pub job: JobId,
    /// Which assignment.
    pub attempt: u32,
    /// Whose it is now.
    pub worker: WorkerId,
    /// The job input, in the clear.
    pub input: JobInput,
    /// SHA-256 of the encrypted job input.
    pub input_hash: Hash,
    /// All that the worker reads: program, standard input and job input.
    pub blobs: Vec<(Hash, Vec<u8>)>,
    /// The worker's key.
    worker_key: [u8; 32],
    reader: Identity,
}

impl User {
    /// A user who signs with `uri`.
    ///
    /// # Errors
    /// When the key is none.
    pub fn new(chain: &Chain, uri: &str) -> Result<Self> {
        Ok(Self { chain: chain.clone(), owner: Signer::from_uri(uri)?, folder: tempfile::tempdir()? })
    }

    /// Submits a job with a guest program and standard input, and waits until a worker has it.
    ///
    /// # Errors
    /// The chain's, or when no worker gets it within 30 blocks.
    pub async fn submit(&self, program: &str, stdin: &[u8], arguments: &[&str], limits: Limits) -> Result<Assigned> {
        let jobs = Jobs::new(self.chain.clone(), Store::open(&self.folder.path().join("store"))?);
        let code = fs::read(guest(program))?;
        let published = Box::pin(jobs.publish(&self.owner, &code, Visibility::Public, None)).await?;
        let (identity, reader) = (Identity::generate(), Identity::generate());
        let secret: Hash = Sha256::digest(identity.secret().as_bytes()).into();
        let deadline = self.chain.best().await?.block().number + 400;
        let submit = call::submit_job(published.app, limits, 50 * PHA, deadline, 1, secret_commitment(&secret));
        let included = Box::pin(self.chain.submit(&self.owner, submit)).await?;
        let job = included.job.context("a job was submitted")?;
        let stdin = self.encrypt(stdin, identity.recipient())?;
        let input = JobInput {
            version: 1,
            genesis_hash: self.chain.genesis_hash(),
            job,
            app: published.app,
            secret: secret.into(),
            identity: identity.secret(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            code: None,
            stdin: Some(EncryptedFile { sha256: stdin.0, bytes: stdin.1.len() as u64 }),
            files: vec![],
            recipients: vec![reader.recipient().to_string()],
        };
        let mut assigned = Assigned {
            job,
            attempt: 0,
            worker: WorkerId([0; 32]),
            input,
            input_hash: [0; 32],
            blobs: vec![(published.code_hash, code), stdin],
            worker_key: [0; 32],
            reader,
        };
        Box::pin(self.follow(&mut assigned, 0)).await?;
        Ok(assigned)
    }

    /// Waits until a worker has an attempt after `attempt`, and encrypts the job input to it.
    ///
    /// # Errors
    /// The chain's, or when no worker gets it within 60 blocks.
    pub async fn follow(&self, job: &mut Assigned, attempt: u32) -> Result<()> {
        let mut blocks = self.chain.best_blocks().await?;
        let last = self.chain.best().await?.block().number + 60;
        loop {
            let block = blocks.next().await;
            let state = self.chain.at(block.hash).await?;
            let found = state.job(job.job).await?.context("the job is on chain")?;
            if let JobStatus::Assigned(assignment) = &found.status
                && found.attempts > attempt
            {
                let worker = state.worker(assignment.worker).await?.context("the worker is registered")?;
                (job.worker, job.attempt, job.worker_key) = (assignment.worker, found.attempts, worker.encryption_key);
                let (hash, bytes) = self.encrypt_input(job, &job.input)?;
                job.input_hash = hash;
                job.blobs.push((hash, bytes));
                return Ok(());
            }
            ensure!(block.number < last, "no worker got the job: {:?}", found.status);
        }
    }

    /// A job input, encrypted to a job's worker.
    ///
    /// # Errors
    /// The disk's.
    pub fn encrypt_input(&self, job: &Assigned, input: &JobInput) -> Result<(Hash, Vec<u8>)> {
        self.encrypt(&serde_json::to_vec(input)?, encryption::recipient(&job.worker_key))
    }

    fn encrypt(&self, bytes: &[u8], recipient: Recipient) -> Result<(Hash, Vec<u8>)> {
        let cipher = encryption::encrypt(&mut &bytes[..], &[recipient], self.folder.path())?;
        Ok((cipher.sha256, fs::read(cipher.path())?))
    }
}

impl Assigned {
    /// Decrypts a result.
    ///
    /// # Errors
    /// When it is not this user's, or was changed.
    pub fn open(&self, output: &[u8]) -> Result<Output> {
        Ok(Output::read(&self.reader.decrypt(output, MAX_OUTPUT_BYTES)?)?)
    }

    /// Checks that a receipt is of this attempt, that the program ended with 0 and that the result is `stdout`.
    ///
    /// # Errors
    /// When anything differs.
    pub fn completed(&self, receipt: &SignedReceipt, output: &[u8], stdout: &[u8]) -> Result<()> {
        let signed = &receipt.receipt;
        ensure!((signed.job, signed.attempt, signed.worker) == (self.job, self.attempt, self.worker), "{signed:?}");
        ensure!(signed.outcome == Outcome::Completed { exit_code: 0 }, "{signed:?}");
        ensure!(signed.output_file_hash == <Hash>::from(Sha256::digest(output)), "the receipt is of another output");
        ensure!(self.open(output)?.stdout == stdout, "another output");
        Ok(())
    }
}
