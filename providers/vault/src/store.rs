//! Reading the KV engines, searching them, and writing there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Gathered, Key, Metadata, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, SecretBytes, json, one_by_one,
};
use reqwest::Method;
use reqwest::header::HeaderValue;
use tokio::task::yield_now;

use crate::answers::{self, Found, Marks, Reading, bears_mark};
use crate::client::{Call, Client, Complaint};
use crate::config::Config;
use crate::login::{Login, Logins};
use crate::path::{KvVersion, Layout, Place};
use crate::write::{self, Custom};

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
        push: true,
        delete: true,
        marks: true,
        ..Capabilities::READ_ONLY
    }
}

/// The engines of one server that one login sees, or one of them.
pub struct Vault {
    client: Arc<Client>,
    login: Login,
    layout: Layout,
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
            ctx,
            method: config.method,
            namespace: config.auth_namespace,
            read_your_writes: config.read_your_writes,
        })
        .await?;
        Ok(Self { client, login, layout: config.layout, namespace: config.namespace, checked_mounts: Mutex::default() })
    }

    async fn read(&self, key: &Key) -> Answer {
        let place = self.layout.place(&key.name)?;
        self.check_own(&place).await?;
        match (key.metadata, self.layout.version) {
            (true, KvVersion::V1) => Err(Error::new(ErrorKind::Unsupported, "KV version 1 keeps no metadata")),
            (true, KvVersion::V2) => {
                let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
                answers::metadata(&self.client, &place, &answer).map(Into::into)
            }
            (false, _) => match self.read_value(&place, self.wanted_version(key)?).await? {
                Reading::Value(found) => Ok(found.into()),
                Reading::Gone(error, _) | Reading::Nothing(error) => Err(error),
            },
        }
    }

    /// What an engine has under this path. That it has nothing is what an engine of the version says that the store says.
    async fn read_value(&self, place: &Place, version: Option<i64>) -> Result<Reading, Error> {
        let query = version.map(|version| format!("version={version}"));
        let answer = self.login.send(&self.call("ReadSecretData", place.data(), query)).await?;
        let reading = answers::value(&self.client, place, version, &answer)?;
        if matches!(reading, Reading::Nothing(_)) {
            if let Some(version) = version {
                let answer = self.login.send(&self.call("ReadSecretData", place.metadata(), None)).await?;
                answers::version(&self.client, place, version, &answer)?;
            }
            self.check_mount(place).await?;
        }
        Ok(reading)
    }

    /// The version that is asked for; the current one where that is none in particular, which 0 stands for too.
    fn wanted_version(&self, key: &Key) -> Result<Option<i64>, Error> {
        match (key.version.as_deref(), self.layout.version) {
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
            "whether {} is a secret the server does not tell: set {}.path to the mount of its engine",
            place.data(),
            self.layout.product
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
        let place = self.layout.folder(folder)?;
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
        let place = self.layout.place(name)?;
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
        Call { name, method: Method::GET, body: None, path, query, namespace: self.namespace.clone() }
    }

    /// What is there before it is written or deleted.
    async fn look_for(&self, remote: &Remote) -> Result<There, Error> {
        let place = self.layout.place(&remote.key)?;
        self.check_own(&place).await?;
        let (found, is_deleted, gone) = match self.read_value(&place, None).await? {
            Reading::Value(found) => (Some(found), false, None),
            Reading::Gone(_, version) => (None, true, version),
            Reading::Nothing(_) => (None, false, None),
        };
        Ok(There { place, found, is_deleted, gone })
    }

    /// What a secret of version 2 is marked with, and the version that it is at. Most servers say both with the value.
    async fn standing(&self, there: &There) -> Result<Standing, Error> {
        let There { place, found, is_deleted, gone } = there;
        let told = found.as_ref().and_then(|found| Some((found.marks.clone()?, found.version.clone()?)));
        let (marks, version) = match told {
            Some(told) => told,
            None => {
                let none = || (Marks::new(), gone.clone().unwrap_or_else(|| "0".to_owned()));
                self.marks_at(place, place.metadata()).await?.unwrap_or_else(none)
            }
        };
        let is_ours = match place.stray_metadata() {
            Some(stray) if (found.is_some() || *is_deleted) && !bears_mark(&marks) => {
                self.marks_at(place, stray).await?.is_some_and(|(stray, _)| bears_mark(&stray))
            }
            _ => bears_mark(&marks),
        };
        Ok(Standing { marks, version, is_ours })
    }

    async fn marks_at(&self, place: &Place, path: String) -> Result<Option<(Marks, String)>, Error> {
        let answer = self.login.send(&self.call("ReadSecretData", path.clone(), None)).await?;
        answers::marks(&self.client, place, &path, &answer)
    }

    async fn write(&self, place: &Place, path: String, body: SecretBytes) -> Result<(), Error> {
        let call = Call { method: Method::POST, body: Some(body), ..self.call("WriteSecretData", path.clone(), None) };
        let answer = self.login.send(&call).await?;
        answers::done(&self.client, place, &path, "create and update", &answer)
    }

    async fn remove(&self, place: &Place) -> Result<(), Error> {
        // On version 2 the values go with the metadata: all versions are gone.
        let path = match self.layout.version {
            KvVersion::V1 => place.data(),
            KvVersion::V2 => place.metadata(),
        };
        let call = Call { method: Method::DELETE, ..self.call("DeleteSecret", path.clone(), None) };
        let answer = self.login.send(&call).await?;
        answers::done(&self.client, place, &path, "delete", &answer)
    }

    async fn push_v1(&self, push: &Push, there: &There) -> Result<(), Error> {
        let found = there.found.as_ref();
        let is_ours = found.is_some_and(Found::is_ours);
        there.refuse_foreign(is_ours, push.reach)?;
        let value = write::wanted(push, found.map(|found| &found.value), KvVersion::V1)?;
        match found {
            Some(found) if is_ours && write::same(&found.value, &value, KvVersion::V1) => Ok(()),
            _ => self.write(&there.place, there.place.data(), write::marked(&value)).await,
        }
    }

    /// As in External Secrets Operator, the mark is written before the value: what fails in between is ours at the next try.
    async fn push_v2(&self, push: &Push, custom: &Custom, there: &There) -> Result<(), Error> {
        let (place, found) = (&there.place, there.found.as_ref());
        let standing = self.standing(there).await?;
        there.refuse_foreign(standing.is_ours, push.reach)?;
        let value = write::wanted(push, found.map(|found| &found.value), KvVersion::V2)?;
        if let Some(marks) = custom.over(&standing.marks) {
            self.write(place, place.metadata(), write::of_marks(&marks)).await?;
        }
        match found {
            Some(found) if write::same(&found.value, &value, KvVersion::V2) => Ok(()),
            _ => self.write(place, place.data(), write::body(&value, &standing.version)).await,
        }
    }
}

/// What is there before it is written or deleted.
struct There {
    place: Place,
    found: Option<Found>,
    /// Whether the last version is deleted. The others are still there, and whoever wrote them may want that one back.
    is_deleted: bool,
    /// The version that went, where the server says so.
    gone: Option<String>,
}

/// Whose it is.
struct Standing {
    marks: Marks,
    /// The version to write over; 0 where there is none.
    version: String,
    is_ours: bool,
}

impl There {
    fn refuse_foreign(&self, is_ours: bool, reach: Reach) -> Result<(), Error> {
        if (self.found.is_none() && !self.is_deleted) || is_ours || reach == Reach::All {
            return Ok(());
        }
        let (path, (name, value)) = (self.place.data(), answers::MARK);
        let what = match &self.found {
            Some(_) => format!("that at {path} is not marked {name}: {value}: push to another key, or mark it so"),
            None => format!(
                "that at {path} is not marked {name}: {value}, and its last version, which is deleted, may be wanted back: push to \
                 another key, or delete its metadata, too"
            ),
        };
        let message = format!("secret not managed by external-secrets: {what}");
        Err(Error::new(ErrorKind::Denied, message).with_blame(Blame::Request))
    }
}

fn is_folder(name: &str) -> bool {
    name.ends_with('/')
}

#[async_trait]
impl Provider for Vault {
    fn capabilities(&self) -> Capabilities {
        capabilities(self.layout.version)
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

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let custom = Custom::new(&push.remote, self.layout.version)?;
        let there = self.look_for(&push.remote).await?;
        match self.layout.version {
            KvVersion::V1 => self.push_v1(push, &there).await,
            KvVersion::V2 => self.push_v2(push, &custom, &there).await,
        }
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let there = self.look_for(remote).await?;
        let Some(found) = &there.found else { return Ok(()) };
        let (is_ours, version) = match self.layout.version {
            KvVersion::V1 => (found.is_ours(), String::new()),
            KvVersion::V2 => {
                let standing = self.standing(&there).await?;
                (standing.is_ours, standing.version)
            }
        };
        if reach == Reach::Ours && !is_ours {
            return Ok(());
        }
        let left = match &remote.property {
            Some(property) if !write::has(&found.value, property) => return Ok(()),
            Some(property) => write::left(&found.value, property),
            None => None,
        };
        match (left, self.layout.version) {
            (None, _) => self.remove(&there.place).await,
            (Some(left), KvVersion::V1) if is_ours => {
                self.write(&there.place, there.place.data(), write::marked(&left)).await
            }
            (Some(left), KvVersion::V1) => self.write(&there.place, there.place.data(), left).await,
            (Some(left), KvVersion::V2) => {
                self.write(&there.place, there.place.data(), write::body(&left, &version)).await
            }
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let there = self.look_for(remote).await?;
        let has = |found: &Found| remote.property.as_deref().is_none_or(|name| write::has(&found.value, name));
        Ok(there.found.as_ref().is_some_and(has))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        self.login
            .cloud_of_operator()
            .map(|cloud| format!("it is used with the operator's own {cloud} identity, since it names no credentials"))
    }
}
