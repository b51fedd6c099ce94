use alloc::string::String;
use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;

use crate::{Generation, SigningKey, TcbStatus};

/// A document or certificate that a check was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum Document {
    /// Intel's TCB info.
    TcbInfo,
    /// Intel's identity of the quoting enclave.
    QeIdentity,
    /// The certificate of the TCB info's signer.
    TcbInfoSigner,
    /// The certificate of the QE identity's signer.
    QeIdentitySigner,
    /// The PCK certificate chain in a quote.
    PckChain,
    /// The certificate of the CA of PCK certificates.
    PckCa,
    /// The platform's PCK certificate.
    Pck,
    /// The revocation list of Intel's root.
    RootCaCrl,
    /// The revocation list of the PCK CA.
    PckCrl,
    /// Intel SGX Root CA.
    IntelRoot,
    /// AMD's root key certificate, ARK.
    Ark,
    /// AMD's intermediate certificate, ASK or ASVK.
    AmdIntermediate,
    /// The certificate of AMD's VCEK or VLEK.
    Endorsement,
    /// The revocation list of the ARK.
    AmdCrl,
    /// The certificate of a simulated platform.
    SimulatedPlatform,
}

impl core::fmt::Display for Document {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
            Self::TcbInfoSigner => "TCB info signing certificate",
            Self::QeIdentitySigner => "QE identity signing certificate",
            Self::PckChain => "PCK certificate chain",
            Self::PckCa => "PCK CA certificate",
            Self::Pck => "PCK certificate",
            Self::RootCaCrl => "root CA revocation list",
            Self::PckCrl => "PCK revocation list",
            Self::IntelRoot => "Intel SGX Root CA certificate",
            Self::Ark => "ARK certificate",
            Self::AmdIntermediate => "ASK or ASVK certificate",
            Self::Endorsement => "VCEK or VLEK certificate",
            Self::AmdCrl => "AMD revocation list",
            Self::SimulatedPlatform => "simulated platform's certificate",
        })
    }
}

/// Why a quote was refused: what was wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, thiserror::Error)]
pub enum Error {
    // The caller's: documents that do not fit, or are out of date.
    /// Collateral of one vendor, a quote of another.
    #[error("the collateral is another vendor's than the quote: give the quote's own")]
    CollateralKind,
    /// A document is larger than any that the vendor publishes.
    #[error("the {0} is larger than {max} bytes: fetch it again from the vendor", max = .0.max_bytes())]
    DocumentTooLarge(Document),
    /// A document cannot be parsed.
    #[error("the {0} is malformed: fetch it again from the vendor")]
    Malformed(Document),
    /// A document's validity starts later.
    #[error("the {0} is not valid yet: check the clock, or give the one that was current then")]
    NotYetValid(Document),
    /// A document's validity is over.
    #[error("the {0} is no longer valid: fetch the current one from the vendor")]
    Expired(Document),
    /// A document is of another platform, TEE or version than the quote.
    #[error("the {0} is of another kind of platform than the quote: fetch the one for this platform")]
    Mismatch(Document),
    /// Nobody keeps a document that the evidence has to be verified with.
    #[error("the {0} for this platform is not known: fetch it from the vendor, and submit it first")]
    DocumentMissing(Document),
    /// The quote does not carry its PCK certificates, and the collateral has none either.
    #[error("the quote does not carry its PCK certificates: fetch them from the vendor and give them as collateral")]
    PckChainMissing,
    /// The policy asks for a revocation list.
    #[error("the policy requires AMD's revocation list: fetch it from AMD's key distribution service")]
    CrlMissing,

    // Somebody's who forges or changed something.
    /// The evidence is larger than [`MAX_EVIDENCE_BYTES`](crate::MAX_EVIDENCE_BYTES).
    #[error("the evidence is larger than {} bytes, and so than any of a real TEE", crate::MAX_EVIDENCE_BYTES)]
    TooLarge,
    /// The quote is larger than [`MAX_QUOTE_BYTES`](crate::MAX_QUOTE_BYTES), or shorter than what it declares.
    #[error("the quote has the wrong size: take it again from the TEE's driver")]
    QuoteSize,
    /// A part of the quote that no signature covers is not what it has to be.
    #[error("the quote's frame is malformed: take it again from the TEE's driver")]
    QuoteFrame,
    /// The quote has a version that this verifier does not know.
    #[error("quotes of version {0} are not known: update the verifier, or the platform")]
    QuoteVersion(u32),
    /// The quote's TEE type, body type, key type or signer's vendor is not known.
    #[error("the quote is of an unknown kind: only ECDSA quotes of Intel's quoting enclaves are verified")]
    QuoteKind,
    /// A certificate is not signed by the next one, up to the pinned root.
    #[error("the {0} does not lead to the vendor's root: it is forged, or of another generation")]
    Chain(Document),
    /// A certificate of Intel's is not signed by the next one, up to the pinned root.
    #[error("a PCK or signing certificate does not lead to Intel's root: it is forged, or the chain is incomplete")]
    IntelChain,
    /// A certificate of the chain is revoked, or no list says whether it is.
    #[error(
        "a certificate is revoked, or the revocation lists are not the ones of its issuers: do not use this platform"
    )]
    Revoked,
    /// A document is not signed by its signer.
    #[error("the {0} is not signed by its signer: it was changed, fetch it again from the vendor")]
    DocumentSignature(Document),
    /// The quote is not signed by the certified key.
    #[error("the quote is not signed by the certified key: it was changed, or is another platform's")]
    QuoteSignature,
    /// The quoting enclave's report is not signed by the platform's PCK.
    #[error("the quoting enclave is not certified by this platform: the quote was changed")]
    QeReportSignature,
    /// The attestation key is not the one that the quoting enclave made.
    #[error("the attestation key is not the quoting enclave's: the quote was changed")]
    AttestationKey,
    /// The quoting enclave is not Intel's.
    #[error("the quoting enclave is not the one that Intel published: the quote is forged")]
    QuotingEnclave,
    /// The TDX module is not Intel's.
    #[error("the TDX module is not one that Intel published: update it")]
    TdxModule,
    /// The certificate is of another chip.
    #[error("the certificate is of another chip than the report: fetch the certificate of this chip")]
    ChipId,
    /// The certificate's TCB is not the report's.
    #[error("the certificate is of another TCB than the report: fetch the certificate for the reported TCB")]
    CertificateTcb,
    /// The report says that it was signed with another kind of key than the certificate's.
    #[error(
        "the report and its certificate are of different kinds of key: fetch the certificate of the key that signed"
    )]
    SigningKeyKind,
    /// The certificate's product is of another generation than its root, or than the report.
    #[error("the certificate names another product than its root, {0:?}: it is forged, or of another generation")]
    ProductFamily(Generation),

    /// The report data is not the hash of the statement.
    #[error("the evidence does not bind the statement: it was made for another")]
    StatementMismatch,

    // The platform's, or the guest's.
    /// The guest was started in debug mode, where its host can read it.
    #[error("the guest runs in debug mode, where its host can read it: start it without")]
    Debug,
    /// The host may profile the TDX guest.
    #[error("the host may profile the guest: start it without")]
    Profiling,
    /// The guest may be moved to another platform.
    #[error("the guest may be migrated: start it without a migration agent")]
    Migratable,
    /// A service TD is bound to the TDX guest.
    #[error("a service TD is bound to the guest: start it without")]
    ServiceTd,
    /// EPT violations reach the TDX guest as #VE, which lets the host inject them.
    #[error("SEPT_VE_DISABLE is off, which lets the host interrupt the guest at will: start it with it")]
    SeptVe,
    /// Attributes or policy bits that have to have one value have the other.
    #[error("reserved bits of the guest's attributes are set: update the verifier, or start the guest without them")]
    ReservedBits,
    /// The platform is older than any level that the vendor lists.
    #[error("the platform's TCB is below every level that the vendor lists: update its firmware")]
    TcbTooOld,
    /// The platform's TCB is revoked.
    #[error("the platform's TCB is revoked, its keys are compromised: do not use this platform")]
    TcbRevoked,

    /// The quote names no platform.
    #[error("the evidence identifies no platform, and so cannot back one worker: use a key of the chip's own (VCEK)")]
    NoPlatformIdentity,

    // The policy's.
    /// The policy names no simulated root.
    #[error("simulated evidence is not accepted by this chain")]
    SimulatedForbidden,
    /// The TCB status is not one that the policy allows.
    #[error("the platform's TCB status is {0:?}, which the policy does not allow: update the platform, or allow it")]
    TcbStatus(TcbStatus),
    /// An advisory is denied, or not among those allowed.
    #[error("the platform is subject to {0}, which the policy does not allow: update the platform, or allow it")]
    Advisory(String),
    /// The documents are from before a TCB recovery that the policy asks for.
    #[error("TCB evaluation number {0} is below the policy's minimum: fetch newer documents")]
    EvaluationNumber(u32),
    /// Packages may be added to the platform.
    #[error("the platform is dynamic, which the policy does not allow")]
    DynamicPlatform,
    /// Intel keeps the platform's root keys.
    #[error("the platform's keys are cached by Intel, which the policy does not allow")]
    CachedKeys,
    /// Threads share cores.
    #[error("the platform runs with SMT, which the policy does not allow: turn it off, or allow it")]
    Smt,
    /// The policy names no minimum for this generation.
    #[error("the policy does not allow EPYC {0:?}: name a minimum TCB for it")]
    GenerationRefused(Generation),
    /// A component of the TCB is below the policy's minimum.
    #[error("the platform's TCB is below the policy's minimum: update its firmware, and start the guest again")]
    BelowMinimumTcb,
    /// The kind of key is not one that the policy allows.
    #[error("the report is signed with a {0:?}, which the policy does not allow")]
    SigningKeyRefused(SigningKey),
    /// The privilege level is not one that the policy allows.
    #[error("the report is of privilege level {0}, which the policy does not allow")]
    Vmpl(u32),
    /// The platform did not check its memory for aliases.
    #[error("the platform did not check its memory for aliases (BadRAM): update its firmware")]
    AliasCheck,

    /// Refused by the DCAP library for a reason without a variant: the text is the library's.
    #[error("refused: {0}")]
    Dcap(String),
}
