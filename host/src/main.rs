//! The host process.

use std::io::IsTerminal;

use clap::Parser;
use phala_host::config::{LogFormat, Options};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(phala_host::run(options));
    // Threads that wait for a disk or a peer must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
