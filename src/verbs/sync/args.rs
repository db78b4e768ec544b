//! The flags.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use keyferry_cluster::connection::Connection;
use keyferry_files::access::{Access, parse_mode, parse_owner};
use keyferry_provider_core::Unseal;

use crate::audit::webhook::Webhook;
use crate::sealing::remote::Remote;
use crate::verbs::keyring::With;
use crate::verbs::manifests::Pipeline;

/// Flags of `keyferry sync`.
#[derive(Args, Debug)]
pub struct Sync {
    /// The manifests: a file, a folder whose .yaml, .yml and .json files are read, or - for standard input; may be repeated
    #[arg(long, short, value_name = "FILE|DIR|-", required_unless_present = "from_cluster")]
    pub filename: Vec<PathBuf>,
    /// Read the folders within folders, too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Read this ExternalSecret, and what it refers to, from the API server in place of files: in a pod as the pod's
    /// ServiceAccount; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "filename")]
    pub from_cluster: Vec<String>,
    /// The folder that targets are written to; it is made where it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// What a target is
    #[arg(long, default_value = "files", value_enum)]
    pub format: Format,
    /// Put targets into a folder for each namespace
    #[arg(long)]
    pub by_namespace: bool,
    /// The mode of files, in octal; folders let in who may read these
    #[arg(long, default_value = "0600", value_name = "MODE", value_parser = parse_mode)]
    pub mode: u32,
    /// Whose the files are, by name or number: app, app:web, 1000:1000, :web
    #[arg(long, value_name = "USER[:GROUP]", value_parser = owner)]
    pub owner: Option<Owner>,
    /// Write once, and say by the exit code whether all is well; that is what happens without --watch
    #[arg(long, conflicts_with = "watch")]
    pub once: bool,
    /// Stay: follow refresh intervals, and changes of the manifests and of what lies beside them
    #[arg(long)]
    pub watch: bool,
    /// Run this by `sh -c` when targets have changed; "$@" are their paths
    #[arg(long, value_name = "COMMAND")]
    pub on_change: Option<String>,
    /// Secrets that stores log in with, as files DIR/NAMESPACE/NAME/KEY; they go before those among the manifests
    #[arg(long, value_name = "DIR", conflicts_with = "from_cluster")]
    pub credentials: Option<PathBuf>,
    /// A key of such a Secret that is in a variable of the environment; it goes before files; may be repeated
    #[arg(long, value_name = "NAMESPACE/NAME/KEY=VARIABLE", conflicts_with = "from_cluster")]
    pub credential_env: Vec<InEnvironment>,
    /// Remove targets that were written before and that no ExternalSecret asks for now
    #[arg(long)]
    pub prune: bool,
    /// How to tell what happens: text is for a terminal, and the default there; else JSON lines
    #[arg(long, short, value_enum)]
    pub output: Option<Output>,
    /// Write a JSON line for each delivery, never with a value: into this file, or to standard error where it is -
    #[arg(long, value_name = "FILE|-")]
    pub audit_log: Option<String>,
    /// Whoever collects these lines.
    #[command(flatten)]
    pub audit_webhook: Webhook,
    /// The namespace of what names none; with --from-cluster that of the ExternalSecrets, and the pod's where it is not given
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The cluster of --from-cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// What opens encrypted Secrets among the manifests.
    #[command(flatten)]
    pub identities: With,
    /// What is sealed for the pod.
    #[command(flatten)]
    pub unseal: UnsealFrom,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: Pipeline,
}

/// The operator that holds the sealing keys.
#[derive(Args, Debug, Default)]
pub struct UnsealFrom {
    /// Have stores of the kind sealed opened by the operator at this URL (https://... of --unseal-listen)
    #[arg(long, value_name = "URL")]
    pub unseal_from: Option<String>,
    /// Authorities to trust of that, in PEM
    #[arg(long, value_name = "FILE", requires = "unseal_from")]
    pub unseal_authority: Option<PathBuf>,
    /// The pod's token of the audience keyferry, as a projected volume has it
    #[arg(long, default_value = "/var/run/secrets/keyferry.io/serviceaccount/token", value_name = "FILE")]
    pub unseal_token: PathBuf,
}

impl UnsealFrom {
    /// Who opens.
    pub fn remote(&self) -> Result<Option<Arc<dyn Unseal>>, String> {
        let Some(url) = &self.unseal_from else { return Ok(None) };
        let remote = Remote::at(url, self.unseal_authority.as_deref(), Some(&self.unseal_token));
        Ok(Some(Arc::new(remote.map_err(|problem| format!("--unseal-from: {problem}"))?)))
    }
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A folder with a file for each key, which is swapped at once.
    Files,
    /// A file NAME.env of variables, as a shell, docker compose and systemd read it.
    Env,
    /// A file NAME.env of variables without quotes, as docker's --env-file and kubectl's --from-env-file read it.
    DockerEnv,
    /// A file NAME.json: an object of texts.
    Json,
    /// A file NAME.yaml: the Kubernetes object that the operator would write.
    Yaml,
}

impl Format {
    /// The name of a target in its folder.
    pub fn file_name(self, name: &str) -> String {
        match self {
            Self::Files => name.to_owned(),
            Self::Env | Self::DockerEnv => format!("{name}.env"),
            Self::Json => format!("{name}.json"),
            Self::Yaml => format!("{name}.yaml"),
        }
    }
}

/// How to tell what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For a person.
    Text,
    /// A JSON object on each line.
    Json,
}

/// A user and a group.
pub type Owner = (Option<u32>, Option<u32>);

fn owner(text: &str) -> Result<Owner, String> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    parse_owner(text, &read("/etc/passwd"), &read("/etc/group"))
}

/// A key of a Secret, and the variable that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InEnvironment {
    /// Namespace and name of the Secret.
    pub secret: (String, String),
    /// The key.
    pub key: String,
    /// The name of the variable.
    pub variable: String,
}

impl FromStr for InEnvironment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (path, variable) = text.split_once('=')?;
            let [namespace, name, key] = path.split('/').collect::<Vec<_>>()[..] else { return None };
            let is_whole = [namespace, name, key, variable].iter().all(|part| !part.is_empty());
            let secret = (namespace.to_owned(), name.to_owned());
            is_whole.then(|| Self { secret, key: key.to_owned(), variable: variable.to_owned() })
        };
        // It is not quoted: somebody may have put the value there.
        parse().ok_or_else(|| "it is of the form NAMESPACE/NAME/KEY=VARIABLE, and names a variable".to_owned())
    }
}

impl Sync {
    /// For whom files are.
    pub fn access(&self) -> Access {
        let (uid, gid) = self.owner.unwrap_or_default();
        Access { mode: self.mode, uid, gid }
    }
}
