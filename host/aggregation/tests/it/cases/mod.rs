//! Cases as data: what is done, and what comes of it.
//!
//! Each is run four times: over both curves, share by share through the core, and through the service, to whose events
//! nobody listens until the end. Of every certificate everything that a contract is given is computed a second time.

mod ours;
mod upstream;

use std::time::Duration;

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{
    Accepted, Event, Events, Evidence, Expiry, Handle, Options, Policy, Service, Share, ShareError, TaskAggregation,
    contract_parts,
};
use eigenshift_bls::bn254::{G1, G2, matches};
use eigenshift_bls::{ContractKey, Curve, PublicKey, SecretKey, Signature};
use eigenshift_env::{Env, Pool, sim::World};
use eigenshift_types::{Bytes, Certificate, Quorums, Stake, TaskIndex};
use futures::FutureExt;

use crate::fixture::{CURVES, Cluster, digest, give, key, ms, secret};

const COUNTED: Answer = Answer::Is(Accepted::Counted);
const DUPLICATE: Answer = Answer::Is(Accepted::Duplicate);

#[derive(Clone, Copy, Debug)]
enum Answer {
    Is(Accepted),
    /// The key is certified.
    Late,
    NotOpen,
    Expired,
    NoStake,
    Unknown,
    Incorrect,
    Equivocation,
}

#[derive(Clone, Copy, Debug)]
enum Do {
    /// (task, operator, answer): the operator signs and sends.
    Sign(TaskIndex, usize, u8, Answer),
    /// (task, operator, stated, signed): the signature is over another digest than stated.
    Forge(TaskIndex, usize, u8, u8, Answer),
    /// (task, answer): somebody who is in no operator set signs and sends.
    Stranger(TaskIndex, u8, Answer),
    /// The clock shows so many milliseconds since the tasks were opened.
    At(u64),
    /// The task is closed.
    Close(TaskIndex),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Certified { task: TaskIndex, answer: u8, signers: Vec<usize>, non_signers: Vec<usize> },
    Expired(TaskIndex),
    Ended(TaskIndex),
    Equivocation(usize),
}

fn certified(task: TaskIndex, answer: u8, signers: &[usize], non_signers: &[usize]) -> Seen {
    Seen::Certified { task, answer, signers: signers.to_vec(), non_signers: non_signers.to_vec() }
}

struct Case {
    /// Numbers of the quorums that the operator set has.
    set: &'static [u8],
    /// A row for each operator, a column for each quorum of the set.
    stakes: &'static [&'static [u128]],
    /// Quorums of the tasks: number and threshold.
    quorums: &'static [(u8, u8)],
    /// Tasks 1 to this are open from the beginning.
    tasks: TaskIndex,
    /// Milliseconds.
    window: u64,
    /// Milliseconds after which the tasks expire by themselves.
    expiry: Option<u64>,
    steps: Vec<Do>,
    seen: Vec<Seen>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            set: &[0, 1],
            stakes: &[],
            quorums: &[(0, 100)],
            tasks: 1,
            window: 0,
            expiry: None,
            steps: Vec::new(),
            seen: Vec::new(),
        }
    }
}

/// What a case is done to.
trait Aggregator {
    fn open(&mut self, task: TaskAggregation);
    async fn give(&mut self, share: &Share) -> Result<Accepted, ShareError>;
    async fn at(&mut self, time: Duration);
    fn close(&mut self, task: TaskIndex);
    async fn events(self) -> Vec<Event>;
}

struct Pure {
    core: Core,
    now: Duration,
    events: Vec<Event>,
}

impl Aggregator for Pure {
    fn open(&mut self, task: TaskAggregation) {
        self.core.open(task, self.now).unwrap();
    }

    async fn give(&mut self, share: &Share) -> Result<Accepted, ShareError> {
        let (answer, events) = give(&mut self.core, share, self.now);
        self.events.extend(events);
        answer
    }

    async fn at(&mut self, time: Duration) {
        self.now = time;
        self.events.extend(self.core.tick(time));
    }

    fn close(&mut self, task: TaskIndex) {
        self.events.extend(self.core.close(task));
    }

    async fn events(self) -> Vec<Event> {
        self.events
    }
}

struct Served {
    env: Env,
    handle: Handle,
    events: Events,
}

impl Served {
    fn start() -> Self {
        let env = Env::simulated(&World::default(), 1);
        let (handle, events) = Service::start(Options::default(), &env, Pool::inline());
        Self { env, handle, events }
    }
}

impl Aggregator for Served {
    fn open(&mut self, task: TaskAggregation) {
        self.handle.open(task).unwrap();
    }

    async fn give(&mut self, share: &Share) -> Result<Accepted, ShareError> {
        self.handle.submit(share.clone()).await
    }

    async fn at(&mut self, time: Duration) {
        let clock = &self.env.clock;
        // The driver's timer may round up by one.
        clock.sleep((time + ms(2)).saturating_sub(clock.monotonic())).await;
    }

    fn close(&mut self, task: TaskIndex) {
        self.handle.close(task);
    }

    async fn events(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.events.next().now_or_never() {
            events.push(event.unwrap());
        }
        events
    }
}

fn run(case: &Case) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for curve in CURVES {
        let cluster = Cluster::numbered(curve, case.set, case.stakes);
        runtime.block_on(async {
            let pure = Pure { core: Core::new(8), now: ms(0), events: Vec::new() };
            case.play(&cluster, pure, &format!("{curve}, the core")).await;
            case.play(&cluster, Served::start(), &format!("{curve}, the service")).await;
        });
    }
}

impl Case {
    fn task_quorums(&self) -> Quorums {
        let (numbers, thresholds) = self.quorums.iter().copied().unzip();
        Quorums { numbers, thresholds }
    }

    fn task(&self, cluster: &Cluster, task: TaskIndex) -> TaskAggregation {
        TaskAggregation {
            task,
            operators: cluster.operators.clone(),
            quorums: self.task_quorums(),
            policy: Policy::window(ms(self.window)),
            expiry: self.expiry.map_or(Expiry::Never, |life| Expiry::After(ms(life))),
            max_keys: 2,
            certified: Vec::new(),
        }
    }

    async fn play(&self, cluster: &Cluster, mut aggregator: impl Aggregator, whom: &str) {
        for task in 1..=self.tasks {
            aggregator.open(self.task(cluster, task));
        }
        for step in &self.steps {
            let (share, expected) = match *step {
                Do::Sign(task, operator, answer, expected) => (cluster.share(task, "k", operator, answer), expected),
                Do::Forge(task, operator, stated, signed, expected) => {
                    let share = cluster.share(task, "k", operator, signed);
                    (Share { digest: digest(stated), ..share }, expected)
                }
                Do::Stranger(task, answer, expected) => (strange(cluster.operators.curve(), task, answer), expected),
                Do::At(time) => {
                    aggregator.at(ms(time)).await;
                    continue;
                }
                Do::Close(task) => {
                    aggregator.close(task);
                    continue;
                }
            };
            let answer = aggregator.give(&share).await;
            assert!(expected.is(answer), "{whom}: {step:?} gave {answer:?}");
        }
        let quorums = self.task_quorums();
        let seen: Vec<Seen> =
            aggregator.events().await.into_iter().map(|event| seen(cluster, &quorums, event)).collect();
        assert_eq!(seen, self.seen, "{whom}");
    }
}

impl Answer {
    fn is(self, answer: Result<Accepted, ShareError>) -> bool {
        match self {
            Self::Is(accepted) => answer == Ok(accepted),
            Self::Late => matches!(answer, Ok(Accepted::AlreadyCertified { .. })),
            Self::NotOpen => matches!(answer, Err(ShareError::NotOpen(_))),
            Self::Expired => matches!(answer, Err(ShareError::Expired(_))),
            Self::NoStake => matches!(answer, Err(ShareError::NoStake(_))),
            Self::Unknown => matches!(answer, Err(ShareError::UnknownOperator(_))),
            Self::Incorrect => answer == Err(ShareError::Incorrect),
            Self::Equivocation => matches!(answer, Err(ShareError::Equivocation { .. })),
        }
    }
}

fn strange(curve: Curve, task: TaskIndex, answer: u8) -> Share {
    let stranger: SecretKey = secret(curve, 99);
    Share {
        task,
        key: key("k"),
        payload: Bytes::copy_from_slice(&[answer]),
        extension: Bytes::new(),
        digest: digest(answer),
        operator: stranger.operator_id(),
        signature: stranger.sign(digest(answer)).encode(),
    }
}

fn seen(cluster: &Cluster, quorums: &Quorums, event: Event) -> Seen {
    match event {
        Event::Certified(certificate) => {
            let (signers, non_signers) = checked(cluster, quorums, &certificate);
            Seen::Certified { task: certificate.task, answer: certificate.payload[0], signers, non_signers }
        }
        Event::Expired { task, .. } => Seen::Expired(task),
        Event::Ended { task } => Seen::Ended(task),
        Event::Equivocation(evidence) => {
            assert!(evidence.holds());
            assert_eq!(Evidence::from_json(&evidence.to_json()).unwrap(), evidence);
            Seen::Equivocation(cluster.operators.position(evidence.operator).unwrap())
        }
    }
}

/// Who signed and who did not, after everything in the certificate was found to follow from that alone.
fn checked(cluster: &Cluster, quorums: &Quorums, certificate: &Certificate) -> (Vec<usize>, Vec<usize>) {
    assert_eq!(certificate.digest, digest(certificate.payload[0]));
    let curve = cluster.operators.curve();
    let signers = cluster.signers(quorums, certificate);
    let column = |number: &u8| cluster.set.quorums.iter().position(|quorum| quorum.number == *number).unwrap();
    let has_stake =
        |position: usize, number: &u8| cluster.set.operators[position].stakes[column(number)] != Stake::default();
    let weight = |position: usize| quorums.numbers.iter().filter(|number| has_stake(position, number)).count() as u64;
    let all = 0..cluster.secrets.len();
    let non_signers: Vec<usize> =
        all.clone().filter(|position| weight(*position) > 0 && !signers.contains(position)).collect();

    let secrets = |positions: &[usize]| {
        positions.iter().map(|position| (&cluster.secrets[*position], weight(*position))).collect::<Vec<_>>()
    };
    let parts = contract_parts(&cluster.operators, quorums, certificate).unwrap();
    let keys: Vec<Bytes> =
        secrets(&non_signers).into_iter().map(|(secret, _)| secret.contract_key().encode()).collect();
    assert_eq!(parts.non_signers, keys);
    for (number, found) in quorums.numbers.iter().zip(&parts.quorum_aggregate_keys) {
        let members = all.clone().filter(|position| has_stake(*position, number));
        let keys = members.map(|position| (cluster.secrets[position].contract_key(), 1));
        assert_eq!(*found, ContractKey::weighted_sum(curve, keys).encode());
    }
    let keys = secrets(&signers).into_iter().map(|(secret, weight)| (secret.public_key(), weight));
    assert_eq!(parts.signers_aggregate_key, PublicKey::weighted_sum(curve, keys).encode());
    let signatures = secrets(&signers).into_iter().map(|(secret, weight)| (secret.sign(certificate.digest), weight));
    assert_eq!(parts.signature, Signature::weighted_sum(curve, signatures).encode());
    if curve == Curve::Bn254 {
        // As the contract finds the signers' key: the quorums' less each non-signer's, once per quorum that it is in.
        let quorum_keys: G1 = parts.quorum_aggregate_keys.iter().map(|key| G1::decode(key).unwrap()).sum();
        let absent = parts.non_signers.iter().zip(secrets(&non_signers));
        let absent: G1 = absent.map(|(key, (_, weight))| G1::decode(key).unwrap().mul_small(weight)).sum();
        assert!(matches(&(quorum_keys + -absent), &G2::decode(&parts.signers_aggregate_key).unwrap()));
    }
    (signers, non_signers)
}
