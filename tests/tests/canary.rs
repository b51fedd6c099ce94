//! A secret in a job's input is found nowhere outside the enclave and the user's own process: not in the memory of host
//! or node, not on their disks, not on the wire. The same search finds a planted control, so it can fail.

use anyhow::{Context, Result, ensure};
use phala_primitives::Limits;
use phala_sdk::{
    Signer,
    chain::call,
    host::{Hosts, UploadToken},
};
use phala_tests::{
    Network,
    search::{self, Wire},
    user::User,
};
use sha2::{Digest, Sha256};
use std::process::Stdio;

#[test]
fn a_secret_leaves_no_trace_outside_enclave_and_user() -> Result<()> {
    let network = Network::start(1)?;
    // Made at run time, so that no program file holds it whole.
    let nonce = hex::encode(rand_bytes()?);
    let canary = format!("canary-{nonce}");
    let control = format!("control-{nonce}");

    let wire = Wire::start(&network.path().join("wire.pcap"))?;
    let networks_disk = network.path().join("network");

    // The control: a blob in the clear for the host, of a job that is never started, and a remark in the clear for the node.
    tokio::runtime::Runtime::new()?.block_on(async {
        let chain = network.chain().await?;
        let state = chain.best().await?;
        let (_, worker) = state.workers().await?.into_iter().next().context("a worker")?;
        let endpoint = String::from_utf8(worker.endpoint)?;
        let job = User::new(&chain, "//Ferdie")?.submit("echo", b"", &[], Limits::DEFAULT).await?.job;
        let token = UploadToken::sign(&Signer::from_uri("//Ferdie")?, chain.genesis_hash(), job, in_an_hour()?);
        let sha256 = hex::encode(Sha256::digest(&control));
        let upload = Hosts::default().client()?.put(format!("{endpoint}/v1/blobs/{sha256}"));
        let response = upload.header("phala-upload", token.to_string()).body(control.clone()).send().await?;
        ensure!(response.status().is_success(), "{}", response.status());
        chain.submit_finalized(&network.sudo(), call::remark(control.clone().into_bytes())).await?;
        anyhow::Ok(())
    })?;

    // The job: the secret goes in through standard input, a file and an argument, and comes out again. It runs long enough
    // to search while it does.
    let secret = network.file("secret", &canary)?;
    let mut job = network
        .command(&["job", "run", "--json", "--stdin", &secret, "--wall-time", "120", "--fuel", "10T"])
        .args(["--file", &format!("secret.txt={secret}")])
        .arg(phala_tests::guest("linger"))
        .args(["--", "1500", &canary])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;

    let mut searches_during = 0;
    while job.try_wait()?.is_none() {
        for process in ["host-1", "node-1"] {
            ensure!(!search::memory(network.pid(process)?, &canary)?, "the canary is in the memory of {process}");
        }
        ensure!(search::disk(&networks_disk, &canary)?.is_empty());
        searches_during += 1;
    }
    let output = job.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(printed.matches(&canary).count() >= 3, "the program had the secret three times: {printed}");
    ensure!(searches_during > 0, "nothing was searched while the job ran");

    // Afterwards: everything once more.
    for process in ["host-1", "node-1"] {
        ensure!(!search::memory(network.pid(process)?, &canary)?, "the canary is in the memory of {process}");
    }
    let found = search::disk(&networks_disk, &canary)?;
    ensure!(found.is_empty(), "the canary is in {found:?}");
    let [canary_crossed, control_crossed] = wire.stop(&[&canary, &control])?[..] else { anyhow::bail!("two answers") };
    ensure!(!canary_crossed, "the canary crossed the wire");

    // And the search does find what is there.
    ensure!(control_crossed, "the control was not seen on the wire: the search is broken");
    let found = search::disk(&networks_disk, &control)?;
    ensure!(found.iter().any(|path| path.components().any(|part| part.as_os_str() == "blobs")), "blob: {found:?}");
    ensure!(found.iter().any(|path| path.components().any(|part| part.as_os_str() == "node-1")), "database: {found:?}");
    ensure!(search::memory(std::process::id(), &canary)?, "the search of memory is broken");
    Ok(())
}

/// In Unix seconds.
fn in_an_hour() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 3600)
}

fn rand_bytes() -> Result<[u8; 16]> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
