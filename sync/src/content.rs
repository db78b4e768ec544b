//! What a target is to hold, its desired state: data, labels, annotations, type. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_provider_core::SecretBytes;
use keyferry_provider_core::names::is_mark_of_a_tool;
use serde_json::Value;

use crate::data::{Data, SecretJson, StringMap, zeroize};
use crate::dependency::{Dependency, Version};
use crate::hash::Digest;
use crate::path::Path;
use crate::told;
use crate::told::Told;

/// What a target is to hold, whatever else is there already.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// By key.
    pub data: Data,
    /// Labels besides our own marks.
    pub labels: StringMap,
    /// Annotations besides our own marks.
    pub annotations: StringMap,
    /// The type, where the template sets one; else the API server's default.
    pub type_: Option<String>,
    /// Finalizers to add.
    pub finalizers: Vec<String>,
    /// What a target that is not a Secret is to hold instead of data, in this order.
    pub edits: Vec<Edit>,
    /// By when the first of what generators made is to be replaced, where that has an end and no GeneratorState.
    pub refresh_by: Option<Timestamp>,
    /// Where functions failed whose complaint stands in the content now: the template's place and the function.
    pub complaints: Vec<Told>,
}

/// A value for a place in an object.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Which part of the spec wants it.
    pub from: Told,
    /// The place; its keys may have been rendered, and are not told.
    pub path: Path,
    /// What goes there.
    pub value: SecretJson,
    /// Whether the entries of a map go beside those that are there; otherwise the value takes the place of what is there.
    pub merges: bool,
}

impl Edit {
    /// Makes it in `object`, whose lists may be filled up with so many more elements; the error says what stands in the
    /// way.
    pub fn make(&self, object: &mut Value, room: &mut usize) -> Result<(), Told> {
        let at = self.path.walk(object, room).map_err(|problem| told!("{}: its path {}", self.from, problem))?;
        match (self.merges, at, self.value.get()) {
            (true, Value::Object(present), Value::Object(new)) => {
                for (key, value) in new {
                    if let Some(mut replaced) = present.insert(key.clone(), value.clone()) {
                        zeroize(&mut replaced);
                    }
                }
            }
            (_, at, value) => {
                zeroize(at);
                *at = value.clone();
            }
        }
        Ok(())
    }
}

impl Content {
    /// Without a template the target holds what was fetched, and bears all labels and annotations of the
    /// ExternalSecret; but a target that it does not own bears none by which another tool knows what is its own: that
    /// tool would prune or overwrite it.
    pub fn plain(es: &ExternalSecret, data: Data) -> Self {
        let owns = es.spec.target.creation_policy == CreationPolicy::Owner;
        let copied = |marks: &Option<StringMap>| {
            let mut marks = marks.clone().unwrap_or_default();
            marks.retain(|key, _| owns || !is_mark_of_a_tool(key));
            marks
        };
        let (labels, annotations) = (copied(&es.metadata.labels), copied(&es.metadata.annotations));
        Self { data, labels, annotations, ..Self::default() }
    }

    /// All of it but the data.
    pub fn form(&self) -> Digest {
        let maps = [&self.labels, &self.annotations]
            .map(|map| Digest::of(map.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()])));
        let finalizers = Digest::of(self.finalizers.iter().map(String::as_bytes));
        let type_ = Digest::of(self.type_.iter().map(String::as_bytes));
        // Which end it is, the data tell.
        let ends = Digest::of(self.refresh_by.iter().map(|_| b"ends".as_slice()));
        Digest::of([&maps[0], &maps[1], &finalizers, &type_, &ends].map(Digest::bytes))
    }

    /// All texts of it that came out of templates or a store.
    pub fn values(&self) -> Vec<SecretBytes> {
        fn texts(value: &Value, into: &mut Vec<SecretBytes>) {
            match value {
                Value::String(text) => into.push(SecretBytes::from(text.as_str())),
                Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
                Value::Object(map) => map.values().for_each(|item| texts(item, into)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut all: Vec<SecretBytes> = self.data.values().cloned().collect();
        self.edits.iter().for_each(|edit| texts(edit.value.get(), &mut all));
        all
    }
}

/// What a target is made from: while this stays the same, so does the target, and nothing need be read to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeFrom {
    fetched: Digest,
    /// The ExternalSecret, and what its templates are taken from.
    by: Digest,
}

impl MadeFrom {
    /// `fetched`, by the ExternalSecret in this version ([`crate::hash::version_of`]) and templates of objects in these.
    pub fn new(version: &str, fetched: &Data, sources: &BTreeMap<Dependency, Option<Version>>) -> Self {
        let sources = sources.values().flat_map(|seen| match seen {
            Some(Version { uid, revision }) => [uid.as_bytes(), revision.as_bytes()],
            None => [b"".as_slice(); 2],
        });
        let fetched = fetched.iter().flat_map(|(key, value)| [key.as_bytes(), value.expose()]);
        Self { fetched: Digest::of(fetched), by: Digest::of([version.as_bytes()].into_iter().chain(sources)) }
    }

    /// Whether the same was made of `other`, but for what was fetched.
    pub fn is_by_the_same(&self, other: &Self) -> bool {
        self.by == other.by
    }
}

/// What a target was made from, and how.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// From what.
    pub from: MadeFrom,
    /// All of its content but its data; `None` where it may not be so, or not ours.
    pub form: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_of_other_tools_go_only_where_the_target_is_owned() {
        let tools = [
            "argocd.argoproj.io/tracking-id",
            "argocd.argoproj.io/sync-wave",
            "kubectl.kubernetes.io/last-applied-configuration",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/namespace",
            "meta.helm.sh/release-name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
        ];
        let others = ["team", "external-secrets.io/force-sync", "app.kubernetes.io/name"];
        let copied = |policy: &str| {
            let mut es = keyferry_builders::es(json!({"target": {"creationPolicy": policy}}));
            let marks: StringMap = tools.iter().chain(&others).map(|key| ((*key).to_owned(), "x".to_owned())).collect();
            (es.metadata.labels, es.metadata.annotations) = (Some(marks.clone()), Some(marks));
            let content = Content::plain(&es, Data::new());
            assert_eq!(content.labels, content.annotations);
            content.labels.len()
        };
        assert_eq!(copied("Owner"), tools.len() + others.len());
        for policy in ["Merge", "CreateOrMerge", "Orphan"] {
            assert_eq!(copied(policy), others.len(), "{policy}");
        }
    }
}
