//! An API server that holds Leases, for tests on a paused clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::leader::Election;

/// The server. It may be slow, or silent to some.
#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<Held>>);

/// What it holds.
#[derive(Default)]
pub(crate) struct Held {
    /// The Leases, by name.
    pub(crate) leases: BTreeMap<String, Value>,
    revision: u64,
    /// How long its answers take that come after what they tell of was done.
    pub(crate) answers_after: Duration,
}

impl Server {
    /// The client of one process; what goes through it while the switch is on never arrives.
    pub(crate) fn client(&self, cut: &Arc<AtomicBool>) -> kube::Client {
        let (server, cut) = (self.clone(), cut.clone());
        let serve = move |request: Request| {
            let (server, cut) = (server.clone(), cut.clone());
            async move {
                if cut.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                server.serve(request).await
            }
        };
        kube::Client::new(Router::new().fallback(serve), "ns")
    }

    /// What it holds.
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds a Lease; nothing where it was given back, and `None` where there is none.
    pub(crate) fn holder(&self, name: &str) -> Option<String> {
        Some(self.held().leases.get(name)?["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    }

    async fn serve(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap_or_default();
        let name = parts.uri.path().rsplit('/').next().filter(|name| *name != "leases").map(str::to_owned);
        let name = name.or_else(|| Some(body["metadata"]["name"].as_str()?.to_owned()));
        let (code, answer, after) = {
            let mut held = self.held();
            let (code, answer) = held.answer(&parts.method, name, body);
            (code, answer, held.answers_after)
        };
        sleep(after).await;
        let json = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(code).unwrap(), json, answer.to_string()).into_response()
    }
}

impl Held {
    /// Another process writes a Lease.
    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.revision += 1;
        let revision = self.revision.to_string();
        let lease = self.leases.get_mut(name).unwrap();
        change(lease);
        lease["metadata"]["resourceVersion"] = json!(revision);
    }

    fn answer(&mut self, method: &Method, name: Option<String>, mut body: Value) -> (u16, Value) {
        let refused = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}))
        };
        let Some(name) = name else {
            let items: Vec<&Value> = self.leases.values().collect();
            let list =
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": items});
            return (200, list);
        };
        let there = self.leases.get(&name);
        if *method == Method::GET {
            return there.map_or(refused(404, "NotFound"), |lease| (200, lease.clone()));
        }
        let there = there.map(|lease| lease["metadata"]["resourceVersion"].clone());
        let fits = if *method == Method::POST {
            there.is_none()
        } else {
            there == Some(body["metadata"]["resourceVersion"].clone())
        };
        if !fits {
            return refused(409, "Conflict");
        }
        self.revision += 1;
        body["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.leases.insert(name, body.clone());
        (200, body)
    }
}

/// How this process uses the Lease of the name `lease`.
pub(crate) fn election(identity: &str) -> Election {
    Election {
        name: "lease".to_owned(),
        namespace: "ns".to_owned(),
        identity: identity.to_owned(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
        clock: || Timestamp::UNIX_EPOCH,
    }
}
