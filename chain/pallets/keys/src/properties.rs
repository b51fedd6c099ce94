//! Random elections, posts and silence: nothing that gatekeepers do or leave undone loses a key.

use crate::{
    gatekeeper::{Gatekeeper, content, output},
    mock::*,
    *,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const GATEKEEPERS: u32 = 9;

/// What happens in a block, or who does it.
#[derive(Clone, Debug)]
enum Step {
    /// The gatekeepers of this mask say what they have to, in all that runs.
    Speak { mask: u16 },
    /// One says something of a kind in a ceremony, be it right or wrong.
    Babble { gatekeeper: u32, back: u64, kind: u8, length: usize },
    /// The gatekeepers of this mask confirm this, and bring it.
    Lie { mask: u16, key: u8 },
    /// Those of this mask are elected.
    Elect { mask: u16 },
    /// One loses its share.
    Lose { gatekeeper: u32, root: bool },
    /// Those of this mask are not registered for now.
    Leave { mask: u16 },
    /// Fewer than this are not safe together.
    Diversity { fewest: usize },
    /// Blocks pass.
    Wait { blocks: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let mask = || prop_oneof![3 => any::<u16>(), 2 => Just(u16::MAX)];
    prop_oneof![
        12 => mask().prop_map(|mask| Step::Speak { mask }),
        3 => (0..GATEKEEPERS, 0..6u64, 0..6u8, 0..600usize)
            .prop_map(|(gatekeeper, back, kind, length)| Step::Babble { gatekeeper, back, kind, length }),
        1 => (mask(), any::<u8>()).prop_map(|(mask, key)| Step::Lie { mask, key }),
        1 => mask().prop_map(|mask| Step::Elect { mask }),
        1 => (0..GATEKEEPERS, any::<bool>()).prop_map(|(gatekeeper, root)| Step::Lose { gatekeeper, root }),
        1 => prop_oneof![Just(0), any::<u16>()].prop_map(|mask| Step::Leave { mask }),
        1 => (0..GATEKEEPERS as usize + 2).prop_map(|fewest| Step::Diversity { fewest }),
        4 => (1..20u32).prop_map(|blocks| Step::Wait { blocks }),
    ]
}

fn of(mask: u16) -> Vec<Gatekeeper> {
    (0..GATEKEEPERS).filter(|number| mask >> number & 1 == 1).map(Gatekeeper::new).collect()
}

fn take(step: Step, era: &mut u32) {
    match step {
        Step::Speak { mask } => work(&of(mask), 1),
        Step::Babble { gatekeeper, back, kind, length } => {
            let content = match kind {
                0 => Content::Enrolment([1; 32]),
                1 => Content::Dealing(Dealing { commitment: vec![0; length], shares: Vec::new() }),
                2 => Content::Answers(vec![Answer::Complaint; length % 10]),
                3 => Content::Log(vec![0; length]),
                4 => Content::Confirmation(Confirmation { public_key: PublicKey([0; 96]), output_hash: [0; 32] }),
                _ => Content::Output(vec![0; length]),
            };
            let ceremony = NextCeremony::<Test>::get().saturating_sub(back);
            let _ = post(Gatekeeper::new(gatekeeper).post::<Test>(ceremony, content));
        }
        Step::Lie { mask, key } => {
            for id in Running::<Test>::get() {
                let Some(content @ Content::Confirmation(_)) = content::<Test>(id, PublicKey([key; 96])) else {
                    continue;
                };
                for gatekeeper in of(mask) {
                    let _ = post(gatekeeper.post::<Test>(id, content.clone()));
                    let _ = post(gatekeeper.post::<Test>(id, Content::Output(output(id))));
                }
            }
        }
        Step::Elect { mask } => {
            let elected = of(mask);
            // Fewer never share a key.
            if elected.len() >= MIN_PLAYERS as usize {
                *era += 1;
                Keys::on_elected(*era, ids(&elected));
            }
        }
        Step::Lose { gatekeeper, root } => {
            let epoch = CurrentEpoch::<Test>::get().unwrap_or(0);
            let key = if root { NetworkKey::Root } else { NetworkKey::Epoch(epoch) };
            let ceremony = Sharings::<Test>::get(key).map_or(0, |sharing| sharing.ceremony);
            let signed = Gatekeeper::new(gatekeeper).lost_share::<Test>(key, ceremony);
            let _ = submit(Call::report_lost_share { signed });
        }
        Step::Leave { mask } => Gone::set(ids(&of(mask)).into_iter().collect()),
        Step::Diversity { fewest } => Unsafe::set(Some(fewest)),
        Step::Wait { blocks } => run_to(now() + blocks),
    }
}

/// What must not go back.
#[derive(Default)]
struct Witness {
    next: CeremonyId,
    public_keys: BTreeMap<NetworkKey, PublicKey>,
    ceremonies: BTreeMap<NetworkKey, CeremonyId>,
    epoch: Option<EpochId>,
    /// Since attempts were last few.
    elections: u32,
}

impl Witness {
    fn check(&mut self) {
        Keys::do_try_state().unwrap();
        if Ended::<Test>::count() <= MAX_ENDED {
            self.elections = 0;
        }
        assert!(NextCeremony::<Test>::get() >= self.next, "ids went back");
        self.next = NextCeremony::<Test>::get();
        assert!(CurrentEpoch::<Test>::get() >= self.epoch, "epochs went back");
        assert!(!self.public_keys.contains_key(&NetworkKey::Root) || Sharings::<Test>::contains_key(NetworkKey::Root));
        self.epoch = CurrentEpoch::<Test>::get();
        for (key, sharing) in Sharings::<Test>::iter() {
            let known = *self.public_keys.entry(key).or_insert(sharing.public_key);
            assert_eq!(known, sharing.public_key, "a key changed");
            let earlier = self.ceremonies.insert(key, sharing.ceremony);
            assert!(earlier <= Some(sharing.ceremony), "an older sharing came back");
            assert!(sharing.players.len() >= MIN_PLAYERS as usize);
        }
        // Elections may come at once here, and each ends two attempts.
        assert!(Ended::<Test>::count() <= MAX_ENDED + MAX_RUNNING + 2 * self.elections, "too much is kept");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_lost_and_ids_only_grow_whatever_gatekeepers_do(steps in prop::collection::vec(step(), 20..120)) {
        with_chain(|| {
            let (mut era, mut witness) = (0, Witness::default());
            Keys::on_elected(era, ids(&of(u16::MAX)));
            for step in steps {
                witness.elections += u32::from(matches!(step, Step::Elect { .. } | Step::Lose { .. }));
                take(step, &mut era);
                witness.check();
            }
            // As soon as all are honest, everything completes, and only the present sharings are kept.
            Gone::set(Default::default());
            Unsafe::set(None);
            let all = of(u16::MAX);
            let deadline = now() + 40 * MAX_PHASE;
            while !Running::<Test>::get().is_empty() && now() < deadline {
                work(&all, 1);
                witness.check();
            }
            assert!(Running::<Test>::get().is_empty(), "a ceremony goes on for ever");
            era += 1;
            Keys::on_elected(era, ids(&all));
            for _ in 0..GRACE + 60 {
                work(&all, 1);
                witness.check();
            }
            assert_eq!(Sharings::<Test>::iter().count(), 2);
            assert_eq!(Ceremonies::<Test>::iter().count(), 2);
            let kept: Vec<_> = Sharings::<Test>::iter_values().map(|sharing| sharing.ceremony).collect();
            assert!(Dealings::<Test>::iter_keys().all(|(id, _)| kept.contains(&id)));
        });
    }
}
