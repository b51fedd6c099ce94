//! Elections, and when sessions have another set.

use crate::{caps::Traits, *};
use frame_election_provider_support::{NposSolver, SequentialPhragmen, VoteWeight};
use pallet_session::historical;

/// What one vote counts, in smallest units: a millionth of a PHA. All the PHA that there are fit into a [`VoteWeight`] then.
pub const UNIT: Balance = 1_000_000;

impl<T: Config> Pallet<T> {
    /// Why a seat cannot be elected, if it cannot.
    pub fn eligibility(seat: &T::AccountId, record: &SeatOf<T>) -> Result<GatekeeperOf<T>, Ineligible> {
        ensure!(record.status == SeatStatus::Standing, Ineligible::NotStanding);
        ensure!(record.bond >= T::MinBond::get(), Ineligible::BondTooLow);
        ensure!(Session::<T>::load_keys(seat).is_some(), Ineligible::NoSessionKeys);
        let enclave = Gatekeepers::<T>::get(record.gatekeeper).ok_or(Ineligible::VerdictExpired)?;
        Self::check_enclave(&enclave)?;
        Ok(enclave)
    }

    /// Whether an enclave's evidence is good at present.
    pub(crate) fn check_enclave(enclave: &GatekeeperOf<T>) -> Result<(), Ineligible> {
        ensure!(enclave.verdict_expires > Attestation::<T>::now(), Ineligible::VerdictExpired);
        ensure!(enclave.tier == phala_attestation::Tier::Full, Ineligible::TierTooLow);
        ensure!(Attestation::<T>::image_allowed(&enclave.measurement, Role::Gatekeeper), Ineligible::ImageNotAllowed);
        ensure!(!Attestation::<T>::any_compromised(enclave.classes()), Ineligible::Compromised);
        Ok(())
    }

    /// Elects a set, if it is time to; gives it where other seats are in it than before. Where none can be elected, the present
    /// one has another era, and each further session tries again.
    pub(crate) fn do_elections() -> Option<Vec<T::AccountId>> {
        let now = Session::<T>::current_index();
        let is_due = now.saturating_sub(EraStart::<T>::get()) >= EraLength::<T>::get();
        if !is_due && !Forced::<T>::get() {
            return None;
        }
        let before = Elected::<T>::get();
        // Nothing is said about elections on chains that have nothing to do with seats.
        if before.is_empty() && Standing::<T>::get().is_empty() {
            return None;
        }
        let set = match Self::elect() {
            Ok(set) => set,
            Err(reason) => {
                Self::deposit_event(Event::ElectionRefused { reason });
                // The set goes on, but not its keys: who breaks it later must not read what was encrypted before.
                if is_due && !before.is_empty() {
                    let era = Self::begin_era(now);
                    Forced::<T>::put(true);
                    Self::deposit_event(Event::SetKept { era });
                    T::OnElected::on_elected(era, Self::current());
                }
                return None;
            }
        };
        let era = Self::begin_era(now);
        Forced::<T>::kill();
        let seats: Vec<_> = set.iter().map(|member| member.seat.clone()).collect();
        for seat in &seats {
            if !before.iter().any(|member| member.seat == *seat) {
                Silences::<T>::remove(seat);
            }
        }
        Absences::<T>::mutate(|all| all.retain(|(seat, _)| before.iter().any(|member| member.seat == *seat)));
        Self::deposit_event(Event::Elected { era, set: set.to_vec() });
        Elected::<T>::put(set);
        T::OnElected::on_elected(era, Self::current());
        let is_same = before.iter().map(|member| &member.seat).eq(&seats);
        (!is_same).then_some(seats)
    }

    /// Begins the next era in session `now`; gives its number.
    fn begin_era(now: SessionIndex) -> u32 {
        let era = Era::<T>::get().saturating_add(1);
        Era::<T>::put(era);
        EraStart::<T>::put(now);
        era
    }

    /// The set that would be elected now, in ascending order of seats.
    ///
    /// # Errors
    /// Why there is none.
    pub fn elect() -> Result<BoundedVec<SetMember<T::AccountId>, ConstU32<MAX_GATEKEEPERS>>, Refusal> {
        let mut targets = Vec::new();
        let mut voters = Vec::new();
        let mut eligible = alloc::collections::BTreeMap::new();
        for seat in Standing::<T>::get() {
            let Some(record) = Seats::<T>::get(&seat) else { continue };
            let Ok(enclave) = Self::eligibility(&seat, &record) else { continue };
            voters.push((seat.clone(), votes(record.bond), Choices::truncate_from(alloc::vec![seat.clone()])));
            targets.push(seat.clone());
            eligible.insert(seat, (record.gatekeeper, Traits::of(&enclave)));
        }
        let Size { desired, minimum } = SetSize::<T>::get();
        let candidates = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        ensure!(candidates >= minimum, Refusal::TooFewCandidates { eligible: candidates, minimum });
        for (_, account) in Ranking::<T>::get() {
            if let Some(backer) = Backers::<T>::get(&account) {
                voters.push((account, votes(backer.amount), backer.seats));
            }
        }
        // All are put in order, so that the caps have as many to choose from as there are.
        let result = SequentialPhragmen::<T::AccountId, Perbill>::solve(targets.len(), targets, voters)
            .map_err(|_| Refusal::Arithmetic)?;
        let (members, traits): (Vec<_>, Vec<_>) = result
            .winners
            .into_iter()
            .filter_map(|(seat, _)| {
                let (gatekeeper, traits) = eligible.remove(&seat)?;
                Some((SetMember { seat, gatekeeper }, traits))
            })
            .unzip();
        let chosen = DiversityCaps::<T>::get()
            .choose_most(desired.min(MAX_GATEKEEPERS), minimum, &traits)
            .ok_or(Refusal::CapsExceeded { eligible: candidates, minimum })?;
        let mut set: Vec<_> = chosen.into_iter().filter_map(|position| members.get(position).cloned()).collect();
        set.sort();
        Ok(BoundedVec::truncate_from(set))
    }
}

/// What a bond or backing counts in an election.
fn votes(amount: Balance) -> VoteWeight {
    VoteWeight::try_from(amount / UNIT).unwrap_or(VoteWeight::MAX)
}

impl<T: Config> pallet_session::SessionManager<T::AccountId> for Pallet<T> {
    fn new_session(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        Self::prune_history();
        Self::do_elections()
    }

    /// Those that genesis names.
    fn new_session_genesis(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        None
    }

    fn start_session(_: SessionIndex) {}

    fn end_session(_: SessionIndex) {
        Self::judge_authors();
    }
}

impl<T: Config> historical::SessionManager<T::AccountId, ()> for Pallet<T> {
    fn new_session(index: SessionIndex) -> Option<Vec<(T::AccountId, ())>> {
        let seats = <Self as pallet_session::SessionManager<_>>::new_session(index)?;
        Some(seats.into_iter().map(|seat| (seat, ())).collect())
    }

    fn new_session_genesis(_: SessionIndex) -> Option<Vec<(T::AccountId, ())>> {
        None
    }

    fn start_session(index: SessionIndex) {
        <Self as pallet_session::SessionManager<_>>::start_session(index);
    }

    fn end_session(index: SessionIndex) {
        <Self as pallet_session::SessionManager<_>>::end_session(index);
    }
}
