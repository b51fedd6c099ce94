//! Bringing a job to the worker that the chain gave it to, and watching it there.

use phala_primitives::{
    input::{EncryptedFile, JobInput, NamedFile},
    job::{Assignment, JobStatus},
    units,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    ChainError, Delivery, Job, JobError, JobRecord, Jobs, POLL, Progress, State, Store, Until, WorkerId,
    store::EncryptedInputs,
};
use crate::{
    encryption::{self, Identity, Recipient},
    evidence::{EvidenceError, VerifiedWorker, verify_worker},
    host::{Host, HostError, printable},
};

/// After how many looks at the chain a queued job gets an explanation.
const QUEUED_LOOKS: u32 = 25;

/// For how many looks at the chain a job may be missing from it.
const MISSING_LOOKS: u32 = 25;

/// How often the inputs are brought to one worker that does not take them.
const DELIVERIES: u32 = 3;

/// The longest pause after something has failed.
const MAX_PAUSE: Duration = Duration::from_secs(5);

type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// Where an attempt of a job stands, as far as we know.
struct Attempt {
    number: u32,
    worker: WorkerId,
    phase: Phase,
    deliveries: u32,
    /// What went wrong last, so that it is said once.
    trouble: String,
    /// Nothing is tried before.
    not_before: Instant,
    /// How long to wait after the next failure.
    pause: Duration,
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
        Self {
            number,
            worker,
            phase: Phase::Undelivered,
            deliveries: 0,
            trouble: String::new(),
            not_before: Instant::now(),
            pause: POLL,
        }
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

    /// Something failed: waits longer each time.
    fn back_off(&mut self) {
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
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
                    self.store.forget_ciphertext(record);
                    progress(Progress::Settled { block: settlement.at });
                    return Ok(());
                }
                JobStatus::Cancelled { at } => {
                    self.store.forget_ciphertext(record);
                    return Err(JobError::Cancelled(*at));
                }
                JobStatus::Expired { at } => {
                    self.store.forget_ciphertext(record);
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
        if Instant::now() < attempt.not_before {
            return Ok(());
        }
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
                            attempt.back_off();
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if error.is_transient() => {
                    attempt.warn(format!("{error}; trying again"), progress);
                    attempt.back_off();
                }
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
                    attempt.pause = POLL;
                    attempt.phase = Phase::Started(host, input);
                }
                Err(error @ HostError::Refused { status: 409, .. }) => {
                    // The enclave waits for finality, or for a place.
                    tracing::debug!(%error, "the enclave does not take the job yet");
                    attempt.phase = Phase::Delivered(host, input);
                    attempt.back_off();
                }
                Err(error) if error.is_transient() => {
                    attempt.warn(format!("{error}; trying again"), progress);
                    attempt.phase = Phase::Delivered(host, input);
                    attempt.back_off();
                }
                // Something that we brought is gone, or was never accepted: bring what is missing.
                Err(error) => {
                    attempt.warn(error.to_string(), progress);
                    attempt.back_off();
                }
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
                        // Maybe because something is not with the host any more.
                        _ => {
                            attempt.back_off();
                            Phase::Undelivered
                        }
                    },
                    // The receipt may be that of an attempt before, as long as this one's assignment is not final.
                    Ok(job)
                        if job.state == "ended"
                            && host
                                .receipt(record.job)
                                .await
                                .is_ok_and(|receipt| receipt.receipt.attempt != attempt.number) =>
                    {
                        attempt.back_off();
                        Phase::Delivered(host, input)
                    }
                    _ => Phase::Started(host, input),
                };
                match seen {
                    Ok(job) if job.state != *said => {
                        *said = printable(&job.state);
                        progress(Progress::State(said.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        attempt.warn(format!("{error}; the chain will tell how the job ends"), progress);
                        attempt.back_off();
                    }
                }
            }
        }
        Ok(())
    }

    /// Uploads what a verified worker's host lacks of a job's inputs. The files are the same for every worker; only the
    /// job input is made for this one. Returns its hash.
    async fn deliver(
        &self,
        record: &mut JobRecord,
        worker: &VerifiedWorker,
        attempt: u32,
        progress: Report<'_>,
    ) -> Result<[u8; 32], JobError> {
        let (host, store) = (worker.host(), &self.store);
        let encrypted = encrypted(store, record, progress).await?;
        if !record.private && !host.has_blob(&record.code_hash).await? {
            let code = program(store, record)?;
            let bytes = code.metadata().map_err(|error| JobError::File { path: code.clone(), error })?.len();
            upload(host, "program", &code, &record.code_hash, bytes, progress).await?;
        }
        for (name, file) in encrypted.all() {
            bring(host, store, name, &file, progress).await?;
        }
        let cipher_bytes: u64 = encrypted.all().map(|(_, file)| file.bytes).sum();
        // The input that this attempt was brought already, if it is still here.
        let before =
            record.deliveries.last().filter(|last| (last.attempt, last.worker.worker) == (attempt, worker.id()));
        let before = before.map(|last| EncryptedFile {
            sha256: last.input_hash,
            bytes: last.cipher_bytes.saturating_sub(cipher_bytes),
        });
        if let Some(input) = before.filter(|input| store.has_ciphertext(input)) {
            bring(host, store, "job input", &input, progress).await?;
            return Ok(input.sha256);
        }
        let input = job_input(store, record, &encrypted, worker.recipient())?;
        bring(host, store, "job input", &input, progress).await?;
        let delivery = Delivery {
            attempt,
            worker: worker.report(),
            input_hash: input.sha256,
            plain_bytes: encrypted.plain_bytes,
            cipher_bytes: cipher_bytes + input.bytes,
        };
        let (plain_bytes, cipher_bytes) = (delivery.plain_bytes, delivery.cipher_bytes);
        progress(Progress::Delivered { plain_bytes, cipher_bytes });
        record.deliveries.push(delivery);
        store.save(record)?;
        Ok(input.sha256)
    }
}

/// A job's files, encrypted: now, or by an earlier call whose ciphertext is still there.
async fn encrypted(store: &Store, record: &mut JobRecord, progress: Report<'_>) -> Result<EncryptedInputs, JobError> {
    if let Some(known) = &record.encrypted
        && known.all().all(|(_, file)| store.has_ciphertext(&file))
    {
        return Ok(known.clone());
    }
    // Job inputs name files that are gone.
    store.forget_ciphertext(record);
    let identity = Identity::generate();
    let mut encrypted =
        EncryptedInputs { identity: identity.secret(), code: None, stdin: None, files: vec![], plain_bytes: 0 };
    let (recipient, plain_bytes) = (identity.recipient(), &mut encrypted.plain_bytes);
    if record.private {
        let code = program(store, record)?;
        encrypted.code = Some(encrypt(store, "program", code, &recipient, plain_bytes, progress).await?);
    }
    if let Some(path) = record.stdin.clone() {
        encrypted.stdin = Some(encrypt(store, "standard input", path, &recipient, plain_bytes, progress).await?);
    }
    for (name, path) in record.files.clone() {
        let file = encrypt(store, &name, path, &recipient, plain_bytes, progress).await?;
        encrypted.files.push(NamedFile::new(name, file));
    }
    record.encrypted = Some(encrypted.clone());
    store.save(record)?;
    Ok(encrypted)
}

/// Encrypts one file, keeps the ciphertext, and adds the length of what is in it to `plain_bytes`.
async fn encrypt(
    store: &Store,
    name: &str,
    path: PathBuf,
    recipient: &Recipient,
    plain_bytes: &mut u64,
    progress: Report<'_>,
) -> Result<EncryptedFile, JobError> {
    progress(Progress::Encrypting { name: name.into() });
    let (recipients, folder) = ([recipient.clone()], store.temporary());
    let encrypting = tokio::task::spawn_blocking(move || encryption::encrypt_file(&path, &recipients, &folder));
    let cipher = encrypting.await.expect("encryption does not panic")?;
    *plain_bytes += cipher.plain_bytes;
    Ok(store.keep_ciphertext(cipher)?)
}

/// Makes the job input for one worker, and keeps its ciphertext.
fn job_input(
    store: &Store,
    record: &JobRecord,
    encrypted: &EncryptedInputs,
    worker: Recipient,
) -> Result<EncryptedFile, JobError> {
    let identity: Identity = record.identity.parse()?;
    let mut recipients = vec![identity.recipient().to_string()];
    recipients.extend(record.recipients.iter().cloned());
    let input = JobInput {
        version: 1,
        genesis_hash: record.genesis_hash,
        job: record.job,
        app: record.app,
        secret: record.secret.clone(),
        identity: encrypted.identity.clone(),
        arguments: record.arguments.clone(),
        code: encrypted.code,
        stdin: encrypted.stdin,
        files: encrypted.files.clone(),
        recipients,
    };
    let json = zeroize::Zeroizing::new(serde_json::to_vec(&input).expect("a job input is plain JSON"));
    if json.len() > phala_primitives::input::MAX_JOB_INPUT_BYTES {
        return Err(JobError::TooMany {
            what: "bytes of arguments and file names",
            max: phala_primitives::input::MAX_JOB_INPUT_BYTES,
        });
    }
    let cipher = encryption::encrypt(&mut &json[..], &[worker], &store.temporary())?;
    Ok(store.keep_ciphertext(cipher)?)
}

/// Where this machine has a job's program.
fn program(store: &Store, record: &JobRecord) -> Result<PathBuf, JobError> {
    let code = store.program(&record.code_hash);
    if code.exists() { Ok(code) } else { Err(JobError::ProgramMissing(record.app)) }
}

/// Uploads a ciphertext, unless the host has it.
async fn bring(
    host: &Host,
    store: &Store,
    name: &str,
    file: &EncryptedFile,
    progress: Report<'_>,
) -> Result<(), JobError> {
    if host.has_blob(&file.sha256).await? {
        return Ok(());
    }
    upload(host, name, &store.ciphertext(&file.sha256), &file.sha256, file.bytes, progress).await
}

fn is(attempt: &Attempt, job: &Job, assignment: &Assignment<u32>) -> bool {
    attempt.number == job.attempts && attempt.worker == assignment.worker
}

async fn upload(
    host: &Host,
    name: &str,
    path: &Path,
    sha256: &[u8; 32],
    total: u64,
    progress: Report<'_>,
) -> Result<(), JobError> {
    let report = |sent| progress(Progress::Uploading { name: name.into(), sent, total });
    Ok(host.upload(path, sha256, total, report).await?)
}

/// Why a job may have no worker yet.
async fn why_queued(state: &State, job: &Job) -> Result<String, ChainError> {
    let (mut count, mut cheapest, mut busy) = (0, None, 0);
    for (_, worker) in state.active_workers().await? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::store::tests::record;
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
    };

    #[tokio::test]
    async fn files_are_encrypted_once_and_inputs_for_each_worker() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "hello").unwrap();
        let (stdin, files) = (Some(path.clone()), vec![("a".to_owned(), path)]);
        let mut record = JobRecord { stdin, files, identity: Identity::generate().secret(), ..record(9) };
        let first = encrypted(&store, &mut record, &|_| {}).await.unwrap();
        assert_eq!((first.plain_bytes, first.all().count()), (10, 2));
        let identity: Identity = first.identity.parse().unwrap();
        for (_, file) in first.all() {
            let cipher = fs::read(store.ciphertext(&file.sha256)).unwrap();
            assert_eq!(identity.decrypt(&cipher[..], 100).unwrap(), b"hello");
        }

        // Another process, another worker.
        let mut record = store.load(&record.genesis_hash, record.job).unwrap().unwrap();
        let again = encrypted(&store, &mut record, &|_| panic!("nothing is encrypted again")).await.unwrap();
        assert!(first.all().eq(again.all()));
        for worker in [Identity::generate(), Identity::generate()] {
            let input = job_input(&store, &record, &again, worker.recipient()).unwrap();
            let cipher = fs::read(store.ciphertext(&input.sha256)).unwrap();
            let input: JobInput = serde_json::from_slice(&worker.decrypt(&cipher[..], 10_000).unwrap()).unwrap();
            assert_eq!((input.identity, input.stdin), (first.identity.clone(), first.stdin));
            assert!(identity.decrypt(&cipher[..], 10_000).is_err());
        }

        // Ciphertext that was lost is made anew, under another key.
        fs::remove_file(store.ciphertext(&first.files[0].sha256)).unwrap();
        let anew = encrypted(&store, &mut record, &|_| {}).await.unwrap();
        assert_ne!(anew.identity, first.identity);
        assert!(!store.has_ciphertext(&first.stdin.unwrap()));
        store.forget_ciphertext(&record);
        assert!(anew.all().all(|(_, file)| !store.has_ciphertext(&file)));
    }

    #[tokio::test]
    async fn what_a_host_has_is_not_uploaded_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let uploads = Arc::new(AtomicU32::new(0));
        let count = uploads.clone();
        let serving = tokio::spawn(async move {
            loop {
                let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                let head = head.to_lowercase();
                let status = if head.starts_with("put") {
                    let bytes = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                    stream.read_exact(&mut vec![0; bytes.parse().unwrap()]).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    "201 Created"
                } else if count.load(Ordering::SeqCst) == 0 {
                    "404 Not Found"
                } else {
                    "200 OK"
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let recipient = Identity::generate().recipient();
        let cipher = encryption::encrypt(&mut &b"hello"[..], &[recipient], &store.temporary()).unwrap();
        let file = store.keep_ciphertext(cipher).unwrap();
        for _ in 0..3 {
            bring(&host, &store, "file", &file, &|_| {}).await.unwrap();
        }
        assert_eq!(uploads.load(Ordering::SeqCst), 1);
        serving.abort();
    }
}
