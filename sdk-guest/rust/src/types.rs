//! What the callbacks speak of. Equal at every operator of the AVS, but where a field says otherwise.

use crate::{Address, B256, U256};

/// A block named by number and hash, so that two nodes can never mean different blocks by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId {
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
}

/// The AVS a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The AVS's name in the operators' configuration.
    pub avs: String,
    /// EIP-155 id of the chain that its contracts live on.
    pub chain_id: u64,
    /// Its service manager contract.
    pub service_manager: Address,
}

/// One task as the replicated log holds it, its request decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task<T> {
    /// Number of the task; for tasks created on chain, the contract's own.
    pub index: u32,
    /// What is asked: `T`.
    pub request: T,
    /// The AVS it belongs to.
    pub service: Service,
    /// The block at which chain reads for this task happen.
    pub reference_block: BlockId,
    /// Timestamp of the reference block, in seconds since 1970: the task's only notion of "now".
    pub reference_time: u64,
}

/// What a response is about (a price source, for example): 1 to 64 bytes, unique within a task, the same at every
/// operator. Signatures are added up per key and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseKey(Vec<u8>);

impl ResponseKey {
    /// Longest key, in bytes.
    pub const MAX: usize = 64;

    /// A key of these bytes; none if they are too few or too many.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The key of an AVS with one response a task: `0`.
    #[must_use]
    pub fn single() -> Self {
        Self(b"0".to_vec())
    }

    /// A `bytes32` name without the zero bytes that pad it on the right. The zero word keeps one of them.
    #[must_use]
    pub fn trimmed(name: B256) -> Self {
        let length = name.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        Self(name.iter().take(length).copied().collect())
    }

    /// The bytes, 1 to 64.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, 1 to 64.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// One answer for the host to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signable<K, E> {
    /// What the answer is about.
    pub key: ResponseKey,
    /// The answer: `K`.
    pub response: K,
    /// What the contract checks the aggregated signature against.
    pub digest: B256,
    /// The AVS's own addition to the signed response. Not covered by the signature.
    pub extension: E,
}

/// Who sent an answer, and what came beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer<E> {
    /// keccak256 of the operator's G1 key. Already verified by the host.
    pub operator_id: B256,
    /// The extension. None when there is none to see: a certificate, which every node verifies by the same callback,
    /// keeps none.
    pub extension: Option<E>,
}

/// Where an answer counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateKey {
    /// The task's number.
    pub task_index: u32,
    /// What the answer is about.
    pub key: ResponseKey,
    /// The digest that was signed.
    pub digest: B256,
}

/// A transaction for the host to send from the operator's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The contract.
    pub to: Address,
    /// Calldata.
    pub data: Vec<u8>,
    /// Wei.
    pub value: U256,
}

impl Transaction {
    /// A call of a contract's function, without value.
    pub fn call<C: alloy_sol_types::SolCall>(to: Address, call: &C) -> Self {
        Self { to, data: call.abi_encode(), value: U256::ZERO }
    }
}

/// One EVM log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// The contract that wrote it.
    pub address: Address,
    /// Topics; the first is the event's signature hash.
    pub topics: Vec<B256>,
    /// What is not indexed.
    pub data: Vec<u8>,
    /// The block it is in.
    pub block: BlockId,
    /// The transaction it comes from.
    pub transaction_hash: B256,
    /// Index of the log within its block.
    pub log_index: u32,
}

/// A block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The block.
    pub block: BlockId,
    /// Seconds since 1970.
    pub timestamp: u64,
}

/// What woke the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A timer of the configuration.
    Timer {
        /// Its name.
        name: String,
        /// Number of the slot: seconds since 1970 / period.
        slot: u64,
    },
    /// A contract event, buried under the cluster's number of confirmations.
    Event(EventLog),
    /// Bytes that an operator's administrator sent.
    Request(Vec<u8>),
}

/// What is to be done about a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<T> {
    /// Log this task. For an event trigger the reference block is the event's, otherwise the block of the call.
    Create {
        /// The contract's number of the task; none lets the cluster count.
        index: Option<u32>,
        /// `T`.
        request: T,
        /// How many response keys are expected.
        keys_expected: u32,
    },
    /// First create it on chain; the event that follows makes the task.
    Transact(Transaction),
    /// Nothing. The text is for people.
    Ignore(String),
}

/// Which events to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    /// The contract.
    pub address: Address,
    /// First topics, any of them.
    pub topics0: Vec<B256>,
}

/// A point of BN254's G1, affine. The zero point is (0, 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G1Point {
    /// x
    pub x: U256,
    /// y
    pub y: U256,
}

/// A point of BN254's G2, affine, each coordinate as [imaginary, real]: the order of EIP-197 and of EigenLayer's contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G2Point {
    /// x
    pub x: [U256; 2],
    /// y
    pub y: [U256; 2],
}

/// An aggregated signature over `digest`, with what a contract needs to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<K> {
    /// What the answer is about.
    pub key: ResponseKey,
    /// The answer: `K`.
    pub response: K,
    /// What was signed.
    pub digest: B256,
    /// Keys of the operators that did not sign, ascending by operator id.
    pub non_signers: Vec<G1Point>,
    /// Aggregate key of each of the task's quorums, in the order of `quorums`.
    pub quorum_aggregate_keys: Vec<G1Point>,
    /// Quorum numbers, ascending.
    pub quorums: Vec<u8>,
    /// Aggregate G2 key of the signers, once per quorum a signer has stake in.
    pub signers_aggregate_key: G2Point,
    /// Aggregate signature, once per quorum a signer has stake in.
    pub signature: G1Point,
}

/// What to do with the certificates so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// They answer the task: send this.
    Submit(Transaction),
    /// They do not, yet.
    NotYet,
    /// They never will: the task fails with this reason.
    Fail(String),
}

/// An operator that may take the duty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// keccak256 of the operator's G1 key.
    pub operator_id: B256,
    /// Stake in each of the AVS's quorums.
    pub stakes: Vec<U256>,
}
