//! Benchmarks of Phala. Each figure stands beside one of something known, taken in the same run on the same machine, and
//! the claim is their ratio. docs/benchmarks.md has the results with the commands.

mod engine;
mod keys;
mod network;
mod registrations;
mod statistics;
mod upload;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(name = "phala-bench", about)]
struct Options {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Instantiation, and an empty, a compute-heavy and a data-heavy job in the enclave's engine, against plain wasmtime
    /// with the same module.
    Engine {
        /// The folder with the guest programs, as tests/programs/build.sh makes it.
        programs: PathBuf,
        /// The CSV file that the data-heavy program reads.
        data: PathBuf,
        /// How often each is run.
        #[arg(long, default_value_t = 7)]
        runs: usize,
    },
    /// Encrypting a file to a worker, against the age command.
    Upload {
        /// How many MiB.
        #[arg(long, default_value_t = 256)]
        mib: u64,
        /// How often each is run.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// How long many workers take to register on a development network that runs, against as many with simulated evidence.
    Registrations {
        /// The node's JSON-RPC.
        #[arg(long, default_value = "ws://127.0.0.1:9944")]
        node: String,
        /// How many workers.
        #[arg(long, default_value_t = 1000)]
        workers: usize,
        /// The TEE that they imitate: sgx, tdx or sev-snp.
        #[arg(long, default_value = "sgx")]
        tee: phala_attestation::Kind,
    },
    /// How long releases of app keys take, on a development network with gatekeepers that runs, against requests that are refused at
    /// their signature.
    Keys {
        /// The node's JSON-RPC.
        #[arg(long, default_value = "ws://127.0.0.1:9944")]
        node: String,
        /// The program of the app: any.
        program: PathBuf,
        /// How many releases.
        #[arg(long, default_value_t = 300)]
        releases: usize,
    },
    /// Submit-to-result latency by stage, and jobs a second, on a network that runs.
    Network {
        /// The node's JSON-RPC.
        #[arg(long, default_value = "ws://127.0.0.1:9944")]
        node: String,
        /// The program that is run: one that does next to nothing.
        program: PathBuf,
        /// How many jobs one after the other.
        #[arg(long, default_value_t = 10)]
        jobs: usize,
        /// How many jobs at once.
        #[arg(long, default_value_t = 20)]
        at_once: usize,
    },
}

fn main() -> Result<()> {
    match Options::parse().benchmark {
        Benchmark::Engine { programs, data, runs } => engine::run(&programs, &data, runs),
        Benchmark::Upload { mib, runs } => upload::run(mib, runs),
        Benchmark::Registrations { node, workers, tee } => registrations::run(&node, workers, tee),
        Benchmark::Keys { node, program, releases } => keys::run(&node, &program, releases),
        Benchmark::Network { node, program, jobs, at_once } => network::run(&node, &program, jobs, at_once),
    }
}
