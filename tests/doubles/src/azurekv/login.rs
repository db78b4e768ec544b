//! Entra ID and the metadata service: who is given a token, and for what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Asked, CLIENT, OF_CLOUD, RESOURCE, SECRET, TENANT, answer};
use crate::trusted::Trusted;

/// Who may log in, and who did.
pub(crate) struct Logins {
    pub(crate) secrets: Trusted,
    /// Public keys by the thumbprints of their certificates.
    certificates: BTreeMap<String, Vec<u8>>,
    pub(crate) tokens_of_others: BTreeSet<String>,
    pub(crate) life: Duration,
    pub(crate) given: BTreeMap<String, Given>,
    pub(crate) vault_tenant: &'static str,
    pub(crate) count: usize,
    /// Whether the registry lets nobody in.
    pub(crate) is_registry_closed: bool,
}

/// What is asked for where registries are looked after.
const MANAGEMENT: &str = "https://management.azure.com";

/// What the registry gives for a login.
const OF_REGISTRY: &str = "canary-of-a-registry";

/// A token that was given.
pub(crate) struct Given {
    resource: String,
    tenant: &'static str,
    end: Instant,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            secrets: Trusted::one(SECRET),
            certificates: BTreeMap::new(),
            tokens_of_others: BTreeSet::new(),
            life: Duration::from_secs(3600),
            given: BTreeMap::new(),
            vault_tenant: TENANT,
            count: 0,
            is_registry_closed: false,
        }
    }
}

impl Logins {
    pub(crate) fn trust_certificate(&mut self, pem: &str) {
        let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----").expect("a certificate");
        let (text, _) = rest.split_once("-----END").expect("a certificate");
        let text: String = text.split_whitespace().collect();
        let der = STANDARD.decode(text).expect("base64");
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        let key = certificate.public_key().subject_public_key.data.to_vec();
        for hash in [&SHA256, &SHA1_FOR_LEGACY_USE_ONLY] {
            self.certificates.insert(URL_SAFE_NO_PAD.encode(digest(hash, &der)), key.clone());
        }
    }

    /// Gives a token for a resource.
    fn give(&mut self, resource: &str) -> (String, u64) {
        self.count += 1;
        let token = format!("canary-of-token-{}", self.count);
        let end = Instant::now() + self.life;
        self.given.insert(token.clone(), Given { resource: resource.to_owned(), tenant: TENANT, end });
        (token, self.life.as_secs())
    }

    /// Whether somebody with this header is let into the vault.
    pub(crate) fn lets_in(&self, authorization: &str, at: Instant) -> bool {
        let given = authorization.strip_prefix("Bearer ").and_then(|token| self.given.get(token));
        let is_for_us = |resource: &str| [RESOURCE, OF_CLOUD].contains(&resource);
        given.is_some_and(|given| given.end > at && is_for_us(&given.resource) && given.tenant == self.vault_tenant)
    }

    /// Whether the signature of an assertion is one of the application's certificates.
    fn is_signed(&self, assertion: &str, audience: &str) -> bool {
        let verify = || {
            let (signed, signature) = assertion.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            let read = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
            let (header, claims) = (read(header)?, read(claims)?);
            let algorithm: &RsaParameters = match header["alg"].as_str()? {
                "PS256" => &RSA_PSS_2048_8192_SHA256,
                "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                _ => return None,
            };
            let thumbprint = header["x5t#S256"].as_str().or(header["x5t"].as_str())?.trim_end_matches('=');
            let key = UnparsedPublicKey::new(algorithm, self.certificates.get(thumbprint)?);
            key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
            // Some clients write fractions.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
            let is_good = claims["aud"] == audience
                && claims["iss"] == CLIENT
                && claims["sub"] == CLIENT
                && claims["jti"].is_string()
                && claims["exp"].as_f64()? > now;
            is_good.then_some(())
        };
        verify().is_some()
    }
}

/// Answers what is for Entra ID or the machine; `None` where it is for the vault.
pub(crate) fn answer_of(logins: &mut Logins, asked: &Asked) -> Option<Response> {
    let segments: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
    Some(match (asked.method.as_str(), segments.as_slice()) {
        ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => configuration(asked, tenant),
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => token(logins, asked, tenant),
        ("POST", ["oauth2", what @ ("exchange" | "token")]) => registry(logins, asked, what),
        ("GET", ["acr", "v1", "_catalog"]) => catalog(asked),
        ("GET", ["metadata", "identity", "oauth2", "token"]) if asked.header("metadata") == "true" => {
            machine(logins, asked, "2018-02-01")
        }
        ("GET", ["msi", "token"]) if asked.header("x-identity-header") == "canary-of-the-header" => {
            machine(logins, asked, "2019-08-01")
        }
        (_, ["metadata" | "msi", ..]) => {
            answer(400, &json!({"error": "invalid_request", "error_description": "canary"}))
        }
        _ => return None,
    })
}

fn configuration(asked: &Asked, tenant: &str) -> Response {
    let base = format!("{}/{tenant}", asked.base);
    answer(
        200,
        &json!({
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "issuer": format!("{base}/v2.0"),
        }),
    )
}

fn token(logins: &mut Logins, asked: &Asked, tenant: &str) -> Response {
    let form = form(&String::from_utf8_lossy(&asked.body));
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let refused = |error: &str, code: u64| {
        let description = format!("AADSTS{code}: canary of Entra ID about {}", field("client_id"));
        answer(
            401,
            &json!({"error": error, "error_description": description, "error_codes": [code], "correlation_id": "x"}),
        )
    };
    if tenant != TENANT {
        return refused("invalid_request", 90_002);
    }
    if field("grant_type") != "client_credentials" {
        return refused("unsupported_grant_type", 70_003);
    }
    if field("client_id") != CLIENT {
        return refused("unauthorized_client", 700_016);
    }
    let Some(resource) = field("scope").strip_suffix("/.default") else { return refused("invalid_scope", 70_011) };
    let audience = format!("{}/{tenant}/oauth2/v2.0/token", asked.base);
    let assertion = field("client_assertion");
    if !assertion.is_empty() {
        let is_known = logins.tokens_of_others.contains(assertion);
        if field("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return refused("invalid_request", 900_144);
        }
        if !is_known && !logins.is_signed(assertion, &audience) {
            let is_ours = assertion.split('.').next().is_some_and(|head| {
                URL_SAFE_NO_PAD.decode(head).is_ok_and(|head| String::from_utf8_lossy(&head).contains("x5t"))
            });
            return refused("invalid_client", if is_ours { 700_027 } else { 700_213 });
        }
    } else if !logins.secrets.holds(field("client_secret")) {
        return refused("invalid_client", 7_000_215);
    }
    let (token, life) = logins.give(resource);
    answer(200, &json!({"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token}))
}

/// A container registry: gives its refresh token for one of Entra ID, and for that one of a scope.
fn registry(logins: &Logins, asked: &Asked, what: &str) -> Response {
    let form = form(&String::from_utf8_lossy(&asked.body));
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let is_known = || {
        let given = logins.given.get(field("access_token"));
        given.is_some_and(|given| given.resource == MANAGEMENT && given.end > Instant::now())
    };
    let is_good = !logins.is_registry_closed && !field("service").is_empty();
    match (what, field("grant_type")) {
        // Azure's own client leaves the tenant out.
        ("exchange", "access_token") if is_good && ["", TENANT].contains(&field("tenant")) && is_known() => {
            answer(200, &json!({"refresh_token": OF_REGISTRY}))
        }
        ("token", "refresh_token") if is_good && field("refresh_token") == OF_REGISTRY => {
            answer(200, &json!({"access_token": format!("canary-of-{}", field("scope"))}))
        }
        _ => answer(401, &json!({"errors": [{"code": "UNAUTHORIZED", "message": "canary"}]})),
    }
}

/// The list of what the registry holds, for whoever has bought a token of the scope that it asks for.
fn catalog(asked: &Asked) -> Response {
    const SCOPE: &str = "registry:catalog:*";
    if asked.header("authorization") == format!("Bearer canary-of-{SCOPE}") {
        return answer(200, &json!({"repositories": ["app"]}));
    }
    let mut refused = answer(401, &json!({"errors": [{"code": "UNAUTHORIZED", "message": "canary"}]}));
    let asks = format!("Bearer realm=\"{}/oauth2/token\",service=\"registry\",scope=\"{SCOPE}\"", asked.base);
    refused.headers_mut().insert("www-authenticate", asks.parse().expect("a header"));
    refused
}

/// Numbers are texts here.
fn machine(logins: &mut Logins, asked: &Asked, version: &str) -> Response {
    let client = asked.query("client_id");
    if asked.query("api-version") != version || !matches!(client, "" | CLIENT) {
        return answer(400, &json!({"error": "invalid_request", "error_description": "Identity not found: canary"}));
    }
    let resource = asked.query("resource").to_owned();
    let (token, life) = logins.give(&resource);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut body = json!({
        "access_token": token,
        "client_id": CLIENT,
        "expires_on": (now + life).to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    if version == "2018-02-01" {
        body["expires_in"] = json!(life.to_string());
        body["not_before"] = json!(now.to_string());
    }
    answer(200, &body)
}

/// The fields of a form or a query.
pub(crate) fn form(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Text without percent signs and pluses.
pub(crate) fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        rest = match (byte, hex) {
            (b'%', Some(hex)) => {
                out.push(hex);
                &tail[2..]
            }
            (byte, _) => {
                out.push(if byte == b'+' { b' ' } else { byte });
                tail
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}
