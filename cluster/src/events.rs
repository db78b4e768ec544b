//! Events on objects, as core/v1 Events: what External Secrets Operator writes, and what its ClusterRole grants.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use keyferry_sync::record::Note;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::mpsc;

use crate::client::timely;

/// Sends events without making anybody wait: where the API server is slow or refuses, events are dropped, never work.
#[derive(Clone)]
pub struct Events(mpsc::Sender<(ObjectReference, &'static str, Note)>);

/// How many events may wait.
const WAITING: usize = 1000;

/// Kubernetes takes 1024 bytes.
const LONGEST_MESSAGE: usize = 1024;

impl Events {
    /// Starts the task that sends; it ends when the last `Events` is dropped. `clock` tells the time of events.
    pub fn start(client: kube::Client, clock: fn() -> Timestamp) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some((object, component, note)) = receiver.recv().await {
                send(&client, clock(), object, component, note).await;
            }
        });
        Self(sender)
    }

    /// Sends one event about `object` in the name of `component`.
    pub fn send(&self, object: ObjectReference, component: &'static str, note: Note) {
        if self.0.try_send((object, component, note)).is_err() {
            tracing::debug!("an event was dropped: too many are waiting");
        }
    }
}

async fn send(client: &kube::Client, now: Timestamp, object: ObjectReference, component: &'static str, note: Note) {
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = object.name.clone().unwrap_or_default();
    let mut message = note.message;
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE - 3).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    let event = Event {
        metadata: ObjectMeta {
            // Object names take 253 bytes, of which the API server needs five for its suffix.
            generate_name: Some(format!("{}.", name.get(..200).unwrap_or(&name))),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: object,
        type_: Some(format!("{:?}", note.severity)),
        reason: Some(note.reason.to_owned()),
        message: Some(message),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        event_time: None::<MicroTime>,
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    if let Err(problem) = timely(api.create(&PostParams::default(), &event)).await {
        tracing::debug!(%problem, reason = note.reason, "could not send an event");
    }
}
