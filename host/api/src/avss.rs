//! Which AVSs this node runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_engine::AvsHandle;
use eigenshift_types::AvsId;
use parking_lot::RwLock;

use crate::ApiError;

/// The AVSs by id. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct Avss(Arc<RwLock<BTreeMap<AvsId, AvsHandle>>>);

impl Avss {
    /// Adds an AVS.
    pub fn insert(&self, handle: AvsHandle) {
        self.0.write().insert(handle.service().avs.clone(), handle);
    }

    /// Takes an AVS out.
    pub fn remove(&self, id: &AvsId) -> Option<AvsHandle> {
        self.0.write().remove(id)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<AvsHandle> {
        self.0.read().values().cloned().collect()
    }

    /// The AVS of a path segment.
    ///
    /// # Errors
    /// 404 `unknown-avs`.
    pub fn get(&self, id: &str) -> Result<AvsHandle, ApiError> {
        let id: Option<AvsId> = id.parse().ok();
        let found = id.and_then(|id| self.0.read().get(&id).cloned());
        found.ok_or_else(|| {
            ApiError::new(404, "unknown-avs", "this node runs no AVS of that name; GET /v1/avs lists them")
        })
    }
}
