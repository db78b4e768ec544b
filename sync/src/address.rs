//! What may stand in a path of the Kubernetes API. Text that somebody wrote goes into one through here and in no other
//! way: a slash, a dot, a percent or a question mark in it would lead to another object than the one that was meant.
//! Pure.

use std::fmt;

/// How much of a text that is no address is shown.
const SHOWN: usize = 80;

/// Text that can't be part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress {
    given: String,
    remedy: &'static str,
}

impl NoAddress {
    fn new(given: &str, remedy: &'static str) -> Self {
        Self { given: given.chars().take(SHOWN).collect(), remedy }
    }
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.given, self.remedy)
    }
}

impl std::error::Error for NoAddress {}

/// The name of an object: a DNS subdomain, as Kubernetes has it of all that we refer to.
pub fn name(text: &str) -> Result<&str, NoAddress> {
    let is_one = text.len() <= 253 && text.split('.').all(is_label);
    let remedy = "is no name of an object: use lower-case letters, digits, - and ., 253 at most";
    if is_one { Ok(text) } else { Err(NoAddress::new(text, remedy)) }
}

/// The name of a namespace: a DNS label.
pub fn namespace(text: &str) -> Result<&str, NoAddress> {
    let is_one = text.len() <= 63 && is_label(text);
    let remedy = "is no name of a namespace: use lower-case letters, digits and -, 63 at most";
    if is_one { Ok(text) } else { Err(NoAddress::new(text, remedy)) }
}

/// The name of a kind: a word that begins with a capital letter.
pub fn kind(text: &str) -> Result<&str, NoAddress> {
    let is_one = text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let remedy = "is no name of a kind: use one like ConfigMap";
    if is_one { Ok(text) } else { Err(NoAddress::new(text, remedy)) }
}

/// A group and version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersion<'a> {
    /// The group; empty is that of Secrets and ConfigMaps.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
}

impl<'a> ApiVersion<'a> {
    /// Reads `group/version`, or the version alone.
    pub fn parse(text: &'a str) -> Result<Self, NoAddress> {
        let (group, version) = text.split_once('/').map_or((None, text), |(group, version)| (Some(group), version));
        let is_group = group.is_none_or(|group| group.len() <= 253 && group.split('.').all(is_label));
        if is_group && is_version(version) {
            Ok(Self { group: group.unwrap_or_default(), version })
        } else {
            Err(NoAddress::new(text, "is no group and version: use one like v1 or apps/v1"))
        }
    }
}

/// Letters and digits, and hyphens between them.
fn is_label(text: &str) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
        && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
}

/// `v1`, `v1beta1`, `v2alpha3`.
fn is_version(text: &str) -> bool {
    let Some(text) = text.strip_prefix('v') else { return false };
    let is_number =
        |digits: &str| !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit());
    let stage = ["alpha", "beta"].into_iter().find_map(|stage| text.split_once(stage));
    stage.map_or_else(|| is_number(text), |(major, minor)| is_number(major) && is_number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leads elsewhere when it is pasted into a path, or is cut there.
    pub const HOSTILE: &[&str] = &[
        "", ".", "..", "a/b", "../b", "a/../b", "/a", "a/", "a?b", "a#b", "a%2fb", "a%2e%2e", "a b", "a\nb", "a\\b",
        "a;b", "a:b", "a@b", "é", "A", "-a", "a-", "a..b", ".a", "a.", "a_b", "a\0",
    ];

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name() {
        for text in HOSTILE {
            assert!(name(text).is_err(), "{text:?}");
            assert!(namespace(text).is_err(), "{text:?}");
        }
        for text in ["a", "a-b", "0", "a.b-c.9", &"a".repeat(253)] {
            assert_eq!(name(text), Ok(text));
        }
        assert!(name(&"a".repeat(254)).is_err());
        assert_eq!(namespace(&"a".repeat(63)), Ok("a".repeat(63).as_str()));
        assert!(namespace(&"a".repeat(64)).is_err());
        assert!(namespace("a.b").is_err());
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_a_kind() {
        for text in HOSTILE.iter().filter(|text| **text != "A").chain(&["secret", "Secret/x", "Secrets?", "Sécret"]) {
            assert!(kind(text).is_err(), "{text:?}");
        }
        for text in ["A", "Fake", "ECRAuthorizationToken", "X509"] {
            assert_eq!(kind(text), Ok(text));
        }
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_a_version() {
        let group = "generators.external-secrets.io";
        for text in HOSTILE {
            assert!(ApiVersion::parse(text).is_err(), "{text:?}");
            assert!(ApiVersion::parse(&format!("{group}/{text}")).is_err(), "{text:?}");
            assert!(ApiVersion::parse(&format!("{group}/v1{text}")).is_err() || text.is_empty(), "{text:?}");
            assert!(ApiVersion::parse(&format!("{text}/v1")).is_err(), "{text:?}");
        }
        for text in
            ["v", "v1gamma1", "v1beta", "vbeta1", "v1beta1beta1", "v1alpha1beta1", "1", "g/v1/v1", "v1/namespaces/x"]
        {
            assert!(ApiVersion::parse(text).is_err(), "{text:?}");
        }
        for (text, group, version) in [
            ("v1", "", "v1"),
            ("apps/v1", "apps", "v1"),
            ("a.b-c/v2alpha13", "a.b-c", "v2alpha13"),
            ("g/v1beta1", "g", "v1beta1"),
        ] {
            assert_eq!(ApiVersion::parse(text), Ok(ApiVersion { group, version }), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_no_more_of_it_is_shown_than_helps() {
        let said = name("a/b").unwrap_err().to_string();
        assert_eq!(said, "\"a/b\" is no name of an object: use lower-case letters, digits, - and ., 253 at most");
        assert!(name(&"/".repeat(1 << 20)).unwrap_err().to_string().len() < 200);
    }
}
