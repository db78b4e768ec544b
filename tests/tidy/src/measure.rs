//! How long files and functions are, as the compiler's words tell it: lines that hold code, comments and tests apart.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a source file is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Lines that hold code outside of `#[cfg(test)]` modules.
    pub code: usize,
    /// All functions outside of them: name, first line, and lines that hold code, signature and braces included.
    pub functions: Vec<(String, usize, usize)>,
}

/// Measures a source file.
///
/// # Panics
/// Where it is no Rust.
pub fn measure(source: &str) -> Measure {
    let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("no Rust: {error}"));
    let mut measure = Measure::default();
    let mut lines = BTreeSet::new();
    walk(tokens, &mut lines, &mut measure.functions);
    measure.code = lines.len();
    measure
}

fn walk(tokens: TokenStream, lines: &mut BTreeSet<usize>, functions: &mut Vec<(String, usize, usize)>) {
    let tokens = without_docs_and_tests(tokens.into_iter().collect());
    let mut signature: Option<(String, usize)> = None;
    for (n, token) in tokens.iter().enumerate() {
        let span = token.span();
        match token {
            TokenTree::Group(group) => {
                lines.extend([group.span_open().start().line, group.span_close().end().line]);
                let opened = signature.take_if(|_| group.delimiter() == Delimiter::Brace);
                let mut inner = BTreeSet::new();
                walk(group.stream(), &mut inner, functions);
                lines.append(&mut inner);
                if let Some((name, from)) = opened {
                    let length = lines.range(from..=group.span_close().end().line).count();
                    functions.push((name, from, length));
                }
            }
            TokenTree::Ident(word) => {
                lines.insert(span.start().line);
                if let (true, Some(TokenTree::Ident(name))) = (*word == "fn", tokens.get(n + 1)) {
                    signature = Some((name.to_string(), span.start().line));
                }
            }
            TokenTree::Punct(mark) => {
                lines.insert(span.start().line);
                // Declared, and defined elsewhere.
                signature.take_if(|_| mark.as_char() == ';');
            }
            TokenTree::Literal(_) => lines.extend(span.start().line..=span.end().line),
        }
    }
}

/// Takes off doc comments, which are attributes to the compiler, and whatever is there for tests only.
pub(crate) fn without_docs_and_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_mark = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#');
        let inner = tokens.next_if(|next| is_mark && matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'));
        let attribute = match tokens.peek() {
            Some(TokenTree::Group(group)) if is_mark && group.delimiter() == Delimiter::Bracket => {
                group.stream().to_string()
            }
            _ => String::new(),
        };
        if attribute.starts_with("doc =") {
            tokens.next();
            continue;
        }
        if attribute.replace(' ', "") == "cfg(test)" {
            // Up to the end of the item: its braces, or a semicolon.
            tokens.find(|token| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(mark) => mark.as_char() == ';',
                _ => false,
            });
            continue;
        }
        kept.push(token);
        kept.extend(inner);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_no_code() {
        let source = r##"//! What it is.

/// Says so.
#[must_use]
pub fn outer(
    take: fn(u8),
) -> [u8; 2] {
    // Not code.
    let text = "{ not a brace }
        fn neither() {";

    /* nor
       this */
    fn inner() { take(b'}') }
    [1, 2]
}

trait Declares {
    fn only(&self);
    fn with_body(&self) {}
}

#[cfg(test)]
mod tests {
    fn not_counted() {}
}
"##;
        let functions = [("inner", 14, 1), ("outer", 5, 8), ("with_body", 20, 1)];
        let functions = functions.map(|(name, line, lines)| (name.to_owned(), line, lines)).to_vec();
        assert_eq!(measure(source), Measure { code: 13, functions });
    }
}
