//! An app's key: the one signature that a network key makes over the app's id and the version of its key, and what comes out of it.
//!
//! The root key's gives an app its secrets, an epoch's decrypts the inputs that were encrypted in that epoch. Nothing else
//! is made of an epoch's.

use age::x25519;
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use phala_app_encryption::{AppIdentity, AppIdentityError, Purpose, Target};
use phala_primitives::{
    AppId,
    gatekeeper::{EpochId, PublicKey},
};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::sharing::{CombineError, Message, VerifiedPartial, VerifiedSharing};

/// An app's key. Only [`combine_app_key`] makes it. Shows nothing secret in `Debug`.
pub struct AppKey {
    app: AppId,
    version: u32,
    network_key: PublicKey,
    signature: Zeroizing<[u8; 48]>,
}

/// Puts the parts of an app's key together, and verifies what comes out.
///
/// # Errors
/// When they are too few, or one is of another sharing, app or version.
pub fn combine_app_key(
    sharing: &VerifiedSharing,
    app: AppId,
    version: u32,
    partials: &[VerifiedPartial],
) -> Result<AppKey, CombineError> {
    let signature = sharing.combine(&Message::AppKey { app, version }, partials)?;
    Ok(AppKey { app, version, network_key: sharing.public_key(), signature })
}

impl AppKey {
    /// The app's `age` identity. What is encrypted to its recipient stays readable as long as the network lives.
    pub fn identity(&self) -> x25519::Identity {
        age_identity(&self.derive(b"phala/app-key/age/v1"))
    }

    /// The recipient of [`Self::identity`].
    pub fn recipient(&self) -> x25519::Recipient {
        self.identity().to_public()
    }

    /// Seals the app's state.
    pub fn state_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"phala/app-key/state/v1")
    }

    /// Signs for the app.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive(b"phala/app-key/signing/v1"))
    }

    /// Decrypts what was encrypted to the app for a purpose, if this is the app's key in `epoch`.
    ///
    /// # Errors
    /// When the key verifies no more, which does not happen.
    pub fn inputs(&self, purpose: Purpose, epoch: EpochId) -> Result<AppIdentity, AppIdentityError> {
        let target = Target { purpose, epoch, app: self.app, version: self.version };
        AppIdentity::new(target, &self.network_key, &self.signature)
    }

    /// The app and version are in the signature.
    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        derive(&self.network_key, &self.signature, purpose)
    }
}

/// HKDF-SHA256 over a signature, with the network's public key as salt.
pub(crate) fn derive(network_key: &PublicKey, signature: &[u8; 48], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    // 32 bytes are never too many for it.
    let _ = Hkdf::<Sha256>::new(Some(&network_key.0), signature).expand(purpose, bytes.as_mut());
    bytes
}

impl std::fmt::Debug for AppKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppKey({}, version {})", self.app, self.version)
    }
}

/// `age` takes a secret key only as text.
#[expect(clippy::expect_used, reason = "32 bytes always encode, and what was encoded parses")]
fn age_identity(secret: &[u8; 32]) -> x25519::Identity {
    let prefix = bech32::Hrp::parse("age-secret-key-").expect("the prefix is valid");
    let text =
        Zeroizing::new(bech32::encode_upper::<bech32::Bech32>(prefix, secret).expect("32 bytes are short enough"));
    text.parse().expect("the text is an age identity")
}
