//! Starts, states, receipts and outputs of jobs.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::JsonRejection},
    http::{
        StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use codec::Encode;
use futures::StreamExt;
use phala_primitives::JobId;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::{
    Api, ApiError,
    blobs::{self, blocking},
};
use crate::jobs::{JobReport, Phase};

/// How much of an output is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// The body of a start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    /// SHA-256 of the encrypted job input.
    input: String,
}

/// `GET /v1/jobs/{job}`
pub(super) async fn report(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Json<JobReport>, ApiError> {
    Ok(Json(api.jobs.report(parse(&job)?)))
}

/// `POST /v1/jobs/{job}/start`
pub(super) async fn start(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    body: Result<Json<StartBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let job = parse(&job)?;
    let Json(body) = body.map_err(|error| {
        ApiError::new(error.status(), "bad_body", error.body_text())
            .hint("send {\"input\": \"<SHA-256 of the job input>\"}")
    })?;
    let input = blobs::parse(&body.input)?;
    if api.store.blob_bytes(&input).is_none() {
        let error =
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_such_blob", "the host does not have the job's input");
        return Err(error.hint("upload it, and every file that it names, before the start"));
    }
    // It goes on when the client hangs up: what the enclave accepts has to be on record.
    let on = api.clone();
    let started = async move {
        let start = on.jobs.begin(job, input)?;
        on.enclave.start_job(job, input).await?;
        start.accepted()?;
        Ok::<_, ApiError>(())
    };
    tokio::spawn(started).await.map_err(ApiError::internal)??;
    Ok((StatusCode::ACCEPTED, Json(json!({"job": job, "state": api.jobs.report(job).state}))))
}

/// `GET /v1/jobs/{job}/receipt`
pub(super) async fn receipt(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Json<Value>, ApiError> {
    let job = parse(&job)?;
    let store = api.store.clone();
    match blocking(move || store.load_receipt(job)).await? {
        Some(receipt) => Ok(Json(json!({"receipt": hex(&receipt)}))),
        None => Err(not_there(&api, job, "no_receipt", "there is no receipt of this job here")),
    }
}

/// `GET /v1/jobs/{job}/output`
pub(super) async fn output(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Response, ApiError> {
    let job = parse(&job)?;
    let store = api.store.clone();
    let Some((file, bytes)) = blocking(move || store.open_output(job)).await? else {
        return Err(not_there(&api, job, "no_output", "there is no output of this job here"));
    };
    let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES).inspect(move |piece| {
        if let Ok(piece) = piece {
            api.metrics.count_bytes("http", "out", piece.len());
        }
    });
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, bytes.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn not_there(api: &Api, job: JobId, code: &'static str, message: &str) -> ApiError {
    let error = ApiError::new(StatusCode::NOT_FOUND, code, message);
    match api.jobs.report(job).state {
        Phase::Unknown => error.hint("this host does not know the job; it may have been forgotten, or run elsewhere"),
        Phase::Ended => error.hint("the job ended without one; its receipt says how"),
        Phase::Refused => error.hint("the enclave refused the job; its state says why"),
        _ => error.hint("the job has not ended yet; ask for its state"),
    }
}

fn parse(job: &str) -> Result<JobId, ApiError> {
    // `parse` alone would accept a sign and leading zeros: two names for one job.
    let id = job.parse::<JobId>().ok().filter(|id| id.to_string() == job);
    id.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "bad_job", "a job is named by its number"))
}

/// SCALE as hexadecimal with `0x`.
pub(super) fn hex(value: &impl Encode) -> String {
    format!("0x{}", hex::encode(value.encode()))
}
