//! A run: the network comes up, users work, faults come and go, and everything is checked.

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, try_join_all};
use phala_primitives::WorkerId;
use phala_sdk::{Signer, chain::Chain};
use phala_tests::search;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep, sleep_until, timeout},
};

use crate::{
    plan::{AUTHORITIES, Episode, Plan, Process},
    report::{Done, Progress, Report},
    shared::{Fate, Shared},
    users::{self, USERS, User},
    watch::Watch,
    world::{Condition, World},
};

/// How many jobs each user has at a time.
const LANES: u64 = 2;

/// How long everything may take to work again.
const RECOVERY: Duration = Duration::from_secs(240);

/// How long jobs may live on once users begin no more: more than their deadline.
const END: Duration = Duration::from_secs(360);

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(500);

/// How many blocks the nodes may be apart once they have recovered.
const APART: u32 = 8;

/// Does what a plan says, and reports. An error is of the harness; what the network does wrong is in the report.
///
/// # Errors
/// When the network does not come up.
pub async fn run(plan: Plan, workers: u8, users: u8) -> Result<Report> {
    eprintln!("Starting {AUTHORITIES} authorities and {workers} workers …");
    let world = Arc::new(World::start(workers).await?);
    // Made at run time, so that no program file holds it whole.
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let shared = Arc::new(Shared::new(format!("canary-{}", hex::encode(random))));
    let progress = Mutex::new(Progress::default());
    let run = Run { plan, world, shared, progress, workers, users };
    tokio::select! {
        result = Box::pin(run.drive()) => if let Err(error) = result {
            run.shared.violated(format!("{error:#}"));
        },
        () = run.shared.failed() => {}
    }
    let progress = run.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut report = Report::new(&run.shared, progress, run.plan.seed, (workers, users), run.world.remarks());
    if !report.passed {
        report.logs = Some(keep_logs(&run.world, &run.plan)?);
    }
    Ok(report)
}

/// Copies what tells what happened to a folder that stays.
fn keep_logs(world: &World, plan: &Plan) -> Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("phala-chaos-logs-").tempdir()?.keep();
    fs::write(folder.join("plan.txt"), plan.to_string())?;
    for entry in fs::read_dir(world.network().folder().join("logs"))? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(folder)
}

struct Run {
    plan: Plan,
    world: Arc<World>,
    shared: Arc<Shared>,
    progress: Mutex<Progress>,
    workers: u8,
    users: u8,
}

impl Run {
    async fn drive(&self) -> Result<()> {
        let nodes = try_join_all((1..=AUTHORITIES).map(|node| async move {
            let chain = Chain::connect(&self.world.rpc(node)?).await?;
            anyhow::Ok((Process::Node(node), chain))
        }));
        let nodes = nodes.await?;
        let chains: Vec<Chain> = nodes.iter().map(|(_, chain)| chain.clone()).collect();
        let accounts = USERS.iter().take(self.users.into()).map(|key| anyhow::Ok(Signer::from_uri(key)?.account()));
        let accounts = accounts.collect::<Result<Vec<_>>>()?;

        // Dropped, and so aborted, with this run.
        let mut tasks = JoinSet::new();
        tasks.spawn(Watch::new(self.world.clone(), self.shared.clone(), nodes, accounts).run());
        // The workers have just started again.
        self.shared.begin_trouble();
        let mut working = self.send_users(&chains)?;
        Box::pin(self.recover(Instant::now(), &chains, false)).await?;
        self.shared.end_trouble();
        self.say("the first job ended; faults begin");

        let begun = Instant::now();
        let mut lifted = begun;
        for episode in &self.plan.episodes {
            sleep_until(begun + Duration::from_secs(episode.at_s)).await;
            lifted = Box::pin(self.play(episode, &chains)).await?;
        }
        sleep_until(begun + Duration::from_secs(self.plan.seconds)).await;
        self.say("a last job on each worker");
        Box::pin(self.recover(lifted, &chains, true)).await?;

        self.shared.close();
        let ending = async {
            while let Some(ended) = working.join_next().await {
                ended?;
            }
            anyhow::Ok(())
        };
        timeout(END, ending).await.context("users wait for jobs for ever")??;
        self.wait_for_the_ledger().await?;
        self.search(true).await
    }

    /// Lets users begin to work.
    fn send_users(&self, chains: &[Chain]) -> Result<JoinSet<()>> {
        let computed = users::computed()?;
        let mut working = JoinSet::new();
        for (index, key) in USERS.iter().enumerate().take(self.users.into()) {
            for lane in 0..LANES {
                // Outside the folder in which nothing of theirs may be.
                let folder = self.world.network().path().join(format!("user-{index}-{lane}"));
                let chain = chains[index % chains.len()].clone();
                let seed = self.plan.seed.wrapping_add(1 + index as u64 * LANES + lane);
                let user = User::new(chain, key, &folder, seed, computed.clone())?;
                let shared = self.shared.clone();
                working.spawn(async move {
                    if let Err(error) = user.work(&shared).await {
                        shared.violated(format!("{error:#}"));
                    }
                });
            }
        }
        Ok(working)
    }

    /// Plays an episode, and waits until everything works again. Returns when its last fault was over.
    async fn play(&self, episode: &Episode, chains: &[Chain]) -> Result<Instant> {
        self.shared.begin_trouble();
        let at_s = self.shared.elapsed().as_secs();
        let faults = join_all(episode.faults.iter().map(|fault| async move {
            sleep(Duration::from_secs(fault.after_s)).await;
            self.say(&format!("{} for {} s", fault.kind, fault.for_s));
            let index = self.progress(|progress| {
                progress.schedule.push(Done { at_s, fault: fault.clone(), skipped: None });
                progress.schedule.len() - 1
            });
            let skipped = self.world.inflict(fault).await.with_context(|| fault.kind.to_string())?;
            match skipped {
                None => self.say(&format!("{} is over", fault.kind)),
                Some(reason) => self.say(&format!("{} was skipped: {reason}", fault.kind)),
            }
            self.progress(|progress| progress.schedule[index].skipped = skipped);
            anyhow::Ok(())
        }));
        let in_the_middle = async {
            sleep(Duration::from_secs(episode.seconds() / 2)).await;
            self.search(false).await
        };
        let (faults, searched) = tokio::join!(faults, in_the_middle);
        let lifted = Instant::now();
        searched?;
        faults.into_iter().collect::<Result<()>>()?;
        let seconds = Box::pin(self.recover(lifted, chains, false)).await?.as_secs_f64();
        self.shared.end_trouble();
        self.progress(|progress| progress.recoveries.push(seconds));
        self.say(&format!("everything works again after {seconds:.0} s"));
        self.search(true).await?;
        Ok(lifted)
    }

    /// Waits until all nodes finalize, all workers are active, and a job that was submitted after `lifted` has ended well:
    /// `everywhere`, on each worker one. Returns how long that took since then.
    async fn recover(&self, lifted: Instant, chains: &[Chain], everywhere: bool) -> Result<Duration> {
        let begun = Instant::now();
        let before = self.shared.observe(|observed| observed.finalized.values().copied().max().unwrap_or_default());
        loop {
            let missing = Box::pin(self.missing(lifted, before, chains, everywhere)).await;
            match missing {
                None => return Ok(lifted.elapsed()),
                Some(missing) if begun.elapsed() > RECOVERY => {
                    bail!("{missing} within {} s, though no fault was in force", RECOVERY.as_secs())
                }
                Some(_) => sleep(POLL).await,
            }
        }
    }

    /// What does not work yet.
    async fn missing(&self, lifted: Instant, before: u32, chains: &[Chain], everywhere: bool) -> Option<&'static str> {
        let finalized: Vec<u32> = self.shared.observe(|observed| observed.finalized.values().copied().collect());
        if finalized.len() < usize::from(AUTHORITIES) {
            return Some("not every node answered");
        }
        let least = finalized.iter().min().copied().unwrap_or_default();
        let most = finalized.iter().max().copied().unwrap_or_default();
        if least <= before || most - least > APART {
            return Some("not every node finalized new blocks");
        }
        let active = async { chains.first()?.best().await.ok()?.active_workers().await.ok() };
        let active = timeout(Duration::from_secs(5), active).await.ok().flatten();
        if active.is_none_or(|active| active.len() < usize::from(self.workers)) {
            return Some("not every worker was active");
        }
        let ends = self.shared.ends();
        let right = ends.iter().filter(|end| end.fate == Fate::Right && end.submitted >= lifted);
        let by: BTreeSet<WorkerId> = right.filter_map(|end| end.worker).collect();
        let wanted = if everywhere { usize::from(self.workers) } else { 1 };
        (by.len() < wanted).then_some("not enough workers ended a new job")
    }

    /// Waits until all jobs have ended by what is final.
    async fn wait_for_the_ledger(&self) -> Result<()> {
        let begun = Instant::now();
        let last = self.shared.observe(|observed| observed.finalized.values().copied().max().unwrap_or_default());
        // The last settlements are in best blocks that are final a little later.
        while self.shared.observe(|observed| observed.blocks) < last + APART || self.shared.live() > 0 {
            ensure!(
                begun.elapsed() < END,
                "{} jobs have not ended, and of {last} blocks {} were read",
                self.shared.live(),
                self.shared.observe(|observed| observed.blocks)
            );
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Looks for the secret in the memory of hosts and nodes and, if all are well, on their disks.
    async fn search(&self, disks: bool) -> Result<()> {
        let (world, shared) = (self.world.clone(), self.shared.clone());
        tokio::task::spawn_blocking(move || {
            for process in world.processes().filter(|process| !matches!(process, Process::Enclave(_))) {
                let pid = world.network().pid(&process.to_string())?;
                match search::memory(pid, &shared.canary) {
                    Ok(found) => ensure!(!found, "the secret is in the memory of {process}"),
                    // It was ended just now.
                    Err(_) if !is_running(&world, process, pid)? => {}
                    Err(error) => return Err(error),
                }
            }
            if disks {
                // Folders that go while they are listed make it fail.
                let found = (0..5).find_map(|_| search::disk(&world.network().folder(), &shared.canary).ok());
                let found = found.context("the disks cannot be searched")?;
                ensure!(found.is_empty(), "the secret is in {}", names(&found));
                // The search does find what is there.
                ensure!(search::memory(std::process::id(), &shared.canary)?, "the search of memory is broken");
            }
            shared.observe(|observed| observed.searches += 1);
            Ok(())
        })
        .await?
    }

    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, what: &str) {
        eprintln!("{:>6} s  {what}", self.shared.elapsed().as_secs());
    }
}

/// Whether a process still runs under this id, and was not ended by us.
fn is_running(world: &World, process: Process, pid: u32) -> Result<bool> {
    let name = process.to_string();
    let conditions = world.conditions();
    let gone = conditions.get(&process) == Some(&Condition::Gone);
    Ok(!gone && world.network().pid(&name)? == pid && world.network().is_running(&name)?)
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| Path::display(path).to_string()).collect();
    names.join(", ")
}
