use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use phala_primitives::{Balance, WorkerId};
use scale_info::TypeInfo;

/// Who is told that a worker does not answer.
pub trait OnUnavailable {
    /// Takes back what `worker` has to do; answers what that cost.
    fn on_unavailable(worker: &WorkerId) -> Weight;
}

impl OnUnavailable for () {
    fn on_unavailable(_: &WorkerId) -> Weight {
        Weight::zero()
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
