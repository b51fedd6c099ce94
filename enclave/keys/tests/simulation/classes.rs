//! What breaks together: all that one vendor made, that is of one design, or that one operator runs.

use std::collections::BTreeSet;

use phala_attestation::{Family, Generation, Vendor};

use super::gatekeeper::Dice;

pub type Traits = phala_primitives::diversity::Traits<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Operator(u8),
    Vendor(Vendor),
    Family(Family),
}

impl Class {
    /// Those of a machine.
    pub fn of(traits: &Traits) -> [Self; 3] {
        [Self::Operator(traits.operator), Self::Vendor(traits.vendor), Self::Family(traits.family)]
    }

    /// Those of all machines.
    pub fn all<'a>(machines: impl Iterator<Item = &'a Traits>) -> BTreeSet<Self> {
        machines.flat_map(Self::of).collect()
    }

    pub fn has(self, traits: &Traits) -> bool {
        Self::of(traits).contains(&self)
    }
}

/// A machine of one of `operators`. Most are of one vendor, and most of those of one family: without caps one of them has a threshold.
pub fn machine(operators: usize, dice: &mut Dice) -> Traits {
    let (vendor, family) = match dice.below(10) {
        0..5 => (Vendor::Intel, Family::Fmspc([1; 6])),
        5 => (Vendor::Intel, Family::Fmspc([2; 6])),
        6 => (Vendor::Amd, Family::Generation(Generation::Milan)),
        7..9 => (Vendor::Amd, Family::Generation(Generation::Genoa)),
        _ => {
            let name = "third".parse().unwrap();
            (Vendor::Simulated(name), Family::Simulated(name))
        }
    };
    Traits { operator: dice.below(operators) as u8, vendor, family }
}
