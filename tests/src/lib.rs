//! What the end-to-end tests share: networks of real processes, and searching where secrets must not be.
//!
//! A [`Network`] is what `phala dev up` starts, in a folder and on ports of its own, and is stopped when dropped. Tests
//! drive it as users do, with the `phala` command, and look at the chain through the SDK.

pub mod authorities;
pub mod lying_host;
pub mod lying_rpc;
pub mod minted;
mod network;
pub mod p2p;
pub mod proxy;
pub mod relay;
pub mod search;
pub mod user;

pub use network::{Network, Run, binary, data_folder, free_port, guest, verified_block, wait_until};
