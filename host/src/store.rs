//! What the host keeps on disk. All of it is ciphertext, sealed, or public.
//!
//! ```text
//! DIR/blobs/SHA256        uploads of users           DIR/jobs/ID.json     what was asked of the enclave
//! DIR/outputs/ID.age      results for users          DIR/receipts/ID      receipts, SCALE
//! DIR/sealed/NAME         the enclave's state        DIR/evidence         what is registered on chain
//! DIR/cache/NAME          compiled programs          DIR/bundles/HASH     evidence that may get registered
//! DIR/partial/            outputs and programs       DIR/chain-spec.json  what the enclave was started with
//! DIR/tmp/                files being made: emptied at each start
//! ```
//!
//! # Invariants
//! - A file under its final name is whole: it was written elsewhere, synchronized and renamed.
//! - A blob's bytes have the hash that is its name.
//! - Blobs, outputs and uploads together stay within the quota; the cache within its own.
//! - A name from outside is validated before it becomes part of a path.
//!
//! Everything here blocks: call it where that does no harm.

mod blobs;
mod files;

pub use blobs::Upload;
pub use files::{EvidenceBundle, evidence_hash};

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use phala_primitives::{Hash, JobId};

/// The longest name of a sealed blob or a compiled program, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// A blob that was used so recently is not evicted to make place for another.
const PROTECTED: Duration = Duration::from_secs(10 * 60);

/// How much disk the host may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Blobs, outputs and uploads together, in bytes.
    pub total_bytes: u64,
    /// One blob, in bytes.
    pub blob_bytes: u64,
    /// One encrypted output, in bytes.
    pub output_bytes: u64,
    /// All compiled programs, in bytes.
    pub cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 64 << 30, blob_bytes: 8 << 30, output_bytes: 96 << 20, cache_bytes: 4 << 30 }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller named something with characters that are not allowed.
    #[error("a name has 1 to {MAX_NAME_BYTES} characters of a-z, 0-9, '-' and '.', and does not start with '.'")]
    InvalidName,
    /// The file would be larger than its limit.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk quota is used up, and nothing may be evicted.
    #[error("the host's disk quota is used up")]
    QuotaExceeded,
    /// The bytes do not have the announced hash.
    #[error("the bytes received have the SHA-256 {}, not the announced one", hex::encode(actual))]
    HashMismatch {
        /// What they have.
        actual: Hash,
    },
    /// Fewer or more bytes came than were announced.
    #[error("{received} bytes were received, {announced} were announced")]
    LengthMismatch {
        /// What came.
        received: u64,
        /// What was announced.
        announced: u64,
    },
    /// A chunk does not continue what is there.
    #[error("the chunk starts at {offset}, but only {present} bytes are there; start anew at 0")]
    NotContiguous {
        /// Where it should go.
        offset: u64,
        /// How much is there.
        present: u64,
    },
    /// The disk failed.
    #[error("the host's disk: {0}")]
    Io(#[from] io::Error),
}

/// The host's disk.
pub struct Store {
    root: PathBuf,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Hash, Blob>,
    /// Blobs, outputs, partial outputs and reservations of uploads.
    used: u64,
    /// What each pending job needs, whether it is here or not.
    pins: HashMap<JobId, HashSet<Hash>>,
}

struct Blob {
    bytes: u64,
    used_at: SystemTime,
}

impl Store {
    /// Opens the folder `root`, which is made if absent, and removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, Error> {
        let store = Self { root: root.to_owned(), limits, state: Mutex::default() };
        files::make_private_folder(root)?;
        match fs::remove_dir_all(store.folder("tmp")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        for folder in ["tmp", "blobs", "outputs", "sealed", "cache", "partial", "receipts", "jobs", "bundles"] {
            files::make_private_folder(&store.folder(folder))?;
        }
        let mut state = store.state();
        state.blobs = store.scan_blobs()?;
        let blobs: u64 = state.blobs.values().map(|blob| blob.bytes).sum();
        state.used = blobs
            .saturating_add(files::folder_bytes(&store.folder("outputs"))?)
            .saturating_add(store.partial_output_bytes()?);
        drop(state);
        Ok(store)
    }

    /// Bytes of blobs, outputs and uploads.
    pub fn used_bytes(&self) -> u64 {
        self.state().used
    }

    /// How much disk the host may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The index stays consistent at every point where its lock is released, a panic included.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` of the quota, evicting the oldest unused blobs when needed.
    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let mut state = self.state();
        let excess = state.used.saturating_add(bytes).saturating_sub(self.limits.total_bytes);
        if excess > 0 {
            let before = SystemTime::now() - PROTECTED;
            self.evict(&mut state, excess, before);
        }
        if state.used.saturating_add(bytes) > self.limits.total_bytes {
            return Err(Error::QuotaExceeded);
        }
        state.used += bytes;
        Ok(())
    }

    fn release(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(bytes);
    }
}

/// Whether `name` may name a sealed blob or a compiled program.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests;
