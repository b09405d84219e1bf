//! Operators' keys, prepared once and used for every lone share.

use std::collections::BTreeMap;

use eigenshift_bls::{PreparedKey, PublicKey};
use eigenshift_types::OperatorId;
use parking_lot::Mutex;

use crate::operators::MAX_OPERATORS;

/// Prepared keys, the newest kept: at most 12 MiB. Preparing one again costs a seventh of a verification.
///
/// Invariant: under an id stands the key that was last asked for with it.
#[derive(Debug, Default)]
pub struct PreparedKeys(Mutex<BTreeMap<OperatorId, (PublicKey, PreparedKey)>>);

impl PreparedKeys {
    /// The prepared form of an operator's key.
    #[must_use]
    pub fn get(&self, operator: OperatorId, key: PublicKey) -> PreparedKey {
        let known = self.0.lock().get(&operator).filter(|(known, _)| *known == key).map(|(_, known)| known.clone());
        known.unwrap_or_else(|| {
            // Not under the lock: it takes a tenth of a millisecond.
            let prepared = PreparedKey::new(key);
            let mut kept = self.0.lock();
            if kept.len() >= MAX_OPERATORS && !kept.contains_key(&operator) {
                // Operators that left the set, or a set that is as large as sets may be: begin anew.
                kept.clear();
            }
            kept.insert(operator, (key, prepared.clone()));
            prepared
        })
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use eigenshift_bls::{Curve, SecretKey};
    use eigenshift_types::B256;

    use super::*;

    fn secret(curve: Curve, n: u16) -> SecretKey {
        let mut bytes = [0; 32];
        bytes[30..].copy_from_slice(&(n + 1).to_be_bytes());
        SecretKey::from_bytes(curve, &bytes).unwrap()
    }

    #[test]
    fn a_prepared_key_gives_the_verdicts_of_the_key_and_a_changed_key_is_not_mixed_up() {
        for curve in [Curve::Bn254, Curve::Bls12381] {
            let keys = PreparedKeys::default();
            let (old, new) = (secret(curve, 1), secret(curve, 2));
            let (id, digest) = (old.operator_id(), B256::repeat_byte(7));
            for secret in [&old, &new, &old] {
                let key = keys.get(id, secret.public_key());
                assert!(key.verify(digest, &secret.sign(digest)));
                assert!(!key.verify(B256::ZERO, &secret.sign(digest)));
            }
            assert!(!keys.get(id, old.public_key()).verify(digest, &new.sign(digest)));
            assert_eq!(keys.len(), 1);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        // One point under many ids: what is bounded is the number of ids.
        let keys = PreparedKeys::default();
        let key = secret(Curve::Bls12381, 1).public_key();
        for n in 0..=MAX_OPERATORS {
            let id = OperatorId(B256::left_padding_from(&n.to_be_bytes()));
            drop(keys.get(id, key));
            assert!(keys.len() <= MAX_OPERATORS);
        }
    }
}
