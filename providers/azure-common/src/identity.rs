//! Who logs in, as a spec says it.

use keyferry_provider_core::{SecretRef, ServiceAccountRef};

/// Something that a spec says, and where: what messages call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    /// The field.
    pub field: &'static str,
    /// What stands there.
    pub value: T,
}

impl<T> Named<T> {
    /// What stands in `field`.
    pub fn new(field: &'static str, value: T) -> Self {
        Self { field, value }
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
pub enum Identity {
    /// An application with a credential of its own.
    Application {
        /// The id of the tenant that it is in.
        tenant: Id,
        /// Its id.
        client: Named<SecretRef>,
        /// Its credential.
        proof: Proof,
    },
    /// An application that believes the tokens of a ServiceAccount.
    Federated(Federation),
    /// The application of the operator's own pod, as the webhook of workload identity tells it by variables.
    Pod,
    /// A managed identity of the operator's own machine.
    Machine {
        /// Which, by its client id, where there are several.
        client: Option<String>,
    },
}

impl Identity {
    /// Whether it is the operator's own, which whoever wrote the spec need not be allowed to be.
    pub fn is_operator(&self) -> bool {
        match self {
            Self::Pod | Self::Machine { .. } => true,
            Self::Application { .. } | Self::Federated(_) => false,
        }
    }
}

/// An id, and where it is.
#[derive(Clone, Debug)]
pub enum Id {
    /// In the spec itself.
    Given(Named<String>),
    /// In a Secret.
    Kept(Named<SecretRef>),
}

/// The credential of an application.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A client secret.
    Secret(Named<SecretRef>),
    /// A certificate and its RSA key, as PEM or as PKCS #12 without a password.
    Certificate(Named<SecretRef>),
}

/// Whose tokens an application believes, and which application that is: the spec may say it, else the ServiceAccount's
/// annotations.
#[derive(Clone, Debug)]
pub struct Federation {
    /// The ServiceAccount.
    pub account: Named<ServiceAccountRef>,
    /// The audience that the application expects.
    pub audience: String,
    /// The application's id.
    pub client: Option<Named<SecretRef>>,
    /// The id of its tenant.
    pub tenant: Option<Id>,
}

impl Federation {
    /// The audience that applications expect unless somebody chose another.
    pub const AUDIENCE: &str = "api://AzureADTokenExchange";
}
