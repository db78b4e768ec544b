//! The signature of a request: ACS3-HMAC-SHA256. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use keyferry_provider_core::{SecretBuf, SecretBytes};
use keyferry_provider_http::path::encode;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// An access key.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its id, which names it.
    pub id: SecretBytes,
    /// Its secret, which signs.
    pub secret: SecretBytes,
    /// What goes along with a key that is lent.
    pub token: Option<SecretBytes>,
}

/// A query as it is sent and signed: encoded, in the order of its names.
pub fn query(pairs: &[(&str, String)]) -> String {
    let mut pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", parameter(name), parameter(value))).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// A part of a query or form.
pub fn parameter(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

/// The hash of a body, as the request says it.
pub fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The value of `Authorization` for a POST to `/` with this query and these headers, whose names are in lower case and
/// which include the body's hash.
pub fn authorization(key: &AccessKey, query: &str, headers: &[(&str, &[u8])], body_hash: &str) -> SecretBuf {
    let mut headers = headers.to_vec();
    headers.sort_unstable_by_key(|(name, _)| *name);
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    // A token is among the headers.
    let mut request = SecretBuf::default();
    request.extend(format!("POST\n/\n{query}\n").as_bytes());
    for (name, value) in headers {
        request.extend(name.as_bytes());
        request.push(b':');
        request.extend(value);
        request.push(b'\n');
    }
    request.extend(format!("\n{names}\n{body_hash}").as_bytes());
    let signed = format!("{ALGORITHM}\n{}", hash(request.expose()));
    let signature = hmac::sign(&hmac::Key::new(HMAC_SHA256, key.secret.expose()), signed.as_bytes());
    let mut value = SecretBuf::default();
    value.extend(format!("{ALGORITHM} Credential=").as_bytes());
    value.extend(key.id.expose());
    value.extend(format!(",SignedHeaders={names},Signature={}", hex(signature.as_ref())).as_bytes());
    value
}

/// Bytes in lower case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the vendor's page on signatures of version 3.
    #[test]
    fn the_vendors_example() {
        let key = AccessKey { id: "YourAccessKeyId".into(), secret: "YourAccessKeySecret".into(), token: None };
        let query = query(&[
            ("RegionId", "cn-shanghai".into()),
            ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".into()),
        ]);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash(b""), empty);
        let headers: [(&str, &[u8]); 6] = [
            ("host", b"ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-signature-nonce", b"3156853299f313e23d1673dc12e1703d"),
            ("x-acs-action", b"RunInstances"),
            ("x-acs-date", b"2023-10-26T10:22:32Z"),
            ("x-acs-version", b"2014-05-26"),
            ("x-acs-content-sha256", empty.as_bytes()),
        ];
        let value = authorization(&key, &query, &headers, empty);
        let value = std::str::from_utf8(value.expose()).unwrap();
        assert_eq!(
            value,
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,\
             SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn parameters_are_encoded_and_sorted() {
        assert_eq!(query(&[("b", "a b/é~".into()), ("a", "1+1=2&".into())]), "a=1%2B1%3D2%26&b=a%20b%2F%C3%A9~");
    }
}
