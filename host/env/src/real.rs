//! The operating system's world.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::TryRngCore;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::disk::{Lock, RandomAccess, Usage};
use crate::threads::Job;
use crate::{Clock, Disk, Listener, Net, Pool, Random, Stream, Threads};

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// The system's random source.
#[derive(Debug)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = rand::rngs::OsRng.try_fill_bytes(buffer) {
            // Going on with a predictable key would be worse than stopping.
            eprintln!("the system's random source failed, stopping: {error}");
            std::process::abort();
        }
    }
}

/// The system's threads.
#[derive(Debug)]
pub struct OsThreads;

/// How often background threads pause, and until when in each of these: long enough for a piece of work to end meanwhile.
const REST_EVERY: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_millis(2);

/// What is left of the pause that it is time for, if it is. All processes of a machine have the same clock.
fn rest_left(now: Duration) -> Option<Duration> {
    let into = now.as_nanos() % REST_EVERY.as_nanos();
    let left = REST.as_nanos().checked_sub(into).filter(|left| *left > 0)?;
    u64::try_from(left).ok().map(Duration::from_nanos)
}

/// Has the calling thread, and those that it starts, run only where nothing else would. To the scheduler its core counts
/// as idle: whoever wakes up gets it at once, while the lowest priority of the usual kind keeps it until its slice ends.
pub(crate) fn only_when_idle() {
    let none = libc::sched_param { sched_priority: 0 };
    #[allow(unsafe_code, reason = "the pointer is of a value that outlives the call; 0 is the calling thread")]
    // It is refused nowhere on Linux; where it is, the priority has to do.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
}

impl Threads for OsThreads {
    fn spawn(&self, name: &str, body: Job) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }

    fn cpu_time(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    }

    fn rest(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        if let Some(left) = Duration::try_from(now).ok().and_then(rest_left) {
            std::thread::sleep(left);
        }
    }

    fn spawn_background(&self, name: &str, body: Job) -> io::Result<()> {
        let lower = move || {
            // Of the calling thread only, on Linux. Without either the work is done all the same.
            let _ = rustix::process::setpriority_process(None, 19);
            only_when_idle();
            body();
        };
        self.spawn(name, Box::new(lower))
    }

    fn pool(&self, name: &str, threads: usize, queue: usize) -> io::Result<Pool> {
        let (sender, receiver) = mpsc::channel::<Job>(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let body = move || loop {
                let job = receiver.lock().blocking_recv();
                let Some(job) = job else { return };
                // A job that panics ends only itself; its caller is told by the dropped reply.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            };
            self.spawn(&format!("{name}-{number}"), Box::new(body))?;
        }
        Ok(Pool::over(sender))
    }
}

/// The system's files.
#[derive(Debug)]
pub struct FileSystem;

struct HeldFile(#[allow(dead_code, reason = "held for its lock, which closing gives back")] File);
impl Lock for HeldFile {}

impl RandomAccess for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

impl Disk for FileSystem {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn is_private(&self, directory: &Path) -> io::Result<bool> {
        // Whoever owns it can change its mode; whoever may write to it can replace files in it, whatever their own modes.
        let found = fs::metadata(directory)?;
        Ok(found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0)
    }

    fn touch(&self, path: &Path, unix_ms: u64) -> io::Result<()> {
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).ok_or(io::ErrorKind::InvalidInput)?;
        OpenOptions::new().write(true).open(path)?.set_modified(time)
    }

    fn usage(&self, path: &Path) -> io::Result<Option<Usage>> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let since = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(Usage { len: found.len(), used_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }))
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is longer than {max} bytes", path.display()),
            ));
        }
        Ok(Some(bytes))
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let path = directory.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(HeldFile(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn RandomAccess>> {
        let fresh = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if fresh {
            sync_parent(path)?;
        }
        Ok(Box::new(file))
    }
}

/// TCP.
#[derive(Debug)]
pub struct Tcp;

struct Accepting {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener for Accepting {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer))
        }
        .boxed()
    }
}

impl Net for Tcp {
    fn connect(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let authority = authority.to_owned();
        async move {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) }.boxed()
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(Accepting { listener, address }) as Box<dyn Listener>)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_threads_pause_when_a_period_begins_and_until_the_pause_is_over() {
        let (begin, moment) = (REST_EVERY * 7, Duration::from_nanos(1));
        assert_eq!(rest_left(begin), Some(REST));
        assert_eq!(rest_left(begin + REST - moment), Some(moment));
        assert_eq!(rest_left(begin + REST), None);
        assert_eq!(rest_left(begin + REST_EVERY - moment), None);
    }
}
