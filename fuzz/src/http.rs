//! Requests to a host's HTTP interface, by strangers.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header::CONTENT_TYPE},
    response::Response,
};
use codec::Encode;
use futures::future::BoxFuture;
use phala_attestation::{Family, Measurement, Role, simulated::development_root};
use phala_host::{
    chain::{At, Heads, Job, Node, NodeError, OperatorConfig, Submission, SubmitError, Submits, Worker},
    enclave::Enclave,
    http::{Api, Bounds, Front, router},
    jobs::Jobs,
    metrics::Metrics,
    store::{Limits, Store},
};
use phala_primitives::{Hash, JobId, Outcome, WorkerId, attestation::Class};
use phala_sdk::Account;
use serde_json::Value;
use std::{convert::Infallible, fs, path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};
use tower::ServiceExt;

use crate::{Target, evidence, signed};

pub(crate) const TARGETS: &[Target] = &[Target {
    name: "http_requests",
    run: http_requests,
    seeds,
    tokens: &[
        b"GET ",
        b"PUT ",
        b"POST ",
        b"HEAD ",
        b"OPTIONS ",
        b"/v1/jobs/7",
        b"/v1/blobs/",
        b"/v1/evidence",
        b"/output",
        b"/receipt",
        b"/inputs",
        b"%00",
        b"%ff",
        b"%2f",
        b"//",
        b"?a=b",
        b"range: bytes=",
        b"upload-offset: ",
        b"upload-length: ",
        b"phala-upload: ",
        b"phala-fetch: ",
        b"content-length: ",
        b"content-type: application/json",
        b"\n\n",
        b"5-",
        b"-5",
        b",",
        b"{\"input\":\"",
        b"\"attempt\":",
        b"{\"nonce\":\"",
    ],
    memory_per_byte: Some(256),
}];

const JOB: JobId = 7;

/// A host answers at once where it asks nobody; more than this is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A request to a host whose enclave and node are away: the method and path in the first line, a header in each of the next
/// until an empty one, then the body. It is answered, and nothing of the host fails.
pub fn http_requests(data: &[u8]) {
    let Some(request) = parse(data) else { return };
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let method = request.method().clone();
        let answered = timeout(PATIENCE, answer(host(folder.path()), request)).await;
        let (status, is_json, body) = answered.expect("the host answers in time");
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
        if is_json && method != Method::HEAD {
            let answer: Value = serde_json::from_slice(&body).expect("what is called JSON is JSON");
            let refused = status.is_client_error() || status.is_server_error();
            // `/health` says by its status how the host is.
            let says_why = answer["error"]["code"].is_string() || answer["status"].is_string();
            assert!(!refused || says_why, "an error without a code: {answer}");
        }
    });
}

/// A request's status, whether its body is called JSON, and its body.
async fn answer(host: Router, request: Request<Body>) -> (StatusCode, bool, Vec<u8>) {
    let answered: Result<Response, Infallible> = host.oneshot(request).await;
    let Ok(response) = answered;
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let status = response.status();
    let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.expect("an answer is whole, and of some length");
    (status, is_json, body.into())
}

/// The request, as far as a server would pass it on.
fn parse(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, path) = split(lines.next()?, b' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::try_from(path).ok()?;
    // Servers take about a hundred.
    for line in lines.take(100) {
        let (name, value) = split(line, b':')?;
        let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        request.headers_mut().append(HeaderName::from_bytes(name).ok()?, value);
    }
    Some(request)
}

/// What is before and after the first `sign`.
fn split(bytes: &[u8], sign: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == sign)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// A host with one job that has ended.
fn host(folder: &Path) -> Router {
    let store = Arc::new(Store::open(folder, Limits::default()).expect("an empty store opens"));
    let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).expect("there is room");
    let mut receipt = signed::receipt(Outcome::Completed { exit_code: 0 });
    receipt.receipt.job = JOB;
    write(&format!("receipts/{JOB}"), &receipt.encode());
    write(&format!("outputs/{JOB}.age"), &[7; 1000]);
    let bundle = evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false);
    write("evidence", &bundle.encode());
    let metrics = Arc::new(Metrics::default());
    let jobs = Arc::new(Jobs::load(store.clone(), metrics.clone()).expect("the disk works"));
    let operator = OperatorConfig {
        operator: Account([4; 32]),
        endpoint: "http://localhost:1".into(),
        price: 7,
        submits: Submits::Nothing,
    };
    router(Arc::new(Api {
        enclave: Enclave::new(store.clone(), jobs.clone(), metrics.clone()),
        front: Front::new(Bounds::default(), &metrics),
        store,
        jobs,
        node: Arc::new(Away),
        heads: watch::channel(Some(Heads { best: 10, finalized: 8, now: 100 })).1,
        metrics,
        operator,
        capacity: 4,
    }))
}

/// A node that does not answer any more.
struct Away;

fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, NodeError>> {
    Box::pin(async { Err(NodeError("away".into())) })
}

impl Node for Away {
    fn heads(&self) -> BoxFuture<'_, Result<Heads, NodeError>> {
        away()
    }

    fn worker(&self, _: WorkerId) -> BoxFuture<'_, Result<Option<Worker>, NodeError>> {
        away()
    }

    fn challenged(&self, _: WorkerId) -> BoxFuture<'_, Result<Option<u32>, NodeError>> {
        away()
    }

    fn job(&self, _: JobId, _: At) -> BoxFuture<'_, Result<Option<Job>, NodeError>> {
        away()
    }

    fn image_allowed(&self, _: Measurement, _: Role) -> BoxFuture<'_, Result<bool, NodeError>> {
        away()
    }

    fn last_recovery(&self, _: Family) -> BoxFuture<'_, Result<Option<u64>, NodeError>> {
        away()
    }

    fn compromised(&self, _: [Class; 3]) -> BoxFuture<'_, Result<Vec<Class>, NodeError>> {
        away()
    }

    fn has_claim(&self, _: [u8; 32]) -> BoxFuture<'_, Result<bool, NodeError>> {
        away()
    }

    fn chain_spec(&self) -> BoxFuture<'_, Result<(Value, Vec<String>), NodeError>> {
        away()
    }

    fn genesis_hash(&self) -> Option<Hash> {
        Some([1; 32])
    }

    fn submit(&self, _: Submission) -> BoxFuture<'_, Result<u32, SubmitError>> {
        Box::pin(async { Err(SubmitError::Unknown("away".into())) })
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let hash = "05".repeat(32);
    let token = format!("7.1800000000.{}", "00".repeat(64));
    let json = "content-type: application/json";
    [
        String::from("GET /health\n\n"),
        "GET /metrics\n\n".into(),
        "GET /v1/worker\n\n".into(),
        "GET /v1/evidence\n\n".into(),
        format!("GET /v1/evidence/{hash}\n\n"),
        "GET /v1/registration\n\n".into(),
        "GET /v1/jobs/7\n\n".into(),
        "GET /v1/jobs/7/receipt\n\n".into(),
        "GET /v1/jobs/7/output\nrange: bytes=10-\n\n".into(),
        "GET /v1/jobs/8/output\n\n".into(),
        format!("HEAD /v1/blobs/{hash}\n\n"),
        format!("GET /v1/jobs/7/inputs\nphala-fetch: {token}\n\n"),
        format!("GET /v1/blobs/{hash}\nphala-fetch: {token}\nrange: bytes=10-\n\n"),
        format!("PUT /v1/blobs/{hash}\nphala-upload: {token}\nupload-offset: 0\nupload-length: 5\n\nhello"),
        format!("PUT /v1/blobs/{hash}\nphala-upload: {token}\ncontent-length: 5\n\nhello"),
        format!("POST /v1/jobs/7/start\n{json}\nphala-upload: {token}\n\n{{\"input\":\"{hash}\",\"attempt\":1}}"),
        format!("POST /v1/liveness\n{json}\n\n{{\"nonce\":\"{hash}\"}}"),
    ]
    .map(String::into_bytes)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_seeds_find_their_routes() {
        for seed in seeds() {
            let folder = tempfile::tempdir().unwrap();
            let (status, _, body) = answer(host(folder.path()), parse(&seed).unwrap()).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            let missing = status == StatusCode::METHOD_NOT_ALLOWED || body.contains("no_such_route");
            assert!(!missing && status != StatusCode::INTERNAL_SERVER_ERROR, "{status} {body}");
        }
    }
}
