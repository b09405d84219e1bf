//! A local anvil (Foundry's development node), for tests and demos.
//!
//! The process is started through `std::process`, outside the env seam: it is a tool beside the product, and no node
//! starts one.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use eigenshift_env::Env;
use futures::future::{Either, select};
use serde_json::json;
use tokio::sync::oneshot;

use super::{EthereumChain, EthereumOptions};
use crate::{Error, Wallet};

/// How long anvil may take until it listens: it needs a tenth of a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A line of output longer than this is cut.
const MAX_LINE: u64 = 64 * 1024;

/// The first of anvil's well-known development accounts, which has 10,000 ether on every anvil.
const DEVELOPMENT_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// When anvil makes blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One per transaction, at once; none without transactions.
    PerTransaction,
    /// One per transaction, at once, and one per interval.
    Mixed(Duration),
    /// One per interval.
    Interval(Duration),
    /// None, but by `anvil_mine`.
    Never,
}

/// How anvil is started.
#[derive(Clone, Debug)]
pub struct AnvilOptions {
    /// The program: the ELF itself, not a wrapper script, so that it can be ended.
    pub program: PathBuf,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// When it makes blocks.
    pub mining: Mining,
}

impl AnvilOptions {
    /// Chain 31337, a block per transaction.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), chain_id: 31337, mining: Mining::PerTransaction }
    }
}

/// A running anvil on a free loopback port; killed on drop.
#[derive(Debug)]
pub struct AnvilNode {
    process: Child,
    url: String,
}

impl AnvilNode {
    /// Starts one and waits until it listens. Blocks are final two blocks later.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the program cannot be started or ends early; [`Error::Timeout`].
    pub async fn start(options: &AnvilOptions, env: &Env) -> Result<Self, Error> {
        let mut command = Command::new(&options.program);
        // The fork is pinned: gas and precompiles are then those of the embedded chain.
        command.args(["--host", "127.0.0.1", "--port", "0", "--hardfork", "prague", "--slots-in-an-epoch", "1"]);
        command.args(["--chain-id", &options.chain_id.to_string()]);
        match options.mining {
            Mining::PerTransaction => {}
            Mining::Mixed(interval) => {
                command.args(["--mixed-mining", "--block-time", &seconds(interval)]);
            }
            Mining::Interval(interval) => {
                command.args(["--block-time", &seconds(interval)]);
            }
            Mining::Never => {
                command.arg("--no-mining");
            }
        }
        // Colours would hide the line with the address.
        command.env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |why: String| Error::Unavailable(format!("anvil ({}): {why}", options.program.display()));
        let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
        let output = process.stdout.take();
        // From here on a failure drops, and so kills, the process.
        let mut node = Self { process, url: String::new() };

        let (found, address) = oneshot::channel();
        let read = Box::new(move || read_output(output, found));
        env.threads.spawn("anvil-output", read).map_err(|error| failed(error.to_string()))?;
        match select(address, env.clock.sleep(START_TIMEOUT)).await {
            Either::Left((Ok(address), _)) => node.url = format!("http://{address}"),
            Either::Left((Err(_), _)) => {
                return Err(failed("it ended before it listened; run it by hand to see why".to_owned()));
            }
            Either::Right(_) => {
                return Err(Error::Timeout { what: "anvil's start" });
            }
        }
        Ok(node)
    }

    /// Where it listens: `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects to it.
    ///
    /// # Errors
    /// As [`EthereumChain::connect`].
    pub async fn connect(&self, options: EthereumOptions, env: &Env) -> Result<EthereumChain, Error> {
        EthereumChain::connect(&self.url, options, env).await
    }
}

impl Drop for AnvilNode {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A development account with ether on every anvil. Its key is public.
///
/// # Errors
/// None: the key is a good one.
pub fn development_wallet() -> Result<Wallet, Error> {
    Wallet::from_hex(DEVELOPMENT_KEY)
}

/// Gives each account this many wei.
///
/// # Errors
/// [`Error::Refused`] when the endpoint is no anvil.
pub async fn fund(chain: &EthereumChain, accounts: &[Address], wei: U256) -> Result<(), Error> {
    for account in accounts {
        chain.raw_request("anvil_setBalance", json!([account, wei])).await?;
    }
    Ok(())
}

fn seconds(interval: Duration) -> String {
    format!("{:.3}", interval.as_secs_f64().max(0.001))
}

/// Reads until anvil ends: it would stop at a full pipe.
fn read_output(output: Option<impl Read>, found: oneshot::Sender<String>) {
    let Some(output) = output else { return };
    let mut reader = BufReader::new(output);
    let mut found = Some(found);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(address) = text.strip_prefix("Listening on ")
            && let Some(found) = found.take()
        {
            // Nobody waits any more when the start took too long.
            let _ = found.send(address.trim().to_owned());
        }
    }
}
