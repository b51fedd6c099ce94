//! A runtime with this pallet and gatekeepers out of thin air.

use crate::{self as pallet_phala_keys, *};
use alloc::collections::BTreeSet;
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU32, Hooks, UnfilteredDispatchable},
};
use gatekeeper::{Gatekeeper, content, output};
use sp_core::H256;
use sp_runtime::{
    BuildStorage,
    traits::{BlakeTwo256, Hash as _},
};

type Block = frame_system::mocking::MockBlockU32<Test>;

pub const MIN_PLAYERS: u32 = 3;
pub const PHASE: u32 = 4;
pub const MAX_PHASE: u32 = 16;
pub const GRACE: u32 = 30;
pub const LOST_SHARE: u32 = 50;
pub const BEACON: u32 = 5;
pub const STALL: u32 = 4;
pub const HISTORY: u32 = 6;
pub const RELEASE: u32 = 10;
pub const REMOVALS: u32 = 16;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Keys: pallet_phala_keys,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type BlockHashCount = ConstU32<100>;
}

parameter_types! {
    /// Who is not registered (any more).
    pub static Gone: BTreeSet<GatekeeperId> = BTreeSet::new();
    /// Whose evidence is not good.
    pub static Bad: BTreeSet<GatekeeperId> = BTreeSet::new();
    /// Who has done something.
    pub static Alive: BTreeSet<GatekeeperId> = BTreeSet::new();
    /// Without whom the root key was shared, each time.
    pub static Missing: Vec<Vec<GatekeeperId>> = Vec::new();
    /// Who may not be among as many as have a share.
    pub static Unsafe: Option<usize> = None;
}

pub struct Gatekeepers;

impl GatekeeperSet for Gatekeepers {
    fn is_registered(gatekeeper: &GatekeeperId) -> bool {
        !Gone::get().contains(gatekeeper)
    }

    fn is_good(gatekeeper: &GatekeeperId) -> bool {
        Self::is_registered(gatekeeper) && !Bad::get().contains(gatekeeper)
    }

    fn sign_of_life(gatekeeper: &GatekeeperId) {
        Alive::mutate(|alive| alive.insert(*gatekeeper));
    }

    fn on_root_shared(missing: &[GatekeeperId]) {
        Missing::mutate(|all| all.push(missing.to_vec()));
    }

    fn is_safe(gatekeepers: &[GatekeeperId]) -> bool {
        Unsafe::get().is_none_or(|fewest| gatekeepers.len() >= fewest)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn register(_: &[GatekeeperId]) {}
}

impl pallet_phala_keys::Config for Test {
    type Gatekeepers = Gatekeepers;
    type MinPlayers = ConstU32<MIN_PLAYERS>;
    type PhaseBlocks = ConstU32<PHASE>;
    type MaxPhaseBlocks = ConstU32<MAX_PHASE>;
    type GracePeriod = ConstU32<GRACE>;
    type LostShareInterval = ConstU32<LOST_SHARE>;
    type BeaconInterval = ConstU32<BEACON>;
    type BeaconStall = ConstU32<STALL>;
    type BeaconHistory = ConstU32<HISTORY>;
    type ReleaseInterval = ConstU32<RELEASE>;
    type MaxRemovalsPerBlock = ConstU32<REMOVALS>;
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
    Keys::on_initialize(number);
}

/// Enters block `number`, one by one.
pub fn run_to(number: u32) {
    while System::block_number() < number {
        next_block();
    }
}

pub fn now() -> u32 {
    System::block_number()
}

/// A chain in block 1.
pub fn new_chain() -> sp_io::TestExternalities {
    let storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(next_block);
    chain
}

/// Runs `test` in a [`new_chain`], and checks the invariants after it.
pub fn with_chain(test: impl FnOnce()) {
    Gone::set(BTreeSet::new());
    Missing::set(Vec::new());
    Unsafe::set(None);
    new_chain().execute_with(|| {
        test();
        Keys::do_try_state().unwrap();
    });
}

/// Has a call authorized and executed as a transaction of nobody: what came of the authorization.
pub fn submit(call: Call<Test>) -> Result<ValidTransaction, TransactionValidityError> {
    use frame_support::traits::Authorize;
    let call = RuntimeCall::Keys(call);
    let (valid, _) = call.authorize(TransactionSource::External).unwrap()?;
    call.dispatch_bypass_filter(frame_system::RawOrigin::Authorized.into()).unwrap();
    Ok(valid)
}

/// Posts, and says how.
pub fn post(signed: SignedPost) -> Result<(), TransactionValidityError> {
    submit(Call::post { signed }).map(drop)
}

/// The refusal of this error.
pub fn refused<A>(error: Error<Test>) -> Result<A, TransactionValidityError> {
    Err(error.into())
}

/// The public key that fake ceremonies of a key make.
pub fn public_key(key: NetworkKey) -> PublicKey {
    let mut bytes = [0; 96];
    bytes[..32].copy_from_slice(&sp_io::hashing::sha2_256(&key.encode()));
    PublicKey(bytes)
}

/// Everybody of `who` says what it has to say in a ceremony.
pub fn speak(who: &[Gatekeeper], ceremony: CeremonyId) {
    let Some(record) = Ceremonies::<Test>::get(ceremony) else { return };
    let known = Sharings::<Test>::get(record.key).map(|sharing| sharing.public_key);
    let public_key = known.unwrap_or_else(|| public_key(record.key));
    let Some(content) = content::<Test>(ceremony, public_key) else { return };
    for gatekeeper in who {
        let _ = post(gatekeeper.post::<Test>(ceremony, content.clone()));
    }
    if record.phase == Phase::Confirm {
        for gatekeeper in who {
            let _ = post(gatekeeper.post::<Test>(ceremony, Content::Output(output(ceremony))));
        }
    }
}

/// `who` takes part in all that runs, for `blocks` blocks.
pub fn work(who: &[Gatekeeper], blocks: u32) {
    for _ in 0..blocks {
        for id in Running::<Test>::get() {
            speak(who, id);
        }
        next_block();
    }
}

pub fn ids(who: &[Gatekeeper]) -> Vec<GatekeeperId> {
    who.iter().map(Gatekeeper::id).collect()
}

/// A chain on which `count` gatekeepers share root key and epoch 0's.
pub fn with_keys(count: u32, test: impl FnOnce(Vec<Gatekeeper>)) {
    with_chain(|| {
        let all = Gatekeeper::all(count);
        Keys::on_elected(0, ids(&all));
        work(&all, 5);
        assert!(Sharings::<Test>::contains_key(NetworkKey::Root));
        assert_eq!(CurrentEpoch::<Test>::get(), Some(0));
        test(all);
    });
}

pub fn events() -> Vec<Event<Test>> {
    System::read_events_for_pallet()
}
