use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use phala_attestation::{Family, Measurement, PlatformId, Tier, UnixSeconds, Vendor};
use phala_primitives::{
    Balance, GatekeeperId, Hash,
    attestation::{Class, Outlook},
    worker::MAX_ENDPOINT_BYTES,
};
use scale_info::TypeInfo;
use sp_staking::SessionIndex;

/// The most seats that a backer may name.
pub const MAX_CHOICES: u32 = 16;

/// The most earlier enclaves of a seat that may still hold shares.
pub const MAX_PREVIOUS: u32 = 4;

/// Where a gatekeeper's host serves.
pub type Endpoint = BoundedVec<u8, ConstU32<MAX_ENDPOINT_BYTES>>;

/// The seats that a backer names, in ascending order.
pub type Choices<AccountId> = BoundedVec<AccountId, ConstU32<MAX_CHOICES>>;

/// A place for a gatekeeper.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Seat<AccountId> {
    /// Who owns it, and bonded it.
    pub operator: AccountId,
    /// Which of the operator's.
    pub index: u16,
    /// What of the operator's PHA is on hold for it.
    pub bond: Balance,
    /// Whether it stands.
    pub status: SeatStatus,
    /// Its enclave: in the set from the next election on.
    pub gatekeeper: GatekeeperId,
    /// Its earlier enclaves, which may still hold shares.
    pub previous: BoundedVec<Previous, ConstU32<MAX_PREVIOUS>>,
}

impl<AccountId> Seat<AccountId> {
    /// All its enclaves.
    pub fn enclaves(&self) -> impl Iterator<Item = GatekeeperId> + '_ {
        core::iter::once(self.gatekeeper).chain(self.previous.iter().map(|previous| previous.gatekeeper))
    }
}

/// Whether a seat stands in elections; see the diagram in the crate's documentation. It says nothing about whether the seat is in
/// the set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum SeatStatus {
    /// It stands.
    Standing,
    /// It does not, and may again.
    Resting,
    /// Its operator gave it up. The bond can be withdrawn from this session on.
    Leaving(SessionIndex),
    /// It equivocated. The record can be removed from this session on.
    Ejected(SessionIndex),
}

/// An enclave that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Previous {
    /// The enclave.
    pub gatekeeper: GatekeeperId,
    /// Its record is kept until this session at least.
    pub until: SessionIndex,
}

/// What the chain keeps of a gatekeeper: an enclave of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Gatekeeper<AccountId, BlockNumber> {
    /// Its seat.
    pub seat: AccountId,
    /// Who owns the seat.
    pub operator: AccountId,
    /// X25519 public key to which messages for it are encrypted.
    pub encryption_key: Hash,
    /// Where its host serves.
    pub endpoint: Endpoint,
    /// The image that it runs.
    pub measurement: Measurement,
    /// The platform that it runs on.
    pub platform: PlatformId,
    /// The platform's family.
    pub family: Family,
    /// Who made its TEE.
    pub vendor: Vendor,
    /// What the policy thought of the platform.
    pub tier: Tier,
    /// When its evidence was verified.
    pub verified_at: UnixSeconds,
    /// When its verdict ends.
    pub verdict_expires: UnixSeconds,
    /// What a TCB recovery will make of its evidence, if that is worse; the operator has to update the platform before.
    pub outlook: Option<Outlook>,
    /// SHA-256 of the SCALE encoding of `(Statement, Evidence)`.
    pub evidence_hash: Hash,
    /// The block of its registration.
    pub registered_at: BlockNumber,
}

impl<AccountId: Clone, BlockNumber> Gatekeeper<AccountId, BlockNumber> {
    /// The classes that it is of.
    pub fn classes(&self) -> [Class; 3] {
        Class::all_of(self.measurement, self.platform, self.family)
    }

    /// What [`Caps`](crate::Caps) look at.
    pub fn traits(&self) -> crate::caps::Traits<AccountId> {
        crate::caps::Traits { operator: self.operator.clone(), vendor: self.vendor, family: self.family }
    }
}

/// A seat in the set, with the enclave that it had when it was elected.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SetMember<AccountId> {
    /// The seat.
    pub seat: AccountId,
    /// The enclave.
    pub gatekeeper: GatekeeperId,
}

/// Whom an account backs, and with how much.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Backer<AccountId> {
    /// Its PHA on hold for this.
    pub amount: Balance,
    /// The seats.
    pub seats: Choices<AccountId>,
}

/// What an account took back of its backing, and is still on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Unbacking {
    /// How much.
    pub amount: Balance,
    /// It can be withdrawn from this session on.
    pub until: SessionIndex,
}

/// How long a seat has made no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Silence {
    /// The start of the first session in which it made none.
    pub since: UnixSeconds,
    /// How many it should have made since then, in thousandths.
    pub missed: u64,
}

/// How many gatekeepers there are.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Size {
    /// As many as should be elected.
    pub desired: u32,
    /// Fewer are not elected.
    pub minimum: u32,
}

/// Why an election was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Refusal {
    /// Fewer seats may be elected than have to.
    TooFewCandidates {
        /// How many may.
        eligible: u32,
        /// How many have to.
        minimum: u32,
    },
    /// No choice of enough seats satisfies the caps.
    CapsExceeded {
        /// How many seats may be elected.
        eligible: u32,
        /// How many have to.
        minimum: u32,
    },
    /// The votes could not be counted.
    Arithmetic,
}

/// Why a seat cannot be elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Ineligible {
    /// It does not stand.
    NotStanding,
    /// Its bond is below the least.
    BondTooLow,
    /// It has no session keys.
    NoSessionKeys,
    /// Its enclave's verdict has ended.
    VerdictExpired,
    /// Its enclave's platform is good enough for workers only.
    TierTooLow,
    /// Its enclave's image is not allowed for gatekeepers (any more).
    ImageNotAllowed,
    /// Its enclave's image, platform or family is declared broken.
    Compromised,
}

/// What a seat was slashed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Fault {
    /// It signed two blocks of one slot, or two votes of one round.
    Equivocation,
    /// It made no blocks.
    Silence,
}

/// Who hands the network's keys over: the pallet with the key ceremonies.
pub trait OnElected {
    /// A set was elected: these are its enclaves, in ascending order. They author blocks from the next session on.
    fn on_elected(era: u32, gatekeepers: Vec<GatekeeperId>);

    /// Whether an enclave may hold a share of a network key that is in use. While it does, its record, its platform and its
    /// seat's bond stay.
    fn holds_shares(_gatekeeper: &GatekeeperId) -> bool {
        false
    }
}

impl OnElected for () {
    fn on_elected(_: u32, _: Vec<GatekeeperId>) {}
}
