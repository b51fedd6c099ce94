//! Each pallet's parameters.

use codec::Encode;
use frame_support::{
    PalletId, derive_impl,
    dispatch::DispatchClass,
    parameter_types,
    traits::{ConstU8, ConstU32, ConstU64, ConstU128, Get, Randomness, VariantCountOf, tokens::imbalance::ResolveTo},
    weights::{
        ConstantMultiplier, Weight,
        constants::{RocksDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
    },
};
use frame_system::{EnsureRoot, limits};
use pallet_transaction_payment::{FungibleAdapter, Multiplier, TargetedFeeAdjustment};
use phala_primitives::{
    GatekeeperId,
    gatekeeper::{BEACON_INTERVAL, LOST_SHARE_INTERVAL, NetworkKey, RELEASE_INTERVAL},
    units,
    worker::MAX_CAPACITY,
};
use sp_runtime::{
    FixedPointNumber, Perbill, Permill, Perquintill,
    traits::{AccountIdConversion, Bounded, ConvertInto},
};

use crate::*;

/// The account that fees, dust and a share of each job's price go to.
pub const TREASURY: PalletId = PalletId(*b"phala/tr");
/// The account that holds the mining budget.
pub const MINING: PalletId = PalletId(*b"phala/mn");

/// Execution time of a block. A third of a slot leaves the rest for the network and for slower machines.
pub const MAXIMUM_BLOCK_WEIGHT: Weight = Weight::from_parts(WEIGHT_REF_TIME_PER_MILLIS * 660, u64::MAX);
/// Bytes of a block.
pub const MAXIMUM_BLOCK_LENGTH: u32 = 5 * 1024 * 1024;
/// What ordinary extrinsics may fill of a block; the rest is for inherents and operational calls.
pub const NORMAL_DISPATCH_RATIO: Perbill = Perbill::from_percent(75);

parameter_types! {
    /// How many block hashes the chain remembers, which bounds the life of an extrinsic: 80 minutes.
    pub const BlockHashCount: BlockNumber = 2400;
    /// This runtime's version.
    pub const Version: RuntimeVersion = VERSION;
    /// Limits of a block's execution time.
    pub BlockWeights: limits::BlockWeights =
        limits::BlockWeights::with_sensible_defaults(MAXIMUM_BLOCK_WEIGHT, NORMAL_DISPATCH_RATIO);
    /// Limits of a block's size.
    pub BlockLength: limits::BlockLength =
        limits::BlockLength::builder().max_length(MAXIMUM_BLOCK_LENGTH).modify_max_length_for_class(
            frame_support::dispatch::DispatchClass::Normal,
            |length| *length = NORMAL_DISPATCH_RATIO * MAXIMUM_BLOCK_LENGTH,
        ).build();
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type Block = Block;
    type BlockWeights = BlockWeights;
    type BlockLength = BlockLength;
    type AccountId = AccountId;
    type Nonce = Nonce;
    type Hash = Hash;
    type BlockHashCount = BlockHashCount;
    type DbWeight = RocksDbWeight;
    type Version = Version;
    type AccountData = pallet_balances::AccountData<Balance>;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type ExtensionsWeightInfo = frame_system::SubstrateExtensionsWeight<Runtime>;
    type SS58Prefix = frame_support::traits::ConstU16<{ units::SS58_PREFIX }>;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Babe;
    type MinimumPeriod = ConstU64<{ MILLISECS_PER_BLOCK / 2 }>;
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

/// The most authorities that blocks are made for.
pub type MaxAuthorities = ConstU32<100>;

parameter_types! {
    /// Slots in an epoch. A chain specification may put another number at genesis, as tests of many changes of
    /// authorities do, under the key that is twox128 of `:EpochDuration:`. It must never change afterwards.
    pub storage EpochDuration: u64 = EPOCH_DURATION_IN_SLOTS;
}

impl pallet_babe::Config for Runtime {
    type EpochDuration = EpochDuration;
    type ExpectedBlockTime = ConstU64<MILLISECS_PER_BLOCK>;
    // Epochs end with sessions.
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type DisabledValidators = Session;
    type WeightInfo = ();
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_babe::EquivocationReportSystem<Self, Offences, Historical, EquivocationLongevity>;
}

/// For how many sessions it can be proven whose key signed: as long as bonds can be slashed.
const KEPT_SESSIONS: u32 = UNBONDING_ERAS * SESSIONS_PER_ERA;

/// For how many blocks an equivocation can be reported: as long.
type EquivocationLongevity = ConstU64<{ KEPT_SESSIONS as u64 * EPOCH_DURATION_IN_SLOTS }>;

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    // Each session may have another set.
    type MaxSetIdSessionEntries = ConstU64<{ KEPT_SESSIONS as u64 }>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_grandpa::EquivocationReportSystem<Self, Offences, Historical, EquivocationLongevity>;
}

impl<Call> frame_system::offchain::CreateTransactionBase<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    type Extrinsic = UncheckedExtrinsic;
    type RuntimeCall = RuntimeCall;
}

/// How nodes report equivocations.
impl<Call> frame_system::offchain::CreateBare<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    fn create_bare(call: RuntimeCall) -> UncheckedExtrinsic {
        UncheckedExtrinsic::new_bare(call)
    }
}

impl pallet_authorship::Config for Runtime {
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
    type EventHandler = Gatekeepers;
}

impl pallet_session::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = Babe;
    type NextSessionRotation = Babe;
    // The authorities of genesis, until a set of gatekeepers is elected. New keys take effect two sessions after `set_keys`.
    type SessionManager = pallet_session::historical::NoteHistoricalRoot<Self, Gatekeepers>;
    type SessionHandler = (Babe, Grandpa);
    type Keys = SessionKeys;
    // No more than finality can do without: a third.
    type DisablingStrategy = pallet_session::disabling::UpToLimitDisablingStrategy;
    type WeightInfo = pallet_session::weights::SubstrateWeight<Runtime>;
    type Currency = Balances;
    type KeyDeposit = ConstU128<PHA>;
}

impl pallet_session::historical::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    // What an authority has at stake is in the record of its seat.
    type FullIdentification = ();
    type FullIdentificationOf = pallet_phala_gatekeepers::Everybody;
}

impl pallet_offences::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Self>;
    type OnOffenceHandler = Gatekeepers;
}

parameter_types! {
    /// The account of the treasury.
    pub TreasuryAccount: AccountId = TREASURY.into_account_truncating();
}

/// Gives the treasury what would otherwise be burnt, so that the number of PHA stays what it was at genesis.
pub type ToTreasury = ResolveTo<TreasuryAccount, Balances>;

impl pallet_balances::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
    type Balance = Balance;
    type DustRemoval = ToTreasury;
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
    type AccountStore = System;
    type ReserveIdentifier = [u8; 8];
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxLocks = ConstU32<50>;
    type MaxReserves = ConstU32<0>;
    type MaxFreezes = VariantCountOf<RuntimeFreezeReason>;
    type DoneSlashHandler = ();
}

/// Smallest units of PHA for a picosecond of execution. With [`FeePerByte`] a transfer costs about 0.001 PHA, and a full
/// block about 2 PHA.
pub type FeePerPicosecond = ConstU128<3>;
/// Smallest units of PHA for a byte of an extrinsic.
pub type FeePerByte = ConstU128<1_000_000>;

parameter_types! {
    /// Fees rise while blocks are fuller than this and fall while they are emptier.
    pub const TargetBlockFullness: Perquintill = Perquintill::from_percent(25);
    /// How fast: full blocks double fees within about seven hours.
    pub AdjustmentVariable: Multiplier = Multiplier::saturating_from_rational(75, 1_000_000);
    /// Fees never fall below what [`FeePerPicosecond`] says.
    pub MinimumMultiplier: Multiplier = Multiplier::saturating_from_integer(1);
    /// Fees have no ceiling.
    pub MaximumMultiplier: Multiplier = Multiplier::max_value();
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = FungibleAdapter<Balances, ToTreasury>;
    type WeightToFee = ConstantMultiplier<Balance, FeePerPicosecond>;
    type LengthToFee = ConstantMultiplier<Balance, FeePerByte>;
    type FeeMultiplierUpdate =
        TargetedFeeAdjustment<Self, TargetBlockFullness, AdjustmentVariable, MinimumMultiplier, MaximumMultiplier>;
    type OperationalFeeMultiplier = ConstU8<5>;
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
}

impl pallet_sudo::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type WeightInfo = pallet_sudo::weights::SubstrateWeight<Runtime>;
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = OriginCaller;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

impl pallet_phala_attestation::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type Time = Timestamp;
    // 20 minutes to make evidence, fetch collateral and get the registration into a block.
    type Recency = ConstU32<600>;
    type OnCompromise = (Workers, Gatekeepers);
    type WeightInfo = pallet_phala_attestation::weights::SubstrateWeight<Runtime>;
}

impl pallet_phala_workers::Config for Runtime {
    // A minute. A heartbeat names a finalized block, some blocks behind the best, and is sent every five blocks or so: that
    // leaves finality forty seconds to lag before workers count as silent.
    type HeartbeatTimeout = ConstU32<30>;
    // Forty seconds. The block of a challenge can be named as soon as it is final, and the host does so at once: that leaves
    // finality half a minute to lag. The beacon lags with it, so that a standstill brings no challenges.
    type ChallengeWindow = ConstU32<20>;
    // One in six seconds: of a thousand workers each has one in a hundred minutes.
    type ChallengesPerRound = ConstU32<1>;
    type Rounds = BeaconAndAuthor;
    type MaxCapacity = ConstU32<MAX_CAPACITY>;
    type MaxChecksPerBlock = ConstU32<64>;
    type MaxCordonsPerBlock = ConstU32<32>;
    type OnUnavailable = Jobs;
    type WeightInfo = pallet_phala_workers::weights::SubstrateWeight<Runtime>;
}

impl pallet_phala_apps::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Deposit = ConstU128<{ PHA / 10 }>;
    type WeightInfo = pallet_phala_apps::weights::SubstrateWeight<Runtime>;
}

/// What draws workers, for jobs and to challenge: the gatekeepers' beacon, together with the verifiable random output of
/// the parent block.
///
/// - A job is drawn by the first round of the beacon of a later block than the one in which it was queued: nobody knew
///   it then, as gatekeepers sign a round only when its block is final. Once there is a root key, nothing is drawn
///   without a round, for ever: the key's sharing is replaced, and never removed. While gatekeepers stall, jobs wait,
///   and `BeaconStalled` says so.
/// - A round is public some blocks before the one that draws by it. In between, whoever has workers could try which
///   prices, and how many of them, make it draw the one that it wants. So the output of the parent block goes in as
///   well, which only that block's author knows before. It decides what is in its block, the round among it, or
///   withholds the block.
/// - Until there is a root key, that output draws alone, in the block after the one in which a job was queued. It is
///   fresh in each block, and unknown to who submits a job, unless that is the parent's author. The alternative, one
///   value for a whole epoch, is known to everybody before any of that epoch's jobs is submitted, and so lets any user
///   pick the moment that gives a job to a friend's worker.
/// - Workers are challenged by each round, in turn, and not at all until there is a root key.
pub struct BeaconAndAuthor;

impl pallet_phala_workers::Rounds<BlockNumber> for BeaconAndAuthor {
    fn next(last: BlockNumber) -> Option<(BlockNumber, phala_primitives::Hash)> {
        let (round, beacon) = Keys::random(last)?;
        let (author, _) = pallet_babe::ParentBlockRandomness::<Runtime>::random(b"phala/challenges");
        Some((round, (beacon, author).using_encoded(sp_io::hashing::blake2_256)))
    }
}

impl pallet_phala_jobs::Lots<BlockNumber> for BeaconAndAuthor {
    fn after(since: BlockNumber) -> Option<phala_primitives::Hash> {
        if since >= System::block_number() {
            return None;
        }
        let (author, _) = pallet_babe::ParentBlockRandomness::<Runtime>::random(b"phala/jobs");
        if !pallet_phala_keys::Sharings::<Runtime>::contains_key(NetworkKey::Root) {
            return author.map(Into::into);
        }
        let (_, beacon) = Keys::random(since)?;
        Some((beacon, author).using_encoded(sp_io::hashing::blake2_256))
    }

    /// The last of as many rounds as are kept, by a key that as many share as may.
    #[cfg(feature = "runtime-benchmarks")]
    fn cast(since: BlockNumber) {
        use pallet_phala_keys::{Beacons, Rounds, Sharing, Sharings};
        use phala_primitives::gatekeeper::{Beacon, MAX_GATEKEEPERS, PublicKey};
        let players = alloc::vec![GatekeeperId([1; 32]); MAX_GATEKEEPERS as usize];
        let output = alloc::vec![1; pallet_phala_keys::sizes::output(MAX_GATEKEEPERS, MAX_GATEKEEPERS) as usize];
        let root = Sharing::<Runtime> { ceremony: 0, public_key: PublicKey([1; 96]), players, output, since: 0 };
        Sharings::<Runtime>::insert(NetworkKey::Root, root);
        let newest = since + 1;
        let oldest = newest.saturating_sub(BEACON_HISTORY - 1);
        Rounds::<Runtime>::put(frame_support::BoundedVec::truncate_from((oldest..=newest).collect()));
        Beacons::<Runtime>::insert(newest, Beacon { round: newest, signature: [1; 48] });
    }
}

parameter_types! {
    /// What the treasury gets of a job's price.
    pub const TreasuryShare: Permill = Permill::from_percent(10);
}

impl pallet_phala_jobs::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Lots = BeaconAndAuthor;
    type Treasury = TreasuryAccount;
    type TreasuryShare = TreasuryShare;
    // 0.0006 PHA for the shortest deadline of a job of a minute, 3 PHA for a deadline in a week.
    type PlaceFee = ConstU128<{ PHA / 100_000 }>;
    type MillisecsPerBlock = ConstU64<MILLISECS_PER_BLOCK>;
    type ReceiptGrace = ConstU32<30>;
    type MaxDeadline = ConstU32<{ 7 * DAYS }>;
    type Retention = ConstU32<{ 7 * DAYS }>;
    type MaxAssignmentsPerBlock = ConstU32<32>;
    type MaxWakesPerBlock = ConstU32<64>;
    type WeightInfo = pallet_phala_jobs::weights::SubstrateWeight<Runtime>;
}

parameter_types! {
    /// What of its bond a silent gatekeeper loses in an hour.
    pub const HourlySlash: Perbill = Perbill::from_perthousand(1);
    /// What part of a slash goes to who reported it.
    pub const ReporterShare: Perbill = Perbill::from_percent(10);
}

impl pallet_phala_gatekeepers::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type GovernanceOrigin = EnsureRoot<AccountId>;
    type OnElected = Enclaves;
    type Treasury = TreasuryAccount;
    // Twice the largest set, so that caps have something to choose from.
    type MaxSeats = ConstU32<128>;
    // With these and 128 seats an election takes 82 ms and the reads: see the weight of `elections`.
    type MaxBackers = ConstU32<256>;
    // A hundred-thousandth of all PHA: enough to lose that cheating once does not pay, and a hundred operators can have it.
    type MinBond = ConstU128<{ 10_000 * PHA }>;
    // So many that places for backers cannot be filled for little, and so few that each holder of them can be heard.
    type MinBacking = ConstU128<{ 1_000 * PHA }>;
    type SessionsPerEra = ConstU32<SESSIONS_PER_ERA>;
    type UnbondingEras = ConstU32<UNBONDING_ERAS>;
    // By chance, one gatekeeper in 160,000 makes none of twelve; of sixteen gatekeepers each makes as many in 7 minutes.
    type MissedBlocks = ConstU32<12>;
    // Long enough for an operator to be woken, and less than an era.
    type SilenceLimit = ConstU64<{ 4 * 60 * 60 }>;
    type HourlySlash = HourlySlash;
    type ReporterShare = ReporterShare;
    type WeightInfo = pallet_phala_gatekeepers::weights::SubstrateWeight<Runtime>;
    #[cfg(feature = "runtime-benchmarks")]
    type BenchmarkHelper = GatekeeperBenchmarks;
}

/// For how many eras the shares of an epoch's key are kept once the next epoch is current: inputs that were encrypted in it
/// have so long to be run.
const GRACE_ERAS: u32 = 4;

/// The same in blocks.
pub struct GracePeriod;

impl Get<BlockNumber> for GracePeriod {
    fn get() -> BlockNumber {
        let slots = BlockNumber::try_from(EpochDuration::get()).unwrap_or(BlockNumber::MAX);
        let era = pallet_phala_gatekeepers::EraLength::<Runtime>::get().saturating_mul(slots);
        era.saturating_mul(GRACE_ERAS)
    }
}

/// Who the gatekeepers are and who has shares of keys: what the two pallets know of each other.
pub struct Enclaves;

impl pallet_phala_keys::GatekeeperSet for Enclaves {
    fn is_registered(gatekeeper: &GatekeeperId) -> bool {
        Gatekeepers::is_registered(gatekeeper)
    }

    fn is_good(gatekeeper: &GatekeeperId) -> bool {
        Gatekeepers::is_good(gatekeeper)
    }

    fn sign_of_life(gatekeeper: &GatekeeperId) {
        Gatekeepers::sign_of_life(gatekeeper);
    }

    fn on_root_shared(missing: &[GatekeeperId]) {
        Gatekeepers::judge_enclaves(missing);
    }

    fn is_safe(gatekeepers: &[GatekeeperId]) -> bool {
        Gatekeepers::is_safe(gatekeepers)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn register(gatekeepers: &[GatekeeperId]) {
        pallet_phala_gatekeepers::enclave::fill::<Runtime>(gatekeepers);
    }
}

impl pallet_phala_gatekeepers::OnElected for Enclaves {
    fn on_elected(era: u32, gatekeepers: Vec<GatekeeperId>) {
        let weight = Keys::on_elected(era, gatekeepers);
        // Sessions begin in a hook whose weight does not count what they do.
        System::register_extra_weight_unchecked(weight, DispatchClass::Mandatory);
    }

    fn holds_shares(gatekeeper: &GatekeeperId) -> bool {
        Keys::holds_shares(gatekeeper)
    }
}

/// How many rounds of the beacon are kept. Jobs that wait for longer are drawn by a later one.
const BEACON_HISTORY: u32 = 256;

impl pallet_phala_keys::Config for Runtime {
    type Gatekeepers = Enclaves;
    // One alone would have the whole of each key.
    type MinPlayers = ConstU32<2>;
    // Half a minute: finality lags some blocks, and what a phase asks for takes an enclave less than a second and its post a block or
    // two.
    type PhaseBlocks = ConstU32<15>;
    type MaxPhaseBlocks = ConstU32<{ 5 * MINUTES }>;
    type GracePeriod = GracePeriod;
    type LostShareInterval = ConstU32<LOST_SHARE_INTERVAL>;
    type BeaconInterval = ConstU32<BEACON_INTERVAL>;
    // A minute.
    type BeaconStall = ConstU32<10>;
    type BeaconHistory = ConstU32<BEACON_HISTORY>;
    type ReleaseInterval = ConstU32<RELEASE_INTERVAL>;
    type MaxRemovalsPerBlock = ConstU32<64>;
    type WeightInfo = pallet_phala_keys::weights::SubstrateWeight<Runtime>;
}

/// Makes what benchmarks of gatekeepers need.
#[cfg(feature = "runtime-benchmarks")]
pub struct GatekeeperBenchmarks;

#[cfg(feature = "runtime-benchmarks")]
impl pallet_phala_gatekeepers::BenchmarkHelper<SessionKeys> for GatekeeperBenchmarks {
    fn set_now(now: u64) {
        pallet_timestamp::Now::<Runtime>::put(now * 1000);
    }

    fn session_keys(owner: &[u8], number: u32) -> (SessionKeys, Vec<u8>) {
        let seed = alloc::format!("//Gatekeeper//{number}").into_bytes();
        let generated = SessionKeys::generate(owner, Some(seed));
        (generated.keys, codec::Encode::encode(&generated.proof))
    }
}
