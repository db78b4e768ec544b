//! Go's layouts: how 2 January 2006, 15:04:05 would be written, and moments written so.

use super::time::Time;

/// A part of a layout that stands for a part of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Std {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekDay,
    WeekDay,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    Pm,
    LowerPm,
    ZoneName,
    /// An offset.
    Offset {
        form: Offset,
        or_z: bool,
    },
    /// A fraction of a second: digits, and `keep` for zeros at the end.
    Fraction {
        digits: usize,
        separator: u8,
        keep: bool,
    },
}

/// How an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offset {
    /// `-07`
    Hours,
    /// `-0700`
    Minutes,
    /// `-07:00`
    ColonMinutes,
    /// `-070000`
    Seconds,
    /// `-07:00:00`
    ColonSeconds,
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The words of a layout. Longer ones first; `true` where no lower case letter may follow.
const WORDS: [(&[u8], Std, bool); 23] = [
    (b"January", Std::LongMonth, false),
    (b"Jan", Std::Month, true),
    (b"Monday", Std::LongWeekDay, false),
    (b"Mon", Std::WeekDay, true),
    (b"MST", Std::ZoneName, false),
    (b"01", Std::ZeroMonth, false),
    (b"02", Std::ZeroDay, false),
    (b"03", Std::ZeroHour12, false),
    (b"04", Std::ZeroMinute, false),
    (b"05", Std::ZeroSecond, false),
    (b"06", Std::Year, false),
    (b"002", Std::ZeroYearDay, false),
    (b"15", Std::Hour, false),
    (b"1", Std::NumMonth, false),
    (b"2006", Std::LongYear, false),
    (b"2", Std::Day, false),
    (b"_2", Std::UnderDay, false),
    (b"__2", Std::UnderYearDay, false),
    (b"3", Std::Hour12, false),
    (b"4", Std::Minute, false),
    (b"5", Std::Second, false),
    (b"PM", Std::Pm, false),
    (b"pm", Std::LowerPm, false),
];

const OFFSETS: [(&[u8], Offset); 5] = [
    (b"070000", Offset::Seconds),
    (b"07:00:00", Offset::ColonSeconds),
    (b"0700", Offset::Minutes),
    (b"07:00", Offset::ColonMinutes),
    (b"07", Offset::Hours),
];

/// The part of a date that stands at the start of a layout, and its length.
fn std_at(layout: &[u8]) -> Option<(Std, usize)> {
    let (first, rest) = layout.split_first()?;
    match first {
        b'-' | b'Z' => {
            let (text, form) = OFFSETS.iter().find(|(text, _)| rest.starts_with(text))?;
            Some((Std::Offset { form: *form, or_z: *first == b'Z' }, 1 + text.len()))
        }
        b'.' | b',' => {
            let digit = rest.first().filter(|digit| matches!(digit, b'0' | b'9'))?;
            let digits = rest.iter().take_while(|byte| *byte == digit).count();
            if rest.get(digits).is_some_and(u8::is_ascii_digit) {
                None
            } else {
                Some((Std::Fraction { digits, separator: *first, keep: *digit == b'0' }, 1 + digits))
            }
        }
        _ => {
            let follows = |len: usize| layout.get(len).is_some_and(u8::is_ascii_lowercase);
            let fits = |word: &[u8], alone: bool| layout.starts_with(word) && !(alone && follows(word.len()));
            WORDS.iter().find(|(word, _, alone)| fits(word, *alone)).map(|(word, std, _)| (*std, word.len()))
        }
    }
}

/// The text before the next part of a date, that part, and the rest of the layout.
pub(super) fn next_std(layout: &[u8]) -> (&[u8], Option<Std>, &[u8]) {
    for at in 0..layout.len() {
        // An underscore before a year is itself.
        if layout[at..].starts_with(b"_2006") {
            return (&layout[..=at], Some(Std::LongYear), &layout[at + 5..]);
        }
        if let Some((std, len)) = std_at(&layout[at..]) {
            return (&layout[..at], Some(std), &layout[at + len..]);
        }
    }
    (layout, None, &[])
}

/// At least so many digits, the sign not counted.
fn push_padded(out: &mut Vec<u8>, number: i64, width: usize) {
    if number < 0 {
        out.push(b'-');
    }
    let number = number.unsigned_abs();
    out.extend_from_slice(format!("{number:0width$}").as_bytes());
}

/// Writes a moment.
pub(super) fn format(time: &Time, layout: &[u8]) -> Vec<u8> {
    let civil = time.civil();
    let (zone, offset) = time.offset();
    let mut out = Vec::with_capacity(layout.len() + 16);
    let mut rest = layout;
    let month = MONTHS.get(civil.month as usize - 1).copied().unwrap_or_default();
    let weekday = WEEKDAYS.get(civil.weekday as usize).copied().unwrap_or_default();
    let hour12 = match civil.hour % 12 {
        0 => 12,
        hour => hour,
    };
    while !rest.is_empty() {
        let (text, std, after) = next_std(rest);
        out.extend_from_slice(text);
        rest = after;
        let Some(std) = std else { break };
        match std {
            Std::LongMonth => out.extend_from_slice(month.as_bytes()),
            Std::Month => out.extend_from_slice(&month.as_bytes()[..3.min(month.len())]),
            Std::NumMonth => push_padded(&mut out, civil.month, 0),
            Std::ZeroMonth => push_padded(&mut out, civil.month, 2),
            Std::LongWeekDay => out.extend_from_slice(weekday.as_bytes()),
            Std::WeekDay => out.extend_from_slice(&weekday.as_bytes()[..3.min(weekday.len())]),
            Std::Day => push_padded(&mut out, civil.day, 0),
            Std::UnderDay => out.extend_from_slice(format!("{:2}", civil.day).as_bytes()),
            Std::ZeroDay => push_padded(&mut out, civil.day, 2),
            Std::UnderYearDay => out.extend_from_slice(format!("{:3}", civil.day_of_year).as_bytes()),
            Std::ZeroYearDay => push_padded(&mut out, civil.day_of_year, 3),
            Std::Hour => push_padded(&mut out, civil.hour, 2),
            Std::Hour12 => push_padded(&mut out, hour12, 0),
            Std::ZeroHour12 => push_padded(&mut out, hour12, 2),
            Std::Minute => push_padded(&mut out, civil.minute, 0),
            Std::ZeroMinute => push_padded(&mut out, civil.minute, 2),
            Std::Second => push_padded(&mut out, civil.second, 0),
            Std::ZeroSecond => push_padded(&mut out, civil.second, 2),
            Std::LongYear => push_padded(&mut out, civil.year, 4),
            Std::Year => push_padded(&mut out, (civil.year.unsigned_abs() % 100) as i64, 2),
            Std::Pm => out.extend_from_slice(if civil.hour >= 12 { b"PM" } else { b"AM" }),
            Std::LowerPm => out.extend_from_slice(if civil.hour >= 12 { b"pm" } else { b"am" }),
            Std::ZoneName if zone.is_empty() => push_offset(&mut out, offset, Offset::Minutes),
            Std::ZoneName => out.extend_from_slice(&zone),
            Std::Offset { or_z: true, .. } if offset == 0 => out.push(b'Z'),
            Std::Offset { form, .. } => push_offset(&mut out, offset, form),
            Std::Fraction { digits, separator, keep } => push_fraction(&mut out, time.nanos(), digits, separator, keep),
        }
    }
    out
}

/// The sign is that of whole minutes.
fn push_offset(out: &mut Vec<u8>, offset: i32, form: Offset) {
    let minutes = offset / 60;
    out.push(if minutes < 0 { b'-' } else { b'+' });
    let seconds = if minutes < 0 { -offset } else { offset };
    let (hours, minutes) = (i64::from(minutes.abs() / 60), i64::from(minutes.abs() % 60));
    let colon = matches!(form, Offset::ColonMinutes | Offset::ColonSeconds);
    push_padded(out, hours, 2);
    if form != Offset::Hours {
        out.extend(colon.then_some(b':'));
        push_padded(out, minutes, 2);
    }
    if matches!(form, Offset::Seconds | Offset::ColonSeconds) {
        out.extend(colon.then_some(b':'));
        push_padded(out, (seconds % 60).into(), 2);
    }
}

fn push_fraction(out: &mut Vec<u8>, nanos: u32, digits: usize, separator: u8, keep: bool) {
    let all = format!("{nanos:09}");
    // Go keeps nine digits of a layout that has more.
    let shown = &all[..digits.min(9)];
    let shown = match keep {
        true => shown,
        false if nanos == 0 => return,
        false => shown.trim_end_matches('0'),
    };
    if !shown.is_empty() {
        out.push(separator);
        out.extend_from_slice(shown.as_bytes());
    }
}
