//! Ceremonies: what is taken in each phase, when a phase is over, and what comes of it.

use super::*;
use crate::types::Checked;
use phala_primitives::gatekeeper::{LostShare, MAX_GATEKEEPERS, tolerated};

/// Elections and what begins and ends ceremonies.
impl<T: Config> Pallet<T> {
    /// Gives the keys to the gatekeepers of an era, be they newly elected or not: a ceremony of the root key, and one of the next
    /// epoch's, begin among them. Those of the same keys that still run are abandoned. An election of no newer era than the last,
    /// of nobody or of more than can share a key changes nothing.
    pub fn on_elected(era: u32, mut gatekeepers: Vec<GatekeeperId>) -> Weight {
        gatekeepers.sort_unstable();
        gatekeepers.dedup();
        let count = u32::try_from(gatekeepers.len()).unwrap_or(u32::MAX);
        let is_newer = Era::<T>::get().is_none_or(|newest| era > newest);
        if !is_newer || count == 0 || count > MAX_GATEKEEPERS {
            frame_support::defensive!("an election of an old era, of nobody or of too many");
            return T::DbWeight::get().reads(1);
        }
        Era::<T>::put(era);
        for key in [NetworkKey::Root, NetworkKey::Epoch(Self::next_epoch())] {
            Self::plan(key, gatekeepers.clone());
        }
        <T as Config>::WeightInfo::on_elected()
    }

    /// Has a key shared among `candidates`.
    fn plan(key: NetworkKey, candidates: Vec<GatekeeperId>) {
        Self::abandon(key);
        let plan = Plan { candidates, silent: Vec::new() };
        Self::begin_attempt(key, &plan, 1);
        Plans::<T>::insert(key, plan);
    }

    /// Ends the ceremony that runs for a key, if any.
    pub(super) fn abandon(key: NetworkKey) {
        if let Some(id) = Self::running(key) {
            Self::end_attempt(id, Failure::Replaced);
        }
        Plans::<T>::remove(key);
    }

    /// The ceremony that runs for a key.
    pub fn running(key: NetworkKey) -> Option<CeremonyId> {
        Running::<T>::get().into_iter().find(|id| Ceremonies::<T>::get(id).is_some_and(|ceremony| ceremony.key == key))
    }

    /// Whether a gatekeeper has a share of a key that is in use, as far as the chain knows.
    pub fn holds_shares(gatekeeper: &GatekeeperId) -> bool {
        // The root's, and those of a few epochs.
        Sharings::<T>::iter_values().any(|sharing| sharing.players.binary_search(gatekeeper).is_ok())
    }

    fn begin_attempt(key: NetworkKey, plan: &Plan, attempt: u32) {
        let players: Vec<_> =
            plan.candidates.iter().filter(|candidate| !plan.silent.contains(candidate)).copied().collect();
        let (previous, dealers) = match Sharings::<T>::get(key) {
            Some(sharing) => (Some(sharing.ceremony), sharing.players),
            None => (None, players.clone()),
        };
        let id = NextCeremony::<T>::mutate(|next| {
            let id = *next;
            next.saturating_inc();
            id
        });
        let pushed = Running::<T>::try_append(id);
        frame_support::defensive_assert!(pushed.is_ok(), "one ceremony for each of three keys");
        let phase_ends = Self::phase_ends(attempt);
        let ceremony = Ceremony::<T> { key, attempt, previous, dealers, players, phase: Phase::Enrol, phase_ends };
        Ceremonies::<T>::insert(id, ceremony);
        Progresses::<T>::insert(id, Progress::default());
        Self::deposit_event(Event::CeremonyStarted { ceremony: id, key, attempt, previous });
    }

    fn end_attempt(id: CeremonyId, failure: Failure) {
        Self::stop(id);
        Ended::<T>::insert(id, ());
        Self::deposit_event(Event::CeremonyFailed { ceremony: id, failure });
    }

    /// Takes a ceremony from those that run.
    fn stop(id: CeremonyId) {
        Running::<T>::mutate(|running| running.retain(|other| *other != id));
        Progresses::<T>::remove(id);
    }

    /// Replaces an attempt by the next, without the players that were silent; with all candidates when those who enrolled are not
    /// enough.
    pub(super) fn retry(id: CeremonyId, ceremony: Ceremony<T>, silent: Vec<GatekeeperId>) {
        let Ceremony::<T> { key, phase, .. } = ceremony;
        Self::end_attempt(id, Failure::TooFew(phase));
        let mut plan = Plans::<T>::get(key).unwrap_or_default();
        match phase {
            Phase::Enrol => plan.silent.clear(),
            Phase::Deal | Phase::Answer | Phase::Log | Phase::Confirm => plan.silent.extend(&silent),
        }
        if !silent.is_empty() {
            Self::deposit_event(Event::PlayersSilent { ceremony: id, players: silent });
        }
        Self::begin_attempt(key, &plan, ceremony.attempt.saturating_add(1));
        Plans::<T>::insert(key, plan);
    }

    /// The last block of a phase that begins now.
    fn phase_ends(attempt: u32) -> BlockNumberFor<T> {
        let doublings = attempt.saturating_sub(1).min(31);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let blocks = T::PhaseBlocks::get().saturating_mul(factor.into()).min(T::MaxPhaseBlocks::get());
        Self::now().saturating_add(blocks)
    }

    /// Makes what came out of a ceremony the key's sharing.
    fn complete(id: CeremonyId, ceremony: Ceremony<T>, public_key: PublicKey, output: Vec<u8>) {
        let key = ceremony.key;
        let since = Self::now();
        let mut missing = Plans::<T>::take(key).unwrap_or_default().candidates;
        missing.retain(|candidate| ceremony.players.binary_search(candidate).is_err());
        let sharing = Sharing::<T> { ceremony: id, public_key, players: ceremony.players, output, since };
        if let Some(old) = Sharings::<T>::get(key) {
            Ended::<T>::insert(old.ceremony, ());
            Formers::<T>::insert(key, old);
        }
        Sharings::<T>::insert(key, sharing);
        Self::stop(id);
        Self::deposit_event(Event::CeremonyCompleted { ceremony: id, key, public_key });
        match key {
            NetworkKey::Root => T::Gatekeepers::on_root_shared(&missing),
            NetworkKey::Epoch(epoch) => Self::begin_epoch(epoch),
        }
    }
}

/// Posts.
impl<T: Config> Pallet<T> {
    /// What taking a post costs, without its authorization.
    pub(super) fn post_weight(content: &Content) -> Weight {
        // A post is a sign of life.
        let alive = T::DbWeight::get().reads_writes(2, 1);
        let taken = match content {
            Content::Enrolment(_) | Content::Dealing(_) | Content::Answers(_) | Content::Log(_) => {
                <T as Config>::WeightInfo::post(content.encoded_size() as u32)
            }
            Content::Confirmation(_) => <T as Config>::WeightInfo::post_confirmation(),
            // The former sharing is kept, the plan read, and each of those who are missing looked up and slashed.
            Content::Output(_) => <T as Config>::WeightInfo::post_output()
                .saturating_add(T::DbWeight::get().reads_writes(8, 6))
                .saturating_add(
                    T::DbWeight::get().reads_writes(12, 4).saturating_mul(tolerated(MAX_GATEKEEPERS).into()),
                ),
        };
        taken.saturating_add(alive)
    }

    pub(super) fn authorize_post(signed: &SignedPost) -> TransactionValidityWithRefund {
        let post = &signed.post;
        let ceremony = Self::check_post(post)?.ceremony;
        Self::ensure_signed_by(&post.gatekeeper, &post.signed_bytes(), &signed.signature)?;
        let longevity = ceremony.phase_ends.saturating_sub(Self::now()).unique_saturated_into();
        match &post.content {
            // There is one, whoever brings it.
            Content::Output(_) => Self::valid(("output", post.ceremony), longevity),
            _ => Self::valid(("post", post.ceremony, post.gatekeeper, ceremony.phase), longevity),
        }
    }

    pub(super) fn do_post(post: Post) -> DispatchResult {
        let Checked { id, ceremony, mut progress } = Self::check_post(&post)?;
        let gatekeeper = post.gatekeeper;
        T::Gatekeepers::sign_of_life(&gatekeeper);
        match post.content {
            Content::Enrolment(key) => Enrolments::<T>::insert(id, gatekeeper, key),
            Content::Dealing(dealing) => Dealings::<T>::insert(id, gatekeeper, dealing),
            Content::Answers(answers) => Answers::<T>::insert(id, gatekeeper, answers),
            Content::Log(log) => Logs::<T>::insert(id, gatekeeper, log),
            Content::Confirmation(confirmation) => {
                Confirmations::<T>::insert(id, gatekeeper, confirmation);
                let same = Confirmations::<T>::iter_prefix_values(id).filter(|other| *other == confirmation).count();
                if same >= threshold(len(&ceremony.players)) as usize {
                    progress.agreed = Some(confirmation);
                }
            }
            Content::Output(output) => {
                let agreed = progress.agreed.ok_or(Error::<T>::NotConfirmed)?;
                Self::complete(id, ceremony, agreed.public_key, output);
                return Ok(());
            }
        }
        progress.posted.saturating_inc();
        Progresses::<T>::insert(id, progress);
        Self::deposit_event(Event::Posted { ceremony: id, gatekeeper, phase: ceremony.phase });
        Ok(())
    }

    /// Everything but the signature.
    fn check_post(post: &Post) -> Result<Checked<BlockNumberFor<T>>, Error<T>> {
        ensure!(post.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        let (id, gatekeeper) = (post.ceremony, &post.gatekeeper);
        let progress = Progresses::<T>::get(id).ok_or(Error::<T>::NotRunning)?;
        let ceremony = Ceremonies::<T>::get(id).ok_or(Error::<T>::NotRunning)?;
        let phase = match &post.content {
            Content::Enrolment(_) => Phase::Enrol,
            Content::Dealing(_) => Phase::Deal,
            Content::Answers(_) => Phase::Answer,
            Content::Log(_) => Phase::Log,
            Content::Confirmation(_) | Content::Output(_) => Phase::Confirm,
        };
        ensure!(ceremony.phase == phase && Self::now() <= ceremony.phase_ends, Error::<T>::WrongPhase);
        match phase {
            Phase::Deal | Phase::Log => {
                ensure!(ceremony.dealers.binary_search(gatekeeper).is_ok(), Error::<T>::NotDealer);
            }
            Phase::Enrol | Phase::Answer | Phase::Confirm => {
                ensure!(ceremony.players.binary_search(gatekeeper).is_ok(), Error::<T>::NotPlayer);
            }
        }
        let has_posted = match &post.content {
            Content::Enrolment(_) => Enrolments::<T>::contains_key(id, gatekeeper),
            Content::Dealing(_) => Dealings::<T>::contains_key(id, gatekeeper),
            Content::Answers(_) => Answers::<T>::contains_key(id, gatekeeper),
            Content::Log(_) => Logs::<T>::contains_key(id, gatekeeper),
            Content::Confirmation(_) => Confirmations::<T>::contains_key(id, gatekeeper),
            // It ends the ceremony.
            Content::Output(_) => false,
        };
        ensure!(!has_posted, Error::<T>::AlreadyPosted);
        let (dealers, players) = (len(&ceremony.dealers), len(&ceremony.players));
        match &post.content {
            Content::Enrolment(_) => ensure!(T::Gatekeepers::is_good(gatekeeper), Error::<T>::EvidenceNotGood),
            Content::Dealing(Dealing { commitment, shares }) => {
                let fits = len(commitment) <= sizes::commitment(players) && len(shares) == players;
                ensure!(fits, Error::<T>::WrongSize);
            }
            Content::Answers(answers) => {
                ensure!(len(answers) == progress.dealings, Error::<T>::WrongSize);
                ensure!(T::Gatekeepers::is_registered(gatekeeper), Error::<T>::NotRegistered);
            }
            Content::Log(log) => {
                ensure!(len(log) <= sizes::log(players), Error::<T>::WrongSize);
                ensure!(Dealings::<T>::contains_key(id, gatekeeper), Error::<T>::NoDealing);
            }
            Content::Confirmation(confirmation) => {
                let public_key = Sharings::<T>::get(ceremony.key).map(|sharing| sharing.public_key);
                let fits = public_key.is_none_or(|public_key| public_key == confirmation.public_key);
                ensure!(fits, Error::<T>::WrongPublicKey);
            }
            Content::Output(output) => {
                ensure!(len(output) <= sizes::output(dealers, players), Error::<T>::WrongSize);
                let agreed = progress.agreed.ok_or(Error::<T>::NotConfirmed)?;
                ensure!(sp_io::hashing::sha2_256(output) == agreed.output_hash, Error::<T>::WrongOutput);
            }
        }
        Ok(Checked { id, ceremony, progress })
    }
}

/// Lost shares.
impl<T: Config> Pallet<T> {
    pub(super) fn authorize_lost_share(signed: &SignedLostShare) -> TransactionValidityWithRefund {
        let request = &signed.request;
        Self::check_lost_share(request)?;
        Self::ensure_signed_by(&request.gatekeeper, &request.signed_bytes(), &signed.signature)?;
        // One is enough for all who have lost theirs.
        Self::valid(("lost share", request.key, request.ceremony), TransactionLongevity::MAX)
    }

    pub(super) fn do_report_lost_share(request: LostShare) -> DispatchResult {
        let players = Self::check_lost_share(&request)?;
        let LostShare { gatekeeper, key, .. } = request;
        Self::deposit_event(Event::ShareLost { gatekeeper, key });
        Self::plan(key, players);
        Ok(())
    }

    /// Everything but the signature; among whom the key is shared.
    fn check_lost_share(request: &LostShare) -> Result<Vec<GatekeeperId>, Error<T>> {
        ensure!(request.genesis_hash == Self::genesis_hash(), Error::<T>::WrongGenesis);
        let is_in_use = match request.key {
            NetworkKey::Root => true,
            NetworkKey::Epoch(epoch) => CurrentEpoch::<T>::get() == Some(epoch),
        };
        ensure!(is_in_use, Error::<T>::UnknownKey);
        let sharing = Sharings::<T>::get(request.key).ok_or(Error::<T>::UnknownKey)?;
        ensure!(sharing.ceremony == request.ceremony, Error::<T>::OldSharing);
        ensure!(sharing.players.binary_search(&request.gatekeeper).is_ok(), Error::<T>::NotPlayer);
        ensure!(T::Gatekeepers::is_good(&request.gatekeeper), Error::<T>::EvidenceNotGood);
        ensure!(Self::running(request.key).is_none(), Error::<T>::AlreadyRunning);
        let due = sharing.since.saturating_add(T::LostShareInterval::get());
        ensure!(Self::now() >= due, Error::<T>::TooEarly);
        Ok(sharing.players)
    }
}

/// The hook's parts.
impl<T: Config> Pallet<T> {
    /// Ends the phases that are over.
    pub(super) fn do_advance(now: BlockNumberFor<T>) -> Weight {
        if Ended::<T>::count() > MAX_ENDED {
            return T::DbWeight::get().reads(1);
        }
        let mut weight = T::DbWeight::get().reads(2);
        for id in Running::<T>::get() {
            weight.saturating_accrue(Self::advance(id, now));
        }
        weight
    }

    pub(super) fn advance(id: CeremonyId, now: BlockNumberFor<T>) -> Weight {
        let (Some(mut ceremony), Some(mut progress)) = (Ceremonies::<T>::get(id), Progresses::<T>::get(id)) else {
            frame_support::defensive!("what runs has a record");
            return <T as Config>::WeightInfo::wait();
        };
        let awaited = match ceremony.phase {
            Phase::Enrol | Phase::Answer | Phase::Confirm => len(&ceremony.players),
            Phase::Deal => len(&ceremony.dealers),
            Phase::Log => progress.dealings,
        };
        let is_over = now > ceremony.phase_ends;
        if !is_over && progress.posted < awaited {
            return <T as Config>::WeightInfo::wait();
        }
        let enough = progress.posted >= threshold(len(&ceremony.dealers));
        let next = match ceremony.phase {
            Phase::Enrol => {
                ceremony.players.retain(|player| Enrolments::<T>::contains_key(id, player));
                if ceremony.previous.is_none() {
                    ceremony.dealers.clone_from(&ceremony.players);
                }
                let players = &ceremony.players;
                let candidates = Plans::<T>::get(ceremony.key).map_or(0, |plan| len(&plan.candidates));
                let least = threshold(candidates).max(T::MinPlayers::get());
                let can = len(players) >= least && T::Gatekeepers::is_safe(players);
                can.then_some(Phase::Deal).ok_or(Vec::new())
            }
            Phase::Deal => {
                progress.dealings = progress.posted;
                enough.then_some(Phase::Answer).ok_or(Vec::new())
            }
            Phase::Answer => {
                let mut silent = ceremony.players.clone();
                silent.retain(|player| !Answers::<T>::contains_key(id, player));
                if silent.is_empty() { Ok(Phase::Log) } else { Err(silent) }
            }
            Phase::Log => enough.then_some(Phase::Confirm).ok_or(Vec::new()),
            // The output ends it.
            Phase::Confirm => Err(Vec::new()),
        };
        match next {
            Ok(phase) => {
                ceremony.phase = phase;
                ceremony.phase_ends = Self::phase_ends(ceremony.attempt);
                progress.posted = 0;
                Self::deposit_event(Event::PhaseStarted { ceremony: id, phase, ends: ceremony.phase_ends });
                Ceremonies::<T>::insert(id, ceremony);
                Progresses::<T>::insert(id, progress);
            }
            // A phase fails at its end and not before, so that attempts follow one another ever more slowly.
            Err(_) if !is_over => {}
            Err(silent) => {
                Self::retry(id, ceremony, silent);
                return <T as Config>::WeightInfo::advance().saturating_add(<T as Config>::WeightInfo::retry());
            }
        }
        <T as Config>::WeightInfo::advance()
    }

    /// Removes at most `limit` posts of ended ceremonies.
    pub(super) fn do_remove(limit: u32) -> Weight {
        let Some(id) = Ended::<T>::iter_keys().next() else { return <T as Config>::WeightInfo::remove(0) };
        let mut left = limit as usize;
        macro_rules! remove {
            ($($posts:ident),*) => {$(
                let posts: Vec<_> = $posts::<T>::iter_key_prefix(id).take(left).collect();
                posts.iter().for_each(|gatekeeper| $posts::<T>::remove(id, gatekeeper));
                left = left.saturating_sub(posts.len());
            )*};
        }
        remove!(Enrolments, Dealings, Answers, Logs, Confirmations);
        if left > 0 {
            Ceremonies::<T>::remove(id);
            Ended::<T>::remove(id);
        }
        <T as Config>::WeightInfo::remove(limit.saturating_sub(left as u32))
    }
}

fn len<A>(list: &[A]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
