//! The typed data (EIP-712) that an operator signs to become a member.

use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use serde::{Deserialize, Serialize};

use crate::{BlockRef, ClusterId, NodeId, NodePublicKey, Service};

mod typed {
    #![allow(missing_docs, reason = "the macro's items mirror `super::Join`, which is documented")]
    use super::sol;
    sol! {
        struct Join {
            string avs;
            bytes32 clusterId;
            address operator;
            string raftUrl;
            string httpUrl;
            bytes32 nodeKey;
            uint64 blockNumber;
            bytes32 blockHash;
            uint64 issuer;
            bytes32 challenge;
        }
    }
}

/// What an operator says when it joins: "this node, at these URLs, is mine, in this cluster, now".
///
/// EIP-712 domain: name `EigenShift`, version `1`, the AVS's chain id and service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The AVS, its chain and its service manager.
    pub service: Service,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The account that registered with the AVS; it signs this.
    pub operator: Address,
    /// Where the node's Raft listener is reached, `https://host:port` (`http://` on loopback for development).
    pub raft_url: String,
    /// Where the node's public listener is reached, `http://` or `https://`.
    pub http_url: String,
    /// The node's key.
    pub node_key: NodePublicKey,
    /// A recent block, so that an old message is worth nothing.
    pub block: BlockRef,
    /// The node that issued the challenge; 0 at bootstrap.
    pub issuer: NodeId,
    /// 32 random bytes from the issuer, used once; at bootstrap the node's own.
    pub challenge: B256,
}

impl Join {
    /// What the operator's account signs: the EIP-712 signing hash.
    #[must_use]
    pub fn signing_hash(&self) -> B256 {
        let domain: Eip712Domain = eip712_domain! {
            name: "EigenShift",
            version: "1",
            chain_id: self.service.chain_id,
            verifying_contract: self.service.service_manager,
        };
        let typed = typed::Join {
            avs: self.service.avs.to_string(),
            clusterId: self.cluster_id.0,
            operator: self.operator,
            raftUrl: self.raft_url.clone(),
            httpUrl: self.http_url.clone(),
            nodeKey: self.node_key.0,
            blockNumber: self.block.number,
            blockHash: self.block.hash,
            issuer: self.issuer.0,
            challenge: self.challenge,
        };
        typed.eip712_signing_hash(&domain)
    }

    /// What the ledger remembers of a challenge so that it is used once.
    #[must_use]
    pub fn challenge_hash(&self) -> B256 {
        keccak256(self.challenge)
    }
}

/// A [`Join`] with the operator's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedJoin {
    /// What was signed.
    pub join: Join,
    /// 65 bytes: r, s, v (27 or 28).
    pub signature: Bytes,
}

impl SignedJoin {
    /// Whether the operator that the message names signed it. A high-s signature is refused: it would be a second
    /// encoding of the same consent.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        let Ok(signature) = Signature::from_raw(&self.signature) else { return false };
        signature.normalize_s().is_none()
            && signature
                .recover_address_from_prehash(&self.join.signing_hash())
                .is_ok_and(|who| who == self.join.operator)
    }
}
