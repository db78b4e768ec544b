//! What one ExternalSecret comes to. As the operator's look at one that is new, but what is written is printed.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Outcome, SyncResult, Synced};
use keyferry_sync::plan::{Facts, Plan, decide};
use keyferry_sync::ports::Ports;
use keyferry_sync::record::verdict;
use keyferry_sync::redact::blank;
use keyferry_sync::request::{Request, sources_of};
use keyferry_sync::resolve::{Asker, Kept, Resolved, content, data};
use keyferry_sync::settings::Settings;
use zeroize::Zeroizing;

use super::print::Rendered;
use crate::verbs::manifests::folder::Folder;
use crate::verbs::manifests::no_labels;
use crate::verbs::manifests::target::target;

/// What became of it.
pub struct One {
    /// What is written, where anything is.
    pub written: Option<Rendered>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl One {
    fn nothing(why: impl Into<String>) -> Self {
        Self { written: None, notes: vec![why.into()] }
    }
}

/// Renders it as if it were new. A failure is fit to be told.
pub async fn one(folder: &Folder, ports: &Ports, settings: &Settings, es: &ExternalSecret) -> Result<One, Failure> {
    let now = (settings.now)();
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let version = hash::version_of(es);
    let plan = decide(&Facts::of_new(
        es,
        &version,
        settings,
        ports.stores.generators(),
        &folder.stores,
        folder.namespaces.get(namespace),
    ));
    match plan {
        Plan::Fetch(requests) => {
            let asker = Asker { ports, settings, es, workload: None, now, is_asked_for: true, budget: Arc::default() };
            let mut kept = Kept::default();
            let made = made(folder, &asker, &requests, &mut kept).await;
            made.map_err(|failure| blank(failure, &kept.values))
        }
        Plan::Refuse(failure) => Err(failure),
        Plan::Hold => Err(no_labels(namespace)),
        Plan::Ignore => Ok(One::nothing("it belongs to another controller class")),
        Plan::LeaveToMounts => Ok(One::nothing("only pods that mount it log in to its store (spec.loginBy: Mount)")),
        Plan::Release { .. } => Ok(One::nothing("it is being deleted")),
        Plan::Observe | Plan::Settle | Plan::Wait(_) => Ok(One::nothing("nothing is due now")),
    }
}

/// Fetches and makes. `kept` gets everything that must not be told.
async fn made(folder: &Folder, asker: &Asker<'_>, requests: &[Request], kept: &mut Kept) -> Result<One, Failure> {
    let Asker { ports, es, .. } = asker;
    let resolved = data(asker, requests, ports.stores.planning(), kept).await?;
    let Some(Resolved { data, missing, .. }) = resolved else {
        return Ok(One::nothing("its generator belongs to another controller class"));
    };
    let mut notes: Vec<String> = missing.iter().map(|entry| format!("the store does not have {entry}")).collect();
    let without = if data.is_empty() { SyncResult::without_data(es)? } else { None };
    let written = if let Some(result) = without {
        notes.push(told(es, result));
        None
    } else if es.spec.target.creation_policy == CreationPolicy::None {
        notes.push("creationPolicy is None: nothing is written".to_owned());
        None
    } else {
        let names: BTreeSet<String> = data.keys().cloned().collect();
        let (content, _) = content(asker, data, kept).await?;
        notes.extend(content.complaints.iter().map(|at| format!("{at} fails, and its complaint is written")));
        let written = target(folder, es, &content)?.map(|object| Rendered::new(es, &object));
        if written.is_none() {
            notes.push(told(es, SyncResult::Missing));
        }
        written.map(|object| object.with_open_keys(names, texts(folder, es)))
    };
    if written.is_some() && es.target_manifest().is_some() {
        notes.push("the operator writes this with --unsafe-allow-generic-targets only".to_owned());
    }
    Ok(One { written, notes })
}

/// What the condition says of this.
fn told(es: &ExternalSecret, result: SyncResult) -> String {
    let synced = Synced { result, ..Synced::unchanged() };
    verdict(es, &Outcome::Synced(synced)).map(|(_, _, message)| message.into_string()).unwrap_or_default()
}

/// All that authors wrote: the ExternalSecret, what its templates are taken from, and the target where it is there.
fn texts(folder: &Folder, es: &ExternalSecret) -> Vec<Zeroizing<String>> {
    let spec = serde_json::to_string(&es.spec).unwrap_or_default();
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let there = match es.target_manifest() {
        Some(kind) => {
            folder.object(kind, namespace, es.target_name()).and_then(|o| serde_json::to_string(o.get()).ok())
        }
        None => folder.secret(namespace, es.target_name()).and_then(|s| serde_json::to_string(s.get()).ok()),
    };
    let sources = sources_of(es).into_iter().filter_map(|source| folder.data(&source)).flatten();
    let sources = sources.filter_map(|(_, text)| text.expose_str().map(|text| Zeroizing::new(text.to_owned())));
    sources.chain([spec, there.unwrap_or_default()].map(Zeroizing::new)).collect()
}
