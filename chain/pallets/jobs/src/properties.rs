//! Random sequences of everything that can happen, and what holds after each step.

use crate::{
    mock::*,
    mock::{Attestation, Jobs, Test, Workers},
    *,
};
use frame_support::traits::fungible::{Inspect, hold::Inspect as _};
use pallet_phala_workers::enclave::{Enclave, MEASUREMENT, endpoint};
use phala_attestation::Role;
use phala_primitives::{PHA, Receipt};
use proptest::prelude::*;
use sp_runtime::AccountId32;
use std::collections::BTreeMap;

const ENCLAVES: u32 = 4;

const PEOPLE: [AccountId32; 6] = [ALICE, BOB, POOR, OPERATOR, OTHER_OPERATOR, TREASURY];

/// What can happen. Indices are taken modulo the number of what they choose from.
#[derive(Clone, Debug)]
enum Step {
    Register { enclave: u8, price: u8 },
    Renew { enclave: u8, capacity: u8 },
    Heartbeat { enclave: u8 },
    SetPrice { enclave: u8, price: u8 },
    SetEndpoint { enclave: u8 },
    Drain { enclave: u8 },
    Resume { enclave: u8 },
    Deregister { enclave: u8 },
    AllowImage,
    ForbidImage,
    SetVerdictLifetime { seconds: u8 },
    Publish { app: u8 },
    Unpublish { app: u8 },
    Submit { owner: u8, app: u8, fuel: u8, max_price: u8, wall: u8, deadline: u8 },
    Cancel { owner: u8, job: u8 },
    Receipt { enclave: u8, job: u8, fuel: u8, fault: u8 },
    HonestReceipts,
    Blocks { count: u8, alive: bool, luck: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<u8>;
    prop_oneof![
        3 => (any(), any()).prop_map(|(enclave, price)| Step::Register { enclave, price }),
        1 => (any(), any()).prop_map(|(enclave, capacity)| Step::Renew { enclave, capacity }),
        1 => any().prop_map(|enclave| Step::Heartbeat { enclave }),
        1 => (any(), any()).prop_map(|(enclave, price)| Step::SetPrice { enclave, price }),
        1 => any().prop_map(|enclave| Step::SetEndpoint { enclave }),
        1 => any().prop_map(|enclave| Step::Drain { enclave }),
        1 => any().prop_map(|enclave| Step::Resume { enclave }),
        1 => any().prop_map(|enclave| Step::Deregister { enclave }),
        3 => Just(Step::AllowImage),
        1 => Just(Step::ForbidImage),
        1 => any().prop_map(|seconds| Step::SetVerdictLifetime { seconds }),
        3 => any().prop_map(|app| Step::Publish { app }),
        2 => any().prop_map(|app| Step::Unpublish { app }),
        16 => (any(), any(), any(), any(), any(), any()).prop_map(|(owner, app, fuel, max_price, wall, deadline)| {
            Step::Submit { owner, app, fuel, max_price, wall, deadline }
        }),
        2 => (any(), any()).prop_map(|(owner, job)| Step::Cancel { owner, job }),
        3 => (any(), any(), any(), any())
            .prop_map(|(enclave, job, fuel, fault)| Step::Receipt { enclave, job, fuel, fault }),
        4 => Just(Step::HonestReceipts),
        6 => (any(), prop::bool::weighted(0.8), any()).prop_map(|(count, alive, luck)| Step::Blocks { count, alive, luck }),
    ]
}

/// The last runs on the first one's platform.
fn enclave(number: u8) -> Enclave {
    let number = u32::from(number) % ENCLAVES;
    let enclave = Enclave::new(number, if number.is_multiple_of(2) { OPERATOR } else { OTHER_OPERATOR });
    if number == ENCLAVES - 1 { enclave.moved_to(Enclave::new(0, OPERATOR)) } else { enclave }
}

fn operator(enclave: &Enclave) -> RuntimeOrigin {
    RuntimeOrigin::signed(enclave.operator.into())
}

/// Alice and Bob are rich, Poor is not.
fn person(number: u8) -> AccountId32 {
    [ALICE, BOB, POOR][usize::from(number) % 3].clone()
}

/// One in four is private.
fn visibility(app: u8) -> Visibility {
    if app.is_multiple_of(4) { Visibility::Private } else { Visibility::Public }
}

fn app(number: u8) -> AppId {
    app_id(person(number), visibility(number))
}

/// A price between a 256th of a PHA and one.
fn price(number: u8) -> Balance {
    PHA * (Balance::from(number) + 1) / 256
}

/// Lets it happen. Most steps are refused at most times: whether a call is refused when it should be is what the unit tests
/// check; here only its effect counts.
fn take(step: Step) {
    match step {
        Step::Register { enclave: number, price: ask } => {
            let _ = enclave(number).register::<Test>(price(ask));
        }
        Step::Renew { enclave: number, capacity } => {
            let mut enclave = enclave(number);
            enclave.performance.capacity = 1 + u32::from(capacity) % 8;
            let statement = enclave.statement::<Test>();
            let evidence = enclave.evidence(&statement);
            let report = enclave.sign_report(enclave.report::<Test>());
            let _ = Workers::renew(operator(&enclave), statement, evidence, report);
        }
        Step::Heartbeat { enclave: number } => heartbeat(&enclave(number)),
        Step::SetPrice { enclave: number, price: ask } => {
            let enclave = enclave(number);
            let _ = Workers::set_price(operator(&enclave), enclave.id(), price(ask));
        }
        Step::SetEndpoint { enclave: number } => {
            let _ = Workers::set_endpoint(operator(&enclave(number)), enclave(number).id(), endpoint());
        }
        Step::Drain { enclave: number } => {
            let _ = Workers::drain(operator(&enclave(number)), enclave(number).id());
        }
        Step::Resume { enclave: number } => {
            let _ = Workers::resume(operator(&enclave(number)), enclave(number).id());
        }
        Step::Deregister { enclave: number } => {
            let _ = Workers::deregister(operator(&enclave(number)), enclave(number).id());
        }
        Step::AllowImage => Attestation::allow_image(RuntimeOrigin::root(), MEASUREMENT, Role::Worker, 1).unwrap(),
        Step::ForbidImage => {
            let _ = Attestation::forbid_image(RuntimeOrigin::root(), MEASUREMENT);
        }
        Step::SetVerdictLifetime { seconds } => {
            Attestation::set_verdict_lifetime(RuntimeOrigin::root(), 1 + u64::from(seconds)).unwrap();
        }
        Step::Publish { app } => {
            let origin = RuntimeOrigin::signed(person(app));
            let _ = mock::Apps::publish(origin, CODE, CODE_BYTES, MANIFEST, visibility(app));
        }
        Step::Unpublish { app: number } => {
            let _ = mock::Apps::unpublish(RuntimeOrigin::signed(person(number)), app(number));
        }
        Step::Submit { owner, app: number, fuel, max_price, wall, deadline } => {
            let origin = RuntimeOrigin::signed(person(owner));
            let limits =
                Limits { fuel: u64::from(fuel) * 10_000_000, wall_ms: u64::from(wall) * 250, ..Limits::DEFAULT };
            let deadline = System::block_number() + u32::from(deadline);
            let _ = Jobs::submit(origin, app(number), limits, 4 * price(max_price), deadline, 1, [0; 32]);
        }
        Step::Cancel { owner, job } => {
            let _ = Jobs::cancel(RuntimeOrigin::signed(person(owner)), some_job(job));
        }
        Step::Receipt { enclave: number, job, fuel, fault } => {
            let id = some_job(job);
            let Some(record) = crate::Jobs::<Test>::get(id) else { return };
            let enclave = enclave(number);
            let mut receipt = receipt(&enclave, id);
            receipt.fuel = record.limits.fuel / 128 * u64::from(fuel);
            match fault {
                0..16 => receipt.attempt += 1,
                16..32 => receipt.code_hash[0] ^= 1,
                32..48 => receipt.block_hash[0] ^= 1,
                _ => (),
            }
            let mut signed = sign(&enclave, receipt);
            if (48..64).contains(&fault) {
                signed.signature[0] ^= 1;
            }
            let _ = Jobs::submit_receipt(RuntimeOrigin::signed(BOB), signed.into());
        }
        Step::HonestReceipts => {
            for enclave in (0..ENCLAVES).map(|number| enclave(number as u8)) {
                for id in Assigned::<Test>::iter_key_prefix(enclave.id()).collect::<Vec<_>>() {
                    let receipt = Receipt { fuel: job(id).limits.fuel / 3, ..receipt(&enclave, id) };
                    let _ = Jobs::submit_receipt(RuntimeOrigin::signed(BOB), sign(&enclave, receipt).into());
                }
            }
        }
        Step::Blocks { count, alive, luck } => {
            Luck::set((luck > 60).then_some(luck));
            for _ in 0..=count % 24 {
                next_block_by_lots();
                if alive && System::block_number().is_multiple_of(5) {
                    (0..ENCLAVES).for_each(|number| heartbeat(&enclave(number as u8)));
                }
            }
        }
    }
}

/// Since which block each queued job waits for lots.
fn queued() -> BTreeMap<JobId, u32> {
    let entries = Queue::<Test>::iter_values().chain(Waiting::<Test>::iter_values());
    entries.filter(|entry| Jobs::queued(entry.job).is_some()).map(|entry| (entry.job, entry.since)).collect()
}

/// Enters the next block, and checks that jobs for which there are no lots get no worker and keep their place.
fn next_block_by_lots() {
    let before = queued();
    next_block();
    let after = queued();
    for (id, since) in before {
        let has_lots = <Test as Config>::Lots::after(since).is_some();
        assert!(has_lots || assignment(id).is_none(), "job {id} was drawn by what was known");
        let unchanged = after.get(&id).is_none_or(|now| *now == since);
        assert!(has_lots || unchanged, "job {id} lost its place");
    }
}

fn heartbeat(enclave: &Enclave) {
    let signed = enclave.sign_heartbeat(enclave.heartbeat::<Test>());
    let _ = Workers::heartbeat(RuntimeOrigin::signed(BOB), signed);
}

fn some_job(number: u8) -> JobId {
    JobId::from(number) % NextJob::<Test>::get().max(1)
}

/// Who gained and lost how much.
type Moves = Vec<(AccountId32, i128)>;

/// What the chain's records say that everybody must have: what they had, less and plus what place fees and settlements
/// moved, of which deposits and live jobs hold a part.
struct Ledger {
    start: BTreeMap<AccountId32, Balance>,
    placed: BTreeMap<JobId, Moves>,
    settled: BTreeMap<JobId, Moves>,
}

impl Ledger {
    fn new() -> Self {
        let start = PEOPLE.map(|person| (person.clone(), Balances::total_balance(&person)));
        Self { start: start.into(), placed: BTreeMap::new(), settled: BTreeMap::new() }
    }

    /// Notes new jobs and settlements, which stay valid when their jobs are forgotten.
    fn note(&mut self) {
        for (id, job) in crate::Jobs::<Test>::iter() {
            let place_fee = (PLACE_FEE * Balance::from(job.deadline - job.submitted_at)) as i128;
            self.placed.insert(id, vec![(job.owner.clone(), -place_fee), (TREASURY, place_fee)]);
            if let JobStatus::Settled(settlement) = job.status {
                assert_eq!(settlement.paid + settlement.treasury + settlement.refund, job.max_price);
                assert!(settlement.treasury <= (settlement.paid + settlement.treasury) / 10);
                let (paid, treasury) = (settlement.paid as i128, settlement.treasury as i128);
                let moves = vec![(job.owner, -(paid + treasury)), (settlement.operator, paid), (TREASURY, treasury)];
                let earlier = self.settled.insert(id, moves.clone());
                assert!(earlier.is_none_or(|earlier| earlier == moves), "a job was settled twice");
            }
        }
    }

    fn check(&mut self, issued: Balance) {
        self.note();
        let mut expected: BTreeMap<_, i128> =
            self.start.iter().map(|(person, total)| (person.clone(), *total as i128)).collect();
        for (person, change) in self.placed.values().chain(self.settled.values()).flatten() {
            *expected.get_mut(person).unwrap() += change;
        }
        let mut escrow = BTreeMap::<AccountId32, Balance>::new();
        for job in crate::Jobs::<Test>::iter_values() {
            if matches!(job.status, JobStatus::Queued | JobStatus::Assigned(_)) {
                *escrow.entry(job.owner).or_default() += job.max_price;
            }
        }
        let mut deposits = BTreeMap::<AccountId32, Balance>::new();
        for app in pallet_phala_apps::Apps::<Test>::iter_values() {
            *deposits.entry(app.publisher).or_default() += DEPOSIT;
        }
        for person in PEOPLE {
            let on_hold = |reason: RuntimeHoldReason| Balances::balance_on_hold(&reason, &person);
            let (for_jobs, for_apps) =
                (on_hold(HoldReason::Job.into()), on_hold(pallet_phala_apps::HoldReason::App.into()));
            assert_eq!(for_jobs, escrow.get(&person).copied().unwrap_or(0), "escrow of {person}");
            assert_eq!(for_apps, deposits.get(&person).copied().unwrap_or(0), "deposits of {person}");
            assert_eq!(Balances::total_balance(&person) as i128, expected[&person], "{person} gained or lost");
        }
        let everybody: Balance = PEOPLE.iter().map(Balances::total_balance).sum();
        assert_eq!(everybody, issued, "somebody else has PHA");
        assert_eq!(Balances::total_issuance(), issued, "PHA appeared or vanished");
        check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_pha_appears_or_vanishes_and_every_job_ends(steps in prop::collection::vec(step(), 20..80)) {
        new_chain().execute_with(|| {
            Luck::set(Some(0));
            let issued = Balances::total_issuance();
            let mut ledger = Ledger::new();
            (0..2).for_each(|number| take(Step::Register { enclave: number, price: 50 }));
            take(Step::Publish { app: 3 });
            for step in steps {
                take(step);
                ledger.check(issued);
            }
            // Left alone, every job ends, is forgotten, and its escrow is gone.
            for _ in 0..300 + RETENTION + NextJob::<Test>::get() as u32 {
                next_block();
                ledger.note();
            }
            ledger.check(issued);
            prop_assert_eq!(crate::Jobs::<Test>::iter().count(), 0);
            prop_assert_eq!(Wakes::<Test>::iter().count(), 0);
            prop_assert_eq!(Forgets::<Test>::iter().count(), 0);
            for person in PEOPLE {
                prop_assert_eq!(Balances::balance_on_hold(&HoldReason::Job.into(), &person), 0);
            }
            Ok(())
        })?;
    }
}
