//! The schedule of faults, which depends on the seed, the length and the number of workers, and on nothing else.
//!
//! Faults come in episodes. In an episode one to three faults overlap; after it comes a calm, in which everything has to
//! recover. Kinds of faults are dealt like cards: each comes once before any comes again. No process has two faults in an
//! episode, and the authorities have one, so that three of four go on, unless it is the fault that stops two.

use serde::{Serialize, Serializer};
use std::{collections::BTreeSet, fmt};

/// How many authorities there are: the fewest that go on without one.
pub const AUTHORITIES: u8 = 4;

/// How long the network works undisturbed at first, in seconds.
const WARM_UP_S: u64 = 10;

/// How long there is no fault after an episode, in seconds. A recovery that takes longer delays what follows.
pub const CALM_S: u64 = 20;

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// How long the run is, in seconds, from the network's first job on.
    pub seconds: u64,
    /// In order.
    pub episodes: Vec<Episode>,
}

/// Faults that overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Episode {
    /// When it begins, in seconds from the beginning of the run, if all before recovered in time.
    pub at_s: u64,
    /// What happens.
    pub faults: Vec<Fault>,
}

impl Episode {
    /// How long it is, in seconds.
    pub fn seconds(&self) -> u64 {
        self.faults.iter().map(|fault| fault.after_s + fault.for_s).max().unwrap_or_default()
    }
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// When, in seconds from the beginning of its episode.
    pub after_s: u64,
    /// How long, in seconds.
    pub for_s: u64,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Kind {
    /// A process is killed, and starts again at the end.
    Kill {
        /// Which.
        process: Process,
    },
    /// A process is stopped, and goes on at the end.
    Stop {
        /// Which.
        process: Process,
    },
    /// Links of a worker's host to its node are cut.
    Cut {
        /// Whose.
        worker: u8,
        /// Which.
        links: Links,
        /// Whether nothing comes through any more, rather than connections being closed and refused.
        silent: bool,
    },
    /// Both links of a worker's host to its node are slow.
    Slow {
        /// Whose.
        worker: u8,
        /// How much later each piece arrives, in milliseconds.
        delay_ms: u64,
        /// How many bytes go through in a second, at most.
        bytes_per_s: u64,
    },
    /// The disk of a worker's host is full.
    DiskFull {
        /// Whose.
        worker: u8,
    },
    /// A worker's host waits most of the time, as for a slow disk.
    SlowDisk {
        /// Whose.
        worker: u8,
    },
    /// A process starts again under a clock that is ahead or behind, and at the end under the right one.
    Clock {
        /// Which.
        process: Process,
        /// The clock.
        clock: Clock,
        /// How far ahead, in seconds.
        ahead_s: i64,
    },
}

impl Kind {
    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Stop { .. } => "stop",
            Self::Cut { silent: false, .. } => "cut",
            Self::Cut { silent: true, .. } => "silence",
            Self::Slow { .. } => "slow links",
            Self::DiskFull { .. } => "disk full",
            Self::SlowDisk { .. } => "slow disk",
            Self::Clock { clock: Clock::Monotonic, .. } => "monotonic clock",
            Self::Clock { clock: Clock::Wall, .. } => "wall clock",
        }
    }
}

/// A link of a host to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Links {
    /// JSON-RPC.
    Rpc,
    /// The light client's connection to the node that it knows from the chain's specification.
    Peers,
    /// Both.
    Both,
}

/// A clock of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The time since boot.
    Monotonic,
    /// The time of day.
    Wall,
}

/// A process of the network, by its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// An authority's node.
    Node(u8),
    /// A worker's host.
    Host(u8),
    /// A worker's enclave.
    Enclave(u8),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(f, "node-{number}"),
            Self::Host(number) => write!(f, "host-{number}"),
            Self::Enclave(number) => write!(f, "enclave-{number}"),
        }
    }
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Kill { process } | Self::Stop { process } => write!(f, "{name} {process}"),
            Self::Cut { worker, links, .. } => {
                let links = match links {
                    Links::Rpc => "its node's RPC",
                    Links::Peers => "the light client's peer",
                    Links::Both => "its node",
                };
                write!(f, "{name} between host-{worker} and {links}")
            }
            Self::Slow { worker, delay_ms, bytes_per_s } => {
                write!(f, "{name} of host-{worker}: {delay_ms} ms, {bytes_per_s} bytes/s")
            }
            Self::DiskFull { worker } | Self::SlowDisk { worker } => write!(f, "{name} of host-{worker}"),
            Self::Clock { process, ahead_s, .. } => write!(f, "{name} of {process} by {ahead_s:+} s"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} s, {} episodes", self.seed, self.seconds, self.episodes.len())?;
        for episode in &self.episodes {
            for fault in &episode.faults {
                let (from, to) = (episode.at_s + fault.after_s, episode.at_s + fault.after_s + fault.for_s);
                writeln!(f, "{from:>6} – {to:>5} s  {}", fault.kind)?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Draws a plan.
    ///
    /// # Panics
    /// Without workers.
    pub fn draw(seed: u64, seconds: u64, workers: u8) -> Self {
        assert!(workers > 0, "somebody has to work");
        let mut dice = Dice::new(seed);
        let mut deck = Vec::new();
        let mut episodes = Vec::new();
        let mut at_s = WARM_UP_S;
        loop {
            let episode = Episode { at_s, faults: episode(&mut dice, &mut deck, workers) };
            at_s += episode.seconds() + CALM_S;
            if at_s > seconds {
                return Self { seed, seconds, episodes };
            }
            episodes.push(episode);
        }
    }
}

/// A card of the deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    KillNode,
    StopNode,
    TwoNodes,
    KillHost,
    StopHost,
    KillEnclave,
    StopEnclave,
    CutRpc,
    CutPeers,
    CutBoth,
    Slow,
    DiskFull,
    SlowDisk,
    MonotonicClock,
    NodeClock,
    WallClock,
}

impl Card {
    const ALL: [Self; 16] = [
        Self::KillNode,
        Self::StopNode,
        Self::TwoNodes,
        Self::KillHost,
        Self::StopHost,
        Self::KillEnclave,
        Self::StopEnclave,
        Self::CutRpc,
        Self::CutPeers,
        Self::CutBoth,
        Self::Slow,
        Self::DiskFull,
        Self::SlowDisk,
        Self::MonotonicClock,
        Self::NodeClock,
        Self::WallClock,
    ];

    fn is_for_nodes(self) -> bool {
        matches!(self, Self::KillNode | Self::StopNode | Self::TwoNodes | Self::NodeClock)
    }
}

fn episode(dice: &mut Dice, deck: &mut Vec<Card>, workers: u8) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut nodes_used = false;
    let mut workers_free: BTreeSet<u8> = (1..=workers).collect();
    for _ in 0..dice.between(1, 3) {
        if deck.is_empty() {
            deck.extend(Card::ALL);
            dice.shuffle(deck);
        }
        let fits = |card: &Card| if card.is_for_nodes() { !nodes_used } else { !workers_free.is_empty() };
        let Some(at) = deck.iter().position(fits) else { break };
        let card = deck.remove(at);
        if card.is_for_nodes() {
            nodes_used = true;
            faults.extend(node_faults(dice, card));
        } else {
            let free: Vec<u8> = workers_free.iter().copied().collect();
            let worker = free[dice.below(free.len() as u64) as usize];
            workers_free.remove(&worker);
            faults.push(worker_fault(dice, card, worker));
        }
    }
    faults
}

fn node_faults(dice: &mut Dice, card: Card) -> Vec<Fault> {
    let first = dice.between(1, AUTHORITIES.into()) as u8;
    let process = Process::Node(first);
    let (after_s, for_s) = (dice.below(6), dice.between(5, 25));
    let kind = match card {
        Card::KillNode => Kind::Kill { process },
        Card::NodeClock => Kind::Clock { process, clock: Clock::Monotonic, ahead_s: dice.between(60, 30 * DAY) as i64 },
        Card::TwoNodes => {
            // Any other.
            let second = (first - 1 + dice.between(1, u64::from(AUTHORITIES) - 1) as u8) % AUTHORITIES + 1;
            // Long enough to see that finality waits.
            let for_s = dice.between(30, 45);
            let mut fault = |process| {
                let kind = if dice.below(2) == 0 { Kind::Stop { process } } else { Kind::Kill { process } };
                Fault { after_s, for_s, kind }
            };
            return vec![fault(process), fault(Process::Node(second))];
        }
        _ => Kind::Stop { process },
    };
    vec![Fault { after_s, for_s, kind }]
}

fn worker_fault(dice: &mut Dice, card: Card, worker: u8) -> Fault {
    let (host, enclave) = (Process::Host(worker), Process::Enclave(worker));
    let (after_s, mut for_s) = (dice.below(6), dice.between(5, 30));
    let kind = match card {
        Card::KillHost => Kind::Kill { process: host },
        Card::StopHost => Kind::Stop { process: host },
        Card::KillEnclave => Kind::Kill { process: enclave },
        Card::StopEnclave => Kind::Stop { process: enclave },
        Card::CutRpc => cut(dice, worker, Links::Rpc),
        Card::CutPeers => cut(dice, worker, Links::Peers),
        Card::CutBoth => cut(dice, worker, Links::Both),
        Card::Slow => Kind::Slow { worker, delay_ms: dice.between(50, 1000), bytes_per_s: dice.between(8, 256) * 1024 },
        Card::DiskFull => Kind::DiskFull { worker },
        Card::SlowDisk => Kind::SlowDisk { worker },
        Card::WallClock => {
            let far = dice.between(60, DAY) as i64;
            let ahead_s = if dice.below(2) == 0 { far } else { -far };
            Kind::Clock { process: host, clock: Clock::Wall, ahead_s }
        }
        _ => {
            let process = if dice.below(2) == 0 { host } else { enclave };
            Kind::Clock { process, clock: Clock::Monotonic, ahead_s: dice.between(60, 30 * DAY) as i64 }
        }
    };
    if matches!(kind, Kind::Kill { .. }) && dice.below(3) == 0 {
        // At once again, as by a supervisor.
        for_s = 0;
    }
    Fault { after_s, for_s, kind }
}

fn cut(dice: &mut Dice, worker: u8, links: Links) -> Kind {
    Kind::Cut { worker, links, silent: dice.below(2) == 0 }
}

/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Numbers from a seed, by SplitMix64: the same for ever, whatever becomes of any crate.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at as u64 + 1) as usize;
            items.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60;

    /// Which processes a fault is about.
    fn target(kind: &Kind) -> Process {
        match *kind {
            Kind::Kill { process } | Kind::Stop { process } | Kind::Clock { process, .. } => process,
            Kind::Cut { worker, .. }
            | Kind::Slow { worker, .. }
            | Kind::DiskFull { worker }
            | Kind::SlowDisk { worker } => Process::Host(worker),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(Plan::draw(7, HOUR, 3), Plan::draw(7, HOUR, 3));
        assert_eq!(Plan::draw(7, HOUR, 3).to_string(), Plan::draw(7, HOUR, 3).to_string());
        assert_ne!(Plan::draw(7, HOUR, 3), Plan::draw(8, HOUR, 3));
    }

    #[test]
    fn the_numbers_are_those_of_splitmix() {
        let mut dice = Dice::new(1_234_567);
        let numbers = [dice.next(), dice.next(), dice.next()];
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_longer_run_begins_as_a_shorter_one_does() {
        let (short, long) = (Plan::draw(3, 900, 3), Plan::draw(3, HOUR, 3));
        assert!(!short.episodes.is_empty() && short.episodes.len() < long.episodes.len());
        assert_eq!(short.episodes, long.episodes[..short.episodes.len()]);
    }

    #[test]
    fn episodes_do_not_overlap_and_leave_time_to_recover() {
        for seed in 0..50 {
            let plan = Plan::draw(seed, HOUR, 3);
            let mut free = WARM_UP_S;
            for episode in &plan.episodes {
                assert!(episode.at_s >= free && !episode.faults.is_empty(), "{plan}");
                free = episode.at_s + episode.seconds() + CALM_S;
            }
            assert!(free <= plan.seconds, "{plan}");
        }
    }

    #[test]
    fn three_authorities_go_on_unless_two_are_stopped_together() {
        for seed in 0..50 {
            for episode in Plan::draw(seed, HOUR, 3).episodes {
                let mut targets = BTreeSet::new();
                let mut nodes = Vec::new();
                for fault in &episode.faults {
                    let target = target(&fault.kind);
                    assert!(targets.insert(target), "{episode:?}");
                    if let Process::Node(number) = target {
                        assert!((1..=AUTHORITIES).contains(&number));
                        nodes.push((fault.after_s, fault.for_s));
                    }
                }
                assert!(nodes.len() <= 2 && nodes.windows(2).all(|pair| pair[0] == pair[1]), "{episode:?}");
            }
        }
    }

    #[test]
    fn every_kind_of_fault_comes_in_an_hour() {
        let plan = Plan::draw(1, HOUR, 3);
        let kinds = plan.episodes.iter().flat_map(|episode| &episode.faults).map(|fault| fault.kind.name());
        let kinds: BTreeSet<_> = kinds.collect();
        let all =
            ["kill", "stop", "cut", "silence", "slow links", "disk full", "slow disk", "monotonic clock", "wall clock"];
        assert_eq!(kinds, BTreeSet::from(all));
    }

    #[test]
    fn one_worker_is_enough() {
        assert!(!Plan::draw(1, 600, 1).episodes.is_empty());
    }
}
