//! Certificate Manager, and reading it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::login::Login;
use keyferry_provider_aws_common::{Cause, Config, Connection, Failure, JsonApi, JsonClient, Service};
use keyferry_provider_core::{
    Answer, Blame, BuildContext, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, PropertyLookup,
    Provider, Push, Query, Reach, Remote, SecretBuf, SecretBytes, json as parts, one_by_one,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use crate::pem;
use crate::sealed;

const SERVICE: Service = Service {
    name: "Certificate Manager",
    metric: "AWS/CertificateManager",
    endpoint: &["AWS_ACM_ENDPOINT", "AWS_ENDPOINT_URL_ACM"],
    operations: &[
        ("ExportCertificate", "ExportCertificate"),
        ("GetCertificate", "GetCertificate"),
        ("ImportCertificate", "ImportCertificate"),
        ("DeleteCertificate", "DeleteCertificate"),
        ("ListTagsForCertificate", "ListTagsForCertificate"),
        ("AddTagsToCertificate", "AddTagsToCertificate"),
        ("RemoveTagsFromCertificate", "RemoveTagsFromCertificate"),
        ("GetResources", "GetResources"),
    ],
};

const ACM: JsonApi = JsonApi { host: "acm", signs_as: None, target: "CertificateManager", is_fips_in_gov: true };

/// Where certificates are found by their tags.
const TAGGING: JsonApi =
    JsonApi { host: "tagging", signs_as: None, target: "ResourceGroupsTaggingAPI_20170126", is_fips_in_gov: false };
const TAGGING_ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API"];

/// What the store can do.
pub const CAPABILITIES: Capabilities =
    Capabilities { metadata: Metadata::PassedOver, push: true, delete: true, marks: true, ..Capabilities::READ_ONLY };

/// The certificates of one account and region, as one login sees them.
pub struct CertificateManager {
    acm: JsonClient,
    tagging: JsonClient,
    login: Login,
    prefix: String,
    /// Where they are, for messages.
    pub(crate) service: String,
    /// The ARNs of what was imported, by key: a search by tags finds them some time later only.
    pub(crate) imported: Mutex<BTreeMap<String, String>>,
}

impl CertificateManager {
    /// From the spec.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let connection = Connection::new(config, &SERVICE, ctx).await?;
        let acm = JsonClient::new(ACM, &connection, connection.sdk.clone());
        let tagging = JsonClient::new(TAGGING, &connection, connection.at(TAGGING_ENDPOINT, &ctx.environment));
        let Connection { login, service, .. } = connection;
        Ok(Self { acm, tagging, login, prefix: config.prefix.clone(), service, imported: Mutex::default() })
    }

    /// What a certificate that is pushed to `key` bears as its name.
    pub(crate) fn name_of(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Exports one certificate with its key. The outer error is about the store as a whole.
    async fn export(&self, key: &Key) -> Answer {
        let arn = &key.name;
        let passphrase = passphrase()?;
        let body = json!({ "CertificateArn": arn, "Passphrase": STANDARD.encode(&passphrase) });
        let body = SecretBytes::new(body.to_string().into_bytes());
        let exported = match self.acm.call("ExportCertificate", body).await {
            Ok(answer) => answer,
            Err(Failure::Refused(Cause::Invalid, _)) => {
                let message = format!(
                    "{} can't export {}: key must be the ARN of a certificate that was requested with export enabled, or \
                     is of a private CA",
                    self.service,
                    what(arn)
                );
                return Err(Error::invalid(message).with_blame(Blame::Request));
            }
            Err(failure) => return Err(self.refusal(failure, "acm:ExportCertificate", arn)),
        };
        let text = Exported::of(&exported).and_then(|exported| exported.text(&passphrase));
        text.map(Fetched::from).ok_or_else(|| {
            let message = format!("{} exported {} in a form that we don't know", self.service, what(arn));
            Error::new(ErrorKind::Malformed, message)
        })
    }

    /// A call about the certificate of this ARN, with these fields besides; nothing where there is none.
    pub(crate) async fn about<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        arn: &str,
        mut more: serde_json::Value,
    ) -> Result<Option<T>, Error> {
        more["CertificateArn"] = json!(arn);
        let body = SecretBytes::new(more.to_string().into_bytes());
        match self.acm.call(operation, body).await {
            Ok(answer) if answer.is_empty() => self.read(&"{}".into()).map(Some),
            Ok(answer) => self.read(&answer).map(Some),
            Err(Failure::Refused(Cause::NotFound, _)) => Ok(None),
            Err(failure) => Err(self.refusal(failure, &format!("acm:{operation}"), arn)),
        }
    }

    /// A call with this body, about what messages call `name`.
    pub(crate) async fn import(&self, body: SecretBytes, name: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Imported {
            certificate_arn: String,
        }
        match self.acm.call("ImportCertificate", body).await {
            Ok(answer) => Ok(self.read::<Imported>(&answer)?.certificate_arn),
            Err(failure) => Err(self.refusal(failure, "acm:ImportCertificate", name)),
        }
    }

    /// A page of the search for things with tags.
    pub(crate) async fn resources<T: DeserializeOwned>(&self, query: &serde_json::Value) -> Result<T, Error> {
        let answer = self.tagging.call("GetResources", SecretBytes::new(query.to_string().into_bytes())).await;
        let answer = answer.map_err(|failure| {
            let (service, action, what) = (&self.service, "tag:GetResources", &"the search for certificates by tags");
            failure.error(&About { service, action, what })
        });
        self.read(&answer?)
    }

    fn read<T: DeserializeOwned>(&self, answer: &SecretBytes) -> Result<T, Error> {
        // The parser's own error would quote what it stumbles over.
        serde_json::from_slice(answer.expose())
            .map_err(|_| Cause::Strange(200).error(&About { service: &self.service, action: "", what: &"" }))
    }

    pub(crate) fn refusal(&self, failure: Failure, action: &str, arn: &str) -> Error {
        failure.error(&About { service: &self.service, action, what: &what(arn) })
    }
}

/// What messages call a certificate.
pub(crate) fn what(arn: &str) -> String {
    format!("certificate {arn:?}")
}

/// A passphrase for one export: letters and digits, since AWS takes no others without escapes.
fn passphrase() -> Result<Zeroizing<Vec<u8>>, Error> {
    const CHARS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut bytes = Zeroizing::new(vec![0; 32]);
    rand::fill(&mut bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "no random numbers are to be had").with_blame(Blame::Keyferry)
    })?;
    bytes.iter_mut().for_each(|byte| *byte = CHARS[usize::from(*byte & 63)]);
    Ok(bytes)
}

/// What an export gives.
struct Exported {
    certificate: SecretBytes,
    chain: SecretBytes,
    key: SecretBytes,
}

impl Exported {
    fn of(answer: &SecretBytes) -> Option<Self> {
        let fields = parts::object(answer.expose())?;
        let field = |name: &str| fields.get(name).map(|raw| parts::to_bytes(raw));
        Some(Self {
            certificate: field("Certificate")?,
            chain: field("CertificateChain").unwrap_or_default(),
            key: field("PrivateKey")?,
        })
    }

    /// Certificate, chain and key, one after the other.
    fn text(&self, passphrase: &[u8]) -> Option<SecretBytes> {
        let mut out = SecretBuf::default();
        for text in [&self.certificate, &self.chain] {
            let text = text.expose().trim_ascii_end();
            if !text.is_empty() {
                out.extend(text);
                out.push(b'\n');
            }
        }
        let key = pem::blocks(self.key.expose_str()?)?.into_iter().next()?;
        let der = match key.label {
            "ENCRYPTED PRIVATE KEY" => sealed::open(key.der.expose(), passphrase)?,
            "PRIVATE KEY" => key.der,
            _ => return None,
        };
        pem::write("PRIVATE KEY", der.expose(), &mut out);
        Some(out.into())
    }
}

#[async_trait]
impl Provider for CertificateManager {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { property: PropertyLookup::DottedKeyThenPath, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        false
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.login.renewing(|| one_by_one(keys, |key| self.export(key))).await
    }

    async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
        Err(Error::cannot("searched"))
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.login.renewing(|| self.write(push)).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.login.renewing(|| self.remove(remote, reach)).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.login.renewing(|| self.is_there(remote)).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        self.login.note()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_chain_and_key_are_one_text() {
        let exported = |key: &str, chain: Option<&str>| Exported {
            certificate: "cert\n\n".into(),
            chain: chain.unwrap_or_default().into(),
            key: key.into(),
        };
        let (sealed, open) = (include_str!("../testdata/sealed.pem"), include_str!("../testdata/open.pem"));
        for key in [sealed, open] {
            for (chain, expected) in [(Some("chain\r\n"), "cert\nchain\n"), (Some(""), "cert\n"), (None, "cert\n")] {
                let text = exported(key, chain).text(b"passphrase").unwrap();
                assert!(text.expose_str().unwrap() == format!("{expected}{open}"));
            }
        }
        assert!(exported(sealed, None).text(b"other").is_none() && exported("", None).text(b"").is_none());
    }

    #[test]
    fn every_export_has_a_passphrase_of_its_own() {
        let (one, two) = (passphrase().unwrap(), passphrase().unwrap());
        assert!(one != two && one.len() == 32 && one.iter().all(u8::is_ascii_graphic));
    }
}
