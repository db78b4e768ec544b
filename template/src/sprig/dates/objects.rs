//! What templates can do with moments and durations: their methods, and how they print.

use std::any::Any;

use keyferry_go::duration;

use super::{
    layout::{MONTHS, WEEKDAYS, format},
    taken,
    time::{Parts, Time, Zone},
};
use crate::{
    error::Failure,
    f,
    function::Function,
    sig,
    sprig::{args::Args, text::bytes},
    strconv::quote,
    value::{Named, Object, Str, Type, Value},
};

static TIME_TYPE: Named = Named { name: "time.Time", kind: "struct" };
static DURATION_TYPE: Named = Named { name: "time.Duration", kind: "int64" };
static MONTH_TYPE: Named = Named { name: "time.Month", kind: "int" };
static WEEKDAY_TYPE: Named = Named { name: "time.Weekday", kind: "int" };
static LOCATION_TYPE: Named = Named { name: "*time.Location", kind: "ptr" };

/// `time.Time`
pub(super) const TIME: Type = Type::Named(&TIME_TYPE);
const DURATION: Type = Type::Named(&DURATION_TYPE);
const MONTH: Type = Type::Named(&MONTH_TYPE);
const WEEKDAY: Type = Type::Named(&WEEKDAY_TYPE);
const LOCATION: Type = Type::Named(&LOCATION_TYPE);
const BYTES: Type = Type::Slice(&Type::BYTE);

const HOUR: i64 = 3_600_000_000_000;

/// A day of the week, from Sunday.
struct Weekday(i64);

/// A month, from January.
struct Month(i64);

/// A length of time.
struct Duration(i64);

/// A zone.
struct Location(Zone);

/// A method without parameters.
macro_rules! get {
    ($name:literal, $result:ident, $time:ident => $value:expr) => {
        f($name, sig!(=> $result), |_, args| {
            let $time = taken(&mut Args(args))?;
            Ok($value)
        })
    };
}

/// A method that takes another moment.
macro_rules! with_time {
    ($name:literal, $result:ident, $time:ident, $other:ident => $value:expr) => {
        f($name, sig!(TIME => $result), |_, args| {
            let mut args = Args(args);
            let ($time, $other) = (taken(&mut args)?, taken(&mut args)?);
            Ok($value)
        })
    };
}

/// A method that takes a duration.
macro_rules! with_duration {
    ($name:literal, $time:ident, $nanos:ident => $value:expr) => {
        f($name, sig!(DURATION => TIME), |_, args| {
            let mut args = Args(args);
            let ($time, $nanos) = (taken(&mut args)?, nanos(&mut args)?);
            Ok(Value::object($value))
        })
    };
}

fn nanos(args: &mut Args<'_>) -> Result<i64, Failure> {
    let arg = args.any()?;
    match (arg, arg.downcast::<Duration>()) {
        (_, Some(Duration(nanos))) => Ok(*nanos),
        // A constant takes the parameter's type.
        (Value::Int(_, nanos), None) => Ok(*nanos),
        _ => Err(Failure::new("internal error: expected time.Duration")),
    }
}

const TIME_METHODS: &[Function] = &[
    get!("Year", int, time => Value::int(time.civil().year)),
    get!("Month", MONTH, time => Value::object(Month(time.civil().month))),
    get!("Day", int, time => Value::int(time.civil().day)),
    get!("Weekday", WEEKDAY, time => Value::object(Weekday(time.civil().weekday))),
    get!("YearDay", int, time => Value::int(time.civil().day_of_year)),
    get!("Hour", int, time => Value::int(time.civil().hour)),
    get!("Minute", int, time => Value::int(time.civil().minute)),
    get!("Second", int, time => Value::int(time.civil().second)),
    get!("Nanosecond", int, time => Value::int(time.nanos().into())),
    get!("Unix", int64, time => Value::int64(time.unix())),
    get!("UnixMilli", int64, time => Value::int64(time.unix_nanos().div_euclid(1_000_000) as i64)),
    get!("UnixMicro", int64, time => Value::int64(time.unix_nanos().div_euclid(1_000) as i64)),
    get!("UnixNano", int64, time => Value::int64(time.unix_nanos() as i64)),
    get!("IsZero", bool, time => Value::Bool(time.position() == Time::zero().position())),
    get!("IsDST", bool, time => Value::Bool(time.zone.is_dst(time.unix()))),
    get!("UTC", TIME, time => Value::object(time.within(Zone::Utc))),
    get!("Local", TIME, time => Value::object(time.within(Zone::Local))),
    get!("Location", LOCATION, time => Value::object(Location(time.zone.clone()))),
    get!("String", string, time => Value::str(shown(time))),
    get!("GoString", string, time => Value::str(go_syntax(time))),
    f("Format", sig!(string => string), |_, args| {
        let mut args = Args(args);
        Ok(Value::str(format(taken(&mut args)?, args.string()?)))
    }),
    f("MarshalJSON", sig!(=> BYTES), |_, args| {
        let text = taken(&mut Args(args))?.json().ok_or(Failure::new("Time.MarshalJSON: year outside of range"))?;
        Ok(bytes(&[b"\"", text.as_slice(), b"\""].concat()))
    }),
    f("MarshalText", sig!(=> BYTES), |_, args| {
        let text = taken(&mut Args(args))?.json().ok_or(Failure::new("Time.MarshalText: year outside of range"))?;
        Ok(bytes(&text))
    }),
    with_time!("After", bool, time, other => Value::Bool(time.position() > other.position())),
    with_time!("Before", bool, time, other => Value::Bool(time.position() < other.position())),
    with_time!("Equal", bool, time, other => Value::Bool(time.position() == other.position())),
    with_time!("Compare", int, time, other => Value::int(time.position().cmp(&other.position()) as i64)),
    with_time!("Sub", DURATION, time, other => Value::object(Duration(time.since(other)))),
    with_duration!("Add", time, nanos => time.plus(nanos)),
    with_duration!("Round", time, nanos => rounded(time, nanos, true)),
    with_duration!("Truncate", time, nanos => rounded(time, nanos, false)),
    f("AddDate", sig!(int, int, int => TIME), |_, args| {
        let mut args = Args(args);
        let time = taken(&mut args)?;
        let (years, months, days) = (args.int()?, args.int()?, args.int()?);
        let now = time.civil();
        let parts = Parts {
            year: now.year.wrapping_add(years),
            month: now.month.wrapping_add(months),
            day: now.day.wrapping_add(days),
            second: now.hour * 3600 + now.minute * 60 + now.second,
            nanos: time.nanos(),
        };
        Ok(Value::object(Time::from_parts(parts, time.zone.clone())))
    }),
    f("In", sig!(LOCATION => TIME), |_, args| {
        let mut args = Args(args);
        let time = taken(&mut args)?;
        match args.any()?.downcast::<Location>() {
            Some(Location(zone)) => Ok(Value::object(time.within(zone.clone()))),
            None => Err(Failure::new("time: missing Location in call to Time.In")),
        }
    }),
];

fn shown(time: &Time) -> Vec<u8> {
    format(time, b"2006-01-02 15:04:05.999999999 -0700 MST")
}

fn go_syntax(time: &Time) -> Vec<u8> {
    let at = time.civil();
    let month = MONTHS.get(at.month as usize - 1).copied().unwrap_or_default();
    let mut out = format!(
        "time.Date({}, time.{month}, {}, {}, {}, {}, {}, ",
        at.year,
        at.day,
        at.hour,
        at.minute,
        at.second,
        time.nanos()
    )
    .into_bytes();
    match &time.zone {
        Zone::Utc => out.extend_from_slice(b"time.UTC"),
        Zone::Local => out.extend_from_slice(b"time.Local"),
        other => {
            out.extend_from_slice(b"time.Location(");
            quote::quote(&mut out, &other.name(), false);
            out.push(b')');
        }
    }
    out.push(b')');
    out
}

/// To a multiple of a duration since the year 1.
fn rounded(time: &Time, nanos: i64, up: bool) -> Time {
    if nanos <= 0 {
        return time.clone();
    }
    let since = time.position();
    let rest = since.rem_euclid(nanos.into()) as i64;
    if up && i128::from(rest) * 2 >= i128::from(nanos) { time.plus(nanos - rest) } else { time.plus(-rest) }
}

impl Time {
    /// As `toJson` writes it; `None` if RFC 3339 has no such year or offset.
    pub(in crate::sprig) fn json(&self) -> Option<Vec<u8>> {
        let (_, offset) = self.offset();
        let fits = (0..=9999).contains(&self.civil().year) && (offset / 3600).abs() < 24;
        fits.then(|| format(self, b"2006-01-02T15:04:05.999999999Z07:00"))
    }
}

impl Object for Time {
    fn type_of(&self) -> &'static Named {
        &TIME_TYPE
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn display(&self) -> Option<Str> {
        Some(shown(self).into())
    }

    fn go_string(&self) -> Option<Str> {
        Some(go_syntax(self).into())
    }

    fn methods(&self) -> &'static [Function] {
        TIME_METHODS
    }

    fn equals(&self, other: &dyn Object) -> Option<bool> {
        other.as_any().downcast_ref().map(|other| self.is(other))
    }
}

/// Objects that are numbers with a name.
macro_rules! number {
    ($type:ident, $named:ident, $plain:expr, $text:expr, $methods:expr) => {
        impl Object for $type {
            fn type_of(&self) -> &'static Named {
                &$named
            }

            fn as_any(&self) -> &dyn Any {
                self
            }

            fn display(&self) -> Option<Str> {
                let text: fn(i64) -> String = $text;
                Some(text(self.0).into())
            }

            fn underlying(&self) -> Option<Value> {
                Some($plain(self.0))
            }

            fn methods(&self) -> &'static [Function] {
                $methods
            }

            fn equals(&self, other: &dyn Object) -> Option<bool> {
                other.as_any().downcast_ref::<Self>().map(|other| self.0 == other.0)
            }
        }
    };
}

fn name(names: &[&str], place: i64, kind: &str, number: i64) -> String {
    match usize::try_from(place).ok().and_then(|place| names.get(place)) {
        Some(name) => (*name).to_owned(),
        None => format!("%!{kind}({number})"),
    }
}

number!(Month, MONTH_TYPE, Value::int, |month| name(&MONTHS, month - 1, "Month", month), MONTH_METHODS);
number!(Weekday, WEEKDAY_TYPE, Value::int, |day| name(&WEEKDAYS, day, "Weekday", day), WEEKDAY_METHODS);
number!(Duration, DURATION_TYPE, Value::int64, duration::format, DURATION_METHODS);

const MONTH_METHODS: &[Function] = &[f("String", sig!(=> string), display)];

const WEEKDAY_METHODS: &[Function] = &[f("String", sig!(=> string), display)];

fn display(_: &mut crate::Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    match Args(args).any()? {
        Value::Object(object) => Ok(Value::Str(object.display().unwrap_or_else(|| "".into()))),
        _ => Err(Failure::new("internal error: expected a receiver")),
    }
}

/// A count of units.
macro_rules! units {
    ($name:literal, $result:ident, $nanos:ident => $value:expr) => {
        f($name, sig!(=> $result), |_, args| {
            let $nanos = nanos(&mut Args(args))?;
            Ok($value)
        })
    };
}

/// As Go divides durations: whole units first, then the rest.
fn in_units(nanos: i64, unit: i64) -> Value {
    Value::Float((nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64)
}

const DURATION_METHODS: &[Function] = &[
    f("String", sig!(=> string), display),
    units!("Hours", float64, nanos => in_units(nanos, HOUR)),
    units!("Minutes", float64, nanos => in_units(nanos, HOUR / 60)),
    units!("Seconds", float64, nanos => in_units(nanos, HOUR / 3600)),
    units!("Milliseconds", int64, nanos => Value::int64(nanos / 1_000_000)),
    units!("Microseconds", int64, nanos => Value::int64(nanos / 1_000)),
    units!("Nanoseconds", int64, nanos => Value::int64(nanos)),
    units!("Abs", DURATION, nanos => Value::object(Duration(nanos.saturating_abs()))),
    f("Round", sig!(DURATION => DURATION), |_, args| {
        let mut args = Args(args);
        Ok(Value::object(Duration(duration::round(nanos(&mut args)?, nanos(&mut args)?))))
    }),
    f("Truncate", sig!(DURATION => DURATION), |_, args| {
        let mut args = Args(args);
        let (length, multiple) = (nanos(&mut args)?, nanos(&mut args)?);
        Ok(Value::object(Duration(if multiple <= 0 { length } else { length - length % multiple })))
    }),
];

impl Object for Location {
    fn type_of(&self) -> &'static Named {
        &LOCATION_TYPE
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn display(&self) -> Option<Str> {
        Some(self.0.name())
    }

    fn methods(&self) -> &'static [Function] {
        LOCATION_METHODS
    }

    fn equals(&self, other: &dyn Object) -> Option<bool> {
        other.as_any().downcast_ref::<Self>().map(|other| self.0.is(&other.0))
    }
}

const LOCATION_METHODS: &[Function] = &[f("String", sig!(=> string), display)];
