//! Reading and searching.

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, PropertyLookup,
    Provider, Push, Query, Reach, Remote, SecretBytes, one_by_one,
};

use crate::answers;
use crate::client::{Call, Client, Response};
use crate::config::Config;
use crate::login::Login;

/// What the store can do. What is left out is refused before we are asked.
pub const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, find_by_name: true, ..Capabilities::READ_ONLY };

/// How many secrets are listed in one call: the most that Barbican lists by default.
const PAGE: usize = 100;

/// What is asked for in turn. Barbican answers text as bytes too, where its plugins can; bytes as text it refuses.
const TYPES: [&str; 2] = ["application/octet-stream", "text/plain"];

/// The secrets of one project, as one login sees them.
pub struct Barbican {
    login: Login,
}

/// What came of asking for a value.
enum Payload {
    /// It was read.
    Read(SecretBytes),
    /// It is of another type.
    OfAnotherType,
    /// There is no value, and perhaps no secret.
    Missing(Error),
}

fn payload(client: &Client, answer: Response, accept: &str, what: &str) -> Result<Payload, Error> {
    match answer.status {
        // A value is a body of any kind, and so is a page of somebody in between. Barbican's is of the type that was asked for.
        200 if answer.is_of(accept) => Ok(Payload::Read(answer.body)),
        200 => Err(client.malformed(&answer)),
        406 => Ok(Payload::OfAnotherType),
        _ => match client.refusal(&answer, &what) {
            error if error.kind() == ErrorKind::NotFound => Ok(Payload::Missing(error)),
            error => Err(error),
        },
    }
}

/// The id of a secret. It may be written as Barbican itself shows it, as the URL of the secret.
fn id(name: &str) -> Result<&str, Error> {
    let id = name.rsplit_once("/v1/secrets/").map_or(name, |(_, id)| id).trim_end_matches('/');
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        Ok(id)
    } else {
        let message = format!("{name:?} is no id of a secret: keys of Barbican are ids, as in `openstack secret list`");
        Err(Error::invalid(message).with_blame(Blame::Request))
    }
}

impl Barbican {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        Ok(Self { login: Login::new(config, ctx).await? })
    }

    async fn read(&self, key: &Key) -> Answer {
        let id = id(&key.name)?;
        let what = format!("secret {id:?}");
        for accept in TYPES {
            let call = Call { accept, ..Call::get("GetSecretPayload", format!("secrets/{id}/payload")) };
            match self.login.send(&call, |client, answer| payload(client, answer, accept, &what)).await? {
                Payload::Read(value) => return Ok(Fetched::from(value)),
                Payload::OfAnotherType => {}
                Payload::Missing(error) => return Err(self.missing(id, error).await?),
            }
        }
        Err(Error::new(ErrorKind::Malformed, format!("{what} is neither text nor bytes")))
    }

    /// The error for a secret without a value: it may be there all the same. The outer error is for the whole store.
    async fn missing(&self, id: &str, error: Error) -> Result<Error, Error> {
        let what = format!("secret {id:?}");
        let call = Call::get("GetSecret", format!("secrets/{id}"));
        let asked = self.login.send(&call, |client, answer| match answer.status {
            200 => Ok(true),
            _ => match client.refusal(&answer, &what) {
                error if error.kind() == ErrorKind::NotFound => Ok(false),
                error => Err(error),
            },
        });
        match asked.await {
            Ok(true) => {
                let message = format!("{what} is there and has no value yet: give it one in Barbican");
                Ok(Error::new(ErrorKind::NoVersion, message))
            }
            Ok(false) => Ok(error),
            Err(error) if error.kind().concerns_store() => Err(error),
            Err(error) => Ok(error),
        }
    }

    /// A page of the list of secrets.
    async fn list(&self, from: usize, most: usize) -> Result<(Vec<(String, String)>, bool), Error> {
        let query = vec![("limit", most.to_string()), ("offset", from.to_string())];
        let call = Call { query, ..Call::get("ListSecrets", "secrets".to_owned()) };
        let read = |client: &Client, answer: Response| match answer.status {
            200 => answers::listed(&answer.body).ok_or_else(|| client.malformed(&answer)),
            _ => Err(client.refusal(&answer, &"list of secrets").no_reason_to_delete()),
        };
        self.login.send(&call, read).await
    }
}

#[async_trait]
impl Provider for Barbican {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::DottedKeyThenPath, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let from: usize = at.first().and_then(|at| at.parse().ok()).unwrap_or(0);
        let (secrets, is_more) = self.list(from, PAGE).await?;
        let next = is_more.then(|| (from + secrets.len()).to_string());
        // Names are not unique, so that ids are what is found.
        Ok(Page::of_names(secrets.into_iter().filter(|(_, name)| query.matches(name)).map(|(id, _)| id), next))
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
        match self.list(0, 1).await {
            // The login is accepted. Who may read a secret by its ACL need not be allowed to list them.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            listed => listed.map(|_| ()),
        }
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_an_id_or_the_url_of_a_secret() {
        assert_eq!(id("0f-1a"), Ok("0f-1a"));
        assert_eq!(id("https://b:9311/v1/secrets/0f-1a/"), Ok("0f-1a"));
        for name in ["", "..", "a/b", "https://b/v1/secrets/", "a b", "https://b/0f"] {
            let error = id(name).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{name}");
        }
    }
}
