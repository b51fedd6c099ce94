//! What a user waits for before an upload: encrypting a file to a worker, against the stock age command.

use anyhow::{Context, Result, ensure};
use phala_sdk::encryption::{Identity, encrypt_file};
use std::{
    fs::File,
    io::{self, Read},
    process::Command,
};

use crate::statistics::{Samples, compare};

pub fn run(mib: u64, runs: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plain = folder.path().join("plain");
    // Incompressible, and no zeros for a file system to skip.
    let mut random = File::open("/dev/urandom")?.take(mib << 20);
    io::copy(&mut random, &mut File::create(&plain)?)?;
    let recipient = Identity::generate().recipient();

    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..runs {
        ours.time(|| encrypt_file(&plain, std::slice::from_ref(&recipient), folder.path()))?;
        let status = theirs.time(|| {
            Command::new("age")
                .args(["--encrypt", "--recipient", &recipient.to_string(), "--output"])
                .args([folder.path().join("cipher"), plain.clone()])
                .status()
        });
        ensure!(status.context("starting age; scripts/setup.sh installs it")?.success(), "age failed");
    }
    println!("{:<28} {:>14} {:>14} {:>8}", "", "phala", "age", "ratio");
    compare(&format!("encrypt and hash {mib} MiB"), &ours, &theirs);
    Ok(())
}
