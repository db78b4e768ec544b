//! What is written into a store, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::{Blame, Error, SecretBuf, SecretBytes, json};

/// A secret of a store, or one property of it, as whoever writes there names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The name or path as the user wrote it (`remoteRef.remoteKey`).
    pub key: String,
    /// The field inside the secret (`remoteRef.property`); `None` is the secret as a whole.
    pub property: Option<String>,
    /// What the user says to this store only (`metadata` of a PushSecret), as it stands: its form is the store's own.
    pub metadata: Option<serde_json::Value>,
}

/// What `metadata` of a push say that they are; External Secrets Operator's words.
const METADATA: [(&str, &str); 2] =
    [("apiVersion", "kubernetes.external-secrets.io/v1alpha1"), ("kind", "PushSecretMetadata")];

impl Remote {
    /// What the metadata say to a store that takes them in External Secrets Operator's form: their `spec`, which has these
    /// fields, or the default where there are none.
    ///
    /// # Errors
    /// `Invalid` where they have another form, or other fields.
    pub fn metadata_spec<T: DeserializeOwned + Default>(&self, fields: &[&str]) -> Result<T, Error> {
        let refuse = |problem: String| {
            let message = format!("metadata of the push to {:?}: {problem}", self.key);
            Err(Error::invalid(message).with_blame(Blame::Request))
        };
        let envelope = match &self.metadata {
            None | Some(serde_json::Value::Null) => return Ok(T::default()),
            Some(serde_json::Value::Object(envelope)) => envelope,
            Some(_) => return refuse("they must be an object".to_owned()),
        };
        if let Some((field, word)) = METADATA.iter().find(|(field, word)| envelope.get(*field) != Some(&(*word).into()))
        {
            return refuse(format!("{field} must be {word}"));
        }
        let is_known = |key: &&String| key.as_str() == "spec" || METADATA.iter().any(|(field, _)| key == field);
        if let Some(unknown) = envelope.keys().find(|key| !is_known(key)) {
            return refuse(format!("there is no field {unknown:?} beside apiVersion, kind and spec"));
        }
        let spec = match envelope.get("spec") {
            None | Some(serde_json::Value::Null) => return Ok(T::default()),
            Some(spec) => spec,
        };
        let unknown = spec.as_object().and_then(|spec| spec.keys().find(|key| !fields.contains(&key.as_str())));
        if let Some(unknown) = unknown {
            return refuse(format!("spec has no field {unknown:?} for this store; it has {}", fields.join(", ")));
        }
        // The parser's own error would quote what it stumbles over.
        T::deserialize(spec)
            .or_else(|_| refuse("spec does not have the form that this store takes: check the types".to_owned()))
    }
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Push {
    /// Where to.
    pub remote: Remote,
    /// What.
    pub payload: Payload,
    /// Whom it comes from.
    pub origin: Origin,
    /// What may be overwritten.
    pub reach: Reach,
}

/// The values of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One value, byte for byte.
    Value(SecretBytes),
    /// All values of the source by their keys. How several are written is the store's own choice: as fields where it
    /// keeps any, else as one JSON object.
    Fields(BTreeMap<String, SecretBytes>),
}

impl Payload {
    /// The one value for a store that keeps one: several are a JSON object of texts.
    ///
    /// # Errors
    /// `Invalid` where one of several is no text, which JSON can't hold.
    pub fn whole(&self) -> Result<SecretBytes, Error> {
        let fields = match self {
            Self::Value(value) => return Ok(value.clone()),
            Self::Fields(fields) => fields,
        };
        let mut out = SecretBuf::default();
        for (n, (name, value)) in fields.iter().enumerate() {
            let text = value.expose_str().ok_or_else(|| {
                let message = format!(
                    "{name:?} holds bytes that are no text, which JSON can't hold: push it by itself, or encode it"
                );
                Error::invalid(message).with_blame(Blame::Request)
            })?;
            out.push(if n == 0 { b'{' } else { b',' });
            json::write_plain_string(name, &mut out);
            out.push(b':');
            json::write_plain_string(text, &mut out);
        }
        if fields.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        Ok(out.into())
    }
}

/// What the source of a push says of itself. Stores that keep such things may take it over.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The key of the Secret that the one value is of; `None` where all of its values are pushed. Stores without properties
    /// name by it what they keep the value in.
    pub key: Option<String>,
    /// The type of the Secret.
    pub secret_type: Option<String>,
    /// Its labels. Many pushes of one Secret share them.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its annotations.
    pub annotations: Arc<BTreeMap<String, String>>,
}

/// Without annotations, which may hold values: kubectl writes the whole Secret into one.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("key", &self.key)
            .field("secret_type", &self.secret_type)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// What a write may touch, in stores that can mark what was written by us. Where a store can't, everything is ours, as
/// in External Secrets Operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// What bears the mark.
    #[default]
    Ours,
    /// Whatever is there; what is overwritten bears the mark from then on.
    All,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ErrorKind;

    #[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
    struct Spec {
        tags: Option<BTreeMap<String, String>>,
    }

    fn spec_of(metadata: Value) -> Result<Spec, Error> {
        let remote = Remote { key: "app".into(), property: None, metadata: Some(metadata) };
        remote.metadata_spec(&["tags"])
    }

    fn envelope(spec: Value) -> Value {
        json!({"apiVersion": METADATA[0].1, "kind": METADATA[1].1, "spec": spec})
    }

    #[test]
    fn metadata_are_an_envelope_with_a_spec() {
        assert_eq!(Remote::default().metadata_spec::<Spec>(&[]).unwrap(), Spec::default());
        assert_eq!(spec_of(Value::Null).unwrap(), Spec::default());
        assert_eq!(spec_of(envelope(Value::Null)).unwrap(), Spec::default());
        assert_eq!(spec_of(envelope(json!({"tags": null}))).unwrap(), Spec::default());
        let tags = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(spec_of(envelope(json!({"tags": {"a": "b"}}))).unwrap(), Spec { tags });
        let more = |name: &str| {
            let mut envelope = envelope(json!({}));
            envelope[name] = json!("canary");
            envelope
        };
        for (metadata, word) in [
            (json!("canary"), "must be an object"),
            (json!({"tags": {"a": "canary"}}), "apiVersion must be"),
            (more("kind"), "kind must be PushSecretMetadata"),
            (more("data"), "no field \"data\""),
            (envelope(json!({"labels": "canary"})), "no field \"labels\" for this store; it has tags"),
            (envelope(json!({"tags": "canary"})), "check the types"),
            (envelope(json!("canary")), "check the types"),
        ] {
            let error = spec_of(metadata.clone()).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{metadata}");
            assert!(error.message().contains(word) && !error.message().contains("canary"), "{metadata}: {error}");
        }
    }

    #[test]
    fn several_values_are_one_object_of_texts() {
        let fields = |fields: &[(&str, &[u8])]| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), SecretBytes::new(value.to_vec())));
            Payload::Fields(fields.collect()).whole()
        };
        assert_eq!(fields(&[("b", b"<1>"), ("a", b"\n")]).unwrap().expose(), br#"{"a":"\n","b":"<1>"}"#);
        assert_eq!(fields(&[]).unwrap().expose(), b"{}");
        let error = fields(&[("b", b"\xff")]).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("\"b\""), "{error}");
        assert_eq!(Payload::Value("\u{0}".into()).whole().unwrap().expose(), b"\0");
    }
}
