//! The YAML documents of a text: each with where it stands, and those together that SOPS encrypted together. Pure.

use std::path::Path;

use keyferry_sync::data::SecretJson;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lines::Lines;
use super::read::Place;
use super::sealed;

/// A YAML document.
pub struct Part {
    /// Where it begins.
    pub place: Place,
    /// Where its parts stand.
    pub lines: Lines,
    /// What it says.
    pub object: SecretJson,
}

/// What comes of a text, in its order.
pub enum Piece {
    /// A document.
    One(Part),
    /// Documents that SOPS encrypted together, and the text of all of them.
    OfSops(Vec<Part>, String),
    /// What can't be read, and why; for a person.
    Problem(String),
}

/// Takes a text apart.
pub fn pieces(file: &Path, text: &str) -> Vec<Piece> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A group grows while documents of the same file of SOPS follow.
    let mut pieces = Vec::new();
    let mut group: Option<(Vec<Part>, usize, usize)> = None;
    let whole = |(parts, start, end): (Vec<Part>, usize, usize)| Piece::OfSops(parts, text[start..end].to_owned());
    for (above, start, end) in split(text) {
        let part = match part(file, &text[start..end], above) {
            None => continue,
            Some(Ok(part)) => part,
            Some(Err(problem)) => {
                pieces.extend(group.take().map(whole));
                pieces.push(Piece::Problem(problem));
                continue;
            }
        };
        let code = sealed::of_sops(part.object.get());
        match &mut group {
            Some((parts, _, to)) if code.is_some() && code == sealed::of_sops(parts[0].object.get()) => {
                parts.push(part);
                *to = end;
            }
            _ => {
                pieces.extend(group.take().map(whole));
                match code {
                    Some(_) => group = Some((vec![part], start, end)),
                    None => pieces.push(Piece::One(part)),
                }
            }
        }
    }
    pieces.extend(group.map(whole));
    pieces
}

/// One document; nothing where there is nothing in it.
fn part(file: &Path, text: &str, above: u64) -> Option<Result<Part, String>> {
    let begins = above + 1 + text.lines().take_while(|line| is_blank(line)).count() as u64;
    let place = |line| Place { file: file.to_owned(), line };
    match from_yaml::<Value>(text, AS_KUBECTL) {
        Ok(Value::Null) => None,
        Ok(object) => {
            Some(Ok(Part { place: place(begins), lines: Lines::of(text, above), object: SecretJson::new(object) }))
        }
        Err((line, what)) => {
            let place = place(line.map_or(begins, |line| above + line));
            Some(Err(format!("{place}: error: {what}{}", helm_hint(text))))
        }
    }
}

/// How manifests are read: as kubectl does, to whom `y`, `NO` and `on` are booleans, which no field for texts takes.
pub const AS_KUBECTL: bool = false;

/// How values are read, which are texts: `NO` is a country.
pub const AS_TEXTS: bool = true;

/// Reads YAML. The error has its line, where that is known, and is in our own words: the parser's quote what it stumbles over.
pub fn from_yaml<T: DeserializeOwned>(text: &str, strict_booleans: bool) -> Result<T, (Option<u64>, &'static str)> {
    let options = serde_saphyr::options! { strict_booleans: strict_booleans };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let what = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { .. } => "this key is there twice",
            _ => "this is not YAML",
        };
        (line, what)
    })
}

/// What to do about a text that is not YAML yet.
fn helm_hint(text: &str) -> &'static str {
    let signs = [".Values.", ".Release.", ".Chart.", "{{ include ", "{{- include ", "{{- if ", "{{- with "];
    if signs.iter().any(|sign| text.contains(sign)) {
        "; it looks like a template of Helm: `helm template CHART | keyferry render -f -` renders what it makes"
    } else {
        ""
    }
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// The documents of a text: how many lines are above each, and where it begins and ends; what stands behind a `---` belongs to
/// the document.
fn split(text: &str) -> Vec<(u64, usize, usize)> {
    let (mut parts, mut start, mut above, mut at, mut lines) = (Vec::new(), 0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            parts.push((above, start, at));
            (start, above) = (at + 3, lines);
        }
        lines += 1;
        at += line.len();
    }
    parts.push((above, start, text.len()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_that_kubectl_takes() {
        let text = "[y, Y, yes, Yes, YES, on, True, n, NO, off, 'y', \"no\", yep, 'true']";
        let read = from_yaml::<Value>(text, AS_KUBECTL).unwrap();
        let texts = ["y", "no", "yep", "true"].map(Value::from);
        let expected: Vec<Value> = [vec![Value::from(true); 7], vec![Value::from(false); 3], texts.to_vec()].concat();
        assert_eq!(read, Value::from(expected));
        assert_eq!(from_yaml::<Value>("NO", AS_TEXTS).unwrap(), "NO");
    }

    #[test]
    fn what_sops_encrypted_together_stays_together() {
        let of = |code: &str| format!("kind: A\nsops: {{mac: {code}}}\n");
        let (one, other) = (of("x"), of("y"));
        let text =
            format!("kind: B\n---\n{one}---\n# only words\n---\n{one}---\n{other}---\nkind: B\n---\n{one}---\na: [\n");
        let told = pieces(Path::new("a.yaml"), &text).into_iter().map(|piece| match piece {
            Piece::One(part) => format!("{}", part.place.line),
            Piece::OfSops(parts, text) => {
                let lines: Vec<String> = parts.iter().map(|part| part.place.line.to_string()).collect();
                assert_eq!(text.matches("mac: ").count(), parts.len());
                lines.join("+")
            }
            Piece::Problem(problem) => problem,
        });
        let told: Vec<String> = told.collect();
        assert_eq!(told[..5], ["1", "3+8", "11", "14", "16"]);
        assert!(told[5].starts_with("a.yaml:") && told.len() == 6, "{told:?}");
    }
}
