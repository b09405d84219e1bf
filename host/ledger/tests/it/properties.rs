//! Properties over random logs.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use eigenshift_ledger::command::ComplaintKind;
use eigenshift_ledger::settings::Mode;
use eigenshift_ledger::{Command, Machine, Phase, State};
use eigenshift_types::{Outcome, ResponseKey, TaskIndex};
use proptest::prelude::*;

use crate::sim::Sim;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create { index: u32, submits: bool },
    Certify { task: u32, key: u8, answer: u8 },
    Intent { task: u32, tx: u8 },
    Finalize { task: u32, tx: u8 },
    Done { task: u32 },
    Expire { task: u32 },
    Fail { task: u32 },
    Down { member: usize },
    Up { member: usize },
    Assign { task: u32, member: usize },
    Rejoin { member: usize, challenge: u8 },
    Complain { member: usize, task: u32 },
    Rotate,
    Elect { member: usize },
    Garbage,
}

fn step() -> impl Strategy<Value = Step> {
    let task = 0..4_u32;
    prop_oneof![
        4 => (task.clone(), any::<bool>()).prop_map(|(index, submits)| Step::Create { index, submits }),
        4 => (task.clone(), 0..2_u8, 1..3_u8).prop_map(|(task, key, answer)| Step::Certify { task, key, answer }),
        3 => (task.clone(), 0..3_u8).prop_map(|(task, tx)| Step::Intent { task, tx }),
        3 => (task.clone(), 0..3_u8).prop_map(|(task, tx)| Step::Finalize { task, tx }),
        2 => task.clone().prop_map(|task| Step::Done { task }),
        1 => task.clone().prop_map(|task| Step::Expire { task }),
        1 => task.clone().prop_map(|task| Step::Fail { task }),
        1 => (0..4_usize).prop_map(|member| Step::Down { member }),
        1 => (0..4_usize).prop_map(|member| Step::Up { member }),
        2 => (task, 0..4_usize).prop_map(|(task, member)| Step::Assign { task, member }),
        1 => (0..4_usize, 10..40_u8).prop_map(|(member, challenge)| Step::Rejoin { member, challenge }),
        3 => (0..4_usize, 0..4_u32).prop_map(|(member, task)| Step::Complain { member, task }),
        1 => Just(Step::Rotate),
        2 => (0..4_usize).prop_map(|member| Step::Elect { member }),
        1 => Just(Step::Garbage),
    ]
}

fn play(sim: &mut Sim, author: usize, step: Step) {
    let close = |task, outcome| Command::Close { task, outcome, at: None };
    let command = match step {
        Step::Create { index, submits } => sim.create(index, submits),
        Step::Certify { task, key, answer } => sim.certify(task, &format!("k{key}"), &[0, 1, 2], answer),
        Step::Intent { task, tx } => sim.intent(task, 1, tx),
        Step::Finalize { task, tx } => {
            close(task, Outcome::Finalized { tx: B256::repeat_byte(tx), block_hash: B256::repeat_byte(9) })
        }
        Step::Done { task } => close(task, Outcome::Done),
        Step::Expire { task } => close(task, Outcome::Expired),
        Step::Fail { task } => close(task, Outcome::Failed { reason: String::new() }),
        Step::Down { member } => Command::Down { node: sim.operators[member].node },
        Step::Up { member } => Command::Up { node: sim.operators[member].node },
        Step::Assign { task, member } => {
            let epoch = sim.state().tasks.get(&task).map_or(1, |task| task.assignment_epoch + 1);
            Command::Assign { task, aggregator: sim.operators[member].node, assignment_epoch: epoch, idle: true }
        }
        Step::Rejoin { member, challenge } => {
            Command::AddOperator { join: Box::new(sim.join(member, B256::repeat_byte(challenge))) }
        }
        Step::Complain { member, task } => {
            let evidence = String::new();
            let complaint =
                Command::Complaint { term: sim.term, kind: ComplaintKind::Receipt, task: Some(task), evidence };
            sim.log_as(member, &complaint);
            return;
        }
        Step::Rotate => Command::Rotate,
        Step::Elect { member } => return sim.elect(member),
        Step::Garbage => {
            sim.append(eigenshift_ledger::Payload::Command(vec![1, 2, 3].into()));
            return;
        }
    };
    // Mostly whoever may: the leader or the aggregator; else whoever the case says.
    let aggregator = match step {
        Step::Certify { task, .. } | Step::Intent { task, .. } | Step::Finalize { task, .. } | Step::Done { task } => {
            let node = sim.state().tasks.get(&task).map(|task| task.aggregator);
            sim.operators.iter().position(|operator| Some(operator.node) == node)
        }
        _ => sim.operators.iter().position(|operator| operator.node == sim.leader),
    };
    let author = if author < 4 { author } else { aggregator.unwrap_or(0) };
    let reply = sim.log_as(author, &command);
    if let (Step::Rejoin { member, .. }, eigenshift_ledger::Reply::Accepted(_)) = (step, reply) {
        sim.operators[member].node = eigenshift_types::NodeId(sim.index);
    }
}

/// What was so before.
#[derive(Default)]
struct Seen {
    /// How each task ended, and whether its receipt is disputed.
    endings: BTreeMap<TaskIndex, (Outcome, bool)>,
    certified: BTreeMap<(TaskIndex, ResponseKey), B256>,
    ends: u64,
}

/// Whatever was final before is so still, and who asks what ended since is told.
fn check_finality(state: &State, seen: &mut Seen) -> Result<(), TestCaseError> {
    prop_assert!(*state == State::restore(&state.snapshot()).unwrap(), "a snapshot says everything");
    let Seen { endings, certified, ends } = seen;
    let since: Vec<TaskIndex> =
        state.ended_since(std::mem::replace(ends, state.ends)).map(|task| task.spec.index).collect();
    for (index, task) in &state.tasks {
        if let Phase::Closed(outcome) = &task.phase {
            let known = endings.insert(*index, (outcome.clone(), task.disputed));
            let ended = known.as_ref().is_none_or(|(before, _)| before != outcome);
            prop_assert_eq!(since.contains(index), ended, "task {}", index);
            let (before, disputed) = known.unwrap_or_else(|| (outcome.clone(), false));
            // A disputed receipt may give way to another one; the outcome stays.
            let receipts =
                disputed && matches!((&before, outcome), (Outcome::Finalized { .. }, Outcome::Finalized { .. }));
            prop_assert!(before == *outcome || receipts, "task {} ended twice", index);
        } else {
            prop_assert!(!endings.contains_key(index), "task {} came back", index);
        }
        for (key, certificate) in &task.certificates {
            let known = certified.entry((*index, key.clone())).or_insert(certificate.digest);
            prop_assert_eq!(*known, certificate.digest, "two certificates for one key");
        }
        prop_assert!(state.sets.contains_key(&task.spec.set_digest), "a kept task's set is kept");
    }
    let most = state.settings.as_ref().map_or(0, |settings| settings.max_open_tasks as usize);
    prop_assert!(state.live_tasks().count() <= most);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_log_gives_a_task_two_outcomes_or_a_key_two_certificates_and_a_snapshot_with_the_tail_is_the_whole_log(
        leadership in any::<bool>(),
        steps in proptest::collection::vec((0..12_usize, step()), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let mode = if leadership { Mode::Leadership } else { Mode::Assignment };
        let mut sim = Sim::new(mode);
        let mut seen = Seen::default();
        for (author, step) in steps {
            play(&mut sim, author, step);
            check_finality(sim.state(), &mut seen)?;
        }
        let cut = cut.index(sim.log.len());
        // The whole log, in one batch.
        let mut whole = Machine::default();
        whole.apply(&sim.log);
        prop_assert_eq!(whole.snapshot(), sim.machine.snapshot(), "batches change nothing");
        // A snapshot somewhere, and the tail.
        let mut head = Machine::default();
        head.apply(&sim.log[..cut]);
        let mut resumed = Machine::default();
        resumed.restore(&head.snapshot()).unwrap();
        resumed.apply(&sim.log[cut..]);
        prop_assert_eq!(resumed.snapshot(), sim.machine.snapshot(), "a snapshot loses nothing");
    }
}
