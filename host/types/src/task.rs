//! Tasks, outcomes and certificates.

use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

use crate::{BlockRef, ResponseKey, TaskIndex};

/// The quorums a task needs, with the share of stake each must reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorums {
    /// Quorum numbers, strictly ascending.
    pub numbers: Vec<u8>,
    /// Percentage of each quorum's stake that must sign, in the order of `numbers`: 1 to 100.
    pub thresholds: Vec<u8>,
}

/// What every operator must agree on about a task before it works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Number of the task.
    pub index: TaskIndex,
    /// `T`, as the AVS encoded it.
    pub request: Bytes,
    /// How many response keys are expected.
    pub keys_expected: u32,
    /// Quorums and thresholds.
    pub quorums: Quorums,
    /// Digest of the operator set whose stakes count.
    pub set_digest: B256,
    /// Where chain reads for the task happen.
    pub reference_block: BlockRef,
    /// Timestamp of the reference block, seconds since 1970.
    pub reference_time: u64,
    /// sha256 of the bundle (component and manifest) that must run it.
    pub bundle_digest: B256,
}

/// How a task ended: each task has one, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its answer is on chain.
    Finalized {
        /// The transaction that put it there.
        tx: B256,
        /// The block that holds the transaction.
        block_hash: B256,
    },
    /// Every expected key is certified, and there was nothing to submit.
    Done,
    /// Its time ran out.
    Expired,
    /// It cannot be finished.
    Failed {
        /// For people.
        reason: String,
    },
}

/// A set of positions in an [`OperatorSet`](crate::OperatorSet)'s operators: bit `i` of byte `i / 8`, least significant first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bitmap(Bytes);

impl Bitmap {
    /// The bitmap over `len` positions that holds those for which `present` is true.
    #[must_use]
    pub fn from_fn(len: usize, present: impl Fn(usize) -> bool) -> Self {
        let mut bytes = vec![0_u8; len.div_ceil(8)];
        for (index, byte) in bytes.iter_mut().enumerate() {
            for bit in 0..8 {
                let position = index * 8 + bit;
                if position < len && present(position) {
                    *byte |= 1 << bit;
                }
            }
        }
        Self(bytes.into())
    }

    /// Whether it holds a position.
    #[must_use]
    pub fn contains(&self, position: usize) -> bool {
        self.0.get(position / 8).is_some_and(|byte| byte & (1 << (position % 8)) != 0)
    }

    /// Whether it is the canonical bitmap over `len` positions: exact length, no bit beyond the end.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        self.0.len() == len.div_ceil(8) && (len..self.0.len() * 8).all(|position| !self.contains(position))
    }

    /// How many positions it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

/// Proof that enough stake signed one digest for one key of a task.
///
/// Holds no key: whoever verifies it derives the keys from the operator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Task.
    pub task: TaskIndex,
    /// What the response is about.
    pub key: ResponseKey,
    /// `K`, as the AVS encoded it.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// Who signed, over the task's operator set.
    pub signers: Bitmap,
    /// Sum of the signatures, each once per task quorum its signer has stake in; uncompressed: in G1 over BN254, in G2 over BLS12-381.
    pub signature: Bytes,
}
