//! A host that tampers: a relay on the Unix socket between a real enclave's process and its real host.
//!
//! Left alone it carries every frame. A test decides what becomes of those on which keys hang: see [`What`] and [`Deed`]. All others
//! pass, the light client's bytes among them. What is changed is a message of the same kind, so that it gets as far as the
//! checks of whom it is for.

use anyhow::{Context, Result};
use codec::{Codec, DecodeAll};
use phala_primitives::gatekeeper::Content;
use phala_protocol::{
    EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, Hello, HostMessage, HostNotice, HostReply,
    HostRequest, Message, Refusal, Submission, wire,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io::{self, Write},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::Network;

/// For how long something is delayed: a block or two.
const DELAY: Duration = Duration::from_secs(3);

/// How many messages of each kind are kept for replays: the first ones.
const MOST_KEPT: usize = 64;

/// What may be tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A gatekeeper's enclave enrols for a ceremony.
    Enrolment,
    /// Its dealing.
    Dealing,
    /// Its answers to the dealings.
    Answers,
    /// Its log of them.
    Log,
    /// Its word for what came out.
    Confirmation,
    /// What came out.
    Output,
    /// A whole round of the beacon, for the chain.
    Beacon,
    /// A report that its share is lost.
    LostShare,
    /// Digests of what it has released.
    Releases,
    /// A gatekeeper's part of a round, on its way to the others.
    OwnPart,
    /// Another gatekeeper's part of a round, on its way to this one.
    OthersPart,
    /// A request for a part of an app key, from a worker's enclave or to a gatekeeper's.
    KeyRequest,
    /// The part of an app key, on its way back.
    KeyPart,
    /// The host's word that it has stored what a gatekeeper's enclave sealed of its shares and ceremonies.
    Stored,
}

impl What {
    fn of(submission: &Submission) -> Self {
        match submission {
            Submission::Post(signed) => match signed.post.content {
                Content::Enrolment(_) => Self::Enrolment,
                Content::Dealing(_) => Self::Dealing,
                Content::Answers(_) => Self::Answers,
                Content::Log(_) => Self::Log,
                Content::Confirmation(_) => Self::Confirmation,
                Content::Output(_) => Self::Output,
            },
            Submission::Beacon(_) => Self::Beacon,
            Submission::LostShare(_) => Self::LostShare,
            Submission::Releases(_) => Self::Releases,
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It passes.
    Pass,
    /// A bit of it is flipped. [`What::Stored`] becomes a refusal.
    Flip,
    /// An earlier one of its kind takes its place, in the same frame.
    Replay,
    /// It comes some seconds later.
    Delay,
    /// It does not come.
    Drop,
}

/// Decides about a message: the how manieth of its kind it is since the relay began to tamper.
type Decide = dyn FnMut(What, usize) -> Deed + Send;

/// A relay. Hangs up when dropped.
pub struct Relay {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    host: PathBuf,
    decide: Mutex<Option<Box<Decide>>>,
    /// What was done since the relay began to tamper.
    done: Mutex<BTreeMap<(What, Deed), usize>>,
    /// Encoded messages.
    kept: Mutex<BTreeMap<What, Vec<Vec<u8>>>>,
    /// The enclave's requests to store that.
    stores: Mutex<BTreeSet<u64>>,
    connections: AtomicUsize,
    /// Both ends of the newest connection.
    open: Mutex<Option<[UnixStream; 2]>>,
    is_over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Before the socket of an enclave's host: where the enclave connects from its next start on.
    ///
    /// # Errors
    /// When there is no such enclave, or the relay cannot listen.
    pub fn before(network: &Network, enclave: &str) -> Result<Self> {
        let folder = network.path().join(format!("{enclave}-relay"));
        fs::create_dir(&folder)?;
        // The enclave may run as another user.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        let relay = Self::start(folder.join("enclave.sock"), network.option(enclave, "--socket")?.into())?;
        let socket = relay.socket.to_str().context("a path in UTF-8")?;
        network.set_option(enclave, "--socket", Some(socket))?;
        Ok(relay)
    }

    fn start(socket: PathBuf, host: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
        let shared = Arc::new(Shared { host, ..Shared::default() });
        let serving = shared.clone();
        thread::spawn(move || serving.listen(&listener));
        Ok(Self { socket, shared })
    }

    /// Tampers from now on.
    pub fn tamper(&self, decide: impl FnMut(What, usize) -> Deed + Send + 'static) {
        lock(&self.shared.done).clear();
        *lock(&self.shared.decide) = Some(Box::new(decide));
    }

    /// Passes everything from now on.
    pub fn be_honest(&self) {
        *lock(&self.shared.decide) = None;
    }

    /// How often something was done since the relay began to tamper.
    pub fn done(&self, what: What, deed: Deed) -> usize {
        lock(&self.shared.done).get(&(what, deed)).copied().unwrap_or(0)
    }

    /// How often the enclave has connected.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(ends) = lock(&self.shared.open).take() {
            hang_up(&ends);
        }
        // Wakes who listens.
        let _ = UnixStream::connect(&self.socket);
    }
}

fn hang_up(ends: &[UnixStream]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &UnixListener) {
        for enclave in listener.incoming() {
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            // While the host is away, the enclave tries again.
            let _ = enclave.and_then(|enclave| self.connect(enclave));
        }
    }

    fn connect(self: &Arc<Self>, enclave: UnixStream) -> io::Result<()> {
        let host = UnixStream::connect(&self.host)?;
        *lock(&self.open) = Some([enclave.try_clone()?, host.try_clone()?]);
        self.connections.fetch_add(1, Ordering::AcqRel);
        let (this, from, to) = (self.clone(), enclave.try_clone()?, host.try_clone()?);
        thread::spawn(move || this.carry(from, to, Self::to_host));
        let this = self.clone();
        thread::spawn(move || this.carry(host, enclave, Self::to_enclave));
        Ok(())
    }

    /// Carries one direction until either end hangs up.
    fn carry<M: Codec>(&self, mut from: UnixStream, to: UnixStream, tamper: fn(&Self, &mut M) -> Deed) {
        if let Ok(end) = to.try_clone() {
            let _ = self.carry_frames(&mut from, &Arc::new(Mutex::new(to)), tamper);
            hang_up(&[from, end]);
        }
    }

    fn carry_frames<M: Codec>(
        &self,
        from: &mut UnixStream,
        to: &Arc<Mutex<UnixStream>>,
        tamper: fn(&Self, &mut M) -> Deed,
    ) -> Result<(), wire::Error> {
        let hello: Hello = wire::read(from)?;
        wire::write(&mut *lock(to), &hello)?;
        loop {
            let mut message: M = wire::read(from)?;
            let deed = tamper(self, &mut message);
            let frame = wire::encode(&message);
            match deed {
                Deed::Pass | Deed::Flip | Deed::Replay => lock(to).write_all(&frame)?,
                Deed::Delay => {
                    let to = to.clone();
                    thread::spawn(move || {
                        thread::sleep(DELAY);
                        lock(&to).write_all(&frame)
                    });
                }
                Deed::Drop => {}
            }
        }
    }

    fn to_host(&self, message: &mut EnclaveMessage) -> Deed {
        match message {
            Message::Notice(EnclaveNotice::Submit(submission)) => self.change(What::of(submission), submission),
            Message::Notice(EnclaveNotice::BeaconPart(part)) => self.change(What::OwnPart, part),
            Message::Request { request: EnclaveRequest::Key { request, .. }, .. } => {
                self.change(What::KeyRequest, &mut **request)
            }
            Message::Reply { reply: Ok(EnclaveReply::Key(part)), .. } => self.change(What::KeyPart, part),
            Message::Request { id, request: EnclaveRequest::StoreSealed { name, .. } }
                if name.starts_with("gatekeeper-") =>
            {
                lock(&self.stores).insert(*id);
                Deed::Pass
            }
            _ => Deed::Pass,
        }
    }

    fn to_enclave(&self, message: &mut HostMessage) -> Deed {
        match message {
            Message::Notice(HostNotice::BeaconPart(part)) => self.change(What::OthersPart, part),
            Message::Request { request: HostRequest::Key(request), .. } => {
                self.change(What::KeyRequest, &mut **request)
            }
            Message::Reply { reply: Ok(HostReply::Key(part)), .. } => self.change(What::KeyPart, part),
            Message::Reply { id, reply } if lock(&self.stores).remove(&*id) => {
                let (deed, _) = self.decide(What::Stored);
                if deed == Deed::Flip {
                    *reply = Err(Refusal { reason: "the disk is full".into(), retry: true });
                }
                deed
            }
            _ => Deed::Pass,
        }
    }

    /// What becomes of a message, and how many there were of its kind before it.
    fn decide(&self, what: What) -> (Deed, usize) {
        let mut decide = lock(&self.decide);
        let Some(decide) = &mut *decide else { return (Deed::Pass, 0) };
        let mut done = lock(&self.done);
        let before = done.iter().filter(|((kind, _), _)| *kind == what).map(|(_, count)| count).sum();
        let deed = decide(what, before);
        *done.entry((what, deed)).or_default() += 1;
        (deed, before)
    }

    /// Decides about a message, and changes it.
    fn change<T: Codec>(&self, what: What, message: &mut T) -> Deed {
        let (deed, number) = self.decide(what);
        let honest = message.encode();
        let mut kept = lock(&self.kept);
        let kept = kept.entry(what).or_default();
        let changed = match deed {
            Deed::Flip => flipped(&honest, number),
            Deed::Replay => kept.get(number % kept.len().max(1)).and_then(|bytes| T::decode_all(&mut &bytes[..]).ok()),
            Deed::Pass | Deed::Delay | Deed::Drop => None,
        };
        if let Some(changed) = changed {
            *message = changed;
        }
        if kept.len() < MOST_KEPT {
            kept.push(honest);
        }
        deed
    }
}

/// What is encoded, with one bit flipped: another one for each number. Bits are passed over that make it no message.
fn flipped<T: Codec>(encoded: &[u8], number: usize) -> Option<T> {
    let bits = 8 * encoded.len();
    let first = number * 8191;
    (first..first + bits).find_map(|bit| {
        let bit = bit % bits;
        let mut bytes = encoded.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        T::decode_all(&mut &bytes[..]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use codec::Encode;
    use phala_primitives::{
        GatekeeperId,
        gatekeeper::{BeaconPart, SignedBeaconPart},
    };

    fn part(round: u32) -> EnclaveMessage {
        let gatekeeper = GatekeeperId([2; 32]);
        let part = BeaconPart { genesis_hash: [1; 32], round, gatekeeper, ceremony: 3, partial: vec![4; 52] };
        Message::Notice(EnclaveNotice::BeaconPart(SignedBeaconPart { part, signature: [5; 64] }))
    }

    #[test]
    fn each_deed_does_what_it_says() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [socket, host] = ["socket", "host"].map(|name| folder.path().join(name));
        let listener = UnixListener::bind(&host)?;
        let relay = Relay::start(socket.clone(), host)?;
        let mut enclave = UnixStream::connect(socket)?;
        let (mut host, _) = listener.accept()?;
        wire::write(&mut enclave, &Hello::CURRENT)?;
        ensure!(wire::read::<Hello>(&mut host)? == Hello::CURRENT);
        let deeds = [Deed::Pass, Deed::Delay, Deed::Flip, Deed::Replay, Deed::Drop, Deed::Pass];
        relay.tamper(move |_, number| deeds[number]);
        for round in 0..6 {
            wire::write(&mut enclave, &part(round))?;
        }
        ensure!(wire::read::<EnclaveMessage>(&mut host)? == part(0));
        let Message::Notice(EnclaveNotice::BeaconPart(_)) = wire::read::<EnclaveMessage>(&mut host)? else {
            anyhow::bail!("a flipped bit made another message of it");
        };
        let rest: Vec<EnclaveMessage> = (0..3).map(|_| wire::read(&mut host)).collect::<Result<_, _>>()?;
        ensure!(rest == [part(0), part(5), part(1)], "{rest:?}");
        ensure!(deeds[1..5].iter().all(|deed| relay.done(What::OwnPart, *deed) == 1));
        relay.be_honest();
        wire::write(&mut enclave, &part(7))?;
        ensure!(wire::read::<EnclaveMessage>(&mut host)? == part(7));
        drop(relay);
        ensure!(wire::read::<EnclaveMessage>(&mut host).is_err());
        Ok(())
    }

    #[test]
    fn one_bit_is_flipped_and_another_each_time() -> Result<()> {
        let honest = part(1).encode();
        let mut seen = BTreeSet::new();
        for number in 0..40 {
            let changed: EnclaveMessage = flipped(&honest, number).context("some bit can be flipped")?;
            let changed = changed.encode();
            let bits: u32 = honest.iter().zip(&changed).map(|(one, other)| (one ^ other).count_ones()).sum();
            ensure!(changed.len() == honest.len() && bits == 1);
            seen.insert(changed);
        }
        ensure!(seen.len() > 30);
        Ok(())
    }
}
