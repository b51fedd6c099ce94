//! Jobs: escrow, assignment, receipts, settlement.
//!
//! A user submits a job for an app and puts the most that it may cost on hold. As soon as there are [`Lots`] that were
//! not known then, the hook of a following block draws a worker for it. The worker's enclave runs it and signs a
//! receipt; whoever brings the receipt settles the job: the operator is paid for the fuel used, the treasury gets its
//! share, the owner the rest.
//!
//! ```text
//!             ┌────────── overdue, worker unresponsive ──────────┐
//!             ▼                                                  │
//! submit ──► Queued ──────────── a worker is drawn ─────────► Assigned ── receipt ──► Settled
//!             │ └──── no time ─────► Expired ◄──── no time ──────┘
//!             └─ cancel ─► Cancelled
//! ```
//!
//! A job that is assigned in block *b* is due at *b* + its wall time + [`Config::ReceiptGrace`]. It is taken, queued and
//! assigned only as long as that is no later than its deadline: then there is *time* for it. One that [`MAX_ATTEMPTS`] workers
//! lost has none, either.
//!
//! # Who could read it
//! A worker that has a job can read all of it. [`Holders`] has everyone that had one, and what it ran on, for as long as the job
//! is kept: once a class is declared broken, that tells which jobs it touched.
//!
//! # Invariants
//! - *Conservation*: what is on hold of an account for [`HoldReason::Job`] is the sum of `max_price` of its live jobs; at the
//!   end of a job `paid + treasury + refund = max_price`. No call and no hook makes or destroys PHA.
//! - *Once*: an ended job never changes again, so that a job is paid at most once.
//! - Each queued job is in [`Queue`] or in [`Waiting`], exactly once; each assigned job is in [`Assigned`], and a worker's
//!   `running` is their number.
//! - Both lists are in the order of the blocks since which their jobs wait for lots: if there are none for the first,
//!   there are none for any.
//! - A job is drawn by lots of a later block than the one in which it was queued, or last looked at.
//! - *Liveness*: every job ends and is forgotten, with lots or without. Each live one is in [`Wakes`] exactly once, at
//!   the block in which it has to be looked at: a queued one when there is no more time for it, an assigned one after
//!   its `due`. Each ended one is in [`Forgets`] exactly once, at the block after [`Config::Retention`].
//! - The hook looks at no more than [`Config::MaxWakesPerBlock`] entries of [`Wakes`], as many of [`Forgets`], and
//!   [`Config::MaxAssignmentsPerBlock`] of [`Queue`] and [`Waiting`] in a block, and the rest waits for the next. However many
//!   jobs end, none that is live is looked at later for it.
//!
//! # Whose turn it is
//! New jobs, and those that their worker lost, come to [`Queue`]; one for which no worker is found goes on to [`Waiting`], and
//! from there to its end again. In each block both have half of the looks, and what one does not need the other gets. Those that
//! wait come first. So jobs for which there is no worker do not keep others from the first look, however many they are.
//!
//! A job that was queued, or looked at in vain, in block *b* has its look when there are lots of a later block
//! ([`Lots::after`]). Until then it stays where it is, and so do all behind it, as they came later.
//!
//! # How a worker is drawn
//! Up to [`SAMPLE`] active workers are looked at: all when there are no more, else as many draws. Of those that may get the
//! job one is drawn with a probability in proportion to speed × free capacity ÷ price. The worker that lost the job last
//! gets it back only if no other can have it; one whose evidence a TCB recovery will refuse is drained before that happens: it
//! gets a job only if none of the rest can. A worker of a broken class gets none. Jobs of the same lots are drawn
//! independently, as a job's number is mixed in.
//!
//! # Attacks
//! - *A receipt that somebody else made*: it is signed by the key that evidence bound to an allowed image.
//! - *A receipt for another job, attempt, chain or program, or after its due*: each is checked and has its error.
//! - *Fuel made up by the host*: the enclave signs it, and more than the limit is refused.
//! - *Freezing an account so that its escrow cannot be taken*: settlement overrides freezes, and only on its own hold.
//! - *Computation for free*, by a deadline that only the receipt misses: a job is due no later than its deadline.
//! - *Places taken by jobs that nobody starts*: whose fault that is, the chain cannot tell, so every job pays
//!   [`Config::PlaceFee`] for each block until its deadline, whatever becomes of it.
//! - *A predictable draw*: who knew the lots could submit a job when they favour a friend's worker. So it waits for
//!   later ones than those that may have been known, and for still later ones after a look in vain. While there are
//!   none, nothing else draws.
//! - *Workers that fit known lots*: who knows lots before the block that uses them could register workers, or change
//!   prices, until they favour the one that it wants. So nobody may know them but the author of that block's parent
//!   ([`Lots`]). It decides what is in its block, or withholds it.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    any(test, feature = "runtime-benchmarks"),
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod assign;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod properties;
mod settle;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
use types::Next;
pub use types::{Entry, Lots, RequeueReason};
pub use weights::WeightInfo;

use alloc::boxed::Box;
use frame_support::{
    dispatch::PostDispatchInfo,
    pallet_prelude::*,
    traits::{
        UnixTime,
        fungible::{self, hold::Mutate},
        tokens::{Precision, Preservation},
    },
};
use frame_system::pallet_prelude::*;
use phala_primitives::{
    AppId, Balance, Hash, JobId, Limits, Outcome, SignedReceipt, WorkerId,
    job::{Assignment, Holder, JobStatus, Visibility},
    units::fee,
};
use sp_runtime::{
    Permill, SaturatedConversion,
    traits::{One, Saturating, Zero},
};

/// How many active workers are looked at for one job.
pub const SAMPLE: u32 = 16;

/// How many workers get a job, one after the other, before it ends without a result.
pub const MAX_ATTEMPTS: u32 = 32;

/// A job's record.
pub type Job<T> = phala_primitives::job::Job<<T as frame_system::Config>::AccountId, BlockNumberFor<T>>;

type Apps<T> = pallet_phala_apps::Pallet<T>;
type Attestation<T> = pallet_phala_attestation::Pallet<T>;
type Workers<T> = pallet_phala_workers::Pallet<T>;
type Weights<T> = <T as Config>::WeightInfo;

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
        frame_system::Config<RuntimeEvent: From<Event<Self>>> + pallet_phala_workers::Config + pallet_phala_apps::Config
    {
        /// Where escrow is held and paid from.
        type Currency: Mutate<Self::AccountId, Reason = <Self as Config>::RuntimeHoldReason, Balance = Balance>
            + fungible::Mutate<Self::AccountId>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// What draws workers.
        type Lots: Lots<BlockNumberFor<Self>>;
        /// The treasury's account.
        type Treasury: Get<Self::AccountId>;
        /// The treasury's share of each fee.
        #[pallet::constant]
        type TreasuryShare: Get<Permill>;
        /// What a job costs for each block from its submission to its deadline, whatever becomes of it: for the places that it
        /// may take from others. The treasury gets it.
        #[pallet::constant]
        type PlaceFee: Get<Balance>;
        /// The time between two blocks, in milliseconds.
        #[pallet::constant]
        type MillisecsPerBlock: Get<u64>;
        /// How many blocks a worker has beyond the job's wall time limit.
        #[pallet::constant]
        type ReceiptGrace: Get<BlockNumberFor<Self>>;
        /// How many blocks ahead a deadline may be.
        #[pallet::constant]
        type MaxDeadline: Get<BlockNumberFor<Self>>;
        /// How many blocks an ended job stays in storage.
        #[pallet::constant]
        type Retention: Get<BlockNumberFor<Self>>;
        /// The most queue entries looked at in one block: at least two.
        #[pallet::constant]
        type MaxAssignmentsPerBlock: Get<u32>;
        /// The most jobs woken in one block: those that are overdue or have no more time. As many are forgotten.
        #[pallet::constant]
        type MaxWakesPerBlock: Get<u32>;
        /// Measured weights.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The most that live jobs may cost.
        Job,
    }

    /// Every job that is live, or ended less than [`Config::Retention`] blocks ago.
    #[pallet::storage]
    pub type Jobs<T: Config> = StorageMap<_, Twox64Concat, JobId, Job<T>>;

    /// The number of the next job.
    #[pallet::storage]
    pub type NextJob<T> = StorageValue<_, JobId, ValueQuery>;

    /// New jobs, and those that their worker lost: no worker was looked for since. First come first served, from
    /// [`QueueHead`] to before [`QueueTail`]. Jobs that ended meanwhile are skipped.
    #[pallet::storage]
    pub type Queue<T: Config> = StorageMap<_, Twox64Concat, u64, Entry<BlockNumberFor<T>>>;

    /// The first position of [`Queue`].
    #[pallet::storage]
    pub type QueueHead<T> = StorageValue<_, u64, ValueQuery>;

    /// The position after the last of [`Queue`].
    #[pallet::storage]
    pub type QueueTail<T> = StorageValue<_, u64, ValueQuery>;

    /// The jobs for which no worker was found so far, in turn, from [`WaitingHead`] to before [`WaitingTail`]. Jobs that ended
    /// meanwhile are skipped.
    #[pallet::storage]
    pub type Waiting<T: Config> = StorageMap<_, Twox64Concat, u64, Entry<BlockNumberFor<T>>>;

    /// The first position of [`Waiting`].
    #[pallet::storage]
    pub type WaitingHead<T> = StorageValue<_, u64, ValueQuery>;

    /// The position after the last of [`Waiting`].
    #[pallet::storage]
    pub type WaitingTail<T> = StorageValue<_, u64, ValueQuery>;

    /// The jobs that each worker has.
    #[pallet::storage]
    pub type Assigned<T> = StorageDoubleMap<_, Blake2_128Concat, WorkerId, Twox64Concat, JobId, ()>;

    /// Who was given each job, in turn, until it is forgotten: at most [`MAX_ATTEMPTS`].
    #[pallet::storage]
    pub type Holders<T: Config> =
        StorageMap<_, Twox64Concat, JobId, BoundedVec<Holder<BlockNumberFor<T>>, ConstU32<MAX_ATTEMPTS>>, ValueQuery>;

    /// In which block to look at a live job again.
    #[pallet::storage]
    pub type Wakes<T: Config> = StorageDoubleMap<_, Twox64Concat, BlockNumberFor<T>, Twox64Concat, JobId, ()>;

    /// The oldest block whose [`Wakes`] may be unfinished.
    #[pallet::storage]
    pub type NextWake<T: Config> = StorageValue<_, BlockNumberFor<T>, ValueQuery>;

    /// In which block to forget an ended job.
    #[pallet::storage]
    pub type Forgets<T: Config> = StorageDoubleMap<_, Twox64Concat, BlockNumberFor<T>, Twox64Concat, JobId, ()>;

    /// The oldest block whose [`Forgets`] may be unfinished.
    #[pallet::storage]
    pub type NextForget<T: Config> = StorageValue<_, BlockNumberFor<T>, ValueQuery>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A job was submitted and its most possible price put on hold.
        Submitted {
            /// The job.
            job: JobId,
            /// Who pays.
            owner: T::AccountId,
            /// What it runs.
            app: AppId,
            /// What the treasury got for the places that it may take.
            place_fee: Balance,
        },
        /// A worker has the job.
        Assigned {
            /// The job.
            job: JobId,
            /// Who runs it.
            worker: WorkerId,
            /// Which assignment this is: 1 for the first.
            attempt: u32,
        },
        /// A worker lost the job; it waits for another.
        Requeued {
            /// The job.
            job: JobId,
            /// Who lost it.
            worker: WorkerId,
            /// Why.
            reason: RequeueReason,
        },
        /// A receipt ended the job. `paid + treasury + refund` is what was on hold.
        Settled {
            /// The job.
            job: JobId,
            /// Who ran it.
            worker: WorkerId,
            /// How it ended.
            outcome: Outcome,
            /// Fuel used.
            fuel: u64,
            /// What the operator got.
            paid: Balance,
            /// What the treasury got.
            treasury: Balance,
            /// What the owner got back.
            refund: Balance,
        },
        /// The owner cancelled the job and got back what was on hold.
        Cancelled {
            /// The job.
            job: JobId,
        },
        /// No worker could end the job by its deadline any more, or [`MAX_ATTEMPTS`] lost it; the owner got back what was on
        /// hold.
        Expired {
            /// The job.
            job: JobId,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// There is no such app.
        UnknownApp,
        /// The app is private, and the sender did not publish it.
        NotPublisher,
        /// The app's publisher has taken it back: it gets no more jobs.
        AppRetired,
        /// A limit is zero or more than any worker accepts.
        LimitsOutOfRange,
        /// Only one worker can run a job so far: redundancy must be 1.
        RedundancyUnsupported,
        /// The deadline leaves no time for the job's wall time limit and its receipt.
        DeadlineTooSoon,
        /// The deadline is too far in the future.
        DeadlineTooFar,
        /// The cheapest active worker asks for more than the job pays for its fuel.
        PriceBelowMarket,
        /// The sender cannot put the job's price on hold, pay for its place and keep its account.
        InsufficientBalance,
        /// There is no such job (any more).
        UnknownJob,
        /// The sender did not submit the job.
        NotOwner,
        /// A worker has the job already: it can no longer be cancelled.
        AlreadyAssigned,
        /// A receipt settled the job before.
        AlreadySettled,
        /// The job was cancelled or has expired.
        AlreadyEnded,
        /// The job is not assigned to the worker that signed the receipt.
        NotAssigned,
        /// The receipt belongs to another assignment of the job.
        WrongAttempt,
        /// The receipt came after its due.
        ReceiptTooLate,
        /// The receipt was made for another chain.
        WrongGenesis,
        /// The receipt is for another app.
        WrongApp,
        /// The receipt names another program than the app.
        WrongCode,
        /// The receipt names another image than the worker's.
        WrongMeasurement,
        /// The worker's image is not allowed (any more).
        ImageNotAllowed,
        /// The worker's image, platform or family was declared broken.
        WorkerBroken,
        /// The receipt names a block that is not this chain's or was before the assignment.
        WrongBlock,
        /// The receipt claims more fuel than the job allows.
        FuelOverLimit,
        /// The receipt is not signed by the worker.
        BadSignature,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            Self::do_wake(now).saturating_add(Self::do_forget(now)).saturating_add(Self::do_assign(now))
        }

        fn integrity_test() {
            assert!(T::MillisecsPerBlock::get() > 0, "blocks take time");
            assert!(T::MaxWakesPerBlock::get() > 0, "jobs are woken");
            assert!(T::MaxAssignmentsPerBlock::get() > 1, "both new and waiting jobs are looked at");
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_now: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call(weight(<T as Config>::WeightInfo))]
    impl<T: Config> Pallet<T> {
        /// Submits a job, puts `max_price` on hold until it ends, and pays for its place until `deadline`, the last block in
        /// which a receipt can end it. `secret_commitment` is
        /// [`secret_commitment`](phala_primitives::job::secret_commitment) of a secret that only the owner and the enclave
        /// learn. While no worker is active every price is accepted, and the job waits.
        #[pallet::call_index(0)]
        pub fn submit(
            origin: OriginFor<T>,
            app: AppId,
            limits: Limits,
            max_price: Balance,
            deadline: BlockNumberFor<T>,
            redundancy: u8,
            secret_commitment: Hash,
        ) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_submit(owner, app, limits, max_price, deadline, redundancy, secret_commitment)
        }

        /// Cancels a job that no worker has, and returns what is on hold.
        #[pallet::call_index(1)]
        pub fn cancel(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_cancel(owner, job)
        }

        /// Ends a job by the receipt of its worker. Anybody may bring it, and pays no fee when it is accepted.
        #[pallet::call_index(2)]
        pub fn submit_receipt(origin: OriginFor<T>, receipt: Box<SignedReceipt>) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_submit_receipt(*receipt)?;
            Ok(PostDispatchInfo { actual_weight: None, pays_fee: Pays::No })
        }
    }
}

impl<T: Config> Pallet<T> {
    fn do_submit(
        owner: T::AccountId,
        app: AppId,
        limits: Limits,
        max_price: Balance,
        deadline: BlockNumberFor<T>,
        redundancy: u8,
        secret_commitment: Hash,
    ) -> DispatchResult {
        let record = pallet_phala_apps::Apps::<T>::get(app).ok_or(Error::<T>::UnknownApp)?;
        match record.visibility {
            Visibility::Public => (),
            Visibility::Private => ensure!(record.publisher == owner, Error::<T>::NotPublisher),
        }
        ensure!(!record.retired, Error::<T>::AppRetired);
        ensure!(limits.is_valid(), Error::<T>::LimitsOutOfRange);
        ensure!(redundancy == 1, Error::<T>::RedundancyUnsupported);
        let now = frame_system::Pallet::<T>::block_number();
        // The next block is the first that can assign it.
        ensure!(Self::due(&limits, now.saturating_add(One::one())) <= deadline, Error::<T>::DeadlineTooSoon);
        let blocks = deadline.saturating_sub(now);
        ensure!(blocks <= T::MaxDeadline::get(), Error::<T>::DeadlineTooFar);
        if let Some(cheapest) = Workers::<T>::cheapest() {
            ensure!(max_price >= fee(limits.fuel, cheapest), Error::<T>::PriceBelowMarket);
        }
        <T as Config>::Currency::hold(&HoldReason::Job.into(), &owner, max_price)
            .map_err(|_| Error::<T>::InsufficientBalance)?;
        let place_fee = T::PlaceFee::get().saturating_mul(blocks.saturated_into());
        let treasury = T::Treasury::get();
        <<T as Config>::Currency as fungible::Mutate<_>>::transfer(
            &owner,
            &treasury,
            place_fee,
            Preservation::Preserve,
        )
        .map_err(|_| Error::<T>::InsufficientBalance)?;

        let id = NextJob::<T>::get();
        NextJob::<T>::put(id.saturating_add(1));
        let job = Job::<T> {
            owner: owner.clone(),
            app,
            limits,
            max_price,
            deadline,
            redundancy,
            secret_commitment,
            submitted_at: now,
            submitted_at_ms: u64::try_from(T::Time::now().as_millis()).unwrap_or(u64::MAX),
            attempts: 0,
            status: JobStatus::Queued,
        };
        Self::schedule(id, &job);
        Jobs::<T>::insert(id, job);
        Self::enqueue(id);
        Apps::<T>::acquire(&app);
        Self::deposit_event(Event::Submitted { job: id, owner, app, place_fee });
        Ok(())
    }

    fn do_cancel(owner: T::AccountId, id: JobId) -> DispatchResult {
        let job = Jobs::<T>::get(id).ok_or(Error::<T>::UnknownJob)?;
        ensure!(job.owner == owner, Error::<T>::NotOwner);
        match job.status {
            JobStatus::Queued => (),
            JobStatus::Assigned(_) => return Err(Error::<T>::AlreadyAssigned.into()),
            JobStatus::Settled(_) => return Err(Error::<T>::AlreadySettled.into()),
            JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => return Err(Error::<T>::AlreadyEnded.into()),
        }
        Self::refund(&job)?;
        let at = frame_system::Pallet::<T>::block_number();
        Self::end(id, job, JobStatus::Cancelled { at });
        Self::deposit_event(Event::Cancelled { job: id });
        Ok(())
    }

    /// Puts a job that has had no look yet at the queue's end.
    fn enqueue(id: JobId) {
        let tail = QueueTail::<T>::get();
        Queue::<T>::insert(tail, Self::entry(id));
        QueueTail::<T>::put(tail.saturating_add(1));
    }

    /// Puts a job that was looked at in vain at the end of those that wait.
    fn wait(id: JobId) {
        let tail = WaitingTail::<T>::get();
        Waiting::<T>::insert(tail, Self::entry(id));
        WaitingTail::<T>::put(tail.saturating_add(1));
    }

    /// What a list has of a job that waits for lots from now on.
    fn entry(job: JobId) -> Entry<BlockNumberFor<T>> {
        Entry { job, since: frame_system::Pallet::<T>::block_number() }
    }

    /// How many blocks a worker has for a job with these limits: its wall time, and a while for the receipt.
    fn term(limits: &Limits) -> BlockNumberFor<T> {
        let wall_blocks = limits.wall_ms.div_ceil(T::MillisecsPerBlock::get().max(1));
        let wall_blocks = BlockNumberFor::<T>::from(u32::try_from(wall_blocks).unwrap_or(u32::MAX));
        wall_blocks.saturating_add(T::ReceiptGrace::get())
    }

    /// The last block in which a worker that gets a job in block `at` may bring its receipt.
    fn due(limits: &Limits, at: BlockNumberFor<T>) -> BlockNumberFor<T> {
        at.saturating_add(Self::term(limits))
    }

    /// Whether a worker that gets the job in block `at` is due no later than the deadline.
    fn has_time(job: &Job<T>, at: BlockNumberFor<T>) -> bool {
        Self::due(&job.limits, at) <= job.deadline
    }

    /// What is due for a job next, and when.
    fn next(job: &Job<T>) -> Next<BlockNumberFor<T>> {
        let after = |last: BlockNumberFor<T>| last.saturating_add(One::one());
        let forget = |ended: BlockNumberFor<T>| Next::Forget(after(ended.saturating_add(T::Retention::get())));
        match &job.status {
            JobStatus::Queued => Next::Wake(after(job.deadline.saturating_sub(Self::term(&job.limits)))),
            JobStatus::Assigned(assignment) => Next::Wake(after(assignment.due)),
            JobStatus::Settled(settlement) => forget(settlement.at),
            JobStatus::Cancelled { at } | JobStatus::Expired { at } => forget(*at),
        }
    }

    /// Notes what is due for a job next.
    fn schedule(id: JobId, job: &Job<T>) {
        match Self::next(job) {
            Next::Wake(block) => Wakes::<T>::insert(block, id, ()),
            Next::Forget(block) => Forgets::<T>::insert(block, id, ()),
        }
    }

    /// Replaces a live job's status, and what is due for it next.
    fn change(id: JobId, mut job: Job<T>, status: JobStatus<T::AccountId, BlockNumberFor<T>>) {
        if let Next::Wake(block) = Self::next(&job) {
            Wakes::<T>::remove(block, id);
        }
        job.status = status;
        Self::schedule(id, &job);
        Jobs::<T>::insert(id, job);
    }

    /// Ends a live job whose escrow is gone, and forgets everything that a live job has.
    fn end(id: JobId, job: Job<T>, status: JobStatus<T::AccountId, BlockNumberFor<T>>) {
        if let JobStatus::Assigned(assignment) = &job.status {
            Self::unassign(id, &assignment.worker);
        }
        Apps::<T>::release(&job.app);
        Self::change(id, job, status);
    }

    fn unassign(id: JobId, worker: &WorkerId) {
        Assigned::<T>::remove(worker, id);
        Workers::<T>::release(worker);
    }

    /// Returns the whole escrow.
    fn refund(job: &Job<T>) -> DispatchResult {
        if !job.max_price.is_zero() {
            <T as Config>::Currency::release(&HoldReason::Job.into(), &job.owner, job.max_price, Precision::Exact)?;
        }
        Ok(())
    }
}
