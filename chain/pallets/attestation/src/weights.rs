
//! Weights of `pallet_phala_attestation`, measured: do not edit.
//!
//! STEPS 20, REPEAT 10, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`, but for those of vendors' documents and evidence (`set_hardware_policy` and all after it): they
//! are bounds set by hand, several times what native code takes, until they are measured.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(unused_parens, unused_imports, missing_docs, clippy::unnecessary_cast)]

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::{Weight, constants::RocksDbWeight}};

/// What each call of this pallet costs.
pub trait WeightInfo {
    fn allow_image() -> Weight;
    fn forbid_image() -> Weight;
    fn set_verdict_lifetime() -> Weight;
    fn set_hardware_policy() -> Weight;
    fn set_early_period() -> Weight;
    fn remove_document() -> Weight;
    fn submit_tcb_info(k: u32, ) -> Weight;
    fn submit_pck_crl(k: u32, ) -> Weight;
    fn submit_amd_crl(k: u32, ) -> Weight;
    fn verify_dcap(t: u32, l: u32, ) -> Weight;
    fn verify_sev_snp(l: u32, ) -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Attestation::Images` (r:0 w:1)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    fn allow_image() -> Weight {
        Weight::from_parts(10_316_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::Images` (r:1 w:1)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    fn forbid_image() -> Weight {
        Weight::from_parts(14_712_000, 3518)
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::VerdictLifetime` (r:0 w:1)
    /// Proof: `Attestation::VerdictLifetime` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(7_511_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    fn set_hardware_policy() -> Weight {
        Weight::from_parts(10_000_000, 0).saturating_add(T::DbWeight::get().writes(1))
    }
    fn set_early_period() -> Weight {
        Weight::from_parts(10_000_000, 0).saturating_add(T::DbWeight::get().writes(1))
    }
    fn remove_document() -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(T::DbWeight::get().reads_writes(6, 6))
    }
    fn submit_tcb_info(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn submit_pck_crl(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn submit_amd_crl(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn verify_dcap(t: u32, l: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(t.saturating_add(l).into()))
    }
    fn verify_sev_snp(l: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(l.into()))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn allow_image() -> Weight {
        Weight::from_parts(10_316_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn forbid_image() -> Weight {
        Weight::from_parts(14_712_000, 3518)
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(7_511_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_hardware_policy() -> Weight {
        Weight::from_parts(10_000_000, 0).saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_early_period() -> Weight {
        Weight::from_parts(10_000_000, 0).saturating_add(RocksDbWeight::get().writes(1))
    }
    fn remove_document() -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(RocksDbWeight::get().reads_writes(6, 6))
    }
    fn submit_tcb_info(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn submit_pck_crl(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn submit_amd_crl(k: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(k.into()))
    }
    fn verify_dcap(t: u32, l: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(t.saturating_add(l).into()))
    }
    fn verify_sev_snp(l: u32, ) -> Weight {
        Weight::from_parts(40_000_000_000, 0).saturating_add(Weight::from_parts(500_000_000, 1024).saturating_mul(l.into()))
    }
}
