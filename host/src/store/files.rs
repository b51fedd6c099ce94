//! Everything on disk but blobs: outputs, sealed state, compiled programs, receipts, records.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use codec::{Decode, DecodeAll, Encode};
use phala_attestation::{Evidence, Statement};
use phala_primitives::{Hash, JobId, SignedReceipt};
use phala_protocol::{MAX_CHUNK_BYTES, MAX_SEALED_BYTES, sealed_receipt_name};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{Error, Store, is_name};

/// How many evidence bundles are kept, in case one of them gets registered.
const KEPT_BUNDLES: usize = 16;

/// The largest record of a job, in bytes: it names each blob that the job reads.
const MAX_RECORD_BYTES: u64 = 256 * 1024;

/// The largest receipt, in bytes.
const MAX_RECEIPT_BYTES: u64 = 64 * 1024;

/// A statement and the evidence for it: what the chain stores the hash of.
pub type EvidenceBundle = (Statement, Evidence);

/// What the chain stores as a worker's `evidence_hash`.
pub fn evidence_hash(bundle: &EvidenceBundle) -> Hash {
    Sha256::digest(bundle.encode()).into()
}

/// Sealed state of the enclave.
impl Store {
    /// The sealed blob last stored under `name`. One that is empty or too large was never stored: it is as good as none.
    ///
    /// # Errors
    /// [`Error::InvalidName`], or the disk's.
    pub fn load_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.named("sealed", name)?;
        self.sound(&path, MAX_SEALED_BYTES.into(), |bytes| (!bytes.is_empty()).then_some(bytes))
    }

    /// Keeps a sealed blob, durably, in place of an older one.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`], or the disk's.
    pub fn store_sealed(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.named("sealed", name)?;
        if bytes.len() as u64 > u64::from(MAX_SEALED_BYTES) {
            return Err(Error::TooLarge { limit: MAX_SEALED_BYTES.into() });
        }
        self.write_atomically(&path, bytes)
    }
}

/// Compiled programs.
impl Store {
    /// At most `length` bytes of a compiled program from `offset`; nothing when there is none.
    ///
    /// # Errors
    /// [`Error::InvalidName`], or the disk's.
    pub fn read_cache(&self, name: &str, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
        let Some(file) = open_if_exists(&self.named("cache", name)?)? else { return Ok(Vec::new()) };
        if offset == 0 {
            // The order of eviction survives restarts; failing to record it harms nobody.
            let _ = file.set_modified(SystemTime::now());
        }
        read_at(&file, offset, length)
    }

    /// The next bytes of a compiled program; `offset` 0 starts it anew, `last` puts it in place.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotContiguous`], [`Error::TooLarge`], or the disk's.
    pub fn write_cache(&self, name: &str, offset: u64, bytes: &[u8], last: bool) -> Result<(), Error> {
        let path = self.named("cache", name)?;
        let partial = self.folder("partial").join(format!("cache-{name}"));
        write_chunk(&partial, offset, bytes, self.limits.cache_bytes)?;
        if last {
            put_in_place(&partial, &path)?;
            self.trim_cache(&path)?;
        }
        Ok(())
    }

    /// Removes the least recently used programs beyond the cache's limit, but never `newest`.
    fn trim_cache(&self, newest: &Path) -> Result<(), Error> {
        let mut programs = Vec::new();
        let mut total = 0u64;
        for entry in fs::read_dir(self.folder("cache"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            total = total.saturating_add(metadata.len());
            if entry.path() != newest {
                programs.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        programs.sort_unstable();
        for (_, bytes, path) in programs {
            if total <= self.limits.cache_bytes {
                break;
            }
            remove_if_exists(&path)?;
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// Outputs of jobs.
impl Store {
    fn output_path(&self, job: JobId) -> PathBuf {
        self.folder("outputs").join(format!("{job}.age"))
    }

    fn partial_output_path(&self, job: JobId) -> PathBuf {
        self.folder("partial").join(format!("output-{job}"))
    }

    /// Counts outputs and uploads that are not whole, which may go on, and removes programs that are not whole, which
    /// begin anew.
    pub(super) fn scan_partial(&self) -> Result<(), Error> {
        for entry in fs::read_dir(self.folder("partial"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.starts_with("output-") {
                self.state().take(metadata.len(), None);
            } else if !name.strip_prefix("blob-").is_some_and(|name| self.add_interrupted(name, &metadata)) {
                remove_if_exists(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The next bytes of a job's encrypted output; `offset` 0 starts it anew. A chunk that came before is
    /// written again.
    ///
    /// # Errors
    /// [`Error::NotContiguous`], [`Error::TooLarge`], [`Error::QuotaExceeded`], or the disk's.
    pub fn write_output(&self, job: JobId, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let path = self.partial_output_path(job);
        let before = file_bytes(&path)?.unwrap_or(0);
        // What is cut off is released only once it is gone.
        self.reserve(bytes.len() as u64, None)?;
        let written = write_chunk(&path, offset, bytes, self.limits.output_bytes);
        let after = file_bytes(&path)?.unwrap_or(0);
        self.release((bytes.len() as u64).saturating_add(before).saturating_sub(after));
        written
    }

    /// Puts the output with this SHA-256 in place, for users to fetch, if it was written for `job`. Says whether it is there.
    /// Another one that is in place, of an earlier attempt, goes.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish_output(&self, job: JobId, sha256: &Hash) -> Result<bool, Error> {
        let (partial, path) = (self.partial_output_path(job), self.output_path(job));
        let replaced = file_bytes(&path)?.unwrap_or(0);
        if file_hash(&partial)?.as_ref() == Some(sha256) {
            put_in_place(&partial, &path)?;
            self.release(replaced);
            return Ok(true);
        }
        if file_hash(&path)?.as_ref() == Some(sha256) {
            return Ok(true);
        }
        remove_if_exists(&path)?;
        self.release(replaced);
        Ok(false)
    }

    /// A job's encrypted output and its length.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_output(&self, job: JobId) -> Result<Option<(File, u64)>, Error> {
        let Some(file) = open_if_exists(&self.output_path(job))? else { return Ok(None) };
        let bytes = file.metadata()?.len();
        Ok(Some((file, bytes)))
    }
}

/// Records of jobs, and receipts.
impl Store {
    fn record_path(&self, job: JobId) -> PathBuf {
        self.folder("jobs").join(format!("{job}.json"))
    }

    fn receipt_path(&self, job: JobId) -> PathBuf {
        self.folder("receipts").join(job.to_string())
    }

    /// Keeps what is known of a job.
    ///
    /// # Errors
    /// The disk's.
    pub fn store_record(&self, job: JobId, json: &[u8]) -> Result<(), Error> {
        self.write_atomically(&self.record_path(job), json)
    }

    /// The jobs of which there is a record.
    ///
    /// # Errors
    /// The disk's.
    pub fn recorded_jobs(&self) -> Result<BTreeSet<JobId>, Error> {
        numbered(&self.folder("jobs"))
    }

    /// The jobs of which there is a receipt.
    ///
    /// # Errors
    /// The disk's.
    pub fn jobs_with_receipts(&self) -> Result<BTreeSet<JobId>, Error> {
        numbered(&self.folder("receipts"))
    }

    /// What is known of a job, if `parse` makes sense of it.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_record<T>(&self, job: JobId, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Error> {
        self.sound(&self.record_path(job), MAX_RECORD_BYTES, |bytes| parse(&bytes))
    }

    /// Forgets a job: its record, its output, its receipt, and that which the enclave has sealed.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_job(&self, job: JobId) -> Result<(), Error> {
        for path in [self.output_path(job), self.partial_output_path(job)] {
            let bytes = file_bytes(&path)?.unwrap_or(0);
            remove_if_exists(&path)?;
            self.release(bytes);
        }
        if let Some(signed) = self.load_receipt(job)? {
            remove_if_exists(&self.named("sealed", &sealed_receipt_name(&signed.receipt.genesis_hash, job))?)?;
        }
        remove_if_exists(&self.receipt_path(job))?;
        remove_if_exists(&self.record_path(job))?;
        Ok(())
    }

    /// Keeps a receipt, in place of an older one for the same job.
    ///
    /// # Errors
    /// The disk's.
    pub fn store_receipt(&self, job: JobId, receipt: &SignedReceipt) -> Result<(), Error> {
        self.write_atomically(&self.receipt_path(job), &receipt.encode())
    }

    /// A job's receipt. One that does not decode is as good as none.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_receipt(&self, job: JobId) -> Result<Option<SignedReceipt>, Error> {
        self.sound(&self.receipt_path(job), MAX_RECEIPT_BYTES, |bytes| SignedReceipt::decode_all(&mut &bytes[..]).ok())
    }
}

/// Damage.
impl Store {
    /// The content of a file, if it is of at most `limit` bytes and `parse` makes sense of it. One that is not goes to the
    /// quarantine.
    fn sound<T>(&self, path: &Path, limit: u64, parse: impl FnOnce(Vec<u8>) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(mut file) = open_if_exists(path)? else { return Ok(None) };
        let opened = file.metadata()?;
        let mut bytes = Vec::new();
        let parsed = if opened.len() > limit {
            None
        } else {
            file.read_to_end(&mut bytes)?;
            parse(bytes)
        };
        if parsed.is_none() {
            let _renaming = self.renaming();
            // Somebody may have replaced it meanwhile. While it is open, no other file has its number.
            if fs::metadata(path)?.ino() == opened.ino() {
                let name = |path: Option<&OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
                let kept = format!("{}-{}", name(path.parent().and_then(Path::file_name)), name(path.file_name()));
                let kept = self.folder("quarantine").join(kept);
                tracing::error!(
                    file = %path.display(),
                    kept = %kept.display(),
                    "a file is damaged and was moved away; check the disk"
                );
                fs::rename(path, kept)?;
            }
        }
        Ok(parsed)
    }

    /// Removes damaged files that were moved away before `before`.
    ///
    /// # Errors
    /// The disk's.
    pub fn empty_quarantine(&self, before: SystemTime) -> Result<(), Error> {
        for entry in fs::read_dir(self.folder("quarantine"))? {
            let entry = entry?;
            if entry.metadata()?.modified()? < before {
                remove_if_exists(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Evidence and the chain's specification.
impl Store {
    /// Keeps evidence that is about to be registered.
    ///
    /// # Errors
    /// The disk's.
    pub fn store_bundle(&self, bundle: &EvidenceBundle) -> Result<(), Error> {
        let folder = self.folder("bundles");
        self.write_atomically(&folder.join(hex::encode(evidence_hash(bundle))), &bundle.encode())?;
        let mut kept = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
        kept.sort_unstable();
        let excess = kept.len().saturating_sub(KEPT_BUNDLES);
        kept.iter().take(excess).try_for_each(|(_, path)| remove_if_exists(path))?;
        Ok(())
    }

    /// The evidence with a hash, if it is here: what is registered, or one of those that may get registered.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_bundle(&self, hash: &Hash) -> Result<Option<EvidenceBundle>, Error> {
        match self.registered(hash)? {
            Some(bundle) => Ok(Some(bundle)),
            None => self.kept(hash),
        }
    }

    /// The evidence with the hash that the chain stores, if it is here. It is then what [`Self::load_evidence`]
    /// gives.
    ///
    /// # Errors
    /// The disk's.
    pub fn promote_bundle(&self, hash: &Hash) -> Result<Option<EvidenceBundle>, Error> {
        if let Some(bundle) = self.registered(hash)? {
            return Ok(Some(bundle));
        }
        let bundle = self.kept(hash)?;
        if let Some(bundle) = &bundle {
            self.write_atomically(&self.folder("evidence"), &bundle.encode())?;
        }
        Ok(bundle)
    }

    /// The evidence that is registered on chain, as far as is known.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_evidence(&self) -> Result<Option<EvidenceBundle>, Error> {
        load_bundle(&self.folder("evidence"))
    }

    /// [`Self::load_evidence`], if it has this hash.
    fn registered(&self, hash: &Hash) -> Result<Option<EvidenceBundle>, Error> {
        Ok(self.load_evidence()?.filter(|bundle| evidence_hash(bundle) == *hash))
    }

    /// What may get registered, and has this hash.
    fn kept(&self, hash: &Hash) -> Result<Option<EvidenceBundle>, Error> {
        load_bundle(&self.folder("bundles").join(hex::encode(hash)))
    }

    /// Keeps the chain's specification.
    ///
    /// # Errors
    /// The disk's.
    pub fn store_chain_spec(&self, json: &str) -> Result<(), Error> {
        self.write_atomically(&self.folder("chain-spec.json"), json.as_bytes())
    }

    /// The chain's specification that was kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_chain_spec(&self) -> Result<Option<String>, Error> {
        let bytes = read_if_exists(&self.folder("chain-spec.json"), phala_protocol::MAX_FRAME_BYTES.into())?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    fn named(&self, folder: &str, name: &str) -> Result<PathBuf, Error> {
        if is_name(name) { Ok(self.folder(folder).join(name)) } else { Err(Error::InvalidName) }
    }

    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut file = NamedTempFile::new_in(self.folder("tmp"))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        {
            let _renaming = self.renaming();
            file.persist(path).map_err(|error| error.error)?;
        }
        sync_parent(path)
    }
}

fn load_bundle(path: &Path) -> Result<Option<EvidenceBundle>, Error> {
    let bytes = read_if_exists(path, 1024 * 1024)?;
    Ok(bytes.and_then(|bytes| EvidenceBundle::decode(&mut &bytes[..]).ok()))
}

/// Writes `bytes` at `offset` and cuts the file there: a chunk sent twice is written twice.
fn write_chunk(path: &Path, offset: u64, bytes: &[u8], limit: u64) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let present = file.metadata()?.len();
    if offset > present {
        return Err(Error::NotContiguous { offset, present });
    }
    let end = offset.saturating_add(bytes.len() as u64);
    if end > limit {
        return Err(Error::TooLarge { limit });
    }
    file.set_len(offset)?;
    file.write_all_at(bytes, offset)?;
    Ok(())
}

fn put_in_place(partial: &Path, path: &Path) -> Result<(), Error> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), sync_folder)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    Ok(File::open(path)?.sync_all()?)
}

/// Makes a folder that only the host's user may enter.
pub(super) fn make_private_folder(path: &Path) -> Result<(), Error> {
    Ok(DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

pub(super) fn open_if_exists(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn remove_if_exists(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) fn read_at(file: &File, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
    let available = file.metadata()?.len().saturating_sub(offset);
    let length = available.min(length.min(MAX_CHUNK_BYTES).into());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The jobs after which the files in a folder are named.
fn numbered(folder: &Path) -> Result<BTreeSet<JobId>, Error> {
    let mut jobs = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        jobs.extend(path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<JobId>().ok()));
    }
    Ok(jobs)
}

/// The SHA-256 of a file, if it is there.
fn file_hash(path: &Path) -> Result<Option<Hash>, Error> {
    let Some(mut file) = open_if_exists(path)? else { return Ok(None) };
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(hasher.finalize().into())),
            count => hasher.update(&piece[..count]),
        }
    }
}

pub(super) fn folder_bytes(path: &Path) -> Result<u64, Error> {
    let mut total = 0u64;
    for entry in fs::read_dir(path)? {
        total = total.saturating_add(entry?.metadata()?.len());
    }
    Ok(total)
}

fn file_bytes(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_if_exists(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    if file_bytes(path)?.is_some_and(|bytes| bytes > limit) {
        return Err(Error::TooLarge { limit });
    }
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
