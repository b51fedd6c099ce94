//! The simulated vendor: structurally complete evidence without any hardware behind it.
//!
//! A root key certifies a platform key; the platform key signs a report. The chain of trust is the same as a real
//! vendor's, so that everything around it is exercised; what it proves about isolation is nothing, and
//! [`Claim::HardwareIsolation`] is always [`ClaimStatus::NotChecked`].

use alloc::vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use ed25519_dalek::{Signature, VerifyingKey};
use scale_info::TypeInfo;

use crate::{
    Claim, ClaimStatus, Document, Error, Hardware, Kind, Measurement, Measurements, PlatformId, Tcb, Tier, UnixSeconds,
    VendorName, VerifiedEvidence,
};

/// The version of [`Quote`] that this module makes and verifies.
pub const VERSION: u16 = 2;

/// Evidence of the simulated vendor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Quote {
    /// Always [`VERSION`].
    pub version: u16,
    /// What the root says of the platform.
    pub certificate: Certificate,
    /// The root's Ed25519 signature over the certificate.
    pub certificate_signature: [u8; 64],
    /// What the platform says of the enclave.
    pub report: Report,
    /// The platform key's Ed25519 signature over the report.
    pub report_signature: [u8; 64],
}

/// A platform's identity, certified by the simulated root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Certificate {
    /// The platform: of this key and this vendor.
    pub platform: PlatformId,
    /// Who is said to have made it.
    pub vendor: VendorName,
    /// The platform's Ed25519 public key.
    pub platform_key: [u8; 32],
    /// The platform's TCB level. Level 0 is out of date and refused.
    pub tcb_level: u16,
    /// Start of validity, inclusive.
    pub not_before: UnixSeconds,
    /// End of validity, exclusive.
    pub not_after: UnixSeconds,
}

/// What runs in the enclave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Report {
    /// The image.
    pub measurement: Measurement,
    /// Whether the enclave was started in debug mode.
    pub debug: bool,
    /// Chosen by the enclave: the hash of its statement.
    pub report_data: [u8; 64],
}

impl Certificate {
    fn signed_bytes(&self) -> alloc::vec::Vec<u8> {
        (b"phala/simulated/certificate/v2", self).encode()
    }
}

impl Report {
    fn signed_bytes(&self) -> alloc::vec::Vec<u8> {
        (b"phala/simulated/report/v1", self).encode()
    }
}

pub(crate) fn verify(quote: &Quote, root: &[u8; 32], now: UnixSeconds) -> Result<VerifiedEvidence, Error> {
    if quote.version != VERSION {
        return Err(Error::QuoteVersion(quote.version.into()));
    }
    let certificate = &quote.certificate;
    check_signature(root, &certificate.signed_bytes(), &quote.certificate_signature)
        .map_err(|()| Error::Chain(Document::SimulatedPlatform))?;
    if now < certificate.not_before {
        return Err(Error::NotYetValid(Document::SimulatedPlatform));
    }
    if now >= certificate.not_after {
        return Err(Error::Expired(Document::SimulatedPlatform));
    }
    if certificate.tcb_level == 0 {
        return Err(Error::TcbTooOld);
    }
    check_signature(&certificate.platform_key, &quote.report.signed_bytes(), &quote.report_signature)
        .map_err(|()| Error::QuoteSignature)?;
    if quote.report.debug {
        return Err(Error::Debug);
    }
    Ok(VerifiedEvidence {
        kind: Kind::Simulated,
        simulated: true,
        measurements: Measurements::Simulated(quote.report.measurement),
        platform: crate::Platform {
            id: Some(certificate.platform),
            hardware: Hardware::Simulated { vendor: certificate.vendor, tcb_level: certificate.tcb_level },
        },
        tier: Tier::Full,
        tcb: Tcb { status: None, advisories: vec![], evaluation_number: None },
        report_data: quote.report.report_data,
        valid_until: certificate.not_after,
        claims: vec![
            (Claim::CertificateChain, ClaimStatus::Checked),
            (Claim::Validity, ClaimStatus::Checked),
            (Claim::Revocation, ClaimStatus::NotChecked),
            (Claim::QuoteSignature, ClaimStatus::Checked),
            (Claim::Tcb, ClaimStatus::Checked),
            (Claim::NotDebug, ClaimStatus::Checked),
            (Claim::PlatformIdentity, ClaimStatus::Checked),
            (Claim::Measurement, ClaimStatus::NotChecked),
            (Claim::ReportData, ClaimStatus::NotChecked),
            (Claim::HardwareIsolation, ClaimStatus::NotChecked),
        ],
    })
}

/// Strict verification: refuses small-order keys and non-canonical signatures.
fn check_signature(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), ()> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| ())?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| ())
}

#[cfg(feature = "mint")]
pub use mint::{Platform, Root, development_root};

/// Making evidence: what a vendor's factory and hardware would do.
#[cfg(feature = "mint")]
mod mint {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use sha2::{Digest, Sha256};

    /// The root of development networks. Its secret is public: whoever runs such a network trusts everybody.
    pub fn development_root() -> Root {
        Root::from_seed(Sha256::digest(b"phala/simulated/development-root").into())
    }

    /// The simulated vendor's root key.
    pub struct Root(SigningKey);

    impl Root {
        /// A root from its secret seed.
        pub fn from_seed(seed: [u8; 32]) -> Self {
            Self(SigningKey::from_bytes(&seed))
        }

        /// The public key that a chain's genesis names.
        pub fn public(&self) -> [u8; 32] {
            self.0.verifying_key().to_bytes()
        }

        /// Certifies a platform made from `seed` as `vendor`'s.
        pub fn certify(
            &self,
            seed: [u8; 32],
            vendor: VendorName,
            tcb_level: u16,
            not_before: UnixSeconds,
            not_after: UnixSeconds,
        ) -> Platform {
            let key = SigningKey::from_bytes(&seed);
            let platform_key = key.verifying_key().to_bytes();
            let platform = PlatformId(
                Sha256::new_with_prefix(b"phala/simulated/platform/v2")
                    .chain_update(vendor.encode())
                    .chain_update(platform_key)
                    .finalize()
                    .into(),
            );
            let certificate = Certificate { platform, vendor, platform_key, tcb_level, not_before, not_after };
            let certificate_signature = self.0.sign(&certificate.signed_bytes()).to_bytes();
            Platform { key, certificate, certificate_signature }
        }
    }

    /// A certified platform, which signs reports.
    pub struct Platform {
        key: SigningKey,
        certificate: Certificate,
        certificate_signature: [u8; 64],
    }

    impl Platform {
        /// The platform's identity.
        pub fn id(&self) -> PlatformId {
            self.certificate.platform
        }

        /// Signs a report of an enclave.
        pub fn quote(&self, report: Report) -> Quote {
            let report_signature = self.key.sign(&report.signed_bytes()).to_bytes();
            Quote {
                version: VERSION,
                certificate: self.certificate.clone(),
                certificate_signature: self.certificate_signature,
                report,
                report_signature,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collateral, Evidence, Policy, Role, Statement, Vendor};

    const NOW: UnixSeconds = 1_800_000_000;

    fn statement() -> Statement {
        Statement {
            role: Role::Worker,
            signing_key: [1; 32],
            encryption_key: [2; 32],
            genesis_hash: [3; 32],
            operator: [4; 32],
            block_number: 6,
            block_hash: [5; 32],
        }
    }

    fn report() -> Report {
        Report { measurement: Measurement([9; 32]), debug: false, report_data: statement().report_data() }
    }

    fn platform(tcb_level: u16) -> Platform {
        development_root().certify([7; 32], VendorName::DEVELOPMENT, tcb_level, NOW - 10, NOW + 10)
    }

    fn check(quote: Quote, now: UnixSeconds) -> Result<crate::Verdict, Error> {
        let policy = Policy { simulated_root: Some(development_root().public()), ..Policy::default() };
        crate::verify(&Evidence::Simulated(quote), &Collateral::default(), &policy, now)?.bind(&statement())
    }

    #[test]
    fn good_evidence_gives_a_verdict() {
        let platform = platform(1);
        let verdict = check(platform.quote(report()), NOW).unwrap();
        assert_eq!(verdict.measurement(), Measurement([9; 32]));
        assert_eq!(verdict.platform(), platform.id());
        assert_eq!(verdict.valid_until(), NOW + 10);
        assert!(verdict.claims().contains(&(Claim::HardwareIsolation, ClaimStatus::NotChecked)));
    }

    #[test]
    fn a_chain_without_a_simulated_root_refuses() {
        let evidence = Evidence::Simulated(platform(1).quote(report()));
        let verified = crate::verify(&evidence, &Collateral::default(), &Policy::default(), NOW);
        assert_eq!(verified, Err(Error::SimulatedForbidden));
    }

    #[test]
    fn each_failed_check_has_its_error() {
        let good = platform(1).quote(report());
        assert_eq!(check(Quote { version: 1, ..good.clone() }, NOW), Err(Error::QuoteVersion(1)));
        assert_eq!(check(good.clone(), NOW - 11), Err(Error::NotYetValid(Document::SimulatedPlatform)));
        assert_eq!(check(good.clone(), NOW + 10), Err(Error::Expired(Document::SimulatedPlatform)));
        assert_eq!(check(platform(0).quote(report()), NOW), Err(Error::TcbTooOld));
        assert_eq!(check(platform(1).quote(Report { debug: true, ..report() }), NOW), Err(Error::Debug));
        let other = Report { report_data: [0; 64], ..report() };
        assert_eq!(check(platform(1).quote(other), NOW), Err(Error::StatementMismatch));
        let forged =
            Root::from_seed([1; 32]).certify([7; 32], VendorName::DEVELOPMENT, 1, NOW - 10, NOW + 10).quote(report());
        assert_eq!(check(forged, NOW), Err(Error::Chain(Document::SimulatedPlatform)));
    }

    #[test]
    fn a_platform_is_of_one_vendor() {
        let of = |name: &str| development_root().certify([7; 32], name.parse().unwrap(), 1, 0, u64::MAX);
        assert_eq!(of("a").id(), of("a").id());
        assert_ne!(of("a").id(), of("b").id());
        let verdict = check(of("b").quote(report()), NOW).unwrap();
        assert_eq!(verdict.vendor(), Vendor::Simulated("b".parse().unwrap()));
    }

    /// Every byte of the encoding is covered by a check.
    #[test]
    fn no_byte_can_change_unnoticed() {
        let bytes = platform(1).quote(report()).encode();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[index] ^= 1 << bit;
                if let Ok(quote) = Quote::decode(&mut &changed[..]) {
                    assert!(check(quote, NOW).is_err(), "byte {index} bit {bit}");
                }
            }
        }
    }
}
