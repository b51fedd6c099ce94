//! The parts of keys that this gatekeeper gives: to whom, how often, and what it says of it on chain.

use codec::{Decode, Encode};
use ed25519_dalek::{Signer, SigningKey};
use phala_attestation::{Measurement, Role};
use phala_enclave::{
    chain::{
        Block, Chain, ChainApp, ChainError, ChainJob, ChainWorker, app_key, job_key, sealing_claim_key, time_key,
        worker_key,
    },
    host::{lock, refusal},
    text::{Public, text},
};
use phala_keys::{Facts, Refused, SealingFacts};
use phala_primitives::{
    GatekeeperId, Hash, JobId,
    attestation::{Class, SealingClaim},
    gatekeeper::{
        APP_KEY_VERSION, KeyRequest, RELEASE_INTERVAL, ReleasedKey, Releases, SealingKeyRequest, SignedReleases,
    },
    job::JobStatus,
    worker::WorkerStatus,
};
use phala_protocol::Refusal;
use sha2::{Digest, Sha256};
use sp_crypto_hashing::{blake2_128, twox_128};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use crate::board::{Epochs, Reader};

/// How many parts one enclave gets in [`WINDOW`]: each job needs two, and more when parts are lost on their way.
const MOST_PER_ASKER: usize = 64;

/// How many of them for one assignment or claim: one for each key, and some that were lost on their way. Whoever has a job starts it as
/// often as he likes, and must not use up what others' jobs need.
const MOST_PER_REASON: usize = 6;

/// See [`MOST_PER_ASKER`].
const WINDOW: Duration = Duration::from_secs(60);

/// How many enclaves' requests are remembered for that. Where they are more, the longest silent one is forgotten.
const MOST_ASKERS: usize = 4096;

/// The most answers of which the chain has not heard yet: no part is given beyond.
const MOST_UNLOGGED: usize = 4096;

/// For how many finalized blocks the chain may not have heard of an answer: time for several entries of the log. No part is given beyond.
const MOST_BLOCKS_UNLOGGED: u32 = 4 * RELEASE_INTERVAL;

/// How many parts are sealed as given before they are: no answer waits until the host has stored something, and an enclave that
/// is killed has given no more than it knows of when it starts again.
const RESERVED: u64 = 128;

/// What a gatekeeper says of a request that it does not answer.
pub(crate) struct RefusedText(pub Refused);

/// Fixed sentences with numbers.
impl Public for RefusedText {}

impl std::fmt::Display for RefusedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<RefusedText> for Refusal {
    fn from(refused: RefusedText) -> Self {
        // A gatekeeper that is behind the worker's view of the chain will know later.
        refusal(!matches!(refused.0, Refused::Signature | Refused::Chain | Refused::ReplyKey), text!(refused))
    }
}

/// What the pallet keeps of an image.
#[derive(Decode)]
struct Image {
    role: Role,
    #[expect(dead_code, reason = "it is in the encoding")]
    version: u32,
}

/// Where the `attestation` pallet stores an entry of a map.
fn attestation_key(name: &str, key: &impl Encode) -> Vec<u8> {
    let key = key.encode();
    [&twox_128(b"Attestation")[..], &twox_128(name.as_bytes()), &blake2_128(&key), &key].concat()
}

/// What the finalized block `at` says about a request.
///
/// # Errors
/// When it cannot be read, or says that nobody should get this key, whatever else is asked.
pub(crate) async fn facts(chain: &dyn Chain, at: Block, request: &KeyRequest) -> Result<Facts, Refusal> {
    let unreadable = |error: ChainError| refusal(true, text!("the chain could not be read: ", error));
    let reader = Reader { chain, at };
    let job = reader.get::<ChainJob>(job_key(request.job), "job").await.map_err(unreadable)?;
    let Some(job) = job else { return Err(RefusedText(Refused::Assignment).into()) };
    let JobStatus::Assigned(assignment) = job.status else { return Err(RefusedText(Refused::Assignment).into()) };
    // Before more is read for somebody who has nothing to ask for.
    if at.number > assignment.due || assignment.worker != request.worker || job.attempts != request.attempt {
        return Err(RefusedText(Refused::Assignment).into());
    }
    if job.app != request.app {
        return Err(RefusedText(Refused::App).into());
    }
    let worker = reader.get::<ChainWorker>(worker_key(&assignment.worker), "worker").await.map_err(unreadable)?;
    let Some(worker) = worker else { return Err(RefusedText(Refused::Assignment).into()) };
    if worker.status == WorkerStatus::Cordoned {
        return Err(RefusedText(Refused::Verdict).into());
    }
    if !is_good(&reader, worker.classes(), &worker.measurement).await.map_err(unreadable)? {
        return Err(RefusedText(Refused::Verdict).into());
    }
    let now = now(&reader).await.map_err(unreadable)?;
    let app = reader.get::<ChainApp>(app_key(&job.app), "app").await.map_err(unreadable)?;
    if app.is_none() {
        return Err(RefusedText(Refused::App).into());
    }
    let epochs = Epochs::read(&reader).await.map_err(unreadable)?;
    Ok(Facts {
        genesis_hash: chain.genesis_hash(),
        job: request.job,
        worker: assignment.worker,
        attempt: job.attempts,
        app: job.app,
        version: APP_KEY_VERSION,
        now,
        verdict_expires: worker.verdict_expires,
        epochs: epochs.current.map(|current| (epochs.oldest, current)),
    })
}

/// What the finalized block `at` says about a request for a sealing key.
///
/// # Errors
/// As [`facts`].
pub(crate) async fn sealing_facts(
    chain: &dyn Chain,
    at: Block,
    request: &SealingKeyRequest,
) -> Result<SealingFacts, Refusal> {
    let unreadable = |error: ChainError| refusal(true, text!("the chain could not be read: ", error));
    let reader = Reader { chain, at };
    let key = sealing_claim_key(&request.claimant);
    let claim = reader.get::<SealingClaim>(key, "claim to a sealing key").await.map_err(unreadable)?;
    let Some(claim) = claim else { return Err(RefusedText(Refused::Claim).into()) };
    let now = now(&reader).await.map_err(unreadable)?;
    // Before more is read for somebody who has nothing to ask for.
    if claim.key != request.key || !claim.counts(now) {
        return Err(RefusedText(Refused::Claim).into());
    }
    if !is_good(&reader, claim.classes(), &claim.key.measurement).await.map_err(unreadable)? {
        return Err(RefusedText(Refused::Claim).into());
    }
    Ok(SealingFacts { genesis_hash: chain.genesis_hash(), now, claim })
}

/// Whether the image is allowed for workers, and none of the classes declared broken.
async fn is_good(reader: &Reader<'_>, classes: [Class; 3], measurement: &Measurement) -> Result<bool, ChainError> {
    for class in classes {
        if reader.get::<u64>(attestation_key("Compromised", &class), "broken class").await?.is_some() {
            return Ok(false);
        }
    }
    let image = reader.get::<Image>(attestation_key("Images", measurement), "image").await?;
    Ok(image.is_some_and(|image| image.role == Role::Worker))
}

/// The chain's time, in seconds since the Unix epoch. On a chain without a clock everything is over.
async fn now(reader: &Reader<'_>) -> Result<u64, ChainError> {
    Ok(reader.get::<u64>(time_key(), "time").await?.map_or(u64::MAX, |ms| ms / 1000))
}

/// What was given, and what of it the chain does not know yet.
pub(crate) struct Log {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By who asked.
    recent: BTreeMap<[u8; 32], VecDeque<Given>>,
    /// How many parts earlier processes may have given. Until the chain has as many, nothing is given.
    before: u64,
    /// How many the chain has.
    logged: u64,
    /// What this process gave and the chain does not have, in order.
    unlogged: Vec<Unlogged>,
    /// How many are sealed as given: as many may be, with those before.
    reserved: u64,
    /// What was last said to the chain.
    said: Option<Said>,
    released: u64,
    refused: u64,
}

impl State {
    /// How many parts were given, or may have been.
    fn given(&self) -> u64 {
        self.before.max(self.logged).saturating_add(self.unlogged.len() as u64)
    }
}

/// What was given, and the finalized block for which it was.
struct Unlogged {
    at: u32,
    key: ReleasedKey,
}

/// A part that somebody got: when, and for which assignment; `None` for a claim.
struct Given {
    at: Duration,
    assignment: Option<(JobId, u32)>,
}

struct Said {
    /// From which number on.
    first: u64,
    /// How many of the unlogged; none where it is what earlier processes may have given.
    count: usize,
    /// What the chain's record says once it has it.
    expected: Hash,
}

/// What the chain has of a gatekeeper's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Decode)]
pub(crate) struct Logged {
    count: u64,
    hash: Hash,
}

/// The chain's record of it.
#[derive(Default, Decode)]
pub(crate) struct Record {
    pub logged: Logged,
    /// The block of the newest entry.
    pub since: u32,
}

impl Log {
    /// Of a gatekeeper that may have given `before` parts in earlier processes. Gives none before it has [heard](Self::heard) from the
    /// chain and some are [reserved](Self::reserved).
    pub(crate) fn new(before: u64) -> Self {
        Self { state: Mutex::new(State { before, ..State::default() }) }
    }

    /// Learns what the finalized chain has. Returns how many parts to seal as given in all, if it is time to reserve more: not before
    /// the chain has what earlier processes may have given.
    pub(crate) fn heard(&self, logged: Logged) -> Option<u64> {
        let mut state = lock(&self.state);
        // By the hash: the number alone may come from what an earlier process said, and the host has kept back.
        if let Some(said) = state.said.take_if(|said| said.expected == logged.hash) {
            let count = said.count.min(state.unlogged.len());
            state.unlogged.drain(..count);
        }
        state.logged = logged.count;
        let given = state.given();
        let are_few = state.reserved.saturating_sub(given) < RESERVED / 2;
        (logged.count >= state.before && are_few).then(|| given.saturating_add(RESERVED))
    }

    /// Learns that so many parts are sealed as given.
    pub(crate) fn reserved(&self, releases: u64) {
        lock(&self.state).reserved = releases;
    }

    /// Notes that a part of `key` is granted at `now`, for what the finalized block `at` says.
    ///
    /// # Errors
    /// When no more are reserved, who asked has had too many, or the chain has not heard of too many or for too long.
    pub(crate) fn admit(&self, key: ReleasedKey, now: Duration, at: Block) -> Result<(), Refusal> {
        let (asker, assignment) = match &key {
            ReleasedKey::App(request) => (request.worker.0, Some((request.job, request.attempt))),
            ReleasedKey::Sealing(request) => (request.claimant, None),
        };
        let mut state = lock(&self.state);
        let oldest = state.unlogged.first().map(|unlogged| unlogged.at);
        if oldest.is_some_and(|oldest| at.number > oldest.saturating_add(MOST_BLOCKS_UNLOGGED)) {
            return Err(refusal(
                true,
                "the chain has had no log of what was given for long; nothing is given meanwhile",
            ));
        }
        if state.given() >= state.reserved {
            return Err(refusal(
                true,
                "no more may be given before the next block, or before the chain has the log of before",
            ));
        }
        if state.unlogged.len() >= MOST_UNLOGGED {
            return Err(refusal(true, "the chain takes no log of what was given; nothing is given meanwhile"));
        }
        if !state.recent.contains_key(&asker) && state.recent.len() >= MOST_ASKERS {
            let longest = state.recent.iter().min_by_key(|(_, times)| times.back().map(|given| given.at));
            if let Some(longest) = longest.map(|(asker, _)| *asker) {
                state.recent.remove(&longest);
            }
        }
        let times = state.recent.entry(asker).or_default();
        while times.front().is_some_and(|given| now.saturating_sub(given.at) >= WINDOW) {
            times.pop_front();
        }
        if times.iter().filter(|given| given.assignment == assignment).count() >= MOST_PER_REASON {
            return Err(refusal(true, "keys were asked for this assignment or claim too often; try again in a minute"));
        }
        if times.len() >= MOST_PER_ASKER {
            return Err(refusal(true, "this enclave has asked for too many keys; try again in a minute"));
        }
        times.push_back(Given { at: now, assignment });
        state.unlogged.push(Unlogged { at: at.number, key });
        state.released = state.released.saturating_add(1);
        Ok(())
    }

    /// Notes a refusal.
    pub(crate) fn refused(&self) {
        let mut state = lock(&self.state);
        state.refused = state.refused.saturating_add(1);
    }

    /// How many were given, and refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.released, state.refused)
    }

    /// What to say to the chain, which has `logged` of this gatekeeper's so far, as was [heard](Self::heard). The same again until it has
    /// it. What earlier processes may have given comes first, as a number: nobody knows the requests any more.
    pub(crate) fn releases(
        &self,
        logged: Logged,
        genesis_hash: &Hash,
        gatekeeper: GatekeeperId,
        signing: &SigningKey,
    ) -> Option<SignedReleases> {
        let mut state = lock(&self.state);
        let lost = u32::try_from(state.before.saturating_sub(logged.count)).ok()?;
        let count = match &state.said {
            _ if lost > 0 => 0,
            Some(said) if said.first == logged.count => said.count,
            _ => state.unlogged.len(),
        };
        let keys: Vec<&ReleasedKey> = state.unlogged.get(..count)?.iter().map(|unlogged| &unlogged.key).collect();
        let digest = Sha256::digest(keys.encode()).into();
        let count_of_all = lost.saturating_add(u32::try_from(count).ok()?);
        if count_of_all == 0 {
            return None;
        }
        let releases =
            Releases { genesis_hash: *genesis_hash, gatekeeper, first: logged.count, count: count_of_all, digest };
        let expected = Sha256::digest((logged.hash, &releases).encode()).into();
        state.said = Some(Said { first: logged.count, count, expected });
        let signature = signing.sign(&releases.signed_bytes()).to_bytes();
        Some(SignedReleases { releases, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::value_key;
    use futures_lite::future::block_on;
    use phala_enclave::testing::{FakeChain, registered};
    use phala_keys::{Granted, VerifiedRequest};
    use phala_primitives::{
        AppId, Limits, WorkerId,
        attestation::SealingKeyId,
        gatekeeper::{NetworkKey, SignedKeyRequest, SignedRequest},
        job::{Assignment, Visibility},
    };

    const GENESIS: Hash = [1; 32];
    const APP: AppId = AppId([3; 32]);
    const JOB: JobId = 7;
    const EPOCH: u32 = 3;

    /// The block for which keys are asked, and its time in seconds.
    const AT: Block = Block { number: 20, hash: [5; 32] };
    const NOW: u64 = 1_700_000_000;

    fn request(worker: u8, job: u64) -> KeyRequest {
        KeyRequest {
            genesis_hash: GENESIS,
            worker: WorkerId([worker; 32]),
            job,
            attempt: 1,
            app: APP,
            version: APP_KEY_VERSION,
            key: NetworkKey::Root,
            reply_key: [4; 32],
        }
    }

    fn signing() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    /// Who asks the chain's gatekeepers.
    fn worker() -> WorkerId {
        WorkerId(signing().verifying_key().to_bytes())
    }

    /// What the chain has that facts are read from.
    struct OnChain {
        job: Option<ChainJob>,
        worker: Option<ChainWorker>,
        /// The role of the worker's image.
        image: Option<Role>,
        broken: Option<Class>,
        app: Option<ChainApp>,
        now: Option<u64>,
        /// The oldest and the current one.
        epochs: (u32, Option<u32>),
    }

    impl OnChain {
        /// The worker has the job, in the last block in which it may, and is asked about in the last second of its verdict.
        fn good() -> Self {
            let assignment = Assignment { worker: worker(), price: 1, assigned_at: 10, due: AT.number };
            let job = ChainJob {
                owner: [2; 32],
                app: APP,
                limits: Limits::DEFAULT,
                max_price: 1,
                deadline: 100,
                redundancy: 1,
                secret_commitment: [0; 32],
                submitted_at: 9,
                submitted_at_ms: 0,
                attempts: 1,
                status: JobStatus::Assigned(assignment),
            };
            let app = ChainApp {
                publisher: [2; 32],
                code_hash: [0; 32],
                code_bytes: 1,
                manifest_hash: [0; 32],
                visibility: Visibility::Public,
                retired: false,
            };
            Self {
                job: Some(job),
                worker: Some(ChainWorker { verdict_expires: NOW + 1, ..registered(10) }),
                image: Some(Role::Worker),
                broken: None,
                app: Some(app),
                now: Some(NOW),
                epochs: (EPOCH, Some(EPOCH)),
            }
        }

        fn job(&mut self) -> &mut ChainJob {
            self.job.as_mut().unwrap()
        }

        fn worker(&mut self) -> &mut ChainWorker {
            self.worker.as_mut().unwrap()
        }

        fn assignment(&mut self) -> &mut Assignment<u32> {
            match &mut self.job().status {
                JobStatus::Assigned(assignment) => assignment,
                _ => panic!("it is assigned"),
            }
        }

        /// Whether the worker gets the epoch's key.
        fn decide(&self) -> Result<(), Refusal> {
            let chain = FakeChain::new(GENESIS);
            let store = |key: Vec<u8>, value: Option<Vec<u8>>| {
                if let Some(value) = value {
                    chain.store(key, value);
                }
            };
            let (id, measurement) = (worker(), registered(0).measurement);
            store(job_key(JOB), self.job.as_ref().map(Encode::encode));
            store(worker_key(&id), self.worker.as_ref().map(Encode::encode));
            store(app_key(&APP), self.app.as_ref().map(Encode::encode));
            store(attestation_key("Images", &measurement), self.image.map(|role| (role, 1u32).encode()));
            if let Some(class) = self.broken {
                store(attestation_key("Compromised", &class), Some(NOW.encode()));
            }
            let now = self.now.map(|now| (now * 1000).encode());
            store(time_key(), now);
            store(value_key("OldestEpoch"), Some(self.epochs.0.encode()));
            store(value_key("CurrentEpoch"), self.epochs.1.map(|current| current.encode()));

            let request = KeyRequest { worker: id, key: NetworkKey::Epoch(EPOCH), ..request(0, JOB) };
            let signature = signing().sign(&request.signed_bytes()).to_bytes();
            let request = VerifiedRequest::new(&SignedKeyRequest { request, signature }).unwrap();
            let facts = block_on(facts(&chain, AT, request.request()))?;
            Granted::new(request, &facts).map(drop).map_err(|refused| RefusedText(refused).into())
        }
    }

    #[test]
    fn who_has_the_job_on_chain_is_granted_the_key_and_nobody_else() {
        assert_eq!(OnChain::good().decide(), Ok(()));
        let mut draining = OnChain::good();
        draining.worker().status = WorkerStatus::Draining;
        assert_eq!(draining.decide(), Ok(()), "it ends the jobs that it has");

        type Row = (&'static str, fn(&mut OnChain), Refused);
        let rows: [Row; 19] = [
            ("no job", |chain| chain.job = None, Refused::Assignment),
            ("a queued job", |chain| chain.job().status = JobStatus::Queued, Refused::Assignment),
            ("an overdue assignment", |chain| chain.assignment().due = AT.number - 1, Refused::Assignment),
            ("another worker", |chain| chain.assignment().worker = WorkerId([9; 32]), Refused::Assignment),
            ("another attempt", |chain| chain.job().attempts = 2, Refused::Assignment),
            ("another app", |chain| chain.job().app = AppId([9; 32]), Refused::App),
            ("a worker that is gone", |chain| chain.worker = None, Refused::Assignment),
            ("a cordoned worker", |chain| chain.worker().status = WorkerStatus::Cordoned, Refused::Verdict),
            ("a broken image", |chain| chain.broken = Some(chain.worker().classes()[0]), Refused::Verdict),
            ("a broken platform", |chain| chain.broken = Some(chain.worker().classes()[1]), Refused::Verdict),
            ("a broken family", |chain| chain.broken = Some(chain.worker().classes()[2]), Refused::Verdict),
            ("a forbidden image", |chain| chain.image = None, Refused::Verdict),
            ("a gatekeeper's image", |chain| chain.image = Some(Role::Gatekeeper), Refused::Verdict),
            ("an app that is gone", |chain| chain.app = None, Refused::App),
            ("an expired verdict", |chain| chain.worker().verdict_expires = NOW, Refused::Verdict),
            ("a chain without a clock", |chain| chain.now = None, Refused::Verdict),
            ("an ended epoch", |chain| chain.epochs = (EPOCH + 1, Some(EPOCH + 1)), Refused::Epoch(EPOCH)),
            ("an epoch to come", |chain| chain.epochs = (0, Some(EPOCH - 1)), Refused::Epoch(EPOCH)),
            ("no epoch yet", |chain| chain.epochs = (0, None), Refused::Epoch(EPOCH)),
        ];
        for (what, change, refused) in rows {
            let mut chain = OnChain::good();
            change(&mut chain);
            assert_eq!(chain.decide(), Err(Refusal::from(RefusedText(refused))), "{what}");
        }
    }

    /// Whether who has `claim` on chain, and an image with this role, gets the sealing key.
    fn decide_claim(claim: Option<SealingClaim>, image: Option<Role>, broken: Option<Class>) -> Result<(), Refusal> {
        let chain = FakeChain::new(GENESIS);
        let claimed = sealing_claim();
        let request = SealingKeyRequest {
            genesis_hash: GENESIS,
            claimant: signing().verifying_key().to_bytes(),
            key: claimed.key,
            reply_key: [4; 32],
        };
        if let Some(claim) = claim {
            chain.store(sealing_claim_key(&request.claimant), claim.encode());
        }
        if let Some(role) = image {
            chain.store(attestation_key("Images", &claimed.key.measurement), (role, 1u32).encode());
        }
        if let Some(class) = broken {
            chain.store(attestation_key("Compromised", &class), NOW.encode());
        }
        chain.store(time_key(), (NOW * 1000).encode());
        let signature = signing().sign(&request.signed_bytes()).to_bytes();
        let request = VerifiedRequest::new(&SignedRequest { request, signature }).unwrap();
        let facts = block_on(sealing_facts(&chain, AT, request.request()))?;
        Granted::for_sealing(request, &facts).map(drop).map_err(|refused| RefusedText(refused).into())
    }

    fn sealing_claim() -> SealingClaim {
        let phala_primitives::worker::Worker { measurement, platform, family, .. } = registered(0);
        let key = SealingKeyId { measurement, platform, version: 1 };
        SealingClaim { key, family, block_number: AT.number, until: NOW }
    }

    #[test]
    fn who_has_a_claim_on_chain_is_granted_the_sealing_key_and_nobody_else() {
        let good = sealing_claim();
        let worker = Some(Role::Worker);
        assert_eq!(decide_claim(Some(good), worker, None), Ok(()));
        let old = SealingClaim { until: NOW - 1, ..good };
        let platform = phala_attestation::PlatformId([9; 32]);
        let elsewhere = SealingClaim { key: SealingKeyId { platform, ..good.key }, ..good };
        let replaced = SealingClaim { key: SealingKeyId { version: 0, ..good.key }, ..good };
        let broken = good.classes().map(|class| (Some(good), worker, Some(class)));
        let rows = [None, Some(old), Some(elsewhere), Some(replaced)].map(|claim| (claim, worker, None));
        let images = [(Some(good), None, None), (Some(good), Some(Role::Gatekeeper), None)];
        for (claim, image, broken) in rows.into_iter().chain(images).chain(broken) {
            let refused = Err(Refusal::from(RefusedText(Refused::Claim)));
            assert_eq!(decide_claim(claim, image, broken), refused, "{claim:?}, {image:?}, {broken:?}");
        }
    }

    /// Of a gatekeeper that may give as many as it likes.
    fn unbounded() -> Log {
        let log = Log::new(0);
        log.reserved(u64::MAX);
        log
    }

    fn give(log: &Log, request: &KeyRequest, now: u64) -> Result<(), Refusal> {
        log.admit(request.clone().into(), Duration::from_secs(now), AT)
    }

    fn say(log: &Log, logged: Logged) -> Option<Releases> {
        log.heard(logged);
        let me = GatekeeperId(signing().verifying_key().to_bytes());
        log.releases(logged, &GENESIS, me, &signing()).map(|signed| signed.releases)
    }

    /// What the chain has after it took `releases`.
    fn taken(logged: Logged, releases: &Releases) -> Logged {
        let count = logged.count + u64::from(releases.count);
        Logged { count, hash: Sha256::digest((logged.hash, releases).encode()).into() }
    }

    #[test]
    fn a_worker_gets_so_many_parts_in_a_minute_and_others_are_not_kept_from_theirs() {
        let log = unbounded();
        for job in 0..MOST_PER_ASKER as u64 {
            give(&log, &request(1, job), 10).unwrap();
        }
        assert!(give(&log, &request(1, 99), 69).unwrap_err().retry);
        give(&log, &request(2, 99), 69).unwrap();
        give(&log, &request(1, 99), 70).unwrap();
        assert_eq!(log.counts().0, MOST_PER_ASKER as u64 + 2);
    }

    #[test]
    fn one_assignment_does_not_use_up_what_others_need() {
        let log = unbounded();
        for _ in 0..MOST_PER_REASON {
            give(&log, &request(1, 7), 0).unwrap();
        }
        assert!(give(&log, &request(1, 7), 59).unwrap_err().retry);
        give(&log, &KeyRequest { attempt: 2, ..request(1, 7) }, 59).unwrap();
        give(&log, &request(1, 8), 59).unwrap();
        give(&log, &request(1, 7), 60).unwrap();
    }

    #[test]
    fn nothing_is_given_while_the_chain_does_not_hear_of_it() {
        let log = unbounded();
        let workers = (MOST_UNLOGGED / MOST_PER_ASKER) as u8;
        for worker in 0..workers {
            (0..MOST_PER_ASKER as u64).for_each(|job| give(&log, &request(worker, job), 0).unwrap());
        }
        assert!(give(&log, &request(workers, 0), 0).unwrap_err().retry);
        let releases = say(&log, Logged::default()).unwrap();
        assert_eq!(releases.count as usize, MOST_UNLOGGED);
        assert!(say(&log, taken(Logged::default(), &releases)).is_none());
        give(&log, &request(workers, 0), 0).unwrap();
    }

    #[test]
    fn nothing_is_given_when_the_chain_has_not_heard_of_it_for_long() {
        let log = unbounded();
        let give = |job, number| log.admit(request(1, job).into(), Duration::ZERO, Block { number, ..AT });
        give(0, 10).unwrap();
        give(1, 10 + MOST_BLOCKS_UNLOGGED).unwrap();
        assert!(give(2, 11 + MOST_BLOCKS_UNLOGGED).unwrap_err().retry);
        let releases = say(&log, Logged::default()).unwrap();
        assert!(give(2, 11 + MOST_BLOCKS_UNLOGGED).is_err(), "what is said is not on chain yet");
        log.heard(taken(Logged::default(), &releases));
        give(2, 11 + MOST_BLOCKS_UNLOGGED).unwrap();
    }

    #[test]
    fn no_more_is_given_than_is_sealed_as_given() {
        let log = Log::new(0);
        assert!(give(&log, &request(200, 0), 0).unwrap_err().retry);
        assert_eq!(log.heard(Logged::default()), Some(RESERVED));
        assert!(give(&log, &request(200, 0), 0).is_err(), "it is not sealed yet");
        log.reserved(RESERVED);
        let mut wanted = Vec::new();
        for worker in 0..RESERVED as u8 {
            give(&log, &request(worker, 0), 0).unwrap();
            wanted.extend(log.heard(Logged::default()));
        }
        assert!(give(&log, &request(200, 0), 0).unwrap_err().retry);
        let half = RESERVED / 2;
        assert_eq!(wanted, (half + 1..=RESERVED).map(|given| given + RESERVED).collect::<Vec<_>>());
        // What the chain has heard of is given all the same.
        let releases = say(&log, Logged::default()).unwrap();
        assert_eq!(log.heard(taken(Logged::default(), &releases)), Some(2 * RESERVED));
        assert!(give(&log, &request(200, 0), 0).is_err());
        log.reserved(2 * RESERVED);
        give(&log, &request(200, 0), 0).unwrap();
    }

    #[test]
    fn what_a_killed_enclave_may_have_given_is_logged_before_more_is_given() {
        let log = Log::new(RESERVED);
        assert_eq!(log.heard(Logged::default()), None);
        log.reserved(RESERVED);
        assert!(give(&log, &request(1, 0), 0).unwrap_err().retry);
        let all = say(&log, Logged::default()).unwrap();
        assert_eq!((all.first, u64::from(all.count)), (0, RESERVED));
        assert_eq!(say(&log, Logged::default()), Some(all.clone()));
        // The killed one had said something that the host has kept back until now.
        let logged = taken(Logged::default(), &Releases { count: 5, digest: [9; 32], ..all });
        let rest = say(&log, logged).unwrap();
        assert_eq!((rest.first, u64::from(rest.count)), (5, RESERVED - 5));
        assert!(give(&log, &request(1, 0), 0).is_err());
        let logged = taken(logged, &rest);
        assert_eq!(log.heard(logged), Some(2 * RESERVED));
        log.reserved(2 * RESERVED);
        give(&log, &request(1, 0), 0).unwrap();
        let own = say(&log, logged).unwrap();
        assert_eq!((own.first, own.count), (RESERVED, 1));
        assert!(say(&log, taken(logged, &own)).is_none());
    }

    #[test]
    fn the_same_is_said_until_the_chain_has_exactly_that() {
        let log = unbounded();
        assert!(say(&log, Logged::default()).is_none());
        give(&log, &request(1, 0), 0).unwrap();
        let first = say(&log, Logged::default()).unwrap();
        give(&log, &request(1, 1), 0).unwrap();
        assert_eq!(say(&log, Logged::default()), Some(first.clone()), "what comes meanwhile waits");
        // Another process of this gatekeeper said something else before, which the host has kept back until now.
        let other = Releases { count: 5, digest: [9; 32], ..first.clone() };
        let logged = taken(Logged::default(), &other);
        let again = say(&log, logged).unwrap();
        assert_eq!((again.first, again.count), (5, 2), "nothing is taken for logged that is not");
        let logged = taken(logged, &again);
        assert!(say(&log, logged).is_none());
    }
}
