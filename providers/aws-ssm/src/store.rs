//! Parameter Store, and reading it: values in batches, tags one by one.

use async_trait::async_trait;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{Parameter, ParameterStringFilter, ResourceTypeForTagging};
use keyferry_provider_aws_common::batch::of_one;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::found::Found;
use keyferry_provider_aws_common::login::Login;
use keyferry_provider_aws_common::{Config, Connection, Failure, Service, in_batches, tags_json};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, PropertyLookup,
    Provider, Push, Query, Reach, Remote, SecretBytes,
};

use crate::name::Name;
use crate::place::{How, Place};

const SERVICE: Service = Service {
    name: "Parameter Store",
    metric: "AWS/ParameterStore",
    endpoint: &["AWS_SSM_ENDPOINT", "AWS_ENDPOINT_URL_SSM"],
    operations: &[
        ("GetParameter", "GetParameter"),
        ("GetParameters", "GetParameters"),
        ("ListTagsForResource", "ListTagsForResource"),
        ("GetParametersByPath", "GetParametersByPath"),
        ("DescribeParameters", "DescribeParameter"),
        ("PutParameter", "PutParameter"),
        ("DeleteParameter", "DeleteParameter"),
        ("AddTagsToResource", "AddTagsToResource"),
        ("RemoveTagsFromResource", "RemoveTagsFromResource"),
    ],
};

/// The most names that AWS takes in one call.
const MAX_BATCH: usize = 10;

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

/// The parameters of one account and region, as one login sees them.
pub struct ParameterStore {
    pub(crate) client: Client,
    login: Login,
    prefix: String,
    /// Where we read, for messages.
    pub(crate) service: String,
}

impl ParameterStore {
    /// From the spec.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let Connection { sdk, counter, login, service } = Connection::new(config, &SERVICE, ctx).await?;
        let sdk = aws_sdk_ssm::config::Builder::from(&sdk).interceptor(counter).build();
        Ok(Self { client: Client::from_conf(sdk), login, prefix: config.prefix.clone(), service })
    }

    fn name(&self, key: &Key) -> Name {
        Name::new(&self.prefix, &key.name, key.version.as_deref())
    }

    /// What AWS calls what users call `key`, where it is written.
    pub(crate) fn name_of(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether two keys may travel in one call: never two selectors of one parameter, which AWS refuses.
    fn go_together(&self, a: &Key, b: &Key) -> bool {
        !a.metadata && !b.metadata && !self.name(a).is_same_parameter(&self.name(b))
    }

    /// One call.
    async fn ask(&self, keys: Vec<&Key>) -> Result<Vec<Answer>, Error> {
        let asked: Vec<Name> = keys.iter().map(|key| self.name(key)).collect();
        match (asked.as_slice(), keys.first().is_some_and(|key| key.metadata)) {
            ([name], true) => self.tags(name).await.map(|answer| vec![answer]),
            ([name], false) => {
                let answer = self.one(name).await?;
                Ok(vec![self.judged(name, answer).await?])
            }
            (names, _) => self.batch(names).await,
        }
    }

    async fn tags(&self, name: &Name) -> Result<Answer, Error> {
        let call = self.client.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter);
        match call.resource_id(name.parameter()).send().await {
            Ok(answer) => {
                let tags = answer.tag_list.into_iter().flatten();
                Ok(Ok(tags_json(tags.map(|tag| (tag.key, tag.value))).into()))
            }
            Err(error) => {
                let failure = Failure::new(&error, &self.service);
                let answer = self.of_one(failure, "ssm:ListTagsForResource", name)?;
                Ok(answer.map_err(Error::no_reason_to_delete))
            }
        }
    }

    /// Reads one parameter; the outer error is about the store as a whole.
    async fn one(&self, name: &Name) -> Result<Answer, Error> {
        match self.client.get_parameter().name(name.selector()).with_decryption(true).send().await {
            Ok(answer) => {
                Ok(answer.parameter.map_or_else(|| Err(self.unanswered(name)), |found| self.value(found, name)))
            }
            Err(error) => self.of_one(Failure::new(&error, &self.service), "ssm:GetParameter", name),
        }
    }

    fn of_one(&self, failure: Failure, action: &str, name: &Name) -> Result<Answer, Error> {
        of_one(failure.error(&About { service: &self.service, action, what: name }))
    }

    /// Reads several parameters.
    async fn batch(&self, names: &[Name]) -> Result<Vec<Answer>, Error> {
        match self.call_batch(names).await {
            Err(error) if error.kind() == ErrorKind::Denied => self.after_denied_batch(names, error).await,
            answer => answer,
        }
    }

    async fn call_batch(&self, names: &[Name]) -> Result<Vec<Answer>, Error> {
        let selectors = names.iter().map(|name| name.selector().to_owned()).collect();
        let answer = self.client.get_parameters().set_names(Some(selectors)).with_decryption(true).send().await;
        let answer = answer.map_err(|error| {
            let failure = Failure::new(&error, &self.service);
            failure.error(&About {
                service: &self.service,
                action: "ssm:GetParameters",
                what: &"one of the parameters",
            })
        })?;
        let missing = answer.invalid_parameters.unwrap_or_default();
        let mut found = answer.parameters.unwrap_or_default();
        let pick = |name: &Name| {
            if missing.iter().any(|missing| missing == name.selector()) {
                return Err(Error::new(ErrorKind::NotFound, format!("{} has no {name}", self.service)));
            }
            let is_it = |parameter: &Parameter| {
                let names = [parameter.name(), parameter.arn()];
                names.into_iter().flatten().any(|other| name.is_called(other))
            };
            match found.iter().position(is_it) {
                Some(at) => self.value(found.swap_remove(at), name),
                // Not "not found": nobody said so.
                None => Err(self.unanswered(name)),
            }
        };
        let mut answers: Vec<Answer> = names.iter().map(pick).collect();
        for (name, answer) in names.iter().zip(&mut answers) {
            *answer = self.judged(name, answer.clone()).await?;
        }
        Ok(answers)
    }

    /// An answer for a version or label of a parameter, where it may be that only this is missing: the parameter is asked
    /// for by itself. The outer error is about the store as a whole.
    async fn judged(&self, name: &Name, answer: Answer) -> Result<Answer, Error> {
        let is_missing = |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoVersion);
        if !name.selects() || !answer.as_ref().is_err_and(is_missing) {
            return Ok(answer);
        }
        let plain = self.client.get_parameter().name(name.parameter()).with_decryption(false).send().await;
        let no_version = |problem: String| {
            let message = format!("{} has no {name}: {problem}", self.service);
            Ok(Err(Error::new(ErrorKind::NoVersion, message)))
        };
        let failure = match plain {
            Ok(answer) => {
                let last = answer.parameter.map(|parameter| parameter.version).filter(|version| *version > 0);
                let last = last.map(|version| format!(", which is {version}")).unwrap_or_default();
                return no_version(format!("without a version or label the last version is read{last}"));
            }
            Err(error) => Failure::new(&error, &self.service),
        };
        match self.of_one(failure, "ssm:GetParameter", name)? {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(error)),
            // Who may read in batches only can't find out.
            _ => no_version("there is no such parameter, or no such version or label of it".to_owned()),
        }
    }

    /// IAM refuses a batch as a whole, for one parameter that we may not read or for the action itself. Which of the two
    /// it is shows in a parameter that can be read alone: can it be read by the action of batches, too?
    async fn after_denied_batch(&self, names: &[Name], denied: Error) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let answer = self.one(name).await?;
            let answer = self.judged(name, answer).await?;
            if answer.is_ok() {
                return match self.call_batch(std::slice::from_ref(name)).await {
                    Err(error) if error.kind() == ErrorKind::Denied => Err(Error::new(
                        ErrorKind::BatchDenied,
                        format!(
                            "{} denies ssm:GetParameters: allow it beside ssm:GetParameter to save calls",
                            self.service
                        ),
                    )),
                    Err(error) => Err(error),
                    Ok(_) => Err(denied),
                };
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// A page of the names of parameters below `from`'s first folder, and where to go on: below that, or the next.
    async fn list(&self, from: Place, query: &Query) -> Result<Page, Error> {
        let Some(folder) = from.folders.first() else { return Ok(Page::default()) };
        let (names, next) = match from.how {
            How::ByPath => match self.by_path(folder, from.token.clone()).await {
                // Whoever may not list below a path may perhaps describe all.
                Err(error) if error.kind() == ErrorKind::Denied => {
                    let next = Place { how: How::Describing, token: None, ..from };
                    return Ok(Page::of_names([], next.into_words()));
                }
                page => page?,
            },
            How::Describing => self.describe(folder, query, from.token.clone()).await?,
        };
        let found = names.iter().filter_map(|name| Found::of(&self.prefix, name));
        let found: Vec<String> = found.filter(|own| own.matches(query)).map(|own| own.key().to_owned()).collect();
        Ok(Page::of_names(found, from.after(next).map(Place::into_words).unwrap_or_default()))
    }

    async fn by_path(&self, folder: &str, token: Option<String>) -> Result<(Vec<String>, Option<String>), Error> {
        // Only names are wanted: values are fetched like any others.
        let call = self.client.get_parameters_by_path().path(folder).recursive(true).with_decryption(false);
        let answer = call.set_next_token(token).send().await;
        let answer =
            answer.map_err(|error| self.of_list(Failure::new(&error, &self.service), "ssm:GetParametersByPath"))?;
        let names = answer.parameters.into_iter().flatten().filter_map(|parameter| parameter.name);
        Ok((names.collect(), answer.next_token))
    }

    async fn describe(
        &self,
        folder: &str,
        query: &Query,
        token: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let filter = |key: String, option: &str, value: &str| {
            ParameterStringFilter::builder().key(key).option(option).values(value).build()
        };
        let path = (folder != "/").then(|| filter("Path".to_owned(), "Recursive", folder));
        let tags = query.tags.iter().map(|(key, value)| filter(format!("tag:{key}"), "Equals", value));
        let filters = path.into_iter().chain(tags).collect::<Result<Vec<_>, _>>();
        let filters =
            filters.map_err(|_| Error::invalid("the search has an empty filter").with_blame(Blame::Request))?;
        let call = self.client.describe_parameters().set_parameter_filters(Some(filters).filter(|all| !all.is_empty()));
        let answer = call.set_next_token(token).send().await;
        let answer =
            answer.map_err(|error| self.of_list(Failure::new(&error, &self.service), "ssm:DescribeParameters"))?;
        let names = answer.parameters.into_iter().flatten().filter_map(|parameter| parameter.name);
        Ok((names.collect(), answer.next_token))
    }

    fn of_list(&self, failure: Failure, action: &str) -> Error {
        failure.error(&About { service: &self.service, action, what: &"the list of parameters" })
    }

    fn value(&self, parameter: Parameter, name: &Name) -> Answer {
        if name.version().is_some_and(|version| version != parameter.version) {
            let message = format!("{} answered version {} for {name}", self.service, parameter.version);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        let text = parameter.value.ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("{} answered {name} without a value", self.service))
        })?;
        let version = Some(parameter.version.to_string()).filter(|_| parameter.version > 0);
        Ok(Fetched::from(SecretBytes::new(text.into_bytes())).of_version(version))
    }

    fn unanswered(&self, name: &Name) -> Error {
        Error::new(ErrorKind::Malformed, format!("{} left {name} unanswered", self.service))
    }
}

#[async_trait]
impl Provider for ParameterStore {
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
        let from = Place::of_words(at).unwrap_or_else(|| Place::first(&self.prefix, query));
        self.login.renewing(|| self.list(from.clone(), query)).await
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
