//! Backing seats.

use crate::*;
use frame_support::traits::DefensiveSaturating;

impl<T: Config> Pallet<T> {
    pub(crate) fn do_back(backer: T::AccountId, seats: Choices<T::AccountId>, amount: Balance) -> DispatchResult {
        ensure!(amount >= T::MinBacking::get(), Error::<T>::BackingTooLow);
        ensure!(!seats.is_empty(), Error::<T>::NoSeats);
        let mut sorted = seats.into_inner();
        sorted.sort();
        let named = sorted.len();
        sorted.dedup();
        ensure!(sorted.len() == named, Error::<T>::DuplicateSeat);
        let seats = Choices::<T::AccountId>::truncate_from(sorted);
        for seat in &seats {
            ensure_kept::<T>(&Seats::<T>::get(seat).ok_or(Error::<T>::UnknownSeat)?)?;
        }

        let before = Backers::<T>::get(&backer);
        let held = before.as_ref().map_or(0, |before| before.amount);
        <T as Config>::Currency::hold(&HoldReason::Backing.into(), &backer, amount.saturating_sub(held))
            .map_err(|_| Error::<T>::InsufficientBalance)?;
        if let Some(before) = before {
            Self::take_back(&backer, before);
            Self::begin_unbacking(&backer, held.saturating_sub(amount));
        }
        let mut ranking = Ranking::<T>::get();
        if ranking.is_full() {
            let (least, lowest) = ranking.first().cloned().ok_or(Error::<T>::TooManyBackers)?;
            ensure!(amount > least, Error::<T>::TooManyBackers);
            Self::do_stop_backing(&lowest);
            ranking = Ranking::<T>::get();
        }
        let entry = (amount, backer.clone());
        let position = ranking.binary_search(&entry).unwrap_or_else(|position| position);
        ranking.try_insert(position, entry).map_err(|_| Error::<T>::TooManyBackers)?;
        Ranking::<T>::put(ranking);
        for seat in &seats {
            Backing::<T>::mutate(seat, |sum| *sum = sum.saturating_add(amount));
        }
        Backers::<T>::insert(&backer, Backer { amount, seats: seats.clone() });
        Self::deposit_event(Event::Backed { backer, amount, seats });
        Ok(())
    }

    /// Ends what `backer` does, if it does; its PHA stays on hold for a while.
    pub(crate) fn do_stop_backing(backer: &T::AccountId) {
        let Some(record) = Backers::<T>::take(backer) else { return };
        let amount = record.amount;
        Self::take_back(backer, record);
        Self::begin_unbacking(backer, amount);
        Self::deposit_event(Event::BackingStopped { backer: backer.clone(), amount });
    }

    pub(crate) fn do_withdraw_backing(backer: T::AccountId) -> DispatchResult {
        let Unbacking { amount, until } = Unbackings::<T>::get(&backer).ok_or(Error::<T>::NothingToWithdraw)?;
        ensure!(Session::<T>::current_index() >= until, Error::<T>::StillBonded);
        <T as Config>::Currency::release(&HoldReason::Backing.into(), &backer, amount, Precision::Exact)?;
        Unbackings::<T>::remove(&backer);
        Self::deposit_event(Event::BackingWithdrawn { backer, amount });
        Ok(())
    }

    /// Takes the amount of a record of `backer` away from its seats and from the ranking.
    fn take_back(backer: &T::AccountId, record: BackerOf<T>) {
        for seat in &record.seats {
            Backing::<T>::mutate_exists(seat, |sum| {
                *sum = sum.map(|sum| sum.defensive_saturating_sub(record.amount)).filter(|sum| *sum > 0);
            });
        }
        Ranking::<T>::mutate(|ranking| {
            if let Ok(position) = ranking.binary_search(&(record.amount, backer.clone())) {
                ranking.remove(position);
            }
        });
    }

    /// What waits already waits anew, together with this.
    fn begin_unbacking(backer: &T::AccountId, amount: Balance) {
        if amount > 0 {
            let until = Self::unbonded_at();
            Unbackings::<T>::mutate(backer, |waiting| {
                let amount = waiting.map_or(0, |waiting| waiting.amount).saturating_add(amount);
                *waiting = Some(Unbacking { amount, until });
            });
        }
    }
}
