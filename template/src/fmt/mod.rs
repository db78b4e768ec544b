//! Printing, as Go's package `fmt` does it: `print`, `println`, `printf` and the output of actions.
//!
//! Modules, in reading order: [`scalar`] flags, padding and single values, [`value`] values of any kind, [`format`] the
//! formats of `printf`.

mod scalar;
mod value;
mod format;

use crate::{
    env::Context,
    error::{Failure, Limit},
    value::{Str, Value},
};
use value::Printer;

/// Go's `fmt.Sprint`: a space between operands when neither is a string.
pub fn sprint(context: &Context<'_, '_>, args: &[Value]) -> Result<Str, Failure> {
    print(context, |printer| printer.print(args))
}

/// Go's `fmt.Sprintln`: a space between all operands and a newline.
pub fn sprintln(context: &Context<'_, '_>, args: &[Value]) -> Result<Str, Failure> {
    print(context, |printer| printer.println(args))
}

/// Go's `fmt.Sprintf`.
pub fn sprintf(context: &Context<'_, '_>, format: &[u8], args: &[Value]) -> Result<Str, Failure> {
    print(context, |printer| printer.printf(format, args))
}

/// Go's `fmt.Sprintf("%v", value)`.
pub fn display(context: &Context<'_, '_>, value: &Value) -> Result<Str, Failure> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        value => print(context, |printer| printer.print(std::slice::from_ref(value))),
    }
}

fn print(context: &Context<'_, '_>, write: impl FnOnce(&mut Printer)) -> Result<Str, Failure> {
    let most = context.limits().value_bytes;
    let mut printer = Printer::new(most);
    write(&mut printer);
    match printer.finish() {
        Some(text) => Ok(text.into()),
        None => Err(Failure::limit(Limit::ValueBytes, most as u64)),
    }
}

/// Prints a value as an action does, at the end of `out`; `false` if that would be more than `most` bytes in all.
pub(crate) fn write(out: &mut zeroize::Zeroizing<Vec<u8>>, most: usize, value: &Value) -> bool {
    match value {
        Value::Str(text) => append(out, most, text),
        Value::NoValue => append(out, most, b"<no value>"),
        Value::Bool(true) => append(out, most, b"true"),
        Value::Bool(false) => append(out, most, b"false"),
        Value::Int(_, number) => {
            let digits = scalar::Digits::of(number.unsigned_abs(), 10, false);
            (*number >= 0 || append(out, most, b"-")) && append(out, most, digits.as_bytes())
        }
        value => {
            let mut printer = Printer::new(most.saturating_sub(out.len()));
            printer.print(std::slice::from_ref(value));
            printer.finish().is_some_and(|text| append(out, most, &text))
        }
    }
}

/// Appends bytes to a buffer that is wiped when dropped, without leaving copies behind when it grows.
pub(crate) fn append(out: &mut zeroize::Zeroizing<Vec<u8>>, most: usize, bytes: &[u8]) -> bool {
    let needed = out.len().saturating_add(bytes.len());
    if needed > most {
        return false;
    }
    if needed > out.capacity() {
        let mut larger = zeroize::Zeroizing::new(Vec::with_capacity(needed.max(2 * out.capacity()).max(64)));
        larger.extend_from_slice(out);
        *out = larger;
    }
    out.extend_from_slice(bytes);
    true
}
