//! SEV-SNP reports and AMD's documents.

use alloc::{format, vec, vec::Vec};

use super::{
    VALID_FROM, VALID_UNTIL,
    certificates::{Draft, list_with},
    der::{extension, integer, tlv},
    keys::Key,
};
use crate::{Collateral, Evidence, SevSnpCollateral, UnixSeconds};

/// An SEV-SNP report and its collateral, to be changed and then signed.
#[derive(Clone)]
pub(crate) struct Snp {
    pub report: Vec<u8>,
    pub ark: Draft,
    pub ask: Draft,
    pub endorsement: Draft,
    pub product: &'static str,
    /// By the last part of the extension's identifier.
    pub spl: Vec<(u8, u8)>,
    pub hardware_id: Option<Vec<u8>>,
    pub provider: Option<&'static str>,
    pub crl: Option<Vec<u64>>,
    pub crl_dates: (UnixSeconds, UnixSeconds),
    pub crl_issuer: &'static str,
    pub crl_key: usize,
    pub crl_extensions: Vec<Vec<u8>>,
    pub report_key: u8,
}

impl Snp {
    pub fn milan() -> Self {
        let mut report = vec![0; 0x2a0];
        report[0] = 3;
        report[0x08..0x10].copy_from_slice(&0x20000_u64.to_le_bytes());
        report[0x34] = 1;
        report[0x40] = 0x20;
        report[0x50..0x90].copy_from_slice(&[0x22; 64]);
        report[0x90..0xc0].copy_from_slice(&[0x11; 48]);
        report[0x188..0x18b].copy_from_slice(&[0x19, 1, 1]);
        report[0x1a0..0x1e0].copy_from_slice(&[0x44; 64]);
        let tcb = [4, 1, 0, 0, 0, 0, 24, 220];
        for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[offset..offset + 8].copy_from_slice(&tcb);
        }
        Self {
            report,
            ark: Draft::root("ARK-Milan"),
            ask: Draft { serial: 8, ..Draft::authority("ARK-Milan", "SEV-Milan") },
            endorsement: Draft::new("SEV-Milan", "SEV-VCEK"),
            product: "Milan-B0",
            spl: vec![(1, 4), (2, 1), (3, 24), (8, 220)],
            hardware_id: Some(vec![0x44; 64]),
            provider: None,
            crl: Some(vec![]),
            crl_dates: (VALID_FROM, VALID_UNTIL),
            crl_issuer: "ARK-Milan",
            crl_key: 0,
            crl_extensions: vec![],
            report_key: 6,
        }
    }

    pub fn milan_vlek() -> Self {
        Self::milan().change(|snp| {
            snp.ask.subject = "SEV-VLEK-Milan";
            snp.endorsement = Draft::new("SEV-VLEK-Milan", "SEV-VLEK");
            snp.product = "Milan";
            snp.hardware_id = None;
            snp.provider = Some("CN=cc-us-east-2.amazonaws.com");
            snp.report[0x48] = 1 << 2;
            snp.report[0x1a0..0x1e0].fill(0);
        })
    }

    pub fn turin() -> Self {
        Self::milan().change(|snp| {
            snp.ark = Draft::root("ARK-Turin");
            snp.ask = Draft { serial: 8, ..Draft::authority("ARK-Turin", "SEV-Turin") };
            snp.endorsement = Draft::new("SEV-Turin", "SEV-VCEK");
            snp.crl_issuer = "ARK-Turin";
            snp.product = "Turin";
            snp.spl = vec![(9, 1), (1, 2), (2, 3), (3, 4), (8, 70)];
            snp.hardware_id = Some(vec![0x44; 8]);
            snp.report[0x188..0x18b].copy_from_slice(&[0x1a, 2, 1]);
            snp.report[0x1a8..0x1e0].fill(0);
            for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
                snp.report[offset..offset + 8].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 70]);
            }
        })
    }

    /// Everything but the root from `from` until `until`.
    pub fn valid(mut self, from: UnixSeconds, until: UnixSeconds) -> Self {
        for draft in [&mut self.ask, &mut self.endorsement] {
            (draft.from, draft.until) = (from, until);
        }
        self.crl_dates = (from, until);
        self
    }

    pub fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The root, the report and its collateral.
    pub fn build(&self) -> (Vec<u8>, Evidence, Collateral) {
        let [ark, ask] = [0, 1].map(Key::rsa);
        let key = Key::p384(6);
        let mut endorsement = self.endorsement.clone();
        let amd = |suffix: &str, value: &[u8]| extension(&format!("1.3.6.1.4.1.3704.1.{suffix}"), value);
        endorsement.extensions.push(amd("2", &tlv(0x16, self.product)));
        endorsement
            .extensions
            .extend(self.spl.iter().map(|(id, number)| amd(&format!("3.{id}"), &integer(u64::from(*number)))));
        endorsement.extensions.extend(self.hardware_id.iter().map(|id| amd("4", id)));
        endorsement.extensions.extend(self.provider.map(|provider| amd("5", &tlv(0x16, provider))));

        let mut signature = Key::p384(self.report_key).sign(&self.report);
        let (r, s) = signature.split_at_mut(48);
        r.reverse();
        s.reverse();
        let mut report = self.report.clone();
        report.resize(0x4a0, 0);
        report[0x2a0..0x2d0].copy_from_slice(r);
        report[0x2e8..0x318].copy_from_slice(s);

        let collateral = SevSnpCollateral {
            intermediate: self.ask.sign(&ask, &ark),
            crl: self.crl.as_ref().map(|revoked| {
                let key = Key::rsa(self.crl_key);
                list_with(self.crl_issuer, &key, revoked, self.crl_dates, &self.crl_extensions)
            }),
        };
        let evidence = Evidence::SevSnp { report, endorsement: endorsement.sign(&key, &ask) };
        (self.ark.sign(&ark, &ark), evidence, Collateral::SevSnp(collateral))
    }
}
