//! The enclave: the part of a worker or gatekeeper that users trust.
//!
//! It makes its keys, seals them where its TEE can or the network gives it a key for that, proves through its TEE what it is, and follows the chain with its own light
//! client. What it is for is its [`Duty`]: `phala-worker` runs jobs, `phala-gatekeeper` holds shares of keys. It opens no socket
//! and no file and has no clock: [`Tee`] gives it time, randomness, sealing and evidence; [`FrameSender`] and
//! [`FrameReceiver`] carry messages to and from its host, whom it does not trust; [`Runtime`] runs what it does, on threads
//! or, in a simulation, in turns.
//!
//! ```text
//!    Tee ──────────────┐                        ┌────────────── FrameSender, FrameReceiver
//!    time, randomness, ▼                        ▼               messages of phala-protocol
//!    sealing,       ┌─────────────────────────────────────────┐
//!    evidence       │ Enclave                                 │
//!                   │   keys      who it is                   │
//!                   │   chain     finalized blocks, storage   │
//!                   │   duty      jobs, or key shares         │
//!                   └─────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! - Nothing from the host is believed: blocks are verified from genesis, storage by proof, sealed blobs by authentication.
//! - The chain never goes back, across restarts. No new work is taken, and nothing is signed that says otherwise, on a
//!   chain that stands still or contradicts itself, or with sealed state that is an old copy ([`chain`]).
//! - Secrets leave only encrypted; logs and refusals are fixed sentences with public numbers, ids and hashes, by their
//!   type (`text`). What panics ends alone, and its payload stays here.
//! - Whatever the host does, nothing panics: the worst is a connection that ends or a job that is refused. What it makes
//!   the enclave keep is bounded, message by message: docs/boundary.md.
//!
//! `age` takes the randomness of its file keys from the operating system (`getrandom`), not from [`Tee`]: on each supported TEE
//! that is the processor's own generator, mixed by the guest's kernel.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod chain;
mod duty;
mod enclave;
pub mod host;
pub mod keys;
mod rng;
pub mod runtime;
mod sealing;
mod tee;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
pub mod text;
mod transport;

pub use duty::{Claimant, Context, Duty, DutySource};
pub use enclave::{ChainSource, Enclave, End, OPEN_REQUESTS, OPEN_STARTS};
pub use rng::TeeRng;
pub use runtime::{Runtime, Threads};
pub use sealing::SealingKey;
pub use tee::{EvidenceError, Sealing, Tee, UnsealError};
pub use transport::{Disconnected, FrameReceiver, FrameSender};
