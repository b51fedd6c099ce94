
//! Weights of `pallet_phala_attestation`, measured: do not edit.
//!
//! STEPS 12, REPEAT 4, CPU `AMD EPYC`, WASM execution `Compiled`.
//! Made by `scripts/weights`.

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
    fn submit_tcb_info(k: u32, ) -> Weight;
    fn submit_pck_crl(k: u32, ) -> Weight;
    fn submit_amd_crl(k: u32, ) -> Weight;
    fn remove_document() -> Weight;
    fn compromise() -> Weight;
    fn restore() -> Weight;
    fn claim_sealing_key() -> Weight;
    fn replace_sealing_keys() -> Weight;
    fn verify_dcap(t: u32, l: u32, ) -> Weight;
    fn verify_sev_snp(l: u32, ) -> Weight;
}

/// Measured on the reference machine, with the runtime's database weights.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    /// Storage: `Attestation::Images` (r:0 w:1)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    fn allow_image() -> Weight {
        Weight::from_parts(10_766_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::Images` (r:1 w:1)
    /// Proof: `Attestation::Images` (`max_values`: None, `max_size`: Some(53), added: 2528, mode: `MaxEncodedLen`)
    fn forbid_image() -> Weight {
        Weight::from_parts(15_102_000, 3518)
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::VerdictLifetime` (r:0 w:1)
    /// Proof: `Attestation::VerdictLifetime` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(7_972_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::Hardware` (r:0 w:1)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    fn set_hardware_policy() -> Weight {
        Weight::from_parts(269_981_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::EarlyPeriod` (r:0 w:1)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    fn set_early_period() -> Weight {
        Weight::from_parts(7_941_000, 0)
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Documents` (r:1 w:1)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:1 w:1)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::KnownSignatures` (r:2 w:2)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::LastRecovery` (r:1 w:1)
    /// Proof: `Attestation::LastRecovery` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    fn submit_tcb_info(k: u32, ) -> Weight {
        Weight::from_parts(1_770_134_365, 6012)
            .saturating_add(Weight::from_parts(42_983_488, 0).saturating_mul(k.into()))
            .saturating_add(T::DbWeight::get().reads(10))
            .saturating_add(T::DbWeight::get().writes(5))
            .saturating_add(Weight::from_parts(0, 2049).saturating_mul(k.into()))
    }
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Documents` (r:1 w:1)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:1 w:1)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::KnownSignatures` (r:2 w:2)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    fn submit_pck_crl(k: u32, ) -> Weight {
        Weight::from_parts(1_798_749_588, 6012)
            .saturating_add(Weight::from_parts(70_265_344, 0).saturating_mul(k.into()))
            .saturating_add(T::DbWeight::get().reads(9))
            .saturating_add(T::DbWeight::get().writes(4))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(k.into()))
    }
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::Documents` (r:1 w:1)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:1 w:1)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::KnownSignatures` (r:1 w:1)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    fn submit_amd_crl(k: u32, ) -> Weight {
        Weight::from_parts(681_192_176, 5155)
            .saturating_add(Weight::from_parts(99_124_291, 0).saturating_mul(k.into()))
            .saturating_add(T::DbWeight::get().reads(8))
            .saturating_add(T::DbWeight::get().writes(3))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(k.into()))
    }
    /// Storage: `Attestation::Documents` (r:1 w:1)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:1 w:1)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::KnownSignatures` (r:2 w:2)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    fn remove_document() -> Weight {
        Weight::from_parts(162_421_000, 127851)
            .saturating_add(T::DbWeight::get().reads(4))
            .saturating_add(T::DbWeight::get().writes(4))
    }
    /// Storage: `Attestation::Compromised` (r:1 w:1)
    /// Proof: `Attestation::Compromised` (`max_values`: None, `max_size`: Some(57), added: 2532, mode: `MaxEncodedLen`)
    /// Storage: `Timestamp::Now` (r:1 w:0)
    /// Proof: `Timestamp::Now` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Cordoning` (r:1 w:1)
    /// Proof: `Workers::Cordoning` (`max_values`: Some(1), `max_size`: Some(2114), added: 2609, mode: `MaxEncodedLen`)
    fn compromise() -> Weight {
        Weight::from_parts(22_703_000, 3599)
            .saturating_add(T::DbWeight::get().reads(3))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    /// Storage: `Attestation::Compromised` (r:1 w:1)
    /// Proof: `Attestation::Compromised` (`max_values`: None, `max_size`: Some(57), added: 2532, mode: `MaxEncodedLen`)
    /// Storage: `Workers::Cordoning` (r:1 w:1)
    /// Proof: `Workers::Cordoning` (`max_values`: Some(1), `max_size`: Some(2114), added: 2609, mode: `MaxEncodedLen`)
    fn restore() -> Weight {
        Weight::from_parts(21_982_000, 3599)
            .saturating_add(T::DbWeight::get().reads(2))
            .saturating_add(T::DbWeight::get().writes(2))
    }
    fn claim_sealing_key() -> Weight {
        Weight::from_parts(1_048_508_000, 36480)
            .saturating_add(T::DbWeight::get().reads(18))
            .saturating_add(T::DbWeight::get().writes(3))
    }
    fn replace_sealing_keys() -> Weight {
        Weight::from_parts(22_703_000, 3599)
            .saturating_add(T::DbWeight::get().reads(1))
            .saturating_add(T::DbWeight::get().writes(1))
    }
    /// Storage: `Attestation::Documents` (r:4 w:0)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:4 w:0)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::KnownSignatures` (r:9 w:0)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    fn verify_dcap(t: u32, l: u32, ) -> Weight {
        Weight::from_parts(1_796_363_795, 23589)
            .saturating_add(Weight::from_parts(51_557_203, 0).saturating_mul(t.into()))
            .saturating_add(Weight::from_parts(134_423_427, 0).saturating_mul(l.into()))
            .saturating_add(T::DbWeight::get().reads(21))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(l.into()))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(t.into()))
    }
    /// Storage: `Attestation::Documents` (r:2 w:0)
    /// Proof: `Attestation::Documents` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyDocuments` (r:2 w:0)
    /// Proof: `Attestation::EarlyDocuments` (`max_values`: None, `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::EarlyPeriod` (r:1 w:0)
    /// Proof: `Attestation::EarlyPeriod` (`max_values`: Some(1), `max_size`: Some(8), added: 503, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::Hardware` (r:1 w:0)
    /// Proof: `Attestation::Hardware` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::SimulatedRoot` (r:1 w:0)
    /// Proof: `Attestation::SimulatedRoot` (`max_values`: Some(1), `max_size`: Some(32), added: 527, mode: `MaxEncodedLen`)
    /// Storage: `Attestation::SimulatedVendors` (r:1 w:0)
    /// Proof: `Attestation::SimulatedVendors` (`max_values`: Some(1), `max_size`: None, mode: `Measured`)
    /// Storage: `Attestation::KnownSignatures` (r:2 w:0)
    /// Proof: `Attestation::KnownSignatures` (`max_values`: None, `max_size`: Some(36), added: 2511, mode: `MaxEncodedLen`)
    fn verify_sev_snp(l: u32, ) -> Weight {
        Weight::from_parts(5_529_479_090, 8423)
            .saturating_add(Weight::from_parts(40_148_995, 0).saturating_mul(l.into()))
            .saturating_add(T::DbWeight::get().reads(10))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(l.into()))
    }
}

/// The same, for tests.
impl WeightInfo for () {
    fn allow_image() -> Weight {
        Weight::from_parts(10_766_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn forbid_image() -> Weight {
        Weight::from_parts(15_102_000, 3518)
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_verdict_lifetime() -> Weight {
        Weight::from_parts(7_972_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_hardware_policy() -> Weight {
        Weight::from_parts(269_981_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn set_early_period() -> Weight {
        Weight::from_parts(7_941_000, 0)
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn submit_tcb_info(k: u32, ) -> Weight {
        Weight::from_parts(1_770_134_365, 6012)
            .saturating_add(Weight::from_parts(42_983_488, 0).saturating_mul(k.into()))
            .saturating_add(RocksDbWeight::get().reads(10))
            .saturating_add(RocksDbWeight::get().writes(5))
            .saturating_add(Weight::from_parts(0, 2049).saturating_mul(k.into()))
    }
    fn submit_pck_crl(k: u32, ) -> Weight {
        Weight::from_parts(1_798_749_588, 6012)
            .saturating_add(Weight::from_parts(70_265_344, 0).saturating_mul(k.into()))
            .saturating_add(RocksDbWeight::get().reads(9))
            .saturating_add(RocksDbWeight::get().writes(4))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(k.into()))
    }
    fn submit_amd_crl(k: u32, ) -> Weight {
        Weight::from_parts(681_192_176, 5155)
            .saturating_add(Weight::from_parts(99_124_291, 0).saturating_mul(k.into()))
            .saturating_add(RocksDbWeight::get().reads(8))
            .saturating_add(RocksDbWeight::get().writes(3))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(k.into()))
    }
    fn remove_document() -> Weight {
        Weight::from_parts(162_421_000, 127851)
            .saturating_add(RocksDbWeight::get().reads(4))
            .saturating_add(RocksDbWeight::get().writes(4))
    }
    fn compromise() -> Weight {
        Weight::from_parts(22_703_000, 3599)
            .saturating_add(RocksDbWeight::get().reads(3))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn restore() -> Weight {
        Weight::from_parts(21_982_000, 3599)
            .saturating_add(RocksDbWeight::get().reads(2))
            .saturating_add(RocksDbWeight::get().writes(2))
    }
    fn claim_sealing_key() -> Weight {
        Weight::from_parts(1_048_508_000, 36480)
            .saturating_add(RocksDbWeight::get().reads(18))
            .saturating_add(RocksDbWeight::get().writes(3))
    }
    fn replace_sealing_keys() -> Weight {
        Weight::from_parts(22_703_000, 3599)
            .saturating_add(RocksDbWeight::get().reads(1))
            .saturating_add(RocksDbWeight::get().writes(1))
    }
    fn verify_dcap(t: u32, l: u32, ) -> Weight {
        Weight::from_parts(1_796_363_795, 23589)
            .saturating_add(Weight::from_parts(51_557_203, 0).saturating_mul(t.into()))
            .saturating_add(Weight::from_parts(134_423_427, 0).saturating_mul(l.into()))
            .saturating_add(RocksDbWeight::get().reads(21))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(l.into()))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(t.into()))
    }
    fn verify_sev_snp(l: u32, ) -> Weight {
        Weight::from_parts(5_529_479_090, 8423)
            .saturating_add(Weight::from_parts(40_148_995, 0).saturating_mul(l.into()))
            .saturating_add(RocksDbWeight::get().reads(10))
            .saturating_add(Weight::from_parts(0, 1024).saturating_mul(l.into()))
    }
}
