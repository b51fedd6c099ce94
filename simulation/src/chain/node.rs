//! The chain as a host's node gives it: late, sometimes not at all, and sometimes without an answer to what was done.

use codec::DecodeAll;
use futures::future::BoxFuture;
use phala_attestation::{Family, Measurement, Role};
use phala_host::chain::{At, Heads, Job, Node, NodeError, Submission, SubmitError, Worker};
use phala_primitives::{Hash, JobId, WorkerId, attestation::Class};
use phala_runtime::{Runtime, RuntimeCall};
use sp_keyring::Sr25519Keyring;
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Chain, State, execute};
use crate::random::Dice;

/// How long a host waits for its transaction to be in a block.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(90);

/// How the way to a node is.
#[derive(Default)]
pub struct Weather {
    /// Nothing comes back.
    pub is_away: AtomicBool,
}

/// A node, for one host process.
pub struct HostNode {
    chain: Arc<Chain>,
    who: Sr25519Keyring,
    weather: Arc<Weather>,
    dead: CancellationToken,
    dice: Dice,
}

impl HostNode {
    /// Signs with `who`'s key. Once `dead` is cancelled nothing is answered and nothing submitted.
    pub fn new(
        chain: Arc<Chain>,
        who: Sr25519Keyring,
        weather: Arc<Weather>,
        dead: CancellationToken,
        dice: Dice,
    ) -> Arc<Self> {
        Arc::new(Self { chain, who, weather, dead, dice })
    }

    /// One way to the node, or back.
    async fn travel(&self) -> Result<(), NodeError> {
        sleep(self.dice.millis(1, 60)).await;
        if self.dead.is_cancelled() {
            pending::<()>().await;
        }
        if self.weather.is_away.load(Ordering::Relaxed) {
            sleep(Duration::from_secs(3)).await;
            return Err(NodeError("the node does not answer".into()));
        }
        Ok(())
    }

    fn ask<T: Send + 'static>(
        &self,
        at: At,
        read: impl FnOnce(&State) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, NodeError>> {
        Box::pin(async move {
            self.travel().await?;
            let state = match at {
                At::Best => self.chain.best_state(),
                At::Finalized => self.chain.finalized_state(),
            };
            Ok(read(&state))
        })
    }
}

impl Node for HostNode {
    fn heads(&self) -> BoxFuture<'_, Result<Heads, NodeError>> {
        Box::pin(async move {
            self.travel().await?;
            let finalized = self.chain.finalized().number;
            Ok(Heads { best: self.chain.best(), finalized, now: self.chain.now() })
        })
    }

    fn worker(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<Worker>, NodeError>> {
        self.ask(At::Best, move |state| super::worker(state, id))
    }

    fn challenged(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<u32>, NodeError>> {
        self.ask(At::Best, move |state| {
            execute::read(state, &pallet_phala_workers::Challenged::<Runtime>::hashed_key_for(id))
        })
    }

    fn job(&self, id: JobId, at: At) -> BoxFuture<'_, Result<Option<Job>, NodeError>> {
        self.ask(at, move |state| super::job(state, id))
    }

    fn image_allowed(&self, measurement: Measurement, role: Role) -> BoxFuture<'_, Result<bool, NodeError>> {
        self.ask(At::Best, move |state| {
            let key = pallet_phala_attestation::Images::<Runtime>::hashed_key_for(measurement);
            let image: Option<pallet_phala_attestation::Image> = execute::read(state, &key);
            image.is_some_and(|image| image.role == role)
        })
    }

    fn last_recovery(&self, _: Family) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        // Simulated evidence has no TCB recoveries.
        self.ask(At::Best, |_| None)
    }

    fn compromised(&self, classes: [Class; 3]) -> BoxFuture<'_, Result<Vec<Class>, NodeError>> {
        self.ask(At::Best, move |state| {
            let since = |class: &Class| -> Option<u64> {
                execute::read(state, &pallet_phala_attestation::Compromised::<Runtime>::hashed_key_for(class))
            };
            classes.into_iter().filter(|class| since(class).is_some()).collect()
        })
    }

    fn has_claim(&self, claimant: [u8; 32]) -> BoxFuture<'_, Result<bool, NodeError>> {
        self.ask(At::Best, move |state| {
            let key = pallet_phala_attestation::SealingClaims::<Runtime>::hashed_key_for(claimant);
            let claim: Option<phala_primitives::attestation::SealingClaim> = execute::read(state, &key);
            claim.is_some()
        })
    }

    fn chain_spec(&self) -> BoxFuture<'_, Result<(serde_json::Value, Vec<String>), NodeError>> {
        Box::pin(async move { Err(NodeError("this node has no specification to give".into())) })
    }

    fn genesis_hash(&self) -> Option<Hash> {
        Some(self.chain.genesis_hash())
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<u32, SubmitError>> {
        Box::pin(async move {
            let unknown = |error: NodeError| SubmitError::Unknown(error.0);
            self.travel().await.map_err(unknown)?;
            let answer = self.chain.submit(self.who, call(submission));
            let included = timeout(SUBMIT_TIMEOUT, answer).await;
            // What was submitted is submitted, though the answer may not arrive.
            self.travel().await.map_err(unknown)?;
            match included {
                Ok(Ok(Ok(block))) => Ok(block),
                Ok(Ok(Err(error))) => Err(SubmitError::Refused(error)),
                _ => Err(SubmitError::Unknown("the transaction was not seen in a block in time".into())),
            }
        })
    }
}

/// What a host submits, as the runtime's call.
///
/// # Panics
/// When an endpoint is longer than the chain takes.
fn call(submission: Submission) -> RuntimeCall {
    use pallet_phala_gatekeepers::Call as Seats;
    use pallet_phala_workers::Call;
    let bounded = |endpoint: String| endpoint.into_bytes().try_into().expect("the endpoint is short");
    RuntimeCall::Workers(match submission {
        Submission::Register { registration, endpoint, price } => {
            let phala_protocol::Registration { statement, evidence, performance } = *registration;
            Call::register { statement, evidence, performance, endpoint: bounded(endpoint), price }
        }
        Submission::Renew(registration) => {
            let phala_protocol::Registration { statement, evidence, performance } = *registration;
            Call::renew { statement, evidence, performance }
        }
        Submission::Heartbeat(heartbeat) => Call::heartbeat { heartbeat },
        Submission::SetPrice(worker, price) => Call::set_price { worker, price },
        Submission::SetEndpoint(worker, endpoint) => Call::set_endpoint { worker, endpoint: bounded(endpoint) },
        Submission::Receipt(receipt) => {
            return RuntimeCall::Jobs(pallet_phala_jobs::Call::submit_receipt { receipt });
        }
        Submission::RegisterGatekeeper { index, bond, attestation, endpoint, keys } => {
            let phala_protocol::Attestation { statement, evidence } = *attestation;
            let endpoint = bounded(endpoint);
            let public = DecodeAll::decode_all(&mut &keys.public[..]).expect("a node makes keys of the runtime");
            let call =
                Seats::register { index, bond, statement, evidence, endpoint, keys: public, keys_proof: keys.proof };
            return RuntimeCall::Gatekeepers(call);
        }
        Submission::ClaimSealingKey(attestation) => {
            let phala_protocol::Attestation { statement, evidence } = *attestation;
            let call = pallet_phala_attestation::Call::claim_sealing_key { statement, evidence };
            return RuntimeCall::Attestation(call);
        }
        Submission::RenewGatekeeper(attestation) => {
            let phala_protocol::Attestation { statement, evidence } = *attestation;
            return RuntimeCall::Gatekeepers(Seats::renew { statement, evidence });
        }
        Submission::ReplaceGatekeeper { index, attestation, endpoint } => {
            let phala_protocol::Attestation { statement, evidence } = *attestation;
            let endpoint = bounded(endpoint);
            return RuntimeCall::Gatekeepers(Seats::replace { index, statement, evidence, endpoint });
        }
        Submission::SetGatekeeperEndpoint(index, endpoint) => {
            let endpoint = bounded(endpoint);
            return RuntimeCall::Gatekeepers(Seats::set_endpoint { index, endpoint });
        }
    })
}
