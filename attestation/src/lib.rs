//! Verification of TEE evidence: Intel SGX and TDX through DCAP, AMD SEV-SNP, and a simulated vendor.
//!
//! Pure and `no_std`: evidence, collateral, policy and time go in; [`VerifiedEvidence`] or a precise [`Error`]
//! comes out. The same code runs in the runtime, the enclave, the host and the clients. Everything in
//! [`Evidence`] is attacker-controlled until [`verify`] has returned.
//!
//! # How
//! 1. Sizes are bounded and frames parsed strictly, so that the work before the first signature check is linear in
//!    few kilobytes, and no byte of a quote is left that no check looks at.
//! 2. Chains lead to the roots in this source, are within their validity and not revoked.
//! 3. The quote is signed by the certified key, directly (SEV-SNP) or through the quoting enclave (DCAP).
//! 4. The platform's TCB is matched with the vendor's document or certificate, and appraised under the policy.
//! 5. Modes in which the host reads or moves the guest are refused under every policy.
//! 6. [`VerifiedEvidence::bind`] compares the report data with the [`Statement`] that it has to be the hash of.
//!
//! # Invariants
//! - [`VerifiedEvidence`] and [`Verdict`] have no public constructor: whoever holds one knows that [`verify`] ran.
//! - Kinds and generations are matched exhaustively; what the policy does not name is refused.
//! - Simulated evidence is accepted only under the root that the policy carries, which comes from genesis.
//! - A claim is listed as checked only where the code checked it; see [`Claim`].
//!
//! # What it does not prove
//! Whether the measurement is *allowed*, whether the statement is a fresh one of the right chain and operator, and that
//! nobody with physical access took the attestation keys out of the hardware (WireTap, Battering RAM, TEE.fail).

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod certificates;
mod collateral;
mod dcap;
mod documents;
mod error;
#[cfg(feature = "files")]
pub mod files;
mod measurement;
#[cfg(feature = "mint")]
pub mod mint;
mod platform;
mod policy;
#[cfg(feature = "files")]
pub mod report;
mod roots;
mod sev_snp;
mod signatures;
pub mod simulated;
mod statement;
// They read files and the environment, which nothing in `src` does.
#[cfg(test)]
#[path = "../tests/verifier/mod.rs"]
mod tests;
mod unverified;
mod vendor;
mod verdict;

pub use collateral::{Collateral, DcapCollateral, SevSnpCollateral};
pub use dcap::parse_fmspc;
pub use documents::{
    DocumentId, PckCa, SignedDocument, SignedJson, VerifiedDocument, collect_collateral, required_documents,
    split_collateral, verify_document,
};
pub use error::{Document, Error};
pub use measurement::{Measurement, Measurements};
pub use platform::{Family, Generation, Hardware, Kind, ParseKindError, Platform, PlatformId, SigningKey, SnpTcb, Tcb};
pub use policy::{DcapPolicy, MinimumTcb, Policy, Requirements, SevSnpPolicy, TcbStatus, Tier, VendorRoots};
pub use sev_snp::EndorsementId;
pub use signatures::{KnownSignatures, NoneKnown, SignatureId};
pub use statement::{Role, Statement};
pub use unverified::Unverified;
pub use vendor::{ParseVendorError, ParseVendorNameError, Vendor, VendorName};
pub use verdict::{Claim, ClaimStatus, Verdict, VerifiedEvidence};

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode};
use roots::Roots;
use scale_info::TypeInfo;

/// Seconds since the Unix epoch.
pub type UnixSeconds = u64;

/// The largest SCALE encoding of [`Evidence`] that [`verify`] looks at, in bytes.
pub const MAX_EVIDENCE_BYTES: u32 = 32 * 1024;

/// The largest DCAP quote that [`verify`] looks at, in bytes. Intel's are 5 KiB, and some clouds pad them to 8.
pub const MAX_QUOTE_BYTES: usize = 16 * 1024;

/// What a TEE produced to prove what runs in it, and what certifies its platform. Nothing in it is believed before
/// [`verify`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Evidence {
    /// Of an SGX enclave or a TDX guest.
    #[codec(index = 1)]
    Dcap {
        /// An ECDSA quote of Intel's, version 3 to 5.
        quote: Vec<u8>,
        /// The platform's PCK certificate and the CA that issued it, DER: only for quotes that do not carry them. If both
        /// have them, they have to be the same.
        pck_chain: Option<(Vec<u8>, Vec<u8>)>,
    },
    /// Of an SEV-SNP guest.
    #[codec(index = 2)]
    SevSnp {
        /// An attestation report: 1184 bytes.
        report: Vec<u8>,
        /// The certificate of the key that signed it, VCEK or VLEK, DER. Empty where the guest was given none: whoever hands the
        /// evidence on adds what AMD's key distribution service has, for [`verify`] needs it.
        endorsement: Vec<u8>,
    },
    /// From the simulated vendor: proves nothing about hardware.
    #[codec(index = 255)]
    Simulated(simulated::Quote),
}

/// Verifies `evidence` at the time `now`, under the roots pinned in this source, or the simulated ones of `policy`.
///
/// # Errors
/// The first check that failed; see [`Error`].
pub fn verify(
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    verify_knowing::<NoneKnown>(evidence, collateral, policy, now)
}

/// As [`verify`], but for signatures of the collateral, and of CAs, that were verified before: see [`verify_document`].
///
/// # Errors
/// The first check that failed; see [`Error`].
pub fn verify_knowing<K: KnownSignatures>(
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    verify_under::<K>(&policy.roots(), evidence, collateral, policy, now).map(|verified| {
        match policy.simulated_vendors {
            None => verified,
            Some(_) => verified.simulated(),
        }
    })
}

fn verify_under<K: KnownSignatures>(
    roots: &Roots<'_>,
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    if evidence.encoded_size() > MAX_EVIDENCE_BYTES as usize {
        return Err(Error::TooLarge);
    }
    match (evidence, collateral) {
        (Evidence::Dcap { quote, pck_chain }, Collateral::Dcap(collateral)) => {
            dcap::verify::<K>(roots.intel, quote, pck_chain.as_ref(), collateral, policy, now)
        }
        (Evidence::SevSnp { report, endorsement }, Collateral::SevSnp(collateral)) => {
            sev_snp::verify::<K>(roots, report, endorsement, collateral, policy, now)
        }
        (Evidence::Simulated(quote), Collateral::None) => {
            let root = policy.simulated_root.ok_or(Error::SimulatedForbidden)?;
            simulated::verify(quote, &root, now)
        }
        (Evidence::Dcap { .. } | Evidence::SevSnp { .. } | Evidence::Simulated(_), _) => Err(Error::CollateralKind),
    }
}
