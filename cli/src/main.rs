//! The `phala` command: a dress for the SDK.
//!
//! - [`args`]: what can be typed, and the help that teaches it.
//! - [`context`]: which node, which key, which folders.
//! - [`output`]: everything that is printed, as tables or as JSON.
//! - [`commands`]: one module for each group of commands.
//! - [`dev`]: a whole network on this machine.

mod args;
mod commands;
mod context;
mod dev;
mod output;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use context::Context;
use output::Output;
use std::process::ExitCode;

/// A command's exit status.
pub(crate) type Status = Result<u8, anyhow::Error>;

/// Something of ours failed.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logging(cli.global.verbose);
    let output = Output::new(cli.global.json);
    // `job run` and `job result` hand through the program's exit code, so their own failures must look different.
    let failure = cli.command.failure_status().unwrap_or(FAILURE);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&anyhow::Error::new(error).context("cannot start"));
            return failure.into();
        }
    };
    match runtime.block_on(Box::pin(run(cli, &output))) {
        Ok(status) => status.into(),
        Err(error) => {
            output.error(&error);
            failure.into()
        }
    }
}

async fn run(cli: Cli, output: &Output) -> Status {
    let context = Context::new(cli.global)?;
    match cli.command {
        Command::Dev(command) => dev::run(command, &context, output).await,
        Command::Key(command) => commands::key::run(command, &context, output).await,
        Command::Balance(options) => commands::balance::balance(options, &context, output).await,
        Command::Transfer(options) => commands::balance::transfer(options, &context, output).await,
        Command::Worker(command) => commands::worker::run(command, &context, output).await,
        Command::Gatekeeper(command) => commands::gatekeeper::run(command, &context, output).await,
        Command::Network(args::Network::Keys) => commands::gatekeeper::keys(&context, output).await,
        Command::Image(command) => commands::image::run(command, &context, output).await,
        Command::Class(command) => commands::class::run(command, &context, output).await,
        Command::Collateral(command) => commands::collateral::run(command, &context, output).await,
        Command::App(command) => commands::app::run(command, &context, output).await,
        Command::Job(command) => Box::pin(commands::job::run(command, &context, output)).await,
        Command::Encrypt(options) => commands::encrypt::run(options, &context, output).await,
        Command::Verify(command) => commands::verify::run(command, &context, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "phala", &mut script);
            output.stdout(&script)?;
            Ok(0)
        }
    }
}

fn init_logging(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 => "error",
        1 => "phala_sdk=debug,phala=debug,warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
