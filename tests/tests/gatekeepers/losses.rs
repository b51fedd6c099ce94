//! Gatekeepers that are gone, with all that they are: node, host and enclave.

use anyhow::{Context, Result, bail, ensure};
use phala_tests::{Network, guest, wait_until};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Stdio};

use crate::{key, keys, start_with, wait_for_keys, wait_for_rounds};

/// Finality is said to stand when it is so many blocks behind.
const BEHIND: u64 = 16;

fn processes(number: u8) -> [String; 3] {
    [format!("node-{number}"), format!("gatekeeper-host-{number}"), format!("gatekeeper-{number}")]
}

fn end(network: &Network, number: u8) -> Result<()> {
    processes(number).iter().try_for_each(|name| network.end(name, "-KILL").map(drop))
}

fn relaunch(network: &Network, number: u8) -> Result<()> {
    processes(number).iter().try_for_each(|name| network.relaunch(name))
}

/// What a gatekeeper's enclave has sealed of its shares: where its host keeps it.
fn sealed_shares(network: &Network, number: u8) -> Result<PathBuf> {
    let folder = PathBuf::from(network.option(&format!("gatekeeper-host-{number}"), "--data")?).join("sealed");
    let mut found = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gatekeeper-")));
    ensure!(found.len() == 1, "{found:?}");
    found.pop().context("what is sealed")
}

fn gatekeeper(network: &Network, number: u8) -> Result<String> {
    let operator = format!("//Gatekeeper{number}");
    let status = network.phala(&["gatekeeper", "status", "--key", &operator, "--json"])?.ok()?.json()?;
    Ok(status["gatekeeper"].as_str().context("an id")?.to_owned())
}

fn number(keys: &Value, name: &str) -> Result<u64> {
    keys[name].as_u64().with_context(|| format!("no {name} in {keys}"))
}

fn ceremony(keys: &Value) -> Option<u64> {
    key(keys, "root")?["ceremony"].as_u64()
}

/// A file is encrypted to an app: the app's id, and the file.
fn encrypted_to_an_app(network: &Network, text: &str) -> Result<(String, String)> {
    let program = guest("cat");
    let program = program.to_str().context("a path in UTF-8")?;
    let published = network.phala(&["app", "publish", program, "--json"])?.ok()?.json()?;
    let app = published["app"].as_str().context("the app's id")?.to_owned();
    let data = network.file("plain", text)?;
    let encrypted = network.path().join("data.age").display().to_string();
    network.phala(&["encrypt", "--app", &app, &data, "-o", &encrypted])?.ok()?;
    Ok((app, encrypted))
}

/// The fourth gatekeeper's host has given its enclave what that had sealed an era ago. The old share is worth nothing: only with a new
/// one are the first two and the fourth enough.
fn a_share_of_an_era_ago_is_dealt_anew(network: &Network, fourth: &str, first: &Value) -> Result<()> {
    let before = ceremony(&keys(network)?);
    let after = wait_for_keys(network, "the fourth's new share", 400, |keys| {
        let has_share = key(keys, "root")?["gatekeepers"].as_array()?.contains(&Value::from(fourth));
        let is_over = keys["ceremonies"].as_array().is_some_and(Vec::is_empty);
        (has_share && is_over && ceremony(keys) >= before).then(|| keys.clone())
    })?;
    let public_key = |keys: &Value| key(keys, "root").map(|key| key["public_key"].clone());
    ensure!(public_key(&after) == public_key(first), "another root key: {after}");
    network.end("gatekeeper-3", "-KILL")?;
    wait_for_rounds(network, "rounds with the fourth's new share")
}

/// The exposure report of a worker's family has the job that it ran, and the epochs whose keys it could ask for meanwhile: among them
/// the one that was current before.
fn what_it_could_ask_for_is_reported(network: &Network, worker: &str, epoch: &Value) -> Result<()> {
    let family = network.phala(&["worker", "show", worker, "--json"])?.ok()?.json()?["family"].clone();
    let report = network.phala(&["class", "exposure", family.as_str().context("a family")?, "--json"])?.ok()?.json()?;
    let jobs = report["jobs"].as_array().context("jobs")?;
    let epochs = jobs.iter().filter(|job| job["worker"] == worker).map(|job| job["epochs"].as_array());
    let knows = |epochs: &Vec<Value>| epochs.contains(epoch);
    ensure!(epochs.clone().count() > 0 && epochs.flatten().all(knows), "no epoch {epoch} in {report}");
    Ok(())
}

/// The newest worker on the simulated TDX, once it answers.
fn worker_on_tdx(network: &Network, not: Option<&str>) -> Result<String> {
    wait_until("a worker on TDX", 120, || {
        let workers = network.phala(&["worker", "list", "--json"])?.ok()?.json()?;
        let is_it = |worker: &&Value| worker["vendor"] == "simulated:intel" && worker["status"] == "active";
        let found = workers.as_array().into_iter().flatten().find(|worker| is_it(worker));
        let id = found.and_then(|worker| worker["worker"].as_str()).filter(|id| Some(*id) != not);
        let Some(id) = id else { return Ok(None) };
        let verified = network.phala(&["verify", "worker", id])?;
        Ok(verified.ok().ok().map(|_| id.to_owned()))
    })
}

/// The first start was before the network had a root key; from the next one on the gatekeepers give the key to seal with.
fn a_worker_that_cannot_seal_is_the_same_after_a_restart(network: &Network) -> Result<()> {
    let first = worker_on_tdx(network, None)?;
    network.restart("enclave-2", "-KILL")?;
    let second = worker_on_tdx(network, Some(&first))?;
    for restarts in 2..=3 {
        network.restart("enclave-2", "-KILL")?;
        wait_until("the enclave has its key to seal with again", 120, || {
            let log = fs::read_to_string(network.folder().join("logs/host-2.log"))?;
            Ok((log.matches("got the key to seal with").count() >= restarts).then_some(()))
        })?;
        ensure!(worker_on_tdx(network, None)? == second, "another worker after restart {restarts}");
    }
    Ok(())
}

/// With one of four gone, everything goes on. With two, nothing does, and the CLI says so; when they come back nothing is lost, though
/// one of them has only what it had sealed an era ago: its share is dealt anew.
#[test]
fn one_of_four_gatekeepers_may_be_gone_and_two_lose_nothing() -> Result<()> {
    let network = start_with(&["--workers", "2", "--tee", "simulated,tdx"])?;
    let first = wait_for_keys(&network, "the network's keys", 400, |keys| {
        (key(keys, "root").is_some() && keys["input_key"].is_object()).then(|| keys.clone())
    })?;
    let (shares, fourth) = (sealed_shares(&network, 4)?, gatekeeper(&network, 4)?);
    let old = fs::read(&shares)?;
    wait_for_keys(&network, "the next era's shares", 400, |keys| (ceremony(keys) > ceremony(&first)).then_some(()))?;

    a_worker_that_cannot_seal_is_the_same_after_a_restart(&network)?;

    end(&network, 4)?;
    wait_for_rounds(&network, "rounds without one of four")?;
    let gone = network.phala(&["verify", "gatekeeper", &fourth])?.exited(1)?;
    ensure!(gone.stderr.contains("does NOT verify"), "{}", gone.stderr);
    let epoch = keys(&network)?["input_key"]["epoch"].clone();
    ensure!(epoch.is_number(), "no epoch: {epoch}");
    let stdin = network.file("stdin", "three are enough")?;
    let run = network.job("echo", &["--stdin", &stdin])?.ok()?;
    ensure!(run.stdout() == "three are enough" && run.report()?["attempt"] == 1, "{}", run.stderr);

    what_it_could_ask_for_is_reported(
        &network,
        run.report()?["worker"]["worker"].as_str().context("who ran it")?,
        &epoch,
    )?;

    let text = "encrypted before two were gone";
    let (app, encrypted) = encrypted_to_an_app(&network, text)?;
    end(&network, 3)?;
    let standing = wait_for_keys(&network, "finality and the beacon stand", 240, |keys| {
        let stands = number(keys, "block").ok()? > number(keys, "finalized_block").ok()? + BEHIND;
        (stands && keys["beacon"]["stalled"] == true).then(|| keys.clone())
    })?;
    let said = network.phala(&["network", "keys"])?.ok()?.stdout();
    let finalized = number(&standing, "finalized_block")?;
    for sentence in [&format!("Finality stands at block {finalized}"), "The random beacon has stalled"] {
        ensure!(said.contains(sentence), "no `{sentence}` in {said}");
    }
    // With a price: workers that have no newer finalized block to name count as silent soon, and then there is none to take one from.
    let file = format!("data={encrypted}");
    let mut job =
        network.command(&["job", "run", &app, "--json", "--max-price", "10", "--encrypted-file", &file, "--", "data"]);
    let mut job = job.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let block = number(&standing, "block")?;
    let later = wait_for_keys(&network, "two nodes make blocks", 120, |keys| {
        (number(keys, "block").ok()? >= block + 12).then(|| keys.clone())
    })?;
    ensure!(number(&later, "finalized_block")? == finalized, "two of four have finalized a block: {later}");
    ensure!(later["beacon"]["round"] == standing["beacon"]["round"], "two of four have made a round: {later}");
    if job.try_wait()?.is_some() {
        let ended = job.wait_with_output()?;
        bail!("a job has ended that nobody could draw a worker for: {}", String::from_utf8_lossy(&ended.stderr));
    }
    let jobs = network.phala(&["job", "list", "--json"])?.ok()?.json()?;
    ensure!(jobs[0]["status"] == "queued", "{jobs}");

    fs::write(&shares, old)?;
    relaunch(&network, 3)?;
    relaunch(&network, 4)?;
    wait_for_keys(&network, "finality and the beacon go on", 300, |keys| {
        let goes_on = number(keys, "finalized_block").ok()? > number(&later, "block").ok()?;
        (goes_on && keys["beacon"]["stalled"] == false).then_some(())
    })?;
    let output = job.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout == text.as_bytes(), "{}", String::from_utf8_lossy(&output.stdout));

    a_share_of_an_era_ago_is_dealt_anew(&network, &fourth, &first)
}
