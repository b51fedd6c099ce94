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

/// The same, with this document kept as if it were older.
fn believe_older<T: Config>(document: &SignedDocument) {
    believe::<T>([document.clone()]);
    let (id, mut kept) = Documents::<T>::iter().next().unwrap();
    kept.issued -= 1;
    Documents::<T>::insert(id, kept);
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

    /// TCB info of `k` KiB, where a current one is kept and one that was early and counts by now.
    #[benchmark]
    fn submit_tcb_info(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        let (document, _) = mint::large_documents(k, 1);
        believe::<T>([document.clone()]);
        let (id, mut current) = Documents::<T>::iter().next().unwrap();
        current.number -= 2;
        current.issued -= 2;
        let kept = KeptDocument { number: current.number + 1, issued: current.issued + 1, ..current.clone() };
        Documents::<T>::insert(id, current);
        EarlyDocuments::<T>::insert(id, EarlyDocument { kept, since: 0 });
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!((Documents::<T>::iter().count(), EarlyDocuments::<T>::iter().count()), (1, 1));
        Ok(())
    }

    /// A revocation list of Intel's of `k` KiB, where one is kept.
    #[benchmark]
    fn submit_pck_crl(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        let (_, document) = mint::large_documents(1, k);
        believe_older::<T>(&document);
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!(Documents::<T>::iter().count(), 1);
        Ok(())
    }

    /// A revocation list of AMD's of `k` KiB, where one is kept.
    #[benchmark]
    fn submit_amd_crl(k: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let caller: T::AccountId = whitelisted_caller();
        let document = mint::large_amd_crl(k);
        believe_older::<T>(&document);
        #[extrinsic_call]
        submit_document(RawOrigin::Signed(caller), document);
        assert_eq!(Documents::<T>::iter().count(), 1);
        Ok(())
    }

    /// A document of the largest size, with one that is early.
    #[benchmark]
    fn remove_document() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        let (_, document) = mint::large_documents(1, 60);
        believe::<T>([document]);
        let (id, kept) = Documents::<T>::iter().next().unwrap();
        EarlyDocuments::<T>::insert(id, EarlyDocument { kept, since: 0 });
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, id);
        assert_eq!(Documents::<T>::iter().count(), 0);
        Ok(())
    }

    #[benchmark]
    fn compromise() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        let class = Class::Image(IMAGE);
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, class);
        assert!(Compromised::<T>::contains_key(class));
        Ok(())
    }

    #[benchmark]
    fn restore() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        let class = Class::Image(IMAGE);
        Pallet::<T>::compromise(origin.clone(), class)?;
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, class);
        assert!(!Compromised::<T>::contains_key(class));
        Ok(())
    }

    /// In the place of another claim of the platform.
    #[benchmark]
    fn claim_sealing_key() -> Result<(), BenchmarkError> {
        let sender: T::AccountId = whitelisted_caller();
        believe::<T>([]);
        let root = phala_attestation::simulated::development_root();
        SimulatedRoot::<T>::put(root.public());
        Images::<T>::insert(IMAGE, Image { role: Role::Worker, version: 1 });
        let now = frame_system::Pallet::<T>::block_number();
        frame_system::BlockHash::<T>::insert(now, T::Hash::default());
        let block_number = sp_runtime::traits::UniqueSaturatedInto::<u32>::unique_saturated_into(now);
        let statement = Statement {
            role: Role::Worker,
            signing_key: [1; 32],
            encryption_key: [2; 32],
            genesis_hash: Pallet::<T>::genesis_hash(),
            operator: [3; 32],
            block_number,
            block_hash: [0; 32],
        };
        let platform = root.certify([7; 32], phala_attestation::VendorName::DEVELOPMENT, 1, 0, mint::VALID_FROM + 1000);
        let report = phala_attestation::simulated::Report {
            measurement: IMAGE,
            debug: false,
            report_data: statement.report_data(),
        };
        let claim = SealingClaim {
            key: SealingKeyId { measurement: IMAGE, platform: platform.id(), version: 0 },
            family: phala_attestation::Family::Simulated(phala_attestation::VendorName::DEVELOPMENT),
            block_number: 0,
            until: 0,
        };
        SealingClaims::<T>::insert([4; 32], claim);
        SealingClaimants::<T>::insert(platform.id(), [4; 32]);
        let evidence = Evidence::Simulated(platform.quote(report));
        #[extrinsic_call]
        _(RawOrigin::Signed(sender), statement, evidence);
        assert_eq!(SealingClaimants::<T>::get(platform.id()), Some([1; 32]));
        assert!(!SealingClaims::<T>::contains_key([4; 32]));
        Ok(())
    }

    #[benchmark]
    fn replace_sealing_keys() -> Result<(), BenchmarkError> {
        let origin = T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)?;
        let class = Class::Image(IMAGE);
        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, class);
        assert_eq!(SealingKeyVersions::<T>::get(class), 1);
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

    /// Evidence of SEV-SNP, with a revocation list of `l` KiB.
    #[benchmark]
    fn verify_sev_snp(l: Linear<1, 60>) -> Result<(), BenchmarkError> {
        let (evidence, mut documents) = mint::sev_snp(&[7; 64]);
        documents.retain(|document| !matches!(document, SignedDocument::AmdCrl(_)));
        believe::<T>(documents.into_iter().chain([mint::large_amd_crl(l)]));
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
