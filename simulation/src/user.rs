//! Users: what they order, and how each order goes from a submission to a checked result.
//!
//! A user encrypts as the SDK does, starts the job at whichever worker the chain gives it to, as often as the chain gives
//! it to another, and believes a result only when receipt, output and chain agree.

use age::x25519;
use codec::Encode;
use phala_enclave::chain::Block;
use phala_host::{chain::Job, jobs::Phase};
use phala_primitives::{
    AppId, Balance, Hash, JobId, Limits, Outcome, PHA, SignedReceipt, WorkerId,
    input::{EncryptedFile, JobInput, NamedFile},
    job::{JobStatus, Settlement, Visibility, secret_commitment},
};
use phala_runtime::RuntimeCall;
use phala_sdk::{
    encryption,
    job::Output,
    receipt::{self, Facts},
};
use sp_keyring::Sr25519Keyring;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

use crate::{
    canary::Canary,
    chain::{self, State, execute},
    link::sha256,
    program::Program,
    random::Dice,
    tee::MEASUREMENT,
    worker::{HostProcess, account},
    world::World,
};

/// The most that a job may cost.
const MAX_PRICE: Balance = PHA;

/// How many blocks a job has. Enough for three workers, one after the other.
const BLOCKS: u32 = 150;

/// After how many final blocks a submission that is in none of them is lost.
const PATIENCE_BLOCKS: u32 = 20;

/// The manifest of every app.
const MANIFEST: Hash = [0x4d; 32];

/// What a user wants.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Who.
    pub who: Sr25519Keyring,
    /// What is to run.
    pub program: Program,
    /// Whether its code is a secret.
    pub private: bool,
    /// The length of the standard input, in bytes.
    pub stdin_bytes: usize,
    /// How many blocks there are until the deadline.
    pub blocks: u32,
    /// Whether the user starts the job.
    pub starts: bool,
    /// How long the program may run, in milliseconds.
    pub wall_ms: u64,
    /// How the job must end; `None`: as the program does by itself.
    pub outcome: Option<Outcome>,
    /// Whether the user takes the job back while no worker has it.
    pub cancels: bool,
}

impl Wish {
    /// A user's wish for a public program, with a short input.
    pub fn new(who: Sr25519Keyring, program: Program) -> Self {
        Self {
            who,
            program,
            private: false,
            stdin_bytes: 1000,
            blocks: BLOCKS,
            starts: true,
            wall_ms: program.limits().wall_ms,
            outcome: None,
            cancels: false,
        }
    }

    /// How the job must end.
    pub fn expected(&self) -> Outcome {
        self.outcome.unwrap_or(self.program.outcome())
    }
}

/// A file as it is uploaded.
struct Upload {
    bytes: Vec<u8>,
    file: EncryptedFile,
}

impl Upload {
    fn new(bytes: Vec<u8>) -> Self {
        let file = EncryptedFile { sha256: sha256(&bytes), bytes: bytes.len() as u64 };
        Self { bytes, file }
    }

    fn encrypted(recipient: &x25519::Recipient, plaintext: &[u8]) -> Self {
        Self::new(age::encrypt(recipient, plaintext).expect("encryption to memory succeeds"))
    }
}

/// A wish that came to the chain, with all that only its user knows.
pub struct Order {
    /// What was wanted.
    pub wish: Wish,
    /// The app on chain.
    pub app: AppId,
    /// What the chain knows of the secret.
    pub commitment: Hash,
    secret: Hash,
    stdin: Vec<u8>,
    arguments: Vec<String>,
    identity_text: String,
    reader: x25519::Identity,
    code: Upload,
    files: Vec<Upload>,
    /// Whether the user starts the job from now on.
    starts: AtomicBool,
    /// The hashes of all job inputs that were made.
    inputs: Mutex<BTreeSet<Hash>>,
    /// The job, once it has ended in a finalized block.
    end: watch::Sender<Option<(JobId, Job)>>,
    /// Whether a result was checked.
    checked: AtomicBool,
}

impl Order {
    /// Makes everything that does not depend on the worker. Its secrets become what `canary` looks for.
    pub fn new(wish: Wish, dice: &Dice, canary: &Canary) -> Self {
        let secret = dice.bytes();
        let (identity, identity_text) = identity(&dice.bytes());
        let (reader, reader_text) = self::identity(&dice.bytes());
        let mark = hex::encode(dice.bytes());
        let mut stdin: Vec<u8> = mark.bytes().cycle().take(wish.stdin_bytes).collect();
        dice.fill(stdin.get_mut(128..).unwrap_or_default());
        let argument = hex::encode(dice.bytes());
        let code = wish.program.code();
        canary.add("a job's secret", &secret);
        canary.add("a job's identity", identity_text.as_bytes());
        canary.add("a user's identity", reader_text.as_bytes());
        canary.add("an argument", argument.as_bytes());
        if wish.stdin_bytes >= 64 {
            canary.add("a standard input", &stdin[..64]);
        }
        if wish.stdin_bytes >= 256 {
            canary.add("the end of a standard input", &stdin[stdin.len() - 64..]);
        }
        let visibility = if wish.private { Visibility::Private } else { Visibility::Public };
        let app = AppId::new(&account(wish.who).0, &sha256(&code), code.len() as u32, &MANIFEST, visibility);
        let recipient = identity.to_public();
        let files = vec![Upload::encrypted(&recipient, &stdin), Upload::encrypted(&recipient, argument.as_bytes())];
        let code = if wish.private { Upload::encrypted(&recipient, &code) } else { Upload::new(code) };
        Self {
            wish,
            app,
            commitment: secret_commitment(&secret),
            secret,
            stdin,
            arguments: vec![argument],
            identity_text,
            reader,
            code,
            files,
            starts: AtomicBool::new(wish.starts),
            inputs: Mutex::default(),
            end: watch::Sender::new(None),
            checked: AtomicBool::new(false),
        }
    }

    fn inputs(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its user made this job input for it.
    pub fn made(&self, input: &Hash) -> bool {
        self.inputs().contains(input)
    }

    /// Where its job is in a state.
    pub fn find(&self, state: &State) -> Option<(JobId, Job)> {
        execute::jobs(state).find(|(_, job)| job.secret_commitment == self.commitment)
    }

    /// From now on the user starts the job, or no more.
    pub fn set_starts(&self, starts: bool) {
        self.starts.store(starts, Ordering::Relaxed);
    }

    /// Waits until the job has ended in a finalized block.
    pub async fn ended(&self) -> (JobId, Job) {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.expect("the order exists");
        ended.clone().expect("there is an end")
    }

    /// Whether the job has ended in a finalized block.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Whether the user has a result whose receipt, output and settlement agree.
    pub fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    /// The job input for a worker, encrypted to it.
    pub fn input(&self, genesis_hash: Hash, job: JobId, encryption_key: &[u8; 32]) -> Vec<u8> {
        self.input_with(genesis_hash, job, encryption_key, self.files[0].file)
    }

    /// As [`input`](Self::input), with another file as standard input.
    pub fn input_with(
        &self,
        genesis_hash: Hash,
        job: JobId,
        encryption_key: &[u8; 32],
        stdin: EncryptedFile,
    ) -> Vec<u8> {
        let input = JobInput {
            version: 1,
            genesis_hash,
            job,
            app: self.app,
            secret: self.secret.into(),
            identity: self.identity_text.as_str().into(),
            arguments: self.arguments.clone(),
            code: self.wish.private.then_some(self.code.file),
            stdin: Some(stdin),
            files: vec![NamedFile::new("argument".into(), self.files[1].file)],
            recipients: vec![self.reader.to_public().to_string()],
        };
        let json = serde_json::to_vec(&input).expect("a job input is JSON");
        let encrypted = age::encrypt(&encryption::recipient(encryption_key), &json).expect("encryption succeeds");
        self.inputs().insert(sha256(&encrypted));
        encrypted
    }

    /// The encrypted standard input.
    pub fn stdin_file(&self) -> EncryptedFile {
        self.files[0].file
    }

    /// Puts everything that the job reads into a host's store, as uploads do.
    ///
    /// # Errors
    /// The store's.
    pub fn upload(&self, host: &HostProcess, input: &[u8]) -> Result<(), String> {
        let owner = account(self.wish.who);
        let files = self.files.iter().chain([&self.code]).map(|upload| upload.bytes.as_slice());
        for bytes in files.chain([input]) {
            let hash = sha256(bytes);
            if host.store.blob_bytes(&hash).is_some() {
                continue;
            }
            let upload = host.store.begin_upload(hash, owner, 0, Some(bytes.len() as u64));
            let uploaded = upload.and_then(|mut upload| {
                upload.write(bytes)?;
                upload.finish()
            });
            uploaded.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Opens a result: the decrypted archive.
    ///
    /// # Errors
    /// When it is not for this user.
    pub fn open(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        age::decrypt(&self.reader, file).map_err(|error| error.to_string())
    }
}

/// An `age` identity from 32 bytes, and its text.
fn identity(secret: &Hash) -> (x25519::Identity, String) {
    let prefix = bech32::Hrp::parse("age-secret-key-").expect("the prefix is valid");
    let text = bech32::encode_upper::<bech32::Bech32>(prefix, secret).expect("32 bytes are short enough");
    (text.parse().expect("the text is an identity"), text)
}

/// Publishes an order's app and submits its job, and does for it what a user does until it has ended in a finalized block.
pub async fn follow(world: World, order: Arc<Order>) {
    publish(&world, &order).await;
    let mut included = submit(&world, &order).await;
    let mut started = None;
    loop {
        sleep(world.dice().millis(1500, 3000)).await;
        let finalized = world.chain().finalized_state();
        if let Some((id, job)) = order.find(&finalized).filter(|(_, job)| !execute::is_live(job)) {
            check(&world, &order, id, &job);
            order.end.send_replace(Some((id, job)));
            return;
        }
        let Some((id, job)) = order.find(&world.chain().best_state()) else {
            // Its block was replaced, and in the other it came too late.
            if world.chain().finalized().number > included + PATIENCE_BLOCKS {
                included = submit(&world, &order).await;
            }
            continue;
        };
        match &job.status {
            JobStatus::Queued if order.wish.cancels => {
                world
                    .chain()
                    .submit_quietly(order.wish.who, RuntimeCall::Jobs(pallet_phala_jobs::Call::cancel { job: id }));
            }
            JobStatus::Assigned(assignment) if order.starts.load(Ordering::Relaxed) => {
                let attempt = (job.attempts, assignment.worker);
                // A host that has refused it, or knows nothing of it any more, is asked again.
                let state = world.host_of(assignment.worker).map(|host| host.jobs.report(id).state);
                let forgotten = matches!(state, Some(Phase::Unknown | Phase::Refused));
                if (started != Some(attempt) || forgotten) && start(&world, &order, id, attempt).await {
                    started = Some(attempt);
                }
            }
            _ => {}
        }
    }
}

async fn publish(world: &World, order: &Order) {
    let code = order.wish.program.code();
    let visibility = if order.wish.private { Visibility::Private } else { Visibility::Public };
    let call = pallet_phala_apps::Call::publish {
        code_hash: sha256(&code),
        code_bytes: code.len() as u32,
        manifest_hash: MANIFEST,
        visibility,
    };
    while chain::app(&world.chain().best_state(), order.app).is_none() {
        // Another order may be faster with the same app: the chain refuses the second.
        let _ = world.chain().submit(order.wish.who, RuntimeCall::Apps(call.clone())).await;
    }
}

/// Submits the job until it is in a block, whose number is the answer.
async fn submit(world: &World, order: &Order) -> u32 {
    let limits = Limits { wall_ms: order.wish.wall_ms, ..order.wish.program.limits() };
    loop {
        let call = pallet_phala_jobs::Call::submit {
            app: order.app,
            limits,
            max_price: MAX_PRICE,
            deadline: world.chain().best() + order.wish.blocks,
            redundancy: 1,
            secret_commitment: order.commitment,
        };
        match world.chain().submit(order.wish.who, RuntimeCall::Jobs(call)).await {
            Ok(Ok(block)) => return block,
            failed => world.say(format_args!("a submission failed: {failed:?}")),
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Starts an attempt at a job; whether its enclave has accepted it.
pub async fn start(world: &World, order: &Order, id: JobId, (attempt, worker): (u32, WorkerId)) -> bool {
    let state = world.chain().best_state();
    let (Some(record), Some(host)) = (chain::worker(&state, worker), world.host_of(worker)) else { return false };
    let input = order.input(world.chain().genesis_hash(), id, &record.encryption_key);
    if let Err(error) = order.upload(&host, &input) {
        world.say(format_args!("the upload for job {id} failed: {error}"));
        return false;
    }
    match host.enclave.start_job(id, attempt, sha256(&input)).await {
        Ok(()) => {
            if let Err(error) = host.jobs.keep(id) {
                world.say(format_args!("host: job {id} is not on record: {error}"));
            }
            true
        }
        Err(_) => false,
    }
}

/// Checks the result of a job that was settled; what the chain settled must be right whatever the host still has.
fn check(world: &World, order: &Order, id: JobId, job: &Job) {
    let JobStatus::Settled(settlement) = &job.status else { return };
    if settlement.outcome != order.wish.expected() {
        world.fail(format_args!("job {id} was settled with {:?}", settlement.outcome));
    }
    if !order.made(&settlement.input_hash) {
        world.fail(format_args!("job {id} was settled with an input that its owner did not make"));
    }
    let Some(signed) = world.receipt(&settlement.receipt_hash) else {
        world.fail(format_args!("job {id} was settled with a receipt that left no enclave"));
        return;
    };
    match fetch(world, order, id, job, settlement, &signed) {
        Ok(true) => {
            order.checked.store(true, Ordering::Relaxed);
            world.say(format_args!("the result of job {id} is checked"));
        }
        Ok(false) => world.say(format_args!("the host does not have the result of job {id}")),
        Err(error) => world.fail(format_args!("the result of job {id} is wrong: {error}")),
    }
}

/// Whether the host has the result. What it has besides is none.
fn fetch(
    world: &World,
    order: &Order,
    id: JobId,
    job: &Job,
    settlement: &Settlement<phala_sdk::Account, u32>,
    signed: &SignedReceipt,
) -> Result<bool, String> {
    let Some(app) = chain::app(&world.chain().finalized_state(), order.app) else {
        return Err("its app is gone".into());
    };
    let receipt = &signed.receipt;
    let Block { hash, .. } = world.chain().block(receipt.block_number);
    if receipt.block_hash != hash {
        return Err("its receipt names a block that is not final".into());
    }
    let file = world.host_of(settlement.worker).and_then(|host| host.output(id));
    // A host that lost it, or has another attempt's, has nothing.
    let file = file.filter(|file| sha256(file) == receipt.output_file_hash);
    let has_output = receipt.output_file_hash != [0; 32];
    let archive = file.as_ref().map(|file| order.open(file)).transpose()?;
    let output = match (&file, &archive) {
        (Some(file), Some(archive)) => {
            Some(receipt::Output { file_hash: sha256(file), archive, secret: &order.secret })
        }
        _ => None,
    };
    let facts = Facts {
        genesis_hash: world.chain().genesis_hash(),
        id,
        job,
        app: &app,
        measurement: Ok(MEASUREMENT),
        input_hash: Some(settlement.input_hash),
        output,
    };
    receipt::verify(signed, &facts).map_err(|error| error.to_string())?;
    let Some(archive) = archive else { return Ok(!has_output) };
    let output = Output::read(&archive).map_err(|error| error.to_string())?;
    match order.wish.program.stdout(&order.stdin) {
        Some(expected) if expected != output.stdout && order.wish.outcome.is_none() => {
            Err(format!("it has {} bytes of standard output instead of {}", output.stdout.len(), expected.len()))
        }
        _ => Ok(true),
    }
}

impl HostProcess {
    /// A job's encrypted output, as users download it.
    pub fn output(&self, job: JobId) -> Option<Vec<u8>> {
        let (mut file, _) = self.store.open_output(job).ok()??;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).ok()?;
        Some(bytes)
    }

    /// A job's receipt, as users download it.
    pub fn receipt(&self, job: JobId) -> Option<SignedReceipt> {
        self.store.load_receipt(job).ok()?
    }
}

/// What a receipt is known by on chain.
pub fn receipt_hash(signed: &SignedReceipt) -> Hash {
    sha256(&signed.encode())
}
