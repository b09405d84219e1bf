//! Every command, and the signed form in which it is logged.

use alloy_primitives::{Address, B256, Bytes};
use eigenshift_types::{
    BlockRef, Certificate, ClusterId, CommandId, Epoch, NodeId, NodeKey, NodePublicKey, NodeSignature, OperatorId,
    OperatorSet, Outcome, ResponseKey, Service, SignedJoin, TaskIndex, TaskSpec, frame,
};
use serde::{Deserialize, Serialize};

use crate::Settings;
use crate::state::TriggerId;

/// What a member can ask the cluster to agree on. [`crate::apply`] says who may, and when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begins the ledger: member 1 and everything that is agreed from the start.
    Bootstrap(Box<Bootstrap>),
    /// Makes an operator a member under a new node id: the entry's log index.
    AddOperator {
        /// The operator's own signed message.
        join: Box<SignedJoin>,
    },
    /// Ends a membership.
    RemoveOperator {
        /// Whose.
        node: NodeId,
        /// For people.
        reason: String,
    },
    /// Replaces the settings.
    ClusterSettings {
        /// The new ones.
        settings: Box<Settings>,
        /// One above the revision in force.
        revision: u64,
        /// Voters' signatures over [`settings_approval`].
        approvals: Vec<(NodeId, NodeSignature)>,
    },
    /// Logs an operator set, once per digest.
    OperatorSet(Box<OperatorSet>),
    /// Announces a transaction that creates a task on chain, before it is sent.
    PlanTask(Box<PlanTask>),
    /// Ends a plan: its transaction is mined, or was given up.
    ClosePlan {
        /// Which.
        trigger: TriggerId,
    },
    /// Begins a task.
    CreateTask(Box<CreateTask>),
    /// Gives a task another aggregator.
    Assign {
        /// Task.
        task: TaskIndex,
        /// Who aggregates from now on.
        aggregator: NodeId,
        /// One above the task's current one.
        assignment_epoch: u64,
        /// Whether the current aggregator, though live, has been idle past the leader's bound.
        idle: bool,
    },
    /// Certifies one response key of a task.
    Certificate {
        /// The aggregator's current assignment.
        assignment_epoch: u64,
        /// The proof.
        certificate: Box<Certificate>,
    },
    /// Announces a submission, or its replacement, before it is sent.
    Intent(Intent),
    /// Ends a task.
    Close {
        /// Task.
        task: TaskIndex,
        /// How.
        outcome: Outcome,
        /// For an expiry in blocks: the block that is past it, checked by watchers.
        at: Option<BlockRef>,
    },
    /// Asks every member to load a bundle.
    ProposeBundle(Box<ProposeBundle>),
    /// The author has the bundle loaded.
    BundleReady {
        /// Which.
        digest: B256,
    },
    /// The author will not run the bundle.
    BundleRefused {
        /// Which.
        digest: B256,
        /// For people.
        why: String,
    },
    /// New tasks run this bundle from here on: a proposed one that enough stake has ready, or a former one when the active
    /// one fails.
    Activate {
        /// Which.
        digest: B256,
        /// Operator set under which stake counts.
        set_digest: B256,
    },
    /// The active bundle gives the author no answer to a task.
    NoAnswer {
        /// Which.
        task: TaskIndex,
        /// For people.
        reason: String,
    },
    /// The author's answer to an ended task of the active bundle is not the certified one, or none was certified.
    Disagreement {
        /// Which.
        task: TaskIndex,
        /// What it is about.
        key: ResponseKey,
        /// What the author signed.
        digest: B256,
    },
    /// A member does not answer: it gets no duty until it is up again.
    Down {
        /// Who.
        node: NodeId,
    },
    /// A member answers again.
    Up {
        /// Who.
        node: NodeId,
    },
    /// Where the plugin's own order sends the duty.
    Turn {
        /// The seed of the undecided move.
        seed: B256,
        /// Who is next.
        operator: OperatorId,
    },
    /// The duty is to move on: asked for by an administrator, or an interval is over.
    Rotate,
    /// Something is wrong with the leader or with what was logged.
    Complaint {
        /// Raft term it is about.
        term: u64,
        /// What is wrong.
        kind: ComplaintKind,
        /// The task it is about, if it is about one.
        task: Option<TaskIndex>,
        /// For people, and for whoever checks: bounded.
        evidence: String,
    },
    /// The leader's digest of its state after a past entry: whoever comes to another one stops.
    StateDigest {
        /// Log index of the entry.
        index: u64,
        /// keccak256 of the state's canonical encoding after it.
        digest: B256,
    },
}

/// What a bundle must show before members say that they have it ready: it runs beside the active one, and its answers are
/// compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// At each member, on so many tasks.
    pub tasks: u32,
    /// In at most so many of them the answers may differ.
    pub differences: u32,
}

/// A bundle that a publisher wants to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposeBundle {
    /// sha256 of the bundle.
    pub digest: B256,
    /// Size of the component.
    pub component_bytes: u32,
    /// Size of the manifest.
    pub manifest_bytes: u32,
    /// How many activations there were when it was signed: a signature serves for the next one only.
    pub sequence: u64,
    /// What it must show first.
    pub shadow: Option<Shadow>,
    /// A publisher's ECDSA signature over [`activation_hash`] or, with a shadow, [`shadow_hash`].
    pub publisher_signature: Bytes,
}

/// What a ledger begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The AVS.
    pub service: Service,
    /// Incarnation.
    pub epoch: Epoch,
    /// Settings.
    pub settings: Settings,
    /// Member 1.
    pub join: SignedJoin,
    /// The bundle that tasks run.
    pub bundle_digest: B256,
    /// Contract events count from this block on.
    pub start_block: u64,
}

/// A transaction that creates a task on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTask {
    /// What caused it.
    pub trigger: TriggerId,
    /// Contract that it calls: kept with the calldata, so that a new leader can send its own.
    pub to: Address,
    /// Calldata.
    pub data: Bytes,
    /// Account that sends it.
    pub sender: Address,
    /// Its nonce.
    pub nonce: u64,
    /// Hash of the transaction.
    pub tx: B256,
}

/// A new task. The aggregator is not named: applying computes it from the rotation, so that no leader chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTask {
    /// What caused it.
    pub trigger: TriggerId,
    /// What everybody must agree on.
    pub spec: TaskSpec,
    /// Whether its outcome goes on chain (the bundle has `task-submission`).
    pub submits: bool,
}

/// A transaction that answers a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Task.
    pub task: TaskIndex,
    /// The aggregator's current assignment.
    pub assignment_epoch: u64,
    /// Account that sends it.
    pub sender: Address,
    /// Its nonce; a replacement keeps it, a new try after a failed one has a higher one.
    pub nonce: u64,
    /// keccak256 of the calldata.
    pub calldata_hash: B256,
    /// Hash of the transaction.
    pub tx: B256,
}

/// What a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComplaintKind {
    /// The leader keeps something back.
    Withholding,
    /// An operator set differs from what the author's chain says.
    OperatorSet,
    /// A certificate's payload does not give its key and digest.
    Certificate,
    /// A receipt that was logged is not on the author's chain.
    Receipt,
    /// An expiry block is not on the author's chain.
    Expiry,
    /// The plugin's own order sends the duty elsewhere.
    Rotation,
}

/// A command as it is logged: with author, id and the author's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCommand {
    /// Who asks.
    pub author: NodeId,
    /// Taken once.
    pub id: CommandId,
    /// Canonical encoding of the [`Command`]: kept as bytes, so that what was signed is what is read.
    pub body: Bytes,
    /// The author's node key over cluster, epoch, author, id and body.
    pub signature: NodeSignature,
}

const DOMAIN: &str = "eigenshift command v1";
const FRAME_VERSION: u8 = 1;

/// Largest command, bytes.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;

impl SignedCommand {
    fn signed_bytes(cluster: ClusterId, epoch: Epoch, author: NodeId, id: CommandId, body: &Bytes) -> Vec<u8> {
        frame::canonical(&(DOMAIN, cluster, epoch, author, id, body))
    }

    /// Signs a command.
    #[must_use]
    pub fn new(
        key: &NodeKey,
        cluster: ClusterId,
        epoch: Epoch,
        author: NodeId,
        id: CommandId,
        command: &Command,
    ) -> Self {
        let body = Bytes::from(frame::canonical(command));
        let signature = key.sign(&Self::signed_bytes(cluster, epoch, author, id, &body));
        Self { author, id, body, signature }
    }

    /// Whether `key` signed it for this cluster and epoch.
    #[must_use]
    pub fn is_signed_by(&self, key: &NodePublicKey, cluster: ClusterId, epoch: Epoch) -> bool {
        key.verifies(&Self::signed_bytes(cluster, epoch, self.author, self.id, &self.body), &self.signature)
    }

    /// What goes into the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        frame::encode(FRAME_VERSION, self)
    }

    /// Reads what [`SignedCommand::encode`] wrote.
    ///
    /// # Errors
    /// [`frame::FrameError`] says which check failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, frame::FrameError> {
        frame::decode(FRAME_VERSION, bytes, MAX_COMMAND_BYTES)
    }

    /// The command inside, if this software knows it.
    ///
    /// # Errors
    /// [`frame::FrameError`]: a command of a newer version, or none.
    pub fn command(&self) -> Result<Command, frame::FrameError> {
        frame::from_canonical(&self.body)
    }
}

/// What a voter's node key signs to approve settings.
#[must_use]
pub fn settings_approval(cluster: ClusterId, epoch: Epoch, revision: u64, settings: &Settings) -> Vec<u8> {
    frame::canonical(&("eigenshift settings approval v1", cluster, epoch, revision, settings.digest()))
}

/// What a publisher signs to have a bundle activated after so many activations.
#[must_use]
pub fn activation_hash(service: &Service, digest: B256, sequence: u64) -> B256 {
    alloy_primitives::keccak256(frame::canonical(&("eigenshift bundle v1", service, digest, sequence)))
}

/// As [`activation_hash`], for a bundle that is to run in the shadow of the active one first.
#[must_use]
pub fn shadow_hash(service: &Service, digest: B256, sequence: u64, shadow: Shadow) -> B256 {
    alloy_primitives::keccak256(frame::canonical(&("eigenshift shadow v1", service, digest, sequence, shadow)))
}
