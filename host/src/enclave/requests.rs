//! What the enclave asks of its host.
//!
//! Reads run side by side. Everything that changes the disk, and every notice about a job, goes through one queue in
//! the order in which the enclave sent it, so that a job's end comes after its output. A notice that cannot be recorded
//! (the disk is full) leaves the queue and is tried again by itself: it comes only once on a connection, and a receipt is
//! money.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phala_primitives::{
    GatekeeperId, JobId,
    gatekeeper::{GatekeeperRequest, KeyReply, SignedBeaconPart},
};
use phala_protocol::{
    Attestation, EnclaveNotice, EnclaveRequest, HostMessage, HostReply, LogLevel, MAX_CHUNK_BYTES, Message, Refusal,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    blocking,
    jobs::Jobs,
    metrics::Metrics,
    network::Network,
    store::{self, Store},
};

/// Reads that touch the disk at the same time.
const CONCURRENT_READS: usize = 8;

/// Reads that may wait. An enclave waits for its answers, so it never has this many.
const WAITING_READS: usize = 1024;

/// Changes that may wait for the disk before the host stops reading from the enclave.
const WAITING_CHANGES: usize = 16;

/// Notices that may wait to be recorded. Of more, the enclave tells again on its next connection.
const WAITING_NOTICES: usize = 1024;

/// A notice is tried again after a pause that doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What requests of the enclave are served from.
#[derive(Clone)]
pub(super) struct Services {
    pub store: Arc<Store>,
    pub jobs: Arc<Jobs>,
    pub metrics: Arc<Metrics>,
    pub said: mpsc::Sender<Said>,
}

/// What the enclave wants brought to others.
#[derive(Debug)]
pub enum Said {
    /// A gatekeeper's, to the chain. It says it again until it has had its effect.
    Submission(phala_protocol::Submission),
    /// A gatekeeper's, to the other gatekeepers. It says it again, too.
    BeaconPart(SignedBeaconPart),
    /// A worker's, to one gatekeeper.
    Key(KeyQuestion),
    /// A worker's claim to the key to seal with, to the chain.
    SealingClaim(SealingClaim),
}

/// An enclave that cannot seal proves itself for the key to seal with.
#[derive(Debug)]
pub struct SealingClaim {
    /// What the chain verifies.
    pub attestation: Box<Attestation>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<(), Refusal>>,
}

/// A worker's enclave asks a gatekeeper for its part of a key.
#[derive(Debug)]
pub struct KeyQuestion {
    /// Whose host is asked.
    pub gatekeeper: GatekeeperId,
    /// What it is asked.
    pub request: Box<GatekeeperRequest>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<KeyReply, Refusal>>,
}

/// Hands the enclave's requests to whoever serves them.
pub(super) struct Dispatcher {
    services: Services,
    network: Arc<Network>,
    outgoing: mpsc::Sender<HostMessage>,
    changes: mpsc::Sender<Change>,
    reads: Arc<Semaphore>,
    waiting_reads: Arc<AtomicUsize>,
}

/// The queue of changes has failed: the connection is of no more use.
pub(super) struct Stopped;

/// What is done in order.
enum Change {
    Request(u64, EnclaveRequest),
    Notice(EnclaveNotice),
}

impl Dispatcher {
    pub fn new(services: Services, outgoing: mpsc::Sender<HostMessage>, closed: CancellationToken) -> Self {
        let (changes, queue) = mpsc::channel(WAITING_CHANGES);
        let network = Network::new(outgoing.clone(), services.metrics.clone(), closed.clone());
        let unrecorded = Arc::new(Unrecorded::default());
        tokio::spawn(record_later(unrecorded.clone(), services.clone(), closed));
        tokio::spawn(apply_changes(queue, services.clone(), outgoing.clone(), unrecorded));
        let reads = Arc::new(Semaphore::new(CONCURRENT_READS));
        Self { services, network, outgoing, changes, reads, waiting_reads: Arc::default() }
    }

    pub async fn request(&self, id: u64, request: EnclaveRequest) -> Result<(), Stopped> {
        match request {
            EnclaveRequest::Dial { connection, address } => self.network.dial(id, connection, address),
            EnclaveRequest::ReadBlob { .. } | EnclaveRequest::LoadSealed { .. } | EnclaveRequest::ReadCache { .. } => {
                self.read(id, request);
            }
            EnclaveRequest::WriteOutput { .. }
            | EnclaveRequest::StoreSealed { .. }
            | EnclaveRequest::WriteCache { .. } => self.change(Change::Request(id, request)).await?,
            EnclaveRequest::Key { gatekeeper, request } => {
                self.ask(id, |answer| (Said::Key(KeyQuestion { gatekeeper, request, answer }), HostReply::Key))
            }
            EnclaveRequest::ClaimSealingKey(attestation) => {
                self.ask(id, |answer| (Said::SealingClaim(SealingClaim { attestation, answer }), |()| HostReply::Done))
            }
        }
        Ok(())
    }

    pub async fn notice(&self, notice: EnclaveNotice) -> Result<(), Stopped> {
        match notice {
            EnclaveNotice::Send { connection, bytes } => self.network.send(connection, bytes),
            EnclaveNotice::Close { connection } => self.network.close(connection),
            EnclaveNotice::Log { level, message } => log(level, &message),
            // What finds no place is said again.
            EnclaveNotice::Submit(submission) => drop(self.services.said.try_send(Said::Submission(submission))),
            EnclaveNotice::BeaconPart(part) => drop(self.services.said.try_send(Said::BeaconPart(part))),
            EnclaveNotice::JobProgress { .. } | EnclaveNotice::JobEnded { .. } | EnclaveNotice::JobRefused { .. } => {
                self.change(Change::Notice(notice)).await?;
            }
        }
        Ok(())
    }

    async fn change(&self, change: Change) -> Result<(), Stopped> {
        // Unless it panicked, the queue's task ends only when this side is dropped.
        self.changes.send(change).await.map_err(|_| Stopped)
    }

    /// Has something brought to others that has an answer. Nobody waits for it but the enclave.
    fn ask<T, R>(&self, id: u64, said: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> (Said, R))
    where
        T: Send + 'static,
        R: FnOnce(T) -> HostReply + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (said, reply) = said(answer);
        // Where it finds no place it is dropped, and so is the answer.
        drop(self.services.said.try_send(said));
        let outgoing = self.outgoing.clone();
        tokio::spawn(async move {
            let answered =
                answered.await.unwrap_or_else(|_| Err(refusal("the host has too many questions waiting", true)));
            let _ = outgoing.send(Message::Reply { id, reply: answered.map(reply) }).await;
        });
    }

    fn read(&self, id: u64, request: EnclaveRequest) {
        let (services, outgoing, reads) = (self.services.clone(), self.outgoing.clone(), self.reads.clone());
        let waiting = self.waiting_reads.clone();
        let crowded = waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_READS;
        tokio::spawn(async move {
            if crowded {
                let reply = Err(refusal("the host has too many reads waiting", true));
                let _ = outgoing.send(Message::Reply { id, reply }).await;
            } else {
                // Held until the answer is queued: answers are what takes memory.
                let _permit = reads.acquire().await;
                let reply = blocking::run(move || read(&services.store, request)).await;
                let _ = outgoing.send(Message::Reply { id, reply }).await;
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Ends, with everything queued done, when the connection does.
async fn apply_changes(
    mut queue: mpsc::Receiver<Change>,
    services: Services,
    outgoing: mpsc::Sender<HostMessage>,
    unrecorded: Arc<Unrecorded>,
) {
    while let Some(change) = queue.recv().await {
        let services = services.clone();
        match change {
            Change::Request(id, request) => {
                let reply = blocking::run(move || write(&services.store, request)).await;
                // Once the connection is gone, what is queued is still done.
                let _ = outgoing.send(Message::Reply { id, reply }).await;
            }
            Change::Notice(notice) => {
                let again = notice.clone();
                if let Err(error) = blocking::run(move || apply_notice(&services, notice)).await {
                    tracing::error!(%error, "could not record what the enclave said about a job; trying again");
                    unrecorded.add(again);
                }
            }
        }
    }
}

/// Notices about jobs that could not be recorded yet.
#[derive(Default)]
struct Unrecorded {
    notices: Mutex<BTreeMap<(JobId, u32), EnclaveNotice>>,
    added: Notify,
}

impl Unrecorded {
    fn notices(&self) -> MutexGuard<'_, BTreeMap<(JobId, u32), EnclaveNotice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, notice: EnclaveNotice) {
        let key = match &notice {
            EnclaveNotice::JobEnded { job, receipt } => (*job, receipt.receipt.attempt),
            EnclaveNotice::JobRefused { job, attempt, .. } => (*job, *attempt),
            _ => return,
        };
        let mut notices = self.notices();
        if notices.len() < WAITING_NOTICES || notices.contains_key(&key) {
            notices.insert(key, notice);
            self.added.notify_one();
        } else {
            tracing::error!(
                job = key.0,
                "too many notices wait for the disk; the enclave's next connection brings this again"
            );
        }
    }
}

/// Records what could not be recorded at first, until the connection ends: on its next one the enclave says again how jobs
/// ended.
async fn record_later(unrecorded: Arc<Unrecorded>, services: Services, closed: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let idle = unrecorded.notices().is_empty();
        tokio::select! {
            biased;
            () = unrecorded.added.notified(), if idle => pause = FIRST_PAUSE,
            () = sleep(pause), if !idle => pause = (2 * pause).min(LONGEST_PAUSE),
            () = closed.cancelled() => return,
        }
        if idle {
            continue;
        }
        let waiting: Vec<_> = unrecorded.notices().iter().map(|(key, notice)| (*key, notice.clone())).collect();
        for (key, notice) in waiting {
            let services = services.clone();
            match blocking::run(move || apply_notice(&services, notice)).await {
                Ok(()) => drop(unrecorded.notices().remove(&key)),
                Err(error) => tracing::error!(job = key.0, %error, ?pause, "still cannot record how a job ended"),
            }
        }
    }
}

fn read(store: &Store, request: EnclaveRequest) -> Result<HostReply, Refusal> {
    let check = |length: u32| {
        let allowed = length <= MAX_CHUNK_BYTES;
        if allowed { Ok(()) } else { Err(refusal(format!("at most {MAX_CHUNK_BYTES} bytes at a time"), false)) }
    };
    match request {
        EnclaveRequest::ReadBlob { blob, offset, length } => {
            check(length)?;
            let missing = || refusal(format!("the host has no blob {}", hex::encode(blob)), true);
            store.read_blob(&blob, offset, length)?.map(HostReply::Bytes).ok_or_else(missing)
        }
        EnclaveRequest::ReadCache { name, offset, length } => {
            check(length)?;
            Ok(HostReply::Bytes(store.read_cache(&name, offset, length)?))
        }
        EnclaveRequest::LoadSealed { name } => Ok(HostReply::Sealed(store.load_sealed(&name)?)),
        _ => Err(refusal("not a read", false)),
    }
}

fn write(store: &Store, request: EnclaveRequest) -> Result<HostReply, Refusal> {
    match request {
        EnclaveRequest::WriteOutput { job, offset, bytes } => store.write_output(job, offset, &bytes)?,
        EnclaveRequest::StoreSealed { name, bytes } => store.store_sealed(&name, &bytes)?,
        EnclaveRequest::WriteCache { name, offset, bytes, last } => store.write_cache(&name, offset, &bytes, last)?,
        _ => return Err(refusal("not a change", false)),
    }
    Ok(HostReply::Done)
}

fn apply_notice(services: &Services, notice: EnclaveNotice) -> Result<(), store::Error> {
    match notice {
        EnclaveNotice::JobProgress { job, attempt, state } => {
            tracing::debug!(job, attempt, ?state, "job progress");
            services.jobs.progress(job, attempt, state);
        }
        EnclaveNotice::JobEnded { job, receipt } if job != receipt.receipt.job => {
            tracing::error!(job, "the enclave sent the receipt of another job");
        }
        EnclaveNotice::JobEnded { job, receipt } => {
            let (attempt, outcome, fuel) = (receipt.receipt.attempt, receipt.receipt.outcome, receipt.receipt.fuel);
            tracing::info!(job, attempt, ?outcome, fuel, "job ended");
            services.jobs.ended(job, &receipt)?;
        }
        EnclaveNotice::JobRefused { job, attempt, refusal } => {
            tracing::info!(job, attempt, %refusal, "the enclave refused a job");
            services.jobs.refused(job, attempt, refusal)?;
        }
        _ => {}
    }
    Ok(())
}

fn refusal(reason: impl Display, retry: bool) -> Refusal {
    Refusal { reason: reason.to_string(), retry }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let retry = matches!(error, store::Error::QuotaExceeded | store::Error::Io(_));
        Self { reason: error.to_string(), retry }
    }
}

/// One line of the enclave's log. Control characters in it cannot forge other lines.
fn log(level: LogLevel, message: &str) {
    let message: String = message.chars().take(4096).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match level {
        LogLevel::Error => tracing::error!(target: "enclave", "{message}"),
        LogLevel::Warn => tracing::warn!(target: "enclave", "{message}"),
        LogLevel::Info => tracing::info!(target: "enclave", "{message}"),
        LogLevel::Debug => tracing::debug!(target: "enclave", "{message}"),
    }
}
