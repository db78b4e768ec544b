//! The tokens of the pod that mounts, as the kubelet gives them: among what is secret where the driver object says so, else among
//! the volume's attributes. Neither is ever told.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keyferry_provider_core::{SecretBytes, Token};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::refusal::Refusal;

/// Under this name they are.
pub const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// The audience of the token by which the operator opens what is sealed for a pod: nobody else is shown such a one.
pub const UNSEAL: &str = "keyferry";

/// That of the API server has no audience of its own.
const API_SERVER: &str = "";

/// Who asks for a volume, and by that where is said which tokens the kubelet gives along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// The kubelet itself.
    Kubelet,
    /// The Secrets Store CSI Driver, of which we are a provider.
    SecretsStore,
}

impl Asker {
    /// Where audiences are said, for a person.
    pub fn audiences(self) -> &'static str {
        match self {
            Self::Kubelet => "tokenRequests of the CSIDriver object csi.keyferry.io (Helm: node.audiences)",
            Self::SecretsStore => "tokenRequests, a value of the Secrets Store CSI Driver's chart",
        }
    }

    fn no_tokens(self) -> &'static str {
        match self {
            Self::Kubelet => {
                "the kubelet gave no tokens of the pod: the CSIDriver object csi.keyferry.io must have tokenRequests; the chart's \
                 has (node.enabled)"
            }
            Self::SecretsStore => {
                "the Secrets Store CSI Driver gave no tokens of the pod: set tokenRequests, a value of its chart, to \
                 [{audience: \"\"}] and one more for each audience that stores are logged in to with"
            }
        }
    }

    fn none_for_api_server(self) -> &'static str {
        match self {
            Self::Kubelet => {
                "the kubelet gave no token of the pod for the API server: tokenRequests of the CSIDriver object csi.keyferry.io \
                 must have one of audience \"\""
            }
            Self::SecretsStore => {
                "the Secrets Store CSI Driver gave no token of the pod for the API server: add {audience: \"\"} to tokenRequests, \
                 a value of its chart"
            }
        }
    }
}

/// By audience, and from whom.
pub struct Tokens(BTreeMap<String, Token>, Asker);

#[derive(Deserialize)]
struct Written {
    token: String,
    #[serde(rename = "expirationTimestamp")]
    expires: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: OfKubernetes,
}

#[derive(Deserialize)]
struct OfKubernetes {
    serviceaccount: Account,
}

#[derive(Deserialize)]
struct Account {
    uid: String,
}

impl Tokens {
    /// Takes them out of what was sent; nothing of them is left there.
    pub fn take(
        asker: Asker,
        secrets: &mut HashMap<String, String>,
        context: &mut HashMap<String, String>,
    ) -> Result<Self, Refusal> {
        let attribute = context.remove(TOKENS).map(Zeroizing::new);
        let secret = secrets.remove(TOKENS).map(Zeroizing::new);
        let missing = || Refusal::invalid(asker.no_tokens().to_owned());
        let text = secret.or(attribute).filter(|text| !text.is_empty()).ok_or_else(missing)?;
        // The parser's own words may quote what it choked on.
        let written: BTreeMap<String, Written> = serde_json::from_str(&text)
            .map_err(|_| Refusal::invalid("the kubelet's tokens of the pod are not of their form".to_owned()))?;
        let token = |written: Written| {
            let until = Duration::from_secs(u64::try_from(written.expires.as_second()).unwrap_or_default());
            Token { secret: SecretBytes::new(written.token.into_bytes()), expires: SystemTime::UNIX_EPOCH + until }
        };
        Ok(Self(written.into_iter().map(|(audience, written)| (audience, token(written))).collect(), asker))
    }

    /// Who gave them.
    pub fn asker(&self) -> Asker {
        self.1
    }

    /// The one that the API server takes.
    pub fn for_api_server(&self) -> Result<&SecretBytes, Refusal> {
        let token = self.0.get(API_SERVER).map(|token| &token.secret);
        token.ok_or_else(|| Refusal::invalid(self.1.none_for_api_server().to_owned()))
    }

    /// The audiences of all, in order; that of the API server is among them where there is such a one.
    pub fn audiences(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The UID of the ServiceAccount, by its token for the API server. The kubelet had it made: nothing of it need be checked.
    pub fn account_uid(&self) -> Option<String> {
        let text = self.0.get(API_SERVER)?.secret.expose_str()?;
        let claims = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?);
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        Some(claims.kubernetes.serviceaccount.uid).filter(|uid| !uid.is_empty())
    }

    /// One of these audiences, the first that there is; the API server's own where none is asked for.
    pub fn of(&self, audiences: &[String]) -> Option<&Token> {
        if audiences.is_empty() {
            return self.0.get(API_SERVER);
        }
        audiences.iter().find_map(|audience| self.0.get(audience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(all: &[(&str, &str)]) -> HashMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const TEXT: &str = r#"{"": {"token": "own", "expirationTimestamp": "2030-01-01T00:00:00Z"},
        "vault": {"token": "other", "expirationTimestamp": "2030-01-01T00:00:00Z"}}"#;

    #[test]
    fn they_are_taken_from_where_they_are_and_nothing_is_left() {
        for secret in [true, false] {
            let (mut secrets, mut context) = (map(&[]), map(&[("a", "b")]));
            (if secret { &mut secrets } else { &mut context }).insert(TOKENS.to_owned(), TEXT.to_owned());
            let tokens = Tokens::take(Asker::Kubelet, &mut secrets, &mut context).ok().unwrap();
            assert!(secrets.is_empty() && context.len() == 1);
            assert_eq!(tokens.for_api_server().ok().unwrap().expose(), b"own");
            let of = |audiences: &[&str]| {
                let audiences: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
                tokens.of(&audiences).map(|token| token.secret.expose().to_vec())
            };
            assert_eq!(of(&[]), Some(b"own".to_vec()));
            assert_eq!(of(&["sts.amazonaws.com", "vault"]), Some(b"other".to_vec()));
            assert_eq!(of(&["sts.amazonaws.com"]), None);
        }
    }

    #[test]
    fn whose_they_are_is_in_the_one_for_the_api_server() {
        let uid = |claims: &str| {
            let token = format!("head.{}.signature", BASE64_URL_SAFE_NO_PAD.encode(claims));
            let text = serde_json::json!({"": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}});
            let mut context = map(&[(TOKENS, text.to_string().as_str())]);
            Tokens::take(Asker::Kubelet, &mut map(&[]), &mut context).ok().unwrap().account_uid()
        };
        let claims =
            r#"{"sub": "x", "kubernetes.io": {"namespace": "team", "serviceaccount": {"name": "web", "uid": "5d3f"}}}"#;
        assert_eq!(uid(claims).as_deref(), Some("5d3f"));
        for none in ["", "{}", r#"{"kubernetes.io": {"serviceaccount": {"uid": ""}}}"#, r#"{"kubernetes.io": 1}"#] {
            assert_eq!(uid(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_quoted() {
        let refused = |asker, text: &str| {
            let mut context = map(&[(TOKENS, text)]);
            Tokens::take(asker, &mut map(&[]), &mut context).err().unwrap().message.into_string()
        };
        assert!(refused(Asker::Kubelet, "").contains("CSIDriver object csi.keyferry.io must have tokenRequests"));
        assert!(refused(Asker::SecretsStore, "").contains("set tokenRequests, a value of its chart"));
        let told = refused(Asker::Kubelet, r#"{"": {"token": "hidden", "expirationTimestamp": "canary"}}"#);
        assert!(!told.contains("hidden") && !told.contains("canary"), "{told}");
    }
}
