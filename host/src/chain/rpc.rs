//! A node over its JSON-RPC, through the SDK.

use std::{future::Future, sync::OnceLock, time::Duration};

use futures::future::BoxFuture;
use phala_attestation::{Measurement, Role};
use phala_primitives::{Hash, JobId, WorkerId};
use phala_sdk::{
    Account, Signer,
    chain::{self, Chain, ChainError, call},
};
use tokio::time::timeout;

use super::{At, Heads, Job, Node, NodeError, Submission, SubmitError, Worker};

/// While a node is away, the SDK's calls wait for it; the host has other things to do.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK itself gives up after a minute.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(90);

/// For whom the host works.
pub enum OperatorKey {
    /// The host signs the operator's transactions.
    Held(Box<Signer>),
    /// Somebody else signs them.
    External(Account),
}

impl OperatorKey {
    /// The operator.
    pub fn account(&self) -> Account {
        match self {
            Self::Held(signer) => signer.account(),
            Self::External(account) => *account,
        }
    }

    /// Whether the host can sign.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }
}

/// A node over its JSON-RPC. Usable before it can be reached: until then it answers with errors.
pub struct RpcNode {
    url: String,
    chain: OnceLock<Chain>,
    key: OperatorKey,
}

impl RpcNode {
    /// Not connected yet: see [`Self::connect`].
    pub fn new(url: String, key: OperatorKey) -> Self {
        Self { url, chain: OnceLock::new(), key }
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

    fn image_allowed(&self, measurement: Measurement) -> BoxFuture<'_, Result<bool, NodeError>> {
        Box::pin(async move {
            let chain = self.chain()?;
            let image = self.bounded(async { chain.best().await?.image(measurement).await }).await?;
            Ok(image.is_some_and(|image| image.role == Role::Worker))
        })
    }

    fn verdict_lifetime(&self) -> BoxFuture<'_, Result<u64, NodeError>> {
        Box::pin(async {
            let chain = self.chain()?;
            self.bounded(async { chain.best().await?.verdict_lifetime().await }).await
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
            let OperatorKey::Held(signer) = &self.key else {
                return Err(SubmitError::Refused("the host does not hold the operator's key".into()));
            };
            let call = match submission {
                Submission::Register { registration, endpoint, price } => {
                    let phala_protocol::Registration { statement, evidence, performance } = *registration;
                    call::register(statement, evidence, performance, &endpoint, price)
                }
                Submission::Renew(registration) => {
                    call::renew(registration.statement, registration.evidence, registration.performance)
                }
                Submission::Heartbeat(heartbeat) => call::heartbeat(heartbeat),
                Submission::SetPrice(worker, price) => call::set_price(worker, price),
                Submission::SetEndpoint(worker, endpoint) => call::set_endpoint(worker, &endpoint),
                Submission::Receipt(receipt) => call::submit_receipt(*receipt),
            };
            match timeout(SUBMIT_TIMEOUT, chain.submit(signer, call)).await {
                Ok(Ok(included)) => Ok(included.block.number),
                Ok(Err(error @ (chain::SubmitError::Timeout(_) | chain::SubmitError::Chain(_)))) => {
                    Err(SubmitError::Unknown(error.to_string()))
                }
                Ok(Err(error)) => Err(SubmitError::Refused(error.to_string())),
                Err(_) => Err(SubmitError::Unknown(format!("no answer from the node at {}", self.url))),
            }
        })
    }
}
