//! Benchmarks of every call.

use super::*;
use frame_benchmarking::v2::*;
use frame_support::traits::fungible;
use frame_system::RawOrigin;

const CODE: Hash = [1; 32];
const MANIFEST: Hash = [2; 32];

#[benchmarks(where T::Currency: fungible::Mutate<T::AccountId>)]
mod benchmarks {
    use super::*;

    fn publisher<T: Config>() -> T::AccountId
    where
        T::Currency: fungible::Mutate<T::AccountId>,
    {
        let publisher: T::AccountId = whitelisted_caller();
        let enough = T::Deposit::get() * 2 + <T::Currency as fungible::Inspect<_>>::minimum_balance();
        <T::Currency as fungible::Mutate<_>>::mint_into(&publisher, enough).unwrap();
        publisher
    }

    #[benchmark]
    fn publish() {
        let publisher = publisher::<T>();
        let app = AppId::new(&publisher.clone().into(), &CODE, &MANIFEST);
        #[extrinsic_call]
        _(RawOrigin::Signed(publisher), CODE, 1_000, MANIFEST, Visibility::Public);
        assert!(Apps::<T>::contains_key(app));
    }

    #[benchmark]
    fn unpublish() {
        let publisher = publisher::<T>();
        let app = AppId::new(&publisher.clone().into(), &CODE, &MANIFEST);
        Pallet::<T>::do_publish(publisher.clone(), CODE, 1_000, MANIFEST, Visibility::Public).unwrap();
        #[extrinsic_call]
        _(RawOrigin::Signed(publisher), app);
        assert!(!Apps::<T>::contains_key(app));
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
