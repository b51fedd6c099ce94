//! What the host of the worker that has a job now gets from this one, which had the job before: the inputs that it keeps.
//!
//! All of it is ciphertext, or a public app's program, and goes to nobody else: see [`tokens`].

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{Extensions, HeaderMap, StatusCode},
    response::Response,
};
use phala_primitives::{Hash, JobId};
use serde_json::{Value, json};

use super::{
    Api, ApiError,
    download::{self, etag},
    jobs, parse_hash, server,
    tokens::{self, Right},
};
use crate::{blocking, jobs::Inputs};

/// `GET /v1/jobs/{job}/inputs`
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(job): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let job = jobs::parse(&job)?;
    let (signed_for, _) = api.front.tokens.check(&api, Right::Fetch, &headers).await?;
    tokens::ensure_for(signed_for, job)?;
    let _place = api.front.others.enter()?;
    let Inputs { input, blobs, .. } = api.jobs.inputs(job).ok_or_else(|| no_inputs(job))?;
    let store = api.store.clone();
    let present = move || -> Vec<(Hash, u64)> {
        blobs.into_iter().filter_map(|blob| Some((blob, store.blob_bytes(&blob)?))).collect()
    };
    let present = blocking::run(present).await;
    if !present.iter().any(|(blob, _)| *blob == input) {
        return Err(no_inputs(job));
    }
    let blobs = present.iter().map(|(blob, bytes)| json!({"sha256": hex::encode(blob), "bytes": bytes}));
    Ok(Json(json!({"job": job, "input": hex::encode(input), "blobs": blobs.collect::<Vec<_>>()})))
}

/// `GET /v1/blobs/{blob}`, from `Range: bytes=N-` on: one of the inputs of the token's job.
pub(super) async fn blob(
    State(api): State<Arc<Api>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let blob = parse_hash(&blob)?;
    let (job, _) = api.front.tokens.check(&api, Right::Fetch, &headers).await?;
    let held = (api.front.downloads.enter()?, server::begin_work(&extensions));
    let is_input = api.jobs.inputs(job).is_some_and(|inputs| inputs.blobs.contains(&blob));
    let store = api.store.clone();
    let opened = if is_input { blocking::run(move || store.open_blob(&blob)).await? } else { None };
    let (file, bytes) = opened.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no_such_blob", format!("the host keeps no such blob for job {job}"))
            .hint("ask for the job's inputs, which name all that there are")
    })?;
    Ok(download::answer(api, &headers, file, bytes, Some(etag(&blob)), held))
}

fn no_inputs(job: JobId) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_inputs", format!("the host keeps no inputs of job {job}"))
        .hint("ask a host that had the job before this one; or the job's owner brings them")
}
