//! QuayAccessToken: a token of a robot account that believes the tokens of a ServiceAccount; it ends by itself.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Built, Error, ErrorKind, Generator, GeneratorRegistration, Keep, Made, ServiceAccountRef, State,
    Term, filled,
};
use keyferry_provider_http::{Ca, Fields, secure_url};
use serde::Deserialize;

use super::proof::{basic, end_of, pair, read, secret_at, values};
use crate::client::{Call, Client, Vendor};
use crate::config::{needed, needed_text};

/// How the registry knows it.
pub const REGISTRATION: GeneratorRegistration =
    GeneratorRegistration { kind: "QuayAccessToken", field: "quayAccessTokenSpec", has_state: false, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Quay { spec: read(spec, "QuayAccessToken")?, ctx }))
}

const QUAY: Vendor = Vendor {
    name: "Quay",
    metric: "Quay",
    fields: Fields { server: "spec.url", ca: "the certificates of the system", identity: "spec.url" },
    login: "the federation of spec.robotAccount with spec.serviceAccountRef",
    says: |_| None,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    robot_account: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
}

struct Quay {
    spec: Spec,
    ctx: BuildContext,
}

#[async_trait]
impl Generator for Quay {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let field = "spec.serviceAccountRef";
        let account = needed(self.spec.service_account_ref.as_ref(), field)?;
        let robot = needed_text(self.spec.robot_account.clone(), "spec.robotAccount")?;
        let registry = filled(self.spec.url.clone()).unwrap_or_else(|| "quay.io".to_owned());
        let registry = registry.trim_start_matches("https://").to_owned();
        let has_scheme = registry.contains("://");
        let url = if has_scheme { registry.clone() } else { format!("https://{registry}") };
        let shown = self.ctx.credentials.service_account_token(account, &[]).await;
        let shown = shown.map_err(|error| error.context(field))?;
        let client = Client::new(&QUAY, secure_url(&url, "spec.url", "quay.io")?, &Ca::System, &self.ctx).await?;
        let call = Call::get("ExchangeToken", "oauth2/federation/robot/token");
        let answer = client.send(&call, &basic(&robot, &shown.secret, field)?).await?;
        if !answer.is_good() {
            return Err(client.login_refusal(&answer));
        }
        let token = secret_at(&answer.body, "token").ok_or_else(|| client.malformed(&answer))?;
        let no_end = || Error::new(ErrorKind::Malformed, "Quay gave a token that does not say when it ends");
        let (end, seconds) = end_of(&token).ok_or_else(no_end)?;
        let values = values([
            ("registry", registry.as_str().into()),
            ("auth", pair(&robot, &token)),
            ("expiry", seconds.to_string().as_str().into()),
        ]);
        Ok(Made { values, state: None, term: Some(Term { end, renews: false }) })
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}
