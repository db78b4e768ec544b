//! Who we are to the servers: an access key of the user's, or one that STS lends for a role, by the token that the cluster
//! gives the operator.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{
    Blame, BuildContext, Credentials, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef, json,
};
use keyferry_provider_session::{Grant, Life, Session, Source};

use crate::answers;
use crate::client::{Call, Client, Response};
use crate::config::{Method, Role};
use crate::sign::{AccessKey, parameter};

/// The largest token that is read.
const LARGEST_TOKEN: u64 = 64 << 10;

/// A client, logged in.
pub struct Login {
    client: Client,
    session: Session<AccessKey>,
}

/// An access key of the user's.
struct Key {
    credentials: Arc<dyn Credentials>,
    id: SecretRef,
    secret: SecretRef,
}

#[async_trait]
impl Source<AccessKey> for Key {
    async fn get(&self) -> Result<Grant<AccessKey>, Error> {
        let (id, secret) = tokio::try_join!(
            self.text(&self.id, "accessKeyIDSecretRef"),
            self.text(&self.secret, "accessKeySecretSecretRef")
        )?;
        Ok(Grant { value: AccessKey { id, secret, token: None }, life: Life::ENDLESS })
    }
}

impl Key {
    /// A text, without the end of the line that files often have.
    async fn text(&self, reference: &SecretRef, field: &str) -> Result<SecretBytes, Error> {
        let field = format!("spec.provider.alibaba.auth.secretRef.{field}");
        let secret = self.credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
        let text = secret.expose_str().map(str::trim).filter(|text| !text.is_empty());
        text.map(SecretBytes::from).ok_or_else(|| Error::invalid(format!("{field}: the secret is empty or no text")))
    }
}

/// A key that is lent for a role.
struct Lent {
    sts: Client,
    role: Box<Role>,
}

#[async_trait]
impl Source<AccessKey> for Lent {
    async fn get(&self) -> Result<Grant<AccessKey>, Error> {
        let token = token(&self.role.token_file).await?;
        let mut form = SecretBuf::default();
        for (name, value) in [
            ("RoleArn", self.role.role.as_str()),
            ("OIDCProviderArn", self.role.provider.as_str()),
            ("RoleSessionName", self.role.session.as_str()),
        ] {
            form.extend(format!("{name}={}&", parameter(value)).as_bytes());
        }
        form.extend(b"OIDCToken=");
        // Its letters, digits, dots, dashes and underscores stand for themselves.
        form.extend(token.expose());
        let query = vec![("Format", "JSON".to_owned())];
        let call = Call { action: "AssumeRoleWithOIDC", version: "2015-04-01", query, form: form.into() };
        let answer = self.sts.send(&call, None).await?;
        match answer.status {
            200 => lent(&answer).ok_or_else(|| self.sts.malformed(&answer)),
            _ => Err(self.refused(&answer)),
        }
    }
}

impl Lent {
    /// What STS refuses for now stays that; whatever else it says is about the role and the token.
    fn refused(&self, answer: &Response) -> Error {
        let refusal = self.sts.refusal(answer, &"the role");
        if refusal.is_temporary() || refusal.kind() == ErrorKind::Malformed {
            return refusal;
        }
        let message = "STS does not lend us the role: check what is named in spec.provider.alibaba.auth.rrsa, and that \
                       the role trusts the cluster and the operator's ServiceAccount";
        Error::new(ErrorKind::Unauthenticated, message)
    }
}

/// The token that the cluster keeps current in a file.
async fn token(file: &str) -> Result<SecretBytes, Error> {
    let field = "spec.provider.alibaba.auth.rrsa.oidcTokenFilePath";
    let wrong = |problem: &str| Error::invalid(format!("{field}: {problem}"));
    let metadata = tokio::fs::metadata(file).await.map_err(|_| wrong("there is no such file in the operator's Pod"))?;
    if !metadata.is_file() || metadata.len() > LARGEST_TOKEN {
        return Err(wrong("the file is none that holds a token"));
    }
    let bytes = tokio::fs::read(file).await.map(SecretBytes::new);
    let bytes = bytes.map_err(|_| wrong("the file can't be read"))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let text = bytes.expose_str().map(str::trim).filter(|text| !text.is_empty() && text.chars().all(is_part));
    text.map(SecretBytes::from).ok_or_else(|| wrong("the file is none that holds a token"))
}

/// Reads `{"Credentials": {"AccessKeyId": .., "AccessKeySecret": .., "SecurityToken": .., "Expiration": ..}}`.
fn lent(answer: &Response) -> Option<Grant<AccessKey>> {
    let fields = json::object(answer.body.expose())?;
    let fields = json::object(fields.get("Credentials")?.get().as_bytes())?;
    let text = |name: &str| fields.get(name).map(|raw| json::to_bytes(raw)).filter(|text| !text.is_empty());
    let end = answers::time(text("Expiration")?.expose_str()?)?;
    let value =
        AccessKey { id: text("AccessKeyId")?, secret: text("AccessKeySecret")?, token: Some(text("SecurityToken")?) };
    Some(Grant { value, life: Life::until(SystemTime::from(end)) })
}

impl Login {
    /// Gets the key: a store whose credentials are wrong says so when it is built.
    pub async fn new(client: Client, ctx: BuildContext, method: Method) -> Result<Self, Error> {
        let session = match method {
            Method::Key { id, secret } => Session::new(Key { credentials: ctx.credentials, id, secret }),
            Method::Role(_) if !ctx.ambient_identity => {
                let message = "spec.provider.alibaba.auth.rrsa is the operator's own identity, which is not lent to stores \
                               of a namespace: use a ClusterSecretStore, or secretRef";
                return Err(Error::invalid(message).with_blame(Blame::Spec));
            }
            Method::Role(role) => Session::new(Lent { sts: Client::new(&role.sts, &ctx)?, role }),
        };
        session.get().await?;
        Ok(Self { client, session })
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call; where the key seems to have been replaced, once more with what there is then.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let is_refused = |answer: &Response| {
            answer.status >= 400 && self.client.refusal(answer, &"").kind() == ErrorKind::Unauthenticated
        };
        self.session.call(async |key| self.client.send(call, Some(&key)).await, is_refused).await
    }
}
