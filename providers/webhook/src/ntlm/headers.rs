//! The way through HTTP: what a server offers, and what is shown to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::SecretBytes;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

/// The longest challenge, in base64. Those of servers are some hundred bytes.
const LONGEST: usize = 8 << 10;

/// By which name the messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// NTLM's own.
    Ntlm,
    /// That of what leaves open which login it is: servers that go by this name alone take NTLM under it, too.
    Negotiate,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }

    /// A message, as a header has it.
    pub fn header(self, message: &[u8]) -> Option<HeaderValue> {
        let text = SecretBytes::new(format!("{} {}", self.name(), STANDARD.encode(message)).into_bytes());
        let mut value = HeaderValue::from_bytes(text.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What a server says of a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing.
    None,
    /// That it may begin.
    Begin,
    /// How it goes on.
    Token(Vec<u8>),
    /// That it goes on, with what is no base64, or too long.
    Broken,
}

impl Offer {
    /// Of the headers of an answer.
    pub fn of(headers: &HeaderMap, scheme: Scheme) -> Self {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut offers = texts.flat_map(|text| text.split(',')).filter_map(|offer| {
            let (name, token) = offer.trim().split_once(' ').unwrap_or((offer.trim(), ""));
            name.eq_ignore_ascii_case(scheme.name()).then(|| token.trim().to_owned())
        });
        let Some(token) = offers.next() else { return Self::None };
        match token.len() {
            0 => Self::Begin,
            1..=LONGEST => STANDARD.decode(token).map_or(Self::Broken, Self::Token),
            _ => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_found_among_the_rest() {
        let of = |texts: &[&str], scheme| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
            }
            Offer::of(&headers, scheme)
        };
        for (texts, ntlm, negotiate) in [
            (&[][..], Offer::None, Offer::None),
            (&["Basic realm=\"a, NTLMv2 b\""], Offer::None, Offer::None),
            (&["Negotiate", "NTLM"], Offer::Begin, Offer::Begin),
            (&["Negotiate, NTLM, Basic realm=\"x\""], Offer::Begin, Offer::Begin),
            (&["Negotiate"], Offer::None, Offer::Begin),
            (&["ntlm dGVzdA=="], Offer::Token(b"test".to_vec()), Offer::None),
            (&["Negotiate dGVzdA=="], Offer::None, Offer::Token(b"test".to_vec())),
            (&["NTLM not base64"], Offer::Broken, Offer::None),
            (&[&format!("NTLM {}", "A".repeat(LONGEST + 4))], Offer::Broken, Offer::None),
        ] {
            assert_eq!((of(texts, Scheme::Ntlm), of(texts, Scheme::Negotiate)), (ntlm, negotiate), "{texts:?}");
        }
    }

    #[test]
    fn what_is_shown_is_not_told() {
        let shown = Scheme::Ntlm.header(b"canary").unwrap();
        assert_eq!(shown, "NTLM Y2FuYXJ5");
        assert_eq!(format!("{shown:?}"), "Sensitive");
    }
}
