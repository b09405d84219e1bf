//! Runs proposed versions beside the active one, and compares what they would have signed.
//!
//! One task at a time, after the answer that counts has been signed, in a tenant of their own that takes what processor time
//! is left, with a store that is only read. Nothing of it is signed or sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eigenshift_ledger::command::Shadow;
use eigenshift_plugin::{CallError, Signable, Task};
use eigenshift_types::{B256, ResponseKey, TaskSpec};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::guard::Signed;
use crate::logics::ShadowLogic;
use crate::status::ShadowStatus;

/// Tasks that wait to be compared; more are left out.
const QUEUE: usize = 64;

/// A task with what the active version had signed.
pub(crate) struct Sample {
    task: Task,
    bundle: B256,
    answers: BTreeSet<(ResponseKey, B256)>,
}

struct Running {
    logic: Arc<dyn ShadowLogic>,
    status: ShadowStatus,
}

/// Whether a bundle has shown what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// Why not.
    Failed(String),
}

/// The versions that run so.
pub(crate) struct Shadows {
    running: Mutex<BTreeMap<B256, Running>>,
    samples: mpsc::Sender<Sample>,
}

impl Shadows {
    pub fn new() -> (Self, mpsc::Receiver<Sample>) {
        let (samples, receiver) = mpsc::channel(QUEUE);
        (Self { running: Mutex::default(), samples }, receiver)
    }

    pub fn start(&self, digest: B256, logic: Arc<dyn ShadowLogic>, shadow: Shadow) {
        let Shadow { tasks, differences } = shadow;
        let status = ShadowStatus { tasks, differences, compared: 0, different: 0, example: None };
        self.running.lock().insert(digest, Running { logic, status });
    }

    /// Ends those that are not proposed any more.
    pub fn retain(&self, proposed: &[B256]) {
        self.running.lock().retain(|digest, _| proposed.contains(digest));
    }

    pub fn digests(&self) -> BTreeSet<B256> {
        self.running.lock().keys().copied().collect()
    }

    pub fn progress(&self) -> BTreeMap<B256, ShadowStatus> {
        self.running.lock().iter().map(|(digest, running)| (*digest, running.status.clone())).collect()
    }

    /// Those that are done.
    pub fn verdicts(&self) -> BTreeMap<B256, Verdict> {
        let running = self.running.lock();
        running.iter().filter_map(|(digest, running)| Some((*digest, verdict(&running.status)?))).collect()
    }

    /// Has a task compared, if anything is to be compared.
    pub fn offer(&self, context: &Context, spec: &TaskSpec, signed: &[Signed]) {
        if self.running.lock().values().all(|running| verdict(&running.status).is_some()) {
            return;
        }
        let answers = signed.iter().map(|signed| (signed.key.clone(), signed.digest)).collect();
        let sample = Sample { task: context.task(spec), bundle: spec.bundle_digest, answers };
        if self.samples.try_send(sample).is_err() {
            context.counters.count("shadow", "left-out");
        }
    }

    /// What is still to be compared.
    fn open(&self) -> Vec<(B256, Arc<dyn ShadowLogic>)> {
        let running = self.running.lock();
        let open = running.iter().filter(|(_, running)| verdict(&running.status).is_none());
        open.map(|(digest, running)| (*digest, Arc::clone(&running.logic))).collect()
    }

    /// Whether that settles it.
    fn note(&self, digest: B256, difference: Option<String>) -> bool {
        let mut running = self.running.lock();
        let Some(running) = running.get_mut(&digest) else { return false };
        let status = &mut running.status;
        status.compared += 1;
        if let Some(difference) = difference {
            status.different += 1;
            status.example.get_or_insert(difference);
        }
        verdict(status).is_some()
    }
}

fn verdict(status: &ShadowStatus) -> Option<Verdict> {
    let ShadowStatus { tasks, differences, compared, different, example } = status;
    if different > differences {
        let example = example.as_deref().unwrap_or_default();
        let why = format!("in the shadow its answers to {different} of {compared} tasks differ; {example}");
        return Some(Verdict::Failed(why));
    }
    (compared >= tasks).then_some(Verdict::Passed)
}

/// What is different, if anything is; an error when this node could not say.
fn difference(sample: &Sample, answers: Result<Vec<Signable>, CallError>) -> Result<Option<String>, CallError> {
    let index = sample.task.index;
    let answers: BTreeSet<(ResponseKey, B256)> = match answers {
        Ok(answers) => answers.into_iter().map(|answer| (answer.key, answer.digest)).collect(),
        Err(error @ (CallError::Busy | CallError::Deadline | CallError::Internal(_) | CallError::RetryAfter(_))) => {
            return Err(error);
        }
        Err(error) => return Ok(Some(format!("to task {index} it has none: {error}"))),
    };
    if answers == sample.answers {
        return Ok(None);
    }
    let first = answers.symmetric_difference(&sample.answers).next();
    let key = first.map_or_else(String::new, |(key, _)| key.to_string());
    Ok(Some(format!("to task {index} first, under key {key}")))
}

/// Compares what is offered, until the AVS stops.
pub(crate) async fn run(context: Arc<Context>, mut samples: mpsc::Receiver<Sample>) {
    loop {
        let sample = tokio::select! {
            sample = samples.recv() => sample,
            () = context.stop.cancelled() => return,
        };
        let Some(sample) = sample else { return };
        // What the version before the active one had signed says nothing about the active one.
        if context.ledger.read(|state| state.bundle != sample.bundle) {
            continue;
        }
        for (digest, logic) in context.shadows.open() {
            let answers = tokio::select! {
                answers = logic.answers(&sample.task) => answers,
                () = context.stop.cancelled() => return,
            };
            match difference(&sample, answers) {
                Ok(difference) => {
                    let what = if difference.is_some() { "different" } else { "same" };
                    context.counters.count("shadow", what);
                    if context.shadows.note(digest, difference) {
                        context.ledger.nudge();
                    }
                }
                Err(error) => {
                    context.counters.count("shadow", "not-compared");
                    tracing::debug!(avs = %context.service.avs, bundle = %digest, "not compared: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use eigenshift_types::{BlockRef, Bytes, Service};

    use super::*;

    fn signable(name: &str, digest: u8) -> Signable {
        Signable {
            key: ResponseKey::new(name.as_bytes().to_vec()).unwrap(),
            payload: Bytes::new(),
            digest: B256::repeat_byte(digest),
            extension: Bytes::new(),
        }
    }

    fn sample(answers: &[Signable]) -> Sample {
        let task = Task {
            index: 7,
            request: Bytes::new(),
            service: Service { avs: "a".parse().unwrap(), chain_id: 1, service_manager: Default::default() },
            reference_block: BlockRef::default(),
            reference_time: 0,
        };
        let answers = answers.iter().map(|answer| (answer.key.clone(), answer.digest)).collect();
        Sample { task, bundle: B256::ZERO, answers }
    }

    #[test]
    fn answers_are_the_same_when_keys_and_digests_are_in_whatever_order() {
        let (a, b) = (signable("a", 1), signable("b", 2));
        let signed = sample(&[a.clone(), b.clone()]);
        assert_eq!(difference(&signed, Ok(vec![b.clone(), a.clone()])), Ok(None));
        let missing = difference(&signed, Ok(vec![a.clone()])).unwrap().unwrap();
        assert!(missing.contains("task 7") && missing.contains("key b"), "{missing}");
        assert!(difference(&signed, Ok(vec![a, signable("b", 3)])).unwrap().is_some());
        let trapped = difference(&signed, Err(CallError::Trap("unreachable".to_owned()))).unwrap().unwrap();
        assert!(trapped.contains("unreachable"), "{trapped}");
        assert_eq!(difference(&signed, Err(CallError::Busy)), Err(CallError::Busy), "says nothing about the bundle");
    }

    #[test]
    fn a_shadow_passes_after_its_tasks_and_fails_with_the_first_difference_too_many() {
        let status =
            |compared, different| ShadowStatus { tasks: 3, differences: 1, compared, different, example: None };
        assert_eq!(verdict(&status(2, 1)), None);
        assert_eq!(verdict(&status(3, 1)), Some(Verdict::Passed));
        assert!(matches!(verdict(&status(2, 2)), Some(Verdict::Failed(why)) if why.contains("2 of 2 tasks")));
    }
}
