//! The log of key releases: how many each gatekeeper has made, and a chain of hashes over them.

use super::*;
use phala_primitives::gatekeeper::Releases;

impl<T: Config> Pallet<T> {
    pub(super) fn authorize_releases(signed: &SignedReleases) -> TransactionValidityWithRefund {
        let releases = &signed.releases;
        Self::check_releases(releases)?;
        Self::ensure_signed_by(&releases.gatekeeper, &releases.signed_bytes(), &signed.signature)?;
        Self::valid(("releases", releases.gatekeeper, releases.first), TransactionLongevity::MAX)
    }

    pub(super) fn do_log_releases(releases: Releases) -> DispatchResult {
        let log = Self::check_releases(&releases)?;
        let log = ReleaseLog {
            count: log.count.saturating_add(releases.count.into()),
            hash: sp_io::hashing::sha2_256(&(log.hash, &releases).encode()),
            since: Self::now(),
        };
        let Releases { gatekeeper, first, count, digest, .. } = releases;
        ReleaseLogs::<T>::insert(gatekeeper, log);
        Self::deposit_event(Event::KeysReleased { gatekeeper, first, count, digest });
        Ok(())
    }

    /// Everything but the signature; the log so far.
    fn check_releases(releases: &Releases) -> Result<ReleaseLog<BlockNumberFor<T>>, Error<T>> {
        ensure!(releases.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        ensure!(releases.count > 0, Error::<T>::Empty);
        ensure!(T::Gatekeepers::is_registered(&releases.gatekeeper), Error::<T>::NotRegistered);
        let log = ReleaseLogs::<T>::get(releases.gatekeeper);
        if let Some(log) = &log {
            let due = log.since.saturating_add(T::ReleaseInterval::get());
            ensure!(Self::now() >= due, Error::<T>::TooEarly);
        }
        let log = log.unwrap_or(ReleaseLog { count: 0, hash: [0; 32], since: Zero::zero() });
        ensure!(releases.first == log.count, Error::<T>::NotNext);
        Ok(log)
    }
}
