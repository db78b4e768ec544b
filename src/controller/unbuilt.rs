//! Kinds of External Secrets Operator that are not built: a condition says so to whoever made such an object, or brought it
//! along. Nothing else is done with it, so there is nothing to queue, to count or to look at again.
//!
//! Each generation of an object is told once: where External Secrets Operator still looks after it, its word stands from
//! its next refresh on, and the two don't take turns.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _, select_all};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_crds::{Condition, names, unbuilt_kinds};
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::ports::Notices;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

/// How many objects are told at once.
const AT_ONCE: usize = 8;

/// A kind that is not built.
#[derive(Clone, Debug)]
pub struct UnbuiltKind {
    resource: ApiResource,
    /// The reason in conditions.
    reason: &'static str,
}

impl UnbuiltKind {
    /// The kinds of these names.
    pub fn all(is_wanted: impl Fn(&str) -> bool) -> Vec<Self> {
        let kinds = unbuilt_kinds().iter().filter(|(kind, _)| is_wanted(kind)).map(|(kind, version)| Self {
            resource: ApiResource::from_gvk(&GroupVersionKind::gvk(names::GROUP, version, kind)),
            reason: "Errored",
        });
        kinds.collect()
    }

    fn message(&self) -> String {
        format!(
            "{}s are not built in keyferry yet: nothing is done with this one, and nothing of it is lost",
            self.resource.kind
        )
    }

    /// The condition, as of now.
    fn condition(&self, now: Timestamp) -> Condition {
        Condition {
            type_: names::CONDITION_READY.to_owned(),
            status: "False".to_owned(),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message()),
            last_transition_time: Some(Time(now)),
        }
    }
}

/// What each object was told at: its UID and generation.
#[derive(Default)]
struct Told(HashMap<(usize, Name), (Option<String>, Option<i64>)>);

impl Told {
    /// Takes what a watch tells of an object of the kind of this number; the object where it is to be told.
    fn take(&mut self, n: usize, kind: &UnbuiltKind, event: Event<DynamicObject>) -> Option<ObjectMeta> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let seen = (object.uid(), object.metadata.generation);
                let known = self.0.insert((n, name_of(&object.metadata)), seen.clone());
                (known != Some(seen) && !says_so(&object, kind)).then_some(object.metadata)
            }
            Event::Delete(object) => {
                self.0.remove(&(n, name_of(&object.metadata)));
                None
            }
            Event::Init | Event::InitDone => None,
        }
    }
}

/// Whether its condition is the one that it would be told.
fn says_so(object: &DynamicObject, kind: &UnbuiltKind) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == names::CONDITION_READY
            && condition["status"] == "False"
            && condition["message"] == kind.message()
    })
}

/// Tells the objects of these kinds.
pub struct Unbuilt {
    /// The client.
    pub client: kube::Client,
    /// The one namespace to look at; all where there is none.
    pub scope: Option<String>,
    /// The kinds.
    pub kinds: Vec<UnbuiltKind>,
    /// Where it is told.
    pub notices: Arc<dyn Notices>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Unbuilt {
    /// Works until it is dropped.
    pub async fn run(self) {
        let events = select_all(self.kinds.iter().enumerate().map(|(n, kind)| self.follow(n, kind)));
        let mut told = Told::default();
        let news = events.filter_map(|(n, event)| ready(told.take(n, &self.kinds[n], event).map(|object| (n, object))));
        let (notices, now) = (&self.notices, self.now);
        news.for_each_concurrent(AT_ONCE, |(n, metadata)| {
            let kind = &self.kinds[n];
            async move {
                let conditions = vec![kind.condition(now())];
                notices.set_conditions(&kind.resource, metadata, conditions).await;
            }
        })
        .await;
        // There was no kind to follow.
        std::future::pending().await
    }

    fn follow(&self, n: usize, kind: &UnbuiltKind) -> BoxStream<'static, (usize, Event<DynamicObject>)> {
        let api: Api<DynamicObject> = match self.scope.as_deref() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource),
            None => Api::all_with(self.client.clone(), &kind.resource),
        };
        let (name, mut has_failed) = (kind.resource.kind.clone(), false);
        let events = watcher(api, watcher::Config::default()).default_backoff().filter_map(move |event| {
            let event = match event {
                Ok(event) => Some((n, event)),
                // The kind is not installed, or not ours to read: nobody misses the condition enough to be told often.
                Err(_) if has_failed => None,
                Err(_) => {
                    has_failed = true;
                    tracing::info!(
                        kind = name,
                        "can't watch this kind, which is not built: its objects are not told so"
                    );
                    None
                }
            };
            ready(event)
        });
        events.boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kinds() -> Vec<UnbuiltKind> {
        UnbuiltKind::all(|_| true)
    }

    fn object(generation: i64, conditions: Value) -> Event<DynamicObject> {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "generation": generation});
        Event::Apply(
            serde_json::from_value(json!({
                "apiVersion": "external-secrets.io/v1alpha1", "kind": "PushSecret", "metadata": metadata,
                "status": {"conditions": conditions},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn each_generation_is_told_once_whoever_says_otherwise_since() {
        let (mut told, kinds) = (Told::default(), kinds());
        let synced = json!([{"type": "Ready", "status": "True", "message": "PushSecret synced successfully"}]);
        assert!(told.take(0, &kinds[0], object(1, json!([]))).is_some());
        assert!(told.take(0, &kinds[0], object(1, synced.clone())).is_none(), "another operator looks after it");
        assert!(told.take(0, &kinds[0], object(2, synced)).is_some());
        let Event::Apply(gone) = object(2, json!([])) else { unreachable!("it is one") };
        assert!(told.take(0, &kinds[0], Event::Delete(gone)).is_none());
        assert!(told.take(0, &kinds[0], object(2, json!([]))).is_some(), "another object of the same name");
    }

    #[test]
    fn what_is_told_already_is_not_told_again_by_the_next_process() {
        for kind in kinds() {
            let condition = kind.condition(keyferry_builders::at(7));
            let stored = json!([condition]);
            assert!(Told::default().take(0, &kind, object(1, stored)).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn conditions_have_the_form_of_their_kind() {
        let told = |kind: &UnbuiltKind| serde_json::to_value(kind.condition(keyferry_builders::at(0))).unwrap();
        let message = |kind: &str| {
            json!(format!(
                "{kind}s are not built in keyferry yet: nothing is done with this one, and nothing of it is lost"
            ))
        };
        for kind in kinds() {
            let name = kind.resource.kind.as_str();
            let mut expected = json!({"type": "Ready", "status": "False", "message": message(name)});
            expected["reason"] = json!("Errored");
            expected["lastTransitionTime"] = json!("1970-01-01T00:00:00Z");
            assert_eq!(told(&kind), expected);
        }
    }

    #[test]
    fn who_is_not_wanted_is_not_told() {
        let names = |wanted: fn(&str) -> bool| -> Vec<String> {
            UnbuiltKind::all(wanted).into_iter().map(|kind| kind.resource.plural).collect()
        };
        assert_eq!(names(|_| true), ["pushsecrets"]);
        assert_eq!(names(|kind| kind != "PushSecret"), Vec::<String>::new());
    }
}
