//! A runtime with sessions, offences, attestation and gatekeepers.

use crate::{self as pallet_phala_gatekeepers, enclave::Enclave, *};
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU32, ConstU64, ConstU128, FindAuthor, Hooks},
};
use phala_primitives::PHA;
use sp_core::H256;
use sp_runtime::{
    AccountId32, BuildStorage, ConsensusEngineId, impl_opaque_keys,
    testing::{TestSignature, UintAuthorityId},
    traits::{BlakeTwo256, ConvertInto, Hash, IdentityLookup},
};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const SESSION: u32 = 10;
pub const ERA: u32 = 3;
pub const UNBONDING: u32 = 2;
pub const MIN_BOND: Balance = 1_000 * PHA;
pub const MIN_BACKING: Balance = PHA;
pub const ENOUGH: Balance = 100_000 * PHA;
pub const MAX_SEATS: u32 = 10;
pub const MAX_BACKERS: u32 = 4;

/// The time of block 0, in seconds.
pub const START: u64 = 1_800_000_000;

pub const TREASURY: AccountId32 = AccountId32::new([99; 32]);
pub const GENESIS: [AccountId32; 2] = [AccountId32::new([81; 32]), AccountId32::new([82; 32])];

/// Operators and backers, who are rich.
pub fn person(number: u8) -> AccountId32 {
    AccountId32::new([number + 1; 32])
}

pub const PEOPLE: u8 = 12;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Timestamp: pallet_timestamp,
        Authorship: pallet_authorship,
        Balances: pallet_balances,
        Session: pallet_session,
        Historical: pallet_session::historical,
        Offences: pallet_offences,
        Attestation: pallet_phala_attestation,
        Gatekeepers: pallet_phala_gatekeepers,
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

impl_opaque_keys! {
    pub struct Keys {
        pub dummy: UintAuthorityId,
    }
}

parameter_types! {
    /// Who makes the current block.
    pub static Author: Option<AccountId32> = None;
    /// Who makes none.
    pub static Silent: Vec<AccountId32> = Vec::new();
    /// What was elected.
    pub static Told: Vec<(u32, Vec<GatekeeperId>)> = Vec::new();
    /// Who holds shares.
    pub static Shareholders: Vec<GatekeeperId> = Vec::new();
    pub const Treasury: AccountId32 = TREASURY;
    pub const HourlySlash: Perbill = Perbill::from_perthousand(1);
    pub const ReporterShare: Perbill = Perbill::from_percent(10);
}

pub struct TheAuthor;

impl FindAuthor<AccountId32> for TheAuthor {
    fn find_author<'a, I: 'a + IntoIterator<Item = (ConsensusEngineId, &'a [u8])>>(_: I) -> Option<AccountId32> {
        Author::get()
    }
}

pub struct Record;

impl OnElected for Record {
    fn on_elected(era: u32, gatekeepers: Vec<GatekeeperId>) {
        Told::mutate(|told| told.push((era, gatekeepers)));
    }

    fn holds_shares(gatekeeper: &GatekeeperId) -> bool {
        Shareholders::get().contains(gatekeeper)
    }
}

impl pallet_authorship::Config for Test {
    type FindAuthor = TheAuthor;
    type EventHandler = Gatekeepers;
}

impl pallet_session::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId32;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = pallet_session::PeriodicSessions<ConstU32<SESSION>, ConstU32<0>>;
    type NextSessionRotation = pallet_session::PeriodicSessions<ConstU32<SESSION>, ConstU32<0>>;
    type SessionManager = pallet_session::historical::NoteHistoricalRoot<Self, Gatekeepers>;
    type SessionHandler = pallet_session::TestSessionHandler;
    type Keys = Keys;
    type DisablingStrategy = pallet_session::disabling::UpToLimitDisablingStrategy;
    type WeightInfo = ();
    type Currency = Balances;
    type KeyDeposit = ConstU128<0>;
}

impl pallet_session::historical::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type FullIdentification = ();
    type FullIdentificationOf = Everybody;
}

impl pallet_offences::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Self>;
    type OnOffenceHandler = Gatekeepers;
}

impl pallet_phala_attestation::Config for Test {
    type AdminOrigin = frame_system::EnsureRoot<AccountId32>;
    type Time = Timestamp;
    type Recency = ConstU32<40>;
    type OnCompromise = Gatekeepers;
    type WeightInfo = ();
}

impl pallet_phala_gatekeepers::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type GovernanceOrigin = frame_system::EnsureRoot<AccountId32>;
    type OnElected = Record;
    type Treasury = Treasury;
    type MaxSeats = ConstU32<MAX_SEATS>;
    type MaxBackers = ConstU32<MAX_BACKERS>;
    type MinBond = ConstU128<MIN_BOND>;
    type MinBacking = ConstU128<MIN_BACKING>;
    type SessionsPerEra = ConstU32<ERA>;
    type UnbondingEras = ConstU32<UNBONDING>;
    type MissedBlocks = ConstU32<3>;
    type SilenceLimit = ConstU64<100>;
    type HourlySlash = HourlySlash;
    type ReporterShare = ReporterShare;
    type WeightInfo = ();
    #[cfg(feature = "runtime-benchmarks")]
    type BenchmarkHelper = Helper;
}

#[cfg(feature = "runtime-benchmarks")]
pub struct Helper;

#[cfg(feature = "runtime-benchmarks")]
impl BenchmarkHelper<Keys> for Helper {
    fn set_now(now: u64) {
        pallet_timestamp::Now::<Test>::put(now * 1000);
    }

    fn session_keys(owner: &[u8], number: u32) -> (Keys, Vec<u8>) {
        keys_for(owner, number.into())
    }
}

/// Session keys, and the proof that `owner` has them.
pub fn keys_for(owner: &[u8], number: u64) -> (Keys, Vec<u8>) {
    (Keys { dummy: UintAuthorityId(number) }, TestSignature(number, owner.to_vec()).encode())
}

/// The session keys of a seat, numbered like its enclave.
pub fn keys(operator: &AccountId32, index: u16, number: u32) -> (Keys, Vec<u8>) {
    keys_for(&Gatekeepers::seat_id(operator, index).encode(), number.into())
}

/// The hash of a block.
pub fn hash_of(number: u32) -> H256 {
    BlakeTwo256::hash_of(&number)
}

/// Enters the next block, made by one of the authorities that are not silent, in turn.
pub fn next_block() {
    let number = System::block_number() + 1;
    if let Some(forgotten) = number.checked_sub(100 + 2).filter(|forgotten| *forgotten > 0) {
        frame_system::BlockHash::<Test>::remove(forgotten);
    }
    System::reset_events();
    System::initialize(&number, &hash_of(number - 1), &Default::default());
    let alive: Vec<_> = Session::validators().into_iter().filter(|id| !Silent::get().contains(id)).collect();
    Author::set(alive.get(number as usize % alive.len().max(1)).cloned());
    Authorship::on_initialize(number);
    Session::on_initialize(number);
    pallet_timestamp::Now::<Test>::put((START + 2 * u64::from(number)) * 1000);
    Authorship::on_finalize(number);
}

/// Enters block `number`, one by one.
pub fn run_to(number: u32) {
    while System::block_number() < number {
        next_block();
    }
}

/// Enters the first block of the session `count` sessions later.
pub fn sessions(count: u32) {
    run_to((System::block_number() / SESSION + count) * SESSION);
}

/// The invariants of all pallets.
pub fn check() {
    Attestation::do_try_state().unwrap();
    Gatekeepers::do_try_state().unwrap();
}

/// A chain in block 1 that allows [`enclave::MEASUREMENT`] and elects two to four.
pub fn new_chain() -> sp_io::TestExternalities {
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let mut balances: Vec<_> = (0..PEOPLE).map(|number| (person(number), ENOUGH)).collect();
    balances.extend(GENESIS.into_iter().chain([TREASURY]).map(|account| (account, PHA)));
    pallet_balances::GenesisConfig::<Test> { balances, ..Default::default() }.assimilate_storage(&mut storage).unwrap();
    pallet_phala_gatekeepers::GenesisConfig::<Test> {
        size: Size { desired: 4, minimum: 2 },
        caps: Caps { operator: Permill::from_percent(25), ..DEFAULT_CAPS },
        ..Default::default()
    }
    .assimilate_storage(&mut storage)
    .unwrap();
    let keys = GENESIS.into_iter().zip(1_000..);
    let keys = keys.map(|(id, number)| (id.clone(), id, Keys { dummy: UintAuthorityId(number) })).collect();
    pallet_session::GenesisConfig::<Test> { keys, ..Default::default() }.assimilate_storage(&mut storage).unwrap();
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(|| {
        Author::set(None);
        Silent::set(vec![]);
        Told::set(vec![]);
        Shareholders::set(vec![]);
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

/// The first seat of person `number`, with enclave `number` and this bond.
pub fn seat_with(number: u8, bond: Balance) -> AccountId32 {
    let enclave = Enclave::new(number.into(), person(number));
    enclave.register::<Test>(0, bond, keys(&person(number), 0, number.into())).unwrap();
    Gatekeepers::seat_id(&person(number), 0)
}

/// The same with the least bond.
pub fn seat(number: u8) -> AccountId32 {
    seat_with(number, MIN_BOND)
}

/// Elects the seats of the first four people, who are authorities when this returns.
pub fn elected_four() -> Vec<AccountId32> {
    let seats = (0..4).map(|number| seat_with(number, 2 * MIN_BOND)).collect();
    sessions(ERA + 1);
    assert_eq!(members().len(), 4);
    seats
}

/// The seats in the set.
pub fn members() -> Vec<AccountId32> {
    Elected::<Test>::get().into_iter().map(|member| member.seat).collect()
}

/// A seat's record.
pub fn record(seat: &AccountId32) -> Seat<AccountId32> {
    Seats::<Test>::get(seat).unwrap()
}

/// What happened in this block.
pub fn happened(event: Event<Test>) -> bool {
    System::events().iter().any(|record| record.event == RuntimeEvent::Gatekeepers(event.clone()))
}

/// The origin of a person's calls.
pub fn signed(number: u8) -> RuntimeOrigin {
    RuntimeOrigin::signed(person(number))
}
