//! Errors that users see.

use std::fmt::Display;

use axum::{
    Json,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use phala_protocol::Refusal;
use serde_json::json;

use crate::{chain, enclave::RequestError, jobs, store};

/// An error as users see it: a status, a code for programs, a sentence for people, and what to do.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
}

impl ApiError {
    /// Without a hint.
    pub fn new(status: StatusCode, code: &'static str, message: impl Display) -> Self {
        Self { status, code, message: message.to_string(), hint: None }
    }

    /// With advice.
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// Something of ours failed; the log says what.
    pub fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message, "hint": self.hint}});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, 2.into());
        }
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        let (status, code, hint) = match &error {
            store::Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "split the input"),
            store::Error::QuotaExceeded => (
                StatusCode::INSUFFICIENT_STORAGE,
                "no_space",
                "try again later, or ask the operator for a larger --disk-quota",
            ),
            store::Error::HashMismatch { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "hash_mismatch",
                "the path names the SHA-256 of the bytes; send them again",
            ),
            store::Error::LengthMismatch { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "truncated", "the upload ended early; send it again")
            }
            store::Error::InvalidName | store::Error::NotContiguous { .. } | store::Error::Io(_) => {
                return Self::internal(error);
            }
        };
        Self::new(status, code, error).hint(hint)
    }
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
            Self::new(StatusCode::CONFLICT, "not_yet", refusal).hint("the same request can succeed later")
        } else {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", refusal)
        }
    }
}

impl From<jobs::StartError> for ApiError {
    fn from(error: jobs::StartError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error).hint("try again later")
    }
}

impl From<chain::StepError> for ApiError {
    fn from(error: chain::StepError) -> Self {
        match error {
            chain::StepError::Enclave(error) => error.into(),
            chain::StepError::Store(error) => error.into(),
            chain::StepError::Node(_) | chain::StepError::Submit(_) => Self::internal(error),
        }
    }
}
