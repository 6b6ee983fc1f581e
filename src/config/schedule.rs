//! The times of a schedule: a cron line in a time zone. Time zones come from the files of the system.
//!
//! A day on which the clocks are changed has a time that is skipped, or one that comes twice. A schedule for a certain
//! time of day fires once on such a day: at the first moment after the gap, or at the first of the two times. A
//! schedule for many times, such as `*/10 * * * *`, fires at each of them that there is.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::model::{ScheduleRule, WallTime};

/// The time zone of schedules that name none.
pub(super) const DEFAULT_TIMEZONE: &str = "UTC";

/// The names that cron programs have for frequent lines, with the lines.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A mistake in a cron line, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CronMistake {
    pub(super) what: String,
    pub(super) help: String,
}

/// The times at which a schedule fires.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// Reads the rule of a schedule. Returns `None` if this machine cannot: it does not know the time zone.
    #[must_use]
    pub fn of(rule: &ScheduleRule) -> Option<Self> {
        Some(Self { cron: read_cron(&rule.cron).ok()?, zone: TimeZone::get(&rule.timezone).ok()? })
    }

    /// Returns the first time after this one.
    #[must_use]
    pub fn next_after(&self, at: WallTime) -> Option<WallTime> {
        wall(&self.cron.find_next_occurrence(&self.zoned(at)?, false).ok()?)
    }

    /// Returns the time that is to fire now, if there is one after the last that fired: of several that were missed,
    /// the newest.
    #[must_use]
    pub fn due(&self, last: WallTime, now: WallTime) -> Option<WallTime> {
        let next = self.next_after(last).filter(|next| *next <= now)?;
        let newest = self.zoned(now).and_then(|now| wall(&self.cron.find_previous_occurrence(&now, true).ok()?));
        Some(newest.map_or(next, |newest| newest.max(next)))
    }

    fn zoned(&self, at: WallTime) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(at.0).ok()?.to_zoned(self.zone.clone()))
    }
}

fn wall(zoned: &Zoned) -> Option<WallTime> {
    Some(WallTime(zoned.timestamp().as_millisecond()))
}

/// Formats the time of day in a zone: `03:17 Europe/Berlin`. In UTC if this machine does not know the zone.
#[must_use]
pub fn time_of_day(at: WallTime, timezone: &str) -> String {
    format_in(at, timezone, "%H:%M")
}

/// Formats a time in a zone: `2026-11-29 03:17 Europe/Berlin`. In UTC if this machine does not know the zone.
#[must_use]
pub fn zoned_time(at: WallTime, timezone: &str) -> String {
    format_in(at, timezone, "%Y-%m-%d %H:%M")
}

fn format_in(at: WallTime, timezone: &str, form: &str) -> String {
    let Ok(at) = Timestamp::from_millisecond(at.0) else { return format!("{} ms", at.0) };
    let (zone, name) = TimeZone::get(timezone).map_or((TimeZone::UTC, DEFAULT_TIMEZONE), |zone| (zone, timezone));
    format!("{} {name}", at.to_zoned(zone).strftime(form))
}

/// Reads a cron line of five fields that fires at some time.
pub(super) fn read_cron(line: &str) -> Result<Cron, CronMistake> {
    let example = "write five fields: minute, hour, day of the month, month, day of the week, such as `17 3 * * *`";
    let wrong = |what: String, help: &str| CronMistake { what, help: help.to_owned() };
    if let Some((name, same)) = NICKNAMES.iter().find(|(name, _)| line.trim().eq_ignore_ascii_case(name)) {
        return Err(wrong(format!("`{name}` is not a line of five fields"), &format!("write `{same}` instead")));
    }
    // Some programs take the zone in the line.
    if let Some((_, zone)) = line.split_whitespace().next().and_then(|first| first.split_once('=')) {
        let (zone, fields) = (zone.trim(), line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
        let help = format!("write `cron = \"{fields}\"` and `timezone = \"{zone}\"`");
        return Err(wrong("the cron line has a time zone in it".to_owned(), &help));
    }
    match line.split_whitespace().count() {
        5 => {}
        6 => {
            let help = "leave out the field of the seconds: a schedule fires at most once a minute;\nthe five fields are \
                        minute, hour, day of the month, month, day of the week";
            return Err(wrong("the cron line has six fields".to_owned(), help));
        }
        count => return Err(wrong(format!("the cron line has {count} fields"), example)),
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(line).map_err(|error| {
        let what = error.to_string();
        let what = what.trim_start_matches("Component error: ").trim_start_matches("Invalid pattern: ");
        wrong(format!("the cron line cannot be read: {}", what.trim_end_matches('.')), example)
    })?;
    // A line that fires at all fires within some years of any day.
    let from = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    if cron.find_next_occurrence(&from, true).is_err() {
        return Err(wrong("the cron line never fires".to_owned(), "name a day of the month that the month has"));
    }
    Ok(cron)
}

/// Whether this machine knows a time zone of that name.
pub(super) fn is_timezone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// Returns the names of all time zones that this machine knows, besides UTC, which is always known.
pub(super) fn timezones() -> Vec<String> {
    let known = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    known.filter(|name| name != DEFAULT_TIMEZONE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        WallTime(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn berlin(cron: &str) -> Timetable {
        in_zone("Europe/Berlin", cron)
    }

    fn in_zone(timezone: &str, cron: &str) -> Timetable {
        Timetable::of(&ScheduleRule { cron: cron.into(), timezone: timezone.into() }).unwrap()
    }

    /// Returns the times after the first and before the second, as UTC.
    fn between(table: &Timetable, from: &str, until: &str) -> Vec<String> {
        let times = std::iter::successors(table.next_after(at(from)), |last| table.next_after(*last));
        let times = times.take_while(|time| *time < at(until));
        times.map(|time| Timestamp::from_millisecond(time.0).unwrap().to_string()).collect()
    }

    #[test]
    fn a_line_is_read_in_its_time_zone() {
        let nightly = berlin("17 3 * * *");
        let winter = between(&nightly, "2026-01-10T12:00:00Z", "2026-01-12T12:00:00Z");
        assert_eq!(winter, ["2026-01-11T02:17:00Z", "2026-01-12T02:17:00Z"]);
        assert_eq!(between(&nightly, "2026-07-10T12:00:00Z", "2026-07-11T12:00:00Z"), ["2026-07-11T01:17:00Z"]);
        assert_eq!(time_of_day(at("2026-07-11T01:17:00Z"), "Europe/Berlin"), "03:17 Europe/Berlin");
        assert_eq!(zoned_time(at("2026-01-11T02:17:00Z"), "Europe/Berlin"), "2026-01-11 03:17 Europe/Berlin");
        assert_eq!(time_of_day(at("2026-07-11T01:17:00Z"), "Mars/Base"), "01:17 UTC");
    }

    /// On 29 March 2026 the clocks of Berlin go from 02:00 to 03:00, which is 01:00 UTC.
    #[test]
    fn a_time_that_is_skipped_fires_at_the_first_moment_after_the_gap() {
        let times = between(&berlin("30 2 * * *"), "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(times, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let due = berlin("30 2 * * *").due(at("2026-03-28T01:30:00Z"), at("2026-03-29T20:00:00Z"));
        assert_eq!(due, Some(at("2026-03-29T01:00:00Z")));
    }

    /// On 25 October 2026 the clocks of Berlin go from 03:00 to 02:00, which is 01:00 UTC.
    #[test]
    fn a_time_that_comes_twice_fires_once_and_an_interval_goes_on() {
        let times = between(&berlin("30 2 * * *"), "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // Looked at between the two, and after both.
        for now in ["2026-10-25T00:45:00Z", "2026-10-25T01:45:00Z"] {
            let due = berlin("30 2 * * *").due(at("2026-10-24T00:30:00Z"), at(now));
            assert_eq!(due, Some(at("2026-10-25T00:30:00Z")), "{now}");
            assert_eq!(berlin("30 2 * * *").due(at("2026-10-25T00:30:00Z"), at(now)), None, "{now}");
        }
        let each_half_hour = between(&berlin("*/30 * * * *"), "2026-10-24T23:59:00Z", "2026-10-25T02:01:00Z");
        assert_eq!(each_half_hour.len(), 5, "{each_half_hour:?}");
    }

    /// On 8 March 2026 the clocks of New York go from 02:00 to 03:00, which is 07:00 UTC; on 1 November from 02:00 to
    /// 01:00, which is 06:00 UTC.
    #[test]
    fn a_daily_line_fires_once_on_the_days_of_both_changes_and_an_hourly_line_each_hour() {
        for (zone, daily, spring, autumn) in [
            ("Europe/Berlin", ["30 2 * * *", "30 2 * * *"], ("2026-03-29", 1), ("2026-10-25", 1)),
            ("America/New_York", ["30 2 * * *", "30 1 * * *"], ("2026-03-08", 7), ("2026-11-01", 6)),
        ] {
            let moment = |day: &str, hour: u32, minute: u32| format!("{day}T{hour:02}:{minute:02}:00Z");
            let (from, until) = ("T00:00:01Z", "T10:00:00Z");
            let times = |cron: &str, day: &str| {
                between(&in_zone(zone, cron), &format!("{day}{from}"), &format!("{day}{until}"))
            };
            // The first moment after the gap; the first of the two times.
            let (day, change) = spring;
            let day_before = at(&moment(day, 0, 0));
            assert_eq!(times(daily[0], day), [moment(day, change, 0)], "{zone}");
            let night = in_zone(zone, daily[0]);
            assert_eq!(night.due(at(&moment(day, change, 0)), at(&moment(day, 9, 59))), None, "{zone}: once");
            assert_eq!(night.due(day_before, at(&moment(day, 9, 59))), Some(at(&moment(day, change, 0))), "{zone}");
            let (day, change) = autumn;
            assert_eq!(times(daily[1], day), [moment(day, change - 1, 30)], "{zone}");
            let night = in_zone(zone, daily[1]);
            assert_eq!(night.due(at(&moment(day, change - 1, 30)), at(&moment(day, 9, 59))), None, "{zone}: once");
            // An hour that is skipped has no firing, and one that comes twice has two: one in each hour that passes.
            for minute in [0, 30] {
                for day in [spring.0, autumn.0] {
                    let hourly = times(&format!("{minute} * * * *"), day);
                    let first = u32::from(minute == 0);
                    let expected: Vec<String> = (first..10).map(|hour| moment(day, hour, minute)).collect();
                    assert_eq!(hourly, expected, "{zone}, minute {minute}");
                }
            }
        }
    }

    #[test]
    fn of_many_missed_times_only_the_newest_is_due() {
        let nightly = berlin("17 3 * * *");
        let last = at("2026-01-01T02:17:00Z");
        assert_eq!(nightly.due(last, at("2026-01-02T02:16:59Z")), None);
        assert_eq!(nightly.due(last, at("2026-01-02T02:17:00Z")), Some(at("2026-01-02T02:17:00Z")));
        assert_eq!(nightly.due(last, at("2026-01-09T00:00:00Z")), Some(at("2026-01-08T02:17:00Z")));
        assert_eq!(nightly.due(last, at("2025-12-24T00:00:00Z")), None, "the clock was set back");
    }

    #[test]
    fn a_line_that_is_no_line_of_five_fields_is_told_what_to_write() {
        let what = |line: &str| read_cron(line).map(drop).map_err(|it| (it.what, it.help)).unwrap_err();
        assert_eq!(what("0 0 31 2 *").0, "the cron line never fires");
        assert_eq!(what("* * * * * *").0, "the cron line has six fields");
        assert_eq!(what("0 3 * *").0, "the cron line has 4 fields");
        assert_eq!(what("").0, "the cron line has 0 fields");
        assert_eq!(what("@daily").1, "write `0 0 * * *` instead");
        for line in ["61 * * * *", "* 24 * * *", "* * 0 * *", "a b c d e", "*/0 * * * *", "5-1 * * * *"] {
            assert!(what(line).0.starts_with("the cron line cannot be read: "), "{line}: {:?}", what(line));
        }
        for line in ["0 0 29 2 *", "*/5 * * * *", "0 9-17 * * mon-fri", "0 0 1,15 * 7", "0 0 L * *"] {
            assert!(read_cron(line).is_ok(), "{line}");
        }
    }
}
