//! Reading and searching.

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Gathered, Key, Metadata, Page, Provider,
    Push, Query, Reach, Remote, one_by_one, property,
};

use crate::answers::{self, Found};
use crate::client::{self, Call, Client, Response, Word};
use crate::config::Config;
use crate::object::{Kind, Object};

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::Answered,
    find_by_name: true,
    find_by_tags: true,
    find_all: true,
    push: true,
    delete: true,
    marks: true,
    ..Capabilities::READ_ONLY
};

/// How many secrets of a list a vault answers at once, and no more.
const AT_ONCE: usize = 25;

/// The longest text that is asked for as a version. A vault's have 32 letters.
const LONGEST_VERSION: usize = 64;

/// One vault, as one identity sees it.
pub struct KeyVault {
    /// The vault.
    pub(crate) client: Client,
}

impl KeyVault {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        Ok(Self { client: Client::new(&config, &ctx).await? })
    }

    async fn read(&self, key: &Key) -> Answer {
        let object = Object::new(&key.name)?;
        let found = match key.version.as_deref().filter(|version| !version.is_empty()) {
            None => self.look(&object).await?,
            Some(version) => self.look_at(&object, version).await?,
        };
        let (version, expires) = (found.version.clone(), found.end());
        let value = if key.metadata { found.metadata() } else { found.value };
        Ok(Fetched { value, version, expires })
    }

    /// Something that the vault keeps, as it is now.
    pub(crate) async fn look(&self, object: &Object) -> Result<Found, Error> {
        self.ask(object, &object.path()).await
    }

    /// A version of it. A vault says of a version that is not there what it says of a secret that is not.
    async fn look_at(&self, object: &Object, version: &str) -> Result<Found, Error> {
        // What can't be one is not asked for: it could be part of the vault's own paths.
        let can_be = |byte: u8| byte.is_ascii_alphanumeric();
        if version.len() <= LONGEST_VERSION && version.bytes().all(can_be) {
            match self.ask(object, &format!("{}/{version}", object.path())).await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {}
                found => return found,
            }
        }
        match self.look(object).await {
            Err(error) if error.kind() != ErrorKind::Denied => Err(error),
            // Whoever may not read the current one, or finds it disabled, knows that much: there is a secret, or there
            // may be.
            Ok(_) | Err(_) => {
                let message = format!("the {object} has no version {version:?}: without a version the last is read");
                Err(Error::new(ErrorKind::NoVersion, message))
            }
        }
    }

    async fn ask(&self, object: &Object, path: &str) -> Result<Found, Error> {
        let name = match object.kind {
            Kind::Secret => "GetSecret",
            Kind::Key => "GetKey",
            Kind::Certificate => "GetCertificate",
        };
        let answer = self.client.send(&Call::get(name, path)).await?;
        match answer.status {
            200 => Found::new(object.kind, &answer.body).ok_or_else(|| self.client.malformed(&answer)),
            _ => Err(self.client.refusal(&answer, object)),
        }
    }

    /// A vault without a list is none.
    fn list_refusal(&self, answer: &Response) -> Error {
        let error = self.client.refusal(answer, &"list of secrets");
        if error.kind() == ErrorKind::NotFound { self.client.malformed(answer) } else { error }
    }

    /// One thing, where there is one.
    pub(crate) async fn look_for(&self, object: &Object) -> Result<Option<Found>, Error> {
        match self.look(object).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

#[async_trait]
impl Provider for KeyVault {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { tags_name_the_secret: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let page = at.first().map_or(client::Page::First(AT_ONCE), |next| client::Page::Next(next));
        let answer = self.client.send(&Call::get("GetSecrets", "secrets").page(page)).await?;
        if answer.status != 200 {
            return Err(self.list_refusal(&answer));
        }
        let mut page = Gathered::default();
        let next = answers::list(
            &answer.body,
            || self.client.malformed(&answer),
            |one| {
                let bears = query.tags.iter().all(|(name, value)| one.tags.get(name) == Some(value));
                if one.is_enabled && bears && query.matches(&one.name) { page.found(one.name) } else { Ok(()) }
            },
        )?;
        if let Some(link) = next {
            page.open(self.client.next(&link)?)?;
        }
        Ok(page.into())
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.write(push).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.remove(remote, reach).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let object = Object::new(&remote.key)?;
        let call = Call::get("GetSecret", &object.path());
        // What is disabled is there.
        if object.kind == Kind::Secret && remote.property.is_none() {
            let answer = self.client.send(&call).await?;
            return match (answer.status, Word::of(&answer)) {
                (200, _) | (403, Some(Word::Disabled)) => Ok(true),
                (404, Some(Word::NotFound)) => Ok(false),
                _ => Err(self.client.refusal(&answer, &object)),
            };
        }
        let there = self.look_for(&object).await?;
        let property = remote.property.as_deref();
        let has = |found: Found, property: &str| property::get_at(found.value.expose(), &[property]).is_some();
        Ok(there.is_some_and(|found| property.is_none_or(|property| has(found, property))))
    }

    /// The vault is asked for a list of one, which whoever may read secrets need not be allowed: what counts is that it
    /// knows us.
    async fn validate(&self) -> Result<(), Error> {
        let answer = self.client.send(&Call::get("GetSecrets", "secrets").page(client::Page::First(1))).await?;
        match (answer.status, Word::of(&answer)) {
            (200, _) | (403, Some(Word::Other)) => Ok(()),
            _ => Err(self.list_refusal(&answer)),
        }
    }

    fn identity_note(&self) -> Option<String> {
        self.client.note()
    }
}
