//! What vendors publish, and quotes are checked against. Anyone may supply it: all of it is signed by the vendor.

use alloc::{string::String, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;

use crate::{Document, Error};

/// Documents for one piece of evidence. Roots are not among them: they are pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Collateral {
    /// For [`Evidence::Simulated`](crate::Evidence::Simulated), whose vendor publishes nothing.
    #[default]
    #[codec(index = 0)]
    None,
    /// For [`Evidence::Dcap`](crate::Evidence::Dcap).
    #[codec(index = 1)]
    Dcap(DcapCollateral),
    /// For [`Evidence::SevSnp`](crate::Evidence::SevSnp).
    #[codec(index = 2)]
    SevSnp(SevSnpCollateral),
}

/// From Intel's Provisioning Certification Service, API version 3 or 4.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct DcapCollateral {
    /// The TCB info of the platform's FMSPC and TEE: JSON, exactly as signed.
    pub tcb_info: String,
    /// Its ECDSA P-256 signature, `r` and `s`.
    pub tcb_info_signature: [u8; 64],
    /// The certificate of the key that signed it, DER. The root issues it directly.
    pub tcb_info_signer: Vec<u8>,
    /// The identity of the quoting enclave, SGX's or TDX's: JSON, exactly as signed.
    pub qe_identity: String,
    /// Its ECDSA P-256 signature, `r` and `s`.
    pub qe_identity_signature: [u8; 64],
    /// The certificate of the key that signed it, DER. The root issues it directly.
    pub qe_identity_signer: Vec<u8>,
    /// The root's list of revoked CAs, DER.
    pub root_ca_crl: Vec<u8>,
    /// The list of revoked platforms of the CA that issued the platform's certificate, DER.
    pub pck_crl: Vec<u8>,
}

/// From AMD's Key Distribution Service, or the cloud provider.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct SevSnpCollateral {
    /// The certificate of the key that issued the report's, ASK or ASVK, DER. The ARK issues it directly.
    pub intermediate: Vec<u8>,
    /// The ARK's revocation list, DER. Without, revocation is not checked, which the policy may refuse.
    pub crl: Option<Vec<u8>>,
}

impl Document {
    /// The most bytes of it that are looked at: several times what vendors publish today.
    pub const fn max_bytes(self) -> usize {
        match self {
            Document::TcbInfo => 64 * 1024,
            Document::PckCrl | Document::AmdCrl => 128 * 1024,
            Document::RootCaCrl | Document::QeIdentity => 8 * 1024,
            Document::PckChain => 12 * 1024,
            Document::IntelRoot
            | Document::TcbInfoSigner
            | Document::QeIdentitySigner
            | Document::PckCa
            | Document::Pck
            | Document::Ark
            | Document::AmdIntermediate
            | Document::Endorsement
            | Document::SimulatedPlatform => 4 * 1024,
        }
    }
}

pub(crate) fn check_size(document: Document, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > document.max_bytes() { Err(Error::DocumentTooLarge(document)) } else { Ok(()) }
}
