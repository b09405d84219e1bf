//! The ledger as a node sees it: reads are local, commands go through the group's leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eigenshift_consensus::{Group, ProposeError, StateMachine};
use eigenshift_env::Env;
use eigenshift_ledger::{Accepted, Command, Entry, Halt, Machine, Payload, Reply, SignedCommand, State};
use eigenshift_types::{ClusterId, CommandId, Epoch, NodeId, NodeKey};
use parking_lot::RwLock;
use tokio::sync::watch;

/// The replicated machine, shared between the group that applies to it and whoever reads.
#[derive(Clone)]
pub struct Replica {
    machine: Arc<RwLock<Machine>>,
    applied: Arc<watch::Sender<u64>>,
    halted: Arc<watch::Sender<Option<Halt>>>,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            machine: Arc::new(RwLock::new(Machine::default())),
            applied: Arc::new(watch::Sender::new(0)),
            halted: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Replica {
    /// Looks at the state. The look is short: applying waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(self.machine.read().state())
    }

    /// Index of the last entry applied here; moves with every batch.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Why the group stopped on this node, if it did.
    #[must_use]
    pub fn halted(&self) -> watch::Receiver<Option<Halt>> {
        self.halted.subscribe()
    }

    /// Has everybody look at the state again, though it is the same: something beside it changed.
    pub fn nudge(&self) {
        self.applied.send_modify(|_| ());
    }
}

impl StateMachine for Replica {
    fn apply(&mut self, entries: Vec<eigenshift_consensus::Entry>) -> Vec<Bytes> {
        let entries: Vec<Entry> = entries.into_iter().map(ledger_entry).collect();
        // Only this thread writes, so what is prepared beside the readers still holds when they are kept out.
        let prepared = self.machine.read().prepare(&entries);
        let (replies, halted, applied) = {
            let mut machine = self.machine.write();
            let replies = machine.apply_prepared(prepared, &entries);
            (replies, machine.halted().cloned(), machine.state().applied)
        };
        if let Some(halt) = halted {
            self.halted.send_replace(Some(halt));
        }
        self.applied.send_replace(applied);
        replies.iter().map(|reply| Bytes::from(reply.encode())).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.read().snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let applied = {
            let mut machine = self.machine.write();
            machine.restore(bytes).map_err(|error| error.to_string())?;
            machine.state().applied
        };
        self.applied.send_replace(applied);
        Ok(())
    }
}

fn ledger_entry(entry: eigenshift_consensus::Entry) -> Entry {
    let payload = match entry.payload {
        eigenshift_consensus::Payload::Blank => Payload::Blank,
        eigenshift_consensus::Payload::Command(bytes) => Payload::Command(bytes.into()),
        eigenshift_consensus::Payload::Membership { voters, .. } => Payload::Voters(voters),
    };
    Entry { index: entry.index, term: entry.term, leader: entry.leader, payload }
}

/// Why a command has not become part of the ledger.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// The rules do not allow it.
    #[error("refused ({code}): {message}")]
    Refused {
        /// [`eigenshift_ledger::Refusal::code`].
        code: String,
        /// For people.
        message: String,
    },
    /// No leader took it in time. It may still be logged: look at the state before asking again.
    #[error("no leader took the command within {0:?}; it may still be logged")]
    NoLeader(Duration),
    /// Larger than an entry may be.
    #[error("the command is larger than an entry may be")]
    TooLarge,
    /// The group has stopped on this node.
    #[error("the group has stopped on this node")]
    Stopped,
}

/// Signs commands as one member and has them logged. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    replica: Replica,
    group: Group,
    env: Env,
    key: Arc<NodeKey>,
    node: NodeId,
    cluster: ClusterId,
    epoch: Epoch,
    next_id: Arc<AtomicU64>,
}

/// How long a command is offered to leaders.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(25);

impl Ledger {
    /// The ledger of `group`, written to as `node`.
    #[must_use]
    pub fn new(
        replica: Replica,
        group: Group,
        env: Env,
        key: Arc<NodeKey>,
        identity: (NodeId, ClusterId, Epoch),
    ) -> Self {
        let (node, cluster, epoch) = identity;
        // Above whatever an earlier process of this node used, even if it is not applied here yet: time moves on faster
        // than a node proposes. Should the clock have gone back, the state's record of used ids is what counts.
        let start = env.clock.unix_ms() << 10;
        Self { replica, group, env, key, node, cluster, epoch, next_id: Arc::new(AtomicU64::new(start)) }
    }

    /// Looks at the state.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.replica.read(look)
    }

    /// Index of the last entry applied here.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.replica.changes()
    }

    /// Has everybody look at the state again, though it is the same: something beside it changed.
    pub fn nudge(&self) {
        self.replica.nudge();
    }

    /// Has a command logged, and waits until this node has applied it. None means that nothing changed, because it was
    /// so already or because an attempt whose fate was unknown had gone through: look at the state.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn propose(&self, command: &Command) -> Result<Option<Accepted>, CommandError> {
        let used = self.read(|state| state.members.get(&self.node).map_or(0, |member| member.commands.highest().0));
        self.next_id.fetch_max(used, Ordering::SeqCst);
        let id = CommandId(self.next_id.fetch_add(1, Ordering::SeqCst) + 1);
        let signed = SignedCommand::new(&self.key, self.cluster, self.epoch, self.node, id, command);
        let bytes = Bytes::from(signed.encode());
        let deadline = self.env.clock.monotonic() + PATIENCE;
        loop {
            match self.group.propose_at_leader(bytes.clone()).await {
                Ok(applied) => {
                    self.wait_applied(applied.index, deadline).await;
                    return match Reply::decode(&applied.reply) {
                        Ok(Reply::Accepted(accepted)) => Ok(Some(accepted)),
                        Ok(Reply::NoOp) => Ok(None),
                        Ok(Reply::Refused { code, message }) => Err(CommandError::Refused { code, message }),
                        Err(_) => Err(CommandError::Stopped),
                    };
                }
                Err(ProposeError::TooLarge { .. }) => return Err(CommandError::TooLarge),
                Err(ProposeError::Stopped) => return Err(CommandError::Stopped),
                // The same bytes again: should the first attempt have gone through, the second changes nothing.
                Err(ProposeError::NotLeader { .. } | ProposeError::Unreachable { .. } | ProposeError::Uncertain) => {}
            }
            if self.env.clock.monotonic() >= deadline {
                return Err(CommandError::NoLeader(PATIENCE));
            }
            self.env.clock.sleep(PAUSE).await;
        }
    }

    async fn wait_applied(&self, index: u64, deadline: Duration) {
        let mut changes = self.changes();
        let left = deadline.saturating_sub(self.env.clock.monotonic());
        let applied = changes.wait_for(|applied| *applied >= index);
        tokio::select! {
            _ = applied => {}
            () = self.env.clock.sleep(left) => {}
        }
    }
}
