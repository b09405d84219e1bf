//! Why bytes are not a point or a key.

/// Why bytes are not a point or a key. No variant carries the bytes: they may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another length than the encoding has.
    #[error("{found} bytes where the encoding has {expected}: send the point uncompressed, or use the right decoder")]
    Length {
        /// What the encoding has.
        expected: usize,
        /// What there was.
        found: usize,
    },
    /// A coordinate is not below the field's modulus, or unused bits are set: a second encoding of the same point.
    #[error("a coordinate is not reduced: send the canonical encoding")]
    NotCanonical,
    /// The coordinates satisfy no curve equation.
    #[error("not a point of the curve: check the order of the coordinates")]
    NotOnCurve,
    /// A point of the curve outside the prime-order group: it can make wrong signatures verify.
    #[error("a point outside the prime-order group: refuse whoever sent it")]
    NotInSubgroup,
    /// The identity, which is nobody's key and nobody's signature.
    #[error("the identity is neither a key nor a signature: refuse whoever sent it")]
    Identity,
    /// Not 64 hexadecimal digits.
    #[error("a secret key is 64 hexadecimal digits, with or without 0x")]
    NotHex,
    /// Zero, or not below the group order.
    #[error("a secret key is a number from 1 to the group order less one: generate a new one")]
    SecretOutOfRange,
}
