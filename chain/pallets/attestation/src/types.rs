use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{dispatch::DispatchResult, weights::Weight};
use phala_attestation::{Family, Measurement, PlatformId, Role, SignedDocument, Tier, UnixSeconds, Vendor};
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

/// Sizes of documents by which evidence is verified, rounded up, in KiB. That of others counts nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct DocumentSizes {
    /// Of TCB info.
    pub tcb_info: u32,
    /// Of what Intel's intermediate CAs have revoked.
    pub pck_crl: u32,
    /// Of what AMD has revoked.
    pub amd_crl: u32,
}

impl DocumentSizes {
    /// That of one document.
    pub fn of(document: &SignedDocument) -> Self {
        let mut sizes = Self::default();
        match document {
            SignedDocument::TcbInfo(signed) => sizes.tcb_info = kibibytes(signed.json.len()),
            SignedDocument::PckCrl { list, .. } => sizes.pck_crl = kibibytes(list.len()),
            SignedDocument::AmdCrl(list) => sizes.amd_crl = kibibytes(list.len()),
            SignedDocument::IntelRootCrl(_) | SignedDocument::QeIdentity(_) | SignedDocument::AmdIntermediate(_) => {}
        }
        sizes
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            tcb_info: self.tcb_info.max(other.tcb_info),
            pck_crl: self.pck_crl.max(other.pck_crl),
            amd_crl: self.amd_crl.max(other.amd_crl),
        }
    }
}

/// Rounded up.
pub(crate) fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
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
