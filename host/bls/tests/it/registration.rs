//! Registering a key with EigenLayer's registries.

use eigenshift_bls::bn254::{Coordinator, G1, G2, hash_to_g1, verify};
use eigenshift_types::{Address, keccak256};

use crate::{g1, secret};

fn coordinator(chain_id: u64, address: &str) -> Coordinator {
    Coordinator { chain_id, address: address.parse().unwrap() }
}

struct Known {
    chain_id: u64,
    coordinator: &'static str,
    operator: &'static str,
    digest: &'static str,
    /// What the digest hashes to: the contract's `pubkeyRegistrationMessageHash`.
    point: [&'static str; 2],
    /// The proof by secret 69.
    proof: [&'static str; 2],
}

/// Digests by Python's eth-account (`encode_typed_data`) and, the same, by hashing the parts with pycryptodome; points by
/// py_ecc.
const KNOWN: [Known; 3] = [
    Known {
        chain_id: 31337,
        coordinator: "0x1111111111111111111111111111111111111111",
        operator: "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        digest: "0x8ab2c12b252a6a0e177126e60abdfcffb1b26a4a49577078d8ee16935774367a",
        point: [
            "18958519338579403841455636131565558964654267018060974175091276594375735000045",
            "10151248876826271815664979393434577828585745180701519867975347030067873875471",
        ],
        proof: [
            "6441662553216660819066679765840678233420307307478942112275746683035452765187",
            "9077085366783099561392081217128963563060791304705425418272674218041000469546",
        ],
    },
    Known {
        chain_id: 1,
        coordinator: "0x0baac79acd45a023e19345c352d8a7a83c4e5656",
        operator: "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        digest: "0x3011ab7b673bbdf12c7858dacd6eb4b97e179e66c372a183b2847baa0a969336",
        point: [
            "21742236657668502880702986852111536158907388071754818862918155665199787840311",
            "6119655291083577195627041722934497651747253801234449498448843000491430608188",
        ],
        proof: [
            "2532203991740977510379715269033673110986212567066881865970555036278587534600",
            "19828148346765853085280091624411602576054038187666388778057023402277511178511",
        ],
    },
    Known {
        chain_id: u64::MAX,
        coordinator: "0x0000000000000000000000000000000000000001",
        operator: "0xffffffffffffffffffffffffffffffffffffffff",
        digest: "0x90b64fd90acd188440eb24503ce6769240b5f60298e73da8a650bec8415e71d9",
        point: [
            "21678681707508793077408643022481136717381821053111640407948005888303152002894",
            "3899989246707564398413547898439414288896597028876632955120338010796421992807",
        ],
        proof: [
            "2758564921526888987676808473889282127120350647177558506103129114443298346580",
            "18784064426788981674377580810605876474728133954912777796863398652051409026057",
        ],
    },
];

#[test]
fn digest_point_and_proof_are_those_of_other_libraries() {
    for known in KNOWN {
        let coordinator = coordinator(known.chain_id, known.coordinator);
        let operator: Address = known.operator.parse().unwrap();
        let digest = coordinator.registration_digest(operator);
        assert_eq!(digest.to_string(), known.digest);
        assert_eq!(hash_to_g1(digest), g1(known.point[0], known.point[1]));
        let proof = secret(69).prove_registration(&coordinator, operator);
        assert_eq!(proof, g1(known.proof[0], known.proof[1]));
        assert!(coordinator.is_registration(operator, &proof, &secret(69).g1(), &secret(69).g2()));
    }
}

/// `PUBKEY_REGISTRATION_TYPEHASH`, as contracts have it.
#[test]
fn the_type_is_the_contracts() {
    let hash = keccak256("BN254PubkeyRegistration(address operator)");
    assert_eq!(hash.to_string(), "0x2bd82124057f0913bc3b772ce7b83e8057c1ad1f3510fc83778be20f10ec5de6");
}

#[test]
fn a_proof_is_for_one_operator_at_one_coordinator_on_one_chain_with_one_key() {
    let address = "0x1111111111111111111111111111111111111111";
    let own = coordinator(1, address);
    let (operator, other) = (Address::repeat_byte(2), Address::repeat_byte(3));
    let (key, another) = (secret(7), secret(8));
    let proof = key.prove_registration(&own, operator);
    assert!(own.is_registration(operator, &proof, &key.g1(), &key.g2()));

    let elsewhere = [coordinator(2, address), coordinator(1, "0x1111111111111111111111111111111111111112")];
    assert!(elsewhere.iter().all(|elsewhere| !elsewhere.is_registration(operator, &proof, &key.g1(), &key.g2())));
    assert!(!own.is_registration(other, &proof, &key.g1(), &key.g2()));
    assert!(!own.is_registration(operator, &-proof, &key.g1(), &key.g2()));
    let of_another = another.prove_registration(&own, operator);
    assert!(!own.is_registration(operator, &of_another, &key.g1(), &key.g2()));
    // Keys that do not belong together, either of which is the proof's.
    assert!(!own.is_registration(operator, &proof, &another.g1(), &key.g2()));
    assert!(!own.is_registration(operator, &of_another, &key.g1(), &another.g2()));
    // Nobody's keys.
    assert!(!own.is_registration(operator, &G1::identity(), &G1::identity(), &G2::identity()));
    assert!(!own.is_registration(operator, &G1::identity(), &key.g1(), &key.g2()));
}

#[test]
fn a_proof_is_a_signature_over_the_digest_and_over_nothing_else() {
    let own = coordinator(31337, "0x1111111111111111111111111111111111111111");
    let operator = Address::repeat_byte(2);
    let proof = secret(7).prove_registration(&own, operator);
    assert!(verify(&secret(7).g2(), own.registration_digest(operator), &proof));
    assert!(!verify(&secret(7).g2(), keccak256(operator), &proof));
}
