//! What goes into a plugin and comes out, as the host's own types. No WIT track shows here.

use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, ResponseKey, Service, TaskIndex, U256};

/// One task, equal on every operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Number of the task.
    pub index: TaskIndex,
    /// `T`, as the AVS encoded it.
    pub request: Bytes,
    /// The AVS.
    pub service: Service,
    /// Where chain reads for the task happen.
    pub reference_block: BlockRef,
    /// Timestamp of the reference block, seconds since 1970.
    pub reference_time: u64,
}

/// What a plugin says it is. For people: texts are cut to 1 KiB and control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name of the AVS's logic.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How requests and responses are encoded.
    pub schema: String,
}

/// One answer to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signable {
    /// What the answer is about.
    pub key: ResponseKey,
    /// `K`, as the AVS encoded it: at most 16 KiB.
    pub payload: Bytes,
    /// What the contract checks the aggregated signature against.
    pub digest: B256,
    /// The AVS's extension of the signed response: at most 1 KiB; not covered by the signature.
    pub extension: Bytes,
}

/// One operator's answer as it was received; its sender is verified, its bytes are hostile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerResponse {
    /// Who sent it.
    pub operator_id: OperatorId,
    /// `K`.
    pub payload: Bytes,
    /// The extension.
    pub extension: Bytes,
}

/// Where an answer counts: signatures with an equal key and digest are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateKey {
    /// The task that the plugin finds in the answer; whoever called compares it.
    pub task_index: TaskIndex,
    /// What the answer is about.
    pub key: ResponseKey,
    /// What must be signed.
    pub digest: B256,
}

/// One EVM log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    /// Who emitted it.
    pub address: Address,
    /// Its topics.
    pub topics: Vec<B256>,
    /// Its data.
    pub data: Bytes,
    /// The block it is in.
    pub block: BlockRef,
    /// The transaction that emitted it.
    pub transaction_hash: B256,
    /// Its index within the block.
    pub log_index: u32,
}

/// A block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The block.
    pub block: BlockRef,
    /// Seconds since 1970.
    pub timestamp: u64,
}

/// A transaction for the host to send from the operator's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Receiver.
    pub to: Address,
    /// Calldata: at most 1 MiB.
    pub data: Bytes,
    /// Wei.
    pub value: U256,
}

/// Which events a plugin wants to be woken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// The contract.
    pub address: Address,
    /// First topics: at most 64.
    pub topics0: Vec<B256>,
}

/// What woke the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A timer.
    Timer {
        /// Its name in the configuration.
        name: String,
        /// Seconds since 1970 divided by the period.
        slot: u64,
    },
    /// A contract event that one of the filters asked for.
    Event(EventLog),
    /// Bytes from an operator's administrator.
    Request(Bytes),
}

/// A task to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// The contract's number of it; none lets the cluster count.
    pub index: Option<TaskIndex>,
    /// `T`: at most 64 KiB.
    pub request: Bytes,
    /// How many response keys are expected: 1 to the manifest's number of keys.
    pub keys_expected: u32,
}

/// What is to be done about a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Log this task.
    Create(NewTask),
    /// First create it on chain with this transaction.
    Transact(Transaction),
    /// Nothing, for this reason.
    Ignore(String),
}

/// A certificate in the form that a contract needs. Points are uncompressed and big-endian, in EIP-197's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionCertificate {
    /// What the response is about.
    pub key: ResponseKey,
    /// `K`.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// G1 keys of the operators that did not sign, ascending by operator id; 64 bytes each.
    pub non_signers: Vec<Bytes>,
    /// Aggregate G1 key of each quorum, in the order of `quorums`; 64 bytes each.
    pub quorum_aggregate_keys: Vec<Bytes>,
    /// Quorum numbers, ascending.
    pub quorums: Vec<u8>,
    /// Aggregate G2 key of the signers; 128 bytes.
    pub signers_aggregate_key: Bytes,
    /// Aggregate G1 signature; 64 bytes.
    pub signature: Bytes,
}

/// What to do with the certificates so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They answer the task: send this.
    Submit(Transaction),
    /// They do not, yet.
    NotYet,
    /// They never will, for this reason.
    Fail(String),
}

/// An operator that may take the duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub operator_id: OperatorId,
    /// Stake in each of the AVS's quorums.
    pub stakes: Vec<U256>,
}
