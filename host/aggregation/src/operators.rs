//! Operator sets with their points decoded.

use eigenshift_bls::bn254::{G1, G2, all_match, operator_id};
use eigenshift_types::{B256, BlockRef, Bytes, OperatorId, OperatorRecord, OperatorSet, QuorumRecord, Stake};

use crate::Error;
use crate::error::Group;

/// The most operators a set may have: what a certificate check costs is proportional to it.
pub const MAX_OPERATORS: usize = 1024;

/// One operator, decoded.
#[derive(Clone, Debug)]
pub struct Operator {
    /// keccak256 of the G1 key.
    pub id: OperatorId,
    /// The key that contracts add up.
    pub g1: G1,
    /// The key that verifies.
    pub g2: G2,
    /// Stake in each of the set's quorums.
    pub stakes: Vec<Stake>,
}

/// One quorum, decoded.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// Its number on chain.
    pub number: u8,
    /// Sum of the stakes in it.
    pub total: Stake,
    /// Sum of the G1 keys of the operators with stake in it.
    pub aggregate: G1,
}

/// An operator set whose points are decoded and whose structure was checked, once; to be shared in an `Arc`.
///
/// Invariant: what [`Operators::from_set`] checks holds.
#[derive(Clone, Debug)]
pub struct Operators {
    digest: B256,
    quorums: Vec<Quorum>,
    operators: Vec<Operator>,
}

impl Operators {
    /// Decodes and checks a set: size, order, one stake per quorum, points in their groups and none the identity, ids,
    /// G1 and G2 keys of the same secrets, totals, aggregate keys, digest. Pure. Costs about 0.3 ms per operator, most
    /// of it for the subgroup check of the G2 key.
    ///
    /// # Errors
    /// [`Error`] says which check failed first.
    pub fn from_set(set: &OperatorSet) -> Result<Self, Error> {
        if set.operators.is_empty() || set.operators.len() > MAX_OPERATORS {
            return Err(Error::SetSize { found: set.operators.len() });
        }
        if set.quorums.is_empty() || !set.quorums.is_sorted_by(|a, b| a.number < b.number) {
            return Err(Error::SetQuorumOrder);
        }
        // Before the dear checks: a wrong digest is the cheapest thing to send.
        if set.digest != set.compute_digest() {
            return Err(Error::Digest);
        }
        let operators = decode(&set.operators, set.quorums.len())?;
        let quorums = sums(&operators, set.quorums.iter().map(|quorum| quorum.number))?;
        for (found, stated) in quorums.iter().zip(&set.quorums) {
            if found.total != stated.total_stake {
                return Err(Error::StakeSum { quorum: found.number });
            }
            if stated.aggregate_g1.as_ref() != found.aggregate.encode() {
                return Err(Error::AggregateKey { quorum: found.number });
            }
        }
        Ok(Self { digest: set.digest, quorums, operators })
    }

    /// Whether a set may be logged: [`Operators::from_set`], for callers that need only the answer.
    ///
    /// # Errors
    /// As [`Operators::from_set`].
    pub fn verify_structure(set: &OperatorSet) -> Result<(), Error> {
        Self::from_set(set).map(drop)
    }

    /// Digest of the set.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.digest
    }

    /// How many operators there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a checked set is never empty")]
    pub fn len(&self) -> usize {
        self.operators.len()
    }

    /// The operators, ascending by id; positions in this slice are those of a certificate's bitmap.
    #[must_use]
    pub fn all(&self) -> &[Operator] {
        &self.operators
    }

    /// The operator at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&Operator> {
        self.operators.get(position)
    }

    /// Position of an operator.
    #[must_use]
    pub fn position(&self, id: OperatorId) -> Option<usize> {
        self.operators.binary_search_by(|operator| operator.id.cmp(&id)).ok()
    }

    /// The quorums, ascending by number.
    #[must_use]
    pub fn quorums(&self) -> &[Quorum] {
        &self.quorums
    }

    /// Position of a quorum in [`Operators::quorums`] and in each operator's stakes.
    #[must_use]
    pub fn quorum_position(&self, number: u8) -> Option<usize> {
        self.quorums.binary_search_by(|quorum| quorum.number.cmp(&number)).ok()
    }
}

/// Makes the set of these operators at a block: sorts them, computes totals, aggregate keys and digest.
///
/// `numbers` are the quorums, ascending; each record's stakes are in that order. Ids are taken from the records and
/// checked.
///
/// # Errors
/// As [`Operators::from_set`].
pub fn assemble(block: BlockRef, numbers: &[u8], mut records: Vec<OperatorRecord>) -> Result<OperatorSet, Error> {
    if records.is_empty() || records.len() > MAX_OPERATORS {
        return Err(Error::SetSize { found: records.len() });
    }
    if numbers.is_empty() || !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Error::SetQuorumOrder);
    }
    records.sort_by_key(|record| record.id);
    let quorums = sums(&decode(&records, numbers.len())?, numbers.iter().copied())?
        .into_iter()
        .map(|quorum| QuorumRecord {
            number: quorum.number,
            total_stake: quorum.total,
            aggregate_g1: Bytes::copy_from_slice(&quorum.aggregate.encode()),
        })
        .collect();
    let mut set = OperatorSet { digest: B256::ZERO, block, quorums, operators: records };
    set.digest = set.compute_digest();
    Ok(set)
}

fn decode(records: &[OperatorRecord], quorums: usize) -> Result<Vec<Operator>, Error> {
    let mut operators: Vec<Operator> = Vec::with_capacity(records.len());
    for (position, record) in records.iter().enumerate() {
        if operators.last().is_some_and(|before| before.id >= record.id) {
            return Err(Error::OperatorOrder { position });
        }
        if record.stakes.len() != quorums {
            return Err(Error::StakeCount { position, found: record.stakes.len(), quorums });
        }
        let wrong = |group| move |source| Error::OperatorKey { position, group, source };
        let g1 = G1::decode(&record.g1).map_err(wrong(Group::G1))?;
        if operator_id(&g1) != record.id {
            return Err(Error::OperatorId { position });
        }
        let g2 = G2::decode(&record.g2).map_err(wrong(Group::G2))?;
        operators.push(Operator { id: record.id, g1, g2, stakes: record.stakes.clone() });
    }
    let keys: Vec<(G1, G2)> = operators.iter().map(|operator| (operator.g1, operator.g2)).collect();
    if all_match(&keys) { Ok(operators) } else { Err(Error::KeysDiffer) }
}

fn sums(operators: &[Operator], numbers: impl Iterator<Item = u8>) -> Result<Vec<Quorum>, Error> {
    let sum = |(index, number): (usize, u8)| {
        let stake = |operator: &Operator| operator.stakes.get(index).copied().unwrap_or_default();
        let total = operators
            .iter()
            .try_fold(Stake::default(), |total, operator| total.checked_add(stake(operator)))
            .ok_or(Error::StakeSum { quorum: number })?;
        let staked = operators.iter().filter(|operator| stake(operator) != Stake::default());
        Ok(Quorum { number, total, aggregate: staked.map(|operator| operator.g1).sum() })
    };
    numbers.enumerate().map(sum).collect()
}
