//! A port to credentials with real ServiceAccounts.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use keyferry_provider_core::{CaRef, Credentials, Error, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef, Token};
use keyferry_provider_testkit::MapCredentials;
use kube::Api;
use kube::api::PostParams;

/// ServiceAccounts of a real API server, the rest from a map.
pub struct Kubernetes {
    /// A client that may create tokens.
    pub client: kube::Client,
    /// The namespace of the ServiceAccounts.
    pub namespace: String,
    /// The rest.
    pub map: MapCredentials,
}

#[async_trait]
impl Credentials for Kubernetes {
    async fn secret(&self, reference: &SecretRef, default_key: Option<&str>) -> Result<SecretBytes, Error> {
        self.map.secret(reference, default_key).await
    }

    async fn labelled_secret(
        &self,
        reference: &SecretRef,
        label: &str,
        value: &str,
    ) -> Result<BTreeMap<String, SecretBytes>, Error> {
        self.map.labelled_secret(reference, label, value).await
    }

    async fn service_account_token(&self, reference: &ServiceAccountRef, audiences: &[&str]) -> Result<Token, Error> {
        let mut audiences: Vec<String> = audiences.iter().map(|audience| audience.to_string()).collect();
        audiences.extend(reference.audiences.clone().unwrap_or_default());
        let spec = TokenRequestSpec {
            audiences: Some(audiences),
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        };
        let token = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace)
            .create_token_request(
                &reference.name,
                &PostParams::default(),
                &TokenRequest { spec: Some(spec), ..TokenRequest::default() },
            )
            .await
            .map_err(|_| Error::new(ErrorKind::Invalid, "no such ServiceAccount"))?;
        let status = token.status.unwrap();
        Ok(Token {
            secret: status.token.unwrap().as_str().into(),
            expires: std::time::SystemTime::now() + Duration::from_secs(600),
        })
    }

    async fn service_account_annotations(
        &self,
        reference: &ServiceAccountRef,
    ) -> Result<BTreeMap<String, String>, Error> {
        let account = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace)
            .get(&reference.name)
            .await
            .map_err(|_| Error::new(ErrorKind::Invalid, "no such ServiceAccount"))?;
        Ok(account.metadata.annotations.unwrap_or_default())
    }

    async fn controller_token(&self) -> Result<SecretBytes, Error> {
        self.map.controller_token().await
    }

    async fn config_map(&self, reference: &SecretRef) -> Result<SecretBytes, Error> {
        self.map.config_map(reference).await
    }

    async fn ca_bundle(&self, reference: &CaRef) -> Result<Vec<u8>, Error> {
        self.map.ca_bundle(reference).await
    }
}
