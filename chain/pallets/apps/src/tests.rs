use crate::{
    mock::*,
    mock::{Apps, Test},
    *,
};
use frame_support::{assert_noop, assert_ok, traits::fungible::hold::Inspect};
use sp_runtime::{AccountId32, TokenError};

type Refused = Error<Test>;

const CODE: Hash = [1; 32];
const CODE_BYTES: u32 = 1000;
const MANIFEST: Hash = [2; 32];

fn signed(account: AccountId32) -> RuntimeOrigin {
    RuntimeOrigin::signed(account)
}

fn publish(publisher: AccountId32) -> DispatchResult {
    Apps::publish(signed(publisher), CODE, CODE_BYTES, MANIFEST, Visibility::Public)
}

fn id(publisher: AccountId32) -> AppId {
    AppId::new(&publisher.into(), &CODE, CODE_BYTES, &MANIFEST, Visibility::Public)
}

fn held(account: &AccountId32) -> Balance {
    Balances::balance_on_hold(&HoldReason::App.into(), account)
}

#[test]
fn an_app_is_stored_under_its_id_and_a_deposit_held() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        let app = id(ALICE);
        System::assert_last_event(Event::Published { app, publisher: ALICE }.into());
        let expected = App::<Test> {
            publisher: ALICE,
            code_hash: CODE,
            code_bytes: CODE_BYTES,
            manifest_hash: MANIFEST,
            visibility: Visibility::Public,
            retired: false,
        };
        assert_eq!(crate::Apps::<Test>::get(app), Some(expected));
        assert_eq!(held(&ALICE), DEPOSIT);
    });
}

#[test]
fn the_same_app_is_published_once_by_each() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        assert_noop!(publish(ALICE), Refused::AlreadyPublished);
        assert_ok!(publish(BOB));
        assert_ne!(id(ALICE), id(BOB));
    });
}

#[test]
fn what_differs_in_anything_is_another_app() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        assert_ok!(Apps::publish(signed(ALICE), CODE, CODE_BYTES, MANIFEST, Visibility::Private));
        assert_ok!(Apps::publish(signed(ALICE), CODE, CODE_BYTES + 1, MANIFEST, Visibility::Public));
        assert_eq!(crate::Apps::<Test>::iter().count(), 3);
    });
}

#[test]
fn a_program_has_a_size_within_bounds() {
    with_chain(|| {
        let publish = |bytes| Apps::publish(signed(ALICE), CODE, bytes, MANIFEST, Visibility::Private);
        for bytes in [0, MAX_CODE_BYTES + 1, u32::MAX] {
            assert_noop!(publish(bytes), Refused::CodeSizeOutOfRange);
        }
        assert_ok!(publish(MAX_CODE_BYTES));
    });
}

#[test]
fn who_cannot_pay_the_deposit_is_refused() {
    with_chain(|| {
        assert_noop!(publish(POOR), TokenError::FundsUnavailable);
    });
}

#[test]
fn unpublishing_returns_the_deposit() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        assert_ok!(Apps::unpublish(signed(ALICE), id(ALICE)));
        System::assert_last_event(Event::Unpublished { app: id(ALICE) }.into());
        assert_eq!(held(&ALICE), 0);
        assert_eq!(Balances::free_balance(ALICE), 10 * phala_primitives::PHA);
        assert_noop!(Apps::unpublish(signed(ALICE), id(ALICE)), Refused::UnknownApp);
        assert_ok!(publish(ALICE));
    });
}

#[test]
fn only_its_publisher_unpublishes_an_app() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        assert_noop!(Apps::unpublish(signed(BOB), id(ALICE)), Refused::NotPublisher);
    });
}

#[test]
fn an_app_whose_jobs_have_ended_stays_until_it_is_unpublished() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        Apps::acquire(&id(ALICE));
        Apps::release(&id(ALICE));
        assert!(!Uses::<Test>::contains_key(id(ALICE)));
        assert_eq!(held(&ALICE), DEPOSIT);
        assert_ok!(Apps::unpublish(signed(ALICE), id(ALICE)));
        assert_eq!(held(&ALICE), 0);
    });
}

#[test]
fn an_app_in_use_is_retired_and_goes_with_its_last_job() {
    with_chain(|| {
        assert_ok!(publish(ALICE));
        let app = id(ALICE);
        Apps::acquire(&app);
        Apps::acquire(&app);
        assert_ok!(Apps::unpublish(signed(ALICE), app));
        System::assert_last_event(Event::Retired { app }.into());
        assert!(crate::Apps::<Test>::get(app).unwrap().retired);
        assert_noop!(Apps::unpublish(signed(ALICE), app), Refused::AlreadyRetired);
        assert_noop!(publish(ALICE), Refused::AlreadyPublished);
        Apps::release(&app);
        assert_eq!(held(&ALICE), DEPOSIT);
        Apps::do_try_state().unwrap();
        Apps::release(&app);
        System::assert_last_event(Event::Unpublished { app }.into());
        assert_eq!((crate::Apps::<Test>::get(app), held(&ALICE)), (None, 0));
        assert_ok!(publish(ALICE));
    });
}
