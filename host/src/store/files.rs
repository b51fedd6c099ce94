//! Everything on disk but blobs: outputs, sealed state, compiled programs, receipts, records.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use codec::{Decode, Encode};
use phala_attestation::{Evidence, Statement};
use phala_primitives::{Hash, JobId, SignedReceipt};
use phala_protocol::{MAX_CHUNK_BYTES, MAX_SEALED_BYTES, sealed_receipt_name};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{Error, Store, is_name};

/// How many evidence bundles are kept, in case one of them gets registered.
const KEPT_BUNDLES: usize = 16;

/// A statement and the evidence for it: what the chain stores the hash of.
pub type EvidenceBundle = (Statement, Evidence);

/// What the chain stores as a worker's `evidence_hash`.
pub fn evidence_hash(bundle: &EvidenceBundle) -> Hash {
    Sha256::digest(bundle.encode()).into()
}

/// Sealed state of the enclave.
impl Store {
    /// The sealed blob last stored under `name`.
    ///
    /// # Errors
    /// [`Error::InvalidName`], or the disk's.
    pub fn load_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        read_if_exists(&self.named("sealed", name)?, MAX_SEALED_BYTES.into())
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

    pub(super) fn partial_output_bytes(&self) -> Result<u64, Error> {
        let mut total = 0u64;
        for entry in fs::read_dir(self.folder("partial"))? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("output-")) {
                total = total.saturating_add(entry.metadata()?.len());
            }
        }
        Ok(total)
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
        self.reserve(bytes.len() as u64)?;
        let written = write_chunk(&path, offset, bytes, self.limits.output_bytes);
        let after = file_bytes(&path)?.unwrap_or(0);
        self.release((bytes.len() as u64).saturating_add(before).saturating_sub(after));
        written
    }

    /// Puts the output that was written for `job` in place, for users to fetch. Nothing happens without one.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish_output(&self, job: JobId) -> Result<(), Error> {
        let partial = self.partial_output_path(job);
        if partial.exists() {
            let path = self.output_path(job);
            let replaced = file_bytes(&path)?.unwrap_or(0);
            put_in_place(&partial, &path)?;
            self.release(replaced);
        }
        Ok(())
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

    /// Every record that was kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_records(&self) -> Result<Vec<(JobId, Vec<u8>)>, Error> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.folder("jobs"))? {
            let path = entry?.path();
            let job = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
            if let Some(job) = job {
                records.push((job, fs::read(path)?));
            }
        }
        Ok(records)
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
        Ok(read_if_exists(&self.receipt_path(job), 64 * 1024)?
            .and_then(|bytes| SignedReceipt::decode(&mut &bytes[..]).ok()))
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

    /// The evidence with the hash that the chain stores, if it is here. It is then what [`Self::load_evidence`]
    /// gives.
    ///
    /// # Errors
    /// The disk's.
    pub fn promote_bundle(&self, hash: &Hash) -> Result<Option<EvidenceBundle>, Error> {
        if let Some(bundle) = self.load_evidence()?.filter(|bundle| evidence_hash(bundle) == *hash) {
            return Ok(Some(bundle));
        }
        let Some(bundle) = load_bundle(&self.folder("bundles").join(hex::encode(hash)))? else { return Ok(None) };
        self.write_atomically(&self.folder("evidence"), &bundle.encode())?;
        Ok(Some(bundle))
    }

    /// The evidence that is registered on chain, as far as is known.
    ///
    /// # Errors
    /// The disk's.
    pub fn load_evidence(&self) -> Result<Option<EvidenceBundle>, Error> {
        load_bundle(&self.folder("evidence"))
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
        file.persist(path).map_err(|error| error.error)?;
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

pub(super) fn read_at(file: &File, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
    let available = file.metadata()?.len().saturating_sub(offset);
    let length = available.min(length.min(MAX_CHUNK_BYTES).into());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
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
