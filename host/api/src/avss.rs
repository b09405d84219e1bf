//! Which AVSs this node has, and how each of them stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_engine::AvsHandle;
use eigenshift_types::AvsId;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::ApiError;
use crate::error::ErrorBody;

/// How an AVS stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being started: read, compiled, joined.
    Starting,
    /// It takes part.
    Running,
    /// It hands over what it has and stops.
    Stopping,
    /// The operator stopped it; its state is on disk.
    Paused,
    /// It does not run, and why is said.
    Failed,
}

impl Phase {
    /// In lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// An AVS of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvsEntry {
    /// Its name.
    pub avs: AvsId,
    /// How it stands.
    pub phase: Phase,
    /// Why it does not run, if it failed.
    pub failure: Option<ErrorBody>,
}

/// How an AVS stands, with what answers for it.
#[derive(Clone)]
pub enum Standing {
    /// [`Phase::Starting`].
    Starting,
    /// [`Phase::Running`].
    Running(AvsHandle),
    /// [`Phase::Stopping`]; it answers as long as there is a handle.
    Stopping(Option<AvsHandle>),
    /// [`Phase::Paused`].
    Paused,
    /// [`Phase::Failed`].
    Failed(ErrorBody),
}

impl Standing {
    /// Without what answers.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Starting => Phase::Starting,
            Self::Running(_) => Phase::Running,
            Self::Stopping(_) => Phase::Stopping,
            Self::Paused => Phase::Paused,
            Self::Failed(_) => Phase::Failed,
        }
    }

    const fn handle(&self) -> Option<&AvsHandle> {
        match self {
            Self::Running(handle) | Self::Stopping(Some(handle)) => Some(handle),
            _ => None,
        }
    }
}

/// The AVSs by id. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct Avss(Arc<RwLock<BTreeMap<AvsId, Standing>>>);

impl Avss {
    /// Sets how an AVS stands; one that was not there is there from now on.
    pub fn set(&self, id: &AvsId, standing: Standing) {
        self.0.write().insert(id.clone(), standing);
    }

    /// How an AVS stands; none if it is not there.
    #[must_use]
    pub fn standing(&self, id: &AvsId) -> Option<Standing> {
        self.0.read().get(id).cloned()
    }

    /// Takes an AVS out.
    pub fn remove(&self, id: &AvsId) {
        self.0.write().remove(id);
    }

    /// All that answer.
    #[must_use]
    pub fn all(&self) -> Vec<AvsHandle> {
        self.0.read().values().filter_map(Standing::handle).cloned().collect()
    }

    /// All, with how each stands.
    #[must_use]
    pub fn entries(&self) -> Vec<AvsEntry> {
        let entry = |(avs, standing): (&AvsId, &Standing)| AvsEntry {
            avs: avs.clone(),
            phase: standing.phase(),
            failure: match standing {
                Standing::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
        };
        self.0.read().iter().map(entry).collect()
    }

    /// The AVS of a path segment.
    ///
    /// # Errors
    /// 404 `unknown-avs`; 503 `avs-not-running`.
    pub fn get(&self, id: &str) -> Result<AvsHandle, ApiError> {
        let id: Option<AvsId> = id.parse().ok();
        let known = id.and_then(|id| self.0.read().get(&id).cloned());
        let standing = known.ok_or_else(unknown)?;
        standing.handle().cloned().ok_or_else(|| {
            ApiError::new(503, "avs-not-running", "this AVS does not run on this node at the moment: ask another member; its operator sees why with `eigenshift avs list`")
        })
    }
}

/// For names that are no AVS of this node.
#[must_use]
pub fn unknown() -> ApiError {
    ApiError::new(404, "unknown-avs", "this node runs no AVS of that name; GET /v1/avs lists them")
}
