//! What a push says beside the value: `metadata` of a PushSecret, in External Secrets Operator's form.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, Remote, filled};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answers::{MARK, Secret};

/// How a secret is to be made, and what is to stand on it.
#[derive(Debug, Default)]
pub struct Wanted {
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// `None` where they are nobody's concern.
    topics: Option<Vec<String>>,
    /// Whether labels that are there already stay.
    merges: bool,
    key: Option<String>,
    locations: Vec<String>,
}

const FIELDS: [&str; 7] =
    ["annotations", "labels", "topics", "mergePolicy", "cmekKeyName", "replicationLocation", "replicationLocations"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    topics: Option<Vec<String>>,
    merge_policy: Option<String>,
    #[serde(rename = "cmekKeyName")]
    key: Option<String>,
    replication_location: Option<String>,
    replication_locations: Option<Vec<String>>,
}

impl Wanted {
    /// Reads the metadata of a push.
    ///
    /// # Errors
    /// `Invalid`, to be blamed on the request.
    pub fn new(remote: &Remote) -> Result<Self, Error> {
        let spec: Spec = remote.metadata_spec(&FIELDS)?;
        let merges = match spec.merge_policy.as_deref() {
            None | Some("" | "Replace") => false,
            Some("Merge") => true,
            Some(_) => {
                let message = "metadata: spec.mergePolicy must be Replace or Merge";
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
        };
        let one = filled(spec.replication_location);
        let several = spec.replication_locations.filter(|locations| !locations.is_empty());
        Ok(Self {
            annotations: spec.annotations.unwrap_or_default(),
            labels: spec.labels.unwrap_or_default(),
            topics: spec.topics,
            merges,
            key: filled(spec.key),
            // As in External Secrets Operator, where both are set the several count.
            locations: several.or(one.map(|location| vec![location])).unwrap_or_default(),
        })
    }

    /// A secret to make. One of a single location (`is_regional`) is kept there, and says nothing about it.
    pub fn made(&self, is_regional: bool) -> Value {
        let key = self.key.as_ref().map(|key| json!({"kmsKeyName": key}));
        let mut secret = json!({"labels": self.labels_over(None), "annotations": self.annotations});
        if let Some(topics) = &self.topics {
            secret["topics"] = topics.iter().map(|name| json!({"name": name})).collect();
        }
        match (is_regional, key) {
            (true, None) => {}
            (true, Some(key)) => secret["customerManagedEncryption"] = key,
            (false, key) => secret["replication"] = self.replication(key),
        }
        secret
    }

    fn replication(&self, key: Option<Value>) -> Value {
        let with_key = |mut place: Value| {
            if let Some(key) = &key {
                place["customerManagedEncryption"] = key.clone();
            }
            place
        };
        if self.locations.is_empty() {
            return json!({"automatic": with_key(json!({}))});
        }
        let replicas: Vec<Value> =
            self.locations.iter().map(|location| with_key(json!({"location": location}))).collect();
        json!({"userManaged": {"replicas": replicas}})
    }

    /// What is to be changed of a secret that is there, and the names of the fields that this is about; `None` where it is
    /// as it should be.
    pub fn change(&self, there: &Secret) -> Option<(Value, String)> {
        let labels = self.labels_over(self.merges.then_some(&there.labels));
        let names: Vec<&str> = there.topics.iter().map(|topic| topic.name.as_str()).collect();
        let topics = self.topics.as_ref().filter(|topics| **topics != names);
        if labels == there.labels && self.annotations == there.annotations && topics.is_none() {
            return None;
        }
        let mut mask = "labels,annotations".to_owned();
        let mut secret = json!({"labels": labels, "annotations": self.annotations, "etag": there.etag});
        if let Some(topics) = topics {
            mask.push_str(",topics");
            secret["topics"] = topics.iter().map(|name| json!({"name": name})).collect();
        }
        Some((secret, mask))
    }

    fn labels_over(&self, there: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
        let mut labels = there.cloned().unwrap_or_default();
        labels.extend(self.labels.clone());
        labels.insert(MARK.0.to_owned(), MARK.1.to_owned());
        labels
    }
}

/// What is to be changed of a secret that is there so that it bears the mark, and nothing else.
pub fn marked(there: &Secret) -> Option<(Value, String)> {
    if there.is_ours() {
        return None;
    }
    let mut labels = there.labels.clone();
    labels.insert(MARK.0.to_owned(), MARK.1.to_owned());
    Some((json!({"labels": labels, "etag": there.etag}), "labels".to_owned()))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;
    use crate::answers::Topic;

    fn of(metadata: Value) -> Result<Wanted, Error> {
        Wanted::new(&Remote { key: "app".into(), property: None, metadata: Some(metadata) })
    }

    fn wanted(spec: Value) -> Wanted {
        of(json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec}))
            .unwrap()
    }

    fn there(labels: &Value, topics: &[&str]) -> Secret {
        Secret {
            name: "projects/1/secrets/a".into(),
            labels: BTreeMap::deserialize(labels).unwrap(),
            topics: topics.iter().map(|name| Topic { name: (*name).to_owned() }).collect(),
            etag: "\"1\"".into(),
            ..Secret::default()
        }
    }

    #[test]
    fn what_is_made_bears_the_mark_and_what_was_wanted() {
        let plain = json!({"labels": {"managed-by": "external-secrets"}, "annotations": {},
            "replication": {"automatic": {}}});
        assert_eq!(Wanted::new(&Remote::default()).unwrap().made(false), plain);
        assert_eq!(wanted(json!({})).made(false), plain);
        let full = wanted(json!({"labels": {"team": "blue", "managed-by": "me"}, "annotations": {"a": "b"},
            "topics": ["projects/p/topics/t"], "cmekKeyName": "k", "replicationLocation": "eu",
            "replicationLocations": ["us", "asia"]}));
        let key = json!({"kmsKeyName": "k"});
        assert_eq!(
            full.made(false),
            json!({"labels": {"team": "blue", "managed-by": "external-secrets"}, "annotations": {"a": "b"},
                "topics": [{"name": "projects/p/topics/t"}], "replication": {"userManaged": {"replicas": [
                    {"location": "us", "customerManagedEncryption": key},
                    {"location": "asia", "customerManagedEncryption": key}]}}})
        );
        let regional = full.made(true);
        assert_eq!((&regional["replication"], &regional["customerManagedEncryption"]), (&Value::Null, &key));
        let one = wanted(json!({"replicationLocation": "eu"})).made(false);
        assert_eq!(one["replication"], json!({"userManaged": {"replicas": [{"location": "eu"}]}}));
        assert_eq!(
            wanted(json!({"cmekKeyName": "k"})).made(false)["replication"],
            json!({"automatic": {"customerManagedEncryption": key}})
        );
    }

    /// BUG of External Secrets Operator: it compares topics and leaves them out of what it updates, so that a difference
    /// there is an update at every refresh.
    #[test]
    fn topics_that_differ_are_updated_once_and_those_nobody_speaks_of_are_left() {
        let wanted_topics = wanted(json!({"topics": ["t"]}));
        let ours = json!({"managed-by": "external-secrets"});
        let (secret, mask) = wanted_topics.change(&there(&ours, &[])).unwrap();
        assert_eq!((mask.as_str(), &secret["topics"]), ("labels,annotations,topics", &json!([{"name": "t"}])));
        assert!(wanted_topics.change(&there(&ours, &["t"])).is_none());
        assert!(wanted(json!({})).change(&there(&ours, &["t"])).is_none());
    }

    #[test]
    fn labels_are_replaced_or_merged_and_never_lose_the_mark() {
        let old = there(&json!({"managed-by": "external-secrets", "team": "red", "more": "x"}), &[]);
        let (replaced, mask) = wanted(json!({"labels": {"team": "blue"}})).change(&old).unwrap();
        assert_eq!(mask, "labels,annotations");
        assert_eq!(replaced["labels"], json!({"team": "blue", "managed-by": "external-secrets"}));
        assert_eq!(replaced["etag"], json!("\"1\""));
        let merged = wanted(json!({"labels": {"team": "blue"}, "mergePolicy": "Merge"})).change(&old).unwrap().0;
        assert_eq!(merged["labels"], json!({"team": "blue", "more": "x", "managed-by": "external-secrets"}));
        assert!(wanted(json!({"mergePolicy": "Merge"})).change(&old).is_none());
        assert!(marked(&old).is_none());
        let (marked, mask) = marked(&there(&json!({"team": "red"}), &[])).unwrap();
        assert_eq!(mask, "labels");
        assert_eq!(marked["labels"], json!({"team": "red", "managed-by": "external-secrets"}));
    }

    #[test]
    fn metadata_of_another_form_is_refused_without_its_values() {
        let envelope = |spec: Value| json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec});
        for (metadata, words) in [
            (json!("canary"), "must be an object"),
            (json!({"labels": {"canary": "x"}}), "apiVersion must be"),
            (json!({"apiVersion": "canary/v1", "kind": "PushSecretMetadata", "spec": {}}), "apiVersion must be"),
            (json!({"kind": "PushSecretMetadata", "spec": {}}), "apiVersion must be"),
            (envelope(json!({"flavour": "canary"})), "no field \"flavour\""),
            (envelope(json!({"labels": ["canary"]})), "check the types"),
            (envelope(json!({"mergePolicy": "canary"})), "must be Replace or Merge"),
        ] {
            let error = of(metadata).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
        assert!(of(Value::Null).is_ok());
    }
}
