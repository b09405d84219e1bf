use std::collections::BTreeMap;

use eigenshift_guest::codec::DecodeError;
use eigenshift_guest::{Address, B256, Payload, ResponseKey, U256, abi_payload, json_payload, keccak256, sol};
use serde::{Deserialize, Serialize};

sol! {
    #[derive(Debug, PartialEq)]
    struct Static { uint32 index; uint256 value; }

    #[derive(Debug, PartialEq)]
    struct Dynamic { address who; bytes blob; string[] names; }
}
abi_payload!(Static, Dynamic);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Quote {
    pair: String,
    cents: u64,
    by_source: BTreeMap<String, u64>,
}
json_payload!(Quote);

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(bytes)
}

fn word(hex_digits: &str) -> String {
    format!("{hex_digits:0>64}")
}

#[test]
fn abi_bytes_are_those_of_solidity_abi_encode() {
    let value = Static { index: 7, value: U256::from(256) };
    assert_eq!(hex(&value.encode()), word("7") + &word("100"));
    // A dynamic struct stands behind an offset, as abi.encode(value) puts it.
    let value = Dynamic { who: Address::repeat_byte(0x11), blob: vec![0xab].into(), names: vec![] };
    let expected = word("20")
        + &word(&"11".repeat(20))
        + &word("60")
        + &word("a0")
        + &word("1")
        + &format!("{:0<64}", "ab")
        + &word("0");
    assert_eq!(hex(&value.encode()), expected);
}

#[test]
fn every_codec_returns_what_was_encoded() {
    let value =
        Dynamic { who: Address::repeat_byte(9), blob: vec![1, 2, 3].into(), names: vec!["a".into(), "é".into()] };
    assert_eq!(Dynamic::decode_canonical(&value.encode()), Ok(value));
    let quote = Quote { pair: "EUR/USD".into(), cents: 108, by_source: [("ecb".into(), 108)].into() };
    assert_eq!(Quote::decode_canonical(&quote.encode()), Ok(quote));
    assert_eq!(<()>::decode_canonical(&().encode()), Ok(()));
    assert_eq!(Vec::<u8>::decode_canonical(&[1, 2]), Ok(vec![1, 2]));
}

#[test]
fn another_spelling_of_the_same_value_is_not_canonical() {
    let mut trailing = Static { index: 7, value: U256::from(1) }.encode();
    trailing.extend([0; 32]);
    assert_eq!(Static::decode_canonical(&trailing), Err(DecodeError::NonCanonical));

    // The same value with its dynamic part one word further back.
    let value = Dynamic { who: Address::ZERO, blob: vec![0xab].into(), names: vec![] };
    let canonical = value.encode();
    let mut moved = canonical[..32 * 4].to_vec();
    moved[63 + 32] += 0x20;
    moved[63 + 64] += 0x20;
    moved.extend([0; 32]);
    moved.extend(&canonical[32 * 4..]);
    assert_eq!(Dynamic::decode(&moved).unwrap(), value);
    assert_eq!(Dynamic::decode_canonical(&moved), Err(DecodeError::NonCanonical));

    let spaced = br#"{ "pair":"a","cents":1,"by_source":{} }"#;
    assert_eq!(Quote::decode_canonical(spaced), Err(DecodeError::NonCanonical));
    let reordered = br#"{"cents":1,"pair":"a","by_source":{}}"#;
    assert_eq!(Quote::decode_canonical(reordered), Err(DecodeError::NonCanonical));
}

#[test]
fn hostile_bytes_are_malformed_and_never_a_panic() {
    // A length of 2^255, an offset outside, a cut word, a value too large for its type, and noise.
    let mut huge = Dynamic { who: Address::ZERO, blob: vec![1].into(), names: vec![] }.encode();
    huge[32 * 4] = 0x80;
    let mut outside = Dynamic { who: Address::ZERO, blob: vec![1].into(), names: vec![] }.encode();
    outside[32 * 2] = 0xff;
    for bytes in [&huge[..], &outside[..], &[][..], &[0; 31][..], &[0xff; 96][..]] {
        assert!(matches!(Dynamic::decode_canonical(bytes), Err(DecodeError::Malformed(_))), "{}", hex(bytes));
    }
    assert!(matches!(Static::decode_canonical(&[0xff; 64]), Err(DecodeError::Malformed(_))));
    for bytes in [&b""[..], b"{", b"null", b"{\"pair\":1}", "[".repeat(100_000).as_bytes()] {
        assert!(matches!(Quote::decode_canonical(bytes), Err(DecodeError::Malformed(_))));
    }
    assert!(<()>::decode(&[0]).is_err());
}

#[test]
fn the_abi_digest_is_the_hash_of_abi_encode() {
    let value = Static { index: 1, value: U256::from(2) };
    let bytes = alloy_primitives::hex::decode(word("1") + &word("2")).unwrap();
    assert_eq!(keccak256(value.encode()), keccak256(bytes));
}

#[test]
fn a_response_key_has_1_to_64_bytes() {
    assert_eq!(ResponseKey::new(vec![]), None);
    assert_eq!(ResponseKey::new(vec![1; 65]), None);
    assert_eq!(ResponseKey::new(vec![1; 64]).unwrap().as_bytes(), &[1; 64]);
    assert_eq!(ResponseKey::single().as_bytes(), b"0");
}

#[test]
fn trimmed_keys_are_never_empty_and_tell_words_apart() {
    assert_eq!(ResponseKey::trimmed(B256::right_padding_from(b"ecb")).as_bytes(), b"ecb");
    assert_eq!(ResponseKey::trimmed(B256::right_padding_from(b"a\0b")).as_bytes(), b"a\0b");
    assert_eq!(ResponseKey::trimmed(B256::repeat_byte(7)).as_bytes(), &[7; 32]);
    assert_eq!(ResponseKey::trimmed(B256::ZERO).as_bytes(), &[0]);
}
