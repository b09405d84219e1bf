//! The log of several operators in one process, or of several runs: what all of them write is shown once.

use std::collections::VecDeque;
use std::io::{self, Write, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a line counts as said.
const SAID: Duration = Duration::from_secs(2);

/// How many lines are remembered.
const REMEMBERED: usize = 64;

/// Passes each line on, but for those that were passed on a moment ago.
pub struct Lines<W> {
    out: W,
    said: VecDeque<(Instant, Vec<u8>)>,
}

impl<W: Write> Lines<W> {
    pub const fn new(out: W) -> Self {
        Self { out, said: VecDeque::new() }
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let now = Instant::now();
        self.said.retain(|(when, _)| now.duration_since(*when) < SAID);
        if !self.said.iter().any(|(_, said)| said == line) {
            if self.said.len() == REMEMBERED {
                self.said.pop_front();
            }
            self.said.push_back((now, line.to_vec()));
            self.out.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Sends what plugins and operators log to standard error, a line each; `RUST_LOG` wins over `filter`.
pub fn log(filter: &str) {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    // A second call changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(Mutex::new(Lines::new(stderr())))
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .try_init();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_three_operators_say_is_shown_once_and_memory_is_bounded() {
        let mut lines = Lines::new(Vec::new());
        for _ in 0..3 {
            for line in ["one\n", "two\n"] {
                lines.write_all(line.as_bytes()).unwrap();
            }
        }
        assert_eq!(lines.out, b"one\ntwo\n");
        for number in 0..10 * REMEMBERED {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert!(lines.said.len() <= REMEMBERED);
    }
}
