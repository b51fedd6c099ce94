//! Uploads. Bytes stream to a temporary file and are hashed on the way; a blocking thread does both, so that a slow disk
//! slows the sender and nobody else.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use phala_primitives::Hash;
use tokio::{sync::mpsc, time::timeout};

use super::{Api, ApiError};
use crate::store::{self, Upload};

/// How long the sender may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an upload waits for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// Pieces that wait for the disk.
const WAITING_PIECES: usize = 8;

/// How much of a body that is not wanted is read, so that its sender gets to see the answer.
const DRAIN_BYTES: u64 = 64 << 20;

/// `HEAD /v1/blobs/{blob}`
pub(super) async fn head(State(api): State<Arc<Api>>, Path(blob): Path<String>) -> Result<Response, ApiError> {
    let bytes = api.store.blob_bytes(&parse(&blob)?).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no_such_blob", "the host does not have this blob")
            .hint("upload it with PUT")
    })?;
    Ok(([(CONTENT_LENGTH, bytes)], Body::empty()).into_response())
}

/// `PUT /v1/blobs/{blob}`
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let blob = parse(&blob)?;
    let announced = announced_bytes(&headers)?;
    if api.store.blob_bytes(&blob).is_some() {
        drain(body).await;
        return Ok(StatusCode::OK);
    }
    let waiting = timeout(QUEUE_TIMEOUT, api.uploads.clone().acquire_owned());
    let Ok(Ok(_permit)) = waiting.await else {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the host has too many uploads under way");
        return Err(error.hint("try again in a moment"));
    };
    let store = api.store.clone();
    let upload = match blocking(move || store.begin_upload(blob, announced)).await {
        Ok(upload) => upload,
        Err(error) => {
            drain(body).await;
            return Err(error);
        }
    };
    let new = receive(&api, upload, body).await?;
    api.metrics.disk_bytes.set(i64::try_from(api.store.used_bytes()).unwrap_or(i64::MAX));
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}

async fn receive(api: &Api, mut upload: Upload, body: Body) -> Result<bool, ApiError> {
    let (pieces, mut queue) = mpsc::channel::<Piece>(WAITING_PIECES);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = queue.blocking_recv() {
            match piece {
                Piece::Bytes(bytes) => upload.write(&bytes)?,
                Piece::End => return upload.finish().map(Some),
            }
        }
        // The sender is gone: what came is dropped.
        Ok::<_, store::Error>(None)
    });
    let mut stream = body.into_data_stream();
    let broken = loop {
        match timeout(IDLE_TIMEOUT, stream.next()).await {
            Ok(Some(Ok(bytes))) => {
                api.metrics.count_bytes("http", "in", bytes.len());
                if pieces.send(Piece::Bytes(bytes)).await.is_err() {
                    // The disk's side has given up and says why.
                    break None;
                }
            }
            Ok(Some(Err(error))) => {
                let error =
                    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "truncated", format!("the upload broke: {error}"));
                break Some(error.hint("send it again"));
            }
            Ok(None) => {
                let _ = pieces.send(Piece::End).await;
                break None;
            }
            Err(_) => {
                let message = format!("nothing was received for {} s", IDLE_TIMEOUT.as_secs());
                break Some(ApiError::new(StatusCode::REQUEST_TIMEOUT, "idle", message).hint("send it again"));
            }
        }
    };
    drop(pieces);
    let written = writing.await.map_err(ApiError::internal)?;
    match (broken, written) {
        (Some(error), _) => Err(error),
        (None, Ok(Some(new))) => Ok(new),
        (None, Ok(None)) => Err(ApiError::internal("an upload ended without a result")),
        (None, Err(error)) => {
            drain(Body::from_stream(stream)).await;
            Err(error.into())
        }
    }
}

enum Piece {
    Bytes(Bytes),
    End,
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut read = 0u64;
    while let Ok(Some(Ok(bytes))) = timeout(IDLE_TIMEOUT, stream.next()).await {
        read = read.saturating_add(bytes.len() as u64);
        if read > DRAIN_BYTES {
            return;
        }
    }
}

/// The length that the sender announced. Without one the upload is bounded as it comes.
fn announced_bytes(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let bytes = value.to_str().ok().and_then(|text| text.parse().ok());
    bytes
        .map(Some)
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "bad_length", "the Content-Length is no number"))
}

pub(super) fn parse(blob: &str) -> Result<Hash, ApiError> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(blob, &mut hash) {
        Ok(()) => Ok(hash),
        Err(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_hash", "a blob is named by 64 hexadecimal digits")
            .hint("use the SHA-256 of its bytes")),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, store::Error> + Send + 'static,
) -> Result<T, ApiError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)??)
}
