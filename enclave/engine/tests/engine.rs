//! What users rely on: programs run, limits hold with their own reasons, the same job gives the same result, and what is
//! no program is refused with a reason.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use phala_engine::{
    Compiled, Config, Engine, Execution, INSTANTIATION_FUEL, InvalidProgram, Job, RunError, Source, SourceError,
};
use phala_primitives::{FailureReason, Limits, Outcome};
use proptest::prelude::*;

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(Config { capacity: 64, ..Config::default() }).expect("an engine"));

const ECHO: &str = include_str!("programs/echo.wat");
const WORLD: &str = include_str!("programs/world.wat");
const COMPONENT: &str = include_str!("programs/component.wat");

fn compile(wat: &str) -> Compiled {
    ENGINE.prepare(&wat::parse_str(wat).expect("valid text")).expect("a program")
}

fn refuse(wat: &str) -> InvalidProgram {
    ENGINE.prepare(&wat::parse_str(wat).expect("valid text")).expect_err("no program")
}

/// A preview 1 module with a body of `_start` and what comes beside it.
fn module(imports: &str, body: &str) -> String {
    format!(r#"(module {imports} (memory (export "memory") 1) (func (export "_start") {body}))"#)
}

fn run(wat: &str, job: Job) -> Execution {
    ENGINE.run(&compile(wat), job).expect("an outcome")
}

fn failed(reason: FailureReason) -> Outcome {
    Outcome::Failed(reason)
}

const OK: Outcome = Outcome::Completed { exit_code: 0 };

#[test]
fn input_comes_out_again() {
    let input: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let execution = run(ECHO, Job { stdin: Box::new(input.clone()), ..Job::default() });
    assert_eq!(execution.outcome, OK);
    assert!(execution.stdout == input);
    assert_eq!((execution.input_bytes, execution.output_bytes), (3_000_000, 3_000_000));
    assert!(execution.fuel > INSTANTIATION_FUEL + 6_000_000, "each byte costs twice: {}", execution.fuel);
}

#[test]
fn components_of_older_versions_run() {
    let arguments = vec!["-one".into(), "-two".into()];
    let execution = run(COMPONENT, Job { arguments, ..Job::default() });
    assert_eq!(execution.outcome, OK);
    assert_eq!(execution.stdout, b"app-one-two");
    assert_eq!(run(COMPONENT, Job::default()).outcome, Outcome::Completed { exit_code: 1 });
}

#[test]
fn exit_codes_are_kept() {
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    for code in [0, 1, 3, 255] {
        let execution = run(&module(exit, &format!("(call $exit (i32.const {code}))")), Job::default());
        assert_eq!(execution.outcome, Outcome::Completed { exit_code: code });
    }
}

#[test]
fn traps_fail_with_their_message() {
    let execution = run(&module("", "unreachable"), Job::default());
    assert_eq!(execution.outcome, failed(FailureReason::Trap));
    assert!(execution.trap.as_deref().unwrap().contains("unreachable"));
    let overflow =
        r#"(module (memory (export "memory") 1) (func $f (call $f) (call $f)) (func (export "_start") (call $f)))"#;
    assert_eq!(run(overflow, Job::default()).outcome, failed(FailureReason::Trap));
}

#[test]
fn an_endless_loop_exhausts_its_fuel() {
    let limits = Limits { fuel: 50_000_000, ..Limits::DEFAULT };
    let execution = run(&module("", "(loop $l (br $l))"), Job { limits, ..Job::default() });
    assert_eq!((execution.outcome, execution.fuel), (failed(FailureReason::FuelExhausted), 50_000_000));

    let limits = Limits { fuel: INSTANTIATION_FUEL, ..Limits::DEFAULT };
    let execution = run(&module("", ""), Job { limits, ..Job::default() });
    assert_eq!((execution.outcome, execution.fuel), (failed(FailureReason::FuelExhausted), INSTANTIATION_FUEL));
}

#[test]
fn reading_exhausts_fuel() {
    let limits = Limits { fuel: 2_000_000, ..Limits::DEFAULT };
    let execution = run(ECHO, Job { stdin: Box::new(vec![7; 10_000_000]), limits, ..Job::default() });
    assert_eq!((execution.outcome, execution.fuel), (failed(FailureReason::FuelExhausted), 2_000_000));
    assert!(!execution.stdout.is_empty() && execution.stdout.len() < 2_000_000);
}

#[test]
fn wall_time_ends_loops_and_calls_alike() {
    let yields = r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))"#;
    for program in [
        module("", "(loop $l (br $l))"),
        module(yields, "(loop $l (br_if $l (i32.eqz (call $time (i32.const 1) (i64.const 1) (i32.const 0)))))"),
    ] {
        let mut looks = 0;
        let interrupt = Box::new(move || {
            looks += 1;
            looks > 3
        });
        let limits = Limits { fuel: Limits::MAX.fuel, ..Limits::DEFAULT };
        let execution = run(&program, Job { interrupt, limits, ..Job::default() });
        assert_eq!(execution.outcome, failed(FailureReason::WallTimeExceeded));
        assert!(execution.fuel > INSTANTIATION_FUEL && execution.fuel < 200_000_000, "{}", execution.fuel);
    }
}

#[test]
fn memory_is_limited() {
    let hog = module("", "(loop $l (drop (memory.grow (i32.const 16))) (br $l))");
    let limits = Limits { memory_bytes: 64 << 20, ..Limits::DEFAULT };
    assert_eq!(run(&hog, Job { limits, ..Job::default() }).outcome, failed(FailureReason::MemoryExhausted));

    let large = r#"(module (memory (export "memory") 1024) (func (export "_start")))"#;
    let small = Limits { memory_bytes: 1 << 20, ..Limits::DEFAULT };
    assert_eq!(run(large, Job { limits: small, ..Job::default() }).outcome, failed(FailureReason::MemoryExhausted));
    assert_eq!(run(large, Job::default()).outcome, OK);

    // The module's own maximum is no limit of the job.
    let modest = r#"(module (memory (export "memory") 1 2) (func (export "_start")
        (if (i32.ne (memory.grow (i32.const 5)) (i32.const -1)) (then (unreachable)))))"#;
    assert_eq!(run(modest, Job::default()).outcome, OK);
}

#[test]
fn output_is_limited_and_what_fits_is_kept() {
    let limits = Limits { output_bytes: 10_000, ..Limits::DEFAULT };
    let execution = run(ECHO, Job { stdin: Box::new(vec![7; 100_000]), limits, ..Job::default() });
    assert_eq!(execution.outcome, failed(FailureReason::OutputTooLarge));
    assert_eq!(execution.stdout, vec![7; 10_000]);
    assert_eq!(execution.output_bytes, 10_000);
}

#[test]
fn the_world_is_a_function_of_the_job() {
    let job = |seed, now_ms| Job { seed: [seed; 32], now_ms, ..Job::default() };
    let one = run(WORLD, job(1, 1_700_000_000_123));
    assert_eq!(one.outcome, OK, "{:?}", one.trap);
    let number = |at: usize| u64::from_le_bytes(one.stdout[at..at + 8].try_into().unwrap());
    assert_eq!(number(0), 1_700_000_000_123_000_000);
    assert_eq!(number(8), 0);
    assert!((3_600_000_000_000..3_600_001_000_000).contains(&number(32)), "{}", number(32));
    assert_eq!(run(WORLD, job(1, 1_700_000_000_123)), one);
    assert_ne!(run(WORLD, job(2, 1_700_000_000_123)).stdout[16..32], one.stdout[16..32]);
}

#[test]
fn nans_are_canonical_and_copies_keep_their_bits() {
    // Arithmetic on a NaN with a payload, in a loop, in vectors and through a negation; and a copy of it.
    let program = module(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#,
        r#"(local $x f64) (local $i i32)
        (i64.store (i32.const 64) (i64.const 0xfff0000000000123))
        (local.set $x (f64.load (i32.const 64)))
        (local.set $i (i32.const 3))
        (loop $l
          (local.set $x (f64.add (local.get $x) (f64.const 1)))
          (local.set $i (i32.sub (local.get $i) (i32.const 1)))
          (br_if $l (local.get $i)))
        (f64.store (i32.const 100) (local.get $x))
        (f64.store (i32.const 108) (f64.neg (f64.mul (local.get $x) (f64.const 2))))
        (v128.store (i32.const 116)
          (f64x2.sub (f64x2.splat (f64.load (i32.const 64))) (v128.const f64x2 1 2)))
        (f64.store (i32.const 132) (f64.div (f64.const 0) (f64.const 0)))
        (f64.store (i32.const 140) (f64.load (i32.const 64)))
        (i32.store (i32.const 0) (i32.const 100))
        (i32.store (i32.const 4) (i32.const 48))
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))"#,
    );
    let execution = run(&program, Job::default());
    let words = execution.stdout.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let canonical = 0x7ff8_0000_0000_0000;
    let expected = [canonical, canonical | 1 << 63, canonical, canonical, canonical, 0xfff0_0000_0000_0123];
    assert_eq!(words.collect::<Vec<_>>(), expected);
}

/// Gives its bytes in pieces of changing sizes.
struct Uneven(Vec<u8>, usize);

impl Source for Uneven {
    fn len(&self) -> u64 {
        self.0.as_slice().len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        self.1 = self.1 * 31 % 4093 + 1;
        let length = buffer.len().min(self.1);
        self.0.read_at(offset, &mut buffer[..length])
    }
}

#[test]
fn how_a_source_cuts_its_data_makes_no_difference() {
    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 13 % 256) as u8).collect();
    let whole = run(ECHO, Job { stdin: Box::new(data.clone()), ..Job::default() });
    for seed in [1, 77] {
        assert_eq!(run(ECHO, Job { stdin: Box::new(Uneven(data.clone(), seed)), ..Job::default() }), whole);
    }
}

#[test]
fn a_broken_source_fails_by_its_own_reason() {
    struct Broken(fn() -> SourceError);
    impl Source for Broken {
        fn len(&self) -> u64 {
            100
        }
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> Result<usize, SourceError> {
            Err((self.0)())
        }
    }
    let job = |error| Job { stdin: Box::new(Broken(error)), ..Job::default() };
    let invalid = job(|| SourceError::Invalid("tampered".into()));
    assert_eq!(run(ECHO, invalid).outcome, failed(FailureReason::InvalidInput));
    assert_eq!(run(ECHO, job(|| SourceError::Interrupted)).outcome, failed(FailureReason::WallTimeExceeded));
    let missing = job(|| SourceError::Unavailable("gone".into()));
    assert!(matches!(ENGINE.run(&compile(ECHO), missing), Err(RunError::Input(_))));
}

#[test]
fn input_files_need_names_of_their_own() {
    let file = |name: &str| (name.to_owned(), Box::new(vec![1u8]) as Box<dyn Source>);
    for files in [vec![file("a"), file("a")], vec![file("../a")], vec![file("")]] {
        let execution = run(&module("", ""), Job { files, ..Job::default() });
        assert_eq!(execution.outcome, failed(FailureReason::InvalidInput));
    }
    assert_eq!(run(&module("", ""), Job { files: vec![file("a"), file("b")], ..Job::default() }).outcome, OK);
}

#[test]
fn the_capacity_is_kept_and_places_come_back() {
    static RUNNING: AtomicU32 = AtomicU32::new(0);
    let engine = Engine::new(Config { capacity: 1, ..Config::default() }).unwrap();
    let program = engine.prepare(&wat::parse_str(module("", "(loop $l (br $l))")).unwrap()).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let interrupt = Box::new(|| {
                RUNNING.fetch_max(1, Ordering::SeqCst);
                RUNNING.load(Ordering::SeqCst) == 2
            });
            let limits = Limits { fuel: Limits::MAX.fuel, ..Limits::DEFAULT };
            engine.run(&program, Job { interrupt, limits, ..Job::default() })
        });
        while RUNNING.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert!(matches!(engine.run(&program, Job::default()), Err(RunError::Busy)));
        RUNNING.store(2, Ordering::SeqCst);
        assert_eq!(first.join().unwrap().unwrap().outcome, failed(FailureReason::WallTimeExceeded));
    });
    let limits = Limits { fuel: 1_000_000, ..Limits::DEFAULT };
    assert!(engine.run(&program, Job { limits, ..Job::default() }).is_ok());
}

#[test]
#[allow(unsafe_code)]
fn compiled_programs_survive_serialization() {
    let bytes = compile(ECHO).serialize();
    let other = Engine::new(Config { capacity: 2, ..Config::default() }).unwrap();
    // SAFETY: the bytes were made two lines above.
    let program = unsafe { other.deserialize_authenticated(&bytes) }.unwrap();
    let execution = other.run(&program, Job { stdin: Box::new(b"hello".to_vec()), ..Job::default() }).unwrap();
    assert_eq!(execution.stdout, b"hello");
    // SAFETY: no code is run that is not accepted, and this is no image at all.
    assert!(unsafe { other.deserialize_authenticated(b"rubbish") }.is_err());
}

#[test]
fn what_is_no_program_is_refused_with_its_reason() {
    assert_eq!(ENGINE.prepare(b"").unwrap_err(), InvalidProgram::NotWasm);
    assert_eq!(ENGINE.prepare(b"#!/bin/sh\necho hello").unwrap_err(), InvalidProgram::NotWasm);
    assert!(matches!(ENGINE.prepare(b"\0asm\x02\0\0\0"), Err(InvalidProgram::Malformed(_))));
    assert!(matches!(ENGINE.prepare(b"\0asm\x01\0\0\0\x01"), Err(InvalidProgram::Malformed(_))));
    assert!(matches!(ENGINE.prepare(b"\0asm\x0d\0\x01\0\x01"), Err(InvalidProgram::Malformed(_))));
    assert!(matches!(refuse("(module)"), InvalidProgram::NotACommand(_)));
    assert!(matches!(refuse("(component)"), InvalidProgram::NotACommand(_)));
    let library =
        r#"(component (component $c) (instance $i (instantiate $c)) (export "acme:lib/api@1.0.0" (instance $i)))"#;
    let InvalidProgram::NotACommand(message) = refuse(library) else { panic!("a library is no command") };
    assert!(message.contains("acme:lib/api@1.0.0"), "{message}");

    let unknown = module(r#"(import "env" "secret_host_call" (func))"#, "");
    assert_eq!(refuse(&unknown), InvalidProgram::UnknownImport("env#secret_host_call".into()));
    let unknown = module(r#"(import "wasi_snapshot_preview1" "no_such_call" (func))"#, "");
    assert_eq!(refuse(&unknown), InvalidProgram::UnknownImport("wasi_snapshot_preview1#no_such_call".into()));
    let wrong_type = module(r#"(import "wasi_snapshot_preview1" "fd_read" (func))"#, "");
    assert!(matches!(refuse(&wrong_type), InvalidProgram::Malformed(_)));
    let unknown = COMPONENT.replacen("(component", r#"(component (import "acme:host/api@1.0.0" (instance))"#, 1);
    assert_eq!(refuse(&unknown), InvalidProgram::UnknownImport("acme:host/api@1.0.0".into()));
    let missing = COMPONENT.replace("get-arguments", "get-secrets");
    let InvalidProgram::UnknownImport(message) = refuse(&missing) else { panic!("an unknown function") };
    assert!(message.contains("get-secrets"), "{message}");

    let small = Engine::new(Config { capacity: 1, max_program_bytes: 10, max_function_bytes: 20, ..Config::default() });
    let small = small.unwrap();
    assert_eq!(small.prepare(&[0; 11]).unwrap_err(), InvalidProgram::TooLarge { bytes: 11, limit: 10 });
}

#[test]
fn what_takes_too_long_to_compile_is_refused() {
    let body = "(drop (i32.const 1))".repeat(300_000);
    assert!(matches!(refuse(&module("", &body)), InvalidProgram::TooComplex(_)));
    let table = r#"(module (memory (export "memory") 1) (table 10000000 funcref) (func (export "_start")))"#;
    assert!(matches!(refuse(table), InvalidProgram::TooComplex(_)));
}

#[test]
fn proposals_outside_the_profile_are_refused() {
    for body in
        ["(drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0)))", "(drop (i32.atomic.load (i32.const 0)))"]
    {
        assert!(matches!(refuse(&module("", body)), InvalidProgram::Malformed(_)));
    }
    let memory64 = r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#;
    assert!(matches!(refuse(memory64), InvalidProgram::Malformed(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500), header in 0..3) {
        let mut code = match header {
            0 => b"\0asm\x01\0\0\0".to_vec(),
            1 => b"\0asm\x0d\0\x01\0".to_vec(),
            _ => Vec::new(),
        };
        code.extend(bytes);
        let _ = ENGINE.prepare(&code);
    }

    #[test]
    fn damaged_programs_do_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>(), component in any::<bool>()) {
        let mut code = wat::parse_str(if component { COMPONENT } else { WORLD }).unwrap();
        let at = at.index(code.len());
        code[at] = byte;
        if let Ok(program) = ENGINE.prepare(&code) {
            let limits = Limits { fuel: 10_000_000, ..Limits::DEFAULT };
            let _ = ENGINE.run(&program, Job { limits, ..Job::default() });
        }
    }
}
