//! AWS's signature, version 4, checked: by the one who has the secret key.

use aws_lc_rs::{digest, hmac};

/// A request that claims to be signed.
pub(super) struct Signed<'a> {
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

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
