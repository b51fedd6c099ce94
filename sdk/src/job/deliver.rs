//! Bringing a job to the worker that the chain gave it to, and watching it there.

use phala_primitives::{
    input::{EncryptedFile, JobInput, NamedFile},
    job::{Assignment, JobStatus},
    units,
    worker::WorkerStatus,
};
use std::path::PathBuf;

use super::{ChainError, Delivery, Job, JobError, JobRecord, Jobs, POLL, Progress, State, Until, WorkerId};
use crate::{
    encryption::{self, Ciphertext, Identity, Recipient},
    evidence::{EvidenceError, VerifiedWorker, verify_worker},
    host::{Host, HostError, printable},
};

/// After how many looks at the chain a queued job gets an explanation.
const QUEUED_LOOKS: u32 = 25;

/// For how many looks at the chain a job may be missing from it.
const MISSING_LOOKS: u32 = 25;

/// How often the inputs are brought to one worker that does not take them.
const DELIVERIES: u32 = 3;

type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// Where an attempt of a job stands, as far as we know.
struct Attempt {
    number: u32,
    worker: WorkerId,
    phase: Phase,
    deliveries: u32,
    /// What went wrong last, so that it is said once.
    trouble: String,
}

enum Phase {
    /// Nothing is there, or something is missing.
    Undelivered,
    /// All inputs are there; the job is not started.
    Delivered(Host, [u8; 32]),
    /// The enclave has accepted the job.
    Started(Host, [u8; 32]),
    /// This worker must not have it, or does not want it. The chain will choose another.
    GivenUp,
}

impl Attempt {
    fn new(number: u32, worker: WorkerId) -> Self {
        Self { number, worker, phase: Phase::Undelivered, deliveries: 0, trouble: String::new() }
    }

    /// What was delivered by an earlier call, maybe of another process.
    fn resume(record: &JobRecord) -> Option<Self> {
        let delivery = record.deliveries.last()?;
        let host = Host::new(&delivery.worker.endpoint).ok()?;
        let phase = Phase::Delivered(host, delivery.input_hash);
        Some(Self { phase, deliveries: 1, ..Self::new(delivery.attempt, delivery.worker.worker) })
    }

    fn warn(&mut self, message: String, progress: Report<'_>) {
        if self.trouble != message {
            progress(Progress::Warning(message.clone()));
            self.trouble = message;
        }
    }
}

impl Jobs {
    /// Sees a job through: verifies each worker that the chain assigns it to, brings it the inputs and starts it.
    ///
    /// May be called again at any time, also by another process: it goes on where the last call was.
    ///
    /// # Errors
    /// See [`JobError`]. A worker that fails is no error as long as the chain may choose another.
    pub async fn follow(&self, record: &mut JobRecord, until: Until, progress: Report<'_>) -> Result<(), JobError> {
        let mut current = Attempt::resume(record);
        let mut state_said = String::new();
        let (mut looks, mut missing) = (0, 0);
        loop {
            let look = async {
                let state = self.chain.best().await?;
                let job = state.job(record.job).await?;
                Ok::<_, ChainError>((state, job))
            };
            let (state, job) = match look.await {
                Ok((state, Some(job))) => (state, job),
                // A node that restarts may be a few blocks behind for a moment.
                Ok((_, None)) if missing < MISSING_LOOKS => {
                    missing += 1;
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Ok((_, None)) => return Err(JobError::UnknownJob(record.job)),
                Err(ChainError::Unavailable(reason)) => {
                    tracing::debug!(reason, "cannot read the chain; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            missing = 0;
            match &job.status {
                JobStatus::Settled(settlement) => {
                    progress(Progress::Settled { block: settlement.at });
                    return Ok(());
                }
                JobStatus::Cancelled { at } => return Err(JobError::Cancelled(*at)),
                JobStatus::Expired { at } => {
                    return Err(JobError::Expired(*at, current.map(|attempt| attempt.trouble).unwrap_or_default()));
                }
                JobStatus::Queued => {
                    if looks == 0 {
                        progress(Progress::Queued { hint: None });
                    } else if looks == QUEUED_LOOKS {
                        progress(Progress::Queued { hint: Some(why_queued(&state, &job).await?) });
                    }
                    looks += 1;
                }
                JobStatus::Assigned(assignment) => {
                    looks = 0;
                    let mut attempt = match current.take() {
                        Some(attempt) if is(&attempt, &job, assignment) => attempt,
                        _ => {
                            let (attempt, block) = (job.attempts, assignment.assigned_at);
                            progress(Progress::Assigned { worker: assignment.worker, attempt, block });
                            Attempt::new(attempt, assignment.worker)
                        }
                    };
                    self.advance(record, &state, &mut attempt, &mut state_said, progress).await?;
                    if until == Until::Started && matches!(attempt.phase, Phase::Started(..)) {
                        return Ok(());
                    }
                    current = Some(attempt);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes an attempt one step further. Errors are those of this machine; whatever a worker does wrong is its problem.
    async fn advance(
        &self,
        record: &mut JobRecord,
        state: &State,
        attempt: &mut Attempt,
        said: &mut String,
        progress: Report<'_>,
    ) -> Result<(), JobError> {
        match std::mem::replace(&mut attempt.phase, Phase::Undelivered) {
            Phase::GivenUp => attempt.phase = Phase::GivenUp,
            Phase::Undelivered if attempt.deliveries >= DELIVERIES => {
                attempt.phase = Phase::GivenUp;
                attempt.warn("the worker does not take the job; waiting for another".into(), progress);
            }
            Phase::Undelivered => match verify_worker(state, self.chain.genesis_hash(), attempt.worker).await {
                Ok(worker) => {
                    progress(Progress::Verified(Box::new(worker.report())));
                    match self.deliver(record, &worker, attempt.number, progress).await {
                        Ok(input) => {
                            attempt.deliveries += 1;
                            attempt.phase = Phase::Delivered(worker.host().clone(), input);
                        }
                        Err(JobError::Host(error)) => {
                            if !error.is_transient() {
                                attempt.deliveries += 1;
                            }
                            attempt.warn(format!("{error}; trying again"), progress);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if error.is_transient() => attempt.warn(format!("{error}; trying again"), progress),
                Err(EvidenceError::Chain(error)) => return Err(error.into()),
                Err(error) => {
                    attempt.phase = Phase::GivenUp;
                    let advice = "nothing was sent to it; waiting for the chain to choose another";
                    attempt.warn(format!("worker {} failed verification: {error}; {advice}", attempt.worker), progress);
                }
            },
            Phase::Delivered(host, input) => match host.start(record.job, &input).await {
                Ok(()) => {
                    progress(Progress::Started);
                    attempt.phase = Phase::Started(host, input);
                }
                Err(error @ HostError::Refused { status: 409, .. }) => {
                    // The enclave waits for finality, or for a place.
                    tracing::debug!(%error, "the enclave does not take the job yet");
                    attempt.phase = Phase::Delivered(host, input);
                }
                Err(error) if error.is_transient() => {
                    attempt.warn(format!("{error}; trying again"), progress);
                    attempt.phase = Phase::Delivered(host, input);
                }
                // Something that we brought is gone, or was never accepted: bring everything again.
                Err(error) => attempt.warn(error.to_string(), progress),
            },
            Phase::Started(host, input) => {
                let seen = host.job(record.job).await;
                attempt.phase = match &seen {
                    Ok(job) if job.state == "unknown" => Phase::Delivered(host, input),
                    Ok(job) if job.state == "refused" => match &job.refusal {
                        Some(refusal) if !refusal.retry => {
                            attempt.warn(format!("the enclave refused: {}", printable(&refusal.reason)), progress);
                            Phase::GivenUp
                        }
                        _ => Phase::Delivered(host, input),
                    },
                    _ => Phase::Started(host, input),
                };
                match seen {
                    Ok(job) if job.state != *said => {
                        *said = printable(&job.state);
                        progress(Progress::State(said.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => attempt.warn(format!("{error}; the chain will tell how the job ends"), progress),
                }
            }
        }
        Ok(())
    }

    /// Encrypts everything to a verified worker and uploads it. Returns the hash of the encrypted job input.
    async fn deliver(
        &self,
        record: &mut JobRecord,
        worker: &VerifiedWorker,
        attempt: u32,
        progress: Report<'_>,
    ) -> Result<[u8; 32], JobError> {
        let mut delivery =
            Delivery { attempt, worker: worker.report(), input_hash: [0; 32], plain_bytes: 0, cipher_bytes: 0 };
        let code = self.store.program(&record.code_hash);
        let mut encrypted_code = None;
        if record.private {
            if !code.exists() {
                return Err(JobError::ProgramMissing(record.app));
            }
            encrypted_code = Some(self.bring("program", code, worker, &mut delivery, progress).await?);
        } else if !worker.host().has_blob(&record.code_hash).await? {
            if !code.exists() {
                return Err(JobError::ProgramMissing(record.app));
            }
            let bytes = code.metadata().map_err(|error| JobError::File { path: code.clone(), error })?.len();
            upload(worker.host(), "program", &code, &record.code_hash, bytes, progress).await?;
        }
        let mut stdin = None;
        if let Some(path) = record.stdin.clone() {
            stdin = Some(self.bring("standard input", path, worker, &mut delivery, progress).await?);
        }
        let mut files = Vec::new();
        for (name, path) in record.files.clone() {
            let file = self.bring(&name, path, worker, &mut delivery, progress).await?;
            files.push(NamedFile { name, file });
        }

        let identity: Identity = record.identity.parse()?;
        let mut recipients = vec![identity.recipient().to_string()];
        recipients.extend(record.recipients.iter().cloned());
        let input = JobInput {
            version: 1,
            genesis_hash: record.genesis_hash,
            job: record.job,
            app: record.app,
            secret: record.secret,
            arguments: record.arguments.clone(),
            code: encrypted_code,
            stdin,
            files,
            recipients,
        };
        let json = zeroize::Zeroizing::new(serde_json::to_vec(&input).expect("a job input is plain JSON"));
        if json.len() > phala_primitives::input::MAX_JOB_INPUT_BYTES {
            return Err(JobError::TooMany {
                what: "bytes of arguments and file names",
                max: phala_primitives::input::MAX_JOB_INPUT_BYTES,
            });
        }
        let cipher = encryption::encrypt(&mut &json[..], &[worker.recipient()], &self.store.temporary())?;
        upload(worker.host(), "job input", cipher.path(), &cipher.sha256, cipher.bytes, progress).await?;
        delivery.cipher_bytes += cipher.bytes;
        delivery.input_hash = cipher.sha256;
        progress(Progress::Delivered { plain_bytes: delivery.plain_bytes, cipher_bytes: delivery.cipher_bytes });
        record.deliveries.push(delivery);
        self.store.save(record)?;
        Ok(cipher.sha256)
    }

    /// Encrypts one file to a verified worker and uploads it.
    async fn bring(
        &self,
        name: &str,
        path: PathBuf,
        worker: &VerifiedWorker,
        delivery: &mut Delivery,
        progress: Report<'_>,
    ) -> Result<EncryptedFile, JobError> {
        progress(Progress::Encrypting { name: name.into() });
        let cipher = encrypt(path, worker.recipient(), self.store.temporary()).await?;
        upload(worker.host(), name, cipher.path(), &cipher.sha256, cipher.bytes, progress).await?;
        delivery.plain_bytes += cipher.plain_bytes;
        delivery.cipher_bytes += cipher.bytes;
        Ok(EncryptedFile { sha256: cipher.sha256, bytes: cipher.bytes })
    }
}

fn is(attempt: &Attempt, job: &Job, assignment: &Assignment<u32>) -> bool {
    attempt.number == job.attempts && attempt.worker == assignment.worker
}

async fn encrypt(path: PathBuf, recipient: Recipient, folder: PathBuf) -> Result<Ciphertext, JobError> {
    let encrypting = tokio::task::spawn_blocking(move || encryption::encrypt_file(&path, &[recipient], &folder));
    Ok(encrypting.await.expect("encryption does not panic")?)
}

async fn upload(
    host: &Host,
    name: &str,
    path: &std::path::Path,
    sha256: &[u8; 32],
    total: u64,
    progress: Report<'_>,
) -> Result<(), JobError> {
    let report = |sent| progress(Progress::Uploading { name: name.into(), sent, total });
    Ok(host.upload(path, sha256, total, report).await?)
}

/// Why a job may have no worker yet.
async fn why_queued(state: &State, job: &Job) -> Result<String, ChainError> {
    let now = state.timestamp_ms().await? / 1000;
    let workers = state.workers().await?;
    let active = workers
        .iter()
        .map(|(_, worker)| worker)
        .filter(|worker| worker.status == WorkerStatus::Active && worker.verdict_expires > now);
    let (mut count, mut cheapest, mut busy) = (0, None, 0);
    for worker in active {
        count += 1;
        let cost = units::fee(job.limits.fuel, worker.price);
        cheapest = Some(cheapest.map_or(cost, |known| cost.min(known)));
        busy += u32::from(worker.running >= worker.performance.capacity);
    }
    Ok(match cheapest {
        None => "no worker is active at the moment; see `phala worker list`".into(),
        Some(cost) if cost > job.max_price => format!(
            "the cheapest active worker may cost {}, and the job pays {} at most",
            crate::amount::format(cost),
            crate::amount::format(job.max_price)
        ),
        Some(_) if busy == count => format!("all {count} active workers are busy"),
        Some(_) => "the chain has not chosen a worker yet".into(),
    })
}
