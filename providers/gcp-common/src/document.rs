//! What a `credConfig` comes to: a description of a federation, which is data and nothing else.

use keyferry_provider_core::{Error, SecretBytes};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::spec::is_account;

/// Where Google's token service is, as documents have it.
const TOKEN_URL: &str = "https://sts.googleapis.com/v1/token";

/// What stands around the service account in the URL at which one is taken on.
const IMPERSONATION: (&str, &str) =
    ("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/", ":generateAccessToken");

/// A federation, as a document describes it.
#[derive(Debug)]
pub struct Document {
    /// The provider that is to know us.
    pub audience: Option<String>,
    /// What kind of token we show.
    pub token_type: String,
    /// Where it comes from.
    pub source: Source,
    /// The service account to act as.
    pub email: Option<String>,
    /// How long to act as it, in seconds.
    pub lifetime: Option<u64>,
}

/// Where the token that we show comes from.
#[derive(Debug)]
pub enum Source {
    /// A server says it.
    Server {
        /// The server.
        url: Url,
        /// What it wants to hear.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The field of its answer, where that is JSON.
        field: Option<String>,
    },
    /// A file of the operator's holds it.
    File {
        /// Its path.
        path: String,
        /// The field of it, where it is JSON.
        field: Option<String>,
    },
}

/// Who wrote a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author<'a> {
    /// Somebody who may write a store, and named one server in its spec.
    Store {
        /// `externalTokenEndpoint`.
        endpoint: Option<&'a str>,
    },
    /// Who runs the operator: its files are theirs.
    Operator,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: Option<String>,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Impersonation>,
    credential_source: Option<WireSource>,
    universe_domain: Option<String>,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
struct WireSource {
    file: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    format: Option<Format>,
    environment_id: Option<String>,
    executable: Option<serde_json::Value>,
    certificate: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

impl Document {
    /// Reads a document; `field` is where the spec names it, for messages.
    ///
    /// # Errors
    /// `Invalid`, and never with a part of the document.
    pub fn read(text: &SecretBytes, author: Author<'_>, field: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::invalid(format!("{field}: {problem}"));
        let wire: Wire = serde_json::from_slice(text.expose())
            .map_err(|_| wrong("the document is not the JSON that Google gives for a federation"))?;
        if wire.kind.as_deref() != Some("external_account") {
            return Err(wrong("the type of the document is not external_account"));
        }
        if wire.token_url.is_some_and(|url| url != TOKEN_URL) {
            return Err(wrong(&format!("token_url leads elsewhere than to {TOKEN_URL}, which is refused")));
        }
        if wire.universe_domain.is_some_and(|universe| universe != "googleapis.com") {
            return Err(wrong("the document is of another universe than googleapis.com, and that is not supported"));
        }
        let email = match wire.service_account_impersonation_url.filter(|url| !url.is_empty()) {
            None => None,
            Some(url) => Some(account_of(&url).ok_or_else(|| {
                wrong("service_account_impersonation_url is not that of a service account at Google, and is refused")
            })?),
        };
        Ok(Self {
            audience: wire.audience.filter(|audience| !audience.is_empty()),
            token_type: wire.subject_token_type.unwrap_or_else(|| "urn:ietf:params:oauth:token-type:jwt".to_owned()),
            source: source(wire.credential_source.unwrap_or_default(), author)
                .map_err(|problem| wrong(&format!("credential_source{problem}")))?,
            email,
            lifetime: wire.service_account_impersonation.and_then(|which| which.token_lifetime_seconds),
        })
    }
}

fn account_of(url: &str) -> Option<String> {
    let email = url.strip_prefix(IMPERSONATION.0)?.strip_suffix(IMPERSONATION.1)?;
    is_account(email).then(|| email.to_owned())
}

/// What is wrong is said in words that go on behind `credential_source`.
fn source(wire: WireSource, author: Author<'_>) -> Result<Source, String> {
    let refuse = |problem: &str| Err(problem.to_owned());
    if wire.executable.is_some() {
        return refuse(".executable is refused: no program is run for a login");
    }
    if wire.environment_id.is_some() {
        return refuse(
            ".environment_id would log in as the machine that the operator runs on, which is not supported: set \
             awsSecurityCredentials",
        );
    }
    if wire.certificate.is_some() {
        return refuse(".certificate names files, which are refused");
    }
    let field = match wire.format {
        Some(Format { kind: Some(kind), subject_token_field_name: Some(name) }) if kind == "json" => Some(name),
        Some(Format { kind: Some(kind), subject_token_field_name: None }) if kind == "json" => {
            return refuse(".format is json and names no subject_token_field_name");
        }
        _ => None,
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (given(wire.file), given(wire.url), author) {
        (Some(path), None, Author::Operator) => Ok(Source::File { path, field }),
        (Some(_), _, _) => refuse(".file is refused: no file is read for a store; set serviceAccountRef"),
        (None, None, _) => refuse(" names no url"),
        (None, Some(url), Author::Store { endpoint }) if endpoint != Some(&url) => {
            refuse(".url is not what workloadIdentityFederation.externalTokenEndpoint says: set that to the same URL")
        }
        (None, Some(url), _) => {
            let url = plain_url(&url).ok_or(".url must be http:// or https://, without user and fragment")?;
            Ok(Source::Server { url, headers: headers(wire.headers.unwrap_or_default())?, field })
        }
    }
}

fn plain_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain).then_some(url)
}

/// Headers that are HTTP's own: a document that sets them could only break the request.
const NOT_THEIRS: [&str; 7] = ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn headers(wire: BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let read = |(name, value): (String, String)| {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        (!NOT_THEIRS.contains(&name.as_str())).then_some((name, value))
    };
    wire.into_iter()
        .map(read)
        .collect::<Option<_>>()
        .ok_or_else(|| ".headers holds what is no header, or HTTP's own".to_owned())
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "https://idp.example.com/token?audience=x";

    fn document(more: &Value) -> SecretBytes {
        let mut document = json!({"type": "external_account", "audience": "//iam.googleapis.com/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": TOKEN_URL,
            "credential_source": {"url": URL}});
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        document.to_string().as_str().into()
    }

    fn read(more: &Value) -> Result<Document, Error> {
        Document::read(&document(more), Author::Store { endpoint: Some(URL) }, "f")
    }

    #[test]
    fn a_document_is_read_as_data() {
        let whole = read(&json!({
            "service_account_impersonation_url":
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken",
            "service_account_impersonation": {"token_lifetime_seconds": 1200},
            "credential_source": {"url": URL, "headers": {"Metadata": "True"},
                "format": {"type": "json", "subject_token_field_name": "access_token"}}
        }))
        .unwrap();
        assert_eq!(whole.email.as_deref(), Some("a@p.iam.gserviceaccount.com"));
        assert_eq!((whole.audience.as_deref(), whole.lifetime), (Some("//iam.googleapis.com/p"), Some(1200)));
        let Source::Server { url, headers, field } = whole.source else { panic!("a server") };
        assert_eq!((url.as_str(), headers.len(), field.as_deref()), (URL, 1, Some("access_token")));
    }

    #[test]
    fn what_would_reach_beyond_google_is_refused() {
        let source = |source: Value| json!({"credential_source": source});
        for (more, words) in [
            (json!({"type": "authorized_user"}), "is not external_account"),
            (json!({"token_url": "https://canary.example.com/v1/token"}), "token_url leads elsewhere"),
            (json!({"universe_domain": "canary.goog"}), "another universe"),
            (json!({"service_account_impersonation_url": "https://canary.example.com/"}), "and is refused"),
            (
                json!({"service_account_impersonation_url":
                    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/../canary:generateAccessToken"}),
                "and is refused",
            ),
            (source(json!({"executable": {"command": "canary"}})), "executable is refused"),
            (source(json!({"file": "/canary"})), "file is refused"),
            (source(json!({"file": "/canary", "url": URL})), "file is refused"),
            (source(json!({"certificate": {"use_default_certificate_config": true}})), "certificate"),
            (source(json!({"environment_id": "aws1", "url": URL})), "awsSecurityCredentials"),
            (source(json!({"url": "https://canary.example.com"})), "externalTokenEndpoint"),
            (source(json!({"url": URL, "format": {"type": "json"}})), "subject_token_field_name"),
            (source(json!({"url": URL, "headers": {"a b": "canary"}})), "headers"),
            (source(json!({"url": URL, "headers": {"Host": "canary"}})), "headers"),
            (source(json!({})), "names no url"),
            (json!({"credential_source": null}), "names no url"),
            (json!({"audience": ["canary"]}), "is not the JSON"),
        ] {
            let error = read(&more).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let message = error.message();
            assert!(message.starts_with("f: ") && message.contains(words) && !message.contains("canary"), "{error}");
        }
        for url in ["ftp://x/", "https://user@x/", "https://x/#f", "canary"] {
            let text = document(&source(json!({"url": url})));
            assert!(Document::read(&text, Author::Store { endpoint: Some(url) }, "f").is_err(), "{url}");
        }
    }

    #[test]
    fn the_operators_own_document_may_name_its_own_file_and_no_program() {
        let read = |source: Value| {
            Document::read(&document(&json!({"credential_source": source})), Author::Operator, "f").map(|d| d.source)
        };
        assert!(matches!(read(json!({"file": "/var/run/token"})), Ok(Source::File { .. })));
        assert!(matches!(read(json!({"url": "http://10.0.0.1/x"})), Ok(Source::Server { .. })));
        assert!(read(json!({"executable": {"command": "x"}})).is_err());
    }
}
