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
    async fn emit(&mut self, level: wit_log::Level, message: String) -> wasmtime::Result<()> {
        self.count_host_call()?;
        let level = match level {
            wit_log::Level::Trace => Level::Trace,
            wit_log::Level::Debug => Level::Debug,
            wit_log::Level::Info => Level::Info,
            wit_log::Level::Warn => Level::Warn,
            wit_log::Level::Error => Level::Error,
        };
        Self::emit(self, level, &message);
        Ok(())
    }
}

/// What a chain read gives the guest.
type Read<T> = wasmtime::Result<Result<T, wit_chain::ChainError>>;

impl wit_chain::Host for CallState {
    async fn call(&mut self, to: Vec<u8>, data: Vec<u8>, at: Option<u64>) -> Read<Vec<u8>> {
        self.count_host_call()?;
        Ok(self.chain_call(&to, data, at).await.map(Into::into).map_err(Into::into))
    }

    async fn logs(
        &mut self,
        address: Vec<u8>,
        topics0: Vec<Vec<u8>>,
        start: u64,
        end: u64,
    ) -> Read<Vec<wit::EventLog>> {
        self.count_host_call()?;
        let logs = self.chain_logs(&address, &topics0, start, end).await;
        Ok(logs.map(|logs| logs.iter().map(from_log).collect()).map_err(Into::into))
    }

    async fn header(&mut self, at: Option<u64>) -> Read<wit_chain::BlockHeader> {
        self.count_host_call()?;
        let header = self.chain_header(at).await;
        let convert =
            |Header { block, timestamp }: Header| wit_chain::BlockHeader { block: from_block(&block), timestamp };
        Ok(header.map(convert).map_err(Into::into))
    }
}
