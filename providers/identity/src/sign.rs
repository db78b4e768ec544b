//! AWS's signature of a request, version 4, for the two calls to STS that logins need: POST to the root, and no query.
//!
//! Of our own, since it is less than a page, and an SDK for it would be in builds without AWS.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};
use keyferry_provider_core::{SecretBuf, SecretBytes};

/// Keys of AWS.
#[derive(Clone)]
pub struct Keys {
    /// The access key id, which is no secret.
    pub id: String,
    /// The secret access key.
    pub secret: SecretBytes,
    /// The session token of temporary keys.
    pub token: Option<SecretBytes>,
}

/// What a signature is good for.
pub struct Scope<'a> {
    /// When: `20150830T123600Z`.
    pub time: &'a str,
    /// Where.
    pub region: &'a str,
    /// At whom.
    pub service: &'a str,
}

/// The header `Authorization` of a POST to `/` with these headers, whose names are in lower case and in order, and this
/// body.
pub fn authorization(keys: &Keys, scope: &Scope<'_>, headers: &[(&str, &str)], body: &[u8]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut request = SecretBuf::default();
    request.extend(b"POST\n/\n\n");
    for (name, value) in headers {
        for part in [name, ":", value.trim(), "\n"] {
            request.extend(part.as_bytes());
        }
    }
    request.extend(format!("\n{names}\n{}", hex(digest(&SHA256, body).as_ref())).as_bytes());
    let Scope { time, region, service } = scope;
    let date = &time[..8];
    let place = format!("{date}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{}", hex(digest(&SHA256, request.expose()).as_ref()));
    let mut first = SecretBuf::default();
    first.extend(b"AWS4");
    first.extend(keys.secret.expose());
    let mut tag = mac(first.expose(), date);
    for part in [region, service, "aws4_request", text.as_str()] {
        tag = mac(tag.as_ref(), part);
    }
    format!("AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={}", keys.id, hex(tag.as_ref()))
}

fn mac(key: &[u8], text: &str) -> Tag {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that AWS publishes for requests of this form.
    #[test]
    fn the_vectors_of_aws() {
        let keys = Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let scope = Scope { time: "20150830T123600Z", region: "us-east-1", service: "service" };
        let (host, time) = (("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        let spaces = ("my-header1", "  value1 ");
        for (name, headers, body, names, signature) in [
            (
                "post-vanilla",
                &[host, time][..],
                "",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                &[form, host, time],
                "Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-header-value-case",
                &[host, ("my-header1", "VALUE1"), time],
                "",
                "host;my-header1;x-amz-date",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
        ] {
            assert_eq!(
                authorization(&keys, &scope, headers, body.as_bytes()),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders={names}, Signature={signature}"
                ),
                "{name}"
            );
        }
        let trimmed = authorization(&keys, &scope, &[host, spaces, time], b"");
        assert_eq!(trimmed, authorization(&keys, &scope, &[host, ("my-header1", "value1"), time], b""));
    }
}
