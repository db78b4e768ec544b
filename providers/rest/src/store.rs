//! What is the same for all these stores: how something is written into what is there. A store says how one secret is
//! looked at, written and removed; what becomes of properties and marks is decided here.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Key, Origin, Page, Payload, Provider, Push, Query, Reach, Remote,
    SecretBytes,
};

use crate::object;

/// A secret as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it holds.
    pub value: SecretBytes,
    /// Whether it is ours: it bears the mark of what we wrote, or the vendor's secrets can bear none.
    pub is_ours: bool,
    /// Which version it is, where a write may have to say so.
    pub version: Option<String>,
}

impl Found {
    /// Where the vendor's secrets bear no marks, and writes name no version.
    pub fn unmarked(value: SecretBytes) -> Self {
        Self { value, is_ours: true, version: None }
    }
}

/// One vendor's secrets, as one login sees them: what differs by vendor, and nothing else. What a method must do is said
/// in [`Provider`], whose names these are.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// See [`Provider::capabilities`].
    fn capabilities(&self) -> Capabilities;

    /// See [`Provider::dialect`].
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    /// See [`Provider::fetch`].
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error>;

    /// See [`Provider::find`].
    async fn find(&self, _query: &Query, _at: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    /// The secret of this name, where the vendor has one.
    async fn look(&self, _name: &str) -> Result<Option<Found>, Error> {
        Err(Error::cannot("pushed to"))
    }

    /// Makes sure that what [`look`](Self::look) did not see is not there, before anybody counts on that: where the vendor
    /// says the same of what may not be read. A push need not know: making what is there already is refused.
    async fn is_absent(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Writes this value as the secret of this name, in place of what is there, and marks it as ours.
    async fn write(&self, _name: &str, _value: &SecretBytes, _there: Option<&Found>) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    /// Removes the secret of this name. That there is none is `NotFound`, and taken for done.
    async fn remove(&self, _name: &str) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    /// What is kept of what is pushed without a property.
    fn whole(&self, payload: &Payload, _origin: &Origin) -> Result<SecretBytes, Error> {
        match payload {
            Payload::Value(value) => Ok(value.clone()),
            Payload::Fields(fields) => object::of_fields(fields),
        }
    }

    /// The names by which a property is found in a value, from the outermost: as reads find it.
    fn path<'a>(&self, property: &'a str) -> Vec<&'a str> {
        vec![property]
    }

    /// See [`Provider::validate`].
    async fn validate(&self) -> Result<(), Error>;

    /// See [`Provider::identity_note`].
    fn note(&self) -> Option<String> {
        None
    }
}

/// A vendor's store under the contract.
pub struct Rest<S>(S);

impl<S: Store> Rest<S> {
    /// The store as a provider.
    pub fn provider(store: S) -> Arc<dyn Provider> {
        Arc::new(Self(store))
    }
}

#[async_trait]
impl<S: Store> Provider for Rest<S> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.0.fetch(keys).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        // A search is for what is there: that a place of it is not there is nobody's word about a secret.
        self.0.find(query, at).await.map_err(Error::no_reason_to_delete)
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let there = self.0.look(key).await?;
        if push.reach == Reach::Ours && there.as_ref().is_some_and(|found| !found.is_ours) {
            let message = format!("secret {key:?} was not made by us: push to another key, or delete it first");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let value = match (property, &push.payload) {
            (Some(property), payload) => {
                let value = match payload {
                    Payload::Value(value) => value.clone(),
                    Payload::Fields(fields) => object::of_fields(fields)?,
                };
                let before = there.as_ref().map(|found| found.value.expose()).unwrap_or_default();
                property::set_at(before, &self.0.path(property), &value)?
            }
            (None, payload) => self.0.whole(payload, &push.origin)?,
        };
        match &there {
            Some(found) if found.is_ours && found.value == value => Ok(()),
            there => self.0.write(key, &value, there.as_ref()).await,
        }
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        let Some(there) = self.0.look(&remote.key).await? else { return self.0.is_absent(&remote.key).await };
        if reach == Reach::Ours && !there.is_ours {
            return Ok(());
        }
        let property = remote.property.as_deref();
        let done = match property.map(|property| property::remove_at(there.value.expose(), &self.0.path(property))) {
            Some(Left::All) => Ok(()),
            Some(Left::Rest(rest)) => self.0.write(&remote.key, &rest, Some(&there)).await,
            Some(Left::Nothing) | None => self.0.remove(&remote.key).await,
        };
        match done {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let Some(found) = self.0.look(&remote.key).await? else {
            return self.0.is_absent(&remote.key).await.map(|()| false);
        };
        let has = |property: &str| property::get_at(found.value.expose(), &self.0.path(property)).is_some();
        Ok(remote.property.as_deref().is_none_or(has))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.0.validate().await.map_err(Error::no_reason_to_delete)
    }

    fn identity_note(&self) -> Option<String> {
        self.0.note()
    }
}

/// What [`placed`] puts before a place.
const IN: &str = "in ";

/// A key that a search found, to be fetched from this place rather than from where the store reads by itself. It travels
/// where versions do, which these stores have none of.
pub fn placed(name: String, place: &str) -> Key {
    Key { name, version: Some(format!("{IN}{place}")), metadata: false }
}

/// The place of a key that a search found.
pub fn place(key: &Key) -> Option<&str> {
    key.version.as_deref()?.strip_prefix(IN)
}

/// Whether one of these tags is what a search asks for. Tags are texts at some vendors, where a search has a name and a value:
/// then it is the value alone, or both.
pub fn bears(tags: &[String], name: &str, value: &str) -> bool {
    let both = |between: &str| format!("{name}{between}{value}");
    tags.iter().any(|tag| tag == value || *tag == both("=") || *tag == both(":"))
}

/// What the status of a store says whose vendor nobody of us could ask.
pub const UNPROVEN: &str = "this provider is built from the vendor's documents and unproven: it was never tried against the vendor's own server or client";

/// The same of a login that only documents tell of, where reading was seen to work with another.
pub const UNPROVEN_LOGIN: &str = "this login is built from the vendor's documents and unproven: it was never tried against the vendor's own server or client";

/// What the status of a store says of its login: that it is the operator's own, and whether anybody has seen it work.
pub fn note_of_login(is_operators_own: bool, is_proven: bool) -> Option<String> {
    const OWN: &str = "logs in as the operator itself, with the identity of the machine or pod that it runs on";
    let own = is_operators_own.then_some(OWN);
    let unproven = (!is_proven).then_some(UNPROVEN_LOGIN);
    let all: Vec<&str> = own.into_iter().chain(unproven).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_login() {
        assert_eq!(note_of_login(false, true), None);
        assert_eq!(note_of_login(false, false).as_deref(), Some(UNPROVEN_LOGIN));
        let both = note_of_login(true, false).unwrap();
        assert!(both.starts_with("logs in as the operator itself") && both.ends_with(UNPROVEN_LOGIN), "{both}");
    }

    #[test]
    fn tags_are_texts() {
        let tags = ["blue", "tier=db", "k:v"].map(str::to_owned);
        let asked = [("team", "blue"), ("tier", "db"), ("k", "v"), ("team", "db"), ("tier", "blue2")];
        assert_eq!(asked.map(|(name, value)| bears(&tags, name, value)), [true, true, true, false, false]);
    }
}
