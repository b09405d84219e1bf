//! The newest log lines of each AVS, so that an operator can have one AVS's alone.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use eigenshift_types::AvsId;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

/// Lines kept of an AVS.
pub const MAX_LINES: usize = 1000;

/// Bytes kept of an AVS's lines.
pub const MAX_BYTES: usize = 256 * 1024;

/// Longest line in bytes; what is over is cut off.
pub const MAX_LINE: usize = 4096;

/// A line of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1; one more for each.
    pub number: u64,
    /// What was written.
    pub text: String,
}

/// Lines in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The lines.
    pub lines: Vec<Line>,
    /// How many before these, and after what was asked for, are gone: newer ones took their place.
    pub lost: u64,
}

/// Invariant: the numbers in `lines` are successive and end at `last`; `bytes` is their sum.
#[derive(Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
}

impl Ring {
    fn push(&mut self, mut text: String) {
        let mut end = text.len().min(MAX_LINE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.last += 1;
        self.bytes += text.len();
        self.lines.push_back(Line { number: self.last, text });
        while (self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES)
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.text.len();
        }
    }

    fn page(&self, after: u64) -> Page {
        let lines: Vec<Line> = self.lines.iter().filter(|line| line.number > after).cloned().collect();
        let first = lines.first().map_or(self.last.saturating_add(1), |line| line.number);
        Page { lines, lost: first.saturating_sub(after.saturating_add(1)) }
    }
}

/// The lines by AVS: of those that were opened, and of no other. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct Logs(Arc<RwLock<BTreeMap<String, Arc<Mutex<Ring>>>>>);

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logs")
    }
}

impl Logs {
    /// Keeps an AVS's lines from now on; those that are there stay.
    pub fn open(&self, avs: &AvsId) {
        self.0.write().entry(avs.to_string()).or_default();
    }

    /// Forgets an AVS and its lines.
    pub fn close(&self, avs: &AvsId) {
        self.0.write().remove(avs.as_str());
    }

    /// Whether an AVS's lines are kept.
    #[must_use]
    pub fn keeps(&self, avs: &str) -> bool {
        self.0.read().contains_key(avs)
    }

    /// Adds a line to an AVS that was opened; those of others are nobody's.
    pub fn write(&self, avs: &str, text: String) {
        let ring = self.0.read().get(avs).cloned();
        if let Some(ring) = ring {
            ring.lock().push(text);
        }
    }

    /// The lines of an AVS after number `after`; none if it was not opened.
    #[must_use]
    pub fn page(&self, avs: &AvsId, after: u64) -> Option<Page> {
        let ring = self.0.read().get(avs.as_str()).cloned()?;
        let page = ring.lock().page(after);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn opened(name: &str) -> (Logs, AvsId) {
        let (logs, avs) = (Logs::default(), name.parse().unwrap());
        logs.open(&avs);
        (logs, avs)
    }

    #[test]
    fn lines_are_bounded_in_number_bytes_and_length_and_the_oldest_go_first() {
        let (logs, avs) = opened("many");
        for number in 1..=3 * MAX_LINES {
            logs.write("many", format!("line {number}"));
        }
        let page = logs.page(&avs, 0).unwrap();
        assert_eq!((page.lines.len(), page.lost), (MAX_LINES, 2 * MAX_LINES as u64));
        assert_eq!(page.lines.last().unwrap().text, format!("line {}", 3 * MAX_LINES));
        let (logs, avs) = opened("long");
        for _ in 0..MAX_LINES {
            // Characters of three bytes, so that the cut is not between two.
            logs.write("long", "€".repeat(MAX_LINE));
        }
        let page = logs.page(&avs, 0).unwrap();
        let bytes: usize = page.lines.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= MAX_BYTES && page.lines.iter().all(|line| line.text.len() <= MAX_LINE), "{bytes}");
        assert!(bytes > MAX_BYTES - MAX_LINE, "no more is dropped than has to be: {bytes}");
    }

    #[test]
    fn whoever_follows_gets_each_line_once_and_is_told_of_those_that_went() {
        let (logs, avs) = opened("a");
        for number in 0..3 {
            logs.write("a", number.to_string());
        }
        let first = logs.page(&avs, 0).unwrap();
        let last = first.lines.last().unwrap().number;
        assert_eq!((first.lines.len(), first.lost, last), (3, 0, 3));
        assert_eq!(logs.page(&avs, last).unwrap(), Page::default());
        (0..MAX_LINES + 5).for_each(|number| logs.write("a", number.to_string()));
        assert_eq!(logs.page(&avs, last).unwrap().lost, 5);
        assert_eq!(logs.page(&avs, u64::MAX).unwrap(), Page::default());
    }

    #[test]
    fn an_avs_has_its_own_lines_and_names_that_were_not_opened_have_none() {
        let (logs, a) = opened("a");
        let b: AvsId = "b".parse().unwrap();
        logs.open(&b);
        logs.write("a", "of a".to_owned());
        logs.write("b", "of b".to_owned());
        for number in 0..1000 {
            logs.write(&format!("made-up-{number}"), "of nobody".to_owned());
        }
        assert_eq!(logs.page(&b, 0).unwrap().lines.len(), 1);
        assert!(logs.page(&"made-up-1".parse().unwrap(), 0).is_none());
        logs.close(&a);
        assert!(logs.page(&a, 0).is_none() && !logs.keeps("a") && logs.keeps("b"));
    }
}
