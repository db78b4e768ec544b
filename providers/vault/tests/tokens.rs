//! The life of tokens where a real server is too healthy or too slow to show it.

mod double;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use double::{CANARY, Double, Reply, answer, context_with, crypto, expect, fetch, kv2};
use keyferry_provider_core::{Calls, Error, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_vault::REGISTRATION;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Counts calls by name, failed ones with `!` before it.
#[derive(Default)]
struct Counter(Mutex<BTreeMap<String, usize>>);

impl Counter {
    fn take(&self) -> String {
        let text = self.text();
        self.0.lock().unwrap().clear();
        text
    }

    fn text(&self) -> String {
        let counts = self.0.lock().unwrap();
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// These calls and no others are made, some of them while nobody waits.
    #[track_caller]
    fn expect(&self, calls: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..1000 {
                if self.text() == calls {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(self.take(), calls, "{caller}");
        }
    }
}

impl Calls for Counter {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        assert_eq!(provider, "HashiCorp/Vault");
        *self.0.lock().unwrap().entry(format!("{}{call}", if ok { "" } else { "!" })).or_default() += 1;
    }
}

/// A server whose logins give tokens with a lease, and whose mood can be changed.
struct Moody {
    double: Double,
    login: Arc<AtomicU16>,
    renewal: Arc<AtomicU16>,
    counter: Arc<Counter>,
}

impl Moody {
    /// Every login gives another token. Only the newest is known, and only to reads.
    async fn new(lease: Value) -> Self {
        let (login, renewal) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (login_mood, renewal_mood) = (login.clone(), renewal.clone());
        let logins = AtomicUsize::new(0);
        let double = Double::new(move |request| {
            let mut grant = lease.clone();
            let token = |n| format!("{CANARY}-{n}");
            match request.line.as_str() {
                "POST /v1/auth/approle/login" => {
                    grant["client_token"] = token(logins.fetch_add(1, Ordering::SeqCst) + 1).into();
                    answer(login_mood.load(Ordering::SeqCst), json!({"auth": grant, "errors": [CANARY]}))
                }
                "POST /v1/auth/token/renew-self" => {
                    grant["client_token"] = request.header("x-vault-token").into();
                    answer(renewal_mood.load(Ordering::SeqCst), json!({"auth": grant, "errors": [CANARY]}))
                }
                _ => answer(200, kv2(json!({"token": request.header("x-vault-token")}))),
            }
        })
        .await;
        Self { double, login, renewal, counter: Arc::default() }
    }

    async fn store(&self) -> Result<Arc<dyn Provider>, Error> {
        crypto();
        let spec = json!({"server": self.double.url(), "path": "secret",
            "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "s", "key": "k"}}}});
        let credentials = MapCredentials::new().with("s/k", CANARY);
        (REGISTRATION.build)(&spec, context_with(credentials, self.counter.clone())).await
    }
}

async fn token(store: &dyn Provider) -> String {
    let value = fetch(store, "app").await.unwrap();
    serde_json::from_str::<Value>(&value).unwrap()["token"].as_str().unwrap().trim_start_matches(CANARY).to_owned()
}

#[tokio::test]
async fn a_token_without_end_is_never_renewed() {
    let moody = Moody::new(json!({"lease_duration": 0, "renewable": true})).await;
    let store = moody.store().await.unwrap();
    tokio::time::pause();
    sleep(Duration::from_secs(365 * 24 * 3600)).await;
    tokio::time::resume();
    assert_eq!(token(&*store).await, "-1");
    assert_eq!(moody.counter.take(), "Login 1, ReadSecretData 1");
}

#[tokio::test]
async fn renewed_after_two_thirds_and_replaced_at_the_end() {
    let moody = Moody::new(json!({"lease_duration": 3000, "renewable": true})).await;
    let store = moody.store().await.unwrap();
    for (wait, expected, calls) in [
        (1900, "-1", "Login 1, ReadSecretData 1"),
        (200, "-1", "ReadSecretData 1, RenewSelf 1"),
        (1900, "-1", "ReadSecretData 1"),
        (200, "-1", "ReadSecretData 1, RenewSelf 1"),
        (3100, "-2", "Login 1, ReadSecretData 1"),
    ] {
        pass(wait).await;
        assert_eq!(token(&*store).await, expected);
        moody.counter.expect(calls).await;
    }
}

#[tokio::test]
async fn what_can_not_be_renewed_is_replaced_in_time() {
    let moody = Moody::new(json!({"lease_duration": 3000, "renewable": false})).await;
    let store = moody.store().await.unwrap();
    pass(2100).await;
    assert_eq!(token(&*store).await, "-1", "it is good for a while yet");
    moody.counter.expect("Login 2, ReadSecretData 1").await;
    assert_eq!(token(&*store).await, "-2");

    let moody = Moody::new(json!({"lease_duration": 3000, "renewable": true})).await;
    let store = moody.store().await.unwrap();
    moody.renewal.store(403, Ordering::SeqCst);
    pass(2100).await;
    assert_eq!(token(&*store).await, "-1");
    moody.counter.expect("!RenewSelf 1, Login 2, ReadSecretData 1").await;
    assert_eq!(token(&*store).await, "-2");
}

#[tokio::test]
async fn a_bad_moment_of_the_server_costs_nothing_while_the_token_is_good() {
    for renewable in [true, false] {
        let moody = Moody::new(json!({"lease_duration": 3000, "renewable": renewable})).await;
        let store = moody.store().await.unwrap();
        moody.login.store(503, Ordering::SeqCst);
        moody.renewal.store(503, Ordering::SeqCst);
        moody.counter.take();
        pass(2100).await;
        let attempt = if renewable { "!RenewSelf 1, ReadSecretData 1" } else { "!Login 1, ReadSecretData 1" };
        for (wait, calls) in [(0, attempt), (0, "ReadSecretData 1"), (11, attempt)] {
            pass(wait).await;
            assert_eq!(token(&*store).await, "-1");
            moody.counter.expect(calls).await;
        }
        // Its end is its end.
        pass(1000).await;
        expect(&fetch(&*store, "app").await.unwrap_err(), ErrorKind::Unavailable, "sealed");
        assert_eq!(moody.counter.take(), "!Login 1");
        moody.login.store(200, Ordering::SeqCst);
        fetch(&*store, "app").await.unwrap();
    }
}

#[tokio::test]
async fn logins_that_give_no_token() {
    for (auth, kind, words) in [
        (json!(null), ErrorKind::Malformed, "auth/approle/login holds no token"),
        (json!({"client_token": CANARY}), ErrorKind::Malformed, "holds no token"),
        (json!({"client_token": "", "lease_duration": 5}), ErrorKind::Malformed, "holds no token"),
        (json!({"client_token": "a\nb", "lease_duration": 5}), ErrorKind::Malformed, "holds no token"),
        (json!({"client_token": CANARY, "lease_duration": -5}), ErrorKind::Malformed, "holds no token"),
        (json!({"client_token": "", "mfa_requirement": {"id": CANARY}}), ErrorKind::Unauthenticated, "second factor"),
    ] {
        let double = Double::new(move |_| answer(200, json!({"auth": auth}))).await;
        let spec = json!({"server": double.url(),
            "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "s", "key": "k"}}}});
        let error = double::build(spec, MapCredentials::new().with("s/k", CANARY)).await.err().unwrap();
        expect(&error, kind, words);
    }
}

#[tokio::test]
async fn where_denied_and_revoked_look_alike_there_is_one_login_a_minute() {
    let logins = AtomicUsize::new(0);
    let double = Double::new(move |request| match request.line.as_str() {
        "POST /v1/auth/approle/login" => {
            let token = format!("{CANARY}-{}", logins.fetch_add(1, Ordering::SeqCst));
            answer(200, json!({"auth": {"client_token": token, "lease_duration": 30000, "renewable": true}}))
        }
        _ => answer(403, json!({"errors": ["no"]})),
    })
    .await;
    let counter = Arc::new(Counter::default());
    crypto();
    let spec = json!({"server": double.url(), "path": "secret",
        "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "s", "key": "k"}}}});
    let credentials = MapCredentials::new().with("s/k", CANARY);
    let store = (REGISTRATION.build)(&spec, context_with(credentials, counter.clone())).await.unwrap();
    counter.take();
    for _ in 0..2 {
        for _ in 0..20 {
            expect(&fetch(&*store, "app").await.unwrap_err(), ErrorKind::Denied, "secret/data/app");
        }
        // The first read finds the token refused, as does the look at the new one.
        assert_eq!(counter.take(), "!LookupSelf 2, !ReadSecretData 21, Login 1");
        pass(61).await;
    }
}

#[tokio::test]
async fn an_endless_lease_is_no_overflow() {
    let moody = Moody::new(json!({"lease_duration": u64::MAX, "renewable": true})).await;
    let store = moody.store().await.unwrap();
    assert_eq!(token(&*store).await, "-1");
}

#[tokio::test]
async fn who_has_a_good_token_waits_for_no_renewal() {
    let held = Arc::new(AtomicU16::new(0));
    let hold = held.clone();
    let double = Double::new(move |request| match request.line.as_str() {
        "POST /v1/auth/approle/login" => {
            answer(200, json!({"auth": {"client_token": CANARY, "lease_duration": 3000, "renewable": true}}))
        }
        "POST /v1/auth/token/renew-self" => {
            hold.fetch_add(1, Ordering::SeqCst);
            Reply::Silence
        }
        _ => answer(200, kv2(json!({}))),
    })
    .await;
    let spec = json!({"server": double.url(), "path": "secret",
        "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "s", "key": "k"}}}});
    let store = double::build(spec, MapCredentials::new().with("s/k", CANARY)).await.unwrap();
    pass(2100).await;
    let soon = Duration::from_secs(10);
    timeout(soon, fetch(&*store, "app")).await.expect("who finds it due does not wait either").unwrap();
    while held.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        timeout(soon, fetch(&*store, "app")).await.expect("nobody waits").unwrap();
    }
    assert_eq!(held.load(Ordering::SeqCst), 1, "one renewal at a time");
}

/// A server that knows one token, the newest that a login gave or whatever a test says.
async fn knowing_one(known: &Arc<Mutex<String>>) -> Double {
    let (known, logins) = (known.clone(), AtomicUsize::new(0));
    Double::new(move |request| {
        let mut known = known.lock().unwrap();
        if request.line == "POST /v1/auth/approle/login" {
            *known = format!("{CANARY}-{}", logins.fetch_add(1, Ordering::SeqCst) + 1);
            answer(200, json!({"auth": {"client_token": *known, "lease_duration": 30000, "renewable": true}}))
        } else if request.header("x-vault-token") == Some(&known) {
            answer(200, kv2(json!({"token": *known})))
        } else {
            answer(403, json!({"errors": ["permission denied"]}))
        }
    })
    .await
}

/// Eight reads at once.
async fn eight(store: &Arc<dyn Provider>) -> Vec<Result<String, Error>> {
    let task = || {
        let store = store.clone();
        tokio::spawn(async move { fetch(&*store, "app").await })
    };
    let (tasks, mut results): (Vec<_>, _) = ([(); 8].map(|()| task()).into(), Vec::new());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test]
async fn reads_that_met_a_revoked_token_are_all_made_again_after_one_login() {
    let known = Arc::default();
    let double = knowing_one(&known).await;
    let counter = Arc::new(Counter::default());
    let spec = json!({"server": double.url(), "path": "secret",
        "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "s", "key": "k"}}}});
    let credentials = MapCredentials::new().with("s/k", CANARY);
    let store = (REGISTRATION.build)(&spec, context_with(credentials, counter.clone())).await.unwrap();
    assert_eq!((token(&*store).await.as_str(), counter.take().as_str()), ("-1", "Login 1, ReadSecretData 1"));
    *known.lock().unwrap() = "another".to_owned();
    for value in eight(&store).await {
        assert!(value.unwrap().contains(&format!("{CANARY}-2")));
    }
    assert_eq!(counter.take(), "!LookupSelf 1, !ReadSecretData 8, Login 1, LookupSelf 1, ReadSecretData 8");
}

#[tokio::test]
async fn a_token_of_a_secret_that_is_refused_is_told_to_all_and_never_given_up() {
    let known = Arc::new(Mutex::new("another".to_owned()));
    let double = knowing_one(&known).await;
    let store = double.store(json!({})).await;
    for _ in 0..2 {
        for result in eight(&store).await {
            expect(&result.unwrap_err(), ErrorKind::Unauthenticated, "does not accept the token");
        }
    }
    *known.lock().unwrap() = format!("{CANARY}-token");
    assert_eq!(token(&*store).await, "-token", "a server may learn of it late");
}

/// Time goes by while nothing happens.
async fn pass(seconds: u64) {
    tokio::time::pause();
    sleep(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}
