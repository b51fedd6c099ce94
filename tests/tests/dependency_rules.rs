//! The trust boundary in the dependency graph: what runs inside the enclave reaches no socket, no file and nothing of
//! the untrusted side.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The crates inside the boundary that reach the world only through their traits.
const ENCLAVE: &[&str] = &[
    "phala-enclave",
    "phala-worker",
    "phala-gatekeeper",
    "phala-keys",
    "phala-app-encryption",
    "phala-engine",
    "phala-protocol",
    "phala-primitives",
    "phala-attestation",
];

/// Of the enclave's crates, those that link commonware, and through it tokio: its channels, which are not on the list below.
const WITH_COMMONWARE: &[&str] = &["phala-gatekeeper", "phala-keys", "phala-worker"];

/// The features of tokio that open sockets and files, or run anything.
const TOKIO_FORBIDDEN: &[&str] = &["fs", "io-std", "net", "process", "rt", "rt-multi-thread", "signal", "full"];

/// Around them in the enclave's process: what opens the files of a TEE and the socket to the host.
const PROCESS: &[&str] = &["phala-enclave-hardware", "phala-enclave-process", "phala-tee"];

/// Ours, but on the other side.
const UNTRUSTED: &[&str] = &[
    "phala-attestation-browser",
    "phala-host",
    "phala-collateral",
    "phala-sdk",
    "phala-cli",
    "phala-node",
    "phala-runtime",
    "phala-tests",
    "phala-chaos",
    "phala-fuzz",
    "phala-simulation",
];

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

/// Everything that `package` links on this platform, itself included, by name, and the features that it has there.
fn linked(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}|{f}"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--package", package])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut linked = BTreeMap::<String, BTreeSet<String>>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (name, features) = line.split_once('|').expect("each line has a name and features");
        let Some(name) = name.split_whitespace().next() else { continue };
        let features = features.trim_end_matches(" (*)").split(',').map(str::to_owned);
        linked.entry(name.to_owned()).or_default().extend(features);
    }
    linked
}

#[test]
fn the_enclave_links_nothing_that_opens_sockets_or_files() {
    for package in ENCLAVE {
        let linked = linked(package);
        assert!(linked.contains_key(*package), "{package} is not in its own tree");
        for forbidden in SOCKETS_AND_FILES.iter().chain(UNTRUSTED).chain(PROCESS) {
            if *forbidden == "tokio" && WITH_COMMONWARE.contains(package) {
                let features = linked.get("tokio");
                let found = features.and_then(|features| TOKIO_FORBIDDEN.iter().find(|name| features.contains(**name)));
                assert_eq!(found, None, "{package} links tokio with {features:?}");
                continue;
            }
            assert!(
                !linked.contains_key(*forbidden),
                "{package} links {forbidden}: `cargo tree -p {package} -i {forbidden}`"
            );
        }
    }
}

#[test]
fn the_process_around_the_enclave_links_nothing_untrusted_and_nothing_simulated() {
    for package in PROCESS {
        let linked = linked(package);
        assert!(linked.contains_key(*package), "{package} is not in its own tree");
        for forbidden in UNTRUSTED.iter().chain(&["phala-enclave-simulated"]) {
            assert!(!linked.contains_key(*forbidden), "{package} links {forbidden}");
        }
    }
}

#[test]
fn the_rule_can_fail() {
    assert!(linked("phala-host").contains_key("tokio"));
}

#[test]
fn clients_and_host_do_not_link_the_enclave() {
    for package in ["phala-host", "phala-collateral", "phala-sdk", "phala-cli"] {
        let linked = linked(package);
        for forbidden in [
            "phala-enclave",
            "phala-worker",
            "phala-gatekeeper",
            "phala-keys",
            "phala-engine",
            "phala-enclave-simulated",
        ]
        .iter()
        .chain(PROCESS)
        {
            assert!(!linked.contains_key(*forbidden), "{package} links {forbidden}");
        }
    }
}

/// What the sources of the enclave do not name: sockets, files, the environment, processes, clocks.
const FORBIDDEN: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os::unix::net",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

#[test]
fn enclave_sources_name_no_socket_file_clock_or_environment() {
    for folder in [
        "enclave/core/src",
        "enclave/worker/src",
        "enclave/gatekeeper/src",
        "enclave/keys/src",
        "app-encryption/src",
        "enclave/engine/src",
        "protocol/src",
        "primitives/src",
        "attestation/src",
    ] {
        for file in rust_files(&root().join(folder)) {
            let source = fs::read_to_string(&file).expect("sources are readable");
            // Tests at the end of a file may use what they like.
            let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let found = forbidden(code);
            assert!(found.is_empty(), "{} names {found:?}", file.display());
        }
    }
}

#[test]
fn no_way_to_name_something_forbidden_goes_unnoticed() {
    for source in [
        "fn f() { std::fs::read(path); }",
        "fn f() { ::std :: fs\n::read(path); }",
        "use std::net::TcpStream;",
        "use std::{sync::Arc, fs, time::Duration};",
        "use std::{\n    io::{self, Read},\n    os::{unix::{net::{UnixStream}}},\n};",
        "pub(crate) use std::env as surroundings;",
        "use std::time::{Duration, Instant};",
        "use {std::process};",
        // The parent brings in its child.
        "use std::time;",
        "use std::os::unix::{self};",
        "use std::os::*;",
        "use std as s;",
        "let (quote, bell) = ('\\u{7}', '\"'); std::env::args();",
        "let quote = '\"'; std::fs::read(path); let other = '\"';",
        "fn f<'a>(a: &'a str) { std::fs::read(a) }",
    ] {
        assert!(!forbidden(source).is_empty(), "{source}");
    }
}

#[test]
fn what_is_allowed_is_not_forbidden() {
    for source in [
        "use std::{sync::Arc, time::Duration};",
        "use std::os::fd::AsRawFd;",
        "// std::fs::read",
        "/* std::fs /* nested */ std::net */",
        "let text = \"std::fs \\\" std::net\";",
        "let text = r#\"std::fs \" std::net\"#;",
        "use crate::std::fs; fn f() { files::std::env(); env!(\"X\") }",
        "fn f() -> impl Trait + use<'_> { 'a' }",
    ] {
        assert!(forbidden(source).is_empty(), "{source}: {:?}", forbidden(source));
    }
}

/// The forbidden paths that a source names.
fn forbidden(source: &str) -> Vec<String> {
    let paths = named_paths(source);
    paths.iter().filter(|named| named.is_forbidden()).map(|named| named.path.join("::")).collect()
}

/// A path that a source names.
struct Named {
    path: Vec<String>,
    /// Whether `use` brings it in, and with it everything below.
    imported: bool,
}

impl Named {
    fn is_forbidden(&self) -> bool {
        let path = self.path.join("::");
        let below = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}::"));
        FORBIDDEN.iter().any(|rule| below(&path, rule) || (self.imported && below(rule, &path)))
    }
}

/// Every path in a source.
fn named_paths(source: &str) -> Vec<Named> {
    let tokens = tokens(source);
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if token(at) == "use" {
            at += 1;
            imports(&tokens, &mut at, Vec::new(), &mut found);
        } else if is_word(token(at)) {
            let mut path = vec![token(at).to_owned()];
            at += 1;
            while token(at) == "::" && is_word(token(at + 1)) {
                path.push(token(at + 1).to_owned());
                at += 2;
            }
            found.push(Named { path, imported: false });
        } else {
            at += 1;
        }
    }
    found
}

/// The paths of one tree of a `use`, all below `path`. Leaves `at` behind it.
fn imports(tokens: &[String], at: &mut usize, mut path: Vec<String>, found: &mut Vec<Named>) {
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "::" => *at += 1,
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    let before = *at;
                    imports(tokens, at, path.clone(), found);
                    // The comma, and whatever is no tree.
                    if *at == before || tokens.get(*at).is_some_and(|token| token == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "*" => {
                *at += 1;
                break;
            }
            "self" if !path.is_empty() => *at += 1,
            // What follows is another name for it.
            "as" => {
                *at += 2;
                break;
            }
            word if is_word(word) => {
                path.push(word.to_owned());
                *at += 1;
            }
            _ => break,
        }
    }
    if !path.is_empty() {
        found.push(Named { path, imported: true });
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of a source, without comments and literals: words, `::`, and each other sign by itself.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest)
        } else if let Some(length) = literal_length(rest) {
            length
        } else if is_word(rest) {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the block comment, which may hold others, that a text begins with.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            match rest.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => return at,
            }
        }
        if depth == 0 {
            return at;
        }
    }
}

/// The length of the string or character that a text begins with; `None` if it begins with neither.
fn literal_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""]
        .into_iter()
        .find(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '\'', '#'])))?;
    let rest = &text[prefix.len()..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if prefix.ends_with('r') && rest[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = prefix.len() + hashes + 1;
        return Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()));
    }
    let quote = rest.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let mut characters = rest.char_indices().skip(1);
    let mut escaped = false;
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
                escaped = true;
            }
            _ if character == quote => return Some(prefix.len() + at + 1),
            // A lifetime, or a label: a character that is not escaped is followed by its quote.
            _ if quote == '\'' && !escaped && !rest[at + character.len_utf8()..].starts_with('\'') => return None,
            _ => {}
        }
    }
    Some(text.len())
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
