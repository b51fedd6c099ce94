
//! Weights of `pallet_phala_apps`, measured: do not edit.
//!
//! STEPS 20, REPEAT 10, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

/// What each call of this pallet costs.
pub trait WeightInfo {
    fn publish() -> Weight;
    fn unpublish() -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Apps::Apps` (r:1 w:1)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:0 w:1)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    fn publish() -> Weight {
        Weight::from_parts(83_214_000, 3615)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(3))
    }
    /// Storage: `Apps::Apps` (r:1 w:1)
    /// Proof: `Apps::Apps` (`max_values`: None, `max_size`: Some(150), added: 2625, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Uses` (r:1 w:0)
    /// Proof: `Apps::Uses` (`max_values`: None, `max_size`: Some(52), added: 2527, mode: `MaxEncodedLen`)
    /// Storage: `Apps::Deposits` (r:1 w:1)
    /// Proof: `Apps::Deposits` (`max_values`: None, `max_size`: Some(64), added: 2539, mode: `MaxEncodedLen`)
    /// Storage: `Balances::Holds` (r:1 w:1)
    /// Proof: `Balances::Holds` (`max_values`: None, `max_size`: Some(103), added: 2578, mode: `MaxEncodedLen`)
    fn unpublish() -> Weight {
        Weight::from_parts(80_159_000, 3615)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(3))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn publish() -> Weight {
        Weight::from_parts(83_214_000, 3615)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(3))
    }
    fn unpublish() -> Weight {
        Weight::from_parts(80_159_000, 3615)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(3))
    }
}
