//! `phala dev`: a whole network on this machine, each part in its own process, as it would be on machines of its own.
//!
//! - [`state`]: what is written down about a network, in its folder.
//! - [`process`]: starting, recognizing and stopping processes.
//! - [`up`]: bringing a network up, step by step, each waiting for a condition rather than a time.

mod process;
pub(crate) mod state;
mod up;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use phala_sdk::{chain::Chain, host::Hosts};
use serde_json::json;
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Status,
    args::{Dev, DevDown, DevFolder, DevLogs},
    commands::worker,
    context::Context,
    output::{Output, bytes, table},
};
use state::Network;

pub(crate) async fn run(command: Dev, context: &Context, output: &Output) -> Status {
    match command {
        Dev::Up(options) => Box::pin(up::up(options, context, output)).await,
        Dev::Status(options) => status(&folder(&options, context), output).await,
        Dev::Logs(options) => logs(&options, context, output).await,
        Dev::Down(options) => down(&options, context, output).await,
    }
}

fn folder(options: &DevFolder, context: &Context) -> PathBuf {
    options.dir.clone().unwrap_or_else(|| context.dev_folder())
}

/// Says what runs, and how it is. The exit status is 0 only if everything does.
pub(crate) async fn status(folder: &Path, output: &Output) -> Status {
    let Some(network) = Network::load(folder)? else {
        output.result(&json!({ "running": false, "folder": folder }), || {
            format!("No network in {}; start one with `phala dev up`.", folder.display())
        })?;
        return Ok(1);
    };
    // A node that hangs must not make this hang.
    let asking = async {
        let chain = Chain::connect(&network.node).await.ok()?;
        let (best, finalized) = (chain.best().await.ok()?, chain.finalized().await.ok()?);
        let workers = best.workers().await.ok()?;
        Some((best.block().number, finalized.block().number, workers))
    };
    let hosts = Hosts::default();
    let pauses = join_all(network.workers.iter().map(|worker| worker::ask(&hosts, &worker.endpoint)));
    let (seen, pauses) = tokio::join!(tokio::time::timeout(Duration::from_secs(10), asking), pauses);
    let seen = seen.ok().flatten();
    // A host that does not answer shows as a process that is dead, or in its log.
    let pauses: Vec<_> = pauses.into_iter().map(|said| said.ok()?.pause).collect();
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut all_run = true;
    for process in &network.processes {
        let memory = process.memory();
        let alive = process.is_alive();
        all_run &= alive;
        let number = network.workers.iter().position(|worker| worker.host == process.name);
        let worker = number.and_then(|number| network.workers.get(number));
        let pause = number.and_then(|number| pauses.get(number)?.as_deref());
        let on_chain = worker.and_then(|worker| {
            let (_, _, workers) = seen.as_ref()?;
            workers.iter().find(|(_, known)| String::from_utf8_lossy(&known.endpoint) == worker.endpoint)
        });
        let mut detail = match (process.name.as_str(), worker, on_chain) {
            (_, Some(worker), Some((id, known))) => {
                format!("{} · {:?} · {id}", worker.endpoint, known.status)
            }
            (_, Some(worker), None) => format!("{} · not registered", worker.endpoint),
            (name, ..) if name == network.first_node() => network.node.clone(),
            _ => String::new(),
        };
        if let Some(pause) = pause {
            detail.push_str(&format!(" · takes NO work: {pause}"));
        }
        values.push(json!({
            "name": process.name,
            "pid": process.pid,
            "running": alive,
            "memory_bytes": memory,
            "log": process.log,
            "endpoint": worker.map(|worker| &worker.endpoint),
            "worker": on_chain.map(|(id, _)| id),
            "worker_status": on_chain.map(|(_, known)| known.status),
            "pause": pause,
        }));
        rows.push(vec![
            process.name.clone(),
            if alive { "runs".into() } else { "DEAD".into() },
            process.pid.to_string(),
            memory.map_or_else(String::new, bytes),
            detail,
        ]);
    }
    let blocks = seen.as_ref().map(|(best, finalized, _)| (*best, *finalized));
    let value = json!({
        "running": all_run,
        "folder": folder,
        "node": network.node,
        "genesis_hash": network.genesis_hash,
        "measurement": network.measurement,
        "best_block": blocks.map(|(best, _)| best),
        "finalized_block": blocks.map(|(_, finalized)| finalized),
        "processes": values,
    });
    output.result(&value, || {
        let chain = match blocks {
            Some((best, finalized)) => format!("block {best}, finalized {finalized}"),
            None => "the node does not answer".into(),
        };
        format!(
            "{}\n\nNode {} · {chain}\nFolder {} · simulated TEE: nothing here is hidden from this machine",
            table(&["process", "state", "pid", "memory", "detail"], rows),
            network.node,
            folder.display()
        )
    })?;
    Ok(u8::from(!all_run))
}

async fn down(options: &DevDown, context: &Context, output: &Output) -> Status {
    let folder = folder(&options.folder, context);
    let network = Network::load(&folder)?;
    let mut stopped = 0;
    if let Some(network) = &network {
        let _lock = state::lock(&folder)?;
        stopped = stop(network, output).await?;
        up::remove_sockets(&folder);
        network.forget(&folder)?;
    }
    let purged = options.purge && folder.exists();
    if purged {
        if !state::is_network(&folder) {
            bail!("{} is not the folder of a network; it was left as it is", folder.display());
        }
        let _lock = state::lock(&folder)?;
        up::remove_sockets(&folder);
        if !state::purge(&folder)? {
            output.warn(&format!("{} stays: something that is not the network's is in it", folder.display()));
        }
    }
    output.clear();
    let value = json!({ "stopped": stopped, "purged": purged, "folder": folder });
    output.result(&value, || match (&network, purged) {
        (None, false) => format!("No network runs in {}.", folder.display()),
        (None, true) => format!("Removed the network in {}.", folder.display()),
        (Some(_), true) => format!("Stopped {stopped} processes and removed the network in {}.", folder.display()),
        (Some(_), false) => format!("Stopped {stopped} processes; `phala dev up` goes on with the same chain."),
    })?;
    Ok(0)
}

/// Stops a network: hosts first, so that they can say goodbye, nodes last. Returns how many processes were running.
pub(crate) async fn stop(network: &Network, output: &Output) -> anyhow::Result<usize> {
    let mut stopped = 0;
    for group in [state::Role::Host, state::Role::Enclave, state::Role::Node] {
        let running: Vec<_> =
            network.processes.iter().filter(|process| process.role == group && process.is_alive()).collect();
        stopped += running.len();
        for process in &running {
            output.progress(&format!("Stopping {} …", process.name));
            process.terminate();
        }
        for process in running {
            if !process.wait_gone(Duration::from_secs(10)).await {
                output.warn(&format!("{} did not stop when asked; killing it", process.name));
                process.kill();
                if !process.wait_gone(Duration::from_secs(5)).await {
                    bail!("{} (process {}) does not end", process.name, process.pid);
                }
            }
        }
    }
    Ok(stopped)
}

async fn logs(options: &DevLogs, context: &Context, output: &Output) -> Status {
    let folder = folder(&options.folder, context);
    let logs = folder.join(state::LOGS);
    let mut names: Vec<String> = fs::read_dir(&logs)
        .with_context(|| format!("no network was ever started in {}", folder.display()))?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    if let Some(name) = &options.name {
        if !names.contains(name) {
            bail!("there is no log of `{name}`; there are {}", names.join(", "));
        }
        names.retain(|known| known == name);
    }
    let many = names.len() > 1;
    let mut tails = Vec::new();
    for name in names {
        let path = logs.join(format!("{name}.log"));
        print_lines(&process::tail(&path, options.lines), &name, many, output)?;
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        tails.push((path, name, length));
    }
    if !options.follow {
        return Ok(0);
    }
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (path, name, position) in &mut tails {
            let Ok(mut file) = fs::File::open(&*path) else { continue };
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if length < *position {
                *position = 0;
            }
            if length > *position && file.seek(SeekFrom::Start(*position)).is_ok() {
                let mut fresh = Vec::new();
                if file.read_to_end(&mut fresh).is_ok() {
                    // An unfinished line waits for its end.
                    let whole = fresh.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    *position += whole as u64;
                    print_lines(&String::from_utf8_lossy(&fresh[..whole]), name, many, output)?;
                }
            }
        }
    }
}

/// Prints lines of a process's log: as they are, behind its name if there are `many`, or each as JSON.
fn print_lines(text: &str, process: &str, many: bool, output: &Output) -> anyhow::Result<()> {
    let lines = text.lines().map(|line| match (output.is_json(), many) {
        (true, _) => format!("{}\n", json!({ "process": process, "line": line })),
        (false, true) => format!("{process:<10} | {line}\n"),
        (false, false) => format!("{line}\n"),
    });
    Ok(output.stdout(lines.collect::<String>().as_bytes())?)
}
