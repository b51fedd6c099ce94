//! What the process says of its isolation, looked at from outside.

use std::{
    fs::{self, File, Permissions},
    io::ErrorKind,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom the enclave becomes when root starts it.
const USER: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The enclave's process, and the socket at which it finds its host.
struct Enclave {
    process: Child,
    folder: tempfile::TempDir,
    listener: UnixListener,
}

impl Enclave {
    /// Starts it, with a host. The folder of the socket has the given mode.
    fn start(mode: u32, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = make(folder.path(), mode);
        let process = spawn(folder.path(), options);
        Self { process, folder, listener }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/socket")
    }

    /// What it has said so far.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until it connects.
    fn accept(&mut self) -> UnixStream {
        let started = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((connection, _)) => return connection,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the enclave ended, {status}:\n{}", self.log());
            }
            assert!(started.elapsed() < PATIENCE, "the enclave does not connect:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends.
    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the enclave does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it says that a measure is in force.
    fn claims(&self, measure: &str) -> bool {
        let log = self.log();
        let (_, claims) = log.split_once("isolation in force: ").unwrap_or_else(|| panic!("no claims:\n{log}"));
        let (claims, _) = claims.split_once("; not in force: ").unwrap();
        claims.split(", ").any(|claim| claim == measure)
    }

    /// What the kernel has on it in `/proc`.
    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(name)
    }

    /// A line of the status of each thread.
    fn status(&self, field: &str) -> Vec<String> {
        let threads = fs::read_dir(self.proc("task")).unwrap();
        // A thread may end meanwhile.
        let texts = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let value = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("no {field}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let values: Vec<_> = texts.map(value).collect();
        assert!(!values.is_empty());
        values
    }

    fn assert_status(&self, field: &str, expected: &str) {
        let found = self.status(field);
        assert!(found.iter().all(|found| found == expected), "{field} of threads: {found:?}");
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts an enclave that looks for its host below `folder`.
fn spawn(folder: &Path, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_phala-enclave"))
        .arg("--socket")
        .arg(folder.join("run/socket"))
        .arg("--platform")
        .arg(folder.join("platform"))
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Makes the folder of the socket, and listens.
fn make(folder: &Path, mode: u32) -> UnixListener {
    let run = folder.join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(mode)).unwrap();
    listen(&run.join("socket"))
}

/// Listens as the host does.
fn listen(socket: &Path) -> UnixListener {
    let listener = UnixListener::bind(socket).unwrap();
    fs::set_permissions(socket, Permissions::from_mode(0o660)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Whether the enclave's user may look into the memory of a process.
fn can_look_into(process: &str) -> bool {
    let mut command = Command::new("head");
    command.args(["-c", "1", &format!("/proc/{process}/maps")]).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        command.uid(USER).gid(USER);
    }
    command.status().unwrap().success()
}

#[test]
fn what_the_enclave_says_of_its_isolation_is_true() {
    let mut enclave = Enclave::start(0o710, &[]);
    let _connection = enclave.accept();
    let process = enclave.process.id().to_string();

    // These need nothing of the machine.
    for measure in ["no privileges", "not dumpable", "seccomp"] {
        assert!(enclave.claims(measure), "{}", enclave.log());
    }
    enclave.assert_status("Seccomp", "2");
    enclave.assert_status("NoNewPrivs", "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        enclave.assert_status(set, "0000000000000000");
    }
    let limits = fs::read_to_string(enclave.proc("limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);

    if enclave.claims("locked memory") {
        let locked = enclave.status("VmLck");
        assert!(locked.iter().all(|locked| locked != "0 kB"), "{locked:?}");
    }
    assert_eq!(enclave.claims("own user"), is_root(), "{}", enclave.log());
    if enclave.claims("own user") {
        enclave.assert_status("Uid", &[USER; 4].map(|user| user.to_string()).join(" "));
        enclave.assert_status("Groups", "");
    }
    assert!(can_look_into("self"));
    assert!(!can_look_into(&process), "another process of its user can look into the enclave");

    // Only root sees these.
    if is_root() {
        let network = |path: &Path| fs::read_link(path).unwrap();
        let is_own = network(&enclave.proc("ns/net")) != network(Path::new("/proc/self/ns/net"));
        assert_eq!(enclave.claims("no network"), is_own, "{}", enclave.log());
        for descriptor in fs::read_dir(enclave.proc("fd")).unwrap() {
            let descriptor = descriptor.unwrap();
            let number: u32 = descriptor.file_name().to_str().unwrap().parse().unwrap();
            let opened = fs::read_link(descriptor.path()).unwrap().display().to_string();
            let is_file = opened.starts_with('/') && !opened.starts_with("/memfd:");
            assert!(number <= 2 || !is_file, "the enclave has {opened} open");
        }
    }
}

#[test]
fn a_host_that_starts_again_is_found_again() {
    let mut enclave = Enclave::start(0o710, &[]);
    drop(enclave.accept());
    fs::remove_file(enclave.socket()).unwrap();
    enclave.listener = listen(&enclave.socket());
    enclave.accept();
}

#[test]
fn an_enclave_waits_for_the_folder_that_its_host_makes() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(folder.path(), &[]);
    let started = Instant::now();
    while !fs::read_to_string(folder.path().join("log")).unwrap().contains("waiting for the host to make ") {
        assert!(started.elapsed() < PATIENCE, "the enclave does not wait");
        thread::sleep(Duration::from_millis(20));
    }
    let listener = make(folder.path(), 0o710);
    let mut enclave = Enclave { process, folder, listener };
    enclave.accept();
    assert_eq!(enclave.claims("own user"), is_root(), "{}", enclave.log());
}

#[test]
fn an_enclave_that_requires_isolation_does_not_start_without() {
    let mut enclave = Enclave::start(0o700, &["--require-isolation"]);
    assert!(!enclave.wait().success());
    let log = enclave.log();
    let advice = if is_root() { "chmod g+x" } else { "let root start the enclave" };
    assert!(log.contains("--require-isolation, but not in force: ") && log.contains(advice), "{log}");
}

#[test]
fn where_another_user_would_not_reach_the_host_the_user_stays() {
    let mut enclave = Enclave::start(0o700, &[]);
    enclave.accept();
    assert!(!enclave.claims("own user"), "{}", enclave.log());
}
