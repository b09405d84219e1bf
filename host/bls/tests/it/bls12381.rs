//! BLS12-381 as others have it.

use eigenshift_bls::bls12381::{PublicKey, SecretKey, Signature, operator_id};
use eigenshift_bls::{Curve, DecodeError, any};
use eigenshift_types::{B256, keccak256};

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// The key of EIP-2335's test vectors.
#[test]
fn the_public_key_of_a_known_secret_is_known() {
    let secret =
        SecretKey::from_bytes(&bytes("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")).unwrap();
    let expected: [u8; 48] =
        bytes("9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07");
    assert_eq!(secret.public_key().encode_compressed(), expected);
    assert_eq!(PublicKey::decode_compressed(&expected), Ok(secret.public_key()));
    assert_eq!(operator_id(&secret.public_key()).0, keccak256(secret.public_key().encode()));
}

/// A case of the consensus specification's `bls/sign`.
#[test]
fn the_signature_of_a_known_secret_is_known() {
    let secret =
        SecretKey::from_bytes(&bytes("263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3")).unwrap();
    let signature = secret.sign(B256::ZERO);
    let expected: [u8; 96] = bytes(concat!(
        "b6ed936746e01f8ecf281f020953fbf1f01debd5657c4a383940b020b26507f6076334f91e2366c96e9ab279fb515809",
        "0352ea1c5b0c9274504f4f0e7053af24802e51e4568d164fe986834f41e55c8e850ce1f98458c0cfc9ab380b55285a55"
    ));
    assert_eq!(signature.encode_compressed(), expected);
    assert_eq!(Signature::decode_compressed(&expected), Ok(signature));
}

#[test]
fn a_proof_of_possession_is_of_its_own_key_and_is_no_signature() {
    let (own, other) = (SecretKey::from_bytes(&[7; 32]).unwrap(), SecretKey::from_bytes(&[8; 32]).unwrap());
    let proof = own.prove_possession();
    assert!(own.public_key().is_possessed(&proof));
    assert!(!other.public_key().is_possessed(&proof));
    assert!(!own.public_key().is_possessed(&other.prove_possession()));
    assert!(!own.public_key().is_possessed(&own.sign(keccak256(own.public_key().encode_compressed()))));
}

#[test]
fn points_outside_the_group_are_refused_and_said_to_be() {
    // x = 0 is on the curve (y^2 = 4) and not in the prime-order group.
    let mut key = [0; 96];
    key[95] = 2;
    assert_eq!(PublicKey::decode(&key), Err(DecodeError::NotInSubgroup));
    key[95] = 3;
    assert_eq!(PublicKey::decode(&key), Err(DecodeError::NotOnCurve));
    // The modulus as a coordinate.
    let modulus: [u8; 48] =
        bytes("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab");
    key[..48].copy_from_slice(&modulus);
    assert_eq!(PublicKey::decode(&key), Err(DecodeError::NotCanonical));
    // A compressed point where an uncompressed one is meant.
    let compressed = SecretKey::from_bytes(&[7; 32]).unwrap().public_key().encode_compressed();
    assert_eq!(PublicKey::decode(&compressed), Err(DecodeError::Length { expected: 96, found: 48 }));
    let mut long = [0; 96];
    long[..48].copy_from_slice(&compressed);
    assert_eq!(PublicKey::decode(&long), Err(DecodeError::NotCanonical));
    let mut identity = [0; 48];
    identity[0] = 0xc0;
    assert_eq!(PublicKey::decode_compressed(&identity), Err(DecodeError::Identity));
    identity[47] = 1;
    assert_eq!(PublicKey::decode_compressed(&identity), Err(DecodeError::NotCanonical));
}

#[test]
fn a_secret_is_below_the_group_order_and_not_zero() {
    let order = bytes("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001");
    for refused in [[0; 32], order, [0xff; 32]] {
        assert_eq!(SecretKey::from_bytes(&refused).map(drop), Err(DecodeError::SecretOutOfRange));
    }
    let secret = SecretKey::from_bytes(&[7; 32]).unwrap();
    assert_eq!(*secret.to_bytes(), [7; 32]);
}

#[test]
fn keys_of_two_curves_have_nothing_in_common() {
    let secrets = [Curve::Bn254, Curve::Bls12381].map(|curve| any::SecretKey::from_bytes(curve, &[7; 32]).unwrap());
    let message = B256::repeat_byte(3);
    let mut batch = Vec::new();
    for key in &secrets {
        for signer in &secrets {
            batch.push((key.public_key(), message, signer.sign(message)));
        }
    }
    assert_eq!(any::verify_each(&batch), [true, false, false, true]);
    let pairs: Vec<_> = batch.iter().map(|(key, _, signature)| (*key, *signature)).collect();
    assert!(!any::verify_sum(message, &pairs) && any::verify_sum(message, &pairs[..1]));
    let matched = secrets.each_ref().map(|secret| (secret.contract_key(), secret.public_key()));
    assert!(any::all_match(&matched));
    assert!(!any::all_match(&[(matched[0].0, matched[1].1)]));
    for secret in &secrets {
        let key = secret.public_key();
        assert_eq!(any::PublicKey::decode(secret.curve(), &key.encode()), Ok(key));
        let sum = any::PublicKey::weighted_sum(secret.curve(), matched.iter().map(|(_, key)| (*key, 1)));
        assert_eq!(sum, key, "what is of another curve adds nothing");
    }
}

/// The generators, as the test vectors of EIP-2537's pairing have them.
#[test]
fn the_precompiles_encoding_of_the_generators_is_known() {
    let one = SecretKey::from_bytes(&B256::with_last_byte(1).0).unwrap().public_key();
    let expected: [u8; 128] = bytes(concat!(
        "0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
        "0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
    ));
    assert_eq!(one.encode_eip2537(), expected);
    assert_eq!(PublicKey::decode_eip2537(&expected), Ok(one));

    let expected: [u8; 256] = bytes(concat!(
        "00000000000000000000000000000000024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8",
        "0000000000000000000000000000000013e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e",
        "000000000000000000000000000000000ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801",
        "000000000000000000000000000000000606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be",
    ));
    let generator: [u8; 96] = bytes(concat!(
        "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e",
        "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8",
    ));
    let generator = Signature::decode_compressed(&generator).unwrap();
    assert_eq!(generator.encode_eip2537(), expected);
    assert_eq!(Signature::decode_eip2537(&expected), Ok(generator));
}

#[test]
fn the_precompiles_encoding_is_strict() {
    let secret = SecretKey::from_bytes(&[7; 32]).unwrap();
    let (key, signature) = (secret.public_key(), secret.sign(B256::ZERO));
    assert_eq!(PublicKey::decode_eip2537(&key.encode_eip2537()), Ok(key));
    assert_eq!(Signature::decode_eip2537(&signature.encode_eip2537()), Ok(signature));

    for found in [0, 96, 127, 129, 256] {
        let length = Err(DecodeError::Length { expected: 128, found });
        assert_eq!(PublicKey::decode_eip2537(&vec![0; found]), length);
        assert_eq!(PublicKey::decode_eip2537_or_identity(&vec![0; found]), length);
    }
    for found in [0, 128, 192, 255, 257] {
        assert_eq!(Signature::decode_eip2537(&vec![0; found]), Err(DecodeError::Length { expected: 256, found }));
    }
    // One bit anywhere in the padding, or above the modulus' length, where the authors' encoding has its flags.
    let padding = |length: usize| (0..length).filter(|position| position % 64 < 16);
    let tops = |length: usize| (0..length).filter(|position| position % 64 == 16);
    for (position, bit) in
        padding(128).map(|at| (at, 1)).chain(tops(128).flat_map(|at| [(at, 0x80), (at, 0x40), (at, 0x20)]))
    {
        for mut damaged in [key.encode_eip2537(), [0; 128]] {
            damaged[position] |= bit;
            assert_eq!(
                PublicKey::decode_eip2537_or_identity(&damaged),
                Err(DecodeError::NotCanonical),
                "byte {position}"
            );
        }
    }
    for (position, bit) in
        padding(256).map(|at| (at, 1)).chain(tops(256).flat_map(|at| [(at, 0x80), (at, 0x40), (at, 0x20)]))
    {
        for mut damaged in [signature.encode_eip2537(), [0; 256]] {
            damaged[position] |= bit;
            assert_eq!(
                Signature::decode_eip2537_or_identity(&damaged),
                Err(DecodeError::NotCanonical),
                "byte {position}"
            );
        }
    }
    // The modulus as a coordinate, a point off the curve, one outside the group.
    let modulus: [u8; 48] =
        bytes("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab");
    let mut damaged = key.encode_eip2537();
    damaged[16..64].copy_from_slice(&modulus);
    assert_eq!(PublicKey::decode_eip2537(&damaged), Err(DecodeError::NotCanonical));
    let mut damaged = key.encode_eip2537();
    damaged[127] ^= 1;
    assert_eq!(PublicKey::decode_eip2537(&damaged), Err(DecodeError::NotOnCurve));
    let mut damaged = [0; 128];
    damaged[127] = 2;
    assert_eq!(PublicKey::decode_eip2537(&damaged), Err(DecodeError::NotInSubgroup));
    // The imaginary part first, as elsewhere.
    let mut swapped = signature.encode_eip2537();
    swapped[..128].rotate_left(64);
    swapped[128..].rotate_left(64);
    assert_eq!(Signature::decode_eip2537(&swapped), Err(DecodeError::NotOnCurve));
}

#[test]
fn the_precompiles_identity_is_zeros_and_nobodys_key() {
    assert_eq!(PublicKey::identity().encode_eip2537(), [0; 128]);
    assert_eq!(Signature::identity().encode_eip2537(), [0; 256]);
    assert_eq!(PublicKey::decode_eip2537(&[0; 128]), Err(DecodeError::Identity));
    assert_eq!(Signature::decode_eip2537(&[0; 256]), Err(DecodeError::Identity));
    assert_eq!(PublicKey::decode_eip2537_or_identity(&[0; 128]), Ok(PublicKey::identity()));
    assert_eq!(Signature::decode_eip2537_or_identity(&[0; 256]), Ok(Signature::identity()));
}
