use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use phala_attestation::{Measurement, PlatformId, Role, UnixSeconds, Vendor};
use scale_info::TypeInfo;

/// What governance knows of an allowed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Image {
    /// What it is for.
    pub role: Role,
    /// Its version, which says nothing to the chain but much to people.
    pub version: u32,
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
