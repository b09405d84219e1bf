//! Points of whichever curve: the verdict is that of the curve's own decoder. The first byte picks the curve.
#![no_main]

use eigenshift_bls::any::{ContractKey, PublicKey, Signature};
use eigenshift_bls::{Curve, bls12381, bn254};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let curve = if first & 1 == 0 { Curve::Bn254 } else { Curve::Bls12381 };

    let (contract_key, public_key, signature) = match curve {
        Curve::Bn254 => (
            bn254::G1::decode(bytes).map(ContractKey::Bn254),
            bn254::G2::decode(bytes).map(PublicKey::Bn254),
            bn254::G1::decode(bytes).map(Signature::Bn254),
        ),
        Curve::Bls12381 => (
            bls12381::PublicKey::decode(bytes).map(ContractKey::Bls12381),
            bls12381::PublicKey::decode(bytes).map(PublicKey::Bls12381),
            bls12381::Signature::decode(bytes).map(Signature::Bls12381),
        ),
    };
    assert_eq!(ContractKey::decode(curve, bytes), contract_key);
    assert_eq!(PublicKey::decode(curve, bytes), public_key);
    assert_eq!(Signature::decode(curve, bytes), signature);

    if let Ok(key) = contract_key {
        assert_eq!((key.curve(), key.is_identity(), key.encode().as_ref()), (curve, false, bytes));
    }
    if let Ok(key) = public_key {
        assert_eq!((key.curve(), key.is_identity(), key.encode().as_ref()), (curve, false, bytes));
    }
    if let Ok(signature) = signature {
        assert_eq!((signature.curve(), signature.is_identity(), signature.encode().as_ref()), (curve, false, bytes));
    }
});
