//! The worker itself: who it is, what proves it, how it is.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use phala_primitives::WorkerId;
use phala_protocol::{EnclaveReply, HostRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Api, ApiError, jobs::scale, parse_hash};
use crate::{blocking, chain::fresh_evidence, enclave::RequestError, store::EvidenceBundle};

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
    let session = api.enclave.session().ok_or(RequestError::Disconnected)?;
    let status = api.enclave.status();
    let genesis_hash = match api.node.genesis_hash() {
        Some(hash) => Some(hash),
        None => {
            let store = api.store.clone();
            blocking::run(move || store.load_evidence()).await?.map(|(statement, _)| statement.genesis_hash)
        }
    };
    Ok(Json(json!({
        "worker": WorkerId(session.identity.signing_key),
        "operator": api.operator.operator,
        "encryption_key": scale(&session.identity.encryption_key),
        "measurement": scale(&session.identity.measurement),
        "genesis_hash": genesis_hash.map(|hash| scale(&hash)),
        "version": env!("CARGO_PKG_VERSION"),
        "finalized_block": status.finalized_block,
        "pause": status.pause.map(|pause| pause.to_string()),
        "running_jobs": status.running_jobs,
        "queued_jobs": status.queued_jobs,
        "capacity": api.capacity,
    })))
}

/// `GET /v1/evidence`
pub(super) async fn evidence(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let store = api.store.clone();
    let bundle = blocking::run(move || store.load_evidence()).await?.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "not_registered", "the worker is not registered on chain yet")
            .hint("the operator's log says what it waits for")
    })?;
    Ok(served(&bundle))
}

/// `GET /v1/evidence/{hash}`: whoever knows from the chain what is registered need not wait until this host has seen it.
pub(super) async fn evidence_by_hash(
    State(api): State<Arc<Api>>,
    Path(hash): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hash = parse_hash(&hash)?;
    let store = api.store.clone();
    let bundle = blocking::run(move || store.load_bundle(&hash)).await?.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no_such_evidence", "the host does not have the evidence with this hash")
            .hint("`GET /v1/evidence` is what it knows to be registered")
    })?;
    Ok(served(&bundle))
}

fn served((statement, evidence): &EvidenceBundle) -> Json<Value> {
    Json(json!({"statement": scale(statement), "evidence": scale(evidence)}))
}

/// `GET /v1/registration`
pub(super) async fn registration(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let session = api.enclave.session().ok_or(RequestError::Disconnected)?;
    let id = WorkerId(session.identity.signing_key);
    // Held while one is made: whoever asks meanwhile gets the same a moment later, and takes up no place until then.
    let mut last = api.front.registration.try_lock().map_err(|_| {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "a registration is being made");
        error.hint("ask again in a moment for the same one")
    })?;
    if let Some(last) = last.as_ref().filter(|last| last.worker == id && last.made.elapsed() < REGISTRATION_AGE) {
        return Ok(Json(last.answer.clone()));
    }
    let endpoint = &api.operator.endpoint;
    let answer = match fresh_evidence(&session, &api.store).await? {
        EnclaveReply::Registration(worker) => json!({
            "statement": scale(&worker.statement),
            "evidence": scale(&worker.evidence),
            "performance": scale(&worker.performance),
            "endpoint": endpoint,
        }),
        EnclaveReply::Attestation(gatekeeper) => json!({
            "statement": scale(&gatekeeper.statement),
            "evidence": scale(&gatekeeper.evidence),
            "endpoint": endpoint,
        }),
        _ => return Err(RequestError::WrongReply.into()),
    };
    *last = Some(FreshRegistration { made: Instant::now(), worker: id, answer: answer.clone() });
    Ok(Json(answer))
}

/// The body of a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChallengeBody {
    /// Chosen by the user.
    nonce: String,
}

/// `POST /v1/liveness`: whoever can answer has the worker's key now.
pub(super) async fn liveness(
    State(api): State<Arc<Api>>,
    body: Result<Json<ChallengeBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(body) = body.map_err(|error| {
        ApiError::new(error.status(), "bad_body", error.body_text())
            .hint("send {\"nonce\": \"<64 hexadecimal digits>\"}")
    })?;
    let mut nonce = [0; 32];
    hex::decode_to_slice(&body.nonce, &mut nonce).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_nonce", "the nonce is not 64 hexadecimal digits")
            .hint("draw 32 random bytes for each challenge")
    })?;
    let _place = api.front.challenges.enter()?;
    match api.enclave.request(HostRequest::Challenge { nonce }).await? {
        EnclaveReply::Liveness(liveness) => Ok(Json(json!({"liveness": scale(&liveness)}))),
        _ => Err(RequestError::WrongReply.into()),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let store = api.store.clone();
    let (used, (accounts, account_bytes)) = blocking::run(move || (store.used_bytes(), store.account_bytes())).await;
    api.metrics.disk_bytes.set(gauge(used));
    api.metrics.accounts.set(gauge(accounts as u64));
    api.metrics.account_bytes.set(gauge(account_bytes));
    api.metrics.uploads.set(gauge(api.front.uploads.taken()));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render()).into_response()
}

/// `GET /health`: whether the worker can do its work.
pub(super) async fn health(State(api): State<Arc<Api>>) -> (StatusCode, Json<Value>) {
    let enclave = api.enclave.session().is_some();
    let node = api.heads.borrow().is_some();
    let enclave_status = api.enclave.status();
    let synchronized = enclave_status.finalized_block.is_some();
    let pause = enclave_status.pause.map(|pause| pause.to_string());
    let healthy = enclave && node && synchronized && pause.is_none();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if healthy { "ok" } else { "degraded" };
    let report = json!({
        "status": word,
        "enclave": enclave,
        "node": node,
        "enclave_synchronized": synchronized,
        "enclave_pause": pause,
    });
    (status, Json(report))
}
