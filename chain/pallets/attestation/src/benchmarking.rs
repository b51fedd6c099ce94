//! Benchmarks of every call and of the hook.

use super::*;
use frame_benchmarking::v2::*;

const IMAGE: Measurement = Measurement([1; 32]);

#[benchmarks]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn allow_image() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, IMAGE, Role::Worker, 1);
        assert!(Pallet::<T>::image_allowed(&IMAGE, Role::Worker));
        Ok(())
    }

    #[benchmark]
    fn forbid_image() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        Images::<T>::insert(IMAGE, Image { role: Role::Worker, version: 1 });
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, IMAGE);
        assert!(!Images::<T>::contains_key(IMAGE));
        Ok(())
    }

    #[benchmark]
    fn set_verdict_lifetime() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, 60);
        assert_eq!(VerdictLifetime::<T>::get(), 60);
        Ok(())
    }

    /// A block that remembers its parent and forgets another.
    #[benchmark]
    fn on_initialize() {
        let hash = |byte: u8| T::Hash::decode(&mut &[byte; 32][..]).unwrap();
        let parent: BlockNumberFor<T> = T::Recency::get() + 10u32.into();
        let forgotten: BlockNumberFor<T> = 10u32.into();
        frame_system::BlockHash::<T>::insert(parent, hash(2));
        frame_system::BlockHash::<T>::insert(forgotten, hash(1));
        RecentBlocks::<T>::insert(hash(1), forgotten);
        #[block]
        {
            Pallet::<T>::do_remember_parent(parent + One::one());
        }
        assert!(RecentBlocks::<T>::contains_key(hash(2)) && !RecentBlocks::<T>::contains_key(hash(1)));
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(None), crate::mock::Test);
}
