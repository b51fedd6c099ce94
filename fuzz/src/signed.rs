//! What enclaves sign: nobody without their key makes anything that is believed.

use codec::Encode;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use phala_primitives::{
    AppId, FailureReason, Outcome, Receipt, SignedReceipt, WorkerId,
    worker::{
        Heartbeat, Isolation, Liveness, Performance, PerformanceReport, SignedHeartbeat, SignedLiveness,
        SignedPerformanceReport,
    },
};
use std::sync::LazyLock;

use crate::{Target, canonical};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "receipts", run: receipts, seeds: || RECEIPTS.clone(), tokens: &[], memory_per_byte: Some(64) },
    Target {
        name: "signs_of_life",
        run: signs_of_life,
        seeds: || SIGNS_OF_LIFE.clone(),
        tokens: &[],
        memory_per_byte: Some(64),
    },
];

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

/// Every receipt that was signed.
static RECEIPTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let outcomes = [
        Outcome::Completed { exit_code: 0 },
        Outcome::Completed { exit_code: 255 },
        Outcome::Failed(FailureReason::FuelExhausted),
        Outcome::Failed(FailureReason::InvalidInput),
    ];
    outcomes.map(|outcome| receipt(outcome).encode()).into()
});

/// Everything else that was signed.
static SIGNS_OF_LIFE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let isolations = [None, Some(Isolation::default()), Some(Isolation { no_network: true, ..Isolation::default() })];
    let mut signed = vec![heartbeat().encode(), performance().encode()];
    signed.extend(isolations.map(|isolation| liveness(isolation).encode()));
    signed
});

/// Receipts, as hosts bring them to the chain and to users, and keep them.
pub fn receipts(data: &[u8]) {
    if let Some(signed) = canonical::<SignedReceipt>(data) {
        check(&signed.receipt.worker, &signed.receipt.signed_bytes(), &signed.signature, data, &RECEIPTS);
    }
}

/// Heartbeats, performance reports and answers to challenges, as anybody may bring them.
pub fn signs_of_life(data: &[u8]) {
    if let Some(signed) = canonical::<SignedHeartbeat>(data) {
        let heartbeat = &signed.heartbeat;
        check(&heartbeat.worker, &heartbeat.signed_bytes(), &signed.signature, data, &SIGNS_OF_LIFE);
    }
    if let Some(signed) = canonical::<SignedPerformanceReport>(data) {
        let report = &signed.report;
        check(&report.worker, &report.signed_bytes(), &signed.signature, data, &SIGNS_OF_LIFE);
    }
    if let Some(signed) = canonical::<SignedLiveness>(data) {
        let liveness = &signed.liveness;
        check(&WorkerId(liveness.signing_key), &liveness.signed_bytes(), &signed.signature, data, &SIGNS_OF_LIFE);
    }
}

/// Believes only what was signed.
fn check(worker: &WorkerId, message: &[u8], signature: &[u8; 64], data: &[u8], signed: &[Vec<u8>]) {
    let Ok(key) = VerifyingKey::from_bytes(&worker.0) else { return };
    if key.verify_strict(message, &Signature::from_bytes(signature)).is_ok() {
        assert!(signed.iter().any(|signed| signed == data), "something that nobody signed was believed");
    }
}

fn worker() -> WorkerId {
    WorkerId(KEY.verifying_key().to_bytes())
}

fn sign(message: &[u8]) -> [u8; 64] {
    KEY.sign(message).to_bytes()
}

pub(crate) fn receipt(outcome: Outcome) -> SignedReceipt {
    let receipt = Receipt {
        genesis_hash: [1; 32],
        job: 5,
        attempt: 1,
        app: AppId([2; 32]),
        worker: worker(),
        measurement: [3; 32],
        code_hash: [4; 32],
        input_hash: [5; 32],
        output_hash: [6; 32],
        output_file_hash: [7; 32],
        outcome,
        fuel: 1024,
        input_bytes: 10,
        output_bytes: 1088,
        block_number: 9,
        block_hash: [8; 32],
    };
    SignedReceipt { signature: sign(&receipt.signed_bytes()), receipt }
}

pub(crate) fn heartbeat() -> SignedHeartbeat {
    let heartbeat = Heartbeat { genesis_hash: [1; 32], worker: worker(), block_number: 9, block_hash: [8; 32] };
    SignedHeartbeat { signature: sign(&heartbeat.signed_bytes()), heartbeat }
}

pub(crate) fn performance() -> SignedPerformanceReport {
    let performance = Performance { fuel_per_second: 1_000_000_000, capacity: 4 };
    let report = PerformanceReport { genesis_hash: [1; 32], worker: worker(), performance, block_number: 9 };
    SignedPerformanceReport { signature: sign(&report.signed_bytes()), report }
}

pub(crate) fn liveness(isolation: Option<Isolation>) -> SignedLiveness {
    let liveness = Liveness {
        genesis_hash: [1; 32],
        signing_key: worker().0,
        nonce: [2; 32],
        block_number: 9,
        block_hash: [8; 32],
        isolation,
    };
    SignedLiveness { signature: sign(&liveness.signed_bytes()), liveness }
}
