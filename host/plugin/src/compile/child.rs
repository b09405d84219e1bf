//! The child's part: it limits itself, then reads, compiles and writes.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use eigenshift_env::confine::{Confinement, confine};
use wasmtime::OutOfMemory;

use super::frame::{self, MAX_REASON};
use crate::sandbox::settings;
use crate::sandbox::text::clean;

/// It wrote an answer, be it code or why there is none.
pub(super) const DONE: i32 = 0;
/// There was not enough memory, and it noticed by itself.
pub(super) const OUT_OF_MEMORY: i32 = 65;
/// It could not begin: what it was started with or from is wrong.
pub(super) const UNUSABLE: i32 = 64;

/// The whole life of a compiler process: to be called first thing in `main`, while there is one thread. `args` are what is
/// left of the command line: the three numbers that the host adds.
///
/// Reads a component from standard input and writes its code to standard output, both in a form of the host's own; says
/// what is wrong on standard error.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let code = compile(args).unwrap_or_else(|why| {
        // If that cannot be said, the code says enough.
        let _ = writeln!(io::stderr(), "{why}");
        UNUSABLE
    });
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

const USAGE: &str =
    "this is started by a plugin host, with bytes of memory, seconds of processor time and the largest component";

fn compile(args: impl IntoIterator<Item = OsString>) -> Result<i32, String> {
    let numbers: Vec<u64> = args
        .into_iter()
        .take(4)
        .map(|arg| arg.to_str().and_then(|arg| arg.parse().ok()))
        .collect::<Option<_>>()
        .ok_or(USAGE)?;
    let [memory_bytes, seconds, max_component] = *numbers.as_slice() else { return Err(USAGE.to_owned()) };
    confine(Confinement { memory_bytes, cpu: Duration::from_secs(seconds) })
        .map_err(|error| format!("the process cannot be confined: {error}"))?;
    let mut input = Vec::new();
    let most = frame::request_len(max_component);
    io::stdin().lock().take(most.saturating_add(1)).read_to_end(&mut input).map_err(|error| error.to_string())?;
    let (key, component) = frame::read_request(&input, max_component).ok_or("standard input holds no request")?;
    let engine = settings::compiler().map_err(|error| format!("the compiler does not start: {error:#}"))?;
    let compiled = engine.precompile_component(component);
    if compiled.as_ref().is_err_and(|error| error.is::<OutOfMemory>()) {
        return Ok(OUT_OF_MEMORY);
    }
    let outcome = compiled.map_err(|error| clean(&format!("{error:#}"), MAX_REASON).into_bytes());
    let reply = frame::reply(&key, settings::identity(&engine), outcome.as_deref().map_err(Vec::as_slice))
        .ok_or("the answer cannot be sealed")?;
    let mut out = io::stdout().lock();
    out.write_all(&reply).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    Ok(DONE)
}
