//! What became of the tasks, and which plugin answers: a line each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use eigenshift_ledger::{Phase, State, Task};
use eigenshift_types::{B256, Bytes, NodeId, Outcome, TaskIndex};

use super::say;
use super::stage::{Stage, Version};
use crate::CliError;
use crate::cluster::Signed;

/// Bytes of a request or payload that are shown.
const SHOWN: usize = 64;

/// Versions whose names are remembered.
const MAX_NAMES: usize = 64;

/// Names versions by their digests.
pub struct Report {
    names: Mutex<BTreeMap<B256, String>>,
}

/// What one look at the ledger found.
#[derive(Default)]
struct Seen {
    begun: BTreeMap<TaskIndex, Duration>,
    told: BTreeSet<TaskIndex>,
    bundle: B256,
    silent: BTreeMap<NodeId, String>,
    finished: u64,
}

fn bytes(bytes: &Bytes) -> String {
    match bytes.get(..SHOWN) {
        Some(begin) if bytes.len() > SHOWN => format!("0x{}.. ({} bytes)", hex::encode(begin), bytes.len()),
        _ => bytes.to_string(),
    }
}

fn name(version: &Version) -> String {
    format!("{} {}", version.manifest.name, version.manifest.version)
}

impl Report {
    pub fn new(version: &Version) -> Self {
        let report = Self { names: Mutex::default() };
        report.expect(version);
        report
    }

    /// Learns the name of a version before it runs.
    pub fn expect(&self, version: &Version) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(version.bundle.digest(), name(version));
    }

    fn name(&self, digest: B256) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(&digest).map_or("a former version", String::as_str);
        format!("{name} ({:.10})", digest.to_string())
    }

    /// Tells what happens until so many tasks are finished; for ever without a number.
    pub async fn run(&self, stage: &Stage, tasks: Option<u64>) -> Result<(), CliError> {
        let window = stage.window()?.clone();
        let mut changes = window.changes();
        let mut seen = Seen { bundle: window.read(|state| state.bundle), ..Seen::default() };
        say(&format!("      -- {} answers", self.name(seen.bundle)));
        loop {
            changes.borrow_and_update();
            let now = stage.cluster.env.clock.monotonic();
            let lines = window.read(|state| self.look(stage, state, &mut seen, now));
            lines.iter().for_each(|line| say(line));
            if tasks.is_some_and(|tasks| seen.finished >= tasks) {
                return Ok(());
            }
            if changes.changed().await.is_err() {
                return Err(CliError::Demo("an operator's node stopped".to_owned()));
            }
        }
    }

    fn look(&self, stage: &Stage, state: &State, seen: &mut Seen, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        if state.bundle != seen.bundle {
            seen.bundle = state.bundle;
            lines.push(format!("      -- {} answers from now on", self.name(state.bundle)));
        }
        if state.no_answers != seen.silent {
            for (node, why) in &state.no_answers {
                if seen.silent.get(node) != Some(why) {
                    lines.push(format!("      -- operator {} gets no answer: {why}", stage.cluster.operator(*node)));
                }
            }
            seen.silent.clone_from(&state.no_answers);
        }
        seen.told.retain(|index| state.tasks.contains_key(index));
        seen.begun.retain(|index, _| state.tasks.contains_key(index));
        for (index, task) in &state.tasks {
            if seen.told.contains(index) {
                continue;
            }
            let begun = *seen.begun.entry(*index).or_insert(now);
            if let Phase::Closed(outcome) = &task.phase {
                seen.told.insert(*index);
                seen.begun.remove(index);
                seen.finished += u64::from(matches!(outcome, Outcome::Done | Outcome::Finalized { .. }));
                lines.push(self.task(stage, state, (*index, task), outcome, now.saturating_sub(begun)));
            }
        }
        lines
    }

    fn task(
        &self,
        stage: &Stage,
        state: &State,
        (index, task): (TaskIndex, &Task),
        outcome: &Outcome,
        took: Duration,
    ) -> String {
        let head = format!("task {index:>4}  asked {}  ", bytes(&task.spec.request));
        let version = self.name(task.spec.bundle_digest);
        match outcome {
            Outcome::Done | Outcome::Finalized { .. } => {
                let Signed { signers, stake_percent } = Signed::of(state, task);
                let answers = task.certificates.iter();
                let answers: Vec<String> =
                    answers.map(|(key, certificate)| format!("{key} = {}", bytes(&certificate.payload))).collect();
                let on_chain = if matches!(outcome, Outcome::Done) { "" } else { ", on chain" };
                format!(
                    "{head}answered {}  by {signers}/{} ({stake_percent} % of stake{on_chain}) in {} ms, {version}",
                    answers.join(", "),
                    stage.cluster.operators(),
                    took.as_millis()
                )
            }
            Outcome::Expired => format!("{head}EXPIRED without an answer of enough operators, {version}"),
            Outcome::Failed { reason } => format!("{head}FAILED: {reason}, {version}"),
        }
    }
}
