//! The chain, as the host uses it: it reads public state, and submits what the enclave signed. Heartbeats and receipts
//! anybody may bring; everything else is the operator's.
//!
//! - [`Node`] is what the host needs of a node; [`RpcNode`] is the real one.
//! - [`Starts`] makes the chain's specification that the enclave starts with.
//! - [`Registration`] keeps the worker registered, its verdict fresh and its heartbeats coming.
//! - [`Receipts`] submits receipts until the chain has settled them.
//!
//! Nothing here is trusted by the enclave. All of it is driven by what the chain says, not by what the host
//! believes to have done: after a crash the same steps lead to the same end.

mod endorsement;
mod receipts;
mod registration;
mod rpc;
mod seat;
mod spec;

pub use endorsement::Endorsements;
pub use receipts::Receipts;
pub use registration::{OperatorConfig, Registration, StepError, Submits, fresh_evidence};
pub use rpc::{Keys, RpcNode};
pub use seat::{SeatConfig, SeatKeeper};
pub use spec::{SpecError, Starts, enclave_spec};

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use phala_attestation::{Evidence, Family, Measurement, Role};
use phala_primitives::{
    Balance, Hash, JobId, SignedReceipt, WorkerId,
    attestation::Class,
    worker::{self, SignedHeartbeat},
};
use phala_sdk::{Account, chain::SessionKeys};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::metrics::Metrics;

/// A worker, as the chain stores it.
pub type Worker = worker::Worker<Account, u32>;

/// A job, as the chain stores it.
pub type Job = phala_primitives::job::Job<Account, u32>;

/// How often the node is asked for its newest block.
const POLL_PERIOD: Duration = Duration::from_millis(500);

/// Where a node's chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The best block's number.
    pub best: u32,
    /// The newest finalized block's number.
    pub finalized: u32,
    /// The best block's time, in seconds since the Unix epoch.
    pub now: u64,
}

/// Which of a node's blocks to read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest, which may still be replaced.
    Best,
    /// The newest that cannot be replaced.
    Finalized,
}

/// The node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NodeError(pub String);

/// Why a transaction did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The chain refuses what the worker runs on as it is now: an update of the platform, or governance, may change that.
    #[error("{0}")]
    Unfit(String),
    /// The runtime or the transaction pool refused it.
    #[error("{0}")]
    Refused(String),
    /// The runtime refused it, and always will.
    #[error("{0}")]
    Permanent(String),
    /// The node could not be asked, or the transaction was not seen in a block in time.
    #[error("{0}")]
    Unknown(String),
}

/// What the host submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// `workers.register`.
    Register {
        /// From the enclave.
        registration: Box<phala_protocol::Registration>,
        /// Where the host serves HTTP.
        endpoint: String,
        /// For 10⁹ fuel.
        price: Balance,
    },
    /// `workers.renew`.
    Renew(Box<phala_protocol::Registration>),
    /// `workers.heartbeat`.
    Heartbeat(SignedHeartbeat),
    /// `workers.set_price`.
    SetPrice(WorkerId, Balance),
    /// `workers.set_endpoint`.
    SetEndpoint(WorkerId, String),
    /// `jobs.submit_receipt`.
    Receipt(Box<SignedReceipt>),
    /// `gatekeepers.register`.
    RegisterGatekeeper {
        /// Which of the operator's seats.
        index: u16,
        /// What of the operator's PHA is put on hold for it.
        bond: Balance,
        /// From the enclave.
        attestation: Box<phala_protocol::Attestation>,
        /// Where the host serves HTTP.
        endpoint: String,
        /// From the node.
        keys: SessionKeys,
    },
    /// `attestation.claim_sealing_key`.
    ClaimSealingKey(Box<phala_protocol::Attestation>),
    /// `gatekeepers.renew`.
    RenewGatekeeper(Box<phala_protocol::Attestation>),
    /// `gatekeepers.replace`.
    ReplaceGatekeeper {
        /// Which of the operator's seats.
        index: u16,
        /// From the new enclave.
        attestation: Box<phala_protocol::Attestation>,
        /// Where the host serves HTTP.
        endpoint: String,
    },
    /// `gatekeepers.set_endpoint`.
    SetGatekeeperEndpoint(u16, String),
}

impl Submission {
    /// The evidence that the chain verifies with documents of vendors.
    fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Register { registration, .. } | Self::Renew(registration) => Some(&registration.evidence),
            Self::RegisterGatekeeper { attestation, .. }
            | Self::RenewGatekeeper(attestation)
            | Self::ClaimSealingKey(attestation)
            | Self::ReplaceGatekeeper { attestation, .. } => Some(&attestation.evidence),
            Self::Heartbeat(_)
            | Self::SetPrice(..)
            | Self::SetEndpoint(..)
            | Self::Receipt(_)
            | Self::SetGatekeeperEndpoint(..) => None,
        }
    }

    /// The call's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Renew(_) => "renew",
            Self::Heartbeat(_) => "heartbeat",
            Self::SetPrice(..) => "set_price",
            Self::SetEndpoint(..) => "set_endpoint",
            Self::Receipt(_) => "submit_receipt",
            Self::RegisterGatekeeper { .. } => "register_gatekeeper",
            Self::RenewGatekeeper(_) => "renew_gatekeeper",
            Self::ClaimSealingKey(_) => "claim_sealing_key",
            Self::ReplaceGatekeeper { .. } => "replace_gatekeeper",
            Self::SetGatekeeperEndpoint(..) => "set_gatekeeper_endpoint",
        }
    }
}

/// What the host needs of a node. Every call ends within a bounded time.
pub trait Node: Send + Sync + 'static {
    /// Where its chain is.
    fn heads(&self) -> BoxFuture<'_, Result<Heads, NodeError>>;

    /// A worker at the best block.
    fn worker(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<Worker>, NodeError>>;

    /// In which block a worker was challenged, if that challenge is still open at the best block.
    fn challenged(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<u32>, NodeError>>;

    /// A job.
    fn job(&self, id: JobId, at: At) -> BoxFuture<'_, Result<Option<Job>, NodeError>>;

    /// Whether the chain allows an image for a role.
    fn image_allowed(&self, measurement: Measurement, role: Role) -> BoxFuture<'_, Result<bool, NodeError>>;

    /// When the latest TCB recovery that may concern platforms of a family began, in seconds since the Unix epoch.
    fn last_recovery(&self, family: Family) -> BoxFuture<'_, Result<Option<u64>, NodeError>>;

    /// Which of these classes the chain declares broken.
    fn compromised(&self, classes: [Class; 3]) -> BoxFuture<'_, Result<Vec<Class>, NodeError>>;

    /// Whether the chain has a claim to a sealing key that was made with this key, at the best block.
    fn has_claim(&self, claimant: [u8; 32]) -> BoxFuture<'_, Result<bool, NodeError>>;

    /// The chain's specification as the node gives it, and the addresses that it listens on.
    fn chain_spec(&self) -> BoxFuture<'_, Result<(serde_json::Value, Vec<String>), NodeError>>;

    /// The hash of the chain's first block, once the node was reached.
    fn genesis_hash(&self) -> Option<Hash>;

    /// Signs, submits, and waits until it is in a block, whose number is the answer.
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<u32, SubmitError>>;
}

/// Follows the node's chain for ever, and tells whoever watches `heads`.
pub async fn follow(node: Arc<dyn Node>, heads: watch::Sender<Option<Heads>>, metrics: Arc<Metrics>) {
    let mut reachable = true;
    loop {
        match node.heads().await {
            Ok(new) => {
                if !reachable {
                    tracing::info!(best = new.best, "the node answers again");
                }
                reachable = true;
                metrics.node_up.set(1);
                metrics.node_best_block.set(new.best.into());
                metrics.node_finalized_block.set(new.finalized.into());
                heads.send_if_modified(|old| {
                    let changed = *old != Some(new);
                    *old = Some(new);
                    changed
                });
            }
            Err(error) => {
                if reachable {
                    tracing::warn!(%error, "the node does not answer; trying again until it does");
                }
                reachable = false;
                metrics.node_up.set(0);
                heads.send_replace(None);
            }
        }
        sleep(POLL_PERIOD).await;
    }
}

/// Submits, counts and logs.
pub(crate) async fn submit(node: &dyn Node, metrics: &Metrics, submission: Submission) -> Result<u32, SubmitError> {
    let name = submission.name();
    let result = node.submit(submission).await;
    let label = match &result {
        Ok(_) => "included",
        Err(SubmitError::Refused(_) | SubmitError::Unfit(_) | SubmitError::Permanent(_)) => "refused",
        Err(SubmitError::Unknown(_)) => "failed",
    };
    metrics.transactions.with_label_values(&[name, label]).inc();
    match &result {
        Ok(block) => tracing::debug!(call = name, block, "a transaction is in a block"),
        Err(error) => tracing::warn!(call = name, %error, "a transaction did not succeed"),
    }
    result
}

/// Pauses that double with each failure: what the chain refuses may cost a fee.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure, in blocks: 2, 4, 8, …, and never more than `most`.
    pub(crate) fn failed(&mut self, most: u32) -> u32 {
        self.failures = self.failures.saturating_add(1);
        1u32.checked_shl(self.failures).unwrap_or(most).min(most)
    }

    fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Lets something through once a minute.
#[derive(Default)]
struct Throttle(Option<Instant>);

impl Throttle {
    fn ready(&mut self) -> bool {
        let ready = self.0.is_none_or(|last| last.elapsed() >= Duration::from_secs(60));
        if ready {
            self.0 = Some(Instant::now());
        }
        ready
    }
}

#[cfg(test)]
mod tests;
