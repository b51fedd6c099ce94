//! The confidential part of a job.
//!
//! A user sends a worker one `age` file that holds a [`JobInput`] as JSON, and one `age` file for the standard input
//! and for each input file. The job input names each of those by the SHA-256 of its ciphertext, so that the hash
//! of the encrypted job input commits to everything. It also names its chain, job and app, and holds the secret
//! whose [commitment](crate::job::secret_commitment) is on chain: a host can neither feed it to another
//! program nor start the job with an input of its own making.
//!
//! The result is one `age` file, encrypted to [`JobInput::recipients`], that holds a tar archive with `stdout`,
//! `stderr` and `files/NAME` for each file that the program wrote to its output folder.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::{AppId, Hash, JobId};

/// The largest JSON encoding of a [`JobInput`], in bytes.
pub const MAX_JOB_INPUT_BYTES: usize = 1024 * 1024;

/// The most input files of a job.
pub const MAX_FILES: usize = 256;

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
    pub secret: Hash,
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

/// An `age` file that was uploaded beside the job input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct NamedFile {
    /// One path component: no `/`, not `.` or `..`, 1 to 255 bytes.
    pub name: String,
    /// The ciphertext.
    #[serde(flatten)]
    pub file: EncryptedFile,
}

/// Whether `name` can name an input or output file.
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// Serde for 32 bytes as lower-case hexadecimal without `0x`.
pub mod hex_bytes {
    use alloc::{borrow::Cow, string::String};
    use core::fmt::Write;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Serializes to 64 digits.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    /// Deserializes from 64 digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse::<crate::WorkerId>().map(|id| id.0).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_inputs_round_trip_through_json() {
        let file = EncryptedFile { sha256: [7; 32], bytes: 9 };
        let input = JobInput {
            version: 1,
            genesis_hash: [1; 32],
            job: 5,
            app: AppId([2; 32]),
            secret: [3; 32],
            arguments: alloc::vec!["--by".into(), "carrier".into()],
            code: None,
            stdin: Some(file.clone()),
            files: alloc::vec![NamedFile { name: "flights.csv".into(), file }],
            recipients: alloc::vec!["age1x".into()],
        };
        let json = serde_json::to_vec(&input).unwrap();
        assert_eq!(serde_json::from_slice::<JobInput>(&json).unwrap(), input);
    }

    #[test]
    fn file_names_are_single_components() {
        assert!(is_file_name("flights.csv"));
        for bad in ["", ".", "..", "a/b", "a\\b", "a\0"] {
            assert!(!is_file_name(bad));
        }
    }
}
