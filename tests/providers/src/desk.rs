//! A folder with keys, documents, and the tools that encrypt them; and stores of what they made.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use keyferry_documents::keys;
use keyferry_provider_age::{REGISTRATION, SOPS};
use keyferry_provider_core::{BuildContext, Error, Key, KeyServiceRegistration, Provider};
use keyferry_testkit::{Testbed, install};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{AWS_SECRET, Counter, REGION, aws_context, aws_keys};

/// The value that is looked for, and that no error may hold.
pub const CANARY: &str = "canary-e03d77";

/// A document of everything that YAML has.
pub const YAML: &str = "# why\ndb:\n  user: app # who\n  password: canary-e03d77\n  port: 5432\n  ratio: 2.50\n  list:\n    # in\n    - a\n    - true\n  none: null\nplain_unencrypted: 017\n";

/// `age`.
pub static AGE: LazyLock<PathBuf> = LazyLock::new(|| install::age().expect("age builds"));
/// `sops`.
pub static TOOL: LazyLock<PathBuf> = LazyLock::new(|| install::sops().expect("sops builds"));

/// A folder with keys, documents and what encrypts them.
pub struct Desk {
    folder: TempDir,
    /// The recipients of one.key and two.key.
    pub recipients: [String; 2],
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    /// One with the identities `one.key` and `two.key`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recipients = ["one.key", "two.key"].map(|name| {
            let (key, recipient) = keys::generate();
            std::fs::write(folder.path().join(name), key.expose()).unwrap();
            recipient
        });
        Self { folder, recipients }
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs a tool in the folder, logged in to what keeps keys; what it prints.
    pub fn run<I: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = I>) -> Vec<u8> {
        self.run_in(&[], program, args)
    }

    /// The same with more in its environment.
    pub fn run_in<I: AsRef<OsStr>>(
        &self,
        environment: &[(&str, &str)],
        program: &Path,
        args: impl IntoIterator<Item = I>,
    ) -> Vec<u8> {
        let testbed = Testbed::shared();
        let output = Command::new(program)
            .args(args)
            .current_dir(self.folder.path())
            .envs([("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", AWS_SECRET)])
            .envs([("AWS_ENDPOINT_URL", testbed.moto_url()), ("AWS_REGION", REGION.to_owned())])
            .envs([("VAULT_ADDR", testbed.vault_url()), ("VAULT_TOKEN", testbed.vault_token())])
            .env("SOPS_AGE_KEY_FILE", self.path("one.key"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Encrypts a file by these rules of `.sops.yaml`.
    pub fn sops(&self, name: &str, rule: &str) -> String {
        self.sops_in(&[], name, rule)
    }

    /// The same with more in the environment.
    pub fn sops_in(&self, environment: &[(&str, &str)], name: &str, rule: &str) -> String {
        self.write(".sops.yaml", format!("creation_rules:\n  - {rule}\n"));
        text(self.run_in(environment, &TOOL, ["encrypt", name]))
    }

    /// A file of the folder.
    pub fn key(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

/// Where the keys of services are, as the registry of a whole build says.
pub fn services(name: &str) -> Option<&'static KeyServiceRegistration> {
    match name {
        "aws" => Some(&keyferry_provider_aws::KMS),
        "azurekv" => Some(&keyferry_provider_azurekv::KEYS),
        "gcpsm" => Some(&keyferry_provider_gcpsm::KMS),
        "vault" => Some(&keyferry_provider_vault::TRANSIT),
        _ => None,
    }
}

/// A store of the documents in `spec`, with the keys of `desk` that are held.
pub async fn store(desk: &Desk, held: &[&str], mut spec: Value, counter: &Arc<Counter>) -> Arc<dyn Provider> {
    let testbed = Testbed::shared();
    let credentials = held.iter().fold(aws_keys(), |all, name| all.with(&format!("keys/{name}"), desk.key(name)));
    let credentials = credentials.with("vault/token", testbed.vault_token());
    spec["identities"] = held.iter().map(|name| json!({"secretRef": {"name": "keys", "key": name}})).collect();
    let is_sops = spec["kind"] == "sops";
    spec.as_object_mut().unwrap().remove("kind");
    let ctx = BuildContext { key_services: services, ..aws_context(credentials, counter.clone()) };
    let build = if is_sops { SOPS.build } else { REGISTRATION.build };
    build(&spec, ctx).await.unwrap()
}

/// What a store has under this name.
pub async fn read(store: &dyn Provider, name: &str) -> Result<String, Error> {
    let key = Key { name: name.into(), version: None, metadata: false };
    let answer = store.fetch(&[key]).await?.remove(0);
    let answer = answer.inspect_err(|error| assert!(!error.to_string().contains(CANARY), "{error}"))?;
    Ok(String::from_utf8_lossy(answer.value.expose()).into_owned())
}

/// What a tool printed.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
