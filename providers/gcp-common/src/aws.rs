//! An identity of AWS as Google takes it: a signed question to AWS who we are, which Google's token service asks in our
//! place.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use jiff::Timestamp;
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use keyferry_provider_http::form::escape;

/// Keys of AWS.
pub struct Keys {
    /// The access key id.
    pub id: SecretBytes,
    /// The secret access key.
    pub secret: SecretBytes,
    /// The session token of temporary keys.
    pub session: Option<SecretBytes>,
}

const QUERY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// The question, signed with `keys` for the provider `audience` and no other: percent-encoded JSON, as the token service
/// takes it. `None` where a key is no text.
pub fn subject(keys: &Keys, region: &str, audience: &str, now: SystemTime) -> Option<SecretBytes> {
    let now = Timestamp::try_from(now).ok()?;
    let (day, time) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let host = format!("sts.{region}.amazonaws.com");
    let mut headers: Vec<(&str, SecretBytes)> =
        vec![("host", host.as_str().into()), ("x-amz-date", time.as_str().into())];
    headers.extend(keys.session.clone().map(|token| ("x-amz-security-token", token)));
    headers.push(("x-goog-cloud-target-resource", audience.into()));

    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut request = SecretBuf::with_capacity(4096);
    request.extend(format!("POST\n/\n{QUERY}\n").as_bytes());
    for (name, value) in &headers {
        request.extend(name.as_bytes());
        request.push(b':');
        request.extend(value.expose());
        request.push(b'\n');
    }
    request.extend(format!("\n{names}\n{}", hex(digest(&SHA256, b"").as_ref())).as_bytes());
    let scope = format!("{day}/{region}/sts/aws4_request");
    let what = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, request.expose()).as_ref()));
    let signature = hex(sign(keys, &day, region, &what).as_ref());

    let mut authorization = SecretBuf::with_capacity(512);
    authorization.extend(b"AWS4-HMAC-SHA256 Credential=");
    authorization.extend(keys.id.expose());
    authorization.extend(format!("/{scope}, SignedHeaders={names}, Signature={signature}").as_bytes());
    headers.push(("Authorization", authorization.into()));
    question(&host, &headers)
}

/// The question as percent-encoded JSON.
fn question(host: &str, headers: &[(&str, SecretBytes)]) -> Option<SecretBytes> {
    let mut plain = SecretBuf::with_capacity(8192);
    plain.extend(b"{\"headers\":[");
    for (n, (name, value)) in headers.iter().enumerate() {
        plain.extend(if n == 0 { b"{\"key\":" } else { b",{\"key\":" });
        json::write_plain_string(name, &mut plain);
        plain.extend(b",\"value\":");
        json::write_plain_string(value.expose_str()?, &mut plain);
        plain.push(b'}');
    }
    plain.extend(format!("],\"method\":\"POST\",\"url\":\"https://{host}?{QUERY}\"}}").as_bytes());
    let mut out = SecretBuf::with_capacity(3 * plain.len());
    escape(plain.expose(), &mut out);
    Some(out.into())
}

fn sign(keys: &Keys, day: &str, region: &str, what: &str) -> hmac::Tag {
    let mut first = SecretBuf::with_capacity(4 + keys.secret.len());
    first.extend(b"AWS4");
    first.extend(keys.secret.expose());
    let mut tag = hmac::sign(&Key::new(HMAC_SHA256, first.expose()), day.as_bytes());
    for part in [region, "sts", "aws4_request", what] {
        tag = hmac::sign(&Key::new(HMAC_SHA256, tag.as_ref()), part.as_bytes());
    }
    tag
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
