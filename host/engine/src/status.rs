//! What an operator sees of an AVS.

use std::collections::BTreeMap;

use eigenshift_ledger::apply::bundles::dissents;
use eigenshift_ledger::settings::Settings;
use eigenshift_ledger::{Phase, State, Task};
use eigenshift_types::{Address, B256, BlockRef, Certificate, ClusterId, Epoch, NodeId, Outcome, Service, TaskIndex};
use serde::{Deserialize, Serialize};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Node id.
    pub node: NodeId,
    /// Operator.
    pub operator: Address,
    /// Its public listener.
    pub http_url: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is marked as not answering.
    pub down: bool,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Number.
    pub index: TaskIndex,
    /// `open`, `submitting`, `finalized`, `done`, `expired` or `failed`.
    pub phase: String,
    /// Who aggregates it.
    pub aggregator: NodeId,
    /// Raised by each reassignment.
    pub assignment_epoch: u64,
    /// Log index of its creation.
    pub created_at: u64,
    /// Where chain reads for it happen.
    pub reference_block: BlockRef,
    /// How many response keys are expected.
    pub keys_expected: u32,
    /// Certificates so far.
    pub certificates: Vec<Certificate>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Whether its receipt is disputed.
    pub disputed: bool,
}

impl TaskStatus {
    /// The status of a task.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let (phase, outcome) = match &task.phase {
            Phase::Open => ("open", None),
            Phase::Submitting => ("submitting", None),
            Phase::Closed(outcome) => (
                match outcome {
                    Outcome::Finalized { .. } => "finalized",
                    Outcome::Done => "done",
                    Outcome::Expired => "expired",
                    Outcome::Failed { .. } => "failed",
                },
                Some(outcome.clone()),
            ),
        };
        Self {
            index: task.spec.index,
            phase: phase.to_owned(),
            aggregator: task.aggregator,
            assignment_epoch: task.assignment_epoch,
            created_at: task.created_at,
            reference_block: task.spec.reference_block,
            keys_expected: task.spec.keys_expected,
            certificates: task.certificates.values().cloned().collect(),
            outcome,
            disputed: task.disputed,
        }
    }
}

/// A bundle that a publisher wants to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedStatus {
    /// sha256 of the bundle.
    pub digest: B256,
    /// Who brought it.
    pub by: NodeId,
    /// Members that have it loaded.
    pub ready: Vec<NodeId>,
    /// Members that will not run it, and why.
    pub refused: BTreeMap<NodeId, String>,
}

/// How far a bundle is that runs beside the active one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowStatus {
    /// On how many tasks it is to be compared.
    pub tasks: u32,
    /// In how many of them its answers may differ.
    pub differences: u32,
    /// On how many it was compared so far.
    pub compared: u32,
    /// In how many of these its answers differ.
    pub different: u32,
    /// What was different at first.
    pub example: Option<String>,
}

/// What a node knows of bundles beside the state.
#[derive(Debug, Default)]
pub struct BundlesHere {
    /// Loaded.
    pub loaded: Vec<B256>,
    /// Proposed, and waiting for its operator.
    pub unapproved: Vec<B256>,
    /// Running beside the active one.
    pub shadows: BTreeMap<B256, ShadowStatus>,
}

/// The bundles of an AVS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlesStatus {
    /// What new tasks run.
    pub active: B256,
    /// How often a bundle was activated: what the next publisher's signature must name.
    pub activations: u64,
    /// What was active before, newest last.
    pub former: Vec<B256>,
    /// What is loaded on this node.
    pub loaded: Vec<B256>,
    /// What waits for enough stake to have it ready.
    pub proposed: Vec<ProposedStatus>,
    /// Of these, what waits for the word of this node's operator.
    pub unapproved: Vec<B256>,
    /// Of these, what runs beside the active one on this node.
    pub shadows: BTreeMap<B256, ShadowStatus>,
    /// Members to whom the active one gave no answer, and why.
    pub no_answers: BTreeMap<NodeId, String>,
    /// Members whose answers by the active one differed from the others', and in how many tasks.
    pub disagreements: BTreeMap<NodeId, usize>,
}

impl BundlesStatus {
    /// The bundles of a state and of a node.
    #[must_use]
    pub fn of(state: &State, here: BundlesHere) -> Self {
        let BundlesHere { loaded, unapproved, shadows } = here;
        let proposed = |(digest, proposal): (&B256, &eigenshift_ledger::state::Proposal)| {
            let reports = state.bundle_reports.get(digest).cloned().unwrap_or_default();
            let ready = reports.ready.into_iter().collect();
            ProposedStatus { digest: *digest, by: proposal.by, ready, refused: reports.refused }
        };
        Self {
            active: state.bundle,
            activations: state.activations,
            former: state.former_bundles.iter().copied().collect(),
            loaded,
            proposed: state.proposals.iter().map(proposed).collect(),
            unapproved,
            shadows,
            no_answers: state.no_answers.clone(),
            disagreements: dissents(state, |_| 1).into_iter().map(|(node, tasks)| (node, tasks.len())).collect(),
        }
    }
}

/// One AVS on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvsStatus {
    /// The AVS.
    pub service: Service,
    /// This node.
    pub node: NodeId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// Raft term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Whether this node leads, confirmed.
    pub leads: bool,
    /// Index of the last entry applied here.
    pub applied: u64,
    /// Members.
    pub members: Vec<MemberStatus>,
    /// The cluster's settings.
    pub settings: Option<Settings>,
    /// The active bundle, and which others there are.
    pub bundles: BundlesStatus,
    /// To whom leadership is to be handed.
    pub hand_over_due: Option<NodeId>,
    /// Live tasks.
    pub live_tasks: usize,
    /// Ended tasks that are kept.
    pub ended_tasks: usize,
    /// What happened how often: `event/code`.
    pub counters: BTreeMap<String, u64>,
    /// Why the group stopped on this node, if it did.
    pub halted: Option<String>,
}

/// The members of a state.
#[must_use]
pub fn members(state: &State) -> Vec<MemberStatus> {
    let status = |(node, member): (&NodeId, &eigenshift_ledger::Member)| MemberStatus {
        node: *node,
        operator: member.operator(),
        http_url: member.join.join.http_url.clone(),
        voter: state.voters.contains(node),
        down: member.down,
    };
    state.members.iter().map(status).collect()
}
