//! Benchmarks of every call and of the hook's parts, each in a market of [`MARKET`] active workers and where the market
//! has most to do.

use super::*;
use crate::enclave::{Enclave, accept, endpoint, enter_block, fill_market};
use frame_benchmarking::v2::*;
use frame_system::RawOrigin;

/// How many workers are active: 15 levels of the heap.
const MARKET: u32 = 16_384;

/// The block in which it happens.
const NOW: u32 = 1_000;

/// An operator's enclave on a chain with a full market, every worker of which is dearer.
fn unregistered<T: Config>() -> (T::AccountId, Enclave) {
    let operator: T::AccountId = whitelisted_caller();
    accept::<T>();
    enter_block::<T>(NOW);
    fill_market::<T>(MARKET, 1_000);
    let enclave = Enclave::new(1, operator.clone());
    (operator, enclave)
}

/// The same, registered, at the heap's root and challenged.
fn registered<T: Config>() -> (T::AccountId, Enclave)
where
    T::AccountId: From<[u8; 32]>,
{
    let (operator, enclave) = unregistered::<T>();
    enclave.register::<T>(1).unwrap();
    Challenged::<T>::insert(enclave.id(), BlockNumberFor::<T>::from(NOW));
    (operator, enclave)
}

/// The same a block later, so that it can name a newer block than before.
fn registered_before<T: Config>() -> (T::AccountId, Enclave)
where
    T::AccountId: From<[u8; 32]>,
{
    let registered = registered::<T>();
    enter_block::<T>(NOW + 1);
    registered
}

/// The same, which has been silent.
fn unresponsive<T: Config>() -> (T::AccountId, Enclave)
where
    T::AccountId: From<[u8; 32]>,
{
    let (operator, enclave) = registered_before::<T>();
    Pallet::<T>::unschedule_check(&enclave.id());
    Pallet::<T>::do_lose(enclave.id(), Workers::<T>::get(enclave.id()).unwrap());
    (operator, enclave)
}

/// `count` workers that are checked in the block that is answered.
fn checked<T: Config>(count: u32) -> BlockNumberFor<T>
where
    T::AccountId: From<[u8; 32]>,
{
    let operator = unregistered::<T>().0;
    for number in 0..count {
        Enclave::new(number, operator.clone()).register::<T>(1).unwrap();
    }
    // They named the block before `NOW`.
    let at = BlockNumberFor::<T>::from(NOW) + T::HeartbeatTimeout::get();
    frame_system::Pallet::<T>::set_block_number(at);
    NextCheck::<T>::put(at);
    at
}

fn status<T: Config>(enclave: &Enclave) -> WorkerStatus {
    Workers::<T>::get(enclave.id()).unwrap().status
}

#[benchmarks(where T::AccountId: From<[u8; 32]>)]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn register() {
        let (operator, previous) = registered::<T>();
        Workers::<T>::mutate_extant(previous.id(), |record| record.verdict_expires = 0);
        let previous_id = previous.id();
        let enclave = Enclave::new(2, operator.clone()).moved_to(previous);
        let statement = enclave.statement::<T>();
        let evidence = enclave.evidence(&statement);
        let performance = enclave.sign_report(enclave.report::<T>());
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), statement, evidence, performance, endpoint(), 1);
        assert_eq!(ActiveSlot::<T>::get(enclave.id()), Some(0));
        assert!(!Workers::<T>::contains_key(previous_id));
    }

    #[benchmark]
    fn renew() {
        let (operator, enclave) = unresponsive::<T>();
        let statement = enclave.statement::<T>();
        let evidence = enclave.evidence(&statement);
        let performance = enclave.sign_report(enclave.report::<T>());
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), statement, evidence, performance);
        assert_eq!(ActiveSlot::<T>::get(enclave.id()), Some(0));
    }

    #[benchmark]
    fn heartbeat() {
        let (caller, enclave) = unresponsive::<T>();
        let signed = enclave.sign_heartbeat(enclave.heartbeat::<T>());
        #[extrinsic_call]
        _(RawOrigin::Signed(caller), signed);
        assert_eq!(ActiveSlot::<T>::get(enclave.id()), Some(0));
    }

    #[benchmark]
    fn heartbeat_of_active() {
        let (caller, enclave) = registered_before::<T>();
        let signed = enclave.sign_heartbeat(enclave.heartbeat::<T>());
        #[extrinsic_call]
        heartbeat(RawOrigin::Signed(caller), signed);
        assert_eq!(status::<T>(&enclave), WorkerStatus::Active);
    }

    #[benchmark]
    fn set_price() {
        let (operator, enclave) = registered::<T>();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), enclave.id(), 2);
        assert_eq!(ActiveSlot::<T>::get(enclave.id()), Some(0));
    }

    #[benchmark]
    fn set_endpoint() {
        let (operator, enclave) = registered::<T>();
        let endpoint: Endpoint =
            [&b"https://"[..], &[b'a'; MAX_ENDPOINT_BYTES as usize - 8]].concat().try_into().unwrap();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), enclave.id(), endpoint.clone());
        assert_eq!(Workers::<T>::get(enclave.id()).unwrap().endpoint, endpoint.into_inner());
    }

    #[benchmark]
    fn drain() {
        let (operator, enclave) = registered::<T>();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), enclave.id());
        assert_eq!(status::<T>(&enclave), WorkerStatus::Draining);
    }

    #[benchmark]
    fn resume() {
        let (operator, enclave) = registered::<T>();
        Pallet::<T>::do_drain(operator.clone(), enclave.id()).unwrap();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), enclave.id());
        assert_eq!(status::<T>(&enclave), WorkerStatus::Active);
    }

    #[benchmark]
    fn deregister() {
        let (operator, enclave) = registered::<T>();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), enclave.id());
        assert!(!Workers::<T>::contains_key(enclave.id()));
    }

    /// The hook, when `n` workers have sent heartbeats.
    #[benchmark]
    fn check_heartbeats_answered(n: Linear<0, 64>) {
        let count = n.min(T::MaxChecksPerBlock::get());
        let now = checked::<T>(count);
        Workers::<T>::translate_values(|mut worker: Worker<T>| {
            worker.last_heartbeat = now - One::one();
            Some(worker)
        });
        #[block]
        {
            Pallet::<T>::do_check_heartbeats(now);
        }
        assert_eq!(ActiveCount::<T>::get(), MARKET + count);
    }

    /// The hook, when `n` workers have not.
    #[benchmark]
    fn check_heartbeats_silent(n: Linear<0, 8>) {
        let now = checked::<T>(n.min(T::MaxChecksPerBlock::get() / COST_OF_SILENCE));
        #[block]
        {
            Pallet::<T>::do_check_heartbeats(now);
        }
        assert_eq!(ActiveCount::<T>::get(), MARKET);
    }

    /// The hook, when the class of `n` workers was declared broken.
    #[benchmark]
    fn cordon(n: Linear<0, 32>) {
        let count = n.min(T::MaxCordonsPerBlock::get());
        checked::<T>(count);
        Pallet::<T>::on_compromise(Class::Image(crate::enclave::MEASUREMENT)).unwrap();
        #[block]
        {
            Pallet::<T>::do_cordon();
        }
        assert_eq!(ActiveCount::<T>::get(), MARKET);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
