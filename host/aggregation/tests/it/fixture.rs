//! Operators, shares and certificates to test with.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::core::{Admission, Core, Verdict};
use eigenshift_aggregation::operators::assemble;
use eigenshift_aggregation::{
    Accepted, Event, Expiry, Operators, Policy, Share, ShareError, TaskAggregation, check_certificate,
};
use eigenshift_bls::any::verify;
use eigenshift_bls::{Curve, SecretKey, Signature};
use eigenshift_types::{
    Address, B256, BlockRef, Bytes, Certificate, OperatorRecord, OperatorSet, Quorums, ResponseKey, Stake, TaskIndex,
    U256,
};

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
