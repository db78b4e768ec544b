//! The ports of pushes, over the API server: the Secrets that are pushed, and statuses, finalizers and events of PushSecrets.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keyferry_crds::{PushSecret, PushSecretStatus, names};
use keyferry_limits::{Budget, PUSH_SOURCES};
use keyferry_provider_core::names::is_mark_of_a_tool;
use keyferry_push::ports::{Journal, Source, Sources};
use keyferry_sync::address;
use keyferry_sync::dependency::{Kind, version};
use keyferry_sync::ports::Problem;
use keyferry_sync::record::Note;
use kube::Resource as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::Selector;
use serde_json::{Map, Value, json};

use crate::client::{ApiProblem, LiveSecret};
use crate::journal::ClusterJournal;
use crate::objects::ClusterObjects;
use crate::status::{self, Size};

/// How many Secrets are read at once: each may hold a MiB, and is there several times while it is decoded.
const PAGE: u32 = 8;

fn source(mut secret: LiveSecret) -> Source {
    let keys: Vec<String> = secret.keys().cloned().collect();
    let data = keys.into_iter().filter_map(|key| Some((key.clone(), secret.take(&key)?))).collect();
    let metadata = &secret.get().metadata;
    // What tools note for themselves goes nowhere, and what kubectl notes holds the values.
    let marks = |all: &Option<BTreeMap<String, String>>| {
        let own = all.iter().flatten().filter(|(key, _)| !is_mark_of_a_tool(key));
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    Source {
        name: metadata.name.clone().unwrap_or_default(),
        version: version(&Kind::Secret, metadata),
        data,
        type_: secret.get().type_.clone(),
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: marks(&metadata.annotations),
    }
}

fn too_much(message: String) -> Problem {
    Problem { message, is_temporary: false, is_not_found: false }
}

#[async_trait]
impl Sources for ClusterObjects {
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Source>, Problem> {
        let of = address::namespace(namespace).map_err(ApiProblem::from)?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), of);
        let name = address::name(name).map_err(ApiProblem::from)?;
        let secret = self.turns.of(namespace).read(async || api.get_opt(name).await).await?;
        Ok(secret.map(|secret| source(LiveSecret::new(secret))))
    }

    async fn selected(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        budget: &Budget,
        most: usize,
    ) -> Result<Option<Vec<Source>>, Problem> {
        let of = address::namespace(namespace).map_err(ApiProblem::from)?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), of);
        let selector = Selector::try_from(selector.clone());
        let selector = selector.map_err(|_| too_much("it is no selector: compare it with `kubectl explain`".into()))?;
        let (mut found, mut held, mut page) = (Vec::new(), 0, None);
        loop {
            let params = ListParams::default().labels_from(&selector).limit(PAGE);
            let params = ListParams { continue_token: page, ..params };
            let list = self.turns.of(namespace).list(async || api.list(&params).await).await?;
            // All of them first: those that nothing is left for are zeroed, too.
            let secrets: Vec<LiveSecret> = list.items.into_iter().map(LiveSecret::new).collect();
            let read = secrets.into_iter().map(source).collect::<Vec<_>>();
            let costs = read.iter().map(Source::cost).sum::<usize>();
            found.extend(read);
            held += costs;
            if held > most {
                return Ok(None);
            }
            budget.bytes(costs).map_err(|exceeded| too_much(exceeded.to_string()))?;
            page = list.metadata.continue_.filter(|token| !token.is_empty());
            if found.len() > PUSH_SOURCES.size() {
                return Err(too_much(PUSH_SOURCES.to_string()));
            }
            if page.is_none() {
                return Ok(Some(found));
            }
        }
    }
}

impl ClusterJournal {
    fn pushes(&self, ps: &PushSecret) -> Api<PushSecret> {
        Api::namespaced(self.client.clone(), ps.metadata.namespace.as_deref().unwrap_or_default())
    }
}

#[async_trait]
impl Journal for ClusterJournal {
    async fn status(
        &self,
        ps: &PushSecret,
        before: Option<&PushSecretStatus>,
        after: &PushSecretStatus,
    ) -> Result<Option<String>, Problem> {
        let json = |status| serde_json::to_value(status).unwrap_or_default();
        let mut status = json(after);
        if let Some(before) = before {
            leave_out(&json(before), &mut status);
        }
        // With the UID, so that an object which took the place of this one is not told what is not so.
        let patch = json!({"metadata": {"uid": ps.metadata.uid}, "status": status});
        let name = ps.metadata.name.as_deref().unwrap_or_default();
        let turns = self.turns.of(ps.metadata.namespace.as_deref().unwrap_or_default());
        let written = status::patch(&turns, &self.pushes(ps), name, Size::of(ps), &patch).await?;
        Ok(written.resource_version)
    }

    async fn finalizers(&self, ps: &PushSecret, finalizers: &[String]) -> Result<(), Problem> {
        let metadata =
            json!({"uid": ps.metadata.uid, "resourceVersion": ps.metadata.resource_version, "finalizers": finalizers});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let name = ps.metadata.name.as_deref().unwrap_or_default();
        let turns = self.turns.of(ps.metadata.namespace.as_deref().unwrap_or_default());
        turns.run(async || self.pushes(ps).patch_metadata(name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    async fn generated(&self, ps: &PushSecret, note: &str) -> Result<(), Problem> {
        let metadata = json!({"uid": ps.metadata.uid, "annotations": {names::ANNOTATION_GENERATED: note}});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let name = ps.metadata.name.as_deref().unwrap_or_default();
        let turns = self.turns.of(ps.metadata.namespace.as_deref().unwrap_or_default());
        turns.run(async || self.pushes(ps).patch_metadata(name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    fn note(&self, ps: &PushSecret, note: Note) {
        let mut reference = ps.object_ref(&());
        reference.resource_version = None;
        self.events.send(reference, names::EVENTS_PUSH_SECRET, note);
    }
}

/// Has a merge patch say of what is in `before` and not in `after` that it goes.
fn leave_out(before: &Value, after: &mut Value) {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return };
    for (field, value) in before {
        match after.get_mut(field) {
            Some(kept) => leave_out(value, kept),
            None => _ = after.insert(field.clone(), Value::Null),
        }
    }
    // What a patch leaves out stays as it is.
    after.retain(|field, value| before.get(field) != Some(value) || is_whole(value));
}

/// A patch of an empty object changes nothing, and makes one where there is none.
fn is_whole(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use axum::Router;
    use axum::http::header;

    use super::*;
    use crate::client::Turns;

    #[tokio::test]
    async fn labels_select_so_many_secrets_and_bytes() {
        let server = Router::new().fallback(async || {
            let secret = |n: u32| json!({"metadata": {"name": format!("s{n}"), "uid": "u", "resourceVersion": "1"}, "data": {"a": "YQ=="}});
            let items: Vec<Value> = (0..PAGE).map(secret).collect();
            let list = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": items});
            ([(header::CONTENT_TYPE, "application/json")], list.to_string())
        });
        let client = kube::Client::new(server, "ns");
        let turns = Turns::new(1, crate::leader::Lead::always());
        let objects = ClusterObjects::new(client, turns, PathBuf::new());
        let selector = LabelSelector::default();
        let told =
            async |budget: Budget| objects.selected("ns", &selector, &budget, usize::MAX).await.unwrap_err().message;
        assert!(told(Budget::default()).await.contains("(limit push-sources)"));
        assert!(told(Budget::new(10, 10)).await.contains("(limit look-bytes)"));
    }

    #[tokio::test]
    async fn whatever_a_secret_bears_is_paid_for() {
        let long = "x".repeat(1_000);
        let keys: Map<String, Value> = (0..100).map(|n| (format!("key-{n}"), json!(""))).collect();
        for secret in [
            json!({"metadata": {"name": "s", "annotations": {"note": long}}}),
            json!({"metadata": {"name": "s", "labels": {"note": long}}}),
            json!({"metadata": {"name": "s"}, "data": keys}),
        ] {
            let server = Router::new().fallback(async move || {
                let list = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": vec![secret; 20]});
                ([(header::CONTENT_TYPE, "application/json")], list.to_string())
            });
            let turns = Turns::new(1, crate::leader::Lead::always());
            let objects = ClusterObjects::new(kube::Client::new(server, "ns"), turns, PathBuf::new());
            let selector = LabelSelector::default();
            let selected = async |bytes, most| objects.selected("ns", &selector, &Budget::new(bytes, 1), most).await;
            assert!(selected(10_000, usize::MAX).await.unwrap_err().message.contains("(limit look-bytes)"));
            assert_eq!(selected(1 << 20, 1 << 20).await.unwrap().unwrap().len(), 20);
            assert!(selected(1 << 20, 10_000).await.unwrap().is_none(), "more than whoever asks may hold");
        }
    }

    #[test]
    fn what_tools_note_for_themselves_goes_nowhere() {
        let annotations = json!({"note": "n", "kubectl.kubernetes.io/last-applied-configuration": "canary"});
        let secret = json!({"metadata": {"name": "s", "annotations": annotations}});
        let source = source(LiveSecret::new(serde_json::from_value(secret).unwrap()));
        assert_eq!(source.annotations, BTreeMap::from([("note".to_owned(), "n".to_owned())]));
    }

    #[test]
    fn a_patch_says_what_goes() {
        for (before, after, patch) in [
            (json!({"a": {"b": 1}}), json!({"a": {}}), json!({"a": {"b": null}})),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}}), json!({"a": {"c": null}})),
            (json!({"a": 1, "b": {"c": {"d": 1}}}), json!({"a": 2}), json!({"a": 2, "b": null})),
            (json!({}), json!({"a": {}}), json!({"a": {}})),
            (json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 2]})),
        ] {
            let mut whole = after;
            leave_out(&before, &mut whole);
            assert_eq!(whole, patch);
        }
    }
}
