//! A worker's enclave in a hardware TEE.

use phala_worker::Worker;

fn main() -> anyhow::Result<()> {
    phala_enclave_hardware::run(env!("CARGO_BIN_NAME"), Worker::default())
}
