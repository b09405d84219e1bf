//! Other programs, each run to its end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// What is kept of a program's standard error, in bytes.
pub const MAX_ERRORS: usize = 4096;

/// A program, what it is given, and how long it may take.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Its standard input.
    pub input: Vec<u8>,
    /// The most that it may write to standard output.
    pub max_output: usize,
    /// It is killed after so long.
    pub time: Duration,
    /// Set by whoever does not want the result any more: it is killed.
    pub cancelled: Arc<AtomicBool>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that did not come from here.
    Signal(i32),
    /// Killed: its time was up.
    Late,
    /// Killed: it wrote more than it may.
    TooMuchOutput,
    /// Killed: nobody wants the result.
    Cancelled,
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// Its standard output; empty when it was killed.
    pub output: Vec<u8>,
    /// The first [`MAX_ERRORS`] bytes of its standard error.
    pub errors: Vec<u8>,
}

/// Runs programs.
pub trait Processes: Send + Sync {
    /// Runs a program to its end, which comes within its time. Blocks: it belongs on a thread that outlives the program,
    /// since the program may ask the system to end it together with that thread.
    ///
    /// # Errors
    /// The program does not start.
    fn run(&self, command: Command) -> io::Result<Finished>;
}

/// How often a running program is looked at: the standard library has no wait with a limit.
const LOOK: Duration = Duration::from_millis(20);
/// How long the rest of a dead program's output may take, unless something that left its group holds it open.
const DRAIN: Duration = Duration::from_secs(2);

/// The system's processes. A program has a process group of its own, which is killed with it.
#[derive(Debug)]
pub struct OsProcesses;

/// A child that does not outlive this.
struct Running {
    child: Child,
    reaped: bool,
}

impl Running {
    /// Whether it has ended; it stays a zombie, so that nobody else has its number yet.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    /// Kills whatever is left of its group, and lets go of its number.
    fn end(&mut self) -> io::Result<Ending> {
        // That there is nobody left to kill is as good.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        self.reaped = true;
        let status = self.child.wait()?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Code(code),
            (None, signal) => Ending::Signal(signal.unwrap_or_default()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Reads at most `keep` bytes, then either drops the source, which stops a program that goes on writing, or drains it.
fn collect(
    name: &str,
    mut source: impl Read + Send + 'static,
    keep: usize,
    drain: bool,
) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread(name, move || {
        let mut bytes = Vec::new();
        // What cannot be read is not there; the program's ending tells the rest.
        let _ = source.by_ref().take(keep as u64).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
        if drain {
            let _ = io::copy(&mut source, &mut io::sink());
        }
    })?;
    Ok(receiver)
}

/// What was collected, if that is known within this time.
fn received(from: &Receiver<Vec<u8>>, within: Duration) -> Option<Vec<u8>> {
    match from.recv_timeout(within) {
        Ok(bytes) => Some(bytes),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
    }
}

/// Why a program is waited for no longer.
fn over(end: Instant, cancelled: &AtomicBool) -> Option<Ending> {
    if cancelled.load(Ordering::Acquire) {
        Some(Ending::Cancelled)
    } else if Instant::now() >= end {
        Some(Ending::Late)
    } else {
        None
    }
}

impl Processes for OsProcesses {
    fn run(&self, mut command: Command) -> io::Result<Finished> {
        let end = Instant::now().checked_add(command.time).ok_or(io::ErrorKind::InvalidInput)?;
        let child = std::process::Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut running = Running { child, reaped: false };
        let (stdin, stdout, stderr) =
            (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let input = std::mem::take(&mut command.input);
        // A program that does not read all of it has its reasons; it says so by how it ends.
        thread("child-input", move || drop(stdin.write_all(&input)))?;
        let out = collect("child-output", stdout, command.max_output.saturating_add(1), false)?;
        let errors = collect("child-errors", stderr, MAX_ERRORS, true)?;
        let mut output = None;
        let too_much = |output: &Option<Vec<u8>>| output.as_ref().is_some_and(|bytes| bytes.len() > command.max_output);
        let killed = loop {
            match &output {
                None => output = received(&out, LOOK),
                Some(_) => std::thread::sleep(LOOK / 10),
            }
            if too_much(&output) {
                break Some(Ending::TooMuchOutput);
            }
            if running.has_ended()? {
                break None;
            }
            if let Some(ending) = over(end, &command.cancelled) {
                break Some(ending);
            }
        };
        let ended = running.end()?;
        // What it had written when it ended; by now nobody holds the other end.
        let output = output.or_else(|| received(&out, DRAIN));
        let ending = killed.or(too_much(&output).then_some(Ending::TooMuchOutput)).unwrap_or(ended);
        let whole = matches!(ending, Ending::Code(_) | Ending::Signal(_));
        Ok(Finished {
            ending,
            output: output.filter(|_| whole).unwrap_or_default(),
            errors: received(&errors, DRAIN).unwrap_or_default(),
        })
    }
}

/// What stands for a program.
type Script = Arc<dyn Fn(&Command) -> io::Result<Finished> + Send + Sync>;

/// Programs of a simulated world: functions, by path. Cheap to clone; the clones share them.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Mutex<BTreeMap<PathBuf, Script>>>);

impl Scripted {
    /// Puts a function where a program would be.
    pub fn install(
        &self,
        program: impl Into<PathBuf>,
        script: impl Fn(&Command) -> io::Result<Finished> + Send + Sync + 'static,
    ) {
        self.0.lock().insert(program.into(), Arc::new(script));
    }
}

impl Processes for Scripted {
    fn run(&self, command: Command) -> io::Result<Finished> {
        let script = self.0.lock().get(&command.program).cloned().ok_or(io::ErrorKind::NotFound)?;
        let mut finished = script(&command)?;
        finished.errors.truncate(MAX_ERRORS);
        if finished.output.len() > command.max_output {
            finished = Finished { ending: Ending::TooMuchOutput, output: Vec::new(), errors: finished.errors };
        }
        Ok(finished)
    }
}
