use crate::{mock::*, *};
use frame_support::{assert_noop, assert_ok};
use phala_attestation::{
    Vendor,
    simulated::{Platform, Quote, Report, Root, development_root},
};
use sp_runtime::{AccountId32, traits::BadOrigin};

const IMAGE: Measurement = Measurement([9; 32]);
const OPERATOR: AccountId32 = AccountId32::new([4; 32]);

fn platform() -> Platform {
    development_root().certify([7; 32], 1, START - 1000, START + 200_000)
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
        assert_eq!(verified.vendor, Vendor::Simulated);
        assert_eq!(verified.expires, Attestation::now() + DEFAULT_VERDICT_LIFETIME);
    });
}

#[test]
fn a_verdict_ends_no_later_than_its_evidence() {
    with_image(|| {
        let statement = statement();
        let end = Attestation::now() + 5;
        let short = development_root().certify([7; 32], 1, 0, end).quote(report(&statement));
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
        let forged = Root::from_seed([1; 32]).certify([7; 32], 1, 0, u64::MAX).quote(report(&statement));
        assert_refused(&statement, forged, Error::CertificateChain);
        let ended = development_root().certify([7; 32], 1, 0, Attestation::now()).quote(report(&statement));
        assert_refused(&statement, ended, Error::OutOfDate);
        let outdated = development_root().certify([7; 32], 0, 0, u64::MAX).quote(report(&statement));
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
        assert_ok!(Attestation::claim_platform(&platform, &first));
        assert_ok!(Attestation::claim_platform(&platform, &first));
        assert_noop!(Attestation::claim_platform(&platform, &second), Error::<Test>::PlatformTaken);
        Attestation::release_platform(&platform, &second);
        assert_eq!(Platforms::<Test>::get(platform), Some(first));
        Attestation::release_platform(&platform, &first);
        assert_ok!(Attestation::claim_platform(&platform, &second));
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
