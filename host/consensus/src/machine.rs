//! The state machine and the thread it lives on.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use eigenshift_env::Env;
use eigenshift_types::NodeId;
use tokio::sync::{mpsc, oneshot};

/// What a group drives: pure and synchronous, always called on one thread of its own.
///
/// Two machines that applied the same entries give the same replies and the same snapshot. A panic stops the group on
/// this node.
pub trait StateMachine: Send + 'static {
    /// Applies committed entries in log order and returns one reply for each; the reply of a command goes back to whoever
    /// proposed it.
    fn apply(&mut self, entries: Vec<Entry>) -> Vec<Bytes>;

    /// The whole state in canonical bytes: equal states have equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state by that of a snapshot.
    ///
    /// # Errors
    /// Why the bytes are no snapshot; the group stops on this node.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// A committed entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log; the first is 0.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// Who led in that term and so put it into the log.
    pub leader: NodeId,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A new leader's first entry, which says nothing.
    Blank,
    /// A proposed command.
    Command(Bytes),
    /// The members from here on. While a change of voters goes on there are two such entries: the first has the voters of
    /// before and after.
    Membership {
        /// Who votes.
        voters: BTreeSet<NodeId>,
        /// Who follows without a vote.
        learners: BTreeSet<NodeId>,
    },
}

enum Job {
    Apply(Vec<Entry>, oneshot::Sender<Vec<Bytes>>),
    Snapshot(oneshot::Sender<Vec<u8>>),
    Restore(Bytes, oneshot::Sender<Result<(), String>>),
}

/// The machine's thread, seen from the async side. The thread ends with this handle.
pub(crate) struct Machine(mpsc::Sender<Job>);

fn ended<E>(_: E) -> io::Error {
    io::Error::other("the state machine's thread ended: it panicked, or the group is stopping")
}

impl Machine {
    pub(crate) fn start(env: &Env, name: &str, mut machine: Box<dyn StateMachine>) -> io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel(1);
        let body = move || {
            while let Some(job) = jobs.blocking_recv() {
                // A caller that went away does not want the reply; the work counts all the same.
                match job {
                    Job::Apply(entries, reply) => drop(reply.send(machine.apply(entries))),
                    Job::Snapshot(reply) => drop(reply.send(machine.snapshot())),
                    Job::Restore(bytes, reply) => drop(reply.send(machine.restore(&bytes))),
                }
            }
        };
        env.threads.spawn(name, Box::new(body))?;
        Ok(Self(sender))
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> io::Result<T> {
        let (reply, result) = oneshot::channel();
        self.0.send(job(reply)).await.map_err(ended)?;
        result.await.map_err(ended)
    }

    pub(crate) async fn apply(&self, entries: Vec<Entry>) -> io::Result<Vec<Bytes>> {
        let expected = entries.len();
        let replies = self.ask(|reply| Job::Apply(entries, reply)).await?;
        if replies.len() == expected {
            Ok(replies)
        } else {
            Err(io::Error::other(format!("the state machine gave {} replies to {expected} entries", replies.len())))
        }
    }

    pub(crate) async fn snapshot(&self) -> io::Result<Vec<u8>> {
        self.ask(Job::Snapshot).await
    }

    pub(crate) async fn restore(&self, bytes: Bytes) -> io::Result<()> {
        let restored = self.ask(|reply| Job::Restore(bytes, reply)).await?;
        restored.map_err(|why| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the state machine refuses the snapshot: {why}"))
        })
    }
}
