//! JSON as Go's `encoding/json` reads and writes it: values without recursion, whatever their depth.

use super::args::function;
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    value::{Str, Value},
};

mod encode;
mod decode;

use decode::decode;
pub(crate) use encode::own_form;
use encode::{Failed, Style, encode};

/// Functions that read and write JSON.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("fromJson", (string => any), |context: &mut _, text: &Str| Ok(decode(context, text)?.0)),
    function!("mustFromJson", (string => any), |context: &mut _, text: &Str| match decode(context, text)? {
        (value, None) => Ok(value),
        (_, Some(complaint)) => Err(Failure::new(complaint)),
    }),
    function!("toJson", (any => string), |context: &mut _, value: &Value| lenient(context, value, Style::Escaped)),
    function!("toPrettyJson", (any => string), |context: &mut _, value: &Value| lenient(context, value, Style::Pretty)),
    function!("toRawJson", (any => string), |context: &mut _, value: &Value| strict(context, value, Style::Raw)),
    function!("mustToJson", (any => string), |context: &mut _, value: &Value| strict(context, value, Style::Escaped)),
    function!("mustToPrettyJson", (any => string), |context: &mut _, value: &Value| {
        strict(context, value, Style::Pretty)
    }),
    function!("mustToRawJson", (any => string), |context: &mut _, value: &Value| strict(context, value, Style::Raw)),
];

/// Nothing, where Go would say what cannot be written.
fn lenient(context: &mut Context<'_, '_>, value: &Value, style: Style) -> Result<Vec<u8>, Failure> {
    match encode(context, value, style) {
        Ok(text) => Ok(text),
        Err(Failed::Unsupported(_)) => Ok(Vec::new()),
        Err(Failed::Limit(failure)) => Err(failure),
    }
}

fn strict(context: &mut Context<'_, '_>, value: &Value, style: Style) -> Result<Vec<u8>, Failure> {
    encode(context, value, style).map_err(|failed| match failed {
        Failed::Unsupported(complaint) => Failure::new(complaint),
        Failed::Limit(failure) => failure,
    })
}
