//! Uploads. Bytes stream to a file and are hashed on the way, a batch of pieces at a time: a slow disk slows the sender
//! and nobody else, and a slow sender holds a file and a place, but no thread.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{Path, State},
    http::{Extensions, HeaderMap, HeaderName, StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream::ReadyChunks};
use tokio::time::timeout;

use super::{Api, ApiError, error::UPLOAD_OFFSET, parse_hash, server, tokens::Right};
use crate::{
    blocking,
    pace::{Pace, TooSlow},
    store::{self, Upload},
};

/// Says how long the blob is.
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// Pieces that are written together, if they are there.
const PIECES: usize = 8;

/// How much of a body that is not wanted is read, so that its sender gets to see the answer, and for how long.
const DRAIN_BYTES: u64 = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);

type Pieces = ReadyChunks<BodyDataStream>;

/// `HEAD /v1/blobs/{blob}`: of an interrupted upload, whose token it is sees what is there.
pub(super) async fn head(
    State(api): State<Arc<Api>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let blob = parse_hash(&blob)?;
    // A bad token is as good as none: this answer has no body that could say why, and the upload's has.
    let owner = if headers.contains_key(Right::Upload.header()) {
        api.front.tokens.check(&api, Right::Upload, &headers).await.ok()
    } else {
        None
    };
    let _place = api.front.others.enter()?;
    let (store, jobs) = (api.store.clone(), api.jobs.clone());
    let held = blocking::run(move || match owner {
        Some((job, owner)) => (jobs.find(job, &blob), store.interrupted_bytes(&blob, owner)),
        None => (store.blob_bytes(&blob), None),
    });
    let (whole, interrupted) = held.await;
    if let Some(bytes) = whole {
        return Ok(([(CONTENT_LENGTH, bytes)], Body::empty()).into_response());
    }
    let error = ApiError::new(StatusCode::NOT_FOUND, "no_such_blob", "the host does not have this blob");
    Err(match interrupted {
        Some(bytes) => error.hint("go on with the upload at `upload-offset`").upload_offset(bytes),
        None => error.hint("upload it with PUT"),
    })
}

/// `PUT /v1/blobs/{blob}`
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let mut pieces = body.into_data_stream().ready_chunks(PIECES);
    let stored = take(&api, &blob, &headers, &extensions, &mut pieces).await;
    // A body that was read to its end costs nothing here.
    drain(&api, &mut pieces).await;
    Ok(if stored? { StatusCode::CREATED } else { StatusCode::OK })
}

/// Says whether the blob is new.
async fn take(
    api: &Api,
    blob: &str,
    headers: &HeaderMap,
    extensions: &Extensions,
    pieces: &mut Pieces,
) -> Result<bool, ApiError> {
    let blob = parse_hash(blob)?;
    let (offset, total) = extent(headers)?;
    let (job, owner) = api.front.tokens.check(api, Right::Upload, headers).await?;
    let _working = server::begin_work(extensions);
    // Until it is noted that it was brought.
    let _wanted = api.jobs.want([blob]);
    let jobs = api.jobs.clone();
    if blocking::run(move || jobs.find(job, &blob)).await.is_some() {
        return Ok(false);
    }
    let _place = api.front.uploads.enter()?;
    let store = api.store.clone();
    let upload = blocking::run(move || store.begin_upload(blob, owner, offset, total)).await.map_err(|error| {
        if matches!(error, store::Error::AccountQuotaExceeded { .. }) {
            api.metrics.reject("quota");
        }
        ApiError::from(error)
    })?;
    let stored = receive(api, upload, pieces).await?;
    let jobs = api.jobs.clone();
    blocking::run(move || jobs.brought(job, blob)).await;
    Ok(stored)
}

async fn receive(api: &Api, mut upload: Upload, pieces: &mut Pieces) -> Result<bool, ApiError> {
    let mut pace = Pace::new(api.front.bounds.rate);
    let broken = loop {
        let batch = match pace.wait(pieces.next()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => break None,
            Err(TooSlow) => {
                api.metrics.reject("slow_upload");
                let rate = api.front.bounds.rate;
                let message = format!("fewer than {} bytes came in {:?}", rate.bytes, rate.over);
                let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message);
                break Some(error.hint("go on with the upload at `upload-offset`"));
            }
        };
        let mut bytes: Vec<Bytes> = Vec::with_capacity(batch.len());
        let mut error = None;
        for piece in batch {
            match piece {
                Ok(piece) => bytes.push(piece),
                Err(broke) => error = Some(broke),
            }
        }
        let count: usize = bytes.iter().map(Bytes::len).sum();
        pace.count(count);
        api.metrics.count_bytes("http", "in", count);
        let write = move || {
            let written = bytes.iter().try_for_each(|piece| upload.write(piece));
            (upload, written)
        };
        let written;
        (upload, written) = blocking::run(write).await;
        if let Err(error) = written {
            blocking::run(move || drop(upload)).await;
            return Err(error.into());
        }
        if let Some(error) = error {
            let message = format!("the upload broke off: {error}");
            let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "truncated", message);
            break Some(error.hint("go on with the upload at `upload-offset`"));
        }
    };
    let present = upload.received();
    match broken {
        Some(error) => {
            blocking::run(move || drop(upload)).await;
            Err(error.upload_offset(present))
        }
        None => match blocking::run(move || upload.finish()).await {
            // What came is kept, as after a break.
            Err(error @ store::Error::LengthMismatch { .. }) => Err(ApiError::from(error).upload_offset(present)),
            finished => Ok(finished?),
        },
    }
}

async fn drain(api: &Api, pieces: &mut Pieces) {
    let Ok(_place) = api.front.drains.enter() else { return };
    let reading = async {
        let mut read = 0u64;
        while let Some(batch) = pieces.next().await {
            for piece in batch {
                let Ok(piece) = piece else { return };
                read = read.saturating_add(piece.len() as u64);
            }
            if read > DRAIN_BYTES {
                return;
            }
        }
    };
    // Who is slower than this does not get to see the answer.
    let _ = timeout(DRAIN_TIME, reading).await;
}

/// Where the body goes in the blob, and how long the blob is, when the sender said. Without a length, the upload is bounded
/// as it comes.
fn extent(headers: &HeaderMap) -> Result<(u64, Option<u64>), ApiError> {
    let offset = number(headers, &UPLOAD_OFFSET)?.unwrap_or(0);
    let end = number(headers, &CONTENT_LENGTH)?.map(|bytes| offset.saturating_add(bytes));
    let total = number(headers, &UPLOAD_LENGTH)?.or(end);
    if end > total {
        let message = "the body goes beyond the upload-length";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_length", message));
    }
    Ok((offset, total))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let bad = || ApiError::new(StatusCode::BAD_REQUEST, "bad_length", format!("the header {name} holds no number"));
    number.map(Some).ok_or_else(bad)
}
