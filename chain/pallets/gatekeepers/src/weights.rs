
//! Weights of `pallet_phala_gatekeepers`, measured: do not edit.
//!
//! STEPS 4, REPEAT 4, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

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

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Gatekeepers::Seats` (r:65 w:2)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:1 w:1)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
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
    /// Storage: `Attestation::Platforms` (r:1 w:1)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(81), added: 2556, mode: `MaxEncodedLen`)
    /// Storage: `Session::NextKeys` (r:1 w:1)
    /// Proof: `Session::NextKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Session::KeyOwner` (r:2 w:2)
    /// Proof: `Session::KeyOwner` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backing` (r:65 w:0)
    /// Proof: `Gatekeepers::Backing` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Session::ExternallySetKeys` (r:0 w:1)
    /// Proof: `Session::ExternallySetKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn register() -> Weight {
        Weight::from_parts(4_594_718_000, 180065)
            .saturating_add(T::DbWeight::get().reads(149))
            .saturating_add(T::DbWeight::get().writes(10))
    }
    /// Storage: `Gatekeepers::Gatekeepers` (r:4 w:4)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
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
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Platforms` (r:3 w:3)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(81), added: 2556, mode: `MaxEncodedLen`)
    fn renew() -> Weight {
        Weight::from_parts(541_164_000, 13042)
            .saturating_add(T::DbWeight::get().reads(21))
            .saturating_add(T::DbWeight::get().writes(8))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:4 w:4)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
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
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Platforms` (r:4 w:4)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(81), added: 2556, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    fn replace() -> Weight {
        Weight::from_parts(525_751_000, 13042)
            .saturating_add(T::DbWeight::get().reads(23))
            .saturating_add(T::DbWeight::get().writes(9))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    fn bond_more() -> Weight {
        Weight::from_parts(109_142_000, 3745)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:0)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:1 w:1)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
    fn set_endpoint() -> Weight {
        Weight::from_parts(46_359_000, 4003)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:0)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Session::Validators` (r:1 w:0)
    /// Proof: `Session::Validators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Session::NextKeys` (r:1 w:1)
    /// Proof: `Session::NextKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Session::KeyOwner` (r:2 w:4)
    /// Proof: `Session::KeyOwner` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Session::ExternallySetKeys` (r:1 w:1)
    /// Proof: `Session::ExternallySetKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn set_session_keys() -> Weight {
        Weight::from_parts(279_075_000, 11424)
            .saturating_add(T::DbWeight::get().reads(7))
            .saturating_add(T::DbWeight::get().writes(6))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    fn rest() -> Weight {
        Weight::from_parts(92_598_000, 5583)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Gatekeepers::Seats` (r:65 w:2)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backing` (r:65 w:0)
    /// Proof: `Gatekeepers::Backing` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Silences` (r:0 w:1)
    /// Proof: `Gatekeepers::Silences` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    fn stand() -> Weight {
        Weight::from_parts(798_487_000, 180065)
            .saturating_add(T::DbWeight::get().reads(132))
            .saturating_add(T::DbWeight::get().writes(4))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    fn leave() -> Weight {
        Weight::from_parts(104_015_000, 6714)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Gatekeepers::Seats` (r:1 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Session::Validators` (r:1 w:0)
    /// Proof: `Session::Validators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Balances::Holds` (r:2 w:2)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:4 w:4)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Platforms` (r:4 w:4)
    /// Proof: `Attestation::Platforms` (`max_values`: None, `max_size`: Some(81), added: 2556, mode: `MaxEncodedLen`)
    /// Storage: `Session::NextKeys` (r:1 w:1)
    /// Proof: `Session::NextKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `System::Account` (r:1 w:1)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Session::ExternallySetKeys` (r:1 w:1)
    /// Proof: `Session::ExternallySetKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Silences` (r:0 w:1)
    /// Proof: `Gatekeepers::Silences` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Session::KeyOwner` (r:0 w:2)
    /// Proof: `Session::KeyOwner` (`max_values`: None, `max_size`: None, mode: `Measured`)
    fn withdraw() -> Weight {
        Weight::from_parts(377_390_000, 14683)
            .saturating_add(T::DbWeight::get().reads(17))
            .saturating_add(T::DbWeight::get().writes(17))
    }
    /// Storage: `Gatekeepers::Seats` (r:16 w:0)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backers` (r:2 w:2)
    /// Proof: `Gatekeepers::Backers` (`max_values`: None, `max_size`: Some(577), added: 3052, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Ranking` (r:1 w:1)
    /// Proof: `Gatekeepers::Ranking` (`max_values`: Some(1), `max_size`: Some(12290), added: 12785, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backing` (r:32 w:32)
    /// Proof: `Gatekeepers::Backing` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Unbackings` (r:1 w:1)
    /// Proof: `Gatekeepers::Unbackings` (`max_values`: None, `max_size`: Some(68), added: 2543, mode: `MaxEncodedLen`)
    fn back() -> Weight {
        Weight::from_parts(633_372_000, 82238)
            .saturating_add(T::DbWeight::get().reads(55))
            .saturating_add(T::DbWeight::get().writes(37))
    }
    /// Storage: `Gatekeepers::Backers` (r:1 w:1)
    /// Proof: `Gatekeepers::Backers` (`max_values`: None, `max_size`: Some(577), added: 3052, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backing` (r:16 w:16)
    /// Proof: `Gatekeepers::Backing` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Ranking` (r:1 w:1)
    /// Proof: `Gatekeepers::Ranking` (`max_values`: Some(1), `max_size`: Some(12290), added: 12785, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Unbackings` (r:1 w:1)
    /// Proof: `Gatekeepers::Unbackings` (`max_values`: None, `max_size`: Some(68), added: 2543, mode: `MaxEncodedLen`)
    fn stop_backing() -> Weight {
        Weight::from_parts(260_196_000, 41614)
            .saturating_add(T::DbWeight::get().reads(21))
            .saturating_add(T::DbWeight::get().writes(19))
    }
    /// Storage: `Gatekeepers::Unbackings` (r:1 w:1)
    /// Proof: `Gatekeepers::Unbackings` (`max_values`: None, `max_size`: Some(68), added: 2543, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    fn withdraw_backing() -> Weight {
        Weight::from_parts(145_927_000, 3604)
            .saturating_add(T::DbWeight::get().reads(3))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Gatekeepers::DiversityCaps` (r:0 w:1)
    /// Proof: `Gatekeepers::DiversityCaps` (`max_values`: Some(1), `max_size`: Some(12), added: 507, mode: `MaxEncodedLen`)
    fn set_caps() -> Weight {
        Weight::from_parts(16_524_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Gatekeepers::SetSize` (r:0 w:1)
    /// Proof: `Gatekeepers::SetSize` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    fn set_size() -> Weight {
        Weight::from_parts(16_935_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Gatekeepers::Forced` (r:0 w:1)
    /// Proof: `Gatekeepers::Forced` (`max_values`: Some(1), `max_size`: Some(1), added: 496, mode: `MaxEncodedLen`)
    fn force_era() -> Weight {
        Weight::from_parts(14_031_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Gatekeepers::Seats` (r:2 w:1)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:1 w:1)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Session::DisabledValidators` (r:1 w:1)
    /// Proof: `Session::DisabledValidators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Session::Validators` (r:1 w:0)
    /// Proof: `Session::Validators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    fn on_offence() -> Weight {
        Weight::from_parts(220_408_000, 10107)
            .saturating_add(T::DbWeight::get().reads(9))
            .saturating_add(T::DbWeight::get().writes(5))
    }
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:64 w:0)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Forced` (r:0 w:1)
    /// Proof: `Gatekeepers::Forced` (`max_values`: Some(1), `max_size`: Some(1), added: 496, mode: `MaxEncodedLen`)
    fn on_compromise() -> Weight {
        Weight::from_parts(571_720_000, 193822)
            .saturating_add(T::DbWeight::get().reads(65))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Session::CurrentIndex` (r:1 w:0)
    /// Proof: `Session::CurrentIndex` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Historical::StoredRange` (r:1 w:0)
    /// Proof: `Historical::StoredRange` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraStart` (r:1 w:1)
    /// Proof: `Gatekeepers::EraStart` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::EraLength` (r:1 w:0)
    /// Proof: `Gatekeepers::EraLength` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Forced` (r:1 w:1)
    /// Proof: `Gatekeepers::Forced` (`max_values`: Some(1), `max_size`: Some(1), added: 496, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:1)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:0)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Seats` (r:128 w:0)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Session::NextKeys` (r:128 w:0)
    /// Proof: `Session::NextKeys` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Gatekeepers` (r:128 w:0)
    /// Proof: `Gatekeepers::Gatekeepers` (`max_values`: None, `max_size`: Some(538), added: 3013, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Images` (r:1 w:0)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Compromised` (r:194 w:0)
    /// Proof: `Attestation::Compromised` (`max_values`: None, `max_size`: Some(57), added: 2532, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::SetSize` (r:1 w:0)
    /// Proof: `Gatekeepers::SetSize` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Ranking` (r:1 w:0)
    /// Proof: `Gatekeepers::Ranking` (`max_values`: Some(1), `max_size`: Some(12290), added: 12785, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Backers` (r:256 w:0)
    /// Proof: `Gatekeepers::Backers` (`max_values`: None, `max_size`: Some(577), added: 3052, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::DiversityCaps` (r:1 w:0)
    /// Proof: `Gatekeepers::DiversityCaps` (`max_values`: Some(1), `max_size`: Some(12), added: 507, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Era` (r:1 w:1)
    /// Proof: `Gatekeepers::Era` (`max_values`: Some(1), `max_size`: Some(4), added: 499, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Silences` (r:0 w:32)
    /// Proof: `Gatekeepers::Silences` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    fn elections() -> Weight {
        Weight::from_parts(81_957_916_000, 782302)
            .saturating_add(T::DbWeight::get().reads(847))
            .saturating_add(T::DbWeight::get().writes(36))
    }
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::SessionStart` (r:1 w:1)
    /// Proof: `Gatekeepers::SessionStart` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Authored` (r:1 w:0)
    /// Proof: `Gatekeepers::Authored` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Elected` (r:1 w:0)
    /// Proof: `Gatekeepers::Elected` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    /// Storage: `Session::Validators` (r:1 w:0)
    /// Proof: `Session::Validators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Session::DisabledValidators` (r:1 w:0)
    /// Proof: `Session::DisabledValidators` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Gatekeepers::Seats` (r:64 w:64)
    /// Proof: `Gatekeepers::Seats` (`max_values`: None, `max_size`: Some(280), added: 2755, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Silences` (r:64 w:64)
    /// Proof: `Gatekeepers::Silences` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `System::Account` (r:65 w:65)
    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), added: 2603, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:64 w:64)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(139), added: 2614, mode: `MaxEncodedLen`)
    /// Storage: `Gatekeepers::Standing` (r:1 w:1)
    /// Proof: `Gatekeepers::Standing` (`max_values`: Some(1), `max_size`: Some(4098), added: 4593, mode: `MaxEncodedLen`)
    fn judge_authors() -> Weight {
        Weight::from_parts(15_159_648_000, 177310)
            .saturating_add(T::DbWeight::get().reads(264))
            .saturating_add(T::DbWeight::get().writes(259))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn register() -> Weight {
        Weight::from_parts(4_594_718_000, 180065)
            .saturating_add(RocksDbWeight::get().reads(149))
            .saturating_add(RocksDbWeight::get().writes(10))
    }
    fn renew() -> Weight {
        Weight::from_parts(541_164_000, 13042)
            .saturating_add(RocksDbWeight::get().reads(21))
            .saturating_add(RocksDbWeight::get().writes(8))
    }
    fn replace() -> Weight {
        Weight::from_parts(525_751_000, 13042)
            .saturating_add(RocksDbWeight::get().reads(23))
            .saturating_add(RocksDbWeight::get().writes(9))
    }
    fn bond_more() -> Weight {
        Weight::from_parts(109_142_000, 3745)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn set_endpoint() -> Weight {
        Weight::from_parts(46_359_000, 4003)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_session_keys() -> Weight {
        Weight::from_parts(279_075_000, 11424)
            .saturating_add(RocksDbWeight::get().reads(7))
            .saturating_add(RocksDbWeight::get().writes(6))
    }
    fn rest() -> Weight {
        Weight::from_parts(92_598_000, 5583)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn stand() -> Weight {
        Weight::from_parts(798_487_000, 180065)
            .saturating_add(RocksDbWeight::get().reads(132))
            .saturating_add(RocksDbWeight::get().writes(4))
    }
    fn leave() -> Weight {
        Weight::from_parts(104_015_000, 6714)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn withdraw() -> Weight {
        Weight::from_parts(377_390_000, 14683)
            .saturating_add(RocksDbWeight::get().reads(17))
            .saturating_add(RocksDbWeight::get().writes(17))
    }
    fn back() -> Weight {
        Weight::from_parts(633_372_000, 82238)
            .saturating_add(RocksDbWeight::get().reads(55))
            .saturating_add(RocksDbWeight::get().writes(37))
    }
    fn stop_backing() -> Weight {
        Weight::from_parts(260_196_000, 41614)
            .saturating_add(RocksDbWeight::get().reads(21))
            .saturating_add(RocksDbWeight::get().writes(19))
    }
    fn withdraw_backing() -> Weight {
        Weight::from_parts(145_927_000, 3604)
            .saturating_add(RocksDbWeight::get().reads(3))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn set_caps() -> Weight {
        Weight::from_parts(16_524_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_size() -> Weight {
        Weight::from_parts(16_935_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn force_era() -> Weight {
        Weight::from_parts(14_031_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn on_offence() -> Weight {
        Weight::from_parts(220_408_000, 10107)
            .saturating_add(RocksDbWeight::get().reads(9))
            .saturating_add(RocksDbWeight::get().writes(5))
    }
    fn on_compromise() -> Weight {
        Weight::from_parts(571_720_000, 193822)
            .saturating_add(RocksDbWeight::get().reads(65))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn elections() -> Weight {
        Weight::from_parts(81_957_916_000, 782302)
            .saturating_add(RocksDbWeight::get().reads(847))
            .saturating_add(RocksDbWeight::get().writes(36))
    }
    fn judge_authors() -> Weight {
        Weight::from_parts(15_159_648_000, 177310)
            .saturating_add(RocksDbWeight::get().reads(264))
            .saturating_add(RocksDbWeight::get().writes(259))
    }
}
