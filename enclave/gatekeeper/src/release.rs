//! The parts of app keys that this gatekeeper gives: to whom, how often, and what it says of it on chain.

use codec::{Decode, Encode};
use ed25519_dalek::{Signer, SigningKey};
use phala_attestation::{Measurement, Role};
use phala_enclave::{
    chain::{Block, Chain, ChainApp, ChainError, ChainJob, ChainWorker, app_key, job_key, worker_key},
    host::{lock, refusal},
    text::{Public, text},
};
use phala_keys::{Facts, Refused};
use phala_primitives::{
    GatekeeperId, Hash, JobId, WorkerId,
    gatekeeper::{APP_KEY_VERSION, KeyRequest, Releases, SignedReleases},
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

/// How many parts one worker gets in [`WINDOW`]: each job needs two, and more when parts are lost on their way.
const MOST_PER_WORKER: usize = 64;

/// How many of them for one assignment: one for each key, and some that were lost on their way. Whoever has a job starts it as often as
/// he likes, and must not use up what others' jobs need.
const MOST_PER_ASSIGNMENT: usize = 6;

/// See [`MOST_PER_WORKER`].
const WINDOW: Duration = Duration::from_secs(60);

/// How many workers' requests are remembered for that. Where they are more, the longest silent one is forgotten.
const MOST_WORKERS: usize = 4096;

/// The most answers of which the chain has not heard yet: no part is given beyond.
const MOST_UNLOGGED: usize = 4096;

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
    for class in worker.classes() {
        let broken =
            reader.get::<u64>(attestation_key("Compromised", &class), "broken class").await.map_err(unreadable)?;
        if broken.is_some() {
            return Err(RefusedText(Refused::Verdict).into());
        }
    }
    if !image_allowed(&reader, &worker.measurement).await.map_err(unreadable)? {
        return Err(RefusedText(Refused::Verdict).into());
    }
    let now = [twox_128(b"Timestamp"), twox_128(b"Now")].concat();
    let now_ms = reader.get::<u64>(now, "time").await.map_err(unreadable)?.unwrap_or(u64::MAX);
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
        now: now_ms / 1000,
        verdict_expires: worker.verdict_expires,
        epochs: epochs.current.map(|current| (epochs.oldest, current)),
    })
}

async fn image_allowed(reader: &Reader<'_>, measurement: &Measurement) -> Result<bool, ChainError> {
    let image = reader.get::<Image>(attestation_key("Images", measurement), "image").await?;
    Ok(image.is_some_and(|image| image.role == Role::Worker))
}

/// What was given, and what of it the chain does not know yet.
#[derive(Default)]
pub(crate) struct Log {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    recent: BTreeMap<WorkerId, VecDeque<Given>>,
    unlogged: Vec<KeyRequest>,
    /// What was last said to the chain.
    said: Option<Said>,
    released: u64,
    refused: u64,
}

/// A part that a worker got: when, and for which assignment.
struct Given {
    at: Duration,
    assignment: (JobId, u32),
}

struct Said {
    /// How many of the unlogged, from which number on.
    first: u64,
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

impl Log {
    /// Notes that a request is granted at `now`.
    ///
    /// # Errors
    /// When its worker has had too many, or the chain has not heard of too many.
    pub(crate) fn admit(&self, request: &KeyRequest, now: Duration) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if state.unlogged.len() >= MOST_UNLOGGED {
            return Err(refusal(true, "the chain takes no log of what was given; nothing is given meanwhile"));
        }
        if !state.recent.contains_key(&request.worker) && state.recent.len() >= MOST_WORKERS {
            let longest = state.recent.iter().min_by_key(|(_, times)| times.back().map(|given| given.at));
            if let Some(longest) = longest.map(|(worker, _)| *worker) {
                state.recent.remove(&longest);
            }
        }
        let times = state.recent.entry(request.worker).or_default();
        while times.front().is_some_and(|given| now.saturating_sub(given.at) >= WINDOW) {
            times.pop_front();
        }
        let assignment = (request.job, request.attempt);
        if times.iter().filter(|given| given.assignment == assignment).count() >= MOST_PER_ASSIGNMENT {
            return Err(refusal(true, "keys were asked for this assignment too often; try again in a minute"));
        }
        if times.len() >= MOST_PER_WORKER {
            return Err(refusal(true, "this worker has asked for too many keys; try again in a minute"));
        }
        times.push_back(Given { at: now, assignment });
        state.unlogged.push(request.clone());
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

    /// What to say to the chain, which has `logged` of this gatekeeper's so far. The same again until it has it.
    pub(crate) fn releases(
        &self,
        logged: Logged,
        genesis_hash: &Hash,
        gatekeeper: GatekeeperId,
        signing: &SigningKey,
    ) -> Option<SignedReleases> {
        let mut state = lock(&self.state);
        // By the hash: the number alone may come from what an earlier process said, and the host has kept back.
        if let Some(said) = state.said.take_if(|said| said.expected == logged.hash) {
            let count = said.count.min(state.unlogged.len());
            state.unlogged.drain(..count);
        }
        if state.unlogged.is_empty() {
            return None;
        }
        let count = match &state.said {
            Some(said) if said.first == logged.count => said.count,
            _ => state.unlogged.len(),
        };
        let digest = Sha256::digest(state.unlogged.get(..count)?.encode()).into();
        let count_of_all = u32::try_from(count).ok()?;
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
    use phala_primitives::{AppId, gatekeeper::NetworkKey};

    const GENESIS: Hash = [1; 32];

    fn request(worker: u8, job: u64) -> KeyRequest {
        KeyRequest {
            genesis_hash: GENESIS,
            worker: WorkerId([worker; 32]),
            job,
            attempt: 1,
            app: AppId([3; 32]),
            version: 0,
            key: NetworkKey::Root,
            reply_key: [4; 32],
        }
    }

    fn signing() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn say(log: &Log, logged: Logged) -> Option<Releases> {
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
        let log = Log::default();
        for job in 0..MOST_PER_WORKER as u64 {
            log.admit(&request(1, job), Duration::from_secs(10)).unwrap();
        }
        assert!(log.admit(&request(1, 99), Duration::from_secs(69)).unwrap_err().retry);
        log.admit(&request(2, 99), Duration::from_secs(69)).unwrap();
        log.admit(&request(1, 99), Duration::from_secs(70)).unwrap();
        assert_eq!(log.counts().0, MOST_PER_WORKER as u64 + 2);
    }

    #[test]
    fn one_assignment_does_not_use_up_what_others_need() {
        let log = Log::default();
        for _ in 0..MOST_PER_ASSIGNMENT {
            log.admit(&request(1, 7), Duration::ZERO).unwrap();
        }
        assert!(log.admit(&request(1, 7), Duration::from_secs(59)).unwrap_err().retry);
        log.admit(&KeyRequest { attempt: 2, ..request(1, 7) }, Duration::from_secs(59)).unwrap();
        log.admit(&request(1, 8), Duration::from_secs(59)).unwrap();
        log.admit(&request(1, 7), Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn nothing_is_given_while_the_chain_does_not_hear_of_it() {
        let log = Log::default();
        let workers = (MOST_UNLOGGED / MOST_PER_WORKER) as u8;
        for worker in 0..workers {
            (0..MOST_PER_WORKER as u64).for_each(|job| log.admit(&request(worker, job), Duration::ZERO).unwrap());
        }
        assert!(log.admit(&request(workers, 0), Duration::ZERO).unwrap_err().retry);
        let releases = say(&log, Logged::default()).unwrap();
        assert_eq!(releases.count as usize, MOST_UNLOGGED);
        assert!(say(&log, taken(Logged::default(), &releases)).is_none());
        log.admit(&request(workers, 0), Duration::ZERO).unwrap();
    }

    #[test]
    fn the_same_is_said_until_the_chain_has_exactly_that() {
        let log = Log::default();
        assert!(say(&log, Logged::default()).is_none());
        log.admit(&request(1, 0), Duration::ZERO).unwrap();
        let first = say(&log, Logged::default()).unwrap();
        log.admit(&request(1, 1), Duration::ZERO).unwrap();
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
