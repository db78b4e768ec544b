//! GCRAccessToken: an access token, for Google's registries.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use keyferry_provider_core::{
    BuildContext, Built, Error, Generator, GeneratorRegistration, Keep, Made, SecretBytes, State, Term, filled,
};
use keyferry_provider_gcp_common::endpoints::GOOGLE;
use keyferry_provider_gcp_common::{Api, Auth, AuthSpec, Host, Identity, Login, endpoint};
use serde::Deserialize;

/// Access tokens.
pub const GCR: GeneratorRegistration =
    GeneratorRegistration { kind: "GCRAccessToken", field: "gcrAccessTokenSpec", has_state: false, build };

/// What metrics call it.
const PROVIDER: &str = "GCP/AccessToken";

#[derive(Deserialize)]
struct Spec {
    auth: Option<AuthSpec>,
    #[serde(rename = "projectID")]
    project: Option<String>,
}

struct Gcr {
    spec: serde_json::Value,
    ctx: BuildContext,
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    Ok(Arc::new(Gcr { spec: spec.clone(), ctx }))
}

#[async_trait]
impl Generator for Gcr {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(&self.spec)
            .map_err(|_| Error::invalid("spec is not of the form that a GCRAccessToken has"))?;
        let mut auth = Auth::new(spec.auth, "spec.auth")?;
        if let Identity::Cluster(cluster) = &mut auth.identity {
            // As in External Secrets Operator the cluster is of the same project, unless the spec says otherwise.
            cluster.project = cluster.project.take().or(filled(spec.project));
        }
        let way = endpoint(Api::Tokens, None, &self.ctx.environment)?;
        let host = Host::new(way, GOOGLE, &self.ctx.addresses, &self.ctx, PROVIDER)?;
        let login = Login::new(auth, &self.ctx, &host, PROVIDER).await?;
        let access = login.token().await?;
        let seconds = access.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let values: [(&str, SecretBytes); 3] = [
            ("username", "oauth2accesstoken".into()),
            ("password", access.token.clone()),
            ("expiry", seconds.to_string().as_str().into()),
        ];
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(Made { values, state: None, term: Some(Term { end: access.until, renews: false }) })
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}
