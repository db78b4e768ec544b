//! Rendering: what templates see, and what they may take.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_provider_core::{Blame, Error, SecretBytes};
use keyferry_provider_http::form::escape;
use keyferry_template as gotmpl;

/// What a template may take: requests are short.
const STEPS: u64 = 20_000;
const OUTPUT: usize = 1 << 20;
const MEMORY: usize = 8 << 20;

/// What Go prints for a name that is not there.
const NO_VALUE: &[u8] = b"<no value>";

/// What templates see: values by two names, as in `.remoteRef.key`.
pub type Seen = BTreeMap<String, BTreeMap<String, SecretBytes>>;

/// A template of the store's spec.
#[derive(Clone)]
pub struct Template {
    field: &'static str,
    parsed: Option<Arc<gotmpl::Template>>,
}

impl Template {
    /// Reads a template; `field` is where the spec has it. An empty one is nothing.
    pub fn new(field: &'static str, text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self { field, parsed: None });
        }
        let options = gotmpl::Options::new(Arc::new(gotmpl::Functions::standard()));
        let parsed = gotmpl::Template::parse("webhook", text, &options).map_err(|error| {
            let problem = error.exceeded().map_or_else(|| error.message().to_owned(), |limit| limit.to_string());
            Error::invalid(format!("{field}: line {}: {problem}", error.line()))
        })?;
        Ok(Self { field, parsed: Some(Arc::new(parsed)) })
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.parsed.is_none()
    }

    /// Renders it, apart from what serves others. What it makes of values is never told.
    pub async fn render(&self, seen: &Arc<Seen>) -> Result<SecretBytes, Error> {
        let Some(template) = self.parsed.clone() else { return Ok(SecretBytes::default()) };
        let (field, seen) = (self.field, seen.clone());
        let rendering = tokio::task::spawn_blocking(move || render(field, &template, &seen));
        rendering.await.unwrap_or_else(|_| Err(Error::invalid(format!("{field} can't be rendered"))))
    }
}

fn render(field: &str, template: &gotmpl::Template, seen: &Seen) -> Result<SecretBytes, Error> {
    let limits = gotmpl::Limits {
        steps: STEPS,
        output_bytes: OUTPUT,
        value_bytes: OUTPUT,
        memory_bytes: MEMORY,
        bcrypt_cost: 4,
        rsa_bits: 0,
        ..gotmpl::Limits::default()
    };
    let mut env = gotmpl::Env { limits, ..gotmpl::Env::default() };
    let wrong = |problem: String| Error::invalid(format!("{field} {problem}")).with_blame(Blame::Spec);
    let rendered = template.render(&value(seen), &mut env).map_err(|error| match error.exceeded() {
        Some(limit) => wrong(format!("takes too much: {limit}")),
        None => wrong(format!("fails in line {}: {}", error.line(), error.words())),
    })?;
    if rendered.windows(NO_VALUE.len()).any(|window| window == NO_VALUE) {
        return Err(wrong("names a value that is not there: see remoteRef and spec.provider.webhook.secrets".into()));
    }
    Ok(SecretBytes::new(rendered.to_vec()))
}

fn value(seen: &Seen) -> gotmpl::Value {
    let inner = seen.iter().map(|(name, values)| {
        let values = values.iter().map(|(key, value)| (key.as_str(), value.expose()));
        (gotmpl::Str::from(name.as_str()), gotmpl::Value::string_map(values))
    });
    gotmpl::Value::Map(gotmpl::Map::from_entries(&gotmpl::Type::Map(&gotmpl::Type::String), inner))
}

/// As Go's `url.QueryEscape`.
pub fn query_escaped(text: &[u8]) -> SecretBytes {
    let mut out = keyferry_provider_core::SecretBuf::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' => out.push(b'+'),
            byte => escape(&[*byte], &mut out),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Arc<Seen> {
        let of = |values: &[(&str, &str)]| values.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        Arc::new(Seen::from([
            ("remoteRef".to_owned(), of(&[("key", "a b"), ("version", "")])),
            ("auth".to_owned(), of(&[("token", "canary"), ("user", "me")])),
        ]))
    }

    async fn rendered(text: &str) -> Result<String, Error> {
        let made = Template::new("spec.x", text)?.render(&seen()).await?;
        Ok(made.expose_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn templates_see_what_is_asked_for_and_the_secrets() {
        for (text, expected) in [
            ("", ""),
            ("/{{ .remoteRef.key }}{{ if .remoteRef.version }}?v{{ end }}", "/a b"),
            ("Basic {{ printf \"%s:%s\" .auth.user .auth.token | b64enc }}", "Basic bWU6Y2FuYXJ5"),
        ] {
            assert_eq!(rendered(text).await.as_deref(), Ok(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn what_fails_is_told_by_its_field_and_never_by_values() {
        for (text, words) in [
            ("{{ .auth.token", "line 1"),
            ("{{ .auth.tokn }}", "names a value that is not there"),
            ("{{ .auth.token | fromJson }}", "spec.x"),
            ("{{ range until 100000 }}x{{ end }}", "too much"),
            ("{{ genPrivateKey \"rsa\" }}", "spec.x"),
        ] {
            let error = rendered(text).await.unwrap_err();
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn keys_stay_within_their_place_in_a_url() {
        assert_eq!(
            query_escaped("a/../b?c=d&e f#é".as_bytes()).expose_str(),
            Some("a%2F..%2Fb%3Fc%3Dd%26e+f%23%C3%A9")
        );
    }
}
