//! A gatekeeper's enclave on a simulated TEE.

use phala_gatekeeper::Gatekeeper;

fn main() -> anyhow::Result<()> {
    phala_enclave_simulated::run(env!("CARGO_BIN_NAME"), Gatekeeper)
}
