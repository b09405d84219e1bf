//! Registration and operator sets, with keys and proofs made by arkworks directly.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use ark_bn254::{Fq, Fr, G1Affine, G1Projective, G2Projective};
use ark_ec::{AffineRepr, CurveGroup, PrimeGroup};
use ark_ff::{BigInteger, Field, PrimeField};
use eigenshift_bls::{ContractKey, Curve, PublicKey, Signature};
use eigenshift_chain::deploy::Setup;
use eigenshift_chain::{Chain, Error, registry};
use eigenshift_types::{BlockRef, OperatorId, OperatorSet, Stake};

use crate::world::{OPERATOR_REGISTRY, PATIENCE, World};

fn coordinate(value: Fq) -> Vec<u8> {
    value.into_bigint().to_bytes_be()
}

fn g1_bytes(point: G1Projective) -> Vec<u8> {
    let point = point.into_affine();
    [coordinate(point.x), coordinate(point.y)].concat()
}

fn g2_bytes(point: G2Projective) -> Vec<u8> {
    let point = point.into_affine();
    [point.x.c1, point.x.c0, point.y.c1, point.y.c0].into_iter().flat_map(coordinate).collect()
}

/// EigenLayer's hash to the curve: from x = digest mod p upwards, the first x on the curve, with y = (x^3+3)^((p+1)/4).
fn hash_to_g1(digest: B256) -> G1Affine {
    let mut exponent = Fq::MODULUS;
    exponent.add_with_carry(&1_u64.into());
    exponent.div2();
    exponent.div2();
    let mut x = Fq::from_be_bytes_mod_order(digest.as_slice());
    loop {
        let square = x * x * x + Fq::from(3_u64);
        let y = square.pow(exponent);
        if y * y == square {
            return G1Affine::new(x, y);
        }
        x += Fq::from(1_u64);
    }
}

struct Key {
    secret: Fr,
}

impl Key {
    fn g1(&self) -> G1Projective {
        G1Projective::generator() * self.secret
    }

    fn registration(&self, digest: B256) -> Bytes {
        let proof = hash_to_g1(digest).into_group() * self.secret;
        let g2 = G2Projective::generator() * self.secret;
        let curve = Curve::Bn254;
        registry::register_calldata(
            &Signature::decode(curve, &g1_bytes(proof)).unwrap(),
            &ContractKey::decode(curve, &g1_bytes(self.g1())).unwrap(),
            &PublicKey::decode(curve, &g2_bytes(g2)).unwrap(),
        )
        .unwrap()
    }
}

async fn head(chain: &dyn Chain) -> BlockRef {
    chain.head().await.unwrap().block
}

pub async fn the_operator_set_is_what_was_registered(world: World) {
    let chain = world.chain();
    let setup = world.setup();
    let registry = setup.deploy(OPERATOR_REGISTRY, &[]).await.unwrap();
    let operators =
        [(&world.owner, Key { secret: Fr::from(11_u64) }), (&world.other, Key { secret: Fr::from(12_u64) })];
    let addresses: Vec<Address> = operators.iter().map(|(wallet, _)| wallet.address()).collect();
    setup.send(registry, registry::allow_calldata(&addresses)).await.unwrap();

    for (wallet, key) in &operators {
        let at = head(chain).await.hash;
        let digest = registry::pubkey_registration_digest(chain, registry, wallet.address(), at).await.unwrap();
        let own = Setup { chain, env: &world.env, wallet, timeout: PATIENCE };
        let forged = own.send(registry, Key { secret: Fr::from(99_u64) }.registration(B256::ZERO)).await;
        assert!(matches!(forged, Err(Error::Reverted(_))), "a proof for another digest: {forged:?}");
        own.send(registry, key.registration(digest)).await.unwrap();
    }
    let stake = |value| Stake::new(value).unwrap();
    let before_stakes = head(chain).await;
    setup
        .send(registry, registry::set_stakes_calldata(addresses[0], &[(0, stake(100)), (2, Stake::MAX)]))
        .await
        .unwrap();
    setup.send(registry, registry::set_stakes_calldata(addresses[1], &[(0, stake(50))])).await.unwrap();
    let full = head(chain).await;

    let set = registry::operator_set(chain, registry, Curve::Bn254, &[0, 2], full).await.unwrap();
    assert_eq!((set.block, set.digest), (full, set.compute_digest()));
    let mut expected: Vec<_> = operators.iter().map(|(wallet, key)| (wallet.address(), g1_bytes(key.g1()))).collect();
    expected.sort_by_key(|(_, g1)| keccak256(g1));
    for (record, (address, g1)) in set.operators.iter().zip(&expected) {
        assert_eq!((record.address, record.id, &record.g1[..]), (*address, OperatorId(keccak256(g1)), &g1[..]));
    }
    assert_eq!(set.operators.len(), 2);
    assert_eq!(set.by_address(addresses[0]).unwrap().stakes, [stake(100), Stake::MAX]);
    assert_eq!(set.by_address(addresses[1]).unwrap().stakes, [stake(50), Stake::default()]);
    assert_eq!(
        set.by_address(addresses[0]).unwrap().g2[..],
        g2_bytes(G2Projective::generator() * Fr::from(11_u64))[..]
    );
    let totals: Vec<_> = set.quorums.iter().map(|quorum| (quorum.number, quorum.total_stake)).collect();
    assert_eq!(totals, [(0, stake(150)), (2, Stake::MAX)]);
    assert_eq!(set.quorums[0].aggregate_g1[..], g1_bytes(operators[0].1.g1() + operators[1].1.g1())[..]);
    assert_eq!(set.quorums[1].aggregate_g1[..], g1_bytes(operators[0].1.g1())[..]);

    sets_are_those_of_their_block(&world, registry, before_stakes, &set).await;
}

async fn sets_are_those_of_their_block(world: &World, registry: Address, before_stakes: BlockRef, set: &OperatorSet) {
    let chain = world.chain();
    let early = registry::operator_set(chain, registry, Curve::Bn254, &[0, 2], before_stakes).await.unwrap();
    assert_eq!(early.operators, [], "nobody had stake then");
    assert_ne!(early.digest, set.digest);

    world.setup().send(registry, registry::deregister_calldata()).await.unwrap();
    let late = head(chain).await;
    let gone = world.owner.address();
    assert!(!registry::is_registered(chain, registry, gone, late.hash).await.unwrap());
    assert!(registry::is_registered(chain, registry, gone, set.block.hash).await.unwrap());
    assert_eq!(registry::operator_set(chain, registry, Curve::Bn254, &[0, 2], late).await.unwrap().operators.len(), 1);
    let again = registry::operator_set(chain, registry, Curve::Bn254, &[0, 2], set.block).await.unwrap();
    assert_eq!(&again, set, "a past set does not change");

    let wrong_number = BlockRef { number: set.block.number + 1, ..set.block };
    let refused = registry::operator_set(chain, registry, Curve::Bn254, &[0, 2], wrong_number).await;
    assert_eq!(refused, Err(Error::UnknownBlock(set.block.hash)));
    for quorums in [&[][..], &[2, 0], &[0, 0]] {
        let refused = registry::operator_set(chain, registry, Curve::Bn254, quorums, late).await;
        assert!(matches!(refused, Err(Error::InvalidInput(_))), "{quorums:?}");
    }
    for curve in [Curve::Bn254, Curve::Bls12381] {
        let elsewhere = registry::operator_set(chain, Address::repeat_byte(5), curve, &[0], late).await;
        assert!(matches!(elsewhere, Err(Error::Malformed(_))), "no contract there: {elsewhere:?}");
    }
    let other_curve = registry::operator_set(chain, registry, Curve::Bls12381, &[0, 2], late).await;
    assert!(matches!(other_curve, Err(Error::Malformed(_))), "a registry of another curve: {other_curve:?}");
}
