//! What is wrong with a spec, or asks for what is not built. Pure.

use std::collections::HashSet;
use std::fmt;

use keyferry_crds::{
    ConversionStrategy, CreationPolicy, DataFromEntry, DecodingStrategy, DeletionPolicy, ExternalSecret, Manifest,
    MetadataPolicy, NullBytePolicy, RefreshPolicy, RemoteRef, SecretStoreRef, StoreKind,
};
use keyferry_go::regexp;
use keyferry_limits::SEARCHES;

use crate::form;
use crate::request::{generator, pattern, store_refs};
use crate::template::Destination;
use crate::told;
use crate::told::{Spec, Told};

/// What the API server's rules refuse too, but which objects from before the rules may hold.
pub fn problems(es: &ExternalSecret) -> Vec<String> {
    let spec = &es.spec;
    let target = &spec.target;
    // What is too much is not gone through.
    let mut problems = form::excesses(es);
    if !problems.is_empty() {
        return problems;
    }
    let mut word = |field: fmt::Arguments<'_>, given: &str, known: &[&str]| {
        if !known.contains(&given) {
            problems.push(format!("{field} is {given:?}: use one of {}", known.join(", ")));
        }
    };
    word(format_args!("spec.refreshPolicy"), spec.refresh_policy.as_str(), RefreshPolicy::NAMES);
    word(format_args!("spec.target.creationPolicy"), target.creation_policy.as_str(), CreationPolicy::NAMES);
    word(format_args!("spec.target.deletionPolicy"), target.deletion_policy.as_str(), DeletionPolicy::NAMES);
    for (at, remote) in remote_refs(es) {
        word(format_args!("{at}.metadataPolicy"), remote.metadata_policy.as_str(), MetadataPolicy::NAMES);
        word(format_args!("{at}.decodingStrategy"), remote.decoding_strategy.as_str(), DecodingStrategy::NAMES);
        word(format_args!("{at}.conversionStrategy"), remote.conversion_strategy.as_str(), ConversionStrategy::NAMES);
        word(format_args!("{at}.nullBytePolicy"), remote.null_byte_policy.as_str(), NullBytePolicy::NAMES);
    }
    if let Err(problem) = spec.refresh_every() {
        problems.push(format!("spec.refreshInterval: {problem}"));
    }
    if spec.data.is_empty() && spec.data_from.is_empty() {
        problems.push("spec has neither data nor dataFrom: say what to fetch".to_owned());
    }
    match (&target.deletion_policy, &target.creation_policy) {
        (DeletionPolicy::Delete, CreationPolicy::Merge | CreationPolicy::CreateOrMerge) => {
            problems.push(format!("deletionPolicy=Delete needs creationPolicy=Owner, not {}", target.creation_policy))
        }
        (DeletionPolicy::Merge, CreationPolicy::None) => {
            problems.push("deletionPolicy=Merge needs a target, and creationPolicy=None has none".to_owned());
        }
        _ => {}
    }
    problems.extend(target.manifest.iter().flat_map(manifest_problems));
    problems.extend(form::bad_names(es));
    for (n, from) in target.template.iter().flat_map(|template| &template.template_from).enumerate() {
        if let Err(problem) = Destination::parse(from.target.as_deref(), es.target_manifest()) {
            problems.push(format!("spec.target.template.templateFrom[{n}].target {problem}"));
        }
    }
    for (n, entry) in spec.data_from.iter().enumerate() {
        problems.extend(data_from_problem(entry).map(|problem| format!("spec.dataFrom[{n}] {problem}")));
    }
    let mut earlier = HashSet::new();
    for (n, entry) in spec.data.iter().enumerate() {
        if !earlier.insert(&entry.secret_key) && target.deletion_policy == DeletionPolicy::Retain {
            problems.push(format!("spec.data[{n}].secretKey {:?} is there twice", entry.secret_key));
        }
    }
    problems
}

/// What the kind of a target lacks.
fn manifest_problems(manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    for (field, value) in [("apiVersion", &manifest.api_version), ("kind", &manifest.kind)] {
        if value.is_empty() {
            problems.push(format!("spec.target.manifest.{field} is missing"));
        }
    }
    problems
}

/// What no store can be asked for: in External Secrets Operator these are failures to get data.
pub fn unanswerable(es: &ExternalSecret) -> Vec<Told> {
    let mut problems = Vec::new();
    let mut searches = HashSet::new();
    for (n, entry) in es.spec.data_from.iter().enumerate() {
        let Some(pattern) = entry.find.as_ref().and_then(pattern) else { continue };
        searches.insert(pattern);
        if searches.len() > SEARCHES.size() {
            problems.push(told!("spec.dataFrom[{}].find: {}", n, SEARCHES));
            break;
        }
        if let Err(why) = regexp::compile(pattern) {
            let (pattern, why) = (Spec(pattern), Told::without_values(why));
            let problem = "is not a regular expression";
            problems.push(told!("spec.dataFrom[{}].find.name.regexp {} {}: {}", n, pattern, problem, why));
        }
    }
    for (at, reference) in store_refs(es) {
        match reference {
            Some(SecretStoreRef { kind: StoreKind::Unknown(kind), .. }) => {
                let at = Told::without_values(at);
                problems.push(told!("{} has kind {}: use SecretStore or ClusterSecretStore", at, Spec(kind)));
            }
            Some(SecretStoreRef { name, .. }) if !name.is_empty() => {}
            _ => {
                let at = Told::without_values(at);
                problems.push(told!("{} names no store: set spec.secretStoreRef or its own sourceRef.storeRef", at));
            }
        }
    }
    problems
}

fn data_from_problem(entry: &DataFromEntry) -> Option<&'static str> {
    let generator = generator(entry);
    let store = entry.source_ref.as_ref().and_then(|source| source.store_ref.as_ref());
    match [entry.find.is_some(), entry.extract.is_some(), generator.is_some()].iter().filter(|given| **given).count() {
        1 => None,
        // It asks for nothing, and gets nothing: so it is in External Secrets Operator.
        0 if store.is_some() => None,
        0 => Some("has none of extract, find and sourceRef.generatorRef: set one"),
        _ => Some("has more than one of extract, find and sourceRef.generatorRef: split it into several entries"),
    }
}

fn remote_refs(es: &ExternalSecret) -> impl Iterator<Item = (At, &RemoteRef)> {
    let data = es.spec.data.iter().enumerate().map(|(n, entry)| (At::Data(n), &entry.remote_ref));
    let extracts = es.spec.data_from.iter().enumerate();
    data.chain(extracts.filter_map(|(n, entry)| Some((At::Extract(n), entry.extract.as_ref()?))))
}

/// Where a reference to a secret stands. It is written down where something is wrong there only: each look asks.
enum At {
    Data(usize),
    Extract(usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(n) => write!(f, "spec.data[{n}].remoteRef"),
            Self::Extract(n) => write!(f, "spec.dataFrom[{n}].extract"),
        }
    }
}

/// Holds a generator of another kind for the whole cluster.
pub const CLUSTER_GENERATOR: &str = "ClusterGenerator";

/// Fields of the API that are not built yet. Nothing of such an ExternalSecret is carried out: half of it would be
/// another Secret than the one its author wants. `generators` are the kinds that there are.
pub fn unsupported(es: &ExternalSecret, generators: &[&str]) -> Vec<String> {
    let known: Vec<&str> = generators.iter().copied().chain([CLUSTER_GENERATOR]).collect();
    let mut features = Vec::new();
    for (n, entry) in es.spec.data_from.iter().enumerate() {
        let generator = generator(entry).filter(|generator| !known.contains(&generator.kind.as_str()));
        features.extend(generator.map(|generator| {
            format!(
                "spec.dataFrom[{n}].sourceRef.generatorRef.kind {:?} (there are {})",
                generator.kind,
                known.join(", ")
            )
        }));
    }
    features
}
