use crate::{
    enclave::*,
    mock::*,
    mock::{Attestation, Test, Workers},
    *,
};
use frame_support::{assert_noop, assert_ok};
use phala_attestation::simulated::Root;
use phala_primitives::worker::{Heartbeat, Performance, PerformanceReport};
use proptest::prelude::*;
use sp_runtime::AccountId32;

const OPERATOR: AccountId32 = AccountId32::new([4; 32]);
const SOMEBODY: AccountId32 = AccountId32::new([5; 32]);

type Attested = pallet_phala_attestation::Error<Test>;
type Refused = Error<Test>;

fn origin() -> RuntimeOrigin {
    RuntimeOrigin::signed(OPERATOR)
}

fn enclave(number: u32) -> Enclave {
    Enclave::new(number, OPERATOR)
}

fn registered(number: u32, price: Balance) -> Enclave {
    let enclave = enclave(number);
    assert_ok!(enclave.register::<Test>(price));
    enclave
}

fn heartbeat(enclave: &Enclave) -> DispatchResultWithPostInfo {
    Workers::heartbeat(origin(), enclave.sign_heartbeat(enclave.heartbeat::<Test>()))
}

fn renew(enclave: &Enclave) -> DispatchResult {
    let statement = enclave.statement::<Test>();
    let evidence = enclave.evidence(&statement);
    Workers::renew(origin(), statement, evidence, enclave.sign_report(enclave.report::<Test>()))
        .map(drop)
        .map_err(|refused| refused.error)
}

fn register_with_report(enclave: &Enclave, performance: SignedPerformanceReport) -> DispatchResult {
    let statement = enclave.statement::<Test>();
    let evidence = enclave.evidence(&statement);
    Workers::register(origin(), statement, evidence, performance, endpoint(), 1)
        .map(drop)
        .map_err(|refused| refused.error)
}

fn record(enclave: &Enclave) -> Worker<Test> {
    crate::Workers::<Test>::get(enclave.id()).unwrap()
}

fn status(enclave: &Enclave) -> WorkerStatus {
    record(enclave).status
}

fn prices() -> Vec<Balance> {
    (0..market::len::<Test>()).map(|at| ActiveIndex::<Test>::get(at).unwrap().price).collect()
}

mod registration {
    use super::*;

    #[test]
    fn a_worker_is_stored_as_its_evidence_says() {
        with_chain(|| {
            run_to(3);
            let enclave = registered(1, 7);
            let statement = enclave.statement::<Test>();
            let evidence = enclave.evidence(&statement);
            let worker = record(&enclave);
            assert_eq!(worker.operator, OPERATOR);
            assert_eq!(worker.encryption_key, enclave.encryption_key);
            assert_eq!(worker.endpoint, endpoint().into_inner());
            assert_eq!((worker.price, worker.running, worker.status), (7, 0, WorkerStatus::Active));
            assert_eq!(worker.performance, enclave.performance);
            assert_eq!(worker.measurement, MEASUREMENT);
            assert_eq!(worker.evidence_hash, sp_io::hashing::sha2_256(&(statement, evidence).encode()));
            assert_eq!((worker.registered_at, worker.last_heartbeat), (3, 2));
            assert_eq!(pallet_phala_attestation::Platforms::<Test>::get(worker.platform), Some(enclave.id().into()));
            let verdict_expires = Attestation::now() + pallet_phala_attestation::DEFAULT_VERDICT_LIFETIME;
            assert_eq!(worker.verdict_expires, verdict_expires);
            System::assert_last_event(
                Event::Registered { worker: enclave.id(), operator: OPERATOR, verdict_expires }.into(),
            );
        });
    }

    #[test]
    fn the_same_worker_registers_once() {
        with_chain(|| {
            let enclave = registered(1, 1);
            assert_noop!(enclave.register::<Test>(1), Refused::AlreadyRegistered);
        });
    }

    #[test]
    fn evidence_binds_the_operator() {
        with_chain(|| {
            let thief = RuntimeOrigin::signed(SOMEBODY);
            let enclave = enclave(1);
            let statement = enclave.statement::<Test>();
            let evidence = enclave.evidence(&statement);
            let performance = enclave.sign_report(enclave.report::<Test>());
            assert_noop!(
                Workers::register(thief, statement, evidence, performance, endpoint(), 1),
                Attested::WrongOperator
            );
        });
    }

    #[test]
    fn evidence_of_another_root_is_refused() {
        with_chain(|| {
            let forged = Enclave::certified_by(&Root::from_seed([1; 32]), 1, OPERATOR);
            assert_noop!(forged.register::<Test>(1), Attested::CertificateChain);
        });
    }

    #[test]
    fn an_image_that_is_not_allowed_is_refused() {
        with_chain(|| {
            let mut enclave = enclave(1);
            enclave.measurement.0[0] ^= 1;
            assert_noop!(enclave.register::<Test>(1), Attested::ImageNotAllowed);
        });
    }

    #[test]
    fn one_platform_backs_one_worker() {
        with_chain(|| {
            registered(1, 1);
            let second = Enclave::new(2, SOMEBODY).moved_to(enclave(1));
            assert_noop!(second.register::<Test>(1), Attested::PlatformTaken);
        });
    }

    /// An enclave whose platform cannot seal has other keys after each start.
    #[test]
    fn the_same_operator_takes_a_platform_over_as_soon_as_its_worker_has_no_job() {
        with_chain(|| {
            let first = registered(1, 1);
            assert_ok!(Workers::assign(&first.id()));
            let second = enclave(2).moved_to(enclave(1));
            assert_noop!(second.register::<Test>(1), Attested::PlatformTaken);
            Workers::release(&first.id());
            assert_ok!(second.register::<Test>(1));
            assert!(!crate::Workers::<Test>::contains_key(first.id()));
        });
    }

    #[test]
    fn a_platform_is_free_again_after_deregistration() {
        with_chain(|| {
            let first = registered(1, 1);
            assert_ok!(Workers::deregister(origin(), first.id()));
            System::assert_last_event(Event::Deregistered { worker: first.id() }.into());
            assert_ok!(enclave(2).moved_to(first).register::<Test>(1));
        });
    }

    #[test]
    fn a_platform_is_taken_over_when_its_workers_verdict_has_ended_and_it_has_no_job() {
        with_chain(|| {
            assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 10));
            let first = registered(1, 1);
            assert_ok!(Workers::assign(&first.id()));
            let mut second = Enclave::new(2, SOMEBODY).moved_to(enclave(1));
            run_to(5);
            assert_noop!(second.register::<Test>(2), Attested::PlatformTaken);
            // Its verdict ends, and it still has a job.
            run_to(6);
            assert_noop!(second.register::<Test>(2), Attested::PlatformTaken);
            Workers::release(&first.id());
            // Not without evidence.
            second.measurement.0[0] ^= 1;
            assert_noop!(second.register::<Test>(2), Attested::ImageNotAllowed);
            second.measurement = MEASUREMENT;
            assert_ok!(second.register::<Test>(2));
            System::assert_has_event(Event::Deregistered { worker: first.id() }.into());
            assert!(!crate::Workers::<Test>::contains_key(first.id()));
            assert_eq!(prices(), [2]);
            // What it left is not in its way.
            run_to(2 * TIMEOUT);
            assert_eq!(Lost::get(), [second.id()]);
        });
    }

    #[test]
    fn a_statement_of_long_ago_does_not_make_a_worker_active_for_long() {
        with_chain(|| {
            let enclave = enclave(1);
            let statement = enclave.statement::<Test>();
            let (evidence, report) = (enclave.evidence(&statement), enclave.sign_report(enclave.report::<Test>()));
            run_to(RECENCY);
            assert_ok!(Workers::register(origin(), statement, evidence, report, endpoint(), 1));
            Workers::do_try_state().unwrap();
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Active);
        });
    }

    #[test]
    fn a_price_of_zero_is_refused() {
        with_chain(|| {
            assert_noop!(enclave(1).register::<Test>(0), Refused::InvalidPrice);
            let worker = registered(1, 1).id();
            assert_noop!(Workers::set_price(origin(), worker, 0), Refused::InvalidPrice);
        });
    }

    #[test]
    fn endpoints_are_http_urls() {
        with_chain(|| {
            let worker = registered(1, 1).id();
            for bad in ["", "http://", "https://", "ftp://a", "http://a/", "http://a b", "http://é", "HTTP://a"] {
                let endpoint = BoundedVec::truncate_from(bad.into());
                assert_noop!(Workers::set_endpoint(origin(), worker, endpoint), Refused::InvalidEndpoint);
            }
            for good in ["http://127.0.0.1:1", "https://a.example/worker"] {
                let endpoint = Endpoint::truncate_from(good.into());
                assert_ok!(Workers::set_endpoint(origin(), worker, endpoint.clone()));
                System::assert_last_event(Event::EndpointSet { worker }.into());
                assert_eq!(crate::Workers::<Test>::get(worker).unwrap().endpoint, endpoint.into_inner());
            }
        });
    }

    #[test]
    fn a_performance_report_is_checked() {
        with_chain(|| {
            run_to(RECENCY + 5);
            let enclave = enclave(1);
            let good = enclave.report::<Test>();
            let refuse = |report: PerformanceReport, error: Refused| {
                assert_noop!(register_with_report(&enclave, enclave.sign_report(report)), error);
            };
            refuse(PerformanceReport { worker: WorkerId([0; 32]), ..good.clone() }, Refused::WrongWorker);
            refuse(PerformanceReport { genesis_hash: [0; 32], ..good.clone() }, Refused::WrongGenesis);
            refuse(PerformanceReport { block_number: 4, ..good.clone() }, Refused::StaleReport);
            refuse(PerformanceReport { block_number: RECENCY + 6, ..good.clone() }, Refused::StaleReport);
            for (fuel_per_second, capacity) in [(0, 1), (1, 0), (1, 9)] {
                let performance = Performance { fuel_per_second, capacity };
                refuse(PerformanceReport { performance, ..good.clone() }, Refused::PerformanceOutOfRange);
            }
            let mut forged = enclave.sign_report(good.clone());
            forged.report.performance.fuel_per_second *= 2;
            assert_noop!(register_with_report(&enclave, forged), Refused::BadSignature);
            assert_ok!(register_with_report(&enclave, enclave.sign_report(good)));
        });
    }
}

mod renewal {
    use super::*;

    #[test]
    fn a_renewal_replaces_verdict_and_performance() {
        with_chain(|| {
            let mut enclave = registered(1, 1);
            run_to(10);
            enclave.performance = Performance { fuel_per_second: 5, capacity: 2 };
            let before = record(&enclave);
            assert_ok!(renew(&enclave));
            let worker = record(&enclave);
            assert_eq!(worker.verdict_expires, before.verdict_expires + 18);
            assert_eq!(worker.performance, enclave.performance);
            assert_ne!(worker.evidence_hash, before.evidence_hash);
            assert_eq!((worker.registered_at, worker.last_heartbeat), (1, 9));
            System::assert_last_event(
                Event::Renewed { worker: enclave.id(), verdict_expires: worker.verdict_expires }.into(),
            );
        });
    }

    #[test]
    fn a_renewal_may_bring_another_allowed_image() {
        with_chain(|| {
            let mut enclave = registered(1, 1);
            enclave.measurement = phala_attestation::Measurement([1; 32]);
            assert_noop!(renew(&enclave), Attested::ImageNotAllowed);
            assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), enclave.measurement, Role::Worker, 2));
            assert_ok!(renew(&enclave));
            assert_eq!(record(&enclave).measurement, enclave.measurement);
        });
    }

    #[test]
    fn a_renewal_keeps_platform_and_encryption_key() {
        with_chain(|| {
            let mut enclave = registered(1, 1);
            enclave.encryption_key = [0; 32];
            assert_noop!(renew(&enclave), Refused::EncryptionKeyChanged);
            let moved = super::enclave(1).moved_to(super::enclave(2));
            assert_noop!(renew(&moved), Refused::PlatformChanged);
        });
    }

    #[test]
    fn a_renewal_with_a_statement_of_long_ago_is_no_sign_of_life() {
        with_chain(|| {
            let enclave = registered(1, 1);
            let statement = enclave.statement::<Test>();
            let (evidence, report) = (enclave.evidence(&statement), enclave.sign_report(enclave.report::<Test>()));
            run_to(10);
            assert_ok!(heartbeat(&enclave));
            assert_ok!(Workers::renew(origin(), statement.clone(), evidence.clone(), report.clone()));
            assert_eq!(record(&enclave).last_heartbeat, 9);
            run_to(10 + TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(Workers::renew(origin(), statement, evidence, report));
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn only_the_operator_renews_and_only_what_exists() {
        with_chain(|| {
            let enclave = enclave(1);
            assert_noop!(renew(&enclave), Refused::UnknownWorker);
            assert_ok!(enclave.register::<Test>(1));
            let statement = enclave.statement::<Test>();
            let evidence = enclave.evidence(&statement);
            let report = enclave.sign_report(enclave.report::<Test>());
            let thief = RuntimeOrigin::signed(SOMEBODY);
            assert_noop!(Workers::renew(thief, statement, evidence, report), Refused::NotOperator);
        });
    }
}

mod liveness {
    use super::*;

    #[test]
    fn a_silent_worker_becomes_unresponsive() {
        with_chain(|| {
            let enclave = registered(1, 1);
            run_to(TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Active);
            assert!(Lost::get().is_empty());
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_eq!(Lost::get(), [enclave.id()]);
            assert_eq!(Workers::cheapest(), None);
            System::assert_last_event(
                Event::StatusChanged { worker: enclave.id(), status: WorkerStatus::Unresponsive }.into(),
            );
        });
    }

    #[test]
    fn heartbeats_keep_a_worker_active_and_end_silence() {
        with_chain(|| {
            let enclave = registered(1, 1);
            for _ in 0..5 {
                run_to(System::block_number() + TIMEOUT - 1);
                assert_ok!(heartbeat(&enclave));
                assert_eq!(status(&enclave), WorkerStatus::Active);
                Workers::do_try_state().unwrap();
            }
            run_to(System::block_number() + TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Active);
            assert_eq!(Workers::cheapest(), Some(1));
            run_to(System::block_number() + TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(renew(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Active);
        });
    }

    #[test]
    fn checks_are_bounded_per_block_and_none_is_lost() {
        with_chain(|| {
            let per_block = CHECKS / COST_OF_SILENCE;
            for number in 0..3 * per_block {
                registered(number, 1);
            }
            run_to(TIMEOUT);
            for blocks in 1..=3 {
                next_block();
                assert_eq!(Lost::get().len() as u32, blocks * per_block);
                Workers::do_try_state().unwrap();
            }
            run_to(40);
            assert_eq!(NextCheck::<Test>::get(), 41);
            assert_eq!(market::len::<Test>(), 0);
        });
    }

    #[test]
    fn a_heartbeat_is_free_once_in_a_while() {
        with_chain(|| {
            let enclave = registered(1, 1);
            // Free when newer by two blocks, a tenth of the timeout. The statement named block 0.
            next_block();
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::Yes);
            run_to(4);
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::No);
            next_block();
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::Yes);
            run_to(9);
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::No);
        });
    }

    #[test]
    fn anybody_brings_a_heartbeat_and_only_a_newer_one_counts() {
        with_chain(|| {
            let somebody = || RuntimeOrigin::signed(SOMEBODY);
            let enclave = registered(1, 1);
            run_to(5);
            let old = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            run_to(10);
            let new = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            assert_eq!(Workers::heartbeat(somebody(), new.clone()).unwrap().pays_fee, Pays::No);
            assert_eq!(record(&enclave).last_heartbeat, 9);
            for replayed in [old, new.clone()] {
                assert_noop!(Workers::heartbeat(somebody(), replayed), Refused::OldHeartbeat);
            }
            // A replay does not put off the end either.
            run_to(9 + TIMEOUT);
            assert_noop!(Workers::heartbeat(somebody(), new), Refused::OldHeartbeat);
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_heartbeat_kept_back_is_as_old_as_its_block() {
        with_chain(|| {
            let enclave = registered(1, 1);
            run_to(10);
            let kept = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            run_to(9 + TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(Workers::heartbeat(origin(), kept));
            assert_eq!(status(&enclave), WorkerStatus::Active);
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_heartbeat_is_checked() {
        with_chain(|| {
            let enclave = registered(1, 1);
            run_to(10);
            let good = enclave.heartbeat::<Test>();
            let refuse = |heartbeat: Heartbeat, error: Refused| {
                assert_noop!(Workers::heartbeat(origin(), enclave.sign_heartbeat(heartbeat)), error);
            };
            refuse(Heartbeat { worker: WorkerId([0; 32]), ..good.clone() }, Refused::UnknownWorker);
            refuse(Heartbeat { genesis_hash: [0; 32], ..good.clone() }, Refused::WrongGenesis);
            refuse(Heartbeat { block_hash: [0; 32], ..good.clone() }, Refused::StaleHeartbeat);
            refuse(Heartbeat { block_number: 8, ..good.clone() }, Refused::StaleHeartbeat);
            refuse(Heartbeat { block_number: 999, block_hash: [0; 32], ..good.clone() }, Refused::StaleHeartbeat);
            let mut forged = enclave.sign_heartbeat(good.clone());
            forged.signature[0] ^= 1;
            assert_noop!(Workers::heartbeat(origin(), forged), Refused::BadSignature);
            run_to(9 + TIMEOUT + 1);
            refuse(good, Refused::StaleHeartbeat);
        });
    }

    #[test]
    fn a_worker_whose_verdict_ended_drops_out_until_it_renews() {
        with_chain(|| {
            assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 10));
            let enclave = registered(1, 1);
            run_to(5);
            assert_ok!(heartbeat(&enclave));
            run_to(6);
            assert_noop!(heartbeat(&enclave), Refused::VerdictExpired);
            assert!(Workers::eligible(&enclave.id(), 1, 1, Attestation::now()).is_none());
            run_to(5 + TIMEOUT + 1);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_noop!(heartbeat(&enclave), Refused::VerdictExpired);
            assert_ok!(renew(&enclave));
            assert!(Workers::eligible(&enclave.id(), 1, 1, Attestation::now()).is_some());
        });
    }

    #[test]
    fn a_worker_whose_image_is_forbidden_drops_out() {
        with_chain(|| {
            let enclave = registered(1, 1);
            assert_ok!(Attestation::forbid_image(RuntimeOrigin::root(), MEASUREMENT));
            run_to(5);
            assert_noop!(heartbeat(&enclave), Refused::ImageNotAllowed);
            assert!(Workers::eligible(&enclave.id(), 1, 1, Attestation::now()).is_none());
        });
    }
}

mod challenges {
    use super::*;

    /// Enters the next block, in which the beacon has a new round.
    fn next_round() {
        Round::set(Some(Round::get().unwrap_or_default() + 1));
        next_block();
    }

    /// In which block an enclave was challenged, if it has not answered.
    fn challenged(enclave: &Enclave) -> Option<u32> {
        Challenged::<Test>::get(enclave.id())
    }

    /// A worker that is challenged in this block, the third.
    fn challenged_worker() -> Enclave {
        run_to(2);
        let enclave = registered(1, 1);
        next_round();
        assert_eq!(challenged(&enclave), Some(3));
        enclave
    }

    #[test]
    fn each_active_worker_is_as_likely_to_be_challenged_as_any_other() {
        with_chain(|| {
            let workers: Vec<_> = [5, 3, 9, 3].iter().zip(0..).map(|(price, n)| registered(n, *price).id()).collect();
            let mut counts = [0; 4];
            for round in 1..=400 {
                Round::set(Some(round));
                Workers::do_challenge(1);
                for (worker, _) in Challenged::<Test>::drain() {
                    counts[workers.iter().position(|other| *other == worker).unwrap()] += 1;
                }
            }
            // A worker is one of the two that a round draws with a probability of 7/16.
            assert!(counts.iter().all(|count| (130..220).contains(count)), "{counts:?}");
        });
    }

    #[test]
    fn each_round_challenges_once_and_without_one_nobody_is_challenged() {
        with_chain(|| {
            let enclave = registered(1, 1);
            next_block();
            assert_eq!(challenged(&enclave), None);
            next_round();
            assert_eq!(challenged(&enclave), Some(3));
            System::assert_has_event(Event::Challenged { worker: enclave.id(), until: 3 + WINDOW }.into());
            next_block();
            assert_ok!(heartbeat(&enclave));
            assert_eq!(challenged(&enclave), None);
            // The beacon stands still.
            run_to(10);
            assert_eq!((challenged(&enclave), ChallengeRound::<Test>::get()), (None, 1));
            next_round();
            assert_eq!(challenged(&enclave), Some(11));
        });
    }

    #[test]
    fn a_round_that_finds_nobody_is_over() {
        with_chain(|| {
            next_round();
            let enclave = registered(1, 1);
            next_block();
            assert_eq!(challenged(&enclave), None);
        });
    }

    #[test]
    fn an_answer_is_free_and_only_one() {
        with_chain(|| {
            let enclave = challenged_worker();
            // It has named block 1, and now names 2.
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::Yes);
            assert_eq!(challenged(&enclave), Some(3));
            next_block();
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::No);
            assert_eq!(challenged(&enclave), None);
            next_block();
            assert_eq!(heartbeat(&enclave).unwrap().pays_fee, Pays::Yes);
            run_to(3 + WINDOW + 1);
            assert_eq!(status(&enclave), WorkerStatus::Active);
            // Its heartbeats are checked as before.
            run_to(4 + TIMEOUT);
            assert_eq!(status(&enclave), WorkerStatus::Active);
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_renewal_answers_too() {
        with_chain(|| {
            let enclave = challenged_worker();
            next_block();
            assert_ok!(renew(&enclave));
            assert_eq!(challenged(&enclave), None);
        });
    }

    #[test]
    fn a_worker_that_does_not_answer_is_unresponsive_until_it_does() {
        with_chain(|| {
            let enclave = challenged_worker();
            run_to(3 + WINDOW);
            assert_eq!(status(&enclave), WorkerStatus::Active);
            Workers::do_try_state().unwrap();
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_eq!((Lost::get(), Workers::cheapest()), (vec![enclave.id()], None));
            System::assert_has_event(Event::ChallengeMissed { worker: enclave.id() }.into());
            System::assert_last_event(
                Event::StatusChanged { worker: enclave.id(), status: WorkerStatus::Unresponsive }.into(),
            );
            Workers::do_try_state().unwrap();
            assert_ok!(heartbeat(&enclave));
            assert_eq!((status(&enclave), challenged(&enclave)), (WorkerStatus::Active, None));
        });
    }

    #[test]
    fn a_heartbeat_of_before_the_challenge_does_not_answer_it() {
        with_chain(|| {
            let enclave = challenged_worker();
            let kept = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            run_to(5);
            assert_ok!(Workers::heartbeat(origin(), kept));
            assert_eq!((record(&enclave).last_heartbeat, challenged(&enclave)), (2, Some(3)));
            run_to(3 + WINDOW + 1);
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_heartbeat_of_before_the_challenge_does_not_make_up_for_a_missed_one() {
        with_chain(|| {
            let enclave = challenged_worker();
            let kept = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            run_to(3 + WINDOW + 1);
            assert_ok!(Workers::heartbeat(origin(), kept));
            assert_eq!((status(&enclave), challenged(&enclave)), (WorkerStatus::Unresponsive, Some(3)));
        });
    }

    #[test]
    fn a_challenged_worker_gets_no_second_challenge_and_no_more_time() {
        with_chain(|| {
            let enclave = challenged_worker();
            while System::block_number() < 3 + WINDOW {
                next_round();
                assert_eq!(challenged(&enclave), Some(3));
            }
            next_round();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_worker_that_is_silent_before_its_challenge_is_over_has_the_rest_of_its_time() {
        with_chain(|| {
            let enclave = registered(1, 1);
            run_to(TIMEOUT - 5);
            let kept = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
            run_to(TIMEOUT - 1);
            next_round();
            assert_eq!(challenged(&enclave), Some(TIMEOUT));
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(Workers::heartbeat(origin(), kept));
            assert_eq!((status(&enclave), challenged(&enclave)), (WorkerStatus::Active, Some(TIMEOUT)));
            Workers::do_try_state().unwrap();
            run_to(TIMEOUT + WINDOW);
            assert_eq!(status(&enclave), WorkerStatus::Active);
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
        });
    }

    #[test]
    fn a_challenge_ends_with_the_workers_place_in_the_market() {
        with_chain(|| {
            let enclave = challenged_worker();
            // Another price is another place.
            assert_ok!(Workers::set_price(origin(), enclave.id(), 2));
            assert_eq!(challenged(&enclave), Some(3));
            assert_ok!(Workers::drain(origin(), enclave.id()));
            assert_eq!(challenged(&enclave), None);
            next_round();
            assert_eq!(challenged(&enclave), None);
            // Its heartbeats are checked as ever.
            run_to(1 + TIMEOUT);
            assert!(Lost::get().is_empty());
            next_block();
            assert_eq!(Lost::get(), [enclave.id()]);
        });
        with_chain(|| {
            let enclave = challenged_worker();
            assert_ok!(Workers::deregister(origin(), enclave.id()));
            assert_eq!(challenged(&enclave), None);
        });
        with_chain(|| {
            let enclave = challenged_worker();
            assert_ok!(Attestation::compromise(RuntimeOrigin::root(), Class::Image(MEASUREMENT)));
            next_block();
            assert_eq!((status(&enclave), challenged(&enclave)), (WorkerStatus::Cordoned, None));
        });
    }
}

mod states {
    use super::*;

    #[test]
    fn a_draining_worker_leaves_the_market_until_it_resumes() {
        with_chain(|| {
            let enclave = registered(1, 1);
            assert_ok!(Workers::drain(origin(), enclave.id()));
            System::assert_last_event(
                Event::StatusChanged { worker: enclave.id(), status: WorkerStatus::Draining }.into(),
            );
            assert_eq!(Workers::cheapest(), None);
            assert_noop!(Workers::drain(origin(), enclave.id()), Refused::AlreadyDraining);
            run_to(10);
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Draining);
            assert_ok!(Workers::resume(origin(), enclave.id()));
            assert_eq!(status(&enclave), WorkerStatus::Active);
            assert_noop!(Workers::resume(origin(), enclave.id()), Refused::NotDraining);
            assert_eq!(Workers::cheapest(), Some(1));
        });
    }

    #[test]
    fn a_silent_draining_worker_loses_its_jobs_and_keeps_draining() {
        with_chain(|| {
            let enclave = registered(1, 1);
            assert_ok!(Workers::drain(origin(), enclave.id()));
            run_to(30);
            assert_eq!(Lost::get(), [enclave.id()]);
            assert_eq!(status(&enclave), WorkerStatus::Draining);
            Workers::do_try_state().unwrap();
            assert_ok!(Workers::resume(origin(), enclave.id()));
            assert_eq!(status(&enclave), WorkerStatus::Unresponsive);
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Active);
        });
    }

    #[test]
    fn an_unresponsive_worker_can_drain() {
        with_chain(|| {
            let enclave = registered(1, 1);
            run_to(30);
            assert_ok!(Workers::drain(origin(), enclave.id()));
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Draining);
        });
    }

    #[test]
    fn a_worker_with_jobs_is_not_deregistered() {
        with_chain(|| {
            let enclave = registered(1, 1);
            assert_ok!(Workers::assign(&enclave.id()));
            assert_noop!(Workers::deregister(origin(), enclave.id()), Refused::HasJobs);
            Workers::release(&enclave.id());
            assert_ok!(Workers::deregister(origin(), enclave.id()));
        });
    }

    #[test]
    fn a_worker_has_no_more_jobs_than_its_capacity() {
        with_chain(|| {
            let enclave = registered(1, 1);
            for _ in 0..enclave.performance.capacity {
                assert!(Workers::eligible(&enclave.id(), 1, 1, Attestation::now()).is_some());
                assert_ok!(Workers::assign(&enclave.id()));
            }
            assert!(Workers::eligible(&enclave.id(), 1, 1, Attestation::now()).is_none());
            assert_noop!(Workers::assign(&enclave.id()), Refused::Busy);
            assert_noop!(Workers::assign(&WorkerId([0; 32])), Refused::UnknownWorker);
            Workers::release(&enclave.id());
            assert_ok!(Workers::assign(&enclave.id()));
            for _ in 0..enclave.performance.capacity {
                Workers::release(&enclave.id());
            }
        });
    }

    #[test]
    fn a_worker_gets_no_job_below_its_price() {
        with_chain(|| {
            let enclave = registered(1, 1_000);
            let fuel = phala_primitives::units::FUEL_PER_PRICE_UNIT;
            assert!(Workers::eligible(&enclave.id(), fuel, 1_000, Attestation::now()).is_some());
            assert!(Workers::eligible(&enclave.id(), fuel, 999, Attestation::now()).is_none());
        });
    }

    #[test]
    fn only_the_operator_changes_a_worker() {
        with_chain(|| {
            let worker = registered(1, 1).id();
            let somebody = || RuntimeOrigin::signed(SOMEBODY);
            assert_noop!(Workers::set_price(somebody(), worker, 1), Refused::NotOperator);
            assert_noop!(Workers::set_endpoint(somebody(), worker, endpoint()), Refused::NotOperator);
            assert_noop!(Workers::drain(somebody(), worker), Refused::NotOperator);
            assert_noop!(Workers::resume(somebody(), worker), Refused::NotOperator);
            assert_noop!(Workers::deregister(somebody(), worker), Refused::NotOperator);
            let nobody = WorkerId([0; 32]);
            assert_noop!(Workers::set_price(origin(), nobody, 1), Refused::UnknownWorker);
            assert_noop!(Workers::deregister(origin(), nobody), Refused::UnknownWorker);
        });
    }
}

mod the_market {
    use super::*;

    #[test]
    fn the_cheapest_active_worker_makes_the_price() {
        with_chain(|| {
            let workers: Vec<_> = [5, 3, 9, 3, 1].iter().zip(0..).map(|(price, n)| registered(n, *price)).collect();
            assert_eq!(Workers::cheapest(), Some(1));
            assert_ok!(Workers::set_price(origin(), workers[4].id(), 20));
            System::assert_last_event(Event::PriceSet { worker: workers[4].id(), price: 20 }.into());
            assert_eq!(Workers::cheapest(), Some(3));
            assert_ok!(Workers::drain(origin(), workers[1].id()));
            assert_ok!(Workers::set_price(origin(), workers[1].id(), 1));
            assert_eq!(Workers::cheapest(), Some(3));
            assert_ok!(Workers::deregister(origin(), workers[3].id()));
            assert_eq!(Workers::cheapest(), Some(5));
        });
    }

    proptest! {
        #[test]
        fn the_market_is_a_heap_of_what_was_put_in(steps in prop::collection::vec((0u8..12, 0u128..50), 0..80)) {
            sp_io::TestExternalities::default().execute_with(|| {
                let mut model = std::collections::BTreeMap::new();
                for (number, price) in steps {
                    let worker = WorkerId([number; 32]);
                    market::remove::<Test>(&worker);
                    model.remove(&worker);
                    // One step in five only removes.
                    if price % 5 != 0 {
                        market::insert::<Test>(worker, price);
                        model.insert(worker, price);
                    }
                    market::do_try_state::<Test>().unwrap();
                    assert_eq!(market::len::<Test>() as usize, model.len());
                    assert_eq!(market::cheapest::<Test>(), model.values().min().copied());
                    let mut all = prices();
                    let mut expected: Vec<_> = model.values().copied().collect();
                    all.sort();
                    expected.sort();
                    assert_eq!(all, expected);
                    for at in 0..market::len::<Test>() {
                        assert_eq!(ActiveSlot::<Test>::get(market::at::<Test>(at).unwrap()), Some(at));
                    }
                }
            });
        }
    }
}

mod cordons {
    use super::*;
    use phala_attestation::Family;

    fn compromise(class: Class) {
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), class));
    }

    fn is_eligible(enclave: &Enclave) -> bool {
        Workers::eligible(&enclave.id(), 1, Balance::MAX, Attestation::now()).is_some()
    }

    #[test]
    fn a_broken_class_gets_nothing_from_the_same_block_on_and_loses_what_it_has_in_the_next() {
        with_chain(|| {
            let [first, second] = [registered(1, 1), registered(2, 2)];
            let class = Class::Platform(record(&first).platform);
            assert!(is_eligible(&first));
            compromise(class);
            assert!(!is_eligible(&first) && is_eligible(&second));
            assert_eq!(status(&first), WorkerStatus::Active);
            next_block();
            assert_eq!((status(&first), status(&second)), (WorkerStatus::Cordoned, WorkerStatus::Active));
            System::assert_has_event(
                Event::StatusChanged { worker: first.id(), status: WorkerStatus::Cordoned }.into(),
            );
            assert_eq!((Lost::get(), prices()), (vec![first.id()], vec![2]));
            assert!(Cordoning::<Test>::get().is_empty());
            assert!(!is_eligible(&first));
        });
    }

    #[test]
    fn many_workers_are_cordoned_over_several_blocks() {
        with_chain(|| {
            let enclaves: Vec<_> = (0..2 * CORDONS).map(|number| registered(number, 1)).collect();
            let cordoned =
                || enclaves.iter().filter(|enclave| status(enclave) == WorkerStatus::Cordoned).count() as u32;
            // Jobs count, too.
            for _ in 0..3 {
                assert_ok!(Workers::assign(&enclaves[0].id()));
            }
            compromise(Class::Family(Family::Simulated(Default::default())));
            next_block();
            assert!((1..=CORDONS).contains(&cordoned()));
            assert!(enclaves.iter().all(|enclave| !is_eligible(enclave)));
            for _ in 0..3 {
                next_block();
            }
            assert_eq!(cordoned(), 2 * CORDONS);
            assert_eq!(Lost::get().len() as u32, 2 * CORDONS);
            assert_eq!(Members::<Test>::iter().count(), 0);
            for _ in 0..3 {
                Workers::release(&enclaves[0].id());
            }
        });
    }

    #[test]
    fn a_cordoned_worker_comes_back_by_new_evidence_alone() {
        with_chain(|| {
            let enclave = registered(1, 1);
            let class = Class::Image(MEASUREMENT);
            compromise(class);
            next_block();
            assert_noop!(Workers::drain(origin(), enclave.id()), Refused::Cordoned);
            assert_noop!(Workers::resume(origin(), enclave.id()), Refused::NotDraining);
            assert_noop!(renew(&enclave), Attested::Compromised);
            next_block();
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Cordoned);
            assert_ok!(Attestation::restore(RuntimeOrigin::root(), class));
            next_block();
            assert_ok!(heartbeat(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Cordoned);
            assert_ok!(renew(&enclave));
            assert_eq!(status(&enclave), WorkerStatus::Active);
            assert!(is_eligible(&enclave));
            // The same class again.
            compromise(class);
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Cordoned);
            assert_ok!(Workers::deregister(origin(), enclave.id()));
        });
    }

    #[test]
    fn a_class_that_is_restored_at_once_loses_nobody_else() {
        with_chain(|| {
            let enclave = registered(1, 1);
            let class = Class::Image(MEASUREMENT);
            compromise(class);
            assert_ok!(Attestation::restore(RuntimeOrigin::root(), class));
            next_block();
            assert_eq!(status(&enclave), WorkerStatus::Active);
            assert!(is_eligible(&enclave));
        });
    }

    #[test]
    fn a_draining_or_silent_worker_is_cordoned_too() {
        with_chain(|| {
            let [draining, silent] = [registered(1, 1), registered(2, 1)];
            run_to(2 + TIMEOUT);
            assert_eq!(status(&silent), WorkerStatus::Unresponsive);
            assert_ok!(Workers::drain(origin(), draining.id()));
            compromise(Class::Family(Family::Simulated(Default::default())));
            next_block();
            assert_eq!((status(&draining), status(&silent)), (WorkerStatus::Cordoned, WorkerStatus::Cordoned));
        });
    }

    #[test]
    fn no_more_classes_are_cordoned_at_once_than_there_is_place_for() {
        with_chain(|| {
            let class = |number: u32| Class::Image(phala_attestation::Measurement([number as u8; 32]));
            (0..MAX_CORDONS).for_each(|number| compromise(class(number)));
            let one_more = Attestation::compromise(RuntimeOrigin::root(), class(MAX_CORDONS));
            assert_noop!(one_more, Refused::TooManyCordons);
        });
    }
}
