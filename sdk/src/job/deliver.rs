//! Encrypting a job's inputs, bringing them to the worker that the chain gave the job to, and watching it there.
//!
//! Files are encrypted to a key of the job's own, and the job input, which holds that key, to whom [`To`] says: where the network
//! has keys to the app, before any worker is known, so that every worker gets the same; else to the verified worker alone. It
//! is brought to verified workers only, in either case.

use age::EncryptError;
use age_core::format::{FileKey, Stanza};
use phala_primitives::{
    AppId,
    gatekeeper::{EpochId, NetworkKey},
    input::{EncryptedFile, JobInput, MAX_EPOCHS, NamedFile},
    job::JobStatus,
    units,
};
use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    ChainError, Delivery, Job, JobError, JobRecord, Jobs, POLL, Progress, State, Store, Until, WorkerId,
    store::{EncryptedInput, EncryptedInputs, Reader},
};
use crate::{
    encryption::{self, AppRecipient, Ciphertext, EncryptionError, Identity, InvalidPublicKey, Purpose, Recipient},
    evidence::{EvidenceError, VerifiedWorker, verify_worker},
    host::{Host, HostError, Hosts, UploadToken, printable},
    network_keys::NetworkKeys,
};

/// After how many looks at the chain a queued job gets an explanation.
const QUEUED_LOOKS: u32 = 25;

/// For how many looks at the chain a job may be missing from it.
const MISSING_LOOKS: u32 = 25;

/// How often the inputs are brought to one worker that does not take them.
const DELIVERIES: u32 = 3;

/// The longest pause after something has failed.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How often the chain is asked, while a host takes the inputs, whether its worker still has the job: three blocks.
const WATCH: Duration = Duration::from_secs(6);

/// How far a host's clock, which is the chain's, may be ahead of ours.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);

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
    fn resume(record: &JobRecord, hosts: &Hosts) -> Option<Self> {
        let delivery = record.deliveries.last()?;
        let host = hosts.at(&delivery.worker.enclave.endpoint).ok()?;
        let phase = if delivery.under_way { Phase::Undelivered } else { Phase::Delivered(host, delivery.input_hash) };
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

    /// Waits for as long as the host says, or longer each time.
    fn wait(&mut self, error: &HostError) {
        self.trouble = error.to_string();
        match error.retry_after() {
            Some(retry_after) => self.not_before = Instant::now() + retry_after.max(POLL),
            None => self.back_off(),
        }
    }

    /// A host failed, or has too much to do and says for how long.
    fn put_off(&mut self, error: &HostError, progress: Report<'_>) {
        match error.retry_after() {
            Some(retry_after) => {
                progress(Progress::Busy { retry_after });
                self.wait(error);
            }
            None => {
                self.warn(format!("{error}; trying again"), progress);
                self.back_off();
            }
        }
    }

    /// Whether the chain says that this worker has this attempt.
    fn is_current(&self, job: &Job) -> bool {
        let has = matches!(&job.status, JobStatus::Assigned(assignment) if assignment.worker == self.worker);
        has && job.attempts == self.number
    }

    /// Starts the job at a host that has all inputs.
    async fn start(
        &mut self,
        record: &JobRecord,
        host: Host,
        input: [u8; 32],
        progress: Report<'_>,
    ) -> Result<(), JobError> {
        match host.start(record.job, self.number, &input, upload_token(record)?).await {
            Ok(()) => {
                progress(Progress::Started);
                self.pause = POLL;
                self.phase = Phase::Started(host, input);
            }
            Err(error @ HostError::Refused { status: 409, .. }) => {
                // The enclave waits for finality, or for a place.
                tracing::debug!(%error, "the enclave does not take the job yet");
                self.phase = Phase::Delivered(host, input);
                self.wait(&error);
            }
            Err(error) if is_token_over(record, &error) => return Err(JobError::NoUploadToken(record.owner)),
            Err(error) if error.is_transient() => {
                self.phase = Phase::Delivered(host, input);
                self.put_off(&error, progress);
            }
            // Something that we brought is gone, or was never accepted: bring what is missing.
            Err(error) => {
                self.warn(error.to_string(), progress);
                self.back_off();
            }
        }
        Ok(())
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
        let mut current = Attempt::resume(record, &self.hosts);
        let mut state_said = String::new();
        let (mut looks, mut missing) = (0, 0);
        loop {
            let look = async {
                let state = self.chain.best().await?;
                let found = self.locate(&state, record).await?;
                Ok::<_, ChainError>((state, found))
            };
            let (state, id, job) = match look.await {
                Ok((state, Some((id, job)))) => (state, id, job),
                // A node that restarts may be a few blocks behind for a moment.
                Ok((_, None)) if missing < MISSING_LOOKS => {
                    missing += 1;
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Ok((_, None)) => return Err(JobError::UnknownJob(record.job)),
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "cannot read the chain; trying again");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            missing = 0;
            if id != record.job {
                progress(Progress::Renumbered { from: record.job, to: id });
                record.submitted_at = job.submitted_at;
                self.store.renumber(record, id)?;
                // What a worker was brought is for another job.
                current = None;
            }
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
                        Some(attempt) if attempt.is_current(&job) => attempt,
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
            Phase::Undelivered => {
                let verifying = async {
                    let worker = verify_worker(&self.chain, &self.hosts, state, attempt.worker).await?;
                    Ok::<_, EvidenceError>((worker, NetworkKeys::read(&self.chain).await?))
                };
                match Box::pin(verifying).await {
                    Ok((worker, keys)) => {
                        progress(Progress::Verified(Box::new(worker.report())));
                        upload_token(record)?;
                        let files = encrypted(&self.store, record, keys.as_ref(), progress).await?;
                        let to = To::new(keys.as_ref(), record.app, &worker).map_err(EncryptionError::from)?;
                        let input = input(&self.store, record, &files, &to)?;
                        let before = record.clone();
                        // A host that dawdles does not keep the job from the next worker.
                        let delivery = Box::pin(self.deliver(record, &files, input, &worker, attempt.number, progress));
                        let delivered = tokio::select! {
                            delivered = delivery => delivered,
                            () = Box::pin(self.taken_away(&before, attempt)) => return Ok(()),
                        };
                        match delivered {
                            Ok(input) => {
                                attempt.deliveries += 1;
                                attempt.phase = Phase::Delivered(worker.host().clone(), input);
                            }
                            Err(JobError::Host(error)) if is_token_over(record, &error) => {
                                return Err(JobError::NoUploadToken(record.owner));
                            }
                            Err(JobError::Host(error)) => {
                                if !error.is_transient() {
                                    attempt.deliveries += 1;
                                }
                                attempt.put_off(&error, progress);
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    Err(EvidenceError::Host(error)) if error.is_transient() => attempt.put_off(&error, progress),
                    Err(error) if error.is_transient() => {
                        attempt.warn(format!("{error}; trying again"), progress);
                        attempt.back_off();
                    }
                    Err(EvidenceError::Chain(error)) => return Err(error.into()),
                    Err(error) => {
                        attempt.phase = Phase::GivenUp;
                        let advice = "nothing was sent to it; waiting for the chain to choose another";
                        attempt.warn(
                            format!("worker {} failed verification: {error}; {advice}", attempt.worker),
                            progress,
                        );
                    }
                }
            }
            Phase::Delivered(host, input) => attempt.start(record, host, input, progress).await?,
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

    /// Returns once the chain does not say any more that the worker has the attempt.
    async fn taken_away(&self, record: &JobRecord, attempt: &Attempt) {
        loop {
            tokio::time::sleep(WATCH).await;
            let look = async {
                let state = self.chain.best().await?;
                self.locate(&state, record).await
            };
            match look.await {
                Ok(Some((id, job))) if id != record.job || !attempt.is_current(&job) => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "cannot read the chain; trying again"),
            }
        }
    }

    /// Writes down what a verified worker is brought of a job's inputs, and uploads what its host lacks. Returns the hash of the
    /// job input.
    async fn deliver(
        &self,
        record: &mut JobRecord,
        files: &EncryptedInputs,
        input: EncryptedInput,
        worker: &VerifiedWorker,
        attempt: u32,
        progress: Report<'_>,
    ) -> Result<[u8; 32], JobError> {
        let (host, store, token) = (worker.host(), &self.store, &upload_token(record)?.clone());
        let input_hash = input.file.sha256;
        let (plain_bytes, cipher_bytes) = (files.plain_bytes, files.cipher_bytes() + input.file.bytes);
        let of_this = (attempt, worker.id(), input_hash);
        let is_this = |delivery: &Delivery| (delivery.attempt, delivery.worker.worker, delivery.input_hash) == of_this;
        // First: a host that has everything needs nobody to start the job.
        if !record.deliveries.iter().any(is_this) {
            record.deliveries.push(Delivery {
                attempt,
                worker: worker.report(),
                input_hash,
                epoch: input.reader.epoch(),
                plain_bytes,
                cipher_bytes,
                under_way: true,
            });
            store.save(record)?;
        }
        if !record.private && !host.has_blob(&record.code_hash).await? {
            let code = program(store, record)?;
            let bytes = code.metadata().map_err(|error| JobError::File { path: code.clone(), error })?.len();
            upload(host, token, "program", &code, &record.code_hash, bytes, progress).await?;
        }
        for (name, file) in files.all() {
            bring(host, token, store, name, &file, progress).await?;
        }
        bring(host, token, store, "job input", &input.file, progress).await?;
        if let Some(delivery) = record.deliveries.iter_mut().find(|delivery| is_this(delivery) && delivery.under_way) {
            delivery.under_way = false;
            progress(Progress::Delivered { plain_bytes, cipher_bytes });
            store.save(record)?;
        }
        Ok(input_hash)
    }
}

/// Whom a job input is encrypted to.
pub(super) enum To {
    /// The job's app, in the current epoch. `oldest` is the oldest whose keys workers get.
    App { recipient: Box<AppRecipient>, oldest: EpochId },
    /// A verified worker.
    Worker { id: WorkerId, recipient: Recipient },
}

impl To {
    /// The app where the network has keys, else the worker.
    fn new(keys: Option<&NetworkKeys>, app: AppId, worker: &VerifiedWorker) -> Result<Self, InvalidPublicKey> {
        match keys {
            Some(keys) => Self::app(keys, app),
            None => Ok(Self::Worker { id: worker.id(), recipient: worker.recipient() }),
        }
    }

    /// An app.
    pub(super) fn app(keys: &NetworkKeys, app: AppId) -> Result<Self, InvalidPublicKey> {
        let recipient = Box::new(keys.recipient(Purpose::JobInput, app)?);
        Ok(Self::App { recipient, oldest: keys.oldest_epoch })
    }

    /// Who can open what is encrypted to this.
    fn reader(&self) -> Reader {
        match self {
            Self::App { recipient, .. } => Reader::App(recipient.target().epoch),
            Self::Worker { id, .. } => Reader::Worker(*id),
        }
    }

    /// Whether what `reader` can open does as well.
    fn is_served_by(&self, reader: Reader) -> bool {
        match (self, reader) {
            (Self::App { recipient, oldest }, Reader::App(epoch)) => {
                (*oldest..=recipient.target().epoch).contains(&epoch)
            }
            _ => self.reader() == reader,
        }
    }
}

impl age::Recipient for To {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        match self {
            Self::App { recipient, .. } => recipient.wrap_file_key(file_key),
            Self::Worker { recipient, .. } => recipient.wrap_file_key(file_key),
        }
    }
}

/// A job's files, encrypted: now, or by an earlier call whose ciphertext is still there.
pub(super) async fn encrypted(
    store: &Store,
    record: &mut JobRecord,
    keys: Option<&NetworkKeys>,
    progress: Report<'_>,
) -> Result<EncryptedInputs, JobError> {
    let known = record.encrypted.clone().filter(|known| known.all().all(|(_, file)| store.has_ciphertext(&file)));
    // Each time: epochs end.
    let mut epochs = BTreeSet::new();
    for (name, path) in &record.encrypted_files {
        let kept = known.iter().flat_map(|known| &known.app_files).find(|file| file.name == *name);
        let path = kept.map_or_else(|| path.clone(), |file| store.ciphertext(&file.sha256));
        let checked = encryption::check_app_file(&path, record.app, keys);
        epochs.insert(checked.map_err(|error| JobError::EncryptedFile { name: name.clone(), error })?);
    }
    // One is the job input's.
    if epochs.len() >= MAX_EPOCHS {
        return Err(JobError::TooMany { what: "epochs in which files were encrypted", max: MAX_EPOCHS - 1 });
    }
    if let Some(known) = known {
        return Ok(known);
    }
    // Job inputs name files that are gone.
    store.forget_ciphertext(record);
    record.input = None;
    let mut encrypted = EncryptedInputs {
        identity: Identity::generate().secret(),
        code: None,
        stdin: None,
        files: vec![],
        app_files: vec![],
        plain_bytes: 0,
    };
    if let Err(error) = encrypt_files(store, record, &mut encrypted, progress).await {
        encrypted.made().for_each(|(_, file)| store.remove_ciphertext(&file.sha256));
        return Err(error);
    }
    record.encrypted = Some(encrypted.clone());
    Ok(encrypted)
}

/// Encrypts a job's files to the job's own key, and copies those that came encrypted.
async fn encrypt_files(
    store: &Store,
    record: &JobRecord,
    encrypted: &mut EncryptedInputs,
    progress: Report<'_>,
) -> Result<(), JobError> {
    let own = encrypted.identity.parse::<Identity>()?.recipient();
    let plain_bytes = &mut encrypted.plain_bytes;
    for (name, path) in &record.encrypted_files {
        progress(Progress::Copying { name: name.clone() });
        let file = keep(store, path.clone(), plain_bytes, encryption::copy_encrypted).await?;
        encrypted.app_files.push(NamedFile::new(name.clone(), file));
    }
    let encrypt = move |path: &Path, folder: &Path| encryption::encrypt_file(path, std::slice::from_ref(&own), folder);
    if record.private {
        progress(Progress::Encrypting { name: "program".into() });
        encrypted.code = Some(keep(store, program(store, record)?, plain_bytes, encrypt.clone()).await?);
    }
    if let Some(path) = record.stdin.clone() {
        progress(Progress::Encrypting { name: "standard input".into() });
        encrypted.stdin = Some(keep(store, path, plain_bytes, encrypt.clone()).await?);
    }
    for (name, path) in &record.files {
        progress(Progress::Encrypting { name: name.clone() });
        let file = keep(store, path.clone(), plain_bytes, encrypt.clone()).await?;
        encrypted.files.push(NamedFile::new(name.clone(), file));
    }
    Ok(())
}

/// Keeps the ciphertext that `make` makes of a file, and adds the length of what is in it to `plain_bytes`.
async fn keep(
    store: &Store,
    path: PathBuf,
    plain_bytes: &mut u64,
    make: impl FnOnce(&Path, &Path) -> Result<Ciphertext, EncryptionError> + Send + 'static,
) -> Result<EncryptedFile, JobError> {
    let folder = store.temporary();
    let making = tokio::task::spawn_blocking(move || make(&path, &folder));
    let cipher = making.await.expect("encryption does not panic")?;
    *plain_bytes += cipher.plain_bytes;
    Ok(store.keep_ciphertext(cipher)?)
}

/// The job input: the one that there is if it does, else a new one, encrypted to `to`, whose ciphertext is kept. Whoever calls
/// saves the record.
pub(super) fn input(
    store: &Store,
    record: &mut JobRecord,
    encrypted: &EncryptedInputs,
    to: &To,
) -> Result<EncryptedInput, JobError> {
    if let Some(input) = record.input
        && to.is_served_by(input.reader)
        && store.has_ciphertext(&input.file)
    {
        return Ok(input);
    }
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
        files: encrypted.files.iter().chain(&encrypted.app_files).cloned().collect(),
        recipients,
    };
    let json = zeroize::Zeroizing::new(serde_json::to_vec(&input).expect("a job input is plain JSON"));
    if json.len() > phala_primitives::input::MAX_JOB_INPUT_BYTES {
        return Err(JobError::TooMany {
            what: "bytes of arguments and file names",
            max: phala_primitives::input::MAX_JOB_INPUT_BYTES,
        });
    }
    let cipher = encryption::encrypt(&mut &json[..], std::slice::from_ref(to), &store.temporary())?;
    let input = EncryptedInput { reader: to.reader(), file: store.keep_ciphertext(cipher)? };
    if let Some(before) = record.input.replace(input) {
        store.remove_ciphertext(&before.file.sha256);
    }
    Ok(input)
}

/// Where this machine has a job's program.
fn program(store: &Store, record: &JobRecord) -> Result<PathBuf, JobError> {
    let code = store.program(&record.code_hash);
    if code.exists() { Ok(code) } else { Err(JobError::ProgramMissing(record.app)) }
}

/// Uploads what the host lacks of a ciphertext.
async fn bring(
    host: &Host,
    token: &UploadToken,
    store: &Store,
    name: &str,
    file: &EncryptedFile,
    progress: Report<'_>,
) -> Result<(), JobError> {
    upload(host, token, name, &store.ciphertext(&file.sha256), &file.sha256, file.bytes, progress).await
}

/// What the owner has signed for the job under the number that it has now.
fn upload_token(record: &JobRecord) -> Result<&UploadToken, JobError> {
    let token = record.upload.as_ref().filter(|token| token.job() == record.job);
    token.ok_or(JobError::NoUploadToken(record.owner))
}

/// Whether a host refuses a job's token because its time is over. The code may be missing, as a refused HEAD has no body;
/// and no host can make the owner sign while the token is good by our clock.
fn is_token_over(record: &JobRecord, error: &HostError) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let soon = now.saturating_add(CLOCK_SLACK.as_secs());
    matches!(error, HostError::Refused { status: 401, .. })
        && record.upload.as_ref().is_some_and(|token| token.expires() <= soon)
}

async fn upload(
    host: &Host,
    token: &UploadToken,
    name: &str,
    path: &Path,
    sha256: &[u8; 32],
    total: u64,
    progress: Report<'_>,
) -> Result<(), JobError> {
    let report = |sent| progress(Progress::Uploading { name: name.into(), sent, total });
    Ok(host.upload(path, sha256, total, token, report).await?)
}

/// Why a job may have no worker yet.
async fn why_queued(state: &State, job: &Job) -> Result<String, ChainError> {
    let root = state.sharing(NetworkKey::Root).await?;
    let round = state.latest_beacon().await?.map(|beacon| beacon.round);
    if let Some(root) = &root
        && state.beacon_stalled().await?
    {
        let since = round.unwrap_or(root.since);
        return Ok(format!(
            "the gatekeepers' beacon stands still since block {since}: no job gets a worker until it goes on"
        ));
    }
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
        Some(_) if root.is_some() && round.is_none_or(|round| round <= job.submitted_at) => {
            format!("no round of the random beacon since the job was queued: block {}", job.submitted_at)
        }
        Some(_) => "the chain has not chosen a worker yet".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Signer,
        encryption::{
            AppFileError,
            testing::{app_identity, network_keys},
        },
        host::testing::{FakeHost, Step},
        job::store::tests::{delivery, record},
    };
    use phala_primitives::job::Assignment;
    use serde_json::json;
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
        let first = encrypted(&store, &mut record, None, &|_| {}).await.unwrap();
        assert_eq!((first.plain_bytes, first.all().count()), (10, 2));
        store.save(&record).unwrap();
        let identity: Identity = first.identity.parse().unwrap();
        for (_, file) in first.all() {
            let cipher = fs::read(store.ciphertext(&file.sha256)).unwrap();
            assert_eq!(identity.decrypt(&cipher[..], 100).unwrap(), b"hello");
        }

        // Another process, another worker.
        let mut record = store.load(&record.genesis_hash, record.job).unwrap().unwrap();
        let again = encrypted(&store, &mut record, None, &|_| panic!("nothing is encrypted again")).await.unwrap();
        assert!(first.all().eq(again.all()));
        for (id, worker) in [(1, Identity::generate()), (2, Identity::generate())] {
            let to = To::Worker { id: WorkerId([id; 32]), recipient: worker.recipient() };
            let made = input(&store, &mut record, &again, &to).unwrap();
            assert_eq!((made.reader, record.input), (Reader::Worker(WorkerId([id; 32])), Some(made)));
            let cipher = fs::read(store.ciphertext(&made.file.sha256)).unwrap();
            let plain: JobInput = serde_json::from_slice(&worker.decrypt(&cipher[..], 10_000).unwrap()).unwrap();
            assert_eq!((plain.identity, plain.stdin), (first.identity.clone(), first.stdin));
            assert!(identity.decrypt(&cipher[..], 10_000).is_err());
            assert_eq!(input(&store, &mut record, &again, &to).unwrap(), made);
        }

        // Ciphertext that was lost is made anew, under another key.
        fs::remove_file(store.ciphertext(&first.files[0].sha256)).unwrap();
        let anew = encrypted(&store, &mut record, None, &|_| {}).await.unwrap();
        assert_ne!(anew.identity, first.identity);
        assert!(record.input.is_none() && !store.has_ciphertext(&first.stdin.unwrap()));
        store.forget_ciphertext(&record);
        assert!(anew.all().all(|(_, file)| !store.has_ciphertext(&file)));
    }

    /// A job with the standard input `hello`, and its files as they were encrypted.
    async fn job(folder: &Path) -> (Store, JobRecord, EncryptedInputs) {
        let store = Store::open(&folder.join("store")).unwrap();
        let path = folder.join("stdin");
        fs::write(&path, "hello").unwrap();
        let mut record = JobRecord { stdin: Some(path), identity: Identity::generate().secret(), ..record(9) };
        record.files.clear();
        let files = encrypted(&store, &mut record, Some(&network_keys()), &|_| {}).await.unwrap();
        (store, record, files)
    }

    fn count(store: &Store) -> usize {
        fs::read_dir(store.temporary()).unwrap().count()
    }

    #[tokio::test]
    async fn every_worker_gets_the_same_input_to_the_app_until_its_epoch_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut record, files) = job(folder.path()).await;
        let keys = network_keys();
        let to =
            |oldest_epoch, epoch| To::app(&NetworkKeys { oldest_epoch, epoch, ..network_keys() }, record.app).unwrap();
        let (now, later, over) = (to(3, 4), to(4, 5), to(5, 5));
        let first = input(&store, &mut record, &files, &now).unwrap();
        assert_eq!((first.reader, count(&store)), (Reader::App(4), 2));
        let cipher = fs::read(store.ciphertext(&first.file.sha256)).unwrap();
        assert_eq!(first.file.bytes, cipher.len() as u64);
        let plain = age::decrypt(&app_identity(&keys, Purpose::JobInput, record.app), &cipher).unwrap();
        let plain: JobInput = serde_json::from_slice(&plain).unwrap();
        assert_eq!((plain.job, plain.stdin, &plain.identity), (9, files.stdin, &files.identity));
        assert!(age::decrypt(&app_identity(&keys, Purpose::File, record.app), &cipher).is_err());

        // Another process, another worker, another epoch.
        store.save(&record).unwrap();
        let mut record = store.load(&record.genesis_hash, 9).unwrap().unwrap();
        for to in [&now, &later] {
            assert_eq!(input(&store, &mut record, &files, to).unwrap(), first);
        }
        // It alone is made anew, and the one before is of no use.
        let anew = input(&store, &mut record, &files, &over).unwrap();
        assert_eq!((anew.reader, count(&store)), (Reader::App(5), 2));
        assert!(!store.has_ciphertext(&first.file) && files.all().all(|(_, file)| store.has_ciphertext(&file)));
        // Of a later epoch than the chain knows: a fork.
        assert_eq!(input(&store, &mut record, &files, &now).unwrap().reader, Reader::App(4));
        // Under another number.
        store.renumber(&mut record, 10).unwrap();
        let renumbered = input(&store, &mut record, &files, &now).unwrap();
        let cipher = fs::read(store.ciphertext(&renumbered.file.sha256)).unwrap();
        let plain = age::decrypt(&app_identity(&keys, Purpose::JobInput, record.app), &cipher).unwrap();
        assert_eq!(serde_json::from_slice::<JobInput>(&plain).unwrap().job, 10);
        // Lost.
        fs::remove_file(store.ciphertext(&renumbered.file.sha256)).unwrap();
        assert_ne!(input(&store, &mut record, &files, &now).unwrap(), renumbered);
    }

    #[tokio::test]
    async fn an_input_to_a_worker_is_replaced_once_there_are_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut record, files) = job(folder.path()).await;
        let worker = To::Worker { id: WorkerId([6; 32]), recipient: Identity::generate().recipient() };
        assert_eq!(input(&store, &mut record, &files, &worker).unwrap().reader.epoch(), None);
        let to = To::app(&network_keys(), record.app).unwrap();
        assert_eq!(input(&store, &mut record, &files, &to).unwrap().reader.epoch(), Some(4));
        // And the other way round: a worker opens what is for it, whatever there was before.
        let made = input(&store, &mut record, &files, &worker).unwrap();
        assert_eq!(made.reader, Reader::Worker(WorkerId([6; 32])));
    }

    #[tokio::test]
    async fn files_that_came_encrypted_go_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut record, _) = job(folder.path()).await;
        let (path, keys) = (folder.path().join("data.age"), network_keys());
        let mut cipher = Vec::new();
        let made = encryption::encrypt_to_app(&mut &b"data"[..], record.app, &keys, &mut cipher).unwrap();
        fs::write(&path, &cipher).unwrap();
        record.encrypted = None;
        record.encrypted_files = vec![("data".into(), path.clone())];
        let files = encrypted(&store, &mut record, Some(&keys), &|_| {}).await.unwrap();
        let file = EncryptedFile { sha256: made.sha256, bytes: cipher.len() as u64 };
        assert_eq!(files.app_files, [NamedFile::new("data".into(), file)]);
        assert_eq!(fs::read(store.ciphertext(&file.sha256)).unwrap(), cipher);
        assert_eq!((files.plain_bytes, files.all().count()), (5, 2));

        let to = To::app(&keys, record.app).unwrap();
        let named = input(&store, &mut record, &files, &to).unwrap();
        let named = fs::read(store.ciphertext(&named.file.sha256)).unwrap();
        let plain = age::decrypt(&app_identity(&keys, Purpose::JobInput, record.app), &named).unwrap();
        assert_eq!(serde_json::from_slice::<JobInput>(&plain).unwrap().files, files.app_files);

        // The copy is what counts from now on, and its epoch may end before the job has run.
        fs::remove_file(&path).unwrap();
        let again = encrypted(&store, &mut record, Some(&keys), &|_| panic!("nothing is copied again")).await.unwrap();
        assert!(files.all().eq(again.all()));
        let over = NetworkKeys { oldest_epoch: 5, epoch: 5, ..keys };
        let error = encrypted(&store, &mut record, Some(&over), &|_| {}).await.unwrap_err();
        let JobError::EncryptedFile { name, error: AppFileError::Over { epoch: 4, oldest: 5 } } = error else {
            panic!("{error}")
        };
        assert_eq!(name, "data");
    }

    #[tokio::test]
    async fn nothing_is_encrypted_and_kept_for_a_job_whose_files_cannot_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut record, files) = job(folder.path()).await;
        let (path, keys) = (folder.path().join("data.age"), network_keys());
        let mut cipher = Vec::new();
        encryption::encrypt_to_app(&mut &b"data"[..], AppId([9; 32]), &keys, &mut cipher).unwrap();
        fs::write(&path, &cipher).unwrap();
        store.forget_ciphertext(&record);
        assert!(files.all().all(|(_, file)| !store.has_ciphertext(&file)));
        record.encrypted_files = vec![("data".into(), path.clone())];
        let silent: Report<'_> = &|_| panic!("nothing is encrypted");
        for (keys, fault) in [(Some(&keys), "is of app"), (None, "no keys yet")] {
            let error = encrypted(&store, &mut record, keys, silent).await.unwrap_err();
            assert!(matches!(&error, JobError::EncryptedFile { .. }) && error.to_string().contains(fault), "{error}");
        }
        // Of more epochs than a worker asks for keys of.
        let wide = NetworkKeys { oldest_epoch: 0, ..network_keys() };
        record.encrypted_files = (1..=MAX_EPOCHS as u32)
            .map(|epoch| {
                let (path, keys) = (folder.path().join(epoch.to_string()), NetworkKeys { epoch, ..network_keys() });
                encryption::encrypt_to_app(&mut &b"x"[..], record.app, &keys, &mut fs::File::create(&path).unwrap())
                    .unwrap();
                (epoch.to_string(), path)
            })
            .collect();
        let error = encrypted(&store, &mut record, Some(&wide), silent).await.unwrap_err();
        assert!(matches!(error, JobError::TooMany { max: 3, .. }), "{error}");
        record.encrypted_files.pop();
        encrypted(&store, &mut record, Some(&wide), &|_| {}).await.unwrap();
        let kept = record.encrypted_files.len();
        store.forget_ciphertext(&record);
        assert_eq!(count(&store), kept);
        // What was encrypted until something else failed goes.
        record.encrypted_files.clear();
        record.files = vec![("gone".into(), folder.path().join("gone"))];
        let error = encrypted(&store, &mut record, Some(&keys), &|_| {}).await.unwrap_err();
        assert!(matches!(error, JobError::Encryption(EncryptionError::Io { .. })) && count(&store) == kept);
    }

    #[test]
    fn a_busy_host_is_asked_again_when_it_says_and_others_ever_later() {
        let refused = |status, retry_after| HostError::Refused {
            status,
            code: "busy".into(),
            message: "too much to do".into(),
            hint: None,
            retry_after,
        };
        let told = std::sync::Mutex::new(vec![]);
        let progress = |progress: Progress| told.lock().unwrap().push(progress);
        let mut attempt = Attempt::new(1, WorkerId([1; 32]));
        let long = Duration::from_secs(100_000);
        for (retry_after, expected) in [(Duration::from_secs(7), 7), (long, 60)] {
            attempt.put_off(&refused(429, Some(retry_after)), &progress);
            let wait = attempt.not_before.duration_since(Instant::now());
            assert!(wait > Duration::from_secs(expected - 1) && wait <= Duration::from_secs(expected), "{wait:?}");
        }
        assert!(attempt.trouble.contains("too much to do"));
        for expected in [POLL, 2 * POLL, 4 * POLL] {
            attempt.put_off(&refused(409, None), &progress);
            assert!(attempt.not_before.duration_since(Instant::now()) <= expected);
        }
        let told = told.into_inner().unwrap();
        // The same trouble is told once.
        assert!(matches!(told[..], [Progress::Busy { .. }, Progress::Busy { .. }, Progress::Warning(_)]), "{told:?}");
    }

    #[test]
    fn what_was_cut_off_is_brought_again() {
        let resumed = |under_way| {
            let delivery = Delivery { under_way, ..delivery(6, 9, Some(4)) };
            let record = JobRecord { deliveries: vec![delivery], ..record(9) };
            Attempt::resume(&record, &Hosts::default()).unwrap()
        };
        let (whole, cut_off) = (resumed(false), resumed(true));
        assert_eq!((whole.number, whole.worker, whole.deliveries), (1, WorkerId([6; 32]), 1));
        assert!(matches!(whole.phase, Phase::Delivered(_, input) if input == [9; 32]));
        assert!(matches!(cut_off.phase, Phase::Undelivered));
        assert!(Attempt::resume(&record(9), &Hosts::default()).is_none());
    }

    #[test]
    fn an_attempt_is_current_while_its_worker_has_it() {
        let record = record(9);
        let status = |worker| JobStatus::Assigned(Assignment { worker, price: 1, assigned_at: 5, due: 50 });
        let job = Job {
            owner: record.owner,
            app: record.app,
            limits: record.limits,
            max_price: 1,
            deadline: 100,
            redundancy: 1,
            secret_commitment: [0; 32],
            submitted_at: 1,
            submitted_at_ms: 1,
            attempts: 2,
            status: status(WorkerId([1; 32])),
        };
        let attempt = Attempt::new(2, WorkerId([1; 32]));
        assert!(attempt.is_current(&job));
        for status in [status(WorkerId([2; 32])), JobStatus::Queued, JobStatus::Cancelled { at: 6 }] {
            assert!(!attempt.is_current(&Job { status, ..job.clone() }));
        }
        assert!(!attempt.is_current(&Job { attempts: 3, ..job }));
    }

    /// What comes of a start, with a token that is good until `expires`, that a host refuses.
    async fn refused_start(
        expires: u64,
        status: &str,
        headers: &str,
        code: &str,
    ) -> (Result<(), JobError>, Vec<Progress>, Attempt) {
        let token = UploadToken::sign(&Signer::from_uri("//Alice").unwrap(), [1; 32], 9, expires);
        let record = JobRecord { upload: Some(token), ..record(9) };
        let request = json!({ "input": hex::encode([6u8; 32]), "attempt": 1 }).to_string();
        let answer = json!({ "error": { "code": code, "message": "no" } }).to_string();
        let fake = FakeHost::new(vec![Step::answer(request.len(), status, headers, answer.as_bytes())]).await;
        let told = std::sync::Mutex::new(vec![]);
        let progress = |progress: Progress| told.lock().unwrap().push(progress);
        let mut attempt = Attempt::new(1, WorkerId([1; 32]));
        let result = attempt.start(&record, fake.host.clone(), [6; 32], &progress).await;
        let head = &fake.seen()[0].0;
        assert!(head.contains(&format!("phala-upload: 9.{expires}.")), "{head}");
        (result, told.into_inner().unwrap(), attempt)
    }

    #[tokio::test]
    async fn an_enclave_that_waits_for_finality_is_not_busy() {
        let (result, told, attempt) = refused_start(u64::MAX, "409 Conflict", "retry-after: 2\r\n", "refused").await;
        assert!(result.is_ok() && told.is_empty(), "{result:?} {told:?}");
        assert!(matches!(attempt.phase, Phase::Delivered(..)));
        assert!(attempt.not_before.duration_since(Instant::now()) > Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_token_is_signed_again_when_its_time_is_over_and_not_before() {
        let (result, ..) = refused_start(1, "401 Unauthorized", "", "token_expired").await;
        assert!(matches!(result, Err(JobError::NoUploadToken(owner)) if owner == record(9).owner), "{result:?}");
        // Whatever the host says.
        let (result, told, attempt) = refused_start(u64::MAX, "401 Unauthorized", "", "token_expired").await;
        assert!(result.is_ok() && matches!(told[..], [Progress::Warning(_)]), "{result:?} {told:?}");
        assert!(matches!(attempt.phase, Phase::Undelivered));
        // A refused HEAD has no body.
        let token = UploadToken::sign(&Signer::from_uri("//Alice").unwrap(), [1; 32], 9, 1);
        let record = JobRecord { upload: Some(token), ..record(9) };
        let refused = |status| HostError::Refused {
            status,
            code: "http".into(),
            message: String::new(),
            hint: None,
            retry_after: None,
        };
        assert!(is_token_over(&record, &refused(401)) && !is_token_over(&record, &refused(403)));
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
        let token = UploadToken::sign(&Signer::from_uri("//Alice").unwrap(), [1; 32], 9, 1_900_000_000);
        for _ in 0..3 {
            bring(&host, &token, &store, "file", &file, &|_| {}).await.unwrap();
        }
        assert_eq!(uploads.load(Ordering::SeqCst), 1);
        serving.abort();
    }
}
