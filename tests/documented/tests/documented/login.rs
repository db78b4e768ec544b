//! What stores log in with here: nothing that any server takes, and all of it of the right form.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_doubles::{Authority, OracleUser};
use keyferry_provider_core::{CaRef, Credentials, Error, SecretBytes, SecretRef, ServiceAccountRef, Token};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

static RSA: LazyLock<String> = LazyLock::new(|| OracleUser::new("t", "u", "f").private_key());

static PAIR: LazyLock<(String, String)> = LazyLock::new(|| AUTHORITY.client("reader"));

/// A text in brackets is what it says; any other is itself.
pub fn special(text: &str) -> String {
    match text {
        "(a CA)" => STANDARD.encode(AUTHORITY.pem()),
        "(an RSA key)" => RSA.clone(),
        "(a certificate and its RSA key)" => {
            let key = KeyPair::from_pem(&RSA).expect("a key");
            let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
            format!("{}{}", certificate.pem(), *RSA)
        }
        "(a Google key file)" => json!({
            "type": "service_account", "project_id": "my-project", "private_key_id": "1", "private_key": *RSA,
            "client_email": "reader@my-project.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        })
        .to_string(),
        "(a Google configuration of a federation)" => json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/pool/providers/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"url": "https://tokens.example.com/token"},
        })
        .to_string(),
        "(a kubeconfig)" => json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": "https://cluster.example.com:6443",
                "certificate-authority-data": STANDARD.encode(AUTHORITY.pem()),
            }}],
            "users": [{"name": "u", "user": {"token": "a-token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string(),
        text => {
            assert!(!text.starts_with('('), "nobody knows what {text} is");
            text.to_owned()
        }
    }
}

/// Answers for every object; what is in it is said by the entry, by the name of the key, or is something.
pub struct Logins(BTreeMap<String, String>);

impl Logins {
    pub fn new(secrets: &BTreeMap<String, String>) -> Self {
        Self(secrets.iter().map(|(path, text)| (path.clone(), special(text))).collect())
    }

    fn at(&self, name: &str, key: &str) -> SecretBytes {
        let said = self.0.get(&format!("{name}/{key}")).cloned();
        let text = said.unwrap_or_else(|| match (name, key) {
            ("pair", "cert") => PAIR.0.clone(),
            ("pair", "key") => PAIR.1.clone(),
            _ => "a-value".to_owned(),
        });
        text.as_str().into()
    }
}

#[async_trait]
impl Credentials for Logins {
    async fn secret(&self, reference: &SecretRef, default_key: Option<&str>) -> Result<SecretBytes, Error> {
        let key = reference.key.as_deref().or(default_key).ok_or_else(|| Error::invalid("the reference has no key"))?;
        Ok(self.at(reference.name.as_deref().unwrap_or_default(), key))
    }

    async fn labelled_secret(
        &self,
        reference: &SecretRef,
        _: &str,
        _: &str,
    ) -> Result<BTreeMap<String, SecretBytes>, Error> {
        let token = self.at(reference.name.as_deref().unwrap_or_default(), "token");
        Ok([("token".to_owned(), token)].into())
    }

    async fn service_account_token(&self, _: &ServiceAccountRef, _: &[&str]) -> Result<Token, Error> {
        let expires = SystemTime::now() + Duration::from_secs(600);
        Ok(Token { secret: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhcHAifQ.c2ln".into(), expires })
    }

    /// The account `app` stands for somebody at each cloud; any other for nobody.
    async fn service_account_annotations(
        &self,
        reference: &ServiceAccountRef,
    ) -> Result<BTreeMap<String, String>, Error> {
        let all = [
            ("eks.amazonaws.com/role-arn", "arn:aws:iam::123456789012:role/app"),
            ("azure.workload.identity/client-id", "22222222-2222-2222-2222-222222222222"),
            ("azure.workload.identity/tenant-id", "11111111-1111-1111-1111-111111111111"),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
        Ok(all.filter(|_| reference.name == "app").collect())
    }

    async fn controller_token(&self) -> Result<SecretBytes, Error> {
        Ok("a-token-of-the-operator".into())
    }

    async fn config_map(&self, reference: &SecretRef) -> Result<SecretBytes, Error> {
        self.secret(reference, None).await
    }

    /// A CA, where the entry says nothing else: Google's configurations are read so, too.
    async fn ca_bundle(&self, reference: &CaRef) -> Result<Vec<u8>, Error> {
        let said = self.0.get(&format!("{}/{}", reference.name, reference.key.as_deref().unwrap_or_default()));
        Ok(said.cloned().unwrap_or_else(|| AUTHORITY.pem()).into_bytes())
    }
}
