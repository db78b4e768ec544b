//! Dates: Go's `time.Time` with its layouts, zones and durations.
//!
//! Modules, in reading order: [`calendar`] days and seconds, [`time`] a moment in a zone, [`layout`] moments to text,
//! [`parse`] text to moments, [`objects`] what templates can do with all of them.

use keyferry_go::duration;

use super::args::{Args, function};
use crate::{
    env::Context,
    error::Failure,
    f,
    function::Function,
    sig,
    value::{IntKind, Str, Value},
};

mod calendar;
mod time;
mod layout;
mod parse;
mod objects;

use objects::TIME;
pub(super) use time::Time;
use time::Zone;

/// The date and time of day in UTC.
pub(super) fn utc_civil(time: &Time) -> calendar::Civil {
    calendar::civil(time.unix(), 0)
}

/// Functions on dates. Those that take a `time.Time` are declared by hand, since they need it unwrapped.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("now", (=> TIME), |context: &mut Context<'_, '_>| Ok(Value::object(Time::now(context)))),
    function!("date", (string, any => string), |context: &mut _, layout: &Str, date: &Value| {
        show(context, layout, date, b"Local")
    }),
    function!("htmlDate", (any => string), |context: &mut _, date: &Value| show(context, HTML, date, b"Local")),
    function!("htmlDateInZone", (any, string => string), |context: &mut _, date: &Value, zone: &Str| {
        show(context, HTML, date, zone)
    }),
    function!("dateInZone", (string, any, string => string), date_in_zone),
    function!("date_in_zone", (string, any, string => string), date_in_zone),
    f("dateModify", sig!(string, TIME => TIME), |_, args| modify(args, |_, time| Ok(time.clone()))),
    f("date_modify", sig!(string, TIME => TIME), |_, args| modify(args, |_, time| Ok(time.clone()))),
    f("mustDateModify", sig!(string, TIME => TIME), |_, args| modify(args, |failure, _| Err(failure))),
    f("must_date_modify", sig!(string, TIME => TIME), |_, args| modify(args, |failure, _| Err(failure))),
    function!("toDate", (string, string => TIME), |_: &mut _, layout: &Str, text: &Str| {
        Ok(Value::object(parse::parse(layout, text).unwrap_or_else(|_| Time::zero())))
    }),
    function!("mustToDate", (string, string => TIME), |_: &mut _, layout: &Str, text: &Str| {
        Ok(Value::object(parse::parse(layout, text)?))
    }),
    f("unixEpoch", sig!(TIME => string), |_, args| Ok(Value::str(taken(&mut Args(args))?.unix().to_string()))),
    function!("ago", (any => string), ago),
    function!("duration", (any => string), duration),
    function!("durationRound", (any => string), duration_round),
];

const HTML: &[u8] = b"2006-01-02";

const SECOND: i64 = 1_000_000_000;

fn taken<'a>(args: &mut Args<'a>) -> Result<&'a Time, Failure> {
    args.any()?.downcast().ok_or(Failure::new("internal error: expected time.Time"))
}

/// The moment a value stands for; now, if it stands for none.
fn moment(context: &mut Context<'_, '_>, date: &Value) -> Time {
    match (date, date.downcast::<Time>()) {
        (_, Some(time)) => time.clone(),
        (Value::Int(IntKind::Int | IntKind::Int64 | IntKind::Int32, seconds), _) => Time::from_unix(*seconds),
        _ => Time::now(context),
    }
}

fn show(context: &mut Context<'_, '_>, layout: &[u8], date: &Value, zone: &[u8]) -> Result<Vec<u8>, Failure> {
    context.spend(1 + layout.len() as u64 / 16)?;
    context.fits(layout.len().saturating_mul(10))?;
    let time = moment(context, date);
    Ok(layout::format(&time.within(Zone::load(zone).unwrap_or(Zone::Utc)), layout))
}

fn date_in_zone(context: &mut Context<'_, '_>, layout: &Str, date: &Value, zone: &Str) -> Result<Vec<u8>, Failure> {
    show(context, layout, date, zone)
}

fn modify(args: &[Value], otherwise: fn(Failure, &Time) -> Result<Time, Failure>) -> Result<Value, Failure> {
    let mut args = Args(args);
    let text = args.string()?;
    let time = taken(&mut args)?;
    Ok(Value::object(match duration::parse(text) {
        Some(duration) => time.plus(duration),
        None => otherwise(Failure::new("time: invalid duration"), time)?,
    }))
}

fn ago(context: &mut Context<'_, '_>, date: &Value) -> Result<String, Failure> {
    let then = match date {
        Value::Int(IntKind::Int32, _) => Time::now(context),
        date => moment(context, date),
    };
    let passed = Time::now(context).since(&then);
    Ok(duration::format(duration::round(passed, SECOND)))
}

fn duration(_: &mut Context<'_, '_>, seconds: &Value) -> Result<String, Failure> {
    let seconds = match seconds {
        Value::Str(text) => super::cast::parse_clipped(text, 10),
        Value::Int(IntKind::Int64, seconds) => *seconds,
        _ => 0,
    };
    Ok(duration::format(seconds.wrapping_mul(SECOND)))
}

/// The largest unit and how often it fits.
fn duration_round(context: &mut Context<'_, '_>, duration: &Value) -> Result<String, Failure> {
    let duration = match (duration, duration.downcast::<Time>()) {
        (_, Some(time)) => Time::now(context).since(time),
        (Value::Str(text), _) => duration::parse(text).unwrap_or(0),
        (Value::Int(IntKind::Int64, nanoseconds), _) => *nanoseconds,
        _ => 0,
    };
    let size = duration.unsigned_abs();
    let hour = 3600 * SECOND.unsigned_abs();
    let units = [
        (hour * 24 * 365, "y"),
        (hour * 24 * 30, "mo"),
        (hour * 24, "d"),
        (hour, "h"),
        (hour / 60, "m"),
        (hour / 3600, "s"),
    ];
    Ok(match units.iter().find(|(unit, _)| size > *unit) {
        Some((unit, name)) => format!("{}{name}", size / unit),
        None => "0s".to_owned(),
    })
}
