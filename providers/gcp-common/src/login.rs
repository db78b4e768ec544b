//! From whom the spec names to an access token. A session holds it: it is replaced shortly before its end, or when a server
//! refuses it.

use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef};
use keyferry_provider_http::{Fields, form};
use keyferry_provider_session::{Grant, Held, Session, Source};
use reqwest::Url;

use crate::aws::{self, Keys};
use crate::document::{self, Author, Document};
use crate::endpoints::{Api, GOOGLE, endpoint};
use crate::exchange::{self, Access, SCOPE, Shown};
use crate::host::{Call, Host, Response};
use crate::key::{Key, TOKEN_URI};
use crate::metadata::Metadata;
use crate::spec::{Auth, Cluster, Federation, Identity, Subject, is_account};
use crate::text;

/// Where a ServiceAccount says which service account its tokens stand for.
const ANNOTATION: &str = "iam.gke.io/gcp-service-account";

/// Names a file of the operator's own that says who it is.
const OPERATORS_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The largest such file that is read.
const LARGEST_FILE: u64 = 1 << 20;

/// The largest token that somebody else's server may give.
const LARGEST_TOKEN: usize = 64 << 10;

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const OF_AWS: &str = "urn:ietf:params:aws:token-type:aws4_request";

/// Where key files may lead anybody.
const TOKEN_HOSTS: [&str; 3] = ["oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"];

/// Access to Google, held for a while.
pub struct Login {
    session: Session<Access>,
    is_operator: bool,
}

impl Login {
    /// Logs in: a store whose login is wrong says so when it is built. `pool` is the way to Google that the store has; what a
    /// login needs besides goes by the same.
    ///
    /// # Errors
    /// Where the login fails, or is not allowed.
    pub async fn new(auth: Auth, ctx: &BuildContext, pool: &Host, provider: &'static str) -> Result<Self, Error> {
        let is_operator = matches!(auth.identity, Identity::Operator);
        if is_operator && !ctx.ambient_identity {
            return Err(Error::invalid(format!(
                "{} names no credentials, and --ambient-identity keeps this store from using the operator's own Google \
                 identity: set secretRef, workloadIdentity or workloadIdentityFederation",
                auth.at
            )));
        }
        let session = Session::new(Tokens {
            auth,
            is_of_cluster: ctx.caller.is_of_cluster(),
            ctx: ctx.clone(),
            pool: pool.clone(),
            provider,
        });
        session.get().await?;
        Ok(Self { session, is_operator })
    }

    /// What to make a call with.
    ///
    /// # Errors
    /// Where nothing good is held, and the login fails.
    pub async fn token(&self) -> Result<Held<Access>, Error> {
        self.session.get().await
    }

    /// Makes a call at `host`; where the token seems to have ended early, once more with another.
    ///
    /// # Errors
    /// Where there is no token, or no way.
    pub async fn send(&self, host: &Host, call: &Call) -> Result<Response, Error> {
        let make = async |access: Held<Access>| host.send(call, Some(&access.header)).await;
        self.session.call(make, |answer| answer.status == 401).await
    }

    /// What a store's status should say about whom it is used as.
    pub fn note(&self) -> Option<String> {
        self.is_operator
            .then(|| "it is used with the operator's own Google identity, since it names no credentials".to_owned())
    }
}

/// Where tokens come from.
struct Tokens {
    auth: Auth,
    ctx: BuildContext,
    /// Whether whoever wrote the spec is trusted with what the operator may reach.
    is_of_cluster: bool,
    pool: Host,
    provider: &'static str,
}

#[async_trait]
impl Source<Access> for Tokens {
    async fn get(&self) -> Result<Grant<Access>, Error> {
        let at = self.auth.at;
        match &self.auth.identity {
            Identity::Key(reference) => {
                let field = format!("{at}.secretRef.secretAccessKeySecretRef");
                let file = self.ctx.credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
                self.by_key(&file, &field, self.is_of_cluster).await
            }
            Identity::Cluster(cluster) => self.by_cluster(cluster, &format!("{at}.workloadIdentity")).await,
            Identity::Federation(federation) => {
                self.by_federation(federation, &format!("{at}.workloadIdentityFederation")).await
            }
            Identity::Operator => self.as_operator().await,
        }
    }
}

impl Tokens {
    async fn by_key(&self, file: &SecretBytes, field: &str, is_trusted: bool) -> Result<Grant<Access>, Error> {
        let key = Key::read(file, field)?;
        let host = self.token_host(&key.token_uri, field, is_trusted)?;
        let assertion = key
            .assertion(SCOPE, SystemTime::now())
            .ok_or_else(|| Error::invalid(format!("{field}: nothing can be signed with the key")))?;
        let form =
            form(&[("grant_type", b"urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.expose())]);
        let hint = format!(
            "{field}: the key of {} is deleted or disabled, its service account is, or the clock here is off",
            key.email
        );
        exchange::buy(&host, "GenerateToken", form, &hint).await
    }

    /// Where a key buys tokens. Its file is written by whoever writes the Secret.
    fn token_host(&self, uri: &str, field: &str, is_trusted: bool) -> Result<Host, Error> {
        let url = Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| Error::invalid(format!("{field}: token_uri of the key file is no URL")))?;
        if url.scheme() == "https" && url.host_str().is_some_and(|host| TOKEN_HOSTS.contains(&host)) {
            return self.pool.beside(url, GOOGLE);
        }
        if !is_trusted {
            return Err(Error::invalid(format!(
                "{field}: token_uri of the key file leads elsewhere than to Google, which is refused to stores of a \
                 namespace"
            )));
        }
        self.pool.beside(url, Fields { server: "token_uri of the key file", ..GOOGLE })
    }

    async fn by_cluster(&self, cluster: &Cluster, field: &str) -> Result<Grant<Access>, Error> {
        let email = self.annotated(&cluster.account, field).await?;
        let project = match &cluster.project {
            Some(project) => project.clone(),
            None => self.metadata()?.project(&format!("{field}.clusterProjectID")).await?,
        };
        let location = match &cluster.location {
            Some(location) => location.clone(),
            None => self.metadata()?.cluster_location(&format!("{field}.clusterLocation")).await?,
        };
        let name = match &cluster.name {
            Some(name) => name.clone(),
            None => self.metadata()?.cluster_name(&format!("{field}.clusterName")).await?,
        };
        let pool = format!("{project}.svc.id.goog");
        let own =
            format!("https://container.googleapis.com/v1/projects/{project}/locations/{location}/clusters/{name}");
        let token = self.ctx.credentials.service_account_token(&cluster.account, &[&pool]).await;
        let token = token.map_err(|error| error.context(format!("{field}.serviceAccountRef")))?;
        let shown = Shown { token: &token.secret, kind: JWT, audience: &format!("identitynamespace:{pool}:{own}") };
        let hint = format!(
            "{field}: check that the cluster {name} in {location} has workload identity, with the pool {pool}, and \
                 that its location and name are these"
        );
        let access = exchange::exchange(&self.tokens()?, &shown, &hint).await?;
        self.acting_as(access, email, None).await
    }

    async fn by_federation(&self, federation: &Federation, field: &str) -> Result<Grant<Access>, Error> {
        match &federation.subject {
            Subject::Account(account) => {
                let field = format!("{field}.serviceAccountRef");
                let email = match &federation.email {
                    Some(email) => Some(email.clone()),
                    None => self.annotated(account, &field).await?,
                };
                let token = self.ctx.credentials.service_account_token(account, &[]).await;
                let token = token.map_err(|error| error.context(&field))?;
                let audience = federation.audience.as_deref().unwrap_or_default();
                let shown = Shown { token: &token.secret, kind: JWT, audience };
                let hint = format!(
                    "{field}: check that the provider of the pool knows the issuer of the cluster, takes the \
                         audiences of the reference, and maps its ServiceAccount {:?}",
                    account.name
                );
                let access = exchange::exchange(&self.tokens()?, &shown, &hint).await?;
                self.acting_as(access, email, None).await
            }
            Subject::Aws { region, secret } => {
                let field = format!("{field}.awsSecurityCredentials");
                let keys = self.keys(secret, &field).await?;
                let audience = federation.audience.as_deref().unwrap_or_default();
                let token = aws::subject(&keys, region, audience, SystemTime::now())
                    .ok_or_else(|| Error::invalid(format!("{field}: a key holds what can't be part of one")))?;
                let shown = Shown { token: &token, kind: OF_AWS, audience };
                let hint =
                    format!("{field}: check the keys, and that the provider of the pool knows their AWS account");
                let access = exchange::exchange(&self.tokens()?, &shown, &hint).await?;
                self.acting_as(access, federation.email.clone(), None).await
            }
            Subject::Document { document, endpoint } => {
                let field = format!("{field}.credConfig");
                let text = self.ctx.credentials.ca_bundle(document).await.map_err(|error| error.context(&field))?;
                let author = Author::Store { endpoint: endpoint.as_deref() };
                let document = Document::read(&SecretBytes::new(text), author, &field)?;
                let over = (federation.audience.as_deref(), federation.email.clone());
                self.by_document(&document, over, &field).await
            }
        }
    }

    /// `over` is what the spec says in place of the document: for whom, and as whom.
    async fn by_document(
        &self,
        document: &Document,
        over: (Option<&str>, Option<String>),
        field: &str,
    ) -> Result<Grant<Access>, Error> {
        let audience = over.0.or(document.audience.as_deref());
        let audience = audience.ok_or_else(|| Error::invalid(format!("{field}: the document has no audience")))?;
        let token = match &document.source {
            document::Source::Server { url, headers, field: name } => {
                let fields = Fields { server: "credential_source.url", ..GOOGLE };
                let host = self.pool.beside(url.clone(), fields).map_err(|error| error.context(field))?;
                let call = Call { headers: headers.clone(), ..Call::get("GetSubjectToken", "") };
                let answer = host.send(&call, None).await?;
                match answer.status {
                    200 => shown(&answer.body, name.as_deref()).ok_or_else(|| no_token(&host.name(), field)),
                    400..500 if answer.status != 429 => Err(Error::new(
                        ErrorKind::Unauthenticated,
                        format!("{field}: {} gives us no token (status {})", host.name(), answer.status),
                    )),
                    _ => Err(host.problem(&answer)),
                }?
            }
            document::Source::File { path, field: name } => {
                let body = operators_file(path).await?;
                shown(&body, name.as_deref()).ok_or_else(|| no_token("the file that it names", field))?
            }
        };
        let shown = Shown { token: &token, kind: &document.token_type, audience };
        let hint = format!("{field}: check that the provider of the pool takes the token, and maps whom it is of");
        let access = exchange::exchange(&self.tokens()?, &shown, &hint).await?;
        self.acting_as(access, over.1.or_else(|| document.email.clone()), document.lifetime).await
    }

    /// What Google's own clients would be: whom the operator's environment names, or its machine's service account.
    async fn as_operator(&self) -> Result<Grant<Access>, Error> {
        let Some(path) = (self.ctx.environment)(OPERATORS_FILE).filter(|path| !path.is_empty()) else {
            let body = self.metadata()?.token(SCOPE).await?;
            return exchange::of_grant(&body).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "the metadata server does not answer as Google's does")
            });
        };
        let file = operators_file(&path).await?;
        match text::field(&file, "type").as_deref() {
            Some("external_account") => {
                let document = Document::read(&file, Author::Operator, OPERATORS_FILE)?;
                self.by_document(&document, (None, None), OPERATORS_FILE).await
            }
            Some("authorized_user") => self.by_refreshing(&file).await,
            _ => self.by_key(&file, OPERATORS_FILE, true).await,
        }
    }

    /// A person's login, as gcloud leaves it behind.
    async fn by_refreshing(&self, file: &SecretBytes) -> Result<Grant<Access>, Error> {
        let get = |name: &str| {
            text::field(file, name)
                .map(|text| SecretBytes::new(text.into_bytes()))
                .ok_or_else(|| Error::invalid(format!("{OPERATORS_FILE}: the file has no {name}")))
        };
        let (id, secret, token) = (get("client_id")?, get("client_secret")?, get("refresh_token")?);
        let form = form(&[
            ("grant_type", b"refresh_token"),
            ("client_id", id.expose()),
            ("client_secret", secret.expose()),
            ("refresh_token", token.expose()),
        ]);
        let uri = text::field(file, "token_uri").unwrap_or_else(|| TOKEN_URI.to_owned());
        let host = self.token_host(&uri, OPERATORS_FILE, true)?;
        let hint = format!("{OPERATORS_FILE}: the login that the file holds has ended: log in anew");
        exchange::buy(&host, "GenerateToken", form, &hint).await
    }

    /// The service account that a ServiceAccount is annotated with.
    async fn annotated(&self, account: &ServiceAccountRef, field: &str) -> Result<Option<String>, Error> {
        let annotations = self.ctx.credentials.service_account_annotations(account).await;
        let mut annotations = annotations.map_err(|error| error.context(field))?;
        match annotations.remove(ANNOTATION).filter(|email| !email.is_empty()) {
            Some(email) if !is_account(&email) => Err(Error::invalid(format!(
                "{field}: {ANNOTATION} of the ServiceAccount {:?} is not the e-mail of a service account",
                account.name
            ))),
            email => Ok(email),
        }
    }

    async fn acting_as(
        &self,
        access: Grant<Access>,
        email: Option<String>,
        lifetime: Option<u64>,
    ) -> Result<Grant<Access>, Error> {
        let Some(email) = email else { return Ok(access) };
        let host = self.pool.beside(endpoint(Api::IamCredentials, None, &self.ctx.environment)?, GOOGLE)?;
        exchange::act_as(&host, &access.value, &email, lifetime).await
    }

    /// Made where it is asked, which is seldom.
    fn metadata(&self) -> Result<Metadata, Error> {
        Metadata::new(&self.ctx, self.provider)
    }

    fn tokens(&self) -> Result<Host, Error> {
        self.pool.beside(endpoint(Api::Tokens, None, &self.ctx.environment)?, GOOGLE)
    }

    async fn keys(&self, secret: &SecretRef, field: &str) -> Result<Keys, Error> {
        let read = async |key: &str| {
            let value = self.ctx.credentials.secret(secret, Some(key)).await.map_err(|error| error.context(field))?;
            let text = value.expose().trim_ascii();
            if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
                return Err(Error::invalid(format!("{field}: {key} is empty, or holds what can't be part of a key")));
            }
            Ok(SecretBytes::new(text.to_vec()))
        };
        let (id, secret) = (read("aws_access_key_id").await?, read("aws_secret_access_key").await?);
        // Only temporary keys have one.
        let session = match read("aws_session_token").await {
            Ok(token) => Some(token),
            Err(error) if error.is_temporary() => return Err(error),
            Err(_) => None,
        };
        Ok(Keys { id, secret, session })
    }
}

/// The token in what somebody answered: all of it, or a field of it.
fn shown(body: &SecretBytes, field: Option<&str>) -> Option<SecretBytes> {
    let token = match field {
        Some(name) => SecretBytes::new(text::field(body, name)?.into_bytes()),
        None => SecretBytes::new(body.expose().trim_ascii().to_vec()),
    };
    (1..=LARGEST_TOKEN).contains(&token.len()).then_some(token)
}

fn no_token(who: &str, field: &str) -> Error {
    Error::invalid(format!("{field}: there is no token in what {who} says: check credential_source.format"))
}

async fn operators_file(path: &str) -> Result<SecretBytes, Error> {
    let unreadable = || Error::invalid(format!("{OPERATORS_FILE} leads to a file that can't be read here"));
    let size = tokio::fs::metadata(path).await.map_err(|_| unreadable())?.len();
    if size > LARGEST_FILE {
        return Err(unreadable());
    }
    tokio::fs::read(path).await.map(SecretBytes::new).map_err(|_| unreadable())
}
