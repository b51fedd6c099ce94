//! The HTTP interface of a worker's host, which is not trusted: sizes are bounded, redirects are not followed, and
//! whatever it says is checked by whoever asked.
//!
//! - [`Hosts`]: how hosts are reached, and whose certificates are believed at `https://` endpoints.
//! - [`Host`]: one of them. Uploads and downloads go on where an earlier one broke off.
//! - [`UploadToken`] is the word of a job's owner, [`FetchToken`] that of the operator whose worker has the job.

mod fetch;
mod tls;
mod transfer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use fetch::{FetchToken, KeptBlob, KeptInputs};
pub use tls::Hosts;
use transfer::TOKEN;
pub use transfer::{Download, Held, UploadToken};

use codec::{Decode, DecodeAll, Encode};
use futures::StreamExt;
use phala_attestation::{Evidence, MAX_EVIDENCE_BYTES, Statement};
use phala_primitives::{
    JobId, SignedReceipt,
    gatekeeper::{GatekeeperRequest, KeyReply, SignedBeaconPart, SignedKeyRequest},
    worker::{SignedLiveness, SignedPerformanceReport},
};
use reqwest::{Method, Response, header::RETRY_AFTER};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use std::{str::FromStr, time::Duration};
use tokio::time::timeout;

/// The largest JSON answer that we read.
const MAX_JSON_BYTES: usize = 4 * MAX_EVIDENCE_BYTES as usize;

/// How long a host may take. Files are of any length, so nothing here bounds their transfers as a whole.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the body of an answer that is no file.
    body: Duration,
    /// Until the next bytes move, in either direction.
    stall: Duration,
    /// Between the last byte of an upload and the answer: the system still sends what it has buffered, and the host
    /// writes to its disk.
    answer: Duration,
}

const PATIENCE: Patience =
    Patience { body: Duration::from_secs(60), stall: Duration::from_secs(30), answer: Duration::from_secs(120) };

/// The longest that a host may put its users off: until then the chain may have chosen another.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why a host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The endpoint is no HTTP URL.
    #[error("the worker's endpoint `{0}` is not an http:// or https:// URL")]
    Url(String),
    /// Nobody answers, or the connection broke.
    #[error("cannot reach the worker's host at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The host, or its enclave, refused.
    #[error("the worker's host refused: {message}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's name.
        code: String,
        /// One sentence.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// When to try again, where it is only busy.
        retry_after: Option<Duration>,
    },
    /// These are no certificates.
    #[error("not PEM certificates: {0}")]
    Roots(String),
    /// The answer makes no sense.
    #[error("the worker's host gave a malformed answer: {0}")]
    Malformed(String),
    /// A file of ours could not be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl HostError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // 403: not this worker's job, which the host's node may say as long as it is behind ours.
            Self::Refused { status, .. } => matches!(status, 403 | 408 | 409 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// How long to wait before trying again, where the host says that it is busy: a minute at most.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => retry_after.map(|wait| wait.min(MAX_RETRY_AFTER)),
            _ => None,
        }
    }
}

/// What a host says about its worker. For people, never to believe.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostWorker {
    /// Why the enclave takes no new work; `None` while it does.
    #[serde(default)]
    pub pause: Option<String>,
}

/// What a host says about a job. For people and for deciding when to ask the chain, never to believe.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostJob {
    /// `unknown`, `queued`, `preparing`, `running`, `finishing`, `ended` or `refused`.
    pub state: String,
    /// Why the enclave refused.
    #[serde(default)]
    pub refusal: Option<HostRefusal>,
}

/// Why an enclave will not run a job.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostRefusal {
    /// One sentence.
    pub reason: String,
    /// Whether it may change its mind.
    #[serde(default)]
    pub retry: bool,
}

/// What an operator submits to register a worker.
#[derive(Clone, Debug)]
pub struct Registration {
    /// What the evidence binds.
    pub statement: Statement,
    /// The evidence.
    pub evidence: Evidence,
    /// The enclave's performance.
    pub performance: SignedPerformanceReport,
    /// Where the host serves users.
    pub endpoint: Option<String>,
}

/// What an operator submits to register a gatekeeper.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// What the evidence binds.
    pub statement: Statement,
    /// The evidence.
    pub evidence: Evidence,
    /// Where the host serves workers and gatekeepers.
    pub endpoint: Option<String>,
}

/// A worker's host, or a gatekeeper's.
#[derive(Clone, Debug)]
pub struct Host {
    base: String,
    http: reqwest::Client,
    patience: Patience,
}

impl Host {
    /// The host at an endpoint: `http://host:port`, with or without a trailing slash. At `https://` it must have a
    /// certificate of one of the system's roots; see [`Hosts`] for others.
    ///
    /// # Errors
    /// [`HostError::Url`].
    pub fn new(endpoint: &str) -> Result<Self, HostError> {
        Hosts::default().at(endpoint)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The statement and evidence that the chain has as its worker's `evidence_hash`. The host may give others: compare.
    ///
    /// # Errors
    /// See [`HostError`], as for all that follow.
    pub async fn evidence(&self, hash: &[u8; 32]) -> Result<(Statement, Evidence), HostError> {
        #[derive(Deserialize)]
        struct Answer {
            statement: String,
            evidence: String,
        }
        let answer: Answer = self.get_json(&format!("/v1/evidence/{}", hex::encode(hash))).await?;
        Ok((scale("statement", &answer.statement)?, scale("evidence", &answer.evidence)?))
    }

    /// A fresh registration of its worker.
    pub async fn registration(&self) -> Result<Registration, HostError> {
        let (Attestation { statement, evidence, endpoint }, performance) = self.fresh_evidence().await?;
        let performance = performance.ok_or_else(|| HostError::Malformed("it has no performance report".into()))?;
        Ok(Registration { statement, evidence, performance: scale("performance", &performance)?, endpoint })
    }

    /// Fresh evidence of its gatekeeper.
    pub async fn attestation(&self) -> Result<Attestation, HostError> {
        Ok(self.fresh_evidence().await?.0)
    }

    async fn fresh_evidence(&self) -> Result<(Attestation, Option<String>), HostError> {
        #[derive(Deserialize)]
        struct Answer {
            statement: String,
            evidence: String,
            #[serde(default)]
            performance: Option<String>,
            #[serde(default)]
            endpoint: Option<String>,
        }
        let answer: Answer = self.get_json("/v1/registration").await?;
        let attestation = Attestation {
            statement: scale("statement", &answer.statement)?,
            evidence: scale("evidence", &answer.evidence)?,
            endpoint: answer.endpoint,
        };
        Ok((attestation, answer.performance))
    }

    /// What the host says about its worker.
    pub async fn worker(&self) -> Result<HostWorker, HostError> {
        let worker: HostWorker = self.get_json("/v1/worker").await?;
        Ok(HostWorker { pause: worker.pause.map(|pause| printable(&pause)) })
    }

    /// What should be its enclave's answer to a challenge; [`verify_worker`](crate::evidence::verify_worker) checks it.
    pub async fn liveness(&self, nonce: &[u8; 32]) -> Result<SignedLiveness, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            liveness: String,
        }
        let path = "/v1/liveness";
        let request = self.request(Method::POST, path).json(&json!({ "nonce": hex::encode(nonce) }));
        let answer: Answer = self.json(path, request).await?;
        scale("liveness", &answer.liveness)
    }

    /// Gives a gatekeeper another one's part of a round of the random beacon.
    pub async fn beacon_part(&self, part: &SignedBeaconPart) -> Result<(), HostError> {
        let path = "/v1/beacon";
        let body = json!({ "part": format!("0x{}", hex::encode(part.encode())) });
        let _: serde::de::IgnoredAny = self.json(path, self.request(Method::POST, path).json(&body)).await?;
        Ok(())
    }

    /// Asks a gatekeeper for its part of an app key. The reply is for the worker's enclave that signed the request.
    pub async fn key(&self, request: &SignedKeyRequest) -> Result<KeyReply, HostError> {
        self.ask(&request.clone().into()).await
    }

    /// Asks a gatekeeper for its part of a key. The reply is for the enclave that signed the request.
    pub async fn ask(&self, request: &GatekeeperRequest) -> Result<KeyReply, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            reply: String,
        }
        let path = "/v1/key";
        let body = json!({ "request": format!("0x{}", hex::encode(request.encode())) });
        let answer: Answer = self.json(path, self.request(Method::POST, path).json(&body)).await?;
        scale("reply", &answer.reply)
    }

    /// Asks the enclave to run an attempt at a job: 1 for the first. Only the job's owner may, whose token this is.
    pub async fn start(
        &self,
        job: JobId,
        attempt: u32,
        input: &[u8; 32],
        token: &UploadToken,
    ) -> Result<(), HostError> {
        let body = json!({ "input": hex::encode(input), "attempt": attempt });
        let request = self.request(Method::POST, &format!("/v1/jobs/{job}/start")).json(&body);
        let request = request.header(TOKEN, token.to_string());
        let response = self.send(request).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response).await) }
    }

    /// What the host says about a job.
    pub async fn job(&self, job: JobId) -> Result<HostJob, HostError> {
        self.get_json(&format!("/v1/jobs/{job}")).await
    }

    /// The receipt of a job that ended.
    pub async fn receipt(&self, job: JobId) -> Result<SignedReceipt, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            receipt: String,
        }
        let answer: Answer = self.get_json(&format!("/v1/jobs/{job}/receipt")).await?;
        scale("receipt", &answer.receipt)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, HostError> {
        self.moving(request.send()).await?.map_err(|error| self.unreachable(&error))
    }

    /// What `step` gives, unless nothing comes for too long.
    async fn moving<T>(&self, step: impl Future<Output = T>) -> Result<T, HostError> {
        timeout(self.patience.stall, step).await.map_err(|_| self.stalled(self.patience.stall))
    }

    fn stalled(&self, after: Duration) -> HostError {
        HostError::Unreachable { url: self.base.clone(), reason: format!("nothing moved for {after:?}") }
    }

    fn unreachable(&self, error: &reqwest::Error) -> HostError {
        // The outermost error only repeats the URL; the innermost says what happened.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        HostError::Unreachable { url: self.base.clone(), reason: cause.to_string() }
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HostError> {
        self.json(path, self.request(Method::GET, path)).await
    }

    async fn json<T: DeserializeOwned>(&self, path: &str, request: reqwest::RequestBuilder) -> Result<T, HostError> {
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let bytes = self.bounded(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| HostError::Malformed(format!("{path}: {error}")))
    }

    /// The body of an answer that is no file, unless it is too long or takes too long.
    async fn bounded(&self, response: Response) -> Result<Vec<u8>, HostError> {
        let reading = async {
            let mut bytes = Vec::new();
            let mut stream = response.bytes_stream();
            while let Some(chunk) = stream.next().await {
                bytes.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
                if bytes.len() > MAX_JSON_BYTES {
                    return Err(HostError::Malformed(format!("more than {MAX_JSON_BYTES} bytes")));
                }
            }
            Ok(bytes)
        };
        let limit = self.patience.body;
        timeout(limit, reading).await.unwrap_or_else(|_| {
            let reason = format!("no whole answer came within {limit:?}");
            Err(HostError::Unreachable { url: self.base.clone(), reason })
        })
    }

    /// The error in a response that is none of the good ones.
    async fn refusal(&self, response: Response) -> HostError {
        #[derive(Deserialize)]
        struct Answer {
            error: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            code: String,
            message: String,
            #[serde(default)]
            hint: Option<String>,
        }
        let status = response.status();
        let retry_after = header(&response, RETRY_AFTER.as_str()).map(Duration::from_secs);
        let body = self.bounded(response).await.unwrap_or_default();
        let hint = |hint: Option<String>| hint.map(|hint| printable(&hint)).filter(|hint| !hint.is_empty());
        match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { error }) => HostError::Refused {
                status: status.as_u16(),
                code: printable(&error.code),
                message: printable(&error.message),
                hint: hint(error.hint),
                retry_after,
            },
            Err(_) => HostError::Refused {
                status: status.as_u16(),
                code: "http".into(),
                message: format!("HTTP status {status}"),
                hint: None,
                retry_after,
            },
        }
    }
}

/// A header's value, if it is there and is what it should be.
fn header<T: FromStr>(response: &Response, name: &str) -> Option<T> {
    response.headers().get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A stranger's text, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn scale<T: Decode>(what: &str, text: &str) -> Result<T, HostError> {
    let malformed = || HostError::Malformed(format!("the {what} does not decode"));
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| malformed())?;
    T::decode_all(&mut &bytes[..]).map_err(|_| malformed())
}
