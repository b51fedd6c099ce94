//! What a worker's enclave is for: it runs users' jobs and signs receipts.
//!
//! A [`Worker`] is the duty of a `phala_enclave::Enclave`, which has the keys, follows the chain and talks with the host.
//!
//! # Invariants
//! - Nothing from the host is believed: files by hash and by decryption, compiled programs by authentication, assignments by
//!   proof.
//! - Sizes and times of what leaves are padded, so that they tell less ([`phala_primitives::padding`]).
//!
//! More are in the source of `jobs`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod app_keys;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod jobs;
mod memory;
mod output;
mod parts;
mod programs;
mod sealing;
mod stopwatch;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod worker;

pub use input::InputError;
pub use worker::Worker;
