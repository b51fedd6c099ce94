//! The enclave's Ed25519 key on a chain, as commonware and as `ed25519-dalek` know it.

use commonware_codec::DecodeExt;
use commonware_cryptography::{Signer as _, ed25519};
use ed25519_dalek::{Signer as _, SigningKey};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{CeremonyId, Content, Post, SignedPost},
};

/// A gatekeeper's enclave on a chain.
pub struct Identity {
    genesis_hash: Hash,
    signing: SigningKey,
    dealer: ed25519::PrivateKey,
}

impl Identity {
    /// `signing` is the key whose public half is the gatekeeper's id.
    ///
    /// What commonware has it sign begins with a zero byte, what this project has it sign with `phala/`: neither is ever the
    /// other.
    ///
    /// # Errors
    /// When the two libraries do not agree on its public key, which they always do.
    pub fn new(genesis_hash: Hash, signing: &SigningKey) -> Result<Self, InvalidIdentity> {
        let seed = zeroize::Zeroizing::new(signing.to_bytes());
        let dealer = ed25519::PrivateKey::decode(seed.to_vec()).map_err(|_| InvalidIdentity)?;
        if dealer.public_key().as_ref() != signing.verifying_key().as_bytes().as_slice() {
            return Err(InvalidIdentity);
        }
        Ok(Self { genesis_hash, signing: signing.clone(), dealer })
    }

    /// The chain.
    pub fn genesis_hash(&self) -> &Hash {
        &self.genesis_hash
    }

    /// The gatekeeper.
    pub fn id(&self) -> GatekeeperId {
        GatekeeperId(self.signing.verifying_key().to_bytes())
    }

    pub(crate) fn dealer(&self) -> ed25519::PrivateKey {
        self.dealer.clone()
    }

    pub(crate) fn sign(&self, ceremony: CeremonyId, content: Content) -> SignedPost {
        let post = Post { genesis_hash: self.genesis_hash, ceremony, gatekeeper: self.id(), content };
        let signature = self.signing.sign(&post.signed_bytes()).to_bytes();
        SignedPost { post, signature }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.id())
    }
}

/// The key is no Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is not one that both libraries read alike")]
pub struct InvalidIdentity;

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Verifier;

    #[test]
    fn both_libraries_have_the_same_public_key() {
        for seed in 0..32 {
            let signing = SigningKey::from_bytes(&[seed; 32]);
            let identity = Identity::new([0; 32], &signing).unwrap();
            assert_eq!(identity.dealer().public_key().as_ref(), identity.id().0);
        }
    }

    #[test]
    fn a_post_is_signed_for_its_chain_and_ceremony() {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let identity = Identity::new([7; 32], &signing).unwrap();
        let signed = identity.sign(5, Content::Enrolment([1; 32]));
        assert_eq!((signed.post.genesis_hash, signed.post.ceremony), ([7; 32], 5));
        let signature = ed25519_dalek::Signature::from_bytes(&signed.signature);
        signing.verifying_key().verify(&signed.post.signed_bytes(), &signature).unwrap();
        assert!(!format!("{identity:?}").contains("signing"));
    }
}
