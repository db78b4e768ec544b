//! Which of the two servers a store is of: they speak the same language, and have keys of their own in a store's spec.

use std::fmt;

use keyferry_provider_http::Fields;

/// A server that keeps secrets in KV engines. Shown, it is where the spec stands: `spec.provider.vault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// HashiCorp's.
    Vault,
    /// The Linux Foundation's, under the key of its own. Under that of `vault` it is taken for one.
    OpenBao,
}

impl Product {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "Vault",
            Self::OpenBao => "OpenBao",
        }
    }

    /// What metrics call it. External Secrets Operator counts no calls to an OpenBao.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Vault => "HashiCorp/Vault",
            Self::OpenBao => "OpenBao",
        }
    }

    /// Where the spec says how to get to the server.
    pub fn fields(self) -> Fields {
        match self {
            Self::Vault => Fields {
                server: "spec.provider.vault.server",
                ca: "spec.provider.vault.caBundle or caProvider",
                identity: "spec.provider.vault.tls or auth.cert",
            },
            Self::OpenBao => Fields {
                server: "spec.provider.openBao.server",
                ca: "spec.provider.openBao.caBundle or caProvider",
                identity: "a client certificate, which spec.provider.vault can name",
            },
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "spec.provider.vault",
            Self::OpenBao => "spec.provider.openBao",
        })
    }
}
