//! What the drivers of one AVS share.

use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::SecretKey;
use eigenshift_chain::{Chain, Wallet};
use eigenshift_consensus::{Group, Leadership};
use eigenshift_env::{Env, Pool};
use eigenshift_types::{B256, ClusterId, Epoch, NodeId, NodeKey, OperatorId, Service, TaskSpec};
use tokio_util::sync::CancellationToken;

use crate::avs::ASK_APPLIED;
use crate::callbacks::Callbacks;
use crate::counters::Counters;
use crate::drivers::shadow::Shadows;
use crate::drivers::transactions::{Flights, Nonces};
use crate::evidence::EvidenceStore;
use crate::guard::Guard;
use crate::http::HttpClient;
use crate::ledger::Ledger;
use crate::logics::{Bundles, Logics};
use crate::sets::Sets;

/// Which node of which cluster this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Node id.
    pub node: NodeId,
    /// Cluster.
    pub cluster: ClusterId,
    /// Incarnation of the cluster.
    pub epoch: Epoch,
}

/// How long this node waits for what. Node-local: nothing that must agree depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A member that the leader has not heard of for so long is marked down.
    pub down_after: Duration,
    /// An open task on which its aggregator, though it lives, has got nothing done for so long is given to another.
    pub idle_after: Duration,
    /// A response is sent again after so long, until it is certified.
    pub resend: Duration,
    /// A failed try of anything is repeated after so long at first, twice as long each time, up to `retry_most`.
    pub retry_first: Duration,
    /// The longest pause between tries.
    pub retry_most: Duration,
    /// A transaction without a receipt for so long is replaced by a dearer one.
    pub stuck_after: Duration,
    /// The last call of a task's submission comes so long before the task expires.
    pub final_call: Duration,
    /// How often the leader looks after members, expiries and timers.
    pub tick: Duration,
    /// How long one HTTP request may take.
    pub request: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            down_after: Duration::from_secs(3),
            idle_after: Duration::from_secs(15),
            resend: Duration::from_secs(5),
            retry_first: Duration::from_millis(50),
            retry_most: Duration::from_secs(5),
            stuck_after: Duration::from_secs(60),
            final_call: Duration::from_secs(5),
            tick: Duration::from_millis(100),
            request: Duration::from_secs(10),
        }
    }
}

/// Shared by the drivers.
pub(crate) struct Context {
    pub env: Env,
    pub service: Service,
    pub identity: Identity,
    pub node_key: Arc<NodeKey>,
    pub bls: Arc<SecretKey>,
    /// The id that its key gives this operator.
    pub operator_id: OperatorId,
    pub wallet: Wallet,
    pub ledger: Ledger,
    pub group: Group,
    pub chain: Arc<dyn Chain>,
    pub logics: Logics,
    /// None for native logic, which is never swapped.
    pub bundles: Option<Arc<dyn Bundles>>,
    /// Proposed versions that run beside the active one.
    pub shadows: Shadows,
    pub guard: Guard,
    pub evidence: EvidenceStore,
    pub sets: Sets,
    pub http: HttpClient,
    /// Of the operator's account, whichever AVSs send from it.
    pub nonces: Arc<Nonces>,
    pub flights: Flights,
    /// Curve arithmetic.
    pub bls_pool: Pool,
    /// Calls that block for an fsync.
    pub io_pool: Pool,
    pub patience: Patience,
    pub counters: Counters,
    /// Drawn at every start: a responder sends again when its aggregator was restarted.
    pub boot_id: B256,
    pub stop: CancellationToken,
}

impl Context {
    /// The task as callbacks see it.
    pub fn task(&self, spec: &TaskSpec) -> eigenshift_plugin::Task {
        eigenshift_plugin::Task {
            index: spec.index,
            request: spec.request.clone(),
            service: self.service.clone(),
            reference_block: spec.reference_block,
            reference_time: spec.reference_time,
        }
    }

    /// The logic that a task must be answered with, if it is loaded.
    pub fn logic_of(&self, spec: &TaskSpec) -> Option<Arc<dyn Callbacks>> {
        self.logics.get(spec.bundle_digest)
    }

    /// The logic of new tasks, if it is loaded.
    pub fn active_logic(&self) -> Option<Arc<dyn Callbacks>> {
        self.logics.get(self.ledger.read(|state| state.bundle))
    }

    /// Whether this node leads, confirmed, with everything applied.
    pub fn leads(&self) -> bool {
        self.is_own(&self.group.leadership().borrow())
    }

    fn is_own(&self, leadership: &Leadership) -> bool {
        leadership.ready && leadership.leader == Some(self.identity.node)
    }

    /// Waits until this node leads, confirmed, with everything applied, and gives the term in which it does; none when the
    /// AVS is stopped.
    pub async fn wait_to_lead(&self) -> Option<u64> {
        let mut leadership = self.group.leadership();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            leads = leadership.wait_for(|leadership| self.is_own(leadership)) => Some(leads.ok()?.term),
        }
    }

    /// Waits until what the leader has applied is applied here too, which is then true, or for as long as a silent leader
    /// takes to be replaced: a node that was away would first see tasks open that ended long ago, and answer them.
    pub async fn catch_up(&self) -> bool {
        let mut backoff = Backoff::new(&self.patience);
        let applied = async {
            let mut leadership = self.group.leadership();
            loop {
                let leader = *leadership.borrow_and_update();
                match leader.leader {
                    Some(leader) if leader == self.identity.node => return None,
                    Some(leader) => {
                        let asked =
                            self.group.ask(leader, ASK_APPLIED, bytes::Bytes::new(), self.patience.request).await;
                        if let Some(applied) = asked.ok().and_then(|answer| serde_json::from_slice::<u64>(&answer).ok())
                        {
                            return Some(applied);
                        }
                        self.env.clock.sleep(backoff.next()).await;
                    }
                    None => leadership.changed().await.ok()?,
                }
            }
        };
        let catching_up = async {
            let Some(leaders) = applied.await else { return true };
            let mut changes = self.ledger.changes();
            // An error means that nothing will be applied any more.
            changes.wait_for(|applied| *applied >= leaders).await.is_ok()
        };
        tokio::select! {
            caught_up = catching_up => caught_up,
            () = self.env.clock.sleep(self.patience.down_after) => false,
            () = self.stop.cancelled() => false,
        }
    }

    /// Waits, or ends early when the AVS is stopped: then false.
    pub async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.env.clock.sleep(duration) => true,
            () = self.stop.cancelled() => false,
        }
    }
}

/// Pauses that grow from try to try.
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub fn new(patience: &Patience) -> Self {
        Self { next: patience.retry_first, most: patience.retry_most }
    }

    pub fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause
    }
}
