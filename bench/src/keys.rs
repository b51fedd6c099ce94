//! How long whole releases of app keys take on a network with gatekeepers that runs: from a worker's request to the key that a threshold
//! of parts makes. Beside it: a request that every gatekeeper's enclave refuses at its signature, which costs the way there and back.
//!
//! The workers are minted, on simulated platforms: they ask the gatekeepers' hosts themselves, as a worker's host would.

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use phala_attestation::Role;
use phala_keys::{PendingRequest, VerifiedPartial, VerifiedSharing, combine_app_key};
use phala_primitives::{
    AppId, GatekeeperId, JobId, Limits, PHA, WorkerId,
    gatekeeper::{APP_KEY_VERSION, KeyRequest, NetworkKey, SignedKeyRequest},
    job::{JobStatus, Visibility},
};
use phala_sdk::{
    NetworkKeys, Signer,
    chain::{Chain, call},
    host::{Host, HostError},
    job::{Jobs, Store},
};
use phala_tests::{
    lying_host::eventually,
    minted::{Minted, gatekeepers},
};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

use crate::statistics::{Samples, ms};

/// How often a gatekeeper gives keys for one assignment in a minute.
const PER_JOB: usize = 6;

/// How many jobs a minted worker has.
const CAPACITY: usize = 4;

/// The number of the first minted worker, and how many can be.
const FIRST: u8 = 120;
const MOST_WORKERS: usize = 64;

/// How many registrations are in one transaction.
const BATCH: usize = 5;

/// How often workers give signs of life: the chain takes their jobs when it has none for a minute.
const BEAT: Duration = Duration::from_secs(15);

/// How long one release may take, and the pause before a gatekeeper is asked again that may know more by then: a worker's.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_secs(1);

pub fn run(node: &str, program: &Path, releases: usize) -> Result<()> {
    // The first of each assignment is not counted: a gatekeeper may not have seen the block yet.
    let jobs = releases.div_ceil(PER_JOB - 1);
    ensure!(jobs > 0 && jobs <= MOST_WORKERS * CAPACITY, "1 to {} releases", MOST_WORKERS * CAPACITY * (PER_JOB - 1));
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = Chain::connect(node).await?;
        let keys = NetworkKeys::read(&chain).await?.context("the network has no keys yet: see `phala network keys`")?;
        // No job may ask for less than the cheapest worker does.
        let workers = Box::pin(register(&chain, jobs.div_ceil(CAPACITY))).await?;
        let (app, ids) = Box::pin(submit(&chain, program, jobs)).await?;
        let mut beat = Instant::now();
        let bench = Box::pin(Bench::new(chain, NetworkKey::Epoch(keys.epoch), app, workers)).await?;
        let assigned = Box::pin(bench.assigned(&ids, &mut beat)).await?;
        let (whole, refused) = Box::pin(bench.measure(&assigned, releases, &mut beat)).await?;
        Box::pin(bench.stand_back()).await?;
        println!("{:<28} {:>14} {:>14} {:>8}", format!("{releases} releases of keys"), "p50", "p99", "samples");
        for (name, samples) in [("request to whole key", &whole), ("refused at its signature", &refused)] {
            let [p50, p99] = [50, 99].map(|percent| ms(samples.quantile(percent)));
            println!("{name:<28} {p50:>14} {p99:>14} {:>8}", samples.count());
        }
        for percent in [50, 99] {
            let ratio = whole.quantile(percent).as_secs_f64() / refused.quantile(percent).as_secs_f64();
            println!("{:<28} {ratio:>13.2}x", format!("ratio, p{percent}"));
        }
        Ok(())
    })
}

/// Publishes an app, and submits jobs of it for so little that no real worker takes them.
async fn submit(chain: &Chain, program: &Path, jobs: usize) -> Result<(AppId, Vec<JobId>)> {
    let folder = tempfile::tempdir()?;
    let user = Signer::from_uri("//Ferdie")?;
    let client = Jobs::new(chain.clone(), Store::open(folder.path())?);
    let code = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let app = client.publish(&user, &code, Visibility::Public, None).await?.app;
    // Longer than all of this takes.
    let limits = Limits { wall_ms: 600_000, ..Limits::DEFAULT };
    let deadline = chain.best().await?.block().number + 900;
    let submit = |_| chain.submit(&user, call::submit_job(app, limits, PHA / 1000, deadline, 1, [1; 32]));
    let included = try_join_all((0..jobs).map(submit)).await?;
    let ids = included.into_iter().map(|included| included.job.context("a job was submitted"));
    Ok((app, ids.collect::<Result<_>>()?))
}

/// Registers workers, of the image of the real ones.
async fn register(chain: &Chain, count: usize) -> Result<Vec<Minted>> {
    let workers = (FIRST..).take(count).map(|number| Minted::new(number, "//Eve")).collect::<Result<Vec<_>>>()?;
    let images = chain.best().await?.images().await?;
    let image = images.iter().find(|(_, image)| image.role == Role::Worker).context("workers have an image")?.0;
    for batch in workers.chunks(BATCH) {
        let calls = batch.iter().map(|worker| worker.registration(chain, image, u64::MAX, 1));
        let calls = call::batch_all(try_join_all(calls).await?);
        let operator = batch.first().context("a batch is not empty")?.operator();
        chain.submit(operator, calls).await.context("registering; workers of an earlier run stay registered")?;
    }
    Ok(workers)
}

/// Who asks, and who is asked.
struct Bench {
    chain: Chain,
    key: NetworkKey,
    app: AppId,
    workers: Vec<Minted>,
    sharing: VerifiedSharing,
    gatekeepers: Vec<(GatekeeperId, Host)>,
}

impl Bench {
    async fn new(chain: Chain, key: NetworkKey, app: AppId, workers: Vec<Minted>) -> Result<Self> {
        let sharing = chain.finalized().await?.sharing(key).await?.context("the epoch's key is shared")?;
        let sharing = VerifiedSharing::new(&sharing)?;
        let mut gatekeepers = gatekeepers(&chain).await?;
        gatekeepers.retain(|(id, _)| sharing.players().contains(id));
        Ok(Self { chain, key, app, workers, sharing, gatekeepers })
    }

    /// Waits until workers have the jobs, by the finalized chain. Who has which.
    async fn assigned(&self, ids: &[JobId], beat: &mut Instant) -> Result<Vec<(WorkerId, JobId)>> {
        eventually("all jobs are assigned", 300, async || {
            self.beat(beat).await?;
            let state = self.chain.finalized().await?;
            let mut assigned = Vec::new();
            for id in ids {
                let Some(job) = state.job(*id).await? else { return Ok(None) };
                let JobStatus::Assigned(assignment) = job.status else { return Ok(None) };
                ensure!(job.attempts == 1, "job {id} was lost and assigned again");
                assigned.push((assignment.worker, *id));
            }
            Ok(Some(assigned))
        })
        .await
    }

    /// Releases one after the other, and as many refusals, in turn.
    async fn measure(
        &self,
        assigned: &[(WorkerId, JobId)],
        releases: usize,
        beat: &mut Instant,
    ) -> Result<(Samples, Samples)> {
        let (mut whole, mut refused) = (Samples::default(), Samples::default());
        for (id, job) in assigned {
            self.beat(beat).await?;
            let worker = self.workers.iter().find(|worker| worker.id() == *id).context("somebody else has a job")?;
            for turn in 0..PER_JOB {
                let start = Instant::now();
                timeout(PATIENCE, self.release(worker, *job)).await.context("a release took too long")??;
                let took = start.elapsed();
                let start = Instant::now();
                self.refusal(worker, *job).await?;
                if turn > 0 && whole.count() < releases {
                    whole.add(took);
                    refused.add(start.elapsed());
                }
            }
        }
        Ok((whole, refused))
    }

    fn request(&self, worker: &Minted, job: JobId) -> KeyRequest {
        worker.request(&self.chain, job, self.app, self.key)
    }

    /// All are asked at once, and the first parts that are enough make the key.
    async fn release(&self, worker: &Minted, job: JobId) -> Result<()> {
        let (pending, signed) = worker.ask(self.request(worker, job))?;
        let asked = self.gatekeepers.iter().map(|(id, host)| self.part(&pending, &signed, *id, host));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut parts, threshold) = (Vec::new(), self.sharing.threshold() as usize);
        while parts.len() < threshold {
            parts.push(asked.next().await.context("the gatekeepers are too few")??);
        }
        combine_app_key(&self.sharing, self.app, APP_KEY_VERSION, &parts)?;
        Ok(())
    }

    async fn part(
        &self,
        pending: &PendingRequest,
        signed: &SignedKeyRequest,
        id: GatekeeperId,
        host: &Host,
    ) -> Result<VerifiedPartial> {
        loop {
            match host.key(signed).await {
                Ok(reply) => return Ok(pending.open(&self.sharing, id, &reply)?),
                Err(error) if error.is_transient() => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A request in another worker's name, until as many have refused it as a key takes parts.
    async fn refusal(&self, worker: &Minted, job: JobId) -> Result<()> {
        let signed = worker.sign(KeyRequest { worker: WorkerId([0; 32]), ..self.request(worker, job) });
        let mut asked: FuturesUnordered<_> = self.gatekeepers.iter().map(|(_, host)| host.key(&signed)).collect();
        for _ in 0..self.sharing.threshold() {
            match asked.next().await.context("the gatekeepers are too few")? {
                Err(HostError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => bail!("a gatekeeper gave a part for a false signature"),
            }
        }
        Ok(())
    }

    /// Gives the chain a sign of life of each worker, if the last was long ago.
    async fn beat(&self, last: &mut Instant) -> Result<()> {
        if last.elapsed() > BEAT {
            try_join_all(self.workers.iter().map(|worker| worker.beat(&self.chain))).await?;
            *last = Instant::now();
        }
        Ok(())
    }

    /// Gets no more jobs.
    async fn stand_back(&self) -> Result<()> {
        let operator = self.workers.first().context("there are workers")?.operator();
        let drain = self.workers.iter().map(|worker| call::drain(worker.id())).collect();
        self.chain.submit(operator, call::batch_all(drain)).await?;
        Ok(())
    }
}
