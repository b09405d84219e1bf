//! What the admin listener may command of a node.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use eigenshift_api::ApiError;
use eigenshift_api::hosting::Hosting;
use eigenshift_types::AvsId;

use crate::error::NodeError;
use crate::node::{AvsOptions, Inner};

/// Where the options of an AVS come from when only its name is given: the operator's configuration.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Whether there is an AVS of that name.
    ///
    /// # Errors
    /// [`NodeError::NotConfigured`], or why that is not known.
    async fn check(&self, avs: &AvsId) -> Result<(), NodeError>;

    /// Its options, read anew. May wait for its chain.
    ///
    /// # Errors
    /// [`NodeError::Configuration`] and others: what is wrong, and what to do.
    async fn options(&self, avs: &AvsId) -> Result<AvsOptions, NodeError>;
}

/// The admin listener's hold on the node, which does not keep it.
pub(crate) struct Control(Weak<Inner>);

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl Control {
    pub fn of(inner: &Arc<Inner>) -> Self {
        Self(Arc::downgrade(inner))
    }

    fn node(&self) -> Result<Arc<Inner>, NodeError> {
        self.0.upgrade().ok_or(NodeError::Stopping)
    }

    async fn source(&self, avs: &AvsId) -> Result<(Arc<Inner>, Arc<dyn Source>), NodeError> {
        let node = self.node()?;
        let source = node.source.get().cloned().ok_or_else(|| NodeError::NotConfigured(avs.clone()))?;
        source.check(avs).await?;
        Ok((node, source))
    }
}

#[async_trait]
impl Hosting for Control {
    async fn add(&self, avs: &AvsId) -> Result<(), ApiError> {
        let (node, source) = self.source(avs).await?;
        let name = avs.clone();
        // It goes on by itself: how far it is shows in the list.
        drop(node.begin_add(avs, true, async move { source.options(&name).await })?);
        Ok(())
    }

    async fn pause(&self, avs: &AvsId) -> Result<(), ApiError> {
        Ok(self.node()?.pause(avs).await?)
    }

    async fn resume(&self, avs: &AvsId) -> Result<(), ApiError> {
        let (node, source) = self.source(avs).await?;
        let name = avs.clone();
        drop(node.begin_resume(avs, async move { source.options(&name).await })?);
        Ok(())
    }

    async fn remove(&self, avs: &AvsId, force: bool) -> Result<(), ApiError> {
        Ok(self.node()?.remove(avs, force).await?)
    }
}
