//! The cases of the aggregation services that operators know, as data.

use eigenshift_aggregation::core::Core;
use eigenshift_aggregation::{Accepted, Event, Evidence, ShareError};
use eigenshift_bls::Curve;

use crate::fixture::{Cluster, digest, give, ms};

const COUNTED: Answer = Answer::Is(Accepted::Counted);
const DUPLICATE: Answer = Answer::Is(Accepted::Duplicate);
const LATE: Answer = Answer::Late;

#[derive(Clone, Copy, Debug)]
enum Answer {
    Is(Accepted),
    Late,
    NotOpen,
    NoStake,
    Incorrect,
    Equivocation,
}

#[derive(Clone, Copy, Debug)]
enum Do {
    /// (task, operator, answer): the operator signs and sends.
    Sign(u32, usize, u8, Answer),
    /// (task, operator, stated, signed): the signature is over another digest than stated.
    Forge(u32, usize, u8, u8, Answer),
    /// The clock shows so many milliseconds.
    At(u64),
    /// The task expires.
    Close(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Certified(u32, u8, Vec<usize>),
    Expired(u32),
    Equivocation(usize),
}

struct Case {
    name: &'static str,
    /// A row for each operator, a column for each quorum.
    stakes: &'static [&'static [u128]],
    thresholds: &'static [u8],
    tasks: u32,
    window: u64,
    steps: &'static [Do],
    seen: fn() -> Vec<Seen>,
}

use Do::{At, Close, Forge, Sign};
use Seen::{Certified, Equivocation, Expired};

const CASES: &[Case] = &[
    Case {
        name: "1 quorum, 1 operator, 1 correct signature",
        stakes: &[&[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Close(1)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "1 quorum, 3 operators, 3 correct signatures",
        stakes: &[&[100], &[200], &[300]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 2, 5, COUNTED), Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), Close(1)],
        seen: || vec![Certified(1, 5, vec![0, 1, 2])],
    },
    Case {
        name: "2 quorums, 2 operators, 2 correct signatures: each is added twice",
        stakes: &[&[100, 200], &[100, 200]],
        thresholds: &[100, 100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "2 concurrent tasks, 2 quorums, 2 operators, 2 correct signatures each",
        stakes: &[&[100, 200], &[300, 100]],
        thresholds: &[100, 100],
        tasks: 2,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(2, 1, 6, COUNTED), Sign(2, 0, 6, COUNTED), Sign(1, 1, 5, COUNTED)],
        seen: || vec![Certified(2, 6, vec![0, 1]), Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "1 quorum, 2 operators, operator 1 sends the same twice: counted once",
        stakes: &[&[100], &[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 0, 5, DUPLICATE), Sign(1, 0, 5, DUPLICATE), Close(1)],
        seen: || vec![Expired(1)],
    },
    Case {
        name: "1 quorum, 1 operator, 0 signatures: nothing is certified",
        stakes: &[&[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[At(1000), Close(1)],
        seen: Vec::new,
    },
    Case {
        name: "1 quorum, 2 operators, 1 correct signature, threshold 50 %: certified",
        stakes: &[&[100], &[100]],
        thresholds: &[50],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 1, 5, COUNTED), Close(1)],
        seen: || vec![Certified(1, 5, vec![1])],
    },
    Case {
        name: "1 quorum, 2 operators, 1 correct signature, threshold 60 %: expired",
        stakes: &[&[100], &[100]],
        thresholds: &[60],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 1, 5, COUNTED), Close(1)],
        seen: || vec![Expired(1)],
    },
    Case {
        name: "the integer rule does not round up: 66 of 100 is below 67 %",
        stakes: &[&[66], &[33], &[1]],
        thresholds: &[67],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 2, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 2])],
    },
    Case {
        name: "2 quorums, 2 operators with stake in one each, 2 correct signatures: certified",
        stakes: &[&[100, 0], &[0, 200]],
        thresholds: &[100, 100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "2 quorums, 3 operators with stake in one each, 2 correct signatures, 50 %: certified",
        stakes: &[&[100, 0], &[0, 200], &[100, 0]],
        thresholds: &[50, 50],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "2 quorums, 3 operators with stake in one each, 2 correct signatures, 60 %: expired",
        stakes: &[&[100, 0], &[0, 200], &[100, 0]],
        thresholds: &[60, 60],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), Close(1)],
        seen: || vec![Expired(1)],
    },
    Case {
        name: "2 quorums, 2 operators of which one has stake in one, its signature alone: expired",
        stakes: &[&[100, 100], &[0, 100]],
        thresholds: &[50, 50],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 1, 5, COUNTED), Close(1)],
        seen: || vec![Expired(1)],
    },
    Case {
        name: "an operator without stake in the task's quorums is refused",
        stakes: &[&[100, 0], &[0, 100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 1, 5, Answer::NoStake), Sign(1, 0, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "a signature for a task that is not open is refused",
        stakes: &[&[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(9, 0, 5, Answer::NotOpen), Sign(1, 0, 5, COUNTED), Close(1), Sign(1, 0, 5, Answer::NotOpen)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "1 quorum, 2 operators, 2 signatures over 2 different digests: expired, once",
        stakes: &[&[100], &[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), Close(1), Close(1)],
        seen: || vec![Expired(1)],
    },
    Case {
        name: "1 quorum, 1 operator, 1 signature over another digest than stated: refused, and the right one still counts",
        stakes: &[&[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Forge(1, 0, 5, 6, Answer::Incorrect), Sign(1, 0, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "signatures are added during the window after the quorum",
        stakes: &[&[100], &[100], &[100], &[100]],
        thresholds: &[50],
        tasks: 1,
        window: 100,
        steps: &[
            At(10),
            Sign(1, 0, 5, COUNTED),
            Sign(1, 1, 5, COUNTED),
            At(109),
            Sign(1, 2, 5, COUNTED),
            At(110),
            Sign(1, 3, 5, LATE),
            Close(1),
        ],
        seen: || vec![Certified(1, 5, vec![0, 1, 2])],
    },
    Case {
        name: "a task that expires during the window is certified, and does not expire as well",
        stakes: &[&[100], &[100]],
        thresholds: &[50],
        tasks: 1,
        window: 100,
        steps: &[Sign(1, 0, 5, COUNTED), At(50), Close(1), At(500)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "without a window no signature is added after the quorum",
        stakes: &[&[100], &[100]],
        thresholds: &[50],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, LATE)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "the window ends early when every operator has answered",
        stakes: &[&[100], &[100], &[100]],
        thresholds: &[60],
        tasks: 1,
        window: 1000,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), Sign(1, 2, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 2])],
    },
    Case {
        name: "a minority digest during the window changes nothing (D1)",
        stakes: &[&[100], &[100], &[100], &[10]],
        thresholds: &[60],
        tasks: 1,
        window: 100,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 5, COUNTED), Sign(1, 3, 6, COUNTED), At(100)],
        seen: || vec![Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "with low thresholds the first digest to reach them stays the winner (D1)",
        stakes: &[&[100], &[200], &[100]],
        thresholds: &[25],
        tasks: 1,
        window: 100,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 1, 6, COUNTED), At(100)],
        seen: || vec![Certified(1, 5, vec![0])],
    },
    Case {
        name: "a second digest by one operator counts nowhere and is evidence, once",
        stakes: &[&[100], &[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[
            Sign(1, 0, 5, COUNTED),
            Sign(1, 1, 6, COUNTED),
            Sign(1, 0, 6, Answer::Equivocation),
            Sign(1, 0, 6, Answer::Equivocation),
            Sign(1, 0, 7, Answer::Equivocation),
            Sign(1, 0, 5, DUPLICATE),
            Close(1),
        ],
        seen: || vec![Equivocation(0), Expired(1)],
    },
    Case {
        name: "a forged second digest is no evidence",
        stakes: &[&[100], &[100]],
        thresholds: &[100],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Forge(1, 0, 6, 7, Answer::Incorrect), Sign(1, 1, 5, COUNTED)],
        seen: || vec![Certified(1, 5, vec![0, 1])],
    },
    Case {
        name: "a second digest after the certificate is still evidence",
        stakes: &[&[100], &[100]],
        thresholds: &[50],
        tasks: 1,
        window: 0,
        steps: &[Sign(1, 0, 5, COUNTED), Sign(1, 0, 6, Answer::Equivocation), Sign(1, 1, 6, LATE)],
        seen: || vec![Certified(1, 5, vec![0]), Equivocation(0)],
    },
];

fn run(curve: Curve, case: &Case) {
    let cluster = Cluster::on(curve, case.stakes);
    let mut core = Core::new(8);
    let quorums = crate::fixture::quorums(case.thresholds);
    for task in 1..=case.tasks {
        core.open(cluster.task(task, case.thresholds, ms(case.window)), ms(0)).unwrap();
    }
    let mut now = ms(0);
    let mut seen = Vec::new();
    for step in case.steps {
        let events = match *step {
            Sign(task, operator, stated, expected) => {
                let (answer, events) = give(&mut core, &cluster.share(task, "k", operator, stated), now);
                check(case.name, step, answer, expected);
                events
            }
            Forge(task, operator, stated, signed, expected) => {
                let mut share = cluster.share(task, "k", operator, signed);
                share.digest = digest(stated);
                let (answer, events) = give(&mut core, &share, now);
                check(case.name, step, answer, expected);
                events
            }
            At(time) => {
                now = ms(time);
                core.tick(now)
            }
            Close(task) => core.close(task),
        };
        for event in events {
            seen.push(match event {
                Event::Certified(certificate) => {
                    let answer = certificate.payload[0];
                    assert_eq!(certificate.digest, digest(answer));
                    Certified(certificate.task, answer, cluster.signers(&quorums, &certificate))
                }
                Event::Expired { task, .. } => Expired(task),
                Event::Ended { .. } => unreachable!("these tasks end by being closed"),
                Event::Equivocation(evidence) => {
                    let position = cluster.operators.position(evidence.operator).unwrap();
                    assert!(evidence.holds(), "{}", case.name);
                    assert_eq!(Evidence::from_json(&evidence.to_json()).unwrap(), evidence);
                    Equivocation(position)
                }
            });
        }
    }
    assert_eq!(seen, (case.seen)(), "{}", case.name);
}

fn check(name: &str, step: &Do, answer: Result<Accepted, ShareError>, expected: Answer) {
    let matched = match expected {
        Answer::Is(accepted) => answer == Ok(accepted),
        Answer::Late => matches!(answer, Ok(Accepted::AlreadyCertified { .. })),
        Answer::NotOpen => matches!(answer, Err(ShareError::NotOpen(_))),
        Answer::NoStake => matches!(answer, Err(ShareError::NoStake(_))),
        Answer::Incorrect => answer == Err(ShareError::Incorrect),
        Answer::Equivocation => matches!(answer, Err(ShareError::Equivocation { .. })),
    };
    assert!(matched, "{name}: {step:?} gave {answer:?}");
}

#[test]
fn every_known_case_has_its_outcome() {
    for case in CASES {
        run(Curve::Bn254, case);
        run(Curve::Bls12381, case);
    }
}
