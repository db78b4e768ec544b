//! What tests of several vendors begin with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use keyferry_doubles::{Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Page, Payload, Provider, Push, Query,
    Reach, Registration, Remote,
};
use keyferry_provider_testkit::{Fault, MapCredentials};
use serde_json::Value;

/// What a store is built with: it may reach loopback, and has these settings of the process.
pub fn context(credentials: MapCredentials, settings: &[(&str, &str)]) -> BuildContext {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut ctx = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    ctx.environment =
        Arc::new(move |name| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()));
    ctx.caller.store_kind = "ClusterSecretStore";
    ctx.caller.store = "store".to_owned();
    ctx
}

/// That of an operator's store of a namespace, where it may lead to doubles.
pub fn context_of_namespace(credentials: MapCredentials, settings: &[(&str, &str)]) -> BuildContext {
    let mut ctx = context(credentials, settings);
    ctx.addresses = Addresses::not_local_but(["127.0.0.0/8".parse().expect("a network")]);
    ctx.caller.store_kind = "SecretStore";
    ctx
}

/// The same as [`context`] with nothing but this text, where servers are reached so.
pub fn context_at(of: &str, text: &str, settings: &[(&str, &str)], addresses: Addresses) -> BuildContext {
    let credentials = MapCredentials::new().with(of, format!("{text}\n"));
    BuildContext { addresses, ..context(credentials, settings) }
}

pub async fn build(of: &Registration, spec: &Value, ctx: BuildContext) -> Result<Arc<dyn Provider>, Error> {
    (of.build)(spec, ctx).await
}

pub fn key(name: &str) -> Key {
    Key { name: name.to_owned(), version: None, metadata: false }
}

/// One key's answer.
pub async fn fetched(store: &dyn Provider, name: &str) -> Result<Fetched, Error> {
    store.fetch(&[key(name)]).await?.remove(0)
}

/// One key's value, as text.
pub async fn value(store: &dyn Provider, name: &str) -> Result<String, Error> {
    Ok(fetched(store, name).await?.value.expose_str().expect("text").to_owned())
}

/// The kind of the error, which holds no canary.
#[track_caller]
pub fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    let error = result.err().expect("an error");
    let told = format!("{error} {error:?}");
    assert!(!told.contains("canary") && !told.contains('\n'), "{told}");
    error.kind()
}

pub fn push(name: &str, property: Option<&str>, value: &str) -> Push {
    let remote = Remote { key: name.to_owned(), property: property.map(str::to_owned), metadata: None };
    Push { remote, payload: Payload::Value(value.into()), origin: Default::default(), reach: Reach::Ours }
}

/// Waits for what happens when that suits.
///
/// # Panics
/// Where it does not.
pub async fn until(happened: impl Fn() -> bool) {
    for _ in 0..500 {
        if happened() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it does not happen");
}

/// Refuses everything but what `passes`, with a status and a body.
pub async fn refusing(status: u16, body: &'static str, passes: fn(&str) -> Option<&'static str>) -> Server {
    Server::start(Router::new().fallback(move |request: Request| async move {
        let (status, body) = passes(request.uri().path()).map_or((status, body), |body| (200, body));
        let answer = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
        answer.body(Body::from(body)).expect("an answer")
    }))
}

/// A store that is watched, or spoken to in other words, when it is searched.
pub struct Searched<B> {
    pub inner: Arc<dyn Provider>,
    /// What it says that it can do.
    pub can: Capabilities,
    /// Before each call of a search: what it is asked.
    pub before: B,
    /// What becomes of a name that was found.
    pub after: fn(String) -> String,
}

impl<B> Searched<B> {
    /// As it is, but for what happens before each call of a search.
    pub fn new(inner: Arc<dyn Provider>, before: B) -> Self {
        Self { can: inner.capabilities(), inner, before, after: |name| name }
    }
}

/// The store's server fails at this call of a search and at all that follow.
pub fn failing_at(inner: Arc<dyn Provider>, fault: Option<(usize, Fault)>, server: &Server) -> Arc<dyn Provider> {
    server.fail(Faults::default());
    let (server, calls) = (server.clone(), AtomicUsize::new(0));
    Arc::new(Searched::new(inner, move |query: &Query| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        if let Some((_, fault)) = fault.filter(|(at, _)| call >= *at) {
            let faults = Faults::default();
            server.fail(match fault {
                Fault::Status(429) => Faults { throttled: 100, ..faults },
                Fault::Status(_) => Faults { broken: 100, ..faults },
                Fault::Garbage => Faults { garbage: 100, ..faults },
                Fault::Cut => Faults { reset: 100, ..faults },
            });
        }
        query.clone()
    }))
}

#[async_trait]
impl<B: Fn(&Query) -> Query + Send + Sync> Provider for Searched<B> {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.inner.fetch(keys).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let mut page = self.inner.find(&(self.before)(query), at).await?;
        page.keys.iter_mut().for_each(|key| key.name = (self.after)(std::mem::take(&mut key.name)));
        page.keys.retain(|key| query.matches(&key.name));
        Ok(page)
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.inner.push(push).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.inner.delete(remote, reach).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.inner.exists(remote).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.inner.validate().await
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}

/// A store whose keys all begin with something that tests of many stores know nothing of.
pub struct Prefixed {
    pub inner: Arc<dyn Provider>,
    pub prefix: &'static str,
}

impl Prefixed {
    fn remote(&self, remote: &Remote) -> Remote {
        Remote { key: format!("{}{}", self.prefix, remote.key), ..remote.clone() }
    }
}

#[async_trait]
impl Provider for Prefixed {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let prefixed = |key: &Key| Key { name: format!("{}{}", self.prefix, key.name), ..key.clone() };
        self.inner.fetch(&keys.iter().map(prefixed).collect::<Vec<_>>()).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.inner.find(query, at).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.inner.push(&Push { remote: self.remote(&push.remote), ..push.clone() }).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.inner.delete(&self.remote(remote), reach).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.inner.exists(&self.remote(remote)).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.inner.validate().await
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}
