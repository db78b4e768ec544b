//! All about one object: as [`explain`](super::super::explain) tells it, with its stores, its events and whether its Secret is there.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use keyferry_cluster::pages;
use keyferry_cluster::problem::timely;
use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_sync::plan::TargetState;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::door::Door;
use super::live::Live;
use crate::clock;
use crate::report::snapshot::{Object, Snapshot};
use crate::report::standing::{self, Standing};
use crate::report::users::User;
use crate::verbs::explain::{Explanation, explanation};
use crate::verbs::follow::{KINDS, Key};
use crate::verbs::gather;
use crate::verbs::who::rbac;

/// How many answers are gathered at once: each asks the API server several times.
const AT_ONCE: usize = 2;

/// How many events are told, the latest first.
const MOST_EVENTS: usize = 50;

/// What answers are made of.
pub struct Desk {
    client: Client,
    live: Arc<Live>,
    class: String,
    turns: Semaphore,
}

/// What a page shows of one object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(flatten)]
    explanation: Explanation,
    /// How its stores stand.
    store_standings: Vec<Standing>,
    /// Whether its Secret is there; `None` where that is not known.
    target_is_there: Option<bool>,
    /// What was told of it.
    events: Vec<Happened>,
    /// What could not be read.
    notes: Vec<String>,
}

/// An event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    at: Option<Timestamp>,
    severity: String,
    reason: String,
    message: String,
    count: i32,
}

/// Who reaches a Secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reached {
    ways: Vec<Reaches>,
    notes: Vec<String>,
}

/// One way to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reaches {
    who: String,
    is_system: bool,
    is_direct: bool,
    by: String,
    so: &'static str,
    bindings: Vec<String>,
}

/// Who uses the Secrets of a namespace.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    users: Vec<User>,
    notes: Vec<String>,
}

/// Why there is no answer.
type Refusal = (StatusCode, &'static str);

const NOT_THERE: Refusal = (StatusCode::NOT_FOUND, "it is not there any more\n");

/// The ways to ask.
pub fn routes(door: &Door, desk: Arc<Desk>) -> Router {
    Router::new()
        .route(&door.path("object/{kind}/{namespace}/{name}"), get(object))
        .route(&door.path("who/{namespace}/{name}"), get(who))
        .route(&door.path("users/{namespace}"), get(users))
        .route(&door.path("shows/{namespace}"), get(shows))
        .with_state(desk)
}

async fn object(State(desk): State<Arc<Desk>>, Path(key): Path<(String, String, String)>) -> Response {
    answer(move || async move { desk.object(key).await }).await
}

async fn who(State(desk): State<Arc<Desk>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    answer(move || async move { desk.who(namespace, name).await }).await
}

async fn users(State(desk): State<Arc<Desk>>, Path(namespace): Path<String>) -> Response {
    answer(move || async move { desk.users(&namespace).await }).await
}

/// A page shows who uses Secrets there, and is told by what [`live`](super::live) tells when that changes.
async fn shows(State(desk): State<Arc<Desk>>, Path(namespace): Path<String>) -> StatusCode {
    // Only namespaces are watched in which there is something to show; a page asks again.
    if desk.live.read(|board| board.has_any(&namespace)) {
        desk.live.show(&namespace);
    }
    StatusCode::NO_CONTENT
}

/// Has something told on a thread of its own: what lists page by page stays on the thread where it began.
async fn answer<T, F>(tell: impl FnOnce() -> F + Send + 'static) -> Response
where
    T: Serialize,
    F: Future<Output = Result<T, Refusal>>,
{
    let runtime = Handle::current();
    let told = spawn_blocking(move || runtime.block_on(tell()).map(|told| serde_json::to_vec(&told)));
    match told.await {
        Ok(Ok(Ok(bytes))) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Ok(Ok(Err(_))) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Desk {
    /// Over what is followed.
    pub fn new(client: Client, live: Arc<Live>, class: String) -> Self {
        Self { client, live, class, turns: Semaphore::new(AT_ONCE) }
    }

    /// An object that the table has. Only such names are asked for.
    fn known(&self, (kind, namespace, name): (String, String, String)) -> Result<(Key, Object, Standing), Refusal> {
        let kind = KINDS.into_iter().find(|known| *known == kind).ok_or(NOT_THERE)?;
        // A path has no empty part.
        let namespace = if namespace == "-" { String::new() } else { namespace };
        let key = (kind, namespace, name);
        let (object, standing) = self.live.read(|board| board.get(&key)).ok_or(NOT_THERE)?;
        Ok((key, object, standing))
    }

    async fn object(&self, key: (String, String, String)) -> Result<Told, Refusal> {
        let (key, object, standing) = self.known(key)?;
        let _turn = self.turns.acquire().await;
        let mut notes = Vec::new();
        let es = match &object {
            Object::ExternalSecret(es) => es.as_ref().as_ref().ok(),
            Object::PushSecret(_) | Object::Store(_) => None,
        };
        let mut snapshot = Snapshot { stores: self.live.read(|board| board.stores()), ..Snapshot::default() };
        let mut target_is_there = None;
        if let Some(es) = es {
            snapshot.namespaces = self.labels(&key.1).await;
            snapshot.users = gather::users(&self.client, Some(&key.1), &mut notes).await.0;
            target_is_there = self.has_target(es, &key.1, &mut notes).await;
        }
        let stores = snapshot.stores.iter().filter(|store| {
            let is_near = store.id.namespace.as_ref().is_none_or(|namespace| *namespace == key.1);
            is_near && standing.stores.contains(&store.id.to_string())
        });
        let store_standings = stores.map(|store| standing::store(store)).collect();
        let events = self.events(&key, &mut notes).await;
        // Whether somebody changed the target it takes its values to tell; the operator looks after that.
        let target = if target_is_there == Some(false) { TargetState::Absent } else { TargetState::Intact };
        let explanation = explanation(standing, es, &snapshot, target, &self.class, clock::now());
        Ok(Told { explanation, store_standings, target_is_there, events, notes })
    }

    /// The labels of a namespace, by its name; none where they may not be read.
    async fn labels(&self, namespace: &str) -> HashMap<String, keyferry_sync::data::StringMap> {
        let read = timely(Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace)).await;
        let labels = read.ok().flatten().map(|of| of.metadata.labels.unwrap_or_default());
        labels.map(|labels| (namespace.to_owned(), labels)).into_iter().collect()
    }

    /// Whether the Secret is there, by its metadata: its values are nobody's business here.
    async fn has_target(&self, es: &ExternalSecret, namespace: &str, notes: &mut Vec<String>) -> Option<bool> {
        if es.target_manifest().is_some() || es.spec.target.creation_policy == CreationPolicy::None {
            return None;
        }
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match timely(secrets.get_metadata_opt(es.target_name())).await {
            Ok(found) => Some(found.is_some()),
            Err(problem) => {
                notes.push(format!("whether the Secret is there is not known: {}", problem.for_person()));
                None
            }
        }
    }

    async fn events(&self, (kind, namespace, name): &Key, notes: &mut Vec<String>) -> Vec<Happened> {
        // Events about what has no namespace stand in this one.
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let about = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let mut found = Vec::new();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let listed = pages::all(&api, ListParams::default().fields(&about), |event| found.push(happened(event))).await;
        if let Err(problem) = listed {
            notes.push(gather::unlisted("events", &problem));
        }
        found.sort_by_key(|event| std::cmp::Reverse(event.at));
        found.truncate(MOST_EVENTS);
        found
    }

    async fn who(&self, namespace: String, name: String) -> Result<Reached, Refusal> {
        let (_, object, _) = self.known((KINDS[0].to_owned(), namespace.clone(), name))?;
        let Object::ExternalSecret(es) = object else { return Err(NOT_THERE) };
        let es = es.as_ref().as_ref().map_err(|_| NOT_THERE)?;
        let _turn = self.turns.acquire().await;
        Ok(match rbac(&self.client, Some(&namespace)).await {
            Ok(roles) => {
                let ways = roles.ways(&namespace, es.target_name()).into_iter().map(|way| Reaches {
                    who: way.who.to_string(),
                    is_system: way.who.is_system(),
                    is_direct: way.is_direct,
                    by: way.by,
                    so: way.so,
                    bindings: way.bindings.into_iter().collect(),
                });
                Reached { ways: ways.collect(), notes: Vec::new() }
            }
            Err(problem) => {
                let why = format!("can't list roles and bindings: {}", problem.for_person());
                Reached { ways: Vec::new(), notes: vec![why] }
            }
        })
    }

    /// Those who use what ExternalSecrets of a namespace write.
    async fn users(&self, namespace: &str) -> Result<Used, Refusal> {
        let (targets, any) = self.live.read(|board| (board.targets(namespace), board.has_any(namespace)));
        if !any {
            return Ok(Used { users: Vec::new(), notes: Vec::new() });
        }
        let _turn = self.turns.acquire().await;
        let mut notes = Vec::new();
        let (mut users, _) = gather::users(&self.client, Some(namespace), &mut notes).await;
        users.iter_mut().for_each(|user| user.secrets.retain(|(name, _)| targets.contains(name)));
        users.retain(User::is_one);
        Ok(Used { users, notes })
    }
}

fn happened(event: Event) -> Happened {
    let series = event.series.as_ref();
    let times = [
        series.and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event.metadata.creation_timestamp.as_ref().map(|time| time.0),
    ];
    Happened {
        at: times.into_iter().flatten().max(),
        severity: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
    }
}
