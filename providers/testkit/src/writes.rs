//! The checks of writing, one for each promise of the contract.

use keyferry_provider_core::parts::Parts;
use keyferry_provider_core::{
    Capabilities, ErrorKind, Key, Origin, Payload, PropertyLookup, Provider, Push, Reach, Remote, SecretBytes, json,
};

use crate::Fixture;
use crate::checks::{CANARY, expect, expect_error, fetch_one, key, value};

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
    if let Err(error) = provider.push(push).await {
        assert!(!error.message().contains(CANARY), "a message holds a value");
        panic!("{what}: {error}");
    }
}

async fn exists(provider: &dyn Provider, remote: &Remote) -> bool {
    provider.exists(remote).await.unwrap_or_else(|error| panic!("whether {:?} is there: {error}", remote.key))
}

/// What can't be done is refused, and changes nothing.
pub async fn pushes_are_refused(fixture: &dyn Fixture) {
    fixture.put("not-pushed", &value("kept")).await;
    let provider = fixture.provider().await;
    let push = push(fixture, "not-pushed", &value("pushed"), Reach::All);
    expect_error("a push", &provider.push(&push).await, ErrorKind::Unsupported);
    expect_error("a question before a push", &provider.exists(&push.remote).await, ErrorKind::Unsupported);
    expect(fixture, "after a refused push", &fetch_one(&*provider, &key("not-pushed")).await, &value("kept"));
}

/// The same for deletions.
pub async fn deletions_are_refused(fixture: &dyn Fixture) {
    fixture.put("not-deleted", &value("kept")).await;
    let provider = fixture.provider().await;
    let result = provider.delete(&remote("not-deleted", None), Reach::All).await;
    expect_error("a deletion", &result, ErrorKind::Unsupported);
    expect(fixture, "after a refused deletion", &fetch_one(&*provider, &key("not-deleted")).await, &value("kept"));
}

/// All checks of a store that can be pushed to.
pub async fn suite(fixture: &dyn Fixture, can: Capabilities) {
    what_is_pushed_is_there(fixture).await;
    several_values_are_pushed_as_one_secret(fixture).await;
    if can.versions {
        what_is_equal_is_not_written_again(fixture).await;
    }
    if fixture.keeps_other_properties() {
        a_property_is_pushed_into_what_is_there(fixture).await;
    }
    if fixture.marks() {
        what_others_made_stays_theirs(fixture).await;
    }
    if can.delete {
        what_was_pushed_can_be_deleted(fixture).await;
        if fixture.keeps_other_properties() {
            the_last_property_takes_the_secret_along(fixture).await;
        }
        if fixture.marks() {
            what_others_made_is_not_deleted(fixture).await;
        }
    }
}

async fn what_is_pushed_is_there(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    let place = push(fixture, "pushed", b"", Reach::Ours).remote;
    assert!(!exists(&*provider, &place).await, "it is there before it is pushed");
    for written in [value("first"), value("line\r\n\t\"quoted\" \\ </&> \u{2028} é 😀"), value("last")] {
        pushed(&*provider, "a push", &push(fixture, "pushed", &written, Reach::Ours)).await;
        expect(fixture, "what was pushed", &fetch_one(&*provider, &key("pushed")).await, &written);
    }
    assert!(exists(&*provider, &place).await, "what was pushed is there");
    assert!(!exists(&*provider, &remote("pushed", Some("never-was"))).await, "a property that was not pushed");
}

async fn several_values_are_pushed_as_one_secret(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    let fields = [("a", value("a")), ("b", value("b"))];
    let fields = fields.map(|(name, bytes)| (name.to_owned(), SecretBytes::new(bytes)));
    let mut push = push_of(remote("several", None), b"", Reach::Ours);
    push.payload = Payload::Fields(fields.into());
    pushed(&*provider, "a push of several values", &push).await;
    assert_eq!(fields_of(&*provider, "several").await, ["a", "b"]);
}

async fn what_is_equal_is_not_written_again(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    let push = push(fixture, "equal", &value("equal"), Reach::Ours);
    let mut versions = Vec::new();
    for _ in 0..2 {
        pushed(&*provider, "a push of the same", &push).await;
        versions.push(fetch_one(&*provider, &key("equal")).await.expect("it is there").version);
    }
    assert_eq!(versions[0], versions[1], "an equal value made a new version");
}

async fn a_property_is_pushed_into_what_is_there(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    for property in ["a", "b", "a"] {
        let push = push_of(remote("shared", Some(property)), &value(property), Reach::Ours);
        pushed(&*provider, "a push of a property", &push).await;
        assert!(exists(&*provider, &push.remote).await, "a property that was pushed is there");
    }
    assert_eq!(fields_of(&*provider, "shared").await, ["a", "b"]);
}

async fn what_others_made_stays_theirs(fixture: &dyn Fixture) {
    fixture.put("foreign", &value("theirs")).await;
    let provider = fixture.provider().await;
    assert!(exists(&*provider, &remote("foreign", None)).await, "what others made is there");
    let ours = push(fixture, "foreign", &value("ours"), Reach::Ours);
    expect_error("a push onto what others made", &provider.push(&ours).await, ErrorKind::Denied);
    expect(fixture, "what others made", &fetch_one(&*provider, &key("foreign")).await, &value("theirs"));
    pushed(&*provider, "a push that takes over", &Push { reach: Reach::All, ..ours.clone() }).await;
    expect(fixture, "what was taken over", &fetch_one(&*provider, &key("foreign")).await, &value("ours"));
    pushed(&*provider, "a push onto what was taken over", &ours).await;
}

async fn what_was_pushed_can_be_deleted(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    let push = push(fixture, "short-lived", &value("short-lived"), Reach::Ours);
    pushed(&*provider, "a push", &push).await;
    for when in ["a deletion", "a deletion of what is not there"] {
        provider.delete(&push.remote, Reach::Ours).await.unwrap_or_else(|error| panic!("{when}: {error}"));
        expect_error(when, &fetch_one(&*provider, &key("short-lived")).await, ErrorKind::NotFound);
        assert!(!exists(&*provider, &push.remote).await, "{when}");
    }
}

async fn the_last_property_takes_the_secret_along(fixture: &dyn Fixture) {
    let provider = fixture.provider().await;
    for property in ["a", "b"] {
        let push = push_of(remote("emptied", Some(property)), &value(property), Reach::Ours);
        pushed(&*provider, "a push of a property", &push).await;
    }
    provider.delete(&remote("emptied", Some("a")), Reach::Ours).await.expect("a property can be deleted");
    assert_eq!(fields_of(&*provider, "emptied").await, ["b"]);
    provider.delete(&remote("emptied", Some("b")), Reach::Ours).await.expect("the last property can be deleted");
    expect_error("a secret without properties", &fetch_one(&*provider, &key("emptied")).await, ErrorKind::NotFound);
}

async fn what_others_made_is_not_deleted(fixture: &dyn Fixture) {
    fixture.put("not-ours", &value("theirs")).await;
    let provider = fixture.provider().await;
    provider.delete(&remote("not-ours", None), Reach::Ours).await.expect("what others made is passed over");
    expect(fixture, "what others made", &fetch_one(&*provider, &key("not-ours")).await, &value("theirs"));
    provider.delete(&remote("not-ours", None), Reach::All).await.expect("all can be deleted, where that is asked");
    expect_error("what was theirs", &fetch_one(&*provider, &key("not-ours")).await, ErrorKind::NotFound);
}

/// The names of a secret's fields.
async fn fields_of(provider: &dyn Provider, name: &str) -> Vec<String> {
    let key = Key { name: name.to_owned(), version: None, metadata: false };
    let whole = fetch_one(provider, &key).await.unwrap_or_else(|error| panic!("{name}: {error}")).value;
    if provider.dialect().property == PropertyLookup::Parts {
        return Parts::read(&whole).unwrap_or_else(|| panic!("{name} has no parts")).fields.into_keys().collect();
    }
    let fields = json::object(whole.expose()).unwrap_or_else(|| panic!("{name} is no JSON object"));
    fields.into_keys().collect()
}
