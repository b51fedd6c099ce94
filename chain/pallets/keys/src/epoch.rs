//! Epochs: which key inputs are encrypted under, and when the shares of an old one are erased.

use super::*;

impl<T: Config> Pallet<T> {
    /// The epoch that the next key is for.
    pub(super) fn next_epoch() -> EpochId {
        CurrentEpoch::<T>::get().map_or(0, |epoch| epoch.saturating_add(1))
    }

    /// Makes an epoch whose key is shared the current one, if it is the next. The grace period of the one before begins.
    pub(super) fn begin_epoch(epoch: EpochId) {
        if epoch != Self::next_epoch() {
            return;
        }
        let now = Self::now();
        if let Some(previous) = CurrentEpoch::<T>::get() {
            let ends = now.saturating_add(T::GracePeriod::get());
            Epochs::<T>::mutate_extant(previous, |previous| previous.ends = Some(ends));
            // Whoever lost its share does without from now on.
            Self::abandon(NetworkKey::Epoch(previous));
        }
        CurrentEpoch::<T>::put(epoch);
        Epochs::<T>::insert(epoch, Epoch { started: now, ends: None });
        Self::deposit_event(Event::EpochStarted { epoch });
    }

    /// Removes the sharing of the oldest epoch's key once its grace period is over.
    pub(super) fn do_end_epoch(now: BlockNumberFor<T>) -> Weight {
        let epoch = OldestEpoch::<T>::get();
        let is_over = Epochs::<T>::get(epoch).and_then(|record| record.ends).is_some_and(|ends| ends < now);
        if !is_over {
            return <T as Config>::WeightInfo::end_no_epoch();
        }
        if let Some(sharing) = Sharings::<T>::take(NetworkKey::Epoch(epoch)) {
            Ended::<T>::insert(sharing.ceremony, ());
        }
        Formers::<T>::remove(NetworkKey::Epoch(epoch));
        if let Some(forgotten) = epoch.checked_sub(ENDED_EPOCHS) {
            Epochs::<T>::remove(forgotten);
        }
        OldestEpoch::<T>::put(epoch.saturating_add(1));
        Self::deposit_event(Event::EpochEnded { epoch });
        <T as Config>::WeightInfo::end_epoch().saturating_add(T::DbWeight::get().writes(1))
    }
}
