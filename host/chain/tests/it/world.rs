//! A chain to test on: embedded, or a real anvil.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use eigenshift_chain::deploy::{Setup, send_and_wait};
use eigenshift_chain::ethereum::anvil::{self, AnvilNode, AnvilOptions, Mining};
use eigenshift_chain::{
    Chain, EmbeddedChain, EmbeddedOptions, Error, EthereumChain, EthereumOptions, Receipt, SignedTransaction,
    TransactionRequest, Wallet,
};
use eigenshift_env::Env;
use eigenshift_types::BlockRef;
use serde_json::json;

sol! {
    function update(int256 answer, uint256 updatedAt) external;
    function transferOwnership(address newOwner) external;
    function latestRoundData() external view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    error NotOwner(address caller);
    error NoData(uint80 roundId);
}

pub const PRICE_FEED: &str = include_str!("../../../../examples/price-oracle/contracts/out/PriceFeed.json");
pub const OPERATOR_REGISTRY: &str =
    include_str!("../../../../examples/price-oracle/contracts/out/OperatorRegistry.json");
pub const OPERATOR_REGISTRY_12381: &str =
    include_str!("../../../../examples/price-oracle/contracts/out/OperatorRegistry12381.json");

/// Longer than anything takes on a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Who makes blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// The chain, by itself.
    ByThemselves,
    /// The test, with [`World::mine`].
    OnDemand,
}

enum Kind {
    Embedded(EmbeddedChain),
    Anvil(EthereumChain, #[allow(dead_code, reason = "held: it ends on drop")] AnvilNode),
}

pub struct World {
    kind: Kind,
    pub env: Env,
    /// Has funds; owns what is deployed.
    pub owner: Wallet,
    /// Has funds.
    pub other: Wallet,
}

pub fn anvil_program() -> PathBuf {
    let path = std::env::var_os("ANVIL").expect(
        "ANVIL must name Foundry's anvil: `cargo xtask setup` installs it, `cargo xtask test` sets the variable; \
         by hand: ANVIL=/path/to/anvil cargo test -p eigenshift-chain",
    );
    PathBuf::from(path)
}

pub fn wallet(seed: u8) -> Wallet {
    Wallet::from_bytes(&[seed; 32]).unwrap()
}

pub fn quick() -> EthereumOptions {
    EthereumOptions {
        poll_interval: Duration::from_millis(20),
        request_timeout: PATIENCE,
        ..EthereumOptions::default()
    }
}

impl World {
    pub async fn embedded(blocks: Blocks) -> Self {
        Self::embedded_with(blocks, []).await
    }

    /// With more accounts that have funds.
    pub async fn embedded_with(blocks: Blocks, accounts: impl IntoIterator<Item = Address>) -> Self {
        let env = Env::real();
        let (owner, other) = (wallet(1), wallet(2));
        let block_interval = match blocks {
            Blocks::ByThemselves => Duration::from_millis(20),
            Blocks::OnDemand => Duration::from_secs(3600),
        };
        let funded = [owner.address(), other.address()].into_iter().chain(accounts).collect();
        let options = EmbeddedOptions { block_interval, funded, ..EmbeddedOptions::default() };
        let chain = EmbeddedChain::start(options, &env).unwrap();
        Self { kind: Kind::Embedded(chain), env, owner, other }
    }

    pub async fn anvil(blocks: Blocks) -> Self {
        let env = Env::real();
        let (owner, other) = (wallet(1), wallet(2));
        let mining = match blocks {
            Blocks::ByThemselves => Mining::Mixed(Duration::from_millis(200)),
            Blocks::OnDemand => Mining::Never,
        };
        let node =
            AnvilNode::start(&AnvilOptions { mining, ..AnvilOptions::new(anvil_program()) }, &env).await.unwrap();
        let chain = node.connect(quick(), &env).await.unwrap();
        let ether = U256::from(10).pow(U256::from(21));
        anvil::fund(&chain, &[owner.address(), other.address()], ether).await.unwrap();
        Self { kind: Kind::Anvil(chain, node), env, owner, other }
    }

    pub fn chain(&self) -> &dyn Chain {
        match &self.kind {
            Kind::Embedded(chain) => chain,
            Kind::Anvil(chain, _) => chain,
        }
    }

    pub async fn mine(&self) {
        match &self.kind {
            Kind::Embedded(chain) => drop(chain.mine_now().await.unwrap()),
            Kind::Anvil(chain, _) => drop(chain.raw_request("anvil_mine", json!(["0x1"])).await.unwrap()),
        }
    }

    pub fn setup(&self) -> Setup<'_> {
        Setup { chain: self.chain(), env: &self.env, wallet: &self.owner, timeout: PATIENCE }
    }

    /// Deploys a price feed, on a chain of either kind.
    pub async fn feed(&self) -> Address {
        let mut data = eigenshift_chain::deploy::init_code(PRICE_FEED).unwrap().to_vec();
        data.extend(("EUR/USD".to_owned(),).abi_encode_params());
        let request = TransactionRequest { data: data.into(), ..TransactionRequest::default() };
        let receipt = self.settle(&self.prepare(&self.owner, &request, 0).await.unwrap()).await;
        assert!(receipt.success);
        receipt.contract.expect("a deployment's receipt names the contract")
    }

    /// Prepares with the account's next nonce.
    pub async fn prepare(
        &self,
        from: &Wallet,
        request: &TransactionRequest,
        bump: u32,
    ) -> Result<SignedTransaction, Error> {
        let nonce = self.chain().transaction_count(from.address()).await.unwrap();
        self.chain().prepare(from, request, nonce, bump).await
    }

    /// Sends, mines where that is needed, and gives the receipt.
    pub async fn settle(&self, transaction: &SignedTransaction) -> Receipt {
        let waiting = send_and_wait(self.chain(), &self.env, transaction, PATIENCE);
        let mining = async {
            // Chains that mine by themselves do not mind one more block.
            while self.chain().receipt(transaction.hash).await.unwrap().is_none() {
                self.mine().await;
            }
        };
        let (receipt, ()) = tokio::join!(waiting, mining);
        receipt.unwrap()
    }

    /// Sends all of these, mines until all are in blocks, and gives the receipts: none may fail.
    pub async fn batch(&self, requests: Vec<(&Wallet, TransactionRequest)>) -> Vec<Receipt> {
        let mut nonces = HashMap::new();
        let mut sent = Vec::new();
        for (wallet, request) in &requests {
            let nonce = match nonces.entry(wallet.address()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.chain().transaction_count(wallet.address()).await.unwrap()),
            };
            let transaction = self.chain().prepare(wallet, request, *nonce, 0).await.unwrap();
            self.chain().send(&transaction).await.unwrap();
            *nonce += 1;
            sent.push(transaction.hash);
        }
        let mut receipts = Vec::new();
        for hash in sent {
            let receipt = loop {
                match self.chain().receipt(hash).await.unwrap() {
                    Some(receipt) => break receipt,
                    None => self.mine().await,
                }
            };
            assert!(receipt.success);
            receipts.push(receipt);
        }
        receipts
    }

    pub async fn head(&self) -> BlockRef {
        self.chain().head().await.unwrap().block
    }

    /// Writes a price and gives the receipt.
    pub async fn price(&self, feed: Address, answer: i64) -> Receipt {
        let receipt = self.settle(&self.prepare(&self.owner, &price(feed, answer), 0).await.unwrap()).await;
        assert!(receipt.success);
        receipt
    }
}

pub fn price(feed: Address, answer: i64) -> TransactionRequest {
    let call = updateCall { answer: answer.try_into().unwrap(), updatedAt: U256::from(1_700_000_000) };
    TransactionRequest::call(feed, call.abi_encode())
}

/// The feed's latest answer at a block.
pub async fn answer_at(chain: &dyn Chain, feed: Address, at: B256) -> Result<i64, Error> {
    let data: Bytes = latestRoundDataCall {}.abi_encode().into();
    let output = chain.call(feed, data, at).await?;
    Ok(latestRoundDataCall::abi_decode_returns_validate(&output).unwrap().answer.try_into().unwrap())
}
