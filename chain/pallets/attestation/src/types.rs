use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{dispatch::DispatchResult, weights::Weight};
use phala_attestation::{Family, Measurement, PlatformId, Role, Tier, UnixSeconds, Vendor};
use phala_primitives::{
    GatekeeperId, WorkerId,
    attestation::{Class, Outlook},
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

/// Who runs on a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Tenant {
    /// A worker.
    Worker(WorkerId),
    /// A gatekeeper.
    Gatekeeper(GatekeeperId),
}

impl From<WorkerId> for Tenant {
    fn from(worker: WorkerId) -> Self {
        Self::Worker(worker)
    }
}

impl From<GatekeeperId> for Tenant {
    fn from(gatekeeper: GatekeeperId) -> Self {
        Self::Gatekeeper(gatekeeper)
    }
}

/// What [`Pallet::verify_enclave`](crate::Pallet::verify_enclave) found proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedEnclave {
    /// The image.
    pub measurement: Measurement,
    /// The platform.
    pub platform: PlatformId,
    /// Its family.
    pub family: Family,
    /// Who made the TEE.
    pub vendor: Vendor,
    /// What the policy thinks of the platform.
    pub tier: Tier,
    /// When the verdict ends.
    pub expires: UnixSeconds,
    /// What becomes of the evidence under early documents, if that is worse.
    pub outlook: Option<Outlook>,
    /// What its verification weighed, beside what a call with simulated evidence does.
    pub weight: Weight,
}

impl VerifiedEnclave {
    /// The classes that it is of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.measurement, self.platform, self.family)
    }
}

/// Who takes enclaves out whose class was declared broken.
pub trait OnCompromise {
    /// Takes out all of `class`.
    ///
    /// # Errors
    /// When it cannot: the class is not declared broken then.
    fn on_compromise(class: Class) -> DispatchResult;

    /// Lets enclaves of `class` come back.
    fn on_restore(class: Class);
}

impl OnCompromise for () {
    fn on_compromise(_: Class) -> DispatchResult {
        Ok(())
    }

    fn on_restore(_: Class) {}
}

impl<First: OnCompromise, Second: OnCompromise> OnCompromise for (First, Second) {
    fn on_compromise(class: Class) -> DispatchResult {
        First::on_compromise(class)?;
        Second::on_compromise(class)
    }

    fn on_restore(class: Class) {
        First::on_restore(class);
        Second::on_restore(class);
    }
}
