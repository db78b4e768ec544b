//! Reading and searching.

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Gathered, Key, Metadata, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, one_by_one,
};
use tokio::task::yield_now;

use crate::client::{Asked, Client};
use crate::config::Config;
use crate::place::{Place, last};
use crate::push;

/// What the store can do. What is left out is refused before we are asked.
pub const CAPABILITIES: Capabilities = Capabilities {
    versions: true,
    metadata: Metadata::Answered,
    find_by_name: true,
    find_by_path: true,
    find_by_tags: true,
    push: true,
    delete: true,
    marks: true,
    ..Capabilities::READ_ONLY
};

/// How many names are held against a pattern at once.
const NAMES_AT_ONCE: usize = 256;

/// The secrets of one project, as one login sees them.
pub struct SecretManager {
    client: Client,
    takes_enabled: bool,
}

impl SecretManager {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let takes_enabled = config.takes_enabled;
        Ok(Self { client: Client::new(config, &ctx).await?, takes_enabled })
    }

    async fn read(&self, key: &Key) -> Answer {
        let place = self.client.parent.secret(&key.name)?;
        if key.metadata {
            let there = self.client.look_for(&place).await?;
            return there.map(|secret| secret.described().into()).ok_or_else(|| self.no_secret(&place));
        }
        let version = key.version.as_deref().filter(|version| !version.is_empty());
        match self.client.access(&place, version).await? {
            Asked::Value(fetched) => Ok(fetched),
            // As in External Secrets Operator "latest", where it is written, means that one and no other.
            Asked::Unreadable if self.takes_enabled && version.is_none() => self.read_enabled(&place).await,
            Asked::Unreadable => Err(self.unreadable(&place, version)),
            Asked::Nothing => Err(self.nothing(&place, version).await),
        }
    }

    async fn read_enabled(&self, place: &Place) -> Answer {
        let Some(version) = self.client.last_enabled(place).await? else {
            return Err(self.unreadable(place, None));
        };
        match self.client.access(place, Some(&version)).await? {
            Asked::Value(fetched) => Ok(fetched),
            Asked::Unreadable => Err(self.unreadable(place, Some(&version))),
            Asked::Nothing => Err(self.nothing(place, Some(&version)).await),
        }
    }

    /// Why there is nothing: Google says the same of a secret that is not there and of a version, so it is asked once more.
    async fn nothing(&self, place: &Place, version: Option<&str>) -> Error {
        let what = self.client.named(place);
        let message = match (self.client.look_for(place).await, version) {
            (Ok(None), _) => return self.no_secret(place),
            (Ok(Some(_)), None) => format!("{what} has no version yet: add one"),
            (Ok(Some(_)), Some(version)) => {
                format!("there is no version {version:?} of {what}: without a version the last is read")
            }
            (Err(error), _) if error.kind() == ErrorKind::Denied => format!(
                "there is no {what}, or no such version of it: Google tells which to a login with the permission \
                 secretmanager.secrets.get (roles/secretmanager.viewer), and only then is a secret taken for gone"
            ),
            (Err(error), _) => return error,
        };
        Error::new(ErrorKind::NoVersion, message)
    }

    fn no_secret(&self, place: &Place) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no {}", self.client.named(place)))
    }

    fn unreadable(&self, place: &Place, version: Option<&str>) -> Error {
        let what = self.client.named(place);
        let message = match version {
            Some(version) => {
                format!("version {version:?} of {what} is disabled or destroyed: enable it, or ask for another")
            }
            None if self.takes_enabled => format!("all versions of {what} are disabled or destroyed: add one"),
            None => format!(
                "the last version of {what} is disabled or destroyed: enable it or add one, or set \
                 spec.provider.gcpsm.secretVersionSelectionPolicy to LatestOrFetch"
            ),
        };
        Error::new(ErrorKind::NoVersion, message).with_blame(Blame::Store)
    }
}

/// What Google can look for by itself: as much of a query as can be said in a filter without being read as something else.
/// What it lets through is held against all of the query.
fn filter(query: &Query) -> String {
    let is_plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !["AND", "OR", "NOT"].contains(&text)
    };
    let mut terms: Vec<String> = query
        .tags
        .iter()
        .filter(|(label, value)| is_plain(label) && is_plain(value))
        .map(|(label, value)| format!("labels.{label}={value}"))
        .collect();
    terms.extend(query.path().filter(|path| is_plain(path)).map(|path| format!("name:{path}")));
    terms.join(" AND ")
}

#[async_trait]
impl Provider for SecretManager {
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

    /// A path is the beginning of a name.
    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let (secrets, next) = self.client.list(&filter(query), at.first().map(String::as_str)).await?;
        let mut page = Gathered::default();
        for (n, secret) in secrets.into_iter().enumerate() {
            if n % NAMES_AT_ONCE == NAMES_AT_ONCE - 1 {
                yield_now().await;
            }
            let name = last(&secret.name);
            let is_below = query.path().is_none_or(|path| name.starts_with(path));
            if is_below && secret.bears(&query.tags) && query.matches(name) {
                page.found(name.to_owned())?;
            }
        }
        next.into_iter().try_for_each(|next| page.open(next))?;
        Ok(page.into())
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        push::push(&self.client, push).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        push::delete(&self.client, remote, reach).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        push::exists(&self.client, remote).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.client.login().token().await.map(|_| ())
    }

    fn identity_note(&self) -> Option<String> {
        self.client.login().note()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_filter_holds_nothing_that_a_user_could_make_more_of() {
        let of = |tags: &[(&str, &str)], path: Option<&str>| {
            let tags: BTreeMap<_, _> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            filter(&Query { name: None, path: path.map(str::to_owned), tags })
        };
        assert_eq!(of(&[("team", "blue"), ("tier", "db")], None), "labels.team=blue AND labels.tier=db");
        assert_eq!(of(&[("team", "blue")], Some("app_")), "labels.team=blue AND name:app_");
        assert_eq!(of(&[], None), "");
        for odd in ["x OR name:y", "", "é", "a\"b", "NOT", "a.b", "a=b", "(a)"] {
            assert_eq!(of(&[("team", odd)], Some(odd)), "", "{odd}");
            assert_eq!(of(&[(odd, "team")], None), "", "{odd}");
        }
    }
}
