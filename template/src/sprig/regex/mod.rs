//! Regular expressions: Go's syntax, run by the automata of the `regex` crate.
//!
//! Both engines descend from RE2 and find the same matches. The syntax differs in details, so patterns are read by
//! [`keyferry_go::regexp`] and handed over as trees.

use keyferry_go::regexp::{self, Replacement, Wrong};
use regex_automata::util::captures::Captures;
use zeroize::Zeroizing;

use self::search::Searcher;
use super::{args::function, growth::appended};
use crate::{
    env::{Context, VALUE},
    error::{Failure, Limit},
    function::Function,
    strconv::unicode::{decode, runes},
    value::{List, Str, Type, Value},
};

mod search;

/// Functions on regular expressions. Those without `must` report a wrong pattern too, but for `regexMatch`.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("regexMatch", (string, string => bool), |context: &mut _, pattern: &Str, text: &Str| {
        match matches(context, pattern, text) {
            Err(failure) if failure.hit().is_none() => Ok(false),
            answer => answer,
        }
    }),
    function!("mustRegexMatch", (string, string => bool), matches),
    function!("regexFind", (string, string => string), find),
    function!("mustRegexFind", (string, string => string), find),
    function!("regexFindAll", (string, string, int => strings), find_all),
    function!("mustRegexFindAll", (string, string, int => strings), find_all),
    function!("regexReplaceAll", (string, string, string => string), expand_all),
    function!("mustRegexReplaceAll", (string, string, string => string), expand_all),
    function!("regexReplaceAllLiteral", (string, string, string => string), replace_all),
    function!("mustRegexReplaceAllLiteral", (string, string, string => string), replace_all),
    function!("regexSplit", (string, string, int => strings), split),
    function!("mustRegexSplit", (string, string, int => strings), split),
    function!("regexQuoteMeta", (string => string), quote_meta),
];

struct Pattern {
    searcher: Searcher,
    /// The names of the groups, empty for those without one; the first is the whole match.
    groups: Vec<String>,
}

impl Pattern {
    fn compile(context: &mut Context<'_, '_>, pattern: &[u8]) -> Result<Self, Failure> {
        context.spend(16 + pattern.len() as u64)?;
        let parsed = regexp::parse(pattern).map_err(|wrong| match wrong {
            Wrong::Syntax(complaint) => Failure::about(complaint, format!("error parsing regexp: {complaint}")),
            Wrong::TooLarge(_) => Failure::limit(Limit::RegexSize, context.limits().regex_bytes as u64),
        })?;
        Ok(Self { searcher: Searcher::new(context, parsed.hir)?, groups: parsed.groups })
    }
}

/// A text as the automata need it. Go reads a byte that is not UTF-8 as U+FFFD of width 1; here it becomes one, and
/// places are counted back.
struct Haystack<'a> {
    original: &'a Str,
    replaced: Option<Replaced>,
}

struct Replaced {
    text: Zeroizing<Vec<u8>>,
    /// For each byte of the text, and its end, where it is in the original.
    places: Vec<usize>,
}

impl<'a> Haystack<'a> {
    fn new(context: &Context<'_, '_>, original: &'a Str) -> Result<Self, Failure> {
        if original.as_utf8().is_some() {
            return Ok(Self { original, replaced: None });
        }
        context.made(original.len().saturating_mul(3 + 3 * size_of::<usize>()))?;
        let mut text = Zeroizing::new(Vec::with_capacity(original.len() * 3));
        let mut places = Vec::with_capacity(original.len() * 3 + 1);
        let mut place = 0;
        for (rune, bytes) in runes(original) {
            let before = text.len();
            text.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
            places.resize(places.len() + text.len() - before, place);
            place += bytes.len();
        }
        places.push(place);
        Ok(Self { original, replaced: Some(Replaced { text, places }) })
    }

    fn text(&self) -> &[u8] {
        match &self.replaced {
            Some(replaced) => &replaced.text,
            None => self.original,
        }
    }

    /// The original bytes between two places of [`Self::text`].
    fn part(&self, from: usize, to: usize) -> &[u8] {
        let (from, to) = match &self.replaced {
            Some(Replaced { places, .. }) => {
                (places.get(from).copied().unwrap_or(0), places.get(to).copied().unwrap_or(0))
            }
            None => (from, to),
        };
        self.original.get(from..to).unwrap_or_default()
    }
}

fn matches(context: &mut Context<'_, '_>, pattern: &Str, text: &Str) -> Result<bool, Failure> {
    let mut pattern = Pattern::compile(context, pattern)?;
    let haystack = Haystack::new(context, text)?;
    pattern.searcher.is_match(context, haystack.text())
}

fn find(context: &mut Context<'_, '_>, pattern: &Str, text: &Str) -> Result<Str, Failure> {
    let mut pattern = Pattern::compile(context, pattern)?;
    let haystack = Haystack::new(context, text)?;
    let found = pattern.searcher.find(context, haystack.text(), 0)?;
    Ok(found.map_or(&[][..], |(start, end)| haystack.part(start, end)).into())
}

/// Where the pattern matches, at most so often. A match of nothing right behind another match is none.
fn all_matches(
    context: &mut Context<'_, '_>,
    pattern: &mut Pattern,
    haystack: &Haystack<'_>,
    most: i64,
) -> Result<Vec<(usize, usize)>, Failure> {
    let text = haystack.text();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut last_end = None;
    let mut from = 0;
    while from <= text.len() && found.len() < most {
        let Some((start, end)) = pattern.searcher.find(context, text, from)? else { break };
        let behind_another = end == from && last_end == Some(start);
        from = if end == from { end + decode(&text[from..]).1.max(1) } else { end };
        last_end = Some(end);
        if !behind_another {
            context.fits_list(found.len() + 1)?;
            context.made(VALUE + end - start)?;
            found.push((start, end));
        }
    }
    Ok(found)
}

fn find_all(context: &mut Context<'_, '_>, pattern: &Str, text: &Str, most: i64) -> Result<List, Failure> {
    /// Go makes room for so many.
    const ROOM: usize = 10;
    let mut pattern = Pattern::compile(context, pattern)?;
    let haystack = Haystack::new(context, text)?;
    let found = all_matches(context, &mut pattern, &haystack, most)?;
    Ok(if found.is_empty() {
        List::nil(&Type::String)
    } else {
        let found = found.into_iter().map(|(start, end)| Value::str(haystack.part(start, end))).collect();
        appended(&Type::String, found, ROOM)
    })
}

fn split(context: &mut Context<'_, '_>, pattern: &Str, text: &Str, most: i64) -> Result<List, Failure> {
    let has_pattern = !pattern.is_empty();
    let mut pattern = Pattern::compile(context, pattern)?;
    match most {
        0 => return Ok(List::nil(&Type::String)),
        _ if has_pattern && text.is_empty() => return Ok(List::typed(&Type::String, vec![Value::str("")])),
        _ => {}
    }
    let haystack = Haystack::new(context, text)?;
    let found = all_matches(context, &mut pattern, &haystack, most)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let (mut from, mut to) = (0, 0);
    let room = found.len();
    for (start, end) in found {
        if parts.len() + 1 >= most {
            break;
        }
        to = start;
        if end != 0 {
            parts.push(Value::str(haystack.part(from, to)));
        }
        from = end;
    }
    let whole = haystack.text().len();
    if to != whole {
        parts.push(Value::str(haystack.part(from, whole)));
    }
    Ok(appended(&Type::String, parts, room))
}

/// Replaces each match by what `replacement` makes of it.
fn replace(
    context: &mut Context<'_, '_>,
    searcher: &mut Searcher,
    text: &Str,
    replacement: impl Fn(&mut Context<'_, '_>, &Haystack<'_>, &Captures, &mut Vec<u8>) -> Result<(), Failure>,
) -> Result<Str, Failure> {
    let haystack = Haystack::new(context, text)?;
    let whole = haystack.text().len();
    let mut captures = searcher.captures();
    let mut out = Vec::new();
    let (mut done, mut from) = (0, 0);
    let mut any = false;
    while from <= whole {
        let Some((start, end)) = searcher.find_groups(context, haystack.text(), from, &mut captures)? else { break };
        any = true;
        out.extend_from_slice(haystack.part(done, start));
        // Nothing right behind another match is not replaced once more.
        if end > done || start == 0 {
            replacement(context, &haystack, &captures, &mut out)?;
        }
        context.fits(out.len())?;
        done = end;
        let width = decode(&haystack.text()[from..]).1;
        from = match () {
            () if from + width > end => from + width,
            () if from + 1 > end => from + 1,
            () => end,
        };
    }
    if !any {
        return Ok(text.clone());
    }
    out.extend_from_slice(haystack.part(done, whole));
    context.fits(out.len())?;
    Ok(out.into())
}

fn replace_all(context: &mut Context<'_, '_>, pattern: &Str, text: &Str, by: &Str) -> Result<Str, Failure> {
    let mut pattern = Pattern::compile(context, pattern)?;
    replace(context, &mut pattern.searcher, text, |context, _, _, out| {
        context.fits(out.len() + by.len())?;
        out.extend_from_slice(by);
        Ok(())
    })
}

fn expand_all(context: &mut Context<'_, '_>, pattern: &Str, text: &Str, by: &Str) -> Result<Str, Failure> {
    let mut pattern = Pattern::compile(context, pattern)?;
    let replacement = Replacement::new(by, &pattern.groups);
    context.spend(replacement.parts() as u64)?;
    replace(context, &mut pattern.searcher, text, |context, haystack, captures, out| {
        let group = |group: usize| captures.get_group(group).map(|group| haystack.part(group.start, group.end));
        // Before it grows: one match may stand in its place very often.
        replacement.expand(group, |part| {
            context.fits(out.len() + part.len())?;
            out.extend_from_slice(part);
            Ok(())
        })
    })
}

fn quote_meta(context: &mut Context<'_, '_>, text: &Str) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for byte in text.iter() {
        if br"\.+*?()|[]{}^$".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    context.fits(out.len())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    fn replaced(pattern: &str, text: &[u8], by: &str) -> Vec<u8> {
        let mut env = Env::default();
        let text = expand_all(&mut Context::new(&mut env), &pattern.into(), &text.into(), &by.into());
        text.unwrap().to_vec()
    }

    /// One match, very often: a hundred gigabytes, which are refused before they are there.
    #[test]
    fn a_replacement_is_asked_for_before_it_grows() {
        let mut env = Env::default();
        let (text, by) = ("a".repeat(1 << 20), "$0".repeat(100_000));
        let failure = expand_all(&mut Context::new(&mut env), &"a+".into(), &text.as_str().into(), &by.as_str().into());
        assert!(failure.unwrap_err().hit().is_some());
    }

    /// What Go 1.26 makes of them.
    #[test]
    fn replacements() {
        for (pattern, text, by, result) in [
            ("a(x*)b", "-ab-axxb-", "${1}W", "-W-xxW-"),
            ("a(x*)b", "-ab-axxb-", "$1W", "---"),
            ("a(?P<x>x*)b", "-axxb-", "$x$$$", "-xx$$-"),
            ("x*", "axb", "-", "-a-b-"),
            ("", "h\u{e9}", "-", "-h-\u{e9}-"),
            ("(?i)\u{212a}", "kK", "x", "xx"),
        ] {
            assert_eq!(replaced(pattern, text.as_bytes(), by), result.as_bytes(), "{pattern}");
        }
        assert_eq!(replaced(".", b"a\xffb", "<$0>"), b"<a><\xff><b>");
        assert_eq!(replaced("^.{2}$", b"\xc3\xa9", "x"), b"\xc3\xa9");
    }
}
