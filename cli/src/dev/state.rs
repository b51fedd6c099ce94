//! What is written down about a network: its folder holds `network.json` while it runs, the processes' logs in `logs/`,
//! nodes in `node-N/`, gatekeepers in `gatekeeper-N/`, workers in `worker-N/`. Nothing but these is ever removed, and only from a folder that was empty
//! when it became a network's.

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use super::process::Process;

/// The file that says that a folder is a network's.
const MARKER: &str = ".phala-network";

const FILE: &str = "network.json";

/// The folder of the logs.
pub(crate) const LOGS: &str = "logs";

/// The file with the measurement of the enclave that was started last.
pub(crate) const MEASUREMENT: &str = "measurement";

/// The specification of a chain with gatekeepers.
pub(crate) const CHAIN: &str = "chain.json";

/// The folder of a node.
pub(crate) fn node_folder(number: usize) -> String {
    format!("node-{number}")
}

/// The folder of a worker.
pub(crate) fn worker_folder(number: u8) -> String {
    format!("worker-{number}")
}

/// The folder of a gatekeeper.
pub(crate) fn gatekeeper_folder(number: u8) -> String {
    format!("gatekeeper-{number}")
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// A node of the chain.
    Node,
    /// A worker's enclave.
    Enclave,
    /// A worker's host.
    Host,
}

/// A network that was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Network {
    /// The format: always 1.
    pub version: u32,
    /// The first node's JSON-RPC.
    pub node: String,
    /// The chain, in hexadecimal.
    pub genesis_hash: String,
    /// The image that the workers run, in hexadecimal.
    pub measurement: String,
    /// Everything that runs, in order of its start.
    pub processes: Vec<Process>,
    /// The workers.
    pub workers: Vec<DevWorker>,
    /// The gatekeepers.
    #[serde(default)]
    pub gatekeepers: Vec<DevWorker>,
}

/// A worker or gatekeeper of a development network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DevWorker {
    /// The name of its host's process.
    pub host: String,
    /// The operator's key.
    pub operator: String,
    /// Where its host serves users.
    pub endpoint: String,
}

impl Network {
    /// What is written down in a folder; `None` if no network runs there.
    pub(crate) fn load(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let network: Self = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if network.version != 1 {
            bail!("{} was written by another version of phala", path.display());
        }
        Ok(Some(network))
    }

    /// Writes it down.
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("a network is plain JSON");
        Ok(phala_sdk::job::write_private(&folder.join(FILE), &json)?)
    }

    /// Forgets that it ran.
    pub(crate) fn forget(&self, folder: &Path) -> anyhow::Result<()> {
        fs::remove_file(folder.join(FILE)).with_context(|| format!("cannot remove {FILE} in {}", folder.display()))
    }

    /// Whether every process runs.
    pub(crate) fn is_running(&self) -> bool {
        !self.processes.is_empty() && self.processes.iter().all(Process::is_alive)
    }

    /// The name of the process that serves JSON-RPC.
    pub(crate) fn first_node(&self) -> &str {
        self.processes.iter().find(|process| process.role == Role::Node).map_or("", |process| &process.name)
    }
}

/// Holds a network's folder, so that two commands do not change it at once.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Makes the folder if need be, and locks it. A folder that holds anything and is no network's is left as it is.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    if !is_network(folder) && entries.next().is_some() {
        bail!("{} holds other things; give an empty folder, or a new one, with --dir", folder.display());
    }
    let path: PathBuf = folder.join(MARKER);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => bail!("another `phala dev` works on {}; wait for it", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Whether `phala dev up` has made the folder a network's.
pub(crate) fn is_network(folder: &Path) -> bool {
    // Not through a link, which could lead to another network's.
    fs::symlink_metadata(folder.join(MARKER)).is_ok_and(|metadata| metadata.is_file())
}

fn is_worker(name: &str) -> bool {
    is_numbered(name, "worker-")
}

fn is_gatekeeper(name: &str) -> bool {
    is_numbered(name, "gatekeeper-")
}

/// Whether a network keeps something under this name in its folder.
fn is_ours(name: &str) -> bool {
    [FILE, MARKER, LOGS, MEASUREMENT, CHAIN].contains(&name)
        || is_worker(name)
        || is_gatekeeper(name)
        || is_numbered(name, "node-")
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|number| number.parse::<u8>().is_ok_and(|n| n.to_string() == number))
}

/// Whether a network has gatekeepers, or had some.
pub(crate) fn has_gatekeepers(folder: &Path) -> anyhow::Result<bool> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_gatekeeper)))
}

/// Removes the workers of a network that does not run.
pub(crate) fn remove_workers(folder: &Path) -> anyhow::Result<()> {
    remove(folder, is_worker)
}

/// Removes a network that does not run, and its folder if nothing else is in it. Whether that was so.
pub(crate) fn purge(folder: &Path) -> anyhow::Result<bool> {
    remove(folder, is_ours)?;
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// Removes what has a name that `which` knows. Links are removed, not followed.
fn remove(folder: &Path, which: fn(&str) -> bool) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if !entry.file_name().to_str().is_some_and(which) {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_down_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Network::load(folder.path()).unwrap().is_none());
        let network = Network {
            version: 1,
            node: "ws://127.0.0.1:1".into(),
            genesis_hash: String::new(),
            measurement: String::new(),
            processes: vec![],
            workers: vec![],
            gatekeepers: vec![],
        };
        network.save(folder.path()).unwrap();
        assert_eq!(Network::load(folder.path()).unwrap().unwrap().node, network.node);
        assert!(!network.is_running());
        network.forget(folder.path()).unwrap();
        assert!(Network::load(folder.path()).unwrap().is_none());
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Network::load(folder.path()).is_err());
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_with_other_things_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("worker-notes");
        fs::write(&kept, "mine").unwrap();
        let error = lock(folder.path()).unwrap_err().to_string();
        assert!(error.contains("--dir"), "{error}");
        assert!(!is_network(folder.path()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A link to another network's marker does not make it one.
        let other = tempfile::tempdir().unwrap();
        drop(lock(other.path()).unwrap());
        std::os::unix::fs::symlink(other.path().join(MARKER), folder.path().join(MARKER)).unwrap();
        assert!(lock(folder.path()).is_err());
    }

    #[test]
    fn only_what_is_a_networks_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, outside) = (parent.path().join("network"), parent.path().join("outside"));
        drop(lock(&folder).unwrap());
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "mine").unwrap();
        let make = || {
            for name in [LOGS.to_owned(), node_folder(1), worker_folder(12)] {
                fs::create_dir_all(folder.join(name).join("deep")).unwrap();
            }
            fs::write(folder.join(MEASUREMENT), "").unwrap();
            fs::write(folder.join(CHAIN), "").unwrap();
        };
        make();
        let others = ["worker-", "worker-01", "worker-x", "node-1.bak", "notes"];
        for name in others {
            fs::create_dir(folder.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, folder.join("worker-2")).unwrap();

        remove_workers(&folder).unwrap();
        assert!(!folder.join("worker-12").exists() && folder.join("node-1").exists());
        assert!(!purge(&folder).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["node-1.bak", "notes", "worker-", "worker-01", "worker-x"]);
        assert!(outside.join("file").exists());

        for name in others {
            fs::remove_dir(folder.join(name)).unwrap();
        }
        make();
        assert!(purge(&folder).unwrap());
        assert!(!folder.exists());
    }
}
