//! What the hook does in each block: wakes jobs, forgets jobs, and draws workers.

use super::*;
use alloc::vec::Vec;
use codec::Encode;
use frame_support::{
    defensive,
    storage::{StorageMap, StorageValue},
};
use pallet_phala_workers::{OnUnavailable, Unavailable, Worker, market};
use phala_attestation::Tier;

impl<T: Config> Pallet<T> {
    /// Takes overdue jobs from their workers, and ends jobs for which there is no more time.
    pub(crate) fn do_wake(now: BlockNumberFor<T>) -> Weight {
        let first = |block: BlockNumberFor<T>| Wakes::<T>::iter_key_prefix(block).next();
        let (next, woken) = Self::catch_up(NextWake::<T>::get(), now, first, Self::do_wake_one);
        NextWake::<T>::put(next);
        Weights::<T>::wake(woken)
    }

    /// Forgets jobs that ended long ago.
    pub(crate) fn do_forget(now: BlockNumberFor<T>) -> Weight {
        let first = |block: BlockNumberFor<T>| Forgets::<T>::iter_key_prefix(block).next();
        let (next, forgotten) = Self::catch_up(NextForget::<T>::get(), now, first, Self::do_forget_one);
        NextForget::<T>::put(next);
        Weights::<T>::forget(forgotten)
    }

    /// Handles what is noted for the blocks from `block` to `now`, at most [`Config::MaxWakesPerBlock`] entries, each of which
    /// `handle` removes. Answers the block to go on with, and how many entries it was.
    fn catch_up(
        mut block: BlockNumberFor<T>,
        now: BlockNumberFor<T>,
        first: impl Fn(BlockNumberFor<T>) -> Option<JobId>,
        handle: impl Fn(BlockNumberFor<T>, JobId),
    ) -> (BlockNumberFor<T>, u32) {
        let mut handled = 0u32;
        for _ in 0..T::MaxWakesPerBlock::get() {
            if block > now {
                break;
            }
            match first(block) {
                Some(id) => {
                    handle(block, id);
                    handled.saturating_inc();
                }
                // A look at an empty block counts, too.
                None => block.saturating_inc(),
            }
        }
        (block, handled)
    }

    fn do_wake_one(block: BlockNumberFor<T>, id: JobId) {
        let Some(job) = Jobs::<T>::get(id) else {
            defensive!("a wake of no job");
            Wakes::<T>::remove(block, id);
            return;
        };
        match &job.status {
            JobStatus::Queued => Self::expire(id, job),
            JobStatus::Assigned(assignment) => {
                let worker = assignment.worker;
                Self::lose(id, job, worker, RequeueReason::Overdue);
            }
            JobStatus::Settled(_) | JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => {
                defensive!("a wake of a job that has ended");
                Wakes::<T>::remove(block, id);
            }
        }
    }

    fn do_forget_one(block: BlockNumberFor<T>, id: JobId) {
        Forgets::<T>::remove(block, id);
        Holders::<T>::remove(id);
        Jobs::<T>::remove(id);
    }

    /// Looks at jobs that wait and at new ones, as far as there are lots, and draws a worker for each or lets it wait.
    pub(crate) fn do_assign(now: BlockNumberFor<T>) -> Weight {
        let active = market::len::<T>();
        if active == 0 {
            return Weights::<T>::assign(0);
        }
        let looks = Self::looks();
        let count = looks.len() as u32;
        let seconds = Attestation::<T>::now();
        for (id, lots) in looks {
            let Some(job) = Self::queued(id) else { continue };
            if !Self::has_time(&job, now) {
                Self::expire(id, job);
                continue;
            }
            match lots.and_then(|lots| Self::draw(id, &job, active, seconds, &lots)) {
                Some((worker, record)) if Workers::<T>::assign(&worker).is_ok() => {
                    Self::give(id, job, worker, &record, now);
                }
                _ => Self::wait(id),
            }
        }
        Weights::<T>::assign(count)
    }

    /// What this block looks at, those that wait first: of those that wait and of new ones half of the looks each, and
    /// what one of them does not need for the other.
    fn looks() -> Vec<Look> {
        let most = T::MaxAssignmentsPerBlock::get() as usize;
        let mut looks = Self::take::<Waiting<T>, WaitingHead<T>>(WaitingTail::<T>::get(), most / 2);
        let new = Self::take::<Queue<T>, QueueHead<T>>(QueueTail::<T>::get(), most.saturating_sub(looks.len()));
        let left = most.saturating_sub(looks.len()).saturating_sub(new.len());
        looks.extend(Self::take::<Waiting<T>, WaitingHead<T>>(WaitingTail::<T>::get(), left));
        looks.extend(new);
        looks
    }

    /// Takes what is at a list's head, `most` entries at most, up to the first that waits for lots. Jobs that have
    /// ended need none.
    fn take<List, Head>(tail: u64, most: usize) -> Vec<Look>
    where
        List: StorageMap<u64, Entry<BlockNumberFor<T>>, Query = Option<Entry<BlockNumberFor<T>>>>,
        Head: StorageValue<u64, Query = u64>,
    {
        let head = Head::get();
        let mut looks = Vec::new();
        for position in (head..tail).take(most) {
            // None is missing.
            if let Some(Entry { job, since }) = List::get(position) {
                let lots = T::Lots::after(since);
                if lots.is_none() && Self::queued(job).is_some() {
                    break;
                }
                looks.push((job, lots));
            }
            List::remove(position);
            Head::put(position.saturating_add(1));
        }
        looks
    }

    fn give(id: JobId, mut job: Job<T>, worker: WorkerId, record: &Worker<T>, now: BlockNumberFor<T>) {
        let (measurement, platform, family) = (record.measurement, record.platform, record.family);
        if Holders::<T>::try_append(id, Holder { worker, measurement, platform, family, since: now }).is_err() {
            defensive!("a job that has had all its attempts");
        }
        Assigned::<T>::insert(worker, id, ());
        job.attempts = job.attempts.saturating_add(1);
        let attempt = job.attempts;
        let due = Self::due(&job.limits, now);
        Self::change(id, job, JobStatus::Assigned(Assignment { worker, price: record.price, assigned_at: now, due }));
        Self::deposit_event(Event::Assigned { job: id, worker, attempt });
    }

    /// A job's record, if it is queued.
    pub(crate) fn queued(id: JobId) -> Option<Job<T>> {
        Jobs::<T>::get(id).filter(|job| job.status == JobStatus::Queued)
    }

    /// Draws a worker for a job among a sample of the active ones. One whose evidence a TCB recovery will refuse is drawn only
    /// where there is no other, and the one that lost the job last only where there is not even such.
    fn draw(id: JobId, job: &Job<T>, active: u32, seconds: u64, lots: &Hash) -> Option<(WorkerId, Worker<T>)> {
        let last = Holders::<T>::get(id).last().map(|holder| holder.worker);
        let (mut candidates, mut exposed) = (Vec::new(), Vec::new());
        let mut last_resort = None;
        for index in 0..active.min(SAMPLE) {
            let position = if active <= SAMPLE {
                index
            } else {
                // The remainder is below `active`, a `u32`.
                random(lots, id, index).checked_rem(active.into()).and_then(|at| at.try_into().ok()).unwrap_or(0)
            };
            let Some(worker) = market::at::<T>(position) else { continue };
            let Some(record) = Workers::<T>::eligible(&worker, job.limits.fuel, job.max_price, seconds) else {
                continue;
            };
            if last == Some(worker) {
                last_resort = Some((worker, record));
            } else if record.is_exposed() {
                exposed.push((worker, record));
            } else {
                candidates.push((worker, record));
            }
        }
        if candidates.is_empty() {
            candidates = exposed;
        }
        let total = candidates.iter().fold(0u128, |sum, (_, record)| sum.saturating_add(score::<T>(record)));
        let mut ticket = random(lots, id, SAMPLE).checked_rem(total).unwrap_or(0);
        for (worker, record) in candidates {
            match ticket.checked_sub(score::<T>(&record)) {
                Some(rest) => ticket = rest,
                None => return Some((worker, record)),
            }
        }
        last_resort
    }

    /// Ends a live job for which there is no more time.
    fn expire(id: JobId, job: Job<T>) {
        if Self::refund(&job).is_err() {
            defensive!("the escrow of a live job is on hold");
        }
        let at = frame_system::Pallet::<T>::block_number();
        Self::end(id, job, JobStatus::Expired { at });
        Self::deposit_event(Event::Expired { job: id });
    }

    /// Takes a job from its worker and puts it at the queue's end, or ends it when there is no time for another.
    fn lose(id: JobId, job: Job<T>, worker: WorkerId, reason: RequeueReason) {
        // The next block is the first that can assign it.
        let has_time = Self::has_time(&job, frame_system::Pallet::<T>::block_number().saturating_add(One::one()));
        if !has_time || job.attempts >= MAX_ATTEMPTS {
            return Self::expire(id, job);
        }
        Self::unassign(id, &worker);
        Self::change(id, job, JobStatus::Queued);
        Self::enqueue(id);
        Self::deposit_event(Event::Requeued { job: id, worker, reason });
    }
}

impl<T: Config> OnUnavailable for Pallet<T> {
    /// Gives the worker's jobs to others, or ends them; a worker has no more than `MaxCapacity`.
    fn on_unavailable(worker: &WorkerId, why: Unavailable) -> Weight {
        let reason = match why {
            Unavailable::Silent => RequeueReason::WorkerUnresponsive,
            Unavailable::Cordoned => RequeueReason::WorkerCordoned,
        };
        let jobs: Vec<JobId> = Assigned::<T>::iter_key_prefix(worker).collect();
        let count = jobs.len() as u32;
        for id in jobs {
            if let Some(job) = Jobs::<T>::get(id) {
                Self::lose(id, job, *worker, reason);
            }
        }
        Weights::<T>::lose(count)
    }
}

/// A job to look at, and what draws its worker: `None` when the job has ended.
type Look = (JobId, Option<Hash>);

/// Speed × free capacity ÷ price, and half of it for the limited tier, scaled so that cheap and dear workers differ; at least
/// one.
fn score<T: Config>(worker: &Worker<T>) -> u128 {
    /// At most 2⁶⁴ fuel × 2²⁰ jobs × this is below 2¹²⁴, so that sixteen of them add up.
    const SCALE: u128 = 1 << 36;
    let free = worker.performance.capacity.saturating_sub(worker.running);
    let scale = match worker.tier {
        Tier::Full => SCALE,
        Tier::Limited => SCALE / 2,
    };
    u128::from(worker.performance.fuel_per_second)
        .saturating_mul(free.into())
        .saturating_mul(scale)
        .checked_div(worker.price)
        .unwrap_or(1)
        .max(1)
}

/// 128 random bits for a job; another `index` gives others.
fn random(lots: &Hash, id: JobId, index: u32) -> u128 {
    u128::from_le_bytes((lots, id, index).using_encoded(sp_io::hashing::blake2_128))
}
