//! Types that the chain, the enclave, the host and the clients share, with the meaning of each in one place.
//!
//! - [`job`]: what a user asks for and how a job ends.
//! - [`receipt`]: what an enclave signs about a job.
//! - [`worker`]: what an enclave signs about itself.
//! - [`gatekeeper`]: what gatekeepers say to one another, and what comes of it.
//! - [`diversity`]: which of them make a set that nobody rules.
//! - [`attestation`]: what the chain keeps of vendors' documents.
//! - [`input`] (`std`): the confidential part of a job, which only the enclave and the user read.
//! - [`padding`]: sizes that tell less.
//! - [`units`]: PHA and prices.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

pub mod attestation;
pub mod diversity;
pub mod gatekeeper;
mod id;
#[cfg(feature = "std")]
pub mod input;
pub mod job;
pub mod padding;
pub mod receipt;
pub mod units;
pub mod worker;

pub use id::{AppId, GatekeeperId, Hash, JobId, ParseIdError, WorkerId, hash_from_hex};
pub use job::{FailureReason, Limits, Outcome};
pub use receipt::{Receipt, SignedReceipt};
pub use units::{Balance, PHA};
