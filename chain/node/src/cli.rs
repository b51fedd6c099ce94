//! The command line.

/// Runs the node, or a subcommand.
#[derive(Debug, clap::Parser)]
pub struct Cli {
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    #[clap(flatten)]
    pub run: sc_cli::RunCmd,
}

/// What the program does other than run a node.
#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant)]
pub enum Subcommand {
    /// Make, inspect and store keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Write a chain specification.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Write a chain specification with this machine as boot node.
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Check blocks by executing them again.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Export blocks.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Export the state of a block as a chain specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Import blocks.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Remove the whole chain from disk.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Take back blocks that are not finalized.
    Revert(sc_cli::RevertCmd),

    /// Say what the database holds.
    ChainInfo(sc_cli::ChainInfoCmd),
}
