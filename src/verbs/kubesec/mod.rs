//! `keyferry migrate kubesec`: Secrets that kubesec encrypted, decrypted where their keys are at hand and sealed anew, with the store and
//! the ExternalSecret that make the same Secret of them.
//!
//! Modules, in reading order: [`file`] the files, [`keepers`] who has their keys. What is printed is made here.

pub mod file;
pub mod keepers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use keyferry_crds::document;
use keyferry_documents::{Recipients, values};
use keyferry_migrate::carry::{LEFT_BEHIND, escaped};
use keyferry_migrate::written::{is_among, replace};
use keyferry_provider_core::{Scope, SecretBytes};
use keyferry_sealing::{PublicKey, Sealed};
use serde_json::{Map, Value, json};

use self::file::{File, Values};
use self::keepers::Keepers;
use crate::sealing::way::Way;
use crate::verbs::keyring::{For, KEY_FILE, read};

/// Something can't be read.
const UNREADABLE: u8 = 2;

/// Flags of `keyferry migrate kubesec`.
#[derive(Args, Debug)]
pub struct Kubesec {
    /// Files that kubesec encrypted
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the new manifests here, in place of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Seal for the cluster's operator and the Secret's namespace, for a store of the kind sealed; without it, for recipients of age
    #[arg(long, conflicts_with_all = ["recipient", "recipients_file"])]
    pub for_cluster: bool,
    /// The program that decrypts PGP
    #[arg(long, default_value = "gpg", value_name = "PROGRAM")]
    pub gpg: PathBuf,
    #[command(flatten)]
    recipients: For,
    #[command(flatten)]
    way: Way,
}

/// For whom is sealed.
enum Seal {
    Age(Recipients),
    Cluster(PublicKey),
}

impl Kubesec {
    /// Decrypts and prints; the error, for a person, is that it can't begin, or that nothing can be written.
    pub async fn run(&self, out: &mut (dyn Write + Send), err: &mut (dyn Write + Send)) -> Result<ExitCode, String> {
        if let Some(file) = self.out.as_ref().filter(|file| is_among(file, &self.files)) {
            return Err(format!("--out {} is one of the files to be read: name another", file.display()));
        }
        let seal = if self.for_cluster {
            Seal::Cluster(self.way.public_key().await?)
        } else {
            Seal::Age(self.recipients.recipients(Path::new("."))?)
        };
        let (keepers, mut text, mut code) = (Keepers { gpg: self.gpg.clone() }, String::new(), ExitCode::SUCCESS);
        for path in &self.files {
            match one(path, &keepers, &seal).await {
                Ok(manifests) => text.extend(manifests.iter().map(|manifest| format!("---\n{}", document(manifest)))),
                Err(problem) => {
                    code = ExitCode::from(UNREADABLE);
                    let _ = writeln!(err, "{}: {problem}", path.display());
                }
            }
        }
        match &self.out {
            // It may hold what came of that file before.
            Some(file) if code != ExitCode::SUCCESS => {
                let _ = writeln!(err, "nothing was written to {}, since not all could be read", file.display());
            }
            Some(file) => {
                replace(file, &text).map_err(|error| format!("can't write {}: {}", file.display(), error.kind()))?;
            }
            None => out.write_all(text.as_bytes()).map_err(|_| "can't write to standard output".to_owned())?,
        }
        Ok(code)
    }
}

/// The store and the ExternalSecret of one file.
async fn one(path: &Path, keepers: &Keepers, seal: &Seal) -> Result<[Value; 2], String> {
    let bytes = read(path)?;
    let text = bytes.expose_str().ok_or("it is no text")?;
    let file = File::read(text)?.ok_or("kubesec did not encrypt it")?;
    let values = file.open(&keepers.data_key(&file).await?)?;
    manifests(&file.manifest, &values, seal)
}

fn manifests(secret: &Value, values: &Values, seal: &Seal) -> Result<[Value; 2], String> {
    let name = secret["metadata"]["name"].as_str().filter(|name| !name.is_empty()).ok_or("it has no metadata.name")?;
    let namespace = secret["metadata"]["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let mut named = json!({"name": name});
    if let Some(namespace) = namespace {
        named["namespace"] = json!(namespace);
    }
    let (mut sealed, mut data) = (Map::new(), Vec::new());
    let document_name = format!("{name}.yaml");
    for (key, value) in values {
        let mut remote = match seal {
            Seal::Age(_) => json!({"key": document_name, "property": key}),
            Seal::Cluster(_) => json!({"key": key}),
        };
        let text = match seal {
            Seal::Cluster(public) => {
                let namespace = namespace.ok_or("it has no metadata.namespace, and for one it is sealed")?;
                let scope = Scope::Namespace(namespace.to_owned());
                Sealed::new(public, scope, value.expose()).map_err(|error| error.to_string())?.to_string()
            }
            Seal::Age(recipients) => {
                // A document holds texts.
                let plain = if value.expose_str().is_some() {
                    value.clone()
                } else {
                    remote["decodingStrategy"] = json!("Base64");
                    in_base64(value)
                };
                values::seal_value(&plain, recipients).map_err(|error| error.to_string())?
            }
        };
        sealed.insert(key.clone(), json!(text));
        data.push(json!({"secretKey": key, "remoteRef": remote}));
    }
    let provider = match seal {
        Seal::Age(_) => json!({"age": {
            "documents": [{"name": document_name, "inline": document(&Value::Object(sealed))}],
            "identities": [{"secretRef": {"name": "age", "key": KEY_FILE}}],
        }}),
        Seal::Cluster(_) => json!({"sealed": {"values": sealed}}),
    };
    let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": named, "spec": {"provider": provider}});
    let es = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": named,
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": name, "kind": "SecretStore"},
            "target": {"template": template(secret)},
            "data": data,
        },
    });
    Ok([store, es])
}

/// What the Secret is beside its data.
fn template(secret: &Value) -> Value {
    let mut template = json!({"engineVersion": "v2", "mergePolicy": "Merge"});
    if let Some(kind) = secret.get("type").filter(|kind| kind.is_string()) {
        template["type"] = kind.clone();
    }
    for part in ["labels", "annotations"] {
        for (name, text) in secret["metadata"].get(part).and_then(Value::as_object).into_iter().flatten() {
            if !LEFT_BEHIND.contains(&name.as_str()) {
                template["metadata"][part][name] = json!(escaped(text.as_str().unwrap_or_default()));
            }
        }
    }
    template
}

fn in_base64(value: &SecretBytes) -> SecretBytes {
    use base64::Engine as _;
    SecretBytes::new(base64::engine::general_purpose::STANDARD.encode(value.expose()).into_bytes())
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
