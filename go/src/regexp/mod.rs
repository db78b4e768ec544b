//! Go's `regexp`: its syntax, as trees and expressions of the `regex` crate.
//!
//! Both engines descend from RE2 and find the same matches; only the syntax differs in details. So patterns are read
//! here, and matched there.
//!
//! Modules, in reading order: [`mod@parse`] from pattern to tree, [`class`] classes of characters by name, [`mod@size`] what a
//! tree takes.

use regex_syntax::hir::{Capture, Hir, HirKind, Repetition};

pub use parse::{Parsed, Wrong, parse};
pub use size::size;

mod parse;
mod class;
mod size;

/// A pattern in Go's syntax as an expression of the `regex` crate, for whoever matches without a template.
///
/// # Errors
/// Says what is wrong with the pattern, in Go's words and without the pattern.
pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let parsed = parse(pattern.as_bytes()).map_err(|wrong| match wrong {
        Wrong::Syntax(complaint) => complaint.to_owned(),
        Wrong::TooLarge => "expression nests too deeply".to_owned(),
    })?;
    let named = with_names(parsed.hir, &parsed.groups);
    regex::Regex::new(&named.to_string()).map_err(|_| "expression is too large".to_owned())
}

/// Groups with their names, which [`parse`] keeps beside the tree; such as start with a digit have none in the crate.
fn with_names(hir: Hir, names: &[String]) -> Hir {
    let all = |parts: Vec<Hir>| parts.into_iter().map(|part| with_names(part, names)).collect();
    match hir.into_kind() {
        HirKind::Capture(Capture { index, sub, .. }) => {
            let name =
                names.get(index as usize).filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'));
            let sub = Box::new(with_names(*sub, names));
            Hir::capture(Capture { index, name: name.map(|name| name.as_str().into()), sub })
        }
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(with_names(*sub, names)) })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
    }
}

#[cfg(test)]
mod tests {
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
        let named = compile("^(?P<team>[^/]+)/(x+?)(?<rest>.*)$").unwrap();
        assert_eq!(named.replace_all("a/xxb", "${rest}-$team-$2"), "xb-a-x");
        for pattern in ["(", "a**", "[b-a]", "(?<n>a)(?<n>b)", "(?=a)", r"\1"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
