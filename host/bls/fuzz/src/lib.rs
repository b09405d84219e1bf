//! What the targets of points share.

use std::fmt::Debug;

use eigenshift_bls::DecodeError;

/// Holds a decoder against its promises: another length is refused as such, nothing panics, exactly what `is_valid` (a
/// second opinion) takes decodes, and what decodes encodes to the very same bytes.
///
/// Of longer inputs the front is decoded too, so that one input serves decoders of all lengths.
pub fn point<P: Debug + PartialEq, const N: usize>(
    input: &[u8],
    decode: impl Fn(&[u8]) -> Result<P, DecodeError>,
    encode: impl Fn(&P) -> [u8; N],
    is_valid: impl Fn(&[u8; N]) -> bool,
) -> Option<P> {
    if input.len() != N {
        assert_eq!(decode(input), Err(DecodeError::Length { expected: N, found: input.len() }));
    }
    let bytes = input.first_chunk::<N>()?;
    let decoded = decode(bytes);
    assert_eq!(decoded.is_ok(), is_valid(bytes), "the second opinion differs from {decoded:?}");
    let point = decoded.ok()?;
    assert_eq!(encode(&point), *bytes, "these are the bytes of {point:?}");
    Some(point)
}

/// Whether a form of a point is read as that point.
pub fn reads_back<P: Debug + PartialEq>(decoded: Result<P, DecodeError>, point: &P) {
    assert_eq!(decoded.as_ref(), Ok(point));
}

/// The password of all key files in the corpus.
pub const PASSWORD: &str = "correct horse";
