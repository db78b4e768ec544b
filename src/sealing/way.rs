//! The way to the operator's sealing keys, for people: a file, a URL, or through the API server.

use clap::Args;
use keyferry_cluster::connection::Connection;
use keyferry_sealing::PublicKey;
use std::path::{Path, PathBuf};

use super::remote::Remote;

/// Flags of the way.
#[derive(Args, Debug, Default)]
pub struct Way {
    /// Ask the operator at this URL (http://... of --seal-listen) for its certificate, or take it from this file; without it, the
    /// Service is asked through the API server
    #[arg(long, value_name = "FILE|URL")]
    pub cert: Option<String>,
    /// Authorities to trust of a URL of https, in PEM
    #[arg(long, value_name = "FILE")]
    pub cert_authority: Option<PathBuf>,
    /// Namespace of the Service
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    pub controller_namespace: String,
    /// Name of the Service
    #[arg(long, default_value = "sealed-secrets-controller", value_name = "NAME")]
    pub controller_name: String,
    /// The cluster of the Service.
    #[command(flatten)]
    pub connection: Connection,
}

impl Way {
    /// The operator.
    pub async fn operator(&self) -> Result<Remote, String> {
        match &self.cert {
            Some(url) if is_url(url) => Remote::at(url, self.cert_authority.as_deref(), None),
            Some(_) => Err("--cert names a file, and only the operator can do this: name its URL".to_owned()),
            None => {
                let other = |problem| format!("{problem}; or say by --cert where the operator's certificate is");
                let client = self.connection.client().await.map_err(other)?;
                Ok(Remote::behind(client, &self.controller_namespace, &self.controller_name).await)
            }
        }
    }

    /// What seals.
    pub async fn public_key(&self) -> Result<PublicKey, String> {
        let file = self.cert.as_deref().filter(|cert| !is_url(cert));
        let (text, name) = match file {
            Some(file) => {
                let text =
                    std::fs::read(Path::new(file)).map_err(|error| format!("can't read {file}: {}", error.kind()))?;
                (text, file.to_owned())
            }
            None => (self.operator().await?.certificate().await?.into_bytes(), "the operator".to_owned()),
        };
        PublicKey::of_certificate(&text).map_err(|error| format!("{name}: {error}"))
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}
