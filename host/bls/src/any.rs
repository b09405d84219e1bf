//! Keys and signatures of whichever curve a cluster uses.
//!
//! The curve is a cluster's setting, so everything that meets in one cluster is of one curve. What is not adds up to
//! nothing and verifies nothing.

use std::fmt;

use eigenshift_types::{B256, Bytes, OperatorId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{DecodeError, bls12381, bn254};

/// The curve of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Curve {
    /// EigenLayer's.
    #[default]
    #[serde(rename = "bn254")]
    Bn254,
    /// The beacon chain's.
    #[serde(rename = "bls12-381")]
    Bls12381,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bn254 => "BN254",
            Self::Bls12381 => "BLS12-381",
        })
    }
}

/// The secret half of an operator's key. Zeroised on drop.
#[derive(Debug)]
pub enum SecretKey {
    /// Over BN254.
    Bn254(bn254::SecretKey),
    /// Over BLS12-381.
    Bls12381(bls12381::SecretKey),
}

/// The key that an operator's id is made of, and that contracts add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractKey {
    /// In G1.
    Bn254(bn254::G1),
    /// In G1: the verification key itself.
    Bls12381(bls12381::PublicKey),
}

/// The key that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// In G2.
    Bn254(bn254::G2),
    /// In G1.
    Bls12381(bls12381::PublicKey),
}

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// In G1.
    Bn254(bn254::G1),
    /// In G2.
    Bls12381(bls12381::Signature),
}

impl From<bn254::SecretKey> for SecretKey {
    fn from(secret: bn254::SecretKey) -> Self {
        Self::Bn254(secret)
    }
}

impl From<bls12381::SecretKey> for SecretKey {
    fn from(secret: bls12381::SecretKey) -> Self {
        Self::Bls12381(secret)
    }
}

impl SecretKey {
    /// The key of a curve whose number is these 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::SecretOutOfRange`].
    pub fn from_bytes(curve: Curve, bytes: &[u8; 32]) -> Result<Self, DecodeError> {
        match curve {
            Curve::Bn254 => bn254::SecretKey::from_bytes(bytes).map(Self::Bn254),
            Curve::Bls12381 => bls12381::SecretKey::from_bytes(bytes).map(Self::Bls12381),
        }
    }

    /// A new key from a source of randomness.
    #[must_use]
    pub fn generate(curve: Curve, fill: impl FnMut(&mut [u8])) -> Self {
        match curve {
            Curve::Bn254 => Self::Bn254(bn254::SecretKey::generate(fill)),
            Curve::Bls12381 => Self::Bls12381(bls12381::SecretKey::generate(fill)),
        }
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self {
            Self::Bn254(_) => Curve::Bn254,
            Self::Bls12381(_) => Curve::Bls12381,
        }
    }

    /// The number, 32 bytes big-endian: for the key file, and for nothing else.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        match self {
            Self::Bn254(secret) => secret.to_bytes(),
            Self::Bls12381(secret) => secret.to_bytes(),
        }
    }

    /// The key that contracts add up.
    #[must_use]
    pub fn contract_key(&self) -> ContractKey {
        match self {
            Self::Bn254(secret) => ContractKey::Bn254(secret.g1()),
            Self::Bls12381(secret) => ContractKey::Bls12381(secret.public_key()),
        }
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Bn254(secret) => PublicKey::Bn254(secret.g2()),
            Self::Bls12381(secret) => PublicKey::Bls12381(secret.public_key()),
        }
    }

    /// The operator's id.
    #[must_use]
    pub fn operator_id(&self) -> OperatorId {
        self.contract_key().operator_id()
    }

    /// Signs a digest.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Signature {
        match self {
            Self::Bn254(secret) => Signature::Bn254(secret.sign(digest)),
            Self::Bls12381(secret) => Signature::Bls12381(secret.sign(digest)),
        }
    }
}

/// Implements what points of all kinds offer.
macro_rules! points {
    ($name:ident, $first:ty, $second:ty) => {
        impl $name {
            /// Its curve.
            #[must_use]
            pub const fn curve(&self) -> Curve {
                match self {
                    Self::Bn254(_) => Curve::Bn254,
                    Self::Bls12381(_) => Curve::Bls12381,
                }
            }

            /// A point from its uncompressed encoding.
            ///
            /// # Errors
            /// [`DecodeError`] says which check failed; the identity is refused.
            pub fn decode(curve: Curve, bytes: &[u8]) -> Result<Self, DecodeError> {
                match curve {
                    Curve::Bn254 => <$first>::decode(bytes).map(Self::Bn254),
                    Curve::Bls12381 => <$second>::decode(bytes).map(Self::Bls12381),
                }
            }

            /// The uncompressed encoding.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                match self {
                    Self::Bn254(point) => Bytes::copy_from_slice(&point.encode()),
                    Self::Bls12381(point) => Bytes::copy_from_slice(&point.encode()),
                }
            }

            /// Whether it is the identity.
            #[must_use]
            pub fn is_identity(&self) -> bool {
                match self {
                    Self::Bn254(point) => point.is_identity(),
                    Self::Bls12381(point) => point.is_identity(),
                }
            }

            /// The sum of points of a curve, each taken as often as its weight says.
            #[must_use]
            pub fn weighted_sum(curve: Curve, points: impl IntoIterator<Item = (Self, u64)>) -> Self {
                let points = points.into_iter();
                match curve {
                    Curve::Bn254 => {
                        Self::Bn254(<$first>::weighted_sum(points.filter_map(|(point, weight)| match point {
                            Self::Bn254(point) => Some((point, weight)),
                            Self::Bls12381(_) => None,
                        })))
                    }
                    Curve::Bls12381 => {
                        Self::Bls12381(<$second>::weighted_sum(points.filter_map(|(point, weight)| match point {
                            Self::Bls12381(point) => Some((point, weight)),
                            Self::Bn254(_) => None,
                        })))
                    }
                }
            }
        }
    };
}

points!(ContractKey, bn254::G1, bls12381::PublicKey);
points!(PublicKey, bn254::G2, bls12381::PublicKey);
points!(Signature, bn254::G1, bls12381::Signature);

impl ContractKey {
    /// The id of the operator with this key.
    #[must_use]
    pub fn operator_id(&self) -> OperatorId {
        match self {
            Self::Bn254(key) => bn254::operator_id(key),
            Self::Bls12381(key) => bls12381::operator_id(key),
        }
    }
}

/// Whether the keys of every pair have the same secret.
#[must_use]
pub fn all_match(keys: &[(ContractKey, PublicKey)]) -> bool {
    let mut pairs = Vec::new();
    for key in keys {
        match key {
            (ContractKey::Bn254(first), PublicKey::Bn254(second)) => pairs.push((*first, *second)),
            (ContractKey::Bls12381(first), PublicKey::Bls12381(second)) if first == second && !first.is_identity() => {}
            _ => return false,
        }
    }
    bn254::all_match(&pairs)
}

/// A verification key made ready to verify signatures one by one: of BN254 cheaper, for 12 KiB of memory; of BLS12-381
/// the key itself. Cheap to clone.
#[derive(Clone, Debug)]
pub enum PreparedKey {
    /// With the lines of its pairing.
    Bn254(bn254::PreparedKey),
    /// As it is: the point that would be prepared is the signature's side.
    Bls12381(bls12381::PublicKey),
}

impl PreparedKey {
    /// Makes a key ready.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        match key {
            PublicKey::Bn254(key) => Self::Bn254(bn254::PreparedKey::new(key)),
            PublicKey::Bls12381(key) => Self::Bls12381(key),
        }
    }

    /// Whether the key signed the digest. Never true for the identity, as key or as signature.
    #[must_use]
    pub fn verify(&self, digest: B256, signature: &Signature) -> bool {
        match (self, signature) {
            (Self::Bn254(key), Signature::Bn254(signature)) => key.verify(digest, signature),
            (Self::Bls12381(key), Signature::Bls12381(signature)) => bls12381::verify(key, digest, signature),
            _ => false,
        }
    }
}

/// Whether the key signed the digest. Never true for the identity, as key or as signature.
#[must_use]
pub fn verify(key: &PublicKey, digest: B256, signature: &Signature) -> bool {
    match (key, signature) {
        (PublicKey::Bn254(key), Signature::Bn254(signature)) => bn254::verify(key, digest, signature),
        (PublicKey::Bls12381(key), Signature::Bls12381(signature)) => bls12381::verify(key, digest, signature),
        _ => false,
    }
}

/// Splits by curve, keeping positions; what is of two curves is left out.
#[derive(Default)]
struct Split {
    bn254: (Vec<usize>, Vec<(bn254::G2, B256, bn254::G1)>),
    bls12381: (Vec<usize>, Vec<(bls12381::PublicKey, B256, bls12381::Signature)>),
}

impl Split {
    fn of(signatures: &[(PublicKey, B256, Signature)]) -> Self {
        let mut split = Self::default();
        for (position, (key, digest, signature)) in signatures.iter().enumerate() {
            match (key, signature) {
                (PublicKey::Bn254(key), Signature::Bn254(signature)) => {
                    split.bn254.0.push(position);
                    split.bn254.1.push((*key, *digest, *signature));
                }
                (PublicKey::Bls12381(key), Signature::Bls12381(signature)) => {
                    split.bls12381.0.push(position);
                    split.bls12381.1.push((*key, *digest, *signature));
                }
                _ => {}
            }
        }
        split
    }
}

/// Which of many signatures are valid, over any digests.
#[must_use]
pub fn verify_each(signatures: &[(PublicKey, B256, Signature)]) -> Vec<bool> {
    let Split { bn254: (first, bn254), bls12381: (second, bls12381) } = Split::of(signatures);
    let mut verdicts = vec![false; signatures.len()];
    let of_first = first.into_iter().zip(bn254::verify_each(&bn254));
    let of_second = second.into_iter().zip(bls12381::verify_each(&bls12381));
    for (position, valid) in of_first.chain(of_second) {
        if let Some(verdict) = verdicts.get_mut(position) {
            *verdict = valid;
        }
    }
    verdicts
}

/// Whether the plain sum of signatures over one digest verifies under the plain sum of their keys: what a certificate
/// needs, and no proof that any of them is valid alone. False for none.
#[must_use]
pub fn verify_sum(digest: B256, signatures: &[(PublicKey, Signature)]) -> bool {
    let Some((key, _)) = signatures.first() else { return false };
    let curve = key.curve();
    if signatures.iter().any(|(key, signature)| key.curve() != curve || signature.curve() != curve) {
        return false;
    }
    let key = PublicKey::weighted_sum(curve, signatures.iter().map(|(key, _)| (*key, 1)));
    let signature = Signature::weighted_sum(curve, signatures.iter().map(|(_, signature)| (*signature, 1)));
    verify(&key, digest, &signature)
}
