//! BLS12-381's points in both forms. The second opinion is arkworks, which reads the same forms.
#![no_main]

use ark_bls12_381::{G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use ark_serialize::{CanonicalDeserialize, SerializationError};
use eigenshift_bls::bls12381::{PublicKey, Signature};
use eigenshift_bls_fuzz::{point, reads_back};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let keys = [
        point(input, PublicKey::decode, PublicKey::encode, |bytes| {
            is_operators(G1Affine::deserialize_uncompressed(bytes.as_slice()))
        }),
        point(input, PublicKey::decode_compressed, PublicKey::encode_compressed, |bytes| {
            is_operators(G1Affine::deserialize_compressed(bytes.as_slice()))
        }),
    ];
    for key in keys.into_iter().flatten() {
        reads_back(PublicKey::decode(&key.encode()), &key);
        reads_back(PublicKey::decode_compressed(&key.encode_compressed()), &key);
    }

    let signatures = [
        point(input, Signature::decode, Signature::encode, |bytes| {
            is_operators(G2Affine::deserialize_uncompressed(bytes.as_slice()))
        }),
        point(input, Signature::decode_compressed, Signature::encode_compressed, |bytes| {
            is_operators(G2Affine::deserialize_compressed(bytes.as_slice()))
        }),
    ];
    for signature in signatures.into_iter().flatten() {
        reads_back(Signature::decode(&signature.encode()), &signature);
        reads_back(Signature::decode_compressed(&signature.encode_compressed()), &signature);
    }
});

/// arkworks checks the group but for uncompressed points not the curve, and lets the identity pass.
fn is_operators<P: SWCurveConfig>(point: Result<Affine<P>, SerializationError>) -> bool {
    point.is_ok_and(|point| point.is_on_curve() && !point.is_zero())
}
