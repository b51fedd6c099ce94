//! The enclave, as the host sees it: a process that connects to the host's Unix socket, is told once which chain to
//! follow, and then works.
//!
//! [`Enclave`] accepts connections, one at a time: a new one replaces the old. On each it sends
//! [`Start`], waits until the enclave has its keys, gives it the jobs that are pending, and watches its status. Whoever
//! wants something of the enclave uses [`Enclave::request`], which fails at once while there is none.

mod link;
mod requests;

pub use link::{Link, RequestError};

use std::{
    future::Future,
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture, stream};
use phala_primitives::{Hash, JobId};
use phala_protocol::{EnclaveReply, EnclaveStatus, HostRequest, Start};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{jobs::Jobs, metrics::Metrics, store::Store};

/// How long an enclave may take to start: it loads its keys and starts its light client.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take for everything else.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const STATUS_PERIOD: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(2);

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
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
    session: watch::Sender<Option<Session>>,
    status: watch::Sender<EnclaveStatus>,
}

impl Enclave {
    /// Nothing connected yet.
    pub fn new(store: Arc<Store>, jobs: Arc<Jobs>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { store, jobs, metrics, session: watch::Sender::new(None), status: watch::Sender::default() })
    }

    /// The enclave, while one is connected and started.
    pub fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
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

    /// Starts a job, once the enclave has seen on chain that it is this worker's.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn start_job(&self, job: JobId, input: Hash) -> Result<(), RequestError> {
        let link = self.session().ok_or(RequestError::Disconnected)?.link;
        self.start_job_on(&link, job, input).await
    }

    async fn start_job_on(&self, link: &Link, job: JobId, input: Hash) -> Result<(), RequestError> {
        match link.request(HostRequest::StartJob { job, input }, REQUEST_TIMEOUT).await? {
            EnclaveReply::JobAccepted { blobs } => {
                self.jobs.pin(job, blobs);
                Ok(())
            }
            _ => Err(RequestError::WrongReply),
        }
    }

    /// Accepts connections until `shutdown`, then hangs up. The enclave goes on working and connects again later.
    pub async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        starts: Arc<dyn StartSource>,
        shutdown: CancellationToken,
    ) {
        let mut current: Option<(CancellationToken, tokio::task::JoinHandle<()>)> = None;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection on the enclave's socket");
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => break,
            };
            let (stream, hello) = match timeout(HELLO_TIMEOUT, link::shake_hands(stream)).await {
                Ok(Ok(greeted)) => greeted,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "turned a connection on the enclave's socket away");
                    continue;
                }
                Err(_) => {
                    tracing::warn!("a connection on the enclave's socket said nothing");
                    continue;
                }
            };
            if let Some((closed, task)) = current.take() {
                if !task.is_finished() {
                    tracing::info!("a new enclave connection replaces the old one");
                }
                closed.cancel();
                wait(task).await;
            }
            tracing::info!(version = hello.version, "an enclave connected");
            self.metrics.enclave_connections.inc();
            let closed = shutdown.child_token();
            let task = tokio::spawn(self.clone().serve_connection(stream, starts.clone(), closed.clone()));
            current = Some((closed, task));
        }
        if let Some((closed, task)) = current {
            closed.cancel();
            wait(task).await;
        }
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: UnixStream,
        starts: Arc<dyn StartSource>,
        closed: CancellationToken,
    ) {
        let services =
            requests::Services { store: self.store.clone(), jobs: self.jobs.clone(), metrics: self.metrics.clone() };
        let (link, served) = link::run(stream, services, closed.clone());
        let conversation = async {
            let session = self.start(&link, &*starts).await;
            tracing::info!(
                worker = hex::encode(session.identity.signing_key),
                measurement = hex::encode(session.identity.measurement),
                "the enclave is started"
            );
            self.metrics.enclave_up.set(1);
            self.session.send_replace(Some(session));
            tokio::join!(self.resume_jobs(&link), self.watch_status(&link))
        };
        tokio::select! {
            error = served => if !closed.is_cancelled() {
                tracing::warn!(%error, "the enclave's connection ended; it will connect again");
            },
            _ = conversation => {}
        }
        // Cancels what is still open: requests fail, network connections close.
        closed.cancel();
        self.metrics.enclave_up.set(0);
        self.session.send_replace(None);
        self.status.send_replace(EnclaveStatus::default());
    }

    /// Tries starts until the enclave takes one.
    async fn start(&self, link: &Link, starts: &dyn StartSource) -> Session {
        loop {
            for start in starts.candidates().await {
                match link.request(HostRequest::Start(start.clone()), START_TIMEOUT).await {
                    Ok(EnclaveReply::Started { signing_key, encryption_key, measurement }) => {
                        starts.taken(&start).await;
                        let identity = Identity { signing_key, encryption_key, measurement };
                        return Session { link: link.clone(), identity, start: Arc::new(start) };
                    }
                    Ok(_) => tracing::error!("the enclave answered its start with something else"),
                    Err(error) => tracing::error!(%error, "the enclave did not start; trying again"),
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Gives the enclave every job that was accepted and has not ended. One that it has already is not run twice.
    async fn resume_jobs(&self, link: &Link) {
        let since = Instant::now();
        let mut pending = self.jobs.pending();
        while !pending.is_empty() {
            let starts = pending.into_iter().map(|(job, input)| self.resume_job(link, since, job, input));
            let left = stream::iter(starts).buffered(CONCURRENT_RESUMES);
            pending = left.filter_map(|left| async move { left }).collect().await;
            if !pending.is_empty() {
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Gives the enclave one job. Returns it when the enclave may take it later.
    async fn resume_job(&self, link: &Link, since: Instant, job: JobId, input: Hash) -> Option<(JobId, Hash)> {
        if !self.jobs.report(job).state.is_pending() {
            return None;
        }
        match self.start_job_on(link, job, input).await {
            Ok(()) => {
                tracing::info!(job, "gave the enclave a pending job again");
                None
            }
            Err(RequestError::Refused(refusal)) if !refusal.retry || since.elapsed() > RESUME_PATIENCE => {
                tracing::warn!(job, %refusal, "the enclave does not take a pending job");
                if let Err(error) = self.jobs.refused(job, refusal) {
                    tracing::error!(job, %error, "could not record a refusal");
                }
                None
            }
            Err(error) => {
                tracing::debug!(job, %error, "the enclave does not take a pending job yet");
                Some((job, input))
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

async fn wait(task: impl Future<Output = Result<(), tokio::task::JoinError>>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "the task of an enclave connection failed");
    }
}

/// Listens on a Unix socket that only the host's user may connect to. A socket that a dead host left is replaced.
///
/// # Errors
/// When another host listens there, or the file system refuses.
pub async fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            let message = format!("another host listens on {}; stop it, or give another --socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
