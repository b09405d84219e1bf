//! Certificates: checking them, and taking them apart for a contract.

use eigenshift_bls::any::verify;
use eigenshift_bls::{ContractKey, DecodeError, PublicKey, Signature};
use eigenshift_types::{B256, Bytes, Certificate, Quorums, Stake};

use crate::operators::Operator;
use crate::quorums::Shortfall;
use crate::{Error, Operators, TaskQuorums};

/// Why a certificate is refused. Each is a fault of its author: an honest aggregator makes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The task's quorums do not fit the operator set.
    #[error(transparent)]
    Quorums(#[from] Error),
    /// The bitmap has another length than the set, or a bit beyond its end.
    #[error("the signer bitmap does not fit a set of {operators} operators")]
    Bitmap {
        /// Operators in the set.
        operators: usize,
    },
    /// A signer without stake in any of the task's quorums: the bit would mean nothing, and two bitmaps would say the
    /// same.
    #[error("signer {position} has no stake in any of the task's quorums")]
    SignerWithoutStake {
        /// Where in the set.
        position: usize,
    },
    /// A threshold is not reached.
    #[error("quorum {quorum}: {signed} of {total} signed, {threshold} percent are needed")]
    BelowThreshold {
        /// Number of the quorum.
        quorum: u8,
        /// Stake that signed.
        signed: Stake,
        /// Stake that there is.
        total: Stake,
        /// Percent that is needed.
        threshold: u8,
    },
    /// The signature is no point of its group, or the identity.
    #[error("the aggregate signature: {0}")]
    Signature(#[from] DecodeError),
    /// The signers' keys add up to nothing, under which anything would verify.
    #[error("the signers' keys add up to the identity")]
    IdentityKey,
}

/// What is left of a certificate to check: one pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateCheck {
    /// Sum of the signers' verification keys, each once per task quorum it has stake in.
    pub aggregate_key: PublicKey,
    /// What was signed.
    pub digest: B256,
    /// The aggregate signature.
    pub signature: Signature,
    /// (signed, total) stake of each of the task's quorums, in their order.
    pub stakes: Vec<(Stake, Stake)>,
}

impl CertificateCheck {
    /// The triple that [`verify_each`](eigenshift_bls::any::verify_each) takes, to check many at once.
    #[must_use]
    pub fn item(&self) -> (PublicKey, B256, Signature) {
        (self.aggregate_key, self.digest, self.signature)
    }

    /// The pairing.
    #[must_use]
    pub fn verifies(&self) -> bool {
        verify(&self.aggregate_key, self.digest, &self.signature)
    }
}

/// Checks everything about a certificate but the pairing: the bitmap is canonical over the set, every signer has stake in
/// the task, every threshold is reached by the integer rule, the signature is a point. Keys come from the set alone. Pure.
///
/// # Errors
/// [`CertificateError`] says which check failed first.
pub fn check_certificate(
    operators: &Operators,
    quorums: &Quorums,
    certificate: &Certificate,
) -> Result<CertificateCheck, CertificateError> {
    check_resolved(operators, &TaskQuorums::resolve(operators, quorums)?, certificate)
}

fn check_resolved(
    operators: &Operators,
    quorums: &TaskQuorums,
    certificate: &Certificate,
) -> Result<CertificateCheck, CertificateError> {
    if !certificate.signers.fits(operators.len()) {
        return Err(CertificateError::Bitmap { operators: operators.len() });
    }
    let mut signed = vec![Stake::default(); quorums.count()];
    let mut keys = Vec::new();
    for (position, operator) in operators.all().iter().enumerate() {
        if !certificate.signers.contains(position) {
            continue;
        }
        let multiplicity = quorums.multiplicity(operator);
        if multiplicity == 0 {
            return Err(CertificateError::SignerWithoutStake { position });
        }
        quorums.add(&mut signed, operator);
        keys.push((operator.public_key, multiplicity));
    }
    if let Some(Shortfall { quorum, signed, total, threshold }) = quorums.unreached(&signed) {
        return Err(CertificateError::BelowThreshold { quorum, signed, total, threshold });
    }
    let signature = Signature::decode(operators.curve(), &certificate.signature)?;
    let aggregate_key = PublicKey::weighted_sum(operators.curve(), keys);
    if aggregate_key.is_identity() {
        return Err(CertificateError::IdentityKey);
    }
    Ok(CertificateCheck { aggregate_key, digest: certificate.digest, signature, stakes: quorums.with_totals(&signed) })
}

/// What a contract needs beside the digest to check a certificate: the fields of the WIT's `certificate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractParts {
    /// Contract keys of the operators with stake in the task that did not sign, ascending by operator id.
    pub non_signers: Vec<Bytes>,
    /// Aggregate contract key of each of the task's quorums, in the order of `quorums`.
    pub quorum_aggregate_keys: Vec<Bytes>,
    /// Quorum numbers, ascending.
    pub quorums: Vec<u8>,
    /// Sum of the signers' verification keys, once per quorum a signer has stake in; of BN254 imaginary parts first.
    pub signers_aggregate_key: Bytes,
    /// Aggregate signature, once per quorum a signer has stake in.
    pub signature: Bytes,
}

/// Takes a certificate apart for a contract.
///
/// # Errors
/// As [`check_certificate`]: what it refuses, no contract would take.
pub fn contract_parts(
    operators: &Operators,
    quorums: &Quorums,
    certificate: &Certificate,
) -> Result<ContractParts, CertificateError> {
    let resolved = TaskQuorums::resolve(operators, quorums)?;
    let check = check_resolved(operators, &resolved, certificate)?;
    let bytes = |key: &ContractKey| key.encode();
    let absent = |(position, operator): (usize, &Operator)| {
        let counts = !certificate.signers.contains(position) && resolved.multiplicity(operator) > 0;
        counts.then(|| bytes(&operator.contract_key))
    };
    let aggregate = |index: usize| operators.quorums().get(index).map(|quorum| bytes(&quorum.aggregate));
    Ok(ContractParts {
        non_signers: operators.all().iter().enumerate().filter_map(absent).collect(),
        quorum_aggregate_keys: resolved.indices().filter_map(aggregate).collect(),
        quorums: quorums.numbers.clone(),
        signers_aggregate_key: check.aggregate_key.encode(),
        signature: check.signature.encode(),
    })
}
