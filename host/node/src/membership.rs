//! Founding a cluster, and joining one.

use std::time::Duration;

use eigenshift_chain::{Chain, Wallet, registry};
use eigenshift_engine::http::{HttpClient, PostError};
use eigenshift_engine::join::{Challenge, Joined};
use eigenshift_engine::ledger::{Ledger, Replica};
use eigenshift_env::Env;
use eigenshift_ledger::command::Bootstrap;
use eigenshift_ledger::{Command, Settings};
use eigenshift_types::{Address, B256, ClusterId, Epoch, Join, NodeId, NodePublicKey, Service};

use crate::NodeError;
use crate::identity::Record;
use eigenshift_consensus::Peer;

/// Where this node is reached by the others.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    pub raft: String,
    pub http: String,
}

/// What both ways in need.
pub(crate) struct Newcomer<'a> {
    pub env: &'a Env,
    pub service: &'a Service,
    pub chain: &'a dyn Chain,
    pub wallet: &'a Wallet,
    pub node_key: NodePublicKey,
    pub urls: &'a Urls,
}

const POST: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Newcomer<'_> {
    async fn message(&self, cluster: ClusterId, issuer: NodeId, challenge: B256) -> Result<Join, NodeError> {
        let head = self.chain.head().await.map_err(|error| NodeError::Chain(error.to_string()))?;
        Ok(Join {
            service: self.service.clone(),
            cluster_id: cluster,
            operator: self.wallet.address(),
            raft_url: self.urls.raft.clone(),
            http_url: self.urls.http.clone(),
            node_key: self.node_key,
            block: head.block,
            issuer,
            challenge,
        })
    }

    /// The record of a cluster that this node founds.
    pub fn found(&self) -> Record {
        Record {
            service: self.service.clone(),
            cluster: ClusterId(B256::from(self.env.random_32())),
            epoch: Epoch(0),
            node: NodeId(1),
            founder: true,
            guarded: false,
            removed: false,
            peers: Vec::new(),
            erased: false,
            predecessor: None,
        }
    }

    /// Has the ledger begun, unless it has. Goes on after a crash in the middle.
    pub async fn begin(
        &self,
        record: &Record,
        replica: &Replica,
        ledger: &Ledger,
        how: (Settings, B256, u64),
    ) -> Result<(), NodeError> {
        let (settings, bundle_digest, start_block) = how;
        if let Some(why) = settings.problem() {
            return Err(NodeError::Settings(why));
        }
        let message = self.message(record.cluster, NodeId(0), B256::from(self.env.random_32())).await?;
        let join = self.wallet.sign_join(message).map_err(|error| NodeError::Chain(error.to_string()))?;
        let bootstrap = Bootstrap {
            service: self.service.clone(),
            epoch: record.epoch,
            settings,
            join,
            bundle_digest,
            start_block,
        };
        let command = Command::Bootstrap(Box::new(bootstrap));
        while replica.read(|state| state.cluster.is_none()) {
            if let Err(error) = ledger.propose(&command).await {
                tracing::info!(avs = %self.service.avs, "the ledger has not begun yet: {error}");
                self.env.clock.sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Asks the members at `urls`, in turn and again, until one takes this node in.
    ///
    /// # Errors
    /// Only what trying again cannot mend: another AVS, members whose keys their operators did not sign.
    pub async fn join(&self, urls: &[String], registry: Address) -> Result<Record, NodeError> {
        let http = HttpClient::new(self.env);
        let mut pause = PAUSE;
        loop {
            for url in urls {
                match self.ask(&http, url, registry).await {
                    Ok(record) => return Ok(record),
                    Err(error @ (NodeError::OtherService { .. } | NodeError::UntrustedMember { .. })) => {
                        return Err(error);
                    }
                    Err(error) => tracing::info!(avs = %self.service.avs, "not joined yet through {url}: {error}"),
                }
            }
            self.env.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn ask(&self, http: &HttpClient, url: &str, registry: Address) -> Result<Record, NodeError> {
        let post = |error: PostError| NodeError::Join(error.to_string());
        let path = format!("/v1/avs/{}/join", self.service.avs);
        let challenge: Challenge = http.post(url, &format!("{path}/challenge"), &(), POST).await.map_err(post)?;
        if challenge.service != *self.service {
            return Err(NodeError::OtherService { url: url.to_owned() });
        }
        let message = self.message(challenge.cluster_id, challenge.issuer, challenge.challenge).await?;
        let signed = self.wallet.sign_join(message).map_err(|error| NodeError::Chain(error.to_string()))?;
        let joined: Joined = http.post(url, &path, &signed, POST).await.map_err(post)?;
        self.verify(url, &challenge, &joined, registry).await?;
        let peer = |member: &eigenshift_engine::join::MemberRecord| Peer {
            node: member.node,
            raft_url: member.join.join.raft_url.clone(),
            key: member.join.join.node_key,
        };
        Ok(Record {
            service: self.service.clone(),
            cluster: challenge.cluster_id,
            epoch: challenge.epoch,
            node: joined.node,
            founder: false,
            guarded: false,
            removed: false,
            peers: joined.members.iter().map(peer).collect(),
            erased: false,
            predecessor: None,
        })
    }

    /// A member's key is trusted only if an operator that this node's own chain knows signed for it.
    async fn verify(
        &self,
        url: &str,
        challenge: &Challenge,
        joined: &Joined,
        registry: Address,
    ) -> Result<(), NodeError> {
        let head = self.chain.head().await.map_err(|error| NodeError::Chain(error.to_string()))?.block;
        for member in &joined.members {
            let join = &member.join.join;
            let ours = join.service == *self.service && join.cluster_id == challenge.cluster_id;
            let known = registry::is_registered(self.chain, registry, join.operator, head.hash).await;
            let known = known.map_err(|error| NodeError::Chain(error.to_string()))?;
            if !ours || !known || !member.join.is_authentic() {
                return Err(NodeError::UntrustedMember { url: url.to_owned(), node: member.node });
            }
        }
        let own = joined.members.iter().find(|member| member.node == joined.node);
        if own.is_none_or(|own| own.join.join.node_key != self.node_key) {
            return Err(NodeError::UntrustedMember { url: url.to_owned(), node: joined.node });
        }
        Ok(())
    }
}
