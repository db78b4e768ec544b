//! Writing Secrets: what is there is read first, only what differs is written, and nobody who wrote in between is
//! overwritten.

use std::collections::BTreeMap;

use keyferry_provider_core::names::{is_label, is_mark_of_a_tool, is_name};
use keyferry_provider_core::{Blame, Error, ErrorKind, Origin, Payload, Push, Remote, SecretBytes, filled};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::Call;
use crate::object::{Content, Object, new_body};
use crate::store::Kubernetes;

/// Types by which a Secret does something, so that whoever may push could do it: act as a ServiceAccount, let machines
/// into the cluster, change what Helm installs.
const REFUSED: [&str; 3] =
    ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"];

const FIELDS: [&str; 5] = ["targetMergePolicy", "sourceMergePolicy", "labels", "annotations", "remoteNamespace"];

/// What `metadata.spec` of a push say, as External Secrets Operator has it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    target_merge_policy: Option<String>,
    source_merge_policy: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    remote_namespace: Option<String>,
}

/// What becomes of the labels and annotations that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Merge,
    Replace,
    Ignore,
}

/// The labels and annotations of a push.
#[derive(Debug)]
struct Marks {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    target: Target,
}

/// Where a Secret is.
struct Place {
    namespace: String,
    name: String,
}

impl Place {
    fn what(&self) -> String {
        format!("Secret {:?} in namespace {:?}", self.name, self.namespace)
    }

    fn all(&self) -> String {
        format!("api/v1/namespaces/{}/secrets", self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.all(), self.name)
    }
}

impl Kubernetes {
    /// Writes a Secret, or one key of it.
    pub(crate) async fn write(&self, push: &Push) -> Result<(), Error> {
        let spec: Spec = push.remote.metadata_spec(&FIELDS)?;
        let place = self.place(&push.remote, &spec)?;
        let marks = Marks::of(&push.origin, spec)?;
        let data = data_of(push)?;
        let kind = filled(push.origin.secret_type.clone()).unwrap_or_else(|| "Opaque".to_owned());
        check_kind(&kind, &place)?;
        let Some(there) = self.object(&place).await? else {
            let content = marks.over(Content { data, ..Content::default() });
            let body = new_body(&place.name, &kind, &content);
            return self.send(Call::write("CreateSecret", Method::POST, place.all(), body), &place, "create").await;
        };
        check_kind(&there.kind, &place)?;
        let mut content = marks.over(there.content.clone());
        match push.remote.property {
            // Secrets bear no mark of who made them: what else is there may be somebody else's, and stays.
            Some(_) => content.data.extend(data),
            None if there.kind == kind => content.data.extend(data),
            // The type of a Secret can't be changed.
            None => {
                let message =
                    format!("{} is of the type {}, and can't become {kind}: delete it first", place.what(), there.kind);
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
        }
        if content == there.content { Ok(()) } else { self.update(&place, &there, &content).await }
    }

    /// Removes a Secret, or one key of it.
    pub(crate) async fn remove(&self, remote: &Remote) -> Result<(), Error> {
        let place = self.place(remote, &remote.metadata_spec(&FIELDS)?)?;
        let Some(there) = self.object(&place).await? else { return Ok(()) };
        check_kind(&there.kind, &place)?;
        if let Some(property) = &remote.property {
            let mut content = there.content.clone();
            if content.data.remove(property).is_none() {
                return Ok(());
            }
            if !content.data.is_empty() {
                return self.update(&place, &there, &content).await;
            }
        }
        let preconditions = json!({"uid": there.uid, "resourceVersion": there.version});
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let body = SecretBytes::new(options.to_string().into_bytes());
        match self.send(Call::write("DeleteSecret", Method::DELETE, place.path(), body), &place, "delete").await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// Whether a Secret, or one key of it, is there.
    pub(crate) async fn is_there(&self, remote: &Remote) -> Result<bool, Error> {
        let place = self.place(remote, &remote.metadata_spec(&FIELDS)?)?;
        let there = self.object(&place).await?;
        Ok(there.is_some_and(|there| remote.property.as_ref().is_none_or(|key| there.content.data.contains_key(key))))
    }

    fn place(&self, remote: &Remote, spec: &Spec) -> Result<Place, Error> {
        let refuse = |message: String| Err(Error::invalid(message).with_blame(Blame::Request));
        let namespace = match spec.remote_namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            None => self.namespace.clone(),
            Some(_) if !self.is_of_cluster => {
                return refuse("metadata: spec.remoteNamespace is for ClusterSecretStores only".to_owned());
            }
            Some(other) if !is_label(other) => {
                return refuse(format!("metadata: spec.remoteNamespace {other:?} is not the name of a namespace"));
            }
            Some(other) => other.to_owned(),
        };
        let place = Place { namespace, name: remote.key.clone() };
        if is_name(&place.name) {
            Ok(place)
        } else {
            refuse(format!("{}: Kubernetes gives no Secret such a name", place.what()))
        }
    }

    async fn object(&self, place: &Place) -> Result<Option<Object>, Error> {
        let answer = self.login.send(&Call::get("GetSecret", place.path())).await?;
        if answer.status != 200 {
            let error = self.login.client().refusal_of_secret(&answer, &place.name, &place.what());
            return if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) };
        }
        Object::read(answer.body).map(Some).ok_or_else(|| self.login.client().malformed())
    }

    async fn update(&self, place: &Place, there: &Object, content: &Content) -> Result<(), Error> {
        let body = there.body_with(content).ok_or_else(|| self.login.client().malformed())?;
        match self.send(Call::write("UpdateSecret", Method::PUT, place.path(), body), place, "update").await {
            // Deleted since; the next try looks again.
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::new(
                ErrorKind::Unavailable,
                format!("somebody deleted the {} at the same time", place.what()),
            )),
            answer => answer,
        }
    }

    async fn send(&self, call: Call, place: &Place, verb: &str) -> Result<(), Error> {
        let answer = self.login.send(&call).await?;
        let client = self.login.client();
        match answer.status {
            200..300 => Ok(()),
            // The namespace, where a Secret is made; else the Secret, which was there a moment ago.
            404 if verb == "create" => {
                let message = format!("the API server at {} has no namespace {:?}", client.host(), place.namespace);
                Err(Error::invalid(message).with_blame(Blame::Request))
            }
            404 => Err(client.refusal_of_secret(&answer, &place.name, &place.what())),
            _ => Err(client.refusal(&answer, &place.what(), &format!("{verb} secrets"))),
        }
    }
}

fn check_kind(kind: &str, place: &Place) -> Result<(), Error> {
    if REFUSED.contains(&kind) {
        let message = format!("{}: Secrets of the type {kind} are never pushed nor deleted", place.what());
        return Err(Error::new(ErrorKind::Denied, message).with_blame(Blame::Request));
    }
    Ok(())
}

/// The keys to write.
fn data_of(push: &Push) -> Result<BTreeMap<String, SecretBytes>, Error> {
    let refuse = |message: String| Err(Error::invalid(message).with_blame(Blame::Request));
    let data = match (&push.payload, &push.remote.property) {
        (Payload::Fields(fields), None) => fields.clone(),
        (payload, Some(property)) => [(property.clone(), payload.whole()?)].into(),
        (Payload::Value(_), None) => {
            return refuse(
                // External Secrets Operator's words first.
                "requires property in RemoteRef to push secret value if secret key is defined: set property to the key of \
                 the Secret that the value is to go into, or remove secretKey to push all"
                    .to_owned(),
            );
        }
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_key = |key: &str| (1..=253).contains(&key.len()) && key.chars().all(fine) && key != "." && key != "..";
    match data.keys().find(|key| !is_key(key)) {
        Some(key) => refuse(format!("{key:?} can be no key of a Secret: letters, digits, -, _ and . make one")),
        None => Ok(data),
    }
}

impl Marks {
    /// Those of the source, and those that metadata add, or put in their place.
    fn of(origin: &Origin, spec: Spec) -> Result<Self, Error> {
        let refuse = |message: &str| Err(Error::invalid(format!("metadata: {message}")).with_blame(Blame::Request));
        let keeps_source = match spec.source_merge_policy.as_deref() {
            None | Some("" | "Merge") => true,
            Some("Replace") => false,
            Some(_) => return refuse("spec.sourceMergePolicy must be Merge or Replace"),
        };
        let target = match spec.target_merge_policy.as_deref() {
            None | Some("" | "Merge") => Target::Merge,
            Some("Replace") => Target::Replace,
            Some("Ignore") => Target::Ignore,
            Some(_) => return refuse("spec.targetMergePolicy must be Merge, Replace or Ignore"),
        };
        // Tools would take the copy for their own, and kubectl's note holds the whole source.
        let source = |marks: &BTreeMap<String, String>| {
            let own = marks.iter().filter(|(key, _)| keeps_source && !is_mark_of_a_tool(key));
            own.map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>()
        };
        let (mut labels, mut annotations) = (source(&origin.labels), source(&origin.annotations));
        labels.extend(spec.labels.unwrap_or_default());
        annotations.extend(spec.annotations.unwrap_or_default());
        Ok(Self { labels, annotations, target })
    }

    /// The content with these marks.
    fn over(&self, mut content: Content) -> Content {
        match self.target {
            Target::Ignore => {}
            Target::Replace => {
                content.labels = self.labels.clone();
                content.annotations = self.annotations.clone();
            }
            Target::Merge => {
                content.labels.extend(self.labels.clone());
                content.annotations.extend(self.annotations.clone());
            }
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::Reach;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn marks_of_the_source_and_of_the_metadata() {
        let origin = Origin {
            key: None,
            secret_type: None,
            labels: map(&[("team", "a"), ("app.kubernetes.io/instance", "argo")]).into(),
            annotations: map(&[("note", "n"), ("kubectl.kubernetes.io/last-applied-configuration", "canary")]).into(),
        };
        let over = |source: &str, target: &str| {
            let spec = Spec {
                source_merge_policy: Some(source.to_owned()),
                target_merge_policy: Some(target.to_owned()),
                labels: Some(map(&[("team", "b"), ("x", "y")])),
                ..Spec::default()
            };
            let there = Content { labels: map(&[("team", "t"), ("old", "o")]), ..Content::default() };
            Marks::of(&origin, spec).map(|marks| marks.over(there)).map(|content| (content.labels, content.annotations))
        };
        let merged = map(&[("team", "b"), ("x", "y"), ("old", "o")]);
        assert_eq!(over("", "").unwrap(), (merged.clone(), map(&[("note", "n")])));
        assert_eq!(over("Replace", "Merge").unwrap(), (merged, map(&[])));
        assert_eq!(over("Merge", "Replace").unwrap(), (map(&[("team", "b"), ("x", "y")]), map(&[("note", "n")])));
        assert_eq!(over("Merge", "Ignore").unwrap(), (map(&[("team", "t"), ("old", "o")]), map(&[])));
        for (source, target) in [("Ignore", ""), ("", "merge")] {
            assert_eq!(over(source, target).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn values_go_into_keys() {
        let push = |payload: Payload, property: Option<&str>| {
            let remote = Remote { property: property.map(str::to_owned), ..Remote::default() };
            data_of(&Push { remote, payload, origin: Origin::default(), reach: Reach::Ours })
        };
        let fields = || Payload::Fields([("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())].into());
        assert_eq!(push(fields(), None).unwrap().len(), 2);
        assert_eq!(push(fields(), Some("k")).unwrap(), [("k".to_owned(), r#"{"a":"1","b":"2"}"#.into())].into());
        assert_eq!(push(Payload::Value("v".into()), Some("k")).unwrap(), [("k".to_owned(), "v".into())].into());
        let error = push(Payload::Value("canary".into()), None).unwrap_err();
        assert!(error.message().contains("set property") && !error.message().contains("canary"), "{error}");
        for key in ["", "a/b", "..", "ä", "a b"] {
            assert_eq!(push(Payload::Value("v".into()), Some(key)).unwrap_err().kind(), ErrorKind::Invalid, "{key}");
        }
    }
}
