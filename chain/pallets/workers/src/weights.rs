
//! Weights of `pallet_phala_workers`, measured: do not edit.
//!
//! STEPS 12, REPEAT 4, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

/// What each call of this pallet costs.
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
    fn check_heartbeats_answered(n: u32, ) -> Weight;
    fn check_heartbeats_silent(n: u32, ) -> Weight;
    fn cordon(n: u32, ) -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Workers::Workers` (r:2 w:2)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::BlockHash` (r:2 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::VerdictLifetime` (r:1 w:0)
    /// Proof: `Attestation::VerdictLifetime` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Compromised` (r:3 w:0)
    /// Proof: `Attestation::Compromised` (`max_values`: None, `max_size`: Some(57), added: 2532, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Platforms` (r:1 w:1)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(80), added: 2555, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveSlot` (r:1 w:16)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:28 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:1 w:2)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:0 w:2)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Members` (r:0 w:4)
    /// Proof: `Workers::Members` (`max_values`: None, `max_size`: Some(97), added: 2572, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:0 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn register() -> Weight {
        Weight::from_parts(1_420_771_000, 71970)
            .saturating_add(T::DbWeight::get().reads(46))
            .saturating_add(T::DbWeight::get().writes(44))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::BlockHash` (r:2 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::VerdictLifetime` (r:1 w:0)
    /// Proof: `Attestation::VerdictLifetime` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Compromised` (r:3 w:0)
    /// Proof: `Attestation::Compromised` (`max_values`: None, `max_size`: Some(57), added: 2532, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:14 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:1 w:1)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:0 w:1)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveSlot` (r:0 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Members` (r:0 w:2)
    /// Proof: `Workers::Members` (`max_values`: None, `max_size`: Some(97), added: 2572, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:1 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn renew() -> Weight {
        Weight::from_parts(1_048_508_000, 36480)
            .saturating_add(T::DbWeight::get().reads(30))
            .saturating_add(T::DbWeight::get().writes(37))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::BlockHash` (r:2 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:14 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:1 w:1)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:0 w:1)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveSlot` (r:0 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:1 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn heartbeat() -> Weight {
        Weight::from_parts(553_743_000, 36480)
            .saturating_add(T::DbWeight::get().reads(22))
            .saturating_add(T::DbWeight::get().writes(35))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::BlockHash` (r:2 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:1 w:0)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:1 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn heartbeat_of_active() -> Weight {
        Weight::from_parts(189_592_000, 6028)
            .saturating_add(T::DbWeight::get().reads(7))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveSlot` (r:1 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:28 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    fn set_price() -> Weight {
        Weight::from_parts(780_670_000, 71970)
            .saturating_add(T::DbWeight::get().reads(31))
            .saturating_add(T::DbWeight::get().writes(32))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn set_endpoint() -> Weight {
        Weight::from_parts(86_959_000, 3993)
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveSlot` (r:1 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:28 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:0 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn drain() -> Weight {
        Weight::from_parts(689_685_000, 71970)
            .saturating_add(T::DbWeight::get().reads(31))
            .saturating_add(T::DbWeight::get().writes(33))
    }
    /// Storage: `Workers::CheckAt` (r:1 w:0)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:14 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveSlot` (r:0 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn resume() -> Weight {
        Weight::from_parts(477_559_000, 36480)
            .saturating_add(T::DbWeight::get().reads(17))
            .saturating_add(T::DbWeight::get().writes(32))
    }
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveSlot` (r:1 w:15)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:28 w:15)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:1 w:1)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Platforms` (r:1 w:1)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(80), added: 2555, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:0 w:1)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Members` (r:0 w:2)
    /// Proof: `Workers::Members` (`max_values`: None, `max_size`: Some(97), added: 2572, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:0 w:1)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn deregister() -> Weight {
        Weight::from_parts(718_618_000, 71970)
            .saturating_add(T::DbWeight::get().reads(33))
            .saturating_add(T::DbWeight::get().writes(38))
    }
    /// Storage: `Workers::NextCheck` (r:1 w:1)
    /// Proof: `Workers::NextCheck` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:64 w:128)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:64 w:64)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:64 w:0)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::Challenged` (r:64 w:0)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn check_heartbeats_answered(n: u32, ) -> Weight {
        Weight::from_parts(42_212_000, 3847)
            .saturating_add(Weight::from_parts(200_897_143, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().writes((3_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2891).saturating_mul(n.into()))
    }
    /// Storage: `Workers::NextCheck` (r:1 w:1)
    /// Proof: `Workers::NextCheck` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:8 w:8)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:8 w:8)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:8 w:8)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveSlot` (r:5 w:29)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:37 w:29)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Assigned` (r:8 w:0)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:8 w:0)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn check_heartbeats_silent(n: u32, ) -> Weight {
        Weight::from_parts(329_537_989, 66410)
            .saturating_add(Weight::from_parts(260_274_851, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(16))
            .saturating_add(T::DbWeight::get().reads((9_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(15))
            .saturating_add(T::DbWeight::get().writes((9_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 4100).saturating_mul(n.into()))
    }
    /// Storage: `Workers::Cordoning` (r:1 w:1)
    /// Proof: `Workers::Cordoning` (`max_values`: Some(1), `max_size`: Some(2114), added: 2609, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Members` (r:128 w:256)
    /// Proof: `Workers::Members` (`max_values`: None, `max_size`: Some(97), added: 2572, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:128 w:128)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveSlot` (r:55 w:269)
    /// Proof: `Workers::ActiveSlot` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveCount` (r:1 w:1)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:244 w:269)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::CheckAt` (r:128 w:128)
    /// Proof: `Workers::CheckAt` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Assigned` (r:128 w:0)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Checks` (r:0 w:128)
    /// Proof: `Workers::Checks` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Challenged` (r:0 w:128)
    /// Proof: `Workers::Challenged` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    fn cordon(n: u32, ) -> Weight {
        Weight::from_parts(53_930_000, 52361)
            .saturating_add(Weight::from_parts(496_499_220, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(16))
            .saturating_add(T::DbWeight::get().reads((6_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(16))
            .saturating_add(T::DbWeight::get().writes((10_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 4299).saturating_mul(n.into()))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn register() -> Weight {
        Weight::from_parts(1_420_771_000, 71970)
            .saturating_add(RocksDbWeight::get().reads(46))
            .saturating_add(RocksDbWeight::get().writes(44))
    }
    fn renew() -> Weight {
        Weight::from_parts(1_048_508_000, 36480)
            .saturating_add(RocksDbWeight::get().reads(30))
            .saturating_add(RocksDbWeight::get().writes(37))
    }
    fn heartbeat() -> Weight {
        Weight::from_parts(553_743_000, 36480)
            .saturating_add(RocksDbWeight::get().reads(22))
            .saturating_add(RocksDbWeight::get().writes(35))
    }
    fn heartbeat_of_active() -> Weight {
        Weight::from_parts(189_592_000, 6028)
            .saturating_add(RocksDbWeight::get().reads(7))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn set_price() -> Weight {
        Weight::from_parts(780_670_000, 71970)
            .saturating_add(RocksDbWeight::get().reads(31))
            .saturating_add(RocksDbWeight::get().writes(32))
    }
    fn set_endpoint() -> Weight {
        Weight::from_parts(86_959_000, 3993)
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn drain() -> Weight {
        Weight::from_parts(689_685_000, 71970)
            .saturating_add(RocksDbWeight::get().reads(31))
            .saturating_add(RocksDbWeight::get().writes(33))
    }
    fn resume() -> Weight {
        Weight::from_parts(477_559_000, 36480)
            .saturating_add(RocksDbWeight::get().reads(17))
            .saturating_add(RocksDbWeight::get().writes(32))
    }
    fn deregister() -> Weight {
        Weight::from_parts(718_618_000, 71970)
            .saturating_add(RocksDbWeight::get().reads(33))
            .saturating_add(RocksDbWeight::get().writes(38))
    }
    fn check_heartbeats_answered(n: u32, ) -> Weight {
        Weight::from_parts(42_212_000, 3847)
            .saturating_add(Weight::from_parts(200_897_143, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().writes((3_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2891).saturating_mul(n.into()))
    }
    fn check_heartbeats_silent(n: u32, ) -> Weight {
        Weight::from_parts(329_537_989, 66410)
            .saturating_add(Weight::from_parts(260_274_851, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(16))
            .saturating_add(RocksDbWeight::get().reads((9_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(15))
            .saturating_add(RocksDbWeight::get().writes((9_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 4100).saturating_mul(n.into()))
    }
    fn cordon(n: u32, ) -> Weight {
        Weight::from_parts(53_930_000, 52361)
            .saturating_add(Weight::from_parts(496_499_220, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(16))
            .saturating_add(RocksDbWeight::get().reads((6_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(16))
            .saturating_add(RocksDbWeight::get().writes((10_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 4299).saturating_mul(n.into()))
    }
}
