//! The node of Phala's solo chain: consensus, networking, storage and RPC, all of them Polkadot SDK's.
//!
//! - [`cli`] and [`command`]: the command line.
//! - [`chain_spec`]: the built-in chains and chain specification files.
//! - [`service`]: the parts of a node and how they fit together.
//! - [`rpc`]: what clients may ask beside the standard interfaces.
//!
//! # Why BABE
//!
//! Workers believe the chain only through a light client inside their enclave, and that client must get in within
//! seconds on a chain of any age. Two ways lead there. From genesis, it asks peers for the GRANDPA
//! justification of each change of the authority set (a *warp proof*); nobody has to be trusted, and nodes keep those
//! justifications for ever. Or from a checkpoint, a chain specification with a recent state of consensus, which
//! `sync_state_genSyncSpec` makes and which must come from somebody trusted. Light clients take checkpoints only
//! of chains that author by BABE; hence BABE, not Aura. BABE also gives the runtime verifiable randomness, which
//! assigns jobs to workers.

// The SDK's error types are large, and are what these functions pass on.
#![allow(clippy::result_large_err)]

mod chain_spec;
mod cli;
mod command;
mod rpc;
mod service;

fn main() -> anyhow::Result<()> {
    Ok(command::run()?)
}
