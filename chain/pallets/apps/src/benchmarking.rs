//! Benchmarks of every call.

use super::*;
use frame_benchmarking::v2::*;
use frame_support::traits::fungible;
use frame_system::RawOrigin;

const CODE: Hash = [1; 32];
const CODE_BYTES: u32 = 1_000;
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

    fn id<T: Config>(publisher: &T::AccountId) -> AppId {
        AppId::new(&publisher.clone().into(), &CODE, CODE_BYTES, &MANIFEST, Visibility::Public)
    }

    #[benchmark]
    fn publish() {
        let publisher = publisher::<T>();
        let app = id::<T>(&publisher);
        #[extrinsic_call]
        _(RawOrigin::Signed(publisher), CODE, CODE_BYTES, MANIFEST, Visibility::Public);
        assert!(Apps::<T>::contains_key(app));
    }

    #[benchmark]
    fn unpublish() {
        let publisher = publisher::<T>();
        let app = id::<T>(&publisher);
        Pallet::<T>::do_publish(publisher.clone(), CODE, CODE_BYTES, MANIFEST, Visibility::Public).unwrap();
        #[extrinsic_call]
        _(RawOrigin::Signed(publisher), app);
        assert!(!Apps::<T>::contains_key(app));
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
