//! Benchmarks of every call, its authorization and the hook's parts, each with as many gatekeepers as there may be and where there
//! is most to do.

use super::*;
use crate::gatekeeper::{Gatekeeper, content, output};
use frame_benchmarking::v2::*;
use phala_primitives::gatekeeper::MAX_GATEKEEPERS;

/// The block in which it happens.
const NOW: u32 = 1_000_000;

const ROOT: NetworkKey = NetworkKey::Root;
const PUBLIC_KEY: PublicKey = PublicKey([7; 96]);

/// The longest log.
const LOG: u32 = sizes::log(MAX_GATEKEEPERS);

/// A chain at block [`NOW`] with as many gatekeepers as there may be.
fn gatekeepers<T: Config>() -> Vec<Gatekeeper> {
    frame_system::Pallet::<T>::set_block_number(NOW.into());
    let all = Gatekeeper::all(MAX_GATEKEEPERS);
    T::Gatekeepers::register(&ids(&all));
    all
}

fn ids(all: &[Gatekeeper]) -> Vec<GatekeeperId> {
    all.iter().map(Gatekeeper::id).collect()
}

/// Shares a key among them as of long ago.
fn share<T: Config>(key: NetworkKey, all: &[Gatekeeper]) -> CeremonyId {
    let id = NextCeremony::<T>::mutate(|next| {
        *next += 1;
        *next - 1
    });
    let (dealers, players) = (ids(all), ids(all));
    let sharing = Sharing::<T> {
        ceremony: id,
        public_key: PUBLIC_KEY,
        players: players.clone(),
        output: alloc::vec![9; sizes::output(MAX_GATEKEEPERS, MAX_GATEKEEPERS) as usize],
        since: Zero::zero(),
    };
    let (phase, phase_ends) = (Phase::Confirm, Zero::zero());
    let ceremony = Ceremony::<T> { key, attempt: 1, previous: None, dealers, players, phase, phase_ends };
    Ceremonies::<T>::insert(id, ceremony);
    Sharings::<T>::insert(key, sharing);
    id
}

/// Root key and epoch 0's, shared.
fn keys<T: Config>(all: &[Gatekeeper]) {
    share::<T>(ROOT, all);
    share::<T>(NetworkKey::Epoch(0), all);
    CurrentEpoch::<T>::put(0);
    Epochs::<T>::insert(0, Epoch { started: Zero::zero(), ends: None });
}

/// Brings the running ceremony of a key to a phase in which all but `missing` of them have posted.
fn run<T: Config>(key: NetworkKey, all: &[Gatekeeper], phase: Phase, missing: usize) -> CeremonyId {
    let id = Pallet::<T>::running(key).unwrap();
    for earlier in [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm] {
        let here = Ceremonies::<T>::get(id).unwrap().phase;
        assert_eq!(here, earlier);
        let content = content::<T>(id, PUBLIC_KEY).unwrap();
        let missing = if here == phase { missing } else { 0 };
        for gatekeeper in &all[missing..] {
            Pallet::<T>::do_post(gatekeeper.post::<T>(id, content.clone()).post).unwrap();
        }
        if here == phase {
            break;
        }
        Pallet::<T>::advance(id, NOW.into());
    }
    assert_eq!(Ceremonies::<T>::get(id).unwrap().phase, phase);
    id
}

/// The last player's post of `bytes`, in a ceremony in which all others have posted theirs.
fn last_log<T: Config>(bytes: u32) -> SignedPost {
    let all = gatekeepers::<T>();
    Pallet::<T>::on_elected(0, ids(&all));
    let id = run::<T>(ROOT, &all, Phase::Log, 1);
    all[0].post::<T>(id, Content::Log(alloc::vec![1; bytes as usize]))
}

#[benchmarks]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn authorize_post(b: Linear<0, LOG>) -> Result<(), BenchmarkError> {
        let signed = last_log::<T>(b);
        #[block]
        {
            // What is asked of players on top.
            assert!(T::Gatekeepers::is_registered(&signed.post.gatekeeper));
            Pallet::<T>::authorize_post(&signed).unwrap();
        }
        Ok(())
    }

    #[benchmark]
    fn post(b: Linear<0, LOG>) -> Result<(), BenchmarkError> {
        let signed = last_log::<T>(b);
        let id = signed.post.ceremony;
        #[block]
        {
            assert!(T::Gatekeepers::is_registered(&signed.post.gatekeeper));
            Pallet::<T>::do_post(signed.post).unwrap();
        }
        assert_eq!(Logs::<T>::iter_key_prefix(id).count(), MAX_GATEKEEPERS as usize);
        Ok(())
    }

    #[benchmark]
    fn post_confirmation() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        let id = run::<T>(ROOT, &all, Phase::Confirm, 1);
        let signed = all[0].post::<T>(id, content::<T>(id, PUBLIC_KEY).unwrap());
        #[block]
        {
            Pallet::<T>::do_post(signed.post).unwrap();
        }
        assert!(Progresses::<T>::get(id).unwrap().agreed.is_some());
        Ok(())
    }

    /// The next epoch begins while the shares of the current one's key are dealt anew.
    #[benchmark]
    fn post_output() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        Pallet::<T>::do_report_lost_share(all[0].lost_share::<T>(NetworkKey::Epoch(0), 1).request).unwrap();
        let id = run::<T>(NetworkKey::Epoch(1), &all, Phase::Confirm, 0);
        // The longest that there may be.
        let longest = alloc::vec![9; sizes::output(MAX_GATEKEEPERS, MAX_GATEKEEPERS) as usize];
        let output_hash = sp_io::hashing::sha2_256(&longest);
        assert_ne!(longest, output(id));
        Progresses::<T>::mutate_extant(id, |progress| {
            progress.agreed = Some(Confirmation { public_key: PUBLIC_KEY, output_hash });
        });
        let signed = all[0].post::<T>(id, Content::Output(longest));
        #[block]
        {
            Pallet::<T>::do_post(signed.post).unwrap();
        }
        assert_eq!(CurrentEpoch::<T>::get(), Some(1));
        Ok(())
    }

    #[benchmark]
    fn authorize_beacon() -> Result<(), BenchmarkError> {
        let beacon = beacon::<T>();
        #[block]
        {
            Pallet::<T>::authorize_beacon(&beacon).unwrap();
        }
        Ok(())
    }

    #[benchmark]
    fn submit_beacon() -> Result<(), BenchmarkError> {
        let beacon = beacon::<T>();
        #[block]
        {
            Pallet::<T>::do_submit_beacon(beacon.brought).unwrap();
        }
        assert!(!Stalled::<T>::get());
        Ok(())
    }

    #[benchmark]
    fn authorize_lost_share() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        let signed = all[0].lost_share::<T>(ROOT, 0);
        #[block]
        {
            Pallet::<T>::authorize_lost_share(&signed).unwrap();
        }
        Ok(())
    }

    #[benchmark]
    fn report_lost_share() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        let signed = all[0].lost_share::<T>(NetworkKey::Epoch(0), 1);
        #[block]
        {
            Pallet::<T>::do_report_lost_share(signed.request).unwrap();
        }
        assert!(Pallet::<T>::running(NetworkKey::Epoch(0)).is_some());
        Ok(())
    }

    #[benchmark]
    fn authorize_releases() -> Result<(), BenchmarkError> {
        let signed = gatekeepers::<T>()[0].releases::<T>(0, 1);
        #[block]
        {
            Pallet::<T>::authorize_releases(&signed).unwrap();
        }
        Ok(())
    }

    #[benchmark]
    fn log_releases() -> Result<(), BenchmarkError> {
        let signed = gatekeepers::<T>()[0].releases::<T>(0, 1);
        #[block]
        {
            Pallet::<T>::do_log_releases(signed.releases).unwrap();
        }
        assert_eq!(ReleaseLogs::<T>::iter().count(), 1);
        Ok(())
    }

    #[benchmark]
    fn on_elected() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        let elected = ids(&all);
        #[block]
        {
            Pallet::<T>::on_elected(1, elected);
        }
        assert_eq!(Running::<T>::get().into_inner(), [4, 5]);
        Ok(())
    }

    /// A running ceremony that waits.
    #[benchmark]
    fn wait() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        let id = Pallet::<T>::running(ROOT).unwrap();
        #[block]
        {
            Pallet::<T>::advance(id, NOW.into());
        }
        assert_eq!(Pallet::<T>::running(ROOT), Some(id));
        Ok(())
    }

    /// Everybody has enrolled.
    #[benchmark]
    fn advance() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        Pallet::<T>::on_elected(0, ids(&all));
        let id = run::<T>(ROOT, &all, Phase::Enrol, 0);
        #[block]
        {
            Pallet::<T>::advance(id, NOW.into());
        }
        assert_eq!(Ceremonies::<T>::get(id).unwrap().phase, Phase::Deal);
        Ok(())
    }

    /// Half of the players did not answer.
    #[benchmark]
    fn retry() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Pallet::<T>::on_elected(0, ids(&all));
        let id = run::<T>(ROOT, &all, Phase::Answer, MAX_GATEKEEPERS as usize / 2);
        let ceremony = Ceremonies::<T>::get(id).unwrap();
        let silent = ids(&all)[..MAX_GATEKEEPERS as usize / 2].to_vec();
        #[block]
        {
            Pallet::<T>::retry(id, ceremony, silent);
        }
        assert!(Pallet::<T>::running(ROOT).unwrap() > id);
        Ok(())
    }

    /// Removes the largest posts that there are.
    #[benchmark]
    fn remove(n: Linear<0, { MAX_GATEKEEPERS }>) -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        Pallet::<T>::on_elected(0, ids(&all));
        let id = run::<T>(ROOT, &all, Phase::Deal, (MAX_GATEKEEPERS - n) as usize);
        let _ = Enrolments::<T>::clear_prefix(id, u32::MAX, None);
        Pallet::<T>::abandon(ROOT);
        #[block]
        {
            Pallet::<T>::do_remove(n + 1);
        }
        assert_eq!(Dealings::<T>::iter_key_prefix(id).count(), 0);
        Ok(())
    }

    #[benchmark]
    fn end_no_epoch() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        #[block]
        {
            Pallet::<T>::do_end_epoch(NOW.into());
        }
        assert!(Epochs::<T>::contains_key(0));
        Ok(())
    }

    #[benchmark]
    fn end_epoch() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        Epochs::<T>::insert(0, Epoch { started: Zero::zero(), ends: Some(Zero::zero()) });
        #[block]
        {
            Pallet::<T>::do_end_epoch(NOW.into());
        }
        assert!(OldestEpoch::<T>::get() == 1);
        Ok(())
    }

    #[benchmark]
    fn watch_beacon() -> Result<(), BenchmarkError> {
        let all = gatekeepers::<T>();
        keys::<T>(&all);
        #[block]
        {
            Pallet::<T>::do_watch_beacon(NOW.into());
        }
        assert!(Stalled::<T>::get());
        Ok(())
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_chain(), crate::mock::Test);
}

/// The newest beacon there may be, where as many as are kept are kept, and it had stalled.
fn beacon<T: Config>() -> SignedBeacon {
    let all = gatekeepers::<T>();
    keys::<T>(&all);
    let interval = T::BeaconInterval::get();
    let newest = NOW / interval * interval;
    let (public_key, beacon) = crate::beacon::sign(&Pallet::<T>::genesis_hash(), newest);
    Sharings::<T>::mutate_extant(ROOT, |root| root.public_key = public_key);
    for back in (1..=T::BeaconHistory::get()).rev() {
        Pallet::<T>::keep_beacon(Beacon { round: newest - back * interval, ..beacon });
    }
    Stalled::<T>::put(true);
    all[0].beacon::<T>(beacon)
}
