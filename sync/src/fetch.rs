//! Asks the stores for what the plan wants.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Key, Query};

use crate::dependency::{Dependency, Kind};
use crate::outcome::{Failure, Headline, Retry};
use crate::ports::{Entered, Planning, Stores};
use crate::render::Answers;
use crate::request::{Request, Source, Wanted};
use crate::store::{Store, StoreId};

/// What is asked of one store: keys, and searches by the place of their request.
#[derive(Default)]
struct Questions<'a> {
    keys: BTreeSet<&'a Key>,
    searches: Vec<(usize, &'a Query)>,
}

/// Asks all stores at once, each key once. `planning` is let go as soon as it is clear what is asked.
pub async fn fetch(
    stores: &dyn Stores,
    es: &ExternalSecret,
    requests: &[Request],
    planning: Planning,
) -> Result<Answers, Failure> {
    let mut wanted: BTreeMap<&StoreId, (&Store, Questions<'_>)> = BTreeMap::new();
    for (place, request) in requests.iter().enumerate() {
        let Source::Store(store, asked) = &request.source else { continue };
        let (_, questions) = wanted.entry(&store.id).or_insert_with(|| (store, Questions::default()));
        match asked {
            Wanted::Key(key) => _ = questions.keys.insert(key),
            Wanted::Query(query) => questions.searches.push((place, query)),
        }
    }
    // From here on each store is planned apart: one that is slow to let us in holds up nobody else's batches.
    let guards: Vec<_> = wanted.iter().map(|_| stores.planning()).collect();
    drop(planning);
    let asked =
        wanted.into_iter().zip(guards).map(|((_, (store, questions)), guard)| ask(stores, es, store, questions, guard));
    let mut all = Answers::default();
    for answers in futures::future::join_all(asked).await {
        let answers = answers?;
        all.values.extend(answers.values);
        all.found.extend(answers.found);
        all.capabilities.extend(answers.capabilities);
    }
    Ok(all)
}

async fn ask(
    stores: &dyn Stores,
    es: &ExternalSecret,
    store: &Store,
    questions: Questions<'_>,
    guard: Planning,
) -> Result<Answers, Failure> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let mut keys: BTreeSet<Key> = questions.keys.into_iter().cloned().collect();
    let mut answers = Answers::default();
    let entered = match stores.enter(store, namespace).await {
        Ok(entered) => entered,
        Err(error) => {
            let error = error.context("unable to create client");
            answers.values.extend(keys.into_iter().map(|key| ((store.id.clone(), key), Err(error.clone()))));
            answers.found.extend(questions.searches.into_iter().map(|(place, _)| (place, Err(error.clone()))));
            return Ok(answers);
        }
    };
    let entered = &*entered;
    refuse_own_login(es, &store.id, entered)?;
    answers.capabilities.insert(store.id.clone(), entered.capabilities());
    // What is found is fetched like anything else, together with all others.
    let searches = questions.searches.into_iter();
    let searches = searches.map(|(place, query)| async move { (place, search(entered, query).await) });
    for (place, found) in futures::future::join_all(searches).await {
        keys.extend(found.iter().flatten().cloned());
        answers.found.insert(place, found);
    }
    let fetched = entered.fetch(namespace, keys.into_iter().collect(), guard).await;
    answers.values.extend(fetched.into_iter().map(|(key, answer)| ((store.id.clone(), key), answer)));
    Ok(answers)
}

async fn search(store: &dyn Entered, query: &Query) -> Result<Vec<Key>, Error> {
    store.find(&permitted(query, &store.capabilities())?).await
}

/// What the store is asked for. As in External Secrets Operator it passes over a path, and beside a name tags, that it
/// can't search by; but it is never asked for all that it has by mistake.
fn permitted(query: &Query, can: &Capabilities) -> Result<Query, Error> {
    let unsupported = |message: String| Err(Error::new(ErrorKind::Unsupported, message));
    let (by_name, by_tags) = (query.name.is_some(), !query.tags.is_empty());
    for (refused, how) in [(by_name && !can.find_by_name, "name"), (by_tags && !by_name && !can.find_by_tags, "tags")] {
        if refused {
            return unsupported(format!("this store can't be searched by {how}"));
        }
    }
    if !by_name && !by_tags && !can.find_all {
        let ways = [(can.find_by_name, "find.name.regexp"), (can.find_by_tags, "find.tags")];
        let ways: Vec<&str> = ways.into_iter().filter(|(can, _)| *can).map(|(_, way)| way).collect();
        return if ways.is_empty() {
            unsupported("this store can't be searched".to_owned())
        } else {
            unsupported(format!("the search does not say what to find: set {}", ways.join(" or ")))
        };
    }
    let mut asked = query.clone();
    if !can.find_by_path {
        asked.path = None;
    }
    if !can.find_by_tags {
        asked.tags.clear();
    }
    Ok(asked)
}

/// A target that its own store logs in with would lock the store out at the first write.
fn refuse_own_login(es: &ExternalSecret, store: &StoreId, entered: &dyn Entered) -> Result<(), Failure> {
    let target = Dependency {
        kind: Kind::Secret,
        namespace: es.metadata.namespace.clone().unwrap_or_default(),
        name: es.target_name().to_owned(),
    };
    let writes = es.spec.target.creation_policy != CreationPolicy::None;
    if !(writes && entered.logs_in_with(&target)) {
        Ok(())
    } else {
        let cause = format!("{store} logs in with Secret {:?}: use another target name", target.name);
        Err(Failure::new(Headline::Update, cause, Retry::OnChange))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says by what a store would be searched, or why it is not.
    fn asked(can: Capabilities, name: bool, path: bool, tags: bool) -> Result<String, String> {
        let query = Query {
            name: name.then(|| regex::Regex::new("n").unwrap()),
            path: path.then(|| "p".to_owned()),
            tags: tags.then(|| ("t".to_owned(), "v".to_owned())).into_iter().collect(),
        };
        let query = permitted(&query, &can).map_err(|error| error.message().to_owned())?;
        let parts = [(query.name.is_some(), "name"), (query.path.is_some(), "path"), (!query.tags.is_empty(), "tags")];
        Ok(parts.into_iter().filter(|(there, _)| *there).map(|(_, part)| part).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_search_by_nothing_finds_nothing() {
        let aws =
            Capabilities { find_by_name: true, find_by_path: true, find_by_tags: true, ..Capabilities::default() };
        let kubernetes = Capabilities { find_by_path: false, ..aws };
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        let vault = Capabilities { find_all: true, ..aws };
        let unsaid = |ways: &str| Err(format!("the search does not say what to find: set {ways}"));
        assert_eq!(asked(aws, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(aws, false, true, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(kubernetes, false, false, false), unsaid("find.name.regexp or find.tags"));
        assert_eq!(asked(fake, false, false, false), unsaid("find.name.regexp"));
        assert_eq!(asked(vault, false, false, false).unwrap(), "");
        assert_eq!(asked(vault, false, true, false).unwrap(), "path");
        assert_eq!(asked(aws, false, true, true).unwrap(), "path tags");
        assert_eq!(asked(aws, true, true, true).unwrap(), "name path tags");
        assert!(asked(Capabilities::default(), false, false, false).unwrap_err().contains("can't be searched"));
    }

    #[test]
    fn what_a_store_can_not_search_by_is_passed_over_beside_a_name() {
        let kubernetes = Capabilities { find_by_name: true, find_by_tags: true, ..Capabilities::default() };
        assert_eq!(asked(kubernetes, true, true, false).unwrap(), "name");
        assert_eq!(asked(kubernetes, false, true, true).unwrap(), "tags");
        assert!(asked(kubernetes, false, true, false).unwrap_err().contains("does not say what to find"));
        let fake = Capabilities { find_by_name: true, ..Capabilities::default() };
        assert_eq!(asked(fake, true, true, true).unwrap(), "name");
        assert_eq!(asked(fake, false, true, true).unwrap_err(), "this store can't be searched by tags");
        assert_eq!(
            asked(Capabilities::default(), true, false, false).unwrap_err(),
            "this store can't be searched by name"
        );
    }
}
