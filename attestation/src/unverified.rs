//! What evidence says before anything of it is verified.

use crate::{Error, Evidence, Measurements, dcap, sev_snp};

/// What evidence says of itself. NOT VERIFIED: anybody can make evidence that says anything.
///
/// It is for an enclave that reads what its own platform has just given it, and for people who look at evidence.
/// [`VerifiedEvidence`](crate::VerifiedEvidence) is what to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// What the TEE measured.
    pub measurements: Measurements,
    /// What the evidence binds.
    pub report_data: [u8; 64],
}

impl Unverified {
    /// Reads evidence whose frame is right.
    ///
    /// # Errors
    /// What is wrong with the frame.
    pub fn parse(evidence: &Evidence) -> Result<Self, Error> {
        let (measurements, report_data) = match evidence {
            Evidence::Dcap { quote, .. } => dcap::parse_unverified(quote)?,
            Evidence::SevSnp { report, .. } => sev_snp::parse_unverified(report)?,
            Evidence::Simulated(quote) => (Measurements::Simulated(quote.report.measurement), quote.report.report_data),
        };
        Ok(Self { measurements, report_data })
    }
}

#[cfg(all(test, feature = "mint"))]
mod tests {
    use super::*;
    use crate::{Policy, collect_collateral, mint, required_documents, verify};

    #[test]
    fn what_is_read_is_what_is_verified_later() {
        let policy = Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() };
        for (evidence, documents) in [mint::sgx(&[1; 64]), mint::tdx(&[2; 64]), mint::sev_snp(&[3; 64])] {
            let kept: Vec<_> = required_documents(&evidence).unwrap().into_iter().zip(documents).collect();
            let find = |id| kept.iter().find(|(kept, _)| *kept == id).map(|(_, document)| document.clone());
            let collateral = collect_collateral(&evidence, find).unwrap();
            let verified = verify(&evidence, &collateral, &policy, mint::VALID_FROM).unwrap();
            let unverified = Unverified::parse(&evidence).unwrap();
            assert_eq!(&unverified.measurements, verified.measurements());
            assert_eq!(&unverified.report_data, verified.report_data());
        }
    }

    #[test]
    fn a_wrong_frame_is_refused() {
        let (Evidence::Dcap { mut quote, .. }, _) = mint::sgx(&[1; 64]) else { panic!("SGX has DCAP") };
        quote.push(1);
        assert!(Unverified::parse(&Evidence::Dcap { quote, pck_chain: None }).is_err());
        assert!(Unverified::parse(&Evidence::SevSnp { report: vec![3; 5], endorsement: vec![] }).is_err());
    }
}
