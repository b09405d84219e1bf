//! `cargo xtask bench bls aggregation`: one figure a line, `name value unit`.
//!
//! Curve figures are medians on one thread. The references are other libraries' ways of doing the same, in the same run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eigenshift_aggregation::core::{Admission, Core};
use eigenshift_aggregation::operators::assemble;
use eigenshift_aggregation::{
    Event, Expiry, Handle, Operators, Options, Policy, Service, Share, TaskAggregation, batch,
};
use eigenshift_bls::bls12381::Bls12381;
use eigenshift_bls::bn254::{self, Bn254};
use eigenshift_bls::{Curve, Scheme, SecretKey};
use eigenshift_env::Env;
use eigenshift_types::{
    Address, B256, BlockRef, Bytes, OperatorRecord, Quorums, ResponseKey, Stake, TaskIndex, keccak256,
};

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("bls") {
        bls();
    }
    if wanted("aggregation") {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(aggregation());
    }
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

/// Median of so many runs, microseconds.
fn median<T>(runs: usize, mut work: impl FnMut() -> T) -> f64 {
    black_box(work());
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .collect();
    times.sort();
    times[runs / 2].as_secs_f64() * 1e6
}

fn digest(n: u64) -> B256 {
    keccak256(n.to_be_bytes())
}

fn secret_bytes(n: usize) -> [u8; 32] {
    // Of full length, so that no multiplication is a short one.
    let mut bytes = keccak256(n.to_be_bytes()).0;
    bytes[0] &= 0x0f;
    bytes
}

fn bls() {
    let reference = references();
    let cheaper = |name: &str, count: f64, micros: f64| print(name, count * reference / micros, "x");
    let single = scheme::<Bn254>("bn254", |bytes| bn254::SecretKey::from_bytes(bytes).unwrap());
    print("bn254_hash_to_g1_us", median(200, || bn254::hash_to_g1(digest(1))), "us");
    cheaper("bn254_verify_batch64_same_times_cheaper", 64.0, single["batch64_same"]);
    cheaper("bn254_verify_batch1000_same_times_cheaper", 1000.0, single["batch1000_same"]);
    cheaper("bn254_verify_batch64_distinct_times_cheaper", 64.0, single["batch64_distinct"]);
    let secret = bn254::SecretKey::from_bytes(&secret_bytes(1)).unwrap();
    let (prepared, signature) = (bn254::PreparedKey::new(secret.g2()), secret.sign(digest(1)));
    print("bn254_verify_prepared_us", median(50, || assert!(prepared.verify(digest(1), &signature))), "us");
    for count in [64, 1000] {
        let micros = certify(count);
        print(&format!("bn254_certify{count}_us"), micros, "us");
        cheaper(&format!("bn254_certify{count}_times_cheaper"), count as f64, micros);
    }
    scheme::<Bls12381>("bls12_381", |bytes| eigenshift_bls::bls12381::SecretKey::from_bytes(bytes).unwrap());
    print("bls12_381_hash_to_curve_us", median(100, || hash_to_g2(digest(1))), "us");
}

/// Signing and verifying, by name.
fn scheme<S: Scheme>(prefix: &str, secret: impl Fn(&[u8; 32]) -> S::SecretKey) -> BTreeMap<&'static str, f64> {
    let secrets: Vec<S::SecretKey> = (0..1000).map(|n| secret(&secret_bytes(n))).collect();
    let keys: Vec<S::PublicKey> = secrets.iter().map(|secret| S::public_key(secret)).collect();
    let same: Vec<(S::PublicKey, S::Signature)> =
        secrets.iter().zip(&keys).map(|(secret, key)| (*key, S::sign(secret, digest(1)))).collect();
    let distinct: Vec<(S::PublicKey, B256, S::Signature)> =
        (0..64).map(|n| (keys[n], digest(n as u64), S::sign(&secrets[n], digest(n as u64)))).collect();
    let (key, signature) = same[0];
    let good = |verdicts: Vec<bool>| assert!(verdicts.into_iter().all(|valid| valid));
    let figures = BTreeMap::from([
        ("sign", median(50, || S::sign(&secrets[0], digest(1)))),
        ("verify_single", median(50, || assert!(S::verify(&key, digest(1), &signature)))),
        ("batch64_same", median(30, || good(S::verify_same(digest(1), &same[..64])))),
        ("batch1000_same", median(20, || good(S::verify_same(digest(1), &same)))),
        ("batch64_distinct", median(20, || good(S::verify_each(&distinct)))),
    ]);
    for (name, micros) in &figures {
        let verb = if name.starts_with("batch") { "verify_" } else { "" };
        print(&format!("{prefix}_{verb}{name}_us"), *micros, "us");
    }
    figures
}

/// BLS12-381's hash to G2 alone, which the library offers only as it is in C.
#[allow(unsafe_code, reason = "all pointers are of arguments that outlive the call, with their lengths")]
fn hash_to_g2(digest: B256) -> blst::blst_p2 {
    let domain = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
    let mut point = blst::blst_p2::default();
    // SAFETY: see the reason above; an empty augmentation may be null.
    unsafe {
        blst::blst_hash_to_g2(
            &mut point,
            digest.as_ptr(),
            digest.len(),
            domain.as_ptr(),
            domain.len(),
            std::ptr::null(),
            0,
        );
    }
    point
}

/// Other libraries: a verification as eigensdk-rs does it, and their products of two pairings. The first comes back.
fn references() -> f64 {
    use ark_bn254::{Bn254, Fr, G1Affine, G2Affine};
    use ark_ec::pairing::Pairing;
    use ark_ec::{AffineRepr, CurveGroup};
    let (hash, secret) = (G1Affine::generator(), Fr::from(123_456_789_u64) * Fr::from(u64::MAX));
    let (signature, key) = ((hash * secret).into_affine(), (G2Affine::generator() * secret).into_affine());
    let verify = median(100, || assert!(Bn254::pairing(hash, key) == Bn254::pairing(signature, G2Affine::generator())));
    print("ref_arkworks_bn254_verify_us", verify, "us");
    let product = median(50, || Bn254::multi_pairing([hash, -signature], [key, G2Affine::generator()]));
    print("ref_arkworks_bn254_product_us", product, "us");
    #[cfg(target_arch = "x86_64")]
    {
        use halo2curves::bn256::{Fr, G1, G2, multi_miller_loop};
        use halo2curves::group::{Curve, Group};
        use halo2curves::pairing::MillerLoopResult;
        let secret = Fr::from(123_456_789) * Fr::from(u64::MAX);
        let (hash, generator) = (G1::generator().to_affine(), G2::generator().to_affine());
        let (signature, key) = ((G1::generator() * secret).to_affine(), (G2::generator() * secret).to_affine());
        let product = median(50, || {
            let product = multi_miller_loop(&[(&hash, &key), (&-signature, &generator)]).final_exponentiation();
            assert!(bool::from(product.is_identity()));
        });
        print("ref_halo2curves_bn254_product_us", product, "us");
    }
    verify
}

struct Cluster {
    secrets: Vec<SecretKey>,
    operators: Arc<Operators>,
}

impl Cluster {
    fn new(count: usize) -> Self {
        let mut secrets: Vec<SecretKey> =
            (0..count).map(|n| SecretKey::from_bytes(Curve::Bn254, &secret_bytes(n)).unwrap()).collect();
        secrets.sort_by_key(SecretKey::operator_id);
        let record = |(n, secret): (usize, &SecretKey)| OperatorRecord {
            id: secret.operator_id(),
            address: Address::left_padding_from(&n.to_be_bytes()),
            g1: secret.contract_key().encode(),
            g2: secret.public_key().encode(),
            stakes: vec![Stake::new(100).unwrap()],
        };
        let records = secrets.iter().enumerate().map(record).collect();
        let set = assemble(BlockRef { number: 1, hash: B256::ZERO }, &[0], records).unwrap();
        Self { secrets, operators: Arc::new(Operators::from_set(&set).unwrap()) }
    }

    fn task(&self, task: TaskIndex, threshold: u8) -> TaskAggregation {
        TaskAggregation {
            task,
            operators: Arc::clone(&self.operators),
            quorums: Quorums { numbers: vec![0], thresholds: vec![threshold] },
            policy: Policy::AtQuorum,
            expiry: Expiry::Never,
            max_keys: 1,
            certified: Vec::new(),
        }
    }

    fn shares(&self, task: TaskIndex) -> Vec<Share> {
        let share = |secret: &SecretKey| Share {
            task,
            key: ResponseKey::new(b"k".to_vec()).unwrap(),
            payload: Bytes::copy_from_slice(&[7; 64]),
            extension: Bytes::new(),
            digest: digest(u64::from(task)),
            operator: secret.operator_id(),
            signature: secret.sign(digest(u64::from(task))).encode(),
        };
        self.secrets.iter().map(share).collect()
    }
}

/// From unchecked responses to a certificate that was verified.
fn certify(count: usize) -> f64 {
    let cluster = Cluster::new(count);
    let shares = cluster.shares(1);
    median(100, || {
        let mut core = Core::new(1);
        core.open(cluster.task(1, 100), Duration::ZERO).unwrap();
        let ticket = |share: &Share| match core.admit(share) {
            Ok(Admission::Verify(ticket)) => *ticket,
            other => panic!("{other:?}"),
        };
        let verified = batch::sums(shares.iter().map(ticket).collect());
        let (_, events) = core.count_sum(&verified.right[0], Duration::ZERO);
        assert!(matches!(events.as_slice(), [Event::Certified(_)]));
    })
}

async fn aggregation() {
    let env = Env::real();
    for (operators, tasks) in [(4, 1000), (64, 150), (200, 50)] {
        let rate = signatures_per_second(&env, operators, tasks).await;
        print(&format!("signatures_per_second_{operators}_operators"), rate, "1/s");
    }
    let calm = quorum_latencies(&env, false).await;
    print("quorum_latency_p50_ms", percentile(&calm, 50), "ms");
    print("quorum_latency_p99_ms", percentile(&calm, 99), "ms");
    let flooded = quorum_latencies(&env, true).await;
    print("flooded_quorum_latency_p50_ms", percentile(&flooded, 50), "ms");
    print("flooded_quorum_latency_p99_ms", percentile(&flooded, 99), "ms");
    print("flooded_quorum_latency_p50_times", percentile(&flooded, 50) / percentile(&calm, 50), "x");
    print("flooded_quorum_latency_p99_times", percentile(&flooded, 99) / percentile(&calm, 99), "x");
    print("memory_per_open_task_kib", memory_per_task(&env).await, "KiB");
}

fn service(env: &Env, open: usize) -> (Handle, eigenshift_aggregation::Events) {
    let pool = env.threads.pool("bls", 2, 64).unwrap();
    let options = Options { max_open_tasks: open, max_waiting: 1 << 16, ..Options::default() };
    Service::start(options, env, pool)
}

/// All operators' signatures over all tasks, given in at once, until every task has its certificate of all of them.
async fn signatures_per_second(env: &Env, operators: usize, tasks: u32) -> f64 {
    let cluster = Cluster::new(operators);
    let shares: Vec<Share> = (0..tasks).flat_map(|task| cluster.shares(task)).collect();
    let (handle, mut events) = service(env, tasks as usize);
    for task in 0..tasks {
        handle.open(cluster.task(task, 100)).unwrap();
    }
    let count = shares.len();
    let start = Instant::now();
    for share in shares {
        let handle = handle.clone();
        tokio::spawn(async move { handle.submit(share).await });
    }
    for _ in 0..tasks {
        assert!(matches!(events.next().await, Some(Event::Certified(_))));
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e3
}

/// Bad signatures that one member sends, in the flooded run.
const FLOOD: u32 = 100_000;

/// From the first signature of 200 operators to the certificate of two thirds of them, one task at a time; sorted. Flooded:
/// a member sends [`FLOOD`] wrong signatures meanwhile, spread over the tasks, as fast as they are answered.
async fn quorum_latencies(env: &Env, flooded: bool) -> Vec<Duration> {
    const TASKS: u32 = 100;
    const SENDERS: u32 = 16;
    let cluster = Cluster::new(200);
    let attacker = |task: TaskIndex| {
        let secret = cluster.secrets.last().unwrap();
        let signature = secret.sign(digest(1 << 40)).encode();
        Share { signature, ..cluster.shares(task).pop().unwrap() }
    };
    // Another key each time: the same one would only wait beside itself.
    let made_up = |bad: &Share, number: u32| Share {
        key: ResponseKey::new(number.to_be_bytes().to_vec()).unwrap(),
        digest: digest(u64::from(number)),
        ..bad.clone()
    };
    let mut tasks: Vec<(TaskIndex, Vec<Share>)> = (0..TASKS).map(|task| (task, cluster.shares(task))).collect();
    let (handle, mut events) = service(env, 1);
    let mut latencies = Vec::new();
    for (task, shares) in tasks.drain(..) {
        handle.open(cluster.task(task, 67)).unwrap();
        let bad = attacker(task);
        let flood: Vec<_> = (0..if flooded { SENDERS } else { 0 })
            .map(|sender| {
                let (handle, bad) = (handle.clone(), bad.clone());
                tokio::spawn(async move {
                    for number in (sender..FLOOD / TASKS).step_by(SENDERS as usize) {
                        assert!(handle.submit(made_up(&bad, number)).await.is_err());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let start = Instant::now();
        let sent: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.submit(share).await })
            })
            .collect();
        assert!(matches!(events.next().await, Some(Event::Certified(_))));
        latencies.push(start.elapsed());
        for sent in sent {
            let _ = sent.await.unwrap();
        }
        for sender in flood {
            sender.await.unwrap();
        }
        handle.close(task);
    }
    latencies.sort();
    latencies
}

/// What 2,000 open tasks take, each with the answers of 32 of 64 operators.
async fn memory_per_task(env: &Env) -> f64 {
    const TASKS: u32 = 2000;
    let cluster = Cluster::new(64);
    let first = cluster.shares(0);
    let (handle, _events) = service(env, TASKS as usize);
    let before = resident();
    for task in 0..TASKS {
        handle.open(cluster.task(task, 100)).unwrap();
        // The digest does not have to be the task's own: the same signatures do.
        for share in &first[..32] {
            // Bytes of its own, as they come from a connection.
            let payload = Bytes::copy_from_slice(&share.payload);
            handle.submit(Share { task, payload, ..share.clone() }).await.unwrap();
        }
    }
    (resident() - before) as f64 / 1024.0 / f64::from(TASKS)
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
