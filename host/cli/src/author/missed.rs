//! What a plugin asked for in vain.

use std::sync::{Mutex, PoisonError};

/// How many are kept.
const MAX_MISSED: usize = 8;

/// The first few, each once.
#[derive(Debug, Default)]
pub(super) struct Missed(Mutex<Vec<String>>);

impl Missed {
    pub fn note(&self, what: String) {
        let mut missed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.len() < MAX_MISSED && !missed.contains(&what) {
            missed.push(what);
        }
    }

    pub fn noted(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_kept_each_once() {
        let missed = Missed::default();
        for number in 0..4 * MAX_MISSED {
            missed.note((number / 2).to_string());
        }
        let first: Vec<String> = (0..MAX_MISSED).map(|number| number.to_string()).collect();
        assert_eq!(missed.noted(), first);
        missed.forget();
        assert!(missed.noted().is_empty());
    }
}
