//! Gatekeepers of a real network: elected, they make blocks, share the network's keys and make the random beacon.

use anyhow::{Context, Result, ensure};
use phala_tests::{Network, wait_until};
use serde_json::Value;

/// Four nodes, each with a gatekeeper, and sessions of a minute: an era has two, which is enough for a ceremony.
fn start(workers: u8) -> Result<Network> {
    Network::start_with(&["--workers", &workers.to_string(), "--gatekeepers", "4"])
}

fn keys(network: &Network) -> Result<Value> {
    network.phala(&["network", "keys", "--json"])?.ok()?.json()
}

fn key<'a>(keys: &'a Value, name: &str) -> Option<&'a Value> {
    keys["keys"].as_array()?.iter().find(|key| key["key"] == name)
}

#[test]
fn gatekeepers_are_elected_and_share_the_networks_keys() -> Result<()> {
    let network = start(0)?;
    let first = wait_until("the network's keys", 400, || {
        let keys = keys(&network)?;
        Ok((key(&keys, "root").is_some() && key(&keys, "epoch 0").is_some()).then_some(keys))
    })?;
    let root = key(&first, "root").context("the root key")?.clone();
    ensure!(root["threshold"] == 3 && root["gatekeepers"].as_array().map(Vec::len) == Some(4), "{first}");
    // Who is elected makes the blocks: the chain goes on under the gatekeepers' session keys.
    ensure!(first["set"].as_array().map(Vec::len) == Some(4), "{first}");

    let round = wait_until("the random beacon", 60, || Ok(keys(&network)?["beacon"]["round"].as_u64()))?;
    wait_until("later rounds", 60, || {
        let beacon = keys(&network)?["beacon"].clone();
        Ok(beacon["round"].as_u64().filter(|newest| *newest >= round + 9 && beacon["stalled"] == false))
    })?;

    // The next era: the shares of the root key are dealt anew, and another epoch has another key.
    let second = wait_until("the next era's keys", 400, || {
        let keys = keys(&network)?;
        let is_new = |root: &Value| root["ceremony"].as_u64() > first["keys"][0]["ceremony"].as_u64();
        let done = key(&keys, "root").is_some_and(is_new) && key(&keys, "epoch 1").is_some();
        Ok(done.then_some(keys))
    })?;
    let new_root = key(&second, "root").context("the root key")?;
    ensure!(new_root["public_key"] == root["public_key"], "another root key: {second}");
    ensure!(
        key(&second, "epoch 1").map(|key| &key["public_key"]) != key(&second, "epoch 0").map(|key| &key["public_key"])
    );

    // One of four is gone: the beacon goes on. It comes back with what it sealed.
    network.end("gatekeeper-4", "-KILL")?;
    let round = keys(&network)?["beacon"]["round"].as_u64().context("a round")?;
    wait_until("rounds without one of four", 60, || {
        Ok(keys(&network)?["beacon"]["round"].as_u64().filter(|newest| *newest >= round + 9))
    })?;
    // Two are gone: it stops, and says so.
    network.end("gatekeeper-3", "-KILL")?;
    wait_until("the beacon's standstill", 150, || Ok((keys(&network)?["beacon"]["stalled"] == true).then_some(())))?;
    network.relaunch("gatekeeper-3")?;
    network.relaunch("gatekeeper-4")?;
    wait_until("the beacon after they came back", 150, || {
        Ok((keys(&network)?["beacon"]["stalled"] == false).then_some(()))
    })
}
