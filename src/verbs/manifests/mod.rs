//! Manifests in place of a cluster: what `render` and `sync` share.
//!
//! Modules, in reading order: [`lines`] where the parts of a document stand, [`parts`] the documents of a text, [`sealed`] those that are encrypted, [`services`]
//! who keeps their keys, [`read`] objects out of files, [`folder`] the ports over them, [`mod@target`] what is made of content.

pub mod lines;
pub mod parts;
pub mod sealed;
pub mod services;
pub mod read;
pub mod folder;
pub mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{Files, Unseal};
use keyferry_stores::access::{ControllerToken, LoginPorts};
use keyferry_stores::files::Beside;
use keyferry_stores::pool::{Pool, Rules};
use keyferry_sync::engine::Engine;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::ports::{Accounts, Objects};
use keyferry_sync::settings::{Adopt, Scope, Settings};
use keyferry_sync::told;
use keyferry_sync::told::Spec;

use self::folder::Asked;
use self::read::Place;
use crate::clock;

/// The class of an operator that is given none.
const CLASS: &str = "default";

/// Flags of the pipeline, where there is no operator.
#[derive(Args, Clone, Debug)]
pub struct Pipeline {
    /// Take what belongs to this controller class, and no other
    #[arg(long, value_name = "CLASS")]
    pub controller_class: Option<String>,
    /// What opens an action in templates
    #[arg(long, default_value = "{{", value_name = "TEXT")]
    pub template_left_delimiter: String,
    /// What closes an action in templates
    #[arg(long, default_value = "}}", value_name = "TEXT")]
    pub template_right_delimiter: String,
    /// Fail where a template's function fails whose complaint Go takes for its result
    #[arg(long)]
    pub strict_templates: bool,
}

impl Pipeline {
    /// What they come to.
    pub fn settings(&self) -> Settings {
        Settings {
            class: self.controller_class.clone().unwrap_or_else(|| CLASS.to_owned()),
            flood_gate: true,
            cluster_stores: true,
            adopt: Adopt::Any,
            generic_targets: true,
            mounts: true,
            generator_grace: Some(Duration::ZERO),
            engine: Engine::new(&self.template_left_delimiter, &self.template_right_delimiter)
                .strict(self.strict_templates),
            started: Timestamp::UNIX_EPOCH,
            now: clock::now,
        }
    }
}

/// That a store chooses namespaces by labels which nobody knows.
pub fn no_labels(namespace: &str) -> Failure {
    let cause = told!("a store asks for the labels of Namespace {}: put it beside the manifests", Spec(namespace));
    Failure::new(Headline::Fetch, cause, Retry::OnChange)
}

/// The folders of manifests: those given, and those of the files that are given; the working directory for standard input.
pub fn folders(manifests: &[PathBuf]) -> Vec<PathBuf> {
    let folder = |path: &PathBuf| match path.parent() {
        _ if path.as_os_str() == "-" => PathBuf::from("."),
        _ if path.is_dir() => path.clone(),
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    manifests.iter().map(folder).collect()
}

/// The files that stores may read: those beside the manifests.
pub fn beside(manifests: &[PathBuf]) -> Beside {
    Beside::new(folders(manifests))
}

#[expect(clippy::disallowed_methods, reason = "endpoints of stores, which External Secrets Operator takes so too")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The proxies that stores are reached through: those of whoever runs this by hand.
pub fn proxies() -> Result<Proxies, String> {
    Proxies::of(&variable)
}

/// The stores, for whoever runs this by hand. What they log in with is in `objects`, the documents that they may read in
/// `files`; `unseal` opens what is sealed for who runs this.
pub fn stores(
    objects: Arc<dyn Objects>,
    accounts: Arc<dyn Accounts>,
    files: Option<Beside>,
    unseal: Option<Arc<dyn Unseal>>,
    proxies: Proxies,
) -> Arc<Pool> {
    let login_ports =
        LoginPorts { objects, accounts, controller_token: ControllerToken::Never, refuse_api_audiences: false };
    let (news, _) = tokio::sync::mpsc::unbounded_channel();
    // Whoever has the manifests could ask these stores by hand as well.
    let files = files.map(|files| Arc::new(files) as Arc<dyn Files>);
    // No namespace is watched: what was logged in with may change and nobody tells, so that each login has a greatest age.
    let addresses = Addresses::anywhere().through(proxies.clone());
    let rules = Rules { addresses, proxies, scope: Scope::These(Vec::new()), files, unseal, ..Rules::default() };
    Arc::new(Pool::new(Arc::new(login_ports), Arc::new(()), Arc::new(()), rules, Arc::new(variable), news))
}

/// Something about an ExternalSecret, with its place; for a person.
pub fn told(place: &Place, how: &str, asked: &Asked, what: &str) -> String {
    let (namespace, name) = (asked.es.metadata.namespace.as_deref(), asked.es.metadata.name.as_deref());
    format!("{place}: {how}: ExternalSecret {}/{}: {what}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

/// A failure as the condition tells it, but each cause on a line of its own, with the place of the entry that it names.
pub fn failures(asked: &Asked, failure: &Failure) -> Vec<String> {
    let lines = failure.causes.iter().map(|cause| {
        let line = asked.lines.named_in(cause.as_str()).unwrap_or(asked.place.line);
        let place = Place { line, ..asked.place.clone() };
        told(&place, "error", asked, &format!("{}: {cause}", failure.headline.as_str()))
    });
    lines.collect()
}
