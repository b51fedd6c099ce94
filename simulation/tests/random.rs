//! Worlds whose story nobody wrote, each in a process of its own.

use phala_simulation::Report;
use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

/// Seeds that live whatever the time.
const LEAST_SEEDS: u64 = 3;

fn live(seed: u64) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phala-simulation"));
    let output = command.args(["--seed", &seed.to_string(), "--quiet", "--json"]).output().unwrap();
    assert!(
        output.status.success(),
        "seed {seed} failed ({}); see it again with: phala-simulation --seed {seed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn random_worlds_keep_the_invariants() {
    let seconds = env::var("PHALA_SIMULATION_SECONDS").ok().map_or(20, |text| text.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seed, mut settled) = (0, 0);
    while seed < LEAST_SEEDS || Instant::now() < end {
        settled += live(seed).settled;
        seed += 1;
    }
    assert!(settled > 0, "in {seed} worlds no job was settled: the worlds are too hard");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let first = live(77);
    assert!(first.trace_lines > 100);
    if cfg!(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        assert_eq!(live(77), first);
    }
    assert_ne!(live(78).trace_hash, first.trace_hash);
}
