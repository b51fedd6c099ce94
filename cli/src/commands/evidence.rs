//! `phala verify evidence`: a raw quote or report, against its vendor's root.

use std::{
    fs,
    io::Read,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use phala_attestation::{
    Kind, Measurements, Policy, VerifiedEvidence,
    files::{self, Files, MAX_FILE_BYTES},
};
use phala_sdk::evidence::{self, hardware_name};
use serde_json::{Value, json};

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
    match phala_attestation::verify(&evidence, &collateral, &policy, now) {
        Ok(verified) => accepted(&verified, now, output),
        Err(error) => {
            let value = json!({ "accepted": false, "at": now, "reason": error.to_string() });
            output.result(&value, || format!("REFUSED at {now}: {error}"))?;
            Ok(REFUSED)
        }
    }
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

fn accepted(verified: &VerifiedEvidence, now: u64, output: &Output) -> Status {
    let claims = evidence::checks(verified);
    let platform = verified.platform();
    let value = json!({
        "accepted": true,
        "at": now,
        "kind": verified.kind(),
        "measurement": hex(&verified.measurement().0),
        "measurements": measurements(verified.measurements()).into_iter().collect::<serde_json::Map<_, _>>(),
        "report_data": hex(verified.report_data()),
        "platform": platform.id.map(|id| hex(&id.0)),
        "hardware": hardware_name(&platform.hardware),
        "tcb_status": verified.tcb().status,
        "advisories": verified.tcb().advisories,
        "tcb_evaluation_number": verified.tcb().evaluation_number,
        "valid_until": verified.valid_until(),
        "checks": claims,
    });
    output.result(&value, || {
        let mut rows = vec![
            ("Accepted", format!("at {now}, until {}", verified.valid_until())),
            ("TEE", format!("{}, {}", kind(verified.kind()), hardware_name(&platform.hardware))),
            ("Image", hex(&verified.measurement().0)),
        ];
        let parts = measurements(verified.measurements());
        rows.extend(parts.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default().to_owned())));
        rows.push(("Report data", hex(verified.report_data())));
        format!("{}\n{}", facts(&rows), checks(&claims))
    })?;
    Ok(0)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Sgx => "Intel SGX",
        Kind::Tdx => "Intel TDX",
        Kind::SevSnp => "AMD SEV-SNP",
        Kind::Simulated => "SIMULATED",
    }
}

/// In the vendor's terms.
pub(super) fn measurements(measurements: &Measurements) -> Vec<(String, Value)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| parts.push((name.into(), hex(bytes)));
    match measurements {
        Measurements::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_id } => {
            add("MRENCLAVE", mr_enclave);
            add("MRSIGNER", mr_signer);
            add("CONFIGID", config_id);
            parts.push(("ISVPRODID".into(), isv_prod_id.to_string()));
            parts.push(("ISVSVN".into(), isv_svn.to_string()));
        }
        Measurements::Tdx { mr_td, rt_mrs, mr_config_id, mr_owner, mr_owner_config } => {
            add("MRTD", mr_td);
            for (number, register) in rt_mrs.iter().enumerate() {
                add(&format!("RTMR{number}"), register);
            }
            add("MRCONFIGID", mr_config_id);
            add("MROWNER", mr_owner);
            add("MROWNERCONFIG", mr_owner_config);
        }
        Measurements::SevSnp { measurement, host_data, id_key_digest, guest_svn, vmpl } => {
            add("MEASUREMENT", measurement);
            add("HOST_DATA", host_data);
            add("ID_KEY_DIGEST", id_key_digest);
            parts.push(("GUEST_SVN".into(), guest_svn.to_string()));
            parts.push(("VMPL".into(), vmpl.to_string()));
        }
        Measurements::Simulated(measurement) => add("MEASUREMENT", &measurement.0),
    }
    parts.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
