//! Patterns that are ready to match, and the cache of them, which is bounded by bytes.
//!
//! They are made by whoever may write an ExternalSecret or a store, so that each is small: none takes memory out of
//! proportion to its text, compiled or while it matches.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_limits::{Limit, PATTERN_COMPILED, PATTERN_GROUPS, PATTERNS_KEPT};
use regex_automata::Input;
use regex_automata::meta::{Builder, Cache, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;

use super::expand::Replacement;
use super::parse::{Allowance, Parsed, Wrong, parse, parse_within};

/// What an automaton may keep, there and back, of what it has built on its way: enough for names.
const AUTOMATON: usize = 64 << 10;

/// A pattern in Go's syntax. Copies share what was compiled.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    groups: Arc<[String]>,
}

/// What is wanted of a pattern. Places of groups take memory that whether there is a match does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Match,
    Groups,
}

/// A pattern in Go's syntax, for whoever only asks whether it matches.
///
/// # Errors
/// Says what is wrong with the pattern, in Go's words and without the pattern; or which limit it meets.
pub fn compile(pattern: &str) -> Result<Pattern, String> {
    kept(pattern, Wanted::Match)
}

/// The same, for whoever replaces what it matches.
///
/// # Errors
/// As [`compile`].
pub fn compile_with_groups(pattern: &str) -> Result<Pattern, String> {
    kept(pattern, Wanted::Groups)
}

/// The first of several patterns that is none, and what is wrong with it, without the work to compile them. Together they
/// may take what one may.
pub fn first_wrong<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, String)> {
    let mut left = Allowance::default();
    patterns.into_iter().find_map(|pattern| {
        let wrong = parse_within(pattern.as_bytes(), &mut left).err()?;
        Some((pattern, told(wrong)))
    })
}

fn told(wrong: Wrong) -> String {
    match wrong {
        Wrong::Syntax(complaint) => complaint.to_owned(),
        Wrong::TooLarge(limit) => limit.to_string(),
    }
}

fn build(pattern: &str, wanted: Wanted) -> Result<Pattern, String> {
    let Parsed { hir, groups } = parse(pattern.as_bytes()).map_err(told)?;
    let too_large = |limit: &Limit| limit.to_string();
    let captures = match wanted {
        Wanted::Match => WhichCaptures::Implicit,
        Wanted::Groups if groups.len() > PATTERN_GROUPS.size() => return Err(too_large(&PATTERN_GROUPS)),
        Wanted::Groups => WhichCaptures::All,
    };
    let config = Config::new()
        .nfa_size_limit(Some(PATTERN_COMPILED.size()))
        .which_captures(captures)
        .hybrid_cache_capacity(AUTOMATON)
        // Each has memory of its own, and names are short.
        .dfa(false)
        .onepass(false)
        .backtrack(false);
    let regex = Builder::new().configure(config).build_from_hir(&hir).map_err(|_| too_large(&PATTERN_COMPILED))?;
    Ok(Pattern { regex, groups: groups.into() })
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(pattern: &str) -> Result<Self, String> {
        compile(pattern)
    }
}

impl Pattern {
    /// Whether it matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Makes ready to replace matches by `replacement`, in which `$1` and the like stand for groups.
    pub fn replacer<'a>(&'a self, replacement: &'a str) -> Replacer<'a> {
        Replacer {
            pattern: self,
            replacement: Replacement::new(replacement.as_bytes(), &self.groups),
            captures: self.regex.create_captures(),
            cache: self.regex.create_cache(),
        }
    }

    /// How large it is, compiled.
    pub fn size(&self) -> usize {
        self.regex.memory_usage()
    }

    /// What is held while it is kept.
    fn bytes(&self) -> usize {
        self.size() + 2 * AUTOMATON
    }
}

/// Replaces what a pattern matches, in one text after the other.
pub struct Replacer<'a> {
    pattern: &'a Pattern,
    replacement: Replacement<'a>,
    captures: Captures,
    cache: Cache,
}

impl Replacer<'_> {
    /// The text with each match replaced. `takes` is told before the result grows by so many bytes.
    ///
    /// # Errors
    /// That of `takes`.
    pub fn replace<E>(&mut self, text: &str, mut takes: impl FnMut(usize) -> Result<(), E>) -> Result<String, E> {
        let regex = &self.pattern.regex;
        let mut out = Vec::new();
        let (mut done, mut from) = (0, 0);
        while from <= text.len() {
            let input = Input::new(text).span(from..text.len());
            regex.search_captures_with(&mut self.cache, &input, &mut self.captures);
            let Some(found) = self.captures.get_match() else { break };
            let group = |group: usize| Some(&text.as_bytes()[self.captures.get_group(group)?.range()]);
            takes(found.start() - done)?;
            out.extend_from_slice(&text.as_bytes()[done..found.start()]);
            // Nothing right behind another match is not replaced once more.
            if found.end() > done || found.start() == 0 {
                self.replacement.expand(group, |part| {
                    takes(part.len())?;
                    out.extend_from_slice(part);
                    Ok(())
                })?;
            }
            done = found.end();
            let width = text[from..].chars().next().map_or(1, char::len_utf8);
            from = if from + width > found.end() { from + width } else { found.end() };
        }
        takes(text.len() - done)?;
        out.extend_from_slice(&text.as_bytes()[done..]);
        // All of it is whole characters of texts.
        Ok(String::from_utf8(out).unwrap_or_default())
    }
}

/// Compiled patterns, by their text and by what is wanted of them.
#[derive(Default)]
struct Kept {
    patterns: HashMap<(String, Wanted), Pattern>,
    bytes: usize,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// A pattern that was compiled before, or is now. Where they come to take too much, all are let go: most are cheap to make.
fn kept(pattern: &str, wanted: Wanted) -> Result<Pattern, String> {
    let at = (pattern.to_owned(), wanted);
    let lock = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get_or_insert_default().patterns.get(&at) {
        return Ok(known.clone());
    }
    let made = build(pattern, wanted)?;
    let bytes = made.bytes() + pattern.len();
    let mut all = lock();
    let kept = all.get_or_insert_default();
    if kept.bytes + bytes > PATTERNS_KEPT.size() {
        *kept = Kept::default();
    }
    if kept.patterns.insert(at, made.clone()).is_none() {
        kept.bytes += bytes;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{661}", false),
            (r"^\w$", "\u{e9}", false),
            (r"^\pL$", "\u{e9}", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^a{,5}$", "a{,5}", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[[:alpha:]]+\b", "ab", true),
            (r"(?i)^db/", "DB/x", true),
            (r"(?m)^x$", "a\nx", true),
            (r"^a.b$", "a\nb", false),
            (r"(?s)^a.b$", "a\nb", true),
            ("", "anything", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), matches, "{pattern} {text}");
        }
        for pattern in ["(", "a**", "[b-a]", "(?=a)", r"\1"] {
            assert!(compile(pattern).is_err() && first_wrong(["a", pattern]).is_some(), "{pattern}");
        }
    }

    fn replaced(pattern: &str, text: &str, by: &str) -> String {
        let pattern = compile_with_groups(pattern).unwrap();
        pattern.replacer(by).replace(text, |_| Ok::<_, Infallible>(())).unwrap()
    }

    /// What Go 1.26 makes of them.
    #[test]
    fn replacements() {
        for (pattern, text, by, result) in [
            ("^(?P<team>[^/]+)/(x+?)(?<rest>.*)$", "a/xxb", "${rest}-$team-$2", "xb-a-x"),
            ("a(x*)b", "-ab-axxb-", "${1}W", "-W-xxW-"),
            ("a(x*)b", "-ab-axxb-", "$1W", "---"),
            ("a(?P<x>x*)b", "-axxb-", "$x$$$", "-xx$$-"),
            ("x*", "axb", "-", "-a-b-"),
            ("", "h\u{e9}", "-", "-h-\u{e9}-"),
            ("(?i)\u{212a}", "kK", "x", "xx"),
            ("(a)", "a", "$1\u{e9}", ""),
            ("(a)(b)?", "a", "<$2>", "<>"),
            ("(?<n>a)|(?<n>b)", "ab", "[$n]", "[a][b]"),
            ("b", "abc", "", "ac"),
        ] {
            assert_eq!(replaced(pattern, text, by), result, "{pattern}");
        }
    }

    #[test]
    fn who_replaces_is_asked_before_it_grows() {
        let pattern = compile_with_groups("(a+)").unwrap();
        let by = "$1".repeat(1000);
        let mut left = 100_000;
        let mut takes = |bytes: usize| {
            left -= i64::try_from(bytes).unwrap();
            if left < 0 { Err("too much") } else { Ok(()) }
        };
        assert_eq!(pattern.replacer(&by).replace(&"a".repeat(1000), &mut takes), Err("too much"));
    }

    #[test]
    fn no_pattern_takes_more_than_its_limits() {
        let letters = r"\pL".repeat(10_000);
        let class = format!("[{letters}]");
        let folded = format!("(?i){}", r"\PL".repeat(60));
        let repeated = "(?:a{500}){2}".repeat(100);
        let groups = "(a)".repeat(40);
        let deep = format!("{}a{}", "(".repeat(300), ")".repeat(300));
        let repetitions = format!("{}a{}", "(?:".repeat(300), ")*".repeat(300));
        for (pattern, limit) in [
            (letters.as_str(), "pattern-classes"),
            (class.as_str(), "pattern-classes"),
            (&folded, "pattern-classes"),
            (r"(\pL{90}){10}", "pattern-compiled"),
            (&repeated, "pattern-compiled"),
            (&"a".repeat(40_000), "pattern-length"),
            (&groups, "pattern-groups"),
            (&deep, "pattern-depth"),
            (&repetitions, "pattern-depth"),
        ] {
            let problem = compile_with_groups(pattern).unwrap_err();
            assert!(problem.contains(&format!("(limit {limit})")), "{}: {problem}", &pattern[..20]);
        }
    }

    #[test]
    fn several_patterns_together_take_no_more_than_one_may() {
        assert!(first_wrong([r"^a-\pL+$"; 20]).is_none());
        let (_, problem) = first_wrong([r"\pL"; 200]).unwrap();
        assert!(problem.contains("(limit pattern-classes)"), "{problem}");
        let (_, problem) = first_wrong(["long-name".repeat(1000).as_str(); 4]).unwrap();
        assert!(problem.contains("(limit pattern-length)"), "{problem}");
    }

    #[test]
    fn what_is_kept_is_bounded_by_bytes() {
        for n in 0..1000 {
            compile(&format!("^pattern{n}$")).unwrap();
        }
        let kept = KEPT.lock().unwrap();
        let kept = kept.as_ref().unwrap();
        assert!(kept.bytes <= PATTERNS_KEPT.size() && !kept.patterns.is_empty(), "{} bytes", kept.bytes);
        assert!(kept.patterns.len() < 1000, "each is counted with what it may come to hold");
    }
}
