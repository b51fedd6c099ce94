//! Weights of `pallet_phala_attestation`.
//!
//! These numbers are estimates on the safe side, not yet the output of a benchmark run:
//! `phala-node benchmark pallet --pallet pallet_phala_attestation --extrinsic '*'` replaces them.

#![allow(missing_docs)]

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::RocksDbWeight},
};

/// The weight of each call.
pub trait WeightInfo {
    fn allow_image() -> Weight;
    fn forbid_image() -> Weight;
    fn set_verdict_lifetime() -> Weight;
    fn on_initialize() -> Weight;
}

/// Weights for a runtime with its own database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn allow_image() -> Weight {
        Weight::from_parts(20_000_000, 0).saturating_add(T::DbWeight::get().writes(1))
    }
    fn forbid_image() -> Weight {
        Weight::from_parts(20_000_000, 3513).saturating_add(T::DbWeight::get().reads_writes(1, 1))
    }
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(15_000_000, 0).saturating_add(T::DbWeight::get().writes(1))
    }
    fn on_initialize() -> Weight {
        Weight::from_parts(15_000_000, 3517).saturating_add(T::DbWeight::get().reads_writes(2, 2))
    }
}

impl WeightInfo for () {
    fn allow_image() -> Weight {
        Weight::from_parts(20_000_000, 0).saturating_add(RocksDbWeight::get().writes(1))
    }
    fn forbid_image() -> Weight {
        Weight::from_parts(20_000_000, 3513).saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(15_000_000, 0).saturating_add(RocksDbWeight::get().writes(1))
    }
    fn on_initialize() -> Weight {
        Weight::from_parts(15_000_000, 3517).saturating_add(RocksDbWeight::get().reads_writes(2, 2))
    }
}
