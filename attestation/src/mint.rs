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

use alloc::{format, vec::Vec};

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

/// TCB info and a PCK revocation list, both for [`sgx`], of about `tcb_info_kib` and `list_kib` KiB, at most 60 each.
pub fn large_documents(tcb_info_kib: u32, list_kib: u32) -> (SignedDocument, SignedDocument) {
    let dcap = intel::Dcap::sgx().change(|dcap| {
        dcap.repeat_tcb_level(tcb_info_kib.max(1) as usize * 1024);
        // An entry has 22 bytes.
        dcap.revoked_by_ca = (1_000_000..).take(list_kib as usize * 1024 / 22).collect();
    });
    let [_, list, tcb_info, _] = <[_; 4]>::try_from(with_documents(dcap.build()).1).unwrap();
    (tcb_info, list)
}

/// A revocation list for [`sev_snp`] of about `kib` KiB, at most 60.
pub fn large_amd_crl(kib: u32) -> SignedDocument {
    let revoked = (1_000_000..).take(kib as usize * 1024 / 22).collect();
    with_documents(amd::Snp::milan().change(|snp| snp.crl = Some(revoked)).build()).1.swap_remove(1)
}

/// TCB info for [`sgx`] with another evaluation number, made `age` seconds after [`VALID_FROM`].
pub fn tcb_info(evaluation_number: u32, age: u32) -> SignedDocument {
    let dcap = intel::Dcap::sgx()
        .tcb_info(r#""tcbEvaluationDataNumber":20"#, &format!(r#""tcbEvaluationDataNumber":{evaluation_number}"#))
        .tcb_info(
            "2027-01-15T08:00:00Z",
            &format!("2027-01-15T{:02}:{:02}:{:02}Z", 8 + age / 3600, age / 60 % 60, age % 60),
        );
    with_documents(dcap.build()).1.swap_remove(2)
}

fn with_documents((_, evidence, collateral): (Vec<u8>, Evidence, Collateral)) -> (Evidence, Vec<SignedDocument>) {
    let documents = split_collateral(&evidence, &collateral).unwrap();
    (evidence, documents)
}
