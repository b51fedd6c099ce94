//! Keeps a gatekeeper's seat: registered at all, with this enclave and this endpoint, its verdict fresh.
//!
//! As with a worker's [`Registration`](super::Registration), each new block is a chance to do the next step, and nothing is
//! remembered that the chain knows better.

use std::sync::Arc;

use phala_attestation::Role;
use phala_primitives::{Balance, GatekeeperId, attestation::Outlook, gatekeeper::SeatStatus};
use phala_protocol::{Attestation, EnclaveReply};
use phala_sdk::{
    Account,
    chain::{Gatekeeper, SessionKeys, seat_id},
};
use tokio::sync::watch;

use super::{
    Backoff, Heads, Node, StepError, Submission, SubmitError, Throttle,
    registration::{fresh_evidence, is_image_allowed, is_renewal_due, promote},
    submit,
};
use crate::{
    enclave::{Enclave, RequestError, Session},
    gatekeeper::GatekeeperNode,
    metrics::Metrics,
    store::Store,
};

/// The longest pause between two attempts that the chain refused, in blocks: each may cost a fee.
const MAX_PAUSE: u32 = 60;

/// What the operator wants of a seat.
#[derive(Clone, Debug)]
pub struct SeatConfig {
    /// Who owns it.
    pub operator: Account,
    /// Which of the operator's seats.
    pub index: u16,
    /// What is put on hold for it when it is registered.
    pub bond: Balance,
    /// Where other gatekeepers and workers reach the host, without a trailing slash.
    pub endpoint: String,
    /// Whether the host holds the operator's key, and submits by itself.
    pub submits: bool,
}

impl SeatConfig {
    /// The seat.
    pub fn seat(&self) -> Account {
        seat_id(self.operator, self.index)
    }
}

/// See the module.
pub struct SeatKeeper {
    node: Arc<dyn Node>,
    gatekeepers: Arc<dyn GatekeeperNode>,
    enclave: Arc<Enclave>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    config: SeatConfig,
    /// The node's session keys, made once: it keeps all that it makes.
    keys: Option<SessionKeys>,
    /// Whether the outlook was tried anew since the host started.
    looked_at: bool,
    pause_until: u32,
    backoff: Backoff,
    image_log: Throttle,
    outlook_log: Throttle,
    status_log: Throttle,
    external_log: Throttle,
}

impl SeatKeeper {
    /// Nothing is done before [`Self::run`].
    pub fn new(
        node: Arc<dyn Node>,
        gatekeepers: Arc<dyn GatekeeperNode>,
        enclave: Arc<Enclave>,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        config: SeatConfig,
    ) -> Self {
        Self {
            node,
            gatekeepers,
            enclave,
            store,
            metrics,
            config,
            keys: None,
            looked_at: false,
            pause_until: 0,
            backoff: Backoff::default(),
            image_log: Throttle::default(),
            outlook_log: Throttle::default(),
            status_log: Throttle::default(),
            external_log: Throttle::default(),
        }
    }

    /// Works for ever, on every new block.
    pub async fn run(mut self, mut heads: watch::Receiver<Option<Heads>>) {
        while heads.changed().await.is_ok() {
            let now = *heads.borrow_and_update();
            let Some(heads) = now.filter(|heads| heads.best >= self.pause_until) else { continue };
            match self.step(heads).await {
                Ok(()) => self.backoff.succeeded(),
                Err(StepError::Submit(SubmitError::Permanent(error))) => {
                    self.pause_until = u32::MAX;
                    tracing::error!(
                        %error,
                        "the chain refuses the gatekeeper, and will again: nothing more is submitted for its seat until the host is \
                         started anew; correct its options, the enclave or the operator first"
                    );
                }
                Err(StepError::Submit(error)) => {
                    let blocks = self.backoff.failed(MAX_PAUSE);
                    self.pause_until = heads.best.saturating_add(blocks);
                    tracing::warn!(%error, blocks, "the gatekeeper could not be registered or updated; trying again");
                }
                Err(error @ StepError::Endorsement(_)) => {
                    let blocks = self.backoff.failed(MAX_PAUSE);
                    self.pause_until = heads.best.saturating_add(blocks);
                    tracing::warn!(%error, blocks, "the gatekeeper cannot be registered or renewed yet; trying again");
                }
                Err(StepError::Enclave(error)) if error.is_temporary() => {
                    tracing::debug!(%error, "the enclave gives no evidence yet");
                }
                Err(error) => {
                    tracing::warn!(%error, "the gatekeeper could not be registered or updated; trying again");
                }
            }
        }
    }

    /// The next step towards what the operator wants.
    ///
    /// # Errors
    /// See [`StepError`].
    pub async fn step(&mut self, heads: Heads) -> Result<(), StepError> {
        let Some(session) = self.enclave.session() else { return Ok(()) };
        let id = GatekeeperId(session.identity.signing_key);
        let account = self.config.seat();
        let seat = self.gatekeepers.seat(account).await?;
        let record = self.gatekeepers.gatekeeper(id).await?;
        let evidence_known = match &record {
            Some(record) => promote(&self.store, record.evidence_hash).await?,
            None => false,
        };
        if !self.config.submits {
            if record.is_none() && self.external_log.ready() {
                tracing::info!(seat = %account, gatekeeper = %id, "the gatekeeper is not registered; its operator has to do that");
            }
            return Ok(());
        }
        match (seat, record) {
            (None, _) => self.register(&session, account).await,
            (Some(seat), _) if !matches!(seat.status, SeatStatus::Standing | SeatStatus::Resting) => {
                if self.status_log.ready() {
                    tracing::warn!(seat = %account, status = ?seat.status, "the seat was given up or lost; register another index");
                }
                Ok(())
            }
            (Some(seat), Some(record)) if seat.gatekeeper == id => {
                if seat.status == SeatStatus::Resting && self.status_log.ready() {
                    tracing::warn!(seat = %account, "the seat rests: `phala gatekeeper stand` has it stand in elections again");
                }
                self.warn(&record);
                let recovery = self.node.last_recovery(record.family).await?;
                // The platform may have been updated while the host was stopped.
                let may_be_updated = !self.looked_at && record.outlook.is_some();
                if !evidence_known || may_be_updated || is_renewal_due(heads.now, &record, recovery) {
                    self.renew(&session).await?;
                }
                self.looked_at = true;
                if record.endpoint != self.config.endpoint.as_bytes() {
                    let endpoint = self.config.endpoint.clone();
                    self.submit(Submission::SetGatekeeperEndpoint(self.config.index, endpoint)).await?;
                    tracing::info!(endpoint = self.config.endpoint, "the gatekeeper's endpoint is changed");
                }
                Ok(())
            }
            // An earlier enclave of the seat: it may still deal its shares to the one that took its place.
            (Some(_), Some(_)) => Ok(()),
            (Some(_), None) => self.replace(&session).await,
        }
    }

    fn warn(&mut self, record: &Gatekeeper) {
        if let Some(Outlook { from, .. }) = record.outlook
            && self.outlook_log.ready()
        {
            tracing::warn!(
                from,
                "a TCB recovery refuses this gatekeeper's evidence from then on (Unix time): update this platform before"
            );
        }
    }

    async fn register(&mut self, session: &Session, seat: Account) -> Result<(), StepError> {
        if !is_image_allowed(&*self.node, session, Role::Gatekeeper, &mut self.image_log).await? {
            return Ok(());
        }
        let attestation = self.attest(session).await?;
        let keys = match self.keys.clone() {
            Some(keys) => keys,
            None => self.keys.insert(self.gatekeepers.session_keys(seat).await?).clone(),
        };
        let SeatConfig { index, bond, endpoint, .. } = self.config.clone();
        tracing::info!(%seat, "registering the gatekeeper");
        let block = self.submit(Submission::RegisterGatekeeper { index, bond, attestation, endpoint, keys }).await?;
        tracing::info!(block, "the gatekeeper is registered, and stands in the next election");
        Ok(())
    }

    async fn renew(&mut self, session: &Session) -> Result<(), StepError> {
        if !is_image_allowed(&*self.node, session, Role::Gatekeeper, &mut self.image_log).await? {
            return Ok(());
        }
        let attestation = self.attest(session).await?;
        let block = self.submit(Submission::RenewGatekeeper(attestation)).await?;
        tracing::info!(block, "the gatekeeper's verdict is renewed");
        Ok(())
    }

    async fn replace(&mut self, session: &Session) -> Result<(), StepError> {
        if !is_image_allowed(&*self.node, session, Role::Gatekeeper, &mut self.image_log).await? {
            return Ok(());
        }
        let attestation = self.attest(session).await?;
        let (index, endpoint) = (self.config.index, self.config.endpoint.clone());
        let block = self.submit(Submission::ReplaceGatekeeper { index, attestation, endpoint }).await?;
        tracing::info!(block, "the seat has another enclave, which is in the set from the next election on");
        Ok(())
    }

    async fn attest(&self, session: &Session) -> Result<Box<Attestation>, StepError> {
        match fresh_evidence(session, &self.store).await? {
            EnclaveReply::Attestation(attestation) => Ok(attestation),
            _ => Err(RequestError::WrongReply.into()),
        }
    }

    async fn submit(&self, submission: Submission) -> Result<u32, StepError> {
        Ok(submit(&*self.node, &self.metrics, submission).await?)
    }
}
