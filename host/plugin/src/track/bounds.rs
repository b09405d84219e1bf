//! What may come out of a plugin: sizes and shapes, whatever its track.

use eigenshift_types::{Address, B256, Bytes, ResponseKey, U256};

use crate::capability::secrets::Redactor;
use crate::error::CallError;

/// `K`.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
/// The extension of `S`.
pub(crate) const MAX_EXTENSION: usize = 1024;
/// `T`.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;
/// Calldata of a transaction.
pub(crate) const MAX_TRANSACTION: usize = 1024 * 1024;
/// Event filters of a plugin, and first topics of each.
pub(crate) const MAX_FILTERS: usize = 64;
/// The URL of an operator.
pub(crate) const MAX_URL: usize = 2048;

pub(crate) fn bad(what: impl Into<String>) -> CallError {
    CallError::BadOutput(what.into())
}

pub(crate) fn at_most(what: &str, len: usize, max: usize) -> Result<(), CallError> {
    if len <= max { Ok(()) } else { Err(bad(format!("{len} {what}, at most {max} are taken"))) }
}

pub(crate) fn bytes(what: &str, value: Vec<u8>, max: usize) -> Result<Bytes, CallError> {
    at_most(&format!("bytes of {what}"), value.len(), max)?;
    Ok(value.into())
}

pub(crate) fn word(what: &str, value: &[u8]) -> Result<B256, CallError> {
    B256::try_from(value).map_err(|_| bad(format!("{what} has {} bytes, needs 32", value.len())))
}

pub(crate) fn number(what: &str, value: &[u8]) -> Result<U256, CallError> {
    Ok(U256::from_be_bytes(word(what, value)?.0))
}

pub(crate) fn address(what: &str, value: &[u8]) -> Result<Address, CallError> {
    Address::try_from(value).map_err(|_| bad(format!("{what} has {} bytes, needs 20", value.len())))
}

pub(crate) fn key(value: Vec<u8>) -> Result<ResponseKey, CallError> {
    ResponseKey::new(value).map_err(|error| bad(error.to_string()))
}

/// A rejection's code goes into an HTTP reply and into metrics: only what it is documented to be.
pub(crate) fn code(value: String, redactor: &Redactor) -> String {
    let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_one = (1..=64).contains(&value.len()) && value.bytes().all(kebab) && redactor.text(&value) == value;
    if is_one { value } else { "rejected".to_owned() }
}
