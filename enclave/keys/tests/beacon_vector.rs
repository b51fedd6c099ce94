//! A round of the random beacon as every verifier has to see it. The runtime verifies with another library: it can copy these.

use commonware_codec::{Copying, DecodeExt};
use commonware_cryptography::bls12381::primitives::{
    group::{G1, G2},
    ops,
    variant::MinSig,
};
use phala_keys::verify_beacon;
use phala_primitives::gatekeeper::{Beacon, PublicKey};

/// A compressed point of G2.
const PUBLIC_KEY: &str = "abedd025fce6942b0c6f6c857b497c9f773b584146d8a0ada344a9f313222454d21e2b1e47432aef9cbf71f2010f8fc811b4fd47368b7e6db9e0642644979536e8f0c5046a1c19aebfd5902a9e5ace8058a8cfbd3f562df06188089cbb9fe66c";
/// The hash of the chain's genesis.
const GENESIS_HASH: [u8; 32] = [0x77; 32];
/// The round.
const ROUND: u32 = 0x0102_0304;
/// A compressed point of G1.
const SIGNATURE: &str =
    "89bb4e38c78d55f2c9eaeacc24870da3706fd9cc32dd01d4d77ad4e74e7c10d868d96a64c5db5adfece29dbbd5036d60";
/// What is hashed to G1.
const MESSAGE: &str =
    "0f7068616c612f626561636f6e2f7631777777777777777777777777777777777777777777777777777777777777777704030201";
/// With this domain separation tag.
const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
/// SHA-256 of the signature.
const RANDOMNESS: &str = "8af4153e535ae3be28fce37e98e351a5f95aa014f8f08fe30c541af51edfd4b7";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn the_vector_verifies() {
    let beacon = Beacon { round: ROUND, signature: bytes(SIGNATURE) };
    let verified = verify_beacon(&PublicKey(bytes(PUBLIC_KEY)), &GENESIS_HASH, &beacon).unwrap();
    assert_eq!(hex::encode(verified.randomness()), RANDOMNESS);
}

#[test]
fn the_documented_bytes_are_what_is_signed() {
    let public_key = G2::decode(Copying(&bytes::<96>(PUBLIC_KEY))).unwrap();
    let signature = G1::decode(Copying(&bytes::<48>(SIGNATURE))).unwrap();
    let message: [u8; 52] = bytes(MESSAGE);
    ops::verify::<MinSig>(&public_key, DST, &message, &signature).unwrap();
}
