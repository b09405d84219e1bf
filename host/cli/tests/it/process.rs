//! Running the binary: to its end, or in the background until it is stopped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is asked whether it has ended: the standard library has no wait with a limit.
const TICK: Duration = Duration::from_millis(20);

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Where the built plugins are.
pub fn components() -> PathBuf {
    let folder = std::env::var_os("EIGENSHIFT_COMPONENTS")
        .map_or_else(|| root().join("plugins/target/components"), PathBuf::from);
    assert!(
        folder.join("price-oracle.wasm").is_file(),
        "{} has no price-oracle.wasm: build the plugins with `cargo xtask setup`",
        folder.display()
    );
    folder
}

/// Foundry's anvil.
pub fn anvil_program() -> PathBuf {
    let path = std::env::var_os("ANVIL").expect(
        "ANVIL must name Foundry's anvil: `cargo xtask test` sets it; by hand: ANVIL=\"$(cargo xtask anvil)\" cargo test -p eigenshift",
    );
    PathBuf::from(path)
}

/// Held by every test that starts a cluster: several at once on a small machine would miss each other's heartbeats.
pub struct Alone {
    _guard: MutexGuard<'static, ()>,
}

/// Waits until no other test runs a cluster.
pub fn alone() -> Alone {
    static CLUSTER: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing behind that the next one meets.
    Alone { _guard: CLUSTER.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// A free loopback port, below those the system gives to outgoing connections: a node can come back to it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// A process that ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Finished {
    /// Its standard output, if it ended with success.
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// Its standard error, if it ended with exit code 1 and nothing on standard output.
    pub fn refused(self) -> String {
        assert!(self.code == Some(1) && self.out.is_empty() && !self.err.is_empty(), "{self:#?}");
        self.err
    }
}

/// The binary under test, run from `folder`, with no filter of the caller's own on its log.
pub fn eigenshift<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eigenshift"));
    command.args(arguments).current_dir(folder).env_remove("RUST_LOG").env("EIGENSHIFT_COMPONENTS", components());
    command
}

/// Runs a command to its end; one that is still running after `limit` is killed, and the test fails.
pub fn finish(command: &mut Command, limit: Duration) -> Finished {
    let mut child =
        Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let (out, err) = (collect(child.0.stdout.take()), collect(child.0.stderr.take()));
    let status = child.wait(limit);
    if status.is_none() {
        child.kill();
    }
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} still runs after {limit:?}\n{out}\n{err}"));
    Finished { code: status.code(), out, err }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A process in the background; killed on drop.
pub struct Running(Child);

impl Running {
    /// Starts one whose output goes to the end of `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let output = log.try_clone().unwrap();
        Self(command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().unwrap())
    }

    /// Waits for its end; none if it takes longer.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(TICK);
        }
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        // The shell's own `kill`: no further program is needed.
        let status = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status().unwrap();
        assert!(status.success(), "kill -TERM: {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
