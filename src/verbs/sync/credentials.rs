//! What stores log in with, where there is no cluster: a Secret's keys out of the environment, out of files, and out of the
//! manifests, of which the first that has a key is taken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_provider_core::{SecretBytes, Token};
use keyferry_sync::data::{Data, StringMap};
use keyferry_sync::dependency::{Dependency, Kind, Version};
use keyferry_sync::ports::{Accounts, Objects, Problem, Turn};
use serde_json::Value;
use zeroize::Zeroizing;

use super::args::InEnvironment;
use super::stamp::OF_VOLUMES;
use crate::verbs::manifests::folder::Folder;

/// Where keys are beside the manifests.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The folder of files NAMESPACE/NAME/KEY.
    pub folder: Option<PathBuf>,
    /// Keys in the environment.
    pub environment: Vec<InEnvironment>,
}

impl Credentials {
    /// Puts the keys of a Secret over those that it has.
    fn put(&self, source: &Dependency, data: &mut Option<Data>) -> Result<(), String> {
        // Both become parts of a path.
        if let Some(folder) = self.folder.as_ref().filter(|_| is_label(&source.namespace) && is_name(&source.name)) {
            let folder = folder.join(&source.namespace).join(&source.name);
            let files = files(&folder).map_err(|(path, error)| {
                format!("{} can't be read: {}: check its mode and owner", path.display(), error.kind())
            })?;
            for (key, value) in files.into_iter().flatten() {
                data.get_or_insert_default().insert(key, value);
            }
        }
        let is_meant = |named: &&InEnvironment| (&named.secret.0, &named.secret.1) == (&source.namespace, &source.name);
        for named in self.environment.iter().filter(is_meant) {
            #[expect(clippy::disallowed_methods, reason = "a flag names the variable")]
            let value = std::env::var(&named.variable).map(Zeroizing::new).map_err(|_| {
                format!("the variable {:?}, which --credential-env names, is not in the environment", named.variable)
            })?;
            data.get_or_insert_default().insert(named.key.clone(), SecretBytes::from(value.as_str()));
        }
        Ok(())
    }
}

/// What could not be read, and why.
type Unreadable = (PathBuf, io::Error);

/// The files of a folder, by name; `None` where there is no such folder. What is there and can't be read is an error: it must
/// not look as if there were none.
fn files(folder: &Path) -> Result<Option<Data>, Unreadable> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path, error)
    };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(of(folder))?,
    };
    let mut files = Data::new();
    for entry in entries {
        let entry = entry.map_err(of(folder))?;
        let path = entry.path();
        let Ok(key) = entry.file_name().into_string() else { continue };
        // Volumes of Secrets have folders and links beside the keys.
        if key.starts_with(OF_VOLUMES) {
            continue;
        }
        let stat = match std::fs::metadata(&path) {
            // A link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            stat => stat.map_err(of(&path))?,
        };
        if stat.is_file() {
            let value = std::fs::read(&path).map_err(of(&path))?;
            files.insert(key, SecretBytes::new(value));
        }
    }
    Ok(Some(files))
}

/// The manifests, and what is beside them.
pub struct Local {
    /// The manifests.
    pub folder: Arc<Folder>,
    /// What goes before them.
    pub credentials: Credentials,
}

fn refused(message: String) -> Problem {
    Problem { message, is_temporary: false, is_not_found: false }
}

#[async_trait]
impl Objects for Local {
    async fn turn(&self, namespace: &str) -> Turn {
        self.folder.turn(namespace).await
    }

    async fn source(&self, source: &Dependency) -> Result<Option<(Option<Version>, Data)>, Problem> {
        let mut data = self.folder.data(source);
        if source.kind == Kind::Secret {
            self.credentials.put(source, &mut data).map_err(refused)?;
        }
        Ok(data.map(|data| (None, data)))
    }

    async fn labels(&self, object: &Dependency) -> Result<Option<StringMap>, Problem> {
        self.folder.labels(object).await
    }

    async fn generator(
        &self,
        namespace: Option<&str>,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<Value>, Problem> {
        self.folder.generator(namespace, version, kind, name).await
    }

    async fn changed_at(&self, es: &ExternalSecret) -> Result<Option<Timestamp>, Problem> {
        self.folder.changed_at(es).await
    }
}

#[async_trait]
impl Accounts for Local {
    async fn token(&self, _: &str, _: &str, _: Vec<String>) -> Result<Option<Token>, Problem> {
        let message = "there is no API server here to ask for one: log in by a Secret, which may be among the manifests or \
                       in --credentials";
        Err(refused(message.to_owned()))
    }

    async fn annotations(&self, namespace: &str, name: &str) -> Result<Option<StringMap>, Problem> {
        self.folder.annotations(namespace, name).await
    }

    async fn own_token(&self) -> Option<SecretBytes> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(namespace: &str, name: &str) -> Dependency {
        Dependency::new(Kind::Secret, (namespace.to_owned(), name.to_owned()))
    }

    #[test]
    fn a_key_is_taken_from_the_first_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("team/login");
        std::fs::create_dir_all(at.join("..2026")).unwrap();
        std::fs::write(at.join("token"), "from a file").unwrap();
        std::fs::write(at.join("user"), "from a file").unwrap();
        let named: InEnvironment = "team/login/home=PATH".parse().unwrap();
        let credentials = Credentials { folder: Some(folder.path().to_owned()), environment: vec![named] };
        let manifest = [("user", "from a manifest"), ("ca", "from a manifest")];
        let mut data = Some(manifest.map(|(key, value)| (key.to_owned(), SecretBytes::from(value))).into());
        credentials.put(&secret("team", "login"), &mut data).unwrap();
        let data = data.unwrap();
        let text = |key: &str| data[key].expose_str().unwrap().to_owned();
        assert_eq!((text("token"), text("user")), ("from a file".to_owned(), "from a file".to_owned()));
        assert_eq!((text("ca"), data.len()), ("from a manifest".to_owned(), 4));
        assert!(text("home").contains('/'));
        let mut none = None;
        credentials.put(&secret("team", "other"), &mut none).unwrap();
        credentials.put(&secret("..", "team"), &mut none).unwrap();
        assert!(none.is_none());
        // What is there and can't be read is not as if it were not there.
        std::fs::write(folder.path().join("team/file"), "").unwrap();
        let problem = credentials.put(&secret("team", "file"), &mut none).unwrap_err();
        assert!(problem.contains("team/file can't be read"), "{problem}");
    }

    #[test]
    fn a_variable_that_is_not_there_is_named_and_a_value_in_its_place_is_not() {
        let named: InEnvironment = "n/s/k=KEYFERRY_NO_SUCH_VARIABLE".parse().unwrap();
        let credentials = Credentials { folder: None, environment: vec![named] };
        let problem = credentials.put(&secret("n", "s"), &mut None).unwrap_err();
        assert!(problem.contains("KEYFERRY_NO_SUCH_VARIABLE"), "{problem}");
        for wrong in ["canary", "n/s=canary", "n/s/k/l=canary", "n/s/k=", "/s/k=canary"] {
            let problem = wrong.parse::<InEnvironment>().unwrap_err();
            assert!(!problem.contains("canary"), "{problem}");
        }
    }
}
