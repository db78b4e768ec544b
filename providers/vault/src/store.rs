//! Reading the KV engines, and searching them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Key, MOST_FOUND, Metadata, PropertyLookup,
    Provider, Push, Query, Reach, Remote, json, one_by_one,
};
use reqwest::header::HeaderValue;

use crate::answers::{self, Reading};
use crate::client::{Call, Client};
use crate::config::Config;
use crate::login::{Login, Logins};
use crate::path::{KvVersion, Place};

/// What a store with an engine of this version can do.
pub fn capabilities(version: KvVersion) -> Capabilities {
    let v2 = version == KvVersion::V2;
    Capabilities {
        versions: v2,
        metadata: if v2 { Metadata::Answered } else { Metadata::Refused },
        find_by_name: v2,
        find_by_path: v2,
        find_by_tags: v2,
        find_all: v2,
        ..Capabilities::READ_ONLY
    }
}

/// The most secrets that a search looks at.
const MOST_WALKED: usize = 100_000;

/// The engines of one server that one login sees, or one of them.
pub struct Vault {
    client: Arc<Client>,
    login: Login,
    mount: Option<String>,
    version: KvVersion,
    namespace: Option<HeaderValue>,
    /// The mounts that are known to be what the store says, or whose server does not tell.
    checked_mounts: Mutex<BTreeSet<String>>,
}

impl Vault {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Arc::new(Client::new(&config, &ctx).await?);
        let login = Login::new(Logins {
            client: client.clone(),
            credentials: ctx.credentials,
            method: config.method,
            namespace: config.auth_namespace,
            read_your_writes: config.read_your_writes,
        })
        .await?;
        Ok(Self {
            client,
            login,
            mount: config.mount,
            version: config.version,
            namespace: config.namespace,
            checked_mounts: Mutex::default(),
        })
    }

    async fn read(&self, key: &Key) -> Answer {
        let place = Place::of(self.mount.as_deref(), self.version, &key.name)?;
        match (key.metadata, self.version) {
            (true, KvVersion::V1) => Err(Error::new(ErrorKind::Unsupported, "KV version 1 keeps no metadata")),
            (true, KvVersion::V2) => {
                let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
                answers::metadata(&self.client, &place, &answer).map(Into::into)
            }
            (false, _) => {
                let version = self.wanted_version(key)?;
                let answer = self
                    .login
                    .send(&self.call(
                        "ReadSecretData",
                        place.data(),
                        version.map(|version| format!("version={version}")),
                    ))
                    .await?;
                match answers::value(&self.client, &place, version, &answer)? {
                    Reading::Value(value) => Ok(value),
                    Reading::Gone(error) => Err(error),
                    Reading::Nothing(error) => {
                        self.check_mount(&place).await?;
                        Err(error)
                    }
                }
            }
        }
    }

    fn wanted_version(&self, key: &Key) -> Result<Option<i64>, Error> {
        match (key.version.as_deref(), self.version) {
            (None | Some(""), _) | (Some(_), KvVersion::V1) => Ok(None),
            (Some(text), KvVersion::V2) => text.parse().map(Some).map_err(|_| {
                let message = format!("the version {text:?} is not a number, as those of KV version 2 are");
                Error::invalid(message).with_blame(Blame::Request)
            }),
        }
    }

    /// Makes sure, once per mount, that "nothing there" comes from an engine of the version that we think it is.
    async fn check_mount(&self, place: &Place) -> Result<(), Error> {
        if self.checked_mounts().contains(place.mount()) {
            return Ok(());
        }
        let path = format!("sys/internal/ui/mounts/{}", place.data());
        let answer = self.login.send(&self.call("ReadMount", path, None)).await?;
        answers::mount(&self.client, place, &answer)?;
        self.checked_mounts().insert(place.mount().to_owned());
        Ok(())
    }

    fn checked_mounts(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.checked_mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All secrets below `path`, by the paths that lead to them inside the mount.
    async fn walk(&self, path: Option<&str>) -> Result<Vec<String>, Error> {
        let mount =
            self.mount.as_deref().ok_or_else(|| Error::invalid("to find secrets, set spec.provider.vault.path"))?;
        let mut secrets = Vec::new();
        let mut begun = false;
        // As in External Secrets Operator the path stands before the names as it was written, whatever its slashes; what
        // is asked of the server is tidy.
        let mut folders = vec![path.map(|path| format!("{path}/")).unwrap_or_default()];
        while let Some(folder) = folders.pop() {
            let place = Place::folder(mount, &folder)?;
            let answer = self.login.send(&self.call("ListSecrets", place, Some("list=true".to_owned()))).await?;
            let names = match answers::names(&self.client, mount, &folder, &answer) {
                // A folder that we were told of, and whose last secret went meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && begun => continue,
                names => names?,
            };
            begun = true;
            for name in names {
                let whole = format!("{folder}{name}");
                if name.ends_with('/') { folders.push(whole) } else { secrets.push(whole) }
            }
            if secrets.len() + folders.len() > MOST_WALKED {
                return Err(Error::invalid(format!(
                    "there are more than {MOST_WALKED} secrets below {:?}: search a deeper path",
                    path.unwrap_or_default()
                )));
            }
        }
        secrets.sort();
        Ok(secrets)
    }

    async fn bears(&self, name: &str, tags: &BTreeMap<String, String>) -> Result<bool, Error> {
        let place = Place::of(self.mount.as_deref(), self.version, name)?;
        let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
        let known = answers::metadata(&self.client, &place, &answer)?;
        let known = json::object(known.expose()).unwrap_or_default();
        Ok(tags
            .iter()
            .all(|(tag, value)| known.get(tag).is_some_and(|raw| json::to_bytes(raw).expose() == value.as_bytes())))
    }

    fn call(&self, name: &'static str, path: String, query: Option<String>) -> Call {
        Call { name, body: None, path, query, namespace: self.namespace.clone() }
    }
}

#[async_trait]
impl Provider for Vault {
    fn capabilities(&self) -> Capabilities {
        capabilities(self.version)
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::ExactThenPath, extract_writes_anew: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    /// Below the path, or everywhere. As in External Secrets Operator tags count only where no name is asked for;
    /// each candidate then costs a read of its metadata.
    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        let candidates = self.walk(query.path.as_deref()).await?;
        let mut found = Vec::new();
        for name in candidates {
            let answers = match &query.name {
                Some(pattern) => pattern.is_match(&name),
                None => self.bears(&name, &query.tags).await?,
            };
            if answers {
                found.push(Key { name, version: None, metadata: false });
            }
        }
        if found.len() > MOST_FOUND {
            let message = format!("more than {MOST_FOUND} secrets were found: narrow the search");
            Err(Error::invalid(message).with_blame(Blame::Request))
        } else {
            Ok(found)
        }
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
