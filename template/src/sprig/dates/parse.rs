//! Texts to moments, by a layout.

use super::{
    calendar::{days_in, is_leap},
    layout::{MONTHS, Offset, Std, WEEKDAYS, next_std},
    time::{Parts, Time, Zone},
};
use crate::error::Failure;

/// What a text has said so far.
#[derive(Default)]
struct Parsed {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    afternoon: Option<bool>,
    utc: bool,
    offset: Option<i32>,
    zone: Vec<u8>,
}

/// Does not say what the text was: it may be a secret.
fn wrong() -> Failure {
    Failure::new("parsing time: the value does not have the form of the layout")
}

fn out_of_range(what: &str) -> Failure {
    Failure::new(format!("parsing time: {what} out of range"))
}

/// Reads a moment; without a zone in the text it is one in the zone of the system.
pub(super) fn parse(layout: &[u8], text: &[u8]) -> Result<Time, Failure> {
    let mut parsed = Parsed::default();
    let (mut layout, mut text) = (layout, text);
    loop {
        let (literal, std, after) = next_std(layout);
        text = skip(text, literal)?;
        match std {
            Some(std) => text = parsed.part(std, after, text)?,
            None if text.is_empty() => return parsed.finish(),
            None => return Err(Failure::new("parsing time: extra text")),
        }
        layout = after;
    }
}

/// What is left of a text after a literal part. Runs of spaces match each other, whatever their lengths.
fn skip<'a>(text: &'a [u8], literal: &[u8]) -> Result<&'a [u8], Failure> {
    let (mut text, mut literal) = (text, literal);
    while let Some((byte, after)) = literal.split_first() {
        match byte {
            b' ' => {
                if text.first().is_some_and(|byte| *byte != b' ') {
                    return Err(wrong());
                }
                literal = without_spaces(literal);
                text = without_spaces(text);
            }
            byte => {
                text = text.strip_prefix(&[*byte]).ok_or_else(wrong)?;
                literal = after;
            }
        }
    }
    Ok(text)
}

fn without_spaces(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

fn is_digit(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(u8::is_ascii_digit)
}

/// One or two digits; two if `fixed`.
fn number(text: &[u8], fixed: bool) -> Result<(i64, &[u8]), Failure> {
    match text {
        [ten, one, rest @ ..] if ten.is_ascii_digit() && one.is_ascii_digit() => {
            Ok((i64::from(ten - b'0') * 10 + i64::from(one - b'0'), rest))
        }
        [one, rest @ ..] if one.is_ascii_digit() && !fixed => Ok((i64::from(one - b'0'), rest)),
        _ => Err(wrong()),
    }
}

/// Up to three digits; three if `fixed`.
fn number_of_three(text: &[u8], fixed: bool) -> Result<(i64, &[u8]), Failure> {
    let digits = text.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    match (digits, fixed) {
        (0, _) | (1 | 2, true) => Err(wrong()),
        (digits, _) => {
            let (number, rest) = text.split_at(digits);
            Ok((number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), rest))
        }
    }
}

/// The place of a name in a list, with the case of letters ignored, and what follows it.
fn lookup<'a>(names: &[&str], len: Option<usize>, text: &'a [u8]) -> Result<(i64, &'a [u8]), Failure> {
    names
        .iter()
        .map(|name| &name.as_bytes()[..len.unwrap_or(name.len())])
        .zip(0..)
        .find(|(name, _)| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        .map(|(name, place)| (place, &text[name.len()..]))
        .ok_or_else(wrong)
}

fn within(value: i64, range: std::ops::Range<i64>, what: &str) -> Result<i64, Failure> {
    if range.contains(&value) { Ok(value) } else { Err(out_of_range(what)) }
}

/// A point or a comma and digits, of which nine count.
fn fraction(text: &[u8]) -> Result<u32, Failure> {
    let digits = match text {
        [b'.' | b',', digits @ ..] => &digits[..digits.len().min(9)],
        _ => return Err(wrong()),
    };
    let (digits, sign) = match digits {
        [b'-', digits @ ..] => (digits, -1),
        [b'+', digits @ ..] => (digits, 1),
        digits => (digits, 1),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')) * sign;
    let given = text.len().min(10) - 1;
    let nanos = (given..9).fold(number, |sum, _| sum * 10);
    u32::try_from(nanos).map_err(|_| out_of_range("fractional second"))
}

impl Parsed {
    /// Reads one part and returns what follows it in the text.
    fn part<'a>(&mut self, std: Std, layout: &[u8], text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let rest;
        match std {
            Std::Year => rest = self.short_year(text)?,
            Std::LongYear => {
                let (four, after) = text.split_at_checked(4).filter(|_| is_digit(text, 0)).ok_or_else(wrong)?;
                self.year = small(four)?;
                rest = after;
            }
            Std::Month | Std::LongMonth => {
                let found;
                (found, rest) = lookup(&MONTHS, (std == Std::Month).then_some(3), text)?;
                self.month = Some(found + 1);
            }
            Std::NumMonth | Std::ZeroMonth => {
                let found;
                (found, rest) = number(text, std == Std::ZeroMonth)?;
                self.month = Some(within(found, 1..13, "month")?);
            }
            Std::WeekDay => (_, rest) = lookup(&WEEKDAYS, Some(3), text)?,
            Std::LongWeekDay => (_, rest) = lookup(&WEEKDAYS, None, text)?,
            Std::Day | Std::UnderDay | Std::ZeroDay => {
                let space = std == Std::UnderDay && text.starts_with(b" ");
                let found;
                (found, rest) = number(&text[usize::from(space)..], std == Std::ZeroDay)?;
                self.day = Some(found);
            }
            Std::UnderYearDay | Std::ZeroYearDay => rest = self.year_day(std, text)?,
            Std::Hour => {
                (self.hour, rest) = number(text, false)?;
                within(self.hour, 0..24, "hour")?;
            }
            Std::Hour12 | Std::ZeroHour12 => {
                (self.hour, rest) = number(text, std == Std::ZeroHour12)?;
                within(self.hour, 0..13, "hour")?;
            }
            Std::Minute | Std::ZeroMinute => {
                (self.minute, rest) = number(text, std == Std::ZeroMinute)?;
                within(self.minute, 0..60, "minute")?;
            }
            Std::Second | Std::ZeroSecond => rest = self.seconds(std, layout, text)?,
            Std::Pm | Std::LowerPm => rest = self.half_of_day(std, text)?,
            Std::Offset { or_z: true, .. } if text.starts_with(b"Z") => {
                self.utc = true;
                rest = &text[1..];
            }
            Std::Offset { form, .. } => rest = self.offset(form, text)?,
            Std::ZoneName => rest = self.zone(text)?,
            Std::Fraction { digits, keep: true, .. } => {
                let (found, after) = text.split_at_checked(1 + digits).ok_or_else(wrong)?;
                self.nanos = fraction(found)?;
                rest = after;
            }
            Std::Fraction { .. } => rest = self.any_fraction(text)?,
        }
        Ok(rest)
    }

    /// Two digits: from 1969 to 2068.
    fn short_year<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let (two, rest) = text.split_at_checked(2).ok_or_else(wrong)?;
        self.year = match small(two)? {
            year if year >= 69 => year + 1900,
            year => year + 2000,
        };
        Ok(rest)
    }

    fn year_day<'a>(&mut self, std: Std, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let spaces = match std {
            Std::UnderYearDay => text.iter().take(2).take_while(|byte| **byte == b' ').count(),
            _ => 0,
        };
        let (found, rest) = number_of_three(&text[spaces..], std == Std::ZeroYearDay)?;
        self.day_of_year = Some(found);
        Ok(rest)
    }

    fn half_of_day<'a>(&mut self, std: Std, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let (word, rest) = text.split_at_checked(2).ok_or_else(wrong)?;
        self.afternoon = match (std, word) {
            (Std::Pm, b"PM") | (Std::LowerPm, b"pm") => Some(true),
            // Go remembers both, and the afternoon wins.
            (Std::Pm, b"AM") | (Std::LowerPm, b"am") => Some(self.afternoon.unwrap_or(false)),
            _ => return Err(wrong()),
        };
        Ok(rest)
    }

    /// The name of a zone.
    fn zone<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        if let Some(rest) = text.strip_prefix(b"UTC") {
            self.utc = true;
            return Ok(rest);
        }
        let (name, rest) = text.split_at(zone_name(text).ok_or_else(wrong)?);
        self.zone = name.to_vec();
        Ok(rest)
    }

    /// A fraction of a second where there is one, of any length.
    fn any_fraction<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        match text {
            [b'.' | b',', digit, ..] if digit.is_ascii_digit() => {
                let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (found, after) = text.split_at(1 + digits);
                self.nanos = fraction(found)?;
                Ok(after)
            }
            _ => Ok(text),
        }
    }

    /// Seconds may have a fraction although the layout shows none.
    fn seconds<'a>(&mut self, std: Std, layout: &[u8], text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let rest;
        (self.second, rest) = number(text, std == Std::ZeroSecond)?;
        within(self.second, 0..60, "second")?;
        match next_std(layout).1 {
            Some(Std::Fraction { .. }) => Ok(rest),
            _ => self.any_fraction(rest),
        }
    }

    fn offset<'a>(&mut self, form: Offset, text: &'a [u8]) -> Result<&'a [u8], Failure> {
        let (len, colons): (usize, &[usize]) = match form {
            Offset::Hours => (3, &[]),
            Offset::Minutes => (5, &[]),
            Offset::ColonMinutes => (6, &[3]),
            Offset::Seconds => (7, &[]),
            Offset::ColonSeconds => (9, &[3, 6]),
        };
        let (found, rest) = text.split_at_checked(len).ok_or_else(wrong)?;
        if !colons.iter().all(|at| found[*at] == b':') {
            return Err(wrong());
        }
        let wide = 2 + usize::from(!colons.is_empty());
        let mut parts = [0; 3];
        let limits = [(25, "time zone offset hour"), (61, "time zone offset minute"), (61, "time zone offset second")];
        for (place, part) in parts.iter_mut().enumerate() {
            let at = 1 + place * wide;
            if at < len {
                (*part, _) = number(&found[at..at + 2], true)?;
            }
        }
        for (part, (limit, what)) in parts.iter().zip(limits) {
            within(*part, 0..limit, what)?;
        }
        let [hours, minutes, seconds] = parts;
        let offset = ((hours * 60 + minutes) * 60 + seconds) as i32;
        self.offset = Some(match found[0] {
            b'+' => offset,
            b'-' => -offset,
            _ => return Err(wrong()),
        });
        Ok(rest)
    }

    fn finish(mut self) -> Result<Time, Failure> {
        match self.afternoon {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if let Some(day_of_year) = self.day_of_year {
            self.set_day_of_year(day_of_year)?;
        }
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if day < 1 || day > days_in(self.year, month) {
            return Err(out_of_range("day"));
        }
        let second = self.hour * 3600 + self.minute * 60 + self.second;
        let parts = Parts { year: self.year, month, day, second, nanos: self.nanos };
        Ok(match self.offset {
            _ if self.utc => Time::from_parts(parts, Zone::Utc),
            // Go takes an offset of one second west for none at all.
            Some(offset) if offset != -1 => {
                let time = Time::from_parts(parts, Zone::Utc).earlier(offset.into());
                let (name, local) = Zone::Local.at(time.unix());
                if local == offset && (self.zone.is_empty() || *name == *self.zone) {
                    time.within(Zone::Local)
                } else {
                    time.within(Zone::Fixed(self.zone.into(), offset))
                }
            }
            _ if !self.zone.is_empty() => {
                let time = Time::from_parts(parts, Zone::Utc);
                match Zone::Local.offset_of(&self.zone, time.unix()) {
                    Some(offset) => time.earlier(offset.into()).within(Zone::Local),
                    None => {
                        let offset = match self.zone.strip_prefix(b"GMT") {
                            Some(hours) if !hours.is_empty() => small(hours).unwrap_or(0) as i32 * 3600,
                            _ => 0,
                        };
                        time.within(Zone::Fixed(self.zone.into(), offset))
                    }
                }
            }
            _ => Time::from_parts(parts, Zone::Local),
        })
    }

    /// The month and the day of a day of the year, which must be those of the text if it has them.
    fn set_day_of_year(&mut self, day_of_year: i64) -> Result<(), Failure> {
        let leap = is_leap(self.year);
        if day_of_year < 1 || day_of_year > 365 + i64::from(leap) {
            return Err(out_of_range("day-of-year"));
        }
        let mut day = day_of_year;
        let mut month = 1;
        while day > days_in(self.year, month) {
            day -= days_in(self.year, month);
            month += 1;
        }
        let fits = |seen: Option<i64>, found| seen.is_none_or(|seen| seen == found);
        if fits(self.month, month) && fits(self.day, day) {
            (self.month, self.day) = (Some(month), Some(day));
            Ok(())
        } else {
            Err(Failure::new("parsing time: day-of-year does not match month and day"))
        }
    }
}

/// A number with or without a sign, of a few digits.
fn small(text: &[u8]) -> Result<i64, Failure> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    if digits.len() < 18 && digits.iter().all(u8::is_ascii_digit) {
        Ok(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')) * sign)
    } else {
        Err(wrong())
    }
}

/// The length of what looks like the name of a zone.
fn zone_name(text: &[u8]) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    if text.starts_with(b"ChST") || text.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(after) = text.strip_prefix(b"GMT") {
        return Some(3 + signed_hours(after));
    }
    if matches!(text[0], b'+' | b'-') {
        return Some(signed_hours(text)).filter(|len| *len > 0);
    }
    match text.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count() {
        3 => Some(3),
        4 if text[3] == b'T' || text.starts_with(b"WITA") => Some(4),
        5 if text[4] == b'T' => Some(5),
        _ => None,
    }
}

/// The length of `+3` or `-11`; zero if it is none or beyond 23.
fn signed_hours(text: &[u8]) -> usize {
    let digits = match text {
        [b'+' | b'-', rest @ ..] => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    match digits {
        0 => 0,
        digits => {
            let significant = &text[1..=digits];
            let significant = &significant[significant.iter().take_while(|byte| **byte == b'0').count()..];
            match small(significant) {
                Ok(hours) if significant.len() < 3 && hours <= 23 => 1 + digits,
                _ => 0,
            }
        }
    }
}
