//! Components to machine code, within limits.
//!
//! A compiler's work is not linear in its input, and wasmtime counts no denial of service at compile time as a bug. So a
//! component is compiled by a child process that limits its own memory and processor time, that is killed when it takes
//! too long, and that may crash without the host.
//!
//! What this does not do: the host runs the code that the child returns. A component that found a bug in the compiler and
//! took the child over could return any code, as it could have had itself miscompiled in this very process. The key in
//! `frame` tells what the child made from what anything else wrote to its output; it cannot tell a child that is no
//! longer its own master. The child can open no file and no connection and has no more privileges than the host, but it
//! runs under the host's user.
//!
//! - here: what the operator chooses, and how each end of a child is told.
//! - `child`: the child's own part.
//! - `frame`: what the two say to each other.

mod child;
mod frame;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use eigenshift_env::processes::{Command, Ending, Finished};
use eigenshift_env::{Env, Processes};
use eigenshift_types::B256;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::plugin::Origin;
use crate::sandbox::call::text;
use crate::sandbox::text::clean;

pub use child::run as child;

/// The most code that one component may become. The largest measured (Python, 18 MB) becomes about 60 MB.
pub(crate) const MAX_CODE: usize = 256 * 1024 * 1024;

/// What is told of a crashed compiler's last words.
const MAX_LAST_WORDS: usize = 200;

/// Threads of a child: each takes address space for its stack whether it uses it or not.
const MAX_THREADS: usize = 4;

/// Threads of a child on so many cores. One core is left: the compiler does not pause, and must not keep all of them busy
/// (see [`eigenshift_env::Threads::rest`]).
fn threads(cores: usize) -> usize {
    cores.saturating_sub(1).clamp(1, MAX_THREADS)
}

/// Who compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A process of its own for each component: what a host needs that takes plugins from others.
    Child {
        /// An executable whose `main` calls [`child()`] before anything else: `eigenshift-compiler`, or this one again.
        program: PathBuf,
        /// What it needs to do so; the host adds what [`child()`] needs.
        args: Vec<OsString>,
    },
    /// This process, without any limit: for tests, and for people who develop a plugin.
    InThisProcess,
}

impl Compiler {
    /// The executable that runs now, with these arguments.
    ///
    /// # Errors
    /// The system does not say where it is.
    pub fn this_executable(args: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let args = args.into_iter().collect();
        // Still this one when its file has been replaced by an upgrade.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self::Child { program, args })
    }
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time: at least 1 ms.
    pub time: Duration,
    /// Processor time of all the compiler's threads, in whole seconds: at least 1 s.
    pub cpu: Duration,
    /// Address space of the compiler: at least 64 MiB.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    /// Measured: JavaScript 12 MB and Python 18 MB take 15 to 17 s on one core.
    fn default() -> Self {
        Self { time: Duration::from_secs(180), cpu: Duration::from_secs(120), memory_bytes: 3 * 1024 * 1024 * 1024 }
    }
}

/// Makes code, or finds it on disk. Its methods block.
pub(crate) struct Compilation {
    pub env: Env,
    pub engine: Engine,
    /// What the engine's code is made for.
    pub identity: B256,
    pub compiler: Compiler,
    pub limits: CompileLimits,
    pub max_component: usize,
    pub cache: Option<Cache>,
}

impl Compilation {
    /// The code of a component. `in_use`: components whose code is not to leave the cache.
    pub(crate) fn obtain(
        &self,
        digest: B256,
        bytes: &[u8],
        in_use: &BTreeSet<B256>,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<(Component, Origin), LoadError> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok((component, Origin::Disk));
        }
        let code = match &self.compiler {
            Compiler::InThisProcess => {
                self.engine.precompile_component(bytes).map_err(|error| LoadError::Compile(text(&error)))?
            }
            Compiler::Child { program, args } => self.in_child(program.clone(), args, bytes, cancelled)?,
        };
        #[allow(unsafe_code, reason = "machine code cannot be checked; where it comes from can")]
        // SAFETY: `deserialize` asks for bytes from `Component::serialize` or `Engine::precompile_component`, unchanged.
        // They are this process's own, or carry a tag under a key that was drawn for this one compilation and given to
        // nobody but the compiler, made for this very engine.
        let component = unsafe { Component::deserialize(&self.engine, &code) };
        // It is whole; what is wrong is that it needs more than a call's slot has.
        let component = component.map_err(|error| LoadError::Compile(text(&error)))?;
        if let Some(cache) = &self.cache {
            cache.store(digest, &code, in_use);
        }
        Ok((component, Origin::Compiled))
    }

    fn in_child(
        &self,
        program: PathBuf,
        args: &[OsString],
        bytes: &[u8],
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Vec<u8>, LoadError> {
        let key = frame::Key::new(self.env.random_32());
        let mut args = args.to_vec();
        let numbers = [self.limits.memory_bytes, self.limits.cpu.as_secs().max(1), self.max_component as u64];
        args.extend(numbers.map(|number| number.to_string().into()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let command = Command {
            program,
            args,
            environment: vec![
                ("RAYON_NUM_THREADS".into(), threads(cores).to_string().into()),
                // The allocator would reserve 64 MiB of address space for each thread.
                ("MALLOC_ARENA_MAX".into(), "1".into()),
            ],
            input: frame::request(&key, bytes),
            max_output: frame::reply_len(MAX_CODE),
            time: self.limits.time,
            cancelled: Arc::clone(cancelled),
        };
        let finished = run(self.env.processes.as_ref(), command)?;
        self.read(&key, &finished)
    }

    /// What the child's end means. Its output counts only when it ended well.
    fn read(&self, key: &frame::Key, finished: &Finished) -> Result<Vec<u8>, LoadError> {
        let limits = &self.limits;
        let too_slow = || LoadError::CompileTooSlow { time: limits.time, cpu: limits.cpu };
        let too_much_memory = || LoadError::CompileTooMuchMemory { max: limits.memory_bytes };
        match finished.ending {
            Ending::Code(child::DONE) => {}
            Ending::Late | Ending::Signal(SIGXCPU) => return Err(too_slow()),
            Ending::TooMuchOutput => return Err(LoadError::CodeTooLarge { max: MAX_CODE }),
            Ending::Cancelled => return Err(LoadError::Internal("nobody waits for the compiler any more".to_owned())),
            Ending::Code(child::UNUSABLE) => return Err(LoadError::CompilerUnusable(last_words(&finished.errors))),
            Ending::Code(child::OUT_OF_MEMORY) => return Err(too_much_memory()),
            // The allocator of a Rust program says so and aborts.
            Ending::Signal(_) | Ending::Code(_) if contains(&finished.errors, b"memory allocation of ") => {
                return Err(too_much_memory());
            }
            Ending::Signal(signal) => {
                let told = format!("signal {signal}: {}", last_words(&finished.errors));
                return Err(LoadError::CompilerCrashed(told));
            }
            Ending::Code(code) => {
                let told = format!("exit code {code}: {}", last_words(&finished.errors));
                return Err(LoadError::CompilerCrashed(told));
            }
        }
        match frame::read_reply(key, &finished.output) {
            None => Err(LoadError::CompilerUnusable("what it wrote is not a compiler's answer".to_owned())),
            Some(reply) if reply.identity != self.identity => {
                let fix = "it compiles for another version of the engine than this host runs; restart the host";
                Err(LoadError::CompilerUnusable(fix.to_owned()))
            }
            Some(frame::Reply { outcome: Ok(code), .. }) => Ok(code.to_vec()),
            Some(frame::Reply { outcome: Err(why), .. }) => {
                Err(LoadError::Compile(clean(&String::from_utf8_lossy(why), frame::MAX_REASON)))
            }
        }
    }
}

/// Sent when the processor time is used up.
const SIGXCPU: i32 = 24;

fn run(processes: &dyn Processes, command: Command) -> Result<Finished, LoadError> {
    let program = command.program.display().to_string();
    processes.run(command).map_err(|error| LoadError::CompilerUnusable(format!("{program} does not start: {error}")))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The end of what it wrote to standard error.
fn last_words(errors: &[u8]) -> String {
    let start = errors.len().saturating_sub(MAX_LAST_WORDS);
    let end = errors.get(start..).unwrap_or_default().trim_ascii();
    if end.is_empty() { "it said nothing".to_owned() } else { clean(&String::from_utf8_lossy(end), MAX_LAST_WORDS) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::sandbox::settings;

    #[test]
    fn a_compiler_leaves_a_core_where_there_is_more_than_one() {
        assert_eq!([1, 2, 3, 5, 64].map(threads), [1, 1, 2, 4, MAX_THREADS]);
    }

    #[test]
    fn code_for_another_engine_is_not_run() {
        let engine = settings::compiler().unwrap();
        let compilation = Compilation {
            env: Env::real(),
            identity: settings::identity(&engine),
            engine,
            compiler: Compiler::InThisProcess,
            limits: CompileLimits::default(),
            max_component: 1,
            cache: None,
        };
        let key = || frame::Key::new([1; 32]);
        let read = |identity| {
            let output = frame::reply(&key(), identity, Ok(b"code")).unwrap();
            compilation.read(&key(), &Finished { ending: Ending::Code(child::DONE), output, errors: Vec::new() })
        };
        assert_eq!(read(compilation.identity).unwrap(), b"code");
        let error = read(B256::repeat_byte(5)).unwrap_err();
        assert_eq!(error.code(), "compiler-unusable");
        assert!(error.to_string().contains("restart the host"), "{error}");
    }

    #[test]
    fn last_words_are_short_and_clean() {
        assert_eq!(last_words(b" \n"), "it said nothing");
        assert_eq!(last_words(b"thread 'main' has overflowed its stack\n"), "thread 'main' has overflowed its stack");
        assert!(last_words(&[b'\x1b'; 5000]).len() <= MAX_LAST_WORDS);
    }
}
