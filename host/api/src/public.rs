//! The public listener: join, responses, status, tasks, certificates, health, metrics.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use eigenshift_engine::evidence::Evidence;
use eigenshift_engine::join::{Challenge, JoinError, Joined};
use eigenshift_engine::status::{AvsStatus, TaskStatus};
use eigenshift_engine::{Ack, Rejection};
use eigenshift_env::Env;
use eigenshift_types::{Certificate, ResponseEnvelope, SignedJoin, TaskIndex};
use serde::{Deserialize, Serialize};

use crate::avss::Phase;
use crate::error::{not_found, wrong_method};
use crate::{ApiError, Avss, body, metrics};

/// Largest join message.
const MAX_JOIN: usize = 16 * 1024;

/// Largest response: twice (hexadecimal) the largest payload that settings allow, and the rest of the envelope.
const MAX_RESPONSE: usize = 160 * 1024;

/// Most pieces of evidence per page: each holds two payloads.
const MAX_EVIDENCE: usize = 16;

/// Most tasks per page.
const MAX_PAGE: usize = 100;

#[derive(Clone)]
struct Public {
    env: Env,
    avss: Avss,
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection.status(), rejection.code(), rejection.to_string())
    }
}

type Answer<T> = Result<Json<T>, ApiError>;

/// The routes.
pub fn router(env: Env, avss: Avss) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/avs", get(list))
        .route("/v1/avs/{avs}/status", get(status))
        .route("/v1/avs/{avs}/tasks", get(tasks))
        .route("/v1/avs/{avs}/tasks/{index}", get(task))
        .route("/v1/avs/{avs}/certificates", get(certificates))
        .route("/v1/avs/{avs}/evidence", get(evidence))
        .route("/v1/avs/{avs}/join/challenge", post(challenge))
        .route("/v1/avs/{avs}/join", post(join))
        .route("/v1/avs/{avs}/responses", post(response))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Public { env, avss })
}

/// What `/v1/health` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` when every AVS that is not paused runs, has a leader and has not halted here, else `degraded`.
    pub status: String,
    /// The AVSs of which that is not so.
    pub degraded: Vec<String>,
}

async fn health(State(public): State<Public>) -> (http::StatusCode, Json<Health>) {
    let bad = |status: &AvsStatus| status.leader.is_none() || status.halted.is_some();
    let statuses = public.avss.all().into_iter().map(|avs| avs.status());
    let mut degraded: Vec<String> = statuses.filter(bad).map(|status| status.service.avs.to_string()).collect();
    let absent = |phase| matches!(phase, Phase::Starting | Phase::Failed);
    let entries = public.avss.entries().into_iter().filter(|entry| absent(entry.phase));
    degraded.extend(entries.map(|entry| entry.avs.to_string()));
    let (code, status) = if degraded.is_empty() {
        (http::StatusCode::OK, "ok")
    } else {
        (http::StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    (code, Json(Health { status: status.to_owned(), degraded }))
}

async fn list(State(public): State<Public>) -> Json<Vec<String>> {
    Json(public.avss.all().iter().map(|avs| avs.service().avs.to_string()).collect())
}

fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, ApiError> {
    path.map(|Path(inner)| inner).map_err(|error| ApiError::new(400, "malformed", error.body_text()))
}

type AvsPath = Result<Path<String>, PathRejection>;

async fn status(State(public): State<Public>, avs: AvsPath) -> Answer<AvsStatus> {
    Ok(Json(public.avss.get(&path(avs)?)?.status()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<TaskIndex>,
    limit: Option<usize>,
}

type PageQuery = Result<Query<Page>, QueryRejection>;

fn page(query: PageQuery) -> Result<(Option<TaskIndex>, usize), ApiError> {
    let Query(page) = query.map_err(|error| ApiError::new(400, "malformed", error.body_text()))?;
    Ok((page.before, page.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE)))
}

async fn tasks(State(public): State<Public>, avs: AvsPath, query: PageQuery) -> Answer<Vec<TaskStatus>> {
    let avs = public.avss.get(&path(avs)?)?;
    let (before, limit) = page(query)?;
    Ok(Json(avs.tasks(before, limit)))
}

async fn task(
    State(public): State<Public>,
    at: Result<Path<(String, TaskIndex)>, PathRejection>,
) -> Answer<TaskStatus> {
    let (avs, index) = path(at)?;
    let found = public.avss.get(&avs)?.task(index);
    found
        .map(Json)
        .ok_or_else(|| ApiError::new(404, "unknown-task", format!("task {index} is not known here, or long ended")))
}

async fn certificates(State(public): State<Public>, avs: AvsPath, query: PageQuery) -> Answer<Vec<Certificate>> {
    let avs = public.avss.get(&path(avs)?)?;
    let (before, limit) = page(query)?;
    Ok(Json(avs.tasks(before, limit).into_iter().flat_map(|task| task.certificates).collect()))
}

/// Newest first; `before` counts from the oldest.
async fn evidence(State(public): State<Public>, avs: AvsPath, query: PageQuery) -> Answer<Vec<Evidence>> {
    let avs = public.avss.get(&path(avs)?)?;
    let (before, limit) = page(query)?;
    let before = before.map_or(usize::MAX, |before| before as usize);
    let mut page: Vec<Evidence> = avs.evidence().into_iter().take(before).collect();
    page.reverse();
    page.truncate(limit.min(MAX_EVIDENCE));
    Ok(Json(page))
}

async fn challenge(State(public): State<Public>, avs: AvsPath) -> Answer<Challenge> {
    Ok(Json(public.avss.get(&path(avs)?)?.challenge()?))
}

async fn join(State(public): State<Public>, avs: AvsPath, body: Body) -> Answer<Joined> {
    let avs = public.avss.get(&path(avs)?)?;
    let signed: SignedJoin = body::json(&public.env, body, MAX_JOIN).await.inspect_err(|error| {
        avs.counters().count("join-refused", error.code());
    })?;
    Ok(Json(avs.join(signed).await?))
}

async fn response(State(public): State<Public>, avs: AvsPath, body: Body) -> Answer<Ack> {
    let avs = public.avss.get(&path(avs)?)?;
    let envelope: ResponseEnvelope = body::json(&public.env, body, MAX_RESPONSE).await.inspect_err(|error| {
        avs.counters().count("response-refused", error.code());
    })?;
    Ok(Json(avs.receive(envelope).await?))
}

async fn metrics(State(public): State<Public>) -> String {
    metrics::text(&public.avss)
}
