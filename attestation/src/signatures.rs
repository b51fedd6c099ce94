//! Signatures of what many pieces of evidence share, such as certificates of CAs: verified once, and then known.

use core::{fmt, marker::PhantomData};
use dcap_qvl::{
    config::{Config, CryptoProvider},
    configs::RustCryptoConfig,
    crypto::RustCryptoCrypto,
};
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use rsa::{RsaPublicKey, pss, signature::Verifier};
use sha2::{Digest, Sha256, Sha384};

/// Identifies one signature: SHA-256 over `phala/signature/v1` and the algorithm, key, message and signature, each after its
/// length.
pub type SignatureId = [u8; 32];

/// Which signatures were verified before.
///
/// Whoever implements it answers for it: a signature that is said to be known is believed.
pub trait KnownSignatures: 'static {
    /// Whether the signature was verified before, and is good.
    fn is_known(id: &SignatureId) -> bool;

    /// SHA-256 of `bytes`. A runtime lets its host compute it: documents are long.
    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }
}

/// No signature is known: each is verified.
#[derive(Debug)]
pub struct NoneKnown;

impl KnownSignatures for NoneKnown {
    fn is_known(_: &SignatureId) -> bool {
        false
    }
}

fn check<K: KnownSignatures>(
    algorithm: &str,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    verify: impl FnOnce() -> Result<(), ()>,
) -> Result<SignatureId, ()> {
    let mut identified = b"phala/signature/v1".to_vec();
    for part in [algorithm.as_bytes(), key, message, signature] {
        identified.extend((part.len() as u64).to_le_bytes());
        identified.extend(part);
    }
    let id = K::sha256(&identified);
    if !K::is_known(&id) {
        verify()?;
    }
    Ok(id)
}

/// ECDSA with P-256 and SHA-256; `signature` is DER, `key` a point.
pub(crate) fn check_p256<K: KnownSignatures>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<SignatureId, ()> {
    check::<K>("ecdsa-p256-sha256", key, message, signature, || {
        RustCryptoCrypto::sig_algo().verify_signature(key, message, signature).map_err(|_| ())
    })
}

/// RSASSA-PSS with SHA-384 and a salt of `salt_bytes`; `key` is an RSAPublicKey in DER.
pub(crate) fn check_pss<K: KnownSignatures>(
    der: &[u8],
    key: impl FnOnce() -> Result<RsaPublicKey, ()>,
    salt_bytes: usize,
    message: &[u8],
    signature: &[u8],
) -> Result<SignatureId, ()> {
    check::<K>("rsassa-pss-sha384", der, message, signature, || {
        let signature = pss::Signature::try_from(signature).map_err(|_| ())?;
        let key = pss::VerifyingKey::<Sha384>::new_with_salt_len(key()?, salt_bytes);
        key.verify(message, &signature).map_err(|_| ())
    })
}

/// What `dcap-qvl` verifies signatures with.
pub(crate) struct DcapConfig<K>(PhantomData<fn() -> K>);

impl<K: KnownSignatures> Config for DcapConfig<K> {
    type X509 = <RustCryptoConfig as Config>::X509;
    type SigEncoder = <RustCryptoConfig as Config>::SigEncoder;
    type Crypto = Self;
}

impl<K: KnownSignatures> CryptoProvider for DcapConfig<K> {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &P256::<K>(PhantomData)
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        RustCryptoCrypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        RustCryptoCrypto::sha384(data)
    }
}

struct P256<K>(PhantomData<fn() -> K>);

impl<K> fmt::Debug for P256<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ECDSA_P256_SHA256")
    }
}

impl<K: KnownSignatures> SignatureVerificationAlgorithm for P256<K> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        check_p256::<K>(key, message, signature).map(drop).map_err(|()| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        RustCryptoCrypto::sig_algo().public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        RustCryptoCrypto::sig_algo().signature_alg_id()
    }
}
