//! What one gatekeeper says in one attempt at a ceremony, computed from what the chain shows and from the attempt's seed.
//!
//! Everything here is a function: the same view and seed give the same posts. What others posted is garbage until proven
//! otherwise, and each kind of garbage has its consequence: a dealing that does not open or fit is complained about, an acknowledgement that
//! does not verify counts as a complaint, an answer that is missing from a player's post counts as one, a log that is none is left out.
//!
//! The protocol underneath is commonware's Feldman-Desmedt (`bls12381::dkg::feldman_desmedt`) with the attempt's number as its
//! round, the fault model `N3f1`, evaluation points 1, 2, 3, … and `Reveal::V1`.

use std::collections::{BTreeMap, BTreeSet};

use codec::Encode as _;
use commonware_codec::{Copying, Decode as _, DecodeExt, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{
            self, Dealer, DealerLogSummary, DealerPrivMsg, DealerPubMsg, Info, Logs, PlayerAck, Reveal, SignedDealerLog,
        },
        primitives::{group, sharing::Mode, variant::MinSig},
    },
    ed25519,
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, ordered::Set};
use hkdf::Hkdf;
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{
        Answer, Ceremony, CeremonyId, Confirmation, Content, Dealing, EncryptedShare, MAX_GATEKEEPERS, NetworkKey,
        Phase, Sharing, threshold,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Identity, Share,
    hybrid::{KeyPair, seal},
    share::{Secret, secret_bytes},
    sharing::{MAX_PARTICIPANTS, Output, VerifiedSharing, public_key},
};

/// What the finalized chain shows of ceremonies and keys, whole, at one block. The caller reads it by proof.
///
/// It has every ceremony that goes on and every current sharing: a gatekeeper erases what it kept for others. The chain also keeps the last
/// ceremony of each key here until the next one of that key ends, so that a player that was away can still compute its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// How each key is shared.
    pub sharings: BTreeMap<NetworkKey, Sharing<u32>>,
    /// The ceremonies with their posts.
    pub ceremonies: BTreeMap<CeremonyId, CeremonyView>,
}

/// A ceremony and what was posted in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeremonyView {
    /// The ceremony.
    pub ceremony: Ceremony<u32>,
    /// The sharing that is dealt anew, also where the chain has a newer one already.
    pub previous: Option<Sharing<u32>>,
    /// The players' X25519 keys.
    pub enrolments: BTreeMap<GatekeeperId, [u8; 32]>,
    /// The dealers' dealings.
    pub dealings: BTreeMap<GatekeeperId, Dealing>,
    /// The players' answers.
    pub answers: BTreeMap<GatekeeperId, Vec<Answer>>,
    /// The dealers' logs.
    pub logs: BTreeMap<GatekeeperId, Vec<u8>>,
    /// What the players say came out.
    pub confirmations: BTreeMap<GatekeeperId, Confirmation>,
}

impl CeremonyView {
    /// A ceremony in which nothing was posted yet.
    pub fn new(ceremony: Ceremony<u32>, previous: Option<Sharing<u32>>) -> Self {
        Self {
            ceremony,
            previous,
            enrolments: BTreeMap::new(),
            dealings: BTreeMap::new(),
            answers: BTreeMap::new(),
            logs: BTreeMap::new(),
            confirmations: BTreeMap::new(),
        }
    }

    /// What a gatekeeper posted in the current phase.
    pub(crate) fn posted(&self, gatekeeper: &GatekeeperId) -> Option<Content> {
        match self.ceremony.phase {
            Phase::Enrol => self.enrolments.get(gatekeeper).map(|key| Content::Enrolment(*key)),
            Phase::Deal => self.dealings.get(gatekeeper).map(|dealing| Content::Dealing(dealing.clone())),
            Phase::Answer => self.answers.get(gatekeeper).map(|answers| Content::Answers(answers.clone())),
            Phase::Log => self.logs.get(gatekeeper).map(|log| Content::Log(log.clone())),
            Phase::Confirm => {
                self.confirmations.get(gatekeeper).map(|confirmation| Content::Confirmation(*confirmation))
            }
        }
    }

    /// The ceremony without the posts of its phase: what all say in it comes from that alone.
    pub(crate) fn before_phase(&self) -> Self {
        let mut before = self.clone();
        match self.ceremony.phase {
            Phase::Enrol => before.enrolments.clear(),
            Phase::Deal => before.dealings.clear(),
            Phase::Answer => before.answers.clear(),
            Phase::Log => before.logs.clear(),
            Phase::Confirm => before.confirmations.clear(),
        }
        before
    }

    /// Whether a threshold of the players confirms this.
    pub(crate) fn is_confirmed(&self, confirmation: &Confirmation) -> bool {
        let players = &self.ceremony.players;
        let agree = players.iter().filter(|player| self.confirmations.get(player) == Some(confirmation)).count();
        matches!((u32::try_from(players.len()), u32::try_from(agree)), (Ok(all), Ok(agree)) if agree >= threshold(all))
    }
}

/// Why a gatekeeper does not do in a ceremony what its phase asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Aside {
    /// The ceremony is none that can be taken part in: what the chain says of it contradicts itself.
    #[error("the ceremony contradicts itself: {0}")]
    Ceremony(&'static str),
    /// The sealed state is an older copy, or lost: under the gatekeeper's name something was posted that did not come from it.
    #[error("the chain has another post of this gatekeeper in the phase {0:?} than its sealed state makes")]
    Contradiction(Phase),
    /// The key is dealt anew, and this gatekeeper has not the share that it should deal.
    #[error("the share of ceremony {0} that would be dealt anew is not here")]
    NoShare(CeremonyId),
    /// Some players have not answered. No value is opened for them.
    #[error("{0} players have not answered")]
    Silence(usize),
    /// Too few dealers' logs can be used.
    #[error("too few dealers' logs can be used")]
    Logs,
    /// What came out is not what should have: another key or threshold, or a share that does not fit.
    #[error("what came out is not what should have: {0}")]
    Outcome(&'static str),
}

/// What commonware binds everything in a ceremony to, besides its number.
fn namespace(genesis_hash: &Hash) -> Vec<u8> {
    (b"phala/ceremony/v1", genesis_hash).encode()
}

/// What comes out of a seed, for one purpose.
fn derive(seed: &Secret, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    // 32 bytes are never too many for it.
    let _ = Hkdf::<Sha256>::new(None, &seed.0).expand(purpose, bytes.as_mut());
    bytes
}

/// The X25519 key that a player enrols with.
pub(crate) fn enrolment(seed: &Secret, ceremony: CeremonyId) -> KeyPair {
    KeyPair::derive(&derive(seed, &(b"phala/ceremony/enrolment/v1", ceremony).encode()))
}

/// An attempt past its enrolment, as one gatekeeper sees it.
pub(crate) struct Attempt<'a> {
    identity: &'a Identity,
    id: CeremonyId,
    view: &'a CeremonyView,
    info: Info<MinSig, ed25519::PublicKey>,
    previous: Option<VerifiedSharing>,
    /// The dealers that dealt, in ascending order.
    dealings: Vec<(GatekeeperId, &'a Dealing)>,
}

impl<'a> Attempt<'a> {
    /// # Errors
    /// [`Aside::Ceremony`].
    pub(crate) fn new(identity: &'a Identity, id: CeremonyId, view: &'a CeremonyView) -> Result<Self, Aside> {
        let ceremony = &view.ceremony;
        let previous = match (ceremony.previous, &view.previous) {
            (None, None) if ceremony.dealers != ceremony.players => {
                return Err(Aside::Ceremony("the dealers of a new key are not its players"));
            }
            (None, None) => None,
            (Some(previous), Some(sharing)) if sharing.ceremony == previous => Some(
                VerifiedSharing::new(sharing)
                    .map_err(|_| Aside::Ceremony("the sharing to be dealt anew is malformed"))?,
            ),
            _ => return Err(Aside::Ceremony("the sharing to be dealt anew is another")),
        };
        let (dealers, players) = (participants(&ceremony.dealers)?, participants(&ceremony.players)?);
        if ceremony.players.iter().any(|player| !view.enrolments.contains_key(player)) {
            return Err(Aside::Ceremony("a player has not enrolled"));
        }
        let info = Info::new::<N3f1>(
            &namespace(identity.genesis_hash()),
            id,
            previous.as_ref().map(|sharing| sharing.output().clone()),
            Mode::NonZeroCounter,
            Reveal::V1,
            dealers,
            players,
        )
        .map_err(|_| Aside::Ceremony("the dealers are not enough of those who have shares"))?;
        let dealt = |dealer: &GatekeeperId| view.dealings.get(dealer).map(|dealing| (*dealer, dealing));
        let dealings = ceremony.dealers.iter().filter_map(dealt).collect();
        Ok(Self { identity, id, view, info, previous, dealings })
    }

    fn player(&self) -> Option<usize> {
        self.view.ceremony.players.iter().position(|player| *player == self.identity.id())
    }

    /// The share that is dealt anew, if it is the right one.
    fn dealt_share(&self, share: Option<&Share>) -> Result<Option<group::Share>, Aside> {
        let Some(previous) = &self.previous else { return Ok(None) };
        let missing = Aside::NoShare(previous.ceremony());
        let share = share.filter(|share| share.ceremony() == previous.ceremony()).ok_or(missing.clone())?;
        let number = previous.players().iter().position(|player| *player == self.identity.id());
        if number.and_then(|number| u32::try_from(number).ok()) != Some(share.index()) {
            return Err(missing);
        }
        let group = share.group().ok_or(missing.clone())?;
        let expected = previous.output().public().partial_public(group.index).map_err(|_| missing.clone())?;
        if group.public::<MinSig>() != expected {
            return Err(missing);
        }
        Ok(Some(group))
    }

    /// This gatekeeper's dealing. Its randomness comes from the seed and from all that the ceremony is about, so that no polynomial is
    /// ever dealt in two ceremonies or to two sets of players.
    ///
    /// # Errors
    /// [`Aside::NoShare`] or [`Aside::Ceremony`].
    pub(crate) fn dealing(
        &self,
        seed: &Secret,
        share: Option<&Share>,
    ) -> Result<(Dealer<MinSig, ed25519::PrivateKey>, Dealing), Aside> {
        let ceremony = &self.view.ceremony;
        let enrolments: Vec<_> = ceremony.players.iter().map(|player| self.view.enrolments.get(player)).collect();
        let previous = self.previous.as_ref().map(|previous| previous.output().encode().to_vec());
        let about = (
            (self.identity.genesis_hash(), self.id, self.identity.id(), ceremony.key, previous),
            (&ceremony.dealers, &ceremony.players, &enrolments),
        );
        let purpose = (b"phala/ceremony/dealing/v1", <[u8; 32]>::from(Sha256::digest(about.encode()))).encode();
        let mut rng = ChaCha20Rng::from_seed(*derive(seed, &purpose));
        let share = self.dealt_share(share)?;
        let (dealer, commitment, values) =
            Dealer::start::<N3f1>(&mut rng, self.info.clone(), self.identity.dealer(), share)
                .map_err(|_| Aside::Ceremony("this gatekeeper is no dealer"))?;
        let commitment = commitment.encode().to_vec();
        let mut shares = Vec::with_capacity(values.len());
        for (player, value) in values {
            let player = gatekeeper(&player);
            let enrolled = self.view.enrolments.get(&player).unwrap_or(&[0; 32]);
            let value = secret_bytes(&value);
            let info = self.share_info(&self.identity.id(), &player);
            let aad = Sha256::digest(&commitment);
            // A key to which nothing can be encrypted is its player's fault: it gets zeros.
            let encrypted = seal(&mut rng, enrolled, &info, &aad, &value)
                .and_then(|(encapsulated_key, ciphertext)| {
                    Some(EncryptedShare { encapsulated_key, ciphertext: ciphertext.try_into().ok()? })
                })
                .unwrap_or(EncryptedShare { encapsulated_key: [0; 32], ciphertext: [0; 48] });
            shares.push(encrypted);
        }
        Ok((dealer, Dealing { commitment, shares }))
    }

    /// HPKE's `info` of a dealing's value.
    fn share_info(&self, dealer: &GatekeeperId, player: &GatekeeperId) -> Vec<u8> {
        (b"phala/ceremony/share/v1", self.identity.genesis_hash(), self.id, dealer, player).encode()
    }

    /// The player with all dealings that are good for it, and its answers to all.
    fn answered(
        &self,
        seed: &Secret,
    ) -> Result<(feldman_desmedt::Player<MinSig, ed25519::PrivateKey>, Vec<Answer>), Aside> {
        let number = self.player().ok_or(Aside::Ceremony("this gatekeeper is no player"))?;
        let key = enrolment(seed, self.id);
        let mut player = feldman_desmedt::Player::new(self.info.clone(), self.identity.dealer())
            .map_err(|_| Aside::Ceremony("this gatekeeper is no player"))?;
        let mut answers = Vec::with_capacity(self.dealings.len());
        for (dealer, dealing) in &self.dealings {
            let answer = self.opened(&key, number, dealer, dealing).and_then(|(commitment, value)| {
                let acknowledged =
                    player.dealer_message::<N3f1>(participant(dealer).ok()?, commitment, value).ok()??;
                Some(Answer::Acknowledged(acknowledged.encode().to_vec().try_into().ok()?))
            });
            answers.push(answer.unwrap_or(Answer::Complaint));
        }
        Ok((player, answers))
    }

    fn opened(
        &self,
        key: &KeyPair,
        number: usize,
        dealer: &GatekeeperId,
        dealing: &Dealing,
    ) -> Option<(DealerPubMsg<MinSig>, DealerPrivMsg)> {
        let commitment = DealerPubMsg::decode_cfg(Copying(&dealing.commitment), &MAX_PARTICIPANTS).ok()?;
        let encrypted = dealing.shares.get(number)?;
        let info = self.share_info(dealer, &self.identity.id());
        let aad = Sha256::digest(&dealing.commitment);
        let value = key.open(&encrypted.encapsulated_key, &info, &aad, &encrypted.ciphertext)?;
        Some((commitment, DealerPrivMsg::decode(Copying(&value)).ok()?))
    }

    /// This player's answers to the dealings.
    ///
    /// # Errors
    /// When it is no player.
    pub(crate) fn answers(&self, seed: &Secret) -> Result<Vec<Answer>, Aside> {
        self.answered(seed).map(|(_, answers)| answers)
    }

    /// Every player has to have answered: who is silent may have its values opened by nobody.
    fn all_answered(&self) -> Result<(), Aside> {
        let silent = self.view.ceremony.players.iter().filter(|player| !self.view.answers.contains_key(player)).count();
        if silent > 0 { Err(Aside::Silence(silent)) } else { Ok(()) }
    }

    /// What a player said to a dealing.
    fn answer(&self, player: &GatekeeperId, dealer: &GatekeeperId) -> Answer {
        let number = self.dealings.iter().position(|(other, _)| other == dealer);
        let answer = number.and_then(|number| self.view.answers.get(player)?.get(number));
        answer.copied().unwrap_or(Answer::Complaint)
    }

    /// This dealer's log. The value of a player is in it only where the player complained, or acknowledged what nobody can verify.
    ///
    /// # Errors
    /// When not all players answered, or the dealing on chain is not this state's.
    pub(crate) fn log(&self, seed: &Secret, share: Option<&Share>) -> Result<Vec<u8>, Aside> {
        self.all_answered()?;
        let me = self.identity.id();
        let (mut dealer, dealing) = self.dealing(seed, share)?;
        if self.view.dealings.get(&me) != Some(&dealing) {
            return Err(Aside::Contradiction(Phase::Deal));
        }
        for player in &self.view.ceremony.players {
            if let Answer::Acknowledged(bytes) = self.answer(player, &me) {
                let acknowledgement = PlayerAck::<ed25519::PublicKey>::decode(Copying(&bytes));
                if let (Ok(acknowledgement), Ok(player)) = (acknowledgement, participant(player)) {
                    // What does not verify stays as if it were a complaint.
                    let _ = dealer.receive_player_ack(player, acknowledgement);
                }
            }
        }
        Ok(dealer.finalize::<N3f1>().encode().to_vec())
    }

    /// The logs on chain that are what their dealers dealt and their players answered.
    fn logs(&self) -> Logs<MinSig, ed25519::PublicKey, N3f1> {
        let mut logs = Logs::new(self.info.clone());
        for (dealer, dealing) in &self.dealings {
            let Some(bytes) = self.view.logs.get(dealer) else { continue };
            let Ok(signed) =
                SignedDealerLog::<MinSig, ed25519::PublicKey>::decode_cfg(Copying(bytes), &MAX_PARTICIPANTS)
            else {
                continue;
            };
            let Some((signer, log)) = signed.check(&self.info) else { continue };
            // A log's encoding begins with that of its commitment.
            if signer.as_ref() != dealer.0 || !log.encode().starts_with(&dealing.commitment) {
                continue;
            }
            if let DealerLogSummary::Ok { acks, .. } = log.summary()
                && acks.iter().any(|player| self.answer(&gatekeeper(player), dealer) == Answer::Complaint)
            {
                continue;
            }
            logs.record(signer, log);
        }
        logs
    }

    /// What comes out for this player: the output, and its share.
    ///
    /// # Errors
    /// When nothing does, or not what should.
    pub(crate) fn outcome(&self, seed: &Secret, rng: &mut impl CryptoRng) -> Result<(Output, Share), Aside> {
        self.all_answered()?;
        let (player, answers) = self.answered(seed)?;
        if self.view.answers.get(&self.identity.id()) != Some(&answers) {
            return Err(Aside::Contradiction(Phase::Answer));
        }
        let (output, share) = player.finalize::<N3f1>(rng, self.logs(), &Sequential).map_err(|_| Aside::Logs)?;
        let players = u32::try_from(self.view.ceremony.players.len()).unwrap_or(u32::MAX);
        if output.public().required() != threshold(players) {
            return Err(Aside::Outcome("another threshold"));
        }
        if self.previous.as_ref().is_some_and(|previous| public_key(&output) != Some(previous.public_key())) {
            return Err(Aside::Outcome("another public key"));
        }
        if output.public().partial_public(share.index).ok() != Some(share.public::<MinSig>()) {
            return Err(Aside::Outcome("a share that does not fit"));
        }
        let share = Share::new(self.view.ceremony.key, self.id, &share).ok_or(Aside::Outcome("no share"))?;
        Ok((output, share))
    }
}

/// What an output is confirmed with.
pub(crate) fn confirmation(output: &Output) -> Option<Confirmation> {
    let output_hash = Sha256::digest(output.encode()).into();
    Some(Confirmation { public_key: public_key(output)?, output_hash })
}

/// Whether the chain's list of participants is one: in ascending order, each once, not too many.
fn participants(list: &[GatekeeperId]) -> Result<Set<ed25519::PublicKey>, Aside> {
    let most = usize::try_from(MAX_GATEKEEPERS).unwrap_or(usize::MAX);
    if list.is_empty()
        || list.len() > most
        || list.iter().collect::<BTreeSet<_>>().len() != list.len()
        || !list.is_sorted()
    {
        return Err(Aside::Ceremony("its dealers or players are not in ascending order"));
    }
    let keys = list.iter().map(participant).collect::<Result<Vec<_>, _>>()?;
    Set::try_from(keys).map_err(|_| Aside::Ceremony("a participant is there twice"))
}

fn participant(gatekeeper: &GatekeeperId) -> Result<ed25519::PublicKey, Aside> {
    ed25519::PublicKey::decode(Copying(&gatekeeper.0)).map_err(|_| Aside::Ceremony("a participant has no key"))
}

fn gatekeeper(key: &ed25519::PublicKey) -> GatekeeperId {
    GatekeeperId(key.as_ref().try_into().unwrap_or_default())
}
