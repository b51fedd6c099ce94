//! What gatekeepers with broken enclaves say to those who ask for app keys.

use codec::Encode as _;
use commonware_codec::{Copying, DecodeExt, Encode as _};
use commonware_cryptography::bls12381::primitives::{
    group::{Private, Share},
    ops::threshold::sign_message,
    variant::{MinSig, PartialSignature},
};
use commonware_utils::Participant;
use hpke::{
    Deserializable, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::X25519HkdfSha256,
    single_shot_seal_with_rng,
};
use phala_keys::{Facts, Granted, VerifiedRequest, reply};
use phala_primitives::{
    AppId,
    gatekeeper::{
        APP_KEY_NAMESPACE, APP_KEY_VERSION, CeremonyId, KeyReply, KeyRequest, SignedKeyRequest, app_key_message,
    },
};
use rand_core::Rng;

use super::{
    gatekeeper::{Blob, Dice, Gatekeeper, SealedShare},
    release::Reply,
};

/// The part of an app's key that a share makes.
pub fn part(share: &SealedShare, app: AppId) -> PartialSignature<MinSig> {
    let private = Private::decode(Copying(&share.private)).unwrap();
    let share = Share::new(Participant::new(share.index), private);
    sign_message(&share, APP_KEY_NAMESPACE, &app_key_message(&app, APP_KEY_VERSION))
}

/// Encrypts whatever it likes to who asked, as a gatekeeper's enclave would encrypt a part.
fn seal(ceremony: CeremonyId, request: &KeyRequest, content: &[u8], dice: &mut Dice) -> Option<KeyReply> {
    type Kem = X25519HkdfSha256;
    let info = (b"phala/key-reply/v1", ceremony, request).encode();
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(&request.reply_key).ok()?;
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &to,
        &info,
        content,
        b"",
        &mut dice.0,
    )
    .ok()?;
    Some(KeyReply { ceremony, encapsulated_key: encapsulated.to_bytes().into(), ciphertext })
}

impl Gatekeeper {
    /// Gives its part to whoever asks, whatever the chain says.
    pub fn betray(&mut self, signed: &SignedKeyRequest, dice: &mut Dice) -> Option<KeyReply> {
        let request = VerifiedRequest::new(signed).ok()?;
        let KeyRequest { genesis_hash, worker, job, attempt, app, version, key, .. } = *request.request();
        let facts = Facts {
            genesis_hash,
            now: 0,
            job,
            worker,
            attempt,
            app,
            version,
            verdict_expires: 1,
            epochs: Some((0, u32::MAX)),
        };
        let granted = Granted::new(request, &facts).unwrap();
        reply(self.state().share(key)?, granted, &mut dice.0).ok()
    }

    /// Something else than the part that was asked for, or, if the worker is behind, just that. `wire` are all replies of all
    /// gatekeepers so far. Says whether it is a part of what was asked for.
    pub fn lie_about_a_key(
        &mut self,
        request: &KeyRequest,
        wire: &[Reply],
        dice: &mut Dice,
    ) -> Option<(KeyReply, bool)> {
        let share = self.state().share(request.key)?;
        let (ceremony, index) = (share.ceremony(), share.index());
        let blobs = self.disk.iter().map(|bytes| <Blob as codec::Decode>::decode(&mut bytes.as_slice()).unwrap());
        let shares: Vec<SealedShare> = blobs.flat_map(|blob| blob.shares.into_values()).collect();
        let mine = shares.iter().find(|share| share.ceremony == ceremony)?;
        let mut is_true = false;
        let reply = match dice.below(6) {
            0 => {
                let mut garbage = vec![0; dice.below(100)];
                dice.0.fill_bytes(&mut garbage);
                seal(ceremony, request, &garbage, dice)
            }
            // Another app's.
            1 => seal(ceremony, request, &part(mine, AppId([0x11; 32])).encode(), dice),
            // Another key's, or an old one, under the right ceremony or its own.
            2 | 3 => {
                let others: Vec<_> = shares.iter().filter(|share| share.ceremony != ceremony).collect();
                let other = others.get(dice.below(others.len().max(1)))?;
                let said = if dice.chance(50) { ceremony } else { other.ceremony };
                is_true = other.key == request.key && said == other.ceremony;
                seal(said, request, &part(other, request.app).encode(), dice)
            }
            // Under another's number.
            4 => {
                let other = SealedShare { index: index + 1, ..mine.clone() };
                seal(ceremony, request, &part(&other, request.app).encode(), dice)
            }
            // What another gatekeeper said, to this worker or another.
            _ => {
                let others: Vec<_> = wire.iter().rev().filter(|reply| reply.from != self.id()).take(40).collect();
                others.get(dice.below(others.len().max(1))).map(|other| other.reply.clone())
            }
        };
        reply.map(|reply| (reply, is_true))
    }
}
