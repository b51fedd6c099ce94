//! `phala-simulation`: lets worlds live, each in a process of its own, and says which seeds failed and how to see them
//! again.

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use phala_simulation::{Config, Report, run};
use std::{
    collections::BTreeMap,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Simulated worlds of Phala: real enclaves, hosts and pallets under faults that a seed decides.
#[derive(Parser)]
#[command(name = "phala-simulation", version)]
struct Options {
    /// Lets the world of this seed live alone, with its trace on standard error.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "minutes", "jobs"])]
    seed: Option<u64>,

    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,

    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,

    /// Takes as many seeds as can be had in this time, instead of a number.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,

    /// Worlds at once; by default one for each processor.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// Writes one JSON object for each world to standard output.
    #[arg(long)]
    json: bool,

    /// Keeps the trace of a single world to itself.
    #[arg(long, requires = "seed")]
    quiet: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match options.seed {
        Some(seed) => single(seed, &options),
        None => many(&options),
    }
}

/// One world, in this process.
fn single(seed: u64, options: &Options) -> Result<ExitCode> {
    match run(seed, &Config { echo: !options.quiet, ..Config::default() }) {
        Ok(report) => {
            println!("{}", show(&report, options.json)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) if options.quiet => {
            eprintln!("{failure}");
            Ok(ExitCode::FAILURE)
        }
        Err(failure) => {
            eprintln!("seed {seed}: {}", failure.reason);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn show(report: &Report, json: bool) -> Result<String> {
    if json {
        return Ok(serde_json::to_string(report)?);
    }
    let Report { seed, virtual_seconds, jobs, settled, expired, cancelled, checked, lies, .. } = report;
    Ok(format!(
        "seed {seed}: {jobs} jobs in {virtual_seconds} s: {settled} settled, {expired} expired, {cancelled} cancelled; \
         {checked} results checked, {lies} lies told; trace {}",
        report.trace_hash
    ))
}

/// What came of many worlds.
#[derive(Default)]
struct Tally {
    worlds: u64,
    virtual_seconds: u64,
    jobs: usize,
    settled: usize,
    checked: usize,
    lies: u64,
    events: BTreeMap<String, u64>,
    failed: Vec<u64>,
}

/// Each world in a process of its own: none sees what another has left, and what one does to its process is its own.
fn many(options: &Options) -> Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program")?;
    let end = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let last = options.from.saturating_add(options.seeds);
    let progress = match options.minutes {
        Some(_) => ProgressBar::new_spinner(),
        None => ProgressBar::new(options.seeds),
    };
    progress.set_style(ProgressStyle::with_template("{elapsed_precise} {pos} worlds {wide_bar} {msg}")?);
    let next = AtomicU64::new(options.from);
    let tally = Mutex::new(Tally::default());
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let over = end.map_or(seed >= last, |end| Instant::now() >= end);
            if over {
                return Ok(());
            }
            let mut command = Command::new(&program);
            command.args(["--seed", &seed.to_string(), "--quiet", "--json"]).stdin(Stdio::null());
            let output = command.output().context("starting a process for a world")?;
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.worlds += 1;
            progress.inc(1);
            if !output.status.success() {
                tally.failed.push(seed);
                progress.println(format!(
                    "{}seed {seed} failed ({}); see it again with: phala-simulation --seed {seed}",
                    String::from_utf8_lossy(&output.stderr),
                    output.status
                ));
                progress.set_message(format!("{} failed", tally.failed.len()));
                continue;
            }
            let report: Report = serde_json::from_slice(&output.stdout).context("reading a world's report")?;
            if options.json {
                progress.suspend(|| println!("{}", String::from_utf8_lossy(&output.stdout).trim_end()));
            }
            tally.add(report);
        }
    };
    let jobs = options.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread failed"))).collect()
    });
    progress.finish_and_clear();
    results.into_iter().collect::<Result<()>>()?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.show();
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.virtual_seconds += report.virtual_seconds;
        self.jobs += report.jobs;
        self.settled += report.settled;
        self.checked += report.checked;
        self.lies += report.lies;
        for (what, count) in report.events {
            *self.events.entry(what).or_default() += count;
        }
    }

    fn show(&self) {
        let Self { worlds, virtual_seconds, jobs, settled, checked, lies, events, failed } = self;
        eprintln!(
            "{worlds} worlds, {} hours of theirs: {jobs} jobs, {settled} settled, {checked} results checked, {lies} lies",
            virtual_seconds / 3600
        );
        for (what, count) in events {
            eprintln!("  {count} {what}");
        }
        for seed in failed {
            eprintln!("FAILED: phala-simulation --seed {seed}");
        }
    }
}
