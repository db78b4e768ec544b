//! Which clouds there are, and where each gives tokens.

use keyferry_provider_core::Error;
use keyferry_provider_http::secure_url;
use reqwest::Url;

/// A cloud, by the names of External Secrets Operator (`environmentType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// The one that most people mean.
    Public,
    /// That of the government of the United States.
    UsGovernment,
    /// That of 21Vianet in China.
    China,
    /// One in somebody's own house, whose spec says where everything is.
    Stack,
}

impl Cloud {
    /// Reads the name; `field` is where the spec has it.
    ///
    /// # Errors
    /// `Invalid` where there is no such cloud, or not any more.
    pub fn new(name: Option<&str>, field: &str) -> Result<Self, Error> {
        match name {
            None | Some("" | "PublicCloud") => Ok(Self::Public),
            Some("USGovernmentCloud") => Ok(Self::UsGovernment),
            Some("ChinaCloud") => Ok(Self::China),
            Some("AzureStackCloud") => Ok(Self::Stack),
            Some("GermanCloud") => Err(Error::invalid(format!(
                "{field} is GermanCloud, which was closed in 2021: its vaults are in the regions of PublicCloud now"
            ))),
            Some(_) => Err(Error::invalid(format!(
                "{field} must be PublicCloud, USGovernmentCloud, ChinaCloud or AzureStackCloud"
            ))),
        }
    }

    /// Where this cloud gives tokens; `None` where its spec must say so.
    pub fn authority(self) -> Option<Authority> {
        let server = match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
            Self::Stack => return None,
        };
        Some(Authority { server: Url::parse(server).expect("it is one"), is_custom: false })
    }
}

/// Where tokens are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The server.
    pub server: Url,
    /// Whether the author of a spec says so. Nobody's identity but theirs may go there.
    pub is_custom: bool,
}

impl Authority {
    /// One that a spec names in `field`.
    ///
    /// # Errors
    /// `Invalid` where that is no URL, or one that a token must not be sent to.
    pub fn custom(text: &str, field: &str) -> Result<Self, Error> {
        Ok(Self { server: secure_url(text, field, "https://login.example.com")?, is_custom: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_by_their_names() {
        for (name, authority) in [
            (None, Some("https://login.microsoftonline.com/")),
            (Some(""), Some("https://login.microsoftonline.com/")),
            (Some("PublicCloud"), Some("https://login.microsoftonline.com/")),
            (Some("USGovernmentCloud"), Some("https://login.microsoftonline.us/")),
            (Some("ChinaCloud"), Some("https://login.chinacloudapi.cn/")),
            (Some("AzureStackCloud"), None),
        ] {
            let cloud = Cloud::new(name, "the.cloud").unwrap();
            assert_eq!(cloud.authority().map(|authority| authority.server.to_string()).as_deref(), authority);
        }
        for (name, words) in [("GermanCloud", "closed in 2021"), ("canary", "the.cloud must be PublicCloud")] {
            let error = Cloud::new(Some(name), "the.cloud").unwrap_err();
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
    }
}
