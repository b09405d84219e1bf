//! Operator sets: who has which keys and stakes at a block.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::{BlockRef, OperatorId, Stake};

/// One quorum of an [`OperatorSet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumRecord {
    /// The quorum's number on chain.
    pub number: u8,
    /// Sum of the operators' stakes in it.
    pub total_stake: Stake,
    /// Sum of the contract keys, which both curves have in G1, of the operators that have stake in it; uncompressed: x, y,
    /// of 32 bytes each over BN254, of 48 over BLS12-381.
    pub aggregate_g1: Bytes,
}

/// One operator of an [`OperatorSet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// keccak256 of `g1`.
    pub id: OperatorId,
    /// The account that registered the keys and signs joins.
    pub address: Address,
    /// The key that contracts add up, in G1, uncompressed: x, y, big-endian, 32 bytes each over BN254, 48 over BLS12-381.
    pub g1: Bytes,
    /// The key that verifies over BN254: in G2, uncompressed, imaginary parts first (the order of EIP-197 and of
    /// EigenLayer's contracts). Empty over BLS12-381, where `g1` verifies.
    pub g2: Bytes,
    /// Stake in each quorum, in the order of [`OperatorSet::quorums`].
    pub stakes: Vec<Stake>,
}

/// Who could sign, with which stakes, at a block.
///
/// Invariant of a set that the ledger accepted: quorums ascend by number, operators by id; each operator has one stake
/// per quorum; totals and aggregate keys are the sums; `digest` is [`OperatorSet::compute_digest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSet {
    /// keccak256 over everything below.
    pub digest: B256,
    /// The block it was read at.
    pub block: BlockRef,
    /// The quorums, ascending by number.
    pub quorums: Vec<QuorumRecord>,
    /// The operators, ascending by id.
    pub operators: Vec<OperatorRecord>,
}

impl OperatorSet {
    /// keccak256 over the canonical encoding of everything but the block and the digest itself: a set that does not
    /// change keeps its digest and is logged once, at the block where it was first seen.
    #[must_use]
    pub fn compute_digest(&self) -> B256 {
        keccak256(frame::canonical(&("eigenshift operator set v1", &self.quorums, &self.operators)))
    }

    /// Position of an operator in [`OperatorSet::operators`].
    #[must_use]
    pub fn position(&self, id: OperatorId) -> Option<usize> {
        self.operators.binary_search_by(|operator| operator.id.cmp(&id)).ok()
    }

    /// The operator of an account.
    #[must_use]
    pub fn by_address(&self, address: Address) -> Option<&OperatorRecord> {
        self.operators.iter().find(|operator| operator.address == address)
    }
}
