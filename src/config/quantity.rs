//! Reads durations and sizes as people write them.

use super::ConfigError;

/// The longest duration that a flag accepts. Ten years stand for "never", and sums of such times do not overflow.
const MAX_DURATION_MS: u64 = 3650 * DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Units of durations, longest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Returns the milliseconds of a duration such as `90s`, `20m` or `1h30m`, up to ten years.
pub fn parse_duration_ms(text: &str) -> Result<u64, ConfigError> {
    duration_ms(text).filter(|ms| *ms <= MAX_DURATION_MS).ok_or_else(|| ConfigError::Duration(shorten(text)))
}

/// Returns the bytes of a size such as `64MiB`, `500kB` or `1048576`.
pub fn parse_size(text: &str) -> Result<u64, ConfigError> {
    let size = || {
        let text = text.trim();
        let (number, rest) = leading_number(text)?;
        // A bare letter is a power of 1024, as in most programs that accept sizes.
        let factor = match &*rest.trim_start().to_ascii_lowercase() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "kb" => 1000,
            "m" | "mib" => 1 << 20,
            "mb" => 1_000_000,
            "g" | "gib" => 1 << 30,
            "gb" => 1_000_000_000,
            "t" | "tib" => 1 << 40,
            "tb" => 1_000_000_000_000,
            _ => return None,
        };
        number.checked_mul(factor)
    };
    size().ok_or_else(|| ConfigError::Size(shorten(text)))
}

/// Reads numbers with units, longest unit first and each at most once; spaces between them are allowed. Saturates, so
/// that a caller with a limit of its own can say "too long". Returns `None` if the text is not a duration.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut units = DURATION_UNITS.iter();
    let mut sum = None;
    while !rest.is_empty() {
        let (number, behind) = leading_number(rest)?;
        let behind = behind.trim_start();
        let word = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, behind) = behind.split_at(word);
        // The iterator is not restarted, so a unit is only found behind the one before it: that keeps them in order.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        sum = Some(number.saturating_mul(*factor).saturating_add(sum.unwrap_or(0)));
        rest = behind.trim_start();
    }
    sum
}

/// Splits the text behind the decimal number that it starts with. A number that is too large becomes the largest.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    // `number` holds digits only, so `parse` fails only if it is too large.
    if number.is_empty() { None } else { Some((number.parse().unwrap_or(u64::MAX), rest)) }
}

/// Shortens typed text for an error message.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, ms) in [
            ("90s", 90_000),
            ("20m", 1_200_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("2 h", 7_200_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("500ms", 500),
            ("0s", 0),
            ("3650d", MAX_DURATION_MS),
        ] {
            assert_eq!(parse_duration_ms(text).unwrap(), ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", " ", "20", "m", "30m1h", "1h1h", "1.5h", "-1s", "20 minutes", "3651d", "1H", "1m x", "9٣s"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
        assert!(parse_duration_ms("99999999999999999999999d").is_err());
        assert_eq!(duration_ms("99999999999999999999999d"), Some(u64::MAX));
        assert_eq!(
            parse_duration_ms("soon").unwrap_err().to_string(),
            "`soon` is not a duration: write numbers with units (d, h, m, s, ms), such as 90s, 20m or 1h30m"
        );
    }

    #[test]
    fn a_size_is_a_number_with_or_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("64M", 64 << 20),
            ("1GiB", 1 << 30),
            ("500kB", 500_000),
            ("2TB", 2_000_000_000_000),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "1.5GiB", "-1", "64XiB", "64MiBs", "99999999999TiB", "1 2"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_size("much").unwrap_err().to_string(),
            "`much` is not a size: write a whole number of bytes, or one with a unit, such as 64MiB, 500kB or 1GiB"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in any::<String>()) {
            drop(parse_duration_ms(&text));
            drop(parse_size(&text));
        }

        #[test]
        fn a_duration_reads_back_as_it_was_written(d in 0..3000u64, h in 0..100u64, s in 0..100_000u64) {
            let ms = d * DAY_MS + h * 3_600_000 + s * 1000;
            prop_assert_eq!(parse_duration_ms(&format!("{d}d{h}h{s}s")).unwrap(), ms);
        }
    }
}
