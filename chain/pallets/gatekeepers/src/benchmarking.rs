//! Benchmarks of every call and hook, each where it has most to do: all places are taken, all backers back, the set is full.

use super::*;
use crate::enclave::{Enclave, MEASUREMENT, accept, endpoint, enter_block};
use alloc::vec;
use frame_benchmarking::v2::*;
use frame_support::traits::fungible::Unbalanced;
use frame_system::RawOrigin;
use phala_attestation::{Family, Generation, Measurement, PlatformId, Tier, Vendor};
use sp_staking::offence::{OffenceDetails, OnOffenceHandler};

/// The block in which it happens.
const NOW: u32 = 1_000;

/// When it happens, in seconds since the Unix epoch.
const TIME: u64 = 1_800_000_000;

/// A session in which everything that was given up before is free.
const LATER: SessionIndex = 1_000_000;

fn rich<T: Config>(account: &T::AccountId) {
    let amount = T::MinBond::get().saturating_mul(1_000);
    <T as Config>::Currency::increase_balance(account, amount, Precision::Exact).unwrap();
}

/// An operator's enclave, which is not registered, on a chain that would accept it.
fn unregistered<T: Config>() -> (T::AccountId, Enclave) {
    accept::<T>();
    enter_block::<T>(NOW);
    let operator: T::AccountId = whitelisted_caller();
    rich::<T>(&operator);
    let enclave = Enclave::new(1, operator.clone().into());
    (operator, enclave)
}

/// The same, registered with twice the least bond as the operator's seat 0.
fn registered<T: Config>() -> (T::AccountId, T::AccountId, Enclave) {
    let (operator, enclave) = unregistered::<T>();
    let seat = Pallet::<T>::seat_id(&operator, 0);
    let keys = T::BenchmarkHelper::session_keys(&seat.encode(), 0);
    enclave.register::<T>(0, T::MinBond::get().saturating_mul(2), keys).unwrap();
    (operator, seat, enclave)
}

/// The same with as many earlier enclaves as there may be but one, all of which can be forgotten.
fn replaced<T: Config>() -> (T::AccountId, T::AccountId, Enclave) {
    let (operator, seat, _) = registered::<T>();
    let mut last = None;
    for number in 2..=MAX_PREVIOUS {
        let enclave = Enclave::new(number, operator.clone().into());
        enclave.replace::<T>(0).unwrap();
        last = Some(enclave);
    }
    pallet_session::CurrentIndex::<T>::put(LATER);
    (operator, seat, last.unwrap())
}

/// Makes a seat without going through registration: number `number`, which stands.
fn filler<T: Config>(number: u32) -> T::AccountId {
    let operator: T::AccountId = account("operator", number, 0);
    let seat = Pallet::<T>::seat_id(&operator, 0);
    let bond = T::MinBond::get().saturating_add(Balance::from(number));
    rich::<T>(&operator);
    <T as Config>::Currency::hold(&HoldReason::Bond.into(), &operator, bond).unwrap();
    let gatekeeper = GatekeeperId(sp_io::hashing::blake2_256(&("filler", number).encode()));
    let platform = PlatformId(gatekeeper.0);
    pallet_phala_attestation::Platforms::<T>::insert(platform, Tenant::Gatekeeper(gatekeeper));
    let record = Gatekeeper {
        seat: seat.clone(),
        operator: operator.clone(),
        encryption_key: [0; 32],
        endpoint: endpoint().into_inner(),
        measurement: MEASUREMENT,
        platform,
        family: match number % 4 {
            1 => Family::Generation(Generation::Milan),
            3 => Family::Generation(Generation::Genoa),
            _ => Family::Fmspc([number as u8; 6]),
        },
        vendor: if number.is_multiple_of(2) { Vendor::Intel } else { Vendor::Amd },
        tier: Tier::Full,
        verified_at: 0,
        verdict_expires: u64::MAX,
        outlook: None,
        evidence_hash: [0; 32],
        registered_at: NOW.into(),
    };
    Gatekeepers::<T>::insert(gatekeeper, record);
    let status = SeatStatus::Standing;
    Seats::<T>::insert(&seat, Seat { operator, index: 0, bond, status, gatekeeper, previous: Default::default() });
    seat
}

/// Fills all places but `left`, and the set with the first of them.
fn fill<T: Config>(left: u32) -> Vec<T::AccountId> {
    let mut seats: Vec<_> = (0..T::MaxSeats::get().saturating_sub(left)).map(filler::<T>).collect();
    seats.sort();
    let mut standing = Standing::<T>::get().into_inner();
    standing.extend(seats.clone());
    standing.sort();
    Standing::<T>::put(BoundedVec::truncate_from(standing));
    let mut set: Vec<_> = seats
        .iter()
        .take((MAX_GATEKEEPERS as usize).min(seats.len().saturating_sub(1)))
        .map(|seat| SetMember { seat: seat.clone(), gatekeeper: Seats::<T>::get(seat).unwrap().gatekeeper })
        .collect();
    set.sort();
    Elected::<T>::put(BoundedVec::truncate_from(set));
    Era::<T>::put(1);
    seats
}

/// As many accounts as may back seats, each as many as it may.
fn back_all<T: Config>(seats: &[T::AccountId]) {
    for number in 0..T::MaxBackers::get() {
        let backer: T::AccountId = account("backer", number, 0);
        rich::<T>(&backer);
        let offset = number as usize % seats.len();
        let mut named: Vec<_> = seats.iter().cycle().skip(offset).take(MAX_CHOICES as usize).cloned().collect();
        named.sort();
        named.dedup();
        let amount = T::MinBacking::get().saturating_mul(2).saturating_add(number.into());
        Pallet::<T>::do_back(backer, Choices::<T::AccountId>::truncate_from(named), amount).unwrap();
    }
}

fn status<T: Config>(seat: &T::AccountId) -> SeatStatus {
    Seats::<T>::get(seat).unwrap().status
}

#[benchmarks(where T::AccountId: Into<[u8; 32]>)]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn register() {
        let (operator, enclave) = unregistered::<T>();
        fill::<T>(0);
        let seat = Pallet::<T>::seat_id(&operator, 0);
        let (keys, proof) = T::BenchmarkHelper::session_keys(&seat.encode(), 0);
        let statement = enclave.statement::<T>();
        let evidence = enclave.evidence(&statement);
        let bond = T::MinBond::get().saturating_mul(2);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0, bond, statement, evidence, endpoint(), keys, proof);
        assert_eq!(status::<T>(&seat), SeatStatus::Standing);
    }

    #[benchmark]
    fn renew() {
        let (operator, seat, enclave) = replaced::<T>();
        let statement = enclave.statement::<T>();
        let evidence = enclave.evidence(&statement);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), statement, evidence);
        assert!(Seats::<T>::get(seat).unwrap().previous.is_empty());
    }

    #[benchmark]
    fn replace() {
        let (operator, seat, _) = replaced::<T>();
        let enclave = Enclave::new(60, operator.clone().into());
        let statement = enclave.statement::<T>();
        let evidence = enclave.evidence(&statement);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0, statement, evidence, endpoint());
        assert_eq!(Seats::<T>::get(seat).unwrap().previous.len(), 1);
    }

    #[benchmark]
    fn bond_more() {
        let (operator, seat, _) = registered::<T>();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0, T::MinBond::get());
        assert_eq!(Seats::<T>::get(seat).unwrap().bond, T::MinBond::get() * 3);
    }

    #[benchmark]
    fn set_endpoint() {
        let (operator, _, enclave) = registered::<T>();
        let bound = phala_primitives::worker::MAX_ENDPOINT_BYTES as usize;
        let endpoint: Endpoint = [&b"https://"[..], &vec![b'a'; bound - 8]].concat().try_into().unwrap();
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0, endpoint.clone());
        assert_eq!(Gatekeepers::<T>::get(enclave.id()).unwrap().endpoint, endpoint.into_inner());
    }

    #[benchmark]
    fn set_session_keys() {
        let (operator, seat, _) = registered::<T>();
        fill::<T>(1);
        let (keys, proof) = T::BenchmarkHelper::session_keys(&seat.encode(), 1);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0, keys.clone(), proof);
        assert_eq!(Session::<T>::load_keys(&seat), Some(keys));
    }

    #[benchmark]
    fn rest() {
        let (operator, seat, _) = registered::<T>();
        fill::<T>(1);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0);
        assert_eq!(status::<T>(&seat), SeatStatus::Resting);
    }

    #[benchmark]
    fn stand() {
        let (operator, seat, _) = registered::<T>();
        Pallet::<T>::rest(RawOrigin::Signed(operator.clone()).into(), 0).unwrap();
        fill::<T>(0);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0);
        assert_eq!(status::<T>(&seat), SeatStatus::Standing);
    }

    #[benchmark]
    fn leave() {
        let (operator, seat, _) = registered::<T>();
        fill::<T>(1);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), 0);
        assert!(matches!(status::<T>(&seat), SeatStatus::Leaving(_)));
    }

    #[benchmark]
    fn withdraw() {
        let (operator, seat, _) = replaced::<T>();
        pallet_session::CurrentIndex::<T>::put(0);
        Pallet::<T>::leave(RawOrigin::Signed(operator.clone()).into(), 0).unwrap();
        pallet_session::CurrentIndex::<T>::put(LATER);
        fill::<T>(0);
        #[extrinsic_call]
        _(RawOrigin::Signed(operator), seat.clone());
        assert!(!Seats::<T>::contains_key(seat));
    }

    #[benchmark]
    fn back() {
        let seats = fill::<T>(0);
        back_all::<T>(&seats);
        let backer: T::AccountId = whitelisted_caller();
        rich::<T>(&backer);
        let named: Vec<_> = seats.into_iter().rev().take(MAX_CHOICES as usize).collect();
        let amount = T::MinBacking::get().saturating_mul(3);
        let lowest: T::AccountId = account("backer", 0, 0);
        #[extrinsic_call]
        _(RawOrigin::Signed(backer.clone()), Choices::<T::AccountId>::truncate_from(named), amount);
        assert!(Backers::<T>::contains_key(backer) && !Backers::<T>::contains_key(lowest));
    }

    #[benchmark]
    fn stop_backing() {
        let seats = fill::<T>(0);
        back_all::<T>(&seats);
        let backer: T::AccountId = account("backer", T::MaxBackers::get() / 2, 0);
        #[extrinsic_call]
        _(RawOrigin::Signed(backer.clone()));
        assert!(!Backers::<T>::contains_key(backer));
    }

    #[benchmark]
    fn withdraw_backing() {
        let seats = fill::<T>(0);
        let backer: T::AccountId = whitelisted_caller();
        rich::<T>(&backer);
        let named = Choices::<T::AccountId>::truncate_from(seats.into_iter().take(1).collect());
        Pallet::<T>::do_back(backer.clone(), named, T::MinBacking::get()).unwrap();
        Pallet::<T>::do_stop_backing(&backer);
        pallet_session::CurrentIndex::<T>::put(LATER);
        #[extrinsic_call]
        _(RawOrigin::Signed(backer.clone()));
        assert!(!Unbackings::<T>::contains_key(backer));
    }

    #[benchmark]
    fn set_caps() {
        #[extrinsic_call]
        _(RawOrigin::Root, DEFAULT_CAPS);
        assert_eq!(DiversityCaps::<T>::get(), DEFAULT_CAPS);
    }

    #[benchmark]
    fn set_size() {
        let size = Size { desired: MAX_GATEKEEPERS, minimum: 7 };
        #[extrinsic_call]
        _(RawOrigin::Root, size);
        assert_eq!(SetSize::<T>::get(), size);
    }

    #[benchmark]
    fn force_era() {
        #[extrinsic_call]
        _(RawOrigin::Root);
        assert!(Forced::<T>::get());
    }

    /// An equivocation of one seat.
    #[benchmark]
    fn on_offence() {
        let (_, seat, _) = registered::<T>();
        let seats = fill::<T>(1);
        let reporter: T::AccountId = account("reporter", 0, 0);
        rich::<T>(&reporter);
        pallet_session::Validators::<T>::put(seats.into_iter().take(63).chain([seat.clone()]).collect::<Vec<_>>());
        rich::<T>(&T::Treasury::get());
        let details = OffenceDetails { offender: (seat.clone(), ()), reporters: vec![reporter] };
        #[block]
        {
            Pallet::<T>::on_offence(&[details], &[Perbill::one()], 0);
        }
        assert_eq!(Seats::<T>::get(seat).unwrap().bond, 0);
    }

    /// What a class that is declared broken costs beside what it costs others.
    #[benchmark]
    fn on_compromise() {
        fill::<T>(0);
        let last = Elected::<T>::get().last().unwrap().gatekeeper;
        let class = Class::Image(Measurement([0xcc; 32]));
        Gatekeepers::<T>::mutate_extant(last, |record| record.measurement = Measurement([0xcc; 32]));
        #[block]
        {
            Pallet::<T>::on_compromise(class).unwrap();
        }
        assert!(Forced::<T>::get());
    }

    /// An election with all places taken and all backers.
    #[benchmark]
    fn elections() {
        accept::<T>();
        let seats = fill::<T>(0);
        back_all::<T>(&seats);
        let (keys, _) = T::BenchmarkHelper::session_keys(&[], 0);
        for seat in seats {
            pallet_session::NextKeys::<T>::insert(seat, keys.clone());
        }
        SetSize::<T>::put(Size { desired: MAX_GATEKEEPERS, minimum: 2 });
        DiversityCaps::<T>::put(DEFAULT_CAPS);
        Forced::<T>::put(true);
        #[block]
        {
            Pallet::<T>::prune_history();
            Pallet::<T>::do_elections();
        }
        assert_eq!(Era::<T>::get(), 2);
    }

    /// The end of a session in which nobody of the set made a block, and nobody has for long.
    #[benchmark]
    fn judge_authors() {
        fill::<T>(0);
        rich::<T>(&T::Treasury::get());
        let set: Vec<_> = Elected::<T>::get().into_iter().map(|member| member.seat).collect();
        for seat in &set {
            Silences::<T>::insert(seat, Silence { since: 0, missed: u64::MAX });
        }
        pallet_session::Validators::<T>::put(set.clone());
        T::BenchmarkHelper::set_now(TIME);
        #[block]
        {
            Pallet::<T>::judge_authors();
        }
        let last = set.last().unwrap();
        assert_eq!(status::<T>(last), SeatStatus::Resting);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}
