//! How an operator becomes a member: the side of those who are members already.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_chain::registry;
use eigenshift_ledger::{Accepted, Command};
use eigenshift_types::{B256, BlockRef, ClusterId, Epoch, NodeId, Service, SignedJoin};
use http::Uri;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::callbacks::caught;
use crate::context::Context;
use crate::ledger::CommandError;

/// What a joiner needs to make its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The AVS.
    pub service: Service,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// Who issues it.
    pub issuer: NodeId,
    /// To be signed within a minute, once.
    pub challenge: B256,
}

/// One member, as its operator signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRecord {
    /// Node id.
    pub node: NodeId,
    /// The message by which it joined.
    pub join: SignedJoin,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// The joiner's node id.
    pub node: NodeId,
    /// All members, the joiner too. The joiner verifies each signature before it trusts a key.
    pub members: Vec<MemberRecord>,
}

macro_rules! join_errors {
    ($($(#[$doc:meta])* $name:ident $(($($field:ident: $type:ty),*))? = $status:literal, $code:literal, $message:literal;)*) => {
        /// Why an operator is not taken in. The codes are stable.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum JoinError {
            $($(#[$doc])* #[error($message)] $name $(($($type),*))?,)*
        }

        impl JoinError {
            /// Short machine-readable code.
            #[must_use]
            #[allow(unreachable_patterns, reason = "the variants that carry a code of their own come first")]
            pub fn code(&self) -> &str {
                match self {
                    Self::Ledger(code, _) | Self::Leader(code, _) => code,
                    $(Self::$name $(($(join_errors!(@ignore $field)),*))? => $code,)*
                }
            }

            /// HTTP status.
            #[must_use]
            pub const fn status(&self) -> u16 {
                match self {
                    $(Self::$name $(($(join_errors!(@ignore $field)),*))? => $status,)*
                }
            }
        }
    };
    (@ignore $field:ident) => { _ };
}

join_errors! {
    /// Another AVS, chain or service manager.
    WrongService = 409, "wrong-avs", "the join is for another AVS, chain or service manager";
    /// Another cluster.
    WrongCluster = 409, "wrong-cluster", "the join is for another cluster";
    /// Not this node's challenge, used, or too old.
    UnknownChallenge = 403, "unknown-challenge", "this node did not issue the challenge, or it was used, or it is older than a minute; ask for a new one";
    /// Not the operator's signature.
    BadSignature = 403, "bad-signature", "the operator's signature does not match the message";
    /// Not on this chain, or too old.
    StaleBlock(block: BlockRef) = 409, "stale-block", "block {0} is not among the newest two of the chain this node sees; read the head again and sign anew";
    /// Not an operator of the AVS.
    NotRegistered = 403, "not-registered", "the account is not registered as operator of the AVS at this node's head";
    /// Unusable URL.
    BadUrl(url: String) = 422, "bad-url", "{0:?} cannot be used: give raft-url as https:// (http:// in development) and http-url as http://, each with host and port, reachable by the others";
    /// Another URL than the AVS publishes.
    OtherUrl(url: String) = 409, "url-mismatch", "the AVS publishes {0:?} for this operator; join with that URL, or publish the new one";
    /// Too many challenges.
    Busy = 429, "too-many-challenges", "too many joins are under way; wait a minute";
    /// The chain or the cluster does not answer.
    NotNow(why: String) = 503, "not-now", "{0}; try again";
    /// The ledger's refusal.
    Ledger(code: String, message: String) = 409, "refused", "{1}";
    /// The leader's refusal, passed on.
    Leader(code: String, message: String) = 409, "refused", "{1}";
}

const VALID_FOR: Duration = Duration::from_secs(60);
const MOST: usize = 1024;

/// How far a join's block may be behind this node's head, or ahead of it.
const HEAD_DISTANCE: u64 = 2;

/// Issues challenges and takes operators in.
pub(crate) struct Joins {
    context: Arc<Context>,
    issued: Mutex<BTreeMap<B256, Duration>>,
}

impl Joins {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, issued: Mutex::default() }
    }

    pub fn challenge(&self) -> Result<Challenge, JoinError> {
        let now = self.context.env.clock.monotonic();
        let challenge = B256::from(self.context.env.random_32());
        {
            let mut issued = self.issued.lock();
            issued.retain(|_, since| now.saturating_sub(*since) < VALID_FOR);
            if issued.len() >= MOST {
                return Err(JoinError::Busy);
            }
            issued.insert(challenge, now);
        }
        let identity = self.context.identity;
        Ok(Challenge {
            service: self.context.service.clone(),
            cluster_id: identity.cluster,
            epoch: identity.epoch,
            issuer: identity.node,
            challenge,
        })
    }

    /// Checks a join that answers one of this node's challenges. The challenge is used up whatever comes of it.
    pub async fn check(&self, signed: &SignedJoin) -> Result<(), JoinError> {
        let join = &signed.join;
        if join.service != self.context.service {
            return Err(JoinError::WrongService);
        }
        if join.cluster_id != self.context.identity.cluster {
            return Err(JoinError::WrongCluster);
        }
        let now = self.context.env.clock.monotonic();
        let since = self.issued.lock().remove(&join.challenge);
        if join.issuer != self.context.identity.node || since.is_none_or(|since| now.saturating_sub(since) >= VALID_FOR)
        {
            return Err(JoinError::UnknownChallenge);
        }
        if !signed.is_authentic() {
            return Err(JoinError::BadSignature);
        }
        self.check_on_chain(signed).await
    }

    /// What the issuer and the leader both check: block, registration, URLs.
    async fn check_on_chain(&self, signed: &SignedJoin) -> Result<(), JoinError> {
        let join = &signed.join;
        let not_now = |error: &dyn std::fmt::Display| JoinError::NotNow(error.to_string());
        // Operators post responses to each other without TLS of their own: the envelope is signed, and nothing is secret.
        for (url, schemes) in [(&join.raft_url, &["https", "http"][..]), (&join.http_url, &["http"])] {
            let parsed: Option<Uri> = url.parse().ok();
            let usable = parsed.is_some_and(|uri| {
                uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && uri.port_u16().is_some()
            });
            if !usable || url.len() > 256 {
                return Err(JoinError::BadUrl(url.chars().take(256).collect()));
            }
        }
        let head = self.context.chain.head().await.map_err(|error| not_now(&error))?.block;
        let near = head.number.abs_diff(join.block.number) <= HEAD_DISTANCE;
        if !near || !self.context.chain.is_canonical(join.block).await.map_err(|error| not_now(&error))? {
            return Err(JoinError::StaleBlock(join.block));
        }
        let logic = self.context.active_logic();
        let logic = logic.ok_or_else(|| JoinError::NotNow("the active bundle is not loaded here yet".to_owned()))?;
        let registered = match logic.directory() {
            Some(directory) => {
                let fetching = directory.fetch_operator_url(head, join.operator);
                let published = caught(fetching).await.map_err(|error| not_now(&error))?;
                if let Some(published) = published.filter(|published| *published != join.http_url) {
                    return Err(JoinError::OtherUrl(published));
                }
                let asking = directory.is_registered_operator(head, join.operator);
                caught(asking).await.map_err(|error| not_now(&error))?
            }
            None => {
                let registry =
                    self.context.ledger.read(|state| state.settings.as_ref().map(|settings| settings.registry));
                let registry = registry.ok_or_else(|| JoinError::NotNow("this node has not caught up".to_owned()))?;
                let chain = self.context.chain.as_ref();
                registry::is_registered(chain, registry, join.operator, head.hash)
                    .await
                    .map_err(|error| not_now(&error))?
            }
        };
        if registered { Ok(()) } else { Err(JoinError::NotRegistered) }
    }

    /// The leader's part: its own checks, then the ledger.
    pub async fn admit(&self, signed: SignedJoin) -> Result<Joined, JoinError> {
        if !signed.is_authentic() {
            return Err(JoinError::BadSignature);
        }
        self.check_on_chain(&signed).await?;
        let command = Command::AddOperator { join: Box::new(signed) };
        let node = match self.context.ledger.propose(&command).await {
            Ok(Some(Accepted::Member(node))) => node,
            Ok(_) => return Err(JoinError::NotNow("whether the join was logged is not known".to_owned())),
            Err(CommandError::Refused { code, message }) => return Err(JoinError::Ledger(code, message)),
            Err(error) => return Err(JoinError::NotNow(error.to_string())),
        };
        let members = self.context.ledger.read(|state| {
            let record = |(node, member): (&NodeId, &eigenshift_ledger::Member)| MemberRecord {
                node: *node,
                join: member.join.clone(),
            };
            state.members.iter().map(record).collect()
        });
        Ok(Joined { node, members })
    }
}
