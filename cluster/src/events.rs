//! Events on objects, as core/v1 Events: what External Secrets Operator writes, and what its ClusterRole grants.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use keyferry_sync::record::Note;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::Notify;

use crate::client::timely;
use crate::leader::Lead;

/// Sends events without making anybody wait: where the API server is slow or refuses, events are dropped, never work.
/// Namespaces have turns: one that has much to tell keeps no other's waiting, and takes nobody else's room.
#[derive(Clone)]
pub struct Events(Arc<Waiting>);

/// How many events may wait, and how many of one namespace.
const WAITING: usize = 1000;
const WAITING_IN_NAMESPACE: usize = 100;

/// Kubernetes takes 1024 bytes.
const LONGEST_MESSAGE: usize = 1024;

impl Events {
    /// Starts the task that sends; it ends when the last `Events` is dropped. `clock` tells the time of events, `lead` until
    /// when we may write.
    pub fn start(client: kube::Client, clock: fn() -> Timestamp, lead: Lead) -> Self {
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(send_all(client, clock, lead, Arc::downgrade(&waiting), waiting.more.clone()));
        Self(waiting)
    }

    /// Sends one event about `object` in the name of `component`.
    pub fn send(&self, object: ObjectReference, component: &'static str, note: Note) {
        if self.0.lock().push((object, component, note, Lead::here())) {
            self.0.more.notify_one();
        } else {
            tracing::debug!("an event was dropped: too many are waiting");
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Who sends sees that nobody is left.
        self.more.notify_one();
    }
}

/// About what, in whose name, what, and under which lead.
type Told = (ObjectReference, &'static str, Note, Option<Lead>);

#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    more: Arc<Notify>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits, by namespace, and the order of their turns.
#[derive(Default)]
struct Queue {
    lanes: HashMap<String, VecDeque<Told>>,
    order: VecDeque<String>,
    count: usize,
}

impl Queue {
    /// Answers whether there was room.
    fn push(&mut self, event: Told) -> bool {
        let namespace = event.0.namespace.clone().unwrap_or_default();
        let in_lane = self.lanes.get(&namespace).map_or(0, VecDeque::len);
        if self.count >= WAITING || in_lane >= WAITING_IN_NAMESPACE {
            return false;
        }
        if in_lane == 0 {
            self.order.push_back(namespace.clone());
        }
        self.lanes.entry(namespace).or_default().push_back(event);
        self.count += 1;
        true
    }

    fn pop(&mut self) -> Option<Told> {
        let namespace = self.order.pop_front()?;
        let lane = self.lanes.get_mut(&namespace)?;
        let event = lane.pop_front()?;
        self.count -= 1;
        if lane.is_empty() {
            self.lanes.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        Some(event)
    }
}

async fn send_all(
    client: kube::Client,
    clock: fn() -> Timestamp,
    lead: Lead,
    waiting: Weak<Waiting>,
    more: Arc<Notify>,
) {
    loop {
        let next = {
            let Some(waiting) = waiting.upgrade() else { return };
            waiting.lock().pop()
        };
        match next {
            Some((object, component, note, own)) if own.as_ref().unwrap_or(&lead).check().is_ok() => {
                send(&client, clock(), object, component, note).await;
            }
            Some(_) => {}
            None => more.notified().await,
        }
    }
}

async fn send(client: &kube::Client, now: Timestamp, object: ObjectReference, component: &'static str, note: Note) {
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = object.name.clone().unwrap_or_default();
    let mut message = note.message.into_string();
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

#[cfg(test)]
mod tests {
    use keyferry_sync::record::Severity;

    use super::*;

    fn told(namespace: &str, message: usize) -> Told {
        let object = ObjectReference { namespace: Some(namespace.to_owned()), ..ObjectReference::default() };
        (object, "test", Note::new(Severity::Normal, "Told", keyferry_sync::told!("{}", message)), None)
    }

    #[test]
    fn one_namespace_takes_nobody_elses_room_or_turn() {
        let mut queue = Queue::default();
        let taken = (0..5000).filter(|n| queue.push(told("loud", *n))).count();
        assert_eq!(taken, WAITING_IN_NAMESPACE);
        assert!(queue.push(told("quiet", 1)));
        let from = |queue: &mut Queue| queue.pop().and_then(|(object, ..)| object.namespace);
        assert_eq!([from(&mut queue), from(&mut queue)].map(Option::unwrap), ["loud", "quiet"]);
        assert!(queue.push(told("loud", 0)), "there is room again");
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), WAITING_IN_NAMESPACE);
        assert!(queue.pop().is_none() && queue.lanes.is_empty() && queue.order.is_empty());
        assert_eq!(queue.count, 0);
        let all = (0..50).flat_map(|namespace| (0..50).map(move |n| told(&format!("ns{namespace}"), n)));
        assert_eq!(all.filter(|event| queue.push(event.clone())).count(), WAITING);
    }
}
