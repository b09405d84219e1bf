//! A cluster on one machine, for demos, benchmarks, examples and tests: keys, a registry with operators in it, node
//! options for loopback.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eigenshift_bls::{Curve, SecretKey};
use eigenshift_chain::deploy::Setup;
use eigenshift_chain::{Chain, Error, TransactionRequest, Wallet, registry};
use eigenshift_consensus::Timing;
use eigenshift_engine::Patience;
use eigenshift_env::Env;
use eigenshift_plugin::Compiler;
use eigenshift_types::{Address, Stake};

use crate::{Logs, NodeOptions};

const REGISTRY: &str = include_str!("../../../examples/price-oracle/contracts/out/OperatorRegistry.json");
const REGISTRY_12381: &str = include_str!("../../../examples/price-oracle/contracts/out/OperatorRegistry12381.json");

/// Gas for a change of stakes, whose cost depends on what else the block holds, so that an estimate may be too low.
const STAKE_GAS: u64 = 2_000_000;

/// How long one set-up transaction may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an operator signs with.
#[derive(Clone)]
pub struct OperatorKeys {
    /// Its account.
    pub wallet: Wallet,
    /// Its BLS key for the AVS.
    pub bls: Arc<SecretKey>,
}

impl OperatorKeys {
    /// Fresh keys, the BLS key over this curve.
    ///
    /// # Errors
    /// None in practice: a random secret is a valid one.
    pub fn random(env: &Env, curve: Curve) -> Result<Self, Error> {
        let bls = SecretKey::generate(curve, |bytes| env.random.fill(bytes));
        Ok(Self { wallet: Wallet::random(env)?, bls: Arc::new(bls) })
    }
}

/// An account that sets things up on a chain.
#[must_use]
pub fn setup<'a>(chain: &'a dyn Chain, env: &'a Env, wallet: &'a Wallet) -> Setup<'a> {
    Setup { chain, env, wallet, timeout: PATIENCE }
}

/// Deploys an operator registry for keys of this curve that `owner` administers.
///
/// # Errors
/// The chain's.
pub async fn deploy_registry(owner: &Setup<'_>, curve: Curve) -> Result<Address, Error> {
    let artifact = match curve {
        Curve::Bn254 => REGISTRY,
        Curve::Bls12381 => REGISTRY_12381,
    };
    owner.deploy(artifact, &[]).await
}

/// Lets the operators register their keys, and gives each a stake of 100 in quorum 0.
///
/// # Errors
/// The chain's.
pub async fn enrol(owner: &Setup<'_>, registry: Address, operators: &[OperatorKeys]) -> Result<(), Error> {
    let accounts: Vec<Address> = operators.iter().map(|operator| operator.wallet.address()).collect();
    owner.send(registry, registry::allow_calldata(&accounts)).await?;
    for operator in operators {
        let head = owner.chain.head().await?.block;
        let account = operator.wallet.address();
        let digest = registry::pubkey_registration_digest(owner.chain, registry, account, head.hash).await?;
        let (proof, bls) = (operator.bls.sign(digest), &operator.bls);
        let data = registry::register_calldata(&proof, &bls.contract_key(), &bls.public_key())?;
        setup(owner.chain, owner.env, &operator.wallet).send(registry, data).await?;
    }
    let stake = Stake::new(100).unwrap_or_default();
    for account in accounts {
        let request = TransactionRequest::call(registry, registry::set_stakes_calldata(account, &[(0, stake)]));
        owner.run(&TransactionRequest { gas: Some(STAKE_GAS), ..request }).await?;
    }
    Ok(())
}

/// A node on loopback with free ports and short waits: all on one machine, a failed leader is replaced within two seconds.
/// It compiles plugins in this process.
#[must_use]
pub fn loopback(data_dir: &Path) -> NodeOptions {
    let any = || std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    NodeOptions {
        data_dir: data_dir.to_owned(),
        raft: any(),
        http: any(),
        admin: None,
        raft_url: None,
        http_url: None,
        insecure_dev: false,
        compiler: Compiler::InThisProcess,
        plugins: None,
        timing: Timing {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
        },
        patience: Patience {
            down_after: Duration::from_secs(2),
            resend: Duration::from_secs(1),
            stuck_after: Duration::from_secs(15),
            tick: Duration::from_millis(50),
            ..Patience::default()
        },
        logs: Logs::default(),
    }
}
