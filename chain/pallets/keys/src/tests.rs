use crate::{
    gatekeeper::{Gatekeeper, content, output},
    mock::*,
    *,
};
use commonware_cryptography::bls12381::primitives::{
    group::{Private, Scalar},
    ops,
    variant::{MinPk, MinSig, Variant},
};
use frame_support::{assert_noop, assert_ok, traits::Hooks};
use phala_primitives::gatekeeper::{BEACON_NAMESPACE, EncryptedShare, MAX_GATEKEEPERS, tolerated};
use sp_runtime::traits::Dispatchable;

const ROOT: NetworkKey = NetworkKey::Root;

type Error = crate::Error<Test>;

/// The running ceremony of a key.
fn running(key: NetworkKey) -> CeremonyId {
    Keys::running(key).unwrap()
}

fn phase(key: NetworkKey) -> Phase {
    Ceremonies::<Test>::get(running(key)).unwrap().phase
}

/// Elects `count` gatekeepers in era 0.
fn elect(count: u32) -> Vec<Gatekeeper> {
    let all = Gatekeeper::all(count);
    Keys::on_elected(0, ids(&all));
    all
}

/// Everybody takes part until the root's ceremony comes to `phase`.
fn until(who: &[Gatekeeper], wanted: Phase) {
    while phase(ROOT) != wanted {
        work(who, 1);
    }
}

/// Nothing is posted until the root's running attempt is over.
fn wait_for_next_attempt() {
    let id = running(ROOT);
    while running(ROOT) == id {
        next_block();
    }
}

fn honest(id: CeremonyId) -> Content {
    content::<Test>(id, public_key(Ceremonies::<Test>::get(id).unwrap().key)).unwrap()
}

mod ceremonies {
    use super::*;

    #[test]
    fn an_election_begins_ceremonies_of_root_and_epoch_among_the_elected() {
        with_chain(|| {
            let all = elect(4);
            for (id, key) in [(0, ROOT), (1, NetworkKey::Epoch(0))] {
                assert_eq!(running(key), id);
                let ceremony = Ceremonies::<Test>::get(id).unwrap();
                assert_eq!((ceremony.attempt, ceremony.previous, ceremony.phase), (1, None, Phase::Enrol));
                assert_eq!((ceremony.players, ceremony.dealers), (ids(&all), ids(&all)));
                assert_eq!(ceremony.phase_ends, now() + PHASE);
            }
        });
    }

    #[test]
    fn what_everybody_says_in_time_ends_each_phase_at_once() {
        with_chain(|| {
            let all = elect(4);
            for wanted in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm] {
                assert_eq!((phase(ROOT), phase(NetworkKey::Epoch(0))), (wanted, wanted));
                work(&all, 1);
            }
            let root = Sharings::<Test>::get(ROOT).unwrap();
            assert_eq!(root.ceremony, 0);
            assert_eq!((root.public_key, root.output), (public_key(ROOT), output(0)));
            assert_eq!((root.players, root.since), (ids(&all), 5));
            assert_eq!(CurrentEpoch::<Test>::get(), Some(0));
            assert_eq!(Epochs::<Test>::get(0), Some(Epoch { started: 5, ends: None }));
            assert!(Running::<Test>::get().is_empty());
            // What was posted is kept, for players that were away.
            assert_eq!(Dealings::<Test>::iter_prefix(0).count(), 4);
        });
    }

    #[test]
    fn a_post_is_taken_through_the_transaction_and_announced() {
        with_chain(|| {
            let all = elect(3);
            let signed = all[0].post::<Test>(0, Content::Enrolment([7; 32]));
            let valid = submit(Call::post { signed }).unwrap();
            assert!(valid.propagate);
            assert_eq!(valid.longevity, u64::from(PHASE));
            assert_eq!(Enrolments::<Test>::get(0, all[0].id()), Some([7; 32]));
            let posted = Event::Posted { ceremony: 0, gatekeeper: all[0].id(), phase: Phase::Enrol };
            assert_eq!(events().last(), Some(&posted));
        });
    }

    #[test]
    fn a_transaction_without_sender_and_signature_passes_exactly_when_its_post_would_be_taken() {
        use frame_support::{assert_err, dispatch::GetDispatchInfo};
        use sp_runtime::{
            generic::UncheckedExtrinsic,
            testing::UintAuthorityId,
            traits::{Applyable, Checkable},
        };
        type Extension = (frame_system::AuthorizeCall<Test>,);
        type Transaction = UncheckedExtrinsic<u64, RuntimeCall, UintAuthorityId, Extension>;
        with_chain(|| {
            let all = elect(3);
            let signed = all[0].post::<Test>(0, Content::Enrolment([7; 32]));
            let call = RuntimeCall::Keys(Call::post { signed });
            let extension = || (frame_system::AuthorizeCall::<Test>::new(),);
            let general = Transaction::new_transaction(call.clone(), extension());
            let bare = Transaction::new_bare(call);
            let info = general.get_dispatch_info();
            assert_eq!((info.class, info.pays_fee), (DispatchClass::Operational, Pays::No));
            let check = |transaction: Transaction| {
                Checkable::check(transaction, &frame_system::ChainContext::<Test>::default()).unwrap()
            };
            let validate = |transaction: Transaction| {
                check(transaction).validate::<Test>(TransactionSource::External, &info, 200).map(drop)
            };
            // Bare ones, of the kind before, are not.
            assert!(validate(bare).is_err());
            assert_ok!(validate(general.clone()));
            assert_ok!(check(general.clone()).apply::<Test>(&info, 200).unwrap());
            assert_eq!(Enrolments::<Test>::get(0, all[0].id()), Some([7; 32]));
            assert_eq!(validate(general.clone()), refused(Error::AlreadyPosted));
            let refusal: TransactionValidityError = Error::AlreadyPosted.into();
            assert_err!(check(general).apply::<Test>(&info, 200), refusal);
        });
    }

    #[test]
    fn nobody_can_post_but_through_an_authorized_transaction() {
        with_chain(|| {
            let all = elect(3);
            let signed = all[0].post::<Test>(0, Content::Enrolment([7; 32]));
            let call = RuntimeCall::Keys(Call::post { signed });
            for origin in [RuntimeOrigin::none(), RuntimeOrigin::root(), RuntimeOrigin::signed(1)] {
                let refusal = sp_runtime::DispatchError::BadOrigin;
                assert_eq!(call.clone().dispatch(origin).unwrap_err().error, refusal);
            }
            // An authorization that is of no use any more does not help either.
            let authorized: RuntimeOrigin = frame_system::RawOrigin::Authorized.into();
            assert_ok!(call.clone().dispatch(authorized.clone()));
            assert_noop!(call.dispatch(authorized).map_err(|refusal| refusal.error), Error::AlreadyPosted);
        });
    }

    #[test]
    fn each_thing_is_said_once_in_its_phase_by_who_may() {
        with_chain(|| {
            let all = elect(4);
            let stranger = Gatekeeper::new(99);
            for wanted in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm] {
                assert_eq!(phase(ROOT), wanted);
                let content = honest(0);
                let not_one =
                    if matches!(wanted, Phase::Deal | Phase::Log) { Error::NotDealer } else { Error::NotPlayer };
                assert_eq!(post(stranger.post::<Test>(0, content.clone())), refused(not_one));
                assert_ok!(post(all[0].post::<Test>(0, content.clone())));
                assert_eq!(post(all[0].post::<Test>(0, content.clone())), refused(Error::AlreadyPosted));
                work(&all, 1);
                let refusal = if wanted == Phase::Confirm { Error::NotRunning } else { Error::WrongPhase };
                assert_eq!(post(all[1].post::<Test>(0, content)), refused(refusal));
            }
        });
    }

    #[test]
    fn a_post_of_another_chain_ceremony_or_signer_is_refused() {
        with_chain(|| {
            let all = elect(3);
            let good = all[0].post::<Test>(0, Content::Enrolment([7; 32]));
            let mut other = good.clone();
            other.post.genesis_hash = [9; 32];
            other.signature = all[0].sign(&other.post.signed_bytes());
            assert_eq!(post(other), refused(Error::WrongGenesis));
            assert_eq!(post(all[0].post::<Test>(7, Content::Enrolment([7; 32]))), refused(Error::NotRunning));
            let mut changed = good.clone();
            changed.post.content = Content::Enrolment([8; 32]);
            assert_eq!(post(changed), refused(Error::BadSignature));
            let mut stolen = good.clone();
            stolen.signature = all[1].sign(&stolen.post.signed_bytes());
            assert_eq!(post(stolen), refused(Error::BadSignature));
            assert_ok!(post(good));
        });
    }

    #[test]
    fn no_post_is_taken_after_the_last_block_of_its_phase() {
        with_chain(|| {
            let all = elect(4);
            let ends = Ceremonies::<Test>::get(0).unwrap().phase_ends;
            run_to(ends);
            assert_ok!(post(all[0].post::<Test>(0, honest(0))));
            // Also where the hook has not been here yet: in the pool.
            System::set_block_number(ends + 1);
            assert_eq!(post(all[1].post::<Test>(0, honest(0))), refused(Error::WrongPhase));
        });
    }

    #[test]
    fn who_is_not_registered_neither_enrols_nor_answers() {
        with_chain(|| {
            let all = elect(4);
            for set in [Gone::set, Bad::set] {
                set([all[0].id()].into());
                assert_eq!(post(all[0].post::<Test>(0, honest(0))), refused(Error::EvidenceNotGood));
                set(Default::default());
            }
            until(&all, Phase::Answer);
            // Who got what was dealt may answer, whatever its evidence is worth by now.
            Bad::set([all[1].id()].into());
            assert_ok!(post(all[1].post::<Test>(0, honest(0))));
            assert!(Alive::get().contains(&all[1].id()));
            Gone::set([all[0].id()].into());
            assert_eq!(post(all[0].post::<Test>(0, honest(0))), refused(Error::NotRegistered));
        });
    }

    #[test]
    fn lengths_follow_from_the_numbers_of_dealers_and_players() {
        with_chain(|| {
            let all = elect(5);
            let wrong = |content| assert_eq!(post(all[0].post::<Test>(0, content)), refused(Error::WrongSize));
            until(&all, Phase::Deal);
            let share = EncryptedShare { encapsulated_key: [0; 32], ciphertext: [0; 48] };
            let longest = sizes::commitment(5) as usize;
            let dealing = |commitment, shares| Dealing { commitment: vec![0; commitment], shares: vec![share; shares] };
            wrong(Content::Dealing(dealing(longest + 1, 5)));
            wrong(Content::Dealing(dealing(longest, 4)));
            wrong(Content::Dealing(dealing(longest, 6)));
            assert_ok!(post(all[0].post::<Test>(0, Content::Dealing(dealing(longest, 5)))));
            until(&all[..4], Phase::Answer);
            wrong(Content::Answers(vec![Answer::Complaint; 3]));
            wrong(Content::Answers(vec![Answer::Complaint; 5]));
            assert_ok!(post(all[0].post::<Test>(0, Content::Answers(vec![Answer::Complaint; 4]))));
            until(&all, Phase::Log);
            let longest = sizes::log(5) as usize;
            wrong(Content::Log(vec![0; longest + 1]));
            assert_ok!(post(all[0].post::<Test>(0, Content::Log(vec![0; longest]))));
            until(&all[..4], Phase::Confirm);
            wrong(Content::Output(vec![0; sizes::output(5, 5) as usize + 1]));
        });
    }

    #[test]
    fn only_who_dealt_logs() {
        with_chain(|| {
            let all = elect(4);
            until(&all, Phase::Deal);
            until(&all[..3], Phase::Answer);
            until(&all, Phase::Log);
            assert_eq!(post(all[3].post::<Test>(0, honest(0))), refused(Error::NoDealing));
            // Those who dealt are all that is waited for.
            work(&all[..3], 1);
            assert_eq!(phase(ROOT), Phase::Confirm);
        });
    }

    #[test]
    fn as_many_dealers_as_are_tolerated_may_be_silent() {
        for silent_when in [Phase::Deal, Phase::Log] {
            with_chain(|| {
                let all = elect(7);
                until(&all, silent_when);
                let next = if silent_when == Phase::Deal { Phase::Answer } else { Phase::Confirm };
                until(&all[tolerated(7) as usize..], next);
                until(&all, Phase::Confirm);
                assert_eq!(running(ROOT), 0);
                assert_eq!(Ceremonies::<Test>::get(0).unwrap().players.len(), 7);
            });
        }
    }

    #[test]
    fn too_few_dealings_or_logs_end_the_attempt() {
        for silent_when in [Phase::Deal, Phase::Log] {
            with_chain(|| {
                let all = elect(7);
                until(&all, silent_when);
                speak(&all[tolerated(7) as usize + 1..], 0);
                wait_for_next_attempt();
                let failed = Event::CeremonyFailed { ceremony: 0, failure: Failure::TooFew(silent_when) };
                assert!(events().contains(&failed));
                // Dealers are nothing without which the next could do.
                assert_eq!(Ceremonies::<Test>::get(running(ROOT)).unwrap().players.len(), 7);
            });
        }
    }

    #[test]
    fn who_does_not_enrol_gets_no_share() {
        with_chain(|| {
            let all = elect(5);
            work(&all[1..], PHASE + 1);
            let ceremony = Ceremonies::<Test>::get(0).unwrap();
            assert_eq!((ceremony.players, ceremony.dealers), (ids(&all[1..]), ids(&all[1..])));
            assert_eq!(post(all[0].post::<Test>(0, honest(0))), refused(Error::NotDealer));
        });
    }

    #[test]
    fn a_key_is_not_shared_among_fewer_than_a_threshold_of_the_candidates() {
        with_chain(|| {
            let all = elect(7);
            // Four of seven: of them three could use the key.
            work(&all[3..], PHASE + 1);
            let ceremony = Ceremonies::<Test>::get(running(ROOT)).unwrap();
            assert_eq!((ceremony.attempt, ceremony.phase, ceremony.players.len()), (2, Phase::Enrol, 7));
            work(&all[2..], 2 * PHASE + 1);
            assert_eq!(Ceremonies::<Test>::get(running(ROOT)).unwrap().players, ids(&all[2..]));
        });
    }

    #[test]
    fn what_was_dealt_anew_is_kept_until_the_next_sharing() {
        with_keys(4, |all| {
            let first = Sharings::<Test>::get(ROOT).unwrap();
            assert_eq!(Formers::<Test>::get(ROOT), None);
            for era in 1..3 {
                let former = Sharings::<Test>::get(ROOT).unwrap();
                Keys::on_elected(era, ids(&all));
                work(&all, 8);
                assert_eq!(Formers::<Test>::get(ROOT), Some(former));
            }
            assert_eq!(Sharings::<Test>::get(ROOT).unwrap().public_key, first.public_key);
        });
    }

    #[test]
    fn the_next_attempt_is_without_players_that_do_not_answer() {
        with_chain(|| {
            let all = elect(5);
            until(&all, Phase::Answer);
            speak(&all[1..], 0);
            wait_for_next_attempt();
            assert!(events().contains(&Event::PlayersSilent { ceremony: 0, players: ids(&all[..1]) }));
            let next = running(ROOT);
            let ceremony = Ceremonies::<Test>::get(next).unwrap();
            assert_eq!((ceremony.attempt, ceremony.players), (2, ids(&all[1..])));
            assert_eq!(ceremony.phase_ends, now() + 2 * PHASE);
            assert_eq!(post(all[0].post::<Test>(next, honest(next))), refused(Error::NotPlayer));
            work(&all, 5);
            assert_eq!(Sharings::<Test>::get(ROOT).unwrap().players, ids(&all[1..]));
        });
    }

    #[test]
    fn who_is_missing_when_the_root_key_is_shared_is_told_and_of_what_fails_nobody() {
        with_chain(|| {
            let all = elect(7);
            // One does not enrol, and then too few log.
            work(&all[1..], PHASE + 1);
            until(&all[1..], Phase::Log);
            wait_for_next_attempt();
            assert!(Missing::get().is_empty());
            // All enrol, and another one does not answer.
            until(&all, Phase::Answer);
            speak(&all[..6], running(ROOT));
            wait_for_next_attempt();
            assert!(Missing::get().is_empty());
            work(&all, 20 * MAX_PHASE);
            assert_eq!(Sharings::<Test>::get(ROOT).unwrap().players, ids(&all[..6]));
            assert_eq!(CurrentEpoch::<Test>::get(), Some(0));
            assert_eq!(Missing::get(), [ids(&all[6..])]);
            // Where all took part, nobody is; of epochs' keys nothing is told.
            Keys::on_elected(1, ids(&all));
            work(&all, 20 * MAX_PHASE);
            assert_eq!(CurrentEpoch::<Test>::get(), Some(1));
            assert_eq!(Missing::get(), [ids(&all[6..]), ids(&[])]);
        });
    }

    #[test]
    fn who_is_elected_while_a_ceremony_runs_is_missing_in_none_that_it_had_no_part_in() {
        with_chain(|| {
            let all = elect(4);
            until(&all, Phase::Confirm);
            let late: Vec<_> = (10..14).map(Gatekeeper::new).collect();
            Keys::on_elected(1, ids(&late));
            work(&late, 5);
            assert_eq!(Missing::get(), [ids(&[])]);
        });
    }

    #[test]
    fn too_few_or_unsafe_players_take_back_all_candidates() {
        for is_unsafe in [false, true] {
            with_chain(|| {
                let all = elect(4);
                until(&all, Phase::Answer);
                speak(&all[1..], 0);
                wait_for_next_attempt();
                assert_eq!(Ceremonies::<Test>::get(running(ROOT)).unwrap().players, ids(&all[1..]));
                if is_unsafe {
                    Unsafe::set(Some(4));
                }
                speak(&all[if is_unsafe { 0 } else { 2 }..], running(ROOT));
                wait_for_next_attempt();
                let ceremony = Ceremonies::<Test>::get(running(ROOT)).unwrap();
                assert_eq!((ceremony.attempt, ceremony.players), (3, ids(&all)));
                work(&all, 5);
                assert_eq!(Sharings::<Test>::get(ROOT).unwrap().players, ids(&all));
            });
        }
    }

    #[test]
    fn players_that_are_not_safe_together_wait_until_the_end_of_enrolment() {
        with_chain(|| {
            let all = elect(4);
            Unsafe::set(Some(5));
            let ends = Ceremonies::<Test>::get(0).unwrap().phase_ends;
            work(&all, ends - now());
            assert_eq!((now(), running(ROOT)), (ends, 0));
            next_block();
            assert_eq!(running(ROOT), 2);
        });
    }

    #[test]
    fn phases_take_twice_as_long_with_each_attempt_up_to_a_limit() {
        with_chain(|| {
            elect(4);
            for (attempt, blocks) in [(1, PHASE), (2, 2 * PHASE), (3, MAX_PHASE), (4, MAX_PHASE), (5, MAX_PHASE)] {
                let ceremony = Ceremonies::<Test>::get(running(ROOT)).unwrap();
                assert_eq!((ceremony.attempt, ceremony.phase_ends), (attempt, now() + blocks));
                wait_for_next_attempt();
            }
        });
    }

    #[test]
    fn an_output_needs_enough_equal_confirmations_and_their_hash() {
        with_chain(|| {
            let all = elect(4);
            until(&all, Phase::Confirm);
            let bring = |who: &Gatekeeper, bytes: Vec<u8>| post(who.post::<Test>(0, Content::Output(bytes)));
            let other = Confirmation { public_key: public_key(ROOT), output_hash: [1; 32] };
            assert_ok!(post(all[0].post::<Test>(0, Content::Confirmation(other))));
            for gatekeeper in &all[1..3] {
                assert_ok!(post(gatekeeper.post::<Test>(0, honest(0))));
                assert_eq!(bring(gatekeeper, output(0)), refused(Error::NotConfirmed));
            }
            assert_ok!(post(all[3].post::<Test>(0, honest(0))));
            assert_eq!(bring(&all[1], b"something else".to_vec()), refused(Error::WrongOutput));
            assert_eq!(bring(&Gatekeeper::new(99), output(0)), refused(Error::NotPlayer));
            // Anyone of the players, also who confirmed something else.
            assert_ok!(bring(&all[0], output(0)));
            assert_eq!(bring(&all[1], output(0)), refused(Error::NotRunning));
            assert_eq!(Sharings::<Test>::get(ROOT).unwrap().ceremony, 0);
        });
    }

    #[test]
    fn confirmations_that_disagree_end_the_attempt() {
        with_chain(|| {
            let all = elect(4);
            until(&all, Phase::Confirm);
            for (number, gatekeeper) in (0..).zip(&all) {
                let confirmation = Confirmation { public_key: public_key(ROOT), output_hash: [number / 2; 32] };
                assert_ok!(post(gatekeeper.post::<Test>(0, Content::Confirmation(confirmation))));
            }
            wait_for_next_attempt();
            let failed = Event::CeremonyFailed { ceremony: 0, failure: Failure::TooFew(Phase::Confirm) };
            assert!(events().contains(&failed));
            work(&all, 5);
            assert!(Sharings::<Test>::contains_key(ROOT));
        });
    }

    #[test]
    fn a_later_election_deals_the_root_anew_and_makes_another_epoch() {
        with_keys(4, |old| {
            let all: Vec<_> = (2..7).map(Gatekeeper::new).collect();
            Keys::on_elected(1, ids(&all));
            let mut expected = ids(&all);
            expected.sort();
            let root = Ceremonies::<Test>::get(running(ROOT)).unwrap();
            assert_eq!((root.previous, root.dealers, root.players), (Some(0), ids(&old), expected.clone()));
            let epoch = Ceremonies::<Test>::get(running(NetworkKey::Epoch(1))).unwrap();
            assert_eq!((epoch.previous, epoch.players), (None, expected.clone()));
            let everybody: Vec<_> = (0..7).map(Gatekeeper::new).collect();
            work(&everybody, 5);
            let root = Sharings::<Test>::get(ROOT).unwrap();
            assert_eq!((root.public_key, root.players), (public_key(ROOT), expected));
            assert_eq!(CurrentEpoch::<Test>::get(), Some(1));
        });
    }

    #[test]
    fn who_has_left_may_still_deal_its_shares_to_others() {
        with_keys(4, |old| {
            let new: Vec<_> = (10..14).map(Gatekeeper::new).collect();
            Gone::set(ids(&old).into_iter().collect());
            Keys::on_elected(1, ids(&new));
            let everybody: Vec<_> = old.into_iter().chain(new).collect();
            work(&everybody, 5);
            assert!(Sharings::<Test>::get(ROOT).unwrap().ceremony > 1);
        });
    }

    #[test]
    fn a_resharing_has_no_other_public_key() {
        with_keys(4, |all| {
            Keys::on_elected(1, ids(&all));
            let id = running(ROOT);
            until(&all, Phase::Confirm);
            let content = content::<Test>(id, PublicKey([1; 96])).unwrap();
            assert_eq!(post(all[0].post::<Test>(id, content)), refused(Error::WrongPublicKey));
        });
    }

    #[test]
    fn a_newer_election_replaces_what_runs_and_takes_no_new_epoch() {
        with_chain(|| {
            let all = elect(4);
            work(&all, 2);
            Keys::on_elected(1, ids(&all[1..]));
            assert_eq!((running(ROOT), running(NetworkKey::Epoch(0))), (2, 3));
            for ceremony in [0, 1] {
                assert!(events().contains(&Event::CeremonyFailed { ceremony, failure: Failure::Replaced }));
            }
            assert_eq!(Ceremonies::<Test>::get(2).unwrap().players, ids(&all[1..]));
            work(&all, 5);
            assert_eq!(CurrentEpoch::<Test>::get(), Some(0));
        });
    }

    #[test]
    fn duplicates_of_the_elected_and_their_order_do_not_matter() {
        with_chain(|| {
            let all = Gatekeeper::all(3);
            Keys::on_elected(0, ids(&all).into_iter().rev().chain(ids(&all)).collect());
            assert_eq!(Ceremonies::<Test>::get(0).unwrap().players, ids(&all));
        });
    }

    #[test]
    #[should_panic(expected = "an election of an old era")]
    fn an_election_of_an_old_era_is_a_defect() {
        with_keys(4, |all| _ = Keys::on_elected(0, ids(&all)));
    }

    #[test]
    #[should_panic(expected = "of nobody or of too many")]
    fn an_election_of_too_many_is_a_defect() {
        with_chain(|| drop(elect(MAX_GATEKEEPERS + 1)));
    }

    #[test]
    fn the_largest_ceremony_there_may_be_completes() {
        with_chain(|| {
            let all = elect(MAX_GATEKEEPERS);
            work(&all, 5);
            assert_eq!(Sharings::<Test>::get(ROOT).unwrap().players.len(), MAX_GATEKEEPERS as usize);
        });
    }

    #[test]
    fn what_ended_attempts_posted_is_removed_bit_by_bit() {
        with_chain(|| {
            let all = elect(7);
            until(&all, Phase::Confirm);
            wait_for_next_attempt();
            // The root's and the epoch's are over at once.
            let posts = || {
                Enrolments::<Test>::iter().count()
                    + Dealings::<Test>::iter_keys().count()
                    + Answers::<Test>::iter_keys().count()
                    + Logs::<Test>::iter_keys().count()
            };
            let before = posts();
            assert_eq!(before, 2 * 28);
            next_block();
            assert_eq!(posts(), before - REMOVALS as usize);
            run_to(now() + 5);
            assert_eq!(posts(), 0);
            assert!(Ceremonies::<Test>::get(0).is_none());
            assert_eq!(Ended::<Test>::count(), 0);
        });
    }

    #[test]
    fn what_made_a_sharing_is_removed_once_there_is_a_newer_one() {
        with_keys(4, |all| {
            Keys::on_elected(1, ids(&all));
            work(&all, 4);
            assert_eq!(Dealings::<Test>::iter_key_prefix(0).count(), 4);
            work(&all, 10);
            assert!(Ceremonies::<Test>::get(0).is_none());
            assert_eq!(Dealings::<Test>::iter_key_prefix(0).count(), 0);
        });
    }

    #[test]
    fn no_phase_ends_while_too_much_is_to_be_removed() {
        with_chain(|| {
            let all = elect(4);
            for era in 1..6 {
                Keys::on_elected(era, ids(&all));
            }
            assert!(Ended::<Test>::count() > MAX_ENDED);
            let id = running(ROOT);
            speak(&all, id);
            next_block();
            assert_eq!(phase(ROOT), Phase::Enrol);
            next_block();
            assert!(Ended::<Test>::count() <= MAX_ENDED);
            assert_eq!((running(ROOT), phase(ROOT)), (id, Phase::Deal));
        });
    }
}

mod epochs {
    use super::*;

    #[test]
    fn an_epochs_shares_are_kept_for_the_grace_period_after_the_next_began() {
        with_keys(4, |all| {
            Keys::on_elected(1, ids(&all));
            // Long after the election the old epoch is still the current one: nobody deals.
            run_to(now() + 5 * GRACE);
            assert_eq!(CurrentEpoch::<Test>::get(), Some(0));
            assert_eq!(Epochs::<Test>::get(0).unwrap().ends, None);
            while CurrentEpoch::<Test>::get() == Some(0) {
                work(&all, 1);
            }
            let ends = Epochs::<Test>::get(0).unwrap().ends.unwrap();
            assert_eq!(ends, Epochs::<Test>::get(1).unwrap().started + GRACE);
            run_to(ends);
            assert!(Sharings::<Test>::contains_key(NetworkKey::Epoch(0)));
            next_block();
            assert!(!Sharings::<Test>::contains_key(NetworkKey::Epoch(0)));
            assert!(events().contains(&Event::EpochEnded { epoch: 0 }));
            assert_eq!(OldestEpoch::<Test>::get(), 1);
            assert!(Sharings::<Test>::contains_key(NetworkKey::Epoch(1)));
        });
    }

    #[test]
    fn several_epochs_may_be_in_grace() {
        with_keys(3, |all| {
            for era in 1..4 {
                Keys::on_elected(era, ids(&all));
                work(&all, 6);
            }
            assert_eq!(Epochs::<Test>::iter().count(), 4);
            run_to(now() + 2 * GRACE);
            let shared = |epoch: &u32| Sharings::<Test>::contains_key(NetworkKey::Epoch(*epoch));
            assert_eq!((0..4).filter(shared).collect::<Vec<_>>(), [3]);
        });
    }

    #[test]
    fn when_an_epoch_was_is_known_for_a_while_after_its_end() {
        new_chain().execute_with(|| {
            let last = ENDED_EPOCHS + 1;
            (0..last).for_each(|epoch| Epochs::<Test>::insert(epoch, Epoch { started: 1, ends: Some(2) }));
            Epochs::<Test>::insert(last, Epoch { started: 2, ends: None });
            CurrentEpoch::<Test>::put(last);
            for ended in 0..last {
                assert!(Epochs::<Test>::contains_key(0));
                Keys::do_end_epoch(3);
                assert_eq!(OldestEpoch::<Test>::get(), ended + 1);
            }
            assert!(!Epochs::<Test>::contains_key(0) && Epochs::<Test>::contains_key(1));
        });
    }
}

mod lost_shares {
    use super::*;

    fn report(signed: SignedLostShare) -> Result<(), TransactionValidityError> {
        submit(Call::report_lost_share { signed }).map(drop)
    }

    #[test]
    fn a_lost_share_is_dealt_anew_among_the_same_players() {
        with_keys(4, |all| {
            run_to(now() + LOST_SHARE);
            for (key, ceremony) in [(ROOT, 0), (NetworkKey::Epoch(0), 1)] {
                assert_ok!(report(all[1].lost_share::<Test>(key, ceremony)));
                let lost = Event::ShareLost { gatekeeper: all[1].id(), key };
                assert!(events().contains(&lost));
                let resharing = Ceremonies::<Test>::get(running(key)).unwrap();
                assert_eq!(resharing.previous, Some(ceremony));
                assert_eq!((resharing.dealers, resharing.players), (ids(&all), ids(&all)));
            }
            let started = Epochs::<Test>::get(0);
            work(&all, 5);
            for key in [ROOT, NetworkKey::Epoch(0)] {
                let sharing = Sharings::<Test>::get(key).unwrap();
                assert!(sharing.ceremony > 1);
                assert_eq!(sharing.public_key, public_key(key));
            }
            // It is the same epoch, from the same block on.
            assert_eq!((CurrentEpoch::<Test>::get(), Epochs::<Test>::get(0)), (Some(0), started));
        });
    }

    #[test]
    fn a_request_needs_a_share_its_signature_and_patience() {
        with_keys(4, |all| {
            let good = all[1].lost_share::<Test>(ROOT, 0);
            assert_eq!(report(good.clone()), refused(Error::TooEarly));
            run_to(now() + LOST_SHARE);
            assert_eq!(report(Gatekeeper::new(99).lost_share::<Test>(ROOT, 0)), refused(Error::NotPlayer));
            assert_eq!(report(all[1].lost_share::<Test>(NetworkKey::Epoch(1), 0)), refused(Error::UnknownKey));
            assert_eq!(report(all[1].lost_share::<Test>(ROOT, 1)), refused(Error::OldSharing));
            let mut other = good.clone();
            other.request.genesis_hash = [9; 32];
            assert_eq!(report(other), refused(Error::WrongGenesis));
            let mut forged = good.clone();
            forged.signature[7] ^= 1;
            assert_eq!(report(forged), refused(Error::BadSignature));
            for set in [Gone::set, Bad::set] {
                set([all[1].id()].into());
                assert_eq!(report(good.clone()), refused(Error::EvidenceNotGood));
                set(Default::default());
            }
            assert_ok!(report(good.clone()));
            assert_eq!(report(good.clone()), refused(Error::AlreadyRunning));
            work(&all, 5);
            // The same request, and the next one, again.
            assert_eq!(report(good), refused(Error::OldSharing));
            let newest = Sharings::<Test>::get(ROOT).unwrap().ceremony;
            assert_eq!(report(all[1].lost_share::<Test>(ROOT, newest)), refused(Error::TooEarly));
        });
    }

    #[test]
    fn before_there_is_a_key_no_share_is_lost() {
        with_chain(|| {
            let all = elect(3);
            assert_eq!(report(all[1].lost_share::<Test>(ROOT, 0)), refused(Error::UnknownKey));
        });
    }

    #[test]
    fn a_resharing_of_an_epoch_ends_with_the_epoch() {
        with_keys(4, |all| {
            run_to(now() + LOST_SHARE);
            Keys::on_elected(1, ids(&all));
            assert_ok!(report(all[1].lost_share::<Test>(NetworkKey::Epoch(0), 1)));
            assert_eq!(Running::<Test>::get().len(), MAX_RUNNING as usize);
            let resharing = running(NetworkKey::Epoch(0));
            for _ in 0..5 {
                speak(&all, running(NetworkKey::Epoch(1)));
                next_block();
            }
            assert_eq!(CurrentEpoch::<Test>::get(), Some(1));
            assert_eq!(Keys::running(NetworkKey::Epoch(0)), None);
            assert_eq!(Sharings::<Test>::get(NetworkKey::Epoch(0)).unwrap().ceremony, 1);
            assert!(!Progresses::<Test>::contains_key(resharing));
        });
    }
}

mod beacon {
    use super::*;

    const GENESIS: Hash = [0x47; 32];

    fn key(number: u64) -> Private {
        Private::new(Scalar::from(number))
    }

    fn public<V: Variant>(private: &Private) -> V::Public {
        ops::compute_public::<V>(private)
    }

    fn bytes<const N: usize>(encoded: impl commonware_codec::Encode) -> [u8; N] {
        commonware_codec::Encode::encode(&encoded).as_ref().try_into().unwrap()
    }

    fn public_bytes(private: &Private) -> PublicKey {
        PublicKey(bytes(public::<MinSig>(private)))
    }

    fn sign(private: &Private, namespace: &[u8], genesis: &Hash, round: Round) -> Beacon {
        let signature = ops::sign_message::<MinSig>(private, namespace, &Beacon::message(genesis, round));
        Beacon { round, signature: bytes(signature) }
    }

    fn good(private: &Private, round: Round) -> Beacon {
        sign(private, BEACON_NAMESPACE, &Keys::genesis_hash(), round)
    }

    /// The first gatekeeper brings it.
    fn submit_beacon(beacon: Beacon) -> Result<(), TransactionValidityError> {
        submit_signed(Gatekeeper::all(3)[0].beacon::<Test>(beacon))
    }

    fn submit_signed(signed: SignedBeacon) -> Result<(), TransactionValidityError> {
        submit(Call::submit_beacon { signed }).map(drop)
    }

    /// A chain whose root key is `private`.
    fn with_root(private: &Private, test: impl FnOnce()) {
        with_keys(3, |_| {
            Sharings::<Test>::mutate_extant(ROOT, |root| root.public_key = public_bytes(private));
            test();
        });
    }

    #[test]
    fn what_commonware_signs_is_verified() {
        for number in 1..20 {
            let private = key(0x1234_5678_9abc_def0_u64.wrapping_mul(number));
            let beacon = sign(&private, BEACON_NAMESPACE, &GENESIS, 7 * number as u32);
            assert!(verify_beacon(&public_bytes(&private), &GENESIS, &beacon));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let private = key(12345);
        let public_key = public_bytes(&private);
        let beacon = sign(&private, BEACON_NAMESPACE, &GENESIS, 100);
        let refused = |public_key: &PublicKey, beacon: &Beacon| assert!(!verify_beacon(public_key, &GENESIS, beacon));
        assert!(verify_beacon(&public_key, &GENESIS, &beacon));
        // Another round, chain, purpose, key.
        refused(&public_key, &Beacon { round: 101, ..beacon });
        assert!(!verify_beacon(&public_key, &[0; 32], &beacon));
        refused(&public_key, &sign(&private, b"phala/app-key/v1", &GENESIS, 100));
        refused(&public_key, &sign(&key(12346), BEACON_NAMESPACE, &GENESIS, 100));
        refused(&public_bytes(&key(12346)), &beacon);
        // No hash to the other group's domain, nor of what was not framed.
        let message = Beacon::message(&GENESIS, 100);
        let framed = [&[BEACON_NAMESPACE.len() as u8], BEACON_NAMESPACE, &message].concat();
        let signed = |domain, message: &[u8]| Beacon {
            round: 100,
            signature: bytes(ops::sign::<MinSig>(&private, domain, message)),
        };
        assert_eq!(signed(MinSig::MESSAGE, &framed), beacon);
        refused(&public_key, &signed(MinSig::PROOF_OF_POSSESSION, &framed));
        refused(&public_key, &signed(MinSig::MESSAGE, &message));
        refused(&public_key, &signed(MinSig::MESSAGE, &[BEACON_NAMESPACE, &message].concat()));
        // A signature of the other variant is a point of the other group: its length does not fit. What is of the right length
        // but of the other group is the public key there.
        refused(&public_key, &Beacon { round: 100, signature: bytes(public::<MinPk>(&private)) });
        // The negated signature, and each bit.
        let mut negated = beacon;
        negated.signature[0] ^= 0x20;
        refused(&public_key, &negated);
        for bit in 0..8 * 48 {
            let mut changed = beacon;
            changed.signature[bit / 8] ^= 1 << (bit % 8);
            refused(&public_key, &changed);
        }
        for bit in (0..8 * 96).step_by(7) {
            let mut changed = public_key;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            refused(&changed, &beacon);
        }
    }

    #[test]
    fn the_identity_and_points_outside_their_group_are_refused() {
        let mut identity = Beacon { round: 100, signature: [0; 48] };
        identity.signature[0] = 0xc0;
        let mut identity_key = PublicKey([0; 96]);
        identity_key.0[0] = 0xc0;
        let public_key = public_bytes(&key(12345));
        assert!(!verify_beacon(&public_key, &GENESIS, &identity));
        assert!(!verify_beacon(&identity_key, &GENESIS, &identity));
        assert!(!verify_beacon(&identity_key, &GENESIS, &sign(&key(12345), BEACON_NAMESPACE, &GENESIS, 100)));
        // Points of the curve: some x near 4 have one, and hardly any is in the group.
        use ark_ec::AffineRepr;
        use ark_serialize::{CanonicalDeserialize, Compress, Validate};
        let mut outside = 0;
        for x in 0..50 {
            let mut signature = [0; 48];
            (signature[0], signature[47]) = (0x80, x);
            let point = ark_bls12_381::G1Affine::deserialize_with_mode(&signature[..], Compress::Yes, Validate::No);
            if point.is_ok_and(|point| !point.is_zero() && !point.is_in_correct_subgroup_assuming_on_curve()) {
                outside += 1;
                assert!(!verify_beacon(&public_key, &GENESIS, &Beacon { round: 100, signature }));
            }
        }
        assert!(outside > 10, "only {outside}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]
        #[test]
        fn random_bytes_never_panic_nor_pass(point: [[u8; 32]; 3], signature: [[u8; 24]; 2], round: u32, flags: [u8; 2]) {
            let mut public_key = PublicKey(point.concat().try_into().unwrap());
            let mut signature: [u8; 48] = signature.concat().try_into().unwrap();
            (public_key.0[0], signature[0]) = (public_key.0[0] & 0x1f | flags[0] << 5, signature[0] & 0x1f | flags[1] << 5);
            let beacon = Beacon { round, signature };
            proptest::prop_assert!(!verify_beacon(&public_key, &GENESIS, &beacon));
            let good = public_bytes(&self::key(12345));
            proptest::prop_assert!(!verify_beacon(&good, &GENESIS, &beacon));
        }
    }

    #[test]
    fn a_beacon_is_taken_once_and_only_newer_ones_after_it() {
        let private = key(12345);
        with_root(&private, || {
            run_to(20);
            assert_ok!(submit_beacon(good(&private, 15)));
            assert_eq!(LatestBeacon::<Test>::get(), Some(good(&private, 15)));
            let randomness = good(&private, 15).randomness();
            assert!(events().contains(&Event::BeaconSubmitted { round: 15, randomness }));
            assert_eq!(submit_beacon(good(&private, 15)), refused(Error::OldRound));
            assert_eq!(submit_beacon(good(&private, 10)), refused(Error::OldRound));
            assert_eq!(submit_beacon(good(&private, 25)), refused(Error::WrongRound));
            assert_eq!(submit_beacon(good(&private, 17)), refused(Error::WrongRound));
            assert_eq!(submit_beacon(good(&key(12346), 20)), refused(Error::BadSignature));
            let beacon = good(&private, 20);
            assert_eq!(submit_signed(Gatekeeper::new(99).beacon::<Test>(beacon)), refused(Error::NotPlayer));
            let mut signed = Gatekeeper::all(3)[0].beacon::<Test>(beacon);
            signed.signature[0] ^= 1;
            assert_eq!(submit_signed(signed), refused(Error::BadSignature));
            let mut signed = Gatekeeper::all(3)[0].beacon::<Test>(beacon);
            signed.brought.genesis_hash[0] ^= 1;
            assert_eq!(submit_signed(signed), refused(Error::WrongGenesis));
            assert_ok!(submit_beacon(good(&private, 20)));
        });
    }

    #[test]
    fn without_a_root_key_there_is_no_beacon() {
        with_chain(|| {
            run_to(20);
            assert_eq!(submit_beacon(good(&key(12345), 15)), refused(Error::UnknownKey));
        });
    }

    #[test]
    fn randomness_is_of_a_later_block_than_what_it_is_for() {
        let private = key(12345);
        with_root(&private, || {
            run_to(20);
            assert_eq!(Keys::random(0), None);
            let beacon = good(&private, 15);
            assert_ok!(submit_beacon(beacon));
            assert_eq!(Keys::random(14), Some((15, beacon.randomness())));
            assert_eq!(Keys::random(15), None);
            assert_eq!(Keys::random(16), None);
            // The first later one, whoever asks when.
            assert_ok!(submit_beacon(good(&private, 20)));
            assert_eq!(Keys::random(14), Some((15, beacon.randomness())));
            assert_eq!(Keys::random(15).map(|(round, _)| round), Some(20));
        });
    }

    #[test]
    fn the_newest_beacons_are_kept() {
        let private = key(12345);
        with_root(&private, || {
            run_to(100);
            let rounds: Vec<_> = (1..=9).map(|number| number * 2 * BEACON).collect();
            for round in &rounds {
                assert_ok!(submit_beacon(good(&private, *round)));
            }
            let kept = &rounds[rounds.len() - HISTORY as usize..];
            assert_eq!(Rounds::<Test>::get().into_inner(), kept);
            assert!(Beacons::<Test>::get(kept[0]).is_some());
            assert_eq!(Beacons::<Test>::iter().count(), HISTORY as usize);
        });
    }

    #[test]
    fn a_beacon_that_stalls_and_goes_on_is_announced_once() {
        let private = key(12345);
        with_root(&private, || {
            let patience = BEACON * STALL;
            let since = Sharings::<Test>::get(ROOT).unwrap().since;
            run_to(since + patience);
            assert!(!Stalled::<Test>::get());
            next_block();
            assert!(events().contains(&Event::BeaconStalled { newest: None }));
            next_block();
            assert!(Stalled::<Test>::get() && events().is_empty());
            // A beacon that is too old itself changes nothing.
            assert_ok!(submit_beacon(good(&private, 5)));
            assert!(Stalled::<Test>::get());
            let round = now() / BEACON * BEACON;
            assert_ok!(submit_beacon(good(&private, round)));
            assert_eq!(events().last(), Some(&Event::BeaconResumed));
            run_to(round + patience + 1);
            assert!(events().contains(&Event::BeaconStalled { newest: Some(round) }));
        });
    }
}

mod releases {
    use super::*;

    fn log(signed: SignedReleases) -> Result<(), TransactionValidityError> {
        submit(Call::log_releases { signed }).map(drop)
    }

    #[test]
    fn releases_are_counted_and_chained() {
        with_chain(|| {
            let gatekeeper = Gatekeeper::new(1);
            let first = gatekeeper.releases::<Test>(0, 3);
            assert_ok!(log(first.clone()));
            let event = Event::KeysReleased { gatekeeper: gatekeeper.id(), first: 0, count: 3, digest: [0xd1; 32] };
            assert_eq!(events(), [event]);
            let hash = sp_io::hashing::sha2_256(&([0u8; 32], &first.releases).encode());
            assert_eq!(ReleaseLogs::<Test>::get(gatekeeper.id()), Some(ReleaseLog { count: 3, hash, since: 1 }));
            run_to(now() + RELEASE);
            let second = gatekeeper.releases::<Test>(3, 1);
            assert_ok!(log(second.clone()));
            let hash = sp_io::hashing::sha2_256(&(hash, &second.releases).encode());
            let expected = ReleaseLog { count: 4, hash, since: now() };
            assert_eq!(ReleaseLogs::<Test>::get(gatekeeper.id()), Some(expected));
        });
    }

    #[test]
    fn an_entry_follows_the_last_after_a_while_and_is_signed() {
        with_chain(|| {
            let gatekeeper = Gatekeeper::new(1);
            assert_eq!(log(gatekeeper.releases::<Test>(0, 0)), refused(Error::Empty));
            assert_eq!(log(gatekeeper.releases::<Test>(1, 1)), refused(Error::NotNext));
            let good = gatekeeper.releases::<Test>(0, 1);
            let mut other = good.clone();
            other.releases.genesis_hash = [9; 32];
            assert_eq!(log(other), refused(Error::WrongGenesis));
            let mut forged = good.clone();
            forged.releases.count = 2;
            assert_eq!(log(forged), refused(Error::BadSignature));
            Gone::set([gatekeeper.id()].into());
            assert_eq!(log(good.clone()), refused(Error::NotRegistered));
            Gone::set(Default::default());
            assert_ok!(log(good.clone()));
            assert_eq!(log(gatekeeper.releases::<Test>(1, 1)), refused(Error::TooEarly));
            run_to(now() + RELEASE);
            assert_eq!(log(good), refused(Error::NotNext));
            assert_ok!(log(gatekeeper.releases::<Test>(1, 1)));
        });
    }
}

#[test]
fn the_configuration_of_the_tests_is_sound() {
    <Keys as Hooks<u32>>::integrity_test();
}

#[test]
fn every_error_has_its_own_code() {
    assert_eq!(Error::WrongGenesis.encode(), [0]);
    assert_eq!(refused::<()>(Error::Empty), Err(InvalidTransaction::Custom(Error::Empty.encode()[0]).into()));
}
