//! Everything together.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    blocking,
    chain::{self, Endorsements, Node, Receipts, Registration, RpcNode, SeatKeeper, Starts, Submits},
    config::Options,
    enclave::{Address, Enclave},
    gatekeeper::{Carrier, GatekeeperNode},
    http::{self, Api, Front, Tls},
    jobs::Jobs,
    metrics::Metrics,
    store::Store,
    takeover::{self, JobsNode, Takeover},
};

const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(60);

/// How long what came of an interrupted upload is kept, for whoever sent it to go on.
const KEEP_INTERRUPTED: Duration = Duration::from_secs(60 * 60);

/// How long what is under way may take once the host is told to stop.
const STOP_TIME: Duration = Duration::from_secs(15);

/// Runs the host until SIGTERM or SIGINT. The enclave's process goes on, and connects to the next host.
///
/// # Errors
/// What keeps the host from starting: a bad option, a port or folder that cannot be used.
pub async fn run(options: Options) -> Result<()> {
    let keys = options.keys()?;
    let operator = options.operator_config(&keys)?;
    let spec = options.chain_spec()?;
    let tls = options.tls()?.map(Arc::new);
    let endorsements = Endorsements::new(options.kds.as_deref()).context("reading --kds")?;
    let bounds = options.bounds(raise_open_files());
    let metrics = Arc::new(Metrics::default());
    let store = Store::open(&options.data, options.limits())
        .with_context(|| format!("opening the data folder {}; is it another user's?", options.data.display()))?;
    let store = Arc::new(store);
    let jobs = Arc::new(Jobs::load(store.clone(), metrics.clone()).context("reading the records of jobs")?);
    let socket = options
        .socket
        .listen()
        .await
        .with_context(|| format!("listening on the enclave's socket {}", options.socket))?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("serving HTTP on {}; choose another port with --listen", options.listen))?;
    tracing::info!(
        operator = %operator.operator,
        listen = %options.listen,
        endpoint = operator.endpoint,
        socket = %options.socket,
        version = env!("CARGO_PKG_VERSION"),
        "phala-host started"
    );

    let shutdown = CancellationToken::new();
    // Another's word is none of the operator's.
    let signer = keys.signer.clone().filter(|_| operator.submits == Submits::Everything);
    let rpc = Arc::new(RpcNode::new(options.node.clone(), keys.signer));
    let node: Arc<dyn Node> = rpc.clone();
    let gatekeepers: Arc<dyn GatekeeperNode> = rpc.clone();
    let jobs_node: Arc<dyn JobsNode> = rpc.clone();
    let connecting = tokio::spawn(async move { rpc.connect().await });
    let (heads_sender, heads) = watch::channel(None);
    let following = tokio::spawn(chain::follow(node.clone(), heads_sender, metrics.clone()));

    let enclave = Enclave::with_endorsements(endorsements, store.clone(), jobs.clone(), metrics.clone());
    let account = operator.operator.0;
    let starts = Starts::new(node.clone(), store.clone(), options.node.clone(), spec, account, options.role());
    // The enclave's connection outlives the HTTP server, whose last requests may need it.
    let hang_up = CancellationToken::new();
    let serving_enclave = tokio::spawn(enclave.clone().serve(socket, Arc::new(starts), hang_up.clone()));
    let heard = enclave.heard().context("the enclave's words are taken already")?;
    let carrying =
        tokio::spawn(Carrier::new(gatekeepers.clone(), node.clone(), enclave.clone(), metrics.clone()).run(heard));
    let registering = if options.gatekeeper {
        let config = options.seat_config(&operator);
        let seat = SeatKeeper::new(node.clone(), gatekeepers, enclave.clone(), store.clone(), metrics.clone(), config);
        tokio::spawn(seat.run(heads.clone()))
    } else {
        let registration =
            Registration::new(node.clone(), enclave.clone(), store.clone(), metrics.clone(), operator.clone());
        let takeover = Takeover {
            node: jobs_node,
            heads: heads.clone(),
            enclave: enclave.clone(),
            store: store.clone(),
            jobs: jobs.clone(),
            metrics: metrics.clone(),
            operator: operator.clone(),
            signer,
            rate: takeover::RATE,
        };
        let heads = heads.clone();
        tokio::spawn(async move {
            tokio::join!(registration.run(heads), takeover.run());
        })
    };
    let submits = operator.submits != Submits::Nothing;
    let receipts = Receipts::new(node.clone(), store.clone(), jobs.clone(), metrics.clone(), submits);
    let stop = shutdown.clone();
    let submitting = tokio::spawn(receipts.run(heads.clone(), async move { stop.cancelled().await }));
    let keeping_house = tokio::spawn(keep_house(store.clone(), jobs.clone(), tls.clone(), options.retention()));
    let api = Api {
        store,
        jobs,
        enclave,
        node,
        heads,
        operator,
        capacity: options.capacity,
        front: Front::new(bounds, &metrics),
        metrics,
    };
    let mut serving = tokio::spawn(http::serve(Arc::new(api), listener, tls, shutdown.clone()));

    let mut connecting = connecting;
    let mut connected = false;
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            served = &mut serving => break served.context("the HTTP server's task")?.context("serving HTTP"),
            ended = &mut connecting, if !connected => match ended {
                Ok(Ok(())) => connected = true,
                Ok(Err(error)) => break Err(error).context("connecting to --node"),
                Err(error) => break Err(error).context("connecting to --node"),
            },
        }
    };
    tracing::info!("stopping");
    shutdown.cancel();
    if !serving.is_finished() {
        ended("the HTTP server", serving).await;
    }
    ended("the submission of receipts", submitting).await;
    hang_up.cancel();
    ended("the enclave's connection", serving_enclave).await;
    for task in [following, registering, carrying, keeping_house] {
        task.abort();
    }
    if let Address::Unix(path) = &options.socket {
        // Best effort: the next host replaces a socket that is left.
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("stopped");
    result
}

async fn ended<T>(what: &str, task: JoinHandle<T>) {
    match timeout(STOP_TIME, task).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(what, %error, "a task failed"),
        Err(_) => tracing::warn!(what, "did not end in time"),
    }
}

/// Lets the host open as many files as the system allows, and says how many.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "could not raise the limit of open files");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// Removes what nobody needs any more, and takes new certificates, for ever.
async fn keep_house(store: Arc<Store>, jobs: Arc<Jobs>, tls: Option<Arc<Tls>>, retention: Duration) {
    loop {
        let (store, jobs, tls) = (store.clone(), jobs.clone(), tls.clone());
        let cleaned = blocking::run(move || {
            jobs.forget_old(retention);
            let before = |age| SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
            let uploads = store.remove_interrupted_uploads(before(KEEP_INTERRUPTED));
            let blobs = store.remove_unused_blobs(before(retention));
            if let Err(error) = store.empty_quarantine(before(retention)) {
                tracing::warn!(%error, "could not empty the quarantine");
            }
            match tls.map_or(Ok(false), |tls| tls.reload()) {
                Ok(true) => tracing::info!("took a new TLS certificate"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the new TLS certificate cannot be used; serving with the old one")
                }
            }
            (blobs, uploads)
        });
        let (blobs, uploads) = cleaned.await;
        if blobs + uploads > 0 {
            tracing::info!(blobs, uploads, "removed blobs that nobody used, and interrupted uploads");
        }
        sleep(HOUSEKEEPING_PERIOD).await;
    }
}
