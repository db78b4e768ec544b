//! `html`, `js`, `urlquery`.

use zeroize::Zeroizing;

use super::Answer;
use crate::{
    env::Context,
    error::Failure,
    fmt,
    strconv::unicode,
    value::{Str, Value},
};

pub(super) fn html(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    escaped(context, args, |out, text| {
        for byte in text {
            match byte {
                0 => out.extend_from_slice("\u{fffd}".as_bytes()),
                b'"' => out.extend_from_slice(b"&#34;"),
                b'\'' => out.extend_from_slice(b"&#39;"),
                b'&' => out.extend_from_slice(b"&amp;"),
                b'<' => out.extend_from_slice(b"&lt;"),
                b'>' => out.extend_from_slice(b"&gt;"),
                other => out.push(*other),
            }
        }
    })
}

pub(super) fn js(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    escaped(context, args, |out, text| {
        for (rune, bytes) in unicode::runes(text) {
            match rune {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\'' => out.extend_from_slice(b"\\'"),
                '"' => out.extend_from_slice(b"\\\""),
                '<' | '>' | '&' | '=' | '\0'..'\x20' => {
                    out.extend_from_slice(format!("\\u{:04X}", u32::from(rune)).as_bytes());
                }
                ' '..='\x7f' => out.extend_from_slice(bytes),
                rune if unicode::is_print(rune) => out.extend_from_slice(bytes),
                rune => out.extend_from_slice(format!("\\u{:04X}", u32::from(rune)).as_bytes()),
            }
        }
    })
}

pub(super) fn urlquery(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    escaped(context, args, |out, text| {
        for byte in text {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
                b' ' => out.push(b'+'),
                other => out.extend_from_slice(format!("%{other:02X}").as_bytes()),
            }
        }
    })
}

fn escaped(context: &Context<'_, '_>, args: &[Value], escape: impl Fn(&mut Vec<u8>, &[u8])) -> Answer {
    let text = text_of(context, args)?;
    // The longest escape is one byte to six: room for all, so that no copy is left behind when the buffer grows.
    let mut out = Zeroizing::new(Vec::with_capacity(text.len().saturating_mul(6)));
    escape(&mut out, &text);
    Ok(Value::Str(Str::from(out)))
}

/// The arguments as an action would print them; nil is `<no value>` here.
fn text_of(context: &Context<'_, '_>, args: &[Value]) -> Result<Str, Failure> {
    if let [Value::Str(text)] = args {
        return Ok(text.clone());
    }
    let shown: Vec<Value> =
        args.iter().map(|arg| if arg.is_nil() { Value::str("<no value>") } else { arg.clone() }).collect();
    fmt::sprint(context, &shown)
}
