//! The TEE that this process runs in: its evidence, its measurements, and what its sealing key is derived from.
//!
//! | TEE | evidence | secret to seal with |
//! |---|---|---|
//! | SGX under Gramine | `/dev/attestation/quote` | from `/dev/attestation/keys/_sgx_mrenclave` |
//! | TDX guest on Linux | configfs-tsm | none |
//! | SEV-SNP guest on Linux | configfs-tsm | from the secure processor, by `/dev/sev-guest` |
//!
//! An [`Attester`] is what was found below a root, which is `/` but in tests.
//!
//! # Trust
//! In each of these TEEs, what is behind the files is inside: Gramine, or the guest's kernel, both of which are measured. What
//! they hand on from outside is not: a quote is made by the host's quoting enclave, a certificate is the host's word. Here
//! its size is bounded, and that it binds what was asked for is checked; nothing of it is believed before
//! [`phala_attestation::verify`]. The enclave's own measurement is read from such evidence, which Intel's TEEs get through the
//! host: one that forges it gets an enclave that tells a wrong name, whose evidence does not verify, and whose sealing key
//! still comes from the processor's secret for this very image.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod error;
mod files;
mod gramine;
mod sev_guest;
#[cfg(test)]
mod testing;
mod tsm;

pub use error::Error;

use gramine::Gramine;
use phala_attestation::{Evidence, Kind, Measurement, Measurements, Unverified};
use std::path::{Path, PathBuf};
use tsm::Tsm;
use zeroize::Zeroizing;

/// A hardware TEE, seen from inside.
pub struct Attester {
    root: PathBuf,
    source: Source,
    kind: Kind,
    measurement: Measurement,
}

enum Source {
    Gramine(Gramine),
    Tsm(Tsm),
}

impl Attester {
    /// Looks below `root` for the TEE that this process runs in, and asks it what it has measured.
    ///
    /// # Errors
    /// When there is none, or more than one, or it is not of the kind that is `expected`, or gives no evidence.
    pub fn find(root: &Path, expected: Option<Kind>) -> Result<Self, Error> {
        let source = match (gramine::is_below(root), tsm::is_below(root)) {
            (true, false) => Source::Gramine(Gramine::open(root)?),
            (false, true) => Source::Tsm(Tsm::open(root)?),
            (false, false) => return Err(Error::NoTee),
            (true, true) => return Err(Error::TwoTees),
        };
        let (_, found) = source.evidence(&[0; 64])?;
        let kind = match &found {
            Measurements::Sgx { .. } => Kind::Sgx,
            Measurements::Tdx { .. } => Kind::Tdx,
            Measurements::SevSnp { .. } => Kind::SevSnp,
            Measurements::Simulated(_) => return Err(Error::NoTee),
        };
        match expected {
            Some(expected) if expected != kind => Err(Error::OtherTee { expected, found: kind }),
            _ => Ok(Self { root: root.to_owned(), source, kind, measurement: found.fold() }),
        }
    }

    /// Which TEE it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it measured of this enclave.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Evidence that binds `report_data`. An SEV-SNP guest whose host gave it no certificate leaves the endorsement empty, for
    /// the host to add.
    ///
    /// # Errors
    /// When there is none, or it is not what was asked for.
    pub fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, Error> {
        let (evidence, measurements) = self.source.evidence(report_data)?;
        if measurements.fold() == self.measurement { Ok(evidence) } else { Err(Error::OtherMeasurement) }
    }

    /// What only this image on this platform gets, to derive the sealing key from; `None` where the platform has nothing of the kind,
    /// as TDX.
    ///
    /// # Errors
    /// When the platform should have one and does not give it.
    pub fn sealing_secret(&self) -> Result<Option<SealingSecret>, Error> {
        let (domain, secret): (&[u8], _) = match self.kind {
            Kind::Sgx => (b"phala/sgx/seal/v1", gramine::sealing_secret(&self.root)?),
            Kind::SevSnp => (b"phala/sev-snp/seal/v1", sev_guest::sealing_secret(&self.root)?),
            Kind::Tdx | Kind::Simulated => return Ok(None),
        };
        Ok(Some(SealingSecret { domain, secret }))
    }
}

/// What a sealing key is derived from.
pub struct SealingSecret {
    /// The kind of platform, and the version of the derivation.
    pub domain: &'static [u8],
    /// Uniformly random.
    pub secret: Zeroizing<Vec<u8>>,
}

impl Source {
    /// Evidence that says that it binds `report_data`, and what it says was measured.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<(Evidence, Measurements), Error> {
        let evidence = match self {
            Self::Gramine(gramine) => gramine.evidence(report_data)?,
            Self::Tsm(tsm) => tsm.evidence(report_data)?,
        };
        let said = Unverified::parse(&evidence).map_err(Error::Malformed)?;
        if said.report_data == *report_data { Ok((evidence, said.measurements)) } else { Err(Error::ReportData) }
    }
}

#[cfg(test)]
mod tests;
