use codec::Encode;
use frame_support::{
    assert_ok,
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
        (20, "Attestation"),
        (21, "Workers"),
        (22, "Apps"),
        (23, "Jobs"),
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
