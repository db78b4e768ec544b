//! `keyferry init`: a key, and a sample of what it seals.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_documents::{Recipients, keys, values};
use keyferry_provider_core::SecretBytes;

use crate::verbs::edit::replace;
use crate::verbs::keyring::{KEY_FILE, RECIPIENTS_FILE};

/// Flags of `keyferry init`.
#[derive(Args, Debug)]
pub struct Init {
    /// The folder, which is made where it is not there
    #[arg(default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
}

/// The sample's document.
const SECRETS: &str = "secrets.env";
const MANIFESTS: &str = "app.yaml";

const SAMPLE: &str = "\
# What of this is in secrets.env becomes the Secret, or the files, of an application.
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata:
  name: secrets
spec:
  provider:
    age:
      documents:
        - file: secrets.env
      identities:
        - file: age.key
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: app
spec:
  secretStoreRef: { name: secrets, kind: SecretStore }
  refreshInterval: 1m
  dataFrom:
    - extract: { key: secrets.env }
";

impl Init {
    /// Makes the files; nothing, where one of them is there already.
    pub fn run(&self, out: &mut impl Write) -> Result<(), String> {
        let folder = &self.folder;
        let files = [KEY_FILE, RECIPIENTS_FILE, SECRETS, MANIFESTS];
        if let Some(there) = files.iter().map(|name| folder.join(name)).find(|file| file.symlink_metadata().is_ok()) {
            return Err(format!("{} is there already, so nothing was made: choose an empty folder", there.display()));
        }
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("can't make {}: {}", folder.display(), error.kind()))?;
        let (key, recipient) = keys::generate();
        let mut recipients = Recipients::default();
        recipients.add(&recipient).map_err(|error| error.to_string())?;
        let sealed = values::seal_value(&"not-a-real-one".into(), &recipients).map_err(|error| error.to_string())?;
        let secrets = format!(
            "# Sealed for {RECIPIENTS_FILE}, so this can lie in git; `keyferry edit {SECRETS}` changes it.\nUSERNAME=app\nPASSWORD={sealed}\n"
        );
        ignore(folder)?;
        make(&folder.join(KEY_FILE), key.expose(), 0o600)?;
        let list = format!(
            "# Who can open what is sealed here: a recipient of age, or a public key of SSH, on each line.\n{recipient}\n"
        );
        make(&folder.join(RECIPIENTS_FILE), list.as_bytes(), 0o644)?;
        make(&folder.join(SECRETS), secrets.as_bytes(), 0o644)?;
        make(&folder.join(MANIFESTS), SAMPLE.as_bytes(), 0o644)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let told = writeln!(
            out,
            "made {} (keep a copy of it in a safe place; .gitignore keeps it out of git), {}, {} and {}\n\n\
             next:\n  keyferry edit {}\n  keyferry render -f {}",
            at(KEY_FILE),
            at(RECIPIENTS_FILE),
            at(SECRETS),
            at(MANIFESTS),
            at(SECRETS),
            at(MANIFESTS),
        );
        told.map_err(|_| "can't write to standard output".to_owned())
    }
}

/// Keeps the key out of git, before there is one.
fn ignore(folder: &Path) -> Result<(), String> {
    let file = folder.join(".gitignore");
    let wrong = |error: std::io::Error| format!("can't write {}: {}", file.display(), error.kind());
    let there = match std::fs::read(&file) {
        Ok(bytes) => Some(SecretBytes::new(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(wrong(error)),
    };
    let before = there.as_ref().map(|bytes| bytes.expose_str().ok_or_else(|| format!("{} is no text", file.display())));
    let before = before.transpose()?.unwrap_or_default();
    if before.lines().any(|line| line.trim().trim_start_matches('/') == KEY_FILE) {
        return Ok(());
    }
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    replace(&file, format!("{before}{gap}/{KEY_FILE}\n").as_bytes(), there.as_ref())
}

/// Makes a file that is not there, readable from the beginning by nobody but those who may.
fn make(file: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| format!("can't write {}: {}", file.display(), error.kind()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays_out_of_git() {
        let folder = tempfile::tempdir().unwrap();
        let init = Init { folder: folder.path().join("a/b") };
        let mut out = Vec::new();
        init.run(&mut out).unwrap();
        let file = |name: &str| init.folder.join(name);
        assert_eq!(file(KEY_FILE).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(file(".gitignore")).unwrap(), "/age.key\n");
        let key = std::fs::read_to_string(file(KEY_FILE)).unwrap();
        let secret = key.lines().last().unwrap();
        assert!(secret.starts_with("AGE-SECRET-KEY-1") && !String::from_utf8(out).unwrap().contains(secret));
        let secrets = std::fs::read_to_string(file(SECRETS)).unwrap();
        assert!(secrets.contains("PASSWORD=age:") && !secrets.contains("not-a-real-one"));
        let error = init.run(&mut Vec::new()).unwrap_err();
        assert!(error.contains("age.key is there already"), "{error}");
        assert_eq!(std::fs::read_to_string(file(KEY_FILE)).unwrap(), key);
    }

    #[test]
    fn what_git_ignores_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".gitignore"), "target").unwrap();
        ignore(folder.path()).unwrap();
        ignore(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join(".gitignore")).unwrap(), "target\n/age.key\n");
    }
}
