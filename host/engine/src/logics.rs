//! The AVS's logic, in every version that tasks still run.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use eigenshift_plugin::{CallError, Signable, Task};
use eigenshift_types::{B256, Bytes};
use parking_lot::RwLock;

use crate::callbacks::Callbacks;

/// Versions that are loaded, by the digest of their bundle. Native logic is one version for good.
#[derive(Default)]
pub(crate) struct Logics(RwLock<BTreeMap<B256, Arc<dyn Callbacks>>>);

impl Logics {
    pub fn new(first: Arc<dyn Callbacks>) -> Self {
        let logics = Self::default();
        logics.insert(first);
        logics
    }

    pub fn get(&self, digest: B256) -> Option<Arc<dyn Callbacks>> {
        self.0.read().get(&digest).cloned()
    }

    pub fn insert(&self, logic: Arc<dyn Callbacks>) {
        self.0.write().insert(logic.bundle_digest(), logic);
    }

    /// Calls under way go on to their end.
    pub fn remove(&self, digest: B256) {
        self.0.write().remove(&digest);
    }

    pub fn digests(&self) -> Vec<B256> {
        self.0.read().keys().copied().collect()
    }
}

/// Why a bundle is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadFailure {
    /// Not for now: try again.
    #[error("{0}")]
    NotNow(String),
    /// For good: this node will not run it.
    #[error("{0}")]
    Refused(String),
}

/// Logic that is asked what it would have signed, and can sign nothing.
#[async_trait]
pub trait ShadowLogic: Send + Sync + 'static {
    /// Its answers to a task.
    ///
    /// # Errors
    /// [`CallError`].
    async fn answers(&self, task: &Task) -> Result<Vec<Signable>, CallError>;
}

/// Bytes of a bundle that travel in one answer.
pub const PART_BYTES: usize = 1 << 20;

/// Where a node keeps bundles, and what makes logic of them.
#[async_trait]
pub trait Bundles: Send + Sync + 'static {
    /// Whether its bytes are here.
    async fn has(&self, digest: B256) -> bool;

    /// At most [`PART_BYTES`] of a bundle's bytes from `offset` on, with their whole length; none if it is not here.
    async fn part(&self, digest: B256, offset: u64) -> Option<(u64, Bytes)>;

    /// Keeps a bundle's bytes durably. Refused unless they are those of the digest.
    ///
    /// # Errors
    /// [`LoadFailure`].
    async fn keep(&self, digest: B256, bytes: Bytes) -> Result<(), LoadFailure>;

    /// Makes logic of a bundle that is here: checked, compiled, tried out.
    ///
    /// # Errors
    /// [`LoadFailure::Refused`] is this operator's answer to the cluster.
    async fn load(&self, digest: B256) -> Result<Arc<dyn Callbacks>, LoadFailure>;

    /// As [`Bundles::load`], to run beside the active logic: it answers, and changes nothing.
    ///
    /// # Errors
    /// [`LoadFailure`].
    async fn load_shadow(&self, digest: B256) -> Result<Arc<dyn ShadowLogic>, LoadFailure>;

    /// Whether this operator lets a bundle become active: it may want to say so of each one itself.
    fn is_approved(&self, digest: B256) -> bool;

    /// Notes durably that the operator lets a bundle become active.
    ///
    /// # Errors
    /// [`LoadFailure::NotNow`]: the disk's.
    async fn approve(&self, digest: B256) -> Result<(), LoadFailure>;

    /// The bundles whose bytes are here.
    ///
    /// # Errors
    /// [`LoadFailure::NotNow`]: the disk's.
    async fn kept(&self) -> Result<Vec<B256>, LoadFailure>;

    /// Drops a bundle's bytes, and the approval.
    ///
    /// # Errors
    /// [`LoadFailure::NotNow`]: the disk's.
    async fn remove(&self, digest: B256) -> Result<(), LoadFailure>;
}
