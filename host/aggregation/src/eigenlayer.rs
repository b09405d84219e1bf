//! Certificates as EigenLayer's `BLSSignatureChecker.checkSignatures` takes them.
//!
//! Names are the contracts'. Indices into the registries' histories come from the chain: `OperatorStateRetriever`'s
//! `getCheckSignaturesIndices` at the task's reference block, asked with the non-signers' ids in the order in which
//! [`ContractParts::non_signers`](crate::ContractParts) has them.

use alloy_sol_types::private::U256;
use alloy_sol_types::sol;
use eigenshift_bls::bn254::{G1, G2};

use crate::ContractParts;

sol! {
    /// A point of G1.
    #[derive(Debug, PartialEq, Eq)]
    struct G1Point {
        uint256 X;
        uint256 Y;
    }

    /// A point of G2, imaginary parts first.
    #[derive(Debug, PartialEq, Eq)]
    struct G2Point {
        uint256[2] X;
        uint256[2] Y;
    }

    /// What `getCheckSignaturesIndices` gives.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct CheckSignaturesIndices {
        uint32[] nonSignerQuorumBitmapIndices;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }

    /// What `checkSignatures` takes beside digest, quorums and block.
    #[derive(Debug, PartialEq, Eq)]
    struct NonSignerStakesAndSignature {
        uint32[] nonSignerQuorumBitmapIndices;
        G1Point[] nonSignerPubkeys;
        G1Point[] quorumApks;
        G2Point apkG2;
        G1Point sigma;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }
}

/// Why parts and indices make nothing that the contract would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EigenLayerError {
    /// The contract knows BN254 only.
    #[error("the certificate is not over BN254, which is what EigenLayer's contract checks")]
    Curve,
    /// Another number of indices than there are non-signers or quorums.
    #[error("{found} {what} for {expected}: ask the retriever at the task's block, with its quorums and non-signers")]
    Length {
        /// Which indices.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there were.
        found: usize,
    },
}

fn g1(bytes: &[u8]) -> Result<G1Point, EigenLayerError> {
    // Sums may be the identity, which contracts write as zeros.
    G1::decode_or_identity(bytes).map_err(|_| EigenLayerError::Curve)?;
    let (x, y) = bytes.split_at_checked(32).ok_or(EigenLayerError::Curve)?;
    Ok(G1Point { X: U256::from_be_slice(x), Y: U256::from_be_slice(y) })
}

fn g2(bytes: &[u8]) -> Result<G2Point, EigenLayerError> {
    G2::decode_or_identity(bytes).map_err(|_| EigenLayerError::Curve)?;
    let mut words = bytes.chunks(32).map(U256::from_be_slice);
    let mut pair = || Some([words.next()?, words.next()?]);
    pair().zip(pair()).map(|(x, y)| G2Point { X: x, Y: y }).ok_or(EigenLayerError::Curve)
}

fn expect(what: &'static str, found: usize, expected: usize) -> Result<(), EigenLayerError> {
    if found == expected { Ok(()) } else { Err(EigenLayerError::Length { what, expected, found }) }
}

/// What `checkSignatures` takes, of a certificate's parts and the indices that the chain gives for it.
///
/// # Errors
/// [`EigenLayerError`]: another curve, or indices of something else.
pub fn non_signer_stakes_and_signature(
    parts: &ContractParts,
    indices: CheckSignaturesIndices,
) -> Result<NonSignerStakesAndSignature, EigenLayerError> {
    let (absent, quorums) = (parts.non_signers.len(), parts.quorums.len());
    expect("nonSignerQuorumBitmapIndices", indices.nonSignerQuorumBitmapIndices.len(), absent)?;
    expect("quorumApkIndices", indices.quorumApkIndices.len(), quorums)?;
    expect("totalStakeIndices", indices.totalStakeIndices.len(), quorums)?;
    expect("nonSignerStakeIndices", indices.nonSignerStakeIndices.len(), quorums)?;
    // A row has an index for each non-signer that is in the quorum.
    if let Some(row) = indices.nonSignerStakeIndices.iter().find(|row| row.len() > absent) {
        expect("indices in a row of nonSignerStakeIndices", row.len(), absent)?;
    }
    Ok(NonSignerStakesAndSignature {
        nonSignerQuorumBitmapIndices: indices.nonSignerQuorumBitmapIndices,
        nonSignerPubkeys: parts.non_signers.iter().map(|key| g1(key)).collect::<Result<_, _>>()?,
        quorumApks: parts.quorum_aggregate_keys.iter().map(|key| g1(key)).collect::<Result<_, _>>()?,
        apkG2: g2(&parts.signers_aggregate_key)?,
        sigma: g1(&parts.signature)?,
        quorumApkIndices: indices.quorumApkIndices,
        totalStakeIndices: indices.totalStakeIndices,
        nonSignerStakeIndices: indices.nonSignerStakeIndices,
    })
}
