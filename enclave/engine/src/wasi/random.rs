//! `wasi:random`: three streams of ChaCha20 under the job's seed, one for each interface.

use phala_primitives::FailureReason;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use wasmtime::{Error, Result};

use super::{
    Guest,
    bindings::wasi::random::{insecure, insecure_seed, random},
};
use crate::run::Stop;

/// The most random bytes in one call.
const MAX_BYTES: u64 = 64 << 20;

/// A job's randomness.
pub(super) struct Random {
    secure: ChaCha20Rng,
    insecure: ChaCha20Rng,
    seed: (u64, u64),
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let stream = |number| {
            let mut generator = ChaCha20Rng::from_seed(seed);
            generator.set_stream(number);
            generator
        };
        let mut third = stream(2);
        Self { secure: stream(0), insecure: stream(1), seed: (third.next_u64(), third.next_u64()) }
    }
}

fn bytes(generator: &mut ChaCha20Rng, length: u64) -> Result<Vec<u8>> {
    if length > MAX_BYTES {
        return Err(Error::new(Stop::Failed(FailureReason::Trap)));
    }
    let mut bytes = vec![0; length as usize];
    generator.fill_bytes(&mut bytes);
    Ok(bytes)
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.charge(length);
        bytes(&mut self.random.secure, length)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.charge(8);
        Ok(self.random.secure.next_u64())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.charge(length);
        bytes(&mut self.random.insecure, length)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.charge(8);
        Ok(self.random.insecure.next_u64())
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        self.charge(16);
        Ok(self.random.seed)
    }
}
