//! One AVS's Raft group on this host.

mod doubts;
mod handover;
mod health;
mod leadership;
mod membership;
mod propose;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::Env;
use eigenshift_types::{AvsId, ClusterId, Epoch, NodeId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use tokio::sync::{Notify, watch};

use crate::applier::{Applier, Notices};
use crate::endpoint::{AskHandler, Endpoint};
use crate::error::{AskError, Error, ProposeError};
use crate::machine::{Machine, StateMachine};
use crate::network::{Caller, INSTALL_LIMIT, Network};
use crate::peers::{MAX_URL_BYTES, Peer, PeerBook};
use crate::raft::{Member, Metrics, Raft, StoredMembership};
use crate::store::{Identity, Store};
use crate::transport::rpc::{Answer, Call, ProposeAnswer};
use crate::transport::{CallError, Lane, Transport};
use crate::within::within;
use doubts::Doubts;
pub use health::{Health, PeerHealth, Role};
pub use leadership::Leadership;
pub(crate) use propose::Proposer;

/// Most entries in one transfer, if the log keeps enough behind a snapshot.
const TRANSFER_ENTRIES: u64 = 256;

/// How long members wait for each other. All members of a group use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it is there.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower asks to lead; drawn anew each time.
    pub election_min: Duration,
    /// The longest. It is the leader's lease too: a leader that no quorum answered for so long takes no proposals.
    pub election_max: Duration,
}

impl Default for Timing {
    /// For operators on different continents: a failed leader is replaced within five seconds.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { heartbeat: ms(250), election_min: ms(1500), election_max: ms(3000) }
    }
}

/// What a group needs to start.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The AVS, which names the group on every host.
    pub avs: AvsId,
    /// The cluster; the members of another one are refused.
    pub cluster: ClusterId,
    /// Its incarnation; the members of another one are refused.
    pub epoch: Epoch,
    /// This node.
    pub node: NodeId,
    /// Timeouts.
    pub timing: Timing,
    /// A snapshot is made after this many entries.
    pub snapshot_every: u64,
    /// How many entries before a snapshot stay in the log, for members that are a little behind.
    pub keep_logs: u64,
    /// Whom to trust. A node that joins fills it from the reply to its join; later the group keeps it current.
    pub peers: PeerBook,
}

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the log.
    pub index: u64,
    /// What the state machine replied.
    pub reply: Bytes,
}

/// One AVS's Raft group on this host. Cheap to clone; clones share it. Dropping the last clone stops it as
/// [`Group::kill`] does.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    node: NodeId,
    timing: Timing,
    /// For one proposal or one change of members.
    limit: Duration,
    env: Env,
    raft: Raft,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    caller: Arc<Caller>,
    book: PeerBook,
    proposer: Proposer,
    paused: watch::Sender<bool>,
    /// Held while members change or leadership is handed over.
    changes: tokio::sync::Mutex<()>,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<Option<u64>>,
    removed: watch::Receiver<bool>,
    stopped: watch::Receiver<Option<String>>,
    stop: watch::Sender<bool>,
}

impl Inner {
    /// Cuts the group off from the others and ends its tasks.
    fn cut_off(&self) {
        self.transport.deregister(&self.endpoint);
        self.stop.send_replace(true);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cut_off();
        // openraft's tasks hold each other: they end only when told to.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let raft = self.raft.clone();
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn config(options: &GroupOptions) -> Result<Config, Error> {
    let setting = |setting, why: &str| Error::Setting { setting, why: why.to_owned() };
    if options.snapshot_every == 0 {
        return Err(setting("snapshot_every", "at least 1"));
    }
    let transfer = TRANSFER_ENTRIES.min(options.keep_logs / 2).max(1);
    let config = Config {
        cluster_name: options.avs.to_string(),
        heartbeat_interval: millis(options.timing.heartbeat).max(1),
        election_timeout_min: millis(options.timing.election_min),
        election_timeout_max: millis(options.timing.election_max),
        // A node that was away must not depose a leader that the others hear.
        enable_pre_vote: Some(true),
        // A restarted leader would report that it leads until somebody tells it otherwise.
        enable_leader_restore: Some(false),
        max_payload_entries: transfer,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        replication_lag_threshold: options.snapshot_every.saturating_mul(2),
        // More than one transfer, so that the log is not cut off under a follower that a snapshot was just sent to.
        max_in_snapshot_log_to_keep: options.keep_logs,
        purge_batch_size: (options.snapshot_every / 4).clamp(1, 256),
        install_snapshot_timeout: millis(INSTALL_LIMIT),
        ..Config::default()
    };
    config.validate().map_err(|error| setting("timing", &format!("{error}; heartbeat < election_min < election_max")))
}

impl Group {
    /// Starts the group from its store: the newest snapshot is restored and the log applied up to where it was known to be
    /// committed. A new group has nothing until it is bootstrapped, or until the leader that took this node in calls.
    ///
    /// # Errors
    /// [`Error`] says what is wrong: a setting, the store, an identity that is not the store's, a state machine that
    /// refuses its snapshot, or that the group runs already.
    pub async fn start(
        options: GroupOptions,
        store: &Store,
        transport: &Transport,
        machine: impl StateMachine,
        env: &Env,
    ) -> Result<Self, Error> {
        let config = Arc::new(config(&options)?);
        let GroupOptions { avs, cluster, epoch, node, timing, peers: book, .. } = options;
        let identity = Identity { cluster, epoch, node };
        let log = store.log(&avs, &identity).await?;
        let (applied, applied_seen) = watch::channel(None);
        let (removed, removed_seen) = watch::channel(false);
        let (voters, voters_seen) = watch::channel(Vec::new());
        let removed = Arc::new(removed);
        let applier = Applier {
            machine: Machine::start(env, &format!("ledger-{avs}"), Box::new(machine))?,
            store: store.clone(),
            group: avs.clone(),
            node: node.0,
            book: book.clone(),
            notices: Notices { applied, removed: Arc::clone(&removed), voters },
            applied: None,
            membership: StoredMembership::default(),
            was_member: false,
            held: log.held(),
        };
        let doubts = Arc::new(Notify::new());
        let caller = Arc::new(Caller {
            transport: transport.clone(),
            group: avs.clone(),
            identity: identity.clone(),
            timing,
            doubts: Arc::clone(&doubts),
        });
        let raft = Raft::new(node.0, config, Network(Arc::clone(&caller)), log, applier)
            .await
            .map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        let limit = (timing.election_max * 4).max(Duration::from_secs(2));
        let (paused, paused_seen) = watch::channel(false);
        let proposer = Proposer { raft: raft.clone(), env: env.clone(), limit, paused: paused_seen };
        let endpoint = Endpoint::new(avs, identity, book.clone(), doubts, raft.clone(), proposer.clone());
        let endpoint = Arc::new(endpoint);
        if let Err(error) = transport.register(&endpoint) {
            // It has no task left to fail: what it returns says nothing more.
            let _ = raft.shutdown().await;
            return Err(error);
        }
        let (stop, stopped) = watch::channel(false);
        let (tell, leadership) = watch::channel(Leadership::default());
        let (stopping, stopped_seen) = watch::channel(None);
        let following = leadership::Following {
            raft: raft.clone(),
            env: env.clone(),
            node,
            pause: timing.heartbeat,
            limit,
            tell,
            stopping,
        };
        env.spawn(following.run(stopped.clone()));
        let settling = Doubts {
            env: env.clone(),
            caller: Arc::clone(&caller),
            book: book.clone(),
            voters: voters_seen,
            removed,
            pause: timing.election_max,
        };
        env.spawn(settling.settle(stopped));
        Ok(Self(Arc::new(Inner {
            node,
            timing,
            limit,
            env: env.clone(),
            raft,
            transport: transport.clone(),
            endpoint,
            caller,
            book,
            proposer,
            paused,
            changes: tokio::sync::Mutex::default(),
            leadership,
            applied: applied_seen,
            removed: removed_seen,
            stopped: stopped_seen,
            stop,
        })))
    }

    fn metrics(&self) -> Metrics {
        self.0.raft.metrics().borrow_watched().clone()
    }

    /// Makes a new group with this node as its only voter. Done once in a cluster's life, on one node.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`] when there is a log, [`Error::Setting`] when the peer is not this node or its URL is
    /// empty or too long, [`Error::Stopped`] when the group is stopped.
    pub async fn bootstrap(&self, peer: Peer) -> Result<(), Error> {
        if peer.node != self.0.node || peer.raft_url.is_empty() || peer.raft_url.len() > MAX_URL_BYTES {
            let why = format!("it names this node, {}, and a URL of 1 to {MAX_URL_BYTES} bytes", self.0.node);
            return Err(Error::Setting { setting: "bootstrap peer", why });
        }
        let stopped = |error: &dyn std::fmt::Display| Error::Stopped(error.to_string());
        if self.0.raft.is_initialized().await.map_err(|fatal| stopped(&fatal))? {
            return Err(Error::AlreadyInitialized);
        }
        let members = BTreeMap::from([(peer.node.0, Member { raft_url: peer.raft_url, key: peer.key })]);
        match self.0.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(openraft::errors::RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
            // It is in the members: what is left is that somebody was quicker.
            Err(openraft::errors::RaftError::APIError(_)) => Err(Error::AlreadyInitialized),
        }
    }

    /// Proposes a command of at most [`crate::MAX_COMMAND_BYTES`] and waits until it is applied here. Only a leader can.
    ///
    /// # Errors
    /// [`ProposeError`]: only `Uncertain` leaves open whether it was committed.
    pub async fn propose(&self, command: Bytes) -> Result<Applied, ProposeError> {
        self.0.proposer.propose(command).await
    }

    /// Proposes a command here or, if another node leads, there. The leader does not pass it on again.
    ///
    /// # Errors
    /// [`ProposeError`]: only `Uncertain` leaves open whether it was committed.
    pub async fn propose_at_leader(&self, command: Bytes) -> Result<Applied, ProposeError> {
        let leader = match self.propose(command.clone()).await {
            Err(ProposeError::NotLeader { leader: Some(leader) }) if leader != self.0.node => leader,
            other => return other,
        };
        let member = self.member(leader).ok_or(ProposeError::NotLeader { leader: None })?;
        let call = Call::Propose(command.clone());
        match self.0.caller.call(leader, &member, Lane::Host, call, self.0.limit).await {
            Ok(Answer::Propose(ProposeAnswer::Applied { index, reply })) => Ok(Applied { index, reply }),
            Ok(Answer::Propose(ProposeAnswer::NotLeader { leader })) => Err(ProposeError::NotLeader { leader }),
            Ok(Answer::Propose(ProposeAnswer::Stopped)) => Err(ProposeError::Stopped),
            Ok(Answer::Propose(ProposeAnswer::TooLarge)) => Err(ProposeError::TooLarge { bytes: command.len() }),
            Err(CallError::Unreachable(why)) => Err(ProposeError::Unreachable { leader, why }),
            Err(CallError::Refused(refusal)) => Err(ProposeError::Unreachable { leader, why: refusal.message }),
            Ok(_) | Err(CallError::Timeout(_) | CallError::Broken(_)) => Err(ProposeError::Uncertain),
        }
    }

    /// How to reach a member: as the log says or, before the log says anything, as the peer book does.
    fn member(&self, node: NodeId) -> Option<Member> {
        let in_log = self.metrics().membership_config.get_node(&node.0).cloned();
        in_log.or_else(|| self.0.book.get(node).map(|peer| Member { raft_url: peer.raft_url, key: peer.key }))
    }

    /// Asks another member's host something; its [`Group::on_ask`] handler answers.
    ///
    /// # Errors
    /// [`AskError`]: `NoAnswer` leaves open whether the question was seen.
    pub async fn ask(&self, to: NodeId, kind: &str, body: Bytes, limit: Duration) -> Result<Bytes, AskError> {
        if body.len() > crate::MAX_ASK_BYTES {
            return Err(AskError::TooLarge { bytes: body.len() });
        }
        let member = self.member(to).ok_or(AskError::Unknown(to))?;
        let call = Call::Ask { kind: kind.to_owned(), body };
        match self.0.caller.call(to, &member, Lane::Host, call, limit).await {
            Ok(Answer::Ask(answer)) => Ok(answer),
            Ok(_) => Err(AskError::NoAnswer { node: to, why: "an answer to another question".into() }),
            Err(CallError::Unreachable(why)) => Err(AskError::Unreachable { node: to, why }),
            Err(CallError::Refused(refusal)) => {
                Err(AskError::Refused { node: to, code: refusal.code, message: refusal.message })
            }
            Err(error @ (CallError::Timeout(_) | CallError::Broken(_))) => {
                Err(AskError::NoAnswer { node: to, why: error.to_string() })
            }
        }
    }

    /// Sets who answers the other members' questions. A later handler replaces an earlier one.
    pub fn on_ask(&self, handler: AskHandler) {
        self.0.endpoint.answer_with(handler);
    }

    /// Who leads, and whether this node may act on leading.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// Asks a quorum whether this node still leads, now. True means that it did when the question was put, and that
    /// everything committed by then is applied here.
    pub async fn confirm_leadership(&self) -> bool {
        within(&self.0.env, self.0.limit, leadership::confirm(&self.0.raft)).await.unwrap_or(false)
    }

    /// The index of the last applied entry; none while nothing is applied.
    #[must_use]
    pub fn applied_index(&self) -> watch::Receiver<Option<u64>> {
        self.0.applied.clone()
    }

    /// Whether this node was removed: the log says so, or more than half of the other voters do. It never goes back to
    /// false; the host marks itself removed and joins again with a new node id.
    #[must_use]
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.0.removed.clone()
    }

    /// Why the group stopped here by itself, once it has: its store is poisoned, or its state machine panicked or refused a
    /// snapshot. Only a new start helps.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.0.stopped.clone()
    }

    /// The group's trust store.
    #[must_use]
    pub fn peers(&self) -> PeerBook {
        self.0.book.clone()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Asks to lead, now. With a live leader the others decline, and it leads on.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the group is stopped.
    pub async fn trigger_election(&self) -> Result<(), Error> {
        self.0.raft.trigger().elect(true).await.map_err(|fatal| Error::Stopped(fatal.to_string()))
    }

    /// Makes a snapshot, now; [`Health::snapshot`] shows when it is there.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the group is stopped.
    pub async fn snapshot_now(&self) -> Result<(), Error> {
        self.0.raft.trigger().snapshot().await.map_err(|fatal| Error::Stopped(fatal.to_string()))
    }

    /// Stops the group and waits until it has. A leader that wants to spare the others an election hands over first.
    pub async fn shutdown(&self) {
        self.0.cut_off();
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "the group did not stop cleanly");
        }
    }

    /// Stops the group without waiting, as a crash would: the others hear nothing more from it from now on.
    pub fn kill(&self) {
        self.0.cut_off();
        let raft = self.0.raft.clone();
        self.0.env.spawn(async move { raft.shutdown().await });
    }
}
