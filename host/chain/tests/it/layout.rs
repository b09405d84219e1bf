//! Random operators with random stakes in random quorums, registered on a chain in this process, over either curve.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::sol;
use eigenshift_bls::{Curve, SecretKey};
use eigenshift_chain::{TransactionRequest, Wallet, registry};
use eigenshift_types::{BlockRef, OperatorId, OperatorRecord, Stake};
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};

use crate::world::{OPERATOR_REGISTRY, OPERATOR_REGISTRY_12381, World};

/// More than either registry's `register` and `setStakes` of three quorums take.
const REGISTER_GAS: u64 = 600_000;
const STAKE_GAS: u64 = 1_000_000;

/// One operator.
pub struct Member {
    pub wallet: Wallet,
    pub secret: SecretKey,
    pub id: OperatorId,
    /// Stakes in the layout's quorums at [`Enrolled::before`].
    pub before: Vec<Stake>,
    /// Stakes at [`Enrolled::reference`].
    pub stakes: Vec<Stake>,
    /// Stakes at [`Enrolled::head`].
    pub after: Vec<Stake>,
}

impl Member {
    /// What a set says of it.
    pub fn record(&self, stakes: Vec<Stake>) -> OperatorRecord {
        let g2 = match self.secret.curve() {
            Curve::Bn254 => self.secret.public_key().encode(),
            Curve::Bls12381 => Bytes::new(),
        };
        let g1 = self.secret.contract_key().encode();
        OperatorRecord { id: self.id, address: self.wallet.address(), g1, g2, stakes }
    }
}

/// Operators before they are on a chain.
pub struct Layout {
    pub seed: u64,
    pub curve: Curve,
    /// Ascending.
    pub quorums: Vec<u8>,
    pub members: Vec<Member>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} operators, quorums {:?}", self.seed, self.members.len(), self.quorums)?;
        for member in &self.members {
            let numbers = |stakes: &[Stake]| stakes.iter().map(|stake| stake.get()).collect::<Vec<_>>();
            let (before, stakes, after) = (numbers(&member.before), numbers(&member.stakes), numbers(&member.after));
            writeln!(f, "  {}: {before:?}, then {stakes:?}, then {after:?}", member.id.0)?;
        }
        Ok(())
    }
}

pub fn secret(curve: Curve, rng: &mut StdRng) -> SecretKey {
    SecretKey::generate(curve, |bytes| rng.fill(bytes))
}

fn stake(rng: &mut StdRng) -> Stake {
    let value = match rng.random_range(0..6) {
        0 | 1 => 0,
        2 => 1,
        3 => rng.random_range(1..=10),
        // So that the sum of all fits.
        4 => Stake::MAX.get() / 64,
        _ => rng.random_range(1..=Stake::MAX.get() / 64),
    };
    Stake::new(value).unwrap()
}

/// The same stakes but for some.
fn changed(stakes: &[Stake], rng: &mut StdRng) -> Vec<Stake> {
    stakes.iter().map(|old| if rng.random_bool(0.1) { stake(rng) } else { *old }).collect()
}

impl Layout {
    /// Draws so many operators in so many quorums, each of which somebody has stake in at the reference block.
    pub fn draw(curve: Curve, operators: usize, quorums: usize, seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut numbers: Vec<u8> =
            index::sample(rng, 256, quorums).into_iter().map(|n| n.try_into().unwrap()).collect();
        numbers.sort_unstable();
        let mut members: Vec<Member> = Vec::new();
        for _ in 0..operators {
            let stakes: Vec<Stake> = (0..quorums).map(|_| stake(rng)).collect();
            let (before, after) = (changed(&stakes, rng), changed(&stakes, rng));
            let wallet = Wallet::from_bytes(&rng.random()).unwrap();
            let secret = secret(curve, rng);
            members.push(Member { wallet, id: secret.operator_id(), secret, before, stakes, after });
        }
        for quorum in 0..quorums {
            if members.iter().all(|member| member.stakes[quorum] == Stake::default()) {
                members[0].stakes[quorum] = Stake::new(1).unwrap();
            }
        }
        Self { seed, curve, quorums: numbers, members }
    }

    pub fn accounts(&self) -> impl Iterator<Item = Address> {
        self.members.iter().map(|member| member.wallet.address())
    }

    /// Deploys a registry, registers everybody and sets the stakes, in few blocks.
    pub async fn enrol(self, world: &World) -> Enrolled {
        let registry = deploy(world, self.curve).await;
        let allow = registry::allow_calldata(&self.accounts().collect::<Vec<_>>());
        world.batch(vec![(&world.owner, TransactionRequest::call(registry, allow))]).await;

        let at = world.head().await.hash;
        let mut registrations = Vec::new();
        for member in &self.members {
            let request = registration(world, registry, &member.wallet, &member.secret, at).await;
            registrations.push((&member.wallet, TransactionRequest { gas: Some(REGISTER_GAS), ..request }));
        }
        world.batch(registrations).await;

        let stakes = |old: Option<fn(&Member) -> &Vec<Stake>>, new: fn(&Member) -> &Vec<Stake>| {
            let mut requests = Vec::new();
            for member in self.members.iter().filter(|member| old.is_none_or(|old| old(member) != new(member))) {
                let stakes: Vec<_> = self.quorums.iter().copied().zip(new(member).iter().copied()).collect();
                let data = registry::set_stakes_calldata(member.wallet.address(), &stakes);
                let request = TransactionRequest { gas: Some(STAKE_GAS), ..TransactionRequest::call(registry, data) };
                requests.push((&world.owner, request));
            }
            requests
        };
        world.batch(stakes(None, |member| &member.before)).await;
        let before = world.head().await;
        world.mine().await;
        world.batch(stakes(Some(|member| &member.before), |member| &member.stakes)).await;
        let reference = world.head().await;
        world.mine().await;
        world.batch(stakes(Some(|member| &member.stakes), |member| &member.after)).await;
        // The first one leaves altogether.
        let leave = TransactionRequest::call(registry, registry::deregister_calldata());
        let leave = TransactionRequest { gas: Some(STAKE_GAS), ..leave };
        world.batch(vec![(&self.members[0].wallet, leave)]).await;
        Enrolled { registry, before, reference, head: world.head().await, layout: self }
    }
}

/// Operators on a chain.
#[derive(Debug)]
pub struct Enrolled {
    pub layout: Layout,
    pub registry: Address,
    /// Where the stakes are [`Member::before`].
    pub before: BlockRef,
    /// Where they are [`Member::stakes`].
    pub reference: BlockRef,
    /// Where they are [`Member::after`], and the first operator has left.
    pub head: BlockRef,
}

pub async fn deploy(world: &World, curve: Curve) -> Address {
    let compiled = match curve {
        Curve::Bn254 => OPERATOR_REGISTRY,
        Curve::Bls12381 => OPERATOR_REGISTRY_12381,
    };
    let data = eigenshift_chain::deploy::init_code(compiled).unwrap();
    let receipts =
        world.batch(vec![(&world.owner, TransactionRequest { data, ..TransactionRequest::default() })]).await;
    receipts[0].contract.unwrap()
}

/// The transaction with which an account registers its key.
pub async fn registration(
    world: &World,
    registry: Address,
    wallet: &Wallet,
    secret: &SecretKey,
    at: B256,
) -> TransactionRequest {
    let digest = registry::pubkey_registration_digest(world.chain(), registry, wallet.address(), at).await.unwrap();
    let (proof, key, public) = (secret.sign(digest), secret.contract_key(), secret.public_key());
    TransactionRequest::call(registry, registry::register_calldata(&proof, &key, &public).unwrap())
}

/// `OperatorRegistry`, with points that need not be points.
pub mod bn254 {
    use super::sol;

    sol! {
        struct G1Point { uint256 X; uint256 Y; }
        struct G2Point { uint256[2] X; uint256[2] Y; }
        struct SignatureParams { G1Point[] nonSignerPubkeys; G2Point apkG2; G1Point sigma; }
        function checkSignatures(
            bytes32 digest, bytes quorumNumbers, uint32 referenceBlockNumber, SignatureParams params
        ) external view returns (uint96[] signedStakes, uint96[] totalStakes);
    }
}

/// `OperatorRegistry12381`, with points as bytes that need not be points.
pub mod bls12381 {
    use super::sol;

    sol! {
        struct SignatureParams { bytes[] nonSignerPubkeys; bytes sigma; }
        function checkSignatures(
            bytes32 digest, bytes quorumNumbers, uint32 referenceBlockNumber, SignatureParams params
        ) external view returns (uint96[] signedStakes, uint96[] totalStakes);
        function register(bytes signature, bytes pubkey) external;
    }
}

/// Errors of the registries and of what they use.
const ERRORS: [&str; 20] = [
    "NotAllowed(address)",
    "AlreadyRegistered(address)",
    "NotRegistered(address)",
    "ZeroPubkey()",
    "NotOnCurve()",
    "PubkeyTaken(bytes32,address)",
    "InvalidProofOfPossession()",
    "LengthMismatch(uint256,uint256)",
    "InvalidReferenceBlock(uint32,uint256)",
    "EmptyQuorum(uint8)",
    "NonSignersNotAscending()",
    "UnknownNonSigner(bytes32)",
    "NoSigners()",
    "InvalidSignature()",
    "NoQuorums()",
    "QuorumsNotAscending()",
    "InvalidEncoding()",
    "PointOperationFailed()",
    "PairingFailed()",
    "HashToCurveFailed()",
];

/// The name of the error that a contract reverted with.
pub fn error_name(data: &[u8]) -> &'static str {
    let selector = |signature: &&str| data.starts_with(&alloy_primitives::keccak256(signature)[..4]);
    let signature = ERRORS.into_iter().find(selector).unwrap_or("another error()");
    signature.split_once('(').unwrap().0
}
