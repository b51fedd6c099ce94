//! The worker itself: who it is, what proves it, how it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use phala_primitives::WorkerId;
use serde_json::{Value, json};

use super::{Api, ApiError, blobs::blocking, jobs::hex};
use crate::chain::fresh_registration;

/// How long a registration that was just made is given to others who ask: making one takes the enclave some work.
const REGISTRATION_AGE: Duration = Duration::from_secs(5);

/// A registration, and when it was made.
pub struct FreshRegistration {
    made: Instant,
    worker: WorkerId,
    answer: Value,
}

/// `GET /v1/worker`
pub(super) async fn worker(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let session = api.enclave.session().ok_or(crate::enclave::RequestError::Disconnected)?;
    let status = api.enclave.status();
    let genesis_hash = match api.node.genesis_hash() {
        Some(hash) => Some(hash),
        None => {
            let store = api.store.clone();
            blocking(move || store.load_evidence()).await?.map(|(statement, _)| statement.genesis_hash)
        }
    };
    Ok(Json(json!({
        "worker": WorkerId(session.identity.signing_key),
        "operator": api.operator.operator,
        "encryption_key": hex(&session.identity.encryption_key),
        "measurement": hex(&session.identity.measurement),
        "genesis_hash": genesis_hash.map(|hash| hex(&hash)),
        "version": env!("CARGO_PKG_VERSION"),
        "finalized_block": status.finalized_block,
        "running_jobs": status.running_jobs,
        "queued_jobs": status.queued_jobs,
        "capacity": api.capacity,
    })))
}

/// `GET /v1/evidence`
pub(super) async fn evidence(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let store = api.store.clone();
    let (statement, evidence) = blocking(move || store.load_evidence()).await?.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "not_registered", "the worker is not registered on chain yet")
            .hint("the operator's log says what it waits for")
    })?;
    Ok(Json(json!({"statement": hex(&statement), "evidence": hex(&evidence)})))
}

/// `GET /v1/registration`
pub(super) async fn registration(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let session = api.enclave.session().ok_or(crate::enclave::RequestError::Disconnected)?;
    let id = WorkerId(session.identity.signing_key);
    // Held while one is made: whoever asks meanwhile gets the same.
    let mut last = api.last_registration.lock().await;
    if let Some(last) = last.as_ref().filter(|last| last.worker == id && last.made.elapsed() < REGISTRATION_AGE) {
        return Ok(Json(last.answer.clone()));
    }
    let registration = fresh_registration(&session, &api.store).await?;
    let answer = json!({
        "statement": hex(&registration.statement),
        "evidence": hex(&registration.evidence),
        "performance": hex(&registration.performance),
        "endpoint": api.operator.endpoint,
    });
    *last = Some(FreshRegistration { made: Instant::now(), worker: id, answer: answer.clone() });
    Ok(Json(answer))
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    api.metrics.disk_bytes.set(i64::try_from(api.store.used_bytes()).unwrap_or(i64::MAX));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render()).into_response()
}

/// `GET /health`: whether the worker can do its work.
pub(super) async fn health(State(api): State<Arc<Api>>) -> (StatusCode, Json<Value>) {
    let enclave = api.enclave.session().is_some();
    let node = api.heads.borrow().is_some();
    let synchronized = api.enclave.status().finalized_block.is_some();
    let healthy = enclave && node && synchronized;
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if healthy { "ok" } else { "degraded" };
    (status, Json(json!({"status": word, "enclave": enclave, "node": node, "enclave_synchronized": synchronized})))
}
