//! What is written down about a network: its folder holds `network.json` while it runs, the processes' logs in `logs/`,
//! nodes in `node-N/`, workers in `worker-N/`.

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use super::process::Process;

/// The file that says that a folder is a network's, and may be purged.
pub(crate) const MARKER: &str = ".phala-network";

const FILE: &str = "network.json";

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
}

/// A worker of a development network.
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

/// Makes the folder if need be, and locks it.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path: PathBuf = folder.join(MARKER);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => bail!("another `phala dev` works on {}; wait for it", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
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
}
