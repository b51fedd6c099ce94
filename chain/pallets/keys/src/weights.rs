
//! Weights of `pallet_phala_keys`, measured: do not edit.
//!
//! STEPS 12, REPEAT 4, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

/// What each call of this pallet costs.
pub trait WeightInfo {
    fn authorize_post(b: u32, ) -> Weight;
    fn post(b: u32, ) -> Weight;
    fn post_confirmation() -> Weight;
    fn post_output() -> Weight;
    fn authorize_beacon() -> Weight;
    fn submit_beacon() -> Weight;
    fn authorize_lost_share() -> Weight;
    fn report_lost_share() -> Weight;
    fn authorize_releases() -> Weight;
    fn log_releases() -> Weight;
    fn on_elected() -> Weight;
    fn wait() -> Weight;
    fn advance() -> Weight;
    fn retry() -> Weight;
    fn remove(n: u32, ) -> Weight;
    fn end_no_epoch() -> Weight;
    fn end_epoch() -> Weight;
    fn watch_beacon() -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Progresses` (r:1 w:0)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:1 w:0)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Logs` (r:1 w:0)
    /// Proof: `Keys::Logs` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Dealings` (r:1 w:0)
    /// Proof: `Keys::Dealings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn authorize_post(b: u32, ) -> Weight {
        Weight::from_parts(175_112_707, 9378)
            .saturating_add(Weight::from_parts(3_448, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Progresses` (r:1 w:1)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:1 w:0)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Logs` (r:1 w:1)
    /// Proof: `Keys::Logs` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Dealings` (r:1 w:0)
    /// Proof: `Keys::Dealings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn post(b: u32, ) -> Weight {
        Weight::from_parts(122_866_866, 9378)
            .saturating_add(Weight::from_parts(2_126, 0).saturating_mul(b.into()))
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Progresses` (r:1 w:1)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:1 w:0)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Confirmations` (r:65 w:1)
    /// Proof: `Keys::Confirmations` (`max_values`: None, `max_size`: Some(184), added: 2659, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn post_confirmation() -> Weight {
        Weight::from_parts(1_236_107_000, 173825)
            .saturating_add(T::DbWeight::get().reads(69))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Progresses` (r:1 w:2)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:3 w:0)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Sharings` (r:1 w:1)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Running` (r:1 w:1)
    /// Proof: `Keys::Running` (`max_values`: Some(1), `max_size`: Some(25), added: 520, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CurrentEpoch` (r:1 w:1)
    /// Proof: `Keys::CurrentEpoch` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Epochs` (r:1 w:2)
    /// Proof: `Keys::Epochs` (`max_values`: None, `max_size`: Some(21), added: 2496, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ended` (r:1 w:1)
    /// Proof: `Keys::Ended` (`max_values`: None, `max_size`: Some(16), added: 2491, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CounterForEnded` (r:1 w:1)
    /// Proof: `Keys::CounterForEnded` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Plans` (r:0 w:2)
    /// Proof: `Keys::Plans` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn post_output() -> Weight {
        Weight::from_parts(276_281_000, 22187)
            .saturating_add(T::DbWeight::get().reads(11))
            .saturating_add(T::DbWeight::get().writes(11))
    }
    /// Storage: `Keys::LatestBeacon` (r:1 w:0)
    /// Proof: `Keys::LatestBeacon` (`max_values`: Some(1), `max_size`: Some(52), added: 547, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    fn authorize_beacon() -> Weight {
        Weight::from_parts(20_945_868_000, 16312)
            .saturating_add(T::DbWeight::get().reads(3))
    }
    /// Storage: `Keys::LatestBeacon` (r:1 w:1)
    /// Proof: `Keys::LatestBeacon` (`max_values`: Some(1), `max_size`: Some(52), added: 547, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Rounds` (r:1 w:1)
    /// Proof: `Keys::Rounds` (`max_values`: Some(1), `max_size`: Some(1026), added: 1521, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Stalled` (r:1 w:1)
    /// Proof: `Keys::Stalled` (`max_values`: Some(1), `max_size`: Some(1), added: 496, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Beacons` (r:0 w:2)
    /// Proof: `Keys::Beacons` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    fn submit_beacon() -> Weight {
        Weight::from_parts(86_939_000, 17330)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(5))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Running` (r:1 w:0)
    /// Proof: `Keys::Running` (`max_values`: Some(1), `max_size`: Some(25), added: 520, mode: `MaxEncodedLen`)
    fn authorize_lost_share() -> Weight {
        Weight::from_parts(121_140_000, 16205)
            .saturating_add(T::DbWeight::get().reads(3))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CurrentEpoch` (r:1 w:0)
    /// Proof: `Keys::CurrentEpoch` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Running` (r:1 w:1)
    /// Proof: `Keys::Running` (`max_values`: Some(1), `max_size`: Some(25), added: 520, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:2 w:1)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::NextCeremony` (r:1 w:1)
    /// Proof: `Keys::NextCeremony` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Plans` (r:0 w:1)
    /// Proof: `Keys::Plans` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Progresses` (r:0 w:1)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    fn report_lost_share() -> Weight {
        Weight::from_parts(140_469_000, 27193)
            .saturating_add(T::DbWeight::get().reads(7))
            .saturating_add(T::DbWeight::get().writes(5))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::ReleaseLogs` (r:1 w:0)
    /// Proof: `Keys::ReleaseLogs` (`max_values`: None, `max_size`: Some(84), added: 2559, mode: `MaxEncodedLen`)
    fn authorize_releases() -> Weight {
        Weight::from_parts(79_148_000, 3549)
            .saturating_add(T::DbWeight::get().reads(2))
    }
    /// Storage: `System::BlockHash` (r:1 w:0)
    /// Proof: `System::BlockHash` (`max_values`: None, `max_size`: Some(44), added: 2519, mode: `MaxEncodedLen`)
    /// Storage: `Keys::ReleaseLogs` (r:1 w:1)
    /// Proof: `Keys::ReleaseLogs` (`max_values`: None, `max_size`: Some(84), added: 2559, mode: `MaxEncodedLen`)
    fn log_releases() -> Weight {
        Weight::from_parts(38_467_000, 3549)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Keys::Era` (r:1 w:1)
    /// Proof: `Keys::Era` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CurrentEpoch` (r:1 w:0)
    /// Proof: `Keys::CurrentEpoch` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Running` (r:1 w:1)
    /// Proof: `Keys::Running` (`max_values`: Some(1), `max_size`: Some(25), added: 520, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:2 w:2)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Ended` (r:2 w:2)
    /// Proof: `Keys::Ended` (`max_values`: None, `max_size`: Some(16), added: 2491, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CounterForEnded` (r:1 w:1)
    /// Proof: `Keys::CounterForEnded` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:2 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::NextCeremony` (r:1 w:1)
    /// Proof: `Keys::NextCeremony` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Plans` (r:0 w:2)
    /// Proof: `Keys::Plans` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Progresses` (r:0 w:4)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    fn on_elected() -> Weight {
        Weight::from_parts(189_882_000, 27179)
            .saturating_add(T::DbWeight::get().reads(11))
            .saturating_add(T::DbWeight::get().writes(14))
    }
    /// Storage: `Keys::Ceremonies` (r:1 w:0)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Progresses` (r:1 w:0)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    fn wait() -> Weight {
        Weight::from_parts(26_379_000, 7964)
            .saturating_add(T::DbWeight::get().reads(2))
    }
    /// Storage: `Keys::Ceremonies` (r:1 w:1)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Progresses` (r:1 w:1)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Enrolments` (r:64 w:0)
    /// Proof: `Keys::Enrolments` (`max_values`: None, `max_size`: Some(88), added: 2563, mode: `MaxEncodedLen`)
    fn advance() -> Weight {
        Weight::from_parts(446_153_000, 165022)
            .saturating_add(T::DbWeight::get().reads(66))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Keys::Running` (r:1 w:1)
    /// Proof: `Keys::Running` (`max_values`: Some(1), `max_size`: Some(25), added: 520, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ended` (r:1 w:1)
    /// Proof: `Keys::Ended` (`max_values`: None, `max_size`: Some(16), added: 2491, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CounterForEnded` (r:1 w:1)
    /// Proof: `Keys::CounterForEnded` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Plans` (r:1 w:1)
    /// Proof: `Keys::Plans` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::NextCeremony` (r:1 w:1)
    /// Proof: `Keys::NextCeremony` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:0 w:1)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Progresses` (r:0 w:2)
    /// Proof: `Keys::Progresses` (`max_values`: None, `max_size`: Some(153), added: 2628, mode: `MaxEncodedLen`)
    fn retry() -> Weight {
        Weight::from_parts(161_750_000, 19032)
            .saturating_add(T::DbWeight::get().reads(6))
            .saturating_add(T::DbWeight::get().writes(8))
    }
    /// Storage: `Keys::Ended` (r:2 w:1)
    /// Proof: `Keys::Ended` (`max_values`: None, `max_size`: Some(16), added: 2491, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Enrolments` (r:1 w:0)
    /// Proof: `Keys::Enrolments` (`max_values`: None, `max_size`: Some(88), added: 2563, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Dealings` (r:65 w:64)
    /// Proof: `Keys::Dealings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Answers` (r:1 w:0)
    /// Proof: `Keys::Answers` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Logs` (r:1 w:0)
    /// Proof: `Keys::Logs` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Confirmations` (r:1 w:0)
    /// Proof: `Keys::Confirmations` (`max_values`: None, `max_size`: Some(184), added: 2659, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CounterForEnded` (r:1 w:1)
    /// Proof: `Keys::CounterForEnded` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Ceremonies` (r:0 w:1)
    /// Proof: `Keys::Ceremonies` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn remove(n: u32, ) -> Weight {
        Weight::from_parts(89_159_256, 5972)
            .saturating_add(Weight::from_parts(12_777_601, 0).saturating_mul(n.into()))
            .saturating_add(T::DbWeight::get().reads(8))
            .saturating_add(T::DbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(T::DbWeight::get().writes(3))
            .saturating_add(T::DbWeight::get().writes((1_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2553).saturating_mul(n.into()))
    }
    /// Storage: `Keys::OldestEpoch` (r:1 w:0)
    /// Proof: `Keys::OldestEpoch` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Epochs` (r:1 w:0)
    /// Proof: `Keys::Epochs` (`max_values`: None, `max_size`: Some(21), added: 2496, mode: `MaxEncodedLen`)
    fn end_no_epoch() -> Weight {
        Weight::from_parts(22_674_000, 3486)
            .saturating_add(T::DbWeight::get().reads(2))
    }
    /// Storage: `Keys::OldestEpoch` (r:1 w:1)
    /// Proof: `Keys::OldestEpoch` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Epochs` (r:1 w:1)
    /// Proof: `Keys::Epochs` (`max_values`: None, `max_size`: Some(21), added: 2496, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:1)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Keys::Ended` (r:1 w:1)
    /// Proof: `Keys::Ended` (`max_values`: None, `max_size`: Some(16), added: 2491, mode: `MaxEncodedLen`)
    /// Storage: `Keys::CounterForEnded` (r:1 w:1)
    /// Proof: `Keys::CounterForEnded` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    fn end_epoch() -> Weight {
        Weight::from_parts(70_305_000, 16189)
            .saturating_add(T::DbWeight::get().reads(5))
            .saturating_add(T::DbWeight::get().writes(5))
    }
    /// Storage: `Keys::Stalled` (r:1 w:1)
    /// Proof: `Keys::Stalled` (`max_values`: Some(1), `max_size`: Some(1), added: 496, mode: `MaxEncodedLen`)
    /// Storage: `Keys::LatestBeacon` (r:1 w:0)
    /// Proof: `Keys::LatestBeacon` (`max_values`: Some(1), `max_size`: Some(52), added: 547, mode: `MaxEncodedLen`)
    /// Storage: `Keys::Sharings` (r:1 w:0)
    /// Proof: `Keys::Sharings` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn watch_beacon() -> Weight {
        Weight::from_parts(37_195_000, 16151)
            .saturating_add(T::DbWeight::get().reads(3))
            .saturating_add(T::DbWeight::get().writes(1))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn authorize_post(b: u32, ) -> Weight {
        Weight::from_parts(175_112_707, 9378)
            .saturating_add(Weight::from_parts(3_448, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
    }
    fn post(b: u32, ) -> Weight {
        Weight::from_parts(122_866_866, 9378)
            .saturating_add(Weight::from_parts(2_126, 0).saturating_mul(b.into()))
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn post_confirmation() -> Weight {
        Weight::from_parts(1_236_107_000, 173825)
            .saturating_add(RocksDbWeight::get().reads(69))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn post_output() -> Weight {
        Weight::from_parts(276_281_000, 22187)
            .saturating_add(RocksDbWeight::get().reads(11))
            .saturating_add(RocksDbWeight::get().writes(11))
    }
    fn authorize_beacon() -> Weight {
        Weight::from_parts(20_945_868_000, 16312)
            .saturating_add(RocksDbWeight::get().reads(3))
    }
    fn submit_beacon() -> Weight {
        Weight::from_parts(86_939_000, 17330)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(5))
    }
    fn authorize_lost_share() -> Weight {
        Weight::from_parts(121_140_000, 16205)
            .saturating_add(RocksDbWeight::get().reads(3))
    }
    fn report_lost_share() -> Weight {
        Weight::from_parts(140_469_000, 27193)
            .saturating_add(RocksDbWeight::get().reads(7))
            .saturating_add(RocksDbWeight::get().writes(5))
    }
    fn authorize_releases() -> Weight {
        Weight::from_parts(79_148_000, 3549)
            .saturating_add(RocksDbWeight::get().reads(2))
    }
    fn log_releases() -> Weight {
        Weight::from_parts(38_467_000, 3549)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn on_elected() -> Weight {
        Weight::from_parts(189_882_000, 27179)
            .saturating_add(RocksDbWeight::get().reads(11))
            .saturating_add(RocksDbWeight::get().writes(14))
    }
    fn wait() -> Weight {
        Weight::from_parts(26_379_000, 7964)
            .saturating_add(RocksDbWeight::get().reads(2))
    }
    fn advance() -> Weight {
        Weight::from_parts(446_153_000, 165022)
            .saturating_add(RocksDbWeight::get().reads(66))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn retry() -> Weight {
        Weight::from_parts(161_750_000, 19032)
            .saturating_add(RocksDbWeight::get().reads(6))
            .saturating_add(RocksDbWeight::get().writes(8))
    }
    fn remove(n: u32, ) -> Weight {
        Weight::from_parts(89_159_256, 5972)
            .saturating_add(Weight::from_parts(12_777_601, 0).saturating_mul(n.into()))
            .saturating_add(RocksDbWeight::get().reads(8))
            .saturating_add(RocksDbWeight::get().reads((1_u64).saturating_mul(n.into())))
            .saturating_add(RocksDbWeight::get().writes(3))
            .saturating_add(RocksDbWeight::get().writes((1_u64).saturating_mul(n.into())))
            .saturating_add(Weight::from_parts(0, 2553).saturating_mul(n.into()))
    }
    fn end_no_epoch() -> Weight {
        Weight::from_parts(22_674_000, 3486)
            .saturating_add(RocksDbWeight::get().reads(2))
    }
    fn end_epoch() -> Weight {
        Weight::from_parts(70_305_000, 16189)
            .saturating_add(RocksDbWeight::get().reads(5))
            .saturating_add(RocksDbWeight::get().writes(5))
    }
    fn watch_beacon() -> Weight {
        Weight::from_parts(37_195_000, 16151)
            .saturating_add(RocksDbWeight::get().reads(3))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
}
