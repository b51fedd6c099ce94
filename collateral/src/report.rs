//! What a step did, for people and programs.

use phala_attestation::UnixSeconds;
use serde::Serialize;

use crate::Request;

/// What one step did and found. Documents are named as [`Request`] displays them; times are in Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// When.
    pub at: UnixSeconds,
    /// The good answers of services.
    pub fetched: Vec<Fetched>,
    /// What the chain keeps since this step.
    pub submitted: Vec<Submitted>,
    /// What failed the last time that it was tried.
    pub failing: Vec<Failing>,
    /// What counts on chain, of all that is wanted.
    pub kept: Vec<Kept>,
    /// What is kept early.
    pub early: Vec<Early>,
    /// What is wanted and not kept.
    pub missing: Vec<Request>,
    /// When the next step is due.
    pub next: UnixSeconds,
}

/// A good answer of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// What was asked for.
    pub document: Request,
    /// Its number.
    pub number: u64,
    /// When the vendor made it.
    pub issued: UnixSeconds,
    /// How new it is.
    pub freshness: Freshness,
}

/// How new an answer is, beside the cached document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// It is newer, and cached from now on.
    Newer,
    /// It is the same.
    Same,
    /// It is older, and dropped.
    Older,
}

/// A document that the chain took, early or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submitted {
    /// The document.
    pub document: Request,
    /// Its number.
    pub number: u64,
    /// The last second at which it is valid.
    pub valid_until: UnixSeconds,
}

/// Something that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// What was tried.
    pub task: String,
    /// When it first failed.
    pub since: UnixSeconds,
    /// How often in a row.
    pub times: u32,
    /// Why, the last time.
    pub error: String,
    /// When it is tried again.
    pub retry: UnixSeconds,
}

/// A document that counts on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The document.
    pub document: Request,
    /// Its number.
    pub number: u64,
    /// When the vendor made it.
    pub issued: UnixSeconds,
    /// The last second at which it is valid.
    pub valid_until: UnixSeconds,
    /// Whether it ends within the margin, or has ended, and nothing newer could be had.
    pub ends_soon: bool,
}

/// A document of a TCB recovery that the chain keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Early {
    /// The document.
    pub document: Request,
    /// Its number.
    pub number: u64,
    /// When it counts, unless the current one ends before.
    pub counts_from: UnixSeconds,
}
