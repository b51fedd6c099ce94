//! The pallet's invariants, checked.

use super::*;
use alloc::collections::{BTreeMap, BTreeSet};
use frame_support::ensure;
use sp_runtime::TryRuntimeError;

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants; see the crate's documentation.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let running = Self::try_state_of_running()?;
        let sharings = Self::try_state_of_sharings()?;
        let ended: BTreeSet<_> = Ended::<T>::iter_keys().collect();
        ensure!(ended.len() == Ended::<T>::count() as usize, "ended ceremonies are miscounted");

        let mut known = BTreeMap::new();
        for (id, ceremony) in Ceremonies::<T>::iter() {
            ensure!(id < NextCeremony::<T>::get(), "a ceremony from the future");
            let places = [running.contains(&id), sharings.contains(&id), ended.contains(&id)];
            ensure!(places.iter().filter(|is_there| **is_there).count() == 1, "a ceremony is lost, or twice");
            ensure!(is_set(&ceremony.dealers) && is_set(&ceremony.players), "dealers or players are no set");
            known.insert(id, ceremony);
        }
        let all = running.iter().chain(&sharings).chain(&ended);
        ensure!(all.clone().all(|id| known.contains_key(id)), "a ceremony has no record");
        Self::try_state_of_posts(&known)?;
        Self::try_state_of_epochs()?;
        Self::try_state_of_beacons()
    }

    fn try_state_of_running() -> Result<BTreeSet<CeremonyId>, TryRuntimeError> {
        let mut keys = BTreeSet::new();
        let running: BTreeSet<_> = Running::<T>::get().into_iter().collect();
        for id in &running {
            let ceremony = Ceremonies::<T>::get(id).ok_or("a running ceremony has no record")?;
            let progress = Progresses::<T>::get(id).ok_or("a running ceremony has no progress")?;
            let plan = Plans::<T>::get(ceremony.key).ok_or("nobody knows for whom a ceremony is")?;
            ensure!(keys.insert(ceremony.key), "two ceremonies of one key");
            ensure!(is_set(&plan.candidates), "candidates are no set");
            ensure!(ceremony.players.iter().all(|player| plan.candidates.contains(player)), "a player is no candidate");
            let sharing = Sharings::<T>::get(ceremony.key);
            ensure!(
                ceremony.previous == sharing.as_ref().map(|sharing| sharing.ceremony),
                "a ceremony does not deal the present shares anew"
            );
            if let Some(sharing) = sharing {
                ensure!(ceremony.dealers == sharing.players, "the dealers are not who has shares");
            }
            let posted = match ceremony.phase {
                Phase::Enrol => Enrolments::<T>::iter_key_prefix(id).count(),
                Phase::Deal => Dealings::<T>::iter_key_prefix(id).count(),
                Phase::Answer => Answers::<T>::iter_key_prefix(id).count(),
                Phase::Log => Logs::<T>::iter_key_prefix(id).count(),
                Phase::Confirm => Confirmations::<T>::iter_key_prefix(id).count(),
            };
            ensure!(posted == progress.posted as usize, "posts are miscounted");
            if ceremony.phase > Phase::Deal {
                let dealings = Dealings::<T>::iter_key_prefix(id).count();
                ensure!(dealings == progress.dealings as usize, "dealings are miscounted");
            }
        }
        ensure!(Progresses::<T>::iter_keys().all(|id| running.contains(&id)), "progress without a ceremony");
        ensure!(Plans::<T>::iter_keys().all(|key| keys.contains(&key)), "a plan without a ceremony");
        Ok(running)
    }

    fn try_state_of_sharings() -> Result<BTreeSet<CeremonyId>, TryRuntimeError> {
        let mut ids = BTreeSet::new();
        for (key, sharing) in Sharings::<T>::iter() {
            let ceremony = Ceremonies::<T>::get(sharing.ceremony).ok_or("a sharing comes from no ceremony")?;
            ensure!(ceremony.key == key && ceremony.phase == Phase::Confirm, "a sharing comes from another ceremony");
            ensure!(ceremony.players == sharing.players, "a sharing is among others than the players");
            ensure!(!sharing.players.is_empty(), "a key is shared among nobody");
            ensure!(ids.insert(sharing.ceremony), "two sharings come from one ceremony");
        }
        for (key, former) in Formers::<T>::iter() {
            let sharing = Sharings::<T>::get(key).ok_or("a former sharing without a present one")?;
            ensure!(former.ceremony < sharing.ceremony, "a former sharing is the newer one");
            ensure!(former.public_key == sharing.public_key, "a former sharing is of another key");
        }
        Ok(ids)
    }

    fn try_state_of_posts(known: &BTreeMap<CeremonyId, Ceremony<T>>) -> Result<(), TryRuntimeError> {
        let by_dealers = Dealings::<T>::iter_keys().chain(Logs::<T>::iter_keys());
        for (id, gatekeeper) in by_dealers {
            let ceremony = known.get(&id).ok_or("a dealer posted in no ceremony")?;
            ensure!(ceremony.dealers.contains(&gatekeeper), "somebody dealt who is no dealer");
        }
        for (id, _) in Enrolments::<T>::iter_keys() {
            // Who may enrol is forgotten once it is known who did.
            ensure!(known.contains_key(&id), "somebody enrolled for no ceremony");
        }
        for (id, gatekeeper) in Answers::<T>::iter_keys().chain(Confirmations::<T>::iter_keys()) {
            let ceremony = known.get(&id).ok_or("a player posted in no ceremony")?;
            ensure!(ceremony.players.contains(&gatekeeper), "somebody posted who is no player");
        }
        Ok(())
    }

    fn try_state_of_epochs() -> Result<(), TryRuntimeError> {
        let shared = Sharings::<T>::iter_keys().filter(|key| *key != NetworkKey::Root).count();
        let Some(current) = CurrentEpoch::<T>::get() else {
            ensure!(Epochs::<T>::iter_keys().count() == 0 && shared == 0, "an epoch before the first");
            return Ok(());
        };
        let mut before = None;
        let epochs = OldestEpoch::<T>::get()..=current;
        for epoch in epochs.clone() {
            let record = Epochs::<T>::get(epoch).ok_or("an epoch has no record")?;
            ensure!(Sharings::<T>::contains_key(NetworkKey::Epoch(epoch)), "an epoch has no key");
            ensure!(record.ends.is_none() == (epoch == current), "an epoch does not end, or the current one does");
            ensure!(record.ends.is_none() || record.ends >= before, "an epoch ends before the one before");
            before = record.ends;
        }
        let known = epochs.start().saturating_sub(ENDED_EPOCHS)..=current;
        ensure!(Epochs::<T>::iter_keys().all(|epoch| known.contains(&epoch)), "an epoch is left over");
        ensure!(shared == epochs.count(), "the key of an epoch is left over");
        Ok(())
    }

    fn try_state_of_beacons() -> Result<(), TryRuntimeError> {
        let rounds = Rounds::<T>::get();
        ensure!(is_set(&rounds), "rounds are not in order");
        ensure!(
            rounds.last().copied() == LatestBeacon::<T>::get().map(|beacon| beacon.round),
            "the newest is not last"
        );
        ensure!(Beacons::<T>::iter_keys().count() == rounds.len(), "a beacon is left over");
        for round in rounds {
            ensure!(Beacons::<T>::get(round).is_some_and(|beacon| beacon.round == round), "a round has no beacon");
        }
        Ok(())
    }
}

/// Whether a list is in ascending order, each once.
fn is_set<A: Ord>(list: &[A]) -> bool {
    list.windows(2).all(|pair| pair.first() < pair.last())
}
