//! A runtime with nothing but attestation.

use crate as pallet_phala_attestation;
use frame_support::{derive_impl, traits::ConstU32};
use sp_core::H256;
use sp_runtime::{
    AccountId32, BuildStorage,
    traits::{BlakeTwo256, Hash, IdentityLookup},
};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const RECENCY: u32 = 8;

/// The time of block 0, in seconds.
pub const START: u64 = 1_800_000_000;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Timestamp: pallet_timestamp,
        Attestation: pallet_phala_attestation,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type BlockHashCount = ConstU32<32>;
}

#[derive_impl(pallet_timestamp::config_preludes::TestDefaultConfig)]
impl pallet_timestamp::Config for Test {}

impl pallet_phala_attestation::Config for Test {
    type AdminOrigin = frame_system::EnsureRoot<AccountId32>;
    type Time = Timestamp;
    type Recency = ConstU32<RECENCY>;
    type OnCompromise = ();
    type WeightInfo = ();
}

/// The hash of a block.
pub fn hash_of(number: u32) -> H256 {
    BlakeTwo256::hash_of(&number)
}

/// Enters the next block.
pub fn next_block() {
    let number = System::block_number() + 1;
    // What `frame_system` does when it finalizes a block.
    if let Some(forgotten) = number.checked_sub(32 + 2).filter(|forgotten| *forgotten > 0) {
        frame_system::BlockHash::<Test>::remove(forgotten);
    }
    System::reset_events();
    System::initialize(&number, &hash_of(number - 1), &Default::default());
    pallet_timestamp::Now::<Test>::put((START + 2 * u64::from(number)) * 1000);
}

/// Enters block `number`, one by one.
pub fn run_to(number: u32) {
    while System::block_number() < number {
        next_block();
    }
}

/// A chain in block 1.
pub fn new_chain(simulated_root: Option<[u8; 32]>) -> sp_io::TestExternalities {
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    pallet_phala_attestation::GenesisConfig::<Test> { simulated_root, ..Default::default() }
        .assimilate_storage(&mut storage)
        .unwrap();
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(next_block);
    chain
}

/// Runs `test` in a [`new_chain`], and checks the invariants after it.
pub fn with_chain(simulated_root: Option<[u8; 32]>, test: impl FnOnce()) {
    new_chain(simulated_root).execute_with(|| {
        test();
        Attestation::do_try_state().unwrap();
    });
}
