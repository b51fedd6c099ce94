//! What a gatekeeper's host serves to workers and to the other gatekeepers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use codec::DecodeAll;
use phala_primitives::gatekeeper::{GatekeeperRequest, SignedBeaconPart};
use phala_protocol::{EnclaveReply, HostNotice, HostRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, ApiError, jobs::scale};
use crate::enclave::RequestError;

/// A request for a part of a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    /// The SCALE encoding of a [`GatekeeperRequest`], in hexadecimal.
    request: String,
}

/// A part of a round.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeaconBody {
    /// The SCALE encoding of a [`SignedBeaconPart`], in hexadecimal.
    part: String,
}

/// `POST /v1/key`: a part of an app key, for the worker that the chain gave a job of the app, or of the key to seal with, for an enclave
/// that has claimed it.
pub(super) async fn key(
    State(api): State<Arc<Api>>,
    body: Result<Json<KeyBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(body) =
        body.map_err(|error| bad_body(&error, "send {\"request\": \"0x<GatekeeperRequest in SCALE>\"}"))?;
    let request: GatekeeperRequest = decoded(&body.request, "request")?;
    let _place = api.front.challenges.enter()?;
    match api.enclave.request(HostRequest::Key(Box::new(request))).await? {
        EnclaveReply::Key(reply) => Ok(Json(json!({"reply": scale(&reply)}))),
        _ => Err(RequestError::WrongReply.into()),
    }
}

/// `POST /v1/beacon`: another gatekeeper's part of a round of the random beacon.
pub(super) async fn beacon(
    State(api): State<Arc<Api>>,
    body: Result<Json<BeaconBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(body) = body.map_err(|error| bad_body(&error, "send {\"part\": \"0x<SignedBeaconPart in SCALE>\"}"))?;
    let part: SignedBeaconPart = decoded(&body.part, "part")?;
    let _place = api.front.checks.enter()?;
    let link = api.enclave.session().ok_or(RequestError::Disconnected)?.link;
    link.notice(HostNotice::BeaconPart(part)).await?;
    Ok(Json(json!({})))
}

fn bad_body(error: &JsonRejection, hint: &'static str) -> ApiError {
    ApiError::new(error.status(), "bad_body", error.body_text()).hint(hint)
}

fn decoded<T: DecodeAll>(text: &str, what: &str) -> Result<T, ApiError> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    bytes.and_then(|bytes| T::decode_all(&mut &bytes[..]).ok()).ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_encoding", format!("the {what} is not what this path takes"))
            .hint("hexadecimal digits of the SCALE encoding, with 0x or without")
    })
}
