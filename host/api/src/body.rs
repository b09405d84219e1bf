//! Bounded bodies.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use eigenshift_env::Env;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a body of at most `max` bytes.
///
/// # Errors
/// 413 `too-large`, 408 `too-slow`.
pub async fn bytes(env: &Env, body: Body, max: usize) -> Result<Bytes, ApiError> {
    let bytes = tokio::select! {
        bytes = to_bytes(body, max) => bytes,
        () = env.clock.sleep(PATIENCE) => return Err(ApiError::new(408, "too-slow", "the body did not arrive within 10 seconds")),
    };
    bytes.map_err(|_| ApiError::new(413, "too-large", format!("the body is larger than {max} bytes, or broke off")))
}

/// Reads a JSON body of at most `max` bytes.
///
/// # Errors
/// 413 `too-large`, 408 `too-slow`, 400 `malformed`.
pub async fn json<T: DeserializeOwned>(env: &Env, body: Body, max: usize) -> Result<T, ApiError> {
    let bytes = bytes(env, body, max).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::new(400, "malformed", format!("the body is not what is expected here: {error}")))
}
