//! What a child process does to itself before it touches hostile input.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setpriority_process, setrlimit};

/// What a process leaves itself.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    /// Address space, in bytes: what the program itself takes, and all it allocates.
    pub memory_bytes: u64,
    /// Processor time of all its threads; whole seconds, at least one.
    pub cpu: Duration,
}

/// Confines the calling process, for good unless it is privileged: memory, processor time; no core files, no growing
/// files, no further open files or connections; no privileges from other programs; lowest priority. It is killed when the
/// thread that started it ends.
///
/// Call it first, while there is one thread.
///
/// # Errors
/// The system refuses one of them: the process must not go on.
pub fn confine(to: Confinement) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // Its threads inherit both.
    setpriority_process(None, 19)?;
    crate::real::only_when_idle();
    let seconds = to.cpu.as_secs().max(1);
    // The first is a signal that says what it is for, the second comes when that was caught.
    set(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    set(Resource::As, to.memory_bytes, to.memory_bytes)?;
    set(Resource::Core, 0, 0)?;
    set(Resource::Fsize, 0, 0)?;
    // Standard input, output and error are open already.
    set(Resource::Nofile, 3, 3)
}

fn set(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?)
}
