//! WASI 0.2, without a system below it.
//!
//! Everything that a program sees through WASI is a [`Guest`]: plain values in memory. Calls never block and never
//! fail by chance. What a call does on the program's behalf is [charged](Guest::charge); what it keeps is bounded:
//! handles by [`MAX_HANDLES`], output by the job's limit, folders by their own limits.
//!
//! One module for each package: [`io`], [`cli`], [`clocks`], [`filesystem`], [`random`], [`sockets`].

mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;
mod sockets;

use phala_primitives::{FailureReason, Outcome};
use wasmtime::{
    Error, Result,
    component::{HasSelf, Linker, ResourceTable},
};
use zeroize::Zeroizing;

use crate::{
    Config, Execution, Job, SourceError,
    memory::Memory,
    run::{CALL_FUEL, Interrupt, Stop},
    secret::{self, Buffer},
    source::Reader,
};

mod bindings {
    #![allow(missing_docs)]
    wasmtime::component::bindgen!({
        path: "wit",
        world: "phala:engine/job",
        imports: { default: trappable },
        trappable_error_type: {
            "wasi:io/streams.stream-error" => super::io::StreamFailure,
            "wasi:filesystem/types.error-code" => super::filesystem::Failure,
        },
        with: {
            "wasi:cli/terminal-input.terminal-input": super::cli::Terminal,
            "wasi:cli/terminal-output.terminal-output": super::cli::Terminal,
            "wasi:filesystem/types.descriptor": super::filesystem::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": super::filesystem::Entries,
            "wasi:io/error.error": super::io::StreamError,
            "wasi:io/poll.pollable": super::io::Pollable,
            "wasi:io/streams.input-stream": super::io::InputStream,
            "wasi:io/streams.output-stream": super::io::OutputStream,
        },
    });
}

/// The most handles that a program may hold at once: descriptors, streams, pollables and so on together.
const MAX_HANDLES: usize = 4096;

/// What a program may import, without versions.
const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Whether a program may import `name`, an interface with its version.
pub(crate) fn is_known_import(name: &str) -> bool {
    name.split_once('@')
        .is_some_and(|(interface, version)| INTERFACES.contains(&interface) && version.starts_with("0.2."))
}

/// A linker that has all of WASI.
pub(crate) fn linker(engine: &wasmtime::Engine) -> Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    bindings::Job::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    sockets::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// One running program: what it got, what it wrote and what it holds.
pub(crate) struct Guest {
    pub(crate) memory: Memory,
    pub(crate) interrupt: Interrupt,
    /// Below how much remaining fuel the interrupt is to be asked again; `None` to be set.
    pub(crate) next_look: Option<u64>,
    table: ResourceTable,
    arguments: Zeroizing<Vec<String>>,
    stdin: Reader,
    stdin_position: u64,
    stdout: Buffer,
    stderr: Buffer,
    files: filesystem::Tree,
    clock: clocks::Clock,
    random: random::Random,
    output: OutputBudget,
    input_bytes: u64,
    /// Fuel for work done in the current call.
    charge: u64,
}

impl Guest {
    pub(crate) fn new(job: Job, config: &Config) -> Self {
        let reader = |source| Reader::new(source, config.read_ahead);
        let stdin = reader(job.stdin);
        let files: Vec<_> = job.files.into_iter().map(|(name, source)| (name, reader(source))).collect();
        let input_bytes = files.iter().fold(stdin.len(), |sum, (_, file)| sum.saturating_add(file.len()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            memory: Memory::new(job.limits.memory_bytes.min(config.max_memory_bytes)),
            interrupt: Interrupt::new(job.interrupt),
            next_look: None,
            table,
            arguments: Zeroizing::new(job.arguments),
            stdin,
            stdin_position: 0,
            stdout: Buffer::default(),
            stderr: Buffer::default(),
            files: filesystem::Tree::new(files),
            clock: clocks::Clock::new(job.now_ms),
            random: random::Random::new(job.seed),
            output: OutputBudget { left: job.limits.output_bytes },
            input_bytes,
            charge: 0,
        }
    }

    /// Whether two input files have one name, or one has a name that none can have.
    pub(crate) fn has_unusable_files(&self) -> bool {
        self.files.has_unusable_inputs()
    }

    /// Notes one call and `bytes` that it reads or writes; the fuel is taken when the call returns.
    fn charge(&mut self, bytes: u64) {
        self.charge = self.charge.saturating_add(CALL_FUEL).saturating_add(bytes);
    }

    pub(crate) fn take_charge(&mut self) -> u64 {
        std::mem::take(&mut self.charge)
    }

    /// The result of a job that ended so.
    pub(crate) fn finish(self, outcome: Outcome, fuel: u64, trap: Option<String>) -> Execution {
        let files = match outcome {
            Outcome::Completed { .. } => self.files.into_output(),
            Outcome::Failed(_) => Vec::new(),
        };
        let written = files.iter().map(|(_, data)| data.len()).sum::<usize>() + self.stdout.len() + self.stderr.len();
        Execution {
            outcome,
            fuel,
            input_bytes: self.input_bytes,
            output_bytes: written as u64,
            stdout: secret::into_vec(self.stdout),
            stderr: secret::into_vec(self.stderr),
            files,
            trap,
        }
    }
}

/// How much more a program may write.
struct OutputBudget {
    left: u64,
}

impl OutputBudget {
    /// Takes `bytes`, or all there is and ends the job.
    fn take(&mut self, bytes: u64) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(Error::new(Stop::Failed(FailureReason::OutputTooLarge))),
        }
        Ok(())
    }

    /// Returns what was taken for bytes that are no more.
    fn give_back(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }
}

/// How a source's failure ends the job.
fn source_failure(error: SourceError) -> Error {
    Error::new(match error {
        SourceError::Invalid(_) => Stop::Failed(FailureReason::InvalidInput),
        SourceError::Unavailable(message) => Stop::Input(message),
        SourceError::Interrupted => Stop::Failed(FailureReason::WallTimeExceeded),
    })
}
