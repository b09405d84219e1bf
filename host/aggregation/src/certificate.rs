//! Certificates: checking them, and taking them apart for a contract.

use eigenshift_bls::DecodeError;
use eigenshift_bls::bn254::{G1, G2, verify};
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
    /// The signature is no point of G1, or the identity.
    #[error("the aggregate signature: {0}")]
    Signature(#[from] DecodeError),
    /// The signers' keys add up to nothing, under which anything would verify.
    #[error("the signers' keys add up to the identity")]
    IdentityKey,
}

/// What is left of a certificate to check: one pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateCheck {
    /// Sum of the signers' G2 keys, each once per task quorum it has stake in.
    pub apk_g2: G2,
    /// What was signed.
    pub digest: B256,
    /// The aggregate signature.
    pub signature: G1,
    /// (signed, total) stake of each of the task's quorums, in their order.
    pub stakes: Vec<(Stake, Stake)>,
}

impl CertificateCheck {
    /// The triple that [`verify_each`](eigenshift_bls::bn254::verify_each) takes, to check many at once.
    #[must_use]
    pub fn item(&self) -> (G2, B256, G1) {
        (self.apk_g2, self.digest, self.signature)
    }

    /// The pairing.
    #[must_use]
    pub fn verifies(&self) -> bool {
        verify(&self.apk_g2, self.digest, &self.signature)
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
        keys.push((operator.g2, multiplicity));
    }
    if let Some(Shortfall { quorum, signed, total, threshold }) = quorums.unreached(&signed) {
        return Err(CertificateError::BelowThreshold { quorum, signed, total, threshold });
    }
    let signature = G1::decode(&certificate.signature)?;
    let apk_g2 = G2::weighted_sum(keys);
    if apk_g2.is_identity() {
        return Err(CertificateError::IdentityKey);
    }
    Ok(CertificateCheck { apk_g2, digest: certificate.digest, signature, stakes: quorums.with_totals(&signed) })
}

/// What a contract needs beside the digest to check a certificate: the fields of the WIT's `certificate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractParts {
    /// G1 keys of the operators with stake in the task that did not sign, ascending by operator id.
    pub non_signers: Vec<Bytes>,
    /// Aggregate G1 key of each of the task's quorums, in the order of `quorums`.
    pub quorum_aggregate_keys: Vec<Bytes>,
    /// Quorum numbers, ascending.
    pub quorums: Vec<u8>,
    /// Sum of the signers' G2 keys, once per quorum a signer has stake in; imaginary parts first.
    pub signers_aggregate_key: Bytes,
    /// Aggregate G1 signature, once per quorum a signer has stake in.
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
    let bytes = |point: &G1| Bytes::copy_from_slice(&point.encode());
    let absent = |(position, operator): (usize, &Operator)| {
        let counts = !certificate.signers.contains(position) && resolved.multiplicity(operator) > 0;
        counts.then(|| bytes(&operator.g1))
    };
    let aggregate = |index: usize| operators.quorums().get(index).map(|quorum| bytes(&quorum.aggregate));
    Ok(ContractParts {
        non_signers: operators.all().iter().enumerate().filter_map(absent).collect(),
        quorum_aggregate_keys: resolved.indices().filter_map(aggregate).collect(),
        quorums: quorums.numbers.clone(),
        signers_aggregate_key: Bytes::copy_from_slice(&check.apk_g2.encode()),
        signature: bytes(&check.signature),
    })
}
