//! The pallet's invariants, checked.

use super::*;
use alloc::collections::BTreeMap;
use frame_support::traits::fungible::hold::Inspect;
use sp_runtime::TryRuntimeError;

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants; see the crate's documentation.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let mut escrow = BTreeMap::<T::AccountId, Balance>::new();
        let mut running = BTreeMap::<WorkerId, u32>::new();
        let mut uses = BTreeMap::<AppId, u32>::new();
        let mut queued = 0u64;
        let (mut live, mut ended) = (0usize, 0usize);
        for (id, job) in Jobs::<T>::iter() {
            ensure!(id < NextJob::<T>::get(), "a job from the future");
            match Self::next(&job) {
                Next::Wake(block) => {
                    live.saturating_inc();
                    ensure!(Wakes::<T>::contains_key(block, id), "a live job has no wake");
                    ensure!(block >= NextWake::<T>::get(), "a wake was passed over");
                }
                Next::Forget(block) => {
                    ended.saturating_inc();
                    ensure!(Forgets::<T>::contains_key(block, id), "an ended job is never forgotten");
                    ensure!(block >= NextForget::<T>::get(), "a job was not forgotten when it should have been");
                }
            }
            let is_live = match &job.status {
                JobStatus::Queued => {
                    queued.saturating_inc();
                    true
                }
                JobStatus::Assigned(assignment) => {
                    ensure!(assignment.due <= job.deadline, "an assignment is due after the deadline");
                    ensure!(Assigned::<T>::contains_key(assignment.worker, id), "an assigned job has no worker");
                    let last = Holders::<T>::get(id).last().map(|holder| (holder.worker, holder.since));
                    let named = Some((assignment.worker, assignment.assigned_at));
                    ensure!(last == named, "the last holder of an assigned job is not its worker");
                    running.entry(assignment.worker).or_default().saturating_inc();
                    true
                }
                JobStatus::Settled(settlement) => {
                    let sum = settlement.paid.saturating_add(settlement.treasury).saturating_add(settlement.refund);
                    ensure!(sum == job.max_price, "a settlement does not add up");
                    false
                }
                JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => false,
            };
            if is_live {
                escrow.entry(job.owner).or_default().saturating_accrue(job.max_price);
                uses.entry(job.app).or_default().saturating_inc();
            }
        }
        for (id, holders) in Holders::<T>::iter() {
            let attempts = Jobs::<T>::get(id).map(|job| job.attempts);
            ensure!(attempts == u32::try_from(holders.len()).ok(), "not every attempt at a job has its holder");
        }
        for (owner, amount) in escrow {
            let on_hold = <T as Config>::Currency::balance_on_hold(&HoldReason::Job.into(), &owner);
            ensure!(on_hold == amount, "an owner's escrow is not what is on hold");
        }
        ensure!(Wakes::<T>::iter_keys().count() == live, "a wake of no live job");
        ensure!(Forgets::<T>::iter_keys().count() == ended, "something is to be forgotten that is no ended job");

        let mut entries = BTreeMap::<JobId, u32>::new();
        let new = (QueueHead::<T>::get()..QueueTail::<T>::get(), Queue::<T>::iter().collect::<BTreeMap<_, _>>());
        let waiting = (WaitingHead::<T>::get()..WaitingTail::<T>::get(), Waiting::<T>::iter().collect());
        let now = frame_system::Pallet::<T>::block_number();
        for (positions, list) in [new, waiting] {
            ensure!(list.keys().copied().eq(positions), "a list does not go from its head to its tail");
            ensure!(list.values().is_sorted_by_key(|entry| entry.since), "a list is not in the order of its blocks");
            for Entry { job: id, since } in list.into_values() {
                ensure!(since <= now, "a job waits since a block to come");
                if let Some(job) = Self::queued(id) {
                    ensure!(since >= job.submitted_at, "a job waits since before its submission");
                    entries.entry(id).or_default().saturating_inc();
                }
            }
        }
        ensure!(entries.len() as u64 == queued, "a queued job is in no queue");
        ensure!(entries.values().all(|count| *count == 1), "a job is queued twice");

        ensure!(
            Assigned::<T>::iter_keys().count() as u32 == running.values().sum::<u32>(),
            "a worker has a job that is not assigned to it"
        );
        for (worker, record) in pallet_phala_workers::Workers::<T>::iter() {
            ensure!(running.remove(&worker).unwrap_or(0) == record.running, "a worker miscounts its jobs");
        }
        ensure!(running.is_empty(), "a job is assigned to a worker that is gone");
        for (app, count) in pallet_phala_apps::Uses::<T>::iter() {
            ensure!(uses.remove(&app).unwrap_or(0) == count, "an app miscounts its jobs");
        }
        ensure!(uses.is_empty(), "a job's app does not know of it");
        Ok(())
    }
}
