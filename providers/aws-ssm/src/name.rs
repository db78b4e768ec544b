//! What a parameter is called: by its name or its ARN, either with a version or a label behind a colon.

use std::fmt;

/// A parameter as somebody asks for it.
pub struct Name {
    text: String,
    /// How much of the text is the parameter, before the colon.
    parameter: usize,
}

impl Name {
    /// The parameter that `key` names in a store with this prefix. A key may hold a version itself.
    pub fn new(prefix: &str, key: &str, version: Option<&str>) -> Self {
        let mut text = format!("{prefix}{key}");
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            text.push(':');
            text.push_str(version);
        }
        let parameter = parameter(&text).len();
        Self { text, parameter }
    }

    /// What AWS is asked for.
    pub fn selector(&self) -> &str {
        &self.text
    }

    /// The parameter without version or label.
    pub fn parameter(&self) -> &str {
        &self.text[..self.parameter]
    }

    /// Whether a version or a label is asked for.
    pub fn selects(&self) -> bool {
        self.parameter < self.text.len()
    }

    /// The version by number, where that is asked for.
    pub fn version(&self) -> Option<i64> {
        self.text[self.parameter..].strip_prefix(':')?.parse().ok()
    }

    /// Whether both may well be the same parameter.
    pub fn is_same_parameter(&self, other: &Self) -> bool {
        path(self.parameter()) == path(other.parameter())
    }

    /// Whether this is the parameter that an answer calls `name`, be that a name or an ARN.
    pub fn is_called(&self, name: &str) -> bool {
        match (self.parameter().starts_with("arn:"), name.starts_with("arn:")) {
            (false, false) | (true, true) => self.parameter() == name,
            _ => path(self.parameter()) == path(name),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter {:?}", self.text)
    }
}

/// The parameter in `text`: all up to the colon of the selector.
fn parameter(text: &str) -> &str {
    let start =
        if text.starts_with("arn:") { text.match_indices(':').nth(4).map_or(text.len(), |(at, _)| at + 1) } else { 0 };
    match text[start..].find(':') {
        Some(at) => &text[..start + at],
        None => text,
    }
}

/// The name alone, without the slash that an ARN can't tell from its own.
fn path(parameter: &str) -> &str {
    let name = if parameter.starts_with("arn:") {
        parameter.split_once(":parameter/").map_or(parameter, |(_, name)| name)
    } else {
        parameter
    };
    name.strip_prefix('/').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:ssm:eu-west-1:111122223333:parameter/team/app";

    #[test]
    fn parts_of_a_name() {
        for (key, version, selector, parameter, number) in [
            ("/team/app", None, "/team/app", "/team/app", None),
            ("/team/app", Some(""), "/team/app", "/team/app", None),
            ("/team/app", Some("3"), "/team/app:3", "/team/app", Some(3)),
            ("/team/app", Some("blue"), "/team/app:blue", "/team/app", None),
            ("/team/app:3", None, "/team/app:3", "/team/app", Some(3)),
            (ARN, None, ARN, ARN, None),
            (ARN, Some("3"), &format!("{ARN}:3"), ARN, Some(3)),
            ("arn:broken", None, "arn:broken", "arn:broken", None),
        ] {
            let name = Name::new("", key, version);
            assert_eq!((name.selector(), name.parameter(), name.version()), (selector, parameter, number), "{key}");
        }
        assert_eq!(Name::new("/team", "/app", Some("1")).selector(), "/team/app:1");
    }

    #[test]
    fn one_parameter_under_several_names() {
        let name = |text| Name::new("", text, None);
        for (a, b, same) in [
            ("/team/app", "/team/app:3", true),
            ("/team/app:2", "/team/app:3", true),
            ("/team/app", ARN, true),
            ("team/app", "/team/app", true),
            ("/team/app", "/team/app2", false),
            ("/team/app", "/team", false),
        ] {
            assert_eq!(name(a).is_same_parameter(&name(b)), same, "{a} {b}");
        }
        assert!(name("/team/app:3").is_called("/team/app"));
        assert!(name("/team/app").is_called(ARN));
        assert!(name(ARN).is_called("/team/app"));
        assert!(!name(ARN).is_called("arn:aws:ssm:eu-west-1:999999999999:parameter/team/app"));
        assert!(!name("team/app").is_called("/team/app"));
    }
}
