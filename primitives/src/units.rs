//! PHA and prices.

/// An amount of PHA in its smallest unit, 10⁻¹² PHA.
pub type Balance = u128;

/// One PHA.
pub const PHA: Balance = 1_000_000_000_000;

/// Decimals of [`Balance`].
pub const DECIMALS: u8 = 12;

/// The SS58 address prefix of Phala chains.
pub const SS58_PREFIX: u16 = 30;

/// The amount of fuel that a worker's price is for.
pub const FUEL_PER_PRICE_UNIT: u64 = 1_000_000_000;

/// The fee for `fuel` at `price` (per 10⁹ fuel), rounded up, saturating.
pub fn fee(fuel: u64, price: Balance) -> Balance {
    let unit = Balance::from(FUEL_PER_PRICE_UNIT);
    Balance::from(fuel).saturating_mul(price).div_ceil(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_round_up_and_saturate() {
        assert_eq!(fee(0, PHA), 0);
        assert_eq!(fee(1, 1), 1);
        assert_eq!(fee(FUEL_PER_PRICE_UNIT, PHA), PHA);
        assert_eq!(fee(u64::MAX, Balance::MAX), Balance::MAX.div_ceil(1_000_000_000));
    }
}
