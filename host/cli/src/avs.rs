//! `eigenshift avs`: the AVSs of a running node, each by itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use eigenshift_api::logs::Page;
use eigenshift_engine::http::HttpClient;
use eigenshift_env::Env;
use eigenshift_node::{AvsEntry, Phase};
use eigenshift_types::AvsId;

use crate::CliError;
use crate::ask::{Administration, PATIENCE, unanswered};
use crate::config;

/// What to do with an AVS.
#[derive(Subcommand, Debug)]
pub enum AvsCommand {
    /// Show the node's AVSs and how each stands.
    List(ListArgs),
    /// Start an AVS that was put into the node's configuration since the node started, or that was removed.
    Add(NameArgs),
    /// Cease to take part in an AVS until it is resumed, over restarts too.
    Pause(NameArgs),
    /// Start a paused or failed AVS again, as the configuration says now.
    Resume(NameArgs),
    /// Leave a paused or failed AVS: its cluster takes this node out, its data here are erased but for what was signed.
    Remove(RemoveArgs),
    /// Show an AVS's newest log lines.
    Logs(LogsArgs),
}

/// Which node.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "eigenshift.toml")]
    config: PathBuf,
}

/// Lists.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Names an AVS.
#[derive(Args, Debug)]
pub struct NameArgs {
    /// The AVS's id.
    name: AvsId,
    #[command(flatten)]
    node: NodeArgs,
}

/// Removes.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    which: NameArgs,
    /// Do not ask the cluster: it is gone, or ends with this node.
    #[arg(long)]
    force: bool,
}

/// Shows lines.
#[derive(Args, Debug)]
pub struct LogsArgs {
    #[command(flatten)]
    which: NameArgs,
    /// Go on with further lines as they come.
    #[arg(long)]
    follow: bool,
}

/// Between two looks at how far a start is, or at further lines.
const LOOK: Duration = Duration::from_millis(200);

/// How long a start is watched: one that waits for its cluster may take as long as it wants.
const WATCH: Duration = Duration::from_secs(60);

/// The admin listener of a running node.
pub(crate) struct Admin {
    env: Env,
    http: HttpClient,
    at: Administration,
}

impl Admin {
    pub fn of(config: &std::path::Path) -> Result<Self, CliError> {
        let env = Env::real();
        let at = Administration::of(&config::read(config)?)?;
        Ok(Self { http: HttpClient::new(&env), env, at })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let headers = [("authorization", self.at.authorization.as_str())];
        let got = self.http.get_with(&self.at.base, path, &headers, PATIENCE).await;
        got.map_err(|error| unanswered(&error, "admin"))
    }

    async fn post(&self, avs: &AvsId, operation: &str) -> Result<(), CliError> {
        let headers = [("authorization", self.at.authorization.as_str())];
        let path = format!("/v1/avs/{avs}/{operation}");
        let done = self.http.post_with(&self.at.base, &path, &headers, &(), PATIENCE).await;
        done.map_err(|error| unanswered(&error, "admin"))
    }

    async fn list(&self) -> Result<Vec<AvsEntry>, CliError> {
        self.get("/v1/avs").await
    }

    /// Pauses an AVS.
    pub async fn pause(&self, avs: &AvsId) -> Result<(), CliError> {
        self.post(avs, "pause").await?;
        println!("{avs} is paused");
        Ok(())
    }

    /// Watches a start for a while.
    async fn watch(&self, avs: &AvsId) -> Result<(), CliError> {
        let deadline = self.env.clock.monotonic() + WATCH;
        loop {
            let entry = self.list().await?.into_iter().find(|entry| entry.avs == *avs);
            let entry = entry.ok_or_else(|| CliError::Ask(format!("{avs} was removed meanwhile")))?;
            match (entry.phase, entry.failure) {
                (Phase::Failed, Some(failure)) => {
                    return Err(CliError::Ask(format!("{avs} failed ({}): {}", failure.code, failure.message)));
                }
                (Phase::Starting, _) if self.env.clock.monotonic() < deadline => self.env.clock.sleep(LOOK).await,
                (Phase::Starting, _) => {
                    println!("{avs} is still starting: `eigenshift avs logs {avs}` shows what it waits for");
                    return Ok(());
                }
                (phase, _) => {
                    println!("{avs} is {}", phase.as_str());
                    return Ok(());
                }
            }
        }
    }

    async fn logs(&self, avs: &AvsId, follow: bool) -> Result<(), CliError> {
        let mut after = 0;
        loop {
            let page: Page = self.get(&format!("/v1/avs/{avs}/logs?after={after}")).await?;
            if page.lost > 0 {
                println!("... {} older lines are gone", page.lost);
            }
            for line in &page.lines {
                println!("{}", line.text);
            }
            after = page.lines.last().map_or(after, |line| line.number);
            if !follow {
                return Ok(());
            }
            self.env.clock.sleep(LOOK).await;
        }
    }
}

/// Does it.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: AvsCommand) -> Result<(), CliError> {
    match command {
        AvsCommand::List(args) => show(&Admin::of(&args.node.config)?.list().await?, args.json),
        AvsCommand::Add(args) => {
            let admin = Admin::of(&args.node.config)?;
            admin.post(&args.name, "add").await?;
            admin.watch(&args.name).await
        }
        AvsCommand::Pause(args) => Admin::of(&args.node.config)?.pause(&args.name).await,
        AvsCommand::Resume(args) => {
            let admin = Admin::of(&args.node.config)?;
            admin.post(&args.name, "resume").await?;
            admin.watch(&args.name).await
        }
        AvsCommand::Remove(args) => {
            let NameArgs { name, node } = args.which;
            Admin::of(&node.config)?.post(&name, &format!("remove?force={}", args.force)).await?;
            println!("{name} is removed; take its [[avs]] section out of the configuration");
            Ok(())
        }
        AvsCommand::Logs(args) => Admin::of(&args.which.node.config)?.logs(&args.which.name, args.follow).await,
    }
}

fn show(entries: &[AvsEntry], json: bool) -> Result<(), CliError> {
    if json {
        println!("{}", serde_json::to_string_pretty(entries).unwrap_or_default());
        return Ok(());
    }
    for entry in entries {
        let why = entry.failure.as_ref().map_or(String::new(), |why| format!("  {}: {}", why.code, why.message));
        println!("{:<24} {:<8}{why}", entry.avs, entry.phase.as_str());
    }
    Ok(())
}
