//! Starts, states, receipts and outputs of jobs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{Extensions, HeaderMap, StatusCode},
    response::Response,
};
use codec::Encode;
use phala_primitives::JobId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api, ApiError,
    download::{self, etag},
    parse_hash, server,
    tokens::{self, Right},
};
use crate::{
    blocking,
    enclave::RequestError,
    jobs::{JobReport, Phase},
    store,
};

/// When to try a start again that the enclave does not take yet: a block is made, or finalized.
const BLOCK: Duration = Duration::from_secs(2);

/// The same while the enclave takes no new work.
const PAUSE: Duration = Duration::from_secs(15);

/// The longest that a start is told to wait: the queue may be shorter than it looks.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The body of a start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    /// SHA-256 of the encrypted job input.
    input: String,
    /// The number of the job's assignment.
    attempt: u32,
}

/// `GET /v1/jobs/{job}`
pub(super) async fn report(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Json<JobReport>, ApiError> {
    Ok(Json(api.jobs.report(parse(&job)?)))
}

/// `POST /v1/jobs/{job}/start`, by the job's owner: starts of strangers would take the enclave's places, and one of a later
/// attempt would be in the way of the next.
pub(super) async fn start(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
    body: Result<Json<StartBody>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let job = parse(&job)?;
    let Json(body) = body.map_err(|error| {
        ApiError::new(error.status(), "bad_body", error.body_text())
            .hint("send {\"input\": \"<SHA-256 of the job input>\", \"attempt\": <the job's attempts on chain>}")
    })?;
    let input = parse_hash(&body.input)?;
    let attempt = body.attempt;
    if attempt == 0 {
        let error = ApiError::new(StatusCode::BAD_REQUEST, "bad_attempt", "the first attempt at a job is 1");
        return Err(error.hint("give the job's `attempts` on chain"));
    }
    let (signed_for, _) = api.front.tokens.check(&api, Right::Upload, &headers).await?;
    tokens::ensure_for(signed_for, job)?;
    let (store, jobs) = (api.store.clone(), api.jobs.clone());
    let ask = move || {
        let is_here = store.blob_bytes(&input).is_some();
        if is_here {
            jobs.asked(job, input);
        }
        is_here
    };
    if !blocking::run(ask).await {
        let error =
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_such_blob", "the host does not have the job's input");
        return Err(error.hint("upload it, and every file that it names, before the start"));
    }
    let place = api.front.starts.enter()?;
    api.jobs.admit(job).map_err(|crowded| {
        api.metrics.reject("jobs");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", crowded);
        error.hint("another worker may be free").retry_after(backlog(&api))
    })?;
    // It goes on when the client hangs up: what the enclave accepts has to be on record.
    let on = api.clone();
    let started = async move {
        let _place = place;
        let jobs = on.jobs.clone();
        if let Err(error) = on.enclave.start_job(job, attempt, input).await {
            if matches!(&error, RequestError::Refused(refusal) if !refusal.retry) {
                blocking::run(move || jobs.denied(job, &input)).await;
            }
            return Err(refused(&on, error));
        }
        blocking::run(move || jobs.keep(job)).await?;
        Ok::<_, ApiError>(())
    };
    tokio::spawn(started).await.map_err(ApiError::internal)??;
    Ok((StatusCode::ACCEPTED, Json(json!({"job": job, "state": api.jobs.report(job).state}))))
}

/// Why a start came to nothing, and when the next one may succeed: when the enclave works again, when what waits in it has
/// run, or in the next block.
fn refused(api: &Api, error: RequestError) -> ApiError {
    match error {
        RequestError::Refused(refusal) if refusal.retry => {
            let status = api.enclave.status();
            let wait = if status.pause.is_some() {
                PAUSE
            } else if status.queued_jobs >= api.capacity {
                backlog(api)
            } else {
                BLOCK
            };
            ApiError::from(refusal).retry_after(wait)
        }
        error => error.into(),
    }
}

fn backlog(api: &Api) -> Duration {
    api.jobs.backlog(api.capacity).clamp(BLOCK, LONGEST_WAIT)
}

/// `GET /v1/jobs/{job}/receipt`
pub(super) async fn receipt(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Json<Value>, ApiError> {
    let job = parse(&job)?;
    let store = api.store.clone();
    match blocking::run(move || store.load_receipt(job)).await? {
        Some(receipt) => Ok(Json(json!({"receipt": scale(&receipt)}))),
        None => Err(not_there(&api, job, "no_receipt", "there is no receipt of this job here")),
    }
}

/// `GET /v1/jobs/{job}/output`, from `Range: bytes=N-` on.
pub(super) async fn output(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let job = parse(&job)?;
    let held = (api.front.downloads.enter()?, server::begin_work(&extensions));
    let store = api.store.clone();
    let opened = blocking::run(move || {
        let receipt = store.load_receipt(job)?;
        let output = store.open_output(job)?;
        Ok::<_, store::Error>(output.map(|(file, bytes)| (file, bytes, receipt)))
    });
    let Some((file, bytes, receipt)) = opened.await? else {
        return Err(not_there(&api, job, "no_output", "there is no output of this job here"));
    };
    // An output is put in place only if it is the one that the receipt names.
    let etag = receipt.map(|signed| etag(&signed.receipt.output_file_hash));
    Ok(download::answer(api, &headers, file, bytes, etag, held))
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

pub(super) fn parse(job: &str) -> Result<JobId, ApiError> {
    // `parse` alone would accept a sign and leading zeros: two names for one job.
    let id = job.parse::<JobId>().ok().filter(|id| id.to_string() == job);
    id.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "bad_job", "a job is named by its number"))
}

/// SCALE as hexadecimal with `0x`.
pub(super) fn scale(value: &impl Encode) -> String {
    format!("0x{}", hex::encode(value.encode()))
}
