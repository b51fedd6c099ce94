//! Verification of TEE evidence.
//!
//! Pure and `no_std`: evidence, collateral, policy and time go in; [`VerifiedEvidence`] or a precise [`Error`]
//! comes out. The same code runs in the runtime, the enclave, the host and the clients. Everything in
//! [`Evidence`] is attacker-controlled until [`verify`] has returned.
//!
//! # Invariants
//! - [`VerifiedEvidence`] and [`Verdict`] have no public constructor: whoever holds one knows that [`verify`] ran.
//! - Vendors are matched exhaustively. A vendor that the [`Policy`] does not name is refused.
//! - Simulated evidence is accepted only under the root that the policy carries, which comes from genesis.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod error;
pub mod simulated;
mod statement;
#[cfg(feature = "vendors")]
pub mod vendors;
mod verdict;

pub use error::Error;
pub use statement::{Role, Statement};
pub use verdict::{Claim, ClaimStatus, Measurement, PlatformId, Vendor, Verdict, VerifiedEvidence};

use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;

/// Seconds since the Unix epoch.
pub type UnixSeconds = u64;

/// The largest SCALE encoding of [`Evidence`] that [`verify`] looks at, in bytes.
pub const MAX_EVIDENCE_BYTES: u32 = 32 * 1024;

/// What a TEE produced to prove what runs in it. Nothing in it is believed before [`verify`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum Evidence {
    /// From the simulated vendor: proves nothing about hardware.
    #[codec(index = 255)]
    Simulated(simulated::Quote),
}

/// What a vendor publishes and evidence is checked against. The simulated vendor needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Collateral {}

/// Which evidence is good enough: data owned by governance and genesis, never an environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Policy {
    /// The root public key (Ed25519) of the simulated vendor. `None` refuses all simulated evidence.
    pub simulated_root: Option<[u8; 32]>,
}

/// Verifies `evidence` at the time `now`.
///
/// # Errors
/// The first check that failed; see [`Error`].
pub fn verify(
    evidence: &Evidence,
    _collateral: &Collateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    check_size(evidence.encoded_size())?;
    match evidence {
        Evidence::Simulated(quote) => {
            let root = policy.simulated_root.ok_or(Error::SimulatedForbidden)?;
            simulated::verify(quote, &root, now)
        }
    }
}

fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_EVIDENCE_BYTES as usize { Err(Error::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_has_a_bound() {
        let most = MAX_EVIDENCE_BYTES as usize;
        assert_eq!(check_size(most), Ok(()));
        assert_eq!(check_size(most + 1), Err(Error::TooLarge));
    }
}
