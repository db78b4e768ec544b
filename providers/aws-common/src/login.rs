//! From whom the spec names to credentials. Each step on the way holds its own in a session, which renews them shortly
//! before their end, goes on with them while STS is down, and gets others when a service refuses them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::region::Region;
use keyferry_provider_core::{
    Blame, BuildContext, Credentials as Port, Error, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef,
};
use keyferry_provider_session::{Grant, Life, Session, Source};

use crate::client::{Base, Counter, STS, Service};
use crate::config::{Config, Identity, Role};
use crate::error::{About, Cause, Failure, of_credentials};

/// What our sessions are called, in CloudTrail and in policies; External Secrets Operator's name.
const SESSION: &str = "external-secrets-provider-aws";

/// Where a ServiceAccount says which role its tokens stand for, and for which audience they are to be.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE_ANNOTATION: &str = "eks.amazonaws.com/audience";
const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

/// Whose credentials a store uses, and the credentials.
pub struct Login {
    provider: SharedCredentialsProvider,
    /// Every step that got its credentials from somewhere, and can get them again.
    steps: Vec<Arc<Session<Credentials>>>,
    is_operator: bool,
    /// Keys of the spec, where no login is made with them.
    kept: Option<Kept>,
}

impl Login {
    /// Reads keys that the spec names; all else is got when it is needed.
    pub(crate) async fn new(config: &Config, ctx: &BuildContext, base: &Base, of: &Service) -> Result<Self, Error> {
        let mut login = match &config.identity {
            Identity::Keys { id, secret, token } => {
                let keys = keys(&*ctx.credentials, id, secret, token.as_ref()).await?;
                let provider = SharedCredentialsProvider::new(keys);
                // A service in a place of its own has its own keys, which STS of the usual one does not know.
                let is_asked = base.is_placed(&STS) || !base.is_placed(of);
                let sts = is_asked.then(|| sts(base, Some(provider.clone()), ctx));
                let kept = config.roles.is_empty().then(|| Kept::new(sts, service(config)));
                Self { provider, steps: Vec::new(), is_operator: false, kept }
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
            Identity::Operator if !ctx.ambient_identity => {
                return Err(Error::invalid(
                    "spec.provider.aws names no credentials, and --ambient-identity keeps this store from using the \
                     operator's own AWS identity: set spec.provider.aws.auth",
                ));
            }
            Identity::Operator => match PodRole::named(ctx) {
                Some((role, token_file, session)) => {
                    let (sts, service) = (sts(base, None, ctx), service(config));
                    Self::first(PodRole { sts, service, role, token_file, session }, true)
                }
                None => Self::first(Chain::new(config, base).await, true),
            },
        };
        for role in &config.roles {
            let sts = sts(base, Some(login.provider.clone()), ctx);
            login.then(AssumedRole { sts, service: service(config), role: role.clone() });
        }
        Ok(login)
    }

    fn first(source: impl Source<Credentials> + 'static, is_operator: bool) -> Self {
        let step = Arc::new(Session::new(source));
        let provider = SharedCredentialsProvider::new(Shared(step.clone()));
        Self { provider, steps: vec![step], is_operator, kept: None }
    }

    fn then(&mut self, source: impl Source<Credentials> + 'static) {
        let step = Arc::new(Session::new(source));
        self.provider = SharedCredentialsProvider::new(Shared(step.clone()));
        self.steps.push(step);
    }

    /// For clients of the SDK.
    pub fn provider(&self) -> SharedCredentialsProvider {
        self.provider.clone()
    }

    /// What the store's status should say about them.
    pub fn note(&self) -> Option<String> {
        if self.is_operator {
            return Some("it is used with the operator's own AWS identity, since it names no credentials".to_owned());
        }
        let note = "STS can't be asked here whether its access key is good: the first secret that is read tells";
        self.kept.as_ref().filter(|kept| kept.is_unknown()).map(|_| note.to_owned())
    }

    /// Gets credentials, or says why there are none. Keys that the spec names are held against STS.
    pub async fn check(&self) -> Result<(), Error> {
        self.provider.provide_credentials().await.map_err(|error| of_credentials(&error))?;
        match &self.kept {
            Some(kept) => kept.check().await,
            None => Ok(()),
        }
    }

    /// Asks, and once more with other credentials where those there were may well have ended early.
    pub async fn renewing<T, F: Future<Output = Result<T, Error>>>(&self, ask: impl Fn() -> F) -> Result<T, Error> {
        let number = |step: &Arc<Session<Credentials>>| step.held().map(|held| held.number());
        let before: Vec<Option<u64>> = self.steps.iter().map(number).collect();
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
        let forget = || steps.map(|(step, number)| step.refused(*number)).fold(false, |any, did| any | did);
        error.kind() == ErrorKind::Unauthenticated && forget()
    }
}

/// Keys that no login is made with, so that nobody says whether they are good until something is asked with them.
struct Kept {
    /// Who knows, where it may be asked.
    sts: Option<aws_sdk_sts::Client>,
    service: String,
    /// Whether it was asked, and could not say.
    is_unknown: AtomicBool,
    /// Whether it said that they are good.
    is_proved: AtomicBool,
}

impl Kept {
    fn new(sts: Option<aws_sdk_sts::Client>, service: String) -> Self {
        Self { is_unknown: AtomicBool::new(sts.is_none()), sts, service, is_proved: AtomicBool::new(false) }
    }

    fn is_unknown(&self) -> bool {
        self.is_unknown.load(Ordering::Relaxed)
    }

    /// Asks STS whose keys they are, which needs no permission. Networks need not lead to STS for what is done with them
    /// later, so that an answer which is none is no reason to stop.
    async fn check(&self) -> Result<(), Error> {
        let Some(sts) = &self.sts else { return Ok(()) };
        let what = "the access key";
        match sts.get_caller_identity().send().await {
            Ok(_) => {
                self.is_proved.store(true, Ordering::Relaxed);
                self.is_unknown.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let about = About { service: &self.service, action: "sts:GetCallerIdentity", what: &what };
                let error = Failure::new(&error, &self.service).error(&about);
                if error.kind() == ErrorKind::Unauthenticated {
                    self.is_proved.store(false, Ordering::Relaxed);
                    return Err(error);
                }
                // What was said once holds until it is said otherwise: a note that comes and goes tells nobody anything.
                self.is_unknown.store(!self.is_proved.load(Ordering::Relaxed), Ordering::Relaxed);
                Ok(())
            }
        }
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
            Some("") => Err(Error::invalid(format!("{field} is empty"))),
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::invalid(format!("{field} holds what can't be part of a key"))),
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

/// The environment of the operator, its pod (by EKS Pod Identity, too), its machine.
struct Chain(DefaultCredentialsChain);

impl Chain {
    async fn new(config: &Config, base: &Base) -> Self {
        let region = Region::new(config.region.clone());
        let provider_config = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_use_fips(base.sdk().use_fips())
            .with_use_dual_stack(base.sdk().use_dual_stack())
            .with_http_client(base.http_client().expect("it was set"));
        Self(DefaultCredentialsChain::builder().region(region).configure(provider_config).build().await)
    }
}

#[async_trait]
impl Source<Credentials> for Chain {
    async fn get(&self) -> Result<Grant<Credentials>, Error> {
        self.0.provide_credentials().await.map(granted).map_err(|error| of_credentials(&error))
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
            None => Err(Error::invalid(format!(
                "{field}: an IAM role must be associated with the ServiceAccount {:?}: annotate it with {ROLE_ANNOTATION}",
                self.account.name
            ))),
        }
    }
}

#[async_trait]
impl Source<Credentials> for WebIdentity {
    async fn get(&self) -> Result<Grant<Credentials>, Error> {
        let (role, audience) = self.role().await?;
        let token = self.port.service_account_token(&self.account, &[&audience]).await?;
        let text = token.secret.expose_str().unwrap_or_default();
        let call = self.sts.assume_role_with_web_identity();
        let answer = call.role_arn(&role).role_session_name(SESSION).web_identity_token(text).send().await;
        match answer {
            Ok(answer) => given(answer.credentials, &self.service),
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

/// The role of the operator's own ServiceAccount (IRSA): EKS puts its name and a token into the pod. The SDK's chain knows
/// it, too, but not the endpoint that the operator may be told to log in at.
struct PodRole {
    sts: aws_sdk_sts::Client,
    service: String,
    role: String,
    token_file: String,
    session: String,
}

impl PodRole {
    /// The role, the file with the token, and what the session is to be called, where the pod has them; keys in the
    /// environment go before.
    fn named(ctx: &BuildContext) -> Option<(String, String, String)> {
        let set = |name: &str| (ctx.environment)(name).filter(|text| !text.is_empty());
        let has_keys = set("AWS_ACCESS_KEY_ID").is_some() && set("AWS_SECRET_ACCESS_KEY").is_some();
        let named = set("AWS_ROLE_ARN").zip(set("AWS_WEB_IDENTITY_TOKEN_FILE")).filter(|_| !has_keys);
        let session = || set("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned());
        named.map(|(role, file)| (role, file, session()))
    }
}

#[async_trait]
impl Source<Credentials> for PodRole {
    async fn get(&self) -> Result<Grant<Credentials>, Error> {
        // Read each time: it is replaced before its end.
        let token = tokio::fs::read(&self.token_file).await.map(SecretBytes::new).map_err(|_| {
            let message = "the operator's own AWS token, which AWS_WEB_IDENTITY_TOKEN_FILE names, can't be read";
            Error::new(ErrorKind::Unauthenticated, message).with_blame(Blame::Keyferry)
        })?;
        let text = token.expose_str().unwrap_or_default().trim();
        let call = self.sts.assume_role_with_web_identity();
        let answer = call.role_arn(&self.role).role_session_name(&self.session).web_identity_token(text).send().await;
        let Self { service, role, .. } = self;
        match answer {
            Ok(answer) => given(answer.credentials, service),
            Err(error) => {
                let denied = || {
                    format!(
                        "{service} does not let the operator's own ServiceAccount be {role}: check the trust policy"
                    )
                };
                Err(refused(Failure::new(&error, service), service, denied, role))
            }
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
impl Source<Credentials> for AssumedRole {
    async fn get(&self) -> Result<Grant<Credentials>, Error> {
        let Role { arn, external_id, tags, transitive } = &self.role;
        let mut call = self.sts.assume_role().role_arn(arn).role_session_name(SESSION);
        call = call.set_external_id(external_id.clone());
        for (key, value) in tags {
            let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value).build();
            call = call.tags(tag.map_err(|_| Error::invalid("a session tag has no key"))?);
        }
        for key in transitive {
            call = call.transitive_tag_keys(key);
        }
        match call.send().await {
            Ok(answer) => given(answer.credentials, &self.service),
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

/// What STS answered with.
fn given(answer: Option<aws_sdk_sts::types::Credentials>, service: &str) -> Result<Grant<Credentials>, Error> {
    let answer =
        answer.ok_or_else(|| Error::new(ErrorKind::Malformed, format!("{service} answered without credentials")))?;
    let end = SystemTime::try_from(answer.expiration).ok();
    let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, Some(answer.session_token));
    Ok(granted(Credentials::new(id, secret, token, end, "STS")))
}

/// Credentials for as long as they say.
fn granted(value: Credentials) -> Grant<Credentials> {
    let life = value.expiry().map_or(Life::ENDLESS, Life::until);
    Grant { value, life }
}

/// A step, for the SDK.
struct Shared(Arc<Session<Credentials>>);

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
        future::ProvideCredentials::new(async {
            self.0.get().await.map(|held| (*held).clone()).map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Gives credentials, numbered.
    #[derive(Clone, Default)]
    struct Numbered(Arc<AtomicUsize>);

    #[async_trait]
    impl Source<Credentials> for Numbered {
        async fn get(&self) -> Result<Grant<Credentials>, Error> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(granted(Credentials::new(format!("id{n}"), "secret", None, None, "test")))
        }
    }

    /// An identity, and a role that it assumes.
    fn login() -> ([Numbered; 2], Login) {
        let sources: [Numbered; 2] = Default::default();
        let mut login = Login::first(sources[0].clone(), false);
        login.then(sources[1].clone());
        (sources, login)
    }

    /// Asks a service that knows no credentials but these; with whose it was asked, and what came of it.
    async fn ask(login: &Login, known: &str) -> (Vec<String>, Result<(), ErrorKind>) {
        let asked = Mutex::new(Vec::new());
        let answer = login.renewing(async || {
            login.steps[0].get().await?; // as the role's source would
            let credentials = login.provider().provide_credentials().await.map_err(|error| of_credentials(&error))?;
            let id = credentials.access_key_id().to_owned();
            let is_known = id == known;
            asked.lock().unwrap().push(id);
            if is_known { Ok(()) } else { Err(Error::new(ErrorKind::Unauthenticated, "unknown")) }
        });
        let answer = answer.await.map_err(|error| error.kind());
        (asked.into_inner().unwrap(), answer)
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_early_is_replaced_on_the_whole_way_and_the_call_made_once_more() {
        let (sources, login) = login();
        assert_eq!(ask(&login, "id0").await, (vec!["id0".to_owned()], Ok(())));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(ask(&login, "id1").await, (vec!["id0".to_owned(), "id1".to_owned()], Ok(())));
        assert_eq!(sources.map(|source| source.0.load(Ordering::SeqCst)), [2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_just_got_and_is_refused_is_wrong() {
        let (sources, login) = login();
        let refused = Err(ErrorKind::Unauthenticated);
        assert_eq!(ask(&login, "other").await, (vec!["id0".to_owned()], refused));
        assert_eq!(ask(&login, "other").await, (vec!["id0".to_owned()], refused));
        assert_eq!(sources.map(|source| source.0.load(Ordering::SeqCst)), [1, 1]);
    }

    #[test]
    fn credentials_live_as_long_as_they_say() {
        let of = |end| granted(Credentials::new("id", "secret", None, end, "test")).life;
        assert_eq!(of(None), Life::ENDLESS);
        assert_eq!(of(Some(SystemTime::UNIX_EPOCH)), Life::of(Duration::ZERO));
    }
}
