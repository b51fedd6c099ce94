//! A runtime with all that jobs need, and people in it.

use crate as pallet_phala_jobs;
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU32, ConstU64, ConstU128, Hooks},
};
use pallet_phala_workers::enclave::{self, Enclave};
use phala_primitives::{
    AppId, Balance, FailureReason, JobId, Limits, Outcome, PHA, Receipt, SignedReceipt, WorkerId,
    job::{Assignment, JobStatus, Visibility},
};
use sp_core::H256;
use sp_runtime::{
    AccountId32, BuildStorage, Permill,
    traits::{BlakeTwo256, Hash, IdentityLookup},
};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const DEPOSIT: Balance = PHA / 10;
pub const ENOUGH: Balance = 10_000 * PHA;
pub const GRACE: u32 = 10;
pub const PLACE_FEE: Balance = PHA / 1_000_000;
pub const MAX_DEADLINE: u32 = 500;
pub const RETENTION: u32 = 50;
pub const TIMEOUT: u32 = 15;
pub const PER_BLOCK: u32 = 4;
/// How many rounds are kept.
pub const HISTORY: usize = 16;

/// The time of block 0, in seconds.
pub const START: u64 = 1_800_000_000;

pub const ALICE: AccountId32 = AccountId32::new([1; 32]);
pub const BOB: AccountId32 = AccountId32::new([2; 32]);
pub const POOR: AccountId32 = AccountId32::new([3; 32]);
pub const OPERATOR: AccountId32 = AccountId32::new([4; 32]);
pub const OTHER_OPERATOR: AccountId32 = AccountId32::new([5; 32]);
pub const TREASURY: AccountId32 = AccountId32::new([9; 32]);

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Timestamp: pallet_timestamp,
        Balances: pallet_balances,
        Attestation: pallet_phala_attestation,
        Workers: pallet_phala_workers,
        Apps: pallet_phala_apps,
        Jobs: pallet_phala_jobs,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type AccountData = pallet_balances::AccountData<Balance>;
    type BlockHashCount = ConstU32<100>;
}

#[derive_impl(pallet_timestamp::config_preludes::TestDefaultConfig)]
impl pallet_timestamp::Config for Test {}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<{ PHA / 100 }>;
    type AccountStore = System;
}

impl pallet_phala_attestation::Config for Test {
    type AdminOrigin = frame_system::EnsureRoot<AccountId32>;
    type Time = Timestamp;
    type Recency = ConstU32<40>;
    type OnCompromise = Workers;
    type WeightInfo = ();
}

impl pallet_phala_workers::Config for Test {
    type HeartbeatTimeout = ConstU32<TIMEOUT>;
    type ChallengeWindow = ConstU32<5>;
    type ChallengesPerRound = ConstU32<1>;
    type Rounds = ();
    type MaxCapacity = ConstU32<8>;
    type MaxChecksPerBlock = ConstU32<8>;
    type MaxCordonsPerBlock = ConstU32<8>;
    type OnUnavailable = Jobs;
    type WeightInfo = ();
}

impl pallet_phala_apps::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Deposit = ConstU128<DEPOSIT>;
    type WeightInfo = ();
}

parameter_types! {
    pub const TreasuryShare: Permill = Permill::from_percent(10);
    pub const Treasury: AccountId32 = TREASURY;
    /// The newest rounds of [`Dice`] in ascending order: of which block each is, and what it gives.
    pub static Rounds: Vec<(u32, [u8; 32])> = vec![];
    /// What decides the round that comes with each block; `None` while none comes.
    pub static Luck: Option<u8> = Some(0);
}

/// A beacon that a test decides.
pub struct Dice;

impl crate::Lots<u32> for Dice {
    fn after(since: u32) -> Option<[u8; 32]> {
        Rounds::get().into_iter().find(|(round, _)| *round > since).map(|(_, lots)| lots)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn cast(since: u32) {
        throw(since + 1, 0);
    }
}

/// Adds the round of a block, which `luck` decides.
pub fn throw(round: u32, luck: u8) {
    Rounds::mutate(|rounds| {
        if rounds.len() == HISTORY {
            rounds.remove(0);
        }
        rounds.push((round, BlakeTwo256::hash_of(&(round, luck)).0));
    });
}

impl pallet_phala_jobs::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Lots = Dice;
    type Treasury = Treasury;
    type TreasuryShare = TreasuryShare;
    type PlaceFee = ConstU128<PLACE_FEE>;
    type MillisecsPerBlock = ConstU64<2000>;
    type ReceiptGrace = ConstU32<GRACE>;
    type MaxDeadline = ConstU32<MAX_DEADLINE>;
    type Retention = ConstU32<RETENTION>;
    type MaxAssignmentsPerBlock = ConstU32<PER_BLOCK>;
    type MaxWakesPerBlock = ConstU32<PER_BLOCK>;
    type WeightInfo = ();
}

/// The hash of a block.
pub fn hash_of(number: u32) -> H256 {
    BlakeTwo256::hash_of(&number)
}

/// Enters the next block, and brings its round if there is [`Luck`].
pub fn next_block() {
    let number = System::block_number() + 1;
    if let Some(luck) = Luck::get() {
        throw(number, luck);
    }
    if let Some(forgotten) = number.checked_sub(100 + 2).filter(|forgotten| *forgotten > 0) {
        frame_system::BlockHash::<Test>::remove(forgotten);
    }
    System::reset_events();
    System::initialize(&number, &hash_of(number - 1), &Default::default());
    pallet_timestamp::Now::<Test>::put((START + 2 * u64::from(number)) * 1000);
    Workers::on_initialize(number);
    Jobs::on_initialize(number);
}

/// Enters block `number`, one by one, with all enclaves alive.
pub fn run_to(number: u32, alive: &[&Enclave]) {
    while System::block_number() < number {
        next_block();
        if System::block_number().is_multiple_of(5) {
            for enclave in alive {
                beat(enclave);
            }
        }
    }
}

/// Sends a heartbeat.
pub fn beat(enclave: &Enclave) {
    let signed = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
    Workers::heartbeat(RuntimeOrigin::signed(enclave.operator.into()), signed).unwrap();
}

/// The invariants of all pallets.
pub fn check() {
    Attestation::do_try_state().unwrap();
    Workers::do_try_state().unwrap();
    Apps::do_try_state().unwrap();
    Jobs::do_try_state().unwrap();
}

/// A chain in block 1 that allows [`enclave::MEASUREMENT`].
pub fn new_chain() -> sp_io::TestExternalities {
    Rounds::set(vec![]);
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let balances =
        vec![(ALICE, ENOUGH), (BOB, ENOUGH), (POOR, PHA), (OPERATOR, PHA), (OTHER_OPERATOR, PHA), (TREASURY, PHA)];
    pallet_balances::GenesisConfig::<Test> { balances, ..Default::default() }.assimilate_storage(&mut storage).unwrap();
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
        let issued = Balances::total_issuance();
        test();
        check();
        assert_eq!(Balances::total_issuance(), issued);
    });
}

/// The program's hash.
pub const CODE: [u8; 32] = [0xc0; 32];

/// Its length in bytes.
pub const CODE_BYTES: u32 = 1000;

/// The hash of its manifest.
pub const MANIFEST: [u8; 32] = [0xaa; 32];

/// The app of `publisher`.
pub fn app_id(publisher: AccountId32, visibility: Visibility) -> AppId {
    AppId::new(&publisher.into(), &CODE, CODE_BYTES, &MANIFEST, visibility)
}

/// Publishes an app of `publisher`.
pub fn publish(publisher: AccountId32, visibility: Visibility) -> AppId {
    Apps::publish(RuntimeOrigin::signed(publisher.clone()), CODE, CODE_BYTES, MANIFEST, visibility).unwrap();
    app_id(publisher, visibility)
}

/// A job of 10⁹ fuel and 10 seconds, which is due [`TERM`] blocks after its assignment.
pub const LIMITS: Limits = Limits { fuel: 1_000_000_000, wall_ms: 10_000, ..Limits::DEFAULT };

/// How many blocks a worker has for a job with [`LIMITS`].
pub const TERM: u32 = 5 + GRACE;

/// What [`submit`] puts on hold.
pub const MAX_PRICE: Balance = 2 * PHA;

/// Submits a job of Alice, who published its app.
pub fn submit() -> JobId {
    let app = app_id(ALICE, Visibility::Public);
    if !pallet_phala_apps::Apps::<Test>::contains_key(app) {
        publish(ALICE, Visibility::Public);
    }
    let deadline = System::block_number() + 100;
    Jobs::submit(RuntimeOrigin::signed(ALICE), app, LIMITS, MAX_PRICE, deadline, 1, [0; 32]).unwrap();
    crate::NextJob::<Test>::get() - 1
}

/// Registers an enclave of the operator that asks for one PHA.
pub fn worker(number: u32) -> Enclave {
    let enclave = Enclave::new(number, OPERATOR);
    enclave.register::<Test>(PHA).unwrap();
    enclave
}

/// A job's record.
pub fn job(id: JobId) -> crate::Job<Test> {
    crate::Jobs::<Test>::get(id).unwrap()
}

/// A job's assignment.
pub fn assignment(id: JobId) -> Option<Assignment<u32>> {
    match job(id).status {
        JobStatus::Assigned(assignment) => Some(assignment),
        _ => None,
    }
}

/// Who has a job.
pub fn assigned_to(id: JobId) -> Option<WorkerId> {
    assignment(id).map(|assignment| assignment.worker)
}

/// An honest receipt for half of the job's fuel, made at the parent block.
pub fn receipt(enclave: &Enclave, id: JobId) -> Receipt {
    let job = job(id);
    let block_number = System::block_number() - 1;
    Receipt {
        genesis_hash: hash_of(0).0,
        job: id,
        attempt: job.attempts,
        app: job.app,
        worker: enclave.id(),
        measurement: enclave.measurement.0,
        code_hash: CODE,
        input_hash: [1; 32],
        output_hash: [2; 32],
        output_file_hash: [3; 32],
        outcome: Outcome::Completed { exit_code: 0 },
        fuel: job.limits.fuel / 2,
        input_bytes: 10,
        output_bytes: 10,
        block_number,
        block_hash: hash_of(block_number).0,
    }
}

/// A receipt of a job that failed without any fuel.
pub fn failure(enclave: &Enclave, id: JobId) -> Receipt {
    Receipt { outcome: Outcome::Failed(FailureReason::InvalidInput), fuel: 0, ..receipt(enclave, id) }
}

/// Signs a receipt.
pub fn sign(enclave: &Enclave, receipt: Receipt) -> SignedReceipt {
    let signature = enclave.sign(&receipt.signed_bytes());
    SignedReceipt { receipt, signature }
}
