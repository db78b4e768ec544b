//! Paths in URLs, made of what users write. Nothing that they write may climb out of the place it is put into, end the
//! path, or be read as another segment.

use keyferry_provider_core::{Blame, Error};

/// A path without empty and `.` segments, as Go's clients tidy it too. What would climb out of it, or can't stand in a
/// request, is refused.
///
/// # Errors
/// `Invalid`, to be blamed on the request.
pub fn clean(path: &str) -> Result<String, Error> {
    let wrong = |problem: &str| Error::invalid(format!("the path {path:?} holds {problem}")).with_blame(Blame::Request);
    if path.chars().any(char::is_control) {
        return Err(wrong("control characters"));
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    if segments.contains(&"..") {
        Err(wrong("\"..\", which leads out of where it begins"))
    } else {
        Ok(segments.join("/"))
    }
}

/// Percent-encodes a path, leaving its slashes: what it holds besides is part of a segment, and nothing else. It is
/// [`clean`] before: no encoding keeps `..` from being one.
pub fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The same as one segment, its slashes included.
pub fn segment(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;
    use reqwest::Url;

    use super::*;

    #[test]
    fn a_path_is_encoded_by_segment() {
        assert_eq!(encode("secret/data/a b/é?#%2F;x+y"), "secret/data/a%20b/%C3%A9%3F%23%252F%3Bx%2By");
    }

    #[test]
    fn what_climbs_or_ends_a_line_is_refused() {
        for path in ["..", "a/..", "../a", "a/../../b", "a//../b", "a\nb", "a\0b", "a\rb", "a\u{85}b"] {
            let error = clean(path).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{path:?}");
            assert!(!error.message().chars().any(char::is_control), "{error}");
        }
    }

    #[test]
    fn whatever_is_written_stays_below_its_place() {
        for path in [
            "a?b=c",
            "a#b",
            "a%2e%2e/b",
            "%2e%2e/%2e%2e/b",
            ".%2E/b",
            "..%2fb",
            "..\\b",
            "a\\..\\..\\b",
            "//host/b",
            "a;b/..c",
            "http://host/b",
            "@host/b",
            ":8080/b",
        ] {
            let url = Url::parse(&format!("https://server/v1/{}", encode(&clean(path).unwrap()))).unwrap();
            assert_eq!((url.host_str(), url.port(), url.query(), url.fragment()), (Some("server"), None, None, None));
            let expected = path.split('/').filter(|segment| !segment.is_empty()).count();
            assert!(url.path().starts_with("/v1/"), "{path}: {url}");
            assert_eq!(url.path_segments().unwrap().count(), expected + 1, "{path}: {url}");
        }
    }
}
