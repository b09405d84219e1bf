//! `OperatorRegistry`: points as EigenLayer's contracts write them.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use eigenshift_bls::bn254::{G1, G2};

use super::state::{Operator, State};

mod abi {
    #![allow(missing_docs, reason = "the macro's items mirror the contract's interface")]
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
        function register(G1Point signature, G1Point pubkeyG1, G2Point pubkeyG2) external;
    }
}

pub(super) fn state_call(quorums: &[u8]) -> abi::operatorStateCall {
    abi::operatorStateCall { quorums: quorums.to_vec() }
}

/// The answer, its points as they are: whoever decodes them checks them.
pub(super) fn state(answer: abi::operatorStateReturn) -> State {
    let operator = |operator: abi::Operator| Operator {
        address: operator.operator,
        id: operator.id,
        g1: g1_bytes(&operator.pubkeyG1),
        g2: g2_bytes(&operator.pubkeyG2),
        stakes: operator.stakes,
    };
    State {
        operators: answer.operators.into_iter().map(operator).collect(),
        total_stakes: answer.totalStakes,
        apks: answer.apks.iter().map(g1_bytes).collect(),
    }
}

pub(super) fn register_calldata(proof: &G1, g1: &G1, g2: &G2) -> Bytes {
    let [xi, xr, yi, yr] = words(&g2.encode());
    let call = abi::registerCall {
        signature: g1_point(proof),
        pubkeyG1: g1_point(g1),
        pubkeyG2: abi::G2Point { X: [xi, xr], Y: [yi, yr] },
    };
    call.abi_encode().into()
}

fn g1_point(point: &G1) -> abi::G1Point {
    let [x, y] = words(&point.encode());
    abi::G1Point { X: x, Y: y }
}

fn words<const N: usize>(bytes: &[u8]) -> [U256; N] {
    let mut words = bytes.chunks_exact(32).map(U256::from_be_slice);
    std::array::from_fn(|_| words.next().unwrap_or_default())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use alloy_primitives::{Address, B256, aliases::U96};
    use eigenshift_bls::bn254::SecretKey;

    use super::*;

    #[test]
    fn points_are_written_and_read_in_eigenlayers_encodings() {
        let secret = SecretKey::from_bytes(&[7; 32]).unwrap();
        let proof = secret.sign(B256::ZERO);
        let calldata = register_calldata(&proof, &secret.g1(), &secret.g2());
        let plain = [&proof.encode()[..], &secret.g1().encode(), &secret.g2().encode()].concat();
        assert_eq!(calldata[4..], plain, "imaginary parts first, as our own encoding has them");

        let call = abi::registerCall::abi_decode_validate(&calldata).unwrap();
        let answer = abi::operatorStateReturn {
            operators: vec![abi::Operator {
                operator: Address::repeat_byte(1),
                id: B256::repeat_byte(2),
                pubkeyG1: call.pubkeyG1.clone(),
                pubkeyG2: call.pubkeyG2,
                stakes: vec![U96::from(3)],
            }],
            totalStakes: vec![U96::from(3)],
            apks: vec![call.pubkeyG1, abi::G1Point { X: U256::ZERO, Y: U256::ZERO }],
        };
        let state = state(answer);
        assert_eq!(state.operators[0].g1[..], secret.g1().encode());
        assert_eq!(state.operators[0].g2[..], secret.g2().encode());
        assert_eq!(state.apks[0][..], secret.g1().encode());
        assert_eq!(state.apks[1][..], G1::identity().encode());
    }
}
