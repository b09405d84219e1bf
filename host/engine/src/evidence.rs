//! Operators' contradictions, kept for whoever judges them.

use std::path::{Path, PathBuf};

pub use eigenshift_aggregation::Evidence;
use eigenshift_env::Env;
use parking_lot::Mutex;

/// Pieces kept of one operator: more of them say nothing new, and must not push out others'.
const PER_OPERATOR: usize = 4;

/// Pieces kept in all. What comes after that is counted, not kept.
const MOST: usize = 256;

/// Two payloads and two extensions in hexadecimal each, of the largest size that settings allow, for every piece.
const MAX_FILE: u64 = 160 << 20;

/// Why evidence is not kept.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file.
    #[error("{}: {source}; the evidence is in memory only until the disk is mended", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error("{}: no list of evidence: {source}; move the file away", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
}

/// Evidence of equivocation that this node has seen as an aggregator, in one JSON file. Its calls block for the disk.
pub struct EvidenceStore {
    env: Env,
    path: PathBuf,
    kept: Mutex<Vec<Evidence>>,
}

impl EvidenceStore {
    /// Reads what was kept before.
    ///
    /// # Errors
    /// [`EvidenceError`]: the file cannot be read, or holds something else.
    pub fn open(env: &Env, path: &Path) -> Result<Self, EvidenceError> {
        let disk = |source| EvidenceError::Disk { path: path.to_owned(), source };
        let kept = match env.disk.read(path, MAX_FILE).map_err(disk)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| EvidenceError::Content { path: path.to_owned(), source })?,
            None => Vec::new(),
        };
        Ok(Self { env: env.clone(), path: path.to_owned(), kept: Mutex::new(kept) })
    }

    /// Keeps a piece. Whether there was room for it, or it was kept before.
    ///
    /// # Errors
    /// [`EvidenceError::Disk`].
    pub fn keep(&self, evidence: Evidence) -> Result<bool, EvidenceError> {
        let mut kept = self.kept.lock();
        if kept.contains(&evidence) {
            return Ok(true);
        }
        let own = kept.iter().filter(|known| known.operator == evidence.operator).count();
        if own >= PER_OPERATOR || kept.len() >= MOST {
            return Ok(false);
        }
        kept.push(evidence);
        let bytes = serde_json::to_vec_pretty(&*kept)
            .map_err(|source| EvidenceError::Content { path: self.path.clone(), source })?;
        // Under the lock: two pieces at once must not overwrite each other's file. It is rare.
        let written = self.env.disk.write_atomic(&self.path, &bytes);
        written.map_err(|source| EvidenceError::Disk { path: self.path.clone(), source })?;
        Ok(true)
    }

    /// All that is kept, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Evidence> {
        self.kept.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use eigenshift_aggregation::Answer;
    use eigenshift_bls::Curve;
    use eigenshift_types::{B256, Bytes, OperatorId, ResponseKey};

    use super::*;

    fn evidence(operator: u8, task: u32) -> Evidence {
        let answer = |byte| Answer {
            digest: B256::repeat_byte(byte),
            signature: Bytes::copy_from_slice(&[byte]),
            payload: Bytes::copy_from_slice(&[byte]),
            extension: Bytes::new(),
        };
        Evidence {
            task,
            key: ResponseKey::new(b"k".to_vec()).unwrap(),
            operator: OperatorId(B256::repeat_byte(operator)),
            curve: Curve::Bn254,
            public_key: Bytes::new(),
            first: answer(1),
            second: answer(2),
        }
    }

    #[test]
    fn what_is_kept_outlives_a_restart_is_bounded_and_nobody_pushes_out_others() {
        let env = Env::simulated(&eigenshift_env::sim::World::default(), 1);
        let path = Path::new("/evidence.json");
        let store = EvidenceStore::open(&env, path).unwrap();
        for task in 0..10 {
            assert_eq!(store.keep(evidence(1, task)).unwrap(), task < 4, "task {task}");
        }
        assert!(store.keep(evidence(2, 1)).unwrap());
        assert!(store.keep(evidence(2, 1)).unwrap(), "the same again");
        let again = EvidenceStore::open(&env, path).unwrap();
        assert_eq!(again.all(), store.all());
        assert_eq!(again.all().len(), 5);
        env.disk.write_atomic(path, b"{").unwrap();
        assert!(matches!(EvidenceStore::open(&env, path), Err(EvidenceError::Content { .. })));
    }
}
