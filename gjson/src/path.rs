//! Paths, taken apart one component at a time.

use std::borrow::Cow;

use crate::{modifier, scan, text};

/// What follows a component.
#[derive(Clone, Copy)]
pub(crate) enum Rest<'p> {
    Nothing,
    /// For the value that was found, on the way to the answer.
    Dot(&'p [u8]),
    /// For the answer.
    Pipe(&'p [u8]),
}

/// A key to look for in an object.
pub(crate) struct Key<'p> {
    pub(crate) name: Cow<'p, [u8]>,
    pub(crate) wild: bool,
    pub(crate) rest: Rest<'p>,
}

/// Reads the component that an object answers.
pub(crate) fn key(path: &[u8]) -> Key<'_> {
    let mut name = Cow::Borrowed(path);
    let mut plain = true;
    let mut wild = false;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'|' | b'.' => {
                if plain {
                    name = Cow::Borrowed(&path[..at]);
                }
                let after = &path[at + 1..];
                let rest = if byte == b'|' || starts_afresh(after) { Rest::Pipe(after) } else { Rest::Dot(after) };
                return Key { name, wild, rest };
            }
            b'\\' => {
                // From here on the name is not as it stands in the path. An escaped wildcard remains one, if there
                // is another: the name has no place to remember it.
                if plain {
                    name = Cow::Owned(path[..at].to_vec());
                    plain = false;
                }
                at += 1;
                if let Some(escaped) = path.get(at) {
                    name.to_mut().push(*escaped);
                }
            }
            _ => {
                wild |= matches!(byte, b'*' | b'?');
                if !plain {
                    name.to_mut().push(byte);
                }
            }
        }
        at += 1;
    }
    Key { name, wild, rest: Rest::Nothing }
}

/// Whether what follows a dot is read as if it followed a pipe: a modifier or a multipath.
fn starts_afresh(path: &[u8]) -> bool {
    match path {
        [b'[' | b'{', ..] => true,
        [b'@', name @ ..] => {
            let end = name.iter().position(|byte| matches!(byte, b'.' | b'|' | b':')).unwrap_or(name.len());
            modifier::Modifier::named(&name[..end]).is_some()
        }
        _ => false,
    }
}

/// What to look for in an array.
pub(crate) struct Item<'p> {
    pub(crate) which: Which<'p>,
    pub(crate) rest: Rest<'p>,
}

pub(crate) enum Which<'p> {
    /// The item at this index; `None` where the component is no index.
    Index(Option<usize>),
    /// `#`: how many there are.
    Count,
    /// `#.path`: this of each.
    Each(&'p [u8]),
    /// `#(...)` or `#(...)#`.
    Query(Query<'p>),
}

/// A question to every item of an array.
pub(crate) struct Query<'p> {
    pub(crate) path: &'p [u8],
    /// As written, but that `==` is `=`; empty where all that counts is that there is something.
    pub(crate) operator: &'p [u8],
    pub(crate) value: Cow<'p, [u8]>,
    /// Whether all that match are asked for, not the first alone.
    pub(crate) all: bool,
}

/// Reads the component that an array answers. There are no escapes here.
pub(crate) fn item(path: &[u8]) -> Item<'_> {
    let mut query = None;
    let mut hash = false;
    let mut at = 0;
    let mut end = path.len();
    let mut rest = Rest::Nothing;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'|' | b'.' => {
                end = at;
                let after = &path[at + 1..];
                let pipe = byte == b'|' || (!hash && starts_afresh(after));
                rest = if pipe { Rest::Pipe(after) } else { Rest::Dot(after) };
                break;
            }
            b'#' => {
                hash = true;
                if at == 0 && matches!(path.get(1), Some(b'(' | b'[')) {
                    match read_query(path) {
                        Some((found, next)) => {
                            at = next - 1;
                            query = Some(Query { all: path.get(next) == Some(&b'#'), ..found });
                        }
                        None => {
                            // Asks for the items that an empty path finds.
                            let nothing = Query { path: b"", operator: b"", value: Cow::Borrowed(b""), all: false };
                            query = Some(nothing);
                            break;
                        }
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    let part = &path[..end];
    let which = match (query, part, rest) {
        (Some(query), ..) => Which::Query(query),
        (None, b"#", Rest::Dot(each)) => Which::Each(each),
        (None, b"#", _) => Which::Count,
        (None, ..) if hash => Which::Index(None),
        (None, ..) => Which::Index(crate::number::parse_index(part).and_then(|index| usize::try_from(index).ok())),
    };
    Item { which, rest }
}

/// Reads the query that `text` begins with, and says where it ends. `None` where it doesn't.
fn read_query(text: &[u8]) -> Option<(Query<'_>, usize)> {
    let mut depth = 1;
    let mut operator = None;
    let mut escaped = false;
    let mut at = 2;
    loop {
        match *text.get(at)? {
            b'!' | b'=' | b'<' | b'>' | b'%' if depth == 1 && operator.is_none() => operator = Some(at),
            b'\\' => at += 1,
            b'[' | b'(' => depth += 1,
            b']' | b')' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            b'"' => {
                let string = scan::string(text, at);
                escaped |= string.escaped;
                at = string.range.end - usize::from(string.closed);
            }
            _ => {}
        }
        at += 1;
    }
    let Some(from) = operator else {
        let query = Query { path: text::trim(&text[2..at]), operator: b"", value: Cow::Borrowed(b""), all: false };
        return Some((query, at + 1));
    };
    let condition = text::trim(&text[from..at]);
    let (operator, value) = match condition {
        [_] => (condition, &b""[..]),
        [b'=', b'=', ..] => (&condition[1..2], &condition[2..]),
        [b'!', b'=' | b'%', ..] | [b'<' | b'>', b'=', ..] => condition.split_at(2),
        [b'!', ..] => (&b""[..], condition),
        _ => condition.split_at(1),
    };
    let value = match text::trim(value) {
        [b'"', inside @ .., b'"'] if escaped => Cow::Owned(text::unescape(inside).bytes().to_vec()),
        [b'"', inside @ .., b'"'] => Cow::Borrowed(inside),
        value => Cow::Borrowed(value),
    };
    Some((Query { path: text::trim(&text[2..from]), operator, value, all: false }, at + 1))
}

/// Splits a path that follows `#` at its first pipe, if there is one outside of queries.
pub(crate) fn split_pipe(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.contains(&b'|') {
        return None;
    }
    if let [b'{', inside @ ..] = path {
        // What follows the brace counts as an opening bracket of its own.
        let end = 1 + scan::balanced_end(inside);
        return (path.get(end) == Some(&b'|')).then(|| (&path[..end], &path[end + 1..]));
    }
    let mut at = 0;
    loop {
        match *path.get(at)? {
            b'|' => return Some((&path[..at], &path[at + 1..])),
            b'\\' => at += 1,
            b'.' if at + 1 == path.len() => return None,
            b'.' if path[at + 1] == b'#' => {
                at += 2;
                match path.get(at)? {
                    b'[' => at = query_end(path, at, b']'),
                    b'(' => at = query_end(path, at, b')'),
                    // Whatever follows the sign is passed over, a pipe even.
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Where the bracket at `at` is closed; only its own kind counts.
fn query_end(path: &[u8], at: usize, close: u8) -> usize {
    let open = path[at];
    let mut depth = 1;
    let mut at = at + 1;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => {
                let string = scan::string(path, at);
                at = string.range.end - usize::from(string.closed);
            }
            _ if byte == open => depth += 1,
            _ if byte == close => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// One path of a multipath.
pub(crate) struct Selector<'p> {
    name: Option<&'p [u8]>,
    pub(crate) path: &'p [u8],
}

/// Reads the multipath that `path` begins with; returns its selectors and what follows it. `None` where it has no end.
pub(crate) fn selectors(path: &[u8]) -> Option<(Vec<Selector<'_>>, &[u8])> {
    let mut all = Vec::new();
    let mut depth = 1;
    let (mut start, mut colon, mut in_modifier) = (1, None, false);
    let mut at = 1;
    loop {
        let byte = *path.get(at)?;
        match byte {
            b'\\' => at += 1,
            // From a modifier on colons belong to it.
            b'@' => in_modifier |= matches!(path[at - 1], b'.' | b'|'),
            b':' if !in_modifier && colon.is_none() && depth == 1 => colon = Some(at),
            b'"' => {
                let string = scan::string(path, at);
                at = string.range.end - usize::from(string.closed);
            }
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && byte == b',') {
            all.push(match colon {
                Some(colon) => Selector { name: Some(&path[start..colon]), path: &path[colon + 1..at] },
                None => Selector { name: None, path: &path[start..at] },
            });
            (start, colon, in_modifier) = (at + 1, None, false);
        }
        if depth == 0 {
            return Some((all, &path[at + 1..]));
        }
        at += 1;
    }
}

impl Selector<'_> {
    /// Appends the key under which the value goes into an object.
    pub(crate) fn write_name(&self, out: &mut crate::buf::Buf) {
        match self.name {
            Some(name @ [b'"', ..]) if crate::valid(name) => out.extend(name),
            Some(name @ [_, ..]) => text::quote(name, out),
            _ => text::quote(last_name(self.path), out),
        }
    }
}

/// The last component, or `_` where it is more than a name.
fn last_name(path: &[u8]) -> &[u8] {
    let start = (0..path.len())
        .rev()
        .find(|at| matches!(path[*at], b'|' | b'.') && (*at == 0 || path[at - 1] != b'\\'))
        .map_or(0, |at| at + 1);
    let name = &path[start..];
    let special = |byte: &u8| *byte < b' ' || b"[]{}()#|!".contains(byte);
    if name.iter().any(special) { b"_" } else { name }
}

/// Reads a literal, without its `!`: its JSON, and what follows it.
pub(crate) fn literal(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(b'{' | b'[' | b'"' | b'+' | b'-' | b'0'..=b'9') = text.first() {
        // Whatever it begins with counts as an opening bracket, so that a plain value goes on to the end.
        return Some(text.split_at(scan::nest_end(text, 0).min(text.len())));
    }
    let end = text.iter().position(|byte| matches!(byte, b'|' | b'.')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let words: [&[u8]; 5] = [b"true", b"false", b"null", b"nan", b"inf"];
    words.iter().any(|known| word.eq_ignore_ascii_case(known)).then_some((word, rest))
}

/// Reads a modifier, without its `@`: which, its argument, and what follows it.
pub(crate) fn modified(text: &[u8]) -> Option<(modifier::Modifier, &[u8], &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b':' | b'|' | b'.')).unwrap_or(text.len());
    let modifier = modifier::Modifier::named(&text[..end])?;
    let Some(rest) = text[end..].strip_prefix(b":").filter(|rest| !rest.is_empty()) else {
        let rest = if text.get(end) == Some(&b':') { b"" } else { &text[end..] };
        return Some((modifier, b"", rest));
    };
    let mut at = 0;
    if let b'{' | b'[' | b'"' = rest[0] {
        at = scan::balanced_end(rest);
    } else {
        while rest.get(at).is_some_and(|byte| *byte != b'|') {
            match rest[at] {
                b'{' | b'[' | b'"' | b'(' => at += scan::balanced_end(&rest[at..]),
                _ => at += 1,
            }
        }
    }
    let (argument, rest) = rest.split_at(at);
    Some((modifier, argument, rest))
}
