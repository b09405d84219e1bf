//! Refusals.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// A refusal: status, and a body `{code, message}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: u16,
    body: ErrorBody,
}

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Short machine-readable code; stable.
    pub code: String,
    /// For people: what happened, and what to do.
    pub message: String,
}

impl ApiError {
    /// A refusal with an HTTP status of 400 or above.
    #[must_use]
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), message: message.into() } }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.body.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.body)).into_response()
    }
}

/// For paths that are not there.
pub(crate) async fn not_found() -> ApiError {
    ApiError::new(404, "unknown-path", "there is nothing at this path")
}

/// For methods that a path does not take.
pub(crate) async fn wrong_method() -> ApiError {
    ApiError::new(405, "wrong-method", "this path does not take this method")
}
