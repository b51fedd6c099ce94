//! `phala image measure` and `phala image initramfs`: an image from its files, without a chain.

use anyhow::Context as _;
use phala_attestation::{Measurements, report::measurements};
use phala_measure::{
    sev_snp::{Guest, Model},
    sgx,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

use super::name;
use crate::{
    Status,
    args::{MeasureImage, MeasureSevSnp, ProcessorModel},
    output::{Output, facts},
};

pub(super) fn run(image: &MeasureImage, output: &Output) -> Status {
    let measured = match image {
        MeasureImage::Sgx { sigstruct } => {
            sgx::parse(&read(sigstruct)?).with_context(|| sigstruct.display().to_string())?
        }
        MeasureImage::SevSnp(guest) => sev_snp(guest)?,
        MeasureImage::Tdx { mrtd, rtmr0, rtmr1, rtmr2 } => Measurements::Tdx {
            mr_td: *mrtd,
            rt_mrs: [*rtmr0, *rtmr1, *rtmr2, [0; 48]],
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
        },
    };
    let image = name(&measured.fold());
    let parts = measurements(&measured);
    let value = json!({ "measurement": image, "measurements": parts.iter().cloned().collect::<BTreeMap<_, _>>() });
    output.result(&value, || {
        let rows: Vec<_> = [("Image", image)].into_iter().chain(parts).collect();
        facts(&rows)
    })?;
    Ok(0)
}

fn sev_snp(guest: &MeasureSevSnp) -> anyhow::Result<Measurements> {
    let [firmware, kernel, initramfs] = [&guest.firmware, &guest.kernel, &guest.initramfs].map(|path| read(path));
    let model = match guest.model {
        ProcessorModel::Epyc => Model::Epyc,
        ProcessorModel::Rome => Model::Rome,
        ProcessorModel::Milan => Model::Milan,
        ProcessorModel::Genoa => Model::Genoa,
        ProcessorModel::Turin => Model::Turin,
    };
    let guest = Guest {
        firmware: &firmware?,
        kernel: &kernel?,
        initramfs: &initramfs?,
        command_line: &guest.command_line,
        processors: guest.processors,
        model,
        features: guest.features,
    };
    Ok(guest.measure()?)
}

pub(super) fn make_initramfs(enclave: &Path, file: &Path, output: &Output) -> Status {
    let bytes = phala_measure::initramfs(&read(enclave)?);
    fs::write(file, &bytes).with_context(|| format!("writing {}", file.display()))?;
    let hash = format!("0x{}", hex::encode(Sha256::digest(&bytes)));
    let value = json!({ "file": file, "bytes": bytes.len(), "sha256": hash });
    output.result(&value, || {
        facts(&[("Initramfs", file.display().to_string()), ("Bytes", bytes.len().to_string()), ("SHA-256", hash)])
    })?;
    Ok(0)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
