//! PEM as Go reads and writes it: what counts as a block, and what is passed over, is particular.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

/// What stands between two lines of dashes.
pub struct Block {
    /// What the first line says it is.
    pub kind: Vec<u8>,
    /// Lines before the content, with a colon.
    pub headers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The content.
    pub bytes: Zeroizing<Vec<u8>>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";
const LINE: usize = 64;

/// The bits that are left over may be anything.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

/// A line without blanks at its end, what comes after it, and how long it was with its line break.
fn line(text: &[u8]) -> (&[u8], &[u8], usize) {
    let (line, rest, consumed) = match memchr::memchr(b'\n', text) {
        Some(at) => (&text[..at], &text[at + 1..], at + 1),
        None => (text, &text[text.len()..], text.len()),
    };
    let line = if consumed > line.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    (&line[..end], rest, consumed)
}

/// The first block and what comes after it; without a block all of the text.
pub fn decode(text: &[u8]) -> (Option<Block>, &[u8]) {
    let mut rest = text;
    loop {
        // The first end, and the last beginning before it: beginnings without an end are passed over.
        let Some(end) = find(rest, END) else { return (None, text) };
        let after_end = end + END.len();
        match memchr::memmem::rfind(&rest[..end], BEGIN) {
            Some(begin) if begin == 0 || rest[begin - 1] == b'\n' => match block(rest, begin, end) {
                Found::Block(block, rest) => return (Some(block), rest),
                Found::Nothing => return (None, text),
                Found::NoBlock => rest = &rest[after_end..],
            },
            _ => rest = &rest[after_end..],
        }
    }
}

enum Found<'t> {
    Block(Block, &'t [u8]),
    /// Not here, perhaps later.
    NoBlock,
    /// Not here and not later.
    Nothing,
}

/// Reads the block between a beginning and an end.
fn block(text: &[u8], begin: usize, end: usize) -> Found<'_> {
    let start = begin + BEGIN.len();
    let (first, mut rest, consumed) = line(&text[start..]);
    // Where the content is, in `text`: headers move it.
    let mut at = start + consumed;
    let Some(kind) = first.strip_suffix(DASHES) else { return Found::NoBlock };
    let mut headers = BTreeMap::new();
    loop {
        if rest.is_empty() {
            return Found::Nothing;
        }
        let (header, next, consumed) = line(rest);
        let Some(colon) = memchr::memchr(b':', header) else { break };
        headers.insert(header[..colon].trim_ascii().to_vec(), header[colon + 1..].trim_ascii().to_vec());
        rest = next;
        at += consumed;
    }
    if !headers.is_empty() && end < at {
        // Headers ran over the end line. Go goes on behind that line, or gives up if it is behind itself.
        return if end + END.len() < at { Found::Nothing } else { Found::NoBlock };
    }
    // The last line names the same kind and holds nothing else.
    let trailer = &text[end + END.len()..];
    let Some((named, after)) = trailer.split_at_checked(kind.len() + DASHES.len()) else { return Found::NoBlock };
    if !named.starts_with(kind) || !named.ends_with(DASHES) || !line(after).0.is_empty() {
        return Found::NoBlock;
    }
    let content: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.get(at..end)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            .collect(),
    );
    match BASE64.decode(&*content) {
        Ok(bytes) => {
            let (_, rest, _) = line(&text[end + END.len() - 1..]);
            Found::Block(Block { kind: kind.to_vec(), headers, bytes: Zeroizing::new(bytes) }, rest)
        }
        Err(_) => Found::NoBlock,
    }
}

/// Appends a block, as Go writes it.
pub fn encode(out: &mut Vec<u8>, block: &Block) {
    out.extend_from_slice(BEGIN);
    out.extend_from_slice(&block.kind);
    out.extend_from_slice(b"-----\n");
    let first = b"Proc-Type".as_slice();
    let (kinds, others): (Vec<_>, Vec<_>) = block.headers.iter().partition(|(key, _)| key.as_slice() == first);
    for (key, value) in kinds.into_iter().chain(others) {
        out.extend_from_slice(key);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    if !block.headers.is_empty() {
        out.push(b'\n');
    }
    let text = Zeroizing::new(BASE64.encode(&*block.bytes));
    for line in text.as_bytes().chunks(LINE) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(&END[1..]);
    out.extend_from_slice(&block.kind);
    out.extend_from_slice(b"-----\n");
}

/// A block without headers, as text.
pub fn text(kind: &str, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 3 / 2 + 80));
    let bytes = Zeroizing::new(bytes.to_vec());
    encode(&mut out, &Block { kind: kind.into(), headers: BTreeMap::new(), bytes });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = text("THING", &[7; 100]);
        let (block, rest) = decode(&text);
        let block = block.unwrap();
        assert_eq!((block.kind.as_slice(), block.bytes.len(), rest), (b"THING".as_slice(), 100, b"".as_slice()));
    }

    #[test]
    fn a_beginning_without_an_end_is_passed_over() {
        let text = b"-----BEGIN A-----\nYQ==\n-----BEGIN B-----\nYg==\n-----END B-----\nrest";
        let (block, rest) = decode(text);
        assert_eq!((block.unwrap().kind.as_slice(), rest), (b"B".as_slice(), b"rest".as_slice()));
        assert!(decode(b"-----BEGIN A-----\nYQ==\n-----END B-----\n").0.is_none());
        assert!(decode(b"x -----BEGIN A-----\nYQ==\n-----END A-----\n").0.is_none());
    }
}
