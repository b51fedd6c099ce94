use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::weights::Weight;
use phala_primitives::{Balance, WorkerId};
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

/// An active worker in the market, ordered by price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Slot {
    /// What it asks for 10⁹ fuel.
    pub price: Balance,
    /// The worker.
    pub worker: WorkerId,
}
