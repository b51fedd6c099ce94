//! What the host keeps on disk. All of it is ciphertext, sealed, or public.
//!
//! ```text
//! DIR/blobs/SHA256.OWNER  uploads of users           DIR/jobs/ID.json     what was asked of the enclave
//! DIR/outputs/ID.age      results for users          DIR/receipts/ID      receipts, SCALE
//! DIR/sealed/NAME         the enclave's state        DIR/evidence         what is registered on chain
//! DIR/cache/NAME          compiled programs          DIR/bundles/HASH     evidence that may get registered
//! DIR/partial/            outputs, programs and      DIR/chain-spec.json  what the enclave was started with
//!                         uploads that are not whole DIR/quarantine/      files that cannot be what they should be
//! DIR/tmp/                files being made or removed: emptied at each start
//! ```
//!
//! # Invariants
//! - A file under its final name is whole: it was written elsewhere, synchronized and renamed, and its folder synchronized.
//!   After a loss of power there is the old file or the new one. What is damaged all the same (a disk that lies) is moved to
//!   the quarantine, and counts as missing.
//! - A blob's bytes have the hash that is its name. Its file's name says whose account it counts for.
//! - Blobs, outputs and uploads together stay within the quota, those of an account within the account's; interrupted
//!   uploads and the cache within their own. Blobs and uploads leave a share of the quota to outputs.
//! - The index is locked for moments only: what is evicted is moved aside under the lock, and unlinked after it.
//! - What a job reads that may run here stays. What is kept for other workers' hosts goes only when its room is needed, and then
//!   after everything else.
//! - A name from outside is validated before it becomes part of a path.
//!
//! Everything here blocks: call it through [`crate::blocking::run`].

mod blobs;
mod files;

pub use blobs::Upload;
pub(crate) use files::read_at;
pub use files::{EvidenceBundle, evidence_hash};

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use phala_primitives::{Hash, JobId};
use phala_sdk::Account;

/// The longest name of a sealed blob or a compiled program, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// A blob that was used so recently is not evicted to make place for another.
pub const PROTECTED: Duration = Duration::from_secs(10 * 60);

/// How much disk the host may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Blobs, outputs and uploads together, in bytes.
    pub total_bytes: u64,
    /// Of these, blobs and uploads of accounts: the rest is for outputs alone, so that uploads keep no job from its end.
    pub upload_bytes: u64,
    /// Blobs and uploads of one account, in bytes.
    pub account_bytes: u64,
    /// One blob, in bytes.
    pub blob_bytes: u64,
    /// Interrupted uploads together, in bytes.
    pub interrupted_bytes: u64,
    /// One encrypted output, in bytes.
    pub output_bytes: u64,
    /// All compiled programs, in bytes.
    pub cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total_bytes: 64 << 30,
            upload_bytes: 56 << 30,
            account_bytes: 8 << 30,
            blob_bytes: 8 << 30,
            interrupted_bytes: 16 << 30,
            output_bytes: 96 << 20,
            cache_bytes: 4 << 30,
        }
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
    /// An account has as many bytes with the host as it may, and nothing of them may be evicted.
    #[error("the account's uploads would be more than {limit} bytes")]
    AccountQuotaExceeded {
        /// The limit in bytes.
        limit: u64,
    },
    /// The same account uploads the same blob at the moment.
    #[error("another upload of this blob is under way")]
    UploadUnderWay,
    /// An upload does not continue what is there.
    #[error("the upload starts at {offset}, but {present} bytes of it are there")]
    WrongOffset {
        /// Where it starts.
        offset: u64,
        /// How much is there.
        present: u64,
    },
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
    /// The disk failed, or is full.
    #[error("the host's disk: {0}")]
    Io(#[from] io::Error),
}

/// The host's disk.
pub struct Store {
    root: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// Held while a file is put in place or moved away.
    renaming: Mutex<()>,
    /// The next number of a file that is evicted.
    evictions: AtomicU64,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<Hash, Blob>,
    /// Uploads that are not whole, by blob and by who uploads.
    uploads: BTreeMap<(Hash, Account), Interrupted>,
    /// Blobs, outputs, partial outputs, interrupted uploads and reservations of uploads.
    used: u64,
    /// Of these, what accounts uploaded.
    accounts: BTreeMap<Account, u64>,
    /// What is kept for each job that is not over, whether it is here or not.
    pins: BTreeMap<JobId, Pin>,
}

/// What is kept for a job.
#[derive(Default)]
struct Pin {
    blobs: BTreeSet<Hash>,
    /// Whether the job may run here: then none of them goes. Otherwise they are kept for other workers' hosts, as long as there is
    /// room.
    needed: bool,
}

struct Blob {
    bytes: u64,
    used_at: SystemTime,
    /// Whose account it counts for.
    owner: Option<Account>,
}

/// An upload that is not whole: under way, or interrupted.
struct Interrupted {
    /// On disk while nothing is under way.
    bytes: u64,
    touched_at: SystemTime,
    under_way: bool,
}

/// Files that were moved aside because their entries are gone. They still take up disk.
#[derive(Default)]
#[must_use = "the files are still there"]
pub(crate) struct Evicted(Vec<PathBuf>);

impl Evicted {
    /// Frees their disk, which takes long for large files: not under the lock.
    pub(crate) fn unlink(self) {
        for path in self.0 {
            if let Err(error) = files::remove_if_exists(&path) {
                tracing::warn!(path = %path.display(), %error, "could not remove a file");
            }
        }
    }
}

impl State {
    /// What accounts have here together.
    fn uploaded(&self) -> u64 {
        self.accounts.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn take(&mut self, bytes: u64, owner: Option<Account>) {
        self.used = self.used.saturating_add(bytes);
        if let Some(owner) = owner.filter(|_| bytes > 0) {
            let held = self.accounts.entry(owner).or_default();
            *held = held.saturating_add(bytes);
        }
    }

    fn give_back(&mut self, bytes: u64, owner: Option<Account>) {
        self.used = self.used.saturating_sub(bytes);
        let Some(owner) = owner else { return };
        let Some(held) = self.accounts.get_mut(&owner) else { return };
        *held = held.saturating_sub(bytes);
        if *held == 0 {
            self.accounts.remove(&owner);
        }
    }
}

impl Store {
    /// Opens the folder `root`, which is made if absent, and removes what an earlier process left unfinished and is of no
    /// more use.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, Error> {
        let store = Self {
            root: root.to_owned(),
            limits,
            state: Mutex::default(),
            renaming: Mutex::default(),
            evictions: AtomicU64::new(0),
        };
        files::make_private_folder(root)?;
        match fs::remove_dir_all(store.folder("tmp")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        for folder in
            ["tmp", "blobs", "outputs", "sealed", "cache", "partial", "receipts", "jobs", "bundles", "quarantine"]
        {
            files::make_private_folder(&store.folder(folder))?;
        }
        // What is promised to be durable must not be in a folder that is forgotten.
        files::sync_folder(root)?;
        store.scan_blobs()?;
        store.scan_partial()?;
        let outputs = files::folder_bytes(&store.folder("outputs"))?;
        store.state().take(outputs, None);
        Ok(store)
    }

    /// Bytes of blobs, outputs and uploads.
    pub fn used_bytes(&self) -> u64 {
        self.state().used
    }

    /// How many accounts have bytes here, and how many bytes those have together.
    pub fn account_bytes(&self) -> (usize, u64) {
        let state = self.state();
        (state.accounts.len(), state.uploaded())
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

    fn renaming(&self) -> MutexGuard<'_, ()> {
        self.renaming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` of the quota: for an output, or for an upload of an account that needs `rest` bytes, these among them,
    /// until its end.
    fn reserve(&self, bytes: u64, upload: Option<(Account, u64)>) -> Result<(), Error> {
        let mut evicted = Evicted::default();
        let reserved = self.make_room(&mut self.state(), bytes, upload, &mut evicted);
        evicted.unlink();
        reserved
    }

    /// Evicts what was not used for the longest when needed, what is kept for others last: of the account for all that it announced, of all for `bytes`
    /// alone. What is only announced takes nothing from others.
    fn make_room(
        &self,
        state: &mut State,
        bytes: u64,
        upload: Option<(Account, u64)>,
        evicted: &mut Evicted,
    ) -> Result<(), Error> {
        let before = SystemTime::now().checked_sub(PROTECTED).unwrap_or(SystemTime::UNIX_EPOCH);
        if let Some((owner, rest)) = upload {
            let limit = self.limits.account_bytes;
            let excess = |state: &State| {
                let held = state.accounts.get(&owner).copied().unwrap_or_default();
                held.saturating_add(rest.max(bytes)).saturating_sub(limit)
            };
            let over = excess(state);
            self.evict(state, over, |unused| unused.at < before && unused.owner == Some(owner), evicted);
            if excess(state) > 0 {
                return Err(Error::AccountQuotaExceeded { limit });
            }
        }
        let excess = |state: &State| {
            let over = state.used.saturating_add(bytes).saturating_sub(self.limits.total_bytes);
            let uploaded = state.uploaded().saturating_add(bytes).saturating_sub(self.limits.upload_bytes);
            if upload.is_some() { over.max(uploaded) } else { over }
        };
        let over = excess(state);
        self.evict(state, over, |unused| unused.at < before, evicted);
        if excess(state) > 0 {
            return Err(Error::QuotaExceeded);
        }
        state.take(bytes, upload.map(|(owner, _)| owner));
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.state().give_back(bytes, None);
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
