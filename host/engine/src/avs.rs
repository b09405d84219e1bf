//! One AVS at work on this node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eigenshift_bls::SecretKey;
use eigenshift_chain::{Chain, Wallet};
use eigenshift_consensus::{AskError, AskRefusal, Group};
use eigenshift_env::{Env, Pool};
use eigenshift_ledger::command::Intent;
use eigenshift_ledger::{Command, State};
use eigenshift_plugin::Usage;
use eigenshift_types::{B256, NodeId, NodeKey, ResponseEnvelope, Service, SignedJoin, TaskIndex};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::callbacks::Callbacks;
use crate::context::{Context, Identity, Patience};
use crate::counters::Counters;
use crate::drivers::inbox::{Inbox, Rejection};
use crate::drivers::outbox::Ack;
use crate::drivers::shadow::Shadows;
use crate::drivers::trigger::{Timer, TriggerError, Triggered, Triggers};
use crate::drivers::{
    aggregate, dissent, lead, members, plan, respond, shadow, submit, swap, trigger, watch as watcher,
};
use crate::evidence::{EvidenceError, EvidenceStore};
use crate::guard::{Guard, GuardError, Owner};
use crate::join::{Challenge, JoinError, Joined, Joins};
use crate::ledger::{CommandError, Ledger, Replica};
use crate::logics::{Bundles, Logics};
use crate::sets::Sets;
use crate::shared::Shared;
use crate::status::{AvsStatus, BundlesHere, BundlesStatus, TaskStatus, members as member_statuses};

mod bundles;

/// What one AVS needs.
pub struct AvsOptions {
    /// The AVS.
    pub service: Service,
    /// Which node of which cluster this is.
    pub identity: Identity,
    /// The node's key.
    pub node_key: Arc<NodeKey>,
    /// The operator's BLS key for this AVS.
    pub bls: Arc<SecretKey>,
    /// The operator's account.
    pub wallet: Wallet,
    /// The AVS's chain.
    pub chain: Arc<dyn Chain>,
    /// The AVS's logic.
    pub callbacks: Arc<dyn Callbacks>,
    /// Where other versions of it come from; none for native logic.
    pub bundles: Option<Arc<dyn Bundles>>,
    /// The running group, and the machine it applies to.
    pub group: Group,
    /// As given to the group.
    pub replica: Replica,
    /// The signing guard's file.
    pub guard: PathBuf,
    /// The file for evidence of operators that contradict themselves.
    pub evidence: PathBuf,
    /// Whether this node became a member just now: only then is a guard made.
    pub fresh: bool,
    /// Timers that fire at the leader.
    pub timers: Vec<Timer>,
    /// How long this node waits for what.
    pub patience: Patience,
    /// What this AVS shares with the others of the host.
    pub shared: Shared,
    /// Threads for curve arithmetic.
    pub bls_pool: Pool,
    /// Threads for calls that wait for the disk.
    pub io_pool: Pool,
}

/// Why an AVS does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The signing guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The evidence kept before.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The host is shutting down.
    #[error("the threads for curve arithmetic have ended: the host is shutting down")]
    Closed,
}

/// Why a request made nothing: this node's words, or the leader's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    code: String,
    message: String,
}

impl RequestError {
    /// Short machine-readable code: [`TriggerError::code`], `no-leader` or `internal`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

#[derive(Serialize, Deserialize)]
struct Request {
    key: String,
    payload: eigenshift_types::Bytes,
}

const ASK_TRIGGER: &str = "trigger";
const ASK_ROTATE: &str = "rotate";
const ASK_JOIN: &str = "join";
pub(crate) const ASK_APPLIED: &str = "applied";
pub(crate) const ASK_BUNDLE: &str = "bundle";
const ASK_LIMIT: Duration = Duration::from_secs(35);
const NO_LEADER: Duration = Duration::from_secs(30);

/// A running AVS. Cheap to clone; the AVS ends with [`AvsHandle::stop`].
#[derive(Clone)]
pub struct AvsHandle {
    pub(crate) context: Arc<Context>,
    replica: Replica,
    inbox: Inbox,
    triggers: Triggers,
    joins: Arc<Joins>,
    /// In which the AVS was started: whatever is done for it is logged there.
    span: Span,
}

/// Starts the drivers of one AVS, in the caller's tracing span.
///
/// # Errors
/// [`StartError`]: the node must not take part.
pub async fn start(env: &Env, options: AvsOptions) -> Result<AvsHandle, StartError> {
    let AvsOptions { service, identity, node_key, replica, group, .. } = options;
    let owner = Owner { node: identity.node, key: node_key.public() };
    let (guard_env, guard_path, guard_service, fresh) = (env.clone(), options.guard, service.clone(), options.fresh);
    let opening = move || Guard::open(&guard_env, &guard_path, owner, guard_service, fresh);
    let guard = options.io_pool.run(opening).await.map_err(|_| GuardError::Closed)??;
    let (evidence_env, evidence_path) = (env.clone(), options.evidence);
    let opening = move || EvidenceStore::open(&evidence_env, &evidence_path);
    let evidence = options.io_pool.run(opening).await.map_err(|_| GuardError::Closed)??;
    let bls = Arc::clone(&options.bls);
    let operator_id = options.bls_pool.run(move || bls.operator_id()).await.map_err(|_| StartError::Closed)?;
    let ids = (identity.node, identity.cluster, identity.epoch);
    let ledger = Ledger::new(replica.clone(), group.clone(), env.clone(), Arc::clone(&node_key), ids);
    let concurrency = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let aggregating = eigenshift_aggregation::Options { concurrency, ..Default::default() };
    let (aggregation, events) = eigenshift_aggregation::Service::start(aggregating, env, options.bls_pool.clone());
    let (shadows, samples) = Shadows::new();
    let nonces = options.shared.nonces(service.chain_id, options.wallet.address());
    let context = Arc::new(Context {
        env: env.clone(),
        service,
        identity,
        node_key,
        bls: options.bls,
        operator_id,
        wallet: options.wallet,
        ledger,
        group: group.clone(),
        sets: Sets::new(Arc::clone(&options.chain)),
        chain: options.chain,
        logics: Logics::new(options.callbacks),
        bundles: options.bundles,
        shadows,
        guard,
        evidence,
        http: options.shared.http,
        nonces,
        flights: Default::default(),
        bls_pool: options.bls_pool,
        io_pool: options.io_pool,
        patience: options.patience,
        counters: Counters::default(),
        boot_id: B256::from(env.random_32()),
        stop: CancellationToken::new(),
    });
    let inbox = Inbox::new(Arc::clone(&context), aggregation.clone());
    let triggers = Triggers::new(Arc::clone(&context));
    let joins = Arc::new(Joins::new(Arc::clone(&context)));
    let handle = AvsHandle {
        context: Arc::clone(&context),
        replica,
        inbox: inbox.clone(),
        triggers: triggers.clone(),
        joins,
        span: Span::current(),
    };
    group.on_ask(handle.answering());
    env.spawn(respond::run(Arc::clone(&context), inbox.clone()));
    env.spawn(aggregate::run(Arc::clone(&context), aggregation, events, inbox));
    env.spawn(submit::run(Arc::clone(&context)));
    env.spawn(trigger::run(Arc::clone(&context), triggers, options.timers));
    env.spawn(plan::run(Arc::clone(&context)));
    env.spawn(lead::run(Arc::clone(&context)));
    env.spawn(members::run(Arc::clone(&context)));
    env.spawn(swap::run(Arc::clone(&context)));
    env.spawn(dissent::run(Arc::clone(&context)));
    env.spawn(shadow::run(Arc::clone(&context), samples));
    env.spawn(watcher::run(context));
    Ok(handle)
}

pub(crate) fn refusal(code: &str, message: impl std::fmt::Display) -> AskRefusal {
    AskRefusal { code: code.to_owned(), message: message.to_string() }
}

fn json(value: &impl Serialize) -> Result<Bytes, AskRefusal> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| refusal("internal", error))
}

impl AvsHandle {
    /// The AVS.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.context.service
    }

    /// Which node of which cluster this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.context.identity
    }

    /// Looks at what is agreed. The look is short: applying waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.replica.read(look)
    }

    /// Index of the last entry applied here; moves with every batch.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.replica.changes()
    }

    /// The Raft group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.context.group
    }

    /// Whether this node leads, confirmed, with everything applied.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.context.leads()
    }

    /// What happened how often.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.context.counters
    }

    /// What the AVS's plugins have used and hold, all versions together; none for native logic.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let logics = &self.context.logics;
        logics.digests().into_iter().find_map(|digest| logics.get(digest)?.usage())
    }

    /// Takes another operator's response.
    ///
    /// # Errors
    /// [`Rejection`].
    pub async fn receive(&self, envelope: ResponseEnvelope) -> Result<Ack, Rejection> {
        self.inbox.receive(envelope).instrument(self.span.clone()).await
    }

    /// Has a task made of a request, here or at the leader. The same `key` again makes no second task.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request_task(&self, key: String, payload: eigenshift_types::Bytes) -> Result<Triggered, RequestError> {
        self.at_leader(ASK_TRIGGER, &Request { key, payload }).instrument(self.span.clone()).await
    }

    /// Has the duty move on.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn rotate(&self) -> Result<(), RequestError> {
        self.at_leader(ASK_ROTATE, &()).await
    }

    async fn rotate_here(&self) -> Result<(), TriggerError> {
        if !self.context.leads() {
            return Err(TriggerError::NotLeader);
        }
        let logged = self.context.ledger.propose(&Command::Rotate).await;
        logged.map(drop).map_err(|error| TriggerError::NotNow(error.to_string()))
    }

    /// Asks whoever leads, this node or another; again while leadership moves.
    async fn at_leader<T: for<'de> Deserialize<'de>>(
        &self,
        kind: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let refused = |refusal: AskRefusal| RequestError { code: refusal.code, message: refusal.message };
        let body = json(body).map_err(refused)?;
        let deadline = self.context.env.clock.monotonic() + NO_LEADER;
        loop {
            let leader = self.context.group.leadership().borrow().leader;
            let answer = match leader {
                Some(leader) if leader == self.context.identity.node => self.answer(kind, &body).await,
                Some(leader) => match self.context.group.ask(leader, kind, body.clone(), ASK_LIMIT).await {
                    Ok(answer) => Ok(answer),
                    Err(AskError::Refused { code, message, .. }) => Err(refusal(&code, message)),
                    Err(error) => Err(refusal(TriggerError::NotLeader.code(), error)),
                },
                None => Err(refusal(TriggerError::NotLeader.code(), "nobody leads at the moment")),
            };
            let error = match answer {
                Ok(answer) => {
                    return serde_json::from_slice(&answer).map_err(|error| refused(refusal("internal", error)));
                }
                Err(error) => error,
            };
            if error.code != TriggerError::NotLeader.code() {
                return Err(refused(error));
            }
            if self.context.env.clock.monotonic() >= deadline {
                let message = format!("no leader answered within {NO_LEADER:?}; try again with the same key");
                return Err(RequestError { code: "no-leader".to_owned(), message });
            }
            self.context.env.clock.sleep(self.context.patience.tick).await;
        }
    }

    /// Takes note of a transaction that answers a task, sent by the team's own code: the task is finalized when it is
    /// confirmed. Only the task's aggregator can.
    ///
    /// # Errors
    /// [`CommandError`]: the ledger's refusal, or nobody leads.
    pub async fn report_submitted(&self, task: TaskIndex, tx: B256) -> Result<(), CommandError> {
        let assignment_epoch = self.read(|state| state.tasks.get(&task).map_or(0, |task| task.assignment_epoch));
        let sender = self.context.wallet.address();
        // What it called and under which nonce is the team's affair.
        let intent = Intent { task, assignment_epoch, sender, nonce: 0, calldata_hash: B256::ZERO, tx };
        self.context.ledger.propose(&Command::Intent(intent)).await.map(drop)
    }

    /// A challenge for an operator that wants to join.
    ///
    /// # Errors
    /// [`JoinError::Busy`].
    pub fn challenge(&self) -> Result<Challenge, JoinError> {
        self.joins.challenge()
    }

    /// Takes an operator in: checked here, then by the leader, then logged.
    ///
    /// # Errors
    /// [`JoinError`], counted.
    pub async fn join(&self, signed: SignedJoin) -> Result<Joined, JoinError> {
        let joined = self.join_checked(signed).instrument(self.span.clone()).await;
        if let Err(error) = &joined {
            if let JoinError::Leader(code, _) = error {
                self.context.counters.count_foreign("join-refused", code);
            } else {
                self.context.counters.count("join-refused", error.code());
            }
        }
        joined
    }

    async fn join_checked(&self, signed: SignedJoin) -> Result<Joined, JoinError> {
        self.joins.check(&signed).await?;
        let leader = self.context.group.leadership().borrow().leader;
        let leader = leader.ok_or_else(|| JoinError::NotNow("nobody leads at the moment".to_owned()))?;
        if leader == self.context.identity.node {
            return self.joins.admit(signed).await;
        }
        let not_now = |error: &dyn std::fmt::Display| JoinError::NotNow(error.to_string());
        let body = serde_json::to_vec(&signed).map_err(|error| not_now(&error))?;
        match self.context.group.ask(leader, ASK_JOIN, body.into(), ASK_LIMIT).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| not_now(&error)),
            Err(AskError::Refused { code, message, .. }) => Err(JoinError::Leader(code, message)),
            Err(error) => Err(not_now(&error)),
        }
    }

    fn answering(&self) -> eigenshift_consensus::AskHandler {
        let handle = self.clone();
        Arc::new(move |_: NodeId, kind: String, body: Bytes| {
            let handle = handle.clone();
            let span = handle.span.clone();
            async move { handle.answer(&kind, &body).await }.instrument(span).boxed()
        })
    }

    async fn answer(&self, kind: &str, body: &[u8]) -> Result<Bytes, AskRefusal> {
        let malformed = |error: serde_json::Error| refusal("malformed", error);
        match kind {
            ASK_TRIGGER => {
                let Request { key, payload } = serde_json::from_slice(body).map_err(malformed)?;
                match self.triggers.request(key, payload).await {
                    Ok(triggered) => json(&triggered),
                    Err(error) => Err(refusal(error.code(), error)),
                }
            }
            ASK_ROTATE => match self.rotate_here().await {
                Ok(()) => json(&()),
                Err(error) => Err(refusal(error.code(), error)),
            },
            ASK_JOIN => {
                let signed: SignedJoin = serde_json::from_slice(body).map_err(malformed)?;
                match self.joins.admit(signed).await {
                    Ok(joined) => json(&joined),
                    Err(error) => Err(refusal(error.code(), &error)),
                }
            }
            ASK_BUNDLE => swap::serve(&self.context, body).await,
            ASK_APPLIED => json(&self.read(|state| state.applied)),
            other => Err(refusal("unknown-question", other)),
        }
    }

    /// What an operator sees.
    #[must_use]
    pub fn status(&self) -> AvsStatus {
        let leadership = *self.context.group.leadership().borrow();
        let counters = self.context.counters.all();
        let loaded = self.context.logics.digests();
        let bundles = self.context.bundles.as_ref();
        let unapproved = bundles.map_or_else(Vec::new, |bundles| swap::unapproved(&self.context, bundles.as_ref()));
        let halted = self.replica.halted().borrow().as_ref().map(ToString::to_string);
        self.read(|state| AvsStatus {
            service: self.context.service.clone(),
            node: self.context.identity.node,
            cluster_id: self.context.identity.cluster,
            epoch: self.context.identity.epoch,
            term: leadership.term,
            leader: leadership.leader,
            leads: self.context.leads(),
            applied: state.applied,
            members: member_statuses(state),
            settings: state.settings.clone(),
            bundles: BundlesStatus::of(
                state,
                BundlesHere { loaded, unapproved, shadows: self.context.shadows.progress() },
            ),
            hand_over_due: state.rotation.due,
            live_tasks: state.live_tasks().count(),
            ended_tasks: state.ended.len(),
            counters: counters.iter().map(|((event, code), count)| (format!("{event}/{code}"), *count)).collect(),
            halted,
        })
    }

    /// The newest tasks, at most `most`, newest first, below `before` if given.
    #[must_use]
    pub fn tasks(&self, before: Option<TaskIndex>, most: usize) -> Vec<TaskStatus> {
        self.read(|state| {
            let below = state.tasks.range(..before.unwrap_or(TaskIndex::MAX));
            below.rev().take(most).map(|(_, task)| TaskStatus::of(task)).collect()
        })
    }

    /// Evidence of operators that signed two answers, seen here, oldest first.
    #[must_use]
    pub fn evidence(&self) -> Vec<eigenshift_aggregation::Evidence> {
        self.context.evidence.all()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, index: TaskIndex) -> Option<TaskStatus> {
        self.read(|state| state.tasks.get(&index).map(TaskStatus::of))
    }

    /// As [`AvsHandle::stop`], and returns when the signing guard is closed: then the data directory may be used again.
    pub async fn shutdown(&self) {
        self.stop();
        let guard = self.context.guard.clone();
        // A pool that is gone has no call under way.
        let _ = self.context.io_pool.run(move || guard.close()).await;
    }

    /// Ends the drivers. The group is the caller's to stop.
    pub fn stop(&self) {
        self.context.stop.cancel();
        // The handler holds this handle, which holds the group, which holds the handler.
        self.context
            .group
            .on_ask(Arc::new(|_, _, _| async { Err(refusal("stopping", "the AVS is stopping here")) }.boxed()));
    }
}
