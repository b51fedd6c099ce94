use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use phala_attestation::UnixSeconds;
use phala_primitives::{Balance, GatekeeperId, worker::MAX_ENDPOINT_BYTES};
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
    /// It made no blocks, or its enclave has no share of the root key.
    Silence,
}

/// Who hands the network's keys over: the pallet with the key ceremonies.
pub trait OnElected {
    /// An era begins, with a set that was elected or that goes on: these are its enclaves, in ascending order. Who was elected
    /// authors blocks from the next session on.
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
