//! What this machine knows of its jobs: one file for each, readable by its owner only, because it holds the job's secret and
//! the key of its result.

use phala_primitives::{AppId, JobId, Limits, input::hex_bytes, units::Balance};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{Account, evidence::WorkerReport};

/// The folder with everything about jobs.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot use {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What this machine knows of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// The format: always 1.
    pub version: u32,
    /// The chain.
    #[serde(with = "hex_bytes")]
    pub genesis_hash: [u8; 32],
    /// The job.
    pub job: JobId,
    /// The app that it runs.
    pub app: AppId,
    /// Who pays.
    pub owner: Account,
    /// The job's secret.
    #[serde(with = "hex_bytes")]
    pub secret: [u8; 32],
    /// The key of the result: `AGE-SECRET-KEY-1…`.
    pub identity: String,
    /// Who else may read the result.
    pub recipients: Vec<String>,
    /// SHA-256 of the program.
    #[serde(with = "hex_bytes")]
    pub code_hash: [u8; 32],
    /// Whether the program travels encrypted.
    pub private: bool,
    /// Arguments.
    pub arguments: Vec<String>,
    /// The file with the standard input.
    pub stdin: Option<PathBuf>,
    /// Input files: names and where they are.
    pub files: Vec<(String, PathBuf)>,
    /// Limits.
    pub limits: Limits,
    /// The most that is paid, in the smallest unit, as text.
    #[serde(with = "balance_text")]
    pub max_price: Balance,
    /// The block of its submission.
    pub submitted_at: u32,
    /// What the submission's transaction cost.
    #[serde(with = "balance_text")]
    pub submission_fee: Balance,
    /// What was sent to whom, for each attempt that was begun.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// One upload of a job's inputs to one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The attempt that it was for.
    pub attempt: u32,
    /// To whom.
    pub worker: WorkerReport,
    /// SHA-256 of the encrypted job input.
    #[serde(with = "hex_bytes")]
    pub input_hash: [u8; 32],
    /// Bytes of program, standard input and files in the clear.
    pub plain_bytes: u64,
    /// Bytes that were uploaded for them.
    pub cipher_bytes: u64,
}

impl Store {
    /// The store in a folder, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.into() };
        for folder in ["jobs", "programs", "tmp"] {
            make_private(&root.join(folder))?;
        }
        Ok(store)
    }

    /// A folder for ciphertext on its way.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn path(&self, genesis_hash: &[u8; 32], job: JobId) -> PathBuf {
        self.root.join("jobs").join(hex::encode(&genesis_hash[..8])).join(format!("{job}.json"))
    }

    /// Keeps a standard input that came through a pipe: it may be needed again if the job goes to another worker.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep_stdin(&self, input: &mut impl io::Read) -> Result<PathBuf, StoreError> {
        let folder = self.temporary();
        let mut keep = || {
            let mut file = tempfile::Builder::new().prefix("stdin-").tempfile_in(&folder)?;
            io::copy(input, &mut file)?;
            let (_, path) = file.keep().map_err(|error| error.error)?;
            Ok(path)
        };
        keep().map_err(|error| StoreError::Io { path: folder.clone(), error })
    }

    /// Deletes what was kept only for a job that has ended.
    pub fn forget_stdin(&self, record: &JobRecord) {
        if let Some(path) = record.stdin.as_ref().filter(|path| path.starts_with(self.temporary())) {
            // If it stays, it stays private.
            let _ = fs::remove_file(path);
        }
    }

    /// Saves a record in place of an older one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, record: &JobRecord) -> Result<(), StoreError> {
        let path = self.path(&record.genesis_hash, record.job);
        let json = serde_json::to_vec_pretty(record).expect("a record is plain JSON");
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        write_private(&path, &json)
    }

    /// The record of a job, if this machine has one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn load(&self, genesis_hash: &[u8; 32], job: JobId) -> Result<Option<JobRecord>, StoreError> {
        let path = self.path(genesis_hash, job);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io { path, error }),
        };
        let record: JobRecord = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        if record.version != 1 || record.job != job || record.genesis_hash != *genesis_hash {
            return Err(StoreError::Damaged { path, reason: "it is about another job".into() });
        }
        Ok(Some(record))
    }

    /// Keeps a program, so that its app can be run again by its id. Returns where.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep_program(&self, code: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.program(&Sha256::digest(code).into());
        if !path.exists() {
            write_private(&path, code)?;
        }
        Ok(path)
    }

    /// Where the program with a hash is kept, if it is.
    pub fn program(&self, code_hash: &[u8; 32]) -> PathBuf {
        self.root.join("programs").join(format!("{}.wasm", hex::encode(code_hash)))
    }
}

fn make_private(folder: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| StoreError::Io { path: folder.into(), error })
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(|error| StoreError::Io { path: path.into(), error })
}

/// Amounts as decimal text: JSON numbers lose digits in some readers.
mod balance_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(crate) fn record(job: JobId) -> JobRecord {
        JobRecord {
            version: 1,
            genesis_hash: [1; 32],
            job,
            app: AppId([2; 32]),
            owner: Account([3; 32]),
            secret: [4; 32],
            identity: "AGE-SECRET-KEY-1".into(),
            recipients: vec![],
            code_hash: [5; 32],
            private: false,
            arguments: vec!["a".into()],
            stdin: None,
            files: vec![("x".into(), "/x".into())],
            limits: Limits::DEFAULT,
            max_price: u128::MAX,
            submitted_at: 7,
            submission_fee: 1,
            deliveries: vec![],
        }
    }

    #[test]
    fn records_round_trip_and_stay_private() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("phala")).unwrap();
        assert!(store.load(&[1; 32], 9).unwrap().is_none());
        store.save(&record(9)).unwrap();
        store.save(&record(9)).unwrap();
        let loaded = store.load(&[1; 32], 9).unwrap().unwrap();
        assert_eq!((loaded.max_price, loaded.secret), (u128::MAX, [4; 32]));
        let path = store.path(&[1; 32], 9);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn records_of_other_jobs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save(&record(9)).unwrap();
        fs::copy(store.path(&[1; 32], 9), store.path(&[1; 32], 8)).unwrap();
        assert!(matches!(store.load(&[1; 32], 8), Err(StoreError::Damaged { .. })));
        fs::write(store.path(&[1; 32], 8), "{").unwrap();
        assert!(matches!(store.load(&[1; 32], 8), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn programs_are_kept_by_hash() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = store.keep_program(b"\0asm").unwrap();
        assert_eq!(path, store.program(&Sha256::digest(b"\0asm").into()));
        assert_eq!(fs::read(path).unwrap(), b"\0asm");
    }
}
