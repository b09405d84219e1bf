//! `OperatorRegistry12381`: points as EIP-2537's precompiles take them.

use alloy_primitives::Bytes;
use alloy_sol_types::{SolCall, sol};
use eigenshift_bls::bls12381::{PublicKey, Signature};

use super::state::{self, Operator, State};
use crate::Error;

mod abi {
    #![allow(missing_docs, reason = "the macro's items mirror the contract's interface")]
    use super::sol;

    sol! {
        struct Operator {
            address operator;
            bytes32 id;
            bytes pubkey;
            uint96[] stakes;
        }
        function operatorState(uint8[] quorums) external view
            returns (Operator[] operators, uint96[] totalStakes, bytes[] apks);
        function register(bytes signature, bytes pubkey) external;
    }
}

pub(super) fn state_call(quorums: &[u8]) -> abi::operatorStateCall {
    abi::operatorStateCall { quorums: quorums.to_vec() }
}

/// The answer, its points checked and written as the curve's authors have them.
pub(super) fn state(answer: abi::operatorStateReturn) -> Result<State, Error> {
    State::check_size(answer.operators.len())?;
    let operator = |operator: abi::Operator| {
        let key = PublicKey::decode_eip2537(&operator.pubkey)
            .map_err(|error| state::wrong(format_args!("operator {}: {error}", operator.operator)))?;
        Ok(Operator {
            address: operator.operator,
            id: operator.id,
            g1: Bytes::copy_from_slice(&key.encode()),
            // One key is both: a second one would be a second encoding of the set.
            g2: Bytes::new(),
            stakes: operator.stakes,
        })
    };
    let apk = |apk: Bytes| {
        let key = PublicKey::decode_eip2537_or_identity(&apk)
            .map_err(|error| state::wrong(format_args!("an aggregate key: {error}")))?;
        Ok(Bytes::copy_from_slice(&key.encode()))
    };
    Ok(State {
        operators: answer.operators.into_iter().map(operator).collect::<Result<_, Error>>()?,
        total_stakes: answer.totalStakes,
        apks: answer.apks.into_iter().map(apk).collect::<Result<_, Error>>()?,
    })
}

pub(super) fn register_calldata(proof: &Signature, key: &PublicKey) -> Bytes {
    let call = abi::registerCall {
        signature: Bytes::copy_from_slice(&proof.encode_eip2537()),
        pubkey: Bytes::copy_from_slice(&key.encode_eip2537()),
    };
    call.abi_encode().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use alloy_primitives::{Address, aliases::U96, keccak256};
    use eigenshift_bls::bls12381::{SecretKey, operator_id};

    use super::*;

    fn key() -> PublicKey {
        SecretKey::from_bytes(&[7; 32]).unwrap().public_key()
    }

    fn answer() -> abi::operatorStateReturn {
        let pubkey = Bytes::copy_from_slice(&key().encode_eip2537());
        let operator = abi::Operator {
            operator: Address::repeat_byte(1),
            id: operator_id(&key()).0,
            pubkey: pubkey.clone(),
            stakes: vec![U96::from(3), U96::ZERO],
        };
        abi::operatorStateReturn {
            operators: vec![operator],
            totalStakes: vec![U96::from(3), U96::ZERO],
            apks: vec![pubkey, vec![0; 128].into()],
        }
    }

    #[test]
    fn points_are_read_from_the_precompiles_encoding() {
        let state = state(answer()).unwrap();
        assert_eq!(state.operators[0].g1[..], key().encode());
        assert_eq!(state.operators[0].g2.len(), 0);
        assert_eq!(state.apks[0][..], key().encode());
        assert_eq!(state.apks[1][..], PublicKey::identity().encode());
        assert_eq!(keccak256(&state.operators[0].g1), state.operators[0].id);
    }

    #[test]
    fn an_answer_with_what_is_no_point_is_refused() {
        type Damage = fn(&mut abi::operatorStateReturn);
        let cases: [(&str, Damage); 4] = [
            ("nobody's key", |answer| answer.operators[0].pubkey = vec![0; 128].into()),
            ("a short key", |answer| answer.operators[0].pubkey = vec![0; 96].into()),
            ("a key off the curve", |answer| answer.operators[0].pubkey = vec![1; 128].into()),
            ("a sum off the curve", |answer| answer.apks[1] = vec![1; 128].into()),
        ];
        for (name, damage) in cases {
            let mut answer = answer();
            damage(&mut answer);
            assert!(matches!(state(answer), Err(Error::Malformed(_))), "{name}");
        }
    }
}
