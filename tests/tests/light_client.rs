//! An enclave enters an old chain from genesis, over every change of its authorities, by justifications alone.

use anyhow::{Context, Result, ensure};
use phala_sdk::chain::call;
use phala_tests::{Network, binary, wait_until};
use serde_json::{Value, json};
use std::{env, fs, process::Command, time::Instant};

/// Changes of the authority set. `PHALA_SET_CHANGES` asks for another number; each takes eight seconds.
const CHANGES: u64 = 8;

/// Where genesis may say how many slots an epoch has: twox128 of `:EpochDuration:`.
const EPOCH_DURATION: &str = "0x695ec709ce0439fb6d6db345d9653648";
/// `Session::CurrentIndex`.
const SESSION: &str = "0xcec5070d609dd3497f72bde07fc96ba072763800a36a99fdfc7c10f6415f6ee6";
/// `Grandpa::CurrentSetId`.
const SET_ID: &str = "0x5f9cc45b7a00c5899361e1c6099678dc8a2d09463effcc78a22d75b9cb87dffc";

fn number(stored: Option<String>) -> Result<u64> {
    let Some(stored) = stored else { return Ok(0) };
    let bytes = hex::decode(stored.trim_start_matches("0x"))?;
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|bytes| anyhow::anyhow!("no u64: {bytes:?}"))?))
}

/// The development chain with epochs of four slots.
fn specification() -> Result<Value> {
    let output = Command::new(binary("phala-node")).args(["export-chain-spec", "--chain", "dev", "--raw"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut specification: Value = serde_json::from_slice(&output.stdout)?;
    specification["genesis"]["raw"]["top"][EPOCH_DURATION] = json!(format!("0x{}", hex::encode(4u64.to_le_bytes())));
    Ok(specification)
}

#[test]
fn an_enclave_enters_a_chain_whose_authorities_changed_many_times() -> Result<()> {
    let changes = env::var("PHALA_SET_CHANGES").ok().map_or(Ok(CHANGES), |changes| changes.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chain.json");
    fs::write(&path, serde_json::to_vec(&specification()?)?)?;
    let network = Network::start_with(&["--workers", "1", "--chain", path.to_str().context("a path in UTF-8")?])?;

    let runtime = tokio::runtime::Runtime::new()?;
    let (head, endpoint) = runtime.block_on(async {
        let chain = network.chain().await?;
        let authority = network.sudo();
        let mut blocks = chain.best_blocks().await?;
        let (mut rotated, mut done) = (None, 0);
        while done < changes {
            let block = blocks.next().await;
            done = number(chain.rpc("state_getStorage", vec![json!(SET_ID)]).await?)?;
            // New keys in each session, in force from the next but one.
            let session: Option<String> = chain.rpc("state_getStorage", vec![json!(SESSION)]).await?;
            if rotated != session {
                rotated = session;
                let owner = json!(format!("0x{}", hex::encode(authority.account().0)));
                let new: Value = chain.rpc("author_rotateKeysWithOwner", vec![owner]).await?;
                let bytes = |name: &str| -> Result<Vec<u8>> {
                    let text = new[name].as_str().with_context(|| format!("no {name} in {new}"))?;
                    Ok(hex::decode(text.trim_start_matches("0x"))?)
                };
                chain.submit(&authority, call::set_session_keys(bytes("keys")?, bytes("proof")?)).await?;
            }
            ensure!(block.number < 200 + 20 * changes as u32, "only {done} changes in {} blocks", block.number);
        }
        let head = chain.finalized().await?;
        let (_, worker) = head.workers().await?.into_iter().next().context("a worker is registered")?;
        anyhow::Ok((head.block().number, String::from_utf8(worker.endpoint)?))
    })?;

    // The host's own figure, which it asks the enclave for every other second.
    let verified = || -> Result<Option<u32>> {
        let metrics = runtime.block_on(async { reqwest::get(format!("{endpoint}/metrics")).await?.text().await })?;
        let value = metrics.lines().find_map(|line| line.strip_prefix("phala_host_enclave_finalized_block "));
        Ok(value.and_then(|value| value.parse().ok()))
    };
    let start = Instant::now();
    network.restart("enclave-1", "-KILL")?;
    // More than the enclave can have said before.
    let at = wait_until("the enclave follows the chain again", 120, || Ok(verified()?.filter(|at| *at > head + 1)))
        .with_context(|| network.logs())?;
    println!("over {changes} changes of authorities to block {at} in {:.1} s", start.elapsed().as_secs_f64());

    network.job("echo", &[])?.ok()?;
    Ok(())
}
