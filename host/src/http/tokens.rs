//! Who may upload for a job, and start it: its owner, while this worker has it. And who may fetch its inputs: the operator of
//! the worker that has it.
//!
//! A token is `JOB.EXPIRES.SIGNATURE` in a header of its [`Right`]: the job's number, the end of its validity in seconds since
//! the Unix epoch by the chain's clock, and an sr25519 signature of that account over [`signed_bytes`], which differ by right.
//! Whoever sees a token can use it until it ends, for this alone: uploads at the expense of the owner's quota; fetched inputs are
//! ciphertext.
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
    chain::{At, Node, NodeError},
    enclave::RequestError,
};

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

/// What a token's bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// Upload for a job and start it, at the worker that has it: the word of its owner.
    Upload,
    /// Fetch the inputs of a job, wherever they are kept: the word of the operator of the worker that has it.
    Fetch,
}

impl Right {
    /// The header that holds a token.
    pub fn header(self) -> &'static str {
        match self {
            Self::Upload => "phala-upload",
            Self::Fetch => "phala-fetch",
        }
    }

    fn domain(self) -> &'static [u8] {
        match self {
            Self::Upload => b"phala/upload/v1",
            Self::Fetch => b"phala/fetch/v1",
        }
    }

    /// Who signs, in words.
    fn signer(self) -> &'static str {
        match self {
            Self::Upload => "the job's owner",
            Self::Fetch => "the operator of the worker that has the job",
        }
    }
}

/// What a token's signature is over.
pub(super) fn signed_bytes(right: Right, genesis_hash: &Hash, job: JobId, expires: u64) -> Vec<u8> {
    let mut bytes = right.domain().to_vec();
    (genesis_hash, job, expires).encode_to(&mut bytes);
    bytes
}

/// Whether a token is for the job that it is used for.
///
/// # Errors
/// 403 when it is for another.
pub(super) fn ensure_for(signed_for: JobId, job: JobId) -> Result<(), ApiError> {
    if signed_for == job {
        return Ok(());
    }
    let message = format!("the token is for job {signed_for}, and not for job {job}");
    Err(ApiError::new(StatusCode::FORBIDDEN, "bad_token", message).hint("sign one for the job that it is used for"))
}

/// What is remembered of jobs.
pub(super) struct Tokens {
    jobs: Mutex<BTreeMap<(Right, JobId), Arc<Entry>>>,
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
    /// Whose word counts. `None`: nobody's, as long as no worker has the job.
    signer: Option<Account>,
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

impl From<&JobStatus<Account, u32>> for PlaceOfJob {
    fn from(status: &JobStatus<Account, u32>) -> Self {
        match status {
            JobStatus::Queued => Self::Queued,
            JobStatus::Assigned(assignment) => Self::With(assignment.worker),
            JobStatus::Settled(_) | JobStatus::Cancelled { .. } | JobStatus::Expired { .. } => Self::Over,
        }
    }
}

struct Token {
    job: JobId,
    expires: u64,
    signature: [u8; 64],
}

impl Token {
    fn read(right: Right, headers: &HeaderMap) -> Result<Self, ApiError> {
        let unauthorized = |code, message| ApiError::new(StatusCode::UNAUTHORIZED, code, message);
        let Some(value) = headers.get(right.header()) else {
            let (message, hint) = match right {
                Right::Upload => (
                    "only a job's owner uploads for it and starts it: there is no token",
                    "send `phala-upload: JOB.EXPIRES.SIGNATURE`, signed by the job's owner",
                ),
                Right::Fetch => (
                    "only the worker that has a job gets its inputs: there is no token",
                    "send `phala-fetch: JOB.EXPIRES.SIGNATURE`, signed by that worker's operator",
                ),
            };
            return Err(unauthorized("no_token", message.to_owned()).hint(hint));
        };
        value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            unauthorized("bad_token", format!("the header {} holds no token", right.header()))
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
    /// The job for which the sender has a right, and who gave it.
    ///
    /// # Errors
    /// 401 without a good token, 403 when nobody has that right for its job here, 503 when that cannot be found out.
    pub async fn check(&self, api: &Api, right: Right, headers: &HeaderMap) -> Result<(JobId, Account), ApiError> {
        let _place = api.front.checks.enter()?;
        let checked = self.examine(api, right, headers).await;
        if checked.is_err() {
            api.metrics.reject("tokens");
        }
        checked
    }

    async fn examine(&self, api: &Api, right: Right, headers: &HeaderMap) -> Result<(JobId, Account), ApiError> {
        let token = Token::read(right, headers)?;
        let heads = *api.heads.borrow();
        let (Some(heads), Some(genesis_hash)) = (heads, api.node.genesis_hash()) else {
            return Err(node_away(&NodeError("the node does not answer".into())));
        };
        // Others' inputs are served while the enclave is away, which may be why they are asked for.
        let this_worker = match right {
            Right::Upload => Some(api.enclave.worker().ok_or(RequestError::Disconnected)?),
            Right::Fetch => None,
        };
        if token.expires < heads.now {
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "token_expired", "the token's time is over");
            return Err(error.hint("sign another one"));
        }
        let looked_up = timeout(LOOKUP_TIMEOUT, self.look_up(api, right, token.job)).await;
        let facts = looked_up.unwrap_or_else(|_| Err(crowded()))?.ok_or_else(|| {
            ApiError::new(StatusCode::FORBIDDEN, "unknown_job", format!("the chain has no job {}", token.job))
                .hint("the host's node may be a block behind yours")
                .retry_after(BLOCK)
        })?;
        let signed = signed_bytes(right, &genesis_hash, token.job, token.expires);
        let signature = sr25519::Signature(token.signature);
        let is_signed = |account: Account| sr25519::verify(&signature, &signed, &sr25519::PublicKey(account.0));
        if facts.signer.is_some_and(|account| !is_signed(account)) {
            let message = format!("the token is not signed by {} for this chain", right.signer());
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "bad_token", message)
                .hint("sign it with the sr25519 key of that account"));
        }
        match (facts.place, facts.signer) {
            (PlaceOfJob::With(worker), Some(signer)) if this_worker.is_none_or(|this| this == worker) => {
                Ok((token.job, signer))
            }
            (PlaceOfJob::Over, _) => {
                let message = format!("job {} has ended", token.job);
                Err(ApiError::new(StatusCode::FORBIDDEN, "job_over", message))
            }
            _ => {
                let (code, message) = match right {
                    Right::Upload => ("not_this_worker", format!("job {} is not this worker's", token.job)),
                    Right::Fetch => ("not_assigned", format!("no worker has job {}", token.job)),
                };
                Err(ApiError::new(StatusCode::FORBIDDEN, code, message)
                    .hint("the host's node may be a block behind yours")
                    .retry_after(BLOCK))
            }
        }
    }

    async fn look_up(&self, api: &Api, right: Right, job: JobId) -> Result<Option<Facts>, ApiError> {
        let entry = self.entry(right, job);
        let mut remembered = entry.lock().await;
        if let Some(remembered) = remembered.filter(Remembered::is_fresh) {
            return Ok(remembered.facts);
        }
        let _turn = self.lookups.acquire().await.map_err(ApiError::internal)?;
        let facts = ask(&*api.node, right, job).await.map_err(|error| node_away(&error))?;
        *remembered = Some(Remembered { since: Instant::now(), facts });
        Ok(facts)
    }

    fn entry(&self, right: Right, job: JobId) -> Arc<Entry> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= MAX_REMEMBERED && !jobs.contains_key(&(right, job)) {
            // Those that somebody waits for stay.
            jobs.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        jobs.entry((right, job)).or_default().clone()
    }
}

/// What the chain says of a job, and who signs for a right to it.
async fn ask(node: &dyn Node, right: Right, job: JobId) -> Result<Option<Facts>, NodeError> {
    let Some(record) = node.job(job, At::Best).await? else { return Ok(None) };
    let place = PlaceOfJob::from(&record.status);
    let signer = match (right, place) {
        (Right::Upload, _) => Some(record.owner),
        (Right::Fetch, PlaceOfJob::With(worker)) => node.worker(worker).await?.map(|worker| worker.operator),
        (Right::Fetch, _) => None,
    };
    Ok(Some(Facts { signer, place }))
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
        for (right, domain) in
            [(Right::Upload, b"phala/upload/v1".as_slice()), (Right::Fetch, b"phala/fetch/v1".as_slice())]
        {
            let expected = [domain, &[1; 32], &2u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
            assert_eq!(signed_bytes(right, &[1; 32], 2, 3), expected);
        }
    }
}
