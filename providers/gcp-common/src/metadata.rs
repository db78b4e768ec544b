//! The server that tells a machine of Google about itself: which project and cluster it is of, and as whom it may act.

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes};
use keyferry_provider_http::{Fields, server_url};
use reqwest::header::{HeaderName, HeaderValue};

use crate::host::{Call, Host};

/// Where it is: by its address, as Google's own clients ask, since a name could be anybody's.
const ADDRESS: &str = "169.254.169.254";

/// Leads elsewhere; the variable of Google's own clients.
const VARIABLE: &str = "GCE_METADATA_HOST";

const FIELDS: Fields = Fields {
    server: "whether the operator runs on a machine of Google Cloud",
    ca: "the certificates of the system",
    identity: "the metadata server",
};

/// The metadata server.
pub struct Metadata(Host);

impl Metadata {
    /// The one of the operator's machine. It is Google's, or the environment's: no spec leads there, so that no rule about
    /// the addresses of a store applies. Connects nowhere yet.
    ///
    /// # Errors
    /// `Invalid` where the environment names something that is no server.
    pub fn new(ctx: &BuildContext, provider: &'static str) -> Result<Self, Error> {
        let place = (ctx.environment)(VARIABLE).filter(|text| !text.is_empty());
        let server = format!("http://{}", place.as_deref().unwrap_or(ADDRESS));
        let server = server_url(&server, VARIABLE, ADDRESS)?;
        Ok(Self(Host::new(server, FIELDS, &Addresses::anywhere(), ctx, provider)?))
    }

    /// The id of the project that the machine is of.
    ///
    /// # Errors
    /// `field` is what the spec could say instead, for messages.
    pub async fn project(&self, field: &str) -> Result<String, Error> {
        self.text("project/project-id", field).await
    }

    /// Where the cluster is that the machine is of.
    ///
    /// # Errors
    /// As [`Metadata::project`].
    pub async fn cluster_location(&self, field: &str) -> Result<String, Error> {
        self.text("instance/attributes/cluster-location", field).await
    }

    /// What that cluster is called.
    ///
    /// # Errors
    /// As [`Metadata::project`].
    pub async fn cluster_name(&self, field: &str) -> Result<String, Error> {
        self.text("instance/attributes/cluster-name", field).await
    }

    /// What it answers about a token of the machine's own service account.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn token(&self, scope: &str) -> Result<SecretBytes, Error> {
        let call = self.call("instance/service-accounts/default/token").ask("scopes", scope);
        let answer = self.0.send(&call, None).await.map_err(|error| {
            error.context("the operator has no Google identity of its own here, and the store names none")
        })?;
        match answer.status {
            200 if answer.is_metadata => Ok(answer.body),
            404 if answer.is_metadata => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the operator's machine has no service account of Google: set auth, or give it one",
            )),
            403 if answer.is_metadata => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the operator's ServiceAccount may not act as the service account that it is annotated with: grant it \
                 roles/iam.workloadIdentityUser",
            )),
            _ => Err(self.0.problem(&answer)),
        }
    }

    async fn text(&self, path: &str, field: &str) -> Result<String, Error> {
        let hint = format!("{field} is not set, and the metadata server of Google does not tell it");
        let answer = self.0.send(&self.call(path), None).await.map_err(|error| error.context(&hint))?;
        let text = answer.body.expose_str().map(str::trim).filter(|text| is_name(text)).map(str::to_owned);
        match (answer.status, text) {
            (200, Some(text)) if answer.is_metadata => Ok(text),
            (404, _) if answer.is_metadata => Err(Error::invalid(hint)),
            _ => Err(self.0.problem(&answer).context(hint)),
        }
    }

    fn call(&self, path: &str) -> Call {
        let mut call = Call::get("ReadMetadata", format!("computeMetadata/v1/{path}"));
        let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
        call.headers.push(flavor);
        call
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    !text.is_empty() && text.bytes().all(fits)
}
