//! Proposing a command on this node.

use std::time::Duration;

use bytes::Bytes;
use eigenshift_env::Env;
use eigenshift_types::NodeId;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::watch;

use super::Applied;
use crate::error::ProposeError;
use crate::raft::{Command, Raft};
use crate::within::within;

#[derive(Clone)]
pub(crate) struct Proposer {
    pub(super) raft: Raft,
    pub(super) env: Env,
    pub(super) limit: Duration,
    /// True while leadership is handed over: proposals wait, so that the target can have the whole log.
    pub(super) paused: watch::Receiver<bool>,
}

impl Proposer {
    pub(crate) async fn propose(&self, command: Bytes) -> Result<Applied, ProposeError> {
        if command.len() > crate::MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes: command.len() });
        }
        let mut paused = self.paused.clone();
        match within(&self.env, self.limit, paused.wait_for(|paused| !*paused)).await {
            None => return Err(ProposeError::NotLeader { leader: None }),
            Some(Err(_)) => return Err(ProposeError::Stopped),
            Some(Ok(_)) => {}
        }
        match within(&self.env, self.limit, self.raft.client_write(Command(command))).await {
            None => Err(ProposeError::Uncertain),
            Some(Ok(written)) => Ok(Applied { index: written.log_id.index, reply: written.data.0 }),
            Some(Err(RaftError::Fatal(_))) => Err(ProposeError::Stopped),
            Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id.map(NodeId) })
            }
            // The entry is in the log of a leader that was deposed: it may be committed by the next one.
            Some(Err(RaftError::APIError(_))) => Err(ProposeError::Uncertain),
        }
    }
}
