//! What the enclave parses of its host's making, beside [frames](crate::host_frames).

use codec::Encode;
use futures::future::BoxFuture;
use phala_attestation::{Evidence, Measurement, Role, simulated::development_root};
use phala_enclave::{
    EvidenceError, Sealing, Tee, UnsealError,
    chain::{ChainApp, ChainJob, ChainSpec, Floor},
    keys::Keys,
};
use phala_engine::{Config, Engine, Execution, Job};
use phala_primitives::{
    AppId, Hash, Limits, WorkerId,
    input::{EncryptedFile, JobInput, MAX_FILES, MAX_RECIPIENTS, NamedFile, is_file_name},
    job::{App, Assignment, JobStatus, Settlement, Visibility},
    worker::{Isolation, Performance, Worker, WorkerStatus},
};
use phala_sdk::encryption::Identity;
use phala_worker::fuzzing;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::LazyLock, time::Duration};
use zeroize::Zeroizing;

use crate::{Target, canonical, evidence};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "age_files",
        run: age_files,
        seeds: age_file_seeds,
        tokens: &[
            b"age-encryption.org/v1\n",
            b"-> X25519 ",
            b"-> x y\n",
            b"\n--- ",
            b"---",
            b"-----BEGIN AGE ENCRYPTED FILE-----\n",
            b"-----END AGE ENCRYPTED FILE-----\n",
            b"AAAA",
        ],
        memory_per_byte: Some(64),
    },
    Target {
        name: "chain_specs",
        run: chain_specs,
        seeds: chain_spec_seeds,
        tokens: &[
            b"\"genesis\"",
            b"\"bootNodes\"",
            b"\"forkId\"",
            b"\"relayChain\"",
            b"\"lightSyncState\"",
            b"[[[[[[[[",
            b"{}",
            b"null",
            b"\\u0000",
        ],
        memory_per_byte: Some(512),
    },
    Target {
        name: "chain_values",
        run: chain_values,
        seeds: chain_value_seeds,
        tokens: &[&[0], &[1], &[2], &[3]],
        memory_per_byte: Some(64),
    },
    Target {
        name: "job_inputs",
        run: job_inputs,
        seeds: job_input_seeds,
        tokens: &[
            b"\"files\"",
            b"\"code\"",
            b"\"stdin\"",
            b"\"recipients\"",
            b"\"..\"",
            b"\"\\u0000\"",
            b"null",
            b"[]",
            b"[[[[[[[[",
            b"age1",
        ],
        memory_per_byte: Some(512),
    },
    Target { name: "programs", run: programs, seeds: program_seeds, tokens: PROGRAM_TOKENS, memory_per_byte: None },
    Target {
        name: "sealed_state",
        run: sealed_state,
        seeds: sealed_state_seeds,
        tokens: &[&[0], &[1], &[2]],
        memory_per_byte: Some(64),
    },
];

const GENESIS: Hash = [1; 32];
const JOB: u64 = 5;

/// The key of the seeds, the same in each run: what is found can be found again.
const IDENTITY: &str = "AGE-SECRET-KEY-1QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSKMP32K";

/// Bytes before the file in an input of [`age_files`].
const ATTACK_BYTES: usize = 4;

/// Plaintexts of the seeds: none, some, and more than one chunk of `age`.
const PLAINTEXTS: &[usize] = &[0, 100, 70_000];

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let recipient = identity().recipient();
    let plaintexts = PLAINTEXTS.iter().map(|length| vec![0x61u8; *length]);
    plaintexts.map(|plaintext| age::encrypt(&recipient, &plaintext).expect("memory takes every byte")).collect()
});

fn identity() -> Identity {
    IDENTITY.parse().expect("the text is an age identity")
}

/// Encrypted files in the hands of a hostile host, who serves another file once one is verified. Whatever is read then is
/// what was verified; and what a user can decrypt, the enclave can.
///
/// The first byte says how the later file differs, the next three where; the file follows.
pub fn age_files(data: &[u8]) {
    let Some(([attack, at @ ..], file)) = data.split_first_chunk::<ATTACK_BYTES>() else { return };
    let at = u32::from_le_bytes([at[0], at[1], at[2], 0]) as usize;
    let mut later = file.to_vec();
    match attack % 4 {
        0 => {}
        1 => {
            if let Some(byte) = later.get_mut(at) {
                *byte ^= 1;
            }
        }
        2 => later.truncate(at),
        _ => later.clone_from(&FILES[at % FILES.len()]),
    }
    let served = fuzzing::file(file, &later, IDENTITY);
    if let Some((verified, Some(read))) = &served {
        assert!(read == verified, "another file than the verified one was read");
    }
    if attack % 4 == 0 {
        assert!(
            served.as_ref().is_none_or(|(_, read)| read.is_some()),
            "a file that did not change was not read again"
        );
    }
    if let Ok(plaintext) = identity().decrypt(file, u64::MAX - 1) {
        assert!(served.is_some_and(|(verified, _)| verified == plaintext), "the enclave and the SDK disagree");
    }
}

fn age_file_seeds() -> Vec<Vec<u8>> {
    let armored = age::encrypt_and_armor(&identity().recipient(), b"hello").expect("memory takes every byte");
    let other = age::encrypt(&Identity::generate().recipient(), b"hello").expect("memory takes every byte");
    let mut files = FILES.clone();
    files.extend([armored.into_bytes(), other]);
    let attacks =
        [[0, 0, 0, 0], [1, 10, 0, 0], [1, 180, 0, 0], [1, 0, 0, 1], [2, 190, 0, 0], [2, 0, 0, 1], [3, 1, 0, 0]];
    let with = |file: &Vec<u8>| attacks.map(|attack: [u8; ATTACK_BYTES]| [&attack[..], &file[..]].concat());
    files.iter().flat_map(with).collect()
}

/// The plaintext of a job input, which whoever knows the enclave's key may make.
pub fn job_inputs(data: &[u8]) {
    let checked = fuzzing::job_input(data, &GENESIS, JOB);
    let Ok(input) = serde_json::from_slice::<JobInput>(data) else {
        assert!(checked.is_err(), "something was taken for a job input that is none");
        return;
    };
    let json = serde_json::to_vec(&input).expect("a job input is plain JSON");
    assert!(serde_json::from_slice::<JobInput>(&json).is_ok_and(|again| again == input));
    if checked.is_ok() {
        assert_eq!((input.version, input.genesis_hash, input.job), (1, GENESIS, JOB));
        assert!(input.files.len() <= MAX_FILES && (1..=MAX_RECIPIENTS).contains(&input.recipients.len()));
        let mut names = HashSet::new();
        assert!(input.files.iter().all(|file| is_file_name(&file.name) && names.insert(&file.name)));
        assert!(!input.arguments.iter().any(|argument| argument.contains('\0')));
    }
}

fn job_input_seeds() -> Vec<Vec<u8>> {
    let file = EncryptedFile { sha256: [7; 32], bytes: 9 };
    let names = ["flights.csv", "b"].map(|name| NamedFile::new(name.into(), file));
    let input = JobInput {
        version: 1,
        genesis_hash: GENESIS,
        job: JOB,
        app: AppId([2; 32]),
        secret: [3u8; 32].into(),
        identity: IDENTITY.into(),
        arguments: vec!["--by".into(), "carrier".into()],
        code: None,
        stdin: None,
        files: Vec::new(),
        recipients: vec![identity().recipient().to_string()],
    };
    let full = JobInput { code: Some(file), stdin: Some(file), files: names.into(), ..input.clone() };
    let other = JobInput { job: JOB + 1, ..input.clone() };
    [input, full, other].map(|input| serde_json::to_vec(&input).expect("a job input is plain JSON")).into()
}

/// The chain's specification, which the host gives. What is left of one is left as it is when it is reduced again.
pub fn chain_specs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(spec) = ChainSpec::new(text) else { return };
    assert!(spec.same_chain(&spec), "a chain differs from itself");
    let value: Value = serde_json::from_str(spec.json()).expect("the reduced specification is JSON");
    let fields = ["bootNodes", "forkId", "genesis", "id", "name"];
    let object = value.as_object().expect("a specification is an object");
    assert!(object.keys().all(|field| fields.contains(&field.as_str())), "more is left than is needed");
    // Reading a decimal fraction may round.
    if !has_fraction(&value) {
        assert_eq!(ChainSpec::new(spec.json()), Ok(spec));
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn chain_spec_seeds() -> Vec<Vec<u8>> {
    let boot_node = "/ip4/127.0.0.1/tcp/30333/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    let plain = json!({
        "name": "n", "id": "i", "bootNodes": [boot_node], "genesis": { "raw": { "top": { "0x00": "0x01" } } },
    });
    let mut full = plain.clone();
    full["forkId"] = json!("f");
    full["lightSyncState"] = json!({ "finalizedBlockHeader": "0x00" });
    full["properties"] = json!({ "tokenDecimals": 12, "ratio": 0.5 });
    let mut parachain = plain.clone();
    parachain["relayChain"] = json!("polkadot");
    [plain, full, parachain].map(|spec| spec.to_string().into_bytes()).into()
}

/// Values of the chain's storage. The proof says that the chain holds them, not that they make sense; the enclave and
/// clients decode them as the same.
pub fn chain_values(data: &[u8]) {
    let job = canonical::<ChainJob>(data);
    assert_eq!(canonical::<phala_sdk::chain::Job>(data).is_some(), job.is_some());
    let app = canonical::<ChainApp>(data);
    assert_eq!(canonical::<phala_sdk::chain::App>(data).is_some(), app.is_some());
    let worker = canonical::<Worker<Hash, u32>>(data);
    assert_eq!(canonical::<phala_sdk::chain::Worker>(data).is_some(), worker.is_some());
}

fn chain_value_seeds() -> Vec<Vec<u8>> {
    let (owner, worker) = ([9; 32], WorkerId([3; 32]));
    let statuses = [
        JobStatus::Queued,
        JobStatus::Assigned(Assignment { worker, price: 7, assigned_at: 2, due: 50 }),
        JobStatus::Settled(Settlement {
            worker,
            operator: [4; 32],
            outcome: phala_primitives::Outcome::Completed { exit_code: 0 },
            fuel: 1024,
            paid: 5,
            treasury: 1,
            refund: 2,
            input_hash: [5; 32],
            output_hash: [6; 32],
            receipt_hash: [7; 32],
            at: 9,
        }),
        JobStatus::Cancelled { at: 3 },
        JobStatus::Expired { at: 3 },
    ];
    let job = |status| ChainJob {
        owner,
        app: AppId([2; 32]),
        limits: Limits::DEFAULT,
        max_price: 100,
        deadline: 1000,
        redundancy: 1,
        secret_commitment: [8; 32],
        submitted_at: 1,
        submitted_at_ms: 1_800_000_000_000,
        attempts: 1,
        status,
    };
    let app: ChainApp = App {
        publisher: owner,
        code_hash: [4; 32],
        code_bytes: 1000,
        manifest_hash: [0; 32],
        visibility: Visibility::Public,
        retired: false,
    };
    let worker = Worker::<Hash, u32> {
        operator: [4; 32],
        encryption_key: [2; 32],
        endpoint: b"http://localhost:1".to_vec(),
        price: 7,
        performance: Performance { fuel_per_second: 1_000_000_000, capacity: 4 },
        running: 0,
        status: WorkerStatus::Active,
        measurement: Measurement([3; 32]),
        platform: phala_attestation::PlatformId([6; 32]),
        family: phala_attestation::Family::Simulated(Default::default()),
        vendor: phala_attestation::Vendor::Simulated(Default::default()),
        tier: phala_attestation::Tier::Full,
        verified_at: 1_700_000_000,
        verdict_expires: 1_800_000_000,
        outlook: None,
        evidence_hash: [7; 32],
        registered_at: 1,
        last_heartbeat: 9,
    };
    let mut seeds: Vec<_> = statuses.map(|status| job(status).encode()).into();
    seeds.extend([app.encode(), worker.encode()]);
    seeds
}

/// Sealed state, on a TEE that authenticates nothing: what is behind the seal is no reason to panic.
pub fn sealed_state(data: &[u8]) {
    let keys = Keys::unseal(&OpenTee, &GENESIS, data);
    assert!(keys.is_err() || data.first() == Some(&1), "keys of an unknown version were taken");
    canonical::<Floor>(data);
}

fn sealed_state_seeds() -> Vec<Vec<u8>> {
    let (_, keys) = Keys::generate(&OpenTee, &GENESIS);
    let keys = keys.expect("it seals");
    vec![keys, Floor { genesis_hash: GENESIS, number: 9, hash: [8; 32] }.encode()]
}

/// A TEE that seals nothing.
struct OpenTee;

impl Tee for OpenTee {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn measurement(&self) -> Measurement {
        Measurement([3; 32])
    }

    fn sealing(&self) -> Option<&dyn Sealing> {
        Some(self)
    }

    fn evidence(&self, _: [u8; 64]) -> Result<Evidence, EvidenceError> {
        Ok(evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false).1)
    }

    fn isolation(&self) -> Option<Isolation> {
        None
    }

    fn memory_bytes(&self) -> u64 {
        u64::MAX
    }
}

impl Sealing for OpenTee {
    fn seal(&self, _: &str, secret: &[u8]) -> Vec<u8> {
        secret.to_vec()
    }

    fn unseal(&self, _: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        Ok(Zeroizing::new(sealed.to_vec()))
    }
}

const PROGRAM_TOKENS: &[&[u8]] = &[
    b"\0asm\x01\0\0\0",
    b"\0asm\x0d\0\x01\0",
    b"_start",
    b"memory",
    b"wasi_snapshot_preview1",
    b"wasi:cli/run@0.2.0",
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x02, 0x40],
    &[0x03, 0x40],
    &[0x0b],
    &[0x0c, 0],
    &[0x10, 0],
    &[0x3f, 0],
    &[0x40, 0],
    &[0xfc, 0x0b, 0],
    &[0xfd, 0x0c],
];

/// What a program may use here.
const LIMITS: Limits = Limits { fuel: 2_000_000, memory_bytes: 2 << 20, wall_ms: 1000, output_bytes: 64 << 10 };

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = Config {
        capacity: 1,
        max_memory_bytes: 4 << 20,
        max_program_bytes: 256 << 10,
        max_function_bytes: 8 << 10,
        parallel_compilation: false,
        ..Config::default()
    };
    Engine::new(config).expect("an engine for one job")
});

/// Programs. What is prepared runs within its limits, and the same each time.
pub fn programs(data: &[u8]) {
    let Ok(program) = ENGINE.prepare(data) else { return };
    let run = || ENGINE.run(&program, Job { limits: LIMITS, ..Job::default() });
    let (Ok(first), Ok(second)) = (run(), run()) else { return };
    assert!(first == second, "a program ran differently the second time: {first:?}, {second:?}");
    let Execution { fuel, output_bytes, .. } = first;
    assert!(fuel <= LIMITS.fuel && output_bytes <= LIMITS.output_bytes, "a program exceeded its limits");
}

fn program_seeds() -> Vec<Vec<u8>> {
    let start = |body: &str| format!(r#"(module (memory (export "memory") 1) (func (export "_start") {body}))"#);
    let texts = [
        include_str!("../../enclave/engine/tests/programs/component.wat").to_owned(),
        include_str!("../../enclave/engine/tests/programs/echo.wat").to_owned(),
        include_str!("../../enclave/engine/tests/programs/world.wat").to_owned(),
        start(""),
        start("unreachable"),
        start("(loop $l (br $l))"),
        start("(loop $l (drop (memory.grow (i32.const 1))) (br $l))"),
        start("(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))"),
        start("(drop (f64.div (f64.const 0) (f64.const 0)))"),
        "(module (memory (export \"memory\") 1) (func $f (call $f) (call $f)) (func (export \"_start\") (call $f)))"
            .into(),
    ];
    texts.iter().map(|text| wat::parse_str(text).expect("the text is a program")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_get_far() {
        assert!(program_seeds().iter().all(|program| ENGINE.prepare(program).is_ok()));
        assert!(fuzzing::job_input(&job_input_seeds()[1], &GENESIS, JOB).is_ok());
        let file = &age_file_seeds()[0][ATTACK_BYTES..];
        assert!(matches!(fuzzing::file(file, file, IDENTITY), Some((first, Some(second))) if first == second));
    }
}
