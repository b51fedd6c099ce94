//! Evidence: what must hold before anything is encrypted to a worker, or entrusted to gatekeepers.
//!
//! The chain says which enclave has a job or a share, which images are allowed and which evidence is good enough. The enclave's host
//! hands over the evidence itself. [`verify_worker`] and [`verify_gatekeeper`] check one against the other with the same code
//! that the runtime runs, and challenge the enclave: evidence says that it was there once, its answer that it is there now.
//! What comes out is a [`VerifiedWorker`] or a [`VerifiedGatekeeper`], which nothing else can make: only such a worker is
//! brought inputs, and where the network has no keys, they are encrypted to it alone.

use codec::Encode;
use ed25519_dalek::{Signature, VerifyingKey};
pub use phala_attestation::report::Check;
use phala_attestation::{Collateral, Evidence, Measurement, PlatformId, Role, Statement, Vendor, Verdict, report};
use phala_primitives::{
    GatekeeperId, WorkerId,
    attestation::Class,
    worker::{Isolation, Liveness, SignedLiveness, WorkerStatus},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    Account,
    chain::{Block, Chain, ChainError, Gatekeeper, Image, State, Worker},
    encryption::{self, Recipient},
    host::{Host, HostError, Hosts},
};

/// How far an enclave may be behind the finalized block that we know, or our node behind the enclave: two minutes of
/// blocks. Finality reaches everybody within seconds; who is further back is still catching up, or is kept from the chain.
const MAX_BEHIND_BLOCKS: u32 = 60;

/// Why a worker or a gatekeeper was not verified.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// No such worker.
    #[error("the chain knows no worker {0}")]
    UnknownWorker(WorkerId),
    /// No such gatekeeper.
    #[error("the chain knows no gatekeeper {0}")]
    UnknownGatekeeper(GatekeeperId),
    /// Its verdict has expired.
    #[error("its verdict expired at {0} (Unix time); it must renew its registration")]
    Expired(u64),
    /// Its image is not allowed, or not in its role.
    #[error("its image {0} is not on the chain's list of images that are allowed in its role")]
    ImageNotAllowed(String),
    /// What it is, or where it runs, is declared broken.
    #[error("it is of a class that the chain declares broken: {0}; use another")]
    Broken(Class),
    /// It lost its jobs because its class was declared broken, and has brought no new evidence since.
    #[error("the worker's class was declared broken, and it has brought no new evidence since; use another worker")]
    Cordoned,
    /// What the host serves is not what is registered.
    #[error("its host does not serve the evidence that is registered")]
    HashMismatch,
    /// The evidence does not verify.
    #[error("the evidence is bad: {0}")]
    Bad(#[from] phala_attestation::Error),
    /// The evidence is good, but of something else.
    #[error("the evidence is for something else: its {0} differs from the chain's")]
    Mismatch(&'static str),
    /// Somebody else answered the challenge.
    #[error(
        "the answer to the challenge is not signed with the attested key: the enclave is not there any more; use another"
    )]
    Forged,
    /// The enclave answered something else than the challenge.
    #[error("the answer to the challenge is for another {0}: the host gives an old one, or another's; use another")]
    OtherAnswer(&'static str),
    /// The enclave does not know the chain as it is now.
    #[error(
        "the enclave follows the chain up to block {block} only, and block {finalized} is final: it is catching up, or its \
         host keeps the chain from it; try again in a minute, or use another"
    )]
    Behind {
        /// The newest block that it knows.
        block: u32,
        /// The newest that we know.
        finalized: u32,
    },
    /// The node does not know the chain as it is now, and cannot contradict the enclave.
    #[error(
        "the enclave follows the chain up to block {block}, and the node knows of {finalized} as the last final one: wait until the node is synchronized, or ask another node"
    )]
    NodeBehind {
        /// The newest block that the enclave knows.
        block: u32,
        /// The newest that the node knows.
        finalized: u32,
    },
    /// The enclave follows another chain than the node.
    #[error(
        "the enclave and the node hold different blocks {0} for final: one of them was shown a false chain; ask another node, \
         and send nothing to this enclave before they agree"
    )]
    OtherBlock(u32),
    /// No randomness.
    #[error("the system gave no randomness: {0}")]
    Randomness(String),
    /// The chain could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The host could not be asked.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl EvidenceError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_transient(),
            Self::Behind { .. } | Self::NodeBehind { .. } => true,
            Self::Host(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// A worker whose evidence was verified: only such a one is brought job inputs.
#[derive(Clone, Debug)]
pub struct VerifiedWorker {
    id: WorkerId,
    worker: Worker,
    proved: Proved,
}

/// A gatekeeper whose evidence was verified.
#[derive(Clone, Debug)]
pub struct VerifiedGatekeeper {
    id: GatekeeperId,
    gatekeeper: Gatekeeper,
    proved: Proved,
}

/// What was proved of an enclave.
#[derive(Clone, Debug)]
struct Proved {
    registered: Registered,
    image: Image,
    verdict: Verdict,
    block: Block,
    host: Host,
    live: Liveness,
    answered_in: Duration,
}

/// What the chain says of an enclave, and its evidence has to bear out.
#[derive(Clone, Debug)]
struct Registered {
    role: Role,
    signing_key: [u8; 32],
    encryption_key: [u8; 32],
    operator: Account,
    endpoint: Vec<u8>,
    measurement: Measurement,
    platform: PlatformId,
    vendor: Vendor,
    classes: [Class; 3],
    evidence_hash: [u8; 32],
    verdict_expires: u64,
}

impl Registered {
    fn worker(id: WorkerId, worker: &Worker) -> Self {
        Self {
            role: Role::Worker,
            signing_key: id.0,
            encryption_key: worker.encryption_key,
            operator: worker.operator,
            endpoint: worker.endpoint.clone(),
            measurement: worker.measurement,
            platform: worker.platform,
            vendor: worker.vendor,
            classes: worker.classes(),
            evidence_hash: worker.evidence_hash,
            verdict_expires: worker.verdict_expires,
        }
    }

    fn gatekeeper(id: GatekeeperId, gatekeeper: &Gatekeeper) -> Self {
        Self {
            role: Role::Gatekeeper,
            signing_key: id.0,
            encryption_key: gatekeeper.encryption_key,
            operator: gatekeeper.operator,
            endpoint: gatekeeper.endpoint.clone(),
            measurement: gatekeeper.measurement,
            platform: gatekeeper.platform,
            vendor: gatekeeper.vendor,
            classes: gatekeeper.classes(),
            evidence_hash: gatekeeper.evidence_hash,
            verdict_expires: gatekeeper.verdict_expires,
        }
    }
}

/// What was proved of an enclave, for people and files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveReport {
    /// Who owns it.
    pub operator: Account,
    /// Where its host is.
    pub endpoint: String,
    /// Who made its TEE.
    pub vendor: Vendor,
    /// Whether it is only simulated, and protects nothing.
    pub simulated: bool,
    /// The image that runs, in hexadecimal.
    pub measurement: String,
    /// The image's version.
    pub image_version: u32,
    /// The platform, in hexadecimal.
    pub platform: String,
    /// When the chain's verdict ends, in seconds since the Unix epoch.
    pub verdict_expires: u64,
    /// The block whose state the evidence was checked against.
    pub block: u32,
    /// The newest finalized block that the enclave knew when it answered our challenge.
    #[serde(default)]
    pub live_block: u32,
    /// How the enclave's process is separated from its machine, by its own word; `None` where hardware does that.
    #[serde(default)]
    pub isolation: Option<Isolation>,
    /// Every link of the chain of evidence.
    pub checks: Vec<Check>,
}

/// What a [`VerifiedWorker`] proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerId,
    /// What was proved of its enclave.
    #[serde(flatten)]
    pub enclave: EnclaveReport,
}

/// What a [`VerifiedGatekeeper`] proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatekeeperReport {
    /// The gatekeeper.
    pub gatekeeper: GatekeeperId,
    /// Its seat.
    pub seat: Account,
    /// What was proved of its enclave.
    #[serde(flatten)]
    pub enclave: EnclaveReport,
}

impl VerifiedWorker {
    /// The worker.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What the chain says about it.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// What its evidence proves.
    pub fn verdict(&self) -> &Verdict {
        &self.proved.verdict
    }

    /// Its host.
    pub fn host(&self) -> &Host {
        &self.proved.host
    }

    /// Who to encrypt to, so that only this enclave can read it.
    pub fn recipient(&self) -> Recipient {
        self.proved.recipient()
    }

    /// Whether the TEE is only simulated: whoever runs the host can read everything.
    pub fn is_simulated(&self) -> bool {
        self.proved.is_simulated()
    }

    /// What was proved.
    pub fn report(&self) -> WorkerReport {
        WorkerReport { worker: self.id, enclave: self.proved.report(&format!("worker {}", self.id)) }
    }
}

impl VerifiedGatekeeper {
    /// The gatekeeper.
    pub fn id(&self) -> GatekeeperId {
        self.id
    }

    /// What the chain says about it.
    pub fn gatekeeper(&self) -> &Gatekeeper {
        &self.gatekeeper
    }

    /// What its evidence proves.
    pub fn verdict(&self) -> &Verdict {
        &self.proved.verdict
    }

    /// Whether the TEE is only simulated: whoever runs the host can read its shares.
    pub fn is_simulated(&self) -> bool {
        self.proved.is_simulated()
    }

    /// What was proved.
    pub fn report(&self) -> GatekeeperReport {
        GatekeeperReport {
            gatekeeper: self.id,
            seat: self.gatekeeper.seat,
            enclave: self.proved.report(&format!("gatekeeper {}", self.id)),
        }
    }
}

impl Proved {
    fn recipient(&self) -> Recipient {
        encryption::recipient(&self.verdict.statement().encryption_key)
    }

    fn is_simulated(&self) -> bool {
        self.verdict.vendor().is_simulated()
    }

    /// Every link, of the enclave that people know as `name`.
    fn report(&self, name: &str) -> EnclaveReport {
        let statement = self.verdict.statement();
        let role = match self.registered.role {
            Role::Worker => "worker",
            Role::Gatekeeper => "gatekeeper",
        };
        let mut checks = vec![
            Check::checked("registered", format!("{name} in block {}", self.block.number)),
            Check::checked("evidence-hash", "the host serves what is registered on chain"),
        ];
        checks.extend(report::checks(self.verdict.evidence()));
        checks.extend([
            Check::checked("statement", "the TEE's report binds role, keys, chain, operator and block"),
            Check::checked("role", role),
            Check::checked("signing-key", format!("0x{}", hex::encode(statement.signing_key))),
            Check::checked("encryption-key", self.recipient().to_string()),
            Check::checked("genesis-hash", format!("0x{}", hex::encode(statement.genesis_hash))),
            Check::checked("operator", Account(statement.operator).to_string()),
            Check::checked(
                "image-allowed",
                format!("0x{} version {}", hex::encode(self.verdict.measurement().0), self.image.version),
            ),
            Check::checked("verdict-current", format!("until {} (Unix time)", self.registered.verdict_expires)),
            Check::checked(
                "live",
                format!(
                    "answered a fresh challenge in {} ms; follows the chain up to block {}",
                    self.answered_in.as_millis(),
                    self.live.block_number
                ),
            ),
        ]);
        checks
            .extend(self.live.isolation.map(|isolation| Check::not_checked("isolation", isolation_detail(isolation))));
        checks.push(Check::not_checked(
            "node-honest",
            format!("the node's word for block {} was taken", self.block.number),
        ));
        EnclaveReport {
            operator: self.registered.operator,
            endpoint: self.host.url().into(),
            vendor: self.verdict.vendor(),
            simulated: self.is_simulated(),
            measurement: format!("0x{}", hex::encode(self.verdict.measurement().0)),
            image_version: self.image.version,
            platform: format!("0x{}", hex::encode(self.verdict.platform().0)),
            verdict_expires: self.registered.verdict_expires,
            block: self.block.number,
            live_block: self.live.block_number,
            isolation: self.live.isolation,
            checks,
        }
    }
}

/// The collateral that the chain keeps for evidence.
async fn collateral(state: &State, evidence: &Evidence) -> Result<Collateral, EvidenceError> {
    let mut kept = BTreeMap::new();
    for id in phala_attestation::required_documents(evidence)? {
        if let Some(document) = state.document(id).await? {
            kept.insert(id, document.document);
        }
    }
    Ok(phala_attestation::collect_collateral(evidence, |id| kept.remove(&id))?)
}

/// Whether the documents of vendors that the chain verifies `evidence` with are there, and in force in the block after the next: whoever submits
/// evidence without them pays to be told. What else there is to say of the evidence, the chain says.
///
/// # Errors
/// [`EvidenceError::Bad`] with what is missing or over, and the chain's.
pub async fn check_documents(state: &State, evidence: &Evidence) -> Result<(), EvidenceError> {
    use phala_attestation::Error::{CrlMissing, DocumentMissing, EvaluationNumber, Expired, NotYetValid};
    // It gets into the next block at best.
    let now = (state.timestamp_ms().await? + 2 * state.block_ms()?) / 1000;
    let policy = state.policy().await?;
    let verified = match collateral(state, evidence).await {
        Ok(collateral) => phala_attestation::verify(evidence, &collateral, &policy, now).map(drop),
        Err(EvidenceError::Bad(error)) => Err(error),
        Err(error) => return Err(error),
    };
    match verified {
        Err(error @ (NotYetValid(_) | Expired(_) | EvaluationNumber(_) | DocumentMissing(_) | CrlMissing)) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Fetches a worker's evidence from its host, checks everything against the chain's `state`, and challenges the enclave.
///
/// # Errors
/// The first thing that does not hold; see [`EvidenceError`].
pub async fn verify_worker(
    chain: &Chain,
    hosts: &Hosts,
    state: &State,
    id: WorkerId,
) -> Result<VerifiedWorker, EvidenceError> {
    let worker = state.worker(id).await?.ok_or(EvidenceError::UnknownWorker(id))?;
    if worker.status == WorkerStatus::Cordoned {
        return Err(EvidenceError::Cordoned);
    }
    let proved = prove(chain, hosts, state, Registered::worker(id, &worker)).await?;
    Ok(VerifiedWorker { id, worker, proved })
}

/// The same for a gatekeeper: whether it is the enclave that the chain has on record, in a TEE that is good enough, now.
///
/// # Errors
/// The first thing that does not hold; see [`EvidenceError`].
pub async fn verify_gatekeeper(
    chain: &Chain,
    hosts: &Hosts,
    state: &State,
    id: GatekeeperId,
) -> Result<VerifiedGatekeeper, EvidenceError> {
    let gatekeeper = state.gatekeeper(id).await?.ok_or(EvidenceError::UnknownGatekeeper(id))?;
    let proved = prove(chain, hosts, state, Registered::gatekeeper(id, &gatekeeper)).await?;
    Ok(VerifiedGatekeeper { id, gatekeeper, proved })
}

async fn prove(chain: &Chain, hosts: &Hosts, state: &State, registered: Registered) -> Result<Proved, EvidenceError> {
    let host = hosts.at(&String::from_utf8_lossy(&registered.endpoint))?;
    let (statement, evidence) = host.evidence(&registered.evidence_hash).await?;
    if registered.evidence_hash != <[u8; 32]>::from(Sha256::digest((&statement, &evidence).encode())) {
        return Err(EvidenceError::HashMismatch);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let policy = state.policy().await?;
    let collateral = collateral(state, &evidence).await?;
    let verdict = phala_attestation::verify(&evidence, &collateral, &policy, now)?.bind(&statement)?;
    check_statement(&statement, &verdict, &registered, chain.genesis_hash())?;
    if now >= registered.verdict_expires {
        return Err(EvidenceError::Expired(registered.verdict_expires));
    }
    for class in registered.classes {
        if state.compromised_since(class).await?.is_some() {
            return Err(EvidenceError::Broken(class));
        }
    }
    let image = state.image(verdict.measurement()).await?;
    let Some(image) = image.filter(|image| image.role == registered.role) else {
        return Err(EvidenceError::ImageNotAllowed(format!("0x{}", hex::encode(verdict.measurement().0))));
    };

    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| EvidenceError::Randomness(error.to_string()))?;
    let asked = Instant::now();
    let answer = host.liveness(&nonce).await?;
    let answered_in = asked.elapsed();
    check_answer(&answer, registered.signing_key, chain.genesis_hash(), nonce)?;
    let live = answer.liveness;
    let finalized = chain.finalized().await?;
    check_block(&live, finalized.block().number, finalized.block_hash(live.block_number).await?)?;
    Ok(Proved { registered, image, verdict, block: state.block(), host, live, answered_in })
}

/// Whether the key with an id has answered this challenge, for this chain.
fn check_answer(
    answer: &SignedLiveness,
    signing_key: [u8; 32],
    genesis_hash: [u8; 32],
    nonce: [u8; 32],
) -> Result<(), EvidenceError> {
    let live = &answer.liveness;
    let key = VerifyingKey::from_bytes(&signing_key).map_err(|_| EvidenceError::Forged)?;
    key.verify_strict(&live.signed_bytes(), &Signature::from_bytes(&answer.signature))
        .map_err(|_| EvidenceError::Forged)?;
    let facts = [
        (live.signing_key == signing_key, "enclave"),
        (live.genesis_hash == genesis_hash, "chain"),
        (live.nonce == nonce, "challenge"),
    ];
    match facts.into_iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(EvidenceError::OtherAnswer(what)),
        None => Ok(()),
    }
}

/// Whether an enclave follows our chain, and neither it nor our node is too far behind: `known` is the hash that we know of
/// its block.
fn check_block(live: &Liveness, finalized: u32, known: Option<[u8; 32]>) -> Result<(), EvidenceError> {
    let block = live.block_number;
    if finalized.saturating_sub(block) > MAX_BEHIND_BLOCKS {
        return Err(EvidenceError::Behind { block, finalized });
    }
    if block.saturating_sub(finalized) > MAX_BEHIND_BLOCKS {
        return Err(EvidenceError::NodeBehind { block, finalized });
    }
    // It may have seen a newer one, of which our node does not know yet.
    if block <= finalized && known != Some(live.block_hash) {
        return Err(EvidenceError::OtherBlock(block));
    }
    Ok(())
}

/// What an enclave's process says that it has done to separate itself, and what it has not.
fn isolation_detail(isolation: Isolation) -> String {
    let Isolation { no_network, not_dumpable, locked_memory, no_privileges, seccomp, landlock, own_user } = isolation;
    let measures = [
        (no_network, "no network"),
        (not_dumpable, "not dumpable"),
        (locked_memory, "locked memory"),
        (no_privileges, "no privileges"),
        (seccomp, "seccomp"),
        (landlock, "Landlock"),
        (own_user, "a user of its own"),
    ];
    let list = |wanted: bool| {
        let names: Vec<_> = measures.iter().filter(|(holds, _)| *holds == wanted).map(|(_, name)| *name).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    format!("SIMULATED, by the enclave's own word: in force: {}; not in force: {}", list(true), list(false))
}

fn check_statement(
    statement: &Statement,
    verdict: &Verdict,
    registered: &Registered,
    genesis_hash: [u8; 32],
) -> Result<(), EvidenceError> {
    let facts = [
        (statement.role == registered.role, "role"),
        (statement.signing_key == registered.signing_key, "signing key"),
        (statement.encryption_key == registered.encryption_key, "encryption key"),
        (statement.genesis_hash == genesis_hash, "genesis hash"),
        (statement.operator == registered.operator.0, "operator"),
        (verdict.measurement() == registered.measurement, "measurement"),
        (verdict.platform() == registered.platform, "platform"),
        (verdict.vendor() == registered.vendor, "vendor"),
    ];
    match facts.into_iter().find(|(holds, _)| !holds) {
        Some((_, what)) => Err(EvidenceError::Mismatch(what)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};
    use phala_attestation::{ClaimStatus, Policy, VendorName, simulated};
    use phala_primitives::worker::Performance;

    const NOW: u64 = 1_800_000_000;

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

    fn verdict(statement: &Statement) -> Verdict {
        let root = simulated::development_root();
        let platform = root.certify([7; 32], VendorName::DEVELOPMENT, 1, NOW - 10, NOW + 10);
        let report = simulated::Report {
            measurement: phala_attestation::Measurement([9; 32]),
            debug: false,
            report_data: statement.report_data(),
        };
        let evidence = Evidence::Simulated(platform.quote(report));
        let policy = Policy { simulated_root: Some(root.public()), ..Policy::default() };
        phala_attestation::verify(&evidence, &Collateral::default(), &policy, NOW).unwrap().bind(statement).unwrap()
    }

    fn worker(verdict: &Verdict) -> Worker {
        Worker {
            operator: Account([4; 32]),
            encryption_key: [2; 32],
            endpoint: b"http://127.0.0.1:1".to_vec(),
            price: 1,
            performance: Performance { fuel_per_second: 1, capacity: 1 },
            running: 0,
            status: WorkerStatus::Active,
            measurement: verdict.measurement(),
            platform: verdict.platform(),
            family: phala_attestation::Family::Simulated(VendorName::DEVELOPMENT),
            vendor: verdict.vendor(),
            tier: phala_attestation::Tier::Full,
            verified_at: NOW,
            verdict_expires: NOW + 5,
            outlook: None,
            evidence_hash: [0; 32],
            registered_at: 1,
            last_heartbeat: 1,
        }
    }

    fn mismatch(
        statement: Statement,
        id: [u8; 32],
        change: fn(&mut Worker),
        genesis: [u8; 32],
    ) -> Option<&'static str> {
        let verdict = verdict(&statement);
        let mut worker = worker(&verdict);
        change(&mut worker);
        match check_statement(&statement, &verdict, &Registered::worker(WorkerId(id), &worker), genesis) {
            Ok(()) => None,
            Err(EvidenceError::Mismatch(what)) => Some(what),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_field_of_the_statement_is_held_against_the_chain() {
        let same: fn(&mut Worker) = |_| ();
        assert_eq!(mismatch(statement(), [1; 32], same, [3; 32]), None);
        let gatekeeper = Statement { role: Role::Gatekeeper, ..statement() };
        assert_eq!(mismatch(gatekeeper, [1; 32], same, [3; 32]), Some("role"));
        assert_eq!(mismatch(statement(), [0; 32], same, [3; 32]), Some("signing key"));
        assert_eq!(mismatch(statement(), [1; 32], same, [0; 32]), Some("genesis hash"));
        type Change = fn(&mut Worker);
        let changes: [(&str, Change); 4] = [
            ("encryption key", |worker| worker.encryption_key = [0; 32]),
            ("operator", |worker| worker.operator = Account([0; 32])),
            ("measurement", |worker| worker.measurement.0 = [0; 32]),
            ("platform", |worker| worker.platform.0 = [0; 32]),
        ];
        for (what, change) in changes {
            assert_eq!(mismatch(statement(), [1; 32], change, [3; 32]), Some(what));
        }
    }

    const NONCE: [u8; 32] = [8; 32];

    fn liveness(key: &SigningKey) -> Liveness {
        Liveness {
            genesis_hash: [3; 32],
            signing_key: key.verifying_key().to_bytes(),
            nonce: NONCE,
            block_number: 1000,
            block_hash: [10; 32],
            isolation: Some(Isolation { no_network: true, seccomp: true, ..Isolation::default() }),
        }
    }

    #[test]
    fn only_the_attested_key_answers_and_only_this_challenge() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let id = key.verifying_key().to_bytes();
        let check = |liveness: Liveness, signer: &SigningKey| {
            let signature = signer.sign(&liveness.signed_bytes()).to_bytes();
            check_answer(&SignedLiveness { liveness, signature }, id, [3; 32], NONCE)
        };
        assert!(check(liveness(&key), &key).is_ok());
        assert!(matches!(check(liveness(&key), &SigningKey::from_bytes(&[2; 32])), Err(EvidenceError::Forged)));
        type Change = fn(&mut Liveness);
        let changes: [(&str, Change); 3] = [
            ("enclave", |live| live.signing_key[0] ^= 1),
            ("chain", |live| live.genesis_hash = [0; 32]),
            ("challenge", |live| live.nonce = [0; 32]),
        ];
        for (what, change) in changes {
            let mut live = liveness(&key);
            change(&mut live);
            assert!(matches!(check(live, &key), Err(EvidenceError::OtherAnswer(field)) if field == what), "{what}");
        }
    }

    #[test]
    fn an_enclave_and_our_node_follow_one_chain_and_neither_is_too_far_behind() {
        let live = liveness(&SigningKey::from_bytes(&[1; 32]));
        let ours = Some(live.block_hash);
        assert!(check_block(&live, 1000, ours).is_ok());
        assert!(check_block(&live, 1000 + MAX_BEHIND_BLOCKS, ours).is_ok());
        // Our node is behind.
        assert!(check_block(&live, 999, None).is_ok());
        assert!(check_block(&live, 1000 - MAX_BEHIND_BLOCKS, None).is_ok());
        let behind = check_block(&live, 999 - MAX_BEHIND_BLOCKS, None).unwrap_err();
        assert!(matches!(behind, EvidenceError::NodeBehind { block: 1000, finalized: 939 }) && behind.is_transient());
        let behind = check_block(&live, 1001 + MAX_BEHIND_BLOCKS, ours).unwrap_err();
        assert!(matches!(behind, EvidenceError::Behind { block: 1000, finalized: 1061 }) && behind.is_transient());
        for known in [None, Some([0; 32])] {
            let other = check_block(&live, 1000, known).unwrap_err();
            assert!(matches!(other, EvidenceError::OtherBlock(1000)) && !other.is_transient());
        }
    }

    #[test]
    fn simulated_evidence_says_so() {
        let verdict = verdict(&statement());
        let (id, worker) = (WorkerId([1; 32]), worker(&verdict));
        let proved = Proved {
            registered: Registered::worker(id, &worker),
            image: Image { role: Role::Worker, version: 1 },
            verdict,
            block: Block { number: 1, hash: [0; 32] },
            host: Host::new("http://127.0.0.1:1").unwrap(),
            live: liveness(&SigningKey::from_bytes(&[1; 32])),
            answered_in: Duration::from_millis(12),
        };
        let verified = VerifiedWorker { id, worker, proved };
        let report = verified.report().enclave;
        assert!(verified.is_simulated() && report.simulated);
        let isolation = report.checks.iter().find(|check| check.claim == "hardware-isolation").unwrap();
        assert_eq!(isolation.status, ClaimStatus::NotChecked);
        assert!(isolation.detail.contains("SIMULATED"));
        let check = |claim: &str| report.checks.iter().find(|check| check.claim == claim).unwrap();
        assert_eq!(check("live").detail, "answered a fresh challenge in 12 ms; follows the chain up to block 1000");
        assert_eq!(check("isolation").status, ClaimStatus::NotChecked);
        let detail = "SIMULATED, by the enclave's own word: in force: no network, seccomp; not in force: not dumpable, locked \
                      memory, no privileges, Landlock, a user of its own";
        assert_eq!(check("isolation").detail, detail);
        assert_eq!(report.live_block, 1000);
        assert!(report.isolation.is_some_and(|isolation| isolation.seccomp && !isolation.landlock));
        assert_eq!(verified.recipient().to_string(), encryption::recipient(&[2; 32]).to_string());
    }
}
