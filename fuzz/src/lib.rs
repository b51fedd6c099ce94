//! Fuzz targets: one function for each parser that somebody outside reaches, which panics where something does not hold.
//!
//! What must hold for any bytes is more than that nothing panics: what has one encoding gives the same bytes again, what
//! nobody signed is not believed, two decoders of one format agree, and memory stays in proportion to the input.
//!
//! - `tests/corpus.rs` runs every target on its seeds, on the files in `corpus/` and `regressions/`, and for a few seconds
//!   on [mutations](mutate()) of them: in CI, with stable Rust and without instruments.
//! - `coverage/` has a libFuzzer target for each, which `scripts/fuzz` runs for as long as one likes.
//!
//! How to use both, and what to do about a finding, is in `docs/fuzzing.md`.

#[cfg(feature = "chain")]
mod chain;
#[cfg(feature = "collateral")]
mod collateral;
#[cfg(feature = "enclave")]
mod enclave;
mod evidence;
mod gatekeepers;
#[cfg(feature = "host")]
mod host;
#[cfg(feature = "host")]
mod http;
mod mutate;
mod names;
#[cfg(feature = "sdk")]
mod sdk;
mod signed;
mod vendors;
mod wire;

#[cfg(feature = "chain")]
pub use chain::{calls, extrinsics};
#[cfg(feature = "collateral")]
pub use collateral::collateral_answers;
#[cfg(feature = "enclave")]
pub use enclave::{age_files, chain_specs, chain_values, job_inputs, programs, sealed_state};
pub use evidence::evidence;
pub use gatekeepers::{app_files, key_requests};
#[cfg(feature = "host")]
pub use host::{age_headers, node_specs, stored_records};
#[cfg(feature = "host")]
pub use http::http_requests;
pub use mutate::{MAX_INPUT_BYTES, Random, mutate};
pub use names::names;
#[cfg(feature = "sdk")]
pub use sdk::{amounts, archives, endpoints, host_answers, keys};
pub use signed::{receipts, signs_of_life};
pub use vendors::{browser_requests, documents, evidence_files, vendor_evidence};
pub use wire::{enclave_frames, host_frames};

use codec::{Decode, DecodeAll, Encode};

/// Memory that every target may take, in bytes: buffers, and what it sets up when it runs first.
pub const MEMORY_BASE: u64 = 4 << 20;

/// A parser, and what is known of its inputs.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its function, and of its folders in `corpus/` and `regressions/`.
    pub name: &'static str,
    /// Panics where something does not hold for an input.
    pub run: fn(&[u8]),
    /// Inputs that get far, made from code.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What its inputs are likely to hold.
    pub tokens: &'static [&'static [u8]],
    /// How much memory it may take at once for each byte of input, in bytes, beside [`MEMORY_BASE`]; `None` where other
    /// limits bound it.
    pub memory_per_byte: Option<u64>,
}

/// Every target.
pub fn targets() -> Vec<Target> {
    let mut targets =
        [evidence::TARGETS, gatekeepers::TARGETS, names::TARGETS, signed::TARGETS, vendors::TARGETS, wire::TARGETS]
            .concat();
    #[cfg(feature = "chain")]
    targets.extend_from_slice(chain::TARGETS);
    #[cfg(feature = "collateral")]
    targets.extend_from_slice(collateral::TARGETS);
    #[cfg(feature = "enclave")]
    targets.extend_from_slice(enclave::TARGETS);
    #[cfg(feature = "host")]
    targets.extend_from_slice(&[host::TARGETS, http::TARGETS].concat());
    #[cfg(feature = "sdk")]
    targets.extend_from_slice(sdk::TARGETS);
    targets.sort_by_key(|target| target.name);
    targets
}

/// The value that `data` is the whole SCALE encoding of, which must be its only one.
fn canonical<T: Decode + Encode>(data: &[u8]) -> Option<T> {
    let value = T::decode_all(&mut &data[..]).ok()?;
    assert!(value.encode() == data, "a value was decoded from an encoding that is not its own");
    Some(value)
}
