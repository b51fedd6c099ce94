//! A worker: the real enclave and the real host, each a process that can end at any moment and begin again.

use futures::future::BoxFuture;
use phala_enclave::{
    Enclave,
    chain::{Chain as EnclaveChain, ChainSpec, StartError},
};
use phala_host::{
    chain::{Node, OperatorConfig, Receipts, Registration, Submits, follow},
    enclave::{Enclave as HostEnclave, StartSource},
    jobs::Jobs,
    metrics::Metrics,
    store::{Limits, Store},
};
use phala_primitives::{Balance, PHA, WorkerId};
use phala_protocol::{EnclaveStatus, Start, StartRole};
use phala_sdk::Account;
use sp_keyring::Sr25519Keyring;
use std::{
    future::pending,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    baton::Baton,
    canary::Canary,
    chain::{Chain, HostNode, View, Weather},
    disk::{Damage, Disk},
    link::{self, EnclaveEnd, Liar, Route, Watcher},
    random::Dice,
    tee::WorldTee,
    trace::Trace,
};

/// How long an enclave waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(500);

/// What a worker asks for 10⁹ fuel, unless it is told otherwise.
const PRICE: Balance = PHA / 100;

/// What all workers of a world share.
pub struct Shared {
    /// The seed.
    pub seed: u64,
    /// The chain.
    pub chain: Arc<Chain>,
    /// What happened.
    pub trace: Arc<Trace>,
    /// What must not leave an enclave.
    pub canary: Arc<Canary>,
    /// Who looks at what does.
    pub watcher: Arc<dyn Watcher>,
    /// The operating system's randomness.
    pub os_dice: &'static Dice,
    /// Threads of enclaves that have not ended.
    pub threads: Arc<AtomicUsize>,
    /// Jobs that each worker runs at once.
    pub capacity: u32,
    /// What a look at the clock takes.
    pub tick: Duration,
    /// The longest time that a frame takes between enclave and host, in milliseconds.
    pub delay_ms: u64,
}

/// A worker. Both of its processes are down at first.
pub struct Worker {
    /// Its number.
    pub number: usize,
    /// Who owns it.
    pub operator: Sr25519Keyring,
    /// What its host does to messages.
    pub liar: Arc<Liar>,
    /// What its host lets the enclave see of the chain.
    pub view: Arc<View>,
    /// The way to its host's node.
    pub weather: Arc<Weather>,
    shared: Arc<Shared>,
    route: Arc<Route>,
    platform: [u8; 32],
    dice: Dice,
    state: Mutex<State>,
}

struct State {
    disk: Disk,
    host: Option<HostProcess>,
    enclave: Option<CancellationToken>,
    /// Cuts the newest link.
    link: CancellationToken,
    /// How often a process was started: each gets another part of the seed.
    starts: u64,
}

/// A host that runs.
#[derive(Clone)]
pub struct HostProcess {
    /// Ends it.
    dead: CancellationToken,
    /// Its disk.
    pub store: Arc<Store>,
    /// What it knows of jobs.
    pub jobs: Arc<Jobs>,
    /// Its end of the enclave.
    pub enclave: Arc<HostEnclave>,
}

impl Worker {
    /// Worker number `number`, on a platform of its own and with its files in `folder`.
    pub fn new(shared: Arc<Shared>, number: usize, operator: Sr25519Keyring, folder: PathBuf) -> Arc<Self> {
        let platform = Dice::new(shared.seed, &format!("platform-{number}")).bytes();
        Self::on(shared, number, operator, platform, Disk::new(folder))
    }

    /// Another worker's platform and a copy of its disk, as worker number `number`: what an operator gets who
    /// copies a machine.
    ///
    /// # Errors
    /// The real disk's.
    pub fn clone_of(original: &Self, number: usize, folder: PathBuf) -> io::Result<Arc<Self>> {
        let disk = original.state().disk.copy(folder)?;
        Ok(Self::on(original.shared.clone(), number, original.operator, original.platform, disk))
    }

    fn on(shared: Arc<Shared>, number: usize, operator: Sr25519Keyring, platform: [u8; 32], disk: Disk) -> Arc<Self> {
        let dice = |name: &str| Dice::new(shared.seed, &format!("{name}-{number}"));
        let liar = Liar::new(dice("liar"));
        let route = Arc::new(Route {
            worker: number,
            liar: liar.clone(),
            watcher: shared.watcher.clone(),
            dice: dice("link"),
            delay_ms: shared.delay_ms,
            breaks: 0.into(),
        });
        let state = State { disk, host: None, enclave: None, link: CancellationToken::new(), starts: 0 };
        Arc::new(Self {
            number,
            operator,
            liar,
            view: View::new(shared.chain.clone(), dice("view")),
            weather: Arc::default(),
            route,
            platform,
            dice: dice("worker"),
            state: Mutex::new(state),
            shared,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: impl std::fmt::Display) {
        self.shared.trace.add(format_args!("worker {}: {what}", self.number));
    }

    /// The host, while it runs.
    pub fn host(&self) -> Option<HostProcess> {
        self.state().host.clone()
    }

    /// Which worker this is to the chain, as far as the host has learnt; `None` while the host is down.
    pub fn id(&self) -> Option<WorkerId> {
        self.host()?.enclave.worker()
    }

    /// What the enclave says of itself, if the host has it.
    pub fn status(&self) -> Option<EnclaveStatus> {
        let host = self.host()?;
        host.enclave.session().map(|_| host.enclave.status())
    }

    /// Starts both processes, as far as they are down.
    ///
    /// # Errors
    /// What keeps the host from starting on its disk.
    pub fn start(self: &Arc<Self>) -> Result<(), String> {
        self.start_enclave();
        self.start_host()
    }

    /// Starts the enclave's process, unless it runs.
    pub fn start_enclave(self: &Arc<Self>) {
        let mut state = self.state();
        if state.enclave.is_some() {
            return;
        }
        self.say("the enclave starts");
        state.starts += 1;
        let dead = CancellationToken::new();
        let shared = &self.shared;
        let dice = Dice::new(shared.seed, &format!("tee-{}-{}", self.number, state.starts));
        let tee = Arc::new(WorldTee::new(self.platform, dice, shared.canary.clone(), shared.tick));
        let view = self.view.clone();
        let source = move |_: ChainSpec| -> BoxFuture<'static, Result<Arc<dyn EnclaveChain>, StartError>> {
            let view: Arc<dyn EnclaveChain> = view.clone();
            Box::pin(async move { Ok(view) })
        };
        let runtime = Arc::new(Baton::new(dead.clone(), shared.os_dice, shared.threads.clone()));
        let engine = phala_engine::Config {
            max_memory_bytes: 64 << 20,
            parallel_compilation: false,
            read_ahead: false,
            ..phala_engine::Config::default()
        };
        let enclave = Enclave::with(tee, Arc::new(source), runtime, Arc::new(phala_worker::Worker::new(engine)));
        let this = self.clone();
        let process = async move {
            loop {
                if let Some((sender, receiver)) = this.dial() {
                    let end = enclave.serve(sender, receiver).await;
                    this.say(format_args!("the enclave is disconnected: {end}"));
                }
                sleep(RECONNECT).await;
            }
        };
        tokio::spawn(dead.clone().run_until_cancelled_owned(process));
        state.enclave = Some(dead);
    }

    /// The enclave's process ends, wherever it is. Its host keeps what it has stored.
    pub fn crash_enclave(&self) {
        let mut state = self.state();
        if let Some(dead) = state.enclave.take() {
            self.say("the enclave crashes");
            dead.cancel();
            state.link.cancel();
        }
    }

    /// Starts the host's process, unless it runs.
    ///
    /// # Errors
    /// What keeps it from starting on its disk.
    pub fn start_host(&self) -> Result<(), String> {
        let mut state = self.state();
        if state.host.is_some() {
            return Ok(());
        }
        self.say("the host starts");
        state.starts += 1;
        let folder = state.disk.folder();
        let failed = |error: phala_host::store::Error| format!("host {} does not start: {error}", self.number);
        let store = Arc::new(Store::open(&folder, Limits::default()).map_err(failed)?);
        let metrics = Arc::new(Metrics::default());
        let jobs = Arc::new(Jobs::load(store.clone(), metrics.clone()).map_err(failed)?);
        let enclave = HostEnclave::new(store.clone(), jobs.clone(), metrics.clone());
        let dead = CancellationToken::new();
        let shared = &self.shared;
        let dice = Dice::new(shared.seed, &format!("node-{}-{}", self.number, state.starts));
        let node: Arc<dyn Node> =
            HostNode::new(shared.chain.clone(), self.operator, self.weather.clone(), dead.clone(), dice);
        let config = OperatorConfig {
            operator: account(self.operator),
            endpoint: format!("http://worker-{}.example", self.number),
            price: PRICE,
            submits: Submits::Everything,
        };
        let (heads_sender, heads) = watch::channel(None);
        let registration = Registration::new(node.clone(), enclave.clone(), store.clone(), metrics.clone(), config);
        let receipts = Receipts::new(node.clone(), store.clone(), jobs.clone(), metrics.clone(), true);
        let until = || dead.clone();
        tokio::spawn(until().run_until_cancelled_owned(follow(node, heads_sender, metrics)));
        tokio::spawn(until().run_until_cancelled_owned(registration.run(heads.clone())));
        tokio::spawn(until().run_until_cancelled_owned(receipts.run(heads, pending())));
        state.host = Some(HostProcess { dead, store, jobs, enclave });
        Ok(())
    }

    /// The host's process ends, wherever it is, and its disk suffers `damage`.
    ///
    /// # Errors
    /// The real disk's.
    pub fn crash_host(&self, damage: Damage) -> io::Result<()> {
        let mut state = self.state();
        if let Some(host) = state.host.take() {
            self.say(format_args!("the host crashes; damage: {damage:?}"));
            host.dead.cancel();
            state.link.cancel();
            state.disk.crash(damage, &self.dice)?;
        }
        Ok(())
    }

    /// Does something to the disk of a host that is down.
    ///
    /// # Errors
    /// The real disk's.
    ///
    /// # Panics
    /// While the host runs.
    pub fn tamper<T>(&self, with: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        assert!(state.host.is_none(), "the disk of a host that runs is left alone");
        with(&mut state.disk)
    }

    /// Keeps a copy of the disk, for a crash that forgets and for a host that cheats.
    ///
    /// # Errors
    /// The real disk's.
    pub fn remember_disk(&self) -> io::Result<()> {
        self.state().disk.remember()
    }

    /// Breaks the link between enclave and host. They connect again.
    pub fn cut_link(&self) {
        self.say("the link breaks");
        self.state().link.cancel();
    }

    /// How often in a thousand the link breaks instead of carrying a frame.
    pub fn break_links(&self, per_mille: u32) {
        self.route.breaks.store(per_mille, Ordering::Relaxed);
    }

    /// A new link to the host, if that runs.
    fn dial(&self) -> Option<EnclaveEnd> {
        let mut state = self.state();
        let host = state.host.clone()?;
        let cut = host.dead.child_token();
        let (ours, theirs) = link::connect(self.route.clone(), cut.clone());
        let start = Start {
            chain_spec: r#"{"name":"simulated","id":"simulated","bootNodes":[],"genesis":{"raw":{}}}"#.into(),
            operator: account(self.operator).0,
            role: StartRole::Worker { capacity: self.shared.capacity },
        };
        let serving = host.enclave.clone().serve_stream(theirs, Arc::new(FixedStart(start)), host.dead.child_token());
        tokio::spawn(host.dead.clone().run_until_cancelled_owned(serving));
        state.link = cut;
        Some(ours)
    }
}

/// The account of a key.
pub fn account(who: Sr25519Keyring) -> Account {
    Account(who.to_account_id().into())
}

/// A start that never changes.
struct FixedStart(Start);

impl StartSource for FixedStart {
    fn candidates(&self) -> BoxFuture<'_, Vec<Start>> {
        Box::pin(async { vec![self.0.clone()] })
    }

    fn taken(&self, _: &Start) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
