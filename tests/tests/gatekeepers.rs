//! Gatekeepers of a real network: elected, they make blocks, share the network's keys and make the random beacon.

use anyhow::{Context, Result, ensure};
use phala_tests::{Network, free_port, guest, wait_until};
use serde_json::Value;
use std::{
    fs,
    process::{Child, Command, Stdio},
};

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

/// The processes of the two workers.
const WORKERS: [&str; 4] = ["host-1", "enclave-1", "host-2", "enclave-2"];

/// A file is encrypted to an app, and a job of it submitted, while there is no worker; then there are some.
fn an_app_is_encrypted_to_before_it_has_a_worker(network: &Network) -> Result<()> {
    wait_until("nobody works", 120, || {
        let workers = network.phala(&["worker", "list", "--json"])?.ok()?.json()?;
        let is_active = |worker: &Value| worker["status"] == "active";
        Ok((!workers.as_array().context("a list")?.iter().any(is_active)).then_some(()))
    })?;
    let program = guest("cat");
    let program = program.to_str().context("a path in UTF-8")?;
    let published = network.phala(&["app", "publish", program, "--json"])?.ok()?.json()?;
    let app = published["app"].as_str().context("the app's id")?.to_owned();
    // By somebody who has the network's public keys, and no chain.
    let keys = wait_until("a finalized key for inputs", 60, || {
        let keys = keys(network)?;
        Ok(keys["input_key"].is_object().then_some(keys))
    })?;
    let keys = network.file("keys.json", keys.to_string())?;
    let data = network.file("plain", "what the data's owner sends")?;
    let encrypted = network.path().join("data.age").display().to_string();
    let encrypt =
        ["--node", "ws://127.0.0.1:1", "encrypt", "--app", &app, "--network-keys", &keys, &data, "-o", &encrypted];
    network.phala(&encrypt)?.ok()?;
    ensure!(!fs::read(&encrypted)?.windows(6).any(|bytes| bytes == b"what t"), "it is not encrypted");

    let file = format!("data={encrypted}");
    let mut job =
        network.command(&["job", "run", &app, "--json", "--max-price", "10", "--encrypted-file", &file, "--", "data"]);
    let job = job.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    WORKERS.iter().try_for_each(|process| network.relaunch(process))?;
    let output = job.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(printed.contains("what the data's owner sends"), "{printed}");
    Ok(())
}

/// The worker's enclave is gone, and nobody but the hosts is there to bring the job to the next.
fn a_job_goes_on_without_another_upload(network: &Network) -> Result<()> {
    let job = network.submit("compute", &["--wall-time", "120", "--fuel", "10T", "--", "3000"])?;
    let first = network.assigned(job)?;
    network.end(&format!("enclave-{first}"), "-KILL")?;
    let status = network.settled(job)?;
    ensure!(status["attempts"] == 2, "{status}");
    let report = network.phala(&["job", "result", &job.to_string(), "--json"])?.ok()?.report()?;
    ensure!(report["attempt"] == 2, "{report}");
    network.relaunch(&format!("enclave-{first}"))
}

/// A process of a gatekeeper that `phala dev` did not start; ends when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process as another of the network's, but with other values of some options; `None` leaves an option out.
fn start_like(network: &Network, model: &str, name: &str, options: &[(&str, Option<&str>)]) -> Result<Started> {
    let mut words = network.command_line(model)?.into_iter();
    let program = words.next().context("a process has a program")?;
    let mut arguments: Vec<String> = words.collect();
    for (option, value) in options {
        let at = arguments.iter().position(|word| word == option);
        let at = at.with_context(|| format!("{model} has no {option}"))?;
        match value {
            Some(value) => arguments[at + 1] = (*value).to_owned(),
            None => drop(arguments.remove(at)),
        }
    }
    let log = fs::File::create(network.folder().join("logs").join(name).with_extension("log"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Started(command.spawn()?))
}

/// A gatekeeper that comes later is elected when another one leaves: it gets a share, the other's is worth nothing, and the keys stay.
fn a_fifth_takes_the_place_of_one_that_leaves(network: &Network, root: &Value) -> Result<Vec<Started>> {
    let folder = network.path().join("fifth");
    fs::create_dir_all(folder.join("node"))?;
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("network-key"), [0x55; 32])?;
    let (rpc, p2p, http) = (free_port()?, free_port()?, free_port()?);
    let (node, endpoint) = (format!("ws://127.0.0.1:{rpc}"), format!("http://127.0.0.1:{http}"));
    network.phala(&["transfer", "//Gatekeeper5", "10100"])?.ok()?;
    let started = vec![
        start_like(
            network,
            "node-4",
            "node-5",
            &[
                ("--dave", None),
                ("--base-path", Some(&path("node"))),
                ("--node-key-file", Some(&path("network-key"))),
                ("--rpc-port", Some(&rpc.to_string())),
                ("--listen-addr", Some(&format!("/ip4/127.0.0.1/tcp/{p2p}"))),
            ],
        )?,
        start_like(
            network,
            "gatekeeper-host-4",
            "gatekeeper-host-5",
            &[
                ("--node", Some(&node)),
                ("--socket", Some(&path("socket/enclave.sock"))),
                ("--data", Some(&path("host"))),
                ("--listen", Some(&format!("127.0.0.1:{http}"))),
                ("--endpoint", Some(&endpoint)),
                ("--operator-key", Some("//Gatekeeper5")),
            ],
        )?,
        start_like(
            network,
            "gatekeeper-4",
            "gatekeeper-5",
            &[("--socket", Some(&path("socket/enclave.sock"))), ("--platform", Some(&path("platform.seed")))],
        )?,
    ];
    let status = |key| network.phala(&["gatekeeper", "status", "--key", key, "--json"]);
    let fifth = wait_until("the fifth gatekeeper", 180, || {
        let run = status("//Gatekeeper5")?;
        (run.status == Some(0)).then(|| run.json()).transpose()
    })?;
    let first = status("//Gatekeeper1")?.ok()?.json()?;
    network.phala(&["gatekeeper", "leave", "--key", "//Gatekeeper1"])?.ok()?;
    let after = wait_until("the fifth gatekeeper's share", 500, || {
        let keys = keys(network)?;
        let root = key(&keys, "root").context("the root key")?.clone();
        let players = root["gatekeepers"].as_array().context("a list")?;
        let has = |seat: &Value| players.contains(&seat["gatekeeper"]);
        Ok((has(&fifth) && !has(&first)).then_some(root))
    })?;
    ensure!(after["public_key"] == root["public_key"], "another root key: {after}");
    let round = keys(network)?["beacon"]["round"].as_u64().context("a round")?;
    wait_until("rounds of the new set", 90, || {
        Ok(keys(network)?["beacon"]["round"].as_u64().filter(|newest| *newest >= round + 9))
    })?;
    Ok(started)
}

#[test]
fn gatekeepers_are_elected_and_share_the_networks_keys() -> Result<()> {
    let network = start(2)?;
    WORKERS.iter().try_for_each(|process| network.end(process, "-KILL").map(drop))?;
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

    an_app_is_encrypted_to_before_it_has_a_worker(&network)?;
    a_job_goes_on_without_another_upload(&network)?;

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

    let _fifth = a_fifth_takes_the_place_of_one_that_leaves(&network, &root)?;

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
