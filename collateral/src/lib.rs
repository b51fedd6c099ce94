//! The collateral service: fetches what vendors publish for checking evidence, and submits it to the chain before what the
//! chain keeps has ended.
//!
//! Anybody may run it, and any number of people at once: documents are signed by their vendors, and the chain
//! ([`Chain`]) verifies them. What is lost without it is time: documents end after about a month, and no worker on real
//! hardware can register or renew without.
//!
//! # How
//! [`Service::step`] does one round:
//! 1. It asks the chain for its policy, its time, and what it keeps ([`ChainState`]).
//! 2. Whatever is kept, configured, or implied by either ([`with_implied`]) and due is fetched ([`Client`]), from each
//!    source by itself. Of documents with TCB recoveries both versions are: the one in force and the early one.
//! 3. What verifies under the chain's policy at the chain's time, and is newer, goes to the disk.
//! 4. What the chain would keep ([`DocumentSlot::keep`](phala_primitives::attestation::DocumentSlot::keep)) is submitted if it is a day newer, which is free, or of a higher number, or
//!    if the kept one ends soon.
//! 5. A [`Report`] says what was done, what fails since when, and what ends when.
//!
//! # Invariants
//! - Nothing that was fetched or read from disk is used before [`verify_document`](phala_attestation::verify_document) has
//!   accepted it, and only as the document that was asked for.
//! - A cached document gives way only to a newer good one.
//! - An answer takes bounded memory and time, and the services of one vendor delay the documents of the other by no more
//!   than that time for each document of their own.
//! - Time is an argument; only [`Service::run`] looks at a clock.
//!
//! # Attacks
//! - *A service, or somebody between, that lies*: signatures, dates and the id are checked.
//! - *One that answers with old documents*: they neither replace newer ones on disk nor are submitted; when what the chain
//!   keeps is about to end and nothing newer comes, the report and the log say so.
//! - *One that answers with too much, too slowly, or from elsewhere*: bounds, one time limit for the whole answer, no
//!   redirects.
//! - *One that is away*: the other vendor's documents go on; the service is asked again after a minute, two, and so on up to
//!   an hour; what is cached is submitted meanwhile.
//! - *Somebody who has the chain keep documents that nobody needs*: they are fetched too; there are no more than vendors
//!   sign.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod answer;
mod cache;
mod chain;
mod client;
#[cfg(any(test, feature = "imitation"))]
pub mod imitation;
mod plan;
mod report;
mod request;
mod schedule;
mod service;
#[cfg(test)]
mod tests;

pub use answer::decode as decode_answer;
pub use chain::{Chain, ChainError, ChainState};
pub use client::{Client, ClientError, EndorsementError, FetchError, Reason, Services};
pub use report::{Early, Failing, Fetched, Freshness, Kept, Report, Submitted};
pub use request::{Request, Source, Update, with_implied};
pub use schedule::Backoff;
pub use service::{Config, OpenError, Service};
