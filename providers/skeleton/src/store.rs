//! Reading, searching and writing.

use async_trait::async_trait;
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, Provider, Push, Query,
    Reach, Remote, SecretBytes, one_by_one,
};
use reqwest::Method;

use crate::answers::{self, Found};
use crate::client::{Call, Client};
use crate::config::Config;
use crate::login::Login;

/// What the store can do. What is left out is refused before we are asked.
pub const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    push: true,
    delete: true,
    marks: true,
    ..Capabilities::READ_ONLY
};

/// The secrets of one cellar, as one login sees them.
pub struct Cellar {
    login: Login,
}

impl Cellar {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Client::new(&config, &ctx)?;
        Ok(Self { login: Login::new(client, ctx.credentials, config.key).await? })
    }

    async fn read(&self, key: &Key) -> Answer {
        let Found { value, version, .. } = self.look(&key.name, key.version.as_deref()).await?;
        Ok(Fetched::from(value).of_version(Some(version)))
    }

    /// One secret, as it is there.
    async fn look(&self, name: &str, version: Option<&str>) -> Result<Found, Error> {
        let mut query = vec![("name", name.to_owned())];
        query.extend(version.filter(|version| !version.is_empty()).map(|version| ("version", version.to_owned())));
        let call = Call { name: "GetSecret", method: Method::GET, path: "secret", query, body: None };
        let answer = self.login.send(&call).await?;
        match answer.status {
            200 => answers::found(&answer.body).ok_or_else(|| self.login.client().malformed(&answer)),
            _ => Err(self.login.client().refusal(&answer, &format!("secret {name:?}"))),
        }
    }

    /// One secret, where there is one.
    async fn look_for(&self, name: &str) -> Result<Option<Found>, Error> {
        match self.look(name, None).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    async fn write(&self, name: &str, value: &SecretBytes, there: Option<&Found>) -> Result<(), Error> {
        let body = answers::written(value, there.map_or("0", |found| &found.version))?;
        let query = vec![("name", name.to_owned())];
        let call = Call { name: "PutSecret", method: Method::PUT, path: "secret", query, body: Some(body) };
        self.done(&call, name).await
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let query = vec![("name", name.to_owned())];
        let call = Call { name: "DeleteSecret", method: Method::DELETE, path: "secret", query, body: None };
        match self.done(&call, name).await {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    async fn done(&self, call: &Call, name: &str) -> Result<(), Error> {
        let answer = self.login.send(call).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(self.login.client().refusal(&answer, &format!("secret {name:?}"))),
        }
    }
}

#[async_trait]
impl Provider for Cellar {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let from = at.first().map(|from| ("from", from.clone())).into_iter().collect();
        let call = Call { name: "ListSecrets", method: Method::GET, path: "secrets", query: from, body: None };
        let answer = self.login.send(&call).await?;
        if answer.status != 200 {
            return Err(self.login.client().refusal(&answer, &"the list of secrets"));
        }
        let (names, next) = answers::names(&answer.body).ok_or_else(|| self.login.client().malformed(&answer))?;
        Ok(Page::of_names(names.into_iter().filter(|name| query.matches(name)), next))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let there = self.look_for(key).await?;
        if push.reach == Reach::Ours && there.as_ref().is_some_and(|found| !found.is_ours) {
            let message = format!("secret {key:?} was not made by us: push to another key, or delete it first");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let whole = push.payload.whole()?;
        let value = match property {
            Some(property) => {
                let before = there.as_ref().map(|found| found.value.expose()).unwrap_or_default();
                property::set(before, property, &whole)?
            }
            None => whole,
        };
        match &there {
            Some(found) if found.is_ours && found.value == value => Ok(()),
            _ => self.write(key, &value, there.as_ref()).await,
        }
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let Some(there) = self.look_for(&remote.key).await? else { return Ok(()) };
        if reach == Reach::Ours && !there.is_ours {
            return Ok(());
        }
        let left = remote.property.as_ref().map(|property| property::remove(there.value.expose(), property));
        match left {
            Some(Left::All) => Ok(()),
            Some(Left::Rest(rest)) => self.write(&remote.key, &rest, Some(&there)).await,
            Some(Left::Nothing) | None => self.remove(&remote.key).await,
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let there = self.look_for(&remote.key).await?;
        Ok(there.is_some_and(|found| {
            remote.property.as_deref().is_none_or(|property| property::get(found.value.expose(), property).is_some())
        }))
    }

    async fn validate(&self) -> Result<(), Error> {
        let call = Call { name: "WhoAmI", method: Method::GET, path: "me", query: Vec::new(), body: None };
        let answer = self.login.send(&call).await?;
        match answer.status {
            200 => Ok(()),
            _ => Err(self.login.client().refusal(&answer, &"the store")),
        }
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
