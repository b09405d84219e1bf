//! Operators, shares and certificates to test with.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::core::{Admission, Core, Verdict};
use eigenshift_aggregation::operators::assemble;
use eigenshift_aggregation::{
    Accepted, Event, Expiry, Handle, Operators, Policy, Share, ShareError, TaskAggregation, check_certificate,
};
use eigenshift_bls::any::verify;
use eigenshift_bls::{Curve, DecodeError, SecretKey, Signature};
use eigenshift_env::Pool;
use eigenshift_env::threads::Job;
use eigenshift_types::{
    Address, B256, BlockRef, Bytes, Certificate, OperatorRecord, OperatorSet, Quorums, ResponseKey, Stake, TaskIndex,
    U256,
};
use tokio::sync::mpsc;

pub const CURVES: [Curve; 2] = [Curve::Bn254, Curve::Bls12381];

/// Makes two tests of each function that takes a curve; of those after the semicolon, which are asynchronous, with paused
/// time.
macro_rules! both_curves {
    ($($test:ident),* $(; $($paused:ident),*)? $(,)?) => {
        mod bn254 {
            $(#[test] fn $test() { super::$test(eigenshift_bls::Curve::Bn254); })*
            $($(#[tokio::test(start_paused = true)] async fn $paused() {
                super::$paused(eigenshift_bls::Curve::Bn254).await;
            })*)?
        }
        mod bls12381 {
            $(#[test] fn $test() { super::$test(eigenshift_bls::Curve::Bls12381); })*
            $($(#[tokio::test(start_paused = true)] async fn $paused() {
                super::$paused(eigenshift_bls::Curve::Bls12381).await;
            })*)?
        }
    };
}
pub(crate) use both_curves;

/// Operators in the order of their ids, with their secrets in the same order.
pub struct Cluster {
    pub secrets: Vec<SecretKey>,
    pub set: OperatorSet,
    pub operators: Arc<Operators>,
}

pub fn secret(curve: Curve, n: u64) -> SecretKey {
    SecretKey::from_bytes(curve, &U256::from(n).to_be_bytes()).unwrap()
}

pub fn record(secret: &SecretKey, stakes: &[u128]) -> OperatorRecord {
    OperatorRecord {
        id: secret.operator_id(),
        address: Address::left_padding_from(&secret.to_bytes()[12..]),
        g1: secret.contract_key().encode(),
        g2: match secret.curve() {
            Curve::Bn254 => secret.public_key().encode(),
            Curve::Bls12381 => Bytes::new(),
        },
        stakes: stakes.iter().map(|stake| Stake::new(*stake).unwrap()).collect(),
    }
}

pub fn block() -> BlockRef {
    BlockRef { number: 7, hash: B256::repeat_byte(7) }
}

impl Cluster {
    /// One operator for each row of stakes; quorums are numbered from zero.
    pub fn new(stakes: &[&[u128]]) -> Self {
        Self::on(Curve::Bn254, stakes)
    }

    pub fn on(curve: Curve, stakes: &[&[u128]]) -> Self {
        let numbers: Vec<u8> = (0..u8::try_from(stakes[0].len()).unwrap()).collect();
        Self::numbered(curve, &numbers, stakes)
    }

    /// One operator for each row of stakes, in quorums of these numbers.
    pub fn numbered(curve: Curve, numbers: &[u8], stakes: &[&[u128]]) -> Self {
        let secrets = (1..=stakes.len() as u64).map(|n| secret(curve, 1000 + n)).collect();
        Self::of(secrets, numbers, stakes)
    }

    /// These operators, in the order of their ids, with a row of stakes each.
    pub fn of(mut secrets: Vec<SecretKey>, numbers: &[u8], stakes: &[&[u128]]) -> Self {
        secrets.sort_by_key(SecretKey::operator_id);
        let records = secrets.iter().zip(stakes).map(|(secret, stakes)| record(secret, stakes)).collect();
        let set = assemble(block(), numbers, records).unwrap();
        let operators = Arc::new(Operators::from_set(&set).unwrap());
        Self { secrets, set, operators }
    }

    /// `count` operators with equal stake in one quorum.
    pub fn equal(count: usize) -> Self {
        Self::equal_on(Curve::Bn254, count)
    }

    pub fn equal_on(curve: Curve, count: usize) -> Self {
        Self::on(curve, &vec![&[100_u128][..]; count])
    }

    pub fn task(&self, task: TaskIndex, thresholds: &[u8], window: Duration) -> TaskAggregation {
        TaskAggregation {
            task,
            operators: Arc::clone(&self.operators),
            quorums: quorums(thresholds),
            policy: Policy::window(window),
            expiry: Expiry::Never,
            max_keys: 2,
            certified: Vec::new(),
        }
    }

    /// What an operator answers honestly: its signature over the digest made of `answer`.
    pub fn share(&self, task: TaskIndex, name: &str, operator: usize, answer: u8) -> Share {
        let signature = self.secrets[operator].sign(digest(answer)).encode();
        Share { signature, ..self.share_unsigned(task, name, operator, answer) }
    }

    pub fn share_unsigned(&self, task: TaskIndex, name: &str, operator: usize, answer: u8) -> Share {
        Share {
            task,
            key: key(name),
            payload: Bytes::copy_from_slice(&[answer]),
            extension: Bytes::new(),
            digest: digest(answer),
            operator: self.operators.all()[operator].id,
            signature: Bytes::new(),
        }
    }

    /// A certificate by these operators, each signature added `weight` times.
    pub fn certificate(&self, signers: &[(usize, u64)], answer: u8) -> Certificate {
        let signatures = signers.iter().map(|(signer, weight)| (self.secrets[*signer].sign(digest(answer)), *weight));
        let signature = Signature::weighted_sum(self.operators.curve(), signatures);
        Certificate {
            task: 1,
            key: key("k"),
            payload: Bytes::copy_from_slice(&[answer]),
            digest: digest(answer),
            signers: eigenshift_types::Bitmap::from_fn(self.secrets.len(), |position| {
                signers.iter().any(|(signer, _)| *signer == position)
            }),
            signature: signature.encode(),
        }
    }

    /// Whoever is in a certificate, which must hold.
    pub fn signers(&self, quorums: &Quorums, certificate: &Certificate) -> Vec<usize> {
        let check = check_certificate(&self.operators, quorums, certificate).expect("a certificate that holds");
        assert!(check.verifies());
        (0..self.secrets.len()).filter(|position| certificate.signers.contains(*position)).collect()
    }
}

/// Quorums 0, 1, 2.. with these thresholds.
pub fn quorums(thresholds: &[u8]) -> Quorums {
    Quorums { numbers: (0..u8::try_from(thresholds.len()).unwrap()).collect(), thresholds: thresholds.to_vec() }
}

pub fn key(name: &str) -> ResponseKey {
    ResponseKey::new(name.as_bytes().to_vec()).unwrap()
}

pub fn digest(answer: u8) -> B256 {
    B256::repeat_byte(answer)
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Fails where it would hang: time is paused, and passes only when nothing is left to do.
pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it hangs")
}

/// A pool whose work is done when the test says so.
pub fn held_pool() -> (Pool, mpsc::Receiver<Job>) {
    let (sender, jobs) = mpsc::channel(16);
    (Pool::over(sender), jobs)
}

/// The work of verifying the share that was given in last, when `waiting` wait for their verdict. What comes before, which
/// is decoding it, is done.
pub async fn verification(handle: &Handle, jobs: &mut mpsc::Receiver<Job>, waiting: usize) -> Job {
    while handle.waiting() < waiting {
        if let Ok(job) = jobs.try_recv() {
            job();
        }
        tokio::task::yield_now().await;
    }
    jobs.recv().await.unwrap()
}

/// Admits, verifies and counts a share, as the service does.
pub fn give(core: &mut Core, share: &Share, now: Duration) -> (Result<Accepted, ShareError>, Vec<Event>) {
    match core.admit(share) {
        Err(error) => (Err(error), Vec::new()),
        Ok(Admission::Known(accepted)) => (Ok(accepted), Vec::new()),
        Ok(Admission::Verify(ticket)) => {
            let check = |(key, digest, signature)| verify(&key, digest, &signature);
            let verdict = Verdict { valid: check(ticket.item()), first: ticket.first_item().map(check) };
            core.count(&ticket, verdict, now)
        }
    }
}

/// What is no signature of a curve, with what is wrong with it.
pub fn malformed(curve: Curve, good: &[u8]) -> Vec<(&'static str, Vec<u8>, DecodeError)> {
    let length = good.len();
    let resized = |found: usize| {
        let mut bytes = good.to_vec();
        bytes.resize(found, 0);
        (bytes, DecodeError::Length { expected: length, found })
    };
    let changed = |change: fn(&mut [u8])| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        bytes
    };
    let mut cases = Vec::new();
    for (what, found) in
        [("empty", 0), ("short", length - 1), ("compressed", length / 2), ("long", length + 1), ("a megabyte", 1 << 20)]
    {
        let (bytes, error) = resized(found);
        cases.push((what, bytes, error));
    }
    let off_curve = changed(|bytes| *bytes.last_mut().unwrap() ^= 1);
    cases.push(("off the curve", off_curve, DecodeError::NotOnCurve));
    cases.push(("all ones", vec![0xff; length], DecodeError::NotCanonical));
    match curve {
        Curve::Bn254 => {
            cases.push(("the identity", vec![0; length], DecodeError::Identity));
            let modulus = "21888242871839275222246405745257275088696311157297823662689037894645226208583";
            let modulus = U256::from_str_radix(modulus, 10).unwrap();
            let x = U256::from_be_slice(&good[..32]) + modulus;
            let second = [&x.to_be_bytes::<32>(), &good[32..]].concat();
            cases.push(("x not reduced", second, DecodeError::NotCanonical));
        }
        Curve::Bls12381 => {
            let mut identity = vec![0; length];
            identity[0] = 0x40;
            cases.push(("the identity", identity.clone(), DecodeError::Identity));
            identity[length - 1] = 1;
            cases.push(("the identity with a coordinate", identity, DecodeError::NotCanonical));
            cases.push(("zeros", vec![0; length], DecodeError::NotOnCurve));
            let second = changed(|bytes| bytes[..48].copy_from_slice(&BLS12381_MODULUS));
            cases.push(("x not reduced", second, DecodeError::NotCanonical));
            let flagged = changed(|bytes| bytes[0] |= 0x20);
            cases.push(("a sign where there is y", flagged, DecodeError::NotCanonical));
            cases.push(("outside the group", outside_the_group(), DecodeError::NotInSubgroup));
        }
    }
    let other = CURVES.into_iter().find(|other| *other != curve).unwrap();
    let other = secret(other, 1001).sign(digest(1)).encode().to_vec();
    let found = other.len();
    cases.push(("another curve's", other, DecodeError::Length { expected: length, found }));
    cases
}

/// The base field's modulus.
const BLS12381_MODULUS: [u8; 48] = [
    0x1a, 0x01, 0x11, 0xea, 0x39, 0x7f, 0xe6, 0x9a, 0x4b, 0x1b, 0xa7, 0xb6, 0x43, 0x4b, 0xac, 0xd7, 0x64, 0x77, 0x4b,
    0x84, 0xf3, 0x85, 0x12, 0xbf, 0x67, 0x30, 0xd2, 0xa0, 0xf6, 0xb0, 0xf6, 0x24, 0x1e, 0xab, 0xff, 0xfe, 0xb1, 0x53,
    0xff, 0xff, 0xb9, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xaa, 0xab,
];

/// A point of BLS12-381's twist outside the prime-order group: almost any x that is one's.
fn outside_the_group() -> Vec<u8> {
    let point = |x: u8| {
        let mut compressed = [0; 96];
        compressed[0] = 0x80;
        compressed[95] = x;
        blst::min_pk::Signature::uncompress(&compressed).ok()
    };
    (1..).find_map(point).unwrap().serialize().to_vec()
}
