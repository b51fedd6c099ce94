//! No way back, and no way on where the view of the chain cannot be trusted.
//!
//! - **Floor.** The highest finalized block ever seen is a floor under all that follow, across restarts: it is sealed and
//!   kept by the host. A heartbeat, a registration or an answer to a challenge is signed only when the host has stored a
//!   floor as high as the block that it names.
//! - **Old copies and clones.** So the newest sign of life that the chain has of this worker's key is one that this process
//!   has given, or is not above the floor loaded at the start: else the floor is an old copy, or was withheld, or another
//!   enclave uses a copy. Then nothing new is begun and no sign of life signed ([`Pause::RestoredState`]).
//! - **Contradictions.** Two finalized blocks of one number end the belief in the chain ([`Pause::Contradiction`]); so
//!   does a chain that has grown beyond the loaded floor and does not hold it, as far as its state knows old blocks.
//! - **Standstill.** When no block above the floor has been finalized for [`NO_FINALITY`], the chain stands still or is kept from this
//!   enclave, and nothing new is begun until the next one ([`Pause::NoFinality`]).
//!
//! Where the TEE does not seal, keys are new in each process, and no earlier one has named anything under them: there is no floor
//! to load, and none is stored.
//!
//! What remains: a host that keeps two enclaves with one state chooses which blocks each of them sees, and can so hide one
//! from the other; both have the same assignments, and the chain takes one receipt for each. A host that holds its enclave
//! at an old block shows it only what the chain had said by then: no later sign of life, no contradiction; after
//! [`NO_FINALITY`] nothing new is begun. Heartbeats are as fresh as the block that they name, receipts need a standing
//! assignment, and a user's challenge shows the old block. The clock is under the host's influence: one that it slows down
//! shows the standstill later.

use codec::{Decode, Encode};
use futures::future::BoxFuture;
use phala_attestation::Role;
use phala_primitives::{Hash, WorkerId};
use phala_protocol::{LogLevel, Pause, Refusal};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Block, Chain, ChainError, ChainWorker, block_hash_key, read, worker_key};
use crate::{
    Sealing, Tee,
    host::{Host, lock, refusal},
    text::{Hex, text},
};

/// How often the floor is stored at most, apart from signatures.
const STORE_EVERY: Duration = Duration::from_secs(30);

/// How long after the last finalized block nothing new is begun.
const NO_FINALITY: Duration = Duration::from_secs(60);

/// Signs of life whose blocks are remembered. Older ones are taken for this process's own: the chain has newer ones by then.
const REMEMBERED: usize = 1 << 16;

/// Blocks at which the chain's record of this worker is looked at before it is looked at now and then.
const COMPARED_AT_FIRST: u32 = 32;

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Floor {
    /// The chain.
    pub genesis_hash: Hash,
    /// The number of the highest finalized block seen.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
}

/// The name under which the floor of a chain is sealed.
pub fn sealed_name(genesis_hash: &Hash) -> String {
    format!("chain-{}", hex::encode(genesis_hash))
}

/// A chain that does not go back.
pub struct Guarded {
    chain: Arc<dyn Chain>,
    tee: Arc<dyn Tee>,
    host: Host,
    role: Role,
    id: [u8; 32],
    /// The floor that the host gave at the start: no earlier process has named a higher block.
    loaded: Option<Block>,
    /// When this began.
    began: Duration,
    state: Mutex<State>,
    /// One store at a time, so that no older floor takes the place of a newer one.
    storing: futures::lock::Mutex<()>,
}

#[derive(Default)]
struct State {
    floor: Option<Block>,
    stored: Option<Block>,
    /// The number of the newest block that this process has accepted, and when.
    newest: Option<(u32, Duration)>,
    /// The blocks that this process has named in what goes on chain: the newest [`REMEMBERED`].
    named: BTreeSet<u32>,
    /// The newest block that was named and is not remembered.
    forgotten: Option<u32>,
    /// How often the chain's record of this worker has been looked at.
    compared: u32,
    /// Two different blocks of one number were finalized: nothing on this chain can be believed any more.
    contradiction: bool,
    /// The chain has heard of this worker what this enclave does not know.
    restored: bool,
}

impl Guarded {
    /// Loads the floor of `chain` for the enclave of this id, whose keys this one has; there is none where they are new in each process.
    ///
    /// # Errors
    /// When the host has a floor that this enclave did not seal.
    pub async fn load(
        chain: Arc<dyn Chain>,
        tee: Arc<dyn Tee>,
        host: Host,
        role: Role,
        id: [u8; 32],
    ) -> Result<Self, Refusal> {
        let genesis_hash = chain.genesis_hash();
        let name = sealed_name(&genesis_hash);
        let floor = if let Some(sealing) = tee.sealing()
            && let Some(sealed) = host.load_sealed(&name).await?
        {
            Some(unseal(sealing, &name, &sealed, &genesis_hash).ok_or_else(|| {
                refusal(
                    false,
                    text!(
                        "the sealed progress `chain-",
                        Hex(genesis_hash),
                        "` was not made by this enclave on this platform, or was changed; bring the right one back, or \
                         remove all sealed blobs of this enclave to begin anew, under another id"
                    ),
                )
            })?)
        } else {
            None
        };
        Ok(Self::new(chain, tee, host, role, id, floor))
    }

    fn new(
        chain: Arc<dyn Chain>,
        tee: Arc<dyn Tee>,
        host: Host,
        role: Role,
        id: [u8; 32],
        floor: Option<Block>,
    ) -> Self {
        let state = State { floor, stored: floor, ..State::default() };
        Self {
            chain,
            began: tee.now(),
            tee,
            host,
            role,
            id,
            loaded: floor,
            state: Mutex::new(state),
            storing: futures::lock::Mutex::default(),
        }
    }

    /// Takes `block` if it is no step back. The result is the newest block accepted, if there is one now.
    fn accept(&self, block: Block) -> Option<Block> {
        let now = self.tee.now();
        let mut state = lock(&self.state);
        match state.floor {
            _ if state.contradiction => None,
            Some(floor) if block.number < floor.number => None,
            Some(floor) if block.number == floor.number && block.hash != floor.hash => {
                state.contradiction = true;
                drop(state);
                self.report_contradiction(floor, block.hash);
                None
            }
            _ => {
                state.floor = Some(block);
                if state.newest.is_none_or(|(number, _)| number < block.number) {
                    state.newest = Some((block.number, now));
                }
                Some(block)
            }
        }
    }

    fn report_contradiction(&self, before: Block, now: Hash) {
        self.host.log(
            LogLevel::Error,
            text!(
                "block ",
                before.number,
                " is finalized with two hashes, 0x",
                Hex(before.hash),
                " before and 0x",
                Hex(now),
                " now; this enclave follows the chain no further. Only for a development chain that began anew: stop, \
                 remove `chain-",
                Hex(self.chain.genesis_hash()),
                "`, start again"
            ),
        );
    }

    /// Why nothing new is begun at the moment.
    pub fn pause(&self) -> Option<Pause> {
        // There may be a newer block than anybody has asked for.
        self.finalized();
        let now = self.tee.now();
        let state = lock(&self.state);
        let since = now.saturating_sub(state.newest.map_or(self.began, |(_, at)| at));
        if state.contradiction {
            Some(Pause::Contradiction)
        } else if state.restored {
            Some(Pause::RestoredState)
        } else if since >= NO_FINALITY {
            Some(Pause::NoFinality { seconds: u32::try_from(since.as_secs()).unwrap_or(u32::MAX) })
        } else {
            None
        }
    }

    /// Compares the chain's record of this worker at the finalized `block` with what this enclave knows that its key has
    /// named. Where the chain knows more, [`pause`](Self::pause) says so from now on.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn compare(&self, block: Block) -> Result<(), ChainError> {
        if lock(&self.state).compared == 0 {
            self.compare_with_floor(block).await?;
        }
        let last_named = self.last_named(block).await?;
        let restored = {
            let mut state = lock(&self.state);
            state.compared = state.compared.saturating_add(1);
            let known = self.loaded.map(|floor| floor.number).max(state.forgotten);
            let unknown = last_named.is_some_and(|number| Some(number) > known && !state.named.contains(&number));
            let first = unknown && !state.restored;
            state.restored |= unknown;
            first
        };
        if restored {
            self.host.log(
                LogLevel::Error,
                text!(
                    Pause::RestoredState,
                    ". No new work is taken, no sign of life given. Stop the other enclave that uses this state, and \
                     give this one the newest copy; or remove `keys-",
                    Hex(self.chain.genesis_hash()),
                    "` and `chain-",
                    Hex(self.chain.genesis_hash()),
                    "` to begin anew, under another id"
                ),
            );
        }
        Ok(())
    }

    /// The newest block that this enclave's key has named, as far as the chain knows at `block`. Of a gatekeeper it knows
    /// none: what an old copy of its state cannot do, the ceremonies show.
    async fn last_named(&self, block: Block) -> Result<Option<u32>, ChainError> {
        match self.role {
            Role::Worker => {
                let key = worker_key(&WorkerId(self.id));
                let record = read::<ChainWorker>(&*self.chain, block.hash, key, "worker").await?;
                Ok(record.map(|record| record.last_heartbeat))
            }
            Role::Gatekeeper => Ok(None),
        }
    }

    /// At each block in the beginning, when signs of life of before may still be on their way into a finalized block. Then at
    /// one block in eight, chosen at random: a clone whose signs of life always come just after this enclave's would not be
    /// seen at the times of these.
    fn compares_now(&self) -> bool {
        let compared = lock(&self.state).compared;
        let mut random = [0];
        self.tee.fill_random(&mut random);
        compared < COMPARED_AT_FIRST || random < [32]
    }

    /// Looks for the loaded floor among the ancestors of `block`, of which the chain's state knows the newest few thousand.
    async fn compare_with_floor(&self, block: Block) -> Result<(), ChainError> {
        let Some(floor) = self.loaded.filter(|floor| floor.number < block.number) else { return Ok(()) };
        let ancestor = read::<Hash>(&*self.chain, block.hash, block_hash_key(floor.number), "block hash").await?;
        if let Some(ancestor) = ancestor.filter(|ancestor| *ancestor != floor.hash) {
            let first = !std::mem::replace(&mut lock(&self.state).contradiction, true);
            if first {
                self.report_contradiction(floor, ancestor);
            }
        }
        Ok(())
    }

    /// The newest finalized block, to be named in what goes on chain.
    ///
    /// # Errors
    /// When there is none, the host does not store it, or this enclave's state is an old copy.
    pub async fn named_on_chain(&self) -> Result<Block, Refusal> {
        let block = self.newest()?;
        self.compare(block).await.map_err(unreadable)?;
        self.store().await?;
        let mut state = lock(&self.state);
        state.named.insert(block.number);
        if state.named.len() > REMEMBERED {
            state.forgotten = state.named.pop_first();
        }
        Ok(block)
    }

    /// The newest finalized block, to be named in an answer to a user.
    ///
    /// # Errors
    /// As [`named_on_chain`](Self::named_on_chain).
    pub async fn named_to_a_user(&self) -> Result<Block, Refusal> {
        let block = self.newest()?;
        let is_first = lock(&self.state).compared == 0;
        if is_first {
            self.compare(block).await.map_err(unreadable)?;
        }
        self.store().await?;
        Ok(block)
    }

    fn newest(&self) -> Result<Block, Refusal> {
        let block = self.finalized();
        self.usable()?;
        block.ok_or_else(no_finality)
    }

    fn usable(&self) -> Result<(), Refusal> {
        match self.pause() {
            Some(pause @ (Pause::Contradiction | Pause::RestoredState)) => Err(paused(pause)),
            Some(Pause::NoFinality { .. }) | None => Ok(()),
        }
    }

    /// Seals and stores the floor when it has risen, if a later process can have the same keys; but not one by which that process
    /// would no longer see why this one pauses.
    async fn store(&self) -> Result<(), Refusal> {
        self.usable()?;
        let Some(sealing) = self.tee.sealing() else { return Ok(()) };
        let _turn = self.storing.lock().await;
        let (floor, stored) = {
            let state = lock(&self.state);
            (state.floor, state.stored)
        };
        let Some(block) = floor.filter(|_| floor != stored) else { return Ok(()) };
        let genesis_hash = self.chain.genesis_hash();
        let name = sealed_name(&genesis_hash);
        let encoded = Floor { genesis_hash, number: block.number, hash: block.hash }.encode();
        self.host.store_sealed(&name, sealing.seal(&name, &encoded)).await?;
        lock(&self.state).stored = Some(block);
        Ok(())
    }

    /// Takes each finalized block and stores the floor now and then, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut last_stored: Option<Duration> = None;
        let mut after = None;
        loop {
            let next = async { Some(self.chain.finalized_after(after).await) };
            let standstill = async {
                self.tee.sleep(NO_FINALITY).await;
                None
            };
            let Some(block) = futures_lite::future::or(next, standstill).await else {
                if let Some(pause) = self.pause() {
                    self.host.log(LogLevel::Warn, text!("no new work is taken: ", pause));
                }
                continue;
            };
            after = Some(block.number);
            let first = last_stored.is_none();
            if self.accept(block).is_none() {
                continue;
            }
            if first {
                self.host.log(LogLevel::Info, text!("following the chain from finalized block ", block.number));
            }
            if self.compares_now()
                && let Err(error) = self.compare(block).await
            {
                self.host
                    .log(LogLevel::Debug, text!("the chain's record of this worker could not be read yet: ", error));
            }
            if last_stored.is_none_or(|at| self.tee.now().saturating_sub(at) >= STORE_EVERY) {
                last_stored = Some(self.tee.now());
                if let Err(error) = self.store().await {
                    self.host.log(LogLevel::Warn, text!("the chain's progress is not stored: ", &error));
                }
            }
        }
    }
}

/// The refusal of what a pause does not allow.
pub fn paused(pause: Pause) -> Refusal {
    refusal(matches!(pause, Pause::NoFinality { .. }), text!(pause))
}

/// The refusal before the first finalized block.
pub fn no_finality() -> Refusal {
    refusal(true, "the light client has not seen a finalized block yet; is the node reachable?")
}

fn unreadable(error: ChainError) -> Refusal {
    refusal(true, text!("the chain's record of this worker could not be read: ", error))
}

fn unseal(sealing: &dyn Sealing, name: &str, sealed: &[u8], genesis_hash: &Hash) -> Option<Block> {
    let encoded = sealing.unseal(name, sealed).ok()?;
    let floor: Floor = codec::DecodeAll::decode_all(&mut &encoded[..]).ok()?;
    (floor.genesis_hash == *genesis_hash).then_some(Block { number: floor.number, hash: floor.hash })
}

impl Chain for Guarded {
    fn genesis_hash(&self) -> Hash {
        self.chain.genesis_hash()
    }

    fn finalized(&self) -> Option<Block> {
        self.accept(self.chain.finalized()?)
    }

    fn finalized_after(&self, after: Option<u32>) -> BoxFuture<'_, Block> {
        Box::pin(async move {
            let mut after = after;
            loop {
                let block = self.chain.finalized_after(after).await;
                match self.accept(block) {
                    Some(block) => return block,
                    None => after = Some(block.number),
                }
            }
        })
    }

    fn storage(&self, at: Hash, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Vec<u8>>, ChainError>> {
        self.chain.storage(at, key)
    }

    fn peers(&self) -> u32 {
        self.chain.peers()
    }

    fn update(&self, spec: &super::ChainSpec) -> bool {
        self.chain.update(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeChain, TestTee, registered};
    use futures_lite::future::{block_on, poll_once};

    const WORKER: WorkerId = WorkerId([3; 32]);

    fn block(number: u32) -> Block {
        Block { number, hash: [number as u8; 32] }
    }

    fn guarded(floor: Option<Block>) -> (Arc<FakeChain>, Arc<TestTee>, Guarded) {
        let (chain, tee) = (Arc::new(FakeChain::new([1; 32])), Arc::new(TestTee::new(1)));
        let guard = Guarded::new(chain.clone(), tee.clone(), Host::default(), Role::Worker, WORKER.0, floor);
        (chain, tee, guard)
    }

    fn on_chain(chain: &FakeChain, last_heartbeat: u32) {
        chain.store(worker_key(&WORKER), registered(last_heartbeat).encode());
    }

    #[test]
    fn a_lower_block_is_not_reported() {
        let (chain, _, guard) = guarded(Some(block(10)));
        chain.finalize(block(9));
        assert_eq!(guard.finalized(), None);
        chain.finalize(block(11));
        assert_eq!(guard.finalized(), Some(block(11)));
        assert_eq!(block_on(guard.finalized_after(Some(3))).number, 11);
    }

    #[test]
    fn the_same_block_is_reported_and_another_of_its_number_ends_all() {
        let (chain, _, guard) = guarded(Some(block(10)));
        chain.finalize(block(10));
        assert_eq!((guard.finalized(), guard.pause()), (Some(block(10)), None));
        chain.finalize(Block { number: 10, hash: [99; 32] });
        assert_eq!(guard.finalized(), None);
        chain.finalize(block(12));
        assert_eq!((guard.finalized(), guard.pause()), (None, Some(Pause::Contradiction)));
        assert!(!block_on(guard.named_on_chain()).unwrap_err().retry);
        assert!(!block_on(guard.named_to_a_user()).unwrap_err().retry);
    }

    #[test]
    fn a_standstill_pauses_until_the_next_block() {
        let (chain, tee, guard) = guarded(Some(block(10)));
        assert_eq!(guard.pause(), None);
        // Before the first block, and while there are only blocks below the floor.
        chain.finalize(block(9));
        tee.pass(2 * NO_FINALITY);
        assert!(matches!(guard.pause(), Some(Pause::NoFinality { seconds: 120.. })));
        chain.finalize(block(11));
        assert_eq!(guard.pause(), None);
        tee.pass(NO_FINALITY + Duration::from_secs(1));
        assert!(matches!(guard.pause(), Some(Pause::NoFinality { seconds: 61.. })));
        assert!(paused(guard.pause().unwrap()).retry);
        chain.finalize(block(12));
        assert_eq!(guard.pause(), None);
    }

    #[test]
    fn newer_signs_of_life_than_the_floor_show_an_old_copy() {
        // Loaded floor, newest sign of life on chain, whether it shows.
        let cases = [(Some(10), 9, false), (Some(10), 10, false), (Some(10), 11, true), (None, 1, true)];
        for (floor, last_heartbeat, shows) in cases {
            let (chain, _, guard) = guarded(floor.map(block));
            chain.finalize(block(20));
            block_on(guard.compare(block(20))).unwrap();
            assert_eq!(guard.pause(), None, "a worker that is not registered");
            on_chain(&chain, last_heartbeat);
            block_on(guard.compare(block(20))).unwrap();
            assert_eq!(guard.pause(), shows.then_some(Pause::RestoredState), "{floor:?} {last_heartbeat}");
        }
    }

    #[test]
    fn signs_of_life_of_a_clone_are_noticed() {
        let (chain, _, guard) = guarded(Some(block(10)));
        lock(&guard.state).stored = Some(block(20));
        chain.finalize(block(20));
        assert_eq!(block_on(guard.named_on_chain()), Ok(block(20)));
        // Its own.
        on_chain(&chain, 20);
        block_on(guard.compare(block(20))).unwrap();
        assert_eq!(guard.pause(), None);
        // A clone's, though this process has given a newer one since. What it has told users hides nothing either.
        chain.finalize(block(30));
        lock(&guard.state).stored = Some(block(30));
        assert_eq!(block_on(guard.named_on_chain()), Ok(block(30)));
        assert_eq!(block_on(guard.named_to_a_user()), Ok(block(30)));
        on_chain(&chain, 25);
        assert_eq!(block_on(guard.named_on_chain()), Err(paused(Pause::RestoredState)));
        assert_eq!(block_on(guard.named_to_a_user()), Err(paused(Pause::RestoredState)));
    }

    #[test]
    fn a_fork_that_has_grown_beyond_the_floor_is_noticed() {
        for (ancestor, pause) in [(Some([10; 32]), None), (None, None), (Some([9; 32]), Some(Pause::Contradiction))] {
            let (chain, _, guard) = guarded(Some(block(10)));
            if let Some(ancestor) = ancestor {
                chain.store(block_hash_key(10), Hash::encode(&ancestor));
            }
            chain.finalize(block(20));
            block_on(guard.compare(block(20))).unwrap();
            assert_eq!(guard.pause(), pause, "{ancestor:?}");
        }
    }

    #[test]
    fn nothing_is_named_before_the_floor_is_stored() {
        let (chain, _, guard) = guarded(None);
        chain.finalize(block(5));
        // The host, which is absent, has not stored it.
        assert_eq!(block_on(poll_once(guard.named_on_chain())), None);
        assert_eq!(block_on(poll_once(guard.named_to_a_user())), None);
        assert!(lock(&guard.state).named.is_empty());
    }

    #[test]
    fn a_floor_of_another_chain_platform_or_name_does_not_unseal() {
        let tee = TestTee::new(1);
        let name = sealed_name(&[1; 32]);
        let sealed = tee.seal(&name, &Floor { genesis_hash: [1; 32], number: 5, hash: [5; 32] }.encode());
        assert_eq!(unseal(&tee, &name, &sealed, &[1; 32]), Some(block(5)));
        assert_eq!(unseal(&tee, &name, &sealed, &[2; 32]), None);
        assert_eq!(unseal(&tee, "chain-other", &sealed, &[1; 32]), None);
        assert_eq!(unseal(&TestTee::new(2), &name, &sealed, &[1; 32]), None);
    }
}
