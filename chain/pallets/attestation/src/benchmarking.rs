//! Benchmarks of every call.

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

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(None), crate::mock::Test);
}
