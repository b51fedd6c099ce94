//! Who may upload for a job, and start it: its owner, while this worker has it.
//!
//! A token is `JOB.EXPIRES.SIGNATURE` in the header `phala-upload`: the job's number, the end of its validity in seconds since
//! the Unix epoch by the chain's clock, and an sr25519 signature of the job's owner over [`signed_bytes`]. Whoever sees a
//! token can use it until it ends, for this alone, at the expense of the owner's quota.
//!
//! What the chain says of a job is remembered for a few seconds, and only so many jobs are looked up at once: a flood of
//! tokens is no flood of calls to the node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode};
use codec::Encode;
use phala_primitives::{Hash, JobId, WorkerId, job::JobStatus};
use phala_sdk::Account;
use subxt_signer::sr25519;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{Api, ApiError};
use crate::{
    chain::{At, Job, NodeError},
    enclave::RequestError,
};

/// The header that holds a token.
pub(super) const HEADER: &str = "phala-upload";

/// How long it is remembered that a worker has a job. Meanwhile it may end, or go to another worker.
const REMEMBER_ASSIGNED: Duration = Duration::from_secs(6);

/// How long anything else is remembered: the node may be a block behind.
const REMEMBER_OTHERS: Duration = Duration::from_secs(2);

/// Jobs that are remembered.
const MAX_REMEMBERED: usize = 1024;

/// Jobs that are looked up at once.
const LOOKUPS: usize = 8;

/// How long a token waits for what the chain says of its job.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);

/// How soon a node that is away may be back.
const NODE_RETRY: Duration = Duration::from_secs(5);

/// The time of a block, after which the chain may say something else.
const BLOCK: Duration = Duration::from_secs(2);

/// What a token's signature is over.
pub(super) fn signed_bytes(genesis_hash: &Hash, job: JobId, expires: u64) -> Vec<u8> {
    (b"phala/upload/v1", genesis_hash, job, expires).encode()
}

/// What is remembered of jobs.
pub(super) struct Tokens {
    jobs: Mutex<BTreeMap<JobId, Arc<Entry>>>,
    lookups: Semaphore,
}

/// Locked while the chain is asked: whoever wants the same waits for that answer.
type Entry = tokio::sync::Mutex<Option<Remembered>>;

#[derive(Clone, Copy)]
struct Remembered {
    since: Instant,
    /// `None`: the chain does not know the job.
    facts: Option<Facts>,
}

#[derive(Clone, Copy)]
struct Facts {
    owner: Account,
    place: PlaceOfJob,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PlaceOfJob {
    Queued,
    With(WorkerId),
    Over,
}

impl Remembered {
    fn is_fresh(&self) -> bool {
        let assigned = self.facts.is_some_and(|facts| matches!(facts.place, PlaceOfJob::With(_)));
        self.since.elapsed() < if assigned { REMEMBER_ASSIGNED } else { REMEMBER_OTHERS }
    }
}

impl From<&Job> for Facts {
    fn from(job: &Job) -> Self {
        let place = match &job.status {
            JobStatus::Queued => PlaceOfJob::Queued,
            JobStatus::Assigned(assignment) => PlaceOfJob::With(assignment.worker),
            JobStatus::Settled(_) | JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => PlaceOfJob::Over,
        };
        Self { owner: job.owner, place }
    }
}

struct Token {
    job: JobId,
    expires: u64,
    signature: [u8; 64],
}

impl Token {
    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(HEADER) else {
            let message = "only a job's owner uploads for it and starts it: there is no token";
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "no_token", message);
            return Err(error.hint("send `phala-upload: JOB.EXPIRES.SIGNATURE`, signed by the job's owner"));
        };
        value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            ApiError::new(StatusCode::UNAUTHORIZED, "bad_token", "the header phala-upload holds no token")
                .hint("a token is JOB.EXPIRES.SIGNATURE: two numbers and 128 hexadecimal digits")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (job, expires, digits) = (parts.next()?, parts.next()?, parts.next()?);
        let mut signature = [0; 64];
        hex::decode_to_slice(digits, &mut signature).ok()?;
        let token = Self { job: job.parse().ok()?, expires: expires.parse().ok()?, signature };
        parts.next().is_none().then_some(token)
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self { jobs: Mutex::default(), lookups: Semaphore::new(LOOKUPS) }
    }
}

impl Tokens {
    /// The job for which the sender may upload, and its owner.
    ///
    /// # Errors
    /// 401 without a good token, 403 when its job is not this worker's, 503 when that cannot be found out.
    pub async fn check(&self, api: &Api, headers: &HeaderMap) -> Result<(JobId, Account), ApiError> {
        let _place = api.front.checks.enter()?;
        let checked = self.examine(api, headers).await;
        if checked.is_err() {
            api.metrics.reject("tokens");
        }
        checked
    }

    async fn examine(&self, api: &Api, headers: &HeaderMap) -> Result<(JobId, Account), ApiError> {
        let token = Token::read(headers)?;
        let heads = *api.heads.borrow();
        let (Some(heads), Some(genesis_hash)) = (heads, api.node.genesis_hash()) else {
            return Err(node_away(&NodeError("the node does not answer".into())));
        };
        let this_worker = api.enclave.worker().ok_or(RequestError::Disconnected)?;
        if token.expires < heads.now {
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "token_expired", "the token's time is over");
            return Err(error.hint("sign another one"));
        }
        let looked_up = timeout(LOOKUP_TIMEOUT, self.look_up(api, token.job)).await;
        let facts = looked_up.unwrap_or_else(|_| Err(crowded()))?.ok_or_else(|| {
            ApiError::new(StatusCode::FORBIDDEN, "unknown_job", format!("the chain has no job {}", token.job))
                .hint("the host's node may be a block behind yours")
                .retry_after(BLOCK)
        })?;
        let signed = signed_bytes(&genesis_hash, token.job, token.expires);
        let signature = sr25519::Signature(token.signature);
        if !sr25519::verify(&signature, signed, &sr25519::PublicKey(facts.owner.0)) {
            let message = "the token is not signed by the job's owner for this chain";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "bad_token", message)
                .hint("sign it with the sr25519 key of the account that submitted the job"));
        }
        match facts.place {
            PlaceOfJob::With(worker) if worker == this_worker => Ok((token.job, facts.owner)),
            PlaceOfJob::Queued | PlaceOfJob::With(_) => {
                let message = format!("job {} is not this worker's", token.job);
                Err(ApiError::new(StatusCode::FORBIDDEN, "not_this_worker", message)
                    .hint("the host's node may be a block behind yours")
                    .retry_after(BLOCK))
            }
            PlaceOfJob::Over => {
                let message = format!("job {} has ended", token.job);
                Err(ApiError::new(StatusCode::FORBIDDEN, "job_over", message))
            }
        }
    }

    async fn look_up(&self, api: &Api, job: JobId) -> Result<Option<Facts>, ApiError> {
        let entry = self.entry(job);
        let mut remembered = entry.lock().await;
        if let Some(remembered) = remembered.filter(Remembered::is_fresh) {
            return Ok(remembered.facts);
        }
        let _turn = self.lookups.acquire().await.map_err(ApiError::internal)?;
        let found = api.node.job(job, At::Best).await.map_err(|error| node_away(&error))?;
        let facts = found.as_ref().map(Facts::from);
        *remembered = Some(Remembered { since: Instant::now(), facts });
        Ok(facts)
    }

    fn entry(&self, job: JobId) -> Arc<Entry> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= MAX_REMEMBERED && !jobs.contains_key(&job) {
            // Those that somebody waits for stay.
            jobs.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        jobs.entry(job).or_default().clone()
    }
}

fn node_away(error: &NodeError) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "node_unavailable", error)
        .hint("the host cannot ask the chain about the job at the moment")
        .retry_after(NODE_RETRY)
}

fn crowded() -> ApiError {
    let message = "too many tokens wait for what the chain says of their jobs";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(NODE_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_three_parts() {
        let signature = "ab".repeat(64);
        let token = Token::parse(&format!("7.1000.{signature}")).unwrap();
        assert_eq!((token.job, token.expires, token.signature), (7, 1000, [0xab; 64]));
        for bad in [
            "".to_owned(),
            "7.1000".to_owned(),
            format!("7.1000.{signature}."),
            format!("7.1000.{signature}.1"),
            format!("7.1000.{}", &signature[2..]),
            format!("-7.1000.{signature}"),
            format!("7.x.{signature}"),
            format!("99999999999999999999.1.{signature}"),
        ] {
            assert!(Token::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_signed_is_fixed() {
        let signed = signed_bytes(&[1; 32], 2, 3);
        let expected = [b"phala/upload/v1".as_slice(), &[1; 32], &2u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
        assert_eq!(signed, expected);
    }
}
