//! What this machine knows of its jobs: one file for each, readable by its owner only, because it holds the job's secret and
//! the key of its result.
//!
//! A record is written before its job is submitted, and has no number then: it is *pending*, under the commitment of the
//! job's secret, which is on chain if the submission is. So nothing that was paid for is lost if the process dies.

use phala_primitives::{
    AppId, JobId, Limits, WorkerId,
    gatekeeper::EpochId,
    input::{EncryptedFile, NamedFile, Secret, hex_bytes},
    job::secret_commitment,
    units::Balance,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs, io,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use crate::{Account, chain::Job, encryption::Ciphertext, evidence::WorkerReport, host::UploadToken};

/// How long after its last change a temporary file is of no use to anybody: the longest deadline of a job, and a day.
const STALE_AFTER: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What the name of a pending record begins with.
const PENDING: &str = "pending-";

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

/// What this machine knows of a job. Prints as its number only.
#[derive(Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// The format: always 1.
    pub version: u32,
    /// The chain.
    #[serde(with = "hex_bytes")]
    pub genesis_hash: [u8; 32],
    /// The job. Zero, which means nothing, while the record is pending.
    pub job: JobId,
    /// The app that it runs.
    pub app: AppId,
    /// Who pays.
    pub owner: Account,
    /// The job's secret.
    #[serde(with = "hex_bytes")]
    pub secret: Secret<[u8; 32]>,
    /// The key of the result: `AGE-SECRET-KEY-1…`.
    pub identity: Secret<String>,
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
    /// Input files that came encrypted to the app.
    #[serde(default)]
    pub encrypted_files: Vec<(String, PathBuf)>,
    /// Limits.
    pub limits: Limits,
    /// The most that is paid, in the smallest unit, as text.
    #[serde(with = "balance_text")]
    pub max_price: Balance,
    /// The block of its submission. While the record is pending: the best block before it.
    pub submitted_at: u32,
    /// What the submission's transaction cost. Zero if whoever submitted it did not live to see it.
    #[serde(with = "balance_text")]
    pub submission_fee: Balance,
    /// What lets this machine upload for the job and start it; `None` where the owner's key was not there when it got its
    /// number.
    #[serde(default)]
    pub upload: Option<UploadToken>,
    /// The files as every worker that has the job gets them; `None` until the first has it, where the network has no keys.
    #[serde(default)]
    pub encrypted: Option<EncryptedInputs>,
    /// The job input as it was encrypted last, under the number that the job has.
    #[serde(default)]
    pub input: Option<EncryptedInput>,
    /// What was sent to whom, for each attempt that was begun.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// A job's files, encrypted once, to a key of their own that goes into each job input. The [`Store`] keeps the ciphertext
/// until the job ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncryptedInputs {
    /// What opens them: `AGE-SECRET-KEY-1…`.
    pub identity: Secret<String>,
    /// The program, if it travels encrypted.
    pub code: Option<EncryptedFile>,
    /// The standard input.
    pub stdin: Option<EncryptedFile>,
    /// Input files.
    pub files: Vec<NamedFile>,
    /// Input files that came encrypted to the app, as they came.
    #[serde(default)]
    pub app_files: Vec<NamedFile>,
    /// Bytes of all but the last in the clear.
    pub plain_bytes: u64,
}

impl EncryptedInputs {
    /// Each file, with a name for people.
    pub fn all(&self) -> impl Iterator<Item = (&str, EncryptedFile)> {
        self.made().chain(self.app_files.iter().map(|named| (named.name.as_str(), named.file())))
    }

    /// Each file that was encrypted here, for this job alone.
    pub fn made(&self) -> impl Iterator<Item = (&str, EncryptedFile)> {
        let code = self.code.map(|file| ("program", file));
        let stdin = self.stdin.map(|file| ("standard input", file));
        let files = self.files.iter().map(|named| (named.name.as_str(), named.file()));
        code.into_iter().chain(stdin).chain(files)
    }

    /// Bytes of ciphertext.
    pub fn cipher_bytes(&self) -> u64 {
        self.all().map(|(_, file)| file.bytes).sum()
    }
}

/// A job input, encrypted. The [`Store`] keeps the ciphertext until the job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptedInput {
    /// Who can open it.
    pub reader: Reader,
    /// The ciphertext.
    pub file: EncryptedFile,
}

/// Who can open an encrypted job input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// Each worker that has the job, with the app's key of this epoch.
    App(EpochId),
    /// This worker alone.
    Worker(WorkerId),
}

impl Reader {
    /// The epoch under whose key it is encrypted to the app.
    pub fn epoch(self) -> Option<EpochId> {
        match self {
            Self::App(epoch) => Some(epoch),
            Self::Worker(_) => None,
        }
    }
}

/// What a worker is brought of a job's inputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The attempt that it was for.
    pub attempt: u32,
    /// To whom.
    pub worker: WorkerReport,
    /// SHA-256 of the encrypted job input.
    #[serde(with = "hex_bytes")]
    pub input_hash: [u8; 32],
    /// The epoch under whose key it is encrypted to the app; `None` where it is encrypted to this worker alone.
    #[serde(default)]
    pub epoch: Option<EpochId>,
    /// Bytes of program, standard input and files in the clear, but for files that came encrypted.
    pub plain_bytes: u64,
    /// Bytes of their ciphertext, and of the encrypted job input.
    pub cipher_bytes: u64,
    /// Whether something may still be missing.
    #[serde(default)]
    pub under_way: bool,
}

/// What this machine knows of a job input on which a worker ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    /// How it was brought to that worker or, if the host took it over from another's, to another.
    pub delivery: &'a Delivery,
    /// What the worker's evidence proved before it was brought anything; `None` where nothing was.
    pub worker: Option<&'a WorkerReport>,
}

impl JobRecord {
    /// What is known of a job input that a worker's receipt names. `None` if this machine did not bring it to anybody, or it is
    /// encrypted to another worker alone.
    pub(super) fn sent(&self, worker: WorkerId, input_hash: &[u8; 32]) -> Option<Sent<'_>> {
        let deliveries = || self.deliveries.iter().rev();
        let of_it = |delivery: &&Delivery| delivery.input_hash == *input_hash;
        let to_it = |delivery: &&Delivery| delivery.worker.worker == worker;
        let own = deliveries().filter(of_it).find(to_it);
        let delivery = own.or_else(|| deliveries().filter(of_it).find(|delivery| delivery.epoch.is_some()))?;
        // It may have been brought another input.
        Some(Sent { delivery, worker: deliveries().find(to_it).map(|delivery| &delivery.worker) })
    }

    /// Whether a job on chain is this one, whatever its number.
    pub fn is_of(&self, job: &Job) -> bool {
        job.owner == self.owner && job.secret_commitment == secret_commitment(&self.secret)
    }
}

impl fmt::Debug for JobRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRecord").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Store {
    /// The store in a folder, which is made if need be. Temporary files that nobody can need any more are deleted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.into() };
        for folder in ["jobs", "programs", "tmp"] {
            make_private(&root.join(folder))?;
        }
        let stale = SystemTime::now().checked_sub(STALE_AFTER).unwrap_or(SystemTime::UNIX_EPOCH);
        store.sweep(stale)?;
        Ok(store)
    }

    /// Deletes the temporary files that were last changed before a time.
    fn sweep(&self, before: SystemTime) -> Result<(), StoreError> {
        let folder = self.temporary();
        for entry in fs::read_dir(&folder).map_err(|error| StoreError::Io { path: folder.clone(), error })?.flatten() {
            if entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|changed| changed < before) {
                // Another process may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// A folder for ciphertext on its way, and for standard inputs.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn folder(&self, genesis_hash: &[u8; 32]) -> PathBuf {
        self.root.join("jobs").join(hex::encode(&genesis_hash[..8]))
    }

    fn path(&self, genesis_hash: &[u8; 32], job: JobId) -> PathBuf {
        self.folder(genesis_hash).join(format!("{job}.json"))
    }

    fn pending_path(&self, record: &JobRecord) -> PathBuf {
        let commitment = hex::encode(secret_commitment(&record.secret));
        self.folder(&record.genesis_hash).join(format!("{PENDING}{commitment}.json"))
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

    /// Deletes a standard input that [`Self::keep_stdin`] kept: its job has ended, or there is none. Other files stay.
    pub fn forget_stdin(&self, stdin: Option<&Path>) {
        if let Some(path) = stdin.filter(|path| path.starts_with(self.temporary())) {
            // If it stays, it stays private, and goes once it is stale.
            let _ = fs::remove_file(path);
        }
    }

    /// Where the ciphertext with a hash is kept, if it is.
    pub fn ciphertext(&self, sha256: &[u8; 32]) -> PathBuf {
        self.temporary().join(format!("{}.age", hex::encode(sha256)))
    }

    /// Keeps a ciphertext: the next worker gets the same.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep_ciphertext(&self, cipher: Ciphertext) -> Result<EncryptedFile, StoreError> {
        let file = EncryptedFile { sha256: cipher.sha256, bytes: cipher.bytes };
        let path = self.ciphertext(&file.sha256);
        cipher.keep(&path).map_err(|error| StoreError::Io { path: path.clone(), error })?;
        Ok(file)
    }

    /// Whether a ciphertext is kept, and whole.
    pub fn has_ciphertext(&self, file: &EncryptedFile) -> bool {
        fs::metadata(self.ciphertext(&file.sha256)).is_ok_and(|metadata| metadata.len() == file.bytes)
    }

    /// Deletes a ciphertext. If it stays, it goes once it is stale.
    pub fn remove_ciphertext(&self, sha256: &[u8; 32]) {
        let _ = fs::remove_file(self.ciphertext(sha256));
    }

    /// Deletes all ciphertext that was made for a job. Files that came encrypted may be another job's, too, and stay until they
    /// are stale.
    pub fn forget_ciphertext(&self, record: &JobRecord) {
        let inputs = record.deliveries.iter().map(|delivery| delivery.input_hash);
        let inputs = inputs.chain(record.input.map(|input| input.file.sha256));
        let files = record.encrypted.iter().flat_map(EncryptedInputs::made).map(|(_, file)| file.sha256);
        inputs.chain(files).for_each(|sha256| self.remove_ciphertext(&sha256));
    }

    /// Saves the record of a job that is about to be submitted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save_pending(&self, record: &JobRecord) -> Result<(), StoreError> {
        self.write(&self.pending_path(record), record)
    }

    /// The records of jobs of which it is not known whether they were submitted.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn pending(&self, genesis_hash: &[u8; 32]) -> Result<Vec<JobRecord>, StoreError> {
        let folder = self.folder(genesis_hash);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(StoreError::Io { path: folder, error }),
        };
        let mut records = Vec::new();
        for entry in
            entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PENDING.as_bytes()))
        {
            let path = entry.path();
            // Another process may have found out about it in the meantime.
            let Some(record) = read(&path)? else { continue };
            if record.genesis_hash != *genesis_hash || self.pending_path(&record) != path {
                return Err(StoreError::Damaged { path, reason: "it is about another job".into() });
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Saves a pending record under its job's number, now that it has one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn confirm(&self, record: &JobRecord) -> Result<(), StoreError> {
        self.make_room(record)?;
        // Another process may have done it, and have gone on with the job.
        if self.load(&record.genesis_hash, record.job)?.is_none() {
            self.save(record)?;
        }
        self.remove_pending(record)
    }

    /// Saves a record under another number, which a fork has given to its job. Job inputs that name the old one are of no use
    /// any more, nor is what the owner signed for it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn renumber(&self, record: &mut JobRecord, job: JobId) -> Result<(), StoreError> {
        let old = std::mem::replace(&mut record.job, job);
        record.upload = None;
        let inputs = record.deliveries.drain(..).map(|delivery| delivery.input_hash);
        let inputs = inputs.chain(record.input.take().map(|input| input.file.sha256));
        inputs.for_each(|sha256| self.remove_ciphertext(&sha256));
        self.make_room(record)?;
        self.save(record)?;
        match self.load(&record.genesis_hash, old)? {
            Some(there) if there.secret == record.secret => remove(self.path(&record.genesis_hash, old)),
            _ => Ok(()),
        }
    }

    /// Makes the record of another job pending if it is where a record belongs: a fork has taken its number away.
    fn make_room(&self, record: &JobRecord) -> Result<(), StoreError> {
        match self.load(&record.genesis_hash, record.job)? {
            Some(other) if other.secret != record.secret => {
                self.save_pending(&JobRecord { job: 0, upload: None, input: None, deliveries: vec![], ..other })?;
                remove(self.path(&record.genesis_hash, record.job))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a pending record, and what was kept for it: its job will never be on chain.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn forget_pending(&self, record: &JobRecord) -> Result<(), StoreError> {
        self.forget_stdin(record.stdin.as_deref());
        self.forget_ciphertext(record);
        self.remove_pending(record)
    }

    fn remove_pending(&self, record: &JobRecord) -> Result<(), StoreError> {
        remove(self.pending_path(record))
    }

    /// Saves a record in place of an older one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, record: &JobRecord) -> Result<(), StoreError> {
        self.write(&self.path(&record.genesis_hash, record.job), record)
    }

    fn write(&self, path: &Path, record: &JobRecord) -> Result<(), StoreError> {
        let json = Zeroizing::new(serde_json::to_vec_pretty(record).expect("a record is plain JSON"));
        make_private(&self.folder(&record.genesis_hash))?;
        write_private(path, &json)
    }

    /// The record of a job, if this machine has one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn load(&self, genesis_hash: &[u8; 32], job: JobId) -> Result<Option<JobRecord>, StoreError> {
        let path = self.path(genesis_hash, job);
        let Some(record) = read(&path)? else { return Ok(None) };
        if record.job != job || record.genesis_hash != *genesis_hash {
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

/// The record in a file, if there is one.
fn read(path: &Path) -> Result<Option<JobRecord>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::Io { path: path.into(), error }),
    };
    let damaged = |reason: String| StoreError::Damaged { path: path.into(), reason };
    let record: JobRecord = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if record.version != 1 {
        return Err(damaged("it is of another version of phala".into()));
    }
    Ok(Some(record))
}

/// Removes a file, if it is there.
fn remove(path: PathBuf) -> Result<(), StoreError> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { path, error }),
        _ => Ok(()),
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
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(crate) fn record(job: JobId) -> JobRecord {
        JobRecord {
            version: 1,
            genesis_hash: [1; 32],
            job,
            app: AppId([2; 32]),
            owner: Account([3; 32]),
            secret: [4u8; 32].into(),
            identity: "AGE-SECRET-KEY-1".into(),
            recipients: vec![],
            code_hash: [5; 32],
            private: false,
            arguments: vec!["a".into()],
            stdin: None,
            files: vec![("x".into(), "/x".into())],
            encrypted_files: vec![],
            limits: Limits::DEFAULT,
            max_price: u128::MAX,
            submitted_at: 7,
            submission_fee: 1,
            upload: None,
            encrypted: None,
            input: None,
            deliveries: vec![],
        }
    }

    fn file(byte: u8) -> EncryptedFile {
        EncryptedFile { sha256: [byte; 32], bytes: 10 }
    }

    fn files() -> EncryptedInputs {
        EncryptedInputs {
            identity: "AGE-SECRET-KEY-1".into(),
            code: None,
            stdin: Some(file(1)),
            files: vec![NamedFile::new("x".into(), file(2))],
            app_files: vec![NamedFile::new("y".into(), file(3))],
            plain_bytes: 5,
        }
    }

    /// What was brought to a worker whose id is all `worker`, and what that worker had proved.
    pub(crate) fn delivery(worker: u8, input: u8, epoch: Option<EpochId>) -> Delivery {
        let report = serde_json::json!({
            "worker": WorkerId([worker; 32]), "operator": Account([1; 32]), "endpoint": "http://127.0.0.1:1",
            "vendor": "simulated:development", "simulated": true, "measurement": "0x01", "image_version": 1, "platform": "0x02",
            "verdict_expires": 9, "block": 8, "checks": [],
        });
        let worker = serde_json::from_value(report).unwrap();
        let under_way = false;
        Delivery { attempt: 1, worker, input_hash: [input; 32], epoch, plain_bytes: 5, cipher_bytes: 40, under_way }
    }

    #[test]
    fn records_round_trip_and_stay_private() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("phala")).unwrap();
        assert!(store.load(&[1; 32], 9).unwrap().is_none());
        store.save(&record(9)).unwrap();
        store.save(&record(9)).unwrap();
        let loaded = store.load(&[1; 32], 9).unwrap().unwrap();
        assert_eq!((loaded.max_price, *loaded.secret), (u128::MAX, [4; 32]));
        let path = store.path(&[1; 32], 9);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_was_encrypted_is_remembered_and_records_of_earlier_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for reader in [Reader::App(4), Reader::Worker(WorkerId([6; 32]))] {
            let input = Some(EncryptedInput { reader, file: file(9) });
            let encrypted_files = vec![("y".to_owned(), PathBuf::from("/y.age"))];
            let deliveries = vec![delivery(6, 9, Some(4))];
            let saved = JobRecord { encrypted_files, encrypted: Some(files()), input, deliveries, ..record(9) };
            store.save(&saved).unwrap();
            let loaded = store.load(&[1; 32], 9).unwrap().unwrap();
            assert_eq!((loaded.input, &loaded.encrypted_files), (input, &saved.encrypted_files));
            let encrypted = loaded.encrypted.unwrap();
            let files = files();
            assert!(encrypted.all().eq(files.all()) && encrypted.cipher_bytes() == 30);
            assert_eq!(encrypted.made().count(), 2);
            assert_eq!(loaded.deliveries[0].epoch, Some(4));
        }
        let path = store.path(&[1; 32], 9);
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let record = json.as_object_mut().unwrap();
        assert!(record.remove("input").is_some() && record.remove("encrypted_files").is_some());
        assert!(json["encrypted"].as_object_mut().unwrap().remove("app_files").is_some());
        let delivery = json["deliveries"][0].as_object_mut().unwrap();
        assert!(delivery.remove("epoch").is_some() && delivery.remove("under_way").is_some());
        fs::write(&path, json.to_string()).unwrap();
        let old = store.load(&[1; 32], 9).unwrap().unwrap();
        assert!(old.input.is_none() && old.encrypted_files.is_empty() && old.deliveries[0].epoch.is_none());
        assert!(!old.deliveries[0].under_way);
        assert!(old.encrypted.unwrap().app_files.is_empty());
    }

    #[test]
    fn an_input_to_the_app_may_have_been_taken_over_and_one_to_a_worker_not() {
        let (first, second) = (WorkerId([6; 32]), WorkerId([7; 32]));
        let record = JobRecord { deliveries: vec![delivery(6, 9, Some(4))], ..record(9) };
        let sent = record.sent(first, &[9; 32]).unwrap();
        assert_eq!((sent.worker.unwrap().worker, sent.delivery.worker.worker), (first, first));
        let sent = record.sent(second, &[9; 32]).unwrap();
        assert!(sent.worker.is_none() && sent.delivery.worker.worker == first);
        for worker in [first, second] {
            assert!(record.sent(worker, &[8; 32]).is_none());
        }
        // It was brought one, and ran on what its host had from another's.
        let both = JobRecord { deliveries: vec![delivery(6, 9, Some(4)), delivery(7, 8, Some(5))], ..record.clone() };
        let sent = both.sent(second, &[9; 32]).unwrap();
        assert_eq!((sent.worker.unwrap().worker, sent.delivery.worker.worker), (second, first));

        let alone = JobRecord { deliveries: vec![delivery(6, 9, None)], ..record.clone() };
        assert!(alone.sent(first, &[9; 32]).is_some() && alone.sent(second, &[9; 32]).is_none());
    }

    #[test]
    fn what_was_made_for_a_job_is_forgotten_and_what_came_encrypted_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let input = Some(EncryptedInput { reader: Reader::App(4), file: file(9) });
        let mut record =
            JobRecord { encrypted: Some(files()), input, deliveries: vec![delivery(6, 8, None)], ..record(9) };
        let kept = |byte: u8| store.ciphertext(&[byte; 32]).exists();
        let fill = || [1, 2, 3, 8, 9].iter().for_each(|byte| fs::write(store.ciphertext(&[*byte; 32]), "x").unwrap());
        fill();
        store.forget_ciphertext(&record);
        assert_eq!([1, 2, 3, 8, 9].map(kept), [false, false, true, false, false]);
        fill();
        store.save(&record).unwrap();
        // The files do not name the job.
        store.renumber(&mut record, 10).unwrap();
        assert!(record.input.is_none() && record.encrypted.is_some());
        assert_eq!([1, 2, 3, 8, 9].map(kept), [true, true, true, false, false]);
        store.save_pending(&record).unwrap();
        store.forget_pending(&record).unwrap();
        assert_eq!([1, 2, 3, 8, 9].map(kept), [false, false, true, false, false]);
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
    fn a_pending_record_gets_its_number_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.pending(&[1; 32]).unwrap().is_empty());
        let lost = JobRecord { secret: [5u8; 32].into(), ..record(0) };
        store.save_pending(&record(0)).unwrap();
        store.save_pending(&lost).unwrap();
        let mode = fs::metadata(store.pending_path(&lost)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(store.pending(&[1; 32]).unwrap().len(), 2);
        assert!(store.pending(&[2; 32]).unwrap().is_empty());

        store.confirm(&record(9)).unwrap();
        assert_eq!(*store.load(&[1; 32], 9).unwrap().unwrap().secret, [4; 32]);
        store.forget_pending(&lost).unwrap();
        store.forget_pending(&lost).unwrap();
        assert!(store.pending(&[1; 32]).unwrap().is_empty());
        // Whoever confirms it as well does not undo what was done since.
        store.save(&JobRecord { submission_fee: 77, ..record(9) }).unwrap();
        store.confirm(&record(9)).unwrap();
        assert_eq!(store.load(&[1; 32], 9).unwrap().unwrap().submission_fee, 77);
    }

    #[test]
    fn jobs_that_swap_numbers_keep_their_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let token = UploadToken::sign(&crate::Signer::from_uri("//Alice").unwrap(), [1; 32], 8, 9);
        let mut first = JobRecord { upload: Some(token), ..record(8) };
        let second = JobRecord { secret: [5u8; 32].into(), ..record(9) };
        store.save(&first).unwrap();
        store.save(&second).unwrap();

        store.renumber(&mut first, 9).unwrap();
        assert!(first.job == 9 && first.upload.is_none());
        assert_eq!(*store.load(&[1; 32], 9).unwrap().unwrap().secret, [4; 32]);
        assert!(store.load(&[1; 32], 8).unwrap().is_none());
        let pending = store.pending(&[1; 32]).unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(*pending[0].secret, [5; 32]);

        store.confirm(&JobRecord { job: 8, ..pending[0].clone() }).unwrap();
        assert_eq!(*store.load(&[1; 32], 8).unwrap().unwrap().secret, [5; 32]);
        assert!(store.pending(&[1; 32]).unwrap().is_empty());

        // A number that another job of ours had, and its record was never told.
        store.confirm(&JobRecord { secret: [6u8; 32].into(), ..record(9) }).unwrap();
        assert_eq!(*store.load(&[1; 32], 9).unwrap().unwrap().secret, [6; 32]);
        assert_eq!(*store.pending(&[1; 32]).unwrap()[0].secret, [4; 32]);
        // Whose number it was, finds it in another's hands and leaves that alone.
        store.renumber(&mut first, 10).unwrap();
        assert_eq!(*store.load(&[1; 32], 9).unwrap().unwrap().secret, [6; 32]);
        assert_eq!(*store.load(&[1; 32], 10).unwrap().unwrap().secret, [4; 32]);
    }

    #[test]
    fn a_job_is_known_by_owner_and_secret_whatever_its_number() {
        let record = record(9);
        let job = Job {
            owner: record.owner,
            app: record.app,
            limits: record.limits,
            max_price: 1,
            deadline: 100,
            redundancy: 1,
            secret_commitment: secret_commitment(&record.secret),
            submitted_at: 1,
            submitted_at_ms: 1,
            attempts: 0,
            status: phala_primitives::job::JobStatus::Queued,
        };
        assert!(record.is_of(&job));
        assert!(!record.is_of(&Job { owner: Account([9; 32]), ..job.clone() }));
        assert!(!record.is_of(&Job { secret_commitment: [9; 32], ..job }));
    }

    #[test]
    fn pending_records_under_another_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save_pending(&record(0)).unwrap();
        let other = JobRecord { secret: [5u8; 32].into(), ..record(0) };
        fs::rename(store.pending_path(&record(0)), store.pending_path(&other)).unwrap();
        assert!(matches!(store.pending(&[1; 32]), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", record(9)), "JobRecord { job: 9, .. }");
    }

    #[test]
    fn standard_inputs_are_deleted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let kept = store.keep_stdin(&mut &b"secret"[..]).unwrap();
        let (own, program) = (folder.path().join("own"), store.keep_program(b"\0asm").unwrap());
        fs::write(&own, "the user's").unwrap();
        for path in [None, Some(own.as_path()), Some(program.as_path())] {
            store.forget_stdin(path);
        }
        assert!(own.exists() && program.exists() && kept.exists());
        store.forget_stdin(Some(&kept));
        assert!(!kept.exists());
    }

    #[test]
    fn stale_temporary_files_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let kept = store.keep_stdin(&mut &b"secret"[..]).unwrap();
        let old = store.keep_stdin(&mut &b"older"[..]).unwrap();
        let long_ago = SystemTime::now() - 2 * STALE_AFTER;
        fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        Store::open(folder.path()).unwrap();
        assert!(kept.exists() && !old.exists());
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
