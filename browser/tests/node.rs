//! The module in Node.js comes to the verdicts of native code, and what JavaScript may give it does no harm.
//!
//! `browser/build.sh` makes the package. `verifier.test.mjs` reads the cases from a file and has all that is JavaScript's.

mod recorded;

use codec::Encode;
use phala_attestation::{
    Evidence, Policy, Role, SignedDocument, Statement, VendorName, files::Files, mint, report, simulated, verify,
    verify_document,
};
use phala_attestation_browser::answer;
use phala_primitives::attestation::{HardwarePolicy, KeptDocument};
use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The package.
fn package() -> PathBuf {
    // target/debug/deps/test-hash
    let test = env::current_exe().unwrap();
    let package = test.ancestors().nth(3).unwrap().join("browser");
    assert!(package.exists(), "{} is missing: run browser/build.sh first, as scripts/test does", package.display());
    package
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// All recorded evidence at five times under three policies, as `phala verify evidence --json` shows it.
fn recorded_cases() -> Vec<Value> {
    let Some(folder) = recorded::folder() else { return vec![] };
    let mut cases = vec![];
    for (names, time) in recorded::ALL {
        let contents: Vec<_> = names.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
        let mut files = Files::default();
        contents.iter().for_each(|content| files.add(content).unwrap());
        let (evidence, collateral) = files.finish().unwrap();
        for policy in [recorded::LENIENT, "{}", r#"{ "dcap": { "denied_advisories": ["INTEL-SA-00615"] } }"#] {
            // The last is the largest that JavaScript has.
            for at in [time, 0, time - 100_000_000, time + 100_000_000, (1 << 53) - 1] {
                let parsed = phala_attestation::files::parse_policy(policy.as_bytes()).unwrap();
                let expected = report::verification(verify(&evidence, &collateral, &parsed, at).as_ref(), at);
                let files: Vec<_> = contents.iter().map(|content| hex(content)).collect();
                cases.push(json!({ "files": files, "policy": policy, "at": at, "expected": expected }));
            }
        }
    }
    let accepted = cases.iter().filter(|case| case["expected"]["accepted"] == true).count();
    assert!(accepted >= 7, "{accepted} are accepted");
    cases
}

/// What is no evidence, and why.
fn failed_cases() -> Vec<Value> {
    let (evidence, _) = mint::sgx(&[0; 64]);
    let Evidence::Dcap { quote, .. } = evidence else { panic!() };
    let (big, garbage, garbage_of_a_report) = (vec![0; 1024 * 1024 + 1], b"garbage".to_vec(), vec![0; 1184]);
    [
        (vec![], None, "no-quote"),
        (vec![vec![]], Some(0), "unknown-file"),
        (vec![quote.clone(), garbage], Some(1), "unknown-file"),
        (vec![garbage_of_a_report], Some(0), "unknown-file"),
        (vec![quote.clone(), quote.clone(), quote.clone()], Some(1), "twice"),
        (vec![big], Some(0), "too-large"),
        (vec![mint::roots().intel], Some(0), "foreign-root"),
        (vec![quote], None, "missing"),
    ]
    .map(|(files, file, code): (Vec<Vec<u8>>, Option<usize>, &str)| {
        json!({ "files": files.iter().map(|file| hex(file)).collect::<Vec<_>>(), "file": file, "code": code })
    })
    .into()
}

fn statement() -> Statement {
    Statement {
        role: Role::Worker,
        signing_key: [1; 32],
        encryption_key: [2; 32],
        genesis_hash: [3; 32],
        operator: [4; 32],
        block_number: 6,
        block_hash: [5; 32],
    }
}

/// A worker as its host serves it, with what its chain keeps.
#[derive(Clone)]
struct Worker {
    statement: Vec<u8>,
    evidence: Vec<u8>,
    hardware: Option<Vec<u8>>,
    simulated_root: Option<Vec<u8>>,
    simulated_vendors: Option<Vec<u8>>,
    documents: Vec<Vec<u8>>,
    at: u64,
}

impl Worker {
    /// In simulated hardware.
    fn simulated() -> Self {
        let root = simulated::development_root();
        let platform = root.certify([7; 32], VendorName::DEVELOPMENT, 1, mint::VALID_FROM, mint::VALID_UNTIL + 1);
        let measurement = phala_attestation::Measurement([9; 32]);
        let report = simulated::Report { measurement, debug: false, report_data: statement().report_data() };
        Self {
            statement: statement().encode(),
            evidence: Evidence::Simulated(platform.quote(report)).encode(),
            hardware: None,
            simulated_root: Some(root.public().encode()),
            simulated_vendors: None,
            documents: vec![],
            at: mint::VALID_FROM,
        }
    }

    /// In hardware of a development network's vendors.
    fn minted((evidence, documents): (Evidence, Vec<SignedDocument>)) -> Self {
        let policy = Policy { simulated_vendors: Some(mint::roots()), ..Policy::default() };
        let keep = |document: SignedDocument| {
            let verified = verify_document(&document, &policy, mint::VALID_FROM).unwrap();
            KeptDocument::new(document, &verified).encode()
        };
        Self {
            evidence: evidence.encode(),
            hardware: Some(HardwarePolicy::default().encode()),
            simulated_vendors: policy.simulated_vendors.as_ref().map(Encode::encode),
            documents: documents.into_iter().map(keep).collect(),
            ..Self::simulated()
        }
    }

    /// What native code answers.
    fn answer(&self) -> Value {
        let Self { statement, evidence, hardware, simulated_root, simulated_vendors, documents, at } = self;
        let request = (1u8, statement, evidence, hardware, simulated_root, simulated_vendors, documents, at).encode();
        serde_json::from_str(&answer(&request)).unwrap()
    }

    fn case(&self) -> Value {
        let text = |bytes: &[u8]| format!("0x{}", hex(bytes));
        let option = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text);
        json!({
            "request": {
                "statement": text(&self.statement),
                "evidence": text(&self.evidence),
                "chain": {
                    "hardware": option(&self.hardware),
                    "simulatedRoot": option(&self.simulated_root),
                    "simulatedVendors": option(&self.simulated_vendors),
                    "documents": self.documents.iter().map(|document| text(document)).collect::<Vec<_>>(),
                },
                "at": self.at,
            },
            "expected": self.answer(),
        })
    }
}

fn minted_workers() -> [Worker; 3] {
    let report_data = statement().report_data();
    [mint::sgx(&report_data), mint::tdx(&report_data), mint::sev_snp(&report_data)].map(Worker::minted)
}

/// Good ones, and each of them with what is wrong.
fn worker_cases() -> Vec<Value> {
    type Change = fn(&mut Worker);
    let changes: [Change; 11] = [
        |_| (),
        |worker| worker.at = mint::VALID_FROM - 1,
        |worker| worker.at = mint::VALID_UNTIL + 1,
        |worker| worker.statement = Statement { block_number: 7, ..statement() }.encode(),
        |worker| (worker.simulated_root, worker.simulated_vendors) = (None, None),
        |worker| worker.documents = vec![],
        |worker| worker.statement = Statement { role: Role::Gatekeeper, ..statement() }.encode(),
        |worker| worker.statement.push(0),
        |worker| worker.evidence.clear(),
        |worker| worker.hardware = Some(vec![0xff]),
        |worker| worker.documents.push(vec![9]),
    ];
    let workers: Vec<_> = [Worker::simulated()].into_iter().chain(minted_workers()).collect();
    let mut cases = vec![];
    for worker in &workers {
        for change in changes {
            let mut worker = worker.clone();
            change(&mut worker);
            cases.push(worker.case());
        }
        for at in (0..worker.evidence.len()).step_by(113) {
            let mut worker = worker.clone();
            worker.evidence[at] ^= 1 << (at % 8);
            cases.push(worker.case());
        }
    }
    cases
}

/// Runs a command of Node's in `folder`, and says what it said if it fails.
fn run(command: &mut Command, folder: &Path) {
    let output = command.current_dir(folder).output().expect("Node.js is installed, as scripts/setup.sh does");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    println!("{stdout}");
}

#[test]
fn the_module_comes_to_the_verdicts_of_native_code() {
    let folder = tempfile::tempdir().unwrap();
    let cases = json!({ "recorded": recorded_cases(), "failed": failed_cases(), "workers": worker_cases() });
    fs::write(folder.path().join("cases.json"), cases.to_string()).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier.test.mjs");
    let mut node = Command::new("node");
    node.arg("--test").arg(tests).env("PHALA_BROWSER_PACKAGE", package());
    run(node.env("PHALA_CASES", folder.path().join("cases.json")), folder.path());
}

#[test]
fn the_example_has_the_types_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join("tests").join(file), folder.path().join(file)).unwrap();
    }
    let readme = fs::read_to_string(source.join("README.md")).unwrap();
    let example = readme.split("```ts\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    fs::write(folder.path().join("example.ts"), example).unwrap();
    fs::copy(source.join("tests/types.ts"), folder.path().join("types.ts")).unwrap();
    run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]), folder.path());
    let installed = folder.path().join("node_modules/@phala/attestation");
    fs::create_dir_all(&installed).unwrap();
    for file in ["package.json", "index.js", "index.d.ts"] {
        fs::copy(source.join(file), installed.join(file)).unwrap();
    }
    let options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"];
    let mut compiler = Command::new("node_modules/.bin/tsc");
    run(compiler.args(options).args(["example.ts", "types.ts"]), folder.path());
}

#[test]
fn a_workers_answer_says_who_to_encrypt_to_and_what_is_left_to_check() {
    let answer = Worker::simulated().answer();
    assert_eq!(answer["accepted"], true, "{answer}");
    assert_eq!(answer["simulated"], true);
    let (_, key) = bech32::decode(answer["recipient"].as_str().unwrap()).unwrap();
    assert_eq!(key, [2; 32]);
    assert_eq!(answer["statement"]["operator"], format!("0x{}", hex(&[4; 32])));
    let claims = answer["checks"].as_array().unwrap();
    let status = |claim| &claims.iter().find(|found| found["claim"] == claim).unwrap()["status"];
    for claim in ["certificate-chain", "report-data", "statement"] {
        assert_eq!(status(claim), "checked", "{claim}");
    }
    for claim in ["measurement", "hardware-isolation", "registered", "image-allowed", "live"] {
        assert_eq!(status(claim), "not-checked", "{claim}");
    }
}

#[test]
fn workers_under_simulated_vendors_are_simulated_whatever_their_kind() {
    for (worker, kind) in minted_workers().iter().zip(["sgx", "tdx", "sev-snp"]) {
        let answer = worker.answer();
        assert_eq!((&answer["kind"], &answer["simulated"]), (&json!(kind), &json!(true)), "{answer}");
        let real = Worker { simulated_vendors: None, ..worker.clone() }.answer();
        assert_eq!(real["accepted"], false);
    }
}

#[test]
fn requests_cut_short_and_extended_are_malformed() {
    let request = (0u8, vec![b"quote".to_vec()], None::<Vec<u8>>, 0u64).encode();
    let code = |request: &[u8]| serde_json::from_str::<Value>(&answer(request)).unwrap()["error"]["code"].clone();
    assert_eq!(code(&request), "unknown-file");
    for length in 0..request.len() {
        assert_eq!(code(&request[..length]), "malformed", "{length} bytes");
    }
    assert_eq!(code(&[&request[..], &[0]].concat()), "malformed");
}
