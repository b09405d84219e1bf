//! Ethereum endpoints that answer badly, late, too much or over TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use eigenshift_chain::{Chain, Endpoints, Error, EthereumChain, EthereumOptions, LogFilter, SignedTransaction};
use eigenshift_env::Env;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use crate::fake::{Reply, serve};
use crate::world::{PATIENCE, answer_at, price, wallet};

/// A block as endpoints give it.
fn block(number: u64, hash: u8) -> Value {
    let zero = B256::ZERO;
    json!({
        "number": format!("{number:#x}"), "hash": B256::repeat_byte(hash), "parentHash": zero, "sha3Uncles": zero,
        "miner": Address::ZERO, "stateRoot": zero, "transactionsRoot": zero, "receiptsRoot": zero,
        "logsBloom": Bytes::from(vec![0; 256]), "difficulty": "0x0", "gasLimit": "0x1c9c380", "gasUsed": "0x0",
        "timestamp": "0x6553f100", "extraData": "0x", "mixHash": zero, "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x3b9aca00", "size": "0x200", "uncles": [], "transactions": [],
    })
}

/// What a healthy endpoint answers to what [`EthereumChain::connect`] asks.
fn healthy(method: &str) -> Reply {
    match method {
        "eth_chainId" => Reply::Result(json!("0x7a69")),
        _ => Reply::Result(block(100, 1)),
    }
}

/// A chain over an endpoint that is healthy but for `script`.
async fn chain(
    options: EthereumOptions,
    script: impl Fn(&str, &Value) -> Option<Reply> + Send + Sync + 'static,
) -> EthereumChain {
    let address = serve(None, move |method, params| script(method, params).unwrap_or_else(|| healthy(method))).await;
    EthereumChain::connect(&format!("http://{address}"), options, &Env::real()).await.unwrap()
}

fn idle() -> EthereumOptions {
    EthereumOptions {
        poll_interval: Duration::from_secs(3600),
        request_timeout: PATIENCE,
        ..EthereumOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_an_endpoint_alike_shares_one_connection_for_as_long_as_somebody_does() {
    let connected = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&connected);
    let address = serve(None, move |method, _| {
        counted.fetch_add(u64::from(method == "eth_chainId"), Ordering::SeqCst);
        healthy(method)
    })
    .await;
    let (url, env, endpoints) = (format!("http://{address}"), Env::real(), Endpoints::default());
    let connect = |options| endpoints.connect(&url, options, &env);
    let times = || connected.load(Ordering::SeqCst);
    let alike: Vec<_> = futures::future::join_all((0..8).map(|_| connect(idle()))).await;
    assert!(alike.iter().all(Result::is_ok));
    assert_eq!(times(), 1);
    let other = EthereumOptions { max_in_flight: 1, ..idle() };
    let otherwise = connect(other).await.unwrap();
    assert_eq!(times(), 2, "what bounds others would bound this one too");
    drop(alike);
    connect(idle()).await.unwrap();
    assert_eq!(times(), 3, "nobody used the first any more");
    assert_eq!(otherwise.head().await.unwrap().block.number, 100);
    let other_chain = EthereumOptions { chain_id: Some(1), ..idle() };
    assert_eq!(connect(other_chain).await.err(), Some(Error::WrongChain { expected: 1, found: 31337 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_limit_is_cut_off() {
    let options = EthereumOptions { max_response_bytes: 64 * 1024, ..idle() };
    let chain = chain(options, |method, _| match method {
        "eth_getTransactionCount" => Some(Reply::Endless),
        "eth_getTransactionReceipt" => Some(Reply::Result(json!("x".repeat(100_000)))),
        _ => None,
    })
    .await;
    let too_large = Error::TooLarge { max: 64 * 1024, unit: "bytes" };
    assert_eq!(chain.transaction_count(Address::ZERO).await, Err(too_large.clone()));
    assert_eq!(chain.receipt(B256::ZERO).await, Err(too_large));
    assert_eq!(chain.head().await.unwrap().block.number, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_passes_is_transient_and_the_rest_is_not() {
    type Case = (&'static str, fn() -> Reply, fn(&Error) -> bool);
    let cases: [Case; 8] = [
        (
            "429",
            || Reply::Status(429, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m"}}"#.into()),
            Error::is_transient,
        ),
        ("503", || Reply::Status(503, "<html>".into()), Error::is_transient),
        ("limit", || Reply::Error(json!({"code": -32005, "message": "limit exceeded"})), Error::is_transient),
        ("401", || Reply::Status(401, "key?".into()), |error| matches!(error, Error::Refused { code: 401, .. })),
        ("302", || Reply::Status(302, "elsewhere".into()), |error| matches!(error, Error::Refused { code: 302, .. })),
        ("noise", || Reply::Status(200, "<html>".into()), |error| matches!(error, Error::Malformed(_))),
        ("type", || Reply::Result(json!({"a": 1})), |error| matches!(error, Error::Malformed(_))),
        (
            "params",
            || Reply::Error(json!({"code": -32602, "message": "m"})),
            |error| matches!(error, Error::Refused { code: -32602, .. }),
        ),
    ];
    for (name, reply, expected) in cases {
        let chain = chain(idle(), move |method, _| (method == "eth_getTransactionCount").then(reply)).await;
        let error = chain.transaction_count(Address::ZERO).await.unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert_eq!(error.is_transient(), matches!(error, Error::Unavailable(_)), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_times_out() {
    let silent = serve(None, |_, _| Reply::Silence).await;
    let options = EthereumOptions { request_timeout: Duration::from_millis(100), ..idle() };
    let outcome = EthereumChain::connect(&format!("http://{silent}/v3/secret-key"), options, &Env::real()).await;
    let error = outcome.map(drop).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_do_not_show_the_access_key() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = EthereumChain::connect(&format!("http://{closed}/v3/secret-key"), idle(), &Env::real()).await;
    let error = outcome.map(drop).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_another_question_are_refused() {
    let feed = Address::repeat_byte(6);
    let chain = chain(idle(), move |method, _| {
        let log = |address: Address, number: u64| {
            json!([{"address": address, "topics": [B256::repeat_byte(8)], "data": "0x", "blockHash": B256::ZERO,
                "blockNumber": format!("{number:#x}"), "transactionHash": B256::ZERO, "transactionIndex": "0x0",
                "logIndex": "0x0", "removed": false}])
        };
        match method {
            "eth_getBlockByNumber" | "eth_getBlockByHash" => Some(Reply::Result(block(100, 1))),
            "eth_getLogs" => Some(Reply::Result(log(feed, 50))),
            "eth_sendRawTransaction" => Some(Reply::Result(json!(B256::repeat_byte(9)))),
            _ => None,
        }
    })
    .await;
    let malformed = |error: Error| assert!(matches!(error, Error::Malformed(_)), "{error:?}");
    malformed(chain.header_by_number(99).await.unwrap_err());
    malformed(chain.header_by_hash(B256::repeat_byte(2)).await.unwrap_err());
    let filter = LogFilter { address: feed, topics0: vec![], from: 40, to: 60 };
    assert_eq!(chain.logs(&filter).await.unwrap().len(), 1);
    malformed(chain.logs(&LogFilter { address: Address::ZERO, ..filter.clone() }).await.unwrap_err());
    malformed(chain.logs(&LogFilter { topics0: vec![B256::ZERO], ..filter.clone() }).await.unwrap_err());
    malformed(chain.logs(&LogFilter { from: 51, ..filter }).await.unwrap_err());
    let transaction = SignedTransaction {
        hash: keccak256([2]),
        raw: Bytes::from_static(&[2]),
        nonce: 0,
        from: Address::ZERO,
        calldata_hash: B256::ZERO,
    };
    malformed(chain.send(&transaction).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_range_of_logs_is_asked_for_in_parts_and_bounded() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let options = EthereumOptions { max_log_range: 10, max_logs: 10, ..idle() };
    let chain = chain(options, move |method, params| {
        let number = |field: &str| u64::from_str_radix(params[0][field].as_str()?.strip_prefix("0x")?, 16).ok();
        if method != "eth_getLogs" {
            return None;
        }
        counter.fetch_add(1, Ordering::SeqCst);
        let (from, to) = (number("fromBlock")?, number("toBlock")?);
        assert!(to - from < 10);
        let log = json!({"address": Address::ZERO, "topics": [], "data": "0x", "blockHash": B256::ZERO,
            "blockNumber": format!("{from:#x}"), "transactionHash": B256::ZERO, "transactionIndex": "0x0",
            "logIndex": "0x0"});
        Some(Reply::Result(json!([log])))
    })
    .await;
    let filter = |from, to| LogFilter { address: Address::ZERO, topics0: vec![], from, to };
    let logs = chain.logs(&filter(11, u64::MAX)).await.unwrap();
    assert_eq!(logs.iter().map(|log| log.block.number).collect::<Vec<_>>(), [11, 21, 31, 41, 51, 61, 71, 81, 91]);
    assert_eq!(asked.load(Ordering::SeqCst), 9, "nothing beyond the newest block");
    assert_eq!(chain.logs(&filter(0, 100)).await, Err(Error::TooLarge { max: 10, unit: "logs" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_at_a_known_block_is_no_unknown_block() {
    let chain = chain(idle(), |method, _| {
        (method == "eth_call").then(|| Reply::Error(json!({"code": -32000, "message": "out of gas"})))
    })
    .await;
    let known = B256::repeat_byte(1);
    let error = chain.call(Address::ZERO, Bytes::new(), known).await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: -32000, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_and_certificates_that_are_none_are_refused() {
    let env = Env::real();
    for url in ["", "localhost:8545", "ftp://127.0.0.1", "ws://127.0.0.1:1", "http://"] {
        let outcome = EthereumChain::connect(url, idle(), &env).await.map(drop);
        assert!(matches!(outcome, Err(Error::InvalidInput(_))), "{url:?}: {outcome:?}");
    }
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let options = EthereumOptions { extra_roots_pem: Some(pem), ..idle() };
    let outcome = EthereumChain::connect("https://127.0.0.1:1", options, &env).await.map(drop);
    assert!(matches!(outcome, Err(Error::InvalidInput(_))), "{outcome:?}");
}

/// A certificate authority of its own, in PEM, and a server for 127.0.0.1 under it.
fn local_authority() -> (String, TlsAcceptor) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (authority_certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test(flavor = "multi_thread")]
async fn https_works_under_a_local_authority_and_not_without_it() {
    let env = Env::real();
    let (authority, tls) = local_authority();
    let address = serve(Some(tls), |method, _| healthy(method)).await;
    let url = format!("https://{address}");
    let trusting = EthereumOptions { extra_roots_pem: Some(authority), ..idle() };
    let chain = EthereumChain::connect(&url, trusting, &env).await.unwrap();
    assert_eq!(chain.head().await.unwrap().block.number, 100);
    let (elsewhere, _) = local_authority();
    let distrusting = EthereumOptions { extra_roots_pem: Some(elsewhere), ..idle() };
    let outcome = EthereumChain::connect(&url, distrusting, &env).await.map(drop);
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_outbids_although_the_base_fee_fell() {
    let base_fee = Arc::new(AtomicU64::new(100_000_000_000));
    let current = Arc::clone(&base_fee);
    let chain = chain(idle(), move |method, _| match method {
        "eth_getBlockByNumber" => {
            let mut block = block(100, 1);
            block["baseFeePerGas"] = json!(format!("{:#x}", current.load(Ordering::SeqCst)));
            Some(Reply::Result(block))
        }
        "eth_estimateGas" => Some(Reply::Result(json!("0x5208"))),
        "eth_maxPriorityFeePerGas" => Some(Reply::Error(json!({"code": -32601, "message": "no such method"}))),
        _ => None,
    })
    .await;
    let (sender, request) = (wallet(1), price(Address::repeat_byte(4), 1));
    let mut last = max_fee(&chain.prepare(&sender, &request, 0, 0).await.unwrap());
    base_fee.store(1_000_000_000, Ordering::SeqCst);
    for bump in 1..4 {
        let fee = max_fee(&chain.prepare(&sender, &request, 0, bump).await.unwrap());
        assert!(fee * 8 >= last * 9, "bump {bump}: {fee} after {last}");
        last = fee;
    }
    let fresh = max_fee(&chain.prepare(&sender, &request, 1, 0).await.unwrap());
    assert_eq!(fresh, 3_000_000_000, "another nonce starts at today's fee");
}

fn max_fee(transaction: &SignedTransaction) -> u128 {
    use alloy::consensus::{Transaction, TxEnvelope};
    use alloy::eips::eip2718::Decodable2718;
    TxEnvelope::decode_2718_exact(&transaction.raw).unwrap().max_fee_per_gas()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_by_canonical_block_hash() {
    let seen = Arc::new(parking_lot::Mutex::new(Value::Null));
    let record = Arc::clone(&seen);
    let chain = chain(idle(), move |method, params| {
        (method == "eth_call").then(|| {
            *record.lock() = params[1].clone();
            Reply::Error(json!({"code": 3, "message": "", "data": "0x1234"}))
        })
    })
    .await;
    let at = B256::repeat_byte(0x42);
    let reverted = Error::Reverted(Bytes::from_static(&[0x12, 0x34]));
    assert_eq!(answer_at(&chain, Address::ZERO, at).await, Err(reverted));
    assert_eq!(*seen.lock(), json!({"blockHash": at, "requireCanonical": true}));
}
