//! Benchmarks of every call.

use super::*;
use frame_benchmarking::v2::*;
use frame_support::storage::{storage_prefix, unhashed};
use frame_system::RawOrigin;
use phala_attestation::mint;

const IMAGE: Measurement = Measurement([1; 32]);

/// A chain, when what the mint makes is valid, on which it is believed and its documents are kept.
fn believe<T: Config>(documents: impl IntoIterator<Item = SignedDocument>) {
    // `Config::Time` can only be read.
    let now = storage_prefix(b"Timestamp", b"Now");
    unhashed::put(&now, &(mint::VALID_FROM * 1000));
    assert_eq!(Pallet::<T>::now(), mint::VALID_FROM);
    SimulatedVendors::<T>::put(mint::roots());
    for document in documents {
        let policy = Pallet::<T>::policy();
        let verified = phala_attestation::verify_document(&document, &policy, mint::VALID_FROM).unwrap();
        for signature in verified.signatures() {
            KnownSignatures::<T>::insert(signature, 1);
        }
        Documents::<T>::insert(verified.id(), KeptDocument::new(document, &verified));
    }
}

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

    #[benchmark]
    fn set_hardware_policy() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        let mut policy = HardwarePolicy::default();
        // As large as it may be.
        policy.dcap.denied_advisories = (0..900).map(|number| alloc::format!("INTEL-SA-{number:05}")).collect();
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, policy.clone());
        assert_eq!(Hardware::<T>::get(), policy);
        Ok(())
    }

    #[benchmark]
    fn set_early_period() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, 60);
        assert_eq!(EarlyPeriod::<T>::get(), 60);
        Ok(())
    }

    /// TCB info of `k` KiB.
    #[benchmark]
    fn submit_tcb_info(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        believe::<T>([]);
        let (document, _) = mint::large_documents(k, 1);
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!(Documents::<T>::iter().count(), 1);
        Ok(())
    }

    /// A revocation list of Intel's of `k` KiB.
    #[benchmark]
    fn submit_pck_crl(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        believe::<T>([]);
        let (_, document) = mint::large_documents(1, k);
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!(Documents::<T>::iter().count(), 1);
        Ok(())
    }

    /// A revocation list of AMD's of `k` KiB.
    #[benchmark]
    fn submit_amd_crl(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        believe::<T>([]);
        let document = mint::large_amd_crl(k);
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!(Documents::<T>::iter().count(), 1);
        Ok(())
    }

    /// Evidence of SGX, with TCB info of `t` KiB and a revocation list of `l` KiB.
    #[benchmark]
    fn verify_dcap(t: Linear<1, 60>, l: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let (evidence, mut documents) = mint::sgx(&[7; 64]);
        let (tcb_info, list) = mint::large_documents(t, l);
        documents.retain(|document| !matches!(document, SignedDocument::TcbInfo(_) | SignedDocument::PckCrl { .. }));
        believe::<T>(documents.into_iter().chain([tcb_info, list]));
        let verified;
        #[block]
        {
            verified = Pallet::<T>::verify_evidence(&evidence, mint::VALID_FROM);
        }
        assert_eq!(verified.unwrap().0.report_data(), &[7; 64]);
        Ok(())
    }

    /// Evidence of SEV-SNP.
    #[benchmark]
    fn verify_sev_snp() -> Result<(), BenchmarkError> {
        let (evidence, documents) = mint::sev_snp(&[7; 64]);
        believe::<T>(documents);
        let verified;
        #[block]
        {
            verified = Pallet::<T>::verify_evidence(&evidence, mint::VALID_FROM);
        }
        assert_eq!(verified.unwrap().0.report_data(), &[7; 64]);
        Ok(())
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(None), crate::mock::Test);
}
