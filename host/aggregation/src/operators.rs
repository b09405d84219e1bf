//! Operator sets with their points decoded.

use eigenshift_bls::any::all_match;
use eigenshift_bls::{ContractKey, Curve, DecodeError, PublicKey, bls12381};
use eigenshift_types::{B256, BlockRef, OperatorId, OperatorRecord, OperatorSet, QuorumRecord, Stake};

use crate::Error;
use crate::error::Group;

/// The most operators a set may have: what a certificate check costs is proportional to it.
pub const MAX_OPERATORS: usize = 1024;

/// One operator, decoded.
#[derive(Clone, Debug)]
pub struct Operator {
    /// keccak256 of the key that contracts add up.
    pub id: OperatorId,
    /// The key that contracts add up.
    pub contract_key: ContractKey,
    /// The key that verifies.
    pub public_key: PublicKey,
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
    /// Sum of the contract keys of the operators with stake in it.
    pub aggregate: ContractKey,
}

/// An operator set whose points are decoded and whose structure was checked, once; to be shared in an `Arc`.
///
/// Invariant: what [`Operators::from_set`] checks holds.
#[derive(Clone, Debug)]
pub struct Operators {
    digest: B256,
    curve: Curve,
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
        let curve = curve_of(&set.operators);
        let operators = decode(curve, &set.operators, set.quorums.len())?;
        let quorums = sums(curve, &operators, set.quorums.iter().map(|quorum| quorum.number))?;
        for (found, stated) in quorums.iter().zip(&set.quorums) {
            if found.total != stated.total_stake {
                return Err(Error::StakeSum { quorum: found.number });
            }
            if stated.aggregate_g1 != found.aggregate.encode() {
                return Err(Error::AggregateKey { quorum: found.number });
            }
        }
        Ok(Self { digest: set.digest, curve, quorums, operators })
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

    /// The curve of all its keys.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
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
    let curve = curve_of(&records);
    let quorums = sums(curve, &decode(curve, &records, numbers.len())?, numbers.iter().copied())?
        .into_iter()
        .map(|quorum| QuorumRecord {
            number: quorum.number,
            total_stake: quorum.total,
            aggregate_g1: quorum.aggregate.encode(),
        })
        .collect();
    let mut set = OperatorSet { digest: B256::ZERO, block, quorums, operators: records };
    set.digest = set.compute_digest();
    Ok(set)
}

/// The curve that the first key's length tells. Keys of another one are refused when they are decoded.
fn curve_of(records: &[OperatorRecord]) -> Curve {
    let length = records.first().map_or(0, |record| record.g1.len());
    if length == bls12381::PublicKey::LEN { Curve::Bls12381 } else { Curve::Bn254 }
}

fn decode(curve: Curve, records: &[OperatorRecord], quorums: usize) -> Result<Vec<Operator>, Error> {
    let mut operators: Vec<Operator> = Vec::with_capacity(records.len());
    for (position, record) in records.iter().enumerate() {
        if operators.last().is_some_and(|before| before.id >= record.id) {
            return Err(Error::OperatorOrder { position });
        }
        if record.stakes.len() != quorums {
            return Err(Error::StakeCount { position, found: record.stakes.len(), quorums });
        }
        let wrong = |group| move |source| Error::OperatorKey { position, group, source };
        let contract_key = ContractKey::decode(curve, &record.g1).map_err(wrong(Group::G1))?;
        if contract_key.operator_id() != record.id {
            return Err(Error::OperatorId { position });
        }
        let public_key = match contract_key {
            // One key is both: a second one would be a second encoding of the set.
            ContractKey::Bls12381(key) if record.g2.is_empty() => PublicKey::Bls12381(key),
            ContractKey::Bls12381(_) => {
                let source = DecodeError::Length { expected: 0, found: record.g2.len() };
                return Err(wrong(Group::G2)(source));
            }
            ContractKey::Bn254(_) => PublicKey::decode(curve, &record.g2).map_err(wrong(Group::G2))?,
        };
        operators.push(Operator { id: record.id, contract_key, public_key, stakes: record.stakes.clone() });
    }
    let keys: Vec<(ContractKey, PublicKey)> =
        operators.iter().map(|operator| (operator.contract_key, operator.public_key)).collect();
    if all_match(&keys) { Ok(operators) } else { Err(Error::KeysDiffer) }
}

fn sums(curve: Curve, operators: &[Operator], numbers: impl Iterator<Item = u8>) -> Result<Vec<Quorum>, Error> {
    let sum = |(index, number): (usize, u8)| {
        let stake = |operator: &Operator| operator.stakes.get(index).copied().unwrap_or_default();
        let total = operators
            .iter()
            .try_fold(Stake::default(), |total, operator| total.checked_add(stake(operator)))
            .ok_or(Error::StakeSum { quorum: number })?;
        let staked = operators.iter().filter(|operator| stake(operator) != Stake::default());
        let keys = staked.map(|operator| (operator.contract_key, 1));
        Ok(Quorum { number, total, aggregate: ContractKey::weighted_sum(curve, keys) })
    };
    numbers.enumerate().map(sum).collect()
}
