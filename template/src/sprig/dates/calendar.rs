//! Days and seconds of the proleptic Gregorian calendar, over all years a 64-bit count of seconds can reach.

/// Seconds of a day.
pub(super) const DAY: i128 = 86_400;

/// From the start of Go's calendar, 1 March of the year -292277022400, to 1 January 1970, in seconds.
const START: i128 = (730_692_556 * 146_097 + 306) * DAY + 62_135_596_800;

/// A date and the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sprig) struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// 0 is Sunday.
    pub weekday: i64,
    /// From 1.
    pub day_of_year: i64,
}

/// The date and time so many seconds after 1 January 1970. As under Go, seconds beyond the calendar come out at its
/// other end.
pub(super) fn civil(seconds: i64, offset: i32) -> Civil {
    let since_start = i128::from(seconds) + i128::from(offset) + START;
    let seconds = since_start.rem_euclid(1 << 64) - START;
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY) as i64);
    let (year, month, day) = date(days);
    Civil {
        year,
        month,
        day,
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
        weekday: (days + 4).rem_euclid(7) as i64,
        day_of_year: (days - days_to(year, 1, 1)) as i64 + 1,
    }
}

/// The date so many days after 1 January 1970. Years are counted from March, which puts leap days last.
fn date(days: i128) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    (year as i64, month as i64, (of_year - (153 * from_march + 2) / 5 + 1) as i64)
}

/// Days from 1 January 1970 to a date. Months and days may lie outside their ranges.
pub(super) fn days_to(year: i64, month: i64, day: i64) -> i128 {
    let months = i128::from(year) * 12 + i128::from(month) - 1;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let year = year - i128::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468 + i128::from(day) - 1
}

/// Is it a leap year?
pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, which must be in range.
pub(super) fn days_in(year: i64, month: i64) -> i64 {
    (days_to(year, month + 1, 1) - days_to(year, month, 1)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_there_and_back() {
        for days in (-2_000_000..2_000_000).step_by(37) {
            let (year, month, day) = date(days);
            assert_eq!(days_to(year, month, day), days);
            assert!((1..=days_in(year, month)).contains(&day));
        }
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(days_in(2024, 2), 29);
        assert_eq!(civil(0, 0).weekday, 4);
    }

    /// As Go 1.26 has it.
    #[test]
    fn the_ends_of_time() {
        assert_eq!(civil(i64::MIN, 0).year, 292_277_026_596);
        assert_eq!(civil(i64::MAX, 0).year, 292_277_026_596);
    }
}
