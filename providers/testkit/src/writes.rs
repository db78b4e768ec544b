//! The checks of writing, one for each promise of the contract.

use keyferry_provider_core::parts::Parts;
use keyferry_provider_core::{
    Answer, Capabilities, Error, ErrorKind, Origin, Payload, PropertyLookup, Provider, Push, Reach, Remote,
    SecretBytes, json,
};

use crate::checks::{expect, expect_error, fetch_one, key, value};
use crate::trials::Trials;
use crate::watched::provider;
use crate::{CANARY, Fixture};

fn remote(name: &str, property: Option<&str>) -> Remote {
    Remote { key: name.to_owned(), property: property.map(str::to_owned), metadata: None }
}

fn push_of(remote: Remote, payload: &[u8], reach: Reach) -> Push {
    let payload = Payload::Value(SecretBytes::new(payload.to_vec()));
    Push { remote, payload, origin: Origin::default(), reach }
}

/// A push of what [`Fixture::put`] would write.
fn push(fixture: &dyn Fixture, name: &str, written: &[u8], reach: Reach) -> Push {
    push_of(remote(name, fixture.property().as_deref()), written, reach)
}

async fn pushed(provider: &dyn Provider, what: &str, push: &Push) {
    assert!(!format!("{push:?}").contains(CANARY), "what is pushed shows itself");
    if let Err(error) = provider.push(push).await {
        panic!("{what}: {error}");
    }
}

async fn exists(provider: &dyn Provider, remote: &Remote) -> bool {
    provider.exists(remote).await.unwrap_or_else(|error| panic!("whether {:?} is there: {error}", remote.key))
}

/// What can't be done is refused, and changes nothing.
async fn pushes_are_refused(fixture: &dyn Fixture) {
    fixture.put("not-pushed", &value("kept")).await;
    let provider = provider(fixture).await;
    let push = push(fixture, "not-pushed", &value("pushed"), Reach::All);
    expect_error("a push", &provider.push(&push).await, ErrorKind::Unsupported);
    expect_error("a question before a push", &provider.exists(&push.remote).await, ErrorKind::Unsupported);
    expect(fixture, "after a refused push", &held(fixture, &*provider, "not-pushed").await, &value("kept"));
}

/// The same for deletions.
async fn deletions_are_refused(fixture: &dyn Fixture) {
    fixture.put("not-deleted", &value("kept")).await;
    let provider = provider(fixture).await;
    let result = provider.delete(&remote("not-deleted", None), Reach::All).await;
    expect_error("a deletion", &result, ErrorKind::Unsupported);
    expect(fixture, "after a refused deletion", &held(fixture, &*provider, "not-deleted").await, &value("kept"));
}

/// All trials of writing. What can't be done is refused, which is no row of the table.
pub async fn suite(trials: &mut Trials<'_>, can: Capabilities) {
    let fixture = trials.fixture();
    let (keeps, marks) = (fixture.keeps_other_properties(), fixture.marks());
    trials.run("push, then read back", can.push, what_is_pushed_is_there(fixture)).await;
    trials.run("push several values", can.push, several_values_are_pushed_as_one_secret(fixture)).await;
    trials
        .run("push the same: no new version", can.push && can.versions, what_is_equal_is_not_written_again(fixture))
        .await;
    trials.run("push one property", can.push && keeps, a_property_is_pushed_into_what_is_there(fixture)).await;
    trials.run("push: what others made is theirs", can.push && marks, what_others_made_stays_theirs(fixture)).await;
    let deletes = can.push && can.delete;
    trials.run("delete, and delete twice", deletes, what_was_pushed_can_be_deleted(fixture)).await;
    trials.run("delete the last property", deletes && keeps, the_last_property_takes_the_secret_along(fixture)).await;
    trials.run("delete: what others made stays", deletes && marks, what_others_made_is_not_deleted(fixture)).await;
    if !can.push {
        trials.hold("pushes are refused", pushes_are_refused(fixture)).await;
    }
    if !can.delete {
        trials.hold("deletions are refused", deletions_are_refused(fixture)).await;
    }
}

async fn what_is_pushed_is_there(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    let place = push(fixture, "pushed", b"", Reach::Ours).remote;
    assert!(!exists(&*provider, &place).await, "it is there before it is pushed");
    for written in [value("first"), value("line\r\n\t\"quoted\" \\ </&> \u{2028} é 😀"), value("last")] {
        pushed(&*provider, "a push", &push(fixture, "pushed", &written, Reach::Ours)).await;
        expect(fixture, "what was pushed", &held(fixture, &*provider, "pushed").await, &written);
    }
    assert!(exists(&*provider, &place).await, "what was pushed is there");
    assert!(!exists(&*provider, &remote("pushed", Some("never-was"))).await, "a property that was not pushed");
}

async fn several_values_are_pushed_as_one_secret(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    let fields = [("a", value("a")), ("b", value("b"))];
    let fields = fields.map(|(name, bytes)| (name.to_owned(), SecretBytes::new(bytes)));
    let mut push = push_of(remote("several", None), b"", Reach::Ours);
    push.payload = Payload::Fields(fields.into());
    pushed(&*provider, "a push of several values", &push).await;
    assert_eq!(fields_of(fixture, &*provider, "several").await, ["a", "b"]);
}

async fn what_is_equal_is_not_written_again(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    let push = push(fixture, "equal", &value("equal"), Reach::Ours);
    let mut versions = Vec::new();
    for _ in 0..2 {
        pushed(&*provider, "a push of the same", &push).await;
        versions.push(held(fixture, &*provider, "equal").await.expect("it is there").version);
    }
    assert_eq!(versions[0], versions[1], "an equal value made a new version");
}

async fn a_property_is_pushed_into_what_is_there(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    for property in ["a", "b", "a"] {
        let push = push_of(remote("shared", Some(property)), &value(property), Reach::Ours);
        pushed(&*provider, "a push of a property", &push).await;
        assert!(exists(&*provider, &push.remote).await, "a property that was pushed is there");
    }
    assert_eq!(fields_of(fixture, &*provider, "shared").await, ["a", "b"]);
}

async fn what_others_made_stays_theirs(fixture: &dyn Fixture) {
    fixture.put("foreign", &value("theirs")).await;
    let provider = provider(fixture).await;
    assert!(exists(&*provider, &remote("foreign", None)).await, "what others made is there");
    let ours = push(fixture, "foreign", &value("ours"), Reach::Ours);
    expect_error("a push onto what others made", &provider.push(&ours).await, ErrorKind::Denied);
    expect(fixture, "what others made", &held(fixture, &*provider, "foreign").await, &value("theirs"));
    pushed(&*provider, "a push that takes over", &Push { reach: Reach::All, ..ours.clone() }).await;
    expect(fixture, "what was taken over", &held(fixture, &*provider, "foreign").await, &value("ours"));
    pushed(&*provider, "a push onto what was taken over", &ours).await;
}

async fn what_was_pushed_can_be_deleted(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    let push = push(fixture, "short-lived", &value("short-lived"), Reach::Ours);
    pushed(&*provider, "a push", &push).await;
    for when in ["a deletion", "a deletion of what is not there"] {
        provider.delete(&push.remote, Reach::Ours).await.unwrap_or_else(|error| panic!("{when}: {error}"));
        expect_error(when, &held(fixture, &*provider, "short-lived").await, fixture.missing());
        assert!(!exists(&*provider, &push.remote).await, "{when}");
    }
}

async fn the_last_property_takes_the_secret_along(fixture: &dyn Fixture) {
    let provider = provider(fixture).await;
    for property in ["a", "b"] {
        let push = push_of(remote("emptied", Some(property)), &value(property), Reach::Ours);
        pushed(&*provider, "a push of a property", &push).await;
    }
    provider.delete(&remote("emptied", Some("a")), Reach::Ours).await.expect("a property can be deleted");
    assert_eq!(fields_of(fixture, &*provider, "emptied").await, ["b"]);
    provider.delete(&remote("emptied", Some("b")), Reach::Ours).await.expect("the last property can be deleted");
    expect_error("a secret without properties", &held(fixture, &*provider, "emptied").await, fixture.missing());
}

async fn what_others_made_is_not_deleted(fixture: &dyn Fixture) {
    fixture.put("not-ours", &value("theirs")).await;
    let provider = provider(fixture).await;
    provider.delete(&remote("not-ours", None), Reach::Ours).await.expect("what others made is passed over");
    expect(fixture, "what others made", &held(fixture, &*provider, "not-ours").await, &value("theirs"));
    provider.delete(&remote("not-ours", None), Reach::All).await.expect("all can be deleted, where that is asked");
    expect_error("what was theirs", &held(fixture, &*provider, "not-ours").await, fixture.missing());
}

/// What is there under this name: fetched, where the store can be read.
async fn held(fixture: &dyn Fixture, provider: &dyn Provider, name: &str) -> Answer {
    if provider.capabilities().max_batch > 0 {
        return fetch_one(provider, &key(name)).await;
    }
    let found = fixture.held(name).await.map(|value| SecretBytes::new(value).into());
    found.ok_or_else(|| Error::new(fixture.missing(), "the backend holds no such secret"))
}

/// The names of a secret's fields.
async fn fields_of(fixture: &dyn Fixture, provider: &dyn Provider, name: &str) -> Vec<String> {
    let whole = held(fixture, provider, name).await.unwrap_or_else(|error| panic!("{name}: {error}")).value;
    if provider.dialect().property == PropertyLookup::Parts {
        return Parts::read(&whole).unwrap_or_else(|| panic!("{name} has no parts")).fields.into_keys().collect();
    }
    let fields = json::object(whole.expose()).unwrap_or_else(|| panic!("{name} is no JSON object"));
    fields.into_keys().collect()
}
