//! Where Google's servers are.

use keyferry_provider_core::{Environment, Error};
use keyferry_provider_http::{Fields, server_url};
use reqwest::Url;

/// What messages call the way to Google itself, which no field of a spec names.
pub const GOOGLE: Fields = Fields {
    server: "the way to Google's APIs",
    ca: "the certificates of the system",
    identity: "the way to Google's APIs",
};

/// An API of Google.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Secret Manager, everywhere.
    SecretManager,
    /// The token service, which takes others' tokens.
    Tokens,
    /// The API that gives tokens of service accounts.
    IamCredentials,
    /// Cloud KMS.
    Keys,
}

impl Api {
    /// Where it is, and the variable that leads elsewhere: gcloud's own name for it.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::SecretManager => {
                ("https://secretmanager.googleapis.com", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER")
            }
            Self::Tokens => ("https://sts.googleapis.com", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"),
            Self::IamCredentials => {
                ("https://iamcredentials.googleapis.com", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS")
            }
            Self::Keys => ("https://cloudkms.googleapis.com", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"),
        }
    }
}

/// Where `api` is for this process: at `regional`, where the spec names a location, unless the environment leads
/// elsewhere.
///
/// # Errors
/// `Invalid` where the environment names something that is no server.
pub fn endpoint(api: Api, regional: Option<String>, environment: &Environment) -> Result<Url, Error> {
    let (usual, variable) = api.place();
    let text = environment(variable).filter(|text| !text.is_empty()).or(regional).unwrap_or_else(|| usual.to_owned());
    server_url(&text, variable, usual)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_environment_leads_elsewhere() {
        let none: Environment = Arc::new(|_| None);
        let at = |api, regional: Option<&str>, environment: &Environment| {
            endpoint(api, regional.map(str::to_owned), environment).map(|url| url.to_string())
        };
        assert_eq!(at(Api::Tokens, None, &none).unwrap(), "https://sts.googleapis.com/");
        let regional = Some("https://secretmanager.europe-west1.rep.googleapis.com");
        assert_eq!(
            at(Api::SecretManager, regional, &none).unwrap(),
            "https://secretmanager.europe-west1.rep.googleapis.com/"
        );
        let set: Environment = Arc::new(|name| name.ends_with("SECRETMANAGER").then(|| "http://10.0.0.1:8/x/".into()));
        assert_eq!(at(Api::SecretManager, regional, &set).unwrap(), "http://10.0.0.1:8/x/");
        assert_eq!(at(Api::IamCredentials, None, &set).unwrap(), "https://iamcredentials.googleapis.com/");
        let wrong: Environment = Arc::new(|_| Some("canary".into()));
        let error = at(Api::Tokens, None, &wrong).unwrap_err();
        assert!(error.message().contains("OVERRIDES_STS") && !error.message().contains("canary"), "{error}");
    }
}
