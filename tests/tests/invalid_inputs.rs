//! What users get wrong: each time a clear error, and nothing lost.

use anyhow::{Context, Result, ensure};
use phala_primitives::{
    FailureReason, Limits, Outcome, SignedReceipt,
    input::{EncryptedFile, JobInput},
    job::{JobStatus, Visibility, secret_commitment},
    units::PHA,
};
use phala_sdk::{
    Signer,
    chain::{Chain, State, call},
    encryption::{self, Identity},
    host::{Host, HostError, UploadToken},
    job::{Jobs, Store},
};
use phala_tests::{Network, guest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// A failed job: exit status 70, the reason in the report, fuel paid at most, the rest refunded.
fn fails(network: &Network, program: &str, arguments: &[&str], reason: &str) -> Result<()> {
    let run =
        network.job(program, arguments)?.exited(70).with_context(|| format!("{program} should fail: {reason}"))?;
    let report = run.report()?;
    ensure!(report["outcome"]["failed"] == reason, "{program}: {report}");
    ensure!(report["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{report}");
    Ok(())
}

/// An error of phala itself: exit status 125 and a message that says what was wrong.
fn refused(network: &Network, arguments: &[&str], message: &str) -> Result<()> {
    let mut all = vec!["job", "run"];
    all.extend(arguments);
    let run = network.phala(&all)?.exited(125)?;
    ensure!(run.stderr.to_lowercase().contains(&message.to_lowercase()), "not `{message}`: {}", run.stderr);
    ensure!(run.stdout.is_empty(), "nothing but the program's output goes to stdout: {}", run.stdout());
    Ok(())
}

#[test]
fn programs_that_go_wrong_end_with_their_reason() -> Result<()> {
    let network = Network::start(1)?;
    fails(&network, "spin", &["--fuel", "200M"], "fuel_exhausted")?;
    fails(&network, "spin", &["--fuel", "100T", "--wall-time", "2", "--max-price", "10000"], "wall_time_exceeded")?;
    fails(&network, "memory", &["--memory", "32", "--", "512"], "memory_exhausted")?;
    fails(&network, "output", &["--output-limit", "1", "--", "4194304"], "output_too_large")?;
    fails(&network, "trap", &[], "trap")?;
    fails(&network, "recurse", &[], "trap")?;
    network.job("exit", &["--", "3"])?.exited(3)?;

    // Programs that are none.
    let module = |wat: &str| wat::parse_str(wat);
    let no_entry = network.file("library.wasm", module("(module (func (export \"add\")))")?)?;
    let missing_import =
        network.file("import.wasm", module("(module (import \"env\" \"gpu\" (func)) (func (export \"_start\")))")?)?;
    let other_world = network.file("component.wasm", module("(component)")?)?;
    let garbage = network.file("garbage.wasm", b"\0asm\x01\0\0\0 and then nothing that makes sense")?;
    for program in [&no_entry, &missing_import, &other_world, &garbage] {
        let run = network.phala(&["job", "run", "--json", program])?.exited(70).with_context(|| program.clone())?;
        ensure!(run.report()?["outcome"]["failed"] == "invalid_program", "{program}: {}", run.stderr);
    }
    // After all that the worker still works.
    network.job("echo", &[])?.ok()?;
    Ok(())
}

#[test]
fn mistakes_before_submission_cost_nothing() -> Result<()> {
    let network = Network::start(1)?;
    let balance = |key: &str| -> Result<Value> {
        let balance = network.phala(&["balance", key, "--json"])?.ok()?.json()?;
        Ok(json!([balance["free"], balance["held"], balance["transactions"]]))
    };
    let echo = guest("echo");
    let echo = echo.to_str().context("text")?;
    // Otherwise the first of them would publish it.
    network.phala(&["app", "publish", echo, "--key", "//Eve"])?.ok()?;
    let before = balance("//Eve")?;

    let text = network.file("notes.txt", "no program")?;
    refused(&network, &[&text, "--key", "//Eve"], "not webassembly")?;
    refused(&network, &["/no/such/file.wasm", "--key", "//Eve"], "no such file")?;
    let huge = network.file("huge.wasm", [b"\0asm\x01\0\0\0".as_slice(), &vec![0; 65 << 20]].concat())?;
    refused(&network, &[&huge, "--key", "//Eve"], "at most")?;
    refused(&network, &[echo, "--key", "//Eve", "--max-price", "0.000001"], "under the market")?;
    refused(&network, &[echo, "--key", "//Nobody"], "transfer")?;
    refused(&network, &[echo, "--key", "//Eve", "--deadline", "0"], "deadline")?;
    refused(&network, &[&format!("0x{}", "ab".repeat(32)), "--key", "//Eve"], "knows no app")?;
    refused(&network, &[echo, "--key", "//Eve", "--file", "a/b=/etc/hostname"], "")?;
    refused(&network, &[echo, "--key", "//Eve", "--file", "x=/no/such/input"], "/no/such/input")?;
    // A wrong option is a usage error, before anything else.
    ensure!(network.phala(&["job", "run", echo, "--fuel", "many"])?.status == Some(2));
    let after = balance("//Eve")?;
    ensure!(before == after, "before {before}, after {after}");
    let jobs = network.phala(&["job", "list", "--all", "--json"])?.ok()?.json()?;
    ensure!(jobs.as_array().is_some_and(Vec::is_empty), "no job was submitted: {jobs}");
    Ok(())
}

/// A user who builds each message by hand, and gets each wrong.
struct ByHand {
    chain: Chain,
    owner: Signer,
    host: Host,
    encryption_key: [u8; 32],
    job: u64,
    attempt: u32,
    token: UploadToken,
    input: JobInput,
    folder: std::path::PathBuf,
}

impl ByHand {
    async fn submit(network: &Network, limits: Limits) -> Result<Self> {
        let chain = network.chain().await?;
        let owner = Signer::from_uri("//Ferdie")?;
        let jobs = Jobs::new(chain.clone(), Store::open(&network.path().join("by-hand"))?);
        let code = fs::read(guest("echo"))?;
        let published = jobs.publish(&owner, &code, Visibility::Public, None).await?;
        let secret = [9u8; 32];
        let now = chain.best().await?.block().number;
        let submit = call::submit_job(published.app, limits, 50 * PHA, now + 400, 1, secret_commitment(&secret));
        let job = chain.best().await?.next_job().await?;
        chain.submit(&owner, submit).await?;
        let mut blocks = chain.best_blocks().await?;
        let (worker, attempt) = loop {
            let state = chain.at(blocks.next().await.hash).await?;
            let Some(found) = state.job(job).await? else { continue };
            if let JobStatus::Assigned(assignment) = found.status {
                break (state.worker(assignment.worker).await?.context("the worker is registered")?, found.attempts);
            }
        };
        let host = Host::new(&String::from_utf8(worker.endpoint)?)?;
        let token = token(&chain, &owner, job)?;
        let path = write(network.path(), "code", &code)?;
        host.upload(&path, &published.code_hash, code.len() as u64, &token, |_| {}).await?;
        let input = JobInput {
            version: 1,
            genesis_hash: chain.genesis_hash(),
            job,
            app: published.app,
            secret: secret.into(),
            identity: Identity::generate().secret(),
            arguments: vec![],
            code: None,
            stdin: None,
            files: vec![],
            recipients: vec![Identity::generate().recipient().to_string()],
        };
        let folder = network.path().to_owned();
        Ok(Self { chain, owner, host, encryption_key: worker.encryption_key, job, attempt, token, input, folder })
    }

    /// Uploads bytes as they are and returns their hash.
    async fn upload(&self, bytes: &[u8]) -> Result<[u8; 32]> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let path = write(&self.folder, "upload", bytes)?;
        self.host.upload(&path, &sha256, bytes.len() as u64, &self.token, |_| {}).await?;
        Ok(sha256)
    }

    fn encrypt(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let recipient = encryption::recipient(&self.encryption_key);
        let cipher = encryption::encrypt(&mut &bytes[..], &[recipient], &self.folder)?;
        Ok(fs::read(cipher.path())?)
    }

    /// Uploads what should be an encrypted job input, and starts the job; the refusal if it is refused.
    async fn start(&self, ciphertext: &[u8]) -> Result<Option<String>> {
        let input = self.upload(ciphertext).await?;
        let started = self.host.start(self.job, self.attempt, &input, &self.token).await;
        Ok(started.err().map(|error| error.to_string()))
    }

    async fn refused(&self, ciphertext: &[u8], why: &str) -> Result<()> {
        let refusal = self.start(ciphertext).await?.with_context(|| format!("accepted, though {why}"))?;
        println!("{why}: {refusal}");
        let state = self.chain.best().await?;
        let job = state.job(self.job).await?.context("the job is there")?;
        ensure!(matches!(job.status, JobStatus::Assigned(_)), "a refused input must not end the job: {:?}", job.status);
        Ok(())
    }

    async fn settled(&self) -> Result<(State, Outcome)> {
        let mut blocks = self.chain.best_blocks().await?;
        loop {
            let state = self.chain.at(blocks.next().await.hash).await?;
            if let Some(JobStatus::Settled(settlement)) = state.job(self.job).await?.map(|job| job.status) {
                return Ok((state, settlement.outcome));
            }
        }
    }
}

/// Lets its bearer upload for a job and start it, for an hour.
fn token(chain: &Chain, owner: &Signer, job: u64) -> Result<UploadToken> {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600;
    Ok(UploadToken::sign(owner, chain.genesis_hash(), job, expires))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<std::path::PathBuf> {
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}

#[test]
fn inputs_and_receipts_that_are_wrong_are_refused_and_the_job_goes_on() -> Result<()> {
    let network = Network::start(1)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let user = ByHand::submit(&network, Limits { wall_ms: 60_000, ..Limits::DEFAULT }).await?;
        let good = serde_json::to_vec(&user.input)?;

        user.refused(b"this is no age file", "it is no age file").await?;
        let for_another = {
            let recipient = Identity::generate().recipient();
            let cipher = encryption::encrypt(&mut &good[..], &[recipient], &user.folder)?;
            fs::read(cipher.path())?
        };
        user.refused(&for_another, "it is encrypted to somebody else").await?;
        let mut truncated = user.encrypt(&good)?;
        truncated.truncate(truncated.len() - 10);
        user.refused(&truncated, "it is cut short").await?;
        user.refused(&user.encrypt(b"{\"version\":")?, "it is no JSON").await?;
        for (why, input) in [
            ("it is for another job", JobInput { job: user.job + 1, ..user.input.clone() }),
            ("it is for another chain", JobInput { genesis_hash: [1; 32], ..user.input.clone() }),
            ("it names no recipient", JobInput { recipients: vec![], ..user.input.clone() }),
            ("it is of another version", JobInput { version: 2, ..user.input.clone() }),
        ] {
            user.refused(&user.encrypt(&serde_json::to_vec(&input)?)?, why).await?;
        }
        // An upload that ends early, or is not what its name says, is not kept.
        let blob = [5u8; 1000];
        let path = write(&user.folder, "wrong", &blob)?;
        let wrong = user.host.upload(&path, &[3; 32], blob.len() as u64, &user.token, |_| {}).await;
        println!("wrong hash: {}", wrong.err().context("an upload under a wrong hash was accepted")?);
        ensure!(!user.host.has_blob(&[3; 32]).await?, "it is not kept");

        // Nor is one that the job's owner has not signed for, or for another job.
        let sha256: [u8; 32] = Sha256::digest(blob).into();
        for token in [
            token(&user.chain, &Signer::from_uri("//Eve")?, user.job)?,
            token(&user.chain, &user.owner, user.job + 1)?,
            UploadToken::sign(&user.owner, [1; 32], user.job, u64::MAX),
            UploadToken::sign(&user.owner, user.chain.genesis_hash(), user.job, 1),
        ] {
            let refused = user.host.upload(&path, &sha256, blob.len() as u64, &token, |_| {}).await;
            let status = match refused.err().context("an upload was taken from a stranger")? {
                HostError::Refused { status, .. } => status,
                other => anyhow::bail!("{other}"),
            };
            ensure!(status == 401 || status == 403, "{status}");
        }
        ensure!(!user.host.has_blob(&sha256).await?, "it is kept all the same");

        // The right input, at last; its standard input is encrypted to the worker and not to the job's own key, so that it
        // might be somebody else's.
        let stdin = user.encrypt(b"to the worker")?;
        let stdin = EncryptedFile { bytes: stdin.len() as u64, sha256: user.upload(&stdin).await? };
        let input = JobInput { stdin: Some(stdin), ..user.input.clone() };
        let refusal = user.start(&user.encrypt(&serde_json::to_vec(&input)?)?).await?;
        ensure!(refusal.is_none(), "{refusal:?}");
        let (_, outcome) = user.settled().await?;
        ensure!(outcome == Outcome::Failed(FailureReason::InvalidInput), "{outcome:?}");

        // The same receipt once more, and receipts that were changed.
        let receipt = user.host.receipt(user.job).await?;
        let again = user.chain.submit(&user.owner, call::submit_receipt(receipt.clone())).await;
        let error = format!("{:?}", again.err().context("the same receipt was taken twice")?);
        ensure!(error.contains("AlreadySettled"), "{error}");
        anyhow::Ok(())
    })
}

#[test]
fn a_receipt_by_a_worker_that_was_not_assigned_is_refused() -> Result<()> {
    let network = Network::start(1)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let user = ByHand::submit(&network, Limits { wall_ms: 60_000, ..Limits::DEFAULT }).await?;
        let state = user.chain.best().await?;
        let job = state.job(user.job).await?.context("the job is there")?;
        let JobStatus::Assigned(assignment) = &job.status else { anyhow::bail!("{:?}", job.status) };
        let worker = state.worker(assignment.worker).await?.context("registered")?;
        let app = state.app(job.app).await?.context("published")?;
        let signing = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let receipt = phala_primitives::Receipt {
            genesis_hash: user.chain.genesis_hash(),
            job: user.job,
            attempt: 1,
            app: job.app,
            worker: phala_primitives::WorkerId(signing.verifying_key().to_bytes()),
            measurement: worker.measurement.0,
            code_hash: app.code_hash,
            input_hash: [0; 32],
            output_hash: [0; 32],
            output_file_hash: [0; 32],
            outcome: Outcome::Completed { exit_code: 0 },
            fuel: 1_000_000,
            input_bytes: 0,
            output_bytes: 0,
            block_number: state.block().number,
            block_hash: state.block().hash,
        };
        let sign = |receipt: &phala_primitives::Receipt| SignedReceipt {
            signature: ed25519_dalek::Signer::sign(&signing, &receipt.signed_bytes()).to_bytes(),
            receipt: receipt.clone(),
        };
        let refused = |receipt: SignedReceipt| {
            let user = &user;
            async move {
                let result = user.chain.submit(&user.owner, call::submit_receipt(receipt)).await;
                anyhow::Ok(format!("{:?}", result.err().context("a forged receipt was taken")?))
            }
        };
        // By its own name, and in the name of the worker that was assigned.
        let error = refused(sign(&receipt)).await?;
        ensure!(error.contains("NotAssigned"), "{error}");
        let error = refused(sign(&phala_primitives::Receipt { worker: assignment.worker, ..receipt.clone() })).await?;
        ensure!(error.contains("Signature"), "{error}");
        let job = user.chain.best().await?.job(user.job).await?.context("still there")?;
        ensure!(matches!(job.status, JobStatus::Assigned(_)), "{:?}", job.status);
        anyhow::Ok(())
    })
}
