//! Every target on its seeds, on the files in `corpus/` and `regressions/`, and for a few seconds on mutations of them.
//!
//! `PHALA_FUZZ_SECONDS` says how long (2 by default, for each target); `PHALA_FUZZ_SEED` repeats the mutations of an earlier
//! run, as far as they got.

use std::{
    cell::{Cell, RefCell},
    env, fs,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use phala_fuzz::{MEMORY_BASE, Random, Target, mutate, targets};
use sha2::{Digest, Sha256};

/// The stack of a target: what comes from outside is nested in bounds, but builds for tests have large frames.
const STACK_BYTES: usize = 256 << 20;

/// How long a finding is made smaller at most.
const SHRINK_TIME: Duration = Duration::from_secs(10);

macro_rules! tests {
    ($($target:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($target)),*];

        $(
            #[test]
            fn $target() {
                test(stringify!($target));
            }
        )*
    };
}

tests! {
    age_files
    age_headers
    amounts
    app_files
    archives
    browser_requests
    calls
    chain_specs
    chain_values
    collateral_answers
    documents
    enclave_frames
    endpoints
    evidence
    evidence_files
    extrinsics
    host_answers
    host_frames
    http_requests
    job_inputs
    key_requests
    keys
    names
    node_specs
    programs
    receipts
    sealed_state
    signs_of_life
    stored_records
    vendor_evidence
}

#[test]
fn every_target_is_tested_here_and_in_coverage() {
    let names: Vec<_> = targets().iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let manifest = fs::read_to_string(root().join("coverage/Cargo.toml")).unwrap();
    for name in names {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"\n")),
            "coverage/Cargo.toml lacks {name}"
        );
        let source = fs::read_to_string(root().join("coverage").join(path)).unwrap();
        assert!(source.contains(&format!("phala_fuzz::{name}(data)")), "{source}");
    }
}

#[test]
fn folders_are_those_of_targets() {
    for folder in ["corpus", "regressions"] {
        for path in entries(&root().join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name == "README.md" || TESTED.contains(&name), "{} is of no target", path.display());
        }
    }
}

#[test]
fn findings_are_found_and_made_smaller() {
    fn fails(data: &[u8]) {
        assert!(!data.contains(&b'!'), "found");
    }
    fn allocates(data: &[u8]) {
        std::hint::black_box(vec![0u8; data.len() << 20]);
    }
    catch_panics();
    let target = Target { name: "none", run: fails, seeds: Vec::new, tokens: &[], memory_per_byte: None };
    assert_eq!(check(&target, b"fine"), Ok(()));
    assert!(check(&target, b"what!").unwrap_err().contains("found"));
    assert_eq!(smallest(&target, b"a long input with one ! in it"), b"!");
    let target = Target { run: allocates, memory_per_byte: Some(1), ..target };
    assert_eq!(check(&target, b"1"), Ok(()));
    assert!(check(&target, b"a long input").unwrap_err().contains("memory"));
}

fn test(name: &str) {
    catch_panics();
    let target = targets().into_iter().find(|target| target.name == name).expect("the target exists");
    let fuzzing = thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(move || fuzz(&target));
    if let Err(failure) = fuzzing.unwrap().join().unwrap() {
        panic!("{failure}");
    }
}

fn fuzz(target: &Target) -> Result<(), String> {
    let seeds = (target.seeds)().into_iter().enumerate().map(|(number, seed)| (format!("seed {number}"), seed));
    let folders = ["corpus", "regressions"].map(|folder| root().join(folder).join(target.name));
    let files = folders.iter().flat_map(|folder| entries(folder));
    let files = files.map(|path| (path.display().to_string(), fs::read(&path).unwrap()));
    let inputs: Vec<_> = seeds.chain(files).collect();
    assert!(!inputs.is_empty(), "{} has no seeds", target.name);
    for (origin, input) in &inputs {
        check(target, input).map_err(|failure| format!("{origin} of {}: {failure}", target.name))?;
    }

    let seed = setting("PHALA_FUZZ_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    let time = Duration::from_secs(setting("PHALA_FUZZ_SECONDS").unwrap_or(2));
    let mut random = Random::new(seed);
    let (begin, mut count) = (Instant::now(), 0u64);
    while begin.elapsed() < time {
        let (_, input) = random.choose(&inputs).unwrap();
        let (_, other) = random.choose(&inputs).unwrap();
        let mut input = input.clone();
        mutate(&mut random, &mut input, other, target.tokens);
        count += 1;
        if let Err(failure) = check(target, &input) {
            return Err(report(target, &smallest(target, &input), &failure, seed));
        }
    }
    println!("{}: {count} mutations with seed {seed}", target.name);
    Ok(())
}

/// Runs a target on an input. An error says what did not hold.
fn check(target: &Target, input: &[u8]) -> Result<(), String> {
    let mut outcome = Ok(());
    let run = || outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    CATCHING.set(true);
    let memory = allocation_counter::measure(run).bytes_max;
    CATCHING.set(false);
    if outcome.is_err() {
        return Err(PANIC.take());
    }
    match target.memory_per_byte.map(|bytes| MEMORY_BASE + bytes * input.len() as u64) {
        Some(most) if memory > most => {
            Err(format!("it took {memory} bytes of memory for {} bytes of input, more than {most}", input.len()))
        }
        _ => Ok(()),
    }
}

/// A shorter input that fails as well, as far as one is found by leaving parts out.
fn smallest(target: &Target, input: &[u8]) -> Vec<u8> {
    let (begin, mut input) = (Instant::now(), input.to_vec());
    let mut part = input.len().next_power_of_two();
    while part > 0 {
        let mut at = 0;
        while at < input.len() && begin.elapsed() < SHRINK_TIME {
            let end = (at + part).min(input.len());
            let shorter = [&input[..at], &input[end..]].concat();
            if check(target, &shorter).is_err() {
                input = shorter;
            } else {
                at = end;
            }
        }
        part /= 2;
    }
    input
}

fn report(target: &Target, input: &[u8], failure: &str, seed: u64) -> String {
    let name = &hex::encode(Sha256::digest(input))[..16];
    let hex = hex::encode(input);
    format!(
        "{target} failed with PHALA_FUZZ_SEED={seed}: {failure}\n\
         To keep the input as a regression test, run in the repository's root:\n\
         mkdir -p fuzz/regressions/{target} && echo {hex} | xxd -r -p > fuzz/regressions/{target}/{name}",
        target = target.name
    )
}

thread_local! {
    /// Whether this thread runs a target.
    static CATCHING: Cell<bool> = const { Cell::new(false) };

    /// What the last panic of a target said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what targets panic with, which is reported once and for the smallest input, instead of printing it each time.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                PANIC.set(info.to_string());
            } else {
                print(info);
            }
        }));
    });
}

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{value}`")))
}

/// What is in a folder, sorted; nothing if there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
