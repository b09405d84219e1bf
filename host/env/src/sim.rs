//! A simulated world in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::disk::{Lock, RandomAccess, Usage};
use crate::threads::Job;
use crate::{Clock, Disk, Listener, Net, Pool, Random, Stream, Threads};

/// Tokio's clock: real by default, virtual when the runtime's time is paused. Wall time begins in 2026.
#[derive(Debug)]
pub struct TokioClock(Instant);

const WALL_START_MS: u64 = 1_767_225_600_000;

impl TokioClock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn unix_ms(&self) -> u64 {
        WALL_START_MS.saturating_add(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// The same bytes for the same seed, in the order asked for.
#[derive(Debug)]
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().fill_bytes(buffer);
    }
}

/// Pools do their work on the spot, so that nothing depends on the scheduler. Long-running bodies still get a thread.
#[derive(Debug)]
pub struct InlineThreads;

impl Threads for InlineThreads {
    fn spawn(&self, name: &str, body: Job) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }

    fn pool(&self, _name: &str, _threads: usize, _queue: usize) -> io::Result<Pool> {
        Ok(Pool::inline())
    }
}

/// Files in memory. What was not synced is kept all the same: crashes are simulated by whoever wraps it.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, MemoryFile>>,
    used: Mutex<BTreeMap<PathBuf, u64>>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

struct MemoryLock {
    path: PathBuf,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locks.lock().remove(&self.path);
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl RandomAccess for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = index(offset)?;
        let bytes = self.0.lock();
        let part = bytes.get(start..start.saturating_add(buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = index(offset)?;
        let mut bytes = self.0.lock();
        let end = start.saturating_add(data.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes.get_mut(start..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(index(len)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.files.lock().get(path).cloned() else { return Ok(None) };
        let bytes = file.0.lock().clone();
        if bytes.len() as u64 > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is longer than {max} bytes", path.display()),
            ));
        }
        Ok(Some(bytes))
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = MemoryFile(Arc::new(Mutex::new(bytes.to_vec())));
        self.files.lock().insert(path.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path);
        self.used.lock().remove(path);
        Ok(())
    }

    fn touch(&self, path: &Path, unix_ms: u64) -> io::Result<()> {
        if !self.files.lock().contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.used.lock().insert(path.to_owned(), unix_ms);
        Ok(())
    }

    fn usage(&self, path: &Path) -> io::Result<Option<Usage>> {
        let Some(file) = self.files.lock().get(path).cloned() else { return Ok(None) };
        let len = file.0.lock().len() as u64;
        Ok(Some(Usage { len, used_ms: self.used.lock().get(path).copied().unwrap_or(0) }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files.lock().keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if self.locks.lock().insert(directory.to_owned()) {
            Ok(Some(Box::new(MemoryLock { path: directory.to_owned(), locks: Arc::clone(&self.locks) })))
        } else {
            Ok(None)
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RandomAccess>> {
        Ok(Box::new(self.files.lock().entry(path.to_owned()).or_default().clone()))
    }
}

type Incoming = (Box<dyn Stream>, SocketAddr);

/// A network in memory: whoever shares it can reach one another's listeners.
#[derive(Clone, Default)]
pub struct World {
    listeners: Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<Incoming>>>>,
}

const BACKLOG: usize = 128;
const STREAM_BUFFER: usize = 64 * 1024;
const FIRST_PORT: u16 = 49_152;

struct MemoryListener {
    address: SocketAddr,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
    world: World,
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.world.listeners.lock().remove(&self.address);
    }
}

impl Listener for MemoryListener {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Incoming>> {
        async { self.incoming.lock().await.recv().await.ok_or_else(|| io::ErrorKind::ConnectionAborted.into()) }.boxed()
    }
}

impl Net for World {
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        match authority.parse() {
            Ok(address) => self.dial(address),
            Err(error) => std::future::ready(Err(io::Error::other(error))).boxed(),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        // There are no names in this world.
        let address = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]);
        std::future::ready(address.map_err(|_| io::ErrorKind::NotFound.into())).boxed()
    }

    fn dial(&self, target: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let listeners = Arc::clone(&self.listeners);
        async move {
            let listener = listeners.lock().get(&target).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(STREAM_BUFFER);
            let peer = SocketAddr::new(target.ip(), 0);
            listener.send((Box::new(far), peer)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn listen(&self, mut address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let world = self.clone();
        async move {
            let (sender, incoming) = mpsc::channel(BACKLOG);
            {
                let mut listeners = world.listeners.lock();
                if address.port() == 0 {
                    let free = (FIRST_PORT..=u16::MAX)
                        .find(|port| !listeners.contains_key(&SocketAddr::new(address.ip(), *port)))
                        .ok_or(io::ErrorKind::AddrInUse)?;
                    address.set_port(free);
                } else if listeners.contains_key(&address) {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                listeners.insert(address, sender);
            }
            let incoming = tokio::sync::Mutex::new(incoming);
            Ok(Box::new(MemoryListener { address, incoming, world }) as Box<dyn Listener>)
        }
        .boxed()
    }
}
