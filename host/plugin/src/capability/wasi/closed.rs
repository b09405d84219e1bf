//! What a component is given instead of the machine.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::sandbox::imports::{Level, Log};

/// A clock that stands, at so many seconds since 1970; clones stand at the same.
#[derive(Clone)]
pub(super) struct Frozen(Arc<AtomicU64>);

impl Frozen {
    pub(super) fn at(time: u64) -> Self {
        Self(Arc::new(AtomicU64::new(time)))
    }

    pub(super) fn time(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, time: u64) {
        self.0.store(time, Ordering::Relaxed);
    }
}

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.time())
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        self.time().saturating_mul(1_000_000_000)
    }
}

/// Bytes of a write.
const MAX_WRITE: usize = 64 * 1024;
/// Bytes of a line.
const MAX_LINE: usize = 8 * 1024;
const TOO_LONG: &str = "[a line of more than 8 KiB]";

struct Lines {
    log: Log,
    level: Level,
    unfinished: Vec<u8>,
    too_long: bool,
}

impl Lines {
    fn new(log: Log, level: Level) -> Self {
        Self { log, level, unfinished: Vec::new(), too_long: false }
    }

    fn line(&mut self) {
        let line = mem::take(&mut self.unfinished);
        if mem::take(&mut self.too_long) {
            // Not its beginning: a secret that the bound cut in two would not be found in it.
            self.log.write(self.level, TOO_LONG);
        } else if !line.is_empty() {
            self.log.write(self.level, &String::from_utf8_lossy(&line));
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.line(),
                b'\r' => {}
                _ if self.unfinished.len() >= MAX_LINE => self.too_long = true,
                byte => self.unfinished.push(*byte),
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.line();
    }
}

/// A stream whose lines go to the operator's log.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Lines>>);

impl Output {
    /// Standard output and standard error. Each has the number of lines that the log interface has.
    pub(super) fn pair(log: Log) -> (Self, Self) {
        let stream = |log, level| Self(Arc::new(Mutex::new(Lines::new(log, level))));
        (stream(log.another(), Level::Info), stream(log, Level::Warn))
    }

    /// Writes out what is unfinished.
    pub(super) fn end(&self) {
        self.0.lock().line();
    }

    /// From here on, lines are another call's.
    pub(super) fn begin_again(&self, log: Log) {
        self.0.lock().log = log;
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by WASI 0.3 only, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.0.lock().add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(MAX_WRITE)
    }
}
