//! PADMÉ: sizes that say little about what they hold (Nikitin et al., PURBs, PoPETs 2019, section 4.2).

/// No entry is smaller than this many bytes: below it, PADMÉ alone would tell short notes apart.
pub const PAD_FLOOR: usize = 256;

/// `len` rounded up to a PADMÉ size, at least [`PAD_FLOOR`]. Adds less than 12 % to anything above the floor.
pub fn padme(len: usize) -> usize {
    usize::try_from(padme_long(len as u64)).expect("lengths in memory are far below half of what a usize counts")
}

/// As [`padme`], for what need not fit into memory. `len` is at most 2^62.
pub fn padme_long(len: u64) -> u64 {
    let len = len.max(PAD_FLOOR as u64);
    let exponent = len.ilog2();
    let digits = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - digits)) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_never_less_and_at_most_12_percent_more() {
        for len in 1..200_000 {
            let padded = padme(len);
            assert!(padded >= len.max(PAD_FLOOR));
            assert!(
                (padded - len.max(PAD_FLOOR)) * 100 <= len.max(PAD_FLOOR) * 12,
                "{len} -> {padded}"
            );
            assert_eq!(padme(padded), padded, "a padded size stays");
        }
    }
}
