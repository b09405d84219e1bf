//! Blocks, and the AVS's place on its chain.

use std::fmt;

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::AvsId;

/// A block named by number and hash, so that two nodes can never mean different blocks by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// keccak256 of the header.
    pub hash: B256,
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// The AVS that a record is for: equal on every operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the operators' configuration.
    pub avs: AvsId,
    /// EIP-155 chain id of the chain that its contracts live on.
    pub chain_id: u64,
    /// Its service manager contract.
    pub service_manager: Address,
}
