//! The token that is held, for whoever logs in.

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Error};
use keyferry_provider_http::{Fields, Way};
use keyferry_provider_session::{Grant, Held, Session, Source};
use reqwest::header::HeaderValue;

use crate::assertion::Signer;
use crate::cloud::Authority;
use crate::endpoint::Endpoint;
use crate::entra::{Credential, Entra};
use crate::identity::{Identity, Named, Proof};
use crate::machine::Machine;
use crate::tenant::{Application, no_variables};

/// The file in which the kubelet keeps a token of the operator's own pod.
const FILE_VARIABLE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// What tokens are for, and where they are given.
#[derive(Clone, Debug)]
pub struct Audience {
    /// Where they are given.
    pub authority: Authority,
    /// The service that they are for, without a slash at its end.
    pub resource: String,
    /// What messages call where the spec says where they are given.
    pub fields: Fields,
    /// What messages call the spec itself, as in `spec.provider.azurekv`.
    pub spec: &'static str,
    /// What messages call where the spec says which managed identity is meant.
    pub machine: &'static str,
    /// What metrics call whoever logs in.
    pub provider: &'static str,
}

/// Who we are to a service of Azure.
pub struct Login {
    session: Session<HeaderValue>,
    is_operator: bool,
}

enum Origin {
    Entra(Box<Entra>),
    Machine(Box<Machine>),
}

#[async_trait]
impl Source<HeaderValue> for Origin {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        match self {
            Self::Entra(entra) => entra.get().await,
            Self::Machine(machine) => machine.get().await,
        }
    }
}

impl Login {
    /// Logs in: whoever has the wrong credentials is told so when the store is built.
    ///
    /// # Errors
    /// Those of the credentials, of the way, and of whoever gives tokens.
    pub async fn new(identity: &Identity, audience: &Audience, ctx: &BuildContext) -> Result<Self, Error> {
        let is_operator = identity.is_operator();
        if is_operator && !ctx.ambient_identity {
            return Err(Error::invalid(format!(
                "{} names no credentials of its own, and --ambient-identity keeps it from using the operator's Azure \
                 identity: name some",
                audience.spec
            )));
        }
        let origin = match identity {
            Identity::Machine { client } => {
                let Audience { resource, machine, provider, .. } = audience;
                Origin::Machine(Box::new(Machine::new(resource, client.as_deref(), machine, ctx, provider)?))
            }
            Identity::Application { .. } | Identity::Federated(_) | Identity::Pod => {
                Origin::Entra(Box::new(entra(identity, audience, ctx).await?))
            }
        };
        let session = Session::new(origin);
        session.get().await?;
        Ok(Self { session, is_operator })
    }

    /// The header to make a call with.
    ///
    /// # Errors
    /// Those of a login, where one is needed.
    pub async fn get(&self) -> Result<Held<HeaderValue>, Error> {
        self.session.get().await
    }

    /// Takes note that a service refused the token of this number; whether the call is worth making once more.
    pub fn refused(&self, number: u64) -> bool {
        self.session.refused(Some(number))
    }

    /// What the store's status should say about whom it is used as.
    pub fn note(&self) -> Option<String> {
        self.is_operator
            .then(|| "it is used with the operator's own Azure identity, since it names no credentials".to_owned())
    }
}

async fn entra(identity: &Identity, audience: &Audience, ctx: &BuildContext) -> Result<Entra, Error> {
    let port = &*ctx.credentials;
    let (application, credential) = match identity {
        Identity::Application { tenant, client, proof } => {
            let application = Application::of_spec(tenant, client, port).await?;
            (application, credential(proof, ctx).await?)
        }
        Identity::Federated(federation) => {
            let application = Application::of_account(federation, ctx).await?;
            let Named { field, value: account } = federation.account.clone();
            let (port, audience) = (ctx.credentials.clone(), federation.audience.clone());
            (application, Named::new(field, Credential::Account { port, account, audience }))
        }
        Identity::Pod | Identity::Machine { .. } => {
            let application = Application::of_pod(ctx, audience.spec)?;
            let file = (ctx.environment)(FILE_VARIABLE).filter(|file| !file.is_empty());
            let file = file.ok_or_else(|| no_variables(audience.spec))?;
            (application, Named::new(FILE_VARIABLE, Credential::File(file)))
        }
    };
    let way = Way::new(audience.authority.server.clone(), audience.fields);
    let endpoint = Endpoint::new(way, &ctx.addresses, ctx, audience.provider)?;
    Ok(Entra { endpoint, application, scope: format!("{}/.default", audience.resource), credential })
}

async fn credential(proof: &Proof, ctx: &BuildContext) -> Result<Named<Credential>, Error> {
    let (Proof::Secret(Named { field, value }) | Proof::Certificate(Named { field, value })) = proof;
    let secret = ctx.credentials.secret(value, None).await.map_err(|error| error.context(field))?;
    let credential = match proof {
        Proof::Secret(_) => {
            // A client secret has no spaces; files that it was made from often end with a line.
            let trimmed = secret.expose().trim_ascii();
            if trimmed.is_empty() {
                return Err(Error::invalid(format!("{field} is empty")));
            }
            Credential::Secret(keyferry_provider_core::SecretBytes::new(trimmed.to_vec()))
        }
        Proof::Certificate(_) => {
            let field = *field;
            // A file that is protected makes work.
            let signer = tokio::task::spawn_blocking(move || Signer::new(&secret, field)).await;
            let signer = signer.map_err(|_| Error::invalid(format!("{field} can't be read")))?;
            Credential::Certificate(Box::new(signer?))
        }
    };
    Ok(Named::new(field, credential))
}
