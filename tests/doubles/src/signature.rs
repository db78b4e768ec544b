//! Signatures of requests, checked: AWS's, version 4, by the one who has the secret key; Oracle's, by the public key.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::machine::AWS_KEY;

/// A request that claims to be signed.
pub(crate) struct Signed<'a> {
    pub path: &'a str,
    pub host: &'a str,
    /// Header values by name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<String>,
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The id of the key that it claims.
    pub fn key_id(&self) -> Option<String> {
        let authorization = (self.header)("authorization")?;
        let scope = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?.split(',').next()?;
        scope.split('/').next().map(str::to_owned)
    }

    /// The names of the headers that are signed.
    pub fn names(&self) -> Vec<String> {
        let authorization = (self.header)("authorization").unwrap_or_default();
        let names = part(&authorization, "SignedHeaders=").unwrap_or_default();
        names.split(';').map(str::to_owned).collect()
    }

    /// Whether the signature is one by this key for a POST to STS.
    pub fn is_by(&self, secret: &str) -> bool {
        self.expected(secret).is_some_and(|(expected, claimed)| expected == claimed)
    }

    fn expected(&self, secret: &str) -> Option<(String, String)> {
        let authorization = (self.header)("authorization")?;
        let time = (self.header)("x-amz-date")?;
        let credential = part(&authorization, "Credential=")?;
        let [_, date, region, service, end] = credential.split('/').collect::<Vec<_>>()[..] else { return None };
        if service != "sts" || end != "aws4_request" || !time.starts_with(date) {
            return None;
        }
        let names = part(&authorization, "SignedHeaders=")?;
        // All that matters must be signed, and names are in order.
        let list: Vec<&str> = names.split(';').collect();
        if !list.is_sorted() || !list.contains(&"host") || !list.contains(&"x-amz-date") {
            return None;
        }
        let mut request = format!("POST\n{}\n\n", self.path);
        for name in &list {
            let value = if *name == "host" { self.host.to_owned() } else { (self.header)(name)? };
            request += &format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        request += &format!("\n{names}\n{}", sha256(self.body));
        let scope = format!("{date}/{region}/{service}/{end}");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(request.as_bytes()));
        let steps = [date, region, service, end, &text];
        let key = steps.iter().fold(format!("AWS4{secret}").into_bytes(), |key, step| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec()
        });
        Some((hex(&key), part(&authorization, "Signature=")?.to_owned()))
    }
}

fn part<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = authorization.split_once(name)?;
    rest.split(',').next().map(str::trim)
}

/// Whether this call, which is left to us to make, asks STS at `host` who signed it, and the machine's key did.
pub(crate) fn asks_for_machine(host: &str, headers: &Value, body: &str) -> bool {
    let header = |name: &str| {
        let (_, value) = headers.as_object()?.iter().find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        // One, or a list of them.
        value.as_str().or_else(|| value.as_array()?.first()?.as_str()).map(str::to_owned)
    };
    let [id, secret, token] = AWS_KEY;
    let signed = Signed { path: "/", host, header: &header, body: body.as_bytes() };
    body == "Action=GetCallerIdentity&Version=2011-06-15"
        && signed.key_id().as_deref() == Some(id)
        && header("x-amz-security-token").as_deref() == Some(token)
        && signed.names().iter().any(|name| name == "x-amz-security-token")
        && signed.is_by(secret)
}

/// The region of the key that signed.
pub(crate) fn region(authorization: &str) -> Option<&str> {
    part(authorization, "Credential=")?.split('/').nth(2)
}

/// A request to Oracle's cloud, as it came.
#[derive(Clone, Copy)]
pub(crate) struct OracleRequest<'a> {
    pub method: &'a str,
    /// What is asked for.
    pub target: &'a str,
    /// Headers by name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<String>,
    pub body: &'a [u8],
}

impl OracleRequest<'_> {
    /// Whether it is signed under this id, by the key with this public half. A body must be signed, too.
    pub fn is_signed_by(self, key_id: &str, public: &[u8]) -> bool {
        self.check(key_id, public).is_some()
    }

    fn check(self, key_id: &str, public: &[u8]) -> Option<()> {
        let Self { method, target, header, body } = self;
        let shown = header("authorization")?;
        let fields = shown.strip_prefix("Signature ")?;
        let field = |name: &str| {
            let (_, rest) = fields.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let is_ours = field("keyId")? == key_id && field("algorithm")? == "rsa-sha256" && field("version")? == "1";
        let names: Vec<&str> = field("headers")?.split(' ').collect();
        let must = ["date", "(request-target)", "host"].iter();
        let of_body = ["content-length", "content-type", "x-content-sha256"];
        let must: Vec<&str> = must.chain(of_body.iter().filter(|_| !body.is_empty())).copied().collect();
        if !is_ours || !must.iter().all(|name| names.contains(name)) {
            return None;
        }
        if !body.is_empty() && header("x-content-sha256")? != STANDARD.encode(digest::digest(&digest::SHA256, body)) {
            return None;
        }
        let line = |name: &&str| {
            let value = match *name {
                "(request-target)" => format!("{} {target}", method.to_ascii_lowercase()),
                name => header(name)?,
            };
            Some(format!("{name}: {value}"))
        };
        let text: Vec<String> = names.iter().map(line).collect::<Option<_>>()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        key.verify(text.join("\n").as_bytes(), &STANDARD.decode(field("signature")?).ok()?).ok()
    }
}

/// A user of Oracle's cloud, and its key.
pub struct OracleUser {
    tenancy: String,
    user: String,
    fingerprint: String,
    pair: RsaKeyPair,
}

impl OracleUser {
    /// One with a key of its own.
    ///
    /// # Panics
    /// Never: a key can be made.
    pub fn new(tenancy: &str, user: &str, fingerprint: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let [tenancy, user, fingerprint] = [tenancy, user, fingerprint].map(str::to_owned);
        Self { tenancy, user, fingerprint, pair }
    }

    /// The private key as a PEM.
    ///
    /// # Panics
    /// Never: the key was made here.
    pub fn private_key(&self) -> String {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair).expect("a key");
        crate::text::pem("PRIVATE KEY", der.as_ref())
    }

    /// The user's id.
    pub fn id(&self) -> &str {
        &self.user
    }

    /// The same whose key has this fingerprint.
    pub(crate) fn with_fingerprint(self, fingerprint: String) -> Self {
        Self { fingerprint, ..self }
    }

    /// Whether this request is signed by the user.
    pub(crate) fn has_signed(&self, request: OracleRequest<'_>) -> bool {
        let Self { tenancy, user, fingerprint, .. } = self;
        request.is_signed_by(&format!("{tenancy}/{user}/{fingerprint}"), self.pair.public_key().as_ref())
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
