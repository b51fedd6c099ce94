//! Chaos on the real thing: `phala dev` with four authorities and some workers, users who run jobs all the time, and faults
//! that are drawn from a seed. Everything is watched; the first thing that must not happen ends the run.
//!
//! - [`plan`]: which faults come when, from the seed only.
//! - [`world`]: the network, and how faults are inflicted; [`links`]: connections that can be cut.
//! - [`users`]: jobs with known results.
//! - [`watch`]: finality, the ledger, processes and their memory.
//! - [`run`]: all of it together; [`shared`]: what the parts tell each other; [`report`]: what came of it.
//!
//! docs/reliability.md says how to use it.

mod links;
mod plan;
mod report;
mod run;
mod shared;
mod users;
mod watch;
mod world;

use anyhow::{Context, Result, bail};
use clap::Parser;
use plan::Plan;
use std::{fs, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Phala network of real processes under faults, and checks that it stands them.
#[derive(Debug, Parser)]
#[command(name = "phala-chaos", version)]
struct Options {
    /// How many minutes, from the first job on.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=60 * 24 * 7))]
    minutes: u64,
    /// How many hours.
    #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..=24 * 7))]
    hours: Option<u64>,
    /// What the faults are drawn from. By default a new one, which is printed.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many workers.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: u8,
    /// How many users.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    users: u8,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report, as JSON, to a file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print which faults would come when, and do nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let seed = match options.seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
            u32::from_le_bytes(bytes).into()
        }
    };
    let minutes = options.hours.map_or(options.minutes, |hours| hours * 60);
    let plan = Plan::draw(seed, minutes * 60, options.workers);
    if options.plan {
        if options.json {
            println!("{}", serde_json::to_string_pretty(&plan)?);
        } else {
            print!("{plan}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("seed {seed}, {minutes} minutes: `phala-chaos --seed {seed} --minutes {minutes}` replays this schedule");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(interruptible(run::run(plan, options.workers, options.users)));
    // What was started ends here, whatever happened.
    drop(runtime);
    let report = report?;
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(path) = &options.report {
        fs::write(path, format!("{json}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        println!("{json}");
    } else {
        print!("{report}");
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs to the end, or until somebody asks to stop.
async fn interruptible<T: Send + 'static>(run: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = tokio::spawn(run);
    tokio::select! {
        result = &mut running => return result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.abort();
    // What is under way ends, and the network with it.
    let _ = running.await;
    bail!("interrupted");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn lengths_are_given_once() {
        assert!(Options::try_parse_from(["phala-chaos", "--hours", "1"]).is_ok());
        assert!(Options::try_parse_from(["phala-chaos", "--hours", "1", "--minutes", "5"]).is_err());
        assert!(Options::try_parse_from(["phala-chaos", "--minutes", "0"]).is_err());
    }
}
