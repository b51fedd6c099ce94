//! Processes that outlive this command. A process is recognized by its id and the moment of its start, so that another one
//! that got the same id later is never taken for it.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::state::Role;

/// A process of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    /// How `phala dev` calls it.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its id, which is also its group's.
    pub pid: i32,
    /// When it was started, in the kernel's ticks since boot.
    pub started: u64,
    /// Where it logs.
    pub log: PathBuf,
    /// How it was started.
    pub command: Vec<String>,
}

impl Process {
    /// Starts a process in its own group, with its output in a log.
    pub(crate) fn start(
        name: &str,
        role: Role,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let append = || fs::OpenOptions::new().create(true).append(true).open(log);
        let stdout = append().with_context(|| format!("cannot write {}", log.display()))?;
        let stderr = stdout.try_clone().context("cannot share a log")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = i32::try_from(child.id()).context("the process has an impossible id")?;
        let started = stat(pid).map(|stat| stat.started).context("the process ended at once")?;
        let mut command = vec![program.display().to_string()];
        command.extend_from_slice(arguments);
        Ok(Self { name: name.into(), role, pid, started, log: log.into(), command })
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.is_zombie)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok().filter(|_| self.is_alive())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM, false);
    }

    /// Ends it and what it started.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL, true);
    }

    fn signal(&self, signal: Signal, group: bool) {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) else { return };
        // A process that is gone already is what was wanted.
        let _ = if group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }

    /// Waits until it is gone; `false` if it is not after `timeout`.
    pub(crate) async fn wait_gone(&self, timeout: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + timeout;
        while self.is_alive() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

struct Stat {
    started: u64,
    is_zombie: bool,
}

/// What the kernel says about a process; see proc_pid_stat(5).
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    // The state is field 3, the start field 22.
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { started, is_zombie: matches!(state, "Z" | "X") })
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    const MOST: u64 = 4 * 1024 * 1024;
    let read = || {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn processes_are_started_recognized_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.log");
        let script = ["-c".to_owned(), "echo one; echo two; sleep 100".to_owned()];
        let process = Process::start("a", Role::Host, Path::new("/bin/sh"), &script, &log).unwrap();
        assert!(process.is_alive());
        assert!(process.memory().is_some());
        let impostor = Process { started: process.started + 1, ..process.clone() };
        assert!(!impostor.is_alive());
        impostor.kill();
        assert!(process.is_alive());
        while tail(&log, 10).lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(tail(&log, 1), "two");
        assert!(!process.wait_gone(Duration::from_millis(100)).await);
        process.kill();
        assert!(process.wait_gone(Duration::from_secs(10)).await);
    }
}
