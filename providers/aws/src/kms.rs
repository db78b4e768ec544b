//! AWS KMS: keys that never leave it, which documents of others are encrypted with. One call of the JSON protocol, so that no SDK
//! is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_types::region::Region;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_aws_common::error::About;
use keyferry_provider_aws_common::{Cause, Config, Connection, Failure, JsonApi, JsonClient, Service};
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, KeyService, KeyServiceRegistration, SecretBytes, Wrapped, json,
};
use serde_json::Value;

/// How the registry knows it.
pub const KMS: KeyServiceRegistration = KeyServiceRegistration {
    name: "aws",
    build: |spec, ctx| Box::pin(async move { Ok(Arc::new(Kms::new(spec, &ctx).await?) as Arc<dyn KeyService>) }),
};

const SERVICE: Service = Service {
    name: "KMS",
    metric: "AWS/KMS",
    endpoint: &["AWS_KMS_ENDPOINT", "AWS_ENDPOINT_URL_KMS"],
    operations: &[("Decrypt", "Decrypt")],
};

const API: JsonApi = JsonApi { host: "kms", signs_as: None, target: "TrentService", is_fips_in_gov: false };

/// The most regions that clients are kept for.
const REGIONS: usize = 32;

struct Kms {
    connection: Connection,
    /// By region: a document may be encrypted with keys of several.
    clients: Mutex<BTreeMap<String, Arc<JsonClient>>>,
}

impl Kms {
    async fn new(spec: &Value, ctx: &BuildContext) -> Result<Self, Error> {
        let connection = Connection::new(&Config::new(spec, &ctx.caller)?, &SERVICE, ctx).await?;
        Ok(Self { connection, clients: Mutex::default() })
    }

    /// The client for the region of a key. Signed requests go to hosts of AWS only: the region is a label.
    fn client(&self, arn: &str) -> Result<Arc<JsonClient>, Error> {
        let mut parts = arn.split(':');
        let region = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("arn"), Some(_), Some("kms"), Some(region)) if is_label(region) => region,
            _ => return Err(Error::invalid(format!("{arn:?} is not the ARN of a key of KMS"))),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(region) {
            return Ok(client.clone());
        }
        let sdk = self.connection.sdk.to_builder().region(Region::new(region.to_owned())).build();
        let client = Arc::new(JsonClient::new(API, &self.connection, sdk));
        if clients.len() < REGIONS {
            clients.insert(region.to_owned(), client.clone());
        }
        Ok(client)
    }

    async fn decrypt(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error> {
        let arn = &wrapped.key;
        let body = serde_json::json!({
            "KeyId": arn,
            "CiphertextBlob": wrapped.ciphertext.expose_str().unwrap_or_default(),
            "EncryptionContext": wrapped.context,
        });
        let service = &self.connection.service;
        let answer = match self.client(arn)?.call("Decrypt", body.to_string().as_str().into()).await {
            Ok(answer) => answer,
            Err(Failure::Refused(Cause::Invalid | Cause::NotFound | Cause::Decryption, _)) => {
                return Err(Error::invalid(format!(
                    "{service} does not decrypt with {arn:?}: there is no such key, it is switched off, or the document was \
                     not encrypted with it"
                )));
            }
            Err(failure) => {
                let what = format!("key {arn:?}");
                let about = About { service, action: "kms:Decrypt", what: &what };
                return Err(failure.error(&about).no_reason_to_delete());
            }
        };
        plaintext(&answer).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("{service} answered Decrypt in a form that we don't know"))
        })
    }
}

fn plaintext(answer: &SecretBytes) -> Option<SecretBytes> {
    let body = json::object(answer.expose())?;
    let encoded = json::to_bytes(body.get("Plaintext")?);
    Some(SecretBytes::new(STANDARD.decode(encoded.expose()).ok()?))
}

#[async_trait]
impl KeyService for Kms {
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error> {
        self.connection.login.renewing(|| self.decrypt(wrapped)).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.connection.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        self.connection.login.note()
    }
}
