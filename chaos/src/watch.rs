//! What is looked at all the time: finality, the ledger, processes and their memory.
//!
//! # Invariants
//! - While three of four authorities are undisturbed, a block is finalized within [`FINALITY_BOUND`]; while two are stopped,
//!   none is.
//! - All nodes finalize the same blocks.
//! - The total issuance never changes. A job ends once, and `paid + treasury + refund` is what was on hold. What is on hold
//!   of users is what their live jobs may cost, beside the deposits of their apps.
//! - No job lives longer than [`DEADLINE_SLACK`] blocks beyond its deadline.
//! - No process ends by itself, or needs more memory than [`bound_mib`].

use anyhow::{Context, Result, ensure};
use codec::DecodeAll;
use futures::future::join_all;
use pallet_phala_jobs::Event;
use phala_primitives::{Balance, JobId, job::JobStatus};
use phala_runtime::RuntimeEvent;
use phala_sdk::{
    Account,
    chain::{Chain, Job, State},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, atomic::Ordering},
};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, timeout};

use crate::{
    plan::Process,
    shared::{Sample, Shared},
    world::World,
};

/// How long a new finalized block may take while three of four authorities are undisturbed.
const FINALITY_BOUND: Duration = Duration::from_secs(90);

/// How long votes that were on their way may still finalize a block once two authorities are stopped.
const VOTES: Duration = Duration::from_secs(12);

/// How many blocks after its deadline a job's end must be final.
const DEADLINE_SLACK: u32 = 10;

/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(2);

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long reading the ledger may take at once.
const READING: Duration = Duration::from_secs(30);

/// After how many ticks memory is sampled and the state audited.
const SAMPLE_TICKS: u64 = 5;
const AUDIT_TICKS: u64 = 8;

/// `System::Events`: twox128 of both names.
const EVENTS: &str = "0x26aa394eea5630e07c48ae0c9558cef780d41e5e16056765bc8461851072c9d7";
/// `Balances::TotalIssuance`.
const TOTAL_ISSUANCE: &str = "0xc2261276cc9d1f8598ea4b6a74b15c2f57c875e4cff74148e4628f264b974c80";

/// What happened in a block.
type Events = Vec<frame_system::EventRecord<RuntimeEvent, [u8; 32]>>;

/// How much resident memory a process may have, in MiB.
pub fn bound_mib(process: Process) -> u64 {
    match process {
        Process::Host(_) => 512,
        Process::Node(_) | Process::Enclave(_) => 1024,
    }
}

/// Who looks.
pub struct Watch {
    world: Arc<World>,
    shared: Arc<Shared>,
    nodes: Vec<(Process, Chain)>,
    finality: Finality,
    ledger: Ledger,
    audit: Audit,
}

impl Watch {
    /// Over a network whose users have these accounts.
    pub fn new(world: Arc<World>, shared: Arc<Shared>, nodes: Vec<(Process, Chain)>, users: Vec<Account>) -> Self {
        let finality = Finality::new(Instant::now());
        let audit = Audit { users, ..Audit::default() };
        Self { world, shared, nodes, finality, ledger: Ledger::default(), audit }
    }

    /// Looks, until it is aborted.
    pub async fn run(mut self) {
        let mut interval = interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0.. {
            interval.tick().await;
            if let Err(error) = Box::pin(self.look(tick)).await {
                self.shared.violated(format!("{error:#}"));
            }
        }
    }

    async fn look(&mut self, tick: u64) -> Result<()> {
        self.check_processes()?;
        if tick.is_multiple_of(SAMPLE_TICKS) {
            self.sample()?;
        }
        let disturbed = self.disturbed_authorities();
        let heads = join_all(self.nodes.iter().map(|(process, chain)| {
            let (process, chain) = (*process, chain.clone());
            async move {
                let head = timeout(PATIENCE, finalized(&chain)).await;
                head.ok()?.ok().map(|(number, hash)| (process, number, hash))
            }
        }));
        let heads: Vec<(Process, u32, String)> = heads.await.into_iter().flatten().collect();
        self.shared.observe(|observed| {
            observed.finalized = heads.iter().map(|(process, number, _)| (*process, *number)).collect();
        });
        let best = heads.iter().map(|(_, number, _)| *number).max().unwrap_or_default();
        // What changed in between tells nothing.
        let disturbed = (disturbed == self.disturbed_authorities()).then_some(disturbed);
        let gap = self.finality.saw(Instant::now(), best, disturbed)?;
        self.shared.observe(|observed| {
            observed.longest_gap = observed.longest_gap.max(gap);
            observed.stalls = self.finality.stalls;
        });

        let Some((process, _, _)) = heads.iter().max_by_key(|(_, number, _)| *number) else { return Ok(()) };
        let chain = self.nodes.iter().find(|(other, _)| other == process).map(|(_, chain)| chain.clone());
        let chain = chain.context("the node is one of ours")?;
        // A node that goes away meanwhile is no violation: the rest is read from another.
        let read = timeout(READING, Box::pin(self.ledger.follow(&chain, best))).await.unwrap_or(Ok(()));
        tolerate(read)?;
        self.ledger.agree(&heads)?;
        self.shared.live.store(self.ledger.live.len(), Ordering::Relaxed);
        self.shared.observe(|observed| observed.blocks = self.ledger.read);
        if tick.is_multiple_of(AUDIT_TICKS) {
            let audited = timeout(READING, Box::pin(self.audit.run(&chain))).await;
            if let Ok(audited) = audited {
                tolerate(audited)?;
                self.shared.observe(|observed| observed.audits += 1);
            }
        }
        Ok(())
    }

    fn disturbed_authorities(&self) -> usize {
        self.world.conditions().keys().filter(|process| matches!(process, Process::Node(_))).count()
    }

    fn check_processes(&self) -> Result<()> {
        for process in self.world.processes() {
            // While this is held nothing is ended, and whatever is not in it runs.
            let conditions = self.world.conditions();
            let running = conditions.contains_key(&process) || self.world.network().is_running(&process.to_string())?;
            ensure!(running, "{process} ended by itself");
        }
        Ok(())
    }

    fn sample(&self) -> Result<()> {
        let at_s = self.shared.elapsed().as_secs();
        let mut mib = BTreeMap::new();
        for process in self.world.processes() {
            let name = process.to_string();
            let pid = self.world.network().pid(&name)?;
            let Some(resident) = resident_mib(pid) else { continue };
            let bound = bound_mib(process);
            ensure!(resident <= bound, "{process} needs {resident} MiB of memory, more than {bound}");
            mib.insert(name, resident);
        }
        self.shared.observe(|observed| {
            for (name, resident) in &mib {
                let peak = observed.peaks.entry(name.clone()).or_default();
                *peak = (*peak).max(*resident);
            }
            observed.memory.push(Sample { at_s, mib });
        });
        Ok(())
    }
}

/// The resident memory of a process; `None` if there is none.
pub fn resident_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// Errors of a node are no violations, as nodes come and go.
fn tolerate(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is::<phala_sdk::chain::ChainError>() => Ok(()),
        result => result,
    }
}

/// A node's finalized block.
async fn finalized(chain: &Chain) -> Result<(u32, String)> {
    let hash: String = chain.rpc("chain_getFinalizedHead", vec![]).await?;
    let header: Value = chain.rpc("chain_getHeader", vec![json!(hash)]).await?;
    let number = header["number"].as_str().context("a header has a number")?;
    Ok((u32::from_str_radix(number.trim_start_matches("0x"), 16)?, hash))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    Ok(hex::decode(text.trim_start_matches("0x"))?)
}

/// Whether blocks are finalized when they can be, and only then.
struct Finality {
    best: u32,
    advanced: Instant,
    /// Since when three authorities are undisturbed.
    enough: Option<Instant>,
    /// Since when two are stopped, and where finality waits, once it does.
    waits: Option<(Instant, Option<u32>)>,
    stalls: u32,
}

impl Finality {
    fn new(now: Instant) -> Self {
        Self { best: 0, advanced: now, enough: Some(now), waits: None, stalls: 0 }
    }

    /// Takes note of the newest finalized block, and of how many authorities are disturbed if that is certain. Returns how
    /// long finality has waited though it could go on.
    fn saw(&mut self, now: Instant, best: u32, disturbed: Option<usize>) -> Result<Duration> {
        if best > self.best {
            (self.best, self.advanced) = (best, now);
        }
        match disturbed {
            Some(0 | 1) => {
                self.waits = None;
                self.enough.get_or_insert(now);
            }
            Some(_) => {
                self.enough = None;
                let (since, at) = self.waits.get_or_insert((now, None));
                match at {
                    None if now - *since > VOTES => {
                        *at = Some(self.best);
                        self.stalls += 1;
                    }
                    Some(at) => ensure!(self.best == *at, "block {best} was finalized by two of four authorities"),
                    None => {}
                }
            }
            None => {}
        }
        let gap = self.enough.map_or(Duration::ZERO, |enough| (now - enough).min(now - self.advanced));
        ensure!(gap <= FINALITY_BOUND, "nothing was finalized for {} s, after block {}", gap.as_secs(), self.best);
        Ok(gap)
    }
}

/// The jobs by the events of finalized blocks.
#[derive(Default)]
struct Ledger {
    /// The newest block that was read.
    read: u32,
    /// The hashes of all that were read.
    hashes: BTreeMap<u32, String>,
    live: BTreeMap<JobId, Job>,
    /// In which block jobs ended.
    ended: BTreeMap<JobId, u32>,
}

impl Ledger {
    /// Reads all finalized blocks up to `to`.
    async fn follow(&mut self, chain: &Chain, to: u32) -> Result<()> {
        while self.read < to {
            let number = self.read + 1;
            let hash: Option<String> = chain.rpc("chain_getBlockHash", vec![json!(number)]).await?;
            let Some(hash) = hash else { return Ok(()) };
            let stored: Option<String> = chain.rpc("state_getStorage", vec![json!(EVENTS), json!(hash)]).await?;
            let events = bytes(&stored.unwrap_or_else(|| "0x00".into()))?;
            let events = Events::decode_all(&mut &events[..]).context("the events of a block do not decode")?;
            let id = <[u8; 32]>::try_from(bytes(&hash)?).ok().context("a hash has 32 bytes")?;
            // All that is asked of the node comes first: what fails half-way is read again.
            let mut submitted = BTreeMap::new();
            for event in &events {
                if let RuntimeEvent::Jobs(Event::Submitted { job, .. }) = &event.event {
                    let record = chain.at(id).await?.job(*job).await?;
                    submitted.insert(*job, record.with_context(|| format!("no job {job} in the block that has it"))?);
                }
            }
            self.take(number, submitted, events)?;
            self.hashes.insert(number, hash);
            self.read = number;
        }
        Ok(())
    }

    fn take(&mut self, number: u32, submitted: BTreeMap<JobId, Job>, events: Events) -> Result<()> {
        for id in submitted.keys() {
            ensure!(!self.live.contains_key(id) && !self.ended.contains_key(id), "job {id} was submitted twice");
        }
        self.live.extend(submitted);
        for event in events {
            match event.event {
                RuntimeEvent::Jobs(Event::Settled { job, paid, treasury, refund, .. }) => {
                    let held = self.end(job, number)?.max_price;
                    ensure!(
                        paid + treasury + refund == held,
                        "job {job}: {paid} + {treasury} + {refund} is not {held}"
                    );
                }
                RuntimeEvent::Jobs(Event::Cancelled { job } | Event::Expired { job }) => {
                    self.end(job, number)?;
                }
                _ => {}
            }
        }
        let late = self.live.iter().find(|(_, job)| job.deadline + DEADLINE_SLACK < number);
        ensure!(late.is_none(), "in block {number} a job lives on after its deadline: {late:?}");
        Ok(())
    }

    fn end(&mut self, job: JobId, number: u32) -> Result<Job> {
        let before = self.ended.insert(job, number);
        ensure!(before.is_none(), "job {job} ended twice: in block {before:?} and in {number}");
        self.live.remove(&job).with_context(|| format!("job {job} ended in block {number}, but was never submitted"))
    }

    /// Whether no node finalized another block than the others.
    fn agree(&self, heads: &[(Process, u32, String)]) -> Result<()> {
        for (process, number, hash) in heads {
            let other = self.hashes.get(number).unwrap_or(hash);
            ensure!(other == hash, "{process} finalized {hash} as block {number}, and others {other}");
        }
        Ok(())
    }
}

/// Whether the money adds up.
#[derive(Default)]
struct Audit {
    users: Vec<Account>,
    /// The newest block whose state was audited.
    at: u32,
    issuance: Option<Balance>,
    /// How jobs ended.
    ended: BTreeMap<JobId, JobStatus<Account, u32>>,
    /// How many apps each user has published, and what is on hold for them.
    deposits: BTreeMap<Account, (usize, Balance)>,
}

impl Audit {
    async fn run(&mut self, chain: &Chain) -> Result<()> {
        let state = chain.finalized().await?;
        // Nodes know of a new finalized block one after the other.
        if state.block().number < self.at {
            return Ok(());
        }
        self.at = state.block().number;
        let hash = format!("0x{}", hex::encode(state.block().hash));
        let stored: Option<String> = chain.rpc("state_getStorage", vec![json!(TOTAL_ISSUANCE), json!(hash)]).await?;
        let stored = bytes(&stored.context("there is PHA")?)?;
        self.check_issuance(Balance::decode_all(&mut &stored[..]).context("the total issuance does not decode")?)?;
        let jobs = state.jobs().await?;
        self.check_ends(&jobs)?;
        self.check_holds(&state, &jobs).await
    }

    fn check_issuance(&mut self, issuance: Balance) -> Result<()> {
        let first = *self.issuance.get_or_insert(issuance);
        ensure!(issuance == first, "the total issuance was {first}, and now is {issuance}");
        Ok(())
    }

    fn check_ends(&mut self, jobs: &[(JobId, Job)]) -> Result<()> {
        for (id, job) in jobs {
            match &job.status {
                JobStatus::Queued | JobStatus::Assigned(_) => {
                    ensure!(!self.ended.contains_key(id), "job {id} lives again");
                }
                status => {
                    let first = self.ended.entry(*id).or_insert_with(|| status.clone());
                    ensure!(first == status, "job {id} changed after its end: {first:?}, {status:?}");
                }
            }
        }
        Ok(())
    }

    async fn check_holds(&mut self, state: &State, jobs: &[(JobId, Job)]) -> Result<()> {
        let apps = state.apps().await?;
        for user in &self.users {
            let held = state.balance(*user).await?.reserved;
            let live = jobs.iter().filter(|(_, job)| {
                job.owner == *user && matches!(job.status, JobStatus::Queued | JobStatus::Assigned(_))
            });
            let escrow: Balance = live.map(|(_, job)| job.max_price).sum();
            let deposit = held.checked_sub(escrow);
            let deposit =
                deposit.with_context(|| format!("{held} is on hold of {user}, and live jobs need {escrow}"))?;
            let published = apps.iter().filter(|(_, app)| app.publisher == *user).count();
            let known = self.deposits.insert(*user, (published, deposit));
            if let Some((before, known)) = known.filter(|(before, _)| *before == published) {
                ensure!(
                    known == deposit,
                    "{user} has {before} apps: {known} was on hold for them, and now {deposit} is"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn finality_must_go_on_with_three_authorities() {
        let start = Instant::now();
        let mut finality = Finality::new(start);
        assert_eq!(finality.saw(start + second(10), 5, Some(0)).unwrap(), Duration::ZERO);
        assert_eq!(finality.saw(start + second(30), 5, Some(1)).unwrap(), second(20));
        let late = start + second(10) + FINALITY_BOUND + second(1);
        assert!(finality.saw(late, 5, Some(1)).is_err());
        assert!(finality.saw(late, 6, Some(1)).is_ok());
    }

    #[test]
    fn finality_must_wait_with_two() {
        let start = Instant::now();
        let mut finality = Finality::new(start);
        finality.saw(start, 5, Some(2)).unwrap();
        // Votes that were on their way.
        finality.saw(start + second(5), 6, Some(2)).unwrap();
        finality.saw(start + VOTES + second(1), 6, Some(2)).unwrap();
        assert_eq!(finality.stalls, 1);
        assert!(finality.saw(start + second(300), 6, Some(2)).is_ok());
        // Just lifted, perhaps.
        assert!(finality.saw(start + second(301), 7, None).is_ok());
        let mut other = Finality { stalls: 0, ..finality };
        assert!(other.saw(start + second(302), 7, Some(2)).is_err());
        // Time counts from when three were there again.
        assert!(other.saw(start + second(310), 7, Some(0)).is_ok());
        assert!(other.saw(start + second(380), 7, Some(0)).is_ok());
    }

    #[test]
    fn nodes_that_disagree_are_found() {
        let ledger = Ledger { hashes: BTreeMap::from([(3, "0xaa".to_owned())]), ..Ledger::default() };
        let head = |number, hash: &str| (Process::Node(1), number, hash.to_owned());
        assert!(ledger.agree(&[head(3, "0xaa"), head(4, "0xbb")]).is_ok());
        assert!(ledger.agree(&[head(3, "0xbb")]).is_err());
    }

    #[test]
    fn a_job_ends_once_and_only_if_it_was_submitted() {
        let mut ledger = Ledger::default();
        assert!(ledger.end(1, 7).is_err());
        assert!(ledger.end(1, 8).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn pha_that_comes_or_goes_is_found() {
        let mut audit = Audit::default();
        audit.check_issuance(5).unwrap();
        audit.check_issuance(5).unwrap();
        assert!(audit.check_issuance(4).is_err());
    }

    #[test]
    fn this_process_needs_memory() {
        assert!(resident_mib(std::process::id()).is_some_and(|mib| mib > 0));
    }
}
