//! Benchmarks of every call and of the hook's parts.

use super::*;
use frame_benchmarking::v2::*;
use frame_support::traits::fungible;
use frame_system::RawOrigin;
use pallet_phala_workers::{
    OnUnavailable,
    enclave::{Enclave, MEASUREMENT, accept, enter_block},
};
use phala_primitives::Receipt;

/// The block in which everything before the benchmark happens.
const NOW: u32 = 1_000;

/// When jobs are due, too, so that they expire while they are assigned.
const DEADLINE: u32 = NOW + 10;

const CODE: Hash = [1; 32];
const MANIFEST: Hash = [2; 32];
const LIMITS: Limits = Limits { fuel: 1_000_000_000, ..Limits::DEFAULT };
const PRICE: Balance = 1_000_000;

/// An account with plenty of PHA.
fn rich<T: Config>(number: u32) -> T::AccountId
where
    <T as Config>::Currency: fungible::Mutate<T::AccountId>,
{
    let who: T::AccountId = account("rich", number, 0);
    let enough = phala_primitives::PHA * 1_000;
    <<T as Config>::Currency as fungible::Mutate<_>>::mint_into(&who, enough).unwrap();
    who
}

/// A published app on a chain with `workers` active workers, each its operator's only one.
fn chain<T: Config>(workers: u32) -> AppId
where
    T::AccountId: From<[u8; 32]>,
    <T as Config>::Currency: fungible::Mutate<T::AccountId>,
{
    accept::<T>();
    enter_block::<T>(NOW);
    for number in 0..workers {
        enclave::<T>(number).register::<T>(PRICE).unwrap();
    }
    let publisher = rich::<T>(0);
    let app = AppId::new(&publisher.clone().into(), &CODE, &MANIFEST);
    let origin = RawOrigin::Signed(publisher);
    pallet_phala_apps::Pallet::<T>::publish(origin.into(), CODE, 1_000, MANIFEST, Visibility::Public).unwrap();
    app
}

fn enclave<T: Config>(number: u32) -> Enclave
where
    <T as Config>::Currency: fungible::Mutate<T::AccountId>,
{
    let mut enclave = Enclave::new(number, rich::<T>(1_000 + number));
    enclave.performance.capacity = T::MaxCapacity::get();
    enclave
}

/// Submits `count` jobs, each its owner's only one.
fn submit<T: Config>(app: AppId, count: u32)
where
    <T as Config>::Currency: fungible::Mutate<T::AccountId>,
{
    for number in 0..count {
        let owner = rich::<T>(2_000 + number);
        Pallet::<T>::do_submit(owner, app, LIMITS, 10 * PRICE, DEADLINE.into(), 1, [0; 32]).unwrap();
    }
}

/// Lets the next block assign all jobs.
fn assign<T: Config>(count: u32) {
    enter_block::<T>(NOW + 1);
    while (Assigned::<T>::iter_keys().count() as u32) < count {
        Pallet::<T>::do_assign((NOW + 1).into());
    }
}

/// Enters the block after the deadline.
fn wait<T: Config>() -> BlockNumberFor<T> {
    let now = BlockNumberFor::<T>::from(DEADLINE + 1);
    frame_system::Pallet::<T>::set_block_number(now);
    NextWake::<T>::put(now);
    now
}

#[benchmarks(
    where T::AccountId: From<[u8; 32]>, <T as Config>::Currency: fungible::Mutate<T::AccountId>
)]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn submit() {
        let app = chain::<T>(1);
        let owner = rich::<T>(1);
        #[extrinsic_call]
        _(RawOrigin::Signed(owner), app, LIMITS, 10 * PRICE, DEADLINE.into(), 1, [0; 32]);
        assert!(Jobs::<T>::contains_key(0));
    }

    #[benchmark]
    fn cancel() {
        let app = chain::<T>(0);
        super::submit::<T>(app, 1);
        let owner = rich::<T>(2_000);
        #[extrinsic_call]
        _(RawOrigin::Signed(owner), 0);
        assert!(matches!(Jobs::<T>::get(0).unwrap().status, JobStatus::Cancelled { .. }));
    }

    #[benchmark]
    fn submit_receipt() {
        let app = chain::<T>(1);
        super::submit::<T>(app, 1);
        super::assign::<T>(1);
        enter_block::<T>(NOW + 2);
        let enclave = enclave::<T>(0);
        let heartbeat = enclave.heartbeat::<T>();
        let receipt = Receipt {
            genesis_hash: heartbeat.genesis_hash,
            job: 0,
            attempt: 1,
            app,
            worker: enclave.id(),
            measurement: MEASUREMENT.0,
            code_hash: CODE,
            input_hash: [0; 32],
            output_hash: [0; 32],
            output_file_hash: [0; 32],
            outcome: Outcome::Completed { exit_code: 0 },
            fuel: LIMITS.fuel,
            input_bytes: 0,
            output_bytes: 0,
            block_number: heartbeat.block_number,
            block_hash: heartbeat.block_hash,
        };
        let signature = enclave.sign(&receipt.signed_bytes());
        let caller: T::AccountId = whitelisted_caller();
        #[extrinsic_call]
        _(RawOrigin::Signed(caller), SignedReceipt { receipt, signature }.into());
        assert!(matches!(Jobs::<T>::get(0).unwrap().status, JobStatus::Settled(_)));
    }

    /// The hook, when `n` jobs miss their deadline with a worker.
    #[benchmark]
    fn wake(n: Linear<0, 32>) {
        let count = n.min(T::MaxWakesPerBlock::get());
        let app = chain::<T>(count.max(1));
        super::submit::<T>(app, count);
        super::assign::<T>(count);
        let now = wait::<T>();
        #[block]
        {
            Pallet::<T>::do_wake(now);
        }
        assert_eq!(EndedTail::<T>::get(), u64::from(count));
    }

    /// The hook, when `n` ended jobs are forgotten.
    #[benchmark]
    fn prune(n: Linear<0, 32>) {
        let count = n.min(T::MaxPrunesPerBlock::get());
        let app = chain::<T>(0);
        super::submit::<T>(app, count);
        for id in 0..u64::from(count) {
            let job = Jobs::<T>::get(id).unwrap();
            Pallet::<T>::do_cancel(job.owner, id).unwrap();
        }
        let now = BlockNumberFor::<T>::from(NOW) + T::Retention::get() + One::one();
        #[block]
        {
            Pallet::<T>::do_prune(now);
        }
        assert_eq!(Jobs::<T>::iter_keys().count(), 0);
    }

    /// The hook, when `n` jobs find workers.
    #[benchmark]
    fn assign(n: Linear<0, 32>) {
        let count = n.min(T::MaxAssignmentsPerBlock::get());
        let app = chain::<T>(2 * SAMPLE);
        super::submit::<T>(app, count);
        enter_block::<T>(NOW + 1);
        #[block]
        {
            Pallet::<T>::do_assign((NOW + 1).into());
        }
        assert_eq!(Assigned::<T>::iter_keys().count() as u32, count);
    }

    /// A worker that does not answer loses `n` jobs.
    #[benchmark]
    fn requeue(n: Linear<0, 64>) {
        let count = n.min(T::MaxCapacity::get());
        let app = chain::<T>(1);
        super::submit::<T>(app, count);
        super::assign::<T>(count);
        let worker = enclave::<T>(0).id();
        #[block]
        {
            Pallet::<T>::on_unavailable(&worker);
        }
        assert_eq!(LastWorker::<T>::iter_keys().count() as u32, count);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
