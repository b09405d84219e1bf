//! One connection to an endpoint for everybody who uses it alike: a host's AVSs are mostly on one chain.

use std::sync::{Arc, Weak};

use eigenshift_env::Env;
use parking_lot::Mutex;

use super::{EthereumChain, EthereumOptions, Inner};
use crate::Error;

/// The endpoints that a host uses. Cheap to clone.
#[derive(Clone, Default)]
pub struct Endpoints(Arc<Mutex<Vec<Arc<Endpoint>>>>);

struct Endpoint {
    url: String,
    options: EthereumOptions,
    /// Held while somebody connects; the others wait for that.
    chain: tokio::sync::Mutex<Weak<Inner>>,
}

impl Endpoints {
    /// The endpoint as the others use it who named the same URL and options, or as [`EthereumChain::connect`] does. They
    /// share its polling and its bounds.
    ///
    /// # Errors
    /// As [`EthereumChain::connect`].
    pub async fn connect(&self, url: &str, options: EthereumOptions, env: &Env) -> Result<EthereumChain, Error> {
        let endpoint = self.endpoint(url, options);
        let mut chain = endpoint.chain.lock().await;
        if let Some(known) = chain.upgrade() {
            return Ok(EthereumChain(known));
        }
        let connected = EthereumChain::connect(url, endpoint.options.clone(), env).await?;
        *chain = Arc::downgrade(&connected.0);
        Ok(connected)
    }

    fn endpoint(&self, url: &str, options: EthereumOptions) -> Arc<Endpoint> {
        let mut known = self.0.lock();
        // What nobody uses and nobody waits for.
        known.retain(|endpoint| {
            Arc::strong_count(endpoint) > 1 || endpoint.chain.try_lock().is_ok_and(|chain| chain.strong_count() > 0)
        });
        if let Some(same) = known.iter().find(|endpoint| endpoint.url == url && endpoint.options == options) {
            return Arc::clone(same);
        }
        let endpoint = Arc::new(Endpoint { url: url.to_owned(), options, chain: tokio::sync::Mutex::default() });
        known.push(Arc::clone(&endpoint));
        endpoint
    }
}
