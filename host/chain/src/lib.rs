//! Read blocks and contracts of the AVS's chain, and put transactions on it.
//!
//! For the engine, the node and set-up code, which do not know which chain they are on.
//!
//! # Layout
//! - [`chain`]: the [`Chain`] trait and its records.
//! - [`wallet`]: an account that signs transactions and joins.
//! - [`registry`]: operator sets from the AVS's registry contract, of either curve.
//! - [`deploy`]: set-up code: deploy a contract, send and wait.
//! - [`embedded`]: a chain in this process (revm), for demos and tests.
//! - [`ethereum`]: an Ethereum endpoint (JSON-RPC over HTTP); [`ethereum::anvil`] starts a local one.
//! - [`error`]: what can go wrong.
//!
//! # Guarantees
//! - Contract reads name their block by hash: the answer is that block's, or [`Error::UnknownBlock`], never another's.
//! - Both chains take the same signed bytes (EIP-1559, EIP-2718) and report a revert as [`Error::Reverted`] with its data.
//! - [`Chain::send`] is idempotent: the same signed transaction may be sent any number of times.
//! - What an endpoint answers is bounded in size and checked against what was asked.
//! - The EVM never runs on the async runtime's threads.
//! - A [`Wallet`]'s secret is zeroised on drop and cannot be printed or serialised.
//!
//! # Not here
//! Retries and fee policy over time (the engine's submit driver), curve arithmetic (`eigenshift-bls`), what a contract's
//! answers mean to an AVS (its plugin).

pub mod chain;
pub mod deploy;
pub mod embedded;
pub mod error;
pub mod ethereum;
mod fees;
pub mod registry;
pub mod wallet;

pub use chain::{Chain, Header, Log, LogFilter, Receipt, SignedTransaction, TransactionRequest};
pub use embedded::{EmbeddedChain, EmbeddedOptions};
pub use error::Error;
pub use ethereum::{Endpoints, EthereumChain, EthereumOptions};
pub use wallet::Wallet;
