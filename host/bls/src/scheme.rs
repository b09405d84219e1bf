//! What a BLS scheme offers.

use std::fmt::Debug;

use eigenshift_types::B256;

use crate::DecodeError;

/// A BLS signature scheme over 32-byte digests.
///
/// Laws, which every implementation's tests hold:
/// - `decode(encode(x)) == x` for keys and signatures that are not the identity;
/// - signatures over one digest, added up, verify under the sum of their keys;
/// - `verify_same` and `verify_each` give, position by position, what `verify` gives.
pub trait Scheme: Send + Sync + 'static {
    /// Name in files and messages.
    const NAME: &'static str;
    /// What signs.
    type SecretKey;
    /// What verifies.
    type PublicKey: Copy + Debug + Eq + Send + Sync + 'static;
    /// A signature.
    type Signature: Copy + Debug + Eq + Send + Sync + 'static;

    /// The verification key of a secret key.
    fn public_key(secret: &Self::SecretKey) -> Self::PublicKey;

    /// Signs a digest.
    fn sign(secret: &Self::SecretKey, digest: B256) -> Self::Signature;

    /// Whether the key signed the digest. Never true for the identity.
    fn verify(key: &Self::PublicKey, digest: B256, signature: &Self::Signature) -> bool;

    /// Whether the plain sum of signatures verifies under the plain sum of their keys: what a certificate needs, and no
    /// proof that any of them is valid alone.
    fn verify_sum(digest: B256, signatures: &[(Self::PublicKey, Self::Signature)]) -> bool;

    /// Which of many signatures over the same digest are valid; much cheaper than one by one.
    fn verify_same(digest: B256, signatures: &[(Self::PublicKey, Self::Signature)]) -> Vec<bool>;

    /// Which of many signatures over any digests are valid.
    fn verify_each(signatures: &[(Self::PublicKey, B256, Self::Signature)]) -> Vec<bool>;

    /// The sum of signatures, each taken as often as its weight says: the identity when there are none.
    fn sum(signatures: impl IntoIterator<Item = (Self::Signature, u64)>) -> Self::Signature;

    /// The sum of keys, each taken as often as its weight says: the identity when there are none.
    fn sum_keys(keys: impl IntoIterator<Item = (Self::PublicKey, u64)>) -> Self::PublicKey;

    /// Bytes of a key, uncompressed.
    fn encode_key(key: &Self::PublicKey) -> Vec<u8>;

    /// A key from its uncompressed bytes.
    ///
    /// # Errors
    /// [`DecodeError`] unless it is the canonical encoding of a point of the group other than the identity.
    fn decode_key(bytes: &[u8]) -> Result<Self::PublicKey, DecodeError>;

    /// Bytes of a signature, uncompressed.
    fn encode(signature: &Self::Signature) -> Vec<u8>;

    /// A signature from its uncompressed bytes.
    ///
    /// # Errors
    /// [`DecodeError`] unless it is the canonical encoding of a point of the group other than the identity.
    fn decode(bytes: &[u8]) -> Result<Self::Signature, DecodeError>;
}
