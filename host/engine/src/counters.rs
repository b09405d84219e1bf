//! What happened how often: every refusal is counted under its code.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Events with their codes, and how often.
type Counts = BTreeMap<(&'static str, String), u64>;

/// Counters by name. Cheap to clone.
///
/// Codes are this host's own, of which there are only so many, or others' (a plugin's, another node's), of which the first
/// [`MAX_FOREIGN`] are told apart: whoever makes codes up makes neither memory nor metrics grow, nor takes the room of the
/// host's own.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    own: Counts,
    foreign: Counts,
}

const MAX_NAMES: usize = 1024;

/// Most names with codes that others made up.
pub const MAX_FOREIGN: usize = 64;

/// The code of all further ones.
pub const OTHER: &str = "other";

impl Counters {
    /// Counts one `event` of a kind: `code` is one of this host's.
    pub fn count(&self, event: &'static str, code: &str) {
        let mut all = self.0.lock();
        let room = all.own.len() < MAX_NAMES;
        add(&mut all.own, event, code, room);
    }

    /// Counts one `event` with a code that somebody else made up.
    pub fn count_foreign(&self, event: &'static str, code: &str) {
        let mut all = self.0.lock();
        let room = all.foreign.len() < MAX_FOREIGN;
        if !add(&mut all.foreign, event, code, room) {
            add(&mut all.foreign, event, OTHER, true);
        }
    }

    /// All of them: (event, code) and how often.
    #[must_use]
    pub fn all(&self) -> BTreeMap<(&'static str, String), u64> {
        let all = self.0.lock();
        let mut sum = all.own.clone();
        for (name, count) in &all.foreign {
            *sum.entry(name.clone()).or_default() += count;
        }
        sum
    }

    /// As [`Counters::all`], with [`OTHER`] for every code that somebody else made up.
    #[must_use]
    pub fn bounded(&self) -> BTreeMap<(&'static str, String), u64> {
        let all = self.0.lock();
        let mut sum = all.own.clone();
        for ((event, _), count) in &all.foreign {
            *sum.entry((*event, OTHER.to_owned())).or_default() += count;
        }
        sum
    }

    /// How often an event of a kind happened.
    #[must_use]
    pub fn get(&self, event: &'static str, code: &str) -> u64 {
        let (all, name) = (self.0.lock(), (event, code.to_owned()));
        all.own.get(&name).copied().unwrap_or(0) + all.foreign.get(&name).copied().unwrap_or(0)
    }
}

/// Whether it was counted: a name that is new is only with `room`.
fn add(counts: &mut Counts, event: &'static str, code: &str, room: bool) -> bool {
    if let Some(counter) = counts.get_mut(&(event, code.to_owned())) {
        *counter += 1;
        return true;
    }
    if room {
        counts.insert((event, code.to_owned()), 1);
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_others_make_up_take_no_room_and_make_no_metrics() {
        let counters = Counters::default();
        counters.count("response-refused", "task-ended");
        for number in 0..10_000 {
            counters.count_foreign("response-refused", &format!("code-{number}"));
        }
        counters.count("response-refused", "not-a-member");
        assert_eq!(counters.all().len(), MAX_FOREIGN + 3);
        assert_eq!(counters.get("response-refused", "code-0"), 1);
        assert_eq!(counters.get("response-refused", "not-a-member"), 1);
        let metrics = counters.bounded();
        assert_eq!(metrics.len(), 3);
        assert_eq!(metrics.get(&("response-refused", OTHER.to_owned())), Some(&10_000));
    }
}
