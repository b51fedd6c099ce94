//! Programs with one behaviour each, and what comes of each: some of them misbehave as hard as they can.

use phala_primitives::{FailureReason, Limits, Outcome};

/// What users run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Writes its standard input to its standard output and exits with code 3.
    Echo,
    /// Exits with code 7 and writes nothing.
    Exit,
    /// Never ends.
    Spin,
    /// Traps at once.
    Trap,
    /// Reads beyond its memory.
    Beyond,
    /// Calls itself for ever.
    Recurse,
    /// Wants more and more memory.
    Hog,
    /// Writes for ever.
    Flood,
    /// Is no WebAssembly at all.
    Nonsense,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Echo,
        Self::Exit,
        Self::Spin,
        Self::Trap,
        Self::Beyond,
        Self::Recurse,
        Self::Hog,
        Self::Flood,
        Self::Nonsense,
    ];

    /// Its code.
    ///
    /// # Panics
    /// Never: the sources below are valid.
    pub fn code(self) -> Vec<u8> {
        let source = match self {
            Self::Echo => ECHO,
            Self::Exit => EXIT,
            Self::Spin => r#"(module (memory (export "memory") 1) (func (export "_start") (loop $more (br $more))))"#,
            Self::Trap => r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#,
            Self::Beyond => {
                r#"(module (memory (export "memory") 1)
                    (func (export "_start") (i32.store (i32.const 0) (i32.load (i32.const 0x7fff0000)))))"#
            }
            Self::Recurse => {
                r#"(module (memory (export "memory") 1)
                    (func $deeper (param $depth i32) (result i32)
                        (i32.add (local.get $depth) (call $deeper (i32.add (local.get $depth) (i32.const 1)))))
                    (func (export "_start") (i32.store (i32.const 0) (call $deeper (i32.const 0)))))"#
            }
            Self::Hog => {
                r#"(module (memory (export "memory") 1)
                    (func (export "_start") (loop $more (drop (memory.grow (i32.const 64))) (br $more))))"#
            }
            Self::Flood => FLOOD,
            Self::Nonsense => return b"this is no program".to_vec(),
        };
        wat::parse_str(source).expect("the source is valid")
    }

    /// Limits under which it ends soon.
    pub fn limits(self) -> Limits {
        let fuel = if self == Self::Spin { 30_000_000 } else { 200_000_000 };
        Limits { fuel, memory_bytes: 16 << 20, wall_ms: 10_000, output_bytes: 1 << 20 }
    }

    /// How it ends under [`Self::limits`].
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Echo => Outcome::Completed { exit_code: 3 },
            Self::Exit => Outcome::Completed { exit_code: 7 },
            Self::Spin => Outcome::Failed(FailureReason::FuelExhausted),
            Self::Trap | Self::Beyond | Self::Recurse => Outcome::Failed(FailureReason::Trap),
            Self::Hog => Outcome::Failed(FailureReason::MemoryExhausted),
            Self::Flood => Outcome::Failed(FailureReason::OutputTooLarge),
            Self::Nonsense => Outcome::Failed(FailureReason::InvalidProgram),
        }
    }

    /// What it writes to standard output when it is given `stdin`; `None` where nobody says.
    pub fn stdout(self, stdin: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Echo => Some(stdin.to_vec()),
            Self::Flood | Self::Nonsense => None,
            _ => Some(Vec::new()),
        }
    }
}

const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (block $end
            (loop $more
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const 65536))
                (br_if $end (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br_if $end (i32.eqz (i32.load (i32.const 8))))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br $more)))
        (call $exit (i32.const 3))))"#;

const EXIT: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 7))))"#;

const FLOOD: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 65536))
        (loop $more
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
            (br $more))))"#;

#[cfg(test)]
mod tests {
    use super::*;
    use phala_engine::{Config, Engine, Job};

    #[test]
    fn every_program_ends_as_it_says() {
        let config = Config { capacity: 1, max_memory_bytes: 64 << 20, ..Config::default() };
        let engine = Engine::new(config).unwrap();
        for program in Program::ALL {
            let Ok(compiled) = engine.prepare(&program.code()) else {
                assert_eq!(program, Program::Nonsense);
                continue;
            };
            let stdin = b"hello".to_vec();
            let job = Job { stdin: Box::new(stdin.clone()), limits: program.limits(), ..Job::default() };
            let execution = engine.run(&compiled, job).unwrap();
            assert_eq!(execution.outcome, program.outcome(), "{program:?}");
            if let Some(stdout) = program.stdout(&stdin) {
                assert_eq!(execution.stdout, stdout, "{program:?}");
            }
        }
    }
}
