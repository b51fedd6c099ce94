//! Who is not trusted gets no job and no input.

use anyhow::{Context, Result, ensure};
use phala_attestation::Measurement;
use phala_primitives::{Limits, PHA, WorkerId, job::Visibility};
use phala_sdk::{
    Signer,
    chain::{Chain, call},
    job::{Jobs, Store},
};
use phala_tests::{Network, binary, guest, minted::Minted, wait_until};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

fn only_worker(network: &Network) -> Result<String> {
    let workers = network.phala(&["worker", "list", "--all", "--json"])?.ok()?.json()?;
    Ok(workers[0]["worker"].as_str().with_context(|| format!("no worker in {workers}"))?.to_owned())
}

fn job_status(network: &Network, job: u64) -> Result<String> {
    let status = network.phala(&["job", "status", &job.to_string(), "--json"])?.ok()?.json()?;
    Ok(status["status"].as_str().context("status")?.to_owned())
}

/// Submits a job that nobody is expected to take, and leaves.
fn submit_in_background(network: &Network) -> Result<(Child, u64)> {
    let before = network.phala(&["job", "list", "--json"])?.ok()?.json()?.as_array().map_or(0, Vec::len);
    let child = network
        .command(&["job", "run", "--json"])
        .arg(guest("echo"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let job = wait_until("the job is submitted", 60, || {
        let jobs = network.phala(&["job", "list", "--json"])?.ok()?.json()?;
        let jobs = jobs.as_array().cloned().unwrap_or_default();
        Ok((jobs.len() > before).then(|| jobs[0]["job"].as_u64()).flatten())
    })?;
    Ok((child, job))
}

#[test]
fn a_worker_whose_image_is_no_longer_allowed_gets_no_job_and_does_not_verify() -> Result<()> {
    let network = Network::start(1)?;
    let worker = only_worker(&network)?;
    network.phala(&["verify", "worker", &worker])?.ok()?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let images = chain.best().await?.images().await?;
        let forbid = call::sudo(call::forbid_image(images[0].0));
        chain.submit_finalized(&network.sudo(), forbid).await?;
        anyhow::Ok(())
    })?;

    let verdict = network.phala(&["verify", "worker", &worker])?;
    ensure!(verdict.status != Some(0), "a worker with a forbidden image verifies: {}", verdict.stdout());
    let (mut client, job) = submit_in_background(&network)?;
    network.wait_blocks(5)?;
    ensure!(job_status(&network, job)? == "queued");
    client.kill()?;
    client.wait()?;
    network.phala(&["job", "cancel", &job.to_string()])?.ok()?;
    ensure!(job_status(&network, job)? == "cancelled");
    Ok(())
}

#[test]
fn a_worker_with_an_expired_verdict_gets_no_job_until_it_renews() -> Result<()> {
    let network = Network::start(1)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        chain.submit_finalized(&network.sudo(), call::sudo(call::set_verdict_lifetime(12))).await?;
        anyhow::Ok(())
    })?;
    let worker = only_worker(&network)?;
    let expires = |network: &Network| -> Result<u64> {
        let shown = network.phala(&["worker", "show", &worker, "--json"])?.ok()?.json()?;
        shown["verdict_expires"].as_u64().with_context(|| format!("verdict_expires in {shown}"))
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs());
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let id: WorkerId = worker.parse()?;
        let operator = Signer::from_uri("//Worker1")?;
        // Renews by hand, with what the host hands out.
        let endpoint = chain.best().await?.worker(id).await?.context("registered")?.endpoint;
        let bundle = phala_sdk::host::Host::new(&String::from_utf8(endpoint)?)?.registration().await?;
        chain.submit(&operator, call::renew(bundle.statement, bundle.evidence, bundle.performance)).await?;
        anyhow::Ok(())
    })?;
    // The host can do nothing any more: the verdict ends.
    network.signal("host-1", "-STOP")?;
    wait_until("the verdict expires", 60, || Ok((expires(&network)? < now()?).then_some(())))?;
    let verdict = network.phala(&["verify", "worker", &worker])?;
    ensure!(verdict.status != Some(0), "an expired verdict verifies: {}", verdict.stdout());
    let run = network.job("echo", &[])?.exited(125)?;
    ensure!(run.stderr.contains("no active worker"), "{}", run.stderr);

    // Who submits all the same waits.
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let jobs = Jobs::new(chain.clone(), Store::open(&network.path().join("by-hand"))?);
        let code = std::fs::read(guest("echo"))?;
        let published = jobs.publish(&network.sudo(), &code, Visibility::Public, None).await?;
        let deadline = chain.best().await?.block().number + 300;
        let submit = call::submit_job(published.app, Limits::DEFAULT, 50 * PHA, deadline, 1, [1; 32]);
        chain.submit(&network.sudo(), submit).await?;
        anyhow::Ok(())
    })?;
    network.wait_blocks(3)?;
    ensure!(job_status(&network, 0)? == "queued");

    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        chain.submit(&network.sudo(), call::sudo(call::set_verdict_lifetime(3600))).await?;
        anyhow::Ok(())
    })?;
    network.signal("host-1", "-CONT")?;
    wait_until("the job is assigned once the worker has renewed", 120, || {
        Ok((job_status(&network, 0)? == "assigned").then_some(()))
    })
}

/// Evidence that is perfect, for an image that nobody has allowed. And the limit of all simulated evidence: anybody mints it
/// for an image that is allowed.
#[test]
fn an_image_that_is_not_allowed_cannot_register() -> Result<()> {
    let network = Network::start(0)?;
    let error = register_minted(network.node(), "//Bob", Some(Measurement([1; 32])))?;
    ensure!(error.as_ref().is_some_and(|error| error.contains("ImageNotAllowed")), "{error:?}");
    simulated_evidence_for_an_allowed_image_is_minted_by_anybody(&network)
}

fn simulated_evidence_for_an_allowed_image_is_minted_by_anybody(network: &Network) -> Result<()> {
    let error = register_minted(network.node(), "//Bob", None)?;
    ensure!(error.is_none(), "{error:?}");
    // It has no host that could show anything, and where it had one, everything would say SIMULATED.
    let verdict = network.phala(&["verify", "worker", &only_worker(network)?])?;
    ensure!(verdict.status != Some(0), "a worker without a host verifies: {}", verdict.stdout());
    Ok(())
}

/// The same evidence on a chain whose genesis forbids simulation.
#[test]
fn simulated_evidence_is_refused_where_genesis_forbids_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut node = Command::new(binary("phala-node"))
        .args(["--chain", "local-no-simulation", "--alice", "--no-prometheus", "--no-telemetry", "--no-mdns"])
        .args([
            "--unsafe-force-node-key-generation",
            "--force-authoring",
            "--port",
            "0",
            "--rpc-port",
            &port.to_string(),
            "--base-path",
        ])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let error = register_minted(&format!("ws://127.0.0.1:{port}"), "//Bob", Some(Measurement([1; 32])));
    node.kill()?;
    node.wait()?;
    let error = error?;
    ensure!(error.as_ref().is_some_and(|error| error.contains("SimulatedForbidden")), "{error:?}");
    Ok(())
}

/// Mints evidence for an enclave that does not exist and tries to register it; the error, if it cannot. `None` for the first
/// image that is allowed.
fn register_minted(node: &str, operator: &str, measurement: Option<Measurement>) -> Result<Option<String>> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = tokio::time::timeout(Duration::from_secs(60), Chain::connect_patiently(node)).await??;
        let worker = Minted::new(9, operator)?;
        let measurement = match measurement {
            Some(measurement) => measurement,
            None => chain.best().await?.images().await?.first().context("an image is allowed")?.0,
        };
        let register = worker.registration(&chain, measurement, u64::MAX, PHA / 100).await?;
        Ok(chain.submit(worker.operator(), register).await.err().map(|error| format!("{error:?}")))
    })
}
