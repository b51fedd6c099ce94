//! What a verification found, for people and for programs: one text for the CLI, the SDK and browsers.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Claim, ClaimStatus, Error, Hardware, Measurements, SigningKey, UnixSeconds, VerifiedEvidence};

/// The outcome of a verification at the time `at` as JSON: what `phala verify evidence --json` prints.
///
/// Refused evidence has `accepted`, `at` and `reason`; of accepted evidence there is everything but its statement.
pub fn verification(outcome: Result<&VerifiedEvidence, &Error>, at: UnixSeconds) -> Value {
    let verified = match outcome {
        Ok(verified) => verified,
        Err(error) => return json!({ "accepted": false, "at": at, "reason": error.to_string() }),
    };
    let platform = verified.platform();
    let measurements = measurements(verified.measurements()).into_iter();
    json!({
        "accepted": true,
        "at": at,
        "kind": verified.kind(),
        "measurement": hex(&verified.measurement().0),
        "measurements": measurements.map(|(name, value)| (name.into(), value.into())).collect::<serde_json::Map<_, _>>(),
        "report_data": hex(verified.report_data()),
        "platform": platform.id.map(|id| hex(&id.0)),
        "hardware": hardware_name(&platform.hardware),
        "family": verified.platform().hardware.family().to_string(),
        "tier": verified.tier(),
        "tcb_status": verified.tcb().status,
        "advisories": verified.tcb().advisories,
        "tcb_evaluation_number": verified.tcb().evaluation_number,
        "valid_until": verified.valid_until(),
        "checks": checks(verified),
    })
}

/// Bytes as `0x` and hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", ::hex::encode(bytes))
}

/// One link of a chain of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is claimed.
    pub claim: String,
    /// Whether it was checked.
    pub status: ClaimStatus,
    /// What exactly, or why not.
    pub detail: String,
}

impl Check {
    /// A claim that holds.
    pub fn checked(claim: &str, detail: impl Into<String>) -> Self {
        Self { claim: claim.into(), status: ClaimStatus::Checked, detail: detail.into() }
    }

    /// A claim that nobody looked at.
    pub fn not_checked(claim: &str, detail: impl Into<String>) -> Self {
        Self { claim: claim.into(), status: ClaimStatus::NotChecked, detail: detail.into() }
    }
}

/// Every claim of evidence: whether it was checked, and what exactly, or why not.
pub fn checks(evidence: &VerifiedEvidence) -> Vec<Check> {
    let check = |(claim, status): &(Claim, ClaimStatus)| Check {
        claim: claim_name(*claim).into(),
        status: *status,
        detail: claim_detail(evidence, *claim, *status),
    };
    evidence.claims().iter().map(check).collect()
}

fn claim_name(claim: Claim) -> &'static str {
    match claim {
        Claim::CertificateChain => "certificate-chain",
        Claim::Validity => "validity",
        Claim::Revocation => "revocation",
        Claim::QuoteSignature => "quote-signature",
        Claim::QuotingEnclave => "quoting-enclave",
        Claim::Tcb => "tcb",
        Claim::Advisories => "advisories",
        Claim::TdxModule => "tdx-module",
        Claim::NotDebug => "not-debug",
        Claim::NotMigratable => "not-migratable",
        Claim::PlatformConfiguration => "platform-configuration",
        Claim::PlatformIdentity => "platform-identity",
        Claim::ProductFamily => "product-family",
        Claim::PrivilegeLevel => "privilege-level",
        Claim::Measurement => "measurement",
        Claim::ReportData => "report-data",
        Claim::HardwareIsolation => "hardware-isolation",
        Claim::PhysicalCustody => "physical-custody",
    }
}

fn claim_detail(evidence: &VerifiedEvidence, claim: Claim, status: ClaimStatus) -> String {
    let hardware = &evidence.platform().hardware;
    let tcb = evidence.tcb();
    match (claim, status, hardware) {
        (Claim::CertificateChain, ..) if evidence.vendor().is_simulated() => {
            "up to the SIMULATED root that the chain's genesis names".into()
        }
        (Claim::CertificateChain, _, Hardware::Intel { .. }) => {
            "PCK certificate ← PCK CA ← Intel SGX Root CA, pinned".into()
        }
        (Claim::CertificateChain, _, Hardware::Amd { generation, signing_key, .. }) => {
            let (key, intermediate) = match signing_key {
                SigningKey::Vcek => ("VCEK", "ASK"),
                SigningKey::Vlek => ("VLEK", "ASVK"),
            };
            format!("{key} ← {intermediate} ← ARK-{generation:?}, pinned")
        }
        (Claim::CertificateChain, _, Hardware::Simulated { .. }) => String::new(),
        (Claim::Validity, ..) => format!("every certificate and document, until {}", evidence.valid_until()),
        (Claim::Revocation, ClaimStatus::Checked, _) => "no certificate is on its issuer's current list".into(),
        (Claim::Revocation, _, Hardware::Simulated { .. }) => "the simulated vendor revokes nothing".into(),
        (Claim::Revocation, ..) => "no revocation list was given".into(),
        (Claim::QuoteSignature, _, Hardware::Intel { .. }) => {
            "quote ← attestation key ← quoting enclave ← PCK certificate".into()
        }
        (Claim::QuoteSignature, ..) => "report ← certified key".into(),
        (Claim::QuotingEnclave, ..) => "as in Intel's signed QE identity".into(),
        (Claim::Tcb, ..) => match (&tcb.status, tcb.evaluation_number, hardware) {
            (Some(status), Some(number), _) => format!("{status:?}, by evaluation {number}"),
            (_, _, Hardware::Simulated { tcb_level, .. }) => format!("SIMULATED level {tcb_level}"),
            _ => "not below the policy's minimum".into(),
        },
        (Claim::Advisories, ..) if tcb.advisories.is_empty() => "none".into(),
        (Claim::Advisories, ..) => tcb.advisories.join(", "),
        (Claim::TdxModule, ..) => "as in Intel's signed TCB info".into(),
        (Claim::NotDebug, ..) => "its host cannot read it by debugging".into(),
        (Claim::NotMigratable, ..) => "it cannot be moved to another platform".into(),
        (Claim::PlatformConfiguration, ClaimStatus::Checked, _) => "as the policy allows".into(),
        (Claim::PlatformConfiguration, ..) => "the certificate does not say".into(),
        (Claim::PlatformIdentity, ..) => match evidence.platform().id {
            Some(id) => hex(&id.0),
            None => "the key identifies no chip".into(),
        },
        (Claim::ProductFamily, ..) => hardware_name(hardware),
        (Claim::PrivilegeLevel, ..) => match evidence.measurements() {
            Measurements::SevSnp { vmpl, .. } => format!("VMPL {vmpl}"),
            Measurements::Sgx { .. } | Measurements::Tdx { .. } | Measurements::Simulated(_) => String::new(),
        },
        (Claim::Measurement, ..) => "compare the image with the one that you built".into(),
        (Claim::ReportData, ClaimStatus::Checked, _) => "it is the hash of the statement".into(),
        (Claim::ReportData, ..) => "compare with what the guest should have bound, and is fresh".into(),
        (Claim::HardwareIsolation, ..) => {
            "SIMULATED: there is no TEE; whoever runs the host can read everything".into()
        }
        (Claim::PhysicalCustody, ..) => "no vendor gives means to: WireTap, Battering RAM, TEE.fail".into(),
    }
}

/// The hardware that signed evidence, for people.
pub fn hardware_name(hardware: &Hardware) -> String {
    match hardware {
        Hardware::Intel { fmspc, .. } => format!("FMSPC {}", ::hex::encode_upper(fmspc)),
        Hardware::Amd { product, provider, .. } => match provider {
            Some(provider) => format!("{product}, key given to {provider}"),
            None => product.clone(),
        },
        Hardware::Simulated { vendor, .. } => format!("SIMULATED {vendor}"),
    }
}

/// What was measured, in the vendor's terms: hexadecimal, and numbers in decimal.
pub fn measurements(measurements: &Measurements) -> Vec<(&'static str, String)> {
    match measurements {
        Measurements::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_id } => [
            ("MRENCLAVE", hex(mr_enclave)),
            ("MRSIGNER", hex(mr_signer)),
            ("CONFIGID", hex(config_id)),
            ("ISVPRODID", isv_prod_id.to_string()),
            ("ISVSVN", isv_svn.to_string()),
        ]
        .into(),
        Measurements::Tdx {
            mr_td,
            rt_mrs: [rt_mr0, rt_mr1, rt_mr2, rt_mr3],
            mr_config_id,
            mr_owner,
            mr_owner_config,
        } => [
            ("MRTD", hex(mr_td)),
            ("RTMR0", hex(rt_mr0)),
            ("RTMR1", hex(rt_mr1)),
            ("RTMR2", hex(rt_mr2)),
            ("RTMR3", hex(rt_mr3)),
            ("MRCONFIGID", hex(mr_config_id)),
            ("MROWNER", hex(mr_owner)),
            ("MROWNERCONFIG", hex(mr_owner_config)),
        ]
        .into(),
        Measurements::SevSnp { measurement, host_data, id_key_digest, guest_svn, vmpl } => [
            ("MEASUREMENT", hex(measurement)),
            ("HOST_DATA", hex(host_data)),
            ("ID_KEY_DIGEST", hex(id_key_digest)),
            ("GUEST_SVN", guest_svn.to_string()),
            ("VMPL", vmpl.to_string()),
        ]
        .into(),
        Measurements::Simulated(measurement) => [("MEASUREMENT", hex(&measurement.0))].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collateral, Evidence, Policy, VendorName, mint, simulated, verify};

    #[test]
    fn every_claim_is_reported_by_the_name_that_it_has_in_json() {
        let root = simulated::development_root();
        let policy = Policy { simulated_root: Some(root.public()), ..Policy::default() };
        let report = simulated::Report { measurement: crate::Measurement([9; 32]), debug: false, report_data: [7; 64] };
        let platform = root.certify([7; 32], VendorName::DEVELOPMENT, 1, mint::VALID_FROM, mint::VALID_UNTIL);
        let evidence = Evidence::Simulated(platform.quote(report));
        let verified = verify(&evidence, &Collateral::None, &policy, mint::VALID_FROM).unwrap();
        let value = verification(Ok(&verified), mint::VALID_FROM);
        assert_eq!((&value["accepted"], &value["at"]), (&json!(true), &json!(mint::VALID_FROM)));
        assert_eq!(value["measurements"], json!({ "MEASUREMENT": hex(&[9; 32]) }));
        let names: Vec<_> = verified.claims().iter().map(|(claim, status)| (json!(claim), json!(status))).collect();
        let reported = value["checks"].as_array().unwrap().iter();
        assert_eq!(reported.map(|check| (check["claim"].clone(), check["status"].clone())).collect::<Vec<_>>(), names);
    }

    #[test]
    fn a_refusal_has_its_reason_and_nothing_else() {
        let value = verification(Err(&Error::Debug), 5);
        assert_eq!(value, json!({ "accepted": false, "at": 5, "reason": Error::Debug.to_string() }));
    }
}
