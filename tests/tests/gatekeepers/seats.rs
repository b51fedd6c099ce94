//! Seats whose enclaves change: one that is given up for another's, and one that gets an enclave of another image.

use anyhow::{Context, Result, ensure};
use phala_attestation::{Measurement, Role};
use phala_sdk::chain::{Chain, call};
use phala_tests::{Network, binary, free_port, wait_until};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tokio::runtime::Runtime;

use crate::{key, wait_for_keys, wait_for_rounds};

/// A process of a gatekeeper that `phala dev` did not start; ends when dropped.
pub struct Started(Child);

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

/// A fifth gatekeeper: its node, its host and its enclave, of a vendor that none of the others has.
fn start_fifth(network: &Network) -> Result<[Started; 3]> {
    let folder = network.path().join("fifth");
    fs::create_dir_all(folder.join("node"))?;
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("network-key"), [0x55; 32])?;
    let (rpc, p2p, http) = (free_port()?, free_port()?, free_port()?);
    let (node, endpoint) = (format!("ws://127.0.0.1:{rpc}"), format!("http://127.0.0.1:{http}"));
    network.phala(&["transfer", "//Gatekeeper5", "11100"])?.ok()?;
    Ok([
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
            &[
                ("--socket", Some(&path("socket/enclave.sock"))),
                ("--platform", Some(&path("platform.seed"))),
                ("--vendor", Some("vendor-5")),
            ],
        )?,
    ])
}

/// The gatekeeper of an operator's seat, if it has one.
fn seated(network: &Network, operator: &str) -> Result<Option<Value>> {
    let run = network.phala(&["gatekeeper", "status", "--key", operator, "--json"])?;
    if run.status == Some(0) { Ok(Some(run.json()?["gatekeeper"].clone())) } else { Ok(None) }
}

/// Another build of a gatekeeper's enclave, which governance allows.
pub async fn allow_another_build(network: &Network, chain: &Chain) -> Result<PathBuf> {
    let folder = network.path().join("another-build");
    fs::create_dir(&folder)?;
    let program = folder.join("phala-gatekeeper-enclave");
    let mut code = fs::read(binary("phala-gatekeeper-enclave"))?;
    code.push(0);
    let measurement = Measurement(Sha256::digest(&code).into());
    fs::write(&program, code)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let allow = call::sudo(call::allow_image(measurement, Role::Gatekeeper, 2));
    Box::pin(chain.submit(&network.sudo(), allow)).await?;
    Ok(program)
}

/// The second gatekeeper's enclave is ended, and `program` started on its platform, at its socket: it opens nothing that the former
/// sealed. Without that it has new keys, and its host has the chain give it the seat. Returns the former gatekeeper and the new one.
fn a_seat_gets_an_enclave_of_another_image(network: &Network, program: &Path) -> Result<(Value, Value)> {
    let former = seated(network, "//Gatekeeper2")?.context("a seat")?;
    network.end("gatekeeper-2", "-KILL")?;
    let mut command = Command::new(program);
    command.args(&network.command_line("gatekeeper-2")?[1..]);
    network.launch("gatekeeper-2", command)?;
    let log = network.folder().join("logs/gatekeeper-host-2.log");
    wait_until("another image does not open what the former sealed", 60, || {
        Ok(fs::read_to_string(&log)?.contains("the enclave's keys do not unseal").then_some(()))
    })?;
    ensure!(seated(network, "//Gatekeeper2")?.as_ref() == Some(&former), "it has the seat without its own keys");
    let data = PathBuf::from(network.option("gatekeeper-host-2", "--data")?);
    for sealed in fs::read_dir(data.join("sealed"))? {
        fs::remove_file(sealed?.path())?;
    }
    let new = wait_until("the seat has another enclave", 120, || {
        Ok(seated(network, "//Gatekeeper2")?.filter(|gatekeeper| *gatekeeper != former))
    })?;
    Ok((former, new))
}

/// A gatekeeper that comes later is elected when another one leaves: it gets a share, the other's is worth nothing, and the keys stay.
/// In the same era a seat gets an enclave of another image, so that three of the four are left who can deal: as many as are needed.
pub fn a_fifth_takes_the_place_of_one_that_leaves(
    network: &Network,
    (runtime, chain): (&Runtime, &Chain),
    another_build: &Path,
) -> Result<[Started; 3]> {
    let root = wait_for_keys(network, "four with shares, and no ceremony", 400, |keys| {
        let root = key(keys, "root").filter(|root| root["gatekeepers"].as_array().map(Vec::len) == Some(4));
        root.filter(|_| keys["ceremonies"].as_array().is_some_and(Vec::is_empty)).cloned()
    })?;
    let started = start_fifth(network)?;
    let (former, new) = a_seat_gets_an_enclave_of_another_image(network, another_build)?;
    // Of whom each is needed: also the one whose host has tampered.
    wait_for_rounds(network, "rounds of the other three")?;
    let fifth = wait_until("the fifth gatekeeper", 180, || seated(network, "//Gatekeeper5"))?;
    let first = seated(network, "//Gatekeeper1")?.context("a seat")?;
    network.phala(&["gatekeeper", "leave", "--key", "//Gatekeeper1"])?.ok()?;
    // Rather than wait for the end of the era.
    runtime.block_on(chain.submit(&network.sudo(), call::sudo(call::force_era())))?;
    let after = wait_for_keys(network, "shares of who is new", 500, |keys| {
        let root = key(keys, "root")?;
        let players = root["gatekeepers"].as_array()?;
        let is_new_set = [&fifth, &new].iter().all(|gatekeeper| players.contains(gatekeeper))
            && [&first, &former].iter().all(|gatekeeper| !players.contains(gatekeeper));
        is_new_set.then(|| root.clone())
    })?;
    ensure!(after["public_key"] == root["public_key"], "another root key: {after}");
    wait_for_rounds(network, "rounds of the new set")?;
    Ok(started)
}
