//! What a TEE will measure of an image, computed from the image's files: so that whoever rebuilds an image can tell whether it is
//! the one that a chain allows.
//!
//! | TEE | from | by |
//! |---|---|---|
//! | SEV-SNP | firmware, kernel, initramfs, command line, number and model of processors | [`sev_snp::Guest`] |
//! | SGX | the `.sig` file of `gramine-sgx-sign` | [`sgx::parse`] |
//! | TDX | registers that another tool computed or a guest reported | `Measurements::Tdx` itself |
//!
//! Each ends as [`Measurements`](phala_attestation::Measurements), whose `fold` is what governance allows. [`initramfs`] makes
//! the same initramfs of the same enclave, byte by byte.
//!
//! For TDX there is no calculation: RTMR0 depends on tables that QEMU makes for the virtual machine, and there is no published
//! value here to check one against.

mod initramfs;
pub mod sev_snp;
pub mod sgx;

pub use initramfs::initramfs;
