//! A template taken apart: texts, and actions in words. Go's language, as Consul Template has it.

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// What is written as it is, comments among it.
    Text(&'t str),
    /// What is computed.
    Action(Action<'t>),
}

/// What is between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'t> {
    /// All of it, braces too.
    pub text: &'t str,
    /// Whether white space before it goes.
    pub trims_before: bool,
    /// Whether white space after it goes.
    pub trims_after: bool,
    /// Its words.
    pub words: Vec<Word>,
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it is.
    pub kind: Kind,
    /// As it is written.
    pub text: String,
    /// Whether it stands apart from the one before.
    pub is_apart: bool,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a function.
    Name,
    /// `.name`
    Field,
    /// `.`
    Dot,
    /// `$name`, `$`
    Variable,
    /// A string, a number, a character.
    Literal,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// The parts of a template. The error says what is wrong with it.
pub fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let (mut all, mut rest) = (Vec::new(), template);
    while let Some(at) = rest.find("{{") {
        if at > 0 {
            all.push(Part::Text(&rest[..at]));
        }
        let action = &rest[at..];
        let length = length(action).ok_or_else(|| format!("{:?} has no end", excerpt(action)))?;
        let (text, after) = action.split_at(length);
        let inner = &text[2..text.len() - 2];
        let trims_before = inner.starts_with('-') && inner[1..].starts_with(is_space);
        let inner = if trims_before { &inner[1..] } else { inner };
        let trims_after = inner.ends_with('-') && inner[..inner.len() - 1].ends_with(is_space);
        let inner = if trims_after { &inner[..inner.len() - 1] } else { inner };
        let is_comment = inner.trim_start().starts_with("/*");
        all.push(if is_comment {
            Part::Text(text)
        } else {
            Part::Action(Action { text, trims_before, trims_after, words: words(inner)? })
        });
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Part::Text(rest));
    }
    Ok(all)
}

/// As much of a text as a message may quote.
pub fn excerpt(text: &str) -> String {
    let flat: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 60 { format!("{flat}...") } else { flat }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// How long an action is: braces within strings and comments do not end it.
fn length(action: &str) -> Option<usize> {
    let body = action[2..].trim_start_matches('-').trim_start();
    if body.starts_with("/*") {
        let begin = action.len() - body.len();
        let end = begin + body.find("*/")? + 2;
        return Some(end + action[end..].find("}}")? + 2);
    }
    let mut at = 2;
    while at < action.len() {
        let rest = &action[at..];
        if rest.starts_with("}}") {
            return Some(at + 2);
        }
        at += match rest.chars().next()? {
            quote @ ('"' | '\'' | '`') => quoted(rest, quote)?,
            c => c.len_utf8(),
        };
    }
    None
}

/// How long a string or a character is that a text begins with.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' && quote != '`' {
            is_escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

fn words(inner: &str) -> Result<Vec<Word>, String> {
    let (mut all, mut rest, mut is_apart) = (Vec::new(), inner, true);
    while let Some(first) = rest.chars().next() {
        if is_space(first) {
            is_apart = true;
            rest = &rest[1..];
            continue;
        }
        let is_of_name = |c: char| c == '_' || c.is_alphanumeric();
        let name = |text: &str| text.find(|c: char| !is_of_name(c)).unwrap_or(text.len());
        let (kind, length) = match first {
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            '|' => (Kind::Pipe, 1),
            ',' => (Kind::Comma, 1),
            ':' if rest.starts_with(":=") => (Kind::Declare, 2),
            '=' => (Kind::Assign, 1),
            '$' => (Kind::Variable, 1 + name(&rest[1..])),
            '"' | '\'' | '`' => {
                let length = quoted(rest, first).ok_or_else(|| format!("{:?} has no end", excerpt(rest)))?;
                (Kind::Literal, length)
            }
            '.' => match name(&rest[1..]) {
                0 => (Kind::Dot, 1),
                length if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => (Kind::Literal, 1 + length),
                length => (Kind::Field, 1 + length),
            },
            c if c.is_ascii_digit() || c == '-' || c == '+' => {
                let of_number = |c: char| is_of_name(c) || c == '.';
                let end = rest[1..].find(|c: char| !of_number(c)).map_or(rest.len(), |end| end + 1);
                (Kind::Literal, end)
            }
            c if is_of_name(c) => (Kind::Name, name(rest)),
            _ => return Err(format!("{:?} is nothing that a template may say", excerpt(rest))),
        };
        all.push(Word { kind, text: rest[..length].to_owned(), is_apart });
        is_apart = false;
        rest = &rest[length..];
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(template: &str) -> Vec<(Kind, String)> {
        match parts(template).unwrap().remove(0) {
            Part::Action(action) => action.words.into_iter().map(|word| (word.kind, word.text)).collect(),
            Part::Text(text) => panic!("{text:?} is no action"),
        }
    }

    #[test]
    fn texts_and_actions_are_told_apart() {
        let all = parts("a {{- with secret `x}}` -}} {{/* }} */}}{{ \"}}\" }}b").unwrap();
        let trims = all.iter().filter_map(|part| match part {
            Part::Action(action) => Some((action.text, action.trims_before, action.trims_after)),
            Part::Text(_) => None,
        });
        assert_eq!(
            trims.collect::<Vec<_>>(),
            [("{{- with secret `x}}` -}}", true, true), ("{{ \"}}\" }}", false, false)]
        );
        let texts = all.iter().filter_map(|part| if let Part::Text(text) = part { Some(*text) } else { None });
        assert_eq!(texts.collect::<Vec<_>>(), ["a ", " ", "{{/* }} */}}", "b"]);
        for wrong in ["{{ x", "{{ \"x }}", "{{/* x }}", "{{ x ? }}"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_what_go_has() {
        let kind = |kind, text: &str| (kind, text.to_owned());
        assert_eq!(
            kinds("{{ $x := (secret \"a\").Data.x_1 | f -1 .5 . }}"),
            [
                kind(Kind::Variable, "$x"),
                kind(Kind::Declare, ":="),
                kind(Kind::Open, "("),
                kind(Kind::Name, "secret"),
                kind(Kind::Literal, "\"a\""),
                kind(Kind::Close, ")"),
                kind(Kind::Field, ".Data"),
                kind(Kind::Field, ".x_1"),
                kind(Kind::Pipe, "|"),
                kind(Kind::Name, "f"),
                kind(Kind::Literal, "-1"),
                kind(Kind::Literal, ".5"),
                kind(Kind::Dot, "."),
            ]
        );
        // A number that follows white space and a minus that trims are told apart as Go does.
        assert_eq!(kinds("{{-1 }}"), [kind(Kind::Literal, "-1")]);
    }
}
