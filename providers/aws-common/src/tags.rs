//! Tags, which are the metadata of a secret, and by which we know what we made.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, ErrorKind, Reach, SecretBytes, json};

/// The mark of what was pushed; External Secrets Operator's.
pub const MARK: (&str, &str) = ("managed-by", "external-secrets");

/// What is said of a thing that says nothing of itself; External Secrets Operator's words.
pub const DESCRIPTION: &str = "secret 'managed-by:external-secrets'";

/// Tags by their keys.
pub type Tags = BTreeMap<String, String>;

/// Tags as a JSON object, sorted by key, as External Secrets Operator has it.
pub fn tags_json(tags: impl IntoIterator<Item = (String, String)>) -> SecretBytes {
    let tags: BTreeMap<_, _> = tags.into_iter().collect();
    json::object_of_texts(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Whether what bears these tags was pushed by us.
pub fn is_ours(tags: &Tags) -> bool {
    tags.get(MARK.0).is_some_and(|value| value == MARK.1)
}

/// Refuses to write over what others made, unless `reach` covers it. `what` is what messages call it.
pub fn check_reach(tags: &Tags, reach: Reach, service: &str, what: &str) -> Result<(), Error> {
    match reach {
        Reach::Ours if !is_ours(tags) => {
            // External Secrets Operator's words first.
            let message = format!("secret not managed by external-secrets: {service}: {what} is left as it is");
            let hint = format!("push to another, or give it the tag {} with the value {}", MARK.0, MARK.1);
            Err(Error::new(ErrorKind::Denied, message).with_blame(Blame::Request).with_hint(hint))
        }
        Reach::Ours | Reach::All => Ok(()),
    }
}

/// The tags that a push asks for; `None` where it says nothing of tags, which are then left as they are.
pub fn wanted(tags: Option<Tags>) -> Result<Option<Tags>, Error> {
    let tags = tags.filter(|tags| !tags.is_empty());
    let refuse = |message: String| Err(Error::invalid(message).with_blame(Blame::Request));
    match tags.iter().flatten().map(|(key, _)| key).find(|key| *key == MARK.0 || key.starts_with("aws:")) {
        Some(key) => refuse(format!("metadata: spec.tags must not set {key:?}, which is not a user's")),
        None => Ok(tags),
    }
}

/// What has to change for tags to be as they should.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Tags to set.
    pub set: Tags,
    /// Keys to remove.
    pub removed: Vec<String>,
}

/// The changes from the tags that are there to those that are wanted, and the mark. Tags in `keep` and those of AWS stay.
pub fn changes(there: &Tags, wanted: Option<&Tags>, keep: &[&str]) -> Changes {
    let mark = [(MARK.0.to_owned(), MARK.1.to_owned())];
    let all = wanted.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).chain(mark);
    let set = all.filter(|(key, value)| there.get(key) != Some(value)).collect();
    let is_extra = |wanted: &Tags, key: &String| {
        key != MARK.0 && !wanted.contains_key(key) && !keep.contains(&key.as_str()) && !key.starts_with("aws:")
    };
    let removed = wanted.map(|wanted| there.keys().filter(|key| is_extra(wanted, key)).cloned().collect());
    Changes { set, removed: removed.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tags: &[(&str, &str)]) -> Tags {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn sorted_and_escaped() {
        let tags = [("b", "<1>"), ("a \"x\"", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(tags_json(tags).expose_str(), Some(r#"{"a \"x\"":"","b":"\u003c1\u003e"}"#));
        assert_eq!(tags_json([]).expose_str(), Some("{}"));
    }

    #[test]
    fn what_others_made_stays_theirs_unless_all_may_be_written() {
        for (there, ours) in [
            (&[MARK][..], true),
            (&[MARK, ("a", "b")], true),
            (&[("managed-by", "terraform")], false),
            (&[("Managed-By", "external-secrets")], false),
            (&[], false),
        ] {
            let check = |reach| check_reach(&tags(there), reach, "here", "it").map_err(|error| error.kind());
            assert_eq!(check(Reach::Ours), if ours { Ok(()) } else { Err(ErrorKind::Denied) }, "{there:?}");
            assert_eq!(check(Reach::All), Ok(()));
        }
    }

    #[test]
    fn tags_change_only_where_a_push_has_some() {
        let there = tags(&[MARK, ("a", "1"), ("b", "2"), ("aws:stack", "s"), ("kept", "k")]);
        assert_eq!(changes(&there, None, &[]), Changes::default());
        let wanted = tags(&[("a", "1"), ("b", "3"), ("c", "4")]);
        let expected = Changes { set: tags(&[("b", "3"), ("c", "4")]), removed: vec![] };
        assert_eq!(changes(&there, Some(&wanted), &["kept"]), expected);
        let expected = Changes { set: Tags::new(), removed: vec!["b".into(), "kept".into()] };
        assert_eq!(changes(&there, Some(&tags(&[("a", "1")])), &[]), expected);
        // What is taken over is marked.
        assert_eq!(changes(&tags(&[("x", "y")]), None, &[]), Changes { set: tags(&[MARK]), removed: vec![] });
    }

    #[test]
    fn nobody_sets_our_mark_or_a_tag_of_aws() {
        assert_eq!(wanted(Some(Tags::new())).unwrap(), None);
        assert_eq!(wanted(Some(tags(&[("a", "b")]))).unwrap(), Some(tags(&[("a", "b")])));
        for key in ["managed-by", "aws:stack"] {
            assert_eq!(wanted(Some(tags(&[(key, "x")]))).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
