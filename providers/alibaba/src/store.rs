//! Reading and searching.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, Provider, Push, Query,
    Reach, Remote, one_by_one,
};

use crate::answers::{self, One};
use crate::client::{Call, Client};
use crate::config::Config;
use crate::login::Login;
use crate::sign::parameter;

/// What the store can do. What is left out is refused before we are asked.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 20,
    versions: true,
    metadata: Metadata::Answered,
    find_by_name: true,
    find_by_tags: true,
    ..Capabilities::READ_ONLY
};

/// How long what a batch asks for may be: it travels in a URL.
const LONGEST_BATCH: usize = 6000;

/// How many secrets are listed in one call: the most that there may be.
const PAGE: usize = 100;

/// The secrets of one region, as one access key sees them.
pub struct Alibaba {
    login: Login,
}

/// How a version is named in a request: by its id as in External Secrets Operator, and by its stage where it is one of KMS's
/// own (`ACSCurrent`, `ACSPrevious`, `ACSPending`), or stands behind `stage/`.
fn version(key: &Key) -> Option<(&'static str, &str)> {
    let version = key.version.as_deref().filter(|version| !version.is_empty())?;
    Some(match version.strip_prefix("stage/") {
        Some(stage) => ("VersionStage", stage),
        None if version.starts_with("ACS") => ("VersionStage", version),
        None => ("VersionId", version),
    })
}

/// What a batch asks for a key.
fn entry(key: &Key) -> serde_json::Value {
    let mut entry = serde_json::Map::from_iter([("SecretName".to_owned(), key.name.clone().into())]);
    entry.extend(version(key).map(|(name, version)| (name.to_owned(), version.into())));
    entry.into()
}

/// Whether a key may be asked for with others: by an ARN it may be answered under another name.
fn may_share(key: &Key) -> bool {
    !key.metadata && !key.name.starts_with("acs:")
}

fn what(key: &Key) -> String {
    format!("secret {:?}", key.name)
}

impl Alibaba {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Client::new(&config.kms, &ctx)?;
        Ok(Self { login: Login::new(client, ctx, config.method).await? })
    }

    fn client(&self) -> &Client {
        self.login.client()
    }

    async fn read(&self, key: &Key) -> Answer {
        let mut query = vec![("SecretName", key.name.clone())];
        if key.metadata {
            query.push(("FetchTags", "true".to_owned()));
            let answer = self.login.send(&Call::kms("DescribeSecret", query)).await?;
            return match answer.status {
                200 => {
                    answers::described(&answer.body).map(Fetched::from).ok_or_else(|| self.client().malformed(&answer))
                }
                _ => Err(self.client().refusal(&answer, &what(key)).no_reason_to_delete()),
            };
        }
        query.extend(version(key).map(|(name, version)| (name, version.to_owned())));
        let answer = self.login.send(&Call::kms("GetSecretValue", query)).await?;
        match answer.status {
            200 => answers::value(answer.body.expose()).ok_or_else(|| self.client().malformed(&answer)),
            _ => Err(self.missing(key, self.client().refusal(&answer, &what(key))).await?),
        }
    }

    /// The error for a key, where it is not known yet whether the secret is missing or its version: the versions are asked
    /// for. The outer error is for the whole store.
    async fn missing(&self, key: &Key, error: Error) -> Result<Error, Error> {
        if error.kind() != ErrorKind::NotFound || version(key).is_none() {
            return Ok(error);
        }
        let query = vec![("SecretName", key.name.clone()), ("PageSize", PAGE.to_string())];
        let answer = self.login.send(&Call::kms("ListSecretVersionIds", query)).await?;
        let there = match answer.status {
            200 => answers::versions(&answer.body).unwrap_or_default(),
            _ => match self.client().refusal(&answer, &what(key)) {
                error if error.kind() == ErrorKind::NotFound => return Ok(error),
                error if error.kind().concerns_store() => return Err(error),
                _ => Vec::new(),
            },
        };
        let there = if there.is_empty() { String::new() } else { format!("; there are {}", there.join(", ")) };
        let message = format!("{} has no version {:?}{there}", what(key), key.version.as_deref().unwrap_or_default());
        Ok(Error::new(ErrorKind::NoVersion, message))
    }

    async fn read_many(&self, keys: &[&Key]) -> Result<Vec<Answer>, Error> {
        let list = serde_json::Value::from(keys.iter().map(|key| entry(key)).collect::<Vec<_>>()).to_string();
        let answer = self.login.send(&Call::kms("BatchGetSecretValue", vec![("SecretsList", list)])).await?;
        if answer.status != 200 {
            let error = self.client().refusal(&answer, &"several secrets in one call");
            return Err(match error.kind() {
                // Each may well be answered alone: an old region, or a policy that does not know this operation.
                ErrorKind::Denied | ErrorKind::Unsupported => Error::new(ErrorKind::BatchDenied, error.message()),
                _ => error.no_reason_to_delete(),
            });
        }
        let mut read = answers::batch(&answer.body).ok_or_else(|| self.client().malformed(&answer))?;
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            answers.push(match read.remove(&key.name) {
                Some(One::Read(fetched)) => Ok(fetched),
                Some(One::Refused(status, code)) => {
                    Err(self.missing(key, self.client().of_code(status, &code, &what(key))).await?)
                }
                None => Err(self.client().malformed(&answer)),
            });
        }
        Ok(answers)
    }
}

#[async_trait]
impl Provider for Alibaba {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        let length = |key: &Key| parameter(&entry(key).to_string()).len() + 3;
        may_share(key)
            && batch.iter().all(|other| may_share(other) && other.name != key.name)
            && batch.iter().chain([key]).map(length).sum::<usize>() <= LONGEST_BATCH
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        // A secret stands in a batch once; others of its versions are asked for alone.
        let (mut together, mut alone): (Vec<&Key>, Vec<&Key>) = (Vec::new(), Vec::new());
        for key in keys {
            let fits = may_share(key) && together.iter().all(|other| other.name != key.name);
            if fits { &mut together } else { &mut alone }.push(key);
        }
        if together.len() == 1 {
            alone.append(&mut together);
        }
        let mut read: BTreeMap<&Key, Answer> = BTreeMap::new();
        if !together.is_empty() {
            read.extend(together.iter().copied().zip(self.read_many(&together).await?));
        }
        for key in alone {
            read.insert(key, one_by_one(std::slice::from_ref(key), |key| self.read(key)).await?.remove(0));
        }
        Ok(keys.iter().filter_map(|key| read.remove(key)).collect())
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let number: usize = at.first().and_then(|at| at.parse().ok()).unwrap_or(1);
        let mut asked = vec![("PageNumber", number.to_string()), ("PageSize", PAGE.to_string())];
        if !query.tags.is_empty() {
            asked.push(("FetchTags", "true".to_owned()));
        }
        let answer = self.login.send(&Call::kms("ListSecrets", asked)).await?;
        if answer.status != 200 {
            return Err(self.client().refusal(&answer, &"list of secrets").no_reason_to_delete());
        }
        // Pages of another size begin elsewhere.
        let listed = answers::listed(&answer.body).filter(|(_, size, _)| *size == PAGE);
        let (secrets, _, total) = listed.ok_or_else(|| self.client().malformed(&answer))?;
        let next = (number * PAGE < total).then(|| (number + 1).to_string());
        if next.is_some() && secrets.len() < PAGE {
            return Err(self.client().malformed(&answer));
        }
        let has =
            |tags: &BTreeMap<String, String>| query.tags.iter().all(|(name, value)| tags.get(name) == Some(value));
        let names = secrets.into_iter().filter(|one| query.matches(&one.name) && has(&one.tags)).map(|one| one.name);
        Ok(Page::of_names(names, next))
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
        let asked = vec![("PageNumber", "1".to_owned()), ("PageSize", "1".to_owned())];
        let answer = self.login.send(&Call::kms("ListSecrets", asked)).await?;
        match (answer.status, self.client().refusal(&answer, &"list of secrets")) {
            (200, _) => Ok(()),
            // The key is accepted. Who may read secrets need not be allowed to list them.
            (_, error) if error.kind() == ErrorKind::Denied => Ok(()),
            (_, error) => Err(error.no_reason_to_delete()),
        }
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
