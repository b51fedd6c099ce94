//! Registered workers: evidence, price, capacity, liveness.
//!
//! A worker is one enclave, known by the key that it signs with. Its operator registers it with evidence, which
//! `pallet_phala_attestation` verifies, and renews that before the verdict ends; anybody passes on its heartbeats. The jobs
//! pallet picks among the active workers, and counts what each has to do through [`Pallet::assign`] and
//! [`Pallet::release`].
//!
//! ```text
//!  register ──► Active ──── no heartbeat or answer in time ──────► Unresponsive
//!               │  ▲  ◄───────── heartbeat, renew ─────────────────┘  │
//!         drain │  │ resume                                          │ drain
//!               ▼  │                                                 │
//!             Draining ◄─────────────────────────────────────────────┘
//!
//!  deregister: from every state, when it has no job
//!  its class declared broken: from every state to Cordoned; renew: back to Active
//! ```
//!
//! A heartbeat names the newest finalized block that the enclave has verified, and is as fresh as that block:
//! `last_heartbeat` is the newest that the enclave has named, in a heartbeat or in a statement, and a worker is silent when
//! it is more than [`Config::HeartbeatTimeout`] blocks old.
//!
//! Each round of the random beacon draws up to [`Config::ChallengesPerRound`] active workers, each as likely as any other, to
//! *challenge*: in the next [`Config::ChallengeWindow`] blocks such a worker has to name the block of its challenge or a newer
//! one, which nobody could before there was that block. One that does not is silent as well, until it does. Without a beacon,
//! and while it stands still, there are no challenges.
//!
//! When governance declares a class of enclaves broken, its workers get nothing from that block on ([`Cordoning`]), and lose
//! what they have: in each block [`Config::MaxCordonsPerBlock`] of them, or of their jobs.
//!
//! # Invariants
//! - Every worker's evidence was verified in the runtime, and its platform backs no other worker.
//! - The market ([`market`]) holds exactly the workers whose status is `Active`, each at its price.
//! - A worker that is active, or drains and still answers, has exactly one entry in [`Checks`], at [`CheckAt`].
//! - A worker has no more than one challenge ([`Challenged`]), of a newer block than it has named, and is active or
//!   unresponsive then. While it is active, its heartbeats are checked no later than when the challenge is over.
//! - [`Members`] has every worker that is not cordoned, under its image and its family.
//! - `running` is the number of jobs that are assigned to it.
//! - The hook checks no more in a block than [`Config::MaxChecksPerBlock`] allows; the rest waits for the next. It challenges by
//!   no more than one round.
//!
//! # Attacks
//! - *Somebody registers another's enclave*: the evidence binds the operator's account.
//! - *A dead enclave kept alive by its host*: a heartbeat is signed inside and names a block, which cannot be known ahead of
//!   time. One that was kept back, and a replay of an old one, shows no more than that the enclave lived at that block.
//! - *A worker that is only there when its heartbeat is due*: the enclave sleeps, or its machine does something else, and it
//!   wakes just in time. A challenge comes when it does not choose. A heartbeat that was made before does not answer it, neither
//!   in time nor later. Its operator can have it drain instead, for a fee: then it gets no job until it resumes, and is still
//!   silent after [`Config::HeartbeatTimeout`].
//! - *A place in the market that is not drawn*: who knew a round's lots before could change prices until another worker is at
//!   the position drawn. Only the author of the parent block knows them before ([`Rounds`]).
//! - *A worker silenced by replays*: a heartbeat that names no newer block than the last is refused, whoever brings it.
//! - *Exaggerated performance*: it is measured and signed inside the enclave.
//! - *Free heartbeats as spam*: a heartbeat is free when it names a block that is newer than the last by a tenth of
//!   [`Config::HeartbeatTimeout`], or answers a challenge; else its sender pays. So each worker has no more than one for each such
//!   span of the chain, and one for each challenge.
//! - *An image found broken, a verdict that ended*: the worker gets no job, and its heartbeats are refused, so that it drops
//!   out of the market.
//! - *A platform locked by an operator who left*: who proves anew to run on it takes it over, once the verdict of the worker
//!   that had it has ended and that worker has no job. The same operator need not wait for the end: an enclave on a
//!   platform that cannot seal has other keys after each start.
//! - *A cordon left by draining and resuming*: a cordoned worker cannot drain.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "mint"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(any(test, feature = "mint"))]
pub mod enclave;
pub mod market;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{OnUnavailable, Rounds, Slot, Unavailable};
pub use weights::WeightInfo;

use codec::Encode;
use frame_support::{dispatch::PostDispatchInfo, pallet_prelude::*};
use frame_system::pallet_prelude::*;
use pallet_phala_attestation::{OnCompromise, Tenant};
use phala_attestation::{Evidence, PlatformId, Role, Statement};
use phala_primitives::{
    Balance, Hash, WorkerId,
    attestation::{Class, Outlook},
    worker::{MAX_ENDPOINT_BYTES, SignedHeartbeat, SignedPerformanceReport, WorkerStatus, is_endpoint},
};
use sp_runtime::traits::{One, Saturating, Zero};

/// A worker's record.
pub type Worker<T> = phala_primitives::worker::Worker<<T as frame_system::Config>::AccountId, BlockNumberFor<T>>;

/// How many checks of workers that answered one that did not counts for, against [`Config::MaxChecksPerBlock`].
const COST_OF_SILENCE: u32 = 8;

/// How many each job counts for that such a worker loses.
const COST_OF_JOB: u32 = 2;

/// How many values [`Rounds`] may read.
pub const ROUND_READS: u64 = 3;

/// The most classes whose workers are being cordoned at once.
pub const MAX_CORDONS: u32 = 64;

type Attestation<T> = pallet_phala_attestation::Pallet<T>;
type Endpoint = BoundedVec<u8, ConstU32<MAX_ENDPOINT_BYTES>>;

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
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> + pallet_phala_attestation::Config {
        /// How old the newest finalized block that a worker has named may be, in blocks. At most `BlockHashCount`.
        #[pallet::constant]
        type HeartbeatTimeout: Get<BlockNumberFor<Self>>;
        /// The most jobs at once that a worker may offer.
        #[pallet::constant]
        type MaxCapacity: Get<u32>;
        /// How many blocks a worker has to answer a challenge: fewer than [`Config::HeartbeatTimeout`], after which it is silent
        /// anyway.
        #[pallet::constant]
        type ChallengeWindow: Get<BlockNumberFor<Self>>;
        /// The most workers that a round of the beacon challenges.
        #[pallet::constant]
        type ChallengesPerRound: Get<u32>;
        /// What draws workers to challenge.
        type Rounds: Rounds<BlockNumberFor<Self>>;
        /// The most workers whose heartbeats are checked in one block. One that is silent counts for several, and for more the
        /// more jobs it loses; the last may go beyond the bound.
        #[pallet::constant]
        type MaxChecksPerBlock: Get<u32>;
        /// The most workers, and jobs of theirs, that are taken out in one block when a class is declared broken; the last
        /// worker may go beyond the bound.
        #[pallet::constant]
        type MaxCordonsPerBlock: Get<u32>;
        /// Who is told that a worker is out: the jobs pallet, which takes back what the worker has.
        type OnUnavailable: OnUnavailable;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// Every registered worker.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Workers<T: Config> = StorageMap<_, Blake2_128Concat, WorkerId, Worker<T>>;

    /// The workers that are not cordoned, by image and family.
    #[pallet::storage]
    pub type Members<T> = StorageDoubleMap<_, Blake2_128Concat, Class, Blake2_128Concat, WorkerId, ()>;

    /// The classes that were declared broken and may have workers left that are not cordoned yet.
    #[pallet::storage]
    pub type Cordoning<T> = StorageValue<_, BoundedVec<Class, ConstU32<MAX_CORDONS>>, ValueQuery>;

    /// The number of active workers, which are at the positions below it in [`ActiveIndex`].
    #[pallet::storage]
    pub type ActiveCount<T> = StorageValue<_, u32, ValueQuery>;

    /// The active workers as a binary heap by price; see [`market`].
    #[pallet::storage]
    pub type ActiveIndex<T> = StorageMap<_, Twox64Concat, u32, Slot>;

    /// Where an active worker is in [`ActiveIndex`].
    #[pallet::storage]
    pub type ActiveSlot<T> = StorageMap<_, Blake2_128Concat, WorkerId, u32>;

    /// In which block whose heartbeats are checked next.
    #[pallet::storage]
    pub type Checks<T: Config> = StorageDoubleMap<_, Twox64Concat, BlockNumberFor<T>, Blake2_128Concat, WorkerId, ()>;

    /// Where a worker is in [`Checks`].
    #[pallet::storage]
    pub type CheckAt<T: Config> = StorageMap<_, Blake2_128Concat, WorkerId, BlockNumberFor<T>>;

    /// The oldest block whose [`Checks`] may be unfinished.
    #[pallet::storage]
    pub type NextCheck<T: Config> = StorageValue<_, BlockNumberFor<T>, ValueQuery>;

    /// The challenges that are not answered yet: in which block each worker was challenged. It has to name that block or a newer
    /// one. Ends with its place in the market, unless it has lost that for silence.
    #[pallet::storage]
    pub type Challenged<T: Config> = StorageMap<_, Blake2_128Concat, WorkerId, BlockNumberFor<T>>;

    /// The newest round of the beacon by which workers were challenged.
    #[pallet::storage]
    pub type ChallengeRound<T: Config> = StorageValue<_, BlockNumberFor<T>, ValueQuery>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A worker was registered.
        Registered {
            /// The worker.
            worker: WorkerId,
            /// Who owns it.
            operator: T::AccountId,
            /// When its verdict ends, in seconds since the Unix epoch.
            verdict_expires: u64,
        },
        /// A worker's verdict was replaced.
        Renewed {
            /// The worker.
            worker: WorkerId,
            /// When its new verdict ends, in seconds since the Unix epoch.
            verdict_expires: u64,
        },
        /// A worker changed its price.
        PriceSet {
            /// The worker.
            worker: WorkerId,
            /// What it asks for 10⁹ fuel from the next job on.
            price: Balance,
        },
        /// A worker's host moved.
        EndpointSet {
            /// The worker.
            worker: WorkerId,
        },
        /// A worker's status changed.
        StatusChanged {
            /// The worker.
            worker: WorkerId,
            /// Its status from now on.
            status: WorkerStatus,
        },
        /// A worker has to name this block or a newer one.
        Challenged {
            /// The worker.
            worker: WorkerId,
            /// The last block in which it is in time.
            until: BlockNumberFor<T>,
        },
        /// A worker has not answered its challenge in time.
        ChallengeMissed {
            /// The worker.
            worker: WorkerId,
        },
        /// A TCB recovery will make a worker's evidence worse: its operator has to update the platform.
        OperatorWarned {
            /// The worker.
            worker: WorkerId,
            /// Who owns it.
            operator: T::AccountId,
            /// When, and to what.
            outlook: Outlook,
        },
        /// A worker is gone.
        Deregistered {
            /// The worker.
            worker: WorkerId,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// A worker with this key is registered already.
        AlreadyRegistered,
        /// There is no such worker.
        UnknownWorker,
        /// The sender does not own the worker.
        NotOperator,
        /// The report or heartbeat comes from another worker.
        WrongWorker,
        /// The report or heartbeat was made for another chain.
        WrongGenesis,
        /// The report or heartbeat is not signed by the worker.
        BadSignature,
        /// The performance report is too old, or from the future.
        StaleReport,
        /// The performance is zero, or the capacity zero or above the most.
        PerformanceOutOfRange,
        /// The heartbeat names no recent block of this chain.
        StaleHeartbeat,
        /// The worker has named the heartbeat's block, or a newer one, before.
        OldHeartbeat,
        /// The worker's verdict has ended: renew it first.
        VerdictExpired,
        /// The worker's image is not allowed (any more).
        ImageNotAllowed,
        /// A renewal came from another platform: keys never leave theirs.
        PlatformChanged,
        /// A renewal has another encryption key: users rely on the first.
        EncryptionKeyChanged,
        /// The endpoint is no `http://` or `https://` URL of visible ASCII characters without a slash at its end.
        InvalidEndpoint,
        /// The price is zero.
        InvalidPrice,
        /// The worker drains already.
        AlreadyDraining,
        /// The worker does not drain.
        NotDraining,
        /// The worker still has jobs: drain it and wait for them.
        HasJobs,
        /// The worker runs as many jobs as it can.
        Busy,
        /// The worker's image, platform or family was declared broken: only new evidence brings it back.
        Cordoned,
        /// Too many classes were declared broken at once: wait until the workers of the first are out.
        TooManyCordons,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            Self::do_cordon().saturating_add(Self::do_check_heartbeats(now)).saturating_add(Self::do_challenge(now))
        }

        fn integrity_test() {
            assert!(!T::HeartbeatTimeout::get().is_zero(), "HeartbeatTimeout is at least one block");
            assert!(
                !T::ChallengeWindow::get().is_zero() && T::ChallengeWindow::get() < T::HeartbeatTimeout::get(),
                "ChallengeWindow is at least one block, and ends before silence is noticed anyway"
            );
            assert!(T::MaxCapacity::get() > 0 && T::MaxChecksPerBlock::get() > 0, "bounds are at least one");
            assert!(T::MaxCordonsPerBlock::get() > 0, "workers of a broken class are taken out");
            assert!(
                T::HeartbeatTimeout::get() <= <T as frame_system::Config>::BlockHashCount::get(),
                "HeartbeatTimeout is at most BlockHashCount: older hashes are forgotten"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call(weight(<T as Config>::WeightInfo))]
    impl<T: Config> Pallet<T> {
        /// Registers an enclave as a worker of the sender. Evidence and performance report are made for the sender,
        /// this chain and a recent block. Replaces a worker of the same platform that has no job, and is the sender's own or its
        /// verdict has ended.
        #[pallet::call_index(0)]
        #[pallet::weight(
            <T as Config>::WeightInfo::register().saturating_add(Attestation::<T>::evidence_weight(evidence))
        )]
        pub fn register(
            origin: OriginFor<T>,
            statement: Statement,
            evidence: Evidence,
            performance: SignedPerformanceReport,
            endpoint: Endpoint,
            price: Balance,
        ) -> DispatchResultWithPostInfo {
            let operator = ensure_signed(origin)?;
            Self::do_register(operator, statement, evidence, performance, endpoint, price)
        }

        /// Replaces a worker's verdict and performance, and counts as a heartbeat.
        #[pallet::call_index(1)]
        #[pallet::weight(
            <T as Config>::WeightInfo::renew().saturating_add(Attestation::<T>::evidence_weight(evidence))
        )]
        pub fn renew(
            origin: OriginFor<T>,
            statement: Statement,
            evidence: Evidence,
            performance: SignedPerformanceReport,
        ) -> DispatchResultWithPostInfo {
            let operator = ensure_signed(origin)?;
            Self::do_renew(operator, statement, evidence, performance)
        }

        /// Passes on a worker's sign of life. Anybody may bring it, and pays no fee when it names a block that is newer by a
        /// while than the last, or answers a challenge.
        #[pallet::call_index(2)]
        pub fn heartbeat(origin: OriginFor<T>, heartbeat: SignedHeartbeat) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_heartbeat(heartbeat)
        }

        /// Changes the price of a worker's next jobs.
        #[pallet::call_index(3)]
        pub fn set_price(origin: OriginFor<T>, worker: WorkerId, price: Balance) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::do_set_price(operator, worker, price)
        }

        /// Changes where a worker's host serves.
        #[pallet::call_index(4)]
        pub fn set_endpoint(origin: OriginFor<T>, worker: WorkerId, endpoint: Endpoint) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::ensure_endpoint(&endpoint)?;
            Self::mutate_owned(&operator, &worker, |record| {
                record.endpoint = endpoint.into_inner();
                Ok(())
            })?;
            Self::deposit_event(Event::EndpointSet { worker });
            Ok(())
        }

        /// Lets a worker end its jobs and gives it no more.
        #[pallet::call_index(5)]
        pub fn drain(origin: OriginFor<T>, worker: WorkerId) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::do_drain(operator, worker)
        }

        /// Ends [`Call::drain`].
        #[pallet::call_index(6)]
        pub fn resume(origin: OriginFor<T>, worker: WorkerId) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::do_resume(operator, worker)
        }

        /// Removes a worker that has no job, and frees its platform.
        #[pallet::call_index(7)]
        pub fn deregister(origin: OriginFor<T>, worker: WorkerId) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            Self::do_deregister(operator, worker)
        }
    }
}

/// What the jobs pallet asks and tells.
impl<T: Config> Pallet<T> {
    /// The worker, if it may get a job at the time `now` (seconds since the Unix epoch) that asks for at most `fuel`
    /// and pays at most `max_price`.
    pub fn eligible(worker: &WorkerId, fuel: u64, max_price: Balance, now: u64) -> Option<Worker<T>> {
        Workers::<T>::get(worker).filter(|record| {
            record.status == WorkerStatus::Active
                && record.running < record.performance.capacity
                && record.verdict_expires > now
                && phala_primitives::units::fee(fuel, record.price) <= max_price
                && Attestation::<T>::image_allowed(&record.measurement, Role::Worker)
                && !Self::is_broken(record)
        })
    }

    /// Whether the worker is of a class that was declared broken.
    pub fn is_broken(record: &Worker<T>) -> bool {
        let cordoning = Cordoning::<T>::get();
        record.status == WorkerStatus::Cordoned || record.classes().iter().any(|class| cordoning.contains(class))
    }

    /// Counts one job more.
    ///
    /// # Errors
    /// When the worker is not there, not active, or busy.
    pub fn assign(worker: &WorkerId) -> DispatchResult {
        Workers::<T>::try_mutate(worker, |record| {
            let record = record.as_mut().ok_or(Error::<T>::UnknownWorker)?;
            ensure!(
                record.status == WorkerStatus::Active && record.running < record.performance.capacity,
                Error::<T>::Busy
            );
            record.running.saturating_inc();
            Ok(())
        })
    }

    /// Counts one job less.
    pub fn release(worker: &WorkerId) {
        Workers::<T>::mutate_extant(worker, |record| record.running.saturating_dec());
    }

    /// The lowest price of an active worker; `None` when there is none.
    pub fn cheapest() -> Option<Balance> {
        market::cheapest::<T>()
    }
}

impl<T: Config> Pallet<T> {
    fn do_register(
        operator: T::AccountId,
        statement: Statement,
        evidence: Evidence,
        performance: SignedPerformanceReport,
        endpoint: Endpoint,
        price: Balance,
    ) -> DispatchResultWithPostInfo {
        let worker = WorkerId(statement.signing_key);
        ensure!(!Workers::<T>::contains_key(worker), Error::<T>::AlreadyRegistered);
        ensure!(price > 0, Error::<T>::InvalidPrice);
        Self::ensure_endpoint(&endpoint)?;
        Self::ensure_performance(&worker, &performance)?;
        let verified = Attestation::<T>::verify_enclave(Role::Worker, &operator, &statement, &evidence)?;
        Self::evict(&verified.platform, &operator);
        Attestation::<T>::claim_platform(&verified.platform, worker)?;
        let last_heartbeat = statement.block_number.into();
        let record = Worker::<T> {
            operator: operator.clone(),
            encryption_key: statement.encryption_key,
            endpoint: endpoint.into_inner(),
            price,
            performance: performance.report.performance,
            running: 0,
            status: WorkerStatus::Active,
            measurement: verified.measurement,
            platform: verified.platform,
            family: verified.family,
            vendor: verified.vendor,
            tier: verified.tier,
            verified_at: Attestation::<T>::now(),
            verdict_expires: verified.expires,
            outlook: verified.outlook,
            evidence_hash: evidence_hash(&statement, &evidence),
            registered_at: frame_system::Pallet::<T>::block_number(),
            last_heartbeat,
        };
        Self::join_classes(&worker, &record);
        Workers::<T>::insert(worker, record);
        market::insert::<T>(worker, price);
        Self::schedule_check(&worker, last_heartbeat, None);
        Self::deposit_event(Event::Registered {
            worker,
            operator: operator.clone(),
            verdict_expires: verified.expires,
        });
        Self::warn(worker, operator, verified.outlook);
        Ok(Some(<T as Config>::WeightInfo::register().saturating_add(verified.weight)).into())
    }

    fn do_renew(
        operator: T::AccountId,
        statement: Statement,
        evidence: Evidence,
        performance: SignedPerformanceReport,
    ) -> DispatchResultWithPostInfo {
        let worker = WorkerId(statement.signing_key);
        let mut record = Self::owned(&operator, &worker)?;
        Self::ensure_performance(&worker, &performance)?;
        let verified = Attestation::<T>::verify_enclave(Role::Worker, &operator, &statement, &evidence)?;
        ensure!(verified.platform == record.platform, Error::<T>::PlatformChanged);
        ensure!(statement.encryption_key == record.encryption_key, Error::<T>::EncryptionKeyChanged);
        // What it was has to be good, too: another image does not lift a cordon.
        let broken = pallet_phala_attestation::Error::<T>::Compromised;
        ensure!(!Attestation::<T>::any_compromised(record.classes()), broken);
        if record.status == WorkerStatus::Cordoned {
            record.status = WorkerStatus::Unresponsive;
        } else {
            Self::leave_classes(&worker, &record);
        }
        record.performance = performance.report.performance;
        record.measurement = verified.measurement;
        record.family = verified.family;
        record.vendor = verified.vendor;
        record.tier = verified.tier;
        record.verified_at = Attestation::<T>::now();
        record.verdict_expires = verified.expires;
        record.outlook = verified.outlook;
        record.evidence_hash = evidence_hash(&statement, &evidence);
        Self::join_classes(&worker, &record);
        Self::deposit_event(Event::Renewed { worker, verdict_expires: verified.expires });
        Self::warn(worker, operator, verified.outlook);
        Self::answered(worker, record, statement.block_number.into());
        Ok(Some(<T as Config>::WeightInfo::renew().saturating_add(verified.weight)).into())
    }

    fn do_heartbeat(signed: SignedHeartbeat) -> DispatchResultWithPostInfo {
        let SignedHeartbeat { heartbeat, signature } = signed;
        let worker = heartbeat.worker;
        let record = Workers::<T>::get(worker).ok_or(Error::<T>::UnknownWorker)?;
        ensure!(heartbeat.genesis_hash == Attestation::<T>::genesis_hash(), Error::<T>::WrongGenesis);
        let named = BlockNumberFor::<T>::from(heartbeat.block_number);
        ensure!(named > record.last_heartbeat, Error::<T>::OldHeartbeat);
        ensure!(
            Attestation::<T>::is_recent_block(
                heartbeat.block_number,
                &heartbeat.block_hash,
                T::HeartbeatTimeout::get()
            ),
            Error::<T>::StaleHeartbeat
        );
        ensure!(record.verdict_expires > Attestation::<T>::now(), Error::<T>::VerdictExpired);
        ensure!(Attestation::<T>::image_allowed(&record.measurement, Role::Worker), Error::<T>::ImageNotAllowed);
        ensure!(verify(&worker, &heartbeat.signed_bytes(), &signature), Error::<T>::BadSignature);

        let newer_by = named.saturating_sub(record.last_heartbeat);
        let actual_weight =
            (record.status == WorkerStatus::Active).then(<T as Config>::WeightInfo::heartbeat_of_active);
        let answers_challenge = Self::answered(worker, record, named);
        let is_free = answers_challenge || newer_by >= Self::free_heartbeat_interval();
        let pays_fee = if is_free { Pays::No } else { Pays::Yes };
        Ok(PostDispatchInfo { actual_weight, pays_fee })
    }

    fn do_set_price(operator: T::AccountId, worker: WorkerId, price: Balance) -> DispatchResult {
        ensure!(price > 0, Error::<T>::InvalidPrice);
        let status = Self::mutate_owned(&operator, &worker, |record| {
            record.price = price;
            Ok(record.status)
        })?;
        if status == WorkerStatus::Active {
            market::remove::<T>(&worker);
            market::insert::<T>(worker, price);
        }
        Self::deposit_event(Event::PriceSet { worker, price });
        Ok(())
    }

    fn do_drain(operator: T::AccountId, worker: WorkerId) -> DispatchResult {
        Self::mutate_owned(&operator, &worker, |record| {
            ensure!(record.status != WorkerStatus::Cordoned, Error::<T>::Cordoned);
            ensure!(record.status != WorkerStatus::Draining, Error::<T>::AlreadyDraining);
            record.status = WorkerStatus::Draining;
            Ok(())
        })?;
        market::remove::<T>(&worker);
        Challenged::<T>::remove(worker);
        Self::deposit_event(Event::StatusChanged { worker, status: WorkerStatus::Draining });
        Ok(())
    }

    fn do_resume(operator: T::AccountId, worker: WorkerId) -> DispatchResult {
        let answers = CheckAt::<T>::contains_key(worker);
        let (status, price) = Self::mutate_owned(&operator, &worker, |record| {
            ensure!(record.status == WorkerStatus::Draining, Error::<T>::NotDraining);
            record.status = if answers { WorkerStatus::Active } else { WorkerStatus::Unresponsive };
            Ok((record.status, record.price))
        })?;
        if answers {
            market::insert::<T>(worker, price);
        }
        Self::deposit_event(Event::StatusChanged { worker, status });
        Ok(())
    }

    fn do_deregister(operator: T::AccountId, worker: WorkerId) -> DispatchResult {
        let record = Self::owned(&operator, &worker)?;
        ensure!(record.running == 0, Error::<T>::HasJobs);
        Self::remove(worker, &record);
        Ok(())
    }

    /// Removes the worker of a platform on behalf of `operator`, if it has no job, and is the operator's own or its verdict has
    /// ended.
    fn evict(platform: &PlatformId, operator: &T::AccountId) {
        let Some(worker) = Self::tenant(platform) else { return };
        let Some(record) = Workers::<T>::get(worker) else { return };
        let is_free = record.operator == *operator || record.verdict_expires <= Attestation::<T>::now();
        if record.running == 0 && is_free {
            Self::remove(worker, &record);
        }
    }

    /// Removes a worker that has no job, and frees its platform.
    fn remove(worker: WorkerId, record: &Worker<T>) {
        market::remove::<T>(&worker);
        Self::unschedule_check(&worker);
        Challenged::<T>::remove(worker);
        Self::leave_classes(&worker, record);
        Attestation::<T>::release_platform(&record.platform, worker);
        Workers::<T>::remove(worker);
        Self::deposit_event(Event::Deregistered { worker });
    }

    /// Stores `record` as that of a worker that has named block `named`, which ends its challenge when that is no newer, and its
    /// silence when it is recent and no challenge is missed. Whether it ended a challenge.
    fn answered(worker: WorkerId, mut record: Worker<T>, named: BlockNumberFor<T>) -> bool {
        record.last_heartbeat = record.last_heartbeat.max(named);
        let challenged = Challenged::<T>::get(worker);
        let open = challenged.filter(|at| *at > record.last_heartbeat);
        let answers_challenge = challenged != open;
        if answers_challenge {
            Challenged::<T>::remove(worker);
        }
        if !Self::is_silent(&record, open) && record.status != WorkerStatus::Cordoned {
            if record.status == WorkerStatus::Unresponsive {
                record.status = WorkerStatus::Active;
                market::insert::<T>(worker, record.price);
                Self::deposit_event(Event::StatusChanged { worker, status: record.status });
            }
            if !CheckAt::<T>::contains_key(worker) {
                Self::schedule_check(&worker, record.last_heartbeat, open);
            }
        }
        Workers::<T>::insert(worker, record);
        answers_challenge
    }

    /// Whether the newest block that a worker has named is too old, or its challenge is over.
    fn is_silent(record: &Worker<T>, challenged: Option<BlockNumberFor<T>>) -> bool {
        let now = frame_system::Pallet::<T>::block_number();
        now.saturating_sub(record.last_heartbeat) > T::HeartbeatTimeout::get() || challenged.is_some_and(Self::is_over)
    }

    /// Whether there is no more time to answer a challenge.
    fn is_over(challenged: BlockNumberFor<T>) -> bool {
        frame_system::Pallet::<T>::block_number() > Self::last_to_answer(challenged)
    }

    /// The last block in which a challenge can be answered in time.
    fn last_to_answer(challenged: BlockNumberFor<T>) -> BlockNumberFor<T> {
        challenged.saturating_add(T::ChallengeWindow::get())
    }

    /// Challenges the active workers that the next round of the beacon draws.
    fn do_challenge(now: BlockNumberFor<T>) -> Weight {
        let looked = T::DbWeight::get().reads(ROUND_READS.saturating_add(1));
        let Some((round, lots)) = T::Rounds::next(ChallengeRound::<T>::get()) else { return looked };
        ChallengeRound::<T>::put(round);
        let active = market::len::<T>();
        let draws = T::ChallengesPerRound::get();
        for index in 0..draws {
            // The remainder is below `active`, a `u32`; there is none when nobody is active.
            let position: Option<u32> =
                random(&lots, index).checked_rem(active.into()).and_then(|at| at.try_into().ok());
            if let Some(worker) = position.and_then(market::at::<T>) {
                Self::do_challenge_one(worker, now);
            }
        }
        // Of each: its place in the market, challenge and check; then the challenge, and two blocks' checks.
        let each = T::DbWeight::get().reads_writes(3, 4);
        looked.saturating_add(T::DbWeight::get().reads_writes(1, 1)).saturating_add(each.saturating_mul(draws.into()))
    }

    /// Challenges an active worker, unless one challenge of it is open.
    fn do_challenge_one(worker: WorkerId, now: BlockNumberFor<T>) {
        if Challenged::<T>::contains_key(worker) {
            return;
        }
        Challenged::<T>::insert(worker, now);
        let until = Self::last_to_answer(now);
        let over = until.saturating_add(One::one());
        if CheckAt::<T>::get(worker).is_some_and(|at| at > over) {
            Self::unschedule_check(&worker);
            Self::check_in(over, &worker);
        }
        Self::deposit_event(Event::Challenged { worker, until });
    }

    fn do_check_heartbeats(now: BlockNumberFor<T>) -> Weight {
        let mut block = NextCheck::<T>::get();
        let mut left = T::MaxChecksPerBlock::get();
        let (mut answered, mut silent) = (0u32, 0u32);
        let mut hook_weight = Weight::zero();
        while block <= now && left > 0 {
            let mut cost = 1u32;
            if let Some(worker) = Checks::<T>::iter_key_prefix(block).next() {
                Self::unschedule_check(&worker);
                let Some(record) = Workers::<T>::get(worker) else { continue };
                let challenged = Challenged::<T>::get(worker);
                if Self::is_silent(&record, challenged) {
                    if challenged.is_some_and(Self::is_over) {
                        Self::deposit_event(Event::ChallengeMissed { worker });
                    }
                    cost = record.running.saturating_mul(COST_OF_JOB).saturating_add(COST_OF_SILENCE);
                    hook_weight.saturating_accrue(Self::do_lose(worker, record));
                    silent.saturating_inc();
                } else {
                    Self::schedule_check(&worker, record.last_heartbeat, challenged);
                    answered.saturating_inc();
                }
            } else {
                // A look at an empty block counts, too.
                block.saturating_inc();
            }
            left = left.saturating_sub(cost);
        }
        NextCheck::<T>::put(block);
        <T as Config>::WeightInfo::check_heartbeats_answered(answered)
            .saturating_add(<T as Config>::WeightInfo::check_heartbeats_silent(silent))
            .saturating_add(hook_weight)
    }

    /// Takes an unresponsive worker out of the market; a draining one stays as its operator wants it.
    fn do_lose(worker: WorkerId, mut record: Worker<T>) -> Weight {
        if record.status == WorkerStatus::Active {
            market::remove::<T>(&worker);
            record.status = WorkerStatus::Unresponsive;
            Workers::<T>::insert(worker, &record);
            Self::deposit_event(Event::StatusChanged { worker, status: record.status });
        }
        T::OnUnavailable::on_unavailable(&worker, Unavailable::Silent)
    }

    /// Takes out workers of the classes that were declared broken.
    fn do_cordon() -> Weight {
        let mut classes = Cordoning::<T>::get();
        if classes.is_empty() {
            return <T as Config>::WeightInfo::cordon(0);
        }
        let mut left = T::MaxCordonsPerBlock::get();
        let mut cordoned = 0u32;
        let mut hook_weight = Weight::zero();
        while let Some(class) = classes.first().copied().filter(|_| left > 0) {
            let mut cost = 1u32;
            match Self::member(&class) {
                Some((worker, record)) => {
                    cost.saturating_accrue(record.running);
                    hook_weight.saturating_accrue(Self::do_cordon_one(worker, record));
                    cordoned.saturating_inc();
                }
                None => drop(classes.remove(0)),
            }
            left = left.saturating_sub(cost);
        }
        Cordoning::<T>::put(classes);
        <T as Config>::WeightInfo::cordon(cordoned).saturating_add(hook_weight)
    }

    fn do_cordon_one(worker: WorkerId, mut record: Worker<T>) -> Weight {
        market::remove::<T>(&worker);
        Self::unschedule_check(&worker);
        Challenged::<T>::remove(worker);
        Self::leave_classes(&worker, &record);
        record.status = WorkerStatus::Cordoned;
        Workers::<T>::insert(worker, &record);
        Self::deposit_event(Event::StatusChanged { worker, status: record.status });
        T::OnUnavailable::on_unavailable(&worker, Unavailable::Cordoned)
    }

    /// The worker on a platform.
    fn tenant(platform: &PlatformId) -> Option<WorkerId> {
        match pallet_phala_attestation::Platforms::<T>::get(platform)? {
            Tenant::Worker(worker) => Some(worker),
            Tenant::Gatekeeper(_) => None,
        }
    }

    /// A worker of the class that is not cordoned.
    fn member(class: &Class) -> Option<(WorkerId, Worker<T>)> {
        loop {
            let worker = match class {
                Class::Platform(platform) => Self::tenant(platform),
                Class::Image(_) | Class::Family(_) => Members::<T>::iter_key_prefix(class).next(),
            }?;
            match (Workers::<T>::get(worker), class) {
                (Some(record), _) if record.status != WorkerStatus::Cordoned => return Some((worker, record)),
                (_, Class::Platform(_)) => return None,
                (_, Class::Image(_) | Class::Family(_)) => {
                    frame_support::defensive!("a member that is none");
                    Members::<T>::remove(class, worker);
                }
            }
        }
    }

    /// Lists a worker under the classes that have more than one.
    fn join_classes(worker: &WorkerId, record: &Worker<T>) {
        for class in shared_classes::<T>(record) {
            Members::<T>::insert(class, worker, ());
        }
    }

    fn leave_classes(worker: &WorkerId, record: &Worker<T>) {
        for class in shared_classes::<T>(record) {
            Members::<T>::remove(class, worker);
        }
    }

    fn warn(worker: WorkerId, operator: T::AccountId, outlook: Option<Outlook>) {
        if let Some(outlook) = outlook {
            Self::deposit_event(Event::OperatorWarned { worker, operator, outlook });
        }
    }

    /// Has a worker looked at when it will be silent, and not before the next block.
    fn schedule_check(worker: &WorkerId, last_heartbeat: BlockNumberFor<T>, challenged: Option<BlockNumberFor<T>>) {
        let now = frame_system::Pallet::<T>::block_number();
        let heard = last_heartbeat.saturating_add(T::HeartbeatTimeout::get());
        let last = challenged.map_or(heard, |at| Self::last_to_answer(at).min(heard));
        Self::check_in(last.max(now).saturating_add(One::one()), worker);
    }

    fn check_in(block: BlockNumberFor<T>, worker: &WorkerId) {
        Checks::<T>::insert(block, worker, ());
        CheckAt::<T>::insert(worker, block);
    }

    fn unschedule_check(worker: &WorkerId) {
        if let Some(at) = CheckAt::<T>::take(worker) {
            Checks::<T>::remove(at, worker);
        }
    }

    fn owned(operator: &T::AccountId, worker: &WorkerId) -> Result<Worker<T>, DispatchError> {
        let record = Workers::<T>::get(worker).ok_or(Error::<T>::UnknownWorker)?;
        ensure!(record.operator == *operator, Error::<T>::NotOperator);
        Ok(record)
    }

    fn mutate_owned<R>(
        operator: &T::AccountId,
        worker: &WorkerId,
        change: impl FnOnce(&mut Worker<T>) -> Result<R, DispatchError>,
    ) -> Result<R, DispatchError> {
        let mut record = Self::owned(operator, worker)?;
        let result = change(&mut record)?;
        Workers::<T>::insert(worker, record);
        Ok(result)
    }

    fn ensure_performance(worker: &WorkerId, signed: &SignedPerformanceReport) -> DispatchResult {
        let report = &signed.report;
        ensure!(report.worker == *worker, Error::<T>::WrongWorker);
        ensure!(report.genesis_hash == Attestation::<T>::genesis_hash(), Error::<T>::WrongGenesis);
        let now = frame_system::Pallet::<T>::block_number();
        let at = BlockNumberFor::<T>::from(report.block_number);
        let recency = <T as pallet_phala_attestation::Config>::Recency::get();
        ensure!(at <= now && now.saturating_sub(at) <= recency, Error::<T>::StaleReport);
        let performance = &report.performance;
        ensure!(
            performance.fuel_per_second > 0 && (1..=T::MaxCapacity::get()).contains(&performance.capacity),
            Error::<T>::PerformanceOutOfRange
        );
        ensure!(verify(worker, &report.signed_bytes(), &signed.signature), Error::<T>::BadSignature);
        Ok(())
    }

    fn ensure_endpoint(endpoint: &[u8]) -> DispatchResult {
        ensure!(is_endpoint(endpoint), Error::<T>::InvalidEndpoint);
        Ok(())
    }

    /// By how many blocks a heartbeat that costs nothing is newer than the last.
    fn free_heartbeat_interval() -> BlockNumberFor<T> {
        (T::HeartbeatTimeout::get() / 10u32.into()).max(One::one())
    }

    /// Checks the pallet's invariants; see the crate's documentation.
    #[cfg(any(feature = "std", feature = "try-runtime"))]
    pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
        let mut active = 0u32;
        for (worker, record) in Workers::<T>::iter() {
            let slot = ActiveSlot::<T>::get(worker);
            ensure!(slot.is_some() == (record.status == WorkerStatus::Active), "market and status disagree");
            if let Some(slot) = slot {
                active.saturating_inc();
                ensure!(
                    ActiveIndex::<T>::get(slot) == Some(Slot { price: record.price, worker }),
                    "an active worker is not at its slot, or at another price"
                );
            }
            let check = CheckAt::<T>::get(worker);
            for class in shared_classes::<T>(&record) {
                ensure!(
                    Members::<T>::contains_key(class, worker) == (record.status != WorkerStatus::Cordoned),
                    "a worker is not listed under its class, or a cordoned one is"
                );
            }
            ensure!(
                match record.status {
                    WorkerStatus::Active => check.is_some(),
                    WorkerStatus::Unresponsive | WorkerStatus::Cordoned => check.is_none(),
                    WorkerStatus::Draining => true,
                },
                "status and heartbeat check disagree"
            );
            if let Some(challenged) = Challenged::<T>::get(worker) {
                ensure!(challenged > record.last_heartbeat, "an answered challenge is left over");
                ensure!(
                    match record.status {
                        WorkerStatus::Active =>
                            check.is_some_and(|at| Self::last_to_answer(challenged).saturating_add(One::one()) >= at),
                        WorkerStatus::Unresponsive => true,
                        WorkerStatus::Draining | WorkerStatus::Cordoned => false,
                    },
                    "a challenge is not watched, or of a worker that left the market"
                );
            }
            ensure!(Self::tenant(&record.platform) == Some(worker), "a worker does not have its platform");
            ensure!(record.price > 0, "a worker is free");
            ensure!(
                record.running <= T::MaxCapacity::get() && record.performance.capacity <= T::MaxCapacity::get(),
                "a worker has more jobs than any can"
            );
        }
        ensure!(active == ActiveCount::<T>::get(), "a worker in the market is not active");
        ensure!(ActiveIndex::<T>::iter_keys().all(|slot| slot < active), "a slot lies beyond the market's end");
        ensure!(ActiveSlot::<T>::iter_keys().count() as u32 == active, "a slot is left over");
        market::do_try_state::<T>()?;
        let members = Workers::<T>::iter_values().filter(|record| record.status != WorkerStatus::Cordoned).count();
        ensure!(Members::<T>::iter_keys().count() == members.saturating_mul(2), "a member of a class is no worker");
        let checks = Checks::<T>::iter_keys().count();
        ensure!(checks == CheckAt::<T>::iter_keys().count(), "checks and their index disagree");
        for (worker, at) in CheckAt::<T>::iter() {
            ensure!(Workers::<T>::contains_key(worker), "a check of no worker");
            ensure!(Checks::<T>::contains_key(at, worker), "a check is not in its block");
            ensure!(at >= NextCheck::<T>::get(), "a check was passed over");
        }
        ensure!(Challenged::<T>::iter_keys().all(Workers::<T>::contains_key), "a challenge of no worker");
        let claims = pallet_phala_attestation::Platforms::<T>::iter_values()
            .filter(|tenant| matches!(tenant, Tenant::Worker(_)))
            .count();
        ensure!(claims == Workers::<T>::iter_keys().count(), "a platform is claimed by no worker");
        Ok(())
    }
}

impl<T: Config> OnCompromise for Pallet<T> {
    fn on_compromise(class: Class) -> DispatchResult {
        Cordoning::<T>::try_append(class).map_err(|()| Error::<T>::TooManyCordons.into())
    }

    fn on_restore(class: Class) {
        Cordoning::<T>::mutate(|classes| classes.retain(|other| *other != class));
    }
}

/// The classes of a worker that others can be of, too.
fn shared_classes<T: Config>(record: &Worker<T>) -> [Class; 2] {
    [Class::Image(record.measurement), Class::Family(record.family)]
}

/// 128 random bits of a round; another `index` gives others.
fn random(lots: &Hash, index: u32) -> u128 {
    u128::from_le_bytes((lots, index).using_encoded(sp_io::hashing::blake2_128))
}

fn evidence_hash(statement: &Statement, evidence: &Evidence) -> [u8; 32] {
    sp_io::hashing::sha2_256(&(statement, evidence).encode())
}

/// Whether `signature` is `worker`'s own over `message`.
pub fn verify(worker: &WorkerId, message: &[u8], signature: &[u8; 64]) -> bool {
    sp_io::crypto::ed25519_verify(&(*signature).into(), message, &worker.0.into())
}
