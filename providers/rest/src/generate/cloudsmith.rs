//! CloudsmithAccessToken: a token of a service that believes the tokens of a ServiceAccount; it ends by itself.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Built, Error, ErrorKind, Generator, GeneratorRegistration, Keep, Made, ServiceAccountRef, State,
    Term, filled,
};
use keyferry_provider_http::{Ca, Fields, secure_url};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::proof::{end_of, pair, read, secret_at, values};
use crate::client::{Call, Client, Said, Vendor, segment};
use crate::config::{needed, needed_text};
use crate::object::{Object, with_text};

/// How the registry knows it.
pub const REGISTRATION: GeneratorRegistration = GeneratorRegistration {
    kind: "CloudsmithAccessToken",
    field: "cloudsmithAccessTokenSpec",
    has_state: false,
    build,
};

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Cloudsmith { spec: read(spec, "CloudsmithAccessToken")?, ctx }))
}

const CLOUDSMITH: Vendor = Vendor {
    name: "Cloudsmith",
    metric: "Cloudsmith",
    fields: Fields { server: "spec.apiUrl", ca: "the certificates of the system", identity: "spec.apiUrl" },
    login: "the OpenID Connect provider of spec.orgSlug, and spec.serviceSlug",
    says: |answer| (answer.status == 404).then_some(Said::Nowhere("spec.orgSlug")),
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    api_url: Option<String>,
    org_slug: Option<String>,
    service_slug: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
}

struct Cloudsmith {
    spec: Spec,
    ctx: BuildContext,
}

#[async_trait]
impl Generator for Cloudsmith {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let field = "spec.serviceAccountRef";
        let account = needed(self.spec.service_account_ref.as_ref(), field)?;
        let organisation = needed_text(self.spec.org_slug.clone(), "spec.orgSlug")?;
        let service = needed_text(self.spec.service_slug.clone(), "spec.serviceSlug")?;
        let url = filled(self.spec.api_url.clone()).unwrap_or_else(|| "https://api.cloudsmith.io".to_owned());
        let url = secure_url(&url, "spec.apiUrl", "https://api.cloudsmith.io")?;
        let shown = self.ctx.credentials.service_account_token(account, &[]).await;
        let shown = shown.map_err(|error| error.context(field))?;
        let client = Client::new(&CLOUDSMITH, url, &Ca::System, &self.ctx).await?;
        let body = with_text(&Object::new().text("service_slug", &service).done(), "oidc_token", &shown.secret);
        let path = format!("openid/{}/", segment(&organisation)?);
        let call = Call::send("ExchangeToken", Method::POST, path, body);
        let answer = client.send(&call, &HeaderMap::new()).await?;
        if !answer.is_good() {
            return Err(match answer.status {
                404 => client.refusal(&answer, &"the organisation"),
                _ => client.login_refusal(&answer),
            });
        }
        let token = secret_at(&answer.body, "token").ok_or_else(|| client.malformed(&answer))?;
        let no_end = || Error::new(ErrorKind::Malformed, "Cloudsmith gave a token that does not say when it ends");
        let (end, seconds) = end_of(&token).ok_or_else(no_end)?;
        let values = values([("auth", pair("token", &token)), ("expiry", seconds.to_string().as_str().into())]);
        Ok(Made { values, state: None, term: Some(Term { end, renews: false }) })
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}
