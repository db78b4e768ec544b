//! GithubAccessToken: a token of an installation of a GitHub App, which ends within the hour. The App is known by what its
//! private key signs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keyferry_keys::pem;
use keyferry_provider_core::{
    BuildContext, Built, Error, Generator, GeneratorRegistration, Keep, Made, SecretBytes, SecretRef, State, Term,
    filled,
};
use keyferry_provider_http::{Ca, Fields, secure_url};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::proof::{header, read, secret_at, values};
use crate::client::{Call, Client, Said, Vendor, segment};
use crate::config::{needed, secret};
use crate::object::{Object, texts};

/// How the registry knows it.
pub const REGISTRATION: GeneratorRegistration =
    GeneratorRegistration { kind: "GithubAccessToken", field: "githubAccessTokenSpec", has_state: false, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Github { spec: checked(read(spec, "GithubAccessToken")?)?, ctx }))
}

const GITHUB: Vendor = Vendor {
    name: "GitHub",
    metric: "GitHub",
    fields: Fields { server: "spec.url", ca: "the certificates of the system", identity: "spec.url" },
    login: "spec.auth.privateKey, spec.appID and spec.installID",
    says: |answer| (answer.status == 404).then_some(Said::Nowhere("spec.installID")),
};

/// How long what is signed is good, and how far clocks may differ.
const GOOD_FOR: Duration = Duration::from_secs(300);
const SKEW: Duration = Duration::from_secs(10);

const KEY: &str = "spec.auth.privateKey.secretRef";

#[derive(Deserialize)]
struct Spec {
    url: Option<String>,
    #[serde(rename = "appID")]
    app: Option<String>,
    #[serde(rename = "appIDRef")]
    app_ref: Option<SecretRef>,
    #[serde(rename = "installID")]
    install: Option<String>,
    #[serde(rename = "installIDRef")]
    install_ref: Option<SecretRef>,
    repositories: Option<Vec<String>>,
    permissions: Option<BTreeMap<String, String>>,
    auth: Option<AuthSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    private_key: Option<KeySpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeySpec {
    secret_ref: Option<SecretRef>,
}

struct Checked {
    server: String,
    app: Id,
    install: Id,
    repositories: Vec<String>,
    permissions: Option<BTreeMap<String, String>>,
    key: SecretRef,
}

/// An id, which stands in the spec or in a Secret.
enum Id {
    Given(String),
    Kept(SecretRef),
}

fn checked(spec: Spec) -> Result<Checked, Error> {
    let one = |given: Option<String>, kept: Option<SecretRef>, field: &str| match (filled(given), kept) {
        (Some(id), None) => Ok(Id::Given(id)),
        (None, Some(reference)) => Ok(Id::Kept(reference)),
        _ => Err(Error::invalid(format!("set exactly one of spec.{field} and spec.{field}Ref"))),
    };
    let key = spec.auth.and_then(|auth| auth.private_key).and_then(|key| key.secret_ref);
    Ok(Checked {
        server: filled(spec.url).unwrap_or_else(|| "https://api.github.com".to_owned()),
        app: one(spec.app, spec.app_ref, "appID")?,
        install: one(spec.install, spec.install_ref, "installID")?,
        repositories: spec.repositories.unwrap_or_default(),
        permissions: spec.permissions,
        key: needed(key, KEY)?,
    })
}

struct Github {
    spec: Checked,
    ctx: BuildContext,
}

impl Github {
    async fn id(&self, id: &Id, field: &str) -> Result<String, Error> {
        match id {
            Id::Given(id) => Ok(id.clone()),
            Id::Kept(reference) => {
                let id = secret(&*self.ctx.credentials, reference, None, field).await?;
                Ok(id.expose_str().unwrap_or_default().to_owned())
            }
        }
    }

    fn body(&self) -> SecretBytes {
        let mut body = Object::new();
        if let Some(permissions) = &self.spec.permissions {
            let all = permissions.iter().fold(Object::new(), |all, (name, level)| all.text(name, level));
            body = body.nested("permissions", &all.done());
        }
        if !self.spec.repositories.is_empty() {
            body = body.nested("repositories", &texts(self.spec.repositories.iter().map(String::as_str)));
        }
        body.done()
    }
}

#[async_trait]
impl Generator for Github {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let app = self.id(&self.spec.app, "spec.appIDRef").await?;
        let install = self.id(&self.spec.install, "spec.installIDRef").await?;
        let key = secret(&*self.ctx.credentials, &self.spec.key, None, KEY).await?;
        let proof = signed(&key, &app, SystemTime::now())
            .ok_or_else(|| Error::invalid(format!("{KEY}: it is no RSA key in PEM, as GitHub gives it to an App")))?;
        let url = secure_url(&self.spec.server, "spec.url", "https://api.github.com")?;
        let client = Client::new(&GITHUB, url, &Ca::System, &self.ctx).await?;
        let path = format!("app/installations/{}/access_tokens", segment(&install)?);
        let mut call = Call::send("CreateInstallationToken", Method::POST, path, self.body());
        call.accept = "application/vnd.github.v3+json";
        let answer = client.send(&call, &header(AUTHORIZATION, "Bearer ", &proof, KEY)?).await?;
        if !answer.is_good() {
            return Err(client.refusal(&answer, &"the installation"));
        }
        let token = secret_at(&answer.body, "token").ok_or_else(|| client.malformed(&answer))?;
        let end = answer.word(&["expires_at"]).and_then(|end| end.parse::<Timestamp>().ok());
        let term = end.map(|end| Term { end: end.into(), renews: false });
        Ok(Made { values: values([("token", token)]), state: None, term })
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

/// What shows GitHub that we are the App: a JWT that its key signs.
pub fn signed(key: &SecretBytes, app: &str, now: SystemTime) -> Option<SecretBytes> {
    let block = pem::decode(key.expose()).0?;
    let key = KeyPair::from_der(&block.bytes).or_else(|_| KeyPair::from_pkcs8(&block.bytes)).ok()?;
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs());
    let claims = serde_json::json!({"iss": app, "iat": seconds(now - SKEW)?, "exp": seconds(now + GOOD_FOR)?});
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", encode(r#"{"alg":"RS256","typ":"JWT"}"#), encode(&claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(SecretBytes::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()))
}
