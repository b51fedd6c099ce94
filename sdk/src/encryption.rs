//! `age` files, streamed: what users send and receive is never in the clear on a disk or wire that is not theirs.
//!
//! Most are encrypted to X25519 [`Recipient`]s. [`encrypt_to_app`] needs no worker yet: the [`NetworkKeys`] and the app's id
//! are enough, and the gatekeepers give what opens the file to workers that have a job of the app.

mod app_file;
#[cfg(test)]
pub(crate) mod testing;

pub use app_file::{AppFileError, check_app_file};
pub use phala_app_encryption::{AppRecipient, InvalidPublicKey, Purpose};

use age::{Decryptor, Encryptor};
use bech32::{Bech32, Hrp};
use phala_primitives::{AppId, input::Secret};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};
use tempfile::TempPath;

use crate::network_keys::NetworkKeys;

/// Who can read an `age` file.
pub use age::x25519::Recipient;

/// Why something could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// A file could not be read or written.
    #[error("cannot read or write {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The text is no recipient.
    #[error("`{0}` is not an age recipient: expected age1…")]
    Recipient(String),
    /// The text is no identity.
    #[error("not an age identity: expected AGE-SECRET-KEY-1…")]
    Identity,
    /// There was nobody to encrypt to.
    #[error("there is nobody to encrypt to")]
    NoRecipient,
    /// The network's public key is none.
    #[error(transparent)]
    PublicKey(#[from] InvalidPublicKey),
    /// What is encrypted could not be read, or the ciphertext not be written.
    #[error("cannot encrypt: {0}")]
    Stream(io::Error),
    /// The file is not encrypted to this identity, or was changed.
    #[error("cannot decrypt: {0}")]
    Decrypt(String),
}

/// A key that opens `age` files. Prints as its recipient.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A new identity.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Who to encrypt to.
    pub fn recipient(&self) -> Recipient {
        self.0.to_public()
    }

    /// The secret key as text (`AGE-SECRET-KEY-1…`), which every age tool reads.
    pub fn secret(&self) -> Secret<String> {
        self.0.to_string().expose_secret().into()
    }

    /// Decrypts `input` into memory.
    ///
    /// # Errors
    /// [`EncryptionError::Decrypt`].
    pub fn decrypt(&self, input: impl Read, limit: u64) -> Result<Vec<u8>, EncryptionError> {
        let failed = |error: &dyn fmt::Display| EncryptionError::Decrypt(error.to_string());
        let decryptor = Decryptor::new_buffered(BufReader::new(input)).map_err(|error| failed(&error))?;
        let reader = decryptor.decrypt(std::iter::once(&self.0 as _)).map_err(|error| failed(&error))?;
        let mut plain = Vec::new();
        reader.take(limit.saturating_add(1)).read_to_end(&mut plain).map_err(|error| failed(&error))?;
        if plain.len() as u64 > limit {
            return Err(EncryptionError::Decrypt(format!("it holds more than {limit} bytes")));
        }
        Ok(plain)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl FromStr for Identity {
    type Err = EncryptionError;

    fn from_str(text: &str) -> Result<Self, EncryptionError> {
        text.trim().parse().map(Self).map_err(|_| EncryptionError::Identity)
    }
}

/// Parses a recipient: `age1…`.
///
/// # Errors
/// [`EncryptionError::Recipient`].
pub fn parse_recipient(text: &str) -> Result<Recipient, EncryptionError> {
    text.trim().parse().map_err(|_| EncryptionError::Recipient(text.into()))
}

/// The recipient whose X25519 public key is `key`.
pub fn recipient(key: &[u8; 32]) -> Recipient {
    let text = bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), key).expect("32 bytes fit into bech32");
    text.parse().expect("any 32 bytes are an X25519 public key")
}

/// What came of an encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// SHA-256 of the ciphertext.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// The length of what is in it.
    pub plain_bytes: u64,
}

/// An `age` file on disk, deleted when dropped unless it is [kept](Self::keep).
#[derive(Debug)]
pub struct Ciphertext {
    path: TempPath,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// The length of what is in it; zero where it came encrypted.
    pub plain_bytes: u64,
}

impl Ciphertext {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to `path`, on the same file system, where it stays.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(self, path: &Path) -> io::Result<()> {
        self.path.persist(path).map_err(|error| error.error)
    }

    /// A new file in `folder` with what `write` writes.
    fn new(folder: &Path, write: impl FnOnce(&mut File) -> io::Result<Encrypted>) -> Result<Self, EncryptionError> {
        let io = |error| EncryptionError::Io { path: folder.into(), error };
        let file = tempfile::Builder::new().prefix("cipher-").tempfile_in(folder).map_err(io)?;
        let (mut file, path) = file.into_parts();
        let Encrypted { sha256, bytes, plain_bytes } = write(&mut file).map_err(io)?;
        Ok(Self { path, sha256, bytes, plain_bytes })
    }
}

/// Encrypts `input` into a file in `folder`, in constant memory.
///
/// # Errors
/// [`EncryptionError::Io`] and [`EncryptionError::NoRecipient`].
pub fn encrypt<R: age::Recipient>(
    input: &mut impl Read,
    recipients: &[R],
    folder: &Path,
) -> Result<Ciphertext, EncryptionError> {
    if recipients.is_empty() {
        return Err(EncryptionError::NoRecipient);
    }
    Ciphertext::new(folder, |file| stream(input, recipients, file))
}

/// Encrypts a file; see [`encrypt`].
///
/// # Errors
/// See [`EncryptionError`].
pub fn encrypt_file<R: age::Recipient>(
    path: &Path,
    recipients: &[R],
    folder: &Path,
) -> Result<Ciphertext, EncryptionError> {
    encrypt(&mut open(path)?, recipients, folder)
}

/// Copies a file that came encrypted into one in `folder`.
///
/// # Errors
/// [`EncryptionError::Io`].
pub fn copy_encrypted(path: &Path, folder: &Path) -> Result<Ciphertext, EncryptionError> {
    let mut input = open(path)?;
    Ciphertext::new(folder, |file| {
        let mut output = Hashing::new(file);
        copy(&mut input, &mut output)?;
        output.finish(0)
    })
}

/// Encrypts `input` to an app, in constant memory. Whoever may run the app can give the file to a job of it, whose program
/// reads it and decides what becomes of it: encrypt only to apps whose program may have the data.
///
/// # Errors
/// [`EncryptionError::PublicKey`] and [`EncryptionError::Stream`]. What was written until then is of no use.
pub fn encrypt_to_app(
    input: &mut impl Read,
    app: AppId,
    keys: &NetworkKeys,
    output: &mut impl Write,
) -> Result<Encrypted, EncryptionError> {
    let recipient = keys.recipient(Purpose::File, app)?;
    stream(input, &[recipient], output).map_err(EncryptionError::Stream)
}

fn open(path: &Path) -> Result<File, EncryptionError> {
    File::open(path).map_err(|error| EncryptionError::Io { path: path.into(), error })
}

fn stream<R: age::Recipient>(
    input: &mut impl Read,
    recipients: &[R],
    output: &mut impl Write,
) -> io::Result<Encrypted> {
    let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|error| io::Error::other(error.to_string()))?;
    let mut writer = encryptor.wrap_output(Hashing::new(output))?;
    let plain_bytes = copy(input, &mut writer)?;
    writer.finish()?.finish(plain_bytes)
}

fn copy(input: &mut impl Read, output: &mut impl Write) -> io::Result<u64> {
    let mut buffer = zeroize::Zeroizing::new(vec![0; 256 * 1024]);
    let mut total = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        output.write_all(&buffer[..count])?;
        total += count as u64;
    }
}

/// Hashes and counts what is written through it.
struct Hashing<W: Write> {
    inner: BufWriter<W>,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner: BufWriter::with_capacity(256 * 1024, inner), hasher: Sha256::new(), bytes: 0 }
    }

    fn finish(mut self, plain_bytes: u64) -> io::Result<Encrypted> {
        self.flush()?;
        Ok(Encrypted { sha256: self.hasher.finalize().into(), bytes: self.bytes, plain_bytes })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip_and_hashes_are_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate();
        let other = Identity::generate();
        let plain: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let cipher = encrypt(&mut &plain[..], &[other.recipient(), identity.recipient()], folder.path()).unwrap();
        let bytes = std::fs::read(cipher.path()).unwrap();
        assert_eq!((cipher.bytes, cipher.plain_bytes), (bytes.len() as u64, plain.len() as u64));
        assert_eq!(cipher.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!(identity.decrypt(&bytes[..], 10_000_000).unwrap(), plain);
        assert_eq!(other.decrypt(&bytes[..], 10_000_000).unwrap(), plain);
        assert!(identity.decrypt(&bytes[..], 1_000).is_err());
        assert!(Identity::generate().decrypt(&bytes[..], 10_000_000).is_err());
        assert!(identity.decrypt(&bytes[..bytes.len() - 1], 10_000_000).is_err());
        let (path, kept) = (cipher.path().to_owned(), folder.path().join("kept"));
        cipher.keep(&kept).unwrap();
        assert!(!path.exists() && std::fs::read(kept).unwrap() == bytes);
        let cipher = encrypt(&mut &plain[..], &[other.recipient()], folder.path()).unwrap();
        let path = cipher.path().to_owned();
        drop(cipher);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_to_an_app_opens_with_the_apps_key_alone() {
        let (keys, app) = (testing::network_keys(), AppId([7; 32]));
        let plain: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        for plain in [&plain[..], b""] {
            let mut cipher = Vec::new();
            let encrypted = encrypt_to_app(&mut &plain[..], app, &keys, &mut cipher).unwrap();
            assert_eq!((encrypted.bytes, encrypted.plain_bytes), (cipher.len() as u64, plain.len() as u64));
            assert_eq!(encrypted.sha256, <[u8; 32]>::from(Sha256::digest(&cipher)));
            let open = |identity| age::decrypt(&identity, &cipher);
            assert_eq!(open(testing::app_identity(&keys, Purpose::File, app)).unwrap(), plain);
            assert!(open(testing::app_identity(&keys, Purpose::JobInput, app)).is_err());
            assert!(open(testing::app_identity(&keys, Purpose::File, AppId([8; 32]))).is_err());
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let (keys, app) = (testing::network_keys(), AppId([7; 32]));
        let plain = vec![0; 1_000_000];
        // Room for the beginning only.
        let mut room = [0; 1_000];
        let failed = encrypt_to_app(&mut &plain[..], app, &keys, &mut &mut room[..]);
        assert!(matches!(failed, Err(EncryptionError::Stream(_))));
        let none = NetworkKeys { public_key: phala_primitives::gatekeeper::PublicKey([0; 96]), ..keys };
        let failed = encrypt_to_app(&mut &plain[..], app, &none, &mut Vec::new());
        assert!(matches!(failed, Err(EncryptionError::PublicKey(_))));
    }

    #[test]
    fn a_copy_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"ciphertext").unwrap();
        let copy = copy_encrypted(&path, folder.path()).unwrap();
        assert_eq!((copy.bytes, copy.plain_bytes), (10, 0));
        assert_eq!(copy.sha256, <[u8; 32]>::from(Sha256::digest(b"ciphertext")));
        assert_eq!(std::fs::read(copy.path()).unwrap(), b"ciphertext");
        let missing = copy_encrypted(&folder.path().join("none"), folder.path());
        assert!(matches!(missing, Err(EncryptionError::Io { .. })));
    }

    #[test]
    fn there_must_be_somebody_to_encrypt_to() {
        let folder = tempfile::tempdir().unwrap();
        let nobody: [Recipient; 0] = [];
        let failed = encrypt(&mut &b"x"[..], &nobody, folder.path());
        assert!(matches!(failed, Err(EncryptionError::NoRecipient)));
    }

    #[test]
    fn armored_files_of_other_tools_open() {
        let identity = Identity::generate();
        let text = age::encrypt_and_armor(&identity.recipient(), b"hello").unwrap();
        let armor = age::armor::ArmoredReader::new(text.as_bytes());
        assert_eq!(identity.decrypt(armor, 100).unwrap(), b"hello");
    }

    #[test]
    fn raw_keys_become_recipients() {
        let identity = Identity::generate();
        let text = identity.recipient().to_string();
        let (_, key) = bech32::decode(&text).unwrap();
        assert_eq!(recipient(&key.try_into().unwrap()).to_string(), text);
        assert_eq!(parse_recipient(&text).unwrap().to_string(), text);
        assert!(parse_recipient("age1xyz").is_err());
        let secret = identity.secret();
        assert_eq!(secret.parse::<Identity>().unwrap().recipient().to_string(), text);
    }
}
