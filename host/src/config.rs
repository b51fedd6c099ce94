//! The command line.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use phala_primitives::{
    Balance,
    worker::{MAX_CAPACITY, MAX_ENDPOINT_BYTES},
};
use phala_protocol::StartRole;
use phala_sdk::{Account, Signer, amount};

use crate::{
    chain::{Keys, OperatorConfig, SeatConfig, Submits},
    enclave::Address,
    http::{Bounds, Tls},
    store,
};

/// The untrusted host of a Phala worker's or gatekeeper's enclave.
///
/// Listens on a socket for the enclave's process, carries its bytes, keeps its files, serves users over HTTP, and
/// brings what the enclave signs to the chain. It can be restarted at any time; the enclave connects again by itself.
#[derive(Debug, Parser)]
#[command(name = "phala-host", version)]
pub struct Options {
    /// The JSON-RPC of a node of the chain.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9944")]
    pub node: String,
    /// Where the enclave's process connects: a Unix socket, whose folder is made if absent, and which only its user and its group may be
    /// able to enter (mode 0710); tcp:IP:PORT of this machine, for SGX under Gramine; or vsock:CID:PORT, for the guest with this CID.
    #[arg(long, value_name = "PATH|tcp:IP:PORT|vsock:CID:PORT")]
    pub socket: Address,
    /// The folder for blobs, outputs and the enclave's sealed state.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address to serve HTTP on, or HTTPS with --tls-certificate.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8640")]
    pub listen: SocketAddr,
    /// A PEM file with the certificate of --endpoint's host, and those between it and its root. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// A PEM file with the key of --tls-certificate.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// The URL at which users reach that HTTP server; goes on chain.
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// PHA asked for 10⁹ fuel.
    #[arg(long, value_name = "PHA", default_value = "0.01", value_parser = parse_price)]
    pub price: Balance,
    /// How many jobs the enclave may run at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CAPACITY)))]
    pub capacity: u32,
    /// Serve a gatekeeper's enclave instead of a worker's. --node has to be the gatekeeper's own, which authors its blocks, and to
    /// allow unsafe methods to this host.
    #[arg(long, conflicts_with_all = ["price", "capacity"])]
    pub gatekeeper: bool,
    /// Which of the operator's seats the gatekeeper has.
    #[arg(long, value_name = "INDEX", default_value_t = 0, requires = "gatekeeper")]
    pub seat: u16,
    /// PHA put on hold for the seat when it is registered.
    #[arg(long, value_name = "PHA", default_value = "10000", requires = "gatekeeper", value_parser = parse_bond)]
    pub bond: Balance,
    /// For whom the host works.
    #[command(flatten)]
    pub operator: OperatorOptions,
    /// A file with the password of --operator-key-file, when that is encrypted.
    #[arg(long, value_name = "FILE", requires = "operator_key_file")]
    pub operator_password_file: Option<PathBuf>,
    /// A file with the key of any account with some PHA, like --operator-key-file: it brings heartbeats and receipts to the
    /// chain, which are free, for an operator whose key is kept elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operator_key", "operator_key_file"])]
    pub submitter_key_file: Option<PathBuf>,
    /// A file with the password of --submitter-key-file, when that is encrypted.
    #[arg(long, value_name = "FILE", requires = "submitter_key_file")]
    pub submitter_password_file: Option<PathBuf>,
    /// The base URL of AMD's KDS, which is asked for the certificate of an SEV-SNP machine that does not have it. By default AMD's own.
    #[arg(long, value_name = "URL")]
    pub kds: Option<String>,
    /// The chain's raw specification, instead of the one that the node gives.
    #[arg(long, value_name = "FILE")]
    pub chain_spec: Option<PathBuf>,
    /// Disk for blobs and outputs together, in MiB; an eighth of it is for outputs alone. Blobs that nobody used for the longest make place for new ones.
    #[arg(long, value_name = "MIB", default_value_t = 64 * 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub disk_quota: u64,
    /// The largest upload, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8 * 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub max_blob: u64,
    /// Disk for the uploads of one account, in MiB. Those that it used the longest ago make place for new ones.
    #[arg(long, value_name = "MIB", default_value_t = 8 * 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub account_quota: u64,
    /// Disk for compiled programs, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4 * 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub cache_quota: u64,
    /// HTTP connections at once, as far as the system lets the host open files. A newcomer takes the place of the one that is
    /// idle for the longest.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_connections: u32,
    /// Uploads at once; more are told to try again.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_uploads: u32,
    /// Downloads at once; more are told to try again.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub max_downloads: u32,
    /// Hours after which blobs that nobody used, and jobs that are settled, are removed.
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=24 * 365))]
    pub retention: u32,
    /// How to log. `RUST_LOG` chooses what.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct OperatorOptions {
    /// The operator's key as a secret URI such as //Worker1: for development chains only, where keys are public.
    #[arg(long, value_name = "SURI")]
    pub operator_key: Option<String>,
    /// A file with the operator's key: a secret URI, or the JSON that polkadot-js and `phala key` write.
    #[arg(long, value_name = "FILE")]
    pub operator_key_file: Option<PathBuf>,
    /// The operator's account, when its key is kept elsewhere: the operator registers the worker, and renews its verdict,
    /// with `phala worker register`. Give --submitter-key-file, too: without it the host submits nothing.
    #[arg(long, value_name = "ACCOUNT")]
    pub operator: Option<Account>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Options {
    /// For whom the host works, and the key that it holds.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no key.
    pub fn keys(&self) -> Result<Keys> {
        if let Some(operator) = self.operator.operator {
            let read = |path| read_key("--submitter", path, self.submitter_password_file.as_deref());
            let signer = self.submitter_key_file.as_deref().map(read).transpose()?;
            return Ok(Keys { operator, signer });
        }
        let signer = match (&self.operator.operator_key, &self.operator.operator_key_file) {
            (Some(uri), _) => Signer::from_uri(uri).context("reading --operator-key")?,
            (None, Some(path)) => read_key("--operator", path, self.operator_password_file.as_deref())?,
            (None, None) => bail!("give one of --operator-key-file, --operator-key and --operator"),
        };
        Ok(Keys { operator: signer.account(), signer: Some(signer) })
    }

    /// What the operator wants.
    ///
    /// # Errors
    /// When the endpoint is no URL that the chain takes.
    pub fn operator_config(&self, keys: &Keys) -> Result<OperatorConfig> {
        let endpoint = self.endpoint.trim_end_matches('/').to_owned();
        let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            bail!("--endpoint must be an http:// or https:// URL; got `{endpoint}`");
        }
        if !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("--endpoint must have visible ASCII characters only; write others as %XX; got `{endpoint}`");
        }
        if endpoint.len() > MAX_ENDPOINT_BYTES as usize {
            bail!("--endpoint is longer than the {MAX_ENDPOINT_BYTES} bytes that the chain takes");
        }
        Ok(OperatorConfig { operator: keys.operator, endpoint, price: self.price, submits: keys.submits() })
    }

    /// What the enclave is to do.
    pub fn role(&self) -> StartRole {
        if self.gatekeeper { StartRole::Gatekeeper } else { StartRole::Worker { capacity: self.capacity } }
    }

    /// What the operator wants of the seat, for a gatekeeper.
    pub fn seat_config(&self, operator: &OperatorConfig) -> SeatConfig {
        SeatConfig {
            operator: operator.operator,
            index: self.seat,
            bond: self.bond,
            endpoint: operator.endpoint.clone(),
            submits: operator.submits == Submits::Everything,
        }
    }

    /// How much disk may be used.
    pub fn limits(&self) -> store::Limits {
        let mebibytes = |count: u64| count.saturating_mul(1 << 20);
        let total_bytes = mebibytes(self.disk_quota);
        store::Limits {
            total_bytes,
            // The rest is for the outputs of jobs that have run.
            upload_bytes: total_bytes - total_bytes / 8,
            account_bytes: mebibytes(self.account_quota),
            blob_bytes: mebibytes(self.max_blob),
            // Most is for uploads that become something.
            interrupted_bytes: total_bytes / 4,
            cache_bytes: mebibytes(self.cache_quota),
            ..store::Limits::default()
        }
    }

    /// What connections and requests may cost, where the system lets the host open so many files.
    pub fn bounds(&self, open_files: u64) -> Bounds {
        // The other half is for uploads, downloads, the light client's connections, and whatever the host does.
        let connections = u64::from(self.max_connections).min((open_files / 2).max(1));
        if connections < u64::from(self.max_connections) {
            tracing::warn!(
                open_files,
                connections,
                "fewer connections than --max-connections are served: the system lets the host open too few files; raise \
                 the hard limit (LimitNOFILE in systemd, `ulimit -Hn` in a shell)"
            );
        }
        Bounds {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            uploads: self.max_uploads as usize,
            downloads: self.max_downloads as usize,
            ..Bounds::default()
        }
    }

    /// The certificate, if one is given.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn tls(&self) -> Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else { return Ok(None) };
        Tls::open(certificate, key).map(Some).context("reading --tls-certificate and --tls-key")
    }

    /// How long what nobody uses is kept.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.retention) * 60 * 60)
    }

    /// The chain specification of `--chain-spec`.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no JSON.
    pub fn chain_spec(&self) -> Result<Option<serde_json::Value>> {
        let Some(path) = &self.chain_spec else { return Ok(None) };
        let text =
            fs::read(path).with_context(|| format!("reading the chain's specification from {}", path.display()))?;
        let spec = serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        Ok(Some(spec))
    }
}

/// The key in a file: a secret URI, or a keystore with its password in another file. `options` begins the names of both.
fn read_key(options: &str, path: &Path, password: Option<&Path>) -> Result<Signer> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("reading {} for {options}-key-file", path.display()))
    };
    let text = read(path)?;
    if !text.trim_start().starts_with('{') {
        return Signer::from_uri(text.trim())
            .with_context(|| format!("{options}-key-file holds neither a secret URI nor a keystore"));
    }
    let password = password.map(read).transpose()?.unwrap_or_default();
    Signer::from_keystore_json(&text, password.trim_end_matches(['\r', '\n']))
        .with_context(|| format!("opening {options}-key-file; is {options}-password-file the right one?"))
}

fn parse_bond(text: &str) -> Result<Balance, String> {
    amount::parse(text).map_err(|error| error.to_string())
}

fn parse_price(text: &str) -> Result<Balance, String> {
    match amount::parse(text) {
        Ok(0) => Err("the chain takes no worker that works for nothing".into()),
        Ok(price) => Ok(price),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    const COMMON: [&str; 7] = ["phala-host", "--socket", "s", "--data", "d", "--endpoint", "http://localhost:8640/"];

    fn parse(more: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(COMMON.iter().chain(more))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn exactly_one_operator_is_named() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--operator-key", "//Worker1", "--operator-key-file", "f"]).is_err());
        let options = parse(&["--operator-key", "//Alice", "--price", "1.5"]).unwrap();
        assert_eq!(options.price, 1_500_000_000_000);
        let keys = options.keys().unwrap();
        let config = options.operator_config(&keys).unwrap();
        assert_eq!(config.endpoint, "http://localhost:8640");
        assert_eq!(config.submits, Submits::Everything);
        let account = keys.operator.to_string();
        let external = parse(&["--operator", &account]).unwrap();
        let keys = external.keys().unwrap();
        assert_eq!(keys.operator.to_string(), account);
        assert_eq!(external.operator_config(&keys).unwrap().submits, Submits::Nothing);
    }

    #[test]
    fn a_submitter_works_for_an_operator_whose_key_is_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "//Bob\n").unwrap();
        let file = file.to_str().unwrap();
        let alice = Signer::from_uri("//Alice").unwrap().account();
        let keys = parse(&["--operator", &alice.to_string(), "--submitter-key-file", file]).unwrap().keys().unwrap();
        assert_eq!((keys.operator, keys.submits()), (alice, Submits::HeartbeatsAndReceipts));
        assert!(parse(&["--operator-key", "//Alice", "--submitter-key-file", file]).is_err());
    }

    #[test]
    fn what_the_chain_would_refuse_is_refused_at_once() {
        for bad in [["--price", "0"], ["--price", "-1"], ["--capacity", "0"], ["--capacity", "65"]] {
            assert!(parse(&["--operator-key", "//Alice", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
        assert!(parse(&["--operator-key", "//Alice", "--price", "0.000000000001", "--capacity", "64"]).is_ok());
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        let bounds = |more: &[&str], open_files| {
            let options = parse(&[&["--operator-key", "//Alice"][..], more].concat()).unwrap();
            options.bounds(open_files).connections
        };
        assert_eq!(bounds(&[], 1 << 20), 4096);
        assert_eq!(bounds(&[], 1024), 512);
        assert_eq!(bounds(&[], 0), 1);
        assert_eq!(bounds(&["--max-connections", "100"], 1024), 100);
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("none");
        let file = file.to_str().unwrap();
        for lonely in ["--tls-certificate", "--tls-key"] {
            assert!(parse(&["--operator-key", "//Alice", lonely, file]).is_err(), "{lonely}");
        }
        let missing = parse(&["--operator-key", "//Alice", "--tls-certificate", file, "--tls-key", file]).unwrap();
        assert!(missing.tls().is_err());
        assert!(parse(&["--operator-key", "//Alice"]).unwrap().tls().unwrap().is_none());
    }

    #[test]
    fn keys_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let (key, password) = (folder.path().join("key"), folder.path().join("password"));
        fs::write(&key, "//Alice\n").unwrap();
        let (key_name, password_name) = (key.to_str().unwrap(), password.to_str().unwrap());
        let read = || {
            let options = ["--operator-key-file", key_name, "--operator-password-file", password_name];
            parse(&options).unwrap().keys().map(|keys| keys.operator)
        };
        let alice = read().unwrap();
        fs::write(&key, phala_sdk::key::encrypt_keystore("//Alice", "test", "secret").unwrap()).unwrap();
        fs::write(&password, "wrong\n").unwrap();
        assert!(read().is_err());
        fs::write(&password, "secret\n").unwrap();
        assert_eq!(read().unwrap(), alice);
    }

    #[test]
    fn endpoints_must_be_urls() {
        let mut options = parse(&["--operator-key", "//Alice"]).unwrap();
        let keys = options.keys().unwrap();
        let long = format!("http://{}", "x".repeat(300));
        for bad in ["localhost:8640", "ftp://host", "http://", "http:///x", "http://a b", "http://ü.example", &long] {
            options.endpoint = bad.into();
            assert!(options.operator_config(&keys).is_err(), "{bad}");
        }
    }
}
