//! Evidence of two answers, and what is none.

use eigenshift_aggregation::{Answer, Evidence};
use eigenshift_bls::{Curve, SecretKey};
use eigenshift_types::{B256, Bytes, ResponseKey};

use super::{Seeds, number};

pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, curve) in [("bn254", Curve::Bn254), ("bls12381", Curve::Bls12381)] {
        let secret = SecretKey::from_bytes(curve, &number(0x1234)).expect("small numbers are keys");
        let signed = |n| {
            let digest = B256::repeat_byte(n);
            let payload = Bytes::copy_from_slice(&[n]);
            Answer { digest, signature: secret.sign(digest).encode(), payload, extension: Bytes::new() }
        };
        let good = Evidence {
            task: 7,
            key: ResponseKey::new("EUR/USD").expect("it has 1 to 64 bytes"),
            operator: secret.operator_id(),
            curve,
            public_key: secret.public_key().encode(),
            first: signed(1),
            second: signed(2),
        };
        let zeros = Bytes::from(vec![0; good.public_key.len()]);
        let other_curve = if curve == Curve::Bn254 { Curve::Bls12381 } else { Curve::Bn254 };
        let json = good.to_json();
        let wrong = Answer { digest: B256::repeat_byte(3), ..signed(2) };
        for (kind, text) in [
            ("same-digest", Evidence { second: signed(1), ..good.clone() }.to_json()),
            ("wrong-signature", Evidence { second: wrong, ..good.clone() }.to_json()),
            ("zeros-as-key", Evidence { public_key: zeros, ..good.clone() }.to_json()),
            ("empty-key", Evidence { public_key: Bytes::new(), ..good.clone() }.to_json()),
            ("other-curve", Evidence { curve: other_curve, ..good.clone() }.to_json()),
            ("unknown-curve", json.replacen("bls12-381", "p256", 1).replacen("bn254", "p256", 1)),
            ("unknown-member", json.replacen('{', r#"{"extra": 1,"#, 1)),
            ("missing-member", json.replacen(r#""task": 7,"#, "", 1)),
            ("member-twice", json.replacen(r#""task": 7,"#, r#""task": 7, "task": 8,"#, 1)),
            ("good", json),
        ] {
            seeds.push((format!("{name}-{kind}.json"), text.into_bytes()));
        }
    }
    seeds
}
