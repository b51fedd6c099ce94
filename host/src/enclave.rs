//! The enclave, as the host sees it: a process that connects to the host ([`Address`]), is told once which chain to
//! follow, and then works.
//!
//! [`Enclave`] serves one connection at a time, over any stream of bytes: a new one replaces the old. On each it sends
//! [`Start`], waits until the enclave has its keys, gives it the jobs that are pending, and watches its status. Whoever
//! wants something of the enclave uses [`Enclave::request`], which fails at once while there is none.

mod link;
mod listener;
mod requests;

pub use link::{Link, RequestError};
pub use listener::{Address, Listener, listen};
pub use requests::{KeyQuestion, Said, SealingClaim};

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream};
use phala_primitives::{Hash, JobId, WorkerId};
use phala_protocol::{EnclaveReply, EnclaveStatus, HostRequest, Start};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    blocking,
    chain::Endorsements,
    jobs::{Jobs, Pending},
    metrics::Metrics,
    store::Store,
};

/// Connections on the socket at once: the enclave's, the one that replaces it, and those of strangers who say nothing.
const CONNECTIONS: usize = 16;

/// How long an enclave may take to start: it loads its keys and starts its light client.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take for everything else.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the enclave may take for a start of a job: it waits for the chain, and for gatekeepers.
const START_JOB_TIMEOUT: Duration = Duration::from_secs(90);

/// What a gatekeeper's enclave wants brought to others, and is not yet.
const WAITING_SAID: usize = 1024;

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const STATUS_PERIOD: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause before an enclave that refuses its start for good is asked again: somebody may have mended what it complains of.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// How long a pending job is offered to an enclave that refuses it for the moment.
const RESUME_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Pending jobs that are offered at once: each may have to wait for the chain.
const CONCURRENT_RESUMES: usize = 32;

/// What an enclave said of itself when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The worker's id.
    pub signing_key: [u8; 32],
    /// Users encrypt to it.
    pub encryption_key: [u8; 32],
    /// Its image.
    pub measurement: [u8; 32],
}

/// A connected and started enclave.
#[derive(Clone)]
pub struct Session {
    /// How to ask it.
    pub link: Link,
    /// Who it is.
    pub identity: Identity,
    /// What it was started with.
    pub start: Arc<Start>,
    /// What its evidence may lack.
    pub endorsements: Arc<Endorsements>,
}

/// Where an enclave's [`Start`] comes from.
pub trait StartSource: Send + Sync + 'static {
    /// What to try, in this order. Waits until there is something to try.
    fn candidates(&self) -> BoxFuture<'_, Vec<Start>>;

    /// The enclave took `start`.
    fn taken(&self, start: &Start) -> BoxFuture<'_, ()>;
}

/// The host's end of everything that concerns the enclave.
pub struct Enclave {
    endorsements: Arc<Endorsements>,
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
    session: watch::Sender<Option<Session>>,
    status: watch::Sender<EnclaveStatus>,
    /// Which worker was here last.
    worker: watch::Sender<Option<WorkerId>>,
    /// Hangs up on the newest connection.
    newest: Mutex<CancellationToken>,
    /// Held by the connection that is served.
    turn: tokio::sync::Mutex<()>,
    /// What it wants brought to others.
    said: mpsc::Sender<Said>,
    /// Where that comes out, until somebody takes it.
    heard: Mutex<Option<mpsc::Receiver<Said>>>,
}

impl Enclave {
    /// Nothing connected yet. What evidence lacks is not asked for.
    pub fn new(store: Arc<Store>, jobs: Arc<Jobs>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_endorsements(Endorsements::default(), store, jobs, metrics)
    }

    /// The same with certificates for evidence that lacks them.
    pub fn with_endorsements(
        endorsements: Endorsements,
        store: Arc<Store>,
        jobs: Arc<Jobs>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let nothing = CancellationToken::new();
        nothing.cancel();
        let (said, heard) = mpsc::channel(WAITING_SAID);
        Arc::new(Self {
            endorsements: Arc::new(endorsements),
            store,
            jobs,
            metrics,
            session: watch::Sender::new(None),
            status: watch::Sender::default(),
            worker: watch::Sender::new(None),
            newest: Mutex::new(nothing),
            turn: tokio::sync::Mutex::new(()),
            said,
            heard: Mutex::new(Some(heard)),
        })
    }

    /// What the enclave wants brought to others, on all its connections. `None` the second time.
    pub fn heard(&self) -> Option<mpsc::Receiver<Said>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The enclave, while one is connected and started.
    pub fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    /// The worker whose enclave is connected, or was last; `None` before the first.
    pub fn worker(&self) -> Option<WorkerId> {
        *self.worker.borrow()
    }

    /// The last status that it gave.
    pub fn status(&self) -> EnclaveStatus {
        self.status.borrow().clone()
    }

    /// Asks the enclave.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, request: HostRequest) -> Result<EnclaveReply, RequestError> {
        let link = self.session().ok_or(RequestError::Disconnected)?.link;
        link.request(request, REQUEST_TIMEOUT).await
    }

    /// Starts an attempt at a job, once the enclave has seen on chain that it is this worker's. What it accepts is on record
    /// in memory when this returns, and has to be [kept](Jobs::keep).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn start_job(&self, job: JobId, attempt: u32, input: Hash) -> Result<(), RequestError> {
        let link = self.session().ok_or(RequestError::Disconnected)?.link;
        self.start_job_on(&link, Pending { job, attempt, input }).await
    }

    async fn start_job_on(&self, link: &Link, pending: Pending) -> Result<(), RequestError> {
        let Pending { job, attempt, input } = pending;
        let start = self.jobs.begin(job, attempt);
        match link.request(HostRequest::StartJob { job, attempt, input }, START_JOB_TIMEOUT).await? {
            EnclaveReply::JobAccepted { blobs } => {
                start.accepted(input, &blobs);
                Ok(())
            }
            _ => Err(RequestError::WrongReply),
        }
    }

    /// Accepts connections until `shutdown`, then hangs up. The enclave goes on working and connects again later.
    pub async fn serve(self: Arc<Self>, listener: Listener, starts: Arc<dyn StartSource>, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok(stream) => {
                        let closed = shutdown.child_token();
                        connections.spawn(self.clone().serve_stream(stream, starts.clone(), closed));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection on the enclave's socket");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(ended) = connections.join_next() => log_failure(ended),
                () = shutdown.cancelled() => break,
            }
        }
        while let Some(ended) = connections.join_next().await {
            log_failure(ended);
        }
    }

    /// Serves one connection to an enclave, greetings included, until it ends or `closed`. It replaces the connection that is
    /// served at the moment.
    pub async fn serve_stream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self: Arc<Self>,
        stream: S,
        starts: Arc<dyn StartSource>,
        closed: CancellationToken,
    ) {
        let greeted = tokio::select! {
            biased;
            greeted = timeout(HELLO_TIMEOUT, link::shake_hands(stream)) => greeted,
            () = closed.cancelled() => return,
        };
        let (stream, hello) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => {
                tracing::warn!(%error, "turned a connection of a stranger away");
                return;
            }
            Err(_) => {
                tracing::warn!("a connection for the enclave said nothing");
                return;
            }
        };
        let replaced = {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            mem::replace(&mut *newest, closed.clone())
        };
        if !replaced.is_cancelled() {
            tracing::info!("a new enclave connection replaces the old one");
            replaced.cancel();
        }
        let _turn = self.turn.lock().await;
        if closed.is_cancelled() {
            return;
        }
        tracing::info!(version = hello.version, "an enclave connected");
        self.metrics.enclave_connections.inc();
        self.serve_connection(stream, &*starts, closed).await;
    }

    async fn serve_connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        starts: &dyn StartSource,
        closed: CancellationToken,
    ) {
        let services = requests::Services {
            store: self.store.clone(),
            jobs: self.jobs.clone(),
            metrics: self.metrics.clone(),
            said: self.said.clone(),
        };
        let (link, served) = link::run(stream, services, closed.clone());
        let conversation = async {
            let session = self.start(&link, starts).await;
            tracing::info!(
                worker = hex::encode(session.identity.signing_key),
                measurement = hex::encode(session.identity.measurement),
                "the enclave is started"
            );
            self.metrics.enclave_up.set(1);
            self.worker.send_replace(Some(WorkerId(session.identity.signing_key)));
            self.session.send_replace(Some(session));
            tokio::join!(self.resume_jobs(&link), self.watch_status(&link))
        };
        tokio::select! {
            biased;
            error = served => if !closed.is_cancelled() {
                tracing::warn!(%error, "the enclave's connection ended; it will connect again");
            },
            _ = conversation => {}
        }
        // Cancels what is still open: requests fail, network connections close.
        closed.cancel();
        self.metrics.enclave_up.set(0);
        self.metrics.enclave_paused.set(0);
        self.session.send_replace(None);
        self.status.send_replace(EnclaveStatus::default());
    }

    /// Tries starts until the enclave takes one.
    async fn start(&self, link: &Link, starts: &dyn StartSource) -> Session {
        let mut pause = RETRY_PAUSE;
        loop {
            let mut may_come = false;
            for start in starts.candidates().await {
                match link.request(HostRequest::Start(start.clone()), START_TIMEOUT).await {
                    Ok(EnclaveReply::Started { signing_key, encryption_key, measurement }) => {
                        starts.taken(&start).await;
                        let identity = Identity { signing_key, encryption_key, measurement };
                        let endorsements = self.endorsements.clone();
                        return Session { link: link.clone(), identity, start: Arc::new(start), endorsements };
                    }
                    Ok(_) => tracing::error!("the enclave answered its start with something else"),
                    Err(error) => {
                        may_come |= !matches!(&error, RequestError::Refused(refusal) if !refusal.retry);
                        tracing::error!(%error, "the enclave did not start; trying again");
                    }
                }
            }
            pause = if may_come { RETRY_PAUSE } else { pause.saturating_mul(2).min(LONGEST_RETRY_PAUSE) };
            sleep(pause).await;
        }
    }

    /// Gives the enclave every job that was accepted and has not ended. One that it has already is not run twice.
    async fn resume_jobs(&self, link: &Link) {
        let since = Instant::now();
        let mut pending = self.jobs.pending();
        while !pending.is_empty() {
            let starts = pending.into_iter().map(|pending| self.resume_job(link, since, pending));
            let left = stream::iter(starts).buffered(CONCURRENT_RESUMES);
            pending = left.filter_map(|left| async move { left }).collect().await;
            if !pending.is_empty() {
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Gives the enclave one job. Returns it when the enclave may take it later.
    async fn resume_job(&self, link: &Link, since: Instant, pending: Pending) -> Option<Pending> {
        let Pending { job, attempt, .. } = pending;
        if !self.jobs.is_pending(&pending) {
            return None;
        }
        match self.start_job_on(link, pending).await {
            Ok(()) => {
                tracing::info!(job, attempt, "gave the enclave a pending job again");
                None
            }
            Err(RequestError::Refused(refusal)) if !refusal.retry || since.elapsed() > RESUME_PATIENCE => {
                tracing::warn!(job, attempt, %refusal, "the enclave does not take a pending job");
                let jobs = self.jobs.clone();
                if let Err(error) = blocking::run(move || jobs.refused(job, attempt, refusal)).await {
                    tracing::error!(job, %error, "could not record a refusal; it is recorded with the next change");
                }
                None
            }
            Err(error) => {
                tracing::debug!(job, attempt, %error, "the enclave does not take a pending job yet");
                Some(pending)
            }
        }
    }

    async fn watch_status(&self, link: &Link) {
        loop {
            match link.request(HostRequest::Status, REQUEST_TIMEOUT).await {
                Ok(EnclaveReply::Status(status)) => {
                    let metrics = &self.metrics;
                    metrics.enclave_finalized_block.set(status.finalized_block.map_or(-1, i64::from));
                    metrics.enclave_peers.set(status.peers.into());
                    metrics.enclave_paused.set(status.pause.is_some().into());
                    if let Some(pause) = status.pause.filter(|_| self.status().pause.is_none()) {
                        tracing::error!("the enclave takes no new work: {pause}");
                    }
                    metrics.enclave_running_jobs.set(status.running_jobs.into());
                    metrics.enclave_queued_jobs.set(status.queued_jobs.into());
                    let (hits, misses) = (status.compile_cache_hits, status.compile_cache_misses);
                    for (from, count) in [("cache", hits), ("compiler", misses)] {
                        let count = i64::try_from(count).unwrap_or(i64::MAX);
                        metrics.enclave_compilations.with_label_values(&[from]).set(count);
                    }
                    self.status.send_replace(status);
                }
                Ok(_) => tracing::warn!("the enclave answered a request for its status with something else"),
                Err(error) => tracing::warn!(%error, "the enclave gives no status"),
            }
            sleep(STATUS_PERIOD).await;
        }
    }
}

fn log_failure(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of an enclave connection failed");
    }
}
