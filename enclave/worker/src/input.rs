//! Job inputs: the confidential part of a job, checked before anything else happens.

use age::x25519::{Identity, Recipient};
use hkdf::Hkdf;
use phala_primitives::{
    AppId, Hash, JobId,
    input::{EncryptedFile, JobInput, MAX_FILES, MAX_JOB_INPUT_BYTES, MAX_RECIPIENTS, NamedFile, Secret, is_file_name},
    job::secret_commitment,
};
use sha2::Sha256;
use std::collections::HashSet;
use zeroize::{Zeroize, Zeroizing};

/// The longest ciphertext of a job input: the largest plaintext in armor, with room for a long header.
pub(crate) const MAX_CIPHERTEXT_BYTES: u64 = 2 * MAX_JOB_INPUT_BYTES as u64;

/// A job input that belongs to this chain and job, and is well-formed. Overwritten when dropped.
pub(crate) struct CheckedInput {
    pub app: AppId,
    pub arguments: Vec<String>,
    pub code: Option<EncryptedFile>,
    pub stdin: Option<EncryptedFile>,
    /// Sorted by name.
    pub files: Vec<NamedFile>,
    pub recipients: Vec<Recipient>,
    pub secret: Secret<Hash>,
    /// Opens code, standard input and files, and nothing else does.
    pub identity: Identity,
}

/// Secret and identity overwrite themselves.
impl Drop for CheckedInput {
    fn drop(&mut self) {
        self.arguments.zeroize();
        self.files.iter_mut().for_each(|file| file.name.zeroize());
    }
}

/// Why a job input was refused. The host learns it; it holds nothing of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Longer than allowed.
    #[error("the job input is larger than {MAX_JOB_INPUT_BYTES} bytes")]
    TooLarge,
    /// Not the JSON of a job input.
    #[error("the job input is not the JSON of a job input of version 1, or has fields that are not known")]
    Syntax,
    /// Another version.
    #[error("the job input has another version than 1")]
    Version,
    /// For another chain.
    #[error("the job input is for another chain")]
    Chain,
    /// For another job.
    #[error("the job input is for another job")]
    Job,
    /// Too many files or recipients.
    #[error("the job input has more than {MAX_FILES} files or {MAX_RECIPIENTS} recipients, or no recipient")]
    Count,
    /// A file has a bad name, or two have the same.
    #[error("a file's name is no single path component, or two files have the same name")]
    FileName,
    /// An argument holds a zero byte.
    #[error("an argument holds a zero byte")]
    Argument,
    /// A recipient is no `age` X25519 recipient.
    #[error("a recipient is not an age X25519 recipient (age1…)")]
    Recipient,
    /// The identity is no `age` X25519 identity.
    #[error("the identity is not an age X25519 identity (AGE-SECRET-KEY-1…)")]
    Identity,
}

impl CheckedInput {
    /// Parses and checks the plaintext of a job input.
    pub(crate) fn new(json: &[u8], genesis_hash: &Hash, job: JobId) -> Result<Self, InputError> {
        let mut input: JobInput = serde_json::from_slice(json).map_err(|_| InputError::Syntax)?;
        if input.version != 1 {
            return Err(InputError::Version);
        }
        if input.genesis_hash != *genesis_hash {
            return Err(InputError::Chain);
        }
        if input.job != job {
            return Err(InputError::Job);
        }
        if input.files.len() > MAX_FILES || !(1..=MAX_RECIPIENTS).contains(&input.recipients.len()) {
            return Err(InputError::Count);
        }
        let mut names = HashSet::new();
        if !input.files.iter().all(|file| is_file_name(&file.name) && names.insert(file.name.as_str())) {
            return Err(InputError::FileName);
        }
        if input.arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(InputError::Argument);
        }
        let recipients = input.recipients.iter().map(|text| text.parse().map_err(|_| InputError::Recipient));
        let recipients = recipients.collect::<Result<_, _>>()?;
        let identity: Identity = input.identity.parse().map_err(|_| InputError::Identity)?;
        input.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            app: input.app,
            arguments: input.arguments,
            code: input.code,
            stdin: input.stdin,
            files: input.files,
            recipients,
            secret: input.secret,
            identity,
        })
    }

    /// The blobs that the job reads beside its input and a public program.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Hash> {
        let single = self.code.iter().chain(&self.stdin).map(|file| file.sha256);
        single.chain(self.files.iter().map(|file| file.sha256))
    }

    /// Whether the secret is the one that the job's owner committed to.
    pub(crate) fn opens(&self, commitment: &Hash) -> bool {
        secret_commitment(&self.secret) == *commitment
    }

    /// What seeds the program's randomness.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        // Fails only for more than 255 blocks of output.
        let _ = Hkdf::<Sha256>::new(None, &self.secret[..]).expand(b"phala/job-seed/v1", &mut seed[..]);
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn input() -> Value {
        json!({
            "version": 1, "genesis_hash": "01".repeat(32), "job": 5, "app": format!("0x{}", "02".repeat(32)),
            "secret": "03".repeat(32), "identity": Identity::generate().to_string().expose_secret(), "arguments": ["-x"],
            "files": [{ "name": "b", "sha256": "04".repeat(32), "bytes": 9 }, { "name": "a", "sha256": "04".repeat(32), "bytes": 9 }],
            "recipients": [Identity::generate().to_public().to_string()],
        })
    }

    fn check(input: &Value) -> Result<CheckedInput, InputError> {
        CheckedInput::new(&serde_json::to_vec(input).unwrap(), &[1; 32], 5)
    }

    #[test]
    fn a_good_input_is_taken_and_its_files_are_sorted() {
        let checked = check(&input()).ok().unwrap();
        assert_eq!(checked.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(checked.opens(&secret_commitment(&[3; 32])));
        assert!(!checked.opens(&[0; 32]));
        assert_ne!(*checked.seed(), [0; 32]);
    }

    #[test]
    fn each_fault_has_its_error() {
        let cases = [
            ("version", json!(2), InputError::Version),
            ("genesis_hash", json!("ff".repeat(32)), InputError::Chain),
            ("job", json!(6), InputError::Job),
            ("job", json!(-1), InputError::Syntax),
            ("recipients", json!([]), InputError::Count),
            ("recipients", json!(["age1nonsense"]), InputError::Recipient),
            ("recipients", json!(vec!["x"; MAX_RECIPIENTS + 1]), InputError::Count),
            ("arguments", json!(["a\0b"]), InputError::Argument),
            ("surprise", json!(1), InputError::Syntax),
            ("secret", json!("03"), InputError::Syntax),
            ("identity", json!(null), InputError::Syntax),
            ("identity", json!("age1nonsense"), InputError::Identity),
            ("files", json!([{ "name": "../x", "sha256": "04".repeat(32), "bytes": 9 }]), InputError::FileName),
        ];
        for (field, value, error) in cases {
            let mut input = input();
            input[field] = value;
            assert_eq!(check(&input).err(), Some(error), "{field}");
        }
        let mut twice = input();
        twice["files"][1]["name"] = json!("b");
        assert_eq!(check(&twice).err(), Some(InputError::FileName));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = CheckedInput::new(&bytes, &[1; 32], 5);
        }
    }
}
