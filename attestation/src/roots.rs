//! The vendors' root certificates.

use crate::Generation;

/// The vendors' root certificates, DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roots<'a> {
    /// Intel SGX Root CA, of SGX and TDX alike.
    pub intel: &'a [u8],
    pub milan: &'a [u8],
    pub genoa: &'a [u8],
    pub turin: &'a [u8],
}

impl Roots<'static> {
    /// As published: SHA-256 `44a0196b…`, `69d063b4…`, `4c6598d1…`, `1f084161…`. A test holds the whole hashes.
    pub const PINNED: Self = Self {
        intel: include_bytes!("roots/intel-sgx-root-ca.der"),
        milan: include_bytes!("roots/ark-milan.der"),
        genoa: include_bytes!("roots/ark-genoa.der"),
        turin: include_bytes!("roots/ark-turin.der"),
    };
}

impl<'a> Roots<'a> {
    pub fn amd(&self, generation: Generation) -> &'a [u8] {
        match generation {
            Generation::Milan => self.milan,
            Generation::Genoa => self.genoa,
            Generation::Turin => self.turin,
        }
    }
}
