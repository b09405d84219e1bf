//! Answers of an endpoint, checked and brought into this crate's form.

use alloy::rpc::json_rpc::{ErrorPayload, RpcError};
use alloy::rpc::types::{Block, Log as RpcLog, TransactionReceipt};
use alloy::transports::TransportError;
use alloy_primitives::{B256, Bytes};
use eigenshift_types::BlockRef;
use serde_json::Value;

use super::transport::exchange_error;
use crate::{Error, Header, Log, LogFilter, Receipt};

/// JSON-RPC codes that mean "later": internal error, resource unavailable, limit exceeded (EIP-1474), and 429 as some
/// providers put it into the body.
const BUSY: [i64; 4] = [-32603, -32002, -32005, 429];

/// JSON-RPC code of a revert (geth, anvil, reth, Erigon, Besu).
const REVERTED: i64 = 3;

/// The error of an exchange in which nothing was executed.
pub(super) fn plain(error: TransportError) -> Error {
    match error {
        RpcError::ErrorResp(payload) => refused(&payload),
        RpcError::Transport(kind) => exchange_error(kind),
        // The body itself is left out: it is the endpoint's, and may be long.
        RpcError::DeserError { err, .. } => Error::malformed(err),
        RpcError::NullResp => Error::malformed("null where a value is expected"),
        other => Error::malformed(other),
    }
}

/// The error of a simulation, which may be a revert: by code, or by the data that comes with it.
pub(super) fn simulated(error: TransportError) -> Error {
    let RpcError::ErrorResp(payload) = error else {
        return plain(error);
    };
    let data = payload.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
    match data.as_ref().and_then(|data| revert_data(data, 4)) {
        Some(data) => Error::Reverted(data),
        None if payload.code == REVERTED => Error::Reverted(Bytes::new()),
        None => refused(&payload),
    }
}

fn refused(payload: &ErrorPayload) -> Error {
    if BUSY.contains(&payload.code) {
        return Error::Unavailable(crate::error::shortened(&format!("code {}: {}", payload.code, payload.message)));
    }
    Error::refused(payload.code, &payload.message)
}

/// Most nodes give the data as hexadecimal text; Nethermind puts a word before it, some providers an object around it.
fn revert_data(value: &Value, depth: u8) -> Option<Bytes> {
    match value {
        Value::String(text) => text.strip_prefix("Reverted ").unwrap_or(text).strip_prefix("0x")?.parse().ok(),
        Value::Object(fields) => revert_data(fields.get("data")?, depth.checked_sub(1)?),
        _ => None,
    }
}

pub(super) fn header(block: &Block) -> Header {
    let header = &block.header;
    Header {
        block: BlockRef { number: header.inner.number, hash: header.hash },
        parent: header.inner.parent_hash,
        timestamp: header.inner.timestamp,
    }
}

pub(super) fn log(log: RpcLog) -> Result<Log, Error> {
    let (Some(number), Some(hash), Some(tx), Some(index)) =
        (log.block_number, log.block_hash, log.transaction_hash, log.log_index)
    else {
        return Err(Error::malformed("a log without its place in the chain"));
    };
    let index = u32::try_from(index).map_err(|_| Error::malformed("a log index above 2^32"))?;
    let (topics, data) = log.inner.data.split();
    Ok(Log { address: log.inner.address, topics, data, block: BlockRef { number, hash }, tx, index })
}

/// The logs of an answer, none of which may be other than asked for.
pub(super) fn logs(answer: Vec<RpcLog>, filter: &LogFilter, from: u64, to: u64) -> Result<Vec<Log>, Error> {
    let mut logs = Vec::with_capacity(answer.len());
    for entry in answer {
        if entry.removed {
            continue;
        }
        let log = log(entry)?;
        let event = filter.topics0.is_empty() || log.topics.first().is_some_and(|topic| filter.topics0.contains(topic));
        if log.address != filter.address || !event || !(from..=to).contains(&log.block.number) {
            return Err(Error::malformed("a log that was not asked for"));
        }
        logs.push(log);
    }
    logs.sort_by_key(|log| (log.block.number, log.index));
    Ok(logs)
}

/// A receipt; none while the transaction has no block.
pub(super) fn receipt(tx: B256, answer: TransactionReceipt) -> Result<Option<Receipt>, Error> {
    if answer.transaction_hash != tx {
        return Err(Error::malformed("the receipt of another transaction"));
    }
    let (Some(number), Some(hash)) = (answer.block_number, answer.block_hash) else {
        return Ok(None);
    };
    let (success, contract) = (answer.inner.status(), answer.contract_address);
    let logs = answer.inner.logs().iter().cloned().map(log).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Receipt { tx, block: BlockRef { number, hash }, success, contract: contract.filter(|_| success), logs }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn answered(error: &str) -> Error {
        simulated(RpcError::ErrorResp(serde_json::from_str(error).unwrap()))
    }

    #[test]
    fn revert_data_is_found_by_code_and_data_not_by_text() {
        let reverted = Error::Reverted(Bytes::from_static(&[0xab, 0xcd]));
        for error in [
            r#"{"code":3,"message":"whatever","data":"0xabcd"}"#,
            r#"{"code":-32015,"message":"VM execution error.","data":"Reverted 0xabcd"}"#,
            r#"{"code":-32000,"message":"m","data":{"data":"0xabcd"}}"#,
            r#"{"code":-32000,"message":"m","data":{"message":"x","data":{"data":"0xabcd"}}}"#,
        ] {
            assert_eq!(answered(error), reverted, "{error}");
        }
        assert_eq!(answered(r#"{"code":3,"message":""}"#), Error::Reverted(Bytes::new()));
        let other = answered(r#"{"code":-32000,"message":"execution reverted"}"#);
        assert_eq!(other, Error::Refused { code: -32000, message: "execution reverted".to_owned() });
    }

    #[test]
    fn busy_endpoints_are_transient_and_refusals_are_not() {
        assert!(answered(r#"{"code":-32005,"message":"limit exceeded"}"#).is_transient());
        assert!(answered(r#"{"code":429,"message":"slow down"}"#).is_transient());
        assert!(!answered(r#"{"code":-32602,"message":"invalid params"}"#).is_transient());
    }

    #[test]
    fn deeply_nested_revert_data_and_long_messages_are_bounded() {
        let nested = (0..100).fold("\"0xab\"".to_owned(), |inner, _| format!("{{\"data\":{inner}}}"));
        let answer = answered(&format!("{{\"code\":-1,\"message\":\"{}\",\"data\":{nested}}}", "x".repeat(10_000)));
        assert_eq!(answer, Error::Refused { code: -1, message: "x".repeat(256) });
    }
}
