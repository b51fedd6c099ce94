//! Each check by itself: forged evidence whose signatures all hold, with one thing wrong, is refused for that thing.

use super::{
    evidence::cloud,
    forge::{Dcap, END, Key, NOW, OTHER, START, Snp, critical, key_usage, list},
};
use crate::{platform::platform_id, roots::Roots, *};
use sha2::{Digest, Sha256};

/// Before and after [`NOW`], within the validity of everything else.
const EARLIER: UnixSeconds = START + 300;
const LATER: UnixSeconds = START + 7200;

/// As lenient as a policy can be.
fn anything_goes() -> Policy {
    let mut policy = cloud();
    policy.dcap.allowed_statuses = vec![
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::TDRelaunchAdvised,
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
        TcbStatus::Revoked,
    ];
    policy.dcap.allowed_advisories = None;
    policy.sev_snp.allowed_vmpls = vec![0, 1, 2, 3];
    policy
}

#[test]
fn good_evidence_passes_the_strictest_policy_while_it_is_valid() {
    for forged in [Dcap::sgx(), Dcap::tdx(), Dcap::tdx_15()] {
        let verify = |now| forged.verify(&Policy::default(), now);
        assert_eq!(verify(START).unwrap().valid_until(), END - 1, "the lists end first");
        assert!(verify(END - 1).is_ok());
        assert!(matches!(verify(END), Err(Error::Expired(_))));
        assert!(matches!(verify(START - 1), Err(Error::NotYetValid(_))));
    }
    let verify = |now| Snp::milan().verify(&Policy::default(), now);
    assert_eq!(verify(START).unwrap().valid_until(), END - 1, "the lists end first");
    assert_eq!(verify(END), Err(Error::Expired(Document::AmdCrl)));
    assert_eq!(verify(START - 1), Err(Error::NotYetValid(Document::AmdIntermediate)));
    assert_eq!(verify(END + 1), Err(Error::Expired(Document::AmdIntermediate)));
}

/// A weaker tier takes what the best one does not; what no tier takes has the error of the last.
#[test]
fn a_platform_is_of_the_best_tier_that_takes_it() {
    let dcap = |statuses: &[TcbStatus]| DcapPolicy { allowed_statuses: statuses.to_vec(), ..DcapPolicy::default() };
    let limited = Requirements {
        dcap: dcap(&[TcbStatus::UpToDate, TcbStatus::OutOfDate]),
        sev_snp: SevSnpPolicy { allow_smt: true, ..SevSnpPolicy::default() },
    };
    let (policy, strict) = (Policy { limited: Some(limited), ..Policy::default() }, Policy::default());
    let sgx = |status: &str| Dcap::sgx().tcb_info("UpToDate", status);
    let tier = |forged: &Dcap, policy: &Policy| forged.verify(policy, NOW).map(|verified| verified.tier());
    assert_eq!(tier(&sgx("UpToDate"), &policy), Ok(Tier::Full));
    assert_eq!(tier(&sgx("OutOfDate"), &policy), Ok(Tier::Limited));
    assert_eq!(tier(&sgx("OutOfDate"), &strict), Err(Error::TcbStatus(TcbStatus::OutOfDate)));
    let configuration = TcbStatus::ConfigurationNeeded;
    assert_eq!(tier(&sgx("ConfigurationNeeded"), &policy), Err(Error::TcbStatus(configuration)));
    assert_eq!(tier(&sgx("Revoked"), &policy), Err(Error::TcbRevoked));

    // What is denied is so for every tier.
    let mut denying = policy.clone();
    denying.dcap.denied_advisories = vec!["INTEL-SA-00615".into()];
    let advisory = r#"OutOfDate","advisoryIDs":["INTEL-SA-00615"]"#;
    let forged = Dcap::sgx().tcb_info(r#"UpToDate""#, advisory);
    assert_eq!(tier(&forged, &denying), Err(Error::Advisory("INTEL-SA-00615".into())));
    let mut newer = policy.clone();
    newer.dcap.minimum_evaluation_number = 21;
    assert_eq!(tier(&sgx("OutOfDate"), &newer), Err(Error::EvaluationNumber(20)));

    let smt = Snp::milan().change(|snp| snp.report[0x0a] |= 1);
    let tier = |forged: &Snp, policy: &Policy| forged.verify(policy, NOW).map(|verified| verified.tier());
    assert_eq!(tier(&Snp::milan(), &policy), Ok(Tier::Full));
    assert_eq!(tier(&smt, &policy), Ok(Tier::Limited));
    assert_eq!(tier(&smt, &strict), Err(Error::Smt));
    let debug = Snp::milan().change(|snp| snp.report[0x0a] |= 8);
    assert_eq!(tier(&debug, &policy), Err(Error::Debug));
    let no_list = smt.change(|snp| snp.crl = None);
    assert_eq!(tier(&no_list, &policy), Err(Error::CrlMissing));
}

#[test]
fn dcap_checks_have_their_errors() {
    use Document as D;
    use Error as E;
    let status = |status: &str| format!(r#""tcbStatus":"{status}""#);
    let up_to_date = status("UpToDate");
    let advisory = format!(r#"{up_to_date},"advisoryIDs":["INTEL-SA-00615"]"#);
    let sgx = |change: fn(&mut Dcap)| Dcap::sgx().change(change);
    let tdx = |change: fn(&mut Dcap)| Dcap::tdx().change(change);
    let tdx_15 = |change: fn(&mut Dcap)| Dcap::tdx_15().change(change);
    let info = |from: &str, to: &str| Dcap::sgx().tcb_info(from, to);
    let module = |from: &str, to: &str| Dcap::tdx().tcb_info(from, to);
    let qe = |from: &str, to: &str| Dcap::sgx().qe_identity(from, to);
    let module_up_to_date = format!(r#"{{"tcb":{{"isvsvn":2}},"tcbDate":"2026-01-01T00:00:00Z",{up_to_date}}}"#);
    let older = module_up_to_date.replace(r#""isvsvn":2"#, r#""isvsvn":1"#).replace("UpToDate", "OutOfDate");
    let module_with_older = format!("{module_up_to_date},{older}");
    let cases = [
        // The frame.
        ("version", sgx(|d| d.version = 2), E::QuoteVersion(2)),
        ("version", sgx(|d| d.version = 6), E::QuoteVersion(6)),
        ("SGX in version 4", sgx(|d| d.version = 4), E::QuoteKind),
        ("TDX in version 3", tdx(|d| d.version = 3), E::QuoteKind),
        ("TEE type", tdx(|d| d.tee = 5), E::QuoteKind),
        ("key type", sgx(|d| d.key_type = 3), E::QuoteKind),
        ("SGX body in TDX", tdx_15(|d| d.body_type = 1), E::QuoteKind),
        ("body type", tdx_15(|d| d.body_type = 9), E::QuoteKind),
        ("body size", tdx_15(|d| d.body_type = 2), E::QuoteFrame),
        ("certification data around the QE report", tdx(|d| d.outer_type = 5), E::QuoteFrame),
        ("certification data", sgx(|d| d.certification_type = 1), E::QuoteFrame),
        ("QE data", sgx(|d| d.qe_data.truncate(31)), E::QuoteFrame),
        ("no certificates", sgx(|d| d.certification_type = 3), E::PckChainMissing),
        // Signatures.
        ("quote's signature", sgx(|d| d.attestation_key = OTHER), E::QuoteSignature),
        (
            "attestation key",
            sgx(|d| (d.attestation_key, d.claimed_attestation_key) = (OTHER, OTHER)),
            E::AttestationKey,
        ),
        ("QE report's signature", sgx(|d| d.qe_report_key = OTHER), E::QeReportSignature),
        // Certificates and lists.
        ("root expired", sgx(|d| d.root.until = EARLIER), E::Expired(D::IntelRoot)),
        ("CA expired", sgx(|d| d.ca.until = EARLIER), E::Expired(D::PckCa)),
        ("PCK expired", sgx(|d| d.pck.until = EARLIER), E::Expired(D::Pck)),
        ("signer expired", sgx(|d| d.tcb_info_signer.until = EARLIER), E::Expired(D::TcbInfoSigner)),
        ("signer expired", sgx(|d| d.qe_identity_signer.until = EARLIER), E::Expired(D::QeIdentitySigner)),
        ("root CRL expired", sgx(|d| d.crl_until[0] = EARLIER), E::Expired(D::RootCaCrl)),
        ("PCK CRL expired", sgx(|d| d.crl_until[1] = EARLIER), E::Expired(D::PckCrl)),
        ("root not yet", sgx(|d| d.root.from = LATER), E::NotYetValid(D::IntelRoot)),
        ("CA not yet", sgx(|d| d.ca.from = LATER), E::NotYetValid(D::PckCa)),
        ("PCK not yet", sgx(|d| d.pck.from = LATER), E::NotYetValid(D::Pck)),
        ("signer not yet", sgx(|d| d.tcb_info_signer.from = LATER), E::NotYetValid(D::TcbInfoSigner)),
        ("signer not yet", sgx(|d| d.qe_identity_signer.from = LATER), E::NotYetValid(D::QeIdentitySigner)),
        ("root CRL not yet", sgx(|d| d.crl_from[0] = LATER), E::NotYetValid(D::RootCaCrl)),
        ("PCK CRL not yet", sgx(|d| d.crl_from[1] = LATER), E::NotYetValid(D::PckCrl)),
        ("root's name", sgx(|d| d.root.subject = "Intel"), E::Mismatch(D::IntelRoot)),
        ("CA's name", sgx(|d| d.ca.subject = "Intel"), E::Mismatch(D::PckCa)),
        ("PCK's name", sgx(|d| d.pck.subject = "Intel"), E::Mismatch(D::Pck)),
        ("signer's name", sgx(|d| d.tcb_info_signer.subject = "Intel"), E::Mismatch(D::TcbInfoSigner)),
        ("signer's name", sgx(|d| d.qe_identity_signer.subject = "Intel"), E::Mismatch(D::QeIdentitySigner)),
        ("CA is none", sgx(|d| d.ca.authority = false), E::IntelChain),
        ("CA of another", sgx(|d| d.ca.issuer = "Another Root CA"), E::IntelChain),
        ("PCK of another", sgx(|d| d.pck.issuer = "Intel SGX PCK Processor CA"), E::IntelChain),
        ("signer is a CA", sgx(|d| d.tcb_info_signer.authority = true), E::IntelChain),
        ("PCK revoked", sgx(|d| d.revoked_by_ca = vec![6, 7]), E::Revoked),
        ("CA revoked", sgx(|d| (d.ca.serial, d.revoked_by_root) = (8, vec![8])), E::Revoked),
        ("signer revoked", sgx(|d| (d.tcb_info_signer.serial, d.revoked_by_root) = (9, vec![9])), E::Revoked),
        ("signer revoked", sgx(|d| (d.qe_identity_signer.serial, d.revoked_by_root) = (9, vec![9])), E::Revoked),
        ("root revoked", sgx(|d| (d.root.serial, d.revoked_by_root) = (9, vec![9])), E::Revoked),
        // QE identity.
        ("QE's signer", sgx(|d| d.qe_report[128] ^= 1), E::QuotingEnclave),
        ("QE's product", sgx(|d| d.qe_report[256] ^= 1), E::QuotingEnclave),
        ("QE's debug mode", sgx(|d| d.qe_report[48] |= 2), E::QuotingEnclave),
        ("QE's attributes", sgx(|d| d.qe_report[48] |= 0x20), E::QuotingEnclave),
        ("QE's MISCSELECT", sgx(|d| d.qe_report[16] ^= 1), E::QuotingEnclave),
        ("QE's version", sgx(|d| d.qe_report[258] = 3), E::TcbTooOld),
        ("identity of TDX", qe(r#""QE""#, r#""TD_QE""#), E::Mismatch(D::QeIdentity)),
        ("identity's version", qe(r#""version":2"#, r#""version":1"#), E::Mismatch(D::QeIdentity)),
        ("identity not yet", qe("2027-01-15T08", "2027-01-15T10"), E::NotYetValid(D::QeIdentity)),
        ("identity expired", qe("2027-01-16", "2027-01-15"), E::Expired(D::QeIdentity)),
        ("identity malformed", qe("isvprodid", "isvprod"), E::Malformed(D::QeIdentity)),
        ("QE out of date", qe(&up_to_date, &status("OutOfDate")), E::TcbStatus(TcbStatus::OutOfDate)),
        ("QE revoked", qe(&up_to_date, &status("Revoked")), E::TcbRevoked),
        ("QE's advisory", qe(&up_to_date, &advisory), E::Advisory("INTEL-SA-00615".into())),
        ("QE's number", qe(r#"Number":20"#, r#"Number":16"#), E::EvaluationNumber(16)),
        // TCB info.
        ("platform", sgx(|d| d.fmspc[0] = 1), E::Mismatch(D::TcbInfo)),
        ("PCE", info(r#""pceId":"0000""#, r#""pceId":"0001""#), E::Mismatch(D::TcbInfo)),
        ("TCB type", info(r#""tcbType":0"#, r#""tcbType":1"#), E::Mismatch(D::TcbInfo)),
        ("TCB info of TDX", info(r#""SGX""#, r#""TDX""#), E::Mismatch(D::TcbInfo)),
        ("TCB info of SGX", module(r#""TDX""#, r#""SGX""#), E::Mismatch(D::TcbInfo)),
        ("TCB info not yet", info("2027-01-15T08", "2027-01-15T10"), E::NotYetValid(D::TcbInfo)),
        ("TCB info expired", info("2027-01-16", "2027-01-15"), E::Expired(D::TcbInfo)),
        ("TCB info malformed", info("tcbLevels", "levels"), E::Malformed(D::TcbInfo)),
        ("TCB info's number", info(r#"Number":20"#, r#"Number":16"#), E::EvaluationNumber(16)),
        ("CPU's version", sgx(|d| d.cpu_svn[15] = 1), E::TcbTooOld),
        ("PCE's version", sgx(|d| d.pce_svn = 10), E::TcbTooOld),
        ("out of date", info(&up_to_date, &status("OutOfDate")), E::TcbStatus(TcbStatus::OutOfDate)),
        ("hardening", info(&up_to_date, &status("SWHardeningNeeded")), E::TcbStatus(TcbStatus::SWHardeningNeeded)),
        (
            "configuration",
            info(&up_to_date, &status("ConfigurationNeeded")),
            E::TcbStatus(TcbStatus::ConfigurationNeeded),
        ),
        ("revoked", info(&up_to_date, &status("Revoked")), E::TcbRevoked),
        ("unknown status", info(&up_to_date, &status("Fine")), E::Malformed(D::TcbInfo)),
        ("advisory", info(&up_to_date, &advisory), E::Advisory("INTEL-SA-00615".into())),
        ("dynamic platform", sgx(|d| d.flags = Some([true, false, false])), E::DynamicPlatform),
        ("cached keys", sgx(|d| d.flags = Some([false, true, false])), E::CachedKeys),
        ("SMT", sgx(|d| d.flags = Some([false, false, true])), E::Smt),
        // The TDX module.
        ("module's signer", tdx(|d| d.body[64] ^= 1), E::TdxModule),
        ("module's attributes", tdx(|d| d.body[112] ^= 1), E::TdxModule),
        ("module's identity", tdx(|d| d.body[1] = 2), E::TdxModule),
        ("module too old", tdx(|d| d.body[0] = 1), E::TcbTooOld),
        ("TDX component too old", tdx(|d| d.body[2] = 1), E::TcbTooOld),
        ("module out of date", module(&up_to_date, &status("OutOfDate")), E::TcbStatus(TcbStatus::OutOfDate)),
        ("module revoked", module(&up_to_date, &status("Revoked")), E::TcbRevoked),
        ("module's advisory", module(&up_to_date, &advisory), E::Advisory("INTEL-SA-00615".into())),
        (
            "launched before an update",
            tdx_15(|d| d.body[0] = 1).tcb_info(&module_up_to_date, &module_with_older),
            E::TcbStatus(TcbStatus::TDRelaunchAdvised),
        ),
        ("current module too old", tdx_15(|d| d.body[584] = 1), E::TcbTooOld),
        // Attributes.
        ("SGX debug", sgx(|d| d.body[48] |= 2), E::Debug),
        ("TDX debug", tdx(|d| d.body[120] |= 1), E::Debug),
        ("TDX profiling", tdx(|d| d.body[120] |= 0x10), E::Profiling),
        ("TDX reserved", tdx(|d| d.body[120] |= 2), E::ReservedBits),
        ("TDX migration", tdx(|d| d.body[123] |= 0x20), E::Migratable),
        ("#VE", tdx(|d| d.body[123] &= !0x10), E::SeptVe),
        ("service TD's attribute", tdx_15(|d| d.body[122] |= 2), E::ServiceTd),
        ("service TD", tdx_15(|d| d.body[600] = 1), E::ServiceTd),
    ];
    for (name, forged, error) in &cases {
        assert_eq!(forged.verify(&Policy::default(), NOW).as_ref(), Err(error), "{name}");
    }
    eprintln!("DCAP: {}/{} signed wrongs refused for the right reason", cases.len(), cases.len());
}

#[test]
fn dcap_lists_are_of_their_issuers() {
    let refused = |change: fn(&mut DcapCollateral)| {
        let (intel, quote, collateral) = Dcap::sgx().build();
        let Collateral::Dcap(mut collateral) = collateral else { unreachable!() };
        change(&mut collateral);
        let roots = Roots { intel: &intel, ..Roots::PINNED };
        verify_under::<NoneKnown>(&roots, &quote, &Collateral::Dcap(collateral), &Policy::default(), NOW).unwrap_err()
    };
    // The key's seeds are those of the forged root (1) and CA (2).
    assert_eq!(
        refused(|c| c.pck_crl = list("Intel SGX PCK Platform CA", &Key::p256(OTHER), &[])),
        Error::DocumentSignature(Document::PckCrl)
    );
    assert_eq!(refused(|c| c.pck_crl = list("Another CA", &Key::p256(2), &[])), Error::Revoked);
    assert_eq!(
        refused(|c| c.root_ca_crl = list("Intel SGX Root CA", &Key::p256(OTHER), &[])),
        Error::DocumentSignature(Document::RootCaCrl)
    );
    assert_eq!(refused(|c| c.root_ca_crl = list("Another CA", &Key::p256(1), &[])), Error::Revoked);
    assert_eq!(refused(|c| c.root_ca_crl = c.pck_crl.clone()), Error::DocumentSignature(Document::RootCaCrl));
    assert_eq!(refused(|c| c.pck_crl = c.root_ca_crl.clone()), Error::Revoked);
}

#[test]
fn pck_certificates_may_come_with_the_collateral() {
    let (intel, without, collateral) = Dcap::tdx().change(|dcap| dcap.certification_type = 3).build();
    let (_, carrying, _) = Dcap::tdx().build();
    let (Evidence::Dcap { quote: without, .. }, Evidence::Dcap { quote: carrying, .. }) = (without, carrying) else {
        unreachable!()
    };
    let chain = dcap::parse_frame(&carrying).unwrap().chain.unwrap();
    let chain: Vec<_> = certificates::parse_pem(chain, 3).unwrap().into_iter().map(|pem| pem.der).collect();
    let roots = Roots { intel: &intel, ..Roots::PINNED };
    let verify = |quote: &[u8], pck: usize, ca: usize| {
        let evidence =
            Evidence::Dcap { quote: quote.to_vec(), pck_chain: Some((chain[pck].clone(), chain[ca].clone())) };
        verify_under::<NoneKnown>(&roots, &evidence, &collateral, &Policy::default(), NOW)
    };
    assert!(verify(&without, 0, 1).is_ok());
    assert!(verify(&carrying, 0, 1).is_ok());
    assert_eq!(verify(&without, 0, 0), Err(Error::Mismatch(Document::PckCa)));
    assert_eq!(verify(&carrying, 0, 0), Err(Error::Mismatch(Document::PckChain)));
}

#[test]
fn sev_snp_checks_have_their_errors() {
    use Document as D;
    use Error as E;
    let milan = |change: fn(&mut Snp)| Snp::milan().change(change);
    let cases = [
        // The report.
        ("version", milan(|s| s.report[0] = 1), E::QuoteVersion(1)),
        ("version", milan(|s| s.report[0] = 6), E::QuoteVersion(6)),
        ("signature's algorithm", milan(|s| s.report[0x34] = 2), E::QuoteKind),
        ("signature", milan(|s| s.report_key = 7), E::QuoteSignature),
        ("unsigned report", milan(|s| s.report[0x48] = 7 << 2), E::QuoteKind),
        ("VLEK's report", milan(|s| s.report[0x48] = 1 << 2), E::SigningKeyKind),
        ("debug", milan(|s| s.report[0x0a] |= 1 << 3), E::Debug),
        ("migration", milan(|s| s.report[0x0a] |= 1 << 2), E::Migratable),
        ("reserved one", milan(|s| s.report[0x0a] &= !(1 << 1)), E::ReservedBits),
        ("reserved zero", milan(|s| s.report[0x0b] |= 1 << 2), E::ReservedBits),
        ("reserved zero", milan(|s| s.report[0x0f] |= 1 << 7), E::ReservedBits),
        ("SMT", milan(|s| s.report[0x0a] |= 1), E::Smt),
        ("privilege level", milan(|s| s.report[0x30] = 1), E::Vmpl(1)),
        ("aliases", milan(|s| s.report[0x40] = 0), E::AliasCheck),
        // The platform.
        ("chip", milan(|s| s.report[0x1a0] ^= 1), E::ChipId),
        ("chip's end", milan(|s| s.report[0x1df] ^= 1), E::ChipId),
        ("reported TCB", milan(|s| s.report[0x180] += 1), E::CertificateTcb),
        ("reported TCB", milan(|s| s.report[0x186] += 1), E::CertificateTcb),
        ("reported TCB", milan(|s| s.report[0x187] += 1), E::CertificateTcb),
        ("certificate's TCB", milan(|s| s.spl[1].1 += 1), E::CertificateTcb),
        ("both below", milan(|s| (s.report[0x186], s.spl[2].1) = (23, 23)), E::BelowMinimumTcb),
        ("both below", milan(|s| (s.report[0x187], s.spl[3].1) = (216, 216)), E::BelowMinimumTcb),
        ("both below", milan(|s| (s.report[0x180], s.spl[0].1) = (3, 3)), E::BelowMinimumTcb),
        ("current below", milan(|s| s.report[0x3e] = 23), E::BelowMinimumTcb),
        ("committed below", milan(|s| s.report[0x1e6] = 23), E::BelowMinimumTcb),
        ("launch below", milan(|s| s.report[0x1f6] = 23), E::BelowMinimumTcb),
        ("CPU of Genoa", milan(|s| s.report[0x189] = 0x11), E::ProductFamily(Generation::Milan)),
        ("unknown CPU", milan(|s| s.report[0x188] = 0x17), E::QuoteKind),
        ("product of Genoa", milan(|s| s.product = "Genoa-B1"), E::ProductFamily(Generation::Milan)),
        ("product like Milan", milan(|s| s.product = "Milanese"), E::ProductFamily(Generation::Milan)),
        // Certificates.
        ("no SPL", milan(|s| s.spl.truncate(3)), E::Malformed(D::Endorsement)),
        ("SPL twice", milan(|s| s.spl.push((8, 220))), E::Malformed(D::Endorsement)),
        ("no chip", milan(|s| s.hardware_id = None), E::Malformed(D::Endorsement)),
        ("half a chip", milan(|s| s.hardware_id = Some(vec![0x44; 32])), E::Malformed(D::Endorsement)),
        ("chip of a provider", milan(|s| s.provider = Some("CN=cloud")), E::Malformed(D::Endorsement)),
        ("unknown key", milan(|s| s.endorsement.subject = "SEV-KEY"), E::Mismatch(D::Endorsement)),
        ("unknown generation", milan(|s| s.ask.subject = "SEV-Rome"), E::Mismatch(D::AmdIntermediate)),
        (
            "VCEK by an ASVK",
            milan(|s| (s.ask.subject, s.endorsement.issuer) = ("SEV-VLEK-Milan", "SEV-VLEK-Milan")),
            E::SigningKeyKind,
        ),
        ("ARK is none", milan(|s| s.ark.authority = false), E::Chain(D::AmdIntermediate)),
        ("ASK is none", milan(|s| s.ask.authority = false), E::Chain(D::Endorsement)),
        (
            "unknown critical extension",
            milan(|s| s.ask.extensions = vec![critical()]),
            E::Malformed(D::AmdIntermediate),
        ),
        ("ASK is for lists", milan(|s| s.ask.extensions = vec![key_usage(2)]), E::Chain(D::Endorsement)),
        ("ARK is not for lists", milan(|s| s.ark.extensions = vec![key_usage(4)]), E::DocumentSignature(D::AmdCrl)),
        ("CRL of some only", milan(|s| s.crl_extensions = vec![critical()]), E::Malformed(D::AmdCrl)),
        ("ASK of another", milan(|s| s.ask.issuer = "ARK-Genoa"), E::Chain(D::AmdIntermediate)),
        ("VCEK of another", milan(|s| s.endorsement.issuer = "SEV-Genoa"), E::Chain(D::Endorsement)),
        ("ARK expired", milan(|s| s.ark.until = EARLIER), E::Expired(D::Ark)),
        ("ASK expired", milan(|s| s.ask.until = EARLIER), E::Expired(D::AmdIntermediate)),
        ("VCEK expired", milan(|s| s.endorsement.until = EARLIER), E::Expired(D::Endorsement)),
        ("ARK not yet", milan(|s| s.ark.from = LATER), E::NotYetValid(D::Ark)),
        ("ASK not yet", milan(|s| s.ask.from = LATER), E::NotYetValid(D::AmdIntermediate)),
        ("VCEK not yet", milan(|s| s.endorsement.from = LATER), E::NotYetValid(D::Endorsement)),
        ("no CRL", milan(|s| s.crl = None), E::CrlMissing),
        ("ASK revoked", milan(|s| s.crl = Some(vec![1, 8])), E::Revoked),
        ("ARK revoked", milan(|s| s.crl = Some(vec![7])), E::Revoked),
        ("CRL by the ASK", milan(|s| s.crl_key = 1), E::DocumentSignature(D::AmdCrl)),
        ("CRL of another", milan(|s| s.crl_issuer = "ARK-Genoa"), E::DocumentSignature(D::AmdCrl)),
        ("CRL expired", milan(|s| s.crl_dates.1 = EARLIER), E::Expired(D::AmdCrl)),
        ("CRL not yet", milan(|s| s.crl_dates.0 = LATER), E::NotYetValid(D::AmdCrl)),
        // What the default policy does not name.
        ("VLEK", Snp::milan_vlek(), E::SigningKeyRefused(SigningKey::Vlek)),
        ("Turin", Snp::turin(), E::GenerationRefused(Generation::Turin)),
    ];
    for (name, forged, error) in &cases {
        assert_eq!(forged.verify(&Policy::default(), NOW).as_ref(), Err(error), "{name}");
    }
    eprintln!("SEV-SNP: {}/{} signed wrongs refused for the right reason", cases.len(), cases.len());
    assert!(Snp::milan_vlek().verify(&cloud(), NOW).is_ok());
    assert!(Snp::turin().verify(&cloud(), NOW).is_ok());
    let octets = milan(|s| s.hardware_id = Some([&[0x04, 0x40][..], &[0x44; 64]].concat()));
    assert_eq!(octets.verify(&cloud(), NOW), Snp::milan().verify(&cloud(), NOW));
    let turin = Snp::turin().change(|snp| snp.report[0x1a8] = 1);
    assert_eq!(turin.verify(&cloud(), NOW), Err(Error::ChipId));
}

#[test]
fn collateral_of_another_vendor_is_refused() {
    let ((_, dcap, intels), (_, snp, amds)) = (Dcap::sgx().build(), Snp::milan().build());
    let policy = Policy::default();
    assert_eq!(verify(&dcap, &amds, &policy, NOW), Err(Error::CollateralKind));
    assert_eq!(verify(&snp, &intels, &policy, NOW), Err(Error::CollateralKind));
}

// Failures of others (docs: field notes), each under its name.

/// An on-chain verifier accepted DEBUG enclaves.
#[test]
fn debug_is_refused_under_every_policy() {
    let policy = anything_goes();
    for (forged, error) in [
        (Dcap::sgx().change(|dcap| dcap.body[48] |= 2), Error::Debug),
        (Dcap::tdx().change(|dcap| dcap.body[120] |= 1), Error::Debug),
        (Dcap::tdx().change(|dcap| dcap.body[120] |= 0x20), Error::Profiling),
        (Dcap::tdx_15().change(|dcap| dcap.body[120] |= 1), Error::Debug),
        (Dcap::tdx().change(|dcap| dcap.body[123] |= 0x20), Error::Migratable),
    ] {
        assert_eq!(forged.verify(&policy, NOW), Err(error));
    }
    assert_eq!(Snp::milan().change(|snp| snp.report[0x0a] |= 1 << 3).verify(&policy, NOW), Err(Error::Debug));
    assert_eq!(Snp::milan().change(|snp| snp.report[0x0a] |= 1 << 2).verify(&policy, NOW), Err(Error::Migratable));
}

/// Revoked keys are compromised: no policy brings them back.
#[test]
fn a_revoked_tcb_is_refused_under_every_policy() {
    let forged = Dcap::sgx().tcb_info("UpToDate", "Revoked");
    assert_eq!(forged.verify(&anything_goes(), NOW), Err(Error::TcbRevoked));
}

/// A verifier without the QE identity check took quotes of anybody's enclave.
#[test]
fn a_quoting_enclave_that_is_not_intels_is_refused() {
    let genuine_cpu_own_enclave = Dcap::sgx().change(|dcap| dcap.qe_report[128..160].fill(0x66));
    assert_eq!(genuine_cpu_own_enclave.verify(&anything_goes(), NOW), Err(Error::QuotingEnclave));
    let of_sgx_for_tdx = Dcap::tdx().change(|dcap| dcap.qe_identity = Dcap::sgx().qe_identity);
    assert_eq!(of_sgx_for_tdx.verify(&anything_goes(), NOW), Err(Error::Mismatch(Document::QeIdentity)));
}

/// A parser burnt seconds of CPU on 20 KB before any signature was checked. Here, sizes are bounded before anything is
/// parsed, at most three certificates are taken from a quote, and nesting is not followed down.
#[test]
fn work_before_the_first_signature_check_is_bounded() {
    let (intel, evidence, collateral) = Dcap::sgx().build();
    let roots = Roots { intel: &intel, ..Roots::PINNED };
    let (Evidence::Dcap { quote, .. }, Collateral::Dcap(collateral)) = (evidence, collateral) else { unreachable!() };
    let verify = |quote: &[u8], collateral: &DcapCollateral| {
        let evidence = Evidence::Dcap { quote: quote.to_vec(), pck_chain: None };
        verify_under::<NoneKnown>(&roots, &evidence, &Collateral::Dcap(collateral.clone()), &anything_goes(), NOW)
    };
    let mut padded = quote.clone();
    padded.resize(MAX_QUOTE_BYTES, 0);
    assert!(verify(&padded, &collateral).is_ok());
    padded.push(0);
    assert_eq!(verify(&padded, &collateral), Err(Error::QuoteSize));

    // A long chain.
    let pem = certificates::encode_pem(&intel).unwrap();
    assert_eq!(certificates::parse_pem(pem.repeat(3).as_bytes(), 3).unwrap().len(), 3);
    assert!(certificates::parse_pem(pem.repeat(4).as_bytes(), 3).is_none());

    // Each document at its bound is parsed, and not beyond.
    type Fill = fn(&mut DcapCollateral, usize);
    let oversized: [(Document, Fill); 6] = [
        (Document::TcbInfo, |c, bytes| c.tcb_info = "[".repeat(bytes)),
        (Document::QeIdentity, |c, bytes| c.qe_identity = "[".repeat(bytes)),
        (Document::TcbInfoSigner, |c, bytes| c.tcb_info_signer = vec![0x30; bytes]),
        (Document::QeIdentitySigner, |c, bytes| c.qe_identity_signer = vec![0x30; bytes]),
        (Document::RootCaCrl, |c, bytes| c.root_ca_crl = vec![0x30; bytes]),
        (Document::PckCrl, |c, bytes| c.pck_crl = vec![0x30; bytes]),
    ];
    for (document, fill) in oversized {
        let filled = |bytes| {
            let mut collateral = collateral.clone();
            fill(&mut collateral, bytes);
            verify(&quote, &collateral)
        };
        let most = document.max_bytes();
        assert_eq!(filled(most), Err(Error::Malformed(document)));
        assert_eq!(filled(most + 1), Err(Error::DocumentTooLarge(document)));
    }

    let (_, evidence, collateral) = Snp::milan().build();
    let (Evidence::SevSnp { mut report, endorsement }, Collateral::SevSnp(mut collateral)) = (evidence, collateral)
    else {
        unreachable!()
    };
    collateral.intermediate = vec![0x30; Document::AmdIntermediate.max_bytes() + 1];
    let verify = |report: &[u8], collateral: &SevSnpCollateral| {
        verify_under::<NoneKnown>(
            &roots,
            &Evidence::SevSnp { report: report.to_vec(), endorsement: endorsement.clone() },
            &Collateral::SevSnp(collateral.clone()),
            &anything_goes(),
            NOW,
        )
    };
    assert_eq!(verify(&report, &collateral), Err(Error::DocumentTooLarge(Document::AmdIntermediate)));
    report.push(0);
    assert_eq!(verify(&report, &collateral), Err(Error::QuoteSize));

    // The whole.
    report.resize(MAX_EVIDENCE_BYTES as usize, 0);
    assert_eq!(verify(&report, &collateral), Err(Error::TooLarge));
}

/// Seeds of VCEKs of one generation were extracted by software: leaving a generation out evacuates it.
#[test]
fn a_generation_that_the_policy_leaves_out_is_refused() {
    let mut policy = anything_goes();
    policy.sev_snp.minimum_tcb.retain(|minimum| minimum.generation != Generation::Milan);
    assert_eq!(Snp::milan().verify(&policy, NOW), Err(Error::GenerationRefused(Generation::Milan)));
    assert!(Snp::turin().verify(&policy, NOW).is_ok());
}

/// Nodes were rejected unnoticed after a TCB recovery: the number has an error of its own, and is told when it passes.
#[test]
fn the_tcb_evaluation_number_is_told_and_held_to_a_minimum() {
    let mut policy = Policy::default();
    policy.dcap.minimum_evaluation_number = 20;
    assert_eq!(Dcap::sgx().verify(&policy, NOW).unwrap().tcb().evaluation_number, Some(20));
    policy.dcap.minimum_evaluation_number = 21;
    assert_eq!(Dcap::sgx().verify(&policy, NOW), Err(Error::EvaluationNumber(20)));
}

#[test]
fn advisories_are_allowed_and_denied_by_name() {
    let forged = Dcap::sgx().tcb_info(r#""UpToDate""#, r#""UpToDate","advisoryIDs":["INTEL-SA-00615"]"#);
    let verify = |allowed: Option<&[&str]>, denied: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect::<Vec<_>>();
        let mut policy = Policy::default();
        policy.dcap.allowed_advisories = allowed.map(names);
        policy.dcap.denied_advisories = names(denied);
        forged.verify(&policy, NOW)
    };
    let refused = Err(Error::Advisory("INTEL-SA-00615".into()));
    assert!(verify(None, &[]).is_ok());
    assert!(verify(Some(&["intel-sa-00615"]), &[]).is_ok());
    assert_eq!(verify(Some(&["INTEL-SA-00614"]), &[]), refused);
    assert_eq!(verify(Some(&["INTEL-SA-00615"]), &["intel-sa-00615"]), refused);
    assert_eq!(verify(None, &["INTEL-SA-00615"]), refused);
}

/// A trust page showed hardware as verified that nobody had checked.
#[test]
fn what_was_not_checked_is_listed_as_such() {
    let status = |verified: &VerifiedEvidence, claim| {
        verified.claims().iter().find_map(|(listed, status)| (*listed == claim).then_some(*status))
    };
    let (checked, not_checked) = (Some(ClaimStatus::Checked), Some(ClaimStatus::NotChecked));
    let sgx = Dcap::sgx().verify(&Policy::default(), NOW).unwrap();
    let single_package = Dcap::sgx().change(|dcap| dcap.flags = None).verify(&Policy::default(), NOW).unwrap();
    let tdx = Dcap::tdx().verify(&Policy::default(), NOW).unwrap();
    let vcek = Snp::milan().verify(&Policy::default(), NOW).unwrap();
    let vlek = Snp::milan_vlek().change(|snp| snp.crl = None).verify(&cloud(), NOW).unwrap();
    for verified in [&sgx, &single_package, &tdx, &vcek, &vlek] {
        for claim in [Claim::Measurement, Claim::ReportData, Claim::PhysicalCustody] {
            assert_eq!(status(verified, claim), not_checked);
        }
        for claim in [Claim::CertificateChain, Claim::Validity, Claim::QuoteSignature, Claim::Tcb, Claim::NotDebug] {
            assert_eq!(status(verified, claim), checked);
        }
        assert!(verified.claims().is_sorted_by(|(one, _), (next, _)| one < next), "sorted, and each once");
    }
    assert_eq!(status(&sgx, Claim::TdxModule), None);
    assert_eq!(status(&tdx, Claim::TdxModule), checked);
    assert_eq!(status(&sgx, Claim::PlatformConfiguration), checked);
    assert_eq!(status(&single_package, Claim::PlatformConfiguration), not_checked);
    assert_eq!(status(&vcek, Claim::Revocation), checked);
    assert_eq!(status(&vlek, Claim::Revocation), not_checked);
    assert_eq!(status(&vcek, Claim::PlatformIdentity), checked);
    assert_eq!(status(&vlek, Claim::PlatformIdentity), not_checked);
    assert_eq!(vlek.platform().id, None);
    assert_eq!(vcek.platform().id, Some(platform_id(b"phala/platform/sev-snp/v1", &[0x44; 64])));
}

#[test]
fn measurements_fold_by_kind() {
    let folds = [
        Dcap::sgx().verify(&Policy::default(), NOW),
        Dcap::sgx().change(|dcap| dcap.body[192] = 1).verify(&Policy::default(), NOW),
        Dcap::tdx().verify(&Policy::default(), NOW),
        Dcap::tdx().change(|dcap| dcap.body[328] = 1).verify(&Policy::default(), NOW),
        Snp::milan().verify(&Policy::default(), NOW),
        Snp::milan().change(|snp| snp.report[0xc0] = 1).verify(&Policy::default(), NOW),
    ]
    .map(|verified| verified.unwrap().measurement());
    for (index, fold) in folds.iter().enumerate() {
        assert!(!folds[..index].contains(fold));
    }
    // SHA-256 of "phala/measurement/sgx/v1", 32 times 0x11 and 64 zeros.
    let mut bytes = b"phala/measurement/sgx/v1".to_vec();
    bytes.extend([0x11; 32]);
    bytes.extend([0; 64]);
    assert_eq!(folds[0].0, <[u8; 32]>::from(Sha256::digest(&bytes)));
}

#[test]
fn policies_and_collateral_round_trip() {
    for policy in [Policy::default(), cloud(), anything_goes()] {
        assert_eq!(Policy::decode(&mut &policy.encode()[..]), Ok(policy.clone()));
        assert_eq!(files::parse_policy(&serde_json::to_vec(&policy).unwrap()).unwrap(), policy);
    }
    assert_eq!(files::parse_policy(b"{}").unwrap(), Policy::default());
    assert_eq!(files::parse_policy(br#"{"dcap":{"allow_smt":true}}"#).unwrap().dcap.allowed_advisories, Some(vec![]));
    assert!(files::parse_policy(br#"{"dcap":{"allow_debug":true}}"#).is_err());
    for (_, evidence, collateral) in [Dcap::tdx().build(), Snp::milan().build()] {
        assert_eq!(Evidence::decode(&mut &evidence.encode()[..]), Ok(evidence.clone()));
        assert_eq!(Collateral::decode(&mut &collateral.encode()[..]), Ok(collateral));
    }
}

#[test]
fn the_pinned_roots_are_the_vendors() {
    let hash = |der: &[u8]| Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pinned = Roots::PINNED;
    assert_eq!(hash(pinned.intel), "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3");
    assert_eq!(hash(pinned.milan), "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd");
    assert_eq!(hash(pinned.genoa), "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1");
    assert_eq!(hash(pinned.turin), "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a");
    for ark in [pinned.milan, pinned.genoa, pinned.turin] {
        let ark = certificates::Certificate::parse(Document::Ark, ark).unwrap();
        assert_eq!(ark.check_issued_by::<NoneKnown>(&ark).map(drop), Ok(()), "signed by itself");
    }
}
