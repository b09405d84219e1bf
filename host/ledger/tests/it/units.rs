//! Small parts, and the golden encodings of log and snapshot.

use std::collections::BTreeSet;

use alloy_primitives::{hex, keccak256};
use eigenshift_ledger::settings::{Mode, Order, Policy, Settings};
use eigenshift_ledger::window::{Seen, Window};
use eigenshift_ledger::{Command, State};
use eigenshift_types::CommandId;
use proptest::prelude::*;

use crate::sim::Sim;

proptest! {
    #[test]
    fn a_window_takes_each_id_once(ids in proptest::collection::vec(prop_oneof![0..3000_u64, any::<u64>()], 1..200)) {
        let mut window = Window::default();
        let (mut used, mut highest) = (BTreeSet::new(), 0);
        for id in ids {
            highest = highest.max(id);
            let expected = if highest - id >= 1024 {
                Seen::TooOld
            } else if used.insert(id) {
                Seen::New
            } else {
                Seen::Before
            };
            prop_assert_eq!(window.take(CommandId(id)), expected, "id {}", id);
            prop_assert_eq!(window.highest(), CommandId(highest));
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let good = Settings::new(alloy_primitives::Address::ZERO);
    assert_eq!(good.problem(), None);
    type Change = fn(&mut Settings);
    let changes: [Change; 16] = [
        |settings| settings.ledger_version = 2,
        |settings| settings.quorums.numbers = vec![],
        |settings| settings.quorums.numbers = vec![1, 0],
        |settings| settings.quorums.thresholds = vec![],
        |settings| settings.quorums.thresholds = vec![0],
        |settings| settings.quorums.thresholds = vec![101],
        |settings| settings.quorums.thresholds = vec![50],
        |settings| {
            settings.rotation.order = Order::Plugin;
            settings.rotation.mode = Mode::Assignment;
        },
        |settings| settings.max_open_tasks = 2,
        |settings| settings.max_open_tasks = 0,
        |settings| settings.retention = 0,
        |settings| settings.max_voters = 0,
        |settings| settings.rotation.policy = Policy::IntervalMs(0),
        |settings| settings.keys_per_task = 0,
        |settings| settings.trial.tasks = 1025,
        |settings| settings.trial.disagreements = 0,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut settings = good.clone();
        change(&mut settings);
        assert!(settings.problem().is_some(), "change {index}");
    }
}

#[test]
fn golden_log_entry_and_snapshot() {
    let mut sim = Sim::new(Mode::Leadership);
    let entry = sim.signed(0, &Command::Rotate).encode();
    assert_eq!(hex::encode(keccak256(&entry)), "ac74375f334de2a15536ef9eb79acf362aee604b2bbae25e99823be51c75135c");
    assert_eq!(
        hex::encode(keccak256(sim.machine.snapshot())),
        "e52ff7fcd90746d6a9a762b38eb6df92e12e44452fa7a34ebf4be165a74525b7"
    );
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused() {
    let sim = Sim::new(Mode::Leadership);
    let bytes = sim.machine.snapshot();
    State::restore(&bytes).unwrap();
    for at in [0, 3, 5, bytes.len() / 2, bytes.len() - 1] {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        assert!(State::restore(&torn).is_err(), "byte {at}");
    }
    assert!(State::restore(&bytes[..bytes.len() - 1]).is_err());
}
