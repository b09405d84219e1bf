//! Reads of the AVS's chain, bound to the block of the call: never "latest", on which operators would disagree.

use std::marker::PhantomData;

use alloy_sol_types::SolCall;

use crate::{Address, B256, ChainError, EventLog, Header};

/// What a [`Chain`] reads from outside WebAssembly; [`testing::FakeChain`](crate::testing::FakeChain) is one.
#[cfg(not(target_arch = "wasm32"))]
pub trait Reads {
    /// Calls `to` with `data`, at `at` or the block of the call.
    fn call(&self, to: Address, data: &[u8], at: Option<u64>) -> Result<Vec<u8>, ChainError>;
    /// Logs of `address` in blocks `start..=end`, with one of `topics0` (any if empty).
    fn logs(&self, address: Address, topics0: &[B256], start: u64, end: u64) -> Result<Vec<EventLog>, ChainError>;
    /// A header.
    fn header(&self, at: Option<u64>) -> Result<Header, ChainError>;
}

/// The chain as one callback may see it. Reads at the block of the call unless a method says `at`; no read goes above it.
///
/// In WebAssembly it is nothing but a name for the host's imports, so that a plugin that never reads imports none of them.
pub struct Chain<'a> {
    #[cfg(not(target_arch = "wasm32"))]
    reads: &'a dyn Reads,
    call: PhantomData<&'a ()>,
}

#[cfg(not(target_arch = "wasm32"))]
impl<'a> Chain<'a> {
    /// Reads from `reads`: for tests outside WebAssembly.
    pub fn new(reads: &'a dyn Reads) -> Self {
        Self { reads, call: PhantomData }
    }
}

impl Chain<'_> {
    /// The host's chain, for the length of one call.
    pub(crate) fn host() -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            reads: &crate::testing::NoChain,
            call: PhantomData,
        }
    }

    /// Calls a contract's function and decodes what it returns.
    pub fn call<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, ChainError> {
        self.read(to, call, None)
    }

    /// As [`call`](Self::call), at an earlier block.
    pub fn call_at<C: SolCall>(&self, block: u64, to: Address, call: &C) -> Result<C::Return, ChainError> {
        self.read(to, call, Some(block))
    }

    fn read<C: SolCall>(&self, to: Address, call: &C, at: Option<u64>) -> Result<C::Return, ChainError> {
        let returned = self.call_raw(to, &call.abi_encode(), at)?;
        C::abi_decode_returns_validate(&returned).map_err(|error| ChainError::Undecodable(error.to_string()))
    }

    /// Calls a contract with these bytes, at `at` or the block of the call; the bytes it returns.
    pub fn call_raw(&self, to: Address, data: &[u8], at: Option<u64>) -> Result<Vec<u8>, ChainError> {
        #[cfg(target_arch = "wasm32")]
        return crate::glue::chain::call(to, data, at);
        #[cfg(not(target_arch = "wasm32"))]
        self.reads.call(to, data, at)
    }

    /// Logs of `address` in blocks `start..=end` (at most 1,000, not above the block of the call) whose first topic is one
    /// of `topics0` (any if empty).
    pub fn logs(&self, address: Address, topics0: &[B256], start: u64, end: u64) -> Result<Vec<EventLog>, ChainError> {
        #[cfg(target_arch = "wasm32")]
        return crate::glue::chain::logs(address, topics0, start, end);
        #[cfg(not(target_arch = "wasm32"))]
        self.reads.logs(address, topics0, start, end)
    }

    /// The header of the block of the call, or of an earlier one.
    pub fn header(&self, at: Option<u64>) -> Result<Header, ChainError> {
        #[cfg(target_arch = "wasm32")]
        return crate::glue::chain::header(at);
        #[cfg(not(target_arch = "wasm32"))]
        self.reads.header(at)
    }
}
