//! Weights of `pallet_phala_gatekeepers`.
#![allow(missing_docs)]
use core::marker::PhantomData;
use frame_support::weights::Weight;
/// What each call of this pallet costs.
pub trait WeightInfo {
    fn register() -> Weight;
    fn renew() -> Weight;
    fn replace() -> Weight;
    fn bond_more() -> Weight;
    fn set_endpoint() -> Weight;
    fn set_session_keys() -> Weight;
    fn rest() -> Weight;
    fn stand() -> Weight;
    fn leave() -> Weight;
    fn withdraw() -> Weight;
    fn back() -> Weight;
    fn stop_backing() -> Weight;
    fn withdraw_backing() -> Weight;
    fn set_caps() -> Weight;
    fn set_size() -> Weight;
    fn force_era() -> Weight;
    fn on_offence() -> Weight;
    fn on_compromise() -> Weight;
    fn elections() -> Weight;
    fn judge_authors() -> Weight;
}
/// The same.
pub struct SubstrateWeight<T>(PhantomData<T>);
impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn register() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn renew() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn replace() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn bond_more() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_endpoint() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_session_keys() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn rest() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn stand() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn leave() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn withdraw() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn back() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn stop_backing() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn withdraw_backing() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_caps() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_size() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn force_era() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn on_offence() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn on_compromise() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn elections() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn judge_authors() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
}
impl WeightInfo for () {
    fn register() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn renew() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn replace() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn bond_more() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_endpoint() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_session_keys() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn rest() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn stand() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn leave() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn withdraw() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn back() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn stop_backing() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn withdraw_backing() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_caps() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn set_size() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn force_era() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn on_offence() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn on_compromise() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn elections() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
    fn judge_authors() -> Weight {
        Weight::from_parts(1_000_000_000, 0)
    }
}
