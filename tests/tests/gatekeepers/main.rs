//! Gatekeepers of a real network: elected, they make blocks, share the network's keys and make the random beacon, whoever asks them,
//! whatever a host of theirs does, and whoever comes and goes.

mod askers;
mod losses;
mod seats;

use anyhow::{Context, Result, anyhow, ensure};
use phala_tests::{
    Network, guest,
    relay::{Deed, Relay, What},
    wait_until,
};
use serde_json::Value;
use std::{
    fs,
    process::Stdio,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};
use tokio::runtime::Runtime;

use askers::Askers;
use seats::{a_fifth_takes_the_place_of_one_that_leaves, allow_another_build};

/// Four nodes, each with a gatekeeper, and sessions of a minute: an era has two, which is enough for a ceremony.
fn start(workers: u8) -> Result<Network> {
    start_with(&["--workers", &workers.to_string()])
}

fn start_with(options: &[&str]) -> Result<Network> {
    Network::start_with(&[options, &["--gatekeepers", "4"]].concat())
}

fn keys(network: &Network) -> Result<Value> {
    network.phala(&["network", "keys", "--json"])?.ok()?.json()
}

fn key<'a>(keys: &'a Value, name: &str) -> Option<&'a Value> {
    keys["keys"].as_array()?.iter().find(|key| key["key"] == name)
}

/// Waits for something in what `phala network keys` says. There is a new block every other second, and the machine has other things to do.
fn wait_for_keys<T>(network: &Network, what: &str, seconds: u64, condition: impl Fn(&Value) -> Option<T>) -> Result<T> {
    wait_until(what, seconds, || {
        let found = condition(&keys(network)?);
        if found.is_none() {
            thread::sleep(Duration::from_secs(1));
        }
        Ok(found)
    })
}

/// Everybody's evidence verifies, and the enclave answers.
fn everybody_verifies(network: &Network) -> Result<()> {
    let list = network.phala(&["gatekeeper", "list", "--json"])?.ok()?.json()?;
    for seat in list.as_array().context("a list")? {
        let id = seat["gatekeeper"].as_str().context("an id")?;
        let report = network.phala(&["verify", "gatekeeper", id, "--json"])?.ok()?.json()?;
        for field in ["gatekeeper", "seat", "operator", "endpoint", "measurement", "vendor", "verdict_expires"] {
            ensure!(report[field] == seat[field] && !seat[field].is_null(), "{field}: {report} {seat}");
        }
        let checks = report["checks"].as_array().context("checks")?;
        for claim in ["live", "image-allowed", "evidence-hash"] {
            let checked = |check: &Value| check["claim"] == claim && check["status"] == "checked";
            ensure!(checks.iter().any(checked), "{claim}: {report}");
        }
        ensure!(report["simulated"] == true, "{report}");
        let shown = network.phala(&["verify", "gatekeeper", &id[..14]])?.ok()?.stdout();
        ensure!(shown.contains(id) && shown.contains("SIMULATED"), "{shown}");
        // The same enclave is no worker.
        network.phala(&["verify", "worker", id])?.exited(1)?;
    }
    Ok(())
}

/// Waits for three more rounds of the beacon.
fn wait_for_rounds(network: &Network, what: &str) -> Result<()> {
    let round = keys(network)?["beacon"]["round"].as_u64().context("a round")?;
    wait_for_keys(network, what, 90, |keys| {
        let beacon = &keys["beacon"];
        (beacon["round"].as_u64()? >= round + 9 && beacon["stalled"] == false).then_some(())
    })
}

/// The processes of the two workers.
const WORKERS: [&str; 4] = ["host-1", "enclave-1", "host-2", "enclave-2"];

fn nobody_works(network: &Network) -> Result<()> {
    wait_until("nobody works", 120, || {
        let workers = network.phala(&["worker", "list", "--json"])?.ok()?.json()?;
        let is_active = |worker: &Value| worker["status"] == "active";
        Ok((!workers.as_array().context("a list")?.iter().any(is_active)).then_some(()))
    })
}

/// A file is encrypted to an app, and a job of it submitted, while there is no worker; then there are some.
fn an_app_is_encrypted_to_before_it_has_a_worker(network: &Network, relay: &Relay) -> Result<()> {
    nobody_works(network)?;
    let program = guest("cat");
    let program = program.to_str().context("a path in UTF-8")?;
    let published = network.phala(&["app", "publish", program, "--json"])?.ok()?.json()?;
    let app = published["app"].as_str().context("the app's id")?.to_owned();
    // By somebody who has the network's public keys, and no chain.
    let keys = wait_for_keys(network, "a finalized key for inputs", 60, |keys| {
        keys["input_key"].is_object().then(|| keys.clone())
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
    a_workers_host_that_tampers_delays_its_job_and_no_more(network, relay)?;
    let output = job.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(printed == "what the data's owner sends", "{printed}");
    let report: Value = serde_json::from_str(&said[said.find("{\n").context("a report")?..])?;
    ensure!(report["attempt"] == 1, "{report}");
    Ok(())
}

/// The first worker comes back, has the job and asks for the app's key. Of its first request all parts are changed on their way, of the
/// second two questions, and from then on one part of four. So it refuses the job, which it is given again, until three are honest.
fn a_workers_host_that_tampers_delays_its_job_and_no_more(network: &Network, relay: &Relay) -> Result<()> {
    relay.tamper(|what, number| match what {
        What::KeyPart if number < 4 || number % 4 == 0 => Deed::Flip,
        What::KeyRequest if (4..6).contains(&number) => Deed::Flip,
        _ => Deed::Pass,
    });
    let [first, second] = [&WORKERS[..2], &WORKERS[2..]];
    first.iter().try_for_each(|process| network.relaunch(process))?;
    wait_until("enough honest parts", 180, || {
        let is_enough = relay.done(What::KeyRequest, Deed::Flip) == 2 && relay.done(What::KeyPart, Deed::Pass) >= 3;
        Ok(is_enough.then_some(()))
    })?;
    ensure!(relay.done(What::KeyPart, Deed::Flip) >= 4, "the parts of a whole request were not changed");
    second.iter().try_for_each(|process| network.relaunch(process))
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

/// What becomes, in turn, of each kind of what the fourth gatekeeper's enclave says to others and they to it.
const DEEDS: [Deed; 5] = [Deed::Drop, Deed::Flip, Deed::Delay, Deed::Replay, Deed::Pass];

/// The next era: the shares of the root key are dealt anew, and another epoch has another key. Meanwhile the fourth gatekeeper's host
/// changes, replays, delays and drops posts and parts of rounds, and says of what it stores that it does not.
fn an_era_passes_under_a_host_that_tampers(network: &Network, relay: &Relay, first: &Value) -> Result<()> {
    let before = keys(network)?;
    let ceremonies = ["keys", "ceremonies"].into_iter().filter_map(|list| before[list].as_array());
    let newest = ceremonies.flatten().filter_map(|key| key["ceremony"].as_u64()).max();
    let (round, connections) = (before["beacon"]["round"].as_u64().context("a round")?, relay.connections());
    relay.tamper(|what, number| match (what, DEEDS[number % DEEDS.len()]) {
        // Requests for keys have tests of their own. And an enclave that never hears that something is stored waits for that.
        (What::KeyRequest | What::KeyPart, _) | (What::Stored, Deed::Drop) => Deed::Pass,
        (_, deed) => deed,
    });
    let ceremonial = [What::Enrolment, What::Dealing, What::Answers, What::Log, What::Confirmation, What::Beacon];
    let once = ceremonial.into_iter().flat_map(|what| [(what, Deed::Drop), (what, Deed::Flip)]);
    let often = [What::OwnPart, What::OthersPart].into_iter().flat_map(|what| DEEDS.map(|deed| (what, deed)));
    let deeds: Vec<_> = once.chain(often).chain([(What::Stored, Deed::Flip)]).collect();
    let left = || deeds.iter().filter(|(what, deed)| relay.done(*what, *deed) == 0).collect::<Vec<_>>();
    // One era may not have them all: where the three others are faster, the fourth has nothing left to confirm.
    let (second, epoch) = wait_for_keys(network, "the next era's keys", 800, |keys| {
        let epoch = key(keys, &format!("epoch {}", keys["current_epoch"].as_u64()?))?;
        let is_new = |key: &Value| key["ceremony"].as_u64() > newest;
        (is_new(key(keys, "root")?) && is_new(epoch) && left().is_empty()).then(|| (keys.clone(), epoch.clone()))
    })
    .with_context(|| format!("what was not done: {:?}", left()))?;
    relay.be_honest();
    let public_key = |keys: &Value, name| key(keys, name).map(|key| key["public_key"].clone());
    ensure!(public_key(&second, "root") == public_key(first, "root"), "another root key: {second}");
    ensure!(public_key(first, "epoch 0").is_some_and(|first| first != epoch["public_key"]), "the same key: {second}");
    let beacon = &second["beacon"];
    ensure!(beacon["stalled"] == false && beacon["round"].as_u64() >= Some(round + 9), "{round}: {beacon}");
    // Neither side found a reason to hang up.
    ensure!(relay.connections() == connections, "the enclave has connected anew");
    for name in network.names().iter().filter(|name| name.starts_with("gatekeeper")) {
        ensure!(network.is_running(name)?, "{name} is gone");
    }
    Ok(())
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a part of the test panicked"))?
}

#[test]
fn gatekeepers_are_elected_and_share_the_networks_keys() -> Result<()> {
    let network = start(2)?;
    WORKERS.iter().try_for_each(|process| network.end(process, "-KILL").map(drop))?;
    let relays = [Relay::before(&network, "enclave-1")?, Relay::before(&network, "gatekeeper-4")?];
    let [of_worker, of_gatekeeper] = &relays;
    network.restart("gatekeeper-4", "-KILL")?;
    let runtime = Runtime::new()?;
    let chain = runtime.block_on(network.chain())?;
    let another_build = runtime.block_on(allow_another_build(&network, &chain))?;
    nobody_works(&network)?;
    let askers = runtime.block_on(Askers::new(&network, &chain))?;
    let first = wait_for_keys(&network, "the network's keys", 400, |keys| {
        (key(keys, "root").is_some() && key(keys, "epoch 0").is_some()).then(|| keys.clone())
    })?;
    let root = key(&first, "root").context("the root key")?;
    ensure!(root["threshold"] == 3 && root["gatekeepers"].as_array().map(Vec::len) == Some(4), "{first}");
    // Who is elected makes the blocks: the chain goes on under the gatekeepers' session keys.
    ensure!(first["set"].as_array().map(Vec::len) == Some(4), "{first}");
    wait_for_keys(&network, "the random beacon", 60, |keys| keys["beacon"]["round"].as_u64())?;

    everybody_verifies(&network)?;

    let granted = runtime.block_on(async {
        let granted = askers.who_has_the_job_gets_the_apps_key().await?;
        askers.who_has_not_the_job_gets_nothing().await?;
        let endpoint = network.option("gatekeeper-host-4", "--endpoint")?;
        askers.a_gatekeepers_host_cannot_change_requests_and_parts(of_gatekeeper, &endpoint).await?;
        askers.stand_back().await?;
        anyhow::Ok(granted)
    })?;
    wait_for_keys(&network, "digests of what was released on chain", 180, |keys| {
        let is_logged = |gatekeeper: &Value| gatekeeper["logged"].as_u64() > Some(0);
        keys["releases"].as_array().filter(|releases| releases.iter().all(is_logged)).map(drop)
    })?;
    // Beside one another: each of them waits most of its time.
    thread::scope(|scope| {
        let asking =
            scope.spawn(|| runtime.block_on(askers.nothing_is_given_once_verdict_or_assignment_is_over(&granted)));
        let working = scope.spawn(|| {
            an_app_is_encrypted_to_before_it_has_a_worker(&network, of_worker)?;
            of_worker.be_honest();
            a_job_goes_on_without_another_upload(&network)
        });
        an_era_passes_under_a_host_that_tampers(&network, of_gatekeeper, &first)?;
        joined(asking)?;
        let fifth = a_fifth_takes_the_place_of_one_that_leaves(&network, (&runtime, &chain), &another_build)?;
        joined(working)?;
        anyhow::Ok(fifth)
    })?;
    Ok(())
}
