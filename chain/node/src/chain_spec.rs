//! The built-in chains, and chain specification files.

use std::path::PathBuf;

use phala_primitives::units;
use phala_runtime::{
    WASM_BINARY,
    genesis::{self, NO_SIMULATION_PRESET},
};
use sc_chain_spec::{ChainSpecExtension, ChainType, GenericChainSpec, Properties};
use serde::{Deserialize, Serialize};
use sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET};

use crate::service::Block;

/// What a specification of this chain may say beside the standard.
#[derive(Default, Clone, Serialize, Deserialize, ChainSpecExtension)]
#[serde(rename_all = "camelCase")]
pub struct Extensions {
    /// Blocks that must have a certain hash.
    pub fork_blocks: sc_client_api::ForkBlocks<Block>,
    /// Blocks that are refused.
    pub bad_blocks: sc_client_api::BadBlocks<Block>,
    /// A checkpoint for light clients, which `sync_state_genSyncSpec` fills in.
    pub light_sync_state: sc_sync_state_rpc::LightSyncStateExtension,
}

/// A specification of this chain.
pub type ChainSpec = GenericChainSpec<Extensions>;

/// The specification that `id` names: a built-in chain (`dev`, `local`, `local-no-simulation`), or else a file.
pub fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        "dev" => built_in("Phala Development", "phala_dev", ChainType::Development, DEV_RUNTIME_PRESET),
        "local" => built_in("Phala Local", "phala_local", ChainType::Local, LOCAL_TESTNET_RUNTIME_PRESET),
        "local-no-simulation" => built_in(
            "Phala Local Without Simulation",
            "phala_local_no_simulation",
            ChainType::Local,
            NO_SIMULATION_PRESET,
        ),
        "" => Err("no chain is chosen: say --chain dev, --chain local or --chain FILE".into()),
        path => ChainSpec::from_json_file(PathBuf::from(path))
            .map_err(|error| format!("chain `{path}` is neither built in (dev, local) nor a readable file: {error}")),
    }
}

fn built_in(name: &str, id: &str, chain_type: ChainType, preset: &str) -> Result<ChainSpec, String> {
    let code = WASM_BINARY.ok_or(
        "this node was built without its runtime (SKIP_WASM_BUILD was set): rebuild it, or name a chain \
         specification file",
    )?;
    // The runtime in WebAssembly has the same presets, but would have to be compiled to be asked.
    let patch = genesis::preset(&preset.into()).ok_or_else(|| format!("the runtime has no preset `{preset}`"))?;
    let patch = serde_json::from_slice(&patch).map_err(|error| format!("preset `{preset}`: {error}"))?;
    let properties = Properties::from_iter([
        ("ss58Format".into(), units::SS58_PREFIX.into()),
        ("tokenDecimals".into(), units::DECIMALS.into()),
        ("tokenSymbol".into(), "PHA".into()),
    ]);
    Ok(ChainSpec::builder(code, Extensions::default())
        .with_name(name)
        .with_id(id)
        .with_chain_type(chain_type)
        .with_protocol_id("phala")
        .with_properties(properties)
        .with_genesis_config_patch(patch)
        .build())
}
