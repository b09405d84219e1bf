//! The admin listener's part on the AVSs of the node: adding, pausing, resuming, removing them, and their log lines.
//!
//! A request names an AVS and nothing else: what it is, where its files are and what its keys are the node reads in its own
//! configuration.

use async_trait::async_trait;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use eigenshift_types::AvsId;
use serde::{Deserialize, Serialize};

use crate::ApiError;
use crate::admin::{Admin, AvsPath};
use crate::avss::{AvsEntry, unknown};
use crate::logs::Page;

/// The node, as far as this listener commands it. An operation that is asked for goes on if the request breaks off.
#[async_trait]
pub trait Hosting: Send + Sync + 'static {
    /// Begins to start an AVS of the node's configuration that the node does not have yet.
    ///
    /// # Errors
    /// Known already, not in the configuration, the node is stopping.
    async fn add(&self, avs: &AvsId) -> Result<(), ApiError>;

    /// Has this node cease to take part in an AVS; returns when it has.
    ///
    /// # Errors
    /// Unknown, another operation is under way, the disk.
    async fn pause(&self, avs: &AvsId) -> Result<(), ApiError>;

    /// Begins to start a paused or failed AVS again.
    ///
    /// # Errors
    /// As [`Hosting::pause`]; neither paused nor failed.
    async fn resume(&self, avs: &AvsId) -> Result<(), ApiError>;

    /// Leaves a paused or failed AVS; returns when its cluster and this host have done with it. `force` leaves the cluster
    /// out.
    ///
    /// # Errors
    /// As [`Hosting::resume`]; the cluster cannot let go of this node now.
    async fn remove(&self, avs: &AvsId, force: bool) -> Result<(), ApiError>;
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Whether the cluster is left out: it may be gone.
    #[serde(default)]
    pub force: bool,
}

/// Which lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Those after this number.
    #[serde(default)]
    pub after: u64,
}

pub(crate) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/avs", get(list))
        .route("/v1/avs/{avs}/add", post(add))
        .route("/v1/avs/{avs}/pause", post(pause))
        .route("/v1/avs/{avs}/resume", post(resume))
        .route("/v1/avs/{avs}/remove", post(remove))
        .route("/v1/avs/{avs}/logs", get(logs))
}

async fn list(State(admin): State<Admin>) -> Json<Vec<AvsEntry>> {
    Json(admin.avss.entries())
}

fn name(path: AvsPath) -> Result<AvsId, ApiError> {
    let malformed = |why: String| ApiError::new(400, "malformed", why);
    let Path(name) = path.map_err(|error| malformed(error.body_text()))?;
    name.parse().map_err(|error: eigenshift_types::ids::InvalidId| malformed(error.to_string()))
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|error| ApiError::new(400, "malformed", error.body_text()))
}

async fn add(State(admin): State<Admin>, path: AvsPath) -> Result<Json<()>, ApiError> {
    Ok(Json(admin.hosting.add(&name(path)?).await?))
}

async fn pause(State(admin): State<Admin>, path: AvsPath) -> Result<Json<()>, ApiError> {
    Ok(Json(admin.hosting.pause(&name(path)?).await?))
}

async fn resume(State(admin): State<Admin>, path: AvsPath) -> Result<Json<()>, ApiError> {
    Ok(Json(admin.hosting.resume(&name(path)?).await?))
}

async fn remove(
    State(admin): State<Admin>,
    path: AvsPath,
    how: Result<Query<Removal>, QueryRejection>,
) -> Result<Json<()>, ApiError> {
    let Removal { force } = query(how)?;
    Ok(Json(admin.hosting.remove(&name(path)?, force).await?))
}

async fn logs(
    State(admin): State<Admin>,
    path: AvsPath,
    which: Result<Query<After>, QueryRejection>,
) -> Result<Json<Page>, ApiError> {
    let After { after } = query(which)?;
    admin.logs.page(&name(path)?, after).map(Json).ok_or_else(unknown)
}
