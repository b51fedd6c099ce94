//! Dispatch of the command line.

use phala_primitives::units;
use sc_cli::SubstrateCli;
use sc_network::{Litep2pNetworkBackend, NetworkWorker, config::NetworkBackendType};

use crate::{
    chain_spec,
    cli::{Cli, Subcommand},
    service::{self, Block},
};

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "Phala Node".into()
    }

    fn impl_version() -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    fn executable_name() -> String {
        "phala-node".into()
    }

    fn description() -> String {
        env!("CARGO_PKG_DESCRIPTION").into()
    }

    fn author() -> String {
        env!("CARGO_PKG_AUTHORS").into()
    }

    fn support_url() -> String {
        "https://github.com/Phala-Network".into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn sc_service::ChainSpec>, String> {
        chain_spec::load(id).map(|spec| Box::new(spec) as _)
    }
}

/// Does what the command line says.
pub fn run() -> sc_cli::Result<()> {
    sp_core::crypto::set_default_ss58_version(units::SS58_PREFIX.into());
    let cli = Cli::from_args();
    match &cli.subcommand {
        Some(Subcommand::Key(cmd)) => cmd.run(&cli),
        Some(Subcommand::ExportChainSpec(cmd)) => cmd.run(cli.load_spec(&cmd.chain)?),
        Some(Subcommand::BuildSpec(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.sync_run(|config| cmd.run(config.chain_spec, config.network))
        }
        Some(Subcommand::CheckBlock(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.async_run(|config| {
                let parts = service::parts(&config)?;
                Ok((cmd.run(parts.client, parts.import_queue), parts.task_manager))
            })
        }
        Some(Subcommand::ExportBlocks(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.async_run(|config| {
                let parts = service::parts(&config)?;
                Ok((cmd.run(parts.client, config.database), parts.task_manager))
            })
        }
        Some(Subcommand::ExportState(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.async_run(|config| {
                let parts = service::parts(&config)?;
                Ok((cmd.run(parts.client, config.chain_spec), parts.task_manager))
            })
        }
        Some(Subcommand::ImportBlocks(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.async_run(|config| {
                let parts = service::parts(&config)?;
                Ok((cmd.run(parts.client, parts.import_queue), parts.task_manager))
            })
        }
        Some(Subcommand::PurgeChain(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.sync_run(|config| cmd.run(config.database))
        }
        Some(Subcommand::Revert(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.async_run(|config| {
                let parts = service::parts(&config)?;
                let revert_consensus = Box::new(|client: std::sync::Arc<service::Client>, backend, blocks| {
                    sc_consensus_babe::revert(client.clone(), backend, blocks)?;
                    sc_consensus_grandpa::revert(client, blocks)?;
                    Ok(())
                });
                Ok((cmd.run(parts.client, parts.backend, Some(revert_consensus)), parts.task_manager))
            })
        }
        Some(Subcommand::ChainInfo(cmd)) => {
            let runner = cli.create_runner(cmd)?;
            runner.sync_run(|config| cmd.run::<Block>(&config))
        }
        None => {
            let runner = cli.create_runner(&cli.run)?;
            runner.run_node_until_exit(|config| async move {
                match config.network.network_backend {
                    NetworkBackendType::Libp2p => service::start::<NetworkWorker<_, _>>(config),
                    NetworkBackendType::Litep2p => service::start::<Litep2pNetworkBackend>(config),
                }
                .map_err(sc_cli::Error::Service)
            })
        }
    }
}
