//! What users reach: uploads of ciphertext, starts, downloads; what other hosts reach; and what operators watch.
//!
//! Nothing here is secret: what is uploaded is encrypted to the enclave, and only it can tell whether a start is a real one.
//! Strangers can use up disk, connections and time, and all three are bounded:
//!
//! - Who uploads for a job, or starts it, shows with a token that it is one's own and this worker's (`tokens.rs`), and has a
//!   quota. Who fetches a job's inputs shows that it is one's own worker's.
//! - There are only so many connections (`server.rs`): a newcomer takes the place of the one that is idle for the longest. A
//!   connection on which a request has still to come is idle.
//! - Each kind of request has places of its own (`limits.rs`), so that none starves another. Who gets none is told when to try
//!   again, and nobody waits in a queue.
//! - Who sends or takes too slowly is cut off.
//!
//! Errors are JSON: `{"error": {"code", "message", "hint", "retry_after"}}`.

mod blobs;
mod download;
mod error;
mod gatekeeper;
mod inputs;
mod jobs;
mod limits;
mod server;
mod tls;
mod tokens;
mod worker;

pub use crate::pace::MinimumRate;
pub use error::ApiError;
pub use limits::Bounds;
pub use tls::{Tls, TlsError};

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, head, post},
};
use phala_primitives::Hash;
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
};
use tokio_util::sync::CancellationToken;

use self::{limits::Gate, tokens::Tokens};
use crate::{
    chain::{Heads, Node, OperatorConfig},
    enclave::Enclave,
    jobs::Jobs,
    metrics::Metrics,
    store::Store,
};

/// The largest body of everything but an upload, in bytes.
const MAX_BODY_BYTES: usize = 4096;

/// What requests are served from.
pub struct Api {
    /// The disk.
    pub store: Arc<Store>,
    /// What is known of jobs.
    pub jobs: Arc<Jobs>,
    /// The enclave.
    pub enclave: Arc<Enclave>,
    /// The node.
    pub node: Arc<dyn Node>,
    /// Where the node's chain is; `None` while it does not answer.
    pub heads: watch::Receiver<Option<Heads>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the operator wants.
    pub operator: OperatorConfig,
    /// How many jobs the enclave runs at once.
    pub capacity: u32,
    /// Who gets in.
    pub front: Front,
}

/// Bounds on what requests cost, and what they share.
pub struct Front {
    bounds: Bounds,
    starts: Gate,
    uploads: Gate,
    downloads: Gate,
    challenges: Gate,
    checks: Gate,
    others: Gate,
    /// Bodies that are read though nobody wants them, so that their senders get to see the answer.
    drains: Gate,
    tokens: Tokens,
    /// The last registration that was made.
    registration: Mutex<Option<worker::FreshRegistration>>,
}

impl Front {
    /// Everything is free.
    pub fn new(bounds: Bounds, metrics: &Arc<Metrics>) -> Self {
        let gate = |name, places| Gate::new(name, places, metrics.clone());
        Self {
            bounds,
            starts: gate("starts", bounds.starts),
            uploads: gate("uploads", bounds.uploads),
            downloads: gate("downloads", bounds.downloads),
            challenges: gate("challenges", bounds.challenges),
            checks: gate("checks of tokens", bounds.checks),
            others: gate("requests", bounds.others),
            drains: gate("drains", bounds.uploads),
            tokens: Tokens::default(),
            registration: Mutex::default(),
        }
    }
}

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    let short = Router::new()
        .route("/v1/worker", get(worker::worker))
        .route("/v1/evidence", get(worker::evidence))
        .route("/v1/evidence/{hash}", get(worker::evidence_by_hash))
        .route("/v1/registration", get(worker::registration))
        .route("/v1/jobs/{job}", get(jobs::report))
        .route("/v1/jobs/{job}/receipt", get(jobs::receipt))
        .route_layer(middleware::from_fn_with_state(api.clone(), admit));
    Router::new()
        .merge(short)
        // Operators watch these most when everything else is busy.
        .route("/metrics", get(worker::metrics))
        .route("/health", get(worker::health))
        .route("/v1/liveness", post(worker::liveness))
        .route("/v1/jobs/{job}/start", post(jobs::start))
        .route("/v1/blobs/{blob}", head(blobs::head).put(blobs::put).get(inputs::blob))
        .route("/v1/jobs/{job}/inputs", get(inputs::list))
        .route("/v1/key", post(gatekeeper::key))
        .route("/v1/beacon", post(gatekeeper::beacon))
        .route("/v1/jobs/{job}/output", get(jobs::output))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has no such method")
        })
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

/// Serves until `shutdown`, with TLS if given; then what is under way may end.
///
/// # Errors
/// The listener's.
pub async fn serve(
    api: Arc<Api>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let (bounds, metrics) = (api.front.bounds, api.metrics.clone());
    server::serve(router(api), listener, tls, shutdown, bounds, metrics).await
}

/// Counts requests by route, not by path: strangers choose paths.
async fn count(State(api): State<Arc<Api>>, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    api.metrics.http_requests.with_label_values(&[route, response.status().as_str()]).inc();
    tracing::debug!(%method, route, status = response.status().as_u16(), "served");
    response
}

/// What a path or a body names by its hash.
fn parse_hash(text: &str) -> Result<Hash, ApiError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_hash", "a hash has 64 hexadecimal digits, without 0x")
            .hint("use the SHA-256 of the bytes")
    })
}

/// Serves a request while there is a place for it.
async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match api.front.others.enter() {
        Ok(_place) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
