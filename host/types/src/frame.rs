//! The frame of everything written to disk or sent between nodes: version, checksum, named MessagePack.
//!
//! ```text
//! byte 0      version of the content
//! bytes 1-4   CRC-32 of the content, big-endian
//! bytes 5-    content: MessagePack with field names
//! ```
//! The checksum finds torn and rotten bytes; it proves nothing about who wrote them.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not the expected frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or longer than allowed.
    #[error("a frame of {len} bytes: expected 5 to {max}")]
    Length {
        /// What was found.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// Written by another version of the software.
    #[error(
        "frame version {found}, expected {expected}: written by another version of EigenShift; use that one, or upgrade"
    )]
    Version {
        /// What was found.
        found: u8,
        /// What this code reads.
        expected: u8,
    },
    /// The content is not what was written.
    #[error("checksum mismatch: the bytes are torn or corrupt")]
    Checksum,
    /// The content is of another shape.
    #[error("content does not decode: {0}")]
    Content(#[from] rmp_serde::decode::Error),
}

const HEADER: usize = 5;

/// Encodes a value as named MessagePack: equal values give equal bytes.
///
/// Every type used with it serialises without failing; a type that fails would encode as the error's text, which no
/// decoder takes and no digest matches.
#[must_use]
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_else(|error| error.to_string().into_bytes())
}

/// Puts a value into a frame.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    let content = canonical(value);
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.push(version);
    bytes.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Takes a value out of a frame of at most `max` bytes.
///
/// # Errors
/// [`FrameError`] says which check failed.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8], max: usize) -> Result<T, FrameError> {
    if bytes.len() > max {
        return Err(FrameError::Length { len: bytes.len(), max });
    }
    let Some((header, content)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(FrameError::Length { len: bytes.len(), max });
    };
    let [found, checksum @ ..] = *header;
    if found != version {
        return Err(FrameError::Version { found, expected: version });
    }
    if crc32fast::hash(content) != u32::from_be_bytes(checksum) {
        return Err(FrameError::Checksum);
    }
    Ok(rmp_serde::from_slice(content)?)
}

/// Reads what [`canonical`] wrote.
///
/// # Errors
/// [`FrameError::Content`] when it is of another shape.
pub fn from_canonical<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    Ok(rmp_serde::from_slice(bytes)?)
}
