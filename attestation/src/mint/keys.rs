//! Keys of simulated vendors, whose secrets are in this file.

use alloc::{boxed::Box, vec::Vec};
use core::convert::Infallible;
use p256::ecdsa::signature::Signer;
use rsa::{
    BoxedUint, RsaPrivateKey, pss,
    rand_core::{TryCryptoRng, TryRng},
    signature::RandomizedSigner,
    traits::PublicKeyParts,
};
use sha2::Sha384;

use super::der::{big_integer, bits, integer, oid, seq, tlv};

/// The primes of two RSA keys, which have to be made once: making them anew takes seconds.
const PRIMES: [[&str; 2]; 2] = [
    [
        concat!(
            "C03BF2BCCD7D3B715267ABFE9224AC1935F6B139F062ABC58C736AA754A5C4182B4C1E5ADE86224E031D3EE81574A89C4E78",
            "6FED27A012E51FFEA6E104FF5117F5337DBA24CAC338EED9102AB064BD1DC32CBDDE8DE78EE7A76392650C0CFCD0CF671EC4",
            "9A0837A94CC8BBBC0254BC573C7BB2050C9F1AA74027EAC076D5A1FB"
        ),
        concat!(
            "EC9C871647A08993671B90AFDD9F6DF66C2F57FB3F7012953A371379B89EA8E1C69A9B9AF69BDF473E8E677C6ADB04C7971C",
            "830B973273504C8710E168FB0AD718967460D2001A58A961934210C72E06E3679F7E842F5B8FC885BF6F24CACBEB18FCFF26",
            "F8208DA68FFA6A20CFFD6D2562FAFBBD1736E63121C25E88092BE8E7"
        ),
    ],
    [
        concat!(
            "E35D43C91D86EA559C6289AB19E6B754CCBEE7DC71FBC4AEEA45334E780D3A3A0BDCF37B25EB67F63141EE6716D3E9800476",
            "91E0445C417C87299653E070DB2E58F25F1AFC08E7890A3F8C08CF339A006C454F7F59B48DB8BA900523DECA01E46973E92C",
            "0E36FFB33DAF32FD92B792C3FF0986575D6B479353240B0BBA48A4B1"
        ),
        concat!(
            "D10FA1CC1FD739AF45AEC5D79BD47CAAA2FF149E84D509929EAD4EC5D415A6F07885050F05C0307BCAAC898F03F54BD73178",
            "A43A248574B484067C5B2CEC8453E2D3D98E58F81340ED95180AAD19EF0D236707214744A894F3000FD502E771668901ACAA",
            "314DD54E67FFC764DEAED090E6C609E7AEF8187671322207C7FF4BA9"
        ),
    ],
];

/// Signatures need no chance here: whoever wants the secret reads this file.
struct NoChance;

impl TryRng for NoChance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0x5a5a_5a5a)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0x5a5a_5a5a_5a5a_5a5a)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0x5a);
        Ok(())
    }
}

impl TryCryptoRng for NoChance {}

pub(crate) enum Key {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    Rsa(Box<RsaPrivateKey>),
}

impl Key {
    pub fn p256(seed: u8) -> Self {
        Self::P256(Box::new(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()))
    }

    pub fn p384(seed: u8) -> Self {
        Self::P384(Box::new(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap()))
    }

    pub fn rsa(index: usize) -> Self {
        let [p, q] = PRIMES[index].map(|prime| {
            let bytes: Vec<u8> =
                (0..prime.len()).step_by(2).map(|at| u8::from_str_radix(&prime[at..at + 2], 16).unwrap()).collect();
            BoxedUint::from_be_slice_vartime(&bytes)
        });
        Self::Rsa(Box::new(RsaPrivateKey::from_p_q(p, q, BoxedUint::from(65_537_u64)).unwrap()))
    }

    pub fn algorithm(&self) -> Vec<u8> {
        seq(&[oid(match self {
            Self::P256(_) => "1.2.840.10045.4.3.2",
            Self::P384(_) => "1.2.840.10045.4.3.3",
            Self::Rsa(_) => "1.2.840.113549.1.1.10",
        })])
    }

    pub fn info(&self) -> Vec<u8> {
        let ec = |curve, point: &[u8]| seq(&[seq(&[oid("1.2.840.10045.2.1"), oid(curve)]), bits(point)]);
        match self {
            Self::P256(key) => ec("1.2.840.10045.3.1.7", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => ec("1.3.132.0.34", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Rsa(key) => {
                let public = seq(&[big_integer(&key.n().to_be_bytes()), integer(65_537)]);
                seq(&[seq(&[oid("1.2.840.113549.1.1.1"), tlv(0x05, [])]), bits(&public)])
            }
        }
    }

    /// `r` and `s` for elliptic curves.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => Signer::<p256::ecdsa::Signature>::sign(&**key, message).to_bytes().to_vec(),
            Self::P384(key) => Signer::<p384::ecdsa::Signature>::sign(&**key, message).to_bytes().to_vec(),
            Self::Rsa(key) => {
                let key = pss::SigningKey::<Sha384>::new_with_salt_len((**key).clone(), 48);
                Box::<[u8]>::from(key.sign_with_rng(&mut NoChance, message)).into_vec()
            }
        }
    }

    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.sign(message);
        if matches!(self, Self::Rsa(_)) {
            return signature;
        }
        let (r, s) = signature.split_at(signature.len() / 2);
        seq(&[positive(r), positive(s)])
    }

    /// The public key, `x` and `y`.
    pub fn point(&self) -> Vec<u8> {
        let Self::P256(key) = self else { panic!("not of P-256") };
        key.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec()
    }
}

fn positive(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..];
    if bytes[0] >= 128 { big_integer(bytes) } else { tlv(0x02, bytes) }
}
