//! Diversity: which candidates make a set in which no operator, vendor or family of platforms has too many places.
//!
//! Nobody gets as many places of a set of n as [`threshold`] of n: no operator, no vendor and no design of platforms, if broken,
//! gives enough shares to use a key. Simulated vendors, which development networks accept, count by their names.

use alloc::{collections::BTreeMap, vec::Vec};
use phala_attestation::{Family, Vendor};

use crate::gatekeeper::{Gatekeeper, threshold};

/// What limits look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traits<AccountId> {
    /// Who owns it.
    pub operator: AccountId,
    /// Who made its TEE.
    pub vendor: Vendor,
    /// Its platform's family.
    pub family: Family,
}

/// What may be of one kind only so often.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind<'a, AccountId> {
    Operator(&'a AccountId),
    Vendor(Vendor),
    Family(Family),
}

impl<AccountId: Clone> Traits<AccountId> {
    /// A gatekeeper's.
    pub fn of<BlockNumber>(gatekeeper: &Gatekeeper<AccountId, BlockNumber>) -> Self {
        let Gatekeeper { operator, vendor, family, .. } = gatekeeper;
        Self { operator: operator.clone(), vendor: *vendor, family: *family }
    }
}

/// The most places of a set of one size that each operator, vendor and family may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    size: u32,
    operator: u32,
    vendor: u32,
    family: u32,
}

impl Limits {
    /// Of a set of `size`. Whatever is asked for, each may have one place, and none a threshold.
    pub fn new(size: u32, operator: u32, vendor: u32, family: u32) -> Self {
        let limit = |places: u32| places.max(1).min(threshold(size).saturating_sub(1));
        Self { size, operator: limit(operator), vendor: limit(vendor), family: limit(family) }
    }

    /// That nobody has a threshold, and no more.
    pub fn widest(size: u32) -> Self {
        Self::new(size, size, size, size)
    }

    /// The kinds that a candidate is of, and the places that each may have.
    fn kinds<'a, AccountId>(&self, candidate: &'a Traits<AccountId>) -> [(Kind<'a, AccountId>, u32); 3] {
        [
            (Kind::Operator(&candidate.operator), self.operator),
            (Kind::Vendor(candidate.vendor), self.vendor),
            (Kind::Family(candidate.family), self.family),
        ]
    }

    /// Chooses a set of the candidates, each in their order that does not go beyond a limit; gives their positions, or `None` where
    /// they are too few.
    pub fn choose<AccountId: Ord>(&self, candidates: &[Traits<AccountId>]) -> Option<Vec<usize>> {
        let mut places = BTreeMap::<Kind<'_, AccountId>, u32>::new();
        let mut chosen = Vec::new();
        for (position, candidate) in candidates.iter().enumerate() {
            let fits = |(kind, most): &(Kind<'_, AccountId>, u32)| places.get(kind).copied().unwrap_or(0) < *most;
            if self.kinds(candidate).iter().all(fits) {
                for (kind, _) in self.kinds(candidate) {
                    let taken = places.entry(kind).or_default();
                    *taken = taken.saturating_add(1);
                }
                chosen.push(position);
            }
            if chosen.len() as u64 == u64::from(self.size) {
                return Some(chosen);
            }
        }
        None
    }
}

/// The largest choice of at most `desired` and at least `minimum` candidates, by the limits of its size.
pub fn choose_most<AccountId: Ord>(
    desired: u32,
    minimum: u32,
    candidates: &[Traits<AccountId>],
    limits: impl Fn(u32) -> Limits,
) -> Option<Vec<usize>> {
    let most = desired.min(u32::try_from(candidates.len()).unwrap_or(u32::MAX));
    (minimum.max(1)..=most).rev().find_map(|size| limits(size).choose(candidates))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gatekeeper::MAX_GATEKEEPERS;

    #[test]
    fn no_limit_reaches_the_threshold_and_each_is_one_at_least() {
        for size in 2..=MAX_GATEKEEPERS {
            let most = threshold(size) - 1;
            let widest = Limits { size, operator: most, vendor: most, family: most };
            assert_eq!(Limits::widest(size), widest);
            assert_eq!(Limits::new(size, u32::MAX, u32::MAX, u32::MAX), widest);
            assert_eq!(Limits::new(size, 0, 0, 0), Limits { size, operator: 1, vendor: 1, family: 1 });
        }
        let alone = Limits { size: 1, operator: 0, vendor: 0, family: 0 };
        assert_eq!(Limits::widest(1), alone, "who is alone has the whole key");
        assert_eq!(Limits::new(8, 1, 2, 9), Limits { size: 8, operator: 1, vendor: 2, family: 5 });
    }
}
