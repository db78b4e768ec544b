//! Oracle's signature of requests: some headers, and what is asked for, by the private key of a user, or of a token.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_keys::pkcs12::cipher::{Password, decrypt};
use keyferry_keys::{Meter as _, PrivateKey, Steps, der, pem};
use keyferry_provider_core::{Error, SecretBytes};

/// How much work a key may ask for: one of 8192 bits, or some million rounds of deriving what it is encrypted with.
const MOST_STEPS: u64 = 4_000_000;

/// Who signs.
pub struct Signer {
    /// `TENANCY/USER/FINGERPRINT`, or `ST$TOKEN`.
    key_id: SecretBytes,
    pair: RsaKeyPair,
}

/// A request that is to be signed.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The host, with its port where the URL has one.
    pub host: &'a str,
    /// The path, and the query behind a question mark, as they are sent.
    pub target: &'a str,
    /// The body, and of what kind it is; requests that can have one are signed with it.
    pub body: Option<(&'a str, &'a [u8])>,
}

impl Signer {
    /// The user of this tenancy whose key has this fingerprint.
    ///
    /// # Errors
    /// `Invalid` where the key can't be read, is no RSA key, or is encrypted with something else than `passphrase`; `field`
    /// is where it comes from.
    pub fn new(
        [tenancy, user, fingerprint]: [&str; 3],
        key: &SecretBytes,
        passphrase: Option<&SecretBytes>,
        field: &str,
    ) -> Result<Self, Error> {
        let pair = pair(key, passphrase).map_err(|wrong| Error::invalid(format!("{field}: {wrong}")))?;
        Ok(Self { key_id: format!("{tenancy}/{user}/{fingerprint}").as_str().into(), pair })
    }

    /// Whoever was given this token for the key.
    pub(crate) fn of_token(token: &SecretBytes, pair: RsaKeyPair) -> Self {
        Self { key_id: SecretBytes::new([b"ST$", token.expose()].concat()), pair }
    }

    /// The headers that show who asks: all that are signed but for the host, and the signature.
    ///
    /// # Errors
    /// `Invalid` where the key can't sign.
    pub fn headers(&self, request: Request<'_>) -> Result<Vec<(&'static str, String)>, Error> {
        self.headers_at(request, &now())
    }

    fn headers_at(&self, request: Request<'_>, date: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let Signed { names, text, mut headers } = signed(request, date);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| Error::invalid("Oracle's request can't be signed with this private key"))?;
        headers.push((
            "authorization",
            format!(
                "Signature version=\"1\",headers=\"{names}\",keyId=\"{}\",algorithm=\"rsa-sha256\",signature=\"{}\"",
                self.key_id.expose_str().unwrap_or_default(),
                STANDARD.encode(signature)
            ),
        ));
        Ok(headers)
    }
}

/// What is signed of a request.
struct Signed {
    names: String,
    text: String,
    headers: Vec<(&'static str, String)>,
}

fn signed(request: Request<'_>, date: &str) -> Signed {
    let Request { method, host, target, body } = request;
    let mut headers = vec![("date", date.to_owned())];
    let target = format!("{} {target}", method.to_ascii_lowercase());
    let mut signed = vec![("date", date.to_owned()), ("(request-target)", target), ("host", host.to_owned())];
    if let Some((kind, body)) = body {
        let hash = STANDARD.encode(digest(&SHA256, body).as_ref());
        let of_body =
            [("content-length", body.len().to_string()), ("content-type", kind.to_owned()), ("x-content-sha256", hash)];
        signed.extend(of_body.clone());
        headers.extend(of_body);
    }
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let lines: Vec<String> = signed.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    Signed { names: names.join(" "), text: lines.join("\n"), headers }
}

/// A time as HTTP writes it.
fn now() -> String {
    // A clock of past all counting signs nothing that anybody takes.
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The key in a PEM of PKCS #1 or #8, the latter also encrypted.
fn pair(file: &SecretBytes, passphrase: Option<&SecretBytes>) -> Result<RsaKeyPair, &'static str> {
    const NO_KEY: &str = "it holds no private key that can be read: it must be a PEM, as Oracle's console gives it";
    const SEALED: &str = "the private key can't be decrypted: check its passphrase";
    let block = pem::decode(file.expose()).0.ok_or(NO_KEY)?;
    let mut steps = Steps(MOST_STEPS);
    steps.check(block.bytes.len())?;
    let key = match block.kind.as_slice() {
        // An encryption of before PKCS #8, whose key is one round of MD5.
        _ if block.headers.contains_key(b"DEK-Info".as_slice()) => {
            return Err(
                "the private key is encrypted in a way that is not supported: write it anew with openssl pkcs8 -topk8",
            );
        }
        b"ENCRYPTED PRIVATE KEY" => {
            let passphrase = passphrase.ok_or("the private key is encrypted, and no passphrase is named")?;
            let mut outer = der::Reader::only(&block.bytes, der::SEQUENCE).ok_or(NO_KEY)?;
            let algorithm = outer.sequence().ok_or(NO_KEY)?;
            let sealed = outer.take(der::OCTET_STRING).ok_or(NO_KEY)?;
            let opened = decrypt(&mut steps, algorithm, &Password::new(passphrase.expose())?, sealed);
            // A wrong passphrase leaves what is padded rightly once in 256 times, and that is no key.
            Some(opened.ok().and_then(|opened| PrivateKey::parse(&opened)).ok_or(SEALED)?)
        }
        b"PRIVATE KEY" | b"RSA PRIVATE KEY" => PrivateKey::parse(&block.bytes),
        _ => None,
    };
    let key = key.filter(PrivateKey::is_rsa).and_then(|key| key.to_pkcs8()).ok_or(NO_KEY)?;
    RsaKeyPair::from_pkcs8(&key).map_err(|_| "it is no RSA key of at least 2048 bits, which is what Oracle takes")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use keyferry_keys::pkcs12::cipher::{Salt, encrypt};

    use super::*;

    const GET: Request<'_> = Request {
        method: "GET",
        host: "iaas.us-phoenix-1.oraclecloud.com",
        target: "/20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1",
        body: None,
    };
    const DATE: &str = "Thu, 05 Jan 2014 21:31:40 GMT";

    /// The example of Oracle's documentation.
    #[test]
    fn what_is_signed_of_a_question() {
        let Signed { names, text, headers } = signed(GET, DATE);
        assert_eq!(names, "date (request-target) host");
        assert_eq!(
            text,
            "date: Thu, 05 Jan 2014 21:31:40 GMT\n\
             (request-target): get /20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1\n\
             host: iaas.us-phoenix-1.oraclecloud.com"
        );
        assert_eq!(headers, [("date", DATE.to_owned())]);
    }

    #[test]
    fn what_is_signed_with_a_body() {
        let body = Some(("application/json", &b"{}"[..]));
        let Signed { names, text, headers } = signed(Request { method: "POST", target: "/x", body, ..GET }, DATE);
        assert_eq!(names, "date (request-target) host content-length content-type x-content-sha256");
        let hash = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=";
        let end = format!("content-length: 2\ncontent-type: application/json\nx-content-sha256: {hash}");
        assert!(text.ends_with(&end), "{text}");
        assert_eq!(headers.last(), Some(&("x-content-sha256", hash.to_owned())));
    }

    fn pem(kind: &str, der: &[u8]) -> SecretBytes {
        SecretBytes::new(pem::text(kind, der).to_vec())
    }

    #[test]
    fn keys_in_every_form_that_people_keep_them() {
        let made = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&made).unwrap();
        let pkcs1 = {
            let mut reader = der::Reader::only(pkcs8.as_ref(), der::SEQUENCE).unwrap();
            reader.small().unwrap();
            reader.sequence().unwrap();
            reader.take(der::OCTET_STRING).unwrap().to_vec()
        };
        let password = Password::new(b"canary").unwrap();
        let salt: Salt = [7; 16];
        let encrypted = |plain: &[u8]| {
            let (algorithm, sealed) = encrypt(&mut Steps(MOST_STEPS), &password, plain, [salt, salt]).unwrap();
            pem("ENCRYPTED PRIVATE KEY", &der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, &sealed)]))
        };
        // What a wrong passphrase finds at times: the padding is right by chance.
        let padded = encrypted(b"canary");
        let encrypted = encrypted(pkcs8.as_ref());
        let (right, wrong) = (SecretBytes::from("canary"), SecretBytes::from("canary2"));
        for (key, passphrase) in [
            (pem("PRIVATE KEY", pkcs8.as_ref()), None),
            (pem("RSA PRIVATE KEY", &pkcs1), None),
            (encrypted.clone(), Some(&right)),
        ] {
            let signer = Signer::new(["t", "u", "f"], &key, passphrase, "the.field").unwrap();
            let headers = signer.headers_at(GET, DATE).unwrap();
            let shown = &headers.last().unwrap().1;
            let (before, signature) = shown.split_once(",signature=\"").unwrap();
            assert_eq!(
                before,
                "Signature version=\"1\",headers=\"date (request-target) host\",keyId=\"t/u/f\",algorithm=\"rsa-sha256\""
            );
            let signature = STANDARD.decode(signature.trim_end_matches('"')).unwrap();
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, made.public_key().as_ref().to_vec());
            public.verify(signed(GET, DATE).text.as_bytes(), &signature).unwrap();
        }
        for (key, passphrase, words) in [
            (encrypted.clone(), None, "no passphrase is named"),
            (encrypted, Some(&wrong), "check its passphrase"),
            (padded, Some(&right), "check its passphrase"),
            ("canary".into(), None, "no private key that can be read"),
            (pem("RSA PRIVATE KEY", b"canary"), None, "no private key that can be read"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n".into(),
                None,
                "openssl pkcs8 -topk8",
            ),
        ] {
            let error = Signer::new(["t", "u", "f"], &key, passphrase, "the.field").err().unwrap();
            assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_time_as_http_writes_it() {
        let time = now();
        assert!(time.len() == 29 && time.ends_with(" GMT") && time.as_bytes()[3] == b',', "{time}");
    }
}
