//! Whose keys a group trusts.

use std::collections::BTreeMap;
use std::sync::Arc;

use eigenshift_types::{NodeId, NodePublicKey};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// Longest URL of a peer, in bytes.
pub(crate) const MAX_URL_BYTES: usize = 256;
/// How many removed nodes are remembered, so that they can be told.
const MAX_FORMER: usize = 4096;

/// A member as the others reach and recognise it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Its Raft node id, never reused.
    pub node: NodeId,
    /// Where it listens for the other members: `https://host:port`, or `http://` on loopback in insecure mode.
    pub raft_url: String,
    /// Its node key, which is its TLS key.
    pub key: NodePublicKey,
}

#[derive(Debug, Default)]
struct Book {
    as_of: Option<u64>,
    peers: BTreeMap<NodeId, Peer>,
    former: BTreeMap<NodeId, Peer>,
}

/// The trust store of one group: the members, as of a log index. Cheap to clone; clones share it.
///
/// The group keeps it current from the memberships it applies. The host fills it before that: a node that joins knows the
/// members from the reply to its join, not yet from its log.
///
/// Invariant: what it knows never goes back to an earlier log index, so that a node that replays old memberships while it
/// catches up does not shut out the leader it catches up from.
#[derive(Clone, Debug, Default)]
pub struct PeerBook(Arc<RwLock<Book>>);

impl PeerBook {
    /// An empty book: nobody is trusted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all members by those of log index `as_of`; who is left out counts as removed. Returns false, and changes
    /// nothing, if the book already knows a later index.
    pub fn set(&self, as_of: u64, peers: Vec<Peer>) -> bool {
        let mut book = self.0.write();
        if book.as_of.is_some_and(|known| known > as_of) {
            return false;
        }
        let peers: BTreeMap<_, _> = peers.into_iter().map(|peer| (peer.node, peer)).collect();
        let old = std::mem::replace(&mut book.peers, peers);
        for (node, peer) in old {
            if !book.peers.contains_key(&node) {
                book.former.insert(node, peer);
            }
        }
        while book.former.len() > MAX_FORMER {
            book.former.pop_first();
        }
        book.as_of = Some(as_of);
        true
    }

    /// Names nodes that were removed before this process began, so that they are told so when they call.
    pub fn set_removed(&self, removed: Vec<Peer>) {
        let mut book = self.0.write();
        for peer in removed {
            if !book.peers.contains_key(&peer.node) && book.former.len() < MAX_FORMER {
                book.former.insert(peer.node, peer);
            }
        }
    }

    /// The member with this id.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<Peer> {
        self.0.read().peers.get(&node).cloned()
    }

    /// Whether a member has this key.
    #[must_use]
    pub fn allows(&self, key: &NodePublicKey) -> bool {
        self.0.read().peers.values().any(|peer| peer.key == *key)
    }

    /// The members in order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<Peer> {
        self.0.read().peers.values().cloned().collect()
    }

    /// The log index that the members are known as of; none while nothing was set.
    #[must_use]
    pub fn as_of(&self) -> Option<u64> {
        self.0.read().as_of
    }

    /// Whether this node was a member and is no longer.
    #[must_use]
    pub fn is_former(&self, node: NodeId) -> bool {
        self.0.read().former.contains_key(&node)
    }

    /// Whether the key belongs to a member or to a former one, who may still connect to be told.
    pub(crate) fn admits(&self, key: &NodePublicKey) -> bool {
        let book = self.0.read();
        book.peers.values().chain(book.former.values()).any(|peer| peer.key == *key)
    }

    pub(crate) fn view(&self) -> (Option<u64>, Vec<Peer>) {
        let book = self.0.read();
        (book.as_of, book.peers.values().cloned().collect())
    }
}
