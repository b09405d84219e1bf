//! What happened how often: every refusal is counted under its code.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counters by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<(&'static str, String), u64>>>);

const MAX_NAMES: usize = 1024;

impl Counters {
    /// Counts one `event` of a kind (`code`).
    pub fn count(&self, event: &'static str, code: &str) {
        let mut counters = self.0.lock();
        if let Some(counter) = counters.get_mut(&(event, code.to_owned())) {
            *counter += 1;
        } else if counters.len() < MAX_NAMES {
            // Rejection codes come from plugins: their number is not ours to trust.
            counters.insert((event, code.to_owned()), 1);
        }
    }

    /// All of them: (event, code) and how often.
    #[must_use]
    pub fn all(&self) -> BTreeMap<(&'static str, String), u64> {
        self.0.lock().clone()
    }

    /// How often an event of a kind happened.
    #[must_use]
    pub fn get(&self, event: &'static str, code: &str) -> u64 {
        self.0.lock().get(&(event, code.to_owned())).copied().unwrap_or(0)
    }
}
