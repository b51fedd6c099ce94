//! The trust boundary in the dependency graph: what runs inside the enclave reaches no socket, no file and nothing of
//! the untrusted side.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The crates inside the boundary that reach the world only through their traits.
const ENCLAVE: &[&str] = &["phala-enclave", "phala-engine", "phala-protocol", "phala-primitives", "phala-attestation"];

/// Ours, but on the other side.
const UNTRUSTED: &[&str] = &["phala-host", "phala-sdk", "phala-cli", "phala-node", "phala-runtime", "phala-tests"];

/// Crates that open sockets or files for others.
const SOCKETS_AND_FILES: &[&str] = &[
    "async-fs",
    "async-io",
    "async-net",
    "cap-net-ext",
    "cap-std",
    "curl",
    "h2",
    "hyper",
    "hyper-util",
    "jsonrpsee",
    "mio",
    "nix",
    "polling",
    "quinn",
    "reqwest",
    "rusqlite",
    "smol",
    "socket2",
    "subxt",
    "tempfile",
    "tokio",
    "wasmtime-wasi",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the workspace").to_owned()
}

/// The names of everything that `package` links on this platform, itself included, with the features that it asks for.
fn linked(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--package", package])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_enclave_links_nothing_that_opens_sockets_or_files() {
    for package in ENCLAVE {
        let linked = linked(package);
        assert!(linked.contains(*package), "{package} is not in its own tree");
        for forbidden in SOCKETS_AND_FILES.iter().chain(UNTRUSTED) {
            assert!(
                !linked.contains(*forbidden),
                "{package} links {forbidden}: `cargo tree -p {package} -i {forbidden}`"
            );
        }
    }
}

#[test]
fn the_rule_can_fail() {
    assert!(linked("phala-host").contains("tokio"));
}

#[test]
fn clients_and_host_do_not_link_the_enclave() {
    for package in ["phala-host", "phala-sdk", "phala-cli"] {
        let linked = linked(package);
        for forbidden in ["phala-enclave", "phala-engine", "phala-enclave-simulated"] {
            assert!(!linked.contains(forbidden), "{package} links {forbidden}");
        }
    }
}

#[test]
fn enclave_sources_name_no_socket_file_clock_or_environment() {
    let forbidden =
        ["std::net", "std::fs", "std::env", "std::os::unix::net", "std::process", "SystemTime::now", "Instant::now"];
    for folder in ["enclave/core/src", "enclave/engine/src", "protocol/src", "primitives/src", "attestation/src"] {
        for file in rust_files(&root().join(folder)) {
            let source = fs::read_to_string(&file).expect("sources are readable");
            // Tests at the end of a file may use what they like.
            let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for word in forbidden {
                    assert!(!line.contains(word), "{}:{}: {word}", file.display(), number + 1);
                }
            }
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["tests.rs", "testing.rs"].iter().any(|name| path.ends_with(name))
        {
            files.push(path);
        }
    }
    files
}
