//! `eigenshift develop`: the price oracle on a local development chain, for the example configurations.
//!
//! The deployer is the first of anvil's development accounts, so that on a fresh chain the contracts come to the
//! addresses that the example configurations name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use clap::Args;
use eigenshift_bls::bn254::SecretKey;
use eigenshift_chain::ethereum::anvil;
use eigenshift_chain::{Chain, EthereumChain, EthereumOptions, Wallet};
use eigenshift_env::Env;
use eigenshift_node::OperatorKeys;

use crate::CliError;
use crate::demo::contracts::{self, Deployment};
use crate::demo::{DemoArgs, read_prices};
use crate::files::read_secret;

/// Deploys the price oracle's contracts to a fresh local chain, and writes a row of prices to the feeds.
#[derive(Args, Debug)]
pub struct DevelopArgs {
    /// JSON-RPC endpoint of a local development chain (anvil).
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    pub rpc: String,
    /// Folder with operator-N.key and operator-N.bls, N from 1.
    #[arg(long, value_name = "DIR", default_value = "examples/price-oracle/keys")]
    pub keys: PathBuf,
    /// Which row of the built-in prices goes to the feeds, counted from 1.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub row: u32,
}

/// The example has four operators.
const OPERATORS: usize = 4;

/// The deployer's transactions before the feeds: registry, oracle, allow, and a stake for each operator.
const BEFORE_FEEDS: u64 = 3 + OPERATORS as u64;

fn keys(folder: &Path, number: usize) -> Result<OperatorKeys, CliError> {
    let path = folder.join(format!("operator-{number}.key"));
    let wrong = |path: &Path, why: String| CliError::File { path: path.to_owned(), why };
    let wallet = Wallet::from_hex(&read_secret(&path)?).map_err(|error| wrong(&path, error.to_string()))?;
    let path = folder.join(format!("operator-{number}.bls"));
    let bls = SecretKey::from_hex(&read_secret(&path)?).map_err(|error| wrong(&path, error.to_string()))?;
    Ok(OperatorKeys { wallet, bls: Arc::new(bls.into()) })
}

fn deployed(owner: Address, feeds: usize) -> Deployment {
    let feeds = (0..feeds as u64).map(|feed| owner.create(BEFORE_FEEDS + feed)).collect();
    Deployment { registry: owner.create(0), oracle: owner.create(1), feeds }
}

/// Deploys unless that was done before, and writes the row.
///
/// # Errors
/// [`CliError`].
pub async fn develop(args: DevelopArgs) -> Result<(), CliError> {
    let env = Env::real();
    let chain_error = |error: eigenshift_chain::Error| CliError::Chain(error.to_string());
    let options = EthereumOptions { poll_interval: Duration::from_millis(100), ..EthereumOptions::default() };
    let chain = EthereumChain::connect(&args.rpc, options, &env).await.map_err(chain_error)?;
    let owner = anvil::development_wallet().map_err(chain_error)?;
    let prices = read_prices(&DemoArgs::for_row(args.row))?;
    let expected = deployed(owner.address(), prices.columns.len());
    if chain.transaction_count(owner.address()).await.map_err(chain_error)? == 0 {
        let operators = (1..=OPERATORS).map(|number| keys(&args.keys, number)).collect::<Result<Vec<_>, _>>()?;
        let deployment = contracts::deploy(&chain, &env, &owner, &operators, &prices).await.map_err(chain_error)?;
        if (deployment.registry, deployment.oracle) != (expected.registry, expected.oracle)
            || deployment.feeds != expected.feeds
        {
            return Err(CliError::Chain(
                "the contracts came to other addresses than expected; use a fresh chain".to_owned(),
            ));
        }
        println!("registry         {}", deployment.registry);
        println!("service manager  {}", deployment.oracle);
    }
    let row = prices.rows.get(args.row as usize - 1);
    let row = row.ok_or_else(|| CliError::Usage(format!("there is no row {}", args.row)))?;
    contracts::write_row(&chain, &env, &owner, &expected, row).await.map_err(chain_error)?;
    for (column, price) in prices.columns.iter().zip(&row.prices) {
        println!("{}@{}  {}", column.feed, column.source, super::prices::display(*price));
    }
    Ok(())
}
