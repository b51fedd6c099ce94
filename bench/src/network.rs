//! Whole jobs on a network that runs: how long each stage takes, how many jobs a second, how much memory.

use anyhow::{Context, Result};
use phala_sdk::{
    Signer,
    chain::Chain,
    job::{Jobs, Program, Progress, Request, Store, Until},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::statistics::{Samples, ms};

/// The stages of a job, in order.
const STAGES: &[&str] = &["submitted", "assigned", "verified", "delivered", "accepted", "settled", "result checked"];

pub fn run(node: &str, program: &Path, jobs: usize, at_once: usize) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let folder = tempfile::tempdir()?;
        let chain = Chain::connect(node).await?;
        let client = Jobs::new(chain, Store::open(folder.path())?);
        let signer = Signer::from_uri("//Alice")?;

        // Publishes and compiles the program, so that what follows is alike.
        job(&client, &signer, program).await?;
        let mut stages = BTreeMap::<&str, Samples>::new();
        let mut total = Samples::default();
        for _ in 0..jobs {
            let start = Instant::now();
            let times = job(&client, &signer, program).await?;
            total.add(start.elapsed());
            let mut before = Duration::ZERO;
            for stage in STAGES {
                let at = times.get(stage).copied().unwrap_or(before);
                stages.entry(stage).or_default().add(at.saturating_sub(before));
                before = at;
            }
        }
        println!("{:<28} {:>14} {:>14}", "stage of a job", "p50", "p99");
        for stage in STAGES {
            let samples = stages.get(stage).cloned().unwrap_or_default();
            println!("{stage:<28} {:>14} {:>14}", ms(samples.quantile(50)), ms(samples.quantile(99)));
        }
        println!("{:<28} {:>14} {:>14}", "submit to checked result", ms(total.quantile(50)), ms(total.quantile(99)));

        let start = Instant::now();
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let (client, signer, program) = (client.clone(), signer.clone(), program.to_owned());
                tokio::spawn(async move { job(&client, &signer, &program).await })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let elapsed = start.elapsed();
        println!(
            "{at_once} jobs at once: {}, {:.2} jobs a second",
            ms(elapsed),
            at_once as f64 / elapsed.as_secs_f64()
        );
        memory()
    })
}

/// Runs one job and says when each stage was reached.
async fn job(client: &Jobs, signer: &Signer, program: &Path) -> Result<BTreeMap<&'static str, Duration>> {
    let start = Instant::now();
    let times = Mutex::new(BTreeMap::new());
    let reached = |stage: &'static str| {
        times.lock().expect("nobody panics here").entry(stage).or_insert_with(|| start.elapsed());
    };
    let progress = |progress: Progress| match progress {
        Progress::Submitted { .. } => reached("submitted"),
        Progress::Assigned { .. } => reached("assigned"),
        Progress::Verified(_) => reached("verified"),
        Progress::Delivered { .. } => reached("delivered"),
        Progress::Started => reached("accepted"),
        Progress::Settled { .. } => reached("settled"),
        _ => {}
    };
    let program = Program::File { path: program.to_owned(), private: false };
    let mut record = client.submit(signer, Request::new(program), &progress).await?;
    client.follow(&mut record, Until::Settled, &progress).await?;
    client.result(&record, &progress).await?;
    reached("result checked");
    Ok(times.into_inner().expect("nobody panics here"))
}

/// Resident memory of each process of ours on this machine, now and at its peak.
fn memory() -> Result<()> {
    println!("{:<28} {:>14} {:>14}", "memory of a process", "now", "peak");
    for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        let Some(name) = field("Name:").filter(|name| name.starts_with("phala-") && name != "phala-bench") else {
            continue;
        };
        let mib = |name: &str| field(name).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024;
        println!("{name:<28} {:>10} MiB {:>10} MiB", mib("VmRSS:"), mib("VmHWM:"));
    }
    Ok(())
}
