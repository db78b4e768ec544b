//! A moment in a zone.

use std::time::UNIX_EPOCH;

use jiff::{Timestamp, tz::TimeZone};

use super::calendar::{Civil, DAY, civil, days_to};
use crate::{env::Context, value::Str};

/// Nanoseconds of a second.
const NANOS: i128 = 1_000_000_000;

/// Where a moment is looked at from.
#[derive(Clone)]
pub(super) enum Zone {
    Utc,
    /// The zone of the system.
    Local,
    /// An offset a text named, with its name if it had one.
    Fixed(Str, i32),
    /// A zone of the time zone data base.
    Named(Str, TimeZone),
}

impl Zone {
    /// A zone by its name; the name of the data base, to the letter.
    pub(super) fn load(name: &[u8]) -> Option<Self> {
        match name {
            b"" | b"UTC" => Some(Self::Utc),
            b"Local" => Some(Self::Local),
            name => {
                let text = std::str::from_utf8(name).ok().filter(|text| text.len() < 64)?;
                let zone = TimeZone::get(text).ok()?;
                (zone.iana_name() == Some(text)).then(|| Self::Named(name.into(), zone))
            }
        }
    }

    /// The name and the offset in force at a moment.
    pub(super) fn at(&self, unix: i64) -> (Str, i32) {
        match self {
            Self::Utc => ("UTC".into(), 0),
            Self::Fixed(name, offset) => (name.clone(), *offset),
            Self::Named(_, zone) => at(zone, unix),
            Self::Local => match TimeZone::system() {
                zone if zone.is_unknown() => ("UTC".into(), 0),
                zone => at(&zone, unix),
            },
        }
    }

    /// Is daylight saving time in force?
    pub(super) fn is_dst(&self, unix: i64) -> bool {
        let dst = |zone: &TimeZone| zone.to_offset_info(timestamp(unix)).dst().is_dst();
        match self {
            Self::Utc | Self::Fixed(..) => false,
            Self::Named(_, zone) => dst(zone),
            Self::Local => dst(&TimeZone::system()),
        }
    }

    /// The offset of a name such as `CEST`, if this zone ever has it around that moment.
    pub(super) fn offset_of(&self, name: &[u8], unix: i64) -> Option<i32> {
        let zone = match self {
            Self::Named(_, zone) => zone.clone(),
            Self::Local => TimeZone::system(),
            Self::Utc | Self::Fixed(..) => return None,
        };
        let now = timestamp(unix);
        let near = zone.preceding(now).take(2).chain(zone.following(now).take(2)).map(|change| change.timestamp());
        let known: Vec<(Str, i32)> = std::iter::once(now).chain(near).map(|near| at(&zone, near.as_second())).collect();
        let named = || known.iter().filter(|(known, _)| **known == *name);
        let in_force = named().find(|(_, offset)| *at(&zone, unix - i64::from(*offset)).0 == *name);
        in_force.or_else(|| named().next()).map(|(_, offset)| *offset)
    }

    /// What the zone is called, whatever the moment.
    pub(super) fn name(&self) -> Str {
        match self {
            Self::Utc => "UTC".into(),
            Self::Local if TimeZone::system().is_unknown() => "UTC".into(),
            Self::Local => "Local".into(),
            Self::Fixed(name, _) | Self::Named(name, _) => name.clone(),
        }
    }

    /// Is it the same zone?
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Utc, Self::Utc) | (Self::Local, Self::Local) => true,
            (Self::Fixed(name, offset), Self::Fixed(other_name, other_offset)) => {
                name == other_name && offset == other_offset
            }
            (Self::Named(name, _), Self::Named(other, _)) => name == other,
            _ => false,
        }
    }
}

/// A moment the time zone data base knows at which the same holds. The rules of the far future repeat as the calendar
/// does; before the far past there are none.
fn timestamp(unix: i64) -> Timestamp {
    /// 400 years.
    const PERIOD: i64 = 146_097 * 86_400;
    /// 1 January 2400, when no rule is to change any more.
    const FUTURE: i64 = 13_569_465_600;
    let known = match unix {
        FUTURE.. => FUTURE + (unix - FUTURE) % PERIOD,
        unix => unix.max(Timestamp::MIN.as_second()),
    };
    Timestamp::from_second(known).unwrap_or_default()
}

fn at(zone: &TimeZone, unix: i64) -> (Str, i32) {
    let info = zone.to_offset_info(timestamp(unix));
    (info.abbreviation().into(), info.offset().seconds())
}

/// Seconds from 1 January of the year 1 to 1 January 1970.
const YEAR_ONE: i64 = 62_135_596_800;

/// Go's `time.Time`, without the reading of the monotonic clock.
#[derive(Clone)]
pub(in crate::sprig) struct Time {
    seconds: i64,
    nanos: u32,
    pub(super) zone: Zone,
}

/// What a moment is made of: a date and a time of day, parts of which may lie outside their ranges.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    /// Seconds of the day.
    pub second: i64,
    pub nanos: u32,
}

impl Time {
    /// 1 January of the year 1.
    pub(in crate::sprig) fn zero() -> Self {
        Self { seconds: -YEAR_ONE, nanos: 0, zone: Zone::Utc }
    }

    /// By the clock of the context.
    pub(in crate::sprig) fn now(context: &Context<'_, '_>) -> Self {
        let nanos = match context.now().duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        Self { seconds: nanos.div_euclid(NANOS) as i64, nanos: nanos.rem_euclid(NANOS) as u32, zone: Zone::Local }
    }

    /// So many seconds after 1 January 1970, in the zone of the system.
    pub(super) fn from_unix(seconds: i64) -> Self {
        Self { seconds, nanos: 0, zone: Zone::Local }
    }

    /// The moment at which a clock in that zone shows this.
    pub(super) fn from_parts(parts: Parts, zone: Zone) -> Self {
        let shown = (days_to(parts.year, parts.month, parts.day) * DAY + i128::from(parts.second)) as i64;
        let mut time = Self { seconds: shown, nanos: parts.nanos, zone };
        let (_, guess) = time.zone.at(shown);
        if guess != 0 {
            let (_, offset) = time.zone.at(shown.wrapping_sub(guess.into()));
            time.seconds = shown.wrapping_sub(offset.into());
        }
        time
    }

    /// Seconds since 1 January 1970.
    pub(super) fn unix(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds of the second.
    pub(super) fn nanos(&self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since 1 January 1970.
    pub(super) fn unix_nanos(&self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// Nanoseconds since 1 January of the year 1, which moments are compared by. Go counts those seconds in 64 bits: what
    /// is farther in the future is the past again.
    pub(super) fn position(&self) -> i128 {
        i128::from(self.seconds.wrapping_add(YEAR_ONE)) * NANOS + i128::from(self.nanos)
    }

    /// The name of the zone and its offset at this moment.
    pub(super) fn offset(&self) -> (Str, i32) {
        self.zone.at(self.seconds)
    }

    /// The date and time a clock in its zone shows.
    pub(super) fn civil(&self) -> Civil {
        civil(self.seconds, self.offset().1)
    }

    /// The same moment in another zone.
    pub(super) fn within(&self, zone: Zone) -> Self {
        Self { zone, ..self.clone() }
    }

    /// The moment so many seconds earlier.
    pub(super) fn earlier(&self, seconds: i64) -> Self {
        Self { seconds: self.seconds.wrapping_sub(seconds), ..self.clone() }
    }

    /// So many nanoseconds later.
    pub(in crate::sprig) fn plus(&self, nanos: i64) -> Self {
        let sum = self.position() + i128::from(nanos);
        let seconds = sum.div_euclid(NANOS).clamp(-i128::from(i64::MAX), i64::MAX.into()) as i64;
        let nanos = sum.rem_euclid(NANOS) as u32;
        Self { seconds: seconds.wrapping_sub(YEAR_ONE), nanos, zone: self.zone.clone() }
    }

    /// Nanoseconds between two moments; the least or largest duration if there are too many.
    pub(super) fn since(&self, other: &Self) -> i64 {
        let nanos = self.position() - other.position();
        nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Go's `==`: the same moment in the same zone.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.position() == other.position() && self.zone.is(&other.zone)
    }
}
