//! A random life: what happens to a world whose story nobody wrote.
//!
//! The seed decides which kinds of faults there are in a world, and when each happens. Each fault ends by itself after a
//! while, so that a world with faults still gets something done.

use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::sleep;

use crate::{
    chain::Fate,
    disk::Damage,
    link::Lie,
    random::Dice,
    user::Wish,
    worker::Worker,
    world::{USERS, World},
};
use phala_runtime::RuntimeCall;

/// How long faults go on.
const FAULTS_FOR: Duration = Duration::from_secs(240);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CrashEnclave,
    CrashHost,
    CrashBoth,
    CutLink,
    BadLink,
    Lies,
    KeepBack,
    NodeAway,
    StallFinality,
    Fork,
    Receipts,
}

impl Fault {
    const ALL: [Self; 11] = [
        Self::CrashEnclave,
        Self::CrashHost,
        Self::CrashBoth,
        Self::CutLink,
        Self::BadLink,
        Self::Lies,
        Self::KeepBack,
        Self::NodeAway,
        Self::StallFinality,
        Self::Fork,
        Self::Receipts,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::CrashEnclave => "crashes of enclaves",
            Self::CrashHost => "crashes of hosts",
            Self::CrashBoth => "crashes of both",
            Self::CutLink => "links cut",
            Self::BadLink => "bad links",
            Self::Lies => "liars",
            Self::KeepBack => "blocks kept back",
            Self::NodeAway => "nodes away",
            Self::StallFinality => "stalls of finality",
            Self::Fork => "forks",
            Self::Receipts => "receipts brought by others",
        }
    }
}

/// Lives until every order has ended or the faults are over.
pub async fn live(world: World) {
    let dice = world.dice();
    let mut faults: Vec<Fault> = Fault::ALL.into_iter().filter(|_| dice.chance(600)).collect();
    if faults.is_empty() {
        faults.push(Fault::CrashBoth);
    }
    world.say(format_args!("faults: {faults:?}"));
    if dice.chance(700) {
        world.ready().await;
    }
    let config = world.config().clone();
    let mut programs = config.programs;
    dice.shuffle(&mut programs);
    programs.truncate(3);
    let mut ordered = 0;
    let end = world.elapsed() + FAULTS_FOR;
    while world.elapsed() < end {
        if ordered < config.jobs && dice.chance(250) {
            ordered += 1;
            order(&world, *dice.pick(&programs));
        }
        if dice.chance(config.faults) {
            let fault = *dice.pick(&faults);
            world.count(fault.name());
            happen(&world, fault);
        }
        if dice.chance(50) {
            for worker in world.workers() {
                if let Err(error) = worker.remember_disk() {
                    world.fail(format_args!("the real disk failed: {error}"));
                }
            }
        }
        if ordered == config.jobs && world.orders().iter().all(|order| order.has_ended()) {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn order(world: &World, program: crate::program::Program) {
    let dice = world.dice();
    let mut wish = Wish::new(*dice.pick(&USERS), program);
    wish.private = dice.chance(300);
    wish.stdin_bytes = *dice.pick(&[0, 10, 1000, 70_000, 300_000]);
    wish.starts = !dice.chance(80);
    wish.cancels = dice.chance(50);
    wish.blocks = *dice.pick(&[60, 90, 150]);
    world.order(wish);
}

fn happen(world: &World, fault: Fault) {
    let dice = world.dice();
    let worker = dice.pick(&world.workers()).clone();
    let pause = dice.millis(500, 45_000);
    match fault {
        Fault::CrashEnclave => {
            worker.crash_enclave();
            world.later(pause, move |_| worker.start_enclave());
        }
        Fault::CrashHost => {
            crash_host(world, &worker);
            world.later(pause, move |world| start_host(world, &worker));
        }
        Fault::CrashBoth => {
            worker.crash_enclave();
            crash_host(world, &worker);
            world.later(pause, move |world| {
                worker.start_enclave();
                start_host(world, &worker);
            });
        }
        Fault::CutLink => worker.cut_link(),
        Fault::BadLink => {
            worker.break_links(100);
            world.later(pause, move |_| worker.break_links(0));
        }
        Fault::Lies => {
            for _ in 0..=dice.below(3) {
                let lie = *dice.pick(&Lie::ALL);
                world.say(format_args!("worker {}: the host lies: {lie:?}", worker.number));
                worker.liar.lie(lie, *dice.pick(&[20, 100, 500]));
            }
            world.later(pause, move |_| worker.liar.be_honest());
        }
        Fault::KeepBack => {
            let end = world.chain().finalized().number;
            worker.view.keep_back(Some(end.saturating_sub(dice.below(3) as u32)));
            world.later(pause, move |_| worker.view.keep_back(None));
        }
        Fault::NodeAway => {
            worker.weather.is_away.store(true, Ordering::Relaxed);
            world.later(pause, move |_| worker.weather.is_away.store(false, Ordering::Relaxed));
        }
        Fault::StallFinality => {
            world.chain().stall_finality(true);
            world.later(pause, |world| world.chain().stall_finality(false));
        }
        Fault::Fork => fork(world, dice),
        Fault::Receipts => {
            // Whatever there was, again: by somebody else, at any time.
            for order in world.orders() {
                if let Some((id, _)) = order.find(&world.chain().best_state()) {
                    for signed in world.receipts(id) {
                        drop(world.bring(USERS[0], signed));
                    }
                }
            }
        }
    }
}

/// Replaces blocks. What users and operators want is not lost; what hosts bring again by themselves may be.
fn fork(world: &World, dice: &Dice) {
    let keep = |call: &RuntimeCall| match call {
        RuntimeCall::Jobs(pallet_phala_jobs::Call::submit_receipt { .. })
        | RuntimeCall::Workers(pallet_phala_workers::Call::heartbeat { .. }) => {
            *dice.pick(&[Fate::Kept, Fate::Later, Fate::Lost])
        }
        _ => *dice.pick(&[Fate::Kept, Fate::Later]),
    };
    if let Err(error) = world.chain().fork(1 + dice.below(3) as u32, keep) {
        world.fail(error);
    }
}

fn crash_host(world: &World, worker: &Worker) {
    let damage = *world.dice().pick(&[Damage::None, Damage::Torn, Damage::Forgetful]);
    if let Err(error) = worker.crash_host(damage) {
        world.fail(format_args!("the real disk failed: {error}"));
    }
}

fn start_host(world: &World, worker: &Worker) {
    if let Err(error) = worker.start_host() {
        world.fail(error);
    }
}
