//! `eigenshift plugin`: what a bundle holds, and which one a cluster runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eigenshift_api::admin::{ApproveRequest, Deployed, RollbackRequest};
use eigenshift_chain::Wallet;
use eigenshift_engine::http::{HttpClient, PostError};
use eigenshift_engine::status::{AvsStatus, BundlesStatus};
use eigenshift_env::Env;
use eigenshift_ledger::command::{Shadow, activation_hash, shadow_hash};
use eigenshift_plugin::inspect::inspect;
use eigenshift_plugin::{Bundle, Grants, Import, Manifest};
use eigenshift_types::{B256, Bytes};
use serde::Serialize;

use crate::ask::{Administration, PATIENCE, Target, unanswered};
use crate::avs::Admin;
use crate::files::{MAX_COMPONENT, MAX_MANIFEST, file, read_bounded, read_secret};
use crate::{CliError, author};

/// What to do with a plugin.
#[derive(Subcommand, Debug)]
pub enum PluginCommand {
    /// Make a project that builds as it is: a plugin that squares numbers, to be changed into another.
    New(author::NewArgs),
    /// Build a project into plugin.wasm, and show what it would be granted.
    Build(author::BuildArgs),
    /// Run recorded tasks, each twice, and compare the answers with those recorded and between versions.
    Test(author::TestArgs),
    /// Show what a component exports, imports and needs, and what it would be granted.
    Inspect(InspectArgs),
    /// Show the bundles of an AVS on a running node.
    List(ListArgs),
    /// Have a cluster run another bundle: every member fetches, loads and reports on it.
    Deploy(DeployArgs),
    /// Have a former bundle come back.
    Rollback(RollbackArgs),
    /// Run the plugin no more on this node: the same as `eigenshift avs pause`.
    Pause(ListArgs),
    /// Let a proposed bundle become active, on a node with `bundle-approval = "manual"`.
    Approve(ApproveArgs),
}

/// Shows a component.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The component.
    component: PathBuf,
    /// Its `avs.toml`: with it, what is granted and refused is shown.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// What the operator would grant. [default: all]
    #[arg(long, value_name = "IMPORT", value_delimiter = ',', value_parser = import)]
    grants: Option<Vec<Import>>,
}

/// Names an AVS.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    target: Target,
}

/// Deploys.
#[derive(Args, Debug)]
pub struct DeployArgs {
    #[command(flatten)]
    target: Target,
    /// The component.
    component: PathBuf,
    /// Its `avs.toml`. [default: beside the component, with `.avs.toml` instead of `.wasm`]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// File with the publisher account's secret key, 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    publisher_key: PathBuf,
    /// Have it run beside the active bundle first, at each member, on so many tasks.
    #[arg(long, value_name = "TASKS")]
    shadow: Option<u32>,
    /// In how many of these tasks its answers may differ: with more, members refuse it.
    #[arg(long, value_name = "TASKS", requires = "shadow", default_value_t = 0)]
    differences: u32,
}

/// Goes back.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    target: Target,
    /// The bundle's whole digest. [default: the one that was active last]
    digest: Option<B256>,
    /// File with the publisher account's secret key, 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    publisher_key: PathBuf,
}

/// Approves.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    #[command(flatten)]
    target: Target,
    /// The bundle's whole digest.
    digest: B256,
}

fn import(text: &str) -> Result<Import, String> {
    let known = || Import::ALL.map(|import| import.as_str()).join(", ");
    Import::ALL
        .into_iter()
        .find(|import| import.as_str() == text)
        .ok_or_else(|| format!("there is no import {text:?}; there are {}", known()))
}

/// Does it.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New(args) => Ok(author::new(&args)?),
        PluginCommand::Build(args) => Ok(tokio::task::block_in_place(|| author::build(&args))?),
        PluginCommand::Test(args) => Ok(author::test(args).await?),
        PluginCommand::Inspect(args) => show(&args),
        PluginCommand::List(args) => list(args).await,
        PluginCommand::Deploy(args) => deploy(args).await,
        PluginCommand::Rollback(args) => rollback(args).await,
        PluginCommand::Pause(args) => pause(&args.target).await,
        PluginCommand::Approve(args) => approve(args).await,
    }
}

async fn pause(target: &Target) -> Result<(), CliError> {
    let (_, avs) = target.read()?;
    let avs = avs.parse().map_err(|error: eigenshift_types::ids::InvalidId| CliError::Usage(error.to_string()))?;
    Admin::of(&target.config)?.pause(&avs).await
}

fn manifest(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read_bounded(path, MAX_MANIFEST)?).map_err(|error| file(path, error))
}

fn show(args: &InspectArgs) -> Result<(), CliError> {
    let component = read_bounded(&args.component, MAX_COMPONENT)?;
    let report = inspect(&component).map_err(|error| file(&args.component, error))?;
    println!("{report}");
    let Some(path) = &args.manifest else { return Ok(()) };
    let text = manifest(path)?;
    let parsed = Manifest::parse(&text).map_err(|error| file(path, error))?;
    println!("bundle {}: {} {}", Bundle::new(component, text).digest(), parsed.name, parsed.version);
    let grants = args.grants.as_ref().map_or_else(Grants::all, |grants| grants.iter().copied().collect());
    for (interface, verdict) in report.verdicts(&parsed, &grants) {
        println!("  {}: {verdict}", interface.name);
    }
    Ok(())
}

async fn bundles(target: &Target) -> Result<(AvsStatus, String), CliError> {
    let (config, avs) = target.read()?;
    let base = format!("http://{}", config.node.http);
    let asked = HttpClient::new(&Env::real()).get(&base, &format!("/v1/avs/{avs}/status"), PATIENCE).await;
    Ok((asked.map_err(|error: PostError| unanswered(&error, "http"))?, avs))
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let (AvsStatus { bundles, .. }, _) = bundles(&args.target).await?;
    let BundlesStatus { active, activations, former, loaded, proposed, unapproved, shadows, no_answers, disagreements } =
        bundles;
    let here = |digest: &B256| if loaded.contains(digest) { "loaded here" } else { "not loaded here" };
    println!("active    {active}  {}, {activations} activations so far", here(&active));
    for (node, why) in no_answers {
        println!("          node {node} gets no answer from it: {why}");
    }
    for (node, tasks) in disagreements {
        println!("          node {node} answers otherwise than the others in {tasks} tasks");
    }
    for bundle in proposed {
        println!("proposed  {}  {}, by node {}", bundle.digest, here(&bundle.digest), bundle.by);
        if let Some(shadow) = shadows.get(&bundle.digest) {
            println!(
                "          in the shadow here: {} of {} tasks compared, {} differ, {} may",
                shadow.compared, shadow.tasks, shadow.different, shadow.differences
            );
            if let Some(example) = &shadow.example {
                println!("          {example}");
            }
        }
        let ready: Vec<String> = bundle.ready.iter().map(ToString::to_string).collect();
        if unapproved.contains(&bundle.digest) {
            println!("          waits for this operator: `eigenshift plugin approve {}`", bundle.digest);
        }
        println!("          ready at nodes {}", if ready.is_empty() { "none".to_owned() } else { ready.join(", ") });
        for (node, why) in bundle.refused {
            println!("          refused by node {node}: {why}");
        }
    }
    for digest in former.iter().rev() {
        println!("former    {digest}  {}", here(digest));
    }
    Ok(())
}

/// A publisher's signature for the next activation.
fn sign(key: &Path, status: &AvsStatus, digest: B256, shadow: Option<Shadow>) -> Result<Bytes, CliError> {
    let wallet = Wallet::from_hex(&read_secret(key)?).map_err(|error| file(key, error))?;
    let sequence = status.bundles.activations;
    let hash = match shadow {
        None => activation_hash(&status.service, digest, sequence),
        Some(shadow) => shadow_hash(&status.service, digest, sequence, shadow),
    };
    wallet.sign_hash(hash).map_err(|error| file(key, error))
}

async fn deploy(args: DeployArgs) -> Result<(), CliError> {
    let beside = || args.component.with_extension("avs.toml");
    let text = manifest(&args.manifest.clone().unwrap_or_else(beside))?;
    let bundle = Bundle::new(read_bounded(&args.component, MAX_COMPONENT)?, text);
    let (status, avs) = bundles(&args.target).await?;
    let shadow = args.shadow.map(|tasks| Shadow { tasks, differences: args.differences });
    let signature = sign(&args.publisher_key, &status, bundle.digest(), shadow)?;
    let (config, _) = args.target.read()?;
    let admin = Administration::of(&config)?;
    let terms = shadow.map_or_else(String::new, |Shadow { tasks, differences }| {
        format!("&shadow_tasks={tasks}&shadow_differences={differences}")
    });
    let sequence = status.bundles.activations;
    let path = format!("/v1/avs/{avs}/bundles?sequence={sequence}&signature={signature}{terms}");
    let headers = [("authorization", admin.authorization.as_str())];
    let http = HttpClient::new(&Env::real());
    let deployed: Deployed = http
        .post_bytes(&admin.base, &path, &headers, bundle.to_bytes().0, PATIENCE)
        .await
        .map_err(|error| unanswered(&error, "admin"))?;
    println!("proposed {}", deployed.digest);
    println!("it becomes active when enough stake has it ready: `eigenshift plugin list` shows how far it is");
    Ok(())
}

async fn rollback(args: RollbackArgs) -> Result<(), CliError> {
    let (status, avs) = bundles(&args.target).await?;
    let digest = args.digest.or_else(|| status.bundles.former.last().copied());
    let digest = digest.ok_or_else(|| CliError::Usage("no bundle was active before this one".to_owned()))?;
    let signature = sign(&args.publisher_key, &status, digest, None)?;
    let request = RollbackRequest { digest, sequence: status.bundles.activations, signature };
    tell(&args.target, &avs, "rollback", &request).await?;
    println!("proposed {digest}, which was active before");
    Ok(())
}

async fn approve(args: ApproveArgs) -> Result<(), CliError> {
    let (_, avs) = args.target.read()?;
    let digest = args.digest;
    tell(&args.target, &avs, "approve", &ApproveRequest { digest }).await?;
    println!("approved {digest}");
    Ok(())
}

/// Has a node do something about a bundle.
async fn tell(target: &Target, avs: &str, what: &str, request: &impl Serialize) -> Result<(), CliError> {
    let (config, _) = target.read()?;
    let admin = Administration::of(&config)?;
    let headers = [("authorization", admin.authorization.as_str())];
    let path = format!("/v1/avs/{avs}/bundles/{what}");
    let asked = HttpClient::new(&Env::real()).post_with(&admin.base, &path, &headers, request, PATIENCE).await;
    asked.map_err(|error: PostError| unanswered(&error, "admin"))
}
