//! Weights of `pallet_phala_apps`.
//!
//! These numbers are estimates on the safe side, not yet the output of a benchmark run:
//! `phala-node benchmark pallet --pallet pallet_phala_apps --extrinsic '*'` replaces them.

#![allow(missing_docs)]

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::RocksDbWeight},
};

/// The weight of each call.
pub trait WeightInfo {
    fn publish() -> Weight;
    fn unpublish() -> Weight;
}

/// Weights for a runtime with its own database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn publish() -> Weight {
        Weight::from_parts(90_000_000, 7_000).saturating_add(T::DbWeight::get().reads_writes(3, 4))
    }
    fn unpublish() -> Weight {
        Weight::from_parts(90_000_000, 7_000).saturating_add(T::DbWeight::get().reads_writes(5, 4))
    }
}

impl WeightInfo for () {
    fn publish() -> Weight {
        Weight::from_parts(90_000_000, 7_000).saturating_add(RocksDbWeight::get().reads_writes(3, 4))
    }
    fn unpublish() -> Weight {
        Weight::from_parts(90_000_000, 7_000).saturating_add(RocksDbWeight::get().reads_writes(5, 4))
    }
}
