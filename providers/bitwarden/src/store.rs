//! Reading, searching and writing.

use async_trait::async_trait;
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Gathered, Key, Metadata, Page,
    Provider, Push, Query, Reach, Remote, SecretBytes,
};
use reqwest::Method;

use crate::answers::{self, Secret, is_id};
use crate::client::{Call, Client};
use crate::config::Config;

/// Said of every store: nobody's client and no server of theirs has shown that it does what we take it to do.
const UNPROVEN: &str = "this provider is built from the documents of bitwarden-sdk-server and unproven: it was never tried \
                        against the server itself";

/// What is said of a secret that is not shown.
const NOT_SHOWN: &str = "or the machine account may not see it, which Bitwarden does not tell apart: check its name, and the account's access";

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 20,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

/// How many secrets one call of a search reads.
const AT_ONCE: usize = 20;

/// The secrets of one project, as one machine account sees them.
pub struct Bitwarden {
    client: Client,
    organization: String,
    project: String,
    /// One writes at a time: who makes a secret must know that nobody else makes it meanwhile.
    writing: tokio::sync::Mutex<()>,
}

/// Ids and names of all that the machine account sees.
type Names = Vec<(String, String)>;

impl Bitwarden {
    /// From the spec, with the token.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Client::new(&config, &ctx).await?;
        let (organization, project) = (config.organization, config.project);
        Ok(Self { client, organization, project, writing: tokio::sync::Mutex::default() })
    }

    async fn names(&self) -> Result<Names, Error> {
        let body = answers::object(&[("organizationId", &self.organization)], &[]);
        let call = Call { name: "ListSecrets", method: Method::GET, path: "secrets", body };
        let answer = self.client.success(&call, &format!("organization {:?}", self.organization)).await;
        // An organization that is not there says nothing of its secrets.
        let answer = answer.map_err(Error::no_reason_to_delete)?;
        answers::list(&answer).ok_or_else(|| self.client.malformed(200))
    }

    async fn get(&self, id: &str) -> Result<Secret, Error> {
        let body = answers::object(&[("id", id)], &[]);
        let call = Call { name: "GetSecret", method: Method::GET, path: "secret", body };
        let answer = self.client.success(&call, &format!("secret {id:?}")).await?;
        answers::secret(&answer).ok_or_else(|| self.client.malformed(200))
    }

    /// The secret of this id or name. A name counts in the store's project only, an id everywhere. `NotFound` is what the
    /// account does not see, which is enough for who writes.
    async fn look(&self, key: &str, names: &Names) -> Result<Secret, Error> {
        if is_id(key) {
            return self.get(key).await;
        }
        let mut found = None;
        for (id, _) in names.iter().filter(|(_, name)| name == key) {
            let secret = match self.get(id).await {
                // It went since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                secret => secret?,
            };
            if secret.project.as_deref() != Some(&self.project) {
                continue;
            }
            if found.replace(secret).is_some() {
                let message = format!(
                    "project {:?} has several secrets {key:?}: rename all but one, or name the one that is meant by its id",
                    self.project
                );
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
        }
        let missing = || format!("there is no secret {key:?} in project {:?}", self.project);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, missing()))
    }

    async fn look_for(&self, key: &str) -> Result<Option<Secret>, Error> {
        let names = if is_id(key) { Names::new() } else { self.names().await? };
        match self.look(key, &names).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Bitwarden shows an account what that may see and answers for all else as if it were not there, so that its "not
    /// found" says nothing of a secret: a right that was taken away must delete nothing.
    async fn read(&self, key: &Key, names: &Names) -> Answer {
        let secret = self.look(&key.name, names).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::Denied, format!("{}: {NOT_SHOWN}", error.message())),
            _ => error,
        })?;
        Ok(Fetched::from(secret.value).of_version(secret.revision))
    }

    /// Makes a secret, or writes over `there`.
    async fn write(
        &self,
        name: &str,
        value: &SecretBytes,
        note: &SecretBytes,
        there: Option<&Secret>,
    ) -> Result<(), Error> {
        let project = there.and_then(|there| there.project.as_deref()).unwrap_or(&self.project);
        let mut texts = vec![
            ("key", name),
            ("note", answers::as_text(note)?),
            ("organizationId", &self.organization),
            ("value", answers::as_text(value)?),
        ];
        texts.extend(there.map(|there| ("id", there.id.as_str())));
        let (name_of_call, method) =
            if there.is_some() { ("UpdateSecret", Method::PUT) } else { ("CreateSecret", Method::POST) };
        let body = answers::object(&texts, &[("projectIds", project)]);
        let call = Call { name: name_of_call, method, path: "secret", body };
        let written = self.client.success(&call, &format!("secret {name:?}")).await;
        written.map(drop).map_err(Error::no_reason_to_delete)
    }

    async fn remove(&self, secret: &Secret) -> Result<(), Error> {
        let body = answers::object(&[], &[("ids", &secret.id)]);
        let call = Call { name: "DeleteSecret", method: Method::DELETE, path: "secret", body };
        let answer = match self.client.success(&call, &format!("secret {:?}", secret.name)).await {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            answer => answer?,
        };
        match answers::is_deleted(&answer) {
            Some(true) => Ok(()),
            Some(false) => {
                let message = format!(
                    "Bitwarden does not let us delete secret {:?}: give the machine account write access to the project",
                    secret.name
                );
                Err(Error::new(ErrorKind::Denied, message))
            }
            None => Err(self.client.malformed(200)),
        }
    }
}

#[async_trait]
impl Provider for Bitwarden {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    /// Names are looked up by one list.
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let names = if keys.iter().all(|key| is_id(&key.name)) { Names::new() } else { self.names().await? };
        keyferry_provider_core::one_by_one(keys, |key| self.read(key, &names)).await
    }

    /// Which project a secret is in only reading it tells: a few of them in each call, which must not take long.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let mut left = match at {
            [] => {
                let names = self.names().await?.into_iter();
                names.filter(|(_, name)| query.matches(name)).map(|(id, _)| id).collect()
            }
            at => at.to_vec(),
        };
        let later = left.split_off(left.len().min(AT_ONCE));
        let mut page = Gathered::default();
        for id in left {
            let secret = self.get(&id).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Error::new(ErrorKind::Unavailable, "the secrets were changed while they were searched")
                }
                _ => error,
            })?;
            if secret.project.as_deref() == Some(&self.project) {
                page.found(secret.name)?;
            }
        }
        later.into_iter().try_for_each(|id| page.open(id))?;
        Ok(page.into())
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, metadata } = &push.remote;
        let note = answers::note(metadata.as_ref())?;
        let _alone = self.writing.lock().await;
        let there = self.look_for(key).await?;
        if there.is_none() && is_id(key) {
            let message = format!("there is no secret {key:?}, and none can be made of an id: push to a name");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        let value = answers::pushed(&push.payload, property.as_deref(), there.as_ref().map(|there| &there.value))?;
        let old = there.as_ref().map(|there| there.note.clone()).unwrap_or_default();
        let note = note.map_or(old, |note| note.as_str().into());
        match &there {
            Some(there) if there.value == value && there.note == note => Ok(()),
            Some(there) => self.write(&there.name, &value, &note, Some(there)).await,
            None => self.write(key, &value, &note, None).await,
        }
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        let _alone = self.writing.lock().await;
        let Some(there) = self.look_for(&remote.key).await? else { return Ok(()) };
        let property = remote.property.as_deref().filter(|property| !property.is_empty());
        match property.map(|property| property::remove_at(there.value.expose(), &[property])) {
            Some(Left::All) => Ok(()),
            Some(Left::Rest(rest)) => self.write(&there.name, &rest, &there.note, Some(&there)).await,
            Some(Left::Nothing) | None => self.remove(&there).await,
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let there = self.look_for(&remote.key).await?;
        let property = remote.property.as_deref().filter(|property| !property.is_empty());
        let has = |found: Secret, property: &str| property::get_at(found.value.expose(), &[property]).is_some();
        Ok(there.is_some_and(|found| property.is_none_or(|property| has(found, property))))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.names().await.map(drop)
    }

    fn identity_note(&self) -> Option<String> {
        Some(UNPROVEN.to_owned())
    }
}
