//! What the finalized chain shows of ceremonies and keys, read by proof, and no more often than it can have changed.

use codec::{Decode, Encode};
use futures::future::{join_all, try_join_all};
use phala_enclave::chain::{Block, Chain, ChainError, read, sharing_key};
use phala_keys::{CeremonyView, View};
use phala_primitives::{
    GatekeeperId,
    gatekeeper::{Beacon, Ceremony, CeremonyId, EpochId, NetworkKey, Phase, Sharing},
};
use sp_crypto_hashing::{blake2_128, twox_64, twox_128};
use std::collections::{BTreeMap, BTreeSet};

/// The most epochs that are read: the chain keeps two or three.
const MAX_EPOCHS: u32 = 16;

/// The most ceremonies that are read.
const MAX_CEREMONIES: usize = 16;

/// Where the `keys` pallet stores a value.
pub(crate) fn value_key(name: &str) -> Vec<u8> {
    [twox_128(b"Keys"), twox_128(name.as_bytes())].concat()
}

/// Where it stores an entry of a map.
pub(crate) fn map_key(name: &str, key: &impl Encode) -> Vec<u8> {
    let key = key.encode();
    [&value_key(name)[..], &twox_64(&key), &key].concat()
}

/// Where it stores what a gatekeeper said in a ceremony.
pub(crate) fn post_key(name: &str, ceremony: CeremonyId, gatekeeper: GatekeeperId) -> Vec<u8> {
    let gatekeeper = gatekeeper.encode();
    [&map_key(name, &ceremony)[..], &blake2_128(&gatekeeper), &gatekeeper].concat()
}

/// Where it stores an entry of a map by gatekeepers.
pub(crate) fn gatekeeper_key(name: &str, gatekeeper: GatekeeperId) -> Vec<u8> {
    let gatekeeper = gatekeeper.encode();
    [&value_key(name)[..], &blake2_128(&gatekeeper), &gatekeeper].concat()
}

/// What changes whenever sharings do.
#[derive(Clone, PartialEq, Eq)]
struct Marker {
    next: Option<CeremonyId>,
    running: Vec<CeremonyId>,
    epochs: Epochs,
}

/// The epochs whose keys are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The one whose grace period ends next.
    pub oldest: EpochId,
    /// The newest; `None` before the first.
    pub current: Option<EpochId>,
}

impl Epochs {
    /// What a block says of them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn read(reader: &Reader<'_>) -> Result<Self, ChainError> {
        let oldest = reader.value("OldestEpoch").await?.unwrap_or_default();
        Ok(Self { oldest, current: reader.value("CurrentEpoch").await? })
    }

    /// All of them, the newest [`MAX_EPOCHS`] if they were more.
    pub(crate) fn iter(self) -> impl Iterator<Item = EpochId> {
        let end = self.current.map_or(self.oldest, |current| current.saturating_add(1));
        self.oldest.max(end.saturating_sub(MAX_EPOCHS))..end
    }

    /// Whether the key of `epoch` is shared.
    pub(crate) fn contains(self, epoch: EpochId) -> bool {
        self.current.is_some_and(|current| (self.oldest..=current).contains(&epoch))
    }
}

/// What was read of the board so far. Posts and sharings never change once they are finalized.
#[derive(Default)]
pub(crate) struct Board {
    marker: Option<Marker>,
    sharings: BTreeMap<NetworkKey, Sharing<u32>>,
    /// What the present sharings were dealt from, by the ceremony that ended with it.
    formers: BTreeMap<CeremonyId, Sharing<u32>>,
    ceremonies: BTreeMap<CeremonyId, Kept>,
}

/// A ceremony's posts.
struct Kept {
    view: CeremonyView,
    /// The phases that were over when their posts were read.
    complete: BTreeSet<Phase>,
}

/// All that a gatekeeper wants to know of a block.
pub(crate) struct Seen {
    pub view: View,
    pub epochs: Epochs,
    pub running: Vec<CeremonyId>,
    pub beacon: Option<Beacon>,
}

impl Board {
    /// Reads the board at `at`, as far as gatekeeper `me` needs it, which has secrets of the ceremonies `mine`.
    ///
    /// # Errors
    /// When anything could not be read: a view is whole or none.
    pub(crate) async fn read(
        &mut self,
        chain: &dyn Chain,
        at: Block,
        me: GatekeeperId,
        mine: &[CeremonyId],
    ) -> Result<Seen, ChainError> {
        let reader = Reader { chain, at };
        let next = reader.value::<CeremonyId>("NextCeremony").await?;
        let running = reader.value::<Vec<CeremonyId>>("Running").await?.unwrap_or_default();
        if running.len() > MAX_CEREMONIES {
            return Err(ChainError::Format("list of ceremonies"));
        }
        let epochs = Epochs::read(&reader).await?;
        let beacon = reader.value("LatestBeacon").await?;
        let marker = Marker { next, running: running.clone(), epochs };
        if self.marker.as_ref() != Some(&marker) {
            self.read_sharings(&reader, epochs).await?;
            self.marker = Some(marker);
        }
        let ended = self.sharings.values().map(|sharing| sharing.ceremony).filter(|ended| mine.contains(ended));
        let shown: BTreeSet<CeremonyId> = running.iter().copied().chain(ended).collect();
        self.ceremonies.retain(|id, _| shown.contains(id));
        let mut view = View { sharings: self.sharings.clone(), ceremonies: BTreeMap::new() };
        for id in shown {
            if let Some(ceremony) = self.read_ceremony(&reader, id, me).await? {
                view.ceremonies.insert(id, ceremony);
            }
        }
        Ok(Seen { view, epochs, running, beacon })
    }

    async fn read_sharings(&mut self, reader: &Reader<'_>, epochs: Epochs) -> Result<(), ChainError> {
        let keys = [NetworkKey::Root].into_iter().chain(epochs.iter().map(NetworkKey::Epoch));
        let sharings = keys.map(async |key| {
            let sharing = reader.get::<Sharing<u32>>(sharing_key(key), "sharing").await?;
            Ok(sharing.map(|sharing| (key, sharing)))
        });
        let sharings: BTreeMap<_, _> = try_join_all(sharings).await?.into_iter().flatten().collect();
        let formers = sharings
            .keys()
            .map(async |key| reader.get::<Sharing<u32>>(map_key("Formers", key), "former sharing").await);
        let formers = try_join_all(formers).await?.into_iter().flatten();
        self.formers = formers.map(|sharing| (sharing.ceremony, sharing)).collect();
        self.sharings = sharings;
        Ok(())
    }

    async fn read_ceremony(
        &mut self,
        reader: &Reader<'_>,
        id: CeremonyId,
        me: GatekeeperId,
    ) -> Result<Option<CeremonyView>, ChainError> {
        let Some(ceremony) = reader.get::<Ceremony<u32>>(map_key("Ceremonies", &id), "ceremony").await? else {
            return Ok(None);
        };
        let previous = ceremony.previous.and_then(|previous| {
            let current = self.sharings.values().find(|sharing| sharing.ceremony == previous);
            current.or_else(|| self.formers.get(&previous)).cloned()
        });
        let kept = self
            .ceremonies
            .entry(id)
            .or_insert_with(|| Kept { view: CeremonyView::new(ceremony.clone(), None), complete: BTreeSet::new() });
        let CeremonyView { enrolments, dealings, answers, logs, confirmations, .. } = &mut kept.view;
        let mut wanted = Wanted { reader, id, me, phase: ceremony.phase, complete: &mut kept.complete };
        wanted.read(Phase::Enrol, "Enrolments", &ceremony.players, enrolments).await?;
        wanted.read(Phase::Deal, "Dealings", &ceremony.dealers, dealings).await?;
        wanted.read(Phase::Answer, "Answers", &ceremony.players, answers).await?;
        wanted.read(Phase::Log, "Logs", &ceremony.dealers, logs).await?;
        wanted.read(Phase::Confirm, "Confirmations", &ceremony.players, confirmations).await?;
        kept.view.ceremony = ceremony;
        kept.view.previous = previous;
        Ok(Some(kept.view.clone()))
    }
}

/// What is wanted of a ceremony's posts: all of the phases that are over and of the last one, else one's own.
struct Wanted<'a> {
    reader: &'a Reader<'a>,
    id: CeremonyId,
    me: GatekeeperId,
    phase: Phase,
    complete: &'a mut BTreeSet<Phase>,
}

impl Wanted<'_> {
    async fn read<T: Decode>(
        &mut self,
        phase: Phase,
        name: &'static str,
        who: &[GatekeeperId],
        posts: &mut BTreeMap<GatekeeperId, T>,
    ) -> Result<(), ChainError> {
        if phase > self.phase || self.complete.contains(&phase) {
            return Ok(());
        }
        let all = phase < self.phase || phase == Phase::Confirm;
        let missing = who.iter().filter(|who| (all || **who == self.me) && !posts.contains_key(who));
        let read = missing.map(async |who| {
            let post = self.reader.get::<T>(post_key(name, self.id, *who), "post").await;
            post.map(|post| post.map(|post| (*who, post)))
        });
        // What was read stays, if something else could not be: posts do not change.
        let mut failed = None;
        for read in join_all(read).await {
            match read {
                Ok(post) => posts.extend(post),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if phase < self.phase {
            self.complete.insert(phase);
        }
        Ok(())
    }
}

/// Reads at one block.
pub(crate) struct Reader<'a> {
    pub chain: &'a dyn Chain,
    pub at: Block,
}

impl Reader<'_> {
    pub(crate) async fn get<T: Decode>(&self, key: Vec<u8>, what: &'static str) -> Result<Option<T>, ChainError> {
        read(self.chain, self.at.hash, key, what).await
    }

    async fn value<T: Decode>(&self, name: &'static str) -> Result<Option<T>, ChainError> {
        self.get(value_key(name), name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_those_whose_keys_are_shared() {
        let epochs = |oldest, current| Epochs { oldest, current };
        assert_eq!(epochs(0, None).iter().count(), 0);
        assert_eq!(epochs(0, Some(0)).iter().collect::<Vec<_>>(), [0]);
        assert_eq!(epochs(3, Some(5)).iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(epochs(0, Some(1000)).iter().collect::<Vec<_>>(), (985..=1000).collect::<Vec<_>>());
        assert!(!epochs(3, Some(5)).contains(2) && epochs(3, Some(5)).contains(5) && !epochs(0, None).contains(0));
    }

    #[test]
    fn keys_are_those_of_the_pallets_maps() {
        let keys = "9f99a2ce711f3a31b2fc05604c93f179";
        assert!(hex::encode(value_key("Running")).starts_with(keys));
        let id = hex::encode([3; 32]);
        let post = hex::encode(post_key("Logs", 7, GatekeeperId([3; 32])));
        assert!(post.ends_with(&("291a070f51c27c29753ff90a32ba233e".to_owned() + &id)), "{post}");
        assert!(hex::encode(gatekeeper_key("ReleaseLogs", GatekeeperId([3; 32]))).ends_with(&id));
    }
}
