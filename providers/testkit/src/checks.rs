//! The checks, one for each promise of the contract.

use std::sync::Arc;

use keyferry_provider_core::{Answer, Error, ErrorKind, Key, Provider, json};

use crate::trials::Outcome;
use crate::watched::provider;
use crate::{CANARY, Fixture};

pub(crate) fn key(name: &str) -> Key {
    Key { name: name.to_owned(), version: None, metadata: false }
}

pub(crate) fn value(text: &str) -> Vec<u8> {
    format!("{CANARY}-{text}").into_bytes()
}

/// Fetches keys in one call, and checks what holds for every call.
pub(crate) async fn fetch(provider: &dyn Provider, keys: &[Key]) -> Vec<Answer> {
    let results = match provider.fetch(keys).await {
        Ok(results) => results,
        Err(error) => panic!("the fetch of {} keys failed as a whole: {error}", keys.len()),
    };
    assert_eq!(results.len(), keys.len(), "one result per key");
    results
}

/// What comes of one key, whether the call fails as a whole or for the key.
pub(crate) async fn ask(provider: &dyn Provider, key: &Key) -> Answer {
    provider.fetch(std::slice::from_ref(key)).await?.remove(0)
}

pub(crate) async fn fetch_one(provider: &dyn Provider, key: &Key) -> Answer {
    fetch(provider, std::slice::from_ref(key)).await.remove(0)
}

/// Panics without showing values.
#[track_caller]
pub(crate) fn expect(fixture: &dyn Fixture, what: &str, result: &Answer, written: &[u8]) {
    match result {
        Ok(fetched) if fetched.value.expose() == fixture.fetched(written) => {}
        Ok(fetched) => panic!("{what}: another value, of {} bytes", fetched.value.len()),
        Err(error) => panic!("{what}: {error}"),
    }
}

#[track_caller]
pub(crate) fn expect_error<T>(what: &str, result: &Result<T, Error>, kind: ErrorKind) {
    match result {
        Err(error) if error.kind() == kind => assert!(!error.message().is_empty(), "{what}: no message"),
        Err(error) => panic!("{what}: {:?} rather than {kind:?}: {error}", error.kind()),
        Ok(_) => panic!("{what}: a value rather than {kind:?}"),
    }
}

pub async fn validates(fixture: &dyn Fixture) {
    if let Err(error) = provider(fixture).await.validate().await {
        panic!("a good store does not validate: {error}");
    }
}

pub async fn nothing_asked_nothing_answered(fixture: &dyn Fixture) {
    fetch(&*provider(fixture).await, &[]).await;
}

pub async fn one_result_per_key_in_order(fixture: &dyn Fixture, max_batch: usize) {
    let names: Vec<_> = (0..30).map(|n| format!("order-{n}")).collect();
    for name in &names {
        fixture.put(name, &value(name)).await;
    }
    let provider = provider(fixture).await;
    let backwards: Vec<_> = names.iter().rev().map(|name| key(name)).collect();
    for batch in backwards.chunks(max_batch) {
        for (key, result) in batch.iter().zip(fetch(&*provider, batch).await) {
            expect(fixture, &key.name, &result, &value(&key.name));
        }
    }
}

pub async fn missing_among_present(fixture: &dyn Fixture, max_batch: usize) {
    for name in ["missing-a", "missing-c"] {
        fixture.put(name, &value(name)).await;
    }
    let provider = provider(fixture).await;
    let keys = ["missing-a", "missing-b", "missing-c", "missing-d"].map(key);
    for batch in keys.chunks(max_batch) {
        for (key, result) in batch.iter().zip(fetch(&*provider, batch).await) {
            match key.name.as_str() {
                "missing-a" | "missing-c" => expect(fixture, &key.name, &result, &value(&key.name)),
                _ => expect_error(&key.name, &result, fixture.missing()),
            }
        }
    }
}

pub async fn deleted_is_missing(fixture: &dyn Fixture) {
    fixture.put("deleted", &value("deleted")).await;
    expect(fixture, "deleted", &fetch_one(&*provider(fixture).await, &key("deleted")).await, &value("deleted"));
    fixture.delete("deleted").await;
    let result = fetch_one(&*provider(fixture).await, &key("deleted")).await;
    expect_error("a deleted secret", &result, fixture.missing());
}

pub async fn a_new_value_is_read_at_once(fixture: &dyn Fixture) {
    for n in 0..3 {
        let written = value(&format!("rotated {n}"));
        fixture.put("rotated", &written).await;
        expect(fixture, "rotated", &fetch_one(&*provider(fixture).await, &key("rotated")).await, &written);
    }
}

async fn arrives(fixture: &dyn Fixture, name: &str, written: &[u8]) {
    fixture.put(name, written).await;
    expect(fixture, name, &fetch_one(&*provider(fixture).await, &key(name)).await, written);
}

pub async fn text(fixture: &dyn Fixture) {
    let text = "line\r\n\ttab \"quoted\" \\ </&> \u{2028} \u{1} é 😀 {{ .x }} ${y} %s";
    arrives(fixture, "text", &value(text)).await;
    arrives(fixture, "json", &value("{\"json\": [1.50, null, 12345678901234567890]}")).await;
}

pub async fn binary(fixture: &dyn Fixture) {
    let all: Vec<u8> = (0..=255).cycle().take(1 << 14).collect();
    for (n, written) in [&all[..], &[0], b"\xff\xfe\x00"].into_iter().enumerate() {
        arrives(fixture, &format!("binary-{n}"), written).await;
    }
}

pub async fn empty(fixture: &dyn Fixture) {
    arrives(fixture, "empty", b"").await;
}

/// A value of so many bytes, of all letters.
pub async fn large(fixture: &dyn Fixture, size: usize) {
    let filling: String = ('a'..='z').cycle().take(size - value("").len()).collect();
    arrives(fixture, &format!("large-{size}"), &value(&filling)).await;
}

pub async fn names_of_every_kind(fixture: &dyn Fixture) {
    let long = "long-".repeat(40);
    let names = [
        "plain",
        "a/deep/path/to/a/secret",
        "with space",
        "dots.in..the...name",
        ".hidden",
        "ünï-çødé/密码/🔑",
        "percent%2Fslash%",
        "query?a=b&c=d#fragment",
        "plus+semi;colon:at@comma,",
        "quo\"te'back\\slash`",
        "star*dollar$(round)[square]{curly}|<angle>^~!",
        "UPPER_lower-123",
        &long,
    ];
    for name in names.into_iter().filter(|name| fixture.takes_name(name)) {
        fixture.put(name, &value(name)).await;
    }
    let provider = provider(fixture).await;
    for name in names.into_iter().filter(|name| fixture.takes_name(name)) {
        expect(fixture, name, &fetch_one(&*provider, &key(name)).await, &value(name));
        let missing = format!("{name}-missing");
        expect_error(&missing, &fetch_one(&*provider, &key(&missing)).await, fixture.missing());
    }
}

pub async fn many_at_once(fixture: &dyn Fixture) {
    for n in 0..8 {
        let name = format!("many-{n}");
        fixture.put(&name, &value(&name)).await;
    }
    let provider = provider(fixture).await;
    let tasks: Vec<_> = (0..fixture.at_once())
        .map(|n| {
            let (provider, name): (Arc<_>, _) = (provider.clone(), format!("many-{}", n % 8));
            tokio::spawn(async move { (fetch_one(&*provider, &key(&name)).await, name) })
        })
        .collect();
    for task in tasks {
        let (result, name) = task.await.expect("a fetch does not panic");
        expect(fixture, &name, &result, &value(&name));
    }
}

pub async fn versions(fixture: &dyn Fixture) {
    let first = fixture.put("versioned", &value("first")).await.expect("a store with versions names them");
    let second = fixture.put("versioned", &value("second")).await.expect("a store with versions names them");
    let provider = provider(fixture).await;
    for (version, written) in [(Some(first.clone()), "first"), (Some(second.clone()), "second"), (None, "second")] {
        let key = Key { version, ..key("versioned") };
        expect(fixture, written, &fetch_one(&*provider, &key).await, &value(written));
    }
    let unknown = Key { version: Some("4711".into()), ..key("versioned") };
    let told = async |version: Option<&str>| {
        let key = Key { version: version.map(str::to_owned), ..key("versioned") };
        fetch_one(&*provider, &key).await.unwrap_or_else(|error| panic!("{version:?}: {error}")).version
    };
    let (told_first, told_second, told_current) =
        (told(Some(&first)).await, told(Some(&second)).await, told(None).await);
    assert!(told_first.is_some() && told_second.is_some(), "an answer does not tell which version it is");
    assert_ne!(told_first, told_second, "two versions go by one name");
    let expected = told_second.filter(|_| fixture.current_has_a_version());
    assert_eq!(told_current, expected, "the current version goes by two names");
    // Deleting is for what the store says is not there: a version that is not there says nothing of the secret.
    for version in ["4711", "latest-of-all", "6f3b0a51-8a3c-4f0e-9d5e-0c1d2e3f4a5b"] {
        let key = Key { version: Some(version.into()), ..key("versioned") };
        expect_error("a version that never was", &fetch_one(&*provider, &key).await, ErrorKind::NoVersion);
    }
    let absent = Key { version: Some("1".into()), ..key("never-was") };
    expect_error("a version of what never was", &fetch_one(&*provider, &absent).await, fixture.missing());
    let keys = [unknown, absent, key("versioned")];
    let kinds: Vec<Option<ErrorKind>> =
        provider.fetch(&keys[..keys.len().min(provider.capabilities().max_batch)]).await.map_or_else(
            |error| vec![Some(error.kind())],
            |answers| answers.iter().map(|answer| answer.as_ref().err().map(|error| error.kind())).collect(),
        );
    let wanted = [Some(ErrorKind::NoVersion), Some(fixture.missing()), None];
    assert_eq!(kinds, wanted[..kinds.len()], "absent versions beside what is there");
}

pub async fn stages(fixture: &dyn Fixture) -> Outcome {
    let Some(first) = fixture.put("staged", &value("first")).await else { return Outcome::NotSupported };
    let Some(stage) = fixture.stage("staged", &first).await else { return Outcome::NotSupported };
    fixture.put("staged", &value("second")).await;
    let provider = provider(fixture).await;
    let by_stage = Key { version: Some(stage), ..key("staged") };
    expect(fixture, "by its stage", &fetch_one(&*provider, &by_stage).await, &value("first"));
    expect(fixture, "the current one", &fetch_one(&*provider, &key("staged")).await, &value("second"));
    let absent = Key { version: Some("no-such-stage".to_owned()), ..key("staged") };
    expect_error("a stage that is not there", &fetch_one(&*provider, &absent).await, ErrorKind::NoVersion);
    Outcome::Passed
}

pub async fn versions_are_passed_over(fixture: &dyn Fixture) {
    fixture.put("unversioned", &value("unversioned")).await;
    let key = Key { version: Some("1".into()), ..key("unversioned") };
    let result = fetch_one(&*provider(fixture).await, &key).await;
    expect(fixture, "a version of a store without any", &result, &value("unversioned"));
}

pub async fn metadata(fixture: &dyn Fixture) {
    fixture.put("described", &value("described")).await;
    let key = Key { metadata: true, ..key("described") };
    let result = fetch_one(&*provider(fixture).await, &key).await;
    let metadata = result.unwrap_or_else(|error| panic!("metadata: {error}")).value;
    let text = metadata.expose_str().expect("metadata are text");
    assert!(metadata.is_empty() || json::object(text.as_bytes()).is_some(), "metadata are a JSON object");
    assert!(!text.contains(CANARY), "metadata hold no value");
}

pub async fn metadata_is_passed_over(fixture: &dyn Fixture) {
    fixture.put("undescribed", &value("undescribed")).await;
    let key = Key { metadata: true, ..key("undescribed") };
    let result = fetch_one(&*provider(fixture).await, &key).await;
    expect(fixture, "metadata of a store that passes it over", &result, &value("undescribed"));
}

pub async fn metadata_is_refused(fixture: &dyn Fixture) {
    fixture.put("undescribed", &value("undescribed")).await;
    let key = Key { metadata: true, ..key("undescribed") };
    let result = fetch_one(&*provider(fixture).await, &key).await;
    expect_error("metadata of a store without any", &result, ErrorKind::Unsupported);
}
