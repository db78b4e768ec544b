//! An API server of Secrets and Widgets in memory, for tests: uids, resourceVersions, preconditions and rehearsals are as
//! in the real one, and what others do in between is said beforehand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// What happens just before a write reaches the server.
type Meanwhile = Box<dyn FnOnce(&mut Cluster) + Send>;

/// What the server holds and was asked. Objects are known by plural and name: `secrets/e`.
#[derive(Default)]
pub struct Cluster {
    /// The objects.
    pub objects: BTreeMap<String, Value>,
    /// The requests, such as `get e` or `rehearse e`.
    pub requests: Vec<String>,
    /// The field managers of its writes.
    pub managers: Vec<String>,
    /// Requests that are refused, by their first word, with code and reason.
    pub refused: BTreeMap<&'static str, (u16, &'static str)>,
    /// A label that admission takes off whatever is written.
    pub strips: Option<&'static str>,
    meanwhile: VecDeque<Meanwhile>,
    revision: u64,
}

impl Cluster {
    /// Stores `object` as somebody else would: a new one where its name is not taken.
    pub fn put(&mut self, key: &str, mut object: Value) {
        self.revision += 1;
        let uid =
            self.objects.get(key).map_or(json!(format!("uid-{}", self.revision)), |old| old["metadata"]["uid"].clone());
        object["metadata"]["name"] = json!(key.rsplit('/').next());
        object["metadata"]["namespace"] = json!("ns");
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert(key.to_owned(), object);
    }

    /// Changes `object` as somebody else would.
    pub fn edit(&mut self, key: &str, pointer: &str, value: Value) {
        let mut object = self.objects[key].clone();
        *object.pointer_mut(pointer).unwrap() = value;
        self.put(key, object);
    }

    /// Before the next write that has no such thing before it yet.
    pub fn meanwhile(&mut self, what: impl FnOnce(&mut Self) + Send + 'static) {
        self.meanwhile.push_back(Box::new(what));
    }

    fn answer(&mut self, asked: &Asked) -> Result<Value, (u16, &'static str)> {
        let Some((plural, name)) = asked.target() else {
            self.requests.push(format!("discover {}", asked.path));
            return discover(&asked.path);
        };
        let rehearsal = asked.query.contains("dryRun=All");
        let word = match (&asked.method, rehearsal) {
            (&Method::GET, _) if name.is_empty() => "list",
            (&Method::GET, _) => "get",
            (_, true) => "rehearse",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "replace",
            (&Method::DELETE, _) => "delete",
            (&Method::PATCH, _) => "patch",
            (other, _) => panic!("{other} is not of this API"),
        };
        let name = if name.is_empty() { asked.body["metadata"]["name"].as_str().unwrap_or_default() } else { name };
        self.requests.push(format!("{word} {name}").trim_end().to_owned());
        if asked.method != Method::GET
            && let Some(meanwhile) = self.meanwhile.pop_front()
        {
            meanwhile(self);
        }
        if let Some(refused) = self.refused.get(word) {
            return Err(*refused);
        }
        let key = format!("{plural}/{name}");
        match word {
            "list" => {
                let labelled = self.objects.iter().filter(|(key, _)| key.starts_with(&key_of(plural, "")));
                let found: Vec<Value> =
                    labelled.map(|(_, object)| object.clone()).filter(|object| asked.selects(object)).collect();
                Ok(json!({"metadata": {}, "items": found}))
            }
            "get" => self.objects.get(&key).cloned().ok_or((404, "NotFound")),
            "delete" => {
                self.check(&key, &asked.body["preconditions"])?;
                Ok(self.objects.remove(&key).unwrap())
            }
            "patch" if asked.body.is_array() => self.amend(&key, asked),
            "patch" => {
                self.check(&key, &json!({"uid": asked.body["metadata"]["uid"]}))?;
                let mut object = self.objects[&key].clone();
                for (label, value) in asked.body["metadata"]["labels"].as_object().unwrap() {
                    object["metadata"]["labels"][label] = value.clone();
                }
                self.put(&key, object);
                Ok(self.objects[&key].clone())
            }
            _ => self.write(&key, asked, rehearsal),
        }
    }

    /// Makes changes (RFC 6902), which name what they are made to.
    fn amend(&mut self, key: &str, asked: &Asked) -> Result<Value, (u16, &'static str)> {
        let mut object = self.objects.get(key).ok_or((404, "NotFound"))?.clone();
        let patch: json_patch::Patch = serde_json::from_value(asked.body.clone()).unwrap();
        json_patch::patch(&mut object, &patch).map_err(|_| (422, "Invalid"))?;
        self.check(key, &object["metadata"])?;
        self.managers.push(asked.manager());
        if object != self.objects[key] {
            self.put(key, object);
        }
        Ok(self.objects[key].clone())
    }

    fn write(&mut self, key: &str, asked: &Asked, rehearsal: bool) -> Result<Value, (u16, &'static str)> {
        let there = self.objects.contains_key(key);
        if asked.method == Method::POST && there {
            return Err((409, "AlreadyExists"));
        }
        if asked.method == Method::PUT {
            self.check(key, &asked.body["metadata"])?;
        }
        let manager = asked.manager();
        let mut object = asked.body.clone();
        object["metadata"]["managedFields"] =
            json!([{"manager": manager, "operation": "Update", "time": "2026-02-01T00:00:00Z"}]);
        if key.starts_with("widgets/") {
            object["spec"]["filled"] = json!("in");
        }
        if let Some(label) = self.strips {
            object["metadata"]["labels"].as_object_mut().unwrap().remove(label);
        }
        if rehearsal {
            return Ok(object);
        }
        self.managers.push(manager);
        self.put(key, object);
        Ok(self.objects[key].clone())
    }

    /// Whether what was seen is still so.
    fn check(&self, key: &str, seen: &Value) -> Result<(), (u16, &'static str)> {
        let metadata = &self.objects.get(key).ok_or((404, "NotFound"))?["metadata"];
        let differs = |field: &str| !seen[field].is_null() && seen[field] != metadata[field];
        if differs("uid") || differs("resourceVersion") { Err((409, "Conflict")) } else { Ok(()) }
    }
}

fn key_of(plural: &str, name: &str) -> String {
    format!("{plural}/{name}")
}

/// The resources of two groups: of one kind each that can be a target, and one that can't.
fn discover(path: &str) -> Result<Value, (u16, &'static str)> {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": ["get"]});
    let of = |version: &str, resources: &[Value]| Ok(json!({"groupVersion": version, "resources": resources}));
    match path {
        "/apis/example.org/v1" => {
            of("example.org/v1", &[resource("widgets", "Widget", true), resource("worlds", "World", false)])
        }
        "/api/v1" => of("v1", &[resource("secrets", "Secret", true)]),
        _ => Err((404, "NotFound")),
    }
}

struct Asked {
    method: Method,
    path: String,
    query: String,
    body: Value,
}

impl Asked {
    /// Plural and name; the name is empty where all are meant.
    fn target(&self) -> Option<(&str, &str)> {
        let (_, rest) = self.path.split_once("/namespaces/ns/")?;
        Some(rest.split_once('/').unwrap_or((rest, "")))
    }

    /// Under which name is written.
    fn manager(&self) -> String {
        let manager = self.query.split('&').find_map(|part| part.strip_prefix("fieldManager=")).unwrap_or_default();
        manager.replace("%2F", "/")
    }

    /// Whether an object has the labels that are asked for.
    fn selects(&self, object: &Value) -> bool {
        let query = self.query.replace("%2F", "/").replace("%3D", "=");
        let wanted = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
        let (label, value) = wanted.split_once('=').unwrap_or_default();
        object["metadata"]["labels"][label] == json!(value)
    }
}

/// The server. Clones are of the same one.
#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<Cluster>>);

impl FakeApi {
    /// What it holds and was asked.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of it.
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        kube::Client::new(Router::new().fallback(move |request| api.clone().serve(request)), "ns")
    }

    async fn serve(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let asked = Asked {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let (code, answer) = match self.cluster().answer(&asked) {
            Ok(answer) => (200, answer),
            // As the real one does, it quotes what it refuses.
            Err((code, reason)) => {
                let message = format!("refused: {}", asked.body);
                (
                    code,
                    json!({"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}),
                )
            }
        };
        let json = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(code).unwrap(), json, answer.to_string()).into_response()
    }
}
