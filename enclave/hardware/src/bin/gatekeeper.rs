//! A gatekeeper's enclave in a hardware TEE.

use phala_gatekeeper::Gatekeeper;

fn main() -> anyhow::Result<()> {
    phala_enclave_hardware::run(env!("CARGO_BIN_NAME"), Gatekeeper)
}
