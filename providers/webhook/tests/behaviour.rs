//! The behaviour that every store shares, and what is this store's own, against a service of ours: any HTTP service is one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    BuildContext, Capabilities, Error, ErrorKind, Key, Origin, Payload, Provider, Push, Reach, Remote,
};
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_webhook::REGISTRATION;
use serde_json::{Value, json};

#[derive(Default)]
struct Service {
    values: BTreeMap<String, Vec<u8>>,
    /// The token that it wants, where it wants one.
    token: Option<&'static str>,
    /// Keys that nobody may read.
    denied: BTreeSet<String>,
    /// What is answered to all, instead.
    always: Option<(u16, String)>,
    /// The last request: method, headers, body.
    last: (String, HeaderMap, Vec<u8>),
}

type Shared = Arc<Mutex<Service>>;

struct Double {
    server: Server,
    service: Shared,
}

impl Double {
    fn start() -> Self {
        let service = Shared::default();
        Self { server: Server::start(Router::new().fallback(handle).with_state(service.clone())), service }
    }

    fn set(&self, key: &str, value: &str) {
        self.service.lock().unwrap().values.insert(key.to_owned(), value.into());
    }

    fn spec(&self, more: Value) -> Value {
        spec_at(&self.server.url(), more)
    }

    async fn store(&self, more: Value) -> Arc<dyn Provider> {
        build(&self.spec(more), Some("team")).await.unwrap()
    }
}

fn spec_at(url: &str, more: Value) -> Value {
    let url = format!(
        "{url}/v?key={{{{ .remoteRef.key }}}}&property={{{{ .remoteRef.property }}}}&version={{{{ .remoteRef.version }}}}"
    );
    let mut spec = json!({"url": url, "result": {}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn build(spec: &Value, namespace: Option<&str>) -> Result<Arc<dyn Provider>, Error> {
    build_with(spec, namespace, "canary-token", Addresses::anywhere()).await
}

async fn build_with(
    spec: &Value,
    namespace: Option<&str>,
    token: &str,
    addresses: Addresses,
) -> Result<Arc<dyn Provider>, Error> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let credentials = MapCredentials::new()
        .with("login/token", token)
        .with("login/labels/external-secrets.io/type", "webhook")
        .with("plain/token", "canary-plain")
        .with("plain/labels/external-secrets.io/type", "other");
    let mut ctx = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    ctx.addresses = addresses;
    ctx.caller.namespace = namespace.map(str::to_owned);
    (REGISTRATION.build)(spec, ctx).await
}

async fn handle(State(service): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let url = reqwest::Url::parse(&format!("http://x{uri}")).unwrap();
    let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let mut service = service.lock().unwrap();
    let is_known = service.token.is_none_or(|token| headers["authorization"] == format!("Bearer {token}"));
    service.last = (method.to_string(), headers, body.to_vec());
    let (status, answer) = match &service.always {
        Some((status, answer)) => (*status, answer.clone().into_bytes()),
        None if !is_known => (401, Vec::new()),
        None if asked.get("key").is_some_and(|key| service.denied.contains(key)) => (403, Vec::new()),
        None => {
            let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
            let key = match of("property").as_str() {
                "" => of("key"),
                property => format!("{}/{property}", of("key")),
            };
            match method.as_str() {
                "GET" => service.values.get(&key).map_or((404, Vec::new()), |value| (200, value.clone())),
                "DELETE" => (if service.values.remove(&key).is_some() { 204 } else { 404 }, Vec::new()),
                _ => {
                    service.values.insert(key, body.to_vec());
                    (201, Vec::new())
                }
            }
        }
    };
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(answer)).unwrap()
}

/// The tokens that a service wants before a rotation and after it.
const TOKENS: [&str; 2] = ["canary-of-the-token", "canary-of-the-next"];

#[async_trait]
impl Fixture for Double {
    fn server(&self) -> Option<Server> {
        Some(self.server.clone())
    }

    fn credentials(&self) -> Vec<String> {
        TOKENS.map(str::to_owned).into()
    }

    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let token = self.service.lock().unwrap().token.unwrap_or(TOKENS[0]);
        let more = json!({
            "headers": {"Authorization": "Bearer {{ .auth.token }}"},
            "secrets": [{"name": "auth", "secretRef": {"name": "login"}}],
        });
        Some(build_with(&spec_at(url, more), Some("team"), token, addresses).await.unwrap())
    }

    async fn deny(&self, name: &str) -> bool {
        self.service.lock().unwrap().denied.insert(name.to_owned());
        true
    }

    async fn rotate(&self) -> bool {
        self.service.lock().unwrap().token = Some(TOKENS[1]);
        true
    }

    /// Without a path into it, any body is a value.
    fn knows_garbage(&self) -> bool {
        false
    }

    /// One each.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.service.lock().unwrap().values.insert(name.to_owned(), value.to_vec());
        None
    }

    async fn delete(&self, name: &str) {
        self.service.lock().unwrap().values.remove(name);
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn keeps_other_properties(&self) -> bool {
        false
    }

    fn marks(&self) -> bool {
        false
    }
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

async fn read(store: &dyn Provider, key: &Key) -> Result<String, Error> {
    let fetched = store.fetch(std::slice::from_ref(key)).await?.remove(0)?;
    Ok(fetched.value.expose_str().unwrap().to_owned())
}

#[tokio::test]
async fn behaves_as_a_store() {
    let double = Double::start();
    double.service.lock().unwrap().token = Some(TOKENS[0]);
    suite(&double).await;
}

#[tokio::test]
async fn a_property_goes_into_url_and_path() {
    let double = Double::start();
    double.set("db/user", r#"{"data":{"login":{"user":"u","n":12345678901234567890,"f":1.5}}}"#);
    double.set("db/n", r#"{"data":{"login":{"n":12345678901234567890}}}"#);
    double.set("db/f", r#"{"data":{"login":{"f":1.5}}}"#);
    let path = json!({"result": {"jsonPath": "$.data.login.{{ .remoteRef.property }}"}});
    let store = double.store(path).await;
    for (property, expected) in [("user", "u"), ("n", "12345678901234567890"), ("f", "1.5")] {
        assert_eq!(read(&*store, &key("db").with_property(property)).await.as_deref(), Ok(expected), "{property}");
    }
    double.set("db/x", "canary-no-json");
    let error = read(&*store, &key("db").with_property("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!error.message().contains("canary"), "{error}");
    double.set("db/y", r#"{"data":{"login":{}}}"#);
    assert_eq!(read(&*store, &key("db").with_property("y")).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn headers_and_body_are_templates_with_secrets() {
    let double = Double::start();
    double.set("k", "v");
    let more = json!({
        "method": "GET",
        "headers": {"Authorization": "Bearer {{ .auth.token }}", "X-Who": "{{ .remoteRef.namespace }}/{{ .remoteRef.key }}"},
        "body": "{\"key\":\"{{ .remoteRef.key }}\"}",
        "secrets": [{"name": "auth", "secretRef": {"name": "login"}}],
    });
    let store = double.store(more.clone()).await;
    assert_eq!(read(&*store, &key("k")).await.as_deref(), Ok("v"));
    let (method, headers, body) = double.service.lock().unwrap().last.clone();
    assert_eq!((method.as_str(), body.as_slice()), ("GET", &br#"{"key":"k"}"#[..]));
    assert_eq!(headers["authorization"], "Bearer canary-token");
    assert_eq!(headers["x-who"], "team/k");

    let mut unlabelled = double.spec(more.clone());
    unlabelled["secrets"][0]["secretRef"]["name"] = json!("plain");
    let error = build(&unlabelled, Some("team")).await.err().unwrap();
    assert!(
        error.message().contains("external-secrets.io/type: webhook") && !error.message().contains("canary"),
        "{error}"
    );
    let error = build(&double.spec(more), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Referent, "who asks for the namespace is built for each");
}

#[tokio::test]
async fn what_is_pushed_is_the_body_whatever_the_key_is_called() {
    let double = Double::start();
    let store = double.store(json!({})).await;
    let push = |key: &str| Push {
        remote: Remote { key: key.into(), ..Remote::default() },
        payload: Payload::Value("pushed".into()),
        origin: Origin::default(),
        reach: Reach::Ours,
    };
    for name in ["plain", "tls.key", "a-b/c d"] {
        store.push(&push(name)).await.unwrap();
        assert_eq!(read(&*store, &key(name)).await.as_deref(), Ok("pushed"), "{name}");
    }
    let of_template =
        double.store(json!({"method": "PUT", "body": "v={{ .remoteRef.plain }} of {{ .remoteRef.remoteKey }}"})).await;
    of_template.push(&push("plain")).await.unwrap();
    let (method, _, body) = double.service.lock().unwrap().last.clone();
    assert_eq!((method.as_str(), body.as_slice()), ("PUT", &b"v=pushed of plain"[..]));
}

/// A URL ends up in the log of every server and proxy on the way.
#[tokio::test]
async fn no_value_takes_the_place_of_what_a_url_says() {
    let double = Double::start();
    let url = json!({"url": format!("{}/{{{{ .remoteRef.key }}}}/{{{{ .remoteRef.remoteKey }}}}{{{{ .remoteRef.property }}}}{{{{ .remoteRef.version }}}}", double.server.url())});
    let plain = double.store(url.clone()).await;
    let mut more = url;
    more["body"] = json!("{{ index .remoteRef .remoteRef.remoteKey }}");
    let of_template = double.store(more).await;
    for name in ["key", "version", "property", "remoteKey", "namespace"] {
        let push = Push {
            remote: Remote { key: name.into(), ..Remote::default() },
            payload: Payload::Value("canary".into()),
            origin: Origin::default(),
            reach: Reach::Ours,
        };
        double.server.take_calls();
        plain.push(&push).await.unwrap();
        let calls = double.server.take_calls();
        assert_eq!(calls.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), [format!("/{name}/{name}")]);
        let (_, _, body) = double.service.lock().unwrap().last.clone();
        assert_eq!(body, b"canary");
        let error = of_template.push(&push).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("another remoteKey"), "{error}");
        assert!(double.server.take_calls().is_empty(), "nothing is sent");
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let double = Double::start();
    let store = double.store(json!({})).await;
    for (status, expected) in [
        (404, ErrorKind::NotFound),
        (304, ErrorKind::Invalid),
        (302, ErrorKind::Invalid),
        (400, ErrorKind::Invalid),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::Denied),
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Unavailable),
        (504, ErrorKind::Timeout),
    ] {
        double.service.lock().unwrap().always = Some((status, "canary".into()));
        let error = read(&*store, &key("k")).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_slip_in_a_template_sends_nothing() {
    let double = Double::start();
    double.set("k", "v");
    for more in [
        json!({"url": format!("{}/v?key={{{{ .remoteRef.kye }}}}", double.server.url())}),
        json!({"headers": {"Authorization": "Bearer {{ .nobody.token }}"}}),
        json!({"url": "{{ .remoteRef.key }}"}),
        json!({"url": "ftp://{{ .remoteRef.key }}"}),
    ] {
        let error = read(&*double.store(more.clone()).await, &key("k")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{more}: {error}");
        assert!(error.message().contains("spec.provider.webhook."), "{error}");
    }
    assert!(double.server.calls().is_empty());
    let error = build(&double.spec(json!({"body": "{{ .a"})), Some("team")).await.err().unwrap();
    assert!(error.message().contains("spec.provider.webhook.body: line 1"), "{error}");
}

#[tokio::test]
async fn no_key_leads_a_store_of_a_namespace_to_where_it_must_not() {
    let double = Double::start();
    let credentials = Arc::new(MapCredentials::new());
    let spec = json!({"url": "http://{{ .remoteRef.key }}/v", "result": {}});
    let mut ctx = BuildContext::new(credentials, Arc::new(()));
    ctx.addresses = Addresses::default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let store = (REGISTRATION.build)(&spec, ctx).await.unwrap();
    for name in ["127.0.0.1", "169.254.169.254", "localhost"] {
        let error = read(&*store, &key(name)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("leads to"), "{name}: {error}");
    }
    assert!(store.validate().await.is_ok(), "where a template says where it leads, nothing is known");
    drop(double);
}

#[tokio::test]
async fn a_check_says_whether_somebody_is_there_at_the_port_of_the_scheme() {
    let double = Double::start();
    assert!(double.store(json!({})).await.validate().await.is_ok());
    assert!(double.server.calls().is_empty(), "nothing is asked");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", free.local_addr().unwrap());
    drop(free);
    let error = double.store(json!({"url": url})).await.validate().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("refuses connections"), "{error}");
}

/// What a generator of this spec makes in front of `double`.
async fn generated(double: &Double, more: Value) -> Result<BTreeMap<String, String>, Error> {
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut spec = json!({"url": format!("{}/v?key=k", double.server.url()), "result": {}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let ctx = BuildContext::new(Arc::new(MapCredentials::new()), Arc::new(())).trusted();
    let made = (keyferry_provider_webhook::GENERATOR.build)(&spec, ctx).unwrap().make(&()).await?;
    Ok(made.values.into_iter().map(|(key, value)| (key, value.expose_str().unwrap().to_owned())).collect())
}

#[tokio::test]
async fn the_generator_takes_the_fields_of_an_object() {
    let double = Double::start();
    double.set("k", r#"{"user":"u","n":1.50,"data":{"inner":"x"}}"#);
    let all = generated(&double, json!({})).await.unwrap();
    assert_eq!(all["user"], "u");
    assert_eq!(all["n"], "1.50");
    let inner = generated(&double, json!({"result": {"jsonPath": "$.data"}})).await.unwrap();
    assert_eq!(inner, [("inner".to_owned(), "x".to_owned())].into());
    let error = generated(&double, json!({"result": {"jsonPath": "$.user"}})).await.unwrap_err();
    assert!(error.message().starts_with("spec.result.jsonPath"), "{error}");
    let error = generated(&double, json!({"url": ""})).await.unwrap_err();
    assert_eq!(error.message(), "spec.url is missing");
}
