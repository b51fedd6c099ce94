//! The chain: one list of blocks that everybody sees, each a little later than the last.
//!
//! Blocks are made by the [real runtime](execute) from what was submitted, in another order than it came and with delays.
//! The newest blocks may be replaced by others; the finalized ones never are. [`View`] is what an enclave's light client shows of
//! it, [`HostNode`] what a host's node does.

pub mod execute;
mod node;
mod view;

pub use execute::State;
pub use node::{HostNode, Weather};
pub use view::View;

use frame_support::traits::{CallMetadata, GetCallMetadata};
use phala_enclave::chain::Block;
use phala_host::chain::{Job, Worker};
use phala_primitives::{AppId, Hash, JobId, WorkerId, job::App};
use phala_runtime::{Runtime, RuntimeCall};
use phala_sdk::Account;
use sp_keyring::Sr25519Keyring;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{oneshot, watch};

use crate::{random::Dice, trace::Trace};
use execute::{Applied, Draft, SLOT_MS};

/// The slot of the first block, in January 2027.
const FIRST_SLOT: u64 = 900_000_000;

/// The time of the first block, in milliseconds since the Unix epoch.
pub const START_MS: u64 = FIRST_SLOT * SLOT_MS;

/// Finalized blocks whose state is kept.
const KEPT_STATES: u32 = 256;

/// How many blocks finality lies behind.
const FINALITY_LAG: u32 = 3;

/// The most calls in one block.
const MAX_CALLS: usize = 40;

/// The chain. See the module.
pub struct Chain {
    dice: Dice,
    trace: Arc<Trace>,
    genesis_hash: Hash,
    finalized: watch::Sender<Block>,
    state: Mutex<Blocks>,
}

struct Blocks {
    /// Hash and slot of each block, by number.
    heads: Vec<(Hash, u64)>,
    states: BTreeMap<u32, Arc<State>>,
    /// What the blocks that are not final are made of.
    calls: BTreeMap<u32, Vec<(Sr25519Keyring, RuntimeCall)>>,
    pool: Vec<Submitted>,
    /// How many blocks were ever made: no two have one hash.
    made: u64,
    is_finality_stalled: bool,
    /// How often in a thousand a call waits for another block.
    wait: u32,
}

/// A call that waits for a block.
struct Submitted {
    who: Sr25519Keyring,
    call: RuntimeCall,
    /// `None` when nobody waits for its fate.
    done: Option<oneshot::Sender<Result<u32, String>>>,
}

impl Chain {
    /// A chain with its first block. `wait`: how often in a thousand a call waits for another block.
    pub fn new(seed: u64, trace: Arc<Trace>, wait: u32) -> Arc<Self> {
        let genesis_hash = hash(&(b"genesis", seed));
        let state = Blocks {
            heads: vec![(genesis_hash, FIRST_SLOT)],
            states: BTreeMap::from([(0, Arc::new(execute::genesis_state()))]),
            calls: BTreeMap::new(),
            pool: Vec::new(),
            made: 0,
            is_finality_stalled: false,
            wait,
        };
        let (finalized, _) = watch::channel(Block { number: 0, hash: genesis_hash });
        Arc::new(Self { dice: Dice::new(seed, "chain"), trace, genesis_hash, finalized, state: Mutex::new(state) })
    }

    /// Blocks are whole whenever the lock is released.
    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of the first block.
    pub fn genesis_hash(&self) -> Hash {
        self.genesis_hash
    }

    /// The newest finalized block.
    pub fn finalized(&self) -> Block {
        *self.finalized.borrow()
    }

    /// Tells of each finalized block.
    pub fn watch_finalized(&self) -> watch::Receiver<Block> {
        self.finalized.subscribe()
    }

    /// The newest block's number.
    pub fn best(&self) -> u32 {
        self.blocks().best()
    }

    /// The newest block's time, in seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        let blocks = self.blocks();
        blocks.heads[blocks.best() as usize].1 * SLOT_MS / 1000
    }

    /// The state of the newest block.
    pub fn best_state(&self) -> Arc<State> {
        let blocks = self.blocks();
        blocks.states[&blocks.best()].clone()
    }

    /// The state of the newest finalized block.
    pub fn finalized_state(&self) -> Arc<State> {
        let number = self.finalized().number;
        self.blocks().states[&number].clone()
    }

    /// The state of a finalized block, unless it is too old.
    pub fn state_of(&self, hash: &Hash) -> Option<Arc<State>> {
        let finalized = self.finalized().number;
        let blocks = self.blocks();
        let mut kept = blocks.states.range(..=finalized);
        kept.find_map(|(number, state)| (blocks.heads[*number as usize].0 == *hash).then(|| state.clone()))
    }

    /// Whether `number` is finalized with `hash`.
    pub fn is_finalized(&self, number: u32, hash: &Hash) -> bool {
        number <= self.finalized().number
            && self.blocks().heads.get(number as usize).is_some_and(|head| head.0 == *hash)
    }

    /// The finalized block of a number.
    pub fn block(&self, number: u32) -> Block {
        let number = number.min(self.finalized().number);
        Block { number, hash: self.blocks().heads[number as usize].0 }
    }

    /// Submits a call. The answer comes with the block that holds it: its number, or what went wrong.
    pub fn submit(&self, who: Sr25519Keyring, call: RuntimeCall) -> oneshot::Receiver<Result<u32, String>> {
        let (done, answer) = oneshot::channel();
        self.blocks().pool.push(Submitted { who, call, done: Some(done) });
        answer
    }

    /// Submits a call for whose fate nobody waits.
    pub fn submit_quietly(&self, who: Sr25519Keyring, call: RuntimeCall) {
        self.blocks().pool.push(Submitted { who, call, done: None });
    }

    /// From now on no block is finalized, or blocks are again.
    pub fn stall_finality(&self, stalled: bool) {
        self.blocks().is_finality_stalled = stalled;
    }

    /// From now on every call gets into the next block.
    pub fn take_calls_at_once(&self) {
        self.blocks().wait = 0;
    }

    /// Makes the block of this moment, and finalizes what is old enough.
    ///
    /// # Errors
    /// What should hold after each block and does not.
    pub fn make_block(&self) -> Result<(), String> {
        let now = FIRST_SLOT + self.trace.elapsed().as_millis() as u64 / SLOT_MS;
        let mut blocks = self.blocks();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        let mut waiting = BTreeSet::new();
        for submitted in std::mem::take(&mut blocks.pool) {
            // A later call of an account does not overtake an earlier one.
            let waits = waiting.contains(&submitted.who) || taken.len() >= MAX_CALLS || self.dice.chance(blocks.wait);
            if waits {
                waiting.insert(submitted.who);
                left.push(submitted);
            } else {
                taken.push(submitted);
            }
        }
        blocks.pool = left;
        let taken = self.reorder(taken);
        let slot = now.max(blocks.heads[blocks.best() as usize].1 + 1);
        let (calls, waiting): (Vec<_>, Vec<_>) = taken.into_iter().map(|s| ((s.who, s.call), s.done)).unzip();
        let applied = self.push(&mut blocks, slot, calls)?;
        let number = blocks.best();
        for (done, applied) in waiting.into_iter().zip(applied) {
            // Whoever asked may have given up.
            let _ = done.map(|done| {
                done.send(match applied {
                    Applied::Done => Ok(number),
                    Applied::Failed(error) | Applied::Invalid(error) => Err(error),
                })
            });
        }
        self.finalize(&mut blocks);
        Ok(())
    }

    /// Another order of calls, in which those of one account stay in theirs.
    fn reorder(&self, calls: Vec<Submitted>) -> Vec<Submitted> {
        let mut turns: Vec<_> = calls.iter().map(|submitted| submitted.who).collect();
        self.dice.shuffle(&mut turns);
        let mut queues = BTreeMap::<_, VecDeque<Submitted>>::new();
        for submitted in calls {
            queues.entry(submitted.who).or_default().push_back(submitted);
        }
        turns.into_iter().filter_map(|who| queues.get_mut(&who)?.pop_front()).collect()
    }

    /// Replaces the newest `depth` blocks that are not final by others, which hold what `keep` says of each call that was in
    /// the old ones. The rest goes back to the pool, or is lost. What comes after a call of the same account that went back
    /// goes back, too.
    ///
    /// # Errors
    /// As [`Self::make_block`].
    pub fn fork(&self, depth: u32, mut keep: impl FnMut(&RuntimeCall) -> Fate) -> Result<(), String> {
        let mut blocks = self.blocks();
        let depth = depth.min(blocks.best() - self.finalized().number);
        if depth == 0 {
            return Ok(());
        }
        let from = blocks.best() - depth + 1;
        self.trace.add(format_args!("chain: blocks {from} to {} are replaced", blocks.best()));
        let slots: Vec<_> = blocks.heads.drain(from as usize..).map(|(_, slot)| slot).collect();
        let mut back: Vec<Submitted> = Vec::new();
        for (number, slot) in (from..).zip(slots) {
            blocks.states.remove(&number);
            let mut calls = Vec::new();
            for (who, call) in blocks.calls.remove(&number).unwrap_or_default() {
                match keep(&call) {
                    Fate::Lost => {}
                    Fate::Kept if back.iter().all(|earlier| earlier.who != who) => calls.push((who, call)),
                    Fate::Kept | Fate::Later => back.push(Submitted { who, call, done: None }),
                }
            }
            self.push(&mut blocks, slot, calls)?;
        }
        blocks.pool.splice(0..0, back);
        Ok(())
    }

    fn push(
        &self,
        blocks: &mut Blocks,
        slot: u64,
        calls: Vec<(Sr25519Keyring, RuntimeCall)>,
    ) -> Result<Vec<Applied>, String> {
        let (parent_hash, _) = blocks.heads[blocks.best() as usize];
        let number = blocks.best() + 1;
        let draft = Draft { number, parent_hash, slot, calls: &calls };
        let made = execute::make(&blocks.states[&blocks.best()], &draft);
        let made = made.map_err(|error| format!("block {number}: {error}"))?;
        for event in &made.events {
            self.trace.add(format_args!("chain: block {number}: {event}"));
        }
        for ((who, call), applied) in calls.iter().zip(&made.applied) {
            if let Applied::Failed(error) | Applied::Invalid(error) = applied {
                self.trace.add(format_args!("chain: block {number}: {} of {who} fails: {error}", name(call)));
            }
        }
        blocks.made += 1;
        blocks.heads.push((hash(&(parent_hash, number, blocks.made)), slot));
        blocks.states.insert(number, Arc::new(made.state));
        blocks.calls.insert(number, calls);
        Ok(made.applied)
    }

    fn finalize(&self, blocks: &mut Blocks) {
        let number = blocks.best().saturating_sub(FINALITY_LAG);
        if blocks.is_finality_stalled || number <= self.finalized().number {
            return;
        }
        blocks.calls.retain(|kept, _| *kept > number);
        blocks.states.retain(|kept, _| kept.saturating_add(KEPT_STATES) > number);
        self.finalized.send_replace(Block { number, hash: blocks.heads[number as usize].0 });
    }
}

impl Blocks {
    fn best(&self) -> u32 {
        self.heads.len() as u32 - 1
    }
}

/// What becomes of a call whose block is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the other block, too.
    Kept,
    /// It is in a later block.
    Later,
    /// Everybody forgets it.
    Lost,
}

/// A worker, as a state has it.
pub fn worker(state: &State, id: WorkerId) -> Option<Worker> {
    execute::read(state, &pallet_phala_workers::Workers::<Runtime>::hashed_key_for(id))
}

/// A job, as a state has it.
pub fn job(state: &State, id: JobId) -> Option<Job> {
    execute::read(state, &execute::job_key(id))
}

/// An app, as a state has it.
pub fn app(state: &State, id: AppId) -> Option<App<Account>> {
    execute::read(state, &pallet_phala_apps::Apps::<Runtime>::hashed_key_for(id))
}

/// The name of a call, without what it carries.
fn name(call: &RuntimeCall) -> String {
    let CallMetadata { function_name, pallet_name } = call.get_call_metadata();
    format!("{pallet_name}.{function_name}")
}

fn hash(value: &impl codec::Encode) -> Hash {
    value.using_encoded(sp_io::hashing::blake2_256)
}
