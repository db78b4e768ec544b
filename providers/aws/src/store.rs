//! Secrets Manager, and reading it: current values in batches, versions, stages and tags one by one.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_sdk_secretsmanager::types::{ApiErrorType, Filter, FilterNameStringType, SecretValueEntry};
use aws_smithy_types::Blob;
use keyferry_provider_aws_common::batch::of_one;
use keyferry_provider_aws_common::config::Deletion;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::found::{Found, starts};
use keyferry_provider_aws_common::login::Login;
use keyferry_provider_aws_common::{Cause, Config, Connection, Failure, Service, in_batches, tags_json};
use keyferry_provider_core::{
    Answer, BuildContext, Caller, Capabilities, Credentials, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page,
    PropertyLookup, Provider, Push, Query, Reach, Remote, SecretBytes,
};

use crate::ids;

const SERVICE: Service = Service {
    name: "Secrets Manager",
    metric: "AWS/SecretsManager",
    endpoint: &["AWS_SECRETSMANAGER_ENDPOINT", "AWS_ENDPOINT_URL_SECRETS_MANAGER"],
    operations: &[
        ("GetSecretValue", "GetSecretValue"),
        ("BatchGetSecretValue", "BatchGetSecretValue"),
        ("DescribeSecret", "DescribeSecret"),
        ("ListSecrets", "ListSecrets"),
        ("CreateSecret", "CreateSecret"),
        ("PutSecretValue", "PutSecretValue"),
        ("DeleteSecret", "DeleteSecret"),
        ("TagResource", "TagResource"),
        ("UntagResource", "UntagResource"),
        ("GetResourcePolicy", "GetResourcePolicy"),
        ("PutResourcePolicy", "PutResourcePolicy"),
        ("DeleteResourcePolicy", "DeleteResourcePolicy"),
        ("ReplicateSecretToRegions", "ReplicateSecretToRegions"),
        ("RemoveRegionsFromReplication", "RemoveRegionsFromReplication"),
    ],
};

/// The most ids that AWS takes in one call.
const MAX_BATCH: usize = 20;

/// More pages than this for twenty secrets is no answer.
const MAX_PAGES: usize = MAX_BATCH + 1;

/// The stage that a secret has without being asked for one.
const CURRENT: &str = "AWSCURRENT";

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: MAX_BATCH,
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

/// The secrets of one account and region, as one login sees them.
pub struct SecretsManager {
    pub(crate) client: Client,
    login: Login,
    prefix: String,
    /// Where we read, for messages.
    pub(crate) service: String,
    /// What becomes of what is deleted.
    pub(crate) deletion: Deletion,
    /// Where policies that are pushed along are read, and for whom.
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) caller: Caller,
}

impl SecretsManager {
    /// From the spec.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let Connection { sdk, counter, login, service } = Connection::new(config, &SERVICE, ctx).await?;
        let sdk = aws_sdk_secretsmanager::config::Builder::from(&sdk).interceptor(counter).build();
        Ok(Self {
            client: Client::from_conf(sdk),
            login,
            prefix: config.prefix.clone(),
            service,
            deletion: config.deletion,
            credentials: ctx.credentials.clone(),
            caller: ctx.caller.clone(),
        })
    }

    fn id(&self, key: &Key) -> String {
        self.id_of(&key.name)
    }

    /// What AWS calls what users call `key`.
    pub(crate) fn id_of(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether two keys may travel in one call.
    fn go_together(&self, a: &Key, b: &Key) -> bool {
        is_current(a) && is_current(b) && !ids::are_confusable(&self.id(a), &self.id(b))
    }

    /// One call.
    async fn ask(&self, keys: Vec<&Key>) -> Result<Vec<Answer>, Error> {
        match keys.as_slice() {
            [key] => self.one(key).await.map(|answer| vec![answer]),
            keys => self.batch(keys).await,
        }
    }

    /// Reads one secret; the outer error is about the store as a whole.
    pub(crate) async fn one(&self, key: &Key) -> Result<Answer, Error> {
        let id = self.id(key);
        if key.metadata {
            let answer = self.client.describe_secret().secret_id(&id).send().await;
            let answer = answer.map_err(|error| Failure::new(&error, &self.service));
            let tags = |tags: Vec<aws_sdk_secretsmanager::types::Tag>| {
                tags_json(tags.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())))
            };
            return match answer {
                Ok(answer) => Ok(Ok(tags(answer.tags.unwrap_or_default()).into())),
                Err(failure) => Ok(self
                    .of_one(failure, "secretsmanager:DescribeSecret", &id, None)?
                    .map_err(Error::no_reason_to_delete)),
            };
        }
        let call = self.client.get_secret_value().secret_id(&id);
        let version = key.version.as_deref().filter(|version| !version.is_empty());
        let call = match version {
            None => call,
            Some(version) => match version.strip_prefix("uuid/") {
                Some(id) => call.version_id(id),
                None => call.version_stage(version),
            },
        };
        match call.send().await {
            Ok(answer) => {
                let value = self.value(answer.secret_string, answer.secret_binary, &id);
                Ok(value.map(|value| Fetched::from(value).of_version(answer.version_id)))
            }
            Err(error) => {
                let failure = Failure::new(&error, &self.service);
                match (self.of_one(failure, "secretsmanager:GetSecretValue", &id, version)?, version) {
                    (Err(error), version)
                        if error.kind() == ErrorKind::NoVersion
                            || (error.kind() == ErrorKind::NotFound && version.is_some()) =>
                    {
                        self.of_version(error, &id, version.unwrap_or(CURRENT)).await.map(Err)
                    }
                    (answer, _) => Ok(answer),
                }
            }
        }
    }

    /// What an answer of "not found" was about, the secret or the version of it, and which versions there are: a secret is
    /// asked for by itself. The outer error is about the store as a whole.
    async fn of_version(&self, missing: Error, id: &str, version: &str) -> Result<Error, Error> {
        let answer = self.client.describe_secret().secret_id(id).send().await;
        let described = answer.map_err(|error| Failure::new(&error, &self.service));
        let (what, service) = (what(id, Some(version)), &self.service);
        let no_version = |message| Ok(Error::new(ErrorKind::NoVersion, message));
        match described {
            // Marked for deletion, which counts as deleted.
            Ok(answer) if answer.deleted_date.is_some() => {
                Ok(Cause::MarkedForDeletion.error(&About { service, action: "", what: &what }))
            }
            Ok(answer) => {
                let stages = answer.version_ids_to_stages.unwrap_or_default();
                no_version(format!("{service} has no {what}: {}", how_to_ask(version, stages.into_values().flatten())))
            }
            Err(failure) => match self.of_one(failure, "secretsmanager:DescribeSecret", id, None)? {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(error),
                // Whoever may not describe it can't find out, but where the answer was clear.
                _ if missing.kind() == ErrorKind::NoVersion => {
                    no_version(format!("{service} has no {what}: {}", how_to_ask(version, [])))
                }
                _ => no_version(format!(
                    "{service} has no {what}, or no such secret: to tell one from the other, allow \
                     secretsmanager:DescribeSecret on it"
                )),
            },
        }
    }

    fn of_one(&self, failure: Failure, action: &str, id: &str, version: Option<&str>) -> Result<Answer, Error> {
        let what = what(id, version);
        of_one(failure.error(&About { service: &self.service, action, what: &what }))
    }

    /// Reads the current values of several secrets.
    async fn batch(&self, keys: &[&Key]) -> Result<Vec<Answer>, Error> {
        let asked: Vec<String> = keys.iter().map(|key| self.id(key)).collect();
        let mut distinct = asked.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let (mut values, mut errors, mut next) = (Vec::new(), Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let call = self.client.batch_get_secret_value().set_secret_id_list(Some(distinct.clone()));
            let answer = call.set_next_token(next).send().await.map_err(|error| self.of_batch(&error))?;
            let BatchGetSecretValueOutput { secret_values, errors: more, next_token, .. } = answer;
            values.extend(secret_values.into_iter().flatten().map(|entry| self.entry(entry)));
            errors.extend(more.into_iter().flatten());
            next = next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(asked.iter().map(|id| self.pick(id, &values, &errors)).collect())
    }

    fn of_batch<E>(
        &self,
        error: &aws_sdk_secretsmanager::error::SdkError<E, aws_sdk_secretsmanager::config::http::HttpResponse>,
    ) -> Error
    where
        E: aws_sdk_secretsmanager::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match Failure::new(error, &self.service) {
            // This permission is for all secrets or none; those of single secrets are judged one by one.
            Failure::Refused(Cause::Denied, _) => Error::new(
                ErrorKind::BatchDenied,
                format!(
                    "{} denies secretsmanager:BatchGetSecretValue: allow it on all resources to save calls",
                    self.service
                ),
            ),
            failure => failure.error(&About {
                service: &self.service,
                action: "secretsmanager:BatchGetSecretValue",
                what: &"the secrets of one call",
            }),
        }
    }

    /// What a batch answered about `id`.
    fn pick(&self, id: &str, values: &[Entry], errors: &[ApiErrorType]) -> Answer {
        let refused = |error: &&ApiErrorType| error.secret_id() == Some(id);
        if let Some(error) = errors.iter().find(refused) {
            let cause = Cause::of(error.error_code().unwrap_or_default(), error.message().unwrap_or_default(), 200);
            let what = what(id, None);
            let action = "secretsmanager:GetSecretValue";
            return Err(cause.error(&About { service: &self.service, action, what: &what }));
        }
        let found = values.iter().find(|entry| ids::is_exactly(id, &entry.name, &entry.arn));
        let found = found.or_else(|| values.iter().find(|entry| ids::is_loosely(id, &entry.name, &entry.arn)));
        match found {
            Some(entry) => entry.answer.clone(),
            // Not "not found": nobody said so.
            None => Err(Error::new(
                ErrorKind::Malformed,
                format!("{} left the {} unanswered", self.service, what(id, None)),
            )),
        }
    }

    /// A page of the names of the secrets that answer `query`, without the store's prefix.
    async fn list(&self, query: &Query, next: Option<&str>) -> Result<Page, Error> {
        let filters = self.filters(query);
        let call = self.client.list_secrets().max_results(100).set_filters(Some(filters));
        let answer = call.set_next_token(next.map(str::to_owned)).send().await.map_err(|error| {
            let failure = Failure::new(&error, &self.service);
            let action = "secretsmanager:ListSecrets";
            failure.error(&About { service: &self.service, action, what: &"the list of secrets" })
        })?;
        let found = answer.secret_list.into_iter().flatten().filter_map(|entry| {
            let tagged = |key: &String, value: &String| {
                entry.tags().iter().any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
            };
            // AWS takes tags with these keys and tags with these values, in any case and not of the same tag.
            let tagged = query.tags.iter().all(|(key, value)| tagged(key, value));
            let below = |own: &Found<'_>| query.path().is_none_or(|path| own.begins_with(path));
            let own = Found::of(&self.prefix, entry.name()?)?;
            (tagged && below(&own) && own.matches(query)).then(|| own.key().to_owned())
        });
        Ok(Page::of_names(found, answer.next_token.filter(|token| !token.is_empty())))
    }

    /// What AWS can look for itself, to make the list shorter; what it finds is looked at again.
    fn filters(&self, query: &Query) -> Vec<Filter> {
        let starts = starts(&self.prefix, query.path().unwrap_or_default());
        let tags = query.tags.iter().flat_map(|(key, value)| {
            let filters = [(FilterNameStringType::TagKey, key), (FilterNameStringType::TagValue, value)];
            filters.map(|(kind, text)| (kind, vec![text.clone()]))
        });
        // A value that begins so stands for all others.
        let is_usable = |texts: &Vec<String>| texts.iter().all(|text| !text.is_empty() && !text.starts_with('!'));
        let all = std::iter::once((FilterNameStringType::Name, starts)).chain(tags);
        let usable = all.filter(|(_, texts)| is_usable(texts));
        usable.map(|(kind, texts)| Filter::builder().key(kind).set_values(Some(texts)).build()).collect()
    }

    fn entry(&self, entry: SecretValueEntry) -> Entry {
        let SecretValueEntry { arn, name, secret_binary, secret_string, version_id, .. } = entry;
        let name = name.unwrap_or_default();
        let value = self.value(secret_string, secret_binary, &name);
        let answer = value.map(|value| Fetched::from(value).of_version(version_id));
        Entry { arn: arn.unwrap_or_default(), name, answer }
    }

    /// The value of a secret, in either form.
    pub(crate) fn value(&self, string: Option<String>, binary: Option<Blob>, id: &str) -> Result<SecretBytes, Error> {
        match (string, binary) {
            (Some(string), _) => Ok(SecretBytes::new(string.into_bytes())),
            (None, Some(binary)) => Ok(SecretBytes::new(binary.into_inner())),
            (None, None) => Err(Error::new(
                ErrorKind::Malformed,
                format!("{} answered the {} without a value", self.service, what(id, None)),
            )),
        }
    }
}

/// A secret in the answer of a batch.
struct Entry {
    arn: String,
    name: String,
    answer: Answer,
}

/// What messages call a secret.
pub(crate) fn what(id: &str, version: Option<&str>) -> String {
    match version {
        None => format!("secret {id:?}"),
        Some(version) => format!("secret {id:?} with version {version:?}"),
    }
}

/// What to write in place of a version that is not there. `stages` are those that there are.
fn how_to_ask(version: &str, stages: impl IntoIterator<Item = String>) -> String {
    let mut stages: Vec<String> = stages.into_iter().collect();
    stages.sort_unstable();
    stages.dedup();
    stages.truncate(10);
    let stages = if stages.is_empty() { String::new() } else { format!(", its stages are {}", stages.join(", ")) };
    if is_uuid(version) {
        return format!("a version is asked for by its id as \"uuid/{version}\"{stages}");
    }
    match version.strip_prefix("uuid/") {
        Some(_) => format!("no version has that id{stages}"),
        None => format!("without a version the current one is read{stages}"),
    }
}

/// Whether a version looks like an id, which is not how one is asked for.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a batch can answer this key: it knows current values only.
fn is_current(key: &Key) -> bool {
    !key.metadata && matches!(key.version.as_deref(), None | Some("" | CURRENT))
}

#[async_trait]
impl Provider for SecretsManager {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::DottedKeyThenPath, ..Dialect::default() }
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        batch.iter().all(|other| self.go_together(other, key))
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let together = |a: &Key, b: &Key| self.go_together(a, b);
        self.login.renewing(|| in_batches(keys, MAX_BATCH, together, |call| self.ask(call))).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.login.renewing(|| self.list(query, at.first().map(String::as_str))).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.login.renewing(|| self.write(push)).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.login.renewing(|| self.remove(remote, reach)).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.login.renewing(|| self.is_there(remote)).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        self.login.note()
    }
}
