//! Documents of vendors one by one, so that whoever keeps them verifies each once.

use alloc::{string::String, vec, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use dcap_qvl::{QeIdentity, TcbInfo, config::EcdsaSigEncoder, intel::parse_pck_extension, signature::DerSigEncoder};
use scale_info::TypeInfo;

use crate::{
    Collateral, DcapCollateral, Document, Error, Evidence, Generation, Kind, NoneKnown, Policy, SevSnpCollateral,
    SignatureId, SigningKey, UnixSeconds,
    certificates::{Certificate, ECDSA_SHA256, RevocationList, Validity},
    collateral::check_size,
    dcap::{self, PCK_PLATFORM_CA, PCK_PROCESSOR_CA},
    roots::Roots,
    sev_snp,
};

/// Which of Intel's two CAs issued a platform's certificate.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum PckCa {
    /// For processors of servers.
    Platform,
    /// For all others.
    Processor,
}

impl PckCa {
    fn of(certificate_name: &str) -> Option<Self> {
        match certificate_name {
            PCK_PLATFORM_CA => Some(Self::Platform),
            PCK_PROCESSOR_CA => Some(Self::Processor),
            _ => None,
        }
    }
}

/// What a document is about. There is one document of each at a time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum DocumentId {
    /// The CAs that Intel's root has revoked.
    IntelRootCrl,
    /// The platforms that one of Intel's CAs has revoked.
    PckCrl(PckCa),
    /// The TCB levels for SGX of the platforms with this FMSPC.
    SgxTcbInfo([u8; 6]),
    /// The TCB levels for TDX of the platforms with this FMSPC.
    TdxTcbInfo([u8; 6]),
    /// The quoting enclave for SGX.
    SgxQeIdentity,
    /// The quoting enclave for TDX.
    TdxQeIdentity,
    /// The certificate of AMD's key that issues keys of this kind.
    AmdIntermediate(Generation, SigningKey),
    /// What AMD's root of this generation has revoked.
    AmdCrl(Generation),
}

impl DocumentId {
    /// Whether documents about this have TCB evaluation numbers, which a TCB recovery raises.
    pub fn has_recoveries(self) -> bool {
        match self {
            Self::SgxTcbInfo(_) | Self::TdxTcbInfo(_) | Self::SgxQeIdentity | Self::TdxQeIdentity => true,
            Self::IntelRootCrl | Self::PckCrl(_) | Self::AmdIntermediate(..) | Self::AmdCrl(_) => false,
        }
    }

    /// As errors name it.
    pub fn document(self) -> Document {
        match self {
            Self::IntelRootCrl => Document::RootCaCrl,
            Self::PckCrl(_) => Document::PckCrl,
            Self::SgxTcbInfo(_) | Self::TdxTcbInfo(_) => Document::TcbInfo,
            Self::SgxQeIdentity | Self::TdxQeIdentity => Document::QeIdentity,
            Self::AmdIntermediate(..) => Document::AmdIntermediate,
            Self::AmdCrl(_) => Document::AmdCrl,
        }
    }
}

/// JSON of Intel's with what it takes to verify it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct SignedJson {
    /// Exactly as signed.
    pub json: String,
    /// The ECDSA P-256 signature, `r` and `s`.
    pub signature: [u8; 64],
    /// The certificate of the key that signed it, DER. The root issues it directly.
    pub signer: Vec<u8>,
}

/// A document with what it takes to verify it. Anyone may supply it: it is signed by the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum SignedDocument {
    /// [`DocumentId::IntelRootCrl`], DER.
    IntelRootCrl(Vec<u8>),
    /// [`DocumentId::PckCrl`].
    PckCrl {
        /// The list, DER.
        list: Vec<u8>,
        /// The certificate of the CA, DER. The root issues it directly.
        issuer: Vec<u8>,
    },
    /// [`DocumentId::SgxTcbInfo`] and [`DocumentId::TdxTcbInfo`].
    TcbInfo(SignedJson),
    /// [`DocumentId::SgxQeIdentity`] and [`DocumentId::TdxQeIdentity`].
    QeIdentity(SignedJson),
    /// [`DocumentId::AmdIntermediate`], DER.
    AmdIntermediate(Vec<u8>),
    /// [`DocumentId::AmdCrl`], DER.
    AmdCrl(Vec<u8>),
}

/// A document whose signatures and dates hold. Made by [`verify_document`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDocument {
    id: DocumentId,
    issued: UnixSeconds,
    valid_until: UnixSeconds,
    number: u64,
    signatures: Vec<SignatureId>,
}

impl VerifiedDocument {
    /// What it is about.
    pub fn id(&self) -> DocumentId {
        self.id
    }

    /// When the vendor made it.
    pub fn issued(&self) -> UnixSeconds {
        self.issued
    }

    /// The last second at which it is valid.
    pub fn valid_until(&self) -> UnixSeconds {
        self.valid_until
    }

    /// What grows with each: a list's number, the TCB evaluation number of JSON; 0 for certificates.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its signatures, which [`KnownSignatures`](crate::KnownSignatures) may know from now on.
    pub fn signatures(&self) -> &[SignatureId] {
        &self.signatures
    }
}

/// Verifies one document at the time `now`, under the roots pinned in this source, or the simulated ones of `policy`.
///
/// Whether it is newer than another one is for the caller; whether a certificate in it is revoked is checked with the
/// evidence.
///
/// # Errors
/// The first check that failed; see [`Error`].
pub fn verify_document(
    document: &SignedDocument,
    policy: &Policy,
    now: UnixSeconds,
) -> Result<VerifiedDocument, Error> {
    verify_document_under(&policy.roots(), document, now)
}

pub(crate) fn verify_document_under(
    roots: &Roots<'_>,
    document: &SignedDocument,
    now: UnixSeconds,
) -> Result<VerifiedDocument, Error> {
    match document {
        SignedDocument::IntelRootCrl(list) => {
            let root = Certificate::parse(Document::IntelRoot, roots.intel)?;
            verify_list(DocumentId::IntelRootCrl, list, &root, now)
        }
        SignedDocument::PckCrl { list, issuer } => {
            let (issuer, issued_by) = issued_by_root(roots.intel, Document::PckCa, issuer, now)?;
            let ca = PckCa::of(&issuer.common_name()?).ok_or(Error::Mismatch(Document::PckCa))?;
            let mut verified = verify_list(DocumentId::PckCrl(ca), list, &issuer, now)?;
            verified.signatures.push(issued_by);
            Ok(verified)
        }
        SignedDocument::TcbInfo(signed) => {
            let signer = verify_signed_json(roots, Document::TcbInfo, Document::TcbInfoSigner, signed, now)?;
            let info: TcbInfo = serde_json::from_str(&signed.json).map_err(|_| Error::Malformed(Document::TcbInfo))?;
            let id = match (info.id.as_str(), dcap::parse_fmspc(&info.fmspc)) {
                ("SGX", Some(fmspc)) => DocumentId::SgxTcbInfo(fmspc),
                ("TDX", Some(fmspc)) => DocumentId::TdxTcbInfo(fmspc),
                _ => return Err(Error::Mismatch(Document::TcbInfo)),
            };
            signer.says(id, &info.issue_date, &info.next_update, info.tcb_evaluation_data_number, now)
        }
        SignedDocument::QeIdentity(signed) => {
            let signer = verify_signed_json(roots, Document::QeIdentity, Document::QeIdentitySigner, signed, now)?;
            let identity: QeIdentity =
                serde_json::from_str(&signed.json).map_err(|_| Error::Malformed(Document::QeIdentity))?;
            let id = match identity.id.as_str() {
                "QE" => DocumentId::SgxQeIdentity,
                "TD_QE" => DocumentId::TdxQeIdentity,
                _ => return Err(Error::Mismatch(Document::QeIdentity)),
            };
            signer.says(id, &identity.issue_date, &identity.next_update, identity.tcb_evaluation_data_number, now)
        }
        SignedDocument::AmdIntermediate(certificate) => {
            let certificate = Certificate::parse(Document::AmdIntermediate, certificate)?;
            let (generation, issues) = sev_snp::parse_intermediate_name(&certificate.common_name()?)
                .ok_or(Error::Mismatch(Document::AmdIntermediate))?;
            let root = Certificate::parse(Document::Ark, roots.amd(generation))?;
            let signature = certificate.check_issued_by::<NoneKnown>(&root)?;
            root.validity().check(Document::Ark, now)?;
            certificate.validity().check(Document::AmdIntermediate, now)?;
            Ok(VerifiedDocument {
                id: DocumentId::AmdIntermediate(generation, issues),
                issued: certificate.validity().from,
                valid_until: certificate.validity().until.min(root.validity().until),
                number: 0,
                signatures: vec![signature],
            })
        }
        SignedDocument::AmdCrl(list) => {
            let generation = RevocationList::parse(Document::AmdCrl, list)?
                .issuer()
                .and_then(|name| sev_snp::parse_root_name(&name))
                .ok_or(Error::Mismatch(Document::AmdCrl))?;
            let root = Certificate::parse(Document::Ark, roots.amd(generation))?;
            verify_list(DocumentId::AmdCrl(generation), list, &root, now)
        }
    }
}

/// A certificate that Intel's root issued, and the signature.
fn issued_by_root(
    root: &[u8],
    document: Document,
    der: &[u8],
    now: UnixSeconds,
) -> Result<(Certificate, SignatureId), Error> {
    let root = Certificate::parse(Document::IntelRoot, root)?;
    let certificate = Certificate::parse(document, der)?;
    let signature = certificate.check_issued_by::<NoneKnown>(&root)?;
    root.validity().check(Document::IntelRoot, now)?;
    certificate.validity().check(document, now)?;
    Ok((certificate, signature))
}

fn verify_list(id: DocumentId, der: &[u8], issuer: &Certificate, now: UnixSeconds) -> Result<VerifiedDocument, Error> {
    let document = id.document();
    let list = RevocationList::parse(document, der)?;
    let signature = list.check_issued_by::<NoneKnown>(issuer)?;
    let validity = list.validity()?;
    validity.check(document, now)?;
    issuer.validity().check(document, now)?;
    Ok(VerifiedDocument {
        id,
        issued: validity.from,
        valid_until: validity.until.min(issuer.validity().until),
        number: list.number()?,
        signatures: vec![signature],
    })
}

/// Who signed JSON of Intel's, once the signature was checked.
struct JsonSigner {
    valid_until: UnixSeconds,
    signatures: Vec<SignatureId>,
}

/// Checks the signature before anything of the JSON is parsed.
fn verify_signed_json(
    roots: &Roots<'_>,
    document: Document,
    signer: Document,
    signed: &SignedJson,
    now: UnixSeconds,
) -> Result<JsonSigner, Error> {
    check_size(document, signed.json.as_bytes())?;
    let (certificate, issued_by) = issued_by_root(roots.intel, signer, &signed.signer, now)?;
    if certificate.common_name()? != dcap::TCB_SIGNER {
        return Err(Error::Mismatch(signer));
    }
    let refused = Error::DocumentSignature(document);
    let (r, s) = signed.signature.split_at(32);
    let signature = DerSigEncoder::encode_ecdsa_sig(r, s).map_err(|_| refused.clone())?;
    let signature = certificate
        .check_signature::<NoneKnown>(ECDSA_SHA256, signed.json.as_bytes(), &signature)
        .map_err(|()| refused)?;
    Ok(JsonSigner { valid_until: certificate.validity().until, signatures: vec![signature, issued_by] })
}

impl JsonSigner {
    fn says(
        self,
        id: DocumentId,
        issued: &str,
        next: &str,
        number: u32,
        now: UnixSeconds,
    ) -> Result<VerifiedDocument, Error> {
        let document = id.document();
        let seconds = |text: &str| {
            let date: der::DateTime = text.parse().map_err(|_| Error::Malformed(document))?;
            Ok(date.unix_duration().as_secs())
        };
        let validity = Validity { from: seconds(issued)?, until: seconds(next)? };
        validity.check(document, now)?;
        Ok(VerifiedDocument {
            id,
            issued: validity.from,
            valid_until: validity.until.min(self.valid_until),
            number: number.into(),
            signatures: self.signatures,
        })
    }
}

/// The documents that evidence has to be verified with, by what it says of itself: nothing is verified yet.
///
/// # Errors
/// When the evidence cannot be parsed.
pub fn required_documents(evidence: &Evidence) -> Result<Vec<DocumentId>, Error> {
    match evidence {
        Evidence::Dcap { quote, pck_chain } => {
            let (kind, (pck, ca)) = dcap::parse_chain_of(quote, pck_chain.as_ref())?;
            let ca = Certificate::parse(Document::PckCa, &ca)?.common_name()?;
            let ca = PckCa::of(&ca).ok_or(Error::Mismatch(Document::PckCa))?;
            check_size(Document::Pck, &pck)?;
            let fmspc = parse_pck_extension(&pck).map_err(|_| Error::Malformed(Document::Pck))?.fmspc;
            let (tcb_info, qe_identity) = match kind {
                Kind::Sgx => (DocumentId::SgxTcbInfo(fmspc), DocumentId::SgxQeIdentity),
                Kind::Tdx => (DocumentId::TdxTcbInfo(fmspc), DocumentId::TdxQeIdentity),
                Kind::SevSnp | Kind::Simulated => return Err(Error::QuoteKind),
            };
            Ok(vec![DocumentId::IntelRootCrl, DocumentId::PckCrl(ca), tcb_info, qe_identity])
        }
        Evidence::SevSnp { endorsement, .. } => {
            let issuer = Certificate::parse(Document::Endorsement, endorsement)?.issuer_name()?;
            let (generation, key) =
                sev_snp::parse_intermediate_name(&issuer).ok_or(Error::Mismatch(Document::Endorsement))?;
            Ok(vec![DocumentId::AmdIntermediate(generation, key), DocumentId::AmdCrl(generation)])
        }
        Evidence::Simulated(_) => Ok(vec![]),
    }
}

/// The collateral of evidence, from whoever keeps documents. AMD's revocation list may be missing: the policy decides.
///
/// # Errors
/// When the evidence cannot be parsed, and [`Error::DocumentMissing`].
pub fn collect_collateral(
    evidence: &Evidence,
    mut kept: impl FnMut(DocumentId) -> Option<SignedDocument>,
) -> Result<Collateral, Error> {
    let (mut root_ca_crl, mut pck_crl, mut tcb_info, mut qe_identity) = (None, None, None, None);
    let (mut intermediate, mut crl) = (None, None);
    for id in required_documents(evidence)? {
        match (id, kept(id)) {
            (_, Some(SignedDocument::IntelRootCrl(list))) => root_ca_crl = Some(list),
            (_, Some(SignedDocument::PckCrl { list, .. })) => pck_crl = Some(list),
            (_, Some(SignedDocument::TcbInfo(json))) => tcb_info = Some(json),
            (_, Some(SignedDocument::QeIdentity(json))) => qe_identity = Some(json),
            (_, Some(SignedDocument::AmdIntermediate(certificate))) => intermediate = Some(certificate),
            (_, Some(SignedDocument::AmdCrl(list))) => crl = Some(list),
            (DocumentId::AmdCrl(_), None) => {}
            (id, None) => return Err(Error::DocumentMissing(id.document())),
        }
    }
    match (evidence, root_ca_crl.zip(pck_crl), tcb_info.zip(qe_identity), intermediate) {
        (Evidence::Dcap { .. }, Some((root_ca_crl, pck_crl)), Some((tcb_info, qe_identity)), _) => {
            Ok(Collateral::Dcap(DcapCollateral {
                tcb_info: tcb_info.json,
                tcb_info_signature: tcb_info.signature,
                tcb_info_signer: tcb_info.signer,
                qe_identity: qe_identity.json,
                qe_identity_signature: qe_identity.signature,
                qe_identity_signer: qe_identity.signer,
                root_ca_crl,
                pck_crl,
            }))
        }
        (Evidence::SevSnp { .. }, _, _, Some(intermediate)) => {
            Ok(Collateral::SevSnp(SevSnpCollateral { intermediate, crl }))
        }
        (Evidence::Simulated(_), ..) => Ok(Collateral::None),
        // Another document was kept than the one that was asked for.
        (Evidence::Dcap { .. } | Evidence::SevSnp { .. }, ..) => Err(Error::CollateralKind),
    }
}

/// The documents that a piece of evidence's collateral consists of: the other way of [`collect_collateral`].
///
/// # Errors
/// When the evidence cannot be parsed, or is of another kind.
pub fn split_collateral(evidence: &Evidence, collateral: &Collateral) -> Result<Vec<SignedDocument>, Error> {
    match (evidence, collateral) {
        (Evidence::Dcap { quote, pck_chain }, Collateral::Dcap(collateral)) => {
            let (_, (_, issuer)) = dcap::parse_chain_of(quote, pck_chain.as_ref())?;
            let collateral = collateral.clone();
            Ok(vec![
                SignedDocument::IntelRootCrl(collateral.root_ca_crl),
                SignedDocument::PckCrl { list: collateral.pck_crl, issuer },
                SignedDocument::TcbInfo(SignedJson {
                    json: collateral.tcb_info,
                    signature: collateral.tcb_info_signature,
                    signer: collateral.tcb_info_signer,
                }),
                SignedDocument::QeIdentity(SignedJson {
                    json: collateral.qe_identity,
                    signature: collateral.qe_identity_signature,
                    signer: collateral.qe_identity_signer,
                }),
            ])
        }
        (Evidence::SevSnp { .. }, Collateral::SevSnp(SevSnpCollateral { intermediate, crl })) => {
            let intermediate = SignedDocument::AmdIntermediate(intermediate.clone());
            Ok([intermediate].into_iter().chain(crl.clone().map(SignedDocument::AmdCrl)).collect())
        }
        (Evidence::Simulated(_), Collateral::None) => Ok(vec![]),
        (Evidence::Dcap { .. } | Evidence::SevSnp { .. } | Evidence::Simulated(_), _) => Err(Error::CollateralKind),
    }
}
