//! Certificates made here, checked by the contracts: whatever the layout, what is right is taken with the stakes that are
//! computed here, and what is wrong in one thing is refused for that reason.
//!
//! Layouts are drawn from a seed, which is printed; `EIGENSHIFT_TEST_SEED` draws the same again.

use std::collections::BTreeMap;
use std::time::Instant;

use alloy::consensus::TxEnvelope;
use alloy::eips::eip2718::Decodable2718;
use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolCall;
use eigenshift_aggregation::operators::{Operator, assemble};
use eigenshift_aggregation::{CertificateCheck, Operators, TaskQuorums, check_certificate, contract_parts};
use eigenshift_bls::{ContractKey, Curve, SecretKey, Signature, any};
use eigenshift_chain::{Error, TransactionRequest, Wallet, registry};
use eigenshift_env::Env;
use eigenshift_types::{Bitmap, Certificate, OperatorId, Quorums, ResponseKey, Stake, TaskIndex, keccak256};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::layout::{Enrolled, Layout, Member, bls12381, bn254, deploy, error_name, registration, secret};
use crate::world::{Blocks, World};

/// What `checkSignatures` is asked, with points in our own encodings, which need not be points.
#[derive(Clone, Debug)]
struct Question {
    digest: B256,
    quorums: Vec<u8>,
    block: u32,
    non_signers: Vec<Bytes>,
    /// Of BN254 only.
    apk_g2: Bytes,
    sigma: Bytes,
}

/// The numbers of a point, each of so many bytes.
fn numbers(curve: Curve, point: &[u8]) -> std::slice::ChunksExact<'_, u8> {
    point.chunks_exact(match curve {
        Curve::Bn254 => 32,
        Curve::Bls12381 => 48,
    })
}

fn word(bytes: &[u8]) -> U256 {
    U256::from_be_slice(bytes)
}

/// EIP-2537's encoding, made here by hand.
fn eip2537(point: &[u8]) -> Bytes {
    let numbers: Vec<&[u8]> = numbers(Curve::Bls12381, point).collect();
    let order: &[usize] = if numbers.len() == 2 { &[0, 1] } else { &[1, 0, 3, 2] };
    order.iter().flat_map(|at| [&[0; 16], numbers[*at]].concat()).collect::<Vec<u8>>().into()
}

impl Question {
    fn calldata(&self, curve: Curve) -> Bytes {
        let (digest, block) = (self.digest, self.block);
        let quorums = Bytes::copy_from_slice(&self.quorums);
        match curve {
            Curve::Bn254 => {
                let g1 = |point: &Bytes| bn254::G1Point { X: word(&point[..32]), Y: word(&point[32..]) };
                let [xi, xr, yi, yr] = [0, 1, 2, 3].map(|at| word(&self.apk_g2[at * 32..][..32]));
                let params = bn254::SignatureParams {
                    nonSignerPubkeys: self.non_signers.iter().map(g1).collect(),
                    apkG2: bn254::G2Point { X: [xi, xr], Y: [yi, yr] },
                    sigma: g1(&self.sigma),
                };
                bn254::checkSignaturesCall { digest, quorumNumbers: quorums, referenceBlockNumber: block, params }
                    .abi_encode()
            }
            Curve::Bls12381 => {
                let params = bls12381::SignatureParams {
                    nonSignerPubkeys: self.non_signers.iter().map(|key| eip2537(key)).collect(),
                    sigma: eip2537(&self.sigma),
                };
                bls12381::checkSignaturesCall { digest, quorumNumbers: quorums, referenceBlockNumber: block, params }
                    .abi_encode()
            }
        }
        .into()
    }
}

/// (signed, total) stake of each quorum.
type Stakes = Vec<(u128, u128)>;

/// What the contract says: stakes, or the name of the error.
type Verdict = Result<Stakes, &'static str>;

async fn ask(world: &World, enrolled: &Enrolled, question: &Question) -> Verdict {
    let data = question.calldata(enrolled.layout.curve);
    match world.chain().call(enrolled.registry, data, enrolled.head.hash).await {
        Ok(answer) => {
            // The same in both contracts.
            let stakes = bn254::checkSignaturesCall::abi_decode_returns_validate(&answer).unwrap();
            let number = |stake: &alloy_primitives::aliases::U96| stake.to::<u128>();
            Ok(stakes.signedStakes.iter().map(number).zip(stakes.totalStakes.iter().map(number)).collect())
        }
        Err(Error::Reverted(data)) => Err(error_name(&data)),
        Err(error) => panic!("{error}"),
    }
}

/// A layout on its chain, with its operator sets.
struct Scene {
    enrolled: Enrolled,
    operators: Operators,
    /// The set at the block before the stakes changed; none if nobody had any.
    before: Option<Operators>,
}

impl Scene {
    async fn set(world: &World, layout: Layout) -> Self {
        let enrolled = layout.enrol(world).await;
        let at = async |block| {
            let Enrolled { registry, layout, .. } = &enrolled;
            registry::operator_set(world.chain(), *registry, layout.curve, &layout.quorums, block).await.unwrap()
        };
        let (set, before) = (at(enrolled.reference).await, at(enrolled.before).await);
        Self { operators: Operators::from_set(&set).unwrap(), before: Operators::from_set(&before).ok(), enrolled }
    }

    fn curve(&self) -> Curve {
        self.enrolled.layout.curve
    }

    /// Signatures of operators, each as often as said.
    fn sum<'a>(&self, digest: B256, signers: impl IntoIterator<Item = (&'a Operator, u64)>) -> Signature {
        let signed = |(operator, times): (&Operator, u64)| {
            let member = |id: OperatorId| self.enrolled.layout.members.iter().find(|member| member.id == id);
            (member(operator.id).unwrap().secret.sign(digest), times)
        };
        Signature::weighted_sum(self.curve(), signers.into_iter().map(signed))
    }

    /// A certificate of random signers for random quorums, what to ask the contract, and the stakes behind it.
    fn certify(&self, rng: &mut StdRng) -> Case<'_> {
        loop {
            let mut numbers = self.enrolled.layout.quorums.clone();
            numbers.retain(|_| rng.random_bool(0.7));
            let absence = *[0.0, 0.1, 0.4, 0.8].choose(rng).unwrap();
            let signs: Vec<bool> = self.operators.all().iter().map(|_| !rng.random_bool(absence)).collect();
            // None of no quorums, and of too little stake.
            if let Some(case) = self.certify_as(&numbers, |position| signs[position], rng) {
                return case;
            }
        }
    }

    /// The certificate of these quorums and signers, if it is one.
    fn certify_as(&self, numbers: &[u8], signs: impl Fn(usize) -> bool, rng: &mut StdRng) -> Option<Case<'_>> {
        let thresholds = numbers.iter().map(|_| rng.random_range(1..=30)).collect();
        let quorums = Quorums { numbers: numbers.to_vec(), thresholds };
        let resolved = TaskQuorums::resolve(&self.operators, &quorums).ok()?;
        let (mut signers, mut non_signers) = (Vec::new(), Vec::new());
        let mut bits = vec![false; self.operators.len()];
        for (position, operator) in self.operators.all().iter().enumerate() {
            match resolved.multiplicity(operator) {
                0 => {}
                times if signs(position) => {
                    bits[position] = true;
                    signers.push((operator, times));
                }
                times => non_signers.push((operator, times)),
            }
        }
        let digest = B256::from(rng.random::<[u8; 32]>());
        let certificate = Certificate {
            task: TaskIndex::default(),
            key: ResponseKey::new(b"key".to_vec()).unwrap(),
            payload: Bytes::new(),
            digest,
            signers: Bitmap::from_fn(bits.len(), |position| bits[position]),
            signature: self.sum(digest, signers.iter().copied()).encode(),
        };
        let parts = contract_parts(&self.operators, &quorums, &certificate).ok()?;
        let check = check_certificate(&self.operators, &quorums, &certificate).unwrap();
        assert!(check.verifies(), "{:?}", self.enrolled);
        let question = Question {
            digest,
            quorums: parts.quorums,
            block: self.enrolled.reference.number.try_into().unwrap(),
            non_signers: parts.non_signers,
            apk_g2: parts.signers_aggregate_key,
            sigma: parts.signature,
        };
        Some(Case { scene: self, quorums, signers, non_signers, question, check })
    }
}

/// A question that the contract answers with the stakes.
struct Case<'a> {
    scene: &'a Scene,
    quorums: Quorums,
    /// With the number of the task's quorums each has stake in.
    signers: Vec<(&'a Operator, u64)>,
    non_signers: Vec<(&'a Operator, u64)>,
    question: Question,
    check: CertificateCheck,
}

impl Case<'_> {
    fn stakes(&self) -> Stakes {
        self.check.stakes.iter().map(|(signed, total)| (signed.get(), total.get())).collect()
    }

    /// The sum of what each signer's contract key is worth in the task.
    fn signers_key(&self) -> ContractKey {
        let keys = self.signers.iter().map(|(operator, times)| (operator.contract_key, *times));
        ContractKey::weighted_sum(self.scene.curve(), keys)
    }

    /// What is right at the block before the stakes changed, where signers may have been in other quorums.
    fn verdict_before(&self) -> Verdict {
        let Some(before) = &self.scene.before else { return Err("EmptyQuorum") };
        let Ok(resolved) = TaskQuorums::resolve(before, &self.quorums) else { return Err("EmptyQuorum") };
        let absent = |operator: &Operator| self.question.non_signers.contains(&operator.contract_key.encode());
        let present: Vec<&Operator> = before.all().iter().filter(|operator| !absent(operator)).collect();
        let keys = present.iter().map(|operator| (operator.contract_key, resolved.multiplicity(operator)));
        let key = ContractKey::weighted_sum(self.scene.curve(), keys);
        if key.is_identity() {
            return Err("NoSigners");
        }
        if key != self.signers_key() {
            return Err("InvalidSignature");
        }
        let stakes = self.quorums.numbers.iter().map(|number| {
            let position = before.quorum_position(*number).unwrap();
            let signed = present.iter().map(|operator| operator.stakes[position].get()).sum();
            (signed, before.quorums()[position].total.get())
        });
        Ok(stakes.collect())
    }

    /// Puts a key among the non-signers, where its id belongs.
    fn with_non_signer(&self, key: Bytes) -> Question {
        let mut question = self.question.clone();
        question.non_signers.push(key);
        question.non_signers.sort_by_key(|key| keccak256(key));
        question
    }
}

/// One thing that is wrong, and the errors of which the contract must give one; none where it cannot be done.
type Tampering = fn(&Case<'_>, &mut StdRng) -> Option<(Question, Verdict)>;

const TAMPERINGS: [(&str, Tampering); 27] = [
    ("a bit of the digest", |case, rng| {
        let mut question = case.question.clone();
        question.digest.0[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
        // EigenLayer's hash takes the next x that is on the curve: half of all digests share theirs with the next one, so
        // the lowest bit may not matter. Then it does not matter here either.
        let same = any::verify(&case.check.aggregate_key, question.digest, &case.check.signature);
        Some((question, if same { Ok(case.stakes()) } else { Err("InvalidSignature") }))
    }),
    ("a signature of another digest", |case, rng| {
        let other = B256::from(rng.random::<[u8; 32]>());
        let sigma = case.scene.sum(other, case.signers.iter().copied()).encode();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("somebody else's signature", |case, rng| {
        let sigma = secret(case.scene.curve(), rng).sign(case.question.digest).encode();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("the signature negated", |case, _| {
        let sigma = negated(case.scene.curve(), &case.question.sigma);
        assert!(Signature::decode(case.scene.curve(), &sigma).is_ok());
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("a signature off the curve", |case, _| {
        let mut sigma = case.question.sigma.to_vec();
        *sigma.last_mut().unwrap() ^= 1;
        let error = by_curve(case, "NotOnCurve", "PairingFailed");
        Some((Question { sigma: sigma.into(), ..case.question.clone() }, Err(error)))
    }),
    ("a second encoding of the signature", |case, rng| {
        let sigma = second_encoding(case.scene.curve(), &case.question.sigma, rng);
        let error = by_curve(case, "NotOnCurve", "InvalidEncoding");
        Some((Question { sigma, ..case.question.clone() }, Err(error)))
    }),
    ("the identity as signature", |case, _| {
        let sigma = vec![0; case.question.sigma.len()].into();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("a signature outside the group", |case, _| {
        // Of BN254's G1 there is no other point.
        let sigma = (case.scene.curve() == Curve::Bls12381).then(outside_the_group)?;
        Some((Question { sigma, ..case.question.clone() }, Err("PairingFailed")))
    }),
    ("a signer's signature left out", |case, rng| {
        let mut signers = case.signers.clone();
        signers.remove(rng.random_range(0..signers.len()));
        let sigma = case.scene.sum(case.question.digest, signers);
        // Zeros in the contracts, in either encoding of the identity.
        let sigma = if sigma.is_identity() { vec![0; sigma.encode().len()].into() } else { sigma.encode() };
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("a non-signer's signature added", |case, rng| {
        let mut signers = case.signers.clone();
        signers.push(*case.non_signers.choose(rng)?);
        let sigma = case.scene.sum(case.question.digest, signers).encode();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("every signature added once, of members of more quorums too", |case, _| {
        case.signers.iter().find(|(_, times)| *times > 1)?;
        let once = case.signers.iter().map(|(operator, _)| (*operator, 1));
        let sigma = case.scene.sum(case.question.digest, once).encode();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("the signature of one member of more quorums added once", |case, _| {
        let mut signers = case.signers.clone();
        signers.iter_mut().find(|(_, times)| *times > 1)?.1 = 1;
        let sigma = case.scene.sum(case.question.digest, signers).encode();
        Some((Question { sigma, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("another key in G2", |case, rng| {
        let other = secret(Curve::Bn254, rng).public_key().encode();
        let apk_g2 = (case.scene.curve() == Curve::Bn254).then_some(other)?;
        Some((Question { apk_g2, ..case.question.clone() }, Err("InvalidSignature")))
    }),
    ("a key in G2 off the curve", |case, _| {
        let mut apk_g2 = (case.scene.curve() == Curve::Bn254).then(|| case.question.apk_g2.to_vec())?;
        *apk_g2.last_mut()? ^= 1;
        Some((Question { apk_g2: apk_g2.into(), ..case.question.clone() }, Err("PairingFailed")))
    }),
    ("a non-signer dropped", |case, rng| {
        let mut question = case.question.clone();
        let dropped = (!question.non_signers.is_empty()).then(|| rng.random_range(0..question.non_signers.len()))?;
        question.non_signers.remove(dropped);
        Some((question, Err("InvalidSignature")))
    }),
    ("a signer among the non-signers", |case, rng| {
        let (signer, _) = case.signers.choose(rng)?;
        let error = if case.signers.len() == 1 { "NoSigners" } else { "InvalidSignature" };
        Some((case.with_non_signer(signer.contract_key.encode()), Err(error)))
    }),
    ("a non-signer twice", |case, rng| {
        let twice = case.question.non_signers.choose(rng)?;
        Some((case.with_non_signer(twice.clone()), Err("NonSignersNotAscending")))
    }),
    ("non-signers out of order", |case, rng| {
        let mut question = case.question.clone();
        let last = question.non_signers.len().checked_sub(2)?;
        let at = rng.random_range(0..=last);
        question.non_signers.swap(at, at + 1);
        Some((question, Err("NonSignersNotAscending")))
    }),
    ("an unknown non-signer", |case, rng| {
        let key = secret(case.scene.curve(), rng).contract_key().encode();
        Some((case.with_non_signer(key), Err("UnknownNonSigner")))
    }),
    ("the identity among the non-signers", |case, _| {
        let length = case.scene.operators.all()[0].contract_key.encode().len();
        Some((case.with_non_signer(vec![0; length].into()), Err("UnknownNonSigner")))
    }),
    ("a second encoding of a signer's key among the non-signers", |case, rng| {
        let (signer, _) = case.signers.choose(rng)?;
        let key = second_encoding(case.scene.curve(), &signer.contract_key.encode(), rng);
        Some((case.with_non_signer(key), Err(by_curve(case, "UnknownNonSigner", "InvalidEncoding"))))
    }),
    ("a quorum dropped", |case, rng| {
        let mut question = case.question.clone();
        question.quorums.remove(rng.random_range(0..question.quorums.len()));
        let error = if question.quorums.is_empty() { "NoQuorums" } else { "InvalidSignature" };
        Some((question, Err(error)))
    }),
    ("a quorum added", |case, _| {
        let mut question = case.question.clone();
        let free = |number: &u8| !question.quorums.contains(number);
        let layout = &case.scene.enrolled.layout;
        let added = layout.quorums.iter().copied().find(free);
        let verdict = match added {
            Some(number) => {
                let position = case.scene.operators.quorum_position(number)?;
                let signs = |operator: &&Operator| {
                    operator.stakes[position] != Stake::default()
                        && !question.non_signers.contains(&operator.contract_key.encode())
                };
                // Where nobody signs, the quorum changes nothing, and the contract says so: signed stake 0.
                case.scene.operators.all().iter().find(signs)?;
                Err("InvalidSignature")
            }
            None => Err("EmptyQuorum"),
        };
        question.quorums.push(added.or_else(|| (0..=u8::MAX).find(free))?);
        question.quorums.sort_unstable();
        Some((question, verdict))
    }),
    ("a quorum twice, or out of order", |case, rng| {
        let mut question = case.question.clone();
        match question.quorums.len() {
            1 => question.quorums.push(question.quorums[0]),
            _ if rng.random::<bool>() => question.quorums.reverse(),
            _ => question.quorums.insert(0, question.quorums[0]),
        }
        Some((question, Err("QuorumsNotAscending")))
    }),
    ("a reference block before the stakes changed", |case, _| {
        let block = case.scene.enrolled.before.number.try_into().ok()?;
        Some((Question { block, ..case.question.clone() }, case.verdict_before()))
    }),
    ("a reference block before there were stakes", |case, _| {
        Some((Question { block: 0, ..case.question.clone() }, Err("EmptyQuorum")))
    }),
    ("a reference block that is not past", |case, rng| {
        let head: u32 = case.scene.enrolled.head.number.try_into().ok()?;
        let block = *[head, head + 1, u32::MAX].choose(rng)?;
        Some((Question { block, ..case.question.clone() }, Err("InvalidReferenceBlock")))
    }),
];

fn by_curve<T>(case: &Case<'_>, bn254: T, bls12381: T) -> T {
    match case.scene.curve() {
        Curve::Bn254 => bn254,
        Curve::Bls12381 => bls12381,
    }
}

fn modulus(curve: Curve) -> Vec<u8> {
    let decimal_free = match curve {
        Curve::Bn254 => "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47",
        Curve::Bls12381 => {
            "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab"
        }
    };
    alloy_primitives::hex::decode(decimal_free).unwrap()
}

/// Two numbers of one length, digit by digit, with what does not fit dropped.
fn by_digits(a: &[u8], b: &[u8], operation: fn(i32, i32) -> i32) -> Vec<u8> {
    let mut carry = 0;
    let mut digits = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let digit = operation(i32::from(*a), i32::from(*b)) + carry;
        digits.push(u8::try_from(digit.rem_euclid(256)).unwrap());
        carry = digit.div_euclid(256);
    }
    assert_eq!(carry, 0);
    digits.into_iter().rev().collect()
}

/// The point with y subtracted from the modulus.
fn negated(curve: Curve, point: &[u8]) -> Bytes {
    let (x, y) = point.split_at(point.len() / 2);
    let y = numbers(curve, y).flat_map(|number| by_digits(&modulus(curve), number, |a, b| a - b));
    x.iter().copied().chain(y).collect::<Vec<u8>>().into()
}

/// The point with the modulus added to one of its numbers.
fn second_encoding(curve: Curve, point: &[u8], rng: &mut StdRng) -> Bytes {
    let mut parts: Vec<Vec<u8>> = numbers(curve, point).map(<[u8]>::to_vec).collect();
    let part = rng.random_range(0..parts.len());
    parts[part] = by_digits(&parts[part], &modulus(curve), |a, b| a + b);
    parts.concat().into()
}

/// A point of BLS12-381's second curve that is in no group of prime order: almost all are such.
fn outside_the_group() -> Bytes {
    let mut compressed = [0; 96];
    compressed[0] = 0x80;
    let point = (1..=u8::MAX).find_map(|x| {
        compressed[95] = x;
        blst::min_pk::Signature::uncompress(&compressed).ok()
    });
    let point = point.unwrap();
    assert!(!point.subgroup_check());
    Bytes::copy_from_slice(&point.serialize())
}

fn seed() -> u64 {
    let drawn = || StdRng::from_seed(Env::real().random_32()).random();
    let seed = std::env::var("EIGENSHIFT_TEST_SEED").map_or_else(|_| drawn(), |text| text.parse().unwrap());
    println!("EIGENSHIFT_TEST_SEED={seed}");
    seed
}

/// Layouts of so many operators each, and a chain on which all of them have funds.
async fn world_of(curve: Curve, sizes: &[usize], seed: u64) -> (World, Vec<Layout>) {
    let draw = |(number, size): (u64, &usize)| {
        let seed = seed.wrapping_add(number);
        // Of one, two and three quorums in turn.
        let quorums = usize::try_from(number % 3).unwrap() + 1;
        Layout::draw(curve, *size, quorums, seed)
    };
    let layouts: Vec<Layout> = (0..).zip(sizes).map(draw).collect();
    let world = World::embedded_with(Blocks::OnDemand, layouts.iter().flat_map(Layout::accounts)).await;
    (world, layouts)
}

/// Asks about `cases` certificates of each layout, and about all that can be done wrong with every `tampered`th.
async fn the_contract_agrees(curve: Curve, sizes: &[usize], cases: usize, tampered: usize) {
    let (seed, started) = (seed(), Instant::now());
    let mut rng = StdRng::seed_from_u64(seed);
    let (world, layouts) = world_of(curve, sizes, seed).await;
    let (mut taken, mut setting_up) = (0, started.elapsed());
    let mut tamperings = BTreeMap::new();
    for layout in layouts {
        let begun = Instant::now();
        let scene = Scene::set(&world, layout).await;
        setting_up += begun.elapsed();
        for number in 0..cases {
            let case = scene.certify(&mut rng);
            let verdict = ask(&world, &scene.enrolled, &case.question).await;
            let about = |what: &str, question: &Question| {
                format!("{what}, case {number} of {:?}\n{question:?}\n{:?}", scene.enrolled, case.quorums)
            };
            assert_eq!(verdict, Ok(case.stakes()), "{}", about("nothing is wrong", &case.question));
            taken += 1;
            if number % tampered != 0 {
                continue;
            }
            for (what, tamper) in TAMPERINGS {
                let Some((question, expected)) = tamper(&case, &mut rng) else { continue };
                let verdict = ask(&world, &scene.enrolled, &question).await;
                assert_eq!(verdict, expected, "{}", about(what, &question));
                *tamperings.entry(what).or_insert(0) += 1;
            }
        }
    }
    let wrong: usize = tamperings.values().sum();
    let took = started.elapsed();
    println!("{curve}: {taken} taken, {wrong} tampered with; {took:.1?}, of which {setting_up:.1?} to set up");
    let of_the_other = match curve {
        Curve::Bn254 => vec!["a signature outside the group"],
        Curve::Bls12381 => vec!["another key in G2", "a key in G2 off the curve"],
    };
    for (what, _) in TAMPERINGS.iter().filter(|(what, _)| !of_the_other.contains(what)) {
        let times = tamperings.get(what).copied().unwrap_or_default();
        println!("{times:6} {what}");
        assert!(times > 0, "{what} was never tried");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_over_bn254_is_taken_and_no_tampered_one() {
    let sizes = [1, 2, 3, 50, 5, 20, 8, 35, 13, 50, 27, 10];
    the_contract_agrees(Curve::Bn254, &sizes, 26, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_over_bls12381_is_taken_and_no_tampered_one() {
    the_contract_agrees(Curve::Bls12381, &[1, 3, 50, 12, 30, 7], 13, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_that_is_read_is_the_one_assembled_from_the_records() {
    let seed = seed();
    for curve in [Curve::Bn254, Curve::Bls12381] {
        let (world, layouts) = world_of(curve, &[1, 9, 24], seed).await;
        for layout in layouts {
            let enrolled = layout.enrol(&world).await;
            let layout = &enrolled.layout;
            let gone = layout.members[0].wallet.address();
            for (block, stakes_at) in [
                (enrolled.before, (|member| &member.before) as fn(&Member) -> &Vec<Stake>),
                (enrolled.reference, |member| &member.stakes),
                (enrolled.head, |member| &member.after),
            ] {
                let mut subsets = vec![layout.quorums.clone()];
                subsets.extend(layout.quorums.iter().map(|number| vec![*number]));
                for quorums in subsets {
                    let in_subset = |member: &Member| {
                        let stakes = layout.quorums.iter().zip(stakes_at(member));
                        let stakes = stakes.filter(|(number, _)| quorums.contains(number)).map(|(_, stake)| *stake);
                        let left = block == enrolled.head && member.wallet.address() == gone;
                        let stakes: Vec<Stake> = if left { Vec::new() } else { stakes.collect() };
                        let any = stakes.iter().any(|stake| *stake != Stake::default());
                        any.then(|| member.record(stakes))
                    };
                    let records: Vec<_> = layout.members.iter().filter_map(in_subset).collect();
                    let read = registry::operator_set(world.chain(), enrolled.registry, curve, &quorums, block).await;
                    let read = read.unwrap();
                    if records.is_empty() {
                        assert_eq!(read.operators, [], "{enrolled:?}");
                        let identity = ContractKey::weighted_sum(curve, []).encode();
                        assert!(read.quorums.iter().all(|quorum| quorum.aggregate_g1 == identity));
                        continue;
                    }
                    let assembled = assemble(block, &quorums, records).unwrap();
                    assert_eq!(read, assembled, "quorums {quorums:?} at {block:?} of {enrolled:?}");
                }
            }
        }
    }
}

/// The name of the error with which the contract refuses a transaction; none if it would take it.
async fn refusal(world: &World, wallet: &Wallet, request: &TransactionRequest) -> Option<&'static str> {
    match world.prepare(wallet, request, 0).await {
        Ok(_) => None,
        Err(Error::Reverted(data)) => Some(error_name(&data)),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_by_who_has_its_secret_and_once() {
    for curve in [Curve::Bn254, Curve::Bls12381] {
        let world = World::embedded(Blocks::OnDemand).await;
        let (first, second) = (&world.owner, &world.other);
        let registry = deploy(&world, curve).await;
        let at = world.head().await.hash;
        let [own, other] = [5, 6].map(|byte| SecretKey::from_bytes(curve, &[byte; 32]).unwrap());
        let request = async |wallet, secret| registration(&world, registry, wallet, secret, at).await;
        let made = |proof: &SecretKey, digest: B256, key: &SecretKey| {
            let calldata =
                registry::register_calldata(&proof.sign(digest), &key.contract_key(), &key.public_key()).unwrap();
            TransactionRequest::call(registry, calldata)
        };

        let wanted = request(first, &own).await;
        assert_eq!(refusal(&world, first, &wanted).await, Some("NotAllowed"), "{curve}");
        let allow = registry::allow_calldata(&[first.address(), second.address()]);
        world.batch(vec![(first, TransactionRequest::call(registry, allow))]).await;

        let digest = async |wallet: &Wallet| {
            registry::pubkey_registration_digest(world.chain(), registry, wallet.address(), at).await.unwrap()
        };
        let (digest, foreign) = (digest(first).await, digest(second).await);
        for (what, forged) in [
            ("another key's proof", made(&other, digest, &own)),
            ("a proof for another account", made(&own, foreign, &own)),
            ("a proof over something else", made(&own, B256::ZERO, &own)),
        ] {
            assert_eq!(refusal(&world, first, &forged).await, Some("InvalidProofOfPossession"), "{curve}: {what}");
        }
        if curve == Curve::Bn254 {
            let two = registry::register_calldata(&own.sign(digest), &own.contract_key(), &other.public_key()).unwrap();
            let two = TransactionRequest::call(registry, two);
            assert_eq!(refusal(&world, first, &two).await, Some("InvalidProofOfPossession"));
        }

        world.batch(vec![(first, wanted.clone())]).await;
        assert_eq!(refusal(&world, first, &wanted).await, Some("AlreadyRegistered"), "{curve}");
        assert_eq!(refusal(&world, second, &request(second, &own).await).await, Some("PubkeyTaken"), "{curve}");
        let leave = TransactionRequest::call(registry, registry::deregister_calldata());
        assert_eq!(refusal(&world, second, &leave).await, Some("NotRegistered"), "{curve}");
        world.batch(vec![(first, leave)]).await;
        assert_eq!(
            refusal(&world, second, &request(second, &own).await).await,
            Some("PubkeyTaken"),
            "{curve}: for ever"
        );
        assert_eq!(refusal(&world, first, &request(first, &other).await).await, None, "{curve}: another key");
        world.batch(vec![(first, wanted)]).await;
        let head = world.head().await;
        assert!(registry::is_registered(world.chain(), registry, first.address(), head.hash).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_bls12381_bytes_that_are_no_key_of_the_group_are_refused() {
    let world = World::embedded(Blocks::OnDemand).await;
    let registry = deploy(&world, Curve::Bls12381).await;
    let allow = registry::allow_calldata(&[world.owner.address()]);
    world.batch(vec![(&world.owner, TransactionRequest::call(registry, allow))]).await;
    let secret = SecretKey::from_bytes(Curve::Bls12381, &[5; 32]).unwrap();
    let key = eip2537(&secret.contract_key().encode());
    let at = world.head().await.hash;
    let digest =
        registry::pubkey_registration_digest(world.chain(), registry, world.owner.address(), at).await.unwrap();
    let proof = eip2537(&secret.sign(digest).encode());

    let edited = |bytes: &Bytes, edit: fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        edit(&mut bytes);
        Bytes::from(bytes)
    };
    let with_key = |edit| (proof.clone(), edited(&key, edit));
    let with_proof = |edit| (edited(&proof, edit), key.clone());
    let outside = eip2537(&outside_the_group());
    let cases = [
        ("what is right", (proof.clone(), key.clone()), None),
        ("a key with something in the padding", with_key(|key| key[15] = 1), Some("InvalidEncoding")),
        ("a key with something far up", with_key(|key| key[64] = 0x80), Some("InvalidEncoding")),
        ("a short key", with_key(|key| key.truncate(127)), Some("InvalidEncoding")),
        ("a long key", with_key(|key| key.push(0)), Some("InvalidEncoding")),
        ("no key", with_key(Vec::clear), Some("InvalidEncoding")),
        ("the identity as key", with_key(|key| key.fill(0)), Some("ZeroPubkey")),
        ("a key off the curve", with_key(|key| key[127] ^= 1), Some("PairingFailed")),
        // (0, 2), of order 3.
        (
            "a key outside the group",
            with_key(|key| {
                key.fill(0);
                key[127] = 2;
            }),
            Some("PairingFailed"),
        ),
        ("a proof with something in the padding", with_proof(|proof| proof[64] = 1), Some("InvalidEncoding")),
        ("a short proof", with_proof(|proof| proof.truncate(192)), Some("InvalidEncoding")),
        ("the identity as proof", with_proof(|proof| proof.fill(0)), Some("InvalidProofOfPossession")),
        (
            "imaginary parts first",
            with_proof(|proof| proof.chunks_mut(128).for_each(|pair| pair.rotate_left(64))),
            Some("PairingFailed"),
        ),
        ("a proof outside the group", (outside, key.clone()), Some("PairingFailed")),
    ];
    for (what, (signature, pubkey), expected) in cases {
        let data = bls12381::registerCall { signature, pubkey }.abi_encode();
        let verdict = refusal(&world, &world.owner, &TransactionRequest::call(registry, data)).await;
        assert_eq!(verdict, expected, "{what}");
    }
}

/// The gas of a transaction that does nothing but ask: calldata and the transaction itself included.
async fn gas(world: &World, enrolled: &Enrolled, question: &Question) -> u64 {
    let request = TransactionRequest::call(enrolled.registry, question.calldata(enrolled.layout.curve));
    let transaction = world.prepare(&world.owner, &request, 0).await.unwrap();
    let TxEnvelope::Eip1559(signed) = TxEnvelope::decode_2718_exact(&transaction.raw).unwrap() else { panic!() };
    // The limit is one and a half times the estimate and 100,000.
    (signed.tx().gas_limit - 100_000) * 2 / 3
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_costs_no_more_than_it_did() {
    // Quorums, operators; then how many do not sign, and the most gas over BN254 and over BLS12-381.
    let table = [
        (1, 4, [(0, 184_000, 225_000), (1, 199_500, 240_500)]),
        (1, 50, [(0, 184_000, 225_000), (15, 386_000, 451_000)]),
        (3, 50, [(0, 227_500, 278_500), (15, 775_000, 786_000)]),
    ];
    for curve in [Curve::Bn254, Curve::Bls12381] {
        for (quorums, operators, cases) in table {
            let mut layout = Layout::draw(curve, operators, quorums, 7);
            for member in &mut layout.members {
                member.stakes.fill(Stake::new(100).unwrap());
            }
            let world = World::embedded_with(Blocks::OnDemand, layout.accounts()).await;
            let scene = Scene::set(&world, layout).await;
            let (all, mut rng) = (&scene.enrolled.layout.quorums, StdRng::seed_from_u64(7));
            for (absent, most_bn254, most_bls12381) in cases {
                let case = scene.certify_as(all, |position| position >= absent, &mut rng).unwrap();
                assert_eq!(case.question.non_signers.len(), absent);
                let used = gas(&world, &scene.enrolled, &case.question).await;
                let what = format!("{curve}, {quorums} quorums, {absent} of {operators} absent: {used} gas");
                println!("{what}");
                assert!(used <= by_curve(&case, most_bn254, most_bls12381), "{what}");
            }
        }
    }
}
