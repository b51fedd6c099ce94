//! A gatekeeper's share of a network key.

use codec::{Decode, Encode};
use commonware_codec::{Copying, DecodeExt, Write};
use commonware_cryptography::bls12381::primitives::{
    group::{self, Private},
    ops::threshold,
    variant::MinSig,
};
use commonware_utils::Participant;
use phala_primitives::gatekeeper::{CeremonyId, NetworkKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::sharing::{Message, Partial};

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

/// An encoding that is erased. There is room for it at once: a vector that grows leaves copies behind.
pub(crate) fn secret_bytes(value: &impl Write) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(128));
    value.write(&mut *bytes);
    bytes
}

/// A gatekeeper's share of a network key. Shows nothing secret in `Debug`.
#[derive(Clone, PartialEq, Eq, Encode)]
pub struct Share {
    key: NetworkKey,
    ceremony: CeremonyId,
    index: u32,
    /// Big-endian, below the group's order and not zero.
    private: Secret,
}

impl Decode for Share {
    fn decode<I: codec::Input>(input: &mut I) -> Result<Self, codec::Error> {
        let (key, ceremony, index, private) = Decode::decode(input)?;
        let share = Self { key, ceremony, index, private };
        share.group().map(|_| share.clone()).ok_or_else(|| "not a scalar".into())
    }
}

impl Share {
    pub(crate) fn new(key: NetworkKey, ceremony: CeremonyId, share: &group::Share) -> Option<Self> {
        let bytes = secret_bytes(&share.private);
        let private = Secret(bytes.as_slice().try_into().ok()?);
        Some(Self { key, ceremony, index: share.index.get(), private })
    }

    /// Of which key.
    pub fn key(&self) -> NetworkKey {
        self.key
    }

    /// The ceremony that it comes from: shares of different ceremonies do not fit together.
    pub fn ceremony(&self) -> CeremonyId {
        self.ceremony
    }

    /// Its number: the position of its gatekeeper among the ceremony's players.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// `None` cannot be: the scalar is checked when a share is made.
    pub(crate) fn group(&self) -> Option<group::Share> {
        let private = Private::decode(Copying(&self.private.0)).ok()?;
        Some(group::Share::new(Participant::new(self.index), private))
    }

    pub(crate) fn partial(&self, message: &Message) -> Option<Partial> {
        let (namespace, bytes) = message.signed();
        let partial = threshold::sign_message::<MinSig>(&self.group()?, namespace, &bytes);
        Some(Partial { ceremony: self.ceremony, signature: secret_bytes(&partial).to_vec() })
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({:?}, ceremony {}, number {})", self.key, self.ceremony, self.index)
    }
}
