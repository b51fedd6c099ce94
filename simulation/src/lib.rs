//! A test world: the real enclave core, the real host and the real pallets, in one thread, by virtual time, from a seed.
//!
//! ```text
//!        users ── orders, job inputs, results ─────────────┐
//!                                                          ▼
//!   ┌ chain ───────────────┐        ┌ worker ─────────────────────────────────────────┐
//!   │ the real runtime     │  node  │ phala-host          liar, delays     phala-enclave │
//!   │ forks, late finality │◄──────►│ Store, Jobs, ... ◄──────────────────► Enclave      │
//!   └──────────────────────┘        │      ▲                     ▲             ▲        │
//!                     ▲             └──────┼─────────────────────┼─────────────┼────────┘
//!                     │                 disk that           every byte      light client's
//!                     │                 tears, forgets      is looked at    view
//!                     └───────────────────────────────────────────────────────┘
//! ```
//!
//! What is real: `phala_enclave::Enclave` with keys, jobs, engine and sealed state; `phala_host`'s store, jobs, link,
//! registration and receipts; the whole runtime with signatures and fees. What stands in: GRANDPA, BABE's lots and
//! the light client ([`chain`]), the TEE ([`tee`]), sockets ([`link`]), HTTP (users put blobs into the store themselves).
//!
//! # Invariants
//! - The same seed gives the same trace, if it is the first of its process: one thread runs at a time ([`baton`]), time is
//!   tokio's paused clock, and chance is the seed's ([`random`]). tokio counts the runtimes of a process to vary its
//!   `select!`, hence the condition; `phala-simulation` gives each seed a process of its own.
//! - What must hold of a world is in [`world`], and is checked while it lives.
//! - Nothing outlives a world but the memory of its seed.

pub mod baton;
pub mod canary;
pub mod chain;
pub mod disk;
pub mod faults;
pub mod link;
pub mod panics;
pub mod program;
pub mod random;
pub mod tee;
pub mod trace;
pub mod user;
pub mod worker;
pub mod world;

pub use chain::Fate;
pub use disk::Damage;
pub use link::Lie;
pub use program::Program;
pub use user::{Order, Wish};
pub use world::World;

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tokio::{runtime::Builder, time::sleep};

use random::{Dice, os};
use trace::Trace;

/// How long a world may take by the clock on the wall.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Workers, at most three.
    pub workers: usize,
    /// Jobs that each runs at once.
    pub capacity: u32,
    /// Jobs that users submit in a random life.
    pub jobs: usize,
    /// What they run.
    pub programs: Vec<Program>,
    /// Faults in a random life: how many in a thousand seconds.
    pub faults: u32,
    /// What an enclave's look at its clock takes.
    pub tick: Duration,
    /// The longest time that a frame takes between enclave and host, in milliseconds.
    pub delay_ms: u64,
    /// How often in a thousand a call waits for another block.
    pub wait: u32,
    /// How long the world may live by its own clock.
    pub limit: Duration,
    /// Whether the trace goes to standard error while it grows.
    pub echo: bool,
}

impl Default for Config {
    /// A random life with everything in it.
    fn default() -> Self {
        Self {
            workers: 2,
            capacity: 2,
            jobs: 5,
            programs: Program::ALL.into(),
            faults: 60,
            tick: Duration::from_micros(100),
            delay_ms: 40,
            wait: 200,
            limit: Duration::from_secs(3600),
            echo: false,
        }
    }
}

impl Config {
    /// Without any faults: for stories.
    pub fn calm() -> Self {
        Self { faults: 0, delay_ms: 5, wait: 0, ..Self::default() }
    }
}

/// What happened in a world in which everything held that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How long it lived, by its clock.
    pub virtual_seconds: u64,
    /// Blocks.
    pub blocks: u32,
    /// Jobs on chain.
    pub jobs: usize,
    /// Jobs that a receipt settled.
    pub settled: usize,
    /// Jobs that expired.
    pub expired: usize,
    /// Jobs that were cancelled.
    pub cancelled: usize,
    /// Jobs whose result was checked by its user.
    pub checked: usize,
    /// Receipts that enclaves gave.
    pub receipts: usize,
    /// Lies that hosts told.
    pub lies: u64,
    /// What else happened, and how often.
    pub events: BTreeMap<String, u64>,
    /// Frames that left enclaves.
    pub frames: u64,
    /// Lines of the trace.
    pub trace_lines: usize,
    /// SHA-256 of the trace, hexadecimal.
    pub trace_hash: String,
}

/// A world in which something happened that must not.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What happened.
    pub reason: String,
    /// What happened before.
    pub trace: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Lines of the trace that are shown.
        const SHOWN: usize = 60;
        let skipped = self.trace.len().saturating_sub(SHOWN);
        writeln!(f, "seed {}: {}", self.seed, self.reason)?;
        writeln!(f, "the last lines of its trace, {skipped} before are left out:")?;
        self.trace.iter().skip(skipped).try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Lets a world live a random life.
///
/// # Errors
/// [`Failure`].
pub fn run(seed: u64, config: &Config) -> Result<Report, Failure> {
    play(seed, config, faults::live)
}

/// Lets a world live by a script. Then the faults end, and so must every job.
///
/// # Errors
/// [`Failure`]: also when the script panics.
pub fn play<S, F>(seed: u64, config: &Config, script: S) -> Result<Report, Failure>
where
    S: FnOnce(World) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    panics::watch();
    let (sender, result) = mpsc::channel();
    let trace = Arc::new(Mutex::new(None::<Arc<Trace>>));
    let (config, slot) = (config.clone(), trace.clone());
    let life = move || drop(sender.send(live(seed, config, script, &slot)));
    // What the world's futures need of a stack is more in a build without optimizations.
    let thread = thread::Builder::new().name(format!("world-{seed}")).stack_size(32 << 20).spawn(life);
    drop(thread.expect("the system has threads"));
    let reason = match result.recv_timeout(PATIENCE) {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(reason)) => reason,
        Err(_) => format!("the world did not come to an end within {PATIENCE:?} of real time"),
    };
    let trace = trace.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|trace| trace.lines());
    Err(Failure { seed, reason, trace: trace.unwrap_or_default() })
}

fn live<S, F>(seed: u64, config: Config, script: S, slot: &Mutex<Option<Arc<Trace>>>) -> Result<Report, String>
where
    S: FnOnce(World) -> F,
    F: Future<Output = ()>,
{
    // Threads of enclaves may hold it for as long as the process lives.
    let dice: &'static Dice = Box::leak(Box::new(Dice::new(seed, "operating system")));
    os::use_dice(Some(dice));
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let life = async {
        let trace = Arc::new(Trace::new(config.echo));
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace.clone());
        let limit = config.limit;
        let world = World::new(seed, config, trace, dice);
        let story = async {
            script(world.clone()).await;
            world.calm_down();
            world.settle().await;
        };
        let told = tokio::select! {
            biased;
            reason = world.broken() => Err(reason),
            () = story => Ok(()),
            () = sleep(limit) => Err(format!("the world did not come to an end within {limit:?} of its own time")),
        };
        world.end().await;
        told?;
        world.failure().map_or_else(|| Ok(world.report()), Err)
    };
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(life)));
    runtime.shutdown_background();
    let panics = panics::take();
    result.unwrap_or_else(|_| Err(format!("the script failed: {}", panics.join("; "))))
}
