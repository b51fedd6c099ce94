//! The untrusted host of an enclave: sockets, disk, HTTP, extrinsics.
//!
//! An enclave has no socket and no file of its own. Its host carries bytes for it, and none of them is a secret:
//! what users upload is encrypted to the enclave, what the enclave stores is sealed, what it signs is public. A host
//! that lies, forgets or stops can keep work from being done; it cannot read it, and cannot forge its result.
//!
//! ```text
//!   users ──HTTP──► http ──► store ◄──────────┐
//!                    │         ▲              │
//!                    ▼         │              │
//!                  jobs ◄── enclave ◄─socket─► the enclave's process
//!                    │         │
//!                    ▼         ▼
//!   chain ◄──RPC── chain    network ──TCP──► peers of its light client
//! ```
//!
//! - [`enclave`]: the Unix socket, requests in both directions, a connection's life.
//! - [`network`]: TCP connections for the enclave's light client.
//! - [`store`]: the disk: blobs, outputs, sealed state, compiled programs, receipts.
//! - [`jobs`]: what is known of each job.
//! - [`chain`]: registration, heartbeats, receipts, the chain's specification.
//! - [`gatekeeper`]: what a gatekeeper's enclave says, to the chain and to the others.
//! - [`takeover`]: jobs that come from other workers, whose hosts have the inputs.
//! - [`http`]: what users and operators reach.
//! - [`config`] and [`run`]: the command line, and everything together.
//! - [`blocking`]: work that blocks.
//!
//! A host without sockets can be put together from [`store::Store`], [`jobs::Jobs`], [`enclave::Enclave`] over any stream,
//! [`chain::Receipts`] and [`chain::Registration`] over any [`chain::Node`], and [`http::router`]. On a runtime of one
//! thread it does everything in one order: all waiting is tokio's, and choices between what is ready are `biased`.

pub mod blocking;
pub mod chain;
pub mod config;
pub mod enclave;
pub mod gatekeeper;
pub mod http;
pub mod jobs;
pub mod metrics;
pub mod network;
mod pace;
mod run;
pub mod store;
pub mod takeover;

pub use run::run;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
