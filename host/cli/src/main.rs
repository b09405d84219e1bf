//! The `eigenshift` binary: run a node, ask it, see a demo.

mod ask;
mod author;
mod avs;
mod cluster;
mod config;
mod demo;
mod dev;
mod files;
mod logs;
mod plugin;
mod provided;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// EigenLayer operators without a central aggregator.
#[derive(Parser, Debug)]
#[command(version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Watch a cluster of operators run a price oracle, in one process.
    Demo(demo::DemoArgs),
    /// Set up the price oracle on a local development chain, for the example configurations.
    Develop(demo::DevelopArgs),
    /// Run a plugin at three operators in this process, and every new build of it from then on.
    Dev(dev::DevArgs),
    /// Run a node.
    Run(run::RunArgs),
    /// The AVSs of a running node: add, pause, resume, remove, and each one's log.
    Avs {
        #[command(subcommand)]
        command: avs::AvsCommand,
    },
    /// Show an AVS on a running node.
    Status(ask::StatusArgs),
    /// Plugins: what they need, and which one a cluster runs.
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
    },
    /// Tasks.
    Task {
        #[command(subcommand)]
        command: TaskCommand,
    },
}

#[derive(Subcommand, Debug)]
enum TaskCommand {
    /// Ask a running node for a task.
    Send(ask::SendArgs),
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The configuration.
    #[error("{path}: {why}", path = path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// The line and the fix.
        why: String,
    },
    /// The prices.
    #[error("{file}: {error}")]
    Prices {
        /// Which file.
        file: String,
        /// The line and what is expected.
        error: demo::prices::PricesError,
    },
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// The chain.
    #[error("the chain: {0}")]
    Chain(String),
    /// The node.
    #[error(transparent)]
    Node(#[from] eigenshift_node::NodeError),
    /// A running node's answer.
    #[error("{0}")]
    Ask(String),
    /// The demo.
    #[error("{0}")]
    Demo(String),
    /// An author's command.
    #[error("{code}: {0}", code = .0.code())]
    Author(#[from] author::AuthorError),
    /// The process must end.
    #[error("{0}")]
    Fatal(String),
}

/// How a node starts this executable to compile a plugin; nobody else's business, so it is in no help.
const COMPILE_CHILD: &str = "compile-child";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == COMPILE_CHILD) {
        // Before there is any other thread.
        return eigenshift_plugin::compile::child(args);
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command()),
        Err(error) => {
            eprintln!("eigenshift: no threads: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn command() -> ExitCode {
    // One provider for whatever speaks TLS in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Demo(args) => {
            logs::install("error", eigenshift_node::Logs::default());
            match demo::run(args).await {
                Ok(summary) if summary.is_good() => Ok(()),
                Ok(_) => return ExitCode::FAILURE,
                Err(error) => Err(error),
            }
        }
        Command::Develop(args) => {
            logs::install("error", eigenshift_node::Logs::default());
            demo::develop(args).await
        }
        Command::Dev(args) => dev::dev(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Avs { command } => avs::run(command).await,
        Command::Plugin { command } => plugin::run(command).await,
        Command::Status(args) => ask::status(args).await,
        Command::Task { command: TaskCommand::Send(args) } => ask::send(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("eigenshift: {error}");
            ExitCode::FAILURE
        }
    }
}
