//! A machine of Oracle's cloud logs in by the certificate that the cloud gave it: for that it is given a token, with which it
//! signs as a user does with a key of its own.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, filled, json};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_identity::cloud::Shown;
use keyferry_provider_identity::principal::{self, SessionKey};
use keyferry_provider_session::{Grant, Life, Source};
use reqwest::Method;

use super::{ENDPOINT, VENDOR};
use crate::client::{Call, Client, Said, Vendor};
use crate::cloud::Machine;
use crate::login::{Pass, signed};
use crate::object::{at, text_at};

/// What messages call the field that has it log in so.
const FIELD: &str = "spec.provider.oracle.principalType";

/// Who gives tokens.
const IAM: Vendor = Vendor {
    name: "Oracle Cloud Infrastructure",
    fields: Fields { server: "the region of the machine", ..VENDOR.fields },
    login: "the dynamic group that the machine is to be in",
    says: |_| None::<Said>,
    ..VENDOR
};

/// Where tokens come from.
#[derive(Clone)]
pub struct Login {
    metadata: Arc<Machine>,
    ctx: BuildContext,
}

impl Login {
    /// As the machine that the operator runs on.
    pub async fn new(ctx: &BuildContext) -> Result<Self, Error> {
        let shown = Shown { field: FIELD, ctx, is_to_named_server: false };
        Ok(Self { metadata: Machine::oracle(&shown).await?, ctx: ctx.clone() })
    }

    /// The way to who gives tokens, which is where the machine is and not where the vault is.
    async fn iam(&self) -> Result<Client, Error> {
        let told = self.metadata.of_oracle("instance/regionInfo").await?;
        let is_domain = |domain: &String| domain.split('.').all(is_label);
        let region = text_at(&told, &["regionIdentifier"]).filter(|region| is_label(region));
        let domain = text_at(&told, &["realmDomainComponent"]).filter(is_domain);
        let (Some(region), Some(domain)) = (region, domain) else {
            let message = "the metadata service of Oracle's cloud does not tell the machine's region";
            return Err(Error::new(ErrorKind::Malformed, message));
        };
        let own = format!("https://auth.{region}.{domain}");
        let url = filled((self.ctx.environment)(ENDPOINT)).unwrap_or_else(|| own.clone());
        Client::new(&IAM, server_url(&url, ENDPOINT, &own)?, &Ca::System, &self.ctx).await
    }
}

#[async_trait]
impl Source<Pass> for Login {
    async fn get(&self) -> Result<Grant<Pass>, Error> {
        let certificate = self.metadata.of_oracle("identity/cert.pem").await?;
        let key = self.metadata.of_oracle("identity/key.pem").await?;
        let issuer = self.metadata.of_oracle("identity/intermediate.pem").await?;
        let machine = principal::Machine::new(&certificate, &key, &issuer)?;
        let (iam, session) = (self.iam().await?, SessionKey::new()?);
        let call = Call::send("Login", Method::POST, "v1/x509", machine.question(&session)?);
        let answer = iam.send(&call, &signed(machine.signer(), &iam, &call)?).await?;
        if !answer.is_good() {
            return Err(iam.login_refusal(&answer));
        }
        let malformed = || iam.malformed(&answer);
        let token = at(answer.body.expose(), &["token"]).map(json::to_bytes).ok_or_else(malformed)?;
        let (end, _) = crate::generate::end_of(&token).ok_or_else(malformed)?;
        let life = end.duration_since(SystemTime::now()).unwrap_or_default();
        Ok(Grant { value: Pass::Signed(session.signer(&token)), life: Life::of(life) })
    }
}
