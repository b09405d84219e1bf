//! Nodes to test with.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_consensus::{
    Entry, Group, GroupOptions, Leadership, Payload, Peer, PeerBook, Security, StateMachine, Store, Timing, Transport,
    TransportOptions,
};
use eigenshift_env::Env;
use eigenshift_env::sim::World;
use eigenshift_types::{AvsId, B256, ClusterId, Epoch, NodeId, NodeKey, frame};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;

/// Far more than anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(50),
    election_min: Duration::from_millis(300),
    election_max: Duration::from_millis(600),
};

/// Waits for what has to come; fails the test if it does not.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// What a state machine has seen.
#[derive(Default)]
pub struct Seen {
    pub commands: Vec<Bytes>,
    pub memberships: Vec<(Vec<u64>, Vec<u64>)>,
    pub restores: usize,
}

/// Keeps every command; the reply is how many there are.
struct Tape(Arc<Mutex<Seen>>);

impl StateMachine for Tape {
    fn apply(&mut self, entries: Vec<Entry>) -> Vec<Bytes> {
        assert!(tokio::runtime::Handle::try_current().is_err(), "called on a thread of the async runtime");
        let mut seen = self.0.lock();
        let one = |entry: Entry| match entry.payload {
            Payload::Blank => Bytes::new(),
            Payload::Command(command) => {
                assert_ne!(command, "panic", "told to panic");
                seen.commands.push(command);
                Bytes::from(seen.commands.len().to_string())
            }
            Payload::Membership { voters, learners } => {
                let ids = |nodes: std::collections::BTreeSet<NodeId>| nodes.into_iter().map(|node| node.0).collect();
                seen.memberships.push((ids(voters), ids(learners)));
                Bytes::new()
            }
        };
        entries.into_iter().map(one).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        frame::encode(1, &self.0.lock().commands)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut seen = self.0.lock();
        seen.commands = frame::decode(1, bytes, 64 << 20).map_err(|error| error.to_string())?;
        seen.restores += 1;
        Ok(())
    }
}

/// What nodes of one cluster have in common.
#[derive(Clone)]
pub struct Plan {
    pub avs: AvsId,
    pub cluster: ClusterId,
    pub epoch: Epoch,
    pub snapshot_every: u64,
    pub keep_logs: u64,
    pub secure: bool,
    /// The real world if none.
    pub world: Option<World>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            avs: "oracle".parse().unwrap(),
            cluster: ClusterId(B256::repeat_byte(1)),
            epoch: Epoch(0),
            snapshot_every: 1000,
            keep_logs: 1000,
            secure: true,
            world: None,
        }
    }
}

pub fn key_of(seed: u8) -> NodeKey {
    NodeKey::from_seed(&[seed; 32])
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A running node. Its files outlive it.
pub struct Node {
    pub id: NodeId,
    pub plan: Plan,
    pub group: Group,
    pub seen: Arc<Mutex<Seen>>,
    seed: u8,
    store: Store,
    transport: Transport,
    directory: PathBuf,
}

/// A node that is stopped.
pub struct Stopped {
    id: NodeId,
    seed: u8,
    plan: Plan,
    address: SocketAddr,
    directory: PathBuf,
}

impl Node {
    /// Starts node `id` with the key of `seed`.
    pub async fn start(plan: &Plan, id: u64, seed: u8, listen: SocketAddr, directory: &Path, book: PeerBook) -> Self {
        let env = plan.world.as_ref().map_or_else(Env::real, |world| Env::simulated(world, id));
        let store = Store::open(&env, directory).unwrap();
        let key = key_of(seed);
        let security = if plan.secure { Security::Tls(&key) } else { Security::InsecureLoopback };
        let transport = Transport::start(TransportOptions { listen, security }, &env).await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let options = GroupOptions {
            avs: plan.avs.clone(),
            cluster: plan.cluster,
            epoch: plan.epoch,
            node: NodeId(id),
            timing: TIMING,
            snapshot_every: plan.snapshot_every,
            keep_logs: plan.keep_logs,
            peers: book,
        };
        let group = Group::start(options, &store, &transport, Tape(Arc::clone(&seen)), &env).await.unwrap();
        Self {
            id: NodeId(id),
            plan: plan.clone(),
            group,
            seen,
            seed,
            store,
            transport,
            directory: directory.to_owned(),
        }
    }

    pub fn peer(&self) -> Peer {
        Peer { node: self.id, raft_url: self.transport.local_url(), key: key_of(self.seed).public() }
    }

    pub fn url(&self) -> String {
        self.transport.local_url()
    }

    pub fn commands(&self) -> Vec<Bytes> {
        self.seen.lock().commands.clone()
    }

    pub async fn leadership(&self, what: &str, wanted: impl FnMut(&Leadership) -> bool) -> Leadership {
        *soon(what, self.group.leadership().wait_for(wanted)).await.unwrap()
    }

    pub async fn leads(&self) {
        self.leadership("leading", |seen| seen.ready).await;
    }

    pub async fn applied(&self, index: u64) {
        soon("applying", self.group.applied_index().wait_for(|applied| *applied >= Some(index))).await.unwrap();
    }

    /// Proposes here, or where the leader is, until it is taken: elections may be going on.
    pub async fn propose(&self, command: &str) -> u64 {
        let mut leadership = self.group.leadership();
        soon("a proposal", async {
            loop {
                leadership.wait_for(|seen| seen.leader.is_some()).await.unwrap();
                match self.group.propose_at_leader(Bytes::copy_from_slice(command.as_bytes())).await {
                    Ok(applied) => return applied.index,
                    Err(error) => {
                        // The next change of leadership or the next heartbeat's worth of patience, whichever is first.
                        let _ = tokio::time::timeout(TIMING.heartbeat, leadership.changed()).await;
                        eprintln!("{command}: {error}");
                    }
                }
            }
        })
        .await
    }

    /// Stops as a crash would: at once, without a word to the others.
    pub async fn crash(self) -> Stopped {
        let Self { id, plan, group, seed, store, transport, directory, .. } = self;
        let address = transport.local_addr();
        transport.stop();
        group.kill();
        drop((group, transport));
        soon("closing the files", store.close()).await;
        Stopped { id, seed, plan, address, directory }
    }
}

impl Stopped {
    pub async fn restart(self) -> Node {
        Node::start(&self.plan, self.id.0, self.seed, self.address, &self.directory, PeerBook::new()).await
    }
}

pub struct Cluster {
    pub plan: Plan,
    pub directory: TempDir,
}

impl Cluster {
    pub fn new(plan: Plan) -> Self {
        Self { plan, directory: TempDir::new().unwrap() }
    }

    pub async fn first(&self) -> Node {
        let node = Node::start(&self.plan, 1, 1, loopback(), &self.directory.path().join("1"), PeerBook::new()).await;
        node.group.bootstrap(node.peer()).await.unwrap();
        node.leads().await;
        node
    }

    /// Starts a node that knows the members, as the reply to a join tells it, and takes it in as a learner.
    pub async fn learner(&self, id: u64, leader: &Node) -> Node {
        let book = PeerBook::new();
        let known = leader.group.peers();
        book.set(known.as_of().unwrap(), known.members());
        let directory = self.directory.path().join(id.to_string());
        let node = Node::start(&self.plan, id, u8::try_from(id).unwrap(), loopback(), &directory, book).await;
        leader.group.add_learner(node.peer()).await.unwrap();
        let caught_up = leader.group.health().last_log.unwrap();
        node.applied(caught_up).await;
        node
    }

    pub async fn voter(&self, id: u64, leader: &Node) -> Node {
        let node = self.learner(id, leader).await;
        leader.group.promote(node.id).await.unwrap();
        node
    }

    /// Three voters; the first leads.
    pub async fn three(&self) -> [Node; 3] {
        let first = self.first().await;
        let second = self.voter(2, &first).await;
        let third = self.voter(3, &first).await;
        [first, second, third]
    }
}

pub async fn is_true(what: &str, mut flag: watch::Receiver<bool>) {
    soon(what, flag.wait_for(|flag| *flag)).await.unwrap();
}
