//! Each command once, in bounded memory.

use eigenshift_types::CommandId;
use serde::{Deserialize, Serialize};

const WORDS: usize = 16;
const WIDTH: u64 = WORDS as u64 * 64;

/// What became of a command id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not used before; now it is.
    New,
    /// Used before.
    Before,
    /// Too far behind the highest used id to be known: refused, the author takes a new one.
    TooOld,
}

/// Which of an author's command ids are used: the highest, and a bit for each of the 1,024 up to it.
///
/// Invariant: bit `i` (of word `i / 64`) stands for `highest - i`; ids above `highest` are unused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    highest: u64,
    used: [u64; WORDS],
}

impl Window {
    /// The highest id used.
    #[must_use]
    pub const fn highest(&self) -> CommandId {
        CommandId(self.highest)
    }

    /// Uses an id.
    pub fn take(&mut self, id: CommandId) -> Seen {
        if id.0 > self.highest {
            self.shift(id.0 - self.highest);
            self.highest = id.0;
        }
        let behind = self.highest - id.0;
        if behind >= WIDTH {
            return Seen::TooOld;
        }
        let bit = 1_u64 << (behind % 64);
        // In range: behind < WIDTH.
        match usize::try_from(behind / 64).ok().and_then(|word| self.used.get_mut(word)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Seen::New
            }
            _ => Seen::Before,
        }
    }

    fn shift(&mut self, by: u64) {
        let old = self.used;
        self.used = [0; WORDS];
        if by >= WIDTH {
            return;
        }
        let (words, bits) = (usize::try_from(by / 64).unwrap_or(WORDS), by % 64);
        for (index, word) in self.used.iter_mut().enumerate() {
            let low = index.checked_sub(words).and_then(|from| old.get(from)).copied().unwrap_or(0);
            let carried = index.checked_sub(words + 1).and_then(|from| old.get(from)).copied().unwrap_or(0);
            *word = low << bits | if bits == 0 { 0 } else { carried >> (64 - bits) };
        }
    }
}
