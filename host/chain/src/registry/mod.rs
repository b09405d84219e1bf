//! Operator sets from the AVS's `OperatorRegistry` contract, and the calls that set one up.

use alloy_primitives::{Address, B256, Bytes, U256, aliases::U96, keccak256};
use alloy_sol_types::{SolCall, sol};
use eigenshift_types::{BlockRef, OperatorId, OperatorRecord, OperatorSet, QuorumRecord, Stake};

use crate::{Chain, Error};

/// More operators than this in one set are refused: the ledger carries every set it signs under.
pub const MAX_OPERATORS: usize = 1024;

mod abi {
    #![allow(missing_docs, clippy::too_many_arguments, reason = "the macro's items mirror the contract's interface")]
    use super::sol;

    sol! {
        struct G1Point { uint256 X; uint256 Y; }
        struct G2Point { uint256[2] X; uint256[2] Y; }
        struct Operator {
            address operator;
            bytes32 id;
            G1Point pubkeyG1;
            G2Point pubkeyG2;
            uint96[] stakes;
        }
        function operatorState(uint8[] quorums) external view
            returns (Operator[] operators, uint96[] totalStakes, G1Point[] apks);
        function isRegistered(address operator) external view returns (bool);
        function pubkeyRegistrationDigest(address operator) external view returns (bytes32);
        function allow(address[] operators) external;
        function register(G1Point signature, G1Point pubkeyG1, G2Point pubkeyG2) external;
        function deregister() external;
        function setStakes(address operator, uint8[] quorums, uint96[] stakes) external;
    }
}

/// The operators that have stake in the given quorums at a block, as the registry there says.
///
/// # Errors
/// [`Error::InvalidInput`] unless the quorums ascend strictly; [`Error::UnknownBlock`] when this chain has no such block
/// of that number; [`Error::Malformed`] when the answer is none of an operator registry, or contradicts itself;
/// [`Error::TooLarge`] above [`MAX_OPERATORS`].
pub async fn operator_set(
    chain: &dyn Chain,
    registry: Address,
    quorums: &[u8],
    at: BlockRef,
) -> Result<OperatorSet, Error> {
    if quorums.is_empty() || !quorums.is_sorted_by(|a, b| a < b) {
        return Err(Error::InvalidInput("quorum numbers: at least one, strictly ascending".to_owned()));
    }
    // The number comes from whoever named the block; it goes into the set, so it must belong to the hash.
    if chain.header_by_hash(at.hash).await?.is_none_or(|header| header.block != at) {
        return Err(Error::UnknownBlock(at.hash));
    }
    let state: abi::operatorStateReturn =
        read(chain, registry, &abi::operatorStateCall { quorums: quorums.to_vec() }, at.hash).await?;
    from_state(quorums, at, &state)
}

/// Whether an account is a registered operator at a block.
///
/// # Errors
/// [`Error::UnknownBlock`], [`Error::Malformed`].
pub async fn is_registered(chain: &dyn Chain, registry: Address, operator: Address, at: B256) -> Result<bool, Error> {
    read(chain, registry, &abi::isRegisteredCall { operator }, at).await
}

/// What the proof of possession of an operator's BLS key signs.
///
/// # Errors
/// [`Error::UnknownBlock`], [`Error::Malformed`].
pub async fn pubkey_registration_digest(
    chain: &dyn Chain,
    registry: Address,
    operator: Address,
    at: B256,
) -> Result<B256, Error> {
    read(chain, registry, &abi::pubkeyRegistrationDigestCall { operator }, at).await
}

/// Calldata with which the owner lets operators register.
#[must_use]
pub fn allow_calldata(operators: &[Address]) -> Bytes {
    abi::allowCall { operators: operators.to_vec() }.abi_encode().into()
}

/// Calldata with which an operator registers its key: proof of possession and G1 key (64 bytes each, x and y), G2 key (128
/// bytes, imaginary parts first).
///
/// # Errors
/// [`Error::InvalidInput`] for other lengths.
pub fn register_calldata(proof: &[u8], g1: &[u8], g2: &[u8]) -> Result<Bytes, Error> {
    let [xi, xr, yi, yr] = words::<4>(g2)?;
    let call = abi::registerCall {
        signature: g1_point(proof)?,
        pubkeyG1: g1_point(g1)?,
        pubkeyG2: abi::G2Point { X: [xi, xr], Y: [yi, yr] },
    };
    Ok(call.abi_encode().into())
}

/// Calldata with which an operator leaves.
#[must_use]
pub fn deregister_calldata() -> Bytes {
    abi::deregisterCall {}.abi_encode().into()
}

/// Calldata with which the owner sets an operator's stakes: (quorum, stake) each.
#[must_use]
pub fn set_stakes_calldata(operator: Address, stakes: &[(u8, Stake)]) -> Bytes {
    let call = abi::setStakesCall {
        operator,
        quorums: stakes.iter().map(|(quorum, _)| *quorum).collect(),
        stakes: stakes.iter().map(|(_, stake)| U96::saturating_from(stake.get())).collect(),
    };
    call.abi_encode().into()
}

async fn read<C: SolCall>(chain: &dyn Chain, registry: Address, call: &C, at: B256) -> Result<C::Return, Error> {
    let answer = chain.call(registry, call.abi_encode().into(), at).await?;
    C::abi_decode_returns_validate(&answer).map_err(|error| {
        Error::malformed(format_args!("{} of the operator registry {registry}: {error}", C::SIGNATURE))
    })
}

fn words<const N: usize>(bytes: &[u8]) -> Result<[U256; N], Error> {
    let wrong = || Error::InvalidInput(format!("a point of {} bytes where {} are expected", bytes.len(), N * 32));
    if bytes.len() != N * 32 {
        return Err(wrong());
    }
    let words: Vec<U256> = bytes.chunks_exact(32).map(U256::from_be_slice).collect();
    words.try_into().map_err(|_| wrong())
}

fn g1_point(bytes: &[u8]) -> Result<abi::G1Point, Error> {
    let [x, y] = words::<2>(bytes)?;
    Ok(abi::G1Point { X: x, Y: y })
}

fn concatenated(words: &[U256]) -> Bytes {
    words.iter().flat_map(U256::to_be_bytes::<32>).collect::<Vec<_>>().into()
}

fn g1_bytes(point: &abi::G1Point) -> Bytes {
    concatenated(&[point.X, point.Y])
}

fn g2_bytes(point: &abi::G2Point) -> Bytes {
    let ([xi, xr], [yi, yr]) = (point.X, point.Y);
    concatenated(&[xi, xr, yi, yr])
}

fn stake(value: U96) -> Result<Stake, Error> {
    Stake::new(value.to::<u128>()).ok_or_else(|| Error::malformed("operatorState: a stake above 2^96 - 1"))
}

fn from_state(quorums: &[u8], at: BlockRef, state: &abi::operatorStateReturn) -> Result<OperatorSet, Error> {
    let wrong = |what: &str| Error::malformed(format_args!("operatorState: {what}"));
    if state.operators.len() > MAX_OPERATORS {
        return Err(Error::TooLarge { max: MAX_OPERATORS, unit: "operators" });
    }
    if state.totalStakes.len() != quorums.len() || state.apks.len() != quorums.len() {
        return Err(wrong("not one total and one aggregate key per quorum"));
    }
    let operators =
        state.operators.iter().map(|operator| record(operator, quorums.len())).collect::<Result<Vec<_>, _>>()?;
    if !operators.is_sorted_by(|a, b| a.id < b.id) {
        return Err(wrong("operators that do not ascend by id"));
    }

    let mut records = Vec::with_capacity(quorums.len());
    for (position, ((number, total), apk)) in quorums.iter().zip(&state.totalStakes).zip(&state.apks).enumerate() {
        let total_stake = stake(*total)?;
        let sum = operators.iter().try_fold(Stake::default(), |sum, operator| {
            operator.stakes.get(position).and_then(|stake| sum.checked_add(*stake))
        });
        if sum != Some(total_stake) {
            return Err(wrong("a total stake that is not the sum of the operators'"));
        }
        records.push(QuorumRecord { number: *number, total_stake, aggregate_g1: g1_bytes(apk) });
    }
    let mut set = OperatorSet { digest: B256::ZERO, block: at, quorums: records, operators };
    set.digest = set.compute_digest();
    Ok(set)
}

fn record(operator: &abi::Operator, quorums: usize) -> Result<OperatorRecord, Error> {
    let wrong = |what: &str| Error::malformed(format_args!("operatorState: operator {}: {what}", operator.operator));
    if operator.stakes.len() != quorums {
        return Err(wrong("not one stake per quorum"));
    }
    let g1 = g1_bytes(&operator.pubkeyG1);
    if keccak256(&g1) != operator.id {
        return Err(wrong("an id that is not the hash of the key"));
    }
    let stakes = operator.stakes.iter().map(|value| stake(*value)).collect::<Result<Vec<_>, _>>()?;
    Ok(OperatorRecord {
        id: OperatorId(operator.id),
        address: operator.operator,
        g1,
        g2: g2_bytes(&operator.pubkeyG2),
        stakes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn operator(x: u64, stakes: &[u64]) -> abi::Operator {
        let point = abi::G1Point { X: U256::from(x), Y: U256::from(2) };
        abi::Operator {
            operator: Address::with_last_byte(x as u8),
            id: keccak256(g1_bytes(&point)),
            pubkeyG1: point,
            pubkeyG2: abi::G2Point { X: [U256::from(1), U256::from(2)], Y: [U256::from(3), U256::from(4)] },
            stakes: stakes.iter().map(|stake| U96::from(*stake)).collect(),
        }
    }

    fn state() -> abi::operatorStateReturn {
        let mut operators = vec![operator(1, &[5, 0]), operator(2, &[7, 1])];
        operators.sort_by_key(|operator| operator.id);
        let apk = || abi::G1Point { X: U256::from(8), Y: U256::from(9) };
        abi::operatorStateReturn { operators, totalStakes: vec![U96::from(12), U96::from(1)], apks: vec![apk(), apk()] }
    }

    fn built(state: &abi::operatorStateReturn) -> Result<OperatorSet, Error> {
        from_state(&[0, 3], BlockRef { number: 4, hash: B256::repeat_byte(9) }, state)
    }

    #[test]
    fn a_set_carries_its_digest_and_eigenlayers_encodings() {
        let set = built(&state()).unwrap();
        assert_eq!(set.digest, set.compute_digest());
        assert_eq!(set.quorums[1].number, 3);
        assert_eq!(set.operators[0].g2.len(), 128);
        assert_eq!(set.operators[0].g2[31], 1, "imaginary part first");
        assert_eq!(keccak256(&set.operators[0].g1), set.operators[0].id.0);
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        type Damage = fn(&mut abi::operatorStateReturn);
        let cases: [(&str, Damage); 7] = [
            ("wrong order", |state| state.operators.reverse()),
            ("twice the same", |state| state.operators[1] = state.operators[0].clone()),
            ("total too high", |state| state.totalStakes[0] = U96::from(13)),
            ("a total is missing", |state| {
                state.totalStakes.pop();
            }),
            ("an aggregate key too many", |state| state.apks.push(state.apks[0].clone())),
            ("a stake is missing", |state| {
                state.operators[0].stakes.pop();
            }),
            ("a foreign id", |state| state.operators[1].id = B256::repeat_byte(0xff)),
        ];
        for (name, damage) in cases {
            let mut state = state();
            damage(&mut state);
            assert!(matches!(built(&state), Err(Error::Malformed(_))), "{name}");
        }
        let mut many = state();
        many.operators = vec![operator(1, &[1, 1]); MAX_OPERATORS + 1];
        assert_eq!(built(&many), Err(Error::TooLarge { max: MAX_OPERATORS, unit: "operators" }));
    }

    #[test]
    fn points_of_other_lengths_are_refused() {
        assert!(register_calldata(&[0; 64], &[0; 64], &[0; 128]).is_ok());
        assert!(matches!(register_calldata(&[0; 65], &[0; 64], &[0; 128]), Err(Error::InvalidInput(_))));
        assert!(matches!(register_calldata(&[0; 64], &[0; 0], &[0; 128]), Err(Error::InvalidInput(_))));
        assert!(matches!(register_calldata(&[0; 64], &[0; 64], &[0; 127]), Err(Error::InvalidInput(_))));
    }
}
