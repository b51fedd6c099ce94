//! Quotes and collateral from the content of files, which tells their kind. Whoever calls opens the files.
//!
//! Understood, each raw or as hexadecimal text: DCAP quotes; SEV-SNP reports; Azure's HCL reports with an SEV-SNP report
//! in them; JSON of Intel's PCS (`tcbInfo`, `enclaveIdentity`) and of `dcap-qvl` (`tcb_info`, …), the latter in SCALE too;
//! certificates and revocation lists in PEM and DER. Nothing is verified here, and what is read goes to
//! [`verify`](crate::verify). Roots in files are compared with the pinned ones, so that a foreign one is told early.
//!
//! ```
//! use phala_attestation::{VerifiedEvidence, files};
//!
//! fn verify(contents: &[Vec<u8>], policy: &[u8], now: u64) -> Result<VerifiedEvidence, Box<dyn std::error::Error>> {
//!     let mut found = files::Files::default();
//!     for content in contents {
//!         found.add(content)?;
//!     }
//!     let (evidence, collateral) = found.finish()?;
//!     Ok(phala_attestation::verify(&evidence, &collateral, &files::parse_policy(policy)?, now)?)
//! }
//! ```

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use codec::Decode;
use dcap_qvl::QuoteCollateralV3;
use serde_json::value::RawValue;

use crate::{
    Collateral, DcapCollateral, Document, Evidence, MAX_QUOTE_BYTES, Policy, SevSnpCollateral, SignedDocument,
    SignedJson,
    certificates::{Certificate, RevocationList, parse_pem},
    dcap,
    roots::Roots,
    sev_snp,
};

/// The largest content that is looked at.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The most PEM documents in a file.
const MAX_PEM: usize = 16;
/// Where an HCL report has the hardware's report: after its own header.
const HCL_REPORT: usize = 0x20;

/// Why files could not be read as a quote and its collateral.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("the file is larger than {MAX_FILE_BYTES} bytes, and so than any quote or collateral")]
    TooLarge,
    /// The content is of no known kind.
    #[error("the file is neither a quote nor collateral of a known kind")]
    Unknown,
    /// A TDREPORT, which the CPU authenticates for itself alone.
    #[error("the file is a TDREPORT, which only its own CPU can check: ask the guest's quoting service for a quote")]
    TdReport,
    /// A root certificate that is not the pinned one.
    #[error("the file has a root certificate that is not the vendor's")]
    ForeignRoot,
    /// A certificate or list of none of the issuers that matter.
    #[error("the file has a certificate or list of an unknown issuer: {0}")]
    UnknownIssuer(String),
    /// Two different quotes or documents for the same purpose.
    #[error("there are two different files for one purpose: {0}")]
    Twice(String),
    /// No quote.
    #[error("no file has a quote")]
    NoQuote,
    /// A document is missing.
    #[error("no file has the {0}: fetch it from the vendor, and give it as collateral")]
    Missing(Document),
    /// The policy is not what the documentation says.
    #[error("the policy is malformed")]
    Policy(#[source] serde_json::Error),
}

/// What the hardware signed.
#[derive(Clone, Debug)]
pub(crate) enum Quote {
    Dcap(Vec<u8>),
    SevSnp(Vec<u8>),
}

/// What was found in files so far.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub(crate) quote: Option<Quote>,
    tcb_info: Option<(String, [u8; 64])>,
    tcb_info_signer: Option<Vec<u8>>,
    qe_identity: Option<(String, [u8; 64])>,
    qe_identity_signer: Option<Vec<u8>>,
    signer: Option<Vec<u8>>,
    root_ca_crl: Option<Vec<u8>>,
    platform_crl: Option<Vec<u8>>,
    processor_crl: Option<Vec<u8>>,
    pck: Option<Vec<u8>>,
    platform_ca: Option<Vec<u8>>,
    processor_ca: Option<Vec<u8>>,
    endorsement: Option<Vec<u8>>,
    intermediate: Option<Vec<u8>>,
    amd_crl: Option<Vec<u8>>,
}

/// Reads a policy from JSON. What it leaves out is as in the default, and unknown fields are refused.
///
/// # Errors
/// [`FileError::Policy`].
pub fn parse_policy(json: &[u8]) -> Result<Policy, FileError> {
    serde_json::from_slice(json).map_err(FileError::Policy)
}

impl Files {
    /// Adds the content of a file.
    ///
    /// # Errors
    /// When it is of no known kind, or not the only one for its purpose.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        match parse_hex(bytes) {
            Some(binary) => self.add_content(&binary),
            None => self.add_content(bytes),
        }
    }

    /// The evidence and its collateral.
    ///
    /// # Errors
    /// [`FileError::NoQuote`] and [`FileError::Missing`].
    pub fn finish(self) -> Result<(Evidence, Collateral), FileError> {
        let missing = |document| move || FileError::Missing(document);
        match self.quote.ok_or(FileError::NoQuote)? {
            Quote::Dcap(quote) => {
                let carried = dcap::parse_frame(&quote).ok().and_then(|frame| frame.chain);
                let issuers = carried.and_then(|pem| parse_pem(pem, MAX_PEM)).unwrap_or_default();
                let issued_by_platform_ca = issuers
                    .iter()
                    .filter_map(|issuer| Certificate::parse(Document::PckCa, &issuer.der).ok()?.common_name().ok())
                    .any(|name| name == "Intel SGX PCK Platform CA");
                let platform = issued_by_platform_ca || (carried.is_none() && self.platform_ca.is_some());
                let (ca, pck_crl) = if platform {
                    (self.platform_ca, self.platform_crl)
                } else {
                    (self.processor_ca, self.processor_crl)
                };
                let (tcb_info, tcb_info_signature) = self.tcb_info.ok_or_else(missing(Document::TcbInfo))?;
                let (qe_identity, qe_identity_signature) =
                    self.qe_identity.ok_or_else(missing(Document::QeIdentity))?;
                let collateral = DcapCollateral {
                    tcb_info,
                    tcb_info_signature,
                    tcb_info_signer: self
                        .tcb_info_signer
                        .or_else(|| self.signer.clone())
                        .ok_or_else(missing(Document::TcbInfoSigner))?,
                    qe_identity,
                    qe_identity_signature,
                    qe_identity_signer: self
                        .qe_identity_signer
                        .or(self.signer)
                        .ok_or_else(missing(Document::QeIdentitySigner))?,
                    root_ca_crl: self.root_ca_crl.ok_or_else(missing(Document::RootCaCrl))?,
                    pck_crl: pck_crl.ok_or_else(missing(Document::PckCrl))?,
                };
                Ok((Evidence::Dcap { quote, pck_chain: self.pck.zip(ca) }, Collateral::Dcap(collateral)))
            }
            Quote::SevSnp(report) => {
                let endorsement = self.endorsement.ok_or_else(missing(Document::Endorsement))?;
                let collateral = SevSnpCollateral {
                    intermediate: self.intermediate.ok_or_else(missing(Document::AmdIntermediate))?,
                    crl: self.amd_crl,
                };
                Ok((Evidence::SevSnp { report, endorsement }, Collateral::SevSnp(collateral)))
            }
        }
    }

    /// All documents that were found whole, for whoever keeps them: with what it takes to verify each by itself.
    pub fn documents(self) -> Vec<SignedDocument> {
        let json = |document: Option<(String, [u8; 64])>, signer: Option<Vec<u8>>| {
            let ((json, signature), signer) = document.zip(signer.or_else(|| self.signer.clone()))?;
            Some(SignedJson { json, signature, signer })
        };
        let pck_crl = |list: Option<Vec<u8>>, ca: Option<Vec<u8>>| {
            list.zip(ca).map(|(list, issuer)| SignedDocument::PckCrl { list, issuer })
        };
        [
            self.root_ca_crl.clone().map(SignedDocument::IntelRootCrl),
            pck_crl(self.platform_crl, self.platform_ca),
            pck_crl(self.processor_crl, self.processor_ca),
            json(self.tcb_info, self.tcb_info_signer).map(SignedDocument::TcbInfo),
            json(self.qe_identity, self.qe_identity_signer).map(SignedDocument::QeIdentity),
            self.intermediate.map(SignedDocument::AmdIntermediate),
            self.amd_crl.map(SignedDocument::AmdCrl),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn add_content(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if let Some(pem) = bytes.trim_ascii().starts_with(b"-----BEGIN ").then(|| parse_pem(bytes, MAX_PEM)) {
            return pem.ok_or(FileError::Unknown)?.iter().try_for_each(|document| self.add_der(&document.der));
        }
        if bytes.trim_ascii().starts_with(b"{") {
            return self.add_json(bytes);
        }
        if let Some(report) = bytes.strip_prefix(b"HCLA").and(bytes.get(HCL_REPORT..)) {
            return match report.get(..sev_snp::REPORT_BYTES) {
                Some(report) if sev_snp::Report::parse(report).is_ok() => {
                    self.set_quote(Quote::SevSnp(report.to_vec()))
                }
                _ if report.starts_with(&[0x81, 0, 0, 0]) => Err(FileError::TdReport),
                _ => Err(FileError::Unknown),
            };
        }
        if sev_snp::Report::parse(bytes).is_ok() {
            return self.set_quote(Quote::SevSnp(bytes.to_vec()));
        }
        if bytes.len() <= MAX_QUOTE_BYTES && dcap::is_quote(bytes) {
            return self.set_quote(Quote::Dcap(bytes.to_vec()));
        }
        if bytes.first() == Some(&0x30) {
            return self.add_der(bytes);
        }
        // Collateral of before the library had the last field, an option.
        let old = || QuoteCollateralV3::decode(&mut [bytes, &[0]].concat().as_slice());
        let collateral = QuoteCollateralV3::decode(&mut &*bytes).or_else(|_| old());
        self.add_library_collateral(collateral.map_err(|_| FileError::Unknown)?)
    }

    fn add_json(&mut self, json: &[u8]) -> Result<(), FileError> {
        #[derive(serde::Deserialize)]
        struct Signed<'a> {
            #[serde(borrow, rename = "tcbInfo")]
            tcb_info: Option<&'a RawValue>,
            #[serde(borrow, rename = "enclaveIdentity")]
            qe_identity: Option<&'a RawValue>,
            signature: Option<String>,
        }
        if let Ok(collateral) = serde_json::from_slice::<QuoteCollateralV3>(json) {
            return self.add_library_collateral(collateral);
        }
        let signed: Signed = serde_json::from_slice(json).map_err(|_| FileError::Unknown)?;
        let signature = signed.signature.and_then(|text| parse_hex(text.as_bytes())).ok_or(FileError::Unknown)?;
        let signature = signature.try_into().map_err(|_| FileError::Unknown)?;
        match (signed.tcb_info, signed.qe_identity) {
            (Some(document), None) => set(&mut self.tcb_info, (document.get().into(), signature), Document::TcbInfo),
            (None, Some(document)) => {
                set(&mut self.qe_identity, (document.get().into(), signature), Document::QeIdentity)
            }
            _ => Err(FileError::Unknown),
        }
    }

    fn add_library_collateral(&mut self, given: QuoteCollateralV3) -> Result<(), FileError> {
        let signature = |bytes: Vec<u8>| <[u8; 64]>::try_from(bytes).map_err(|_| FileError::Unknown);
        let signer = |pem: &str| {
            let mut chain = parse_pem(pem.as_bytes(), MAX_PEM).ok_or(FileError::Unknown)?.into_iter();
            chain.next().map(|first| first.der).ok_or(FileError::Unknown)
        };
        set(&mut self.tcb_info_signer, signer(&given.tcb_info_issuer_chain)?, Document::TcbInfoSigner)?;
        set(&mut self.qe_identity_signer, signer(&given.qe_identity_issuer_chain)?, Document::QeIdentitySigner)?;
        set(&mut self.tcb_info, (given.tcb_info, signature(given.tcb_info_signature)?), Document::TcbInfo)?;
        set(&mut self.qe_identity, (given.qe_identity, signature(given.qe_identity_signature)?), Document::QeIdentity)?;
        // Some services give lists as hexadecimal text.
        for list in [given.root_ca_crl, given.pck_crl] {
            self.add_der(&parse_hex(&list).unwrap_or(list))?;
        }
        for document in parse_pem(given.pck_crl_issuer_chain.as_bytes(), MAX_PEM).ok_or(FileError::Unknown)? {
            self.add_der(&document.der)?;
        }
        let chain = given.pck_certificate_chain.unwrap_or_default();
        parse_pem(chain.as_bytes(), MAX_PEM)
            .ok_or(FileError::Unknown)?
            .iter()
            .try_for_each(|document| self.add_der(&document.der))
    }

    /// A certificate or revocation list, by the name of its subject or issuer.
    fn add_der(&mut self, der: &[u8]) -> Result<(), FileError> {
        // The bound of the largest of its kind: which one it is, only its content says.
        if let Ok(certificate) = Certificate::parse(Document::Endorsement, der) {
            let name = certificate.common_name().map_err(|_| FileError::Unknown)?;
            return match name.as_str() {
                "Intel SGX Root CA" => check_root(der, &[Roots::PINNED.intel]),
                "ARK-Milan" | "ARK-Genoa" | "ARK-Turin" => {
                    check_root(der, &[Roots::PINNED.milan, Roots::PINNED.genoa, Roots::PINNED.turin])
                }
                "Intel SGX TCB Signing" => set(&mut self.signer, der.to_vec(), Document::TcbInfoSigner),
                "Intel SGX PCK Certificate" => set(&mut self.pck, der.to_vec(), Document::Pck),
                "Intel SGX PCK Platform CA" => set(&mut self.platform_ca, der.to_vec(), Document::PckCa),
                "Intel SGX PCK Processor CA" => set(&mut self.processor_ca, der.to_vec(), Document::PckCa),
                "SEV-VCEK" | "SEV-VLEK" => set(&mut self.endorsement, der.to_vec(), Document::Endorsement),
                name if sev_snp::is_intermediate(name) => {
                    set(&mut self.intermediate, der.to_vec(), Document::AmdIntermediate)
                }
                _ => Err(FileError::UnknownIssuer(name)),
            };
        }
        let list = RevocationList::parse(Document::PckCrl, der).map_err(|_| FileError::Unknown)?;
        let name = list.issuer().ok_or(FileError::Unknown)?;
        match name.as_str() {
            "Intel SGX Root CA" => set(&mut self.root_ca_crl, der.to_vec(), Document::RootCaCrl),
            "Intel SGX PCK Platform CA" => set(&mut self.platform_crl, der.to_vec(), Document::PckCrl),
            "Intel SGX PCK Processor CA" => set(&mut self.processor_crl, der.to_vec(), Document::PckCrl),
            "ARK-Milan" | "ARK-Genoa" | "ARK-Turin" => set(&mut self.amd_crl, der.to_vec(), Document::AmdCrl),
            _ => Err(FileError::UnknownIssuer(name)),
        }
    }

    fn set_quote(&mut self, quote: Quote) -> Result<(), FileError> {
        match self.quote.replace(quote) {
            None => Ok(()),
            Some(_) => Err(FileError::Twice("quote".into())),
        }
    }
}

fn check_root(der: &[u8], pinned: &[&[u8]]) -> Result<(), FileError> {
    if pinned.contains(&der) { Ok(()) } else { Err(FileError::ForeignRoot) }
}

fn set<T: PartialEq>(slot: &mut Option<T>, value: T, document: Document) -> Result<(), FileError> {
    match slot {
        Some(other) if *other != value => Err(FileError::Twice(document.to_string())),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(text).ok()?.trim();
    let digits: Vec<u8> = text
        .strip_prefix("0x")
        .unwrap_or(text)
        .chars()
        .filter(|character| !character.is_ascii_whitespace())
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    (!pairs.is_empty()).then(|| pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}
