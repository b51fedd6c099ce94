use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use phala_primitives::{Balance, Hash, WorkerId};
use scale_info::TypeInfo;

/// Why a worker is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It sends no heartbeats.
    Silent,
    /// Its image, platform or family was declared broken.
    Cordoned,
}

/// Who is told that a worker is out.
pub trait OnUnavailable {
    /// Takes back what `worker` has to do; answers what that cost.
    fn on_unavailable(worker: &WorkerId, why: Unavailable) -> Weight;
}

impl OnUnavailable for () {
    fn on_unavailable(_: &WorkerId, _: Unavailable) -> Weight {
        Weight::zero()
    }
}

/// The rounds of the random beacon, which draw workers to challenge.
pub trait Rounds<BlockNumber> {
    /// The first round after round `last`, and what it draws in the present block: before that block's parent, nobody but its
    /// author knew it. `None` while there is none. Reads no more than [`ROUND_READS`](crate::ROUND_READS) values.
    fn next(last: BlockNumber) -> Option<(BlockNumber, Hash)>;
}

/// No beacon.
impl<BlockNumber> Rounds<BlockNumber> for () {
    fn next(_: BlockNumber) -> Option<(BlockNumber, Hash)> {
        None
    }
}

/// An active worker in the market, ordered by price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Slot {
    /// What it asks for 10⁹ fuel.
    pub price: Balance,
    /// The worker.
    pub worker: WorkerId,
}
