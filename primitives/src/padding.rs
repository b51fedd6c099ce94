//! Sizes that tell less: rounded up so that their magnitude and a few digits show, and no more.

/// The smallest padded size that is at least `size`, which it exceeds by less than 12 %.
///
/// Padmé, of "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (Nikitin et al., PETS 2019,
/// section 4). [`u64::MAX`] where the padded size would not fit.
pub const fn padded(size: u64) -> u64 {
    if size < 4 {
        return size;
    }
    let exponent = size.ilog2();
    let kept = exponent.ilog2().saturating_add(1);
    let mask = !u64::MAX.unbounded_shl(exponent.saturating_sub(kept));
    match size.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::padded;

    #[test]
    fn few_sizes_are_left_and_none_grows_much() {
        for (size, expected) in [(0, 0), (1, 1), (8, 8), (9, 10), (1000, 1024), (1025, 1088), (1 << 40, 1 << 40)] {
            assert_eq!(padded(size), expected, "{size}");
        }
        for size in (0..200_000).chain([u64::from(u32::MAX), (1 << 50) + 1]) {
            let padded_size = padded(size);
            assert!(padded_size >= size && padded_size - size <= size * 12 / 100 + 1, "{size} {padded_size}");
            assert_eq!(padded(padded_size), padded_size);
        }
        assert_eq!(padded(u64::MAX), u64::MAX);
    }
}
