//! What a login has signed: assertions of key files, and questions to AWS.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// A key, and what its file holds.
pub(super) struct Pair {
    pub pem: String,
    public: Vec<u8>,
}

impl Pair {
    pub fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key has a form");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self { pem, public: pair.public_key().as_ref().to_vec() }
    }

    /// What an assertion claims, where this key has signed it.
    pub fn claims(&self, assertion: &str) -> Option<Value> {
        let (signed, signature) = assertion.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        public.verify(signed.as_bytes(), &signature).ok()?;
        (read(header)?["alg"] == "RS256").then(|| read(claims)).flatten()
    }
}

/// A question to AWS who somebody is, for `audience`: `None` unless it is signed by who has the `secret` of the id that it
/// names.
pub(super) fn asked_by(question: &Value, audience: &str, secret: impl Fn(&str) -> Option<String>) -> Option<()> {
    let header = |wanted: &str| {
        let all = question["headers"].as_array()?;
        let found =
            all.iter().find(|header| header["key"].as_str().is_some_and(|key| key.eq_ignore_ascii_case(wanted)));
        found?["value"].as_str().map(str::to_owned)
    };
    let (place, query) = question["url"].as_str()?.strip_prefix("https://")?.split_once('?')?;
    let host = place.trim_end_matches('/');
    let region = host.strip_prefix("sts.")?.strip_suffix(".amazonaws.com")?.to_owned();
    let authorization = header("authorization")?;
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}="))?;
        rest.split(',').next().map(|part| part.trim().to_owned())
    };
    let (credential, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let (id, scope) = credential.split_once('/')?;
    let day = scope.split('/').next()?;
    if header("host")? != host
        || header("x-goog-cloud-target-resource")? != audience
        || scope != format!("{day}/{region}/sts/aws4_request")
    {
        return None;
    }
    let mut request = format!("{}\n/\n{query}\n", question["method"].as_str()?);
    for name in names.split(';') {
        request.push_str(&format!("{name}:{}\n", header(name)?));
    }
    request.push_str(&format!("\n{names}\n{}", hex(digest(&SHA256, b"").as_ref())));
    let what = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        header("x-amz-date")?,
        hex(digest(&SHA256, request.as_bytes()).as_ref())
    );
    let mut tag = sign(&Key::new(HMAC_SHA256, format!("AWS4{}", secret(id)?).as_bytes()), day.as_bytes());
    for part in [region.as_str(), "sts", "aws4_request", &what] {
        tag = sign(&Key::new(HMAC_SHA256, tag.as_ref()), part.as_bytes());
    }
    (hex(tag.as_ref()) == signature).then_some(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
