//! The imports' implementation: conversion around [`CallState`], which decides.

use super::convert::{from_block, from_log};
use super::{wit, wit_chain, wit_log};
use crate::sandbox::imports::{CallState, Level, Refusal};
use crate::values::Header;

impl From<Refusal> for wit_chain::ChainError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AccessDenied => Self::AccessDenied,
            Refusal::Reverted(data) => Self::Reverted(data.into()),
            Refusal::UnknownBlock => Self::UnknownBlock,
            Refusal::InvalidArgument(text) => Self::InvalidArgument(text),
            Refusal::Unavailable(text) => Self::Unavailable(text),
            Refusal::Other(text) => Self::Other(text),
        }
    }
}

impl wit::Host for CallState {}

impl wit_log::Host for CallState {
    async fn emit(&mut self, level: wit_log::Level, message: String) {
        let level = match level {
            wit_log::Level::Trace => Level::Trace,
            wit_log::Level::Debug => Level::Debug,
            wit_log::Level::Info => Level::Info,
            wit_log::Level::Warn => Level::Warn,
            wit_log::Level::Error => Level::Error,
        };
        Self::emit(self, level, &message);
    }
}

impl wit_chain::Host for CallState {
    async fn call(&mut self, to: Vec<u8>, data: Vec<u8>, at: Option<u64>) -> Result<Vec<u8>, wit_chain::ChainError> {
        Ok(self.chain_call(&to, data, at).await?.into())
    }

    async fn logs(
        &mut self,
        address: Vec<u8>,
        topics0: Vec<Vec<u8>>,
        start: u64,
        end: u64,
    ) -> Result<Vec<wit::EventLog>, wit_chain::ChainError> {
        let logs = self.chain_logs(&address, &topics0, start, end).await?;
        Ok(logs.iter().map(from_log).collect())
    }

    async fn header(&mut self, at: Option<u64>) -> Result<wit_chain::BlockHeader, wit_chain::ChainError> {
        let Header { block, timestamp } = self.chain_header(at).await?;
        Ok(wit_chain::BlockHeader { block: from_block(&block), timestamp })
    }
}
