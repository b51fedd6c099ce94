//! All chance in a world comes from its seed: what the world decides by [`Dice`], and what its code asks of the operating
//! system ([`os`]).

pub mod os;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A sequence of numbers that a seed determines: SplitMix64. Good enough for a simulation, and for nothing else.
pub struct Dice(Mutex<u64>);

impl Dice {
    /// The sequence called `name` of a seed. Each part of a world has one of its own, so that what one part asks does not
    /// change what another gets.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut state = seed ^ 0x6a09_e667_f3bc_c908;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(Mutex::new(state))
    }

    /// The next 64 bits.
    pub fn roll(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// An index below `length`; 0 when that is 0.
    pub fn index(&self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    pub fn chance(&self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// Between `least` and `most` milliseconds, both included.
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most.saturating_sub(least) + 1))
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Brings `items` into another order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let roll = self.roll().to_le_bytes();
            chunk.copy_from_slice(&roll[..chunk.len()]);
        }
    }

    /// 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_determine_the_sequence() {
        let rolls = |seed, name| {
            let dice = Dice::new(seed, name);
            [(); 4].map(|()| dice.roll())
        };
        assert_eq!(rolls(1, "chain"), rolls(1, "chain"));
        assert_ne!(rolls(1, "chain"), rolls(2, "chain"));
        assert_ne!(rolls(1, "chain"), rolls(1, "link"));
    }

    #[test]
    fn bounds_hold() {
        let dice = Dice::new(7, "bounds");
        for _ in 0..1000 {
            assert!(dice.below(3) < 3);
            let millis = dice.millis(5, 9).as_millis();
            assert!((5..=9).contains(&millis));
        }
        assert_eq!(dice.below(0), 0);
        assert!(!dice.chance(0) && dice.chance(1000));
        let mut items = [1, 2, 3, 4, 5];
        dice.shuffle(&mut items);
        items.sort_unstable();
        assert_eq!(items, [1, 2, 3, 4, 5]);
    }
}
