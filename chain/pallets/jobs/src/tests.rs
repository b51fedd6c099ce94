use crate::{
    mock::*,
    mock::{Apps, Attestation, Jobs, Test, Workers},
    *,
};
use frame_support::{assert_noop, assert_ok, traits::fungible::hold::Inspect};
use pallet_phala_workers::enclave::{Enclave, MEASUREMENT};
use phala_attestation::Role;
use phala_primitives::{FailureReason, PHA, Receipt, worker::WorkerStatus};
use sp_runtime::AccountId32;

type Refused = Error<Test>;

fn signed(account: AccountId32) -> RuntimeOrigin {
    RuntimeOrigin::signed(account)
}

fn free(account: &AccountId32) -> Balance {
    Balances::free_balance(account)
}

fn held(account: &AccountId32) -> Balance {
    Balances::balance_on_hold(&HoldReason::Job.into(), account)
}

fn send(receipt: SignedReceipt) -> DispatchResultWithPostInfo {
    Jobs::submit_receipt(signed(BOB), receipt.into())
}

fn settlement(id: JobId) -> phala_primitives::job::Settlement<AccountId32, u32> {
    match job(id).status {
        JobStatus::Settled(settlement) => settlement,
        status => panic!("{status:?}"),
    }
}

fn is_queued(id: JobId) -> bool {
    job(id).status == JobStatus::Queued
}

/// A chain with a worker that has a job since the second last block.
fn with_assigned_job(test: impl FnOnce(Enclave, JobId)) {
    with_chain(|| {
        let enclave = worker(1);
        let id = submit();
        next_block();
        assert_eq!(assigned_to(id), Some(enclave.id()));
        next_block();
        test(enclave, id);
    });
}

mod submission {
    use super::*;

    struct Order {
        owner: AccountId32,
        app: AppId,
        limits: Limits,
        max_price: Balance,
        deadline: u32,
        redundancy: u8,
    }

    fn order(app: AppId) -> Order {
        Order { owner: ALICE, app, limits: LIMITS, max_price: MAX_PRICE, deadline: 100, redundancy: 1 }
    }

    fn place(order: Order) -> DispatchResult {
        let Order { owner, app, limits, max_price, deadline, redundancy } = order;
        Jobs::submit(signed(owner), app, limits, max_price, deadline, redundancy, [7; 32])
    }

    #[test]
    fn a_job_is_stored_and_its_price_held() {
        with_chain(|| {
            let app = publish(BOB, Visibility::Public);
            run_to(3, &[]);
            let before = free(&ALICE);
            assert_ok!(place(order(app)));
            let place_fee = 97 * PLACE_FEE;
            System::assert_last_event(Event::Submitted { job: 0, owner: ALICE, app, place_fee }.into());
            assert_eq!(held(&ALICE), MAX_PRICE);
            assert_eq!(free(&ALICE), before - MAX_PRICE - place_fee);
            let expected = Job::<Test> {
                owner: ALICE,
                app,
                limits: LIMITS,
                max_price: MAX_PRICE,
                deadline: 100,
                redundancy: 1,
                secret_commitment: [7; 32],
                submitted_at: 3,
                submitted_at_ms: (START + 6) * 1000,
                attempts: 0,
                status: JobStatus::Queued,
            };
            assert_eq!(job(0), expected);
            assert_ok!(place(order(app)));
            assert_eq!(NextJob::<Test>::get(), 2);
            assert_eq!(held(&ALICE), 2 * MAX_PRICE);
        });
    }

    #[test]
    fn an_unknown_app_is_refused() {
        with_chain(|| {
            assert_noop!(place(order(AppId([0; 32]))), Refused::UnknownApp);
        });
    }

    #[test]
    fn only_its_publisher_runs_a_private_app() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Private);
            assert_noop!(place(Order { owner: BOB, ..order(app) }), Refused::NotPublisher);
            assert_ok!(place(order(app)));
        });
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            for limits in [
                Limits { fuel: 0, ..LIMITS },
                Limits { memory_bytes: 0, ..LIMITS },
                Limits { wall_ms: Limits::MAX.wall_ms + 1, ..LIMITS },
                Limits { output_bytes: Limits::MAX.output_bytes + 1, ..LIMITS },
            ] {
                assert_noop!(place(Order { limits, ..order(app) }), Refused::LimitsOutOfRange);
            }
        });
    }

    #[test]
    fn redundancy_is_one_so_far() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            for redundancy in [0, 2, 255] {
                assert_noop!(place(Order { redundancy, ..order(app) }), Refused::RedundancyUnsupported);
            }
        });
    }

    #[test]
    fn a_deadline_leaves_time_for_the_job_and_is_not_too_far() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            run_to(10, &[]);
            // The next block is the first that can assign the job.
            for deadline in [0, 10, 11, 10 + TERM] {
                assert_noop!(place(Order { deadline, ..order(app) }), Refused::DeadlineTooSoon);
            }
            let longer = Limits { wall_ms: LIMITS.wall_ms + 1, ..LIMITS };
            let just_enough = Order { deadline: 11 + TERM, ..order(app) };
            assert_noop!(place(Order { limits: longer, ..just_enough }), Refused::DeadlineTooSoon);
            assert_noop!(place(Order { deadline: 11 + MAX_DEADLINE, ..order(app) }), Refused::DeadlineTooFar);
            assert_ok!(place(Order { deadline: 11 + TERM, ..order(app) }));
            assert_ok!(place(Order { deadline: 10 + MAX_DEADLINE, ..order(app) }));
        });
    }

    #[test]
    fn a_job_pays_for_its_place_until_the_deadline_whatever_becomes_of_it() {
        with_chain(|| {
            let app = publish(BOB, Visibility::Public);
            let before = [ALICE, TREASURY].map(|account| free(&account));
            assert_ok!(place(Order { deadline: 41, ..order(app) }));
            assert_ok!(Jobs::cancel(signed(ALICE), 0));
            let fee = 40 * PLACE_FEE;
            assert_eq!([ALICE, TREASURY].map(|account| free(&account)), [before[0] - fee, before[1] + fee]);
        });
    }

    #[test]
    fn a_price_under_the_market_is_refused() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            worker(1);
            assert_noop!(place(Order { max_price: PHA - 1, ..order(app) }), Refused::PriceBelowMarket);
            assert_ok!(place(Order { max_price: PHA, ..order(app) }));
            assert_ok!(Enclave::new(2, OPERATOR).register::<Test>(PHA / 2));
            assert_ok!(place(Order { max_price: PHA - 1, ..order(app) }));
        });
    }

    #[test]
    fn without_a_market_every_price_waits() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            assert_ok!(place(Order { max_price: 0, ..order(app) }));
            worker(1);
            run_to(100 - TERM, &[]);
            assert!(is_queued(0));
            next_block();
            assert_eq!(job(0).status, JobStatus::Expired { at: 101 - TERM });
        });
    }

    #[test]
    fn who_cannot_pay_is_refused() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            assert_noop!(place(Order { owner: POOR, ..order(app) }), Refused::InsufficientBalance);
            // The account itself must stay.
            assert_noop!(place(Order { owner: POOR, max_price: PHA, ..order(app) }), Refused::InsufficientBalance);
            let most = PHA - PHA / 100;
            assert_noop!(place(Order { owner: POOR, max_price: most, ..order(app) }), Refused::InsufficientBalance);
            assert_ok!(place(Order { owner: POOR, max_price: most - 99 * PLACE_FEE, ..order(app) }));
        });
    }

    #[test]
    fn an_app_without_live_jobs_is_unpublished_at_once() {
        with_chain(|| {
            let id = submit();
            assert_ok!(Jobs::cancel(signed(ALICE), id));
            assert_ok!(Apps::unpublish(signed(ALICE), job(id).app));
            assert_noop!(place(order(job(id).app)), Refused::UnknownApp);
        });
    }

    #[test]
    fn a_retired_app_gets_no_more_jobs_and_ends_those_that_it_has() {
        with_chain(|| {
            let enclave = worker(1);
            let (first, second) = (submit(), submit());
            let app = job(first).app;
            let deposit = || Balances::balance_on_hold(&pallet_phala_apps::HoldReason::App.into(), &ALICE);
            next_block();
            assert_ok!(Apps::unpublish(signed(ALICE), app));
            assert_noop!(place(order(app)), Refused::AppRetired);
            next_block();
            assert_ok!(send(sign(&enclave, receipt(&enclave, first))));
            assert_eq!(deposit(), DEPOSIT);
            check();
            // The last one may end by any means.
            run_to(assignment(second).unwrap().due, &[&enclave]);
            assert_ok!(Workers::drain(signed(OPERATOR), enclave.id()));
            next_block();
            assert_eq!(assigned_to(second), None);
            assert_eq!(deposit(), DEPOSIT);
            assert_ok!(Jobs::cancel(signed(ALICE), second));
            assert_eq!(deposit(), 0);
            assert!(!pallet_phala_apps::Apps::<Test>::contains_key(app));
        });
    }
}

mod cancellation {
    use super::*;

    #[test]
    fn a_queued_job_is_cancelled_and_refunded() {
        with_chain(|| {
            let id = submit();
            let before = free(&ALICE);
            run_to(5, &[]);
            assert_ok!(Jobs::cancel(signed(ALICE), id));
            System::assert_last_event(Event::Cancelled { job: id }.into());
            assert_eq!((held(&ALICE), free(&ALICE)), (0, before + MAX_PRICE));
            assert_eq!(job(id).status, JobStatus::Cancelled { at: 5 });
            assert_noop!(Jobs::cancel(signed(ALICE), id), Refused::AlreadyEnded);
            let enclave = worker(1);
            run_to(10, &[&enclave]);
            assert_eq!(job(id).status, JobStatus::Cancelled { at: 5 });
            assert_noop!(send(sign(&enclave, receipt(&enclave, id))), Refused::AlreadyEnded);
        });
    }

    #[test]
    fn only_the_owner_cancels_and_only_what_exists() {
        with_chain(|| {
            let id = submit();
            assert_noop!(Jobs::cancel(signed(BOB), id), Refused::NotOwner);
            assert_noop!(Jobs::cancel(signed(ALICE), id + 1), Refused::UnknownJob);
        });
    }

    #[test]
    fn an_assigned_or_settled_job_is_not_cancelled() {
        with_assigned_job(|enclave, id| {
            assert_noop!(Jobs::cancel(signed(ALICE), id), Refused::AlreadyAssigned);
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
            assert_noop!(Jobs::cancel(signed(ALICE), id), Refused::AlreadySettled);
        });
    }
}

mod drawing {
    use super::*;

    #[test]
    fn the_next_block_assigns() {
        with_chain(|| {
            let enclave = worker(1);
            let id = submit();
            next_block();
            System::assert_last_event(Event::Assigned { job: id, worker: enclave.id(), attempt: 1 }.into());
            let expected = Assignment { worker: enclave.id(), price: PHA, assigned_at: 2, due: 2 + TERM };
            assert_eq!(assignment(id), Some(expected));
            assert_eq!(job(id).attempts, 1);
            assert_eq!(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().running, 1);
        });
    }

    #[test]
    fn a_job_without_time_left_expires_instead_of_being_assigned() {
        let last = 2 + TERM;
        let submit = || {
            let app = publish(ALICE, Visibility::Public);
            assert_ok!(Jobs::submit(signed(ALICE), app, LIMITS, MAX_PRICE, last, 1, [0; 32]));
        };
        with_chain(|| {
            submit();
            next_block();
            assert!(is_queued(0));
            worker(1);
            next_block();
            assert_eq!((job(0).status, job(0).attempts), (JobStatus::Expired { at: 3 }, 0));
            assert_eq!(held(&ALICE), 0);
        });
        // Also when the hook is behind with its wakes.
        with_chain(|| {
            submit();
            next_block();
            worker(1);
            NextWake::<Test>::put(10);
            next_block();
            assert_eq!((job(0).status, job(0).attempts), (JobStatus::Expired { at: 3 }, 0));
        });
        with_chain(|| {
            let enclave = worker(1);
            submit();
            next_block();
            assert_eq!(assignment(0).unwrap().due, last);
            run_to(last, &[&enclave]);
            assert_ok!(send(sign(&enclave, receipt(&enclave, 0))));
        });
    }

    #[test]
    fn jobs_wait_for_capacity_first_come_first_served() {
        with_chain(|| {
            let enclave = worker(1);
            let capacity = enclave.performance.capacity as u64;
            let jobs: Vec<_> = (0..=capacity).map(|_| submit()).collect();
            run_to(4, &[]);
            assert!(jobs[..4].iter().all(|id| assigned_to(*id) == Some(enclave.id())));
            assert!(is_queued(jobs[4]));
            assert_ok!(send(sign(&enclave, receipt(&enclave, jobs[2]))));
            next_block();
            assert_eq!(assigned_to(jobs[4]), Some(enclave.id()));
        });
    }

    #[test]
    fn new_and_waiting_jobs_share_the_looks_of_a_block() {
        let share = |waiting, new| {
            let mut looks = (0, 0);
            with_chain(|| {
                worker(1);
                for position in 0..waiting {
                    Waiting::<Test>::insert(position, Entry { job: position, since: 1 });
                }
                for position in 0..new {
                    Queue::<Test>::insert(position, Entry { job: position, since: 1 });
                }
                WaitingTail::<Test>::put(waiting);
                QueueTail::<Test>::put(new);
                next_block();
                looks = (WaitingHead::<Test>::get(), QueueHead::<Test>::get());
            });
            looks
        };
        assert_eq!([share(9, 9), share(9, 1), share(1, 9)], [(2, 2), (3, 1), (1, 3)]);
        assert_eq!([share(9, 0), share(0, 9), share(0, 0)], [(4, 0), (0, 4), (0, 0)]);
    }

    #[test]
    fn jobs_for_which_there_is_no_worker_keep_no_other_from_its_first_look() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            let cheap: Vec<JobId> = (0..u64::from(10 * PER_BLOCK)).collect();
            for _ in &cheap {
                assert_ok!(Jobs::submit(signed(ALICE), app, LIMITS, PHA / 2, 400, 1, [0; 32]));
            }
            let enclave = worker(1);
            // Two of four looks are for new jobs once there are jobs that wait.
            run_to(2 + 5 * PER_BLOCK, &[&enclave]);
            assert_eq!(QueueHead::<Test>::get(), u64::from(10 * PER_BLOCK));
            let id = submit();
            next_block();
            assert_eq!(assigned_to(id), Some(enclave.id()));
            check();
            // Those that wait have not been forgotten.
            assert_ok!(Enclave::new(2, OPERATOR).register::<Test>(PHA / 2));
            next_block();
            assert_eq!(cheap.iter().filter(|id| assigned_to(**id).is_some()).count() as u32, PER_BLOCK);
        });
    }

    #[test]
    fn waiting_jobs_have_their_looks_whatever_comes_anew() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            assert_ok!(Jobs::submit(signed(ALICE), app, LIMITS, PHA, 400, 1, [0; 32]));
            let dear = Enclave::new(1, OPERATOR);
            dear.register::<Test>(2 * PHA).unwrap();
            next_block();
            assert_eq!(WaitingTail::<Test>::get(), 1);
            for _ in 0..3 * PER_BLOCK {
                submit();
            }
            let cheap = Enclave::new(2, OPERATOR);
            cheap.register::<Test>(PHA).unwrap();
            next_block();
            assert_eq!(assigned_to(0), Some(cheap.id()));
        });
    }

    #[test]
    fn a_bounded_number_is_assigned_per_block() {
        with_chain(|| {
            for number in 0..3 {
                worker(number);
            }
            let jobs: Vec<_> = (0..2 * PER_BLOCK + 1).map(|_| submit()).collect();
            for done in [4, 8, 9] {
                next_block();
                assert_eq!(jobs.iter().filter(|id| assigned_to(**id).is_some()).count(), done);
                check();
            }
        });
    }

    #[test]
    fn twenty_jobs_spread_over_three_workers() {
        with_chain(|| {
            let workers: Vec<_> = (0..3)
                .map(|number| {
                    let mut enclave = Enclave::new(number, OPERATOR);
                    enclave.performance.capacity = 8;
                    enclave.register::<Test>(PHA).unwrap();
                    enclave
                })
                .collect();
            let jobs: Vec<_> = (0..20).map(|_| submit()).collect();
            run_to(8, &workers.iter().collect::<Vec<_>>());
            assert!(jobs.iter().all(|id| assigned_to(*id).is_some()));
            for enclave in &workers {
                assert!(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().running >= 3);
            }
        });
    }

    #[test]
    fn workers_that_may_not_work_get_nothing() {
        let refuse = |change: fn(&Enclave)| {
            with_chain(|| {
                let enclave = worker(1);
                let id = submit();
                change(&enclave);
                next_block();
                assert!(is_queued(id));
            });
        };
        refuse(|enclave| Workers::drain(signed(OPERATOR), enclave.id()).unwrap());
        refuse(|enclave| Workers::set_price(signed(OPERATOR), enclave.id(), MAX_PRICE + 1).unwrap());
        refuse(|_| Attestation::forbid_image(RuntimeOrigin::root(), MEASUREMENT).unwrap());
        refuse(|_| Attestation::allow_image(RuntimeOrigin::root(), MEASUREMENT, Role::Gatekeeper, 1).unwrap());
    }

    #[test]
    fn a_worker_whose_verdict_ended_gets_nothing() {
        with_chain(|| {
            assert_ok!(Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 4));
            worker(1);
            run_to(3, &[]);
            let id = submit();
            next_block();
            assert!(is_queued(id));
        });
    }

    #[test]
    fn more_workers_than_the_sample_are_drawn_from_all() {
        with_chain(|| {
            let workers: Vec<_> = (0..40).map(worker).collect();
            let jobs: Vec<_> = (0..60).map(|_| submit()).collect();
            run_to(17, &workers.iter().collect::<Vec<_>>());
            let drawn: std::collections::BTreeSet<_> = jobs.iter().filter_map(|id| assigned_to(*id)).collect();
            assert!(jobs.iter().all(|id| assigned_to(*id).is_some()));
            assert!(drawn.len() > 20, "{} workers of 40 have a job", drawn.len());
        });
    }

    #[test]
    fn cheap_and_fast_workers_are_drawn_more_often() {
        with_chain(|| {
            let [cheap, dear, fast] = [(1, PHA / 8, 1u64), (2, PHA, 1), (3, PHA, 8)].map(|(number, price, speed)| {
                let mut enclave = Enclave::new(number, OPERATOR);
                enclave.performance.capacity = 8;
                enclave.performance.fuel_per_second *= speed;
                enclave.register::<Test>(price).unwrap();
                enclave
            });
            let mut drawn = std::collections::BTreeMap::<_, u32>::new();
            for _ in 0..100 {
                let id = submit();
                next_block();
                let winner = [&cheap, &dear, &fast].into_iter().find(|w| Some(w.id()) == assigned_to(id)).unwrap();
                *drawn.entry(winner.id()).or_default() += 1;
                next_block();
                assert_ok!(send(sign(winner, receipt(winner, id))));
                for enclave in [&cheap, &dear, &fast] {
                    beat(enclave);
                }
            }
            let dear = drawn.get(&dear.id()).copied().unwrap_or(0);
            assert!(drawn[&cheap.id()] > 2 * dear && drawn[&fast.id()] > 2 * dear, "{drawn:?}");
        });
    }

    #[test]
    fn randomness_decides() {
        let winner = |luck: u8| {
            let mut winner = None;
            with_chain(|| {
                Luck::set(Some(luck));
                for number in 0..8 {
                    worker(number);
                }
                let id = submit();
                next_block();
                winner = assigned_to(id);
            });
            winner.unwrap()
        };
        assert_eq!(winner(1), winner(1));
        let winners: std::collections::BTreeSet<_> = (0..20).map(winner).collect();
        assert!(winners.len() > 3);
    }
}

mod lots {
    use super::*;
    use std::collections::BTreeSet;

    /// Whether the hook has said nothing.
    fn is_silent() -> bool {
        System::events().iter().all(|record| !matches!(record.event, RuntimeEvent::Jobs(_)))
    }

    #[test]
    fn a_job_waits_for_a_round_that_nobody_knew_when_it_was_queued() {
        with_chain(|| {
            let enclave = worker(1);
            Luck::set(None);
            run_to(5, &[&enclave]);
            let id = submit();
            throw(4, 1);
            throw(5, 1);
            for _ in 0..5 {
                next_block();
                assert!(is_queued(id) && is_silent());
                assert_eq!((QueueHead::<Test>::get(), QueueTail::<Test>::get()), (0, 1));
                assert_eq!(Queue::<Test>::get(0), Some(Entry { job: id, since: 5 }));
            }
            throw(6, 1);
            next_block();
            assert_eq!(assigned_to(id), Some(enclave.id()));
        });
    }

    #[test]
    fn the_first_round_after_a_job_was_queued_draws_whatever_was_known_and_comes_later() {
        let winner = |rounds: &[(u32, u8)]| {
            let mut winner = None;
            with_chain(|| {
                Luck::set(None);
                let workers: Vec<_> = (0..8).map(worker).collect();
                run_to(5, &workers.iter().collect::<Vec<_>>());
                let id = submit();
                rounds.iter().for_each(|(round, luck)| throw(*round, *luck));
                next_block();
                winner = assigned_to(id);
            });
            winner.unwrap()
        };
        let winners: BTreeSet<_> = (0..20).map(|luck| winner(&[(6, luck)])).collect();
        assert!(winners.len() > 3);
        for luck in 0..20 {
            assert_eq!(winner(&[(3, luck), (5, luck), (6, 7), (9, luck)]), winner(&[(6, 7)]));
        }
        // Of rounds that are forgotten, the first that is not.
        let forgotten: Vec<_> = (0..20).map(|number| (6 + number, number as u8)).collect();
        assert_eq!(winner(&forgotten), winner(&forgotten[20 - HISTORY..]));
    }

    #[test]
    fn jobs_of_one_round_are_drawn_independently() {
        with_chain(|| {
            for number in 0..8 {
                worker(number);
            }
            let jobs: Vec<_> = (0..PER_BLOCK).map(|_| submit()).collect();
            next_block();
            let winners: BTreeSet<_> = jobs.iter().map(|id| assigned_to(*id).unwrap()).collect();
            assert!(winners.len() > 1);
        });
    }

    #[test]
    fn a_job_that_finds_no_worker_waits_for_a_later_round() {
        with_chain(|| {
            let id = submit();
            let dear = Enclave::new(1, OPERATOR);
            dear.register::<Test>(MAX_PRICE + 1).unwrap();
            next_block();
            Luck::set(None);
            // Who knows the round that there was comes too late.
            let late = worker(2);
            for _ in 0..5 {
                next_block();
                assert!(is_queued(id) && is_silent());
                assert_eq!((WaitingHead::<Test>::get(), WaitingTail::<Test>::get()), (0, 1));
                assert_eq!(Waiting::<Test>::get(0), Some(Entry { job: id, since: 2 }));
            }
            throw(3, 0);
            next_block();
            assert_eq!(assigned_to(id), Some(late.id()));
        });
    }

    #[test]
    fn one_round_draws_for_those_before_it_in_order_and_within_the_bound() {
        with_chain(|| {
            Luck::set(None);
            for number in 0..3 {
                worker(number);
            }
            let jobs: Vec<_> = (0..2 * PER_BLOCK + 1).map(|_| submit()).collect();
            run_to(4, &[]);
            let late = submit();
            throw(3, 0);
            for done in [4, 8, 9, 9] {
                next_block();
                assert!(jobs[..done].iter().all(|id| assigned_to(*id).is_some()));
                assert!(jobs[done..].iter().chain([&late]).all(|id| is_queued(*id)));
                check();
            }
            throw(6, 0);
            next_block();
            assert!(assigned_to(late).is_some());
        });
    }

    #[test]
    fn a_list_without_lots_leaves_its_looks_to_the_other() {
        with_chain(|| {
            let app = publish(ALICE, Visibility::Public);
            for _ in 0..6 {
                assert_ok!(Jobs::submit(signed(ALICE), app, LIMITS, PHA / 2, 400, 1, [0; 32]));
            }
            worker(1);
            run_to(3, &[]);
            let waiting = || {
                let positions = WaitingHead::<Test>::get()..WaitingTail::<Test>::get();
                positions.map(|position| Waiting::<Test>::get(position).unwrap().since).collect::<Vec<_>>()
            };
            // Four had their first look in block 2, of which two had another in block 3, and two their first.
            assert_eq!(waiting(), [2, 2, 3, 3, 3, 3]);
            Luck::set(None);
            let jobs: Vec<_> = (0..PER_BLOCK).map(|_| submit()).collect();
            let assigned = || jobs.iter().filter(|id| assigned_to(**id).is_some()).count();
            // Round 3 is for those that waited before.
            next_block();
            assert_eq!((assigned(), waiting()), (0, vec![3, 3, 3, 3, 4, 4]));
            next_block();
            assert_eq!((assigned(), waiting()), (0, vec![3, 3, 3, 3, 4, 4]));
            throw(4, 0);
            next_block();
            assert_eq!((assigned(), waiting()), (2, vec![3, 3, 4, 4, 6, 6]));
            next_block();
            assert_eq!((assigned(), waiting()), (4, vec![4, 4, 6, 6, 7, 7]));
            next_block();
            assert_eq!((assigned(), waiting()), (4, vec![4, 4, 6, 6, 7, 7]));
        });
    }

    #[test]
    fn a_job_expires_and_is_refunded_while_there_are_no_rounds() {
        with_chain(|| {
            Luck::set(None);
            let enclave = worker(1);
            let id = submit();
            let before = free(&ALICE);
            run_to(101 - TERM, &[&enclave]);
            assert!(is_queued(id));
            next_block();
            System::assert_last_event(Event::Expired { job: id }.into());
            assert_eq!((held(&ALICE), free(&ALICE)), (0, before + MAX_PRICE));
            // Its entry goes without a round, too.
            assert_eq!(Queue::<Test>::iter().count(), 0);
        });
    }

    #[test]
    fn a_cancelled_job_is_skipped_without_a_round_and_the_next_keeps_its_place() {
        with_chain(|| {
            Luck::set(None);
            let enclave = worker(1);
            let (first, second) = (submit(), submit());
            assert_ok!(Jobs::cancel(signed(ALICE), first));
            next_block();
            assert_eq!((QueueHead::<Test>::get(), QueueTail::<Test>::get()), (1, 2));
            let left: Vec<_> = Queue::<Test>::iter().collect();
            assert_eq!(left, [(1, Entry { job: second, since: 1 })]);
            throw(2, 0);
            next_block();
            assert_eq!(assigned_to(second), Some(enclave.id()));
        });
    }

    #[test]
    fn a_job_that_its_worker_lost_needs_a_new_round() {
        with_assigned_job(|first, id| {
            let second = worker(2);
            let lost = assignment(id).unwrap().due + 1;
            run_to(lost, &[&first, &second]);
            Luck::set(None);
            assert_eq!(Queue::<Test>::iter_values().collect::<Vec<_>>(), [Entry { job: id, since: lost }]);
            run_to(lost + 3, &[&first, &second]);
            assert!(is_queued(id));
            throw(lost + 1, 0);
            next_block();
            assert_eq!(assigned_to(id), Some(second.id()));
        });
    }
}

mod losing {
    use super::*;

    #[test]
    fn an_overdue_job_goes_to_another_worker() {
        with_chain(|| {
            let first = worker(1);
            let id = submit();
            next_block();
            let second = worker(2);
            let due = assignment(id).unwrap().due;
            run_to(due, &[&first, &second]);
            assert_eq!(assigned_to(id), Some(first.id()));
            next_block();
            System::assert_has_event(
                Event::Requeued { job: id, worker: first.id(), reason: RequeueReason::Overdue }.into(),
            );
            next_block();
            assert_eq!(assigned_to(id), Some(second.id()));
            assert_eq!(job(id).attempts, 2);
            next_block();
            assert_noop!(send(sign(&first, receipt(&first, id))), Refused::NotAssigned);
            assert_ok!(send(sign(&second, receipt(&second, id))));
        });
    }

    #[test]
    fn the_worker_that_lost_a_job_gets_it_back_when_it_is_alone() {
        with_chain(|| {
            let enclave = worker(1);
            let id = submit();
            next_block();
            run_to(assignment(id).unwrap().due + 2, &[&enclave]);
            assert_eq!(assigned_to(id), Some(enclave.id()));
            assert_eq!(job(id).attempts, 2);
            next_block();
            let late = Receipt { attempt: 1, ..receipt(&enclave, id) };
            assert_noop!(send(sign(&enclave, late)), Refused::WrongAttempt);
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
        });
    }

    #[test]
    fn jobs_of_an_unresponsive_worker_go_to_another() {
        with_chain(|| {
            let first = worker(1);
            let app = publish(ALICE, Visibility::Public);
            let long = Limits { wall_ms: 200_000, ..LIMITS };
            for _ in 0..3 {
                assert_ok!(Jobs::submit(signed(ALICE), app, long, MAX_PRICE, 200, 1, [0; 32]));
            }
            next_block();
            let second = worker(2);
            run_to(1 + TIMEOUT, &[&second]);
            let lost = pallet_phala_workers::Workers::<Test>::get(first.id()).unwrap();
            assert_eq!((lost.status, lost.running), (WorkerStatus::Unresponsive, 0));
            for id in 0..3 {
                System::assert_has_event(
                    Event::Requeued { job: id, worker: first.id(), reason: RequeueReason::WorkerUnresponsive }.into(),
                );
            }
            next_block();
            assert!((0..3).all(|id| assigned_to(id) == Some(second.id())));
            assert_ok!(Workers::deregister(signed(OPERATOR), first.id()));
        });
    }

    #[test]
    fn a_lost_job_without_time_for_another_worker_expires() {
        with_chain(|| {
            let enclave = worker(1);
            let app = publish(ALICE, Visibility::Public);
            let long = Limits { wall_ms: 200_000, ..LIMITS };
            assert_ok!(Jobs::submit(signed(ALICE), app, long, MAX_PRICE, 2 + 100 + GRACE, 1, [0; 32]));
            next_block();
            assert_eq!(assigned_to(0), Some(enclave.id()));
            run_to(1 + TIMEOUT, &[]);
            System::assert_last_event(Event::Expired { job: 0 }.into());
            assert_eq!(held(&ALICE), 0);
            assert_eq!(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().running, 0);
        });
    }

    #[test]
    fn a_job_without_worker_expires_and_is_refunded() {
        with_chain(|| {
            let id = submit();
            let before = free(&ALICE);
            run_to(101 - TERM, &[]);
            assert!(is_queued(id));
            next_block();
            System::assert_last_event(Event::Expired { job: id }.into());
            assert_eq!(job(id).status, JobStatus::Expired { at: 102 - TERM });
            assert_eq!((held(&ALICE), free(&ALICE)), (0, before + MAX_PRICE));
        });
    }

    #[test]
    fn a_job_that_nobody_finishes_expires_and_is_refunded() {
        with_chain(|| {
            let enclave = worker(1);
            let id = submit();
            run_to(102, &[&enclave]);
            // Five attempts of 15 blocks, one to take it back and one to draw again; a sixth would be due after block 101.
            assert_eq!((job(id).status, job(id).attempts), (JobStatus::Expired { at: 86 }, 5));
            assert_eq!((held(&ALICE), free(&OPERATOR)), (0, PHA));
            assert_eq!(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().running, 0);
        });
    }

    #[test]
    fn wakes_are_bounded_per_block_and_none_is_lost() {
        with_chain(|| {
            for _ in 0..3 * PER_BLOCK {
                submit();
            }
            run_to(101 - TERM, &[]);
            for ended in [PER_BLOCK, 2 * PER_BLOCK, 3 * PER_BLOCK] {
                next_block();
                let queued = crate::Jobs::<Test>::iter_keys().filter(|id| is_queued(*id)).count();
                assert_eq!(queued as u32, 3 * PER_BLOCK - ended);
                check();
            }
            assert_eq!(held(&ALICE), 0);
        });
    }

    #[test]
    fn forgetting_many_jobs_delays_no_live_one() {
        with_chain(|| {
            let ended: Vec<_> = (0..10 * PER_BLOCK).map(|_| submit()).collect();
            for id in ended {
                assert_ok!(Jobs::cancel(signed(ALICE), id));
            }
            let enclave = worker(1);
            // In the block after the one in which the first are forgotten, a job is overdue.
            run_to(RETENTION + 1 - TERM, &[&enclave]);
            let id = submit();
            run_to(RETENTION + 2, &[&enclave]);
            assert_eq!((assignment(id).unwrap().due, job(id).attempts), (RETENTION + 2, 1));
            next_block();
            System::assert_has_event(
                Event::Requeued { job: id, worker: enclave.id(), reason: RequeueReason::Overdue }.into(),
            );
            assert_eq!(crate::Jobs::<Test>::iter().count() as u32, 1 + 8 * PER_BLOCK);
            check();
        });
    }

    #[test]
    fn ended_jobs_are_forgotten_after_the_retention() {
        with_chain(|| {
            let jobs: Vec<_> = (0..PER_BLOCK + 1).map(|_| submit()).collect();
            for id in &jobs {
                assert_ok!(Jobs::cancel(signed(ALICE), *id));
            }
            run_to(1 + RETENTION, &[]);
            assert_eq!(crate::Jobs::<Test>::iter().count() as u32, PER_BLOCK + 1);
            next_block();
            assert_eq!(crate::Jobs::<Test>::iter().count(), 1);
            check();
            next_block();
            assert_eq!(crate::Jobs::<Test>::iter().count(), 0);
            assert_noop!(Jobs::cancel(signed(ALICE), jobs[0]), Refused::UnknownJob);
        });
    }
}

mod receipts {
    use super::*;

    #[test]
    fn a_receipt_pays_worker_and_treasury_and_refunds_the_rest() {
        with_assigned_job(|enclave, id| {
            let before = [ALICE, OPERATOR, TREASURY].map(|account| free(&account));
            let signed = sign(&enclave, receipt(&enclave, id));
            assert_eq!(send(signed.clone()).unwrap().pays_fee, Pays::No);
            // Half of the fuel at one PHA is half a PHA; a tenth of it is the treasury's.
            let (paid, treasury) = (PHA * 45 / 100, PHA * 5 / 100);
            let refund = MAX_PRICE - paid - treasury;
            let after = [before[0] + refund, before[1] + paid, before[2] + treasury];
            assert_eq!([ALICE, OPERATOR, TREASURY].map(|account| free(&account)), after);
            assert_eq!(held(&ALICE), 0);
            let outcome = Outcome::Completed { exit_code: 0 };
            let (worker, fuel) = (enclave.id(), LIMITS.fuel / 2);
            System::assert_last_event(Event::Settled { job: id, worker, outcome, fuel, paid, treasury, refund }.into());
            let settled = settlement(id);
            assert_eq!((settled.worker, settled.operator, settled.at), (enclave.id(), OPERATOR, 3));
            assert_eq!((settled.input_hash, settled.output_hash), ([1; 32], [2; 32]));
            assert_eq!(settled.receipt_hash, sp_io::hashing::sha2_256(&signed.encode()));
            assert_eq!(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().running, 0);
        });
    }

    #[test]
    fn a_failed_job_is_paid_for_the_fuel_it_used() {
        with_assigned_job(|enclave, id| {
            let outcome = Outcome::Failed(FailureReason::FuelExhausted);
            let all = Receipt { outcome, fuel: LIMITS.fuel, ..receipt(&enclave, id) };
            assert_ok!(send(sign(&enclave, all)));
            assert_eq!(free(&OPERATOR), PHA + PHA * 9 / 10);
            assert_eq!(settlement(id).outcome, outcome);
        });
    }

    #[test]
    fn a_job_that_used_no_fuel_costs_nothing() {
        with_assigned_job(|enclave, id| {
            let before = free(&ALICE);
            assert_ok!(send(sign(&enclave, failure(&enclave, id))));
            assert_eq!(free(&ALICE), before + MAX_PRICE);
            assert_eq!((settlement(id).paid, settlement(id).treasury), (0, 0));
        });
    }

    #[test]
    fn the_price_at_the_assignment_counts() {
        with_assigned_job(|enclave, id| {
            assert_ok!(Workers::set_price(signed(OPERATOR), enclave.id(), 100 * PHA));
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
            assert_eq!(settlement(id).paid, PHA * 45 / 100);
        });
    }

    #[test]
    fn a_share_too_small_for_its_receiver_to_exist_is_refunded() {
        with_assigned_job(|enclave, id| {
            // The treasury is gone, and its share of five hundredths is less than nothing: below the existential deposit.
            assert_ok!(Balances::transfer_all(signed(TREASURY), BOB, false));
            let little = Receipt { fuel: LIMITS.fuel / 20, ..receipt(&enclave, id) };
            assert_ok!(send(sign(&enclave, little)));
            let settled = settlement(id);
            assert_eq!((settled.paid, settled.treasury), (PHA * 45 / 1000, 0));
            assert_eq!(settled.refund, MAX_PRICE - settled.paid);
            assert_eq!((free(&TREASURY), held(&ALICE)), (0, 0));
        });
    }

    #[test]
    fn freezes_do_not_protect_escrow() {
        with_assigned_job(|enclave, id| {
            use frame_support::traits::{LockableCurrency, WithdrawReasons};
            Balances::set_lock(*b"greedy  ", &ALICE, Balance::MAX, WithdrawReasons::all());
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
            assert_eq!(settlement(id).paid, PHA * 45 / 100);
        });
    }

    #[test]
    fn an_operator_can_be_its_own_customer() {
        with_chain(|| {
            let enclave = Enclave::new(1, ALICE);
            enclave.register::<Test>(PHA).unwrap();
            let id = submit();
            next_block();
            next_block();
            let before = free(&ALICE);
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
            assert_eq!(free(&ALICE), before + MAX_PRICE - PHA / 20);
        });
    }

    #[test]
    fn the_same_receipt_twice_is_refused() {
        with_assigned_job(|enclave, id| {
            let signed = sign(&enclave, receipt(&enclave, id));
            assert_ok!(send(signed.clone()));
            assert_noop!(send(signed), Refused::AlreadySettled);
        });
    }

    #[test]
    fn a_receipt_by_a_worker_not_assigned_is_refused() {
        with_assigned_job(|_, id| {
            let other = worker(2);
            assert_noop!(send(sign(&other, receipt(&other, id))), Refused::NotAssigned);
        });
    }

    #[test]
    fn a_receipt_for_a_queued_job_is_refused() {
        with_chain(|| {
            let id = submit();
            let enclave = worker(1);
            assert_noop!(send(sign(&enclave, receipt(&enclave, id))), Refused::NotAssigned);
        });
    }

    #[test]
    fn a_receipt_for_no_job_is_refused() {
        with_assigned_job(|enclave, id| {
            let unknown = Receipt { job: id + 1, ..receipt(&enclave, id) };
            assert_noop!(send(sign(&enclave, unknown)), Refused::UnknownJob);
        });
    }

    #[test]
    fn each_field_of_a_receipt_is_checked() {
        with_assigned_job(|enclave, id| {
            let good = receipt(&enclave, id);
            let refuse = |receipt: Receipt, error: Refused| {
                assert_noop!(send(sign(&enclave, receipt)), error);
            };
            refuse(Receipt { attempt: 2, ..good.clone() }, Refused::WrongAttempt);
            refuse(Receipt { genesis_hash: [0; 32], ..good.clone() }, Refused::WrongGenesis);
            refuse(Receipt { app: AppId([0; 32]), ..good.clone() }, Refused::WrongApp);
            refuse(Receipt { code_hash: [0; 32], ..good.clone() }, Refused::WrongCode);
            refuse(Receipt { measurement: [0; 32], ..good.clone() }, Refused::WrongMeasurement);
            refuse(Receipt { block_hash: [0; 32], ..good.clone() }, Refused::WrongBlock);
            let before = Receipt { block_number: 1, block_hash: hash_of(1).0, ..good.clone() };
            refuse(before, Refused::WrongBlock);
            let future = Receipt { block_number: 3, block_hash: hash_of(3).0, ..good.clone() };
            refuse(future, Refused::WrongBlock);
            refuse(Receipt { fuel: LIMITS.fuel + 1, ..good.clone() }, Refused::FuelOverLimit);
            let mut forged = sign(&enclave, good.clone());
            forged.receipt.fuel += 1;
            assert_noop!(send(forged), Refused::BadSignature);
            let other = Enclave::new(2, OPERATOR);
            assert_noop!(send(sign(&other, good)), Refused::BadSignature);
        });
    }

    #[test]
    fn a_receipt_after_its_due_is_refused() {
        with_chain(|| {
            // More jobs are overdue in one block than it handles: the rest is still assigned.
            let enclaves: Vec<_> = (0..2).map(worker).collect();
            let jobs: Vec<_> = (0..PER_BLOCK).map(|_| submit()).collect();
            let alive: Vec<_> = enclaves.iter().collect();
            run_to(assignment_due(&jobs), &alive);
            NextWake::<Test>::put(System::block_number() + 2);
            next_block();
            let id = jobs[0];
            let enclave = alive.iter().find(|enclave| Some(enclave.id()) == assigned_to(id)).unwrap();
            assert_noop!(send(sign(enclave, receipt(enclave, id))), Refused::ReceiptTooLate);
            NextWake::<Test>::put(System::block_number());
        });
    }

    fn assignment_due(jobs: &[JobId]) -> u32 {
        next_block();
        assignment(jobs[0]).unwrap().due
    }

    #[test]
    fn a_receipt_of_a_forbidden_image_is_refused() {
        with_assigned_job(|enclave, id| {
            assert_ok!(Attestation::forbid_image(RuntimeOrigin::root(), MEASUREMENT));
            assert_noop!(send(sign(&enclave, receipt(&enclave, id))), Refused::ImageNotAllowed);
        });
    }

    #[test]
    fn a_draining_worker_ends_what_it_has() {
        with_assigned_job(|enclave, id| {
            assert_ok!(Workers::drain(signed(OPERATOR), enclave.id()));
            assert_ok!(send(sign(&enclave, receipt(&enclave, id))));
        });
    }

    #[test]
    fn a_block_long_forgotten_is_believed() {
        with_chain(|| {
            let enclave = worker(1);
            let app = publish(ALICE, Visibility::Public);
            let long = Limits { wall_ms: 600_000, ..LIMITS };
            assert_ok!(Jobs::submit(signed(ALICE), app, long, MAX_PRICE, 400, 1, [0; 32]));
            run_to(200, &[&enclave]);
            let old = Receipt { block_number: 2, block_hash: hash_of(2).0, ..receipt(&enclave, 0) };
            assert_ok!(send(sign(&enclave, old)));
        });
    }
}

mod classes {
    use super::*;
    use phala_attestation::Tier;
    use phala_primitives::attestation::{Class, Outlook};

    fn compromise(class: Class) {
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), class));
    }

    fn platform(enclave: &Enclave) -> Class {
        Class::Platform(pallet_phala_workers::Workers::<Test>::get(enclave.id()).unwrap().platform)
    }

    fn change(enclave: &Enclave, change: impl FnOnce(&mut pallet_phala_workers::Worker<Test>)) {
        pallet_phala_workers::Workers::<Test>::mutate_extant(enclave.id(), change);
    }

    #[test]
    fn running_jobs_of_a_broken_class_go_to_others() {
        with_assigned_job(|first, id| {
            let second = worker(2);
            compromise(platform(&first));
            // Not even in this block.
            assert_noop!(send(sign(&first, receipt(&first, id))), Refused::WorkerBroken);
            next_block();
            let reason = RequeueReason::WorkerCordoned;
            System::assert_has_event(Event::Requeued { job: id, worker: first.id(), reason }.into());
            next_block();
            assert_eq!(assigned_to(id), Some(second.id()));
            next_block();
            assert_noop!(
                send(sign(&first, Receipt { worker: first.id(), ..receipt(&second, id) })),
                Refused::NotAssigned
            );
            assert_ok!(send(sign(&second, receipt(&second, id))));
        });
    }

    /// Of a job that is settled long ago, too, until it is forgotten.
    #[test]
    fn who_had_a_job_is_known_for_as_long_as_the_job_is() {
        with_assigned_job(|first, id| {
            let since = assignment(id).unwrap().assigned_at;
            let second = worker(2);
            compromise(platform(&first));
            run_to(System::block_number() + 3, &[]);
            assert_ok!(send(sign(&second, receipt(&second, id))));
            assert_ok!(Workers::deregister(signed(OPERATOR), first.id()));
            let holders = Holders::<Test>::get(id);
            assert_eq!(holders.iter().map(|holder| holder.worker).collect::<Vec<_>>(), [first.id(), second.id()]);
            assert_eq!(holders[0].since, since);
            assert_eq!(holders[0].classes()[0], Class::Image(MEASUREMENT));
            run_to(System::block_number() + RETENTION + 2, &[]);
            assert!(crate::Jobs::<Test>::get(id).is_none() && Holders::<Test>::iter().count() == 0);
        });
    }

    #[test]
    fn a_worker_that_a_tcb_recovery_will_refuse_is_drained_before() {
        with_chain(|| {
            let [exposed, other] = [worker(1), worker(2)];
            change(&exposed, |record| record.outlook = Some(Outlook { from: START + 500, tier: None }));
            // As many as the other has place for, and the rest all the same.
            let ids: Vec<_> = (0..5).map(|_| submit()).collect();
            run_to(4, &[]);
            let with_other = ids.iter().filter(|id| assigned_to(**id) == Some(other.id())).count();
            assert_eq!(with_other, 4);
            assert_eq!(ids.iter().filter(|id| assigned_to(**id) == Some(exposed.id())).count(), 1);
        });
    }

    #[test]
    fn a_worker_of_the_limited_tier_gets_fewer_jobs() {
        with_chain(|| {
            let [limited, full] = [worker(1), worker(2)];
            change(&limited, |record| record.tier = Tier::Limited);
            let mut count = 0;
            for round in 0..60_u8 {
                Luck::set(Some(round));
                let id = submit();
                next_block();
                let enclave = if assigned_to(id) == Some(full.id()) { &full } else { &limited };
                count += u32::from(enclave.id() == full.id());
                beat(&limited);
                beat(&full);
                next_block();
                assert_ok!(send(sign(enclave, receipt(enclave, id))));
            }
            // Two thirds of them, give or take.
            assert!((30..54).contains(&count), "{count} of 60");
        });
    }

    #[test]
    fn a_job_that_too_many_workers_lost_ends() {
        with_assigned_job(|enclave, id| {
            crate::Jobs::<Test>::mutate_extant(id, |job| job.attempts = MAX_ATTEMPTS);
            let holder = Holders::<Test>::get(id)[0];
            Holders::<Test>::insert(id, BoundedVec::truncate_from(vec![holder; MAX_ATTEMPTS as usize]));
            run_to(assignment(id).unwrap().due + 1, &[&enclave]);
            System::assert_has_event(Event::Expired { job: id }.into());
            assert_eq!(held(&ALICE), 0);
        });
    }
}
