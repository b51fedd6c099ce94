//! The random beacon: the root key's signature over a round's number.
//!
//! # What is signed
//!
//! BLS signatures as in draft-irtf-cfrg-bls-signature-05, minimal-signature-size: public keys in G2, signatures in G1, each a compressed point
//! (96 and 48 bytes, the encoding of ZCash). The domain separation tag of the hash to G1 (RFC 9380, SHA-256, SSWU, random oracle) is
//! `BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_`. The bytes that are hashed are 52:
//!
//! ```text
//! 0f                                length of the namespace, as one byte
//! 70 68 61 6c 61 2f 62 65 61 63 6f 6e 2f 76 31   "phala/beacon/v1"
//! 32 bytes                          the hash of the chain's genesis
//! 4 bytes                           the round, little-endian
//! ```
//!
//! A signature S is right for the public key P if e(S, −g₂) · e(H(bytes), P) = 1, and S is in the group and not the identity.

use commonware_codec::{Copying, DecodeExt};
use commonware_cryptography::bls12381::primitives::{
    group::{G1, G2},
    ops,
    variant::MinSig,
};
use phala_primitives::{
    Hash,
    gatekeeper::{BEACON_NAMESPACE, Beacon, NetworkKey, PublicKey, Round},
};

use crate::{
    Share,
    sharing::{CombineError, Message, Partial, VerifiedPartial, VerifiedSharing},
};

/// A round's signature that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedBeacon(Beacon);

impl VerifiedBeacon {
    /// The signature.
    pub fn beacon(&self) -> &Beacon {
        &self.0
    }

    /// What the round gives.
    pub fn randomness(&self) -> Hash {
        self.0.randomness()
    }
}

/// Why there is no beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeaconError {
    /// The share is of an epoch's key.
    #[error("only the root key signs the random beacon")]
    NotRoot,
    /// The public key is no point of the group.
    #[error("the network's public key is not a valid one")]
    PublicKey,
    /// It is not the root key's signature over the round.
    #[error("the beacon's signature is false")]
    Signature,
}

/// A gatekeeper's part of a round. The caller decides when: once a threshold of parts is out, everybody knows the round.
///
/// # Errors
/// For a share of an epoch's key.
pub fn beacon_partial(share: &Share, genesis_hash: &Hash, round: Round) -> Result<Partial, BeaconError> {
    if share.key() != NetworkKey::Root {
        return Err(BeaconError::NotRoot);
    }
    share.partial(&Message::Beacon { genesis_hash: *genesis_hash, round }).ok_or(BeaconError::Signature)
}

/// Puts the parts of a round together, and verifies what comes out.
///
/// # Errors
/// When they are too few, or one is of another sharing or round.
pub fn combine_beacon(
    sharing: &VerifiedSharing,
    genesis_hash: &Hash,
    round: Round,
    partials: &[VerifiedPartial],
) -> Result<VerifiedBeacon, CombineError> {
    let signature = sharing.combine(&Message::Beacon { genesis_hash: *genesis_hash, round }, partials)?;
    Ok(VerifiedBeacon(Beacon { round, signature: *signature }))
}

/// Verifies a round against the root key.
///
/// # Errors
/// When it is not that round's.
pub fn verify_beacon(
    public_key: &PublicKey,
    genesis_hash: &Hash,
    beacon: &Beacon,
) -> Result<VerifiedBeacon, BeaconError> {
    let public_key = G2::decode(Copying(&public_key.0)).map_err(|_| BeaconError::PublicKey)?;
    let signature = G1::decode(Copying(&beacon.signature)).map_err(|_| BeaconError::Signature)?;
    let message = Beacon::message(genesis_hash, beacon.round);
    ops::verify_message::<MinSig>(&public_key, BEACON_NAMESPACE, &message, &signature)
        .map_err(|_| BeaconError::Signature)?;
    Ok(VerifiedBeacon(*beacon))
}
