//! SGX under Gramine: files below `/dev/attestation`, which Gramine makes up inside the enclave.
//!
//! Source: Gramine's documentation, "Attestation and Secret Provisioning", low-level interface.

use phala_attestation::{Evidence, MAX_QUOTE_BYTES};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use zeroize::Zeroizing;

use crate::{
    Error,
    files::{read, read_word, write, wrong},
};

const FOLDER: &str = "dev/attestation";
/// EGETKEY's seal key under the policy MRENCLAVE: another enclave, another processor or a debug enclave gets another.
const KEY: &str = "dev/attestation/keys/_sgx_mrenclave";
const KEY_BYTES: usize = 16;

/// Whether Gramine's files are below `root`.
pub fn is_below(root: &Path) -> bool {
    root.join(FOLDER).exists()
}

/// Gramine's attestation.
pub struct Gramine {
    folder: PathBuf,
    /// Report data and quote are two files of the whole process.
    turn: Mutex<()>,
}

impl Gramine {
    /// That of the process whose files are below `root`.
    ///
    /// # Errors
    /// When the manifest does not have `sgx.remote_attestation = "dcap"`.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let folder = root.join(FOLDER);
        let path = folder.join("attestation_type");
        match read_word(&path)?.as_str() {
            "dcap" => Ok(Self { folder, turn: Mutex::default() }),
            _ => Err(wrong(&path, "it is not `dcap`: set sgx.remote_attestation in the manifest")),
        }
    }

    /// A quote for `report_data`.
    ///
    /// # Errors
    /// When the host's quoting enclave gives none. Nothing of it is checked yet.
    pub fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        write(&self.folder.join("user_report_data"), report_data)?;
        let quote = read(&self.folder.join("quote"), MAX_QUOTE_BYTES)?.to_vec();
        Ok(Evidence::Dcap { quote, pck_chain: None })
    }
}

/// What the sealing key is derived from.
pub(crate) fn sealing_secret(root: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let path = root.join(KEY);
    let key = read(&path, KEY_BYTES)?;
    match key.len() == KEY_BYTES && key.iter().any(|byte| *byte != 0) {
        true => Ok(key),
        false => Err(wrong(&path, "it is no key of 128 bits")),
    }
}
