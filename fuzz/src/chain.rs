//! What anybody sends to the chain. It is decoded here as in the runtime, whose nodes execute it as WebAssembly.

use codec::{Decode, DecodeLimit, Encode};
use phala_attestation::{Role, simulated::development_root};
use phala_primitives::{AppId, Limits, Outcome, WorkerId, job::Visibility};
use phala_runtime::{RuntimeCall, UncheckedExtrinsic};

use crate::{Target, canonical, evidence, signed};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "calls", run: calls, seeds: call_seeds, tokens: TOKENS, memory_per_byte: Some(1024) },
    Target { name: "extrinsics", run: extrinsics, seeds: extrinsic_seeds, tokens: TOKENS, memory_per_byte: Some(1024) },
];

/// Pallets with their first calls, and versions of extrinsics.
const TOKENS: &[&[u8]] = &[
    &[0, 0],
    &[4, 0],
    &[8, 0],
    &[9, 0],
    &[9, 2],
    &[20, 0],
    &[21, 0],
    &[22, 0],
    &[23, 0],
    &[23, 2],
    &[0x04],
    &[0x84],
    &[0x05],
    &[0x45],
    &[8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0, 8, 0],
];

/// How deep what comes from outside may be nested: `frame_support::MAX_EXTRINSIC_DEPTH`.
const MAX_DEPTH: u32 = 256;

/// Calls: what extrinsics carry.
pub fn calls(data: &[u8]) {
    check::<RuntimeCall>(data);
}

/// Extrinsics. Nodes take them as bytes of a known length, and only then does the runtime look into them: it reserves
/// memory for the length that they announce.
pub fn extrinsics(data: &[u8]) {
    if canonical::<Vec<u8>>(data).is_some() {
        check::<UncheckedExtrinsic>(data);
    }
}

/// What was decoded is encoded in one way, from which it is decoded again.
fn check<T: Decode + Encode>(data: &[u8]) {
    let Some(encoded) = decode::<T>(data).map(|value| value.encode()) else { return };
    let again = decode::<T>(&encoded).expect("what was encoded decodes").encode();
    assert!(encoded == again, "an encoding changes with each round");
}

fn decode<T: Decode>(data: &[u8]) -> Option<T> {
    T::decode_all_with_depth_limit(MAX_DEPTH, &mut &data[..]).ok()
}

fn call_seeds() -> Vec<Vec<u8>> {
    let join = |parts: &[&[u8]]| parts.concat();
    let remark = join(&[&[0, 0], &b"hello".to_vec().encode()]);
    let sudo = join(&[&[8, 0], &remark]);
    // A vector of three.
    let batch = join(&[&[9, 0, 3 << 2], &remark, &sudo, &remark]);
    let (statement, evidence) =
        evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false);
    let endpoint = b"http://localhost:1".to_vec();
    let (app, worker, price) = (AppId([2; 32]), WorkerId([3; 32]), 7u128);
    let receipt = signed::receipt(Outcome::Completed { exit_code: 0 });
    vec![
        (20u8, 0u8, [3u8; 32], Role::Worker, 1u32).encode(),
        (21u8, 0u8, &statement, &evidence, signed::performance(), &endpoint, price).encode(),
        (21u8, 1u8, &statement, &evidence, signed::performance()).encode(),
        (21u8, 2u8, signed::heartbeat()).encode(),
        (21u8, 4u8, worker, &endpoint).encode(),
        (22u8, 0u8, [4u8; 32], 1000u32, [0u8; 32], Visibility::Public).encode(),
        (23u8, 0u8, app, Limits::DEFAULT, price, 1000u32, 1u8, [8u8; 32]).encode(),
        (23u8, 2u8, receipt).encode(),
        nested(200),
        remark,
        sudo,
        batch,
    ]
}

/// `sudo.sudo` of itself, `depth` times, and at last of an empty remark.
fn nested(depth: usize) -> Vec<u8> {
    [[8, 0].repeat(depth), vec![0, 0, 0]].concat()
}

fn extrinsic_seeds() -> Vec<Vec<u8>> {
    // Era, nonce, tip and the mode of the metadata hash; the other extensions have no bytes.
    const EXTENSION: [u8; 4] = [0, 4, 0, 0];
    let signer = (0u8, [9u8; 32]).encode();
    let signature = (1u8, [5u8; 64]).encode();
    let framed = |parts: &[&[u8]]| parts.concat().encode();
    let calls = call_seeds();
    let bare = calls.iter().flat_map(|call| [framed(&[&[4], call]), framed(&[&[5], call])]);
    let signed = calls.iter().map(|call| framed(&[&[0x84], &signer, &signature, &EXTENSION, call]));
    let general = calls.iter().map(|call| framed(&[&[0x45, 0], &EXTENSION, call]));
    bare.chain(signed).chain(general).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test with room for decoders that call themselves.
    fn with_room(test: fn()) {
        std::thread::Builder::new().stack_size(256 << 20).spawn(test).unwrap().join().unwrap();
    }

    #[test]
    fn the_seeds_decode() {
        with_room(|| {
            for seed in call_seeds() {
                assert!(decode::<RuntimeCall>(&seed).is_some(), "{seed:?}");
            }
            for seed in extrinsic_seeds() {
                assert!(decode::<UncheckedExtrinsic>(&seed).is_some(), "{seed:?}");
            }
        });
    }

    #[test]
    fn calls_that_are_nested_too_deep_are_refused() {
        with_room(|| assert!(decode::<RuntimeCall>(&nested(100_000)).is_none()));
    }
}
