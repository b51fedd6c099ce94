//! The Phala runtime for solo chains: what every node executes, and what decides.
//!
//! - [`configs`]: each pallet's parameters, with the reason for each number.
//! - [`apis`]: what nodes and clients may ask the runtime.
//! - [`genesis`]: the presets from which chains start, and who owns the first PHA.
//!
//! Blocks are made in BABE slots of two seconds and finalized by GRANDPA. The authorities are those of genesis, each of
//! which may replace its keys by `session.set_keys`, until a first set of gatekeepers is elected ([`Gatekeepers`]).
//! [Phala's own pallets](Runtime) record which enclaves may work ([`Attestation`], [`Workers`]), what may be run ([`Apps`]) and
//! what is run, by whom and for how much ([`Jobs`]).

#![cfg_attr(not(feature = "std"), no_std)]
// The runtime macros expand to deep types.
#![recursion_limit = "256"]
// What those macros generate has no documentation.
#![allow(missing_docs)]

extern crate alloc;

pub mod apis;
pub mod configs;
pub mod genesis;
#[cfg(test)]
mod tests;

use alloc::{borrow::Cow, vec::Vec};
use sp_runtime::{
    MultiAddress, MultiSignature, generic, impl_opaque_keys,
    traits::{BlakeTwo256, IdentifyAccount, Verify},
};
use sp_version::RuntimeVersion;

pub use apis::RuntimeApi;
pub use phala_primitives::{Balance, PHA};

// Gives `WASM_BINARY` and `WASM_BINARY_BLOATY`.
#[cfg(feature = "std")]
include!(concat!(env!("OUT_DIR"), "/wasm_binary.rs"));

/// Signatures of extrinsics: Ed25519, Sr25519 or ECDSA.
pub type Signature = MultiSignature;
/// An account: the public key itself, or its hash for ECDSA.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
/// How extrinsics name accounts.
pub type Address = MultiAddress<AccountId, ()>;
/// The number of a block.
pub type BlockNumber = u32;
/// The count of extrinsics that an account has signed.
pub type Nonce = u32;
/// Hashes of blocks, extrinsics and storage: BLAKE2b-256.
pub type Hash = sp_core::H256;
/// A block's header.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// A block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;

/// What a signed extrinsic carries beside its call, and the order in which it is checked.
pub type TxExtension = (
    // Lets gatekeepers' posts in, which have no sender.
    frame_system::AuthorizeCall<Runtime>,
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckMortality<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    // Lets hardware wallets show what they sign; without the feature `metadata-hash` it can only be switched off.
    frame_metadata_hash_extension::CheckMetadataHash<Runtime>,
    frame_system::WeightReclaim<Runtime>,
);

/// An extrinsic as it comes from the network.
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;

/// What a signer signs.
pub type SignedPayload = generic::SignedPayload<RuntimeCall, TxExtension>;

/// Executes blocks.
pub type Executive =
    frame_executive::Executive<Runtime, Block, frame_system::ChainContext<Runtime>, Runtime, AllPalletsWithSystem>;

impl_opaque_keys! {
    /// An authority's keys: one to make blocks, one to finalize them.
    pub struct SessionKeys {
        pub babe: Babe,
        pub grandpa: Grandpa,
    }
}

/// The name and versions of this runtime.
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("phala"),
    impl_name: Cow::Borrowed("phala-solo"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 1,
    apis: apis::RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

/// The length of a slot: each has at most one block that stays.
pub const MILLISECS_PER_BLOCK: u64 = 2_000;
/// Blocks in a minute.
pub const MINUTES: BlockNumber = 60_000 / (MILLISECS_PER_BLOCK as BlockNumber);
/// Blocks in an hour.
pub const HOURS: BlockNumber = 60 * MINUTES;
/// Blocks in a day.
pub const DAYS: BlockNumber = 24 * HOURS;
/// Slots in an epoch, which is also a session, unless genesis says otherwise: five minutes.
pub const EPOCH_DURATION_IN_SLOTS: u64 = 150;

/// Sessions in an era, unless genesis says fewer: six hours. New keys for inputs each quarter of a day, and a set that is as old
/// at most when a verdict in it ends.
pub const SESSIONS_PER_ERA: u32 = 72;
/// Eras for which bonds and backing stay on hold after they were taken back: seven days.
pub const UNBONDING_ERAS: u32 = 28;

/// The smallest balance that an account may have. Less is dust and goes to the treasury.
pub const EXISTENTIAL_DEPOSIT: Balance = PHA / 100;

/// How BABE gives out slots: in a quarter of them an authority wins by its own lot, and a fallback authority, also with
/// a verifiable random output, fills the others, so that a block comes every two seconds.
pub const BABE_GENESIS_EPOCH_CONFIG: sp_consensus_babe::BabeEpochConfiguration =
    sp_consensus_babe::BabeEpochConfiguration {
        c: (1, 4),
        allowed_slots: sp_consensus_babe::AllowedSlots::PrimaryAndSecondaryVRFSlots,
    };

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp;
    #[runtime::pallet_index(2)]
    pub type Babe = pallet_babe;
    #[runtime::pallet_index(3)]
    pub type Authorship = pallet_authorship;
    #[runtime::pallet_index(4)]
    pub type Balances = pallet_balances;
    #[runtime::pallet_index(5)]
    pub type TransactionPayment = pallet_transaction_payment;
    #[runtime::pallet_index(6)]
    pub type Session = pallet_session;
    #[runtime::pallet_index(7)]
    pub type Grandpa = pallet_grandpa;
    #[runtime::pallet_index(8)]
    pub type Sudo = pallet_sudo;
    #[runtime::pallet_index(9)]
    pub type Utility = pallet_utility;
    #[runtime::pallet_index(10)]
    pub type Historical = pallet_session::historical;
    #[runtime::pallet_index(11)]
    pub type Offences = pallet_offences;
    #[runtime::pallet_index(20)]
    pub type Attestation = pallet_phala_attestation;
    #[runtime::pallet_index(21)]
    pub type Workers = pallet_phala_workers;
    #[runtime::pallet_index(22)]
    pub type Apps = pallet_phala_apps;
    #[runtime::pallet_index(23)]
    pub type Jobs = pallet_phala_jobs;
    #[runtime::pallet_index(24)]
    pub type Gatekeepers = pallet_phala_gatekeepers;
    #[runtime::pallet_index(25)]
    pub type Keys = pallet_phala_keys;
}

#[cfg(feature = "runtime-benchmarks")]
mod benches {
    frame_benchmarking::define_benchmarks!(
        [frame_system, frame_system_benchmarking::Pallet::<super::Runtime>]
        [pallet_timestamp, super::Timestamp]
        [pallet_balances, super::Balances]
        [pallet_transaction_payment, super::TransactionPayment]
        [pallet_sudo, super::Sudo]
        [pallet_utility, super::Utility]
        [pallet_phala_attestation, super::Attestation]
        [pallet_phala_workers, super::Workers]
        [pallet_phala_apps, super::Apps]
        [pallet_phala_jobs, super::Jobs]
        [pallet_phala_gatekeepers, super::Gatekeepers]
        [pallet_phala_keys, super::Keys]
    );
}

/// The SCALE encoding of this runtime's metadata in `version` (14, 15 or 16), with its magic and version prefix,
/// without executing WebAssembly; `None` for other versions.
#[cfg(feature = "std")]
pub fn metadata(version: u32) -> Option<Vec<u8>> {
    // Of constants that genesis may change, it holds what they are when it does not.
    sp_io::TestExternalities::default()
        .execute_with(|| Runtime::metadata_at_version(version))
        .map(|metadata| metadata.to_vec())
}
