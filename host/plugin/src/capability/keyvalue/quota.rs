//! What a store holds, and what it may hold. Pure.

use serde::{Deserialize, Serialize};

use super::KeyValueError;
use crate::manifest::Keyvalue;

/// What an AVS's store holds.
///
/// Invariant: the sums over the entries beside it, because both are written in one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Writes so far: the version of what was written last. Never goes back, so that no version is given twice, not even
    /// to a key that was removed and made again.
    pub version: u64,
}

/// What becomes of a key, in bytes of its value; none where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub key: usize,
    pub before: Option<usize>,
    pub after: Option<usize>,
}

fn size(key: usize, value: Option<usize>) -> u64 {
    value.map_or(0, |value| key as u64 + value as u64)
}

impl Usage {
    /// What the store holds after a change, if the quota allows it. What makes the store smaller is always allowed: a later
    /// bundle may have a lower quota than what is stored.
    pub(super) fn after(self, change: Change, quota: &Keyvalue) -> Result<Self, KeyValueError> {
        let (before, after) = (size(change.key, change.before), size(change.key, change.after));
        let bytes = self.bytes.saturating_sub(before).saturating_add(after);
        if bytes > quota.bytes && after > before {
            return Err(KeyValueError::Bytes { wanted: bytes, max: quota.bytes });
        }
        let mut keys = self.keys;
        match (change.before, change.after) {
            (None, Some(_)) if keys >= quota.keys => return Err(KeyValueError::Keys { max: quota.keys }),
            (None, Some(_)) => keys += 1,
            (Some(_), None) => keys = keys.saturating_sub(1),
            _ => {}
        }
        Ok(Self { bytes, keys, version: self.version.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Keyvalue = Keyvalue { bytes: 100, keys: 2, value_bytes: 100, operations_per_call: 1 };

    fn change(key: usize, before: Option<usize>, after: Option<usize>) -> Change {
        Change { key, before, after }
    }

    #[test]
    fn bytes_and_keys_are_counted_to_the_last() {
        let one = Usage::default().after(change(10, None, Some(40)), &QUOTA);
        assert_eq!(one.as_ref().map(|usage| (usage.bytes, usage.keys, usage.version)).ok(), Some((50, 1, 1)));
        let full = one.and_then(|usage| usage.after(change(10, None, Some(40)), &QUOTA)).unwrap_or_default();
        assert_eq!((full.bytes, full.keys, full.version), (100, 2, 2));
        let more = full.after(change(10, Some(40), Some(41)), &QUOTA);
        assert!(matches!(more, Err(KeyValueError::Bytes { wanted: 101, max: 100 })));
        assert!(matches!(full.after(change(1, None, Some(0)), &QUOTA), Err(KeyValueError::Bytes { .. })));
        let emptied = full.after(change(10, Some(40), None), &QUOTA).unwrap_or_default();
        assert_eq!((emptied.bytes, emptied.keys, emptied.version), (50, 1, 3));
    }

    #[test]
    fn what_shrinks_is_allowed_under_a_lower_quota() {
        let large = Usage { bytes: 500, keys: 9, version: 9 };
        assert_eq!(large.after(change(10, Some(300), Some(200)), &QUOTA).map(|usage| usage.bytes).ok(), Some(400));
        assert!(large.after(change(10, Some(300), None), &QUOTA).is_ok());
        assert!(matches!(large.after(change(0, None, Some(0)), &QUOTA), Err(KeyValueError::Keys { max: 2 })));
        assert!(large.after(change(10, Some(300), Some(301)), &QUOTA).is_err());
    }
}
