//! `eigenshift status` and `eigenshift task send`: questions to a running node.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eigenshift_api::admin::TaskRequest;
use eigenshift_engine::Triggered;
use eigenshift_engine::http::{HttpClient, PostError};
use eigenshift_engine::status::{AvsStatus, TaskStatus};
use eigenshift_env::Env;
use eigenshift_types::Bytes;
use zeroize::Zeroizing;

use crate::CliError;
use crate::config::{self, Config};
use crate::files::{file, read_private};

pub(crate) const PATIENCE: Duration = Duration::from_secs(75);

/// Which node, and which of its AVSs.
#[derive(Args, Debug)]
pub struct Target {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "eigenshift.toml")]
    pub config: PathBuf,
    /// The AVS; may be left out if the node has one.
    #[arg(long, value_name = "ID")]
    pub avs: Option<String>,
}

impl Target {
    pub(crate) fn read(&self) -> Result<(Config, String), CliError> {
        let config = config::read(&self.config)?;
        let avs = match (&self.avs, config.avss.as_slice()) {
            (Some(avs), all) if all.iter().any(|known| known.id.as_str() == avs) => avs.clone(),
            (Some(avs), all) => {
                let known: Vec<&str> = all.iter().map(|avs| avs.id.as_str()).collect();
                return Err(CliError::Usage(format!(
                    "the configuration has no AVS {avs:?}; it has {}",
                    known.join(", ")
                )));
            }
            (None, [only]) => only.id.to_string(),
            (None, _) => return Err(CliError::Usage("the node has several AVSs: say which with --avs".to_owned())),
        };
        Ok((config, avs))
    }
}

/// Longest file of what opens an admin listener.
const MAX_TOKEN: u64 = 1024;

/// A node's admin listener, and what opens it.
pub(crate) struct Administration {
    pub base: String,
    pub authorization: Zeroizing<String>,
}

impl Administration {
    pub fn of(config: &Config) -> Result<Self, CliError> {
        let admin = config
            .node
            .admin
            .ok_or_else(|| CliError::Usage("the node has no admin listener: set admin in [node]".to_owned()))?;
        let path = config.node.data_dir.join("admin.token");
        if !path.exists() {
            return Err(file(&path, "it is not there; the node makes it at its first start"));
        }
        let token = read_private(&path, MAX_TOKEN)?;
        let token = std::str::from_utf8(&token).map_err(|error| file(&path, error))?;
        let authorization = Zeroizing::new(format!("Bearer {}", token.trim()));
        Ok(Self { base: format!("http://{admin}"), authorization })
    }
}

/// A node's refusal is its own words; without an answer, what to look at.
pub(crate) fn unanswered(error: &PostError, listener: &str) -> CliError {
    CliError::Ask(match error {
        PostError::Unreachable { .. } | PostError::Timeout { .. } => {
            format!("{error}; is the node running (`eigenshift run`), with the same {listener} in its [node]?")
        }
        _ => error.to_string(),
    })
}

/// Shows an AVS on a running node.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Asks for a task.
#[derive(Args, Debug)]
pub struct SendArgs {
    #[command(flatten)]
    target: Target,
    /// What the plugin's task-source gets (or the request itself): text, or hexadecimal after 0x.
    payload: String,
    /// Makes asking again safe: the same key makes no second task. [default: random]
    #[arg(long)]
    key: Option<String>,
}

/// Prints the status.
///
/// # Errors
/// [`CliError`].
pub async fn status(args: StatusArgs) -> Result<(), CliError> {
    let (config, avs) = args.target.read()?;
    let env = Env::real();
    let http = HttpClient::new(&env);
    let base = format!("http://{}", config.node.http);
    let ask = |error: PostError| unanswered(&error, "http");
    let status: AvsStatus = http.get(&base, &format!("/v1/avs/{avs}/status"), PATIENCE).await.map_err(ask)?;
    let tasks: Vec<TaskStatus> =
        http.get(&base, &format!("/v1/avs/{avs}/tasks?limit=10"), PATIENCE).await.map_err(ask)?;
    if args.json {
        let all = serde_json::json!({ "status": status, "tasks": tasks });
        println!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(());
    }
    print(&status, &tasks);
    Ok(())
}

fn print(status: &AvsStatus, tasks: &[TaskStatus]) {
    println!(
        "{} on chain {}, service manager {}",
        status.service.avs, status.service.chain_id, status.service.service_manager
    );
    println!("cluster {}, epoch {}", status.cluster_id, status.epoch);
    let leader = status.leader.map_or("nobody".to_owned(), |leader| format!("node {leader}"));
    println!("this is node {}; {leader} leads in term {}; applied up to {}", status.node, status.term, status.applied);
    if let Some(halted) = &status.halted {
        println!("HALTED: {halted}");
    }
    println!("\nmembers");
    for member in &status.members {
        let role = if member.voter { "voter" } else { "learner" };
        let down = if member.down { "  DOWN" } else { "" };
        println!("  node {:<6} {role:<8} {} {}{down}", member.node, member.operator, member.http_url);
    }
    println!("\ntasks: {} live, {} ended and kept; the newest:", status.live_tasks, status.ended_tasks);
    for task in tasks {
        let keys: Vec<String> = task.certificates.iter().map(|certificate| certificate.key.to_string()).collect();
        println!(
            "  task {:<6} {:<10} aggregator node {:<6} certified {}/{} {}",
            task.index,
            task.phase,
            task.aggregator,
            task.certificates.len(),
            task.keys_expected,
            keys.join(" ")
        );
    }
    if !status.counters.is_empty() {
        println!("\ncounters");
        for (name, count) in &status.counters {
            println!("  {count:>8}  {name}");
        }
    }
}

fn payload(text: &str) -> Result<Bytes, CliError> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits)
            .map(Bytes::from)
            .map_err(|error| CliError::Usage(format!("the payload begins with 0x and is not hexadecimal: {error}"))),
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// Asks for a task, and prints what became of it.
///
/// # Errors
/// [`CliError`].
pub async fn send(args: SendArgs) -> Result<(), CliError> {
    let (config, avs) = args.target.read()?;
    let admin = Administration::of(&config)?;
    let env = Env::real();
    let key = args.key.unwrap_or_else(|| hex::encode(env.random_32()));
    let request = TaskRequest { payload: payload(&args.payload)? };
    let headers = [("authorization", admin.authorization.as_str()), ("idempotency-key", key.as_str())];
    let triggered: Triggered = HttpClient::new(&env)
        .post_with(&admin.base, &format!("/v1/avs/{avs}/tasks"), &headers, &request, PATIENCE)
        .await
        .map_err(|error| unanswered(&error, "admin"))?;
    match triggered {
        Triggered::Task { index } => println!("task {index}"),
        Triggered::Planned { tx } => {
            println!("planned: transaction {tx} creates the task on chain; it follows when confirmed")
        }
        Triggered::Ignored { reason } => println!("ignored by the plugin: {reason}"),
        Triggered::Used => println!("this key has made its task before"),
    }
    Ok(())
}
