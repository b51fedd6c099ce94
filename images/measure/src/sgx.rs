//! SGX: the measurement in a SIGSTRUCT, which `gramine-sgx-sign` computes and writes as `.sig`.
//!
//! The processor compares it with what it has measured itself, and checks the signature, when the enclave starts (EINIT).
//!
//! Source: Intel SDM volume 3D, section 38.13.

use phala_attestation::Measurements;
use sha2::{Digest, Sha256};

const BYTES: usize = 1808;
const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER_2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];
const DEBUG: u8 = 1 << 1;

/// A file is not what an enclave is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no SIGSTRUCT.
    #[error("this is no SIGSTRUCT: give the `.sig` file that gramine-sgx-sign wrote")]
    NoSigstruct,
    /// It allows to debug the enclave.
    #[error("the enclave is signed for debugging, and no chain accepts it: set sgx.debug = false in the manifest")]
    Debug,
}

/// What the processor will measure of the enclave that `sigstruct` belongs to, under Gramine, which sets no CONFIGID.
///
/// # Errors
/// When it is no SIGSTRUCT, or one for debugging.
pub fn parse(sigstruct: &[u8]) -> Result<Measurements, Error> {
    let bytes: &[u8; BYTES] = sigstruct.try_into().map_err(|_| Error::NoSigstruct)?;
    let field = |at: usize, length: usize| &bytes[at..at + length];
    if field(0, 16) != HEADER || field(24, 16) != HEADER_2 || field(512, 4) != 3_u32.to_le_bytes() {
        return Err(Error::NoSigstruct);
    }
    // The flag has to be off, and its mask on, so that no enclave with the flag starts.
    if bytes[928] & DEBUG != 0 || bytes[944] & DEBUG == 0 {
        return Err(Error::Debug);
    }
    Ok(Measurements::Sgx {
        mr_enclave: bytes[960..992].try_into().expect("it has 32 bytes"),
        mr_signer: Sha256::digest(field(128, 384)).into(),
        isv_prod_id: u16::from_le_bytes([bytes[1024], bytes[1025]]),
        isv_svn: u16::from_le_bytes([bytes[1026], bytes[1027]]),
        config_id: [0; 64],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sigstruct() -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        bytes[..16].copy_from_slice(&HEADER);
        bytes[24..40].copy_from_slice(&HEADER_2);
        bytes[128..512].fill(5);
        bytes[512] = 3;
        bytes[928] = 4;
        bytes[944] = 0xff;
        bytes[960..992].fill(9);
        bytes[1024] = 1;
        bytes[1026] = 2;
        bytes
    }

    #[test]
    fn the_measurement_is_read() {
        let Ok(Measurements::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_id }) = parse(&sigstruct())
        else {
            panic!("it is a SIGSTRUCT")
        };
        assert_eq!((mr_enclave, isv_prod_id, isv_svn, config_id), ([9; 32], 1, 2, [0; 64]));
        assert_eq!(mr_signer, <[u8; 32]>::from(Sha256::digest([5; 384])));
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(parse(&sigstruct()[1..]), Err(Error::NoSigstruct));
        for at in [0, 24, 512] {
            let mut bytes = sigstruct();
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes), Err(Error::NoSigstruct), "{at}");
        }
    }

    #[test]
    fn an_enclave_that_can_be_debugged_is_refused() {
        for at in [928, 944] {
            let mut bytes = sigstruct();
            bytes[at] ^= DEBUG;
            assert_eq!(parse(&bytes), Err(Error::Debug), "{at}");
        }
    }
}
