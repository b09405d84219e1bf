//! Operator sets as this node's own chain access has them.

use std::sync::Arc;

use eigenshift_aggregation::Operators;
use eigenshift_bls::Curve;
use eigenshift_chain::{Chain, registry};
use eigenshift_types::{Address, B256, BlockRef, OperatorSet};
use parking_lot::Mutex;

/// The newest, by key.
type Kept<K, V> = Vec<(K, Arc<V>)>;

const KEPT: usize = 32;

/// Reads operator sets and keeps the newest.
pub struct Sets {
    chain: Arc<dyn Chain>,
    by_block: Mutex<Kept<(Address, B256), OperatorSet>>,
    decoded: Mutex<Kept<B256, Operators>>,
}

fn keep<K, V>(kept: &mut Vec<(K, V)>, key: K, value: V) {
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push((key, value));
}

impl Sets {
    /// Reads from `chain`.
    #[must_use]
    pub fn new(chain: Arc<dyn Chain>) -> Self {
        Self { chain, by_block: Mutex::default(), decoded: Mutex::default() }
    }

    /// The operator set of `registry`, whose keys are of this curve, at a block.
    ///
    /// # Errors
    /// The chain's.
    pub async fn at(
        &self,
        registry: Address,
        curve: Curve,
        quorums: &[u8],
        block: BlockRef,
    ) -> Result<Arc<OperatorSet>, eigenshift_chain::Error> {
        let key = (registry, block.hash);
        let known = self.by_block.lock().iter().find(|(known, _)| *known == key).map(|(_, set)| Arc::clone(set));
        if let Some(set) =
            known.filter(|set| set.quorums.iter().map(|quorum| quorum.number).eq(quorums.iter().copied()))
        {
            return Ok(set);
        }
        let set = Arc::new(registry::operator_set(self.chain.as_ref(), registry, curve, quorums, block).await?);
        keep(&mut self.by_block.lock(), key, Arc::clone(&set));
        Ok(set)
    }

    /// The decoded form of a set; none if its points are not points. Takes milliseconds per operator the first time.
    #[must_use]
    pub fn decoded(&self, set: &OperatorSet) -> Option<Arc<Operators>> {
        let known =
            self.decoded.lock().iter().find(|(digest, _)| *digest == set.digest).map(|(_, known)| Arc::clone(known));
        if known.is_some() {
            return known;
        }
        let decoded = Arc::new(Operators::from_set(set).ok()?);
        keep(&mut self.decoded.lock(), set.digest, Arc::clone(&decoded));
        Some(decoded)
    }
}
