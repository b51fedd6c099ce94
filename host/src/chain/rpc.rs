//! A node over its JSON-RPC, through the SDK.

use std::{future::Future, sync::OnceLock, time::Duration};

use futures::future::BoxFuture;
use phala_attestation::{Evidence, Family, Measurement, Role};
use phala_primitives::{GatekeeperId, Hash, JobId, WorkerId, attestation::Class, gatekeeper::NetworkKey};
use phala_sdk::{
    Account, Signer,
    chain::{self, Chain, ChainError, DispatchError, Gatekeeper, Seat, SessionKeys, call},
    evidence::{self, EvidenceError},
};
use tokio::time::timeout;

use super::{At, Heads, Job, Node, NodeError, Submission, SubmitError, Submits, Worker};
use crate::{gatekeeper::GatekeeperNode, takeover::JobsNode};

/// While a node is away, the SDK's calls wait for it; the host has other things to do.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK itself gives up after a minute or two.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(90);

/// One that is not in a block by then, in a fork perhaps, is better followed by a newer one: it names a block of before.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// For whom the host works, and with whose key.
pub struct Keys {
    /// The operator.
    pub operator: Account,
    /// Who signs and pays what the host submits. `None`: it submits nothing.
    pub signer: Option<Signer>,
}

impl Keys {
    /// What the host may submit.
    pub fn submits(&self) -> Submits {
        match &self.signer {
            None => Submits::Nothing,
            Some(signer) if signer.account() == self.operator => Submits::Everything,
            Some(_) => Submits::HeartbeatsAndReceipts,
        }
    }
}

/// A node over its JSON-RPC. Usable before it can be reached: until then it answers with errors.
pub struct RpcNode {
    url: String,
    chain: OnceLock<Chain>,
    signer: Option<Signer>,
}

impl RpcNode {
    /// Not connected yet: see [`Self::connect`].
    pub fn new(url: String, signer: Option<Signer>) -> Self {
        Self { url, chain: OnceLock::new(), signer }
    }

    /// Connects, however long it takes. From then on the connection mends itself.
    ///
    /// # Errors
    /// When waiting cannot help, as with a malformed URL.
    pub async fn connect(&self) -> Result<(), chain::ConnectError> {
        let chain = Chain::connect_patiently(&self.url).await?;
        tracing::info!(url = self.url, genesis = hex::encode(chain.genesis_hash()), "connected to the node");
        self.chain.get_or_init(|| chain);
        Ok(())
    }

    fn chain(&self) -> Result<&Chain, NodeError> {
        self.chain.get().ok_or_else(|| NodeError(format!("the node at {} could not be reached yet", self.url)))
    }

    async fn bounded<T>(&self, reading: impl Future<Output = Result<T, ChainError>>) -> Result<T, NodeError> {
        match timeout(READ_TIMEOUT, reading).await {
            Ok(result) => result.map_err(|error| NodeError(error.to_string())),
            Err(_) => Err(NodeError(format!("no answer from the node at {} within {READ_TIMEOUT:?}", self.url))),
        }
    }
}

impl Node for RpcNode {
    fn heads(&self) -> BoxFuture<'_, Result<Heads, NodeError>> {
        Box::pin(async {
            let chain = self.chain()?;
            let reading = async {
                let best = chain.best().await?;
                let finalized = chain.finalized().await?.block().number;
                let now = best.timestamp_ms().await? / 1000;
                Ok(Heads { best: best.block().number, finalized, now })
            };
            self.bounded(reading).await
        })
    }

    fn worker(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<Worker>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.worker(id).await }).await
        })
    }

    fn challenged(&self, id: WorkerId) -> BoxFuture<'_, Result<Option<u32>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.challenged(id).await }).await
        })
    }

    fn job(&self, id: JobId, at: At) -> BoxFuture<'_, Result<Option<Job>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let reading = async {
                let state = match at {
                    At::Best => chain.best().await?,
                    At::Finalized => chain.finalized().await?,
                };
                state.job(id).await
            };
            self.bounded(reading).await
        })
    }

    fn image_allowed(&self, measurement: Measurement, role: Role) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let image = self.bounded(async { chain.best().await?.image(measurement).await }).await?;
            Ok(image.is_some_and(|image| image.role == role))
        })
    }

    fn last_recovery(&self, family: Family) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.last_recovery(family).await }).await
        })
    }

    fn compromised(&self, classes: [Class; 3]) -> BoxFuture<'_, Result<Vec<Class>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let reading = async {
                let state = chain.best().await?;
                let mut found = Vec::new();
                for class in classes {
                    found.extend(state.compromised_since(class).await?.map(|_| class));
                }
                Ok(found)
            };
            self.bounded(reading).await
        })
    }

    fn has_claim(&self, claimant: [u8; 32]) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let claim = self.bounded(async { chain.best().await?.sealing_claim(claimant).await }).await?;
            Ok(claim.is_some())
        })
    }

    fn chain_spec(&self) -> BoxFuture<'_, Result<(serde_json::Value, Vec<String>), NodeError>> {
        Box::pin(async {
            let chain = self.chain()?;
            let reading = async {
                let spec = chain.rpc("sync_state_genSyncSpec", vec![true.into()]).await?;
                let addresses = chain.rpc("system_localListenAddresses", vec![]).await?;
                Ok((spec, addresses))
            };
            self.bounded(reading).await
        })
    }

    fn genesis_hash(&self) -> Option<Hash> {
        self.chain.get().map(Chain::genesis_hash)
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<u32, SubmitError>> {
        Box::pin(async move {
            let unknown = |error: NodeError| SubmitError::Unknown(error.0);
            let chain = self.chain().map_err(unknown)?;
            let Some(signer) = &self.signer else {
                return Err(SubmitError::Permanent("the host holds no key".into()));
            };
            if let Some(evidence) = submission.evidence() {
                check_documents(chain, evidence).await?;
            }
            let limit = match &submission {
                Submission::Heartbeat(_) => HEARTBEAT_TIMEOUT,
                _ => SUBMIT_TIMEOUT,
            };
            // What becomes of these depends on the worker's or the job's state, which changes.
            let may_succeed_later = matches!(submission, Submission::Heartbeat(_) | Submission::Receipt(_));
            let call = match submission {
                Submission::Register { registration, endpoint, price } => {
                    let phala_protocol::Registration { statement, evidence, performance } = *registration;
                    call::register(statement, evidence, performance, &endpoint, price)
                }
                Submission::Renew(registration) => {
                    call::renew(registration.statement, registration.evidence, registration.performance)
                }
                Submission::Heartbeat(heartbeat) => call::heartbeat(heartbeat),
                Submission::RegisterGatekeeper { index, bond, attestation, endpoint, keys } => {
                    let phala_protocol::Attestation { statement, evidence } = *attestation;
                    call::register_gatekeeper(index, bond, statement, evidence, &endpoint, keys)
                }
                Submission::ClaimSealingKey(attestation) => {
                    call::claim_sealing_key(attestation.statement, attestation.evidence)
                }
                Submission::RenewGatekeeper(attestation) => {
                    call::renew_gatekeeper(attestation.statement, attestation.evidence)
                }
                Submission::ReplaceGatekeeper { index, attestation, endpoint } => {
                    call::replace_gatekeeper(index, attestation.statement, attestation.evidence, &endpoint)
                }
                Submission::SetGatekeeperEndpoint(index, endpoint) => call::set_gatekeeper_endpoint(index, &endpoint),
                Submission::SetPrice(worker, price) => call::set_price(worker, price),
                Submission::SetEndpoint(worker, endpoint) => call::set_endpoint(worker, &endpoint),
                Submission::Receipt(receipt) => call::submit_receipt(*receipt),
            };
            match timeout(limit, chain.submit(signer, call)).await {
                Ok(Ok(included)) => Ok(included.block.number),
                Ok(Err(error @ (chain::SubmitError::Unresolved { .. } | chain::SubmitError::Chain(_)))) => {
                    Err(SubmitError::Unknown(error.to_string()))
                }
                Ok(Err(chain::SubmitError::Dispatch(error))) if !may_succeed_later && is_permanent(&error) => {
                    Err(SubmitError::Permanent(error.to_string()))
                }
                Ok(Err(chain::SubmitError::Dispatch(error))) if is_unfit(&error) => {
                    Err(SubmitError::Unfit(error.to_string()))
                }
                Ok(Err(error)) => Err(SubmitError::Refused(error.to_string())),
                Err(_) => {
                    Err(SubmitError::Unknown(format!("not in a block of the node at {} within {limit:?}", self.url)))
                }
            }
        })
    }
}

impl JobsNode for RpcNode {
    fn assigned(&self, worker: WorkerId) -> BoxFuture<'_, Result<Vec<JobId>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.finalized().await?.assigned_jobs(worker).await }).await
        })
    }

    fn holders(&self, job: JobId) -> BoxFuture<'_, Result<Vec<WorkerId>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let holders = self.bounded(async { chain.finalized().await?.holders_of(job).await }).await?;
            Ok(holders.into_iter().map(|holder| holder.worker).collect())
        })
    }

    fn block_ms(&self) -> BoxFuture<'_, Result<u64, NodeError>> {
        Box::pin(async {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.block_ms() }).await
        })
    }
}

impl GatekeeperNode for RpcNode {
    fn peers(&self) -> BoxFuture<'_, Result<Vec<(GatekeeperId, String)>, NodeError>> {
        Box::pin(async {
            let chain = self.chain()?;
            let reading = async {
                let state = chain.best().await?;
                let players = state.sharing(NetworkKey::Root).await?.map(|sharing| sharing.players).unwrap_or_default();
                let mut peers = Vec::new();
                for (id, gatekeeper) in state.gatekeepers().await? {
                    if players.contains(&id) {
                        peers.push((id, String::from_utf8_lossy(&gatekeeper.endpoint).into_owned()));
                    }
                }
                Ok(peers)
            };
            self.bounded(reading).await
        })
    }

    fn say(&self, submission: phala_protocol::Submission) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(async move {
            let chain = self.chain().map_err(|error| SubmitError::Unknown(error.0))?;
            let call = match submission {
                phala_protocol::Submission::Post(post) => call::post(post),
                phala_protocol::Submission::Beacon(beacon) => call::submit_beacon(beacon),
                phala_protocol::Submission::LostShare(request) => call::report_lost_share(request),
                phala_protocol::Submission::Releases(releases) => call::log_releases(releases),
            };
            match timeout(READ_TIMEOUT, chain.submit_unsigned(call)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(chain::SubmitError::Chain(error))) => Err(SubmitError::Unknown(error.to_string())),
                Ok(Err(error)) => Err(SubmitError::Refused(error.to_string())),
                Err(_) => Err(SubmitError::Unknown(format!("no answer from the node at {}", self.url))),
            }
        })
    }

    fn seat(&self, seat: Account) -> BoxFuture<'_, Result<Option<Seat>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.seat(seat).await }).await
        })
    }

    fn gatekeeper(&self, id: GatekeeperId) -> BoxFuture<'_, Result<Option<Gatekeeper>, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.gatekeeper(id).await }).await
        })
    }

    fn session_keys(&self, seat: Account) -> BoxFuture<'_, Result<SessionKeys, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            self.bounded(chain.make_session_keys(seat)).await.map_err(|error| {
                NodeError(format!(
                    "{error}; it has to be the gatekeeper's own, and to allow unsafe methods to this host"
                ))
            })
        })
    }
}

/// Where documents of vendors are missing or over, as when a list is late, the chain would take a fee with each attempt to say so.
async fn check_documents(chain: &Chain, evidence: &Evidence) -> Result<(), SubmitError> {
    let checking = async { evidence::check_documents(&chain.best().await?, evidence).await };
    match timeout(READ_TIMEOUT, checking).await {
        Ok(Err(EvidenceError::Bad(error))) => Err(SubmitError::Refused(format!(
            "{error}; evidence is not submitted, nor a fee paid, until then (what the chain keeps, `phala collateral serve` brings)"
        ))),
        // Whoever cannot be asked now says it when the evidence is submitted.
        _ => Ok(()),
    }
}

/// Whether the chain refuses a registration for what the platform is at present.
fn is_unfit(error: &DispatchError) -> bool {
    error.pallet == "Attestation"
        && matches!(error.error.as_str(), "TcbRefused" | "PlatformRefused" | "Compromised" | "TierTooLow")
}

/// Whether the chain refuses a registration for what it says, and not for when it comes or for what else there is.
fn is_permanent(error: &DispatchError) -> bool {
    match error.pallet.as_str() {
        "Workers" => matches!(
            error.error.as_str(),
            "NotOperator"
                | "WrongWorker"
                | "WrongGenesis"
                | "BadSignature"
                | "PerformanceOutOfRange"
                | "PlatformChanged"
                | "EncryptionKeyChanged"
                | "InvalidEndpoint"
                | "InvalidPrice"
        ),
        "Attestation" => matches!(
            error.error.as_str(),
            "WrongRole"
                | "WrongOperator"
                | "WrongGenesis"
                | "SimulatedForbidden"
                | "EvidenceTooLarge"
                | "CertificateChain"
                | "Revoked"
                | "QuoteSignature"
                | "GuestUnprotected"
                | "MalformedEvidence"
                | "NoPlatformIdentity"
                | "StatementMismatch"
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_may_cure_is_tried_again() {
        let error = |pallet: &str, error: &str| DispatchError {
            pallet: pallet.into(),
            error: error.into(),
            docs: String::new(),
            advice: None,
        };
        assert!(is_permanent(&error("Workers", "PlatformChanged")));
        assert!(is_permanent(&error("Attestation", "SimulatedForbidden")));
        for (pallet, name) in [
            ("Attestation", "StaleStatement"),
            ("Attestation", "ImageNotAllowed"),
            ("Attestation", "PlatformTaken"),
            ("Workers", "StaleReport"),
            ("", "funds are unavailable"),
        ] {
            assert!(!is_permanent(&error(pallet, name)), "{pallet}::{name}");
        }
    }

    #[test]
    fn only_the_operators_key_submits_everything() {
        let alice = Signer::from_uri("//Alice").unwrap();
        let operator = alice.account();
        let bob = Signer::from_uri("//Bob").unwrap();
        let submits = |signer| Keys { operator, signer }.submits();
        assert_eq!(submits(Some(alice)), Submits::Everything);
        assert_eq!(submits(Some(bob)), Submits::HeartbeatsAndReceipts);
        assert_eq!(submits(None), Submits::Nothing);
    }
}
