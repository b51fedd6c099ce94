//! Encryption to an app before anybody serves it: an `age` recipient from the public key of an epoch and the app's id.
//!
//! The recipient is identity-based (Boneh and Franklin's scheme with the Fujisaki-Okamoto transform, commonware's `tle`): its public
//! key is the [`PublicKey`] of an epoch together with [`app_key_message`], its secret key the one signature that this epoch's
//! network key makes over that message. Nobody has it before [`threshold`](phala_primitives::gatekeeper::threshold) gatekeepers
//! give a worker their parts, and nobody can make it once they have erased their shares of the epoch's key.
//!
//! # The stanza
//!
//! ```text
//! -> phala PURPOSE EPOCH APP VERSION
//! BODY
//! ```
//!
//! PURPOSE is `job` or `file` (see [`Purpose`]), EPOCH and VERSION are decimal numbers without sign and leading zeros, APP is 64
//! lower-case hexadecimal digits. BODY is commonware's
//! encoding of a `Ciphertext`: U (a compressed point of G2, 96 bytes), V and W (32 bytes each). What it encrypts is the
//! 16 bytes of the file key and then [`PADDING`], which is checked.
//!
//! # Attacks
//!
//! - *A changed body* does not decrypt: its point is made from what it encrypts, and that is checked.
//! - *A changed argument* names another key, which does not decrypt the body, or another purpose; age's header has a MAC, which
//!   nobody makes who does not know the file key.
//! - *Somebody else's job input, named as a file of one's own job*, so that the app's program would read it and tell what is in
//!   it: its purpose is another.
//! - *A false public key*: a point outside the group, and the identity, are refused. That the key is the network's has to come from
//!   the chain.
//! - *A false signature* is refused when the identity is made.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::{collections::HashSet, io};

use age::{DecryptError, EncryptError, secrecy::ExposeSecret};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza, read::age_stanza};
use commonware_codec::{DecodeExt, Encode};
use commonware_cryptography::bls12381::{
    primitives::{
        group::{G1, G2},
        ops::verify_message,
        variant::MinSig,
    },
    tle::{Block, Ciphertext, decrypt, encrypt},
};
use phala_primitives::{
    AppId,
    gatekeeper::{APP_KEY_NAMESPACE, EpochId, PublicKey, app_key_message},
    hash_from_hex,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

/// The tag of the stanza.
pub const TAG: &str = "phala";

/// What follows the file key in the encrypted block.
pub const PADDING: &[u8; 16] = b"phala/file-key/1";

/// How long the stanza's body is.
pub const BODY_BYTES: usize = 160;

/// The longest header that [`targets`] reads, in bytes: enough for dozens of recipients.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What a binary `age` file begins with.
const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";

/// What follows the stanzas of a header.
const LAST_LINE: &[u8] = b"--- ";

/// What an encrypted file is. A worker opens it as nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A job input, which its job's owner made: only the enclave reads it.
    JobInput,
    /// Anything else: a program of the app's may read it, in a job of anybody who names the file.
    File,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::JobInput => "job",
            Self::File => "file",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::JobInput, Self::File].into_iter().find(|purpose| purpose.word() == word)
    }
}

/// For whom a file is encrypted: an app, in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// What the file is.
    pub purpose: Purpose,
    /// Whose network key it is encrypted under.
    pub epoch: EpochId,
    /// The app.
    pub app: AppId,
    /// The version of the app's key.
    pub version: u32,
}

impl Target {
    /// What a stanza names; `None` if it is none of ours.
    ///
    /// # Errors
    /// When it has our tag and not our form.
    pub fn of(stanza: &Stanza) -> Option<Result<Self, MalformedStanza>> {
        (stanza.tag == TAG).then(|| Self::read(stanza).ok_or(MalformedStanza))
    }

    fn read(stanza: &Stanza) -> Option<Self> {
        let [purpose, epoch, app, version] = stanza.args.as_slice() else { return None };
        let target = Self {
            purpose: Purpose::of(purpose)?,
            epoch: epoch.parse().ok()?,
            app: AppId(hash_from_hex(app).ok()?),
            version: version.parse().ok()?,
        };
        (stanza.body.len() == BODY_BYTES && target.arguments() == stanza.args).then_some(target)
    }

    fn arguments(&self) -> Vec<String> {
        let app = self.app.to_string();
        let app = app.trim_start_matches("0x").to_owned();
        vec![self.purpose.word().to_owned(), self.epoch.to_string(), app, self.version.to_string()]
    }
}

/// A stanza with our tag has not the form that the module's documentation describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file's header has a malformed phala stanza")]
pub struct MalformedStanza;

/// For which apps a binary `age` file is encrypted, as its header says: none, when it is for other recipients only. Nothing of that
/// is authenticated. `beginning` is the first [`MAX_HEADER_BYTES`] of the file, or all of a shorter one; the time it takes is in
/// proportion to them.
///
/// # Errors
/// See [`HeaderError`].
pub fn targets(beginning: &[u8]) -> Result<Vec<Target>, HeaderError> {
    let header = beginning.get(..MAX_HEADER_BYTES).unwrap_or(beginning);
    let mut rest = header.strip_prefix(FIRST_LINE).ok_or(HeaderError::NoHeader)?;
    let mut targets = Vec::new();
    while !rest.starts_with(LAST_LINE) {
        let (behind, stanza) = age_stanza(rest).map_err(|_| HeaderError::NoHeader)?;
        rest = behind;
        if let Some(target) = Target::of(&stanza.into()) {
            targets.push(target?);
        }
    }
    Ok(targets)
}

/// Why a file's header says nothing of apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is none of a binary `age` file, or longer than [`MAX_HEADER_BYTES`].
    #[error("it is not the beginning of a binary age file with a header of at most {MAX_HEADER_BYTES} bytes")]
    NoHeader,
    /// See [`MalformedStanza`].
    #[error(transparent)]
    Stanza(#[from] MalformedStanza),
}

/// Encrypts to an app in an epoch.
#[derive(Clone, Debug)]
pub struct AppRecipient {
    target: Target,
    public_key: G2,
}

impl AppRecipient {
    /// `public_key` is that of the target's epoch, as the chain has it.
    ///
    /// # Errors
    /// When `public_key` is no point of the group.
    pub fn new(target: Target, public_key: &PublicKey) -> Result<Self, InvalidPublicKey> {
        Ok(Self { target, public_key: point(public_key)? })
    }

    /// For whom.
    pub fn target(&self) -> Target {
        self.target
    }
}

/// The public key is no point of BLS12-381's G2, or the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's public key is not a valid one")]
pub struct InvalidPublicKey;

fn point(public_key: &PublicKey) -> Result<G2, InvalidPublicKey> {
    G2::decode(public_key.0.to_vec()).map_err(|_| InvalidPublicKey)
}

impl age::Recipient for AppRecipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| EncryptError::Io(io::Error::other(error)))?;
        let mut bytes = Zeroizing::new([0; 32]);
        let (key, padding) = bytes.split_at_mut(FILE_KEY_BYTES);
        key.copy_from_slice(file_key.expose_secret());
        padding.copy_from_slice(PADDING);
        let block = Zeroizing::new(Block::new(*bytes));
        let message = app_key_message(&self.target.app, self.target.version);
        let identity = (APP_KEY_NAMESPACE, message.as_slice());
        let ciphertext: Ciphertext<MinSig> =
            encrypt(&mut ChaCha20Rng::from_seed(*seed), self.public_key, identity, &block)
                .map_err(|error| EncryptError::Io(io::Error::other(error)))?;
        let stanza = Stanza { tag: TAG.to_owned(), args: self.target.arguments(), body: ciphertext.encode().to_vec() };
        Ok((vec![stanza], HashSet::new()))
    }
}

/// Decrypts what is encrypted to an app in an epoch. Shows nothing secret in `Debug`.
pub struct AppIdentity {
    target: Target,
    signature: Zeroizing<[u8; 48]>,
}

impl AppIdentity {
    /// `signature` is the app's key in the target's epoch, a compressed point of G1.
    ///
    /// # Errors
    /// When it is not what the key of `public_key` signs for the target.
    pub fn new(target: Target, public_key: &PublicKey, signature: &[u8; 48]) -> Result<Self, AppIdentityError> {
        let public_key = point(public_key).map_err(|_| AppIdentityError::PublicKey)?;
        let point = G1::decode(signature.to_vec()).map_err(|_| AppIdentityError::Signature)?;
        let message = app_key_message(&target.app, target.version);
        verify_message::<MinSig>(&public_key, APP_KEY_NAMESPACE, &message, &point)
            .map_err(|_| AppIdentityError::Signature)?;
        Ok(Self { target, signature: Zeroizing::new(*signature) })
    }

    /// Whose.
    pub fn target(&self) -> Target {
        self.target
    }
}

impl std::fmt::Debug for AppIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppIdentity({:?})", self.target)
    }
}

/// Why something is no [`AppIdentity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppIdentityError {
    /// See [`InvalidPublicKey`].
    #[error("the network's public key is not a valid one")]
    PublicKey,
    /// It is no signature over the app's id and version by this key.
    #[error("the app's key is not what the network's key signs for it")]
    Signature,
}

impl age::Identity for AppIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        match Target::of(stanza)? {
            Ok(target) if target == self.target => Some(self.file_key(stanza)),
            Ok(_) => None,
            Err(MalformedStanza) => Some(Err(DecryptError::InvalidHeader)),
        }
    }
}

impl AppIdentity {
    fn file_key(&self, stanza: &Stanza) -> Result<FileKey, DecryptError> {
        let ciphertext = Ciphertext::<MinSig>::decode(stanza.body.clone()).map_err(|_| DecryptError::InvalidHeader)?;
        let signature = G1::decode(self.signature.to_vec()).map_err(|_| DecryptError::DecryptionFailed)?;
        let block = decrypt::<MinSig>(&signature, &ciphertext).map(Zeroizing::new);
        let block = block.ok_or(DecryptError::DecryptionFailed)?;
        let bytes: &[u8] = block.as_ref();
        let (key, padding) = bytes.split_at_checked(FILE_KEY_BYTES).ok_or(DecryptError::InvalidHeader)?;
        if padding != PADDING {
            return Err(DecryptError::InvalidHeader);
        }
        FileKey::try_init_with_mut(|bytes| match <[u8; FILE_KEY_BYTES]>::try_from(key) {
            Ok(key) => {
                *bytes = key;
                Ok(())
            }
            Err(_) => Err(DecryptError::InvalidHeader),
        })
    }
}

#[cfg(test)]
mod tests;
