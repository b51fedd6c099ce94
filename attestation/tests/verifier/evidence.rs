//! Recorded evidence of real hardware, whose verdicts are known. It lies outside the repository: without the folder,
//! these tests say so and pass.

use std::path::Path;

#[path = "../recorded/mod.rs"]
mod recorded;

pub use recorded::*;

use crate::{
    files::{FileError, Files, MAX_FILE_BYTES, Quote},
    *,
};

/// The quote and collateral in `names`, the files of one piece of evidence.
pub fn load(folder: &Path, names: &[&str]) -> (Evidence, Collateral) {
    let mut files = Files::default();
    for name in names {
        let content = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        files.add(&content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    files.finish().unwrap_or_else(|error| panic!("{names:?}: {error}"))
}

/// What real clouds need.
pub fn cloud() -> Policy {
    Policy {
        limited: None,
        simulated_root: None,
        simulated_vendors: None,
        dcap: DcapPolicy {
            minimum_evaluation_number: 0,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            allow_smt: true,
            ..DcapPolicy::default()
        },
        sev_snp: SevSnpPolicy {
            minimum_tcb: [Generation::Milan, Generation::Genoa, Generation::Turin]
                .map(|generation| MinimumTcb { generation, tcb: SnpTcb::default() })
                .to_vec(),
            allowed_signing_keys: vec![SigningKey::Vcek, SigningKey::Vlek],
            allowed_vmpls: vec![0, 1],
            allow_smt: true,
            require_alias_check: false,
            require_crl: false,
        },
    }
}

/// As [`cloud`], and servers whose configuration leaves some attack open.
pub fn lenient() -> Policy {
    let mut policy = cloud();
    policy.dcap.allowed_statuses.push(TcbStatus::ConfigurationAndSWHardeningNeeded);
    policy.dcap.allowed_advisories = None;
    policy
}

/// Verifies one row of the manifest; `None` without the folder.
fn row(names: &[&str], policy: &Policy, now: UnixSeconds) -> Option<Result<VerifiedEvidence, Error>> {
    let (quote, collateral) = load(&folder()?, names);
    let result = verify(&quote, &collateral, policy, now);
    let verdict = match &result {
        Ok(verified) => format!("verified, {:?}, until {}", verified.tcb().status, verified.valid_until()),
        Err(error) => format!("refused: {error}"),
    };
    eprintln!("{:<38} {now} {verdict}", names[0]);
    if let Ok(verified) = &result {
        let said = Unverified::parse(&quote).unwrap();
        assert_eq!((&said.measurements, &said.report_data), (verified.measurements(), verified.report_data()));
    }
    Some(result)
}

/// Verifies a row that has to be refused.
fn refused(names: &[&str], policy: &Policy, now: UnixSeconds, error: Error) {
    if let Some(result) = row(names, policy, now) {
        assert_eq!(result, Err(error), "{names:?} at {now}");
    }
}

/// Verifies a row that has to pass from `from` to `until`, and not a second earlier or later.
fn window(names: &[&str], policy: &Policy, from: UnixSeconds, until: UnixSeconds) {
    for now in [from, until] {
        let Some(result) = row(names, policy, now) else { return };
        assert_eq!(result.unwrap().valid_until(), until);
    }
    assert!(matches!(row(names, policy, from - 1), Some(Err(Error::NotYetValid(_)))));
    assert!(matches!(row(names, policy, until + 1), Some(Err(Error::Expired(_)))));
}

#[test]
fn sgx_needs_configuration_and_hardening() {
    let now = 1_751_500_000;
    let Some(verified) = row(&SGX, &lenient(), now).map(Result::unwrap) else { return };
    assert_eq!(verified.kind(), Kind::Sgx);
    assert_eq!(verified.tcb().status, Some(TcbStatus::ConfigurationAndSWHardeningNeeded));
    assert_eq!(verified.tcb().advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!(verified.tcb().evaluation_number, Some(17));
    let Hardware::Intel { fmspc, smt, .. } = verified.platform().hardware else { panic!() };
    assert_eq!((fmspc, smt), ([0, 0xa0, 0x67, 0x11, 0, 0], None));
    let status = Error::TcbStatus(TcbStatus::ConfigurationAndSWHardeningNeeded);
    refused(&SGX, &Policy::default(), now, status.clone());
    refused(&SGX, &cloud(), now, status);
    let mut policy = lenient();
    policy.dcap.denied_advisories = vec!["INTEL-SA-00615".into()];
    refused(&SGX, &policy, now, Error::Advisory("INTEL-SA-00615".into()));
    policy = lenient();
    policy.dcap.minimum_evaluation_number = 18;
    refused(&SGX, &policy, now, Error::EvaluationNumber(17));
    window(&SGX, &lenient(), 1_750_330_571, 1_752_919_278);
}

#[test]
fn tdx_is_up_to_date_where_clouds_are_allowed() {
    let now = 1_751_500_000;
    let Some(verified) = row(&TDX, &cloud(), now).map(Result::unwrap) else { return };
    assert_eq!(verified.kind(), Kind::Tdx);
    assert_eq!((verified.tcb().status, verified.tcb().advisories.len()), (Some(TcbStatus::UpToDate), 0));
    let Hardware::Intel { fmspc, .. } = verified.platform().hardware else { panic!() };
    assert_eq!(fmspc, [0xb0, 0xc0, 0x6f, 0, 0, 0]);
    refused(&TDX, &Policy::default(), now, Error::DynamicPlatform);
    window(&TDX, &cloud(), 1_750_329_147, 1_752_919_234);
    // The TCB info is from later, too: lists are looked at first.
    refused(&TDX, &cloud(), 1_750_000_000, Error::NotYetValid(Document::PckCrl));
    refused(&TDX, &cloud(), 1_752_919_235, Error::Expired(Document::PckCrl));
    // Both lists are over by then, and the root's is the first of them.
    refused(&TDX, &cloud(), 1_790_000_000, Error::Expired(Document::RootCaCrl));
}

#[test]
fn tdx_15ex_is_up_to_date() {
    let Some(verified) = row(&TDX_15EX, &cloud(), 1_792_000_000).map(Result::unwrap) else { return };
    assert_eq!(verified.kind(), Kind::Tdx);
    assert_eq!(verified.tcb().status, Some(TcbStatus::UpToDate));
    assert_eq!(verified.tcb().evaluation_number, Some(20));
    window(&TDX_15EX, &cloud(), 1_791_419_306, 1_794_008_711);
}

#[test]
fn tdx_15_of_an_old_platform_is_refused() {
    refused(&TDX_15, &lenient(), 1_772_000_000, Error::TcbTooOld);
}

#[test]
fn sgx_of_phala_verifies_with_collateral_in_scale_and_json() {
    for names in [&PHALA, &PHALA_JSON] {
        let Some(verified) = row(names, &lenient(), 1_701_000_000).map(Result::unwrap) else { return };
        assert_eq!(verified.tcb().status, Some(TcbStatus::ConfigurationAndSWHardeningNeeded));
        assert!(verified.report_data().starts_with(b"Hello, world!"));
        // The TCB info is from later, too: lists are looked at first.
        refused(names, &lenient(), 1_699_301_000, Error::NotYetValid(Document::PckCrl));
    }
}

#[test]
fn collateral_of_different_dates_is_valid_at_none() {
    for names in [&MOBILECOIN[..], &MOBILECOIN_FILES] {
        refused(names, &lenient(), 1_690_000_000, Error::Expired(Document::PckCrl));
        refused(names, &lenient(), 1_684_706_435, Error::NotYetValid(Document::Pck));
    }
    refused(&AUTOMATA, &lenient(), 1_726_300_000, Error::Expired(Document::PckCrl));
    refused(&AUTOMATA, &lenient(), 1_717_800_000, Error::NotYetValid(Document::TcbInfo));
}

#[test]
fn quotes_without_collateral_parse() {
    let Some(folder) = folder() else { return };
    for (name, kind) in [
        ("dcap-qvl/quote-from-tappd.hex", Kind::Tdx),
        ("dcap-qvl/tdx-quote.hex", Kind::Tdx),
        ("trustee/tdx_quote_4.dat", Kind::Tdx),
        ("trustee/td-quote.bin", Kind::Tdx),
        ("trustee/occlum_quote.dat", Kind::Sgx),
    ] {
        let mut files = Files::default();
        files.add(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        let Some(Quote::Dcap(quote)) = &files.quote else { panic!("{name}") };
        let frame = dcap::parse_frame(quote).unwrap();
        assert_eq!((frame.kind(), frame.chain.is_some()), (kind, true), "{name}");
        assert!(matches!(files.finish(), Err(FileError::Missing(Document::TcbInfo))));
    }
    let mut files = Files::default();
    assert!(matches!(
        files.add(&std::fs::read(folder.join("azure/hcl-report-tdx.bin")).unwrap()),
        Err(FileError::TdReport)
    ));
}

#[test]
fn sev_snp_of_milan_verifies() {
    let now = 1_751_500_000;
    let Some(verified) = row(&MILAN, &cloud(), now).map(Result::unwrap) else { return };
    assert_eq!(verified.kind(), Kind::SevSnp);
    let Hardware::Amd { generation, product, signing_key, tcb, .. } = &verified.platform().hardware else { panic!() };
    assert_eq!((*generation, product.as_str(), *signing_key), (Generation::Milan, "Milan-B0", SigningKey::Vcek));
    assert_eq!(*tcb, SnpTcb { fmc: 0, bootloader: 3, tee: 0, snp: 8, microcode: 115 });
    assert!(verified.platform().id.is_some());
    assert!(verified.claims().contains(&(Claim::Revocation, ClaimStatus::NotChecked)));
    // What the default asks for, one after the other.
    let mut policy = Policy::default();
    refused(&MILAN, &policy, now, Error::CrlMissing);
    policy.sev_snp.require_crl = false;
    refused(&MILAN, &policy, now, Error::Smt);
    policy.sev_snp.allow_smt = true;
    refused(&MILAN, &policy, now, Error::AliasCheck);
    policy.sev_snp.require_alias_check = false;
    refused(&MILAN, &policy, now, Error::BelowMinimumTcb);
    window(&MILAN, &cloud(), 1_680_549_823, 1_901_474_623);
}

#[test]
fn sev_snp_with_a_vlek_verifies_and_identifies_no_chip() {
    let now = 1_751_500_000;
    let Some(verified) = row(&VLEK, &cloud(), now).map(Result::unwrap) else { return };
    let Hardware::Amd { signing_key, provider, .. } = &verified.platform().hardware else { panic!() };
    assert_eq!(*signing_key, SigningKey::Vlek);
    assert_eq!(provider.as_deref(), Some("CN=cc-us-east-2.amazonaws.com"));
    assert_eq!(verified.platform().id, None);
    assert!(verified.claims().contains(&(Claim::PlatformIdentity, ClaimStatus::NotChecked)));
    let mut policy = Policy::default();
    (policy.sev_snp.require_crl, policy.sev_snp.allow_smt) = (false, true);
    refused(&VLEK, &policy, now, Error::SigningKeyRefused(SigningKey::Vlek));
    policy.sev_snp.allowed_signing_keys = vec![SigningKey::Vlek];
    refused(&VLEK, &policy, now, Error::Vmpl(1));
    // With that, the strict default's minimum and its check for aliases are met.
    policy.sev_snp.allowed_vmpls = vec![1];
    assert!(row(&VLEK, &policy, now).unwrap().is_ok());
    refused(&VLEK, &policy, 1_766_000_000, Error::Expired(Document::Endorsement));
}

/// A genuine report whose signature and chain hold, of a guest that its host can read.
#[test]
fn sev_snp_in_debug_mode_is_refused() {
    refused(&GO_SEV_GUEST, &cloud(), 1_751_500_000, Error::Debug);
}

#[test]
fn sev_snp_with_the_certificate_of_another_chip_is_refused() {
    refused(&TURIN, &cloud(), 1_751_500_000, Error::QuoteSignature);
    refused(&AZURE, &cloud(), 1_751_500_000, Error::QuoteSignature);
}

#[test]
fn genoas_intermediate_leads_to_its_root() {
    let Some(folder) = folder() else { return };
    let chain = std::fs::read(folder.join("go-sev-guest/ask_ark_genoa.pem")).unwrap();
    let chain = certificates::parse_pem(&chain, 2).unwrap();
    let parse = |document, der: &[u8]| certificates::Certificate::parse(document, der).unwrap();
    let ask = parse(Document::AmdIntermediate, &chain[0].der);
    assert_eq!(chain[1].der, Roots::PINNED.genoa);
    assert!(ask.check_issued_by::<NoneKnown>(&parse(Document::Ark, Roots::PINNED.genoa)).is_ok());
    let milan = parse(Document::Ark, Roots::PINNED.milan);
    assert_eq!(ask.check_issued_by::<NoneKnown>(&milan), Err(Error::Chain(Document::AmdIntermediate)));
}

#[test]
fn files_of_other_kinds_and_roots_are_refused() {
    let add = |bytes: &[u8]| Files::default().add(bytes);
    for bytes in [&b""[..], b"{}", b"{", b"[]", b"-----BEGIN CERTIFICATE-----", b"\x30\x82", b"00", b"HCLA", &[0; 1184]]
    {
        assert!(matches!(add(bytes), Err(FileError::Unknown)), "{bytes:?}");
    }
    assert!(matches!(add(&vec![0; MAX_FILE_BYTES + 1]), Err(FileError::TooLarge)));
    let (intel, _, _) = super::forge::Dcap::sgx().build();
    let (amd, _, _) = super::forge::Snp::milan().build();
    assert!(matches!(add(&intel), Err(FileError::ForeignRoot)));
    assert!(matches!(add(&amd), Err(FileError::ForeignRoot)));
    assert!(add(Roots::PINNED.intel).is_ok());
    assert!(matches!(Files::default().finish(), Err(FileError::NoQuote)));
}
