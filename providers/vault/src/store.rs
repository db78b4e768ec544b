//! Reading the KV engines, and searching them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Gathered, Key, Metadata, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, json, one_by_one,
};
use reqwest::header::HeaderValue;
use tokio::task::yield_now;

use crate::answers::{self, Reading};
use crate::client::{Call, Client, Complaint};
use crate::config::Config;
use crate::login::{Login, Logins};
use crate::path::{KvVersion, Place};

/// How many names are held against a pattern at once.
const NAMES_AT_ONCE: usize = 256;

/// What a store with an engine of this version can do.
pub fn capabilities(version: KvVersion) -> Capabilities {
    let v2 = version == KvVersion::V2;
    Capabilities {
        versions: v2,
        metadata: if v2 { Metadata::Answered } else { Metadata::Refused },
        find_by_name: true,
        find_by_path: true,
        find_by_tags: v2,
        find_all: v2,
        ..Capabilities::READ_ONLY
    }
}

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
        self.check_own(&place).await?;
        match (key.metadata, self.version) {
            (true, KvVersion::V1) => Err(Error::new(ErrorKind::Unsupported, "KV version 1 keeps no metadata")),
            (true, KvVersion::V2) => {
                let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
                answers::metadata(&self.client, &place, &answer).map(Into::into)
            }
            (false, _) => self.read_value(&place, self.wanted_version(key)?).await,
        }
    }

    async fn read_value(&self, place: &Place, version: Option<i64>) -> Answer {
        let query = version.map(|version| format!("version={version}"));
        let answer = self.login.send(&self.call("ReadSecretData", place.data(), query)).await?;
        match answers::value(&self.client, place, version, &answer)? {
            Reading::Value(value) => Ok(value),
            Reading::Gone(error) => Err(error),
            Reading::Nothing(error) => {
                if let Some(version) = version {
                    let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
                    answers::version(&self.client, place, version, &answer)?;
                }
                self.check_mount(place).await?;
                Err(error)
            }
        }
    }

    /// The version that is asked for; the current one where that is none in particular, which 0 stands for too.
    fn wanted_version(&self, key: &Key) -> Result<Option<i64>, Error> {
        match (key.version.as_deref(), self.version) {
            (None | Some(""), _) | (Some(_), KvVersion::V1) => Ok(None),
            (Some(text), KvVersion::V2) => {
                let version = text.parse().map_err(|_| {
                    let message = format!(
                        "the version {text:?} is not a number, as those of KV version 2 are: without a version the last is \
                         read"
                    );
                    Error::new(ErrorKind::NoVersion, message)
                })?;
                Ok(Some(version).filter(|version| *version != 0))
            }
        }
    }

    /// Makes sure, once per mount, that "nothing there" comes from an engine of the version that we think it is, as far as
    /// the server tells.
    async fn check_mount(&self, place: &Place) -> Result<(), Error> {
        if !self.checked_mounts().contains(place.mount()) {
            self.ask_mount(place).await?;
            self.checked_mounts().insert(place.mount().to_owned());
        }
        Ok(())
    }

    /// Whether the server tells that what is mounted there is the engine that the store says.
    async fn ask_mount(&self, place: &Place) -> Result<bool, Error> {
        let path = format!("sys/internal/ui/mounts/{}", place.data());
        let answer = self.login.send(&self.call("ReadMount", path, None)).await?;
        answers::mount(&self.client, place, &answer)
    }

    /// Makes sure that a path that may lead to what Vault keeps for itself, behind the path of a namespace, leads to an
    /// engine. It is asked each time: what holds for one path says nothing of another.
    async fn check_own(&self, place: &Place) -> Result<(), Error> {
        if !place.may_be_own() || self.ask_mount(place).await? {
            return Ok(());
        }
        let message = format!(
            "whether {} is a secret the server does not tell: set spec.provider.vault.path to the mount of its engine",
            place.data()
        );
        Err(Error::invalid(message).with_blame(Blame::Spec))
    }

    fn checked_mounts(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.checked_mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in a folder: secrets that answer `query`, as far as their names tell, and folders, with a slash at their
    /// end. As in External Secrets Operator the path stands before the names as it was written, whatever its slashes; what
    /// is asked of the server is tidy.
    /// What there is in a folder. Much of it is gone through with pauses: a pattern may take long, and others wait.
    async fn list(&self, folder: &str, query: &Query, page: &mut Gathered) -> Result<(), Error> {
        let place = Place::folder(self.mount.as_deref(), self.version, folder)?;
        self.check_own(&place).await?;
        let call = self.call("ListSecrets", place.listing(), Some("list=true".to_owned()));
        let answer = self.login.send(&call).await?;
        let Some(names) = answers::names(&self.client, &place, &answer)? else {
            return self.check_mount(&place).await;
        };
        for (n, name) in names.enumerate() {
            if n % NAMES_AT_ONCE == NAMES_AT_ONCE - 1 {
                yield_now().await;
            }
            let name = format!("{folder}{}", name?);
            if is_folder(&name) {
                page.open(name)?;
            } else if query.matches(&name) {
                // Tags are elsewhere.
                if query.tags.is_empty() { page.found(name)? } else { page.open(name)? }
            }
        }
        Ok(())
    }

    async fn bears(&self, name: &str, tags: &BTreeMap<String, String>) -> Result<bool, Error> {
        let place = Place::of(self.mount.as_deref(), self.version, name)?;
        let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
        // It went since it was listed.
        if answer.status == 404 && answer.complaint() == Complaint::Nothing {
            return Ok(false);
        }
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

fn is_folder(name: &str) -> bool {
    name.ends_with('/')
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

    /// Below the path, or everywhere. What is left to look at is a stack: folders to list, and, where tags are asked for,
    /// secrets whose metadata is to be read.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let mut left = at.to_vec();
        let next = match left.pop() {
            Some(next) => next,
            None => query.path.as_ref().map(|path| format!("{path}/")).unwrap_or_default(),
        };
        let mut page = Gathered::default();
        left.into_iter().try_for_each(|name| page.open(name))?;
        if next.is_empty() || is_folder(&next) {
            self.list(&next, query, &mut page).await?;
        } else if self.bears(&next, &query.tags).await? {
            page.found(next)?;
        }
        Ok(page.into())
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
