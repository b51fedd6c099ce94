//! What a TEE measured when it started.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha256};

/// The identity of an image: what a TEE measured when it started the enclave.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Measurement(pub [u8; 32]);

/// What was measured when the TEE started.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Measurements {
    /// Of an SGX enclave (SDM volume 3D, section 38.15).
    Sgx {
        /// Code and data of the enclave.
        mr_enclave: [u8; 32],
        /// The key that signed the enclave.
        mr_signer: [u8; 32],
        /// The signer's product.
        isv_prod_id: u16,
        /// The product's security version.
        isv_svn: u16,
        /// The configuration given at start (KSS), zero without.
        config_id: [u8; 64],
    },
    /// Of a TDX guest (TDX module ABI 348551, TDINFO).
    Tdx {
        /// The initial memory.
        mr_td: [u8; 48],
        /// What firmware, boot loader, kernel and applications measured at run time.
        rt_mrs: [[u8; 48]; 4],
        /// The owner's configuration that does not change the image.
        mr_config_id: [u8; 48],
        /// The owner.
        mr_owner: [u8; 48],
        /// The owner's configuration of the image.
        mr_owner_config: [u8; 48],
    },
    /// Of an SEV-SNP guest (firmware ABI 56860, table 23).
    SevSnp {
        /// The initial memory.
        measurement: [u8; 48],
        /// What the host gave at launch.
        host_data: [u8; 32],
        /// The digest of the key that signed the identity block, zero without.
        id_key_digest: [u8; 48],
        /// The security version of the guest, from the identity block.
        guest_svn: u32,
        /// The privilege level that asked for the report.
        vmpl: u32,
    },
    /// Of a simulated TEE.
    Simulated(Measurement),
}

impl Measurements {
    /// What identifies the image, folded to 32 bytes: SHA-256 over a domain and fields of fixed length.
    ///
    /// | kind | domain | fields |
    /// |---|---|---|
    /// | SGX | `phala/measurement/sgx/v1` | MRENCLAVE, CONFIGID |
    /// | TDX | `phala/measurement/tdx/v1` | MRTD, RTMR0 to 3, MRCONFIGID, MROWNER, MROWNERCONFIG |
    /// | SEV-SNP | `phala/measurement/sev-snp/v1` | MEASUREMENT, HOST_DATA |
    ///
    /// Simulated TEEs measure 32 bytes.
    pub fn fold(&self) -> Measurement {
        let hash = match self {
            Self::Sgx { mr_enclave, config_id, .. } => {
                Sha256::new_with_prefix(b"phala/measurement/sgx/v1").chain_update(mr_enclave).chain_update(config_id)
            }
            Self::Tdx { mr_td, rt_mrs, mr_config_id, mr_owner, mr_owner_config } => {
                Sha256::new_with_prefix(b"phala/measurement/tdx/v1")
                    .chain_update(mr_td)
                    .chain_update(rt_mrs.as_flattened())
                    .chain_update(mr_config_id)
                    .chain_update(mr_owner)
                    .chain_update(mr_owner_config)
            }
            Self::SevSnp { measurement, host_data, .. } => Sha256::new_with_prefix(b"phala/measurement/sev-snp/v1")
                .chain_update(measurement)
                .chain_update(host_data),
            Self::Simulated(measurement) => return *measurement,
        };
        Measurement(hash.finalize().into())
    }
}
