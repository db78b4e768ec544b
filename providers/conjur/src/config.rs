//! From `spec.provider.conjur` to plain data that is known to make sense.

use keyferry_provider_core::{CaRef, Error, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::{Ca, Fields, Way, server_url};
use serde::Deserialize;

/// What messages call the fields that lead to the server.
const FIELDS: Fields = Fields {
    server: "spec.provider.conjur.url",
    ca: "spec.provider.conjur.caBundle or caProvider",
    identity: "spec.provider.conjur.auth.cert",
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to the server.
    pub way: Way,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
    /// The account, which is the first part of every name in Conjur.
    pub account: String,
    /// How to log in.
    pub method: Method,
}

/// How to log in.
#[derive(Debug)]
pub enum Method {
    /// By the API key of a user or host.
    ApiKey {
        /// Where the name of the user or host is, such as `host/apps/operator`.
        user: SecretRef,
        /// Where the key is.
        key: SecretRef,
    },
    /// By a JWT.
    Jwt {
        /// The authenticator's name.
        service: String,
        /// The host, where the token does not say it.
        host: Option<String>,
        /// Whose token.
        token: Jwt,
    },
    /// By a client certificate.
    Cert {
        /// The authenticator's name.
        service: String,
        /// The host, where the certificate does not say it.
        host: Option<String>,
        /// Where the certificate is.
        cert: SecretRef,
        /// Where its key is.
        key: SecretRef,
    },
}

/// Whose JWT to log in with.
#[derive(Debug)]
pub enum Jwt {
    /// A ServiceAccount's, minted for the login.
    ServiceAccount(ServiceAccountRef),
    /// One that is kept in a secret.
    Secret(SecretRef),
}

/// `spec.provider.conjur`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    url: Option<String>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
    auth: Option<AuthSpec>,
}

#[derive(Default, Deserialize)]
struct AuthSpec {
    apikey: Option<ApiKeySpec>,
    jwt: Option<JwtSpec>,
    cert: Option<CertSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiKeySpec {
    account: Option<String>,
    user_ref: Option<SecretRef>,
    api_key_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JwtSpec {
    account: Option<String>,
    #[serde(rename = "serviceID")]
    service_id: Option<String>,
    host_id: Option<String>,
    secret_ref: Option<SecretRef>,
    service_account_ref: Option<ServiceAccountRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertSpec {
    account: Option<String>,
    #[serde(rename = "serviceID")]
    service_id: Option<String>,
    host_id: Option<String>,
    client_cert_ref: Option<SecretRef>,
    client_key_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.conjur is not of the form that the documentation gives"))?;
        let url = filled(spec.url).ok_or_else(|| missing("url"))?;
        let server = server_url(&url, FIELDS.server, "https://conjur.example.com")?;
        let (account, method) = method(spec.auth.unwrap_or_default())?;
        let ca = Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.conjur")?;
        Ok(Self { way: Way::new(server, FIELDS), ca, account, method })
    }
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("spec.provider.conjur.{field} is missing"))
}

/// The account and the way to log in to it.
fn method(auth: AuthSpec) -> Result<(String, Method), Error> {
    match (auth.apikey, auth.jwt, auth.cert) {
        (Some(spec), None, None) => {
            let account = filled(spec.account).ok_or_else(|| missing("auth.apikey.account"))?;
            let user = spec.user_ref.ok_or_else(|| missing("auth.apikey.userRef"))?;
            let key = spec.api_key_ref.ok_or_else(|| missing("auth.apikey.apiKeyRef"))?;
            Ok((account, Method::ApiKey { user, key }))
        }
        (None, Some(spec), None) => {
            let account = filled(spec.account).ok_or_else(|| missing("auth.jwt.account"))?;
            let service = filled(spec.service_id).ok_or_else(|| missing("auth.jwt.serviceID"))?;
            // Of both External Secrets Operator takes the account.
            let token = match (spec.service_account_ref, spec.secret_ref) {
                (Some(reference), _) => Jwt::ServiceAccount(reference),
                (None, Some(reference)) => Jwt::Secret(reference),
                (None, None) => return Err(missing("auth.jwt.serviceAccountRef or secretRef")),
            };
            Ok((account, Method::Jwt { service, host: filled(spec.host_id), token }))
        }
        (None, None, Some(spec)) => {
            let account = filled(spec.account).ok_or_else(|| missing("auth.cert.account"))?;
            let service = filled(spec.service_id).ok_or_else(|| missing("auth.cert.serviceID"))?;
            let cert = spec.client_cert_ref.ok_or_else(|| missing("auth.cert.clientCertRef"))?;
            let key = spec.client_key_ref.ok_or_else(|| missing("auth.cert.clientKeyRef"))?;
            let as_host = |host: String| if host.starts_with("host/") { host } else { format!("host/{host}") };
            let host = filled(spec.host_id).map(as_host);
            Ok((account, Method::Cert { service, host, cert, key }))
        }
        _ => Err(Error::invalid("spec.provider.conjur.auth must hold one of apikey, jwt and cert")),
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    fn of(auth: Value) -> Value {
        json!({"url": "https://conjur", "auth": auth})
    }

    fn apikey() -> Value {
        json!({"apikey": {"account": "lab", "userRef": {"name": "c", "key": "u"}, "apiKeyRef": {"name": "c", "key": "k"}}})
    }

    fn without(mut spec: Value, field: &str) -> Value {
        let inner = spec.as_object_mut().unwrap().values_mut().next().unwrap();
        inner.as_object_mut().unwrap().remove(field).unwrap();
        spec
    }

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let jwt = json!({"jwt": {"account": "lab", "serviceID": "dev", "secretRef": {"name": "c"}}});
        let cert = json!({"cert": {"account": "lab", "serviceID": "dev", "clientCertRef": {"name": "c", "key": "c"},
            "clientKeyRef": {"name": "c", "key": "k"}}});
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"url": ["canary"]}), "not of the form"),
            (json!({"url": "", "auth": apikey()}), "conjur.url is missing"),
            (json!({"url": "ftp://canary", "auth": apikey()}), "url must begin with"),
            (json!({"url": "https://x", "auth": apikey(), "caBundle": "canary!"}), "caBundle must hold"),
            (json!({"url": "https://x", "auth": apikey(), "caBundle": "Y2FuYXJ5"}), "caBundle must hold"),
            (of(Value::Null), "must hold one of apikey, jwt and cert"),
            (of(json!({"apikey": apikey()["apikey"], "jwt": jwt["jwt"]})), "must hold one of"),
            (of(without(apikey(), "account")), "auth.apikey.account is missing"),
            (of(without(apikey(), "userRef")), "auth.apikey.userRef is missing"),
            (of(without(apikey(), "apiKeyRef")), "auth.apikey.apiKeyRef is missing"),
            (of(without(jwt.clone(), "account")), "auth.jwt.account is missing"),
            (of(without(jwt.clone(), "serviceID")), "auth.jwt.serviceID is missing"),
            (of(without(jwt.clone(), "secretRef")), "auth.jwt.serviceAccountRef or secretRef is missing"),
            (of(without(cert.clone(), "account")), "auth.cert.account is missing"),
            (of(without(cert.clone(), "serviceID")), "auth.cert.serviceID is missing"),
            (of(without(cert.clone(), "clientCertRef")), "auth.cert.clientCertRef is missing"),
            (of(without(cert.clone(), "clientKeyRef")), "auth.cert.clientKeyRef is missing"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
        for spec in [apikey(), jwt, cert] {
            assert_eq!(Config::new(&of(spec)).unwrap().account, "lab");
        }
    }

    #[test]
    fn nulls_and_empty_texts_are_nothing() {
        let jwt = json!({"jwt": {"account": "lab", "serviceID": "dev", "hostId": "", "secretRef": null,
            "serviceAccountRef": {"name": "app"}}, "apikey": null});
        let spec = json!({"url": "https://x", "auth": jwt, "caBundle": "", "caProvider": null});
        let config = Config::new(&spec).unwrap();
        assert_eq!(config.ca, Ca::System);
        assert!(matches!(config.method, Method::Jwt { host: None, token: Jwt::ServiceAccount(_), .. }));
    }

    #[test]
    fn a_host_with_a_certificate_needs_not_say_that_it_is_one() {
        for (given, host) in [("apps/a", "host/apps/a"), ("host/apps/a", "host/apps/a")] {
            let cert = json!({"cert": {"account": "lab", "serviceID": "dev", "hostId": given,
                "clientCertRef": {"name": "c"}, "clientKeyRef": {"name": "c"}}});
            let Method::Cert { host: Some(read), .. } = Config::new(&of(cert)).unwrap().method else { panic!("cert") };
            assert_eq!(read, host);
        }
    }
}
