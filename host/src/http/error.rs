//! Errors that users see.

use std::{fmt::Display, io, time::Duration};

use axum::{
    Json,
    http::{HeaderName, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use phala_protocol::Refusal;
use serde_json::json;

use crate::{chain, enclave::RequestError, store};

/// Says how many bytes of an upload are here.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// When to try again what is unavailable for a reason that may be gone any moment.
const SOON: Duration = Duration::from_secs(2);

/// An error as users see it: a status, a code for programs, a sentence for people, and what to do and when.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
    retry_after: Option<Duration>,
    upload_offset: Option<u64>,
}

impl ApiError {
    /// Without a hint.
    pub fn new(status: StatusCode, code: &'static str, message: impl Display) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON);
        Self { status, code, message: message.to_string(), hint: None, retry_after, upload_offset: None }
    }

    /// With advice.
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The same request may succeed after this time.
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// Says how many bytes of an upload are here.
    pub(super) fn upload_offset(self, bytes: u64) -> Self {
        Self { upload_offset: Some(bytes), ..self }
    }

    /// In whole seconds, and never at once.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |after: Duration| after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        self.retry_after.map(|after| seconds(after).max(1))
    }

    /// Something of ours failed; the log says what.
    pub fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after_seconds();
        let body = json!({"error": {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retry_after": retry_after,
        }});
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(bytes) = self.upload_offset {
            headers.insert(UPLOAD_OFFSET, bytes.into());
        }
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        use store::Error;
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        match &error {
            Error::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error).hint("split the input")
            }
            Error::QuotaExceeded => Self::full(error),
            Error::AccountQuotaExceeded { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, "account_quota", error)
                .hint("what your jobs do not need makes place after a while; or ask the operator for a larger --account-quota")
                .retry_after(store::PROTECTED),
            Error::UploadUnderWay => Self::new(StatusCode::CONFLICT, "upload_under_way", error)
                .hint("wait until it has ended, or was broken off")
                .retry_after(SOON),
            Error::WrongOffset { present, .. } => {
                let present = *present;
                Self::new(StatusCode::CONFLICT, "wrong_offset", error)
                    .hint("go on at `upload-offset`, or begin anew at 0")
                    .upload_offset(present)
            }
            Error::HashMismatch { .. } => Self::new(unprocessable, "hash_mismatch", error)
                .hint("the path names the SHA-256 of the bytes; send them again"),
            Error::LengthMismatch { .. } => {
                Self::new(unprocessable, "truncated", error).hint("the upload had not the length that was announced")
            }
            Error::Io(cause) if is_full(cause) => Self::full(error),
            Error::Io(_) => {
                tracing::error!(%error, "a request failed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk", "the host's disk failed; its log says how")
                    .hint("try again later")
                    .retry_after(Duration::from_secs(30))
            }
            Error::InvalidName | Error::NotContiguous { .. } => Self::internal(error),
        }
    }
}

impl ApiError {
    fn full(error: store::Error) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", error)
            .hint("try again later, or ask the operator for more disk")
            .retry_after(Duration::from_secs(60))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            RequestError::Refused(refusal) => refusal.into(),
            RequestError::Disconnected => Self::new(unavailable, "enclave_unavailable", error)
                .hint("it connects by itself; try again in a moment"),
            RequestError::Timeout => Self::new(unavailable, "enclave_timeout", error).hint("try again in a moment"),
            RequestError::WrongReply => Self::internal(error),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        if refusal.retry {
            Self::new(StatusCode::CONFLICT, "not_yet", refusal)
                .hint("the same request can succeed later")
                .retry_after(SOON)
        } else {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", refusal)
        }
    }
}

impl From<chain::StepError> for ApiError {
    fn from(error: chain::StepError) -> Self {
        match error {
            chain::StepError::Enclave(error) => error.into(),
            chain::StepError::Store(error) => error.into(),
            chain::StepError::Endorsement(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_certificate", error.to_string())
                    .hint("ask again later; AMD's service has to be reachable")
            }
            chain::StepError::Node(_) | chain::StepError::Submit(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let error = |kind: io::ErrorKind| ApiError::from(store::Error::Io(kind.into()));
        assert_eq!(error(io::ErrorKind::StorageFull).status, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(error(io::ErrorKind::QuotaExceeded).status, StatusCode::INSUFFICIENT_STORAGE);
        let broken = error(io::ErrorKind::PermissionDenied);
        assert_eq!((broken.status, broken.retry_after_seconds()), (StatusCode::SERVICE_UNAVAILABLE, Some(30)));
    }

    #[test]
    fn nobody_is_told_to_come_back_at_once() {
        let error = |millis| {
            let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "");
            error.retry_after(Duration::from_millis(millis)).retry_after_seconds()
        };
        assert_eq!([0, 1, 1000, 1001, 60_000].map(error), [Some(1), Some(1), Some(1), Some(2), Some(60)]);
    }
}
