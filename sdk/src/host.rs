//! The HTTP interface of a worker's host, which is not trusted: sizes are bounded, redirects are not followed, and
//! whatever it says is checked by whoever asked.

use codec::{Decode, DecodeAll};
use futures::{StreamExt, TryStreamExt};
use phala_attestation::{Evidence, MAX_EVIDENCE_BYTES, Statement};
use phala_primitives::{JobId, SignedReceipt, worker::SignedPerformanceReport};
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

/// The largest JSON answer that we read.
const MAX_JSON_BYTES: usize = 4 * MAX_EVIDENCE_BYTES as usize;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a host may do nothing. Nothing bounds how long an exchange takes as a whole: uploads are of any length.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until the next bytes move, in either direction.
    stall: Duration,
    /// Between the last byte of an upload and the answer: the system still sends what it has buffered, and the host
    /// writes to its disk.
    answer: Duration,
}

const PATIENCE: Patience = Patience { stall: Duration::from_secs(30), answer: Duration::from_secs(120) };

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
    },
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
            Self::Refused { status, .. } => *status == 409 || *status == 425 || *status == 429 || *status >= 500,
            _ => false,
        }
    }
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

/// A worker's host.
#[derive(Clone, Debug)]
pub struct Host {
    base: String,
    http: reqwest::Client,
    patience: Patience,
}

impl Host {
    /// The host at an endpoint: `http://host:port`, with or without a trailing slash.
    ///
    /// # Errors
    /// [`HostError::Url`].
    pub fn new(endpoint: &str) -> Result<Self, HostError> {
        let base = endpoint.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&base).map_err(|_| HostError::Url(endpoint.into()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(HostError::Url(endpoint.into()));
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| HostError::Unreachable { url: base.clone(), reason: error.to_string() })?;
        Ok(Self { base, http, patience: PATIENCE })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The statement and evidence that its worker is registered with.
    ///
    /// # Errors
    /// See [`HostError`], as for all that follow.
    pub async fn evidence(&self) -> Result<(Statement, Evidence), HostError> {
        #[derive(Deserialize)]
        struct Answer {
            statement: String,
            evidence: String,
        }
        let answer: Answer = self.get_json("/v1/evidence").await?;
        Ok((scale("statement", &answer.statement)?, scale("evidence", &answer.evidence)?))
    }

    /// A fresh registration.
    pub async fn registration(&self) -> Result<Registration, HostError> {
        #[derive(Deserialize)]
        struct Answer {
            statement: String,
            evidence: String,
            performance: String,
            #[serde(default)]
            endpoint: Option<String>,
        }
        let answer: Answer = self.get_json("/v1/registration").await?;
        Ok(Registration {
            statement: scale("statement", &answer.statement)?,
            evidence: scale("evidence", &answer.evidence)?,
            performance: scale("performance", &answer.performance)?,
            endpoint: answer.endpoint,
        })
    }

    /// Whether it has a blob.
    pub async fn has_blob(&self, sha256: &[u8; 32]) -> Result<bool, HostError> {
        let response = self.send(self.request(Method::HEAD, &blob(sha256))).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(response).await),
        }
    }

    /// Uploads a file, and tells `progress` how many bytes are on their way.
    pub async fn upload(
        &self,
        path: &Path,
        sha256: &[u8; 32],
        bytes: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), HostError> {
        let file = tokio::fs::File::open(path).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let stream = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let request = self
            .request(Method::PUT, &blob(sha256))
            .header("content-length", bytes)
            .body(reqwest::Body::wrap_stream(stream));
        let mut sending = std::pin::pin!(request.send());
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let (mut moved, mut since) = (0, Instant::now());
        let response = loop {
            tokio::select! {
                response = &mut sending => break response.map_err(|error| self.unreachable(&error))?,
                _ = tick.tick() => {
                    let now = sent.load(Ordering::Relaxed).min(bytes);
                    progress(now);
                    if now != moved {
                        (moved, since) = (now, Instant::now());
                    }
                    let patience = if moved == bytes { self.patience.answer } else { self.patience.stall };
                    if since.elapsed() > patience {
                        return Err(self.stalled(patience));
                    }
                }
            }
        };
        progress(bytes);
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response).await) }
    }

    /// Asks the enclave to run a job.
    pub async fn start(&self, job: JobId, input: &[u8; 32]) -> Result<(), HostError> {
        let body = serde_json::json!({ "input": hex::encode(input) });
        let response = self.send(self.request(Method::POST, &format!("/v1/jobs/{job}/start")).json(&body)).await?;
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

    /// Downloads the encrypted output of a job into `path`: at most `limit` bytes.
    pub async fn output(
        &self,
        job: JobId,
        path: &Path,
        limit: u64,
        mut progress: impl FnMut(u64, Option<u64>),
    ) -> Result<u64, HostError> {
        let response = self.send(self.request(Method::GET, &format!("/v1/jobs/{job}/output"))).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let total = response.content_length();
        let mut stream = response.bytes_stream();
        let mut file = tokio::fs::File::create(path).await?;
        let mut received = 0;
        while let Some(chunk) = self.moving(stream.next()).await? {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            received += chunk.len() as u64;
            if received > limit {
                return Err(HostError::Malformed(format!("an output of more than {limit} bytes")));
            }
            file.write_all(&chunk).await?;
            progress(received, total);
        }
        file.flush().await?;
        Ok(received)
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
        let response = self.send(self.request(Method::GET, path)).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let bytes = self.bounded(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| HostError::Malformed(format!("{path}: {error}")))
    }

    async fn bounded(&self, response: Response) -> Result<Vec<u8>, HostError> {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = self.moving(stream.next()).await? {
            bytes.extend_from_slice(&chunk.map_err(|error| self.unreachable(&error))?);
            if bytes.len() > MAX_JSON_BYTES {
                return Err(HostError::Malformed(format!("more than {MAX_JSON_BYTES} bytes")));
            }
        }
        Ok(bytes)
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
        let body = self.bounded(response).await.unwrap_or_default();
        let hint = |hint: Option<String>| hint.map(|hint| printable(&hint)).filter(|hint| !hint.is_empty());
        match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { error }) => HostError::Refused {
                status: status.as_u16(),
                code: printable(&error.code),
                message: printable(&error.message),
                hint: hint(error.hint),
            },
            Err(_) => HostError::Refused {
                status: status.as_u16(),
                code: "http".into(),
                message: format!("HTTP status {status}"),
                hint: None,
            },
        }
    }
}

fn blob(sha256: &[u8; 32]) -> String {
    format!("/v1/blobs/{}", hex::encode(sha256))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, BufReader},
        net::TcpListener,
    };

    /// What a slow host reads at once, in bytes.
    const PIECE: usize = 1 << 20;

    /// How many pieces a test uploads: more than both ends' sockets hold.
    const PIECES: u64 = 24;

    /// Uploads to a host that reads `pieces`, with a pause after each, and then answers or says nothing for ever.
    async fn upload(patience: Patience, pieces: u64, answers: bool) -> Result<(), HostError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                assert!(stream.read_line(&mut line).await.unwrap() > 0);
            }
            let mut piece = vec![0; PIECE];
            for _ in 0..pieces {
                stream.read_exact(&mut piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if answers {
                stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = PIECES * PIECE as u64;
        file.as_file().set_len(bytes).unwrap();
        let host = Host { patience, ..Host::new(&endpoint).unwrap() };
        let result = host.upload(file.path(), &[1; 32], bytes, |_| ()).await;
        serving.abort();
        result
    }

    #[tokio::test]
    async fn an_upload_may_take_any_time_while_it_moves() {
        let patience = Patience { stall: Duration::from_millis(600), answer: Duration::from_secs(10) };
        let start = Instant::now();
        upload(patience, PIECES, true).await.unwrap();
        assert!(start.elapsed() > patience.stall, "the host was not slow");
    }

    #[tokio::test]
    async fn an_upload_that_stalls_ends() {
        let patience = Patience { stall: Duration::from_millis(300), answer: Duration::from_secs(60) };
        let error = upload(patience, 1, false).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("nothing moved for 300ms"), "{error}");
    }

    #[tokio::test]
    async fn an_upload_without_an_answer_ends() {
        let patience = Patience { stall: Duration::from_secs(60), answer: Duration::from_millis(700) };
        let error = upload(patience, PIECES, false).await.unwrap_err();
        assert!(error.to_string().contains("nothing moved for 700ms"), "{error}");
    }

    #[test]
    fn only_http_endpoints_are_used() {
        assert!(Host::new("http://127.0.0.1:8080/").is_ok());
        for bad in ["", "file:///etc/passwd", "ws://host", "127.0.0.1:80", "http://"] {
            assert!(Host::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strangers_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a[2Jbc");
        assert_eq!(printable(&"x".repeat(1000)).len(), 500);
    }
}
