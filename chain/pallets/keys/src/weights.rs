//! Weights of `pallet_phala_keys`: placeholders.
#![allow(missing_docs)]

use frame_support::weights::Weight;

/// What each call of this pallet costs.
pub trait WeightInfo {
    fn authorize_post(b: u32) -> Weight;
    fn post(b: u32) -> Weight;
    fn post_confirmation() -> Weight;
    fn post_output() -> Weight;
    fn authorize_beacon() -> Weight;
    fn submit_beacon() -> Weight;
    fn authorize_lost_share() -> Weight;
    fn report_lost_share() -> Weight;
    fn authorize_releases() -> Weight;
    fn log_releases() -> Weight;
    fn on_elected() -> Weight;
    fn wait() -> Weight;
    fn advance() -> Weight;
    fn retry() -> Weight;
    fn remove(n: u32) -> Weight;
    fn end_no_epoch() -> Weight;
    fn end_epoch() -> Weight;
    fn watch_beacon() -> Weight;
}

impl WeightInfo for () {
    fn authorize_post(_b: u32) -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn post(_b: u32) -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn post_confirmation() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn post_output() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn authorize_beacon() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn submit_beacon() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn authorize_lost_share() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn report_lost_share() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn authorize_releases() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn log_releases() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn on_elected() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn wait() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn retry() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn advance() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn remove(_n: u32) -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn end_no_epoch() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn end_epoch() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
    fn watch_beacon() -> Weight {
        Weight::from_parts(1_000_000, 0)
    }
}
