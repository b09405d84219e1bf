//! Hosts, tasks and chains for the tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eigenshift_env::Env;
use eigenshift_plugin::{
    ChainReadError, ChainReader, Compiler, EventLog, Grants, Header, Host, HostOptions, LoadError, PeerResponse,
    Plugin, Task,
};
use eigenshift_types::{Address, B256, BlockRef, Bytes, OperatorId, Service};

use crate::guest::Guest;

pub fn options() -> HostOptions {
    HostOptions {
        call_slots: 4,
        slots_per_plugin: 4,
        guest_threads: 2,
        // Far beyond what any test needs: a slow machine must not fail one that is not about time.
        call_deadline: Duration::from_secs(300),
        slot_wait: Duration::from_secs(300),
        ..HostOptions::default()
    }
}

/// A compiler in a process of its own, as a node has it.
pub fn child() -> Compiler {
    let program = option_env!("CARGO_BIN_EXE_eigenshift-compiler").expect("cargo builds it for tests");
    Compiler::Child { program: program.into(), args: Vec::new() }
}

pub fn host() -> Host {
    Host::new(options(), &Env::real()).unwrap()
}

pub async fn load(guest: &Guest) -> Result<Plugin, LoadError> {
    host().load(guest.bundle(), &Grants::all()).await
}

pub const BLOCK: BlockRef = BlockRef { number: 100, hash: B256::repeat_byte(0xb0) };

pub fn service() -> Service {
    Service { avs: "probe".parse().unwrap(), chain_id: 31337, service_manager: Address::repeat_byte(5) }
}

pub fn task() -> Task {
    Task {
        index: 7,
        request: Bytes::from_static(b"request"),
        service: service(),
        reference_block: BLOCK,
        reference_time: 1_700_000_000,
    }
}

pub fn peer() -> PeerResponse {
    PeerResponse {
        operator_id: OperatorId(B256::repeat_byte(9)),
        payload: Bytes::from_static(&[1, 2, 3, 4]),
        extension: Bytes::new(),
    }
}

/// A chain whose answers say what was asked.
pub struct EchoChain;

#[async_trait]
impl ChainReader for EchoChain {
    async fn call(&self, to: Address, data: Bytes, at: BlockRef) -> Result<Bytes, ChainReadError> {
        assert_eq!(to, Address::repeat_byte(0x22));
        // Low byte of the block's number, then the calldata.
        Ok([&at.number.to_be_bytes()[7..], &data].concat().into())
    }

    async fn logs(
        &self,
        address: Address,
        topics0: &[B256],
        from: u64,
        to: u64,
        bound: BlockRef,
    ) -> Result<Vec<EventLog>, ChainReadError> {
        let log = EventLog {
            address,
            topics: topics0.to_vec(),
            data: vec![from.to_be_bytes()[7], to.to_be_bytes()[7]].into(),
            block: bound,
            transaction_hash: B256::ZERO,
            log_index: 3,
        };
        Ok(vec![log])
    }

    async fn header(&self, number: Option<u64>, bound: BlockRef) -> Result<Header, ChainReadError> {
        let block = number.map_or(bound, |number| BlockRef { number, hash: B256::ZERO });
        Ok(Header { block, timestamp: block.number * 12 })
    }

    async fn at_number(&self, number: u64, bound: BlockRef) -> Result<BlockRef, ChainReadError> {
        assert!(number < bound.number, "the host asks only for what is below the bound");
        Ok(BlockRef { number, hash: B256::ZERO })
    }
}

pub fn chain() -> Arc<dyn ChainReader> {
    Arc::new(EchoChain)
}
