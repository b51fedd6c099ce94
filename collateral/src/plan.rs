//! What to submit, and when to look again: pure, document by document.
//!
//! The chain keeps a document in the place of an older one, and one of a TCB recovery as early beside the current one.
//! [`DocumentSlot::keep`] is that rule, so that nothing is submitted that the chain would refuse.
//!
//! # Invariants
//! - Whatever a plan submits, the chain keeps, if nobody else submits meanwhile.
//! - A document of a recovery is never the first under its id: it would count at once.
//! - What costs a fee is submitted only for a higher number, or before the kept one ends.

use phala_attestation::{DocumentId, UnixSeconds};
use phala_primitives::attestation::{DocumentSlot, FREE_DOCUMENT_INTERVAL, KeptDocument};

/// The newest good documents of an id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Newest {
    /// The one in force.
    pub standard: Option<KeptDocument>,
    /// The one of the newest TCB recovery.
    pub early: Option<KeptDocument>,
}

/// When things happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The chain's time.
    pub now: UnixSeconds,
    /// How long the chain keeps documents of a recovery as early ones, in seconds.
    pub early_period: u64,
    /// How long before its end a document is replaced even for a fee, in seconds: at most a third of its life.
    pub margin: u64,
}

/// What to do about one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to submit now, in this order.
    pub submit: Vec<KeptDocument>,
    /// When there is something to submit though nothing newer comes.
    pub look_again: Option<UnixSeconds>,
}

/// Plans for one id, by what the chain keeps and the newest documents, which are good at `times.now`.
pub(crate) fn plan(id: DocumentId, kept: &DocumentSlot, newest: Newest, times: Times) -> Plan {
    let mut slot = kept.clone();
    let mut plan = Plan::default();
    let Newest { standard, early } = newest;
    // Without a recovery, both versions are the same document, signed at different times.
    let candidates = match (standard, early) {
        (Some(standard), Some(early)) if standard.number == early.number => {
            [Some(if early.issued > standard.issued { early } else { standard }), None]
        }
        (Some(standard), early) => [Some(standard), early],
        (None, early) => [None, early.filter(|_| slot.current.is_some())],
    };
    for new in candidates.into_iter().flatten() {
        let mut next = slot.clone();
        let Ok(replaced) = next.keep(id, new.clone(), times.now, times.early_period) else { continue };
        match replaced.map_or(Some(times.now), |old| worth_from(&old, &new, times)) {
            Some(from) if from <= times.now => {
                slot = next;
                plan.submit.push(new);
            }
            from => plan.look_again = plan.look_again.into_iter().chain(from).min(),
        }
    }
    plan
}

/// From when on it is worth a transaction to have `new` in the place of `old`; `None` for never.
fn worth_from(old: &KeptDocument, new: &KeptDocument, times: Times) -> Option<UnixSeconds> {
    if new.number > old.number || new.issued >= old.issued.saturating_add(FREE_DOCUMENT_INTERVAL) {
        return Some(times.now);
    }
    (new.valid_until > old.valid_until).then(|| ends_soon_from(old, times.margin))
}

/// From when on a document ends soon.
pub(crate) fn ends_soon_from(document: &KeptDocument, margin: u64) -> UnixSeconds {
    let life = document.valid_until.saturating_sub(document.issued);
    document.valid_until.saturating_sub(margin.min(life / 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::{Generation, SignedDocument};
    use phala_primitives::attestation::{EarlyDocument, NotKept};
    use proptest::prelude::*;

    const DAY: u64 = 24 * 60 * 60;
    /// Has recoveries.
    const IDENTITY: DocumentId = DocumentId::SgxQeIdentity;
    /// Has none.
    const LIST: DocumentId = DocumentId::AmdCrl(Generation::Milan);

    /// One of `number` that is good from the day `issued` on, for thirty days.
    fn document(number: u64, issued: u64) -> KeptDocument {
        let (issued, valid_until) = (issued * DAY, (issued + 30) * DAY);
        KeptDocument { document: SignedDocument::AmdCrl(vec![]), issued, valid_until, number, signatures: vec![] }
    }

    fn keeping(current: KeptDocument) -> DocumentSlot {
        DocumentSlot { current: Some(current), early: None }
    }

    fn with_early(current: KeptDocument, kept: KeptDocument, since: u64) -> DocumentSlot {
        DocumentSlot { current: Some(current), early: Some(EarlyDocument { kept, since: since * DAY }) }
    }

    fn at(day: u64) -> Times {
        Times { now: day * DAY, early_period: 30 * DAY, margin: 3 * DAY }
    }

    fn standard(document: KeptDocument) -> Newest {
        Newest { standard: Some(document), early: None }
    }

    fn early(document: KeptDocument) -> Newest {
        Newest { standard: None, early: Some(document) }
    }

    fn both(standard: KeptDocument, early: KeptDocument) -> Newest {
        Newest { standard: Some(standard), early: Some(early) }
    }

    #[test]
    fn the_first_document_is_submitted() {
        assert_eq!(plan(LIST, &DocumentSlot::default(), standard(document(1, 5)), at(6)).submit, [document(1, 5)]);
    }

    #[test]
    fn nothing_newer_is_nothing_to_do() {
        let kept = keeping(document(1, 5));
        for newest in [Newest::default(), standard(document(1, 5)), standard(document(1, 4)), standard(document(0, 6))]
        {
            assert_eq!(plan(LIST, &kept, newest, at(34)), Plan::default());
        }
    }

    #[test]
    fn a_day_newer_is_free_and_submitted() {
        let kept = keeping(document(1, 5));
        assert_eq!(plan(LIST, &kept, standard(document(1, 6)), at(6)).submit, [document(1, 6)]);
        let almost = KeptDocument { issued: 6 * DAY - 1, ..document(1, 6) };
        assert_eq!(plan(LIST, &kept, standard(almost), at(6)).submit, []);
    }

    #[test]
    fn a_higher_number_is_submitted_at_once() {
        let new = KeptDocument { issued: 5 * DAY + 1, ..document(2, 5) };
        for id in [LIST, IDENTITY] {
            assert_eq!(plan(id, &keeping(document(1, 5)), standard(new.clone()), at(6)).submit.len(), 1);
        }
    }

    #[test]
    fn what_is_little_newer_waits_until_the_kept_one_ends_soon() {
        let kept = keeping(document(1, 5));
        let new = KeptDocument { issued: 5 * DAY + 1, valid_until: 35 * DAY + 1, ..document(1, 5) };
        let plan_at = |day| plan(LIST, &kept, standard(new.clone()), at(day));
        assert_eq!(plan_at(31), Plan { submit: vec![], look_again: Some(32 * DAY) });
        assert_eq!(plan_at(32), Plan { submit: vec![new.clone()], look_again: None });
        // One that ends no later helps nobody.
        let useless = KeptDocument { valid_until: 35 * DAY, ..new.clone() };
        assert_eq!(plan(LIST, &kept, standard(useless), at(34)), Plan::default());
    }

    #[test]
    fn the_margin_is_at_most_a_third_of_a_life() {
        assert_eq!(ends_soon_from(&document(1, 0), 3 * DAY), 27 * DAY);
        assert_eq!(ends_soon_from(&document(1, 0), 100 * DAY), 20 * DAY);
    }

    #[test]
    fn an_early_document_is_never_the_first() {
        assert_eq!(plan(IDENTITY, &DocumentSlot::default(), early(document(2, 5)), at(6)), Plan::default());
        let plan = plan(IDENTITY, &DocumentSlot::default(), both(document(1, 5), document(2, 5)), at(6));
        assert_eq!(plan.submit, [document(1, 5), document(2, 5)]);
    }

    #[test]
    fn a_recovery_is_submitted_beside_the_current_one_and_both_are_refreshed() {
        let mut slot = keeping(document(1, 5));
        let plan_of =
            |slot: &DocumentSlot, day| plan(IDENTITY, slot, both(document(1, day), document(2, day)), at(day)).submit;
        for day in [7, 9] {
            assert_eq!(plan_of(&slot, day), [document(1, day), document(2, day)]);
            for document in plan_of(&slot, day) {
                slot.keep(IDENTITY, document, day * DAY, at(day).early_period).unwrap();
            }
            assert_eq!(slot, with_early(document(1, day), document(2, day), 7));
            assert_eq!(plan_of(&slot, day), []);
        }
    }

    #[test]
    fn without_a_recovery_the_newer_version_alone_is_submitted() {
        let kept = keeping(document(1, 5));
        assert_eq!(plan(IDENTITY, &kept, both(document(1, 7), document(1, 9)), at(9)).submit, [document(1, 9)]);
        assert_eq!(plan(IDENTITY, &kept, both(document(1, 9), document(1, 7)), at(9)).submit, [document(1, 9)]);
    }

    #[test]
    fn another_recovery_waits_for_the_first() {
        let kept = with_early(document(1, 5), document(2, 5), 5);
        assert_eq!(plan(IDENTITY, &kept, early(document(3, 7)), at(8)), Plan::default());
        // From now on the first counts.
        let due = plan(IDENTITY, &kept, early(document(3, 34)), at(35));
        assert_eq!(due.submit, [document(3, 34)]);
    }

    #[test]
    fn an_early_document_helps_where_the_current_one_has_ended() {
        let kept = keeping(document(1, 5));
        let newest = early(document(2, 30));
        assert_eq!(plan(IDENTITY, &kept, newest.clone(), at(36)).submit, [document(2, 30)]);
        let mut slot = kept;
        slot.keep(IDENTITY, document(2, 30), 36 * DAY, 30 * DAY).unwrap();
        assert_eq!(slot.counting(36 * DAY, 30 * DAY), newest.early.as_ref());
    }

    #[test]
    fn an_early_document_that_counts_is_replaced_as_a_current_one() {
        let mut slot = with_early(document(1, 5), document(2, 20), 5);
        // The current one could still be refreshed as such, if the early one did not count.
        assert_eq!(slot.keep(IDENTITY, document(1, 34), 35 * DAY, 30 * DAY), Err(NotKept::NotNewer));
        slot.keep(IDENTITY, document(2, 34), 35 * DAY, 30 * DAY).unwrap();
        assert_eq!(slot, keeping(document(2, 34)));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut slot = with_early(document(1, 5), document(2, 5), 5);
        let before = slot.clone();
        for (new, why) in [
            (document(3, 9), NotKept::EarlyDocumentWaits),
            (document(2, 5), NotKept::NotNewer),
            (document(1, 5), NotKept::NotNewer),
            (document(0, 9), NotKept::NotNewer),
        ] {
            assert_eq!(slot.keep(IDENTITY, new, 9 * DAY, 30 * DAY), Err(why));
            assert_eq!(slot, before);
        }
    }

    prop_compose! {
        fn documents()(number in 0..4u64, issued in 0..40u64) -> KeptDocument {
            document(number, issued)
        }
    }

    proptest! {
        #[test]
        fn the_chain_keeps_whatever_is_planned_and_then_nothing_is_left_to_do(
            submitted in proptest::collection::vec((documents(), 0..40u64), 0..8),
            standard in proptest::option::of(documents()),
            early in proptest::option::of(documents()),
            day in 0..80u64,
            has_recoveries in any::<bool>(),
        ) {
            let id = if has_recoveries { IDENTITY } else { LIST };
            let times = at(day);
            let mut slot = DocumentSlot::default();
            for (document, day) in submitted {
                let _ = slot.keep(id, document, day * DAY, times.early_period);
            }
            let newest = Newest { standard, early };
            for document in plan(id, &slot, newest.clone(), times).submit {
                prop_assert!(slot.keep(id, document, times.now, times.early_period).is_ok());
            }
            prop_assert_eq!(plan(id, &slot, newest, times).submit, []);
        }
    }
}
