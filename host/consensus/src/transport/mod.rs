//! Between hosts: HTTP/2 over mutual TLS 1.3, one listener and one set of connections for all groups of a host.

mod client;
pub(crate) mod rpc;
mod server;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_types::{AvsId, NodeKey, NodePublicKey};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::raft::Member;
use client::Client;
pub(crate) use client::{CallError, Lane};
use rpc::{Answer, Refusal, Request, code};
use server::Server;
use tls::Credentials;

/// How hosts recognise each other.
pub enum Security<'a> {
    /// Mutual TLS 1.3 with this node key, pinned to the groups' [`crate::PeerBook`]s.
    Tls(&'a NodeKey),
    /// Plain text, where a peer is believed to be the node it says it is. Loopback only, for development.
    InsecureLoopback,
}

/// What a transport needs to start.
pub struct TransportOptions<'a> {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How hosts recognise each other.
    pub security: Security<'a>,
}

/// A host's connections to the other members, for all of its groups. Cheap to clone; clones share it. It is stopped by
/// [`Transport::stop`] or by dropping the last clone, of which every running group holds one.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    secure: bool,
    client: Client,
    routes: Arc<Routes>,
    stop: watch::Sender<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Which groups there are, and who may speak to them.
#[derive(Default)]
pub(super) struct Routes {
    groups: RwLock<BTreeMap<AvsId, Arc<Endpoint>>>,
}

impl Routes {
    /// Whether the key's holder may connect at all. A stranger may be a member that this host has not heard of, having
    /// been away: the groups then ask the members they know.
    fn admits(&self, key: &NodePublicKey) -> bool {
        let groups = self.groups.read();
        let known = groups.values().any(|endpoint| endpoint.book.admits(key));
        if !known {
            for endpoint in groups.values() {
                endpoint.doubts.notify_one();
            }
        }
        known
    }

    /// The group that a request may go to.
    fn admit(&self, key: Option<&NodePublicKey>, request: &Request) -> Result<Arc<Endpoint>, Refusal> {
        let endpoint = self.groups.read().get(&request.group).cloned();
        let endpoint = endpoint.ok_or_else(|| Refusal::new(code::UNKNOWN_GROUP, "no such group on this host"))?;
        let identity = &endpoint.identity;
        if request.cluster != identity.cluster {
            return Err(Refusal::new(code::WRONG_CLUSTER, "another cluster"));
        }
        if request.epoch != identity.epoch {
            return Err(Refusal::new(code::WRONG_EPOCH, format!("this is epoch {}", identity.epoch)));
        }
        if request.to != identity.node {
            return Err(Refusal::new(code::WRONG_RECEIVER, format!("this is node {}", identity.node)));
        }
        match endpoint.book.get(request.from) {
            Some(peer) if request.from != identity.node && key.is_none_or(|key| *key == peer.key) => Ok(endpoint),
            Some(_) => Err(Refusal::new(code::WRONG_SENDER, format!("you are not node {}", request.from))),
            None if endpoint.book.is_former(request.from) => Err(Refusal::new(code::REMOVED, "you were removed")),
            None => {
                endpoint.doubts.notify_one();
                Err(Refusal::new(code::STRANGER, format!("node {} is no member", request.from)))
            }
        }
    }
}

impl Transport {
    /// Listens.
    ///
    /// # Errors
    /// [`Error::PlainTextOffLoopback`], [`Error::Tls`] when the key makes no certificate, [`Error::Io`] when the address
    /// cannot be listened on.
    pub async fn start(options: TransportOptions<'_>, env: &Env) -> Result<Self, Error> {
        let credentials = match options.security {
            Security::Tls(key) => Some(Arc::new(Credentials::new(key)?)),
            Security::InsecureLoopback if options.listen.ip().is_loopback() => None,
            Security::InsecureLoopback => return Err(Error::PlainTextOffLoopback(options.listen)),
        };
        let routes = Arc::new(Routes::default());
        let acceptor = match &credentials {
            None => None,
            Some(credentials) => {
                let routes = Arc::clone(&routes);
                Some(TlsAcceptor::from(credentials.server(Arc::new(move |key| routes.admits(key)))?))
            }
        };
        let listener = env.net.listen(options.listen).await?;
        let address = listener.local_addr();
        let (stop, stopped) = watch::channel(false);
        let server = Arc::new(Server::new(env.clone(), Arc::clone(&routes), acceptor, stopped));
        env.spawn(server.run(listener));
        let secure = credentials.is_some();
        let client = Client::new(env.clone(), credentials);
        Ok(Self(Arc::new(Inner { address, secure, client, routes, stop })))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// The URL of [`Transport::local_addr`], as a [`crate::Peer`] has it.
    #[must_use]
    pub fn local_url(&self) -> String {
        format!("{}://{}", if self.0.secure { "https" } else { "http" }, self.0.address)
    }

    /// Stops listening and closes every connection that others made, at once.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    pub(crate) fn register(&self, endpoint: &Arc<Endpoint>) -> Result<(), Error> {
        let mut groups = self.0.routes.groups.write();
        if groups.contains_key(&endpoint.group) {
            return Err(Error::AlreadyRunning(endpoint.group.clone()));
        }
        groups.insert(endpoint.group.clone(), Arc::clone(endpoint));
        Ok(())
    }

    pub(crate) fn deregister(&self, endpoint: &Arc<Endpoint>) {
        let mut groups = self.0.routes.groups.write();
        if groups.get(&endpoint.group).is_some_and(|there| Arc::ptr_eq(there, endpoint)) {
            groups.remove(&endpoint.group);
        }
    }

    pub(crate) async fn call(
        &self,
        to: &Member,
        lane: Lane,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        if *self.0.stop.borrow() {
            return Err(CallError::Unreachable("the transport is stopped".into()));
        }
        self.0.client.call(to, lane, request, limit).await
    }
}
