//! Values to text, as sprig turns them.

use crate::{
    env::Context,
    error::Failure,
    fmt,
    value::{List, Str, Type, Value},
};

/// `fmt.Sprintf("%v", value)`.
pub(super) fn sprint(context: &mut Context<'_, '_>, value: &Value) -> Result<Str, Failure> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        other => fmt::display(context, other),
    }
}

/// What sprig takes for the text of a value: bytes as they are, everything else as `%v` prints it.
pub(super) fn strval(context: &mut Context<'_, '_>, value: &Value) -> Result<Str, Failure> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        Value::List(list) if *list.elem() == Type::BYTE => Ok(list
            .iter()
            .filter_map(|item| match item {
                Value::Uint(_, byte) => u8::try_from(*byte).ok(),
                _ => None,
            })
            .collect::<Vec<u8>>()
            .into()),
        other => sprint(context, other),
    }
}

/// A `[]byte`.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    Value::List(List::typed(&Type::BYTE, bytes.iter().map(|byte| Value::byte(*byte)).collect()))
}
