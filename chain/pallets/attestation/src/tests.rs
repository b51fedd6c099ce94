use crate::{mock::*, *};
use frame_support::{assert_noop, assert_ok};
use phala_attestation::{
    DcapPolicy, Family, SevSnpPolicy, TcbStatus, Tier, Vendor, VendorName, mint,
    simulated::{Platform, Quote, Report, Root, development_root},
};
use phala_primitives::{GatekeeperId, WorkerId};
use sp_runtime::{AccountId32, traits::BadOrigin};

const IMAGE: Measurement = Measurement([9; 32]);
const OPERATOR: AccountId32 = AccountId32::new([4; 32]);

fn platform() -> Platform {
    development_root().certify([7; 32], VendorName::DEVELOPMENT, 1, START - 1000, START + 200_000)
}

fn statement() -> Statement {
    let block_number = System::block_number() - 1;
    Statement {
        role: Role::Worker,
        signing_key: [1; 32],
        encryption_key: [2; 32],
        genesis_hash: hash_of(0).0,
        operator: OPERATOR.into(),
        block_number,
        block_hash: hash_of(block_number).0,
    }
}

fn report(statement: &Statement) -> Report {
    Report { measurement: IMAGE, debug: false, report_data: statement.report_data() }
}

fn quote(statement: &Statement) -> Quote {
    platform().quote(report(statement))
}

fn verify(statement: &Statement, quote: Quote) -> Result<VerifiedEnclave, DispatchError> {
    Attestation::verify_enclave(Role::Worker, &OPERATOR, statement, &Evidence::Simulated(quote))
}

fn with_image(test: impl FnOnce()) {
    with_chain(Some(development_root().public()), || {
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), IMAGE, Role::Worker, 3));
        test();
    });
}

fn assert_refused(statement: &Statement, quote: Quote, error: Error<Test>) {
    assert_eq!(verify(statement, quote), Err(error.into()));
}

#[test]
fn good_evidence_is_verified() {
    with_image(|| {
        let statement = statement();
        let verified = verify(&statement, quote(&statement)).unwrap();
        assert_eq!(verified.measurement, IMAGE);
        assert_eq!(verified.platform, platform().id());
        assert_eq!(verified.vendor, Vendor::Simulated(VendorName::DEVELOPMENT));
        assert_eq!(verified.expires, Attestation::now() + DEFAULT_VERDICT_LIFETIME);
    });
}

#[test]
fn a_verdict_ends_no_later_than_its_evidence() {
    with_image(|| {
        let statement = statement();
        let end = Attestation::now() + 5;
        let short = development_root().certify([7; 32], VendorName::DEVELOPMENT, 1, 0, end).quote(report(&statement));
        assert_eq!(verify(&statement, short).unwrap().expires, end);
        assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 60));
        assert_eq!(verify(&statement, quote(&statement)).unwrap().expires, Attestation::now() + 60);
    });
}

#[test]
fn simulated_evidence_is_refused_where_genesis_names_no_root() {
    with_chain(None, || {
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), IMAGE, Role::Worker, 1));
        let statement = statement();
        assert_refused(&statement, quote(&statement), Error::SimulatedForbidden);
    });
}

#[test]
fn evidence_for_another_role_operator_or_chain_is_refused() {
    with_image(|| {
        let good = statement();
        let other = Statement { role: Role::Gatekeeper, ..good.clone() };
        assert_refused(&other, quote(&other), Error::WrongRole);
        let other = Statement { operator: [5; 32], ..good.clone() };
        assert_refused(&other, quote(&other), Error::WrongOperator);
        let other = Statement { genesis_hash: [0; 32], ..good };
        assert_refused(&other, quote(&other), Error::WrongGenesis);
    });
}

#[test]
fn a_statement_is_fresh_for_recency_blocks() {
    with_image(|| {
        let old = statement();
        run_to(RECENCY);
        assert_ok!(verify(&old, quote(&old)));
        next_block();
        assert_refused(&old, quote(&old), Error::StaleStatement);
        let now = System::block_number();
        for (block_number, hash) in [(now - 1, [0; 32]), (now - 2, hash_of(now - 1).0), (now, hash_of(now).0)] {
            let unknown = Statement { block_number, block_hash: hash, ..statement() };
            assert_refused(&unknown, quote(&unknown), Error::StaleStatement);
        }
        // Every chain remembers its genesis block for ever, which does not make it recent.
        let genesis = Statement { block_number: 0, block_hash: hash_of(0).0, ..statement() };
        assert_refused(&genesis, quote(&genesis), Error::StaleStatement);
    });
}

#[test]
fn evidence_over_its_bound_has_its_error() {
    assert!(matches!(Error::<Test>::from(phala_attestation::Error::TooLarge), Error::EvidenceTooLarge));
}

#[test]
fn each_fault_of_evidence_has_its_error() {
    with_image(|| {
        let statement = statement();
        let good = quote(&statement);
        assert_refused(&statement, Quote { version: 9, ..good.clone() }, Error::MalformedEvidence);
        let forged = Root::from_seed([1; 32])
            .certify([7; 32], VendorName::DEVELOPMENT, 1, 0, u64::MAX)
            .quote(report(&statement));
        assert_refused(&statement, forged, Error::CertificateChain);
        let ended = development_root()
            .certify([7; 32], VendorName::DEVELOPMENT, 1, 0, Attestation::now())
            .quote(report(&statement));
        assert_refused(&statement, ended, Error::OutOfDate);
        let outdated =
            development_root().certify([7; 32], VendorName::DEVELOPMENT, 0, 0, u64::MAX).quote(report(&statement));
        assert_refused(&statement, outdated, Error::TcbRefused);
        let tampered = Report { measurement: Measurement([8; 32]), ..report(&statement) };
        assert_refused(&statement, Quote { report: tampered, ..good.clone() }, Error::QuoteSignature);
        let debug = platform().quote(Report { debug: true, ..report(&statement) });
        assert_refused(&statement, debug, Error::GuestUnprotected);
        let swapped = Statement { encryption_key: [3; 32], ..statement };
        assert_refused(&swapped, good, Error::StatementMismatch);
    });
}

#[test]
fn an_image_that_is_not_allowed_for_the_role_is_refused() {
    with_image(|| {
        let statement = statement();
        assert!(Attestation::image_allowed(&IMAGE, Role::Worker));
        assert!(!Attestation::image_allowed(&IMAGE, Role::Gatekeeper));
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), IMAGE, Role::Gatekeeper, 4));
        assert_refused(&statement, quote(&statement), Error::ImageNotAllowed);
        assert_ok!(Attestation::forbid_image(RuntimeOrigin::root(), IMAGE));
        assert_refused(&statement, quote(&statement), Error::ImageNotAllowed);
    });
}

#[test]
fn a_platform_backs_one_worker() {
    with_image(|| {
        let (platform, first, second) = (platform().id(), WorkerId([1; 32]), WorkerId([2; 32]));
        assert_ok!(Attestation::claim_platform(&platform, first));
        assert_ok!(Attestation::claim_platform(&platform, first));
        assert_noop!(Attestation::claim_platform(&platform, second), Error::<Test>::PlatformTaken);
        Attestation::release_platform(&platform, second);
        assert_eq!(Platforms::<Test>::get(platform), Some(first.into()));
        Attestation::release_platform(&platform, first);
        assert_ok!(Attestation::claim_platform(&platform, second));
    });
}

/// Has a sealing key claimed under `claimant`, with evidence that names a block.
fn claim(claimant: u8, block_number: u32) -> DispatchResultWithPostInfo {
    let block_hash = hash_of(block_number).0;
    let statement = Statement { signing_key: [claimant; 32], block_number, block_hash, ..statement() };
    let evidence = Evidence::Simulated(quote(&statement));
    // Whoever brings it.
    Attestation::claim_sealing_key(RuntimeOrigin::signed(AccountId32::new([8; 32])), statement, evidence)
}

#[test]
fn a_platform_has_one_claim_to_a_sealing_key_and_an_older_one_takes_no_newer_ones_place() {
    with_image(|| {
        run_to(4);
        assert_ok!(claim(1, 2));
        let kept = SealingClaims::<Test>::get([1; 32]).unwrap();
        let key = SealingKeyId { measurement: IMAGE, platform: platform().id(), version: 0 };
        assert_eq!((kept.key, kept.block_number), (key, 2));
        let end = Attestation::now() + phala_primitives::attestation::SEALING_CLAIM_SECONDS;
        assert!(kept.counts(end) && !kept.counts(end + 1));
        assert_ok!(claim(2, 3));
        assert!(SealingClaims::<Test>::get([1; 32]).is_none());
        assert_eq!(SealingClaimants::<Test>::get(platform().id()), Some([2; 32]));
        assert_noop!(claim(1, 2), Error::<Test>::StaleStatement);
        // Nor does the same claim last longer for being brought again.
        assert_noop!(claim(2, 3), Error::<Test>::AlreadyClaimed);
        assert_eq!(SealingClaims::<Test>::iter().count(), 1);
        // It ends with the verdict.
        assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 5));
        assert_ok!(claim(3, 3));
        assert_eq!(SealingClaims::<Test>::get([3; 32]).unwrap().until, Attestation::now() + 5);
    });
}

#[test]
fn the_sealing_keys_of_a_class_are_replaced_by_others() {
    with_image(|| {
        run_to(9);
        let version = |claimant: u8, block_number| {
            assert_ok!(claim(claimant, block_number));
            SealingClaims::<Test>::get([claimant; 32]).unwrap().key.version
        };
        let replace = |class| Attestation::replace_sealing_keys(RuntimeOrigin::root(), class);
        assert_eq!(version(1, 1), 0);
        for (claimant, class) in [(2, Class::Image(IMAGE)), (3, Class::Platform(platform().id()))] {
            assert_ok!(replace(class));
            assert_eq!(version(claimant, claimant.into()), u32::from(claimant) - 1);
        }
        assert_ok!(replace(Class::Family(Family::Simulated(VendorName::DEVELOPMENT))));
        assert_ok!(replace(Class::Image(IMAGE)));
        assert_eq!(version(4, 4), 4, "no version comes a second time");
        assert_ok!(replace(Class::Image(Measurement([8; 32]))));
        assert_ok!(replace(Class::Platform(PlatformId([9; 32]))));
        assert_eq!(version(5, 5), 4, "of others");
        let signed = Attestation::replace_sealing_keys(RuntimeOrigin::signed(OPERATOR), Class::Image(IMAGE));
        assert_eq!(signed, Err(sp_runtime::DispatchError::BadOrigin));
    });
}

#[test]
fn a_claim_to_a_sealing_key_needs_good_evidence_of_a_workers_image() {
    with_image(|| {
        let sender = || RuntimeOrigin::signed(OPERATOR);
        let good = statement();
        let evidence = |statement: &Statement| Evidence::Simulated(quote(statement));
        let claim = |statement: &Statement, evidence| {
            Attestation::claim_sealing_key(sender(), statement.clone(), evidence).map(drop).map_err(|error| error.error)
        };
        assert_noop!(
            claim(&good, evidence(&Statement { signing_key: [5; 32], ..good.clone() })),
            Error::<Test>::StatementMismatch
        );
        let gatekeeper = Statement { role: Role::Gatekeeper, ..good.clone() };
        assert_noop!(claim(&gatekeeper, evidence(&gatekeeper)), Error::<Test>::WrongRole);
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), Class::Platform(platform().id())));
        assert_noop!(claim(&good, evidence(&good)), Error::<Test>::Compromised);
        assert_ok!(Attestation::forbid_image(RuntimeOrigin::root(), IMAGE));
        assert_noop!(claim(&good, evidence(&good)), Error::<Test>::ImageNotAllowed);
    });
}

#[test]
fn a_platform_backs_either_a_worker_or_a_gatekeeper() {
    with_image(|| {
        // The same key in another role is another tenant.
        let (platform, worker, gatekeeper) = (platform().id(), WorkerId([1; 32]), GatekeeperId([1; 32]));
        assert_ok!(Attestation::claim_platform(&platform, gatekeeper));
        assert_noop!(Attestation::claim_platform(&platform, worker), Error::<Test>::PlatformTaken);
        Attestation::release_platform(&platform, worker);
        assert_eq!(Platforms::<Test>::get(platform), Some(gatekeeper.into()));
        Attestation::release_platform(&platform, gatekeeper);
        assert_ok!(Attestation::claim_platform(&platform, worker));
        assert_noop!(Attestation::claim_platform(&platform, gatekeeper), Error::<Test>::PlatformTaken);
    });
}

#[test]
fn only_root_decides() {
    with_image(|| {
        let somebody = || RuntimeOrigin::signed(OPERATOR);
        assert_noop!(Attestation::allow_image(somebody(), IMAGE, Role::Worker, 1), BadOrigin);
        assert_noop!(Attestation::forbid_image(somebody(), IMAGE), BadOrigin);
        assert_noop!(Attestation::set_verdict_lifetime(somebody(), 1), BadOrigin);
    });
}

#[test]
fn decisions_are_stored_and_announced() {
    with_image(|| {
        assert_eq!(Images::<Test>::get(IMAGE), Some(Image { role: Role::Worker, version: 3 }));
        System::assert_last_event(Event::ImageAllowed { measurement: IMAGE, role: Role::Worker, version: 3 }.into());
        assert_ok!(Attestation::forbid_image(RuntimeOrigin::root(), IMAGE));
        System::assert_last_event(Event::ImageForbidden { measurement: IMAGE }.into());
        assert_noop!(Attestation::forbid_image(RuntimeOrigin::root(), IMAGE), Error::<Test>::UnknownImage);
        assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 60));
        System::assert_last_event(Event::VerdictLifetimeSet { seconds: 60 }.into());
        for seconds in [0, MAX_VERDICT_LIFETIME + 1] {
            assert_noop!(
                Attestation::set_verdict_lifetime(RuntimeOrigin::root(), seconds),
                Error::<Test>::LifetimeOutOfRange
            );
        }
    });
}

#[test]
fn blocks_are_known_by_number_and_hash() {
    with_image(|| {
        run_to(5);
        assert!(Attestation::is_block(4, &hash_of(4).0));
        assert!(Attestation::is_block(0, &hash_of(0).0));
        assert!(!Attestation::is_block(4, &hash_of(3).0));
        assert!(!Attestation::is_block(5, &hash_of(5).0));
        assert!(!Attestation::is_block(999, &[0; 32]));
        assert!(Attestation::is_recent_block(4, &hash_of(4).0, 1));
        assert!(!Attestation::is_recent_block(3, &hash_of(3).0, 1));
        assert!(!Attestation::is_recent_block(999, &[0; 32], 1));
    });
}

#[test]
fn the_genesis_hash_is_remembered_for_ever() {
    with_image(|| {
        run_to(100);
        assert_eq!(Attestation::genesis_hash(), hash_of(0).0);
    });
}

/// A chain of simulated vendors when what the mint makes is valid.
fn with_vendors(test: impl FnOnce()) {
    const { assert!(START >= mint::VALID_FROM && START + 3600 < mint::VALID_UNTIL) };
    with_chain(None, || {
        SimulatedVendors::<Test>::put(mint::roots());
        test();
    });
}

fn submit(document: SignedDocument) -> DispatchResultWithPostInfo {
    Attestation::submit_document(RuntimeOrigin::signed(OPERATOR), document)
}

fn submit_all(documents: Vec<SignedDocument>) {
    for document in documents {
        assert_eq!(submit(document).unwrap().pays_fee, Pays::No);
    }
}

fn verify_evidence(evidence: &Evidence) -> Result<VerifiedEnclave, DispatchError> {
    Attestation::verify_enclave(Role::Worker, &OPERATOR, &statement(), evidence)
}

fn set_time(seconds: u64) {
    pallet_timestamp::Now::<Test>::put(seconds * 1000);
}

#[test]
fn evidence_of_each_kind_of_tee_is_verified_with_the_documents_that_are_kept() {
    with_vendors(|| {
        let report_data = statement().report_data();
        for (evidence, documents) in [mint::sgx(&report_data), mint::tdx(&report_data), mint::sev_snp(&report_data)] {
            let missing = Error::<Test>::DocumentMissing;
            assert_eq!(verify_evidence(&evidence), Err(missing.into()));
            // What SGX and TDX share is kept by now, and is not newer.
            for document in documents {
                if let Err(refused) = submit(document) {
                    assert_eq!(refused.error, Error::<Test>::DocumentNotNewer.into());
                }
            }
            assert_eq!(verify_evidence(&evidence), Err(Error::<Test>::ImageNotAllowed.into()));
            let (verified, weight) = Attestation::verify_evidence(&evidence, Attestation::now()).unwrap();
            assert!(weight.all_lte(Attestation::evidence_weight(&evidence)));
            let image = verified.measurement();
            assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image, Role::Worker, 1));
            let verified = verify_evidence(&evidence).unwrap();
            assert_eq!(verified.measurement, image);
            let vendor = if matches!(evidence, Evidence::SevSnp { .. }) { "simulated:amd" } else { "simulated:intel" };
            assert_eq!(verified.vendor.to_string(), vendor);
            assert!(verified.expires <= mint::VALID_UNTIL);
            // Of another statement.
            let other = Statement { signing_key: [8; 32], ..statement() };
            let refused = Attestation::verify_enclave(Role::Worker, &OPERATOR, &other, &evidence);
            assert_eq!(refused, Err(Error::<Test>::StatementMismatch.into()));
        }
    });
    // Elsewhere, the roots are the real ones.
    with_chain(None, || {
        let (evidence, documents) = mint::sgx(&statement().report_data());
        for document in documents {
            // Lists name no chain: they are not signed by the root.
            let refused = submit(document).unwrap_err().error;
            assert!([Error::<Test>::CertificateChain, Error::DocumentSignature].map(Into::into).contains(&refused));
        }
        assert_eq!(verify_evidence(&evidence), Err(Error::<Test>::DocumentMissing.into()));
    });
}

#[test]
fn documents_are_followed_by_newer_ones_only() {
    with_vendors(|| {
        assert_ok!(submit(mint::tcb_info(20, 0)));
        assert_eq!(KnownSignatures::<Test>::iter().count(), 2);
        for old in [mint::tcb_info(20, 0), mint::tcb_info(19, 1)] {
            assert_noop!(submit(old), Error::<Test>::DocumentNotNewer);
        }
        assert_ok!(submit(mint::tcb_info(20, 1)));
        // The signer's certificate is known for the new one, and the old one's signature no longer.
        assert_eq!(KnownSignatures::<Test>::iter().count(), 2);
        let mut changed = mint::tcb_info(20, 2);
        let SignedDocument::TcbInfo(signed) = &mut changed else { unreachable!() };
        signed.json = signed.json.replace("UpToDate", "Revoked");
        assert_noop!(submit(changed), Error::<Test>::DocumentSignature);
        // A minute in the future.
        let age = u32::try_from(START - mint::VALID_FROM).unwrap() + 60;
        assert_noop!(submit(mint::tcb_info(20, age)), Error::<Test>::OutOfDate);
        assert_noop!(Attestation::submit_document(RuntimeOrigin::none(), mint::tcb_info(20, 2)), BadOrigin);
        set_time(mint::VALID_UNTIL + 1);
        assert_noop!(submit(mint::tcb_info(20, 2)), Error::<Test>::OutOfDate);
    });
}

/// A TCB evaluation number goes up: nothing is refused until the early period is over, or the current document is.
#[test]
fn documents_of_a_tcb_recovery_are_early_first() {
    let id = tcb_info_id();
    let number = |now| Attestation::document(id, now).unwrap().number;
    let early = || EarlyDocuments::<Test>::get(id);
    with_vendors(|| {
        assert_ok!(Attestation::set_early_period(RuntimeOrigin::root(), 600));
        assert_ok!(submit(mint::tcb_info(20, 0)));
        let now = Attestation::now();
        assert_ok!(submit(mint::tcb_info(21, 0)));
        assert_eq!(early().unwrap().since, now);
        assert_eq!((number(now), number(now + 599), number(now + 600)), (20, 20, 21));
        // Where the current one ends before, there is no other.
        assert_eq!(number(mint::VALID_UNTIL + 1), 21);
        // Root can hurry.
        assert_ok!(Attestation::set_early_period(RuntimeOrigin::root(), 0));
        assert_eq!(number(now), 21);
        assert_ok!(Attestation::set_early_period(RuntimeOrigin::root(), 600));
        // Both are refreshed by themselves; time does not start anew, nothing goes back, and the next recovery waits.
        assert_noop!(submit(mint::tcb_info(21, 0)), Error::<Test>::DocumentNotNewer);
        set_time(now + 10);
        assert_ok!(submit(mint::tcb_info(21, 1)));
        assert_ok!(submit(mint::tcb_info(20, 1)));
        assert_noop!(submit(mint::tcb_info(22, 2)), Error::<Test>::EarlyDocumentWaits);
        assert_eq!(early().unwrap().since, now);
        Attestation::do_try_state().unwrap();
        // It is the current one from then on; what is refused changes nothing of that.
        set_time(now + 600);
        assert_noop!(submit(mint::tcb_info(20, 4)), Error::<Test>::DocumentNotNewer);
        assert_ok!(submit(mint::tcb_info(21, 4)));
        assert_eq!((early(), number(now)), (None, 21));
        assert_eq!(KnownSignatures::<Test>::iter().count(), 2);
        Attestation::do_try_state().unwrap();
        // The next recovery has its own time.
        assert_ok!(submit(mint::tcb_info(22, 4)));
        assert_eq!((early().unwrap().since, number(now + 600)), (now + 600, 21));
    });
}

/// The next revocation list comes seven days after the last one has ended: nobody is refused before, nothing is believed meanwhile, and
/// with the new one all is as it was.
#[test]
fn a_revocation_list_may_be_seven_days_late() {
    const DAY: u64 = 24 * 60 * 60;
    type Minted = (Evidence, Vec<SignedDocument>);
    let day = |days| mint::VALID_FROM + days * DAY;
    for of_kind in [mint::Mint::sgx, mint::Mint::tdx, mint::Mint::sev_snp] as [fn(&mint::Mint, &[u8; 64]) -> Minted; 3]
    {
        let minted = |from, until| {
            let mint = mint::Mint { from: day(from), until: day(until), ..Default::default() };
            of_kind(&mint, &statement().report_data())
        };
        let is_list = |document: &SignedDocument| {
            matches!(
                document,
                SignedDocument::IntelRootCrl(_) | SignedDocument::PckCrl { .. } | SignedDocument::AmdCrl(_)
            )
        };
        let lists = |from, until| minted(from, until).1.into_iter().filter(is_list).collect::<Vec<_>>();
        with_vendors(|| {
            // Of what limits a verdict, only lists end here.
            assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), MAX_VERDICT_LIFETIME));
            let (evidence, mut documents) = minted(0, 40);
            documents.retain(|document| !is_list(document));
            submit_all([documents, lists(0, 10)].concat());
            let (image, _) = Attestation::verify_evidence(&evidence, Attestation::now()).unwrap();
            assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image.measurement(), Role::Worker, 1));
            let end = day(10) - 1;
            for now in [Attestation::now(), day(5), end] {
                set_time(now);
                assert_eq!(verify_evidence(&evidence).unwrap().expires, end);
            }
            for late in 0..=7 {
                set_time(end + 1 + late * DAY);
                assert_eq!(verify_evidence(&evidence), Err(Error::<Test>::OutOfDate.into()));
                for ended in lists(5, 10) {
                    assert_noop!(submit(ended), Error::<Test>::OutOfDate);
                }
            }
            submit_all(lists(17, 40));
            assert_eq!(verify_evidence(&evidence).unwrap().expires, day(40) - 1);
        });
    }
}

fn tcb_info_id() -> phala_attestation::DocumentId {
    phala_attestation::DocumentId::SgxTcbInfo([0, 0xa0, 0x67, 0x11, 0, 0])
}

/// An early document that nobody refreshed does not take the place of a current one that is still valid.
#[test]
fn an_early_document_that_has_ended_does_not_count() {
    let kept = |number, valid_until| KeptDocument {
        document: mint::tcb_info(20, 0),
        issued: 100,
        valid_until,
        number,
        signatures: vec![],
    };
    let early = EarlyDocument { kept: kept(21, 200), since: 100 };
    assert!(!early.counts(Some(&kept(20, 300)), 149, 50));
    assert!(early.counts(Some(&kept(20, 300)), 150, 50));
    assert!(!early.counts(Some(&kept(20, 300)), 201, 50));
    assert!(early.counts(Some(&kept(20, 120)), 121, 50));
    assert!(early.counts(None, 110, 50));
}

/// Vendors sign most documents anew each hour: who brings them all pays for it.
#[test]
fn documents_that_are_hardly_newer_are_paid_for() {
    with_vendors(|| {
        let pays = |document| submit(document).unwrap().pays_fee;
        assert_eq!(pays(mint::tcb_info(20, 0)), Pays::No);
        assert_eq!(pays(mint::tcb_info(20, 1)), Pays::Yes);
        assert_eq!(pays(mint::tcb_info(21, 1)), Pays::No);
        assert_eq!(pays(mint::tcb_info(21, 2)), Pays::Yes);
        // As if what is kept were from the day before.
        Documents::<Test>::mutate(tcb_info_id(), |kept| kept.as_mut().unwrap().issued -= FREE_DOCUMENT_INTERVAL);
        assert_eq!(pays(mint::tcb_info(20, 2)), Pays::No);
    });
}

#[test]
fn governance_can_have_documents_forgotten() {
    with_vendors(|| {
        let remove = |origin| Attestation::remove_document(origin, tcb_info_id());
        assert_noop!(remove(RuntimeOrigin::root()), Error::<Test>::UnknownDocument);
        assert_ok!(submit(mint::tcb_info(21, 0)));
        assert_ok!(submit(mint::tcb_info(22, 0)));
        assert_noop!(submit(mint::tcb_info(20, 1)), Error::<Test>::DocumentNotNewer);
        assert_noop!(remove(RuntimeOrigin::signed(OPERATOR)), BadOrigin);
        assert_ok!(remove(RuntimeOrigin::root()));
        assert_eq!(KnownSignatures::<Test>::iter().count(), 0);
        assert_ok!(submit(mint::tcb_info(20, 1)));
    });
}

#[test]
fn governance_decides_which_platforms_are_good_enough() {
    with_vendors(|| {
        let report_data = statement().report_data();
        let (sgx, documents) = mint::sgx(&report_data);
        submit_all(documents);
        let (snp, documents) = mint::sev_snp(&report_data);
        submit_all(documents);
        let verify = |evidence| {
            Attestation::verify_evidence(evidence, Attestation::now()).map(drop).map_err(|error| format!("{error:?}"))
        };
        assert_eq!((verify(&sgx), verify(&snp)), (Ok(()), Ok(())));
        let policy = HardwarePolicy {
            dcap: DcapPolicy { minimum_evaluation_number: 21, ..DcapPolicy::default() },
            sev_snp: SevSnpPolicy { minimum_tcb: vec![], ..SevSnpPolicy::default() },
            limited: None,
        };
        assert_noop!(Attestation::set_hardware_policy(RuntimeOrigin::signed(OPERATOR), policy.clone()), BadOrigin);
        assert_ok!(Attestation::set_hardware_policy(RuntimeOrigin::root(), policy));
        assert_eq!((verify(&sgx), verify(&snp)), (Err("OutOfDate".into()), Err("TcbRefused".into())));
        let allowed_statuses = vec![TcbStatus::UpToDate; MAX_POLICY_BYTES];
        let large =
            HardwarePolicy { dcap: DcapPolicy { allowed_statuses, ..DcapPolicy::default() }, ..Default::default() };
        assert_noop!(Attestation::set_hardware_policy(RuntimeOrigin::root(), large), Error::<Test>::PolicyTooLarge);
        assert_noop!(Attestation::set_early_period(RuntimeOrigin::signed(OPERATOR), 1), BadOrigin);
        assert_noop!(
            Attestation::set_early_period(RuntimeOrigin::root(), MAX_EARLY_PERIOD + 1),
            Error::<Test>::PeriodOutOfRange
        );
    });
}

#[test]
fn evidence_counts_for_what_it_may_weigh_with_the_documents_that_are_kept() {
    with_vendors(|| {
        let (evidence, documents) = mint::sgx(&statement().report_data());
        let empty = Attestation::evidence_weight(&evidence);
        assert_eq!(empty, <() as WeightInfo>::verify_dcap(0, 0));
        submit_all(documents);
        let weight = || Attestation::verify_evidence(&evidence, Attestation::now()).unwrap().1;
        assert_eq!(Attestation::evidence_weight(&evidence), weight());
        assert!(weight().all_gt(empty));
        // With an outlook while a document is early.
        assert_ok!(submit(mint::tcb_info(21, 1)));
        assert!(Attestation::evidence_weight(&evidence).all_gte(weight().saturating_mul(2)));
        assert_ok!(Attestation::remove_document(RuntimeOrigin::root(), tcb_info_id()));
        assert_eq!(EarlyDocuments::<Test>::count(), 0);
        // The largest that was ever kept counts on.
        assert!(Attestation::evidence_weight(&evidence).all_gt(empty));
    });
}

/// Outlooks name the time that the earlier period gave: whoever has one is to prove itself anew.
#[test]
fn another_early_period_is_a_reason_to_renew() {
    with_vendors(|| {
        let set = |seconds| Attestation::set_early_period(RuntimeOrigin::root(), seconds);
        let latest = || Recoveries::<Test>::get(tcb_info_id());
        assert_ok!(set(600));
        let (evidence, documents) = mint::sgx(&statement().report_data());
        submit_all(documents);
        let (image, _) = Attestation::verify_evidence(&evidence, Attestation::now()).unwrap();
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image.measurement(), Role::Worker, 1));
        // No document is early: nobody has to do anything.
        assert_ok!(set(700));
        assert_eq!(Recoveries::<Test>::iter().count(), 0);

        let recovery = |age| mint::Mint { from: mint::VALID_FROM + age, ..Default::default() }.tcb_recovery(21);
        let from = || verify_evidence(&evidence).unwrap().outlook.unwrap().from;
        assert_ok!(submit(recovery(1)));
        let began = Attestation::now();
        assert_eq!((latest(), from()), (Some(began), began + 700));
        for (after, seconds) in [(10, 100), (20, 3000)] {
            set_time(began + after);
            assert_ok!(set(seconds));
            assert_eq!((latest(), from()), (Some(began + after), began + seconds));
        }
        // Who refreshes the early document does not hide it.
        assert_ok!(submit(recovery(2)));
        assert_eq!((latest(), EarlyDocuments::<Test>::get(tcb_info_id()).unwrap().since), (Some(began + 20), began));
    });
}

#[test]
fn evidence_never_weighs_more_than_it_counted_for() {
    for size in [1, 30] {
        with_vendors(|| {
            let report_data = statement().report_data();
            let (tcb_info, list) = mint::large_documents(size, size);
            submit_all(vec![tcb_info, list, mint::large_amd_crl(size)]);
            for early in [false, true] {
                for (evidence, documents) in
                    [mint::sgx(&report_data), mint::tdx(&report_data), mint::sev_snp(&report_data)]
                {
                    for document in documents {
                        if let Err(refused) = submit(document) {
                            assert_eq!(refused.error, Error::<Test>::DocumentNotNewer.into());
                        }
                    }
                    let counted = Attestation::evidence_weight(&evidence);
                    let (image, once) = Attestation::verify_evidence(&evidence, Attestation::now()).unwrap();
                    assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image.measurement(), Role::Worker, 1));
                    let weight = verify_evidence(&evidence).unwrap().weight;
                    assert!(weight.all_gte(once) && weight.all_lte(counted), "{weight} of {counted}");
                    // Of SGX alone, an early document changes what is done.
                    assert_eq!(weight != once, early && image.kind() == phala_attestation::Kind::Sgx);
                }
                if !early {
                    assert_ok!(submit(mint::tcb_info(21, 1)));
                }
            }
        });
    }
}

/// What a TCB recovery does to who runs on a platform that was not updated is told as long as its documents are early.
#[test]
fn an_outlook_tells_what_a_tcb_recovery_will_do() {
    with_vendors(|| {
        assert_ok!(Attestation::set_early_period(RuntimeOrigin::root(), 600));
        let (evidence, documents) = mint::sgx(&statement().report_data());
        submit_all(documents);
        let (image, _) = Attestation::verify_evidence(&evidence, Attestation::now()).unwrap();
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image.measurement(), Role::Worker, 1));
        let before = verify_evidence(&evidence).unwrap();
        assert_eq!((before.outlook, before.tier, before.expires), (None, Tier::Full, mint::VALID_UNTIL - 1));
        assert_eq!(before.family, Family::Fmspc([0, 0xa0, 0x67, 0x11, 0, 0]));

        // One that it is good enough for.
        assert_ok!(submit(mint::tcb_info(21, 1)));
        let now = Attestation::now();
        assert_eq!(Recoveries::<Test>::iter().collect::<Vec<_>>(), [(tcb_info_id(), now)]);
        let good = verify_evidence(&evidence).unwrap();
        assert_eq!((good.outlook, good.expires), (None, mint::VALID_UNTIL - 1));
        assert!(good.weight.all_gt(before.weight) && good.weight.all_lte(Attestation::evidence_weight(&evidence)));

        // One that it is not, or only for the limited tier.
        let recovery = |age| mint::Mint { from: mint::VALID_FROM + age, ..Default::default() }.tcb_recovery(21);
        assert_ok!(submit(recovery(2)));
        let bad = verify_evidence(&evidence).unwrap();
        assert_eq!((bad.outlook, bad.expires), (Some(Outlook { from: now + 600, tier: None }), now + 600));
        let mut limited = phala_attestation::Requirements::default();
        limited.dcap.allowed_statuses.push(TcbStatus::OutOfDate);
        let policy = HardwarePolicy { limited: Some(limited), ..Default::default() };
        assert_ok!(Attestation::set_hardware_policy(RuntimeOrigin::root(), policy));
        let worse = verify_evidence(&evidence).unwrap();
        let outlook = Outlook { from: now + 600, tier: Some(Tier::Limited) };
        assert_eq!((worse.outlook, worse.tier), (Some(outlook), Tier::Full));

        // Then it is what counts.
        set_time(now + 600);
        let mut other = statement();
        other.role = Role::Gatekeeper;
        let (evidence_of_gatekeeper, _) = mint::sgx(&other.report_data());
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image.measurement(), Role::Gatekeeper, 1));
        let refused = Attestation::verify_enclave(Role::Gatekeeper, &OPERATOR, &other, &evidence_of_gatekeeper);
        assert_eq!(refused, Err(Error::<Test>::TierTooLow.into()));
        let (verified, _) = Attestation::verify_evidence(&evidence, now + 600).unwrap();
        assert_eq!(verified.tier(), Tier::Limited);
        assert!(Attestation::outlook(&evidence, now + 600).unwrap().is_none());
        assert_ok!(Attestation::set_hardware_policy(RuntimeOrigin::root(), HardwarePolicy::default()));
        assert!(matches!(Attestation::verify_evidence(&evidence, now + 600), Err(Error::TcbRefused)));
    });
}

#[test]
fn nothing_of_a_class_that_is_declared_broken_is_accepted() {
    with_image(|| {
        let statement = statement();
        let compromise = |class| Attestation::compromise(RuntimeOrigin::root(), class);
        let classes = [
            Class::Image(IMAGE),
            Class::Platform(platform().id()),
            Class::Family(Family::Simulated(VendorName::DEVELOPMENT)),
        ];
        for class in classes {
            assert_noop!(Attestation::compromise(RuntimeOrigin::signed(OPERATOR), class), BadOrigin);
            assert_noop!(Attestation::restore(RuntimeOrigin::root(), class), Error::<Test>::NotCompromised);
            assert_ok!(compromise(class));
            System::assert_last_event(Event::Compromised { class }.into());
            assert_noop!(compromise(class), Error::<Test>::AlreadyCompromised);
            assert_refused(&statement, quote(&statement), Error::Compromised);
            assert_noop!(Attestation::restore(RuntimeOrigin::signed(OPERATOR), class), BadOrigin);
            assert_ok!(Attestation::restore(RuntimeOrigin::root(), class));
            assert_ok!(verify(&statement, quote(&statement)));
        }
        // Others are none of it.
        let (image, platform) = (Measurement([1; 32]), phala_attestation::PlatformId([1; 32]));
        let family = Family::Generation(phala_attestation::Generation::Milan);
        for class in [Class::Image(image), Class::Platform(platform), Class::Family(family)] {
            assert_ok!(compromise(class));
            assert_ok!(verify(&statement, quote(&statement)));
        }
    });
}
