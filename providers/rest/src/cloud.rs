//! Who the operator itself is to the cloud that it runs in: a token of the cloud's metadata server, or its identity in AWS,
//! for vendors that take one in place of a secret. Only for stores that may use the operator's own identity.

use std::sync::Arc;

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes, filled, json};
use keyferry_provider_http::{Ca, Fields, server_url};
use keyferry_provider_identity::aws::{Aws, AwsIdentity};
use keyferry_provider_identity::cloud::Shown;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::client::{Call, Client, Said, Vendor};
use crate::object;

/// Azure's instance metadata service.
const AZURE: Vendor = Vendor {
    name: "Azure's metadata service",
    metric: "Azure/Metadata",
    fields: Fields {
        server: "the environment variable AZURE_POD_IDENTITY_AUTHORITY_HOST",
        ca: "the certificates of the system",
        identity: "the identity of the machine",
    },
    login: "the identity of the machine",
    says: |_| None::<Said>,
};

/// Google's metadata server.
const GOOGLE: Vendor = Vendor {
    name: "Google's metadata server",
    metric: "GCP/Metadata",
    fields: Fields { server: "the environment variable GCE_METADATA_HOST", ..AZURE.fields },
    ..AZURE
};

/// The metadata service of Oracle's cloud.
const ORACLE: Vendor = Vendor {
    name: "the metadata service of Oracle's cloud",
    metric: "Oracle/Metadata",
    fields: Fields { server: "the environment variable OCI_METADATA_BASE_URL", ..AZURE.fields },
    ..AZURE
};

/// Whether a store may log in as the operator itself, at this server.
///
/// # Errors
/// `Denied` where it may not.
pub fn may_be_operator(shown: &Shown<'_>) -> Result<(), Error> {
    if shown.ctx.ambient_identity {
        return shown.check_server();
    }
    let message = format!("{} logs in as the operator itself, which this store may not", shown.field);
    Err(Error::new(ErrorKind::Denied, message).with_hint("use another login, or a ClusterSecretStore"))
}

/// The operator itself at AWS, whose word is asked for in this region.
pub fn operator_at_aws(region: &str) -> Aws {
    Aws {
        region: region.to_owned(),
        role: None,
        external_id: None,
        session: "keyferry",
        instead: "use another login",
        identity: AwsIdentity::Operator,
    }
}

/// The metadata server of a cloud.
pub struct Machine {
    client: Client,
}

impl Machine {
    /// Azure's, for managed identities.
    ///
    /// # Errors
    /// `Denied` where the store may not be used as the operator itself.
    pub async fn azure(shown: &Shown<'_>) -> Result<Arc<Self>, Error> {
        Self::of(&AZURE, shown, "AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254").await
    }

    /// Google's, for the service account of a machine or a pod.
    ///
    /// # Errors
    /// As [`azure`](Self::azure).
    pub async fn google(shown: &Shown<'_>) -> Result<Arc<Self>, Error> {
        Self::of(&GOOGLE, shown, "GCE_METADATA_HOST", "http://metadata.google.internal").await
    }

    /// Oracle's, for the principal of a machine.
    ///
    /// # Errors
    /// As [`azure`](Self::azure).
    pub async fn oracle(shown: &Shown<'_>) -> Result<Arc<Self>, Error> {
        Self::of(&ORACLE, shown, "OCI_METADATA_BASE_URL", "http://169.254.169.254/opc/v2").await
    }

    async fn of(vendor: &'static Vendor, shown: &Shown<'_>, variable: &str, default: &str) -> Result<Arc<Self>, Error> {
        may_be_operator(shown)?;
        let ctx = shown.ctx;
        let host = filled((ctx.environment)(variable)).unwrap_or_else(|| default.to_owned());
        let host = if host.contains("://") { host } else { format!("http://{host}") };
        let server = server_url(&host, vendor.fields.server, default)?;
        // The metadata server is where no store leads; it is asked by us, and for nothing that a store names.
        let own = BuildContext { addresses: Addresses::anywhere(), ..ctx.clone() };
        Ok(Arc::new(Self { client: Client::new(vendor, server, &Ca::System, &own).await? }))
    }

    /// An access token of a managed identity for `resource`; of the one with this object id, where one is given.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn access_token(&self, resource: &str, object: Option<&str>) -> Result<SecretBytes, Error> {
        let query = [("api-version", "2018-02-01".to_owned()), ("resource", resource.to_owned())];
        let object = object.map(|object| ("object_id", object.to_owned()));
        let call = Call::get("GetToken", "metadata/identity/oauth2/token").with(query).with(object);
        let body = self.ask(&call, "metadata", "true").await?;
        let token = object::at(body.expose(), &["access_token"]).map(json::to_bytes);
        token.ok_or_else(|| Error::new(ErrorKind::Malformed, "Azure's metadata service answers without a token"))
    }

    /// An identity token of the service account for `audience`.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn identity_token(&self, audience: &str) -> Result<SecretBytes, Error> {
        let query = [("audience", audience.to_owned()), ("format", "full".to_owned())];
        let path = "computeMetadata/v1/instance/service-accounts/default/identity";
        self.ask(&Call { accept: "*/*", ..Call::get("GetIdentity", path) }.with(query), "metadata-flavor", "Google")
            .await
    }

    /// What Oracle's metadata service has at a path.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn of_oracle(&self, path: &str) -> Result<SecretBytes, Error> {
        let call = Call { accept: "*/*", ..Call::get("GetMetadata", path) };
        self.ask(&call, "authorization", "Bearer Oracle").await
    }

    async fn ask(&self, call: &Call, name: &'static str, value: &'static str) -> Result<SecretBytes, Error> {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        let answer = self.client.send(call, &headers).await?;
        if answer.is_good() {
            Ok(answer.body)
        } else {
            Err(self.client.refusal(&answer, &"the operator's own identity"))
        }
    }
}
