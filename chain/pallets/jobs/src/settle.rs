//! Receipts, and who gets what.

use super::*;
use codec::Encode;
use frame_support::{
    storage::with_storage_layer,
    traits::tokens::{Fortitude, Restriction},
};
use phala_attestation::Role;
use phala_primitives::{Receipt, job::Settlement};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_receipt(signed: SignedReceipt) -> DispatchResult {
        let receipt = &signed.receipt;
        let id = receipt.job;
        let job = Jobs::<T>::get(id).ok_or(Error::<T>::UnknownJob)?;
        let (assignment, worker) = Self::ensure_receipt(&job, &signed)?;

        let at = frame_system::Pallet::<T>::block_number();
        let fee = fee(receipt.fuel.min(job.limits.fuel), assignment.price).min(job.max_price);
        let (paid, treasury, refund) = Self::pay(&job, &worker.operator, fee)?;
        let settlement = Settlement {
            worker: receipt.worker,
            operator: worker.operator,
            outcome: receipt.outcome,
            fuel: receipt.fuel,
            paid,
            treasury,
            refund,
            input_hash: receipt.input_hash,
            output_hash: receipt.output_hash,
            receipt_hash: sp_io::hashing::sha2_256(&signed.encode()),
            at,
        };
        Self::end(id, job, JobStatus::Settled(settlement));
        let Receipt { worker, outcome, fuel, .. } = signed.receipt;
        Self::deposit_event(Event::Settled { job: id, worker, outcome, fuel, paid, treasury, refund });
        Ok(())
    }

    /// Checks everything about a receipt, the signature last because it costs most.
    fn ensure_receipt(
        job: &Job<T>,
        signed: &SignedReceipt,
    ) -> Result<(Assignment<BlockNumberFor<T>>, pallet_phala_workers::Worker<T>), DispatchError> {
        let receipt = &signed.receipt;
        let assignment = match &job.status {
            JobStatus::Assigned(assignment) => *assignment,
            JobStatus::Queued => return Err(Error::<T>::NotAssigned.into()),
            JobStatus::Settled(_) => return Err(Error::<T>::AlreadySettled.into()),
            JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => return Err(Error::<T>::AlreadyEnded.into()),
        };
        ensure!(receipt.worker == assignment.worker, Error::<T>::NotAssigned);
        ensure!(receipt.attempt == job.attempts, Error::<T>::WrongAttempt);
        let now = frame_system::Pallet::<T>::block_number();
        ensure!(now <= assignment.due, Error::<T>::ReceiptTooLate);
        ensure!(receipt.genesis_hash == Attestation::<T>::genesis_hash(), Error::<T>::WrongGenesis);
        ensure!(receipt.app == job.app, Error::<T>::WrongApp);
        let app = pallet_phala_apps::Apps::<T>::get(job.app).ok_or(Error::<T>::UnknownApp)?;
        ensure!(receipt.code_hash == app.code_hash, Error::<T>::WrongCode);
        let worker = pallet_phala_workers::Workers::<T>::get(receipt.worker).ok_or(Error::<T>::NotAssigned)?;
        ensure!(receipt.measurement == worker.measurement.0, Error::<T>::WrongMeasurement);
        ensure!(Attestation::<T>::image_allowed(&worker.measurement, Role::Worker), Error::<T>::ImageNotAllowed);
        ensure!(!Workers::<T>::is_broken(&worker), Error::<T>::WorkerBroken);
        ensure!(Self::is_block_of(receipt, &assignment, now), Error::<T>::WrongBlock);
        ensure!(receipt.fuel <= job.limits.fuel, Error::<T>::FuelOverLimit);
        ensure!(
            pallet_phala_workers::verify(&receipt.worker, &receipt.signed_bytes(), &signed.signature),
            Error::<T>::BadSignature
        );
        Ok((assignment, worker))
    }

    /// Whether the enclave saw the assignment in a block of this chain. A block that the chain has forgotten is believed:
    /// a job may run longer than `BlockHashCount` blocks.
    fn is_block_of(receipt: &Receipt, assignment: &Assignment<BlockNumberFor<T>>, now: BlockNumberFor<T>) -> bool {
        let number = BlockNumberFor::<T>::from(receipt.block_number);
        let forgotten = now.saturating_sub(number) > <T as frame_system::Config>::BlockHashCount::get();
        number >= assignment.assigned_at
            && number < now
            && (forgotten || Attestation::<T>::is_block(receipt.block_number, &receipt.block_hash))
    }

    /// Divides a job's escrow: the treasury's share of `fee`, the operator's rest of it, the owner's refund. A share that is
    /// too small for its receiver's account to exist goes back to the owner with the refund.
    fn pay(job: &Job<T>, operator: &T::AccountId, fee: Balance) -> Result<(Balance, Balance, Balance), DispatchError> {
        let share = T::TreasuryShare::get().mul_floor(fee);
        let paid = Self::pay_out(&job.owner, operator, fee.saturating_sub(share));
        let treasury = Self::pay_out(&job.owner, &T::Treasury::get(), share);
        let refund = job.max_price.saturating_sub(paid).saturating_sub(treasury);
        if !refund.is_zero() {
            <T as Config>::Currency::release(&HoldReason::Job.into(), &job.owner, refund, Precision::Exact)?;
        }
        Ok((paid, treasury, refund))
    }

    /// Moves `amount` from the owner's escrow to `receiver`; answers what arrived: all or nothing.
    fn pay_out(owner: &T::AccountId, receiver: &T::AccountId, amount: Balance) -> Balance {
        if amount.is_zero() {
            return 0;
        }
        with_storage_layer(|| {
            <T as Config>::Currency::transfer_on_hold(
                &HoldReason::Job.into(),
                owner,
                receiver,
                amount,
                Precision::Exact,
                Restriction::Free,
                Fortitude::Force,
            )
        })
        .unwrap_or_default()
    }
}
