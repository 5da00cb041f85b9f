//! PADMÉ: sizes that say little about what they hold (Nikitin et al., PURBs, PoPETs 2019, section 4.2).

/// No entry is smaller than this many bytes: below it, PADMÉ alone would tell short notes apart.
pub const PAD_FLOOR: usize = 256;

/// `len` rounded up to a PADMÉ size, at least [`PAD_FLOOR`]. Adds less than 12 % to anything above the floor.
pub fn padme(len: usize) -> usize {
    let len = len.max(PAD_FLOOR);
    let exponent = len.ilog2();
    let digits = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - digits)) - 1;
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
