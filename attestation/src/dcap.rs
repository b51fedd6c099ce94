//! Intel SGX and TDX: ECDSA quotes of version 3 (SGX), 4 and 5 (TDX), through `dcap-qvl`.
//!
//! The library verifies signatures, chains, revocation and TCB levels as Intel's own does; it applies no policy, ignores
//! what no signature covers, parses generously, and reports failures as text. This module parses the frame strictly
//! and bounds it first, checks the dates of each document by name, says each failure as a variant, and appraises.
//!
//! Sources: Intel SGX ECDSA QuoteLibReference (appendix A.4), Intel TDX DCAP quoting library API (appendix A.3),
//! Intel PCS API version 4.

use alloc::{format, string::String, vec, vec::Vec};
use dcap_qvl::{
    PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy,
    quote::{Quote, Report},
    verify::QuoteVerifier,
};

use crate::{
    Claim, ClaimStatus, DcapCollateral, DcapPolicy, Document, Error, Hardware, Kind, KnownSignatures, MAX_QUOTE_BYTES,
    Measurements, Platform, Policy, Tcb, TcbStatus, Tier, UnixSeconds, VerifiedEvidence,
    certificates::{Certificate, encode_pem, list_validity, parse_pem},
    collateral::check_size,
    platform::platform_id,
    policy::appraise_tiers,
    signatures::DcapConfig,
};

const HEADER_BYTES: usize = 48;
const ENCLAVE_REPORT_BYTES: usize = 384;
/// What of an enclave report is CONFIGID, where key separation and sharing (KSS) is on.
const CONFIG_ID: core::ops::Range<usize> = 192..256;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
const INTEL_QE: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// The certificates that a quote may carry: PCK, its CA, the root.
const MAX_CHAIN: usize = 3;
pub(crate) const TCB_SIGNER: &str = "Intel SGX TCB Signing";
const PCK: &str = "Intel SGX PCK Certificate";
pub(crate) const PCK_PLATFORM_CA: &str = "Intel SGX PCK Platform CA";
pub(crate) const PCK_PROCESSOR_CA: &str = "Intel SGX PCK Processor CA";
const PCK_CAS: [&str; 2] = [PCK_PLATFORM_CA, PCK_PROCESSOR_CA];

/// The parts of a quote that are needed before `dcap-qvl` parses it.
pub(crate) struct Frame<'a> {
    kind: Kind,
    /// The report of the enclave or guest.
    body: &'a [u8],
    /// The PCK certificate chain in PEM, if the quote carries it.
    pub(crate) chain: Option<&'a [u8]>,
}

#[cfg(test)]
impl Frame<'_> {
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Parses what is around the signed parts. Every length has to be exact; after the quote, only zeros may follow.
pub(crate) fn parse_frame(quote: &[u8]) -> Result<Frame<'_>, Error> {
    if quote.len() > MAX_QUOTE_BYTES {
        return Err(Error::QuoteSize);
    }
    let mut rest = quote;
    let mut header = take(&mut rest, HEADER_BYTES)?;
    let version = take_u16(&mut header)?;
    let key_type = take_u16(&mut header)?;
    let tee = take_u32(&mut header)?;
    take(&mut header, 4)?;
    if !(3..=5).contains(&version) {
        return Err(Error::QuoteVersion(version.into()));
    }
    if key_type != ECDSA_P256 || take(&mut header, INTEL_QE.len())? != INTEL_QE {
        return Err(Error::QuoteKind);
    }
    let (kind, body_bytes) = match (version, tee) {
        (3, TEE_SGX) => (Kind::Sgx, ENCLAVE_REPORT_BYTES),
        (4, TEE_TDX) => (Kind::Tdx, 584),
        (5, TEE_TDX) => {
            // Intel's names of the bodies: TD 1.0, 1.5, 1.5ex.
            let bytes = match take_u16(&mut rest)? {
                2 => 584,
                3 => 648,
                4 => 885,
                _ => return Err(Error::QuoteKind),
            };
            if take_u32(&mut rest)? != bytes {
                return Err(Error::QuoteFrame);
            }
            (Kind::Tdx, bytes as usize)
        }
        _ => return Err(Error::QuoteKind),
    };
    let body = take(&mut rest, body_bytes)?;
    let mut signature = take_sized(&mut rest)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Error::QuoteFrame);
    }
    // The quote's signature and attestation key.
    take(&mut signature, 64 + 64)?;
    if version > 3 {
        // Since version 4, the quoting enclave's report is nested in certification data of type 6.
        if take_u16(&mut signature)? != 6 {
            return Err(Error::QuoteFrame);
        }
        signature = take_last(signature)?;
    }
    // The quoting enclave's report and its signature, and 32 bytes of its choice.
    take(&mut signature, ENCLAVE_REPORT_BYTES + 64)?;
    if take_u16(&mut signature)? != 32 {
        return Err(Error::QuoteFrame);
    }
    take(&mut signature, 32)?;
    let certification = take_u16(&mut signature)?;
    let data = take_last(signature)?;
    let chain = match certification {
        // The PPID, encrypted for Intel: whoever serves the collateral knows the certificate.
        2 | 3 => None,
        5 => Some(data),
        _ => return Err(Error::QuoteFrame),
    };
    Ok(Frame { kind, body, chain })
}

/// Whether `bytes` start as a quote does, whatever follows.
#[cfg(feature = "files")]
pub(crate) fn is_quote(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let version = take_u16(&mut rest);
    version.is_ok_and(|version| (3..=5).contains(&version))
        && bytes.get(12..).is_some_and(|id| id.starts_with(&INTEL_QE))
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Error> {
    let (taken, left) = rest.split_at_checked(bytes).ok_or(Error::QuoteSize)?;
    *rest = left;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    take(rest, N)?.try_into().map_err(|_| Error::QuoteSize)
}

fn take_u16(rest: &mut &[u8]) -> Result<u16, Error> {
    Ok(u16::from_le_bytes(take_array(rest)?))
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Error> {
    Ok(u32::from_le_bytes(take_array(rest)?))
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let bytes = take_u32(rest)?;
    take(rest, usize::try_from(bytes).map_err(|_| Error::QuoteSize)?)
}

/// A sized part with nothing after it.
fn take_last(mut rest: &[u8]) -> Result<&[u8], Error> {
    let last = take_sized(&mut rest)?;
    if rest.is_empty() { Ok(last) } else { Err(Error::QuoteFrame) }
}

/// The PCK certificate and the CA that issued it, DER.
pub(crate) type PckChain = (Vec<u8>, Vec<u8>);

/// The PCK certificate and its CA, and the root if it is there.
fn parse_chain(pem: &[u8]) -> Result<(PckChain, Option<Vec<u8>>), Error> {
    let malformed = Error::Malformed(Document::PckChain);
    check_size(Document::PckChain, pem)?;
    let chain = parse_pem(pem, MAX_CHAIN).ok_or(malformed.clone())?;
    if chain.iter().any(|document| document.label != "CERTIFICATE") {
        return Err(malformed);
    }
    let mut chain = chain.into_iter().map(|document| document.der);
    let (Some(pck), Some(ca)) = (chain.next(), chain.next()) else { return Err(malformed) };
    Ok(((pck, ca), chain.next()))
}

/// The chain that the quote carries, or the one beside it. A root in it has to be `root`, if one is given.
fn chain_of(frame: &Frame<'_>, given: Option<&PckChain>, root: Option<&[u8]>) -> Result<PckChain, Error> {
    let Some(pem) = frame.chain else { return given.cloned().ok_or(Error::PckChainMissing) };
    let (chain, last) = parse_chain(pem)?;
    if root.zip(last).is_some_and(|(root, last)| last != root) {
        return Err(Error::IntelChain);
    }
    if given.is_some_and(|given| *given != chain) {
        return Err(Error::Mismatch(Document::PckChain));
    }
    Ok(chain)
}

/// What a quote says of its platform: nothing is verified yet.
pub(crate) fn parse_chain_of(quote: &[u8], given: Option<&PckChain>) -> Result<(Kind, PckChain), Error> {
    let frame = parse_frame(quote)?;
    Ok((frame.kind, chain_of(&frame, given, None)?))
}

/// An FMSPC as text: 12 hexadecimal digits. `None` for other text.
pub fn parse_fmspc(text: &str) -> Option<[u8; 6]> {
    let is_fmspc = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| is_fmspc)?;
    number.to_be_bytes().last_chunk().copied()
}

pub(crate) fn verify<K: KnownSignatures>(
    root: &[u8],
    quote: &[u8],
    given_chain: Option<&PckChain>,
    collateral: &DcapCollateral,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    let frame = parse_frame(quote)?;
    check_size(Document::TcbInfo, collateral.tcb_info.as_bytes())?;
    check_size(Document::QeIdentity, collateral.qe_identity.as_bytes())?;
    let (pck, ca) = chain_of(&frame, given_chain, Some(root))?;
    let lists_until = check_dates(root, &pck, &ca, collateral, now)?;

    let claims = QuoteVerifier::<DcapConfig<K>>::new_with_config(root.to_vec())
        .verify_with_policy(quote, library_collateral(&pck, &ca, collateral)?, now, &QuotePolicy::claims_only(now))
        .map_err(|error| classify(&format!("{error:#}")))?;

    check_tcb_info(&claims, collateral)?;
    check_denied(&claims, &policy.dcap)?;
    let limited = policy.limited.as_ref().map(|limited| &limited.dcap);
    let (tier, tcb) = appraise_tiers(&policy.dcap, limited, |policy| appraise(&claims, policy))?;
    // The library counts the second in which the next list has to be there, too.
    verified(&frame, &claims, tier, tcb, claims.earliest_expiration_date.min(lists_until))
}

/// Each certificate and list by name, so that who has to renew something knows what; the library checks them again.
/// Returns the last second of the lists.
fn check_dates(
    root: &[u8],
    pck: &[u8],
    ca: &[u8],
    collateral: &DcapCollateral,
    now: UnixSeconds,
) -> Result<UnixSeconds, Error> {
    let certificates: [(Document, &[u8], &[&str]); 5] = [
        (Document::IntelRoot, root, &["Intel SGX Root CA"]),
        (Document::TcbInfoSigner, &collateral.tcb_info_signer, &[TCB_SIGNER]),
        (Document::QeIdentitySigner, &collateral.qe_identity_signer, &[TCB_SIGNER]),
        (Document::PckCa, ca, &PCK_CAS),
        (Document::Pck, pck, &[PCK]),
    ];
    for (document, der, names) in certificates {
        // Intel signs both with one key.
        if document == Document::QeIdentitySigner && collateral.tcb_info_signer == der {
            continue;
        }
        let certificate = Certificate::parse(document, der)?;
        certificate.validity().check(document, now)?;
        if !names.contains(&certificate.common_name()?.as_str()) {
            return Err(Error::Mismatch(document));
        }
        // The library asserts it.
        if document == Document::IntelRoot && !certificate.names_itself_as_issuer() {
            return Err(Error::Chain(document));
        }
    }
    let lists = [(Document::RootCaCrl, &collateral.root_ca_crl), (Document::PckCrl, &collateral.pck_crl)];
    lists.into_iter().try_fold(UnixSeconds::MAX, |until, (document, der)| {
        let validity = list_validity(document, der)?;
        validity.check(document, now)?;
        Ok(until.min(validity.until))
    })
}

fn library_collateral(pck: &[u8], ca: &[u8], collateral: &DcapCollateral) -> Result<QuoteCollateralV3, Error> {
    let pem = |document, der: &[u8]| encode_pem(der).ok_or(Error::Malformed(document));
    Ok(QuoteCollateralV3 {
        // Unused: the list's issuer is on the path of the PCK certificate.
        pck_crl_issuer_chain: String::new(),
        root_ca_crl: collateral.root_ca_crl.clone(),
        pck_crl: collateral.pck_crl.clone(),
        tcb_info_issuer_chain: pem(Document::TcbInfoSigner, &collateral.tcb_info_signer)?,
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: collateral.tcb_info_signature.to_vec(),
        qe_identity_issuer_chain: pem(Document::QeIdentitySigner, &collateral.qe_identity_signer)?,
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: collateral.qe_identity_signature.to_vec(),
        pck_certificate_chain: Some(format!("{}{}", pem(Document::Pck, pck)?, pem(Document::PckCa, ca)?)),
    })
}

/// What of TCB info the library does not check.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct PceOfTcbInfo {
    tcb_type: u32,
    pce_id: String,
}

/// The library compares the FMSPC alone. The document is verified by now.
fn check_tcb_info(claims: &QuoteClaims, collateral: &DcapCollateral) -> Result<(), Error> {
    let tcb_info: PceOfTcbInfo =
        serde_json::from_str(&collateral.tcb_info).map_err(|_| Error::Malformed(Document::TcbInfo))?;
    let pce_id: String = claims.platform.pck.pce_id.iter().map(|byte| format!("{byte:02x}")).collect();
    if tcb_info.tcb_type != 0 || !tcb_info.pce_id.eq_ignore_ascii_case(&pce_id) {
        return Err(Error::Mismatch(Document::TcbInfo));
    }
    Ok(())
}

/// A TDX guest that outlived an update of the module has two levels: the one it was launched at and the current one.
fn advisories(claims: &QuoteClaims) -> Vec<String> {
    let current = claims.platform.current_tcb_level.iter().flat_map(|level| &level.advisory_ids);
    let mut advisories: Vec<String> = claims.tcb.advisory_ids.iter().chain(current).cloned().collect();
    advisories.sort();
    advisories.dedup();
    advisories
}

/// What no tier takes.
fn check_denied(claims: &QuoteClaims, policy: &DcapPolicy) -> Result<(), Error> {
    let denied = |advisory: &String| policy.denied_advisories.iter().any(|other| other.eq_ignore_ascii_case(advisory));
    if let Some(advisory) = advisories(claims).into_iter().find(denied) {
        return Err(Error::Advisory(advisory));
    }
    let number = claims.tcb.eval_data_number;
    if number < policy.minimum_evaluation_number { Err(Error::EvaluationNumber(number)) } else { Ok(()) }
}

fn appraise(claims: &QuoteClaims, policy: &DcapPolicy) -> Result<Tcb, Error> {
    let status = tcb_status(claims.tcb.status);
    if status == TcbStatus::Revoked {
        return Err(Error::TcbRevoked);
    }
    if !policy.allowed_statuses.contains(&status) {
        return Err(Error::TcbStatus(status));
    }
    let advisories = advisories(claims);
    for advisory in &advisories {
        let is = |other: &String| other.eq_ignore_ascii_case(advisory);
        if !policy.allowed_advisories.as_ref().is_none_or(|allowed| allowed.iter().any(is)) {
            return Err(Error::Advisory(advisory.clone()));
        }
    }
    check_denied(claims, policy)?;
    let number = claims.tcb.eval_data_number;
    let pck = &claims.platform.pck;
    for (flag, allowed, refused) in [
        (pck.dynamic_platform, policy.allow_dynamic_platform, Error::DynamicPlatform),
        (pck.cached_keys, policy.allow_cached_keys, Error::CachedKeys),
        (pck.smt_enabled, policy.allow_smt, Error::Smt),
    ] {
        if flag == PckCertFlag::True && !allowed {
            return Err(refused);
        }
    }
    Ok(Tcb { status: Some(status), advisories, evaluation_number: Some(number) })
}

fn verified(
    frame: &Frame<'_>,
    claims: &QuoteClaims,
    tier: Tier,
    tcb: Tcb,
    valid_until: UnixSeconds,
) -> Result<VerifiedEvidence, Error> {
    let pck = &claims.platform.pck;
    let flags = [pck.dynamic_platform, pck.cached_keys, pck.smt_enabled].map(flag);
    let [dynamic_platform, cached_keys, smt] = flags;
    let (kind, measurements, report_data) = content(frame.body, &claims.report)?;
    if kind != frame.kind {
        return Err(Error::QuoteKind);
    }

    let configuration = if flags.iter().all(Option::is_some) { ClaimStatus::Checked } else { ClaimStatus::NotChecked };
    let mut listed = vec![
        (Claim::CertificateChain, ClaimStatus::Checked),
        (Claim::Validity, ClaimStatus::Checked),
        (Claim::Revocation, ClaimStatus::Checked),
        (Claim::QuoteSignature, ClaimStatus::Checked),
        (Claim::QuotingEnclave, ClaimStatus::Checked),
        (Claim::Tcb, ClaimStatus::Checked),
        (Claim::Advisories, ClaimStatus::Checked),
        (Claim::NotDebug, ClaimStatus::Checked),
        (Claim::PlatformConfiguration, configuration),
        (Claim::PlatformIdentity, ClaimStatus::Checked),
        (Claim::Measurement, ClaimStatus::NotChecked),
        (Claim::ReportData, ClaimStatus::NotChecked),
        (Claim::PhysicalCustody, ClaimStatus::NotChecked),
    ];
    if kind == Kind::Tdx {
        listed.extend([(Claim::TdxModule, ClaimStatus::Checked), (Claim::NotMigratable, ClaimStatus::Checked)]);
        listed.sort_by_key(|(claim, _)| *claim);
    }
    Ok(VerifiedEvidence {
        kind,
        simulated: false,
        measurements,
        platform: Platform {
            id: Some(platform_id(b"phala/platform/dcap/v1", &pck.ppid)),
            hardware: Hardware::Intel { fmspc: pck.fmspc, sgx_type: pck.sgx_type, dynamic_platform, cached_keys, smt },
        },
        tier,
        tcb,
        report_data,
        valid_until,
        claims: listed,
    })
}

/// What a quote says of itself: nothing is verified.
pub(crate) fn parse_unverified(quote: &[u8]) -> Result<(Measurements, [u8; 64]), Error> {
    let frame = parse_frame(quote)?;
    let parsed = Quote::parse(quote).map_err(|_| Error::QuoteFrame)?;
    let (kind, measurements, report_data) = content(frame.body, &parsed.report)?;
    if kind == frame.kind { Ok((measurements, report_data)) } else { Err(Error::QuoteKind) }
}

/// What `report` says, whose bytes are `body`.
fn content(body: &[u8], report: &Report) -> Result<(Kind, Measurements, [u8; 64]), Error> {
    Ok(match report {
        Report::SgxEnclave(report) => (
            Kind::Sgx,
            Measurements::Sgx {
                mr_enclave: report.mr_enclave,
                mr_signer: report.mr_signer,
                isv_prod_id: report.isv_prod_id,
                isv_svn: report.isv_svn,
                config_id: body.get(CONFIG_ID).and_then(|id| id.try_into().ok()).ok_or(Error::QuoteSize)?,
            },
            report.report_data,
        ),
        Report::TD10(_) | Report::TD15(_) | Report::TD15Ex(_) => {
            let report = report.as_td10().ok_or(Error::QuoteKind)?;
            let measurements = Measurements::Tdx {
                mr_td: report.mr_td,
                rt_mrs: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
                mr_config_id: report.mr_config_id,
                mr_owner: report.mr_owner,
                mr_owner_config: report.mr_owner_config,
            };
            (Kind::Tdx, measurements, report.report_data)
        }
    })
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::False => Some(false),
        PckCertFlag::True => Some(true),
        PckCertFlag::Undefined => None,
    }
}

fn tcb_status(status: dcap_qvl::TcbStatus) -> TcbStatus {
    use dcap_qvl::TcbStatus as Theirs;
    match status {
        Theirs::UpToDate => TcbStatus::UpToDate,
        Theirs::SWHardeningNeeded => TcbStatus::SWHardeningNeeded,
        Theirs::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        Theirs::ConfigurationAndSWHardeningNeeded => TcbStatus::ConfigurationAndSWHardeningNeeded,
        Theirs::OutOfDate => TcbStatus::OutOfDate,
        Theirs::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        Theirs::TDRelaunchAdvised => TcbStatus::TDRelaunchAdvised,
        Theirs::TDRelaunchAdvisedConfigurationNeeded => TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
        Theirs::Revoked => TcbStatus::Revoked,
    }
}

/// The longest text of the library's that is passed on, in characters.
const MAX_TEXT: usize = 200;

/// What the library's text means. Its version is pinned, and the tests hold what is said here; unknown text is refused
/// all the same. The first line that occurs counts: a text may be in another's context.
fn classify(text: &str) -> Error {
    use Document::{Pck, PckCrl, QeIdentity, QeIdentitySigner, RootCaCrl, TcbInfo, TcbInfoSigner};
    let known = [
        ("Failed to parse root CA CRL", Error::DocumentSignature(RootCaCrl)),
        ("Failed to parse PCK CRL", Error::Malformed(PckCrl)),
        ("InvalidCrlSignatureForPublicKey", Error::DocumentSignature(PckCrl)),
        ("CertRevoked", Error::Revoked),
        ("UnknownRevocationStatus", Error::Revoked),
        ("Failed to decode quote", Error::QuoteFrame),
        ("Failed to decode TcbInfo", Error::Malformed(TcbInfo)),
        ("Failed to parse TCB Info", Error::Malformed(TcbInfo)),
        ("TCBInfo issue date is in the future", Error::NotYetValid(TcbInfo)),
        ("TCBInfo expired", Error::Expired(TcbInfo)),
        ("TCB Info signer must be issued directly", Error::Chain(TcbInfoSigner)),
        ("Signature is invalid for tcb_info", Error::DocumentSignature(TcbInfo)),
        ("Failed to decode QeIdentity", Error::Malformed(QeIdentity)),
        ("Failed to parse QE Identity", Error::Malformed(QeIdentity)),
        ("QE Identity issue date is in the future", Error::NotYetValid(QeIdentity)),
        ("QE Identity expired", Error::Expired(QeIdentity)),
        ("QE Identity signer must be issued directly", Error::Chain(QeIdentitySigner)),
        ("Signature is invalid for qe_identity", Error::DocumentSignature(QeIdentity)),
        ("Unsupported QE Identity id/version", Error::Mismatch(QeIdentity)),
        ("Failed to verify certificate chain", Error::IntelChain),
        ("Failed to parse PCK certificate", Error::Malformed(Pck)),
        ("Intel extension", Error::Malformed(Pck)),
        ("Signature is invalid for qe_report", Error::QeReportSignature),
        ("QE report hash mismatch", Error::AttestationKey),
        ("QE report validation failed", Error::QuotingEnclave),
        ("QE MRSIGNER mismatch", Error::QuotingEnclave),
        ("QE ISVPRODID mismatch", Error::QuotingEnclave),
        ("QE MISCSELECT mismatch", Error::QuotingEnclave),
        ("QE ATTRIBUTES mismatch", Error::QuotingEnclave),
        ("No TCB levels found in QE Identity", Error::QuotingEnclave),
        ("QE ISVSVN", Error::TcbTooOld),
        ("ISV enclave report signature is invalid", Error::QuoteSignature),
        ("Fmspc mismatch", Error::Mismatch(TcbInfo)),
        ("quote with non-", Error::Mismatch(TcbInfo)),
        ("No matching TCB level found", Error::TcbTooOld),
        ("TDX module ISVSVN", Error::TcbTooOld),
        ("TDX module identity", Error::TdxModule),
        ("TDX module TCB level", Error::TdxModule),
        ("TCB status is invalid: Revoked", Error::TcbRevoked),
        ("Debug mode is enabled", Error::Debug),
        ("TD profiling is enabled", Error::Profiling),
        ("Reserved bits in TD attributes are set", Error::ReservedBits),
        ("TD migration is enabled", Error::Migratable),
        ("SERVTD_EXT is enabled", Error::ServiceTd),
        ("Invalid MR service TD", Error::ServiceTd),
        ("SEPT_VE_DISABLE is not enabled", Error::SeptVe),
    ];
    let found = known.into_iter().find_map(|(part, error)| text.contains(part).then_some(error));
    found.unwrap_or_else(|| Error::Dcap(text.chars().take(MAX_TEXT).collect()))
}
