//! The confidential part of a job.
//!
//! A user sends a worker one `age` file that holds a [`JobInput`] as JSON, encrypted to the app in an epoch of the network's keys (or
//! to the worker, where the network has none), and one `age` file for the standard input and for each input file, encrypted to a key
//! of the job's own, which the job input holds. So whoever names somebody else's file in a job of his own gets nothing: what opens
//! job inputs opens nothing else, and a job input opens its own files only. A file may be encrypted to the app instead, by
//! anybody: then a job of the app that names it reads it.
//!
//! The job input names each file by the SHA-256 of its ciphertext, so that the hash of the encrypted job input commits to
//! everything. It also names its chain, job and app, and holds the secret whose
//! [commitment](crate::job::secret_commitment) is on chain: a host can neither feed it to another program nor start the
//! job with an input of its own making.
//!
//! The result is one `age` file, encrypted to [`JobInput::recipients`], that holds a tar archive with `stdout`,
//! `stderr` and `files/NAME` for each file that the program wrote to its output folder.

use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Deref};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{AppId, Hash, JobId};

/// The largest JSON encoding of a [`JobInput`], in bytes.
pub const MAX_JOB_INPUT_BYTES: usize = 1024 * 1024;

/// The most input files of a job.
pub const MAX_FILES: usize = 256;

/// The most epochs in which a job's input and its files may be encrypted to its app: a worker asks the gatekeepers for a key in each.
pub const MAX_EPOCHS: usize = 4;

/// The most recipients of a result.
pub const MAX_RECIPIENTS: usize = 16;

/// The folder in which a program finds its input files, read-only.
pub const INPUT_FOLDER: &str = "/input";

/// The folder to which a program writes its output files.
pub const OUTPUT_FOLDER: &str = "/output";

/// What a program gets, and who may read what it gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobInput {
    /// The format: always 1.
    pub version: u32,
    /// The chain.
    #[serde(with = "hex_bytes")]
    pub genesis_hash: Hash,
    /// The job on that chain.
    pub job: JobId,
    /// The app that the job runs.
    pub app: AppId,
    /// The job's secret: 32 random bytes that seed the program's randomness and key the output hash.
    #[serde(with = "hex_bytes")]
    pub secret: Secret<Hash>,
    /// What opens the files below: an `age` X25519 identity (`AGE-SECRET-KEY-1…`) made for this job alone.
    pub identity: Secret<String>,
    /// Arguments, without the program's name.
    pub arguments: Vec<String>,
    /// The program itself where the app is private: an `age` file like the others. `None` when its code is public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<EncryptedFile>,
    /// Standard input; `None` for an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<EncryptedFile>,
    /// Input files, which the program finds in [`INPUT_FOLDER`] under their names.
    #[serde(default)]
    pub files: Vec<NamedFile>,
    /// Who may read the result: `age` X25519 recipients (`age1…`).
    pub recipients: Vec<String>,
}

/// An `age` file that was uploaded beside the job input, encrypted to the recipient of [`JobInput::identity`], or to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptedFile {
    /// SHA-256 of the ciphertext.
    #[serde(with = "hex_bytes")]
    pub sha256: Hash,
    /// Length of the ciphertext in bytes.
    pub bytes: u64,
}

/// An [`EncryptedFile`] with the name that the program sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// One path component: no `/`, not `.` or `..`, 1 to 255 bytes.
    pub name: String,
    /// SHA-256 of the ciphertext.
    #[serde(with = "hex_bytes")]
    pub sha256: Hash,
    /// Length of the ciphertext in bytes.
    pub bytes: u64,
}

impl NamedFile {
    /// `file` under a name.
    pub fn new(name: String, file: EncryptedFile) -> Self {
        Self { name, sha256: file.sha256, bytes: file.bytes }
    }

    /// The ciphertext.
    pub fn file(&self) -> EncryptedFile {
        EncryptedFile { sha256: self.sha256, bytes: self.bytes }
    }
}

/// A value that prints as nothing and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl<T: Zeroize> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether `name` can name an input or output file.
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// Serde for 32 bytes as lower-case hexadecimal without `0x`. They may be a secret's: the text is overwritten.
pub mod hex_bytes {
    use alloc::string::String;
    use core::fmt::Write;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    /// Serializes to 64 digits.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    /// Deserializes from 64 digits.
    pub fn deserialize<'de, D: Deserializer<'de>, T: From<[u8; 32]>>(deserializer: D) -> Result<T, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        crate::hash_from_hex(&text).map(T::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> JobInput {
        let file = EncryptedFile { sha256: [7; 32], bytes: 9 };
        JobInput {
            version: 1,
            genesis_hash: [1; 32],
            job: 5,
            app: AppId([2; 32]),
            secret: [3u8; 32].into(),
            identity: "AGE-SECRET-KEY-1X".into(),
            arguments: alloc::vec!["--by".into(), "carrier".into()],
            code: None,
            stdin: Some(file),
            files: alloc::vec![NamedFile::new("flights.csv".into(), file)],
            recipients: alloc::vec!["age1x".into()],
        }
    }

    #[test]
    fn job_inputs_round_trip_through_json() {
        let json = serde_json::to_value(input()).unwrap();
        assert_eq!(json["secret"], "03".repeat(32));
        assert_eq!(json["identity"], "AGE-SECRET-KEY-1X");
        assert_eq!(json["files"][0]["sha256"], "07".repeat(32));
        assert_eq!(serde_json::from_value::<JobInput>(json).unwrap(), input());
    }

    #[test]
    fn unknown_fields_are_refused_everywhere() {
        for place in ["", "/stdin", "/files/0"] {
            let mut json = serde_json::to_value(input()).unwrap();
            json.pointer_mut(place).unwrap()["surprise"] = 1.into();
            assert!(serde_json::from_value::<JobInput>(json).is_err(), "{place}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = alloc::format!("{:?}", input());
        assert!(!text.contains("AGE-SECRET-KEY") && !text.contains("3, 3, 3"), "{text}");
    }

    #[test]
    fn file_names_are_single_components() {
        assert!(is_file_name("flights.csv"));
        for bad in ["", ".", "..", "a/b", "a\\b", "a\0"] {
            assert!(!is_file_name(bad));
        }
    }
}
