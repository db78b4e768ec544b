//! The managed identity of the operator's own machine: its metadata service gives tokens to whoever asks from there.

use async_trait::async_trait;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, json};
use keyferry_provider_http::{Fields, Way, server_url};
use keyferry_provider_session::{Grant, Source};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use crate::endpoint::{Answer, Endpoint};

/// Where every machine of Azure has it. The variable is the one by which Azure's own clients are led elsewhere.
const SERVICE: &str = "http://169.254.169.254";
const SERVICE_VARIABLE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";

/// Where App Service, Container Apps and their like have it, and what they want to be shown.
const ENDPOINT_VARIABLE: &str = "IDENTITY_ENDPOINT";
const HEADER_VARIABLE: &str = "IDENTITY_HEADER";

const FIELDS: Fields = Fields {
    server: "whether the operator runs on a machine of Azure with a managed identity",
    ca: "the certificates of the system",
    identity: "the operator's machine",
};

/// A machine, ready to be asked.
pub struct Machine {
    endpoint: Endpoint,
    url: Url,
    header: (HeaderName, HeaderValue),
    /// Where the spec says which identity is meant.
    field: &'static str,
}

impl Machine {
    /// The machine that `ctx` is about, for tokens for `resource`; `client` is the identity that is meant, where there are
    /// several.
    pub fn new(
        resource: &str,
        client: Option<&str>,
        field: &'static str,
        ctx: &BuildContext,
        provider: &'static str,
    ) -> Result<Self, Error> {
        let variable = |name: &str| (ctx.environment)(name).filter(|value| !value.is_empty());
        let (server, version, header) = match (variable(ENDPOINT_VARIABLE), variable(HEADER_VARIABLE)) {
            (Some(server), Some(shown)) => {
                let mut shown = HeaderValue::from_str(&shown).map_err(|_| {
                    Error::invalid(format!("the variable {HEADER_VARIABLE} of the operator can't be sent in a header"))
                })?;
                shown.set_sensitive(true);
                (server, "2019-08-01", (HeaderName::from_static("x-identity-header"), shown))
            }
            _ => {
                let server = variable(SERVICE_VARIABLE).unwrap_or_else(|| SERVICE.to_owned());
                let server = format!("{}/metadata/identity/oauth2/token", server.trim_end_matches('/'));
                (server, "2018-02-01", (HeaderName::from_static("metadata"), HeaderValue::from_static("true")))
            }
        };
        let server = server_url(&server, "the operator's variable for its machine's identities", SERVICE)?;
        let mut url = server.clone();
        url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
        if let Some(client) = client {
            // One that somebody made goes by the id of its application, or by its place in Azure.
            let name = if client.contains('/') { "msi_res_id" } else { "client_id" };
            url.query_pairs_mut().append_pair(name, client);
        }
        // The operator's own matter, and not the spec's: no rule about where a spec may lead holds for it.
        let endpoint = Endpoint::new(Way::new(server, FIELDS), &Addresses::anywhere(), ctx, provider)?;
        Ok(Self { endpoint, url, header, field })
    }

    fn refusal(&self, answer: &Answer) -> Error {
        let host = self.endpoint.way.host();
        match answer.status {
            // It is being set up, or brought up to date.
            404 | 410 => Error::new(ErrorKind::Unavailable, format!("{host} has no tokens to give at the moment"))
                .with_retry_after(answer.retry_after),
            400 | 403 if is_oauth(answer) => Error::new(
                ErrorKind::Unauthenticated,
                format!(
                    "the operator's machine has no such managed identity: assign one to it, and check {}",
                    self.field
                ),
            ),
            _ => self.endpoint.status_error(answer).unwrap_or_else(|| self.endpoint.malformed(answer)),
        }
    }
}

/// Whether an answer is one that the service gives: a proxy's says nothing of identities.
fn is_oauth(answer: &Answer) -> bool {
    json::object(answer.body.expose())
        .is_some_and(|fields| fields.contains_key("error") || fields.contains_key("statusCode"))
}

#[async_trait]
impl Source<HeaderValue> for Machine {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        let (name, value) = self.header.clone();
        let answer = self.endpoint.ask(|http| http.get(self.url.clone()).header(name, value)).await?;
        if answer.status == 200 { self.endpoint.token(&answer) } else { Err(self.refusal(&answer)) }
    }
}
