//! What tasks are asked for.

use std::io::{BufRead, BufReader, Read, stdin};
use std::time::Duration;

use eigenshift_env::Env;
use eigenshift_types::Bytes;
use tokio::sync::mpsc;

use crate::author::tasks::Data;

/// Longest line of standard input: a request of 64 KiB in hexadecimal.
const MAX_LINE: u64 = 2 * 64 * 1024 + 3;

/// Lines that wait to be asked.
const AHEAD: usize = 16;

/// Where requests come from.
pub enum Source {
    /// These, again and again, one at a time.
    Timer {
        /// Not empty.
        requests: Vec<Bytes>,
        /// The next one.
        next: usize,
        /// From one to the next.
        every: Duration,
    },
    /// Lines, or what is wrong with them.
    Lines(mpsc::Receiver<Result<Bytes, String>>),
    /// Nowhere: the plugin's own triggers make its tasks.
    Silent,
}

/// Reads lines until the end; each is bytes as in `tasks.toml`.
fn read(input: impl Read, mut take: impl FnMut(Result<Bytes, String>) -> bool) {
    let mut input = BufReader::new(input);
    loop {
        let mut line = String::new();
        let request = match input.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(0) => return,
            Ok(_) if !line.ends_with('\n') && line.len() as u64 >= MAX_LINE => {
                // The rest of it would pass for lines of its own.
                take(Err(format!("a line has more than {} bytes", MAX_LINE - 1)));
                return;
            }
            Ok(_) => line.trim_end_matches(['\r', '\n']).parse::<Data>().map(|Data(bytes)| bytes),
            Err(error) => {
                take(Err(format!("standard input: {error}")));
                return;
            }
        };
        if !take(request) {
            return;
        }
    }
}

impl Source {
    /// The lines of standard input, read by a thread that ends with it or with the process.
    ///
    /// # Errors
    /// There is no thread.
    pub fn stdin() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reading = move || read(stdin(), |request| sender.blocking_send(request).is_ok());
        std::thread::Builder::new().name("stdin".to_owned()).spawn(reading)?;
        Ok(Self::Lines(receiver))
    }

    /// The next request; none when there will be none.
    pub async fn next(&mut self, env: &Env) -> Option<Result<Bytes, String>> {
        match self {
            Self::Timer { requests, next, every } => {
                if *next > 0 {
                    env.clock.sleep(*every).await;
                }
                let request = requests.get(*next % requests.len().max(1)).cloned();
                *next += 1;
                request.map(Ok)
            }
            Self::Lines(lines) => lines.recv().await,
            Self::Silent => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Result<Bytes, String>> {
        let mut found = Vec::new();
        read(input, |request| {
            found.push(request);
            true
        });
        found
    }

    #[test]
    fn a_line_is_a_request_in_text_or_hexadecimal_and_one_without_end_stops_the_reading() {
        let text = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        assert_eq!(lines(b"EUR\n\r\n0x4555\nlast"), [text("EUR"), text(""), text("EU"), text("last")]);
        assert!(matches!(lines(b"0xno\nyes\n").as_slice(), [Err(_), Ok(_)]));
        assert!(matches!(lines(&[b'a'; 1 << 18]).as_slice(), [Err(_)]));
        assert!(matches!(lines(b"\xff\nyes\n").as_slice(), [Err(_)]));
    }
}
