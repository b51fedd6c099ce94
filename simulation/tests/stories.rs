//! Worlds with a story: each attack and each misfortune by itself, and what comes of it.

use phala_primitives::{FailureReason, Outcome, SignedReceipt, WorkerId, job::JobStatus};
use phala_protocol::{EnclaveReply, HostRequest, Pause};
use phala_simulation::{
    Config, Damage, Fate, Lie, Program, Report, Wish, World, link::sha256, play, user, worker::Worker, world::USERS,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;

const BOB: usize = 0;
const FERDIE: usize = 1;

/// One worker and no faults but those of the story.
fn calm() -> Config {
    Config { workers: 1, ..Config::calm() }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets a world live by a script and says what came of it.
fn tell<F: Future<Output = ()>>(config: &Config, script: impl FnOnce(World) -> F + Send + 'static) -> Report {
    play(1, config, script).unwrap_or_else(|failure| panic!("{failure}"))
}

fn echo(user: usize) -> Wish {
    Wish::new(USERS[user], Program::Echo)
}

fn is_settled(status: &JobStatus<phala_sdk::Account, u32>) -> bool {
    matches!(status, JobStatus::Settled(_))
}

/// Waits until the enclave says that it takes no new work.
async fn paused(world: &World, worker: &Arc<Worker>, is: fn(&Pause) -> bool) {
    let pauses = || worker.status().and_then(|status| status.pause).is_some_and(|pause| is(&pause));
    world.until("the enclave takes no new work", seconds(240), pauses).await;
}

/// Ends both processes, does something to the disk, and starts them again.
fn restart_with(
    worker: &Arc<Worker>,
    tamper: impl FnOnce(&mut phala_simulation::disk::Disk) -> std::io::Result<usize>,
) {
    worker.crash_enclave();
    worker.crash_host(Damage::None).unwrap();
    assert!(worker.tamper(tamper).unwrap() > 0, "nothing was changed");
    worker.start().unwrap();
}

/// A job whose receipt has left the enclave, of a worker whose host cannot reach its node.
async fn receipt_kept_from_the_chain(world: &World) -> (Arc<user::Order>, u64, SignedReceipt) {
    world.ready().await;
    let order = world.order(echo(BOB));
    world.until("the job is assigned", seconds(60), || world.assignment(&order).is_some()).await;
    let (id, _, _) = world.assignment(&order).unwrap();
    world.worker(0).weather.is_away.store(true, Ordering::Relaxed);
    world.until("there is a receipt", seconds(60), || !world.receipts(id).is_empty()).await;
    let receipt = world.receipts(id).remove(0);
    (order, id, receipt)
}

#[test]
fn honest_workers_settle_every_job_and_every_result_is_checked() {
    let report = tell(&Config { workers: 2, ..Config::calm() }, |world| async move {
        world.ready().await;
        for (number, program) in Program::ALL.into_iter().enumerate() {
            let mut wish = Wish::new(USERS[number % 2], program);
            wish.private = number % 3 == 0;
            world.order(wish);
        }
    });
    assert_eq!((report.jobs, report.settled, report.checked), (9, 9, 9), "{report:?}");
}

#[test]
fn misbehaving_programs_fail_alone() {
    let report = tell(&Config { capacity: 3, ..calm() }, |world| async move {
        world.ready().await;
        for program in [Program::Spin, Program::Flood, Program::Hog, Program::Recurse, Program::Trap, Program::Beyond] {
            world.order(Wish::new(USERS[FERDIE], program));
            world.order(echo(BOB));
        }
    });
    assert_eq!((report.jobs, report.settled, report.checked), (12, 12, 12), "{report:?}");
}

#[test]
fn a_program_that_spins_past_its_wall_time_is_ended() {
    // A look at the clock takes so long that the second is too late.
    let report = tell(&Config { tick: Duration::from_millis(200), ..calm() }, |world| async move {
        world.ready().await;
        let mut wish = Wish::new(USERS[BOB], Program::Spin);
        wish.wall_ms = 300;
        wish.outcome = Some(Outcome::Failed(FailureReason::WallTimeExceeded));
        world.order(wish);
    });
    assert_eq!(report.settled, 1, "{report:?}");
}

/// A worker whose host tells these lies half of the time while jobs are about, and is honest in the end.
fn with_liar(lies: &'static [Lie]) -> Report {
    let report = tell(&calm(), move |world| async move {
        world.ready().await;
        for lie in lies {
            world.worker(0).liar.lie(*lie, 500);
        }
        for user in [BOB, FERDIE, BOB] {
            world.order(echo(user));
            sleep(seconds(15)).await;
        }
        sleep(seconds(30)).await;
    });
    assert!(report.lies > 0, "no lie was told: {report:?}");
    assert_eq!(report.settled + report.expired, 3, "{report:?}");
    report
}

#[test]
fn lying_host_replays_frames() {
    with_liar(&[Lie::Replay]);
}

#[test]
fn lying_host_doubles_frames() {
    assert_eq!(with_liar(&[Lie::Double]).settled, 3);
}

#[test]
fn lying_host_reorders_frames() {
    with_liar(&[Lie::Reorder]);
}

#[test]
fn lying_host_omits_frames() {
    with_liar(&[Lie::Omit]);
}

#[test]
fn lying_host_corrupts_frames() {
    with_liar(&[Lie::Corrupt]);
}

#[test]
fn lying_host_forges_replies() {
    with_liar(&[Lie::ForgeReply]);
}

#[test]
fn host_serves_another_users_blob() {
    with_liar(&[Lie::OtherBlob]);
}

#[test]
fn host_serves_wrong_sizes() {
    with_liar(&[Lie::WrongSize]);
}

#[test]
fn host_throws_away_what_it_says_it_keeps() {
    with_liar(&[Lie::ThrowAway]);
}

#[test]
fn host_withholds_blobs() {
    with_liar(&[Lie::Withhold]);
}

#[test]
fn lying_host_asks_for_what_nobody_asked_it() {
    with_liar(&[Lie::Pester]);
}

#[test]
fn lying_host_tells_every_lie_at_once() {
    with_liar(&Lie::ALL);
}

#[test]
fn host_restores_old_sealed_state() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        sleep(seconds(40)).await;
        worker.remember_disk().unwrap();
        // Heartbeats go on, each at a newer block.
        sleep(seconds(60)).await;
        restart_with(&worker, |disk| disk.restore("sealed/chain-"));
        paused(&world, &worker, |pause| *pause == Pause::RestoredState).await;
        let order = world.order(echo(BOB));
        let (id, job) = order.ended().await;
        assert!(!is_settled(&job.status) && world.receipts(id).is_empty(), "{:?}", job.status);
    });
    assert_eq!(report.receipts, 0);
}

#[test]
fn host_withholds_sealed_state() {
    tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        sleep(seconds(40)).await;
        restart_with(&worker, |disk| disk.lose("sealed/chain-"));
        paused(&world, &worker, |pause| *pause == Pause::RestoredState).await;
    });
}

#[test]
fn a_host_that_loses_the_keys_gets_another_worker() {
    tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        let before = worker.id().unwrap();
        restart_with(&worker, |disk| disk.lose("sealed"));
        world.until("the enclave is started", seconds(60), || worker.id().is_some()).await;
        assert_ne!(worker.id().unwrap(), before);
        // Its platform backs one at a time.
        world.until("the first makes room for it", seconds(120), || world.count_lines("Event::Deregistered") > 0).await;
    });
}

#[test]
fn clone_of_an_enclave_is_noticed() {
    tell(&calm(), |world| async move {
        world.ready().await;
        sleep(seconds(40)).await;
        let copy = world.clone_worker(0);
        copy.start().unwrap();
        let original = world.worker(0);
        let restored = |worker: &Worker| worker.status().is_some_and(|s| s.pause == Some(Pause::RestoredState));
        let noticed = || restored(&original) || restored(&copy);
        world.until("one of the two is noticed", seconds(240), noticed).await;
    });
}

#[test]
fn crash_between_receipt_and_submission() {
    let report = tell(&calm(), |world| async move {
        let (order, id, receipt) = receipt_kept_from_the_chain(&world).await;
        let worker = world.worker(0);
        worker.crash_enclave();
        worker.crash_host(Damage::None).unwrap();
        sleep(seconds(5)).await;
        worker.weather.is_away.store(false, Ordering::Relaxed);
        worker.start().unwrap();
        let (_, job) = order.ended().await;
        assert!(is_settled(&job.status), "{:?}", job.status);
        assert_eq!(world.receipts(id), [receipt]);
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn lost_receipt_file() {
    let report = tell(&calm(), |world| async move {
        let (order, id, receipt) = receipt_kept_from_the_chain(&world).await;
        let worker = world.worker(0);
        worker.crash_host(Damage::None).unwrap();
        worker.tamper(|disk| disk.lose("receipts")).unwrap();
        worker.tamper(|disk| disk.lose("jobs")).unwrap();
        worker.weather.is_away.store(false, Ordering::Relaxed);
        worker.start_host().unwrap();
        // The enclave says it again.
        let (_, job) = order.ended().await;
        assert!(is_settled(&job.status), "{:?}", job.status);
        assert_eq!(world.receipts(id), [receipt]);
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn a_receipt_that_is_lost_everywhere_is_made_again_and_paid_once() {
    let report = tell(&calm(), |world| async move {
        let (order, id, _) = receipt_kept_from_the_chain(&world).await;
        let worker = world.worker(0);
        worker.crash_enclave();
        worker.crash_host(Damage::None).unwrap();
        for lost in ["receipts", "jobs", "sealed/job-"] {
            worker.tamper(|disk| disk.lose(lost)).unwrap();
        }
        worker.weather.is_away.store(false, Ordering::Relaxed);
        worker.start().unwrap();
        let (_, job) = order.ended().await;
        assert!(is_settled(&job.status), "{:?}", job.status);
        assert_eq!(world.receipts(id).len(), 2);
        assert_eq!(world.count_lines(&format!("Settled {{ job: {id},")), 1);
    });
    assert_eq!(report.settled, 1);
}

#[test]
fn torn_partial_output() {
    let config = Config { delay_ms: 150, ..calm() };
    let report = tell(&config, |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        let mut wish = echo(BOB);
        wish.stdin_bytes = 900_000;
        world.order(wish);
        let writes = || world.count_lines("writes the output") > 0;
        world.until("the output is being written", seconds(120), writes).await;
        worker.crash_host(Damage::Torn).unwrap();
        sleep(seconds(3)).await;
        worker.start_host().unwrap();
    });
    assert_eq!((report.settled, report.checked), (1, 1), "{report:?}");
}

#[test]
fn host_restarts_at_every_step_of_a_job() {
    let config = Config { delay_ms: 150, ..calm() };
    let report = tell(&config, |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        for step in ["is assigned", ": Queued", ": Preparing", ": Running", ": Finishing", "ends: "] {
            let before = world.count_lines(step);
            let order = world.order(echo(BOB));
            let reached =
                || world.count_lines(step) > before || step == "is assigned" && world.assignment(&order).is_some();
            world.until(step, seconds(120), reached).await;
            worker.crash_host(Damage::None).unwrap();
            sleep(seconds(2)).await;
            worker.start_host().unwrap();
            assert!(is_settled(&order.ended().await.1.status), "at {step}");
        }
    });
    assert_eq!((report.settled, report.checked), (6, 6), "{report:?}");
}

#[test]
fn enclave_restarts_at_every_step_of_a_job() {
    let config = Config { delay_ms: 150, ..calm() };
    let report = tell(&config, |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        for step in [": Queued", ": Preparing", ": Running", ": Finishing", "ends: "] {
            let before = world.count_lines(step);
            let order = world.order(echo(BOB));
            world.until(step, seconds(120), || world.count_lines(step) > before).await;
            worker.crash_enclave();
            sleep(seconds(2)).await;
            worker.start_enclave();
            assert!(is_settled(&order.ended().await.1.status), "at {step}");
        }
    });
    assert_eq!((report.settled, report.checked), (5, 5), "{report:?}");
}

#[test]
fn duplicate_receipts_pay_once() {
    tell(&calm(), |world| async move {
        let (order, id, receipt) = receipt_kept_from_the_chain(&world).await;
        let brought: Vec<_> = (0..5).map(|_| world.bring(USERS[FERDIE], receipt.clone())).collect();
        world.worker(0).weather.is_away.store(false, Ordering::Relaxed);
        let mut taken = 0;
        for answer in brought {
            taken += usize::from(answer.await.unwrap().is_ok());
        }
        assert!(taken <= 1, "{taken} of the same receipt were taken");
        let (_, job) = order.ended().await;
        assert!(is_settled(&job.status), "{:?}", job.status);
        assert_eq!(world.count_lines(&format!("Settled {{ job: {id},")), 1);
    });
}

#[test]
fn an_overdue_job_goes_to_another_and_the_late_receipt_earns_nothing() {
    let report = tell(&Config { workers: 2, ..Config::calm() }, |world| async move {
        world.ready().await;
        let order = world.order(echo(BOB));
        world.until("the job is assigned", seconds(60), || world.assignment(&order).is_some()).await;
        let (id, _, first) = world.assignment(&order).unwrap();
        let late = world.worker_of(first).unwrap();
        late.weather.is_away.store(true, Ordering::Relaxed);
        let (_, job) = order.ended().await;
        let JobStatus::Settled(settlement) = &job.status else { panic!("{:?}", job.status) };
        assert_eq!(job.attempts, 2);
        assert_ne!(settlement.worker, first);
        let receipts = world.receipts(id);
        assert_eq!(receipts.iter().map(|signed| signed.receipt.attempt).collect::<Vec<_>>(), [1, 2]);
        // The late host comes back, and others bring its receipt, too.
        late.weather.is_away.store(false, Ordering::Relaxed);
        let answer = world.bring(USERS[FERDIE], receipts[0].clone()).await.unwrap();
        assert!(answer.unwrap_err().contains("AlreadySettled"));
        sleep(seconds(30)).await;
        assert_eq!(world.count_lines(&format!("Settled {{ job: {id},")), 1);
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn receipts_of_old_attempts_are_not_paid() {
    tell(&calm(), |world| async move {
        let (order, id, receipt) = receipt_kept_from_the_chain(&world).await;
        order.set_starts(false);
        // Nobody hears of the worker: the job is taken from it, and given to it again when it is back.
        let taken = || order.find(&world.chain().best_state()).is_some_and(|(_, job)| job.status == JobStatus::Queued);
        world.until("the job is taken back", seconds(200), taken).await;
        assert!(world.bring(USERS[FERDIE], receipt.clone()).await.unwrap().is_err());
        world.worker(0).weather.is_away.store(false, Ordering::Relaxed);
        let again = || world.assignment(&order).is_some_and(|(_, attempt, _)| attempt == 2);
        world.until("the job is assigned again", seconds(120), again).await;
        let answer = world.bring(USERS[FERDIE], receipt).await.unwrap();
        assert!(answer.unwrap_err().contains("WrongAttempt"));
        order.set_starts(true);
        let (_, job) = order.ended().await;
        assert!(is_settled(&job.status) && job.attempts == 2, "{:?}", job.status);
        assert_eq!(world.receipts(id).len(), 2);
    });
}

#[test]
fn finality_stalls_and_work_pauses() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        world.chain().stall_finality(true);
        paused(&world, &worker, |pause| matches!(pause, Pause::NoFinality { .. })).await;
        let order = world.order(echo(BOB));
        sleep(seconds(60)).await;
        assert!(!order.has_ended() && world.count_lines("accepts a job") == 0);
        world.chain().stall_finality(false);
        let running = || worker.status().is_some_and(|status| status.pause.is_none());
        world.until("work goes on", seconds(60), running).await;
        assert!(is_settled(&order.ended().await.1.status));
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn blocks_kept_back_from_one_enclave_pause_it() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        worker.view.keep_back(Some(world.chain().finalized().number));
        paused(&world, &worker, |pause| matches!(pause, Pause::NoFinality { .. })).await;
        let order = world.order(echo(BOB));
        sleep(seconds(30)).await;
        assert_eq!(world.count_lines("accepts a job"), 0);
        worker.view.keep_back(None);
        assert!(is_settled(&order.ended().await.1.status));
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn a_restarted_enclave_takes_no_older_chain() {
    tell(&calm(), |world| async move {
        world.ready().await;
        let worker = world.worker(0);
        sleep(seconds(60)).await;
        worker.crash_enclave();
        worker.view.keep_back(Some(2));
        worker.start_enclave();
        let session = || worker.host().is_some_and(|host| host.enclave.session().is_some());
        world.until("the enclave is started", seconds(60), session).await;
        let nonce = [7; 32];
        let ask = || {
            let host = worker.host().unwrap();
            async move { host.enclave.request(HostRequest::Challenge { nonce }).await }
        };
        for _ in 0..5 {
            assert!(ask().await.is_err(), "it names a block of the older chain");
            sleep(seconds(5)).await;
        }
        worker.view.keep_back(None);
        sleep(seconds(20)).await;
        let Ok(EnclaveReply::Liveness(signed)) = ask().await else { panic!("no answer to a challenge") };
        assert!(signed.liveness.nonce == nonce && signed.liveness.block_number > 2);
        let id = WorkerId(signed.liveness.signing_key);
        assert_eq!(Some(id), worker.id());
        assert!(pallet_phala_workers::verify(&id, &signed.liveness.signed_bytes(), &signed.signature));
    });
}

#[test]
fn fork_replaces_a_submission() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let order = world.order(echo(BOB));
        let settled = || order.find(&world.chain().best_state()).is_some_and(|(_, job)| is_settled(&job.status));
        world.until("a block that is not final settles the job", seconds(120), settled).await;
        world.chain().fork(3, |_| Fate::Lost).unwrap();
        assert!(!settled(), "the fork was too late");
        assert!(is_settled(&order.ended().await.1.status));
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn fork_replaces_an_assignment() {
    let report = tell(&Config { workers: 2, ..Config::calm() }, |world| async move {
        world.ready().await;
        for _ in 0..4 {
            let order = world.order(echo(BOB));
            world.until("the job is assigned", seconds(60), || world.assignment(&order).is_some()).await;
            // Another parent draws another worker.
            world.chain().fork(3, |_| Fate::Later).unwrap();
            assert!(is_settled(&order.ended().await.1.status));
        }
    });
    assert_eq!(report.checked, 4);
}

#[test]
fn colluding_host_and_user_cannot_get_anothers_input() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let victim = world.order(echo(BOB));
        victim.ended().await;
        // Ferdie names Bob's standard input, which the host still has, in a job of his own.
        let mut wish = echo(FERDIE);
        wish.starts = false;
        wish.outcome = Some(Outcome::Failed(FailureReason::InvalidInput));
        let thief = world.order(wish);
        world.until("the thief's job is assigned", seconds(60), || world.assignment(&thief).is_some()).await;
        let (id, attempt, worker) = world.assignment(&thief).unwrap();
        let host = world.host_of(worker).unwrap();
        let key = host.enclave.session().unwrap().identity.encryption_key;
        let input = thief.input_with(world.chain().genesis_hash(), id, &key, victim.stdin_file());
        thief.upload(&host, &input).unwrap();
        victim.upload(&host, &input).unwrap();
        host.enclave.start_job(id, attempt, sha256(&input)).await.unwrap();
        let (_, job) = thief.ended().await;
        assert!(is_settled(&job.status), "{:?}", job.status);
    });
    assert_eq!(report.settled, 2);
}

#[test]
fn colluding_host_and_user_cannot_start_anothers_job() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let mut wish = echo(BOB);
        wish.starts = false;
        let victim = world.order(wish);
        world.until("the job is assigned", seconds(60), || world.assignment(&victim).is_some()).await;
        sleep(seconds(10)).await;
        let (id, attempt, worker) = world.assignment(&victim).unwrap();
        let host = world.host_of(worker).unwrap();
        let key = host.enclave.session().unwrap().identity.encryption_key;
        // Well-formed, for this very job, with a secret of the thief's own.
        let thief = world.prepare(echo(FERDIE));
        let input = thief.input(world.chain().genesis_hash(), id, &key);
        thief.upload(&host, &input).unwrap();
        assert!(host.enclave.start_job(id, attempt, sha256(&input)).await.is_err());
        assert!(world.receipts(id).is_empty());
        victim.set_starts(true);
        assert!(is_settled(&victim.ended().await.1.status));
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn links_that_delay_and_break_lose_no_job() {
    let config = Config { delay_ms: 300, ..calm() };
    let report = tell(&config, |world| async move {
        world.ready().await;
        world.worker(0).break_links(30);
        for user in [BOB, FERDIE, BOB] {
            world.order(echo(user));
        }
        sleep(seconds(120)).await;
    });
    assert_eq!(report.settled + report.expired, 3, "{report:?}");
    assert_eq!(report.checked, report.settled);
}

#[test]
fn a_node_that_goes_away_delays_and_loses_nothing() {
    let report = tell(&calm(), |world| async move {
        let (order, _, _) = receipt_kept_from_the_chain(&world).await;
        sleep(seconds(15)).await;
        world.worker(0).weather.is_away.store(false, Ordering::Relaxed);
        assert!(is_settled(&order.ended().await.1.status));
    });
    assert_eq!(report.checked, 1);
}

#[test]
fn jobs_that_nobody_starts_expire_and_cost_their_owner_nothing_more() {
    let report = tell(&calm(), |world| async move {
        world.ready().await;
        let mut wish = echo(BOB);
        (wish.starts, wish.blocks) = (false, 60);
        let order = world.order(wish);
        let (id, job) = order.ended().await;
        assert!(matches!(job.status, JobStatus::Expired { .. }), "{:?}", job.status);
        assert!(world.receipts(id).is_empty());
    });
    assert_eq!((report.expired, report.settled), (1, 0));
}

#[test]
fn more_jobs_than_places_all_end() {
    let report = tell(&Config { capacity: 1, ..calm() }, |world| async move {
        world.ready().await;
        for number in 0..8 {
            world.order(Wish::new(USERS[number % 2], Program::Exit));
        }
    });
    assert_eq!(report.settled + report.expired, 8, "{report:?}");
    assert_eq!(report.checked, report.settled);
    assert!(report.settled >= 3, "{report:?}");
}
