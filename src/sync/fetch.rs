//! Asks the stores for what the plan wants.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_provider_core::Key;

use super::outcome::{Failure, Retry, headline};
use super::plan::Request;
use super::render::Answers;
use crate::store::credentials::{Dependency, Kind};
use crate::store::fetcher::PlanningGuard;
use crate::store::pool::{Client, Pool};
use crate::store::{Store, StoreId};

/// Asks all stores at once, each key once. `planning` is let go as soon as it is clear what is asked.
pub async fn fetch(
    pool: &Pool,
    es: &ExternalSecret,
    requests: &[Request],
    planning: Option<PlanningGuard>,
) -> Result<Answers, Failure> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let mut wanted: BTreeMap<&StoreId, (&Store, BTreeSet<&Key>)> = BTreeMap::new();
    for request in requests {
        wanted.entry(&request.store.id).or_insert_with(|| (&request.store, BTreeSet::new())).1.insert(&request.key);
    }
    // From here on each store is planned apart: one that is slow to let us in holds up nobody else's batches.
    let guards: Vec<_> = wanted.iter().map(|_| pool.plan()).collect();
    drop(planning);
    let asked = wanted.into_iter().zip(guards).map(|((id, (store, keys)), guard)| async move {
        let keys: Vec<Key> = keys.into_iter().cloned().collect();
        let client = match pool.client(store, Some(namespace)).await {
            Ok(client) => client,
            Err(error) => {
                let error = error.context("unable to create client");
                return (id, None, keys.into_iter().map(|key| (key, Err(error.clone()))).collect());
            }
        };
        let answers = client.fetcher.fetch(namespace, keys, Some(guard)).await;
        (id, Some(client), answers)
    });
    let mut all = Answers::default();
    for (id, client, answers) in futures::future::join_all(asked).await {
        if let Some(client) = client {
            refuse_own_login(es, id, &client)?;
            all.capabilities.insert(id.clone(), client.provider.capabilities());
        }
        all.values.extend(answers.into_iter().map(|(key, answer)| ((id.clone(), key), answer)));
    }
    Ok(all)
}

/// A target that its own store logs in with would lock the store out at the first write.
fn refuse_own_login(es: &ExternalSecret, store: &StoreId, client: &Client) -> Result<(), Failure> {
    let target = Dependency {
        kind: Kind::Secret,
        namespace: es.metadata.namespace.clone().unwrap_or_default(),
        name: es.target_name().to_owned(),
    };
    let writes = es.spec.target.creation_policy != CreationPolicy::None;
    match writes && client.logs_in_with(&target) {
        false => Ok(()),
        true => {
            let cause = format!("{store} logs in with Secret {:?}: use another target name", target.name);
            Err(Failure::new(headline::UPDATE, cause, Retry::OnChange))
        }
    }
}
