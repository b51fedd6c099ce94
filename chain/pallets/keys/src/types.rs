use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{Ceremony, CeremonyId, Confirmation, Phase},
};
use scale_info::TypeInfo;

/// What the pallet asks about gatekeepers.
pub trait GatekeeperSet {
    /// Whether the gatekeeper is registered: its key may sign posts.
    fn is_registered(gatekeeper: &GatekeeperId) -> bool;
    /// Whether it is, and its evidence is good at present: it may get shares.
    fn is_good(gatekeeper: &GatekeeperId) -> bool;
    /// The gatekeeper does something now.
    fn sign_of_life(_gatekeeper: &GatekeeperId) {}
    /// The root key is shared among its candidates but for these.
    fn on_root_shared(_missing: &[GatekeeperId]) {}
    /// Whether a key may be shared among these: no vendor, family or operator has as many of the shares as sign.
    fn is_safe(gatekeepers: &[GatekeeperId]) -> bool;
    /// Registers these, as different as they have to be to be safe together.
    #[cfg(feature = "runtime-benchmarks")]
    fn register(gatekeepers: &[GatekeeperId]);
}

/// Who should have shares of a key for which a ceremony runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Plan {
    /// All of them, in ascending order.
    pub candidates: Vec<GatekeeperId>,
    /// Those without whom the next attempt is, because they did not answer in an earlier one.
    pub silent: Vec<GatekeeperId>,
}

/// How far a running attempt is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Progress {
    /// How many have posted in the present phase.
    pub posted: u32,
    /// How many dealings there are, once their phase is over.
    pub dealings: u32,
    /// What enough players have confirmed.
    pub agreed: Option<Confirmation>,
}

/// What a gatekeeper has logged of its key releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ReleaseLog<BlockNumber> {
    /// How many keys it has released.
    pub count: u64,
    /// SHA-256 over the SCALE encoding of the hash before (at first zeros) and the newest `Releases`.
    pub hash: Hash,
    /// The block of the newest entry.
    pub since: BlockNumber,
}

/// Why an attempt at a ceremony ended without a sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Failure {
    /// Too few did what this phase asks of them, or not everyone in a phase that needs all.
    TooFew(Phase),
    /// Another ceremony of the key begins instead, or nobody needs it any more.
    Replaced,
}

/// What the call that brings a post needs to know of its ceremony.
pub(crate) struct Checked<BlockNumber> {
    pub id: CeremonyId,
    pub ceremony: Ceremony<BlockNumber>,
    pub progress: Progress,
}
