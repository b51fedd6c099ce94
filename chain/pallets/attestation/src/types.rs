use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use phala_attestation::{
    DcapPolicy, Measurement, PlatformId, Role, SevSnpPolicy, SignatureId, SignedDocument, UnixSeconds, Vendor,
    VerifiedDocument,
};
use scale_info::TypeInfo;

/// What governance knows of an allowed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Image {
    /// What it is for.
    pub role: Role,
    /// Its version, which says nothing to the chain but much to people.
    pub version: u32,
}

/// Which platforms are good enough. The default is strict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct HardwarePolicy {
    /// For SGX and TDX.
    pub dcap: DcapPolicy,
    /// For SEV-SNP.
    pub sev_snp: SevSnpPolicy,
}

/// A vendor's document whose signatures were verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct KeptDocument {
    /// As it was submitted.
    pub document: SignedDocument,
    /// When the vendor made it.
    pub issued: UnixSeconds,
    /// The last second at which it is valid.
    pub valid_until: UnixSeconds,
    /// A list's number, or a TCB evaluation number.
    pub number: u64,
    /// Its signatures.
    pub signatures: Vec<SignatureId>,
}

impl KeptDocument {
    pub(crate) fn new(document: SignedDocument, verified: &VerifiedDocument) -> Self {
        Self {
            document,
            issued: verified.issued(),
            valid_until: verified.valid_until(),
            number: verified.number(),
            signatures: verified.signatures().to_vec(),
        }
    }
}

/// A document of a TCB recovery.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct EarlyDocument {
    /// The document.
    pub kept: KeptDocument,
    /// When it takes the place of the current one.
    pub counts_from: UnixSeconds,
}

/// What [`Pallet::verify_enclave`](crate::Pallet::verify_enclave) found proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedEnclave {
    /// The image.
    pub measurement: Measurement,
    /// The platform.
    pub platform: PlatformId,
    /// Who made the TEE.
    pub vendor: Vendor,
    /// When the verdict ends.
    pub expires: UnixSeconds,
    /// What its verification weighed, beside what a call with simulated evidence does.
    pub weight: Weight,
}
