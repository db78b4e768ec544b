//! From whom the spec names to credentials: kept until shortly before their end, got anew when a service refuses
//! them, and gone on with while STS is down.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::region::Region;
use keyferry_provider_core::{BuildContext, Credentials as Port, Error, ErrorKind, SecretRef, ServiceAccountRef};
use tokio::time::Instant;

use crate::client::{Base, Counter, STS};
use crate::config::{Config, Identity, Role, invalid};
use crate::error::{About, Cause, Failure, of_credentials};

/// What our sessions are called, in CloudTrail and in policies; External Secrets Operator's name.
const SESSION: &str = "external-secrets-provider-aws";

/// Where a ServiceAccount says which role its tokens stand for, and for which audience they are to be.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE_ANNOTATION: &str = "eks.amazonaws.com/audience";
const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

/// How long before their end credentials are renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// How long to go on with credentials whose renewal failed, before it is tried again.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// How old credentials must be before a refusal is taken for their end rather than for a mistake of ours.
const TOO_YOUNG_TO_END: Duration = Duration::from_secs(10);

/// Whose credentials a store uses, and the credentials.
pub struct Login {
    provider: SharedCredentialsProvider,
    /// Every step that got its credentials from somewhere, and can get them again.
    steps: Vec<Arc<Step>>,
    is_operator: bool,
}

impl Login {
    /// Reads keys that the spec names; all else is got when it is needed.
    pub(crate) async fn new(config: &Config, ctx: &BuildContext, base: &Base) -> Result<Self, Error> {
        let mut login = match &config.identity {
            Identity::Keys { id, secret, token } => {
                let keys = keys(&*ctx.credentials, id, secret, token.as_ref()).await?;
                Self { provider: SharedCredentialsProvider::new(keys), steps: Vec::new(), is_operator: false }
            }
            Identity::ServiceAccount(account) => {
                let sts = sts(base, None, ctx);
                let service = service(config);
                let step = WebIdentity { sts, service, account: account.clone(), port: ctx.credentials.clone() };
                // Whether there is such a role, and such a ServiceAccount, must be known while the store is built:
                // only then can a reference without a namespace be taken for one to whoever asks.
                step.role().await?;
                Self::first(step, false)
            }
            Identity::Operator => {
                let provider_config = ProviderConfig::without_region()
                    .with_region(Some(Region::new(config.region.clone())))
                    .with_http_client(base.http_client().expect("it was set"));
                let region = Region::new(config.region.clone());
                let chain = DefaultCredentialsChain::builder().region(region).configure(provider_config).build().await;
                Self::first(Chain(chain), true)
            }
        };
        for role in &config.roles {
            let sts = sts(base, Some(login.provider.clone()), ctx);
            login.then(AssumedRole { sts, service: service(config), role: role.clone() });
        }
        Ok(login)
    }

    fn first(source: impl Source + 'static, is_operator: bool) -> Self {
        let step = Arc::new(Step::new(source));
        let provider = SharedCredentialsProvider::new(Shared(step.clone()));
        Self { provider, steps: vec![step], is_operator }
    }

    fn then(&mut self, source: impl Source + 'static) {
        let step = Arc::new(Step::new(source));
        self.provider = SharedCredentialsProvider::new(Shared(step.clone()));
        self.steps.push(step);
    }

    /// For clients of the SDK.
    pub fn provider(&self) -> SharedCredentialsProvider {
        self.provider.clone()
    }

    /// What the store's status should say about them.
    pub fn note(&self) -> Option<String> {
        self.is_operator
            .then(|| "it is used with the operator's own AWS identity, since it names no credentials".to_owned())
    }

    /// Gets credentials, or says why there are none.
    pub async fn check(&self) -> Result<(), Error> {
        self.provider.provide_credentials().await.map(|_| ()).map_err(|error| of_credentials(&error))
    }

    /// Asks, and once more with other credentials where those there were may well have ended early.
    pub async fn renewing<T, F: Future<Output = Result<T, Error>>>(&self, ask: impl Fn() -> F) -> Result<T, Error> {
        let before: Vec<Option<u64>> = self.steps.iter().map(|step| step.number()).collect();
        match ask().await {
            Err(error) if self.is_worth_renewing(&error, &before) => ask().await,
            answer => answer,
        }
    }

    /// Whether an error may well be the early end of credentials that can be got anew, those that there were `before` by
    /// their numbers; if so they are forgotten, unless another call that met their end did so since.
    fn is_worth_renewing(&self, error: &Error, before: &[Option<u64>]) -> bool {
        // Not only the first step that can: its end is the end of all.
        let steps = self.steps.iter().zip(before);
        let forget = || steps.map(|(step, number)| step.forget(*number)).fold(false, |any, did| any | did);
        error.kind() == ErrorKind::Unauthenticated && forget()
    }
}

async fn keys(
    port: &dyn Port,
    id: &SecretRef,
    secret: &SecretRef,
    token: Option<&SecretRef>,
) -> Result<Credentials, Error> {
    let read = async |reference: &SecretRef, field: &str| {
        let field = format!("spec.provider.aws.auth.secretRef.{field}");
        let value = port.secret(reference, None).await.map_err(|error| error.context(&field))?;
        // Keys have no spaces; files that they were made from often end with a line.
        let text = value.expose_str().map(str::trim).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        match text {
            Some("") => Err(invalid(format!("{field} is empty"))),
            Some(text) => Ok(text.to_owned()),
            None => Err(invalid(format!("{field} holds what can't be part of a key"))),
        }
    };
    let secret = read(secret, "secretAccessKeySecretRef").await?;
    let id = read(id, "accessKeyIDSecretRef").await?;
    let token = match token {
        Some(token) => Some(read(token, "sessionTokenSecretRef").await?),
        None => None,
    };
    Ok(Credentials::new(id, secret, token, None, "the store's secretRef"))
}

fn sts(base: &Base, provider: Option<SharedCredentialsProvider>, ctx: &BuildContext) -> aws_sdk_sts::Client {
    let mut config = base.of(&STS).into_builder();
    config.set_credentials_provider(provider);
    let config = aws_sdk_sts::config::Builder::from(&config.build());
    aws_sdk_sts::Client::from_conf(config.interceptor(Counter::new(&STS, ctx.calls.clone())).build())
}

fn service(config: &Config) -> String {
    format!("{} in {}", STS.name, config.region)
}

/// Something that gives credentials, at some cost.
#[async_trait]
trait Source: Send + Sync {
    async fn get(&self) -> Result<Credentials, Error>;
}

/// The environment of the operator, its pod, its machine.
struct Chain(DefaultCredentialsChain);

#[async_trait]
impl Source for Chain {
    async fn get(&self) -> Result<Credentials, Error> {
        self.0.provide_credentials().await.map_err(|error| of_credentials(&error))
    }
}

/// The role of a ServiceAccount.
struct WebIdentity {
    sts: aws_sdk_sts::Client,
    service: String,
    account: ServiceAccountRef,
    port: Arc<dyn Port>,
}

impl WebIdentity {
    /// The role and the audience that the ServiceAccount is annotated with.
    async fn role(&self) -> Result<(String, String), Error> {
        let field = "spec.provider.aws.auth.jwt.serviceAccountRef";
        let annotations = self.port.service_account_annotations(&self.account).await;
        let mut annotations = annotations.map_err(|error| error.context(field))?;
        let mut take = |name| annotations.remove(name).filter(|text| !text.is_empty());
        let audience = take(AUDIENCE_ANNOTATION).unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
        match take(ROLE_ANNOTATION) {
            Some(role) => Ok((role, audience)),
            None => Err(invalid(format!(
                "{field}: an IAM role must be associated with the ServiceAccount {:?}: annotate it with {ROLE_ANNOTATION}",
                self.account.name
            ))),
        }
    }
}

#[async_trait]
impl Source for WebIdentity {
    async fn get(&self) -> Result<Credentials, Error> {
        let (role, audience) = self.role().await?;
        let token = self.port.service_account_token(&self.account, &[&audience]).await?;
        let text = token.secret.expose_str().unwrap_or_default();
        let call = self.sts.assume_role_with_web_identity();
        let answer = call.role_arn(&role).role_session_name(SESSION).web_identity_token(text).send().await;
        match answer {
            Ok(answer) => session(answer.credentials, &self.service),
            Err(error) => Err(refused(
                Failure::new(&error, &self.service),
                &self.service,
                || {
                    format!(
                        "{} does not let the ServiceAccount {:?} be {role}: check the trust policy of the role",
                        self.service, self.account.name
                    )
                },
                &role,
            )),
        }
    }
}

/// A role that another identity assumes.
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    service: String,
    role: Role,
}

#[async_trait]
impl Source for AssumedRole {
    async fn get(&self) -> Result<Credentials, Error> {
        let Role { arn, external_id, tags, transitive } = &self.role;
        let mut call = self.sts.assume_role().role_arn(arn).role_session_name(SESSION);
        call = call.set_external_id(external_id.clone());
        for (key, value) in tags {
            let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value).build();
            call = call.tags(tag.map_err(|_| invalid("a session tag has no key"))?);
        }
        for key in transitive {
            call = call.transitive_tag_keys(key);
        }
        match call.send().await {
            Ok(answer) => session(answer.credentials, &self.service),
            Err(error) => Err(refused(
                Failure::new(&error, &self.service),
                &self.service,
                || {
                    let also = if tags.is_empty() { "" } else { ", and allow sts:TagSession" };
                    format!(
                        "{} does not let us assume {arn}: check the trust policy of the role, and the external id{also}",
                        self.service
                    )
                },
                arn,
            )),
        }
    }
}

/// The error for a refused login; `denied` says it where the policies refuse it.
fn refused(failure: Failure, service: &str, denied: impl Fn() -> String, role: &str) -> Error {
    match failure {
        Failure::Refused(Cause::Denied, _) => Error::new(ErrorKind::Unauthenticated, denied()),
        failure => failure.error(&About { service: &service, action: "sts:AssumeRole", what: &format!("role {role}") }),
    }
}

fn session(answer: Option<aws_sdk_sts::types::Credentials>, service: &str) -> Result<Credentials, Error> {
    let answer =
        answer.ok_or_else(|| Error::new(ErrorKind::Malformed, format!("{service} answered without credentials")))?;
    let end = SystemTime::try_from(answer.expiration).ok();
    Ok(Credentials::new(answer.access_key_id, answer.secret_access_key, Some(answer.session_token), end, "STS"))
}

/// A source, and what it gave last.
struct Step {
    source: Box<dyn Source>,
    held: Mutex<Option<Held>>,
    /// Held by the one who gets credentials, with how often that was.
    gate: tokio::sync::Mutex<u64>,
}

/// Times are those of a clock that nobody sets: one that is set back would keep credentials that are long over.
#[derive(Clone)]
struct Held {
    credentials: Credentials,
    /// Which of those that this step ever got.
    number: u64,
    since: Instant,
    renew_at: Option<Instant>,
    end: Option<Instant>,
}

impl Step {
    fn new(source: impl Source + 'static) -> Self {
        let (held, gate) = Default::default();
        Self { source: Box::new(source), held, gate }
    }

    async fn get(&self) -> Result<Credentials, Error> {
        let (good, gate) = (self.held().filter(|held| !held.is_due()), self.gate.try_lock());
        let mut gate = match (good, gate, self.held().filter(|held| !held.is_over())) {
            (Some(held), _, _) => return Ok(held.credentials),
            (None, Ok(gate), _) => gate,
            // Somebody is at it already, and these are good for a while yet.
            (None, Err(_), Some(held)) => return Ok(held.credentials),
            (None, Err(_), None) => self.gate.lock().await,
        };
        if let Some(held) = self.held().filter(|held| !held.is_due()) {
            return Ok(held.credentials); // while we waited
        }
        match (self.source.get().await, self.held()) {
            (Ok(credentials), _) => {
                let (since, now) = (Instant::now(), SystemTime::now());
                let life = credentials.expiry().map(|end| end.duration_since(now).unwrap_or_default());
                let end = life.and_then(|life| since.checked_add(life));
                let renew_at = life.and_then(|life| since.checked_add(good_for(life)));
                *gate += 1;
                self.keep(Some(Held { credentials: credentials.clone(), number: *gate, since, renew_at, end }));
                Ok(credentials)
            }
            // A renewal that fails costs nothing as long as there are good credentials.
            (Err(_), Some(held)) if !held.is_over() => {
                let renew_at = Some(Instant::now() + BETWEEN_RENEWALS);
                self.keep(Some(Held { renew_at, ..held.clone() }));
                Ok(held.credentials)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn number(&self) -> Option<u64> {
        self.held().map(|held| held.number)
    }

    /// Forgets the credentials of this number, unless they are young. Answers whether there are others to try with, or
    /// can be.
    fn forget(&self, number: Option<u64>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*held, number) {
            // Of several calls that the same were refused to, another came first.
            (None, Some(_)) => true,
            (Some(held), Some(number)) if held.number != number => true,
            (Some(one), _) if one.since.elapsed() >= TOO_YOUNG_TO_END => {
                *held = None;
                true
            }
            // There were none, or those that there are were got for this call.
            (Some(_) | None, _) => false,
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

impl Held {
    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|due| Instant::now() >= due)
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// How long credentials of this life are used before others are got: short ones for most of it.
fn good_for(life: Duration) -> Duration {
    life.saturating_sub(RENEWED_BEFORE).max(life * 2 / 3)
}

/// A step, for the SDK.
struct Shared(Arc<Step>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keyferry's login")
    }
}

impl ProvideCredentials for Shared {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.0.get().await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives credentials of some life, numbered, or fails.
    #[derive(Default)]
    struct Numbered {
        life: Option<Duration>,
        fails_after: Option<usize>,
        count: AtomicUsize,
    }

    #[async_trait]
    impl Source for Arc<Numbered> {
        async fn get(&self) -> Result<Credentials, Error> {
            let n = self.count.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.fails_after.is_some_and(|last| n >= last) {
                return Err(Error::new(ErrorKind::Unavailable, "down"));
            }
            let end = self.life.map(|life| SystemTime::now() + life);
            Ok(Credentials::new(format!("id{n}"), "secret", None, end, "test"))
        }
    }

    fn step(numbered: Numbered) -> (Arc<Numbered>, Step) {
        let source = Arc::new(numbered);
        (source.clone(), Step::new(source))
    }

    async fn id(step: &Step) -> Result<String, Error> {
        step.get().await.map(|credentials| credentials.access_key_id().to_owned())
    }

    #[tokio::test]
    async fn credentials_are_got_once_for_all_who_ask() {
        let (source, step) = step(Numbered { life: Some(Duration::from_secs(3600)), ..Numbered::default() });
        let (a, b, c) = tokio::join!(id(&step), id(&step), id(&step));
        assert_eq!([a.unwrap(), b.unwrap(), c.unwrap()], ["id0", "id0", "id0"]);
        assert_eq!(id(&step).await.unwrap(), "id0");
        assert_eq!(source.count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_due_is_renewed_and_what_is_good_outlives_a_failure() {
        let (source, step) =
            step(Numbered { life: Some(Duration::from_secs(3600)), fails_after: Some(1), ..Numbered::default() });
        id(&step).await.unwrap();
        let due = Held { renew_at: Some(Instant::now()), ..step.held().unwrap() };
        step.keep(Some(due));
        assert_eq!(id(&step).await.unwrap(), "id0");
        assert_eq!(id(&step).await.unwrap(), "id0"); // and is left in peace for a while
        assert_eq!(source.count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_is_over_is_never_used() {
        let (_, step) = step(Numbered { life: Some(Duration::ZERO), fails_after: Some(1), ..Numbered::default() });
        id(&step).await.unwrap();
        assert_eq!(id(&step).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_has_aged_is_forgotten() {
        let (_, step) = step(Numbered::default());
        assert!(!step.forget(step.number()), "there is nothing that could have ended");
        assert_eq!(id(&step).await.unwrap(), "id0");
        assert!(!step.forget(step.number()));
        assert!(!step.forget(None), "they were got for this very call");
        tokio::time::advance(TOO_YOUNG_TO_END).await;
        assert!(step.forget(step.number()));
        assert_eq!(id(&step).await.unwrap(), "id1");
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_that_the_same_credentials_were_refused_to_are_worth_another() {
        let (source, step) = step(Numbered { life: Some(Duration::from_secs(3600)), ..Numbered::default() });
        id(&step).await.unwrap();
        tokio::time::advance(TOO_YOUNG_TO_END).await;
        let before = step.number();
        assert!(step.forget(before));
        assert!(step.forget(before), "the first forgot them, and has no others yet");
        assert_eq!(id(&step).await.unwrap(), "id1");
        assert!(step.forget(before), "there are others, however young");
        assert_eq!(id(&step).await.unwrap(), "id1");
        assert_eq!(source.count.load(Ordering::SeqCst), 2);
    }

    /// The clock of the day stands still here, as one does that is set back.
    #[tokio::test(start_paused = true)]
    async fn ages_are_not_measured_by_a_clock_that_can_be_set() {
        let (_, step) = step(Numbered { life: Some(Duration::from_secs(3600)), ..Numbered::default() });
        for (seconds, expected) in [(0, "id0"), (3290, "id0"), (20, "id1"), (7200, "id2")] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(id(&step).await.unwrap(), expected);
        }
    }

    #[test]
    fn short_lives_are_used_for_the_most_part() {
        for (life, good) in [(3600, 3300), (900, 600), (300, 200), (0, 0)] {
            assert_eq!(good_for(Duration::from_secs(life)), Duration::from_secs(good));
        }
    }
}
