//! The operators of queries.

use crate::{
    eval::{Budget, TooComplex},
    number,
    path::Query,
    scan::{Kind, Node},
    text, wildcard,
};

/// Whether what a query's path has found is what the query asks for.
pub(crate) fn matches(
    query: &Query<'_>,
    found: Option<&Node<'_>>,
    budget: &mut Budget<'_>,
) -> Result<bool, TooComplex> {
    if let [b'~', word @ ..] = &*query.value {
        let answer = match word {
            b"*" => found.is_some(),
            b"null" => found.is_none_or(|node| node.kind == Kind::Null),
            b"true" => truth(found) == Some(true),
            b"false" => found.is_none() || truth(found) == Some(false),
            _ => return Ok(false),
        };
        return Ok(bools(query.operator, answer, b"true"));
    }
    let Some(found) = found else { return Ok(false) };
    let wanted = &*query.value;
    if query.operator.is_empty() {
        return Ok(true);
    }
    Ok(match found.kind {
        Kind::String if query.operator.ends_with(b"%") => {
            let text = found.to_text();
            wildcard::matches(text.bytes(), wanted, budget)? == (query.operator == b"%")
        }
        Kind::String => found.with_text(|text| ordered(query.operator, text, wanted)),
        Kind::Number => ordered(query.operator, &found.float(), &number::parse(wanted)),
        Kind::True | Kind::False => bools(query.operator, found.kind == Kind::True, wanted),
        Kind::Null | Kind::Nest => false,
    })
}

/// A value as a truth: `null` is false, and so are some strings and numbers; objects and arrays are neither.
fn truth(found: Option<&Node<'_>>) -> Option<bool> {
    let node = found?;
    match node.kind {
        Kind::Null | Kind::False => Some(false),
        Kind::True => Some(true),
        Kind::Number => Some(node.float() != 0.0),
        Kind::String => node.with_text(text::parse_bool),
        Kind::Nest => None,
    }
}

fn ordered<T: PartialOrd + ?Sized>(operator: &[u8], left: &T, right: &T) -> bool {
    match operator {
        b"=" => left == right,
        b"!=" => left != right,
        b"<" => left < right,
        b"<=" => left <= right,
        b">" => left > right,
        b">=" => left >= right,
        _ => false,
    }
}

/// False is less than true; other words are unequal to both, and nothing else.
fn bools(operator: &[u8], value: bool, wanted: &[u8]) -> bool {
    let (same, other): (&[u8], &[u8]) = if value { (b"true", b"false") } else { (b"false", b"true") };
    match operator {
        b"" => true,
        b"=" => wanted == same,
        b"!=" => wanted != same,
        b">" => value && wanted == other,
        b">=" => value,
        b"<" => !value && wanted == other,
        b"<=" => !value,
        _ => false,
    }
}
