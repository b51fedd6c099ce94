//! What somebody gets who takes everything out of broken enclaves, now and from every sealed state that their hosts ever recorded, and
//! reads everything on chain.

use std::collections::{BTreeMap, BTreeSet};

use codec::Decode as _;
use commonware_codec::{Copying, Decode as _, DecodeExt};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{DealerLogSummary, Info, Output, Reveal, SignedDealerLog},
        primitives::{
            group::{G1, Scalar},
            ops,
            sharing::{Mode, ModeVersion},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_math::poly::Interpolator;
use commonware_parallel::Sequential;
use commonware_utils::{
    N3f1, NZU32,
    ordered::{Map, Set},
};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    gatekeeper::{APP_KEY_NAMESPACE, APP_KEY_VERSION, CeremonyId, NetworkKey, Sharing, app_key_message},
};

use super::{
    board::{Board, GENESIS},
    classes::Class,
    gatekeeper::{Blob, Dice, Gatekeeper, Kind, SealedShare},
    liar::part,
    release::{Reply, Worker},
    world::{APPS, World},
};

type KeyOutput = Output<MinSig, ed25519::PublicKey>;

fn output(sharing: &Sharing<u32>) -> KeyOutput {
    KeyOutput::decode_cfg(Copying(&sharing.output), &(NZU32!(64), ModeVersion::v0())).unwrap()
}

fn id(key: &ed25519::PublicKey) -> GatekeeperId {
    GatekeeperId(key.as_ref().try_into().unwrap())
}

/// The players whose values each selected dealer opened for all.
fn opened(board: &Board, number: CeremonyId) -> Vec<(GatekeeperId, BTreeSet<GatekeeperId>)> {
    let ceremony = &board.ended[&number];
    let previous = ceremony.previous.as_ref().map(output);
    let output = output(&board.sharings[&number].1);
    let set = |list: &[GatekeeperId]| -> Set<ed25519::PublicKey> {
        let keys: Vec<_> = list.iter().map(|id| ed25519::PublicKey::decode(Copying(&id.0)).unwrap()).collect();
        Set::try_from(keys).unwrap()
    };
    let namespace = [b"phala/ceremony/v1".as_slice(), &GENESIS].concat();
    let (dealers, players) = (set(&ceremony.ceremony.dealers), set(&ceremony.ceremony.players));
    let info = Info::<MinSig, _>::new::<N3f1>(
        &namespace,
        number,
        previous,
        Mode::NonZeroCounter,
        Reveal::V1,
        dealers,
        players,
    )
    .unwrap();
    let selected = output.dealers().iter().map(|dealer| {
        let log = SignedDealerLog::<MinSig, ed25519::PublicKey>::decode_cfg(
            Copying(&ceremony.logs[&id(dealer)]),
            &NZU32!(64),
        );
        let (_, log) = log.unwrap().check(&info).expect("a selected log verifies");
        let DealerLogSummary::Ok { reveals, .. } = log.summary() else { panic!("a selected log has results") };
        (id(dealer), reveals.iter().map(id).collect())
    });
    selected.collect()
}

/// The shares of a ceremony in the sealed states of these, whenever they were sealed.
fn shares<'a>(disks: impl Iterator<Item = &'a [Vec<u8>]>, ceremony: CeremonyId) -> BTreeMap<u32, SealedShare> {
    let mut found = BTreeMap::new();
    for bytes in disks.flatten() {
        let blob = Blob::decode(&mut bytes.as_slice()).unwrap();
        let pending = blob.attempts.into_values().filter_map(|attempt| attempt.pending.map(|(share, ..)| share));
        for share in blob.shares.into_values().chain(pending) {
            if share.ceremony == ceremony {
                found.insert(share.index, share);
            }
        }
    }
    found
}

/// The app key that these shares make, whatever it is worth.
fn interpolated(shares: &BTreeMap<u32, SealedShare>, app: AppId) -> Option<G1> {
    let parts: Vec<_> = shares.values().map(|share| part(share, app)).collect();
    let points = parts.iter().map(|part| (part.index, Scalar::from_u64(u64::from(part.index.get()) + 1)));
    let values = Map::from_iter_dedup(parts.iter().map(|part| (part.index, part.value)));
    Interpolator::new(points).interpolate(&values, &Sequential)
}

/// Whether these shares make an app's key.
fn make_key(shares: &BTreeMap<u32, SealedShare>, app: AppId, output: &KeyOutput) -> bool {
    let message = app_key_message(&app, APP_KEY_VERSION);
    interpolated(shares, app).is_some_and(|signature| {
        ops::verify_message::<MinSig>(output.public().public(), APP_KEY_NAMESPACE, &message, &signature).is_ok()
    })
}

/// Which players' shares somebody knows who has broken these: theirs, and those of which every selected dealer's value is public or that
/// dealer's own.
fn known(
    sharing: &Sharing<u32>,
    opened: &[(GatekeeperId, BTreeSet<GatekeeperId>)],
    broken: &BTreeSet<GatekeeperId>,
) -> usize {
    let is_known = |player: &&GatekeeperId| {
        broken.contains(player)
            || opened.iter().all(|(dealer, players)| broken.contains(dealer) || players.contains(player))
    };
    sharing.players.iter().filter(is_known).count()
}

/// Every coalition below the threshold of each sharing, in which the liars are, derives no key of any sharing; one at the threshold does. Returns
/// how many values were opened for all.
pub fn too_few_get_nothing(board: &Board, gatekeepers: &BTreeMap<GatekeeperId, Gatekeeper>, dice: &mut Dice) -> usize {
    let mut values = 0;
    let liars: BTreeSet<GatekeeperId> =
        gatekeepers.values().filter(|gatekeeper| gatekeeper.kind == Kind::Liar).map(Gatekeeper::id).collect();
    let all: Vec<GatekeeperId> = gatekeepers.keys().copied().collect();
    let mut coalitions: Vec<BTreeSet<GatekeeperId>> = Vec::new();
    // As many as can be, in random order.
    for _ in 0..6 {
        let (mut left, mut coalition) = (all.clone(), liars.clone());
        while !left.is_empty() {
            let candidate = left.swap_remove(dice.below(left.len()));
            let mut larger = coalition.clone();
            larger.insert(candidate);
            if is_below(board, &larger) {
                coalition = larger;
            }
        }
        coalitions.push(coalition);
    }
    for (number, (_, sharing)) in &board.sharings {
        let output = output(sharing);
        let opened = opened(board, *number);
        values += opened.iter().map(|(_, players)| players.len()).sum::<usize>();
        for coalition in &coalitions {
            let known = known(sharing, &opened, coalition);
            assert!(known < output.public().required() as usize, "{known} shares of {number} are known");
            let held = shares(coalition.iter().map(|id| gatekeepers[id].disk.as_slice()), *number);
            assert!(held.len() <= known, "what is held is among what is known");
            assert!(!make_key(&held, APPS[0], &output), "too few shares make the key");
        }
        // The control: a threshold of them does make it.
        let mut held = shares(gatekeepers.values().map(|gatekeeper| gatekeeper.disk.as_slice()), *number);
        while held.len() > output.public().required() as usize {
            let any = *held.keys().nth(dice.below(held.len())).unwrap();
            held.remove(&any);
        }
        assert!(make_key(&held, APPS[0], &output), "a threshold of shares makes the key");
        let any = *held.keys().next().unwrap();
        held.remove(&any);
        assert!(!make_key(&held, APPS[0], &output), "one less does not");
    }
    values
}

fn is_below(board: &Board, coalition: &BTreeSet<GatekeeperId>) -> bool {
    board.sharings.values().all(|(_, sharing)| {
        let count = sharing.players.iter().filter(|player| coalition.contains(player)).count();
        count < output(sharing).public().required() as usize
    })
}

/// What honest gatekeepers hold now, with everything that the bad ones ever held, is below the threshold of every sharing of the epoch.
pub fn an_epoch_is_gone(board: &Board, gatekeepers: &BTreeMap<GatekeeperId, Gatekeeper>, epoch: NetworkKey) {
    for (number, (key, sharing)) in &board.sharings {
        if *key != epoch {
            continue;
        }
        let disks = gatekeepers.values().map(|gatekeeper| match gatekeeper.kind {
            Kind::Honest => {
                let blob = gatekeeper.blob();
                assert!(blob.is_none_or(|blob| !blob.attempts.values().any(|attempt| attempt.key == epoch)));
                &gatekeeper.disk[gatekeeper.disk.len().saturating_sub(1)..]
            }
            _ => gatekeeper.disk.as_slice(),
        });
        let held = shares(disks, *number);
        let output = output(sharing);
        assert!(held.len() < output.public().required() as usize, "{} shares are left", held.len());
        assert!(!make_key(&held, APPS[0], &output));
    }
}

/// Takes each class whole: what its gatekeepers ever sealed, every key that its workers ever made for replies, every reply that was
/// ever sent, and what is on chain. Gives how many app keys come of that which were granted to none of its workers.
///
/// What gatekeepers of other classes gave away that lie is left out: those are broken as well, and count for themselves in
/// [`too_few_get_nothing`]. Where nobody lies outside of a class, no share of others is known.
pub fn break_each_class(world: &mut World) -> usize {
    let World { board, gatekeepers, workers, granted, .. } = &*world;
    let machines = gatekeepers.values().map(|gatekeeper| &gatekeeper.traits);
    let classes = Class::all(machines.chain(workers.values().map(|worker| &worker.traits)));
    let opened: BTreeMap<CeremonyId, _> =
        board.sharings.keys().map(|number| (*number, opened(board, *number))).collect();
    let (mut keys, mut alone) = (0, 0);
    for class in &classes {
        let members = gatekeepers.values().filter(|gatekeeper| class.has(&gatekeeper.traits));
        let broken: BTreeSet<GatekeeperId> = members.map(Gatekeeper::id).collect();
        let mut others = gatekeepers.values().filter(|gatekeeper| !broken.contains(&gatekeeper.id()));
        let is_alone = others.all(|gatekeeper| gatekeeper.kind != Kind::Liar);
        alone += usize::from(is_alone);
        let askers: BTreeMap<WorkerId, &Worker> =
            workers.iter().filter(|(_, worker)| class.has(&worker.traits)).map(|(id, worker)| (*id, worker)).collect();
        for (number, (key, sharing)) in &board.sharings {
            let output = output(sharing);
            let held = shares(broken.iter().map(|id| gatekeepers[id].disk.as_slice()), *number);
            if is_alone && board.traits.is_some() {
                let players = sharing.players.iter().filter(|player| broken.contains(player)).count();
                assert_eq!(known(sharing, &opened[number], &broken), players, "a share of others is known");
            }
            let has = |app: &AppId| askers.keys().any(|worker| granted.contains(&(*worker, *app, *key)));
            for app in APPS.iter().filter(|app| !has(app)) {
                let seen = world.seen(&askers, (*app, *key), *number);
                let lie = |id: &GatekeeperId| gatekeepers[id].kind == Kind::Liar;
                assert!(seen.iter().all(lie), "seed {}: an honest one gives {class:?} a part", world.seed);
                keys += usize::from(make_key(&held, *app, &output));
            }
        }
    }
    let classes = classes.len();
    world.count("broken classes", classes);
    world.count("broken classes where nobody else lies", alone);
    keys
}

impl World {
    /// Whose parts of an app's key these workers can read in all that was ever sent.
    fn seen(
        &self,
        askers: &BTreeMap<WorkerId, &Worker>,
        (app, key): (AppId, NetworkKey),
        number: CeremonyId,
    ) -> BTreeSet<GatekeeperId> {
        let sharing = &self.board.verified[&number];
        let of_it = |reply: &&Reply| (reply.asked.app, reply.asked.key, reply.reply.ceremony) == (app, key, number);
        let mut seen = BTreeSet::new();
        for reply in self.wire.iter().filter(of_it) {
            let memory = askers.get(&reply.asked.worker).into_iter().flat_map(|worker| &worker.memory);
            let mut pending = memory.filter(|pending| *pending.request() == reply.asked);
            if pending.any(|pending| pending.open(sharing, reply.from, &reply.reply).is_ok()) {
                seen.insert(reply.from);
            }
        }
        seen
    }
}
