//! The network under test, and how to do to it what a plan says.
//!
//! `phala dev up` starts it. Then each worker starts again, with its data on a small disk of its own, where that may be
//! mounted, and with links that can be cut between its host and one of the four nodes.

use anyhow::{Context, Result};
use phala_tests::Network;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

use crate::{
    links::{Link, Weather},
    plan::{AUTHORITIES, Clock, Fault, Kind, Links, Process},
};

/// The size of a worker's disk, in MiB.
const DISK_MIB: u32 = 256;

/// How long a host waits, and how long it works, while its disk is slow.
const WAIT: Duration = Duration::from_millis(150);
const WORK: Duration = Duration::from_millis(50);

/// What the harness has done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was ended.
    Gone,
    /// It was stopped, and can go on.
    Stopped,
}

/// A network that can be disturbed.
pub struct World {
    /// The disks go first: the network's folder can be removed only without them.
    disks: BTreeMap<u8, Disk>,
    network: Network,
    workers: BTreeMap<u8, Site>,
    /// The library that shifts the time of day.
    faketime: Option<PathBuf>,
    conditions: Mutex<BTreeMap<Process, Condition>>,
}

/// A worker's links to its node.
struct Site {
    rpc: Link,
    peers: Link,
}

/// A file system in memory, mounted at a host's data folder.
struct Disk {
    folder: PathBuf,
}

impl World {
    /// Starts a network with four authorities.
    ///
    /// # Errors
    /// When it does not come up; with its logs.
    pub async fn start(workers: u8) -> Result<Self> {
        let options = ["--authorities", &AUTHORITIES.to_string(), "--workers", &workers.to_string()];
        let mut world = tokio::task::block_in_place(|| {
            let network = Network::start_with(&options)?;
            anyhow::Ok(Self {
                disks: BTreeMap::new(),
                network,
                workers: BTreeMap::new(),
                faketime: faketime(),
                conditions: Mutex::default(),
            })
        })?;
        for worker in 1..=workers {
            world.move_in(worker).await.with_context(|| format!("preparing worker {worker}"))?;
        }
        Ok(world)
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The JSON-RPC of an authority's node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn rpc(&self, node: u8) -> Result<String> {
        Ok(format!("ws://127.0.0.1:{}", self.network.option(&Process::Node(node).to_string(), "--rpc-port")?))
    }

    /// Every process, those that are gone too.
    pub fn processes(&self) -> impl Iterator<Item = Process> + use<> {
        let workers: Vec<u8> = self.workers.keys().copied().collect();
        let pairs = workers.into_iter().flat_map(|worker| [Process::Host(worker), Process::Enclave(worker)]);
        (1..=AUTHORITIES).map(Process::Node).chain(pairs)
    }

    /// What was done to processes that is not over.
    pub fn conditions(&self) -> MutexGuard<'_, BTreeMap<Process, Condition>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be done on this machine, or is done in another way than its name says.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec!["slow disks are hosts that are stopped for three quarters of the time".to_owned()];
        if self.disks.is_empty() {
            remarks.push("nothing can be mounted: a full disk is a --disk-quota of 1 MiB".into());
        }
        if self.faketime.is_none() {
            remarks.push("the time of day is not shifted: Debian's package `faketime` is not installed".into());
        }
        remarks
    }

    /// Gives a worker a disk and links of its own, and starts it again.
    async fn move_in(&mut self, worker: u8) -> Result<()> {
        let (host, enclave) = (Process::Host(worker).to_string(), Process::Enclave(worker).to_string());
        let node = Process::Node((worker - 1) % AUTHORITIES + 1).to_string();
        let rpc_port: u16 = self.network.option(&node, "--rpc-port")?.parse()?;
        let address = self.network.option(&node, "--listen-addr")?;
        let peer_port: u16 = address.rsplit('/').next().context("an address has a port")?.parse()?;
        let peers = Link::open(peer_port, None).await?;
        let rpc = Link::open(rpc_port, Some((peer_port, peers.port()))).await?;
        tokio::task::block_in_place(|| {
            self.network.end(&host, "-TERM")?;
            // It knows the node's own address.
            self.network.end(&enclave, "-KILL")?;
            let folder = PathBuf::from(self.network.option(&host, "--data")?);
            if let Some(disk) = Disk::mount(&folder)? {
                self.disks.insert(worker, disk);
            }
            self.network.set_option(&host, "--node", Some(&format!("ws://127.0.0.1:{}", rpc.port())))?;
            self.launch(Process::Host(worker), None)?;
            self.launch(Process::Enclave(worker), None)
        })?;
        self.workers.insert(worker, Site { rpc, peers });
        Ok(())
    }

    /// Lets a fault come, last and go. Returns why it cannot, if it cannot.
    ///
    /// Dropped half-way, it leaves the network as it is then.
    ///
    /// # Errors
    /// When a process cannot be ended or started.
    pub async fn inflict(self: &Arc<Self>, fault: &Fault) -> Result<Option<&'static str>> {
        let lasting = Duration::from_secs(fault.for_s);
        match fault.kind {
            Kind::Kill { process } => {
                self.end(process).await?;
                sleep(lasting).await;
                self.begin(process, None).await?;
            }
            Kind::Stop { process } => {
                self.conditions().insert(process, Condition::Stopped);
                self.signal(process, "-STOP")?;
                sleep(lasting).await;
                self.signal(process, "-CONT")?;
                self.conditions().remove(&process);
            }
            Kind::Cut { worker, links, silent } => {
                let site = self.site(worker)?;
                site.set(links, if silent { Weather::Silent } else { Weather::Cut });
                sleep(lasting).await;
                site.set(links, Weather::Clear);
            }
            Kind::Slow { worker, delay_ms, bytes_per_s } => {
                let site = self.site(worker)?;
                site.set(Links::Both, Weather::Slow { delay: Duration::from_millis(delay_ms), bytes_per_s });
                sleep(lasting).await;
                site.set(Links::Both, Weather::Clear);
            }
            Kind::DiskFull { worker } => match self.disks.get(&worker) {
                Some(disk) => {
                    let filler = disk.fill()?;
                    sleep(lasting).await;
                    fs::remove_file(filler)?;
                }
                None => {
                    let host = Process::Host(worker);
                    self.network.set_option(&host.to_string(), "--disk-quota", Some("1"))?;
                    self.restart(host, None).await?;
                    sleep(lasting).await;
                    self.network.set_option(&host.to_string(), "--disk-quota", None)?;
                    self.restart(host, None).await?;
                }
            },
            Kind::SlowDisk { worker } => {
                let host = Process::Host(worker);
                let until = Instant::now() + lasting;
                while Instant::now() < until {
                    self.signal(host, "-STOP")?;
                    sleep(WAIT).await;
                    self.signal(host, "-CONT")?;
                    sleep(WORK).await;
                }
            }
            Kind::Clock { process, clock, ahead_s } => {
                if clock == Clock::Wall && self.faketime.is_none() {
                    return Ok(Some("faketime is not installed"));
                }
                if clock == Clock::Monotonic && !can_shift_time() {
                    return Ok(Some("time namespaces are not permitted"));
                }
                self.restart(process, Some((clock, ahead_s))).await?;
                sleep(lasting).await;
                self.restart(process, None).await?;
            }
        }
        Ok(None)
    }

    fn site(&self, worker: u8) -> Result<&Site> {
        self.workers.get(&worker).with_context(|| format!("no worker {worker}"))
    }

    fn signal(&self, process: Process, signal: &str) -> Result<()> {
        self.network.signal(&process.to_string(), signal)
    }

    async fn restart(self: &Arc<Self>, process: Process, clock: Option<(Clock, i64)>) -> Result<()> {
        self.end(process).await?;
        self.begin(process, clock).await
    }

    async fn end(self: &Arc<Self>, process: Process) -> Result<()> {
        self.conditions().insert(process, Condition::Gone);
        let world = self.clone();
        tokio::task::spawn_blocking(move || world.network.end(&process.to_string(), "-KILL")).await??;
        Ok(())
    }

    async fn begin(self: &Arc<Self>, process: Process, clock: Option<(Clock, i64)>) -> Result<()> {
        let world = self.clone();
        tokio::task::spawn_blocking(move || world.launch(process, clock)).await??;
        self.conditions().remove(&process);
        Ok(())
    }

    /// Starts a process, under a clock that is ahead or under the right one.
    fn launch(&self, process: Process, clock: Option<(Clock, i64)>) -> Result<()> {
        let name = process.to_string();
        let words = self.network.command_line(&name)?;
        let (program, arguments) = words.split_first().context("a process has a program")?;
        let mut command = match clock {
            // The new program is in the new time namespace, in the same process.
            Some((Clock::Monotonic, ahead_s)) => {
                let ahead = ahead_s.to_string();
                let mut command = Command::new("unshare");
                command.args(["--time", "--monotonic", &ahead, "--boottime", &ahead, "--", program]);
                command
            }
            _ => Command::new(program),
        };
        command.args(arguments);
        if let (Some((Clock::Wall, ahead_s)), Some(library)) = (clock, &self.faketime) {
            command.env("LD_PRELOAD", library).env("FAKETIME", format!("{ahead_s:+}"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        self.network.launch(&name, command)
    }
}

impl Site {
    fn set(&self, links: Links, weather: Weather) {
        if matches!(links, Links::Rpc | Links::Both) {
            self.rpc.set(weather);
        }
        if matches!(links, Links::Peers | Links::Both) {
            self.peers.set(weather);
        }
    }
}

impl Disk {
    /// Mounts a disk at a folder, with what is in it. `None` where nothing may be mounted.
    fn mount(folder: &Path) -> Result<Option<Self>> {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside)?;
        fs::create_dir(folder)?;
        let options = format!("size={DISK_MIB}m");
        let mounted = quiet(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder));
        if !mounted {
            fs::remove_dir(folder)?;
            fs::rename(&aside, folder)?;
            return Ok(None);
        }
        let disk = Self { folder: folder.to_owned() };
        let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder).status()?;
        anyhow::ensure!(copied.success(), "cannot copy {} to its disk", folder.display());
        fs::remove_dir_all(aside)?;
        Ok(Some(disk))
    }

    /// Leaves no byte free. Returns the file that takes them all.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.folder.join("filler");
        let mut file = File::create(&path)?;
        for block in [1 << 20, 1 << 12] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it until it ends.
        quiet(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

/// Whether a command succeeds, whatever it says.
fn quiet(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether a process can be started, without another process around it, in a time namespace; from Linux 6.3 on.
fn can_shift_time() -> bool {
    let uptime = |command: &mut Command| -> Option<f64> {
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()?.split_whitespace().next()?.parse().ok()
    };
    let shifted = uptime(Command::new("unshare").args(["--time", "--boottime", "1000000", "cat", "/proc/uptime"]));
    let right = uptime(Command::new("cat").arg("/proc/uptime"));
    right.zip(shifted).is_some_and(|(right, shifted)| shifted - right > 500_000.0)
}

/// The library of Debian's package `faketime`.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_what_was_there_can_be_filled_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("kept"), "kept").unwrap();
        let Some(disk) = Disk::mount(&folder).unwrap() else {
            println!("nothing can be mounted here");
            assert_eq!(fs::read(folder.join("kept")).unwrap(), b"kept");
            return;
        };
        assert_eq!(fs::read(folder.join("kept")).unwrap(), b"kept");
        let filler = disk.fill().unwrap();
        assert!(fs::write(folder.join("more"), [1; 5000]).is_err());
        fs::remove_file(filler).unwrap();
        fs::write(folder.join("more"), [1; 5000]).unwrap();
        drop(disk);
        assert!(!folder.join("kept").exists());
    }
}
