//! The enclave's identity: made inside, sealed where the TEE can, never shown. On each chain it is another.

use age::x25519;
use codec::{Decode, Encode};
use ed25519_dalek::{Signer, SigningKey};
use phala_primitives::{GatekeeperId, Hash, WorkerId};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Sealing, Tee};

/// The name under which the keys for a chain are sealed.
pub fn sealed_name(genesis_hash: &Hash) -> String {
    format!("keys-{}", hex::encode(genesis_hash))
}

/// What is sealed. The first byte of its encoding is the format.
#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    version: u8,
    signing: [u8; 32],
    encryption: [u8; 32],
    cache: [u8; 32],
}

/// The enclave's keys. Shows nothing in `Debug`.
pub struct Keys {
    signing: SigningKey,
    identity: x25519::Identity,
    encryption_key: [u8; 32],
    cache: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Makes new keys for a chain. Returns them with their sealed form, to be kept under [`sealed_name`]; where the TEE does not
    /// seal, they end with this process.
    pub fn generate(tee: &dyn Tee, genesis_hash: &Hash) -> (Self, Option<Vec<u8>>) {
        let mut secrets = Secrets { version: 1, signing: [0; 32], encryption: [0; 32], cache: [0; 32] };
        tee.fill_random(&mut secrets.signing);
        tee.fill_random(&mut secrets.encryption);
        tee.fill_random(&mut secrets.cache);
        let encoded = Zeroizing::new(secrets.encode());
        let sealed = tee.sealing().map(|sealing| sealing.seal(&sealed_name(genesis_hash), &encoded));
        (Self::new(&secrets), sealed)
    }

    /// The keys in `sealed`.
    ///
    /// # Errors
    /// When this enclave did not seal them for this chain. New keys are no way out: they would silently be another worker.
    pub fn unseal(sealing: &dyn Sealing, genesis_hash: &Hash, sealed: &[u8]) -> Result<Self, crate::UnsealError> {
        let encoded = sealing.unseal(&sealed_name(genesis_hash), sealed)?;
        let secrets = Secrets::decode(&mut &encoded[..]).map_err(|_| crate::UnsealError)?;
        if secrets.version != 1 { Err(crate::UnsealError) } else { Ok(Self::new(&secrets)) }
    }

    fn new(secrets: &Secrets) -> Self {
        Self {
            signing: SigningKey::from_bytes(&secrets.signing),
            identity: age_identity(&secrets.encryption),
            encryption_key: PublicKey::from(&StaticSecret::from(secrets.encryption)).to_bytes(),
            cache: Zeroizing::new(secrets.cache),
        }
    }

    /// The public key of its signatures: who it is.
    pub fn id(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The key that it signs with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// Its id as a worker's.
    pub fn worker(&self) -> WorkerId {
        WorkerId(self.id())
    }

    /// Its id as a gatekeeper's.
    pub fn gatekeeper(&self) -> GatekeeperId {
        GatekeeperId(self.id())
    }

    /// The X25519 public key to which users encrypt.
    pub fn encryption_key(&self) -> [u8; 32] {
        self.encryption_key
    }

    /// Decrypts job inputs, and nothing else: a job's files open with the identity in its input.
    pub fn identity(&self) -> &x25519::Identity {
        &self.identity
    }

    /// Protects compiled programs at rest.
    pub fn cache(&self) -> &[u8; 32] {
        &self.cache
    }

    /// Signs with Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.worker())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTee;

    const GENESIS: Hash = [0x11; 32];

    #[test]
    fn keys_survive_sealing_and_only_here() {
        let tee = TestTee::new(1);
        let (keys, sealed) = Keys::generate(&tee, &GENESIS);
        let sealed = sealed.unwrap();
        let again = Keys::unseal(&tee, &GENESIS, &sealed).unwrap();
        assert_eq!(keys.worker(), again.worker());
        assert_eq!(keys.encryption_key(), again.encryption_key());
        assert_eq!(keys.cache(), again.cache());
        assert!(Keys::unseal(&TestTee::new(2), &GENESIS, &sealed).is_err());
        assert!(Keys::unseal(&tee, &[0x12; 32], &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(Keys::unseal(&tee, &GENESIS, &changed).is_err());
        }
    }

    #[test]
    fn the_age_recipient_is_the_public_key() {
        let (keys, _) = Keys::generate(&TestTee::new(1), &GENESIS);
        let prefix = bech32::Hrp::parse("age").unwrap();
        let recipient = bech32::encode_lower::<bech32::Bech32>(prefix, &keys.encryption_key()).unwrap();
        assert_eq!(keys.identity().to_public().to_string(), recipient);
    }

    #[test]
    fn debug_shows_no_secret() {
        let (keys, _) = Keys::generate(&TestTee::new(1), &GENESIS);
        assert_eq!(format!("{keys:?}"), format!("Keys({})", keys.worker()));
    }
}
