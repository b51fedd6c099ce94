//! Tests of what a gatekeeper does at each step, of every error, and of garbage.

use std::collections::BTreeMap;

use codec::Encode;
use ed25519_dalek::{Signer, SigningKey};
use phala_attestation::{Family, Measurement, PlatformId, VendorName};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    attestation::{SealingClaim, SealingKeyId},
    gatekeeper::{
        Answer, Beacon, CeremonyId, Confirmation, Content, Dealing, KeyReply, KeyRequest, NetworkKey, Phase, PublicKey,
        SealingKeyRequest, Sharing, SignedRequest, threshold,
    },
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{testing::Network, *};

const GENESIS: [u8; 32] = [0x77; 32];
const APP: AppId = AppId([0x5a; 32]);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([9; 32])
}

fn worker() -> (SigningKey, KeyRequest, Facts) {
    let signing = SigningKey::from_bytes(&[0xee; 32]);
    let worker = WorkerId(signing.verifying_key().to_bytes());
    let request = KeyRequest {
        genesis_hash: GENESIS,
        worker,
        job: 7,
        attempt: 1,
        app: APP,
        version: 2,
        key: NetworkKey::Root,
        reply_key: [0; 32],
    };
    let facts = Facts {
        genesis_hash: GENESIS,
        now: 100,
        job: 7,
        worker,
        attempt: 1,
        app: APP,
        version: 2,
        verdict_expires: 101,
        epochs: Some((3, 4)),
    };
    (signing, request, facts)
}

fn verified(request: &KeyRequest, signing: &SigningKey) -> VerifiedRequest {
    let signature = signing.sign(&request.signed_bytes()).to_bytes();
    let signed = phala_primitives::gatekeeper::SignedKeyRequest { request: request.clone(), signature };
    VerifiedRequest::new(&signed).unwrap()
}

#[test]
fn nothing_is_posted_before_it_is_sealed() {
    let mut network = Network::new(GENESIS, 3);
    network.begin(1, NetworkKey::Root, &[0, 1, 2]);
    let mut state = State::new();
    let Step::Seal(first) = state.step(&network.identities[0], &network.view, &mut network.rng) else { panic!() };
    let Step::Seal(second) = state.step(&network.identities[0], &network.view, &mut network.rng) else { panic!() };
    assert_eq!(first.bytes(), second.bytes());
    state.sealed(second);
    let Step::Post { posts, asides } = state.step(&network.identities[0], &network.view, &mut network.rng) else {
        panic!()
    };
    assert!(posts.len() == 1 && asides.is_empty());
    // What was sealed before a later change does not count for it.
    network.view.ceremonies.clear();
    let Step::Seal(_) = state.step(&network.identities[0], &network.view, &mut network.rng) else { panic!() };
    state.sealed(first);
    let Step::Seal(_) = state.step(&network.identities[0], &network.view, &mut network.rng) else { panic!() };
}

#[test]
fn a_key_is_made_and_dealt_anew_to_others() {
    let mut network = Network::new(GENESIS, 6);
    let first = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    assert_eq!((first.threshold(), first.ceremony(), first.players().len()), (3, 1, 4));
    let old = network.share(3, NetworkKey::Root).clone();
    let second = network.run(2, NetworkKey::Root, &[0, 1, 2, 4, 5]);
    assert_eq!(second.public_key(), first.public_key());
    assert_eq!(second.threshold(), threshold(5));
    assert!(network.states[3].share(NetworkKey::Root).is_none(), "who left has nothing");
    assert_ne!(network.share(0, NetworkKey::Root).ceremony(), old.ceremony());
    // Old and new shares do not fit together.
    let part = beacon_partial(&old, &GENESIS, 1).unwrap();
    let message = Message::Beacon { genesis_hash: GENESIS, round: 1 };
    let gatekeeper = network.identities[3].id();
    assert_eq!(
        second.verify(gatekeeper, message, &part).unwrap_err(),
        PartialError::Ceremony { gatekeeper, given: 1, expected: 2 }
    );
    assert!(network.states.iter().all(|state| state.attempts().count() == 0));
}

#[test]
fn one_gatekeeper_alone_is_enough_for_a_development_network() {
    let mut network = Network::new(GENESIS, 2);
    let first = network.run(1, NetworkKey::Root, &[0]);
    assert_eq!(first.threshold(), 1);
    assert_eq!(network.run(2, NetworkKey::Root, &[0, 1]).public_key(), first.public_key());
}

#[test]
fn a_player_that_was_away_computes_its_share_later() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Log);
    network.phase(1, Phase::Confirm, &[3]);
    network.phase(1, Phase::Confirm, &[3]);
    assert!(network.view.sharings.contains_key(&NetworkKey::Root));
    // Dealt anew, and away again.
    assert!(network.step(3).0.is_empty());
    assert_eq!(network.share(3, NetworkKey::Root).ceremony(), 1);
    network.begin(2, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(2, Phase::Log);
    network.phase(2, Phase::Confirm, &[3]);
    network.phase(2, Phase::Confirm, &[3]);
    // Without the posts it cannot, and what it had is worth nothing.
    network.view.ceremonies.remove(&2);
    assert!(network.step(3).0.is_empty());
    assert!(network.states[3].share(NetworkKey::Root).is_none());
    assert_eq!(network.states[3].attempts().count(), 0);
}

#[test]
fn the_previous_share_stays_until_the_chain_has_the_new_sharing() {
    let mut network = Network::new(GENESIS, 4);
    network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.begin(2, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(2, Phase::Log);
    // Two are too few for an output.
    network.phase(2, Phase::Confirm, &[2, 3]);
    assert_eq!(network.on_chain(2).confirmations.len(), 2);
    for number in 0..4 {
        assert_eq!(network.share(number, NetworkKey::Root).ceremony(), 1);
        assert_eq!(network.states[number].attempts().collect::<Vec<_>>(), [2]);
    }
    // The attempt fails: what was pending is erased, the share stays.
    network.view.ceremonies.remove(&2);
    for number in 0..4 {
        network.step(number);
        assert_eq!(network.share(number, NetworkKey::Root).ceremony(), 1);
        assert_eq!(network.states[number].attempts().count(), 0);
    }
}

#[test]
fn an_older_view_erases_no_share() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Root, &[0, 1, 2]);
    let old = network.view.sharings.clone();
    network.run(2, NetworkKey::Root, &[0, 1, 2]);
    network.view.sharings = old;
    network.step(0);
    assert_eq!(network.share(0, NetworkKey::Root).ceremony(), 2);
}

#[test]
fn a_false_dealing_is_complained_about_and_the_value_is_opened() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Deal);
    // The value for the second player does not open.
    let dealer = network.identities[0].id();
    network.on_chain(1).dealings.get_mut(&dealer).unwrap().shares[1].ciphertext[5] ^= 1;
    network.phase(1, Phase::Answer, &[]);
    let answers = network.on_chain(1).answers.clone();
    assert_eq!(answers[&network.identities[1].id()][0], Answer::Complaint);
    assert_eq!(answers.values().flatten().filter(|answer| **answer == Answer::Complaint).count(), 1);
    // This dealer does not say what it did not deal, the others end the ceremony without it.
    network.phase(1, Phase::Log, &[]);
    assert_eq!(network.on_chain(1).logs.len(), 3);
    assert_eq!(network.step(0).1[&1], Aside::Contradiction(Phase::Deal));
    network.phase(1, Phase::Confirm, &[]);
    network.phase(1, Phase::Confirm, &[]);
    assert_eq!(network.sharing(NetworkKey::Root).threshold(), 3);
}

#[test]
fn a_false_complaint_opens_one_value_and_stops_nothing() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Answer);
    let liar = network.identities[2].id();
    let lies = network.on_chain(1).answers.get_mut(&liar).unwrap();
    lies[0] = Answer::Complaint;
    lies[1] = Answer::Acknowledged([7; 64]);
    lies.truncate(3);
    network.phase(1, Phase::Log, &[2]);
    assert_eq!(network.on_chain(1).logs.len(), 3);
    network.phase(1, Phase::Confirm, &[2]);
    network.phase(1, Phase::Confirm, &[2]);
    assert!(network.view.sharings.contains_key(&NetworkKey::Root));
    for number in [0, 1, 3] {
        network.step(number);
        assert_eq!(network.share(number, NetworkKey::Root).ceremony(), 1);
    }
}

#[test]
fn a_silent_player_has_nothing_opened() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Deal);
    network.phase(1, Phase::Answer, &[3]);
    for phase in [Phase::Log, Phase::Confirm] {
        network.on_chain(1).ceremony.phase = phase;
        for number in 0..3 {
            let (contents, asides) = network.step(number);
            assert!(contents.is_empty());
            let expected = if phase == Phase::Log { Some(&Aside::Silence(1)) } else { asides.get(&1) };
            assert_eq!(asides.get(&1), expected);
        }
    }
    // Not even if everybody else logs.
    assert_eq!(network.step(0).1[&1], Aside::Silence(1));
}

#[test]
fn a_rolled_back_state_stands_aside() {
    for last in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log] {
        let mut network = Network::new(GENESIS, 4);
        network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
        network.until(1, last);
        network.states[0] = State::new();
        for phase in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm] {
            network.on_chain(1).ceremony.phase = phase;
            let (contents, asides) = network.step(0);
            assert!(contents.is_empty());
            assert_eq!(asides[&1], Aside::Contradiction(Phase::Enrol));
        }
        assert_eq!(network.states[0].attempts().count(), 0);
    }
    // One that only deals has not enrolled.
    let mut network = Network::new(GENESIS, 5);
    network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let before = network.states[0].shares_for_test();
    network.begin(2, NetworkKey::Root, &[1, 2, 3, 4]);
    network.until(2, Phase::Deal);
    network.states[0] = before;
    assert_eq!(network.step(0).1[&2], Aside::Contradiction(Phase::Deal));
    network.phase(2, Phase::Answer, &[]);
    network.on_chain(2).ceremony.phase = Phase::Log;
    let (contents, asides) = network.step(0);
    assert!(contents.is_empty());
    assert_eq!(asides[&2], Aside::Contradiction(Phase::Deal));
}

#[test]
fn another_post_under_its_name_is_noticed_in_every_phase() {
    type Change = fn(&mut CeremonyView, GatekeeperId);
    let changes: [(Phase, Change); 5] = [
        (Phase::Enrol, |view, me| *view.enrolments.get_mut(&me).unwrap() = [1; 32]),
        (Phase::Deal, |view, me| view.dealings.get_mut(&me).unwrap().shares.reverse()),
        (Phase::Answer, |view, me| view.answers.get_mut(&me).unwrap()[0] = Answer::Complaint),
        (Phase::Log, |view, me| view.logs.get_mut(&me).unwrap().push(0)),
        (Phase::Confirm, |view, me| view.confirmations.get_mut(&me).unwrap().output_hash = [0; 32]),
    ];
    for (phase, change) in changes {
        let mut network = Network::new(GENESIS, 3);
        network.begin(1, NetworkKey::Root, &[0, 1, 2]);
        network.until(1, phase);
        let me = network.identities[0].id();
        change(network.on_chain(1), me);
        let (contents, asides) = network.step(0);
        assert!(contents.is_empty());
        assert_eq!(asides[&1], Aside::Contradiction(phase));
    }
}

#[test]
fn who_lost_the_share_does_not_deal_and_gets_a_new_one() {
    let mut network = Network::new(GENESIS, 4);
    network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.states[0] = State::new();
    network.begin(2, NetworkKey::Root, &[0, 1, 2, 3]);
    network.phase(2, Phase::Enrol, &[]);
    network.phase(2, Phase::Deal, &[]);
    assert_eq!(network.step(0).1[&2], Aside::NoShare(1));
    assert_eq!(network.on_chain(2).dealings.len(), 3);
    for phase in [Phase::Answer, Phase::Log, Phase::Confirm, Phase::Confirm] {
        network.phase(2, phase, &[]);
    }
    network.step(0);
    assert_eq!(network.share(0, NetworkKey::Root).ceremony(), 2);
}

#[test]
fn contradicting_ceremonies_are_not_taken_part_in() {
    let changes: [fn(&mut View); 9] = [
        |view| view.ceremonies.get_mut(&2).unwrap().ceremony.players.reverse(),
        |view| view.ceremonies.get_mut(&2).unwrap().ceremony.dealers.reverse(),
        |view| view.ceremonies.get_mut(&2).unwrap().enrolments.clear(),
        |view| view.ceremonies.get_mut(&2).unwrap().ceremony.dealers.truncate(2),
        |view| view.ceremonies.get_mut(&2).unwrap().ceremony.dealers.clear(),
        // The root key would be made again.
        |view| {
            let ceremony = view.ceremonies.get_mut(&2).unwrap();
            (ceremony.ceremony.previous, ceremony.previous) = (None, None);
        },
        |view| view.ceremonies.get_mut(&2).unwrap().ceremony.previous = Some(0),
        |view| drop(view.sharings.remove(&NetworkKey::Root)),
        |view| {
            let garbage = Sharing { output: vec![1; 9], ..view.sharings[&NetworkKey::Root].clone() };
            view.ceremonies.get_mut(&2).unwrap().previous = Some(garbage.clone());
            view.sharings.insert(NetworkKey::Root, garbage);
        },
    ];
    for change in changes {
        let mut network = Network::new(GENESIS, 4);
        network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
        network.begin(2, NetworkKey::Root, &[0, 1, 2, 3]);
        network.phase(2, Phase::Enrol, &[]);
        network.on_chain(2).ceremony.phase = Phase::Deal;
        change(&mut network.view);
        for number in 0..4 {
            let (contents, asides) = network.step(number);
            assert!(contents.is_empty());
            assert!(
                asides.values().all(|aside| matches!(aside, Aside::Ceremony(_) | Aside::Contradiction(_))),
                "{asides:?}"
            );
        }
    }
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2]);
    network.phase(1, Phase::Enrol, &[]);
    network.on_chain(1).ceremony.phase = Phase::Deal;
    let more = network.ids(&[0, 1, 2, 3]);
    network.on_chain(1).ceremony.dealers = more;
    assert_eq!(network.step(0).1[&1], Aside::Ceremony("the dealers of a new key are not its players"));
    network.on_chain(1).ceremony.dealers = vec![GatekeeperId([2; 32]); 65];
    assert!(matches!(network.step(0).1.get(&1), Some(Aside::Ceremony(_)) | None));
}

#[test]
fn too_few_logs_make_nothing() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Log);
    let ids = network.ids(&[0, 1, 2, 3]);
    // One is garbage, another is somebody else's.
    let other = network.on_chain(1).logs[&ids[2]].clone();
    network.on_chain(1).logs.insert(ids[0], vec![3; 70]);
    network.on_chain(1).logs.insert(ids[1], other);
    network.on_chain(1).ceremony.phase = Phase::Confirm;
    assert_eq!(network.step(3), (vec![], BTreeMap::from([(1, Aside::Logs)])));
}

#[test]
fn a_log_of_another_dealing_is_left_out() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.until(1, Phase::Log);
    let ids = network.ids(&[0, 1, 2, 3]);
    network.on_chain(1).ceremony.phase = Phase::Confirm;
    // The dealer's post was another one than its log is about: nobody's answers fit either, but the log would.
    let mut dealing = network.on_chain(1).dealings[&ids[0]].clone();
    dealing.commitment = network.on_chain(1).dealings[&ids[1]].commitment.clone();
    network.on_chain(1).dealings.insert(ids[0], dealing);
    let answers: Vec<_> = network.on_chain(1).answers.keys().copied().collect();
    for id in answers {
        network.on_chain(1).answers.get_mut(&id).unwrap()[0] = Answer::Complaint;
    }
    network.phase(1, Phase::Confirm, &[]);
    let confirmations = network.on_chain(1).confirmations.clone();
    assert_eq!(confirmations.len(), 4);
    assert!(confirmations.values().all(|confirmation| confirmation == confirmations.values().next().unwrap()));
}

#[test]
fn keys_to_which_nothing_can_be_encrypted_stop_nobody() {
    let mut network = Network::new(GENESIS, 4);
    network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
    network.phase(1, Phase::Enrol, &[]);
    let liar = network.identities[3].id();
    network.on_chain(1).enrolments.insert(liar, [0; 32]);
    network.phase(1, Phase::Deal, &[3]);
    let dealer = network.identities[0].id();
    let dealing: Dealing = network.on_chain(1).dealings[&dealer].clone();
    assert_eq!((dealing.shares[3].encapsulated_key, dealing.shares[3].ciphertext), ([0; 32], [0; 48]));
    let complaints = vec![Answer::Complaint; 3];
    network.phase(1, Phase::Answer, &[3]);
    network.post(1, 3, Content::Answers(complaints));
    for phase in [Phase::Log, Phase::Confirm, Phase::Confirm] {
        network.phase(1, phase, &[3]);
    }
    assert!(network.view.sharings.contains_key(&NetworkKey::Root));
}

#[test]
fn an_epoch_is_forgotten_and_the_root_is_not() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Root, &[0, 1, 2]);
    network.run(2, NetworkKey::Epoch(0), &[0, 1, 2]);
    network.begin(3, NetworkKey::Epoch(0), &[0, 1, 2]);
    network.phase(3, Phase::Enrol, &[]);
    assert_eq!(network.states[0].keys().count(), 2);
    assert_eq!(network.states[0].forget(NetworkKey::Root), Err(ForgetError::Root));
    network.states[0].forget(NetworkKey::Epoch(0)).unwrap();
    let Step::Seal(unsealed) = network.states[0].step(&network.identities[0], &network.view, &mut network.rng) else {
        panic!("what is erased is sealed without it")
    };
    let again = State::unseal(unsealed.bytes()).unwrap();
    assert_eq!(again.keys().collect::<Vec<_>>(), [NetworkKey::Root]);
    assert_eq!(again.attempts().count(), 0);
    // Nothing to forget changes nothing.
    let mut state = State::new();
    state.forget(NetworkKey::Epoch(9)).unwrap();
    assert!(matches!(state.step(&network.identities[0], &View::default(), &mut network.rng), Step::Post { .. }));
}

#[test]
fn releases_are_sealed_before_they_are_made() {
    let mut network = Network::new(GENESIS, 3);
    let mut state = State::new();
    state.reserve(128);
    let Step::Seal(unsealed) = state.step(&network.identities[0], &View::default(), &mut network.rng) else {
        panic!("what is reserved is sealed")
    };
    assert_eq!(State::unseal(unsealed.bytes()).unwrap().releases(), 128);
    state.sealed(unsealed);
    state.reserve(127);
    assert_eq!(state.releases(), 128);
    assert!(matches!(state.step(&network.identities[0], &View::default(), &mut network.rng), Step::Post { .. }));
}

#[test]
fn sealed_states_are_read_whole_or_not() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Root, &[0, 1, 2]);
    network.begin(2, NetworkKey::Root, &[0, 1, 2]);
    let Step::Seal(unsealed) = network.states[0].step(&network.identities[0], &network.view, &mut network.rng) else {
        panic!()
    };
    let bytes = unsealed.bytes();
    assert!(State::unseal(bytes).is_ok());
    assert_eq!(State::unseal(&[]).unwrap_err(), StateError::Malformed);
    assert_eq!(State::unseal(&[&[1], &bytes[1..]].concat()).unwrap_err(), StateError::Version(1));
    assert_eq!(State::unseal(&[bytes, &[0]].concat()).unwrap_err(), StateError::Malformed);
    for length in 1..bytes.len() {
        assert_eq!(State::unseal(&bytes[..length]).unwrap_err(), StateError::Malformed);
    }
    // A scalar of zero, and one above the order, is no share.
    for scalar in [[0; 32], [0xff; 32]] {
        let share = (NetworkKey::Root, 1u64, 0u32, scalar);
        let state = (2u8, BTreeMap::from([(NetworkKey::Root, share)]), BTreeMap::<CeremonyId, u8>::new(), 0u64);
        assert_eq!(State::unseal(&state.encode()).unwrap_err(), StateError::Malformed);
    }
    // A share under another key's name.
    let mut one = [0; 32];
    one[31] = 1;
    let share = (NetworkKey::Root, 1u64, 0u32, one);
    let state = (2u8, BTreeMap::from([(NetworkKey::Epoch(1), share)]), BTreeMap::<CeremonyId, u8>::new(), 0u64);
    assert_eq!(State::unseal(&state.encode()).unwrap_err(), StateError::Malformed);
}

#[test]
fn nothing_secret_is_shown() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Root, &[0, 1, 2]);
    let share = network.share(0, NetworkKey::Root);
    let secret = hex::encode(&share.encode()[13..]);
    for text in [format!("{share:?}"), format!("{:?}", network.states[0]), format!("{:?}", network.identities[0])] {
        assert!(!text.contains(&secret[..8]), "{text}");
    }
}

fn app_parts(network: &Network, app: AppId, version: u32) -> Vec<VerifiedPartial> {
    let sharing = network.sharing(NetworkKey::Root);
    let message = Message::AppKey { app, version };
    let part = |number: usize| {
        let partial = network.share(number, NetworkKey::Root).partial(&message).unwrap();
        sharing.verify(network.identities[number].id(), message, &partial).unwrap()
    };
    (0..network.states.len()).map(part).collect()
}

#[test]
fn an_app_key_is_one_and_gives_separate_keys() {
    let mut network = Network::new(GENESIS, 4);
    let sharing = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let parts = app_parts(&network, APP, 2);
    let key = combine_app_key(&sharing, APP, 2, &parts[..3]).unwrap();
    let same = combine_app_key(&sharing, APP, 2, &parts[1..]).unwrap();
    assert_eq!(key.state_key(), same.state_key());
    assert_eq!(key.signing_key().to_bytes(), same.signing_key().to_bytes());
    assert_eq!(key.recipient().to_string(), same.recipient().to_string());
    assert_ne!(*key.state_key(), key.signing_key().to_bytes());
    let other = combine_app_key(&sharing, APP, 3, &app_parts(&network, APP, 3)).unwrap();
    assert_ne!(key.state_key(), other.state_key());
    let file = age::encrypt(&key.recipient(), b"state").unwrap();
    assert_eq!(age::decrypt(&same.identity(), &file).unwrap(), b"state");
    assert!(age::decrypt(&other.identity(), &file).is_err());
    assert!(!format!("{key:?}").contains("signature"));
}

#[test]
fn bad_parts_are_named() {
    let mut network = Network::new(GENESIS, 4);
    let sharing = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let message = Message::AppKey { app: APP, version: 2 };
    let gatekeeper = network.identities[0].id();
    let good = network.share(0, NetworkKey::Root).partial(&message).unwrap();
    let verify =
        |partial: &Partial, gatekeeper| sharing.verify(gatekeeper, message, partial).map(|part| part.gatekeeper());
    assert_eq!(verify(&good, gatekeeper), Ok(gatekeeper));
    let other = network.identities[1].id();
    assert_eq!(verify(&good, other), Err(PartialError::Number { gatekeeper: other }));
    let garbage = Partial { ceremony: 1, signature: vec![1; 49] };
    assert_eq!(verify(&garbage, gatekeeper), Err(PartialError::Malformed { gatekeeper }));
    let elsewhere = Partial { ceremony: 2, signature: good.signature.clone() };
    assert_eq!(verify(&elsewhere, gatekeeper), Err(PartialError::Ceremony { gatekeeper, given: 2, expected: 1 }));
    let of_another = network.share(0, NetworkKey::Root).partial(&Message::AppKey { app: APP, version: 1 }).unwrap();
    assert_eq!(verify(&of_another, gatekeeper), Err(PartialError::Signature { gatekeeper }));

    let parts = app_parts(&network, APP, 2);
    assert_eq!(
        combine_app_key(&sharing, APP, 2, &parts[..2]).unwrap_err(),
        CombineError::TooFew { needed: 3, found: 2 }
    );
    let twice = [parts[0].clone(), parts[0].clone(), parts[0].clone(), parts[1].clone()];
    assert_eq!(combine_app_key(&sharing, APP, 2, &twice).unwrap_err(), CombineError::TooFew { needed: 3, found: 2 });
    assert_eq!(combine_app_key(&sharing, APP, 1, &parts).unwrap_err(), CombineError::Other { gatekeeper });
}

#[test]
fn malformed_sharings_are_refused() {
    let mut network = Network::new(GENESIS, 4);
    network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let good = network.view.sharings[&NetworkKey::Root].clone();
    let error = |sharing: Sharing<u32>| VerifiedSharing::new(&sharing).unwrap_err();
    assert_eq!(error(Sharing { output: vec![], ..good.clone() }), SharingError::Output);
    assert_eq!(error(Sharing { output: [&good.output[..], &[0]].concat(), ..good.clone() }), SharingError::Output);
    assert_eq!(error(Sharing { players: network.ids(&[0, 1, 2]), ..good.clone() }), SharingError::Players);
    assert_eq!(error(Sharing { public_key: PublicKey([0; 96]), ..good.clone() }), SharingError::PublicKey);
    // A polynomial of another degree: one coefficient less, everything else the same.
    let at = 32 + 1 + 4;
    let coefficients = usize::from(good.output[at]);
    let mut output = good.output.clone();
    output[at] -= 1;
    let last = at + 1 + (coefficients - 1) * 96;
    output.drain(last..last + 96);
    assert_eq!(error(Sharing { output, ..good }), SharingError::Threshold);
}

#[test]
fn a_worker_gets_its_key_and_nobody_else() {
    let mut network = Network::new(GENESIS, 4);
    let sharing = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let (signing, request, facts) = worker();
    let (pending, signed) = PendingRequest::new(request.clone(), &signing, &mut network.rng).unwrap();
    let gatekeeper = network.identities[0].id();
    let granted = || Granted::new(VerifiedRequest::new(&signed).unwrap(), &facts).unwrap();
    let answer = reply(network.share(0, NetworkKey::Root), granted(), &mut rng()).unwrap();
    assert_eq!(pending.open(&sharing, gatekeeper, &answer).unwrap().gatekeeper(), gatekeeper);
    // Another request, also with all else the same, does not open it; nor does the reply survive a change.
    let (other, _) = PendingRequest::new(request.clone(), &signing, &mut network.rng).unwrap();
    let closed = Err(OpenError::Closed { gatekeeper });
    let opened = |pending: &PendingRequest, reply: &KeyReply| pending.open(&sharing, gatekeeper, reply).map(drop);
    assert_eq!(opened(&other, &answer), closed);
    assert_eq!(opened(&pending, &KeyReply { ceremony: 2, ..answer.clone() }), closed);
    assert_eq!(opened(&pending, &KeyReply { ciphertext: vec![], ..answer.clone() }), closed);
    assert_eq!(opened(&pending, &KeyReply { encapsulated_key: [0; 32], ..answer.clone() }), closed);
    // That of another gatekeeper is not this one's.
    let second = network.identities[1].id();
    let wrong = pending.open(&sharing, second, &answer).map(drop);
    assert_eq!(wrong, Err(OpenError::Partial(PartialError::Number { gatekeeper: second })));
    // A key that is not the worker's makes no request.
    assert!(PendingRequest::new(request, &SigningKey::from_bytes(&[1; 32]), &mut network.rng).is_none());
}

#[test]
fn each_fact_is_checked() {
    let (signing, request, facts) = worker();
    let refused = |request: &KeyRequest, facts: &Facts| Granted::new(verified(request, &signing), facts).map(drop);
    assert_eq!(refused(&request, &facts), Ok(()));
    assert_eq!(refused(&request, &Facts { genesis_hash: [0; 32], ..facts }), Err(Refused::Chain));
    assert_eq!(refused(&request, &Facts { job: 8, ..facts }), Err(Refused::Assignment));
    assert_eq!(refused(&request, &Facts { worker: WorkerId([0; 32]), ..facts }), Err(Refused::Assignment));
    assert_eq!(refused(&request, &Facts { attempt: 2, ..facts }), Err(Refused::Assignment));
    assert_eq!(refused(&request, &Facts { app: AppId([0; 32]), ..facts }), Err(Refused::App));
    assert_eq!(refused(&request, &Facts { version: 3, ..facts }), Err(Refused::Version { current: 3 }));
    assert_eq!(refused(&request, &Facts { now: 101, ..facts }), Err(Refused::Verdict));
    let before = Facts { epochs: None, ..facts };
    let of_epoch = KeyRequest { key: NetworkKey::Epoch(3), ..request.clone() };
    assert_eq!(refused(&of_epoch, &before), Err(Refused::Epoch(3)));
    for (epoch, expected) in [(2, Err(Refused::Epoch(2))), (3, Ok(())), (4, Ok(())), (5, Err(Refused::Epoch(5)))] {
        let request = KeyRequest { key: NetworkKey::Epoch(epoch), ..request.clone() };
        assert_eq!(refused(&request, &facts), expected);
    }
    let signed = phala_primitives::gatekeeper::SignedKeyRequest { request, signature: [0; 64] };
    assert_eq!(VerifiedRequest::new(&signed), Err(Refused::Signature));
}

/// An enclave that cannot seal, what it asks for, and what the chain has of it.
fn claimant() -> (SigningKey, SealingKeyRequest, SealingFacts) {
    let signing = SigningKey::from_bytes(&[0xdd; 32]);
    let key = SealingKeyId { measurement: Measurement([4; 32]), platform: PlatformId([3; 32]), version: 1 };
    let claimant = signing.verifying_key().to_bytes();
    let request = SealingKeyRequest { genesis_hash: GENESIS, claimant, key, reply_key: [0; 32] };
    let family = Family::Simulated(VendorName::DEVELOPMENT);
    let claim = SealingClaim { key, family, block_number: 1, until: 100 };
    (signing, request, SealingFacts { genesis_hash: GENESIS, now: 100, claim })
}

fn other_keys(key: SealingKeyId) -> [SealingKeyId; 3] {
    [
        SealingKeyId { platform: PlatformId([9; 32]), ..key },
        SealingKeyId { measurement: Measurement([9; 32]), ..key },
        SealingKeyId { version: key.version + 1, ..key },
    ]
}

#[test]
fn a_sealing_key_is_the_same_each_time_and_another_for_another_platform_image_or_version() {
    let mut network = Network::new(GENESIS, 4);
    let sharing = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let (signing, request, facts) = claimant();
    let key = |network: &mut Network,
               sharing: &VerifiedSharing,
               request: &SealingKeyRequest,
               facts: &SealingFacts,
               who: &[usize]| {
        let (pending, signed) = PendingRequest::new(request.clone(), &signing, &mut network.rng).unwrap();
        let parts: Vec<_> = who
            .iter()
            .map(|number| {
                let granted = Granted::for_sealing(VerifiedRequest::new(&signed).unwrap(), facts).unwrap();
                let share = network.share(*number, NetworkKey::Root).clone();
                let reply = reply(&share, granted, &mut network.rng).unwrap();
                pending.open(sharing, network.identities[*number].id(), &reply).unwrap()
            })
            .collect();
        combine_sealing_key(sharing, request.key, &parts)
    };
    let first = key(&mut network, &sharing, &request, &facts, &[0, 1, 2]).unwrap();
    assert_eq!(key(&mut network, &sharing, &request, &facts, &[1, 2, 3]).unwrap(), first);
    assert!(key(&mut network, &sharing, &request, &facts, &[0, 1]).is_err());
    for other in other_keys(request.key) {
        let request = SealingKeyRequest { key: other, ..request.clone() };
        let facts = SealingFacts { claim: SealingClaim { key: other, ..facts.claim }, ..facts };
        assert_ne!(key(&mut network, &sharing, &request, &facts, &[0, 1, 2]).unwrap(), first);
    }
    // A resharing changes nothing.
    let sharing = network.run(2, NetworkKey::Root, &[0, 1, 2, 3]);
    let again = key(&mut network, &sharing, &request, &facts, &[0, 1, 2]).unwrap();
    assert_eq!(again, first);
}

#[test]
fn each_fact_of_a_claim_is_checked() {
    let (signing, request, facts) = claimant();
    let sign = |request: &SealingKeyRequest| SignedRequest {
        request: request.clone(),
        signature: signing.sign(&request.signed_bytes()).to_bytes(),
    };
    let refused = |request: &SealingKeyRequest, facts: &SealingFacts| {
        Granted::for_sealing(VerifiedRequest::new(&sign(request)).unwrap(), facts).map(drop)
    };
    assert_eq!(refused(&request, &facts), Ok(()));
    assert_eq!(refused(&request, &SealingFacts { genesis_hash: [0; 32], ..facts }), Err(Refused::Chain));
    assert_eq!(refused(&request, &SealingFacts { now: facts.now + 1, ..facts }), Err(Refused::Claim));
    for key in other_keys(request.key) {
        let other = SealingKeyRequest { key, ..request.clone() };
        assert_eq!(refused(&other, &facts), Err(Refused::Claim));
    }
    let forged = SignedRequest { signature: [1; 64], ..sign(&request) };
    assert_eq!(VerifiedRequest::new(&forged), Err(Refused::Signature));
    // Nor is the signature under a request for an app's key one under this.
    let (worker, app, _) = worker();
    let signature = worker.sign(&app.signed_bytes()).to_bytes();
    let request = SealingKeyRequest { claimant: app.worker.0, ..request };
    assert_eq!(VerifiedRequest::new(&SignedRequest { request, signature }), Err(Refused::Signature));
}

#[test]
fn a_reply_needs_the_right_share_and_a_key_to_encrypt_to() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Root, &[0, 1, 2]);
    let (signing, request, facts) = worker();
    let epoch = KeyRequest { key: NetworkKey::Epoch(3), ..request.clone() };
    let granted = Granted::new(verified(&epoch, &signing), &facts).unwrap();
    assert_eq!(reply(network.share(0, NetworkKey::Root), granted, &mut rng()), Err(Refused::Share));
    let granted = Granted::new(verified(&request, &signing), &facts).unwrap();
    assert_eq!(reply(network.share(0, NetworkKey::Root), granted, &mut rng()), Err(Refused::ReplyKey));
}

#[test]
fn only_the_root_key_signs_the_beacon() {
    let mut network = Network::new(GENESIS, 3);
    network.run(1, NetworkKey::Epoch(0), &[0, 1, 2]);
    let share = network.share(0, NetworkKey::Epoch(0));
    assert_eq!(beacon_partial(share, &GENESIS, 1).unwrap_err(), BeaconError::NotRoot);
}

#[test]
fn a_beacon_is_of_its_round_chain_and_key() {
    let mut network = Network::new(GENESIS, 4);
    let sharing = network.run(1, NetworkKey::Root, &[0, 1, 2, 3]);
    let message = Message::Beacon { genesis_hash: GENESIS, round: 7 };
    let parts: Vec<_> = (0..4)
        .map(|number| {
            let part = beacon_partial(network.share(number, NetworkKey::Root), &GENESIS, 7).unwrap();
            sharing.verify(network.identities[number].id(), message, &part).unwrap()
        })
        .collect();
    let first = combine_beacon(&sharing, &GENESIS, 7, &parts[..3]).unwrap();
    assert_eq!(combine_beacon(&sharing, &GENESIS, 7, &parts[1..]).unwrap(), first);
    let (key, beacon) = (sharing.public_key(), *first.beacon());
    assert_eq!(verify_beacon(&key, &GENESIS, &beacon).unwrap().randomness(), beacon.randomness());
    let false_ = Err(BeaconError::Signature);
    assert_eq!(verify_beacon(&key, &GENESIS, &Beacon { round: 8, ..beacon }), false_);
    assert_eq!(verify_beacon(&key, &[0; 32], &beacon), false_);
    assert_eq!(verify_beacon(&key, &GENESIS, &Beacon { signature: [0; 48], ..beacon }), false_);
    assert_eq!(verify_beacon(&PublicKey([0; 96]), &GENESIS, &beacon), Err(BeaconError::PublicKey));
    // An app's key is no beacon.
    let app = app_parts(&network, APP, 2);
    assert_eq!(
        combine_beacon(&sharing, &GENESIS, 7, &app).unwrap_err(),
        CombineError::Other { gatekeeper: network.identities[0].id() }
    );
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Complaint), any::<u8>().prop_map(|byte| Answer::Acknowledged([byte; 64]))]
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn garbage_is_no_state(bytes in bytes(300)) {
        let _ = State::unseal(&bytes);
        let _ = State::unseal(&[&[2][..], &bytes].concat());
    }

    #[test]
    fn garbage_is_no_sharing(output in bytes(600), players in 0u8..5) {
        let players = (0..players).map(|n| GatekeeperId([n; 32])).collect();
        let sharing = Sharing { ceremony: 1, public_key: PublicKey([1; 96]), players, output, since: 0 };
        prop_assert!(VerifiedSharing::new(&sharing).is_err());
    }

    #[test]
    fn garbage_is_no_beacon(key in prop::collection::vec(any::<u8>(), 96), signature in prop::collection::vec(any::<u8>(), 48)) {
        let beacon = Beacon { round: 1, signature: signature.try_into().unwrap() };
        prop_assert!(verify_beacon(&PublicKey(key.try_into().unwrap()), &GENESIS, &beacon).is_err());
    }

    #[test]
    fn garbage_in_a_view_never_panics(
        phase in prop_oneof![Just(Phase::Enrol), Just(Phase::Deal), Just(Phase::Answer), Just(Phase::Log), Just(Phase::Confirm)],
        commitment in bytes(400),
        shares in 0usize..4,
        answers in prop::collection::vec(answer(), 0..5),
        log in bytes(700),
        hash in any::<[u8; 32]>(),
        key in any::<[u8; 32]>(),
        who in 0usize..4,
        before in prop_oneof![Just(Phase::Enrol), Just(Phase::Deal), Just(Phase::Log)],
    ) {
        let mut network = Network::new(GENESIS, 4);
        network.begin(1, NetworkKey::Root, &[0, 1, 2, 3]);
        network.until(1, before);
        let liar = network.identities[who].id();
        let share = phala_primitives::gatekeeper::EncryptedShare { encapsulated_key: key, ciphertext: [hash[0]; 48] };
        let on_chain = network.on_chain(1);
        on_chain.ceremony.phase = phase;
        on_chain.enrolments.insert(liar, key);
        on_chain.dealings.insert(liar, Dealing { commitment, shares: vec![share; shares] });
        on_chain.answers.insert(liar, answers);
        on_chain.logs.insert(liar, log);
        on_chain.confirmations.insert(liar, Confirmation { public_key: PublicKey([hash[1]; 96]), output_hash: hash });
        for number in 0..4 {
            let _ = network.step(number);
        }
    }

    #[test]
    fn garbage_is_no_reply(encapsulated_key in any::<[u8; 32]>(), ciphertext in bytes(80), signature in bytes(60)) {
        let mut network = Network::new(GENESIS, 1);
        let sharing = network.run(1, NetworkKey::Root, &[0]);
        let (signing, request, _) = worker();
        let (pending, _) = PendingRequest::new(request, &signing, &mut network.rng).unwrap();
        let gatekeeper = network.identities[0].id();
        let reply = KeyReply { ceremony: 1, encapsulated_key, ciphertext };
        prop_assert!(pending.open(&sharing, gatekeeper, &reply).is_err());
        let partial = Partial { ceremony: 1, signature };
        let message = Message::AppKey { app: APP, version: 1 };
        prop_assert!(sharing.verify(gatekeeper, message, &partial).is_err());
    }
}
