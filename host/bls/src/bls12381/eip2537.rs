//! Points as EIP-2537's precompiles take them.
//!
//! Each number of a coordinate has 64 bytes, the first 16 of them zero. Of a signature's coordinates the real part comes
//! first, where the encoding of the curve's authors has it last. The identity is all zeros.

use super::points::length;
use super::{PublicKey, Signature};
use crate::DecodeError;

/// Bytes of a number of the field, and with its padding.
const NUMBER: usize = 48;
const PADDED: usize = 64;
const PADDING: usize = PADDED - NUMBER;

/// Bits of a number's first byte that no number below the modulus has; the authors' encoding keeps flags there.
const FLAGS: u8 = 0xe0;

/// The authors' encoding, of the numbers in their order.
fn unpadded<const NUMBERS: usize>(bytes: &[u8], order: [usize; NUMBERS]) -> Result<Vec<u8>, DecodeError> {
    length(bytes, NUMBERS * PADDED)?;
    let mut numbers = Vec::with_capacity(NUMBERS * NUMBER);
    for position in order {
        let padded = bytes.chunks_exact(PADDED).nth(position).unwrap_or_default();
        let (padding, number) = padded.split_at_checked(PADDING).ok_or(DecodeError::NotCanonical)?;
        let flags = number.first().is_none_or(|top| top & FLAGS != 0);
        if flags || padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::NotCanonical);
        }
        numbers.extend_from_slice(number);
    }
    Ok(numbers)
}

/// The precompiles' encoding, of the numbers in their order.
fn padded<const NUMBERS: usize, const LEN: usize>(numbers: &[u8], order: [usize; NUMBERS]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (slot, position) in bytes.chunks_exact_mut(PADDED).zip(order) {
        let number = numbers.chunks_exact(NUMBER).nth(position).unwrap_or_default();
        for (to, from) in slot.iter_mut().skip(PADDING).zip(number) {
            *to = *from;
        }
    }
    bytes
}

/// Implements the encoding, for the order in which one encoding has the other's numbers; it is the same both ways.
macro_rules! eip2537 {
    ($name:ident, $len:literal, $order:expr) => {
        impl $name {
            /// Bytes of the encoding of EIP-2537.
            pub const EIP2537_LEN: usize = $len;

            /// A point from the encoding of EIP-2537.
            ///
            /// # Errors
            /// [`DecodeError`] says which check failed; the identity is refused.
            pub fn decode_eip2537(bytes: &[u8]) -> Result<Self, DecodeError> {
                let point = Self::decode_eip2537_or_identity(bytes)?;
                if point.is_identity() { Err(DecodeError::Identity) } else { Ok(point) }
            }

            /// A point from the encoding of EIP-2537, for sums: the identity is taken.
            ///
            /// # Errors
            /// [`DecodeError`] says which check failed.
            pub fn decode_eip2537_or_identity(bytes: &[u8]) -> Result<Self, DecodeError> {
                let numbers = unpadded(bytes, $order)?;
                if numbers.iter().all(|byte| *byte == 0) { Ok(Self::identity()) } else { Self::decode(&numbers) }
            }

            /// The encoding of EIP-2537.
            #[must_use]
            pub fn encode_eip2537(&self) -> [u8; Self::EIP2537_LEN] {
                // The authors' identity has a flag.
                if self.is_identity() { [0; Self::EIP2537_LEN] } else { padded(&self.encode(), $order) }
            }
        }
    };
}

eip2537!(PublicKey, 128, [0, 1]);
eip2537!(Signature, 256, [1, 0, 3, 2]);
