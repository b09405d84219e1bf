//! Streams between hosts.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A two-way stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Dials and listens.
pub trait Net: Send + Sync {
    /// Dials `host:port`. No timeout of its own.
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Every address of a name, or the address that it is. Whoever checks addresses resolves once and dials what was
    /// checked: a second look-up could give another answer. No timeout of its own.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// Dials exactly this address. No timeout of its own.
    fn dial(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Listens; port 0 takes a free one.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
}

/// Takes connections.
pub trait Listener: Send + Sync {
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection and its peer.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
}
