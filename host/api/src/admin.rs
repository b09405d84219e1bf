//! The admin listener: creating tasks, moving the duty, bundles. Loopback only, with a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use eigenshift_engine::{RequestError, Shadow, Triggered};
use eigenshift_env::Env;
use eigenshift_types::{B256, Bytes};
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{not_found, wrong_method};
use crate::hosting::{self, Hosting};
use crate::{ApiError, Avss, Logs, body};

/// Largest request: twice (hexadecimal) the largest task request that settings allow, and a little.
const MAX_TASK: usize = 520 * 1024;

/// Largest bundle: the largest component and manifest that the ledger takes.
const MAX_BUNDLE: usize = 65 << 20;

const MAX_ROLLBACK: usize = 4096;

/// The admin token. Not printable.
#[derive(Clone)]
pub struct Token(Arc<Zeroizing<String>>);

impl Token {
    /// A token of at least 32 characters.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (text.len() >= 32).then(|| Self(Arc::new(Zeroizing::new(text))))
    }

    fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Whether the admin listener may listen there.
#[must_use]
pub fn may_listen(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

#[derive(Clone)]
pub(crate) struct Admin {
    env: Env,
    pub(crate) avss: Avss,
    pub(crate) logs: Logs,
    pub(crate) hosting: Arc<dyn Hosting>,
    token: Token,
}

/// A task request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Bytes for the plugin's `task-source` or, without one, `T` itself; `0x` and hexadecimal.
    pub payload: Bytes,
}

/// Says for which activation a publisher signed: given in the query with the bundle as body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// How many activations there were when it was signed.
    pub sequence: u64,
    /// The publisher's signature; `0x` and hexadecimal.
    pub signature: Bytes,
    /// At each member, on how many tasks the bundle runs beside the active one first; none: not at all.
    pub shadow_tasks: Option<u32>,
    /// In how many of them its answers may differ. [default: 0]
    pub shadow_differences: Option<u32>,
}

/// A former bundle that is to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Which.
    pub digest: B256,
    /// How many activations there were when it was signed.
    pub sequence: u64,
    /// The publisher's signature; `0x` and hexadecimal.
    pub signature: Bytes,
}

/// A proposed bundle that this node's operator lets become active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Which.
    pub digest: B256,
}

/// What a deployment answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// sha256 of the bundle.
    pub digest: B256,
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = match error.code() {
            "not-leader" | "no-leader" | "no-room" | "not-now" => 503,
            _ => 422,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

/// The routes.
pub fn router(env: Env, avss: Avss, logs: Logs, hosting: Arc<dyn Hosting>, token: Token) -> Router {
    let admin = Admin { env, avss, logs, hosting, token };
    hosting::routes()
        .route("/v1/avs/{avs}/tasks", post(create))
        .route("/v1/avs/{avs}/rotate", post(rotate))
        .route("/v1/avs/{avs}/bundles", post(deploy))
        .route("/v1/avs/{avs}/bundles/rollback", post(rollback))
        .route("/v1/avs/{avs}/bundles/approve", post(approve))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(admin.clone(), authorize))
        .with_state(admin)
}

async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if admin.token.matches(token) => next.run(request).await,
        _ => ApiError::new(401, "unauthorized", "give the admin token of this node's data directory as bearer token")
            .into_response(),
    }
}

pub(crate) type AvsPath = Result<Path<String>, PathRejection>;

fn avs_of(admin: &Admin, path: AvsPath) -> Result<eigenshift_engine::AvsHandle, ApiError> {
    let Path(avs) = path.map_err(|error| ApiError::new(400, "malformed", error.body_text()))?;
    admin.avss.get(&avs)
}

async fn create(
    State(admin): State<Admin>,
    path: AvsPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Triggered>, ApiError> {
    let avs = avs_of(&admin, path)?;
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let key = key.filter(|key| (1..=128).contains(&key.len())).ok_or_else(|| {
        ApiError::new(
            400,
            "no-idempotency-key",
            "give an Idempotency-Key header of 1 to 128 characters: it makes asking again safe",
        )
    })?;
    let TaskRequest { payload } = body::json(&admin.env, body, MAX_TASK).await?;
    Ok(Json(avs.request_task(key, payload).await?))
}

async fn deploy(
    State(admin): State<Admin>,
    path: AvsPath,
    query: Result<Query<Signed>, QueryRejection>,
    body: Body,
) -> Result<Json<Deployed>, ApiError> {
    let avs = avs_of(&admin, path)?;
    let Query(signed) = query.map_err(|error| ApiError::new(400, "malformed", error.body_text()))?;
    let bundle = body::bytes(&admin.env, body, MAX_BUNDLE).await?;
    let Signed { sequence, signature, shadow_tasks, shadow_differences } = signed;
    let digest = match shadow_tasks {
        None => avs.propose_bundle(bundle.into(), sequence, signature).await?,
        Some(tasks) => {
            let shadow = Shadow { tasks, differences: shadow_differences.unwrap_or_default() };
            avs.propose_shadowed(bundle.into(), sequence, shadow, signature).await?
        }
    };
    Ok(Json(Deployed { digest }))
}

async fn rollback(State(admin): State<Admin>, path: AvsPath, body: Body) -> Result<Json<()>, ApiError> {
    let avs = avs_of(&admin, path)?;
    let request: RollbackRequest = body::json(&admin.env, body, MAX_ROLLBACK).await?;
    Ok(Json(avs.propose_former(request.digest, request.sequence, request.signature).await?))
}

async fn approve(State(admin): State<Admin>, path: AvsPath, body: Body) -> Result<Json<()>, ApiError> {
    let avs = avs_of(&admin, path)?;
    let request: ApproveRequest = body::json(&admin.env, body, MAX_ROLLBACK).await?;
    Ok(Json(avs.approve_bundle(request.digest).await?))
}

async fn rotate(State(admin): State<Admin>, path: AvsPath) -> Result<Json<()>, ApiError> {
    Ok(Json(avs_of(&admin, path)?.rotate().await?))
}
