//! Blobs: what users upload, under the SHA-256 of its bytes.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use phala_primitives::{Hash, JobId};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{Blob, Error, State, Store, files};

/// How much of the quota an upload takes at a time.
const RESERVATION: u64 = 1024 * 1024;

impl Store {
    pub(super) fn scan_blobs(&self) -> Result<HashMap<Hash, Blob>, Error> {
        let mut blobs = HashMap::new();
        for entry in fs::read_dir(self.folder("blobs"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let mut hash = [0; 32];
            let named = entry.file_name().to_str().is_some_and(|name| hex::decode_to_slice(name, &mut hash).is_ok());
            if named && metadata.is_file() {
                let used_at = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                blobs.insert(hash, Blob { bytes: metadata.len(), used_at });
            }
        }
        Ok(blobs)
    }

    fn blob_path(&self, blob: &Hash) -> PathBuf {
        self.folder("blobs").join(hex::encode(blob))
    }

    /// The length of a blob, if it is here. Counts as use.
    pub fn blob_bytes(&self, blob: &Hash) -> Option<u64> {
        let mut state = self.state();
        let entry = state.blobs.get_mut(blob)?;
        entry.used_at = SystemTime::now();
        Some(entry.bytes)
    }

    /// At most `length` bytes of a blob from `offset`, fewer at its end; `None` when there is no such blob.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_blob(&self, blob: &Hash, offset: u64, length: u32) -> Result<Option<Vec<u8>>, Error> {
        if self.blob_bytes(blob).is_none() {
            return Ok(None);
        }
        let Some(file) = files::open_if_exists(&self.blob_path(blob))? else { return Ok(None) };
        if offset == 0 {
            // The order of eviction survives restarts; failing to record it harms nobody.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(files::read_at(&file, offset, length)?))
    }

    /// Keeps blobs, here or still to come, from being removed until [`Self::unpin_blobs`].
    pub fn pin_blobs(&self, job: JobId, blobs: impl IntoIterator<Item = Hash>) {
        self.state().pins.entry(job).or_default().extend(blobs);
    }

    /// The job needs no blobs any more.
    pub fn unpin_blobs(&self, job: JobId) {
        let mut state = self.state();
        for blob in state.pins.remove(&job).unwrap_or_default() {
            if let Some(entry) = state.blobs.get_mut(&blob) {
                entry.used_at = SystemTime::now();
            }
        }
    }

    /// Removes a blob that nothing needs any more. A pinned one stays.
    pub fn remove_blob(&self, blob: &Hash) {
        let mut state = self.state();
        if state.blobs.contains_key(blob) && !state.pins.values().any(|pinned| pinned.contains(blob)) {
            self.remove_entry(&mut state, blob);
        }
    }

    /// Removes the blobs that nobody used since `before`; says how many.
    pub fn remove_unused_blobs(&self, before: SystemTime) -> usize {
        let mut state = self.state();
        self.evict(&mut state, u64::MAX, before)
    }

    /// Removes unpinned blobs, the least recently used first, until `bytes` are free or all left were used since
    /// `before`.
    pub(super) fn evict(&self, state: &mut State, bytes: u64, before: SystemTime) -> usize {
        let pinned: HashSet<Hash> = state.pins.values().flatten().copied().collect();
        let unused = |(hash, blob): (&Hash, &Blob)| {
            (!pinned.contains(hash) && blob.used_at < before).then_some((blob.used_at, *hash, blob.bytes))
        };
        let mut candidates: Vec<_> = state.blobs.iter().filter_map(unused).collect();
        candidates.sort_unstable();
        let (mut freed, mut removed) = (0u64, 0);
        for (_, hash, size) in candidates {
            if freed >= bytes {
                break;
            }
            if self.remove_entry(state, &hash) {
                freed = freed.saturating_add(size);
                removed += 1;
            }
        }
        removed
    }

    fn remove_entry(&self, state: &mut State, blob: &Hash) -> bool {
        if let Err(error) = files::remove_if_exists(&self.blob_path(blob)) {
            tracing::warn!(blob = hex::encode(blob), %error, "could not remove a blob");
            return false;
        }
        if let Some(entry) = state.blobs.remove(blob) {
            state.used = state.used.saturating_sub(entry.bytes);
        }
        true
    }

    /// Begins to receive a blob. `announced` is its length, when the sender said.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::QuotaExceeded`], or the disk's.
    pub fn begin_upload(self: &Arc<Self>, blob: Hash, announced: Option<u64>) -> Result<Upload, Error> {
        let limit = self.limits.blob_bytes;
        if announced.is_some_and(|bytes| bytes > limit) {
            return Err(Error::TooLarge { limit });
        }
        let file = NamedTempFile::new_in(self.folder("tmp"))?;
        let mut upload = Upload {
            store: self.clone(),
            blob,
            announced,
            file: Some(file),
            hasher: Sha256::new(),
            received: 0,
            reserved: 0,
        };
        upload.reserve(announced.unwrap_or(0))?;
        Ok(upload)
    }
}

/// A blob on its way in. Dropped before [`Upload::finish`], it leaves nothing behind.
pub struct Upload {
    store: Arc<Store>,
    blob: Hash,
    announced: Option<u64>,
    file: Option<NamedTempFile>,
    hasher: Sha256,
    received: u64,
    reserved: u64,
}

impl Upload {
    fn reserve(&mut self, total: u64) -> Result<(), Error> {
        if total > self.reserved {
            // An announced length is reserved at once; an unknown one in large steps, and exactly near the quota's end.
            let exact = total - self.reserved;
            let step = if self.announced.is_some() { exact } else { exact.max(RESERVATION) };
            let more = match self.store.reserve(step) {
                Ok(()) => step,
                Err(_) => self.store.reserve(exact).map(|()| exact)?,
            };
            self.reserved += more;
        }
        Ok(())
    }

    /// The next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::LengthMismatch`], [`Error::QuotaExceeded`], or the disk's.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let total = self.received.saturating_add(bytes.len() as u64);
        let limit = self.store.limits.blob_bytes;
        if total > limit {
            return Err(Error::TooLarge { limit });
        }
        if let Some(announced) = self.announced.filter(|announced| total > *announced) {
            return Err(Error::LengthMismatch { received: total, announced });
        }
        self.reserve(total)?;
        self.hasher.update(bytes);
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.received = total;
        Ok(())
    }

    /// Keeps the blob; says whether it is new.
    ///
    /// # Errors
    /// [`Error::HashMismatch`], [`Error::LengthMismatch`], or the disk's.
    pub fn finish(mut self) -> Result<bool, Error> {
        if let Some(announced) = self.announced.filter(|announced| *announced != self.received) {
            return Err(Error::LengthMismatch { received: self.received, announced });
        }
        let actual: Hash = std::mem::take(&mut self.hasher).finalize().into();
        if actual != self.blob {
            return Err(Error::HashMismatch { actual });
        }
        let Some(file) = self.file.take() else { return Ok(false) };
        file.as_file().sync_all()?;
        let mut state = self.store.state();
        if state.blobs.contains_key(&self.blob) {
            return Ok(false);
        }
        file.persist(self.store.blob_path(&self.blob)).map_err(|error| error.error)?;
        state.blobs.insert(self.blob, Blob { bytes: self.received, used_at: SystemTime::now() });
        state.used = state.used.saturating_add(self.received);
        drop(state);
        files::sync_folder(&self.store.folder("blobs"))?;
        Ok(true)
    }
}

/// Gives back the reservation; the temporary file removes itself.
impl Drop for Upload {
    fn drop(&mut self) {
        self.store.release(self.reserved);
    }
}
