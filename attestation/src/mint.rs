//! Evidence and documents of simulated vendors: what Intel's and AMD's factories, services and hardware would make.
//!
//! Everything is there that is in real evidence, signed by keys whose secrets are in this source. It is believed only
//! where genesis names [`roots`], and said to be simulated.

// Nothing here comes from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "all input is this module's own"
)]
#![cfg_attr(not(test), allow(dead_code, reason = "tests change what is made"))]

pub(crate) mod amd;
pub(crate) mod certificates;
pub(crate) mod der;
pub(crate) mod intel;
pub(crate) mod keys;

use alloc::vec::Vec;

use crate::{Collateral, Evidence, SignedDocument, UnixSeconds, VendorRoots, split_collateral};

/// When everything made here starts to be valid: 15 January 2027, 8:00 UTC.
pub const VALID_FROM: UnixSeconds = 1_800_000_000;

/// The last second at which it is: a day later.
pub const VALID_UNTIL: UnixSeconds = VALID_FROM + 86_400;

/// What [`Policy::simulated_vendors`](crate::Policy::simulated_vendors) has to be.
pub fn roots() -> VendorRoots {
    VendorRoots { intel: intel::Dcap::sgx().build().0, amd: amd::Snp::milan().build().0 }
}

/// Of an SGX enclave: evidence with this report data, and the documents that it is verified with.
pub fn sgx(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    let dcap = intel::Dcap::sgx().change(|dcap| dcap.body[320..].copy_from_slice(report_data));
    with_documents(dcap.build())
}

/// Of a TDX guest.
pub fn tdx(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    let dcap = intel::Dcap::tdx().change(|dcap| dcap.body[520..].copy_from_slice(report_data));
    with_documents(dcap.build())
}

/// Of an SEV-SNP guest on an EPYC 7003.
pub fn sev_snp(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    let snp = amd::Snp::milan().change(|snp| snp.report[0x50..0x90].copy_from_slice(report_data));
    with_documents(snp.build())
}

fn with_documents((_, evidence, collateral): (Vec<u8>, Evidence, Collateral)) -> (Evidence, Vec<SignedDocument>) {
    let documents = split_collateral(&evidence, &collateral).unwrap();
    (evidence, documents)
}
