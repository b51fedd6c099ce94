//! A runtime with attestation and workers.

use crate::{self as pallet_phala_workers, OnUnavailable, Rounds, Unavailable, enclave};
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU32, Hooks},
    weights::Weight,
};
use phala_primitives::WorkerId;
use sp_core::H256;
use sp_runtime::{
    AccountId32, BuildStorage,
    traits::{BlakeTwo256, Hash, IdentityLookup},
};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const TIMEOUT: u32 = 20;
pub const WINDOW: u32 = 8;
pub const CHALLENGES: u32 = 2;
pub const RECENCY: u32 = 40;
pub const CHECKS: u32 = 32;
pub const CORDONS: u32 = 4;

/// The time of block 0, in seconds.
pub const START: u64 = 1_800_000_000;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Timestamp: pallet_timestamp,
        Attestation: pallet_phala_attestation,
        Workers: pallet_phala_workers,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type BlockHashCount = ConstU32<100>;
}

#[derive_impl(pallet_timestamp::config_preludes::TestDefaultConfig)]
impl pallet_timestamp::Config for Test {}

impl pallet_phala_attestation::Config for Test {
    type AdminOrigin = frame_system::EnsureRoot<AccountId32>;
    type Time = Timestamp;
    type Recency = ConstU32<RECENCY>;
    type OnCompromise = Workers;
    type WeightInfo = ();
}

parameter_types! {
    pub static Lost: Vec<WorkerId> = Vec::new();
    /// The newest round of [`Dice`]; `None` without a beacon.
    pub static Round: Option<u32> = None;
}

/// A beacon that a test has go on.
pub struct Dice;

impl Rounds<u32> for Dice {
    fn next(last: u32) -> Option<(u32, [u8; 32])> {
        Round::get().filter(|round| *round > last).map(|round| (round, hash_of(round).0))
    }
}

pub struct Record;

impl OnUnavailable for Record {
    fn on_unavailable(worker: &WorkerId, _: Unavailable) -> Weight {
        Lost::mutate(|lost| lost.push(*worker));
        Weight::zero()
    }
}

impl pallet_phala_workers::Config for Test {
    type HeartbeatTimeout = ConstU32<TIMEOUT>;
    type ChallengeWindow = ConstU32<WINDOW>;
    type ChallengesPerRound = ConstU32<CHALLENGES>;
    type Rounds = Dice;
    type MaxCapacity = ConstU32<8>;
    type MaxChecksPerBlock = ConstU32<CHECKS>;
    type MaxCordonsPerBlock = ConstU32<CORDONS>;
    type OnUnavailable = Record;
    type WeightInfo = ();
}

/// The hash of a block.
pub fn hash_of(number: u32) -> H256 {
    BlakeTwo256::hash_of(&number)
}

/// Enters the next block.
pub fn next_block() {
    let number = System::block_number() + 1;
    System::reset_events();
    System::initialize(&number, &hash_of(number - 1), &Default::default());
    pallet_timestamp::Now::<Test>::put((START + 2 * u64::from(number)) * 1000);
    Workers::on_initialize(number);
}

/// Enters block `number`, one by one.
pub fn run_to(number: u32) {
    while System::block_number() < number {
        next_block();
    }
}

/// A chain in block 1 that allows [`enclave::MEASUREMENT`].
pub fn new_chain() -> sp_io::TestExternalities {
    Round::set(None);
    let storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(|| {
        enclave::accept::<Test>();
        next_block();
    });
    chain
}

/// Runs `test` in a [`new_chain`], and checks the invariants after it.
pub fn with_chain(test: impl FnOnce()) {
    new_chain().execute_with(|| {
        test();
        Attestation::do_try_state().unwrap();
        Workers::do_try_state().unwrap();
    });
}
