//! GitHub: tokens of an installation of an App, for what the App's key signs.

use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Server;
use crate::asked::{self, Asked};

/// The id of the App, and of its one installation.
pub const APP: &str = "1234";
/// See [`APP`].
pub const INSTALLATION: &str = "5678";

/// A running double.
#[derive(Clone)]
pub struct Double {
    server: Server,
    key: String,
}

impl Double {
    /// One with an App, whose key is new.
    pub fn start() -> Self {
        use aws_lc_rs::encoding::AsDer as _;
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
        let der = pair.as_der().expect("DER");
        let lines = STANDARD.encode(der.as_ref());
        let key = format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n");
        let public = pair.public_key().as_ref().to_vec();
        let router = Router::new().fallback(move |request: Request| {
            let public = public.clone();
            async move { answer(&Asked::of(request).await, &public) }
        });
        Self { server: Server::start(router), key }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The App's private key, in PEM.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The claims of a JWT that the App's key signed, as GitHub takes them: by RS256, and good for at most ten minutes.
pub(crate) fn claims(asked: &Asked, public: &[u8]) -> Option<Value> {
    let token = asked.header("authorization").strip_prefix("Bearer ")?;
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims = read(claims)?;
    let life = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
    (read(header)?["alg"] == "RS256" && (1..=600).contains(&life)).then_some(claims)
}

fn answer(asked: &Asked, public: &[u8]) -> Response {
    if claims(asked, public).is_none_or(|claims| claims["iss"] != APP) {
        return asked::json(401, &json!({"message": "A JSON web token could not be decoded"}));
    }
    match asked.what() {
        ("POST", path) if path == ["app", "installations", INSTALLATION, "access_tokens"] => {
            let permissions = asked.body["permissions"].clone();
            let repositories = asked.body["repositories"].as_array().map(Vec::len);
            let token = json!({"token": "ghs_canary", "expires_at": "2099-01-01T00:00:00Z", "permissions": permissions,
                "repository_selection": repositories.map_or("all", |_| "selected")});
            asked::json(201, &token)
        }
        _ => asked::json(404, &json!({"message": "Integration not found"})),
    }
}
