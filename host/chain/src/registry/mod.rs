//! Operator sets from the AVS's registry contract, and the calls that set one up.
//!
//! There is a registry for each curve: `OperatorRegistry` and `OperatorRegistry12381`. They differ in how they write points.

mod bls12381;
mod bn254;
mod state;

use alloy_primitives::{Address, B256, Bytes, aliases::U96};
use alloy_sol_types::{SolCall, sol};
use eigenshift_bls::{ContractKey, Curve, PublicKey, Signature};
use eigenshift_types::{BlockRef, OperatorSet, Stake};

use crate::{Chain, Error};

/// More operators than this in one set are refused: the ledger carries every set it signs under.
pub const MAX_OPERATORS: usize = 1024;

mod abi {
    #![allow(missing_docs, reason = "the macro's items mirror the contract's interface")]
    use super::sol;

    sol! {
        function isRegistered(address operator) external view returns (bool);
        function pubkeyRegistrationDigest(address operator) external view returns (bytes32);
        function allow(address[] operators) external;
        function deregister() external;
        function setStakes(address operator, uint8[] quorums, uint96[] stakes) external;
    }
}

/// The operators that have stake in the given quorums at a block, as the registry there says.
///
/// `curve` is the cluster's, and says which contract `registry` is. Keys and sums of keys are as [`ContractKey::encode`]
/// and [`PublicKey::encode`] give them: over BN254 G1 of 64 bytes and G2 of 128; over BLS12-381 G1 of 96 bytes, uncompressed,
/// and G2 empty, because one key is both. Over BLS12-381 every key is checked to be in its group, about 0.1 ms each.
///
/// # Errors
/// [`Error::InvalidInput`] unless the quorums ascend strictly; [`Error::UnknownBlock`] when this chain has no such block
/// of that number; [`Error::Malformed`] when the answer is none of an operator registry of that curve, or contradicts
/// itself; [`Error::TooLarge`] above [`MAX_OPERATORS`].
pub async fn operator_set(
    chain: &dyn Chain,
    registry: Address,
    curve: Curve,
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
    let state = match curve {
        Curve::Bn254 => bn254::state(read(chain, registry, &bn254::state_call(quorums), at.hash).await?),
        Curve::Bls12381 => bls12381::state(read(chain, registry, &bls12381::state_call(quorums), at.hash).await?)?,
    };
    state.into_set(quorums, at)
}

/// Whether an account is a registered operator at a block, in a registry of either curve.
///
/// # Errors
/// [`Error::UnknownBlock`], [`Error::Malformed`].
pub async fn is_registered(chain: &dyn Chain, registry: Address, operator: Address, at: B256) -> Result<bool, Error> {
    read(chain, registry, &abi::isRegisteredCall { operator }, at).await
}

/// What the proof of possession of an operator's BLS key signs, in a registry of either curve.
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

/// Calldata with which the owner lets operators register, in a registry of either curve.
#[must_use]
pub fn allow_calldata(operators: &[Address]) -> Bytes {
    abi::allowCall { operators: operators.to_vec() }.abi_encode().into()
}

/// Calldata with which an operator registers its key, in the registry of the key's curve.
///
/// `proof` is the key's signature of [`pubkey_registration_digest`], made as any signature; `key` and `public` are the
/// contract key and the verification key of one [`SecretKey`](eigenshift_bls::SecretKey), which over BLS12-381 are the same
/// point. Only the contract checks the proof.
///
/// # Errors
/// [`Error::InvalidInput`] for points of two curves, and over BLS12-381 for two keys.
pub fn register_calldata(proof: &Signature, key: &ContractKey, public: &PublicKey) -> Result<Bytes, Error> {
    match (proof, key, public) {
        (Signature::Bn254(proof), ContractKey::Bn254(key), PublicKey::Bn254(public)) => {
            Ok(bn254::register_calldata(proof, key, public))
        }
        (Signature::Bls12381(proof), ContractKey::Bls12381(key), PublicKey::Bls12381(public)) if key == public => {
            Ok(bls12381::register_calldata(proof, key))
        }
        _ => Err(Error::InvalidInput("proof and keys: they must be of one curve and one secret key".to_owned())),
    }
}

/// Calldata with which an operator leaves, in a registry of either curve.
#[must_use]
pub fn deregister_calldata() -> Bytes {
    abi::deregisterCall {}.abi_encode().into()
}

/// Calldata with which the owner sets an operator's stakes, (quorum, stake) each, in a registry of either curve.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use eigenshift_bls::SecretKey;

    use super::*;

    #[test]
    fn a_registration_is_of_one_curve_and_one_key() {
        let digest = B256::repeat_byte(3);
        let keys = [(Curve::Bn254, 5), (Curve::Bls12381, 5), (Curve::Bls12381, 6)]
            .map(|(curve, secret)| SecretKey::from_bytes(curve, &[secret; 32]).unwrap());
        let calldata = |proof: usize, key: usize, public: usize| {
            let key_of = |position: usize| keys.get(position).unwrap();
            register_calldata(&key_of(proof).sign(digest), &key_of(key).contract_key(), &key_of(public).public_key())
        };
        // The selector and: two points of G1 and one of G2; two offsets, two lengths, a point of G2 and one of G1.
        assert_eq!(calldata(0, 0, 0).unwrap().len(), 4 + 64 + 64 + 128);
        assert_eq!(calldata(1, 1, 1).unwrap().len(), 4 + 4 * 32 + 256 + 128);
        for (proof, key, public) in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 2)] {
            assert!(matches!(calldata(proof, key, public), Err(Error::InvalidInput(_))), "{proof} {key} {public}");
        }
    }
}
