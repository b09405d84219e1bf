//! The state and its parts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_primitives::{Address, B256};
use eigenshift_types::{
    Certificate, ClusterId, Epoch, NodeId, NodePublicKey, OperatorSet, Outcome, ResponseKey, Service, SignedJoin,
    TaskIndex, TaskSpec, frame,
};
use serde::{Deserialize, Serialize};

use crate::command::{ComplaintKind, Intent, PlanTask, Shadow};
use crate::rotation::Rotation;
use crate::settings::Settings;
use crate::window::Window;

/// What caused a task: used once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TriggerId {
    /// A timer's slot.
    Timer {
        /// Name in the configuration.
        name: String,
        /// Seconds since 1970 / period.
        slot: u64,
    },
    /// A contract event.
    Event {
        /// EIP-155 chain id.
        chain_id: u64,
        /// Its block.
        block_hash: B256,
        /// Its transaction.
        tx: B256,
        /// Index within the block.
        log_index: u32,
    },
    /// A request over HTTP.
    Request {
        /// Its Idempotency-Key: at most 128 bytes.
        key: String,
    },
}

/// A member: one node of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The message by which its operator joined.
    pub join: SignedJoin,
    /// Log index of the joining: it signs only tasks created after it.
    pub joined_at: u64,
    /// Whether it is marked as not answering.
    pub down: bool,
    /// Which of its command ids are used.
    pub commands: Window,
}

impl Member {
    /// The operator's account.
    #[must_use]
    pub const fn operator(&self) -> Address {
        self.join.join.operator
    }

    /// The node's key.
    #[must_use]
    pub const fn key(&self) -> &NodePublicKey {
        &self.join.join.node_key
    }
}

/// Where a task is in its life. Closed is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Responses are being gathered.
    Open,
    /// A transaction with its answer was announced.
    Submitting,
    /// Ended.
    Closed(Outcome),
}

/// A task in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What everybody agreed on.
    pub spec: TaskSpec,
    /// What caused it.
    pub trigger: TriggerId,
    /// Log index of its creation.
    pub created_at: u64,
    /// Whether its outcome goes on chain.
    pub submits: bool,
    /// Who adds up the responses.
    pub aggregator: NodeId,
    /// Raised by each reassignment.
    pub assignment_epoch: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// What is certified: one per key, for good.
    pub certificates: BTreeMap<ResponseKey, Certificate>,
    /// Announced transactions, oldest first.
    pub intents: Vec<Intent>,
    /// Whether more than half the members say that its receipt is not on their chain: it is to be submitted again.
    pub disputed: bool,
}

impl Task {
    /// Whether it has not ended.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Closed(_))
    }

    /// Whether its aggregator has something to do: it has not ended, or its receipt is disputed.
    #[must_use]
    pub const fn is_unsettled(&self) -> bool {
        self.is_live() || self.disputed
    }
}

/// An announced creation on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The newest announcement.
    pub latest: PlanTask,
    /// Every transaction announced for it, oldest first: any of them may be mined.
    pub txs: Vec<B256>,
}

/// Something that should not happen was logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A second digest with its quorums for one key.
    ConflictingCertificate {
        /// Who logged it.
        author: NodeId,
        /// The task.
        task: TaskIndex,
        /// The key.
        key: ResponseKey,
        /// The digest that came second.
        digest: B256,
    },
}

/// Members' complaints about one term or thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaints {
    /// Raft term they are about.
    pub term: u64,
    /// Kind.
    pub kind: ComplaintKind,
    /// The task, if they are about one.
    pub task: Option<TaskIndex>,
    /// Who complained, with the evidence each gave.
    pub by: BTreeMap<NodeId, String>,
}

/// A bundle that members reported on, or that is or was active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleReports {
    /// Members that have it loaded.
    pub ready: BTreeSet<NodeId>,
    /// Members that will not run it, and why.
    pub refused: BTreeMap<NodeId, String>,
}

/// A proposed bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Log index.
    pub proposed_at: u64,
    /// Who proposed it, and has its bytes.
    pub by: NodeId,
    /// Size of the component.
    pub component_bytes: u32,
    /// Size of the manifest.
    pub manifest_bytes: u32,
    /// What it must show before a member says that it has it ready.
    pub shadow: Option<Shadow>,
}

/// How the active bundle has done since its activation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Tasks created since.
    pub tasks: u32,
    /// Members whose answer to a task was not the certified one, with at most as many of those tasks as it takes to count.
    pub dissents: BTreeMap<NodeId, BTreeSet<TaskIndex>>,
    /// Members' answers to tasks that expired before anything was certified.
    pub uncertified: BTreeMap<(TaskIndex, ResponseKey), BTreeMap<NodeId, B256>>,
}

/// Which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Drawn at bootstrap.
    pub id: ClusterId,
    /// Incarnation.
    pub epoch: Epoch,
    /// The AVS.
    pub service: Service,
    /// Contract events count from this block on.
    pub start_block: u64,
}

/// Everything the cluster has agreed on.
///
/// Invariants: at most one live task under leadership rotation and never more than `max_open_tasks`; a closed task is
/// never live again; `ended` holds the closed tasks' indices, those whose end was logged first in front, at most
/// `retention`; `unsettled` holds those of the unsettled tasks; every kept task's operator set is in `sets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Index of the last entry applied.
    pub applied: u64,
    /// Its term.
    pub term: u64,
    /// Leader of the last entry applied.
    pub leader: NodeId,
    /// None before the bootstrap.
    pub cluster: Option<Cluster>,
    /// None before the bootstrap.
    pub settings: Option<Settings>,
    /// How often the settings were replaced.
    pub settings_revision: u64,
    /// Members by node id.
    pub members: BTreeMap<NodeId, Member>,
    /// Who votes in Raft, as the log's membership entries say.
    pub voters: BTreeSet<NodeId>,
    /// Hashes of used join challenges, oldest first: the newest 4,096.
    pub challenges: VecDeque<B256>,
    /// Operator sets by digest.
    pub sets: BTreeMap<B256, OperatorSet>,
    /// The set that the latest task used, kept for the next.
    pub latest_set: Option<B256>,
    /// Tasks: all live ones and the newest ended ones.
    pub tasks: BTreeMap<TaskIndex, Task>,
    /// Ended tasks, oldest end first. A receipt that takes the place of a disputed one is a new end.
    pub ended: VecDeque<TaskIndex>,
    /// How many ends there have been.
    pub ends: u64,
    /// Tasks whose aggregator has something to do. It follows from `tasks`, and is no part of a snapshot: so that nobody
    /// looks through all that are kept.
    #[serde(skip)]
    pub unsettled: BTreeSet<TaskIndex>,
    /// One above the highest index used.
    pub next_index: TaskIndex,
    /// Indices below it are used or lost.
    pub index_floor: TaskIndex,
    /// Used triggers, oldest first, at most four times `retention`.
    pub triggers: VecDeque<TriggerId>,
    /// The newest slot used of each timer.
    pub timer_slots: BTreeMap<String, u64>,
    /// Block of the newest event that made a task.
    pub event_block: u64,
    /// Announced creations on chain.
    pub plans: BTreeMap<TriggerId, Plan>,
    /// Whose turn it is.
    pub rotation: Rotation,
    /// The bundle of new tasks.
    pub bundle: B256,
    /// Bundles that were active before, newest last: at most 16.
    pub former_bundles: VecDeque<B256>,
    /// How often a bundle was activated.
    pub activations: u64,
    /// Bundles that publishers want to run, for the next activation: at most 8.
    pub proposals: BTreeMap<B256, Proposal>,
    /// Reports on bundles that are proposed, active or were active.
    pub bundle_reports: BTreeMap<B256, BundleReports>,
    /// Members to whom the active bundle gave no answer, and why.
    pub no_answers: BTreeMap<NodeId, String>,
    /// Whether its answers differ.
    pub trial: Trial,
    /// Complaints: the newest 64 of (term, kind, task).
    pub complaints: VecDeque<Complaints>,
    /// Faults: the newest 256.
    pub faults: VecDeque<Fault>,
    /// Digest of this state after the newest entry whose index is a multiple of 256, with that index.
    pub checkpoint: (u64, B256),
}

/// How often the state's digest is taken, in entries.
pub const CHECKPOINT_EVERY: u64 = 256;

const SNAPSHOT_VERSION: u8 = 1;

/// Largest snapshot that is read, bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;

impl State {
    /// Canonical bytes: equal states give equal snapshots.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        frame::encode(SNAPSHOT_VERSION, self)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`frame::FrameError`] says which check failed.
    pub fn restore(bytes: &[u8]) -> Result<Self, frame::FrameError> {
        let mut state: Self = frame::decode(SNAPSHOT_VERSION, bytes, MAX_SNAPSHOT_BYTES)?;
        let unsettled = state.tasks.iter().filter(|(_, task)| task.is_unsettled());
        state.unsettled = unsettled.map(|(index, _)| *index).collect();
        Ok(state)
    }

    /// The live task of an index.
    #[must_use]
    pub fn live_task(&self, index: TaskIndex) -> Option<&Task> {
        self.tasks.get(&index).filter(|task| task.is_live())
    }

    /// Live tasks, ascending by index.
    pub fn live_tasks(&self) -> impl Iterator<Item = &Task> {
        self.unsettled_tasks().filter(|task| task.is_live())
    }

    /// Tasks whose aggregator has something to do, ascending by index.
    pub fn unsettled_tasks(&self) -> impl Iterator<Item = &Task> {
        self.unsettled.iter().filter_map(|index| self.tasks.get(index))
    }

    /// Tasks that ended after there had been so many ends, newest end first: of those that are still kept.
    pub fn ended_since(&self, ends: u64) -> impl Iterator<Item = &Task> {
        let count = usize::try_from(self.ends.saturating_sub(ends)).unwrap_or(usize::MAX);
        self.ended.iter().rev().take(count).filter_map(|index| self.tasks.get(index))
    }

    /// The member that an account's operator runs now.
    #[must_use]
    pub fn member_of(&self, operator: Address) -> Option<(NodeId, &Member)> {
        self.members.iter().find(|(_, member)| member.operator() == operator).map(|(id, member)| (*id, member))
    }

    /// Whether a trigger made its task or plan already.
    #[must_use]
    pub fn is_used(&self, trigger: &TriggerId) -> bool {
        let passed = match trigger {
            TriggerId::Timer { name, slot } => self.timer_slots.get(name).is_some_and(|last| slot <= last),
            TriggerId::Event { .. } | TriggerId::Request { .. } => false,
        };
        passed || self.plans.contains_key(trigger) || self.triggers.contains(trigger)
    }
}

/// Adds to the end and drops from the front what is over `most`.
pub(crate) fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    while queue.len() > most {
        queue.pop_front();
    }
}
