//! Infisical: secrets of one environment of a project, in folders.
//!
//! A key is a name below `secretsPath`, or a path: from the root where it begins with a slash, else from there. Imported
//! secrets are read as the project's own, and references expanded unless the store says otherwise. A secret that is found
//! in a folder is fetched from that folder.
//!
//! Modules, in reading order: `config` the spec as plain data, `login` how machines log in, `secrets` the store.

mod config;
mod login;
mod secrets;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Capabilities, ErrorKind, Metadata, Registration};
use keyferry_provider_http::Fields;

use crate::client::{Client, Response, Said, Vendor};
use crate::login::Access;
use crate::store::{Rest, note_of_login};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "infisical", capabilities: |_| CAPABILITIES, maintained: true, build };

const CAPABILITIES: Capabilities = Capabilities {
    metadata: Metadata::PassedOver,
    find_by_name: true,
    find_by_path: true,
    find_all: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

const VENDOR: Vendor = Vendor {
    name: "Infisical",
    metric: "infisical",
    fields: Fields {
        server: "spec.provider.infisical.hostAPI",
        ca: "spec.provider.infisical.caBundle or caProvider",
        identity: "spec.provider.infisical",
    },
    login: "spec.provider.infisical.auth",
    says,
};

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = config::Config::new(spec)?;
        let client = Arc::new(Client::new(&VENDOR, config.server, &config.ca, &ctx).await?);
        let note = note_of_login(config.method.is_operators_own(), config.method.is_proven());
        let is_made = config.method.is_made();
        let source = login::Login::new(client.clone(), config.method, config.scope.organization.clone(), &ctx).await?;
        let access = Access::new(client, source).await?;
        let access = Arc::new(if is_made { access.ended_by(login::ending) } else { access });
        Ok(Rest::provider(secrets::Infisical::new(access, config.scope, note)))
    })
}

/// `{"statusCode": 404, "message": "...", "error": "NotFound"}`: what is missing is told by its message alone.
fn says(answer: &Response) -> Option<Said> {
    let message = answer.word(&["message"])?;
    match answer.status {
        404 if message.starts_with("Secret ") => Some(Said::NoSecret),
        404 if message.starts_with("Folder ") => {
            Some(Said::Nowhere("spec.provider.infisical.secretsScope.secretsPath"))
        }
        404 if message.starts_with("Environment ") => {
            Some(Said::Nowhere("spec.provider.infisical.secretsScope.environmentSlug"))
        }
        404 if message.starts_with("Project ") => {
            Some(Said::Nowhere("spec.provider.infisical.secretsScope.projectSlug"))
        }
        // A change that somebody has to approve first.
        400 if message.contains("approval") => {
            Some(Said::Other(ErrorKind::Denied, "changes of this folder need somebody's approval"))
        }
        _ => None,
    }
}
