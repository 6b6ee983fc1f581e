//! Durations and sizes as flags. They are parsed as typed, and printed as one would type them, so that `--help` shows
//! the values of [`crate::config::defaults`] themselves.

use std::fmt;
use std::str::FromStr;

use crate::config::{ConfigError, parse_duration_ms, parse_size};

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) u64);

impl FromStr for Millis {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        parse_duration_ms(text).map(Self)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        // One day reads better as 24 hours.
        let units = if self.0 > 86_400_000 { &UNITS[..] } else { &UNITS[1..] };
        in_largest_unit(self.0, units, f)
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        parse_size(text).map(Self)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        in_largest_unit(self.0, &UNITS, f)
    }
}

/// A limit; `never` (or 0) for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if matches!(text, "never" | "0") { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("never"),
        }
    }
}

/// Writes `value` in the largest unit that divides it. The last unit must always divide it.
fn in_largest_unit(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let divides = |(_, size): &&(&str, u64)| value > 0 && value.is_multiple_of(*size);
    let (unit, size) = units.iter().find(divides).or(units.last()).copied().unwrap_or(("", 1));
    write!(f, "{}{unit}", value / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_shown_as_one_would_type_it() {
        for (ms, text) in [(500, "500ms"), (2_000, "2s"), (15_000, "15s"), (86_400_000, "24h"), (0, "0ms")] {
            assert_eq!(Millis(ms).to_string(), text);
            assert_eq!(text.parse::<Millis>().unwrap(), Millis(ms));
        }
        assert_eq!(Millis(180 * 86_400_000).to_string(), "180d");
        for (limit, text) in [(Limit(Some(Millis(2_000))), "2s"), (Limit(None), "never")] {
            assert_eq!(limit.to_string(), text);
            assert_eq!(text.parse::<Limit<Millis>>().unwrap(), limit);
        }
        assert_eq!("0".parse::<Limit<u32>>().unwrap(), Limit(None));
        for (bytes, text) in [(64 << 20, "64MiB"), (1 << 30, "1GiB"), (1000, "1000B"), (0, "0B")] {
            assert_eq!(Bytes(bytes).to_string(), text);
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes));
        }
    }
}
