//! Accounts and what they sign.

use alloy_primitives::{B256, Signature, address};
use eigenshift_chain::ethereum::anvil::development_wallet;
use eigenshift_chain::{Error, Wallet};
use eigenshift_env::Env;
use eigenshift_types::{AvsId, BlockRef, ClusterId, Join, NodeId, NodePublicKey, Service};

fn join(wallet: &Wallet) -> Join {
    Join {
        service: Service {
            avs: "oracle".parse::<AvsId>().unwrap(),
            chain_id: 1,
            service_manager: address!("00000000000000000000000000000000000000aa"),
        },
        cluster_id: ClusterId::default(),
        operator: wallet.address(),
        raft_url: "https://127.0.0.1:1".to_owned(),
        http_url: "https://127.0.0.1:2".to_owned(),
        node_key: NodePublicKey::default(),
        block: BlockRef::default(),
        issuer: NodeId(1),
        challenge: B256::repeat_byte(1),
    }
}

#[test]
fn a_key_has_the_address_the_world_knows_it_by() {
    // The published first account of the mnemonic "test test .. junk".
    let known = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(development_wallet().unwrap().address(), known);
}

#[test]
fn a_signature_has_low_s_and_recovers_the_account() {
    let wallet = Wallet::random(&Env::real()).unwrap();
    for byte in 0..20 {
        let hash = B256::repeat_byte(byte);
        let bytes = wallet.sign_hash(hash).unwrap();
        assert!(bytes.len() == 65 && matches!(bytes[64], 27 | 28));
        let signature = Signature::from_raw(&bytes).unwrap();
        assert_eq!(signature.normalize_s(), None);
        assert_eq!(signature.recover_address_from_prehash(&hash).unwrap(), wallet.address());
    }
}

#[test]
fn an_account_signs_its_own_joins_only() {
    let env = Env::real();
    let (own, other) = (Wallet::random(&env).unwrap(), Wallet::random(&env).unwrap());
    assert!(own.sign_join(join(&own)).unwrap().is_authentic());
    assert!(matches!(own.sign_join(join(&other)), Err(Error::InvalidInput(_))));
}

#[test]
fn a_bad_key_is_refused_without_being_repeated() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let zero = "0".repeat(64);
    let long = format!("{}00", "ab".repeat(32));
    for text in
        ["", "0x", "secret", &zero, order, &long, "zz00000000000000000000000000000000000000000000000000000000000000"]
    {
        let error = Wallet::from_hex(text).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{text:?}");
        assert!(text.len() < 6 || !error.to_string().contains(text));
    }
    let good = format!(" 0x{}\n", "ab".repeat(32));
    let shown = format!("{:?}", Wallet::from_hex(&good).unwrap());
    assert!(!shown.contains("abababab"), "{shown}");
}
