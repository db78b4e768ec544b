//! The checks of searching: what is given must all hold, in every store alike, and a search is whole or an error.

use std::sync::Arc;

use keyferry_provider_core::{ErrorKind, Provider, Query, find_all};

use crate::Fixture;
use crate::checks::{expect, fetch_one, value};
use crate::trials::Outcome;
use crate::watched::provider;

/// A query by name, path and tags, each as far as it is given.
fn query(name: &str, path: Option<&str>, tags: &[(&str, &str)]) -> Query {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let name = (!name.is_empty()).then(|| name.parse().expect("a pattern"));
    Query { name, path: path.map(str::to_owned), tags }
}

/// What a query finds, by the ends of the names: a path may stand before them.
async fn found(fixture: &dyn Fixture, provider: &dyn Provider, query: &Query) -> Vec<String> {
    let found = find_all(provider, query).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
    let last = |name: &str| name.rsplit(fixture.separator()).next().unwrap_or_default().to_owned();
    found.into_iter().map(|key| last(&key.name)).collect()
}

/// A path, or a name with one, as the store has it.
fn placed(fixture: &dyn Fixture, path: &str) -> String {
    path.replace('/', &fixture.separator().to_string())
}

pub async fn what_bears_the_name_is_found(fixture: &dyn Fixture) {
    for name in ["found-b", "found-a", "other-c"] {
        fixture.put(name, &value(name)).await;
    }
    let provider = provider(fixture).await;
    let found = find_all(&*provider, &query("found-[a-z]$", None, &[])).await;
    let found = found.unwrap_or_else(|error| panic!("a search by name: {error}"));
    let names: Vec<&str> = found.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["found-a", "found-b"], "found by name, and sorted");
    for key in &found {
        expect(fixture, &key.name, &fetch_one(&*provider, key).await, &value(&key.name));
    }
}

/// A search that finds nothing is an answer like any other: what to make of it is decided once for all stores.
pub async fn what_nothing_bears_is_not_found_and_no_error(fixture: &dyn Fixture) {
    fixture.put("not-looked-for", &value("a")).await;
    let provider = provider(fixture).await;
    assert!(found(fixture, &*provider, &query("nobody-is-called-so", None, &[])).await.is_empty());
    let can = provider.capabilities();
    if can.find_by_path {
        assert!(found(fixture, &*provider, &query("a", Some("no/such/folder"), &[])).await.is_empty());
    }
    if can.find_by_tags {
        assert!(found(fixture, &*provider, &query("", None, &[("no-such-tag", "x")])).await.is_empty());
    }
}

pub async fn a_name_and_tags_must_all_hold(fixture: &dyn Fixture) {
    for (name, tags) in [
        ("tagged-a", &[("team", "blue"), ("tier", "db")][..]),
        ("tagged-b", &[("team", "blue"), ("tier", "web")]),
        ("tagged-c", &[("team", "red"), ("tier", "db")]),
        ("another-d", &[("team", "blue"), ("tier", "db")]),
    ] {
        fixture.put_tagged(name, &value(name), tags).await;
    }
    fixture.put("tagged-without-any", &value("e")).await;
    let provider = provider(fixture).await;
    for (name, tags, expected) in [
        ("^tagged-", &[("team", "blue")][..], &["tagged-a", "tagged-b"][..]),
        ("^tagged-", &[("team", "blue"), ("tier", "db")], &["tagged-a"]),
        ("", &[("team", "blue"), ("tier", "db")], &["another-d", "tagged-a"]),
        ("^tagged-", &[("tier", "blue")], &[]), // of another tag
        ("^tagged-", &[("team", "green")], &[]),
        ("^nobody", &[("team", "blue")], &[]),
    ] {
        assert_eq!(found(fixture, &*provider, &query(name, None, tags)).await, expected, "{name} {tags:?}");
    }
    let can = provider.capabilities();
    if can.find_by_path {
        for (name, team) in [("below/tagged-f", "blue"), ("below/tagged-g", "red")] {
            fixture.put_tagged(&placed(fixture, name), &value(name), &[("team", team)]).await;
        }
        let below = async |name| found(fixture, &*provider, &query(name, Some("below"), &[("team", "blue")])).await;
        assert_eq!(below("").await, ["tagged-f"]);
        assert_eq!(below("tagged-[a-z]$").await, ["tagged-f"]);
        assert!(below("tagged-g$").await.is_empty());
    }
}

pub async fn a_name_and_a_path_must_both_hold(fixture: &dyn Fixture) {
    for name in ["folder/in-a", "folder/deeper/in-b", "folder/out-c", "elsewhere/in-d", "in-e"] {
        fixture.put(&placed(fixture, name), &value(name)).await;
    }
    let provider = provider(fixture).await;
    for (name, path, expected) in [
        ("in-[a-z]$", "folder", &["in-a", "in-b"][..]),
        ("in-[a-z]$", "folder/deeper", &["in-b"]),
        ("out-[a-z]$", "folder", &["out-c"]),
        ("out-[a-z]$", "folder/deeper", &[]),
    ] {
        let mut found = found(fixture, &*provider, &query(name, Some(&placed(fixture, path)), &[])).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{name} below {path}");
    }
    // What was found is fetched by the name that it was found by.
    for key in find_all(&*provider, &query("in-[a-z]$", Some("folder"), &[])).await.expect("it was found before") {
        let name = if key.name.ends_with("in-a") { "folder/in-a" } else { "folder/deeper/in-b" };
        expect(fixture, name, &fetch_one(&*provider, &key).await, &value(name));
    }
}

/// All that answers is found, however many pages it is on, by each criterion that the store can be searched by.
pub async fn over_several_pages(fixture: &dyn Fixture) -> Outcome {
    let provider = provider(fixture).await;
    let can = provider.capabilities();
    let Some(page) = fixture.page().filter(|_| can.find_by_name || can.find_by_tags) else {
        return Outcome::NotSupported;
    };
    let many = 2 * page + 1;
    let between = if can.find_by_path { fixture.separator() } else { '-' };
    for n in 0..many {
        let name = format!("paged{between}paged-{n}");
        if can.find_by_tags {
            fixture.put_tagged(&name, &value(&name), &[("set", "paged")]).await;
        } else {
            fixture.put(&name, &value(&name)).await;
        }
    }
    let mut calls = Vec::new();
    for (is_possible, by, query) in [
        (can.find_by_name, "name", query("paged-[0-9]+$", None, &[])),
        (can.find_by_tags, "tags", query("", None, &[("set", "paged")])),
        (can.find_by_path && can.find_by_name, "path", query("[0-9]$", Some("paged"), &[])),
    ] {
        if !is_possible {
            continue;
        }
        if let Some(server) = fixture.server() {
            server.take_calls();
        }
        let found = find_all(&*provider, &query).await.unwrap_or_else(|error| panic!("by {by}: {error}"));
        assert_eq!(found.len(), many, "by {by}, over pages of {page}");
        calls.extend(fixture.server().map(|server| format!("{by} {}", server.take_calls().len())));
    }
    if calls.is_empty() { Outcome::Passed } else { Outcome::Told(format!("calls: {}", calls.join(", "))) }
}

/// How a server fails in the middle of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has a problem, and says so with this status.
    Status(u16),
    /// It answers with something else than it should.
    Garbage,
    /// It ends the connection within the answer.
    Cut,
}

/// All faults that [`a_search_under_faults`] tries.
pub const FAULTS: [Fault; 6] =
    [Fault::Status(500), Fault::Status(403), Fault::Status(404), Fault::Status(429), Fault::Garbage, Fault::Cut];

/// A search that meets a fault at any of its calls is an error, and never fewer names; nor does it say that anything is not
/// there. `build` gives a store whose server fails so at this call of a search and at all that follow, and at none where
/// that is `None`; the search takes that many `calls`.
pub async fn a_search_under_faults(
    query: &Query,
    calls: usize,
    build: impl AsyncFn(Option<(usize, Fault)>) -> Arc<dyn Provider>,
) {
    let whole = find_all(&*build(None).await, query).await.unwrap_or_else(|error| panic!("without a fault: {error}"));
    assert!(!whole.is_empty(), "the search finds something");
    for fault in FAULTS {
        for call in 0..calls {
            match find_all(&*build(Some((call, fault))).await, query).await {
                Ok(found) => panic!("{fault:?} at call {call}: {} of {} names", found.len(), whole.len()),
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        !matches!(kind, ErrorKind::NotFound | ErrorKind::NoVersion),
                        "{fault:?} at call {call}: {error}"
                    );
                }
            }
        }
        let after = find_all(&*build(Some((calls, fault))).await, query).await;
        assert_eq!(after.as_ref().map(Vec::len), Ok(whole.len()), "{fault:?} after the last call");
    }
}
