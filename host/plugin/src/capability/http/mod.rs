//! `wasi:http/outgoing-handler`: a plugin's requests to other hosts.
//!
//! The interface and its resources are wasmtime's; sending is this module's alone. A request goes out when the manifest's
//! list and the operator's both have its target ([`egress`](super::egress) decides), its name is looked up once, every
//! address is held against what is nobody's business, and one of *those* is dialled. Redirects are answers like any other:
//! the guest reads where to go and asks again, and is decided upon again. Nothing is decompressed, so that a byte on the
//! wire is a byte in the guest.
//!
//! - `hooks`: what the interface asks of this host, request by request.
//! - `send`: one exchange. `wire`: what is counted while it lasts. `tls`: whom to believe.
//! - here: what an operator sets, what a tenant's requests share, and who may answer instead of the network.

mod hooks;
mod send;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_env::{Clock, Env, Net};
use eigenshift_types::Bytes;
use http::{Request, Response};
use tokio::sync::Semaphore;

use super::egress::{Denied, Policy, Rule, Target, decide};
use crate::manifest::{Http, Manifest};
pub(crate) use hooks::{Access, Hooks};
pub use tls::{Roots, RootsError};

/// Answers requests instead of the network, for whoever runs a plugin on what was recorded. Manifest, policy and bounds
/// count as they do elsewhere; nothing is looked up or dialled, and https needs no authorities.
pub trait Answers: fmt::Debug + Send + Sync {
    /// What comes of a request that may be sent; none is a host that is not reached. The URL is whole, the host in lower
    /// case, the port only where it is not the scheme's own.
    fn answer(&self, request: &Request<Bytes>) -> Option<Response<Bytes>>;

    /// A request may not be sent, for this reason.
    fn denied(&self, why: &str);
}

/// What an operator sets about the requests of one AVS. The bundle's manifest has bounds of its own; the tighter one counts.
#[derive(Clone, Debug)]
pub struct HttpPolicy {
    /// Where requests may go, of what the manifest lists; none takes the manifest's list as it is.
    pub allow: Option<Vec<Rule>>,
    /// Blocked addresses that some hosts may lead to all the same.
    pub addresses: Policy,
    /// Requests at the same time, over all calls of the AVS.
    pub concurrency: u32,
    /// Longest time of a request.
    pub timeout: Duration,
    /// Most bytes of a request's body.
    pub request_bytes: u64,
    /// Most bytes of a response's body.
    pub response_bytes: u64,
    /// Whose certificates count for https; without them only http is served.
    pub roots: Option<Roots>,
    /// Only what asks and changes nothing is sent: GET and HEAD.
    pub reads_only: bool,
    /// Who answers instead of the network.
    pub answers: Option<Arc<dyn Answers>>,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self {
            allow: None,
            addresses: Policy::default(),
            concurrency: 16,
            timeout: Duration::from_secs(60),
            request_bytes: 16 * 1024 * 1024,
            response_bytes: 16 * 1024 * 1024,
            roots: None,
            reads_only: false,
            answers: None,
        }
    }
}

/// What the requests of a tenant share.
pub(crate) struct Client {
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    policy: HttpPolicy,
    slots: Arc<Semaphore>,
    /// Look-ups under way. The system's cannot be cut off: one that hangs keeps its place until it ends by itself, or a
    /// plugin whose names hang would take every thread that names are looked up on.
    lookups: Arc<Semaphore>,
}

const MAX_LOOKUPS: usize = 4;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// What one bundle's requests may do: its manifest's bounds and the operator's, the tighter of each.
#[derive(Debug)]
pub(crate) struct Limits {
    rules: Vec<Rule>,
    request_bytes: u64,
    response_bytes: u64,
    timeout: Duration,
    concurrency: u32,
    requests_per_call: u32,
}

impl Client {
    pub(crate) fn new(env: &Env, policy: HttpPolicy) -> Self {
        Self::over(Arc::clone(&env.net), Arc::clone(&env.clock), policy)
    }

    fn over(net: Arc<dyn Net>, clock: Arc<dyn Clock>, policy: HttpPolicy) -> Self {
        let slots = Arc::new(Semaphore::new(policy.concurrency as usize));
        Self { net, clock, policy, slots, lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    pub(crate) fn limits(&self, manifest: &Manifest) -> Limits {
        let Http { allow, request_bytes, response_bytes, timeout, concurrency, requests_per_call } = &manifest.http;
        Limits {
            rules: allow.clone(),
            request_bytes: (*request_bytes).min(self.policy.request_bytes),
            response_bytes: (*response_bytes).min(self.policy.response_bytes),
            timeout: (*timeout).min(self.policy.timeout),
            concurrency: (*concurrency).min(self.policy.concurrency),
            requests_per_call: *requests_per_call,
        }
    }

    /// Whether a request may be sent, before anything is looked up: the manifest's word and the operator's.
    fn decide(&self, limits: &Limits, method: &str, url: &str) -> Result<Target, Denied> {
        let target = decide(method, url, &limits.rules)?;
        if self.policy.reads_only && !["GET", "HEAD"].contains(&method) {
            return Err(Denied::ReadsOnly(method.to_owned()));
        }
        match &self.policy.allow {
            Some(rules) if !rules.iter().any(|rule| rule.allows(&target)) => {
                Err(Denied::NotAllowed(target.to_string()))
            }
            _ => Ok(target),
        }
    }
}
