//! No way back: the highest finalized block ever seen is a floor under all that follow, across restarts.
//!
//! The floor is sealed and kept by the host. A host that gives back an *older* sealed floor can undo that much of it:
//! a TEE without a monotonic counter cannot notice. What such a host gains is bounded by the chain: it accepts only
//! recent blocks in registrations and heartbeats, and receipts only for assignments that still stand.

use codec::{Decode, Encode};
use futures::future::BoxFuture;
use phala_primitives::Hash;
use phala_protocol::{LogLevel, Refusal};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Block, Chain, ChainError};
use crate::{
    Tee,
    host::{Host, lock, refusal},
};

/// How often the floor is stored at most.
const STORE_EVERY: Duration = Duration::from_secs(30);

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
pub(crate) struct Guarded {
    chain: Arc<dyn Chain>,
    tee: Arc<dyn Tee>,
    host: Host,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    floor: Option<Block>,
    stored: Option<Block>,
    /// Two different blocks of one number were finalized: nothing on this chain can be believed any more.
    contradiction: bool,
}

impl Guarded {
    /// Loads the floor of `chain`.
    ///
    /// # Errors
    /// When the host has a floor that this enclave did not seal.
    pub(crate) async fn load(chain: Arc<dyn Chain>, tee: Arc<dyn Tee>, host: Host) -> Result<Self, Refusal> {
        let name = sealed_name(&chain.genesis_hash());
        let floor = match host.load_sealed(&name).await? {
            None => None,
            Some(sealed) => Some(unseal(&*tee, &name, &sealed, &chain.genesis_hash()).ok_or_else(|| {
                refusal(
                    false,
                    format!(
                        "the sealed progress `{name}` was not made by this enclave on this platform, or was changed; \
                         to follow the chain from its beginning, remove it and start again"
                    ),
                )
            })?),
        };
        Ok(Self { chain, tee, host, state: Mutex::new(State { floor, stored: floor, contradiction: false }) })
    }

    /// Takes `block` if it is no step back. The result is the newest block accepted, if there is one now.
    fn accept(&self, block: Block) -> Option<Block> {
        let mut state = lock(&self.state);
        match state.floor {
            _ if state.contradiction => None,
            Some(floor) if block.number < floor.number => None,
            Some(floor) if block.number == floor.number && block.hash != floor.hash => {
                state.contradiction = true;
                drop(state);
                self.host.log(
                    LogLevel::Error,
                    format!(
                        "block {} is finalized with two hashes, 0x{} before and 0x{} now; this enclave follows the \
                         chain no further. Only for a development chain that began anew: stop, remove `{}`, start again",
                        block.number,
                        hex::encode(floor.hash),
                        hex::encode(block.hash),
                        sealed_name(&self.chain.genesis_hash())
                    ),
                );
                None
            }
            _ => {
                state.floor = Some(block);
                Some(block)
            }
        }
    }

    /// Seals and stores the floor when it has risen.
    pub(crate) async fn store(&self) -> Result<(), Refusal> {
        let State { floor, stored, .. } = *lock(&self.state);
        let Some(block) = floor.filter(|_| floor != stored) else { return Ok(()) };
        let genesis_hash = self.chain.genesis_hash();
        let name = sealed_name(&genesis_hash);
        let encoded = Floor { genesis_hash, number: block.number, hash: block.hash }.encode();
        self.host.store_sealed(&name, self.tee.seal(&name, &encoded)).await?;
        lock(&self.state).stored = Some(block);
        Ok(())
    }

    /// Takes each finalized block and stores the floor now and then, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut last_stored: Option<Duration> = None;
        let mut after = None;
        loop {
            let block = self.chain.finalized_after(after).await;
            after = Some(block.number);
            let first = last_stored.is_none();
            if self.accept(block).is_none() {
                continue;
            }
            if first {
                self.host.log(LogLevel::Info, format!("following the chain from finalized block {}", block.number));
            }
            if last_stored.is_none_or(|at| self.tee.now().saturating_sub(at) >= STORE_EVERY) {
                last_stored = Some(self.tee.now());
                if let Err(error) = self.store().await {
                    self.host.log(LogLevel::Warn, format!("the host did not store the chain's progress: {error}"));
                }
            }
        }
    }
}

fn unseal(tee: &dyn Tee, name: &str, sealed: &[u8], genesis_hash: &Hash) -> Option<Block> {
    let encoded = tee.unseal(name, sealed).ok()?;
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
    use crate::testing::{FakeChain, TestTee};
    use futures_lite::future::block_on;

    fn guarded(floor: Option<Block>) -> (Arc<FakeChain>, Guarded) {
        let chain = Arc::new(FakeChain::new([1; 32]));
        let state = Mutex::new(State { floor, stored: floor, contradiction: false });
        let guard = Guarded { chain: chain.clone(), tee: Arc::new(TestTee::new(1)), host: Host::default(), state };
        (chain, guard)
    }

    #[test]
    fn a_lower_block_is_not_reported() {
        let (chain, guard) = guarded(Some(Block { number: 10, hash: [10; 32] }));
        chain.finalize(Block { number: 9, hash: [9; 32] });
        assert_eq!(guard.finalized(), None);
        chain.finalize(Block { number: 11, hash: [11; 32] });
        assert_eq!(guard.finalized(), Some(Block { number: 11, hash: [11; 32] }));
        assert_eq!(block_on(guard.finalized_after(Some(3))).number, 11);
    }

    #[test]
    fn the_same_block_is_reported_and_another_of_its_number_ends_all() {
        let (chain, guard) = guarded(Some(Block { number: 10, hash: [10; 32] }));
        chain.finalize(Block { number: 10, hash: [10; 32] });
        assert_eq!(guard.finalized().unwrap().number, 10);
        chain.finalize(Block { number: 10, hash: [99; 32] });
        assert_eq!(guard.finalized(), None);
        chain.finalize(Block { number: 12, hash: [12; 32] });
        assert_eq!(guard.finalized(), None);
    }

    #[test]
    fn a_floor_of_another_chain_platform_or_name_does_not_unseal() {
        let tee = TestTee::new(1);
        let name = sealed_name(&[1; 32]);
        let sealed = tee.seal(&name, &Floor { genesis_hash: [1; 32], number: 5, hash: [5; 32] }.encode());
        assert_eq!(unseal(&tee, &name, &sealed, &[1; 32]), Some(Block { number: 5, hash: [5; 32] }));
        assert_eq!(unseal(&tee, &name, &sealed, &[2; 32]), None);
        assert_eq!(unseal(&tee, "chain-other", &sealed, &[1; 32]), None);
        assert_eq!(unseal(&TestTee::new(2), &name, &sealed, &[1; 32]), None);
    }
}
