//! `keyferry render`: what manifests come to, without a cluster. The pipeline is the operator's; here it runs over a folder.
//!
//! Modules, in reading order: [`manifests`] objects out of files, [`folder`] the ports over them, [`print`] what is shown.

pub mod manifests;
pub mod folder;
pub mod print;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use keyferry_cluster::client::{LiveObject, LiveSecret};
use keyferry_cluster::target::ownership::Desired;
use keyferry_cluster::target::{desired, manifest};
use keyferry_crds::{CreationPolicy, ExternalSecret};
use keyferry_provider_core::Environment;
use keyferry_stores::access::{ControllerToken, LoginPorts};
use keyferry_stores::pool::Pool;
use keyferry_sync::content::Content;
use keyferry_sync::data::{Data, SecretJson};
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::plan::{Facts, Plan, TargetState, decide};
use keyferry_sync::ports::{Ports, Stores};
use keyferry_sync::resolve::{Asker, Resolved, resolve};
use keyferry_sync::settings::{Adopt, Settings};
use keyferry_sync::template::Engine;

use self::folder::{Folder, Given, Nowhere};
use self::print::{Mask, Rendered};
use crate::clock;

/// Flags of `keyferry render`.
#[derive(Args, Debug)]
pub struct Render {
    /// The manifests: a file, or a folder whose .yaml, .yml and .json files are read
    #[arg(long, short, value_name = "FILE|DIR")]
    pub filename: PathBuf,
    /// A YAML map of remote keys and their values, which stands in for all stores: none is asked
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// Print values rather than their lengths
    #[arg(long)]
    pub show_values: bool,
    /// How to print
    #[arg(long, short, default_value = "yaml", value_enum)]
    pub output: Format,
    /// The namespace of what names none
    #[arg(long, short, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
    /// Render what belongs to this controller class
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// What opens an action in templates
    #[arg(long, default_value = "{{", value_name = "TEXT")]
    pub template_left_delimiter: String,
    /// What closes an action in templates
    #[arg(long, default_value = "}}", value_name = "TEXT")]
    pub template_right_delimiter: String,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A YAML document for each object.
    Yaml,
    /// One JSON object of kind List.
    Json,
}

/// What became of one ExternalSecret.
enum Came {
    /// This object is written.
    Written(Rendered),
    /// Nothing is, and why.
    Nothing(String),
}

/// Some manifests can't be read.
const UNREADABLE: u8 = 2;

/// Reads, renders and prints.
pub async fn run(args: &Render, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode, String> {
    let read = manifests::read(&args.filename).and_then(|documents| Folder::new(documents, &args.namespace));
    let values = args.values.as_deref().map(manifests::values).transpose();
    let (folder, values) = match (read, values) {
        (Ok(folder), Ok(values)) => (Arc::new(folder), values),
        (folder, values) => {
            let problems = folder.err().into_iter().flatten().chain(values.err());
            problems.for_each(|problem| _ = writeln!(err, "error: {problem}"));
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    let settings = settings(args);
    let ports = ports(folder.clone(), values);
    let one = async |es: &ExternalSecret| one(&folder, &ports, &settings, es).await;
    let came = futures::future::join_all(folder.external_secrets.iter().map(|(_, es)| one(es))).await;
    let (mut rendered, mut failed) = (Vec::new(), 0);
    for ((place, es), came) in folder.external_secrets.iter().zip(came) {
        let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
        let what = format!("ExternalSecret {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let mut tell = |how: &str, why: &dyn std::fmt::Display| _ = writeln!(err, "{place}: {how}: {what}: {why}");
        match came {
            Ok((came, missing)) => {
                missing.iter().for_each(|entry| tell("note", &format!("the store does not have {entry}")));
                match came {
                    Came::Written(object) => rendered.push(object),
                    Came::Nothing(why) => tell("note", &why),
                }
            }
            Err(failure) => {
                failed += 1;
                tell("error", &failure);
            }
        }
    }
    let mask = if args.show_values { None } else { Some(Mask::new()) };
    print::print(&rendered, mask.as_ref(), args.output, out)
        .map_err(|_| "can't write to standard output".to_owned())?;
    let _ = writeln!(err, "{}", summary(&folder, rendered.len(), failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(folder: &Folder, rendered: usize, failed: usize) -> String {
    let mut text = format!("{rendered} of {} rendered, {failed} failed", folder.external_secrets.len());
    if !folder.others.is_empty() {
        let others: Vec<String> = folder.others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        text += &format!("; passed over: {}", others.join(", "));
    }
    text
}

fn settings(args: &Render) -> Settings {
    Settings {
        class: args.controller_class.clone(),
        flood_gate: true,
        cluster_stores: true,
        adopt: Adopt::Any,
        generic_targets: true,
        engine: Engine::new(&args.template_left_delimiter, &args.template_right_delimiter),
        started: Timestamp::UNIX_EPOCH,
        now: clock::now,
    }
}

fn ports(folder: Arc<Folder>, values: Option<std::collections::BTreeMap<String, SecretJson>>) -> Ports {
    let login_ports =
        LoginPorts { objects: folder.clone(), accounts: folder.clone(), controller_token: ControllerToken::Never };
    #[expect(clippy::disallowed_methods, reason = "endpoints of stores, which External Secrets Operator takes so too")]
    let environment: Environment = Arc::new(|name| std::env::var(name).ok());
    let (news, _) = tokio::sync::mpsc::unbounded_channel();
    // Whoever renders a folder could ask these stores by hand as well.
    let pool = Arc::new(Pool::new(Arc::new(login_ports), Arc::new(()), Arc::new(()), true, environment, news));
    let stores: Arc<dyn Stores> = match values {
        Some(values) => Arc::new(Given { values: Arc::new(values), inner: pool }),
        None => pool,
    };
    Ports { stores, objects: folder, journal: Arc::new(Nowhere) }
}

/// Renders one ExternalSecret as if it were new; with entries that its store does not have.
async fn one(
    folder: &Folder,
    ports: &Ports,
    settings: &Settings,
    es: &ExternalSecret,
) -> Result<(Came, Vec<String>), Failure> {
    let now = (settings.now)();
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let plan = decide(&Facts {
        es,
        version: &hash::version_of(es),
        now,
        started: settings.started,
        overdue_until: settings.started,
        class: &settings.class,
        flood_gate: settings.flood_gate,
        cluster_stores: settings.cluster_stores,
        generators: ports.stores.generators(),
        generic_targets: settings.generic_targets,
        stores: &folder.stores,
        namespace_labels: folder.namespaces.get(namespace),
        target: TargetState::Absent,
        last: None,
        sources_changed: false,
        absence_is_fine: false,
        failed: false,
    });
    let nothing = |why: &str| Ok((Came::Nothing(why.to_owned()), Vec::new()));
    let requests = match plan {
        Plan::Fetch(requests) => requests,
        Plan::Refuse(failure) => return Err(failure),
        Plan::Hold => {
            let cause = format!("a store asks for the labels of Namespace {namespace:?}: put it into the folder");
            return Err(Failure::new(Headline::Fetch, cause, Retry::OnChange));
        }
        Plan::Ignore => return nothing("it belongs to another controller class"),
        Plan::Release { .. } => return nothing("it is being deleted"),
        Plan::Observe | Plan::Settle | Plan::Wait(_) => return nothing("nothing is due"),
    };
    let asker = Asker { ports, settings, es, workload: None, now };
    let Some((Resolved { data, missing }, content)) = resolve(&asker, &requests).await? else {
        return nothing("its generator belongs to another controller class");
    };
    let came = if data.is_empty() && !missing.is_empty() {
        Came::Nothing(format!("there is nothing to write; deletionPolicy is {}", es.spec.target.deletion_policy))
    } else if es.spec.target.creation_policy == CreationPolicy::None {
        Came::Nothing("creationPolicy is None: nothing is written".to_owned())
    } else {
        written(folder, es, &content)?
    };
    Ok((came, missing))
}

/// The object that the operator would write, over what the folder has of it.
fn written(folder: &Folder, es: &ExternalSecret, content: &Content) -> Result<Came, Failure> {
    let missing = || Came::Nothing("creationPolicy is Merge, and the folder has nothing to merge into".to_owned());
    if let Some(kind) = es.target_manifest() {
        return Ok(match manifest::desired(es, kind, content, None, Adopt::Any)? {
            Desired::Create(object) | Desired::Update { object, .. } => {
                Came::Written(Rendered::of_object(es, &LiveObject::clone(&object)))
            }
            Desired::Keep | Desired::Missing => missing(),
        });
    }
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let merges = [CreationPolicy::Merge, CreationPolicy::CreateOrMerge].contains(&es.spec.target.creation_policy);
    let existing = folder.secret(namespace, es.target_name()).filter(|_| merges).map(|data| live(es, data));
    Ok(match desired::desired(es, content, existing.as_ref(), Adopt::Any)? {
        Desired::Create(object) | Desired::Update { object, .. } => Came::Written(Rendered::of_secret(es, &object)),
        Desired::Keep => existing.map_or_else(missing, |existing| Came::Written(Rendered::of_secret(es, &existing))),
        Desired::Missing => missing(),
    })
}

fn live(es: &ExternalSecret, data: &Data) -> LiveSecret {
    let mut secret = LiveSecret::new(Default::default());
    let inner = secret.get_mut();
    inner.metadata.name = Some(es.target_name().to_owned());
    inner.metadata.namespace = es.metadata.namespace.clone();
    let bytes = |value: &keyferry_provider_core::SecretBytes| k8s_openapi::ByteString(value.expose().to_vec());
    inner.data = Some(data.iter().map(|(key, value)| (key.clone(), bytes(value))).collect());
    secret
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
