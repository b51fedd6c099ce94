use codec::Encode;
use frame_support::{
    assert_ok,
    dispatch::DispatchResultWithPostInfo,
    traits::{Get, PalletsInfoAccess, fungible::Inspect},
};
use phala_primitives::units;
use sp_core::{Pair, sr25519};
use sp_io::TestExternalities;
use sp_keyring::Sr25519Keyring;
use sp_runtime::traits::{AccountIdConversion, Header as _};

use crate::{
    configs::{MINING, TREASURY, TreasuryAccount},
    genesis::*,
    *,
};

/// The state that the preset `name` gives, as nodes build it.
fn state(name: &str) -> TestExternalities {
    let mut state = TestExternalities::default();
    state.execute_with(|| {
        let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).unwrap();
        let patch = serde_json::from_slice(&preset(&name.into()).unwrap()).unwrap();
        merge(&mut config, patch);
        assert_ok!(frame_support::genesis_builder_helper::build_state::<RuntimeGenesisConfig>(
            serde_json::to_vec(&config).unwrap()
        ));
    });
    state
}

/// RFC 7396, as nodes apply presets.
fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    match (target, patch) {
        (serde_json::Value::Object(target), serde_json::Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (target, patch) => *target = patch,
    }
}

#[test]
fn every_preset_builds_and_issues_exactly_a_billion() {
    for name in preset_names() {
        state(name.as_ref()).execute_with(|| {
            assert_eq!(Balances::total_issuance(), 1_000_000_000 * PHA);
            assert_eq!(Balances::balance(&MINING.into_account_truncating()), 700_000_000 * PHA);
            assert_eq!(Balances::balance(&TREASURY.into_account_truncating()), 10_000_000 * PHA);
            assert_eq!(Balances::balance(&FOUNDATION), 284_000_000 * PHA);
            for who in DEVELOPMENT_ACCOUNTS {
                assert_eq!(Balances::balance(&who.to_account_id()), 1_000_000 * PHA);
            }
            assert_eq!(pallet_sudo::Key::<Runtime>::get(), Some(Sr25519Keyring::Alice.to_account_id()));
        });
    }
    assert_eq!(preset(&"mainnet".into()), None);
}

#[test]
fn presets_differ_in_authorities_and_simulation() {
    for (name, authorities, root) in [
        ("development", 1, Some(DEVELOPMENT_ROOT)),
        ("local_testnet", 4, Some(DEVELOPMENT_ROOT)),
        ("local_no_simulation", 1, None),
    ] {
        state(name).execute_with(|| {
            assert_eq!(Session::validators().len(), authorities);
            assert_eq!(Babe::authorities().len(), authorities);
            assert_eq!(Grandpa::grandpa_authorities().len(), authorities);
            assert_eq!(pallet_phala_attestation::SimulatedRoot::<Runtime>::get(), root);
        });
    }
}

#[test]
fn constants_are_the_public_keys_of_the_development_secrets() {
    assert_eq!(DEVELOPMENT_ROOT, phala_attestation::simulated::development_root().public());
    let foundation = sr25519::Pair::from_string("//Foundation", None).unwrap();
    assert_eq!(FOUNDATION, AccountId::from(foundation.public()));
}

#[test]
fn addresses_and_amounts_follow_the_primitives() {
    let prefix: u16 = <Runtime as frame_system::Config>::SS58Prefix::get();
    assert_eq!(prefix, units::SS58_PREFIX);
    assert_eq!(PHA, 10u128.pow(units::DECIMALS.into()));
    assert_eq!(EXISTENTIAL_DEPOSIT, PHA / 100);
    assert_eq!(DAYS, 43_200);
}

#[test]
fn a_transfer_costs_about_a_thousandth_of_a_pha() {
    state("development").execute_with(|| {
        let call = RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
            dest: Sr25519Keyring::Bob.to_account_id().into(),
            value: PHA,
        });
        // A signed transfer is about 145 bytes long.
        let fee = TransactionPayment::query_call_info(call, 145).partial_fee;
        assert!((PHA / 1250..PHA / 800).contains(&fee), "a transfer costs {fee}");
    });
}

/// A signed extrinsic of `who`, with its first nonce.
fn signed(who: Sr25519Keyring, call: RuntimeCall) -> UncheckedExtrinsic {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckMortality::from(generic::Era::Immortal),
        frame_system::CheckNonce::from(0),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    let payload = SignedPayload::new(call.clone(), extension.clone()).unwrap();
    let signature = payload.using_encoded(|bytes| who.sign(bytes));
    UncheckedExtrinsic::new_signed(call, who.to_account_id().into(), signature.into(), extension)
}

#[test]
fn fees_and_dust_go_to_the_treasury() {
    state("development").execute_with(|| {
        // Leave Eve so little after the fee that what remains is dust.
        let eve = Sr25519Keyring::Eve.to_account_id();
        let treasury = Balances::balance(&TreasuryAccount::get());
        Executive::initialize_block(&first_block());
        let kept = PHA / 200;
        let call = RuntimeCall::Balances(pallet_balances::Call::transfer_allow_death {
            dest: Sr25519Keyring::Bob.to_account_id().into(),
            value: DEVELOPMENT_ENDOWMENT - kept,
        });
        assert_ok!(Executive::apply_extrinsic(signed(Sr25519Keyring::Eve, call)).unwrap());
        assert_eq!(Balances::balance(&eve), 0);
        assert_eq!(Balances::balance(&TreasuryAccount::get()), treasury + kept);
        assert_eq!(Balances::total_issuance(), TOTAL_ISSUANCE);
    });
}

/// The header of a block in the first slot.
fn first_block() -> Header {
    use sp_consensus_babe::digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest};
    let slot = PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: 0, slot: 1.into() });
    let digest = generic::Digest { logs: [generic::DigestItem::babe_pre_digest(slot)].into() };
    Header::new(1, Default::default(), Default::default(), Default::default(), digest)
}

#[test]
fn metadata_names_every_pallet() {
    for version in [14, 15, 16] {
        let metadata = metadata(version).unwrap();
        assert_eq!(metadata[..4], *b"meta");
        assert_eq!(u32::from(metadata[4]), version);
    }
    let names: Vec<_> = AllPalletsWithSystem::infos().into_iter().map(|pallet| (pallet.index, pallet.name)).collect();
    let expected = [
        (0, "System"),
        (1, "Timestamp"),
        (2, "Babe"),
        (3, "Authorship"),
        (4, "Balances"),
        (5, "TransactionPayment"),
        (6, "Session"),
        (7, "Grandpa"),
        (8, "Sudo"),
        (9, "Utility"),
        (10, "Historical"),
        (11, "Offences"),
        (20, "Attestation"),
        (21, "Workers"),
        (22, "Apps"),
        (23, "Jobs"),
        (24, "Gatekeepers"),
        (25, "Keys"),
    ];
    assert_eq!(names, expected);
}

#[test]
fn new_session_keys_take_effect_after_two_sessions() {
    use frame_support::traits::OnFinalize;
    use sp_keystore::{KeystoreExt, testing::MemoryKeystore};
    let mut state = state("development");
    state.register_extension(KeystoreExt::new(MemoryKeystore::new()));
    state.execute_with(|| {
        Executive::initialize_block(&first_block());
        let alice = Sr25519Keyring::Alice.to_account_id();
        let new = SessionKeys::generate(&alice.encode(), None);
        let origin = RuntimeOrigin::signed(alice);
        let unproven = Session::set_keys(origin.clone(), new.keys.clone(), Vec::new());
        assert_eq!(unproven, Err(pallet_session::Error::<Runtime>::InvalidProof.into()));
        assert_ok!(Session::set_keys(origin, new.keys.clone(), new.proof.encode()));
        for _ in 0..2 {
            assert_ne!(Babe::authorities()[0].0, new.keys.babe);
            assert_ne!(Grandpa::grandpa_authorities()[0].0, new.keys.grandpa);
            Session::rotate_session();
            Grandpa::on_finalize(System::block_number());
        }
        assert_eq!(Babe::authorities()[0].0, new.keys.babe);
        assert_eq!(Grandpa::grandpa_authorities()[0].0, new.keys.grandpa);
        assert_eq!(pallet_grandpa::CurrentSetId::<Runtime>::get(), 1);
    });
}

/// Ends a session.
fn rotate() {
    use frame_support::traits::OnFinalize;
    Session::rotate_session();
    Grandpa::on_finalize(System::block_number());
}

/// The keys of the gatekeeper of account `number`, made for its seat.
fn gatekeeper_keys(number: usize, seat: &AccountId) -> (SessionKeys, Vec<u8>) {
    let generated = SessionKeys::generate(&seat.encode(), Some(format!("//Gatekeeper{number}").into_bytes()));
    (generated.keys, generated.proof.encode())
}

/// Registers an enclave of each of the first `count` development accounts, on a chain in its first block; gives their seats.
fn register_gatekeepers(count: usize) -> Vec<AccountId> {
    use pallet_phala_gatekeepers::enclave::{Enclave, MEASUREMENT};
    let image = MEASUREMENT;
    assert_ok!(Attestation::allow_image(RuntimeOrigin::root(), image, phala_attestation::Role::Gatekeeper, 1));
    let accounts = DEVELOPMENT_ACCOUNTS.iter().take(count).enumerate();
    accounts
        .map(|(number, who)| {
            let seat = Gatekeepers::seat_id(&who.to_account_id(), 0);
            let enclave = Enclave::new(number as u32, who.to_account_id());
            assert_ok!(enclave.register::<Runtime>(0, 10_000 * PHA, gatekeeper_keys(number, &seat)));
            seat
        })
        .collect()
}

/// Four gatekeepers on the development chain, which are its authorities.
fn with_gatekeepers(test: impl FnOnce(Vec<AccountId>)) {
    use sp_keystore::{KeystoreExt, testing::MemoryKeystore};
    let mut state = state("development");
    state.register_extension(KeystoreExt::new(MemoryKeystore::new()));
    state.execute_with(|| {
        Executive::initialize_block(&first_block());
        pallet_timestamp::Now::<Runtime>::put(1_800_000_000_000);
        let seats = register_gatekeepers(4);
        for _ in 0..DEVELOPMENT_SESSIONS_PER_ERA + 1 {
            assert_eq!(Babe::authorities()[0].0, Sr25519Keyring::Alice.public().into());
            rotate();
        }
        test(seats);
        Gatekeepers::do_try_state().unwrap();
        assert_eq!(Balances::total_issuance(), TOTAL_ISSUANCE);
    });
}

#[test]
fn elected_gatekeepers_take_the_place_of_the_authorities_of_genesis() {
    with_gatekeepers(|mut seats| {
        let keys: Vec<_> = seats.iter().enumerate().map(|(number, seat)| gatekeeper_keys(number, seat).0).collect();
        let babe: Vec<_> = Babe::authorities().iter().map(|(key, _)| key.clone()).collect();
        let grandpa: Vec<_> = Grandpa::grandpa_authorities().iter().map(|(key, _)| key.clone()).collect();
        assert_eq!((babe.len(), grandpa.len()), (4, 4));
        assert!(keys.iter().all(|keys| babe.contains(&keys.babe) && grandpa.contains(&keys.grandpa)));
        seats.sort();
        assert_eq!(Session::validators(), seats);
        assert_eq!(Gatekeepers::current().len(), 4);
        assert!(Gatekeepers::is_safe(&Gatekeepers::current()));
    });
}

#[test]
fn the_authorities_of_genesis_go_on_while_no_gatekeeper_is_elected() {
    state("local_testnet").execute_with(|| {
        Executive::initialize_block(&first_block());
        let authorities = Session::validators();
        (0..2 * DEVELOPMENT_SESSIONS_PER_ERA).for_each(|_| rotate());
        assert_eq!(Session::validators(), authorities);
        assert_eq!(pallet_grandpa::CurrentSetId::<Runtime>::get(), 0);
    });
}

#[test]
fn a_set_that_goes_on_has_ceremonies_of_its_next_era() {
    use phala_primitives::gatekeeper::NetworkKey;
    with_gatekeepers(|_| {
        let set = Gatekeepers::current();
        let before = [NetworkKey::Root, NetworkKey::Epoch(0)].map(|key| Keys::running(key).unwrap());
        for who in DEVELOPMENT_ACCOUNTS.iter().take(3) {
            assert_ok!(Gatekeepers::rest(RuntimeOrigin::signed(who.to_account_id()), 0));
        }
        (0..DEVELOPMENT_SESSIONS_PER_ERA).for_each(|_| rotate());
        assert_eq!((Gatekeepers::current(), pallet_phala_keys::Era::<Runtime>::get()), (set, Some(2)));
        let after = [NetworkKey::Root, NetworkKey::Epoch(0)].map(|key| Keys::running(key).unwrap());
        assert!(after.iter().min() > before.iter().max());
    });
}

#[test]
fn who_has_no_share_of_the_root_key_for_two_eras_is_slashed() {
    use pallet_phala_keys::GatekeeperSet;
    with_gatekeepers(|seats| {
        let record = |seat: &AccountId| pallet_phala_gatekeepers::Seats::<Runtime>::get(seat).unwrap();
        let missing = [record(&seats[0]).gatekeeper];
        configs::Enclaves::on_root_shared(&missing);
        (0..DEVELOPMENT_SESSIONS_PER_ERA).for_each(|_| rotate());
        pallet_timestamp::Now::<Runtime>::mutate(|now| *now += 30 * 60 * 1000);
        configs::Enclaves::on_root_shared(&missing);
        // Half an hour, of which each hour costs a thousandth.
        assert_eq!(record(&seats[0]).bond, 9_995 * PHA);
        assert!(seats[1..].iter().all(|seat| record(seat).bond == 10_000 * PHA));
    });
}

#[test]
fn authors_draw_workers_until_there_is_a_root_key_and_nothing_without_the_beacon_from_then_on() {
    use pallet_phala_jobs::Lots;
    use pallet_phala_keys::{Beacons, Rounds, Sharing, Sharings};
    use phala_primitives::gatekeeper::{Beacon, NetworkKey, PublicKey, Round};
    let after = <configs::BeaconAndAuthor as Lots<BlockNumber>>::after;
    let author = |byte: u8| pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some([byte; 32]));
    let bring = |round: Round| {
        Rounds::<Runtime>::mutate(|rounds| rounds.try_push(round).unwrap());
        Beacons::<Runtime>::insert(round, Beacon { round, signature: [round as u8; 48] });
    };
    state("development").execute_with(|| {
        System::set_block_number(100);
        assert_eq!(after(50), None, "no block had an output");
        author(1);
        let lots = after(99).unwrap();
        assert_eq!([after(0), after(100), after(101)], [Some(lots), None, None]);
        author(2);
        assert!(after(99).is_some_and(|others| others != lots));

        let (public_key, players, output) = (PublicKey([1; 96]), vec![], vec![]);
        let root = Sharing::<Runtime> { ceremony: 0, public_key, players, output, since: 90 };
        Sharings::<Runtime>::insert(NetworkKey::Root, root);
        assert_eq!(after(0), None);
        bring(93);
        bring(96);
        let (first, second) = (after(92).unwrap(), after(95).unwrap());
        assert_ne!(first, second);
        assert_eq!([after(0), after(93), after(96), after(99)], [Some(first), Some(second), None, None]);
        // Who knows the round knows no lots.
        author(3);
        assert!(after(95).is_some_and(|others| others != second));
        // However long the beacon stalls.
        System::set_block_number(100_000);
        assert_eq!(after(96), None);
        bring(99_999);
        assert!(after(96).is_some());
    });
}

/// That `report`, which proves that `seat` equivocated, takes its bond once, and the seat is out with the next set.
fn costs_the_bond(seat: &AccountId, report: impl Fn(RuntimeOrigin) -> DispatchResultWithPostInfo) {
    let index = Session::validators().iter().position(|validator| validator == seat).unwrap() as u32;
    let reporter = Sr25519Keyring::Ferdie.to_account_id();
    let (free, treasury) = (Balances::balance(&reporter), Balances::balance(&TreasuryAccount::get()));
    assert_ok!(report(RuntimeOrigin::signed(reporter.clone())));
    assert_eq!(Balances::balance(&reporter), free + 1_000 * PHA);
    assert_eq!(Balances::balance(&TreasuryAccount::get()), treasury + 9_000 * PHA);
    assert_eq!(Session::disabled_validators(), [index]);
    assert!(report(RuntimeOrigin::signed(reporter)).is_err(), "once");
    (0..DEVELOPMENT_SESSIONS_PER_ERA + 1).for_each(|_| rotate());
    assert_eq!(Session::validators().len(), 3);
    assert!(!Session::validators().contains(seat));
}

#[test]
fn each_round_challenges_once_and_who_knows_it_does_not_know_whom() {
    use pallet_phala_keys::{Beacons, Rounds as Kept};
    use pallet_phala_workers::Rounds;
    use phala_primitives::gatekeeper::{Beacon, Round};
    let next = <configs::BeaconAndAuthor as Rounds<BlockNumber>>::next;
    let author = |byte: u8| pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some([byte; 32]));
    let bring = |round: Round| {
        Kept::<Runtime>::mutate(|rounds| rounds.try_push(round).unwrap());
        Beacons::<Runtime>::insert(round, Beacon { round, signature: [round as u8; 48] });
    };
    state("development").execute_with(|| {
        author(1);
        assert_eq!(next(0), None, "there is no beacon");
        bring(93);
        bring(96);
        let (first, second) = (next(0).unwrap(), next(93).unwrap());
        assert_eq!((first.0, second.0, next(96)), (93, 96, None));
        assert_ne!(first.1, second.1);
        author(2);
        assert!(next(93).is_some_and(|(round, others)| round == 96 && others != second.1));
    });
}

#[test]
fn an_equivocation_that_is_proven_to_babe_costs_the_bond() {
    use sp_consensus_babe::{
        AuthorityPair, EquivocationProof,
        digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest},
        runtime_decl_for_babe_api::BabeApi,
    };
    with_gatekeepers(|seats| {
        let pair = AuthorityPair::from_string("//Gatekeeper0", None).unwrap();
        let index = Babe::authorities().iter().position(|(key, _)| *key == pair.public()).unwrap() as u32;
        let session = Session::current_index();
        let genesis: u64 = pallet_babe::GenesisSlot::<Runtime>::get().into();
        let slot = sp_consensus_babe::Slot::from(genesis + u64::from(session) * EPOCH_DURATION_IN_SLOTS);
        let header = |parent: u8| {
            let digest = PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: index, slot });
            let logs = [generic::DigestItem::babe_pre_digest(digest)].into();
            let parent = Hash::repeat_byte(parent);
            let mut header = Header::new(100, Default::default(), Default::default(), parent, generic::Digest { logs });
            let seal = generic::DigestItem::babe_seal(pair.sign(header.hash().as_ref()));
            header.digest_mut().push(seal);
            header
        };
        let proof =
            EquivocationProof { offender: pair.public(), slot, first_header: header(1), second_header: header(2) };
        let owner = <Runtime as BabeApi<Block>>::generate_key_ownership_proof(slot, pair.public()).unwrap();
        let owner: sp_session::MembershipProof = owner.decode().unwrap();
        costs_the_bond(&seats[0], |reporter| {
            Babe::report_equivocation(reporter, Box::new(proof.clone()), owner.clone())
        });
    });
}

#[test]
fn an_equivocation_that_is_proven_to_grandpa_costs_the_bond() {
    use codec::Decode;
    use sp_consensus_grandpa::{
        AuthorityPair, EquivocationProof, localized_payload, runtime_decl_for_grandpa_api::GrandpaApi,
    };
    with_gatekeepers(|seats| {
        let pair = AuthorityPair::from_string("//Gatekeeper0", None).unwrap();
        let (set, round) = (pallet_grandpa::CurrentSetId::<Runtime>::get(), 7u64);
        // The first kind of votes, as they are encoded.
        let prevote = 0u8;
        let vote = |block: u8| {
            let target: (Hash, BlockNumber) = (Hash::repeat_byte(block), 100);
            (target, pair.sign(&localized_payload(round, set, &(prevote, target))))
        };
        let proof_of = |first: u8, second: u8| {
            let encoded = (set, prevote, round, pair.public(), vote(first), vote(second)).encode();
            EquivocationProof::<Hash, BlockNumber>::decode(&mut encoded.as_slice()).unwrap()
        };
        let owner = <Runtime as GrandpaApi<Block>>::generate_key_ownership_proof(set, pair.public()).unwrap();
        let owner: sp_session::MembershipProof = owner.decode().unwrap();
        let report = |reporter, proof| Grandpa::report_equivocation(reporter, Box::new(proof), owner.clone());
        // The same vote twice is none.
        let reporter = RuntimeOrigin::signed(Sr25519Keyring::Ferdie.to_account_id());
        assert!(report(reporter, proof_of(1, 1)).is_err());
        costs_the_bond(&seats[0], |reporter| report(reporter, proof_of(1, 2)));
    });
}
