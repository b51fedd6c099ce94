//! What the enclave knows of the chain: finalized blocks, and storage in them, both verified.
//!
//! [`Chain`] is what the rest of the enclave sees. [`LightClient`] is the real one: smoldot, which verifies GRANDPA
//! finality from genesis and storage proofs, over bytes that the host carries. [`Guarded`] stands before it and refuses to
//! go back: it remembers, sealed, the highest finalized block ever seen, and knows why nothing new should be begun.

mod guard;
mod light;
mod platform;
mod spec;

pub use guard::{Floor, Guarded, no_finality, paused, sealed_name};
pub use light::{LightClient, StartError};
pub(crate) use platform::{Platform, Stream};
pub use spec::{ChainSpec, SpecError};

use codec::{Decode, Encode};
use futures::future::BoxFuture;
use phala_primitives::{
    AppId, Hash, JobId, WorkerId,
    gatekeeper::NetworkKey,
    job::{App, Job},
    worker::Worker,
};
use sp_crypto_hashing::{blake2_128, twox_64, twox_128};

/// A finalized block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
}

/// A job as this chain stores it.
pub type ChainJob = Job<Hash, u32>;

/// An app as this chain stores it.
pub type ChainApp = App<Hash>;

/// A worker as this chain stores it.
pub type ChainWorker = Worker<Hash, u32>;

/// A view of one chain. Everything that it gives is verified: finality from genesis, storage by proof.
pub trait Chain: Send + Sync + 'static {
    /// The hash of the chain's first block.
    fn genesis_hash(&self) -> Hash;

    /// The newest finalized block; `None` until there is one beyond genesis.
    fn finalized(&self) -> Option<Block>;

    /// Waits for a finalized block with a number above `after`, or any when that is `None`.
    fn finalized_after(&self, after: Option<u32>) -> BoxFuture<'_, Block>;

    /// The value under `key` in the state of the finalized block `at`, one of the newest few.
    ///
    /// # Errors
    /// When no peer gives a proof, or the block is too old.
    fn storage(&self, at: Hash, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Vec<u8>>, ChainError>>;

    /// Peers that the light client has.
    fn peers(&self) -> u32;

    /// Learns the boot nodes of another specification of the same chain. `false` when it is another chain.
    fn update(&self, spec: &ChainSpec) -> bool;
}

/// Why storage could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No peer gave a valid proof.
    #[error("no peer of the light client gave a valid storage proof")]
    Unavailable,
    /// The block is not among the newest finalized ones.
    #[error("the block is not among the newest finalized ones")]
    UnknownBlock,
    /// The value is of another format: the chain runs another version of the runtime.
    #[error("the chain's {0} has a format that this enclave does not know")]
    Format(&'static str),
}

/// Where the `jobs` pallet stores a job.
pub fn job_key(job: JobId) -> Vec<u8> {
    let id = job.to_le_bytes();
    [&twox_128(b"Jobs")[..], &twox_128(b"Jobs"), &twox_64(&id), &id].concat()
}

/// Where the `apps` pallet stores an app.
pub fn app_key(app: &AppId) -> Vec<u8> {
    [&twox_128(b"Apps")[..], &twox_128(b"Apps"), &blake2_128(&app.0), &app.0].concat()
}

/// Where the chain stores the hash of a block, for the newest few thousand.
pub fn block_hash_key(number: u32) -> Vec<u8> {
    let number = number.to_le_bytes();
    [&twox_128(b"System")[..], &twox_128(b"BlockHash"), &twox_64(&number), &number].concat()
}

/// Where the `workers` pallet stores a worker.
pub fn worker_key(worker: &WorkerId) -> Vec<u8> {
    [&twox_128(b"Workers")[..], &twox_128(b"Workers"), &blake2_128(&worker.0), &worker.0].concat()
}

/// Where the `attestation` pallet stores a claim to a sealing key, by the key that it was made with.
pub fn sealing_claim_key(claimant: &[u8; 32]) -> Vec<u8> {
    [&twox_128(b"Attestation")[..], &twox_128(b"SealingClaims"), &blake2_128(claimant), claimant].concat()
}

/// Where the `timestamp` pallet stores the chain's time, in milliseconds since the Unix epoch.
pub fn time_key() -> Vec<u8> {
    [twox_128(b"Timestamp"), twox_128(b"Now")].concat()
}

/// Where the `keys` pallet stores how a network key is shared.
pub fn sharing_key(key: NetworkKey) -> Vec<u8> {
    let key = key.encode();
    [&twox_128(b"Keys")[..], &twox_128(b"Sharings"), &twox_64(&key), &key].concat()
}

/// Where it stores the oldest epoch whose key is still shared.
pub fn oldest_epoch_key() -> Vec<u8> {
    [twox_128(b"Keys"), twox_128(b"OldestEpoch")].concat()
}

/// Reads and decodes a value at the finalized block `at`.
///
/// # Errors
/// As [`Chain::storage`], and when the value is of another format.
pub async fn read<T: Decode>(
    chain: &dyn Chain,
    at: Hash,
    key: Vec<u8>,
    what: &'static str,
) -> Result<Option<T>, ChainError> {
    let value = chain.storage(at, key).await?;
    value.map(|bytes| codec::DecodeAll::decode_all(&mut &bytes[..]).map_err(|_| ChainError::Format(what))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_pallets_maps() {
        let id = hex::encode([3; 32]);
        let worker = "1bf55d6b9732eb86723ccad1af88b985".repeat(2) + "291a070f51c27c29753ff90a32ba233e" + &id;
        assert_eq!(hex::encode(worker_key(&WorkerId([3; 32]))), worker);
        let app = "32463204e39f278b1ee23b6da79c9d4b".repeat(2) + "291a070f51c27c29753ff90a32ba233e" + &id;
        assert_eq!(hex::encode(app_key(&AppId([3; 32]))), app);
        assert_eq!(hex::encode(job_key(7))[..64], "1c88f06ceab6c17559377f12624f77d8".repeat(2));
    }
}
