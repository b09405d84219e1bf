//! Native Rust callbacks instead of a plugin: the library that a Rust team embeds.
//!
//! [`new_avs_consensus_engine`] takes the callbacks, where the node listens and what it signs with, and gives a
//! [`TaskConsensusManager`]. Requests and responses are the team's own types; between operators they travel as named
//! MessagePack.

mod callbacks;
mod manager;

pub use eigenshift_plugin::CallError;

pub use callbacks::{
    FetchOperatorUrl, GuardedSigner, IsRegisteredOperator, OnLeaderProcessTaskResponse, OnSubmitTaskToLeader,
    OnTaskRequest, Payload, Rejection, SignedResponse, SignedTaskResponse, TaskConsensusCallbacks, TaskInfo,
};
pub use manager::{
    Certified, ManagerError, NativeAvs, OperatorRaftConfig, TaskConsensusManager, new_avs_consensus_engine,
};
