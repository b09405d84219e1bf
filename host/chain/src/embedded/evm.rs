//! One run of the EVM.

use std::convert::Infallible;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::context::result::{EVMError, ExecutionResult, ResultAndState};
use revm::context::{BlockEnv, TxEnv};
use revm::primitives::hardfork::SpecId;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use super::state::View;
use crate::Error;

/// Gas of a block.
pub(super) const BLOCK_GAS: u64 = 30_000_000;

/// Gas of a read: what public endpoints allow (geth's `--rpc.gascap`).
pub(super) const CALL_GAS: u64 = 50_000_000;

/// Wei per gas; it stays.
pub(super) const BASE_FEE: u64 = 1_000_000_000;

/// Runs a transaction on a state, which it leaves as it is.
pub(super) fn transact(
    view: View<'_>,
    chain_id: u64,
    block: BlockEnv,
    transaction: TxEnv,
    nonce_matters: bool,
) -> Result<ResultAndState, EVMError<Infallible>> {
    Context::mainnet()
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(SpecId::PRAGUE);
            cfg.chain_id = chain_id;
            cfg.disable_nonce_check = !nonce_matters;
        })
        .with_block(block)
        .with_ref_db(view)
        .build_mainnet()
        .transact(transaction)
}

/// A run that costs its caller nothing: for reads and estimates. `block` loses its base fee, as on public endpoints.
pub(super) fn simulate(
    view: View<'_>,
    chain_id: u64,
    mut block: BlockEnv,
    caller: Address,
    kind: TxKind,
    (data, value, gas): (Bytes, U256, u64),
) -> Result<(Bytes, u64), Error> {
    block.basefee = 0;
    block.gas_limit = block.gas_limit.max(gas);
    let transaction = TxEnv::builder()
        .caller(caller)
        .kind(kind)
        .data(data)
        .value(value)
        .gas_limit(gas)
        .gas_price(0)
        .chain_id(Some(chain_id))
        .build_fill();
    let run = transact(view, chain_id, block, transaction, false);
    let result = run.map_err(|error| Error::refused(-32000, &error.to_string()))?.result;
    // Refunds come after the run: the limit must cover what was spent before them.
    let spent = result.gas().total_gas_spent().max(result.gas().tx_gas_used());
    match result {
        ExecutionResult::Success { output, .. } => Ok((output.into_data(), spent)),
        ExecutionResult::Revert { output, .. } => Err(Error::Reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(Error::refused(-32000, &format!("execution halted: {reason:?}"))),
    }
}
