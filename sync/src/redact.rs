//! Redaction: the last filter before a failure is told.

use keyferry_provider_core::{SecretBytes, json};
use zeroize::Zeroizing;

use crate::outcome::Failure;

/// The last filter: takes every fetched or derived value of four bytes or more out of a failure's causes, where it stands
/// as a whole word. They are in our own words, but a key name can hold a value that somebody put in the wrong field, and is
/// told quoted.
pub fn blank(mut failure: Failure, values: &[SecretBytes]) -> Failure {
    let mut parts = values.to_vec();
    values.iter().for_each(|value| take_apart(value, NESTED, &mut parts));
    let texts = parts.iter().filter_map(SecretBytes::expose_str).filter(|text| text.len() >= 4);
    let mut forms: Vec<Zeroizing<String>> = texts
        .flat_map(|text| {
            let quoted = Zeroizing::new(format!("{text:?}"));
            [Zeroizing::new(text.to_owned()), Zeroizing::new(quoted[1..quoted.len() - 1].to_owned())]
        })
        .collect();
    // The longest first: one value may be part of another.
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    for cause in &mut failure.causes {
        for text in forms.iter().filter(|text| !text.is_empty()) {
            blank_words(cause, text);
        }
    }
    failure
}

/// Blanks `text` wherever it stands alone in `cause`: a value `admin` says nothing of a key `x_admin_username`, and blanked
/// there it would hide which key is meant.
fn blank_words(cause: &mut String, text: &str) {
    let mut from = 0;
    while let Some(at) = cause[from..].find(text).map(|found| from + found) {
        let end = at + text.len();
        if is_part_of_a_name(cause, at, end) {
            // The next one may begin within this one.
            from = at + text.chars().next().map_or(1, char::len_utf8);
        } else {
            cause.replace_range(at..end, REDACTED);
            from = at + REDACTED.len();
        }
    }
}

const REDACTED: &str = "[redacted]";

/// Whether a longer name goes on before `at` or after `end`: with a letter, a digit or `_`, or with `-` or `.` and one of
/// those behind it.
fn is_part_of_a_name(cause: &str, at: usize, end: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let goes_on = |edge: Option<char>, mut beyond: Box<dyn Iterator<Item = char> + '_>| match (edge, beyond.next()) {
        (Some(edge), Some(next)) if word(edge) => {
            word(next) || matches!(next, '-' | '.') && beyond.next().is_some_and(word)
        }
        _ => false,
    };
    let inside = &cause[at..end];
    goes_on(inside.chars().next(), Box::new(cause[..at].chars().rev()))
        || goes_on(inside.chars().next_back(), Box::new(cause[end..].chars()))
}

/// How deep within a value a part of it is still looked for in messages.
const NESTED: usize = 16;

/// Everything inside a JSON value, however deep.
fn take_apart(value: &SecretBytes, depth: usize, into: &mut Vec<SecretBytes>) {
    let object = || json::object(value.expose()).map(|object| object.into_values().collect());
    let inside: Vec<_> = object().or_else(|| json::array(value.expose())).unwrap_or_default();
    for part in inside.into_iter().map(json::to_bytes) {
        if depth > 1 {
            take_apart(&part, depth - 1, into);
        }
        into.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Headline, Retry};

    #[test]
    fn a_value_is_blanked_wherever_it_is_told_and_however_quoted() {
        let value = r#"{"plain":"correct-horse","odd":"a\"b\\c","deep":[{"x":"battery-staple"}],"pin":123}"#;
        let said = format!(
            "no property {:?} in {:?}, nor {:?}, which is a\"b\\c; {:?} stays",
            "correct-horse", "a\"b\\c", "battery-staple", "123"
        );
        let failure = Failure::new(Headline::Fetch, said, Retry::Soon);
        let blanked = blank(failure, &[SecretBytes::from(value)]);
        let redacted = r#""[redacted]""#;
        let expected =
            format!("no property {redacted} in {redacted}, nor {redacted}, which is [redacted]; \"123\" stays");
        assert_eq!(blanked.causes, [expected]);
    }

    #[test]
    fn names_of_which_a_value_is_a_part_stay_readable() {
        for (said, told) in [
            ("no x_admin_username", "no x_admin_username"),
            (
                "no .admin_name, db-admin, admin.x or \"administrator\"",
                "no .admin_name, db-admin, admin.x or \"administrator\"",
            ),
            ("it is admin.", "it is [redacted]."),
            (
                "admin: \"admin\", (admin), -admin- x/admin",
                "[redacted]: \"[redacted]\", ([redacted]), -[redacted]- x/[redacted]",
            ),
            ("adminadmin, admin admin", "adminadmin, [redacted] [redacted]"),
        ] {
            let failure = Failure::new(Headline::Fetch, said, Retry::Soon);
            assert_eq!(blank(failure, &["admin".into()]).causes, [told]);
        }
        // What is no word itself is blanked wherever it stands.
        let failure = Failure::new(Headline::Fetch, "x<a b>y", Retry::Soon);
        assert_eq!(blank(failure, &["<a b>".into()]).causes, ["x[redacted]y"]);
    }
}
