//! State plus caches: batches of entries, snapshots, halting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes, keccak256};
use eigenshift_aggregation::{Operators, check_certificate};
use eigenshift_bls::bn254;
use eigenshift_types::{Certificate, NodeId, TaskSpec, frame};

use crate::apply;
use crate::command::{Command, SignedCommand};
use crate::reply::Reply;
use crate::state::{CHECKPOINT_EVERY, State};

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Log index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// Who led when it was logged.
    pub leader: NodeId,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A [`SignedCommand`].
    Command(Bytes),
    /// Who votes from here on.
    Voters(BTreeSet<NodeId>),
}

/// The group must stop on this node: going on would be guessing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A member logged what this software does not know.
    #[error(
        "entry {index} holds a command this version of EigenShift does not know; upgrade this node, then start it again"
    )]
    UnknownCommand {
        /// Log index.
        index: u64,
    },
    /// The leader's state differs.
    #[error(
        "after entry {index} this node's state is {ours}, the leader's {theirs}: one of them is wrong; keep this node's data directory for analysis and rejoin with an empty one"
    )]
    Diverged {
        /// Log index after which they were compared.
        index: u64,
        /// This node's digest.
        ours: B256,
        /// The leader's.
        theirs: B256,
    },
}

/// Decoded operator sets and verified certificates: functions of the state and the entries, kept so that nothing is
/// computed twice.
#[derive(Default)]
pub struct Cache {
    operators: BTreeMap<B256, Arc<Operators>>,
    verified: BTreeSet<B256>,
}

const MAX_VERIFIED: usize = 8192;

impl Cache {
    /// The decoded form of a set that is in the state.
    pub fn operators(&mut self, state: &State, digest: B256) -> Option<Arc<Operators>> {
        if let Some(known) = self.operators.get(&digest) {
            return Some(Arc::clone(known));
        }
        let decoded = Arc::new(Operators::from_set(state.sets.get(&digest)?).ok()?);
        self.insert(digest, &decoded);
        Some(decoded)
    }

    /// Keeps a decoded set.
    pub fn insert(&mut self, digest: B256, operators: &Arc<Operators>) {
        self.operators.insert(digest, Arc::clone(operators));
    }

    fn retain(&mut self, state: &State) {
        self.operators.retain(|digest, _| state.sets.contains_key(digest));
        if self.verified.len() > MAX_VERIFIED {
            self.verified.clear();
        }
    }

    /// Whether a certificate proves what it says, for a task of that spec.
    ///
    /// # Errors
    /// For people: which check failed.
    pub fn verify(&mut self, state: &State, spec: &TaskSpec, certificate: &Certificate) -> Result<(), String> {
        let id = certificate_id(spec, certificate);
        if self.verified.contains(&id) {
            return Ok(());
        }
        let operators = self.operators(state, spec.set_digest).ok_or("its operator set is not known")?;
        let check = check_certificate(&operators, &spec.quorums, certificate).map_err(|error| error.to_string())?;
        if !bn254::verify(&check.apk_g2, check.digest, &check.signature) {
            return Err("the aggregate signature does not verify".to_owned());
        }
        self.verified.insert(id);
        Ok(())
    }
}

fn certificate_id(spec: &TaskSpec, certificate: &Certificate) -> B256 {
    keccak256(frame::canonical(&(spec.set_digest, &spec.quorums, certificate)))
}

/// The state of one AVS with what is needed to go on from it.
#[derive(Default)]
pub struct Machine {
    state: State,
    cache: Cache,
    halted: Option<Halt>,
}

impl Machine {
    /// A machine that goes on from a state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, cache: Cache::default(), halted: None }
    }

    /// What is agreed so far.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Why the group must stop on this node, if it must. Nothing is applied any more.
    #[must_use]
    pub const fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
    }

    /// Applies entries in order: one reply each. After a halt the remaining entries are not applied, and the replies
    /// say so.
    pub fn apply(&mut self, entries: &[Entry]) -> Vec<Reply> {
        self.verify_ahead(entries);
        entries.iter().map(|entry| self.apply_one(entry)).collect()
    }

    fn apply_one(&mut self, entry: &Entry) -> Reply {
        if let Some(halt) = &self.halted {
            return Reply::Refused { code: "halted".to_owned(), message: halt.to_string() };
        }
        match apply::entry(&mut self.state, &mut self.cache, entry) {
            Ok(reply) => {
                if entry.index.is_multiple_of(CHECKPOINT_EVERY) {
                    let digest = keccak256(frame::canonical(&self.state));
                    self.state.checkpoint = (entry.index, digest);
                    self.cache.retain(&self.state);
                }
                reply
            }
            Err(halt) => {
                let reply = Reply::Refused { code: "halted".to_owned(), message: halt.to_string() };
                self.halted = Some(halt);
                reply
            }
        }
    }

    /// Verifies the batch's certificates in one product of pairings. Those that fail, or whose task is not yet in the
    /// state, are verified alone when their turn comes: the outcome is the same.
    fn verify_ahead(&mut self, entries: &[Entry]) {
        let mut ids = Vec::new();
        let mut checks = Vec::new();
        for entry in entries {
            let Payload::Command(bytes) = &entry.payload else { continue };
            let Ok(Command::Certificate { certificate, .. }) =
                SignedCommand::decode(bytes).and_then(|signed| signed.command())
            else {
                continue;
            };
            let Some(task) = self.state.live_task(certificate.task) else { continue };
            let spec = task.spec.clone();
            let Some(operators) = self.cache.operators(&self.state, spec.set_digest) else { continue };
            let id = certificate_id(&spec, &certificate);
            if self.cache.verified.contains(&id) {
                continue;
            }
            if let Ok(check) = check_certificate(&operators, &spec.quorums, &certificate) {
                ids.push(id);
                checks.push((check.apk_g2, check.digest, check.signature));
            }
        }
        if checks.len() > 1 {
            let verified = bn254::verify_each(&checks);
            self.cache.verified.extend(ids.into_iter().zip(verified).filter(|(_, good)| *good).map(|(id, _)| id));
        }
    }

    /// Canonical bytes of the state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    /// Goes on from a snapshot.
    ///
    /// # Errors
    /// [`frame::FrameError`]: it is none; nothing is changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), frame::FrameError> {
        self.state = State::restore(bytes)?;
        self.cache = Cache::default();
        Ok(())
    }
}
