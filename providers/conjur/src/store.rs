//! Reading, searching and writing.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, Provider, Push, Query,
    Reach, Remote, SecretBytes, one_by_one,
};
use keyferry_provider_http::path::segment;

use crate::answers::{self, Resource};
use crate::client::{BATCH, Call, Client, named};
use crate::config::Config;
use crate::login::Login;
use crate::policy::{self, Place};

/// What the store can do. What is left out is refused before we are asked. Conjur has versions, but does not say of a value
/// which it is.
pub const CAPABILITIES: Capabilities = Capabilities {
    max_batch: 50,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_tags: true,
    push: true,
    marks: true,
    ..Capabilities::READ_ONLY
};

/// How long the names of a batch may be together: they travel in a URL, and servers take none of more than 8 KiB.
const LONGEST_BATCH: usize = 6000;

/// How many resources are listed in one call.
const PAGE: usize = 100;

/// The variables of one account, as one login sees them.
pub struct Conjur {
    login: Login,
}

/// What came of a batch.
enum Batch {
    /// Values, in the order of what was asked for.
    Read(Vec<Answer>),
    /// Nothing, for the sake of one: this one, where the server says which.
    Refused(Option<usize>),
}

impl Conjur {
    /// From the spec, logged in.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let client = Client::new(&config, &ctx).await?;
        Ok(Self { login: Login::new(client, ctx.credentials, config.method).await? })
    }

    fn client(&self) -> &Client {
        self.login.client()
    }

    /// The name of a variable. It may be written in full, with account and kind, as Conjur itself shows it.
    fn name<'a>(&self, name: &'a str) -> &'a str {
        let own = name.strip_prefix(self.client().account.as_str()).and_then(|rest| rest.strip_prefix(':'));
        let own = own.filter(|rest| rest.starts_with("variable:")).unwrap_or(name);
        own.strip_prefix("variable:").unwrap_or(own)
    }

    /// The name of a variable in full.
    fn full(&self, name: &str) -> String {
        format!("{}:variable:{}", self.client().account, self.name(name))
    }

    fn path(&self, place: &str, kind: &str, name: &str) -> Result<String, Error> {
        Ok(format!("{place}/{}/{kind}/{}", segment(&self.client().account), named(name)?))
    }

    async fn read(&self, key: &Key) -> Answer {
        let name = self.name(&key.name);
        match self.value(name).await? {
            Some(value) => Ok(Fetched::from(value)),
            None => match self.resource("variable", name).await? {
                Some(_) => Err(Error::new(
                    ErrorKind::NoVersion,
                    format!("variable {name:?} is there and has no value yet: give it one in Conjur"),
                )),
                // It says the same of both, so that nothing must be deleted by it.
                None => Err(Error::new(
                    ErrorKind::Denied,
                    format!(
                        "there is no variable {name:?}, or the login may not see it: check the id, and what it is permitted"
                    ),
                )),
            },
        }
    }

    /// The value of a variable; `None` where the server says that it has none, is not there, or is not to be seen.
    async fn value(&self, name: &str) -> Result<Option<SecretBytes>, Error> {
        let answer = self.login.send(&Call::get("GetSecret", self.path("secrets", "variable", name)?)).await?;
        let refusal = || self.client().refusal(&answer, &format!("variable {name:?}"));
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 if refusal().kind() == ErrorKind::NotFound => Ok(None),
            _ => Err(refusal()),
        }
    }

    /// What the server knows of a variable or policy; `None` where it is not there, or not to be seen.
    async fn resource(&self, kind: &str, name: &str) -> Result<Option<Resource>, Error> {
        let answer = self.login.send(&Call::get("GetResource", self.path("resources", kind, name)?)).await?;
        let refusal = || self.client().refusal(&answer, &format!("{kind} {name:?}"));
        match answer.status {
            200 => answers::resource(answer.body.expose()).map(Some).ok_or_else(|| self.client().malformed(&answer)),
            404 if refusal().kind() == ErrorKind::NotFound => Ok(None),
            _ => Err(refusal()),
        }
    }

    /// Asks for several variables in one call.
    async fn batch(&self, keys: &[&Key]) -> Result<Batch, Error> {
        let ids: Vec<String> = keys.iter().map(|key| self.full(&key.name)).collect();
        let mut call = Call::get("BatchGetSecret", "secrets".to_owned());
        call.query = vec![(BATCH, ids.join(","))];
        let answer = self.login.send(&call).await?;
        match answer.status {
            200 => {
                let mut values =
                    answers::batch(&answer.body, answer.is_base64).ok_or_else(|| self.client().malformed(&answer))?;
                let read = |id: &String| match values.remove(id) {
                    Some(value) => Ok(Fetched::from(value)),
                    None => Err(self.client().malformed(&answer)),
                };
                Ok(Batch::Read(ids.iter().map(read).collect()))
            }
            // What is wrong with the one is said when it is asked for alone.
            403 | 404 | 406 | 414 | 422 => Ok(Batch::Refused(answers::missing(&answer.body, &ids))),
            _ => Err(self.client().refusal(&answer, &"the variables of a batch").no_reason_to_delete()),
        }
    }

    /// Reads several variables in as few calls as those let us that can't be read.
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let mut answers: Vec<Option<Answer>> = keys.iter().map(|_| None).collect();
        let mut open: Vec<Vec<usize>> = vec![(0..keys.len()).collect()];
        while let Some(mut group) = open.pop() {
            if let [n] = group[..] {
                answers[n] = Some(one_by_one(&keys[n..=n], |key| self.read(key)).await?.remove(0));
                continue;
            }
            let asked: Vec<&Key> = group.iter().map(|n| &keys[*n]).collect();
            match self.batch(&asked).await? {
                Batch::Read(read) => group.iter().zip(read).for_each(|(n, answer)| answers[*n] = Some(answer)),
                Batch::Refused(Some(bad)) => {
                    let bad = group.remove(bad);
                    open.extend([vec![bad], group]);
                }
                Batch::Refused(None) => {
                    let rest = group.split_off(group.len() / 2);
                    open.extend([group, rest]);
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// What of a push there is to write, and which of that is to be declared first.
    async fn due<'a>(
        &self,
        push: &'a Push,
        values: &'a BTreeMap<String, SecretBytes>,
    ) -> Result<(Vec<&'a str>, Vec<(String, &'a SecretBytes)>), Error> {
        let (mut undeclared, mut due) = (Vec::new(), Vec::new());
        for (variable, value) in values {
            let name = format!("{}/{variable}", push.remote.key);
            let there = self.resource("variable", &name).await?;
            let is_ours = there.as_ref().is_some_and(Resource::is_ours);
            if there.is_some() && !is_ours && push.reach == Reach::Ours {
                let message = format!("variable {name:?} was not made by us: push to another key, or delete it first");
                return Err(Error::new(ErrorKind::Denied, message));
            }
            if is_ours && self.value(&name).await?.as_ref() == Some(value) {
                continue;
            }
            if !is_ours {
                undeclared.push(variable.as_str());
            }
            due.push((name, value));
        }
        Ok((undeclared, due))
    }

    async fn done(&self, call: &Call, what: &str) -> Result<(), Error> {
        let answer = self.login.send(call).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(self.client().refusal(&answer, &what).no_reason_to_delete()),
        }
    }
}

/// Whether a key can stand in a list of names that commas part.
fn travels_in_a_list(key: &Key) -> bool {
    !key.name.contains(',') && named(&key.name).is_ok()
}

#[async_trait]
impl Provider for Conjur {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        // With the account and the kind before each, a comma between them, and percent signs for what needs them.
        let length = |key: &Key| {
            let encoded = key.name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 });
            self.client().account.len() + 17 + encoded.sum::<usize>()
        };
        // None may stand there twice.
        travels_in_a_list(key)
            && batch.iter().all(|other| travels_in_a_list(other) && self.name(&other.name) != self.name(&key.name))
            && batch.iter().chain([key]).map(length).sum::<usize>() <= LONGEST_BATCH
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        if keys.len() > 1 {
            return self.read_many(keys).await;
        }
        // A value that comes alone is a body of any kind, and so is a page of somebody in between. A batch of one says whose
        // value it is.
        if let Some(key) = keys.first().filter(|key| travels_in_a_list(key))
            && let Batch::Read(read) = self.batch(&[key]).await?
        {
            return Ok(read);
        }
        one_by_one(keys, |key| self.read(key)).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        let from: usize = at.first().and_then(|at| at.parse().ok()).unwrap_or(0);
        let mut call = Call::get("ListResources", format!("resources/{}", segment(&self.client().account)));
        call.query = vec![("kind", "variable".to_owned()), ("limit", PAGE.to_string()), ("offset", from.to_string())];
        let answer = self.login.send(&call).await?;
        if answer.status != 200 {
            return Err(self.client().refusal(&answer, &"list of variables").no_reason_to_delete());
        }
        let listed = answers::resources(&answer.body).ok_or_else(|| self.client().malformed(&answer))?;
        let next = (listed.len() >= PAGE).then(|| (from + listed.len()).to_string());
        let wanted = |resource: &Resource| {
            query.matches(&resource.name) && query.tags.iter().all(|(name, value)| resource.bears(name, value))
        };
        Ok(Page::of_names(listed.into_iter().filter(wanted).map(|resource| resource.name), next))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let place = Place::new(&push.remote.key)?;
        let values = policy::values(push)?;
        let (undeclared, due) = self.due(push, &values).await?;
        if !undeclared.is_empty() {
            let path = self.path("policies", "policy", &place.parent)?;
            let call = Call::post("LoadPolicy", path, place.declaring(&undeclared), "application/x-yaml");
            self.done(&call, &format!("policy {:?}", place.parent)).await?;
        }
        for (name, value) in due {
            let path = self.path("secrets", "variable", &name)?;
            let call = Call::post("AddSecret", path, value.clone(), "application/octet-stream");
            self.done(&call, &format!("variable {name:?}")).await?;
        }
        Ok(())
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let there = match remote.property.as_deref().filter(|property| !property.is_empty()) {
            Some(property) => self.resource("variable", &format!("{}/{property}", remote.key)).await?,
            None => self.resource("policy", &remote.key).await?,
        };
        Ok(there.is_some())
    }

    async fn validate(&self) -> Result<(), Error> {
        let mut call = Call::get("ListResources", format!("resources/{}", segment(&self.client().account)));
        call.query = vec![("kind", "variable".to_owned()), ("limit", "1".to_owned())];
        self.done(&call, "list of variables").await
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}
