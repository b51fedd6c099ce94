//! What a gatekeeper's enclave is for: it holds shares of the network's keys, takes part in ceremonies, signs rounds of the random
//! beacon, and gives its parts of app keys to the workers that the chain assigned.
//!
//! A [`Gatekeeper`] is the duty of a `phala_enclave::Enclave`, which has the enclave's own keys, follows the chain and talks with the
//! host. What is done with network keys is in `phala_keys`; here it meets the chain, the TEE and the host:
//!
//! ```text
//!   finalized block ─► board (by proof) ─► State::step ─┬─► sealed, then posted ──► Submit
//!         │                                             └─► shares
//!         ├─► a round of the beacon is due ─► part ─► every other gatekeeper; a threshold of parts ─► Submit
//!         └─► facts about a request (by proof) ◄── Key(request)                   part of an app key ─► who asked
//! ```
//!
//! # Invariants
//! - Nothing is posted before the state that it comes from is sealed, where the TEE seals.
//! - No part of a key is given beyond those that are sealed as given, where the TEE seals; what an earlier process may have given is
//!   on chain before another is.
//! - A part of a key is given for what the newest finalized block says: nothing that the host says decides.
//! - A round of the beacon is signed once the block of its number is finalized, and not before.
//! - On a chain that contradicts itself nothing is done; while it stands still no part of a key is given.
//! - The shares of an epoch are erased once its grace period is over.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod beacon;
mod board;
mod gatekeeper;
mod release;

pub use gatekeeper::{Gatekeeper, sealed_name};
