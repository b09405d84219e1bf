//! What a component is given instead of the machine.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eigenshift_types::{B256, keccak256};
use parking_lot::Mutex;
use rand_core::TryRng;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::sandbox::imports::{Level, Log};

/// A clock that stands, at so many seconds since 1970.
pub(super) struct Frozen(pub u64);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        self.0.saturating_mul(1_000_000_000)
    }
}

/// Bytes that follow from a seed: keccak of seed, name and counter, block by block. The same in every version of this host
/// and of every library, which generators made for speed do not promise.
pub(super) struct Seeded {
    seed: B256,
    block: B256,
    counter: u64,
    used: usize,
}

impl Seeded {
    pub(super) fn new(seed: B256, name: &str) -> Self {
        let seed = keccak256([seed.as_slice(), name.as_bytes()].concat());
        Self { seed, block: B256::ZERO, counter: 0, used: B256::len_bytes() }
    }

    fn byte(&mut self) -> u8 {
        if self.used >= B256::len_bytes() {
            let mut input = [0; 40];
            let (seed, counter) = input.split_at_mut(32);
            seed.copy_from_slice(self.seed.as_slice());
            counter.copy_from_slice(&self.counter.to_be_bytes());
            self.block = keccak256(input);
            self.counter += 1;
            self.used = 0;
        }
        let byte = self.block.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(super) fn number(mut self) -> u128 {
        u128::from_be_bytes(self.bytes())
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        buffer.fill_with(|| self.byte());
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn random_bytes_are_pinned_and_differ_by_seed_and_name() {
        let draw = |seed: u8, name| {
            let mut bytes = [0; 70];
            Seeded::new(B256::repeat_byte(seed), name).try_fill_bytes(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(1, "secure"), draw(1, "secure"));
        assert_ne!(draw(1, "secure"), draw(2, "secure"));
        assert_ne!(draw(1, "secure"), draw(1, "insecure"));
        let block = |counter: u64| {
            let seed = keccak256([&[1; 32][..], b"secure"].concat());
            keccak256([seed.as_slice(), &counter.to_be_bytes()].concat())
        };
        let expected = [block(0).0, block(1).0, block(2).0].concat();
        assert_eq!(draw(1, "secure")[..], expected.get(..70).unwrap()[..], "across blocks");
    }
}
