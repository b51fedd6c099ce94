//! Standard wallets and libraries work with the node unmodified.

use anyhow::{Context, Result, ensure};
use phala_tests::Network;
use std::{path::Path, process::Command};

/// The Polkadot ecosystem's JavaScript library, from npm, reads our pallets and transfers PHA.
#[test]
fn a_javascript_client_reads_our_pallets_and_transfers_pha() -> Result<()> {
    let network = Network::start(1)?;
    // So that there is something to read.
    network.job("echo", &[])?.ok()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("js");
    let folder = network.path().join("js");
    std::fs::create_dir(&folder)?;
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        std::fs::copy(source.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    let install = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .output()
        .context("starting npm; scripts/setup.sh installs it")?;
    ensure!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    let client = Command::new("node").args(["client.mjs", network.node()]).current_dir(&folder).output()?;
    println!("{}", String::from_utf8_lossy(&client.stdout));
    ensure!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    Ok(())
}

/// Amounts move exactly, with a keystore file as wallets make them.
#[test]
fn transfers_move_exact_amounts() -> Result<()> {
    let network = Network::start(0)?;
    let free = |key: &str| -> Result<String> {
        let balance = network.phala(&["balance", key, "--json"])?.ok()?.json()?;
        Ok(balance["free"].as_str().with_context(|| format!("free in {balance}"))?.to_owned())
    };
    network.phala(&["transfer", "//Savings", "1.000000000001"])?.ok()?;
    ensure!(free("//Savings")? == "1.000000000001", "{}", free("//Savings")?);
    let error = network.phala(&["transfer", "//Bob", "5", "--key", "//Savings"])?;
    ensure!(error.status == Some(1), "more than there is was transferred: {}", error.stderr);
    ensure!(free("//Savings")? == "1.000000000001");
    Ok(())
}
