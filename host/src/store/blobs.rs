//! Blobs: what users upload, under the SHA-256 of its bytes.
//!
//! An upload is written to `partial/blob-SHA256-OWNER`. When it breaks off, what came stays there for a while: whoever
//! uploads the same blob for the same account can go on. The hash is made anew from what is on disk, so that a file which
//! lost bytes to a crash is noticed at the end.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use phala_primitives::{Hash, JobId};
use phala_sdk::Account;
use sha2::{Digest, Sha256};

use super::{Blob, Error, Evicted, Interrupted, Pin, State, Store, files};

/// How much of the quota an upload takes at a time: what was announced need never come.
const RESERVATION: u64 = 1024 * 1024;

/// How much of an interrupted upload is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What may be evicted, and what is known of it.
pub(super) struct Unused {
    /// When it was used last.
    pub at: SystemTime,
    /// Whose account it counts for.
    pub owner: Option<Account>,
    /// Whether it is kept for other workers' hosts.
    kept: bool,
    what: What,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Upload(Hash, Account),
    Blob(Hash),
}

impl Store {
    pub(super) fn scan_blobs(&self) -> Result<(), Error> {
        let mut state = self.state();
        for entry in fs::read_dir(self.folder("blobs"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let name = entry.file_name();
            let Some((hash, owner)) = name.to_str().and_then(parse_blob_name) else { continue };
            if !metadata.is_file() {
                continue;
            }
            if state.blobs.contains_key(&hash) {
                // Of two accounts that uploaded the same: one copy is enough.
                files::remove_if_exists(&entry.path())?;
                continue;
            }
            let used_at = metadata.modified().unwrap_or_else(|_| SystemTime::now());
            state.take(metadata.len(), owner);
            state.blobs.insert(hash, Blob { bytes: metadata.len(), used_at, owner });
        }
        Ok(())
    }

    pub(super) fn add_interrupted(&self, name: &str, metadata: &fs::Metadata) -> bool {
        let Some((blob, owner)) = name.split_once('-').and_then(|(blob, owner)| Some((hash(blob)?, hash(owner)?)))
        else {
            return false;
        };
        let touched_at = metadata.modified().unwrap_or_else(|_| SystemTime::now());
        let bytes = metadata.len();
        let mut state = self.state();
        state.take(bytes, Some(Account(owner)));
        state.uploads.insert((blob, Account(owner)), Interrupted { bytes, touched_at, under_way: false });
        true
    }

    fn blob_path(&self, blob: &Hash, owner: Option<Account>) -> PathBuf {
        let name = match owner {
            Some(owner) => format!("{}.{}", hex::encode(blob), hex::encode(owner.0)),
            None => hex::encode(blob),
        };
        self.folder("blobs").join(name)
    }

    fn upload_path(&self, blob: &Hash, owner: Account) -> PathBuf {
        self.folder("partial").join(format!("blob-{}-{}", hex::encode(blob), hex::encode(owner.0)))
    }

    /// The length of a blob, if it is here. Anybody may ask: that is no use of it.
    pub fn blob_bytes(&self, blob: &Hash) -> Option<u64> {
        self.state().blobs.get(blob).map(|entry| entry.bytes)
    }

    /// The length of a blob, if it is here, for who may upload it. Counts as use.
    pub fn use_blob(&self, blob: &Hash) -> Option<u64> {
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
        let Some(file) = self.open_used(blob)? else { return Ok(None) };
        if offset == 0 {
            // The order of eviction survives restarts; failing to record it harms nobody.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(files::read_at(&file, offset, length)?))
    }

    /// A blob, to be read to its end even if it is removed meanwhile, and its length. Counts as use.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_blob(&self, blob: &Hash) -> Result<Option<(File, u64)>, Error> {
        let Some(file) = self.open_used(blob)? else { return Ok(None) };
        let bytes = file.metadata()?.len();
        Ok(Some((file, bytes)))
    }

    fn open_used(&self, blob: &Hash) -> Result<Option<File>, Error> {
        let owner = {
            let mut state = self.state();
            let Some(entry) = state.blobs.get_mut(blob) else { return Ok(None) };
            entry.used_at = SystemTime::now();
            entry.owner
        };
        files::open_if_exists(&self.blob_path(blob, owner))
    }

    /// Keeps blobs for a job, here or still to come, and no others any more: as long as they are `needed` here, none of them
    /// goes; otherwise they make place for others when nothing else does, and do not go for being old. What was needed, or kept,
    /// and is not so any more counts as used now.
    pub fn pin_blobs(&self, job: JobId, blobs: BTreeSet<Hash>, needed: bool) {
        let mut state = self.state();
        let before = state.pins.remove(&job).unwrap_or_default();
        let now = SystemTime::now();
        let is_needed_no_more = before.needed && !needed;
        for blob in before.blobs.iter().filter(|blob| is_needed_no_more || !blobs.contains(*blob)) {
            if let Some(entry) = state.blobs.get_mut(blob) {
                entry.used_at = now;
            }
        }
        if !blobs.is_empty() {
            state.pins.insert(job, Pin { blobs, needed });
        }
    }

    /// Removes blobs that nothing needs any more. One that is kept for a job stays.
    pub(crate) fn remove_blobs(&self, blobs: impl IntoIterator<Item = Hash>) -> Evicted {
        let mut evicted = Evicted::default();
        let mut state = self.state();
        for blob in blobs {
            if state.blobs.contains_key(&blob) && !state.pins.values().any(|pin| pin.blobs.contains(&blob)) {
                self.remove(&mut state, What::Blob(blob), &mut evicted);
            }
        }
        evicted
    }

    /// Removes the blobs that nobody used since `before`; says how many.
    pub fn remove_unused_blobs(&self, before: SystemTime) -> usize {
        self.remove_all(|unused| matches!(unused.what, What::Blob(_)) && !unused.kept && unused.at < before)
    }

    /// Removes the uploads that were interrupted before `before`; says how many.
    pub fn remove_interrupted_uploads(&self, before: SystemTime) -> usize {
        self.remove_all(|unused| matches!(unused.what, What::Upload(..)) && unused.at < before)
    }

    fn remove_all(&self, may_go: impl Fn(&Unused) -> bool) -> usize {
        let mut evicted = Evicted::default();
        let removed = self.evict(&mut self.state(), u64::MAX, may_go, &mut evicted);
        evicted.unlink();
        removed
    }

    /// Removes blobs that nothing here needs and interrupted uploads that `may_go`, the least recently used first and what is kept
    /// for others last, until `bytes` are free. Says how many. Their files are free once they are unlinked.
    pub(super) fn evict(
        &self,
        state: &mut State,
        bytes: u64,
        may_go: impl Fn(&Unused) -> bool,
        evicted: &mut Evicted,
    ) -> usize {
        if bytes == 0 {
            return 0;
        }
        let pinned = |needed: bool| -> BTreeSet<&Hash> {
            state.pins.values().filter(|pin| pin.needed == needed).flat_map(|pin| &pin.blobs).collect()
        };
        let (needed, kept) = (pinned(true), pinned(false));
        let blobs = state.blobs.iter().filter(|(hash, _)| !needed.contains(hash)).map(|(hash, blob)| Unused {
            at: blob.used_at,
            owner: blob.owner,
            kept: kept.contains(hash),
            what: What::Blob(*hash),
            bytes: blob.bytes,
        });
        let uploads = state.uploads.iter().filter(|(_, upload)| !upload.under_way).map(|((hash, owner), upload)| {
            let what = What::Upload(*hash, *owner);
            Unused { at: upload.touched_at, owner: Some(*owner), kept: false, what, bytes: upload.bytes }
        });
        let mut candidates: Vec<Unused> = blobs.chain(uploads).filter(may_go).collect();
        candidates.sort_unstable_by_key(|unused| (unused.kept, unused.at, unused.what));
        let (mut freed, mut removed) = (0u64, 0);
        for unused in candidates {
            if freed >= bytes {
                break;
            }
            if self.remove(state, unused.what, evicted) {
                freed = freed.saturating_add(unused.bytes);
                removed += 1;
            }
        }
        removed
    }

    fn remove(&self, state: &mut State, what: What, evicted: &mut Evicted) -> bool {
        let path = match what {
            What::Blob(blob) => self.blob_path(&blob, state.blobs.get(&blob).and_then(|entry| entry.owner)),
            What::Upload(blob, owner) => self.upload_path(&blob, owner),
        };
        // Under its own name it might be another by the time that it is unlinked.
        let number = self.evictions.fetch_add(1, Ordering::Relaxed);
        let aside = self.folder("tmp").join(format!("evicted-{number}"));
        match fs::rename(&path, &aside) {
            Ok(()) => evicted.0.push(aside),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "could not remove a file");
                return false;
            }
        }
        let gone = match what {
            What::Blob(blob) => state.blobs.remove(&blob).map(|entry| (entry.bytes, entry.owner)),
            What::Upload(blob, owner) => state.uploads.remove(&(blob, owner)).map(|entry| (entry.bytes, Some(owner))),
        };
        if let Some((bytes, owner)) = gone {
            state.give_back(bytes, owner);
        }
        true
    }

    /// How many bytes of an account's interrupted upload of a blob are here.
    pub fn interrupted_bytes(&self, blob: &Hash, owner: Account) -> Option<u64> {
        let state = self.state();
        let upload = state.uploads.get(&(*blob, owner));
        upload.filter(|upload| !upload.under_way && upload.bytes > 0).map(|upload| upload.bytes)
    }

    /// Begins to receive a blob for an account, at `offset`: 0 begins anew, anything else continues an interrupted upload
    /// and must be its length. `total` is the blob's length, when the sender said.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::UploadUnderWay`], [`Error::WrongOffset`], [`Error::AccountQuotaExceeded`],
    /// [`Error::QuotaExceeded`], or the disk's.
    pub fn begin_upload(
        self: &Arc<Self>,
        blob: Hash,
        owner: Account,
        offset: u64,
        total: Option<u64>,
    ) -> Result<Upload, Error> {
        let limit = self.limits.blob_bytes;
        if total.unwrap_or(0).max(offset) > limit {
            return Err(Error::TooLarge { limit });
        }
        if let Some(announced) = total.filter(|total| offset > *total) {
            return Err(Error::LengthMismatch { received: offset, announced });
        }
        let path = self.upload_path(&blob, owner);
        let present = {
            let mut state = self.state();
            let now = SystemTime::now();
            let present = match state.uploads.get(&(blob, owner)) {
                Some(upload) if upload.under_way => return Err(Error::UploadUnderWay),
                Some(upload) => upload.bytes,
                None => 0,
            };
            if offset != 0 && offset != present {
                return Err(Error::WrongOffset { offset, present });
            }
            state.uploads.insert((blob, owner), Interrupted { bytes: present, touched_at: now, under_way: true });
            present
        };
        // From here on, dropping it leaves everything in order.
        let mut upload = Upload {
            store: self.clone(),
            blob,
            owner,
            total,
            path,
            file: None,
            hasher: Sha256::new(),
            received: 0,
            reserved: present,
            fate: Fate::Keep,
        };
        upload.open(offset)?;
        // Who announces more than there is room for hears of it before anything is sent.
        upload.reserve(total.map_or(offset, |total| total.min(offset.saturating_add(RESERVATION))))?;
        Ok(upload)
    }
}

/// A blob on its way in. Dropped before [`Upload::finish`], it leaves what came so far as an interrupted upload.
pub struct Upload {
    store: Arc<Store>,
    blob: Hash,
    owner: Account,
    total: Option<u64>,
    path: PathBuf,
    file: Option<File>,
    hasher: Sha256,
    received: u64,
    reserved: u64,
    fate: Fate,
}

/// What becomes of an upload's file when the upload is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays, to be continued.
    Keep,
    /// It is of no use.
    Remove,
    /// It is a blob now.
    Done,
}

impl Upload {
    /// Opens the file and reads what is there up to `offset`.
    fn open(&mut self, offset: u64) -> Result<(), Error> {
        let Self { path, file, hasher, received, .. } = self;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(offset == 0).mode(0o600);
        let file = file.insert(options.open(path)?);
        let mut piece = vec![0; if offset == 0 { 0 } else { PIECE_BYTES }];
        while *received < offset {
            let wanted = usize::try_from(offset - *received).unwrap_or(usize::MAX).min(piece.len());
            let count = file.read(&mut piece[..wanted])?;
            if count == 0 {
                return Err(Error::WrongOffset { offset, present: *received });
            }
            hasher.update(&piece[..count]);
            *received += count as u64;
        }
        file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    /// Takes what is needed for `end` bytes, in steps.
    fn reserve(&mut self, end: u64) -> Result<(), Error> {
        let exact = end.saturating_sub(self.reserved);
        if exact == 0 {
            return Ok(());
        }
        let reserve = |bytes: u64, rest: u64| self.store.reserve(bytes, Some((self.owner, rest))).map(|()| bytes);
        let more = match self.total {
            Some(total) => {
                let rest = total.saturating_sub(self.reserved).max(exact);
                reserve(RESERVATION.clamp(exact, rest), rest)?
            }
            // The last step before the quota's end is a small one.
            None => {
                let step = exact.max(RESERVATION);
                reserve(step, step).or_else(|_| reserve(exact, exact))?
            }
        };
        self.reserved += more;
        Ok(())
    }

    /// How many bytes are there.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes. After an error, the upload is to be dropped.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::LengthMismatch`], the quotas', or the disk's.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.received.saturating_add(bytes.len() as u64);
        let limit = self.store.limits.blob_bytes;
        if end > limit {
            self.fate = Fate::Remove;
            return Err(Error::TooLarge { limit });
        }
        if let Some(announced) = self.total.filter(|announced| end > *announced) {
            self.fate = Fate::Remove;
            return Err(Error::LengthMismatch { received: end, announced });
        }
        self.reserve(end)?;
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.hasher.update(bytes);
        self.received = end;
        Ok(())
    }

    /// Keeps the blob; says whether it is new. Too few bytes are kept to be continued, wrong ones are not.
    ///
    /// # Errors
    /// [`Error::HashMismatch`], [`Error::LengthMismatch`], or the disk's.
    pub fn finish(mut self) -> Result<bool, Error> {
        if let Some(announced) = self.total.filter(|announced| *announced != self.received) {
            return Err(Error::LengthMismatch { received: self.received, announced });
        }
        let actual: Hash = std::mem::take(&mut self.hasher).finalize().into();
        if actual != self.blob {
            self.fate = Fate::Remove;
            return Err(Error::HashMismatch { actual });
        }
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        {
            let mut state = self.store.state();
            if state.blobs.contains_key(&self.blob) {
                self.fate = Fate::Remove;
                return Ok(false);
            }
            fs::rename(&self.path, self.store.blob_path(&self.blob, Some(self.owner)))?;
            let (bytes, used_at) = (self.received, SystemTime::now());
            state.blobs.insert(self.blob, Blob { bytes, used_at, owner: Some(self.owner) });
            self.reserved = self.reserved.saturating_sub(bytes);
            self.fate = Fate::Done;
        }
        files::sync_folder(&self.store.folder("blobs"))?;
        Ok(true)
    }

    /// The bytes of the file that stay after the upload.
    fn leave(&self) -> u64 {
        let kept = self.fate == Fate::Keep && self.received > 0;
        if kept && self.file.as_ref().is_some_and(|file| file.set_len(self.received).is_ok()) {
            return self.received;
        }
        if self.fate != Fate::Done
            && let Err(error) = files::remove_if_exists(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove an upload");
        }
        0
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let left = self.leave();
        let mut evicted = Evicted::default();
        {
            let mut state = self.store.state();
            state.give_back(self.reserved.saturating_sub(left), Some(self.owner));
            let key = (self.blob, self.owner);
            if left == 0 {
                state.uploads.remove(&key);
                return;
            }
            state.uploads.insert(key, Interrupted { bytes: left, touched_at: SystemTime::now(), under_way: false });
            let interrupted = state.uploads.values().filter(|upload| !upload.under_way).map(|upload| upload.bytes);
            let total = interrupted.fold(0u64, u64::saturating_add);
            let excess = total.saturating_sub(self.store.limits.interrupted_bytes);
            self.store.evict(&mut state, excess, |unused| matches!(unused.what, What::Upload(..)), &mut evicted);
        }
        evicted.unlink();
    }
}

fn parse_blob_name(name: &str) -> Option<(Hash, Option<Account>)> {
    match name.split_once('.') {
        Some((blob, owner)) => Some((hash(blob)?, Some(Account(hash(owner)?)))),
        None => Some((hash(name)?, None)),
    }
}

fn hash(digits: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok().map(|()| hash)
}
