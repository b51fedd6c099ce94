//! What the hook does in each block: wakes jobs, and draws workers.

use super::*;
use alloc::vec::Vec;
use codec::Encode;
use frame_support::defensive;
use pallet_phala_workers::{OnUnavailable, market};

impl<T: Config> Pallet<T> {
    /// Takes overdue jobs from their workers, ends jobs for which there is no more time, and forgets those that ended long
    /// ago.
    pub(crate) fn do_wake(now: BlockNumberFor<T>) -> Weight {
        let mut block = NextWake::<T>::get();
        let mut left = T::MaxWakesPerBlock::get();
        let mut woken = 0u32;
        while block <= now && left > 0 {
            if let Some(id) = Wakes::<T>::iter_key_prefix(block).next() {
                Self::do_wake_one(block, id);
                woken.saturating_inc();
            } else {
                // A look at an empty block counts, too.
                block.saturating_inc();
            }
            left.saturating_dec();
        }
        NextWake::<T>::put(block);
        Weights::<T>::wake(woken)
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
                Wakes::<T>::remove(block, id);
                Jobs::<T>::remove(id);
            }
        }
    }

    /// Looks at the queue from its head on, and draws a worker for each job or moves the job to the queue's end.
    pub(crate) fn do_assign(now: BlockNumberFor<T>) -> Weight {
        let active = market::len::<T>();
        let start = QueueHead::<T>::get();
        let end = QueueTail::<T>::get().min(start.saturating_add(T::MaxAssignmentsPerBlock::get().into()));
        if active == 0 || start == end {
            return Weights::<T>::assign(0);
        }
        let seed = Self::seed(now);
        let seconds = Attestation::<T>::now();
        for position in start..end {
            let Some(id) = Queue::<T>::take(position) else { continue };
            let Some(job) = Jobs::<T>::get(id).filter(|job| job.status == JobStatus::Queued) else { continue };
            if !Self::has_time(&job, now) {
                Self::expire(id, job);
                continue;
            }
            match Self::draw(id, &job, active, seconds, &seed) {
                Some((worker, price)) if Workers::<T>::assign(&worker).is_ok() => {
                    Self::give(id, job, worker, price, now);
                }
                _ => Self::enqueue(id),
            }
        }
        QueueHead::<T>::put(end);
        Weights::<T>::assign(u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX))
    }

    fn give(id: JobId, mut job: Job<T>, worker: WorkerId, price: Balance, now: BlockNumberFor<T>) {
        LastWorker::<T>::remove(id);
        Assigned::<T>::insert(worker, id, ());
        job.attempts = job.attempts.saturating_add(1);
        let attempt = job.attempts;
        let due = Self::due(&job.limits, now);
        Self::change(id, job, JobStatus::Assigned(Assignment { worker, price, assigned_at: now, due }));
        Self::deposit_event(Event::Assigned { job: id, worker, attempt });
    }

    /// Draws a worker for a job among a sample of the active ones.
    fn draw(id: JobId, job: &Job<T>, active: u32, seconds: u64, seed: &Hash) -> Option<(WorkerId, Balance)> {
        let last = LastWorker::<T>::get(id);
        let mut candidates = Vec::new();
        let mut last_resort = None;
        for index in 0..active.min(SAMPLE) {
            let position = if active <= SAMPLE {
                index
            } else {
                // The remainder is below `active`, a `u32`.
                random(seed, id, index).checked_rem(active.into()).and_then(|at| at.try_into().ok()).unwrap_or(0)
            };
            let Some(worker) = market::at::<T>(position) else { continue };
            let Some(record) = Workers::<T>::eligible(&worker, job.limits.fuel, job.max_price, seconds) else {
                continue;
            };
            if last == Some(worker) {
                last_resort = Some((worker, record.price));
                continue;
            }
            candidates.push((worker, record.price, score(&record)));
        }
        let total = candidates.iter().fold(0u128, |sum, (_, _, score)| sum.saturating_add(*score));
        let mut ticket = random(seed, id, SAMPLE).checked_rem(total).unwrap_or(0);
        for (worker, price, score) in candidates {
            match ticket.checked_sub(score) {
                Some(rest) => ticket = rest,
                None => return Some((worker, price)),
            }
        }
        last_resort
    }

    /// This block's randomness. Nothing that an author can choose goes into it as long as the source gives a value.
    fn seed(now: BlockNumberFor<T>) -> Hash {
        let (random, _) = T::Randomness::random(b"phala/jobs");
        let random = random.unwrap_or_else(frame_system::Pallet::<T>::parent_hash);
        (random, now).using_encoded(sp_io::hashing::blake2_256)
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
        if !Self::has_time(&job, frame_system::Pallet::<T>::block_number()) {
            return Self::expire(id, job);
        }
        Self::unassign(id, &worker);
        LastWorker::<T>::insert(id, worker);
        Self::change(id, job, JobStatus::Queued);
        Self::enqueue(id);
        Self::deposit_event(Event::Requeued { job: id, worker, reason });
    }
}

impl<T: Config> OnUnavailable for Pallet<T> {
    /// Gives the worker's jobs to others, or ends them; a worker has no more than `MaxCapacity`.
    fn on_unavailable(worker: &WorkerId) -> Weight {
        let jobs: Vec<JobId> = Assigned::<T>::iter_key_prefix(worker).collect();
        let count = jobs.len() as u32;
        for id in jobs {
            if let Some(job) = Jobs::<T>::get(id) {
                Self::lose(id, job, *worker, RequeueReason::WorkerUnresponsive);
            }
        }
        Weights::<T>::lose(count)
    }
}

/// Speed × free capacity ÷ price, scaled so that cheap and dear workers differ; at least one.
fn score<AccountId, BlockNumber>(worker: &phala_primitives::worker::Worker<AccountId, BlockNumber>) -> u128 {
    /// At most 2⁶⁴ fuel × 2²⁰ jobs × this is below 2¹²⁴, so that sixteen of them add up.
    const SCALE: u128 = 1 << 36;
    let free = worker.performance.capacity.saturating_sub(worker.running);
    u128::from(worker.performance.fuel_per_second)
        .saturating_mul(free.into())
        .saturating_mul(SCALE)
        .checked_div(worker.price)
        .unwrap_or(1)
        .max(1)
}

/// 128 random bits for a job; another `index` gives others.
fn random(seed: &Hash, id: JobId, index: u32) -> u128 {
    u128::from_le_bytes((seed, id, index).using_encoded(sp_io::hashing::blake2_128))
}
