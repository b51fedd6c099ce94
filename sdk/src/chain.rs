//! The chain: a connection, state at a block, transactions.
//!
//! A [`Chain`] is cheap to clone and may be used from many tasks at once. Once connected it reconnects by itself for
//! ever; calls that were under way wait for the connection. The interface is generated from the runtime's metadata, which is
//! committed beside this crate; a node with an incompatible runtime gives [`ChainError::Incompatible`], never a wrong
//! answer.

mod api;
pub mod call;
mod error;
mod state;
mod submit;

pub use call::{Call, SessionKeys};
pub use error::{ChainError, ConnectError, DispatchError, SubmitError};
pub use state::{AccountBalance, App, Ceremony, Epoch, Gatekeeper, Image, Job, Seat, Sharing, State, Worker, seat_id};
pub use submit::Included;

use serde::de::DeserializeOwned;
use std::{collections::HashMap, sync::Arc, time::Duration};
use subxt::{
    OnlineClient, SubstrateConfig,
    backend::LegacyBackend,
    rpcs::{
        RpcClient, UserError,
        client::{ReconnectingRpcClient, RpcParams, reconnecting_rpc_client::ExponentialBackoff},
    },
    utils::H256,
};
use tokio::sync::Mutex;

use crate::Account;

pub(crate) type Config = SubstrateConfig;
pub(crate) type AtBlock = subxt::OnlineClientAtBlock<Config>;

/// How long [`Chain::connect`] waits for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait between attempts to get through.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How often [`Chain::read`] begins anew.
const REREADS: u32 = 3;

/// A connection to a node.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    rpc: RpcClient,
    client: OnlineClient<Config>,
    /// One lock for each account: held from the choice of a nonce until the pool has the transaction.
    nonces: std::sync::Mutex<HashMap<Account, Arc<Mutex<()>>>>,
}

/// A block's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its height: 0 for genesis.
    pub number: u32,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Chain {
    /// Connects to a node's JSON-RPC over WebSocket.
    ///
    /// # Errors
    /// [`ConnectError`], after ten seconds at most.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        if !url.starts_with("ws://") && !url.starts_with("wss://") {
            return Err(ConnectError::Url(url.into()));
        }
        let unreachable = |reason: String| ConnectError::Unreachable { url: url.into(), reason };
        let connecting = async {
            // Finding out that nobody listens must be quick; a connection that was there once is worth any wait.
            probe(url).await.map_err(unreachable)?;
            let rpc = ReconnectingRpcClient::builder()
                .max_response_size(256 * 1024 * 1024)
                .request_timeout(Duration::from_secs(60))
                .retry_policy(ExponentialBackoff::from_millis(50).max_delay(Duration::from_secs(2)))
                .build(url)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let rpc = RpcClient::new(rpc);
            // The legacy methods work at any block that the node has and keep no state on either side, so
            // nothing has to be rebuilt after a reconnection.
            let backend = LegacyBackend::<Config>::builder().build(rpc.clone());
            let client =
                OnlineClient::from_backend(Arc::new(backend)).await.map_err(|error| unreachable(error.to_string()))?;
            Ok(Self { inner: Arc::new(Inner { url: url.into(), rpc, client, nonces: Default::default() }) })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))))
    }

    /// Connects, trying again for as long as the node cannot be reached.
    ///
    /// # Errors
    /// [`ConnectError::Url`], which waiting does not cure.
    pub async fn connect_patiently(url: &str) -> Result<Self, ConnectError> {
        loop {
            match Self::connect(url).await {
                Err(error @ ConnectError::Unreachable { .. }) => tracing::warn!(%error, "waiting for the node"),
                result => return result,
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The node's URL.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The hash of the chain's first block, which names the chain.
    pub fn genesis_hash(&self) -> [u8; 32] {
        self.inner.client.genesis_hash().0
    }

    /// Has the node make session keys for an owner. It keeps them, and does so only for who may call its unsafe methods.
    ///
    /// # Errors
    /// The node's; [`ChainError::Malformed`].
    pub async fn make_session_keys(&self, owner: Account) -> Result<SessionKeys, ChainError> {
        /// The node's answer.
        #[derive(serde::Deserialize)]
        struct Made {
            keys: String,
            #[serde(default)]
            proof: Option<String>,
        }
        let owner = format!("0x{}", hex::encode(owner.0));
        let made: Made = self.rpc("author_rotateKeysWithOwner", vec![owner.into()]).await?;
        let bytes = |text: &str| hex::decode(text.trim_start_matches("0x")).ok();
        let keys = bytes(&made.keys).zip(bytes(&made.proof.unwrap_or_default()));
        let (public, proof) = keys.ok_or(ChainError::Malformed("session keys"))?;
        Ok(SessionKeys { public, proof })
    }

    /// Calls any JSON-RPC method.
    ///
    /// # Errors
    /// The node's, or that of the connection.
    pub async fn rpc<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Vec<serde_json::Value>,
    ) -> Result<T, ChainError> {
        loop {
            let mut rpc_params = RpcParams::new();
            for param in &params {
                rpc_params.push(param).map_err(ChainError::from_rpc)?;
            }
            match self.inner.rpc.request(method, rpc_params).await {
                Err(error) if error.is_disconnected_will_reconnect() => {}
                result => return result.map_err(ChainError::from_rpc),
            }
        }
    }

    /// Whether the chain says of itself that it is for development: its keys are public and its PHA is worth nothing.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn is_development(&self) -> Result<bool, ChainError> {
        let kind: serde_json::Value = self.rpc("system_chainType", vec![]).await?;
        Ok(matches!(kind.as_str(), Some("Development" | "Local")))
    }

    /// State at the newest finalized block.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn finalized(&self) -> Result<State, ChainError> {
        let hash: H256 = self.rpc("chain_getFinalizedHead", vec![]).await?;
        self.at(hash.0).await
    }

    /// State at the best block, which may still be replaced by another.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn best(&self) -> Result<State, ChainError> {
        let hash: H256 = self.rpc("chain_getBlockHash", vec![]).await?;
        self.at(hash.0).await
    }

    /// What `read` gives of the state at the best block. Where a fork replaces that block meanwhile, and the node forgets its
    /// state, `read` begins anew with the block that is the best then.
    ///
    /// # Errors
    /// `read`'s; [`ChainError::Discarded`] only if that happens time and again.
    pub async fn read<T>(&self, read: impl AsyncFn(&State) -> Result<T, ChainError>) -> Result<T, ChainError> {
        for _ in 0..REREADS {
            match read(&self.best().await?).await {
                Err(ChainError::Discarded) => {}
                result => return result,
            }
        }
        read(&self.best().await?).await
    }

    /// State at a block.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn at(&self, hash: [u8; 32]) -> Result<State, ChainError> {
        Ok(State::new(self.inner.client.at_block(H256(hash)).await?))
    }

    /// State at the block of the best chain with a number.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn at_number(&self, number: u32) -> Result<State, ChainError> {
        Ok(State::new(self.inner.client.at_block(number).await?))
    }

    /// The best block whenever it changes.
    ///
    /// # Errors
    /// See [`ChainError`]; once subscribed, the stream never ends.
    pub async fn best_blocks(&self) -> Result<Blocks, ChainError> {
        Ok(Blocks { stream: self.client().stream_best_blocks().await?, chain: self.clone() })
    }

    pub(crate) fn client(&self) -> &OnlineClient<Config> {
        &self.inner.client
    }
}

/// Whether anybody listens at `url`: one TCP connection.
async fn probe(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("ws", url));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if scheme == "wss" { 443 } else { 80 };
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
}

/// The best block whenever it changes: a stream that survives its connection.
pub struct Blocks {
    chain: Chain,
    stream: subxt::client::Blocks<Config>,
}

impl Blocks {
    /// Waits for the next block. Never ends; while the node is away, it waits.
    pub async fn next(&mut self) -> Block {
        loop {
            let reason = match self.stream.next().await {
                Some(Ok(block)) => return Block { number: block.number() as u32, hash: block.hash().0 },
                Some(Err(error)) => error.to_string(),
                None => "it ended".into(),
            };
            tracing::warn!(reason, "the subscription to blocks was lost; subscribing again");
            tokio::time::sleep(RETRY_PAUSE).await;
            match self.chain.client().stream_best_blocks().await {
                Ok(stream) => self.stream = stream,
                Err(error) => tracing::warn!(%error, "cannot subscribe to blocks; trying again"),
            }
        }
    }
}

/// A JSON-RPC error of the node, as text.
pub(crate) fn user_error(error: &UserError) -> String {
    match &error.data {
        Some(data) => format!("{}: {}", error.message, data.get().trim_matches('"')),
        None => error.message.clone(),
    }
}
