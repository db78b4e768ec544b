//! The SDK's way to read answers, bounded: as all others do they wait for room where they are not small, and the bytes are
//! zeroed when the SDK is done with them.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use keyferry_provider_core::body::Body;
use keyferry_provider_core::{Room, SecretBytes};

/// A client, or a connection of one, whose answers are read whole before anybody looks at them.
pub struct Reading<T> {
    inner: T,
    room: Arc<dyn Room>,
}

impl Reading<SharedHttpClient> {
    /// `inner`, with bounded answers.
    pub fn bounded(inner: SharedHttpClient, room: Arc<dyn Room>) -> SharedHttpClient {
        SharedHttpClient::new(Self { inner, room })
    }
}

impl<T> fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keyferry's way to AWS")
    }
}

impl HttpClient for Reading<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Reading { inner, room: self.room.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Reading<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, room) = (self.inner.call(request), self.room.clone());
        HttpConnectorFuture::new(async move { read(answer.await?, &*room).await })
    }
}

/// The same answer with its body at hand. An error of ours is known again by its type.
async fn read(mut answer: HttpResponse, room: &dyn Room) -> Result<HttpResponse, ConnectorError> {
    let said = answer.headers().get("content-length").and_then(|length| length.parse().ok());
    let mut stream = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
    let mut body = Body::begin(said, room).await;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| ConnectorError::io(error.into()))?;
        body.push(&chunk).await.map_err(|error| ConnectorError::other(error.into(), None))?;
    }
    *answer.body_mut() = lent(&body.whole());
    Ok(answer)
}

/// Lends bytes to the SDK without a copy; they are zeroed when both are done with them.
pub fn lent(secret: &SecretBytes) -> SdkBody {
    struct Owner(SecretBytes);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    SdkBody::from(Bytes::from_owner(Owner(secret.clone())))
}
