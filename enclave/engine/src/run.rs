//! Running a program on a job.
//!
//! A program runs on a stack of its own, in slices of fuel. Between two slices it is asked whether it may go on, so
//! compiled code needs to count fuel only, and the wall clock stays outside.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

use phala_primitives::{FailureReason, Limits, Outcome};
use wasmtime::{CallHook, Error, OutOfMemory, PoolConcurrencyLimitError, Store, StoreContextMut, Trap};
use zeroize::Zeroize;

use crate::{Compiled, Engine, Source, wasi::Guest};

/// Fuel for setting up a program, whatever it does then.
pub const INSTANTIATION_FUEL: u64 = 100_000;

/// Fuel for one call of a WASI function.
pub const CALL_FUEL: u64 = 100;

/// How much fuel a program burns between two looks at the clock: some ten milliseconds. Where slices end shows in the
/// fuel of a program that traps, so this is part of the deterministic profile.
const SLICE_FUEL: u64 = 20_000_000;

/// The most that one call of WASI may take from a program's memory.
const MAX_CALL_BYTES: usize = 128 << 20;

/// What a program is run on.
pub struct Job {
    /// Arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Standard input.
    pub stdin: Box<dyn Source>,
    /// The files in `/input`, each under a [single name](phala_primitives::input::is_file_name), each name once.
    pub files: Vec<(String, Box<dyn Source>)>,
    /// Where all of its randomness comes from.
    pub seed: [u8; 32],
    /// The time that it sees, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What it may use. `wall_ms` is not looked at here: the clock is behind `interrupt`.
    pub limits: Limits,
    /// Asked before the first instruction and then every few milliseconds, on the thread of the job; `true` ends it with
    /// [`FailureReason::WallTimeExceeded`].
    pub interrupt: Box<dyn FnMut() -> bool + Send>,
}

impl Default for Job {
    /// No arguments, no input, seed and time zero, [`Limits::DEFAULT`], never interrupted.
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            stdin: Box::new(Vec::new()),
            files: Vec::new(),
            seed: [0; 32],
            now_ms: 0,
            limits: Limits::DEFAULT,
            interrupt: Box::new(|| false),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of what a user keeps secret.
        f.debug_struct("Job").field("now_ms", &self.now_ms).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What came of a job. Overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Execution {
    /// How it ended.
    pub outcome: Outcome,
    /// Fuel used, at most its limit.
    pub fuel: u64,
    /// Bytes of input that it could read: standard input and files.
    pub input_bytes: u64,
    /// Bytes of output: standard output, standard error and files.
    pub output_bytes: u64,
    /// Standard output; for a failed job what it wrote until then.
    pub stdout: Vec<u8>,
    /// Standard error; for a failed job what it wrote until then.
    pub stderr: Vec<u8>,
    /// The files under `/output`, by their path relative to it, sorted. Parts of a path are joined by `/`; empty
    /// folders are left out. None for a failed job.
    pub files: Vec<(String, Vec<u8>)>,
    /// What went wrong, in wasmtime's words, for a job that failed with [`FailureReason::Trap`]: for tests and developers.
    /// Holds nothing of the program's data, and may hold names from its code.
    pub trap: Option<String>,
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.stdout.zeroize();
        self.stderr.zeroize();
        for (path, content) in &mut self.files {
            path.zeroize();
            content.zeroize();
        }
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("outcome", &self.outcome)
            .field("fuel", &self.fuel)
            .field("input_bytes", &self.input_bytes)
            .field("output_bytes", &self.output_bytes)
            .field("trap", &self.trap)
            .finish_non_exhaustive()
    }
}

/// Why a job came to no outcome. It is no fault of the job: run it again, or elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// As many jobs as the engine's capacity are running.
    #[error("the engine is at its capacity")]
    Busy,
    /// The job's input could not be had from the host.
    #[error("the input is unavailable: {0}")]
    Input(String),
    /// This machine lacks something, such as memory.
    #[error("the machine failed: {0}")]
    Environment(String),
}

/// Why a host function, or the limiter, ends a program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("exit with code {0}")]
    Exit(u8),
    #[error("{0}")]
    Failed(FailureReason),
    #[error("{0}")]
    Input(String),
    #[error("{0}")]
    Environment(String),
}

/// A place among the running jobs.
struct Slot<'a>(&'a AtomicU32);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    /// Runs a program on the current thread until it ends, one way or another.
    ///
    /// # Errors
    ///
    /// See [`RunError`]: none of them says anything about the job.
    pub fn run(&self, program: &Compiled, job: Job) -> Result<Execution, RunError> {
        let capacity = self.config.capacity.max(1);
        let place = |running: u32| (running < capacity).then(|| running + 1);
        self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, place).map_err(|_| RunError::Busy)?;
        let _slot = Slot(&self.running);

        let limit = job.limits.fuel;
        let mut store = Store::new(&self.wasmtime, Guest::new(job, &self.config));
        store.limiter(|guest| &mut guest.memory);
        store.call_hook(charge);
        store.set_hostcall_fuel(MAX_CALL_BYTES);
        let result = execute(&mut store, program, limit);

        let (outcome, trap) = judge(result)?;
        let left = match outcome {
            Outcome::Failed(FailureReason::FuelExhausted) => 0,
            _ => store.get_fuel().unwrap_or(0).saturating_sub(store.data_mut().take_charge()),
        };
        Ok(store.into_data().finish(outcome, limit.saturating_sub(left), trap))
    }
}

/// Instantiates and runs. `Ok` holds what `wasi:cli/run` returned.
fn execute(store: &mut Store<Guest>, program: &Compiled, fuel: u64) -> wasmtime::Result<Result<(), ()>> {
    store.set_fuel(fuel.saturating_sub(INSTANTIATION_FUEL))?;
    store.fuel_async_yield_interval(Some(SLICE_FUEL))?;
    if fuel <= INSTANTIATION_FUEL {
        return Err(Error::new(Stop::Failed(FailureReason::FuelExhausted)));
    }
    if store.data().has_unusable_files() {
        return Err(Error::new(Stop::Failed(FailureReason::InvalidInput)));
    }
    let interrupt = store.data().interrupt.clone();
    let mut running = pin!(async {
        let instance = program.pre.instantiate_async(&mut *store).await.map_err(instantiation_error)?;
        let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, program.run)?;
        let (result,) = run.call_async(&mut *store, ()).await?;
        Ok(result)
    });
    loop {
        interrupt.look()?;
        if let Poll::Ready(result) = running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

/// What goes wrong before the first instruction is the machine's fault, if it is not a limit or a start function.
fn instantiation_error(error: Error) -> Error {
    if error.is::<Stop>() || error.is::<Trap>() {
        return error;
    }
    Error::new(Stop::Environment(format!("the program could not be set up: {error:#}")))
}

/// Takes the fuel for what host functions have done. Runs whenever one returns to the program.
fn charge(mut store: StoreContextMut<'_, Guest>, hook: CallHook) -> wasmtime::Result<()> {
    if !matches!(hook, CallHook::ReturningFromHost) {
        return Ok(());
    }
    let charge = store.data_mut().take_charge();
    if charge == 0 {
        return Ok(());
    }
    let left = store.get_fuel()?.saturating_sub(charge);
    // This begins a new slice, so a program that calls often comes to the end of none: look here, too.
    store.set_fuel(left)?;
    if left == 0 {
        return Err(Error::new(Stop::Failed(FailureReason::FuelExhausted)));
    }
    let guest = store.data_mut();
    let next_look = *guest.next_look.get_or_insert(left.saturating_sub(SLICE_FUEL));
    if left < next_look {
        guest.next_look = None;
        guest.interrupt.look()?;
    }
    Ok(())
}

/// The caller's [`Job::interrupt`], in the hands of both the program's stack and ours.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Mutex<Box<dyn FnMut() -> bool + Send>>>);

impl Interrupt {
    pub(crate) fn new(interrupt: Box<dyn FnMut() -> bool + Send>) -> Self {
        Self(Arc::new(Mutex::new(interrupt)))
    }

    fn look(&self) -> wasmtime::Result<()> {
        let mut interrupt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if interrupt() { Err(Error::new(Stop::Failed(FailureReason::WallTimeExceeded))) } else { Ok(()) }
    }
}

/// Whose doing the end was.
fn judge(result: wasmtime::Result<Result<(), ()>>) -> Result<(Outcome, Option<String>), RunError> {
    let error = match result {
        Ok(Ok(())) => return Ok((Outcome::Completed { exit_code: 0 }, None)),
        Ok(Err(())) => return Ok((Outcome::Completed { exit_code: 1 }, None)),
        Err(error) => error,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::Exit(exit_code) => Ok((Outcome::Completed { exit_code: *exit_code }, None)),
            Stop::Failed(reason) => Ok((Outcome::Failed(*reason), None)),
            Stop::Input(message) => Err(RunError::Input(message.clone())),
            Stop::Environment(message) => Err(RunError::Environment(message.clone())),
        };
    }
    if error.is::<OutOfMemory>() || error.is::<PoolConcurrencyLimitError>() {
        return Err(RunError::Environment(format!("{error:#}")));
    }
    if let Some(Trap::OutOfFuel) = error.downcast_ref() {
        return Ok((Outcome::Failed(FailureReason::FuelExhausted), None));
    }
    // A trap, or a call of WASI that breaks its rules: a handle that is none, text that is no UTF-8.
    Ok((Outcome::Failed(FailureReason::Trap), Some(format!("{error:#}").chars().take(1000).collect())))
}
