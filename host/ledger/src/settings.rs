//! What the cluster agreed to work by: the only configuration that applying reads.

use alloy_primitives::{Address, B256};
use eigenshift_bls::Curve;
use eigenshift_types::Quorums;
use serde::{Deserialize, Serialize};

/// When the duty moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// After each task.
    AfterTask,
    /// After so many tasks.
    Every(u32),
    /// After so many milliseconds, measured by the leader.
    IntervalMs(u64),
    /// Never, unless whoever has it is gone.
    Sticky,
}

/// What the duty is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Raft leadership: it is handed over. One task at a time.
    Leadership,
    /// Aggregating: each new task names the next one. Many tasks at a time.
    Assignment,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The next operator id in the ring.
    RoundRobin,
    /// Drawn by the task's reference block hash.
    BlockHash,
    /// Drawn by the task's reference block hash, weighted by stake.
    Stake,
    /// As the AVS's own logic says, which every member can run again.
    Plugin,
}

/// Policy, mode and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationSettings {
    /// When.
    pub policy: Policy,
    /// What.
    pub mode: Mode,
    /// Who.
    pub order: Order,
}

/// How long a task may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// So many blocks after its reference block.
    Blocks(u64),
    /// So many milliseconds, by the leader's monotonic clock since it applied the task or became leader.
    Ms(u64),
}

/// When a version of the logic is taken back because its answers differ from member to member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The tasks that count: the first so many of a version. None: disagreements never take one back.
    pub tasks: u32,
    /// In how many of them a member's answer must have differed before its stake counts.
    pub disagreements: u32,
}

/// The cluster's settings. Changed as a whole, by a command with approvals of more than half the voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Rules that the entries are read by.
    pub ledger_version: u32,
    /// Curve of the operators' keys. Never changes within an epoch, as the registry does not.
    pub curve: Curve,
    /// Quorums that every task needs, and the least share of stake in each.
    pub quorums: Quorums,
    /// Whether thresholds of 50 or less are allowed: two answers could reach them, and the first one logged wins.
    pub allow_minority_thresholds: bool,
    /// How long the aggregator waits for further signers after the quorums are met, milliseconds.
    pub window_ms: u64,
    /// The wait ends early when no more than so many are missing: each non-signer costs gas on chain.
    pub window_non_signers: u32,
    /// How long a task may stay open.
    pub expiry: Expiry,
    /// Blocks on top of an event or a receipt before it counts; none means finalized by the chain.
    pub confirmations: Option<u64>,
    /// Reference block = so many blocks behind the head.
    pub reference_lag: u64,
    /// How many blocks a new aggregator waits for the old one's transaction.
    pub reassign_grace: u64,
    /// Rotation.
    pub rotation: RotationSettings,
    /// How many ended tasks are kept.
    pub retention: u32,
    /// How many members vote; further ones are learners.
    pub max_voters: u32,
    /// How many tasks may be open at once; 1 under leadership rotation.
    pub max_open_tasks: u32,
    /// Largest request, bytes.
    pub max_request_bytes: u32,
    /// Largest response payload, bytes.
    pub max_response_bytes: u32,
    /// Most response keys a task may have.
    pub keys_per_task: u32,
    /// Who may publish bundles.
    pub publishers: Vec<Address>,
    /// When a bundle is taken back.
    pub trial: Trial,
    /// Which fuel costs plugins are metered by, and the other bounds of a call that are nobody's to choose: how many host
    /// calls it may make. Equal everywhere, or outcomes would differ.
    pub fuel_schedule: String,
    /// The operator registry contract.
    pub registry: Address,
}

/// Bounds what is remembered of a version's disagreements.
const MAX_TRIAL: u32 = 1024;

/// The ledger version that this software writes and reads.
pub const LEDGER_VERSION: u32 = 1;

/// The fuel costs of the wasmtime line that this software embeds, with 65,536 host calls of every kind in a call.
pub const FUEL_SCHEDULE: &str = "wasmtime-48";

impl Settings {
    /// The defaults for an AVS with one quorum (number 0) at 67 %, over BN254.
    #[must_use]
    pub fn new(registry: Address) -> Self {
        Self {
            ledger_version: LEDGER_VERSION,
            curve: Curve::default(),
            quorums: Quorums { numbers: vec![0], thresholds: vec![67] },
            allow_minority_thresholds: false,
            window_ms: 0,
            window_non_signers: 0,
            expiry: Expiry::Ms(60_000),
            confirmations: None,
            reference_lag: 1,
            reassign_grace: 5,
            rotation: RotationSettings { policy: Policy::AfterTask, mode: Mode::Leadership, order: Order::RoundRobin },
            retention: 1024,
            max_voters: 7,
            max_open_tasks: 1,
            max_request_bytes: 64 * 1024,
            max_response_bytes: 16 * 1024,
            keys_per_task: 16,
            publishers: Vec::new(),
            trial: Trial { tasks: 128, disagreements: 3 },
            fuel_schedule: FUEL_SCHEDULE.to_owned(),
            registry,
        }
    }

    /// Which rules the settings name that this software does not have.
    #[must_use]
    pub fn unknown_rules(&self) -> Option<&'static str> {
        if self.ledger_version != LEDGER_VERSION {
            Some("ledger version")
        } else if self.fuel_schedule != FUEL_SCHEDULE {
            Some("fuel schedule")
        } else {
            None
        }
    }

    /// Says what is wrong with the settings, if anything is.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let ascending = self.quorums.numbers.is_sorted_by(|a, b| a < b);
        let thresholds = &self.quorums.thresholds;
        let minority = thresholds.iter().any(|threshold| *threshold <= 50) && !self.allow_minority_thresholds;
        let own_order = self.rotation.order == Order::Plugin;
        let rules: [(bool, &'static str); 18] = [
            (self.unknown_rules().is_none(), "ledger-version or fuel-schedule is not the one this software has"),
            (
                !self.quorums.numbers.is_empty() && self.quorums.numbers.len() <= 16 && ascending,
                "quorums must be 1 to 16 numbers, strictly ascending",
            ),
            (thresholds.len() == self.quorums.numbers.len(), "each quorum needs one threshold"),
            (thresholds.iter().all(|threshold| (1..=100).contains(threshold)), "a threshold is 1 to 100 percent"),
            (
                !minority,
                "a threshold of 50 or less lets two answers win; set allow-minority-thresholds if that is meant",
            ),
            (self.window_ms <= 600_000, "window is at most ten minutes"),
            (!matches!(self.expiry, Expiry::Blocks(0) | Expiry::Ms(0)), "expiry cannot be zero"),
            (self.confirmations.is_none_or(|blocks| blocks <= 10_000), "confirmations are at most 10,000 blocks"),
            (
                self.reference_lag <= 10_000 && self.reassign_grace <= 10_000,
                "reference-lag and reassign-grace are at most 10,000 blocks",
            ),
            (
                !matches!(self.rotation.policy, Policy::Every(0) | Policy::IntervalMs(0)),
                "a rotation interval cannot be zero",
            ),
            ((1..=65_536).contains(&self.retention), "retention is 1 to 65,536 tasks"),
            ((1..=15).contains(&self.max_voters), "max-voters is 1 to 15"),
            ((1..=65_536).contains(&self.max_open_tasks), "max-open-tasks is 1 to 65,536"),
            (
                self.rotation.mode == Mode::Assignment || self.max_open_tasks == 1,
                "rotation by leadership has one open task at a time",
            ),
            (
                self.rotation.mode == Mode::Leadership || !own_order,
                "the plugin's own order needs rotation by leadership",
            ),
            (
                self.max_request_bytes <= 256 * 1024 && self.max_response_bytes <= 64 * 1024,
                "requests are at most 256 KiB, responses 64 KiB",
            ),
            (
                (1..=256).contains(&self.keys_per_task) && self.publishers.len() <= 64,
                "keys-per-task is 1 to 256, publishers at most 64",
            ),
            (
                self.trial.tasks <= MAX_TRIAL && (1..=64).contains(&self.trial.disagreements),
                "trial-tasks is at most 1,024, trial-disagreements 1 to 64",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, problem)| *problem)
    }

    /// keccak256 of the canonical encoding: what approvals sign.
    #[must_use]
    pub fn digest(&self) -> B256 {
        alloy_primitives::keccak256(eigenshift_types::frame::canonical(self))
    }
}
