//! Parts of logins, and what is read out of answers: without copies that nobody zeroes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use reqwest::header::HeaderValue;

/// Writes `bytes` as the parts of a JSON web token are written.
pub fn web_base64(bytes: &[u8], out: &mut SecretBuf) {
    let mut text = vec![0; bytes.len().div_ceil(3) * 4];
    let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
    text.truncate(length);
    out.extend(SecretBytes::new(text).expose());
}

/// An access token as a header.
pub fn bearer(token: &SecretBytes) -> Option<HeaderValue> {
    let mut header = SecretBuf::with_capacity(7 + token.len());
    header.extend(b"Bearer ");
    header.extend(token.expose());
    let mut value = HeaderValue::from_bytes(header.expose()).ok().filter(|_| !token.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

/// What a login by OAuth gives: a token, and for how long.
pub fn granted(body: &SecretBytes) -> Option<(SecretBytes, Duration)> {
    let fields = json::object(body.expose())?;
    let token = json::to_bytes(fields.get("access_token")?);
    let seconds = json::to_bytes(fields.get("expires_in")?).expose_str()?.parse().ok()?;
    (!token.is_empty()).then_some((token, Duration::from_secs(seconds)))
}

/// A field of a JSON object, as text; an empty one is none.
pub fn field(body: &SecretBytes, name: &str) -> Option<String> {
    let text = json::to_bytes(json::object(body.expose())?.get(name)?);
    text.expose_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_grant_is_none() {
        let whole = granted(&r#"{"access_token":"t","expires_in":"3599","token_type":"Bearer"}"#.into()).unwrap();
        assert_eq!((whole.0.expose(), whole.1.as_secs()), (&b"t"[..], 3599));
        for body in ["", "[]", r#"{"access_token":"t"}"#, r#"{"access_token":"","expires_in":1}"#] {
            assert!(granted(&body.into()).is_none(), "{body}");
        }
        assert!(bearer(&"a\nb".into()).is_none() && bearer(&"".into()).is_none());
        assert_eq!(format!("{:?}", bearer(&"canary".into())), "Some(Sensitive)");
    }

    #[test]
    fn parts_of_a_web_token_have_no_padding() {
        let mut out = SecretBuf::default();
        web_base64(b"\xff\xfe", &mut out);
        assert_eq!(out.expose(), b"__4");
    }
}
