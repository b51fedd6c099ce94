//! Who asks gatekeepers for app keys: their real hosts, with requests that the test signs.

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, try_join_all};
use phala_attestation::{Measurement, Role};
use phala_keys::{AppKey, OpenError, VerifiedPartial, VerifiedSharing, combine_app_key};
use phala_primitives::{
    AppId, GatekeeperId, JobId, Limits, PHA,
    gatekeeper::{APP_KEY_VERSION, KeyRequest, NetworkKey, SignedKeyRequest},
    job::{JobStatus, Visibility},
    units::Balance,
};
use phala_sdk::{
    NetworkKeys, Signer,
    chain::{Chain, Job, State, call},
    encryption::{Purpose, encrypt_to_app},
    host::{Host, HostError},
    job::{Jobs, Store},
};
use phala_tests::{
    Network, guest,
    lying_host::eventually,
    minted::{Minted, gatekeepers},
    relay::{Deed, Relay, What},
};
use std::fs;

const NOT_ITS_JOB: &str = "the job is not assigned to this worker in this attempt";
const NOT_SIGNED: &str = "the request is not signed by its enclave";
const VERDICT_OVER: &str = "the worker's verdict is over";

/// For how long the verdict of the worker lasts that has the job, in seconds.
const VERDICT: u64 = 180;

/// How often it gives a sign of life, in seconds: it loses the job when the chain has none for a minute.
const BEAT: u64 = 15;

/// Workers of the test's own, and a job of an app.
pub struct Askers {
    chain: Chain,
    user: Signer,
    app: AppId,
    job: JobId,
    /// The image of the real workers.
    image: Measurement,
    /// Gets the job: nobody else works for so little.
    worker: Minted,
    /// Is registered, and does not get the job.
    idle: Minted,
    /// Is not registered.
    stranger: Minted,
}

/// A request that was granted.
pub struct Granted {
    request: SignedKeyRequest,
    /// When its worker's verdict ends, in seconds since the Unix epoch.
    until: u64,
}

impl Askers {
    /// Publishes an app and submits a job of it, for so little that no real worker takes it. Nobody else is registered yet.
    pub async fn new(network: &Network, chain: &Chain) -> Result<Self> {
        let user = Signer::from_uri("//Ferdie")?;
        let jobs = Jobs::new(chain.clone(), Store::open(&network.path().join("askers"))?);
        let code = fs::read(guest("echo"))?;
        let app = Box::pin(jobs.publish(&user, &code, Visibility::Public, None)).await?.app;
        let state = chain.best().await?;
        // Longer than the worker's verdict.
        let limits = Limits { wall_ms: 600_000, ..Limits::DEFAULT };
        let deadline = state.block().number + 900;
        let submit = call::submit_job(app, limits, PHA / 1000, deadline, 1, [1; 32]);
        let job = Box::pin(chain.submit(&user, submit)).await?.job.context("a job was submitted")?;
        let images = chain.read(async |state| state.images().await).await?;
        let image = images.iter().find(|(_, image)| image.role == Role::Worker).context("workers have an image")?.0;
        let [worker, idle, stranger] = [101, 102, 103].map(|number| Minted::new(number, "//Eve"));
        Ok(Self { chain: chain.clone(), user, app, job, image, worker: worker?, idle: idle?, stranger: stranger? })
    }

    /// The control: who is given the job gets a part of the app's key from every gatekeeper, and any three of them are the key.
    pub async fn who_has_the_job_gets_the_apps_key(&self) -> Result<Granted> {
        let until = self.chain.read(async |state| state.timestamp_ms().await).await? / 1000 + VERDICT;
        let (worker, idle) = (self.register(&self.worker, until, 1), self.register(&self.idle, u64::MAX, PHA));
        tokio::try_join!(worker, idle)?;
        eventually("the job is assigned", 60, async || {
            let status = self.found(&self.chain.finalized().await?).await?.status;
            let is_assigned =
                matches!(status, JobStatus::Assigned(assignment) if assignment.worker == self.worker.id());
            Ok(is_assigned.then_some(()))
        })
        .await?;
        let keys = NetworkKeys::read(&self.chain).await?.context("the network has keys")?;
        let (request, key) = self.key(NetworkKey::Epoch(keys.epoch)).await?;
        let mut file = Vec::new();
        encrypt_to_app(&mut &b"what is for the app"[..], self.app, &keys, &mut file)?;
        ensure!(age::decrypt(&key.inputs(Purpose::File, keys.epoch)?, &file)? == b"what is for the app");
        self.key(NetworkKey::Root).await?;
        self.worker.beat(&self.chain).await?;
        Ok(Granted { request, until })
    }

    /// A key that is no worker's, a worker that has not the job, and one that has it and asks for something else.
    pub async fn who_has_not_the_job_gets_nothing(&self) -> Result<()> {
        let request = self.request(NetworkKey::Root);
        for asker in [&self.stranger, &self.idle] {
            self.is_refused(&asker.ask(request.clone())?.1, NOT_ITS_JOB).await?;
            self.is_refused(&asker.sign(request.clone()), NOT_SIGNED).await?;
        }
        for (request, why) in [
            (KeyRequest { job: self.job + 1, ..request.clone() }, NOT_ITS_JOB),
            (KeyRequest { attempt: 2, ..request.clone() }, NOT_ITS_JOB),
            (KeyRequest { app: AppId([1; 32]), ..request.clone() }, "the job is of another app"),
            (KeyRequest { genesis_hash: [1; 32], ..request.clone() }, "the request is for another chain"),
            (KeyRequest { version: 1, ..request.clone() }, "the app's key has version 0"),
            (KeyRequest { key: NetworkKey::Epoch(99), ..request }, "the key of epoch 99 is not given"),
        ] {
            self.is_refused(&self.worker.ask(request)?.1, why).await?;
        }
        self.worker.beat(&self.chain).await
    }

    /// The host of the gatekeeper at `endpoint` changes requests and parts, and gives one in the place of another.
    pub async fn a_gatekeepers_host_cannot_change_requests_and_parts(
        &self,
        relay: &Relay,
        endpoint: &str,
    ) -> Result<()> {
        let gatekeepers = self.gatekeepers().await?;
        let (id, host) = gatekeepers.iter().find(|(_, host)| host.url() == endpoint).context("a gatekeeper")?;
        let sharing = self.sharing(NetworkKey::Root).await?;
        let ask = |what, deed| {
            relay.tamper(move |of, _| if of == what { deed } else { Deed::Pass });
            self.worker.ask(self.request(NetworkKey::Root))
        };
        for (what, deed) in
            [(What::KeyPart, Deed::Flip), (What::KeyPart, Deed::Replay), (What::KeyRequest, Deed::Replay)]
        {
            let (pending, signed) = ask(what, deed)?;
            let opened = pending.open(&sharing, *id, &host.key(&signed).await?);
            ensure!(matches!(opened, Err(OpenError::Closed { .. })), "{what:?}, {deed:?}: {opened:?}");
        }
        let (_, signed) = ask(What::KeyRequest, Deed::Flip)?;
        refuses(*id, host.key(&signed).await, NOT_SIGNED)?;
        relay.be_honest();
        Ok(())
    }

    /// Gets no more jobs, so that those of others go to others.
    pub async fn stand_back(&self) -> Result<()> {
        let operator = self.worker.operator();
        let drain = Box::pin(self.chain.submit(operator, call::drain(self.worker.id())));
        let deregister = Box::pin(self.chain.submit(operator, call::deregister(self.idle.id())));
        tokio::try_join!(drain, deregister)?;
        Ok(())
    }

    /// What was granted is replayed when the worker's verdict is over, when it has lost the job, and when it is gone.
    pub async fn nothing_is_given_once_verdict_or_assignment_is_over(&self, granted: &Granted) -> Result<()> {
        // The last sign of life comes before the verdict ends, and the job is lost a minute after it.
        let mut next = self.chain.finalized().await?.timestamp_ms().await? / 1000;
        while next + BEAT < granted.until {
            self.worker.beat(&self.chain).await?;
            next += BEAT;
            self.is_time(next).await?;
        }
        self.is_time(granted.until).await?;
        self.is_refused_by_now(&granted.request, VERDICT_OVER).await?;
        eventually("the worker loses the job, being silent", 120, async || {
            let job = self.chain.read(async |state| state.job(self.job).await).await?.context("the job is on chain")?;
            Ok((job.status == JobStatus::Queued).then_some(()))
        })
        .await?;
        self.is_refused_by_now(&granted.request, NOT_ITS_JOB).await?;
        let cancel = Box::pin(self.chain.submit(&self.user, call::cancel_job(self.job)));
        let deregister = call::deregister(self.worker.id());
        let deregister = Box::pin(self.chain.submit(self.worker.operator(), deregister));
        tokio::try_join!(cancel, deregister)?;
        self.is_refused(&granted.request, NOT_ITS_JOB).await
    }

    async fn register(&self, worker: &Minted, until: u64, price: Balance) -> Result<()> {
        let register = worker.registration(&self.chain, self.image, until, price).await?;
        Box::pin(self.chain.submit(worker.operator(), register)).await?;
        Ok(())
    }

    async fn found(&self, state: &State) -> Result<Job> {
        state.job(self.job).await?.context("the job is on chain")
    }

    /// Waits for a time, by the finalized chain's clock.
    async fn is_time(&self, seconds: u64) -> Result<()> {
        eventually("the chain's time", 120, async || {
            let now = self.chain.finalized().await?.timestamp_ms().await? / 1000;
            Ok((now >= seconds).then_some(()))
        })
        .await
    }

    fn request(&self, key: NetworkKey) -> KeyRequest {
        self.worker.request(&self.chain, self.job, self.app, key)
    }

    async fn sharing(&self, key: NetworkKey) -> Result<VerifiedSharing> {
        let sharing = self.chain.finalized().await?.sharing(key).await?;
        Ok(VerifiedSharing::new(&sharing.context("the key is shared")?)?)
    }

    /// The four gatekeepers, and their hosts.
    async fn gatekeepers(&self) -> Result<Vec<(GatekeeperId, Host)>> {
        let all = gatekeepers(&self.chain).await?;
        ensure!(all.len() == 4, "{} gatekeepers", all.len());
        Ok(all)
    }

    /// The app's key that comes from a network key, and the request for it. Each gatekeeper gives its part, maybe a block later.
    async fn key(&self, key: NetworkKey) -> Result<(SignedKeyRequest, AppKey)> {
        let sharing = self.sharing(key).await?;
        let (pending, signed) = self.worker.ask(self.request(key))?;
        let parts = self.gatekeepers().await?.into_iter().map(async |(id, host)| {
            let reply = eventually("a part of the app's key", 60, async || match host.key(&signed).await {
                Ok(reply) => Ok(Some(reply)),
                Err(error) if error.is_transient() => Ok(None),
                Err(error) => Err(error.into()),
            });
            anyhow::Ok(pending.open(&sharing, id, &reply.await?)?)
        });
        let parts = try_join_all(parts).await?;
        let combine = |parts: &[VerifiedPartial]| combine_app_key(&sharing, self.app, APP_KEY_VERSION, parts);
        ensure!(sharing.threshold() == 3 && combine(&parts[..2]).is_err(), "two parts are the key");
        let mut keys = Vec::new();
        for left_out in &parts {
            let is_in = |part: &&VerifiedPartial| part.gatekeeper() != left_out.gatekeeper();
            keys.push(combine(&parts.iter().filter(is_in).cloned().collect::<Vec<_>>())?);
        }
        let recipients: Vec<_> = keys.iter().map(|key| key.recipient().to_string()).collect();
        ensure!(recipients.iter().all(|recipient| *recipient == recipients[0]), "several keys: {recipients:?}");
        Ok((signed, keys.pop().context("there are gatekeepers")?))
    }

    /// Every gatekeeper refuses a request, for this reason.
    async fn is_refused(&self, request: &SignedKeyRequest, why: &str) -> Result<()> {
        let gatekeepers = self.gatekeepers().await?;
        let answers = join_all(gatekeepers.iter().map(|(_, host)| host.key(request))).await;
        gatekeepers.iter().zip(answers).try_for_each(|((id, _), answer)| refuses(*id, answer, why))
    }

    /// The same once every gatekeeper has seen what node 1 has.
    async fn is_refused_by_now(&self, request: &SignedKeyRequest, why: &str) -> Result<()> {
        eventually(why, 30, async || Ok(self.is_refused(request, why).await.ok())).await?;
        self.is_refused(request, why).await
    }
}

fn refuses<T>(gatekeeper: GatekeeperId, answer: Result<T, HostError>, why: &str) -> Result<()> {
    match answer {
        Err(HostError::Refused { message, .. }) if message == why => Ok(()),
        Err(error) => bail!("gatekeeper {gatekeeper} should say that {why}, and says: {error}"),
        Ok(_) => bail!("gatekeeper {gatekeeper} gave a part, though {why}"),
    }
}
