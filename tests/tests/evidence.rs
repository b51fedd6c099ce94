//! `phala verify evidence` with evidence that real hardware made: `../shared/evidence`, or `PHALA_EVIDENCE`.

use anyhow::{Context, Result, ensure};
use phala_tests::binary;
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn evidence() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    let folder = env::var_os("PHALA_EVIDENCE").map_or_else(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no recorded evidence in {}", folder.display());
    None
}

/// Exit status, JSON on standard output, and standard error.
fn verify(arguments: &[&Path], options: &[&str]) -> Result<(Option<i32>, Option<Value>, String)> {
    let mut command = Command::new(binary("phala"));
    command.args(["verify", "evidence", "--json"]).args(options).arg(arguments[0]);
    for file in &arguments[1..] {
        command.arg("--collateral").arg(file);
    }
    let output = command.output()?;
    let json = serde_json::from_slice(&output.stdout).ok();
    Ok((output.status.code(), json, String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn recorded_evidence_gets_its_verdict_and_exit_status() -> Result<()> {
    let Some(folder) = evidence() else { return Ok(()) };
    let at = |name: &str| folder.join(name);
    let policies = tempfile::tempdir()?;
    let policy = policies.path().join("clouds.json");
    let clouds = r#"{ "dcap": { "allow_dynamic_platform": true, "allow_cached_keys": true, "allow_smt": true },
        "sev_snp": { "allow_smt": true, "require_crl": false, "require_alias_check": false,
            "minimum_tcb": [{ "generation": "milan", "tcb": { "bootloader": 0, "tee": 0, "snp": 0, "microcode": 0 } }] } }"#;
    fs::write(&policy, clouds)?;
    let policy = policy.to_str().context("a path in UTF-8")?;

    // Intel TDX: accepted in its time under a policy for clouds, with every claim named.
    let tdx = [at("dcap-qvl/tdx_quote"), at("dcap-qvl/tdx_quote_collateral.json")];
    let tdx = [tdx[0].as_path(), tdx[1].as_path()];
    let (status, json, _) = verify(&tdx, &["--at", "1751500000", "--policy", policy])?;
    let json = json.context("a verdict")?;
    ensure!(status == Some(0) && json["accepted"] == true, "{json}");
    ensure!(json["kind"] == "tdx" && json["tcb_status"] == "UpToDate", "{json}");
    ensure!(json["valid_until"] == 1_752_919_234, "{json}");
    let claims = json["checks"].as_array().context("claims")?;
    let named =
        |claim: &str, status: &str| claims.iter().any(|check| check["claim"] == claim && check["status"] == status);
    ensure!(named("certificate-chain", "checked") && named("physical-custody", "not-checked"), "{json}");

    // Refused: under the strict policy, when a list is over, and a guest in debug mode under any policy.
    let snp =
        [at("go-sev-guest/attestation.bin"), at("go-sev-guest/vcek.testcer"), at("go-sev-guest/ask_ark_milan.pem")];
    let snp: Vec<&Path> = snp.iter().map(PathBuf::as_path).collect();
    for (files, options, reason) in [
        (&tdx[..], &["--at", "1751500000"][..], "dynamic"),
        (&tdx[..], &["--at", "1752919235", "--policy", policy][..], "PCK revocation list"),
        (&snp[..], &["--at", "1751500000", "--policy", policy][..], "debug"),
    ] {
        let (status, json, stderr) = verify(files, options)?;
        let json = json.with_context(|| stderr)?;
        ensure!(status == Some(1) && json["accepted"] == false, "{json}");
        ensure!(json["reason"].as_str().is_some_and(|text| text.contains(reason)), "not for {reason}: {json}");
    }
    // Not enough to say anything: what is missing is named.
    let (status, json, stderr) = verify(&tdx[..1], &["--at", "1751500000"])?;
    ensure!(status == Some(1) && json.is_none() && stderr.contains("TCB info"), "{status:?} {stderr}");
    Ok(())
}

#[test]
fn files_that_are_no_evidence_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("what.bin");
    for (content, reason) in [(&b"hello"[..], "neither a quote nor collateral"), (&b""[..], "is empty")] {
        fs::write(&path, content)?;
        let (status, _, stderr) = verify(&[&path], &[])?;
        ensure!(status == Some(1) && stderr.contains(reason) && stderr.contains("what.bin"), "{stderr}");
    }
    Ok(())
}
