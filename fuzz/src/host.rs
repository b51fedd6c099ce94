//! What a host reads beside [requests](crate::http_requests): its own disk, which may be damaged or somebody else's, the
//! answers of its node, and headers of job inputs from other hosts.

use codec::Encode;
use phala_app_encryption::{BODY_BYTES, MAX_HEADER_BYTES, targets};
use phala_attestation::{Evidence, Role, Statement, simulated::development_root};
use phala_host::{
    chain::enclave_spec,
    jobs::{Jobs, Phase},
    metrics::Metrics,
    store::{Limits, Store, is_name},
};
use phala_primitives::{Outcome, SignedReceipt};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use crate::{Target, canonical, evidence, signed};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "age_headers",
        run: age_headers,
        seeds: age_header_seeds,
        tokens: &[b"age-encryption.org/v1\n", b"-> ", b"phala", b" job ", b" file ", b"X25519", b"\n--- ", b"\n", b"A"],
        memory_per_byte: Some(64),
    },
    Target {
        name: "node_specs",
        run: node_specs,
        seeds: node_spec_seeds,
        tokens: &[
            b"/ip4/",
            b"/ip6/::1",
            b"/dns/",
            b"/tcp/",
            b"/p2p/",
            b"/ws",
            b"://",
            b"@",
            b"[",
            b"]",
            b"\n",
            b"\"raw\"",
        ],
        memory_per_byte: Some(512),
    },
    Target {
        name: "stored_records",
        run: stored_records,
        seeds: stored_record_seeds,
        tokens: &[b"\"phase\"", b"\"input\"", b"\"receipt\"", b"\"settled\"", b"null", b"{}", b"[]", b"00"],
        memory_per_byte: Some(512),
    },
];

const JOB: u64 = 7;

static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(Arc::default);

/// Which file a stored record is: the first byte of an input of [`stored_records`].
const RECORD: u8 = 0;
const RECORD_AND_RECEIPT: u8 = 1;
const RECEIPT: u8 = 2;
const EVIDENCE: u8 = 3;
const CHAIN_SPEC: u8 = 4;
const NAME: u8 = 5;

/// Files on the host's disk: job records, receipts, evidence, the chain's specification; and names of sealed blobs. A host
/// starts with whatever is there, and takes no more for whole than is.
///
/// The first byte says which file the rest is.
pub fn stored_records(data: &[u8]) {
    let Some((kind, content)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let store = Arc::new(Store::open(folder.path(), Limits::default()).expect("an empty store opens"));
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).expect("there is room");
    match kind % 6 {
        kind @ (RECORD | RECORD_AND_RECEIPT) => {
            write(&format!("jobs/{JOB}.json"), content);
            if kind == RECORD_AND_RECEIPT {
                write(&format!("receipts/{JOB}"), &receipt());
            }
            let jobs = Jobs::load(store, METRICS.clone()).expect("a damaged record is ignored");
            let phase = jobs.report(JOB).state;
            assert!(kind == RECORD || phase != Phase::Unknown, "a receipt was forgotten");
        }
        RECEIPT => {
            write(&format!("receipts/{JOB}"), content);
            let loaded = store.load_receipt(JOB).expect("a damaged receipt is ignored");
            assert!(loaded.is_none() || loaded == canonical::<SignedReceipt>(content), "a damaged receipt was taken");
        }
        EVIDENCE => {
            write("evidence", content);
            let loaded = store.load_evidence().expect("damaged evidence is ignored");
            let bundle = canonical::<(Statement, Evidence)>(content);
            assert!(bundle.is_none() || loaded == bundle, "evidence was lost");
        }
        CHAIN_SPEC => {
            write("chain-spec.json", content);
            let loaded = store.load_chain_spec().expect("a damaged specification is ignored");
            assert_eq!(loaded.as_deref(), std::str::from_utf8(content).ok());
        }
        _ => {
            let Ok(name) = std::str::from_utf8(content) else { return };
            assert_eq!(store.load_sealed(name).is_ok(), is_name(name));
            assert!(!is_name(name) || Path::new(name).components().count() == 1, "{name:?} leaves its folder");
        }
    }
}

fn receipt() -> Vec<u8> {
    let mut receipt = signed::receipt(Outcome::Completed { exit_code: 0 });
    receipt.receipt.job = JOB;
    receipt.encode()
}

fn stored_record_seeds() -> Vec<Vec<u8>> {
    let record = |phase: &str, receipt: Value| {
        json!({
            "attempt": 1, "input": "05".repeat(32), "blobs": ["06".repeat(32)], "phase": phase, "refusal": null,
            "receipt": receipt, "updated": 1_800_000_000,
        })
    };
    let mut refused = record("refused", Value::Null);
    refused["refusal"] = json!({ "reason": "not now", "retry": true });
    let records = [
        record("running", Value::Null),
        record("ended", json!({ "attempt": 1, "state": "open" })),
        record("ended", json!({ "attempt": 1, "state": { "settled": { "block": 9 } } })),
        record("queued", json!({ "attempt": 1, "state": { "abandoned": { "reason": "late" } } })),
        refused,
    ];
    let bundle = evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false);
    let mut files = vec![
        (RECEIPT, receipt()),
        (EVIDENCE, bundle.encode()),
        (CHAIN_SPEC, br#"{"genesis":{"raw":{}}}"#.to_vec()),
        (NAME, b"keys-00".to_vec()),
        (NAME, b"../keys".to_vec()),
    ];
    for record in records.map(|record| record.to_string().into_bytes()) {
        files.extend([(RECORD, record.clone()), (RECORD_AND_RECEIPT, record)]);
    }
    files.into_iter().map(|(kind, content)| [&[kind][..], &content].concat()).collect()
}

/// The beginning of an age file that another host gives as a job input. What it is said to be encrypted to is written there, and as
/// often.
pub fn age_headers(data: &[u8]) {
    let Ok(found) = targets(data) else { return };
    let header = &data[..data.len().min(MAX_HEADER_BYTES)];
    assert!(found.len() * BODY_BYTES <= header.len(), "more stanzas than there is room for");
    for target in found {
        let app = hex::encode(target.app.0);
        assert!(header.windows(app.len()).any(|text| text == app.as_bytes()), "an app that the header does not name");
    }
}

fn age_header_seeds() -> Vec<Vec<u8>> {
    let line = "A".repeat(64);
    let stanza = |purpose: &str, epoch: u32| {
        format!("-> phala {purpose} {epoch} {} 0\n{line}\n{line}\n{line}\n{}\n", "06".repeat(32), "A".repeat(22))
    };
    let other = format!("-> X25519 {}\n{}\n", "A".repeat(43), "A".repeat(43));
    let header = |stanzas: &str| format!("age-encryption.org/v1\n{stanzas}--- {}\nnonce", "A".repeat(43)).into_bytes();
    vec![
        header(&stanza("job", 3)),
        header(&[stanza("file", 0), other.clone(), stanza("job", u32::MAX)].concat()),
        header(&other),
        header("-> x-grease y\n\n"),
    ]
}

/// What a node says of its chain: its URL and addresses in the first line, its specification in the rest. What the host
/// makes of it for the enclave has no checkpoint, and the enclave can read it.
pub fn node_specs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, spec) = text.split_once('\n').unwrap_or(("", text));
    let mut words = first.split(' ').map(str::to_owned);
    let url = words.next().unwrap_or_default();
    let addresses: Vec<_> = words.collect();
    let Ok(spec) = serde_json::from_str::<Value>(spec) else { return };
    let Ok(spec) = enclave_spec(spec, &addresses, &url) else { return };
    let reduced: Value = serde_json::from_str(&spec).expect("the enclave gets JSON");
    assert!(reduced.get("lightSyncState").is_none(), "a checkpoint was left");
    #[cfg(feature = "enclave")]
    if let Err(error) = phala_enclave::chain::ChainSpec::new(&spec) {
        assert_ne!(error, phala_enclave::chain::SpecError::Syntax);
    }
}

fn node_spec_seeds() -> Vec<Vec<u8>> {
    let peer = "p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    let spec = r#"{"name":"n","id":"i","bootNodes":[],"genesis":{"raw":{"top":{}}},"lightSyncState":{}}"#;
    let text = Value::String(spec.into());
    let local =
        format!("ws://127.0.0.1:9944 /ip4/127.0.0.1/tcp/30333/{peer} /ip4/127.0.0.1/tcp/30333/ws/{peer}\n{spec}");
    let remote =
        format!("wss://user@node.example:443/rpc /ip4/10.0.0.1/tcp/30333/{peer} /ip6/::1/tcp/30333/{peer}\n{text}");
    let ipv6 = format!("ws://[::1]:9944 /ip6/::1/tcp/30333/{peer}\n{spec}");
    [local, remote, ipv6].map(String::into_bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_name_their_apps() {
        let found: Vec<_> = age_header_seeds().iter().map(|seed| targets(seed).unwrap().len()).collect();
        assert_eq!(found, [1, 2, 0, 0]);
    }

    #[test]
    fn the_seeds_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for seed in stored_record_seeds().iter().filter(|seed| seed[0] == RECORD) {
            let store = Arc::new(Store::open(folder.path(), Limits::default()).unwrap());
            fs::write(folder.path().join(format!("jobs/{JOB}.json")), &seed[1..]).unwrap();
            let jobs = Jobs::load(store, METRICS.clone()).unwrap();
            assert_ne!(jobs.report(JOB).state, Phase::Unknown, "{}", String::from_utf8_lossy(&seed[1..]));
        }
    }
}
