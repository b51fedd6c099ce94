//! Equivocation and silence, and what they cost.
//!
//! Equivocations are proven to BABE and GRANDPA, come through `pallet_offences`, and cost the whole bond, whatever fraction these
//! would take: the figure is in the protocol, and one equivocation of one gatekeeper is proof enough.
//!
//! Silence is measured by blocks. Slots go to all authorities alike, so that a seat that should have made
//! [`Config::MissedBlocks`] blocks since its last one, and made none, does not author: by chance alone, one in e to that number
//! does. A post in a ceremony counts as a block ([`Pallet::sign_of_life`]). `pallet_im_online` would ask for a third session
//! key, an off-chain worker and a transaction of each node in each session, to show no more than that the node runs; what counts is
//! whether it does its duty, and that is on chain already.
//!
//! An enclave may be dead behind a node that makes blocks. It is silent when the root key's shares were dealt to the set in two eras
//! in succession, and it could have got one both times and did not ([`Pallet::judge_enclaves`]). Only a ceremony that completed says
//! so: in one that did not, the chain cannot tell who is away from who is kept away. Node and enclave pay for the same time once.

use crate::*;
use frame_support::traits::{
    Defensive,
    tokens::{Fortitude, Restriction},
};
use pallet_session::historical;
use sp_runtime::traits::Convert;
use sp_staking::offence::{OffenceDetails, OffenceSeverity, OnOffenceHandler};

/// Seconds in an hour.
const HOUR: u64 = 60 * 60;

/// Gives every authority its identification, which is empty: what a seat has at stake is in its record. Those of genesis have
/// nothing.
pub struct Everybody;

impl<AccountId> Convert<AccountId, Option<()>> for Everybody {
    fn convert(_: AccountId) -> Option<()> {
        Some(())
    }
}

impl<T: Config> OnOffenceHandler<T::AccountId, historical::IdentificationTuple<T>, Weight> for Pallet<T> {
    fn on_offence(
        offenders: &[OffenceDetails<T::AccountId, historical::IdentificationTuple<T>>],
        _: &[Perbill],
        _: SessionIndex,
    ) -> Weight {
        let mut punished = 0u32;
        for OffenceDetails { offender: (seat, ()), reporters } in offenders {
            // Authorities of genesis are no seats. An offence comes again with each later one of the same slot or round.
            let Some(mut record) = Seats::<T>::get(seat) else { continue };
            if matches!(record.status, SeatStatus::Ejected(_)) {
                continue;
            }
            punished = punished.saturating_add(1);
            let bond = record.bond;
            Self::slash(seat, &mut record, bond, Fault::Equivocation, reporters.first());
            Self::set_status(seat, &mut record, SeatStatus::Ejected(Self::unbonded_at()));
            Seats::<T>::insert(seat, record);
            Session::<T>::report_offence(seat.clone(), OffenceSeverity::max_severity());
        }
        <T as Config>::WeightInfo::on_offence().saturating_mul(punished.into())
    }
}

impl<T: Config> pallet_authorship::EventHandler<T::AccountId, BlockNumberFor<T>> for Pallet<T> {
    fn note_author(author: T::AccountId) {
        Authored::<T>::mutate(author, |blocks| *blocks = Some(blocks.unwrap_or_default().saturating_add(1)));
    }
}

impl<T: Config> Pallet<T> {
    /// Looks at who made how many blocks in the session that ends, and slashes who has been silent for too long.
    pub(crate) fn judge_authors() {
        let now = Attestation::<T>::now();
        let start = SessionStart::<T>::get();
        SessionStart::<T>::put(now);
        let authored: alloc::collections::BTreeMap<_, _> = Authored::<T>::drain().collect();
        if Elected::<T>::get().is_empty() {
            return;
        }
        let validators = Session::<T>::validators();
        let blocks = authored.values().fold(0u64, |sum, blocks| sum.saturating_add(u64::from(*blocks)));
        let share = blocks.saturating_mul(1000).checked_div(validators.len() as u64).unwrap_or_default();
        let disabled = Session::<T>::disabled_validators();
        for (seat, index) in validators.into_iter().zip(0u32..) {
            if authored.contains_key(&seat) {
                Silences::<T>::remove(&seat);
            } else if !disabled.contains(&index) {
                Self::note_silence(seat, share, start, now);
            }
        }
    }

    /// Looks at whose enclaves got no share when the era's set was dealt the root key's, and slashes those that were without one
    /// before, too: who is new in the set, or away for a moment, has an era to come back.
    pub fn judge_enclaves(missing: &[GatekeeperId]) {
        let era = Era::<T>::get();
        // Later in the era, shares are dealt anew only among who has them.
        if Judged::<T>::get() >= era {
            return;
        }
        Judged::<T>::put(era);
        let now = Attestation::<T>::now();
        let before = Absences::<T>::get();
        let mut absences = Vec::new();
        for SetMember { seat, gatekeeper } in Elected::<T>::get() {
            // Whose evidence is not good (any more) could not enrol.
            if !missing.contains(&gatekeeper) || !Self::is_good(&gatekeeper) {
                continue;
            }
            let earlier = before.iter().find(|(absent, _)| *absent == seat).map(|(_, since)| *since);
            let since = earlier.unwrap_or(now);
            if earlier.is_some()
                && let Some(record) = Seats::<T>::get(&seat)
            {
                Self::punish_silence(seat.clone(), record, since, since, now);
            }
            absences.push((seat, since));
        }
        if !absences.is_empty() {
            let seats = absences.iter().map(|(seat, _)| seat.clone()).collect();
            Self::deposit_event(Event::EnclavesMissing { era, seats });
        }
        Absences::<T>::put(BoundedVec::truncate_from(absences));
    }

    /// Notes that an authority made none of its `share` of blocks, in thousandths, between `start` and `now`.
    fn note_silence(seat: T::AccountId, share: u64, start: u64, now: u64) {
        let Some(record) = Seats::<T>::get(&seat) else { return };
        let mut silence = Silences::<T>::get(&seat).unwrap_or(Silence { since: start, missed: 0 });
        silence.missed = silence.missed.saturating_add(share);
        Silences::<T>::insert(&seat, silence);
        if silence.missed < u64::from(T::MissedBlocks::get()).saturating_mul(1000) {
            return;
        }
        Self::punish_silence(seat, record, silence.since, start, now);
    }

    /// Slashes a seat for silence between `start` and `now`, as far as it has not paid for that time: for an hour at most. It no
    /// longer stands where the silence began, at `since`, too long ago.
    fn punish_silence(seat: T::AccountId, mut record: SeatOf<T>, since: u64, start: u64, now: u64) {
        let start = start.max(SilencePaid::<T>::get(&seat));
        SilencePaid::<T>::insert(&seat, now);
        // A session is short: the part of the hour that it took.
        let part = Perbill::from_rational(now.saturating_sub(start).min(HOUR), HOUR);
        let amount = T::HourlySlash::get().mul_floor(part.mul_floor(record.bond));
        Self::slash(&seat, &mut record, amount, Fault::Silence, None);
        if record.status == SeatStatus::Standing && now.saturating_sub(since) >= T::SilenceLimit::get() {
            Self::set_status(&seat, &mut record, SeatStatus::Resting);
        }
        Seats::<T>::insert(seat, record);
    }

    /// Takes `amount` of a bond, for the treasury and who reported it. Leaves `record` to be stored.
    fn slash(
        seat: &T::AccountId,
        record: &mut SeatOf<T>,
        amount: Balance,
        fault: Fault,
        reporter: Option<&T::AccountId>,
    ) {
        let amount = amount.min(record.bond);
        // The author of a block reports what nobody signed for: a seat's reward is its operator's.
        let reporter =
            reporter.map(|account| Seats::<T>::get(account).map_or_else(|| account.clone(), |seat| seat.operator));
        let mut rewarded = 0;
        if let Some(reporter) = reporter.filter(|reporter| *reporter != record.operator) {
            rewarded = Self::pay(&record.operator, &reporter, T::ReporterShare::get().mul_floor(amount));
        }
        let treasury = Self::pay(&record.operator, &T::Treasury::get(), amount.saturating_sub(rewarded));
        record.bond = record.bond.saturating_sub(rewarded).saturating_sub(treasury);
        Self::deposit_event(Event::Slashed { seat: seat.clone(), fault, rewarded, treasury });
    }

    /// Moves PHA out of the operator's bonds; gives how much, which is nothing where the receiver cannot have it: an account that does
    /// not exist, and less than one needs.
    fn pay(operator: &T::AccountId, receiver: &T::AccountId, amount: Balance) -> Balance {
        if amount == 0
            || <T as Config>::Currency::can_deposit(receiver, amount, frame_support::traits::tokens::Provenance::Extant)
                .into_result()
                .is_err()
        {
            return 0;
        }
        <T as Config>::Currency::transfer_on_hold(
            &HoldReason::Bond.into(),
            operator,
            receiver,
            amount,
            Precision::Exact,
            Restriction::Free,
            Fortitude::Force,
        )
        .defensive_unwrap_or_default()
    }

    /// Forgets the sessions for which nobody can be slashed any more: one in each session.
    pub(crate) fn prune_history() {
        let kept = T::UnbondingEras::get().saturating_mul(T::SessionsPerEra::get());
        let first = Session::<T>::current_index().saturating_sub(kept);
        if historical::StoredRange::<T>::get().is_some_and(|(start, _)| start < first) {
            historical::Pallet::<T>::prune_up_to(first);
        }
    }
}
