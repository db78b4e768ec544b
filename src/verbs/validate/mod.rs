//! `keyferry validate`: what an API server and the operator would say of manifests, without either. For the CI of a repository.
//!
//! Modules, in reading order: [`finding`] what is found, [`rules`] admission rules, [`schema`] the schemas, [`spec`] the
//! operator's own checks, [`references`] what manifests refer to among themselves, [`print`] how it is told.

pub mod finding;
pub mod rules;
pub mod schema;
pub mod spec;
pub mod references;
pub mod print;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use keyferry_crds::{ExternalSecret, names};
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_stores::registry;
use keyferry_sync::store::Store;
use kube::api::ObjectMeta;
use serde_json::Value;

use self::finding::{At, Finding, Severity};
use self::references::Index;
use self::spec::Operator;
use super::manifests::Pipeline;
use super::manifests::read::{self, Document, Manifests};
use crate::verbs::hint::did_you_mean;
use crate::verbs::table::plain;

/// Flags of `keyferry validate`.
#[derive(Args, Debug)]
pub struct Validate {
    /// The manifests: a file, a folder whose .yaml, .yml and .json files are read, or - for standard input; may be repeated
    #[arg(long, short, value_name = "FILE|DIR|-", required = true)]
    pub filename: Vec<PathBuf>,
    /// Read the folders within folders, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// The namespace of what names none
    #[arg(long, short, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// What the manifests refer to is among them, or nowhere
    #[arg(long)]
    pub complete: bool,
    /// Warnings count as errors
    #[arg(long)]
    pub strict: bool,
    /// How to print
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Format,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: Pipeline,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each finding: file, line, what is wrong.
    Text,
    /// A JSON array.
    Json,
    /// Annotations of GitHub Actions.
    Github,
}

/// Some manifests can't be read.
const UNREADABLE: u8 = 2;

/// Reads, judges and prints.
pub fn run(
    args: &Validate,
    input: &mut (dyn Read + Send),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitCode, String> {
    let manifests = read::read_closed(&args.filename, args.recursive, input);
    manifests.notes.iter().for_each(|note| _ = writeln!(err, "{}", plain(note)));
    let (count, found) = judge(args, &manifests);
    print::print(&found, args.output, out).map_err(|_| "can't write to standard output".to_owned())?;
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    let _ = writeln!(err, "{count} objects, {errors} errors, {warnings} warnings");
    Ok(match (errors, warnings) {
        _ if found.iter().any(|finding| finding.check == "yaml") => ExitCode::from(UNREADABLE),
        (0, 0) => ExitCode::SUCCESS,
        (0, _) if !args.strict => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What is wrong with manifests, by file and line; and how many objects of ours there are.
pub fn judge(args: &Validate, manifests: &Manifests) -> (usize, Vec<Finding>) {
    let settings = args.pipeline.settings();
    let providers: Vec<&'static str> = registry::PROVIDERS.iter().map(|provider| provider.name).collect();
    let operator =
        Operator { engine: &settings.engine, generators: registry::GENERATOR_KINDS.as_slice(), providers: &providers };
    let mut index = Index::new(args.complete);
    let mut found: Vec<Finding> =
        manifests.problems.iter().map(|problem| Finding::unreadable(problem)).filter(is_manifest).collect();
    for document in &manifests.documents {
        let id = references::id(document, &args.namespace);
        // Other kinds may well be of several overlays, and what is named when it is made is another one each time.
        let is_judged = is_ours(document) && !id.2.is_empty();
        if let Some(before) = index.put(document, id).filter(|_| is_judged) {
            let message = format!("it is there already, at {before}: remove one of them, or give it another name");
            found.push(place(Finding::at(At::default(), Severity::Error, "name", message), document));
        }
    }
    let ours: Vec<&Document> = manifests.documents.iter().filter(|document| is_ours(document)).collect();
    for document in &ours {
        let judged = one(document, &args.namespace, &operator, &mut index);
        found.extend(judged.into_iter().map(|finding| place(finding, document)));
    }
    found.sort_by(|a, b| (&a.file, a.line, &a.path).cmp(&(&b.file, b.line, &b.path)));
    found.dedup_by(|a, b| (&a.file, a.line, &a.path, &a.message) == (&b.file, b.line, &b.path, &b.message));
    (ours.len(), found)
}

/// A repository has files of other kinds of YAML, too.
fn is_manifest(finding: &Finding) -> bool {
    !finding.message.starts_with("an object has apiVersion and kind")
}

fn group(document: &Document) -> &str {
    document.text("/apiVersion").split_once('/').map_or("", |(group, _)| group)
}

/// Whether it is of a group of ours, or of one that is nearly written so, or of a kind of ours and of no group that may have such a kind.
fn is_ours(document: &Document) -> bool {
    let groups = [names::GROUP, names::GENERATORS_GROUP];
    let group = group(document);
    // Groups of others have a dot.
    let is_of_kind = !group.contains('.') && is_of_group(document.text("/kind"));
    groups.contains(&group) || super::hint::near(group, groups).is_some() || is_of_kind
}

/// Whether a kind is of the group of ExternalSecrets. Generators have names that other kinds have, too.
fn is_of_group(kind: &str) -> bool {
    keyferry_crds::kinds(names::GROUP).any(|(of, _)| of == kind)
}

fn place(finding: Finding, document: &Document) -> Finding {
    let (kind, name) = (document.text("/kind"), document.text("/metadata/name"));
    finding.placed(format!("{kind} {name}").trim_end(), &document.place, &document.lines)
}

/// What is wrong with one object.
fn one(document: &Document, namespace: &str, operator: &Operator<'_>, index: &mut Index<'_>) -> Vec<Finding> {
    let mut found = named(document);
    let (kind, version) = (document.text("/kind"), document.text("/apiVersion"));
    let version = version.rsplit('/').next().unwrap_or_default();
    let Some(of_kind) = keyferry_crds::schema(group(document), kind, version) else {
        found.push(unknown(group(document), kind, version));
        return found;
    };
    if version == names::OLD_VERSION {
        let message = "v1beta1 is served on demand only: `keyferry migrate manifests` makes it v1".to_owned();
        found.push(Finding::at(At::from(&["apiVersion"][..]), Severity::Warning, "schema", message));
    }
    let mut object = document.object.clone();
    schema::with_defaults(of_kind, object.get_mut());
    schema::judge(of_kind, object.get(), &mut found);
    found.extend(metadata(object.get()));
    let mut own = references::id(document, namespace);
    let spec: &[&str] = match kind {
        names::KIND_CLUSTER_EXTERNAL_SECRET => &["spec", "externalSecretSpec"],
        names::KIND_CLUSTER_PUSH_SECRET => &["spec", "pushSecretSpec"],
        _ => &["spec"],
    };
    let own_checks = own_checks(kind, object.get(), &mut own, operator, index);
    if own_checks.is_none() && found.iter().all(|told| told.severity != Severity::Error) {
        let message = format!(
            "it is not of the form that its kind has: compare it with `kubectl explain {}`",
            kind.to_lowercase()
        );
        found.push(Finding::at(At::default(), Severity::Error, "schema", message));
    }
    for finding in own_checks.into_iter().flatten() {
        let at = finding.at.below(spec);
        let is_told = found.iter().any(|told| told.says_the_same(finding.check, &at));
        if !is_told {
            found.push(Finding { path: at.to_string(), at, ..finding });
        }
    }
    found
}

/// What the operator says of an object; `None` where it can't be read.
fn own_checks(
    kind: &str,
    object: &Value,
    own: &mut references::Id,
    operator: &Operator<'_>,
    index: &mut Index<'_>,
) -> Option<Vec<Finding>> {
    match kind {
        "ExternalSecret" => {
            let es: ExternalSecret = decode(object)?;
            let mut found = operator.external_secret(&es);
            found.extend(index.external_secret(own, &es));
            Some(found)
        }
        names::KIND_CLUSTER_EXTERNAL_SECRET => {
            decode(&embedded(object, "externalSecretSpec")).map(|es| operator.external_secret(&es))
        }
        names::KIND_PUSH_SECRET => decode(object).map(|ps| operator.push_secret(&ps)),
        names::KIND_CLUSTER_PUSH_SECRET => {
            decode(&embedded(object, "pushSecretSpec")).map(|ps| operator.push_secret(&ps))
        }
        "SecretStore" => decode(object).map(Store::namespaced).map(|of| store(&of, operator)),
        "ClusterSecretStore" => decode(object).map(Store::cluster).map(|of| store(&of, operator)),
        _ => Some(Vec::new()),
    }
}

fn store(store: &Store, operator: &Operator<'_>) -> Vec<Finding> {
    let known = keyferry_crds::provider_keys();
    store.spec.as_ref().map(|spec| operator.store(spec, &known, store.bad_regex())).unwrap_or_default()
}

/// That metadata are not of their form, which no schema tells.
fn metadata(object: &Value) -> Option<Finding> {
    let of = |value: &Value| serde_json::from_value::<ObjectMeta>(value.clone()).is_err();
    let metadata = object.get("metadata").filter(|metadata| !metadata.is_null() && of(metadata))?;
    let alone = |(name, value): &(&String, &Value)| of(&serde_json::json!({ name.as_str(): value }));
    let field = metadata.as_object().and_then(|fields| fields.iter().find(alone)).map(|(name, _)| name.as_str());
    let at: Vec<&str> = std::iter::once("metadata").chain(field).collect();
    let hint = match field {
        Some("labels" | "annotations") => ": all of its values have to be texts, so put them in quotes",
        _ => "",
    };
    let message = format!("{} is not of its form{hint}", at.join("."));
    Some(Finding::at(At::from(&at[..]), Severity::Error, "schema", message))
}

fn decode<T: serde::de::DeserializeOwned>(object: &Value) -> Option<T> {
    serde_json::from_value(object.clone()).ok()
}

/// An object of what is copied.
fn embedded(object: &Value, field: &str) -> Value {
    serde_json::json!({"metadata": {"name": "copy", "namespace": "copy"}, "spec": object["spec"][field]})
}

/// What is wrong with a name.
fn named(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tell = |path: &[&str], message: String| {
        found.push(Finding::at(At::from(path), Severity::Error, "name", message));
    };
    match document.text("/metadata/name") {
        "" if document.text("/metadata/generateName").is_empty() => {
            tell(&["metadata"], "metadata.name is missing".to_owned());
        }
        "" => {}
        name if !is_name(name) => tell(
            &["metadata", "name"],
            format!("{name:?} can't be the name of an object: use lower case letters, digits, - and ."),
        ),
        _ => {}
    }
    let namespace = document.text("/metadata/namespace");
    if !namespace.is_empty() && !is_label(namespace) {
        tell(&["metadata", "namespace"], format!("{namespace:?} can't be the name of a namespace"));
    }
    found
}

/// What there is in place of a kind that there is not.
fn unknown(group: &str, kind: &str, version: &str) -> Finding {
    let at = |field: &str| At::from(&[field][..]);
    let groups = [names::GROUP, names::GENERATORS_GROUP];
    if !groups.contains(&group) {
        let hint = did_you_mean(group, groups);
        let there = keyferry_crds::kinds(names::GROUP).find(|(of, _)| *of == kind);
        let message = match there.filter(|_| hint.is_empty()) {
            Some((_, there)) => format!("{kind} is of another group: use apiVersion {}/{there}", names::GROUP),
            None => format!("there is no group {group:?}{hint}"),
        };
        return Finding::at(at("apiVersion"), Severity::Error, "schema", message);
    }
    let versions = |group| keyferry_crds::kinds(group).filter(|(of, _)| *of == kind).map(|(_, version)| version);
    if let Some(there) = versions(group).next() {
        let message = format!("{kind} has no version {version:?}: use {group}/{there}");
        return Finding::at(at("apiVersion"), Severity::Error, "schema", message);
    }
    if let Some((other, there)) = groups.into_iter().find_map(|group| Some((group, versions(group).next()?))) {
        let message = format!("{kind} is of another group: use apiVersion {other}/{there}");
        return Finding::at(at("apiVersion"), Severity::Error, "schema", message);
    }
    let hint = did_you_mean(kind, keyferry_crds::kinds(group).map(|(kind, _)| kind));
    Finding::at(at("kind"), Severity::Error, "schema", format!("{group} has no kind {kind:?}{hint}"))
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
