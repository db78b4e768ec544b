//! An object of any kind as it should be (`spec.target.manifest`), from the object as it is. Pure.
//!
//! Of an object that is Owner's or Orphan's all but metadata and status is made anew; Merge and CreateOrMerge begin with
//! what is there. In the metadata what others put there stays, as with Secrets.

use std::collections::BTreeSet;

use keyferry_crds::{ExternalSecret, Manifest};
use kube::core::{DynamicObject, TypeMeta};
use serde_json::{Map, Value};

use super::ownership::{self, Desired, OwnedFields};
use crate::client::LiveObject;
use keyferry_sync::content::Content;
use keyferry_sync::data::zeroize;
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::path::ROOM;
use keyferry_sync::settings::Adopt;
use keyferry_sync::told;
use keyferry_sync::told::Told;

/// Kind and name of the target, for messages.
pub fn name_of(es: &ExternalSecret, manifest: &Manifest) -> String {
    format!("{} {:?}", manifest.kind, es.target_name())
}

/// Whether annotation and label say that the object is as its writer left it.
pub fn is_intact(object: &LiveObject) -> bool {
    let object = object.get();
    ownership::is_intact(&object.metadata, &hash::manifest_hash(&object.data))
}

/// Whether nothing differs that we would write.
fn is_same(a: &LiveObject, b: &LiveObject) -> bool {
    let (a, b) = (a.get(), b.get());
    a.data == b.data && ownership::same_metadata(&a.metadata, &b.metadata)
}

/// Whether `object` still changes what `exists`, now that a rehearsal has shown what the API server makes of it: that
/// has `filled` in what was left out.
///
/// The hash must be of what is filled in: else every later change of the object, a new status say, would look like an
/// edit.
pub fn rehearsed(object: &mut LiveObject, mut filled: LiveObject, exists: Option<&LiveObject>) -> bool {
    let hash = hash::manifest_hash(&filled.get().data);
    ownership::put_marks(&mut object.get_mut().metadata, hash.clone());
    ownership::put_marks(&mut filled.get_mut().metadata, hash);
    !exists.is_some_and(|exists| is_same(exists, &filled))
}

/// Decides what the target should be, given how it is.
///
/// `es` has creationPolicy Owner, Orphan, Merge or CreateOrMerge.
pub fn desired(
    es: &ExternalSecret,
    manifest: &Manifest,
    content: &Content,
    existing: Option<&LiveObject>,
    adopt: Adopt,
) -> Result<Desired<LiveObject>, Failure> {
    let Some(merges) = ownership::merges(es, existing.is_some()) else { return Ok(Desired::Missing) };
    let name = name_of(es, manifest);
    let owned =
        existing.map(|object| OwnedFields::of(&object.get().metadata, &ownership::manager(es))).unwrap_or_default();
    let mut next = match existing {
        Some(object) => object.clone(),
        None => LiveObject::new(empty(es, manifest)),
    };
    let object = next.get_mut();
    if merges {
        drop_keys(object.data.get_mut("data"), &owned.data);
        drop_keys(object.data.pointer_mut("/spec/data"), &owned.spec_data);
    } else {
        let status = object.data.get_mut("status").map(Value::take);
        zeroize(&mut object.data);
        object.data = Value::Object(status.map(|status| ("status".to_owned(), status)).into_iter().collect());
    }
    let mut room = ROOM;
    for edit in &content.edits {
        edit.make(&mut object.data, &mut room).map_err(|problem| {
            let cause = told!("{} can't be what a template wants: {}", Told::without_values(name.clone()), problem);
            Failure::new(Headline::Manifest, cause, Retry::Late)
        })?;
    }
    ownership::put_metadata(&mut object.metadata, content, &owned);
    ownership::put_ownership(es, &mut object.metadata, &name)?;
    if !is_shallow(&object.data, DEEPEST) {
        let cause = format!("{name} would be nested more than {DEEPEST} levels deep");
        return Err(Failure::new(Headline::Manifest, Told::without_values(cause), Retry::Late));
    }
    let hash = hash::manifest_hash(&object.data);
    ownership::put_marks(&mut object.metadata, hash);

    let Some(existing) = existing else { return Ok(Desired::Create(next)) };
    if is_same(existing, &next) {
        return Ok(Desired::Keep);
    }
    let before = existing.get();
    let adopted = if merges {
        None
    } else {
        let fields = before.data.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
        ownership::adoption(es, &before.metadata, &name, fields, owned.whole, adopt)?
    };
    Ok(Desired::Update { object: next, adopted })
}

/// The most levels of an object: what is deeper can't be read back, by us as by others.
const DEEPEST: usize = 100;

fn is_shallow(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (_, None) => false,
        (Value::Array(items), Some(left)) => items.iter().all(|item| is_shallow(item, left)),
        (Value::Object(map), Some(left)) => map.values().all(|item| is_shallow(item, left)),
        (_, Some(_)) => true,
    }
}

fn empty(es: &ExternalSecret, manifest: &Manifest) -> DynamicObject {
    let mut object = DynamicObject {
        types: Some(TypeMeta { api_version: manifest.api_version.clone(), kind: manifest.kind.clone() }),
        metadata: Default::default(),
        data: Value::Object(Map::new()),
    };
    object.metadata.name = Some(es.target_name().to_owned());
    object.metadata.namespace = es.metadata.namespace.clone();
    object
}

/// Keys that we put there earlier go; those that we still want come back.
fn drop_keys(map: Option<&mut Value>, owned: &BTreeSet<String>) {
    if let Some(Value::Object(map)) = map {
        for key in owned {
            if let Some(mut value) = map.remove(key) {
                zeroize(&mut value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use keyferry_limits::Budget;
    use keyferry_sync::data::Data;
    use keyferry_sync::data::Sources;
    use keyferry_sync::engine::{Engine, Means};
    use keyferry_sync::template::content;

    fn es(target: Value) -> ExternalSecret {
        let mut es = keyferry_builders::es(json!({"target": target}));
        es.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
        es
    }

    /// The target of kind Widget, or ConfigMap, with the rest of `target`.
    fn target(kind: &str, mut rest: Value) -> Value {
        rest["manifest"] =
            json!({"apiVersion": if kind == "ConfigMap" { "v1" } else { "example.org/v1" }, "kind": kind});
        rest
    }

    fn live(object: Value) -> LiveObject {
        LiveObject::new(serde_json::from_value(object).unwrap())
    }

    fn decided(
        es: &ExternalSecret,
        data: &[(&str, &str)],
        existing: Option<&LiveObject>,
    ) -> Result<Desired<LiveObject>, Failure> {
        let data: Data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let means = Means { engine: &Engine::new("{{", "}}"), now: Timestamp::UNIX_EPOCH, budget: &Budget::default() };
        let content = content(es, data, &Sources::new(), &means)?;
        desired(es, es.target_manifest().unwrap(), &content, existing, Adopt::Any)
    }

    /// What is written, as JSON, and as the API server would give it back.
    fn written(es: &ExternalSecret, data: &[(&str, &str)], existing: Option<&LiveObject>) -> LiveObject {
        match decided(es, data, existing).unwrap() {
            Desired::Create(object) | Desired::Update { object, .. } => object,
            other => panic!("{other:?}"),
        }
    }

    fn body(object: &LiveObject) -> &Value {
        &object.get().data
    }

    const DATA: [(&str, &str); 2] = [("a", "alpha"), ("n", "42")];

    #[test]
    fn without_a_template_all_goes_where_the_kind_keeps_data() {
        let map = written(&es(target("ConfigMap", json!({}))), &DATA, None);
        assert_eq!(*body(&map), json!({"data": {"a": "alpha", "n": "42"}}));
        let metadata = &map.get().metadata;
        assert_eq!(metadata.labels.as_ref().unwrap()["team"], "x");
        assert_eq!(metadata.owner_references.as_ref().unwrap()[0].uid, "es-uid");
        assert!(is_intact(&map));
        let widget = written(&es(target("Widget", json!({}))), &DATA, None);
        assert_eq!(*body(&widget), json!({"spec": {"data": {"a": "alpha", "n": "42"}}}));
        let labels = json!({"mergePolicy": "Merge", "metadata": {"labels": {"l": "{{ .a }}"}}});
        let widget = written(&es(target("Widget", json!({"template": labels}))), &DATA, None);
        assert_eq!(*body(&widget), json!({}), "what was fetched is not shown unasked");
        assert_eq!(widget.get().metadata.labels.as_ref().unwrap()["l"], "{{ .a }}", "as it stands");
    }

    #[test]
    fn templates_go_where_their_target_says_in_their_order() {
        let template = json!({
            "templateFrom": [
                {"target": "Spec", "literal": "replicas: {{ .n }}\nrules: [{host: old}]\nlong: 1.50\nid: 9007199254740993"},
                {"target": "spec.rules[0]", "literal": "host: \"{{ .a }}\"\nport: 80"},
                {"target": "spec.rules[1].host", "literal": "{{ .a }}"},
                {"target": "ANNOTATIONS", "literal": "note: {{ .n }}"},
                {"target": "Data", "literal": "port: {{ .n }}"},
            ],
            "data": {"port": "0{{ .n }}"},
        });
        let widget = written(&es(target("Widget", json!({"template": template}))), &DATA, None);
        let expected = json!({
            "spec": {"replicas": 42, "rules": [{"host": "alpha", "port": 80}, {"host": "alpha"}], "long": 1.5, "id": 9007199254740993_i64},
            "data": {"port": "042"},
        });
        assert_eq!(*body(&widget), expected);
        assert_eq!(widget.get().metadata.annotations.as_ref().unwrap()["note"], "42");
    }

    #[test]
    fn what_others_put_there_is_lost_under_owner_and_kept_under_merge() {
        let there = || {
            live(json!({
                "apiVersion": "example.org/v1", "kind": "Widget",
                "metadata": {
                    "name": "e", "uid": "u", "resourceVersion": "7", "labels": {"theirs": "1"}, "finalizers": ["f"],
                    "managedFields": [{
                        "manager": "externalsecrets.external-secrets.io/e", "operation": "Update",
                        "fieldsV1": {"f:spec": {"f:data": {"f:old": {}}}},
                    }],
                },
                "spec": {"theirs": true, "data": {"a": "theirs", "old": "ours", "kept": "1"}}, "status": {"ok": true},
            }))
        };
        let owner = written(&es(target("Widget", json!({}))), &DATA, Some(&there()));
        assert_eq!(*body(&owner), json!({"spec": {"data": {"a": "alpha", "n": "42"}}, "status": {"ok": true}}));
        assert_eq!(owner.get().metadata.finalizers, Some(vec!["f".to_owned()]));
        assert_eq!(owner.get().metadata.labels.as_ref().unwrap()["theirs"], "1");
        assert_eq!(owner.get().metadata.resource_version.as_deref(), Some("7"));
        let merge = es(target("Widget", json!({"creationPolicy": "Merge"})));
        let merged = written(&merge, &DATA, Some(&there()));
        let expected = json!({
            "spec": {"theirs": true, "data": {"a": "alpha", "n": "42", "kept": "1"}}, "status": {"ok": true},
        });
        assert_eq!(*body(&merged), expected);
        assert!(merged.get().metadata.owner_references.is_none());
        assert!(matches!(decided(&merge, &DATA, None), Ok(Desired::Missing)));
        let adopted = decided(&es(target("Widget", json!({}))), &DATA, Some(&there()));
        assert!(matches!(adopted, Ok(Desired::Update { adopted: Some(fields), .. }) if fields == ["spec", "status"]));
    }

    #[test]
    fn a_second_time_there_is_nothing_to_do() {
        for policy in ["Owner", "Orphan", "Merge", "CreateOrMerge"] {
            let es = es(target("ConfigMap", json!({"creationPolicy": policy})));
            let there =
                live(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e"}, "data": {"z": "1"}}));
            let once = written(&es, &DATA, Some(&there));
            assert!(matches!(decided(&es, &DATA, Some(&once)), Ok(Desired::Keep)), "{policy}");
        }
    }

    #[test]
    fn what_can_not_be_made_says_why_and_shows_no_value() {
        let owned = live(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {},
            "metadata": {"name": "e", "ownerReferences": [
                {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "other", "uid": "o", "controller": true}
            ]},
        }));
        let from = |target: &str, literal: &str| json!({"template": {"templateFrom": [{"target": target, "literal": literal}]}});
        for (target, existing, says) in [
            (json!({}), Some(&owned), "ConfigMap \"e\" belongs to ExternalSecret \"other\""),
            (from("spec.x", &format!("{}{{{{ .a }}}}{}", "[".repeat(120), "]".repeat(120))), None, "levels deep"),
            (from("spec.x", "a: [{{ .a }}"), None, "is not YAML"),
            (from("Data", "- {{ .a }}"), None, "is not a YAML map"),
            (
                json!({"template": {"templateFrom": [
                    {"target": "spec.x", "literal": "{{ .a }}"}, {"target": "spec.x.y", "literal": "1"},
                ]}}),
                None,
                "its path is no map where it has a key",
            ),
        ] {
            let error = decided(&es(self::target("ConfigMap", target)), &DATA, existing).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("alpha"), "{error}");
        }
        let means = Means { engine: &Engine::new("{{", "}}"), now: Timestamp::UNIX_EPOCH, budget: &Budget::default() };
        let bytes = content(
            &es(self::target("ConfigMap", json!({}))),
            [("k".to_owned(), keyferry_provider_core::SecretBytes::new(vec![0xff]))].into(),
            &Sources::new(),
            &means,
        );
        assert!(bytes.unwrap_err().to_string().contains("the value for \"k\" is not text"));
    }
}
