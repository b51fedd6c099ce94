
//! Weights of `pallet_phala_jobs`, measured: do not edit.
//!
//! STEPS 12, REPEAT 4, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

/// What each call of this pallet costs.
pub trait WeightInfo {
    fn submit() -> Weight;
    fn cancel() -> Weight;
    fn submit_receipt() -> Weight;
    fn wake(n: u32, ) -> Weight;
    fn forget(n: u32, ) -> Weight;
    fn assign(n: u32, ) -> Weight;
    fn lose(n: u32, ) -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Apps::Apps` (r:1 w:0)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Workers::ActiveIndex` (r:1 w:0)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:2 w:2)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::NextJob` (r:1 w:1)
    /// Proof: `Jobs::NextJob` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::QueueTail` (r:1 w:1)
    /// Proof: `Jobs::QueueTail` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Uses` (r:1 w:1)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Jobs` (r:0 w:1)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Queue` (r:0 w:1)
    /// Proof: `Jobs::Queue` (`max_values`: None, `max_size`: Some(24), added: 2499, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:0 w:1)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    fn submit() -> Weight {
        Weight::from_parts(178_295_000, 6196)
            .saturating_add(T::DbWeight::get().reads(9))
            .saturating_add(T::DbWeight::get().writes(9))
    }
    /// Storage: `Jobs::Jobs` (r:1 w:1)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:2 w:2)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:2 w:2)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Uses` (r:1 w:1)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Apps` (r:1 w:1)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:1 w:1)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Forgets` (r:0 w:1)
    /// Proof: `Jobs::Forgets` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:0 w:1)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    fn cancel() -> Weight {
        Weight::from_parts(169_832_000, 6196)
            .saturating_add(T::DbWeight::get().reads(8))
            .saturating_add(T::DbWeight::get().writes(10))
    }
    /// Storage: `Jobs::Jobs` (r:1 w:1)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `System::BlockHash` (r:2 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Apps` (r:1 w:1)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Cordoning` (r:1 w:0)
    /// Proof: `Workers::Cordoning` (`max_values`: Some(1), `max_size`: Some(2114), added: 2609, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:2 w:2)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:4 w:4)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Uses` (r:1 w:1)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:1 w:1)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Forgets` (r:0 w:1)
    /// Proof: `Jobs::Forgets` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Assigned` (r:0 w:1)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:0 w:1)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    fn submit_receipt() -> Weight {
        Weight::from_parts(397_962_000, 11402)
            .saturating_add(T::DbWeight::get().reads(15))
            .saturating_add(T::DbWeight::get().writes(14))
    }
    /// Storage: `Jobs::NextWake` (r:1 w:1)
    /// Proof: `Jobs::NextWake` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:64 w:64)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Jobs` (r:64 w:64)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:128 w:128)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:128 w:128)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:43 w:43)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Apps::Uses` (r:64 w:64)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Apps` (r:64 w:64)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:64 w:64)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Forgets` (r:0 w:64)
    /// Proof: `Jobs::Forgets` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Assigned` (r:0 w:64)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    fn wake(n: u32, ) -> Weight {
        Weight::from_parts(17_757_000, 4554)
            .saturating_add(Weight::from_parts(299_872_498, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(3))
            .saturating_add(T::DbWeight::get().reads((10_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(2))
            .saturating_add(T::DbWeight::get().writes((12_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 5206).saturating_mul(n.into()))
    }
    /// Storage: `Jobs::NextForget` (r:1 w:1)
    /// Proof: `Jobs::NextForget` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Forgets` (r:64 w:64)
    /// Proof: `Jobs::Forgets` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Jobs` (r:0 w:64)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Holders` (r:0 w:64)
    /// Proof: `Jobs::Holders` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn forget(n: u32, ) -> Weight {
        Weight::from_parts(16_635_000, 3811)
            .saturating_add(Weight::from_parts(121_699_640, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().writes((3_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2486).saturating_mul(n.into()))
    }
    /// Storage: `Workers::ActiveCount` (r:1 w:0)
    /// Proof: `Workers::ActiveCount` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::WaitingHead` (r:1 w:1)
    /// Proof: `Jobs::WaitingHead` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::QueueHead` (r:1 w:1)
    /// Proof: `Jobs::QueueHead` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::WaitingTail` (r:1 w:0)
    /// Proof: `Jobs::WaitingTail` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::QueueTail` (r:1 w:0)
    /// Proof: `Jobs::QueueTail` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Queue` (r:32 w:32)
    /// Proof: `Jobs::Queue` (`max_values`: None, `max_size`: Some(24), added: 2499, mode: `MaxEncodedLen`)
    /// Storage: `Babe::AuthorVrfRandomness` (r:1 w:0)
    /// Proof: `Babe::AuthorVrfRandomness` (`max_values`: Some(1), `max_size`: Some(33), added: 528, mode: `MaxEncodedLen`)
    /// Storage: `System::ParentHash` (r:1 w:0)
    /// Proof: `System::ParentHash` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Jobs` (r:32 w:32)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Holders` (r:32 w:32)
    /// Proof: `Jobs::Holders` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Workers::ActiveIndex` (r:32 w:0)
    /// Proof: `Workers::ActiveIndex` (`max_values`: None, `max_size`: Some(60), added: 2535, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:32 w:19)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Cordoning` (r:1 w:0)
    /// Proof: `Workers::Cordoning` (`max_values`: Some(1), `max_size`: Some(2114), added: 2609, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Assigned` (r:0 w:32)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:0 w:64)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    fn assign(n: u32, ) -> Weight {
        Weight::from_parts(186_515_142, 79203)
            .saturating_add(Weight::from_parts(193_929_940, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(48))
            .saturating_add(T::DbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(3))
            .saturating_add(T::DbWeight::get().writes((7_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2879).saturating_mul(n.into()))
    }
    /// Storage: `Jobs::Assigned` (r:65 w:64)
    /// Proof: `Jobs::Assigned` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Jobs` (r:64 w:64)
    /// Proof: `Jobs::Jobs` (`max_values`: None, `max_size`: Some(404), added: 2879, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:128 w:128)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:128 w:128)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Workers` (r:1 w:1)
    /// Proof: `Workers::Workers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Apps::Uses` (r:64 w:64)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Apps` (r:64 w:64)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:64 w:64)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Forgets` (r:0 w:64)
    /// Proof: `Jobs::Forgets` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    /// Storage: `Jobs::Wakes` (r:0 w:64)
    /// Proof: `Jobs::Wakes` (`max_values`: None, `max_size`: Some(28), added: 2503, mode: `MaxEncodedLen`)
    fn lose(n: u32, ) -> Weight {
        Weight::from_parts(11_217_000, 4299)
            .saturating_add(Weight::from_parts(176_961_985, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().reads((9_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(1))
            .saturating_add(T::DbWeight::get().writes((11_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 5206).saturating_mul(n.into()))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn submit() -> Weight {
        Weight::from_parts(178_295_000, 6196)
            .saturating_add(RocksDbWeight::get().reads(9))
            .saturating_add(RocksDbWeight::get().writes(9))
    }
    fn cancel() -> Weight {
        Weight::from_parts(169_832_000, 6196)
            .saturating_add(RocksDbWeight::get().reads(8))
            .saturating_add(RocksDbWeight::get().writes(10))
    }
    fn submit_receipt() -> Weight {
        Weight::from_parts(397_962_000, 11402)
            .saturating_add(RocksDbWeight::get().reads(15))
            .saturating_add(RocksDbWeight::get().writes(14))
    }
    fn wake(n: u32, ) -> Weight {
        Weight::from_parts(17_757_000, 4554)
            .saturating_add(Weight::from_parts(299_872_498, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(3))
            .saturating_add(RocksDbWeight::get().reads((10_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(2))
            .saturating_add(RocksDbWeight::get().writes((12_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 5206).saturating_mul(n.into()))
    }
    fn forget(n: u32, ) -> Weight {
        Weight::from_parts(16_635_000, 3811)
            .saturating_add(Weight::from_parts(121_699_640, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().writes((3_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2486).saturating_mul(n.into()))
    }
    fn assign(n: u32, ) -> Weight {
        Weight::from_parts(186_515_142, 79203)
            .saturating_add(Weight::from_parts(193_929_940, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(48))
            .saturating_add(RocksDbWeight::get().reads((4_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(3))
            .saturating_add(RocksDbWeight::get().writes((7_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2879).saturating_mul(n.into()))
    }
    fn lose(n: u32, ) -> Weight {
        Weight::from_parts(11_217_000, 4299)
            .saturating_add(Weight::from_parts(176_961_985, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().reads((9_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(1))
            .saturating_add(RocksDbWeight::get().writes((11_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 5206).saturating_mul(n.into()))
    }
}
