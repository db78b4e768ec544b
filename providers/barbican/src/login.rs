//! Who we are. Keystone gives a token, and says where Barbican is; a session holds both, and has others before the token
//! ends, or when Barbican refuses it.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Credentials, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef, filled, json,
};
use keyferry_provider_http::{Fields, Way, server_url};
use keyferry_provider_session::{Grant, Held, Life, Session, Source};
use reqwest::header::HeaderValue;
use tokio::runtime::Handle;

use crate::answers::{self, Told};
use crate::client::{Call, Client, Means, Response};
use crate::config::{self, Config, Method};

/// What messages call the way to Barbican: the spec has no field for it.
const FIELDS: Fields = Fields {
    server: "the endpoint of the key manager in Keystone's catalog",
    ca: "the certificates of the system",
    identity: "spec.provider.barbican",
};

/// The store's part of a session: calls to Barbican are made with it.
pub struct Login {
    session: Session<Entry>,
    keystone: Arc<Client>,
}

/// What calls are made with.
pub struct Entry {
    /// The way to Barbican.
    pub client: Client,
    token: HeaderValue,
}

/// Where tokens come from.
struct Keystone {
    client: Arc<Client>,
    means: Means,
    credentials: Arc<dyn Credentials>,
    method: Method,
    region: Option<String>,
}

impl Keystone {
    /// A text of a secret, without the end of the line that files often have.
    async fn text(&self, reference: &SecretRef, field: &str) -> Result<SecretBytes, Error> {
        let field = format!("spec.provider.barbican.auth.{field}.secretRef");
        let secret = self.credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
        let text = secret.expose_str().map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        text.map(SecretBytes::from).ok_or_else(|| Error::invalid(format!("{field}: the secret is empty or no text")))
    }

    async fn named(&self, source: &config::Source, field: &str) -> Result<SecretBytes, Error> {
        match source {
            config::Source::Plain(text) => Ok(text.as_str().into()),
            config::Source::Ref(reference) => self.text(reference, field).await,
        }
    }

    /// The body of a login.
    async fn body(&self) -> Result<SecretBytes, Error> {
        let mut out = Json::default();
        match &self.method {
            Method::Password { user, password, domain, project } => {
                let (user, password) = tokio::try_join!(self.named(user, "username"), self.text(password, "password"))?;
                out.raw(r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"#);
                out.text(&user).raw(r#","domain":{"name":"#).text(&domain.as_str().into());
                out.raw(r#"},"password":"#).text(&password).raw("}}}");
                if let Some(project) = project {
                    out.raw(r#","scope":{"project":{"name":"#).text(&project.as_str().into());
                    out.raw(r#","domain":{"name":"#).text(&domain.as_str().into()).raw("}}}");
                }
                out.raw("}}");
            }
            Method::Application { id, secret } => {
                let (id, secret) = tokio::try_join!(
                    self.named(id, "applicationCredentialID"),
                    self.text(secret, "applicationCredentialSecret")
                )?;
                out.raw(r#"{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"#);
                out.text(&id).raw(r#","secret":"#).text(&secret).raw("}}}}");
            }
        }
        Ok(out.0.into())
    }

    fn entry(&self, answer: &Response, told: &Told) -> Result<Entry, Error> {
        let fits = |(region, _): &&(String, String)| self.region.as_ref().is_none_or(|wanted| region == wanted);
        let Some((_, url)) = told.endpoints.iter().find(fits) else {
            let region = self.region.as_ref().map(|region| format!(" in region {region:?}")).unwrap_or_default();
            let message = format!(
                "Keystone's catalog has no public endpoint of a key manager{region}: check spec.provider.barbican.region and \
                 the project that the login is of"
            );
            return Err(Error::invalid(message));
        };
        let mut server = server_url(url, FIELDS.server, "https://barbican.example.com:9311")?;
        let path = server.path().trim_end_matches('/').to_owned();
        server.set_path(&if path.ends_with("/v1") { path } else { format!("{path}/v1") });
        let mut token = answer.headers.get("x-subject-token").cloned().ok_or_else(|| self.client.malformed(answer))?;
        token.set_sensitive(true);
        Ok(Entry { client: Client::new(Way::new(server, FIELDS), self.means.clone())?, token })
    }
}

/// JSON in the making, which holds a password.
#[derive(Default)]
struct Json(SecretBuf);

impl Json {
    fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend(text.as_bytes());
        self
    }

    fn text(&mut self, text: &SecretBytes) -> &mut Self {
        json::write_string(text.expose_str().unwrap_or_default(), &mut self.0);
        self
    }
}

#[async_trait]
impl Source<Entry> for Keystone {
    async fn get(&self) -> Result<Grant<Entry>, Error> {
        let call = Call { body: Some(self.body().await?), ..Call::get("Authenticate", "auth/tokens".to_owned()) };
        let answer = self.client.send(&call, None).await?;
        match answer.status {
            201 => {
                let told = answers::told(&answer.body).ok_or_else(|| self.client.malformed(&answer))?;
                let life = Life::until(SystemTime::from(told.end));
                Ok(Grant { value: self.entry(&answer, &told)?, life })
            }
            401 => {
                let message = "Keystone refuses the login: check what is named in spec.provider.barbican.auth, its domain and \
                               its project";
                Err(Error::new(ErrorKind::Unauthenticated, message))
            }
            _ => Err(self.client.refusal(&answer, &"the login").no_reason_to_delete()),
        }
    }
}

impl Login {
    /// Logs in: a store whose credentials are wrong says so when it is built.
    pub async fn new(config: Config, ctx: BuildContext) -> Result<Self, Error> {
        let means = Means::new(&ctx);
        let keystone = Arc::new(Client::new(config.keystone, means.clone())?);
        let session = Session::new(Keystone {
            client: keystone.clone(),
            means,
            credentials: ctx.credentials,
            method: config.method,
            region: filled(config.region),
        });
        session.get().await?;
        Ok(Self { session, keystone })
    }

    /// Makes a call; where a token seems to have ended early, once more with another. Gives the answer to `read`, with the
    /// client that it is from, for its errors.
    pub async fn send<T>(
        &self,
        call: &Call,
        read: impl FnOnce(&Client, Response) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let make = async |entry: Held<Entry>| {
            let answer = entry.client.send(call, Some(&entry.token)).await?;
            Ok((entry, answer))
        };
        let (entry, answer) = self.session.call(make, |(_, answer)| answer.status == 401).await?;
        read(&entry.client, answer)
    }
}

/// A token is of no use to anybody once the store is gone. Nobody waits for its end, and what comes of it changes nothing.
impl Drop for Login {
    fn drop(&mut self) {
        let (Some(entry), Ok(runtime)) = (self.session.held(), Handle::try_current()) else { return };
        let keystone = self.keystone.clone();
        runtime.spawn(async move { keystone.end(&entry.token).await });
    }
}
