//! `phala verify evidence`: a raw quote or report, against its vendor's root.

use std::{
    fs,
    io::Read,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use phala_attestation::{
    Kind, Policy, VerifiedEvidence,
    files::{self, Files, MAX_FILE_BYTES},
    report::{self, hardware_name, hex, measurements},
};

use crate::{
    Status,
    args::VerifyEvidence,
    output::{Output, checks, facts},
};

/// Not accepted.
const REFUSED: u8 = 1;

pub(crate) fn run(options: &VerifyEvidence, output: &Output) -> Status {
    let mut found = Files::default();
    for path in [&options.file].into_iter().chain(&options.collateral) {
        found.add(&read(path)?).with_context(|| path.display().to_string())?;
    }
    let policy = match &options.policy {
        Some(path) => files::parse_policy(&read(path)?).with_context(|| path.display().to_string())?,
        None => Policy::default(),
    };
    let now = match options.at {
        Some(at) => at,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970; set it, or give --at")?
            .as_secs(),
    };
    let (evidence, collateral) = found.finish().context("the evidence is not complete; see --collateral")?;
    let outcome = phala_attestation::verify(&evidence, &collateral, &policy, now);
    output.result(&report::verification(outcome.as_ref(), now), || match &outcome {
        Ok(verified) => accepted(verified, now),
        Err(error) => format!("REFUSED at {now}: {error}"),
    })?;
    Ok(if outcome.is_ok() { 0 } else { REFUSED })
}

/// No more of a file than is looked at.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    fs::File::open(path).with_context(cannot)?.take(limit).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(bytes)
}

fn accepted(verified: &VerifiedEvidence, now: u64) -> String {
    let hardware = hardware_name(&verified.platform().hardware);
    let mut rows = vec![
        ("Accepted", format!("at {now}, until {}", verified.valid_until())),
        ("TEE", format!("{}, {hardware}", kind(verified.kind()))),
        ("Image", hex(&verified.measurement().0)),
    ];
    rows.extend(measurements(verified.measurements()));
    rows.push(("Report data", hex(verified.report_data())));
    format!("{}\n{}", facts(&rows), checks(&report::checks(verified)))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Sgx => "Intel SGX",
        Kind::Tdx => "Intel TDX",
        Kind::SevSnp => "AMD SEV-SNP",
        Kind::Simulated => "SIMULATED",
    }
}
