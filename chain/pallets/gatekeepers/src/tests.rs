use crate::{
    enclave::{Enclave, MEASUREMENT, disguise, endpoint},
    mock::*,
    mock::{Attestation, Gatekeepers, Session},
    *,
};
use frame_support::{
    assert_noop, assert_ok,
    traits::{
        KeyOwnerProofSystem,
        fungible::{Inspect, hold::Inspect as _},
    },
};
use phala_attestation::{Family, Generation, Measurement, Tier, Vendor};
use phala_primitives::PHA;
use sp_runtime::{AccountId32, key_types::DUMMY, traits::BadOrigin};
use sp_staking::offence::{Kind, Offence, OffenceError, ReportOffence};
use std::slice::from_ref;

type AttestationError = pallet_phala_attestation::Error<Test>;

fn on_hold(person_: u8, reason: HoldReason) -> Balance {
    Balances::balance_on_hold(&reason.into(), &person(person_))
}

fn enclave(number: u8) -> Enclave {
    Enclave::new(number.into(), person(number))
}

/// The id of the first seat of a person.
fn id(number: u8) -> AccountId32 {
    Gatekeepers::seat_id(&person(number), 0)
}

fn choices(seats: &[AccountId32]) -> Choices<AccountId32> {
    seats.to_vec().try_into().unwrap()
}

fn back(backer: u8, seats: &[AccountId32], amount: Balance) -> DispatchResult {
    Gatekeepers::back(signed(backer), choices(seats), amount)
}

// Registration

#[test]
fn a_registered_seat_stands() {
    with_chain(|| {
        let seat = seat(0);
        let record = record(&seat);
        assert_eq!((record.operator, record.index, record.bond), (person(0), 0, MIN_BOND));
        assert_eq!(record.status, SeatStatus::Standing);
        assert_eq!(record.gatekeeper, enclave(0).id());
        assert_eq!(on_hold(0, HoldReason::Bond), MIN_BOND);
        assert_eq!(Session::load_keys(&seat), Some(keys(&person(0), 0, 0).0));
        let gatekeeper = Gatekeepers::record(&enclave(0).id()).unwrap();
        assert_eq!((gatekeeper.seat, gatekeeper.operator), (seat.clone(), person(0)));
        assert_eq!(gatekeeper.measurement, MEASUREMENT);
        assert_eq!(pallet_phala_attestation::Platforms::<Test>::get(gatekeeper.platform), Some(enclave(0).id().into()));
        assert!(Gatekeepers::is_registered(&enclave(0).id()));
        assert!(!Gatekeepers::is_registered(&enclave(1).id()));
        assert!(!Gatekeepers::in_set(&seat));
        assert_eq!(Gatekeepers::current(), []);
    });
}

#[test]
fn an_operator_has_several_seats() {
    with_chain(|| {
        seat(0);
        assert_ok!(Enclave::new(50, person(0)).register::<Test>(7, MIN_BOND, keys(&person(0), 7, 50)));
        assert_eq!(on_hold(0, HoldReason::Bond), 2 * MIN_BOND);
        assert_ne!(Gatekeepers::seat_id(&person(0), 0), Gatekeepers::seat_id(&person(0), 7));
        assert_ne!(Gatekeepers::seat_id(&person(0), 7), Gatekeepers::seat_id(&person(1), 7));
    });
}

#[test]
fn registrations_that_are_refused() {
    with_chain(|| {
        seat(0);
        let register = |number: u32, index, bond| {
            Enclave::new(number, person(0)).register::<Test>(index, bond, keys(&person(0), index, number))
        };
        assert_noop!(register(1, 0, MIN_BOND), Error::<Test>::SeatTaken);
        assert_noop!(register(1, 1, MIN_BOND - 1), Error::<Test>::BondTooLow);
        assert_noop!(register(1, 1, ENOUGH), Error::<Test>::InsufficientBalance);
        assert_noop!(register(0, 1, MIN_BOND), Error::<Test>::AlreadyRegistered);
        let on_taken = Enclave::new(1, person(0)).moved_to(enclave(0));
        assert_noop!(on_taken.register::<Test>(1, MIN_BOND, keys(&person(0), 1, 1)), AttestationError::PlatformTaken);
        let of_another_seat = keys(&person(0), 2, 1);
        assert_noop!(
            Enclave::new(1, person(0)).register::<Test>(1, MIN_BOND, of_another_seat),
            Error::<Test>::InvalidKeyProof
        );
        let of_another = keys(&person(0), 1, 0);
        assert_noop!(
            Enclave::new(1, person(0)).register::<Test>(1, MIN_BOND, of_another),
            pallet_session::Error::<Test>::DuplicatedKey
        );
        let mut other_image = Enclave::new(1, person(0));
        other_image.measurement = Measurement([1; 32]);
        assert_noop!(
            other_image.register::<Test>(1, MIN_BOND, keys(&person(0), 1, 1)),
            AttestationError::ImageNotAllowed
        );
        let of_bob = Enclave::new(1, person(1));
        let statement = of_bob.statement::<Test>();
        let (session_keys, proof) = keys(&person(0), 1, 1);
        let bad: Endpoint = b"ftp://x".to_vec().try_into().unwrap();
        for (endpoint, error) in [
            (endpoint(), DispatchError::from(AttestationError::WrongOperator)),
            (bad, Error::<Test>::InvalidEndpoint.into()),
        ] {
            let evidence = of_bob.evidence(&statement);
            let (keys, proof) = (session_keys.clone(), proof.clone());
            let refused =
                Gatekeepers::register(signed(0), 1, MIN_BOND, statement.clone(), evidence, endpoint, keys, proof);
            assert_eq!(refused.unwrap_err().error, error);
        }
        assert_ok!(register(1, 1, MIN_BOND));
    });
}

#[test]
fn when_no_place_is_left_who_has_least_gives_way() {
    with_chain(|| {
        let all: Vec<_> =
            (0..MAX_SEATS as u8).map(|number| seat_with(number, MIN_BOND + Balance::from(number))).collect();
        let late = MAX_SEATS as u8;
        let register = |bond| enclave(late).register::<Test>(0, bond, keys(&person(late), 0, late.into()));
        assert_noop!(register(MIN_BOND), Error::<Test>::NoPlace);
        // What backs a seat counts, too.
        assert_ok!(back(0, &all[..1], 10 * PHA));
        assert_noop!(register(MIN_BOND + 1), Error::<Test>::NoPlace);
        assert_ok!(register(MIN_BOND + 20));
        assert_eq!(record(&all[1]).status, SeatStatus::Resting);
        assert_eq!(record(&all[0]).status, SeatStatus::Standing);
        assert_eq!(Standing::<Test>::get().len() as u32, MAX_SEATS);
        // The one that gave way comes back with more, and takes the place of another.
        assert_noop!(Gatekeepers::stand(signed(1), 0), Error::<Test>::NoPlace);
        assert_ok!(Gatekeepers::bond_more(signed(1), 0, PHA));
        assert_ok!(Gatekeepers::stand(signed(1), 0));
        assert_eq!(record(&all[2]).status, SeatStatus::Resting);
    });
}

#[test]
fn who_is_in_the_set_gives_no_place_away() {
    with_chain(|| {
        elected_four();
        for number in 4..MAX_SEATS as u8 {
            seat_with(number, 3 * MIN_BOND);
        }
        let late = MAX_SEATS as u8;
        // The members have least.
        let register = |bond| enclave(late).register::<Test>(0, bond, keys(&person(late), 0, late.into()));
        assert_noop!(register(3 * MIN_BOND), Error::<Test>::NoPlace);
        assert_ok!(register(3 * MIN_BOND + 1));
        assert!(members().iter().all(|seat| record(seat).status == SeatStatus::Standing));
    });
}

// The enclave

#[test]
fn a_renewal_replaces_the_verdict() {
    with_chain(|| {
        seat(0);
        let before = Gatekeepers::record(&enclave(0).id()).unwrap();
        run_to(9);
        assert_ok!(enclave(0).renew::<Test>());
        let after = Gatekeepers::record(&enclave(0).id()).unwrap();
        assert_eq!(after.verdict_expires, before.verdict_expires + 16);
        assert_ne!(after.evidence_hash, before.evidence_hash);
        assert_eq!(after.registered_at, before.registered_at);
    });
}

#[test]
fn renewals_that_are_refused() {
    with_chain(|| {
        seat(0);
        assert_noop!(enclave(1).renew::<Test>(), Error::<Test>::UnknownGatekeeper);
        let of_another = Enclave::new(0, person(1));
        assert_noop!(of_another.renew::<Test>(), Error::<Test>::NotOperator);
        assert_noop!(enclave(0).moved_to(enclave(5)).renew::<Test>(), Error::<Test>::PlatformChanged);
        let mut other_key = enclave(0);
        other_key.encryption_key = [7; 32];
        assert_noop!(other_key.renew::<Test>(), Error::<Test>::EncryptionKeyChanged);
        let new_image = Measurement([9; 32]);
        assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), new_image, Role::Gatekeeper, 2));
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), Class::Image(MEASUREMENT)));
        let mut updated = enclave(0);
        updated.measurement = new_image;
        assert_noop!(updated.renew::<Test>(), AttestationError::Compromised);
        assert_ok!(Attestation::restore(RuntimeOrigin::root(), Class::Image(MEASUREMENT)));
        assert_ok!(updated.renew::<Test>());
        assert_eq!(Gatekeepers::record(&enclave(0).id()).unwrap().measurement, new_image);
    });
}

#[test]
fn a_replaced_enclave_stays_registered_until_it_can_hold_no_share() {
    with_chain(|| {
        let seats = elected_four();
        let (old, new) = (enclave(0), Enclave::new(60, person(0)));
        assert_ok!(new.replace::<Test>(0));
        assert_eq!(record(&seats[0]).gatekeeper, new.id());
        assert!(Gatekeepers::is_registered(&old.id()) && Gatekeepers::is_registered(&new.id()));
        // The set is as it was elected.
        assert!(Gatekeepers::current().contains(&old.id()) && !Gatekeepers::current().contains(&new.id()));
        assert_noop!(old.renew::<Test>(), Error::<Test>::AlreadyReplaced);
        sessions(ERA);
        assert!(!Gatekeepers::current().contains(&old.id()) && Gatekeepers::current().contains(&new.id()));
        assert_eq!(Told::get().last().unwrap().1, Gatekeepers::current());
        // Not yet over, then over, but it holds shares.
        assert_ok!(new.renew::<Test>());
        assert!(Gatekeepers::is_registered(&old.id()));
        sessions(ERA * UNBONDING);
        Shareholders::set(vec![old.id()]);
        assert_ok!(new.renew::<Test>());
        assert!(Gatekeepers::is_registered(&old.id()));
        let platform = Gatekeepers::record(&old.id()).unwrap().platform;
        Shareholders::set(vec![]);
        assert_ok!(new.renew::<Test>());
        assert!(!Gatekeepers::is_registered(&old.id()));
        assert!(happened(Event::Forgotten { gatekeeper: old.id() }));
        assert_eq!(pallet_phala_attestation::Platforms::<Test>::get(platform), None);
    });
}

#[test]
fn a_new_enclave_may_be_on_the_platform_of_the_old_one() {
    with_chain(|| {
        seat(0);
        let platform = Gatekeepers::record(&enclave(0).id()).unwrap().platform;
        let new = Enclave::new(60, person(0)).moved_to(enclave(0));
        assert_ok!(new.replace::<Test>(0));
        assert_eq!(pallet_phala_attestation::Platforms::<Test>::get(platform), Some(new.id().into()));
        check();
        sessions(ERA * UNBONDING);
        assert_ok!(new.renew::<Test>());
        assert!(!Gatekeepers::is_registered(&enclave(0).id()));
        assert_eq!(pallet_phala_attestation::Platforms::<Test>::get(platform), Some(new.id().into()));
    });
}

#[test]
fn replacements_that_are_refused() {
    with_chain(|| {
        let _: [_; 2] = [0, 1].map(seat);
        assert_noop!(Enclave::new(60, person(2)).replace::<Test>(0), Error::<Test>::UnknownSeat);
        assert_noop!(enclave(0).replace::<Test>(0), Error::<Test>::AlreadyRegistered);
        let on_taken = Enclave::new(60, person(0)).moved_to(enclave(1));
        assert_noop!(on_taken.replace::<Test>(0), AttestationError::PlatformTaken);
        for number in 0..MAX_PREVIOUS {
            assert_ok!(Enclave::new(60 + number, person(0)).replace::<Test>(0));
        }
        assert_noop!(Enclave::new(70, person(0)).replace::<Test>(0), Error::<Test>::TooManyEnclaves);
        assert_ok!(Gatekeepers::leave(signed(1), 0));
        assert_noop!(Enclave::new(71, person(1)).replace::<Test>(0), Error::<Test>::Left);
    });
}

#[test]
fn an_endpoint_changes() {
    with_chain(|| {
        seat(0);
        let moved: Endpoint = b"http://10.0.0.1:80".to_vec().try_into().unwrap();
        assert_ok!(Gatekeepers::set_endpoint(signed(0), 0, moved.clone()));
        assert_eq!(Gatekeepers::record(&enclave(0).id()).unwrap().endpoint, moved.to_vec());
        assert_noop!(Gatekeepers::set_endpoint(signed(0), 1, moved.clone()), Error::<Test>::UnknownSeat);
        assert_noop!(Gatekeepers::set_endpoint(signed(1), 0, moved), Error::<Test>::UnknownSeat);
        let bad: Endpoint = b"http://a b".to_vec().try_into().unwrap();
        assert_noop!(Gatekeepers::set_endpoint(signed(0), 0, bad), Error::<Test>::InvalidEndpoint);
    });
}

#[test]
fn session_keys_do_not_change_while_a_seat_is_in_the_set() {
    with_chain(|| {
        let seats = elected_four();
        let set = |index, number| {
            let (keys, proof) = keys(&person(0), index, number);
            Gatekeepers::set_session_keys(signed(0), 0, keys, proof)
        };
        assert_noop!(set(0, 100), Error::<Test>::InSet);
        assert_ok!(Gatekeepers::rest(signed(0), 0));
        assert_noop!(set(0, 100), Error::<Test>::InSet);
        sessions(ERA - 1);
        // The next set is elected, and this one authors blocks for a session more.
        assert!(!members().contains(&seats[0]));
        assert_noop!(set(0, 100), Error::<Test>::InSet);
        sessions(1);
        assert_noop!(set(1, 100), Error::<Test>::InvalidKeyProof);
        assert_noop!(set(0, 1), pallet_session::Error::<Test>::DuplicatedKey);
        assert_ok!(set(0, 100));
        assert_eq!(Session::load_keys(&seats[0]), Some(keys(&person(0), 0, 100).0));
    });
}

// Bonds and leaving

#[test]
fn a_bond_grows() {
    with_chain(|| {
        let seat = seat(0);
        assert_ok!(Gatekeepers::bond_more(signed(0), 0, PHA));
        assert_eq!(record(&seat).bond, MIN_BOND + PHA);
        assert_eq!(on_hold(0, HoldReason::Bond), MIN_BOND + PHA);
        assert_noop!(Gatekeepers::bond_more(signed(0), 0, ENOUGH), Error::<Test>::InsufficientBalance);
        assert_noop!(Gatekeepers::bond_more(signed(1), 0, PHA), Error::<Test>::UnknownSeat);
        assert_ok!(Gatekeepers::leave(signed(0), 0));
        assert_noop!(Gatekeepers::bond_more(signed(0), 0, PHA), Error::<Test>::Left);
    });
}

#[test]
fn a_seat_rests_and_stands() {
    with_chain(|| {
        let seat = seat(0);
        assert_noop!(Gatekeepers::stand(signed(0), 0), Error::<Test>::AlreadyStanding);
        assert_ok!(Gatekeepers::rest(signed(0), 0));
        assert_eq!(record(&seat).status, SeatStatus::Resting);
        assert!(Standing::<Test>::get().is_empty());
        assert_noop!(Gatekeepers::rest(signed(0), 0), Error::<Test>::NotStanding);
        Seats::<Test>::mutate_extant(&seat, |record| record.bond -= 1);
        assert_noop!(Gatekeepers::stand(signed(0), 0), Error::<Test>::BondTooLow);
        Seats::<Test>::mutate_extant(&seat, |record| record.bond += 1);
        assert_ok!(Gatekeepers::stand(signed(0), 0));
        assert_eq!(Standing::<Test>::get().into_inner(), [seat]);
    });
}

#[test]
fn who_leaves_is_out_with_the_next_set_and_gets_its_bond_after_the_unbonding_period() {
    with_chain(|| {
        let seats = elected_four();
        let free = Balances::balance(&person(0));
        assert_noop!(Gatekeepers::withdraw(signed(0), seats[0].clone()), Error::<Test>::NotLeft);
        assert_noop!(Gatekeepers::withdraw(signed(0), person(0)), Error::<Test>::UnknownSeat);
        assert_ok!(Gatekeepers::leave(signed(0), 0));
        assert_noop!(Gatekeepers::leave(signed(0), 0), Error::<Test>::Left);
        assert_noop!(Gatekeepers::rest(signed(0), 0), Error::<Test>::Left);
        assert_noop!(Gatekeepers::stand(signed(0), 0), Error::<Test>::Left);
        assert!(members().contains(&seats[0]), "until the next election");
        sessions(ERA - 1);
        assert!(!members().contains(&seats[0]));
        sessions(ERA * UNBONDING - ERA);
        assert_noop!(Gatekeepers::withdraw(signed(0), seats[0].clone()), Error::<Test>::StillBonded);
        sessions(1);
        Shareholders::set(vec![enclave(0).id()]);
        assert_noop!(Gatekeepers::withdraw(signed(0), seats[0].clone()), Error::<Test>::HoldsShares);
        Shareholders::set(vec![]);
        // Anybody may.
        assert_ok!(Gatekeepers::withdraw(signed(9), seats[0].clone()));
        assert_eq!(Balances::balance(&person(0)), free + 2 * MIN_BOND);
        assert_eq!(on_hold(0, HoldReason::Bond), 0);
        assert_eq!(Seats::<Test>::get(&seats[0]), None);
        assert_eq!(Session::load_keys(&seats[0]), None);
        assert!(!Gatekeepers::is_registered(&enclave(0).id()));
        // Everything is free again.
        seat(0);
    });
}

#[test]
fn who_leaves_stays_bonded_for_as_long_as_it_is_in_the_set() {
    with_chain(|| {
        let seats = elected_four();
        assert_ok!(Gatekeepers::set_size(RuntimeOrigin::root(), Size { desired: 4, minimum: 4 }));
        assert_ok!(Gatekeepers::leave(signed(0), 0));
        sessions(ERA * UNBONDING + 1);
        assert!(members().contains(&seats[0]), "no other set could be elected");
        assert_noop!(Gatekeepers::withdraw(signed(0), seats[0].clone()), Error::<Test>::InSet);
    });
}

// Backing

#[test]
fn backing_is_on_hold_and_counts_for_each_seat() {
    with_chain(|| {
        let (first, second) = (seat(0), seat(1));
        assert_ok!(back(5, &[first.clone(), second.clone()], 10 * PHA));
        assert_ok!(back(6, from_ref(&second), 5 * PHA));
        assert_eq!(on_hold(5, HoldReason::Backing), 10 * PHA);
        assert_eq!((Backing::<Test>::get(&first), Backing::<Test>::get(&second)), (10 * PHA, 15 * PHA));
        // More, for others.
        assert_ok!(back(5, from_ref(&first), 12 * PHA));
        assert_eq!(on_hold(5, HoldReason::Backing), 12 * PHA);
        assert_eq!((Backing::<Test>::get(&first), Backing::<Test>::get(&second)), (12 * PHA, 5 * PHA));
        // Less: the rest waits.
        assert_ok!(back(5, from_ref(&first), 4 * PHA));
        assert_eq!(on_hold(5, HoldReason::Backing), 12 * PHA);
        assert_eq!(Unbackings::<Test>::get(person(5)).unwrap().amount, 8 * PHA);
        assert_eq!(Ranking::<Test>::get().into_inner(), [(4 * PHA, person(5)), (5 * PHA, person(6))]);
        check();
    });
}

#[test]
fn backing_that_is_taken_back_is_free_after_the_unbonding_period() {
    with_chain(|| {
        let seat = seat(0);
        assert_noop!(Gatekeepers::stop_backing(signed(5)), Error::<Test>::NotBacking);
        assert_noop!(Gatekeepers::withdraw_backing(signed(5)), Error::<Test>::NothingToWithdraw);
        assert_ok!(back(5, from_ref(&seat), 10 * PHA));
        assert_ok!(Gatekeepers::stop_backing(signed(5)));
        assert_eq!(Backing::<Test>::get(&seat), 0);
        sessions(ERA * UNBONDING - 1);
        assert_noop!(Gatekeepers::withdraw_backing(signed(5)), Error::<Test>::StillBonded);
        sessions(1);
        assert_ok!(Gatekeepers::withdraw_backing(signed(5)));
        assert_eq!(on_hold(5, HoldReason::Backing), 0);
        assert_noop!(Gatekeepers::withdraw_backing(signed(5)), Error::<Test>::NothingToWithdraw);
    });
}

#[test]
fn backing_that_is_refused() {
    with_chain(|| {
        let seat = seat(0);
        assert_noop!(back(5, &[], PHA), Error::<Test>::NoSeats);
        assert_noop!(back(5, &[seat.clone(), seat.clone()], PHA), Error::<Test>::DuplicateSeat);
        assert_noop!(back(5, &[seat.clone(), person(3)], PHA), Error::<Test>::UnknownSeat);
        assert_noop!(back(5, from_ref(&seat), MIN_BACKING - 1), Error::<Test>::BackingTooLow);
        assert_noop!(back(5, from_ref(&seat), ENOUGH), Error::<Test>::InsufficientBalance);
        assert_ok!(Gatekeepers::leave(signed(0), 0));
        assert_noop!(back(5, &[seat], PHA), Error::<Test>::Left);
    });
}

#[test]
fn when_no_more_can_back_who_does_with_least_stops() {
    with_chain(|| {
        let seat = seat(0);
        for backer in 0..MAX_BACKERS as u8 {
            assert_ok!(back(1 + backer, from_ref(&seat), PHA * (2 + Balance::from(backer))));
        }
        assert_noop!(back(9, from_ref(&seat), 2 * PHA), Error::<Test>::TooManyBackers);
        assert_ok!(back(9, from_ref(&seat), 2 * PHA + 1));
        assert!(!Backers::<Test>::contains_key(person(1)));
        assert!(happened(Event::BackingStopped { backer: person(1), amount: 2 * PHA }));
        assert_eq!(Unbackings::<Test>::get(person(1)).unwrap().amount, 2 * PHA);
        // Who is among them changes the amount in its place.
        assert_ok!(back(9, &[seat], PHA));
        assert_eq!(Ranking::<Test>::get().first(), Some(&(PHA, person(9))));
    });
}

// Elections

#[test]
fn the_authorities_of_genesis_go_on_until_a_set_is_elected() {
    with_chain(|| {
        sessions(2 * ERA);
        assert_eq!(Session::validators(), GENESIS);
        assert_eq!(Era::<Test>::get(), 0);
        assert!(!happened(Event::ElectionRefused { reason: Refusal::TooFewCandidates { eligible: 0, minimum: 2 } }));
        seat(0);
        sessions(1);
        assert!(happened(Event::ElectionRefused { reason: Refusal::TooFewCandidates { eligible: 1, minimum: 2 } }));
        assert_eq!(Session::validators(), GENESIS);
        seat(1);
        sessions(1);
        let mut seats = vec![id(0), id(1)];
        seats.sort();
        assert_eq!(members(), seats);
        assert_eq!(Session::validators(), GENESIS, "for a session more");
        let mut enclaves = vec![enclave(0).id(), enclave(1).id()];
        enclaves.sort();
        assert_eq!(Told::get(), [(1, enclaves)]);
        sessions(1);
        assert_eq!(Session::validators(), seats);
    });
}

#[test]
fn an_era_has_its_sessions_and_the_same_set_is_no_change() {
    with_chain(|| {
        elected_four();
        assert_eq!(Era::<Test>::get(), 1);
        let start = EraStart::<Test>::get();
        sessions(ERA - 2);
        assert_eq!(Era::<Test>::get(), 1);
        sessions(1);
        assert_eq!((Era::<Test>::get(), EraStart::<Test>::get()), (2, start + ERA));
        assert!(!pallet_session::QueuedChanged::<Test>::get());
        assert_eq!(Told::get().len(), 2, "keys of eras need to be told all the same");
    });
}

#[test]
fn who_has_most_is_elected() {
    with_chain(|| {
        let seats: Vec<_> = (0..6).map(|number| seat_with(number, MIN_BOND + Balance::from(number) * PHA)).collect();
        // The last four, but for the third, whom somebody backs.
        assert_ok!(back(9, &seats[..1], 50 * PHA));
        sessions(ERA);
        let mut expected = vec![seats[0].clone(), seats[3].clone(), seats[4].clone(), seats[5].clone()];
        expected.sort();
        assert_eq!(members(), expected);
    });
}

#[test]
fn what_backs_several_seats_is_divided_among_them() {
    with_chain(|| {
        assert_ok!(Gatekeepers::set_size(RuntimeOrigin::root(), Size { desired: 2, minimum: 2 }));
        let seats: Vec<_> = (0..3).map(seat).collect();
        // A whale cannot take both places against half of its weight.
        assert_ok!(back(8, &seats[..2], 1_000 * PHA));
        assert_ok!(back(9, &seats[2..], 600 * PHA));
        sessions(ERA);
        assert!(members().contains(&seats[2]));
    });
}

#[test]
fn who_is_not_eligible_is_not_elected() {
    with_chain(|| {
        let seats: Vec<_> = (0..8).map(seat).collect();
        let eligibility = |number: u8| Gatekeepers::eligibility(&id(number), &record(&id(number))).map(drop);
        assert_eq!(eligibility(0), Ok(()));
        let change = |number: u8, change: fn(&mut Gatekeeper<AccountId32, u32>)| {
            crate::Gatekeepers::<Test>::mutate_extant(enclave(number).id(), change);
        };
        assert_ok!(Gatekeepers::rest(signed(1), 0));
        Seats::<Test>::mutate_extant(id(2), |record| record.bond -= 1);
        change(3, |record| record.verdict_expires = START);
        change(4, |record| record.tier = Tier::Limited);
        change(5, |record| record.measurement = Measurement([1; 32]));
        change(6, |record| record.family = Family::Generation(Generation::Milan));
        assert_ok!(Attestation::compromise(
            RuntimeOrigin::root(),
            Class::Family(Family::Generation(Generation::Milan))
        ));
        pallet_session::NextKeys::<Test>::remove(id(7));
        for (number, why) in [
            (1, Ineligible::NotStanding),
            (2, Ineligible::BondTooLow),
            (3, Ineligible::VerdictExpired),
            (4, Ineligible::TierTooLow),
            (5, Ineligible::ImageNotAllowed),
            (6, Ineligible::Compromised),
            (7, Ineligible::NoSessionKeys),
        ] {
            assert_eq!(eligibility(number), Err(why));
        }
        sessions(ERA);
        assert!(happened(Event::ElectionRefused { reason: Refusal::TooFewCandidates { eligible: 1, minimum: 2 } }));
        // Once they are, they are.
        Seats::<Test>::mutate_extant(id(2), |record| record.bond += 1);
        change(4, |record| record.tier = Tier::Full);
        pallet_session::NextKeys::<Test>::insert(id(7), keys(&person(7), 0, 7).0);
        sessions(1);
        let mut expected = vec![seats[0].clone(), seats[2].clone(), seats[4].clone(), seats[7].clone()];
        expected.sort();
        assert_eq!(members(), expected);
    });
}

#[test]
fn a_set_satisfies_the_caps() {
    with_chain(|| {
        for number in 0..6 {
            seat_with(number, MIN_BOND * 10 - Balance::from(number) * PHA);
            disguise::<Test>(enclave(number).id(), Vendor::Intel, Family::Fmspc([number; 6]));
        }
        sessions(ERA);
        assert!(happened(Event::ElectionRefused { reason: Refusal::CapsExceeded { eligible: 6, minimum: 2 } }));
        // Two of four may be Intel's: of three shares, which make a key, one at least is another vendor's.
        for number in 6..8 {
            seat(number);
            disguise::<Test>(enclave(number).id(), Vendor::Amd, Family::Generation(Generation::Milan));
        }
        assert_ok!(Gatekeepers::set_caps(RuntimeOrigin::root(), Caps { family: Permill::one(), ..DEFAULT_CAPS }));
        sessions(1);
        let mut expected = vec![id(0), id(1), id(6), id(7)];
        expected.sort();
        assert_eq!(members(), expected);
        assert!(Gatekeepers::is_safe(&Gatekeepers::current()));
        let ids = |numbers: &[u8]| numbers.iter().map(|number| enclave(*number).id()).collect::<Vec<_>>();
        assert!(Gatekeepers::is_safe(&ids(&[0, 1, 6])));
        assert!(!Gatekeepers::is_safe(&ids(&[0, 1, 2])), "of one vendor");
        assert!(!Gatekeepers::is_safe(&ids(&[0, 0, 6, 7])), "one twice");
        assert!(!Gatekeepers::is_safe(&ids(&[0, 1, 6, 9])), "an unknown one");
        assert!(!Gatekeepers::is_safe(&ids(&[0])), "one alone");
        assert!(!Gatekeepers::is_safe(&[]));
    });
}

#[test]
fn an_election_that_is_refused_leaves_the_set_and_is_tried_again() {
    with_chain(|| {
        let seats = elected_four();
        for number in 1..4 {
            assert_ok!(Gatekeepers::rest(signed(number), 0));
        }
        sessions(ERA);
        assert!(happened(Event::ElectionRefused { reason: Refusal::TooFewCandidates { eligible: 1, minimum: 2 } }));
        assert_eq!((members().len(), Session::validators().len()), (4, 4));
        assert_ok!(Gatekeepers::stand(signed(1), 0));
        sessions(1);
        let mut expected = seats[..2].to_vec();
        expected.sort();
        assert_eq!(members(), expected);
    });
}

#[test]
fn a_set_that_goes_on_gets_new_keys_once_in_the_length_of_an_era() {
    with_chain(|| {
        elected_four();
        let (set, enclaves, start) = (Elected::<Test>::get(), Gatekeepers::current(), EraStart::<Test>::get());
        for number in 0..4 {
            disguise::<Test>(enclave(number).id(), Vendor::Intel, Family::Fmspc([number; 6]));
        }
        let refused: Event<Test> = Event::ElectionRefused { reason: Refusal::CapsExceeded { eligible: 4, minimum: 2 } };
        sessions(ERA - 2);
        assert!(!happened(refused.clone()));
        for era in 2..4 {
            sessions(1);
            assert!(happened(refused.clone()) && happened(Event::SetKept { era }));
            assert_eq!((Era::<Test>::get(), EraStart::<Test>::get()), (era, start + ERA * (era - 1)));
            assert_eq!(Told::get().last(), Some(&(era, enclaves.clone())));
            assert!(!pallet_session::QueuedChanged::<Test>::get());
            // Each session tries again, and an election that is forced is no other.
            assert_ok!(Gatekeepers::force_era(RuntimeOrigin::root()));
            for _ in 0..ERA - 1 {
                sessions(1);
                assert!(happened(refused.clone()) && !happened(Event::SetKept { era: era + 1 }));
            }
            assert_eq!(Told::get().len() as u32, era);
        }
        assert_eq!(Elected::<Test>::get(), set);
        // As soon as the caps allow it, the same seats are elected.
        disguise::<Test>(enclave(0).id(), Vendor::Amd, Family::Generation(Generation::Milan));
        disguise::<Test>(enclave(1).id(), Vendor::Amd, Family::Generation(Generation::Turin));
        sessions(1);
        assert!(happened(Event::Elected { era: 4, set: set.to_vec() }));
        assert_eq!((EraStart::<Test>::get(), Forced::<Test>::get()), (start + 3 * ERA, false));
    });
}

#[test]
fn a_forced_election_that_is_refused_begins_no_era_before_its_time() {
    with_chain(|| {
        elected_four();
        for number in 1..4 {
            assert_ok!(Gatekeepers::rest(signed(number), 0));
        }
        assert_ok!(Gatekeepers::force_era(RuntimeOrigin::root()));
        sessions(1);
        assert!(happened(Event::ElectionRefused { reason: Refusal::TooFewCandidates { eligible: 1, minimum: 2 } }));
        assert_eq!((Era::<Test>::get(), Told::get().len()), (1, 1));
        sessions(1);
        assert!(happened(Event::SetKept { era: 2 }));
    });
}

#[test]
fn a_forced_election_takes_place_in_the_next_session() {
    with_chain(|| {
        elected_four();
        assert_noop!(Gatekeepers::force_era(signed(0)), BadOrigin);
        assert_ok!(Gatekeepers::force_era(RuntimeOrigin::root()));
        sessions(1);
        assert_eq!(Era::<Test>::get(), 2);
        sessions(1);
        assert_eq!(Era::<Test>::get(), 2, "once");
    });
}

#[test]
fn a_broken_class_is_out_of_the_set_at_once() {
    with_chain(|| {
        let seats = elected_four();
        // Nobody of the set is of this class.
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), Class::Image(Measurement([1; 32]))));
        assert!(!Forced::<Test>::get());
        let platform = Gatekeepers::record(&enclave(0).id()).unwrap().platform;
        assert_ok!(Attestation::compromise(RuntimeOrigin::root(), Class::Platform(platform)));
        assert!(happened(Event::EraForced));
        sessions(1);
        assert_eq!(members().len(), 3);
        assert!(!members().contains(&seats[0]));
        sessions(1);
        assert!(!Session::validators().contains(&seats[0]));
    });
}

#[test]
fn governance_sets_caps_and_size() {
    with_chain(|| {
        let size = |desired, minimum| Gatekeepers::set_size(RuntimeOrigin::root(), Size { desired, minimum });
        for (desired, minimum) in [(4, 1), (4, 5), (MAX_GATEKEEPERS + 1, 4), (1, 1), (0, 0)] {
            assert_noop!(size(desired, minimum), Error::<Test>::SizeOutOfRange);
        }
        assert_ok!(size(MAX_GATEKEEPERS, 2));
        assert_ok!(Gatekeepers::set_caps(RuntimeOrigin::root(), DEFAULT_CAPS));
        assert_eq!(DiversityCaps::<Test>::get(), DEFAULT_CAPS);
        assert_noop!(Gatekeepers::set_caps(signed(0), DEFAULT_CAPS), BadOrigin);
        assert_noop!(Gatekeepers::set_size(signed(0), DEFAULT_SIZE), BadOrigin);
    });
}

// Offences

/// Two signatures for one slot.
struct Equivocation {
    offender: AccountId32,
    slot: u64,
}

impl Offence<(AccountId32, ())> for Equivocation {
    const ID: Kind = *b"test:equivocatio";
    type Slot = u64;

    fn offenders(&self) -> Vec<(AccountId32, ())> {
        vec![(self.offender.clone(), ())]
    }

    fn session_index(&self) -> SessionIndex {
        Session::current_index()
    }

    fn validator_set_count(&self) -> u32 {
        4
    }

    fn slot(&self) -> u64 {
        self.slot
    }

    fn slash_fraction(&self, _: u32) -> Perbill {
        Perbill::from_percent(1)
    }
}

fn equivocated(offender: &AccountId32, slot: u64, reporters: Vec<AccountId32>) -> Result<(), OffenceError> {
    Offences::report_offence(reporters, Equivocation { offender: offender.clone(), slot })
}

#[test]
fn equivocation_costs_the_whole_bond_and_the_place() {
    with_chain(|| {
        let seats = elected_four();
        let (free, treasury) = (Balances::balance(&person(9)), Balances::balance(&TREASURY));
        assert_ok!(equivocated(&seats[0], 1, vec![person(9)]));
        assert_eq!(record(&seats[0]).bond, 0);
        assert!(matches!(record(&seats[0]).status, SeatStatus::Ejected(_)));
        assert_eq!(on_hold(0, HoldReason::Bond), 0);
        assert_eq!(Balances::balance(&person(9)), free + MIN_BOND / 5);
        assert_eq!(Balances::balance(&TREASURY), treasury + MIN_BOND * 9 / 5);
        let (rewarded, treasury) = (MIN_BOND / 5, MIN_BOND * 9 / 5);
        assert!(happened(Event::Slashed { seat: seats[0].clone(), fault: Fault::Equivocation, rewarded, treasury }));
        // At once.
        let index = Session::validators().iter().position(|seat| *seat == seats[0]).unwrap() as u32;
        assert_eq!(Session::disabled_validators(), [index]);
        assert!(!Gatekeepers::is_registered(&enclave(0).id()));
        // Again, and another time: there is nothing left.
        assert_eq!(equivocated(&seats[0], 1, vec![person(9)]), Err(OffenceError::DuplicateReport));
        assert_ok!(equivocated(&seats[0], 2, vec![person(9)]));
        assert_eq!(Balances::balance(&person(9)), free + rewarded);
        // Nor does it come back.
        assert_noop!(Gatekeepers::stand(signed(0), 0), Error::<Test>::SeatEjected);
        assert_noop!(Gatekeepers::leave(signed(0), 0), Error::<Test>::SeatEjected);
        assert_noop!(enclave(0).renew::<Test>(), Error::<Test>::SeatEjected);
        assert_noop!(back(9, &seats[..1], PHA), Error::<Test>::SeatEjected);
        sessions(ERA);
        assert!(!members().contains(&seats[0]) && members().len() == 3);
        sessions(ERA * UNBONDING);
        assert_ok!(Gatekeepers::withdraw(signed(9), seats[0].clone()));
    });
}

#[test]
fn each_offender_of_a_slot_is_slashed_once() {
    with_chain(|| {
        let seats = elected_four();
        assert_ok!(equivocated(&seats[0], 1, vec![person(9)]));
        assert_ok!(equivocated(&seats[1], 1, vec![person(9)]));
        assert_eq!((record(&seats[0]).bond, record(&seats[1]).bond, record(&seats[2]).bond), (0, 0, 2 * MIN_BOND));
        // No more than a third can be disabled.
        assert_eq!(Session::disabled_validators().len(), 1);
    });
}

#[test]
fn the_operator_of_the_author_is_rewarded_but_nobody_for_itself() {
    with_chain(|| {
        let seats = elected_four();
        let free = |number| Balances::balance(&person(number));
        let before = free(1);
        assert_ok!(equivocated(&seats[0], 1, vec![seats[1].clone()]));
        assert_eq!(free(1), before + MIN_BOND / 5);
        let (before, treasury) = (free(2), Balances::balance(&TREASURY));
        assert_ok!(equivocated(&seats[2], 1, vec![seats[2].clone()]));
        assert_eq!(free(2), before);
        assert_eq!(Balances::balance(&TREASURY), treasury + 2 * MIN_BOND);
        assert_ok!(equivocated(&seats[3], 1, vec![]));
        assert_eq!(Balances::balance(&TREASURY), treasury + 4 * MIN_BOND);
    });
}

#[test]
fn a_reward_that_its_receiver_cannot_have_goes_to_the_treasury() {
    with_chain(|| {
        let seats = elected_four();
        Seats::<Test>::mutate_extant(&seats[0], |record| record.bond = 100);
        let treasury = Balances::balance(&TREASURY);
        assert_ok!(equivocated(&seats[0], 1, vec![AccountId32::new([0xee; 32])]));
        assert_eq!(Balances::balance(&TREASURY), treasury + 100);
        // The test took bond away from the record only.
        Seats::<Test>::mutate_extant(&seats[0], |record| record.bond = 2 * MIN_BOND - 100);
    });
}

#[test]
fn who_is_leaving_still_pays() {
    with_chain(|| {
        let seats = elected_four();
        assert_ok!(Gatekeepers::leave(signed(0), 0));
        sessions(2 * ERA - 1);
        assert_ok!(equivocated(&seats[0], 1, vec![]));
        assert_eq!(record(&seats[0]).bond, 0);
        assert_eq!(on_hold(0, HoldReason::Bond), 0);
    });
}

#[test]
fn authorities_of_genesis_have_nothing_to_lose() {
    with_chain(|| {
        let free = Balances::balance(&GENESIS[0]);
        assert_ok!(equivocated(&GENESIS[0], 1, vec![person(9)]));
        assert_eq!(Balances::balance(&GENESIS[0]), free);
        assert!(Session::disabled_validators().is_empty());
    });
}

#[test]
fn keys_of_the_session_and_of_earlier_ones_are_proven() {
    with_chain(|| {
        let key = |number: u64| (DUMMY, number.to_le_bytes());
        let genesis = Historical::prove(key(1_000)).unwrap();
        assert_eq!(Historical::check_proof(key(1_000), genesis), Some((GENESIS[0].clone(), ())));
        let seats = elected_four();
        let proof = Historical::prove(key(0)).unwrap();
        assert_eq!(Historical::check_proof(key(0), proof.clone()), Some((seats[0].clone(), ())));
        assert_eq!(Historical::check_proof(key(1), proof.clone()), None);
        sessions(ERA);
        assert_eq!(Historical::check_proof(key(0), proof.clone()), Some((seats[0].clone(), ())));
        sessions(ERA * UNBONDING);
        assert_eq!(Historical::check_proof(key(0), proof), None, "forgotten");
        let (first, last) = pallet_session::historical::StoredRange::<Test>::get().unwrap();
        assert!(last - first <= ERA * UNBONDING + 2);
    });
}

#[test]
fn who_makes_no_blocks_is_slashed_and_rests_after_a_while() {
    with_chain(|| {
        let seats = elected_four();
        Silent::set(vec![seats[0].clone()]);
        // 2.5 blocks of ten are not enough to tell.
        sessions(1);
        assert_eq!(Silences::<Test>::get(&seats[0]).unwrap().missed, 2_500);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND);
        let treasury = Balances::balance(&TREASURY);
        sessions(1);
        // Twenty seconds of an hour, of which each costs a thousandth.
        let lost = Balances::balance(&TREASURY) - treasury;
        let expected = 2 * MIN_BOND * 20 / 3_600_000;
        assert!((expected - expected / 1000..=expected).contains(&lost), "{lost} instead of {expected}");
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - lost);
        assert!(happened(Event::Slashed {
            seat: seats[0].clone(),
            fault: Fault::Silence,
            rewarded: 0,
            treasury: lost
        }));
        assert_eq!(record(&seats[0]).status, SeatStatus::Standing);
        sessions(3);
        assert_eq!(record(&seats[0]).status, SeatStatus::Resting);
        sessions(ERA);
        assert!(!members().contains(&seats[0]));
        assert!(members().iter().all(|seat| record(seat).bond == 2 * MIN_BOND));
        // It comes back.
        Silent::set(vec![]);
        assert_ok!(Gatekeepers::stand(signed(0), 0));
        assert!(!Silences::<Test>::contains_key(&seats[0]));
        sessions(ERA + 1);
        assert!(members().contains(&seats[0]));
        sessions(2);
        assert!(!Silences::<Test>::contains_key(&seats[0]));
    });
}

#[test]
fn a_block_or_another_sign_of_life_ends_silence() {
    with_chain(|| {
        let seats = elected_four();
        Silent::set(seats[..2].to_vec());
        sessions(1);
        assert!(seats[..2].iter().all(Silences::<Test>::contains_key));
        Gatekeepers::sign_of_life(&enclave(0).id());
        Gatekeepers::sign_of_life(&enclave(9).id());
        sessions(1);
        assert!(!Silences::<Test>::contains_key(&seats[0]) && Silences::<Test>::contains_key(&seats[1]));
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND);
        assert!(record(&seats[1]).bond < 2 * MIN_BOND);
        Silent::set(vec![]);
        sessions(1);
        assert_eq!(Silences::<Test>::iter().count(), 0);
    });
}

/// The era's set is dealt shares of the root key, without the enclaves of these people.
fn dealt_without(missing: &[u8]) {
    Gatekeepers::judge_enclaves(&missing.iter().map(|number| enclave(*number).id()).collect::<Vec<_>>());
}

/// What a seat of twice the least bond loses in so many seconds of silence.
fn cost(seconds: u64) -> Balance {
    let part = Perbill::from_rational(seconds, 3_600);
    Perbill::from_perthousand(1).mul_floor(part.mul_floor(2 * MIN_BOND))
}

/// The seconds of an era.
const ERA_SECONDS: u64 = 2 * SESSION as u64 * ERA as u64;

#[test]
fn who_is_without_a_share_for_two_eras_pays_for_the_time_in_between_whatever_its_node_does() {
    with_chain(|| {
        let seats = elected_four();
        dealt_without(&[0]);
        assert!(happened(Event::EnclavesMissing { era: 1, seats: seats[..1].to_vec() }));
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND, "once is nothing");
        // A share that was lost is dealt anew: the set is not judged by that.
        dealt_without(&[0, 1]);
        assert_eq!(Absences::<Test>::get().len(), 1);
        sessions(ERA);
        dealt_without(&[0, 1]);
        let paid = cost(ERA_SECONDS);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - paid);
        let fault = Fault::Silence;
        assert!(happened(Event::Slashed { seat: seats[0].clone(), fault, rewarded: 0, treasury: paid }));
        assert_eq!(record(&seats[1]).bond, 2 * MIN_BOND);
        assert_eq!(record(&seats[0]).status, SeatStatus::Standing);
        // Once in an era.
        dealt_without(&[0, 1]);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - paid);
        // For two eras it has been silent for longer than the limit. Who is back has no past.
        sessions(ERA);
        dealt_without(&[0]);
        assert_eq!(record(&seats[0]).status, SeatStatus::Resting);
        assert_eq!(record(&seats[1]).bond, 2 * MIN_BOND);
        sessions(ERA);
        assert!(!members().contains(&seats[0]));
        dealt_without(&[1]);
        assert_eq!(record(&seats[1]).bond, 2 * MIN_BOND);
    });
}

#[test]
fn no_time_of_silence_is_paid_for_twice() {
    with_chain(|| {
        let seats = elected_four();
        dealt_without(&[0]);
        Silent::set(seats[..1].to_vec());
        sessions(ERA);
        let bond = record(&seats[0]).bond;
        assert!(bond < 2 * MIN_BOND, "its node is silent");
        run_to(System::block_number() + 5);
        let since = SilencePaid::<Test>::get(&seats[0]);
        dealt_without(&[0]);
        let now = Attestation::now();
        assert_eq!(SilencePaid::<Test>::get(&seats[0]), now);
        let lost = bond - record(&seats[0]).bond;
        assert!((1..=cost(now - since)).contains(&lost), "{lost} for what its node has not paid");
        // Nor does its node pay for what its enclave has paid.
        let bond = record(&seats[0]).bond;
        sessions(1);
        let lost = bond - record(&seats[0]).bond;
        assert!((1..=cost(Attestation::now() - now)).contains(&lost), "{lost} for the rest of the session");
    });
}

#[test]
fn a_chain_that_stood_still_costs_a_dead_enclave_no_more_than_an_hour() {
    with_chain(|| {
        let seats = elected_four();
        dealt_without(&[0]);
        sessions(ERA);
        pallet_timestamp::Now::<Test>::mutate(|now| *now += 5_000_000);
        dealt_without(&[0]);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - 2 * MIN_BOND / 1000);
    });
}

#[test]
fn who_is_new_in_the_set_or_could_not_enrol_is_not_silent() {
    with_chain(|| {
        let seats = elected_four();
        dealt_without(&[0, 1, 9]);
        assert_eq!(Absences::<Test>::get().len(), 2);
        // The first is out of the set for an era without a ceremony; the evidence of the second is not good any more.
        assert_ok!(Gatekeepers::rest(signed(0), 0));
        sessions(ERA);
        assert!(!members().contains(&seats[0]));
        assert_ok!(Gatekeepers::stand(signed(0), 0));
        sessions(ERA);
        assert!(members().contains(&seats[0]));
        crate::Gatekeepers::<Test>::mutate_extant(enclave(1).id(), |record| record.verdict_expires = START);
        dealt_without(&[0, 1]);
        assert!(seats.iter().all(|seat| record(seat).bond == 2 * MIN_BOND));
        assert!(happened(Event::EnclavesMissing { era: 3, seats: seats[..1].to_vec() }));
        // Where nobody was missing, nothing is said.
        sessions(ERA);
        System::reset_events();
        dealt_without(&[]);
        assert!(System::events().is_empty() && Absences::<Test>::get().is_empty());
    });
}

#[test]
fn a_set_that_goes_on_answers_for_its_enclaves() {
    with_chain(|| {
        let seats = elected_four();
        dealt_without(&[0]);
        assert_ok!(Gatekeepers::set_size(RuntimeOrigin::root(), Size { desired: 4, minimum: 4 }));
        assert_ok!(Gatekeepers::rest(signed(0), 0));
        sessions(ERA);
        assert_eq!((members().len(), Era::<Test>::get()), (4, 2));
        dealt_without(&[0]);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - cost(ERA_SECONDS));
    });
}

#[test]
fn who_was_disabled_is_not_expected_to_make_blocks() {
    with_chain(|| {
        let seats = elected_four();
        Silent::set(seats[..1].to_vec());
        assert_ok!(equivocated(&seats[0], 1, vec![]));
        sessions(2);
        assert!(!Silences::<Test>::contains_key(&seats[0]));
    });
}

#[test]
fn a_chain_that_stood_still_slashes_nobody_for_more_than_an_hour() {
    with_chain(|| {
        let seats = elected_four();
        Silent::set(seats[..1].to_vec());
        sessions(1);
        pallet_timestamp::Now::<Test>::mutate(|now| *now += 1_000_000_000);
        // Only the session in which it happened is that long, and it counts as an hour.
        run_to(System::block_number() + SESSION - 1);
        pallet_timestamp::Now::<Test>::mutate(|now| *now += 1_000_000_000);
        let number = System::block_number() + 1;
        System::initialize(&number, &hash_of(number - 1), &Default::default());
        <Session as frame_support::traits::Hooks<u32>>::on_initialize(number);
        assert_eq!(record(&seats[0]).bond, 2 * MIN_BOND - 2 * MIN_BOND / 1000);
    });
}

#[test]
fn genesis_with_an_impossible_size_or_era_is_refused() {
    use sp_runtime::BuildStorage;
    let build = |size, sessions_per_era| {
        let genesis = GenesisConfig::<Test> { size, sessions_per_era, ..Default::default() };
        std::panic::catch_unwind(move || genesis.build_storage()).is_ok()
    };
    assert!(build(DEFAULT_SIZE, 1));
    assert!(!build(Size { desired: 2, minimum: 1 }, 1));
    assert!(!build(DEFAULT_SIZE, 0));
    assert!(!build(DEFAULT_SIZE, ERA + 1));
}
