//! Measures the weights of the runtime's calls.
//!
//! The benchmarking command of the Polkadot SDK and nothing else; `scripts/weights` says with which options.

use clap::Parser;
use frame_benchmarking_cli::PalletCmd;
use sp_runtime::traits::BlakeTwo256;

fn main() -> sc_cli::Result<()> {
    PalletCmd::parse().run_with_spec::<BlakeTwo256, sp_io::SubstrateHostFunctions>(None)
}
