//! The chain as an enclave's light client shows it: finalized blocks, as far as the enclave's host lets them through.
//!
//! A light client refuses what is not final, so all that a host can do is to keep blocks back.

use futures::future::BoxFuture;
use phala_enclave::chain::{Block, Chain as EnclaveChain, ChainError, ChainSpec};
use phala_primitives::Hash;
use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::sleep;

use super::Chain;
use crate::random::Dice;

/// What one worker's enclave sees.
pub struct View {
    chain: Arc<Chain>,
    dice: Dice,
    /// The number of the newest block that the host lets through; `None`: all.
    end: Mutex<Option<u32>>,
}

impl View {
    /// Everything gets through.
    pub fn new(chain: Arc<Chain>, dice: Dice) -> Arc<Self> {
        Arc::new(Self { chain, dice, end: Mutex::new(None) })
    }

    /// From now on the chain ends at block `end` for the enclave; with `None` it goes on.
    pub fn keep_back(&self, end: Option<u32>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn end(&self) -> Option<u32> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EnclaveChain for View {
    fn genesis_hash(&self) -> Hash {
        self.chain.genesis_hash()
    }

    fn finalized(&self) -> Option<Block> {
        let block = self.chain.block(self.end().unwrap_or(u32::MAX));
        (block.number > 0).then_some(block)
    }

    fn finalized_after(&self, after: Option<u32>) -> BoxFuture<'_, Block> {
        Box::pin(async move {
            let mut changes = self.chain.watch_finalized();
            loop {
                match self.finalized() {
                    Some(block) if after.is_none_or(|after| block.number > after) => return block,
                    _ => {}
                }
                if changes.changed().await.is_err() {
                    pending::<()>().await;
                }
            }
        })
    }

    fn storage(&self, at: Hash, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Vec<u8>>, ChainError>> {
        Box::pin(async move {
            sleep(self.dice.millis(5, 150)).await;
            let state = self.chain.state_of(&at).ok_or(ChainError::UnknownBlock)?;
            Ok(state.get(&key).cloned())
        })
    }

    fn peers(&self) -> u32 {
        if self.end().is_some() { 0 } else { 3 }
    }

    fn update(&self, _: &ChainSpec) -> bool {
        true
    }
}
