//! TDX and SEV-SNP on Linux: reports from configfs-tsm.
//!
//! An entry is a folder that the guest's kernel fills with files. Who writes 64 bytes to `inblob` and reads `outblob` makes the
//! kernel get a report for them; `auxblob` then has what the host gave beside it. `generation` counts the writes, so that it
//! shows when somebody else has written between: then the report may be of other data, and is asked for again.
//!
//! Source: Linux, Documentation/ABI/testing/configfs-tsm-report. The table of certificates: AMD, Guest-Hypervisor Communication
//! Block Standardization (56421), section 4.1.8.1.

use phala_attestation::{Evidence, MAX_QUOTE_BYTES};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    Error,
    files::{failed, read, read_word, write, wrong},
};

const FOLDER: &str = "sys/kernel/config/tsm/report";
/// The name of this enclave's entry.
const ENTRY: &str = "phala";

/// How often a report is asked for when somebody else writes to the entry.
const ATTEMPTS: u32 = 8;

const REPORT_BYTES: usize = 1184;
/// Of what the host gives beside a report.
const MAX_CERTIFICATES_BYTES: usize = 32 * 1024;

/// 63da758d-e664-4564-adc5-f4b93be8accd
const VCEK: [u8; 16] = 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes();
/// a8074bc2-a25a-483e-aae6-39c045a0b8a1
const VLEK: [u8; 16] = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes();
/// Which key signed a report (firmware ABI 56860, table 23): bits 2 to 4 of the byte here. 0 is the VCEK, 1 the VLEK.
const SIGNING_KEY: usize = 0x48;

/// Whether configfs-tsm is below `root`.
pub fn is_below(root: &Path) -> bool {
    root.join(FOLDER).exists()
}

/// An entry of configfs-tsm.
pub struct Tsm {
    entry: PathBuf,
    provider: Provider,
    /// One report at a time.
    turn: Mutex<()>,
}

#[derive(Clone, Copy)]
enum Provider {
    Tdx,
    SevSnp,
}

impl Tsm {
    /// This enclave's entry below `root`, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be made, or the reports are not of TDX or SEV-SNP.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let entry = root.join(FOLDER).join(ENTRY);
        match fs::create_dir(&entry) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&entry)(error)),
            Ok(()) | Err(_) => {}
        }
        let path = entry.join("provider");
        let provider = match read_word(&path)?.as_str() {
            "tdx_guest" => Provider::Tdx,
            "sev_guest" => Provider::SevSnp,
            _ => return Err(wrong(&path, "it is neither `tdx_guest` nor `sev_guest`")),
        };
        Ok(Self { entry, provider, turn: Mutex::default() })
    }

    /// A quote or report for `report_data`, at the guest's default level of privilege.
    ///
    /// # Errors
    /// When the host gives none, or others write to the entry all the time. Nothing else of it is checked yet.
    pub fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let before = self.generation()?;
            // The kernel takes the bytes when the file is closed, where nobody hears of errors: the generation tells.
            write(&self.entry.join("inblob"), report_data)?;
            let evidence = self.read()?;
            if self.generation()? == before.wrapping_add(1) {
                return Ok(evidence);
            }
        }
        Err(Error::Contended)
    }

    fn generation(&self) -> Result<u64, Error> {
        let path = self.entry.join("generation");
        read_word(&path)?.parse().map_err(|_| wrong(&path, "it is no number"))
    }

    fn read(&self) -> Result<Evidence, Error> {
        let outblob = self.entry.join("outblob");
        match self.provider {
            Provider::Tdx => Ok(Evidence::Dcap { quote: read(&outblob, MAX_QUOTE_BYTES)?.to_vec(), pck_chain: None }),
            Provider::SevSnp => {
                let report = read(&outblob, REPORT_BYTES)?.to_vec();
                let certificates = match read(&self.entry.join("auxblob"), MAX_CERTIFICATES_BYTES) {
                    Err(Error::File { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                    certificates => certificates.map(|bytes| bytes.to_vec()),
                }?;
                let key = match report.get(SIGNING_KEY).map(|flags| (flags >> 2) & 0b111) {
                    Some(1) => VLEK,
                    _ => VCEK,
                };
                let endorsement = find(&certificates, key).ok_or(Error::Certificates)?.to_vec();
                Ok(Evidence::SevSnp { report, endorsement })
            }
        }
    }
}

/// The certificate named `id` in a table of certificates, empty if there is none. `None` where the table is malformed.
///
/// A table begins with entries of an id, an offset and a length, of which the last has an id of zeros.
fn find(table: &[u8], id: [u8; 16]) -> Option<&[u8]> {
    let mut rest = table;
    while !rest.is_empty() {
        let (entry, after) = rest.split_first_chunk::<24>()?;
        let (name, place) = entry.split_first_chunk::<16>()?;
        let (offset, length) = place.split_first_chunk::<4>()?;
        if *name == [0; 16] {
            break;
        }
        if *name == id {
            let offset = usize::try_from(u32::from_le_bytes(*offset)).ok()?;
            let length = usize::try_from(u32::from_le_bytes(*length.first_chunk()?)).ok()?;
            return table.get(offset..offset.checked_add(length)?);
        }
        rest = after;
    }
    Some(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn the_certificate_of_the_key_is_found_in_the_table() {
        let both = table(&[(VCEK, b"chip"), (VLEK, b"loaded")]);
        assert_eq!(find(&both, VCEK), Some(&b"chip"[..]));
        assert_eq!(find(&both, VLEK), Some(&b"loaded"[..]));
        assert_eq!(find(&table(&[(VCEK, b"chip")]), VLEK), Some(&[][..]));
        assert_eq!(find(&[], VCEK), Some(&[][..]));
        // Without the last entry.
        assert_eq!(find(&[1; 24], VCEK), Some(&[][..]));
    }

    #[test]
    fn a_malformed_table_is_refused() {
        let good = table(&[(VCEK, b"chip")]);
        // Cut off in an entry, or before the certificate's end.
        for length in [1, 23, good.len() - 1] {
            assert_eq!(find(&good[..length], VCEK), None, "{length}");
        }
        for place in [16, 20] {
            let mut bad = good.clone();
            bad[place..place + 4].fill(0xff);
            assert_eq!(find(&bad, VCEK), None);
        }
    }
}
