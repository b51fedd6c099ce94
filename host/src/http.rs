//! What users reach: uploads of ciphertext, starts, downloads; and what operators watch.
//!
//! Nothing here is secret and nothing here is authenticated: what is uploaded is encrypted to the enclave, and only it
//! can tell whether a start is a real one. What strangers can do is use up disk and connections: both are bounded, so that
//! the host stands; that others are served meanwhile is up to a proxy before it.
//! Errors are JSON: `{"error": {"code", "message", "hint"}}`.

mod blobs;
mod error;
mod jobs;
mod server;
mod worker;

pub use error::ApiError;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, head, post},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{Heads, Node, OperatorConfig},
    enclave::Enclave,
    jobs::Jobs,
    metrics::Metrics,
    store::Store,
};

/// The largest body of everything but an upload, in bytes.
const MAX_BODY_BYTES: usize = 4096;

/// How long a start may take: its body to come, and the enclave to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What connections may cost.
const BOUNDS: server::Bounds = server::Bounds {
    connections: 512,
    head: Duration::from_secs(20),
    write: Duration::from_secs(60),
    drain: Duration::from_secs(10),
};

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
    /// One permit for each upload.
    pub uploads: Arc<Semaphore>,
    /// The last registration that was made, and when.
    pub last_registration: Mutex<Option<worker::FreshRegistration>>,
}

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/worker", get(worker::worker))
        .route("/v1/evidence", get(worker::evidence))
        .route("/v1/registration", get(worker::registration))
        .route("/v1/blobs/{blob}", head(blobs::head).put(blobs::put))
        .route("/v1/jobs/{job}", get(jobs::report))
        .route("/v1/jobs/{job}/start", post(jobs::start).route_layer(middleware::from_fn(in_time)))
        .route("/v1/jobs/{job}/receipt", get(jobs::receipt))
        .route("/v1/jobs/{job}/output", get(jobs::output))
        .route("/metrics", get(worker::metrics))
        .route("/health", get(worker::health))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has no such method")
        })
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

/// Serves until `shutdown`; then what is under way may end.
///
/// # Errors
/// The listener's.
pub async fn serve(api: Arc<Api>, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    server::serve(router(api), listener, shutdown, BOUNDS).await
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

/// Ends a start that takes too long, as one whose body does not come.
async fn in_time(request: Request, next: Next) -> Response {
    let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "idle", "the start took too long");
    timeout(START_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| error.hint("send it again").into_response())
}
