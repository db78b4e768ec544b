//! Which values of a document are encrypted.

use keyferry_go::regexp::{Pattern, compile};
use keyferry_provider_core::Error;

use crate::format::malformed;
use crate::sops::cipher;
use crate::tree::Node;

/// What decides, by names on the way to a value: each that is there has its say, in this order.
#[derive(Debug, Default)]
pub struct Rules {
    unencrypted_suffix: Option<String>,
    encrypted_suffix: Option<String>,
    unencrypted_regex: Option<Pattern>,
    encrypted_regex: Option<Pattern>,
    /// Comments decide, which nobody keeps: what is encrypted is known by its form.
    by_form: bool,
}

impl Rules {
    /// From the metadata.
    pub fn new(text: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let pattern = |name: &str| match text(name) {
            Some(pattern) => {
                compile(&pattern).map(Some).map_err(|_| malformed(format!("{name} in its metadata is no pattern")))
            }
            None => Ok(None),
        };
        let by_form = text("encrypted_comment_regex").is_some() || text("unencrypted_comment_regex").is_some();
        let rules = Self {
            unencrypted_suffix: text("unencrypted_suffix"),
            encrypted_suffix: text("encrypted_suffix"),
            unencrypted_regex: pattern("unencrypted_regex")?,
            encrypted_regex: pattern("encrypted_regex")?,
            by_form,
        };
        let says_nothing = rules.unencrypted_suffix.is_none()
            && rules.encrypted_suffix.is_none()
            && rules.unencrypted_regex.is_none()
            && rules.encrypted_regex.is_none()
            && !by_form;
        let unencrypted_suffix = if says_nothing { Some("_unencrypted".to_owned()) } else { rules.unencrypted_suffix };
        Ok(Self { unencrypted_suffix, ..rules })
    }

    /// Whether the value at this path is encrypted.
    pub fn encrypts(&self, path: &[String], value: &Node) -> bool {
        if self.by_form {
            return value.text().is_some_and(cipher::is_encrypted);
        }
        let any = |is: &dyn Fn(&String) -> bool| path.iter().any(is);
        let mut is = true;
        if let Some(suffix) = &self.unencrypted_suffix {
            is = !any(&|part| part.ends_with(suffix));
        }
        if let Some(suffix) = &self.encrypted_suffix {
            is = any(&|part| part.ends_with(suffix));
        }
        if let Some(pattern) = &self.unencrypted_regex {
            is &= !any(&|part| pattern.is_match(part));
        }
        if let Some(pattern) = &self.encrypted_regex {
            is = any(&|part| pattern.is_match(part));
        }
        is
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_way_decide() {
        let rules = |name: &'static str, value: &'static str| {
            Rules::new(move |asked| (asked == name).then(|| value.to_owned())).unwrap()
        };
        let secret: Vec<String> = ["data", "secret"].map(str::to_owned).into();
        let plain: Vec<String> = ["data_unencrypted", "secret"].map(str::to_owned).into();
        let value = Node::Text("x".into());
        for (rules, of_secret, of_plain) in [
            (rules("", ""), true, false),
            (rules("unencrypted_suffix", "et"), false, false),
            (rules("encrypted_suffix", "_unencrypted"), false, true),
            (rules("encrypted_regex", "^data$"), true, false),
            (rules("unencrypted_regex", "^data$"), false, true),
            (rules("encrypted_comment_regex", "sops"), false, false),
        ] {
            assert_eq!(
                (rules.encrypts(&secret, &value), rules.encrypts(&plain, &value)),
                (of_secret, of_plain),
                "{rules:?}"
            );
        }
        assert!(Rules::new(|_| Some("(".into())).is_err());
    }
}
