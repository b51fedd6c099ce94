//! Weights of `pallet_phala_workers`.
//!
//! These numbers are estimates on the safe side, not yet the output of a benchmark run:
//! `phala-node benchmark pallet --pallet pallet_phala_workers --extrinsic '*'` replaces them.

#![allow(missing_docs)]

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::RocksDbWeight},
};

/// The weight of each call and of the parts of the hook. They hold for a market of 16,384 active workers and grow with
/// the logarithm of their number.
pub trait WeightInfo {
    fn register() -> Weight;
    fn renew() -> Weight;
    fn heartbeat() -> Weight;
    fn heartbeat_of_active() -> Weight;
    fn set_price() -> Weight;
    fn set_endpoint() -> Weight;
    fn drain() -> Weight;
    fn resume() -> Weight;
    fn deregister() -> Weight;
    fn check_heartbeats_answered(n: u32) -> Weight;
    fn check_heartbeats_silent(n: u32) -> Weight;
}

/// Weights for a runtime with its own database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

macro_rules! weights {
    ($db:ty) => {
        fn register() -> Weight {
            Weight::from_parts(900_000_000, 60_000).saturating_add(<$db>::get().reads_writes(26, 38))
        }
        fn renew() -> Weight {
            Weight::from_parts(900_000_000, 60_000).saturating_add(<$db>::get().reads_writes(28, 36))
        }
        fn heartbeat() -> Weight {
            Weight::from_parts(250_000_000, 60_000).saturating_add(<$db>::get().reads_writes(26, 36))
        }
        fn heartbeat_of_active() -> Weight {
            Weight::from_parts(150_000_000, 10_000).saturating_add(<$db>::get().reads_writes(8, 1))
        }
        fn set_price() -> Weight {
            Weight::from_parts(250_000_000, 120_000).saturating_add(<$db>::get().reads_writes(46, 64))
        }
        fn set_endpoint() -> Weight {
            Weight::from_parts(30_000_000, 5_000).saturating_add(<$db>::get().reads_writes(1, 1))
        }
        fn drain() -> Weight {
            Weight::from_parts(150_000_000, 80_000).saturating_add(<$db>::get().reads_writes(32, 34))
        }
        fn resume() -> Weight {
            Weight::from_parts(150_000_000, 60_000).saturating_add(<$db>::get().reads_writes(18, 34))
        }
        fn deregister() -> Weight {
            Weight::from_parts(180_000_000, 80_000).saturating_add(<$db>::get().reads_writes(36, 38))
        }
        fn check_heartbeats_answered(n: u32) -> Weight {
            Weight::from_parts(10_000_000, 4_000)
                .saturating_add(Weight::from_parts(30_000_000, 4_000).saturating_mul(n.into()))
                .saturating_add(<$db>::get().reads_writes(3, 1))
                .saturating_add(<$db>::get().reads_writes(3, 4).saturating_mul(n.into()))
        }
        fn check_heartbeats_silent(n: u32) -> Weight {
            Weight::from_parts(150_000_000, 80_000)
                .saturating_add(<$db>::get().reads_writes(34, 37))
                .saturating_mul(n.into())
        }
    };
}

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    weights!(T::DbWeight);
}

impl WeightInfo for () {
    weights!(RocksDbWeight);
}
