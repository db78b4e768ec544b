//! Trials of what goes wrong on the other side: refusals, and a server that fails. They need a server that can be told to
//! ([`Fixture::server`]), or a backend that can refuse.

use std::sync::Arc;
use std::time::Duration;

use keyferry_doubles::{Faults, Proxy, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{Error, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_guard::{Delay, Guarded, Retries};

use crate::Fixture;
use crate::checks::{ask, expect, expect_error, fetch, key, value};
use crate::trials::Outcome;
use crate::watched::{provider, watch};

/// How long a call may take whose server hangs.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long any other may take, a huge answer among them.
const LONG: Duration = Duration::from_secs(60);

/// The calls of a trial with many faults, and the seed of those.
const CALLS: usize = 300;
const SEED: u64 = 20;

/// Calls that succeed then, of a hundred.
const GOOD: f64 = 0.83;

/// A wrong answer that is as good as another: what it must not be is that the secret is gone.
fn says_nothing_of_the_secret(what: &str, error: &Error) {
    let is_gone = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoVersion);
    assert!(!is_gone, "{what}: taken for gone: {error}");
}

/// Who is not let read a secret is told so, and nobody takes it for gone; its neighbours are read.
pub async fn denied(fixture: &dyn Fixture) -> Outcome {
    for name in ["denied", "allowed"] {
        fixture.put(name, &value(name)).await;
    }
    if !fixture.deny("denied").await {
        return Outcome::NotSupported;
    }
    let provider = provider(fixture).await;
    expect_error("a denied secret", &ask(&*provider, &key("denied")).await, ErrorKind::Denied);
    beside_it(fixture, &*provider, "denied").await;
    Outcome::Passed
}

/// A secret that is disabled is there.
pub async fn disabled(fixture: &dyn Fixture) -> Outcome {
    for name in ["disabled", "allowed"] {
        fixture.put(name, &value(name)).await;
    }
    if !fixture.disable("disabled").await {
        return Outcome::NotSupported;
    }
    let provider = provider(fixture).await;
    let error = ask(&*provider, &key("disabled")).await.err().unwrap_or_else(|| panic!("a disabled secret is read"));
    assert_ne!(error.kind(), ErrorKind::NotFound, "a disabled secret: {error}");
    assert!(!error.is_temporary(), "a disabled secret: {error}");
    beside_it(fixture, &*provider, "disabled").await;
    Outcome::Passed
}

/// In one call with a bad one, where the store has such calls, the other is read; or it is said that only several at once
/// are refused.
async fn beside_it(fixture: &dyn Fixture, provider: &dyn Provider, bad: &str) {
    let keys = [key(bad), key("allowed")];
    if !(provider.capabilities().max_batch > 1 && provider.joins(&keys[..1], &keys[1])) {
        return;
    }
    match provider.fetch(&keys).await {
        Ok(answers) => expect(fixture, "beside a bad one", &answers[1], &value("allowed")),
        Err(error) => assert_eq!(error.kind(), ErrorKind::BatchDenied, "{error}"),
    }
}

/// What logged in with the credential of before may go on or be refused; what is made anew works.
pub async fn credentials_change(fixture: &dyn Fixture) -> Outcome {
    fixture.put("lasting", &value("lasting")).await;
    let before = provider(fixture).await;
    expect(fixture, "before", &ask(&*before, &key("lasting")).await, &value("lasting"));
    if !fixture.rotate().await {
        return Outcome::NotSupported;
    }
    let after = provider(fixture).await;
    for _ in 0..3 {
        expect(fixture, "with the new one", &ask(&*after, &key("lasting")).await, &value("lasting"));
        if let Err(error) = ask(&*before, &key("lasting")).await {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "with the old one: {error}");
        }
    }
    Outcome::Passed
}

/// A server that throttles, breaks, or ends connections: nobody takes that for an answer, and all is well after it.
pub async fn passing(fixture: &dyn Fixture, faults: Faults, kind: ErrorKind) -> Outcome {
    let Some((server, provider)) = at_work(fixture).await else { return Outcome::NotSupported };
    server.fail(faults);
    expect_error("a fetch", &in_time(ask(&*provider, &key("troubled"))).await, kind);
    if let Some(found) = search(&*provider).await {
        expect_error("a search", &found, kind);
    }
    well_again(fixture, &server, &*provider).await;
    Outcome::Passed
}

/// A server that never answers: the call ends all the same, and leaves nothing behind.
pub async fn hanging(fixture: &dyn Fixture) -> Outcome {
    let Some((server, provider)) = at_work(fixture).await else { return Outcome::NotSupported };
    server.fail(Faults { hanging: 100, ..Faults::default() });
    let impatient = Guarded::new(provider.clone(), PATIENCE, Retries { most: 0, ..Retries::default() });
    expect_error("a fetch", &ask(&impatient, &key("troubled")).await, ErrorKind::Timeout);
    well_again(fixture, &server, &*provider).await;
    Outcome::Passed
}

/// Answers that are none of this store's API, or have no end.
pub async fn nonsense(fixture: &dyn Fixture, faults: Faults) -> Outcome {
    let Some((server, provider)) = at_work(fixture).await else { return Outcome::NotSupported };
    server.fail(faults);
    expect_error("a fetch", &in_time(ask(&*provider, &key("troubled"))).await, ErrorKind::Malformed);
    match search(&*provider).await {
        Some(Ok(found)) => panic!("a search finds {} secrets in nonsense", found.len()),
        Some(Err(error)) => says_nothing_of_the_secret("a search", &error),
        None => {}
    }
    well_again(fixture, &server, &*provider).await;
    Outcome::Passed
}

/// The server and a store that has read from it.
async fn at_work(fixture: &dyn Fixture) -> Option<(Server, Arc<dyn Provider>)> {
    let server = fixture.server()?;
    fixture.put("troubled", &value("troubled")).await;
    let provider = provider(fixture).await;
    expect(fixture, "before the trouble", &ask(&*provider, &key("troubled")).await, &value("troubled"));
    Some((server, provider))
}

async fn search(provider: &dyn Provider) -> Option<Result<Vec<Key>, Error>> {
    let query = Query { name: Some("troubled".parse().expect("a pattern")), ..Query::default() };
    if !provider.capabilities().find_by_name {
        return None;
    }
    Some(in_time(find_all(provider, &query)).await)
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, call).await.unwrap_or_else(|_| panic!("a call did not end within {LONG:?}"))
}

async fn well_again(fixture: &dyn Fixture, server: &Server, provider: &dyn Provider) {
    server.fail(Faults::default());
    expect(fixture, "after the trouble", &in_time(ask(provider, &key("troubled"))).await, &value("troubled"));
}

/// The most calls for so many fetches of so many calls each, of which 17 of a hundred fail: 1.3 times the least, where a
/// fetch is one call. Where it is several, a fault has those before it made once more, which nobody can help: the bound is as
/// much above what is then to be expected.
fn most_calls(fetches: usize, each: usize) -> f64 {
    let expected: f64 = (1..=each).map(|n| GOOD.powf(-(n as f64))).sum();
    1.3 * fetches as f64 * expected * GOOD
}

/// One call in six fails, and every fetch succeeds with as many tries as stores have where they ask for none, and not many
/// more calls than there must be.
pub async fn many_faults(fixture: &dyn Fixture) -> Outcome {
    let Some((server, provider)) = at_work(fixture).await else { return Outcome::NotSupported };
    server.take_calls();
    expect(fixture, "without faults", &ask(&*provider, &key("troubled")).await, &value("troubled"));
    let least = server.take_calls().len().max(1);
    // Against a server of ours nothing gets better by waiting.
    let guarded = Guarded::new(provider, LONG, Retries { delay: Delay::Fixed(Duration::ZERO), ..Retries::default() });
    server.fail_seeded(Faults { throttled: 10, broken: 5, reset: 2, told: true, ..Faults::default() }, SEED);
    let fetches = CALLS / least;
    for n in 0..fetches {
        let answer = in_time(ask(&guarded, &key("troubled"))).await;
        expect(fixture, &format!("fetch {n} of {fetches}"), &answer, &value("troubled"));
    }
    server.fail(Faults::default());
    let (made, most) = (server.take_calls().len(), most_calls(fetches, least));
    assert!(made as f64 <= most, "{made} calls for {fetches} fetches of {least} each rather than {most:.0}");
    Outcome::Passed
}

/// What the trial is named after, for a backend that is fast enough.
pub(crate) const A_THOUSAND: usize = 1000;

/// A thousand keys cost no more calls than the API allows, a login among them.
pub async fn a_thousand_keys(fixture: &dyn Fixture) -> Outcome {
    let keys = fixture.keys();
    let (Some(server), Some(most)) = (fixture.server(), fixture.calls_for(keys)) else { return Outcome::NotSupported };
    for n in 0..keys {
        let name = format!("thousand-{n}");
        fixture.put(&name, &value(&name)).await;
    }
    server.take_calls();
    let provider = provider(fixture).await;
    for batch in batches(&*provider, keys) {
        for (key, answer) in batch.iter().zip(fetch(&*provider, &batch).await) {
            expect(fixture, &key.name, &answer, &value(&key.name));
        }
    }
    let made = server.take_calls().len();
    assert!(made <= most, "{made} calls for {keys} keys rather than {most}");
    Outcome::Told(if keys == A_THOUSAND { format!("{made} calls") } else { format!("{made} calls for {keys}") })
}

/// So many keys in as few calls as the store says that they may be fetched in.
fn batches(provider: &dyn Provider, count: usize) -> Vec<Vec<Key>> {
    let most = provider.capabilities().max_batch;
    let mut batches: Vec<Vec<Key>> = Vec::new();
    for key in (0..count).map(|n| key(&format!("thousand-{n}"))) {
        match batches.last_mut().filter(|batch| batch.len() < most && provider.joins(batch, &key)) {
            Some(batch) => batch.push(key),
            None => batches.push(vec![key]),
        }
    }
    batches
}

/// All calls, logins among them, go through the proxy that the environment names: only it knows the server's name.
pub async fn through_a_proxy(fixture: &dyn Fixture) -> Outcome {
    let Some(server) = fixture.server() else { return Outcome::NotSupported };
    fixture.put("proxied", &value("proxied")).await;
    let proxy = Proxy::start();
    let (scheme, _) =
        server.url().split_once("://").map(|(scheme, rest)| (scheme.to_owned(), rest.to_owned())).expect("a URL");
    let name = "store.stores.test:8443";
    proxy.leads(name, &server.url());
    let url = proxy.url();
    let proxies = Proxies::of(&move |name| matches!(name, "HTTP_PROXY" | "HTTPS_PROXY").then(|| url.clone()));
    let addresses = Addresses::anywhere().through(proxies.expect("a proxy"));
    server.take_calls();
    let Some(store) = fixture.provider_at(&format!("{scheme}://{name}"), addresses).await else {
        return Outcome::NotSupported;
    };
    let store = watch(fixture, store);
    expect(fixture, "through a proxy", &ask(&*store, &key("proxied")).await, &value("proxied"));
    let valid = store.validate().await;
    assert!(valid.is_ok(), "a store behind a proxy is not Ready: {:?}", valid.err());
    let (passed, mut made) = (proxy.take(), server.take_calls());
    // The login of a trial before this one may be ending still, and what is read and checked here deletes nothing.
    made.retain(|call| call.method != "DELETE");
    assert!(!passed.is_empty() && passed.iter().all(|passage| passage.passed), "{passed:?}");
    assert!(scheme == "https" || passed.len() == made.len(), "past the proxy: {made:?}");
    Outcome::Passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_over_what_is_to_be_expected() {
        assert_eq!([1, 2, 3].map(|each| most_calls(300 / each, each).round()), [390.0, 430.0, 475.0]);
    }
}
