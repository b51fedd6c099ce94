//! The light client: smoldot, asked through its own JSON-RPC.
//!
//! It starts from the genesis state in the specification, with no checkpoint and no database, and reaches the chain's head by
//! warp sync: GRANDPA justifications from one authority set to the next, each verified. (smoldot ignores the finalized block of a
//! database unless the specification has a checkpoint; the sealed floor of [`Guarded`](super::Guarded) keeps what must
//! survive a restart.) Storage is read by Merkle proof against the state root of a finalized block.
//!
//! Where smoldot comes no further for long, it is started anew, with nothing of its state: the chain may stand still, or
//! smoldot may have lost its way into it. The new one must find the last block of the old one on its chain: whoever has the
//! keys of former authorities could show another history from genesis.

use futures::{FutureExt, StreamExt, channel::oneshot, future::BoxFuture, stream::FuturesUnordered};
use futures_lite::future;
use phala_primitives::Hash;
use serde_json::{Value, json};
use smoldot_light::{
    AddChainConfig, AddChainConfigJsonRpc, ChainId, Client, JsonRpcResponses,
    lifecycle_service::{Phase, Subscription},
};
use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZero,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{Block, Chain, ChainError, ChainSpec, Platform, block_hash_key};
use crate::{host::lock, text::text};

/// Finalized blocks whose state can be read.
const KEPT_BLOCKS: usize = 16;

/// How long one attempt to read storage may take.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts to read storage.
const STORAGE_ATTEMPTS: usize = 4;

/// How long to wait for one before the next.
const NEXT_AFTER: Duration = Duration::from_secs(2);

/// How long to wait before asking smoldot again what it refused.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long smoldot may come no further before it is started anew. More than the two minutes after which full nodes repeat
/// to each other which votes they have, which ends most standstills. Twice as long each time that this did not help.
const STANDSTILL: Duration = Duration::from_secs(180);

/// The longest of these.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(48 * 60);

/// How often smoldot's state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause between one smoldot and the next.
const RENEW_AFTER: Duration = Duration::from_secs(5);

/// A smoldot light client of one chain.
pub struct LightClient {
    /// The smoldot that runs.
    rpc: Mutex<Arc<Rpc>>,
    platform: Platform,
    /// With the boot nodes that the host gave last.
    spec: Mutex<ChainSpec>,
    genesis_hash: Hash,
    peers: AtomicU32,
    head: Mutex<Head>,
}

#[derive(Default)]
struct Head {
    /// Never of a lower number than before.
    finalized: Option<Block>,
    /// One smoldot's chain was not that of the one before: nothing more is shown.
    forked: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

/// Why the light client did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// smoldot refused the specification.
    #[error("the light client refused the chain specification: {0}")]
    Spec(String),
    /// smoldot ended.
    #[error("the light client ended at once")]
    Ended,
}

impl LightClient {
    pub(crate) async fn start(spec: ChainSpec, platform: Platform) -> Result<Arc<Self>, StartError> {
        let (rpc, mut responses) = Rpc::start(&spec, &platform)?;
        // The genesis hash is asked for before anybody else reads responses.
        let genesis_hash = rpc.genesis(&mut responses).await.ok_or(StartError::Ended)?;
        let this = Arc::new(Self {
            rpc: Mutex::new(rpc),
            platform: platform.clone(),
            spec: Mutex::new(spec),
            genesis_hash,
            peers: AtomicU32::new(0),
            head: Mutex::default(),
        });
        platform.spawn(this.clone().run(responses));
        Ok(this)
    }

    /// The smoldot that runs.
    fn rpc(&self) -> Arc<Rpc> {
        lock(&self.rpc).clone()
    }

    /// Learns the boot nodes of another specification of the same chain. `false` when it is another chain.
    pub(crate) fn update(&self, new: &ChainSpec) -> bool {
        let mut spec = lock(&self.spec);
        if !spec.same_chain(new) {
            return false;
        }
        if self.rpc().learn_boot_nodes(new) {
            *spec = new.clone();
        }
        true
    }

    /// Follows the chain, for ever.
    async fn run(self: Arc<Self>, mut responses: JsonRpcResponses<Platform>) {
        let mut patience = STANDSTILL;
        loop {
            let rpc = self.rpc();
            let before = self.number();
            let ended = AssertUnwindSafe(self.live(&rpc, responses, patience)).catch_unwind().await;
            self.platform.note(match ended {
                Ok(Ended::Standstill) => text!("light client: no block was finalized for long; starting anew"),
                Ok(Ended::Gone) | Err(_) => text!("light client: it failed; starting anew"),
            });
            if self.number() == before {
                patience = patience.saturating_mul(2).min(LONGEST_STANDSTILL);
            }
            responses = self.renew(&rpc).await;
        }
    }

    /// The life of one smoldot.
    async fn live(&self, rpc: &Rpc, responses: JsonRpcResponses<Platform>, patience: Duration) -> Ended {
        let (events, received) = async_channel::unbounded();
        let dispatching = async {
            rpc.dispatch(responses, events).await;
            Ended::Gone
        };
        let watching = async {
            self.watch(rpc, patience).await;
            Ended::Standstill
        };
        future::or(dispatching, future::or(self.follow(rpc, received), watching)).await
    }

    fn number(&self) -> Option<u32> {
        self.finalized().map(|block| block.number)
    }

    /// Counts peers until smoldot has come no further for that long, and up to an eighth more by chance, so that not all
    /// enclaves begin anew at the same time. Looks are counted, since the clock may jump.
    async fn watch(&self, rpc: &Rpc, patience: Duration) {
        let tee = self.platform.tee();
        let mut random = [0];
        tee.fill_random(&mut random);
        let patience = patience.mul_f64(1.0 + f64::from(random[0]) / 2048.0);
        // Kept, since smoldot looks at its peers only while somebody listens.
        let Some(mut states) = rpc.lifecycle() else { return };
        let (mut last, mut still, mut proved) = (None, Duration::ZERO, None);
        while still < patience {
            if let Some(Some(state)) = states.next().now_or_never() {
                self.peers.store(state.num_peers, Ordering::Relaxed);
                proved = match state.phase {
                    Phase::Syncing { at, .. } => Some(at),
                    Phase::Connecting | Phase::Ready => None,
                };
            }
            let now = Some((self.number(), proved));
            still = if now == last { still.saturating_add(LOOK_EVERY) } else { Duration::ZERO };
            last = now;
            tee.sleep(LOOK_EVERY).await;
        }
    }

    /// Ends one smoldot and starts another.
    async fn renew(&self, old: &Rpc) -> JsonRpcResponses<Platform> {
        old.end();
        self.peers.store(0, Ordering::Relaxed);
        loop {
            self.platform.tee().sleep(RENEW_AFTER).await;
            // Held so that no boot node is learned in between.
            let spec = lock(&self.spec);
            if let Ok((rpc, responses)) = Rpc::start(&spec, &self.platform) {
                *lock(&self.rpc) = rpc;
                return responses;
            }
        }
    }

    /// Follows the chain's head, for ever.
    async fn follow(&self, rpc: &Rpc, events: async_channel::Receiver<Event>) -> Ended {
        // The last block of the smoldot before this one, until it is found on this one's chain.
        let mut anchor = self.finalized();
        loop {
            let Some(Value::String(subscription)) = rpc.call("chainHead_v1_follow", json!([false])).await else {
                self.platform.tee().sleep(RETRY_AFTER).await;
                continue;
            };
            *lock(&rpc.subscription) = Some(subscription.clone());
            let mut kept = VecDeque::new();
            while let Ok(event) = events.recv().await {
                if event.subscription != subscription {
                    continue;
                }
                match event.kind.as_str() {
                    "initialized" | "finalized" => {
                        if let Some(newest) = newest(rpc, &subscription, &event.result, &mut kept).await {
                            self.take(rpc, &mut anchor, newest).await;
                        }
                    }
                    "stop" => break,
                    _ => {}
                }
            }
            *lock(&rpc.subscription) = None;
            rpc.fail_operations();
        }
    }

    /// Shows `newest` if it descends from the anchor, as far as its state knows old blocks. If it does not, the block that
    /// its chain has in the anchor's place is shown instead, and nothing after it: a contradiction, as
    /// [`Guarded`](super::Guarded) sees.
    async fn take(&self, rpc: &Rpc, anchor: &mut Option<Block>, newest: Block) {
        if lock(&self.head).forked || Some(newest.number) < self.number() {
            return;
        }
        if let Some(old) = anchor.filter(|old| old.number < newest.number) {
            let Ok(recorded) = rpc.storage(newest.hash, &block_hash_key(old.number)).await else { return };
            let recorded = recorded.and_then(|bytes| Hash::try_from(bytes).ok());
            if let Some(hash) = recorded.filter(|recorded| *recorded != old.hash) {
                lock(&self.head).forked = true;
                return self.show(Block { number: old.number, hash });
            }
            *anchor = None;
        }
        self.show(newest);
    }

    fn show(&self, block: Block) {
        let waiting = {
            let mut head = lock(&self.head);
            head.finalized = Some(block);
            std::mem::take(&mut head.waiting)
        };
        for waiter in waiting {
            let _ = waiter.send(());
        }
    }

    /// Reads storage from a peer, and from one more each time that none has answered for a while: one that is silent is given
    /// up by smoldot after 20 seconds only. Which peer is asked is chance.
    async fn read(&self, at: Hash, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let tee = self.platform.tee();
        let mut asked = FuturesUnordered::new();
        for attempt in 1..=STORAGE_ATTEMPTS {
            let rpc = self.rpc();
            asked.push(async move { rpc.storage(at, key).await });
            let answer = async {
                while let Some(answer) = asked.next().await {
                    if matches!(answer, Ok(_) | Err(ChainError::UnknownBlock)) {
                        return Some(answer);
                    }
                }
                tee.sleep(RETRY_AFTER).await;
                None
            };
            let patience = async {
                tee.sleep(if attempt < STORAGE_ATTEMPTS { NEXT_AFTER } else { STORAGE_TIMEOUT }).await;
                None
            };
            if let Some(answer) = future::or(answer, patience).await {
                return answer;
            }
        }
        Err(ChainError::Unavailable)
    }
}

impl Chain for LightClient {
    fn genesis_hash(&self) -> Hash {
        self.genesis_hash
    }

    fn finalized(&self) -> Option<Block> {
        lock(&self.head).finalized
    }

    fn finalized_after(&self, after: Option<u32>) -> BoxFuture<'_, Block> {
        Box::pin(async move {
            loop {
                let wait = {
                    let mut head = lock(&self.head);
                    match head.finalized {
                        Some(block) if after.is_none_or(|after| block.number > after) => return block,
                        _ => {
                            let (sender, wait) = oneshot::channel();
                            head.waiting.retain(|waiter| !waiter.is_canceled());
                            head.waiting.push(sender);
                            wait
                        }
                    }
                };
                let _ = wait.await;
            }
        })
    }

    fn storage(&self, at: Hash, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Vec<u8>>, ChainError>> {
        Box::pin(async move { self.read(at, &key).await })
    }

    fn peers(&self) -> u32 {
        self.peers.load(Ordering::Relaxed)
    }

    fn update(&self, spec: &ChainSpec) -> bool {
        LightClient::update(self, spec)
    }
}

fn config(spec: &ChainSpec) -> AddChainConfig<'_, (), std::iter::Empty<ChainId>> {
    AddChainConfig {
        user_data: (),
        specification: spec.json(),
        database_content: "",
        potential_relay_chains: std::iter::empty(),
        json_rpc: AddChainConfigJsonRpc::Enabled { max_pending_requests: NonZero::<u32>::MAX, max_subscriptions: 16 },
        statement_protocol_config: None,
    }
}

/// A notification of the chain's head.
struct Event {
    subscription: String,
    kind: String,
    result: Value,
}

/// The newest block that an event says is finalized. Unpins those that are not kept.
async fn newest(rpc: &Rpc, subscription: &str, event: &Value, kept: &mut VecDeque<Value>) -> Option<Block> {
    let hashes = |field| event.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut unpin = hashes("prunedBlockHashes");
    let finalized = hashes("finalizedBlockHashes");
    let newest = finalized.last().cloned().unwrap_or_default();
    let header = rpc.call("chainHead_v1_header", json!([subscription, newest])).await;
    kept.extend(finalized);
    while kept.len() > KEPT_BLOCKS {
        unpin.extend(kept.pop_front());
    }
    if !unpin.is_empty() {
        rpc.call("chainHead_v1_unpin", json!([subscription, unpin])).await;
    }
    let block = Block { number: block_number(header?.as_str()?)?, hash: hash(&newest)? };
    (block.number > 0).then_some(block)
}

/// Why one smoldot is followed by another.
enum Ended {
    /// It came no further.
    Standstill,
    /// It is gone.
    Gone,
}

/// A smoldot, asked through its JSON-RPC.
struct Rpc {
    /// `None` once it has ended.
    client: Mutex<Option<Client<Platform>>>,
    chain: ChainId,
    platform: Platform,
    /// The current subscription to the chain's head.
    subscription: Mutex<Option<String>>,
    state: Mutex<RpcState>,
}

#[derive(Default)]
struct RpcState {
    next_id: u64,
    calls: BTreeMap<u64, Call>,
    /// Reads of storage that have started, by smoldot's id of them.
    operations: BTreeMap<String, Operation>,
}

enum Call {
    Plain(oneshot::Sender<Option<Value>>),
    /// What the call starts, for which events can come right after the answer.
    Storage(Operation),
}

struct Operation {
    key: Value,
    value: Option<Vec<u8>>,
    done: oneshot::Sender<Result<Option<Vec<u8>>, ChainError>>,
}

impl Rpc {
    fn start(spec: &ChainSpec, platform: &Platform) -> Result<(Arc<Self>, JsonRpcResponses<Platform>), StartError> {
        let mut client = Client::new(platform.clone());
        let added = client.add_chain(config(spec)).map_err(|error| StartError::Spec(error.to_string()))?;
        let rpc = Self {
            client: Mutex::new(Some(client)),
            chain: added.chain_id,
            platform: platform.clone(),
            subscription: Mutex::default(),
            state: Mutex::default(),
        };
        Ok((Arc::new(rpc), added.json_rpc_responses.ok_or(StartError::Ended)?))
    }

    /// Ends smoldot; whoever waits for it gets no answer.
    fn end(&self) {
        if let Some(mut client) = lock(&self.client).take() {
            let () = client.remove_chain(self.chain);
        }
        *lock(&self.subscription) = None;
        let mut state = lock(&self.state);
        state.calls.clear();
        state.operations.clear();
    }

    /// What smoldot does: its state, and the newest after each change. `None` once it has ended.
    fn lifecycle(&self) -> Option<Subscription> {
        Some(lock(&self.client).as_ref()?.lifecycle_state(self.chain))
    }

    /// Whether smoldot takes the specification.
    fn learn_boot_nodes(&self, spec: &ChainSpec) -> bool {
        let mut client = lock(&self.client);
        // The next one is started with it.
        let Some(client) = &mut *client else { return true };
        // smoldot sees that it is the chain that it already follows, and only learns the new boot nodes.
        let added = client.add_chain(config(spec)).map(|added| client.remove_chain(added.chain_id));
        added.is_ok()
    }

    /// Hands smoldot's responses to whoever waits for them, until there are no more.
    async fn dispatch(&self, mut responses: JsonRpcResponses<Platform>, events: async_channel::Sender<Event>) {
        while let Some(response) = responses.next().await {
            if let Ok(response) = serde_json::from_str::<Value>(&response)
                && let Some(event) = self.handle(response)
            {
                let _ = events.send(event).await;
            }
        }
    }

    async fn genesis(&self, responses: &mut JsonRpcResponses<Platform>) -> Option<Hash> {
        self.send(0, "chainSpec_v1_genesisHash", &json!([]))?;
        let response: Value = serde_json::from_str(&responses.next().await?).ok()?;
        hash(response.get("result")?)
    }

    fn send(&self, id: u64, method: &str, params: &Value) -> Option<()> {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        lock(&self.client).as_mut()?.json_rpc_request(request, self.chain).ok()
    }

    fn begin(&self, call: Call) -> u64 {
        let mut state = lock(&self.state);
        state.next_id = state.next_id.wrapping_add(1);
        let id = state.next_id;
        state.calls.insert(id, call);
        id
    }

    /// Calls a method. `None` when it fails.
    async fn call(&self, method: &str, params: Value) -> Option<Value> {
        let (sender, result) = oneshot::channel();
        let id = self.begin(Call::Plain(sender));
        if self.send(id, method, &params).is_none() {
            lock(&self.state).calls.remove(&id);
            return None;
        }
        result.await.ok().flatten()
    }

    async fn storage(&self, at: Hash, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let subscription = lock(&self.subscription).clone().ok_or(ChainError::Unavailable)?;
        let (done, result) = oneshot::channel();
        let key = Value::String(format!("0x{}", hex::encode(key)));
        let at = format!("0x{}", hex::encode(at));
        let params = json!([subscription, at, [{ "key": key, "type": "value" }], null]);
        let id = self.begin(Call::Storage(Operation { key, value: None, done }));
        if self.send(id, "chainHead_v1_storage", &params).is_none() {
            lock(&self.state).calls.remove(&id);
            return Err(ChainError::Unavailable);
        }
        let timeout = async {
            self.platform.tee().sleep(STORAGE_TIMEOUT).await;
            Err(ChainError::Unavailable)
        };
        future::or(async { result.await.unwrap_or(Err(ChainError::Unavailable)) }, timeout).await
    }

    /// Takes a response or a notification. Returns what the follower of the head should see.
    fn handle(&self, mut response: Value) -> Option<Event> {
        if let Some(id) = response.get("id").and_then(Value::as_u64) {
            let mut state = lock(&self.state);
            let result = response.get_mut("result").map(Value::take);
            match state.calls.remove(&id)? {
                Call::Plain(sender) => {
                    let _ = sender.send(result);
                }
                Call::Storage(operation) => match result {
                    Some(started) => match started.get("operationId").and_then(Value::as_str) {
                        Some(id) => {
                            state.operations.retain(|_, operation| !operation.done.is_canceled());
                            state.operations.insert(id.to_owned(), operation);
                        }
                        None => drop(operation.done.send(Err(ChainError::Unavailable))),
                    },
                    None => drop(operation.done.send(Err(ChainError::UnknownBlock))),
                },
            }
            return None;
        }
        let params = response.get_mut("params")?;
        let subscription = params.get("subscription")?.as_str()?.to_owned();
        let result = params.get_mut("result")?.take();
        let kind = result.get("event")?.as_str()?.to_owned();
        if kind.starts_with("operation") {
            self.operation(&kind, &result);
            return None;
        }
        Some(Event { subscription, kind, result })
    }

    fn operation(&self, kind: &str, event: &Value) -> Option<()> {
        let id = event.get("operationId")?.as_str()?;
        let mut state = lock(&self.state);
        if kind == "operationStorageItems" {
            let operation = state.operations.get_mut(id)?;
            let items = event.get("items")?.as_array()?;
            let item = items.iter().find(|item| item.get("key") == Some(&operation.key))?;
            operation.value = Some(bytes(item.get("value")?)?);
        } else {
            let operation = state.operations.remove(id)?;
            let result = match kind {
                "operationStorageDone" => Ok(operation.value),
                _ => Err(ChainError::Unavailable),
            };
            let _ = operation.done.send(result);
        }
        Some(())
    }

    fn fail_operations(&self) {
        let operations = std::mem::take(&mut lock(&self.state).operations);
        drop(operations);
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

fn hash(value: &Value) -> Option<Hash> {
    bytes(value)?.try_into().ok()
}

/// The block number in a SCALE-encoded header: it follows the parent's hash.
fn block_number(header: &str) -> Option<u32> {
    let header = bytes(&Value::String(header.to_owned()))?;
    let mut rest = header.get(32..)?;
    <codec::Compact<u32> as codec::Decode>::decode(&mut rest).ok().map(|number| number.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_numbers_are_read_from_headers() {
        let header = codec::Encode::encode(&([7u8; 32], codec::Compact(70_000u32), [1u8; 64]));
        assert_eq!(block_number(&format!("0x{}", hex::encode(header))), Some(70_000));
        assert_eq!(block_number("0x00"), None);
        assert_eq!(block_number("zz"), None);
    }
}
