//! Verification of evidence in browsers: `phala-attestation` behind one function, bytes in and JSON out.
//!
//! `index.js` makes a request, gives it to an instance of its own, and throws that instance away with the answer: nothing
//! of one request is left for the next, and a trap costs that one only. The answer is
//! - what [`report::verification`] says, for evidence, accepted or refused,
//! - that and what the evidence binds, for a worker,
//! - `{"error": {"code", "message", "file"}}` where there was nothing to verify.

#![no_std]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

extern crate alloc;

#[cfg(target_family = "wasm")]
mod module;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use bech32::{Bech32, Hrp};
use codec::{Decode, DecodeAll};
use phala_attestation::{
    Error, Evidence, Policy, Role, Statement, UnixSeconds, Verdict, collect_collateral,
    files::{self, FileError, Files},
    report::{self, Check, hex},
    verify, verify_document,
};
use phala_primitives::attestation::{HardwarePolicy, KeptDocument};
use serde_json::{Value, json};

/// What `index.js` asks for, in SCALE.
#[derive(Decode)]
enum Request {
    /// Evidence and its collateral, as the contents of files.
    #[codec(index = 0)]
    Evidence {
        files: Vec<Vec<u8>>,
        /// JSON.
        policy: Option<Vec<u8>>,
        at: UnixSeconds,
    },
    /// What a worker's host serves.
    #[codec(index = 1)]
    Worker { statement: Vec<u8>, evidence: Vec<u8>, chain: Chain, at: UnixSeconds },
}

/// What a chain keeps about attestation: values of its storage.
#[derive(Decode)]
struct Chain {
    hardware: Option<Vec<u8>>,
    simulated_root: Option<Vec<u8>>,
    simulated_vendors: Option<Vec<u8>>,
    documents: Vec<Vec<u8>>,
}

/// Why there was nothing to verify.
struct Failure {
    code: &'static str,
    message: String,
    /// The index of the file that it is about.
    file: Option<usize>,
}

/// Answers a request of `index.js`.
pub fn answer(request: &[u8]) -> String {
    let answer = decode("request", request).and_then(|request| match request {
        Request::Evidence { files, policy, at } => verify_files(&files, policy.as_deref(), at),
        Request::Worker { statement, evidence, chain, at } => verify_worker(&statement, &evidence, &chain, at),
    });
    let answer = answer.unwrap_or_else(
        |Failure { code, message, file }| json!({ "error": { "code": code, "message": message, "file": file } }),
    );
    answer.to_string()
}

fn verify_files(contents: &[Vec<u8>], policy: Option<&[u8]>, at: UnixSeconds) -> Result<Value, Failure> {
    let mut found = Files::default();
    for (index, content) in contents.iter().enumerate() {
        found.add(content).map_err(|error| Failure { file: Some(index), ..error.into() })?;
    }
    let policy = policy.map_or_else(|| Ok(Policy::default()), files::parse_policy)?;
    let (evidence, collateral) = found.finish()?;
    Ok(report::verification(verify(&evidence, &collateral, &policy, at).as_ref(), at))
}

fn verify_worker(statement: &[u8], evidence: &[u8], chain: &Chain, at: UnixSeconds) -> Result<Value, Failure> {
    let statement: Statement = decode("statement", statement)?;
    let evidence: Evidence = decode("evidence", evidence)?;
    if statement.role != Role::Worker {
        return Err(Failure { code: "no-worker", message: "the statement is another role's".into(), file: None });
    }
    let hardware: HardwarePolicy = decode_option("hardware policy", &chain.hardware)?.unwrap_or_default();
    let policy = Policy {
        simulated_root: decode_option("simulated root", &chain.simulated_root)?,
        simulated_vendors: decode_option("simulated vendors' roots", &chain.simulated_vendors)?,
        dcap: hardware.dcap,
        sev_snp: hardware.sev_snp,
        limited: hardware.limited,
    };
    let documents = chain.documents.iter().map(|document| decode("document", document));
    let documents = documents.collect::<Result<_, _>>()?;
    let verdict = bind(&statement, &evidence, documents, &policy, at);
    let mut answer = report::verification(verdict.as_ref().map(Verdict::evidence), at);
    if let (Ok(verdict), Value::Object(fields)) = (&verdict, &mut answer) {
        fields.extend(bound(verdict).map(|(name, value)| (name.into(), value)));
    }
    Ok(answer)
}

fn bind(
    statement: &Statement,
    evidence: &Evidence,
    documents: Vec<KeptDocument>,
    policy: &Policy,
    at: UnixSeconds,
) -> Result<Verdict, Error> {
    let mut kept = BTreeMap::new();
    // Only what is verified says what it is about.
    for KeptDocument { document, .. } in documents {
        kept.insert(verify_document(&document, policy, at)?.id(), document);
    }
    let collateral = collect_collateral(evidence, |id| kept.remove(&id))?;
    verify(evidence, &collateral, policy, at)?.bind(statement)
}

/// What a worker's evidence says beside the verdict, with all claims.
fn bound(verdict: &Verdict) -> [(&'static str, Value); 5] {
    let statement = verdict.statement();
    let mut checks = report::checks(verdict.evidence());
    checks.extend([
        Check::checked("statement", "the TEE's report binds role, keys, chain, operator and block"),
        Check::not_checked("registered", "compare the statement with what the chain has of this worker"),
        Check::not_checked("image-allowed", "look the measurement up among the chain's images"),
        Check::not_checked("live", "challenge the enclave under its signing key"),
    ]);
    let statement = json!({
        "role": statement.role,
        "signing_key": hex(&statement.signing_key),
        "encryption_key": hex(&statement.encryption_key),
        "genesis_hash": hex(&statement.genesis_hash),
        "operator": hex(&statement.operator),
        "block_number": statement.block_number,
        "block_hash": hex(&statement.block_hash),
    });
    [
        ("vendor", json!(verdict.vendor())),
        ("simulated", json!(verdict.vendor().is_simulated())),
        ("recipient", json!(recipient(&verdict.statement().encryption_key))),
        ("statement", statement),
        ("checks", json!(checks)),
    ]
}

/// The `age` recipient with this key. 32 bytes always fit.
fn recipient(key: &[u8; 32]) -> Option<String> {
    bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), key).ok()
}

fn decode<T: Decode>(what: &str, mut value: &[u8]) -> Result<T, Failure> {
    T::decode_all(&mut value).map_err(|_| malformed(what))
}

fn decode_option<T: Decode>(what: &str, value: &Option<Vec<u8>>) -> Result<Option<T>, Failure> {
    value.as_deref().map(|value| decode(what, value)).transpose()
}

fn malformed(what: &str) -> Failure {
    Failure { code: "malformed", message: format!("the {what} is not the SCALE encoding of one"), file: None }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let code = match &error {
            FileError::TooLarge => "too-large",
            FileError::Unknown => "unknown-file",
            FileError::TdReport => "td-report",
            FileError::ForeignRoot => "foreign-root",
            FileError::UnknownIssuer(_) => "unknown-issuer",
            FileError::Twice(_) => "twice",
            FileError::NoQuote => "no-quote",
            FileError::Missing(_) => "missing",
            FileError::Policy(_) => "policy",
        };
        let message = match &error {
            FileError::Policy(source) => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Self { code, message, file: None }
    }
}
