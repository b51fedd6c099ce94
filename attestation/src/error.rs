use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Why evidence was refused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, thiserror::Error,
)]
pub enum Error {
    /// The policy names no simulated root: this chain does not accept simulated evidence.
    #[error("simulated evidence is not accepted by this chain")]
    SimulatedForbidden,
    /// The platform certificate is not signed by the vendor's root.
    #[error("the platform certificate is not signed by the vendor's root")]
    CertificateSignature,
    /// The platform certificate is not valid yet, or no more.
    #[error("the platform certificate is not valid at this time")]
    CertificateValidity,
    /// The platform has been revoked, or its TCB is out of date.
    #[error("the platform's TCB is out of date or revoked")]
    TcbRefused,
    /// The report is not signed by the certified platform key.
    #[error("the report is not signed by the certified platform key")]
    ReportSignature,
    /// The enclave was started in debug mode, where its host can read it.
    #[error("the enclave runs in debug mode")]
    Debug,
    /// The evidence has a version that this verifier does not know.
    #[error("the evidence has an unknown version")]
    UnknownVersion,
    /// The report data is not the hash of the statement.
    #[error("the evidence does not bind the statement")]
    StatementMismatch,
    /// The evidence is larger than [`MAX_EVIDENCE_BYTES`](crate::MAX_EVIDENCE_BYTES).
    #[error("the evidence is larger than {} bytes", crate::MAX_EVIDENCE_BYTES)]
    TooLarge,
}
