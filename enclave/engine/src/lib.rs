//! The job engine: WASI programs under wasmtime, deterministic and metered.
//!
//! An [`Engine`] turns the bytes of a program into a [`Compiled`] one ([`Engine::prepare`]) and runs it on a [`Job`]
//! ([`Engine::run`]), which gives an [`Execution`].
//!
//! ```
//! use phala_engine::{Config, Engine, Job};
//! use phala_primitives::Outcome;
//!
//! let engine = Engine::new(Config { capacity: 1, ..Config::default() })?;
//! let program = wat::parse_str(
//!     r#"(module
//!         (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//!         (memory (export "memory") 1)
//!         (func (export "_start") (call $exit (i32.const 3))))"#,
//! )?;
//! let execution = engine.run(&engine.prepare(&program)?, Job::default())?;
//! assert_eq!(execution.outcome, Outcome::Completed { exit_code: 3 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a program sees
//!
//! Any `wasi:cli/command` component of WASI 0.2, or a core module of WASI preview 1, which is adapted. Its first argument
//! is `app`, the job's follow; there are no environment variables and no network. `/input` holds the job's files,
//! read-only; `/output` is empty, writable, and becomes part of the result. The current folder is `/`.
//!
//! # Invariants
//!
//! - **Determinism.** Outcome, output and fuel are a function of program, arguments, input, seed and time stamp: NaNs are
//!   canonical, relaxed SIMD and threads are off, the wall clock stands still, the monotonic clock is virtual, randomness
//!   comes from the seed, directories are sorted, and how a [`Source`] cuts its data makes no difference. Two things
//!   escape this: [`FailureReason::WallTimeExceeded`](phala_primitives::FailureReason::WallTimeExceeded), which
//!   measures the machine, and the depth at which the stack of a runaway recursion overflows, which depends on the
//!   frames that the compiler makes for this processor.
//! - **Bounds.** Everything a program makes its worker spend is limited: fuel, linear memory, wall time, output, and
//!   the host's memory behind handles, directories and calls.
//! - **Confinement.** The engine opens no file and no socket and reads no clock. Time and data come in as arguments.
//! - **Secrecy.** What a program reads and writes is overwritten when the engine has no more use for it, where it lies in
//!   buffers of the engine's own; linear memories are cleared before the next program gets them. What errors and
//!   [`Execution::trap`] say may hold words of the program, so it is for tests and developers only.
//!
//! # Fuel
//!
//! [`INSTANTIATION_FUEL`], one for each WASM instruction (wasmtime's table: blocks, `nop` and `drop` are free; bulk
//! memory operations cost one a byte), [`CALL_FUEL`] for each call of WASI and one for each byte that
//! it reads or writes.

mod benchmark;
mod config;
mod memory;
mod program;
mod run;
mod secret;
mod source;
mod wasi;

pub use benchmark::benchmark;
pub use config::Config;
pub use program::{Compiled, DeserializeError, InvalidProgram};
pub use run::{CALL_FUEL, Execution, INSTANTIATION_FUEL, Job, RunError};
pub use source::{Source, SourceError};

use std::sync::{Arc, atomic::AtomicU32};

/// Compiles and runs programs. Cheap to clone; clones share one pool of memory.
#[derive(Clone)]
pub struct Engine {
    config: Config,
    wasmtime: wasmtime::Engine,
    linker: Arc<wasmtime::component::Linker<wasi::Guest>>,
    running: Arc<AtomicU32>,
}

/// The engine could not be set up: too little address space for its pool, or a processor that wasmtime does not support.
#[derive(Debug, thiserror::Error)]
#[error("the engine could not be set up: {0}")]
pub struct SetupError(String);

impl Engine {
    /// Reserves address space for `config.capacity` jobs and links WASI.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let setup = |error: wasmtime::Error| SetupError(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&config.wasmtime()).map_err(setup)?;
        let linker = Arc::new(wasi::linker(&wasmtime).map_err(setup)?);
        Ok(Self { config, wasmtime, linker, running: Arc::default() })
    }

    /// What it was set up with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
