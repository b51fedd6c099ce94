//! What is kept outside, and opens only here: XChaCha20-Poly1305 under a key that HKDF-SHA-256 derives from a secret of the
//! platform's, or of the network's for it, and the image's measurement. The name of what is sealed is authenticated with it.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use phala_attestation::Measurement;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Sealing, UnsealError};

const NONCE_BYTES: usize = 24;

/// The key of one image on one platform. Shows nothing in `Debug`.
pub struct SealingKey(XChaCha20Poly1305);

impl SealingKey {
    /// The key of the image with this `measurement`, on the platform whose `secret` is uniformly random. `domain` names the kind
    /// of platform and the version of the derivation.
    ///
    /// The secret of a real TEE depends on the image already; the measurement adds what it leaves out, as HOST_DATA of SEV-SNP.
    pub fn derive(domain: &[u8], secret: &[u8], measurement: &Measurement) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let derived = Hkdf::<Sha256>::new(Some(domain), secret).expand(&measurement.0, &mut key[..]);
        #[expect(clippy::expect_used, reason = "32 bytes are fewer than 255 blocks")]
        derived.expect("HKDF has 32 bytes");
        Self(XChaCha20Poly1305::new((&*key).into()))
    }
}

impl Sealing for SealingKey {
    /// # Panics
    /// When the system has no randomness.
    #[expect(
        clippy::expect_used,
        reason = "without randomness nothing goes on, and what fits into memory is short enough"
    )]
    fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system has randomness");
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).expect("what is sealed is short enough");
        [&nonce[..], &sealed].concat()
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(UnsealError)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| UnsealError)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_is_bound_to_kind_platform_image_and_name() {
        let key = |domain: &[u8], secret, measurement| {
            SealingKey::derive(domain, &[secret; 16], &Measurement([measurement; 32]))
        };
        let sealed = key(b"a", 1, 1).seal("keys", b"secret");
        assert_eq!(key(b"a", 1, 1).unseal("keys", &sealed).unwrap()[..], b"secret"[..]);
        for other in [key(b"b", 1, 1), key(b"a", 2, 1), key(b"a", 1, 2)] {
            assert_eq!(other.unseal("keys", &sealed), Err(UnsealError));
        }
        assert_eq!(key(b"a", 1, 1).unseal("chain", &sealed), Err(UnsealError));
        assert_eq!(key(b"a", 1, 1).unseal("keys", &sealed[..NONCE_BYTES - 1]), Err(UnsealError));
    }

    #[test]
    fn no_changed_byte_opens() {
        let key = SealingKey::derive(b"a", &[1; 16], &Measurement([1; 32]));
        let sealed = key.seal("keys", b"secret");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(key.unseal("keys", &changed), Err(UnsealError));
        }
        assert_ne!(key.seal("keys", b"secret"), sealed);
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SealingKey::derive(b"a", &[1; 16], &Measurement([1; 32]));
        assert_eq!(format!("{key:?}"), "SealingKey");
    }
}
