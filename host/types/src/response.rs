//! A signed response on its way to the aggregator.

use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

use crate::node_key::{NodeKey, NodePublicKey, NodeSignature};
use crate::{ClusterId, Epoch, NodeId, ResponseKey, TaskIndex, frame};

/// `S` in the envelope that its sender's node key signs.
///
/// The envelope proves who sent it, so that limits count proven senders only; the BLS signature inside proves what the
/// operator answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseEnvelope {
    /// Cluster it is for.
    pub cluster_id: ClusterId,
    /// Incarnation of the cluster.
    pub epoch: Epoch,
    /// Sender.
    pub node: NodeId,
    /// Task.
    pub task: TaskIndex,
    /// Assignment under which the receiver aggregates.
    pub assignment_epoch: u64,
    /// What the response is about.
    pub key: ResponseKey,
    /// `K`.
    pub payload: Bytes,
    /// What was signed.
    pub digest: B256,
    /// The AVS's extension of `S`; not covered by the BLS signature.
    pub extension: Bytes,
    /// The operator's BLS signature over `digest`, uncompressed: in G1 over BN254, in G2 over BLS12-381.
    pub signature: Bytes,
    /// The node key's signature over everything above.
    pub envelope_signature: NodeSignature,
}

const DOMAIN: &str = "eigenshift response v1";

impl ResponseEnvelope {
    fn signed_bytes(&self) -> Vec<u8> {
        let body = (
            (self.cluster_id, self.epoch, self.node, self.task, self.assignment_epoch),
            (&self.key, &self.payload, self.digest, &self.extension, &self.signature),
        );
        frame::canonical(&(DOMAIN, body))
    }

    /// Signs the envelope with the sender's node key.
    #[must_use]
    pub fn signed(mut self, key: &NodeKey) -> Self {
        self.envelope_signature = key.sign(&self.signed_bytes());
        self
    }

    /// Whether `key` signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &NodePublicKey) -> bool {
        key.verifies(&self.signed_bytes(), &self.envelope_signature)
    }
}
