//! Coefficients that nobody can choose.

use alloy_primitives::Keccak256;

/// Hashes everything that the coefficients must depend on.
pub(crate) struct Transcript(Keccak256);

impl Transcript {
    pub(crate) fn new(domain: &str, count: usize) -> Self {
        let mut hasher = Keccak256::new();
        hasher.update(domain);
        hasher.update((count as u64).to_be_bytes());
        Self(hasher)
    }

    /// Every part has a fixed length, so that no two batches give the same bytes.
    pub(crate) fn absorb(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// 128 bits each.
    pub(crate) fn coefficients(self, count: usize) -> Vec<[u8; 16]> {
        let seed = self.0.finalize();
        let coefficient = |number: u64| {
            let mut hasher = Keccak256::new();
            hasher.update(seed);
            hasher.update(number.to_be_bytes());
            let hash: [u8; 32] = hasher.finalize().0;
            hash.first_chunk().copied().unwrap_or_default()
        };
        (0..count as u64).map(coefficient).collect()
    }
}
