//! How long what gatekeepers post may be. The chain does not parse commonware's encodings; it bounds them by what follows
//! from the number of dealers and players, with [`SLACK`] for the lengths of lists and tags of variants.

use phala_primitives::gatekeeper::threshold;

/// For what is not worth counting: a handful of lengths of at most 5 bytes, and tags.
pub const SLACK: u32 = 64;

/// A point of G2.
const POINT: u32 = 96;
/// An Ed25519 public key, a scalar, a hash.
const KEY: u32 = 32;
/// An Ed25519 signature, which is longer than the scalar that takes its place in some results.
const SIGNATURE: u32 = 64;

/// A commitment to a polynomial of which [`threshold`] values are enough.
pub const fn commitment(players: u32) -> u32 {
    POINT.saturating_mul(threshold(players)).saturating_add(SLACK)
}

/// A dealer's signed log: its commitment, and for each player its key and an acknowledgement or a value.
pub const fn log(players: u32) -> u32 {
    commitment(players)
        .saturating_add(KEY.saturating_add(SIGNATURE).saturating_add(1).saturating_mul(players))
        .saturating_add(KEY)
        .saturating_add(SIGNATURE)
}

/// An output: a hash, the public polynomial, the dealers, the players, and the players some of whose values were opened.
pub const fn output(dealers: u32, players: u32) -> u32 {
    commitment(players)
        .saturating_add(KEY)
        .saturating_add(KEY.saturating_mul(dealers.saturating_add(players).saturating_add(players)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{
        bls12381::{
            dkg::feldman_desmedt::{DealerPubMsg, Output, SignedDealerLog},
            primitives::variant::MinSig,
        },
        ed25519,
    };
    use core::num::NonZeroU32;
    use phala_primitives::gatekeeper::MAX_GATEKEEPERS;

    #[test]
    fn the_bounds_are_those_of_commonware_with_little_slack() {
        for players in 1..=MAX_GATEKEEPERS {
            let degree = NonZeroU32::new(threshold(players)).unwrap();
            let players_ = NonZeroU32::new(players).unwrap();
            // Commonware's bounds take as many coefficients as players; ours, as many as there are.
            let more_points = ((players - threshold(players)) * POINT) as usize;
            let checks = [
                (commitment(players), DealerPubMsg::<MinSig>::max_encode_size(degree)),
                (log(players), SignedDealerLog::<MinSig, ed25519::PublicKey>::max_encode_size(players_) - more_points),
                (
                    output(players, players),
                    Output::<MinSig, ed25519::PublicKey>::max_encode_size(players_) - more_points,
                ),
            ];
            for (ours, theirs) in checks {
                let slack = ours as usize - theirs;
                assert!(slack <= SLACK as usize, "{slack} bytes too many for {players} players");
            }
        }
    }
}
