//! `spec.syncWindows`: when refreshes that are due by time may run (maintenance windows). Pure.
//!
//! Schedules mean what they mean to External Secrets Operator, whose cron is robfig/cron's standard parser: five fields
//! in UTC, names of months and days, `@hourly` and its like, and `@every`, which counts from whenever it is asked and so
//! makes a window that is always open or never.

use std::time::Duration;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use keyferry_crds::{SyncWindowKind, SyncWindows, duration};

use crate::time::later;

/// A schedule that does not fire within this (February 30th) never does: the days of a week and the leap years come
/// around in less.
const YEARS: i16 = 9;

/// So often a deny window is looked at to find the end of the last of those that touch each other. Where that is beyond,
/// all is decided anew when the last is over that was found.
const MOST_LOOKED_AT: usize = 10_000;

/// When a refresh that is due at `now` may run: at once, later, or (`None`) never.
pub fn opening(windows: &SyncWindows, now: Timestamp) -> Option<Timestamp> {
    // Schedules that can't be read are passed over, as External Secrets Operator does.
    let readable = windows.windows.iter().filter_map(|window| Window::read(window).ok());
    let readable: Vec<Window> = readable.filter(Window::ever_opens).collect();
    match windows.kind {
        SyncWindowKind::deny => {
            let mut at = now;
            for _ in 0..=MOST_LOOKED_AT / readable.len().max(10) {
                match readable.iter().filter_map(|window| window.end(at)).max() {
                    None => return Some(at),
                    Some(end) if end == Timestamp::MAX => return None,
                    Some(end) => at = later(end, Duration::from_nanos(1)),
                }
            }
            // It is decided anew then.
            Some(at)
        }
        SyncWindowKind::allow | SyncWindowKind::Unknown(_) => {
            if readable.iter().any(|w| w.end(now).is_some()) {
                Some(now)
            } else {
                readable.iter().filter_map(|window| window.opens_after(now)).min()
            }
        }
    }
}

/// A window that was read.
struct Window {
    schedule: Schedule,
    open: Duration,
}

enum Schedule {
    Cron(Cron),
    Every(Duration),
}

impl Window {
    fn read(window: &keyferry_crds::SyncWindow) -> Result<Self, String> {
        let schedule =
            Schedule::read(&window.schedule).map_err(|why| format!("schedule {:?} {why}", window.schedule))?;
        let open = duration::interval(&window.duration).map_err(|why| format!("duration: {why}"))?;
        Ok(Self { schedule, open: open.unwrap_or_default() })
    }

    /// When it closes, where it is open at `at`.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.schedule {
            // The next firing, counted from just before the window could have opened, is still to come or is not.
            Schedule::Every(every) => (*every <= self.open + Duration::from_secs(1)).then_some(Timestamp::MAX),
            Schedule::Cron(cron) => {
                // One that opens again before it closes closes later.
                let end = later(cron.last(at)?, self.open);
                (end >= at).then_some(end)
            }
        }
    }

    /// Whether it fires at all: February 30th never comes, and would be looked for at each look.
    fn ever_opens(&self) -> bool {
        match &self.schedule {
            Schedule::Every(_) => true,
            Schedule::Cron(cron) => cron.next(Timestamp::UNIX_EPOCH).is_some(),
        }
    }

    fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.schedule {
            Schedule::Every(_) => None,
            Schedule::Cron(cron) => cron.next(at),
        }
    }
}

impl Schedule {
    fn read(text: &str) -> Result<Self, String> {
        if let Some(every) = text.strip_prefix("@every ") {
            let every = duration::interval(every.trim()).map_err(|why| why.to_string())?;
            return Ok(Self::Every(every.unwrap_or_default().max(Duration::from_secs(1))));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            fields => fields,
        };
        Cron::read(fields).map(Self::Cron)
    }
}

/// Five fields, each a set of numbers as bits.
struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days of the month and days of the week are restricted: either will do.
    either_day: bool,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    fn read(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("has {} fields: write minute, hour, day, month and weekday", fields.len()));
        };
        let field =
            |text, name, least, most, names| set(text, least, most, names).map_err(|why| format!("{name} {why}"));
        let (days, any_day) = field(days, "day", 1, 31, &[])?;
        let (weekdays, any_weekday) = field(weekdays, "weekday", 0, 6, WEEKDAYS)?;
        Ok(Self {
            minutes: field(minutes, "minute", 0, 59, &[])?.0,
            hours: field(hours, "hour", 0, 23, &[])?.0,
            days,
            months: field(months, "month", 1, 12, MONTHS)?.0,
            weekdays,
            either_day: !any_day && !any_weekday,
        })
    }

    /// The first firing after `after`.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let utc = after.to_zoned(TimeZone::UTC).datetime();
        let (start, last) = (utc.date(), utc.date().checked_add(YEARS.years()).unwrap_or(Date::MAX));
        let (hour, minute) = (utc.hour() as u8, utc.minute() as u8);
        let mut day = start;
        while day <= last {
            if self.is_on(day) {
                let time = if day == start { self.time_after(Some((hour, minute))) } else { self.time_after(None) };
                if let Some((hour, minute)) = time {
                    let at = day.at(hour as i8, minute as i8, 0, 0).to_zoned(TimeZone::UTC).ok()?;
                    return Some(at.timestamp());
                }
            }
            day = if bit(self.months, day.month() as u8) {
                day.checked_add(1.day()).ok()?
            } else {
                day.last_of_month().checked_add(1.day()).ok()?
            };
        }
        None
    }

    /// The last firing up to `at`.
    fn last(&self, at: Timestamp) -> Option<Timestamp> {
        let utc = at.to_zoned(TimeZone::UTC).datetime();
        let (start, first) = (utc.date(), utc.date().checked_sub(YEARS.years()).unwrap_or(Date::MIN));
        let mut day = start;
        while day >= first {
            if self.is_on(day) {
                let latest = if day == start { (utc.hour() as u8, utc.minute() as u8) } else { (23, 59) };
                if let Some((hour, minute)) = self.time_up_to(latest) {
                    let at = day.at(hour as i8, minute as i8, 0, 0).to_zoned(TimeZone::UTC).ok()?;
                    return Some(at.timestamp());
                }
            }
            let day_in_question = if bit(self.months, day.month() as u8) { day } else { day.first_of_month() };
            day = day_in_question.checked_sub(1.day()).ok()?;
        }
        None
    }

    fn is_on(&self, day: Date) -> bool {
        let (day_fits, weekday_fits) =
            (bit(self.days, day.day() as u8), bit(self.weekdays, Weekday::to_sunday_zero_offset(day.weekday()) as u8));
        let fits = if self.either_day { day_fits || weekday_fits } else { day_fits && weekday_fits };
        fits && bit(self.months, day.month() as u8)
    }

    /// The first time of a day, after this one where it is given.
    fn time_after(&self, after: Option<(u8, u8)>) -> Option<(u8, u8)> {
        let hours = (0..24).filter(|hour| bit(self.hours, *hour));
        let mut times =
            hours.flat_map(|hour| (0..60).filter(|minute| bit(self.minutes, *minute)).map(move |m| (hour, m)));
        times.find(|time| after.is_none_or(|after| *time > after))
    }

    /// The last time of a day up to this one.
    fn time_up_to(&self, latest: (u8, u8)) -> Option<(u8, u8)> {
        let hours = (0..24).rev().filter(|hour| bit(self.hours, *hour));
        let minutes = |hour| (0..60).rev().filter(|minute| bit(self.minutes, *minute)).map(move |m| (hour, m));
        hours.flat_map(minutes).find(|time| *time <= latest)
    }
}

fn bit(set: u64, n: u8) -> bool {
    set & (1 << n) != 0
}

/// The numbers that a field names, and whether it names them all by a star.
fn set(text: &str, least: u8, most: u8, names: &[&str]) -> Result<(u64, bool), String> {
    let number = |text: &str| {
        let offset = usize::from(least.min(1));
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|at| at + offset);
        let number = named.or_else(|| text.parse().ok()).filter(|_| !text.starts_with('+'));
        let number = number.and_then(|number| u8::try_from(number).ok());
        number
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| format!("{text:?} is not between {least} and {most}"))
    };
    let mut all = (0, false);
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step: Option<u8> = step.parse().ok().filter(|step| *step > 0);
                (range, Some(step.ok_or_else(|| format!("{part:?} has no step above zero"))?))
            }
        };
        let (from, to, star) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (least, most, step.is_none_or(|step| step == 1)),
            (_, Some((from, to))) => (number(from)?, number(to)?, false),
            // A number with a step goes on to the end.
            (_, None) => (number(range)?, step.map_or(number(range)?, |_| most), false),
        };
        if from > to {
            return Err(format!("{range:?} ends before it begins"));
        }
        all.0 |= (from..=to).step_by(usize::from(step.unwrap_or(1))).fold(0, |set, n| set | 1 << n);
        all.1 |= star;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, after: &str) -> String {
        match Schedule::read(schedule).unwrap() {
            Schedule::Cron(cron) => cron.next(at(after)).map_or("never".into(), |next| next.to_string()),
            Schedule::Every(every) => format!("every {every:?}"),
        }
    }

    #[test]
    fn the_next_firing() {
        const NOW: &str = "2026-11-22T21:59:30Z"; // a Sunday
        for (schedule, expected) in [
            ("* * * * *", "2026-11-22T22:00:00Z"),
            ("30 * * * *", "2026-11-22T22:30:00Z"),
            ("59 21 * * *", "2026-11-23T21:59:00Z"),
            ("*/15 9-17 * * 1-5", "2026-11-23T09:00:00Z"),
            ("0 2 * * MON,wed", "2026-11-23T02:00:00Z"),
            ("0 0 1 * *", "2026-12-01T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 30 feb ?", "never"),
            // Either day, where both are restricted; a step above one restricts.
            ("0 0 13 * 5", "2026-11-27T00:00:00Z"),
            ("0 0 */2 * 5", "2026-11-23T00:00:00Z"),
            ("0 0 */1 * 5", "2026-11-27T00:00:00Z"),
            ("5/20 3 * * *", "2026-11-23T03:05:00Z"),
            ("@hourly", "2026-11-22T22:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@weekly", "2026-11-29T00:00:00Z"),
            ("@every 90m", "every 5400s"),
        ] {
            assert_eq!(next(schedule, NOW), expected, "{schedule}");
        }
        for schedule in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * 7",
            "* * * 0 *",
            "5-1 * * * *",
            "*/0 * * * *",
            "x * * * *",
            "@reboot",
            "@every soon",
            "+1 * * * *",
        ] {
            assert!(Schedule::read(schedule).is_err(), "{schedule}");
        }
    }

    #[test]
    fn the_last_firing() {
        for (schedule, at_, expected) in [
            ("* * * * *", "2026-11-22T21:59:30Z", "2026-11-22T21:59:00Z"),
            ("30 * * * *", "2026-11-22T21:30:00Z", "2026-11-22T21:30:00Z"),
            ("59 23 * * *", "2026-11-22T21:59:30Z", "2026-11-21T23:59:00Z"),
            ("0 0 1 jan *", "2026-11-22T21:59:30Z", "2026-01-01T00:00:00Z"),
            ("0 0 29 2 *", "2026-11-22T21:59:30Z", "2024-02-29T00:00:00Z"),
            ("*/15 9-17 * * 1-5", "2026-11-22T21:59:30Z", "2026-11-20T17:45:00Z"),
        ] {
            let Schedule::Cron(cron) = Schedule::read(schedule).unwrap() else { panic!("{schedule}") };
            assert_eq!(cron.last(at(at_)).unwrap(), at(expected), "{schedule}");
        }
    }

    #[test]
    fn windows_that_touch_cost_little_however_many_and_long() {
        let began = std::time::Instant::now();
        let many: Vec<(&str, &str)> =
            (0..5_000).map(|n| (["* * * * *", "0 0 30 2 *", "0 0 29 2 *"][n % 3], "1000h")).collect();
        let now = "2026-11-22T03:00:00Z";
        assert_eq!(opens("allow", &many, now), now);
        assert!(opens("deny", &many, now).as_str() > "2027");
        assert!(opens("deny", &[("* * * * *", "1000h")], now).as_str() > "2100");
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    fn opens(kind: &str, windows: &[(&str, &str)], now: &str) -> String {
        let windows: Vec<Value> = windows.iter().map(|(s, d)| json!({"schedule": s, "duration": d})).collect();
        let windows = serde_json::from_value(json!({"kind": kind, "windows": windows})).unwrap();
        opening(&windows, at(now)).map_or("never".into(), |at| at.to_string())
    }

    #[test]
    fn when_refreshes_may_run() {
        const NIGHT: (&str, &str) = ("0 2 * * *", "3h");
        const DAY: (&str, &str) = ("0 5 * * *", "10h");
        for (kind, windows, now, expected) in [
            ("allow", &[NIGHT][..], "2026-11-22T02:00:00Z", "2026-11-22T02:00:00Z"),
            ("allow", &[NIGHT], "2026-11-22T05:00:00Z", "2026-11-22T05:00:00Z"),
            ("allow", &[NIGHT], "2026-11-22T05:00:01Z", "2026-11-23T02:00:00Z"),
            ("allow", &[NIGHT], "2026-11-22T01:59:59Z", "2026-11-22T02:00:00Z"),
            ("deny", &[NIGHT], "2026-11-22T01:59:59Z", "2026-11-22T01:59:59Z"),
            ("deny", &[NIGHT], "2026-11-22T03:00:00Z", "2026-11-22T05:00:00.000000001Z"),
            ("deny", &[NIGHT, DAY], "2026-11-22T03:00:00Z", "2026-11-22T15:00:00.000000001Z"),
            ("deny", &[("@hourly", "2h")], "2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"),
            ("allow", &[("@every 1h", "10m")], "2026-11-22T03:00:00Z", "never"),
            ("allow", &[("@every 1h", "1h")], "2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"),
            ("deny", &[("@every 1h", "2h")], "2026-11-22T03:00:00Z", "never"),
            ("deny", &[("nonsense", "2h")], "2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"),
            ("allow", &[("nonsense", "2h"), NIGHT], "2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z"),
        ] {
            if windows[0].0 == "@hourly" {
                // It is never over: the answer is a time far off at which all is decided anew.
                assert!(opens(kind, windows, now).as_str() > "2026-12-", "{windows:?}");
                continue;
            }
            assert_eq!(opens(kind, windows, now), expected, "{kind} {windows:?} at {now}");
        }
    }
}
