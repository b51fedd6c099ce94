//! Rounds of the random beacon: parts in, the round out.

use ed25519_dalek::{Signature, VerifyingKey};
use phala_enclave::host::lock;
use phala_keys::{
    Message, Partial, PartialError, Share, VerifiedPartial, VerifiedSharing, beacon_partial, combine_beacon,
};
use phala_primitives::{
    GatekeeperId, Hash,
    gatekeeper::{BEACON_INTERVAL, Beacon, BeaconPart, Round, SignedBeaconPart},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// Why a part is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    /// The gatekeeper that it names did not sign it.
    #[error("the part is not signed by its gatekeeper")]
    Signature,
    /// The gatekeeper signed what is none.
    #[error(transparent)]
    Partial(#[from] PartialError),
}

/// The newest round that may be signed once block `number` is finalized.
pub(crate) fn due(number: u32) -> Round {
    number.saturating_sub(number.checked_rem(BEACON_INTERVAL).unwrap_or(0))
}

/// The round that is being put together.
#[derive(Default)]
pub(crate) struct Rounds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    round: Round,
    sharing: Option<Arc<VerifiedSharing>>,
    parts: BTreeMap<GatekeeperId, VerifiedPartial>,
    beacon: Option<Beacon>,
    /// Who has signed a false part.
    liars: BTreeSet<GatekeeperId>,
}

impl State {
    /// Whether a part is of any use: of this round and sharing, by who has a share and has said nothing yet.
    fn wants(&self, part: &BeaconPart) -> bool {
        let fits = |sharing: &Arc<VerifiedSharing>| {
            part.ceremony == sharing.ceremony() && sharing.players().contains(&part.gatekeeper)
        };
        part.round == self.round
            && self.beacon.is_none()
            && self.sharing.as_ref().is_some_and(fits)
            && !self.parts.contains_key(&part.gatekeeper)
            && !self.liars.contains(&part.gatekeeper)
    }
}

impl Rounds {
    /// Begins with `round` under `sharing`, unless it has begun. Returns this gatekeeper's own part, to be told to the others, unless the
    /// round is there already.
    pub(crate) fn begin(
        &self,
        genesis_hash: &Hash,
        round: Round,
        sharing: &Arc<VerifiedSharing>,
        share: &Share,
        me: GatekeeperId,
    ) -> Option<BeaconPart> {
        let mut state = lock(&self.state);
        let is_same = state.round == round
            && state.sharing.as_ref().is_some_and(|current| current.ceremony() == sharing.ceremony());
        if !is_same {
            *state = State { round, sharing: Some(sharing.clone()), ..State::default() };
        }
        if state.beacon.is_some() {
            return None;
        }
        let partial = beacon_partial(share, genesis_hash, round).ok()?;
        let (genesis_hash, ceremony, partial) = (*genesis_hash, partial.ceremony, partial.signature.clone());
        let part = BeaconPart { genesis_hash, round, gatekeeper: me, ceremony, partial };
        let _ = add(&mut state, &part);
        Some(part)
    }

    /// Takes a part of the round, its own or another gatekeeper's.
    ///
    /// # Errors
    /// When it is not what it says. One of another round, or a second one, is ignored.
    pub(crate) fn take(&self, signed: &SignedBeaconPart) -> Result<(), PartError> {
        let part = &signed.part;
        // First: strangers sign as much as they like.
        if !lock(&self.state).wants(part) {
            return Ok(());
        }
        let key = VerifyingKey::from_bytes(&part.gatekeeper.0).map_err(|_| PartError::Signature)?;
        key.verify_strict(&part.signed_bytes(), &Signature::from_bytes(&signed.signature))
            .map_err(|_| PartError::Signature)?;
        let mut state = lock(&self.state);
        let added = add(&mut state, part);
        if added.is_err() {
            state.liars.insert(part.gatekeeper);
        }
        Ok(added?)
    }

    /// The round, once there are enough parts of it.
    pub(crate) fn beacon(&self) -> Option<Beacon> {
        lock(&self.state).beacon
    }
}

fn add(state: &mut State, part: &BeaconPart) -> Result<(), PartialError> {
    let Some(sharing) = state.sharing.clone() else { return Ok(()) };
    if !state.wants(part) {
        return Ok(());
    }
    let message = Message::Beacon { genesis_hash: part.genesis_hash, round: part.round };
    let partial = Partial { ceremony: part.ceremony, signature: part.partial.clone() };
    let verified = sharing.verify(part.gatekeeper, message, &partial)?;
    state.parts.insert(part.gatekeeper, verified);
    if u32::try_from(state.parts.len()).is_ok_and(|parts| parts >= sharing.threshold()) {
        let parts: Vec<_> = state.parts.values().cloned().collect();
        state.beacon =
            combine_beacon(&sharing, &part.genesis_hash, part.round, &parts).ok().map(|beacon| *beacon.beacon());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_multiples_of_the_interval() {
        let due: Vec<_> = (0..8).map(due).collect();
        assert_eq!(due, [0, 0, 0, 3, 3, 3, 6, 6]);
    }
}
