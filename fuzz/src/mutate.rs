//! Inputs made from other inputs: small changes, of which some get past a parser's first checks.

/// The longest input that mutations make, in bytes.
pub const MAX_INPUT_BYTES: usize = 128 * 1024;

/// Numbers at which something tends to change.
const EDGES: &[u64] = &[
    0,
    1,
    0x3f,
    0x40,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x3fff,
    0x4000,
    0x7fff,
    0xffff,
    0x1_0000,
    0x3fff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Compact lengths of SCALE: of each width, large ones, and some that are wider than they have to be.
const LENGTHS: &[&[u8]] = &[
    &[0x00],
    &[0x04],
    &[0xfc],
    &[0x01, 0x00],
    &[0x01, 0x01],
    &[0xfd, 0xff],
    &[0x02, 0x00, 0x00, 0x00],
    &[0x02, 0x00, 0x01, 0x00],
    &[0xfe, 0xff, 0xff, 0xff],
    &[0x03, 0x00, 0x00, 0x00, 0x40],
    &[0x03, 0xff, 0xff, 0xff, 0xff],
    &[0x33, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];

/// Numbers as text.
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"+1",
    b"00",
    b"1e400",
    b"0.1",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
];

/// Pseudo-random numbers, the same for the same seed: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.number().checked_rem(bound as u64).unwrap_or(0) as usize
    }

    /// One of several.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    /// Where something begins and ends in `length` bytes: often short, sometimes anything.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = length - start;
        let most = if self.below(4) == 0 { most } else { most.min(16) };
        start..start + self.below(most + 1)
    }
}

/// Changes `input` in one to four places, with parts of `other` and `tokens`.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], tokens: &[&[u8]]) {
    for _ in 0..=random.below(4) {
        change(random, input, other, tokens);
    }
    input.truncate(MAX_INPUT_BYTES);
}

fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8], tokens: &[&[u8]]) {
    let at = random.below(input.len() + 1);
    match random.below(12) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let value = random.number() as u8;
            if let Some(byte) = input.get_mut(at) {
                *byte = value;
            }
        }
        2 => {
            // The length of what is there belongs to the edges, too.
            let edge = *random.choose(EDGES).unwrap_or(&0);
            let value = if random.below(4) == 0 { input.len() as u64 } else { edge };
            let value = value.wrapping_add(random.below(3) as u64).wrapping_sub(1).to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            overwrite(input, at, &value[..width]);
        }
        3 => input.truncate(at),
        4 => drop(input.drain(random.range(input.len()))),
        5 => {
            let piece = input[random.range(input.len())].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            let piece: Vec<u8> = (0..=random.below(8)).map(|_| random.number() as u8).collect();
            input.splice(at..at, piece);
        }
        7 => {
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        8 => {
            let piece = other[random.range(other.len())].to_vec();
            overwrite(input, at, &piece);
        }
        9 => {
            if let Some(token) = random.choose(tokens) {
                let old = if random.below(2) == 0 { at..at } else { random.range(input.len()) };
                input.splice(old, token.iter().copied());
            }
        }
        10 => {
            let length = random.choose(LENGTHS).copied().unwrap_or_default();
            let end = (at + 1).min(input.len());
            input.splice(at..end, length.iter().copied());
        }
        _ => {
            // The next number in the text becomes another.
            let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
            let end =
                input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |end| start + end);
            let number = random.choose(NUMBERS).copied().unwrap_or_default();
            input.splice(start..end, number.iter().copied());
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let inputs = |seed| {
            let mut random = Random::new(seed);
            let mut input = b"{\"job\":5}".to_vec();
            for _ in 0..200 {
                mutate(&mut random, &mut input, b"other", &[b"token"]);
            }
            input
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn inputs_of_every_length_are_changed_within_the_bound() {
        let mut random = Random::new(7);
        for length in [0, 1, 2, 100, MAX_INPUT_BYTES] {
            let mut changed = 0;
            for _ in 0..500 {
                let mut input = vec![b'1'; length];
                mutate(&mut random, &mut input, &[], &[]);
                assert!(input.len() <= MAX_INPUT_BYTES);
                changed += usize::from(input != vec![b'1'; length]);
            }
            assert!(changed > 50, "{length}: {changed}");
        }
    }
}
