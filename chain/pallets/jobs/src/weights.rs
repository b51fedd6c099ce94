//! Weights of `pallet_phala_jobs`.
//!
//! These numbers are estimates on the safe side, not yet the output of a benchmark run:
//! `phala-node benchmark pallet --pallet pallet_phala_jobs --extrinsic '*'` replaces them.

#![allow(missing_docs)]

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::RocksDbWeight},
};

/// The weight of each call and of the parts of the hook.
pub trait WeightInfo {
    fn submit() -> Weight;
    fn cancel() -> Weight;
    fn submit_receipt() -> Weight;
    fn wake(n: u32) -> Weight;
    fn prune(n: u32) -> Weight;
    fn assign(n: u32) -> Weight;
    fn requeue(n: u32) -> Weight;
}

/// Weights for a runtime with its own database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

macro_rules! weights {
    ($db:ty) => {
        fn submit() -> Weight {
            Weight::from_parts(150_000_000, 15_000).saturating_add(<$db>::get().reads_writes(9, 9))
        }
        fn cancel() -> Weight {
            Weight::from_parts(150_000_000, 15_000).saturating_add(<$db>::get().reads_writes(6, 9))
        }
        fn submit_receipt() -> Weight {
            Weight::from_parts(500_000_000, 25_000).saturating_add(<$db>::get().reads_writes(16, 15))
        }
        fn wake(n: u32) -> Weight {
            Weight::from_parts(10_000_000, 4_000)
                .saturating_add(Weight::from_parts(150_000_000, 12_000).saturating_mul(n.into()))
                .saturating_add(<$db>::get().reads_writes(3, 1))
                .saturating_add(<$db>::get().reads_writes(9, 11).saturating_mul(n.into()))
        }
        fn prune(n: u32) -> Weight {
            Weight::from_parts(8_000_000, 4_000)
                .saturating_add(Weight::from_parts(15_000_000, 4_000).saturating_mul(n.into()))
                .saturating_add(<$db>::get().reads_writes(2, 1))
                .saturating_add(<$db>::get().reads_writes(1, 2).saturating_mul(n.into()))
        }
        fn assign(n: u32) -> Weight {
            Weight::from_parts(15_000_000, 8_000)
                .saturating_add(Weight::from_parts(350_000_000, 80_000).saturating_mul(n.into()))
                .saturating_add(<$db>::get().reads_writes(7, 2))
                .saturating_add(<$db>::get().reads_writes(52, 9).saturating_mul(n.into()))
        }
        fn requeue(n: u32) -> Weight {
            Weight::from_parts(10_000_000, 4_000)
                .saturating_add(Weight::from_parts(80_000_000, 10_000).saturating_mul(n.into()))
                .saturating_add(<$db>::get().reads_writes(3, 1))
                .saturating_add(<$db>::get().reads_writes(3, 7).saturating_mul(n.into()))
        }
    };
}

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    weights!(T::DbWeight);
}

impl WeightInfo for () {
    weights!(RocksDbWeight);
}
