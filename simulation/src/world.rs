//! A world: a chain, workers and users, and what must hold in it.
//!
//! What is checked at each step:
//!
//! - after each block, on the real pallets: PHA is conserved, escrow is that of live jobs, a job that has ended never changes,
//!   none is lost ([`crate::chain::execute`]);
//! - of each frame that leaves an enclave: it holds no plaintext and no key ([`crate::canary`]);
//! - of each receipt that leaves an enclave: it is signed by the worker that a finalized block gave this attempt to, for an
//!   input that the job's owner made, with the outcome that the program has;
//! - of each settlement: its receipt left an enclave, and the result that the host gives is the program's;
//! - nothing panics.
//!
//! And in the end every job has ended.

use phala_attestation::Role;
use phala_enclave::chain::Block;
use phala_host::chain::Job;
use phala_primitives::{Hash, JobId, SignedReceipt, WorkerId, job::JobStatus, worker::WorkerStatus};
use phala_protocol::{EnclaveMessage, EnclaveNotice, Message};
use phala_runtime::RuntimeCall;
use sp_keyring::Sr25519Keyring;
use std::{
    collections::BTreeMap,
    fmt::Display,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Report,
    canary::Canary,
    chain::{self, Chain, execute},
    link::{self, Watcher},
    panics,
    random::Dice,
    tee::MEASUREMENT,
    trace::Trace,
    user::{self, Order, Wish, receipt_hash},
    worker::{HostProcess, Shared, Worker},
};

/// Who owns workers.
pub const OPERATORS: [Sr25519Keyring; 3] = [Sr25519Keyring::Charlie, Sr25519Keyring::Dave, Sr25519Keyring::Eve];

/// Who runs jobs.
pub const USERS: [Sr25519Keyring; 2] = [Sr25519Keyring::Bob, Sr25519Keyring::Ferdie];

/// Memory that is a file system.
const MEMORY: &str = "/dev/shm";

/// A world. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    config: Config,
    dice: Dice,
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    workers: Mutex<Vec<Arc<Worker>>>,
    /// Orders whose users go after them.
    followed: Mutex<Vec<Arc<Order>>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Cancelled when the faults are over.
    calm: CancellationToken,
    folder: TempDir,
}

/// Looks at all that leaves enclaves, and remembers the first thing that should not be.
struct Watch {
    trace: Arc<Trace>,
    canary: Arc<Canary>,
    chain: Arc<Chain>,
    broken: watch::Sender<Option<String>>,
    orders: Mutex<Vec<Arc<Order>>>,
    receipts: Mutex<BTreeMap<Hash, SignedReceipt>>,
    frames: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world in which time begins. Its workers start; its first blocks allow their image.
    ///
    /// # Panics
    /// When the machine gives it no folder.
    pub fn new(seed: u64, config: Config, trace: Arc<Trace>, os_dice: &'static Dice) -> Self {
        let chain = Chain::new(seed, trace.clone(), config.wait);
        let canary = Arc::new(Canary::default());
        let watch = Arc::new(Watch {
            trace: trace.clone(),
            canary: canary.clone(),
            chain: chain.clone(),
            broken: watch::Sender::new(None),
            orders: Mutex::default(),
            receipts: Mutex::default(),
            frames: AtomicU64::new(0),
        });
        let shared = Arc::new(Shared {
            seed,
            chain,
            trace,
            canary,
            watcher: watch.clone(),
            os_dice,
            threads: Arc::new(AtomicUsize::new(0)),
            capacity: config.capacity,
            tick: config.tick,
            delay_ms: config.delay_ms,
        });
        let memory = Path::new(MEMORY);
        let builder = &mut tempfile::Builder::new();
        let builder = builder.prefix("phala-simulation-");
        let folder = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
        let folder = folder.expect("the machine has room for a folder");
        let operators = OPERATORS.into_iter().enumerate().take(config.workers);
        let workers = operators.map(|(number, operator)| {
            Worker::new(shared.clone(), number, operator, folder.path().join(number.to_string()))
        });
        let workers = Mutex::new(workers.collect());
        let dice = Dice::new(seed, "world");
        let (followed, counts, calm) = (Mutex::default(), Mutex::default(), CancellationToken::new());
        let world = Self(Arc::new(Inner { config, dice, shared, watch, workers, followed, counts, calm, folder }));
        world.allow_image();
        for worker in world.workers() {
            if let Err(error) = worker.start() {
                world.fail(error);
            }
        }
        tokio::spawn(world.clone().make_blocks());
        world
    }

    async fn make_blocks(self) {
        loop {
            sleep(Duration::from_millis(execute::SLOT_MS)).await;
            if let Err(error) = self.chain().make_block() {
                self.fail(error);
            }
            self.check_panics();
        }
    }

    fn check_panics(&self) {
        for panic in panics::take() {
            self.fail(format_args!("something panicked: {panic}"));
        }
    }

    fn allow_image(&self) {
        let (measurement, role) = (MEASUREMENT, Role::Worker);
        let call = pallet_phala_attestation::Call::allow_image { measurement, role, version: 1 };
        let call = Box::new(RuntimeCall::Attestation(call));
        self.chain().submit_quietly(Sr25519Keyring::Alice, RuntimeCall::Sudo(pallet_sudo::Call::sudo { call }));
    }

    /// How the world was made.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The world's own chance.
    pub fn dice(&self) -> &Dice {
        &self.0.dice
    }

    /// The chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.0.shared.chain
    }

    /// Adds a line to the trace.
    pub fn say(&self, line: impl Display) {
        self.0.shared.trace.add(line);
    }

    /// All lines of the trace.
    pub fn trace(&self) -> Vec<String> {
        self.0.shared.trace.lines()
    }

    /// How often a line of the trace so far holds `text`.
    pub fn count_lines(&self, text: &str) -> usize {
        self.trace().iter().filter(|line| line.contains(text)).count()
    }

    /// How long the world exists, by its clock.
    pub fn elapsed(&self) -> Duration {
        self.0.shared.trace.elapsed()
    }

    /// Counts something for the report.
    pub fn count(&self, what: &'static str) {
        *lock(&self.0.counts).entry(what).or_default() += 1;
    }

    /// Something happened that should not: the world ends.
    pub fn fail(&self, reason: impl Display) {
        self.0.watch.fail(reason);
    }

    /// Waits until something happens that should not.
    pub async fn broken(&self) -> String {
        let mut broken = self.0.watch.broken.subscribe();
        let reason = broken.wait_for(Option::is_some).await.expect("the world exists");
        reason.clone().unwrap_or_default()
    }

    /// All workers.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        lock(&self.0.workers).clone()
    }

    /// A worker by its number.
    ///
    /// # Panics
    /// When there is none.
    pub fn worker(&self, number: usize) -> Arc<Worker> {
        lock(&self.0.workers)[number].clone()
    }

    /// The worker that the chain knows by an id.
    pub fn worker_of(&self, id: WorkerId) -> Option<Arc<Worker>> {
        self.workers().into_iter().find(|worker| worker.id() == Some(id))
    }

    /// Its host, while it runs.
    pub fn host_of(&self, id: WorkerId) -> Option<HostProcess> {
        self.worker_of(id)?.host()
    }

    /// A second machine with a copy of a worker's disk and platform.
    ///
    /// # Panics
    /// When the machine has no room.
    pub fn clone_worker(&self, number: usize) -> Arc<Worker> {
        let mut workers = lock(&self.0.workers);
        let copy = workers.len();
        let folder = self.0.folder.path().join(copy.to_string());
        let worker = Worker::clone_of(&workers[number], copy, folder).expect("there is room for a copy");
        workers.push(worker.clone());
        worker
    }

    /// All orders whose users go after them.
    pub fn orders(&self) -> Vec<Arc<Order>> {
        lock(&self.0.followed).clone()
    }

    /// A user wants something, and goes after it.
    pub fn order(&self, wish: Wish) -> Arc<Order> {
        let order = self.prepare(wish);
        lock(&self.0.followed).push(order.clone());
        tokio::spawn(user::follow(self.clone(), order.clone()));
        order
    }

    /// A user wants something, and does nothing about it.
    pub fn prepare(&self, wish: Wish) -> Arc<Order> {
        let order = Arc::new(Order::new(wish, &self.0.dice, &self.0.shared.canary));
        lock(&self.0.watch.orders).push(order.clone());
        self.count("jobs");
        order
    }

    /// Where an order's job is in the newest block: its number, its attempt, and who has it.
    pub fn assignment(&self, order: &Order) -> Option<(JobId, u32, WorkerId)> {
        let (id, job) = order.find(&self.chain().best_state())?;
        match job.status {
            JobStatus::Assigned(assignment) => Some((id, job.attempts, assignment.worker)),
            _ => None,
        }
    }

    /// A receipt that has left an enclave, by what the chain knows it by.
    pub fn receipt(&self, hash: &Hash) -> Option<SignedReceipt> {
        lock(&self.0.watch.receipts).get(hash).cloned()
    }

    /// All receipts of a job that have left enclaves, by attempt.
    pub fn receipts(&self, job: JobId) -> Vec<SignedReceipt> {
        let receipts = lock(&self.0.watch.receipts);
        let mut found: Vec<_> = receipts.values().filter(|signed| signed.receipt.job == job).cloned().collect();
        found.sort_by_key(|signed| (signed.receipt.attempt, receipt_hash(signed)));
        found
    }

    /// Somebody brings a receipt to the chain.
    pub fn bring(&self, who: Sr25519Keyring, receipt: SignedReceipt) -> oneshot::Receiver<Result<u32, String>> {
        let receipt = Box::new(receipt);
        self.chain().submit(who, RuntimeCall::Jobs(pallet_phala_jobs::Call::submit_receipt { receipt }))
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When it does not within `patience`.
    pub async fn until(&self, what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
        let end = self.elapsed() + patience;
        while !condition() {
            assert!(self.elapsed() < end, "did not happen in {patience:?}: {what}");
            sleep(Duration::from_millis(250)).await;
        }
        self.say(format_args!("now: {what}"));
    }

    /// Whether a worker may get jobs, as far as finalized blocks say.
    pub fn is_active(&self, worker: &Worker) -> bool {
        let record = worker.id().and_then(|id| chain::worker(&self.chain().finalized_state(), id));
        record.is_some_and(|record| record.status == WorkerStatus::Active)
    }

    /// Waits until every worker may get jobs.
    pub async fn ready(&self) {
        let workers = self.workers();
        let ready = || workers.iter().all(|worker| self.is_active(worker));
        self.until("every worker is active", Duration::from_secs(120), ready).await;
    }

    /// Does something after a while, unless the faults are over by then.
    pub fn later(&self, pause: Duration, act: impl FnOnce(&Self) + Send + 'static) {
        let world = self.clone();
        let acting = async move {
            sleep(pause).await;
            act(&world);
        };
        tokio::spawn(self.0.calm.clone().run_until_cancelled_owned(acting));
    }

    /// No more faults: everybody is honest, everything runs and every way is open again.
    pub fn calm_down(&self) {
        self.say("no more faults");
        self.0.calm.cancel();
        self.chain().stall_finality(false);
        self.chain().take_calls_at_once();
        for worker in self.workers() {
            worker.liar.be_honest();
            worker.break_links(0);
            worker.view.keep_back(None);
            worker.weather.is_away.store(false, Ordering::Relaxed);
            if let Err(error) = worker.start() {
                self.fail(error);
            }
        }
    }

    /// Waits until every job has ended for good.
    pub async fn settle(&self) {
        for order in self.orders() {
            order.ended().await;
        }
        sleep(Duration::from_secs(10)).await;
        for (id, job) in execute::jobs(&self.chain().finalized_state()) {
            if execute::is_live(&job) {
                self.fail(format_args!("job {id} has not ended: {:?}", job.status));
            }
        }
        self.check_panics();
    }

    /// Ends every process.
    pub async fn end(&self) {
        for worker in self.workers() {
            worker.crash_enclave();
            if let Err(error) = worker.crash_host(crate::disk::Damage::None) {
                self.fail(format_args!("the real disk failed: {error}"));
            }
        }
        for _ in 0..100 {
            if self.0.shared.threads.load(Ordering::Relaxed) == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.fail("a thread of an enclave did not end");
    }

    /// Why the world ended, if it did.
    pub fn failure(&self) -> Option<String> {
        self.0.watch.broken.borrow().clone()
    }

    /// What happened in all.
    pub fn report(&self) -> Report {
        let state = self.chain().finalized_state();
        let jobs: Vec<(JobId, Job)> = execute::jobs(&state).collect();
        let count = |is: fn(&JobStatus<phala_sdk::Account, u32>) -> bool| {
            jobs.iter().filter(|(_, job)| is(&job.status)).count()
        };
        let trace = &self.0.shared.trace;
        Report {
            seed: self.0.shared.seed,
            virtual_seconds: self.elapsed().as_secs(),
            blocks: self.chain().best(),
            jobs: jobs.len(),
            settled: count(|status| matches!(status, JobStatus::Settled(_))),
            expired: count(|status| matches!(status, JobStatus::Expired { .. })),
            cancelled: count(|status| matches!(status, JobStatus::Cancelled { .. })),
            checked: self.orders().iter().filter(|order| order.is_checked()).count(),
            receipts: lock(&self.0.watch.receipts).len(),
            lies: self.workers().iter().map(|worker| worker.liar.told()).sum(),
            events: lock(&self.0.counts).iter().map(|(what, count)| ((*what).to_owned(), *count)).collect(),
            frames: self.0.watch.frames.load(Ordering::Relaxed),
            trace_lines: trace.lines().len(),
            trace_hash: trace.hash(),
        }
    }
}

impl Watch {
    fn fail(&self, reason: impl Display) {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                self.trace.add(format_args!("BROKEN: {reason}"));
                *broken = Some(reason.to_string());
            }
            first
        });
    }

    /// A receipt leaves an enclave.
    fn check(&self, signed: &SignedReceipt) -> Result<(), String> {
        let hash = receipt_hash(signed);
        if lock(&self.receipts).contains_key(&hash) {
            return Ok(());
        }
        let receipt = &signed.receipt;
        if !pallet_phala_workers::verify(&receipt.worker, &receipt.signed_bytes(), &signed.signature) {
            return Err("its signature is not its worker's".into());
        }
        let orders = lock(&self.orders).clone();
        let Some(order) = orders.iter().find(|order| order.made(&receipt.input_hash)) else {
            return Err("nobody made its input".into());
        };
        if receipt.outcome != order.wish.expected() {
            return Err(format!("its outcome is {:?}", receipt.outcome));
        }
        let Block { number, hash: block_hash } = self.chain.block(receipt.block_number);
        if (number, block_hash) != (receipt.block_number, receipt.block_hash) {
            return Err("its block is not final".into());
        }
        if let Some(state) = self.chain.state_of(&receipt.block_hash) {
            let Some(job) = chain::job(&state, receipt.job) else { return Err("its job is not in its block".into()) };
            let is_assigned = matches!(&job.status, JobStatus::Assigned(to) if to.worker == receipt.worker);
            if !is_assigned || job.attempts != receipt.attempt || job.secret_commitment != order.commitment {
                return Err("its block gives this attempt to nobody or to another".into());
            }
        }
        lock(&self.receipts).insert(hash, signed.clone());
        Ok(())
    }
}

impl Watcher for Watch {
    fn left(&self, worker: usize, frame: &[u8], message: Option<&EnclaveMessage>) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        if let Some(secret) = self.canary.find(frame) {
            self.fail(format_args!("{secret} leaves the enclave of worker {worker}"));
        }
        let Some(message) = message else { return };
        if let Some(what) = link::describe(message) {
            self.trace.add(format_args!("enclave {worker}: {what}"));
        }
        if let Message::Notice(EnclaveNotice::JobEnded { job, receipt }) = message
            && let Err(error) = self.check(receipt)
        {
            self.fail(format_args!("a wrong receipt of job {job} leaves the enclave of worker {worker}: {error}"));
        }
    }
}
