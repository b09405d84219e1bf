//! What the tables share: how a case is run, and how a task gets to where a case begins.

use alloy_primitives::B256;
use eigenshift_ledger::Command;
use eigenshift_ledger::settings::Mode;
use eigenshift_types::Outcome;

use crate::sim::{Sim, outcome};

/// (what is tried, how the cluster got there and who logs what, what comes of it).
pub type Case = (&'static str, fn(&mut Sim) -> (usize, Command), &'static str);

pub fn run(mode: Mode, cases: &[Case]) {
    for (name, prepare, expected) in cases {
        let mut sim = Sim::new(mode);
        let (operator, command) = prepare(&mut sim);
        let before = sim.machine.snapshot();
        let reply = sim.log_as(operator, &command);
        assert_eq!(outcome(&reply), *expected, "{name}: {reply:?}");
        if *expected != "accepted" && *expected != "conflicting-certificate" {
            // A refused command changes nothing but the log position and the author's used ids.
            let mut after = eigenshift_ledger::State::restore(&sim.machine.snapshot()).unwrap();
            let mut before = eigenshift_ledger::State::restore(&before).unwrap();
            for state in [&mut before, &mut after] {
                state.applied = 0;
                for member in state.members.values_mut() {
                    member.commands = Default::default();
                }
            }
            assert_eq!(before, after, "{name}");
        }
    }
}

pub fn must(sim: &mut Sim, operator: usize, command: &Command) {
    let reply = sim.log_as(operator, command);
    assert_eq!(outcome(&reply), "accepted", "{command:?}: {reply:?}");
}

/// Task 0 is open; operator 0 leads and aggregates.
pub fn open(sim: &mut Sim, submits: bool) {
    let create = sim.create(0, submits);
    must(sim, 0, &create);
}

pub fn certified(sim: &mut Sim, submits: bool) {
    open(sim, submits);
    let certify = sim.certify(0, "k", &[0, 1, 2], 1);
    must(sim, 0, &certify);
}

pub fn submitting(sim: &mut Sim) {
    certified(sim, true);
    let intent = sim.intent(0, 5, 0xaa);
    must(sim, 0, &intent);
}

pub fn close(outcome: Outcome) -> Command {
    Command::Close { task: 0, outcome, at: None }
}

pub fn finalized(tx: u8) -> Command {
    close(Outcome::Finalized { tx: B256::repeat_byte(tx), block_hash: B256::repeat_byte(3) })
}

pub fn failed() -> Command {
    close(Outcome::Failed { reason: "because".into() })
}
