//! How a key is shared, as the chain has it, and the parts of signatures that are verified against that.
//!
//! A signature is made in three steps: each gatekeeper gives its [`Partial`], whoever collects them verifies each one against the
//! [`VerifiedSharing`], and [`VerifiedSharing::combine`]s a threshold of them. The result is verified again, against the public key.

use std::{collections::BTreeSet, num::NonZeroU32};

use codec::{Decode, Encode};
use commonware_codec::{Copying, Decode as _, DecodeExt, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt,
        primitives::{
            ops::{self, threshold},
            sharing::ModeVersion,
            variant::{MinSig, PartialSignature},
        },
    },
    ed25519,
};
use commonware_parallel::Sequential;
use phala_primitives::{
    AppId, GatekeeperId, Hash,
    attestation::SealingKeyId,
    gatekeeper::{
        APP_KEY_NAMESPACE, BEACON_NAMESPACE, Beacon, CeremonyId, MAX_GATEKEEPERS, PublicKey, Round,
        SEALING_KEY_NAMESPACE, Sharing, app_key_message, sealing_key_message, threshold as threshold_of,
    },
};
use zeroize::Zeroizing;

/// What a ceremony publishes.
pub(crate) type Output = feldman_desmedt::Output<MinSig, ed25519::PublicKey>;

/// The most participants that any encoding is read with.
pub(crate) const MAX_PARTICIPANTS: NonZeroU32 = match NonZeroU32::new(MAX_GATEKEEPERS) {
    Some(most) => most,
    None => NonZeroU32::MIN,
};

/// What a network key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An app's key.
    AppKey {
        /// The app.
        app: AppId,
        /// The version of its key.
        version: u32,
    },
    /// A key to seal with. Only the root key signs it.
    SealingKey(SealingKeyId),
    /// A round of the random beacon. Only the root key signs it.
    Beacon {
        /// The chain.
        genesis_hash: Hash,
        /// The round.
        round: Round,
    },
}

impl Message {
    /// The namespace and the message, as commonware takes them.
    pub(crate) fn signed(&self) -> (&'static [u8], Vec<u8>) {
        match self {
            Self::AppKey { app, version } => (APP_KEY_NAMESPACE, app_key_message(app, *version)),
            Self::SealingKey(key) => (SEALING_KEY_NAMESPACE, sealing_key_message(key)),
            Self::Beacon { genesis_hash, round } => (BEACON_NAMESPACE, Beacon::message(genesis_hash, *round)),
        }
    }
}

/// A gatekeeper's part of a signature, as it says. For app keys it is a secret: `threshold` of them are the key.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Partial {
    /// The ceremony in which the gatekeeper got its share.
    pub ceremony: CeremonyId,
    /// Commonware's encoding of a `PartialSignature`.
    pub signature: Vec<u8>,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial(ceremony {})", self.ceremony)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.signature);
    }
}

/// A part that was verified. Only [`VerifiedSharing::verify`] makes it.
#[derive(Clone)]
pub struct VerifiedPartial {
    ceremony: CeremonyId,
    message: Message,
    gatekeeper: GatekeeperId,
    partial: PartialSignature<MinSig>,
}

impl VerifiedPartial {
    /// Whose.
    pub fn gatekeeper(&self) -> GatekeeperId {
        self.gatekeeper
    }

    /// A part of what.
    pub fn message(&self) -> Message {
        self.message
    }
}

impl std::fmt::Debug for VerifiedPartial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedPartial({}, {:?})", self.gatekeeper, self.message)
    }
}

/// How a key is shared: read from the chain, and checked to fit together.
#[derive(Clone, Debug)]
pub struct VerifiedSharing {
    ceremony: CeremonyId,
    public_key: PublicKey,
    players: Vec<GatekeeperId>,
    output: Output,
}

impl VerifiedSharing {
    /// Reads a sharing that comes from the finalized chain.
    ///
    /// # Errors
    /// When its parts do not fit together.
    pub fn new<BlockNumber>(sharing: &Sharing<BlockNumber>) -> Result<Self, SharingError> {
        let output = Output::decode_cfg(Copying(&sharing.output), &(MAX_PARTICIPANTS, ModeVersion::v0()))
            .map_err(|_| SharingError::Output)?;
        let players: Vec<&[u8]> = output.players().iter().map(AsRef::as_ref).collect();
        let count = u32::try_from(players.len()).map_err(|_| SharingError::Players)?;
        if players != sharing.players.iter().map(|player| player.0.as_slice()).collect::<Vec<_>>()
            || output.public().total().get() != count
        {
            return Err(SharingError::Players);
        }
        if output.public().required() != threshold_of(count) {
            return Err(SharingError::Threshold);
        }
        if public_key(&output) != Some(sharing.public_key) {
            return Err(SharingError::PublicKey);
        }
        Ok(Self {
            ceremony: sharing.ceremony,
            public_key: sharing.public_key,
            players: sharing.players.clone(),
            output,
        })
    }

    /// The ceremony that ended with it.
    pub fn ceremony(&self) -> CeremonyId {
        self.ceremony
    }

    /// The key.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Who has shares, in ascending order.
    pub fn players(&self) -> &[GatekeeperId] {
        &self.players
    }

    /// How many parts make a signature.
    pub fn threshold(&self) -> u32 {
        self.output.public().required()
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Verifies a gatekeeper's part of the signature over `message`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn verify(
        &self,
        gatekeeper: GatekeeperId,
        message: Message,
        partial: &Partial,
    ) -> Result<VerifiedPartial, PartialError> {
        if partial.ceremony != self.ceremony {
            return Err(PartialError::Ceremony { gatekeeper, given: partial.ceremony, expected: self.ceremony });
        }
        let signature = PartialSignature::<MinSig>::decode(Copying(&partial.signature))
            .map_err(|_| PartialError::Malformed { gatekeeper })?;
        let number = usize::try_from(signature.index.get()).unwrap_or(usize::MAX);
        if self.players.get(number) != Some(&gatekeeper) {
            return Err(PartialError::Number { gatekeeper });
        }
        let (namespace, bytes) = message.signed();
        threshold::verify_message(self.output.public(), namespace, &bytes, &signature)
            .map_err(|_| PartialError::Signature { gatekeeper })?;
        Ok(VerifiedPartial { ceremony: self.ceremony, message, gatekeeper, partial: signature })
    }

    /// Puts a threshold of parts together, and verifies the signature, a compressed point of G1.
    pub(crate) fn combine(
        &self,
        message: &Message,
        partials: &[VerifiedPartial],
    ) -> Result<Zeroizing<[u8; 48]>, CombineError> {
        if let Some(other) =
            partials.iter().find(|partial| partial.ceremony != self.ceremony || partial.message != *message)
        {
            return Err(CombineError::Other { gatekeeper: other.gatekeeper });
        }
        let found = partials.iter().map(|partial| partial.gatekeeper).collect::<BTreeSet<_>>().len();
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found < self.threshold() {
            return Err(CombineError::TooFew { needed: self.threshold(), found });
        }
        let parts = partials.iter().map(|partial| &partial.partial);
        let signature =
            threshold::recover(self.output.public(), parts, &Sequential).map_err(|_| CombineError::Signature)?;
        let (namespace, bytes) = message.signed();
        ops::verify_message::<MinSig>(self.output.public().public(), namespace, &bytes, &signature)
            .map_err(|_| CombineError::Signature)?;
        let bytes = Zeroizing::new(signature.encode().to_vec());
        bytes.as_slice().try_into().map(Zeroizing::new).map_err(|_| CombineError::Signature)
    }
}

pub(crate) fn public_key(output: &Output) -> Option<PublicKey> {
    output.public().public().encode().to_vec().try_into().ok().map(PublicKey)
}

/// Why a sharing of the chain cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharingError {
    /// The output is none in commonware's encoding.
    #[error("the sharing's output cannot be read")]
    Output,
    /// The output is of other players.
    #[error("the sharing's output is not of its players")]
    Players,
    /// Another number of parts than the threshold makes a signature.
    #[error("the sharing's output has another threshold")]
    Threshold,
    /// The output is of another key.
    #[error("the sharing's output is not of its key")]
    PublicKey,
}

/// Why a part is not a gatekeeper's: its fault, or that of whoever carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartialError {
    /// It was made with a share of another ceremony: one of the two is behind.
    #[error("the part of {gatekeeper} is of ceremony {given} and not of {expected}")]
    Ceremony {
        /// Whose part.
        gatekeeper: GatekeeperId,
        /// What the part says.
        given: CeremonyId,
        /// That of the sharing.
        expected: CeremonyId,
    },
    /// It is none in commonware's encoding.
    #[error("the part of {gatekeeper} cannot be read")]
    Malformed {
        /// Whose part.
        gatekeeper: GatekeeperId,
    },
    /// It has the number of another gatekeeper, or the gatekeeper has no share.
    #[error("the part of {gatekeeper} has not its number")]
    Number {
        /// Whose part.
        gatekeeper: GatekeeperId,
    },
    /// It is no signature over the message by this gatekeeper's share.
    #[error("the part of {gatekeeper} is false")]
    Signature {
        /// Whose part.
        gatekeeper: GatekeeperId,
    },
}

/// Why parts make no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// One is of another sharing or message.
    #[error("the part of {gatekeeper} is of another sharing or message")]
    Other {
        /// Whose part.
        gatekeeper: GatekeeperId,
    },
    /// There are too few, of different gatekeepers.
    #[error("{needed} parts are needed, and {found} are there")]
    TooFew {
        /// The threshold.
        needed: u32,
        /// How many there are.
        found: u32,
    },
    /// What came out is not the key's signature, although each part was verified.
    #[error("the parts make no signature of the key")]
    Signature,
}
