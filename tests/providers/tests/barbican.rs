//! Barbican against the real one, with the real Keystone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_builders::key;
use keyferry_doubles::Server;
use keyferry_provider_barbican::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Key, Page, Provider, Push, Query, Reach, Remote,
    find_all,
};
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_tests::{Counter, context, front};
use keyferry_testkit::Barbican;
use serde_json::{Value, json};

fn credentials() -> MapCredentials {
    MapCredentials::new()
        .with("barbican/user", format!("{}\n", Barbican::USER))
        .with("barbican/password", format!("{}\n", Barbican::PASSWORD))
        .with("barbican/wrong", "canary-of-another")
}

fn by_password(user: &str, password: &str) -> Value {
    json!({"username": {"value": user}, "password": {"secretRef": {"name": "barbican", "key": password}}})
}

fn spec(barbican: &Barbican, auth: &Value) -> Value {
    json!({"authURL": barbican.auth_url(), "tenantName": Barbican::PROJECT, "domainName": "Default", "auth": auth})
}

async fn with(spec: &Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    keyferry_testkit::install_crypto_provider();
    (REGISTRATION.build)(spec, context(credentials, Arc::new(()))).await
}

async fn store(barbican: &Barbican) -> Arc<dyn Provider> {
    with(&spec(barbican, &by_password(Barbican::USER, "password")), credentials()).await.unwrap()
}

/// Barbican gives secrets ids of its own. Here they go by the names that the suite gives them.
struct Named {
    ids: Arc<Mutex<BTreeMap<String, String>>>,
    inner: Arc<dyn Provider>,
}

impl Named {
    /// An id that is nobody's where there is no secret of this name.
    fn id(&self, name: &str) -> String {
        let known = self.ids.lock().unwrap().get(name).cloned();
        known.unwrap_or_else(|| "6f3b0a51-8a3c-4f0e-9d5e-0c1d2e3f4a5b".to_owned())
    }

    fn name(&self, id: &str) -> String {
        let ids = self.ids.lock().unwrap();
        ids.iter().find(|(_, own)| *own == id).map_or_else(|| id.to_owned(), |(name, _)| name.clone())
    }
}

#[async_trait]
impl Provider for Named {
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
        let keys: Vec<Key> = keys.iter().map(|key| Key { name: self.id(&key.name), ..key.clone() }).collect();
        self.inner.fetch(&keys).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let Page { keys, next } = self.inner.find(query, at).await?;
        Ok(Page::of_names(keys.into_iter().map(|key| self.name(&key.name)), next))
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

struct Lab<'a> {
    barbican: &'a Barbican,
    ids: Arc<Mutex<BTreeMap<String, String>>>,
    /// Before Keystone and Barbican: it counts, and fails when it is told to.
    server: Server,
    /// The id of the application credential that it logs in with, and its secret.
    application: Mutex<(String, &'static str)>,
}

/// Secrets of application credentials, before a rotation and after it.
const APPLICATIONS: [&str; 2] = ["canary-of-the-first-application", "canary-of-the-next-application"];

impl<'a> Lab<'a> {
    async fn new(barbican: &'a Barbican) -> Self {
        keyferry_testkit::install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (keystone, url) = (barbican.auth_url().trim_end_matches("/v3").to_owned(), barbican.url().to_owned());
        let to = move |path: &str| if path.starts_with("/v3/") { keystone.clone() } else { url.clone() };
        let application = barbican.application_credential(APPLICATIONS[0]).await.unwrap();
        let application = Mutex::new((application, APPLICATIONS[0]));
        Self { barbican, ids: Arc::default(), server: front(http, to, barbican.url()), application }
    }
}

#[async_trait]
impl Fixture for Lab<'_> {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn name(&self) -> String {
        "barbican".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.server.clone())
    }

    fn credentials(&self) -> Vec<String> {
        APPLICATIONS.map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        keyferry_testkit::install_crypto_provider();
        let (id, secret) = self.application.lock().unwrap().clone();
        let auth = json!({"authType": "applicationCredential", "applicationCredentialID": {"value": id},
            "applicationCredentialSecret": {"secretRef": {"name": "barbican", "key": "application"}}});
        let spec = json!({"authURL": format!("{url}/v3"), "auth": auth});
        let credentials = MapCredentials::new().with("barbican/application", secret);
        let ctx = BuildContext { addresses, ..context(credentials, Arc::new(())) };
        Some(Arc::new(Named { ids: self.ids.clone(), inner: (REGISTRATION.build)(&spec, ctx).await.unwrap() }))
    }

    async fn rotate(&self) -> bool {
        let next = self.barbican.application_credential(APPLICATIONS[1]).await.unwrap();
        let (before, _) = std::mem::replace(&mut *self.application.lock().unwrap(), (next, APPLICATIONS[1]));
        self.barbican.delete_application_credential(&before).await.unwrap();
        true
    }

    /// It is one process of Python, with another behind it that it asks.
    fn at_once(&self) -> usize {
        16
    }

    fn keys(&self) -> usize {
        200
    }

    /// What the store asks for, and Barbican has at most.
    fn page(&self) -> Option<usize> {
        Some(100)
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    /// What has a value keeps it: another is another secret.
    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let id = self.barbican.put(name, Some(value)).await.unwrap();
        self.ids.lock().unwrap().insert(name.to_owned(), id);
        None
    }

    async fn delete(&self, name: &str) {
        let id = self.ids.lock().unwrap()[name].clone();
        self.barbican.delete(&id).await.unwrap();
    }

    fn takes_binary(&self) -> bool {
        true
    }

    /// The limit that the testbed sets; as it comes, Barbican keeps 20 kB.
    fn largest(&self) -> usize {
        90_000
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() <= 255
    }
}

#[tokio::test]
async fn barbican_behaves_as_a_store() {
    let barbican = Barbican::start().await.unwrap();
    suite(&Lab::new(&barbican).await).await;
    logins(&barbican).await;
    what_is_told_apart(&barbican).await;
    a_search_goes_through_all_pages(&barbican).await;
}

async fn logins(barbican: &Barbican) {
    let id = barbican.put("login", Some(b"canary")).await.unwrap();
    let application = barbican.application_credential("canary-of-an-application").await.unwrap();
    let of = |key: &str| json!({"secretRef": {"name": "barbican", "key": key}});
    let by_application = |secret: &str| {
        json!({"authType": "applicationCredential", "applicationCredentialID": {"value": application},
            "applicationCredentialSecret": of(secret)})
    };
    let mut from_secrets = by_password("", "password");
    from_secrets["username"] = of("user");
    let credentials = || credentials().with("barbican/application", "canary-of-an-application");
    for auth in [by_password(Barbican::USER, "password"), from_secrets, by_application("application")] {
        let mut spec = spec(barbican, &auth);
        if auth["authType"] == "applicationCredential" {
            spec = json!({"authURL": barbican.auth_url().trim_end_matches("/v3"), "region": "RegionOne", "auth": auth});
        }
        let store = with(&spec, credentials()).await.unwrap();
        store.validate().await.unwrap();
        assert_eq!(store.fetch(&[key(&id)]).await.unwrap()[0].as_ref().unwrap().value, "canary".into());
    }
    for auth in [by_password(Barbican::USER, "wrong"), by_password("nobody", "password"), by_application("wrong")] {
        let error = with(&spec(barbican, &auth), credentials()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let mut elsewhere = spec(barbican, &by_password(Barbican::USER, "password"));
    elsewhere["region"] = json!("RegionTwo");
    let error = with(&elsewhere, credentials()).await.err().unwrap();
    assert!(error.message().contains("in region \"RegionTwo\""), "{error}");
}

async fn what_is_told_apart(barbican: &Barbican) {
    let there = barbican.put("told-apart", Some(b"canary")).await.unwrap();
    let empty = barbican.put("told-apart", None).await.unwrap();
    let gone = barbican.put("told-apart", Some(b"canary")).await.unwrap();
    barbican.delete(&gone).await.unwrap();
    let href = format!("http://barbican:9311/v1/secrets/{there}");
    let kinds = async |store: &dyn Provider, ids: &[&str]| {
        let keys: Vec<Key> = ids.iter().copied().map(key).collect();
        let answers = store.fetch(&keys).await.unwrap();
        answers.into_iter().map(|answer| answer.err().map(|error| error.kind())).collect::<Vec<_>>()
    };
    let ids = [there.as_str(), &href, &empty, &gone, "no-such-id", "no id"];
    // A secret that waits for its value is there, and nothing is deleted for it.
    let (missing, wrong) = (Some(ErrorKind::NotFound), Some(ErrorKind::Invalid));
    let expected = [None, None, Some(ErrorKind::NoVersion), missing, missing, wrong];
    assert_eq!(kinds(&*store(barbican).await, &ids).await, expected);
    let reader = with(&spec(barbican, &by_password(Barbican::READER, "password")), credentials()).await.unwrap();
    reader.validate().await.unwrap();
    assert_eq!(kinds(&*reader, &ids[..1]).await, [Some(ErrorKind::Denied)]);
    let query = Query { name: Some("told".parse().unwrap()), ..Query::default() };
    assert_eq!(find_all(&*reader, &query).await.unwrap_err().kind(), ErrorKind::Denied);
}

async fn a_search_goes_through_all_pages(barbican: &Barbican) {
    // With what was kept before that is more than one page has. Names are not unique.
    for _ in 0..50 {
        barbican.put("paged", Some(b"v")).await.unwrap();
    }
    let calls = Arc::new(Counter::default());
    keyferry_testkit::install_crypto_provider();
    let spec = spec(barbican, &by_password(Barbican::USER, "password"));
    let store = (REGISTRATION.build)(&spec, context(credentials(), calls.clone())).await.unwrap();
    let query = Query { name: Some("^paged$".parse().unwrap()), ..Query::default() };
    let found = find_all(&*store, &query).await.unwrap();
    assert_eq!(found.len(), 50);
    store.fetch(&found[..3]).await.unwrap();
    let calls = calls.take();
    assert_eq!((calls["OpenStack/Barbican Authenticate"], calls["OpenStack/Barbican GetSecretPayload"]), (1, 3));
    assert!(calls["OpenStack/Barbican ListSecrets"] >= 2, "{calls:?}");
}
