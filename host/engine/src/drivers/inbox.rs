//! Takes other operators' responses: the aggregator's front door.
//!
//! Checks, in this order, each cheaper than the next: envelope, duplicate, open task, operator set, the plugin's digest
//! (remembered by the hash of `K`), the BLS signature. Size comes before, at the listener.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use eigenshift_aggregation::{Accepted as Counted, Share, ShareError};
use eigenshift_plugin::{AggregateKey, CallError, PeerResponse, ProcessError};
use eigenshift_types::{
    B256, NodeId, OperatorId, ResponseEnvelope, ResponseKey, TaskIndex, TaskSpec, frame, keccak256,
};
use parking_lot::Mutex;

use crate::callbacks::caught;
use crate::context::Context;
use crate::drivers::outbox::Ack;

/// Why a response is not taken. The codes are stable; those of [`Rejection::Plugin`] are the plugin's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another cluster or incarnation.
    #[error("the response is for another cluster or epoch")]
    WrongCluster,
    /// Not a member.
    #[error("node {0} is no member; join first")]
    NotAMember(NodeId),
    /// Not signed by the sender.
    #[error("the envelope is not signed by node {0}")]
    BadEnvelope(NodeId),
    /// Too many from this operator.
    #[error("node {0} sends more than is taken from one operator; wait a moment")]
    TooMany(NodeId),
    /// The task has ended.
    #[error("task {0} has ended")]
    TaskEnded(TaskIndex),
    /// Somebody else aggregates it.
    #[error("node {aggregator} aggregates this task (assignment epoch {assignment_epoch})")]
    NotAggregator {
        /// Who.
        aggregator: NodeId,
        /// Since which assignment.
        assignment_epoch: u64,
    },
    /// Not in the set.
    #[error("the operator has no stake in the task's quorums at its reference block")]
    NotInOperatorSet,
    /// The plugin's own.
    #[error("{message}")]
    Plugin {
        /// The plugin's code.
        code: String,
        /// The plugin's words.
        message: String,
    },
    /// It could not be processed now.
    #[error("the response could not be processed now ({code}); send it again later")]
    Unprocessed {
        /// Code of the call's error.
        code: String,
        /// Whether the payload is to blame: it traps the logic, or uses it up.
        payload: bool,
    },
    /// Another place than the envelope says.
    #[error("the payload gives key {key} and digest {digest}, the envelope says otherwise")]
    WrongDigest {
        /// What the payload gives.
        key: ResponseKey,
        /// What the payload gives.
        digest: B256,
    },
    /// The aggregation service's refusal.
    #[error("{message}")]
    Share {
        /// Its code.
        code: &'static str,
        /// Its words.
        message: String,
    },
    /// Shutting down.
    #[error("this node is shutting down")]
    Stopping,
}

impl Rejection {
    /// Short machine-readable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::WrongCluster => "wrong-cluster",
            Self::NotAMember(_) => "not-a-member",
            Self::BadEnvelope(_) => "bad-envelope",
            Self::TooMany(_) => "too-many-responses",
            Self::TaskEnded(_) => "task-ended",
            Self::NotAggregator { .. } => "not-aggregator",
            Self::NotInOperatorSet => "not-in-operator-set",
            Self::Plugin { code, .. } | Self::Unprocessed { code, .. } => code,
            Self::WrongDigest { .. } => "wrong-digest",
            Self::Share { code, .. } => code,
            Self::Stopping => "stopping",
        }
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotAMember(_) | Self::BadEnvelope(_) | Self::NotInOperatorSet => 403,
            Self::WrongCluster | Self::NotAggregator { .. } => 409,
            Self::TaskEnded(_) => 410,
            Self::Plugin { .. } | Self::WrongDigest { .. } | Self::Share { .. } => 422,
            Self::TooMany(_) => 429,
            Self::Unprocessed { .. } | Self::Stopping => 503,
        }
    }
}

const PARKED_PER_OPERATOR: usize = 16;
const PARKED_FOR: Duration = Duration::from_secs(60);

/// Bad responses that one proven sender may cost per task: each may cost a guest call and a signature check.
const REFUSED_PER_OPERATOR: u32 = 256;

/// Remembered places of payloads per task, and of those that one sender brought.
const MEMO: usize = 512;
const MEMO_PER_OPERATOR: usize = 32;

#[derive(Clone, Copy, Default)]
struct Cost {
    refused: u32,
    under_way: u32,
    remembered: usize,
}

#[derive(Default)]
struct TaskDoor {
    /// Counted already: (sender, key, digest).
    seen: BTreeSet<(NodeId, ResponseKey, B256)>,
    /// What the plugin said, by hash of payload and extension, and of the operator that it turned away.
    places: BTreeMap<B256, Result<AggregateKey, Rejection>>,
    /// What a sender cost: how often it was refused, and what is under way for it.
    costs: BTreeMap<NodeId, Cost>,
}

#[derive(Default)]
struct Doors {
    tasks: BTreeMap<TaskIndex, TaskDoor>,
    parked: BTreeMap<NodeId, VecDeque<(Duration, ResponseEnvelope)>>,
}

/// A response that is being looked at: many at once are bounded as many after one another are.
struct UnderWay<'a> {
    doors: &'a Mutex<Doors>,
    task: TaskIndex,
    sender: NodeId,
}

impl<'a> UnderWay<'a> {
    fn begin(doors: &'a Mutex<Doors>, task: TaskIndex, sender: NodeId) -> Self {
        if let Some(door) = doors.lock().tasks.get_mut(&task) {
            door.costs.entry(sender).or_default().under_way += 1;
        }
        Self { doors, task, sender }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut doors = self.doors.lock();
        // The task may have been closed and opened again meanwhile.
        if let Some(cost) = doors.tasks.get_mut(&self.task).and_then(|door| door.costs.get_mut(&self.sender)) {
            cost.under_way = cost.under_way.saturating_sub(1);
        }
    }
}

/// The aggregator's front door. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    context: Arc<Context>,
    aggregation: eigenshift_aggregation::Handle,
    doors: Arc<Mutex<Doors>>,
}

/// What the ledger says about a response's task.
enum Standing {
    Here { spec: TaskSpec, operator: OperatorId },
    Early,
    Not(Rejection),
}

impl Inbox {
    pub(crate) fn new(context: Arc<Context>, aggregation: eigenshift_aggregation::Handle) -> Self {
        Self { context, aggregation, doors: Arc::default() }
    }

    /// Takes a response, or says why not. What came too early is parked: it counts when the task is known here.
    ///
    /// # Errors
    /// [`Rejection`], counted.
    pub async fn receive(&self, envelope: ResponseEnvelope) -> Result<Ack, Rejection> {
        let (task, sender) = (envelope.task, envelope.node);
        let result = self.take(envelope).await;
        match &result {
            Ok(ack) => self.context.counters.count("response", if ack.counted { "counted" } else { "parked" }),
            Err(rejection) => {
                if let Rejection::Plugin { code, .. } = rejection {
                    self.context.counters.count_foreign("response-refused", code);
                } else {
                    self.context.counters.count("response-refused", rejection.code());
                }
                self.remember_refusal(task, sender, rejection);
            }
        }
        result
    }

    fn remember_refusal(&self, task: TaskIndex, sender: NodeId, rejection: &Rejection) {
        // Only what a proven sender is to blame for.
        let blamed = match rejection {
            Rejection::Plugin { .. } | Rejection::WrongDigest { .. } | Rejection::Share { .. } => true,
            Rejection::Unprocessed { payload, .. } => *payload,
            _ => false,
        };
        if blamed {
            self.blame(task, sender);
        }
    }

    fn blame(&self, task: TaskIndex, sender: NodeId) {
        if let Some(door) = self.doors.lock().tasks.get_mut(&task) {
            door.costs.entry(sender).or_default().refused += 1;
        }
    }

    async fn take(&self, envelope: ResponseEnvelope) -> Result<Ack, Rejection> {
        let identity = &self.context.identity;
        if (envelope.cluster_id, envelope.epoch) != (identity.cluster, identity.epoch) {
            return Err(Rejection::WrongCluster);
        }
        let sender = envelope.node;
        let key = self.context.ledger.read(|state| state.members.get(&sender).map(|member| *member.key()));
        let key = key.ok_or(Rejection::NotAMember(sender))?;
        if !envelope.is_signed_by(&key) {
            return Err(Rejection::BadEnvelope(sender));
        }
        let ack = |counted| Ack { boot_id: self.context.boot_id, counted };
        let seen = (sender, envelope.key.clone(), envelope.digest);
        {
            let mut doors = self.doors.lock();
            let door = doors.tasks.entry(envelope.task);
            if let std::collections::btree_map::Entry::Occupied(door) = door {
                if door.get().seen.contains(&seen) {
                    return Ok(ack(true));
                }
                let cost = door.get().costs.get(&sender).copied().unwrap_or_default();
                if cost.refused.saturating_add(cost.under_way) >= REFUSED_PER_OPERATOR {
                    return Err(Rejection::TooMany(sender));
                }
            }
        }
        let (spec, operator) = match self.standing(&envelope) {
            Standing::Here { spec, operator } => (spec, operator),
            Standing::Early => {
                self.park(envelope)?;
                return Ok(ack(false));
            }
            Standing::Not(rejection) => return Err(rejection),
        };
        let _under_way = UnderWay::begin(&self.doors, envelope.task, sender);
        let place = self.place(&spec, operator, &envelope).await?;
        if (place.task_index, &place.key, place.digest) != (envelope.task, &envelope.key, envelope.digest) {
            return Err(Rejection::WrongDigest { key: place.key, digest: place.digest });
        }
        let share = Share {
            task: envelope.task,
            key: envelope.key,
            payload: envelope.payload,
            extension: envelope.extension,
            digest: envelope.digest,
            operator,
            signature: envelope.signature,
        };
        match self.aggregation.submit(share).await {
            Ok(Counted::AlreadyCertified { digest }) if digest != seen.2 => {
                // Nothing was verified, and there is no end to such digests.
                self.blame(spec.index, sender);
                Ok(ack(true))
            }
            Ok(Counted::Counted | Counted::Duplicate | Counted::AlreadyCertified { .. }) => {
                if let Some(door) = self.doors.lock().tasks.get_mut(&spec.index) {
                    door.seen.insert(seen);
                }
                Ok(ack(true))
            }
            Err(error @ (ShareError::Busy | ShareError::Closed | ShareError::NotOpen(_))) => {
                Err(Rejection::Unprocessed { code: error.code().to_owned(), payload: false })
            }
            Err(error) => Err(Rejection::Share { code: error.code(), message: error.to_string() }),
        }
    }

    fn standing(&self, envelope: &ResponseEnvelope) -> Standing {
        let node = self.context.identity.node;
        let opened = self.doors.lock().tasks.contains_key(&envelope.task);
        self.context.ledger.read(|state| {
            let Some(task) = state.tasks.get(&envelope.task) else {
                return if envelope.task >= state.index_floor {
                    Standing::Early
                } else {
                    Standing::Not(Rejection::TaskEnded(envelope.task))
                };
            };
            if !task.is_live() {
                return Standing::Not(Rejection::TaskEnded(envelope.task));
            }
            if envelope.assignment_epoch > task.assignment_epoch {
                return Standing::Early;
            }
            if task.aggregator != node || envelope.assignment_epoch < task.assignment_epoch {
                let (aggregator, assignment_epoch) = (task.aggregator, task.assignment_epoch);
                return Standing::Not(Rejection::NotAggregator { aggregator, assignment_epoch });
            }
            if !opened {
                return Standing::Early;
            }
            let set = state.sets.get(&task.spec.set_digest);
            let operator = state.members.get(&envelope.node).map(|member| member.operator());
            match set.zip(operator).and_then(|(set, operator)| set.by_address(operator)) {
                Some(record) => Standing::Here { spec: task.spec.clone(), operator: record.id },
                None => Standing::Not(Rejection::NotInOperatorSet),
            }
        })
    }

    fn park(&self, envelope: ResponseEnvelope) -> Result<(), Rejection> {
        let now = self.context.env.clock.monotonic();
        let mut doors = self.doors.lock();
        let parked = doors.parked.entry(envelope.node).or_default();
        parked.retain(|(since, _)| now.saturating_sub(*since) < PARKED_FOR);
        if parked.iter().any(|(_, known)| *known == envelope) {
            return Ok(());
        }
        if parked.len() >= PARKED_PER_OPERATOR {
            return Err(Rejection::TooMany(envelope.node));
        }
        parked.push_back((now, envelope));
        Ok(())
    }

    /// Where the payload counts, as the plugin says; asked once per payload and task.
    async fn place(
        &self,
        spec: &TaskSpec,
        operator: OperatorId,
        envelope: &ResponseEnvelope,
    ) -> Result<AggregateKey, Rejection> {
        // Where a payload counts is the same for every operator; that it is turned away may be about its sender.
        let id = keccak256(frame::canonical(&(&envelope.payload, &envelope.extension)));
        let own = keccak256(frame::canonical(&(id, operator)));
        let known = |door: &TaskDoor| door.places.get(&id).or_else(|| door.places.get(&own)).cloned();
        let known = self.doors.lock().tasks.get(&spec.index).and_then(known);
        if let Some(known) = known {
            return known;
        }
        let response = PeerResponse {
            operator_id: operator,
            payload: envelope.payload.clone(),
            extension: envelope.extension.clone(),
        };
        let task = self.context.task(spec);
        let Some(logic) = self.context.logic_of(spec) else {
            return Err(Rejection::Unprocessed { code: "bundle-not-loaded".to_owned(), payload: false });
        };
        let place = match caught(logic.on_leader_process_task_response(&task, &response)).await {
            Ok(place) => Ok(place),
            Err(ProcessError::Rejected { code, message }) => Err(Rejection::Plugin { code, message }),
            Err(ProcessError::Call(error)) => {
                let payload = matches!(
                    error,
                    CallError::Trap(_)
                        | CallError::OutOfFuel
                        | CallError::HostCalls { .. }
                        | CallError::Memory
                        | CallError::BadOutput(_)
                );
                return Err(Rejection::Unprocessed { code: error.code().to_owned(), payload });
            }
        };
        if let Some(door) = self.doors.lock().tasks.get_mut(&spec.index)
            && door.places.len() < MEMO
        {
            let cost = door.costs.entry(envelope.node).or_default();
            if cost.remembered < MEMO_PER_OPERATOR {
                cost.remembered += 1;
                door.places.insert(if place.is_ok() { id } else { own }, place.clone());
            }
        }
        place
    }

    /// Opens the door of a task that this node aggregates now, and lets in what was parked for it.
    pub(crate) fn open(&self, task: TaskIndex) {
        let parked: Vec<ResponseEnvelope> = {
            let mut doors = self.doors.lock();
            doors.tasks.entry(task).or_default();
            let mut taken = Vec::new();
            for parked in doors.parked.values_mut() {
                let (now, later): (VecDeque<_>, VecDeque<_>) =
                    parked.drain(..).partition(|(_, envelope)| envelope.task == task);
                *parked = later;
                taken.extend(now.into_iter().map(|(_, envelope)| envelope));
            }
            doors.parked.retain(|_, parked| !parked.is_empty());
            taken
        };
        for envelope in parked {
            let inbox = self.clone();
            self.context.env.spawn(async move {
                // Its sender sends it again if it is not taken; a refusal is counted.
                let _ = inbox.receive(envelope).await;
            });
        }
    }

    /// Forgets a task.
    pub(crate) fn close(&self, task: TaskIndex) {
        self.doors.lock().tasks.remove(&task);
    }
}
