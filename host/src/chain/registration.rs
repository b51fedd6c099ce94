//! Keeps the worker registered: on chain at all, its verdict fresh, its price and endpoint as configured, its
//! heartbeats coming.
//!
//! Each new block is a chance to do the next step; nothing is remembered that the chain knows better. Evidence is kept
//! on disk *before* it is submitted, and what users get is always the evidence whose hash is on chain.

use std::{sync::Arc, time::Duration};

use phala_attestation::{Measurement, Role};
use phala_collateral::EndorsementError;
use phala_primitives::{
    Balance, WorkerId,
    attestation::Outlook,
    worker::{SignedHeartbeat, WorkerStatus},
};
use phala_protocol::{EnclaveReply, HostRequest};
use phala_sdk::{Account, chain::Gatekeeper};
use tokio::sync::watch;

use super::{Backoff, Heads, Node, NodeError, Submission, SubmitError, Throttle, Worker, submit};
use crate::{
    blocking,
    enclave::{Enclave, RequestError, Session},
    metrics::Metrics,
    store::Store,
};

/// Blocks between two heartbeats: a sixth of the time after which the chain takes a worker for unresponsive.
const HEARTBEAT_BLOCKS: u32 = 5;

/// By how many blocks a heartbeat that costs nothing is newer than the last.
const FREE_HEARTBEAT_BLOCKS: u32 = 3;

/// The longest pause between two heartbeats that the chain refused, in blocks: less than what makes a worker unresponsive.
const MAX_HEARTBEAT_PAUSE: u32 = 8;

/// How long the enclave may measure itself for a registration.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two attempts that the chain refused, in blocks: each may cost a fee.
const MAX_PAUSE: u32 = 60;

/// The pause after a refusal of what the worker runs on, in blocks: an hour. It changes rarely, and each attempt costs a fee.
const UNFIT_PAUSE: u32 = 1800;

/// How long after a verification that found a bad outlook another is tried, in seconds: a day.
const OUTLOOK_PERIOD: u64 = 24 * 60 * 60;

/// What the host brings to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submits {
    /// Nothing: it holds no key.
    Nothing,
    /// What anybody may bring: the key is not the operator's.
    HeartbeatsAndReceipts,
    /// Registrations, too: the key is the operator's.
    Everything,
}

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Who owns the worker.
    pub operator: Account,
    /// Where users reach the host, without a trailing slash.
    pub endpoint: String,
    /// For 10⁹ fuel.
    pub price: Balance,
    /// What the host submits by itself.
    pub submits: Submits,
}

/// See the module.
pub struct Registration {
    node: Arc<dyn Node>,
    enclave: Arc<Enclave>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    config: OperatorConfig,
    worker: watch::Sender<Option<Worker>>,
    /// Whether the worker's outlook was tried anew since the host started.
    looked_at: bool,
    /// Whether price and endpoint were compared since the host started. Later changes are the operator's.
    compared: bool,
    pause_until: u32,
    backoff: Backoff,
    image_log: Throttle,
    broken_log: Throttle,
    outlook_log: Throttle,
    operator_log: Throttle,
    external_log: Throttle,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The node gave no answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The enclave gave no answer.
    #[error(transparent)]
    Enclave(#[from] RequestError),
    /// A transaction did not do what it should.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The machine gave no certificate of AMD's, and nor did AMD.
    #[error("no certificate of the key that signs this chip's reports: {0}")]
    Endorsement(#[from] EndorsementError),
}

impl Registration {
    /// Nothing is done before [`Self::run`].
    pub fn new(
        node: Arc<dyn Node>,
        enclave: Arc<Enclave>,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        config: OperatorConfig,
    ) -> Self {
        Self {
            node,
            enclave,
            store,
            metrics,
            config,
            worker: watch::Sender::new(None),
            looked_at: false,
            compared: false,
            pause_until: 0,
            backoff: Backoff::default(),
            image_log: Throttle::default(),
            broken_log: Throttle::default(),
            outlook_log: Throttle::default(),
            operator_log: Throttle::default(),
            external_log: Throttle::default(),
        }
    }

    /// The worker on chain, as last seen.
    pub fn worker(&self) -> watch::Receiver<Option<Worker>> {
        self.worker.subscribe()
    }

    /// Works for ever, on every new block.
    pub async fn run(mut self, mut heads: watch::Receiver<Option<Heads>>) {
        let heartbeats = Heartbeats {
            node: self.node.clone(),
            enclave: self.enclave.clone(),
            metrics: self.metrics.clone(),
            operator: self.config.operator,
            worker: self.worker.subscribe(),
            named: 0,
            rest_until: 0,
            pause_until: 0,
            backoff: Backoff::default(),
        };
        let submits = self.config.submits != Submits::Nothing;
        let beating_heads = heads.clone();
        let registering = async move {
            while heads.changed().await.is_ok() {
                let now = *heads.borrow_and_update();
                if let Some(heads) = now {
                    self.step_and_log(heads).await;
                }
            }
        };
        let beating = async move {
            if submits {
                heartbeats.run(beating_heads).await;
            }
        };
        tokio::join!(registering, beating);
    }

    async fn step_and_log(&mut self, heads: Heads) {
        let paused = heads.best < self.pause_until;
        match self.step(heads).await {
            Ok(()) if paused => {}
            Ok(()) => self.backoff.succeeded(),
            Err(StepError::Submit(SubmitError::Permanent(error))) => {
                self.pause_until = u32::MAX;
                tracing::error!(
                    %error,
                    "the chain refuses the worker, and will again: nothing more is submitted for its registration until the \
                     host is started anew; correct its options, the enclave or the operator first"
                );
            }
            Err(StepError::Submit(SubmitError::Unfit(error))) => {
                self.pause_until = heads.best.saturating_add(UNFIT_PAUSE);
                tracing::error!(%error, blocks = UNFIT_PAUSE, "the chain refuses what the worker runs on; trying again");
            }
            Err(StepError::Submit(error)) => {
                let blocks = self.backoff.failed(MAX_PAUSE);
                self.pause_until = heads.best.saturating_add(blocks);
                tracing::warn!(%error, blocks, "the worker could not be registered or updated; trying again");
            }
            Err(error @ StepError::Endorsement(_)) => {
                let blocks = self.backoff.failed(MAX_PAUSE);
                self.pause_until = heads.best.saturating_add(blocks);
                tracing::warn!(%error, blocks, "the worker cannot be registered or renewed yet; trying again");
            }
            Err(StepError::Enclave(error)) if error.is_temporary() => {
                tracing::debug!(%error, "the enclave gives no registration yet");
            }
            Err(error) => tracing::warn!(%error, "the worker could not be registered or updated; trying again"),
        }
    }

    /// The next step towards what the operator wants.
    ///
    /// # Errors
    /// See [`StepError`].
    pub async fn step(&mut self, heads: Heads) -> Result<(), StepError> {
        let Some(session) = self.enclave.session() else { return Ok(()) };
        let id = WorkerId(session.identity.signing_key);
        let worker = self.node.worker(id).await?;
        self.worker.send_replace(worker.clone());
        let evidence_known = match &worker {
            Some(worker) => promote(&self.store, worker.evidence_hash).await?,
            None => false,
        };
        if let Some(worker) = &worker {
            self.warn(worker);
        }
        if self.config.submits != Submits::Everything {
            if worker.is_none() && self.external_log.ready() {
                tracing::info!(worker = %id, "the worker is not registered; register it with `phala worker register`");
            }
            return Ok(());
        }
        if heads.best < self.pause_until {
            return Ok(());
        }
        match worker {
            None => self.register(&session).await,
            Some(worker) if worker.operator != self.config.operator => {
                if self.operator_log.ready() {
                    tracing::error!(worker = %id, operator = %worker.operator, "the worker belongs to another operator");
                }
                Ok(())
            }
            Some(worker) => {
                let is_cordoned = worker.status == WorkerStatus::Cordoned;
                let recovery = self.node.last_recovery(worker.family).await?;
                // The platform may have been updated while the host was stopped.
                let may_be_updated = !self.looked_at && worker.outlook.is_some();
                if (!evidence_known || is_cordoned || may_be_updated || is_renewal_due(heads.now, &worker, recovery))
                    && !self.is_broken(&worker).await?
                {
                    self.renew(&session).await?;
                }
                self.looked_at = true;
                if !self.compared {
                    self.compare(id, &worker).await?;
                    self.compared = true;
                }
                Ok(())
            }
        }
    }

    async fn register(&mut self, session: &Session) -> Result<(), StepError> {
        if !is_image_allowed(&*self.node, session, Role::Worker, &mut self.image_log).await? {
            return Ok(());
        }
        let registration = self.fresh_registration(session).await?;
        let (endpoint, price) = (self.config.endpoint.clone(), self.config.price);
        tracing::info!("registering the worker");
        let block = self.submit(Submission::Register { registration, endpoint, price }).await?;
        self.compared = true;
        tracing::info!(block, "the worker is registered");
        Ok(())
    }

    async fn renew(&mut self, session: &Session) -> Result<(), StepError> {
        if !is_image_allowed(&*self.node, session, Role::Worker, &mut self.image_log).await? {
            return Ok(());
        }
        let registration = self.fresh_registration(session).await?;
        let block = self.submit(Submission::Renew(registration)).await?;
        tracing::info!(block, "the worker's verdict is renewed");
        Ok(())
    }

    /// Whether new evidence is of no use: the chain declares what the worker is, or where it runs, broken.
    async fn is_broken(&mut self, worker: &Worker) -> Result<bool, StepError> {
        let compromised = self.node.compromised(worker.classes()).await?;
        if let Some(class) = compromised.first()
            && self.broken_log.ready()
        {
            tracing::error!(%class, "the chain declares this class broken: the worker gets no jobs until that is taken back");
        }
        Ok(!compromised.is_empty())
    }

    fn warn(&mut self, worker: &Worker) {
        if let Some(Outlook { from, tier }) = worker.outlook
            && self.outlook_log.ready()
        {
            let then = match tier {
                Some(_) => "puts it into the limited tier",
                None => "refuses its evidence",
            };
            tracing::warn!(from, "a TCB recovery {then} from then on (Unix time): update this platform before");
        }
    }

    async fn fresh_registration(&self, session: &Session) -> Result<Box<phala_protocol::Registration>, StepError> {
        match fresh_evidence(session, &self.store).await? {
            EnclaveReply::Registration(registration) => Ok(registration),
            _ => Err(RequestError::WrongReply.into()),
        }
    }

    async fn compare(&self, id: WorkerId, worker: &Worker) -> Result<(), StepError> {
        if worker.price != self.config.price {
            self.submit(Submission::SetPrice(id, self.config.price)).await?;
            tracing::info!(price = self.config.price, "the worker's price is changed");
        }
        if worker.endpoint != self.config.endpoint.as_bytes() {
            self.submit(Submission::SetEndpoint(id, self.config.endpoint.clone())).await?;
            tracing::info!(endpoint = self.config.endpoint, "the worker's endpoint is changed");
        }
        Ok(())
    }

    async fn submit(&self, submission: Submission) -> Result<u32, StepError> {
        Ok(submit(&*self.node, &self.metrics, submission).await?)
    }
}

/// Fresh evidence from the enclave, kept on disk in case it gets registered: a worker's as [`EnclaveReply::Registration`], a
/// gatekeeper's as [`EnclaveReply::Attestation`].
///
/// # Errors
/// The enclave's, the disk's, or AMD's, whose certificate it may lack.
pub async fn fresh_evidence(session: &Session, store: &Arc<Store>) -> Result<EnclaveReply, StepError> {
    let mut reply = session.link.request(HostRequest::Register, REGISTER_TIMEOUT).await?;
    let (statement, evidence) = match &mut reply {
        EnclaveReply::Registration(worker) => (&worker.statement, &mut worker.evidence),
        EnclaveReply::Attestation(gatekeeper) => (&gatekeeper.statement, &mut gatekeeper.evidence),
        _ => return Err(RequestError::WrongReply.into()),
    };
    session.endorsements.complete(evidence).await?;
    let bundle = (statement.clone(), evidence.clone());
    let store = store.clone();
    blocking::run(move || store.store_bundle(&bundle)).await?;
    Ok(reply)
}

/// Shows the evidence with this hash to users from now on, if it is on disk. Whether it is.
pub(super) async fn promote(store: &Arc<Store>, hash: [u8; 32]) -> Result<bool, StepError> {
    let store = store.clone();
    Ok(blocking::run(move || store.promote_bundle(&hash)).await?.is_some())
}

/// Whether the chain allows the enclave's image for its role; says so now and then where it does not.
pub(super) async fn is_image_allowed(
    node: &dyn Node,
    session: &Session,
    role: Role,
    log: &mut Throttle,
) -> Result<bool, StepError> {
    let measurement = session.identity.measurement;
    let allowed = node.image_allowed(Measurement(measurement), role).await?;
    if !allowed && log.ready() {
        let measurement = hex::encode(measurement);
        tracing::warn!(
            measurement,
            ?role,
            "the chain does not allow the enclave's image for this role; waiting until it does"
        );
    }
    Ok(allowed)
}

/// What the chain thinks of an enclave's evidence. Times in seconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    verified_at: u64,
    expires: u64,
    /// Whether documents that do not count yet will refuse the evidence.
    is_exposed: bool,
}

impl From<&Worker> for Verdict {
    fn from(worker: &Worker) -> Self {
        Self { verified_at: worker.verified_at, expires: worker.verdict_expires, is_exposed: worker.is_exposed() }
    }
}

impl From<&Gatekeeper> for Verdict {
    fn from(record: &Gatekeeper) -> Self {
        // A weaker tier is not good enough for a gatekeeper.
        let is_exposed = record.outlook.is_some();
        Self { verified_at: record.verified_at, expires: record.verdict_expires, is_exposed }
    }
}

/// Two thirds of the verdict's life are over, or it is from before the latest TCB recovery, so that nobody knows yet what that
/// makes of the evidence. Where the outlook is known to be bad, the verdict ends when it will, and a renewal is of use only
/// after an update of the platform: one is tried each day.
pub(super) fn is_renewal_due(now: u64, verdict: impl Into<Verdict>, recovery: Option<u64>) -> bool {
    let Verdict { verified_at, expires, is_exposed } = verdict.into();
    let life = expires.saturating_sub(verified_at);
    let is_old = expires.saturating_sub(now) <= life / 3;
    let is_due = if is_exposed { now >= verified_at.saturating_add(OUTLOOK_PERIOD) } else { is_old };
    is_due || recovery.is_some_and(|began| verified_at <= began)
}

/// Heartbeats. One that the chain refuses costs a fee, so the chain is asked first whether it will take one. A worker's
/// record names the newest block that its enclave has named, which decides when the next is due. A challenge of the chain's is
/// answered by one as soon as its block is final.
struct Heartbeats {
    node: Arc<dyn Node>,
    enclave: Arc<Enclave>,
    metrics: Arc<Metrics>,
    operator: Account,
    worker: watch::Receiver<Option<Worker>>,
    /// The block that the last heartbeat in a block named.
    named: u32,
    /// The best block before which only a challenge asks for the next.
    rest_until: u32,
    /// The best block before which nothing is tried.
    pause_until: u32,
    backoff: Backoff,
}

impl Heartbeats {
    async fn run(mut self, mut heads: watch::Receiver<Option<Heads>>) {
        while heads.changed().await.is_ok() {
            let now = *heads.borrow_and_update();
            let worker = self.worker.borrow().clone();
            let (Some(heads), Some(worker)) = (now, worker) else { continue };
            if heads.best < self.pause_until || worker.operator != self.operator || heads.now >= worker.verdict_expires
            {
                continue;
            }
            let challenged = self.challenged(heads, &worker).await;
            if challenged.is_none() && !self.is_due(heads, &worker) {
                continue;
            }
            match self.beat(&worker, challenged).await {
                Ok(Some(named)) => {
                    self.backoff.succeeded();
                    self.named = named;
                    self.rest_until = heads.best.saturating_add(HEARTBEAT_BLOCKS - 1);
                }
                Ok(None) => self.pause_until = heads.best.saturating_add(1),
                Err(error) => {
                    let pause = self.backoff.failed(MAX_HEARTBEAT_PAUSE);
                    tracing::warn!(%error, blocks = pause, "a heartbeat did not succeed; trying again");
                    self.pause_until = heads.best.saturating_add(pause);
                }
            }
        }
    }

    fn is_due(&self, heads: Heads, worker: &Worker) -> bool {
        // It gets into the next block at best.
        let elapsed = heads.best.saturating_add(1).saturating_sub(worker.last_heartbeat);
        heads.best >= self.rest_until && elapsed >= HEARTBEAT_BLOCKS
    }

    /// The block of a challenge that a heartbeat can answer by now, and none has. Only an active worker gets one.
    async fn challenged(&self, heads: Heads, worker: &Worker) -> Option<u32> {
        if worker.status != WorkerStatus::Active {
            return None;
        }
        match self.node.challenged(self.enclave.worker()?).await {
            Ok(challenged) => challenged.filter(|block| *block > self.named && *block <= heads.finalized),
            Err(error) => {
                tracing::debug!(%error, "the node does not say whether the worker is challenged");
                None
            }
        }
    }

    /// The block that a heartbeat names which is in a block now; `None` when none can be given at the moment.
    async fn beat(&self, worker: &Worker, challenged: Option<u32>) -> Result<Option<u32>, StepError> {
        if !self.node.image_allowed(worker.measurement, Role::Worker).await? {
            return Ok(None);
        }
        let heartbeat: SignedHeartbeat = match self.enclave.request(HostRequest::Heartbeat).await {
            Ok(EnclaveReply::Heartbeat(heartbeat)) => heartbeat,
            Ok(_) => return Err(RequestError::WrongReply.into()),
            Err(error) if error.is_temporary() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let named = heartbeat.heartbeat.block_number;
        let is_answer = challenged.is_some_and(|block| named >= block);
        if !is_answer && named.saturating_sub(worker.last_heartbeat) < FREE_HEARTBEAT_BLOCKS {
            // Finality lags. The chain would take a fee, or refuse it.
            return Ok(None);
        }
        submit(&*self.node, &self.metrics, Submission::Heartbeat(heartbeat)).await?;
        Ok(Some(named))
    }
}
