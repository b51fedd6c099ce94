//! An enclave enters an old chain from genesis, over every change of its authorities, by justifications alone; and enters
//! it anew after a long standstill.

use anyhow::{Context, Result};
use phala_tests::{
    Network,
    authorities::{change_authorities, short_epochs},
    verified_block, wait_until,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Changes of the authority set. `PHALA_SET_CHANGES` asks for another number; each takes eight seconds.
const CHANGES: u64 = 8;

#[test]
fn an_enclave_enters_a_chain_whose_authorities_changed_many_times() -> Result<()> {
    let changes = env::var("PHALA_SET_CHANGES").ok().map_or(Ok(CHANGES), |changes| changes.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chain.json");
    fs::write(&path, serde_json::to_vec(&short_epochs()?)?)?;
    let network = Network::start_with(&["--workers", "1", "--chain", path.to_str().context("a path in UTF-8")?])?;

    let runtime = tokio::runtime::Runtime::new()?;
    let (head, endpoint) = runtime.block_on(async {
        let chain = network.chain().await?;
        change_authorities(&chain, &network.sudo(), changes).await?;
        let head = chain.finalized().await?;
        let (_, worker) = head.workers().await?.into_iter().next().context("a worker is registered")?;
        anyhow::Ok((head.block().number, String::from_utf8(worker.endpoint)?))
    })?;

    let verified = || runtime.block_on(verified_block(&endpoint));
    let start = Instant::now();
    network.restart("enclave-1", "-KILL")?;
    // More than the enclave can have said before.
    let at = wait_until("the enclave follows the chain again", 120, || Ok(verified()?.filter(|at| *at > head + 1)))
        .with_context(|| network.logs())?;
    println!("over {changes} changes of authorities to block {at} in {:.1} s", start.elapsed().as_secs_f64());

    network.job("echo", &[])?.ok()?;
    Ok(())
}

/// Stops the node until the enclave's light client starts anew.
fn stand_still(network: &Network) -> Result<PathBuf> {
    network.signal("node-1", "-STOP")?;
    let log = network.folder().join("logs/host-1.log");
    wait_until("the light client starts anew", 300, || {
        Ok(fs::read_to_string(&log)?.contains("light client: no block was finalized for long").then_some(()))
    })?;
    Ok(log)
}

/// The light client may have lost its way to its peers: what it has then is given up.
#[test]
fn an_enclave_starts_its_light_client_anew_after_a_standstill() -> Result<()> {
    let network = Network::start(1)?;
    stand_still(&network)?;
    network.signal("node-1", "-CONT")?;
    network.job("echo", &[])?.ok()?;
    Ok(())
}

/// A light client that starts anew knows no block but the first: whoever has the keys of the authorities could show it
/// another chain than before.
#[test]
fn a_fork_shown_after_a_standstill_is_refused() -> Result<()> {
    let network = Network::start(1)?;
    let log = stand_still(&network)?;
    network.end("node-1", "-KILL")?;
    fs::remove_dir_all(Path::new(&network.option("node-1", "--base-path")?).join("chains"))?;
    network.relaunch("node-1")?;
    wait_until("the fork is noticed", 180, || {
        Ok(fs::read_to_string(&log)?.contains("is finalized with two hashes").then_some(()))
    })
}
