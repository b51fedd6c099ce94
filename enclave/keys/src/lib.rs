//! What gatekeepers do with network keys: ceremonies, app keys and sealing keys and their release, the random beacon.
//!
//! Pure: what the finalized chain shows, the sealed [`State`], the enclave's key and randomness go in; posts, parts of signatures
//! and a state to be sealed come out. Nothing here has a clock, a file or a socket, and nothing panics whatever comes in.
//! Why ceremonies are safe, phase by phase, is in docs/gatekeepers.md.
//!
//! ```text
//!  View (finalized chain) ─┐                       ┌─► Step::Seal   first the state, durably
//!                          ├─► State::step ────────┤
//!  State (unsealed) ───────┘                       └─► Step::Post   then what the chain does not have yet
//!
//!  SignedRequest ─► VerifiedRequest ─► Granted ─► reply ─► (host, network) ─► PendingRequest::open ─► VerifiedPartial
//!                                            ▲                                                               │ threshold
//!                          Facts (finalized chain)                             AppKey ◄── combine_app_key ◄──┘
//! ```
//!
//! # Invariants
//! - No secret is used before it is sealed: while a change is not sealed, [`State::step`] gives no posts.
//! - The same state and view give the same posts. All that a gatekeeper makes for an attempt comes from one random seed, so a restart makes
//!   the same dealing; a rolled-back state makes another, which differs from the one on chain, and then the gatekeeper stands
//!   aside ([`Aside`]).
//! - A dealer opens a value only to the complaint of the player whose value it is, and only if every player has answered.
//! - A share becomes current, and the one before it is erased, only when the chain shows the new sharing.
//! - Parts of app and sealing keys leave only as [`KeyReply`](phala_primitives::gatekeeper::KeyReply), which takes a [`Granted`].
//! - What others say is believed only as [`VerifiedPartial`], [`VerifiedRequest`], [`AppKey`] or [`VerifiedBeacon`], which only verification
//!   makes.
//! - Secrets are erased from memory on drop and print nothing.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod app_key;
mod beacon;
mod ceremony;
mod hybrid;
mod identity;
mod release;
mod sealing_key;
mod share;
mod sharing;
mod state;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

pub use app_key::{AppKey, combine_app_key};
pub use beacon::{BeaconError, VerifiedBeacon, beacon_partial, combine_beacon, verify_beacon};
pub use ceremony::{Aside, CeremonyView, View};
pub use identity::{Identity, InvalidIdentity};
pub use release::{Facts, Granted, OpenError, PendingRequest, Refused, Request, SealingFacts, VerifiedRequest, reply};
pub use sealing_key::combine_sealing_key;
pub use share::Share;
pub use sharing::{CombineError, Message, Partial, PartialError, SharingError, VerifiedPartial, VerifiedSharing};
pub use state::{ForgetError, State, StateError, Step, Unsealed};

#[cfg(test)]
mod tests;
