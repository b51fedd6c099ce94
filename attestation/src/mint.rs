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

use crate::{
    Collateral, Evidence, Kind, Measurement, Policy, SignedDocument, UnixSeconds, VendorRoots, collect_collateral,
    split_collateral, verify, verify_document,
};

/// When everything made by a default [`Mint`] starts to be valid: 15 January 2027, 8:00 UTC.
pub const VALID_FROM: UnixSeconds = 1_800_000_000;

/// The last second at which it is: a day later.
pub const VALID_UNTIL: UnixSeconds = VALID_FROM + 86_400;

/// What [`Policy::simulated_vendors`](crate::Policy::simulated_vendors) has to be.
pub fn roots() -> VendorRoots {
    VendorRoots { intel: intel::Dcap::sgx().build().0, amd: amd::Snp::milan().build().0 }
}

/// A platform that runs one image, and what its vendors say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mint {
    /// When certificates, documents and lists start to be valid.
    pub from: UnixSeconds,
    /// The last second at which they are.
    pub until: UnixSeconds,
    /// Its identity.
    pub platform: [u8; 16],
    /// MRENCLAVE, or the first 32 of the 48 bytes of MRTD or of the launch measurement; the rest are zeros.
    pub measurement: [u8; 32],
}

impl Default for Mint {
    fn default() -> Self {
        Self { from: VALID_FROM, until: VALID_UNTIL, platform: [0x33; 16], measurement: [0x11; 32] }
    }
}

impl Mint {
    /// What is good at `now`: made an hour before, for thirty days.
    pub fn at(now: UnixSeconds) -> Self {
        Self { from: now.saturating_sub(3600), until: now.saturating_add(30 * 86_400), ..Self::default() }
    }

    /// Of a TEE of this kind; `None` where the kind has no vendor to be imitated.
    pub fn of_kind(&self, kind: Kind, report_data: &[u8; 64]) -> Option<(Evidence, Vec<SignedDocument>)> {
        match kind {
            Kind::Sgx => Some(self.sgx(report_data)),
            Kind::Tdx => Some(self.tdx(report_data)),
            Kind::SevSnp => Some(self.sev_snp(report_data)),
            Kind::Simulated => None,
        }
    }

    /// What identifies the image in evidence of this kind.
    pub fn image(&self, kind: Kind) -> Measurement {
        let Some((evidence, documents)) = self.of_kind(kind, &[0; 64]) else { return Measurement(self.measurement) };
        let policy = Policy { simulated_vendors: Some(roots()), ..Policy::default() };
        let find = |id| {
            let is = |document: &&SignedDocument| {
                verify_document(document, &policy, self.from).is_ok_and(|verified| verified.id() == id)
            };
            documents.iter().find(is).cloned()
        };
        let collateral = collect_collateral(&evidence, find).unwrap();
        verify(&evidence, &collateral, &policy, self.from).unwrap().measurement()
    }

    /// Of an SGX enclave: evidence with this report data, and the documents that it is verified with.
    pub fn sgx(&self, report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
        self.dcap(intel::Dcap::sgx().change(|dcap| {
            dcap.body[64..96].copy_from_slice(&self.measurement);
            dcap.body[320..].copy_from_slice(report_data);
        }))
    }

    /// Of a TDX guest.
    pub fn tdx(&self, report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
        self.dcap(intel::Dcap::tdx().change(|dcap| {
            dcap.body[136..184].copy_from_slice(&self.long_measurement());
            dcap.body[520..].copy_from_slice(report_data);
        }))
    }

    /// Of an SEV-SNP guest on an EPYC 7003.
    pub fn sev_snp(&self, report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
        let chip_id = self.platform.repeat(4);
        let snp = amd::Snp::milan().valid(self.from, self.until).change(|snp| {
            snp.report[0x50..0x90].copy_from_slice(report_data);
            snp.report[0x90..0xc0].copy_from_slice(&self.long_measurement());
            snp.report[0x1a0..0x1e0].copy_from_slice(&chip_id);
            snp.hardware_id = Some(chip_id);
        });
        with_documents(snp.build())
    }

    fn dcap(&self, dcap: intel::Dcap) -> (Evidence, Vec<SignedDocument>) {
        let dcap = dcap.valid(self.from, self.until).change(|dcap| dcap.ppid = self.platform);
        with_documents(dcap.build())
    }

    fn long_measurement(&self) -> [u8; 48] {
        let mut long = [0; 48];
        long[..32].copy_from_slice(&self.measurement);
        long
    }

    /// TCB info for SGX with this evaluation number.
    pub fn tcb_info(&self, evaluation_number: u32) -> SignedDocument {
        self.tcb_info_saying("UpToDate", evaluation_number)
    }

    /// The same of a TCB recovery that [this platform](Self::sgx) was not updated for.
    pub fn tcb_recovery(&self, evaluation_number: u32) -> SignedDocument {
        self.tcb_info_saying("OutOfDate", evaluation_number)
    }

    fn tcb_info_saying(&self, status: &str, evaluation_number: u32) -> SignedDocument {
        let number = format!(r#""tcbEvaluationDataNumber":{evaluation_number}"#);
        let dcap = intel::Dcap::sgx().tcb_info(r#""tcbEvaluationDataNumber":20"#, &number).tcb_info("UpToDate", status);
        self.dcap(dcap).1.swap_remove(2)
    }
}

/// Of a default [`Mint`].
pub fn sgx(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    Mint::default().sgx(report_data)
}

/// Of a default [`Mint`].
pub fn tdx(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    Mint::default().tdx(report_data)
}

/// Of a default [`Mint`].
pub fn sev_snp(report_data: &[u8; 64]) -> (Evidence, Vec<SignedDocument>) {
    Mint::default().sev_snp(report_data)
}

/// TCB info for [`sgx`] with another evaluation number, made `age` seconds after [`VALID_FROM`].
pub fn tcb_info(evaluation_number: u32, age: u32) -> SignedDocument {
    Mint { from: VALID_FROM + UnixSeconds::from(age), ..Mint::default() }.tcb_info(evaluation_number)
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

fn with_documents((_, evidence, collateral): (Vec<u8>, Evidence, Collateral)) -> (Evidence, Vec<SignedDocument>) {
    let documents = split_collateral(&evidence, &collateral).unwrap();
    (evidence, documents)
}
