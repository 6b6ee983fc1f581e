//! Formats times, durations and sizes for people. Pure.

use jiff::Timestamp;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Formats a duration: `412 ms`, `3.2 s`, `48 s`, `4 min 5 s`, `1 h 12 min`, `3 d 4 h`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..SECOND => format!("{ms} ms"),
        SECOND..10_000 => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        10_000..MINUTE => format!("{} s", ms / SECOND),
        MINUTE..HOUR => pair(ms / MINUTE, "min", ms % MINUTE / SECOND, "s"),
        HOUR..DAY => pair(ms / HOUR, "h", ms % HOUR / MINUTE, "min"),
        _ => pair(ms / DAY, "d", ms % DAY / HOUR, "h"),
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// Formats a duration in one unit: `12 s`, `5 min`, `3 h`, `40 d`.
pub(crate) fn roughly(ms: i64) -> String {
    match u64::try_from(ms).unwrap_or(0) {
        ms @ 0..MINUTE => format!("{} s", ms / SECOND),
        ms @ MINUTE..HOUR => format!("{} min", ms / MINUTE),
        ms @ HOUR..DAY => format!("{} h", ms / HOUR),
        ms => format!("{} d", ms / DAY),
    }
}

/// Formats how long before `now_ms` the time `then_ms` was; both count from the Unix epoch.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    match now_ms.saturating_sub(then_ms) {
        ..5_000 => "just now".into(),
        since => format!("{} ago", roughly(since)),
    }
}

/// Formats a time: `2026-11-23T14:05:10Z`. Every time that this program shows or logs is UTC, so that the lines of all
/// machines can be compared.
pub(crate) fn moment(at_ms: i64) -> String {
    match Timestamp::from_millisecond(at_ms) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // Beyond the year 9999, which nobody will read as a date.
        Err(_) => format!("{at_ms} ms"),
    }
}

/// Formats a time as the log of a role does: `2026-11-23T14:05:10.250Z`.
pub(crate) fn precise_moment(at_ms: i64) -> String {
    match Timestamp::from_millisecond(at_ms) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

/// Formats a size: `12 B`, `3.4 KiB`, `120 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut scaled = count;
    while scaled >= 1024 * 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (scaled / 1024, scaled % 1024 * 10 / 1024);
    if whole < 10 { format!("{whole}.{tenth} {}", UNITS[unit]) } else { format!("{whole} {}", UNITS[unit]) }
}

/// Formats a number of things: `1 job`, `3 jobs`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Turns a name of the wire into words: `timed_out` becomes "timed out".
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (ms, text) in [
            (0, "0 ms"),
            (412, "412 ms"),
            (3_249, "3.2 s"),
            (9_999, "9.9 s"),
            (12_000, "12 s"),
            (60_000, "1 min"),
            (245_999, "4 min 5 s"),
            (72 * MINUTE, "1 h 12 min"),
            (76 * HOUR, "3 d 4 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn ages_are_told_roughly() {
        let now = 1_795_000_000_000;
        for (before, text) in [
            (-1_000, "just now"),
            (0, "just now"),
            (12_000, "12 s ago"),
            (5 * 60_000, "5 min ago"),
            (3 * 3_600_000, "3 h ago"),
            (2 * 86_400_000, "2 d ago"),
        ] {
            assert_eq!(ago(now - before, now), text);
        }
        assert_eq!(ago(now - 30 * 86_400_000, now), "30 d ago");
    }

    #[test]
    fn moments_name_their_zone() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1_795_000_000_123), "2026-11-18T11:06:40Z");
        assert_eq!(moment(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_500, "3.4 KiB"),
            (120 << 20, "120 MiB"),
            (3 << 29, "1.5 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
