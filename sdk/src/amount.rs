//! Amounts of PHA as text: exact decimals, never floating point.

use phala_primitives::units::{Balance, DECIMALS, PHA};

/// The text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Not a decimal number.
    #[error("expected an amount of PHA such as 12, 1.5 or \"0.25 PHA\"")]
    Format,
    /// More than twelve decimals.
    #[error("PHA has {DECIMALS} decimals; the amount has more")]
    TooPrecise,
    /// More than any account can hold.
    #[error("the amount is too large")]
    TooLarge,
}

/// Parses an amount of PHA: `12`, `1.5`, `.5`, `1_000`, `0.25 PHA`.
///
/// # Errors
/// See [`ParseAmountError`].
pub fn parse(text: &str) -> Result<Balance, ParseAmountError> {
    let text = text.trim();
    let number = match text.len().checked_sub(3).and_then(|at| text.split_at_checked(at)) {
        Some((number, unit)) if unit.eq_ignore_ascii_case("PHA") => number.trim_end(),
        _ => text,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let well_formed = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
    if !well_formed(whole) || !well_formed(fraction) || !has_digit {
        return Err(ParseAmountError::Format);
    }
    let (whole, fraction) = (whole.replace('_', ""), fraction.replace('_', ""));
    let fraction = fraction.trim_end_matches('0');
    let decimals = usize::from(DECIMALS);
    if fraction.len() > decimals {
        return Err(ParseAmountError::TooPrecise);
    }
    let digits = |text: &str| match text {
        "" => Ok(0),
        text => text.parse::<Balance>().map_err(|_| ParseAmountError::TooLarge),
    };
    let units = digits(&format!("{fraction:0<decimals$}"))?;
    digits(&whole)?.checked_mul(PHA).and_then(|sum| sum.checked_add(units)).ok_or(ParseAmountError::TooLarge)
}

/// The amount with its unit and no superfluous zeros: `1.5 PHA`.
pub fn format(amount: Balance) -> String {
    format!("{} PHA", format_number(amount))
}

/// The amount without its unit: `1.5`.
pub fn format_number(amount: Balance) -> String {
    let (whole, units) = (amount / PHA, amount % PHA);
    if units == 0 {
        return whole.to_string();
    }
    let fraction = format!("{units:0>width$}", width = usize::from(DECIMALS));
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, amount) in [
            ("0", 0),
            ("1", PHA),
            ("1.5", PHA + PHA / 2),
            (".5", PHA / 2),
            ("1.", PHA),
            ("1_000 PHA", 1000 * PHA),
            (" 0.000000000001pha ", 1),
            ("1.5000000000000000000", PHA + PHA / 2),
            ("340282366920938463463374607.431768211455", Balance::MAX),
        ] {
            assert_eq!(parse(text), Ok(amount), "{text}");
        }
        assert_eq!(format(1), "0.000000000001 PHA");
        assert_eq!(format(PHA + PHA / 2), "1.5 PHA");
        assert_eq!(format(Balance::MAX), "340282366920938463463374607.431768211455 PHA");
    }

    #[test]
    fn every_amount_round_trips() {
        for amount in [0, 1, 9, 10, PHA - 1, PHA, PHA + 1, 12_345 * PHA + 678, Balance::MAX] {
            assert_eq!(parse(&format(amount)), Ok(amount));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", ".", "PHA", "-1", "+1", "1e3", "1,5", "1.2.3", "0x1", "1 DOT", "é", "_", "1 PHA PHA"] {
            assert_eq!(parse(bad), Err(ParseAmountError::Format), "{bad}");
        }
        assert_eq!(parse("0.0000000000001"), Err(ParseAmountError::TooPrecise));
        assert_eq!(parse("340282366920938463463374608"), Err(ParseAmountError::TooLarge));
        assert_eq!(parse(&"9".repeat(60)), Err(ParseAmountError::TooLarge));
    }
}
