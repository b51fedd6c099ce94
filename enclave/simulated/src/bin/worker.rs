//! A worker's enclave on a simulated TEE.

use phala_worker::Worker;

fn main() -> anyhow::Result<()> {
    phala_enclave_simulated::run(env!("CARGO_BIN_NAME"), Worker::default())
}
