//! Properties of the shared types, and golden encodings: a change of one is a change of the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

use alloy_primitives::{Address, B256, Bytes, address, b256, hex};
use eigenshift_types::frame::{self, FrameError};
use eigenshift_types::{
    AvsId, Bitmap, BlockRef, Certificate, ClusterId, Epoch, Join, NodeId, NodeKey, NodeSignature, ResponseEnvelope,
    ResponseKey, Service, SignedJoin, Stake,
};
use proptest::prelude::*;

fn key() -> NodeKey {
    NodeKey::from_seed(&[7; 32])
}

fn service() -> Service {
    Service {
        avs: "price-oracle".parse().unwrap(),
        chain_id: 31_337,
        service_manager: address!("00000000000000000000000000000000000000aa"),
    }
}

fn join() -> Join {
    Join {
        service: service(),
        cluster_id: ClusterId(B256::repeat_byte(1)),
        operator: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        raft_url: "https://127.0.0.1:1".into(),
        http_url: "http://127.0.0.1:2".into(),
        node_key: key().public(),
        block: BlockRef { number: 9, hash: B256::repeat_byte(9) },
        issuer: NodeId(1),
        challenge: B256::repeat_byte(3),
    }
}

fn envelope() -> ResponseEnvelope {
    ResponseEnvelope {
        cluster_id: ClusterId(B256::repeat_byte(1)),
        epoch: Epoch(0),
        node: NodeId(4),
        task: 7,
        assignment_epoch: 2,
        key: ResponseKey::new(b"ecb".to_vec()).unwrap(),
        payload: Bytes::from_static(b"payload"),
        digest: B256::repeat_byte(5),
        extension: Bytes::new(),
        signature: Bytes::from(vec![6; 64]),
        envelope_signature: NodeSignature::default(),
    }
    .signed(&key())
}

fn certificate() -> Certificate {
    Certificate {
        task: 3,
        key: ResponseKey::new(b"k".to_vec()).unwrap(),
        payload: Bytes::from_static(b"p"),
        digest: B256::repeat_byte(1),
        signers: Bitmap::from_fn(9, |position| position != 3),
        signature: Bytes::from(vec![2; 64]),
    }
}

#[test]
fn golden_frame_of_a_certificate() {
    let bytes = frame::encode(1, &certificate());
    let golden = concat!(
        "01a07103d586a47461736b03a36b6579c4016ba77061796c6f6164c40170a6646967657374c420010101010101010101010101010101010101",
        "0101010101010101010101010101a77369676e657273c402f701a97369676e6174757265c440",
        "02020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202",
    );
    assert_eq!(hex::encode(&bytes), golden);
    assert_eq!(frame::decode::<Certificate>(1, &bytes, 1024).unwrap(), certificate());
}

#[test]
fn golden_signing_hash_of_a_join() {
    // Computed with another implementation of EIP-712 (the Python package eth-account).
    assert_eq!(join().signing_hash(), b256!("41683ac058bc6496491ac9ad069277b91dd71a7affdc628deecf539cd5fb4c46"));
}

#[test]
fn a_frame_that_is_not_whole_is_refused() {
    let bytes = frame::encode(1, &certificate());
    assert!(matches!(
        frame::decode::<Certificate>(2, &bytes, 1024),
        Err(FrameError::Version { found: 1, expected: 2 })
    ));
    assert!(matches!(frame::decode::<Certificate>(1, &bytes, 10), Err(FrameError::Length { .. })));
    assert!(matches!(frame::decode::<Certificate>(1, &bytes[..3], 1024), Err(FrameError::Length { .. })));
    for at in 5..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        assert!(matches!(frame::decode::<Certificate>(1, &torn, 1024), Err(FrameError::Checksum)));
    }
}

#[test]
fn an_envelope_is_bound_to_every_field_and_to_its_sender() {
    let good = envelope();
    assert!(good.is_signed_by(&key().public()));
    assert!(!good.is_signed_by(&NodeKey::from_seed(&[8; 32]).public()));
    type Change = fn(&mut ResponseEnvelope);
    let changes: [Change; 9] = [
        |e| e.cluster_id = ClusterId(B256::repeat_byte(2)),
        |e| e.epoch = Epoch(1),
        |e| e.node = NodeId(5),
        |e| e.task = 8,
        |e| e.assignment_epoch = 3,
        |e| e.key = ResponseKey::new(b"other".to_vec()).unwrap(),
        |e| e.payload = Bytes::from_static(b"other"),
        |e| e.digest = B256::ZERO,
        |e| e.extension = Bytes::from_static(b"x"),
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(!changed.is_signed_by(&key().public()));
    }
    let json = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<ResponseEnvelope>(&json).unwrap(), good);
}

#[test]
fn a_join_is_authentic_only_under_its_operators_signature() {
    // anvil's first development key signs for its account.
    let secret = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let signer = k256::ecdsa::SigningKey::from_bytes(&secret.into()).unwrap();
    let sign = |join: &Join| {
        let (signature, recovery) = signer.sign_prehash_recoverable(join.signing_hash().as_slice()).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        Bytes::from(bytes)
    };
    let good = SignedJoin { join: join(), signature: sign(&join()) };
    assert!(good.is_authentic());
    let mut other = good.clone();
    other.join.raft_url.push('9');
    assert!(!other.is_authentic());
    let mut other = good.clone();
    other.join.operator = Address::repeat_byte(1);
    assert!(!other.is_authentic());
    assert!(!SignedJoin { join: join(), signature: Bytes::from_static(b"short") }.is_authentic());
    // The same signature with s negated recovers to the same account, but is a second encoding of it.
    let signature = alloy_primitives::Signature::from_raw(&good.signature).unwrap();
    let order =
        alloy_primitives::U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let malleated = alloy_primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    assert_eq!(malleated.recover_address_from_prehash(&join().signing_hash()).unwrap(), join().operator);
    assert!(!SignedJoin { join: join(), signature: malleated.as_bytes().to_vec().into() }.is_authentic());
}

#[test]
fn a_node_key_never_prints_its_secret() {
    let printed = format!("{:?}", key());
    assert!(printed.contains(&key().public().to_string()));
    assert!(!printed.contains("0707"));
}

#[test]
fn ids_are_checked() {
    for good in ["a", "price-oracle", "a1-"] {
        good.parse::<AvsId>().unwrap();
    }
    for bad in ["", "1a", "A", "a/b", "a b", &"a".repeat(65)] {
        assert!(bad.parse::<AvsId>().is_err(), "{bad:?}");
        assert!(serde_json::from_value::<AvsId>(serde_json::json!(bad)).is_err());
    }
    assert!(ResponseKey::new(Vec::new()).is_err());
    assert!(ResponseKey::new(vec![0; 65]).is_err());
    assert!(Stake::new(1 << 96).is_none());
    assert!(serde_json::from_str::<Stake>("\"79228162514264337593543950336\"").is_err());
}

proptest! {
    #[test]
    fn a_bitmap_holds_what_it_was_given(present in proptest::collection::vec(any::<bool>(), 0..80)) {
        let bitmap = Bitmap::from_fn(present.len(), |position| present[position]);
        prop_assert!(bitmap.fits(present.len()));
        prop_assert_eq!(bitmap.count(), present.iter().filter(|bit| **bit).count());
        for (position, bit) in present.iter().enumerate() {
            prop_assert_eq!(bitmap.contains(position), *bit);
        }
        prop_assert!(!bitmap.fits(present.len() + 8));
    }

    #[test]
    fn the_integer_rule_is_eigenlayers(signed in 0_u128..1 << 96, total in 0_u128..1 << 96, percent in 0_u8..=100) {
        let (signed, total) = (Stake::new(signed).unwrap(), Stake::new(total).unwrap());
        let wide = |stake: Stake| alloy_primitives::U256::from(stake.get());
        let rule = wide(signed) * alloy_primitives::U256::from(100) >= wide(total) * alloy_primitives::U256::from(percent);
        prop_assert_eq!(signed.reaches(total, percent), rule);
    }

    #[test]
    fn decoding_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame::decode::<Certificate>(1, &bytes, 1024);
        let _ = frame::decode::<ResponseEnvelope>(1, &frame::encode(1, &bytes), 1024);
        let _ = frame::from_canonical::<SignedJoin>(&bytes);
    }
}
