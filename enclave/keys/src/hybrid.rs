//! HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

type Kem = X25519HkdfSha256;

/// An X25519 key pair, made for one purpose.
pub(crate) struct KeyPair {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    /// From 32 secret random bytes (RFC 9180, `DeriveKeyPair`).
    pub(crate) fn derive(bytes: &[u8; 32]) -> Self {
        let (secret, public) = Kem::derive_keypair(bytes);
        Self { secret, public: public.to_bytes().into() }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// `None` if the message was not encrypted to this key with these `info` and `aad`.
    pub(crate) fn open(
        &self,
        encapsulated: &[u8; 32],
        info: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
        let mode = OpModeR::Base;
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(&mode, &self.secret, &encapsulated, info, ciphertext, aad)
            .ok()
            .map(Zeroizing::new)
    }
}

/// Encrypts to an X25519 public key. `None` if nothing can be encrypted to it.
pub(crate) fn seal(
    rng: &mut impl CryptoRng,
    to: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Option<([u8; 32], Vec<u8>)> {
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(to).ok()?;
    let mode = OpModeS::Base;
    let (encapsulated, ciphertext) =
        single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(&mode, &to, info, plaintext, aad, rng).ok()?;
    Some((encapsulated.to_bytes().into(), ciphertext))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn only_what_was_encrypted_for_this_opens() {
        let rng = &mut ChaCha20Rng::from_seed([0; 32]);
        let key = KeyPair::derive(&[1; 32]);
        let (encapsulated, ciphertext) = seal(rng, &key.public(), b"info", b"aad", b"secret").unwrap();
        assert_eq!(ciphertext.len(), 6 + 16);
        assert_eq!(key.open(&encapsulated, b"info", b"aad", &ciphertext).unwrap().as_slice(), b"secret");
        assert!(key.open(&encapsulated, b"other", b"aad", &ciphertext).is_none());
        assert!(key.open(&encapsulated, b"info", b"other", &ciphertext).is_none());
        assert!(key.open(&[0; 32], b"info", b"aad", &ciphertext).is_none());
        assert!(key.open(&encapsulated, b"info", b"aad", &ciphertext[1..]).is_none());
        assert!(key.open(&encapsulated, b"info", b"aad", &[]).is_none());
        assert!(KeyPair::derive(&[2; 32]).open(&encapsulated, b"info", b"aad", &ciphertext).is_none());
    }

    #[test]
    fn nothing_is_encrypted_to_a_point_of_low_order() {
        let rng = &mut ChaCha20Rng::from_seed([0; 32]);
        for bytes in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert!(seal(rng, &bytes, b"", b"", b"secret").is_none());
        }
    }
}
