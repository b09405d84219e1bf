//! State plus caches: batches of entries, snapshots, halting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes, keccak256};
use eigenshift_aggregation::{Operators, check_certificate};
use eigenshift_bls::{Curve, any};
use eigenshift_types::{Certificate, NodeId, OperatorSet, TaskSpec, frame};

use crate::apply;
use crate::command::{Command, SignedCommand};
use crate::reply::Reply;
use crate::settings::Settings;
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
    /// The cluster goes by rules that this software does not have.
    #[error(
        "entry {index} sets a {what} this version of EigenShift does not have; upgrade this node, then start it again"
    )]
    UnknownRules {
        /// Log index.
        index: u64,
        /// Which rules.
        what: &'static str,
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

/// Why a snapshot is not gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is none, or it is damaged.
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    /// The cluster goes by rules that this software does not have.
    #[error("the snapshot's {0} is one this version of EigenShift does not have; upgrade this node")]
    UnknownRules(&'static str),
}

/// Decoded operator sets and verified certificates: functions of the state and the entries, kept so that nothing is
/// computed twice.
#[derive(Default)]
pub struct Cache {
    operators: BTreeMap<B256, Arc<Operators>>,
    verified: BTreeSet<B256>,
}

/// What a batch needs that takes long and changes nothing: decoded operator sets, verified certificates.
#[derive(Default)]
pub struct Prepared {
    operators: BTreeMap<B256, Arc<Operators>>,
    verified: Vec<B256>,
}

const MAX_VERIFIED: usize = 8192;

impl Cache {
    /// The decoded form of a set that is in the state.
    pub fn operators(&mut self, state: &State, digest: B256) -> Option<Arc<Operators>> {
        if let Some(known) = self.operators.get(&digest) {
            return Some(Arc::clone(known));
        }
        let decoded = Arc::new(Operators::from_set(state.sets.get(&digest)?).ok()?);
        self.operators.insert(digest, Arc::clone(&decoded));
        Some(decoded)
    }

    /// Checks a set, whose keys must be of this curve, and keeps its decoded form.
    ///
    /// # Errors
    /// For people: which check failed.
    pub fn check(&mut self, set: &OperatorSet, curve: Curve) -> Result<(), String> {
        // A set of that digest was checked before; the digest says that this one has the same content.
        let known = self.operators.get(&set.digest).filter(|_| set.compute_digest() == set.digest);
        let decoded = match known {
            Some(known) => Arc::clone(known),
            None => Arc::new(Operators::from_set(set).map_err(|error| error.to_string())?),
        };
        if decoded.curve() != curve {
            return Err(format!("its keys are over {}, the cluster's curve is {curve}", decoded.curve()));
        }
        self.operators.insert(set.digest, decoded);
        Ok(())
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
        if !check.verifies() {
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
        let prepared = self.prepare(entries);
        self.apply_prepared(prepared, entries)
    }

    /// As [`Machine::apply`], with what [`Machine::prepare`] made of the same entries in the same state.
    pub fn apply_prepared(&mut self, prepared: Prepared, entries: &[Entry]) -> Vec<Reply> {
        self.cache.operators.extend(prepared.operators);
        self.cache.verified.extend(prepared.verified);
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

    /// Does a batch's curve arithmetic without changing anything: decodes its operator sets, and verifies its
    /// certificates in one product of pairings. What fails here, or whose task is not yet in the state, is checked alone
    /// when its turn comes: the outcome is the same.
    #[must_use]
    pub fn prepare(&self, entries: &[Entry]) -> Prepared {
        let mut prepared = Prepared::default();
        let (mut ids, mut checks) = (Vec::new(), Vec::new());
        for entry in entries {
            let Payload::Command(bytes) = &entry.payload else { continue };
            match SignedCommand::decode(bytes).and_then(|signed| signed.command()) {
                Ok(Command::OperatorSet(set)) if !self.cache.operators.contains_key(&set.digest) => {
                    if let Ok(operators) = Operators::from_set(&set) {
                        prepared.operators.insert(set.digest, Arc::new(operators));
                    }
                }
                Ok(Command::Certificate { certificate, .. }) => {
                    let Some(task) = self.state.live_task(certificate.task) else { continue };
                    let id = certificate_id(&task.spec, &certificate);
                    let Some(operators) = self.operators(&mut prepared, task.spec.set_digest) else { continue };
                    if self.cache.verified.contains(&id) {
                        continue;
                    }
                    if let Ok(check) = check_certificate(&operators, &task.spec.quorums, &certificate) {
                        ids.push(id);
                        checks.push(check.item());
                    }
                }
                _ => {}
            }
        }
        let verified = any::verify_each(&checks);
        prepared.verified.extend(ids.into_iter().zip(verified).filter(|(_, good)| *good).map(|(id, _)| id));
        prepared
    }

    fn operators(&self, prepared: &mut Prepared, digest: B256) -> Option<Arc<Operators>> {
        if let Some(known) = self.cache.operators.get(&digest).or_else(|| prepared.operators.get(&digest)) {
            return Some(Arc::clone(known));
        }
        let decoded = Arc::new(Operators::from_set(self.state.sets.get(&digest)?).ok()?);
        prepared.operators.insert(digest, Arc::clone(&decoded));
        Some(decoded)
    }

    /// Canonical bytes of the state.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    /// Goes on from a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`]: nothing is changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let state = State::restore(bytes)?;
        if let Some(what) = state.settings.as_ref().and_then(Settings::unknown_rules) {
            return Err(RestoreError::UnknownRules(what));
        }
        self.state = state;
        self.cache = Cache::default();
        Ok(())
    }
}
