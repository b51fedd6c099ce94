//! What ceremonies, parts of signatures and encryption to an app cost, beside something known in the same run: encryption to an X25519
//! recipient of `age`. Every gatekeeper says the truth.
//!
//! ```sh
//! cargo run -p phala-keys --example ceremonies
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use codec::Encode;
use ed25519_dalek::SigningKey;
use phala_app_encryption::{AppRecipient, Purpose, Target};
use phala_keys::{
    AppKey, CeremonyView, Facts, Granted, Identity, PendingRequest, Share, State, Step, VerifiedRequest,
    VerifiedSharing, View, combine_app_key, reply,
};
use phala_primitives::{
    AppId, GatekeeperId, WorkerId,
    gatekeeper::{Ceremony, CeremonyId, Content, KeyRequest, NetworkKey, Phase, Sharing, SignedPost, threshold},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const GENESIS: [u8; 32] = [7; 32];
const APP: AppId = AppId([3; 32]);
const KEY: NetworkKey = NetworkKey::Epoch(0);
const PHASES: [Phase; 5] = [Phase::Enrol, Phase::Deal, Phase::Answer, Phase::Log, Phase::Confirm];

struct Network {
    identities: Vec<Identity>,
    states: Vec<State>,
    view: View,
    rng: ChaCha20Rng,
}

/// What a ceremony took: of one gatekeeper on average, by phase; on chain, by phase.
#[derive(Default)]
struct Cost {
    time: BTreeMap<Phase, Duration>,
    bytes: BTreeMap<Phase, usize>,
}

impl Network {
    fn new(count: u8) -> Self {
        let mut identities: Vec<_> = (1..=count)
            .map(|n| Identity::new(GENESIS, &SigningKey::from_bytes(&[n; 32])).expect("an Ed25519 key"))
            .collect();
        identities.sort_by_key(Identity::id);
        let states = (0..count).map(|_| State::new()).collect();
        Self { identities, states, view: View::default(), rng: ChaCha20Rng::from_seed([count; 32]) }
    }

    fn step(&mut self, number: usize) -> Vec<SignedPost> {
        loop {
            match self.states[number].step(&self.identities[number], &self.view, &mut self.rng) {
                Step::Seal(unsealed) => self.states[number].sealed(unsealed),
                Step::Post { posts, asides } => {
                    assert!(asides.is_empty());
                    return posts;
                }
            }
        }
    }

    fn run(&mut self, id: CeremonyId) -> Cost {
        let mut cost = Cost::default();
        let ids: Vec<GatekeeperId> = self.identities.iter().map(Identity::id).collect();
        let previous = self.view.sharings.get(&KEY).cloned();
        let ceremony = Ceremony {
            key: KEY,
            attempt: 1,
            previous: previous.as_ref().map(|sharing| sharing.ceremony),
            dealers: ids.clone(),
            players: ids.clone(),
            phase: Phase::Enrol,
            phase_ends: 0,
        };
        self.view.ceremonies.insert(id, CeremonyView::new(ceremony, previous));
        for phase in PHASES {
            self.on_chain(id).ceremony.phase = phase;
            let start = Instant::now();
            let posts: Vec<_> = (0..ids.len()).map(|number| self.step(number)).collect();
            cost.time.insert(phase, start.elapsed() / ids.len() as u32);
            for signed in posts.into_iter().flatten() {
                *cost.bytes.entry(phase).or_default() += signed.encoded_size();
                let (on_chain, me) = (self.on_chain(id), signed.post.gatekeeper);
                match signed.post.content {
                    Content::Enrolment(key) => drop(on_chain.enrolments.insert(me, key).is_some()),
                    Content::Dealing(dealing) => drop(on_chain.dealings.insert(me, dealing)),
                    Content::Answers(answers) => drop(on_chain.answers.insert(me, answers)),
                    Content::Log(log) => drop(on_chain.logs.insert(me, log)),
                    Content::Confirmation(it) => drop(on_chain.confirmations.insert(me, it).is_some()),
                    Content::Output(_) => {}
                }
            }
        }
        // One of them is enough.
        let signed = self.step(0).remove(0);
        *cost.bytes.entry(Phase::Confirm).or_default() += signed.encoded_size();
        let Content::Output(output) = signed.post.content else { panic!("the output is what is left to say") };
        let public_key = self.on_chain(id).confirmations[&ids[0]].public_key;
        let sharing = Sharing { ceremony: id, public_key, players: ids.clone(), output, since: 0 };
        self.view.sharings.insert(KEY, sharing);
        (0..ids.len()).for_each(|number| assert!(self.step(number).is_empty()));
        cost
    }

    fn on_chain(&mut self, id: CeremonyId) -> &mut CeremonyView {
        self.view.ceremonies.get_mut(&id).expect("it goes on")
    }

    fn share(&self, number: usize) -> Share {
        self.states[number].share(KEY).expect("the ceremony ended well").clone()
    }
}

/// The median of a few.
fn time<T>(runs: usize, mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let result = run();
        times.push(start.elapsed());
        if times.len() == runs {
            times.sort();
            return (times[runs / 2], result);
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn main() {
    println!("Ceremonies: time of one gatekeeper on one core in ms, and all posts on chain in bytes");
    println!(
        "{:>3} {:>3} {:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "n", "t", "", "enrol", "deal", "answer", "log", "confirm", "all"
    );
    let mut last = None;
    for count in [3, 7, 16, 32] {
        let mut network = Network::new(count);
        for (id, name) in [(1, "new key"), (2, "dealt anew")] {
            let cost = network.run(id);
            print!("{count:>3} {:>3} {name:<10}", threshold(u32::from(count)));
            PHASES.iter().for_each(|phase| print!(" {:>8.1}", ms(cost.time[phase])));
            println!(" {:>6.1} ms", ms(cost.time.values().sum()));
            print!("{:18}", "");
            PHASES.iter().for_each(|phase| print!(" {:>8}", cost.bytes[phase]));
            println!(" {:>7} B", cost.bytes.values().sum::<usize>());
        }
        last = Some(signatures(network, count));
    }
    encryption(&last.expect("there was one"));
}

/// The release of an app's key.
fn signatures(mut network: Network, count: u8) -> (AppKey, VerifiedSharing) {
    let (reading, sharing) = time(5, || VerifiedSharing::new(&network.view.sharings[&KEY]).expect("it is well formed"));
    let signing = SigningKey::from_bytes(&[0xee; 32]);
    let worker = WorkerId(signing.verifying_key().to_bytes());
    let request = KeyRequest {
        genesis_hash: GENESIS,
        worker,
        job: 1,
        attempt: 1,
        app: APP,
        version: 1,
        key: KEY,
        reply_key: [0; 32],
    };
    let facts = Facts {
        genesis_hash: GENESIS,
        now: 1,
        job: 1,
        worker,
        attempt: 1,
        app: APP,
        version: 1,
        verdict_expires: 2,
        epochs: Some((0, 0)),
    };
    let (pending, signed) = PendingRequest::new(request, &signing, &mut network.rng).expect("the worker's own key");
    let share = network.share(0);
    let (replying, _) = time(21, || {
        let request = VerifiedRequest::new(&signed).expect("it is signed");
        reply(&share, Granted::new(request, &facts).expect("all is right"), &mut network.rng).expect("a good key")
    });
    let mut parts = Vec::new();
    let mut opening = Duration::ZERO;
    for number in 0..threshold(u32::from(count)) as usize {
        let request = VerifiedRequest::new(&signed).expect("it is signed");
        let granted = Granted::new(request, &facts).expect("all is right");
        let reply = reply(&network.share(number), granted, &mut network.rng).expect("a good key");
        let id = network.identities[number].id();
        let (took, part) = time(5, || pending.open(&sharing, id, &reply).expect("a good part"));
        opening += took;
        parts.push(part);
    }
    let (combining, key) = time(11, || combine_app_key(&sharing, APP, 1, &parts).expect("they are enough"));
    println!(
        "{count:>3} {:>3} app key: reply {:.2} ms; read the sharing {:.2}, open and verify a part {:.2}, combine {:.2} ms",
        parts.len(),
        ms(replying),
        ms(reading),
        ms(opening) / parts.len() as f64,
        ms(combining)
    );
    (key, sharing)
}

fn encryption((key, sharing): &(AppKey, VerifiedSharing)) {
    println!("Encryption of 1 KiB by age, median of 51: ms, and bytes of header and file");
    let input = vec![1; 1024];
    let known_key = age::x25519::Identity::generate();
    let (known, file) = time(51, || age::encrypt(&known_key.to_public(), &input).expect("it encrypts"));
    let (known_back, _) = time(51, || age::decrypt(&known_key, &file).expect("it decrypts"));
    println!(
        "to an X25519 recipient: encrypt {:.2}, decrypt {:.2} ms, {} bytes",
        ms(known),
        ms(known_back),
        file.len()
    );
    let recipient =
        AppRecipient::new(Target { purpose: Purpose::File, epoch: 0, app: APP, version: 1 }, &sharing.public_key())
            .expect("a good key");
    let identity = key.inputs(Purpose::File, 0).expect("the app's key in this epoch");
    let (ours, file) = time(51, || age::encrypt(&recipient, &input).expect("it encrypts"));
    let (back, _) = time(51, || age::decrypt(&identity, &file).expect("it decrypts"));
    println!(
        "to an app in an epoch:  encrypt {:.2} ({:.1} times), decrypt {:.2} ms ({:.1} times), {} bytes",
        ms(ours),
        ours.as_secs_f64() / known.as_secs_f64(),
        ms(back),
        back.as_secs_f64() / known_back.as_secs_f64(),
        file.len()
    );
}
