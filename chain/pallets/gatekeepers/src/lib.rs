//! Who the gatekeepers are: seats, backing, elections, slashes.
//!
//! A *seat* is a place for a gatekeeper. An operator puts PHA on hold for it (its *bond*), registers an enclave and session keys,
//! and holders of PHA *back* it. Each era the seats that stand are put in order by Phragmén's method, and of them the largest set is
//! chosen, in that order, that the *caps* on operators, vendors and families of platforms allow ([`caps`]). The seats of the set
//! author and finalize blocks; their enclaves share the network's keys, which [`OnElected`] hands over.
//!
//! ```text
//!                       stand                             ┌────────────┐
//!            ┌───────────────────────────┐   elections:   │ in the set │
//!            ▼                           │  eligible? ───►│            │
//!  register ──► Standing ── rest ──► Resting              └─────┬──────┘
//!                 │  └── silent, no place ──▲                   │ out with the next set
//!                 │                         │                   ▼
//!                 ├── leave ────────────────┴──► Leaving ── withdraw, UnbondingEras later ──► gone
//!                 └── equivocated, from every state ──► Ejected ── withdraw ────────────────► gone
//! ```
//!
//! A seat stays in the set until another set is elected, whatever its status. An election that is refused leaves the set as it
//! is, and is tried again in the next session. Where the era is over, the set has another one: keys are made and dealt as for a
//! new set, once in the length of an era. Until the first has succeeded, the authorities of genesis go on.
//!
//! The session knows a seat by its id, an account that nobody has a key of ([`Pallet::seat_id`]), so that one operator can have
//! several. An enclave is known by its signing key. When a seat gets another enclave, the earlier one remains registered for as long
//! as it may hold shares.
//!
//! # Invariants
//! - Of each operator, the sum of its seats' bonds is on hold; of each backer, what backs and what it took back and still waits.
//! - [`Backing`] is, for each seat, the sum of what backs it.
//! - [`Standing`] has the seats whose status says so, and no others; [`Ranking`] has all backers, in order of their amounts.
//! - Each seat's enclave was verified in the runtime, and its platform backs nobody else.
//! - When a set is elected, it satisfies the caps: nobody of a class reaches the threshold of the set.
//! - PHA is conserved: what is slashed goes to who reported it and to the treasury.
//! - No time of silence is paid for twice, be node, enclave or both silent.
//! - The work of each call and hook is bounded: by [`Config::MaxSeats`], [`Config::MaxBackers`], [`MAX_CHOICES`] and
//!   [`MAX_GATEKEEPERS`].
//!
//! # Attacks
//! - *Many seats of one*: each needs a bond, and the cap on operators counts accounts; who hides behind several accounts still needs
//!   platforms of several vendors and families, and a bond and backing for each.
//! - *One machine counted twice*: a platform backs one worker or one gatekeeper.
//! - *All places taken by who has little*: when there is none left, who has least gives way.
//! - *Backing that is gone before it can be counted against anybody*: it stays on hold for [`Config::UnbondingEras`].
//! - *Equivocation with keys that were just exchanged, so that nobody can prove whose they were*: session keys do not change while
//!   a seat is in the set.
//! - *Leaving with a share*: bond, record and platform stay until no share is left, and [`Config::UnbondingEras`] at least.
//! - *Elections that are refused for long, so that one epoch's key gets ever more inputs*: eras begin all the same.
//! - *A node that makes blocks, and no enclave behind it*: who has no share for two eras in succession pays as who is silent.
//! - *A broken class in the set*: [`OnCompromise`] forces an election, in which none of it is eligible.
//! - *A reporter that slashes itself, for the reward*: an operator gets nothing of its own slash; another account of its own gets a
//!   tenth, and nine tenths are gone.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "mint"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod backing;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
pub mod caps;
mod election;
#[cfg(any(test, feature = "mint"))]
pub mod enclave;
#[cfg(test)]
mod mock;
mod offences;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use caps::Caps;
pub use offences::Everybody;
pub use pallet::*;
pub use types::*;
pub use weights::WeightInfo;

use alloc::vec::Vec;
use codec::Encode;
use frame_support::{
    pallet_prelude::*,
    traits::{
        fungible::{Inspect, hold::Mutate},
        tokens::Precision,
    },
};
use frame_system::pallet_prelude::*;
use pallet_phala_attestation::{OnCompromise, Tenant, VerifiedEnclave};
use pallet_session::SessionInterface;
use phala_attestation::{Evidence, Role, Statement};
pub use phala_primitives::gatekeeper::{Gatekeeper, Previous, Seat, SeatStatus};
use phala_primitives::{
    Balance, GatekeeperId,
    attestation::{Class, Outlook},
    gatekeeper::MAX_GATEKEEPERS,
};
use sp_runtime::{
    Perbill, Permill,
    traits::{OpaqueKeys, Zero},
};
use sp_staking::SessionIndex;

type Attestation<T> = pallet_phala_attestation::Pallet<T>;
type Session<T> = pallet_session::Pallet<T>;
type SessionKeys<T> = <T as pallet_session::Config>::Keys;
type AccountIdOf<T> = <T as frame_system::Config>::AccountId;
type SeatOf<T> = Seat<AccountIdOf<T>>;
type BackerOf<T> = Backer<AccountIdOf<T>>;

/// A gatekeeper's record.
pub type GatekeeperOf<T> = Gatekeeper<AccountIdOf<T>, BlockNumberFor<T>>;

/// The set that a chain wants whose genesis says nothing.
pub const DEFAULT_SIZE: Size = Size { desired: 16, minimum: 4 };

/// The caps of a chain whose genesis says nothing: an operator a tenth; a family of platforms a third; a vendor as much as its
/// being broken leaves harmless.
pub const DEFAULT_CAPS: Caps =
    Caps { operator: Permill::from_percent(10), vendor: Permill::one(), family: Permill::from_percent(34) };

/// What benchmarks need of their runtime.
#[cfg(feature = "runtime-benchmarks")]
pub trait BenchmarkHelper<Keys> {
    /// Sets the chain's clock, in seconds since the Unix epoch.
    fn set_now(now: u64);

    /// Session keys that differ by `number`, and the proof that `owner` has them.
    fn session_keys(owner: &[u8], number: u32) -> (Keys, Vec<u8>);
}

// What the macros generate states its proofs with `expect`.
#[allow(clippy::expect_used)]
#[frame_support::pallet]
pub mod pallet {
    use super::*;

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the pallet needs of its runtime.
    #[pallet::config]
    pub trait Config:
        frame_system::Config<RuntimeEvent: From<Event<Self>>, AccountId: From<[u8; 32]>>
        + pallet_phala_attestation::Config
        + pallet_session::Config<ValidatorId = AccountIdOf<Self>>
        + pallet_session::historical::Config<FullIdentification = ()>
    {
        /// PHA.
        type Currency: Mutate<AccountIdOf<Self>, Reason = <Self as Config>::RuntimeHoldReason, Balance = Balance>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// Who decides about caps and size, and forces elections.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Who hands the network's keys over.
        type OnElected: OnElected;
        /// The treasury's account.
        type Treasury: Get<AccountIdOf<Self>>;
        /// The most seats that stand.
        #[pallet::constant]
        type MaxSeats: Get<u32>;
        /// The most backers.
        #[pallet::constant]
        type MaxBackers: Get<u32>;
        /// The least bond with which a seat stands.
        #[pallet::constant]
        type MinBond: Get<Balance>;
        /// The least amount that backs seats. A millionth of a PHA at least, in which votes are counted.
        #[pallet::constant]
        type MinBacking: Get<Balance>;
        /// Sessions in an era, unless genesis says otherwise.
        #[pallet::constant]
        type SessionsPerEra: Get<u32>;
        /// Eras between leaving and the release of a bond, and between taking backing back and its release.
        #[pallet::constant]
        type UnbondingEras: Get<u32>;
        /// How many blocks a seat should have made, and did not, before it counts as silent.
        #[pallet::constant]
        type MissedBlocks: Get<u32>;
        /// After how many seconds of silence a seat no longer stands.
        #[pallet::constant]
        type SilenceLimit: Get<u64>;
        /// What of its bond a silent seat loses in an hour.
        #[pallet::constant]
        type HourlySlash: Get<Perbill>;
        /// What part of a slash goes to who reported it.
        #[pallet::constant]
        type ReporterShare: Get<Perbill>;
        /// Measured weights.
        type WeightInfo: WeightInfo;
        /// For benchmarks.
        #[cfg(feature = "runtime-benchmarks")]
        type BenchmarkHelper: BenchmarkHelper<SessionKeys<Self>>;
    }

    /// Why PHA is on hold.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// As the bond of a seat.
        Bond,
        /// To back seats.
        Backing,
    }

    /// Every seat.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Seats<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, SeatOf<T>>;

    /// Every enclave of a seat.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Gatekeepers<T: Config> = StorageMap<_, Blake2_128Concat, GatekeeperId, GatekeeperOf<T>>;

    /// The seats that stand, in ascending order.
    #[pallet::storage]
    pub type Standing<T: Config> = StorageValue<_, BoundedVec<AccountIdOf<T>, T::MaxSeats>, ValueQuery>;

    /// How much backs a seat: each backer counts fully for each seat that it names. An election divides it.
    #[pallet::storage]
    pub type Backing<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, Balance, ValueQuery>;

    /// Every backer.
    #[pallet::storage]
    pub type Backers<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, BackerOf<T>>;

    /// The backers with their amounts, in ascending order of these.
    #[pallet::storage]
    pub type Ranking<T: Config> = StorageValue<_, BoundedVec<(Balance, AccountIdOf<T>), T::MaxBackers>, ValueQuery>;

    /// What backers took back and cannot withdraw yet, or did not.
    #[pallet::storage]
    pub type Unbackings<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, Unbacking>;

    /// The set, in ascending order of seats: who authors blocks from the session after its election on. Empty: the authorities of
    /// genesis do.
    #[pallet::storage]
    pub type Elected<T: Config> =
        StorageValue<_, BoundedVec<SetMember<AccountIdOf<T>>, ConstU32<MAX_GATEKEEPERS>>, ValueQuery>;

    /// How many eras have begun: with the election of a set, or where none could be elected and the one before went on.
    #[pallet::storage]
    pub type Era<T> = StorageValue<_, u32, ValueQuery>;

    /// The session in which the era began.
    #[pallet::storage]
    pub type EraStart<T> = StorageValue<_, SessionIndex, ValueQuery>;

    /// Sessions in an era.
    #[pallet::storage]
    pub type EraLength<T: Config> = StorageValue<_, u32, ValueQuery, T::SessionsPerEra>;

    /// Whether there is an election in the next session, however old the era is.
    #[pallet::storage]
    pub type Forced<T> = StorageValue<_, bool, ValueQuery>;

    /// The caps.
    #[pallet::storage]
    pub type DiversityCaps<T> = StorageValue<_, Caps, ValueQuery, DefaultCaps>;

    /// How many gatekeepers there should be.
    #[pallet::storage]
    pub type SetSize<T> = StorageValue<_, Size, ValueQuery, DefaultSize>;

    /// How many blocks each authority made in this session; 0 for who gave another sign of life.
    #[pallet::storage]
    pub type Authored<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, u32>;

    /// The seats that should have made blocks since their last.
    #[pallet::storage]
    pub type Silences<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, Silence>;

    /// Until when each seat has paid for silence.
    #[pallet::storage]
    pub type SilencePaid<T: Config> = StorageMap<_, Blake2_128Concat, AccountIdOf<T>, u64, ValueQuery>;

    /// The newest era whose set was dealt shares of the root key.
    #[pallet::storage]
    pub type Judged<T> = StorageValue<_, u32, ValueQuery>;

    /// The seats whose enclaves could have got shares then and did not, and since when each has been without; none that was out of
    /// the set in between.
    #[pallet::storage]
    pub type Absences<T: Config> =
        StorageValue<_, BoundedVec<(AccountIdOf<T>, u64), ConstU32<MAX_GATEKEEPERS>>, ValueQuery>;

    /// When this session began; 0 in the first.
    #[pallet::storage]
    pub type SessionStart<T> = StorageValue<_, u64, ValueQuery>;

    /// [`DEFAULT_CAPS`].
    pub struct DefaultCaps;

    impl Get<Caps> for DefaultCaps {
        fn get() -> Caps {
            DEFAULT_CAPS
        }
    }

    /// [`DEFAULT_SIZE`].
    pub struct DefaultSize;

    impl Get<Size> for DefaultSize {
        fn get() -> Size {
            DEFAULT_SIZE
        }
    }

    /// What genesis decides about gatekeepers.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// How many there should be.
        pub size: Size,
        /// The caps.
        pub caps: Caps,
        /// Sessions in an era.
        pub sessions_per_era: u32,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                size: DEFAULT_SIZE,
                caps: DEFAULT_CAPS,
                sessions_per_era: T::SessionsPerEra::get(),
                _config: Default::default(),
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(self.sessions_per_era > 0, "an era has a session at least");
            assert!(
                self.sessions_per_era <= T::SessionsPerEra::get(),
                "for no longer is the history of sessions kept than eras of the usual length need"
            );
            assert!(self.size.is_valid(), "a set has two gatekeepers at least and {MAX_GATEKEEPERS} at most");
            SetSize::<T>::put(self.size);
            DiversityCaps::<T>::put(self.caps);
            EraLength::<T>::put(self.sessions_per_era);
        }
    }

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A seat was registered, and stands.
        Registered {
            /// The seat.
            seat: T::AccountId,
            /// Who owns it.
            operator: T::AccountId,
            /// Its enclave.
            gatekeeper: GatekeeperId,
            /// Its bond.
            bond: Balance,
            /// When the enclave's verdict ends, in seconds since the Unix epoch.
            verdict_expires: u64,
        },
        /// An enclave's verdict was replaced.
        Renewed {
            /// The enclave.
            gatekeeper: GatekeeperId,
            /// When its new verdict ends, in seconds since the Unix epoch.
            verdict_expires: u64,
        },
        /// A seat has another enclave, from the next election on.
        Replaced {
            /// The seat.
            seat: T::AccountId,
            /// The enclave that it had.
            previous: GatekeeperId,
            /// The one that it has.
            gatekeeper: GatekeeperId,
            /// When the new enclave's verdict ends, in seconds since the Unix epoch.
            verdict_expires: u64,
        },
        /// The record of an enclave is gone.
        Forgotten {
            /// The enclave.
            gatekeeper: GatekeeperId,
        },
        /// A TCB recovery will make an enclave's evidence worse: its operator has to update the platform.
        OperatorWarned {
            /// The enclave.
            gatekeeper: GatekeeperId,
            /// Who owns its seat.
            operator: T::AccountId,
            /// When, and to what.
            outlook: Outlook,
        },
        /// A bond grew.
        Bonded {
            /// The seat.
            seat: T::AccountId,
            /// Its bond.
            bond: Balance,
        },
        /// A gatekeeper's host moved.
        EndpointSet {
            /// The enclave.
            gatekeeper: GatekeeperId,
        },
        /// A seat has other session keys.
        SessionKeysSet {
            /// The seat.
            seat: T::AccountId,
        },
        /// Whether a seat stands changed.
        StatusChanged {
            /// The seat.
            seat: T::AccountId,
            /// Its status from now on.
            status: SeatStatus,
        },
        /// A seat is gone, and its bond free.
        Withdrawn {
            /// The seat.
            seat: T::AccountId,
            /// Who owned it.
            operator: T::AccountId,
            /// What was left of its bond.
            bond: Balance,
        },
        /// An account backs these seats from now on.
        Backed {
            /// The account.
            backer: T::AccountId,
            /// With how much.
            amount: Balance,
            /// The seats.
            seats: Choices<T::AccountId>,
        },
        /// An account backs no seat any more: it does not want to, or others back with more.
        BackingStopped {
            /// The account.
            backer: T::AccountId,
            /// With how much it did.
            amount: Balance,
        },
        /// PHA that backed seats is free.
        BackingWithdrawn {
            /// Whose.
            backer: T::AccountId,
            /// How much.
            amount: Balance,
        },
        /// A set was elected. It authors blocks from the next session on.
        Elected {
            /// The era that begins.
            era: u32,
            /// The set.
            set: Vec<SetMember<T::AccountId>>,
        },
        /// No set was elected: the one before goes on.
        ElectionRefused {
            /// Why.
            reason: Refusal,
        },
        /// There is an election in the next session.
        EraForced,
        /// The caps changed.
        CapsSet {
            /// The caps of the next election.
            caps: Caps,
        },
        /// The size of the set changed.
        SizeSet {
            /// The size of the next set.
            size: Size,
        },
        /// A bond was slashed.
        Slashed {
            /// The seat.
            seat: T::AccountId,
            /// What for.
            fault: Fault,
            /// How much went to who reported it.
            rewarded: Balance,
            /// How much went to the treasury.
            treasury: Balance,
        },
        /// An era is over and no set was elected: the one before has another era, and its keys are made for it.
        SetKept {
            /// The era that begins.
            era: u32,
        },
        /// Enclaves got no share when the root key's were dealt to the set, though they could have.
        EnclavesMissing {
            /// The era of the set.
            era: u32,
            /// Whose enclaves: the seats that were without a share in the era before, too, are slashed.
            seats: Vec<T::AccountId>,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The operator has a seat with this index already.
        SeatTaken,
        /// There is no such seat.
        UnknownSeat,
        /// An enclave with this key is registered already.
        AlreadyRegistered,
        /// There is no such enclave.
        UnknownGatekeeper,
        /// The sender does not own the enclave's seat.
        NotOperator,
        /// The bond is below the least.
        BondTooLow,
        /// The operator does not have this much PHA.
        InsufficientBalance,
        /// The keys do not come with a proof that the seat has them.
        InvalidKeyProof,
        /// As many seats stand as may, and none of them has less bond and backing.
        NoPlace,
        /// A renewal came from another platform: keys never leave theirs.
        PlatformChanged,
        /// A renewal has another encryption key.
        EncryptionKeyChanged,
        /// Only the enclave that a seat has now can be renewed.
        AlreadyReplaced,
        /// Too many earlier enclaves of the seat may still hold shares.
        TooManyEnclaves,
        /// The endpoint is no `http://` or `https://` URL of visible ASCII characters without a slash at its end.
        InvalidEndpoint,
        /// The seat stands already.
        AlreadyStanding,
        /// The seat does not stand.
        NotStanding,
        /// The seat is being left.
        Left,
        /// The seat equivocated.
        SeatEjected,
        /// The seat is in the set: wait for the next one.
        InSet,
        /// The seat is not being left.
        NotLeft,
        /// The unbonding period is not over.
        StillBonded,
        /// An enclave of the seat may hold shares of a key in use.
        HoldsShares,
        /// No seat is named.
        NoSeats,
        /// A seat is named twice.
        DuplicateSeat,
        /// The amount is below the least.
        BackingTooLow,
        /// As many accounts back seats as may, and each with as much or more.
        TooManyBackers,
        /// The account backs no seat.
        NotBacking,
        /// Nothing is left to be withdrawn.
        NothingToWithdraw,
        /// The minimum is below two or above what is desired, or that is more than there may be.
        SizeOutOfRange,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(T::MaxSeats::get() > 0 && T::MaxBackers::get() > 0, "bounds are at least one");
            assert!(T::SessionsPerEra::get() > 0, "an era has a session at least");
            assert!(T::MinBond::get() >= election::UNIT && T::MinBacking::get() >= election::UNIT, "each vote counts");
            // `pallet_session` charges a whole block for what happens at the end of a session.
            // Until when each has paid for silence, and whose enclaves were missing.
            let unmeasured = u64::from(MAX_GATEKEEPERS).saturating_add(1);
            let end = <T as Config>::WeightInfo::judge_authors()
                .saturating_add(<T as Config>::WeightInfo::elections())
                .saturating_add(T::DbWeight::get().reads_writes(unmeasured, unmeasured));
            let block = <T as frame_system::Config>::BlockWeights::get().max_block;
            assert!(end.ref_time() <= block.ref_time(), "an election fits into a block");
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call(weight(<T as Config>::WeightInfo))]
    impl<T: Config> Pallet<T> {
        /// Registers the sender's seat `index` with a bond, an enclave and session keys; it stands in elections from now on. Evidence
        /// is made for the sender, this chain and a recent block; the proof of the session keys for [`Pallet::seat_id`]. Where no
        /// place is left, the seat that has least gives way and rests.
        #[pallet::call_index(0)]
        #[pallet::weight(
            <T as Config>::WeightInfo::register().saturating_add(Attestation::<T>::evidence_weight(evidence))
        )]
        #[allow(clippy::too_many_arguments)]
        pub fn register(
            origin: OriginFor<T>,
            index: u16,
            #[pallet::compact] bond: Balance,
            statement: Statement,
            evidence: Evidence,
            endpoint: Endpoint,
            keys: SessionKeys<T>,
            keys_proof: Vec<u8>,
        ) -> DispatchResultWithPostInfo {
            let operator = ensure_signed(origin)?;
            Self::do_register(operator, index, bond, statement, evidence, endpoint, (keys, keys_proof))
        }

        /// Replaces an enclave's verdict.
        #[pallet::call_index(1)]
        #[pallet::weight(
            <T as Config>::WeightInfo::renew().saturating_add(Attestation::<T>::evidence_weight(evidence))
        )]
        pub fn renew(origin: OriginFor<T>, statement: Statement, evidence: Evidence) -> DispatchResultWithPostInfo {
            let operator = ensure_signed(origin)?;
            Self::do_renew(operator, statement, evidence)
        }

        /// Gives a seat of the sender's another enclave: with other keys, or another image. It is in the set from the next election
        /// on, if the seat is elected; the shares of keys go over then. The earlier one remains registered for as long as it may
        /// hold shares.
        #[pallet::call_index(2)]
        #[pallet::weight(
            <T as Config>::WeightInfo::replace().saturating_add(Attestation::<T>::evidence_weight(evidence))
        )]
        pub fn replace(
            origin: OriginFor<T>,
            index: u16,
            statement: Statement,
            evidence: Evidence,
            endpoint: Endpoint,
        ) -> DispatchResultWithPostInfo {
            let operator = ensure_signed(origin)?;
            Self::do_replace(operator, index, statement, evidence, endpoint)
        }

        /// Adds to the bond of a seat of the sender's.
        #[pallet::call_index(3)]
        pub fn bond_more(origin: OriginFor<T>, index: u16, #[pallet::compact] amount: Balance) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::do_bond_more(operator, index, amount)
        }

        /// Changes where the host of a seat of the sender's serves.
        #[pallet::call_index(4)]
        pub fn set_endpoint(origin: OriginFor<T>, index: u16, endpoint: Endpoint) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::ensure_endpoint(&endpoint)?;
            let gatekeeper = Self::owned(&operator, index)?.1.gatekeeper;
            Gatekeepers::<T>::mutate_extant(gatekeeper, |record| record.endpoint = endpoint.into_inner());
            Self::deposit_event(Event::EndpointSet { gatekeeper });
            Ok(())
        }

        /// Gives a seat of the sender's other session keys, with the proof that the seat has them. Not while it is in the set.
        #[pallet::call_index(5)]
        pub fn set_session_keys(
            origin: OriginFor<T>,
            index: u16,
            keys: SessionKeys<T>,
            keys_proof: Vec<u8>,
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            let (seat, record) = Self::owned(&operator, index)?;
            ensure_kept::<T>(&record)?;
            ensure!(!Self::in_set(&seat), Error::<T>::InSet);
            Self::put_session_keys(&seat, keys, &keys_proof)?;
            Self::deposit_event(Event::SessionKeysSet { seat });
            Ok(())
        }

        /// Takes a seat of the sender's out of the elections to come.
        #[pallet::call_index(6)]
        pub fn rest(origin: OriginFor<T>, index: u16) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            let (seat, mut record) = Self::owned(&operator, index)?;
            ensure_kept::<T>(&record)?;
            ensure!(record.status == SeatStatus::Standing, Error::<T>::NotStanding);
            Self::set_status(&seat, &mut record, SeatStatus::Resting);
            Seats::<T>::insert(seat, record);
            Ok(())
        }

        /// Ends [`Call::rest`], and what made a seat rest: silence, or that others had more.
        #[pallet::call_index(7)]
        pub fn stand(origin: OriginFor<T>, index: u16) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            let (seat, mut record) = Self::owned(&operator, index)?;
            ensure_kept::<T>(&record)?;
            ensure!(record.status != SeatStatus::Standing, Error::<T>::AlreadyStanding);
            ensure!(record.bond >= T::MinBond::get(), Error::<T>::BondTooLow);
            Self::take_place(&seat, record.bond)?;
            Silences::<T>::remove(&seat);
            record.status = SeatStatus::Standing;
            Self::deposit_event(Event::StatusChanged { seat: seat.clone(), status: record.status });
            Seats::<T>::insert(seat, record);
            Ok(())
        }

        /// Gives a seat of the sender's up: it is out with the next set. See [`Call::withdraw`].
        #[pallet::call_index(8)]
        pub fn leave(origin: OriginFor<T>, index: u16) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            let (seat, mut record) = Self::owned(&operator, index)?;
            ensure_kept::<T>(&record)?;
            Self::set_status(&seat, &mut record, SeatStatus::Leaving(Self::unbonded_at()));
            Seats::<T>::insert(seat, record);
            Ok(())
        }

        /// Removes a seat that was left, or ejected, once the unbonding period is over and it is out of the set: frees what is left
        /// of its bond, its platforms and its session keys. Anybody may.
        #[pallet::call_index(9)]
        #[pallet::weight(<T as Config>::WeightInfo::withdraw().saturating_add(T::DbWeight::get().writes(1)))]
        pub fn withdraw(origin: OriginFor<T>, seat: T::AccountId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_withdraw(seat)
        }

        /// Backs these seats, instead of those that the sender backed before, with an amount that is on hold from now on. Where no
        /// more accounts can, the one with least stops. What is taken away from an earlier amount can be withdrawn later.
        #[pallet::call_index(10)]
        pub fn back(
            origin: OriginFor<T>,
            seats: Choices<T::AccountId>,
            #[pallet::compact] amount: Balance,
        ) -> DispatchResult {
            let backer = ensure_signed(origin)?;
            Self::do_back(backer, seats, amount)
        }

        /// Ends [`Call::back`]. The PHA can be withdrawn after the unbonding period.
        #[pallet::call_index(11)]
        pub fn stop_backing(origin: OriginFor<T>) -> DispatchResult {
            let backer = ensure_signed(origin)?;
            ensure!(Backers::<T>::contains_key(&backer), Error::<T>::NotBacking);
            Self::do_stop_backing(&backer);
            Ok(())
        }

        /// Frees what the sender took back of its backing.
        #[pallet::call_index(12)]
        pub fn withdraw_backing(origin: OriginFor<T>) -> DispatchResult {
            let backer = ensure_signed(origin)?;
            Self::do_withdraw_backing(backer)
        }

        /// Sets the caps of later elections.
        #[pallet::call_index(13)]
        pub fn set_caps(origin: OriginFor<T>, caps: Caps) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            DiversityCaps::<T>::put(caps);
            Self::deposit_event(Event::CapsSet { caps });
            Ok(())
        }

        /// Sets the size of later sets.
        #[pallet::call_index(14)]
        pub fn set_size(origin: OriginFor<T>, size: Size) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            ensure!(size.is_valid(), Error::<T>::SizeOutOfRange);
            SetSize::<T>::put(size);
            Self::deposit_event(Event::SizeSet { size });
            Ok(())
        }

        /// Has an election in the next session.
        #[pallet::call_index(15)]
        pub fn force_era(origin: OriginFor<T>) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_force_era();
            Ok(())
        }
    }
}

impl Size {
    /// Whether there can be such a set. One alone would have the whole of each key.
    pub fn is_valid(&self) -> bool {
        2 <= self.minimum && self.minimum <= self.desired && self.desired <= MAX_GATEKEEPERS
    }
}

/// That a seat is neither being left nor ejected.
fn ensure_kept<T: Config>(seat: &SeatOf<T>) -> Result<(), Error<T>> {
    match seat.status {
        SeatStatus::Standing | SeatStatus::Resting => Ok(()),
        SeatStatus::Leaving(_) => Err(Error::Left),
        SeatStatus::Ejected(_) => Err(Error::SeatEjected),
    }
}

/// What other pallets ask and tell.
impl<T: Config> Pallet<T> {
    /// The id of an operator's seat: the session's validator id.
    pub fn seat_id(operator: &T::AccountId, index: u16) -> T::AccountId {
        sp_io::hashing::blake2_256(&(b"phala/seat/v1", operator, index).encode()).into()
    }

    /// The enclaves of the latest elected set, in ascending order. Empty before the first.
    pub fn current() -> Vec<GatekeeperId> {
        let mut gatekeepers: Vec<_> = Elected::<T>::get().into_iter().map(|member| member.gatekeeper).collect();
        gatekeepers.sort();
        gatekeepers
    }

    /// Whether an enclave's key may sign posts: it is, or was and its record is kept, that of a seat that did not equivocate.
    pub fn is_registered(gatekeeper: &GatekeeperId) -> bool {
        Gatekeepers::<T>::get(gatekeeper)
            .and_then(|record| Seats::<T>::get(record.seat))
            .is_some_and(|seat| !matches!(seat.status, SeatStatus::Ejected(_)))
    }

    /// Whether it is registered, and would be elected as far as its evidence goes.
    pub fn is_good(gatekeeper: &GatekeeperId) -> bool {
        Self::is_registered(gatekeeper)
            && Gatekeepers::<T>::get(gatekeeper).is_some_and(|record| Self::check_enclave(&record).is_ok())
    }

    /// Whether no operator, vendor or family has a threshold of the places of a set of exactly these enclaves, each named once.
    /// Caps may ask for more of an elected set: of that some may be away for a while.
    pub fn is_safe(gatekeepers: &[GatekeeperId]) -> bool {
        if gatekeepers.len() as u64 > u64::from(MAX_GATEKEEPERS) {
            return false;
        }
        let mut sorted = gatekeepers.to_vec();
        sorted.sort();
        sorted.dedup();
        let traits: Option<Vec<_>> =
            sorted.iter().map(|id| Some(caps::Traits::of(&Gatekeepers::<T>::get(id)?))).collect();
        sorted.len() == gatekeepers.len() && traits.is_some_and(|traits| Caps::THRESHOLD.satisfied(&traits))
    }

    /// What the chain keeps of an enclave.
    pub fn record(gatekeeper: &GatekeeperId) -> Option<GatekeeperOf<T>> {
        Gatekeepers::<T>::get(gatekeeper)
    }

    /// Notes that a gatekeeper does something in this session, even if it makes no block.
    pub fn sign_of_life(gatekeeper: &GatekeeperId) {
        if let Some(record) = Gatekeepers::<T>::get(gatekeeper) {
            Authored::<T>::mutate(record.seat, |blocks| *blocks = Some(blocks.unwrap_or_default()));
        }
    }

    /// Whether a seat authors blocks now, or will.
    pub fn in_set(seat: &T::AccountId) -> bool {
        Elected::<T>::get().iter().any(|member| member.seat == *seat) || Session::<T>::validators().contains(seat)
    }

    /// Has an election in the next session.
    pub fn do_force_era() {
        Forced::<T>::put(true);
        Self::deposit_event(Event::EraForced);
    }
}

impl<T: Config> Pallet<T> {
    fn do_register(
        operator: T::AccountId,
        index: u16,
        bond: Balance,
        statement: Statement,
        evidence: Evidence,
        endpoint: Endpoint,
        (keys, keys_proof): (SessionKeys<T>, Vec<u8>),
    ) -> DispatchResultWithPostInfo {
        let seat = Self::seat_id(&operator, index);
        ensure!(!Seats::<T>::contains_key(&seat), Error::<T>::SeatTaken);
        ensure!(bond >= T::MinBond::get(), Error::<T>::BondTooLow);
        Self::ensure_endpoint(&endpoint)?;
        let gatekeeper = GatekeeperId(statement.signing_key);
        ensure!(!Gatekeepers::<T>::contains_key(gatekeeper), Error::<T>::AlreadyRegistered);
        let verified = Attestation::<T>::verify_enclave(Role::Gatekeeper, &operator, &statement, &evidence)?;
        Attestation::<T>::claim_platform(&verified.platform, gatekeeper)?;
        Self::put_session_keys(&seat, keys, &keys_proof)?;
        <T as Config>::Currency::hold(&HoldReason::Bond.into(), &operator, bond)
            .map_err(|_| Error::<T>::InsufficientBalance)?;
        Self::take_place(&seat, bond)?;
        let record = Self::new_record(&seat, &operator, &statement, &evidence, &verified, endpoint.into_inner());
        Gatekeepers::<T>::insert(gatekeeper, record);
        let record = Seat {
            operator: operator.clone(),
            index,
            bond,
            status: SeatStatus::Standing,
            gatekeeper,
            previous: Default::default(),
        };
        Seats::<T>::insert(&seat, record);
        let verdict_expires = verified.expires;
        Self::deposit_event(Event::Registered { seat, operator: operator.clone(), gatekeeper, bond, verdict_expires });
        Self::warn(gatekeeper, operator, verified.outlook);
        Ok(Some(<T as Config>::WeightInfo::register().saturating_add(verified.weight)).into())
    }

    fn do_renew(operator: T::AccountId, statement: Statement, evidence: Evidence) -> DispatchResultWithPostInfo {
        let gatekeeper = GatekeeperId(statement.signing_key);
        let mut record = Gatekeepers::<T>::get(gatekeeper).ok_or(Error::<T>::UnknownGatekeeper)?;
        ensure!(record.operator == operator, Error::<T>::NotOperator);
        let mut seat = Seats::<T>::get(&record.seat).ok_or(Error::<T>::UnknownSeat)?;
        ensure!(!matches!(seat.status, SeatStatus::Ejected(_)), Error::<T>::SeatEjected);
        ensure!(seat.gatekeeper == gatekeeper, Error::<T>::AlreadyReplaced);
        let verified = Attestation::<T>::verify_enclave(Role::Gatekeeper, &operator, &statement, &evidence)?;
        ensure!(verified.platform == record.platform, Error::<T>::PlatformChanged);
        ensure!(statement.encryption_key == record.encryption_key, Error::<T>::EncryptionKeyChanged);
        // What it was has to be good, too: another image does not make it trusted again.
        let broken = pallet_phala_attestation::Error::<T>::Compromised;
        ensure!(!Attestation::<T>::any_compromised(record.classes()), broken);
        record = Gatekeeper {
            registered_at: record.registered_at,
            ..Self::new_record(&record.seat, &operator, &statement, &evidence, &verified, record.endpoint)
        };
        if Self::forget_previous(&mut seat) {
            Seats::<T>::insert(&record.seat, seat);
        }
        Gatekeepers::<T>::insert(gatekeeper, record);
        Self::deposit_event(Event::Renewed { gatekeeper, verdict_expires: verified.expires });
        Self::warn(gatekeeper, operator, verified.outlook);
        Ok(Some(<T as Config>::WeightInfo::renew().saturating_add(verified.weight)).into())
    }

    fn do_replace(
        operator: T::AccountId,
        index: u16,
        statement: Statement,
        evidence: Evidence,
        endpoint: Endpoint,
    ) -> DispatchResultWithPostInfo {
        let (seat, mut record) = Self::owned(&operator, index)?;
        ensure_kept::<T>(&record)?;
        Self::ensure_endpoint(&endpoint)?;
        let gatekeeper = GatekeeperId(statement.signing_key);
        ensure!(!Gatekeepers::<T>::contains_key(gatekeeper), Error::<T>::AlreadyRegistered);
        let verified = Attestation::<T>::verify_enclave(Role::Gatekeeper, &operator, &statement, &evidence)?;
        Self::forget_previous(&mut record);
        let previous = record.gatekeeper;
        let kept = Previous { gatekeeper: previous, until: Self::unbonded_at() };
        ensure!(record.previous.len() < MAX_PREVIOUS as usize, Error::<T>::TooManyEnclaves);
        record.previous.push(kept);
        // The new enclave may be on the platform of an earlier one.
        if let Some(Tenant::Gatekeeper(tenant)) = pallet_phala_attestation::Platforms::<T>::get(verified.platform)
            && record.enclaves().any(|own| own == tenant)
        {
            Attestation::<T>::release_platform(&verified.platform, tenant);
        }
        Attestation::<T>::claim_platform(&verified.platform, gatekeeper)?;
        record.gatekeeper = gatekeeper;
        Seats::<T>::insert(&seat, record);
        let new = Self::new_record(&seat, &operator, &statement, &evidence, &verified, endpoint.into_inner());
        Gatekeepers::<T>::insert(gatekeeper, new);
        let verdict_expires = verified.expires;
        Self::deposit_event(Event::Replaced { seat, previous, gatekeeper, verdict_expires });
        Self::warn(gatekeeper, operator, verified.outlook);
        Ok(Some(<T as Config>::WeightInfo::replace().saturating_add(verified.weight)).into())
    }

    fn do_bond_more(operator: T::AccountId, index: u16, amount: Balance) -> DispatchResult {
        let (seat, mut record) = Self::owned(&operator, index)?;
        ensure_kept::<T>(&record)?;
        <T as Config>::Currency::hold(&HoldReason::Bond.into(), &operator, amount)
            .map_err(|_| Error::<T>::InsufficientBalance)?;
        record.bond = record.bond.saturating_add(amount);
        Self::deposit_event(Event::Bonded { seat: seat.clone(), bond: record.bond });
        Seats::<T>::insert(seat, record);
        Ok(())
    }

    fn do_withdraw(seat: T::AccountId) -> DispatchResult {
        let record = Seats::<T>::get(&seat).ok_or(Error::<T>::UnknownSeat)?;
        let until = match record.status {
            SeatStatus::Leaving(until) | SeatStatus::Ejected(until) => until,
            SeatStatus::Standing | SeatStatus::Resting => return Err(Error::<T>::NotLeft.into()),
        };
        ensure!(Session::<T>::current_index() >= until, Error::<T>::StillBonded);
        ensure!(!Self::in_set(&seat), Error::<T>::InSet);
        ensure!(!record.enclaves().any(|gatekeeper| T::OnElected::holds_shares(&gatekeeper)), Error::<T>::HoldsShares);
        <T as Config>::Currency::release(&HoldReason::Bond.into(), &record.operator, record.bond, Precision::Exact)?;
        record.enclaves().for_each(Self::forget);
        <Session<T> as SessionInterface>::purge_keys(&seat)?;
        Silences::<T>::remove(&seat);
        SilencePaid::<T>::remove(&seat);
        Seats::<T>::remove(&seat);
        Self::deposit_event(Event::Withdrawn { seat, operator: record.operator, bond: record.bond });
        Ok(())
    }

    /// Gives a seat a place among those that stand. Where there is none, the seat with least bond and backing that is not in the set
    /// gives way, if that is less than this one has.
    fn take_place(seat: &T::AccountId, bond: Balance) -> DispatchResult {
        let mut standing = Standing::<T>::get();
        if standing.is_full() {
            let weight = bond.saturating_add(Backing::<T>::get(seat));
            let elected = Elected::<T>::get();
            let (least, lowest, mut record) = standing
                .iter()
                .filter(|other| !elected.iter().any(|member| member.seat == **other))
                .filter_map(|other| {
                    let record = Seats::<T>::get(other)?;
                    Some((record.bond.saturating_add(Backing::<T>::get(other)), other.clone(), record))
                })
                .min_by_key(|(weight, _, _)| *weight)
                .ok_or(Error::<T>::NoPlace)?;
            ensure!(weight > least, Error::<T>::NoPlace);
            standing.retain(|other| *other != lowest);
            record.status = SeatStatus::Resting;
            Self::deposit_event(Event::StatusChanged { seat: lowest.clone(), status: record.status });
            Seats::<T>::insert(lowest, record);
        }
        if let Err(position) = standing.binary_search(seat) {
            standing.try_insert(position, seat.clone()).map_err(|_| Error::<T>::NoPlace)?;
        }
        Standing::<T>::put(standing);
        Ok(())
    }

    /// Changes the status of a seat to one in which it does not stand. Leaves `record` to be stored.
    fn set_status(seat: &T::AccountId, record: &mut SeatOf<T>, status: SeatStatus) {
        if record.status == SeatStatus::Standing {
            Standing::<T>::mutate(|standing| standing.retain(|other| other != seat));
        }
        record.status = status;
        Self::deposit_event(Event::StatusChanged { seat: seat.clone(), status });
    }

    /// Forgets those earlier enclaves of a seat that need not be known any more; says whether there were any. Leaves `record` to be
    /// stored.
    fn forget_previous(record: &mut SeatOf<T>) -> bool {
        if record.previous.is_empty() {
            return false;
        }
        let now = Session::<T>::current_index();
        let elected = Elected::<T>::get();
        let before = record.previous.len();
        record.previous.retain(|previous| {
            let id = previous.gatekeeper;
            let keep = previous.until > now
                || elected.iter().any(|member| member.gatekeeper == id)
                || T::OnElected::holds_shares(&id);
            if !keep {
                Self::forget(id);
            }
            keep
        });
        record.previous.len() < before
    }

    fn forget(gatekeeper: GatekeeperId) {
        if let Some(record) = Gatekeepers::<T>::take(gatekeeper) {
            Attestation::<T>::release_platform(&record.platform, gatekeeper);
            Self::deposit_event(Event::Forgotten { gatekeeper });
        }
    }

    /// The session from which on what is given up now is free.
    fn unbonded_at() -> SessionIndex {
        let sessions = T::UnbondingEras::get().saturating_mul(EraLength::<T>::get());
        Session::<T>::current_index().saturating_add(sessions)
    }

    fn put_session_keys(seat: &T::AccountId, keys: SessionKeys<T>, proof: &[u8]) -> DispatchResult {
        ensure!(keys.ownership_proof_is_valid(&seat.encode(), proof), Error::<T>::InvalidKeyProof);
        <Session<T> as SessionInterface>::set_keys(seat, keys)
    }

    fn new_record(
        seat: &T::AccountId,
        operator: &T::AccountId,
        statement: &Statement,
        evidence: &Evidence,
        verified: &VerifiedEnclave,
        endpoint: Vec<u8>,
    ) -> GatekeeperOf<T> {
        Gatekeeper {
            seat: seat.clone(),
            operator: operator.clone(),
            encryption_key: statement.encryption_key,
            endpoint,
            measurement: verified.measurement,
            platform: verified.platform,
            family: verified.family,
            vendor: verified.vendor,
            tier: verified.tier,
            verified_at: Attestation::<T>::now(),
            verdict_expires: verified.expires,
            outlook: verified.outlook,
            evidence_hash: sp_io::hashing::sha2_256(&(statement, evidence).encode()),
            registered_at: frame_system::Pallet::<T>::block_number(),
        }
    }

    fn warn(gatekeeper: GatekeeperId, operator: T::AccountId, outlook: Option<Outlook>) {
        if let Some(outlook) = outlook {
            Self::deposit_event(Event::OperatorWarned { gatekeeper, operator, outlook });
        }
    }

    /// A seat of the operator's.
    fn owned(operator: &T::AccountId, index: u16) -> Result<(T::AccountId, SeatOf<T>), Error<T>> {
        let seat = Self::seat_id(operator, index);
        let record = Seats::<T>::get(&seat).ok_or(Error::<T>::UnknownSeat)?;
        Ok((seat, record))
    }

    fn ensure_endpoint(endpoint: &[u8]) -> DispatchResult {
        ensure!(phala_primitives::worker::is_endpoint(endpoint), Error::<T>::InvalidEndpoint);
        Ok(())
    }
}

impl<T: Config> OnCompromise for Pallet<T> {
    fn on_compromise(class: Class) -> DispatchResult {
        frame_system::Pallet::<T>::register_extra_weight_unchecked(
            <T as Config>::WeightInfo::on_compromise(),
            frame_support::dispatch::DispatchClass::Normal,
        );
        let is_of_class =
            |id: GatekeeperId| Gatekeepers::<T>::get(id).is_some_and(|record| record.classes().contains(&class));
        if Elected::<T>::get().iter().any(|member| is_of_class(member.gatekeeper)) {
            Self::do_force_era();
        }
        Ok(())
    }

    fn on_restore(_: Class) {}
}
