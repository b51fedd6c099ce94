//! The link between an enclave and its host: a stream that delays and breaks, and a host that lies.
//!
//! A stream loses, doubles and reorders nothing: it breaks. A *host* does all of that and more. [`Liar`] sits between the
//! real host and the enclave, knows every message, and says what it likes. Every byte that leaves the enclave is looked at.

use codec::Encode;
use phala_primitives::Hash;
use phala_protocol::{
    EnclaveMessage, EnclaveNotice, EnclaveReply, EnclaveRequest, HostMessage, HostReply, HostRequest, Message, wire,
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::random::Dice;

/// Frames that wait between the stream and the enclave.
const QUEUED_FRAMES: usize = 4;

/// Bytes that wait between the stream and the host.
const QUEUED_BYTES: usize = 64 * 1024;

/// Messages that a liar remembers.
const REMEMBERED: usize = 64;

/// What a host can do to what passes between it and its enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Says again what it said a while ago.
    Replay,
    /// Says something twice.
    Double,
    /// Says something after what comes next.
    Reorder,
    /// Keeps something to itself.
    Omit,
    /// Changes a bit.
    Corrupt,
    /// Gives an answer of another kind.
    ForgeReply,
    /// Gives the bytes of another blob or program.
    OtherBlob,
    /// Gives fewer bytes than there are, or more than were asked for.
    WrongSize,
    /// Gives an older sealed blob.
    OldSealed,
    /// Says that there is no sealed blob.
    NoSealed,
    /// Says that it keeps what it throws away.
    ThrowAway,
    /// Never answers a read of a blob.
    Withhold,
    /// Asks for what nobody asked it for.
    Pester,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Replay,
        Self::Double,
        Self::Reorder,
        Self::Omit,
        Self::Corrupt,
        Self::ForgeReply,
        Self::OtherBlob,
        Self::WrongSize,
        Self::OldSealed,
        Self::NoSealed,
        Self::ThrowAway,
        Self::Withhold,
        Self::Pester,
    ];
}

/// The part of a host that lies. Honest until it is told to lie.
pub struct Liar {
    dice: Dice,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// How often in a thousand it tells each lie.
    lies: BTreeMap<Lie, u32>,
    told: u64,
    said: VecDeque<HostMessage>,
    held: Option<HostMessage>,
    /// What the enclave asked, by the number of the request.
    asked: BTreeMap<u64, EnclaveRequest>,
    /// Every version of each sealed blob.
    sealed: BTreeMap<String, Vec<Vec<u8>>>,
    /// Bytes that were served before.
    served: VecDeque<Vec<u8>>,
}

/// What becomes of what the enclave says.
enum Heard {
    Passed,
    Dropped,
    Answered(HostMessage),
}

impl Liar {
    /// An honest one.
    pub fn new(dice: Dice) -> Arc<Self> {
        Arc::new(Self { dice, memory: Mutex::default() })
    }

    /// From now on it tells this lie `per_mille` times of a thousand that it could.
    pub fn lie(&self, lie: Lie, per_mille: u32) {
        self.memory().lies.insert(lie, per_mille);
    }

    /// From now on it is honest.
    pub fn be_honest(&self) {
        let mut memory = self.memory();
        memory.lies.clear();
        memory.held = None;
    }

    /// How many lies it has told.
    pub fn told(&self) -> u64 {
        self.memory().told
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lies(&self, memory: &mut Memory, lie: Lie) -> bool {
        let per_mille = memory.lies.get(&lie).copied().unwrap_or(0);
        let lies = per_mille > 0 && self.dice.chance(per_mille);
        memory.told += u64::from(lies);
        lies
    }

    /// The enclave says something.
    fn hear(&self, message: &EnclaveMessage) -> Heard {
        let mut memory = self.memory();
        let Message::Request { id, request } = message else { return Heard::Passed };
        match request {
            EnclaveRequest::StoreSealed { name, bytes } => {
                memory.sealed.entry(name.clone()).or_default().push(bytes.clone());
            }
            EnclaveRequest::ReadBlob { .. } if self.lies(&mut memory, Lie::Withhold) => return Heard::Dropped,
            _ => {}
        }
        let keeps = matches!(
            request,
            EnclaveRequest::StoreSealed { .. } | EnclaveRequest::WriteOutput { .. } | EnclaveRequest::WriteCache { .. }
        );
        if keeps && self.lies(&mut memory, Lie::ThrowAway) {
            return Heard::Answered(Message::Reply { id: *id, reply: Ok(HostReply::Done) });
        }
        let kept = !matches!(request, EnclaveRequest::WriteOutput { .. } | EnclaveRequest::WriteCache { .. });
        if kept {
            memory.asked.insert(*id, request.clone());
        }
        while memory.asked.len() > REMEMBERED {
            memory.asked.pop_first();
        }
        Heard::Passed
    }

    /// The host says something. The result is what reaches the enclave.
    fn say(&self, message: HostMessage) -> Vec<Vec<u8>> {
        let mut memory = self.memory();
        let message = self.twist(&mut memory, message);
        let mut spoken = Vec::new();
        if self.lies(&mut memory, Lie::Omit) {
            // Nothing of it is said.
        } else if self.lies(&mut memory, Lie::Reorder) {
            spoken.extend(memory.held.replace(message.clone()));
        } else {
            spoken.push(message.clone());
            spoken.extend(memory.held.take());
        }
        if self.lies(&mut memory, Lie::Double) {
            spoken.push(message.clone());
        }
        if self.lies(&mut memory, Lie::Replay) && !memory.said.is_empty() {
            spoken.push(memory.said[self.dice.index(memory.said.len())].clone());
        }
        if self.lies(&mut memory, Lie::Pester) {
            spoken.push(self.pester());
        }
        memory.said.push_back(message);
        while memory.said.len() > REMEMBERED {
            memory.said.pop_front();
        }
        let mut frames: Vec<Vec<u8>> = spoken.iter().map(Encode::encode).collect();
        for frame in &mut frames {
            if self.lies(&mut memory, Lie::Corrupt) && !frame.is_empty() {
                let at = self.dice.index(frame.len());
                frame[at] ^= 1 << self.dice.below(8);
            }
        }
        frames
    }

    fn twist(&self, memory: &mut Memory, message: HostMessage) -> HostMessage {
        let (id, reply) = match message {
            Message::Reply { id, reply: Ok(reply) } => (id, reply),
            other => return other,
        };
        let asked = memory.asked.remove(&id);
        let reply = match (reply, &asked) {
            (HostReply::Sealed(_), Some(EnclaveRequest::LoadSealed { name }))
                if memory.sealed.contains_key(name) && self.lies(memory, Lie::OldSealed) =>
            {
                HostReply::Sealed(memory.sealed.get(name).map(|versions| self.dice.pick(versions).clone()))
            }
            (HostReply::Sealed(_), _) if self.lies(memory, Lie::NoSealed) => HostReply::Sealed(None),
            (HostReply::Bytes(bytes), _) => {
                let other = if memory.served.is_empty() { None } else { Some(self.dice.index(memory.served.len())) };
                memory.served.push_back(bytes.clone());
                while memory.served.len() > REMEMBERED {
                    memory.served.pop_front();
                }
                match other.and_then(|other| memory.served.get(other)).cloned() {
                    Some(other) if self.lies(memory, Lie::OtherBlob) => HostReply::Bytes(other),
                    _ if self.lies(memory, Lie::WrongSize) => HostReply::Bytes(self.resize(bytes)),
                    _ => HostReply::Bytes(bytes),
                }
            }
            (reply, _) => reply,
        };
        let reply = if self.lies(memory, Lie::ForgeReply) { self.forge() } else { reply };
        Message::Reply { id, reply: Ok(reply) }
    }

    fn resize(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self.dice.below(3) {
            0 => bytes.truncate(self.dice.index(bytes.len() + 1)),
            1 => bytes.extend(self.dice.bytes()),
            _ => bytes.resize(bytes.len() + (2 << 20), 0),
        }
        bytes
    }

    fn forge(&self) -> HostReply {
        match self.dice.below(4) {
            0 => HostReply::Done,
            1 => HostReply::Bytes(self.dice.bytes().to_vec()),
            2 => HostReply::Sealed(None),
            _ => HostReply::Sealed(Some(self.dice.bytes().to_vec())),
        }
    }

    fn pester(&self) -> HostMessage {
        let request = match self.dice.below(5) {
            0 => HostRequest::Register,
            1 => HostRequest::Heartbeat,
            2 => HostRequest::Challenge { nonce: self.dice.bytes() },
            3 => HostRequest::Status,
            _ => {
                let (job, attempt) = (self.dice.below(8), 1 + self.dice.below(3) as u32);
                HostRequest::StartJob { job, attempt, input: self.dice.bytes() }
            }
        };
        // Far from the numbers that the host itself uses.
        Message::Request { id: (1 << 40) + self.dice.below(1 << 20), request }
    }
}

/// Looks at what leaves an enclave.
pub trait Watcher: Send + Sync {
    /// A frame that leaves worker number `worker`'s enclave, and what it says. The greeting says nothing.
    fn left(&self, worker: usize, frame: &[u8], message: Option<&EnclaveMessage>);
}

/// How a worker's links are.
pub struct Route {
    /// Whose.
    pub worker: usize,
    /// The host's liar.
    pub liar: Arc<Liar>,
    /// Who looks at what leaves the enclave.
    pub watcher: Arc<dyn Watcher>,
    /// Where the delays come from.
    pub dice: Dice,
    /// The longest time that a frame takes, in milliseconds.
    pub delay_ms: u64,
    /// How often in a thousand the link breaks instead of carrying a frame.
    pub breaks: AtomicU32,
}

/// The enclave's end of a link.
pub type EnclaveEnd = (async_channel::Sender<Vec<u8>>, async_channel::Receiver<Vec<u8>>);

/// A new link: the enclave's end, the host's end. It breaks when `cut` is cancelled.
pub fn connect(route: Arc<Route>, cut: CancellationToken) -> (EnclaveEnd, DuplexStream) {
    let (to_host, from_enclave) = async_channel::bounded(QUEUED_FRAMES);
    let (to_enclave, from_host) = async_channel::bounded(QUEUED_FRAMES);
    let (here, there) = tokio::io::duplex(QUEUED_BYTES);
    let (reader, writer) = tokio::io::split(here);
    let carry = async move {
        tokio::select! {
            biased;
            _ = carry_up(&route, from_enclave, &to_enclave, writer) => {}
            _ = carry_down(&route, reader, &to_enclave) => {}
        }
    };
    tokio::spawn(cut.run_until_cancelled_owned(carry));
    ((to_host, from_host), there)
}

async fn carry_up(
    route: &Route,
    frames: async_channel::Receiver<Vec<u8>>,
    back: &async_channel::Sender<Vec<u8>>,
    mut writer: WriteHalf<DuplexStream>,
) -> io::Result<()> {
    let mut greeted = false;
    while let Ok(frame) = frames.recv().await {
        let message = if greeted { wire::decode::<EnclaveMessage>(&frame).ok() } else { None };
        greeted = true;
        route.watcher.left(route.worker, &frame, message.as_ref());
        route.travel().await?;
        match message.as_ref().map_or(Heard::Passed, |message| route.liar.hear(message)) {
            Heard::Passed => {
                writer.write_u32_le(frame.len() as u32).await?;
                writer.write_all(&frame).await?;
            }
            Heard::Dropped => {}
            Heard::Answered(answer) => {
                if back.send(answer.encode()).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn carry_down(
    route: &Route,
    mut reader: ReadHalf<DuplexStream>,
    frames: &async_channel::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut greeted = false;
    loop {
        let length = reader.read_u32_le().await?;
        let mut frame = vec![0; length as usize];
        reader.read_exact(&mut frame).await?;
        route.travel().await?;
        let spoken = match wire::decode::<HostMessage>(&frame) {
            Ok(message) if greeted => route.liar.say(message),
            _ => vec![frame],
        };
        greeted = true;
        for frame in spoken {
            if frames.send(frame).await.is_err() {
                return Ok(());
            }
        }
    }
}

impl Route {
    async fn travel(&self) -> io::Result<()> {
        if self.delay_ms > 0 {
            sleep(self.dice.millis(0, self.delay_ms)).await;
        }
        let breaks = self.breaks.load(Ordering::Relaxed);
        if breaks > 0 && self.dice.chance(breaks) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// What a message is, without anything that encryption makes differ; `None` for what comes all the time.
pub fn describe(message: &EnclaveMessage) -> Option<String> {
    Some(match message {
        Message::Request { request, .. } => match request {
            EnclaveRequest::Dial { .. } => "dials".into(),
            EnclaveRequest::ReadBlob { offset, .. } => format!("reads a blob from {offset}"),
            EnclaveRequest::WriteOutput { job, offset, .. } => format!("writes the output of job {job} from {offset}"),
            EnclaveRequest::LoadSealed { name } => format!("loads {}", kind(name)),
            EnclaveRequest::StoreSealed { name, .. } => format!("stores {}", kind(name)),
            EnclaveRequest::ReadCache { .. } => "reads the cache".into(),
            EnclaveRequest::WriteCache { last, .. } => format!("writes the cache, last: {last}"),
            EnclaveRequest::Key { .. } => "asks a gatekeeper for its part of a key".into(),
            EnclaveRequest::ClaimSealingKey(_) => "claims the key to seal with".into(),
        },
        Message::Reply { reply: Ok(reply), .. } => match reply {
            EnclaveReply::Started { .. } => "is started".into(),
            EnclaveReply::Registration(registration) => {
                format!("gives evidence at block {}", registration.statement.block_number)
            }
            EnclaveReply::Attestation(_) => "gives evidence of a gatekeeper".into(),
            EnclaveReply::Heartbeat(signed) => format!("gives a heartbeat at block {}", signed.heartbeat.block_number),
            EnclaveReply::Liveness(signed) => format!("answers a challenge at block {}", signed.liveness.block_number),
            EnclaveReply::Status(_) => return None,
            EnclaveReply::Key(_) => "gives its part of a key".into(),
            EnclaveReply::JobAccepted { blobs } => format!("accepts a job that reads {} blobs", blobs.len()),
        },
        Message::Reply { reply: Err(refusal), .. } => format!("refuses, retry: {}", refusal.retry),
        Message::Notice(notice) => match notice {
            EnclaveNotice::JobProgress { job, attempt, state } => format!("attempt {attempt} at job {job}: {state:?}"),
            EnclaveNotice::JobEnded { job, receipt } => {
                format!("attempt {} at job {job} ends: {:?}", receipt.receipt.attempt, receipt.receipt.outcome)
            }
            EnclaveNotice::JobRefused { job, attempt, refusal } => {
                format!("attempt {attempt} at job {job} is refused, retry: {}", refusal.retry)
            }
            EnclaveNotice::Submit(_) => "says something to the chain".into(),
            EnclaveNotice::BeaconPart(signed) => format!("says its part of round {}", signed.part.round),
            EnclaveNotice::Send { .. } | EnclaveNotice::Close { .. } | EnclaveNotice::Log { .. } => return None,
        },
    })
}

/// The first word of a sealed blob's name, and the job's number at its end.
fn kind(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default();
    match (first, words.nth(1)) {
        ("job", Some(job)) => format!("job-{job}"),
        _ => first.to_owned(),
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_protocol::HostNotice;

    fn notice(connection: u64) -> HostMessage {
        Message::Notice(HostNotice::Closed { connection })
    }

    #[test]
    fn an_honest_host_changes_nothing() {
        let liar = Liar::new(Dice::new(1, "liar"));
        for connection in 0..100 {
            assert_eq!(liar.say(notice(connection)), [notice(connection).encode()]);
        }
        assert_eq!(liar.told(), 0);
    }

    #[test]
    fn lies_are_told() {
        let liar = Liar::new(Dice::new(1, "liar"));
        liar.lie(Lie::Omit, 1000);
        assert!(liar.say(notice(1)).is_empty());
        liar.be_honest();
        liar.lie(Lie::Reorder, 1000);
        assert!(liar.say(notice(2)).is_empty());
        assert_eq!(liar.say(notice(3)), [notice(2).encode()]);
        liar.be_honest();
        liar.lie(Lie::Double, 1000);
        assert_eq!(liar.say(notice(4)).len(), 2);
        liar.be_honest();
        liar.lie(Lie::Corrupt, 1000);
        assert_ne!(liar.say(notice(5)), [notice(5).encode()]);
        assert!(liar.told() >= 5);
    }

    #[test]
    fn a_sealed_blob_can_be_replaced_by_an_older_one() {
        let liar = Liar::new(Dice::new(1, "liar"));
        let store = |bytes: u8| {
            let request = EnclaveRequest::StoreSealed { name: "chain-0".into(), bytes: vec![bytes] };
            liar.hear(&Message::Request { id: bytes.into(), request });
        };
        store(1);
        store(2);
        liar.lie(Lie::OldSealed, 1000);
        let mut seen = [false; 2];
        for id in 10..40 {
            liar.hear(&Message::Request { id, request: EnclaveRequest::LoadSealed { name: "chain-0".into() } });
            let frames = liar.say(Message::Reply { id, reply: Ok(HostReply::Sealed(Some(vec![2]))) });
            match wire::decode::<HostMessage>(&frames[0]).unwrap() {
                Message::Reply { reply: Ok(HostReply::Sealed(Some(bytes))), .. } => {
                    seen[usize::from(bytes[0]) - 1] = true
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [true; 2]);
    }
}
