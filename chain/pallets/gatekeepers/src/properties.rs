//! Random sequences of everything that can happen, and what holds after each step.

use crate::{
    enclave::{Enclave, MEASUREMENT, disguise, endpoint},
    mock::*,
    mock::{Attestation, Gatekeepers, Session},
    *,
};
use frame_support::traits::fungible::Inspect;
use phala_attestation::{Family, Generation, Vendor, VendorName};
use phala_primitives::{PHA, gatekeeper::threshold};
use proptest::prelude::*;
use sp_runtime::AccountId32;
use sp_staking::offence::{OffenceDetails, OnOffenceHandler};
use std::collections::BTreeMap;

const OPERATORS: u8 = 8;

/// What can happen. Numbers are taken modulo that of what they choose from.
#[derive(Clone, Debug)]
enum Step {
    Register { operator: u8, index: u8, enclave: u8, bond: u8 },
    Renew { enclave: u8 },
    Replace { operator: u8, index: u8, enclave: u8 },
    BondMore { operator: u8, index: u8, amount: u8 },
    SetKeys { operator: u8, index: u8, number: u8 },
    Rest { operator: u8, index: u8 },
    Stand { operator: u8, index: u8 },
    Leave { operator: u8, index: u8 },
    Withdraw { operator: u8, index: u8 },
    Back { backer: u8, seats: u8, amount: u8 },
    StopBacking { backer: u8 },
    WithdrawBacking { backer: u8 },
    SetSize { desired: u8, minimum: u8 },
    SetCaps { operator: u8, vendor: u8, family: u8 },
    ForceEra,
    Compromise { family: u8 },
    Restore { family: u8 },
    AllowImage { allow: bool },
    Equivocate { authority: u8, reporter: u8 },
    Silence { authority: u8 },
    Shares { enclave: u8 },
    Dealt { missing: u8 },
    Sessions { count: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<u8>;
    prop_oneof![
        12 => (any(), any(), any(), any())
            .prop_map(|(operator, index, enclave, bond)| Step::Register { operator, index, enclave, bond }),
        1 => any().prop_map(|enclave| Step::Renew { enclave }),
        3 => (any(), any(), any()).prop_map(|(operator, index, enclave)| Step::Replace { operator, index, enclave }),
        1 => (any(), any(), any()).prop_map(|(operator, index, amount)| Step::BondMore { operator, index, amount }),
        1 => (any(), any(), any()).prop_map(|(operator, index, number)| Step::SetKeys { operator, index, number }),
        1 => (any(), any()).prop_map(|(operator, index)| Step::Rest { operator, index }),
        2 => (any(), any()).prop_map(|(operator, index)| Step::Stand { operator, index }),
        2 => (any(), any()).prop_map(|(operator, index)| Step::Leave { operator, index }),
        4 => (any(), any()).prop_map(|(operator, index)| Step::Withdraw { operator, index }),
        6 => (any(), any(), any()).prop_map(|(backer, seats, amount)| Step::Back { backer, seats, amount }),
        2 => any().prop_map(|backer| Step::StopBacking { backer }),
        2 => any().prop_map(|backer| Step::WithdrawBacking { backer }),
        1 => (any(), any()).prop_map(|(desired, minimum)| Step::SetSize { desired, minimum }),
        1 => (any(), any(), any()).prop_map(|(operator, vendor, family)| Step::SetCaps { operator, vendor, family }),
        1 => Just(Step::ForceEra),
        1 => any().prop_map(|family| Step::Compromise { family }),
        1 => any().prop_map(|family| Step::Restore { family }),
        1 => prop::bool::weighted(0.8).prop_map(|allow| Step::AllowImage { allow }),
        1 => (any(), any()).prop_map(|(authority, reporter)| Step::Equivocate { authority, reporter }),
        2 => any().prop_map(|authority| Step::Silence { authority }),
        1 => any().prop_map(|enclave| Step::Shares { enclave }),
        2 => any().prop_map(|missing| Step::Dealt { missing }),
        10 => any().prop_map(|count| Step::Sessions { count }),
    ]
}

fn operator(number: u8) -> AccountId32 {
    person(number % OPERATORS)
}

fn index(number: u8) -> u16 {
    u16::from(number % 2)
}

fn seat(operator_: u8, index_: u8) -> AccountId32 {
    Gatekeepers::seat_id(&operator(operator_), index(index_))
}

/// Two enclaves for each of twelve platforms.
fn enclave(number: u8, owner: AccountId32) -> Enclave {
    let number = u32::from(number) % 24;
    let enclave = Enclave::new(number, owner.clone());
    if number < 12 { enclave } else { enclave.moved_to(Enclave::new(number - 12, owner)) }
}

fn hardware(number: u8) -> (Vendor, Family) {
    match number % 6 {
        0 | 1 => (Vendor::Intel, Family::Fmspc([number % 6; 6])),
        2 | 3 => (Vendor::Amd, Family::Generation(Generation::Milan)),
        4 => (Vendor::Amd, Family::Generation(Generation::Turin)),
        _ => (Vendor::Simulated(VendorName::DEVELOPMENT), Family::Simulated(VendorName::DEVELOPMENT)),
    }
}

fn amount(number: u8) -> Balance {
    PHA * Balance::from(number) * 20
}

/// Lets it happen. Most steps are refused at most times: whether a call is refused when it should be is what the unit tests
/// check; here only its effect counts.
fn take(step: Step) {
    match step {
        Step::Register { operator: who, index: which, enclave: number, bond } => {
            let enclave = enclave(number, operator(who));
            let keys = keys(&operator(who), index(which), number.into());
            if enclave.register::<Test>(index(which), amount(bond), keys).is_ok() {
                let (vendor, family) = hardware(number % 24);
                disguise::<Test>(enclave.id(), vendor, family);
            }
        }
        Step::Renew { enclave: number } => {
            let Some(record) = Gatekeepers::record(&enclave(number, person(0)).id()) else { return };
            let enclave = enclave(number, record.operator);
            if enclave.renew::<Test>().is_ok() {
                disguise::<Test>(enclave.id(), record.vendor, record.family);
            }
        }
        Step::Replace { operator: who, index: which, enclave: number } => {
            let enclave = enclave(number, operator(who));
            if enclave.replace::<Test>(index(which)).is_ok() {
                let (vendor, family) = hardware(number % 24);
                disguise::<Test>(enclave.id(), vendor, family);
            }
            let _ = Gatekeepers::set_endpoint(RuntimeOrigin::signed(operator(who)), index(which), endpoint());
        }
        Step::BondMore { operator: who, index: which, amount: more } => {
            let _ = Gatekeepers::bond_more(RuntimeOrigin::signed(operator(who)), index(which), amount(more));
        }
        Step::SetKeys { operator: who, index: which, number } => {
            let (keys, proof) = keys(&operator(who), index(which), number.into());
            let _ = Gatekeepers::set_session_keys(RuntimeOrigin::signed(operator(who)), index(which), keys, proof);
        }
        Step::Rest { operator: who, index: which } => {
            let _ = Gatekeepers::rest(RuntimeOrigin::signed(operator(who)), index(which));
        }
        Step::Stand { operator: who, index: which } => {
            let _ = Gatekeepers::stand(RuntimeOrigin::signed(operator(who)), index(which));
        }
        Step::Leave { operator: who, index: which } => {
            let _ = Gatekeepers::leave(RuntimeOrigin::signed(operator(who)), index(which));
        }
        Step::Withdraw { operator: who, index: which } => {
            let _ = Gatekeepers::withdraw(signed(0), seat(who, which));
        }
        Step::Back { backer, seats, amount: with } => {
            let all: Vec<_> = Seats::<Test>::iter_keys().collect();
            let named = all.into_iter().enumerate().filter(|(at, _)| seats >> (at % 8) & 1 == 1);
            let seats = Choices::truncate_from(named.map(|(_, seat)| seat).collect());
            let _ = Gatekeepers::back(signed(backer % PEOPLE), seats, amount(with));
        }
        Step::StopBacking { backer } => {
            let _ = Gatekeepers::stop_backing(signed(backer % PEOPLE));
        }
        Step::WithdrawBacking { backer } => {
            let _ = Gatekeepers::withdraw_backing(signed(backer % PEOPLE));
        }
        Step::SetSize { desired, minimum } => {
            let size = Size { desired: (desired % 12).into(), minimum: (minimum % 5).into() };
            let _ = Gatekeepers::set_size(RuntimeOrigin::root(), size);
        }
        Step::SetCaps { operator, vendor, family } => {
            let share = |number: u8| Permill::from_percent(u32::from(number) % 101);
            let caps = Caps { operator: share(operator), vendor: share(vendor), family: share(family) };
            Gatekeepers::set_caps(RuntimeOrigin::root(), caps).unwrap();
        }
        Step::ForceEra => Gatekeepers::force_era(RuntimeOrigin::root()).unwrap(),
        Step::Compromise { family } => {
            let _ = Attestation::compromise(RuntimeOrigin::root(), Class::Family(hardware(family).1));
        }
        Step::Restore { family } => {
            let _ = Attestation::restore(RuntimeOrigin::root(), Class::Family(hardware(family).1));
        }
        Step::AllowImage { allow: true } => {
            Attestation::allow_image(RuntimeOrigin::root(), MEASUREMENT, Role::Gatekeeper, 1).unwrap();
        }
        Step::AllowImage { allow: false } => {
            let _ = Attestation::forbid_image(RuntimeOrigin::root(), MEASUREMENT);
        }
        Step::Equivocate { authority, reporter } => {
            let authorities = Session::validators();
            let offender = (authorities[usize::from(authority) % authorities.len()].clone(), ());
            let reporters = vec![person(reporter % PEOPLE)];
            let _ = Gatekeepers::on_offence(&[OffenceDetails { offender, reporters }], &[Perbill::one()], 0);
        }
        Step::Silence { authority } => {
            let authorities = Session::validators();
            let silent = authorities[usize::from(authority) % authorities.len()].clone();
            Silent::set(if authority < 64 { vec![] } else { vec![silent] });
        }
        Step::Shares { enclave: number } => {
            Shareholders::set(if number < 128 { vec![] } else { vec![enclave(number, person(0)).id()] });
        }
        Step::Dealt { missing } => {
            let set = Gatekeepers::current().into_iter().enumerate();
            let missing: Vec<_> = set.filter(|(at, _)| missing >> (at % 8) & 1 == 1).map(|(_, id)| id).collect();
            Gatekeepers::judge_enclaves(&missing);
        }
        Step::Sessions { count } => {
            for _ in 0..=count % 5 {
                let before = Elected::<Test>::get();
                sessions(1);
                if Elected::<Test>::get() != before {
                    set_is_diverse();
                }
            }
        }
    }
}

/// That the set which was just elected violates no cap.
fn set_is_diverse() {
    let set = Elected::<Test>::get();
    let size = set.len() as u32;
    let (caps, wanted) = (DiversityCaps::<Test>::get(), SetSize::<Test>::get());
    assert!((wanted.minimum..=wanted.desired).contains(&size));
    assert!(Gatekeepers::is_safe(&Gatekeepers::current()));
    let (mut operators, mut vendors, mut families) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for member in &set {
        let record = Gatekeepers::record(&member.gatekeeper).unwrap();
        assert!(record.verdict_expires > Attestation::now());
        assert!(!Attestation::any_compromised(record.classes()));
        *operators.entry(record.operator).or_insert(0u32) += 1;
        *vendors.entry(record.vendor).or_insert(0u32) += 1;
        *families.entry(record.family).or_insert(0u32) += 1;
    }
    let most = [
        (operators.into_values().max(), caps.operator),
        (vendors.into_values().max(), caps.vendor),
        (families.into_values().max(), caps.family),
    ];
    for (count, share) in most {
        let count = count.unwrap_or(0);
        assert!(count < threshold(size));
        assert!(count <= share.mul_floor(size).max(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn pha_is_conserved_and_no_set_violates_a_cap(steps in prop::collection::vec(step(), 20..80)) {
        new_chain().execute_with(|| {
            let issued = Balances::total_issuance();
            let everybody = || {
                let people = (0..PEOPLE).map(person).chain(GENESIS).chain([TREASURY]);
                people.map(|account| Balances::total_balance(&account)).sum::<Balance>()
            };
            for number in 0..5 {
                take(Step::Register { operator: number, index: 0, enclave: number, bond: 60 });
            }
            for step in steps {
                take(step);
                check();
                prop_assert_eq!(Balances::total_issuance(), issued);
                prop_assert_eq!(everybody(), issued, "somebody else has PHA");
            }
            // Whoever wants to, gets out, with all that is not slashed.
            Shareholders::set(vec![]);
            take(Step::AllowImage { allow: true });
            for (_, seat) in Seats::<Test>::iter() {
                let _ = Gatekeepers::leave(RuntimeOrigin::signed(seat.operator), seat.index);
            }
            for backer in 0..PEOPLE {
                let _ = Gatekeepers::stop_backing(signed(backer));
            }
            sessions(ERA * UNBONDING);
            for backer in 0..PEOPLE {
                let _ = Gatekeepers::withdraw_backing(signed(backer));
                prop_assert_eq!(Unbackings::<Test>::get(person(backer)), None);
            }
            for seat in Seats::<Test>::iter_keys().collect::<Vec<_>>() {
                let left = Gatekeepers::withdraw(signed(0), seat.clone());
                prop_assert!(left.is_ok() || Gatekeepers::in_set(&seat));
            }
            check();
            prop_assert_eq!(everybody(), issued);
            Ok(())
        })?;
    }
}
