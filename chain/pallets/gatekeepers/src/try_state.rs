//! Checks the pallet's invariants; see the crate's documentation.

use crate::*;
use alloc::collections::{BTreeMap, BTreeSet};
use frame_support::traits::fungible::hold::Inspect as _;

impl<T: Config> Pallet<T> {
    /// Checks the pallet's invariants.
    pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
        Self::check_seats()?;
        Self::check_backing()?;
        Self::check_set()
    }

    fn check_seats() -> Result<(), sp_runtime::TryRuntimeError> {
        let mut bonds = BTreeMap::<T::AccountId, Balance>::new();
        let mut standing = Vec::new();
        let mut enclaves = BTreeMap::new();
        for (id, seat) in Seats::<T>::iter() {
            ensure!(id == Self::seat_id(&seat.operator, seat.index), "a seat under another's id");
            let bond = bonds.entry(seat.operator.clone()).or_default();
            *bond = bond.saturating_add(seat.bond);
            if seat.status == SeatStatus::Standing {
                standing.push(id.clone());
            }
            ensure!(Session::<T>::load_keys(&id).is_some(), "a seat without session keys");
            for gatekeeper in seat.enclaves() {
                ensure!(enclaves.insert(gatekeeper, id.clone()).is_none(), "an enclave of two seats, or twice of one");
                let record = Gatekeepers::<T>::get(gatekeeper).ok_or("a seat's enclave is not recorded")?;
                ensure!(
                    record.seat == id && record.operator == seat.operator,
                    "an enclave's record is of another seat"
                );
                let tenant = pallet_phala_attestation::Platforms::<T>::get(record.platform);
                let is_own = |own: GatekeeperId| tenant == Some(own.into());
                ensure!(
                    is_own(gatekeeper) || (gatekeeper != seat.gatekeeper && seat.enclaves().any(is_own)),
                    "an enclave does not have its platform"
                );
            }
        }
        standing.sort();
        ensure!(Standing::<T>::get().into_inner() == standing, "who stands is not who says so");
        for (operator, bond) in bonds {
            let held = <T as Config>::Currency::balance_on_hold(&HoldReason::Bond.into(), &operator);
            ensure!(held == bond, "an operator's bonds are not what is on hold");
        }
        ensure!(Gatekeepers::<T>::iter_keys().all(|id| enclaves.contains_key(&id)), "an enclave of no seat");
        for tenant in pallet_phala_attestation::Platforms::<T>::iter_values() {
            if let Tenant::Gatekeeper(gatekeeper) = tenant {
                ensure!(enclaves.contains_key(&gatekeeper), "a platform is claimed by no gatekeeper");
            }
        }
        ensure!(Silences::<T>::iter_keys().all(Seats::<T>::contains_key), "a silence of no seat");
        ensure!(SilencePaid::<T>::iter_keys().all(Seats::<T>::contains_key), "no seat has paid for silence");
        Ok(())
    }

    fn check_backing() -> Result<(), sp_runtime::TryRuntimeError> {
        let mut sums = BTreeMap::<T::AccountId, Balance>::new();
        let mut held = BTreeMap::<T::AccountId, Balance>::new();
        let mut ranking = Vec::new();
        for (account, backer) in Backers::<T>::iter() {
            ensure!(backer.amount >= T::MinBacking::get(), "a backer with less than the least");
            ensure!(!backer.seats.is_empty(), "a backer of nobody");
            ensure!(
                backer.seats.windows(2).all(|pair| pair.first() < pair.last()),
                "a backer's seats are out of order"
            );
            for seat in backer.seats {
                let sum = sums.entry(seat).or_default();
                *sum = sum.saturating_add(backer.amount);
            }
            held.insert(account.clone(), backer.amount);
            ranking.push((backer.amount, account));
        }
        for (account, unbacking) in Unbackings::<T>::iter() {
            ensure!(unbacking.amount > 0, "nothing waits to be withdrawn");
            let amount = held.entry(account).or_default();
            *amount = amount.saturating_add(unbacking.amount);
        }
        ensure!(
            Backing::<T>::iter().collect::<BTreeMap<_, _>>() == sums,
            "backing is not the sum of what backers give"
        );
        ranking.sort();
        ensure!(Ranking::<T>::get().into_inner() == ranking, "the ranking is not that of the backers");
        for (account, amount) in held {
            let on_hold = <T as Config>::Currency::balance_on_hold(&HoldReason::Backing.into(), &account);
            ensure!(on_hold == amount, "what backs is not what is on hold");
        }
        Ok(())
    }

    fn check_set() -> Result<(), sp_runtime::TryRuntimeError> {
        let set = Elected::<T>::get();
        ensure!(set.is_empty() == Era::<T>::get().is_zero(), "a set without an era, or an era without a set");
        ensure!(
            set.windows(2).all(|pair| pair.first().map(|m| &m.seat) < pair.last().map(|m| &m.seat)),
            "the set is out of order"
        );
        let mut enclaves = BTreeSet::new();
        for member in &set {
            let seat = Seats::<T>::get(&member.seat).ok_or("a seat in the set is gone")?;
            ensure!(seat.enclaves().any(|id| id == member.gatekeeper), "an enclave in the set is not its seat's");
            ensure!(enclaves.insert(member.gatekeeper), "an enclave is in the set twice");
        }
        ensure!(SetSize::<T>::get().is_valid(), "no set has this size");
        ensure!(EraLength::<T>::get() > 0, "an era without sessions");
        ensure!(Judged::<T>::get() <= Era::<T>::get(), "an era to come is judged");
        Ok(())
    }
}
