//! From `spec.provider.webhook` to plain data that is known to make sense.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_go::duration;
use keyferry_provider_core::{CaRef, Error, SecretRef, filled};
use keyferry_provider_http::Ca;
use reqwest::Method;
use reqwest::header::HeaderName;
use serde::Deserialize;

/// The longest that a service may be given for an answer: a refresh ends before long.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The method, where the spec names one.
    pub method: Option<Method>,
    /// The URL, a template.
    pub url: String,
    /// The headers, whose values are templates.
    pub headers: Vec<(HeaderName, String)>,
    /// The body, a template; empty for none.
    pub body: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Where the value is in the answer, a template; empty for all of it.
    pub json_path: String,
    /// Secrets for the templates, by the name that these call them.
    pub secrets: Vec<(String, SecretRef)>,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
    /// What to log in with by NTLM, where the spec has it.
    pub ntlm: Option<Ntlm>,
}

/// What to log in with by NTLM.
#[derive(Debug)]
pub struct Ntlm {
    /// Where the user's name is.
    pub user: SecretRef,
    /// Where the password is.
    pub password: SecretRef,
}

/// `spec.provider.webhook`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    method: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    auth: Option<AuthSpec>,
    body: Option<String>,
    timeout: Option<String>,
    result: Option<ResultSpec>,
    secrets: Option<Vec<SecretSpec>>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Deserialize)]
struct AuthSpec {
    ntlm: Option<NtlmSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NtlmSpec {
    username_secret: Option<SecretRef>,
    password_secret: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultSpec {
    json_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretSpec {
    name: Option<String>,
    secret_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        let wrong = |field: &str, problem: &str| Error::invalid(format!("spec.provider.webhook{field} {problem}"));
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| wrong("", "is not of the form that the documentation gives"))?;
        let method = filled(spec.method)
            .map(|method| Method::from_bytes(method.as_bytes()).map_err(|_| wrong(".method", "is no HTTP method")));
        let url = filled(spec.url).ok_or_else(|| wrong(".url", "is missing"))?;
        let mut headers = Vec::new();
        for (name, value) in spec.headers.unwrap_or_default() {
            let known = HeaderName::from_bytes(name.as_bytes());
            let known = known.map_err(|_| wrong(".headers", "holds a name that no header can have"))?;
            headers.push((known, value.unwrap_or_default()));
        }
        let ntlm = spec.auth.map(ntlm).transpose()?;
        let timeout = match filled(spec.timeout) {
            None => LONGEST_TIMEOUT,
            Some(text) => duration::parse(text.as_bytes())
                .and_then(|nanos| u64::try_from(nanos).ok())
                .ok_or_else(|| wrong(".timeout", "must be a duration such as 10s"))
                .map(|nanos| match nanos {
                    // Without an end, as Go has it; but a refresh has one.
                    0 => LONGEST_TIMEOUT,
                    nanos => Duration::from_nanos(nanos).min(LONGEST_TIMEOUT),
                })?,
        };
        let mut secrets = Vec::new();
        for secret in spec.secrets.unwrap_or_default() {
            let name = filled(secret.name).ok_or_else(|| wrong(".secrets[].name", "is missing"))?;
            let reference = secret.secret_ref.ok_or_else(|| wrong(".secrets[].secretRef", "is missing"))?;
            secrets.push((name, reference));
        }
        Ok(Self {
            method: method.transpose()?,
            url,
            headers,
            body: spec.body.unwrap_or_default(),
            timeout,
            json_path: spec.result.and_then(|result| result.json_path).unwrap_or_default(),
            secrets,
            ca: Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.webhook")?,
            ntlm,
        })
    }

    /// Whether a template may ask who asks: then the answer is for nobody else.
    pub fn asks_for_namespace(&self) -> bool {
        let headers = self.headers.iter().map(|(_, value)| value);
        headers.chain([&self.url, &self.body, &self.json_path]).any(|text| names_namespace(text))
    }
}

fn ntlm(auth: AuthSpec) -> Result<Ntlm, Error> {
    let missing = |field: &str| Error::invalid(format!("spec.provider.webhook.auth.ntlm{field} is missing"));
    let spec = auth.ntlm.ok_or_else(|| missing(""))?;
    let user = spec.username_secret.ok_or_else(|| missing(".usernameSecret"))?;
    let password = spec.password_secret.ok_or_else(|| missing(".passwordSecret"))?;
    Ok(Ntlm { user, password })
}

/// Whether a text has an action that may lead to the namespace: by its name, or by taking all of `remoteRef`. One that
/// gets there by another way finds it empty.
fn names_namespace(text: &str) -> bool {
    let takes_all = text.match_indices("remoteRef").any(|(at, word)| !text[at + word.len()..].starts_with('.'));
    text.contains("{{") && (text.contains("namespace") || takes_all)
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::Blame;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"url": "", "result": {}}), ".url is missing"),
            (json!({"url": "http://x", "method": "can ary"}), ".method is no HTTP method"),
            (json!({"url": "http://x", "headers": {"can ary": "x"}}), ".headers holds a name"),
            (json!({"url": "http://x", "timeout": "canary"}), ".timeout must be a duration"),
            (json!({"url": "http://x", "timeout": "-1s"}), ".timeout must be a duration"),
            (json!({"url": "http://x", "secrets": [{"secretRef": {"name": "canary"}}]}), ".secrets[].name is missing"),
            (json!({"url": "http://x", "secrets": [{"name": "canary"}]}), ".secrets[].secretRef is missing"),
            (json!({"url": "http://x", "caBundle": "canary"}), ".caBundle must hold"),
            (json!({"url": "http://x", "auth": {}}), ".auth.ntlm is missing"),
            (json!({"url": "http://x", "auth": {"ntlm": {"canary": 1}}}), ".usernameSecret is missing"),
            (json!({"url": "http://x", "auth": {"ntlm": {"usernameSecret": {}}}}), ".passwordSecret is missing"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
            assert!(matches!(error.blame(), Blame::Spec | Blame::Request), "{error}");
        }
    }

    #[test]
    fn bounds_in_time_are_kept() {
        let of = |timeout| Config::new(&json!({"url": "http://x", "timeout": timeout})).unwrap().timeout;
        assert_eq!(of(json!("250ms")), Duration::from_millis(250));
        assert_eq!([of(json!("1h")), of(json!("0s")), of(json!(null))], [LONGEST_TIMEOUT; 3]);
    }

    #[test]
    fn what_may_lead_to_the_namespace_is_known() {
        for (text, may) in [
            ("http://x/{{ .remoteRef.key }}", false),
            ("http://x/{{ .remoteRef.namespace }}", true),
            ("http://namespace.example", false),
            ("{{ range $k, $v := .remoteRef }}{{ $v }}{{ end }}", true),
            ("{{ index .remoteRef \"key\" }}", true),
            ("{{ with .remoteRef }}{{ .key }}{{ end }}", true),
            ("{{ .auth.token }}.{{ .remoteRef.key }}", false),
        ] {
            let config = Config::new(&json!({"url": text})).unwrap();
            assert_eq!(config.asks_for_namespace(), may, "{text}");
        }
    }
}
