//! One-time passwords of RFC 6238, which a seed in a Secret and the clock make.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use aws_lc_rs::digest::{self, Algorithm};
use jiff::Timestamp;
use keyferry_provider_core::{
    BuildContext, Built, Credentials, Error, Generator, Keep, Made, SecretBytes, SecretRef, State, Term,
};
use serde::Deserialize;
use zeroize::Zeroizing;

/// The most digits: a code is made of 31 bits.
const DIGITS: u32 = 10;

/// The spec. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    secret: Option<SecretRef>,
    length: Option<i64>,
    time_period: Option<i64>,
    algorithm: Option<String>,
    when: Option<String>,
}

struct Mfa {
    credentials: Arc<dyn Credentials>,
    secret: SecretRef,
    code: Code,
    /// The time, where the spec says one.
    when: Option<i64>,
}

/// What a code is made of but for seed and time.
struct Code {
    digits: u32,
    period: i64,
    hash: Hash,
}

/// A hash, and the bytes that it takes at once.
type Hash = (&'static Algorithm, usize);

/// Builds the generator.
pub fn build(spec: &serde_json::Value, ctx: BuildContext) -> Built {
    let spec = Spec::deserialize(spec).map_err(|_| Error::invalid("spec is not of the form that an MFA has"))?;
    let secret = spec.secret.ok_or_else(|| Error::invalid("spec.secret is missing: it names the seed"))?;
    // Zero and less are as nothing, as in External Secrets Operator.
    let digits = u32::try_from(spec.length.filter(|length| *length > 0).unwrap_or(6)).unwrap_or(u32::MAX);
    if digits > DIGITS {
        return Err(Error::invalid(format!("spec.length must be at most {DIGITS}: a code has no more digits")));
    }
    let when = spec.when.map(|when| when.parse::<Timestamp>().map(Timestamp::as_second)).transpose();
    let when = when.map_err(|_| Error::invalid("spec.when is not a time such as 2024-01-31T12:00:00Z"))?;
    let period = spec.time_period.filter(|period| *period > 0).unwrap_or(30);
    let code = Code { digits, period, hash: hash(spec.algorithm.as_deref().unwrap_or_default())? };
    Ok(Arc::new(Mfa { credentials: ctx.credentials, secret, code, when }))
}

fn hash(name: &str) -> Result<Hash, Error> {
    Ok(match name {
        "" | "sha1" => (&digest::SHA1_FOR_LEGACY_USE_ONLY, 64),
        "sha256" => (&digest::SHA256, 64),
        "sha384" => (&digest::SHA384, 128),
        "sha512" => (&digest::SHA512, 128),
        "sha512_256" => (&digest::SHA512_256, 128),
        _ => return Err(Error::invalid("spec.algorithm must be sha1, sha256, sha384, sha512 or sha512_256")),
    })
}

#[async_trait]
impl Generator for Mfa {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let seed = self.credentials.secret(&self.secret, None).await.map_err(|error| error.context("spec.secret"))?;
        let seed = base32(&seed).ok_or_else(|| Error::invalid("spec.secret: the seed is not base32"))?;
        let now = self.when.unwrap_or_else(|| Timestamp::try_from(SystemTime::now()).map_or(0, Timestamp::as_second));
        let left = self.code.period - now.rem_euclid(self.code.period);
        let values = [("token", self.code.at(&seed, now)), ("timeLeft", left.to_string().as_str().into())];
        Ok(Made::from(std::collections::BTreeMap::from(values.map(|(key, value)| (key.to_owned(), value)))))
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

impl Code {
    fn at(&self, seed: &[u8], second: i64) -> SecretBytes {
        let mac = hmac(self.hash, seed, &second.div_euclid(self.period).to_be_bytes());
        let at = usize::from(mac[mac.len() - 1] & 0xf);
        let four = mac[at..at + 4].try_into().expect("no hash has fewer than twenty bytes");
        let number = u64::from(u32::from_be_bytes(four) & 0x7fff_ffff) % 10u64.pow(self.digits);
        SecretBytes::new(format!("{number:0width$}", width = self.digits as usize).into_bytes())
    }
}

/// RFC 2104. The library has it for all of these hashes but one.
fn hmac((algorithm, block): Hash, key: &[u8], message: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(vec![0; block]);
    if key.len() > block {
        let short = digest::digest(algorithm, key);
        padded[..short.as_ref().len()].copy_from_slice(short.as_ref());
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let keyed = |pad: u8, message: &[u8]| {
        let mut context = digest::Context::new(algorithm);
        context.update(&Zeroizing::new(padded.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>()));
        context.update(message);
        Zeroizing::new(context.finish().as_ref().to_vec())
    };
    keyed(0x5c, &keyed(0x36, message))
}

/// What base32 stands for. Spaces, small letters and padding are as they come: seeds are shown so that people can read them.
fn base32(text: &SecretBytes) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut count) = (0u32, 0);
    let letters = text.expose().trim_ascii().iter().filter(|letter| **letter != b' ');
    for letter in letters.filter(|letter| **letter != b'=') {
        let value = match letter.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            letter @ b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5 | u32::from(value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B: a seed for each hash, as long as its output.
        let seed = |length: usize| b"1234567890".iter().copied().cycle().take(length).collect::<Vec<u8>>();
        for (name, length, second, expected) in [
            ("", 20, 59, "94287082"),
            ("sha1", 20, 1_111_111_109, "07081804"),
            ("sha256", 32, 59, "46119246"),
            ("sha256", 32, 20_000_000_000, "77737706"),
            ("sha512", 64, 59, "90693936"),
            ("sha512", 64, 1_234_567_890, "93441116"),
        ] {
            let code = Code { digits: 8, period: 30, hash: hash(name).unwrap() };
            assert_eq!(code.at(&seed(length), second).expose_str(), Some(expected), "{name} {second}");
        }
        assert!(hash("md5").is_err());
    }

    #[test]
    fn hashes_that_the_rfc_has_no_codes_for_agree_with_the_library() {
        use aws_lc_rs::hmac;
        for (ours, theirs) in [("sha384", hmac::HMAC_SHA384), ("sha512", hmac::HMAC_SHA512)] {
            for length in [0, 20, 128, 300] {
                let key = vec![7u8; length];
                let tag = hmac::sign(&hmac::Key::new(theirs, &key), b"message");
                assert_eq!(super::hmac(hash(ours).unwrap(), &key, b"message").as_slice(), tag.as_ref(), "{length}");
            }
        }
        assert_eq!(super::hmac(hash("sha512_256").unwrap(), b"k", b"m").len(), 32);
    }

    #[test]
    fn seeds_are_read_as_people_have_them() {
        for text in ["JBSWY3DPEHPK3PXP", "jbsw y3dp ehpk 3pxp", "JBSWY3DPEHPK3PXP====", " JBSWY3DPEHPK3PXP\n"] {
            let seed = base32(&text.into()).unwrap();
            assert_eq!(seed.as_slice(), b"Hello!\xde\xad\xbe\xef");
        }
        assert!(base32(&"1".into()).is_none() && base32(&"".into()).is_none());
    }
}
