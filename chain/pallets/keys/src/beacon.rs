//! The random beacon: one signature of the root key for each round, verified here.
//!
//! A round's signature is a BLS signature (draft-irtf-cfrg-bls-signature-05, "minimal-signature-size") as commonware makes it: of
//! [`Beacon::message`] behind the namespace [`BEACON_NAMESPACE`] and its length, hashed to G1 by RFC 9380 under [`DOMAIN`].

use super::*;
use ark_bls12_381::{Bls12_381, G1Affine, G1Projective, G2Affine, g1};
use ark_ec::{
    AffineRepr,
    hashing::{HashToCurve, curve_maps::wb::WBMap, map_to_curve_hasher::MapToCurveBasedHasher},
    pairing::Pairing,
};
use ark_ff::{One as _, field_hashers::DefaultFieldHasher};
use ark_serialize::CanonicalDeserialize;
use phala_primitives::gatekeeper::{BEACON_NAMESPACE, BroughtBeacon};
use sha2_of_ark::Sha256;

/// What separates hashes of messages to G1 from others.
const DOMAIN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Commonware puts a namespace's length before it, as a variable-length integer: of one byte below 128.
const NAMESPACE_LENGTH: u8 = BEACON_NAMESPACE.len() as u8;
const _: () = assert!(BEACON_NAMESPACE.len() < 128);

type Hasher = MapToCurveBasedHasher<G1Projective, DefaultFieldHasher<Sha256>, WBMap<g1::Config>>;

/// Whether `beacon` is the round's on the chain with this genesis and root key. False for encodings that are not canonical, points
/// outside their group, and the identity.
#[expect(clippy::arithmetic_side_effects, reason = "the negative of a point has none")]
pub fn verify(public_key: &PublicKey, genesis_hash: &Hash, beacon: &Beacon) -> bool {
    // Reading checks that the point is on the curve and in its group.
    let Ok(public_key) = G2Affine::deserialize_compressed(public_key.0.as_slice()) else { return false };
    let Ok(signature) = G1Affine::deserialize_compressed(beacon.signature.as_slice()) else { return false };
    if public_key.is_zero() || signature.is_zero() {
        return false;
    }
    let Some(hash) = hash(genesis_hash, beacon.round) else { return false };
    // e(signature, generator) = e(hash, public key)
    Bls12_381::multi_pairing([-signature, hash], [G2Affine::generator(), public_key]).0.is_one()
}

/// The point of G1 that a round's signature is a multiple of; never `None`.
fn hash(genesis_hash: &Hash, round: Round) -> Option<G1Affine> {
    let message = Beacon::message(genesis_hash, round);
    let message = [[NAMESPACE_LENGTH].as_slice(), BEACON_NAMESPACE, &message].concat();
    Hasher::new(DOMAIN).and_then(|hasher| hasher.hash(&message)).ok()
}

/// A key of no secrecy and its signature of a round.
#[cfg(feature = "runtime-benchmarks")]
pub(crate) fn sign(genesis_hash: &Hash, round: Round) -> (PublicKey, Beacon) {
    use ark_serialize::CanonicalSerialize;
    let secret = -ark_bls12_381::Fr::from(12_345u64);
    let (mut public_key, mut signature) = ([0; 96], [0; 48]);
    G1Affine::from(hash(genesis_hash, round).unwrap() * secret).serialize_compressed(signature.as_mut_slice()).unwrap();
    G2Affine::from(G2Affine::generator() * secret).serialize_compressed(public_key.as_mut_slice()).unwrap();
    (PublicKey(public_key), Beacon { round, signature })
}

impl<T: Config> Pallet<T> {
    /// The first round of a block after `after` that is kept, and what it gives: nobody knew it in that block, and whoever asks later
    /// gets no other, as long as it is kept.
    pub fn random(after: BlockNumberFor<T>) -> Option<(Round, Hash)> {
        let round = Rounds::<T>::get().into_iter().find(|round| BlockNumberFor::<T>::from(*round) > after)?;
        Some((round, Beacons::<T>::get(round)?.randomness()))
    }

    pub(super) fn authorize_beacon(signed: &SignedBeacon) -> TransactionValidityWithRefund {
        let brought = &signed.brought;
        let public_key = Self::check_beacon(brought)?;
        // First: who is no gatekeeper costs a node no pairing.
        Self::ensure_signed_by(&brought.gatekeeper, &brought.signed_bytes(), &signed.signature)?;
        let verified = verify(&public_key, &brought.genesis_hash, &brought.beacon);
        ensure!(verified, Error::<T>::BadSignature);
        Self::valid(("beacon", brought.beacon.round), T::BeaconInterval::get().into())
    }

    pub(super) fn do_submit_beacon(brought: BroughtBeacon) -> DispatchResult {
        Self::check_beacon(&brought)?;
        Self::keep_beacon(brought.beacon);
        Ok(())
    }

    pub(super) fn keep_beacon(beacon: Beacon) {
        Rounds::<T>::mutate(|rounds| {
            if rounds.is_full() {
                Beacons::<T>::remove(rounds.remove(0));
            }
            let pushed = rounds.try_push(beacon.round);
            frame_support::defensive_assert!(pushed.is_ok(), "there is a place");
        });
        Beacons::<T>::insert(beacon.round, beacon);
        LatestBeacon::<T>::put(beacon);
        Self::deposit_event(Event::BeaconSubmitted { round: beacon.round, randomness: beacon.randomness() });
        // Beacons of old rounds may still be too old.
        if Stalled::<T>::get() && !Self::is_stalled(Self::now()) {
            Stalled::<T>::put(false);
            Self::deposit_event(Event::BeaconResumed);
        }
    }

    /// Everything but the signatures; the key that it should be under.
    fn check_beacon(brought: &BroughtBeacon) -> Result<PublicKey, Error<T>> {
        let beacon = &brought.beacon;
        ensure!(brought.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        let is_round = beacon.round.checked_rem(T::BeaconInterval::get()) == Some(0);
        ensure!(is_round && BlockNumberFor::<T>::from(beacon.round) <= Self::now(), Error::<T>::WrongRound);
        let newest = LatestBeacon::<T>::get().map(|beacon| beacon.round);
        ensure!(newest.is_none_or(|newest| beacon.round > newest), Error::<T>::OldRound);
        let root = Sharings::<T>::get(NetworkKey::Root).ok_or(Error::<T>::UnknownKey)?;
        ensure!(root.players.binary_search(&brought.gatekeeper).is_ok(), Error::<T>::NotPlayer);
        Ok(root.public_key)
    }

    /// Whether the newest beacon is too old; without one, whether the root key's sharing is.
    fn is_stalled(now: BlockNumberFor<T>) -> bool {
        let newest = LatestBeacon::<T>::get().map(|beacon| beacon.round.into());
        let since = newest.or_else(|| Sharings::<T>::get(NetworkKey::Root).map(|root| root.since));
        let patience = T::BeaconInterval::get().saturating_mul(T::BeaconStall::get());
        since.is_some_and(|since| now.saturating_sub(since) > patience.into())
    }

    pub(super) fn do_watch_beacon(now: BlockNumberFor<T>) -> Weight {
        if !Stalled::<T>::get() && Self::is_stalled(now) {
            Stalled::<T>::put(true);
            let newest = LatestBeacon::<T>::get().map(|beacon| beacon.round);
            Self::deposit_event(Event::BeaconStalled { newest });
        }
        <T as Config>::WeightInfo::watch_beacon()
    }
}
