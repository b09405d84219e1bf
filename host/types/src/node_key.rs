//! A node's Ed25519 key: it signs commands and response envelopes, and it is the node's TLS key.

use std::fmt;

use alloy_primitives::{B256, FixedBytes};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The secret half. Zeroised on drop; never printed or serialised but through [`NodeKey::to_pkcs8`].
pub struct NodeKey(SigningKey);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.public())
    }
}

// The fixed head of a PKCS#8 v1 document for Ed25519 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

impl NodeKey {
    /// The key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to the node's key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// PKCS#8 v1 (RFC 8410), as TLS libraries take it.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(PKCS8_HEAD.to_vec());
        der.extend_from_slice(self.seed().as_slice());
        der
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> NodePublicKey {
        NodePublicKey(B256::from(self.0.verifying_key().to_bytes()))
    }

    /// Signs bytes, which begin with a domain of their own.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> NodeSignature {
        NodeSignature(FixedBytes::from(self.0.sign(message).to_bytes()))
    }
}

/// The public half, 32 bytes (RFC 8032).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodePublicKey(pub B256);

impl NodePublicKey {
    /// Whether this key signed the message. Strict: small-order keys and non-canonical signatures are refused, so that
    /// every node comes to the same answer.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &NodeSignature) -> bool {
        VerifyingKey::from_bytes(&self.0.0)
            .and_then(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0.0)))
            .is_ok()
    }
}

impl fmt::Display for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeSignature(pub FixedBytes<64>);
