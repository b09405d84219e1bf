//! Set-up code: deploy contracts, send transactions one after the other and wait for each.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use eigenshift_env::Env;
use futures::future::{Either, select};
use serde::Deserialize;
use tokio::sync::watch;

use crate::{Chain, Error, Header, Receipt, SignedTransaction, TransactionRequest, Wallet};

#[derive(Deserialize)]
struct Compiled {
    bytecode: String,
}

/// The init code in a compiler's output `{"abi": .., "bytecode": "0x.."}`.
///
/// # Errors
/// [`Error::InvalidInput`] when it is no such JSON, or the bytecode is empty (an interface) or has unlinked libraries.
pub fn init_code(compiled: &str) -> Result<Bytes, Error> {
    let compiled: Compiled =
        serde_json::from_str(compiled).map_err(|error| Error::InvalidInput(format!("compiled contract: {error}")))?;
    let code: Bytes = compiled.bytecode.parse().map_err(|_| {
        Error::InvalidInput("compiled contract: the bytecode is not hexadecimal; link its libraries first".to_owned())
    })?;
    if code.is_empty() {
        return Err(Error::InvalidInput("compiled contract: no bytecode; an interface cannot be deployed".to_owned()));
    }
    Ok(code)
}

/// One account that sets things up. Its transactions are sent one at a time: nothing else may send from it meanwhile.
pub struct Setup<'a> {
    /// Where.
    pub chain: &'a dyn Chain,
    /// Clock.
    pub env: &'a Env,
    /// Who pays.
    pub wallet: &'a Wallet,
    /// How long to wait for each transaction.
    pub timeout: Duration,
}

impl Setup<'_> {
    /// Deploys a contract: `compiled` is the compiler's JSON, `arguments` the ABI-encoded constructor arguments.
    ///
    /// # Errors
    /// [`Error::Reverted`], [`Error::TransactionFailed`], [`Error::Timeout`].
    pub async fn deploy(&self, compiled: &str, arguments: &[u8]) -> Result<Address, Error> {
        let mut data = init_code(compiled)?.to_vec();
        data.extend_from_slice(arguments);
        let receipt = self.run(&TransactionRequest { data: data.into(), ..TransactionRequest::default() }).await?;
        receipt.contract.ok_or_else(|| Error::malformed("the receipt of a deployment names no contract"))
    }

    /// Calls a contract in a transaction and waits until it is in a block.
    ///
    /// # Errors
    /// [`Error::Reverted`], [`Error::TransactionFailed`], [`Error::Timeout`].
    pub async fn send(&self, to: Address, data: impl Into<Bytes>) -> Result<Receipt, Error> {
        self.run(&TransactionRequest::call(to, data)).await
    }

    /// Sends any transaction and waits until it is in a block and did not fail.
    ///
    /// # Errors
    /// [`Error::Reverted`], [`Error::TransactionFailed`], [`Error::Timeout`].
    pub async fn run(&self, request: &TransactionRequest) -> Result<Receipt, Error> {
        let nonce = self.chain.transaction_count(self.wallet.address()).await?;
        let transaction = self.chain.prepare(self.wallet, request, nonce, 0).await?;
        let receipt = send_and_wait(self.chain, self.env, &transaction, self.timeout).await?;
        if receipt.success { Ok(receipt) } else { Err(Error::TransactionFailed(receipt.tx)) }
    }
}

/// Sends a transaction and waits until it is in a block, failed or not.
///
/// # Errors
/// [`Error::Timeout`], and what [`Chain::send`] gives.
pub async fn send_and_wait(
    chain: &dyn Chain,
    env: &Env,
    transaction: &SignedTransaction,
    timeout: Duration,
) -> Result<Receipt, Error> {
    // Subscribed before sending, so that no block falls between.
    let heads = chain.heads();
    chain.send(transaction).await?;
    let waiting = Box::pin(receipt_at_some_head(chain, heads, transaction.hash));
    match select(waiting, env.clock.sleep(timeout)).await {
        Either::Left((receipt, _)) => receipt,
        Either::Right(_) => Err(Error::Timeout { what: "a transaction's inclusion in a block" }),
    }
}

async fn receipt_at_some_head(
    chain: &dyn Chain,
    mut heads: watch::Receiver<Header>,
    tx: B256,
) -> Result<Receipt, Error> {
    loop {
        heads.mark_unchanged();
        match chain.receipt(tx).await {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        heads.changed().await.map_err(|_| Error::Stopped)?;
    }
}
