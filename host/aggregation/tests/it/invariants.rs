//! Whatever comes in whatever order, each key ends once and its certificate holds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use eigenshift_aggregation::core::{Admission, Core};
use eigenshift_aggregation::{Event, Share};
use eigenshift_bls::Curve;
use eigenshift_types::ResponseKey;
use proptest::prelude::*;

use crate::fixture::{Cluster, ms, quorums};

const KEYS: [&str; 2] = ["a", "b"];
const ANSWERS: u8 = 3;

/// By operator, index of the key, answer.
type Shares = BTreeMap<(usize, usize, u8), Share>;

/// Signing is what would take long: every share that can be asked for, signed once.
static BN254: LazyLock<(Cluster, Shares)> = LazyLock::new(|| shares(Curve::Bn254));
static BLS12381: LazyLock<(Cluster, Shares)> = LazyLock::new(|| shares(Curve::Bls12381));

fn shares(curve: Curve) -> (Cluster, Shares) {
    let cluster = Cluster::on(curve, &[&[40, 10], &[30, 0], &[20, 60], &[10, 30]]);
    let mut shares = BTreeMap::new();
    for operator in 0..4 {
        for (index, name) in KEYS.iter().enumerate() {
            for answer in 0..ANSWERS {
                shares.insert((operator, index, answer), cluster.share(1, name, operator, answer));
            }
        }
    }
    (cluster, shares)
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Share { operator: usize, key: usize, answer: u8, valid: bool },
    Wait(u64),
    Close,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        12 => (0_usize..4, 0_usize..2, 0..ANSWERS, prop::bool::weighted(0.9))
            .prop_map(|(operator, key, answer, valid)| Input::Share { operator, key, answer, valid }),
        3 => (0_u64..60).prop_map(Input::Wait),
        1 => Just(Input::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_key_ends_once_and_its_certificate_holds_over_bn254(
        inputs in prop::collection::vec(input(), 1..60),
        threshold in 20_u8..100,
        window in 0_u64..80,
    ) {
        holds(&BN254, inputs, threshold, window)?;
    }

    #[test]
    fn a_key_ends_once_and_its_certificate_holds_over_bls12381(
        inputs in prop::collection::vec(input(), 1..60),
        threshold in 20_u8..100,
        window in 0_u64..80,
    ) {
        holds(&BLS12381, inputs, threshold, window)?;
    }
}

fn holds(
    (cluster, shares): &(Cluster, Shares),
    inputs: Vec<Input>,
    threshold: u8,
    window: u64,
) -> Result<(), TestCaseError> {
    let mut core = Core::new(1);
    core.open(cluster.task(1, &[threshold, threshold], ms(window)), ms(0)).unwrap();
    let mut now = 0;
    let mut events = Vec::new();
    // Per key: the digest that was the first to be seen in its window.
    let mut winners = BTreeMap::new();
    for input in inputs {
        match input {
            Input::Share { operator, key, answer, valid } => {
                if let Ok(Admission::Verify(ticket)) = core.admit(&shares[&(operator, key, answer)]) {
                    events.extend(core.count(&ticket, valid, ms(now)).1);
                }
            }
            Input::Wait(time) => {
                now += time;
                events.extend(core.tick(ms(now)));
                prop_assert!(core.next_deadline().is_none_or(|deadline| deadline > ms(now)));
            }
            Input::Close => events.extend(core.close(1)),
        }
        for key in core.progress(1).unwrap_or_default() {
            if key.stage == eigenshift_aggregation::KeyStage::Window {
                prop_assert_eq!(*winners.entry(key.key).or_insert(key.digest), key.digest);
            }
        }
    }
    events.extend(core.close(1));

    let mut ended: BTreeMap<ResponseKey, usize> = BTreeMap::new();
    for event in &events {
        match event {
            Event::Certified(certificate) => {
                *ended.entry(certificate.key.clone()).or_default() += 1;
                cluster.signers(&quorums(&[threshold, threshold]), certificate);
                prop_assert!(winners.get(&certificate.key).is_none_or(|winner| *winner == certificate.digest));
            }
            Event::Ended { .. } => prop_assert!(false, "these tasks have no end of their own"),
            Event::Expired { key, .. } => *ended.entry(key.clone()).or_default() += 1,
            Event::Equivocation(_) => {}
        }
    }
    prop_assert!(ended.values().all(|count| *count == 1), "{:?}", ended);
    prop_assert!(winners.keys().all(|key| ended.contains_key(key)));
    Ok(())
}
