//! Benchmarks of every call and of the hook's parts. Where a job ends, its app is retired and goes with it.

use super::*;
use frame_benchmarking::v2::*;
use frame_system::RawOrigin;
use pallet_phala_workers::{
    OnUnavailable, Unavailable,
    enclave::{Enclave, MEASUREMENT, accept, enter_block},
};
use phala_primitives::Receipt;

/// The block in which everything before the benchmark happens.
const NOW: u32 = 1_000;

const CODE: Hash = [1; 32];
const CODE_BYTES: u32 = 1_000;
const MANIFEST: Hash = [2; 32];
const LIMITS: Limits = Limits { fuel: 1_000_000_000, ..Limits::DEFAULT };
const PRICE: Balance = 1_000_000;

/// The first deadline that can be met. Jobs that are assigned in the next block are due then, and have no time afterwards.
fn deadline<T: Config>() -> BlockNumberFor<T> {
    Pallet::<T>::due(&LIMITS, (NOW + 1).into())
}

/// An account with plenty of PHA.
fn rich<T: Config>(number: u32) -> T::AccountId {
    let who: T::AccountId = account("rich", number, 0);
    let enough = phala_primitives::PHA * 1_000;
    <<T as Config>::Currency as fungible::Mutate<_>>::mint_into(&who, enough).unwrap();
    who
}

/// A chain with `workers` active workers, each its operator's only one, and a treasury.
fn chain<T: Config>(workers: u32)
where
    T::AccountId: From<[u8; 32]>,
{
    accept::<T>();
    enter_block::<T>(NOW);
    let enough = phala_primitives::PHA;
    <<T as Config>::Currency as fungible::Mutate<_>>::mint_into(&T::Treasury::get(), enough).unwrap();
    for number in 0..workers {
        enclave::<T>(number).register::<T>(PRICE).unwrap();
    }
}

fn enclave<T: Config>(number: u32) -> Enclave {
    let mut enclave = Enclave::new(number, rich::<T>(1_000 + number));
    enclave.performance.capacity = T::MaxCapacity::get();
    enclave
}

/// The app that the account with this number publishes.
fn publish<T: Config>(number: u32) -> AppId {
    let publisher = rich::<T>(number);
    let app = AppId::new(&publisher.clone().into(), &CODE, CODE_BYTES, &MANIFEST, Visibility::Public);
    let origin = RawOrigin::Signed(publisher);
    pallet_phala_apps::Pallet::<T>::publish(origin.into(), CODE, CODE_BYTES, MANIFEST, Visibility::Public).unwrap();
    app
}

/// Submits `count` jobs, each its owner's only one, and the only one of an app that is then retired.
fn submit<T: Config>(count: u32) {
    for number in 0..count {
        let (publisher, owner) = (3_000 + number, rich::<T>(2_000 + number));
        let app = publish::<T>(publisher);
        Pallet::<T>::do_submit(owner, app, LIMITS, 10 * PRICE, deadline::<T>(), 1, [0; 32]).unwrap();
        let origin = RawOrigin::Signed(account::<T::AccountId>("rich", publisher, 0));
        pallet_phala_apps::Pallet::<T>::unpublish(origin.into(), app).unwrap();
    }
}

/// Enters the next block, in which there are lots for all jobs.
fn cast<T: Config>() {
    enter_block::<T>(NOW + 1);
    T::Lots::cast(NOW.into());
}

/// Lets the next block assign all jobs.
fn assign<T: Config>(count: u32) {
    cast::<T>();
    while (Assigned::<T>::iter_keys().count() as u32) < count {
        Pallet::<T>::do_assign((NOW + 1).into());
    }
}

/// Whether the first `count` jobs have expired, and their apps are gone.
fn all_expired<T: Config>(count: u32) -> bool {
    let mut jobs = (0..count).map(|id| Jobs::<T>::get(u64::from(id)).unwrap());
    jobs.all(|job| {
        matches!(job.status, JobStatus::Expired { .. }) && !pallet_phala_apps::Apps::<T>::contains_key(job.app)
    })
}

#[benchmarks(where T::AccountId: From<[u8; 32]>)]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn submit() {
        chain::<T>(1);
        let (app, owner) = (publish::<T>(0), rich::<T>(1));
        #[extrinsic_call]
        _(RawOrigin::Signed(owner), app, LIMITS, 10 * PRICE, deadline::<T>(), 1, [0; 32]);
        assert!(Jobs::<T>::contains_key(0));
    }

    #[benchmark]
    fn cancel() {
        chain::<T>(0);
        super::submit::<T>(1);
        let owner = rich::<T>(2_000);
        #[extrinsic_call]
        _(RawOrigin::Signed(owner), 0);
        assert!(matches!(Jobs::<T>::get(0).unwrap().status, JobStatus::Cancelled { .. }));
    }

    #[benchmark]
    fn submit_receipt() {
        chain::<T>(1);
        super::submit::<T>(1);
        super::assign::<T>(1);
        enter_block::<T>(NOW + 2);
        let enclave = enclave::<T>(0);
        let heartbeat = enclave.heartbeat::<T>();
        let receipt = Receipt {
            genesis_hash: heartbeat.genesis_hash,
            job: 0,
            attempt: 1,
            app: Jobs::<T>::get(0).unwrap().app,
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

    /// The hook, when `n` jobs are overdue and have no more time.
    #[benchmark]
    fn wake(n: Linear<0, 64>) {
        let count = n.min(T::MaxWakesPerBlock::get());
        chain::<T>(count.max(1));
        super::submit::<T>(count);
        super::assign::<T>(count);
        let now = deadline::<T>() + One::one();
        frame_system::Pallet::<T>::set_block_number(now);
        NextWake::<T>::put(now);
        #[block]
        {
            Pallet::<T>::do_wake(now);
        }
        assert!(all_expired::<T>(count));
    }

    /// The hook, when `n` jobs are to be forgotten.
    #[benchmark]
    fn forget(n: Linear<0, 64>) {
        let count = n.min(T::MaxWakesPerBlock::get());
        chain::<T>(0);
        super::submit::<T>(count);
        for number in 0..count {
            Pallet::<T>::do_cancel(rich::<T>(2_000 + number), u64::from(number)).unwrap();
        }
        let now = T::Retention::get() + (NOW + 1).into();
        frame_system::Pallet::<T>::set_block_number(now);
        NextForget::<T>::put(now);
        #[block]
        {
            Pallet::<T>::do_forget(now);
        }
        assert_eq!(Jobs::<T>::iter_keys().count(), 0);
    }

    /// The hook, when `n` jobs find workers.
    #[benchmark]
    fn assign(n: Linear<0, 32>) {
        let count = n.min(T::MaxAssignmentsPerBlock::get());
        chain::<T>(2 * SAMPLE);
        super::submit::<T>(count);
        cast::<T>();
        #[block]
        {
            Pallet::<T>::do_assign((NOW + 1).into());
        }
        assert_eq!(Assigned::<T>::iter_keys().count() as u32, count);
    }

    /// A worker that does not answer loses `n` jobs, which have no time for another.
    #[benchmark]
    fn lose(n: Linear<0, 64>) {
        let count = n.min(T::MaxCapacity::get());
        chain::<T>(1);
        super::submit::<T>(count);
        super::assign::<T>(count);
        enter_block::<T>(NOW + 2);
        let worker = enclave::<T>(0).id();
        #[block]
        {
            Pallet::<T>::on_unavailable(&worker, Unavailable::Silent);
        }
        assert!(all_expired::<T>(count));
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
