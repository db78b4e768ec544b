//! Redaction: the last filter before a failure is told.

use keyferry_provider_core::{SecretBytes, json};
use zeroize::Zeroizing;

use crate::outcome::Failure;

/// The last filter: takes every fetched or derived value of four bytes or more out of a failure's causes. They are in
/// our own words, but a key name can hold a value that somebody put in the wrong field, and is told quoted.
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
            if cause.contains(text.as_str()) {
                *cause = cause.replace(text.as_str(), "[redacted]");
            }
        }
    }
    failure
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
}
