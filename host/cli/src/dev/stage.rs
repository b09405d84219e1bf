//! The operators that the plugin runs at, and what may be done with them: ask for tasks, exchange the plugin.

use std::sync::Arc;

use eigenshift_chain::{EmbeddedChain, EmbeddedOptions, Wallet};
use eigenshift_engine::{AvsHandle, Triggered};
use eigenshift_env::Env;
use eigenshift_ledger::command::activation_hash;
use eigenshift_ledger::settings::Expiry;
use eigenshift_ledger::{Settings, State};
use eigenshift_node::local::{deploy_registry, enrol, setup};
use eigenshift_node::{Curve, OperatorKeys, TenantOptions};
use eigenshift_plugin::{Bundle, Grants, Host, HttpPolicy, Import, Manifest, Plugin, Roots};
use eigenshift_types::{Address, B256, Bytes, Service};

use super::contract::Contract;
use super::say;
use crate::author::tasks::Tasks;
use crate::author::{AuthorError, keyvalue};
use crate::cluster::{BLOCK, Cluster, Plan, chain_error};
use crate::{CliError, author};

/// The AVS's name on every operator.
const AVS: &str = "dev";

/// How many operators there are: one may be missing, and still two thirds of the stake sign.
const OPERATORS: usize = 3;

/// How long a task that gets no answers stays open, in milliseconds.
const EXPIRY_MS: u64 = 15_000;

/// A plugin that this host takes.
pub struct Version {
    pub bundle: Bundle,
    pub manifest: Manifest,
    /// Held so that the operators find its compiled code in memory.
    _plugin: Plugin,
}

pub struct Stage {
    pub cluster: Cluster,
    host: Host,
    publisher: Wallet,
    grants: Grants,
    provided: TenantOptions,
    has_contract: bool,
    /// What the plugins that are only tried out keep.
    scratch: tempfile::TempDir,
}

fn settings(registry: Address, publisher: &Wallet) -> Settings {
    let mut settings = Settings::new(registry);
    settings.confirmations = Some(1);
    settings.reassign_grace = 10;
    settings.expiry = Expiry::Ms(EXPIRY_MS);
    settings.publishers = vec![publisher.address()];
    settings
}

/// What the operators give the plugin: the values of `tasks.toml`, and requests to wherever its manifest says.
fn provided(tasks: &Tasks, manifest: &Manifest) -> TenantOptions {
    let wants_roots = manifest.imports.contains(&Import::Http);
    let roots = wants_roots
        .then(Roots::system)
        .and_then(|roots| roots.inspect_err(|error| tracing::warn!("no https for the plugin: {error}")).ok());
    let http = HttpPolicy { roots, ..HttpPolicy::default() };
    TenantOptions { keyvalue: None, secrets: tasks.secrets.clone(), http }
}

impl Stage {
    /// Chain, contracts, operators.
    pub async fn set(
        (bundle, manifest): (Bundle, Manifest),
        tasks: &Tasks,
        contract: Option<&Contract>,
    ) -> Result<(Self, Version), CliError> {
        let env = Env::real();
        let (owner, publisher) =
            (Wallet::random(&env).map_err(chain_error)?, Wallet::random(&env).map_err(chain_error)?);
        let operators = (0..OPERATORS).map(|_| OperatorKeys::random(&env, Curve::Bn254));
        let operators = operators.collect::<Result<Vec<_>, _>>().map_err(chain_error)?;
        let mut funded: Vec<Address> = operators.iter().map(|operator| operator.wallet.address()).collect();
        funded.push(owner.address());
        let start_time = env.clock.unix_ms() / 1000;
        let options = EmbeddedOptions { block_interval: BLOCK, funded, start_time, ..EmbeddedOptions::default() };
        let chain = Arc::new(EmbeddedChain::start(options, &env).map_err(chain_error)?);
        let grants = Grants { config: tasks.config.clone(), ..Grants::all() };
        let scratch = tempfile::tempdir();
        let scratch = scratch.map_err(|error| CliError::File { path: std::env::temp_dir(), why: error.to_string() })?;
        let mut stage = Self {
            host: author::host(&env)?,
            cluster: Cluster::new(env, chain, "eigenshift-dev-")?,
            provided: provided(tasks, &manifest),
            publisher,
            grants,
            has_contract: contract.is_some(),
            scratch,
        };
        // Before anything is deployed for it. An interpreter's takes seconds, the first time.
        say("      -- loading the plugin");
        let version = stage.try_out(bundle, manifest).await?;
        stage.build(&owner, operators, contract, &version).await?;
        Ok((stage, version))
    }

    async fn build(
        &mut self,
        owner: &Wallet,
        operators: Vec<OperatorKeys>,
        contract: Option<&Contract>,
        version: &Version,
    ) -> Result<(), CliError> {
        let chain = Arc::clone(&self.cluster.chain);
        let env = self.cluster.env.clone();
        let owner = setup(chain.as_ref(), &env, owner);
        let registry = deploy_registry(&owner, Curve::Bn254).await.map_err(chain_error)?;
        let service_manager = match contract {
            Some(contract) => {
                let (compiled, arguments) = contract.deployment(registry);
                owner.deploy(compiled, &arguments).await.map_err(chain_error)?
            }
            // It only names the AVS: nothing is sent there.
            None => registry,
        };
        enrol(&owner, registry, &operators).await.map_err(chain_error)?;
        let what = if contract.is_some() { "your contract" } else { "none of yours" };
        say(&format!(
            "      -- chain {}: registry {registry}, service manager {service_manager} ({what})",
            chain.chain_id()
        ));
        let avs = AVS.parse().map_err(|error: eigenshift_types::ids::InvalidId| CliError::Usage(error.to_string()))?;
        let plan = Plan {
            service: Service { avs, chain_id: chain.chain_id(), service_manager },
            settings: settings(registry, &self.publisher),
            bundle: version.bundle.clone(),
            grants: self.grants.clone(),
            provided: self.provided.clone(),
            plugins: Some(self.host.clone()),
        };
        for operator in operators {
            let node = self.cluster.start(operator, &plan).await?;
            let number = self.cluster.operators();
            say(&format!("      -- operator {number} is node {node} at {}", self.cluster.url(number - 1)));
        }
        self.cluster.wait_voters(OPERATORS).await
    }

    /// Loads a bundle as the operators will.
    ///
    /// # Errors
    /// Why they would not.
    pub async fn try_out(&self, bundle: Bundle, manifest: Manifest) -> Result<Version, AuthorError> {
        let keyvalue = match manifest.imports.contains(&Import::Keyvalue) {
            true => Some(keyvalue(&self.cluster.env, self.scratch.path()).await?),
            false => None,
        };
        let tenant = self.host.tenant_with(TenantOptions { keyvalue, ..self.provided.clone() });
        let plugin = self.host.load_for(&tenant, bundle.clone(), &self.grants).await.map_err(AuthorError::Load)?;
        if plugin.has_task_submission() && !self.has_contract {
            return Err(AuthorError::NeedsContract);
        }
        Ok(Version { bundle, manifest, _plugin: plugin })
    }

    /// The node that everything is seen through and asked of: none is ever stopped before the end.
    pub fn window(&self) -> Result<&AvsHandle, CliError> {
        self.cluster
            .live()
            .next()
            .map(|(_, handle)| handle)
            .ok_or_else(|| CliError::Demo("no operator runs".to_owned()))
    }

    /// Whether this bundle is the active one.
    pub fn runs(&self, digest: B256) -> bool {
        self.window().is_ok_and(|window| window.read(|state| state.bundle == digest))
    }

    /// Asks for a task.
    pub async fn ask(&self, number: u64, request: Bytes) -> Result<Triggered, CliError> {
        let asked = self.window()?.request_task(format!("dev-{number}"), request).await;
        asked.map_err(|error| CliError::Ask(format!("{}: {error}", error.code())))
    }

    /// Has the operators run another bundle, and waits until all of them do.
    ///
    /// # Errors
    /// Why they do not.
    pub async fn swap(&self, version: &Version) -> Result<(), CliError> {
        let window = self.window()?;
        let digest = version.bundle.digest();
        if self.runs(digest) {
            return Ok(());
        }
        let sequence = window.read(|state| state.activations);
        let hash = activation_hash(window.service(), digest, sequence);
        let signature = self.publisher.sign_hash(hash).map_err(chain_error)?;
        let proposed = window.propose_bundle(version.bundle.to_bytes(), sequence, signature).await;
        proposed.map_err(|error| CliError::Ask(format!("{}: {error}", error.code())))?;
        let outcome = |state: &State| {
            if state.bundle == digest {
                return Some(Ok(()));
            }
            let refused = state.bundle_reports.get(&digest)?.refused.values().next()?;
            Some(Err(CliError::Ask(refused.clone())))
        };
        for (number, handle) in self.cluster.live() {
            self.cluster.wait_at(handle, &format!("operator {} runs it", number + 1), outcome).await??;
        }
        Ok(())
    }
}
