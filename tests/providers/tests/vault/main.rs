//! The vault store against a real OpenBao, and its logins by Kubernetes against a real API server.
//!
//! Modules, in reading order: `logins` logins of users, of the cluster and by certificates, `writes` pushes and deletions.

mod logins;
mod writes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_builders::key;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    BuildContext, Capabilities, Credentials, Error, ErrorKind, Key, Provider, Query, Registration, find_all,
};
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_tests::{Counter, Relay, context};
use keyferry_provider_vault::{OPEN_BAO, REGISTRATION};
use keyferry_testkit::{OpenBao, OpenBaoOptions, Testbed, Vault};
use reqwest::Method;
use serde_json::{Value, json};

const CANARY: &str = "canary-e03d77";

fn random() -> String {
    format!("{:08x}", rand::random::<u32>())
}

async fn request(vault: &Vault, method: &str, path: &str, body: Value) -> Value {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let body = (!body.is_null()).then_some(&body);
    vault.request(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
}

async fn build(spec: Value, credentials: impl Credentials + 'static) -> Result<Arc<dyn Provider>, Error> {
    keyferry_testkit::install_crypto_provider();
    (REGISTRATION.build)(&spec, context(credentials, Arc::new(()))).await.inspect_err(clean)
}

/// A store of the testbed's OpenBao that logs in with the root token.
async fn with_root(testbed: &Testbed, more: Value) -> Arc<dyn Provider> {
    with_token(testbed, &testbed.vault_token(), more).await
}

async fn with_token(testbed: &Testbed, token: &str, more: Value) -> Arc<dyn Provider> {
    let mut spec = json!({"server": testbed.vault_url(), "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    build(spec, MapCredentials::new().with("t/k", token)).await.unwrap()
}

async fn fetch(provider: &dyn Provider, key: &Key) -> Result<String, Error> {
    let result = provider.fetch(std::slice::from_ref(key)).await.and_then(|mut results| results.remove(0));
    let fetched = result.inspect_err(clean)?;
    Ok(fetched.value.expose_str().unwrap().to_owned())
}

/// No message holds a value, a credential, or one of OpenBao's tokens (`s.` and 24 letters).
fn clean(error: &Error) {
    let token = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 20;
    let message = error.message();
    assert!(!message.contains(CANARY) && !message.split("s.").skip(1).any(token), "{error}");
}

#[track_caller]
fn expect(result: Result<String, Error>, kind: ErrorKind, words: &str) {
    let error = result.expect_err("a value came back");
    assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{:?}: {error}", error.kind());
}

/// A KV engine of one version, of its own.
struct Kv {
    /// Under which key of `spec.provider` it is.
    registration: &'static Registration,
    vault: Vault,
    url: String,
    token: String,
    /// What it logs in with, the last one; those before are not good any more.
    tokens: Mutex<Vec<String>>,
    mount: String,
    version: u8,
    /// Before OpenBao: it counts, and fails when it is told to.
    server: Server,
}

impl Kv {
    async fn new(version: u8) -> Self {
        let testbed = Testbed::shared();
        let (vault, mount) = (testbed.vault(), format!("suite/kv{version}-{}", random()));
        vault.mount(&mount, "kv", json!({"version": version.to_string()})).await.unwrap();
        if version == 2 {
            wait_for_upgrade(&vault, &mount).await;
        }
        let server = Server::before(&testbed.vault_url());
        let (url, token) = (server.url(), testbed.vault_token());
        let tokens = Mutex::new(vec![token.clone()]);
        Self { registration: &REGISTRATION, vault, url, token, tokens, mount, version, server }
    }

    /// Logs in with a token of its own from now on, which may do everything but these.
    async fn take_token(&self, denied: &[String]) {
        let denied: String =
            denied.iter().map(|path| format!("path \"{path}\" {{ capabilities = [\"deny\"] }}\n")).collect();
        let all = r#"path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }"#;
        let policy = format!("suite-{}", random());
        self.vault.write_policy(&policy, format!("{all}\n{denied}")).await.unwrap();
        let token = self.vault.create_token(&[policy.as_str()]).await.unwrap();
        self.tokens.lock().unwrap().push(token);
    }

    fn last_token(&self) -> String {
        self.tokens.lock().unwrap().last().expect("it began with one").clone()
    }

    /// The path of a secret's value, encoded by another hand than the provider's.
    fn path(&self, name: &str) -> String {
        let mut url = reqwest::Url::parse("http://x").unwrap();
        url.path_segments_mut().unwrap().extend(name.split('/'));
        let data = if self.version == 2 { "/data" } else { "" };
        format!("{}{data}{}", self.mount, url.path())
    }
}

/// A new engine of version 2 answers 400 until it has set itself up.
async fn wait_for_upgrade(vault: &Vault, mount: &str) {
    for _ in 0..2400 {
        let (status, _) = vault.send(Method::GET, &format!("{mount}/config"), None).await.unwrap();
        if status.is_success() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{mount} is not ready");
}

#[async_trait]
impl Fixture for Kv {
    fn registered(&self) -> Capabilities {
        (self.registration.capabilities)(&json!({"version": format!("v{}", self.version)}))
    }

    fn name(&self) -> String {
        format!("{} (KV {})", self.registration.name, self.version)
    }

    fn server(&self) -> Option<Server> {
        Some(self.server.clone())
    }

    fn credentials(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        self.provider_at(&self.url, Addresses::anywhere()).await.unwrap()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        keyferry_testkit::install_crypto_provider();
        let spec = json!({
            "server": url, "path": self.mount, "version": format!("v{}", self.version),
            "auth": {"tokenSecretRef": {"name": "t", "key": "k"}},
        });
        let credentials = MapCredentials::new().with("t/k", format!("{}\n", self.last_token()));
        let context = BuildContext { addresses, ..context(credentials, Arc::new(())) };
        Some((self.registration.build)(&spec, context).await.unwrap())
    }

    async fn deny(&self, name: &str) -> bool {
        self.take_token(&[self.path(name)]).await;
        true
    }

    async fn rotate(&self) -> bool {
        let before = self.last_token();
        assert_ne!(before, self.token, "the testbed's own token stays");
        self.take_token(&[]).await;
        request(&self.vault, "POST", "auth/token/revoke", json!({ "token": before })).await;
        true
    }

    fn takes_empty(&self) -> bool {
        true
    }

    /// One each; a token needs no login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let fields = json!({"value": std::str::from_utf8(value).unwrap()});
        let body = if self.version == 2 { json!({"data": fields}) } else { fields };
        let answer = request(&self.vault, "POST", &self.path(name), body).await;
        answer.pointer("/data/version").map(Value::to_string)
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.put(name, value).await;
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        let path = format!("{}/metadata/{name}", self.mount);
        request(&self.vault, "POST", &path, json!({ "custom_metadata": tags })).await;
    }

    async fn delete(&self, name: &str) {
        request(&self.vault, "DELETE", &self.path(name), Value::Null).await;
    }

    fn property(&self) -> Option<String> {
        Some("value".to_owned())
    }

    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        // Go's escapes, from another hand than the provider's.
        let text = serde_json::to_string(std::str::from_utf8(value).unwrap()).unwrap();
        let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        let text = text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        format!("{{\"value\":{text}}}").into_bytes()
    }
}

#[tokio::test]
async fn kv_1_behaves_as_a_store() {
    suite(&Kv::new(1).await).await;
}

#[tokio::test]
async fn kv_2_behaves_as_a_store() {
    suite(&Kv::new(2).await).await;
}

#[tokio::test]
async fn open_bao_behaves_as_a_store_under_its_own_key() {
    suite(&Kv { registration: &OPEN_BAO, ..Kv::new(2).await }).await;
}

#[tokio::test]
async fn a_whole_secret_is_compact_sorted_json() {
    let testbed = Testbed::shared();
    let name = random();
    let data = json!({"z": 7, "a": {"d": [1, "x"], "c": null}, "t": true, "f": 1.5, "dot.key": "<&>"});
    testbed.vault().put(&name, data).await.unwrap();
    let provider = with_root(testbed, json!({"path": "secret"})).await;
    let value = fetch(&*provider, &key(&name)).await.unwrap();
    assert_eq!(value, r#"{"a":{"c":null,"d":[1,"x"]},"dot.key":"\u003c\u0026\u003e","f":1.5,"t":true,"z":7}"#);
}

/// Version 2 writes numbers as Go does, and rounds them; version 1 keeps them as they were written. `extract` writes both
/// anew, from what stands here.
#[tokio::test]
async fn numbers_as_each_engine_keeps_them() {
    let written = r#"{"e":1.0e21,"f":1.0,"n":9007199254740993,"obj":{"small":1e-7,"x":1.50}}"#;
    let rounded = r#"{"e":1e+21,"f":1,"n":9007199254740992,"obj":{"small":1e-7,"x":1.5}}"#;
    for (version, kept) in [(1, written), (2, rounded)] {
        let kv = Kv::new(version).await;
        let body = if version == 2 { format!("{{\"data\":{written}}}") } else { written.to_owned() };
        let url = format!("{}/v1/{}", kv.url, kv.path("numbers"));
        let request = reqwest::Client::new().post(url).header("x-vault-token", &kv.token).body(body);
        assert!(request.send().await.unwrap().status().is_success());
        let provider = kv.provider().await;
        assert_eq!(fetch(&*provider, &key("numbers")).await.unwrap(), kept, "version {version}");
        assert!(provider.dialect().extract_writes_anew);
    }
}

/// The names that a search finds are the path as it was written, a slash, and what is below.
#[tokio::test]
async fn a_search_keeps_the_slashes_of_its_path() {
    let testbed = Testbed::shared();
    let (root, elsewhere) = (random(), random());
    for name in [format!("{root}/a"), format!("{root}/sub/b"), elsewhere.clone()] {
        testbed.vault().put(&name, json!({"name": name})).await.unwrap();
    }
    let provider = with_root(testbed, json!({"path": "secret"})).await;
    let found = async |path: Option<String>, pattern: Option<&str>| {
        let name = pattern.map(|pattern| pattern.parse().unwrap());
        let keys = find_all(&*provider, &Query { name, path, ..Query::default() }).await.inspect_err(clean).unwrap();
        for key in keys.iter().filter(|key| key.name.contains(&root)) {
            fetch(&*provider, key).await.unwrap();
        }
        keys.into_iter().map(|key| key.name).collect::<Vec<_>>()
    };
    for path in [root.clone(), format!("{root}/"), format!("/{root}"), format!("./{root}//")] {
        let names = [format!("{path}/a"), format!("{path}/sub/b")];
        assert_eq!(found(Some(path.clone()), Some(".*")).await, names);
        assert_eq!(found(Some(path.clone()), None).await, names, "all below the path");
        assert_eq!(found(Some(path.clone()), Some(&format!("^{}/a$", path.replace('.', r"\.")))).await, names[..1]);
    }
    let all = found(None, Some(&format!("^({root}/|{elsewhere}$)"))).await;
    assert_eq!(all.len(), 3, "{all:?}");
    let climbs = Query { path: Some(format!("{root}/..")), ..Query::default() };
    assert_eq!(find_all(&*provider, &climbs).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_gone_and_what_never_was() {
    let testbed = Testbed::shared();
    let (vault, name) = (testbed.vault(), random());
    let provider = with_root(testbed, json!({"path": "secret"})).await;
    expect(fetch(&*provider, &key(&name)).await, ErrorKind::NotFound, &format!("no secret at secret/data/{name}"));

    for n in 0..3 {
        vault.put(&name, json!({"a": n})).await.unwrap();
    }
    let at = |version: &str| Key { version: Some(version.into()), ..key(&name) };
    expect(fetch(&*provider, &at("9")).await, ErrorKind::NoVersion, "no version 9");
    expect(fetch(&*provider, &at("one")).await, ErrorKind::NoVersion, "is not a number");
    expect(fetch(&*provider, &at("99999999999999999999")).await, ErrorKind::NoVersion, "is not a number");
    assert_eq!(fetch(&*provider, &at("1")).await.unwrap(), r#"{"a":0}"#);

    request(&vault, "POST", &format!("secret/destroy/{name}"), json!({"versions": [1]})).await;
    expect(fetch(&*provider, &at("1")).await, ErrorKind::NoVersion, "destroyed");
    assert_eq!(fetch(&*provider, &key(&name)).await.unwrap(), r#"{"a":2}"#);
    request(&vault, "DELETE", &format!("secret/data/{name}"), Value::Null).await;
    expect(fetch(&*provider, &key(&name)).await, ErrorKind::NotFound, "deleted");
    assert_eq!(fetch(&*provider, &at("2")).await.unwrap(), r#"{"a":1}"#);
}

#[tokio::test]
async fn metadata() {
    let testbed = Testbed::shared();
    let (vault, name) = (testbed.vault(), random());
    vault.put(&name, json!({"password": CANARY})).await.unwrap();
    let body = json!({"custom_metadata": {"owner": "team <a>"}, "delete_version_after": "1h0m0s"});
    request(&vault, "POST", &format!("secret/metadata/{name}"), body).await;
    for more in [json!({"path": "secret"}), json!({})] {
        let prefix = if more.get("path").is_some() { "" } else { "secret/" };
        let provider = with_root(testbed, more).await;
        let described = |name: &str| Key { metadata: true, ..key(format!("{prefix}{name}")) };
        let metadata = fetch(&*provider, &described(&name)).await.unwrap();
        let metadata: BTreeMap<String, String> = serde_json::from_str(&metadata).unwrap();
        assert_eq!(
            metadata.keys().collect::<Vec<_>>(),
            ["created_time", "current_version", "delete_version_after", "owner"]
        );
        assert_eq!((&*metadata["current_version"], &*metadata["owner"]), ("1", "team <a>"));
        // Nothing is removed for missing metadata.
        expect(fetch(&*provider, &described(&random())).await, ErrorKind::Invalid, "no such secret");
    }
}

#[tokio::test]
async fn what_is_not_there_for_another_reason_is_not_missing() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let (v1, name) = (format!("one-{}", random()), random());
    vault.mount(&v1, "kv", json!({"version": "1"})).await.unwrap();
    request(&vault, "POST", &format!("{v1}/{name}"), json!({"a": "b"})).await;
    vault.put(&name, json!({"a": "b"})).await.unwrap();

    let read = async |more: Value, name: &str| fetch(&*with_root(testbed, more).await, &key(name)).await;
    expect(read(json!({"path": "nowhere"}), &name).await, ErrorKind::Invalid, "no KV engine is mounted at \"nowhere\"");
    expect(read(json!({}), &format!("nowhere/{name}")).await, ErrorKind::Invalid, "no KV engine is mounted at");
    expect(read(json!({"path": v1}), &name).await, ErrorKind::Invalid, "is of version 1");
    expect(read(json!({"path": "secret", "version": "v1"}), &name).await, ErrorKind::Invalid, "is of version 2");
    expect(read(json!({"path": "secret/sub"}), &name).await, ErrorKind::Invalid, "the whole mount");
    expect(read(json!({"path": "sys"}), "nothing").await, ErrorKind::Invalid, "spec.provider.vault.path");
    expect(read(json!({"namespace": "nowhere", "path": "secret"}), &name).await, ErrorKind::Invalid, "namespace");
    assert_eq!(read(json!({"path": v1, "version": "v1"}), &name).await.unwrap(), r#"{"a":"b"}"#);
}

#[tokio::test]
async fn keys_that_tidy_up_or_climb() {
    let testbed = Testbed::shared();
    let name = random();
    testbed.vault().put(&format!("{name}/b"), json!({"a": "b"})).await.unwrap();
    let provider = with_root(testbed, json!({"path": "secret"})).await;
    for tidy in ["/b", "//b", "/./b", "/b/"] {
        assert_eq!(fetch(&*provider, &key(format!("{name}{tidy}"))).await.unwrap(), r#"{"a":"b"}"#, "{tidy}");
    }
    for climbs in ["../../sys/mounts", "x/../b", "a\nb", "a\0b", ""] {
        expect(fetch(&*provider, &key(climbs)).await, ErrorKind::Invalid, "");
    }
}

#[tokio::test]
async fn a_denied_key_is_named_and_costs_no_login() {
    let testbed = Testbed::shared();
    let (vault, name) = (testbed.vault(), random());
    vault.put(&name, json!({"a": CANARY})).await.unwrap();
    let rules = format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}");
    vault.write_policy(&name, rules).await.unwrap();
    let approle = AppRole::new(&vault, &name, json!({})).await;
    let relay = Relay::to(testbed.vault_url().trim_start_matches("http://")).await;
    let counter = Arc::new(Counter::default());
    let provider = approle.provider(&relay.url(), counter.clone()).await;
    relay.take();

    for _ in 0..3 {
        let denied = fetch(&*provider, &key(format!("{name}-other"))).await;
        expect(denied, ErrorKind::Denied, &format!("must allow read on secret/data/{name}-other"));
    }
    let read = format!("GET /v1/secret/data/{name}-other");
    assert_eq!(relay.take(), [&*read, "GET /v1/auth/token/lookup-self", &*read, &*read]);
    assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
    let missing = Key { metadata: true, ..key(&name) };
    expect(fetch(&*provider, &missing).await, ErrorKind::Denied, &format!("secret/metadata/{name}"));
}

/// A role of the approle method at a path of its own.
struct AppRole {
    mount: String,
    role: String,
    secret: String,
}

impl AppRole {
    async fn new(vault: &Vault, policy: &str, settings: Value) -> Self {
        let mount = format!("approle-{}", random());
        vault.enable_auth(&mount, "approle").await.unwrap();
        let mut role = json!({"token_policies": [policy]});
        role.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        request(vault, "POST", &format!("auth/{mount}/role/r"), role).await;
        let id = request(vault, "GET", &format!("auth/{mount}/role/r/role-id"), Value::Null).await;
        let secret = request(vault, "POST", &format!("auth/{mount}/role/r/secret-id"), json!({})).await;
        Self { mount, role: text(&id, "/data/role_id").to_owned(), secret: text(&secret, "/data/secret_id").to_owned() }
    }

    fn spec(&self, server: &str) -> Value {
        json!({"server": server, "path": "secret", "auth": {"appRole": {
            "path": self.mount, "roleId": self.role, "secretRef": {"name": "approle", "key": "secret"}}}})
    }

    async fn try_provider(&self, server: &str, calls: Arc<Counter>) -> Result<Arc<dyn Provider>, Error> {
        keyferry_testkit::install_crypto_provider();
        let credentials = MapCredentials::new().with("approle/secret", &self.secret);
        (REGISTRATION.build)(&self.spec(server), context(credentials, calls)).await.inspect_err(clean)
    }

    async fn provider(&self, server: &str, calls: Arc<Counter>) -> Arc<dyn Provider> {
        self.try_provider(server, calls).await.unwrap()
    }
}

/// A secret that everybody with the policy of its name may read.
async fn readable(vault: &Vault) -> String {
    let name = random();
    vault.put(&name, json!({"a": CANARY})).await.unwrap();
    vault.write_policy(&name, format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}")).await.unwrap();
    name
}

#[tokio::test]
async fn one_login_for_any_number_of_refreshes() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let approle = AppRole::new(&vault, &name, json!({})).await;
    let relay = Relay::to(testbed.vault_url().trim_start_matches("http://")).await;
    let counter = Arc::new(Counter::default());
    let provider = approle.provider(&relay.url(), counter.clone()).await;
    for _ in 0..50 {
        fetch(&*provider, &key(&name)).await.unwrap();
    }
    provider.validate().await.unwrap();
    let mut wire: BTreeMap<String, usize> = BTreeMap::new();
    for request in relay.take() {
        *wire.entry(request).or_default() += 1;
    }
    let expected = [
        (format!("GET /v1/secret/data/{name}"), 50),
        (format!("POST /v1/auth/{}/login", approle.mount), 1),
        ("GET /v1/auth/token/lookup-self".to_owned(), 1),
    ];
    assert_eq!(wire, BTreeMap::from(expected));
    let reported = [("Login", 1), ("LookupSelf", 1), ("ReadSecretData", 50)];
    assert_eq!(counter.take(), reported.map(|(name, n)| (format!("HashiCorp/Vault {name}"), n)).into());
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once_for_all_who_wait() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let approle = AppRole::new(&vault, &name, json!({})).await;
    let counter = Arc::new(Counter::default());
    let provider = approle.provider(&testbed.vault_url(), counter.clone()).await;
    counter.take();
    for _ in 0..2 {
        request(&vault, "POST", &format!("sys/leases/revoke-prefix/auth/{}", approle.mount), Value::Null).await;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (provider, key) = (provider.clone(), key(&name));
                tokio::spawn(async move { fetch(&*provider, &key).await })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap().unwrap().contains(CANARY));
        }
        let calls = counter.take();
        assert_eq!((calls["HashiCorp/Vault Login"], calls.contains_key("!HashiCorp/Vault LookupSelf")), (1, true));
        assert_eq!(calls["!HashiCorp/Vault LookupSelf"] + calls["HashiCorp/Vault LookupSelf"], 2, "{calls:?}");
        // The server was just asked about the new token; for a while its answer counts.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    // A check of the store notices it as well.
    request(&vault, "POST", &format!("sys/leases/revoke-prefix/auth/{}", approle.mount), Value::Null).await;
    provider.validate().await.unwrap();
    assert_eq!(counter.take()["HashiCorp/Vault Login"], 1);
}

#[tokio::test]
async fn a_token_is_renewed_until_its_last_day_and_then_replaced() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    // Long, because machines are busy: who is late for its renewal logs in, as it should.
    let ttl = Duration::from_secs(8);
    let approle = AppRole::new(&vault, &name, json!({"token_ttl": "8s", "token_max_ttl": "20s"})).await;
    let counter = Arc::new(Counter::default());
    let provider = approle.provider(&testbed.vault_url(), counter.clone()).await;
    let (began, mut reads, mut calls) = (Instant::now(), 0, BTreeMap::<String, usize>::new());
    let of = |calls: &BTreeMap<String, usize>, name: &str| {
        calls.get(&format!("HashiCorp/Vault {name}")).copied().unwrap_or_default()
    };
    while of(&calls, "Login") < 2 {
        assert!(began.elapsed() < Duration::from_secs(120), "its last day never comes: {calls:?}");
        fetch(&*provider, &key(&name)).await.unwrap();
        reads += 1;
        counter.take().into_iter().for_each(|(name, count)| *calls.entry(name).or_default() += count);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(of(&calls, "RenewSelf") >= 1, "{calls:?}");
    assert!(began.elapsed() > ttl, "it was replaced before it ended: after {:?}", began.elapsed());
    assert_eq!(of(&calls, "ReadSecretData"), reads, "{calls:?}");

    // A token that expired unused is replaced too.
    tokio::time::sleep(ttl + Duration::from_secs(1)).await;
    fetch(&*provider, &key(&name)).await.unwrap();
    assert_eq!(counter.take()["HashiCorp/Vault Login"], 1);
}

#[tokio::test]
async fn batch_tokens_and_tokens_of_few_uses() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    for settings in [json!({"token_type": "batch", "token_ttl": "60s"}), json!({"token_num_uses": 2})] {
        let approle = AppRole::new(&vault, &name, settings).await;
        let provider = approle.provider(&testbed.vault_url(), Arc::default()).await;
        for _ in 0..5 {
            assert!(fetch(&*provider, &key(&name)).await.unwrap().contains(CANARY));
        }
        provider.validate().await.unwrap();
    }
}

#[tokio::test]
async fn a_policy_without_lookup_does_not_cause_a_login_storm() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let approle = AppRole::new(&vault, &name, json!({"token_no_default_policy": true})).await;
    let counter = Arc::new(Counter::default());
    let provider = approle.provider(&testbed.vault_url(), counter.clone()).await;
    for _ in 0..20 {
        expect(fetch(&*provider, &key("elsewhere")).await, ErrorKind::Denied, "secret/data/elsewhere");
    }
    provider.validate().await.unwrap();
    assert_eq!(counter.take()["HashiCorp/Vault Login"], 1);
    assert!(fetch(&*provider, &key(&name)).await.is_ok());
    // A token from a secret is judged alike.
    let token = vault.create_token(&[&name]).await.unwrap();
    let provider = with_token(testbed, &token, json!({"path": "secret"})).await;
    expect(fetch(&*provider, &key("elsewhere")).await, ErrorKind::Denied, "secret/data/elsewhere");
    provider.validate().await.unwrap();
}

#[tokio::test]
async fn logins_that_fail() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let url = testbed.vault_url();
    let refused = async |approle: &AppRole| {
        approle.try_provider(&url, Arc::default()).await.err().expect("the login was refused")
    };

    let mut approle = AppRole::new(&vault, "default", json!({})).await;
    let good = std::mem::replace(&mut approle.secret, CANARY.into());
    let error = refused(&approle).await;
    let words = format!("the server refused the login at auth/{}/login: check the role id", approle.mount);
    assert_eq!((error.kind(), error.message().starts_with(&words)), (ErrorKind::Unauthenticated, true), "{error}");

    approle.secret = good;
    approle.role = CANARY.into();
    assert_eq!(refused(&approle).await.kind(), ErrorKind::Unauthenticated);

    approle.mount = "nowhere".into();
    let error = refused(&approle).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("check that the method is mounted there"), "{error}");

    let spec = json!({"server": url, "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
    for (token, kind) in [
        (CANARY, ErrorKind::Unauthenticated),
        ("", ErrorKind::Invalid),
        (" \n", ErrorKind::Invalid),
        ("canary-e03d77\r\nX-Evil: 1", ErrorKind::Invalid),
    ] {
        let credentials = MapCredentials::new().with("t/k", token);
        let checked = match build(spec.clone(), credentials).await {
            Ok(provider) => provider.validate().await,
            Err(error) => Err(error),
        };
        let error = checked.unwrap_err();
        clean(&error);
        assert_eq!(error.kind(), kind, "{token:?}: {error}");
    }

    let error = build(spec, MapCredentials::new()).await.err().unwrap();
    assert!(error.message().starts_with("spec.provider.vault.auth.tokenSecretRef: "), "{error}");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_any_more() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let token = vault.create_token(&[&name, "default"]).await.unwrap();
    let provider = with_token(testbed, &token, json!({"path": "secret"})).await;
    fetch(&*provider, &key(&name)).await.unwrap();
    request(&vault, "POST", "auth/token/revoke", json!({"token": token})).await;
    expect(fetch(&*provider, &key(&name)).await, ErrorKind::Unauthenticated, "tokenSecretRef");
    assert_eq!(provider.validate().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn namespaces() {
    let testbed = Testbed::shared();
    let (root, team) = (testbed.vault(), format!("team-{}", random()));
    request(&root, "POST", &format!("sys/namespaces/{team}"), json!({})).await;
    let inside = root.with_namespace(&team);
    request(&inside, "POST", "sys/namespaces/child", json!({})).await;
    let child = root.with_namespace(&format!("{team}/child"));
    for vault in [&inside, &child] {
        vault.mount("kv", "kv", json!({"version": "2"})).await.unwrap();
        wait_for_upgrade(vault, "kv").await;
    }
    inside.put_at("kv", "app", json!({"in": "team"})).await.unwrap();
    child.put_at("kv", "app", json!({"in": "child"})).await.unwrap();

    // A login in the parent reads in the child, and its token is looked up where it is from.
    inside.write_policy("reader", "path \"child/kv/data/*\" { capabilities = [\"read\"] }").await.unwrap();
    let approle = AppRole::new(&inside, "reader", json!({})).await;
    let mut spec = approle.spec(&testbed.vault_url());
    spec["path"] = json!("kv");
    spec["namespace"] = json!(format!("{team}/child"));
    spec["auth"]["namespace"] = json!(team);
    let credentials = || MapCredentials::new().with("approle/secret", &approle.secret);
    let provider = build(spec.clone(), credentials()).await.unwrap();
    assert_eq!(fetch(&*provider, &key("app")).await.unwrap(), r#"{"in":"child"}"#);
    provider.validate().await.unwrap();
    expect(fetch(&*provider, &key("nothing")).await, ErrorKind::NotFound, "kv/data/nothing");

    // Without a namespace for the login it is made where secrets are read, where the method is not mounted.
    spec["auth"].as_object_mut().unwrap().remove("namespace");
    let error = build(spec.clone(), credentials()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains("mounted there, in the namespace"), "{error}");
    spec["auth"]["namespace"] = json!("nowhere");
    let error = build(spec, credentials()).await.err().unwrap();
    assert!(error.message().contains("namespace"), "{error}");

    let provider = with_root(testbed, json!({"path": "kv", "namespace": team})).await;
    assert_eq!(fetch(&*provider, &key("app")).await.unwrap(), r#"{"in":"team"}"#);
}

#[tokio::test]
async fn a_rate_limit() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let mount = format!("slow-{}", random());
    vault.mount(&mount, "kv", json!({"version": "1"})).await.unwrap();
    request(&vault, "POST", &format!("{mount}/a"), json!({"a": "b"})).await;
    let quota = format!("sys/quotas/rate-limit/{mount}");
    request(&vault, "POST", &quota, json!({"path": format!("{mount}/"), "rate": 1, "interval": "60s"})).await;
    let provider = with_root(testbed, json!({"path": mount, "version": "v1"})).await;
    fetch(&*provider, &key("a")).await.unwrap();
    expect(fetch(&*provider, &key("a")).await, ErrorKind::Throttled, "slow down");
    request(&vault, "DELETE", &quota, Value::Null).await;
}

/// A store of a server of its own, at `secret` with the root token.
async fn store_of(url: &str, server: &OpenBao, ca: Value) -> Arc<dyn Provider> {
    let spec = json!({"server": url, "path": "secret", "caBundle": ca,
        "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
    build(spec, MapCredentials::new().with("t/k", server.token())).await.unwrap()
}

#[tokio::test]
async fn tls() {
    let options = OpenBaoOptions { tls: true, ..OpenBaoOptions::default() };
    let server = OpenBao::start(&options).await.unwrap();
    server.client().unwrap().put("app", json!({"a": "b"})).await.unwrap();
    let ca = STANDARD.encode(server.ca_pem().unwrap().unwrap());
    let read = async |url: &str, ca: Value| fetch(&*store_of(url, &server, ca).await, &key("app")).await;
    assert_eq!(read(server.url(), json!(ca)).await.unwrap(), r#"{"a":"b"}"#);
    expect(read(server.url(), json!(null)).await, ErrorKind::Tls, "unknown authority");
    let plain = server.url().replace("https://", "http://");
    expect(read(&plain, json!(null)).await, ErrorKind::Tls, "may need https://");
    let tls = Testbed::shared().vault_url().replace("http://", "https://");
    expect(read(&tls, json!(ca)).await, ErrorKind::Tls, "may need http://");
}

#[tokio::test]
async fn sealed_stopped_and_back() {
    let mut server = OpenBao::start(&OpenBaoOptions::default()).await.unwrap();
    let vault = server.client().unwrap();
    vault.put("app", json!({"a": "b"})).await.unwrap();
    let store = store_of(server.url(), &server, json!(null)).await;
    assert_eq!(fetch(&*store, &key("app")).await.unwrap(), r#"{"a":"b"}"#);

    request(&vault, "POST", "sys/seal", json!({})).await;
    expect(fetch(&*store, &key("app")).await, ErrorKind::Unavailable, "sealed");
    expect(fetch(&*store, &key("missing")).await, ErrorKind::Unavailable, "sealed");
    assert_eq!(store.validate().await.unwrap_err().kind(), ErrorKind::Unavailable);

    server.process().kill();
    expect(fetch(&*store, &key("app")).await, ErrorKind::Unavailable, ""); // a kept connection ends
    expect(fetch(&*store, &key("app")).await, ErrorKind::Unavailable, "refuses connections");

    // It comes back empty, and the store finds its way without being built anew.
    server.restart().await.unwrap();
    expect(fetch(&*store, &key("app")).await, ErrorKind::NotFound, "no secret");
}

/// What a login of ours made ends with the store; a token that somebody else keeps does not.
#[tokio::test]
async fn tokens_of_ours_are_revoked_at_the_end() {
    let testbed = Testbed::shared();
    let vault = testbed.vault();
    let name = readable(&vault).await;
    let accessors = async || {
        let (status, answer) =
            vault.send(Method::from_bytes(b"LIST").unwrap(), "auth/token/accessors", None).await.unwrap();
        assert!(status.is_success(), "{status}");
        let list = answer.pointer("/data/keys").and_then(Value::as_array).cloned().unwrap_or_default();
        list.into_iter().map(|accessor| accessor.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let approle = AppRole::new(&vault, &name, json!({})).await;
    let of_role = async || {
        let mut count = 0;
        for accessor in accessors().await {
            let body = json!({"accessor": accessor});
            let (_, told) = vault.send(Method::POST, "auth/token/lookup-accessor", Some(&body)).await.unwrap();
            let path = told.pointer("/data/path").and_then(Value::as_str).unwrap_or_default();
            count += usize::from(path == format!("auth/{}/login", approle.mount));
        }
        count
    };
    let provider = approle.provider(&testbed.vault_url(), Arc::default()).await;
    fetch(&*provider, &key(&name)).await.unwrap();
    assert_eq!(of_role().await, 1);
    drop(provider);
    for n in 0.. {
        if of_role().await == 0 {
            break;
        }
        assert!(n < 100, "the token is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let token = vault.create_token(&[&name]).await.unwrap();
    for _ in 0..2 {
        let provider = with_token(testbed, &token, json!({"path": "secret"})).await;
        fetch(&*provider, &key(&name)).await.unwrap();
        drop(provider);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
