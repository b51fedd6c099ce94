//! Caps: how much of a set one operator, vendor or family of platforms may be, as governance sets it.
//!
//! Whatever it sets, nobody gets a threshold of a set: see [`phala_primitives::diversity`].

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
pub use phala_primitives::diversity::Traits;
use phala_primitives::diversity::{Limits, choose_most};
use scale_info::TypeInfo;
use sp_runtime::Permill;

/// The largest share of a set that each class may have, rounded down to whole places, but one at least.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Caps {
    /// Of one operator.
    pub operator: Permill,
    /// Of one vendor of TEEs.
    pub vendor: Permill,
    /// Of one family of platforms.
    pub family: Permill,
}

impl Caps {
    /// That nobody reaches the threshold, and no more.
    pub const THRESHOLD: Self = Self { operator: Permill::one(), vendor: Permill::one(), family: Permill::one() };

    /// How many places of a set of `size` each may have, rounded down.
    fn limits(&self, size: u32) -> Limits {
        let Self { operator, vendor, family } = self;
        Limits::new(size, operator.mul_floor(size), vendor.mul_floor(size), family.mul_floor(size))
    }

    /// Chooses `size` of the candidates, each in their order that does not go beyond a cap; gives their positions, or `None` where
    /// they are too few.
    pub fn choose<AccountId: Ord>(&self, size: u32, candidates: &[Traits<AccountId>]) -> Option<Vec<usize>> {
        self.limits(size).choose(candidates)
    }

    /// The largest choice of at most `desired` and at least `minimum` candidates.
    pub fn choose_most<AccountId: Ord>(
        &self,
        desired: u32,
        minimum: u32,
        candidates: &[Traits<AccountId>],
    ) -> Option<Vec<usize>> {
        choose_most(desired, minimum, candidates, |size| self.limits(size))
    }

    /// Whether a set of exactly these satisfies the caps.
    pub fn satisfied<AccountId: Ord>(&self, set: &[Traits<AccountId>]) -> bool {
        let size = u32::try_from(set.len()).unwrap_or(u32::MAX);
        size > 0 && self.choose(size, set).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phala_attestation::{Family, Generation, Vendor};
    use phala_primitives::gatekeeper::{MAX_GATEKEEPERS, threshold};
    use proptest::prelude::*;

    const LOOSE: Caps = Caps { operator: Permill::one(), vendor: Permill::one(), family: Permill::one() };

    fn traits(operator: u8, vendor: Vendor, family: Family) -> Traits<u8> {
        Traits { operator, vendor, family }
    }

    fn intel(operator: u8, family: u8) -> Traits<u8> {
        traits(operator, Vendor::Intel, Family::Fmspc([family; 6]))
    }

    fn amd(operator: u8) -> Traits<u8> {
        traits(operator, Vendor::Amd, Family::Generation(Generation::Milan))
    }

    #[test]
    fn the_first_in_order_that_fit_are_chosen() {
        // Of four, three make a key: two of Intel's are the most.
        let candidates = [intel(0, 0), intel(1, 1), intel(2, 2), amd(3), intel(4, 4), amd(5), amd(6)];
        assert_eq!(LOOSE.choose(4, &candidates), Some(vec![0, 1, 3, 5]));
        // Of seven, five do: four of one vendor are the most, and all seven fit.
        assert_eq!(LOOSE.choose(7, &candidates), Some((0..7).collect()));
        assert!(LOOSE.satisfied(&candidates));
        assert!(!LOOSE.satisfied(&candidates[..3]), "all of one vendor");
        assert!(!LOOSE.satisfied::<u8>(&[]));
    }

    #[test]
    fn the_largest_set_that_satisfies_the_caps_is_chosen() {
        let candidates: Vec<_> = (0..6).map(|operator| intel(operator, operator)).chain([amd(6)]).collect();
        // Of four, three of Intel's would be enough for a key; of three, two are not.
        assert_eq!(LOOSE.choose_most(7, 2, &candidates), Some(vec![0, 1, 6]));
        assert_eq!(LOOSE.choose_most(7, 4, &candidates), None);
        assert_eq!(LOOSE.choose_most(7, 2, &candidates[..6]), None);
    }

    #[test]
    fn shares_are_rounded_down_to_whole_places() {
        let [quarter, half] = [25, 50].map(Permill::from_percent);
        let caps = Caps { operator: quarter, vendor: half, family: Permill::one() };
        assert_eq!(caps.limits(7), Limits::new(7, 1, 3, 7));
        assert_eq!(caps.limits(8), Limits::new(8, 2, 4, 8));
    }

    #[test]
    fn each_cap_counts() {
        let half = Permill::from_percent(50);
        let operators = [intel(0, 0), intel(0, 1), amd(0), amd(1), amd(2)];
        assert_eq!(LOOSE.choose(4, &operators), Some(vec![0, 1, 3, 4]));
        assert_eq!(Caps { operator: Permill::zero(), ..LOOSE }.choose(3, &operators), Some(vec![0, 3, 4]));
        let vendors = [intel(0, 0), intel(1, 1), intel(2, 2), amd(3), amd(4)];
        assert_eq!(Caps { vendor: half, ..LOOSE }.choose(5, &vendors), None);
        assert_eq!(Caps { vendor: half, ..LOOSE }.choose(4, &vendors), Some(vec![0, 1, 3, 4]));
        let families = [intel(0, 7), intel(1, 7), intel(2, 8), amd(3), amd(4)];
        assert_eq!(Caps { family: half, ..LOOSE }.choose(5, &families), Some((0..5).collect()));
        assert_eq!(Caps { family: Permill::zero(), ..LOOSE }.choose(3, &families), Some(vec![0, 2, 3]));
    }

    fn simulated(operator: u8, name: &str) -> Traits<u8> {
        let name = name.parse().unwrap();
        traits(operator, Vendor::Simulated(name), Family::Simulated(name))
    }

    #[test]
    fn simulated_vendors_count_by_their_names() {
        let of =
            |names: [&str; 4]| (0..).zip(names).map(|(operator, name)| simulated(operator, name)).collect::<Vec<_>>();
        assert!(LOOSE.satisfied(&of(["a", "a", "b", "b"])));
        assert!(!LOOSE.satisfied(&of(["a", "a", "a", "b"])));
        let strict = Caps { operator: Permill::zero(), vendor: Permill::zero(), family: Permill::zero() };
        assert!(strict.satisfied(&of(["a", "b", "c", "d"])));
        assert!(!strict.satisfied(&of(["a", "b", "c", "a"])));
    }

    fn any_traits() -> impl Strategy<Value = Traits<u8>> {
        (0u8..8, 0u8..6).prop_map(|(operator, family)| match family {
            0..3 => intel(operator, family),
            3..5 => amd(operator),
            _ => simulated(operator, "development"),
        })
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_satisfies_the_caps_and_no_class_has_a_threshold(
            candidates in prop::collection::vec(any_traits(), 0..80),
            (operator, vendor, family) in (0u32..=100, 0u32..=100, 0u32..=100),
            (desired, minimum) in (1..=MAX_GATEKEEPERS, 1..=MAX_GATEKEEPERS),
        ) {
            let caps = Caps {
                operator: Permill::from_percent(operator),
                vendor: Permill::from_percent(vendor),
                family: Permill::from_percent(family),
            };
            let Some(chosen) = caps.choose_most(desired, minimum, &candidates) else { return Ok(()) };
            let size = chosen.len() as u32;
            prop_assert!((minimum..=desired).contains(&size));
            let set: Vec<_> = chosen.iter().map(|position| candidates[*position].clone()).collect();
            prop_assert!(caps.satisfied(&set));
            for one in &set {
                let of_operator = set.iter().filter(|other| other.operator == one.operator).count() as u32;
                let of_vendor = set.iter().filter(|other| other.vendor == one.vendor).count() as u32;
                let of_family = set.iter().filter(|other| other.family == one.family).count() as u32;
                prop_assert!(of_operator < threshold(size));
                prop_assert!(of_vendor < threshold(size) && of_family < threshold(size));
                prop_assert!(of_vendor <= (Permill::from_percent(vendor).mul_floor(size)).max(1));
                prop_assert!(of_family <= (Permill::from_percent(family).mul_floor(size)).max(1));
            }
        }
    }
}
