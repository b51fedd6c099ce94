//! A runtime with balances and apps.

use crate as pallet_phala_apps;
use frame_support::{derive_impl, traits::ConstU128};
use phala_primitives::{Balance, PHA};
use sp_runtime::{AccountId32, BuildStorage, traits::IdentityLookup};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const DEPOSIT: Balance = PHA / 10;
pub const ALICE: AccountId32 = AccountId32::new([1; 32]);
pub const BOB: AccountId32 = AccountId32::new([2; 32]);
pub const POOR: AccountId32 = AccountId32::new([3; 32]);

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Apps: pallet_phala_apps,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<{ PHA / 100 }>;
    type AccountStore = System;
}

impl pallet_phala_apps::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Deposit = ConstU128<DEPOSIT>;
    type WeightInfo = ();
}

/// A chain in block 1.
pub fn new_chain() -> sp_io::TestExternalities {
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let balances = vec![(ALICE, 10 * PHA), (BOB, 10 * PHA), (POOR, DEPOSIT)];
    pallet_balances::GenesisConfig::<Test> { balances, ..Default::default() }.assimilate_storage(&mut storage).unwrap();
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(|| System::set_block_number(1));
    chain
}

/// Runs `test` in a [`new_chain`], and checks the invariants after it.
pub fn with_chain(test: impl FnOnce()) {
    new_chain().execute_with(|| {
        test();
        Apps::do_try_state().unwrap();
    });
}
