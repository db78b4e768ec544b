//! Asks the stores for what the plan wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_provider_core::{Key, Query};

use crate::asking::Asking;
use crate::dependency::{Dependency, Kind};
use crate::ports::{Planning, Stores};
use crate::render::Answers;
use crate::request::{Origin, Request, Wanted, asked};
use crate::store::{Store, StoreId};

/// What is asked of one store: keys with the properties that are wanted of them, and searches by the place of their
/// request.
#[derive(Default)]
struct Questions<'a> {
    keys: BTreeSet<(&'a Key, &'a str)>,
    searches: Vec<(usize, &'a Query)>,
}

/// Asks all stores at once, each key once. `planning` is let go as soon as it is clear what is asked.
pub async fn fetch(
    stores: &dyn Stores,
    es: &ExternalSecret,
    requests: &[Request],
    planning: Planning,
    asking: &Arc<Asking>,
) -> Answers {
    let mut wanted: BTreeMap<&StoreId, (&Store, Questions<'_>)> = BTreeMap::new();
    for (place, request) in requests.iter().enumerate() {
        let Origin::Store(store, asked) = &request.origin else { continue };
        let (_, questions) = wanted.entry(&store.id).or_insert_with(|| (store, Questions::default()));
        match asked {
            Wanted::Key(key) => {
                let property = request.remote.property.as_deref().unwrap_or_default();
                questions.keys.insert((key, property));
            }
            Wanted::Query(query) => questions.searches.push((place, query)),
        }
    }
    // From here on each store is planned apart: one that is slow to let us in holds up nobody else's batches.
    let guards: Vec<_> = wanted.keys().map(|store| stores.asking(store)).collect();
    drop(planning);
    let asked = wanted
        .into_iter()
        .zip(guards)
        .map(|((_, (store, questions)), guard)| ask(stores, es, store, questions, (guard, asking)));
    let mut all = Answers::default();
    for answers in futures::future::join_all(asked).await {
        all.logins.extend(answers.logins);
        all.values.extend(answers.values);
        all.versions.extend(answers.versions);
        all.found.extend(answers.found);
        all.dialects.extend(answers.dialects);
    }
    all
}

async fn ask(
    stores: &dyn Stores,
    es: &ExternalSecret,
    store: &Store,
    questions: Questions<'_>,
    (guard, asking): (Planning, &Arc<Asking>),
) -> Answers {
    let mut answers = Answers::default();
    let entered = match stores.enter(store, &asking.namespace).await {
        Ok(entered) => entered,
        Err(error) => {
            let error = error.context("unable to create client");
            let keys = questions.keys.into_iter().map(|(key, _)| key.clone());
            answers.values.extend(keys.map(|key| ((store.id.clone(), key), Err(error.clone()))));
            answers.found.extend(questions.searches.into_iter().map(|(place, _)| (place, Err(error.clone()))));
            return answers;
        }
    };
    let entered = &*entered;
    if own_secret(es).is_some_and(|target| entered.logs_in_with(&target)) {
        answers.logins.push(store.id.clone());
    }
    let dialect = entered.dialect();
    let mut keys: BTreeSet<Key> =
        questions.keys.into_iter().map(|(key, property)| asked(key, property, &dialect)).collect();
    answers.dialects.insert(store.id.clone(), dialect);
    // A search may take long: nobody waits for what it finds. That is fetched like anything else, together with all others.
    let guard = if questions.searches.is_empty() {
        guard
    } else {
        drop(guard);
        Box::new(())
    };
    let searches = questions.searches.into_iter();
    let searches = searches.map(|(place, query)| async move { (place, entered.find(&asking.namespace, query).await) });
    for (place, found) in futures::future::join_all(searches).await {
        let found = found.and_then(|found| asking.pay_for(&found).map(|()| found));
        keys.extend(found.iter().flatten().cloned());
        answers.found.insert(place, found);
    }
    let fetched = entered.fetch(asking, keys.into_iter().collect(), guard).await;
    for (key, answer) in fetched {
        let at = (store.id.clone(), key);
        if let Ok(Some(version)) = answer.as_ref().map(|fetched| fetched.version.clone()) {
            answers.versions.insert(at.clone(), version);
        }
        answers.values.insert(at, answer.map(|fetched| fetched.value));
    }
    answers
}

/// The Secret that `es` writes, where it writes one.
pub fn own_secret(es: &ExternalSecret) -> Option<Dependency> {
    let writes = es.spec.target.creation_policy != CreationPolicy::None && es.target_manifest().is_none();
    let namespace = es.metadata.namespace.clone().unwrap_or_default();
    writes.then(|| Dependency { kind: Kind::Secret, namespace, name: es.target_name().to_owned() })
}
