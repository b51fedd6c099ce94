//! Downloads: a file from some byte on, in pieces. Whoever takes too little of it is cut off by the server.

use std::{fs::File, io, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use phala_primitives::Hash;

use super::{Api, ApiError, limits::Place, server::Working};
use crate::{blocking, store};

/// How much of a file is read at once.
const PIECE_BYTES: u32 = 64 * 1024;

/// What is held until a download has ended: its place, and that its connection is at work.
pub(super) type Held = (Place, Option<Working>);

/// The tag of a file with this SHA-256.
pub(super) fn etag(sha256: &Hash) -> String {
    format!("\"{}\"", hex::encode(sha256))
}

/// A file of `bytes` bytes, or what is behind `Range: bytes=N-`.
pub(super) fn answer(
    api: Arc<Api>,
    headers: &HeaderMap,
    file: File,
    bytes: u64,
    etag: Option<String>,
    held: Held,
) -> Response {
    let first = first_byte(headers, etag.as_deref());
    let mut response = match first {
        Some(first) if first >= bytes => {
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", "the file ends before that");
            let mut response = error.into_response();
            set(&mut response, CONTENT_RANGE, format!("bytes */{bytes}"));
            return response;
        }
        Some(first) => {
            let body = Body::from_stream(pieces(api, file, first, bytes, held));
            let mut response = (StatusCode::PARTIAL_CONTENT, body).into_response();
            set(&mut response, CONTENT_RANGE, format!("bytes {first}-{}/{bytes}", bytes.saturating_sub(1)));
            response
        }
        None => Body::from_stream(pieces(api, file, 0, bytes, held)).into_response(),
    };
    set(&mut response, CONTENT_TYPE, "application/octet-stream".into());
    set(&mut response, CONTENT_LENGTH, bytes.saturating_sub(first.unwrap_or(0)).to_string());
    set(&mut response, ACCEPT_RANGES, "bytes".into());
    if let Some(etag) = etag {
        set(&mut response, ETAG, etag);
    }
    response
}

fn set(response: &mut Response, name: HeaderName, value: String) {
    // All of them are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(name, value);
    }
}

/// Where the answer begins, if the request is for a part that we serve: all from one byte on, of the file that the client has
/// the beginning of. Anything else gets the whole file.
fn first_byte(headers: &HeaderMap, etag: Option<&str>) -> Option<u64> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(IF_RANGE).is_some_and(|wanted| Some(wanted) != etag) {
        return None;
    }
    text(RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// The bytes of a file from `next` to `end`. A place is held, and the connection is at work, until they are taken.
fn pieces(
    api: Arc<Api>,
    file: File,
    next: u64,
    end: u64,
    held: Held,
) -> impl Stream<Item = Result<Bytes, store::Error>> + Send {
    let file = Arc::new(file);
    stream::try_unfold((next, held), move |(next, held)| {
        let (api, file) = (api.clone(), file.clone());
        async move {
            if next >= end {
                return Ok(None);
            }
            let length = u32::try_from(end - next).unwrap_or(u32::MAX).min(PIECE_BYTES);
            let piece = blocking::run(move || store::read_at(&file, next, length)).await?;
            if piece.is_empty() {
                return Err(store::Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            api.metrics.count_bytes("http", "out", piece.len());
            let next = next.saturating_add(piece.len() as u64);
            Ok::<_, store::Error>(Some((Bytes::from(piece), (next, held))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_continues_the_same_file_is_a_range() {
        let headers = |pairs: &[(HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let etag = Some("\"ab\"");
        assert_eq!(first_byte(&headers(&[(RANGE, "bytes=5-")]), etag), Some(5));
        assert_eq!(first_byte(&headers(&[(RANGE, "bytes=5-"), (IF_RANGE, "\"ab\"")]), etag), Some(5));
        assert_eq!(first_byte(&headers(&[(RANGE, "bytes=5-"), (IF_RANGE, "\"cd\"")]), etag), None);
        assert_eq!(first_byte(&headers(&[(RANGE, "bytes=5-"), (IF_RANGE, "\"ab\"")]), None), None);
        for other in ["bytes=-5", "bytes=1-2", "bytes=0-1,5-", "lines=5-", "bytes=x-", "bytes=99999999999999999999-"] {
            assert_eq!(first_byte(&headers(&[(RANGE, other)]), etag), None, "{other}");
        }
    }
}
