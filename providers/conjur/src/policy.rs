//! What a push comes to: variables below a policy of its own. Pure.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, Payload, Push, SecretBuf, SecretBytes, json};

use crate::answers::MARK;

/// The policy that holds what is pushed to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The policy that it is a branch of.
    pub parent: String,
    /// Its own name.
    pub name: String,
}

impl Place {
    /// From the remote key: what stands before the last slash is the parent, as in External Secrets Operator.
    ///
    /// # Errors
    /// `Invalid` where there is no slash, or nothing on one of its sides.
    pub fn new(key: &str) -> Result<Self, Error> {
        match key.rsplit_once('/') {
            Some((parent, name)) if !parent.is_empty() && !name.is_empty() => {
                Ok(Self { parent: parent.to_owned(), name: name.to_owned() })
            }
            _ => Err(Error::invalid(format!(
                "the remote key {key:?} does not say in which policy to write: name one that is there, a slash and the \
                 policy to make, like apps/database"
            ))
            .with_blame(Blame::Request)),
        }
    }

    /// The policy that declares these variables as ours, and lets its group of consumers read them.
    pub fn declaring(&self, variables: &[&str]) -> SecretBytes {
        let (mark, ours) = (quoted(MARK.0), quoted(MARK.1));
        let mut out = format!(
            "- !policy\n  id: {}\n  body:\n  - !group\n    id: delegation/consumers\n    annotations:\n      \
             {mark}: {ours}\n      editable: \"true\"\n",
            quoted(&self.name)
        );
        for variable in variables {
            let id = quoted(variable);
            out.push_str(&format!("  - !variable\n    id: {id}\n    annotations:\n      {mark}: {ours}\n"));
        }
        for variable in variables {
            out.push_str(&format!(
                "  - !permit\n    resource: !variable {}\n    role: !group delegation/consumers\n    privileges: \
                 [ read, execute ]\n",
                quoted(variable)
            ));
        }
        out.as_str().into()
    }
}

/// A text of YAML that ends where it ends, whatever it holds: JSON's are YAML's, too.
fn quoted(text: &str) -> String {
    let mut out = SecretBuf::default();
    json::write_string(text, &mut out);
    String::from_utf8_lossy(out.expose()).into_owned()
}

/// The variables of a push below its policy, and their values.
///
/// # Errors
/// `Invalid` where no name for the variable is given, or a value is empty, which Conjur does not keep.
pub fn values(push: &Push) -> Result<BTreeMap<String, SecretBytes>, Error> {
    let property = push.remote.property.as_deref().filter(|property| !property.is_empty());
    let one = |name: &str, value: SecretBytes| BTreeMap::from([(name.to_owned(), value)]);
    let values = match (&push.payload, property, push.origin.key.as_deref()) {
        (Payload::Value(value), Some(property), _) => one(property, value.clone()),
        (Payload::Value(value), None, Some(key)) => one(key, value.clone()),
        (Payload::Value(_), None, None) => {
            let message = "the variable has no name: set the property of the remote reference";
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        (Payload::Fields(fields), Some(property), _) => one(property, object(fields)?),
        (Payload::Fields(fields), None, _) => fields.clone(),
    };
    match values.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => {
            let message = format!("the value of {name:?} is empty, and Conjur keeps no empty values");
            Err(Error::invalid(message).with_blame(Blame::Request))
        }
        None => Ok(values),
    }
}

/// All values as one JSON object of texts.
fn object(fields: &BTreeMap<String, SecretBytes>) -> Result<SecretBytes, Error> {
    let mut out = SecretBuf::default();
    out.push(b'{');
    for (n, (name, value)) in fields.iter().enumerate() {
        let Some(text) = value.expose_str() else {
            let message = format!("the value of {name:?} is not text, so that it can't stand in one JSON object");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        };
        if n > 0 {
            out.push(b',');
        }
        json::write_plain_string(name, &mut out);
        out.push(b':');
        json::write_plain_string(text, &mut out);
    }
    out.push(b'}');
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Origin, Reach, Remote};

    use super::*;

    fn push(payload: Payload, property: Option<&str>, key: Option<&str>) -> Push {
        let remote = Remote { key: "a/b".into(), property: property.map(str::to_owned), metadata: None };
        let origin = Origin { key: key.map(str::to_owned), ..Origin::default() };
        Push { remote, payload, origin, reach: Reach::Ours }
    }

    fn fields(all: &[(&str, &str)]) -> Payload {
        Payload::Fields(all.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
    }

    #[test]
    fn what_stands_before_the_last_slash_is_the_parent() {
        let place = Place::new("data/apps/db").unwrap();
        assert_eq!((place.parent.as_str(), place.name.as_str()), ("data/apps", "db"));
        for key in ["", "db", "/db", "apps/"] {
            let error = Place::new(key).unwrap_err();
            assert!(error.message().contains("in which policy") && error.blame() == Blame::Request, "{error}");
        }
    }

    #[test]
    fn names_end_where_they_end() {
        let place = Place { parent: "apps".into(), name: "db\"\n- !user x".into() };
        let policy = place.declaring(&["pass: word", "b"]);
        let policy = policy.expose_str().unwrap();
        assert!(policy.contains(r#"id: "db\"\n- !user x""#), "{policy}");
        assert!(policy.contains(
            "- !variable\n    id: \"pass: word\"\n    annotations:\n      \"managed-by\": \"external-secrets\""
        ));
        assert!(policy.contains("resource: !variable \"b\"\n    role: !group delegation/consumers"), "{policy}");
        assert_eq!(policy.lines().filter(|line| line.trim_start().starts_with("- !")).count(), 6, "{policy}");
    }

    #[test]
    fn variables_are_named_by_the_property_or_the_key() {
        let names = |push: Push| values(&push).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(names(push(Payload::Value("v".into()), Some("p"), Some("k"))), ["p"]);
        assert_eq!(names(push(Payload::Value("v".into()), None, Some("k"))), ["k"]);
        assert_eq!(names(push(fields(&[("a", "1"), ("b", "2")]), None, None)), ["a", "b"]);
        let whole = values(&push(fields(&[("b", "<2>"), ("a", "1")]), Some("p"), None)).unwrap();
        assert_eq!(whole["p"].expose_str(), Some(r#"{"a":"1","b":"<2>"}"#));
    }

    #[test]
    fn what_conjur_can_not_keep_is_refused_without_its_value() {
        let binary = Payload::Fields([("a".to_owned(), SecretBytes::new(b"canary\xff".to_vec()))].into());
        for (payload, property, words) in [
            (Payload::Value("".into()), Some("p"), "keeps no empty values"),
            (Payload::Value("canary".into()), None, "has no name"),
            (fields(&[("a", "canary"), ("b", "")]), None, "value of \"b\" is empty"),
            (binary, Some("p"), "is not text"),
        ] {
            let error = values(&push(payload, property, None)).unwrap_err();
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
            assert_eq!(error.blame(), Blame::Request);
        }
    }
}
